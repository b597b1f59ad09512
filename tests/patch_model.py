"""PATCH as RFC 7644 section 3.5.2 tells it, on plain dictionaries: what `scim/patch.py` is held against.

Written from the text, not from the engine: a path is a value here (`Target`), a condition a tree that is asked directly, and
attributes are looked at by their characteristics only (RFC 7643 section 2.2). Where the text leaves something open, the
choice is the one of docs/scim.md and is named at its place.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from syncd.core.schema import Attribute, Mutability, ResourceType, Type

Document = dict[str, Any]
ABSENT: Any = object()
DESCRIPTIVE = {"type", "primary", "display"}
EMPTY: tuple[Any, ...] = (None, "", [], {})


class Refused(Exception):
    """`kind`: the scimType."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


@dataclass(frozen=True)
class Condition:
    text: str
    holds: Callable[[Any], bool] = field(compare=False)
    equal: Mapping[str, Any] | None = None  # what an element is of which it holds, if it is equalities joined by `and`


@dataclass(frozen=True)
class Target:
    """`name` of an attribute, in `extension` or of the core; () of both: the whole extension or no path at all."""

    name: str = ""
    extension: str = ""
    where: Condition | None = None
    sub: str = ""

    @property
    def text(self) -> str:
        found = ":".join(filter(None, (self.extension, self.name)))
        found += "" if self.where is None else f"[{self.where.text}]"
        return found + (f".{self.sub}" if self.sub else "")


@dataclass(frozen=True)
class Step:
    kind: str  # add, replace, remove
    target: Target | None
    value: Any = ABSENT


# -- conditions -----------------------------------------------------------------------------------------------------------


def _folded(attribute: Attribute, value: Any) -> Any:
    return value.casefold() if isinstance(value, str) and not attribute.case_exact else value


def compares(attribute: Attribute, op: str, value: Any) -> Condition:
    """Of a part of an element; of the element itself, as `value`, if `attribute` is a list of plain values."""

    def holds(element: Any) -> bool:
        found = element.get(attribute.name) if isinstance(element, Mapping) else element
        if op == "pr":
            return found is not None
        if found is None:
            return op == "ne"
        mine, other = _folded(attribute, found), _folded(attribute, value)
        tests = {
            "eq": lambda: mine == other,
            "ne": lambda: mine != other,
            "co": lambda: other in mine,
            "sw": lambda: mine.startswith(other),
            "gt": lambda: mine > other,
        }
        return bool(tests[op]())

    name = "value" if attribute.multi_valued else attribute.name
    text = f"{name} pr" if op == "pr" else f"{name} {op} {json.dumps(value)}"
    return Condition(text, holds, {attribute.name: value} if op == "eq" and not attribute.multi_valued else None)


def both(one: Condition, other: Condition) -> Condition:
    equal: dict[str, Any] | None = None
    if one.equal is not None and other.equal is not None:
        equal = {**one.equal, **other.equal}
        equal = equal if all(equal[name] == value for name, value in one.equal.items()) else None
    return Condition(f"({one.text}) and ({other.text})", lambda e: one.holds(e) and other.holds(e), equal)


def either(one: Condition, other: Condition) -> Condition:
    return Condition(f"{one.text} or {other.text}", lambda e: one.holds(e) or other.holds(e))


def negated(one: Condition) -> Condition:
    return Condition(f"not ({one.text})", lambda e: not one.holds(e))


# -- operations -----------------------------------------------------------------------------------------------------------


def patched(document: Document, steps: list[Step], type: ResourceType) -> Document:
    """What becomes of the document. Raises Refused; the document stays as it is."""
    found = deepcopy(document)
    for step in steps:
        _step(found, step, type)
    present = [schema.id for schema, _ in type.extensions if found.get(schema.id)]
    found["schemas"] = [*(urn for urn in found["schemas"] if urn == type.schema.id), *present]
    return found


