"""The web process: one ASGI application over given parts. It reads no settings and opens nothing by itself.

Observed -> Authenticated -> Direct -> routes. The outermost layer gives each request its id, one log line, its metrics, and
a plain 500 with that id for what nobody expected. Everything needs a token but `/healthz`, `/readyz`, `/oauth/token` and the
pages behind the links of mails, where a client proves itself otherwise; `/` and `/metrics` do too unless the process is bound
to loopback (`open_status`).
On shutdown the application closes the database it was given.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

import structlog
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import STRUCTLOG_KEY_PREFIX

from syncd import email_change, invitation, logs, oauth, reset, status
from syncd.api.operation import PREFIX as API
from syncd.api.problem import refusal, unexpected
from syncd.api.routes import api_routes
from syncd.auth import ACTOR, CACHE_S, TOLERANCES, Authenticated, Authenticator, Policy
from syncd.core.actor import Actor
from syncd.core.permission import METRICS_READ
from syncd.core.workspace import Workspace
from syncd.errors import DatabaseUnavailable, SyncdError, too_narrow
from syncd.gauges import Looking, families
from syncd.health import Timetables
from syncd.metrics import Metrics, operation
from syncd.passwords import Passwords
from syncd.scim.direct import Direct
from syncd.scim.endpoint import MEDIA_TYPE, PREFIX, error
from syncd.scim.later import Later
from syncd.scim.messages import error_body
from syncd.scim.routes import scim_routes, writes_of
from syncd.serving import REQUEST_ID, ROUTE, Context, header
from syncd.store import leases, migrate, standing
from syncd.store.engine import Database
from syncd.store.standing import Standing

log = structlog.get_logger(__name__)
NOTE_USED_EVERY_S: Final = 60
LOOK_EVERY_S: Final = 10
OPEN: Final = frozenset(
    {"/healthz", "/readyz", oauth.PATH, oauth.METADATA_PATH, invitation.PATH, reset.PATH, email_change.PATH}
)
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
    timetables: Timetables = MappingProxyType({}),
    needs_worker: bool = False,
    authentication: Policy = Policy(),
    passwords: Passwords | None = None,
) -> Starlette:
    """The application. `workspaces`: by name; `public_url`: how others reach it, such as `https://syncd.example.org`.

    `open_status`: `/` and `/metrics` without a token, for a process bound to loopback. `token_cache_s`: how long a
    verified token is not looked up again, and so how long a revoked one may go on. `routes` come after SCIM's and stand
    behind the same authentication. `timetables`: when each source is to be read, for who asks how late it is.
    `needs_worker`: not ready without a worker's heartbeat, since nobody else would run one. `authentication`: limits and
    lifetimes. `passwords`: what hashes them.
    """
    authenticator = Authenticator(database, workspaces, clock, token_cache_s, authentication)
    issuer = public_url.rstrip("/")
    hasher = passwords or Passwords()
    context = Context(database, workspaces, clock, ids, public_url.rstrip("/") + PREFIX, passwords=hasher)
    later = Later(writes_of(context), authenticator.tolerated)
    api = replace(context, base_url=issuer + API)
    metrics = Metrics()
    own = _Pages(
        database, workspaces, clock, metrics, Looking(database, workspaces.values(), clock), timetables, needs_worker
    )
    scim = scim_routes(context, later)
    application = _Application(
        routes=[
            *scim,
            *api_routes(api),
            Route(oauth.PATH, oauth.TokenEndpoint(authenticator, issuer + oauth.PATH, issuer)),
            Route(oauth.METADATA_PATH, oauth.Metadata(issuer + oauth.PATH, issuer).answer, methods=["GET"]),
            Route(invitation.PATH, invitation.InvitationPage(context, issuer).answer, methods=["GET", "POST"]),
            Route(reset.PATH, reset.ResetPage(context, issuer).answer, methods=["GET", "POST"]),
            Route(email_change.PATH, email_change.EmailChangePage(context, issuer).answer, methods=["GET", "POST"]),
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
                refuse=_refusal,
            ),
            Middleware(Direct, routes=scim),
        ],
        exception_handlers={SyncdError: _refused},
        lifespan=lambda _: _running(authenticator, context, metrics, later),
    )
    application.state.later = later
    application.router.redirect_slashes = False  # a path has one spelling, made in front
    return application


class _Application(Starlette):
    """Without Starlette's own 500 around everything: Observed answers what nobody expected."""

    def build_middleware_stack(self) -> ASGIApp:
        app: ASGIApp = ExceptionMiddleware(self.router, handlers=self.exception_handlers)
        for made, args, kwargs in reversed(self.user_middleware):
            app = made(app, *args, **kwargs)
        return app


