"""Every path under /scim, each with its methods and the permission each method needs.

What is not listed does not exist: a path gives 404, a method 405, both as SCIM errors. `/Me` is the user who bears the token,
and 501 for a token of a connection (RFC 7644 section 3.11). What writes is in one table, from which the single request, bulk
and what is done later all take it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson
from starlette.responses import Response
from starlette.routing import Route

from syncd.core.permission import named
from syncd.core.types import Types, with_password
from syncd.errors import Forbidden, NotFound, too_narrow
from syncd.scim import catalogue, discovery, groups, passwords, query, users
from syncd.scim.bulk import Bulk
from syncd.scim.endpoint import (
    ALIAS_OF,
    AUTHENTICATED,
    MEDIA_TYPE,
    PREFIX,
    UNVERSIONED,
    Call,
    Endpoint,
    Handler,
    Method,
    NotOffered,
)
from syncd.scim.later import Later
from syncd.scim.messages import list_response
from syncd.scim.writes import Writes
from syncd.serving import Context


def scim_routes(context: Context, later: Later) -> list[Route]:
    """The routes, for an application that has authenticated the request before (auth.Authenticated)."""

    def or_later(path: str, methods: Mapping[str, Method]) -> dict[str, Method]:
        return {name: replace(each, handle=later.or_now(path, each.handle)) for name, each in methods.items()}

    def at(path: str, **methods: Method) -> Route:
        return Route(PREFIX + path, Endpoint(context, PREFIX + path, **methods))

    def reading(handle: Handler) -> dict[str, Method]:
        return {"GET": Method(AUTHENTICATED, handle)}

    def me(methods: Mapping[str, Method]) -> dict[str, Method]:
        create = Method(AUTHENTICATED, _not_offered("users are made at /Users"))
        return {"POST": create} | {name: Method(AUTHENTICATED, _as_me(each)) for name, each in methods.items()}

    def shelf(permission: str, of: catalogue.Shelf) -> list[Route]:
        path = of.type.endpoint
        return [
            at(path, GET=Method(permission, of.list)),
            at(f"{path}/.search", POST=Method(permission, of.search)),
            at(f"{path}/{{id}}", GET=Method(permission, of.get)),
        ]

    routes, writes = [], later.writes
    for name, kind, module, list_, search in (
        ("/Users", "users", users, query.users, query.search_users),
        ("/Groups", "groups", groups, query.groups, query.search_groups),
    ):
        can_read = f"{kind}:read"
        of_list, of_one = writes.endpoints[name]
        routes += [
            at(name, GET=Method(can_read, list_), **or_later(name, of_list)),
            at(f"{name}/.search", POST=Method(can_read, search)),
            at(f"{name}/{{id}}", GET=Method(can_read, module.get), **or_later(name, of_one)),
        ]
    routes += [
        *shelf("roles:read", catalogue.ROLES),
        *shelf("seats:read", catalogue.ENTITLEMENTS),
        at("/ServiceProviderConfig", **reading(_config)),
        at("/ResourceTypes", **reading(_all(discovery.resource_types))),
        at("/ResourceTypes/{id}", **reading(_named(discovery.resource_type))),
        at("/Schemas", **reading(_all(discovery.schemas))),
        at("/Schemas/{id}", **reading(_named(discovery.schema))),
        at("/Me", **me({"GET": Method("users:read", users.get), **or_later("/Users", writes.endpoints["/Users"][1])})),
        at("/Bulk", **or_later("/Bulk", {"POST": Method(AUTHENTICATED, Bulk(writes).handle)})),
        at("/Events/{id}", **reading(later.event)),
        at("", GET=Method(AUTHENTICATED, query.everything)),
        at("/.search", POST=Method(AUTHENTICATED, query.search_everything)),
    ]
    # A request that names no version is one of the latest (RFC 7644 section 3.13).
    unversioned = [Route(UNVERSIONED + each.path.removeprefix(PREFIX), each.app) for each in routes]
    nothing = Route(f"{UNVERSIONED}/{{rest:path}}", Endpoint(context, f"{UNVERSIONED}/{{rest}}"))
    return [*routes, *unversioned, nothing]


def writes_of(context: Context) -> Writes:
    """Everything that writes."""
    endpoints = {}
    for name, kind, module in (("/Users", "users", users), ("/Groups", "groups", groups)):
        update = f"{kind}:update"
        of_one = {"PUT": Method(update, module.replace_), "PATCH": Method(update, module.patch)}
        of_one["DELETE"] = Method(f"{kind}:delete", module.delete)
        endpoints[name] = ({"POST": Method(f"{kind}:create", module.create)}, of_one)
    return Writes(context, endpoints)


async def _config(call: Call) -> Response:
    _refuse_filter(call)
    asked = frozenset(name.lower() for name in call.query().attributes)
    if call.shows.roles_and_entitlements:
        asked |= {"rolesandentitlements"}
    if call.shows.security_events:
        asked |= {"securityevents"}
    config = discovery.service_provider_config(call.context.base_url, asked, passwords.are_kept(call))
    return _at_its_place(config)


def _all(make: Callable[[Types, str, bool], list[dict[str, Any]]]) -> Handler:
    async def handle(call: Call) -> Response:
        _refuse_filter(call)
        listed = make(_told(call), call.context.base_url, call.shows.roles_and_entitlements)
        found = [orjson.dumps(each) for each in listed]
        return Response(list_response(len(found), 1, found), media_type=MEDIA_TYPE)

    return handle


def _named(make: Callable[[Types, str, str], dict[str, Any] | None]) -> Handler:
    async def handle(call: Call) -> Response:
        _refuse_filter(call)
        found = make(_told(call), call.id, call.context.base_url)
        if found is None:
            raise NotFound(f"there is no {call.id[:100]} here")
        return _at_its_place(found)

    return handle


def _at_its_place(document: dict[str, Any]) -> Response:
    """One resource is answered as a user is (RFC 7644 section 4): with `Location`."""
    return Response(orjson.dumps(document), headers={"Location": document["meta"]["location"]}, media_type=MEDIA_TYPE)


def _told(call: Call) -> Types:
    return with_password(call.types) if passwords.are_kept(call) else call.types


def _refuse_filter(call: Call) -> None:
    """RFC 7644 section 4: a filter on discovery is answered 403; sorting and paging are ignored."""
    if any(name.lower() == "filter" for name in call.request.query_params):
        raise Forbidden("filter is not possible here: the whole list is short")


def _as_me(method: Method) -> Handler:
    """The same request of the user who bears the token (RFC 7644 section 3.11), every answer with the `Location` of this
    user; 501 if it is a connection's."""

    async def handle(call: Call) -> Response:
        if call.actor.user is None:
            raise NotOffered("this token belongs to a connection, not to a person: ask for /Users/{id}")
        call.request.scope[ALIAS_OF] = f"{call.context.base_url}/Users/{call.actor.user}"
        if not call.actor.may(method.permission):
            raise too_narrow(f"this token lacks the permission {named(method.permission)}")
        call.request.scope["path_params"] = {"id": call.actor.user}
        return await method.handle(replace(call, permission=method.permission))

    return handle


def _not_offered(why: str) -> Handler:
    async def handle(call: Call) -> Response:
        raise NotOffered(why)

    return handle
