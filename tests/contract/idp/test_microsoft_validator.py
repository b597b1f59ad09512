"""The cases of Microsoft's SCIM validator (scimvalidator.microsoft.com), by the names it gives them.

Written from its published case list and run reports; the validator itself is a hosted service. What it does not check
(status as text, media types of errors, Location) the protocol's own tests do.
"""

from __future__ import annotations

from typing import Any

import pytest

from syncd.core.schema import ENTERPRISE_USER

from .conftest import CORE_GROUP, CORE_USER, Stage, Stages

PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
NEW: dict[str, Any] = {
    "schemas": [CORE_USER, ENTERPRISE_USER],
    "userName": "Jalyn_Kuphal@example.org",
    "externalId": "7a1c",
    "active": True,
    "displayName": "Jalyn",
    "title": "Ms",
    "preferredLanguage": "en",
    "name": {"givenName": "Jalyn", "familyName": "Kuphal", "formatted": "Jalyn Kuphal"},
    "emails": [{"type": "work", "value": "jalyn@example.org", "primary": "true"}],
    "phoneNumbers": [{"type": "work", "value": "71-310-1234", "primary": True}, {"type": "fax", "value": "71-310-9"}],
    "addresses": [{"type": "work", "formatted": "1 Main St", "locality": "Springfield", "primary": "true"}],
    ENTERPRISE_USER: {"employeeNumber": "7", "department": "Tours"},
}


