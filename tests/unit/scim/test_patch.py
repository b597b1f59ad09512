"""RFC 7644 section 3.5.2, rule by rule; the refusals name the operation."""

import copy

import pytest

from syncd.core.schema import (
    CORE_GROUP,
    CORE_USER,
    ENTERPRISE_USER,
    GROUP,
    SYNCD_USER,
    USER,
    Attribute,
    ResourceType,
    Schema,
    Type,
)
from syncd.core.schema import (
    Mutability as Mutable,
)
from syncd.errors import InvalidFilter, InvalidPath, InvalidSyntax, InvalidValue, Mutability, NoTarget, TooLarge
from syncd.scim.messages import ABSENT, Operation
from syncd.scim.patch import apply_patch

WORK = {"value": "bjensen@example.com", "type": "work", "primary": True}
HOME = {"value": "babs@jensen.org", "type": "home"}
BABS = {
    "schemas": [CORE_USER, ENTERPRISE_USER],
    "id": "2819c223",
    "userName": "bjensen",
    "name": {"givenName": "Barbara", "familyName": "Jensen"},
    "active": True,
    "emails": [WORK, HOME],
    "groups": [{"value": "g1", "display": "Tour Guides"}],
    "meta": {"resourceType": "User", "version": 'W/"3"'},
    ENTERPRISE_USER: {"department": "Sales", "manager": {"value": "26118915", "displayName": "John Smith"}},
}


def op(kind, path=None, value=ABSENT, index=0):
    return Operation(kind, path, value, index)


def patched(*operations, document=BABS, resource_type=USER):
    before = copy.deepcopy(document)
    after = apply_patch(
        document, [Operation(o.op, o.path, o.value, i) for i, o in enumerate(operations)], resource_type
    )
    assert document == before, "the input was changed"
    return after


def babs(**changes):
    """Babs with attributes replaced; None takes one away."""
    return {k: v for k, v in (BABS | changes).items() if v is not None}


