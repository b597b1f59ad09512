"""What attributes exist and how they behave (RFC 7643), as values that drive reading, filtering, output and discovery.

Names, URNs and paths are found whatever their case; the canonical spelling is the one declared here. An extension's
attribute is named by its URN only: `urn:...:User:department`, never `department`. URNs contain dots, so a path is
looked up whole in a table of all spellings, never split. `password` is part of no type here, so that nothing reads, filters
or keeps one; it is only told to connections whose passwords are kept (core/types.py).
Common attributes (`id`, `externalId`, `meta`, `schemas`; RFC 7643 section 3.1) belong to every type, to no schema.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

CORE_USER = "urn:ietf:params:scim:schemas:core:2.0:User"
CORE_GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
ENTERPRISE_USER = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
SYNCD_USER = "urn:syncd:params:scim:schemas:extension:2.0:User"
STANDARD_EXTENSIONS = frozenset({ENTERPRISE_USER, SYNCD_USER})  # whose schemas no configuration changes


class Type(StrEnum):
    """RFC 7643 section 2.3."""

    STRING = "string"
    BOOLEAN = "boolean"
    DECIMAL = "decimal"
    INTEGER = "integer"
    DATETIME = "dateTime"
    BINARY = "binary"
    REFERENCE = "reference"
    COMPLEX = "complex"


class Mutability(StrEnum):
    """RFC 7643 section 2.2."""

    READ_ONLY = "readOnly"
    READ_WRITE = "readWrite"
    IMMUTABLE = "immutable"
    WRITE_ONLY = "writeOnly"


class Returned(StrEnum):
    """RFC 7643 section 2.2."""

    ALWAYS = "always"
    NEVER = "never"
    DEFAULT = "default"
    REQUEST = "request"


class Uniqueness(StrEnum):
    """RFC 7643 section 2.2."""

    NONE = "none"
    SERVER = "server"
    GLOBAL = "global"


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute or sub-attribute with its characteristics (RFC 7643 section 7)."""

    name: str
    type: Type = Type.STRING
    multi_valued: bool = False
    required: bool = False
    case_exact: bool = False
    mutability: Mutability = Mutability.READ_WRITE
    returned: Returned = Returned.DEFAULT
    uniqueness: Uniqueness = Uniqueness.NONE
    canonical_values: tuple[str, ...] = ()
    reference_types: tuple[str, ...] = ()
    sub_attributes: tuple[Attribute, ...] = ()
    description: str = ""
    _subs: dict[str, Attribute] = field(init=False, repr=False, compare=False, default_factory=dict)
    # What is made of it once, by the name of its maker (core/resource.py).
    made: dict[str, Callable[[Any], Any]] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        for each in self.sub_attributes:
            self._subs[each.name] = self._subs[each.name.lower()] = each

    @property
    def spelt(self) -> Mapping[str, Attribute]:
        """The sub-attributes by their names, as they are declared and in lower case."""
        return self._subs

    def sub(self, name: str) -> Attribute | None:
        """The sub-attribute of that name, whatever its case."""
        return self._subs.get(name) or self._subs.get(name.lower())

    def to_scim(self) -> dict[str, Any]:
        """As `/Schemas` shows it. Keys without a meaning for the type are left out, never null (Entra's validator)."""
        shown: dict[str, Any] = {
            "name": self.name,
            "type": self.type.value,
            "multiValued": self.multi_valued,
            "description": self.description,
            "required": self.required,
        }
        if self.type is not Type.COMPLEX:
            shown["caseExact"] = self.case_exact
        if self.canonical_values:
            shown["canonicalValues"] = list(self.canonical_values)
        shown |= {
            "mutability": self.mutability.value,
            "returned": self.returned.value,
            "uniqueness": self.uniqueness.value,
        }
        if self.reference_types:
            shown["referenceTypes"] = list(self.reference_types)
        if self.sub_attributes:
            shown["subAttributes"] = [a.to_scim() for a in self.sub_attributes]
        return shown


