"""Leaving by date: who says when, what people state about it, and which warning is due. Pure.

An end date is a fact of the link of who states it: a directory, a connection, or people (`local`). The earliest that counts
ends her access, whoever else says otherwise. Hours of warnings are counted back from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from syncd.core.access import DENIAL
from syncd.core.actor import ADMIN_SOURCE
from syncd.core.change import UserEdit
from syncd.core.schema import ENTERPRISE_USER
from syncd.core.state import Link, User

MANAGER = f"{ENTERPRISE_USER}:manager.value"


@dataclass(frozen=True, slots=True)
class Leave:
    """Her access ends at this instant, as this source states."""

    ends_at: datetime
    source: str


@dataclass(frozen=True, slots=True)
class Handover:
    """What is hers and must be somebody's. `groups` and `reports` (whose manager she is) are ids."""

    roles: tuple[str, ...] = ()
    permissions: tuple[str, ...] = ()
    data_scopes: tuple[str, ...] = ()
    seats: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    reports: tuple[str, ...] = ()

    @classmethod
    def of(cls, user: User, reports: Iterable[str], now: datetime) -> Handover:
        """Who has left holds no seat any more; what gave them to her still stands, and is told."""
        live = [grant for grant in user.grants if grant.expires_at is None or grant.expires_at > now]

        def values(kind: str) -> set[str]:
            return {grant.value for grant in live if grant.kind == kind and not grant.value.startswith(DENIAL)}

        return cls(
            roles=tuple(sorted(values("role"))),
            permissions=tuple(sorted(values("permission"))),
            data_scopes=tuple(sorted(values("scope"))),
            seats=tuple(sorted(values("seat") | {seat.pool for seat in user.seats if seat.held})),
            groups=tuple(sorted(user.groups)),
            reports=tuple(reports),
        )

    def said(self) -> dict[str, list[str]]:
        """As it is stored and told."""
        return {name: list(getattr(self, name)) for name in self.__dataclass_fields__}


def leave(user: User, authoritative: Callable[[str], bool]) -> Leave | None:
    """The earliest end that anybody states whose word counts."""
    stated = [
        Leave(link.ends_at, link.source)
        for link in user.links
        if link.ends_at is not None and authoritative(link.source)
    ]
    return min(stated, key=lambda each: (each.ends_at, each.source != ADMIN_SOURCE), default=None)


def dated(user: User, at: datetime, why: str) -> UserEdit:
    """People say that she leaves at this instant."""
    own = user.link(ADMIN_SOURCE) or Link(ADMIN_SOURCE, user.id, enabled=None)
    return UserEdit(user.id, ADMIN_SOURCE, link=replace(own, ends_at=at), why=why)


def undated(user: User, why: str) -> UserEdit | None:
    """People say no date any more; None if they said none."""
    own = user.link(ADMIN_SOURCE)
    if own is None or own.ends_at is None:
        return None
    return _kept(user, replace(own, ends_at=None), why)


def enabled_again(user: User, now: datetime, why: str) -> UserEdit | None:
    """People take back that she is disabled, and an end of theirs that has come; one that is ahead stays."""
    own = user.link(ADMIN_SOURCE)
    if own is None:
        return None
    ended = own.ends_at is not None and own.ends_at <= now
    said = True if own.values else None
    return _kept(user, replace(own, enabled=said, ends_at=None if ended else own.ends_at), why)


def _kept(user: User, link: Link, why: str) -> UserEdit:
    """A link that says nothing more goes."""
    if link.values or link.enabled is False or link.ends_at is not None or link.starts_at is not None:
        return UserEdit(user.id, ADMIN_SOURCE, link=link, why=why)
    return UserEdit(user.id, ADMIN_SOURCE, drop_link=link.key, why=why)


def warning(
    ends_at: datetime, before: Iterable[timedelta], warned: timedelta | None, now: datetime
) -> timedelta | None:
    """The time before the end of which is to be warned now: the shortest that has come. `warned`: the last one that was.

    None: nothing is due, or the end has come.
    """
    come = [each for each in before if now >= ends_at - each]
    if now >= ends_at or not come:
        return None
    shortest = min(come)
    return shortest if warned is None or shortest < warned else None
