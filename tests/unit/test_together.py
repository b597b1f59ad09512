"""What is sent of an answer, and in how many pieces."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from syncd.wire import Http

GET = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n"


class Sent(asyncio.Transport):
    """A connection that keeps each piece."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        self.pieces.append(bytes(data))

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.pieces.append(b"".join(list_of_data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Answering:
    """An application that answers with these parts; `seen`: how many pieces there were before each."""

    def __init__(self, transport: Sent, *parts: bytes, status: int = 200, reads: bool = False) -> None:
        self.transport, self.parts, self.status, self.reads = transport, parts, status, reads
        self.seen: list[int] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self.reads:
            await receive()
        self.seen.append(len(self.transport.pieces))
        length = str(sum(map(len, self.parts))).encode()
        await send({"type": "http.response.start", "status": self.status, "headers": [(b"content-length", length)]})
        for number, part in enumerate(self.parts, 1):
            await asyncio.sleep(0)
            self.seen.append(len(self.transport.pieces))
            await send({"type": "http.response.body", "body": part, "more_body": number < len(self.parts)})


def answered(app: Answering, *received: bytes) -> list[bytes]:
    async def run() -> None:
        protocol = Http(uvicorn.Config(app, log_config=None), ServerState(), {})
        protocol.connection_made(app.transport)
        for each in received:
            protocol.data_received(each)
            for _ in range(20):
                await asyncio.sleep(0)
        protocol.connection_lost(ConnectionResetError())

    asyncio.run(run())
    return app.transport.pieces


@pytest.mark.parametrize("request_, body", [(GET, b"whole"), (GET, b""), (GET.replace(b"GET", b"HEAD"), b"")])
def test_an_answer_is_one_piece(request_: bytes, body: bytes) -> None:
    (piece,) = answered(Answering(Sent(), body), request_)
    assert piece.startswith(b"HTTP/1.1 200 OK\r\n")
    assert piece.endswith(b"\r\n\r\n" + body)


def test_so_is_the_next_one_on_the_same_connection_and_one_that_was_sent_with_it() -> None:
    app = Answering(Sent(), b"HTTP/1.1 1 is how this begins")
    pieces = answered(app, GET, GET + GET)
    assert len(pieces) == 3
    assert all(
        piece.startswith(b"HTTP/1.1 200 OK\r\n") and piece.endswith(b"\r\n\r\n" + app.parts[0]) for piece in pieces
    )


def test_what_comes_in_parts_is_sent_as_it_comes_the_head_with_the_first() -> None:
    app = Answering(Sent(), b"one", b"two", b"three")
    pieces = answered(app, GET)
    assert app.seen == [0, 0, 1, 2]
    assert pieces[0].endswith(b"\r\n\r\none")
    assert pieces[1:] == [b"two", b"three"]


def test_whoever_waits_to_be_told_to_go_on_is_told_at_once() -> None:
    app = Answering(Sent(), b"done", reads=True)
    asked = b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n"
    pieces = answered(app, asked, b"ok")
    assert pieces[0] == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert pieces[1].startswith(b"HTTP/1.1 200 OK\r\n") and pieces[1].endswith(b"done")
    assert len(pieces) == 2


def test_what_is_no_http_is_told_so_before_the_connection_ends() -> None:
    transport = Sent()
    (piece,) = answered(Answering(transport, b""), b"no http\r\n\r\n")
    assert piece.startswith(b"HTTP/1.1 400 ")
    assert transport.closed
