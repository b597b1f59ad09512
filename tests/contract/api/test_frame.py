"""What every operation of the API shares: problems, permissions, paging, keys, versions, dry runs, the description."""

from __future__ import annotations

from typing import Any

import httpx

from syncd.api.routes import OPERATIONS
from syncd.store import tables as t
from web_service import Service

KEY = "Idempotency-Key"


def ask(service: Service, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
    return service.ask(method, f"/api/v1{path}", body, **more)


def made(service: Service, name: str, **more: Any) -> dict[str, Any]:
    answer = ask(service, "POST", "/users", {"userName": name, **more})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def problem(answer: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["type"] == f"urn:syncd:problem:{kind}"
    assert told["status"] == status
    assert told["request_id"] == answer.headers["x-request-id"]
    return dict(told)


def count(service: Service, table: Any) -> int:
    with service.database.reading() as conn:
        return len(conn.execute(table.select()).all())


def test_refusals_are_problems_wherever_they_come_from(service: Service) -> None:
    problem(ask(service, "GET", "/me", token=None), 401, "unauthorized")
    problem(service.ask("GET", "/api//v1/users/", token=None), 401, "unauthorized")
    problem(ask(service, "GET", "/nothing"), 404, "not-found")
    problem(service.ask("GET", "/api"), 404, "not-found")
    problem(ask(service, "GET", "/users/nobody"), 404, "not-found")
    refused = ask(service, "PUT", "/users")
    problem(refused, 405, "method-not-allowed")
    assert refused.headers["allow"] == "GET, HEAD, POST"
    problem(ask(service, "POST", "/users", content=b"{"), 400, "malformed")
    problem(
        ask(service, "POST", "/users", content=b"x", headers={"Content-Type": "text/plain"}), 415, "unsupported-media"
    )
    problem(ask(service, "POST", "/users", content=b" " * (2**20 + 1)), 413, "too-large")
    problem(ask(service, "GET", "/users", filter="userName eq"), 400, "invalid-filter")
    told = problem(ask(service, "GET", "/users", limit="0", colour="red"), 422, "invalid")
    assert {each["parameter"] for each in told["errors"]} == {"limit", "colour"}
    told = problem(ask(service, "POST", "/users", {"userName": 7, "reason": "a\0b"}), 422, "invalid")
    assert {each["pointer"] for each in told["errors"]} == {"/userName", "/reason"}
    told = problem(ask(service, "POST", "/users", {"userName": "ann", "active": False}), 422, "invalid")
    assert told["errors"][0]["pointer"] == "/active"
    assert service.ask("GET", "/scim/v2/Nothing").headers["content-type"] == "application/scim+json"


def test_permissions(service: Service) -> None:
    reads = service.make_token(allow=["users:read"])
    assert ask(service, "GET", "/users", token=reads).status_code == 200
    answer = ask(service, "POST", "/users", {"userName": "ann"}, token=reads)
    assert "users:create" in problem(answer, 403, "forbidden")["detail"]
    assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
    narrow = service.make_token(allow=["users:read:userName"])
    problem(ask(service, "GET", "/users", token=narrow), 403, "forbidden")
    assert ask(service, "GET", "/me", token=narrow).json()["allow"] == ["users:read:userName"]
    other = service.make_token(workspace="other")
    ann = made(service, "ann")
    problem(ask(service, "GET", f"/users/{ann['id']}", token=other), 404, "not-found")


def test_pages_neither_overlap_nor_skip(service: Service) -> None:
    names = [f"p{n}" for n in range(5)]
    for name in reversed(names):
        made(service, name)
    query: dict[str, Any] = {"limit": 2, "sort": "userName", "filter": 'userName sw "p"'}
    seen: list[str] = []
    page = ask(service, "GET", "/users", **query).json()
    while True:
        seen += [each["userName"] for each in page["items"]]
        if page["next"] is None:
            break
        page = ask(service, "GET", "/users", **query, cursor=page["next"]).json()
    assert seen == names
    cursor = ask(service, "GET", "/users", limit=2).json()["next"]
    problem(ask(service, "GET", "/users", limit=2, sort="-userName", cursor=cursor), 400, "invalid-cursor")
    elsewhere = service.make_token()
    problem(ask(service, "GET", "/users", limit=2, cursor=cursor, token=elsewhere), 400, "invalid-cursor")
    service.later(hours=2)
    problem(ask(service, "GET", "/users", limit=2, cursor=cursor), 400, "expired-cursor")


def test_an_idempotency_key_is_one_request(service: Service) -> None:
    body, key = {"userName": "ann"}, {KEY: "k-1"}
    first = ask(service, "POST", "/users", body, headers=key)
    again = ask(service, "POST", "/users", body, headers=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    assert first.headers["etag"] == again.headers["etag"]
    assert again.headers["idempotency-replayed"] == "true"
    assert count(service, t.users) == 1
    problem(ask(service, "POST", "/users", {"userName": "bob"}, headers=key), 422, "key-reused")
    problem(ask(service, "POST", "/users", body, headers={KEY: "two words"}), 400, "malformed")
    elsewhere = service.make_token()
    problem(ask(service, "POST", "/users", body, headers=key, token=elsewhere), 409, "uniqueness")
    service.later(hours=25)
    problem(ask(service, "POST", "/users", body, headers=key), 409, "uniqueness")
    assert ask(service, "POST", "/users", {"userName": "bob"}, headers={KEY: "k-2"}).status_code == 201
    assert count(service, t.idempotency) == 1, "what is older than a day is forgotten"


def test_a_refused_request_may_be_repeated_with_its_key(service: Service) -> None:
    ann = made(service, "ann")
    problem(ask(service, "POST", "/users", {"userName": "ann"}, headers={KEY: "k"}), 409, "uniqueness")
    ask(service, "DELETE", f"/users/{ann['id']}")
    assert ask(service, "POST", "/users", {"userName": "ann"}, headers={KEY: "k"}).status_code == 201


def test_versions(service: Service) -> None:
    ann = made(service, "ann")
    at = f"/users/{ann['id']}"
    tag = ask(service, "GET", at).headers["etag"]
    changed = ask(service, "PATCH", at, {"title": "Analyst"}, headers={"If-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag
    problem(ask(service, "PATCH", at, {"title": "Lead"}, headers={"If-Match": tag}), 412, "stale-version")
    problem(ask(service, "POST", f"{at}/suspend", headers={"If-Match": tag}), 412, "stale-version")
    same = ask(service, "PATCH", at, {"title": "Analyst"})
    assert same.headers["etag"] == changed.headers["etag"], "no change, no new version"


def test_a_dry_run_answers_and_changes_nothing(service: Service) -> None:
    dry = {"X-Dry-Run": "true", KEY: "k"}
    rehearsed = ask(service, "POST", "/users", {"userName": "ann"}, headers=dry)
    assert (rehearsed.status_code, rehearsed.headers["x-dry-run"]) == (201, "true")
    assert (count(service, t.users), count(service, t.idempotency)) == (0, 0)
    assert ask(service, "POST", "/users", {"userName": "ann"}, headers={KEY: "k"}).status_code == 201
    refused = ask(service, "POST", "/users", {"userName": "ann"}, headers={"X-Dry-Run": "perhaps"})
    problem(refused, 400, "invalid-value")


def test_the_description_names_every_operation(service: Service) -> None:
    described = ask(service, "GET", "/openapi.json").json()
    assert described["openapi"] == "3.1.0"
    named = {(method.upper(), path) for path, methods in described["paths"].items() for method in methods}
    assert named == {(each.method, each.path) for each in OPERATIONS}
    names = [each["operationId"] for methods in described["paths"].values() for each in methods.values()]
    assert len(names) == len(set(names))
    listing = described["paths"]["/users"]["get"]
    having = {"role", "scope", "seat", "group", "source", "kind", "idle_days"}
    assert {each["name"] for each in listing["parameters"]} == having | {"filter", "status", "sort", "limit", "cursor"}


def test_every_operation_needs_its_permission(service: Service) -> None:
    """Before anything else of the request is looked at."""
    weak = service.make_token(allow=["metrics:read"])
    for each in OPERATIONS:
        answer = ask(service, each.method, each.path.replace("{", "").replace("}", ""), token=weak)
        assert answer.status_code == (403 if each.permission else 200), each.name
        assert each.permission in answer.text