ENTERPRISE = BABS[ENTERPRISE_USER]


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        # 3.5.2.1 add
        (op("add", "nickName", "Babs"), babs(nickName="Babs")),
        (op("add", "userName", "babs"), babs(userName="babs")),
        (op("add", "name", {"middleName": "J"}), babs(name=BABS["name"] | {"middleName": "J"})),
        (op("add", "name.middleName", "J"), babs(name=BABS["name"] | {"middleName": "J"})),
        (
            op("add", "emails", [{"value": "x@y", "type": "other"}]),
            babs(emails=[WORK, HOME, {"value": "x@y", "type": "other"}]),
        ),
        (op("add", "emails", {"value": "x@y"}), babs(emails=[WORK, HOME, {"value": "x@y"}])),
        (op("add", 'emails[type eq "home"]', {"display": "B"}), babs(emails=[WORK, HOME | {"display": "B"}])),
        (op("add", 'emails[type eq "home"].value', "n@h"), babs(emails=[WORK, HOME | {"value": "n@h"}])),
        (
            op("add", None, {"emails": [{"value": "x@y"}], "nickname": "Babs"}),
            babs(emails=[WORK, HOME, {"value": "x@y"}], nickName="Babs"),
        ),
        # 3.5.2.2 remove
        (op("remove", "active"), babs(active=None)),
        (op("remove", "emails"), babs(emails=None)),
        (op("remove", "name"), babs(name=None)),
        (op("remove", "name.givenName"), babs(name={"familyName": "Jensen"})),
        (op("remove", 'emails[type eq "work"]'), babs(emails=[HOME])),
        (op("remove", 'emails[type eq "work" and value ew "example.com"]'), babs(emails=[HOME])),
        (op("remove", "emails[value pr]"), babs(emails=None)),
        (op("remove", 'emails[type eq "work"].primary'), babs(emails=[{"value": WORK["value"], "type": "work"}, HOME])),
        (op("remove", 'emails[type eq "home"].value'), babs(emails=[WORK])),
        (op("remove", ENTERPRISE_USER), babs(schemas=[CORE_USER]) | {}),
        (op("remove", f"{ENTERPRISE_USER}:department"), babs(**{ENTERPRISE_USER: {"manager": ENTERPRISE["manager"]}})),
        (op("remove", f"{ENTERPRISE_USER}:manager"), babs(**{ENTERPRISE_USER: {"department": "Sales"}})),
        (op("remove", f"{ENTERPRISE_USER}:manager.value"), babs(**{ENTERPRISE_USER: {"department": "Sales"}})),
        # 3.5.2.3 replace
        (op("replace", "userName", "babs"), babs(userName="babs")),
        (op("replace", "nickName", "Babs"), babs(nickName="Babs")),
        (op("replace", "emails", [{"value": "x@y"}]), babs(emails=[{"value": "x@y"}])),
        (op("replace", "emails", []), babs(emails=None)),
        (op("replace", "emails", None), babs(emails=None)),
        (op("replace", "name", {"givenName": "Babs"}), babs(name={"givenName": "Babs", "familyName": "Jensen"})),
        (op("replace", "name", {"givenName": None}), babs(name={"familyName": "Jensen"})),
        (op("replace", "name.givenName", "Babs"), babs(name={"givenName": "Babs", "familyName": "Jensen"})),
        (op("replace", 'emails[type eq "work"].value', "n@w"), babs(emails=[WORK | {"value": "n@w"}, HOME])),
        (
            op("replace", 'emails[type eq "work"]', {"value": "n@w"}),
            babs(emails=[{"type": "work", "value": "n@w"}, HOME]),
        ),
        (
            op("replace", None, {"active": False, "name": {"givenName": "B"}}),
            babs(active=False, name={"givenName": "B", "familyName": "Jensen"}),
        ),
        (
            op("replace", None, {"name.givenName": "B", f"{ENTERPRISE_USER}:department": "HR"}),
            babs(
                name={"givenName": "B", "familyName": "Jensen"}, **{ENTERPRISE_USER: ENTERPRISE | {"department": "HR"}}
            ),
        ),
        (
            op("replace", None, {ENTERPRISE_USER: {"department": "HR"}}),
            babs(**{ENTERPRISE_USER: ENTERPRISE | {"department": "HR"}}),
        ),
        (
            op("replace", ENTERPRISE_USER, {"department": None}),
            babs(**{ENTERPRISE_USER: {"manager": ENTERPRISE["manager"]}}),
        ),
        # a new manager does not keep the old one's derived name
        (
            op("replace", f"{ENTERPRISE_USER}:manager", {"value": "9"}),
            babs(**{ENTERPRISE_USER: ENTERPRISE | {"manager": {"value": "9"}}}),
        ),
        (
            op("replace", f"{ENTERPRISE_USER}:manager.value", "9"),
            babs(**{ENTERPRISE_USER: ENTERPRISE | {"manager": {"value": "9"}}}),
        ),
        # one primary only, section 3.5.2
        (
            op("add", "emails", [{"value": "x@y", "primary": True}]),
            babs(emails=[WORK | {"primary": False}, HOME, {"value": "x@y", "primary": True}]),
        ),
        (
            op("replace", 'emails[type eq "home"].primary', True),
            babs(emails=[WORK | {"primary": False}, HOME | {"primary": True}]),
        ),
        # the same value and type is the same element; letter case does not make another
        (
            op("add", "emails", [HOME | {"value": "BABS@jensen.org", "display": "B"}]),
            babs(emails=[WORK, HOME | {"display": "B"}]),
        ),
    ],
)
def test_rules_of_the_rfc(operation, expected):
    if operation.path == ENTERPRISE_USER and operation.kind == "remove":
        expected = {k: v for k, v in expected.items() if k != ENTERPRISE_USER}
    assert patched(operation) == expected


