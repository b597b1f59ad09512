"""The life of an account over the API: each state has its way in and its way back, and none takes another's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from syncd.core.change import UserEdit
from syncd.store.read import links
from web_service import Service


def post(service: Service, id: str, what: str, body: Any = None) -> dict[str, Any]:
    answer = service.ask("POST", f"/api/v1/users/{id}/{what}", body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_every_state_and_its_way_back(service: Service) -> None:
    id = service.user("ann", userType="Employee")["id"]
    held = post(service, id, "suspend", {"reason": "lost laptop"})
    assert (held["status"], held["suspended"]) == ("suspended", "lost laptop")
    assert service.access(id)["seats"] == []
    assert post(service, id, "deactivate")["status"] == "inactive"
    assert post(service, id, "reactivate")["status"] == "suspended", "the hold is another fact"
    assert post(service, id, "unsuspend")["status"] == "active"
    assert [each["value"] for each in service.access(id)["seats"]] == ["internal"]
    until = service.now.replace(year=2027)
    service.commit(UserEdit(id, "local", facts={"locked_until": until})).check()
    locked = service.ask("GET", f"/api/v1/users/{id}").json()
    assert (locked["status"], locked["locked_until"]) == ("locked", "2027-11-21T12:00:00Z")
    assert post(service, id, "unlock")["status"] == "active"
    gone = service.ask("DELETE", f"/api/v1/users/{id}", reason="left")
    assert (gone.status_code, gone.content) == (204, b"")
    assert service.ask("GET", f"/api/v1/users/{id}").json()["status"] == "deleted"
    assert service.ask("GET", "/api/v1/users").json()["items"] == []
    [found] = service.ask("GET", "/api/v1/users", status="deleted").json()["items"]
    assert found["id"] == id
    conflict = service.ask("POST", f"/api/v1/users/{id}/suspend")
    assert (conflict.status_code, "restore" in conflict.json()["detail"]) == (409, True)
    assert post(service, id, "restore")["status"] == "active"


def test_a_status_is_that_of_now_whether_or_not_the_timer_ran(service: Service) -> None:
    id = service.user("ann")["id"]
    until = service.now.replace(hour=13)
    service.commit(UserEdit(id, "local", facts={"locked_until": until})).check()
    service.later(hours=2)
    [shown] = service.ask("GET", "/api/v1/users").json()["items"]
    assert shown["status"] == "active"


def test_merge_patch_states_only_what_differs(service: Service) -> None:
    """A value of another source that is sent back as it was shown is no statement of ours."""
    id = service.made_by("corp", "ann", **{"displayName": "Ann", "name.givenName": "Ann", "name.familyName": "Lee"})
    shown = service.ask("GET", f"/api/v1/users/{id}").json()
    body = {"displayName": shown["displayName"], "title": "Lead", "name": {"familyName": "Li"}}
    answer = service.ask("PATCH", f"/api/v1/users/{id}", body)
    assert answer.status_code == 200, answer.text
    with service.database.reading() as conn:
        own = next(link for link in links(conn, "default", "user", id) if link.source == "local")
    assert dict(own.values) == {"title": "Lead", "name.familyName": "Li"}
    cleared = service.ask("PATCH", f"/api/v1/users/{id}", {"title": None})
    assert "title" not in cleared.json()


def test_a_lock_out_of_a_directory_is_lifted_there(service: Service) -> None:
    id = service.made_by("corp", "ann")
    with service.database.reading() as conn:
        (own,) = (link for link in links(conn, "default", "user", id) if link.source == "corp")
    service.commit(UserEdit(id, "corp", link=replace(own, locked_until=service.now.replace(year=2027)))).check()
    assert service.ask("GET", f"/api/v1/users/{id}").json()["status"] == "locked"
    refused = service.ask("POST", f"/api/v1/users/{id}/unlock")
    assert (refused.status_code, "locked out in source corp" in refused.json()["detail"]) == (409, True)
