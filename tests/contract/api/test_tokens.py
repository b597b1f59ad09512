"""Tokens over the API: shown once, and nobody hands on more than she has."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from web_service import Service


def make(service: Service, token: str = "", status: int = 201, **said: Any) -> dict[str, Any]:
    answer = service.ask("POST", "/api/v1/tokens", {"name": "crm", "allow": ["users:read"], **said}, token)
    assert answer.status_code == status, answer.text
    return dict(answer.json())


def rotated(service: Service, id: str, token: str = "", **said: Any) -> httpx.Response:
    return service.ask("POST", f"/api/v1/tokens/{id}/rotate", said, token)


def test_made_used_rotated_and_revoked(service: Service) -> None:
    made = make(service, expires="2027-11-21T12:00:00Z")
    assert (made["state"], made["source"], made["use"]) == ("live", "scim", "bearer")
    me = service.ask("GET", "/api/v1/me", token=made["token"]).json()
    assert (me["name"], me["allow"], me["expires_at"]) == ("crm", ["users:read"], "2027-11-21T12:00:00Z")
    again = rotated(service, made["id"], grace_hours=1).json()
    assert again["id"] != made["id"]
    assert service.ask("GET", "/api/v1/me", token=again["token"]).status_code == 200
    service.later(hours=2)
    assert service.ask("GET", "/api/v1/me", token=made["token"]).status_code == 401
    listed = {each["id"]: each for each in service.ask("GET", "/api/v1/tokens").json()["items"]}
    assert (listed[made["id"]]["state"], listed[again["id"]]["state"]) == ("expired", "live")
    assert "token" not in listed[again["id"]]
    assert service.ask("DELETE", f"/api/v1/tokens/{again['id']}").status_code == 204
    assert service.ask("GET", "/api/v1/me", token=again["token"]).status_code == 401
    assert service.ask("GET", f"/api/v1/tokens/{again['id']}").json()["state"] == "revoked"
    assert service.ask("DELETE", f"/api/v1/tokens/{again['id']}").status_code == 404
    [live] = service.ask("GET", "/api/v1/tokens", state="live").json()["items"]
    assert live["name"] == "okta test"


def test_its_text_is_not_kept(service: Service) -> None:
    body, key = {"name": "crm", "allow": ["users:read"]}, {"Idempotency-Key": "k"}
    first = service.ask("POST", "/api/v1/tokens", body, headers=key).json()
    again = service.ask("POST", "/api/v1/tokens", body, headers=key).json()
    assert (again["id"], again["token"]) == (first["id"], None)


@pytest.mark.parametrize(
    ("said", "pointer"),
    [
        ({"allow": ["users:fly"]}, "/allow"),
        ({"source": "corp"}, "/source"),
        ({"expires": "2020-01-01T00:00:00Z"}, "/expires"),
        ({"allow": []}, "/allow"),
        ({"name": " "}, "/name"),
    ],
)
def test_what_cannot_be_is_told_at_its_place(service: Service, said: dict[str, Any], pointer: str) -> None:
    told = make(service, status=422, **said)
    assert told["errors"][0]["pointer"] == pointer


def test_a_name_that_could_be_mistaken_for_an_id(service: Service) -> None:
    id = make(service)["id"]
    assert "looks like the id" in make(service, status=400, name=id)["detail"]


@pytest.mark.parametrize(
    "said",
    [
        {"allow": ["*"]},
        {"allow": ["users:write"]},
        {"allow": ["users:*"]},
        {"allow": ["users:update"]},
        {"allow": ["groups:read"]},
        {"allow": ["metrics:read"]},
        {"source": "local"},
        {"user": "self"},
    ],
)
def test_nobody_hands_on_more_than_she_has(service: Service, said: dict[str, Any]) -> None:
    id = service.user("ann")["id"]
    if "user" in said:
        said = {"user": id}
    limited = service.make_token(source="scim", allow=["users:read", "users:update:title", "tokens:*"])
    make(service, limited, 403, **said)
    make(service, limited, allow=["users:read:userName", "users:update:title"])
    make(service, limited, allow=["tokens:write", "tokens:read"])


def test_metrics_of_all_workspaces_are_not_handed_on_by_who_may_do_everything_in_one(service: Service) -> None:
    make(service, status=403, allow=["metrics:read"])
    make(service, allow=["*"])


def test_a_stronger_token_is_not_touched(service: Service) -> None:
    """Rotating shows a text, and revoking locks somebody out."""
    strong = make(service, allow=["*"])["id"]
    limited = service.make_token(source="scim", allow=["users:read", "tokens:*"])
    assert rotated(service, strong, limited).status_code == 403
    assert service.ask("DELETE", f"/api/v1/tokens/{strong}", token=limited).status_code == 403
    weak = make(service)["id"]
    assert rotated(service, weak, limited).status_code == 201
    assert service.ask("DELETE", f"/api/v1/tokens/{weak}", token=limited).status_code == 204


def test_the_token_of_a_person_makes_her_own(service: Service) -> None:
    ann, bob = service.user("ann")["id"], service.user("bob")["id"]
    hers = service.make_token(user=ann, allow=["*"])
    assert make(service, hers)["user"] == ann
    make(service, hers, 403, user=bob)
    application = make(service)["id"]
    assert rotated(service, application, hers).status_code == 403
    make(service, status=404, user="nobody")


def test_what_it_makes_does_not_outlive_it(service: Service) -> None:
    short = service.make_token(
        source="scim", allow=["users:read", "tokens:*"], expires_at=service.now.replace(month=12)
    )
    make(service, short, 403)
    make(service, short, 403, expires="2027-01-01T00:00:00Z")
    make(service, short, expires="2026-12-01T00:00:00Z")


def test_another_workspace_is_another_world(service: Service) -> None:
    id = make(service)["id"]
    other = service.make_token(workspace="other")
    assert service.ask("GET", f"/api/v1/tokens/{id}", token=other).status_code == 404
    assert rotated(service, id, other).status_code == 404
