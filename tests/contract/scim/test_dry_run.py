"""`X-Dry-Run: true`: the answer is the one the request would get, and nothing is left of it, not even a record."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from syncd.store import tables as t

from .conftest import BASE, GROUP_URN, PATCH_URN, USER_URN, Service

DRY = {"X-Dry-Run": "true"}


def everything(service: Service) -> dict[str, Any]:
    """Every row of every table; when tokens were used is no part of a request."""
    with service.database.reading() as conn:
        return {table.name: sorted(map(repr, conn.execute(table.select()))) for table in t.metadata.sorted_tables}


def test_a_dry_run_answers_as_the_request_would_and_changes_nothing(service: Service) -> None:
    ann, bob = service.user("ann", userType="Employee"), service.user("bob")
    crew = service.group("crm", ann["id"])
    new = {"schemas": [USER_URN], "userName": "eve", "userType": "Employee"}
    off = {"schemas": [PATCH_URN], "Operations": [{"op": "replace", "path": "active", "value": False}]}
    more = {"schemas": [PATCH_URN], "Operations": [{"op": "add", "path": "members", "value": [{"value": bob["id"]}]}]}
    requests: list[tuple[str, str, Any]] = [
        ("POST", "Users", new),
        ("PUT", f"Users/{bob['id']}", {**new, "title": "clerk"}),
        ("PATCH", f"Users/{ann['id']}", off),
        ("PATCH", f"Groups/{crew['id']}", more),
        ("POST", "Groups", {"schemas": [GROUP_URN], "displayName": "new", "members": [{"value": ann["id"]}]}),
        ("DELETE", f"Groups/{crew['id']}", None),
        ("DELETE", f"Users/{ann['id']}", None),
        ("POST", "Users", {"schemas": [USER_URN], "userName": "ann"}),  # taken
        ("PATCH", f"Users/{'0' * 36}", off),
    ]
    before = everything(service)
    for method, path, body in requests:
        dry = service.ask(method, path, body, headers=DRY)
        assert dry.headers["x-dry-run"] == "true"
        assert everything(service) == before, (method, path)
    first = requests[0]
    dry, wet = service.ask(*first, headers=DRY), service.ask(*first)
    assert (dry.status_code, wet.status_code) == (201, 201)
    assert dry.headers["etag"] == wet.headers["etag"] and "x-dry-run" not in wet.headers
    gone = ("id", "meta")  # a real one gets another id
    assert {k: v for k, v in dry.json().items() if k not in gone} == {
        k: v for k, v in wet.json().items() if k not in gone
    }
    assert [service.ask(*each, headers=DRY).status_code for each in requests[-2:]] == [409, 404]


def test_what_would_be_held_is_said_and_not_held(service: Service) -> None:
    people = [service.user(f"p{n}") for n in range(8)]
    service.later(days=2)
    off = {"schemas": [PATCH_URN], "Operations": [{"op": "replace", "path": "active", "value": False}]}
    for each in people[:5]:
        assert service.ask("PATCH", f"Users/{each['id']}", off).status_code == 200
    before = everything(service)
    held = service.ask("PATCH", f"Users/{people[5]['id']}", off, headers=DRY)
    assert held.status_code == 429 and held.headers["retry-after"]
    assert everything(service) == before


@pytest.mark.parametrize("value", ["yes", "1", "", "true, true", "dry"])
def test_whoever_asks_in_other_words_is_refused(service: Service, value: str) -> None:
    before = everything(service)
    body = {"schemas": [USER_URN], "userName": "eve"}
    refused = service.ask("POST", "Users", body, headers={"X-Dry-Run": value})
    assert (refused.status_code, refused.json()["scimType"]) == (400, "invalidValue")
    assert everything(service) == before
    assert service.ask("POST", "Users", body, headers={"X-Dry-Run": "false"}).status_code == 201


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_whoever_asks_twice_otherwise_is_refused(service: Service) -> None:
    body, token = {"schemas": [USER_URN], "userName": "eve"}, ("Authorization", f"Bearer {service.token}")

    async def asking(*said: str) -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(service.web)) as client:
            headers = [token, *(("X-Dry-Run", each) for each in said)]
            return (await client.post(f"{BASE}/scim/v2/Users", json=body, headers=headers)).status_code

    assert [service.run(asking(*said)) for said in (("false", "true"), ("true", "false"))] == [400, 400]
    assert service.names() == []
    assert service.run(asking("true", "True")) == 201
    assert service.names() == []


def test_reading_is_what_it_is(service: Service) -> None:
    service.user("ann")
    assert service.ask("GET", "Users", headers=DRY).json()["totalResults"] == 1
    search = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"], "cursor": "", "count": 1}
    assert service.ask("POST", "Users/.search", search, headers=DRY).status_code == 200
