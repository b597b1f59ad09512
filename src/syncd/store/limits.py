"""Rule 3 as the store knows it: what a source took away within its rolling window, and the population that the limits are a
share of: its active users, and whom it took away itself within the window, so that the share means the same for the first
loss and for the last.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Select, and_, exists, func, or_, select

from syncd.core import guards
from syncd.core.actor import ADMIN_SOURCE, RULES
from syncd.core.change import STATUS_LOSSES
from syncd.core.guards import Held
from syncd.core.lifecycle import SEATED
from syncd.core.workspace import Workspace
from syncd.store import fact_queries as queries
from syncd.store import facts, raw
from syncd.store import tables as t

_COUNTED: Final = 10_000  # of a population, for people to read
_LARGEST: Final = 2**62  # that a database can be asked for


def judge_losses(
    conn: Connection,
    workspace: Workspace,
    source: str,
    losing: Mapping[str, Set[str]],
    now: datetime,
    exact: bool = False,
) -> list[Held]:
    """The kinds of loss over their limit. `losing`: kind -> the ids of who loses in this plan or request.

    No more of the population is counted than tells the limits (and some, for people to read), unless it is to be `exact`: a
    provider may be refused a hundred thousand times.
    """
    if not losing:
        return []
    limits = workspace.source(source).limits
    asked = {"workspace": workspace.name, "source": source, "ids": queries.as_list(losing)}
    span = {"since": now - limits.window, "until": _until(now, limits.window)}
    recent: dict[str, int] = {
        kind: n for kind, n in raw.rows(conn, queries.lost_recently(conn.dialect.name), {**asked, **span})
    }
    # The population is counted only when it can matter: most requests lose one of something.
    large = [
        kind
        for kind, subjects in losing.items()
        if len(subjects) + recent.get(kind, 0) > min(limits.of(kind).floor, limits.of(kind).number)
    ]
    if not large:
        return []
    window = Window(conn, workspace.name, source, now, limits.window)
    earlier = {kind: window.lost(kind) if recent.get(kind) else frozenset() for kind in large}
    found = {kind: losing[kind] for kind in large}
    enough = [limits.of(kind).enough(len(found[kind] | earlier[kind])) for kind in large]
    most = max((n for n in enough if n is not None), default=0)
    if None not in enough and window.population(most) >= most:
        return []
    most = max(_COUNTED, *(limits.of(kind).settled for kind in large))
    population = window.population(None if exact else most + 1)
    more = not exact and population > most
    return guards.over_limit(
        source, found, earlier, min(population, most) if more else population, limits, window.among, more
    )


def _until(now: datetime, window: timedelta) -> datetime:
    """Of a clock that was far ahead; it must not hold everything until then."""
    return now + window


class Window:
    """What one source took away within the rolling window that ends now."""

    def __init__(self, conn: Connection, workspace: str, source: str, now: datetime, window: timedelta) -> None:
        self._conn, self._workspace, self._source = conn, workspace, source
        w = t.losses.c
        self._within = and_(
            w.workspace == workspace, w.source == source, w.at > now - window, w.at <= _until(now, window)
        )

    def lost(self, kind: str) -> frozenset[str]:
        """Who lost something of this kind."""
        w = t.losses.c
        return frozenset(self._conn.scalars(select(w.subject_id).where(self._within, w.kind == kind)))

    def population(self, most: int | None = None) -> int:
        """How many they are; `most`: counted no further."""
        u, k = t.users.c, t.links.c
        query = self._active()
        if not self._everybody:
            linked = and_(k.workspace == u.workspace, k.resource == "user", k.resource_id == u.id)
            query = query.select_from(t.users.join(t.links, linked)).where(k.source == self._source).distinct()
        return self._count(query.limit(most if most is None else min(most, _LARGEST)))

    def among(self, ids: Collection[str]) -> int:
        """How many of these belong to the population."""
        u, k = t.users.c, t.links.c
        query = self._active()
        if not self._everybody:
            of = (k.workspace == u.workspace, k.source == self._source, k.resource == "user", k.resource_id == u.id)
            query = query.where(exists().where(*of))
        return sum(self._count(query.where(u.id.in_(each))) for each in facts.batched(sorted(ids)))

    def _count(self, ids: Select[Any]) -> int:
        return self._conn.scalar(select(func.count()).select_from(ids.subquery())) or 0

    @property
    def _everybody(self) -> bool:
        """What people and rules take away is a share of all users, not of those they state."""
        return self._source in (ADMIN_SOURCE, RULES)

    def _active(self) -> Select[Any]:
        u, w = t.users.c, t.losses.c
        taken = select(w.subject_id).where(self._within, w.kind.in_(sorted(STATUS_LOSSES)))
        return select(u.id).where(u.workspace == self._workspace, or_(u.status.in_(sorted(SEATED)), u.id.in_(taken)))
