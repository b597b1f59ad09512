"""The HTTP edge of the API: one Endpoint for each path, which translates and does nothing else.

What is not in the table of operations is refused (404, 405), and a request without an actor before anything else (401),
however it came here. A body is read up to a limit and validated whole; a handler runs in one transaction, which holds the
idempotency key too. Input never causes a 500. `X-Dry-Run: true` answers as it would be and rolls back what was written.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Final

import structlog
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from syncd.api.model import Nothing
from syncd.api.operation import AUTHENTICATED, PREFIX, Answer, Call, Operation, Recorded, Streamed, dumped
from syncd.api.problem import Invalid, Malformed, faults_of, refusal
from syncd.auth import ACTOR
from syncd.core.actor import ADMIN_SOURCE, Actor
from syncd.core.etag import etag
from syncd.core.permission import limited
from syncd.errors import (
    Conflict,
    HeldByGuard,
    MethodNotAllowed,
    NotFound,
    SyncdError,
    TooLarge,
    Unauthorized,
    UnsupportedMedia,
    too_narrow,
)
from syncd.serving import DRY_RUN, REQUEST_ID, ROUTE, Context, asks_for_dry_run
from syncd.store import idempotency
from syncd.store.engine import rehearsal
from syncd.store.idempotency import Kept
from syncd.store.pages import Position
from syncd.store.read import Connection

log = structlog.get_logger()
MAX_BODY_BYTES: Final = 2**20
MAX_BULK_BYTES: Final = 4 * 2**20
MEDIA_TYPE: Final = "application/json"
_KEY: Final = re.compile(r'"?([\x21\x23-\x7e]{1,255})"?', re.ASCII)


@dataclass(frozen=True, slots=True)
class Edge:
    """What the endpoints share. `in_flight`: the idempotency keys this process is answering just now."""

    context: Context
    in_flight: set[tuple[str, str, str]] = field(default_factory=set)


class Endpoint:
    """An ASGI application for one path. Without operations there is nothing there (404)."""

    def __init__(self, edge: Edge, template: str, operations: Iterable[Operation] = ()) -> None:
        self.edge, self.template = edge, template
        self.operations = {each.method: each for each in operations}
        if "GET" in self.operations:
            self.operations["HEAD"] = self.operations["GET"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[ROUTE] = self.template
        request, dry_run = Request(scope, receive), False
        try:
            dry_run = asks_for_dry_run(request.scope)
            with rehearsal() if dry_run else nullcontext():
                response = await self._handle(request, dry_run)
        except SyncdError as exc:
            response = refusal(exc, scope.get(REQUEST_ID))
            if isinstance(exc, HeldByGuard) and not dry_run:
                actor = scope[ACTOR]
                log.warning("guard_held", workspace=actor.workspace, source=ADMIN_SOURCE, connection=actor.name)
        except ClientDisconnect:
            return
        if dry_run:
            response.headers[DRY_RUN] = "true"
        if request.method == "HEAD":
            response.body = b""
        await response(scope, receive, send)

    async def _handle(self, request: Request, dry_run: bool) -> Response:
        actor = request.scope.get(ACTOR)
        if not isinstance(actor, Actor):
            raise Unauthorized("send a token: Authorization: Bearer syncd_...")
        if not self.operations:
            raise NotFound(f"there is nothing at this path; see {PREFIX}/openapi.json")
        operation = self.operations.get(request.method)
        if operation is None:
            allow = ", ".join(sorted(self.operations))
            raise MethodNotAllowed(f"{request.method} is not possible here, only {allow}", allow)
        may(actor, operation.permission)
        context = self.edge.context
        body = await _body(request, operation)
        call = Call(
            workspace=context.workspaces[actor.workspace],
            actor=replace(actor, source=ADMIN_SOURCE, method=request.method),
            bearer=actor,
            now=context.clock(),
            ids=context.ids,
            params={name: str(value) for name, value in request.path_params.items()},
            query=_query(request, operation),
            body=_validated(operation.body, body),
            if_match=",".join(tags) if (tags := request.headers.getlist("if-match")) else None,
            base_url=context.base_url,
            cursor_key=await context.cursor_key(),
        )
        if operation.prepare is not None:
            call = replace(call, prepared=await operation.prepare(call, context))
        if operation.streams:
            return await self._streamed(operation, call, request.method == "HEAD")
        if not operation.writes:
            find = context.scan if operation.beside else context.database.read
            return _response(await find(lambda conn: _rendered(operation, call, conn)))
        key = _idempotency_key(request) if operation.method == "POST" and operation.once else None
        if key is None or dry_run:
            return _response(await self._written(operation, call))
        digest = hashlib.sha256(
            b"\0".join(
                [
                    request.method.encode(),
                    str(request.scope["path"]).encode("utf-8", "replace"),
                    bytes(request.scope["query_string"]),
                    body,
                ]
            )
        ).digest()
        return await self._once(operation, call, key, digest)

    async def _streamed(self, operation: Operation, call: Call, head_only: bool) -> Response:
        """Piece by piece, each a read of its own. The first is made before anything is sent, so that what refuses is told."""

        def begin(conn: Connection) -> tuple[Streamed, bytes, Position | None]:
            said = operation.handle(call, conn)
            assert isinstance(said, Streamed)
            return said, *said.piece(conn, None)

        said, first, more = await self.edge.context.scan(begin)
        headers = {
            "Content-Type": said.media,
            "Cache-Control": "no-store",
            "Content-Disposition": f'attachment; filename="{said.filename}"',
        }
        if head_only:
            return Response(b"", headers=headers)

        async def pieces() -> AsyncIterator[bytes]:
            after = more
            yield first
            while after is not None:
                here = after
                piece, after = await self.edge.context.scan(lambda conn: said.piece(conn, here))  # noqa: B023 - done at once
                yield piece

        return StreamingResponse(pieces(), headers=headers)

    async def _once(self, operation: Operation, call: Call, key: str, digest: bytes) -> Response:
        """The answer of the first request with this key, whoever asks again with it."""
        holder = call.bearer.token_id or f"source {call.bearer.source}"
        claim = (call.workspace.name, holder, key)
        if claim in self.edge.in_flight:
            raise KeyInUse("a request with this Idempotency-Key is being answered: wait for it, then ask again")
        self.edge.in_flight.add(claim)
        try:
            return _response(await self._written(operation, call, Kept(*claim, digest, call.now)))
        finally:
            self.edge.in_flight.discard(claim)

    async def _written(self, operation: Operation, call: Call, kept: Kept | None = None) -> _Rendered:
        def work(conn: Connection) -> _Rendered | SyncdError:
            if kept is not None:
                if not idempotency.claim(conn, kept):
                    raise KeyInUse("a request with this Idempotency-Key is being answered: wait for it, then ask again")
                earlier = idempotency.find(conn, kept, call.now)
                if earlier is not None and earlier.digest != kept.digest:
                    raise KeyReused(
                        "this Idempotency-Key was used for another request: a key belongs to one request and its repetitions"
                    )
                if earlier is not None:
                    return _Rendered(earlier.status, earlier.body, {**earlier.headers, "Idempotency-Replayed": "true"})
            try:
                made = _rendered(operation, call, conn)
            except Recorded as refused:
                return refused.error
            if kept is not None:
                body = made.body if made.to_keep is None else made.to_keep
                idempotency.keep(conn, replace(kept, status=made.status, headers=made.headers, body=body))
            return made

        done = await self.edge.context.database.write(work)
        if isinstance(done, SyncdError):
            raise done
        return done


class KeyInUse(Conflict):
    """The first request with this Idempotency-Key is still being answered."""


class KeyReused(SyncdError):
    status = 422


@dataclass(frozen=True, slots=True)
class _Rendered:
    """`to_keep`: the body without what is shown once."""

    status: int
    body: bytes
    headers: Mapping[str, str]
    to_keep: bytes | None = None


def _rendered(operation: Operation, call: Call, conn: Connection) -> _Rendered:
    said = operation.handle(call, conn)
    assert not isinstance(said, Streamed)
    answer = said if isinstance(said, Answer) else Answer(said)
    headers = {}
    if answer.version is not None:
        headers["ETag"] = etag(answer.version)
    if answer.location is not None:
        headers["Location"] = call.base_url + answer.location
    if answer.content is None:
        return _Rendered(answer.status or 204, b"", headers)
    headers["Content-Type"] = operation.media
    headers["Cache-Control"] = "no-store"
    kept = dumped(answer.content, operation.secret) if operation.secret else None
    return _Rendered(answer.status or operation.status, dumped(answer.content), headers, kept)


def _response(rendered: _Rendered) -> Response:
    return Response(rendered.body, rendered.status, dict(rendered.headers))


def may(actor: Actor, permission: str) -> None:
    """Raises Forbidden. An operation answers whole, so a permission that is narrowed to some attributes is not enough."""
    if permission == AUTHENTICATED:
        return
    if not actor.may(permission):
        raise too_narrow(f"this token lacks the permission {permission}")
    if limited(actor.allow, permission):
        raise too_narrow(f"this token has {permission} for some attributes only: use SCIM, which can show just those")


# -- what is sent ----------------------------------------------------------------------------------------------------------


async def _body(request: Request, operation: Operation) -> bytes:
    """Raises UnsupportedMedia, or TooLarge before more than the limit was read. b"" where none is taken."""
    if operation.body is Nothing:
        return b""
    limit = MAX_BULK_BYTES if operation.path.endswith("/bulk") else MAX_BODY_BYTES
    too_large = TooLarge(f"the body is larger than {limit} bytes: send several smaller requests")
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length[:20]) > limit:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_large
    media = request.headers.get("content-type", MEDIA_TYPE).partition(";")[0].strip().lower()
    if body and media != MEDIA_TYPE and not media.endswith("+json"):
        raise UnsupportedMedia(f"send {MEDIA_TYPE}, not {media[:60]!r}")
    return bytes(body)


def _validated(model: type[BaseModel], body: bytes) -> BaseModel:
    if model is Nothing:
        return Nothing()
    try:
        return model.model_validate_json(body or b"{}", strict=True)
    except ValidationError as exc:
        faults = faults_of(exc)
        if exc.errors(include_input=False, include_context=False)[0]["type"] == "json_invalid":
            raise Malformed(f"the body is no JSON: {faults[0].detail}") from None
        raise Invalid(
            f"the body is not valid: {_told(f'{each.pointer}: {each.detail}' for each in faults)}", faults
        ) from None


def _query(request: Request, operation: Operation) -> BaseModel:
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in given:
            raise Malformed(f"the query has {name[:60]!r} twice")
        given[name] = value
    try:
        return operation.query.model_validate(given)
    except ValidationError as exc:
        faults = faults_of(exc, parameters=True)
        told = _told(f"{each.parameter}: {each.detail}" for each in faults)
        raise Invalid(f"the query is not valid: {told}", faults) from None


def _told(faults: Iterable[str]) -> str:
    return "; ".join(list(faults)[:3])


def _idempotency_key(request: Request) -> str | None:
    given = request.headers.getlist("idempotency-key")
    if not given:
        return None
    found = _KEY.fullmatch(given[0].strip()) if len(given) == 1 else None
    if found is None:
        raise Malformed("an Idempotency-Key is one word of up to 255 visible characters, such as a UUID")
    return found[1]
