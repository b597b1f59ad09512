"""Roles and seat pools over the API: what there is, who has it, and seats assigned and released by hand."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from syncd.core.change import UserEdit
from syncd.core.state import Grant
from web_service import Service


def ask(service: Service, method: str, path: str, body: Any = None, status: int = 200, **more: Any) -> dict[str, Any]:
    answer = service.ask(method, f"/api/v1{path}", body, **more)
    assert answer.status_code == status, answer.text
    return dict(answer.json()) if answer.content else {}


def staff(service: Service, *names: str) -> list[str]:
    return [service.user(name, userType="Employee")["id"] for name in names]


def all_pages(service: Service, path: str, **query: Any) -> list[dict[str, Any]]:
    page = ask(service, "GET", path, limit=2, **query)
    found = list(page["items"])
    while page["next"] is not None:
        page = ask(service, "GET", path, limit=2, **query, cursor=page["next"])
        found += page["items"]
    return found


def test_roles_and_who_has_them(service: Service) -> None:
    ids = staff(service, "ann", "bob", "eve")
    until = service.now + timedelta(days=1)
    extra = Grant("role", "member", "direct", "root", created_at=service.now, expires_at=until)
    service.commit(UserEdit(ids[0], "local", grant=(extra,))).check()
    roles = {each["name"]: each for each in ask(service, "GET", "/roles")["items"]}
    assert {name: each["users"] for name, each in roles.items()} == {
        **{"owner": 0, "admin": 0, "member": 3, "viewer": 0, "clerk": 0}
    }
    assert (roles["admin"]["privileged"], roles["member"]["privileged"]) == (True, False)
    assert ask(service, "GET", "/roles/clerk")["permissions"] == ["invoices.view"]
    ask(service, "GET", "/roles/boss", status=404)
    found = all_pages(service, "/roles/member/users")
    assert [each["userName"] for each in found] == ["ann", "bob", "eve"]
    assert (found[0]["origins"], found[0]["expires"]) == (["direct root", "rule staff"], None)
    only = Grant("role", "viewer", "direct", "root", created_at=service.now, expires_at=until)
    service.commit(UserEdit(ids[1], "local", grant=(only,))).check()
    [viewer] = all_pages(service, "/roles/viewer/users")
    assert viewer["expires"] == "2026-11-22T12:00:00Z"
    service.later(days=2)
    assert all_pages(service, "/roles/viewer/users") == []


def test_pools_holders_and_who_waits_in_order(service: Service) -> None:
    staff(service, "ann", "bob", "eve")
    service.later(minutes=1)
    for name in ("joe", "kim", "liz"):
        staff(service, name)
        service.later(minutes=1)
    pools = {each["name"]: each for each in ask(service, "GET", "/seats")["items"]}
    assert {name: pools["internal"][name] for name in ("used", "limit", "free", "waiting", "over")} == {
        **{"used": 3, "limit": 3, "free": 0, "waiting": 3, "over": 0}
    }
    assert (pools["crm"]["requires"], pools["crm"]["free"], pools["crm"]["when_full"]) == (["internal"], 1, "waitlist")
    assert ask(service, "GET", "/seats/crm")["used"] == 0
    ask(service, "GET", "/seats/gold", status=404)
    held = all_pages(service, "/seats/internal/holders")
    assert [each["userName"] for each in held] == ["ann", "bob", "eve"]
    waiting = all_pages(service, "/seats/internal/holders", state="waiting")
    assert [each["userName"] for each in waiting] == ["joe", "kim", "liz"]


def test_a_seat_assigned_and_released_by_hand(service: Service) -> None:
    ann, bob = staff(service, "ann", "bob")
    token = service.make_token(allow=["seats:write"])
    given = ask(service, "POST", "/seats/crm/holders", {"user": ann, "reason": "trial"}, token=token)
    assert (given["kind"], given["value"], given["waits"], given["why"]) == ("seat", "crm", False, "trial")
    assert ask(service, "POST", "/seats/crm/holders", {"user": bob}, token=token)["waits"] is True
    ask(service, "DELETE", f"/seats/crm/holders/{ann}", status=204, token=token)
    assert service.ask("GET", f"/api/v1/users/{bob}/access").json()["seats"] == ["crm", "internal"]
    by_rule = service.ask("DELETE", f"/api/v1/seats/internal/holders/{ann}")
    assert (by_rule.status_code, "rule staff" in by_rule.json()["detail"]) == (409, True)
    ask(service, "POST", "/seats/crm/holders", {"user": "nobody"}, status=404)
    ask(service, "POST", "/seats/gold/holders", {"user": ann}, status=404)
    ask(service, "POST", "/seats/crm/holders", {"user": ann, "expires": "2020-01-01T00:00:00Z"}, status=422)


def test_who_waits_is_moved_up_the_line(service: Service) -> None:
    ids = [service.user(f"u{n}", userType="Employee")["id"] for n in range(5)]
    path = f"/api/v1/seats/internal/holders/{ids[4]}"
    assert service.ask("PATCH", path, {"priority": 1, "reason": "starts on Monday"}).json()["priority"] == 1
    line = service.ask("GET", "/api/v1/seats/internal/holders", state="waiting").json()["items"]
    assert [each["id"] for each in line] == [ids[4], ids[3]]
    service.ask("POST", f"/api/v1/users/{ids[0]}/suspend")
    assert [each["value"] for each in service.access(ids[4])["seats"]] == ["internal"]
    assert service.ask("PATCH", path.replace("internal", "crm"), {"priority": 1}).status_code == 404
    assert service.ask("PATCH", path, {"priority": -1}).status_code == 422
    weak = service.make_token(allow=["seats:read"])
    assert service.ask("PATCH", path, {"priority": 1}, token=weak).status_code == 403
    only = service.make_token(allow=["seats:write"])
    assert service.ask("PATCH", path, {"priority": 5}, token=only).status_code == 200
