"""Schemas that a workspace adds to its resource types, each a JSON file: a Schema resource as RFC 7643 section 7 has it.

What the file says is what is enforced and what `/Schemas` shows, so whatever syncd would not keep its word on is a fault:
an unknown characteristic, a complex attribute within a complex one (2.3.8), a value that could be stated by nobody or seen
by nobody, uniqueness beyond this server. All faults of a file come together, each at its line, column and path.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar

from syncd.core.schema import ENTERPRISE_USER, SYNCD_USER, Attribute, Mutability, Returned, Schema, Type, Uniqueness
from syncd.core.types import Extension
from syncd.settings import tree
from syncd.settings.block import unknown
from syncd.settings.model import ExtensionFile
from syncd.settings.tree import Fault, Place
from syncd.settings.values import shown

Word = TypeVar("Word", bound=StrEnum)

_SCHEMA_URN: Final = "urn:ietf:params:scim:schemas:core:2.0:Schema"
_RESERVED: Final = ("urn:ietf:params:scim:schemas:core:", "urn:ietf:params:scim:api:", f"{ENTERPRISE_USER}:")
_RESERVED_WHOLE: Final = (ENTERPRISE_USER, SYNCD_USER)
# What the filter language reads as one word (core/filter_text.py), so that each attribute can be asked for.
_URN: Final = re.compile(r"urn:[a-z0-9][a-z0-9-]{1,31}(:[A-Za-z0-9$_.-]+)+", re.IGNORECASE)
_ATTRIBUTE_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9$_-]*")  # RFC 7643 section 2.1
_SCHEMA_KEYS: Final = ("schemas", "id", "name", "description", "attributes", "meta")
_KEYS: Final = (
    *("name", "type", "multiValued", "description", "required", "canonicalValues", "caseExact", "mutability"),
    *("returned", "uniqueness", "referenceTypes", "subAttributes"),
)
_REFERENCES: Final = ("User", "Group", "external", "uri")
_ALWAYS_EXACT: Final = (Type.BINARY, Type.REFERENCE)  # RFC 7643 sections 2.3.6 and 2.3.7


def read(files: Iterable[ExtensionFile]) -> tuple[tuple[Extension, ...], list[Fault]]:
    """The extensions of one workspace, and all faults of their files."""
    found: list[Extension] = []
    faults: list[Fault] = []
    whose: dict[str, Path] = {}
    for each in files:
        reader = _Reader(str(each.file))
        schema = reader.schema(each.file)
        if schema is not None:
            _check_urn(reader, schema, each.file, whose)
            found.append(Extension(schema, each.of, each.required))
        faults.extend(reader.faults)
    return tuple(found), faults


def _check_urn(reader: _Reader, schema: Schema, file: Path, whose: dict[str, Path]) -> None:
    """An attribute's path begins with its schema's URN, so no URN may be another one's beginning."""
    urn = schema.id.lower()
    for other, path in whose.items():
        if urn == other and path != file:
            reader.fault(("id",), f"{shown(schema.id)} is the schema of {path} already")
        elif urn.startswith(f"{other}:") or other.startswith(f"{urn}:"):
            reader.fault(("id",), f"{shown(schema.id)} and the schema of {path} begin alike: paths would mean either")
    whose.setdefault(urn, file)


