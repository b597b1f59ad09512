"""A request read with the tolerances of its connection: the RFC's form of it, and the names of those it took.

A recognised form that the connection's policy does not hold is refused here, by the tolerance's own error, so that nothing
further on need know of policies. Operations are seen one after the other, as those before them leave the document.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar

from syncd.core import filter as filters
from syncd.core.resource import shown
from syncd.core.schema import Resolved, ResourceType, Type
from syncd.errors import InvalidSyntax, SyncdError, TooLarge
from syncd.scim import path as paths
from syncd.scim.dialects import table
from syncd.scim.dialects.operations import is_a_path, unpacked, with_colon
from syncd.scim.dialects.tolerance import Context, Tolerance
from syncd.scim.messages import ABSENT, PATCH_URN, Operation
from syncd.scim.patch import Patch, at

T = TypeVar("T")
Names: TypeAlias = frozenset[str]
Where: TypeAlias = Operation | str  # what an error is about; put into words only if there is one
_ENVELOPE = frozenset({"schemas", "Operations"})
_TEXT = (Type.STRING, Type.REFERENCE)  # text is the form they have


def message_in_rfc_form(message: Mapping[str, Any], tolerances: Names = table.TOLERANT) -> tuple[dict[str, Any], Names]:
    """The body of a PATCH, and what it took."""
    if message.keys() == _ENVELOPE and message["schemas"] == [PATCH_URN] and message["Operations"]:
        return dict(message), frozenset()
    reading = _Reading(tolerances)
    return reading.body(message, PATCH_URN), frozenset(reading.used)


def document_in_rfc_form(
    document: Mapping[str, Any], resource_type: ResourceType, tolerances: Names = table.TOLERANT
) -> tuple[dict[str, Any], Names]:
    """The body of a POST or PUT, and what it took. What is readOnly in it is ignored by all (RFC 7644 3.5.1)."""
    reading = _Reading(tolerances)
    body = reading.body(document, resource_type.schema.id)
    body = reading.took(table.SCHEMAS, body, table.SCHEMAS.form(body, resource_type), "the body")
    body = reading.took(table.CORE, body, unpacked(body, resource_type), "the body")
    as_paths = [key for key in _names(body) if ("." in key or ":" in key) and is_a_path(key, resource_type)]
    body = reading.took(
        table.KEYS, body, body if as_paths else None, "the body", shown(as_paths[0]) if as_paths else ""
    )
    if as_paths:
        colons = {with_colon(key, resource_type): value for key, value in body.items()}
        if len(colons) < len(body):
            raise InvalidSyntax("the body: an attribute is given twice, behind a dot and behind a colon")
        body = colons
    return reading.members(body, resource_type, "the body"), frozenset(reading.used)


def _names(body: Mapping[str, Any]) -> Iterator[str]:
    """Its keys, and those of an extension's object that are paths, with their URN."""
    for key, value in body.items():
        yield key
        if ":" in key and isinstance(value, Mapping):
            yield from (f"{key}:{name}" for name in value if "." in name)


def patch_in_rfc_form(
    operations: Sequence[Operation],
    document: Mapping[str, Any],
    resource_type: ResourceType,
    tolerances: Names = table.TOLERANT,
) -> tuple[tuple[Operation, ...], Names]:
    """The operations of a PATCH, and what they took.

    `document` is what is stored, for the forms that depend on it. Raises what a wrong path raises.
    """
    if all(_sets_plainly(each, resource_type) for each in operations):
        return tuple(operations), frozenset()
    reading = _Reading(tolerances)
    context = Context(resource_type, Patch(document, resource_type))
    current = tuple(operations)
    for form in table.OPERATIONS:
        current = tuple(new for old in current for new in reading.operation(form, old, context))
    current = tuple(reading.values(reading.path(each, resource_type), resource_type) for each in current)
    return _with_created_elements(current, context, reading), frozenset(reading.used)


def filter_in_rfc_form(
    text: str, resource_types: Sequence[ResourceType], tolerances: Names = table.TOLERANT
) -> tuple[str, Names]:
    """A filter that a list is asked for with, and what it took. Raises InvalidFilter."""
    reading = _Reading(tolerances)
    types = tuple(resource_types)

    def resolve(path: str) -> Resolved | None:
        return next((found for each in types if (found := each.resolve(path)) is not None), None)

    if not _may_hold_booleans(text) and not _extension_names(types).search(text):
        return text, frozenset()
    tree = filters.parse(text)
    formed = reading.condition(reading.with_urns(tree, types, resolve), resolve, "the filter")
    return text if formed == tree else filters.render(formed), frozenset(reading.used)


