"""Queries for lists (RFC 7644 section 3.4.2, RFC 9865): of users, of groups, and at the root of both at once.

One page is one transaction. Pages are counted (`startIndex`) unless the request has a `cursor`, empty for the first page.
At the root an attribute that only one type has is for the other one without a value (3.4.2.1), and a token sees the types
it may read. A cursor gives no access: every page is asked for, and permitted, anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

from syncd.core import cursor as cursors
from syncd.core.cursor import Cursor, InvalidCount, InvalidCursor
from syncd.core.filter import Filter
from syncd.core.filter_text import spelt_one_way
from syncd.core.resource import shown as readable
from syncd.core.schema import Attribute, Resolved, ResourceType, Returned, Type
from syncd.core.types import Types, looked_up
from syncd.errors import InvalidValue, too_narrow
from syncd.scim import render
from syncd.scim.discovery import DEFAULT_RESULTS, MAX_RESULTS
from syncd.scim.endpoint import Call, listed, selected
from syncd.scim.messages import ListQuery, list_response, parse_search_request
from syncd.scim.remembered import shown_users, users_at
from syncd.scim.render import Shown
from syncd.store import pages, read
from syncd.store.filtering import indexed_group_key, indexed_key
from syncd.store.pages import Listed, Position
from syncd.store.read import Connection, Order, Reader, Window

FAR: Final = 5000  # a page that starts beyond this number is a walk over many rows


@dataclass(frozen=True, slots=True)
class Kind:
    """A resource type that can be listed, and the permission that takes."""

    resource: str
    permission: str
    listed: Callable[[Reader], Listed]

    def type(self, types: Types) -> ResourceType:
        return types.of(self.resource)


USERS: Final = Kind("user", "users:read", pages.users)
GROUPS: Final = Kind("group", "groups:read", pages.groups)
_OF_USERS: Final = (USERS,)
_OF_GROUPS: Final = (GROUPS,)


async def users(call: Call) -> Response:
    return await _answer(call, call.query(), USERS)


async def search_users(call: Call) -> Response:
    """POST to `/.search` (RFC 7644 section 3.4.3)."""
    return await _answer(call, parse_search_request(await call.body()), USERS)


async def groups(call: Call) -> Response:
    return await _answer(call, call.query(), GROUPS)


async def search_groups(call: Call) -> Response:
    return await _answer(call, parse_search_request(await call.body()), GROUPS)


async def everything(call: Call) -> Response:
    return await _answer(call, call.query(), *_readable(call))


async def search_everything(call: Call) -> Response:
    return await _answer(call, parse_search_request(await call.body()), *_readable(call))


def _readable(call: Call) -> tuple[Kind, ...]:
    kinds = tuple(kind for kind in (USERS, GROUPS) if call.actor.may(kind.permission))
    if not kinds:
        raise too_narrow(f"this token lacks the permissions {USERS.permission} and {GROUPS.permission}")
    if any(call.actor.limited_to(kind.permission.partition(":")[0], "read") is not None for kind in kinds):
        raise too_narrow("this token sees only some attributes: ask for users and groups apart")
    return kinds


async def _answer(call: Call, query: ListQuery, *kinds: Kind) -> Response:
    query = call.narrowed(query)
    shown, reader = selected(query), call.reader
    types = [kind.type(call.types) for kind in kinds]
    filters = [call.filter(query, type, *(other for other in types if other is not type)) for type in types]
    key = indexed_key(filters[0]) if kinds == _OF_USERS and query.sort_by is None and query.cursor is None else None
    if key is not None:
        page = await call.context.database.read(lambda conn: _looked_up(call, conn, key, query, shown))
        if page is not None:
            return listed(page)
    if kinds == _OF_GROUPS and query.sort_by is None and query.cursor is None:
        found = await _groups_looked_up(call, filters[0], query, shown)
        if found is not None:
            return listed(found)
    sorting = orders(query, types)
    paging = await window_of(call, query, [type.name for type in types])
    window = paging.window
    lists = [kind.listed(reader) for kind in kinds]

    def work(conn: Connection) -> bytes:
        if len(kinds) == 1:
            total, rows, more = _page(call, conn, kinds[0], filters[0], sorting[0], window, shown)
        else:
            total, rows, more = _page_of_all(call, conn, list(zip(lists, filters, sorting, strict=True)), window, shown)
        return list_body(call, query, paging, total, rows, more)

    members = any(
        kind is GROUPS and shown.wants("members", call.types.group) for kind in kinds
    )  # nobody knows how many
    near = not members and all(
        pages.is_near(listed, reader, filter, order, window, FAR, _indexed(call, listed.resource))
        for listed, filter, order in zip(lists, filters, sorting, strict=True)
    )
    body = await (call.context.database.read(work) if near else call.context.scan(work))
    return listed(body)


def _indexed(call: Call, resource: str) -> frozenset[str]:
    return frozenset(each.path for each in looked_up(call.types)) if resource == "user" else frozenset()


def _looked_up(call: Call, conn: Connection, key: tuple[str, str], query: ListQuery, shown: Shown) -> bytes | None:
    """The ListResponse for who has this value of one attribute: what clients ask most. None: there are many."""
    rows = read.looked_up(conn, call.remembering, key, shown.wants("groups", call.types.user))
    if rows is None:
        return None
    first = query.start_index - 1
    here = rows[first : first + _count(query)]
    return list_response(len(rows), query.start_index, shown_users(call, conn, here, shown))


async def _groups_looked_up(call: Call, filter: Filter | None, query: ListQuery, shown: Shown) -> bytes | None:
    """The same of groups; how many members they have nobody knows."""
    key, type, reader = indexed_group_key(filter), call.types.group, call.reader
    if key is None:
        return None
    members, first = shown.wants("members", type), query.start_index - 1

    def work(conn: Connection) -> bytes | None:
        found = read.groups_looked_up(conn, reader, key)
        if found is None:
            return None
        here = found[first : first + _count(query)]
        here = read.with_members(conn, reader, here) if members else here
        bodies = [render.group(each, call.context.base_url, type, shown) for each in here]
        return list_response(len(found), query.start_index, bodies)

    return await (call.context.scan(work) if members else call.context.database.read(work))


def list_body(
    call: Call, query: ListQuery, paging: Paging, total: int, rows: Sequence[bytes], more: Position | None
) -> bytes:
    """The ListResponse; by cursor with the next one. A filtered list's total is counted once and goes along in the cursor."""
    window = paging.window
    if not window.keyset:
        return list_response(total, query.start_index, rows)
    sealed = None
    if more is not None:
        known = None if query.filter is None else total
        expires = int(call.context.clock().timestamp()) + cursors.TIMEOUT_S
        sealed = cursors.seal(Cursor(more.key, more.id, window.count, known, expires), paging.binding, paging.key)
    return list_response(total, None, rows, sealed)


