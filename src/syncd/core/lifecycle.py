"""The status of a user is derived by one pure function, and the ladder of a missing entry climbs one rung a complete read.

deleted > inactive > suspended > locked > pending > active. `deactivate` is not `suspend` is not `lock` is not `delete`.
Links of `local` state facts (disabled) but never vouch that a person is still there: only a directory or provider does, and not
one that stated nothing but `active` of whom others made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from syncd.core.actor import ADMIN_SOURCE
from syncd.core.state import STAGES, UNTIL_LIFTED, Link, User

SEATED = frozenset({"active", "pending", "locked"})  # states that hold seats; inactive, suspended, deleted hold none


@dataclass(frozen=True, slots=True)
class Ladder:
    """After how long absent an entry climbs to each rung; None: never. Counted in complete reads, one rung a read."""

    suspend_after: timedelta | None = timedelta(days=1)
    deactivate_after: timedelta | None = timedelta(days=2)
    delete_after: timedelta | None = timedelta(days=14)
    purge_after: timedelta | None = timedelta(days=14)  # after the deletion; final

    @property
    def rungs(self) -> tuple[tuple[str, timedelta], ...]:
        """Those that take something away, from the bottom; a rung that is `never` is no rung."""
        after = (
            ("suspended", self.suspend_after),
            ("deactivated", self.deactivate_after),
            ("deleted", self.delete_after),
        )
        return tuple((stage, days) for stage, days in after if days is not None)

    @property
    def first(self) -> str:
        return self.rungs[0][0] if self.rungs else "missing"


def climb(link: Link, ladder: Ladder, now: datetime) -> Link:
    """The link after one more complete read that did not find its entry."""
    # If the clock was ahead when the entry was first missed, the days are counted from now on.
    since = min(link.missing_since or now, now)
    stage = link.stage or "missing"
    above = [rung for rung in ladder.rungs if STAGES.index(rung[0]) > STAGES.index(stage)]
    if any(now - since >= after for _, after in above):
        stage = above[0][0]
    return replace(link, missing_since=since, missing_reads=link.missing_reads + 1, stage=stage)


def found(link: Link) -> Link:
    """The link of an entry that is there: a returning entry lifts its own stage, and nobody else's hold."""
    return replace(link, missing_since=None, missing_reads=0, stage=None)


def vouches(link: Link, user: str) -> bool:
    """Whether its source says that this user is there. A connection that only set her `active` has neither values nor a
    key of its own for her."""
    return link.source != ADMIN_SOURCE and bool(link.values or link.key != user)


def status(user: User, authoritative: Callable[[str], bool], now: datetime) -> tuple[str, datetime | None]:
    """The status at `now`, and the next instant at which a date already known will change it."""
    lowest: int | None = None  # rung of those who vouch for her
    enabled, dates = True, [user.locked_until]
    locked = user.locked_until is not None and user.locked_until > now
    for link in user.links:
        if not authoritative(link.source):
            continue
        if vouches(link, user.id):
            rung = _RUNG[link.stage]
            lowest = rung if lowest is None or rung < lowest else lowest
        enabled = enabled and _enabled(link, now)
        locked = locked or (link.locked_until is not None and link.locked_until > now)
        dates += link.starts_at, link.ends_at, link.locked_until
    upcoming = [moment for moment in dates if moment is not None and now < moment < UNTIL_LIFTED]
    all_at = _RUNG[None] if lowest is None else lowest
    return _status(user, all_at, enabled, locked), min(upcoming, default=None)


_RUNG: Mapping[str | None, int] = {None: -1} | {stage: rung for rung, stage in enumerate(STAGES)}


def _status(user: User, all_at: int, enabled: bool, locked: bool) -> str:
    """`all_at`: the rung on which everybody is who vouches for her, or above; `locked`: now."""
    if user.deleted_at is not None or all_at >= _RUNG["deleted"]:
        return "deleted"
    if not enabled or all_at >= _RUNG["deactivated"]:
        return "inactive"
    if user.suspended is not None or all_at >= _RUNG["suspended"]:
        return "suspended"
    if locked:
        return "locked"
    return "pending" if user.invited else "active"


def may_sign_in(user: User, authoritative: Callable[[str], bool], now: datetime) -> bool:
    """SCIM `active`: an admin's hold or a lock is not shown as active:false, or Entra would re-send for ever."""
    seen = _unheld(user)
    return status(seen, authoritative, now)[0] in SEATED


def may_sign_in_as_derived(user: User, authoritative: Callable[[str], bool], now: datetime) -> bool:
    """The same of one whose status was derived at `now`."""
    seen = _unheld(user)
    return (user.status if seen is user else status(seen, authoritative, now)[0]) in SEATED


def _unheld(user: User) -> User:
    """Without an admin's hold and locks; herself if there are none."""
    if user.suspended is None and user.locked_until is None and not any([link.locked_until for link in user.links]):
        return user
    unlocked = tuple(replace(link, locked_until=None) if link.locked_until else link for link in user.links)
    return replace(user, suspended=None, locked_until=None, links=unlocked)


def _enabled(link: Link, now: datetime) -> bool:
    started = link.starts_at is None or link.starts_at <= now
    ended = link.ends_at is not None and link.ends_at <= now
    return link.enabled is not False and started and not ended
