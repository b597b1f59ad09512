"""What SCIM reads: stored documents with what is spliced into them. Nothing here writes.

A reader is one connection: (workspace, source). Everything asks for the workspace first. A user whose link of this very
source has the stage `deleted` does not exist for it, though another source may still vouch for her. Pages are ordered by
id, so that they neither overlap nor skip. What is spliced in (groups, members, managers) costs one statement a page.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, select

from syncd.core.filter import Filter
from syncd.core.state import Link
from syncd.store import pages
from syncd.store import read_queries as queries
from syncd.store import tables as t
from syncd.store.facts import link_of
from syncd.store.pages import Order, Page, Window
from syncd.store.read_queries import Reader
from syncd.store.search import compile_element

__all__ = ["Connection", "GroupOf", "Member", "Order", "Page", "Reader", "Stored", "Window", "get_group", "get_user"]
__all__ += ["groups_by_id", "kinds_of", "links", "list_groups", "list_users", "member_views", "members_matching"]
__all__ += ["stated_members", "user_named", "users_by_id"]

# The document is JSON without blanks, so within a text these quotes would be escaped.
_MANAGER = re.compile(rb'"manager":\{"value":("(?:[^"\\]|\\.)*")')


@dataclass(frozen=True, slots=True)
class GroupOf:
    """A group a user belongs to."""

    id: str
    display: str
    direct: bool


@dataclass(frozen=True, slots=True)
class Member:
    """A user or a nested group that belongs to a group, directly."""

    id: str
    kind: str  # "user" | "group"
    display: str


@dataclass(frozen=True, slots=True)
class Stored:
    """A resource as it is stored, and what its document leaves out. () also stands for what was not asked for."""

    id: str
    document: bytes
    version: int
    created_at: datetime
    modified_at: datetime
    external_id: str | None  # as this connection named it
    source: str = ""  # a group's owner
    manager: str | None = None  # the manager's id, if it is a user of this workspace
    groups: tuple[GroupOf, ...] = ()
    members: tuple[Member, ...] = ()
    derived: Mapping[str, Any] | None = None  # status, seats and waiting, if they were asked for


# -- users ----------------------------------------------------------------------------------------------------------------


def get_user(
    conn: Connection, reader: Reader, id: str, groups: bool = True, lock: bool = False, derived: bool = False
) -> Stored | None:
    """One user this connection can see. `lock`: her row, before anything of her is read (PostgreSQL)."""
    if lock and conn.dialect.name == "postgresql":
        _lock(conn, t.users, reader.workspace, id)
    row = conn.execute(queries.user_by_id(), queries.of(reader) | {"id": id}).first()
    if row is None:
        return None
    return _with_derived(conn, reader, _with_spliced(conn, reader, [_stored(row)], groups), derived)[0]


def list_users(
    conn: Connection,
    reader: Reader,
    filter: Filter | None,
    window: Window,
    order: Order = Order(),
    groups: bool = True,
    derived: bool = False,
) -> Page[Stored]:
    """Raises InvalidFilter, InvalidValue for what cannot be searched or sorted by."""
    found = pages.page(conn, reader, pages.users(reader), filter, order, window)
    spliced = _with_spliced(conn, reader, [_stored(row) for row in found.rows], groups)
    return Page(found.total, tuple(_with_derived(conn, reader, spliced, derived)), found.more)


def users_by_id(
    conn: Connection, reader: Reader, ids: Sequence[str], groups: bool = True, derived: bool = False
) -> dict[str, Stored]:
    """Those of these users this connection can see."""
    query = queries.all_users().where(t.users.c.id.in_(queries.in_list(conn, ids)))
    rows = [_stored(row) for row in conn.execute(query, queries.of(reader))]
    return {row.id: row for row in _with_derived(conn, reader, _with_spliced(conn, reader, rows, groups), derived)}


def user_named(conn: Connection, workspace: str, user_name_key: str) -> str | None:
    """The id of the user of this name, whoever may see her."""
    u = t.users.c
    return conn.scalar(
        select(u.id).where(u.workspace == workspace, u.user_name_key == user_name_key, u.status != "deleted")
    )


def links(conn: Connection, workspace: str, resource: str, id: str) -> tuple[Link, ...]:
    """Every link of one user or group, by source and key."""
    k = t.links.c
    query = select(t.links).where(k.workspace == workspace, k.resource == resource, k.resource_id == id)
    # Sorted here: asked for an order, SQLite would walk all links by their key to save itself the sorting.
    return tuple(sorted((link_of(row) for row in conn.execute(query)), key=lambda link: (link.source, link.key)))


# -- groups ---------------------------------------------------------------------------------------------------------------


def get_group(conn: Connection, reader: Reader, id: str, members: bool = True, lock: bool = False) -> Stored | None:
    """One group, whichever source owns it."""
    if lock and conn.dialect.name == "postgresql":
        _lock(conn, t.groups, reader.workspace, id)
    row = conn.execute(queries.group_by_id(), queries.of(reader) | {"id": id}).first()
    return None if row is None else _with_members(conn, reader, [_stored(row)], members)[0]


def list_groups(
    conn: Connection,
    reader: Reader,
    filter: Filter | None,
    window: Window,
    order: Order = Order(),
    members: bool = True,
) -> Page[Stored]:
    """Raises InvalidFilter, InvalidValue for what cannot be searched or sorted by."""
    found = pages.page(conn, reader, pages.groups(reader), filter, order, window)
    return Page(found.total, tuple(_with_members(conn, reader, [*map(_stored, found.rows)], members)), found.more)


def groups_by_id(conn: Connection, reader: Reader, ids: Sequence[str], members: bool = True) -> dict[str, Stored]:
    query = queries.all_groups().where(t.groups.c.id.in_(queries.in_list(conn, ids)))
    rows = [_stored(row) for row in conn.execute(query, queries.of(reader))]
    return {row.id: row for row in _with_members(conn, reader, rows, members)}


def kinds_of(conn: Connection, reader: Reader, ids: Iterable[str]) -> dict[str, str]:
    """Which of these ids are users or groups this connection can see: id -> "user" or "group"."""
    u, g = t.users.c, t.groups.c
    wanted = queries.in_list(conn, ids)
    users = select(u.id).where(u.workspace == reader.workspace, u.id.in_(wanted), *queries.visible())
    found = dict.fromkeys(conn.scalars(users, queries.of(reader)), "user")
    groups = select(g.id).where(g.workspace == reader.workspace, g.id.in_(wanted), queries.visible_group(g))
    return found | dict.fromkeys(conn.scalars(groups, queries.of(reader)), "group")


def stated_members(
    conn: Connection, reader: Reader, group: str, among: Iterable[str] | None = None, but: Iterable[str] = ()
) -> dict[str, str]:
    """Members this source stated: id -> "user" or "group". Only those of `among`, if given; none of `but`."""
    m = t.memberships.c
    query = select(m.member_id, m.member).where(
        m.workspace == reader.workspace,
        m.group_id == group,
        m.member.in_(("user", "group")),
        m.origin == reader.source,
    )
    if among is not None:
        query = query.where(m.member_id.in_(queries.in_list(conn, among)))
    if excluded := list(but):
        query = query.where(m.member_id.not_in(queries.in_list(conn, excluded)))
    return {row.member_id: row.member for row in conn.execute(query)}


def members_matching(conn: Connection, reader: Reader, group: str, where: Filter) -> frozenset[str]:
    """Ids of the members of one group whom the condition within `members[...]` selects."""
    rows, g = queries.members_of(reader), t.groups.c
    selected = compile_element(where, pages.dialect(conn), "members", rows)
    query = select(rows.columns["value"]).select_from(rows.table)
    query = query.where(g.workspace == reader.workspace, g.id == group, rows.of, selected)
    return frozenset(conn.scalars(query, queries.of(reader)))


def member_views(conn: Connection, reader: Reader, ids: Iterable[str]) -> dict[str, dict[str, str]]:
    """How filters see these users and groups as members; whoever this connection cannot see is left out."""
    u, g, wanted = t.users.c, t.groups.c, queries.in_list(conn, ids)
    users = select(u.id, u.user_name_key).where(u.workspace == reader.workspace, u.id.in_(wanted), *queries.visible())
    groups = select(g.id, g.display_key).where(
        g.workspace == reader.workspace, g.id.in_(wanted), queries.visible_group(g)
    )
    found: dict[str, dict[str, str]] = {}
    for query, kind, url in ((users, "user", reader.users_url), (groups, "group", reader.groups_url)):
        for id, name in conn.execute(query, queries.of(reader)):
            found[id] = {"value": id, "type": kind, "$ref": url + id, "display": name}
    return found


# -- what is spliced in ---------------------------------------------------------------------------------------------------


def _with_spliced(conn: Connection, reader: Reader, rows: Sequence[Stored], groups: bool) -> list[Stored]:
    of = _groups_of(conn, reader, [row.id for row in rows]) if groups and rows else {}
    named = {row.id: orjson.loads(found[1]) for row in rows if (found := _MANAGER.search(row.document))}
    known = _present(conn, reader, named.values()) if named else frozenset()
    if not of and not known:
        return list(rows)
    return [
        replace(row, groups=of.get(row.id, ()), manager=manager if (manager := named.get(row.id)) in known else None)
        for row in rows
    ]


def _with_derived(conn: Connection, reader: Reader, rows: list[Stored], derived: bool) -> list[Stored]:
    """Status and seats, which are returned on request only."""
    if not derived or not rows:
        return rows
    u, s = t.users.c, t.seats.c
    ids = queries.in_list(conn, [row.id for row in rows])
    status = {
        row.id: row.status
        for row in conn.execute(select(u.id, u.status).where(u.workspace == reader.workspace, u.id.in_(ids)))
    }
    pools: dict[str, dict[bool, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in conn.execute(
        select(s.user_id, s.pool, s.held).where(s.workspace == reader.workspace, s.user_id.in_(ids)).order_by(s.pool)
    ):
        pools[row.user_id][bool(row.held)].append(row.pool)
    return [
        replace(row, derived={"status": status[row.id], "seats": pools[row.id][True], "waiting": pools[row.id][False]})
        for row in rows
    ]


def _present(conn: Connection, reader: Reader, ids: Iterable[str]) -> frozenset[str]:
    u = t.users.c
    query = select(u.id).where(
        u.workspace == reader.workspace, u.id.in_(queries.in_list(conn, ids)), *queries.visible()
    )
    return frozenset(conn.scalars(query, queries.of(reader)))


def _groups_of(conn: Connection, reader: Reader, users: list[str]) -> dict[str, tuple[GroupOf, ...]]:
    found: dict[str, list[GroupOf]] = defaultdict(list)
    for row in conn.execute(queries.groups_of_users(), queries.of(reader) | {"users": users}):
        found[row.user_id].append(GroupOf(row.group_id, row.display_name, bool(row.direct)))
    return {user: tuple(groups) for user, groups in found.items()}


def _with_members(conn: Connection, reader: Reader, rows: Sequence[Stored], members: bool) -> list[Stored]:
    if not members or not rows:
        return list(rows)
    found: dict[str, list[Member]] = defaultdict(list)
    bound = queries.of(reader) | {"groups": [row.id for row in rows]}
    for row in conn.execute(queries.members_of_groups(), bound):
        found[row.group_id].append(Member(row.member_id, row.member, row.display))
    return [replace(row, members=tuple(found.get(row.id, ()))) for row in rows]


def _stored(row: Any) -> Stored:
    return Stored(
        row.id, row.document, row.version, row.created_at, row.modified_at, row.external_id, source=row.source
    )


def _lock(conn: Connection, table: Any, workspace: str, id: str) -> None:
    conn.execute(select(table.c.id).where(table.c.workspace == workspace, table.c.id == id).with_for_update())
