"""What sending bytes costs and nothing else: an ASGI application that answers with the file `body` of its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

BODY = Path("body").read_bytes()
HEADERS = [(b"content-type", b"application/scim+json"), (b"content-length", str(len(BODY)).encode())]


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": BODY})
