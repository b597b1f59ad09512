"""The forms of a resource: the document (nested SCIM JSON), its values, and its search view.

*Values* are flat, keyed by canonical path: a single-valued complex attribute is spread over its sub-attributes
(`name.givenName`), a multi-valued one stays a whole list. null, "", [] and {} are absent (RFC 7643 section 2.5);
`schemas` is derived, never kept. The *search view* holds what comparisons see: lower-case keys, nested complex
attributes, strings in NFC and case-folded unless caseExact, instants as UTC text of fixed width. Memory and SQL compare
nothing else.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal, TypeAlias

from syncd.core.schema import STANDARD_EXTENSIONS, Attribute, Mutability, Resolved, ResourceType, Type
from syncd.errors import InvalidSyntax, InvalidValue

JSON: TypeAlias = Any
Values: TypeAlias = Mapping[str, JSON]
Unknown: TypeAlias = Literal["ignore", "refuse"]

_INT64 = range(-(2**63), 2**63)
_DATETIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?", re.ASCII | re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/_\-\s]*(?:=\s*){0,2}")  # no two parts can take the same character
_OF_A_RESOURCE = re.compile(r"(?:^|/)(User|Group)s/[^/?#\s]+$")
SHOWN = 100  # characters: the URN of a schema and what is named in it
_OF_A_VERSION = re.compile(r"/scim(?:/v[0-9]{1,4})?/(?=(?:User|Group)s/[^/]+$)")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


# --- comparable values ---------------------------------------------------------------------------------------------


def fold(text: str) -> str:
    """The key by which texts that are not caseExact are compared and kept unique (RFC 7643 section 2.2)."""
    if text.isascii():
        return text.lower()
    # Canonical caseless matching, Unicode chapter 3.13: folding a composed character may leave a decomposed one.
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


def name_key(text: str) -> str:
    """The same of a userName, of which wide and narrow letters are the plain ones, too (RFC 8265 section 3.3.2, as RFC 7644
    section 5 has it)."""
    if text.isascii():
        return text.lower()
    return fold("".join(map(_plain, text)))


def _plain(letter: str) -> str:
    of_a_width = unicodedata.decomposition(letter).startswith(("<wide>", "<narrow>"))
    return unicodedata.normalize("NFKC", letter) if of_a_width else letter


def instant(text: str) -> str:
    """`2011-05-13T04:42:34.000000Z` of any xsd:dateTime, so that text order is time order; no zone means UTC.

    Raises ValueError if it is none (RFC 7643 section 2.3.5).
    """
    if not _DATETIME.fullmatch(text):
        raise ValueError(text)
    at = datetime.fromisoformat(text.upper())
    try:
        utc = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except OverflowError as exc:
        raise ValueError(text) from exc
    return utc.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def this_version(url: str) -> str:
    """The URL of a user or group as it is shown, whichever version of the protocol it names, or none."""
    return _OF_A_VERSION.sub("/scim/v2/", url)


def comparable(attribute: Attribute, value: JSON) -> JSON:
    """The comparable form of one simple value; the value must have the attribute's type."""
    if attribute.type is Type.DATETIME:
        return instant(value)
    if isinstance(value, str):
        if not attribute.case_exact:
            return name_key(value) if attribute.name == "userName" else fold(value)
        return value if value.isascii() else unicodedata.normalize("NFC", value)
    return value


def search_element(attribute: Attribute, element: JSON) -> JSON:
    """The search form of one value of an attribute: of one element, if it is multi-valued. Empty gives {} or None."""
    return _searched(attribute)(element)


def _searched(attribute: Attribute) -> Callable[[JSON], JSON]:
    """`search_element` of one attribute, made once: the attributes of a resource are few, and each write asks all of them."""
    known = attribute.made.get("search")
    if known is None:
        made = _complex_searched(attribute) if attribute.type is Type.COMPLEX else _simple_searched(attribute)
        known = attribute.made["search"] = made
    return known


def _folds(attribute: Attribute) -> bool:
    """Whether a text of it is compared as `fold` makes it."""
    return attribute.type not in (Type.COMPLEX, Type.DATETIME) and not attribute.case_exact


def _simple_searched(attribute: Attribute) -> Callable[[JSON], JSON]:
    folds = _folds(attribute)

    def searched(value: JSON) -> JSON:
        if folds and value.__class__ is str and value.isascii():
            return value.lower() or None
        return None if _absent(value) else comparable(attribute, value)

    return searched


