"""Values have owners: every link keeps what its source said, and a configured order decides which one is shown.

Ownership goes attribute by attribute (by canonical path, so `name.givenName` and `name.familyName` may differ). A value
that yields stays on its link and is shown again when the winner goes. `active` and `externalId` are never merged:
they are facts of one link.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from syncd.core.state import Link


@dataclass(frozen=True, slots=True)
class Precedence:
    """Sources, the strongest first: `default` for every attribute, `by_attribute` for named ones."""

    default: tuple[str, ...] = ()
    by_attribute: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def rank(self, attribute: str, source: str) -> tuple[int, str]:
        """Smaller wins. A source that is not listed comes after all that are, by name."""
        order = self.order(attribute)[1]
        return (order.index(source) if source in order else len(order), source)

    def order(self, attribute: str) -> tuple[str, tuple[str, ...]]:
        """Which order decides on an attribute, by its key in the configuration, and the sources in it."""
        for key in (attribute, attribute.partition(".")[0]):
            if self.by_attribute.get(key):
                return key, self.by_attribute[key]
        return "default", self.default


@dataclass(frozen=True, slots=True)
class Owned:
    """Whose value of an attribute is shown, why, and what the others keep aside."""

    attribute: str
    source: str
    why: str
    aside: tuple[tuple[str, Any], ...]  # (source, its value), the next to be shown first


def owned(links: Iterable[Link], precedence: Precedence) -> tuple[Owned, ...]:
    """Of every attribute that is stated, as `merge` decides."""
    links = sorted(links, key=lambda each: each.key)
    found = []
    for path, source in merge(links, precedence)[1].items():
        stated = sorted(
            ((link.source, link.values[path]) for link in links if path in link.values),
            key=lambda each: precedence.rank(path, each[0]),
        )
        key, order = precedence.order(path)
        if len(stated) == 1:
            why = "nobody else states it"
        elif source in order:
            why = f"precedence.{key}: {', '.join(order)}"
        else:
            why = f"precedence.{key} names none of them: the first by name"
        found.append(Owned(path, source, why, tuple(stated[1:])))
    return tuple(found)


def merge(links: Iterable[Link], precedence: Precedence) -> tuple[Mapping[str, Any], dict[str, str]]:
    """The values shown, and for each canonical path the source that owns it."""
    links = list(links)
    if len(links) == 1:
        return links[0].values, dict.fromkeys(links[0].values, links[0].source)
    values: dict[str, Any] = {}
    owners: dict[str, str] = {}
    # One link per (source, key): two entries of one directory linked to one user are told apart by key, the smaller wins.
    for link in sorted(links, key=lambda each: each.key):
        for path, value in link.values.items():
            if path not in owners or precedence.rank(path, link.source) < precedence.rank(path, owners[path]):
                values[path], owners[path] = value, link.source
    return dict(sorted(values.items())), owners
