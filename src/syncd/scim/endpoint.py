"""The HTTP edge of SCIM: one Endpoint for each path, which translates and does nothing else.

Every method of an endpoint is declared with the permission it needs; what is not declared is refused (405), and a request
without an actor is refused before anything else (401), however it came here. Every answer, errors included, is
`application/scim+json` (RFC 7644 section 3.8). Input never causes a 500. With `X-Dry-Run: true` a request is answered as it
would be, and everything it wrote is rolled back.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, Protocol, TypeVar

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from syncd.auth import ACTOR, TOLERANCES
from syncd.core.actor import Actor
from syncd.core.connection import Shows
from syncd.core.etag import etag
from syncd.core.etag import names as names_version
from syncd.core.filter import Filter, names, parse_filter
from syncd.core.permission import limited_to, named, outside
from syncd.core.quick import changed, quick
from syncd.core.schema import ResourceType
from syncd.core.types import Types, with_plain_members
from syncd.core.workspace import Workspace
from syncd.errors import (
    INSUFFICIENT,
    Forbidden,
    HeldByGuard,
    InvalidVersion,
    MethodNotAllowed,
    NotFound,
    StaleVersion,
    SyncdError,
    TooLarge,
    Unauthorized,
    UnsupportedMedia,
    too_narrow,
)
from syncd.scim import dialects
from syncd.scim import path as paths
from syncd.scim.discovery import MAX_PAYLOAD_BYTES
from syncd.scim.messages import (
    ListQuery,
    Operation,
    error_body,
    parse_object,
    parse_query_string,
    patch_operations,
    require_schema,
)
from syncd.scim.render import Shown
from syncd.serving import DRY_RUN, ROUTE, Context, asks_for_dry_run, has_one, header
from syncd.store.commit import Outcome, record_one
from syncd.store.engine import rehearsal
from syncd.store.read import Connection, Reader, Stored

T = TypeVar("T")
log = structlog.get_logger()
MEDIA_TYPE: Final = "application/scim+json"
PREFIX: Final = "/scim/v2"
UNVERSIONED: Final = "/scim"
ALIAS_OF: Final = "syncd.alias_of"  # in the scope: the URL of the resource that a request for /Me is about


class NotOffered(SyncdError):
    """Part of the standard that this server does not have, and says so in its configuration."""

    status = 501


class _Beyond(Forbidden):
    """A PATCH names what this token may neither read nor update. Recorded, as what the door refuses is."""

    challenge = INSUFFICIENT


class Versioned(Protocol):
    """A resource of which at least this is known."""

    @property
    def version(self) -> int: ...


Note = Callable[[Connection, int, str, int | None], None]  # status, id, version unless it is gone


@quick
@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated, permitted request. `permission`: what its method needed; `dry_run`: nothing of it will last.

    `note`: keeps that it was done, in the same transaction.
    """

    context: Context
    request: Request
    actor: Actor
    workspace: Workspace
    permission: str = ""
    dry_run: bool = False
    note: Note | None = None

    @property
    def types(self) -> Types:
        """As this connection is shown them."""
        types = self.context.remade.types(self.workspace)
        return types if self.shows.member_display else with_plain_members(types)

    @property
    def shows(self) -> Shows:
        return self.workspace.source(self.actor.source).shows

    @property
    def id(self) -> str:
        """The id in the path. Raises NotFound for what no id can be and no database can look for."""
        id = str(self.request.path_params["id"])
        if _NO_TEXT.search(id):
            raise NotFound("there is no such resource")
        return id

    @property
    def reader(self) -> Reader:
        return self.context.readers(self.actor.workspace, self.actor.source)[0]

    @property
    def remembering(self) -> Reader:
        """The same with what this process remembers: only for a request that reads and does nothing else."""
        return self.context.readers(self.actor.workspace, self.actor.source)[1]

    def query(self) -> ListQuery:
        if not self.request.scope["query_string"]:
            return self.narrowed(ListQuery())
        return self.narrowed(parse_query_string(self.request.scope["query_string"]))

    def narrowed(self, query: ListQuery) -> ListQuery:
        """The query with nothing but what this token may see. Raises Forbidden for what it may not sort by.

        Who may write some attributes and read nothing is shown those: an answer must not say more than a GET would.
        """
        resource, limits = self._limits
        if limits is None:
            return query
        type = self.types.of(resource)
        if query.sort_by is not None and (found := type.resolve(query.sort_by)) is not None:
            self._may_ask(resource, limits, [found.path])
        wanted = [found.path for name in query.attributes if (found := type.resolve(name)) is not None]
        inside = set(wanted) - set(outside(limits, wanted)) if query.attributes else set(limits)
        inside |= {each for each in limits if outside(wanted, [each]) == []} if wanted else set()
        return replace(query, attributes=tuple(sorted(inside)) or ("id",), visible=limits)

    @property
    def _limits(self) -> tuple[str, frozenset[str] | None]:
        return _limits(self.actor.allow, self.permission)

    def _may_ask(self, resource: str, limits: frozenset[str], paths: Iterable[str]) -> None:
        """What may not be seen may not be asked about either: answers would tell it."""
        if lacking := outside(limits | {"id"}, paths):
            raise too_narrow(f"this token lacks the permission {resource}:read:{lacking[0]}, so it cannot ask for it")

    async def write(
        self, work: Callable[[Connection], tuple[Outcome, Stored | None]], status: int, quick: bool = False
    ) -> Stored | None:
        """`work` in a transaction; `status` is what success is answered with. Raises what refused it, which is recorded.
        `quick`: it is about one user, and little was sent."""
        return (await self.written(work, status, quick))[1]

    async def written(
        self, work: Callable[[Connection], tuple[Outcome, Stored | None]], status: int, quick: bool = False
    ) -> tuple[Outcome, Stored | None]:
        """The same, with what came of it."""

        def noted(conn: Connection) -> tuple[Outcome, Stored | None]:
            try:
                outcome, stored = work(conn)
            except _Beyond as exc:
                now, ids, path = self.context.clock(), self.context.ids, self.request.scope["path"]
                record_one(conn, self.actor, "refused", path, str(exc), None, now, ids)
                return Outcome(error=exc), None
            if self.note is not None and outcome.error is None:
                id, version = (self.id, None) if stored is None else (stored.id, stored.version)
                self.note(conn, status, id, version)
            return outcome, stored

        outcome, stored = await self.context.database.write(noted, quick)
        outcome.check()
        if stored is not None and not stored.document:  # it was made at the end of the transaction
            stored = changed(stored, document=outcome.documents[stored.id])
        return outcome, stored

    async def body(self, limit: int = MAX_PAYLOAD_BYTES, name: str = "the limit") -> bytes:
        """Raises UnsupportedMedia, or TooLarge before more than `limit` bytes were read; `name` is what clients call it."""
        scope = self.request.scope
        media, _, parameters = next(iter(header(scope, b"content-type")), MEDIA_TYPE).partition(";")
        media = media.strip().lower()
        if media != "application/json" and not media.endswith("+json"):
            raise UnsupportedMedia(f"send {MEDIA_TYPE} or application/json, not {media[:60]}")
        for coding in header(scope, b"content-encoding"):
            if coding.strip().lower() != "identity":
                raise UnsupportedMedia(f"send the body as it is, without Content-Encoding: {coding[:60]}")
        length = next(iter(header(scope, b"content-length")), "")
        body, more = bytearray(), True
        small = not (length.isascii() and length.isdigit() and int(length) > limit)
        while more and small:
            message = await self.request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            body += message.get("body", b"")
            more, small = message.get("more_body", False), len(body) <= limit
        if not small:
            raise TooLarge(f"the body is larger than {name}, {limit} bytes: send several smaller requests")
        if parameters and (charset := _CHARSET.search(parameters)) is not None and not body.isascii():
            raise UnsupportedMedia(f"send the body in UTF-8 (RFC 7644 section 3.8), not in {charset[1]}")
        return bytes(body)

    def operations(self, body: bytes) -> tuple[Operation, ...]:
        """The operations of a PATCH, in the connection's own forms."""
        return patch_operations(self._formed(dialects.message_in_rfc_form, parse_object(body)))

    def in_rfc_form(
        self, operations: Sequence[Operation], document: Mapping[str, Any], resource_type: ResourceType
    ) -> tuple[Operation, ...]:
        """Those operations as the standard has them; `document` is what is stored. Raises Forbidden, before the document is
        looked at, for an attribute that this token may neither read nor update: the answer would tell what it holds."""
        self._may_name(operations, resource_type)
        formed = self._formed(dialects.patch_in_rfc_form, operations, document, resource_type)
        if formed is not operations:
            self._may_name(formed, resource_type)
        return formed

    def _may_name(self, operations: Sequence[Operation], resource_type: ResourceType) -> None:
        resource, limits = self._limits
        if limits is None:
            return
        asked = {name for each in operations for name in paths.named(each.path, each.value, resource_type)}
        if lacking := outside(limits | {"id", "meta", "schemas"}, asked):
            raise _Beyond(f"this token lacks the permission {resource}:update:{lacking[0]}; nothing was changed")

    def document(self, body: bytes, resource_type: ResourceType) -> dict[str, Any]:
        """The resource that a POST or PUT brings, in RFC form. Raises Forbidden for a PUT by a token that may read some
        attributes only: it would replace what it does not see, and the answer would tell whether there is any."""
        resource, limits = self._limits
        if limits is not None:
            raise too_narrow(
                f"this token sees only some attributes, and PUT replaces all: it needs {resource}:read, or PATCH"
            )
        document = self._formed(dialects.document_in_rfc_form, parse_object(body), resource_type)
        require_schema(document, resource_type.schema.id)
        return document

    def filter(self, query: ListQuery, *resource_types: ResourceType) -> Filter | None:
        """The condition of a list. Raises InvalidFilter."""
        if query.filter is None:
            return None
        text = self._formed(dialects.filter_in_rfc_form, query.filter, resource_types)
        parsed = parse_filter(text, *resource_types)
        resource, limits = self._limits
        if limits is not None:
            self._may_ask(resource, limits, names(parsed))
        return parsed

    @property
    def _tolerances(self) -> frozenset[str]:
        configured = self.workspace.source(self.actor.source).tolerances
        return dialects.TOLERANT if configured is None else configured

    def _formed(self, form: Callable[..., tuple[T, frozenset[str]]], *given: Any) -> T:
        """In RFC form, as the policy of this connection has it."""
        try:
            formed, used = form(*given, self._tolerances)
        except SyncdError as exc:
            if exc.lacks is not None:
                self._tolerated(frozenset({f"!{exc.lacks}"}))
            raise
        self._tolerated(used)
        return formed

    def _tolerated(self, taken: frozenset[str]) -> None:
        """Leave for the log and the counts which forms this request took that the standard does not have, or needed."""
        if taken and not self.dry_run:
            self.request.scope[TOLERANCES] = taken | self.request.scope.get(TOLERANCES, frozenset())

    def must_match(self, stored: Versioned) -> None:
        """If-Match (RFC 7644 section 3.14), and for a write If-None-Match (RFC 7232 section 3.2). Raises StaleVersion."""
        if not has_one(self.request.scope, _CONDITIONS):
            return
        wanted, known = self._tags(b"if-match"), self._tags(b"if-none-match")
        if wanted is None and known is None:
            return
        writes = self.request.method not in ("GET", "HEAD")
        if (wanted is not None and not names_version(wanted, stored.version)) or (
            writes and known is not None and names_version(known, stored.version)
        ):
            raise StaleVersion(f"the resource is at version {etag(stored.version)}: read it again, then change it")

    def unchanged(self, stored: Versioned) -> bool:
        """If-None-Match: the client has this version already."""
        if not has_one(self.request.scope, _CONDITIONS):
            return False
        known = self._tags(b"if-none-match")
        return known is not None and names_version(known, stored.version)

    def _tags(self, name: bytes) -> str | None:
        given = header(self.request.scope, name)  # one list may come in several lines
        return ",".join(given) if given else None