def _sets_plainly(operation: Operation, resource_type: ResourceType) -> bool:
    """Whether it sets one simple value, by its name, to one of its type: that is RFC form under every policy."""
    path, value = operation.path, operation.value
    type = None if path is None or len(path) > paths.SHORT else _simple(operation.op, path, resource_type)
    return (type is Type.STRING and isinstance(value, str) and value != "") or (
        type is Type.BOOLEAN and isinstance(value, bool)
    )


@lru_cache(4096)  # clients repeat the same few
def _simple(op: str, path: str, resource_type: ResourceType) -> Type | None:
    """The type of the single value that this operation sets; None for every other operation."""
    found = resource_type.resolve(path)
    if op not in ("add", "replace") or found is None or found.read_only or found.attribute.multi_valued:
        return None
    return None if found.parent is not None and found.parent.multi_valued else found.attribute.type


class _Reading:
    """One request, and what it took so far."""

    def __init__(self, tolerances: Names) -> None:
        self.tolerances = tolerances
        self.used: set[str] = set()

    def took(self, tolerance: Tolerance, before: T, after: T | None, where: Where, name: str = "") -> T:
        """`after` if the form was recognised and may be sent; raises the tolerance's error if it may not."""
        if after is None:
            return before
        if tolerance.name in self.tolerances:
            self.used.add(tolerance.name)
            return after
        if tolerance.refused is None:
            return before
        place = ": ".join(filter(None, (where if isinstance(where, str) else at(where), name)))
        refused = tolerance.refused(
            f"{place}: {tolerance.instead} (or allow {tolerance.name} in the policy of this connection)"
        )
        refused.lacks = tolerance.name
        raise refused

    def body(self, body: Mapping[str, Any], urn: str) -> dict[str, Any]:
        current = dict(body)
        for each in table.BODIES:
            current = self.took(each, current, each.form(current, urn), "the body")
        return current

    # ------------------------------------------------------------ operations

    def operation(self, form: Tolerance, operation: Operation, context: Context) -> tuple[Operation, ...]:
        if form.meant is not None and form.name not in self.tolerances:
            return (form.meant(operation, context),)
        found = form.form(operation, context)
        return (operation,) if found is None else self.took(form, (operation,), found, operation)

    def values(self, operation: Operation, resource_type: ResourceType) -> Operation:
        if operation.kind == "remove" or operation.value is ABSENT:
            return operation
        if operation.path is None:
            if not isinstance(operation.value, Mapping):
                return operation
            return replace(operation, value=self.members(operation.value, resource_type, operation))
        try:
            path = paths.parse(operation.path, resource_type)
        except SyncdError:
            return operation  # refused by the patch, which says where
        target = path.sub or path.attribute
        value = self._value(target, operation.value, operation, element=path.where is not None)
        return operation if value is operation.value else replace(operation, value=value)

    def path(self, operation: Operation, resource_type: ResourceType) -> Operation:
        """Its path with the condition in RFC form."""
        if operation.path is None or not _may_hold_booleans(operation.path):
            return operation
        name, bracket, rest = operation.path.partition("[")
        condition, closing, sub = rest.rpartition("]")
        attribute = resource_type.resolve(name.strip())
        if not bracket or not closing or attribute is None:
            return operation

        def resolve(part: str) -> Resolved | None:
            found = attribute.attribute.sub(part)
            return None if found is None else _part(attribute, found)

        try:
            tree = filters.parse(condition)
        except SyncdError:
            return operation  # refused by the patch
        formed = self.condition(tree, resolve, operation)
        return operation if formed == tree else replace(operation, path=f"{name}[{filters.render(formed)}]{sub}")

    def with_urns(self, tree: filters.Ast, types: tuple[ResourceType, ...], resolve: Any) -> filters.Ast:
        """A filter whose attributes of extensions have their URN."""
        match tree:
            case filters.And() | filters.Or():
                return type(tree)(tuple(self.with_urns(term, types, resolve) for term in tree.terms))
            case filters.Not():
                return filters.Not(self.with_urns(tree.term, types, resolve))
            case _:
                meant = None if resolve(tree.path) is not None else table.NAME.form(tree.path, types)
                path = self.took(table.NAME, tree.path, meant, "the filter", shown(tree.path))
                return tree if path == tree.path else replace(tree, path=path)

    def condition(self, tree: filters.Ast, resolve: Any, where: Where) -> filters.Ast:
        match tree:
            case filters.And():
                return filters.And(tuple(self.condition(term, resolve, where) for term in tree.terms))
            case filters.Or():
                return filters.Or(tuple(self.condition(term, resolve, where) for term in tree.terms))
            case filters.Not():
                return filters.Not(self.condition(tree.term, resolve, where))
            case filters.ValuePath():
                of_element = self.condition(tree.term, lambda name: resolve(f"{tree.path}.{name}"), where)
                return replace(tree, term=of_element)
            case _:
                found = resolve(tree.path)
                before: filters.Ast = tree
                after: filters.Ast | None = None if found is None else table.FILTER.form(found, tree)
                return self.took(table.FILTER, before, after, where, shown(tree.path))

    # ------------------------------------------------------------ values

    def members(self, found: Mapping[str, Any], resource_type: ResourceType, where: Where) -> dict[str, Any]:
        """Each member's value, an extension's members too."""
        resolved = {key: resource_type.resolve(key.strip()) for key in found}
        result: dict[str, Any] = {}
        for key, value in self._known(found, resolved, where).items():
            to = resolved[key]
            if to is not None and to.path == to.extension and isinstance(value, Mapping):
                inner = {name: resource_type.resolve(f"{to.path}:{name}") for name in value}
                known = self._known(value, inner, where)
                result[key] = {name: self._member(inner[name], part, where) for name, part in known.items()}
            else:
                result[key] = self._member(to, value, where)
        return result

    def _known(self, found: Mapping[str, Any], resolved: Mapping[str, Any], where: Where) -> Mapping[str, Any]:
        """Without the keys that resolve to nothing."""
        if None not in resolved.values():
            return found
        unknown = next(key for key in found if resolved[key] is None)
        known = frozenset(key for key in found if resolved[key] is not None)
        return self.took(table.ATTRIBUTES, found, table.ATTRIBUTES.form(found, known), where, shown(unknown))

    def _member(self, to: Resolved | None, value: Any, where: Where) -> Any:
        return value if to is None or to.path in ("schemas", to.extension) else self._value(to, value, where)

    def _value(self, to: Resolved, value: Any, where: Where, *, element: bool = False) -> Any:
        """The value in RFC form: the same object if it was."""
        if to.read_only and isinstance(where, str):
            return value  # of a POST or PUT, which ignores it
        if to.attribute.multi_valued and not element and isinstance(value, list):
            value = self.took(table.EMPTY, value, table.EMPTY.form(to, value), where, to.path)
            formed = [self._value(to, item, where, element=True) for item in value]
            return value if all(map(operator.is_, formed, value)) else formed
        for each in table.VALUES:
            if (after := each.form(to, value)) is not None:
                value = self.took(each, value, after, where, to.path)
        if not isinstance(value, Mapping) or to.attribute.type is not Type.COMPLEX:
            return value
        subs = {key: to.attribute.sub(key) for key in value}
        parts: dict[str, Any] = {}
        for key, part in self._known(value, subs, where).items():
            sub = subs[key]
            plain = sub is None or (isinstance(part, str) and sub.type in _TEXT and not sub.multi_valued)
            parts[key] = part if plain or sub is None else self._value(_part(to, sub), part, where)
        same = len(parts) == len(value) and all(parts[key] is value[key] for key in parts)
        return value if same else parts


