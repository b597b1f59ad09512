"""Seats of people who have not signed in for so long: taken back by time, returned by the next sign-in.

Only the application tells who signs in. Where it has not reported anybody for a week (or for `idle_after`, if that is
shorter), nobody is called idle: a silent application must not empty a licence. Who never signed in counts from when she got
the seat. What is taken back goes through the door as a loss of the source `local`, under its limits.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta

from sqlalchemy import Connection, and_, func, select

from syncd.core.actor import ADMIN_SOURCE
from syncd.core.seats import Pool
from syncd.core.workspace import Workspace
from syncd.store import tables as t
from syncd.store.transitions import Due

SILENT = timedelta(days=7)


def due(conn: Connection, workspace: Workspace, now: datetime, limit: int) -> list[Due]:
    """Up to `limit` users with an idle seat, by id, each once with all pools it is about."""
    pools = [pool for pool in workspace.pool_order if pool.idle_after is not None]
    if not pools:
        return []
    i = t.sign_ins.c
    last = conn.scalar(select(func.max(i.last_at)).where(i.workspace == workspace.name))
    idle: dict[str, list[str]] = defaultdict(list)
    days: dict[str, int] = {}
    for pool in pools:
        after = pool.idle_after
        if after is None or last is None or last < now - min(SILENT, after):
            continue
        for id in _holders(conn, workspace, pool, now - after, limit):
            idle[id].append(pool.name)
            days[id] = max(days.get(id, 0), after.days)
    known = _reclaimed(conn, workspace.name, sorted(idle)[:limit])
    return [
        Due(
            id,
            ADMIN_SOURCE,
            f"no sign-in for {days[id]} days: seat in {', '.join(idle[id])} taken back until the next one",
            {"reclaimed": tuple(sorted({*known.get(id, ()), *idle[id]}))},
        )
        for id in sorted(idle)[:limit]
    ]


def _holders(conn: Connection, workspace: Workspace, pool: Pool, before: datetime, limit: int) -> list[str]:
    s, i = t.seats.c, t.sign_ins.c
    query = (
        select(s.user_id)
        .select_from(t.seats.outerjoin(t.sign_ins, and_(i.workspace == s.workspace, i.user_id == s.user_id)))
        .where(s.workspace == workspace.name, s.pool == pool.name, s.held.is_(True), s.since < before)
        .where(func.coalesce(i.last_at, s.since) < before)
        .order_by(s.user_id)
        .limit(limit)
    )
    return list(conn.scalars(query))


def _reclaimed(conn: Connection, workspace: str, ids: list[str]) -> dict[str, tuple[str, ...]]:
    u = t.users.c
    found: dict[str, tuple[str, ...]] = {}
    for at in range(0, len(ids), 500):
        some = ids[at : at + 500]
        rows = conn.execute(select(u.id, u.reclaimed).where(u.workspace == workspace, u.id.in_(some)))
        found |= {row.id: tuple(row.reclaimed or ()) for row in rows}
    return found
