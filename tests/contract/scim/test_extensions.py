"""Extensions of a workspace's own, over HTTP: found, patched, sorted by, required, and gone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from syncd.core.filter import compile, parse_filter
from syncd.core.rules import Rule
from syncd.core.schema import Attribute, Mutability, Returned, Schema, Type
from syncd.core.types import STANDARD, Extension, extended
from syncd.store import read

from .conftest import USER_URN, Service

BADGE = "urn:example:params:scim:schemas:extension:badge:2.0:User"
SCHEMA = Schema(
    BADGE,
    "Badge",
    "What the gatehouse knows",
    (
        Attribute("number", required=True),
        Attribute("level", Type.INTEGER),
        Attribute("doors", multi_valued=True),
        Attribute("pin", mutability=Mutability.WRITE_ONLY, returned=Returned.NEVER, case_exact=True),
        Attribute("desk", Type.COMPLEX, sub_attributes=(Attribute("floor", required=True), Attribute("room"))),
    ),
)


def extend(service: Service, required: bool = False) -> None:
    types = extended([Extension(SCHEMA, required=required)])
    service.workspaces["default"] = replace(service.workspaces["default"], types=types)


def badge(service: Service, id: str, **query: Any) -> Any:
    return service.ask("GET", f"Users/{id}", **query).json().get(BADGE)


def test_found_sorted_and_patched(service: Service) -> None:
    extend(service)
    ann = service.user("ann", **{BADGE: {"number": "A1", "level": 9, "doors": ["Main"], "desk": {"floor": "2"}}})
    service.user("bea", **{BADGE: {"number": "b2", "level": 10}})
    service.user("cat")
    for text, found in (
        (f'{BADGE}:number eq "a1"', ["ann"]),
        (f"{BADGE.upper()}:LEVEL gt 9", ["bea"]),
        (f'{BADGE}:doors eq "main"', ["ann"]),
        (f'{BADGE}:desk.floor eq "2"', ["ann"]),
        (f"not ({BADGE}:number pr)", ["cat"]),
        (f'schemas eq "{BADGE}"', ["ann", "bea"]),
    ):
        assert sorted(service.names(text)) == found, text
    assert service.names(f"{BADGE}:level pr", sortBy=f"{BADGE}:level", sortOrder="descending") == ["bea", "ann"]

    path = f"Users/{ann['id']}"
    assert service.patch(path, {"op": "replace", "value": {f"{BADGE}:level": 11}}).status_code == 200
    assert service.patch(path, {"op": "add", "path": f"{BADGE}:doors", "value": ["Garage"]}).status_code == 200
    assert badge(service, ann["id"]) == {
        "number": "A1",
        "level": 11,
        "doors": ["Main", "Garage"],
        "desk": {"floor": "2"},
    }
    assert badge(service, ann["id"], attributes=f"{BADGE}:level") == {"level": 11}
    left = service.patch(path, {"op": "remove", "path": BADGE})
    assert left.status_code == 200 and left.json()["schemas"] == [USER_URN] and BADGE not in left.json()


def test_what_an_extension_requires_it_has_where_it_is(service: Service) -> None:
    extend(service)
    refused = service.ask("POST", "Users", {"schemas": [USER_URN], "userName": "a", BADGE: {"level": 1}})
    assert (refused.status_code, refused.json()["scimType"]) == (400, "invalidValue")
    refused = service.ask(
        "POST", "Users", {"schemas": [USER_URN], "userName": "a", BADGE: {"number": "1", "desk": {"room": "x"}}}
    )
    assert (refused.status_code, refused.json()["scimType"]) == (400, "invalidValue")
    path = f"Users/{service.user('ann')['id']}"
    assert service.patch(path, {"op": "add", "path": f"{BADGE}:level", "value": 1}).json()["scimType"] == "mutability"
    both = {"op": "add", "path": BADGE, "value": {"number": "1", "level": 1}}
    assert service.patch(path, both).status_code == 200
    assert service.patch(path, {"op": "remove", "path": f"{BADGE}:number"}).json()["scimType"] == "mutability"
    extend(service, required=True)
    assert service.patch(path, {"op": "remove", "path": BADGE}).json()["scimType"] == "mutability"
    assert service.ask("POST", "Users", {"schemas": [USER_URN], "userName": "b"}).status_code == 400


def test_what_nobody_can_read_a_put_does_not_take_away(service: Service) -> None:
    extend(service)
    ann = service.user("ann", **{BADGE: {"number": "A1", "pin": "0000"}})
    assert ann[BADGE] == {"number": "A1"}
    path = f"Users/{ann['id']}"
    body = {"schemas": [USER_URN, BADGE], "userName": "ann", BADGE: {"number": "A2"}}
    assert service.ask("PUT", path, body).status_code == 200
    assert stored(service, ann["id"])[f"{BADGE}:pin"] == "0000"
    assert service.patch(path, {"op": "remove", "path": f"{BADGE}:pin"}).status_code == 200
    assert f"{BADGE}:pin" not in stored(service, ann["id"])


def stored(service: Service, id: str) -> Any:
    with service.database.reading() as conn:
        (link,) = read.links(conn, "default", "user", id)
    return link.values


def test_an_extension_that_is_taken_out_hides_its_values_and_keeps_them(service: Service) -> None:
    extend(service)
    ann = service.user("ann", **{BADGE: {"number": "A1", "level": 9}})
    service.workspaces["default"] = replace(service.workspaces["default"], types=STANDARD)
    path = f"Users/{ann['id']}"
    for found in (service.ask("GET", path).json(), service.ask("GET", "Users").json()["Resources"][0]):
        assert found["schemas"] == [USER_URN] and BADGE not in found
    assert service.ask("GET", "Users", filter=f"{BADGE}:number pr").json()["scimType"] == "invalidFilter"
    assert service.ask("GET", f"Schemas/{BADGE}").status_code == 404
    body = {"schemas": [USER_URN, BADGE], "userName": "ann", "title": "Lead", BADGE: {"number": "unknown now"}}
    assert service.ask("PUT", path, body).status_code == 200
    assert service.patch(path, {"op": "replace", "path": "title", "value": "Head"}).status_code == 200
    extend(service)
    assert service.patch(path, {"op": "replace", "path": "title", "value": "Chief"}).json()[BADGE] == {
        "number": "A1",
        "level": 9,
    }
    assert service.names(f'{BADGE}:number eq "a1"') == ["ann"]


def test_a_rule_may_ask_for_it(service: Service) -> None:
    extend(service)
    type = service.workspaces["default"].types.rule_user
    when = f"{BADGE}:level ge 5"
    rule = Rule("guards", when, compile(parse_filter(when, type)), roles=("clerk",))
    service.workspaces["default"] = replace(service.workspaces["default"], rules=(rule,))
    ann = service.user("ann", **{BADGE: {"number": "A1", "level": 9}})
    assert service.roles(ann["id"]) == {"clerk"}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_discovery_is_the_workspaces_own(service: Service) -> None:
    extend(service)
    mine = service.ask("GET", "ResourceTypes/User").json()["schemaExtensions"]
    assert {"schema": BADGE, "required": False} in mine
    assert service.ask("GET", f"Schemas/{BADGE}").json()["attributes"][0]["required"] is True
    other = service.make_token(workspace="other")
    assert BADGE not in [each["id"] for each in service.ask("GET", "Schemas", token=other).json()["Resources"]]
