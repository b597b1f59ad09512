import json
from typing import Any

import pytest

from syncd.core.schema import CORE_USER, ENTERPRISE_USER, GROUP, RULE_USER, SYNCD_USER, USER, ResourceType


@pytest.mark.parametrize(
    ("spelt", "path"),
    [
        ("userName", "userName"),
        ("USERNAME", "userName"),
        ("NAME.givenname", "name.givenName"),
        ("emails.Value", "emails.value"),
        ("groups.$REF", "groups.$ref"),
        ("meta.lastmodified", "meta.lastModified"),
        (f"{CORE_USER}:userName", "userName"),
        (f"{CORE_USER.upper()}:NAME.FAMILYNAME", "name.familyName"),
        (f"{ENTERPRISE_USER}:department", f"{ENTERPRISE_USER}:department"),
        (f"{ENTERPRISE_USER.lower()}:MANAGER.value", f"{ENTERPRISE_USER}:manager.value"),
        (ENTERPRISE_USER.lower(), ENTERPRISE_USER),
        (f"{SYNCD_USER}:seats", f"{SYNCD_USER}:seats"),
    ],
)
def test_a_path_is_found_however_it_is_spelt(spelt: str, path: str) -> None:
    resolved = USER.resolve(spelt)
    assert resolved is not None and resolved.path == path


@pytest.mark.parametrize(
    "spelt",
    [
        "",
        "nope",
        "department",
        "userName.",
        "name.nope",
        "userName.value",
        "password",
        "groups.dn",
        "source",
        CORE_USER,
        f"{ENTERPRISE_USER}:userName",
        f"{ENTERPRISE_USER}.manager",
        f"{CORE_USER}:department",
    ],
)
def test_no_other_path_is_found(spelt: str) -> None:
    assert USER.resolve(spelt) is None


def test_a_sub_attribute_knows_what_it_hangs_on() -> None:
    resolved = USER.resolve(f"{ENTERPRISE_USER}:manager.value")
    assert resolved is not None and resolved.parent is not None
    assert (resolved.top, resolved.parent.name, resolved.extension) == (
        f"{ENTERPRISE_USER}:manager",
        "manager",
        ENTERPRISE_USER,
    )
    assert resolved.search_keys == (f"{ENTERPRISE_USER}:manager".lower(), "value")


@pytest.mark.parametrize("path", ["groups.source", "groups.dn", "groups.externalId", "source"])
def test_a_rule_reads_where_groups_and_users_come_from(path: str) -> None:
    assert RULE_USER.resolve(path) is not None


@pytest.mark.parametrize("path", [f"{SYNCD_USER}:status", f"{SYNCD_USER}:seats", f"{SYNCD_USER}:waiting"])
def test_a_rule_reads_nothing_that_rules_decide(path: str) -> None:
    assert RULE_USER.resolve(path) is None


@pytest.mark.parametrize(
    ("path", "case_exact"), [("userName", False), ("id", True), ("externalId", True), ("emails.value", False)]
)
def test_case_rules_are_those_of_the_rfc(path: str, case_exact: bool) -> None:
    resolved = USER.resolve(path)
    assert resolved is not None and resolved.attribute.case_exact is case_exact


def _nulls(shown: Any) -> bool:
    if isinstance(shown, dict):
        return any(map(_nulls, shown.values()))
    return any(map(_nulls, shown)) if isinstance(shown, list) else shown is None


@pytest.mark.parametrize("resource_type", [USER, GROUP])
def test_discovery_is_complete_json_without_nulls(resource_type: ResourceType) -> None:
    schemas = [resource_type.schema, *(schema for schema, _ in resource_type.extensions)]
    bodies = [schema.to_scim() for schema in schemas]
    assert json.loads(json.dumps(bodies)) == bodies
    assert not _nulls(bodies)
    for attribute in (a for body in bodies for a in body["attributes"]):
        assert {"name", "type", "multiValued", "description", "required", "mutability", "returned"} <= set(attribute)
        assert attribute["description"] and ("subAttributes" in attribute) is (attribute["type"] == "complex")
    assert resource_type.to_scim()["id"] == resource_type.to_scim()["name"]


def test_common_attributes_are_in_no_schema() -> None:
    assert not {"id", "externalId", "meta", "schemas"} & {a["name"] for a in USER.schema.to_scim()["attributes"]}
