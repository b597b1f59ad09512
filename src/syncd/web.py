"""The web process: one ASGI application over given parts. It reads no settings and opens nothing by itself.

Observed -> Authenticated -> routes. The outermost layer gives each request its id, one log line, its metrics, and a plain 500
with that id for what nobody expected. Everything needs a token but `/healthz` and `/readyz`; `/` and `/metrics` do too
unless the process is bound to loopback (`open_status`). On shutdown the application closes the database it was given.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from syncd import status
from syncd.auth import ACTOR, CACHE_S, Authenticated, Authenticator
from syncd.core.actor import Actor
from syncd.core.workspace import Workspace
from syncd.errors import DatabaseUnavailable, Forbidden, SyncdError
from syncd.scim.endpoint import MEDIA_TYPE, PREFIX, ROUTE, TOLERANCES, Context, error
from syncd.scim.messages import error_body
from syncd.scim.routes import scim_routes
from syncd.store import listing, migrate
from syncd.store.engine import Database
from syncd.store.read import Connection

log = structlog.get_logger(__name__)
NOTE_USED_EVERY_S: Final = 60
OPEN: Final = frozenset({"/healthz", "/readyz"})
OPEN_ON_LOOPBACK: Final = frozenset({"/", "/metrics"})


def create_web(
    database: Database,
    workspaces: Mapping[str, Workspace],
    clock: Callable[[], datetime],
    ids: Callable[[], str],
    public_url: str,
    open_status: bool = False,
    token_cache_s: float = CACHE_S,
    routes: Sequence[BaseRoute] = (),
) -> Starlette:
    """The application. `workspaces`: by name; `public_url`: how others reach it, such as `https://syncd.example.org`.

    `open_status`: `/` and `/metrics` without a token, for a process bound to loopback. `token_cache_s`: how long a
    verified token is not looked up again, and so how long a revoked one may go on. `routes` come after SCIM's and stand
    behind the same authentication.
    """
    authenticator = Authenticator(database, workspaces, clock, token_cache_s)
    context = Context(database, workspaces, clock, ids, public_url.rstrip("/") + PREFIX)
    metrics = Metrics.new()
    own = _Pages(database, workspaces, clock, metrics)
    application = Starlette(
        routes=[
            *scim_routes(context),
            Route("/healthz", own.healthz),
            Route("/readyz", own.readyz),
            Route("/metrics", own.metrics_),
            Route("/", own.status_),
            *routes,
        ],
        middleware=[
            Middleware(Observed, metrics=metrics, ids=ids),
            Middleware(
                Authenticated,
                authenticator=authenticator,
                open_paths=OPEN | OPEN_ON_LOOPBACK if open_status else OPEN,
                refuse=error,
            ),
        ],
        exception_handlers={SyncdError: _refused},
        lifespan=lambda _: _running(authenticator, database),
    )
    application.router.redirect_slashes = False  # a path has one spelling, made in front
    return application


async def _refused(_: Request, exc: Exception) -> Response:
    assert isinstance(exc, SyncdError)
    return error(exc)


@contextlib.asynccontextmanager
async def _running(authenticator: Authenticator, database: Database) -> AsyncIterator[None]:
    async def note() -> None:
        while True:
            await asyncio.sleep(NOTE_USED_EVERY_S)
            await _note_used(authenticator)

    noting = asyncio.create_task(note())
    try:
        yield
    finally:
        noting.cancel()
        await _note_used(authenticator)
        await database.aclose()


async def _note_used(authenticator: Authenticator) -> None:
    try:
        await authenticator.note_used()
    except DatabaseUnavailable as exc:
        log.warning("token_use_not_noted", why=str(exc))


# -- observing -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Metrics:
    """Of one application. Labels are route templates and statuses: nothing of a request, no workspace."""

    registry: CollectorRegistry
    requests: Counter
    seconds: Histogram

    @staticmethod
    def new() -> Metrics:
        registry = CollectorRegistry()
        names = ("method", "route")
        return Metrics(
            registry,
            Counter("syncd_http_requests", "Requests answered.", (*names, "status"), registry=registry),
            Histogram("syncd_http_request_seconds", "Time to answer a request.", names, registry=registry),
        )


class Observed:
    """The outermost layer: request id, log line, metrics, and a 500 that says nothing but the id."""

    def __init__(self, app: ASGIApp, metrics: Metrics, ids: Callable[[], str]) -> None:
        self._app, self._metrics, self._ids = app, metrics, ids

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, request_id, answered = time.perf_counter(), self._ids(), 0

        async def sending(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception:
            log.exception("request_failed", request_id=request_id, method=scope["method"], route=scope.get(ROUTE))
            if not answered:
                body = error_body(500, f"something unexpected happened; the log has it under request {request_id}")
                await Response(body, 500, media_type=MEDIA_TYPE)(scope, receive, sending)
        took_s = time.perf_counter() - started
        self._observe(scope, request_id, answered, took_s)

    def _observe(self, scope: Scope, request_id: str, answered: int, took_s: float) -> None:
        route, method = scope.get(ROUTE) or "other", scope["method"]
        if method not in _METHODS:
            method = "other"
        self._metrics.requests.labels(method, route, answered).inc()
        self._metrics.seconds.labels(method, route).observe(took_s)
        if not scope["path"].startswith("/scim"):
            return
        actor = scope.get(ACTOR)
        more: dict[str, Any] = {}
        if isinstance(actor, Actor):
            more = {"workspace": actor.workspace, "connection": actor.name}
        if scope.get(TOLERANCES):
            more["tolerances"] = scope[TOLERANCES]
        took_ms = round(took_s * 1000, 2)
        log.info("scim_answered", method=method, route=route, status=answered, took_ms=took_ms, id=request_id, **more)


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


# -- the process's own pages ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Pages:
    database: Database
    workspaces: Mapping[str, Workspace]
    clock: Callable[[], datetime]
    metrics: Metrics

    async def healthz(self, request: Request) -> Response:
        """The process answers; says nothing else."""
        return PlainTextResponse("ok")

    async def readyz(self, request: Request) -> Response:
        """The database answers and is of this release's schema."""
        try:
            await asyncio.to_thread(migrate.require_current, self.database)
        except DatabaseUnavailable:
            return PlainTextResponse("not ready", 503)
        return PlainTextResponse("ready")

    async def metrics_(self, request: Request) -> Response:
        return Response(generate_latest(self.metrics.registry), headers={"content-type": CONTENT_TYPE_LATEST})

    async def status_(self, request: Request) -> Response:
        """With a token the workspace of the token; without one, on loopback, all."""
        actor = request.scope.get(ACTOR)
        shown = list(self.workspaces.values())
        if isinstance(actor, Actor):
            if not actor.may("users:read"):
                raise Forbidden("this token lacks the permission users:read")
            shown = [self.workspaces[actor.workspace]]

        def read() -> list[status.Standing]:
            with self.database.reading() as conn:
                return [_standing(conn, workspace) for workspace in shown]

        return HTMLResponse(status.page(await asyncio.to_thread(read), self.clock()))


def _standing(conn: Connection, workspace: Workspace) -> status.Standing:
    return status.Standing(listing.overview(conn, workspace), listing.seat_pools(conn, workspace))
