"""Every path under /api, made from the one table of operations; what is not listed does not exist."""

from __future__ import annotations

from collections import defaultdict

from starlette.routing import Route

from syncd.api import (
    access,
    activity,
    adoptions,
    bulk,
    deliveries,
    emails,
    grants,
    group_grants,
    groups,
    imports,
    invitations,
    lifecycle,
    mails,
    me,
    offboarding,
    openapi,
    passwords,
    roles,
    runs,
    scopes,
    seats,
    signins,
    sources,
    tokens,
    users,
)
from syncd.api.endpoint import Edge, Endpoint
from syncd.api.operation import PREFIX, Operation
from syncd.serving import Context

_TABLE = (
    *me.OPERATIONS,
    *users.OPERATIONS,
    *lifecycle.OPERATIONS,
    *emails.OPERATIONS,
    *signins.OPERATIONS,
    *passwords.OPERATIONS,
    *access.OPERATIONS,
    *grants.OPERATIONS,
    *bulk.OPERATIONS,
    *imports.OPERATIONS,
    *groups.OPERATIONS,
    *group_grants.OPERATIONS,
    *roles.OPERATIONS,
    *scopes.OPERATIONS,
    *seats.OPERATIONS,
    *tokens.OPERATIONS,
    *deliveries.OPERATIONS,
    *mails.OPERATIONS,
    *sources.OPERATIONS,
    *runs.OPERATIONS,
    *adoptions.OPERATIONS,
    *activity.OPERATIONS,
    *offboarding.OPERATIONS,
    *invitations.OPERATIONS,
)
OPERATIONS: tuple[Operation, ...] = (*_TABLE, openapi.describing(_TABLE))


def api_routes(context: Context) -> list[Route]:
    """The routes, for an application that has authenticated the request before (auth.Authenticated).

    A path without a variable comes before one with, so that `/users/bulk` is no user.
    """
    edge = Edge(context)
    by_path: dict[str, list[Operation]] = defaultdict(list)
    for each in OPERATIONS:
        by_path[each.path].append(each)
    return [
        *(
            Route(PREFIX + path, Endpoint(edge, PREFIX + path, by_path[path]))
            for path in sorted(by_path, key=lambda path: path.count("{"))
        ),
        Route("/api", Endpoint(edge, "/api")),
        Route("/api/{rest:path}", Endpoint(edge, "/api/{rest}")),
    ]
