"""Tokens that another issuer signs (JWT), checked by keys fetched from a server on this machine."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jwk, jwt
from joserfc.jws import JWSRegistry

from syncd import jwks
from syncd.auth import Authenticator, Policy
from syncd.core.connection import Access, TrustedIssuer
from syncd.core.workspace import SourcePolicy
from syncd.errors import Unauthorized

from .conftest import USER_URN, Service

ISSUER, AUDIENCE = "https://idp.example.org/", "syncd"
NAMES = ("alg", "kid", "iss", "aud", "sub", "exp", "nbf", "iat", "crit", "b64", "zip", "typ")
KEY = jwk.RSAKey.generate_key(2048, {"kid": "k1", "use": "sig", "alg": "RS256"})
SECOND = jwk.ECKey.generate_key("P-256", {"kid": "k2"})
THIEF = jwk.RSAKey.generate_key(2048, {"kid": "k1"})


class Keys:
    """The issuer's key server. `fetched`: how often it was asked."""

    def __init__(self) -> None:
        self.body, self.status, self.fetched = self.of(KEY), 200, 0
        self.headers: dict[str, str] = {}
        keys = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                keys.fetched += 1
                self.send_response(keys.status)
                for name, value in {"Content-Length": str(len(keys.body)), **keys.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(keys.body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/keys"

    @staticmethod
    def of(*keys: Any) -> bytes:
        return json.dumps({"keys": [each.as_dict(private=False) for each in keys]}).encode()


@pytest.fixture
def keys() -> Iterator[Keys]:
    made = Keys()
    yield made
    made.server.shutdown()
    made.server.server_close()


def trusting(service: Service, **issuers: TrustedIssuer) -> None:
    workspace = service.workspaces["default"]
    policies = {name: SourcePolicy(name, access=Access(issuer=each)) for name, each in issuers.items()}
    service.workspaces["default"] = replace(workspace, sources={**workspace.sources, **policies})
    service.web = service.application()


@pytest.fixture
def idp(service: Service, keys: Keys) -> Keys:
    okta = TrustedIssuer(
        ISSUER, (AUDIENCE,), keys.url, {"sub": "robot"}, allow=frozenset({"users:read", "users:create"})
    )
    entra = TrustedIssuer(ISSUER, (AUDIENCE,), keys.url, {"sub": "other"}, ("ES256",))
    trusting(service, okta=okta, entra=entra)
    return keys


class Anything(JWSRegistry):
    """Signs whatever the header says."""

    max_header_length = 1_000_000

    def check_header(self, header: Any) -> None:
        pass


def signed(
    service: Service, key: Any = KEY, alg: str = "RS256", header: dict[str, Any] | None = None, **claims: Any
) -> str:
    now = int(service.now.timestamp())
    said = {"iss": ISSUER, "aud": AUDIENCE, "sub": "robot", "exp": now + 600, "iat": now} | claims
    top = {"alg": alg, "kid": key.kid} | (header or {})
    head, body = ({k: v for k, v in part.items() if v is not None and v != ""} for part in (top, said))
    return jwt.encode(head, body, key, registry=Anything(algorithms=[alg]))


def status(service: Service, token: str) -> int:
    answer = service.ask("GET", "Users", token=token)
    assert answer.status_code == 200 or AUDIENCE not in answer.json()["detail"].replace("syncd_", "")
    return answer.status_code


def test_a_token_speaks_for_its_connection_with_its_permissions(service: Service, idp: Keys) -> None:
    token = signed(service)
    made = service.ask("POST", "Users", {"schemas": [USER_URN], "userName": "ann", "externalId": "x1"}, token=token)
    assert made.status_code == 201
    assert service.ask("GET", f"Users/{made.json()['id']}").json()["externalId"] == "x1", "of source okta"
    assert service.ask("DELETE", f"Users/{made.json()['id']}", token=token).status_code == 403
    for _ in range(20):
        assert status(service, token) == 200
    assert idp.fetched == 1
    service.later(minutes=11, seconds=1)
    assert status(service, token) == 401


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "else"}, {"aud": None}, {"aud": 7}, {"aud": []}, {"iss": "https://else.example.org/"}, {"iss": None},
        {"sub": "somebody"}, {"sub": None}, {"exp": None}, {"exp": 1}, {"exp": "never"}, {"exp": True},
        {"nbf": 9_999_999_999}, {"iat": 9_999_999_999}, {"sub": ["robot"]},
    ],
)  # fmt: skip
def test_what_a_token_must_say(service: Service, idp: Keys, claims: dict[str, Any]) -> None:
    assert status(service, signed(service, **claims)) == 401
    assert status(service, signed(service)) == 200


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_of_a_claim_that_is_a_list_one_text_is_enough(service: Service, keys: Keys) -> None:
    """As Entra ID says which application roles a client has: `roles` is a list."""
    trusting(service, okta=TrustedIssuer(ISSUER, (AUDIENCE,), keys.url, {"roles": "Provision", "azp": "app"}))
    for roles in ("Provision", ["Provision"], ["Read", "Provision"]):
        assert status(service, signed(service, azp="app", roles=roles)) == 200, roles
    for roles in (None, [], ["provision"], ["Read"], [["Provision"]], {"Provision": True}, "Read Provision"):
        assert status(service, signed(service, azp="app", roles=roles)) == 401, roles
    assert status(service, signed(service, azp=["else"], roles=["Provision"])) == 401


