"""The status of a user is derived by one pure function, and the ladder of a missing entry climbs one rung a complete read.

deleted > inactive > suspended > locked > pending > active. `deactivate` is not `suspend` is not `lock` is not `delete`.
Links of `local` state facts (disabled) but never vouch that a person is still there: only a directory or provider does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
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


def status(user: User, authoritative: Callable[[str], bool], now: datetime) -> tuple[str, datetime | None]:
    """The status at `now`, and the next instant at which a date already known will change it."""
    links = [link for link in user.links if authoritative(link.source)]
    vouching = [link for link in links if link.source != ADMIN_SOURCE]
    dates = [date for link in links for date in (link.starts_at, link.ends_at, link.locked_until)]
    upcoming = [moment for moment in (*dates, user.locked_until) if moment is not None and now < moment < UNTIL_LIFTED]
    return _status(user, links, vouching, now), min(upcoming, default=None)


def _status(user: User, links: list[Link], vouching: list[Link], now: datetime) -> str:
    if user.deleted_at is not None or _all_at(vouching, "deleted"):
        return "deleted"
    if any(not _enabled(link, now) for link in links) or _all_at(vouching, "deactivated"):
        return "inactive"
    if user.suspended is not None or _all_at(vouching, "suspended"):
        return "suspended"
    if any(until is not None and until > now for until in (user.locked_until, *(link.locked_until for link in links))):
        return "locked"
    return "pending" if user.invited else "active"


def may_sign_in(user: User, authoritative: Callable[[str], bool], now: datetime) -> bool:
    """SCIM `active`: an admin's hold or a lock is not shown as active:false, or Entra would re-send for ever."""
    seen = user
    if user.suspended is not None or user.locked_until is not None or any(link.locked_until for link in user.links):
        unlocked = tuple(replace(link, locked_until=None) if link.locked_until else link for link in user.links)
        seen = replace(user, suspended=None, locked_until=None, links=unlocked)
    return status(seen, authoritative, now)[0] in SEATED


def _enabled(link: Link, now: datetime) -> bool:
    started = link.starts_at is None or link.starts_at <= now
    ended = link.ends_at is not None and link.ends_at <= now
    return link.enabled is not False and started and not ended


def _all_at(links: Iterable[Link], stage: str) -> bool:
    rung = STAGES.index(stage)
    stages = [STAGES.index(link.stage) if link.stage else -1 for link in links]
    return bool(stages) and min(stages) >= rung
