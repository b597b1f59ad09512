"""What providers really send (research/scim.md, section 2), from the body to the document and the deltas."""

from typing import Any

import orjson
import pytest

from syncd.core.resource import canonical
from syncd.core.schema import CORE_GROUP, CORE_USER, ENTERPRISE_USER, GROUP, USER, Attribute, Schema
from syncd.core.types import Extension, extended
from syncd.errors import InvalidFilter, InvalidPath, InvalidSyntax, InvalidValue, Mutability, NoTarget
from syncd.scim import dialects, messages
from syncd.scim.members import MemberEdit, split_members
from syncd.scim.messages import ABSENT, Operation
from syncd.scim.patch import apply_patch

BABS: dict[str, Any] = {"schemas": [CORE_USER], "id": "2819c223", "userName": "babs@contoso.com", "active": True}
GUIDES: dict[str, Any] = {"schemas": [CORE_GROUP], "id": "abf4dd94", "displayName": "Guides"}


def patched(document, resource_type, *operations, tolerances=dialects.TOLERANT):
    """(document, edits of members, tolerances used) of a PATCH with these operations."""
    read = messages.patch_operations({"schemas": [messages.PATCH_URN], "Operations": list(operations)})
    in_rfc_form, used = dialects.patch_in_rfc_form(read, document, resource_type, tolerances)
    edits: tuple[MemberEdit, ...] = ()
    if resource_type is GROUP:
        in_rfc_form, edits = split_members(in_rfc_form)
    return apply_patch(document, in_rfc_form, resource_type), edits, used


HELD = dialects.TOLERANT


@pytest.fixture(autouse=True)
def held(request, monkeypatch):
    """The tolerances of the policy that the test runs under."""
    monkeypatch.setitem(globals(), "HELD", dialects.POLICIES[getattr(request, "param", dialects.DEFAULT)])


def pytest_generate_tests(metafunc):
    """What a provider sends (`test_entra_...`) is understood by the provider's own policy too."""
    name = metafunc.function.__name__
    own = [each for each in dialects.PROVIDERS if name.startswith(f"test_{each}_")]
    if own:
        metafunc.parametrize("held", [dialects.DEFAULT, *own], indirect=True)


def user(*operations, stored=BABS):
    return patched(stored, USER, *operations, tolerances=HELD)


def group(*operations):
    return patched(GUIDES, GROUP, *operations, tolerances=HELD)


ENTRA_DEFAULT = [
    ({"op": "Replace", "path": "active", "value": "False"}, {"active": False}, {"boolean_as_text"}),
    ({"op": "Add", "path": "nickName", "value": "Babs"}, {"nickName": "Babs"}, set()),
    ({"op": "Replace", "path": "name.givenName", "value": "Barbara"}, {"name": {"givenName": "Barbara"}}, set()),
    ({"op": "Replace", "path": "externalId", "value": "mailnick"}, {"externalId": "mailnick"}, set()),
    (
        {"op": "Add", "path": 'emails[type eq "work"].value', "value": "babs@contoso.com"},
        {"emails": [{"type": "work", "value": "babs@contoso.com"}]},
        {"value_path_creates"},
    ),
    (
        {"op": "Replace", "path": 'emails[type eq "other"].Value', "value": "b@c"},
        {"emails": [{"type": "other", "value": "b@c"}]},
        {"value_path_creates"},
    ),
    (
        {"op": "Replace", "path": 'addresses[type eq "other"].Formatted', "value": "1 Main St"},
        {"addresses": [{"type": "other", "formatted": "1 Main St"}]},
        {"value_path_creates"},
    ),
    (
        {"op": "Add", "path": 'roles[primary eq "True"].value', "value": "admin"},
        {"roles": [{"primary": True, "value": "admin"}]},
        {"boolean_as_text_in_filter", "value_path_creates"},
    ),
    (
        {"op": "Add", "path": "roles", "value": [{"primary": "true", "value": "admin"}]},
        {"roles": [{"primary": True, "value": "admin"}]},
        {"boolean_as_text"},
    ),
    (
        {"op": "Add", "path": "roles", "value": [{"value": '{"id":"7","value":"admin","displayName":"Admin"}'}]},
        {"roles": [{"value": "admin", "display": "Admin"}]},
        {"role_as_json_text"},
    ),
    (
        {"op": "Add", "path": f"{ENTERPRISE_USER}:employeeNumber", "value": "701984"},
        {"schemas": [CORE_USER, ENTERPRISE_USER], ENTERPRISE_USER: {"employeeNumber": "701984"}},
        set(),
    ),
    (
        {"op": "Add", "path": f"{ENTERPRISE_USER}:manager", "value": "26118915"},
        {"schemas": [CORE_USER, ENTERPRISE_USER], ENTERPRISE_USER: {"manager": {"value": "26118915"}}},
        {"bare_value"},
    ),
    (
        {"op": "Add", "path": "manager", "value": [{"$ref": "http://x/Users/26118915", "value": "26118915"}]},
        {"schemas": [CORE_USER, ENTERPRISE_USER], ENTERPRISE_USER: {"manager": {"value": "26118915"}}},
        {"extension_without_urn", "list_for_single_value"},
    ),
]