def _step(document: Document, step: Step, type: ResourceType) -> None:
    if step.kind != "remove" and step.value is ABSENT:
        raise Refused("invalidValue")
    if step.target is None:
        if step.kind == "remove":
            raise Refused("noTarget")
        for key, value in step.value.items():
            extension = key if ":" in key else ""
            _step(document, Step(step.kind, Target("" if extension else key, extension), value), type)
        return
    target, home = step.target, document
    schema = type.schema
    if target.extension:
        schema = next(each for each, _ in type.extensions if each.id == target.extension)
        home = document.setdefault(schema.id, {})
    if target.name:
        attribute = schema.attribute(target.name) or next(a for a in type.attributes if a.name == target.name)
        _on_attribute(home, attribute, step)
    elif step.kind == "remove" or (step.kind == "replace" and step.value is None):
        for attribute in schema.attributes:
            if attribute.mutability is not Mutability.READ_ONLY and attribute.name in home:
                _on_attribute(home, attribute, Step("remove", Target(attribute.name, schema.id)))
    elif isinstance(step.value, Mapping):
        for key, value in step.value.items():
            if (known := schema.attribute(key)) is not None:
                _on_attribute(home, known, Step(step.kind, Target(known.name, schema.id), value))
    elif step.value is not None:
        raise Refused("invalidValue")
    if target.extension and not home:
        del document[schema.id]


def _on_attribute(home: Document, attribute: Attribute, step: Step) -> None:
    target = step.target
    assert target is not None
    before = home.get(attribute.name)
    sub = attribute.sub(target.sub) if target.sub else None
    if Mutability.READ_ONLY in (attribute.mutability, sub and sub.mutability):
        _repeated(attribute, sub, step, before)
        return
    if target.where is not None:
        after = _selected(attribute, sub, step, before or [])
    elif sub is not None and attribute.multi_valued:
        after = _of_each(attribute, sub, step, before or [])
    elif sub is not None:
        after = _with_part(sub, step.kind, before or {}, step.value)
    elif step.kind == "remove":
        if attribute.multi_valued and step.value not in (ABSENT, None):
            raise Refused("invalidValue")  # taking away all where the client listed some
        after = None
    elif attribute.multi_valued:
        given = normal(attribute, step.value) or []
        after = _joined(attribute, before or [], given) if step.kind == "add" else given
    elif attribute.type is Type.COMPLEX:
        after = _merged(attribute, step.kind, before, step.value)
    else:
        given = normal(attribute, step.value)
        after = before if given is None and step.kind == "add" else given
    after = _without_derived(attribute, before, after)
    after = None if after in EMPTY else after
    if after != before:
        _permitted(attribute, before, after, edits=target.where is not None or sub is not None)
        if after is None:
            home.pop(attribute.name, None)
        else:
            home[attribute.name] = after


def _repeated(attribute: Attribute, sub: Attribute | None, step: Step, before: Any) -> None:
    """What is readOnly may be repeated as it is."""
    assert step.target is not None
    stored = before if sub is None or not isinstance(before, Mapping) else before.get(sub.name)
    if step.kind == "remove" or step.target.where is not None:
        raise Refused("mutability")
    given = normal(sub or attribute, step.value, derived=True)
    same = given == stored or (isinstance(given, Mapping) and given.items() <= (stored or {}).items())
    if not same:
        raise Refused("mutability")


def _permitted(attribute: Attribute, before: Any, after: Any, edits: bool) -> None:
    if attribute.required and after is None:
        raise Refused("mutability")
    if attribute.required and isinstance(after, str) and not after.strip():
        raise Refused("invalidValue")
    if attribute.mutability is Mutability.IMMUTABLE and before is not None:
        raise Refused("mutability")
    needed = {sub.name for sub in attribute.sub_attributes if sub.required}
    for element in after if isinstance(after, list) else [after]:
        if isinstance(element, Mapping) and needed - element.keys():
            raise Refused("mutability")


