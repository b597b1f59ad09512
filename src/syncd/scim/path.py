"""The path of a PATCH operation (RFC 7644 section 3.5.2, figure 7), bound to a resource type.

Accepted: `attr`, `attr.sub`, `attr[filter]`, `attr[filter].sub`, each with or without a schema's URN before it, and an
extension's bare URN for the whole extension. Names are found in any case. URNs contain dots, so the text before a
bracket is looked up whole and never split. The filter is the one language of core/filter.py; an element of a list of
plain values is called `value` in it (3.5.2.2: "comparing a value").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NoReturn

from syncd.core import filter as filters
from syncd.core.resource import shown
from syncd.core.schema import Resolved, ResourceType
from syncd.errors import InvalidFilter, InvalidPath

SHORT: Final = 200  # characters of a path that is remembered


@dataclass(frozen=True, slots=True)
class Path:
    """`attribute` is the top-level attribute, or the whole extension; `where` selects elements of it, `sub` a part."""

    text: str
    attribute: Resolved
    where: filters.Filter | None = None
    sub: Resolved | None = None

    @property
    def whole_extension(self) -> bool:
        return self.attribute.path == self.attribute.extension

    @property
    def looks(self) -> int:
        """How much longer it takes to ask an element than to look at it: once for about ten comparisons."""
        return 0 if self.where is None else len(self.where.text) // 200


def parse(text: str, resource_type: ResourceType) -> Path:
    """Raises InvalidPath with the position (from 1), or InvalidFilter for what stands between the brackets."""
    return _known(text, resource_type) if len(text) <= SHORT else _parsed(text, resource_type)


@lru_cache(4096)  # clients repeat the same few
def _known(text: str, resource_type: ResourceType) -> Path:
    return _parsed(text, resource_type)


def _parsed(text: str, resource_type: ResourceType) -> Path:
    path = text.strip()
    opening = path.find("[")
    name = path if opening < 0 else path[:opening]
    found = resource_type.resolve(name)
    if found is None:
        _refuse(path, 1, f"{resource_type.name} has no attribute {shown(name)}")
    if opening < 0:
        if found.parent is None:
            return Path(path, found)
        top = resource_type.resolve(found.top)
        assert top is not None
        return Path(path, top, sub=found)
    if found.parent is not None or not found.attribute.multi_valued:
        _refuse(path, opening + 1, f"{found.path} is not a multi-valued attribute, so [..] cannot select of it")
    closing = _closing(path, opening)
    rest = path[closing + 1 :]
    sub = None
    if rest:
        sub = resource_type.resolve(f"{found.path}{rest}") if rest.startswith(".") else None
        if sub is None:
            _refuse(path, closing + 2, f"a sub-attribute of {found.path} may follow ], not {shown(rest)}")
    try:
        where = filters.parse_element(path[opening + 1 : closing], found)
    except InvalidFilter as exc:
        raise InvalidFilter(f"path {shown(path)}, within the brackets: {exc}") from exc
    return Path(path, found, where, sub)


def named(text: str | None, value: Any, resource_type: ResourceType) -> set[str]:
    """Canonical paths of the attributes that an operation of a PATCH asks for or writes: of a single complex value the parts
    that are sent, of a list the whole. What is no path names nothing: the operation is going to be refused for it."""
    if text is None:
        found = [(resource_type.resolve(key.strip()), each) for key, each in value.items()] if _is_object(value) else []
        return {name for at, each in found if at is not None for name in _parts(at, each)}
    try:
        path = parse(text, resource_type)
    except (InvalidPath, InvalidFilter):
        return set()
    return {path.attribute.path} if path.where is not None else _parts(path.sub or path.attribute, value)


def _parts(at: Resolved, value: Any) -> set[str]:
    if at.attribute.multi_valued or not _is_object(value) or not value:
        return {at.path}
    subs = {key: at.attribute.sub(key) for key in value}
    separator = ":" if at.path == at.extension else "."
    return {f"{at.path}{separator}{sub.name}" if sub is not None else at.path for sub in subs.values()}


def _is_object(value: Any) -> bool:
    return isinstance(value, Mapping)


def equal_terms(where: filters.Filter, attribute: Resolved) -> dict[str, Any] | None:
    """What `where` says an element is: `{"type": "work"}` for `type eq "work"`; None if it says more than equalities.

    Sub-attribute names are canonical, values as written.
    """
    tree = filters.parse(where.text)
    terms: dict[str, Any] = {}
    for term in tree.terms if isinstance(tree, filters.And) else (tree,):
        sub = attribute.attribute.sub(term.path) if isinstance(term, filters.Comparison) else None
        if not isinstance(term, filters.Comparison) or term.op is not filters.Op.EQ or sub is None:
            return None
        if terms.setdefault(sub.name, term.value) != term.value:
            return None
    return terms


def _closing(path: str, opening: int) -> int:
    """Where the bracket closes; a `]` within a string does not."""
    quoted = escaped = False
    for position in range(opening + 1, len(path)):
        character = path[position]
        if escaped:
            escaped = False
        elif quoted:
            escaped = character == "\\"
            quoted = character != '"'
        elif character == '"':
            quoted = True
        elif character == "]":
            return position
    _refuse(path, opening + 1, "this [ is never closed")


def _refuse(path: str, position: int, why: str) -> NoReturn:
    raise InvalidPath(f"path {shown(path)}, position {position}: {why}")