@pytest.mark.parametrize(("operation", "changes", "used"), ENTRA_DEFAULT)
def test_entra_by_default(operation, changes, used):
    document, _, tolerated = user(operation)
    assert document == BABS | changes
    assert tolerated == used | {"operation_in_any_case"}
    assert user(operation, stored=document)[0] == document, "sent again it must change nothing"


@pytest.mark.parametrize("empty", ["", [""], {"value": ""}])
def test_entra_removes_the_manager_by_an_empty_value(empty):
    stored = BABS | {"schemas": [CORE_USER, ENTERPRISE_USER], ENTERPRISE_USER: {"manager": {"value": "26118915"}}}
    for operation in (
        {"op": "Add", "path": f"{ENTERPRISE_USER}:manager", "value": empty},
        {"op": "Replace", "value": {f"{ENTERPRISE_USER}:manager": empty}},
        {"op": "Remove", "path": f"{ENTERPRISE_USER}:manager"},
    ):
        assert user(operation, stored=stored)[0] == BABS


def test_entra_with_its_flag_sends_one_operation_without_a_path():
    operation = {
        "op": "replace",
        "value": {
            "displayName": "Babs J",
            "active": False,
            "name.givenName": "Babs",
            "name.familyName": "J",
            'emails[type eq "work"].value': "b@c",
            f"{ENTERPRISE_USER}:employeeNumber": "701984",
            f"{ENTERPRISE_USER}:manager": "26118915",
        },
    }
    document, _, used = user(operation)
    assert document == BABS | {
        "schemas": [CORE_USER, ENTERPRISE_USER],
        "displayName": "Babs J",
        "active": False,
        "name": {"givenName": "Babs", "familyName": "J"},
        "emails": [{"type": "work", "value": "b@c"}],
        ENTERPRISE_USER: {"employeeNumber": "701984", "manager": {"value": "26118915"}},
    }
    assert used == {"pathless_patch", "dotted_and_urn_keys", "bare_value", "value_path_creates"}


def test_two_parts_of_one_absent_address_make_one_address():
    document, _, _ = user(
        {"op": "Add", "path": 'addresses[type eq "work"].streetAddress', "value": "1 Main St"},
        {"op": "Add", "path": 'addresses[type eq "work"].locality', "value": "Springfield"},
        {"op": "Replace", "path": 'phoneNumbers[type eq "fax"].value', "value": "+1 555"},
    )
    assert document["addresses"] == [{"type": "work", "streetAddress": "1 Main St", "locality": "Springfield"}]
    assert document["phoneNumbers"] == [{"type": "fax", "value": "+1 555"}]


@pytest.mark.parametrize(
    "path",
    ['emails[type ne "work"].value', 'emails[type eq "a" or type eq "b"].value', 'emails[value eq "old@x"].value'],
)
def test_a_condition_that_describes_no_element_creates_none(path):
    with pytest.raises(NoTarget, match=r"Operations\[0\]"):
        user({"op": "replace", "path": path, "value": "x"})


def test_nothing_where_nothing_is_changes_nothing():
    assert user({"op": "Replace", "path": 'emails[type eq "work"].value', "value": ""})[0] == BABS


