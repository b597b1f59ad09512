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
    Type,
)


@dataclass(frozen=True, slots=True)
class Extension:
    """A schema that a workspace adds to a resource type. `required`: whatever is stated of such a resource has it."""

    schema: Schema
    of: str = "User"  # name of a resource type
    required: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Types:
    """`rule_user` is a user as the conditions of rules, protections and adoptions see it. `indexes`: paths of users'
    attributes that people are looked up by, beside those that are anyway."""

    user: ResourceType = USER
    group: ResourceType = GROUP
    rule_user: ResourceType = RULE_USER
    indexes: tuple[str, ...] = ()

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


def extended(extensions: Iterable[Extension], indexes: Iterable[str] = ()) -> Types:
    """The standard's types with these extensions, in their order."""
    given, named = tuple(extensions), tuple(indexes)
    if not given and not named:
        return STANDARD
    user, group, rule_user = (_with(each, given) for each in (USER, GROUP, RULE_USER))
    return Types(user, group, rule_user, named)


@lru_cache(256)
def looked_up(types: Types) -> tuple[Resolved, ...]:
    """Attributes whose values an index finds (store/indexes.py), beside those that have columns of their own: the
    enterprise extension's employeeNumber, what is unique in the workspace, and what its configuration names."""
    paths = (f"{ENTERPRISE_USER}:employeeNumber", *(each.path for each in types.user.unique), *types.indexes)
    found = {each.path: each for path in paths if (each := types.user.resolve(path)) is not None}
    return tuple(each for each in found.values() if can_be_indexed(each) is None)


_IN_COLUMNS: Final = ("id", "userName", "externalId", "meta")


def can_be_indexed(attribute: Resolved) -> str | None:
    """Why an attribute cannot; None if it can."""
    if attribute.top in _IN_COLUMNS:
        return "has an index anyway" if attribute.top != "meta" else "is no text that users have"
    if attribute.attribute.multi_valued or (attribute.parent is not None and attribute.parent.multi_valued):
        return "may have several values"
    if attribute.attribute.type not in (Type.STRING, Type.REFERENCE, Type.BINARY, Type.DATETIME):
        return f"is {attribute.attribute.type.value}: only texts and dates are indexed"
    if Returned.NEVER in (attribute.attribute.returned, attribute.parent and attribute.parent.returned):
        return "is never shown, so nobody can ask for it"
    if attribute.read_only and not attribute.own:
        return "is made by syncd, and not kept as it is"
    return None


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
