"""Looking somebody up in a directory instead of reading all of it: the question, the answer, and what was found step by step.

Nobody is gone because a question had no answer. A key that came back nowhere is `gone` only if the same search, in the same
way, found somebody else who is known to be there; else it is `unsure` and nothing is taken away. The same holds for a group
that no longer names her: `left` says that it was asked for and does not, silence says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol, runtime_checkable

from syncd.core.filter import Filter
from syncd.core.snapshot import Certificate, Entry, SetAside

STEPS = ("found", "in scope", "matched", "planned", "applied")


@dataclass(frozen=True, slots=True)
class Known:
    """A user whom this source linked."""

    key: str
    dn: str | None
    groups: Mapping[str, str | None] = field(default_factory=dict)  # keys and DNs of its groups that she is in


def _nobody(known: Known) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Question:
    """Who is meant: entries that this filter may match, and these who are known."""

    filter: Filter
    names: Mapping[str, tuple[str, ...]]  # canonical path -> the directory's attributes that it is made of
    known: tuple[Known, ...] = ()
    key_attribute: str | None = None  # what their keys are made of
    neighbour: Callable[[Known], Known | None] = _nobody  # somebody else who was there last time, the nearest there is


@dataclass(frozen=True, slots=True)
class GroupsOf:
    """What the directory's groups say of one user. Groups in neither are not known."""

    named: tuple[Entry, ...] = ()  # without their other members
    left: frozenset[str] = frozenset()  # keys of groups that do not name her
    because: str | None = None  # why less is known than was asked for


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """An entry that is there, and why the source does not read it."""

    dn: str
    why: str


@dataclass(frozen=True, slots=True)
class Answer:
    users: tuple[Entry, ...]  # in scope, in the order they came
    groups: Mapping[str, GroupsOf]  # by the user's key
    outside: Mapping[str, Elsewhere]  # by key of a known user
    strangers: tuple[Elsewhere, ...]  # whom the filter would mean if the source read them, when it found nobody else
    gone: frozenset[str]  # keys that are nowhere, for certain
    unsure: Mapping[str, str]  # key -> why it is not certain that it is gone
    set_aside: tuple[SetAside, ...]
    certificate: Certificate
    asked: tuple[str, ...]  # the searches, for people
    scope: str = ""  # what the source reads, for people


class TooWide(Exception):
    """The question would come to more than a few people, or cannot be asked of this directory; the text says why."""


@runtime_checkable
class Finder(Protocol):
    """A source that can be asked for some people only."""

    name: str

    def look_up(self, question: Question, now: datetime) -> Answer:
        """Raises TooWide, and whatever `Source.read` raises."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """One of STEPS, for one person. `ok` False: it stopped here."""

    name: str
    ok: bool
    what: str


@dataclass(frozen=True, slots=True)
class Looked:
    """What became of one person who was looked up."""

    subject: str  # userName, or what was asked for when nobody was found
    id: str | None
    steps: tuple[Step, ...]
    key: str | None = None  # the stable key of the entry
    rung: str = ""  # of one who is gone: since when, and what follows

    def then(self, *steps: Step) -> Looked:
        return replace(self, steps=(*self.steps, *steps))

    @property
    def going_on(self) -> bool:
        return all(step.ok for step in self.steps)
