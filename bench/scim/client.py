"""A lean client, so that what is timed is the server: the standard library's, one connection, kept alive."""

from __future__ import annotations

import http.client
import time
from typing import Any

import orjson

PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


class Client:
    def __init__(self, port: int, prefix: str, token: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._prefix = prefix
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/scim+json"}

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ask(self, method: str, path: str, body: Any = None, wanted: tuple[int, ...] = (200, 201, 204)) -> bytes:
        """The body of the answer. Ends the program unless its status is `wanted`: an error must not pass for speed."""
        content = None if body is None else orjson.dumps(body)
        try:
            status, answer = self._send(method, path, content)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            self._connection.close()  # closed by the server between two requests, as gunicorn's sync worker does
            status, answer = self._send(method, path, content)
        if status not in wanted:
            raise SystemExit(f"{method} {self._prefix}{path} was answered {status}: {answer[:500]!r}")
        return answer

    def json(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.ask(method, path, body)
        return orjson.loads(answer) if answer else None

    def create(self, user: dict[str, Any]) -> tuple[str, str]:
        made = self.json("POST", "/Users", user)
        return str(made["id"]), str(made["userName"])

    def patch(self, path: str, *operations: dict[str, Any]) -> Any:
        return self.json("PATCH", path, {"schemas": [PATCH], "Operations": list(operations)})

    def timed_ms(self, method: str, path: str, body: Any = None) -> float:
        started = time.perf_counter()
        self.ask(method, path, body)
        return (time.perf_counter() - started) * 1000

    def _send(self, method: str, path: str, content: bytes | None) -> tuple[int, bytes]:
        self._connection.request(method, self._prefix + path, content, self._headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read()