def _page(
    call: Call, conn: Connection, kind: Kind, filter: Filter | None, order: Order, window: Window, shown: Shown
) -> tuple[int, list[bytes], Position | None]:
    base = call.context.base_url
    if kind is USERS:
        if filter is None and order.by is None:
            found = read.page_of_users(conn, call.remembering, window, order.descending)
            if found is not None:
                return found.total, users_at(call, conn, found.rows, shown), found.more
        groups, derived = shown.wants("groups", call.types.user), shown.derived
        page = read.list_users(conn, call.remembering, filter, window, order, groups=groups, derived=derived)
        return page.total, [render.user(row, base, call.types.user, shown) for row in page.rows], page.more
    page = read.list_groups(conn, call.reader, filter, window, order, members=shown.wants("members", call.types.group))
    return page.total, [render.group(row, base, call.types.group, shown) for row in page.rows], page.more


def _page_of_all(
    call: Call, conn: Connection, lists: list[tuple[Listed, Filter | None, Order]], window: Window, shown: Shown
) -> tuple[int, list[bytes], Position | None]:
    base, reader = call.context.base_url, call.reader
    page = pages.page_of_all(conn, reader, lists, window)
    ids = {kind: [id for resource, id in page.rows if resource == kind] for kind in ("user", "group")}
    groups, derived = shown.wants("groups", call.types.user), shown.derived
    found = {
        row.id: render.user(row, base, call.types.user, shown)
        for row in read.users_by_id(conn, reader, ids["user"], groups=groups, derived=derived).values()
    }
    for row in read.groups_by_id(conn, reader, ids["group"], members=shown.wants("members", call.types.group)).values():
        found[row.id] = render.group(row, base, call.types.group, shown)
    return page.total, [found[id] for _, id in page.rows if id in found], page.more


