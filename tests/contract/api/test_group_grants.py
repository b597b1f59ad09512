"""What groups give: to whoever is in them, also through others; until she leaves, and by nobody who does not hold it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest

from syncd.core.access import Role
from syncd.core.change import UserEdit
from syncd.core.guards import Limit, Limits
from syncd.core.state import Grant
from syncd.core.workspace import SourcePolicy
from syncd.store.invariants import check
from web_service import Service

ONE_ENGINE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def give(service: Service, group: str, kind: str, value: str, token: str = "", **more: Any) -> httpx.Response:
    return service.ask("POST", f"/api/v1/groups/{group}/grants", {"kind": kind, "value": value, **more}, token)


def take(service: Service, group: str, kind: str, value: str, token: str = "") -> httpx.Response:
    return service.ask("DELETE", f"/api/v1/groups/{group}/grants", token=token, kind=kind, value=value)


def made(service: Service, name: str, *members: str) -> str:
    answer = service.ask("POST", "/api/v1/groups", {"displayName": name, "members": members})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def members(service: Service, group: str, token: str = "", **change: list[str]) -> list[dict[str, Any]]:
    answer = service.ask("POST", f"/api/v1/groups/{group}/members", change, token)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


def held(service: Service, id: str) -> dict[str, Any]:
    return dict(service.ask("GET", f"/api/v1/users/{id}/access").json())


def person(service: Service, name: str, *grants: tuple[str, str]) -> str:
    """The token of a person who holds these."""
    id = service.made_by("corp", name)
    given = tuple(Grant(kind, value, "direct", "root", created_at=service.now) for kind, value in grants)
    service.commit(UserEdit(id, "local", grant=given)).check()
    return service.make_token(user=id, allow=["*"])


def test_members_have_it_until_they_leave(service: Service) -> None:
    """Roles, permissions with menus among them, data scopes and seats; also through a group in the group."""
    ann, bob = (service.user(name)["id"] for name in ("ann", "bob"))
    crm = made(service, "sales", ann)
    inner = made(service, "emea")
    for kind, value in (
        ("role", "clerk"),
        ("permission", "nav.reports"),
        ("scope", "unit=north"),
        ("seat", "internal"),
    ):
        answer = give(service, crm, kind, value, reason="the team's work")
        assert answer.status_code == 200, answer.text
    assert [(each["kind"], each["name"], each["why"]) for each in answer.json()["items"]] == [
        *(("permission", "okta test", "the team's work"), ("role", "okta test", "the team's work")),
        *(("scope", "okta test", "the team's work"), ("seat", "okta test", "the team's work")),
    ]
    access = held(service, ann)
    assert (access["roles"], access["permissions"]) == (["clerk"], ["invoices.view", "nav.reports"])
    assert (access["data_scopes"], access["seats"]) == ({"unit": ["north"]}, ["internal"])
    members(service, inner, add=[bob])
    assert held(service, bob)["roles"] == []
    members(service, crm, add=[inner])
    assert (held(service, bob)["roles"], held(service, bob)["seats"]) == (["clerk"], ["internal"])
    why = service.ask("GET", f"/api/v1/users/{bob}/explain").json()
    assert [(each["origin"], each["name"], each["why"]) for each in why["roles"]] == [
        ("group", crm, "group emea > sales")
    ]
    listed = service.ask("GET", "/api/v1/roles/clerk/users").json()["items"]
    assert {each["userName"]: each["origins"] for each in listed} == {"ann": ["group sales"], "bob": ["group sales"]}
    members(service, crm, remove=[inner])
    members(service, crm, remove=[ann])
    for id in (ann, bob):
        assert (held(service, id)["roles"], held(service, id)["data_scopes"], held(service, id)["seats"]) == (
            [],
            {},
            [],
        )
    with service.database.reading() as conn:
        assert check(conn, service.workspaces["default"], service.now) == []


def test_taken_back_from_all_with_the_group_or_one_by_one(service: Service) -> None:
    ann = service.user("ann")["id"]
    team, other = made(service, "team", ann), made(service, "other", ann)
    for group in (team, other):
        assert give(service, group, "role", "clerk").status_code == 200
    assert take(service, team, "role", "clerk").status_code == 204
    assert held(service, ann)["roles"] == ["clerk"], "the other group gives it still"
    told = take(service, team, "role", "clerk")
    assert (told.status_code, "team does not give role" in told.json()["detail"]) == (409, True)
    assert service.ask("DELETE", f"/api/v1/groups/{other}").status_code == 204
    assert held(service, ann)["roles"] == []
    kept = service.ask("GET", f"/api/v1/groups/{team}/grants")
    assert (kept.json()["items"], kept.headers["etag"]) == (
        [],
        service.ask("GET", f"/api/v1/groups/{team}").headers["etag"],
    )


@ONE_ENGINE
def test_a_group_is_renamed_and_pushed_and_goes_on_giving(service: Service) -> None:
    """What people give a connection's group is none of its business, whatever it says of the group."""
    ann = service.user("ann")["id"]
    group = service.group("engineers", ann)
    assert give(service, group["id"], "role", "clerk").status_code == 200
    said = {"op": "replace", "path": "displayName", "value": "builders"}
    assert service.patch(f"Groups/{group['id']}", said).status_code in (200, 204)
    assert held(service, ann)["roles"] == ["clerk"]
    assert service.access(ann)["roles"][0]["why"] == "group builders"
    put = {"schemas": group["schemas"], "displayName": "builders", "members": []}
    assert service.ask("PUT", f"Groups/{group['id']}", put).status_code == 200
    assert held(service, ann)["roles"] == []
    shown = service.ask("GET", "/api/v1/groups").json()["items"]
    assert [(each["displayName"], each["gives"]) for each in shown] == [
        ("builders", [{"kind": "role", "value": "clerk"}])
    ]


