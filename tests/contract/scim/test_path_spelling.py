"""Authentication is blind to how a path is spelled: over the real server, and by the layer alone with any path at all."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from syncd.auth import ACTOR, Authenticated, normalised
from syncd.core.actor import Actor
from syncd.errors import SyncdError, Unauthorized
from syncd.web import OPEN, OPEN_ON_LOOPBACK

from .conftest import BASE, Service

_PIECES = r"""
/ // /./ /../ /..;/ \ /%2f %2F %5c /%2e%2e/ /.%2e/ ; ;x=1 ;/ ? # %3f %23 scim SCIM ſcim %73cim s%63im v2 V2 . .. id-000001
Users users Groups Bulk .search ServiceProviderConfig healthz readyz oauth token metrics api v1 %00 %0a
%0d%0a %20 %c0%af %ff http://syncd.test //evil.example.org * é % %2 %u002f %25%32%66
"""
PIECES = ["", " ", "\t", "\0", "\u200b", *_PIECES.split()]
paths = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=9).map("".join)


class Refusing:
    """Nobody has a token."""

    async def actor(self, authorization: str | None, host: str | None = None) -> Actor:
        raise Unauthorized("no")


def refuse(exc: SyncdError, scope: Scope) -> Response:
    return Response(status_code=exc.status)


@settings(max_examples=400, deadline=None)
@given(path=paths, raw=st.binary(max_size=20), root=st.sampled_from(["", "/scim", "/healthz"]))
def test_no_spelling_passes_the_layer_but_the_open_ones(path: str, raw: bytes, root: str) -> None:
    reached: list[str] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        assert ACTOR not in scope
        reached.append(scope["path"])

    async def nothing(message: Any = None) -> Any:
        return {"type": "http.request"}

    opened = OPEN | OPEN_ON_LOOPBACK
    layer = Authenticated(application, Refusing(), opened, refuse)  # type: ignore[arg-type]
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": raw,
        "root_path": root,
        "headers": [],
        "query_string": b"",
    }
    asyncio.run(layer(scope, nothing, nothing))
    assert all(each in opened for each in reached), "and the application sees the path that was judged"
    assert normalised(normalised(path)) == normalised(path)


# -- over the wire ------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["httptools", "h11"])
def wire(service: Service, request: pytest.FixtureRequest) -> Iterator[tuple[Service, int]]:
    sock = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(service.web, http=request.param, lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield service, sock.getsockname()[1]
    server.should_exit = True
    thread.join(10)
    sock.close()


def statuses(port: int, requests: list[bytes]) -> list[int]:
    """Of each request on a connection of its own; 0: the server said nothing."""
    found = []
    for each in requests:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as conn:
            conn.sendall(each)
            conn.shutdown(socket.SHUT_WR)
            answer = b""
            while chunk := conn.recv(65_536):
                answer += chunk
        found.append(int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0)
    return found


_SPELLED = r"""
/scim/v2/Users /scim/v2/Users/ //scim/v2/Users /scim//v2///Users// /./scim/v2/Users /scim/v2/./Users /SCIM/V2/USERS
/healthz/../scim/v2/Users /healthz/..%2fscim/v2/Users /healthz/%2e%2e/scim/v2/Users /oauth/token/../../scim/v2/Users
/%73cim/v2/Users /scim%2fv2%2fUsers /scim/v2/%55sers /%2fscim/v2/Users /%2e/scim/v2/Users /scim%252fv2/Users
/Scim/v2/users /scim/v2;x=1/Users /scim/v2/Users;healthz /healthz;/../scim/v2/Users /;/scim/v2/Users //evil/scim/v2/Users
http://127.0.0.1/scim/v2/Users http://127.0.0.1//scim/v2/Users https://evil.example.org/scim/v2/Users /scim/v2/Users%20
/scim/v2/Users?/healthz /scim/v2/Users?path=/healthz /scim/v2/Users#/healthz /scim/v2/Users%00/healthz /scim/v2/Bulk
/scim/v2/Users\healthz /healthz\..\scim\v2\Users /scim/v2/Users/.search /scim /scim/ / /metrics * /api/v1/users
/anything /scim/v2/ServiceProviderConfig /scim/v2/Schemas/ /healthz/x /oauth /oauth/token/x
"""
SPELLINGS = _SPELLED.split()


def test_no_spelling_reaches_a_handler_without_a_token(
    wire: tuple[Service, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    service, port = wire
    ann = service.user("ann")["id"]
    reached: list[str] = []

    async def handled(self: Any, *_: Any) -> Response:
        reached.append(self.template)
        return Response("reached", 299)

    monkeypatch.setattr("syncd.scim.endpoint.Endpoint._handle", handled)
    told = b"".join(name + b": /healthz\r\n" for name in (b"X-Original-URL", b"X-Rewrite-URL", b"X-Forwarded-Prefix"))
    head = b" HTTP/1.1\r\nHost: syncd.test\r\n" + told + b"\r\n"
    targets = [each.encode() for each in [*SPELLINGS, f"/scim/v2/Users/{ann}", f"//scim/v2/Users/{ann}/"]]
    requests = [
        method + b" " + target + head
        for target in targets
        for method in (b"GET", b"POST", b"DELETE", b"get", b"OPTIONS")
    ]
    found = statuses(port, requests)
    assert reached == []
    assert set(found) <= {401, 400, 0}, [
        pair for pair in zip(requests, found, strict=True) if pair[1] not in (401, 400, 0)
    ]
    assert found.count(401) > 100, "most were understood, and refused"


def test_the_open_paths_are_open_in_every_spelling(wire: tuple[Service, int]) -> None:
    _, port = wire
    spelled = [b"/healthz", b"/healthz/", b"//healthz", b"/%68ealthz", b"/healthz?x=1"]
    assert statuses(port, [b"GET " + each + b" HTTP/1.1\r\nHost: x\r\n\r\n" for each in spelled]) == [200] * len(
        spelled
    )


def test_two_tokens_are_none(service: Service) -> None:
    async def ask(*tokens: str) -> int:
        headers = [("Authorization", f"Bearer {each}") for each in tokens]
        async with httpx.AsyncClient(transport=httpx.ASGITransport(service.web)) as client:
            return (await client.get(f"{BASE}/scim/v2/Users", headers=headers)).status_code

    good = service.token
    assert [service.run(ask(*each)) for each in ((good,), (good, "x"), ("x", good), (good, good))] == [
        200,
        401,
        401,
        401,
    ]
