"""PATCH as a pure function of a document (RFC 7644 section 3.5.2): the whole request succeeds or nothing has changed.

`add` and `replace` of a complex value both merge: the sub-attributes given replace, the others stay (3.5.2.3; Entra and
SailPoint rely on it). `add` to a list appends what is not there yet, `replace` of a list replaces all of it. A filter
that selects nothing is no change for `remove` and noTarget for the others. A readOnly target is no error if the value
is the stored one, since clients repeat what they were sent. null, "" and [] are no value (RFC 7643 2.5): `replace`
with them removes, `add` of them does nothing. A list element that is left with only type, primary or display, and had more,
is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import orjson

from syncd.core import filter as filters
from syncd.core.resource import Unknown, canonical_value, search_element, shown
from syncd.core.schema import Attribute, Resolved, ResourceType, Schema, Type
from syncd.core.schema import Mutability as Mutable
from syncd.errors import InvalidPath, InvalidSyntax, InvalidValue, Mutability, NoTarget, SyncdError, TooLarge
from syncd.scim import path as paths
from syncd.scim.messages import ABSENT, Operation
from syncd.scim.path import Path

Document = dict[str, Any]

# Each operation on a list looks at all of it. A list built by 1,000 single adds passes; 1,000 operations on a list of
# 15,000 took 45 seconds, this ends them after two. A condition of ten comparisons counts as another look.
MAX_VALUES_SEEN: Final = 600_000
_DESCRIPTIVE = frozenset({"type", "primary", "display"})


def apply_patch(
    document: Mapping[str, Any],
    operations: Sequence[Operation],
    resource_type: ResourceType,
    unknown: Unknown = "ignore",
) -> Document:
    """The document after the operations; `document` (nested, canonical, read-only parts included) stays as it is.

    What did not change is shared by both; operations that change nothing give an equal document. `unknown` is about names
    within values; a path that does not exist is always refused. Raises InvalidPath, InvalidFilter, InvalidValue,
    InvalidSyntax, NoTarget, Mutability or TooLarge, the message beginning with `Operations[index]`.
    """
    patch = Patch(document, resource_type, unknown)
    for operation in operations:
        try:
            patch.apply(operation)
        except SyncdError as exc:
            raise type(exc)(f"{at(operation)}: {exc}") from exc
    return patch.finished(document)


def looked_at(operations: Sequence[Operation], resource_type: ResourceType) -> frozenset[str] | None:
    """The members of a document that these operations may read or change; None: any of them.

    A document of these members alone comes to the same, wherever the rest is put back (scim/statements.py: difference).
    """
    found = {"id"}
    for operation in operations:
        names = (operation.path,) if operation.path is not None else operation.value
        if not isinstance(names, tuple | Mapping):
            return None
        for name in names:
            top = _own_member(name, resource_type) if len(name) <= paths.SHORT else None
            if top is None:
                return None
            found.add(top)
    return frozenset(found)


@lru_cache(4096)  # clients repeat the same few paths
def _own_member(path: str, resource_type: ResourceType) -> str | None:
    """The member of a core attribute, which nothing else is read for; None for what is derived, or of an extension."""
    attribute = resource_type.resolve(path.partition("[")[0].strip())
    return None if attribute is None or attribute.extension is not None or attribute.read_only else attribute.top


def at(operation: Operation) -> str:
    """How a message names an operation: its index in the request, what it does, and its path."""
    path = "" if operation.path is None else f" {shown(operation.path)}"
    return f"Operations[{operation.index}] ({operation.kind}{path})"


class Patch:
    """A document under change, operation by operation; worthless once an operation failed.

    Only the document's and its extensions' own dictionaries are changed in place; every value is replaced by a new one.
    """

    def __init__(self, document: Mapping[str, Any], resource_type: ResourceType, unknown: Unknown = "ignore") -> None:
        self.document: Document = dict(document)
        for schema, _ in resource_type.extensions:
            if schema.id in self.document:
                self.document[schema.id] = dict(self.document[schema.id])
        self.type = resource_type
        self.unknown: Unknown = unknown
        self._values_seen = 0

    def apply(self, operation: Operation) -> None:
        kind, value = operation.kind, operation.value
        if kind != "remove" and value is ABSENT:
            raise InvalidValue(f"{kind} needs a value; to take something away use remove with a path")
        if operation.path is not None:
            self._change(kind, paths.parse(operation.path, self.type), value)
        elif kind == "remove":
            raise NoTarget("remove needs a path that names what to remove (RFC 7644 3.5.2.2)")
        elif not isinstance(value, Mapping):
            raise InvalidValue("without a path the value must be an object of attributes")
        else:
            for key, part in value.items():
                self._member(kind, key, key, part)

    def _member(self, kind: str, key: str, text: str, value: Any) -> None:
        """One member of a value object. Its key may be a name, dotted, with a URN, or a path with a filter (Entra)."""
        if self.type.resolve(text.partition("[")[0].strip()) is not None:
            self._change(kind, paths.parse(text, self.type), value)
        elif self.unknown == "refuse":
            raise InvalidSyntax(f"{self.type.name} has no attribute {shown(key)}")

    def selects(self, path: Path) -> bool:
        """Whether the filter of `path` selects anything."""
        stored = self._stored(path.attribute) or ()
        self._look(path.attribute, len(stored), path.looks)
        return any(map(_matcher(path), stored))

    def stored(self, attribute: Resolved) -> Any:
        return self._stored(attribute)

    def finished(self, original: Mapping[str, Any]) -> Document:
        """With `schemas` naming each extension that now holds something (RFC 7643 section 3)."""
        if "schemas" in self.document:
            schemas = list(self.document["schemas"])
            for schema, _ in self.type.extensions:
                if schema.id in self.document and schema.id not in schemas:
                    schemas.append(schema.id)
                elif schema.id in original and schema.id not in self.document and schema.id in schemas:
                    schemas.remove(schema.id)
            self.document["schemas"] = schemas
        for schema, needed in self.type.extensions:
            if self.document.get(schema.id) != original.get(schema.id):
                _check_extension(schema, needed, self.document.get(schema.id))
        return self.document

    # ------------------------------------------------------------ one attribute

    def _change(self, kind: str, path: Path, value: Any) -> None:
        attribute = path.attribute
        if attribute.path == "schemas":
            if kind == "remove" or value in (None, "", []):
                raise Mutability("schemas is derived from the attributes; remove those of the extension instead")
            return
        if path.whole_extension:
            self._change_extension(kind, attribute, value)
            return
        before = self._stored(attribute)
        if _read_only(path):
            self._repeat_only(kind, path, before, value)
            return
        after = self._after(kind, path, before, value)
        if after != before:
            _check_change(path, before, after)
            self._store(attribute, after)

    def _change_extension(self, kind: str, extension: Resolved, value: Any) -> None:
        if kind == "remove" or (kind == "replace" and value is None):
            for sub in extension.attribute.sub_attributes:
                inner = paths.parse(f"{extension.path}:{sub.name}", self.type)
                if not _read_only(inner) and self._stored(inner.attribute) is not None:
                    self._change("remove", inner, ABSENT)
        elif isinstance(value, Mapping):
            for key, part in value.items():
                self._member(kind, key, f"{extension.path}:{key}", part)
        elif value is not None:
            raise InvalidValue(f"{extension.path} is an extension: its value must be an object of attributes")

    def _stored(self, attribute: Resolved) -> Any:
        home = self.document if attribute.extension is None else self.document.get(attribute.extension, {})
        stored = home.get(attribute.attribute.name)
        if isinstance(stored, list):
            self._look(attribute, len(stored))
        return stored

    def _look(self, attribute: Resolved, values: int, times: int = 1) -> None:
        self._values_seen += values * times
        if self._values_seen > MAX_VALUES_SEEN:
            raise TooLarge(
                f"{attribute.path} has {values} values, too many for so many operations and conditions: send fewer in"
                " one PATCH"
            )

    def _store(self, attribute: Resolved, value: Any) -> None:
        home, name = self.document, attribute.attribute.name
        if attribute.extension is not None:
            home = self.document.setdefault(attribute.extension, {})
        if value is None:
            home.pop(name, None)
        else:
            home[name] = value
        if attribute.extension is not None and not home:
            del self.document[attribute.extension]

    def _repeat_only(self, kind: str, path: Path, before: Any, value: Any) -> None:
        target = path.sub or path.attribute
        stored = before if path.sub is None or not isinstance(before, Mapping) else before.get(path.sub.attribute.name)
        if kind != "remove" and path.where is None:
            given = canonical_value(target, value, self.unknown)
            if given == stored or (isinstance(given, Mapping) and given.items() <= (stored or {}).items()):
                return
        raise Mutability(f"{target.path} is readOnly: leave it out")

    # ------------------------------------------------------------ what it becomes; None: unassigned

    def _after(self, kind: str, path: Path, before: Any, value: Any) -> Any:
        multi_valued = path.attribute.attribute.multi_valued
        if path.where is not None:
            return self._selected(kind, path, before or [], value)
        if path.sub is not None and multi_valued:
            _refuse_value_of_remove(kind, path, value)
            return self._sub_of_list(kind, path, before or [], value)
        if path.sub is not None:
            after = self._with_sub(kind, path, before or {}, value)
            return _without_derived(path.attribute.attribute, before or {}, after) or None
        if kind == "remove":
            if multi_valued:
                _refuse_value_of_remove(kind, path, value)
            return None
        if multi_valued:
            given = canonical_value(path.attribute, value, self.unknown) or []
            return (_appended(path.attribute.attribute, before or [], given) if kind == "add" else given) or None
        if path.attribute.attribute.type is Type.COMPLEX:
            return self._merged(kind, path.attribute, before, value)
        given = canonical_value(path.attribute, value, self.unknown)
        return before if given is None and kind == "add" else given

    def _merged(self, kind: str, attribute: Resolved, before: Any, value: Any) -> Any:
        given = canonical_value(attribute, value, self.unknown)
        if given is None and not isinstance(value, Mapping):
            return before if kind == "add" else None
        after = {**(before or {}), **_parts(attribute.attribute, kind, before or {}, given or {})}
        if kind == "replace" and isinstance(value, Mapping):
            for key, part in value.items():
                sub = attribute.attribute.sub(key)
                if sub is not None and part in (None, "", []) and sub.mutability is not Mutable.READ_ONLY:
                    after.pop(sub.name, None)
        return _without_derived(attribute.attribute, before or {}, after) or None

    def _with_sub(self, kind: str, path: Path, before: Mapping[str, Any], value: Any) -> Document:
        """One complex value with its sub-attribute set or removed."""
        assert path.sub is not None
        name = path.sub.attribute.name
        given = None if kind == "remove" else canonical_value(path.sub, value, self.unknown)
        if given is not None:
            return {**before, **_parts(path.sub.attribute, kind, before, {name: given})}
        if kind == "add":
            return dict(before)
        return {key: part for key, part in before.items() if key != name}

    def _sub_of_list(self, kind: str, path: Path, before: list[Document], value: Any) -> Any:
        """`emails.value`: of every element for remove; else there must be no doubt which one is meant."""
        if kind != "remove" and len(before) > 1:
            raise InvalidPath(
                f"{path.text} could mean any of {len(before)} values: select one, such as "
                f'{path.attribute.path}[type eq "work"].{path.text.rpartition(".")[2]}'
            )
        elements = before if before or kind == "remove" else [{}]
        after = [self._with_sub(kind, path, element, value) for element in elements]
        return _telling(path, before, after)

    def _selected(self, kind: str, path: Path, before: list[Any], value: Any) -> Any:
        """`emails[type eq "work"]` and `emails[type eq "work"].value`."""
        matches = _matcher(path)
        self._look(path.attribute, len(before), path.looks)
        chosen = [index for index, element in enumerate(before) if matches(element)]
        if not chosen and kind == "remove":
            return before or None
        if not chosen:
            raise NoTarget(
                f"no value of {path.attribute.path} matches: add the whole value with path {path.attribute.path}"
            )
        after = list(before)
        if path.sub is None and kind == "remove":
            return [element for element in before if not matches(element)] or None
        for index in chosen:
            if path.sub is not None:
                after[index] = self._with_sub(kind, path, before[index], value)
            else:
                after[index] = self._element(kind, path, before[index], value)
        fresh = [i for i in chosen if isinstance(after[i], Mapping) and after[i].get("primary") is True]
        if after != before and len(fresh) > 1:
            raise InvalidValue(f"{path.text} selects {len(fresh)} values, but only one may be primary")
        after = _one_primary(after, fresh)
        told = _telling(path, before, after)
        return _each_once(told) if told and len(chosen) > 1 and after != before else told

    def _element(self, kind: str, path: Path, before: Any, value: Any) -> Any:
        """A selected element replaced: what the filter says of it stays true unless the value says otherwise."""
        given = canonical_value(path.attribute, value, self.unknown) or []
        if len(given) != 1:
            raise InvalidValue(f"the value for {path.text} must be one value of the list; to take it away use remove")
        assert path.where is not None
        if path.attribute.attribute.type is not Type.COMPLEX:
            return given[0]
        kept = (
            before
            if kind == "add"
            else {name: before[name] for name in paths.equal_terms(path.where, path.attribute) or {} if name in before}
        )
        return {**kept, **_parts(path.attribute.attribute, kind, kept, given[0])}


# ---------------------------------------------------------------- lists


def _parts(attribute: Attribute, kind: str, before: Mapping[str, Any], given: Mapping[str, Any]) -> Document:
    """What `given` makes of the parts of a complex value. `attribute`: the complex one, or the part itself."""
    found = dict(given)
    for name, part in given.items() if kind == "add" else ():
        sub = attribute.sub(name) or attribute
        if isinstance(part, list) and sub.multi_valued and isinstance(before.get(name), list):
            found[name] = _appended(sub, before[name], part)
    return found


def _appended(attribute: Attribute, before: list[Any], given: list[Any]) -> list[Any]:
    """`before` and what of `given` is new. One with the same value and type is there already; its other parts merge."""
    after = list(before)
    places = {_identity(attribute, element): index for index, element in enumerate(before)}
    fresh: list[int] = []
    exactly = {_packed(each) for each in before} if len(places) < len(before) else frozenset()  # some are alike
    for element in given:
        if exactly and _packed(element) in exactly:
            continue
        index = places.setdefault(_identity(attribute, element), len(after))
        if index == len(after):
            after.append(element)
        elif isinstance(element, Mapping):
            after[index] = {
                **element,
                **after[index],
                **{k: v for k, v in element.items() if k not in ("value", "type")},
            }
        if isinstance(element, Mapping) and element.get("primary") is True:
            fresh.append(index)
    return _one_primary(after, fresh)


def _identity(attribute: Attribute, element: Any) -> Any:
    found = search_element(attribute, element)
    if not isinstance(found, Mapping):
        return found
    if "value" not in found:
        return _packed(found)
    value, kind = found["value"], found.get("type")
    return _packed([value, kind]) if isinstance(value, list) or isinstance(kind, list) else (value, kind)


def _one_primary(elements: list[Any], fresh: Sequence[int]) -> list[Any]:
    """Setting one value primary makes the others not primary (RFC 7644 3.5.2)."""
    if not fresh:
        return elements
    keep = fresh[-1]
    return [
        {**element, "primary": False} if index != keep and element.get("primary") is True else element
        for index, element in enumerate(elements)
    ]


def _each_once(elements: list[Any]) -> list[Any]:
    """No value twice (RFC 7643 section 2.4): several may have become the same."""
    return list({_packed(each): each for each in elements}.values())


def _packed(element: Any) -> bytes:
    """The same of equal elements."""
    return orjson.dumps(element, option=orjson.OPT_SORT_KEYS)


def _telling(path: Path, before: list[Any], after: list[Any]) -> list[Any] | None:
    """Without the elements of which this operation left nothing but a description; what was no more before stays."""
    if path.attribute.attribute.type is not Type.COMPLEX:
        return list(dict.fromkeys(after)) or None
    pairs = zip(before or [None] * len(after), after, strict=True)
    return [
        new
        for old, new in pairs
        if new.keys() - _DESCRIPTIVE or (new and old is not None and not old.keys() - _DESCRIPTIVE)
    ] or None


def _refuse_value_of_remove(kind: str, path: Path, value: Any) -> None:
    """Taking away all where the client listed some would be worse than an error."""
    if kind == "remove" and value is not ABSENT and value is not None:
        name = path.attribute.path
        raise InvalidValue(f'remove takes no value: select what to remove, such as {name}[value eq "..."]')


def _matcher(path: Path) -> Callable[[Mapping[str, Any]], bool]:
    assert path.where is not None
    test = filters.compile(path.where)
    return lambda element: test(search_element(path.attribute.attribute, element))


# ---------------------------------------------------------------- mutability


def _read_only(path: Path) -> bool:
    own = path.sub is not None and path.sub.attribute.mutability is Mutable.READ_ONLY
    return own or path.attribute.attribute.mutability is Mutable.READ_ONLY


def _without_derived(attribute: Attribute, before: Mapping[str, Any], after: Document) -> Document:
    """A changed complex value loses its readOnly parts: a new manager's displayName is not the old one's."""
    if after == before:
        return after
    derived = {sub.name for sub in attribute.sub_attributes if sub.mutability is Mutable.READ_ONLY}
    left = {key: part for key, part in after.items() if key not in derived}
    return left if left.keys() - _DESCRIPTIVE else {}


def _check_extension(schema: Schema, needed: bool, after: Mapping[str, Any] | None) -> None:
    """What an extension requires it has, wherever it is there at all (RFC 7643 section 6)."""
    if not after and needed:
        raise Mutability(f"{schema.id} is required: it cannot be removed")
    for attribute in schema.attributes if after else ():
        if attribute.required and attribute.name not in (after or {}):
            raise Mutability(f"{schema.id}:{attribute.name} is required as long as the extension has values")


def _check_change(path: Path, before: Any, after: Any) -> None:
    attribute = path.attribute.attribute
    if after is None and attribute.required and path.attribute.extension is None:
        raise Mutability(f"{path.attribute.path} is required: replace it, it cannot be removed")
    if attribute.required and isinstance(after, str) and not after.strip():
        raise InvalidValue(f"{path.attribute.path} is required: it cannot be blank")
    needed = [sub.name for sub in attribute.sub_attributes if sub.required]
    for element in (after if isinstance(after, list) else [after]) if needed else ():
        if element is not None and (missing := [name for name in needed if name not in element]):
            raise Mutability(f"{path.attribute.path}.{missing[0]} is required: remove the value whole")
    if before is not None and attribute.mutability is Mutable.IMMUTABLE:
        raise Mutability(f"{path.attribute.path} is immutable: it is set once")
    if path.where is None and path.sub is None and attribute.multi_valued:
        return  # elements were added or taken away, none was edited
    olds, news = (before, after) if isinstance(before, list) else ([before], [after])
    if isinstance(news, list) and len(olds) == len(news):
        for sub in attribute.sub_attributes:
            for old, new in zip(olds, news, strict=True):
                if (
                    sub.mutability is Mutable.IMMUTABLE
                    and old
                    and sub.name in old
                    and (new or {}).get(sub.name) != old[sub.name]
                ):
                    raise Mutability(
                        f"{path.attribute.path}.{sub.name} is immutable: remove the value and add a new one"
                    )
