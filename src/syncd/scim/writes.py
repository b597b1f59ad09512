"""A write that came inside something else: in a bulk request, or stored to be done later.

It is done by the handler of the single request, with the permission that one needs, so that no way in is wider than
another. What came of it is a Result: one operation of a BulkResponse (RFC 7644 section 3.7.3), which is also what the event
of an asynchronous request's end says (RFC 9967 section 2.5.1.3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from syncd.auth import ACTOR
from syncd.core.actor import Actor
from syncd.core.permission import named
from syncd.errors import MethodNotAllowed, NotFound, SyncdError, too_narrow
from syncd.scim.endpoint import AUTHENTICATED, MEDIA_TYPE, PREFIX, Call, Method, Note
from syncd.scim.messages import error_body
from syncd.serving import Context

Methods = Mapping[str, Method]
_POSTED_QUERY: Final = {
    "/Groups": b"excludedAttributes=members"
}  # nobody sees the answer's body: read no members for it


@dataclass(frozen=True, slots=True)
class Write:
    """One request: `endpoint` is `/Users` or such, `id` of what is in it."""

    method: str
    endpoint: str
    id: str | None = None
    body: bytes = b""
    if_match: str | None = None
    query: bytes = b""

    @property
    def path(self) -> str:
        return self.endpoint if self.id is None else f"{self.endpoint}/{self.id}"

    def request(self, actor: Actor) -> Request:
        headers = [(b"content-type", MEDIA_TYPE.encode())]
        if self.if_match is not None:
            headers.append((b"if-match", self.if_match.encode("latin-1", "replace")))

        async def receive() -> Message:
            return {"type": "http.request", "body": self.body, "more_body": False}

        scope = {
            "type": "http",
            "method": self.method,
            "path": PREFIX + self.path,
            "path_params": {} if self.id is None else {"id": self.id},
            "query_string": self.query,
            "headers": headers,
            ACTOR: actor,
        }
        return Request(scope, receive)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one write. `location` is a URL, `version` an ETag; `error` is the body of what refused it."""

    method: str
    status: int
    location: str | None = None
    version: str | None = None
    bulk_id: str | None = None
    error: Mapping[str, Any] | None = None

    @property
    def done(self) -> bool:
        return self.status < 400

    def to_scim(self) -> dict[str, Any]:
        said: dict[str, Any] = {"location": self.location, "method": self.method or None, "bulkId": self.bulk_id}
        said |= {"version": self.version, "status": str(self.status), "response": self.error}
        return {name: value for name, value in said.items() if value is not None}


def failure(method: str, exc: SyncdError, location: str | None = None, at: str = "") -> Result:
    body = orjson.loads(error_body(exc.status, at + exc.detail, exc.scim_type))
    return Result(method, exc.status, location, error=body)


@dataclass(frozen=True, slots=True)
class Writes:
    """`endpoints`: `/Users` -> the methods of the list, and those of what is in it."""

    context: Context
    endpoints: Mapping[str, tuple[Methods, Methods]]

    def call(self, write: Write, actor: Actor, note: Note | None = None) -> tuple[Call, Method]:
        """The call of the single request. Raises NotFound, MethodNotAllowed or Forbidden, as that one would."""
        if write.endpoint not in self.endpoints:
            raise NotFound(f"there is nothing to write at {write.endpoint[:100]}, only at /Users and /Groups")
        methods = self.endpoints[write.endpoint][write.id is not None]
        method = methods.get(write.method)
        if method is None:
            allow = ", ".join(sorted(methods))
            raise MethodNotAllowed(f"{write.method} is not possible at {write.path[:100]}, only {allow}", allow)
        if method.permission != AUTHENTICATED and not actor.may(method.permission):
            raise too_narrow(f"this token lacks the permission {named(method.permission)}")
        if write.method in ("POST", "PUT") and not write.query:
            write = replace(write, query=_POSTED_QUERY.get(write.endpoint, b""))
        asking = replace(actor, method=write.method)
        workspace = self.context.workspaces[actor.workspace]
        call = Call(self.context, write.request(asking), asking, workspace)
        return replace(call, permission=method.permission, note=note), method

    def location(self, write: Write, id: str | None = None) -> str | None:
        known = write.id or id
        return None if known is None else f"{self.context.base_url}{write.endpoint}/{quote(known, safe='')}"

    def result(self, write: Write, response: Response) -> Result:
        location = self.location(write) or response.headers.get("location")
        return Result(write.method, response.status_code, location, response.headers.get("etag"))
