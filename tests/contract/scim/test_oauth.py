"""OAuth 2.0 client credentials: by secret, by Basic, by a signed assertion; and access tokens that end with their client."""

from __future__ import annotations

import base64
import hmac
import itertools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from joserfc import jwk, jwt

from syncd.auth import Policy
from syncd.core.actor import Actor
from syncd.logs import redact
from syncd.store import tables as t
from syncd.store import tokens

from .conftest import BASE, USER_URN, Service

ROOT = Actor("cli", "root", "default")
ENDPOINT = f"{BASE}/oauth/token"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
GRANT = {"grant_type": "client_credentials"}
KEY = jwk.RSAKey.generate_key(2048, {"kid": "k1"})
OTHER = jwk.ECKey.generate_key("P-256", {"kid": "k2"})


def client(service: Service, **more: Any) -> tuple[str, str]:
    with service.database.writing() as conn:
        made, text = tokens.create(conn, ROOT, "oauth", service.now, service.ids, source="okta", client=True, **more)
    return made.id, text


def post(service: Service, form: Any = None, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
    async def asking() -> httpx.Response:
        transport = httpx.ASGITransport(service.web, client=("192.0.2.9", 1))
        async with httpx.AsyncClient(transport=transport) as sender:
            return await sender.post(ENDPOINT, data=form, headers=headers, **more)

    return service.run(asking())


def basic(id: str, secret: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{id}:{secret}".encode()).decode()}


def test_a_client_gets_an_access_token_and_uses_it(service: Service) -> None:
    id, secret = client(service, allow=["users:read"])
    for answer in (
        post(service, GRANT | {"client_id": id, "client_secret": secret}),
        post(service, GRANT, basic(id, secret)),
        post(service, GRANT | {"client_id": id, "scope": "anything"}, basic(id, secret)),
    ):
        assert answer.status_code == 200, answer.text
        said = answer.json()
        assert (said["token_type"], said["expires_in"], said["scope"]) == ("Bearer", 3600, "users:read")
        assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache")
        token = said["access_token"]
        assert service.ask("GET", "Users", token=token).status_code == 200
        assert service.ask("POST", "Users", {"schemas": [USER_URN], "userName": "x"}, token=token).status_code == 403
    service.later(hours=1)
    assert service.ask("GET", "Users", token=token).status_code == 401


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_scope_narrows_an_access_token_to_permissions_of_its_client(service: Service) -> None:
    id, secret = client(service, allow=["users:*", "groups:read"])
    asked = GRANT | {"client_id": id, "client_secret": secret}

    def token(scope: str) -> tuple[str, str]:
        said = post(service, asked | {"scope": scope}).json()
        return said["scope"], said["access_token"]

    read = token("scim users:read users:read:userName")
    assert read[0] == "users:read users:read:userName"
    made = {"schemas": [USER_URN], "userName": "x"}
    for scope, list_of_groups, list_of_users, creation in (
        ("users:read", 403, 200, 403),
        ("groups:read users:create", 200, 403, 201),
        ("scim api://syncd/.default", 200, 200, 409),
    ):
        said, access = token(scope)
        assert said == (scope if "scim" not in scope else "groups:read users:*")
        got = [service.ask("GET", "Groups", token=access), service.ask("GET", "Users", token=access)]
        got.append(service.ask("POST", "Users", made, token=access))
        assert [each.status_code for each in got] == [list_of_groups, list_of_users, creation], scope
    for scope in ("*", "groups:write", "users:raed", "groups:read:nothing", "metrics:read", "users:read tokens:write"):
        refused = post(service, asked | {"scope": scope})
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_scope"), scope
    with service.database.writing() as conn:
        conn.execute(t.tokens.update().where(t.tokens.c.id == id).values(allow=["users:read:userName"]))
    assert service.ask("GET", "Groups", token=token("scim")[1]).status_code == 403
    service.later(seconds=10)
    shown = service.ask("GET", "Users", token=read[1]).json()["Resources"][0]
    assert shown.keys() == {"schemas", "id", "userName"}, "what is taken from the client is taken from its tokens"


def test_a_client_is_no_bearer_token_and_a_bearer_token_no_client(service: Service) -> None:
    id, secret = client(service)
    assert service.ask("GET", "Users", token=secret).status_code == 401
    plain = service.token.split("_")[1]
    assert post(service, GRANT | {"client_id": plain, "client_secret": service.token}).status_code == 401
    with service.database.reading() as conn:
        kept = repr(conn.exec_driver_sql("SELECT * FROM tokens").all())
    assert secret.split("_")[2] not in kept and id in kept


def test_access_ends_with_the_client(service: Service) -> None:
    id, secret = client(service, expires_at=service.now + timedelta(minutes=10))
    said = post(service, GRANT, basic(id, secret)).json()
    assert said["expires_in"] == 600
    assert service.ask("GET", "Users", token=said["access_token"]).status_code == 200
    with service.database.writing() as conn:
        fresh, text = tokens.rotate(conn, ROOT, "oauth", service.now, service.ids, grace=timedelta(minutes=5))
    assert fresh.use == "client"
    assert [post(service, GRANT, basic(*each)).status_code for each in ((id, secret), (fresh.id, text))] == [200, 200]
    service.later(minutes=5)
    assert [post(service, GRANT, basic(*each)).status_code for each in ((id, secret), (fresh.id, text))] == [401, 200]
    assert service.ask("GET", "Users", token=said["access_token"]).status_code == 401
    access = post(service, GRANT, basic(fresh.id, text)).json()["access_token"]
    with service.database.writing() as conn:
        tokens.revoke(conn, ROOT, "oauth", service.now, service.ids)
    assert service.ask("GET", "Users", token=access).status_code == 401


def test_two_processes_honour_each_others_access_tokens(service: Service) -> None:
    id, secret = client(service)
    access = post(service, GRANT, basic(id, secret)).json()["access_token"]
    service.web = service.application()
    assert service.ask("GET", "Users", token=access).status_code == 200


def test_an_access_token_cannot_be_changed(service: Service) -> None:
    id, secret = client(service)
    access = post(service, GRANT, basic(id, secret)).json()["access_token"]
    said, seal = access.removeprefix("syncd_at_").split(".")
    longer = base64.urlsafe_b64encode(f'["{id}",9999999999]'.encode()).rstrip(b"=").decode()
    for wrong in (
        f"syncd_at_{longer}.{seal}",
        f"syncd_at_{said}.{seal[:-2]}AA",
        f"syncd_at_{said}.",
        "syncd_at_.",
        f"{access}é",
    ):
        header = {"Authorization": f"Bearer {wrong}".encode("latin-1")}
        assert service.ask("GET", "Users", token=None, headers=header).status_code == 401  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("form", "status", "code"),
    [
        ({}, 401, "invalid_client"),
        ({"client_id": "ID"}, 401, "invalid_client"),
        ({"client_id": "ID", "client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_id": "0" * 16, "client_secret": "SECRET"}, 401, "invalid_client"),
        ({"client_id": "ID", "client_secret": "SECRET", "grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"client_id": "ID", "client_secret": "SECRET", "grant_type": ""}, 400, "invalid_request"),
        ({"client_id": ["ID", "ID"], "client_secret": "SECRET"}, 400, "invalid_request"),
        ({"client_secret": "SECRET", "client_assertion": "x"}, 400, "invalid_request"),
        ({"client_assertion": "x"}, 400, "invalid_request"),
        ({"client_assertion": "a.b.c", "client_assertion_type": ASSERTION}, 401, "invalid_client"),
    ],
)
def test_what_the_endpoint_refuses(service: Service, form: dict[str, Any], status: int, code: str) -> None:
    id, secret = client(service)
    given = {"ID": id, "SECRET": secret}
    sent = {
        k: [given.get(x, x) for x in v] if isinstance(v, list) else given.get(v, v) for k, v in (GRANT | form).items()
    }
    answer = post(service, sent)
    assert (answer.status_code, answer.json()["error"]) == (status, code), answer.text
    assert ("www-authenticate" in answer.headers) is (status == 401)
    assert secret not in answer.text


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_two_proofs_in_two_headers_are_none(service: Service) -> None:
    id, secret = client(service)
    good, bad = basic(id, secret)["Authorization"], basic(id, "no")["Authorization"]

    async def asking(*headers: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(service.web)) as sender:
            return await sender.post(ENDPOINT, data=GRANT, headers=[("Authorization", each) for each in headers])

    assert service.run(asking(good)).status_code == 200
    for headers in ((good, bad), (bad, good), (good, good)):
        answer = service.run(asking(*headers))
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


def test_other_ways_to_ask_are_refused(service: Service) -> None:
    id, secret = client(service)
    wrong = post(service, GRANT, basic(id, "no"))
    assert (wrong.status_code, wrong.headers["www-authenticate"]) == (401, 'Basic realm="syncd"')
    for header in ("Basic", "Basic !!!", "Bearer x", "Basic " + base64.b64encode(b"nocolon").decode()):
        assert post(service, GRANT, {"Authorization": header}).status_code == 401
    assert post(service, GRANT | {"client_secret": secret}, basic(id, secret)).status_code == 400
    assert post(service, GRANT | {"client_id": "another"}, basic(id, secret)).status_code == 400
    assert post(service, content=b"{}", headers={"Content-Type": "application/json"}).status_code == 400
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert post(service, content=b"a=" + b"x" * 70_000, headers=form).status_code == 413
    assert post(service, content=b"\xff\xfe", headers=form).status_code == 400
    query = f"/oauth/token?client_id={id}&client_secret={secret}&grant_type=client_credentials"
    assert service.ask("POST", query, token=None, content=b"", headers=form).status_code == 401
    assert service.ask("GET", "/oauth/token", token=None).status_code == 405


# -- signed by the client ------------------------------------------------------------------------------------------------

_count = itertools.count()


def signing(service: Service, *keys: Any) -> str:
    public = {"keys": [each.as_dict(private=False) for each in keys or (KEY, OTHER)]}
    with service.database.writing() as conn:
        made, text = tokens.create(conn, ROOT, "signs", service.now, service.ids, source="okta", public_keys=public)
    assert text == ""
    return made.id


def assertion(
    service: Service, id: str, key: Any = KEY, alg: str = "RS256", kid: str | None = "k1", **claims: Any
) -> str:
    now = int(service.now.timestamp())
    said = {"iss": id, "sub": id, "aud": ENDPOINT, "exp": now + 60, "iat": now, "jti": f"j{next(_count)}"} | claims
    header = {"alg": alg} | ({"kid": kid} if kid else {})
    return jwt.encode(header, {k: v for k, v in said.items() if v is not None}, key, algorithms=[alg])


def prove(service: Service, text: str, **more: str) -> httpx.Response:
    return post(service, GRANT | {"client_assertion_type": ASSERTION, "client_assertion": text} | more)


def test_a_client_proves_itself_by_its_key(service: Service) -> None:
    id = signing(service)
    for text in (
        assertion(service, id),
        assertion(service, id, kid=None),
        assertion(service, id, OTHER, "ES256", "k2"),
        assertion(service, id, aud=["https://else.example.org", ENDPOINT]),
        assertion(service, id, aud=BASE),
        assertion(service, id, nbf=int(service.now.timestamp()) + 30),
    ):
        answer = prove(service, text, client_id=id)
        assert answer.status_code == 200, answer.text
        assert service.ask("GET", "Users", token=answer.json()["access_token"]).status_code == 200


def unsigned(text: str) -> str:
    """The same claims with `alg: none`."""
    return base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=") + "." + text.split(".")[1] + "."


def by_public_key(text: str) -> str:
    """The same claims with the public key taken for a shared secret (CVE-2015-9235)."""
    said = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"k1"}').decode().rstrip("=") + "." + text.split(".")[1]
    seal = hmac.digest(KEY.as_pem(private=False), said.encode(), "sha256")
    return said + "." + base64.urlsafe_b64encode(seal).decode().rstrip("=")


Wrong = Callable[[Service, str], str]
THIEF = jwk.RSAKey.generate_key(2048, {"kid": "k1"})


@pytest.mark.parametrize(
    "wrong",
    [
        lambda s, id: assertion(s, id, THIEF),
        lambda s, id: assertion(s, id, kid="nobody"),
        lambda s, id: assertion(s, id, aud="https://else.example.org/oauth/token"),
        lambda s, id: assertion(s, id, aud=None),
        lambda s, id: assertion(s, id, iss="someone"),
        lambda s, id: assertion(s, id, exp=None),
        lambda s, id: assertion(s, id, exp=int(s.now.timestamp()) - 61),
        lambda s, id: assertion(s, id, exp=int(s.now.timestamp()) + 86_400),
        lambda s, id: assertion(s, id, exp="soon"),
        lambda s, id: assertion(s, id, nbf=int(s.now.timestamp()) + 120),
        lambda s, id: assertion(s, id, iat=int(s.now.timestamp()) + 120),
        lambda s, id: assertion(s, id, jti=None),
        lambda s, id: assertion(s, id, jwk.OctKey.import_key("x" * 64), "HS256"),
        lambda s, id: by_public_key(assertion(s, id)),
        lambda s, id: unsigned(assertion(s, id)),
    ],
)
def test_a_wrong_proof_is_none(service: Service, wrong: Wrong) -> None:
    id = signing(service)
    answer = prove(service, wrong(service, id))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_a_proof_is_good_once_and_for_one_client(service: Service) -> None:
    id, other = signing(service), signing(service, OTHER)
    text = assertion(service, id)
    assert [prove(service, text).status_code for _ in range(2)] == [200, 401]
    service.web = service.application()  # nor at another process, or after a restart
    assert prove(service, text).status_code == 401
    service.later(minutes=10)
    assert prove(service, assertion(service, id)).status_code == 200
    with service.database.reading() as conn:
        assert len(conn.execute(t.assertions.select()).all()) == 1  # what has ended is not kept
    assert prove(service, assertion(service, id), client_id=other).status_code == 401
    assert prove(service, assertion(service, other)).status_code == 401, "signed by another client's key"
    assert post(service, GRANT | {"client_id": id, "client_secret": f"syncd_{id}_{'0' * 64}"}).status_code == 401


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_client_that_knows_the_issuer_alone_finds_the_way(service: Service) -> None:
    found = service.ask("GET", "/.well-known/oauth-authorization-server", token=None)
    told = found.json()
    assert (found.status_code, found.headers["content-type"], told["issuer"]) == (200, "application/json", BASE)
    id, secret = client(service)
    endpoint = told["token_endpoint"].removeprefix(BASE)
    form = "&".join(f"{name}={value}" for name, value in (GRANT | {"client_id": id, "client_secret": secret}).items())
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    got = service.ask("POST", endpoint, token=None, headers=headers, content=form.encode()).json()
    assert service.ask("GET", "Users", token=got["access_token"]).status_code == 200
    assert "private_key_jwt" in told["token_endpoint_auth_methods_supported"]
    assert service.ask("POST", "/.well-known/oauth-authorization-server", token=None).status_code == 405
    assert service.ask("GET", "/.well-known/oauth-authorization-server/x", token=None).status_code == 401


def test_a_subject_that_is_no_id_is_nobody(service: Service) -> None:
    for subject in ("a\0b", "' OR 1=1 --", "", "x" * 5000):
        assert prove(service, assertion(service, subject)).status_code == 401


def test_what_clients_send_and_get_is_hidden_in_logs(service: Service) -> None:
    id, secret = client(service)
    access = post(service, GRANT, basic(id, secret)).json()["access_token"]
    signed = assertion(service, id)
    hide = redact()
    for text in (secret, access, signed):
        line = str(hide(None, "info", {"event": "x", "why": f"got {text} from them", "text": text}))
        assert text not in line and text[-20:] not in line


def test_failures_at_the_endpoint_count_like_wrong_tokens(service: Service) -> None:
    service.web = service.application(authentication=Policy(failures_per_minute=3))
    id, secret = client(service)
    assert [post(service, GRANT, basic(id, "no")).status_code for _ in range(3)] == [401] * 3
    limited = post(service, GRANT, basic(id, secret))
    assert limited.status_code == 429 and int(limited.headers["retry-after"]) > 0