# -- what it becomes ------------------------------------------------------------------------------------------------------


def _with_part(sub: Attribute, kind: str, before: Document, value: Any) -> Document:
    given = None if kind == "remove" else normal(sub, value)
    if given is None:
        return dict(before) if kind == "add" else {name: part for name, part in before.items() if name != sub.name}
    if kind == "add" and sub.multi_valued:
        given = _joined(sub, before.get(sub.name) or [], given)
    return {**before, sub.name: given}


def _merged(attribute: Attribute, kind: str, before: Document | None, value: Any) -> Any:
    """3.5.2.3: "replaces any existing values or adds where an attribute did not previously exist"; others stay."""
    if value in EMPTY and not isinstance(value, Mapping):
        return before if kind == "add" else None
    normal(attribute, value)  # of the right type, as a whole
    after = dict(before or {})
    for key, part in value.items():
        sub = attribute.sub(key)
        if sub is not None and sub.mutability is not Mutability.READ_ONLY:
            after = _with_part(sub, kind, after, part)
    return after


def _of_each(attribute: Attribute, sub: Attribute, step: Step, before: list[Document]) -> list[Document]:
    """`emails.value`: of all for remove; to set it where there are several is in doubt, so it is refused."""
    if step.kind == "remove" and step.value not in (ABSENT, None):
        raise Refused("invalidValue")
    if step.kind != "remove" and len(before) > 1:
        raise Refused("invalidPath")
    elements = before if before or step.kind == "remove" else [{}]
    after = [_with_part(sub, step.kind, element, step.value) for element in elements]
    if not before:
        return [element for element in after if element.keys() - DESCRIPTIVE]
    return _told(before, after)


def _selected(attribute: Attribute, sub: Attribute | None, step: Step, before: list[Any]) -> list[Any]:
    assert step.target is not None
    assert step.target.where is not None
    where = step.target.where
    chosen = [at for at, element in enumerate(before) if where.holds(element)]
    if step.kind == "remove":
        if sub is None:
            return [element for at, element in enumerate(before) if at not in chosen]
    elif not chosen:
        raise Refused("noTarget")
    after = list(before)
    for at in chosen:
        if sub is not None:
            after[at] = _with_part(sub, step.kind, before[at], step.value)
        else:
            after[at] = _element(attribute, step.kind, before[at], step.value, where)
    fresh = [at for at in chosen if isinstance(after[at], Mapping) and after[at].get("primary") is True]
    if len(fresh) > 1 and after != before:
        raise Refused("invalidValue")
    after = _one_primary(after, fresh)
    told = _told(before, after)
    if attribute.type is not Type.COMPLEX or (len(chosen) > 1 and after != before):
        told = _each_once(told)
    return told


def _element(attribute: Attribute, kind: str, before: Any, value: Any, where: Condition) -> Any:
    """Replaced by the value; what the condition says of it stays true unless the value says otherwise."""
    given = normal(attribute, value) or []
    if len(given) != 1:
        raise Refused("invalidValue")
    if attribute.type is not Type.COMPLEX:
        return given[0]
    kept = before if kind == "add" else {n: before[n] for n in where.equal or () if n in before}
    after = dict(kept)
    for name, part in given[0].items():
        sub = attribute.sub(name)
        assert sub is not None
        after = _with_part(sub, kind, after, part)
    return after


def _told(before: list[Any], after: list[Any]) -> list[Any]:
    """Without what this operation left nothing of but a description."""
    return [
        new
        for old, new in zip(before, after, strict=True)
        if not isinstance(new, Mapping) or new.keys() - DESCRIPTIVE or (new and not old.keys() - DESCRIPTIVE)
    ]