@pytest.mark.parametrize(
    "operation",
    [
        op("add", "userName", "bjensen"),
        op("add", "emails", [HOME]),
        op("add", "emails", []),
        op("add", "emails", [HOME | {"value": "BABS@JENSEN.ORG"}]),
        op("add", "nickName", None),
        op("add", "name", {"givenName": "Barbara"}),
        op("replace", "active", True),
        op("replace", "emails", [WORK, HOME]),
        op("replace", "name", {}),
        op("replace", f"{ENTERPRISE_USER}:manager", {"value": "26118915"}),
        op("replace", f"{ENTERPRISE_USER}:manager.displayName", "John Smith"),
        op("replace", "id", "2819c223"),
        op("replace", None, {"id": "2819c223", "meta": {"version": 'W/"3"'}}),
        op("replace", "groups", [{"value": "g1", "display": "Tour Guides"}]),
        op("replace", None, {"schemas": [CORE_USER], "unknownAttribute": 1}),
        op("remove", "nickName"),
        op("remove", 'emails[type eq "fax"]'),
        op("remove", 'emails[type eq "fax"].value'),
        op("remove", "emails.display"),
        op("remove", SYNCD_USER),
    ],
)
def test_what_changes_nothing_gives_an_equal_document(operation):
    assert patched(operation) == BABS


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        (op("remove"), NoTarget),
        (op("replace", 'emails[type eq "fax"].value', "x"), NoTarget),
        (op("replace", 'emails[type eq "fax"]', {"value": "x"}), NoTarget),
        (op("add", 'emails[type eq "fax"].value', "x"), NoTarget),
        (op("add", 'phoneNumbers[type eq "fax"].value', "x"), NoTarget),
        (op("replace", "nosuch", 1), InvalidPath),
        (op("replace", "emails.value", "x"), InvalidPath),
        (op("replace", "emails[nosuch eq 1]", {}), InvalidFilter),
        (op("add", "nickName"), InvalidValue),
        (op("add"), InvalidValue),
        (op("add", None, "text"), InvalidValue),
        (op("add", "nickName", 1), InvalidValue),
        (op("add", "nickName", ["a", "b"]), InvalidValue),
        (op("add", "name", "Barbara"), InvalidValue),
        (op("replace", "active", "yes"), InvalidValue),
        (op("replace", "emails", [WORK, HOME | {"primary": True}]), InvalidValue),
        (op("replace", "emails[value pr].primary", True), InvalidValue),
        (op("replace", 'emails[type eq "work"]', [WORK, HOME]), InvalidValue),
        (op("replace", 'emails[type eq "work"]', {}), InvalidValue),
        (op("remove", "emails", [{"value": "x"}]), InvalidValue),
        (op("remove", "emails.value", "x"), InvalidValue),
        (op("replace", "userName", "  "), InvalidValue),
        (op("replace", ENTERPRISE_USER, "text"), InvalidValue),
        (op("remove", "userName"), Mutability),
        (op("replace", "userName", None), Mutability),
        (op("replace", "id", "other"), Mutability),
        (op("remove", "id"), Mutability),
        (op("replace", None, {"id": "other"}), Mutability),
        (op("add", "groups", [{"value": "g2"}]), Mutability),
        (op("replace", "meta.version", "x"), Mutability),
        (op("replace", f"{ENTERPRISE_USER}:manager.displayName", "x"), Mutability),
        (op("add", f"{SYNCD_USER}:status", "active"), Mutability),
        (op("remove", "schemas"), Mutability),
        (op("replace", "schemas", []), Mutability),
        (op("replace", None, {"schemas": None}), Mutability),
    ],
)
def test_refusals(operation, error):
    with pytest.raises(error) as caught:
        patched(op("replace", "title", "Guide"), operation)
    assert type(caught.value) is error
    assert caught.value.detail.startswith("Operations[1] (")


def test_unknown_names_in_values_can_be_refused():
    with pytest.raises(InvalidSyntax, match="favouriteColour"):
        apply_patch(BABS, [op("replace", None, {"favouriteColour": "red"})], USER, "refuse")
    with pytest.raises(InvalidSyntax, match="nosuch"):
        apply_patch(BABS, [op("replace", "name", {"nosuch": "red"})], USER, "refuse")


