"""Groups over SCIM on both engines: members as deltas, ownership, and what a pushed group does to roles and seats."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from syncd.core.change import GroupEdit, UserEdit
from syncd.core.connection import Shows
from syncd.core.state import Link

from .conftest import GROUP_URN, PATCH_URN, Service


def members(service: Service, id: str) -> set[str]:
    return {each["value"] for each in service.ask("GET", f"Groups/{id}").json().get("members", [])}


def add(*ids: str) -> dict[str, Any]:
    return {"op": "add", "path": "members", "value": [{"value": id} for id in ids]}


def remove(id: str) -> dict[str, Any]:
    return {"op": "remove", "path": f'members[value eq "{id}"]'}


def test_create_read_and_delete(service: Service) -> None:
    ann = service.user("ann")
    inner = service.group("inner")
    body = {
        "schemas": [GROUP_URN, "http://schemas.microsoft.com/2006/11/ResourceManagement/ADSCIM/2.0/Group"],
        "displayName": "Sales",
        "externalId": "g1",
        "members": [{"value": ann["id"], "$ref": None, "display": "Ann"}, {"value": inner["id"]}],
    }
    answer = service.ask("POST", "Groups", body)
    group = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (201, group["meta"]["location"])
    assert (group["displayName"], group["externalId"], group["meta"]["version"]) == ("Sales", "g1", 'W/"1"')
    assert sorted(group["members"], key=lambda each: each["type"]) == [
        {"value": inner["id"], "$ref": inner["meta"]["location"], "type": "Group", "display": "inner"},
        {"value": ann["id"], "$ref": ann["meta"]["location"], "type": "User", "display": "ann"},
    ]
    assert service.ask("GET", f"Groups/{group['id']}").json() == group
    seen = service.ask("GET", f"Users/{ann['id']}").json()
    assert seen["groups"] == [
        {"value": group["id"], "$ref": group["meta"]["location"], "display": "Sales", "type": "direct"}
    ]
    assert service.ask("DELETE", f"Groups/{group['id']}").status_code == 204
    assert service.ask("GET", f"Groups/{group['id']}").status_code == 404
    assert "groups" not in service.ask("GET", f"Users/{ann['id']}").json()
    assert service.group("Sales", externalId="g1")["id"] != group["id"]


def test_a_connection_may_be_spared_the_names_of_members(service: Service) -> None:
    """For clients that compare members with what they sent; `/Schemas` says so, to that connection."""
    group = service.group("Sales", service.user("ann")["id"])
    own = replace(service.workspaces["default"].source("entra"), shows=Shows(member_display=False))
    default = service.workspaces["default"]
    service.workspaces["default"] = replace(default, sources={**default.sources, "entra": own})

    def returned(token: str) -> str:
        schema = service.ask("GET", f"Schemas/{GROUP_URN}", token=token).json()
        (members,) = (each for each in schema["attributes"] if each["name"] == "members")
        return str(next(each["returned"] for each in members["subAttributes"] if each["name"] == "display"))

    def shown(token: str, **query: str) -> list[set[str]]:
        one = service.ask("GET", f"Groups/{group['id']}", token=token, **query).json()
        (of_list,) = service.ask("GET", "Groups", token=token, **query).json()["Resources"]
        return [set(each["members"][0]) for each in (one, of_list)]

    entra, plain = service.make_token("entra"), {"value", "$ref", "type"}
    for _ in range(2):  # answered from what is remembered as well
        assert (returned(entra), shown(entra)) == ("request", [plain, plain])
        assert (returned(""), shown("")) == ("default", [{*plain, "display"}] * 2)
    assert shown(entra, attributes="members.display") == [{"display"}] * 2
    assert shown("", excludedAttributes="members.display") == [plain] * 2


def test_a_member_who_is_renamed_shows_her_new_name(service: Service) -> None:
    ann, inner = service.user("ann"), service.group("inner")
    group = service.group("Sales", ann["id"], inner["id"])

    def names() -> set[str]:
        return {each["display"] for each in service.ask("GET", f"Groups/{group['id']}").json()["members"]}

    assert names() == {"ann", "inner"}
    service.patch(f"Users/{ann['id']}", {"op": "replace", "path": "userName", "value": "anna"})
    assert names() == {"anna", "inner"}
    service.patch(f"Groups/{inner['id']}", {"op": "replace", "path": "displayName", "value": "core"})
    assert names() == {"anna", "core"}


def test_a_group_that_joins_another_is_not_changed_itself_and_its_new_name_at_the_client_is(service: Service) -> None:
    inner = service.group("inner", service.user("ann")["id"], externalId="g1")

    def version() -> str:
        return str(service.ask("GET", f"Groups/{inner['id']}").headers["etag"])

    outer = service.group("outer", inner["id"])
    service.patch(f"Groups/{outer['id']}", remove(inner["id"]))
    service.patch(f"Groups/{outer['id']}", add(inner["id"]))
    service.ask("DELETE", f"Groups/{outer['id']}")
    assert version() == 'W/"1"'
    service.patch(f"Groups/{inner['id']}", {"op": "replace", "path": "externalId", "value": "g2"})
    assert version() == 'W/"2"'
    service.patch(f"Groups/{inner['id']}", {"op": "remove", "path": "externalId"})
    answer = service.ask("GET", f"Groups/{inner['id']}", headers={"If-None-Match": 'W/"2"'})
    assert (answer.status_code, answer.headers["etag"], "externalId" in answer.json()) == (200, 'W/"3"', False)


def test_nested_groups_show_as_indirect(service: Service) -> None:
    ann = service.user("ann")
    inner = service.group("inner", ann["id"])
    outer = service.group("outer", inner["id"])
    seen = {each["display"]: each["type"] for each in service.ask("GET", f"Users/{ann['id']}").json()["groups"]}
    assert seen == {"inner": "direct", "outer": "indirect"}
    assert service.patch(f"Groups/{inner['id']}", add(outer["id"])).status_code == 204, "a circle is survived"
    assert service.patch(f"Groups/{inner['id']}", add(inner["id"])).status_code == 400
    service.patch(f"Groups/{outer['id']}", remove(inner["id"]))
    seen = {each["display"]: each["type"] for each in service.ask("GET", f"Users/{ann['id']}").json()["groups"]}
    assert seen == {"inner": "direct"}


def test_members_change_by_deltas_with_a_version_each(service: Service) -> None:
    ann, bob, cyd = (service.user(name)["id"] for name in ("ann", "bob", "cyd"))
    group = service.group("g", ann)["id"]
    answer = service.patch(f"Groups/{group}", add(bob, cyd), remove(ann))
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (204, b"", 'W/"2"')
    assert members(service, group) == {bob, cyd}
    again = service.patch(f"Groups/{group}", add(bob), remove(ann))
    assert again.headers["etag"] == 'W/"2"', "nothing changed"
    assert service.patch(f"Groups/{group}", remove(bob), add(bob)).headers["etag"] == 'W/"2"'
    replaced = {"op": "replace", "path": "members", "value": [{"value": ann}, {"value": cyd}]}
    assert service.patch(f"Groups/{group}", replaced, attributes="members").json()["members"][0]["value"] == ann
    assert members(service, group) == {ann, cyd}
    assert service.patch(f"Groups/{group}", {"op": "remove", "path": "members"}).status_code == 204
    assert members(service, group) == set()


def test_a_rename_keeps_members_and_a_put_without_members_too(service: Service) -> None:
    ann = service.user("ann")["id"]
    group = service.group("g", ann, externalId="x")["id"]
    okta = {"op": "replace", "value": {"id": group, "displayName": "new"}}
    assert service.patch(f"Groups/{group}", okta).status_code == 204
    put = service.ask("PUT", f"Groups/{group}", {"schemas": [GROUP_URN], "displayName": "newer"})
    assert (put.status_code, put.json()["displayName"], put.json()["externalId"]) == (200, "newer", "x")
    assert members(service, group) == {ann}
    emptied = service.ask("PUT", f"Groups/{group}", {"schemas": [GROUP_URN], "displayName": "newer", "members": []})
    assert "members" not in emptied.json()
    moved = service.patch(f"Groups/{group}", {"op": "replace", "path": "externalId", "value": "y"}, attributes="")
    assert moved.status_code == 204
    assert service.names('externalId eq "y"', "Groups") == ["newer"]
    assert service.names('externalId eq "x"', "Groups") == []


def test_an_unknown_member_is_named_and_nothing_changes(service: Service) -> None:
    ann, gone = service.user("ann")["id"], service.user("gone")["id"]
    service.ask("DELETE", f"Users/{gone}")
    group = service.group("g")["id"]
    for unknown in ("nobody", gone):
        answer = service.patch(f"Groups/{group}", add(ann, unknown))
        assert (answer.status_code, answer.json()["scimType"]) == (400, "invalidValue")
        assert answer.json()["detail"].startswith(f"Operations[0] (add members): there is no user or group {unknown}")
    ops = [
        {"op": "replace", "path": "displayName", "value": "k"},
        add(ann),
        {"op": "add", "value": {"members": [group]}},
    ]
    itself = service.patch(f"Groups/{group}", *ops).json()
    assert itself["detail"] == f"Operations[2] (add): group {group} cannot be a member of itself"
    body = {"schemas": [GROUP_URN], "displayName": "h", "members": [{"value": "nobody"}]}
    assert service.ask("POST", "Groups", body).status_code == 400
    assert members(service, group) == set()
    assert service.names(path="Groups") == ["g"]
    assert service.patch(f"Groups/{group}", remove("nobody")).status_code == 204


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_malformed_list_of_members_empties_no_group(service: Service) -> None:
    """Only an explicit empty list or null does; a member without an id is an error, not nobody."""
    ann = service.user("ann")["id"]
    group = service.group("crm", ann)["id"]
    message = {"schemas": [PATCH_URN], "Operations": [{"op": "replace", "path": "members"}]}
    for sent in ([None], [{}], [{"value": None}], [{"value": ""}], "", {}, [[]], [""], ["", ann], [{"display": "Ann"}]):
        message["Operations"][0]["value"] = sent
        put = {"schemas": [GROUP_URN], "displayName": "crm", "members": sent}
        for method, path, body in (
            ("PUT", f"Groups/{group}", put),
            ("PATCH", f"Groups/{group}", message),
            ("POST", "Groups", put | {"displayName": "other"}),
            ("PUT", f"Groups/{group}", put | {"members": [ann], f"{GROUP_URN}:members": sent}),
        ):
            answer = service.ask(method, path, body)
            assert (answer.status_code, answer.json()["scimType"]) == (400, "invalidValue"), (method, sent)
    assert members(service, group) == {ann}
    for sent in (None, []):
        service.patch(f"Groups/{group}", add(ann))
        put = {"schemas": [GROUP_URN], "displayName": "crm", f"{GROUP_URN.upper()}:MEMBERS": sent}
        assert service.ask("PUT", f"Groups/{group}", put).status_code == 200
        assert members(service, group) == set()


def test_a_deleted_user_is_no_member(service: Service) -> None:
    ann, bob = service.user("ann")["id"], service.user("bob")["id"]
    group = service.group("g", ann, bob)["id"]
    service.ask("DELETE", f"Users/{ann}")
    assert members(service, group) == {bob}
    assert service.names(f'members.value eq "{ann}"', "Groups") == []
    assert service.names(f'members.value eq "{bob}"', "Groups") == ["g"]


def test_groups_of_another_source_are_read_only(service: Service) -> None:
    ann = service.user("ann")["id"]
    link = Link("corp", "cn=staff", values={"displayName": "staff"})
    service.commit(GroupEdit("g-corp", "corp", create=True, link=link), source="corp").check()
    assert service.ask("GET", "Groups/g-corp").json()["displayName"] == "staff"
    body = {"schemas": [GROUP_URN], "displayName": "mine"}
    answers = [
        service.patch("Groups/g-corp", add(ann)),
        service.ask("PUT", "Groups/g-corp", body),
        service.ask("DELETE", "Groups/g-corp"),
    ]
    for answer in answers:
        assert answer.status_code == 403
        assert "belongs to source corp" in answer.json()["detail"]
    assert members(service, "g-corp") == set()
    assert service.group("staff")["displayName"] == "staff", "a name is unique per source"
    assert service.ask("POST", "Groups", {"schemas": [GROUP_URN], "displayName": "STAFF"}).status_code == 409


def test_a_connection_takes_away_only_memberships_it_stated(service: Service) -> None:
    ann = service.user("ann")["id"]
    group = service.group("g")["id"]
    service.commit(UserEdit(ann, "local", join=(group,))).check()
    service.patch(f"Groups/{group}", remove(ann))
    assert members(service, group) == {ann}
    service.patch(f"Groups/{group}", add(ann))
    service.patch(f"Groups/{group}", {"op": "remove", "path": "members"})
    assert members(service, group) == {ann}


def test_a_pushed_group_changes_roles_and_seats_by_rules(service: Service) -> None:
    ann = service.user("ann", userType="Employee")["id"]
    bob = service.user("bob", userType="Employee")["id"]
    group = service.group("crm", ann)["id"]
    assert service.roles(ann) == {"member", "clerk"}
    assert service.derived(ann)["seats"] == ["crm", "internal"]
    service.patch(f"Groups/{group}", add(bob))
    assert service.derived(bob) == {
        "status": "active",
        "seats": ["internal"],
        "waiting": ["crm"],
    }
    service.patch(f"Groups/{group}", remove(ann))
    assert service.roles(ann) == {"member"}
    assert service.derived(bob)["seats"] == ["crm", "internal"], "the seat moved on"
    rename = {"op": "replace", "path": "displayName", "value": "sales"}
    service.patch(f"Groups/{group}", rename)
    assert service.roles(bob) == {"member"}
    assert service.derived(bob)["seats"] == ["internal"]


def test_a_large_shrink_is_held(service: Service) -> None:
    people = [service.user(f"user{n}")["id"] for n in range(8)]
    group = service.group("g", *people)["id"]
    service.later(days=2)
    replaced = {"op": "replace", "path": "members", "value": [{"value": people[0]}]}
    answer = service.patch(f"Groups/{group}", replaced)
    assert answer.status_code == 429
    assert members(service, group) == set(people)


def test_members_are_removed_by_any_filter(service: Service) -> None:
    """RFC 7644 section 3.5.2.2: the values matched by the filter are removed; an operation sees those before it."""
    ann, bob, cid = (service.user(name)["id"] for name in ("ann", "bob", "cid"))
    inner = service.group("inner")["id"]
    group = service.group("g", ann, bob, inner)["id"]
    path = f"Groups/{group}"

    def removed(text: str, *before: dict[str, Any]) -> set[str]:
        answer = service.patch(path, *before, {"op": "remove", "path": f"members[{text}]"})
        assert answer.status_code == 204, answer.text
        return members(service, group)

    version = service.ask("GET", path).json()["meta"]["version"]
    assert removed('display eq "nobody" or type eq "Device"') == {ann, bob, inner}
    assert service.ask("GET", path).json()["meta"]["version"] == version, "nothing matched, nothing changed"
    assert removed('type eq "group"') == {ann, bob}
    assert removed('display sw "C"', add(cid)) == {ann, bob}, "she was added by the operation before"
    assert removed(f'value eq "{ann}" and type eq "Group"') == {ann, bob}
    assert removed('not (display eq "ann")') == {ann}
    assert removed(f'$ref ew "{ann}"', add(bob, cid)) == {bob, cid}
    assert removed("value pr") == set()
    assert_unknown = service.patch(path, {"op": "remove", "path": 'members[nosuch eq "x"]'}).json()
    assert (assert_unknown["status"], assert_unknown["scimType"]) == ("400", "invalidFilter")


def test_selected_members_are_replaced_by_another_and_never_changed(service: Service) -> None:
    """RFC 7644 section 3.5.2.3, and 4.2 of RFC 7643: the parts of a member are immutable."""
    ann, bob, cid = (service.user(name)["id"] for name in ("ann", "bob", "cid"))
    path = f"Groups/{service.group('g', ann, bob)['id']}"

    def answered(*operations: dict[str, Any]) -> tuple[int, str | None, set[str]]:
        answer = service.patch(path, *operations)
        scim_type = answer.json()["scimType"] if answer.content else None
        return answer.status_code, scim_type, members(service, path.split("/")[1])

    def of(id: str, value: Any, part: str = "", op: str = "replace") -> dict[str, Any]:
        return {"op": op, "path": f'members[value eq "{id}"]{part}', "value": value}

    version = service.ask("GET", path).json()["meta"]["version"]
    assert answered(of(ann, ann, ".value"), of(ann, "user", ".type", "add")) == (204, None, {ann, bob})
    assert answered(of(ann, {"value": ann, "type": "User", "display": "A"}, op="add")) == (204, None, {ann, bob})
    assert service.ask("GET", path).json()["meta"]["version"] == version, "they are as they were"
    for wrong in (of(ann, cid, ".value"), of(ann, "Group", ".type"), of(ann, {"value": cid}, op="add")):
        assert answered(wrong) == (400, "mutability", {ann, bob})
    for op, value in (("replace", {"value": ann}), ("add", {"value": cid})):
        assert answered(of(cid, value, op=op)) == (400, "noTarget", {ann, bob})
    assert answered({"op": "remove", "path": "members"}, of(ann, {"value": cid})) == (400, "noTarget", {ann, bob})
    assert answered(of(ann, {"value": "nosuch"})) == (400, "invalidValue", {ann, bob})
    assert answered(of(ann, {"value": cid})) == (204, None, {bob, cid})
    assert answered({"op": "replace", "path": "members[value pr]", "value": {"value": ann}}) == (204, None, {ann})
    inner = service.group("inner")["id"]
    assert answered(add(inner), of(inner, {"value": bob})) == (204, None, {ann, bob}), "added a moment ago"
    assert answered(add(inner), add(cid)) == (204, None, {ann, bob, cid, inner})
    named = {"op": "replace", "path": f'members[value eq "{inner}" or value eq "{bob}" or value eq "no"]'}
    assert answered(remove(bob), named | {"value": {"value": bob}}) == (204, None, {ann, bob, cid})
    assert answered(remove(bob), named | {"value": {"value": ann}}) == (400, "noTarget", {ann, bob, cid})
    again = {"op": "replace", "path": "members", "value": [{"value": cid}]}
    assert answered(again, of(ann, {"value": bob})) == (400, "noTarget", {ann, bob, cid})
    assert answered(again, of(cid, {"value": bob})) == (204, None, {bob})


def test_an_operation_that_fails_fails_the_request_whatever_comes_after_it(service: Service) -> None:
    """RFC 7644 section 3.5.2."""
    ann = service.user("ann")["id"]
    group = service.group("g", ann)["id"]
    empty = {"op": "replace", "path": "members", "value": []}
    for wrong in ("nobody", group):
        for after in (empty, remove(wrong)):
            answer = service.patch(f"Groups/{group}", add(wrong), after)
            assert (answer.status_code, answer.json()["scimType"]) == (400, "invalidValue"), answer.text
    assert members(service, group) == {ann}


def test_members_are_found_by_what_they_are_shown_as_whatever_the_width_of_its_letters(service: Service) -> None:
    names = ("ａｄａ", "ﾔﾏﾀﾞ", "bob")
    inner = service.group("Ｉnner")["id"]
    group = service.group("crew", *(service.user(name)["id"] for name in names), inner)["id"]
    for name in (*names, "ada", "Ｉnner"):
        for text in (f'members.display eq "{name}"', f'members[type pr and display sw "{name}"]'):
            assert service.names(text, path="Groups") == ["crew"], text
    assert service.names('members.display eq "inner"', path="Groups") == []  # a group's name is another thing
    assert service.names(path="Groups", sortBy="members.display") == ["crew", "Ｉnner"]
    for name in ("ａｄａ", "Ｉnner"):
        remove = {"op": "remove", "path": f'members[display eq "{name}"]'}
        assert service.patch(f"Groups/{group}", remove).is_success
    again = {"op": "add", "path": "members", "value": [{"value": inner}]}
    assert service.patch(f"Groups/{group}", again, {**remove, "path": 'members[display eq "Ｉnner"]'}).is_success
    left = service.ask("GET", f"Groups/{group}").json()["members"]
    assert {each["display"] for each in left} == {"ﾔﾏﾀﾞ", "bob"}
