"""Rule 3 as the store knows it: what a source took away within its rolling window, and the population that the limits are a
share of: its active users, and whom it took away itself within the window, so that the share means the same for the first
loss and for the last.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, and_, distinct, func, or_, select

from syncd.core import guards
from syncd.core.actor import ADMIN_SOURCE, RULES
from syncd.core.change import STATUS_LOSSES
from syncd.core.guards import Held
from syncd.core.lifecycle import SEATED
from syncd.core.workspace import Workspace
from syncd.store import fact_queries as queries
from syncd.store import facts, raw
from syncd.store import tables as t


def judge_losses(
    conn: Connection, workspace: Workspace, source: str, losing: Mapping[str, Set[str]], now: datetime
) -> list[Held]:
    """The kinds of loss over their limit. `losing`: kind -> the ids of who loses in this plan or request."""
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
    return guards.over_limit(source, found, earlier, window.population(), limits, window.among)


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

    def population(self) -> int:
        return self._conn.scalar(self._counted()) or 0

    def among(self, ids: Collection[str]) -> int:
        """How many of these belong to the population."""
        counts = (self._counted().where(t.users.c.id.in_(batch)) for batch in facts.batched(sorted(ids)))
        return sum(self._conn.scalar(each) or 0 for each in counts)

    def _counted(self) -> Select[Any]:
        """Users linked to the source; for people (`local`, `rules`), all users."""
        u, k, w = t.users.c, t.links.c, t.losses.c
        taken = select(w.subject_id).where(self._within, w.kind.in_(sorted(STATUS_LOSSES)))
        query = select(func.count(distinct(u.id))).where(
            u.workspace == self._workspace, or_(u.status.in_(sorted(SEATED)), u.id.in_(taken))
        )
        if self._source in (ADMIN_SOURCE, RULES):
            return query
        linked = and_(k.workspace == u.workspace, k.resource == "user", k.resource_id == u.id)
        return query.select_from(t.users.join(t.links, linked)).where(k.source == self._source)
