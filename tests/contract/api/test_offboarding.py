"""Leaving by date over the API."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx

from syncd.core.offboarding import MANAGER
from web_service import Service


def ask(service: Service, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
    return service.ask(method, f"/api/v1{path}", body, **more)


def test_a_date_is_set_shown_and_taken_back(service: Service) -> None:
    boss = service.user("boss")["id"]
    ann = service.made_by("corp", "ann", **{"userType": "Employee", MANAGER: boss})
    bob = service.made_by("corp", "bob", **{MANAGER: ann})
    at = (service.now + timedelta(days=10)).isoformat()
    path = f"/users/{ann}/offboarding"
    shown = ask(service, "PUT", path, {"at": at, "reason": "moves on"})
    assert shown.status_code == 200, shown.text
    told = shown.json()
    assert (told["status"], told["ends_at"], told["reason"]) == ("active", "2026-12-01T12:00:00Z", "moves on")
    assert told["hand_over_to"] == {"id": boss, "name": "boss", "because": "manager"}
    assert told["handover"]["as_of"] == "now" and told["handover"]["seats"] == ["internal"]
    assert told["handover"]["reports"] == [{"id": bob, "name": "bob"}]
    chosen = ask(service, "POST", f"{path}/hand-over", {"to": bob}).json()["hand_over_to"]
    assert (chosen["id"], chosen["because"]) == (bob, "chosen")
    [leaving] = ask(service, "GET", "/offboardings").json()["items"]
    assert (leaving["user_id"], leaving["source"]) == (ann, "local")
    assert ask(service, "GET", "/offboardings", days="3").json()["items"] == []
    assert ask(service, "DELETE", path).status_code == 204
    assert ask(service, "GET", path).json()["ends_at"] is None
    assert ask(service, "DELETE", path).status_code == 409


def test_at_once_and_refusals(service: Service) -> None:
    ann = service.user("ann", userType="Employee")["id"]
    path = f"/users/{ann}/offboarding"
    past = ask(service, "PUT", path, {"at": "2020-01-01T00:00:00Z"})
    assert past.status_code == 400 and "has passed" in past.json()["detail"]
    assert ask(service, "PUT", path, {"at": "2030-01-01T00:00:00"}).status_code == 422, "without a zone"
    assert ask(service, "PUT", path, {"hand_over_to": "nobody"}).status_code == 400
    root = service.user("root@example.org")["id"]
    assert ask(service, "PUT", f"/users/{root}/offboarding", {"at": "2030-01-01T00:00:00Z"}).status_code == 403
    reads = service.make_token(allow=["users:read"])
    assert ask(service, "PUT", path, {}, token=reads).status_code == 403
    assert ask(service, "PUT", path, {}).json()["status"] == "inactive"
    assert service.access(ann)["seats"] == []
    assert ask(service, "POST", f"/users/{ann}/reactivate").json()["status"] == "active"
