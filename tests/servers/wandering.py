"""Random changes of people and groups in an Active Directory, each possible when it is made: for tests of deltas."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from servers.active_directory import BASE

PEOPLE, GROUPS, ELSEWHERE = f"OU=People,{BASE}", f"OU=Groups,{BASE}", f"OU=Things,{BASE}"
DOMAIN_USERS = "513"


@dataclass
class Wanderer:
    """`ldif` of the next change. Names are used again when they are free; `rids` are of the groups that may be primary ones."""

    chance: random.Random
    rids: dict[str, str]
    people: dict[str, str] = field(default_factory=dict)  # name -> where she is
    groups: dict[str, set[str]] = field(default_factory=dict)  # name -> DNs of its members
    primary: dict[str, str] = field(default_factory=dict)  # name -> RID

    def step(self) -> str:
        while True:
            kind: Callable[[], str | None] = self.chance.choice(
                (
                    *(self._come, self._come, self._go, self._move, self._rename, self._retitle, self._switch),
                    *(
                        self._join,
                        self._join,
                        self._leave,
                        self._found,
                        self._dissolve,
                        self._rename_group,
                        self._own_group,
                    ),
                )
            )
            ldif = kind()
            if ldif:
                return ldif

    def _some(self, found: list[str]) -> str | None:
        return self.chance.choice(sorted(found)) if found else None

    def _person(self) -> str | None:
        return self._some(list(self.people))

    def _group(self) -> str | None:
        return self._some(list(self.groups))

    def dn(self, name: str) -> str:
        return f"CN={name},{self.people[name]}"

    def group_dn(self, name: str) -> str:
        return f"CN={name},{GROUPS}"

    def _free(self, letter: str, taken: Collection[str]) -> str | None:
        return self._some([name for name in (f"{letter}{n}" for n in range(6)) if name not in taken])

    def _come(self) -> str | None:
        name = self._free("w", {each.removesuffix("x") for each in self.people})
        if name is None:
            return None
        self.people[name] = PEOPLE
        said = f"objectClass: user\nsAMAccountName: {name}\ngivenName: {name}\nsn: Wanderer\nuserAccountControl: 544\n"
        return f"dn: {self.dn(name)}\nchangetype: add\n{said}\n"

    def _go(self) -> str | None:
        name = self._person()
        if name is None:
            return None
        dn = self.dn(name)
        self._forget(dn)
        del self.people[name]
        self.primary.pop(name, None)
        return f"dn: {dn}\nchangetype: delete\n\n"

    def _forget(self, dn: str, now: str | None = None) -> None:
        for members in self.groups.values():
            if dn in members:
                members.discard(dn)
                if now:
                    members.add(now)

    def _moved(self, name: str, called: str, to: str) -> str:
        dn = self.dn(name)
        del self.people[name]
        self.people[called] = to
        if name in self.primary:
            self.primary[called] = self.primary.pop(name)
        self._forget(dn, self.dn(called))
        return f"dn: {dn}\nchangetype: modrdn\nnewrdn: CN={called}\ndeleteoldrdn: 1\nnewsuperior: {to}\n\n"

    def _move(self) -> str | None:
        name = self._person()
        if name is None:
            return None
        return self._moved(name, name, ELSEWHERE if self.people[name] == PEOPLE else PEOPLE)

    def _rename(self) -> str | None:
        """Of her entry; her sAMAccountName stays."""
        name = self._person()
        if name is None:
            return None
        return self._moved(name, name.removesuffix("x") if name.endswith("x") else f"{name}x", self.people[name])

    def _retitle(self) -> str | None:
        name = self._person()
        title = self.chance.randrange(1000)
        return self._replace(name, "sn", f"Wanderer {title}") if name else None

    def _switch(self) -> str | None:
        name = self._person()
        return self._replace(name, "userAccountControl", self.chance.choice(("544", "546"))) if name else None

    def _replace(self, name: str, attribute: str, value: str) -> str:
        return f"dn: {self.dn(name)}\nchangetype: modify\nreplace: {attribute}\n{attribute}: {value}\n\n"

    def _join(self) -> str | None:
        group = self._group()
        if group is None:
            return None
        own = {self.dn(name) for name, rid in self.primary.items() if rid == self.rids.get(group)}
        others = {self.dn(name) for name in self.people} | {
            self.group_dn(each) for each in self.groups if each != group
        }
        who = self._some(sorted(others - self.groups[group] - own))
        if who is None:
            return None
        self.groups[group].add(who)
        return f"dn: {self.group_dn(group)}\nchangetype: modify\nadd: member\nmember: {who}\n\n"

    def _leave(self) -> str | None:
        group = self._group()
        who = self._some(sorted(self.groups[group])) if group else None
        if group is None or who is None:
            return None
        self.groups[group].discard(who)
        return f"dn: {self.group_dn(group)}\nchangetype: modify\ndelete: member\nmember: {who}\n\n"

    def _found(self) -> str | None:
        name = self._free("g", self.groups)
        if name is None:
            return None
        who = self._person()
        self.groups[name] = {self.dn(who)} if who else set()
        first = f"member: {self.dn(who)}\n" if who else ""
        return f"dn: {self.group_dn(name)}\nchangetype: add\nobjectClass: group\nsAMAccountName: {name}\n{first}\n"

    def _dissolve(self) -> str | None:
        name = self._some([each for each in self.groups if each not in self.rids])
        if name is None:
            return None
        self._forget(self.group_dn(name))
        del self.groups[name]
        return f"dn: {self.group_dn(name)}\nchangetype: delete\n\n"

    def _rename_group(self) -> str | None:
        name, called = (
            self._some([each for each in self.groups if each not in self.rids]),
            self._free("g", self.groups),
        )
        if name is None or called is None:
            return None
        self.groups[called] = self.groups.pop(name)
        self._forget(self.group_dn(name), self.group_dn(called))
        changed = f"dn: {self.group_dn(name)}\nchangetype: modrdn\nnewrdn: CN={called}\ndeleteoldrdn: 1\n\n"
        return (
            changed
            + f"dn: {self.group_dn(called)}\nchangetype: modify\nreplace: sAMAccountName\nsAMAccountName: {called}\n\n"
        )

    def _own_group(self) -> str | None:
        """She must be a member of what becomes her primary group; the domain then moves both memberships."""
        name = self._person()
        if name is None:
            return None
        dn, had = self.dn(name), self.primary.get(name)
        if had is None:
            group = self._some([each for each in self.rids if dn in self.groups[each]])
            if group is None:
                return None
            self.groups[group].discard(dn)
            self.primary[name] = self.rids[group]
            return self._replace(name, "primaryGroupID", self.rids[group])
        del self.primary[name]
        (group,) = (each for each, rid in self.rids.items() if rid == had)
        self.groups[group].add(dn)
        return self._replace(name, "primaryGroupID", DOMAIN_USERS)