def _joined(attribute: Attribute, before: list[Any], given: list[Any]) -> list[Any]:
    """3.5.2.1: a value that is there already is not added again. Which one it is, value and type say."""
    after, fresh = list(before), []
    for element in given:
        if element in before:
            continue
        place = next((at for at, known in enumerate(after) if _same(attribute, known, element)), len(after))
        if place == len(after):
            after.append(element)
        elif isinstance(element, Mapping):
            after[place] = {**after[place], **{n: p for n, p in element.items() if n not in ("value", "type")}}
        if isinstance(element, Mapping) and element.get("primary") is True:
            fresh.append(place)
    return _one_primary(after, fresh)


def _same(attribute: Attribute, one: Any, other: Any) -> bool:
    if not isinstance(one, Mapping):
        return bool(_folded(attribute, one) == _folded(attribute, other))
    names = ("value", "type") if "value" in one or "value" in other else {*one, *other}
    return all(_part_key(attribute, name, one) == _part_key(attribute, name, other) for name in names)


def _part_key(attribute: Attribute, name: str, element: Mapping[str, Any]) -> Any:
    sub = attribute.sub(name)
    assert sub is not None or name == "type"
    found = element.get(name)
    if isinstance(found, list):
        return [_folded(sub, each) for each in found if sub]
    return found if sub is None else _folded(sub, found)


def _one_primary(elements: list[Any], fresh: list[int]) -> list[Any]:
    """3.5.2: "SHALL set the value of the existing attribute to false"."""
    return (
        [
            {**element, "primary": False} if fresh and at != fresh[-1] and element.get("primary") is True else element
            for at, element in enumerate(elements)
        ]
        if fresh
        else elements
    )


def _each_once(elements: list[Any]) -> list[Any]:
    found: list[Any] = []
    for each in elements:
        if each not in found:
            found.append(each)
    return found


def _without_derived(attribute: Attribute, before: Any, after: Any) -> Any:
    """A new manager's displayName is not the old one's."""
    if attribute.multi_valued or not isinstance(after, Mapping) or after == (before or {}):
        return after
    derived = {sub.name for sub in attribute.sub_attributes if sub.mutability is Mutability.READ_ONLY}
    left = {name: part for name, part in after.items() if name not in derived}
    return left if left.keys() - DESCRIPTIVE else None


# -- values ---------------------------------------------------------------------------------------------------------------

_PYTHON: Mapping[Type, tuple[type, ...]] = {
    Type.STRING: (str,),
    Type.REFERENCE: (str,),
    Type.BINARY: (str,),
    Type.DATETIME: (str,),
    Type.BOOLEAN: (bool,),
    Type.INTEGER: (int,),
    Type.DECIMAL: (int, float),
}


def normal(attribute: Attribute, value: Any, derived: bool = False) -> Any:
    """The value without what is unassigned (RFC 7643 section 2.5); None if nothing is left."""
    if attribute.multi_valued:
        if value is None:
            return None
        listed = value if isinstance(value, list) else [value]
        found = _each_once([one for each in listed if (one := _one(attribute, each, derived)) is not None])
        if sum(isinstance(each, Mapping) and each.get("primary") is True for each in found) > 1:
            raise Refused("invalidValue")
        return found or None
    return _one(attribute, value, derived)


def _one(attribute: Attribute, value: Any, derived: bool) -> Any:
    if attribute.type is not Type.COMPLEX:
        if value in (None, ""):
            return None
        types = _PYTHON[attribute.type]
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise Refused("invalidValue")
        return value
    if value in EMPTY:
        return None
    if not isinstance(value, Mapping):
        raise Refused("invalidValue")
    found = {}
    for key, part in value.items():
        sub = attribute.sub(key)
        if sub is None or (sub.mutability is Mutability.READ_ONLY and not derived):
            continue
        if (one := normal(sub, part, derived)) is not None:
            found[sub.name] = one
    needed = {sub.name for sub in attribute.sub_attributes if sub.required and attribute.multi_valued}
    if found and needed - found.keys():
        raise Refused("invalidValue")
    return found or None