def test_entra_groups():
    _, edits, used = group(
        {"op": "Add", "path": "members", "value": [{"$ref": None, "value": "u1"}, {"$ref": None, "value": "u2"}]},
        {"op": "Remove", "path": "members", "value": [{"value": "u3"}, {"value": "u4"}]},
    )
    assert edits == (MemberEdit("add", ("u1", "u2")), MemberEdit("remove", ("u3",)), MemberEdit("remove", ("u4",)))
    assert used == {"operation_in_any_case", "remove_with_value"}


@pytest.mark.parametrize(
    ("value", "edits"),
    [
        ([{"value": "u1"}], (MemberEdit("remove", ("u1",)),)),  # authentik, JumpCloud
        ({"value": "u1"}, (MemberEdit("remove", ("u1",)),)),
        (["u1", 'u"2'], (MemberEdit("remove", ("u1",)), MemberEdit("remove", ('u"2',)))),
        ([{"value": "u1", "display": "old name"}], (MemberEdit("remove", ("u1",)),)),
        ([], ()),  # an empty list names nobody; only a bare remove empties the group
    ],
)
def test_remove_members_with_a_value(value, edits):
    assert group({"op": "remove", "path": "members", "value": value})[1] == edits


@pytest.mark.parametrize("value", [[{"display": "x"}], [{"value": 1}], "", [None], 7])
def test_a_malformed_list_of_members_removes_nobody(value):
    with pytest.raises(InvalidValue):
        group({"op": "remove", "path": "members", "value": value})


def test_remove_with_a_value_on_other_lists():
    stored = BABS | {"emails": [{"value": "a@b", "type": "work"}, {"value": "a@b", "type": "home"}]}
    document, _, used = user(
        {"op": "remove", "path": "emails", "value": [{"value": "a@b", "type": "home"}]}, stored=stored
    )
    assert document["emails"] == [{"value": "a@b", "type": "work"}]
    assert used == {"remove_with_value"}


def test_okta_users():
    assert user({"op": "replace", "value": {"active": False}})[0] == BABS | {"active": False}
    assert user({"op": "replace", "value": {"active": False}})[2] == {"pathless_patch"}


def test_okta_groups():
    document, edits, used = group({"op": "replace", "value": {"id": "abf4dd94", "displayName": "Tour Guides"}})
    assert document == GUIDES | {"displayName": "Tour Guides"}
    assert (edits, used) == ((), {"pathless_patch", "repeated_read_only"})
    _, edits, used = group(
        {"op": "remove", "path": 'members[value eq "u1"]'},
        {"op": "add", "path": "members", "value": [{"value": "u2", "display": "b@c"}]},
    )
    assert (edits, used) == ((MemberEdit("remove", ("u1",)), MemberEdit("add", ("u2",))), frozenset())
    assert group({"op": "replace", "path": "members", "value": []})[1] == (MemberEdit("clear"),)
    assert group({"op": "replace", "value": {"members": [{"value": "u1"}]}})[1] == (MemberEdit("replace", ("u1",)),)
    with pytest.raises(Mutability, match="id is readOnly"):
        group({"op": "replace", "value": {"id": "another", "displayName": "x"}})


def test_authentik_groups():
    document, edits, _ = group(
        {
            "op": "replace",
            "value": {"schemas": [CORE_GROUP], "externalId": "42", "displayName": "Tour", "id": "abf4dd94"},
        },
        {"op": "add", "path": "members", "value": [{"value": "u1"}]},
    )
    assert document == GUIDES | {"externalId": "42", "displayName": "Tour"}
    assert edits == (MemberEdit("add", ("u1",)),)


def test_keycloak_sends_the_value_as_json_text():
    document, _, used = user({"op": "replace", "value": '{"displayName": "Babs"}'})
    assert document == BABS | {"displayName": "Babs"}
    assert used == {"pathless_patch", "value_as_json_text"}
    with pytest.raises(InvalidValue):
        user({"op": "replace", "value": "{broken"})


