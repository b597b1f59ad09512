"""Random changes of people and groups of the company, each possible when it is made: for tests of deltas."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from servers.corp import COMPANY
from servers.directories import Forms
from servers.ldif_changes import delete, modify, move

DEPARTMENTS = ("Finance", "Legal", "Support")


@dataclass
class Roamer:
    """`step` is the LDIF of the next change. `names_follow`: the server writes a member's new name into groups, and takes
    out who was deleted. `dangling`: it takes members who are not there, too."""

    chance: random.Random
    forms: Forms
    names_follow: bool
    dangling: bool
    people: dict[str, str] = field(default_factory=dict)  # uid -> where she is
    groups: dict[str, set[str]] = field(default_factory=dict)  # name -> DNs of its members
    number: int = 0

    def __post_init__(self) -> None:
        self.units = [self.forms.unit(each) for each in DEPARTMENTS]
        self.anchor = self.forms.of(COMPANY.people[0])  # in every group, which has to have a member

    def step(self) -> str:
        kinds: tuple[Callable[[], str | None], ...] = (
            *(self._come, self._come, self._go, self._move, self._rename, self._leave_the_base, self._retitle),
            *(self._found, self._join, self._join, self._part, self._nest, self._call, self._disband),
        )
        while True:
            if text := self.chance.choice(kinds)():
                return text

    def undone(self) -> str:
        """What takes all of it away again."""
        people = [self.forms.dn(uid, unit) for uid, unit in sorted(self.people.items())]
        return "".join(map(delete, [*people, *(self.forms.group_dn(name) for name in sorted(self.groups))]))

    def _somebody(self) -> tuple[str, str] | None:
        found = sorted(self.people)
        return (uid := self.chance.choice(found), self.forms.dn(uid, self.people[uid])) if found else None

    def _some_group(self) -> str | None:
        return self.chance.choice(sorted(self.groups)) if self.groups else None

    def _fresh(self, kind: str) -> str:
        self.number += 1
        return f"{kind}.{self.number}"

    def _renamed(self, old: str, new: str) -> None:
        for members in self.groups.values() if self.names_follow else ():
            if old in members:
                members.remove(old)
                members.add(new)

    def _come(self) -> str:
        gone = [f"who.{n}" for n in range(1, self.number) if f"who.{n}" not in self.people]
        uid = self.chance.choice(gone) if gone and self.chance.random() < 0.3 else self._fresh("who")
        self.people[uid] = self.chance.choice(self.units)
        return self.forms.person(uid, self.people[uid])

    def _go(self) -> str | None:
        if one := self._somebody():
            del self.people[one[0]]
            for members in self.groups.values() if self.names_follow else ():
                members.discard(one[1])
            return delete(one[1])
        return None

    def _move(self) -> str | None:
        return self._moved(self.chance.choice(self.units))

    def _leave_the_base(self) -> str | None:
        return self._moved(self.forms.elsewhere)

    def _moved(self, under: str) -> str | None:
        one = self._somebody()
        if one is None or self.people[one[0]] == under:
            return None
        before = self.people[one[0]]
        self.people[one[0]] = under
        self._renamed(one[1], self.forms.dn(one[0], under))
        return self.forms.moved(one[0], before, under)

    def _rename(self) -> str | None:
        if one := self._somebody():
            uid = self._fresh("who")
            unit = self.people[uid] = self.people.pop(one[0])
            self._renamed(one[1], self.forms.dn(uid, unit))
            return self.forms.moved(one[0], unit, unit, called=uid)
        return None

    def _retitle(self) -> str | None:
        one = self._somebody()
        return modify(one[1], ("replace", "title", self._fresh("title"))) if one else None

    def _found(self) -> str:
        name = self._fresh("team")
        self.groups[name] = {self.anchor}
        return self.forms.group(name, self.anchor)

    def _join(self) -> str | None:
        """Also somebody by a name that nobody has, or not any more, where that may be."""
        group, one = self._some_group(), self._somebody()
        dn = self.forms.dn(f"who.{self.chance.randint(1, self.number + 2)}", self.chance.choice(self.units))
        if not self.dangling:
            return self._put(group, one[1]) if one else None
        return self._put(group, one[1] if one and self.chance.random() < 0.7 else dn)

    def _nest(self) -> str | None:
        inner = self._some_group()
        return self._put(self._some_group(), self.forms.group_dn(inner)) if inner else None

    def _put(self, group: str | None, dn: str) -> str | None:
        if group is None or dn in self.groups[group]:
            return None
        self.groups[group].add(dn)
        return modify(self.forms.group_dn(group), ("add", "member", dn))

    def _part(self) -> str | None:
        group = self._some_group()
        members = sorted(self.groups[group] - {self.anchor}) if group else []
        if group is None or not members:
            return None
        dn = self.chance.choice(members)
        self.groups[group].remove(dn)
        return modify(self.forms.group_dn(group), ("delete", "member", dn))

    def _call(self) -> str | None:
        if group := self._some_group():
            name = self._fresh("team")
            self.groups[name] = self.groups.pop(group)
            self._renamed(self.forms.group_dn(group), self.forms.group_dn(name))
            return move(self.forms.group_dn(group), f"cn={name}")
        return None

    def _disband(self) -> str | None:
        if group := self._some_group():
            del self.groups[group]
            for members in self.groups.values() if self.names_follow else ():
                members.discard(self.forms.group_dn(group))
            return delete(self.forms.group_dn(group))
        return None
