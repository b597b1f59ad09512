"""What must hold of PATCH whatever is sent: RFC 7644 section 3.5.2."""

import copy

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.core.resource import canonical, unflatten
from syncd.core.schema import CORE_USER, ENTERPRISE_USER, GROUP, USER
from syncd.errors import SyncdError
from syncd.scim import dialects
from syncd.scim.members import split_members
from syncd.scim.messages import ABSENT, Operation
from syncd.scim.patch import apply_patch, looked_at
from syncd.scim.statements import difference

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=6)
types = st.sampled_from(["work", "home", "other"])
elements = st.fixed_dictionaries({"value": text}, optional={"type": types, "display": text, "primary": st.booleans()})


def _key(element):
    return element["value"].casefold(), element.get("type")


lists = st.lists(elements, max_size=4, unique_by=_key).filter(
    lambda found: sum(e.get("primary", False) for e in found) < 2
)
names = st.dictionaries(st.sampled_from(["givenName", "familyName", "formatted"]), text, min_size=1)
bodies = st.fixed_dictionaries(
    {"userName": text.filter(str.strip)},
    optional={
        "name": names,
        "active": st.booleans(),
        "title": text,
        "emails": lists,
        "phoneNumbers": lists,
        "addresses": st.lists(st.fixed_dictionaries({"type": types, "locality": text}), max_size=2),
        ENTERPRISE_USER: st.fixed_dictionaries(
            {}, optional={"department": text, "manager": st.fixed_dictionaries({"value": text})}
        ),
    },
)


@st.composite
def documents(draw):
    """A stored user: nested, canonical, with an id."""
    values = canonical(draw(bodies), USER)
    return unflatten(values, USER) | {"id": "u1", "meta": {"resourceType": "User"}}


paths = st.sampled_from(
    [
        "userName", "name", "name.givenName", "NAME.familyname", "active", "title", "emails", "emails.value",
        'emails[type eq "work"]', 'emails[type eq "work"].value', 'emails[primary eq "True"].value', "emails[value pr].primary",
        'phoneNumbers[type eq "home" or value co "1"].type', 'addresses[type eq "other"].Formatted', "groups", "id", "meta",
        "schemas", ENTERPRISE_USER, f"{ENTERPRISE_USER}:manager", f"{ENTERPRISE_USER}:manager.value", "manager", "members",
        'members[value eq "a"]', f"{CORE_USER}:title", "", "nosuch", "emails[", "emails[type eq", "emails[].value", "[",
    ]
)  # fmt: skip
json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["True", "False", "{}", '{"value":"x"}']),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["value", "type", "primary", "display", "$ref", "givenName", "id", "schemas", "x"]) | paths,
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
junk = st.builds(
    Operation,
    st.sampled_from(["add", "remove", "replace", "Add", "Remove", "Replace"]),
    st.none() | paths | st.text(max_size=6),
    st.just(ABSENT) | json | elements | lists | names,
)


@given(documents(), st.lists(junk, max_size=4))
def test_no_operation_mutates_the_input_or_raises_anything_but_our_errors(document, operations):
    before, sent = copy.deepcopy(document), copy.deepcopy(operations)
    try:
        in_rfc_form, _ = dialects.patch_in_rfc_form(operations, document, USER)
        after = apply_patch(document, in_rfc_form, USER)
    except SyncdError as exc:
        assert 400 <= exc.status < 500
        assert exc.detail.encode()
    else:
        # What comes out is a right document, and canonical already.
        assert unflatten(canonical(after, USER), USER) == {k: v for k, v in after.items() if k not in ("id", "meta")}
        assert [after["id"], after["meta"]] == [before["id"], before["meta"]]
    assert document == before
    assert repr(operations) == repr(sent)