def test_a_path_that_does_not_exist_stays_refused():
    with pytest.raises(InvalidPath, match=r"Operations\[1\]"):
        user(
            {"op": "Add", "path": 'emails[type eq "work"].value', "value": "x"},
            {"op": "Add", "path": "nosuch", "value": 1},
        )


@pytest.mark.parametrize(
    ("name", "operation", "error"),
    [
        ("value_path_creates", {"op": "add", "path": 'emails[type eq "work"].value', "value": "x"}, NoTarget),
        ("remove_with_value", {"op": "remove", "path": "emails", "value": [{"value": "x"}]}, InvalidValue),
        ("extension_without_urn", {"op": "add", "path": "manager", "value": "x"}, InvalidPath),
        ("value_as_json_text", {"op": "add", "value": '{"title": "x"}'}, InvalidValue),
    ],
)
def test_a_tolerance_can_be_switched_off(name, operation, error):
    with pytest.raises(error):
        patched(BABS, USER, operation, tolerances=dialects.TOLERANT - {name})


REFUSED = [
    ("pathless_patch", {"op": "replace", "value": {"title": "x"}}, InvalidSyntax),
    ("operation_in_any_case", {"op": "Replace", "path": "title", "value": "x"}, InvalidSyntax),
    ("value_as_json_text", {"op": "add", "value": '{"title": "x"}'}, InvalidValue),
    ("repeated_read_only", {"op": "replace", "value": {"id": "2819c223", "title": "x"}}, Mutability),
    ("repeated_read_only", {"op": "replace", "path": "id", "value": "2819c223"}, Mutability),
    ("dotted_and_urn_keys", {"op": "replace", "value": {"name.givenName": "x"}}, InvalidSyntax),
    ("dotted_and_urn_keys", {"op": "replace", "value": {f"{ENTERPRISE_USER}.department": "x"}}, InvalidSyntax),
    ("core_schema_as_extension", {"op": "replace", "value": {CORE_USER.upper(): {"title": "x"}}}, InvalidSyntax),
    ("core_schema_as_extension", {"op": "add", "path": CORE_USER, "value": {"title": "x"}}, InvalidSyntax),
    ("extension_with_dot", {"op": "add", "path": f"{ENTERPRISE_USER}.department", "value": "x"}, InvalidPath),
    ("object_for_plain_value", {"op": "add", "path": "title", "value": {"$ref": None, "Value": "x"}}, InvalidValue),
    ("object_as_json_text", {"op": "add", "path": "emails", "value": ['{"value": "x"}']}, InvalidValue),
    ("empty_means_remove", {"op": "add", "path": f"{ENTERPRISE_USER}:manager", "value": ""}, InvalidValue),
    ("remove_with_value", {"op": "remove", "path": "emails", "value": [{"value": "x"}]}, InvalidValue),
    ("value_path_creates", {"op": "add", "path": 'emails[type eq "work"].value', "value": "x"}, NoTarget),
    ("boolean_as_text", {"op": "replace", "path": "active", "value": "False"}, InvalidValue),
    ("boolean_as_text_in_filter", {"op": "remove", "path": 'roles[primary eq "True"]'}, InvalidFilter),
    ("list_for_single_value", {"op": "replace", "path": "title", "value": ["x"]}, InvalidValue),
    ("bare_value", {"op": "add", "path": f"{ENTERPRISE_USER}:manager", "value": "x"}, InvalidValue),
    ("unknown_attributes", {"op": "add", "value": {"nosuch": 1}}, InvalidSyntax),
    ("unknown_attributes", {"op": "add", "path": "name", "value": {"nosuch": 1}}, InvalidSyntax),
]


