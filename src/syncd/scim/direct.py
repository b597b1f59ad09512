"""The short way to an endpoint: by the segments of the path, in front of the router that tries one pattern after another.

It knows the same endpoints under the same templates and adds nothing to them; a path that it does not know goes on to the
router, and so does everything under a prefix. It stands behind authentication, which has given the path its one spelling.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

_ID = "/{id}"


class Direct:
    """ASGI middleware over `routes`: those whose template is a plain path, or one that ends in `/{id}`."""

    def __init__(self, app: ASGIApp, routes: Iterable[Route]) -> None:
        self._app = app
        self._plain: dict[str, ASGIApp] = {}
        self._under: dict[str, ASGIApp] = {}
        for route in routes:
            known, path = (
                (self._under, route.path[: -len(_ID)]) if route.path.endswith(_ID) else (self._plain, route.path)
            )
            if "{" not in path:
                known.setdefault(path, route.app)  # the first that matches, as in the router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope.get("root_path"):
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        found = self._plain.get(path)
        if found is None:
            above, _, id = path.rpartition("/")
            found = self._under.get(above)
            if found is None:
                await self._app(scope, receive, send)
                return
            scope["path_params"] = {"id": id}
        await found(scope, receive, send)
