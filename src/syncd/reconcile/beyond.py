"""Groups that are below no base, so that nobody counts through them: named, with what to do. Pure.

One that was read before and moved away takes nothing with it until an admin says so: whoever moves a group within the
directory seldom means to take away what it gives. One that was never read and is a member of one that is only counts once
its unit is among the bases.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from syncd.core.counting import counted
from syncd.core.snapshot import Beyond
from syncd.errors import InvalidValue
from syncd.ldap import dn

SHOWN = 5  # of each sort, by name
_FIRST_COMMA = re.compile(r"(?<!\\),")


@dataclass(slots=True)
class Outside:
    """What one read came upon. `within`: names that nobody answers to -> the groups that have them as members."""

    within: dict[str, list[str]] = field(default_factory=dict)
    moved: dict[str, Beyond] = field(default_factory=dict)  # key of a group that was read before -> where it is now
    strays: list[Beyond] = field(default_factory=list)  # members of groups that are read
    accepted: bool = False  # those that moved may go, somebody says

    def members(self, group: str, names: Iterable[str]) -> None:
        for name in names:
            if "=" in name:
                self.within.setdefault(name, []).append(group)

    def told(self, names: Mapping[str, str]) -> list[str]:
        """Each of them in a line. `names`: what groups that moved were called, by key."""
        moved = sorted(self.moved.items()) if not self.accepted else ()
        return [f"{each.name} (was read as {names.get(key, key)})" for key, each in moved] + self._strays()

    def went(self, names: Mapping[str, str]) -> str:
        """Those that moved, with where they are."""
        where = _some(f"{names.get(key, key)} is {each.name} now" for key, each in sorted(self.moved.items()))
        return f"{counted(len(self.moved), 'group')} moved below no base: {where}"

    def notes(self, source: str, names: Mapping[str, str]) -> list[str]:
        """For whoever reads the run's summary."""
        found = []
        if self.moved and not self.accepted:
            found.append(
                f"{self.went(names)}. Whoever is in them keeps what they give. "
                f"{_add(self.moved.values())}, or say that they may go: syncd sync {source} --accept-fewer"
            )
        if self.strays:
            where = _some(self._strays())
            are = "is a member" if len(self.strays) == 1 else "are members"
            found.append(
                f"{counted(len(self.strays), 'group')} below no base {are} of groups that are read, so nobody in them counts: "
                f"{where}. {_add(self.strays)}, or to `groups.left_out`"
            )
        return found

    def _strays(self) -> list[str]:
        """Each with the groups that have it as a member. These may name very many others, so they are gone through once."""
        holders: dict[str, set[str]] = {_key(each.name): set() for each in self.strays}
        for name, groups in self.within.items() if holders else ():
            found = holders.get(_key(name))
            if found is not None:
                found.update(groups)
        return [f"{each.name} (in {', '.join(sorted(holders[_key(each.name)]))})" for each in self.strays]


def _key(name: str) -> str:
    try:
        return dn.normalize(name)
    except InvalidValue:
        return name


def _some(said: Iterable[str]) -> str:
    every = list(said)
    more = f" and {len(every) - SHOWN:,} more" if len(every) > SHOWN else ""
    return "; ".join(every[:SHOWN]) + more


def _add(groups: Iterable[Beyond]) -> str:
    units = sorted({_FIRST_COMMA.split(each.name, maxsplit=1)[-1] for each in groups})
    return f"Add {_some(units)} to `groups.base`"
