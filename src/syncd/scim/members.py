"""Changes of a group's members as deltas, so that the members themselves are never loaded.

Understood: `members` and `members[filter]` with add, replace and remove, and a `members` key in a path-less value.
`members[value eq "x"]` (and such terms joined by `or`) names its members; who another filter selects is the store's to
say. Only an explicit empty list, null or a bare `remove` empties a group; a malformed list changes nothing.
A member's parts are immutable (RFC 7643 section 4.2): replace puts another member in the place of those selected, and what
is said of their parts may only be what they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from syncd.core import filter as filters
from syncd.core.resource import search_element, shown, this_version
from syncd.core.schema import GROUP
from syncd.core.schema import Mutability as Mutable
from syncd.errors import InvalidPath, InvalidValue, Mutability, SyncdError
from syncd.scim import path as paths
from syncd.scim.messages import ABSENT, Operation
from syncd.scim.patch import at

_ONE_MEMBER = re.compile(
    r'members\[value eq "([^"\\\x00-\x1f]+)"\]', re.IGNORECASE
)  # all that Okta and the dialects make

CANNOT_BE_CHANGED: Final = "a member cannot be changed, only added and removed: remove it and add another"


@dataclass(frozen=True, slots=True)
class MemberEdit:
    """One step, to be applied in order: add or remove `ids`, replace all by `ids`, or clear (`ids` empty).

    Ids are as the client wrote them, each once, in its order; whether they exist is the store's to say. `where`, asked of
    one member in its search form (core.resource.search_element): remove those whom it selects, exchange them for `ids`, or
    keep them, if they have these `parts`. `at`: how a message names the operation.
    """

    kind: Literal["add", "remove", "replace", "clear", "exchange", "keep"]
    ids: tuple[str, ...] = ()
    where: filters.Filter | None = None
    parts: Mapping[str, Any] = field(default_factory=dict)  # canonical names, comparable values
    at: str = field(default="", compare=False)


def split_members(operations: Sequence[Operation]) -> tuple[tuple[Operation, ...], tuple[MemberEdit, ...]]:
    """The operations on a group that do not touch members, and the edits of those that do, each in the client's order.

    An operation that touches both comes apart. Raises InvalidPath, InvalidFilter, InvalidValue or Mutability, the
    message beginning with `Operations[index]`.
    """
    others: list[Operation] = []
    edits: list[MemberEdit] = []
    for operation in operations:
        try:
            rest, found = _split(operation)
        except SyncdError as exc:
            raise type(exc)(f"{at(operation)}: {exc}") from exc
        if rest is not None:
            others.append(rest)
        edits.extend(replace(each, at=at(operation)) for each in found)
    return tuple(others), tuple(edits)


def _split(operation: Operation) -> tuple[Operation | None, list[MemberEdit]]:
    if operation.path is None:
        if operation.kind == "remove" or not isinstance(operation.value, Mapping):
            return operation, []
        rest: dict[str, Any] = {}
        edits: list[MemberEdit] = []
        for key, value in operation.value.items():
            if _is_members(key):
                edits.extend(_edit(replace(operation, path=key, value=value), key))
            else:
                rest[key] = value
        return (replace(operation, value=rest) if rest or not edits else None), edits
    return (None, _edit(operation, operation.path)) if _is_members(operation.path) else (operation, [])


def _is_members(path: str) -> bool:
    found = GROUP.resolve(path.partition("[")[0].strip())
    return found is not None and found.top == "members"


def _edit(operation: Operation, text: str) -> list[MemberEdit]:
    one = _ONE_MEMBER.fullmatch(text)
    if one is not None and operation.kind == "remove":
        return [MemberEdit("remove", (one[1],))]
    path = paths.parse(text, GROUP)
    if path.where is not None:
        if path.sub is not None or operation.kind != "remove":
            return [_of_selected(operation, path, path.where)]
        ids = named_ids(path.where)
        return [MemberEdit("remove", where=path.where) if ids is None else MemberEdit("remove", ids)]
    if path.sub is not None:
        raise InvalidPath(f'{shown(text)} names no member: use path members, or members[value eq "<id>"] with remove')
    value = operation.value
    if operation.kind == "remove":
        if value is not ABSENT and value is not None:
            raise InvalidValue('remove takes no value: select each member by members[value eq "<id>"]')
        return [MemberEdit("clear")]
    if value is ABSENT:
        raise InvalidValue(f"{operation.kind} needs a value: a list of members")
    ids = ids_of(value)
    if operation.kind == "add":
        return [MemberEdit("add", ids)] if ids else []
    return [MemberEdit("replace", ids) if ids else MemberEdit("clear")]


def _of_selected(operation: Operation, path: paths.Path, where: filters.Filter) -> MemberEdit:
    """What is to become of the members that a filter selects, other than that they go (RFC 7644 section 3.5.2.3)."""
    if operation.kind == "remove" or (path.sub is not None and path.sub.attribute.mutability is Mutable.READ_ONLY):
        raise Mutability(CANNOT_BE_CHANGED)
    if operation.value is ABSENT:
        raise InvalidValue(f'{operation.kind} needs a value: a member, such as {{"value": "<id>"}}')
    if operation.kind == "replace" and path.sub is None:
        ids = ids_of(operation.value)
        if len(ids) != 1:
            raise InvalidValue(
                "replace of selected members needs one other member as its value; remove takes them away"
            )
        return MemberEdit("exchange", ids, where)
    given = operation.value if path.sub is None else {path.sub.attribute.name: operation.value}
    if not isinstance(given, Mapping):
        raise InvalidValue('add to selected members needs an object as its value, such as {"value": "<id>"}')
    return MemberEdit("keep", where=where, parts=search_element(path.attribute.attribute, _known_parts(given, path)))


def _known_parts(given: Mapping[str, Any], path: paths.Path) -> dict[str, Any]:
    """Without what is readOnly, which is the server's to say. Raises InvalidValue for what no member has."""
    parts: dict[str, Any] = {}
    for key, value in given.items():
        sub = path.attribute.attribute.sub(key)
        if sub is None or not isinstance(value, str):
            raise InvalidValue(f"a member has no {shown(key)} like that")
        if sub.mutability is not Mutable.READ_ONLY:
            parts[sub.name] = this_version(value) if sub.name == "$ref" else value
    return parts


def ids_of(value: Any) -> tuple[str, ...]:
    """Of a list of members, each once, in its order. null is an empty list; whoever has no id is an error, not nobody."""
    if value is None:
        return ()
    ids: dict[str, None] = {}
    for index, member in enumerate(value if isinstance(value, list) else [value]):
        found = member
        if isinstance(member, Mapping):
            found = next((part for key, part in member.items() if key.lower() == "value"), None)
        if not isinstance(found, str) or not found:
            raise InvalidValue(f'member {index} has no id: each member is an object such as {{"value": "<id>"}}')
        if "\0" in found:
            raise InvalidValue(f"the id of member {index} holds a NUL, which no text may")
        ids[found] = None
    return tuple(ids)


def named_ids(where: filters.Filter) -> tuple[str, ...] | None:
    """The ids, if the filter is nothing but a list of them."""
    tree = filters.parse(where.text)
    ids: dict[str, None] = {}
    for term in tree.terms if isinstance(tree, filters.Or) else (tree,):
        plain = isinstance(term, filters.Comparison) and term.op is filters.Op.EQ and term.path.lower() == "value"
        if not plain or not isinstance(term, filters.Comparison) or not isinstance(term.value, str):
            return None
        ids[term.value] = None
    return tuple(ids)