@dataclass(frozen=True, slots=True, eq=False)
class Schema:
    """A core schema or an extension; `id` is its URN."""

    id: str
    name: str
    description: str
    attributes: tuple[Attribute, ...]

    def attribute(self, name: str) -> Attribute | None:
        wanted = name.lower()
        return next((a for a in self.attributes if a.name.lower() == wanted), None)

    def to_scim(self) -> dict[str, Any]:
        """The body of `/Schemas/{id}` without `meta` (RFC 7643 section 7)."""
        return {
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Schema"],
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "attributes": [a.to_scim() for a in self.attributes],
        }


@dataclass(frozen=True, slots=True)
class Resolved:
    """An attribute path that exists.

    `path` is canonical: `userName`, `name.givenName`, `urn:...:User:manager.value`, or an extension's bare URN, whose
    `attribute` is then a complex one holding the extension's attributes. `parent` is set for a sub-attribute.
    `extension` is the URN of the extension the attribute belongs to.
    """

    path: str
    attribute: Attribute
    parent: Attribute | None = None
    extension: str | None = None
    top: str = field(
        init=False, compare=False
    )  # canonical path of the top-level attribute: `name` for `name.givenName`
    read_only: bool = field(init=False, compare=False)  # itself, or what it is a part of
    own: bool = field(init=False, compare=False)  # of a schema of a workspace's own, which may have been another before
    search_keys: tuple[str, ...] = field(
        init=False, compare=False
    )  # where the search view keeps it: ("name", "givenname")

    def __post_init__(self) -> None:
        whole = self.parent is None
        top = self.path if whole else self.path[: -len(self.attribute.name) - 1]
        levels = (self.attribute, *(() if self.parent is None else (self.parent,)))
        object.__setattr__(self, "top", top)
        object.__setattr__(self, "read_only", any(each.mutability is Mutability.READ_ONLY for each in levels))
        keys = (self.path.lower(),) if whole else (top.lower(), self.attribute.name.lower())
        object.__setattr__(self, "search_keys", keys)
        own = self.extension is not None and self.extension not in STANDARD_EXTENSIONS
        object.__setattr__(self, "own", own)


@dataclass(frozen=True, slots=True, eq=False)
class ResourceType:
    """A kind of resource: its core schema and its extensions, each with whether it is required (RFC 7643 section 6).

    `stale`: stored documents may have been made when its extensions were others, so none is sent as it is.
    """

    name: str
    endpoint: str
    description: str
    schema: Schema
    extensions: tuple[tuple[Schema, bool], ...] = ()
    stale: bool = False
    _paths: dict[str, Resolved] = field(init=False, repr=False, default_factory=dict)
    _extensions: dict[str, Schema] = field(init=False, repr=False, default_factory=dict)
    set_once: frozenset[str] = field(init=False, repr=False)  # paths of values that are immutable
    hides: bool = field(init=False, repr=False)  # whether a stored document holds what is not shown by default
    asked_for: tuple[str, ...] = field(
        init=False, repr=False
    )  # paths of what clients may write and is returned on request
    unique: tuple[Resolved, ...] = field(init=False, repr=False)  # of a workspace's own, with uniqueness `server`
    # Paths of core texts of which there is one and whose case does not count -> Resolved.search_keys.
    plain: Mapping[str, tuple[str, ...]] = field(init=False, repr=False)
    paths: tuple[str, ...] = field(
        init=False, repr=False
    )  # every canonical one, for messages that say what is accepted

    def __post_init__(self) -> None:
        for attribute in self.attributes:
            for at, resolved in _spellings(attribute, "", None):
                self._paths[at] = self._paths[at.lower()] = resolved
                self._paths[f"{self.schema.id}:{at}".lower()] = resolved
        for schema, _ in self.extensions:
            self._extensions[schema.id] = self._extensions[schema.id.lower()] = schema
            whole = Attribute(schema.id, Type.COMPLEX, sub_attributes=schema.attributes, description=schema.description)
            self._paths[schema.id.lower()] = Resolved(schema.id, whole, extension=schema.id)
            for attribute in schema.attributes:
                for at, resolved in _spellings(attribute, f"{schema.id}:", schema.id):
                    self._paths[at] = self._paths[at.lower()] = resolved
        by_path = {resolved.path: resolved for resolved in self._paths.values()}
        object.__setattr__(self, "paths", tuple(by_path))
        plain = {path: each.search_keys for path, each in by_path.items() if each.extension is None and _is_plain(each)}
        object.__setattr__(self, "plain", plain)
        every = by_path.values()
        set_once = {
            each.path
            for each in every
            if each.attribute.mutability is Mutability.IMMUTABLE and not (each.parent and each.parent.multi_valued)
        }
        object.__setattr__(self, "set_once", frozenset(set_once))
        on_request = (each.path for each in every if each.attribute.returned is Returned.REQUEST and not each.read_only)
        object.__setattr__(self, "asked_for", tuple(on_request))
        unique = (each for each in every if each.own and each.attribute.uniqueness is Uniqueness.SERVER)
        object.__setattr__(self, "unique", tuple(unique))
        # What is readOnly is derived, and not stored, but in a workspace's own extension: there a directory may state it.
        stored = (each for each in every if not each.read_only or each.extension not in (None, SYNCD_USER))
        hidden = any(each.attribute.returned in (Returned.NEVER, Returned.REQUEST) for each in stored)
        object.__setattr__(self, "hides", hidden or self.stale)

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """Common and core attributes; those of the extensions are in `extensions`."""
        return COMMON + self.schema.attributes

    def resolve(self, path: str) -> Resolved | None:
        """The attribute a path names, in any case, with or without the core schema's URN; None if there is none."""
        return self._paths.get(path) or self._paths.get(path.lower())

    def unseen(self, path: str) -> bool:
        """Whether no client can see what is stored there: never shown, or of an extension that is not configured now."""
        found = self.resolve(path)
        return found is None or Returned.NEVER in (found.attribute.returned, found.parent and found.parent.returned)

    def on_request(self, path: str) -> bool:
        """Whether an attribute is shown only to who names it."""
        found = self.resolve(path)
        return found is not None and found.attribute.returned is Returned.REQUEST

    def extension(self, urn: str) -> Schema | None:
        return self._extensions.get(urn) or self._extensions.get(urn.lower())

    def to_scim(self) -> dict[str, Any]:
        """The body of `/ResourceTypes/{name}` without `meta`; `id` equals `name` (interop profile section 5.1)."""
        shown: dict[str, Any] = {
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
            "id": self.name,
            "name": self.name,
            "endpoint": self.endpoint,
            "description": self.description,
            "schema": self.schema.id,
        }
        if self.extensions:
            shown["schemaExtensions"] = [{"schema": s.id, "required": required} for s, required in self.extensions]
        return shown


