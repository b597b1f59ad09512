"""What a token may do: by method, resource type and attribute; and that what it may not see cannot be asked about."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from syncd.core.actor import Actor
from syncd.core.permission import understood
from syncd.core.schema import ENTERPRISE_USER
from syncd.errors import InvalidValue
from syncd.store import tables as t

from .conftest import GROUP_URN, PATCH_URN, USER_URN, Service


def replace_(path: str, value: Any) -> dict[str, Any]:
    return {"op": "replace", "path": path, "value": value}


@pytest.mark.parametrize(
    "wrong",
    ["users", "users:fly", "people:read", "users:read:shoeSize", "users:create:userName", "users:update:", "", "a:b:c"],
)
def test_permissions_that_do_not_exist(wrong: str) -> None:
    with pytest.raises(InvalidValue):
        understood(wrong)


def test_an_attribute_is_understood_in_any_spelling() -> None:
    assert understood("users:update:USERNAME") == "users:update:userName"
    assert understood(f"users:read:{USER_URN}:name.givenname") == "users:read:name.givenName"


@pytest.mark.parametrize(
    ("allow", "can"),
    [
        ({"users:create"}, {"create"}),
        ({"users:update"}, {"replace", "change"}),
        ({"users:delete"}, {"delete"}),
        ({"users:write"}, {"create", "replace", "change", "delete"}),
        ({"users:read"}, set()),
        ({"groups:write"}, set()),
    ],
)
def test_each_method_has_its_permission(service: Service, allow: set[str], can: set[str]) -> None:
    token = service.make_token(allow=allow)
    id = service.user("ann")["id"]
    body = {"schemas": [USER_URN], "userName": "ann", "title": "clerk"}
    answers = {
        "create": service.ask("POST", "Users", {**body, "userName": "bob"}, token=token),
        "replace": service.ask("PUT", f"Users/{id}", body, token=token),
        "change": service.patch(f"Users/{id}", replace_("title", "boss"), token=token),
        "delete": service.ask("DELETE", f"Users/{id}", token=token),
    }
    assert {name for name, answer in answers.items() if answer.status_code < 300} == can
    refused = [answer for name, answer in answers.items() if name not in can]
    assert {answer.status_code for answer in refused} <= {403}
    assert {answer.headers["www-authenticate"] for answer in refused} <= {
        'Bearer realm="syncd", error="insufficient_scope"'
    }


def test_one_attribute_may_be_written_and_no_other(service: Service) -> None:
    token = service.make_token(allow=["users:read", "users:update:active", "users:update:name"])
    ann = service.user("ann", title="clerk")
    at = f"Users/{ann['id']}"
    assert service.patch(at, replace_("active", False), token=token).status_code == 200
    assert service.patch(at, replace_("name.givenName", "Ann"), token=token).status_code == 200, "a part of name"
    before = service.ask("GET", at).json()
    for wrong in (
        [replace_("title", "boss")],
        [replace_("active", True), replace_("title", "boss")],
        [replace_("externalId", "taken")],
        [{"op": "remove", "path": "title"}],
    ):
        refused = service.patch(at, *wrong, token=token)
        assert refused.status_code == 403, refused.text
        assert "users:update:" in refused.json()["detail"]
    whole = {"schemas": [USER_URN], "userName": "ann", "title": "boss", "active": True}
    assert service.ask("PUT", at, whole, token=token).status_code == 403
    assert service.ask("DELETE", at, token=token).status_code == 403
    assert service.ask("GET", at).json() == before, "all or nothing"
    with service.database.reading() as conn:
        reasons = conn.execute(t.activity.select().where(t.activity.c.action == "refused")).all()
    assert len(reasons) == 5 and "users:update:title" in reasons[0].why


def test_each_operation_of_a_bulk_is_judged_for_itself(service: Service) -> None:
    token = service.make_token(allow=["users:update:active"])
    ann, bob = service.user("ann")["id"], service.user("bob", title="clerk")["id"]

    def change(id: str, path: str, value: Any) -> dict[str, Any]:
        data = {"schemas": [PATCH_URN], "Operations": [replace_(path, value)]}
        return {"method": "PATCH", "path": f"/Users/{id}", "data": data}

    operations = [
        change(ann, "active", False),
        change(bob, "title", "boss"),
        {"method": "DELETE", "path": f"/Users/{bob}"},
        {"method": "POST", "path": "/Users", "bulkId": "x", "data": {"schemas": [USER_URN], "userName": "eve"}},
    ]
    bulk = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": operations}
    answer = service.ask("POST", "Bulk", bulk, token=token)
    assert [each["status"] for each in answer.json()["Operations"]] == ["200", "403", "403", "403"]
    assert service.ask("GET", f"Users/{bob}").json()["title"] == "clerk"
    assert sorted(service.names()) == ["ann", "bob"]


def test_saying_again_what_may_be_read_needs_no_permission_of_its_own(service: Service) -> None:
    token = service.make_token(allow=["users:read:title", "users:update:active"])
    ann = service.user("ann", title="clerk")
    assert service.patch(f"Users/{ann['id']}", replace_("title", "clerk"), token=token).status_code == 200


MAIL = {"value": "ann@example.org", "type": "work"}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "operation",
    [
        replace_("title", "GUESS"),
        {"op": "replace", "value": {"active": True, "title": "GUESS"}},
        {"op": "replace", "value": {"name": {"familyName": "GUESS"}}},
        {"op": "replace", "path": 'emails[value eq "GUESS"].type', "value": "work"},
        {"op": "remove", "path": 'emails[value eq "GUESS"]'},
        {"op": "add", "path": "emails", "value": [{"value": "GUESS", "type": "work"}]},
        {"op": "add", "path": f"{ENTERPRISE_USER}:costCenter", "value": "GUESS"},
        {"op": "add", "value": {ENTERPRISE_USER: {"costCenter": "GUESS"}}},
        {"op": "remove", "path": "nickName"},
    ],
)
def test_a_patch_does_not_tell_whether_a_guess_is_right(service: Service, operation: dict[str, Any]) -> None:
    token = service.make_token(allow=["users:update:active"])
    said: dict[str, Any] = {"schemas": [USER_URN], "userName": "ann", "title": "clerk", "name": {"familyName": "clerk"}}
    said |= {"emails": [MAIL | {"value": "clerk"}], ENTERPRISE_USER: {"costCenter": "clerk"}}
    at = f"Users/{service.ask('POST', 'Users', said).json()['id']}"
    answers = []
    for guess in ("clerk", "boss"):
        wanted = orjson.loads(orjson.dumps(operation).replace(b"GUESS", guess.encode()))
        answers.append(service.patch(at, wanted, token=token))
    right, wrong = answers
    assert right.status_code == wrong.status_code == 403 and right.json() == wrong.json()
    put = service.ask("PUT", at, {"schemas": [USER_URN], "userName": "ann"}, token=token)
    assert put.status_code == 403 and "clerk" not in put.text and "title" not in put.text
    with service.database.reading() as conn:
        refused = conn.execute(t.activity.select().where(t.activity.c.action == "refused")).all()
    assert len(refused) == 2 and {each.subject for each in refused} == {f"/scim/v2/{at}"}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_patch_of_a_group_does_not_tell_who_is_in_it(service: Service) -> None:
    ann, bob = service.user("ann")["id"], service.user("bob")["id"]
    at = f"Groups/{service.group('crew', ann)['id']}"
    names = service.make_token(allow=["groups:update:displayName"])
    for id in (ann, bob, "nobody"):
        for operation in (
            {"op": "remove", "path": f'members[value eq "{id}"]'},
            {"op": "add", "path": "members", "value": [{"value": id}]},
        ):
            refused = service.patch(at, operation, token=names)
            assert (refused.status_code, id in refused.text) == (403, False)


def test_members_are_an_attribute_of_the_group(service: Service) -> None:
    ann, bob = service.user("ann"), service.user("bob")
    crew = service.group("crew", ann["id"])
    token = service.make_token(allow=["groups:update:members"])
    add = {"op": "add", "path": "members", "value": [{"value": bob["id"]}]}
    answer = service.patch(f"Groups/{crew['id']}", add, token=token)
    assert answer.status_code == 200 and "displayName" not in answer.json()
    assert service.patch(f"Groups/{crew['id']}", replace_("displayName", "gang"), token=token).status_code == 403
    assert service.ask("DELETE", f"Groups/{crew['id']}", token=token).status_code == 403
    names = service.make_token(allow=["groups:update:displayName"])
    assert service.patch(f"Groups/{crew['id']}", replace_("displayName", "gang"), token=names).status_code == 200
    assert service.patch(f"Groups/{crew['id']}", {"op": "remove", "path": "members"}, token=names).status_code == 403
    maker = service.make_token(allow=["groups:create"])
    body = {"schemas": [GROUP_URN], "displayName": "new", "members": [{"value": ann["id"]}]}
    assert service.ask("POST", "Groups", body, token=maker).status_code == 201, "with whom it is made"


def test_only_some_attributes_are_shown_and_none_of_the_others_can_be_asked_about(service: Service) -> None:
    token = service.make_token(allow=["users:read:userName", "users:read:emails"])
    mail = [{"value": "ann@example.org", "type": "work"}]
    ann = service.user("ann", title="clerk", emails=mail, nickName="Annie")
    shown = {"schemas", "id", "userName", "emails"}
    for path in (f"Users/{ann['id']}", f"Users/{ann['id']}?attributes=userName,emails,title"):
        assert set(service.ask("GET", path, token=token).json()) == shown
    without = service.ask("GET", f"Users/{ann['id']}?excludedAttributes=emails", token=token).json()
    assert set(without) == shown - {"emails"}
    assert set(service.ask("GET", f"Users/{ann['id']}?attributes=title", token=token).json()) <= {
        "schemas",
        "id",
        "userName",
    }
    (listed,) = service.ask("GET", "Users", token=token).json()["Resources"]
    assert set(listed) == shown
    search = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"], "attributes": ["title", "userName"]}
    (found,) = service.ask("POST", "Users/.search", search, token=token).json()["Resources"]
    assert "title" not in found
    assert service.names('userName eq "ann"', token=token) == ["ann"]
    assert service.names(f'id eq "{ann["id"]}"', token=token) == ["ann"]
    for question in (
        'title eq "clerk"',
        'userName eq "ann" and not (title pr)',
        'emails.value co "a" or nickName sw "A"',
    ):
        assert service.ask("GET", "Users", token=token, filter=question).status_code == 403, question
    assert service.ask("GET", "Users", token=token, sortBy="title").status_code == 403
    assert service.ask("GET", "Users", token=token, sortBy="userName").status_code == 200
    assert service.ask("GET", "", token=token).status_code == 403
    assert service.ask("GET", "Groups", token=token).status_code == 403


def test_an_answer_to_a_write_says_no_more_than_may_be_read(service: Service) -> None:
    token = service.make_token(allow=["users:update:active"])
    ann = service.user("ann", title="clerk")
    answer = service.patch(f"Users/{ann['id']}", replace_("active", True), token=token)
    assert answer.status_code == 200 and "title" not in answer.json()
    assert service.ask("GET", f"Users/{ann['id']}", token=token).status_code == 403


def test_an_actor_without_permissions_may_nothing() -> None:
    nobody = Actor("scim", "x", "default", allow=frozenset())
    assert not any(nobody.may(each) for each in ("users:read", "users:write", "groups:update:members", "metrics:read"))
    assert Actor("scim", "x", "default", allow=frozenset({"users:write"})).may("users:update:title")
    assert not Actor("scim", "x", "default", allow=frozenset({"users:update:active"})).may("users:update:title")
