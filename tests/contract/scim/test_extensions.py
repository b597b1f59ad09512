"""Extensions of a workspace's own, over HTTP: found, patched, sorted by, required, and gone."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
import structlog
from sqlalchemy import select

from syncd.core.change import GroupEdit, UserEdit
from syncd.core.deletion import restoration
from syncd.core.filter import compile, parse_filter
from syncd.core.rules import Rule
from syncd.core.schema import ENTERPRISE_USER as ENTERPRISE
from syncd.core.schema import Attribute, Mutability, Returned, Schema, Type, Uniqueness
from syncd.core.types import STANDARD, Extension, Types, extended
from syncd.errors import Uniqueness as Uniqueness409
from syncd.store import facts, read
from syncd.store import tables as t
from syncd.store.decide import Decision
from syncd.store.invariants import check
from syncd.timers import Timers

from .conftest import BASE, GROUP_URN, USER_URN, Service
from .test_bulk import BULK_URN

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


def test_urls_of_one_s_own_are_found_as_they_were_sent(service: Service) -> None:
    """What another server calls a user stays its URL, whatever version of the protocol is in it."""
    urn = "urn:example:params:scim:schemas:extension:moved:2.0:User"
    site = Attribute("site", Type.COMPLEX, sub_attributes=(Attribute("$ref", Type.REFERENCE), Attribute("value")))
    schema = Schema(urn, "Moved", "Where people were before", (Attribute("location"), site))
    service.workspaces["default"] = replace(service.workspaces["default"], types=extended([Extension(schema)]))
    was, at = "https://old.example/scim/Users/7", "https://old.example/scim/v1/Users/9"
    ann = service.user("ann", **{urn: {"location": was, "site": {"$ref": at}}})
    assert service.names(f'{urn}:location eq "{was}"') == service.names(f'{urn}:site.$ref eq "{at}"') == ["ann"]
    assert service.names(f'meta.location eq "{ann["meta"]["location"].replace("/v2/", "/")}"') == ["ann"]


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


def declare(service: Service, *attributes: Attribute, of: str = "User") -> None:
    """Another file of the extension, and so other processes."""
    restart(service, extended([Extension(Schema(BADGE, "Badge", "", attributes), of)]))


def restart(service: Service, types: Types) -> None:
    service.workspaces["default"] = replace(service.workspaces["default"], types=types)
    service.web = service.application()


def remake(service: Service) -> None:
    """What the worker does in a minute, and what a web process sees of it."""
    service.later(minutes=1)
    timers = Timers(service.database, service.workspaces, lambda: service.now, service.ids)
    with structlog.testing.capture_logs() as logs:
        timers.tick()
    assert not [each for each in logs if each["log_level"] in ("error", "warning")], logs
    context = service.web.state.later.writes.context
    service.run(context.remade.look(service.database, service.workspaces))
    assert not context.remade.types(service.workspaces["default"]).user.stale


def test_a_schema_that_changes_changes_what_is_shown_at_once_and_then_what_is_stored(service: Service) -> None:
    plain = (Attribute("number"), Attribute("level"), Attribute("doors", multi_valued=True), Attribute("old"))
    declare(service, *plain, Attribute("desk", Type.COMPLEX, sub_attributes=(Attribute("floor"), Attribute("room"))))
    said = {"number": "a1", "level": "high", "doors": ["x"], "old": "1", "desk": {"floor": "2", "room": "7"}}
    ann, bea = service.user("ann", **{BADGE: said}), service.user("bea", **{BADGE: {"old": "2"}})
    cat = service.user("cat", **{BADGE: {"number": "a2"}})
    remake(service)
    assert [service.ask("GET", f"Users/{each['id']}").json() for each in (ann, bea, cat)] == [ann, bea, cat]

    changed = (
        Attribute("number", case_exact=True),
        Attribute("level", Type.DATETIME),  # "high" is none
        Attribute("doors"),  # one value now
        Attribute("desk", Type.COMPLEX, sub_attributes=(Attribute("floor", multi_valued=True),)),
    )
    declare(service, *changed)

    def shown() -> list[Any]:
        listed = service.ask("GET", "Users").json()["Resources"]
        assert listed == [service.ask("GET", f"Users/{each['id']}").json() for each in listed]
        return [(each["schemas"][1:], each.get(BADGE)) for each in listed]

    now = [([BADGE], {"number": "a1", "desk": {"floor": ["2"]}}), ([], None), ([BADGE], {"number": "a2"})]
    assert shown() == now
    remake(service)
    assert shown() == now
    assert service.names(f'{BADGE}:number eq "A1"') == [] and service.names(f'{BADGE}:number eq "a1"') == ["ann"]
    assert service.names(f'{BADGE}:desk.floor eq "2"') == ["ann"] and service.names(f"{BADGE}:level pr") == []
    versions = [service.ask("GET", f"Users/{each['id']}").json()["meta"]["version"] for each in (ann, bea, cat)]
    assert versions == ['W/"2"', 'W/"2"', 'W/"1"']  # of cat only what filters see is another

    with service.database.reading() as conn:
        told = [row.payload for row in conn.execute(select(t.outbox).order_by(t.outbox.c.id))][-2:]
    assert [each["sub_id"]["uri"] for each in told] == [f"/Users/{ann['id']}", f"/Users/{bea['id']}"]
    (notice,) = told[0]["events"].values()
    assert notice == {
        "version": 'W/"2"',
        "attributes": [f"{BADGE}:{name}" for name in ("desk", "doors", "level", "old")],
    }
    assert told[0]["txn"] == told[1]["txn"]

    declare(service, *plain)  # what the schema did not have meanwhile is there again
    remake(service)
    assert shown()[1] == ([BADGE], {"old": "2"}) and shown()[0][1]["doors"] == ["x"]


def test_a_patch_counts_from_what_is_shown_while_documents_are_still_the_old_ones(service: Service) -> None:
    declare(service, Attribute("number"), Attribute("doors", multi_valued=True))
    ann = service.user("ann", **{BADGE: {"number": "1", "doors": ["Main"]}})
    path = f"Users/{ann['id']}"
    declare(service, Attribute("number", Type.INTEGER))
    assert BADGE not in service.ask("GET", path).json()
    added = service.patch(path, {"op": "add", "path": f"{BADGE}:number", "value": 5})
    assert added.status_code == 200 and added.json()[BADGE] == {"number": 5}
    declare(service, Attribute("number", Type.INTEGER), Attribute("doors", multi_valued=True))
    added = service.patch(path, {"op": "add", "path": f"{BADGE}:doors", "value": ["Garage"]})
    assert added.json()[BADGE] == {"number": 5, "doors": ["Main", "Garage"]}


NUMBER = f"{BADGE}:number"
UNIQUE = (
    Attribute("number", uniqueness=Uniqueness.SERVER),
    Attribute("level", Type.DECIMAL, uniqueness=Uniqueness.SERVER),
    Attribute("doors", multi_valued=True, case_exact=True, uniqueness=Uniqueness.SERVER),
    Attribute("desk", Type.COMPLEX, sub_attributes=(Attribute("room", uniqueness=Uniqueness.SERVER),)),
    Attribute(
        "keys",
        Type.COMPLEX,
        multi_valued=True,
        sub_attributes=(Attribute("value", uniqueness=Uniqueness.SERVER), Attribute("of")),
    ),
)


@dataclass(frozen=True)
class Kind:
    """Of resources that an extension may be of, and what names one."""

    resource: str
    urn: str
    called: str

    @property
    def path(self) -> str:
        return f"{self.resource}s"

    def make(self, service: Service, name: str, said: dict[str, Any]) -> Any:
        return (service.user if self.resource == "User" else service.group)(name, **{BADGE: said})

    def badge(self, service: Service, id: str) -> Any:
        return service.ask("GET", f"{self.path}/{id}").json().get(BADGE)


USERS, GROUPS = Kind("User", USER_URN, "userName"), Kind("Group", GROUP_URN, "displayName")
of_each_kind = pytest.mark.parametrize("kind", [USERS, GROUPS], ids=lambda kind: kind.path)


@of_each_kind
def test_what_a_schema_calls_unique_nothing_else_of_its_kind_has(service: Service, kind: Kind) -> None:
    declare(service, *UNIQUE, of=kind.resource)
    said = {"number": "A" * 300, "level": 7, "doors": ["x", "y"], "desk": {"room": "1"}, "keys": [{"value": "k"}]}
    ann, bea = kind.make(service, "ann", said), kind.make(service, "bea", {"doors": ["X"]})
    hers, path = f"{kind.path}/{ann['id']}", f"{kind.path}/{bea['id']}"
    for name, value in (
        ("number", "a" * 300),
        ("level", 7.0),
        ("doors", ["z", "y"]),
        ("desk", {"room": "1"}),
        ("keys", [{"value": "q"}, {"value": "K", "of": "home"}]),
    ):
        body = {"schemas": [kind.urn], kind.called: "new", BADGE: {name: value}}
        one = {"method": "POST", "path": f"/{kind.path}", "bulkId": "a", "data": body}
        for answer in (
            service.ask("POST", kind.path, body),
            service.ask("PUT", path, body | {kind.called: "bea"}),
            service.patch(path, {"op": "replace", "path": f"{BADGE}:{name}", "value": value}),
            service.ask("POST", kind.path, body, token=service.make_token("entra")),
        ):
            assert (answer.status_code, answer.json()["scimType"]) == (409, "uniqueness"), answer.text
            assert name in answer.json()["detail"] and f"another {kind.resource.lower()}" in answer.json()["detail"]
        (done,) = service.ask("POST", "Bulk", {"schemas": [BULK_URN], "Operations": [one]}).json()["Operations"]
        assert (done["status"], done["response"]["scimType"]) == ("409", "uniqueness")
    assert service.names(path=kind.path) == ["ann", "bea"] and kind.badge(service, bea["id"]) == {"doors": ["X"]}
    assert service.patch(hers, {"op": "replace", "path": BADGE, "value": said}).is_success
    assert service.ask("GET", hers).json()["meta"] == ann["meta"]  # her own
    # What is given up is free at once: by a change, by a deletion; and who comes back may find it taken.
    assert service.patch(hers, {"op": "remove", "path": f"{BADGE}:level"}).is_success
    assert service.patch(path, {"op": "add", "path": f"{BADGE}:level", "value": 7}).is_success
    assert service.ask("DELETE", hers).status_code == 204
    assert service.patch(path, {"op": "add", "path": f"{BADGE}:doors", "value": ["y"]}).is_success
    with service.database.reading() as conn:
        gone = facts.load_users(conn, "default", [ann["id"]], service.workspaces["default"].precedence)
    if kind is USERS:
        back = service.commit(*restoration(gone[ann["id"]], service.workspaces["default"], service.now, ""))
        assert isinstance(back.error, Uniqueness409) and "doors 'y'" in str(back.error)
    with service.database.reading() as conn:
        assert check(conn, service.workspaces["default"], service.now) == []
        assert {row.holder_id for row in conn.execute(select(t.unique_values))} == {bea["id"]}


def test_of_requests_at_once_one_has_it(service: Service) -> None:
    declare(service, *UNIQUE)
    headers = {"Authorization": f"Bearer {service.token}", "Content-Type": "application/scim+json"}

    async def all_at_once() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(service.web), timeout=60) as client:
            bodies = [{"schemas": [USER_URN], "userName": f"u{n}", BADGE: {"number": "Same"}} for n in range(8)]
            asked = (client.post(f"{BASE}/scim/v2/Users", json=body, headers=headers) for body in bodies)
            return list(await asyncio.gather(*asked))

    answers = service.run(all_at_once())
    assert sorted(each.status_code for each in answers) == [201] + [409] * 7
    assert {each.json()["scimType"] for each in answers if each.status_code == 409} == {"uniqueness"}
    assert service.names(f'{NUMBER} eq "same"') == service.names()


def test_of_a_batch_the_first_has_it_and_what_one_gives_up_another_may_take(service: Service) -> None:
    declare(service, *UNIQUE)
    ids = [service.user(name, **{BADGE: {"number": name}})["id"] for name in ("a", "b", "c")]

    def restated(id: str, number: str) -> UserEdit:
        with service.database.reading() as conn:
            (link,) = read.links(conn, "default", "user", id)
        return UserEdit(id, "okta", link=replace(link, values={**link.values, NUMBER: number}))

    service.commit(restated(ids[0], "b"), restated(ids[1], "a"), source="okta").check()
    assert [badge(service, id)["number"] for id in ids] == ["b", "a", "c"]
    both = service.commit(restated(ids[0], "n"), restated(ids[1], "N"), source="okta")
    assert isinstance(both.error, Uniqueness409)
    with service.database.reading() as conn:
        decision = Decision(conn, service.workspaces["default"], "okta", service.now)
        verdicts = decision.batch([(restated(ids[0], "n"),), (restated(ids[1], "N"),), (restated(ids[2], "b"),)])
        assert [each.error is None for each in verdicts] == [True, False, True]
        later = decision.batch([(restated(ids[2], "n"),), (restated(ids[1], "free"),)])
        assert [each.error is None for each in later] == [False, True]


@of_each_kind
def test_what_is_unique_from_now_on_is_the_firsts_who_has_it(service: Service, kind: Kind) -> None:
    declare(service, Attribute("number"), of=kind.resource)
    ids = [kind.make(service, name, {"number": n})["id"] for name, n in (("a", "1"), ("b", "1"), ("c", "2"))]
    remake(service)
    declare(service, Attribute("number", uniqueness=Uniqueness.SERVER), of=kind.resource)
    with structlog.testing.capture_logs() as logs:
        Timers(service.database, service.workspaces, lambda: service.now, service.ids).tick()
    told = [each for each in logs if each["event"] == "value_not_unique"]
    assert [(each["path"], each[f"{kind.resource.lower()}_id"]) for each in told] == [(NUMBER, ids[1])]
    assert kind.badge(service, ids[1]) == {"number": "1"}  # nobody loses anything
    path, number = f"{kind.path}/{ids[1]}", {"op": "replace", "path": NUMBER, "value": "2"}
    assert service.patch(path, number).status_code == 409
    assert service.patch(path, {**number, "value": "3"}).is_success
    declare(service, Attribute("number"), of=kind.resource)
    remake(service)
    assert service.patch(path, number).is_success
    with service.database.reading() as conn:
        assert conn.execute(select(t.unique_values)).all() == []


def test_of_groups_in_one_plan_the_first_has_it_and_who_goes_leaves_it_to_others(service: Service) -> None:
    declare(service, *UNIQUE, of="Group")
    ids = [service.group(name, **{BADGE: {"number": name}})["id"] for name in ("a", "b", "c")]

    def restated(id: str, number: str) -> GroupEdit:
        with service.database.reading() as conn:
            (link,) = read.links(conn, "default", "group", id)
        return GroupEdit(id, "okta", link=replace(link, values={**link.values, NUMBER: number}))

    with service.database.reading() as conn:
        decision = Decision(conn, service.workspaces["default"], "okta", service.now)
        plan = [(restated(ids[0], "n"),), (restated(ids[1], "N"),), (restated(ids[2], "a"),)]
        assert [each.error is None for each in decision.batch(plan)] == [True, False, True]
        decision = Decision(conn, service.workspaces["default"], "okta", service.now)
        plan = [(restated(ids[1], "c"),), (GroupEdit(ids[0], "okta", delete=True),), (restated(ids[2], "a"),)]
        assert [each.error is None for each in decision.batch(plan)] == [False, True, True]
        assert [each.error is None for each in decision.batch([(restated(ids[1], "a"),)])] == [False]
    gone = GroupEdit(ids[1], "okta", delete=True)
    service.commit(gone, restated(ids[2], "b"), source="okta").check()
    with service.database.reading() as conn:
        assert check(conn, service.workspaces["default"], service.now) == []


def test_groups_too_and_a_schema_that_is_taken_out(service: Service) -> None:
    of_groups = Schema(BADGE, "Badge", "", (Attribute("cost"), Attribute("owner")))
    restart(service, extended([Extension(of_groups, "Group")]))
    staff = service.group("staff", **{BADGE: {"cost": "17", "owner": "x"}})
    remake(service)
    path = f"Groups/{staff['id']}"
    assert service.ask("GET", path).json()[BADGE] == {"cost": "17", "owner": "x"}
    restart(service, STANDARD)
    remake(service)
    found = service.ask("GET", path).json()
    assert BADGE not in found and found["schemas"] == [GROUP_URN] and found["meta"]["version"] == 'W/"2"'
    with service.database.reading() as conn:
        assert conn.execute(select(t.document_shapes)).all() == []
        assert BADGE.encode() not in conn.scalar(select(t.groups.c.document))


def test_a_rule_may_ask_for_it(service: Service) -> None:
    extend(service)
    type = service.workspaces["default"].types.rule_user
    when = f"{BADGE}:level ge 5"
    rule = Rule("guards", when, compile(parse_filter(when, type)), roles=("clerk",))
    service.workspaces["default"] = replace(service.workspaces["default"], rules=(rule,))
    ann = service.user("ann", **{BADGE: {"number": "A1", "level": 9}})
    assert service.roles(ann["id"]) == {"clerk"}


def test_a_schema_that_a_rule_reads_is_a_part_of_the_rules(service: Service) -> None:
    """So that what users would lose by another type is planned and held, like a change of the rule itself."""

    def digest(when: str, *attributes: Attribute) -> str:
        types = extended([Extension(Schema(BADGE, "Badge", "", attributes))])
        rule = Rule("guards", when, lambda _: True, roles=("clerk",))
        return replace(service.workspaces["default"], types=types, rules=(rule,)).rules_digest

    number, text = Attribute("level", Type.INTEGER), Attribute("level")
    when = f"{BADGE.upper()}:LEVEL ge 5"
    assert digest(when, number) != digest(when, text)
    assert digest(when, number) == digest(when, replace(number, description="x"), Attribute("other"))
    assert digest("title pr", number) == digest("title pr", text) == digest("title pr")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_discovery_is_the_workspaces_own(service: Service) -> None:
    extend(service)
    mine = service.ask("GET", "ResourceTypes/User").json()["schemaExtensions"]
    assert {"schema": BADGE, "required": False} in mine
    assert service.ask("GET", f"Schemas/{BADGE}").json()["attributes"][0]["required"] is True
    other = service.make_token(workspace="other")
    assert BADGE not in [each["id"] for each in service.ask("GET", "Schemas", token=other).json()["Resources"]]


def test_a_manager_of_an_extension_of_one_s_own_is_another(service: Service) -> None:
    """The reference to the manager of the enterprise extension was made for the first of them, and then not shown."""
    parts = (Attribute("value"), Attribute("note"))
    own = Schema("urn:a:2.0:User", "Own", "", (Attribute("manager", Type.COMPLEX, sub_attributes=parts),))
    service.workspaces["default"] = replace(service.workspaces["default"], types=extended([Extension(own)]))
    boss, other = service.user("boss"), service.user("other")["id"]
    for value in (boss["id"], other, 'x","value":"y'):
        theirs, ours = {own.id: {"manager": {"value": value}}}, {ENTERPRISE: {"manager": {"value": boss["id"]}}}
        first = service.user(f"a {value}", **theirs, **ours)
        second = service.user(f"b {value}", **ours, **theirs)
        alone = service.user(f"c {value}", **theirs)
        listed = {each["id"]: each for each in service.ask("GET", "Users").json()["Resources"]}
        for each in (first, second, alone):
            for seen in (each, listed[each["id"]], service.ask("GET", f"Users/{each['id']}").json()):
                assert seen[own.id] == {"manager": {"value": value}}
                linked = {"manager": {"value": boss["id"], "$ref": boss["meta"]["location"]}}
                assert seen.get(ENTERPRISE) == (None if each is alone else linked)
