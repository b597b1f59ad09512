"""What is no request yet: too long a head, or no HTTP at all. Refused in SCIM's words, and not kept without end."""

from __future__ import annotations

import itertools
import logging
import os
import random
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import orjson
import pytest

from loopback import serving
from syncd import wire
from syncd.wire import HEAD_BYTES
from web_service import Service

ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, int]]:
    service = Service(f"sqlite:///{tmp_path_factory.mktemp('wire')}/syncd.db")
    with serving(lambda _: service.application()) as url:
        yield service, int(url.rpartition(":")[2])
    service.close()


@pytest.fixture
def port(served: tuple[Service, int]) -> int:
    return served[1]


def answered(port: int, *parts: bytes) -> tuple[int, bytes, bytes]:
    """Status, head and body of what comes back; whoever is refused early need not be heard out."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as conn:
        answer = b""
        try:
            for part in parts:
                conn.sendall(part)
        except OSError:
            pass
        try:
            while chunk := conn.recv(65_536):
                answer += chunk
        except OSError:
            pass
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), head.lower(), body


LONG = b"a" * HEAD_BYTES


@pytest.mark.parametrize(
    ("status", "parts"),
    [
        (414, [b"GET /scim/v2/Users?filter=", LONG, b" HTTP/1.1\r\nHost: x\r\n\r\n"]),
        (414, [b"GET /scim/v2/Users?filter=", *[LONG] * 40]),
        (431, [b"GET /scim/v2/Users HTTP/1.1\r\nHost: x\r\nX-Long: ", LONG, b"\r\n\r\n"]),
        (431, [b"GET /scim/v2/Users HTTP/1.1\r\nHost: x\r\nX-Endless: ", *[LONG] * 40]),
        (431, [b"GET /scim/v2/Users HTTP/1.1\r\nHost: x\r\n", *[b"X-Many: %b\r\n" % LONG[:4000]] * 40]),
        (400, [b"GET /scim/v2/Users?filter=userName eq 1 HTTP/1.1\r\nHost: x\r\n\r\n"]),
        (400, ["GET /scim/v2/Users/jürgen HTTP/1.1\r\nHost: x\r\n\r\n".encode()]),
        (400, [b"POST /scim/v2/Users HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"]),
        (400, [b"POST /scim/v2/Users HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"]),
    ],
)
def test_what_is_wrong_as_a_whole_is_a_scim_error_and_ends_the_connection(
    port: int, status: int, parts: list[bytes]
) -> None:
    found, head, body = answered(port, *parts)
    said = orjson.loads(body)
    assert (found, said["status"], said["schemas"]) == (status, str(status), [ERROR])
    assert b"content-type: application/scim+json" in head
    assert b"connection: close" in head
    assert said["detail"]


def test_elsewhere_it_is_plain_text(port: int) -> None:
    status, head, body = answered(port, b"GET /healthz and more HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (status, b"text/plain" in head, body.startswith(b"this is not a valid HTTP request")) == (400, True, True)


def test_headers_behind_a_body_are_bounded_too(port: int) -> None:
    chunked = b"POST /scim/v2/Users HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n"
    assert answered(port, chunked, *[b"X-Behind: %b\r\n" % LONG[:4000]] * 40)[0] in (401, 431)


def test_a_long_body_and_an_offer_of_another_protocol_are_no_trouble(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(logging.getLogger("uvicorn.error"), "warning", lambda message, *_: told.append(message))
    body = b" " * (HEAD_BYTES * 3)
    length = b"POST /scim/v2/Users HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert answered(port, length, body)[0] == 401
    offered = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    status, _, body = answered(port, b"GET /scim/v2/Users HTTP/1.0\r\nHost: x\r\n" + offered + b"\r\n")
    assert (status, orjson.loads(body)["status"]) == (401, "401")
    assert told == []


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b"GET /scim/v2/Users HTTP/1.1\r\nHost"],
        [b"POST /scim/v2/Users HTTP/1.1\r\nHost: x\r\nAuthorization: %b\r\nContent-Length: 9\r\n\r\n", b"{"],
        [b"POST /scim/v2/Users HTTP/1.1\r\nHost: x\r\nAuthorization: %b\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{"],
        [b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /"],
    ],
)
def test_whoever_stops_in_the_middle_does_not_keep_the_connection(
    served: tuple[Service, int], parts: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    service, port = served
    monkeypatch.setattr(wire, "REQUEST_S", 0.7)
    bearer = b"Bearer " + service.token.encode()
    status, head, _ = answered(port, *(part.replace(b"%b", bearer) for part in parts))
    assert status == (200 if parts[:1] == [b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"] else 408)
    assert status == 200 or b"connection: close" in head


def test_whoever_came_to_an_end_keeps_the_connection(
    served: tuple[Service, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, port = served
    monkeypatch.setattr(wire, "REQUEST_S", 1.5)
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as conn:
        for wait_s in (1.7, 0):
            conn.sendall(request[:9])
            conn.sendall(request[9:])
            assert conn.recv(65_536).startswith(b"HTTP/1.1 200")
            time.sleep(wait_s)


# -- one request after the other ---------------------------------------------------------------------------------------------

USER = b'{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"%b"}'
CHUNKED = b"Transfer-Encoding: chunked\r\n"
ROUNDS = max(40, int(os.environ.get("FUZZ_REQUESTS", "0")) // 100)


def chunked(body: bytes, size: int = 20, extension: bytes = b"", behind: bytes = b"") -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x%b\r\n%b\r\n" % (len(part), extension, part) for part in parts) + b"0\r\n%b\r\n" % behind


class Pipe:
    """Requests for one connection, with what each is to be answered; the last ends it."""

    def __init__(self, token: str, seed: int) -> None:
        self.random = random.Random(seed)
        self.bearer = b"Authorization: Bearer %b\r\n" % token.encode()
        self.sent: list[bytes] = []
        self.statuses: list[tuple[bytes, int]] = []  # method, status
        self.made: set[str] = set()
        self.count = 0
        self.seed = seed

    def ask(self, status: int, method: bytes, path: bytes, *headers: bytes, body: bytes = b"") -> None:
        lines = b"".join((b"Host: x\r\n", *headers))
        self.sent.append(b"%b /scim/v2/%b HTTP/1.1\r\n%b\r\n%b" % (method, path, lines, body))
        self.statuses.append((method, status))

    def body(self, made: bool) -> bytes:
        self.count += 1
        name = f"u{self.seed}-{self.count}"
        self.made |= {name} if made else set()
        return USER % name.encode()

    def post(self, status: int, *headers: bytes, auth: bool = True, form: str = "length") -> None:
        body, bearer = self.body(status == 201), self.bearer if auth else b""
        typed = b"Content-Type: application/scim+json\r\n"
        if form == "length":
            self.ask(
                status, b"POST", b"Users", bearer, typed, b"Content-Length: %d\r\n" % len(body), *headers, body=body
            )
        else:
            behind = b"X-Dry-Run: true\r\nAuthorization: Bearer nobody\r\nHost: y\r\n" if form == "behind" else b""
            extension = b';a=b;c="d;e"' if form == "extension" else b""
            sent = chunked(body, self.random.choice((1, 7, 500)), extension, behind)
            self.ask(status, b"POST", b"Users", bearer, typed, CHUNKED, *headers, body=sent)

    def right(self, last: bool = False) -> None:
        close = (b"Connection: close\r\n",) if last else ()
        offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
        ask, post = self.ask, self.post
        forms: list[Callable[[], None]] = [
            lambda: ask(200, b"GET", b"Users?count=0", self.bearer, *close),
            lambda: ask(200, b"HEAD", b"Users?count=0", self.bearer, *close),
            lambda: ask(404, b"DELETE", b"Users/nobody", self.bearer, b"Content-Length: 3\r\n", *close, body=b"GET"),
            lambda: ask(401, b"GET", b"Users", b"X-A: \xe9\xff\r\n", *close),
            lambda: ask(200, b"GET", b"Users?count=0", self.bearer, *(close or (offer,))),
            lambda: post(201, *close),
            lambda: post(201, *close, form="chunked"),
            lambda: post(201, *close, form="extension"),
            lambda: post(201, *close, form="behind"),
            lambda: post(201, *(close or (offer,))),
            lambda: post(201, *(close or (offer,)), form="behind"),
            lambda: post(201, offer.replace(b"Upgrade,", b"Upgrade, close,") if close else offer, form="chunked"),
            lambda: post(401, *close, auth=False, form="chunked"),
            lambda: post(415, b"Content-Encoding: gzip\r\n", *close),
            lambda: post(400, b"X-Dry-Run: perhaps\r\n", *close),
        ]
        self.random.choice(forms)()

    def wrong(self) -> None:
        length = len(USER) + 20
        heads = (
            *(b"GARBAGE\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"GET /scim/v2/Users HTTP/9.9\r\nHost: x\r\n\r\n"),
            b"GET /scim/v2/Users HTTP/1.1\r\n%b\r\n" % self.bearer,
            b"GET /scim/v2/Users HTTP/1.1\r\nHost: x\r\nHost: x\r\n%b\r\n" % self.bearer,
            b"GET /scim/v2/Users HTTP/1.1\r\nHost: x\r\nX-A: b\r\n c\r\n\r\n",
            b"GET /scim/v2/Users HTTP/1.1\r\nHost: x\r\nX-A: a\0b\r\n\r\n",
            b"GET /scim/v2/Users HTTP/1.1\r\nHost x\r\n\r\n",
        )
        codings = (
            *(b"Transfer-Encoding: gzip, chunked\r\n", b"Transfer-Encoding : chunked\r\n", CHUNKED + CHUNKED),
            *(b"Content-Length: 3\r\n" + CHUNKED, b"Content-Length: 3\r\nContent-Length: 4\r\n"),
            *(b"Content-Length: +3\r\n", b"Content-Length: 0x3\r\n", b"Content-Length: %d\r\n" % 10**30),
        )
        bodies = (b"zz\r\n", b"-1\r\nabc\r\n", b"F" * 20 + b"\r\n", b"3\r\nabcXX", b"3\nabc\n0\n\n")
        if self.random.random() < 0.4:
            self.sent.append(self.random.choice(heads))
        else:
            start = b"POST /scim/v2/Users HTTP/1.1\r\nHost: x\r\n" + self.bearer
            if self.random.random() < 0.6:
                self.sent.append(start + self.random.choice(codings) + b"\r\n" + chunked(self.body(False), length))
            else:
                self.sent.append(start + CHUNKED + b"\r\n" + self.random.choice(bodies))
        self.statuses.append((b"", 400))

    def pieces(self) -> list[bytes]:
        whole, cuts = b"".join(self.sent), self.random.choice((0, 1, 3, 40))
        places = sorted({0, len(whole), *(self.random.randrange(len(whole)) for _ in range(cuts))})
        return [whole[a:b] for a, b in itertools.pairwise(places)]


def told(answer: bytes, methods: list[bytes]) -> list[int]:
    """The status of each answer, as a client takes them apart that asked with these methods."""
    found = []
    for method in methods:
        head, _, answer = answer.partition(b"\r\n\r\n")
        found.append(int(head.split(b" ", 2)[1]))
        length = re.search(rb"\r\ncontent-length: (\d+)", head.lower())
        answer = answer[0 if method == b"HEAD" or length is None else int(length[1]) :]
    assert answer == b"", "more answers than requests"
    return found


def test_each_request_is_answered_in_its_place_up_to_the_one_that_is_wrong(served: tuple[Service, int]) -> None:
    """Before, what was wrong was answered at once: as if it were the answer to the request that was being done."""
    service, port = served
    seed, made = int(os.environ.get("FUZZ_SEED", "0")), set[str]()
    for number in range(ROUNDS):
        pipe = Pipe(service.token, seed + number)
        for _ in range(pipe.random.randrange(4)):
            pipe.right()
        if wrong := pipe.random.random() < 0.6:
            pipe.wrong()
        else:
            pipe.right(last=True)
        wanted, names = [*pipe.statuses], {*pipe.made}
        if wrong and pipe.random.random() < 0.5:
            pipe.right()  # nobody reads it any more
        answer = b""
        with socket.create_connection(("127.0.0.1", port), timeout=10) as conn:
            for part in pipe.pieces():
                with suppress(OSError):
                    conn.sendall(part)
            with suppress(ConnectionError):
                while chunk := conn.recv(65_536):
                    answer += chunk
        assert told(answer, [method for method, _ in wanted]) == [status for _, status in wanted], (seed, number)
        made |= names
    listed = ask_names(port, service.token)
    assert {name for name in listed if name.startswith("u")} == made


def ask_names(port: int, token: str) -> set[str]:
    request = b"GET /scim/v2/Users?count=1000&attributes=userName HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    _, _, body = answered(port, request + b"Authorization: Bearer %b\r\n\r\n" % token.encode())
    return {each["userName"] for each in orjson.loads(body)["Resources"]}
