"""Messages, errors and ETags over SCIM: every answer is a SCIM answer, whatever was asked."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import httpx
import pytest
import structlog.testing

from syncd.errors import DatabaseUnavailable
from syncd.store.engine import Database

from .conftest import BASE, GROUP_URN, PATCH_URN, USER_URN, Service

ERROR_URN = "urn:ietf:params:scim:api:messages:2.0:Error"
SEARCH_URN = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"
PATHS = (
    "/scim",
    "/scim/v2",
    "/scim/v1/Users",
    "/scim/v2/Users",
    "/scim/v2/Users/.search",
    "/scim/v2/Users/x",
    "/scim/v2/Users/x/y",
    "/scim/v2/Groups",
    "/scim/v2/Groups/x",
    "/scim/v2/ServiceProviderConfig",
    "/scim/v2/Schemas",
    "/scim/v2/Schemas/x",
    "/scim/v2/ResourceTypes",
    "/scim/v2/ResourceTypes/x",
    "/scim/v2/Me",
    "/scim/v2/Bulk",
    "/scim/v2/.search",
    "/scim/v2/anything",
)


def assert_error(answer: httpx.Response, status: int, scim_type: str | None = None) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["status"]) == (status, str(status)), f"{answer.request.url}: {answer.text}"
    assert answer.headers["content-type"] == "application/scim+json"
    assert body["schemas"] == [ERROR_URN] and body["detail"]
    assert scim_type is None or body["scimType"] == scim_type
    return body


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"])
def test_every_path_and_method(service: Service, method: str) -> None:
    """Without a token 401; with one an answer that SCIM has, never a page, never a 500."""
    for path in PATHS:
        refused = service.ask(method, path, token=None)
        assert_error(refused, 401)
        assert refused.headers["www-authenticate"].startswith("Bearer")
        answer = service.ask(method, path)
        if answer.status_code == 200:
            assert answer.headers["content-type"] == "application/scim+json", path
            continue
        assert answer.status_code in (400, 404, 405, 501), f"{path}: {answer.text}"
        assert_error(answer, answer.status_code)
        if answer.status_code == 405:
            assert method not in answer.headers["allow"], path
            allowed = answer.headers["allow"].split(", ")
            assert all(service.ask(each, path).status_code != 405 for each in allowed), path


@pytest.mark.parametrize(
    "path", ["//scim/v2/Users", "/scim//v2///Users/", "/scim/v2/Users//", "/%73cim/v2/%55sers", "/scim/v2/Users/"]
)
def test_however_a_path_is_spelled_it_needs_a_token(service: Service, path: str) -> None:
    service.user("ann")
    assert_error(service.ask("GET", path, token=None), 401)
    assert service.ask("GET", path).json()["totalResults"] == 1


def test_versions_of_the_protocol(service: Service) -> None:
    """RFC 7644 section 3.13: none is the latest, another one is refused, and what is answered names this one."""
    ann = service.user("ann")
    assert service.ask("GET", f"/scim/Users/{ann['id']}").json() == ann
    assert service.ask("GET", "/scim/Users", filter='userName eq "ann"').json()["totalResults"] == 1
    assert service.ask("GET", "/scim").json()["totalResults"] == 1
    made = service.ask("POST", "/scim//Users/", {"schemas": [USER_URN], "userName": "bob"})
    assert made.headers["location"] == f"{BASE}/scim/v2/Users/{made.json()['id']}"
    assert_error(service.ask("DELETE", "/scim/Users"), 405)
    group = service.group("g", ann["id"])
    for base in ("/scim/v2", "/scim", "/scim/v1"):  # RFC 7643 section 2.4: these URLs are the same
        url = f"{BASE}{base}/Users/{ann['id']}"
        assert service.names(f'members.$ref eq "{url}"', "Groups") == ["g"]
        assert service.names(f'members[$ref eq "{url}" and type eq "User"]', "Groups") == ["g"]
        assert service.names(f'meta.location eq "{url}"') == ["ann"]
        same = {"op": "add", "path": "members[value pr]", "value": {"$ref": url}}
        assert service.patch(f"Groups/{group['id']}", same).status_code == 204
    for path in ("/scim/v1/Users", "/scim/v3", "/scim/v2.1/Users/x"):
        assert_error(service.ask("GET", path), 400, "invalidVers")
    for path in ("/scim/v2/v1/Users", "/scim/v2/nosuch", "/scim/version", "/scim/v"):
        assert_error(service.ask("GET", path), 404)


@pytest.mark.parametrize(
    "path", ["/scim/v2/../../healthz", "/healthz/../scim/v2/Users", "/readyz%2F..%2Fscim/v2/Users"]
)
def test_an_open_path_opens_no_other(service: Service, path: str) -> None:
    async def raw() -> int:
        statuses: list[int] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        scope = {"type": "http", "method": "GET", "path": path.replace("%2F", "/"), "headers": [], "query_string": b""}
        await service.web(scope, receive, send)
        return statuses[0]

    assert service.run(raw()) == 401


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"null", 400),
        (b'{"schemas":["x"],"userName":"x"}', 400),
        (b'{"schemas":["%s"]}' % USER_URN.encode(), 400),
        (b'{"schemas":["%s"],"userName":7}' % USER_URN.encode(), 400),
        (b'{"schemas":["%s"],"userName":"a\\u0000"}' % USER_URN.encode(), 400),
        (b'{"schemas":["%s"],"userName":"%s"}' % (USER_URN.encode(), b"x" * 5000), 400),
        (b'{"schemas":["%s"],"userName":"x","externalId":"%s"}' % (USER_URN.encode(), b"x" * 5000), 400),
        (b'{"schemas":["%s"],"userName":"x","active":"maybe"}' % USER_URN.encode(), 400),
        (b'{"a":' * 5000, 400),
        (b'{"x":"' + b"y" * 1_048_576 + b'"}', 413),
    ],
)
def test_a_body_that_is_wrong(service: Service, content: bytes, status: int) -> None:
    for method, path in (("POST", "Users"), ("PUT", f"Users/{service.user('known')['id']}")):
        assert_error(service.ask(method, path, content=content), status)
    assert service.names() == ["known"]


def test_a_body_without_a_length_is_limited_too(service: Service) -> None:
    async def chunks() -> Any:
        for _ in range(20):
            yield b" " * 100_000

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(service.web)) as client:
            headers = {"Authorization": f"Bearer {service.token}"}
            return await client.post(f"{BASE}/scim/v2/Users", content=chunks(), headers=headers)

    assert_error(service.run(ask()), 413)


@pytest.mark.parametrize(
    ("media", "status"),
    [
        ("application/scim+json; charset=utf-8", 201),
        ("application/json", 201),
        ("Application/JSON;charset=UTF-8", 201),
        ("application/vnd.api+json", 201),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/xml", 415),
    ],
)
def test_media_types(service: Service, media: str, status: int) -> None:
    body = b'{"schemas":["%s"],"userName":"x"}' % USER_URN.encode()
    answer = service.ask("POST", "Users", content=body, headers={"Content-Type": media})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/scim+json"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("charset", "encoding", "status"),
    [
        ("utf-8", "utf-8", 201),
        ('"UTF8"', "utf-8", 201),
        ("iso-8859-1", "latin-1", 415),
        ("ISO-8859-1", "ascii", 201),
        ("utf-16", "utf-16", 415),
        ("utf-8859", "utf-8", 415),
    ],
)
def test_a_body_in_another_encoding_is_not_misread(service: Service, charset: str, encoding: str, status: int) -> None:
    name = "bjensen" if encoding == "ascii" else "b\u00f6rje"
    body = f'{{"schemas":["{USER_URN}"],"userName":"{name}"}}'.encode(encoding)
    headers = {"Content-Type": f"application/json; charset={charset}"}
    answer = service.ask("POST", "Users", content=body, headers=headers)
    assert answer.status_code == status
    assert status == 415 or answer.json()["userName"] == name


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_name_given_twice_in_one_object_is_refused(service: Service) -> None:
    """RFC 8259 section 4: which value counts is for each reader another one; a filter in front may have seen the first."""
    ann = f"Users/{service.user('ann')['id']}"
    patch = b'{"schemas":["%s"], "Operations":[{"op":"replace","path":"active","value":true, "value" :false}]}'
    for method, path, body in (
        ("POST", "Users", b'{"schemas":["%s"],"userName":"a","userName":"b"}' % USER_URN.encode()),
        ("PUT", ann, b'{"schemas":["%s"],"name":{"givenName":"a",\n"givenName"\n:"a"}}' % USER_URN.encode()),
        ("PATCH", ann, patch % PATCH_URN.encode()),
        ("POST", "Users/.search", b'{"schemas":["%s"],"count":1,"count":2}' % SEARCH_URN.encode()),
    ):
        answer = service.ask(method, path, content=body)
        assert_error(answer, 400, "invalidSyntax")
        assert "twice in one object" in answer.json()["detail"]
    assert (service.names(), service.ask("GET", ann).json()["active"]) == (["ann"], True)
    likely = {"schemas": [USER_URN], "userName": "eve", "title": 'a "title": "title" :', "nickName": '{"a":1,"a":1}'}
    assert service.ask("POST", "Users", likely).status_code == 201


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_name_that_cannot_be_read_aloud_is_refused(service: Service) -> None:
    ann = f"Users/{service.user('ann')['id']}"
    for name in ("a\r\nBcc: b", "a\x1b[31m", "a\u2028b", "\u200b", "\u00a0\u2003", "a\u200bb", "\u202ea", "a\ufeff"):
        assert_error(service.ask("POST", "Users", {"schemas": [USER_URN], "userName": name}), 400, "invalidValue")
        assert_error(service.patch(ann, {"op": "replace", "path": "userName", "value": name}), 400, "invalidValue")
    for name in ("Ann Lee", "\u0646\u0627\u0645\u0647\u200c\u0647\u0627", "\U0001f600"):
        assert service.ask("POST", "Users", {"schemas": [USER_URN], "userName": name}).status_code == 201


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_who_has_such_a_name_from_an_earlier_release_can_still_be_let_go(service: Service) -> None:
    for name in ("old\u200bann", "old\tbob"):
        user = f"Users/{service.made_by('okta', name)}"
        said = {"schemas": [USER_URN], "userName": name, "active": False}
        assert service.ask("PUT", user, said).json()["active"] is False
        assert_error(service.ask("PUT", user, said | {"userName": name + "\u202e"}), 400, "invalidValue")
        assert service.ask("PUT", user, said | {"userName": f"new {name[4:]}"}).status_code == 200
    ann = f"Users/{service.user('ann')['id']}"
    assert_error(service.ask("PUT", ann, {"schemas": [USER_URN], "userName": "a\u200bnn"}), 400, "invalidValue")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_packed_body_is_refused_by_name(service: Service) -> None:
    body = b'{"schemas":["%s"],"userName":"x"}' % USER_URN.encode()
    answer = service.ask("POST", "Users", content=gzip.compress(body), headers={"Content-Encoding": "gzip"})
    assert_error(answer, 415)
    assert (answer.headers["accept-encoding"], answer.headers["accept"]) == ("identity", "application/scim+json")
    assert service.ask("POST", "Users", content=body, headers={"Content-Encoding": "identity"}).status_code == 201


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "brew", "path": "title", "value": "x"},
        {"op": "replace", "path": "nonsense", "value": "x"},
        {"op": "replace", "path": "title[", "value": "x"},
        {"op": "replace", "path": 'emails[type eq "x" and', "value": "x"},
        {"op": "replace", "path": "id", "value": "other"},
        {"op": "replace", "path": "userName", "value": ""},
        {"op": "remove", "path": "userName"},
        {"op": "remove"},
        {"op": "replace", "path": "active", "value": {"a": []}},
        {"op": "add", "path": "emails", "value": 7},
        {"op": "replace", "path": "userName", "value": "x" * 5000},
        {"op": "add", "path": "externalId", "value": "\0"},
    ],
)
def test_a_patch_that_is_wrong_changes_nothing(service: Service, operation: dict[str, Any]) -> None:
    made = service.user("ann", title="Boss")
    good = {"op": "replace", "path": "title", "value": "King"}
    answer = service.patch(f"Users/{made['id']}", good, operation)
    assert_error(answer, 400)
    assert service.ask("GET", f"Users/{made['id']}").json() == made


def test_etags(service: Service) -> None:
    made = service.user("ann")
    path, tag = f"Users/{made['id']}", made["meta"]["version"]
    same = service.ask("GET", path, headers={"If-None-Match": tag})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    assert service.ask("GET", path, headers={"If-None-Match": 'W/"9", *'}).status_code == 304
    change = {"op": "replace", "path": "title", "value": "Boss"}
    changed = service.patch(path, change, headers={"If-Match": tag})
    assert (changed.status_code, changed.headers["etag"]) == (200, 'W/"2"')
    body = {"schemas": [USER_URN], "userName": "ann"}
    for answer in (
        service.patch(path, change, headers={"If-Match": tag}),
        service.ask("PUT", path, body, headers={"If-Match": tag}),
        service.ask("DELETE", path, headers={"If-Match": tag}),
        service.ask("DELETE", path, headers={"If-Match": "nonsense"}),
    ):
        assert "scimType" not in assert_error(answer, 412)
    assert service.ask("GET", path, headers={"If-None-Match": tag}).status_code == 200
    group = service.group("g")
    wrong = {"If-Match": 'W/"7"'}
    assert_error(service.ask("DELETE", f"Groups/{group['id']}", headers=wrong), 412)
    assert service.ask("GET", f"Groups/{group['id']}", headers={"If-None-Match": 'W/"1"'}).status_code == 304
    assert service.ask("DELETE", f"Groups/{group['id']}", headers={"If-Match": "*"}).status_code == 204


@pytest.mark.parametrize(
    ("header", "there"),
    [
        ('W/"1"', True),
        ('"1"', True),
        ("1", True),
        ("*", True),
        ('"7", W/"1"', True),
        ('"x,y" , "1"', True),
        ('W/"2"', False),
        ('"1x"', False),
        ('"*"x', False),
        ("", False),
        (",,", False),
    ],
)
def test_preconditions(service: Service, header: str, there: bool) -> None:
    """RFC 7232 section 3: If-Match goes on if the version is named, If-None-Match if it is not; on reads and writes."""
    made = service.user("ann")
    path, body = f"Users/{made['id']}", {"schemas": [USER_URN], "userName": "ann"}
    group = f"Groups/{service.group('g')['id']}"
    for one in (path, group):
        assert service.ask("GET", one, headers={"If-Match": header}).status_code == (200 if there else 412)
        assert service.ask("HEAD", one, headers={"If-None-Match": header}).status_code == (304 if there else 200)
    refused, passed = ("If-None-Match", "If-Match") if there else ("If-Match", "If-None-Match")
    for method, content in (("PUT", body), ("PATCH", {"schemas": [PATCH_URN], "Operations": []}), ("DELETE", None)):
        assert_error(service.ask(method, path, content, headers={refused: header}), 412)
    same = service.ask("PUT", path, body, headers={passed: header})
    assert (same.status_code, same.headers["etag"], same.headers["location"]) == (
        200,
        'W/"1"',
        made["meta"]["location"],
    )
    assert service.ask("DELETE", path, headers={passed: header}).status_code == 204
    assert_error(service.ask("DELETE", path, headers={"If-Match": "*"}), 404)


def test_head_is_get_without_a_body(service: Service) -> None:
    made = service.user("ann")
    for path in ("Users", f"Users/{made['id']}", "Schemas"):
        head = service.ask("HEAD", path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == "application/scim+json"


def test_two_patches_at_once_lose_nothing(service: Service) -> None:
    """Each adds an e-mail; both stay, since a PATCH reads and writes under one lock."""
    made = service.user("ann")

    async def patch(n: int) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(service.web)) as client:
            operation = {"op": "add", "path": "emails", "value": [{"value": f"{n}@example.org", "type": "work"}]}
            return await client.patch(
                f"{BASE}/scim/v2/Users/{made['id']}",
                json={"schemas": [PATCH_URN], "Operations": [operation]},
                headers={"Authorization": f"Bearer {service.token}"},
            )

    async def both() -> list[httpx.Response]:
        return await asyncio.gather(*(patch(n) for n in range(8)))

    assert {answer.status_code for answer in service.run(both())} == {200}
    seen = service.ask("GET", f"Users/{made['id']}").json()
    assert len(seen["emails"]) == 8 and seen["meta"]["version"] == 'W/"9"'


def test_discovery_refuses_filters_and_says_what_is_true(service: Service) -> None:
    config = service.ask("GET", "ServiceProviderConfig").json()
    assert (config["bulk"]["supported"], config["sort"]["supported"], config["etag"]["supported"]) == (
        True,
        True,
        True,
    )
    types = service.ask("GET", "ResourceTypes").json()
    assert [each["id"] for each in types["Resources"]] == ["User", "Group"]
    schemas = service.ask("GET", "Schemas").json()
    for each in (*types["Resources"], *schemas["Resources"]):
        location = each["meta"]["location"]
        answer = service.ask("GET", location.removeprefix(BASE))
        assert answer.json() == each and answer.headers["location"] == location  # as a user is (RFC 7644 section 4)
    every = {urn for each in (config, *types["Resources"], *schemas["Resources"]) for urn in each["schemas"]}
    assert every <= {each["id"] for each in schemas["Resources"]}  # RFC 7643 section 7: there is one for each
    one = (f"Schemas/{USER_URN}", "ResourceTypes/User")
    for path in ("ServiceProviderConfig", "ResourceTypes", "Schemas", *one):
        assert_error(service.ask("GET", path, filter='id eq "User"'), 403)


def test_an_unavailable_database_is_503_and_the_unexpected_500(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(self: Database, work: Any, quick: bool = False) -> Any:
        raise failure

    monkeypatch.setattr(Database, "write", failing)
    body = {"schemas": [GROUP_URN], "displayName": "g"}
    failure: Exception = DatabaseUnavailable("database postgresql://...: does not answer")
    answer = service.ask("POST", "Groups", body)
    assert_error(answer, 503)
    assert int(answer.headers["retry-after"]) > 0
    failure = RuntimeError("password=hunter2")
    with structlog.testing.capture_logs() as logs:
        answer = service.ask("POST", "Groups", body)
    detail = assert_error(answer, 500)["detail"]
    assert answer.headers["x-request-id"] in detail and "hunter2" not in answer.text
    assert [each["event"] for each in logs] == ["request_failed", "scim_answered"]


def test_one_log_line_a_request_without_values(service: Service) -> None:
    made = service.user("ann@example.org")
    operation = {"op": "Replace", "path": "active", "value": "False"}
    with structlog.testing.capture_logs() as logs:
        service.patch(f"Users/{made['id']}", operation)
    (line,) = logs
    assert line["event"] == "scim_answered"
    assert (line["method"], line["route"], line["status"]) == ("PATCH", "/scim/v2/Users/{id}", 200)
    assert (line["workspace"], line["connection"]) == ("default", "okta test")
    assert line["tolerances"]
    assert "ann@" not in str(line) and service.token not in str(line)