# -- what a query asks for ---------------------------------------------------------------------------------------------------


def orders(query: ListQuery, types: Sequence[ResourceType]) -> list[Order]:
    """For each type. Raises InvalidValue unless one of them has what is to be sorted by."""
    descending = query.sort_order == "descending"
    if query.sort_by is None:
        return [Order(None, descending) for _ in types]
    found = [_sortable(query.sort_by, type) for type in types]
    if not any(found):
        raise InvalidValue(f"sortBy: {readable(query.sort_by)} is not an attribute of {types[0].name}")
    return [Order(each, descending) for each in found]


def _sortable(name: str, of: ResourceType) -> Resolved | None:
    """The simple attribute; of a complex one its `value`, if it has one."""
    found = of.resolve(name)
    if found is None:
        return None
    if Returned.NEVER in (found.attribute.returned, found.parent and found.parent.returned):
        raise InvalidValue(f"sortBy: {found.path} is never shown, so it cannot be sorted by")
    if found.attribute.type is not Type.COMPLEX:
        return found
    value: Attribute | None = found.attribute.sub("value")
    if value is None or found.path == found.extension:
        joint = ":" if found.path == found.extension else "."
        names = ", ".join(f"{found.path}{joint}{sub.name}" for sub in found.attribute.sub_attributes[:3])
        raise InvalidValue(f"sortBy: {found.path} is complex: name a part of it, such as {names}")
    return of.resolve(f"{found.path}.{value.name}")


def _count(query: ListQuery) -> int:
    return min(DEFAULT_RESULTS if query.count is None else query.count, MAX_RESULTS)


@dataclass(frozen=True, slots=True)
class Paging:
    """The rows that are asked for; and for a cursor what it is bound to, and the key."""

    window: Window
    binding: bytes = b""
    key: bytes = b""


async def window_of(call: Call, query: ListQuery, types: Sequence[str]) -> Paging:
    """`types`: names of the resource types listed. Raises InvalidCursor, ExpiredCursor, InvalidCount."""
    if query.cursor is None:
        return Paging(Window(_count(query), query.start_index))
    count = DEFAULT_RESULTS if query.count is None else query.count
    if count > MAX_RESULTS:
        raise InvalidCount(f"count is {count}, with a cursor at most {MAX_RESULTS}")
    if query.start_index > 1:
        raise InvalidCursor("startIndex and cursor are two ways to page: give only one")
    names = (query.attributes, query.excluded)
    condition = query.filter and spelt_one_way(query.filter)
    binding = cursors.digest(
        *(call.actor.workspace, call.actor.source, [*types], condition),
        *(query.sort_by and query.sort_by.lower(), query.sort_order, [sorted(map(str.lower, each)) for each in names]),
    )
    key = await call.context.cursor_key()
    if not query.cursor:
        return Paging(Window(count, keyset=True), binding, key)
    cursor = cursors.unseal(query.cursor, binding, key, call.context.clock())
    if cursor.count != count:
        raise InvalidCount(f"count is {count}, but this cursor is of pages of {cursor.count}")
    return Paging(Window(count, 1, True, Position(cursor.key, cursor.id), cursor.total), binding, key)