def test_clocks_may_be_off_by_the_leeway_and_no_more(service: Service, idp: Keys) -> None:
    now = int(service.now.timestamp())
    for good in ({"exp": now - 30}, {"nbf": now + 30}, {"iat": now + 30}, {"aud": ["x", AUDIENCE]}, {"exp": 10**300}):
        assert status(service, signed(service, **good)) == 200, good
    for bad in ({"exp": now - 90}, {"nbf": now + 90}, {"iat": now + 90}):
        assert status(service, signed(service, **bad)) == 401, bad


def test_who_signed_it_and_how(service: Service, idp: Keys) -> None:
    good = signed(service)
    head, said, seal = good.split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    wrong = [
        signed(service, THIEF),
        f"{none}.{said}.",
        f"{none}.{said}.{seal}",
        f"{head}.{said}.{seal[:-4]}AAAA",
        f"{head}.{said}.",
        signed(service, THIEF, header={"jku": "http://127.0.0.1:1/keys"}),
        signed(service, THIEF, header={"jwk": THIEF.as_dict(private=False)}),
        signed(service, jwk.OctKey.import_key("s" * 64, {"kid": "k1"}), "HS256"),
        signed(service, SECOND, "ES256"),  # a key that is not published
        signed(service, sub="other"),  # this connection takes ES256 only
        good + ".more",
        "a.b.c",
        "..",
        f"{base64.urlsafe_b64encode(b'[' * 5000).decode()}.{said}.{seal}",
    ]
    assert [status(service, each) for each in wrong] == [401] * len(wrong)
    idp.body = Keys.of(KEY, SECOND)
    assert status(service, signed(service, header={"kid": None})) == 200, "one key fits"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_a_header_has_beside_counts_for_nothing(service: Service, idp: Keys) -> None:
    """RFC 7515 section 4; PingFederate sends `pi.atm`, Microsoft Graph `nonce`, others whole chains of certificates."""
    for header in (
        {"pi.atm": "1"},
        {"nonce": "n" * 700},
        {"jwk": THIEF.as_dict(private=False)},
        {"x5c": ["MII" * 400]},
    ):
        assert status(service, signed(service, header=header)) == 200, header
    assert status(service, signed(service, header={"crit": ["pi.atm"], "pi.atm": "1"})) == 401


def test_a_token_for_two_connections_is_for_none(service: Service, keys: Keys) -> None:
    trusting(
        service,
        okta=TrustedIssuer(ISSUER, (AUDIENCE,), keys.url, {"sub": "robot"}),
        entra=TrustedIssuer(ISSUER, (AUDIENCE,), keys.url, {"azp": "app"}),
    )
    assert status(service, signed(service)) == 200
    assert status(service, signed(service, azp="app")) == 401


def test_our_own_tokens_never_ask_the_issuer(service: Service, idp: Keys) -> None:
    assert status(service, service.token) == 200
    assert status(service, "syncd_" + "0" * 16 + "_" + "0" * 64) == 401
    assert idp.fetched == 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(ISSUER) | st.just("RS256"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=8,
)
PARTS = JSON.map(lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")) | st.text(
    max_size=9
)
TOKENS = st.lists(PARTS, min_size=1, max_size=4).map(".".join) | st.builds("syncd_{}_{}".format, PARTS, PARTS)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(token=TOKENS | TOKENS.map("syncd_at_{}".format))
def test_whatever_is_sent_for_a_token_is_refused_and_no_mistake_of_ours(
    service: Service, idp: Keys, token: str
) -> None:
    asked = Authenticator(service.database, service.workspaces, lambda: service.now, policy=Policy(10**9))
    with pytest.raises(Unauthorized):
        service.run(asked.actor(f"Bearer {token}", "192.0.2.1"))