def _complex_searched(attribute: Attribute) -> Callable[[JSON], JSON]:
    known = {
        spelt: (sub.name.lower(), _searched(sub), sub.multi_valued, _folds(sub) and not sub.multi_valued)
        for spelt, sub in attribute.spelt.items()
    }

    def searched(element: JSON) -> JSON:
        part: dict[str, JSON] = {}
        for name, value in element.items():
            found = known.get(name) or known.get(name.lower())
            if found is None:
                continue
            key, one, many, folds = found
            if folds and value.__class__ is str and value.isascii():  # what most values are, without a call
                if value:
                    part[key] = value.lower()
            elif not _absent(value):
                part[key] = [one(each) for each in value] if many else one(value)
        return part

    return searched


def search_part(name: str, value: JSON, resource_type: ResourceType) -> JSON:
    """The search form of a whole attribute, to be merged into a view under its lower-case name; None if absent."""
    resolved = resource_type.resolve(name)
    return None if resolved is None else _part(resolved.attribute, value)


def _part(attribute: Attribute, value: JSON) -> JSON:
    return (attribute.made.get("part") or _parted(attribute))(value)


def _parted(attribute: Attribute) -> Callable[[JSON], JSON]:
    """The search form of a whole attribute, as `_searched` is of one value."""
    one = _searched(attribute)

    def many(value: JSON) -> JSON:
        return None if _absent(value) else [part for each in value if not _absent(part := one(each))] or None

    def many_complex(value: JSON) -> JSON:
        return ([part for each in value if (part := one(each))] or None) if value else None

    def complex(value: JSON) -> JSON:
        return (one(value) or None) if value else None

    if attribute.type is Type.COMPLEX:
        made: Callable[[JSON], JSON] = many_complex if attribute.multi_valued else complex
    else:
        made = many if attribute.multi_valued else one
    attribute.made["part"] = made
    return made


def search_view(values: Values, resource_type: ResourceType, **extra: JSON) -> dict[str, JSON]:
    """What filters compare. `extra` are whole attributes that values do not hold: `id`, `meta`, `groups`, `source`."""
    view: dict[str, JSON] = {"schemas": []}
    used: set[str] = set()
    plain = resource_type.plain
    for path, value in values.items():
        keys = plain.get(path)
        if keys is not None and value.__class__ is str and value.isascii():  # what most values are, without a call
            if value:
                (view if len(keys) == 1 else view.setdefault(keys[0], {}))[keys[-1]] = value.lower()
            continue
        resolved = resource_type.resolve(path)
        if resolved is None:
            continue
        part = _part(resolved.attribute, as_declared(resolved, value) if resolved.own else value)
        if part is None:
            continue
        if resolved.extension is not None:
            used.add(resolved.extension)
        keys = resolved.search_keys
        if resolved.parent is None:
            view[keys[0]] = part
        else:
            view.setdefault(keys[0], {})[keys[1]] = part
    for name, value in extra.items():
        part = search_part(name, value, resource_type)
        if part is not None:
            view[name.lower()] = part
    view["schemas"] = [*_folded_schemas(frozenset(used), resource_type)]
    return view


@lru_cache(256)
def _folded_schemas(used: frozenset[str], resource_type: ResourceType) -> tuple[str, ...]:
    return tuple(map(fold, _schemas(used, resource_type)))


# --- values and documents ------------------------------------------------------------------------------------------


def flatten(document: Mapping[str, JSON], resource_type: ResourceType) -> dict[str, JSON]:
    """Values of a document that is known to be right, such as one from the store; `canonical` is for what comes in."""
    values: dict[str, JSON] = {}
    for key, value in _attributes(document, resource_type):
        resolved = resource_type.resolve(key)
        if resolved is not None:
            _spread(values, resolved, value)
    return values