def test_operations_see_what_those_before_them_did():
    after = patched(
        op("remove", 'emails[type eq "work"]'),
        op("replace", "emails.value", "only@one"),
        op("Add", "emails", [{"value": "two@two", "type": "work"}]),
        op("REPLACE", 'emails[type eq "work"].display', "Two"),
    )
    assert after["emails"] == [
        {"value": "only@one", "type": "home"},
        {"value": "two@two", "type": "work", "display": "Two"},
    ]


def test_a_sub_attribute_of_an_empty_list_makes_its_first_value():
    assert patched(op("add", "photos.value", "https://example.com/p"))["photos"] == [{"value": "https://example.com/p"}]


def test_values_that_become_the_same_are_one():
    """RFC 7643 section 2.4: the same value and type SHOULD NOT be returned twice."""
    same = op("replace", 'emails[type eq "work" or type eq "home"]', {"value": "b@x.org"})
    assert patched(same)["emails"] == [{"value": "b@x.org"}]
    three = babs(emails=[{"value": "a", "type": "x"}, {"value": "b"}, {"type": "y", "value": "a"}])
    typed = op("replace", 'emails[value eq "a"].type', "z")
    assert patched(typed, document=three)["emails"] == [{"value": "a", "type": "z"}, {"value": "b"}]


def test_an_extension_that_gets_its_first_value_is_named_in_schemas():
    bare = {"schemas": [CORE_USER], "id": "1", "userName": "a"}
    after = patched(op("add", f"{ENTERPRISE_USER}:department", "Sales"), document=bare)
    assert after == bare | {"schemas": [CORE_USER, ENTERPRISE_USER], ENTERPRISE_USER: {"department": "Sales"}}
    assert patched(op("remove", f"{ENTERPRISE_USER}:department"), document=after) == bare


def test_an_immutable_part_of_a_member_is_not_edited():
    group = {"schemas": [CORE_GROUP], "id": "g", "displayName": "G", "members": [{"value": "u1", "type": "User"}]}
    same = op("replace", 'members[value eq "u1"].type', "User")
    assert patched(same, document=group, resource_type=GROUP) == group
    with pytest.raises(Mutability, match=r"members\.value is immutable"):
        patched(op("replace", 'members[value eq "u1"].value', "u2"), document=group, resource_type=GROUP)
    other = op("replace", "members", [{"value": "u2"}])
    assert patched(other, document=group, resource_type=GROUP)["members"] == [{"value": "u2"}]


def test_a_failed_request_changes_nothing_and_the_message_helps():
    before = copy.deepcopy(BABS)
    with pytest.raises(NoTarget) as caught:
        apply_patch(
            BABS,
            [op("remove", "emails"), op("replace", 'emails[type eq "work"].value', "x", index=1)],
            USER,
        )
    assert before == BABS
    assert caught.value.detail == (
        'Operations[1] (replace emails[type eq "work"].value): no value of emails matches: '
        "add the whole value with path emails"
    )


def test_a_request_that_would_look_at_too_many_values_is_refused():
    stored = BABS | {"emails": [{"value": f"{i}@example.com"} for i in range(10_000)]}
    few = [op("add", "emails", [{"value": f"new{i}@example.com"}]) for i in range(3)]
    assert len(apply_patch(stored, few, USER)["emails"]) == 10_003
    many = [op("remove", 'emails[value eq "nosuch"]', index=i) for i in range(100)]
    with pytest.raises(TooLarge, match=r"Operations\[60\].* 10000 values, too many for so many operations"):
        apply_patch(stored, many, USER)


# What no built-in schema has: a list of plain values, an attribute set once, a required part.
EXAMPLE = "urn:example:2.0:Badge"
BADGE = Schema(
    EXAMPLE,
    "Badge",
    "",
    (
        Attribute("tags", multi_valued=True),
        Attribute("serial", mutability=Mutable.IMMUTABLE),
        Attribute(
            "keys",
            Type.COMPLEX,
            multi_valued=True,
            sub_attributes=(Attribute("value", required=True), Attribute("door", mutability=Mutable.IMMUTABLE)),
        ),
    ),
)
BADGED = ResourceType("User", "/Users", "", USER.schema, (*USER.extensions, (BADGE, False)))


