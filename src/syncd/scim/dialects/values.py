"""Forms of single values and of conditions: each gives the value that the schema has for it, or None."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import orjson

from syncd.core.filter import Comparison, Op
from syncd.core.schema import Resolved, ResourceType, Type

_LABELS: Final = frozenset({"value", "type", "primary", "display"})


def elements_without_value(attribute: Resolved, values: list[Any]) -> list[Any] | None:
    """Elements whose `value` is empty text or null are left out: what is left of them only labels it. Members never are."""
    if attribute.attribute.sub("value") is None or attribute.path == "members":
        return None
    kept = [each for each in values if not _only_labels(each)]
    return None if len(kept) == len(values) else kept


def _only_labels(element: Any) -> bool:
    if not isinstance(element, Mapping):
        return False
    parts = {key.lower(): part for key, part in element.items()}
    return "value" in parts and parts["value"] in ("", None) and parts.keys() <= _LABELS


def list_for_single_value(attribute: Resolved, value: Any) -> Any | None:
    """A list of one where there is one value."""
    if attribute.attribute.multi_valued or not isinstance(value, list) or len(value) != 1:
        return None
    return value[0]


def bare_value(attribute: Resolved, value: Any) -> Any | None:
    """Text where an object with a `value` is meant."""
    complex_with_value = attribute.attribute.type is Type.COMPLEX and attribute.attribute.sub("value") is not None
    return {"value": value} if complex_with_value and isinstance(value, str) and value else None


def object_for_plain_value(attribute: Resolved, value: Any) -> Any | None:
    """An object that holds nothing but a `value`, where the value itself is meant."""
    if attribute.attribute.type is Type.COMPLEX or not isinstance(value, Mapping):
        return None
    parts = {key.lower(): part for key, part in value.items() if part is not None}
    return parts["value"] if parts.keys() == {"value"} and not isinstance(parts["value"], Mapping | list) else None


def object_as_json_text(attribute: Resolved, value: Any) -> Any | None:
    """Text that holds a JSON object where an object is meant: `"{\\"value\\": \\"id\\"}"` for a member."""
    return json_object(value) if attribute.attribute.type is Type.COMPLEX else None


def role_as_json_text(attribute: Resolved, value: Any) -> Any | None:
    """A role whose `value` is text that holds a JSON object with `value`, a name to show, or both."""
    if attribute.path != "roles" or not isinstance(value, Mapping):
        return None
    inner = json_object(value.get("value")) or {}
    names = [inner[name] for name in ("displayName", "display") if isinstance(inner.get(name), str)]
    shown = {"display": names[0]} if names else {}
    role = {"value": inner["value"]} if isinstance(inner.get("value"), str) else {}
    if not shown and not role:
        return None
    return {**shown, **{key: part for key, part in value.items() if key != "value"}, **role}


def boolean_as_text(attribute: Resolved, value: Any) -> Any | None:
    """`"False"` is false."""
    return _boolean(value) if attribute.attribute.type is Type.BOOLEAN else None


def extension_without_urn_in_filter(path: str, types: Sequence[ResourceType]) -> str | None:
    """`manager` or `manager.value` with the URN of the one extension that has it."""
    name = path.partition(".")[0]
    homes = {schema.id for type in types for schema, _ in type.extensions if schema.attribute(name) is not None}
    return f"{homes.pop()}:{path}" if len(homes) == 1 else None


def boolean_as_text_in_filter(attribute: Resolved, comparison: Comparison) -> Comparison | None:
    """`primary eq "True"` is `primary eq true`."""
    meant = _boolean(comparison.value) if attribute.attribute.type is Type.BOOLEAN else None
    return None if meant is None or comparison.op not in (Op.EQ, Op.NE) else replace(comparison, value=meant)


def _boolean(value: Any) -> bool | None:
    return value.lower() == "true" if isinstance(value, str) and value.lower() in ("true", "false") else None


def json_object(text: Any) -> dict[str, Any] | None:
    """The object that a text holds, or None."""
    if not isinstance(text, str) or not text.lstrip().startswith("{"):
        return None
    try:
        parsed = orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return None
    return parsed if isinstance(parsed, dict) else None
