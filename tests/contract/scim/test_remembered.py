"""What a web process remembers between two reads is never shown after it changed, whoever changed it."""

from __future__ import annotations

import pytest
from sqlalchemy import event

from syncd.core.change import UserEdit

from .conftest import GROUP_URN, USER_URN, Service

ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"


def page(service: Service, **query: int) -> dict[str, dict[str, object]]:
    """Asked for twice, so that the second answer is what is remembered; both must be one."""
    first, second = (service.ask("GET", "Users", **query) for _ in range(2))
    assert first.content == second.content
    for each in first.json()["Resources"]:
        assert each == service.ask("GET", f"Users/{each['id']}").json()
    return {each["userName"]: each for each in first.json()["Resources"]}


def shown_groups(service: Service, name: str) -> list[tuple[str, str]]:
    groups = page(service)[name].get("groups", [])
    assert isinstance(groups, list)
    return [(each["display"], each["type"]) for each in groups]


def test_a_users_groups_follow_renames_nesting_and_deletion(service: Service) -> None:
    ann = service.user("ann")
    inner = service.group("inner", ann["id"])
    assert shown_groups(service, "ann") == [("inner", "direct")]
    service.patch(f"Groups/{inner['id']}", {"op": "replace", "path": "displayName", "value": "renamed"})
    assert shown_groups(service, "ann") == [("renamed", "direct")]
    outer = service.group("outer", inner["id"])
    assert shown_groups(service, "ann") == [("renamed", "direct"), ("outer", "indirect")]
    dry = service.ask(
        "PUT", f"Groups/{inner['id']}", {"schemas": [GROUP_URN], "displayName": "never"}, headers={"X-Dry-Run": "true"}
    )
    assert dry.status_code == 200
    assert shown_groups(service, "ann") == [("renamed", "direct"), ("outer", "indirect")]
    service.ask("DELETE", f"Groups/{outer['id']}")
    assert shown_groups(service, "ann") == [("renamed", "direct")]


def test_a_manager_who_goes_is_no_reference_any_more(service: Service) -> None:
    boss = service.user("boss")
    service.user("ann", **{ENTERPRISE: {"manager": {"value": boss["id"]}}})
    manager = page(service)["ann"][ENTERPRISE]
    assert isinstance(manager, dict)
    assert manager["manager"]["$ref"].endswith(boss["id"])
    service.ask("DELETE", f"Users/{boss['id']}")
    manager = page(service)["ann"][ENTERPRISE]
    assert isinstance(manager, dict)
    assert "$ref" not in manager["manager"]


def members(service: Service, id: str, token: str = "") -> list[str]:
    first, second = (service.ask("GET", f"Groups/{id}", token=token) for _ in range(2))
    assert first.content == second.content
    return sorted(each["value"] for each in first.json().get("members", []))


def test_a_groups_members_follow_whoever_joins_leaves_or_is_gone_for_this_connection(service: Service) -> None:
    ann, bob = service.user("ann"), service.user("bob")
    held = service.made_by("corp", "cyd", userType="Guest")
    entra = service.make_token("entra")
    assert service.patch(f"Users/{held}", {"op": "replace", "path": "title", "value": "x"}, token=entra).is_success
    group = service.group("crm", ann["id"], bob["id"], held)
    assert members(service, group["id"]) == sorted([ann["id"], bob["id"], held])
    service.ask("DELETE", f"Users/{bob['id']}")
    assert members(service, group["id"]) == sorted([ann["id"], held])
    assert members(service, group["id"], entra) == sorted([ann["id"], held])
    assert service.ask("DELETE", f"Users/{held}", token=entra).status_code == 204  # corp still vouches for her
    assert members(service, group["id"], entra) == [ann["id"]]
    assert members(service, group["id"]) == sorted([ann["id"], held])
    service.commit(UserEdit(ann["id"], "okta", leave=(group["id"],)), source="okta").check()
    assert members(service, group["id"]) == [held]


def test_pages_by_number_after_each_other_neither_skip_nor_repeat_while_people_come_and_go(service: Service) -> None:
    ids = [service.user(f"u{n}")["id"] for n in range(9)]

    def walk() -> list[object]:
        return [each["id"] for start in (1, 4, 7, 10) for each in page(service, startIndex=start, count=3).values()]

    assert walk() == ids
    service.ask("DELETE", f"Users/{ids[1]}")
    del ids[1]
    assert walk() == ids
    ids.append(service.user("late")["id"])
    assert [each["id"] for each in page(service, startIndex=7, count=3).values()] == ids[6:9]
    assert service.ask("GET", "Users", startIndex=8, count=0).json()["totalResults"] == len(ids)
    assert service.ask("GET", "Users", startIndex=500, count=3).json()["totalResults"] == len(ids)


@pytest.mark.parametrize(
    "path", ["Users/{id}", 'Users?filter=userName eq "ann"', 'Users?filter=externalId eq "x"', "Users"]
)
def test_the_drivers_execute_what_is_asked_most(service: Service, path: str) -> None:
    """A statement that a driver refuses is executed by SQLAlchemy, so a mistake in it would only be slow."""
    id = service.user("ann", externalId="x", schemas=[USER_URN])["id"]
    service.group("crm", id)
    service.web = service.application(token_cache_s=60)
    service.ask("GET", "Users")  # the token is known from here on
    slow: list[str] = []

    def seen(*given: object) -> None:
        slow.append(str(given[2]))

    pool = service.database._async
    engine = service.database.engine if pool is None else pool.sync_engine
    event.listen(engine, "before_cursor_execute", seen)
    found = service.ask("GET", path.format(id=id))
    event.remove(engine, "before_cursor_execute", seen)
    assert found.status_code == 200
    assert b"ann" in found.content
    assert slow == []
