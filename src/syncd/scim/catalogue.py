"""/Roles and /Entitlements (core/catalogue.py): lists and single resources to read, with filters, order, pages and attributes.

There are tens of them, so they are found in memory: roles in the configuration, the numbers of all seat pools by one statement.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from starlette.responses import Response

from syncd.core import catalogue
from syncd.core import filter as filters
from syncd.core.catalogue import ENTITLEMENT, ROLE, Usage
from syncd.core.resource import flatten, search_view
from syncd.core.schema import Resolved, ResourceType
from syncd.errors import NotFound
from syncd.scim.endpoint import MEDIA_TYPE, Call, selected
from syncd.scim.messages import ListQuery, parse_search_request
from syncd.scim.projection import project
from syncd.scim.query import list_body, orders, window_of
from syncd.store import listing, made_roles
from syncd.store.pages import Position
from syncd.store.read import Order, Window

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shelf:
    """One of the two: `documents` are all that the connection may see, whole."""

    type: ResourceType
    documents: Callable[[Call], Awaitable[list[Document]]]

    async def list(self, call: Call) -> Response:
        return await self._answer(call, call.query())

    async def search(self, call: Call) -> Response:
        return await self._answer(call, parse_search_request(await call.body()))

    async def get(self, call: Call) -> Response:
        shown = selected(call.query())
        found = next((each for each in await self.documents(call) if each["id"] == call.id), None)
        if found is None:
            raise NotFound(f"there is no {self.type.name.lower()} {call.id[:64]}")
        body = orjson.dumps(project(found, shown.attributes, shown.excluded, self.type))
        return Response(body, headers={"Location": found["meta"]["location"]}, media_type=MEDIA_TYPE)

    async def _answer(self, call: Call, query: ListQuery) -> Response:
        query = call.narrowed(query)
        shown, where = selected(query), call.filter(query, self.type)
        order = orders(query, [self.type])[0]
        paging = await window_of(call, query, [self.type.name])
        found = [(each, search_view(flatten(each, self.type), self.type)) for each in await self.documents(call)]
        if where is not None:
            matches = filters.compile(where)
            found = [each for each in found if matches(each[1])]
        rows, more = _page(found, order, order.by or self.type.resolve("value"), paging.window)
        bodies = [orjson.dumps(project(each, shown.attributes, shown.excluded, self.type)) for each in rows]
        return Response(list_body(call, query, paging, len(found), bodies, more), media_type=MEDIA_TYPE)


async def _roles(call: Call) -> list[Document]:
    workspace = call.workspace
    there = await call.context.database.read(lambda conn: made_roles.known(conn, workspace))
    return catalogue.roles(workspace, call.actor.source, call.context.base_url, there)


async def _entitlements(call: Call) -> list[Document]:
    workspace = call.workspace
    pools = await call.context.database.read(lambda conn: listing.seat_pools(conn, workspace))
    usage = {each.pool: Usage(each.used, each.waiting) for each in pools}
    return catalogue.entitlements(workspace, usage, call.context.base_url)


ROLES: Final = Shelf(ROLE, _roles)
ENTITLEMENTS: Final = Shelf(ENTITLEMENT, _entitlements)


# -- order and pages ---------------------------------------------------------------------------------------------------------


def _page(
    found: Sequence[tuple[Document, Document]], order: Order, by: Resolved | None, window: Window
) -> tuple[list[Document], Position | None]:
    """As the store pages users: by value and then id in the same direction, what has no value last (store/pages.py)."""
    keyed = [(_value(view, by), str(document["id"]), document) for document, view in found]
    keyed.sort(key=lambda each: _place(each[0], each[1]), reverse=order.descending)
    if not window.keyset:
        return [each[2] for each in keyed[window.start - 1 : window.start - 1 + window.count]], None
    if window.after is not None:
        end = _place(window.after.key, window.after.id)
        keyed = [each for each in keyed if (_place(*each[:2]) < end if order.descending else _place(*each[:2]) > end)]
    rows = keyed[: window.count]
    more = Position(rows[-1][0], rows[-1][1]) if rows and len(keyed) > len(rows) else None
    return [each[2] for each in rows], more


def _place(value: Any, id: str) -> tuple[bool, Any, str]:
    return value is None, "" if value is None else value, id


def _value(view: Document, by: Resolved | None) -> Any:
    """What a resource is sorted by, of several values the first; None if it has none."""
    found: Any = view
    for key in by.search_keys if by is not None else ():
        found = found.get(key) if isinstance(found, dict) else None
    return found[0] if isinstance(found, list) else found