# -- fetching -----------------------------------------------------------------------------------------------------------------


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def found(service: Service, sets: jwks.KeySets, keys: Keys, kid: str = "k1", alg: str = "RS256") -> int:
    return len(service.run(sets.find(keys.url, kid, alg)))


def test_keys_are_fetched_seldom_however_many_tokens_are_made_up(service: Service, keys: Keys) -> None:
    time = Time()
    sets = jwks.KeySets(time)
    assert [found(service, sets, keys) for _ in range(5)] == [1] * 5 and keys.fetched == 1
    assert [found(service, sets, keys, f"made-up-{n}") for n in range(50)] == [0] * 50
    assert keys.fetched == 1, "the keys are fresh"
    time.now += jwks.AGAIN_S
    assert [found(service, sets, keys, f"made-up-{n}") for n in range(50)] == [0] * 50
    assert keys.fetched == 2
    keys.body = Keys.of(KEY, SECOND)
    time.now += jwks.AGAIN_S
    assert found(service, sets, keys, "k2", "ES256") == 1, "a new key is found"


def test_many_who_wait_ask_once(service: Service, keys: Keys) -> None:
    sets = jwks.KeySets(Time())

    async def many() -> list[Any]:
        return await asyncio.gather(*(sets.find(keys.url, "k1", "RS256") for _ in range(30)))

    assert [len(each) for each in service.run(many())] == [1] * 30 and keys.fetched == 1


def test_old_keys_serve_while_the_issuer_is_away_but_not_for_ever(service: Service, keys: Keys) -> None:
    time = Time()
    sets = jwks.KeySets(time)
    assert found(service, sets, keys) == 1
    keys.status = 500
    for _ in range(3):
        time.now += jwks.FRESH_S + 1
        assert found(service, sets, keys) == 1
    time.now += jwks.STALE_S
    assert found(service, sets, keys) == 0
    keys.status = 200
    assert found(service, sets, keys) == 0, "asked a moment ago"
    time.now += jwks.AGAIN_S
    assert found(service, sets, keys) == 1


@pytest.mark.parametrize(
    "break_",
    [
        {"status": 404}, {"status": 302, "headers": {"Location": "/keys"}}, {"body": b"{"}, {"body": b"[]"}, {"body": b""},
        {"body": b'{"keys": []}'}, {"body": b'{"keys": ' + b"[" * 10_000}, {"body": b'{"keys":[' + b" " * 300_000 + b"]}"},
        {"body": json.dumps({"keys": [KEY.as_dict(private=True)]}).encode()},
        {"body": json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "k1"}, {"kty": "RSA", "n": "x"}, 7]}).encode()},
        {"body": json.dumps({"keys": [KEY.as_dict(private=False) | {"use": "enc"}]}).encode()},
        {"headers": {"Content-Encoding": "gzip"}},
        {"headers": {"Content-Encoding": "gzip"}, "body": gzip.compress(Keys.of(KEY))},
    ],
)  # fmt: skip
def test_what_is_no_set_of_keys(service: Service, keys: Keys, break_: dict[str, Any]) -> None:
    for name, value in break_.items():
        setattr(keys, name, value)
    assert found(service, jwks.KeySets(Time()), keys) == 0


def test_a_server_that_dawdles_is_not_waited_for(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/keys"
        assert service.run(jwks.KeySets(Time()).find(url, "k1", "RS256")) == ()


@pytest.mark.parametrize("url", ["http://idp.example.org/keys", "ftp://127.0.0.1/keys", "http://10.0.0.1/keys"])
def test_keys_come_by_https_only(service: Service, url: str) -> None:
    if url.startswith("ftp"):
        assert service.run(jwks.KeySets(Time()).find(url, "k1", "RS256")) == ()
        return
    with pytest.raises(jwks.Untrusted, match="https only"):
        service.run(jwks.fetch(url))


@pytest.mark.filterwarnings("ignore:Key size")
def test_weak_keys_do_not_count() -> None:
    weak = jwk.RSAKey.generate_key(1024, {"kid": "w"}, auto_kid=False)
    with pytest.raises(jwks.Untrusted):
        jwks.public_keys({"keys": [weak.as_dict(private=False)]})


def test_a_client_keeps_its_private_key() -> None:
    with pytest.raises(jwks.Untrusted, match="private key"):
        jwks.keys_of_file({"keys": [SECOND.as_dict(private=False), KEY.as_dict(private=True)]})
    assert len(jwks.keys_of_file({"keys": [SECOND.as_dict(private=False)]})["keys"]) == 1