@dataclass(slots=True)
class _Reader:
    """One file on its way to a Schema; every fault is noted and the rest read on."""

    file: str
    faults: list[Fault] = field(default_factory=list)
    root: Any = None

    def fault(self, path: tuple[str | int, ...], what: str, *, key: bool = False) -> None:
        """At the value of `path`, or at its key; at the nearest thing around it if the file does not have it."""
        place, node, dotted = Place(1, 1), self.root, ""
        for number, step in enumerate(path):
            dotted += f"[{step}]" if isinstance(step, int) else f".{step}" if dotted else step
            if isinstance(node, tree.Mapping) and step in node:
                last = number == len(path) - 1
                place = (node.keys_at if key and last else node.values_at).get(str(step), place)
                node = node[str(step)]
            elif isinstance(node, tree.Sequence) and isinstance(step, int):
                place, node = node.values_at[step], node[step]
        self.faults.append(Fault(place, dotted, what, self.file))

    def schema(self, path: Path) -> Schema | None:
        try:
            text = path.read_text(encoding="utf-8-sig")
            json.loads(text)
        except json.JSONDecodeError as exc:
            self.faults.append(Fault(Place(exc.lineno, exc.colno), "", f"is not JSON: {exc.msg}", self.file))
            return None
        # JSON is YAML but for tabs between its words, and the reader of YAML knows where everything stands.
        self.root, faults = tree.read(text.replace("\t", " "), self.file)
        self.faults += [Fault(each.place, each.path, each.what, self.file) for each in faults]
        if self.root is None or not self._keys(self.root, (), _SCHEMA_KEYS):
            return None
        urn = self._urn()
        name = self._text(self.root, (), "name") or (urn or "").rpartition(":")[2]
        description = self._text(self.root, (), "description") or name
        schemas = self.root.get("schemas")
        if schemas is not None and schemas != [_SCHEMA_URN]:
            self.fault(("schemas",), f"is [{_SCHEMA_URN}] or left out: this file is a Schema resource")
        attributes = self._attributes(self.root, (), "attributes", None)
        return Schema(urn, name, description, attributes) if urn else None

    def _urn(self) -> str | None:
        urn = self._text(self.root, (), "id", needed=True)
        if urn is None:
            return None
        if not _URN.fullmatch(urn):
            self.fault(
                ("id",), f"{shown(urn)} is not a URN such as urn:example:params:scim:schemas:extension:acme:2.0:User"
            )
            return None
        own = f"{urn}:".lower()
        if own.startswith(tuple(each.lower() for each in _RESERVED)) or any(
            own.startswith(f"{each}:".lower()) or f"{each}:".lower().startswith(own) for each in _RESERVED_WHOLE
        ):
            self.fault(("id",), f"{shown(urn)} is a schema of the standard or of syncd: choose a URN of your own")
            return None
        return urn

    def _attributes(
        self, home: Mapping[str, Any], at: tuple[str | int, ...], key: str, parent: str | None
    ) -> tuple[Attribute, ...]:
        listed = home.get(key)
        if not isinstance(listed, list) or not listed:
            what = "is a list of attributes that is not empty" if key in home else "is required: a list of attributes"
            self.fault((*at, key), what)
            return ()
        found: dict[str, Attribute] = {}
        for number, each in enumerate(listed):
            here = (*at, key, number)
            if not isinstance(each, tree.Mapping):
                self.fault(here, f"{shown(each)} is not an attribute: an object with name and type")
            elif self._keys(each, here, _KEYS):
                attribute = self._attribute(each, here, parent)
                if attribute is not None and attribute.name.lower() in found:
                    self.fault((*here, "name"), f"{shown(attribute.name)} is given twice; names do not differ by case")
                elif attribute is not None:
                    found[attribute.name.lower()] = attribute
        return tuple(found.values())

    def _attribute(self, given: tree.Mapping, at: tuple[str | int, ...], parent: str | None) -> Attribute | None:
        name = self._text(given, at, "name", needed=True)
        if name is not None and name != "$ref" and not _ATTRIBUTE_NAME.fullmatch(name):
            self.fault(
                (*at, "name"), f"{shown(name)} is no name: a letter, then letters, digits, $, - or _ (RFC 7643 2.1)"
            )
        type = self._word(given, at, "type", Type.STRING)
        subs: tuple[Attribute, ...] = ()
        if type is Type.COMPLEX and parent is not None:
            self.fault((*at, "type"), f"complex within the complex attribute {parent}: no such thing (RFC 7643 2.3.8)")
        elif type is Type.COMPLEX:
            subs = self._attributes(given, at, "subAttributes", name or "?")
        elif "subAttributes" in given:
            self.fault((*at, "subAttributes"), f"only a complex attribute has them, and this one is {type}", key=True)
        found = Attribute(
            name or "?",
            type,
            multi_valued=self._bool(given, at, "multiValued"),
            required=self._bool(given, at, "required"),
            case_exact=self._bool(given, at, "caseExact", type in _ALWAYS_EXACT),
            mutability=self._word(given, at, "mutability", Mutability.READ_WRITE),
            returned=self._word(given, at, "returned", Returned.DEFAULT),
            uniqueness=self._word(given, at, "uniqueness", Uniqueness.NONE),
            canonical_values=self._texts(given, at, "canonicalValues"),
            reference_types=self._texts(given, at, "referenceTypes"),
            sub_attributes=subs,
            description=self._text(given, at, "description") or "",
        )
        for key, what in _contradictions(found, given):
            self.fault((*at, key), what)
        return found if name else None

    # -- single keys -----------------------------------------------------------------------------------------------

    def _keys(self, given: tree.Mapping, at: tuple[str | int, ...], known: tuple[str, ...]) -> bool:
        for key in given:
            if key not in known:
                self.fault((*at, key), unknown(key, known), key=True)
        return True

    def _text(self, given: tree.Mapping, at: tuple[str | int, ...], key: str, needed: bool = False) -> str | None:
        value = given.get(key)
        if isinstance(value, str) and value:
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # JSON writes some in halves
        if key in given:
            self.fault((*at, key), f"{shown(value)} is not text" if value != "" else "must not be empty")
        elif needed:
            self.fault((*at, key), "is required")
        return None

    def _texts(self, given: tree.Mapping, at: tuple[str | int, ...], key: str) -> tuple[str, ...]:
        value = given.get(key, [])
        if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
            self.fault((*at, key), "is a list of texts")
            return ()
        return tuple(value)

    def _bool(self, given: tree.Mapping, at: tuple[str | int, ...], key: str, usual: bool = False) -> bool:
        value = given.get(key, usual)
        if not isinstance(value, bool):
            self.fault((*at, key), f"{shown(value)} is not true or false")
            return usual
        return value

    def _word(self, given: tree.Mapping, at: tuple[str | int, ...], key: str, usual: Word) -> Word:
        value = given.get(key, usual.value)
        words = [each.value for each in type(usual)]
        if value not in words:
            close = get_close_matches(str(value), words, n=1)
            hint = f", did you mean '{close[0]}'?" if close else ""
            self.fault((*at, key), f"{shown(value)} is not one of {', '.join(words)}{hint}")
            return usual
        return type(usual)(value)


