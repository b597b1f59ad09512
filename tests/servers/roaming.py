"""Random changes of people and groups of the company, each possible when it is made: for tests of deltas."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from servers.corp import COMPANY, GROUPS_BASE, PEOPLE_BASE
from servers.ldif_changes import add, delete, modify, move, person
from servers.slapd import BASE

UNITS = [f"ou={name},{PEOPLE_BASE}" for name in ("Finance", "Legal", "Support")]
ANCHOR = COMPANY.people[0].dn  # in every group, which has to have a member


@dataclass
class Roamer:
    """`step` is the LDIF of the next change. `names_follow`: the server writes a member's new name into groups."""

    chance: random.Random
    names_follow: bool = False
    people: dict[str, str] = field(default_factory=dict)  # uid -> where she is
    groups: dict[str, set[str]] = field(default_factory=dict)  # name -> DNs of its members
    number: int = 0

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
        people = [f"uid={uid},{unit}" for uid, unit in sorted(self.people.items())]
        return "".join(map(delete, [*people, *(f"cn={name},{GROUPS_BASE}" for name in sorted(self.groups))]))

    def _somebody(self) -> tuple[str, str] | None:
        found = sorted(self.people)
        return (uid := self.chance.choice(found), f"uid={uid},{self.people[uid]}") if found else None

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
        self.people[uid] = self.chance.choice(UNITS)
        return person(uid, self.people[uid])

    def _go(self) -> str | None:
        if one := self._somebody():
            del self.people[one[0]]
            for members in self.groups.values() if self.names_follow else ():
                members.discard(one[1])
            return delete(one[1])
        return None

    def _move(self) -> str | None:
        return self._moved(self.chance.choice(UNITS))

    def _leave_the_base(self) -> str | None:
        return self._moved(BASE)

    def _moved(self, under: str) -> str | None:
        one = self._somebody()
        if one is None or self.people[one[0]] == under:
            return None
        self.people[one[0]] = under
        self._renamed(one[1], f"uid={one[0]},{under}")
        return move(one[1], f"uid={one[0]}", under)

    def _rename(self) -> str | None:
        if one := self._somebody():
            uid = self._fresh("who")
            self.people[uid] = self.people.pop(one[0])
            self._renamed(one[1], f"uid={uid},{self.people[uid]}")
            return move(one[1], f"uid={uid}")
        return None

    def _retitle(self) -> str | None:
        one = self._somebody()
        return modify(one[1], ("replace", "title", self._fresh("title"))) if one else None

    def _found(self) -> str:
        name = self._fresh("team")
        self.groups[name] = {ANCHOR}
        return add(f"cn={name},{GROUPS_BASE}", objectClass="groupOfNames", cn=name, member=ANCHOR)

    def _join(self) -> str | None:
        """Also somebody by a name that nobody has, or not any more."""
        group, one = self._some_group(), self._somebody()
        dn = f"uid=who.{self.chance.randint(1, self.number + 2)},{self.chance.choice(UNITS)}"
        return self._put(group, one[1] if one and self.chance.random() < 0.7 else dn)

    def _nest(self) -> str | None:
        inner = self._some_group()
        return self._put(self._some_group(), f"cn={inner},{GROUPS_BASE}") if inner else None

    def _put(self, group: str | None, dn: str) -> str | None:
        if group is None or dn in self.groups[group]:
            return None
        self.groups[group].add(dn)
        return modify(f"cn={group},{GROUPS_BASE}", ("add", "member", dn))

    def _part(self) -> str | None:
        group = self._some_group()
        members = sorted(self.groups[group] - {ANCHOR}) if group else []
        if group is None or not members:
            return None
        dn = self.chance.choice(members)
        self.groups[group].remove(dn)
        return modify(f"cn={group},{GROUPS_BASE}", ("delete", "member", dn))

    def _call(self) -> str | None:
        if group := self._some_group():
            name = self._fresh("team")
            self.groups[name] = self.groups.pop(group)
            self._renamed(f"cn={group},{GROUPS_BASE}", f"cn={name},{GROUPS_BASE}")
            return move(f"cn={group},{GROUPS_BASE}", f"cn={name}")
        return None

    def _disband(self) -> str | None:
        if group := self._some_group():
            del self.groups[group]
            for members in self.groups.values() if self.names_follow else ():
                members.discard(f"cn={group},{GROUPS_BASE}")
            return delete(f"cn={group},{GROUPS_BASE}")
        return None
