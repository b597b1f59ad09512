"""Rules that deny, and overrides that come before them for a time; one choice of several rules; what each is told as."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from syncd.core.change import UserEdit
from syncd.core.state import Grant
from syncd.core.workspace import SourcePolicy
from syncd.store import transitions
from syncd.store.invariants import check
from web_service import Service, condition, rule

ONE_ENGINE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def ruled(service: Service, *rules: Any, **more: Any) -> None:
    here = service.workspaces["default"]
    service.workspaces["default"] = replace(here, rules=(*here.rules, *rules), **more)
    service.web = service.application()


def give(service: Service, id: str, kind: str, value: str, token: str = "", **more: Any) -> httpx.Response:
    body = {"kind": kind, "value": value, **more}
    return service.ask("POST", f"/api/v1/users/{id}/grants", body, token)


def held(service: Service, id: str) -> dict[str, Any]:
    return dict(service.ask("GET", f"/api/v1/users/{id}/access").json())


def externals(**names: tuple[str, ...]) -> Any:
    return rule("externals", 'userType eq "External"', mode="deny", **names)


def told(service: Service, id: str, **change: Any) -> None:
    assert service.ask("PATCH", f"/api/v1/users/{id}", change).status_code == 200


def test_what_a_rule_denies_is_gone_whatever_gives_it_and_back_when_it_ends(service: Service) -> None:
    ruled(
        service, externals(roles=("clerk",), seats=("internal",), scopes=("unit=north",), permissions=("data.export",))
    )
    ann, bob = (service.user(name)["id"] for name in ("ann", "bob"))
    for kind, value in (("role", "clerk"), ("seat", "internal"), ("scope", "unit=north"), ("permission", "data.*")):
        assert give(service, ann, kind, value).status_code == 200
    assert held(service, ann)["flags"] == {"admin": True, "edit": True, "delete": True, "export": True}
    told(service, ann, userType="External")
    access = held(service, ann)
    assert (access["roles"], access["seats"], access["data_scopes"]) == ([], [], {})
    assert (access["permissions"], access["denied"]) == (["data.*"], ["data.export"])
    assert access["flags"] == {"admin": True, "edit": True, "delete": True, "export": False}
    why = service.ask("GET", f"/api/v1/users/{ann}/explain").json()
    assert [(each["kind"], each["value"], each["name"], each["taken"]) for each in why["denials"]] == [
        ("role", "clerk", "externals", ["direct okta test"]),
        ("scope", "unit=north", "externals", ["direct okta test"]),
        ("seat", "internal", "externals", ["direct okta test"]),
    ]
    assert service.ask("GET", "/api/v1/roles/clerk").json()["users"] == 0
    listed = service.ask("GET", f"/api/v1/users/{ann}/grants", kind="role").json()["items"]
    assert [(each["value"], each["denied"]) for each in listed] == [("!clerk", False), ("clerk", True)]
    with service.database.reading() as conn:
        assert check(conn, service.workspaces["default"], service.now) == []
    told(service, ann, userType="Guest")
    access = held(service, ann)
    assert (access["roles"], access["seats"], access["data_scopes"]) == (["clerk"], ["internal"], {"unit": ["north"]})
    assert service.access(ann)["denials"] == []
    told(service, ann, userType="External")
    taken = service.ask("DELETE", f"/api/v1/users/{ann}/grants", kind="role", value="clerk")
    assert taken.status_code == 204, "what is denied can be taken back for good"
    told(service, ann, userType="Guest")
    assert (held(service, ann)["roles"], held(service, bob)["roles"]) == ([], [])


def test_an_override_comes_before_it_until_it_ends(service: Service) -> None:
    ruled(service, externals(roles=("clerk",), permissions=("data.export",)))
    ann = service.user("ann", userType="External")["id"]
    give(service, ann, "role", "clerk")
    give(service, ann, "permission", "data.export")
    assert (held(service, ann)["roles"], held(service, ann)["flags"]["export"]) == ([], False)
    until = (service.now + timedelta(days=7)).isoformat()
    assert give(service, ann, "role", "clerk", override=True).status_code == 422
    assert give(service, ann, "role", "!clerk", override=True, expires=until).status_code == 422
    for kind, value in (("role", "clerk"), ("permission", "data.export")):
        made = give(service, ann, kind, value, override=True, expires=until, reason="year-end closing")
        assert (made.status_code, made.json()["origin"]) == (200, "override")
    access = held(service, ann)
    assert (access["roles"], access["always"], access["flags"]["export"]) == (["clerk"], ["data.export"], True)
    why = service.access(ann)
    assert {(each["origin"], each["why"]) for each in why["roles"]} == {
        ("direct", ""),
        ("override", "year-end closing"),
    }
    assert [each["what"] for each in why["scheduled"]] == ["permission data.export ends", "role clerk ends"]
    service.later(days=7)
    access = held(service, ann)
    assert (access["roles"], access["always"], access["flags"]["export"]) == ([], [], False), (
        "before any timer was there"
    )
    with service.database.writing() as conn:
        dues = transitions.due(conn, service.workspaces["default"], service.now, frozenset(), 10)
        transitions.settle(conn, service.workspaces["default"], "local", dues, service.now, service.ids)
    assert service.ask("GET", "/api/v1/roles/clerk").json()["users"] == 0
    assert [each["origin"] for each in service.access(ann)["roles"]] == []


@ONE_ENGINE
def test_people_deny_by_hand_for_a_time_what_they_could_give(service: Service) -> None:
    ann = service.user("ann", userType="Employee")["id"]
    assert held(service, ann)["roles"] == ["member"]
    until = (service.now + timedelta(days=2)).isoformat()
    eve = service.made_by("corp", "eve")
    service.commit(UserEdit(eve, "local", grant=(Grant("permission", "permissions.manage", "direct", "root"),))).check()
    token = service.make_token(user=eve, allow=["*"])
    assert give(service, ann, "role", "!member", token, expires=until).status_code == 403
    assert give(service, ann, "role", "!owner").status_code == 422
    assert give(service, ann, "role", "!nobody").status_code == 422
    assert give(service, ann, "role", "!member", expires=until, reason="a matter of conduct").status_code == 200
    assert held(service, ann)["roles"] == []
    assert service.access(ann)["denials"][0]["taken"] == ["rule staff"]
    gone = service.ask("DELETE", f"/api/v1/users/{ann}/grants", token=token, kind="role", value="!member")
    assert gone.status_code == 403, "she could not give what it denies"
    service.later(days=2)
    assert held(service, ann)["roles"] == ["member"]


@ONE_ENGINE
def test_a_protected_account_and_limits_are_asked_before_something_is_denied(service: Service) -> None:
    """A denial is a loss like any other: of protected people refused, and of many held."""
    sources = {**service.workspaces["default"].sources, "local": SourcePolicy("local", kind="local")}
    protected = (('userName eq "root"', condition('userName eq "root"')),)
    ruled(service, externals(roles=("clerk",)), sources=sources, protected=protected)
    root = service.user("root")["id"]
    give(service, root, "role", "clerk")
    refused = service.ask("PATCH", f"/api/v1/users/{root}", {"userType": "External"})
    assert (refused.status_code, "loss of role clerk" in refused.json()["detail"]) == (403, True)
    assert give(service, root, "role", "!viewer").status_code == 200
    ended = service.ask("DELETE", f"/api/v1/users/{root}/grants", kind="role", value="!viewer")
    assert ended.status_code == 204, "that a denial ends is no loss"
    people = [service.user(f"p{n}")["id"] for n in range(6)]
    for id in people:
        give(service, id, "role", "clerk")
    service.later(days=2)
    answers = [service.ask("PATCH", f"/api/v1/users/{id}", {"userType": "External"}).status_code for id in people]
    assert answers == [200, 200, 200, 200, 200, 429]
    assert service.ask("GET", "/api/v1/roles/clerk").json()["users"] == 2


@ONE_ENGINE
def test_of_one_choice_one_rule_counts(service: Service) -> None:
    ruled(
        service,
        rule("lead", 'title co "lead"', mode="first", choice="desk", permissions=("desk.lead",)),
        rule("any", "title pr", mode="first", choice="desk", permissions=("desk.use",)),
        rule("viewers", "userName pr", mode="highest", roles=("viewer",)),
        rule("admins", 'title eq "lead"', mode="highest", roles=("member",)),
    )
    ann = service.user("ann", title="clerk")["id"]
    assert (held(service, ann)["roles"], "desk.use" in held(service, ann)["permissions"]) == (["viewer"], True)
    told(service, ann, title="lead")
    access = held(service, ann)
    assert access["roles"] == ["member"]
    assert [each for each in access["permissions"] if each.startswith("desk")] == ["desk.lead"]
    assert service.access(ann)["roles"][0]["why"] == 'rule admins (of the highest role): title eq "lead"'