def _contradictions(one: Attribute, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What the standard does not have, or nobody could keep."""
    if one.type is Type.REFERENCE and not one.reference_types:
        yield "referenceTypes", f"is required for a reference: some of {', '.join(_REFERENCES)}"
    if one.type is not Type.REFERENCE and one.reference_types:
        yield "referenceTypes", f"only a reference has them, and this one is {one.type}"
    for each in one.reference_types:
        if each not in _REFERENCES:
            yield "referenceTypes", f"{shown(each)} is not one of {', '.join(_REFERENCES)}"
    if one.canonical_values and one.type is not Type.STRING:
        yield "canonicalValues", f"are texts, and this attribute is {one.type}"
    if one.type in _ALWAYS_EXACT and not one.case_exact:
        yield "caseExact", f"a {one.type} is case exact always (RFC 7643 2.3.6, 2.3.7)"
    if one.type is Type.COMPLEX and given.get("caseExact") is not None:
        yield "caseExact", "says nothing of a complex attribute: give it to its sub-attributes"
    read_only, never = one.mutability is Mutability.READ_ONLY, one.returned is Returned.NEVER
    if one.mutability is Mutability.WRITE_ONLY and not never:
        yield (
            ("returned" if "returned" in given else "mutability"),
            "writeOnly is never returned (RFC 7643 2.2): say so",
        )
    if read_only and never:
        yield "returned", "never shown and readOnly: nobody could state it and nobody see it"
    if read_only and one.required:
        yield "required", "readOnly and required: clients cannot state what they have to"
    if one.uniqueness is Uniqueness.GLOBAL:
        yield "uniqueness", "global cannot be promised by one server: leave it out"
    if one.uniqueness is Uniqueness.SERVER and one.type in (Type.COMPLEX, Type.BOOLEAN):
        yield "uniqueness", f"server is kept of texts, numbers and dates: a {one.type.value} value is never unique"
