"""Forms of whole PATCH operations: each gives the operations that RFC 7644 section 3.5.2 has for it, or None."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import orjson

from syncd.core.resource import shown
from syncd.core.schema import Attribute, Mutability, Resolved, ResourceType, Type
from syncd.errors import InvalidSyntax
from syncd.scim import path as paths
from syncd.scim.dialects.tolerance import Context
from syncd.scim.dialects.values import json_object
from syncd.scim.messages import ABSENT, Operation

Operations: TypeAlias = tuple[Operation, ...]


def pathless_patch(operation: Operation, context: Context) -> Operations | None:
    """RFC 7644 3.5.2.1 has it; the interoperability profile, section 6.5.1.1, does not."""
    return (operation,) if operation.path is None and operation.kind != "remove" else None


def operation_in_any_case(operation: Operation, context: Context) -> Operations | None:
    """`Add` is `add`."""
    return None if operation.op == operation.kind else (replace(operation, op=operation.kind),)


def value_as_json_text(operation: Operation, context: Context) -> Operations | None:
    """The whole value is a string that holds a JSON object."""
    parsed = json_object(operation.value) if operation.path is None else None
    return None if parsed is None else (replace(operation, value=parsed),)


def repeated_read_only(operation: Operation, context: Context) -> Operations | None:
    """`id` as it is stored, and `meta`, among the values. Another id is left, to be refused."""
    stored = context.patch.document.get("id")
    if operation.path is not None and operation.path.strip().lower() == "id" and operation.kind != "remove":
        return () if operation.value == stored else None
    if operation.path is not None or not isinstance(operation.value, Mapping):
        return None
    kept = {
        key: value
        for key, value in operation.value.items()
        if not (key.lower() == "meta" or (key.lower() == "id" and value == stored))
    }
    return None if len(kept) == len(operation.value) else (replace(operation, value=kept),)


def core_schema_as_extension(operation: Operation, context: Context) -> Operations | None:
    """Attributes of the core schema in an object under its URN, as key of a value without a path or as the path itself."""
    if operation.kind == "remove" or not isinstance(operation.value, Mapping):
        return None
    if operation.path is not None:
        whole = operation.path.strip().lower() == context.type.schema.id.lower()
        return (replace(operation, path=None),) if whole else None
    value = unpacked(operation.value, context.type)
    return None if value is None else (replace(operation, value=value),)


def unpacked(body: Mapping[str, Any], type: ResourceType) -> dict[str, Any] | None:
    """Its core attributes beside each other; None: they were. Raises InvalidSyntax if one is there twice."""
    urn = type.schema.id.lower()
    key = next((key for key, value in body.items() if key.lower() == urn and isinstance(value, Mapping)), None)
    if key is None:
        return None
    beside = {name: value for name, value in body.items() if name != key}
    twice = {name.lower() for name in beside} & {name.lower() for name in body[key]}
    if twice:
        raise InvalidSyntax(f"{shown(min(twice))} is given twice: beside {type.schema.id} and in it")
    return {**beside, **body[key]}


def dotted_and_urn_keys(operation: Operation, context: Context) -> Operations | None:
    """A key that is a path becomes an operation with that path."""
    if operation.path is not None or operation.kind == "remove" or not isinstance(operation.value, Mapping):
        return None
    plain: dict[str, Any] = {}
    apart: list[Operation] = []
    for key, value in operation.value.items():
        if not is_a_path(key, context.type):
            plain[key] = value
        else:
            apart.append(replace(operation, path=with_colon(key, context.type), value=value))
    if not apart:
        return None
    return ((replace(operation, value=plain),) if plain else ()) + tuple(apart)


def is_a_path(key: str, type: ResourceType) -> bool:
    """Whether a key of an object leads into one of its members."""
    name = key.partition("[")[0].strip()
    colon = with_colon(name, type)
    found = type.resolve(colon)
    paths = name != key or colon != name
    return found is not None and (paths or found.parent is not None or found.extension not in (None, found.path))


def with_colon(path: str, type: ResourceType) -> str:
    """`urn:...:User.department` as `urn:...:User:department`; every other path as it is, also one of an extension whose URN
    begins with another's and a dot (`urn:...:badge:2` and `urn:...:badge:2.0`)."""
    if ":" not in path:
        return path
    lowered, meant = path.lower(), path
    for schema in (type.schema, *(extension for extension, _ in type.extensions)):
        urn = schema.id.lower()
        if lowered == urn or lowered.startswith(f"{urn}:"):
            return path
        if lowered.startswith(f"{urn}."):
            meant = f"{path[: len(urn)]}:{path[len(urn) + 1 :]}"
    return meant


def extension_with_dot(operation: Operation, context: Context) -> Operations | None:
    """A path with a dot between the URN of a schema and its attribute."""
    path = "" if operation.path is None else operation.path.strip()
    meant = with_colon(path, context.type)
    return None if meant == path else (replace(operation, path=meant),)


