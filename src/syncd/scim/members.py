"""Changes of a group's members as deltas, so that the members themselves are never loaded.

Understood: `members` with add, replace and remove, `members[filter]` with remove, and a `members` key in a path-less value.
`members[value eq "x"]` (and such terms joined by `or`) names its members; who another filter selects is the store's to
say. Only an explicit empty list, null or a bare `remove` empties a group; a malformed list changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from syncd.core import filter as filters
from syncd.core.resource import shown
from syncd.core.schema import GROUP
from syncd.errors import InvalidPath, InvalidValue, Mutability, SyncdError
from syncd.scim import path as paths
from syncd.scim.messages import ABSENT, Operation
from syncd.scim.patch import at

_ONE_MEMBER = re.compile(
    r'members\[value eq "([^"\\\x00-\x1f]+)"\]', re.IGNORECASE
)  # all that Okta and the dialects make


@dataclass(frozen=True, slots=True)
class MemberEdit:
    """One step, to be applied in order: add or remove `ids`, replace all by `ids`, or clear (`ids` empty).

    Ids are as the client wrote them, each once, in its order; whether they exist is the store's to say. `where`: remove
    those whom it selects, asked of one member in its search form (core.resource.search_element). `at`: how a message
    names the operation.
    """

    kind: Literal["add", "remove", "replace", "clear"]
    ids: tuple[str, ...] = ()
    where: filters.Filter | None = None
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
            raise Mutability("a member cannot be changed, only added and removed: remove it and add another")
        ids = _named(path.where)
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


def _named(where: filters.Filter) -> tuple[str, ...] | None:
    """The ids, if the filter is nothing but a list of them."""
    tree = filters.parse(where.text)
    ids: dict[str, None] = {}
    for term in tree.terms if isinstance(tree, filters.Or) else (tree,):
        plain = isinstance(term, filters.Comparison) and term.op is filters.Op.EQ and term.path.lower() == "value"
        if not plain or not isinstance(term, filters.Comparison) or not isinstance(term.value, str):
            return None
        ids[term.value] = None
    return tuple(ids)