def unflatten(values: Values, resource_type: ResourceType, id: str | None = None) -> dict[str, JSON]:
    """The nested document of values, `schemas` first and naming each extension that holds something, then `id` if given."""
    document: dict[str, JSON] = {"schemas": []} if id is None else {"schemas": [], "id": id}
    extensions: dict[str, dict[str, JSON]] = {}
    for path, given in values.items():
        resolved = resource_type.resolve(path)
        value = as_declared(resolved, given) if resolved is not None and resolved.own else given
        if resolved is None or (not value and _absent(value)):
            continue
        home, name = document, resolved.top
        if resolved.extension is not None:
            home, name = extensions.setdefault(resolved.extension, {}), resolved.top[len(resolved.extension) + 1 :]
        if resolved.parent is None:
            home[name] = value
        else:
            home.setdefault(name, {})[resolved.attribute.name] = value
    document["schemas"] = _schemas(extensions, resource_type)
    return document | extensions


def as_declared(resolved: Resolved, value: JSON) -> JSON:
    """A kept value as its attribute is declared now; None if it cannot be that. Schemas of a workspace's own change."""
    if resolved.parent is not None and resolved.parent.multi_valued:
        return None
    try:
        return canonical_value(resolved, value)
    except InvalidValue:
        return None


def unique_keys(values: Values, resource_type: ResourceType) -> dict[tuple[str, str], JSON]:
    """(path, how its value is compared) -> the value, of each that nobody else of the workspace may have."""
    found: dict[tuple[str, str], JSON] = {}
    for resolved in resource_type.unique:
        for one in _each(resolved, values, resource_type):
            if not _absent(one):
                found.setdefault((resolved.path, _unique_key(comparable(resolved.attribute, one))), one)
    return found


def _each(resolved: Resolved, values: Values, resource_type: ResourceType) -> list[JSON]:
    """Every single value that the attribute has, also as a part of a multi-valued one."""
    if resolved.parent is None or not resolved.parent.multi_valued:
        value = as_declared(resolved, values.get(resolved.path))
        return value if isinstance(value, list) else [value]
    whole = resource_type.resolve(resolved.top)
    elements = None if whole is None else as_declared(whole, values.get(resolved.top))
    parts = [element.get(resolved.attribute.name) for element in elements or ()]
    return [one for part in parts for one in (part if isinstance(part, list) else [part])]


UNIQUE_KEY = 200  # characters of a text that an index takes as it is


def _unique_key(value: JSON) -> str:
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    return text if len(text) <= UNIQUE_KEY else f"sha256 {hashlib.sha256(text.encode()).hexdigest()}"


def redeclared(document: Mapping[str, JSON], resource_type: ResourceType) -> dict[str, JSON]:
    """A document made when the workspace's own schemas may have been others, with what they declare now of its values."""
    own = {schema.id for schema, _ in resource_type.extensions if schema.id not in STANDARD_EXTENSIONS}
    lying = {urn: document[urn] for urn in own & document.keys()}
    values: dict[str, JSON] = {}
    for key, value in _attributes(lying, resource_type):
        resolved = resource_type.resolve(key)
        if resolved is not None and isinstance(value, Mapping):
            values |= {f"{resolved.path}.{name}": part for name, part in value.items()}
        elif resolved is not None:
            values[resolved.path] = value
    fresh = unflatten(values, resource_type)
    used = {urn for urn in fresh if urn != "schemas"} | (STANDARD_EXTENSIONS & document.keys())
    kept = {key: value for key, value in document.items() if ":" not in key or key in STANDARD_EXTENSIONS}
    return kept | fresh | {"schemas": _schemas(used, resource_type)}


def canonical(
    document: JSON, resource_type: ResourceType, unknown: Unknown = "ignore", *, partial: bool = False
) -> dict[str, JSON]:
    """Values of a document a client sent (RFC 7644 sections 3.3 and 3.5.1).

    readOnly attributes are dropped, spellings and booleans made canonical. `partial` leaves required attributes to the
    caller. An unknown attribute raises InvalidSyntax if it is to be refused; a wrong value raises InvalidValue.
    """
    if not isinstance(document, Mapping):
        raise InvalidSyntax(f"A {resource_type.name} is a JSON object, not {_kind(document)}.")
    values: dict[str, JSON] = {}
    seen: set[str] = set()
    for key, value in _attributes(document, resource_type):
        resolved = resource_type.resolve(key)
        if resolved is None or (resolved.parent is not None and resolved.parent.multi_valued):
            if unknown == "refuse" and key.lower() != "schemas":
                raise InvalidSyntax(f"{shown(key)} is not an attribute of {resource_type.name}.")
            continue
        if resolved.path in seen:
            raise InvalidValue(f"{resolved.path} is given twice; names do not differ by case.")
        seen.add(resolved.path)
        if resolved.read_only:
            continue
        given = canonical_value(resolved, value, unknown)
        parts = [f"{resolved.path}.{name}" for name in given] if isinstance(given, Mapping) else [resolved.path]
        if twice := next((path for path in parts if path in values), None):
            raise InvalidValue(f"{twice} is given twice, within its attribute and by its path.")
        _spread(values, resolved, given)
    if not partial:
        for attribute in resource_type.attributes:
            if attribute.required and attribute.name != "schemas" and not str(values.get(attribute.name, "")).strip():
                raise InvalidValue(f"{attribute.name} is required.")
        _check_extensions(values, resource_type)
    return values