def _is_plain(resolved: Resolved) -> bool:
    attribute, parent = resolved.attribute, resolved.parent
    text = attribute.type is Type.STRING and not attribute.case_exact and not attribute.multi_valued
    return text and (parent is None or not parent.multi_valued)


def _spellings(attribute: Attribute, prefix: str, extension: str | None) -> list[tuple[str, Resolved]]:
    at = prefix + attribute.name
    found = [(at, Resolved(at, attribute, None, extension))]
    for sub in attribute.sub_attributes:
        found.append((f"{at}.{sub.name}", Resolved(f"{at}.{sub.name}", sub, attribute, extension)))
    return found


def _string(name: str, description: str = "", **characteristics: Any) -> Attribute:
    return Attribute(name, Type.STRING, description=description, **characteristics)


def _complex(name: str, description: str, *sub_attributes: Attribute, **characteristics: Any) -> Attribute:
    return Attribute(name, Type.COMPLEX, description=description, sub_attributes=sub_attributes, **characteristics)


def _reference(name: str, description: str, *to: str, **characteristics: Any) -> Attribute:
    # Case exact by RFC 7643 section 2.3.7.
    return Attribute(
        name, Type.REFERENCE, case_exact=True, reference_types=to, description=description, **characteristics
    )


def _list(name: str, description: str, *types: str, value: Attribute | None = None) -> Attribute:
    """A multi-valued attribute with the default sub-attributes of RFC 7643 section 2.4."""
    return _complex(
        name,
        description,
        value or _string("value", "The value itself."),
        _string("display", "A name for people to read."),
        _string("type", "What the value is used for.", canonical_values=types),
        Attribute("primary", Type.BOOLEAN, description="Whether this is the preferred value; at most one is."),
        multi_valued=True,
    )


_READ_ONLY = Mutability.READ_ONLY
_IMMUTABLE = Mutability.IMMUTABLE