@lru_cache(4096)  # tokens are few, and each request asks several times
def _limits(allow: frozenset[str], permission: str) -> tuple[str, frozenset[str] | None]:
    """The resource that a method is about, and the attributes to which reading it, and that method, are narrowed; None: it is
    not."""
    resource, _, verb = permission.partition(":")
    if not verb:
        return "", None
    return resource, limited_to(allow, resource, "read", *([] if verb == "read" else [verb]))


_CHARSET: Final = re.compile(
    r"""charset\s*=\s*["']?(?!utf-?8\b)([\w.:-]{1,40})""", re.ASCII | re.IGNORECASE
)  # another than ours
_CONDITIONS: Final = frozenset((b"if-match", b"if-none-match"))
_NO_TEXT: Final = re.compile(r"[\0\ud800-\udfff]")  # no id holds it, and no database could look for it
Handler = Callable[[Call], Awaitable[Response]]
AUTHENTICATED: Final = ""  # the permission of what every token may ask: what this server can do


@dataclass(frozen=True, slots=True)
class Method:
    permission: str
    handle: Handler


class Endpoint:
    """An ASGI application for one path. Without methods there is nothing there (404)."""

    def __init__(self, context: Context, template: str, **methods: Method) -> None:
        self.context, self.template = context, template
        self.methods = dict(methods)
        if "GET" in methods:
            self.methods["HEAD"] = methods["GET"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[ROUTE] = self.template
        request = Request(scope, receive)
        dry_run = False
        try:
            dry_run = asks_for_dry_run(scope)
            if dry_run:
                with rehearsal():
                    response = await self._handle(request, dry_run)
            else:
                response = await self._handle(request, dry_run)
        except SyncdError as exc:
            response = error(exc)
            if not dry_run:
                tell_if_held(exc, scope.get(ACTOR))
        except ClientDisconnect:
            return
        if dry_run:
            response.headers[DRY_RUN] = "true"
        if ALIAS_OF in scope:
            response.headers.setdefault("Location", scope[ALIAS_OF])
        if request.method == "HEAD":
            response.body = b""
        await response(scope, receive, send)

    async def _handle(self, request: Request, dry_run: bool) -> Response:
        actor = request.scope.get(ACTOR)
        if not isinstance(actor, Actor):
            raise Unauthorized("send a token: Authorization: Bearer syncd_...")
        if not self.methods:
            raise _nothing_at(request.scope["path"])
        method = self.methods.get(request.method)
        if method is None:
            allow = ", ".join(sorted(self.methods))
            raise MethodNotAllowed(f"{request.method} is not possible here, only {allow}", allow)
        if method.permission != AUTHENTICATED and not actor.may(method.permission):
            raise too_narrow(f"this token lacks the permission {named(method.permission)}")
        workspace = self.context.workspaces[actor.workspace]
        asking = _asking(actor, request.method)
        return await method.handle(Call(self.context, request, asking, workspace, method.permission, dry_run))


def _nothing_at(path: str) -> SyncdError:
    """RFC 7644 section 3.13: a version that is not spoken is refused as such."""
    other = _OTHER_VERSION.match(path)
    if other is not None:
        return InvalidVersion(f"SCIM {other[1]} is not spoken here, only v2: ask {PREFIX}{path[other.end(1) :][:100]}")
    return NotFound(f"there is nothing at this path; see {PREFIX}/ResourceTypes")


_OTHER_VERSION: Final = re.compile(r"/scim/(v(?!2(?:/|$))[0-9][0-9.]{0,10})(?:/|$)")


@lru_cache(1024)  # tokens are few, and each makes the same requests
def _asking(actor: Actor, method: str) -> Actor:
    return replace(actor, method=method)


def tell_if_held(exc: SyncdError, actor: object) -> None:
    """A guard held what a connection pushed: somebody should look now, not when the provider's owner asks."""
    if isinstance(exc, HeldByGuard) and isinstance(actor, Actor):
        log.warning("guard_held", workspace=actor.workspace, source=actor.source, connection=actor.name, why=str(exc))


def error(exc: SyncdError) -> Response:
    """The Error message (RFC 7644 section 3.12)."""
    headers = exc.headers
    if isinstance(exc, UnsupportedMedia):
        headers |= {"Accept": MEDIA_TYPE, "Accept-Encoding": "identity"}  # RFC 9110 section 15.5.16
    return Response(error_body(exc.status, exc.detail, exc.scim_type), exc.status, headers, MEDIA_TYPE)


def answer(body: bytes, stored: Versioned, location: str, status: int = 200) -> Response:
    """A resource, with where it is and which version it has."""
    response = _Plain(body, status)
    response.raw_headers = [
        (b"etag", etag(stored.version).encode()),
        (b"location", location.encode("latin-1")),
        (b"content-length", b"%d" % len(body)),
        _CONTENT_TYPE,
    ]
    return response


def listed(body: bytes) -> Response:
    """A ListResponse."""
    response = _Plain(body)
    response.raw_headers = [(b"content-length", b"%d" % len(body)), _CONTENT_TYPE]
    return response


class _Plain(Response):
    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        """They are given as they are sent, right after."""


_CONTENT_TYPE: Final = (b"content-type", MEDIA_TYPE.encode())


def selected(query: ListQuery) -> Shown:
    return Shown(query.attributes, query.excluded, visible=query.visible)
