"""What a write is answered with is made of what was written, and is what a GET shows after it: body, version and place."""

from __future__ import annotations

from typing import Any

import pytest

from syncd.core.schema import SYNCD_USER
from web_service import PATCH_URN, USER_URN, Service

SYNCD = SYNCD_USER


def patch(*operations: dict[str, Any]) -> dict[str, Any]:
    return {"schemas": [PATCH_URN], "Operations": list(operations)}


def put(path: str, value: Any) -> dict[str, Any]:
    return patch({"op": "replace", "path": path, "value": value})


def same_as_read(service: Service, method: str, path: str, body: Any, token: str = "", **query: Any) -> dict[str, Any]:
    answered = service.ask(method, path, body, token, **query)
    assert answered.status_code in (200, 201), answered.text
    shown = service.ask("GET", f"Users/{answered.json()['id']}", token=token, **query)
    assert answered.json() == shown.json()
    assert answered.headers["etag"] == shown.headers["etag"]
    assert answered.headers["location"] == shown.headers["location"]
    return dict(answered.json())


def test_a_user_with_everything_that_is_spliced_in(service: Service) -> None:
    boss = service.user("boss")
    made = same_as_read(
        service,
        "POST",
        "Users",
        {
            "schemas": [USER_URN],
            "userName": "ann",
            "externalId": "x-1",
            "userType": "Employee",
            "active": True,
            "emails": [{"value": "ann@example.org", "primary": True}],
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"manager": {"value": boss["id"]}},
        },
    )
    id = made["id"]
    outer, inner = service.group("outer"), service.group("inner", id)
    body = patch({"op": "add", "path": "members", "value": [{"value": inner["id"]}]})
    assert service.ask("PATCH", f"Groups/{outer['id']}", body).is_success
    shown = same_as_read(service, "PATCH", f"Users/{id}", put("name.familyName", "Ä"))
    assert {each["display"]: each["type"] for each in shown["groups"]} == {"inner": "direct", "outer": "indirect"}
    assert shown["externalId"] == "x-1"
    for body in (
        put("name.familyName", "Ä"),  # nothing new
        put("active", False),
        put("active", True),
        put("externalId", "x-2"),
        patch({"op": "remove", "path": "externalId"}),
        put("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value", "nobody"),
        patch({"op": "remove", "path": "emails"}),
    ):
        service.now = service.now.replace(microsecond=service.now.microsecond + 1)
        same_as_read(service, "PATCH", f"Users/{id}", body)
    same_as_read(service, "PUT", f"Users/{id}", {"schemas": [USER_URN], "userName": "ann", "userType": "Employee"})
    seen = same_as_read(
        service, "PATCH", f"Users/{id}", put("title", "x"), attributes=f"{SYNCD}:seats,{SYNCD}:status,groups"
    )
    assert seen[SYNCD]["seats"] == ["internal"]
    same_as_read(service, "PATCH", f"Users/{id}", put("title", "y"), excludedAttributes="groups,emails")


def test_an_adopted_user_and_one_whose_value_yields(service: Service) -> None:
    entra = service.make_token("entra")
    service.user("guest", userType="Guest")
    adopted = same_as_read(
        service,
        "POST",
        "Users",
        {"schemas": [USER_URN], "userName": "guest", "externalId": "e-1", "title": "Dr"},
        entra,
    )
    same_as_read(service, "PATCH", f"Users/{adopted['id']}", put("title", "Prof"), entra)
    same_as_read(service, "PATCH", f"Users/{adopted['id']}", put("title", "Mx"))


@pytest.mark.parametrize("source", ["okta", "entra"])
def test_a_connection_that_sees_only_its_own(service: Service, source: str) -> None:
    from dataclasses import replace

    workspace = service.workspaces["default"]
    sources = {**workspace.sources, "okta": replace(workspace.sources["okta"], sees="own")}
    service.workspaces["default"] = replace(workspace, sources=sources)
    service.web = service.application()
    other = service.make_token(source)
    made = same_as_read(service, "POST", "Users", {"schemas": [USER_URN], "userName": "own"})
    theirs = service.group("theirs", made["id"], token=other)
    shown = same_as_read(service, "PATCH", f"Users/{made['id']}", put("title", "x"))
    assert [each["value"] for each in shown.get("groups", ())] == ([theirs["id"]] if source == "okta" else [])


def test_the_names_of_groups_are_those_of_the_moment(service: Service) -> None:
    """What a connection to the database keeps of groups goes by a count, which is given again after a rollback."""
    ann = service.user("ann")
    inner, outer = service.group("a", ann["id"]), service.group("b")
    named = 0

    def shown() -> list[str]:
        nonlocal named
        named += 1
        seen = same_as_read(service, "PATCH", f"Users/{ann['id']}", put("title", f"t{named}"))
        return [each["display"] for each in seen["groups"]]

    assert shown() == ["a"]
    tried = service.ask("PATCH", f"Groups/{inner['id']}", put("displayName", "c"), headers={"X-Dry-Run": "true"})
    assert tried.is_success
    assert shown() == ["a"]
    assert service.ask("PATCH", f"Groups/{inner['id']}", put("displayName", "d")).is_success
    assert shown() == ["d"]
    body = patch({"op": "add", "path": "members", "value": [{"value": inner["id"]}]})
    assert service.ask("PATCH", f"Groups/{outer['id']}", body).is_success
    assert shown() == ["d", "b"]
    assert service.ask("DELETE", f"Groups/{inner['id']}").is_success
    assert "groups" not in same_as_read(service, "PATCH", f"Users/{ann['id']}", put("title", "last"))
