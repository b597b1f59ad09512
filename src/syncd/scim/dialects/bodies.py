"""Forms of whole request bodies: a resource (POST, PUT) or a PATCH message. Each gives the body in RFC form, or None.

`urn` is the one that the body must name: the core schema of the resource, or that of the message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from syncd.core.schema import CORE_USER, ENTERPRISE_USER, ResourceType
from syncd.scim.messages import PATCH_URN

Body: TypeAlias = Mapping[str, Any]
SCIM_1: str = "urn:scim:schemas:core:1.0"
SCIM_1_ENTERPRISE: str = "urn:scim:schemas:extension:enterprise:1.0"


def missing_schemas(body: Body, urn: str) -> dict[str, Any] | None:
    """No `schemas`, null or an empty list: what the URL asks for is meant."""
    key = next((key for key in body if key.lower() == "schemas"), "schemas")
    return {**body, key: [urn]} if body.get(key) in (None, []) else None


def scim_1_schema(body: Body, urn: str) -> dict[str, Any] | None:
    """The URNs of SCIM 1.0 stand for today's, and so does what the enterprise extension holds under its old one."""
    today = {SCIM_1: urn}
    if urn == CORE_USER and not any(each.lower() == ENTERPRISE_USER.lower() for each in body):
        today[SCIM_1_ENTERPRISE] = ENTERPRISE_USER
    key, schemas = _schemas(body)
    if not any(each.lower() in today for each in (*schemas, *body)):
        return None
    named = [today.get(each.lower(), each) for each in schemas]
    once = {each.lower(): each for each in ([] if urn in named else [urn]) + named}
    found = {today.get(each.lower(), each): value for each, value in body.items()}
    return {**found, key: list(once.values()), **_manager_of_scim_1(found)}


def _manager_of_scim_1(body: Body) -> dict[str, Any]:
    """The extension, if its manager is named as SCIM 1.1 section 8.3 has it, by `managerId`."""
    extension = body.get(ENTERPRISE_USER)
    manager = extension.get("manager") if isinstance(extension, Mapping) else None
    if not isinstance(extension, Mapping) or not isinstance(manager, Mapping) or "managerId" not in manager:
        return {}
    named = {"value" if part == "managerId" else part: value for part, value in manager.items()}
    return {ENTERPRISE_USER: {**extension, "manager": named}}


def another_patch_urn(body: Body, urn: str) -> dict[str, Any] | None:
    """A PATCH message under the URN that drafts and libraries give it."""
    if urn != PATCH_URN:
        return None
    key, schemas = _schemas(body)
    if any(each.lower() == urn.lower() for each in schemas):
        return None
    named = [urn if each.lower().endswith(":patchop") else each for each in schemas]
    return {**body, key: named} if named != schemas else None


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