def badge(**held):
    schemas = [CORE_USER, EXAMPLE] if held else [CORE_USER]
    return {"schemas": schemas, "userName": "a"} | ({EXAMPLE: held} if held else {})


@pytest.mark.parametrize(
    ("section", "before", "operation", "after"),
    [
        ("3.5.2.1: a new value is added", {"tags": ["a"]}, op("add", "tags", ["b", "A"]), {"tags": ["a", "b"]}),
        ("3.5.2.1: has no value, is added", {}, op("add", "tags", "a"), {"tags": ["a"]}),
        (
            "3.5.2.2: values matched are removed",
            {"tags": ["a", "b"]},
            op("remove", 'tags[value eq "A"]'),
            {"tags": ["b"]},
        ),
        ("3.5.2.2: no other values remain", {"tags": ["a"]}, op("remove", 'tags[value sw "a"]'), {}),
        ("3.5.2.2: nothing matched, no change", {"tags": ["a"]}, op("remove", 'tags[value eq "x"]'), {"tags": ["a"]}),
        (
            "3.5.2.3: matching values are replaced",
            {"tags": ["a", "b"]},
            op("replace", 'tags[value eq "b"]', "c"),
            {"tags": ["a", "c"]},
        ),
        ("3.5.2.3: by one that is there", {"tags": ["a", "b"]}, op("replace", "tags[value pr]", "b"), {"tags": ["b"]}),
        ("3.5.2: added if it had no value", {}, op("add", "serial", "7"), {"serial": "7"}),
        ("3.5.2.1: contains the value already", {"serial": "7"}, op("replace", "serial", "7"), {"serial": "7"}),
        ("3.5.2.2: whole extension", {"tags": ["a"]}, op("remove", EXAMPLE), {}),
        (
            "3.5.2.3: as an add",
            {},
            op("replace", EXAMPLE, {"tags": ["a"], "serial": "7"}),
            {"tags": ["a"], "serial": "7"},
        ),
        (
            "3.5.2: a part of an immutable one",
            {"keys": [{"value": "k"}]},
            op("add", 'keys[value eq "k"].door', "1"),
            {"keys": [{"value": "k", "door": "1"}]},
        ),
    ],
)
def test_rules_that_only_other_schemas_meet(section, before, operation, after):
    full = operation if operation.path == EXAMPLE else op(operation.op, f"{EXAMPLE}:{operation.path}", operation.value)
    assert patched(full, document=badge(**before), resource_type=BADGED) == badge(**after), section


@pytest.mark.parametrize(
    ("section", "before", "operation", "error"),
    [
        ("3.5.2.3: no record match", {"tags": ["a"]}, op("replace", 'tags[value eq "x"]', "y"), NoTarget),
        ("3.5.2: must not modify immutable", {"serial": "7"}, op("replace", "serial", "8"), Mutability),
        ("3.5.2: nor take it away", {"serial": "7"}, op("remove", "serial"), Mutability),
        ("3.5.2: with the whole extension", {"serial": "7"}, op("remove", ""), Mutability),
        (
            "3.5.2: nor a part of one",
            {"keys": [{"value": "k", "door": "1"}]},
            op("replace", "keys[value pr].door", "2"),
            Mutability,
        ),
        (
            "3.5.2.2: a required part",
            {"keys": [{"value": "k", "door": "1"}]},
            op("remove", "keys[value pr].value"),
            Mutability,
        ),
        ("table 9: a required value is missing", {}, op("add", "keys", [{"door": "1"}]), InvalidValue),
        (
            "figure 7: a list of values has no parts",
            {"tags": ["a"]},
            op("replace", 'tags[value eq "a"].value', "b"),
            InvalidPath,
        ),
        ("figure 7: no filter of a single value", {"serial": "7"}, op("remove", 'serial[value eq "7"]'), InvalidPath),
        ("2.3.1 of RFC 7643: schema", {}, op("add", "tags", [7]), InvalidValue),
        ("table 9: filter", {"tags": ["a"]}, op("remove", 'tags[type eq "a"]'), InvalidFilter),
    ],
)
def test_refusals_that_only_other_schemas_meet(section, before, operation, error):
    path = f"{EXAMPLE}:{operation.path}" if operation.path else EXAMPLE
    with pytest.raises(error) as caught:
        patched(op(operation.op, path, operation.value), document=badge(**before), resource_type=BADGED)
    assert type(caught.value) is error, section


