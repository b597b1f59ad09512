"""Who holds what, by pages: users of a role, holders of a seat pool and those who wait in it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, case, false, func, or_, select, true

from syncd.core.state import User
from syncd.core.workspace import Workspace
from syncd.errors import Conflict
from syncd.store import facts
from syncd.store import tables as t
from syncd.store.pages import Page, Position


@dataclass(frozen=True, slots=True)
class RoleHolder:
    """`origins`: `direct NAME`, `rule NAME`, ... of each grant that gives it. `expires`: when the last of them ends."""

    id: str
    user_name: str
    status: str
    origins: tuple[str, ...]
    since: datetime
    expires: datetime | None


@dataclass(frozen=True, slots=True)
class SeatHolder:
    id: str
    user_name: str
    status: str
    since: datetime
    priority: int


def of_role(
    conn: Connection, workspace: str, role: str, now: datetime, limit: int, after: Position | None
) -> Page[RoleHolder]:
    """Undeleted users who have it at `now`, however they came by it, by id."""
    g, u = t.grants.c, t.users.c
    live = and_(
        g.workspace == workspace,
        g.kind == "role",
        g.value == role,
        g.denied.is_(False),
        or_(g.expires_at.is_(None), g.expires_at > now),
    )
    query = (
        select(u.id, u.user_name, u.status)
        .join_from(t.grants, t.users, and_(u.workspace == g.workspace, u.id == g.user_id))
        .where(live, u.status != "deleted")
        .distinct()
    )
    if after is not None:
        query = query.where(u.id > after.id)
    rows = conn.execute(query.order_by(u.id).limit(limit + 1)).all()
    here = rows[:limit]
    grants: dict[str, list[tuple[str, str, datetime, datetime | None]]] = {row.id: [] for row in here}
    for ids in facts.batched(list(grants)):
        own = select(g.user_id, g.origin, named().label("name"), g.created_at, g.expires_at)
        own = own.where(live, g.user_id.in_(ids))
        for row in conn.execute(own.order_by(g.origin, g.name)):
            grants[row.user_id].append((row.origin, row.name, row.created_at, row.expires_at))
    found = tuple(
        RoleHolder(
            row.id,
            row.user_name,
            row.status,
            tuple(f"{origin} {name}" for origin, name, _, _ in grants[row.id]),
            min(since for _, _, since, _ in grants[row.id]),
            _last([until for _, _, _, until in grants[row.id]]),
        )
        for row in here
    )
    return Page(0, found, Position(None, here[-1].id) if len(rows) > limit else None)


def named() -> ColumnElement[str]:
    """Of a grant: who gave it, or the name of the rule, source or group."""
    g, of = t.grants.c, t.groups.c
    display = select(of.display_name).where(of.workspace == g.workspace, of.id == g.name)
    return case((g.origin == "group", func.coalesce(display.scalar_subquery(), g.name)), else_=g.name)


def _last(ends: list[datetime | None]) -> datetime | None:
    """None: one of them has no end."""
    return None if None in ends else max(each for each in ends if each is not None)


def of_pool(
    conn: Connection, workspace: str, pool: str, held: bool, limit: int, after: Position | None
) -> Page[SeatHolder]:
    """Who holds a seat, by id; or who waits, in the order they will be served."""
    s, u = t.seats.c, t.users.c
    query = (
        select(u.id, u.user_name, u.status, s.since, s.priority)
        .join_from(t.seats, t.users, and_(u.workspace == s.workspace, u.id == s.user_id))
        .where(s.workspace == workspace, s.pool == pool, s.held == (true() if held else false()))
    )
    if held:
        query = query.order_by(s.user_id)
        if after is not None:
            query = query.where(s.user_id > after.id)
    else:
        query = query.order_by(s.priority, s.since, s.user_id)
        if after is not None:
            query = query.where(_served_after(after))
    rows = conn.execute(query.limit(limit + 1)).all()
    found = tuple(SeatHolder(*row) for row in rows[:limit])
    if len(rows) <= limit:
        return Page(0, found)
    last = found[-1]
    key = None if held else f"{last.priority} {last.since.isoformat()}"
    return Page(0, found, Position(key, last.id))


def _served_after(position: Position) -> ColumnElement[bool]:
    s = t.seats.c
    priority, _, since = str(position.key).partition(" ")
    number, moment, id = int(priority), datetime.fromisoformat(since), position.id
    return or_(
        s.priority > number,
        and_(s.priority == number, or_(s.since > moment, and_(s.since == moment, s.user_id > id))),
    )


def refused(conn: Connection, workspace: Workspace, user: User, pool: str) -> Conflict | None:
    """Why somebody who was given a seat by hand has none and does not wait for one, if that is because the pool is full."""
    known = workspace.pools[pool]
    if known.capacity is None or not known.seats(user.status) or any(each.pool == pool for each in user.seats):
        return None
    p = t.seat_pools.c
    used = conn.scalar(select(p.used).where(p.workspace == workspace.name, p.name == pool)) or 0
    if used < known.capacity:
        return None
    return Conflict(
        f"seat pool {pool} is full: {used:,} of {known.capacity:,} are taken, and nobody waits for one there"
    )
