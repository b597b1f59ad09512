"""The resource types of one workspace, as a value: the standard's and what its configuration extends them by.

Everything that reads, validates, filters, shows or announces a resource takes them from `Workspace.types`, so that
discovery tells exactly what is enforced. Paths of the core schemas mean the same in every workspace; whatever asks for
such a path only (a name, the members of a group) may use the standard's types.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from syncd.core.schema import (
    ENTERPRISE_USER,
    GROUP,
    PASSWORD,
    RULE_USER,
    STANDARD_EXTENSIONS,
    USER,
    Attribute,
    Resolved,
    ResourceType,
    Returned,
    Schema,
)


@dataclass(frozen=True, slots=True)
class Extension:
    """A schema that a workspace adds to a resource type. `required`: whatever is stated of such a resource has it."""

    schema: Schema
    of: str = "User"  # name of a resource type
    required: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Types:
    """`rule_user` is a user as the conditions of rules, protections and adoptions see it."""

    user: ResourceType = USER
    group: ResourceType = GROUP
    rule_user: ResourceType = RULE_USER

    @property
    def all(self) -> tuple[ResourceType, ...]:
        """Those that have an endpoint."""
        return self.user, self.group

    def of_user(self, path: str) -> Resolved | None:
        """An attribute of users; those of the enterprise extension without its URN too, as in mappings."""
        return self.user.resolve(path) or self.user.resolve(f"{ENTERPRISE_USER}:{path}")

    def of(self, resource: str) -> ResourceType:
        """By the word of permissions and tables: `users` and `user`, `groups` and `group`."""
        return self.user if resource in ("user", "users") else self.group


STANDARD: Final = Types()


def extended(extensions: Iterable[Extension]) -> Types:
    """The standard's types with these extensions, in their order."""
    given = tuple(extensions)
    if not given:
        return STANDARD
    return Types(*(_with(each, given) for each in (USER, GROUP, RULE_USER)))


@lru_cache(256)
def with_plain_members(types: Types) -> Types:
    """The same, but a member's `display` comes on request only: for clients that compare what they get with what they sent,
    and never send it (scim2-tester 0.5, utils.fields_equality).
    """
    schema = types.group.schema
    attributes = tuple(_plain(each) if each.name == "members" else each for each in schema.attributes)
    return replace(types, group=replace(types.group, schema=replace(schema, attributes=attributes)))


@lru_cache(256)
def while_remade(types: Types) -> Types:
    """The same, for documents of which some are still to be made anew (store/remake.py)."""
    return replace(types, user=replace(types.user, stale=True), group=replace(types.group, stale=True))


@lru_cache(256)
def shapes(types: Types) -> Mapping[tuple[str, str], str]:
    """(`user` or `group`, URN) of each schema of the workspace's own -> a digest of what documents depend on."""
    return {
        (type.name.lower(), schema.id): _digest(schema)
        for type in types.all
        for schema, _ in type.extensions
        if schema.id not in STANDARD_EXTENSIONS
    }


def read_by(types: Types, conditions: Iterable[str]) -> tuple[tuple[object, ...], ...]:
    """How the attributes of the workspace's own are declared that these conditions name: what they mean depends on it."""
    text = "\n".join(conditions).lower()
    named = (path for path in types.rule_user.paths if ":" in path and path.lower() in text)
    found = ((path, types.rule_user.resolve(path)) for path in sorted(named))
    return tuple((path, _shape(each.attribute)) for path, each in found if each and each.own and path != each.extension)


def _digest(schema: Schema) -> str:
    return hashlib.sha256(repr([_shape(each) for each in schema.attributes]).encode()).hexdigest()


def _shape(attribute: Attribute) -> tuple[object, ...]:
    """What of an attribute is in a document, in its search view and among what is unique. All else is enforced when a
    request comes."""
    parts = tuple(_shape(each) for each in attribute.sub_attributes)
    own = (attribute.name, attribute.type.value, attribute.multi_valued, attribute.case_exact)
    return (*own, attribute.reference_types, attribute.uniqueness.value, parts)


@lru_cache(256)
def with_password(types: Types) -> Types:
    """As they are told to a connection whose passwords are kept."""
    schema = types.user.schema
    return replace(types, user=replace(types.user, schema=replace(schema, attributes=(*schema.attributes, PASSWORD))))


def _plain(members: Attribute) -> Attribute:
    parts = (
        replace(each, returned=Returned.REQUEST) if each.name == "display" else each for each in members.sub_attributes
    )
    return replace(members, sub_attributes=tuple(parts))


def _with(type: ResourceType, extensions: Iterable[Extension]) -> ResourceType:
    own = tuple((each.schema, each.required) for each in extensions if each.of == type.name)
    return replace(type, extensions=(*type.extensions, *own)) if own else type