def test_add_appends_to_a_list_within_a_complex_value_and_replace_sets_it():
    """RFC 9967's `eventUris` is such a list: a multi-valued simple part."""
    desk = Attribute("desk", Type.COMPLEX, sub_attributes=(Attribute("room"), Attribute("keys", multi_valued=True)))
    sets = (Attribute("value"), Attribute("keys", multi_valued=True))
    many = Attribute("desks", Type.COMPLEX, multi_valued=True, sub_attributes=sets)
    kind = ResourceType("Thing", "/Things", "", Schema("urn:x:Thing", "Thing", "", (desk, many)))
    start = {"schemas": ["urn:x:Thing"], "desk": {"room": "1", "keys": ["a"]}, "desks": [{"value": "x", "keys": ["a"]}]}

    def desk_after(*operations):
        return patched(*operations, document=start, resource_type=kind)["desk"]

    both = {"room": "1", "keys": ["a", "b"]}
    assert desk_after(op("add", "desk.keys", ["A", "b"])) == both
    assert (
        desk_after(op("add", "desk", {"keys": ["b"]})) == both == desk_after(op("add", None, {"desk": {"keys": ["b"]}}))
    )
    assert desk_after(op("replace", "desk.keys", ["b"])) == {"room": "1", "keys": ["b"]}
    assert desk_after(op("replace", "desk", {"keys": ["b"]})) == {"room": "1", "keys": ["b"]}
    selected = [op("add", 'desks[value eq "x"].keys', ["b"]), op("add", 'desks[value eq "x"]', {"keys": ["b"]})]
    for each in selected:
        found = patched(each, document=start, resource_type=kind)["desks"]
        assert found == [{"value": "x", "keys": ["a", "b"]}]


def test_elements_without_a_value_of_their_own_are_told_apart_by_all_their_parts_lists_too():
    """A list within an element was a 500."""
    parts = (Attribute("plate"), Attribute("seats", multi_valued=True))
    cars = Attribute("cars", Type.COMPLEX, multi_valued=True, sub_attributes=parts)
    kind = ResourceType("Thing", "/Things", "", Schema("urn:x:Thing", "Thing", "", (cars,)))
    start = {"schemas": ["urn:x:Thing"], "cars": [{"plate": "A", "seats": ["front"]}]}
    added = patched(
        op("add", "cars", [{"plate": "a", "seats": ["Front"]}, {"plate": "A", "seats": ["back"]}]),
        document=start,
        resource_type=kind,
    )
    assert added["cars"] == [{"plate": "a", "seats": ["Front"]}, {"plate": "A", "seats": ["back"]}]


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (op("add", 'emails[type eq "home"].display', "x"), [{"type": "home", "display": "x"}, {"type": "work"}]),
        (op("replace", 'emails[type eq "home"].primary', True), [{"type": "home", "primary": True}, {"type": "work"}]),
        (op("remove", 'emails[type eq "home"].type'), [{"type": "work"}]),
    ],
)
def test_an_element_that_was_a_description_only_is_not_taken_away_by_what_adds_to_it(operation, expected):
    described = babs(emails=[{"type": "home"}, {"type": "work"}])
    assert patched(operation, document=described) == described | {"emails": expected}


def test_adding_a_list_as_it_is_shown_changes_nothing_though_values_of_it_are_alike():
    """RFC 7644 section 3.5.2.1: "If the value already exists, no changes SHALL be made"."""
    alike = babs(emails=[{"value": "a", "primary": True}, {"value": "a", "display": "x"}, {"value": "a"}])
    assert patched(op("add", "emails", alike["emails"]), document=alike) == alike
    added = patched(op("add", "emails", {"value": "A", "primary": True}), document=alike)
    assert [each.get("primary") for each in added["emails"]] == [False, None, True]
