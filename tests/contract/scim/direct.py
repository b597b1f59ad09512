"""Requests handed to the application as ASGI events, without a client: bytes that httpx would not send, and quickly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
from starlette.applications import Starlette


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. `path` is decoded, as a server hands it on; headers in the order they are sent."""

    method: str
    path: str
    query: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    chunks: int = 1  # in how many pieces the body arrives
    breaks_off: bool = False  # the client is gone before the last of them
    statuses: tuple[int, ...] = ()  # one of which has to be the answer's; (): any


@dataclass(frozen=True, slots=True)
class Answered:
    """`status` 0: the client was gone, and nobody was answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return orjson.loads(self.body)


async def ask(web: Starlette, asked: Asked) -> Answered:
    size = max(1, -(-len(asked.body) // asked.chunks))
    pieces = [asked.body[at : at + size] for at in range(0, len(asked.body), size)] or [b""]
    status, headers, body = 0, {}, bytearray()

    async def receive() -> dict[str, Any]:
        if not pieces or (asked.breaks_off and len(pieces) == 1):
            return {"type": "http.disconnect"}
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    async def send(message: Any) -> None:
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status = message["status"]
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in message["headers"]}
        else:
            body.extend(message.get("body", b""))

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": asked.method,
        "scheme": "http",
        "path": asked.path,
        "raw_path": asked.path.encode("utf-8", "surrogatepass"),
        "query_string": asked.query,
        "root_path": "",
        "headers": list(asked.headers),
        "client": ("127.0.0.1", 40000),
        "server": ("syncd.test", 80),
    }
    await web(scope, receive, send)
    return Answered(status, headers, bytes(body))
