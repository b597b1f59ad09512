"""What a connection takes away by mistake, one request at a time: held beyond the limit, and an admin is told."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from syncd.core.actor import Actor
from syncd.core.state import Grant
from syncd.store import tables as t
from syncd.store.held import discard

from .conftest import BASE, GROUP_URN, PATCH_URN, USER_URN, Service

OFF = {"schemas": [PATCH_URN], "Operations": [{"op": "replace", "path": "active", "value": False}]}


def staff(service: Service, n: int) -> list[str]:
    made = [service.user(f"user{number:02d}")["id"] for number in range(n)]
    service.later(days=2)  # what a source itself just made is no loss
    return made


def active(service: Service) -> int:
    return sum(each.get("active", True) for each in service.ask("GET", "Users", count=1000).json()["Resources"])


@pytest.mark.parametrize("way", ["patch", "put", "delete"])
def test_everything_after_the_limit_is_held_and_an_admin_is_told(service: Service, way: str) -> None:
    people = staff(service, 12)

    def deprovision(number: int) -> httpx.Response:
        at = f"Users/{people[number]}"
        if way == "patch":
            return service.ask("PATCH", at, OFF)
        if way == "delete":
            return service.ask("DELETE", at)
        return service.ask("PUT", at, {"schemas": [USER_URN], "userName": f"user{number:02d}", "active": False})

    with capture_logs() as logged:
        answers = [deprovision(number) for number in range(8)]
        service.web = service.application()  # the window is in the database, not in a process
        answers += [deprovision(number) for number in range(8, 12)]
    assert [answer.status_code for answer in answers] == [204 if way == "delete" else 200] * 5 + [429] * 7
    for held in answers[5:]:
        assert int(held.headers["retry-after"]) > 0
        assert held.json()["status"] == "429" and "limit 5" in held.json()["detail"]
    assert active(service) == 7
    told = [each for each in logged if each["event"] == "guard_held"]
    assert len(told) == 7
    assert (told[0]["log_level"], told[0]["source"], told[0]["workspace"]) == ("warning", "okta", "default")
    assert not any(id in repr(told) for id in people)
    kind = "delete" if way == "delete" else "deactivate"
    with service.database.reading() as conn:
        items = conn.execute(t.held.select()).all()
        recorded = conn.execute(t.activity.select().where(t.activity.c.action == "held")).all()
    assert {(each.subject_id, each.kind, each.guard) for each in items} == {(id, kind, "limit") for id in people[5:]}
    assert {each.subject for each in recorded} == {f"user{number:02d}" for number in range(5, 12)}
    assert {(each.actor, each.door, each.source) for each in recorded} == {("okta test", "scim", "okta")}
    metrics = service.ask("GET", "/metrics", token=service.make_token(allow=["metrics:read"]))
    assert f'syncd_held_items{{kind="{kind}",source="okta",workspace="default"}} 7.0' in metrics.text
    assert service.patch(f"Users/{people[11]}", {"op": "replace", "path": "title", "value": "x"}).status_code == 200
    service.later(hours=25)
    assert deprovision(5).status_code < 300, "when the window has moved on"
    with service.database.reading() as conn:
        assert people[5] not in {each.subject_id for each in conn.execute(t.held.select())}


def test_what_is_asked_for_again_is_recorded_once_and_has_waited_since_then(service: Service) -> None:
    """Entra asks every forty minutes for what it was refused."""
    people = staff(service, 8)
    first = service.now
    off = {"op": "replace", "path": "active", "value": False}

    def recorded() -> int:
        with service.database.reading() as conn:
            return len(conn.execute(t.activity.select().where(t.activity.c.action == "held")).all())

    def since() -> list[datetime]:
        with service.database.reading() as conn:
            return [each.created_at for each in conn.execute(t.held.select().order_by(t.held.c.subject_id))]

    for _ in range(3):
        for id in people:
            service.ask("PATCH", f"Users/{id}", OFF)
        assert (recorded(), since()) == (3, [first] * 3)
        service.later(minutes=40)
    more = [off, {"op": "replace", "path": "title", "value": "gone"}]
    assert service.patch(f"Users/{people[7]}", *more).status_code == 429
    assert recorded() == 4, "something else is asked"
    with service.database.writing() as conn:
        (digest,) = conn.scalars(select(t.held.c.digest).where(t.held.c.subject_id == people[6]))
        discard(conn, "default", digest, Actor("cli", "root", "default"), service.now, service.ids)
    assert service.ask("PATCH", f"Users/{people[6]}", OFF).status_code == 429
    assert recorded() == 5, "an admin said no in between"


def test_requests_at_once_do_not_pass_the_limit_together(service: Service) -> None:
    people = staff(service, 20)
    headers = {"Authorization": f"Bearer {service.token}"}

    async def all_at_once() -> list[int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(service.web), timeout=60) as client:
            asked = (client.patch(f"{BASE}/scim/v2/Users/{id}", json=OFF, headers=headers) for id in people)
            return [answer.status_code for answer in await asyncio.gather(*asked)]

    found = service.run(all_at_once())
    assert (found.count(200), found.count(429)) == (5, 15)
    assert active(service) == 15


@pytest.mark.parametrize("way", ["put", "put_empty", "replace", "clear", "clear_all", "delete", "remove"])
def test_a_group_that_shrinks_much_is_held_whole(service: Service, way: str) -> None:
    people = [service.user(f"user{number:02d}")["id"] for number in range(9)]
    group = service.group("crew", *people)["id"]
    service.later(days=2)
    at, few = f"Groups/{group}", [{"value": people[0]}]
    body: dict[str, Any] = {"schemas": [GROUP_URN], "displayName": "crew"}
    remove = [{"op": "remove", "path": f'members[value eq "{id}"]'} for id in people[:8]]
    answer = {
        "put": lambda: service.ask("PUT", at, body | {"members": few}),
        "put_empty": lambda: service.ask("PUT", at, body | {"members": []}),
        "replace": lambda: service.patch(at, {"op": "replace", "path": "members", "value": few}),
        "clear": lambda: service.patch(at, {"op": "remove", "path": "members"}),
        "clear_all": lambda: service.patch(at, {"op": "replace", "value": {"members": []}}),
        "delete": lambda: service.ask("DELETE", at),
        "remove": lambda: service.patch(at, *remove),
    }[way]()
    assert answer.status_code == 429 and "would leave a group" in answer.json()["detail"]
    assert {each["value"] for each in service.ask("GET", at).json()["members"]} == set(people)


def test_a_group_that_shrinks_one_by_one_is_held_too(service: Service) -> None:
    people = [service.user(f"user{number:02d}")["id"] for number in range(9)]
    group = service.group("crew", *people)["id"]
    service.later(days=2)
    removed = [service.patch(f"Groups/{group}", {"op": "remove", "path": f'members[value eq "{id}"]'}) for id in people]
    assert [answer.status_code for answer in removed] == [204] * 5 + [429] * 4


def test_an_unknown_member_is_refused_and_nothing_is_changed(service: Service) -> None:
    ann, gone = service.user("ann")["id"], service.user("gone")["id"]
    group = service.group("crew", ann)["id"]
    assert service.ask("DELETE", f"Users/{gone}").status_code == 204
    at, before = f"Groups/{group}", service.ask("GET", f"Groups/{group}").json()
    for unknown in ("nobody", gone, "0190-x", "ann", " ", ann.upper()):
        both = [{"value": unknown}, {"value": ann}]
        body = {"schemas": [GROUP_URN], "displayName": "crew", "members": both}
        for answer in (
            service.ask("PUT", at, body),
            service.ask("POST", "Groups", body | {"displayName": "other"}),
            service.patch(at, {"op": "add", "path": "members", "value": both}),
            service.patch(at, {"op": "replace", "path": "members", "value": both}),
            service.patch(at, {"op": "add", "value": {"members": both}}),
        ):
            assert answer.status_code == 400, (unknown, answer.text)
            assert unknown.strip() in answer.json()["detail"]
    assert service.ask("GET", at).json() == before
    assert service.names(path="Groups") == ["crew"]


def test_each_connection_has_its_own_external_ids(service: Service) -> None:
    entra = service.make_token(source="entra")
    ann = service.user("ann", externalId="x1")
    bob = service.user("bob", token=entra, externalId="x1")
    assert service.names('externalId eq "x1"') == ["ann"]
    assert service.names('externalId eq "x1"', token=entra) == ["bob"]
    assert "externalId" not in service.ask("GET", f"Users/{ann['id']}", token=entra).json()
    assert service.ask("GET", f"Users/{bob['id']}", token=entra).json()["externalId"] == "x1"
    taken = service.ask("POST", "Users", {"schemas": [USER_URN], "userName": "eve", "externalId": "x1"})
    assert (taken.status_code, taken.json()["scimType"]) == (409, "uniqueness")


@pytest.mark.parametrize(
    "grant",
    [
        Grant("role", "owner", "direct", "root"),
        Grant("role", "admin", "direct", "root"),
        Grant("permission", "users.manage", "direct", "root"),
        Grant("permission", "*", "direct", "root"),
    ],
    ids=lambda grant: f"{grant.kind} {grant.value}",
)
def test_nobody_adopts_a_privileged_account(service: Service, grant: Grant) -> None:
    """Whatever the policy: or who controls a directory would control the application by a name."""
    entra = service.make_token(source="entra")  # adopts guests
    service.made_by("local", "boss", grant, userType="Guest")
    service.made_by("local", "guest", userType="Guest")
    service.made_by("local", "clerk", userType="Employee")
    answers = {}
    for name in ("boss", "guest", "clerk"):
        body = {"schemas": [USER_URN], "userName": name, "externalId": f"e-{name}"}
        answers[name] = service.ask("POST", "Users", body, token=entra).status_code
    assert answers == {"boss": 403, "guest": 201, "clerk": 409}
    boss = service.ask("GET", "Users", token=entra, filter='userName eq "boss"').json()["Resources"][0]
    for stolen in (
        {"op": "replace", "path": "userName", "value": "mine"},
        {"op": "add", "path": "externalId", "value": "e"},
    ):
        assert service.patch(f"Users/{boss['id']}", stolen, token=entra).status_code == 403