def _check_extensions(values: Values, resource_type: ResourceType) -> None:
    """An extension is there if it holds something; then, or if it has to be there, so must what it requires."""
    for schema, needed in resource_type.extensions:
        used = any(path.startswith(f"{schema.id}:") for path in values)
        if needed and not used:
            raise InvalidValue(f"{schema.id} is required: the resource needs attributes of this extension.")
        for attribute in schema.attributes if used else ():
            path = f"{schema.id}:{attribute.name}"
            if attribute.required and not any(each == path or each.startswith(f"{path}.") for each in values):
                raise InvalidValue(f"{path} is required.")
            parts = {sub.name for sub in attribute.sub_attributes if f"{path}.{sub.name}" in values}
            for sub in attribute.sub_attributes if parts else ():
                if sub.required and sub.name not in parts:
                    raise InvalidValue(f"{path}.{sub.name} is required.")


def canonical_value(resolved: Resolved, value: JSON, unknown: Unknown = "ignore") -> JSON:
    """The canonical form of a whole value for an attribute, readOnly or not; None if it is absent.

    A complex value is a mapping of canonical sub-attribute names. Raises InvalidValue; InvalidSyntax for unknown names.
    """
    attribute = resolved.attribute
    if value.__class__ is str and value and attribute.type is Type.STRING and not attribute.multi_valued:
        return _simple(attribute, value, resolved.path)
    return _canonical(attribute, value, resolved.path, unknown)


def _canonical(attribute: Attribute, value: JSON, path: str, unknown: Unknown) -> JSON:
    if not attribute.multi_valued:
        return _single(attribute, value, path, unknown)
    if value is None:
        return None
    elements = value if isinstance(value, list | tuple) else [value]
    if len(elements) == 1:
        alone = _single(attribute, elements[0], f"{path}[0]", unknown)
        return None if alone is None else [alone]
    kept: dict[JSON, JSON] = {}
    for index, element in enumerate(elements):
        one = _single(attribute, element, f"{path}[{index}]", unknown)
        if one is not None:
            kept.setdefault(_hashable(one), one)
    found = list(kept.values())
    if attribute.sub("primary") is not None and sum(e.get("primary") is True for e in found) > 1:
        raise InvalidValue(f"{path} has more than one value with primary true; at most one may (RFC 7643 section 2.4).")
    return found or None


def _single(attribute: Attribute, value: JSON, path: str, unknown: Unknown) -> JSON:
    if attribute.type is not Type.COMPLEX:
        return _simple(attribute, value, path)
    if value in (None, "", []):
        return None
    if not isinstance(value, Mapping):
        raise InvalidValue(f"{path} is an object, not {_kind(value)}.")
    found: dict[str, JSON] = {}
    for key, part in value.items():
        sub = attribute.sub(key) if isinstance(key, str) else None
        if sub is None:
            if unknown == "refuse":
                raise InvalidSyntax(f"{shown(key)} is not a sub-attribute of {path}.")
            continue
        if sub.name in found:
            raise InvalidValue(f"{path}.{sub.name} is given twice; names do not differ by case.")
        if sub.mutability is Mutability.READ_ONLY and attribute.mutability is not Mutability.READ_ONLY:
            continue
        one = _canonical(sub, part, f"{path}.{sub.name}", unknown)
        if one is not None:
            found[sub.name] = one
    if found and attribute.multi_valued:
        for sub in attribute.sub_attributes:
            if sub.required and sub.name not in found:
                raise InvalidValue(f"{path}.{sub.name} is required.")
    return found or None


