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
from typing import Any, Final, TypeAlias

import orjson
from sqlalchemy import Connection, select

from syncd.core.filter import Filter
from syncd.core.groups import Graph
from syncd.core.offboarding import MANAGER
from syncd.core.quick import quick
from syncd.core.resource import fold
from syncd.core.schema import ENTERPRISE_USER
from syncd.core.state import Link, User
from syncd.store import filtering, pages, raw
from syncd.store import read_queries as queries
from syncd.store import tables as t
from syncd.store.fact_queries import as_list, locked, named_one
from syncd.store.fact_queries import links_of as links_of_one
from syncd.store.facts import links_of
from syncd.store.memory import GroupOf, Memory, Named
from syncd.store.pages import Order, Page, Window
from syncd.store.postponed import settle_user
from syncd.store.read_queries import Reader
from syncd.store.search import Either, compile_element

__all__ = [
    "Connection",
    "GroupOf",
    "Memory",
    "Order",
    "Page",
    "Reader",
    "Stamp",
    "Stored",
    "Window",
    "as_shown",
    "get_group",
    "get_user",
]
__all__ += [
    "as_members",
    "groups_by_id",
    "groups_looked_up",
    "ids_of_members",
    "kinds_of",
    "links",
    "list_groups",
    "list_users",
    "looked_up",
    "member_views",
    "members_matching",
    "members_of",
    "page_of_users",
]
__all__ += ["stamp_of", "stated_members", "user_named", "users_by_id", "users_of", "with_members"]

# The document is JSON without blanks, so within a text these quotes would be escaped.
_TEXT = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
# Of the enterprise extension, whose other attributes are texts; another one may have a manager of its own.
MANAGER_IN: Final = re.compile(
    rb'"%b":\{(?:"\w+":%b,)*"manager":\{"value":(%b)' % (re.escape(ENTERPRISE_USER.encode()), _TEXT, _TEXT)
)


@quick
@dataclass(frozen=True, slots=True)
class Stored:
    """A resource as it is stored, and what its document leaves out. () also stands for what was not asked for."""

    id: str
    document: bytes
    version: int
    created: int  # microseconds since 1970
    modified: int
    external_id: str | None  # as this connection named it
    source: str = ""  # a group's owner
    manager: str | None = None  # the manager's id, if it is a user of this workspace
    groups: tuple[GroupOf, ...] = ()
    members: bytes = b""  # of a group: JSON objects with commas between them
    derived: Mapping[str, Any] | None = None  # status, seats and waiting, if they were asked for
    stamp: Stamp = ()  # as long as it is the same, so is everything that the default projection shows


# (version, graph, shown): see store/memory.py
Stamp: TypeAlias = tuple[int, ...]


# -- users ----------------------------------------------------------------------------------------------------------------


def get_user(
    conn: Connection, reader: Reader, id: str, groups: bool = True, lock: bool = False, derived: bool = False
) -> Stored | None:
    """One user this connection can see. `lock`: her row, before anything of her is read (PostgreSQL)."""
    if lock and conn.dialect.name == "postgresql":
        raw.locked(conn, locked("user", "postgresql"), "users", reader.workspace, id)
    found = raw.rows(conn, queries.user_by_id(reader.own, groups), queries.of(reader) | {"value": id})
    return next(iter(_with_derived(conn, reader, _users(conn, reader, found), derived)), None)


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
    there = users_by_id(conn, reader, [row.id for row in found.rows], groups, derived)
    return Page(found.total, tuple(there[row.id] for row in found.rows if row.id in there), found.more)


# Of a user as the statements have her (queries.USER_ROW); what is spliced in is not read yet.
UserRow: TypeAlias = Sequence[Any]
MOST: Final = 200  # users of one key who are read together


def looked_up(conn: Connection, reader: Reader, key: tuple[str, str], groups: bool) -> Sequence[UserRow] | None:
    """All users this connection can see who have this value of an attribute that an index leads to (filtering.indexed_key), by
    id. None: there are many."""
    bound = queries.of(reader) | {"value": key[1], "most": MOST}
    rows = raw.rows(conn, queries.BY_KEY[key[0]](reader.own, groups), bound)
    return rows if len(rows) < MOST else None


@dataclass(frozen=True, slots=True)
class Seen:
    """A resource of which nothing more was looked at yet."""

    version: int