COMMON = (
    Attribute(
        "schemas", multi_valued=True, required=True, returned=Returned.ALWAYS, description="URNs of the schemas."
    ),
    _string(
        "id",
        "Made by the server, never reused.",
        case_exact=True,
        mutability=_READ_ONLY,
        returned=Returned.ALWAYS,
        uniqueness=Uniqueness.SERVER,
    ),
    _string("externalId", "The client's own identifier.", case_exact=True),
    _complex(
        "meta",
        "When and where the resource was made and changed.",
        _string("resourceType", "Name of the resource type.", case_exact=True, mutability=_READ_ONLY),
        Attribute("created", Type.DATETIME, mutability=_READ_ONLY, description="When it was made."),
        Attribute("lastModified", Type.DATETIME, mutability=_READ_ONLY, description="When it last changed."),
        _reference("location", "Its URL.", "uri", mutability=_READ_ONLY),
        _string("version", "Its ETag.", case_exact=True, mutability=_READ_ONLY),
        mutability=_READ_ONLY,
    ),
)

_NAME = _complex(
    "name",
    "The parts of the person's name.",
    _string("formatted", "The whole name as shown."),
    _string("familyName", "Last name."),
    _string("givenName", "First name."),
    _string("middleName", "Middle names."),
    _string("honorificPrefix", "Title, such as Ms."),
    _string("honorificSuffix", "Suffix, such as III."),
)

_ADDRESSES = _complex(
    "addresses",
    "Postal addresses.",
    _string("formatted", "The whole address as printed."),
    _string("streetAddress", "Street and house number."),
    _string("locality", "Town."),
    _string("region", "State or region."),
    _string("postalCode", "Postal code."),
    _string("country", "ISO 3166-1 alpha-2 code."),
    _string("type", "What the address is used for.", canonical_values=("work", "home", "other")),
    Attribute("primary", Type.BOOLEAN, description="Whether this is the preferred address; at most one is."),
    multi_valued=True,
)

_USER_GROUPS = _complex(
    "groups",
    "Groups the user belongs to, directly or through another group.",
    _string("value", "The group's id.", case_exact=True, mutability=_READ_ONLY),
    _reference("$ref", "The group's URL.", "Group", mutability=_READ_ONLY),
    _string("display", "The group's name.", mutability=_READ_ONLY),
    _string("type", "How the user belongs to it.", mutability=_READ_ONLY, canonical_values=("direct", "indirect")),
    multi_valued=True,
    mutability=_READ_ONLY,
)

_USER_SCHEMA = Schema(
    CORE_USER,
    "User",
    "User Account",
    (
        _string("userName", "The name to sign in with.", required=True, uniqueness=Uniqueness.SERVER),
        _NAME,
        _string("displayName", "The name shown to others."),
        _string("nickName", "A casual name."),
        _reference("profileUrl", "URL of the user's profile.", "external"),
        _string("title", "Job title."),
        _string("userType", "How the user relates to the organisation, such as Employee."),
        _string("preferredLanguage", "As in the Accept-Language header."),
        _string("locale", "Locale such as en-US."),
        _string("timezone", "IANA time zone."),
        Attribute("active", Type.BOOLEAN, description="Whether the user may sign in."),
        _list("emails", "E-mail addresses.", "work", "home", "other"),
        _list("phoneNumbers", "Phone numbers.", "work", "home", "mobile", "fax", "pager", "other"),
        _list("ims", "Instant messaging addresses.", "aim", "gtalk", "icq", "xmpp", "msn", "skype", "qq", "yahoo"),
        _list("photos", "Pictures.", "photo", "thumbnail", value=_reference("value", "URL of a picture.", "external")),
        _ADDRESSES,
        _USER_GROUPS,
        _list("entitlements", "Things the user is entitled to."),
        _list("roles", "Roles the client states; not what syncd grants."),
        _list(
            "x509Certificates",
            "Certificates.",
            value=Attribute("value", Type.BINARY, case_exact=True, description="DER certificate in base64."),
        ),
    ),
)

_ENTERPRISE_SCHEMA = Schema(
    ENTERPRISE_USER,
    "EnterpriseUser",
    "Enterprise User",
    (
        _string("employeeNumber", "Identifier given by the organisation."),
        _string("costCenter", "Name of a cost center."),
        _string("organization", "Name of an organisation."),
        _string("division", "Name of a division."),
        _string("department", "Name of a department."),
        _complex(
            "manager",
            "The user's manager.",
            _string("value", "The manager's id.", case_exact=True),
            _reference("$ref", "The manager's URL.", "User", mutability=_READ_ONLY),
            _string("displayName", "The manager's name.", mutability=_READ_ONLY),
        ),
    ),
)

