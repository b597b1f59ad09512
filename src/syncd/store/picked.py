"""Users picked by what they have, where they come from and when they were last here: for lists of the API and command line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, exists, func, or_, select

from syncd.store import tables as t


@dataclass(frozen=True, slots=True)
class Picked:
    """All that is given must hold. `group`: an id, and she may be in it through others. `seat`: held or waited for.

    `idle_since`: she has not signed in since then; who never did counts from when she was made.
    """

    role: str | None = None
    scope: str | None = None  # kind=value
    seat: str | None = None
    group: str | None = None
    source: str | None = None
    idle_since: datetime | None = None


ANYBODY = Picked()


def conditions(workspace: str, picked: Picked, now: datetime) -> Iterator[ColumnElement[bool]]:
    """Over rows of `users`."""
    u, s, e, k = t.users.c, t.seats.c, t.effective_memberships.c, t.links.c
    if picked.role is not None:
        yield _granted(workspace, "role", picked.role, now)
    if picked.scope is not None:
        yield _granted(workspace, "scope", picked.scope, now)
    if picked.seat is not None:
        yield exists().where(s.workspace == workspace, s.pool == picked.seat, s.user_id == u.id)
    if picked.group is not None:
        yield exists().where(e.workspace == workspace, e.group_id == picked.group, e.user_id == u.id)
    if picked.source is not None:
        linked = (k.workspace == workspace, k.resource == "user", k.resource_id == u.id, k.source == picked.source)
        yield exists().where(*linked)
    if picked.idle_since is not None:
        i = t.sign_ins.c
        own = select(i.last_at).where(i.workspace == workspace, i.user_id == u.id)
        last = own.correlate(t.users).scalar_subquery()
        yield func.coalesce(last, u.created_at) < picked.idle_since


def _granted(workspace: str, kind: str, value: str, now: datetime) -> ColumnElement[bool]:
    g = t.grants.c
    live = or_(g.expires_at.is_(None), g.expires_at > now)
    own = and_(g.workspace == workspace, g.user_id == t.users.c.id, g.denied.is_(False))
    return exists().where(own, g.kind == kind, g.value == value, live)