def stamp_of(row: UserRow) -> Stamp:
    return row[2], row[6], row[7]


def users_of(conn: Connection, reader: Reader, rows: Sequence[UserRow], derived: bool = False) -> list[Stored]:
    return _with_derived(conn, reader, _users(conn, reader, rows), derived)


def page_of_users(
    conn: Connection, reader: Reader, window: Window, descending: bool = False
) -> Page[tuple[str, Stamp]] | None:
    """Who stands on a page of all users in order of their ids, each with her stamp. None: this reader does not see all."""
    return None if reader.own else pages.in_order(conn, reader, window, descending)


def users_by_id(
    conn: Connection, reader: Reader, ids: Sequence[str], groups: bool = True, derived: bool = False
) -> dict[str, Stored]:
    """Those of these users this connection can see."""
    if not ids:
        return {}
    query = queries.users_by_ids(reader.own, groups, conn.dialect.name)
    rows = raw.rows(conn, query, queries.of(reader) | {"ids": as_list(ids)})
    return {row.id: row for row in _with_derived(conn, reader, _users(conn, reader, rows), derived)}


def user_named(conn: Connection, workspace: str, user_name_key: str) -> str | None:
    """The id of the user of this name, whoever may see her."""
    return raw.one(conn, named_one(), {"workspace": workspace, "key": user_name_key})  # type: ignore[no-any-return]


def links(conn: Connection, workspace: str, resource: str, id: str) -> tuple[Link, ...]:
    """Every link of one user or group, by source and key."""
    found = raw.one(conn, links_of_one(conn.dialect.name, resource), {"workspace": workspace, "id": id})
    return links_of(found)


def as_shown(
    conn: Connection,
    reader: Reader,
    user: User,
    document: bytes,
    modified: int,
    graph: Graph,
    derived: bool = False,
    groups: bool = True,
) -> Stored | None:
    """What `get_user` would find of a user whose state is known, in the transaction that read or wrote it.

    `graph` has the names of her groups; `modified`: microseconds since 1970; `document`: empty if it will be made later.
    """
    own = [link for link in user.links if link.source == reader.source]
    if not user.present or any([link.stage == "deleted" for link in own]) or (reader.own and not own):
        return None
    assert user.created_at is not None
    key = min([link.key for link in own]) if own else user.id
    shown: list[GroupOf] = []
    if groups and user.groups:
        direct = {each.group for each in user.memberships}
        for id in sorted(user.groups):
            name = graph.names.get(id)
            if name is not None and (not reader.own or name.source == reader.source):
                shown.append(GroupOf(id, name.display, id in direct))
    manager = _manager(document) if document else user.values.get(MANAGER)
    if manager is not None:
        settle_user(conn, reader.workspace, manager)
    if manager is not None and manager not in _present(conn, reader, [manager]):
        manager = None
    return Stored(
        *(user.id, document, user.version, t.micros(user.created_at), modified, None if key == user.id else key),
        manager=manager,
        groups=tuple(shown),
        derived=_derived_of(user) if derived else None,
    )


def _derived_of(user: User) -> dict[str, Any]:
    seats = {held: [seat.pool for seat in user.seats if seat.held is held] for held in (True, False)}
    return {"status": user.status, "seats": seats[True], "waiting": seats[False]}


# -- groups ---------------------------------------------------------------------------------------------------------------


def get_group(conn: Connection, reader: Reader, id: str, members: bool = True, lock: bool = False) -> Stored | None:
    """One group, whichever source owns it."""
    if lock and conn.dialect.name == "postgresql":
        raw.locked(conn, locked("group", "postgresql"), "groups", reader.workspace, id)
    rows = raw.rows(conn, queries.group_by_id(), queries.of(reader) | {"value": id})
    return _with_members(conn, reader, [Stored(*rows[0])], members)[0] if rows else None


def groups_looked_up(conn: Connection, reader: Reader, key: tuple[str, str]) -> list[Stored] | None:
    """All groups that have this value of an attribute that an index leads to (filtering.indexed_group_key), by id, without
    their members. None: there are many."""
    rows = raw.rows(conn, queries.GROUPS_BY_KEY[key[0]](), queries.of(reader) | {"value": key[1], "most": MOST})
    return [Stored(*row) for row in rows] if len(rows) < MOST else None