def extension_without_urn(operation: Operation, context: Context) -> Operations | None:
    """A path that names an attribute of one extension only, without its URN."""
    path = operation.path
    name = "" if path is None else path.partition("[")[0].partition(".")[0].strip()
    if path is None or context.type.resolve(name) is not None:
        return None
    homes = [schema.id for schema, _ in context.type.extensions if schema.attribute(name) is not None]
    return (replace(operation, path=f"{homes[0]}:{path.strip()}"),) if len(homes) == 1 else None


def unknown_paths(operation: Operation, context: Context) -> Operations | None:
    """Nothing, for an attribute that the schemas do not have."""
    path = operation.path
    known = path is None or context.type.resolve(path.partition("[")[0].strip()) is not None
    return None if known else ()


def empty_means_remove(operation: Operation, context: Context) -> Operations | None:
    """A complex value that is set to empty text is removed."""
    target = None if operation.path is None else context.type.resolve(operation.path.strip())
    if (
        target is None
        or operation.kind == "remove"
        or operation.value not in ("", [""], [{"value": ""}], {"value": ""})
        or target.attribute.multi_valued
        or target.attribute.type is not Type.COMPLEX
    ):
        return None
    return (replace(operation, op="remove", value=ABSENT),)


def partial_replace(operation: Operation, context: Context) -> Operations | None:
    """A complex value that names some of its parts, where there are others. RFC 7644 3.5.2.3 leaves those."""
    target = _single_complex(operation, context)
    if target is None:
        return None
    stored = context.patch.stored(target) or {}
    named = {sub.name for key in operation.value if (sub := target.attribute.sub(key)) is not None}
    return (operation,) if stored.keys() - named - _derived(target) else None


def whole_replace(operation: Operation, context: Context) -> Operation:
    """The same as the interoperability profile, section 6.5.2.1, has it: what is not named is gone."""
    target = _single_complex(operation, context)
    if target is None:
        return operation
    named = {sub.name for key in operation.value if (sub := target.attribute.sub(key)) is not None}
    others = {sub.name for sub in target.attribute.sub_attributes} - named - _derived(target)
    return replace(operation, value={**operation.value, **dict.fromkeys(sorted(others))})


def _single_complex(operation: Operation, context: Context) -> Resolved | None:
    """What a replace with an object of parts sets whole."""
    target = None if operation.path is None else context.type.resolve(operation.path.strip())
    fits = operation.kind == "replace" and isinstance(operation.value, Mapping) and target is not None
    if not fits or target is None or target.attribute.multi_valued or target.attribute.type is not Type.COMPLEX:
        return None
    return None if target.path == target.extension else target


def _derived(target: Resolved) -> set[str]:
    return {sub.name for sub in target.attribute.sub_attributes if sub.mutability is Mutability.READ_ONLY}


def remove_with_value(operation: Operation, context: Context) -> Operations | None:
    """One remove with a filter for each element of the value. An empty list removes nothing."""
    target = None if operation.path is None else context.type.resolve(operation.path.strip())
    value = operation.value
    if operation.kind != "remove" or target is None or value is ABSENT or value is None:
        return None
    if not target.attribute.multi_valued or target.attribute.type is not Type.COMPLEX:
        return None
    filters = [_as_filter(target.attribute, element) for element in (value if isinstance(value, list) else [value])]
    if None in filters:
        return None
    return tuple(replace(operation, path=f"{target.path}[{text}]", value=ABSENT) for text in dict.fromkeys(filters))


def _as_filter(attribute: Attribute, element: Any) -> str | None:
    """The condition that an element is this one; None if that cannot be said."""
    if isinstance(element, str) and element:
        element = {"value": element}
    if not isinstance(element, Mapping):
        return None
    parts = {sub.name: part for key, part in element.items() if (sub := attribute.sub(key)) and part not in (None, "")}
    if attribute.sub("value") is not None:
        if "value" not in parts:
            return None
        # The value says which; the type too where one value may stand twice. A member's display may be out of date.
        names = ("value",) if attribute.name == "members" else ("value", "type")
        parts = {name: parts[name] for name in names if name in parts}
    if not parts or not all(isinstance(part, str | bool) for part in parts.values()):
        return None
    return " and ".join(f"{name} eq {orjson.dumps(part).decode()}" for name, part in parts.items())


def value_path_creates(operation: Operation, context: Context) -> Operations | None:
    """Where no element matches, add one that is as the filter says: its equalities joined by `and`, and what is set.

    Not of the very part that is set, and never a member: that would let somebody into a group.
    """
    if operation.path is None or "[" not in operation.path or operation.kind == "remove" or operation.value is ABSENT:
        return None
    path = paths.parse(operation.path, context.type)
    if path.where is None or path.attribute.path == "members" or context.patch.selects(path):
        return None
    element = paths.equal_terms(path.where, path.attribute)
    given: Any = {path.sub.attribute.name: operation.value} if path.sub is not None else operation.value
    if isinstance(given, list) and len(given) == 1:
        given = given[0]
    if element is None or not isinstance(given, Mapping) or (path.sub and path.sub.attribute.name in element):
        return None
    if path.sub is not None and operation.value in (None, "", []):
        return ()  # nothing is there and nothing is to be there
    return (replace(operation, op="add", path=path.attribute.path, value=[{**element, **given}]),)
