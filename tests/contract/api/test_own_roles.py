"""Roles that people make: asked for at once, judged by what the maker holds, and gone only when nobody has them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest

from syncd.core.access import Role
from syncd.core.change import UserEdit
from syncd.core.state import Grant
from syncd.store import activity
from web_service import Service

ONE_ENGINE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def ask(service: Service, method: str, path: str, body: Any = None, token: str = "", **more: Any) -> httpx.Response:
    return service.ask(method, f"/api/v1/roles{path}", body, token, **more)


def make(service: Service, name: str, *permissions: str, token: str = "") -> httpx.Response:
    return ask(service, "POST", "", {"name": name, "permissions": list(permissions)}, token)


def give(service: Service, whose: str, role: str, token: str = "") -> httpx.Response:
    return service.ask("POST", f"/api/v1/{whose}/grants", {"kind": "role", "value": role}, token)


def permitted(service: Service, id: str) -> list[str]:
    return list(service.ask("GET", f"/api/v1/users/{id}/access").json()["permissions"])


def person(service: Service, name: str, *grants: tuple[str, str]) -> str:
    id = service.made_by("corp", name)
    given = tuple(Grant(kind, value, "direct", "root", created_at=service.now) for kind, value in grants)
    service.commit(UserEdit(id, "local", grant=given)).check()
    return service.make_token(user=id, allow=["*"])


def test_made_given_changed_and_deleted(service: Service) -> None:
    ann = service.user("ann")["id"]
    made = make(service, "guide", "tours.*", "nav.tours", "data.export")
    assert made.status_code == 201, made.text
    shown = made.json()
    assert (shown["permissions"], shown["built_in"], shown["where"]) == (
        ["data.export", "nav.tours", "tours.*"],
        False,
        None,
    )
    assert shown["flags"] == {"admin": False, "edit": False, "delete": False, "export": True}
    assert give(service, f"users/{ann}", "guide").status_code == 200
    assert permitted(service, ann) == ["data.export", "nav.tours", "tours.*"]
    tag = ask(service, "GET", "/guide").headers["etag"]
    changed = ask(service, "PATCH", "/guide", {"permissions": ["tours.view"], "description": "shows the house"})
    assert (changed.status_code, changed.json()["users"]) == (200, 1)
    assert permitted(service, ann) == ["tours.view"]
    why = service.access(ann)["permissions"]
    assert [(each["value"], each["role"]) for each in why] == [("tours.view", "guide")]
    assert ask(service, "DELETE", "/guide", headers={"If-Match": tag}).status_code == 412
    told = ask(service, "DELETE", "/guide")
    assert (told.status_code, "held by hand by 1 and given by 0 groups" in told.json()["detail"]) == (409, True)
    assert service.ask("DELETE", f"/api/v1/users/{ann}/grants", kind="role", value="guide").status_code == 204
    assert ask(service, "DELETE", "/guide").status_code == 204
    assert (ask(service, "GET", "/guide").status_code, give(service, f"users/{ann}", "guide").status_code) == (404, 422)
    with service.database.reading() as conn:
        said = [each["action"] for each in activity.rows(conn, "default") if each["subject"] == "role guide"]
    assert sorted(said) == ["role_create", "role_delete", "role_update"]


def test_its_holders_and_groups_are_moved_to_another(service: Service) -> None:
    ann, bob = (service.user(name)["id"] for name in ("ann", "bob"))
    make(service, "guide", "tours.view")
    make(service, "host", "tours.view", "tours.edit")
    until = "2027-01-01T00:00:00Z"
    body = {"kind": "role", "value": "guide", "expires": until, "reason": "for the season"}
    assert service.ask("POST", f"/api/v1/users/{ann}/grants", body).status_code == 200
    team = service.ask("POST", "/api/v1/groups", {"displayName": "team", "members": [bob]}).json()["id"]
    assert give(service, f"groups/{team}", "guide").status_code == 200
    told = ask(service, "DELETE", "/guide", move_to="nobody")
    assert told.status_code == 404
    assert ask(service, "DELETE", "/guide", move_to="host").status_code == 204
    assert (service.roles(ann), service.roles(bob)) == ({"host"}, {"host"})
    kept = service.access(ann)["roles"][0]
    assert (kept["why"], kept["expires"].isoformat()) == ("for the season", "2027-01-01T00:00:00+00:00")
    assert [each["value"] for each in service.ask("GET", f"/api/v1/groups/{team}/grants").json()["items"]] == ["host"]


@ONE_ENGINE
def test_what_is_configured_wins_and_is_changed_there(service: Service) -> None:
    assert make(service, "clerk", "tours.view").status_code == 409
    for method, body in (("PATCH", {"permissions": []}), ("DELETE", None)):
        told = ask(service, method, "/admin", body)
        assert (told.status_code, "built in" in told.json()["detail"]) == (403, True)
    ann = service.user("ann")["id"]
    make(service, "guide", "tours.view")
    give(service, f"users/{ann}", "guide")
    here = service.workspaces["default"]
    named = Role("guide", frozenset({"museum.view"}), where="syncd.yaml:7")
    service.workspaces["default"] = replace(here, roles={**here.roles, "guide": named})
    service.web = service.application()
    assert permitted(service, ann) == ["museum.view"]
    assert ask(service, "GET", "/guide").json()["where"] == "syncd.yaml:7"
    told = ask(service, "DELETE", "/guide")
    assert "configured at syncd.yaml:7" in told.json()["detail"]
    listed = ask(service, "GET", "").json()["items"]
    assert [each["permissions"] for each in listed if each["name"] == "guide"] == [["museum.view"]]


@ONE_ENGINE
def test_nobody_puts_in_or_takes_out_what_she_does_not_hold(service: Service) -> None:
    eve = person(service, "eve", ("permission", "permissions.manage"), ("permission", "tours.*"))
    assert make(service, "guide", "tours.view", "tours.edit", token=eve).status_code == 201
    told = make(service, "spy", "invoices.view", token=eve)
    assert (told.status_code, "that needs invoices.view" in told.json()["detail"]) == (403, True)
    assert ask(service, "PATCH", "/guide", {"permissions": ["users.manage"]}, eve).status_code == 403
    assert make(service, "boss", "users.*").status_code == 201
    assert ask(service, "PATCH", "/boss", {"permissions": ["tours.view"]}, eve).status_code == 403
    assert ask(service, "DELETE", "/boss", token=eve).status_code == 403
    bob = service.user("bob")["id"]
    assert give(service, f"users/{bob}", "boss", eve).status_code == 403
    assert give(service, f"users/{bob}", "guide", eve).status_code == 200
    narrow = service.make_token(allow=["roles:write"])
    assert make(service, "desk", "tours.view", token=narrow).status_code == 201
    assert ask(service, "PATCH", "/desk", {"permissions": ["permissions.*"]}, narrow).status_code == 403
    nobody = person(service, "mallory", ("permission", "tours.*"))
    assert make(service, "x", "tours.view", token=nobody).status_code == 403


@ONE_ENGINE
def test_a_role_that_begins_to_manage_users_is_given_by_no_source_any_more(service: Service) -> None:
    ann = service.user("ann")["id"]
    team = service.group("team", ann)["id"]
    make(service, "guide", "tours.view")
    give(service, f"groups/{team}", "guide")
    assert service.roles(ann) == {"guide"}, "okta says that she is in the team"
    assert ask(service, "PATCH", "/guide", {"permissions": ["users.*"]}).status_code == 200
    assert service.roles(ann) == set()
    assert ask(service, "PATCH", "/guide", {"permissions": ["tours.view"]}).status_code == 200
    assert service.roles(ann) == {"guide"}


@ONE_ENGINE
def test_what_is_no_role(service: Service) -> None:
    told = make(service, "guide", "tours.view", "tours", "!")
    assert told.status_code == 422
    assert [each["pointer"] for each in told.json()["errors"]] == ["/permissions/1", "/permissions/2"]
    for name in ("", "a b", "-x", "x" * 64):
        assert make(service, name, "tours.view").status_code == 422
    assert ask(service, "PATCH", "/nobody", {"permissions": []}).status_code == 404
    assert make(service, "Admin", "tours.view").status_code == 409, "nobody tells the two apart"
