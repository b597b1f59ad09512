"""Lists of what the store holds: users, groups, seats, and how a workspace stands.

Read only, by pages in the order of a key, so that a hundred thousand rows need no memory and no cursor on the server.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, and_, case, distinct, func, select

from syncd.core.filter import Filter
from syncd.core.seats import Price
from syncd.core.workspace import Workspace
from syncd.store import facts
from syncd.store import tables as t
from syncd.store.picked import Picked, conditions
from syncd.store.search import compile_filter

Json = dict[str, Any]
PAGE = 1000


def list_users(
    conn: Connection,
    workspace: str,
    where: Filter | None,
    state: str | None,
    limit: int | None,
    picked: Picked,
    now: datetime,
) -> Iterator[Json]:
    """Users by name, page by page; deleted ones only if `state` asks for them."""
    u, i = t.users.c, t.sign_ins.c
    seen = t.users.outerjoin(t.sign_ins, and_(i.workspace == u.workspace, i.user_id == u.id))
    query = select(u.id, u.user_name, u.user_name_key, u.status, u.modified_at, i.last_at).select_from(seen)
    query = query.where(u.workspace == workspace, *conditions(workspace, picked, now))
    query = query.where(u.status == state if state else u.status != "deleted")
    if where is not None:
        query = query.where(compile_filter(where, conn.dialect.name, u.search))  # type: ignore[arg-type]
    query = query.order_by(u.user_name_key, u.id)
    after: tuple[str, str] | None = None
    shown = 0
    while True:
        page = query
        if after is not None:
            page = query.where((u.user_name_key > after[0]) | ((u.user_name_key == after[0]) & (u.id > after[1])))
        rows = conn.execute(page.limit(PAGE)).all()
        for row in rows:
            if limit is not None and shown >= limit:
                return
            shown += 1
            yield {
                **{"id": row.id, "userName": row.user_name, "status": row.status, "changed_at": row.modified_at},
                "last_sign_in": row.last_at,
            }
        if len(rows) < PAGE:
            return
        after = (rows[-1].user_name_key, rows[-1].id)


def list_groups(conn: Connection, workspace: str) -> list[Json]:
    g, m, e, x = t.groups.c, t.memberships.c, t.effective_memberships.c, t.unresolved_members.c
    direct = _counted(conn, m.group_id, (m.workspace == workspace) & (m.member == "user"))
    nested = _counted(conn, m.group_id, (m.workspace == workspace) & (m.member == "group"))
    effective = _counted(conn, e.group_id, e.workspace == workspace)
    unresolved = _counted(conn, x.group_id, x.workspace == workspace)
    rows = conn.execute(
        select(g.id, g.display_name, g.source, g.grants)
        .where(g.workspace == workspace)
        .order_by(g.display_key, g.source)
    )
    return [
        {
            **{"id": row.id, "display": row.display_name, "source": row.source, "users": direct.get(row.id, 0)},
            **{"groups": nested.get(row.id, 0), "effective": effective.get(row.id, 0)},
            **{
                "unresolved": unresolved.get(row.id, 0),
                "gives": [{"kind": kind, "value": value} for kind, value, *_ in row.grants or ()],
            },
        }
        for row in rows
    ]


def _counted(conn: Connection, by: Any, where: Any) -> dict[str, int]:
    return {row[0]: row[1] for row in conn.execute(select(by, func.count()).where(where).group_by(by))}


def show_group(conn: Connection, workspace: str, id: str, limit: int = 1000) -> Json:
    """One group with its direct members (up to `limit`), the groups it is in, and who could not be resolved."""
    group = facts.load_groups(conn, workspace, [id])[id]
    m, u, g, x = t.memberships.c, t.users.c, t.groups.c, t.unresolved_members.c
    users = conn.execute(
        select(u.id, u.user_name, u.status, m.origin)
        .join_from(t.memberships, t.users, (u.workspace == m.workspace) & (u.id == m.member_id))
        .where(m.workspace == workspace, m.group_id == id, m.member == "user")
        .order_by(u.user_name_key)
        .limit(limit)
    )
    nested = conn.execute(
        select(g.id, g.display_name, m.origin)
        .join_from(t.memberships, t.groups, (g.workspace == m.workspace) & (g.id == m.member_id))
        .where(m.workspace == workspace, m.group_id == id, m.member == "group")
        .order_by(g.display_key)
    )
    graph = facts.load_graph(conn, workspace, [id])
    unresolved = conn.scalars(select(x.ref).where(x.workspace == workspace, x.group_id == id).order_by(x.ref))
    return {
        **{"id": id, "display": group.name, "source": group.source, "version": group.version},
        "dn": group.link.dn if group.link else None,
        "gives": [
            {"kind": e.kind, "value": e.value, "name": e.name, "why": e.why, "since": e.created_at}
            for e in group.grants
        ],
        "users": [{"id": r.id, "userName": r.user_name, "status": r.status, "origin": r.origin} for r in users],
        "groups": [{"id": r.id, "display": r.display_name, "origin": r.origin} for r in nested],
        "within": [graph.path_text(path) for above, path in sorted(graph.closure([id]).items()) if above != id],
        "unresolved": list(unresolved),
    }


# -- seats ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PoolReport:
    pool: str
    kind: str
    used: int
    limit: int | None  # None: unlimited
    waiting: int
    requires: tuple[str, ...] = ()
    price: Price | None = None

    @property
    def free(self) -> int | None:
        return None if self.limit is None else max(0, self.limit - self.used)

    @property
    def cost(self) -> Decimal | None:
        return None if self.price is None else self.price.times(self.used)

    @property
    def over(self) -> int:
        return max(0, self.used - self.limit) if self.limit is not None else 0


def seat_pools(conn: Connection, workspace: Workspace) -> tuple[PoolReport, ...]:
    """Every configured pool, and those still in use that no longer are (kind `removed`)."""
    p = t.seat_pools.c
    rows = {
        row.name: row for row in conn.execute(select(p.name, p.used, p.waiting).where(p.workspace == workspace.name))
    }
    found = [
        PoolReport(
            name,
            pool.kind,
            rows[name].used if name in rows else 0,
            pool.limit,
            rows[name].waiting if name in rows else 0,
            pool.requires,
            pool.price,
        )
        for name, pool in workspace.pools.items()
    ]
    left = [row for name, row in sorted(rows.items()) if name not in workspace.pools and (row.used or row.waiting)]
    return (*found, *(PoolReport(row.name, "removed", row.used, None, row.waiting) for row in left))


@dataclass(frozen=True, slots=True)
class Idle:
    """Of the seats held in one pool: whose holders have not signed in for so long, or never did since they have it."""

    idle: int = 0
    waits_since: datetime | None = None  # the longest wait for a seat here


def seats_idle(conn: Connection, workspace: str, before: datetime) -> dict[str, Idle]:
    """Per pool, seats held longer than since `before` by whoever has not signed in since then. Walks over all seats.

    Who never signed in counts from when she got the seat. Only reports of the application tell: without any, all are idle.
    """
    s, i = t.seats.c, t.sign_ins.c
    last = func.coalesce(i.last_at, s.since)
    idle = and_(s.held, s.since < before, last < before)
    query = (
        select(
            s.pool,
            func.sum(case((idle, 1), else_=0)).label("idle"),
            func.min(case((s.held.is_(False), s.since))).label("waits_since"),
        )
        .select_from(t.seats.outerjoin(t.sign_ins, and_(i.workspace == s.workspace, i.user_id == s.user_id)))
        .where(s.workspace == workspace)
        .group_by(s.pool)
    )
    return {row.pool: Idle(int(row.idle), row.waits_since) for row in conn.execute(query)}


def signs_in(conn: Connection, workspace: str) -> bool:
    """Whether the application ever reported that somebody signed in."""
    i = t.sign_ins.c
    return conn.scalar(select(i.user_id).where(i.workspace == workspace, i.last_at.is_not(None)).limit(1)) is not None


def seat_holders(conn: Connection, workspace: str, pool: str) -> Iterator[Json]:
    """Who holds a seat, longest first; then who waits, in the order they will be served."""
    s, u = t.seats.c, t.users.c
    rows = conn.execute(
        select(u.id, u.user_name, u.status, s.held, s.since, s.priority)
        .join_from(t.seats, t.users, (u.workspace == s.workspace) & (u.id == s.user_id))
        .where(s.workspace == workspace, s.pool == pool)
        .order_by(s.held.desc(), s.priority, s.since, u.id)
    )
    for row in rows:
        yield {
            **{"id": row.id, "userName": row.user_name, "status": row.status, "held": row.held},
            **{"since": row.since, "priority": row.priority},
        }


def role_holders(conn: Connection, workspace: str) -> dict[str, int]:
    """Role -> how many undeleted users hold it, however they came by it."""
    g, u = t.grants.c, t.users.c
    rows = conn.execute(
        select(g.value, func.count(distinct(g.user_id)))
        .join_from(t.grants, t.users, (u.workspace == g.workspace) & (u.id == g.user_id))
        .where(g.workspace == workspace, g.kind == "role", g.denied.is_(False), u.status != "deleted")
        .group_by(g.value)
    )
    return {row[0]: row[1] for row in rows}


# -- the whole -------------------------------------------------------------------------------------------------------------


def row_counts(conn: Connection) -> dict[str, int]:
    """Rows of every table, over all workspaces."""
    counted = ((str(table.name), select(func.count()).select_from(table)) for table in t.metadata.sorted_tables)
    return {name: conn.scalar(query) or 0 for name, query in counted}
