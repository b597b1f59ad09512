"""Groups and their members as the API lists and shows them: the whole workspace, whichever source owns them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, func, or_, select

from syncd.core.filter import Filter
from syncd.core.workspace import Workspace
from syncd.store import facts, filtering, pages
from syncd.store import tables as t
from syncd.store.pages import Listed, Order, Page, Position, Window
from syncd.store.read_queries import Reader


@dataclass(frozen=True, slots=True)
class GroupSeen:
    """`users` and `groups`: how many are in it directly."""

    id: str
    display_name: str
    source: str
    created_at: datetime
    modified_at: datetime
    version: int
    grants: Sequence[Sequence[Any]] | None  # (kind, value, ...) of what it gives
    users: int = 0
    groups: int = 0


@dataclass(frozen=True, slots=True)
class MemberSeen:
    """`origins`: the sources that state it; () for who is in it through another group."""

    id: str
    kind: str  # "user" | "group"
    display: str
    status: str | None  # of a user
    origins: tuple[str, ...]


_COLUMNS = tuple(
    t.groups.c[name] for name in ("id", "display_name", "source", "created_at", "modified_at", "version", "grants")
)


def page(
    conn: Connection, workspace: Workspace, filter: Filter | None, source: str | None, order: Order, window: Window
) -> Page[GroupSeen]:
    """Raises InvalidFilter, InvalidValue. Counts only the members of those on the page."""
    g = t.groups.c
    query = select(*_COLUMNS).where(g.workspace == workspace.name)
    if source is not None:
        query = query.where(g.source == source)
    reader = Reader(workspace.name, "local")
    listed = Listed("group", query, t.groups, filtering.group_columns(reader), filtering.GROUP_KEYS)
    found = pages.page(conn, reader, listed, filter, order, replace(window, keyset=True, total=0))
    rows = [GroupSeen(*row[: len(_COLUMNS)]) for row in found.rows]
    return Page(0, tuple(_counted(conn, workspace.name, rows)), found.more)


def get(conn: Connection, workspace: str, id: str) -> GroupSeen | None:
    g = t.groups.c
    row = conn.execute(select(*_COLUMNS).where(g.workspace == workspace, g.id == id)).first()
    return None if row is None else _counted(conn, workspace, [GroupSeen(*row)])[0]


def _counted(conn: Connection, workspace: str, rows: Sequence[GroupSeen]) -> list[GroupSeen]:
    m = t.memberships.c
    numbers: dict[tuple[str, str], int] = {}
    for ids in facts.batched([row.id for row in rows]):
        counted = (
            select(m.group_id, m.member, func.count(func.distinct(m.member_id)))
            .where(m.workspace == workspace, m.group_id.in_(ids))
            .group_by(m.group_id, m.member)
        )
        numbers |= {(group, member): n for group, member, n in conn.execute(counted)}
    return [
        replace(row, users=numbers.get((row.id, "user"), 0), groups=numbers.get((row.id, "group"), 0)) for row in rows
    ]


def members(conn: Connection, workspace: str, group: str, limit: int, after: Position | None) -> Page[MemberSeen]:
    """Direct members, groups first, then by id."""
    m = t.memberships.c
    query = select(m.member, m.member_id).distinct().where(m.workspace == workspace, m.group_id == group)
    if after is not None:
        query = query.where(or_(m.member > after.key, and_(m.member == after.key, m.member_id > after.id)))
    rows = conn.execute(query.order_by(m.member, m.member_id).limit(limit + 1)).all()
    here = [(row.member, row.member_id) for row in rows[:limit]]
    origins: dict[str, list[str]] = defaultdict(list)
    for ids in facts.batched([id for _, id in here]):
        stated = select(m.member_id, m.origin).where(
            m.workspace == workspace, m.group_id == group, m.member_id.in_(ids)
        )
        for row in conn.execute(stated.order_by(m.origin)):
            origins[row.member_id].append(row.origin)
    found = _named(conn, workspace, here, origins)
    return Page(0, found, Position(*here[-1]) if len(rows) > limit else None)


def effective_members(
    conn: Connection, workspace: str, group: str, limit: int, after: Position | None
) -> Page[MemberSeen]:
    """Users who are in it directly or through other groups, by id."""
    e, m = t.effective_memberships.c, t.memberships.c
    query = select(e.user_id).where(e.workspace == workspace, e.group_id == group)
    if after is not None:
        query = query.where(e.user_id > after.id)
    ids = list(conn.scalars(query.order_by(e.user_id).limit(limit + 1)))
    origins: dict[str, list[str]] = defaultdict(list)
    for some in facts.batched(ids[:limit]):
        stated = select(m.member_id, m.origin).where(
            m.workspace == workspace, m.group_id == group, m.member == "user", m.member_id.in_(some)
        )
        for row in conn.execute(stated.order_by(m.origin)):
            origins[row.member_id].append(row.origin)
    found = _named(conn, workspace, [("user", id) for id in ids[:limit]], origins)
    return Page(0, found, Position("user", ids[limit - 1]) if len(ids) > limit else None)


def _named(
    conn: Connection, workspace: str, here: Iterable[tuple[str, str]], origins: dict[str, list[str]]
) -> tuple[MemberSeen, ...]:
    here = list(here)
    u, g = t.users.c, t.groups.c
    names: dict[str, tuple[str, str | None]] = {}
    for ids in facts.batched([id for _, id in here]):
        people = select(u.id, u.user_name, u.status).where(u.workspace == workspace, u.id.in_(ids))
        names |= {row.id: (row.user_name, row.status) for row in conn.execute(people)}
        nested = select(g.id, g.display_name).where(g.workspace == workspace, g.id.in_(ids))
        names |= {row.id: (row.display_name, None) for row in conn.execute(nested)}
    return tuple(MemberSeen(id, kind, *names.get(id, (id, None)), tuple(origins.get(id, ()))) for kind, id in here)


def kinds_of(conn: Connection, workspace: str, ids: Iterable[str]) -> dict[str, str]:
    """Which of these are undeleted users or groups: id -> "user" or "group"."""
    u, g = t.users.c, t.groups.c
    found: dict[str, str] = {}
    for some in facts.batched(sorted(set(ids))):
        people = select(u.id).where(u.workspace == workspace, u.id.in_(some), u.status != "deleted")
        found |= dict.fromkeys(conn.scalars(people), "user")
        found |= dict.fromkeys(conn.scalars(select(g.id).where(g.workspace == workspace, g.id.in_(some))), "group")
    return found


def stated(conn: Connection, workspace: str, group: str, ids: Iterable[str]) -> dict[str, set[str]]:
    """Who of these is in the group directly: id -> the sources that say so."""
    m = t.memberships.c
    found: dict[str, set[str]] = defaultdict(set)
    for some in facts.batched(sorted(set(ids))):
        query = select(m.member_id, m.origin).where(
            m.workspace == workspace, m.group_id == group, m.member_id.in_(some)
        )
        for row in conn.execute(query):
            found[row.member_id].add(row.origin)
    return found