def with_members(conn: Connection, reader: Reader, groups: Sequence[Stored]) -> list[Stored]:
    return _with_members(conn, reader, groups, True)


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


def members_of(conn: Connection, reader: Reader, id: str) -> tuple[bytes, bytes, bytes]:
    """Users and groups in a group, each JSON objects with commas between; and the ids of all users in it, shown or not,
    in order, each with a comma before it, as often as sources state it."""
    query = queries.members_of_groups(reader.own, conn.dialect.name, ids=True)
    rows = raw.rows(conn, query, _as_members(reader) | {"ids": as_list([id])})
    if not rows:
        return b"", b"", b""
    _, users, groups, ids = rows[0]
    return (users or "").encode(), (groups or "").encode(), _each_behind_a_comma(ids)


def ids_of_members(conn: Connection, reader: Reader, id: str) -> bytes:
    """The ids of all users in a group, as `members_of` has them."""
    found = raw.one(conn, queries.ids_of_members(conn.dialect.name), queries.of(reader) | {"id": id})
    return _each_behind_a_comma(found)


def groups_inside(conn: Connection, reader: Reader, id: str) -> bytes:
    """The groups in a group, as `members_of` has them."""
    found = raw.one(conn, queries.groups_inside(conn.dialect.name), _as_members(reader) | {"id": id})
    return (found or "").encode()


def _each_behind_a_comma(ids: str | None) -> bytes:
    return b"," + ids.encode() if ids else b""


def members_among(conn: Connection, reader: Reader, id: str, users: Iterable[str]) -> frozenset[str]:
    """Those of these users who are members of a group, whoever states it."""
    found = raw.rows(
        conn, queries.members_among(conn.dialect.name), queries.of(reader) | {"id": id, "ids": as_list(users)}
    )
    return frozenset(member for (member,) in found)


def as_members(conn: Connection, reader: Reader, ids: Sequence[str]) -> dict[str, bytes]:
    """Those of these users whom this connection sees, as members are sent."""
    query = queries.users_as_members(reader.own, conn.dialect.name)
    rows = raw.rows(conn, query, _as_members(reader) | {"ids": as_list(ids)})
    return {id: sent.encode() for id, sent in rows}


def counts(conn: Connection, reader: Reader) -> tuple[int, ...]:
    """(graph, shown) of the workspace: see store/memory.py."""
    return tuple(raw.rows(conn, queries.graph_and_shown(), queries.of(reader))[0])


def groups_by_id(conn: Connection, reader: Reader, ids: Sequence[str], members: bool = True) -> dict[str, Stored]:
    query = queries.all_groups().where(t.groups.c.id.in_(queries.in_list(conn, ids)))
    rows = [_stored(row) for row in conn.execute(query, queries.of(reader))]
    return {row.id: row for row in _with_members(conn, reader, rows, members)}


def kinds_of(conn: Connection, reader: Reader, ids: Iterable[str]) -> dict[str, str]:
    """Which of these ids are users or groups this connection can see: id -> "user" or "group"."""
    query = queries.kinds_of(conn.dialect.name)
    return dict(map(tuple, raw.rows(conn, query, queries.of(reader) | {"ids": as_list(ids)})))


def stated_members(
    conn: Connection, reader: Reader, group: str, among: Iterable[str] | None = None, but: Iterable[str] = ()
) -> dict[str, str]:
    """Members this source stated: id -> "user" or "group". Only those of `among`, if given; none of `but`."""
    excluded = list(but)
    query = queries.stated_members(conn.dialect.name, among is not None, bool(excluded))
    bound = queries.of(reader) | {"id": group, "among": as_list(among or ()), "but": as_list(excluded)}
    return dict(map(tuple, raw.rows(conn, query, bound)))


def members_matching(conn: Connection, reader: Reader, group: str, where: Filter) -> frozenset[str]:
    """Ids of the members of one group whom the condition within `members[...]` selects."""
    rows, g = filtering.members_of(reader), t.groups.c
    selected = compile_element(where, pages.dialect(conn), "members", rows)
    member = rows.columns["value"]
    assert not isinstance(member, Either)
    query = select(member).select_from(rows.table)
    query = query.where(g.workspace == reader.workspace, g.id == group, rows.of, selected)
    return frozenset(conn.scalars(query, queries.of(reader)))


