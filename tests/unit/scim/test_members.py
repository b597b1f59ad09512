"""A group's members change by deltas; whoever is not named by id is for the store to find."""

import pytest

from syncd.core.schema import CORE_GROUP
from syncd.errors import InvalidFilter, InvalidPath, InvalidValue, Mutability
from syncd.scim.members import MemberEdit, split_members
from syncd.scim.messages import ABSENT, Operation


def op(kind, path=None, value=ABSENT, index=0):
    return Operation(kind, path, value, index)


@pytest.mark.parametrize(
    ("operation", "edits"),
    [
        (op("add", "members", [{"value": "a"}, {"value": "b", "display": "B"}]), [("add", "a", "b")]),
        (op("Add", "MEMBERS", [{"Value": "a"}, {"value": "a"}]), [("add", "a")]),
        (op("add", f"{CORE_GROUP}:members", [{"value": "a"}]), [("add", "a")]),
        (op("add", "members", {"value": "a"}), [("add", "a")]),
        (op("add", "members", ["a"]), [("add", "a")]),
        (op("add", "members", []), []),
        (op("add", "members", None), []),
        (op("remove", 'members[value eq "a"]'), [("remove", "a")]),
        (op("remove", 'Members[Value EQ "A"]'), [("remove", "A")]),
        (op("remove", r'members[value eq "a\"b"]'), [("remove", 'a"b')]),
        (op("remove", 'members[value eq "a" or value eq "b"]'), [("remove", "a", "b")]),
        (op("remove", "members"), [("clear",)]),
        (op("remove", "members", None), [("clear",)]),
        (op("replace", "members", [{"value": "a"}]), [("replace", "a")]),
        (op("replace", "members", []), [("clear",)]),
        (op("replace", "members", None), [("clear",)]),
        (op("replace", None, {"members": [{"value": "a"}]}), [("replace", "a")]),
        (op("add", None, {"Members": [{"value": "a"}]}), [("add", "a")]),
    ],
)
def test_edits(operation, edits):
    assert split_members([operation]) == ((), tuple(MemberEdit(kind, tuple(ids)) for kind, *ids in edits))


def test_the_rest_of_the_request_stays():
    rename = op("replace", "displayName", "G")
    both = op("replace", None, {"displayName": "H", "members": []}, 1)
    others, edits = split_members([rename, both, op("add", "members", ["a"], 2)])
    assert others == (rename, op("replace", None, {"displayName": "H"}, 1))
    assert edits == (MemberEdit("clear"), MemberEdit("add", ("a",)))


def test_what_does_not_name_members_passes_untouched():
    operations = (op("replace", None, {}), op("remove"), op("add", None, "x"), op("replace", "nosuch", 1))
    assert split_members(operations) == (operations, ())


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        (op("remove", 'members[nosuch eq "x"]'), InvalidFilter),
        (op("remove", "members[value eq 1]"), InvalidFilter),
        (op("remove", "members[value eq"), InvalidPath),
        (op("remove", 'members[value eq "\n\0"]'), InvalidFilter),
        (op("remove", "members.value"), InvalidPath),
        (op("add", "members.value", "x"), InvalidPath),
        (op("remove", 'members[value eq "x"].value'), Mutability),
        (op("replace", 'members[value eq "x"].display', "y"), Mutability),
        (op("replace", 'members[value eq "x"]'), InvalidValue),
        (op("replace", 'members[value eq "x"]', []), InvalidValue),
        (op("replace", 'members[value eq "x"]', ["y", "z"]), InvalidValue),
        (op("add", 'members[value eq "x"]', "y"), InvalidValue),
        (op("add", 'members[value eq "x"]', {"nosuch": "y"}), InvalidValue),
        (op("replace", 'members[value eq "x"].type', None), InvalidValue),
        (op("remove", "members", [{"value": "x"}]), InvalidValue),
        (op("add", "members"), InvalidValue),
        (op("add", "members", [{"display": "x"}]), InvalidValue),
        (op("add", "members", [{"value": 1}]), InvalidValue),
        (op("add", "members", [{"value": ""}]), InvalidValue),
        (op("add", "members", [None]), InvalidValue),
        (op("replace", "members", [{"value": "a\0"}]), InvalidValue),
        (op("replace", "members", 7), InvalidValue),
    ],
)
def test_refusals_name_the_operation(operation, error):
    with pytest.raises(error) as caught:
        split_members([op("add", "members", ["a"]), Operation(operation.op, operation.path, operation.value, 1)])
    assert caught.value.detail.startswith("Operations[1] (")


@pytest.mark.parametrize(
    "text",
    [
        'display eq "x"',
        'value ne "x"',
        'value eq "x" and type eq "User"',
        'not (value eq "x")',
        "value eq null",
        'type eq "Group"',
    ],
)
def test_whom_another_filter_selects_is_left_to_the_store(text):
    (others, (edit,)) = split_members([op("remove", f"members[{text}]")])
    assert (others, edit.kind, edit.ids, edit.where.text) == ((), "remove", (), text)


@pytest.mark.parametrize(
    ("operation", "kind", "ids", "parts"),
    [
        (op("replace", 'members[value eq "a"]', {"value": "b", "display": "B"}), "exchange", ("b",), {}),
        (op("replace", 'members[type eq "User"]', [{"value": "b"}]), "exchange", ("b",), {}),
        (op("replace", 'members[value eq "a"].value', "a"), "keep", (), {"value": "a"}),
        (op("add", 'members[value eq "a"].type', "User"), "keep", (), {"type": "user"}),
        (op("add", 'members[value eq "a"]', {"VALUE": "a", "display": "A"}), "keep", (), {"value": "a"}),
    ],
)
def test_selected_members_are_exchanged_or_kept(operation, kind, ids, parts):
    (others, (edit,)) = split_members([operation])
    assert (others, edit.kind, edit.ids, edit.parts) == ((), kind, ids, parts)