@ONE_ENGINE
def test_what_a_source_may_not_grant_it_does_not_give_by_a_membership(service: Service) -> None:
    """Who may manage users is not made by a connection that pushes a member; by people she is."""
    ann = service.user("ann")["id"]
    pushed = service.group("admins of all", ann)["id"]
    assert give(service, pushed, "role", "admin").status_code == 200
    assert held(service, ann)["roles"] == []
    told = service.ask("GET", f"/api/v1/users/{ann}/explain").json()["withheld"]
    assert told == [{"kind": "role", "value": "admin", "through": "group admins of all", "sources": ["okta"]}]
    members(service, pushed, add=[ann])
    assert service.access(ann)["withheld"] == []
    assert held(service, ann)["roles"] == ["admin"]


@ONE_ENGINE
def test_nobody_gives_through_a_group_more_than_she_holds(service: Service) -> None:
    ann = service.user("ann")["id"]
    empty, full = made(service, "empty"), made(service, "full")
    manages = ("permission", "permissions.manage"), ("permission", "users.manage")
    eve = person(service, "eve", *manages, ("role", "clerk"))
    told = give(service, empty, "role", "admin", eve)
    assert (told.status_code, "group empty the role admin" in told.json()["detail"]) == (403, True)
    assert give(service, empty, "permission", "nav.*", eve).status_code == 403
    assert give(service, empty, "scope", "unit=north", eve).status_code == 403
    assert give(service, empty, "role", "clerk", eve).status_code == 200
    assert give(service, full, "role", "admin").status_code == 200
    told = members(service, full, eve, add=[ann])[0]
    assert (told["result"], "by group full" in told["problem"]["detail"]) == ("refused", True)
    assert take(service, full, "role", "admin", eve).status_code == 403
    assert service.ask("DELETE", f"/api/v1/groups/{full}", token=eve).status_code == 403
    members(service, full, add=[ann])
    assert members(service, full, eve, remove=[ann])[0]["result"] == "refused"
    nobody = person(service, "mallory", ("role", "clerk"))
    assert give(service, empty, "role", "clerk", nobody).status_code == 403


@ONE_ENGINE
def test_what_cannot_be_given(service: Service) -> None:
    group = made(service, "team")
    for kind, value in (("role", "nobody"), ("seat", "nothing"), ("permission", "reports"), ("scope", "north")):
        told = give(service, group, kind, value)
        assert (told.status_code, told.json()["errors"][0]["pointer"]) == (422, "/value"), told.text
    assert give(service, "nobody", "role", "clerk").status_code == 404
    reader = service.make_token(allow=["groups:write"])
    assert give(service, group, "role", "clerk", reader).status_code == 403


def test_a_big_loss_through_a_group_is_held_and_done_when_approved(service: Service) -> None:
    service.workspaces["default"] = replace(
        service.workspaces["default"],
        sources={
            **service.workspaces["default"].sources,
            "local": SourcePolicy("local", kind="local", limits=Limits({"role": Limit(share=0.01, floor=1)})),
        },
        roles={**service.workspaces["default"].roles, "guide": Role("guide", frozenset({"tours.view"}))},
    )
    service.web = service.application()
    team = made(service, "team", *(service.user(name)["id"] for name in ("ann", "bob", "cy")))
    assert give(service, team, "role", "guide").status_code == 200
    service.later(days=2)
    told = take(service, team, "role", "guide")
    assert (told.status_code, "3 of 3" in told.json()["detail"]) == (429, True)
    assert service.ask("GET", "/api/v1/roles/guide").json()["users"] == 3
    digest = service.ask("GET", "/api/v1/held").json()["items"][0]["digest"]
    assert service.ask("POST", f"/api/v1/held/{digest}/approve").status_code == 200
    assert service.ask("GET", "/api/v1/roles/guide").json()["users"] == 0
    assert service.ask("GET", f"/api/v1/groups/{team}/grants").json()["items"] == []
