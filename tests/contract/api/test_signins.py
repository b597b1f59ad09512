"""Sign-ins over the API: kept and shown without a new version; a row of failures locks, time or an admin ends the lock."""

from __future__ import annotations

from typing import Any

from syncd.core.state import Grant
from syncd.store import tables as t
from syncd.store import transitions
from web_service import Service


def report(service: Service, id: str, outcome: str, token: str = "", **more: Any) -> dict[str, Any]:
    answer = service.ask("POST", f"/api/v1/users/{id}/sign-ins", {"outcome": outcome, **more}, token)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def shown(service: Service, id: str) -> dict[str, Any]:
    return dict(service.ask("GET", f"/api/v1/users/{id}").json())


def test_kept_and_shown_without_a_new_version(service: Service) -> None:
    id = service.user("ann")["id"]
    before = shown(service, id)
    assert before["sign_ins"]["last_at"] is None
    reporter = service.make_token(allow=["sign-ins:write"])
    told = report(service, id, "success", reporter, address="192.0.2.7", second_factor=True)
    assert (told["status"], told["may_sign_in"]) == ("active", True)
    report(service, id, "failure", reporter, address="2001:db8::1", at="2026-11-21T11:59:00Z")
    after = shown(service, id)
    assert after["version"] == before["version"]
    assert after["sign_ins"]["last_address"] == "192.0.2.7"
    assert after["sign_ins"]["failed_attempts"] == 0, "that failure is older than the last success"
    report(service, id, "failure", reporter, address="2001:db8::1")
    assert shown(service, id)["sign_ins"]["failed_attempts"] == 1
    assert service.ask("GET", "/api/v1/users").json()["items"][0]["sign_ins"] == shown(service, id)["sign_ins"]
    explained = service.access(id)["sign_ins"]
    assert (explained["last_address"], explained["failed_address"]) == ("192.0.2.7", "2001:db8::1")
    with service.database.reading() as conn:
        assert [row.action for row in conn.execute(t.activity.select().where(t.activity.c.subject_id == id))] == [
            "create"
        ]
    refused = service.ask("GET", f"/api/v1/users/{id}/sign-ins", token=reporter)
    assert refused.status_code == 403


def test_a_row_of_failures_locks_for_a_time(service: Service) -> None:
    id = service.user("ann", userType="Employee")["id"]
    reporter = service.make_token(allow=["sign-ins:write"])
    for _ in range(9):
        assert report(service, id, "failure", reporter)["may_sign_in"]
    told = report(service, id, "failure", reporter)
    assert (told["status"], told["may_sign_in"]) == ("locked", False)
    assert told["locked_until"] == "2026-11-21T12:15:00Z"
    assert not report(service, id, "success", reporter)["may_sign_in"], "the right password does not end a lock"
    assert [each["value"] for each in service.access(id)["seats"]] == ["internal"]
    with service.database.reading() as conn:
        [row] = conn.execute(t.activity.select().where(t.activity.c.why.like("10 failed%"))).all()
    assert row.subject_id == id
    assert service.ask("POST", f"/api/v1/users/{id}/unlock").json()["status"] == "active"
    for _ in range(10):
        told = report(service, id, "failure", reporter)
    assert told["status"] == "locked"
    service.later(minutes=16)
    assert report(service, id, "success", reporter)["may_sign_in"]
    with service.database.writing() as conn:
        due = transitions.due(conn, service.workspaces["default"], service.now, (), 10)
        assert [each.why for each in due] == ["the lock has ended"]
        transitions.settle(conn, service.workspaces["default"], "local", due, service.now, service.ids)
    assert service.names('userName eq "ann"') == ["ann"]
    assert shown(service, id)["status"] == "active"


def test_the_last_owner_is_locked_for_a_time_and_stays_owner(service: Service) -> None:
    id = service.made_by("local", "boss", Grant("role", "owner", "direct", "root"))
    for _ in range(10):
        told = report(service, id, "failure")
    assert told["status"] == "locked"
    refused = service.ask("POST", f"/api/v1/users/{id}/deactivate")
    assert (refused.status_code, "last active owner" in refused.text) == (403, True)
    service.later(minutes=16)
    assert report(service, id, "success")["may_sign_in"]


def test_the_list_is_paged_and_bad_reports_change_nothing(service: Service) -> None:
    id = service.user("ann")["id"]
    for n in range(5):
        report(service, id, "success" if n % 2 else "failure", address=f"192.0.2.{n}")
    first = service.ask("GET", f"/api/v1/users/{id}/sign-ins", limit="3").json()
    second = service.ask("GET", f"/api/v1/users/{id}/sign-ins", limit="3", cursor=first["next"]).json()
    assert [each["address"] for each in first["items"] + second["items"]] == [f"192.0.2.{n}" for n in (4, 3, 2, 1, 0)]
    assert second["next"] is None
    path = f"/api/v1/users/{id}/sign-ins"
    bad: list[dict[str, Any]] = [
        {},
        {"outcome": "perhaps"},
        {"outcome": "success", "address": "somewhere"},
        {"outcome": "success", "address": 7},
        {"outcome": "success", "address": "fe80::1%a\0b"},
        {"outcome": "success", "at": "2026-11-21T12:06:00Z"},
        {"outcome": "success", "at": "2026-11-21T12:06:00"},
        {"outcome": "success", "device": "phone"},
    ]
    for body in bad:
        assert service.ask("POST", path, body).status_code == 422, body
    assert service.ask("POST", "/api/v1/users/nobody/sign-ins", {"outcome": "success"}).status_code == 404
    assert len(service.ask("GET", path).json()["items"]) == 5
    service.ask("DELETE", f"/api/v1/users/{id}")
    assert service.ask("POST", path, {"outcome": "success"}).status_code == 409