@lru_cache(64)
def _extension_names(types: tuple[ResourceType, ...]) -> re.Pattern[str]:
    """Finds what may be an extension's attribute without its URN, in a filter."""
    names = {each.name for type in types for schema, _ in type.extensions for each in schema.attributes}
    return re.compile(rf"(?<![\w:.])(?:{'|'.join(map(re.escape, sorted(names))) or '(?!)'})\b", re.IGNORECASE)


def _may_hold_booleans(text: str) -> bool:
    return '"true"' in (lowered := text.lower()) or '"false"' in lowered


def _part(to: Resolved, sub: Any) -> Resolved:
    return Resolved(f"{to.path}.{sub.name}", sub, to.attribute)


def _with_created_elements(
    operations: tuple[Operation, ...], context: Context, reading: _Reading
) -> tuple[Operation, ...]:
    """Each operation is seen against the document as those before it leave it, or two parts would make two elements."""
    candidates = [i for i, each in enumerate(operations) if each.kind != "remove" and "[" in (each.path or "")]
    if not candidates:
        return operations
    result: list[Operation] = []
    for index, operation in enumerate(operations[: candidates[-1] + 1]):
        try:
            found = table.CREATION.form(operation, context)
        except TooLarge as exc:
            raise TooLarge(f"{at(operation)}: {exc}") from exc
        except SyncdError:
            return (*result, *operations[index:])  # a wrong path: the patch says which operation has it
        rewritten = reading.took(table.CREATION, (operation,), found, operation)
        try:
            for each in rewritten:
                context.patch.apply(each)
        except TooLarge as exc:
            raise TooLarge(f"{at(operation)}: {exc}") from exc
        except SyncdError:
            return (*result, *operations[index:])  # the patch will meet the same fault
        result.extend(rewritten)
    return (*result, *operations[candidates[-1] + 1 :])