_KIND = _string("kind", "internal, portal or another kind of person, for rules and seats to tell apart.")

_SECOND_FACTOR = Attribute(
    "secondFactor",
    Type.BOOLEAN,
    description="Whether the person has set up a second factor, as a source or the application says.",
)


def _derived(name: str, description: str, **characteristics: Any) -> Attribute:
    return _string(name, description, mutability=_READ_ONLY, returned=Returned.REQUEST, **characteristics)


_SYNCD_SCHEMA = Schema(
    SYNCD_USER,
    "SyncdUser",
    "What syncd knows of a user beside the standard",
    (
        _KIND,
        _SECOND_FACTOR,
        # On request: they move without the client's doing, and a client that compares what it sent would take them for drift.
        _derived("status", "active, pending, locked, suspended, inactive or deleted."),
        _derived("seats", "Pools the user holds a seat in.", multi_valued=True),
        _derived("waiting", "Pools the user waits for a seat in.", multi_valued=True),
    ),
)

_GROUP_SCHEMA = Schema(
    CORE_GROUP,
    "Group",
    "Group",
    (
        _string("displayName", "The group's name.", required=True, uniqueness=Uniqueness.SERVER),
        _complex(
            "members",
            "Users and groups that belong to the group.",
            _string("value", "The member's id.", required=True, case_exact=True, mutability=_IMMUTABLE),
            _reference("$ref", "The member's URL.", "User", "Group", mutability=_IMMUTABLE),
            _string("type", "User or Group.", mutability=_IMMUTABLE, canonical_values=("User", "Group")),
            _string("display", "The member's name.", mutability=_READ_ONLY),
            multi_valued=True,
        ),
    ),
)

# RFC 7643 section 4.1.1. scim/passwords.py takes it out of a message before anything else reads that.
PASSWORD = _string(
    "password",
    "Clear text to be kept as a hash.",
    mutability=Mutability.WRITE_ONLY,
    returned=Returned.NEVER,
    case_exact=True,
)
USER = ResourceType(
    "User", "/Users", "User Account", _USER_SCHEMA, ((_ENTERPRISE_SCHEMA, False), (_SYNCD_SCHEMA, False))
)
GROUP = ResourceType("Group", "/Groups", "Group", _GROUP_SCHEMA)

KIND = f"{SYNCD_USER}:kind"
INTERNAL = "internal"


def of_kind(kind: str) -> str:
    """The filter for people of this kind; whoever nobody calls otherwise is internal."""
    named = f'{KIND} eq "{kind}"'
    return f"({named} or not ({KIND} pr))" if kind.lower() == INTERNAL else named


# What a rule's condition may read beside the user's own attributes: where a group comes from, and the sources linked.
_RULE_GROUPS = replace(
    _USER_GROUPS,
    sub_attributes=(
        *_USER_GROUPS.sub_attributes,
        _string("source", "Name of the group's source.", case_exact=True, mutability=_READ_ONLY),
        _string("dn", "DN of the group at its source.", mutability=_READ_ONLY),
        _string("externalId", "The source's identifier of the group.", case_exact=True, mutability=_READ_ONLY),
    ),
)
_RULE_SOURCE = _string(
    "source", "Names of the sources linked.", multi_valued=True, case_exact=True, mutability=_READ_ONLY
)
_RULE_SCHEMA = replace(
    _USER_SCHEMA,
    attributes=(*(_RULE_GROUPS if a.name == "groups" else a for a in _USER_SCHEMA.attributes), _RULE_SOURCE),
)
# Of syncd's own extension only what is stated: a condition that read status or seats would need more than one pass.
RULE_USER = ResourceType(
    "User",
    "/Users",
    "A user as rule conditions see it",
    _RULE_SCHEMA,
    (
        (_ENTERPRISE_SCHEMA, False),
        (Schema(SYNCD_USER, "SyncdUser", "What is stated of a user", (_KIND, _SECOND_FACTOR)), False),
    ),
)