def _simple(attribute: Attribute, value: JSON, path: str) -> JSON:
    if value is None or value == "":
        return None
    if attribute.type is Type.STRING and isinstance(value, str) and _storable(value):
        return value
    expected: str
    match attribute.type:
        case Type.BOOLEAN:
            if isinstance(value, bool):
                return value
            expected = "true or false"
        case Type.INTEGER:
            if isinstance(value, int) and not isinstance(value, bool) and value in _INT64:
                return value
            expected = "an integer of 64 bits"
        case Type.DECIMAL:
            if isinstance(value, float) and math.isfinite(value):
                return value
            if isinstance(value, int) and not isinstance(value, bool) and value in _INT64:
                return value
            expected = "a number"
        case Type.DATETIME:
            if isinstance(value, str):
                try:
                    instant(value)
                    return value
                except ValueError:
                    pass
            expected = "a dateTime such as 2011-05-13T04:42:34Z"
        case _:
            if isinstance(value, str):
                if _UNSTORABLE.search(value):
                    raise InvalidValue(f"{path} holds a NUL or half a surrogate pair, which no text may.")
                if (attribute.type is not Type.BINARY or _BASE64.fullmatch(value)) and _refers(attribute, value):
                    return value
            expected = "base64" if attribute.type is Type.BINARY else "a string"
            if attribute.type is Type.REFERENCE and isinstance(value, str):
                raise InvalidValue(f"{path} must be the URL of a {' or '.join(attribute.reference_types)}.")
    raise InvalidValue(f"{path} must be {expected}, not {_kind(value)}.")


def _storable(text: str) -> bool:
    return "\0" not in text if text.isascii() else not _UNSTORABLE.search(text)


def _refers(attribute: Attribute, value: str) -> bool:
    """Whether a reference can mean what it is to mean: by its form, nothing is fetched. A `$ref` is ours to make."""
    types = attribute.reference_types
    if attribute.type is not Type.REFERENCE or attribute.name == "$ref" or not {*types} <= {"User", "Group"}:
        return True
    found = _OF_A_RESOURCE.search(value)
    return found is not None and found[1] in types


def _schemas(used: Collection[str], resource_type: ResourceType) -> list[str]:
    """The core schema and each extension that holds something (RFC 7643 section 3)."""
    if not used:
        return [resource_type.schema.id]
    return [resource_type.schema.id, *(schema.id for schema, _ in resource_type.extensions if schema.id in used)]


def _attributes(document: Mapping[str, JSON], resource_type: ResourceType) -> Iterator[tuple[str, JSON]]:
    """(path, value) of each attribute; an extension's object is opened, `schemas` left out."""
    for key, value in document.items():
        if not isinstance(key, str) or key == "schemas" or key.lower() == "schemas":
            continue
        schema = resource_type.extension(key) if ":" in key else None
        if schema is None:
            yield key, value
        elif isinstance(value, Mapping):
            for name, part in value.items():
                yield f"{schema.id}:{name}", part
        elif value is not None:
            raise InvalidValue(f"{schema.id} is an object, not {_kind(value)}.")


def _spread(values: dict[str, JSON], resolved: Resolved, value: JSON) -> None:
    if _absent(value):
        return
    if resolved.attribute.type is not Type.COMPLEX or resolved.attribute.multi_valued:
        values[resolved.path] = value
        return
    for name, part in value.items():
        sub = resolved.attribute.sub(name)
        if sub is not None and not _absent(part):
            values.setdefault(f"{resolved.path}.{sub.name}", part)


def _absent(value: JSON) -> bool:
    return not value and (value is None or isinstance(value, str | list | dict | tuple))


def _hashable(value: JSON) -> JSON:
    if isinstance(value, Mapping):
        return tuple(sorted((name, _hashable(part)) for name, part in value.items()))
    return tuple(_hashable(part) for part in value) if isinstance(value, list) else value


def shown(text: object) -> str:
    """A client's text as an error may repeat it: short, and encodable whatever it held."""
    plain = "".join(c if c.isprintable() else "?" for c in str(text)[: SHOWN + 1])
    return plain if len(plain) <= SHOWN else plain[:SHOWN] + "..."


def _kind(value: JSON) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return f'"{shown(value)}"'
        case list() | tuple():
            return "an array"
        case _:
            return "an object"
