"""Which attributes of a document an answer shows (RFC 7643 section 2.2 `returned`, RFC 7644 section 3.9).

`always` stays whatever was asked, `never` leaves in no case, `request` comes only when named or just written, `default` comes
unless the client named others. A name may be in any case, with or without the core URN, a sub-attribute, or a bare extension
URN. A name that does not exist selects nothing: at the root's `/.search` it may be another type's (RFC 7644 3.4.2.1).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from syncd.core.permission import outside
from syncd.core.schema import Attribute, ResourceType, Returned, Type

_FIXED: Final = ("id", "schemas")


@dataclass(frozen=True, slots=True)
class _Choice:
    restricted: bool  # `attributes` was given
    asked: frozenset[str]
    towards: frozenset[str]  # every attribute that encloses an asked one
    without: frozenset[str]
    visible: frozenset[str] | None = None  # beyond which nothing is shown
    sent: frozenset[str] = frozenset()  # of what is returned on request

    def hides(self, path: str) -> bool:
        return path not in _FIXED and bool(outside(self.visible, [path]))


def project(
    document: Mapping[str, Any],
    attributes: Collection[str],
    excluded: Collection[str],
    resource_type: ResourceType,
    visible: frozenset[str] | None = None,
    sent: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """A new document with what may be shown; `document` is nested, in canonical spelling, and stays as it is.

    `attributes` and `excluded` are names as the client wrote them; giving both was refused before. `visible`: canonical
    paths beyond which not even what is always returned is shown; `attributes` then names no more than these.
    """
    asked = _paths(attributes, resource_type)
    choice = _Choice(
        restricted=bool(attributes),
        asked=frozenset(asked),
        towards=frozenset(above for path in asked for above in asked[path]),
        without=frozenset(_paths(excluded, resource_type)),
        visible=visible,
        sent=sent,
    )
    shown: dict[str, Any] = {}
    for key, value in document.items():
        found = resource_type.resolve(key)
        if found is not None:
            if found.path == found.extension:
                kept = _extension(found.attribute, found.path, value, choice) or None
            else:
                kept = _select(found.attribute, found.path, value, choice, inherited=False)
            if kept is not None:
                shown[key] = kept
    return shown


def _paths(names: Collection[str], resource_type: ResourceType) -> dict[str, tuple[str, ...]]:
    """Canonical path of every name, with the paths that enclose it."""
    paths: dict[str, tuple[str, ...]] = {}
    for name in names:
        found = resource_type.resolve(name)
        if found is not None:
            paths[found.path] = (found.top, found.extension or found.top)
        elif name.lower() == resource_type.schema.id.lower():  # the core URN alone: all that the core schema has
            paths.update({attribute.name: () for attribute in resource_type.schema.attributes})
    return paths


def _extension(attribute: Attribute, path: str, value: Mapping[str, Any], choice: _Choice) -> dict[str, Any]:
    """Of an extension's attributes each by itself: one that is always returned is so whatever became of the others."""
    if path in choice.without:
        choice = _Choice(True, frozenset(), frozenset(), choice.without, choice.visible, choice.sent)
    return _element(attribute, path, ":", value, choice, inherited=path in choice.asked)


def _select(attribute: Attribute, path: str, value: Any, choice: _Choice, *, inherited: bool) -> Any | None:
    named = path in choice.asked
    whole = inherited or named or not choice.restricted
    if attribute.returned is Returned.NEVER:
        return None
    if attribute.returned is Returned.REQUEST and not (named or path in choice.sent):
        return None
    if attribute.returned is Returned.ALWAYS and not choice.hides(path):
        whole = True
    elif path in choice.without or not (whole or path in choice.towards):
        return None
    if attribute.type is not Type.COMPLEX:
        return value
    if isinstance(value, list):
        elements = (_element(attribute, path, ".", item, choice, inherited=whole) for item in value)
        return [element for element in elements if element] or None
    return _element(attribute, path, ".", value, choice, inherited=whole) or None


def _element(
    attribute: Attribute, path: str, separator: str, value: Any, choice: _Choice, *, inherited: bool
) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name, part in value.items():
        sub = attribute.sub(name)
        if sub is not None:
            kept = _select(sub, f"{path}{separator}{sub.name}", part, choice, inherited=inherited)
            if kept is not None:
                shown[name] = kept
    return shown