def member_views(conn: Connection, reader: Reader, ids: Iterable[str]) -> dict[str, dict[str, str]]:
    """How filters see these users and groups as members; whoever this connection cannot see is left out."""
    u, g, wanted = t.users.c, t.groups.c, queries.in_list(conn, ids)
    users = select(u.id, u.user_name).where(u.workspace == reader.workspace, u.id.in_(wanted), *queries.visible())
    groups = select(g.id, g.display_name).where(
        g.workspace == reader.workspace, g.id.in_(wanted), queries.visible_group(g)
    )
    found: dict[str, dict[str, str]] = {}
    for query, kind, url in ((users, "user", reader.users_url), (groups, "group", reader.groups_url)):
        for id, name in conn.execute(query, queries.of(reader)):
            found[id] = {"value": id, "type": kind, "$ref": url + id, "display": fold(name)}
    return found


# -- what is spliced in ---------------------------------------------------------------------------------------------------


def _users(conn: Connection, reader: Reader, rows: Sequence[Sequence[Any]]) -> list[Stored]:
    """Rows as queries.USER_ROW has them, with groups by name and managers who are there."""
    wanted: set[str] = set()
    managers: dict[str, str] = {}
    for row in rows:
        if row[8]:
            wanted.update(row[8].split(","))
        if (manager := _manager(row[1])) is not None:
            managers[row[0]] = manager
    names = _names(conn, reader, wanted, rows[0][6]) if wanted else {}
    present = _present(conn, reader, managers.values()) if managers else frozenset()
    users = []
    for id, document, version, created, modified, external_id, graph, shown, groups, direct in rows:
        manager = managers.get(id)
        users.append(
            Stored(
                *(id, document, version, created, modified, external_id, ""),
                manager=manager if manager in present else None,
                groups=_groups(groups, direct, names, reader) if groups else (),
                stamp=(version, graph, shown),
            )
        )
    return users


def _manager(document: bytes) -> str | None:
    found = MANAGER_IN.search(document) if b'"manager":' in document else None
    return None if found is None else orjson.loads(found[1])


def _groups(ids: str, direct: str | None, names: Mapping[str, Named], reader: Reader) -> tuple[GroupOf, ...]:
    stated = frozenset(direct.split(",")) if direct else ()
    found = []
    for id in sorted(ids.split(",")):
        group = names.get(id)
        if group is not None and (not reader.own or group.source == reader.source):
            found.append(group.direct if id in stated else group.indirect)
    return tuple(found)


def _names(conn: Connection, reader: Reader, wanted: set[str], graph: int) -> Mapping[str, Named]:
    """The groups of these ids, as they are remembered while `graph` stands still, and the others as they are."""
    memory = reader.memory
    known = memory.names(reader.workspace, graph) if memory is not None else {}
    missing = wanted - known.keys()
    if not missing:
        return known
    rows = raw.rows(conn, queries.group_names(conn.dialect.name), queries.of(reader) | {"ids": as_list(missing)})
    fresh = {
        id: Named(GroupOf(id, display, True), GroupOf(id, display, False), source) for id, display, source, _ in rows
    }
    if memory is not None and rows:
        memory.keep_names(reader.workspace, rows[0][3], fresh)
    return {**known, **fresh}


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
    query = queries.users_present(reader.own, conn.dialect.name)
    found = raw.rows(conn, query, queries.of(reader) | {"ids": as_list(ids)}, apart=True)
    return frozenset(row[0] for row in found)


def _with_members(conn: Connection, reader: Reader, rows: Sequence[Stored], members: bool) -> list[Stored]:
    if not members or not rows:
        return list(rows)
    query = queries.members_of_groups(reader.own, conn.dialect.name)
    bound = _as_members(reader) | {"ids": as_list([row.id for row in rows])}
    found = {id: ",".join(filter(None, (users, groups))).encode() for id, users, groups in raw.rows(conn, query, bound)}
    return [replace(row, members=found.get(row.id, b"")) for row in rows]


def _as_members(reader: Reader) -> dict[str, Any]:
    urls = {"users_url": reader.users_url, "groups_url": reader.groups_url}
    return queries.of(reader) | {name: orjson.dumps(url)[1:-1].decode() for name, url in urls.items()}


def _stored(row: Any) -> Stored:
    created, modified = t.micros(row.created_at), t.micros(row.modified_at)
    return Stored(row.id, row.document, row.version, created, modified, row.external_id, source=row.source)
