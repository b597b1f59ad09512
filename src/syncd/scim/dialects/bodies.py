"""Forms of whole request bodies: a resource (POST, PUT) or a PATCH message. Each gives the body in RFC form, or None.

`urn` is the one that the body must name: the core schema of the resource, or that of the message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from syncd.core.schema import ResourceType

Body: TypeAlias = Mapping[str, Any]
SCIM_1: str = "urn:scim:schemas:core:1.0"


def missing_schemas(body: Body, urn: str) -> dict[str, Any] | None:
    """No `schemas`, null or an empty list: what the URL asks for is meant."""
    key = next((key for key in body if key.lower() == "schemas"), "schemas")
    return {**body, key: [urn]} if body.get(key) in (None, []) else None


def scim_1_schema(body: Body, urn: str) -> dict[str, Any] | None:
    """The URN of SCIM 1.0 stands for today's."""
    key, schemas = _schemas(body)
    if not any(each.lower() == SCIM_1 for each in schemas):
        return None
    kept = [each for each in schemas if each.lower() != SCIM_1]
    return {**body, key: kept if urn.lower() in map(str.lower, kept) else [urn, *kept]}


def unknown_schemas(body: Body, type: ResourceType) -> dict[str, Any] | None:
    """URNs of other schemas are left out. Where nothing would be left there is another resource in the body."""
    known = {type.schema.id.lower()} | {schema.id.lower() for schema, _ in type.extensions}
    key, schemas = _schemas(body)
    kept = [each for each in schemas if each.lower() in known]
    return None if not kept or kept == schemas else {**body, key: kept}


def unknown_attributes(found: Body, known: frozenset[str]) -> dict[str, Any] | None:
    """Attributes that the schemas do not have are left out; `known` holds the keys that they have."""
    return None if len(known) == len(found) else {key: value for key, value in found.items() if key in known}


def no_operations(body: Body, urn: str) -> dict[str, Any] | None:
    """A PATCH of nothing changes nothing."""
    empty = any(key.lower() == "operations" and value == [] for key, value in body.items())
    return dict(body) if empty else None


def _schemas(body: Body) -> tuple[str, list[str]]:
    """The key as it is written, and its URNs; none if it is no list of text."""
    for key, value in body.items():
        if key.lower() == "schemas" and isinstance(value, list) and all(isinstance(each, str) for each in value):
            return key, value
    return "schemas", []
