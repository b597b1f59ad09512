"""Who a new entry may be: rules compare it with people who are known, each match scores, and doubt is for an admin. Pure.

A rule's attributes must all be equal and there. The scores of the rules that match add up, to 100 at most. One candidate who
alone is certain is adopted, if the source's policy lets it; any other that is possible is asked about. Nobody is guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

MOST = 100
Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CorrelationRule:
    """`same`: canonical paths of a user; of a multi-valued attribute, or its `value`, any element may be the same."""

    same: tuple[str, ...]
    score: int = MOST

    def __str__(self) -> str:
        return " and ".join(self.same)

    @property
    def heads(self) -> tuple[str, ...]:
        """Canonical paths of the attributes that are looked at, without their parts."""
        return tuple(path if ":" in path else path.partition(".")[0] for path in self.same)

    def keys(self, view: Mapping[str, Any]) -> list[Key]:
        """What has to be equal, of a search view; [] if something is not there."""
        found: list[Key] = [()]
        for path in self.same:
            values = _values(view, path)
            found = [(*each, value) for each in found for value in values]
        return found


@dataclass(frozen=True, slots=True)
class Correlation:
    rules: tuple[CorrelationRule, ...] = (CorrelationRule(("userName",)),)
    certain: int = MOST
    possible: int = MOST


@dataclass(frozen=True, slots=True)
class Candidate:
    """A known user whom an entry may be."""

    id: str
    name: str
    score: int
    by: tuple[str, ...]  # rules that matched
    barred: str | None = None  # why nobody may adopt her

    def __str__(self) -> str:
        return f"{self.name} (score {self.score}: {', '.join(self.by)}{'; ' + self.barred if self.barred else ''})"


@dataclass(frozen=True, slots=True)
class Asked:
    """An entry that waits for an answer."""

    key: str
    entry: str  # its DN
    user_name: str
    candidates: tuple[Candidate, ...]

    @property
    def why(self) -> str:
        several = "one of " if len(self.candidates) > 1 else ""
        known = ", ".join(map(str, self.candidates[:3])) + (", ..." if len(self.candidates) > 3 else "")
        return f"may be {several}{known}: `syncd adopt accept` or `refuse` {self.user_name}"


def scored(
    correlation: Correlation, view: Mapping[str, Any], people: Mapping[Key, Iterable[str]]
) -> dict[str, tuple[int, list[str]]]:
    """id -> score and rules, of whoever is possible at least. `people`: (rule's text, *key) -> ids."""
    found: dict[str, tuple[int, list[str]]] = {}
    for rule in correlation.rules:
        ids = {id for key in rule.keys(view) for id in people.get((str(rule), *key), ())}
        for id in ids:
            score, by = found.get(id, (0, []))
            found[id] = (min(MOST, score + rule.score), [*by, str(rule)])
    return {id: each for id, each in found.items() if each[0] >= correlation.possible}


def verdict(correlation: Correlation, candidates: Iterable[Candidate]) -> tuple[str, Candidate | None]:
    """`new`: nobody is possible. `adopt`: this one alone is certain. `ask`: an admin has to say."""
    people = list(candidates)
    if not people:
        return "new", None
    certain = [each for each in people if each.score >= correlation.certain]
    if len(certain) == 1:
        return "adopt", certain[0]
    return "ask", None


def wanted_keys(rules: Iterable[CorrelationRule], view: Mapping[str, Any]) -> set[Key]:
    """(rule's text, *key) for all that can be compared of one entry."""
    return {(str(rule), *key) for rule in rules for key in rule.keys(view)}


def _values(view: Mapping[str, Any], path: str) -> list[str]:
    at: Any = view
    for name in _steps(path):
        if isinstance(at, list):
            at = [each.get(name) for each in at if isinstance(each, Mapping)]
        elif isinstance(at, Mapping):
            at = at.get(name)
        else:
            return []
    flat = at if isinstance(at, list) else [at]
    values = [each.get("value") if isinstance(each, Mapping) else each for each in flat]
    return sorted({str(each) for each in values if each not in (None, "")})


def _steps(path: str) -> list[str]:
    """As a search view nests it: an extension's URN has dots of its own, and its attributes stand at the top."""
    urn, colon, rest = path.lower().rpartition(":")
    head, *more = rest.split(".")
    return [f"{urn}{colon}{head}", *more]
