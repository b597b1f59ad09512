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
        order = self.by_attribute.get(attribute) or self.by_attribute.get(attribute.partition(".")[0]) or self.default
        return (order.index(source) if source in order else len(order), source)


def merge(links: Iterable[Link], precedence: Precedence) -> tuple[dict[str, Any], dict[str, str]]:
    """The values shown, and for each canonical path the source that owns it."""
    links = list(links)
    if len(links) == 1:
        return dict(links[0].values), dict.fromkeys(links[0].values, links[0].source)
    values: dict[str, Any] = {}
    owners: dict[str, str] = {}
    # One link per (source, key): two entries of one directory linked to one user are told apart by key, the smaller wins.
    for link in sorted(links, key=lambda each: each.key):
        for path, value in link.values.items():
            if path not in owners or precedence.rank(path, link.source) < precedence.rank(path, owners[path]):
                values[path], owners[path] = value, link.source
    return dict(sorted(values.items())), owners
