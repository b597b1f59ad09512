"""A directory in memory that says what changed since a checkpoint, as a server does: for the tests of deltas.

Names are what people make of them: entries move, names are used again, groups name by DN or by uid whoever they like.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from door_stage import MAPPING
from syncd.core.snapshot import Certificate, Entry, Gone, OnlyThese, Reported, SetAside, Still
from syncd.errors import FullReadNeeded
from syncd.reconcile.mapping import DirectoryMapping

Snapshot = dict[str, Entry | SetAside]


@dataclass
class Person:
    """`name` is her uid and the first part of her DN."""

    name: str
    title: str | None = None
    type: str = "Employee"
    manager: str | None = None  # a DN
    disabled: bool = False
    bad: bool = False


@dataclass
class Team:
    name: str
    members: set[str] = field(default_factory=set)  # DNs
    uids: set[str] = field(default_factory=set)
    bad: bool = False


def person_dn(name: str) -> str:
    return f"uid={name},ou=people,dc=x"


def team_dn(name: str) -> str:
    return f"cn={name},ou=groups,dc=x"


@dataclass
class Changing:
    """`people` and `teams` by stable key. A checkpoint is a place in `history`."""

    name: str = "corp"
    people: dict[str, Person] = field(default_factory=dict)
    teams: dict[str, Team] = field(default_factory=dict)
    history: list[Snapshot] = field(default_factory=list)
    mapping: DirectoryMapping = MAPPING
    present_phase: bool = False  # who is there is said, instead of who is not
    forgotten: bool = False  # no checkpoint is known any more
    breaks_after: int | None = None  # so many things said, a delta ends and is not complete
    because: tuple[str, ...] = ()  # why a whole read is incomplete
    silent_of: set[str] = field(default_factory=set)  # keys that no delta tells
    asked_again: list[str] = field(default_factory=list)

    def snapshot(self) -> Snapshot:
        found: Snapshot = {}
        for key, one in self.people.items():
            texts = {"uid": one.name, "cn": one.name.title(), "employeetype": one.type}
            texts |= {"title": one.title} if one.title else {}
            texts |= {"manager": one.manager} if one.manager else {}
            texts |= {"nsaccountlock": "true"} if one.disabled else {}
            attributes = {name: (text.encode("utf-8", "surrogateescape"),) for name, text in texts.items()}
            dn = person_dn(one.name)
            found[key] = SetAside(dn, "bad", key) if one.bad else Entry("user", key, dn, attributes)
        for key, team in self.teams.items():
            named: dict[str, tuple[bytes, ...]] = {"cn": (team.name.encode(),)}
            named |= {"member": tuple(dn.encode() for dn in sorted(team.members))} if team.members else {}
            named |= {"memberuid": tuple(uid.encode() for uid in sorted(team.uids))} if team.uids else {}
            dn = team_dn(team.name)
            found[key] = SetAside(dn, "bad", key) if team.bad else Entry("group", key, dn, named)
        return found

    def read(self, now: datetime) -> Read:
        return Read(self, None)

    def changes(self, checkpoint: str, now: datetime) -> Read:
        if self.forgotten:
            raise FullReadNeeded("the checkpoint is not known any more")
        return Read(self, self.history[int(checkpoint)])


class Read:
    """Of everything, or of what changed since `before`."""

    def __init__(self, directory: Changing, before: Snapshot | None) -> None:
        self.directory, self.before = directory, before
        self.now = directory.snapshot()
        directory.history.append(self.now)
        self.checkpoint = str(len(directory.history) - 1)
        self.because = directory.because if before is None else ()

    def __iter__(self) -> Iterator[Reported]:
        if self.before is None:
            yield from self.now.values()
            return
        for number, item in enumerate(self._changes(self.before)):
            if number == self.directory.breaks_after:
                self.because = ("the connection broke",)
                return
            yield item

    def _changes(self, before: Snapshot) -> Iterator[Reported]:
        """Groups before users: no order is promised."""
        for key, item in reversed(self.now.items()):
            if key in self.directory.silent_of:
                continue
            if before.get(key) != item:
                yield item
            elif self.directory.present_phase:
                yield Still(key)
        if self.directory.present_phase:
            yield OnlyThese("group", "ou=groups,dc=x")
            yield OnlyThese("user", "ou=people,dc=x", "one")
            return
        for key in before.keys() - self.now.keys() - self.directory.silent_of:
            yield Gone(key)

    def again(self, keys: Iterable[str]) -> Iterator[Entry | SetAside]:
        for key in keys:
            self.directory.asked_again.append(key)
            if key in self.now:
                yield self.now[key]

    def certificate(self) -> Certificate:
        people, teams = self.directory.people, self.directory.teams
        return Certificate(self.because, None, "entryuuid", len(people), len(teams), checkpoint=self.checkpoint)

    def close(self) -> None:
        pass