@pytest.mark.parametrize(
    ("name", "operation", "error"), REFUSED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_a_policy_does_not_hold_is_refused_by_name(name, operation, error):
    patched(BABS, USER, operation)
    with pytest.raises(error, match=rf"^Operations\[0\].*allow {name} in the policy"):
        patched(BABS, USER, operation, tolerances=dialects.TOLERANT - {name})
    held = name in dialects.POLICIES["rfc"]
    if held:
        patched(BABS, USER, operation, tolerances=dialects.POLICIES["rfc"])
    with pytest.raises(error):
        patched(BABS, USER, operation, tolerances=dialects.POLICIES["interop-strict" if held else "rfc"])


def test_a_role_in_json_text_is_any_role_without_its_tolerance():
    text = '{"value": "admin"}'
    operation = {"op": "add", "path": "roles", "value": [{"value": text}]}
    document, _, used = patched(BABS, USER, operation, tolerances=dialects.POLICIES["rfc"])
    assert (document["roles"], used) == ([{"value": text}], frozenset())


def test_an_unknown_path_is_ignored_only_by_a_policy_that_says_so():
    operations = ({"op": "add", "path": "urn:x:User:tag", "value": 1}, {"op": "add", "path": "title", "value": "x"})
    with pytest.raises(InvalidPath):
        patched(BABS, USER, *operations)
    document, _, used = patched(BABS, USER, *operations, tolerances=dialects.POLICIES["entra"])
    assert (document, used) == (BABS | {"title": "x"}, {"unknown_paths"})


def test_no_condition_lets_anybody_into_a_group():
    _, (edit,), used = group({"op": "add", "path": 'members[value eq "u1"]', "value": {"display": "x"}})
    assert (edit.kind, edit.ids, used) == ("keep", (), frozenset())


@pytest.mark.parametrize(
    ("filter", "formed"),
    [
        ('active eq "True"', "active eq true"),
        ('roles[primary eq "true" and value eq "x"]', 'roles[primary eq true and value eq "x"]'),
        (
            'not (emails.primary ne "False") or userName eq "true"',
            'not (emails.primary ne false) or userName eq "true"',
        ),
        ('userName eq "true"', None),
        ("active eq true", None),
    ],
)
def test_booleans_as_text_in_filters(filter, formed):
    used = {"boolean_as_text_in_filter"} if formed else set()
    assert dialects.filter_in_rfc_form(filter, (USER,)) == (formed or filter, used)
    if formed:
        with pytest.raises(InvalidFilter):
            dialects.filter_in_rfc_form(filter, (USER,), dialects.POLICIES["rfc"])


@pytest.mark.parametrize("policy", dialects.NAMES)
def test_what_the_rfc_has_passes_every_policy(policy):
    operations = (
        {"op": "add", "path": "emails", "value": [{"type": "work", "value": "a@b", "primary": True}]},
        {"op": "replace", "path": 'EMAILS[type eq "work"].Value', "value": "c@d"},
        {"op": "add", "path": f"{ENTERPRISE_USER.upper()}:manager", "value": {"value": "1", "$ref": None}},
        {"op": "replace", "path": "title", "value": None},
        {"op": "remove", "path": "nickName"},
    )
    document, _, used = patched(BABS, USER, *operations, tolerances=dialects.POLICIES[policy])
    assert (document["emails"][0]["value"], document[ENTERPRISE_USER]) == ("c@d", {"manager": {"value": "1"}})
    assert used == frozenset()


# ---------------------------------------------------------------- the table


def test_names_are_the_forms_and_each_is_there_once():
    assert len(dialects.TOLERANCES) == len(dialects.ALL)
    assert all(each.seen and each.what and (each.instead or each.refused is None) for each in dialects.ALL)
    assert all(set(each.policies) <= set(dialects.NAMES) for each in dialects.ALL)


def test_policies():
    policies = dialects.POLICIES
    assert policies["interop-strict"] == frozenset()
    assert all(policies["rfc"] <= policies[name] for name in (*dialects.PROVIDERS, "tolerant"))
    assert set(dialects.TOLERANCES) - dialects.TOLERANT == {"unknown_paths"}
    assert dialects.tolerated("rfc", ["bare_value"], ["pathless_patch"]) == policies["rfc"] - {"pathless_patch"} | {
        "bare_value"
    }


# ---------------------------------------------------------------- bodies


def message(*operations, **more):
    return {"schemas": [messages.PATCH_URN], "Operations": list(operations), **more}


def test_a_message_without_schemas_and_one_without_operations():
    one = {"op": "remove", "path": "title"}
    for schemas in (None, []):
        formed, used = dialects.message_in_rfc_form(message(one, schemas=schemas))
        assert (messages.patch_operations(formed)[0].path, used) == ("title", {"missing_schemas"})
    assert dialects.message_in_rfc_form({"operations": []}) == (
        {"operations": [], "schemas": [messages.PATCH_URN]},
        {"missing_schemas", "no_operations"},
    )
    for wrong in (message(one, schemas=None), message()):
        with pytest.raises(InvalidSyntax):
            dialects.message_in_rfc_form(wrong, dialects.POLICIES["rfc"])


# ---------------------------------------------------------------- POST and PUT


@pytest.mark.parametrize(
    ("schemas", "kept", "used"),
    [
        ([CORE_GROUP], [CORE_GROUP], set()),
        (
            [CORE_GROUP, "http://schemas.microsoft.com/2006/11/ResourceManagement/ADSCIM/2.0/Group"],
            [CORE_GROUP],
            {"unknown_schemas"},
        ),
        (["urn:scim:schemas:core:1.0"], [CORE_GROUP], {"scim_1_schema"}),
        (["urn:scim:schemas:core:1.0", CORE_GROUP], [CORE_GROUP], {"scim_1_schema"}),
        (None, [CORE_GROUP], {"missing_schemas"}),
    ],
)
def test_legacy_urns(schemas, kept, used):
    document, tolerated = dialects.document_in_rfc_form({"schemas": schemas, "displayName": "G"}, GROUP)
    assert document == {"schemas": kept, "displayName": "G"}
    assert tolerated == used
    messages.require_schema(document, CORE_GROUP)


def test_an_unknown_urn_alone_is_not_enough():
    document, _ = dialects.document_in_rfc_form({"schemas": ["urn:nosuch"]}, GROUP)
    with pytest.raises(InvalidSyntax):
        messages.require_schema(document, CORE_GROUP)


def test_entra_creates_a_user():
    body = {
        "schemas": [CORE_USER, ENTERPRISE_USER],
        "externalId": "0a21f0f2",
        "userName": "Test_User@contoso.com",
        "active": "True",
        "emails": [{"primary": "true", "type": "work", "value": "t@contoso.com"}],
        "meta": {"resourceType": "User"},
        "name": {"formatted": "given family", "familyName": "family", "givenName": "given"},
        "roles": [],
        ENTERPRISE_USER: {"manager": "26118915"},
    }
    document, used = dialects.document_in_rfc_form(messages.parse_object(orjson.dumps(body)), USER)
    assert used == {"boolean_as_text", "bare_value"}
    values = canonical(document, USER)
    assert values["active"] is True
    assert values["emails"] == [{"primary": True, "type": "work", "value": "t@contoso.com"}]
    assert values[f"{ENTERPRISE_USER}:manager.value"] == "26118915"
    assert "roles" not in values


def test_okta_puts_back_what_it_read():
    read = BABS | {"groups": [{"value": "g", "display": "G"}], "meta": {"resourceType": "User"}}
    document, used = dialects.document_in_rfc_form(read, USER, dialects.POLICIES["interop-strict"])
    assert (document, used) == (read, frozenset())  # RFC 7644 3.5.1: readOnly values are ignored
    assert canonical(document, USER) == {"userName": "babs@contoso.com", "active": True}


def test_unknown_attributes_are_left_out_on_every_level():
    body = {"schemas": [CORE_USER], "userName": "x", "password": "p", "name": {"givenName": "G", "nick": 1}}
    body |= {
        ENTERPRISE_USER: {"department": "d", "floor": 3},
        "urn:x:User": {"tag": 1},
        "emails": [{"value": "e", "x": 1}],
    }
    document, used = dialects.document_in_rfc_form(body, USER)
    assert document == {
        "schemas": [CORE_USER],
        "userName": "x",
        "name": {"givenName": "G"},
        ENTERPRISE_USER: {"department": "d"},
        "emails": [{"value": "e"}],
    }
    assert used == {"unknown_attributes"}
    with pytest.raises(InvalidSyntax, match="password"):
        dialects.document_in_rfc_form(body, USER, dialects.POLICIES["interop-strict"])


def test_absent_value_is_kept_absent():
    (operation,), _ = dialects.patch_in_rfc_form((Operation("Remove", "title"),), BABS, USER)
    assert (operation.op, operation.value) == ("remove", ABSENT)


@pytest.mark.parametrize("key", ["name.givenName", f"{ENTERPRISE_USER}:department", f"{ENTERPRISE_USER}:manager.value"])
def test_a_key_of_a_resource_that_is_a_path_is_counted_and_by_the_rfc_refused(key):
    body = {"schemas": [CORE_USER], "userName": "ann", key: "x"}
    document, used = dialects.document_in_rfc_form(body, USER)
    assert (document[key], used) == ("x", {"dotted_and_urn_keys"})
    for policy in ("rfc", "interop-strict", "okta"):
        with pytest.raises(InvalidSyntax, match="dotted_and_urn_keys"):
            dialects.document_in_rfc_form(body, USER, dialects.POLICIES[policy])
    within = {"schemas": [CORE_USER], "userName": "ann", ENTERPRISE_USER: {"manager.value": "x"}}
    assert dialects.document_in_rfc_form(within, USER)[1] == {"dotted_and_urn_keys"}
    nested = {"schemas": [CORE_USER], f"{CORE_USER}:userName": "ann", ENTERPRISE_USER: {"department": "x"}}
    assert dialects.document_in_rfc_form(nested, USER, dialects.POLICIES["rfc"])[1] == frozenset()


@pytest.mark.parametrize("policy", ["interop-strict", "rfc", "tolerant"])
def test_what_is_read_only_is_ignored_whatever_it_is(policy):
    """RFC 7644 sections 3.3 and 3.5.1: it SHALL be, and takes no tolerance."""
    read_only = {"id": 5, "meta": "x", "groups": ["g1", {"nosuch": 1}]}
    boss = {ENTERPRISE_USER: {"manager": {"value": "m", "displayName": ["x"], "$ref": 5}}}
    body = {"schemas": [CORE_USER], "userName": "ann", **read_only, **boss}
    document, used = dialects.document_in_rfc_form(body, USER, dialects.POLICIES[policy])
    assert (document, used) == (body, frozenset())
    assert canonical(document, USER) == {"userName": "ann", f"{ENTERPRISE_USER}:manager.value": "m"}


def test_an_attribute_that_is_given_twice_is_neither():
    for body in (
        {"schemas": [CORE_USER], "userName": "a", CORE_USER: {"USERNAME": "b"}},
        {
            "schemas": [CORE_USER],
            "userName": "a",
            f"{ENTERPRISE_USER}.department": "b",
            f"{ENTERPRISE_USER}:department": "c",
        },
    ):
        with pytest.raises(InvalidSyntax, match="twice"):
            dialects.document_in_rfc_form(body, USER)
    with pytest.raises(InvalidSyntax, match="title is given twice"):
        user({"op": "add", "value": {"title": "a", CORE_USER: {"title": "b"}}})


def test_the_enterprise_extension_of_scim_1_is_today_s_unless_that_is_there_too():
    old, manager = "urn:scim:schemas:extension:enterprise:1.0", {"managerId": "b", "displayName": "B"}
    body = {
        "schemas": ["urn:scim:schemas:core:1.0", old],
        "userName": "a",
        old: {"department": "D", "manager": manager},
    }
    formed, used = dialects.document_in_rfc_form(body, USER)
    assert formed[ENTERPRISE_USER] == {"department": "D", "manager": {"value": "b", "displayName": "B"}}
    assert (formed["schemas"], used) == ([CORE_USER, ENTERPRISE_USER], {"scim_1_schema"})
    formed, _ = dialects.document_in_rfc_form(body | {ENTERPRISE_USER: {"department": "E"}}, USER)
    assert (formed[ENTERPRISE_USER], old in formed) == ({"department": "E"}, False)
    formed, _ = dialects.document_in_rfc_form(
        {"schemas": [old], "displayName": "G"}, GROUP, dialects.TOLERANT - {"scim_1_schema"}
    )
    assert formed["schemas"] == [old], "which the body's own check refuses"


@pytest.mark.parametrize(
    "value", [{"value": {"value": "x"}}, {"value": ["x"]}, {"value": "x", "type": "work"}, {"$ref": "x"}, {}]
)
def test_an_object_that_holds_more_than_a_value_is_no_value(value):
    with pytest.raises(InvalidValue, match="must be a string"):
        user({"op": "replace", "path": "title", "value": value})


def test_only_what_labels_nothing_is_left_out_of_a_list_and_a_member_without_an_id_stays_an_error():
    kept = [{"type": "work", "value": "1"}, {"type": "fax"}]
    none = [{"value": ""}, {"Value": None, "type": "x", "primary": True, "display": "y"}]
    document, _, used = user({"op": "add", "path": "phoneNumbers", "value": [*none, *kept]})
    assert (document["phoneNumbers"], used) == (kept, {"elements_without_value"})
    with pytest.raises(InvalidValue, match="has no id"):
        group({"op": "replace", "path": "members", "value": [{"value": ""}]})


@pytest.mark.parametrize(
    ("filter", "formed"),
    [
        ('manager eq "x"', '{}:manager eq "x"'),
        ('not (department pr) or title eq "manager"', 'not ({}:department pr) or title eq "manager"'),
        (
            'MANAGER.value eq "x" and emails[type eq "department"]',
            '{}:MANAGER.value eq "x" and emails[type eq "department"]',
        ),
    ],
)
def test_entra_names_an_extension_s_attribute_without_its_urn_in_filters(filter, formed):
    found, used = dialects.filter_in_rfc_form(filter, [USER], HELD)
    assert (found, used) == (formed.format(ENTERPRISE_USER), {"extension_without_urn_in_filter"})
    with pytest.raises(InvalidFilter, match="allow extension_without_urn_in_filter"):
        dialects.filter_in_rfc_form(filter, [USER], dialects.POLICIES["rfc"])


def test_a_filter_that_only_mentions_an_extension_s_attribute_took_nothing():
    for text in ('title eq "manager"', f'{ENTERPRISE_USER}:manager eq "x"', 'displayName eq "department"'):
        assert dialects.filter_in_rfc_form(text, [USER, GROUP], dialects.POLICIES["rfc"]) == (text, frozenset())
    assert dialects.filter_in_rfc_form("manager pr", [GROUP]) == ("manager pr", frozenset()), "a group has none"


@pytest.mark.parametrize("policy", ["rfc", "entra"])
def test_a_urn_that_begins_with_another_and_a_dot_is_itself(policy):
    schemas = [Schema(urn, "B", "", (Attribute("code"),)) for urn in ("urn:x:badge:2", "urn:x:badge:2.0")]
    type = extended([Extension(each) for each in schemas]).user
    for path, value in (("urn:x:badge:2.0:code", "a"), ("urn:x:badge:2.0", {"code": "a"})):
        operation = {"op": "add", "path": path, "value": value}
        document, _, used = patched(BABS, type, operation, tolerances=dialects.POLICIES[policy])
        assert (document["urn:x:badge:2.0"], used) == ({"code": "a"}, frozenset())
    wrong = {"op": "add", "path": "urn:x:badge:2.0.code", "value": "a"}
    if policy == "entra":
        assert patched(BABS, type, wrong)[0]["urn:x:badge:2.0"] == {"code": "a"}
    else:
        with pytest.raises(InvalidPath):
            patched(BABS, type, wrong, tolerances=dialects.POLICIES[policy])


def test_a_leaver_is_one_behind_a_dot_too():
    for key in (f"{CORE_USER}.active", f"{CORE_USER.upper()}.ACTIVE"):
        for operation in ({"op": "replace", "path": key, "value": False}, {"op": "replace", "value": {key: False}}):
            document, _, used = patched(BABS, USER, operation)
            assert document["active"] is False and used & {"extension_with_dot", "dotted_and_urn_keys"}
        body = {"schemas": [CORE_USER], "userName": "b", key: False}
        assert canonical(dialects.document_in_rfc_form(body, USER, dialects.TOLERANT)[0], USER)["active"] is False
        with pytest.raises(InvalidSyntax):
            dialects.document_in_rfc_form(body, USER, dialects.POLICIES["rfc"])
    guides, *_ = patched(GUIDES, GROUP, {"op": "replace", "path": f"{CORE_GROUP}.displayName", "value": "G"})
    assert guides["displayName"] == "G"