@given(documents(), st.lists(junk, max_size=4), st.sampled_from(dialects.NAMES))
def test_what_a_policy_lets_through_is_the_rfc_s_form(document, operations, policy):
    """Whatever can be applied after one reading is taken as it stands by a reading under `rfc`."""
    held = dialects.POLICIES[policy]
    try:
        formed, used = dialects.patch_in_rfc_form(operations, document, USER, held)
        apply_patch(document, formed, USER)
    except SyncdError as exc:
        assert 400 <= exc.status < 500
        return
    assert used <= held
    again, took = dialects.patch_in_rfc_form(formed, document, USER, dialects.POLICIES["rfc"])
    assert (again, took - {"pathless_patch"}) == (formed, frozenset())


simple = st.builds(
    Operation,
    st.sampled_from(["add", "replace", "Replace"]),
    st.sampled_from(
        ["userName", "NAME.familyName", "title", "active", f"{ENTERPRISE_USER}:department", "id", "emails"]
    ),
    text | st.booleans() | st.sampled_from(["True", "", "{}", None]),
)


def _comes_to(document, operations, policy):
    try:
        formed, used = dialects.patch_in_rfc_form(operations, document, USER, dialects.POLICIES[policy])
        return difference(document, apply_patch(document, formed, USER), formed, USER), used
    except SyncdError as exc:
        return type(exc), exc.detail, None


@given(documents(), st.lists(simple | junk, max_size=3), st.sampled_from(dialects.NAMES))
def test_the_members_that_are_looked_at_are_enough(document, operations, policy):
    members = looked_at(operations, USER)
    part = document if members is None else {name: document[name] for name in members if name in document}
    assert _comes_to(part, operations, policy) == _comes_to(document, operations, policy)


@given(documents(), st.lists(simple, min_size=1, max_size=3), st.sampled_from(dialects.NAMES))
def test_what_is_in_rfc_form_at_a_glance_is_what_every_form_leaves_alone(document, operations, policy):
    last = Operation("remove", "nickName")  # with it nothing is read at a glance
    try:
        formed, used = dialects.patch_in_rfc_form([*operations, last], document, USER, dialects.POLICIES[policy])
    except SyncdError as exc:
        with pytest.raises(type(exc)):
            dialects.patch_in_rfc_form(operations, document, USER, dialects.POLICIES[policy])
        return
    assert formed[-1] == last
    assert dialects.patch_in_rfc_form(operations, document, USER, dialects.POLICIES[policy]) == (formed[:-1], used)


@given(documents(), st.lists(junk, max_size=3))
def test_without_tolerances_too(document, operations):
    try:
        apply_patch(document, operations, USER)
    except SyncdError as exc:
        assert exc.detail.startswith("Operations[")


@given(st.lists(junk, max_size=4))
def test_members_of_junk(operations):
    group = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "id": "g1", "displayName": "G"}
    try:
        in_rfc_form, _ = dialects.patch_in_rfc_form(operations, group, GROUP)
        others, edits = split_members(in_rfc_form)
        after = apply_patch(group, others, GROUP)
    except SyncdError as exc:
        assert 400 <= exc.status < 500
    else:
        assert "members" not in after
        assert all(edit.ids if edit.kind != "clear" else not edit.ids for edit in edits)


@given(
    documents(),
    st.sampled_from(["userName", "title", "name.givenName", f"{ENTERPRISE_USER}:department"]),
    text.filter(str.strip),
)
def test_a_replace_sent_again_changes_nothing(document, path, value):
    operation = Operation("replace", path, value)
    once = apply_patch(document, [operation], USER)
    assert apply_patch(once, [operation], USER) == once


@given(documents(), lists)
def test_a_list_replaced_or_added_again_changes_nothing(document, value):
    for kind in ("replace", "add"):
        operation = Operation(kind, "emails", value)
        once = apply_patch(document, [operation], USER)
        assert apply_patch(once, [operation], USER) == once


@given(documents(), elements)
def test_what_was_added_can_be_removed(document, element):
    held = {_key(each) for each in document.get("emails", [])}
    unlike = element | {"value": element["value"] + "@new.example", "primary": False}
    if _key(unlike) in held:
        return
    added = apply_patch(document, [Operation("add", "emails", [unlike])], USER)
    assert unlike in added["emails"]
    remove = Operation("remove", f"emails[value eq {orjson.dumps(unlike['value']).decode()}]")
    assert apply_patch(added, [remove], USER) == document
