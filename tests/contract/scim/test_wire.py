"""What is no request yet: too long a head, or no HTTP at all. Refused in SCIM's words, and not kept without end."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator

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
