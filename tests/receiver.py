"""A real HTTP receiver on loopback, which answers what a test tells it to and remembers what it got."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Got:
    headers: Mapping[str, str]  # names in small letters
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def said(self) -> dict[str, Any]:
        return dict(json.loads(self.body))

    @property
    def user(self) -> str:
        return str(self.said["data"]["user"]["id"])


@dataclass
class Receiver:
    """`answer`: the status for a message, or (status, headers, text); called in the thread of its request."""

    url: str = ""
    got: list[Got] = field(default_factory=list)
    answer: Callable[[Got], int | tuple[int, Mapping[str, str], str]] = lambda _: 204

    def types(self) -> list[str]:
        return [each.said["type"] for each in self.got]

    def wait(self, n: int) -> None:
        wait_for(lambda: len(self.got) >= n, lambda: self.got)


def wait_for(true: Callable[[], bool], seen: Callable[[], object] = lambda: None) -> None:
    until = time.monotonic() + 20
    while not true():
        assert time.monotonic() < until, seen()
        time.sleep(0.01)


@contextmanager
def receiving() -> Iterator[Receiver]:
    made = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got = Got({name.lower(): value for name, value in self.headers.items()}, body)
            made.got.append(got)
            said = made.answer(got)
            status, headers, text = said if isinstance(said, tuple) else (said, {}, "")
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128  # not 5, beyond which connections are reset

    server = Server(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_address[1]}/syncd"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