class Validator:
    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def ask(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        return self.stage.service.ask(method, path, body, token=self.stage.token, **query)

    def make(self, path: str, **values: Any) -> str:
        base = NEW if path == "Users" else {"schemas": [CORE_GROUP], "displayName": "Guides", "externalId": "8c"}
        made = self.ask("POST", path, {**base, **values})
        assert made.status_code == 201, made.text
        return str(made.json()["id"])

    def patch(self, path: str, *operations: tuple[Any, ...]) -> Any:
        """(op, path, value); answered 200 or 204, then what is there."""
        listed = [dict(zip(("op", "path", "value"), each, strict=False)) for each in operations]
        listed = [{key: value for key, value in each.items() if key != "path" or value is not None} for each in listed]
        answer = self.ask("PATCH", path, {"schemas": [PATCH], "Operations": listed})
        assert answer.status_code in (200, 204), answer.text
        return self.ask("GET", path).json()

    def found(self, path: str, filter: str, **query: str) -> list[Any]:
        answer = self.ask("GET", path, filter=filter, **query)
        assert answer.status_code == 200
        return list(answer.json()["Resources"])


@pytest.fixture
def validator(stages: Stages) -> Validator:
    return Validator(stages("entra/validator"))


# -- users ----------------------------------------------------------------------------------------------------------------


def test_create_a_new_user_and_a_duplicate_user(validator: Validator) -> None:
    made = validator.ask("POST", "Users", NEW)
    assert made.status_code == 201
    user = made.json()
    assert user["emails"] == [{"type": "work", "value": "jalyn@example.org", "primary": True}]
    assert user["phoneNumbers"] == NEW["phoneNumbers"]  # in the format they were sent
    assert validator.ask("POST", "Users", NEW).status_code == 409


def test_filter_for_existing_missing_and_other_case(validator: Validator) -> None:
    id = validator.make("Users")
    for name in ("Jalyn_Kuphal@example.org", "JALYN_KUPHAL@EXAMPLE.ORG"):
        assert [each["id"] for each in validator.found("Users", f'userName eq "{name}"')] == [id]
    assert validator.found("Users", 'userName eq "nobody"') == []


def test_patch_user_replace_attributes_verbose(validator: Validator) -> None:
    user = validator.patch(
        f"Users/{validator.make('Users')}",
        ("replace", "displayName", "New"),
        ("replace", "title", "Dr"),
        ("replace", "preferredLanguage", "de"),
        ("replace", "name.givenName", "Jo"),
        ("replace", "name.familyName", "Ray"),
        ("replace", 'emails[type eq "work"].value', "jo@example.org"),
        ("replace", "emails[primary eq true].value", "jo.ray@example.org"),
        ("replace", 'phoneNumbers[type eq "fax"].value', "1"),
        ("replace", 'phoneNumbers[type eq "mobile"].value', "2"),
        ("replace", 'addresses[type eq "work"].formatted', "2 High St"),
        ("replace", f"{ENTERPRISE_USER}:employeeNumber", "8"),
        ("replace", f"{ENTERPRISE_USER}:costCenter", "c"),
    )
    assert (user["displayName"], user["title"], user["preferredLanguage"]) == ("New", "Dr", "de")
    assert (user["name"]["givenName"], user["name"]["familyName"]) == ("Jo", "Ray")
    assert user["emails"][0]["value"] == "jo.ray@example.org"
    assert {each["type"]: each["value"] for each in user["phoneNumbers"]} == {
        "work": "71-310-1234",
        "fax": "1",
        "mobile": "2",
    }
    assert (user["addresses"][0]["formatted"], user["addresses"][0]["locality"]) == ("2 High St", "Springfield")
    assert user[ENTERPRISE_USER] == {"employeeNumber": "8", "department": "Tours", "costCenter": "c"}


def test_patch_user_add_attributes_verbose(validator: Validator) -> None:
    id = validator.make("Users", **{"emails": [], "phoneNumbers": [], "addresses": [], ENTERPRISE_USER: {}})
    user = validator.patch(
        f"Users/{id}",
        ("add", "nickName", "Jay"),
        ("add", 'emails[type eq "work"].value', "jo@example.org"),
        ("add", 'emails[type eq "work"].primary', True),
        ("add", 'phoneNumbers[type eq "work"].value', "1"),
        ("add", 'addresses[type eq "work"].postalCode', "2"),
        ("add", 'addresses[type eq "work"].country', "DE"),
        ("add", f"{ENTERPRISE_USER}:division", "d"),
    )
    assert (user["nickName"], user[ENTERPRISE_USER]) == ("Jay", {"division": "d"})
    assert user["emails"] == [{"type": "work", "value": "jo@example.org", "primary": True}]
    assert user["addresses"] == [{"type": "work", "postalCode": "2", "country": "DE"}]


def test_patch_user_update_user_name_and_disable_user(validator: Validator) -> None:
    id = validator.make("Users")
    assert (
        validator.patch(f"Users/{id}", ("replace", "userName", "Other@example.org"))["userName"] == "Other@example.org"
    )
    assert validator.patch(f"Users/{id}", ("replace", "active", False))["active"] is False
    assert [each["active"] for each in validator.found("Users", 'userName eq "other@example.org"')] == [False]


def test_patch_user_add_replace_and_remove_manager(validator: Validator) -> None:
    path = f"{ENTERPRISE_USER}:manager"
    id, first, second = (validator.make("Users", userName=name, externalId=name) for name in ("u", "m1", "m2"))
    for op, manager in (("add", first), ("replace", second)):
        user = validator.patch(f"Users/{id}", (op, path, manager))
        assert user[ENTERPRISE_USER]["manager"]["value"] == manager
    assert "manager" not in validator.patch(f"Users/{id}", ("remove", path))[ENTERPRISE_USER]


def test_delete_user(validator: Validator) -> None:
    id = validator.make("Users")
    assert validator.ask("DELETE", f"Users/{id}").status_code == 204
    assert validator.ask("GET", f"Users/{id}").status_code == 404


# -- groups -----------------------------------------------------------------------------------------------------------------


def test_create_a_group_and_a_duplicate_group(validator: Validator) -> None:
    user = validator.make("Users")
    body = {"schemas": [CORE_GROUP], "displayName": "Guides", "members": [{"value": user}]}
    assert validator.ask("POST", "Groups", body).status_code == 201
    assert validator.ask("POST", "Groups", body).status_code == 409


def test_get_and_filter_groups_with_and_without_members(validator: Validator) -> None:
    user = validator.make("Users")
    id = validator.make("Groups", members=[{"value": user}])
    read = validator.ask("GET", f"Groups/{id}", excludedAttributes="members").json()
    assert "members" not in read and read["displayName"] == "Guides"
    (whole,) = validator.found("Groups", 'displayName eq "Guides"')
    assert [each["value"] for each in whole["members"]] == [user]
    (without,) = validator.found("Groups", 'displayName eq "Guides"', excludedAttributes="members")
    assert "members" not in without
    assert [each["id"] for each in validator.found("Groups", 'displayName eq "gUIDES"')] == [id]
    assert validator.found("Groups", 'displayName eq "nothing"') == []


def test_patch_group_attributes(validator: Validator) -> None:
    id = validator.make("Groups")
    assert validator.patch(f"Groups/{id}", ("replace", None, {"displayName": "A"}))["displayName"] == "A"
    assert validator.patch(f"Groups/{id}", ("replace", "externalId", "9c"))["externalId"] == "9c"
    assert validator.patch(f"Groups/{id}", ("replace", "displayName", "B"))["displayName"] == "B"


def test_patch_group_add_and_remove_member_and_delete(validator: Validator) -> None:
    user, id = validator.make("Users"), validator.make("Groups")
    group = validator.patch(f"Groups/{id}", ("add", "members", [{"value": user}]))
    assert [each["value"] for each in group["members"]] == [user]
    assert "members" not in validator.patch(f"Groups/{id}", ("remove", f'members[value eq "{user}"]'))
    assert validator.ask("DELETE", f"Groups/{id}").status_code == 204
    assert validator.ask("GET", f"Groups/{id}").status_code == 404


# -- previews -----------------------------------------------------------------------------------------------------------------


def test_preview_several_operations_on_different_and_on_the_same_attributes(validator: Validator) -> None:
    id = validator.make("Users")
    user = validator.patch(
        f"Users/{id}", ("remove", "displayName"), ("add", "title", "Dr"), ("replace", "name.givenName", "Jo")
    )
    assert ("displayName" not in user, user["title"], user["name"]["givenName"]) == (True, "Dr", "Jo")
    user = validator.patch(
        f"Users/{id}", ("remove", "displayName"), ("add", "displayName", "1"), ("replace", "displayName", "2")
    )
    assert user["displayName"] == "2"


def test_preview_delete_what_is_not_there_and_delete_twice(validator: Validator) -> None:
    for path in ("Users", "Groups"):
        assert validator.ask("DELETE", f"{path}/5171a35d82074e068ce2").status_code == 404
        id = validator.make(path)
        assert [validator.ask("DELETE", f"{path}/{id}").status_code for _ in range(2)] == [204, 404]


def test_preview_group_several_operations(validator: Validator) -> None:
    one, two = (validator.make("Users", userName=name, externalId=name) for name in ("a", "b"))
    id = validator.make("Groups", members=[{"value": one}])
    group = validator.patch(
        f"Groups/{id}",
        ("add", "members", [{"value": two}]),
        ("replace", "displayName", "New"),
        ("remove", f'members[value eq "{one}"]'),
    )
    assert (group["displayName"], [each["value"] for each in group["members"]]) == ("New", [two])


def test_what_it_may_send_besides(validator: Validator) -> None:
    """No operations (scimmyjs/scimmy#59); and a required attribute taken away, which is refused by name."""
    id = validator.make("Users")
    assert validator.patch(f"Users/{id}")["meta"]["version"] == 'W/"1"'
    operation = {"op": "remove", "path": "userName"}
    answer = validator.ask("PATCH", f"Users/{id}", {"schemas": [PATCH], "Operations": [operation]})
    assert (answer.status_code, "userName" in answer.json()["detail"]) == (400, True)