async def _refused(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, SyncdError)
    return _refusal(exc, request.scope)


def _refusal(exc: SyncdError, scope: Scope) -> Response:
    """In the form of the edge it was asked at."""
    return refusal(exc, scope.get(REQUEST_ID)) if _of_api(scope) else error(exc)


def _of_api(scope: Scope) -> bool:
    path: str = scope["path"]
    return path == "/api" or path.startswith("/api/")


@contextlib.asynccontextmanager
async def _running(
    authenticator: Authenticator, context: Context, metrics: Metrics, later: Later
) -> AsyncIterator[None]:
    async def note() -> None:
        while True:
            await asyncio.sleep(NOTE_USED_EVERY_S)
            await _note_used(authenticator)

    async def look() -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await _look(context)

    await _look(context)
    tasks = [
        asyncio.create_task(note()),
        asyncio.create_task(look()),
        asyncio.create_task(metrics.watch(context.database)),
        asyncio.create_task(later.run()),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        metrics.tell()
        await _note_used(authenticator)
        await context.database.aclose()


async def _look(context: Context) -> None:
    """At documents that are made anew. Until it is known, they are read as if they were."""
    with contextlib.suppress(DatabaseUnavailable):  # whoever asks for something is told
        await context.remade.look(context.database, context.workspaces)


async def _note_used(authenticator: Authenticator) -> None:
    try:
        await authenticator.note_used()
    except DatabaseUnavailable as exc:
        log.warning("token_use_not_noted", why=str(exc))


# -- observing -------------------------------------------------------------------------------------------------------------

_SHORT_TOKEN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # of another's request id: safe to log, to return


class Observed:
    """The outermost layer: request id, log line, metrics, and a 500 that says nothing but the id.

    The id is the client's `X-Request-Id` if that is a short word, else a new one. It stands in every line that is logged
    while the request is answered, and in the answer.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, ids: Callable[[], str]) -> None:
        self._app, self._metrics, self._ids = app, metrics, ids
        self._log = logs.Often()
        self._bound = _bound_request_id()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = scope[REQUEST_ID] = _request_id(scope) or self._ids()
        before = self._bound.set(request_id)
        self._metrics.in_flight += 1
        started, answered = time.perf_counter(), 0

        async def sending(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            try:
                await self._app(scope, receive, sending)
            except Exception:
                log.exception("request_failed", method=_method(scope), route=_route(scope))
                if not answered:
                    said = f"something unexpected happened; the log has it under request {request_id}"
                    scim = Response(error_body(500, said), 500, media_type=MEDIA_TYPE)
                    await (unexpected(request_id) if _of_api(scope) else scim)(scope, receive, sending)
            self._observe(scope, request_id, answered, time.perf_counter() - started)
        finally:
            self._metrics.in_flight -= 1
            self._bound.reset(before)

    def _observe(self, scope: Scope, request_id: str, answered: int, took_s: float) -> None:
        method, route, actor = _method(scope), _route(scope), scope.get(ACTOR)
        workspace, connection = (actor.workspace, actor.name) if isinstance(actor, Actor) else ("", "")
        self._metrics.answered(workspace, connection, operation(method, route), answered, took_s)
        if scope["path"].startswith("/scim"):
            event = "scim_answered"
        elif _of_api(scope):
            event = "api_answered"
        else:
            return
        usual: logs.Usual = (("method", method), ("route", route))
        if workspace:
            usual = (*usual, ("workspace", workspace), ("connection", connection))
        more: dict[str, Any] = {}
        if noted := scope.get(TOLERANCES):
            taken = {name for name in noted if not name.startswith("!")}
            lacked = {name[1:] for name in noted - taken}
            more |= {"tolerances": sorted(taken)} if taken else {}
            more |= {"refused": sorted(lacked)} if lacked else {}
            self._metrics.tolerated(workspace, connection, taken, lacked)
        self._log.info(event, request_id, usual, status=answered, took_ms=round(took_s * 1000, 2), **more)


def _bound_request_id() -> ContextVar[Any]:
    """What structlog binds a request's id to, found once: its own way to it is longer."""
    before = structlog.contextvars.bind_contextvars(request_id="")
    try:
        return next(each for each in copy_context() if each.name == f"{STRUCTLOG_KEY_PREFIX}request_id")
    finally:
        structlog.contextvars.reset_contextvars(**before)


def _request_id(scope: Scope) -> str | None:
    given = header(scope, b"x-request-id")
    # A token sent in the wrong header is a short word too.
    taken = bool(given) and _SHORT_TOKEN.fullmatch(given[0]) and not given[0].startswith("syncd_")
    return given[0] if taken else None


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in _METHODS else "other"


def _route(scope: Scope) -> str:
    """Its template, or the name of a page; never what the client wrote."""
    route = scope.get(ROUTE) or getattr(scope.get("route"), "path", "other")
    return str(route)


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


# -- the process's own pages ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Pages:
    database: Database
    workspaces: Mapping[str, Workspace]
    clock: Callable[[], datetime]
    metrics: Metrics
    looking: Looking
    timetables: Timetables
    needs_worker: bool

    async def healthz(self, request: Request) -> Response:
        """The process answers; says nothing else."""
        return PlainTextResponse("ok")

    async def readyz(self, request: Request) -> Response:
        """Whether requests can be served: the database answers, its schema will do, and somebody does the work. Each with
        a line of its own; 503 if one of them is missing."""
        try:
            lines = await asyncio.to_thread(self._standing_of_parts)
        except DatabaseUnavailable as exc:
            log.warning("not_ready", why=str(exc))
            return PlainTextResponse("database: does not answer, or has another schema; the log says which\n", 503)
        good = all(line.endswith(": ok") for line in lines)
        return PlainTextResponse("".join(f"{line}\n" for line in lines), 200 if good else 503)

    def _standing_of_parts(self) -> list[str]:
        migrate.require_usable(self.database)
        with self.database.reading() as conn:
            workers = [each for each in leases.processes(conn) if each.kind == "worker"]
        lines = ["database: ok", "schema: ok"]
        if self.needs_worker:
            alive = any(each.alive for each in workers)
            lines.append("worker: ok" if alive else "worker: none is alive")
        return lines

    async def metrics_(self, request: Request) -> Response:
        """Of all workspaces, so a token needs the permission by name where there are several."""
        actor = request.scope.get(ACTOR)
        if isinstance(actor, Actor):
            named = len(self.workspaces) == 1 or METRICS_READ in actor.allow
            if not (named and actor.may(METRICS_READ)):
                raise too_narrow(f"this token lacks the permission {METRICS_READ}, which * does not include here")
        seen = await self.looking.seen()
        self.metrics.tell()
        # Beside the loop: with many workspaces it is much text, and a scrape must delay nobody.
        page = await asyncio.to_thread(lambda: self.metrics.page(families(seen, self.timetables)))
        return Response(page, headers={"content-type": CONTENT_TYPE_PLAIN_0_0_4})

    async def status_(self, request: Request) -> Response:
        """With a token the workspace of the token; without one, on loopback, all."""
        actor = request.scope.get(ACTOR)
        shown = list(self.workspaces.values())
        if isinstance(actor, Actor):
            if not actor.may("users:read"):
                raise too_narrow("this token lacks the permission users:read")
            shown = [self.workspaces[actor.workspace]]

        def read() -> Standing:
            with self.database.reading() as conn:
                return standing.read(conn, shown, self.clock())

        found = await asyncio.to_thread(read)
        return HTMLResponse(status.page(found, self.timetables, processes=not isinstance(actor, Actor)))
