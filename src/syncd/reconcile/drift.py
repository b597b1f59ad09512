"""What a whole read found that deltas should have told and did not.

After the read the source is asked once more for what changed since the checkpoint: whatever differs from the store and is
not told even then is drift. It is repaired by the very read that found it; here it is only counted. Whom syncd itself
keeps as they were (set aside, held) differs without anybody having been silent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime

from syncd.core.snapshot import Deltas, Entry, Gone, OnlyThese, SetAside, Still
from syncd.errors import SyncdError
from syncd.reconcile.diff import GroupRead, Linked


@dataclass(slots=True)
class Differences:
    """Between a whole read and the store, by stable keys: whichever of `together` was told explains that difference."""

    together: list[frozenset[str]] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)

    def entry(self, key: str, hashed: str, old: Linked | None) -> None:
        """One that was read. A hash that is empty is of an entry that is looked at again each time."""
        if old is None or old.absent or (old.entry_hash and old.entry_hash != hashed):
            self.together.append(frozenset({key}))

    def memberships(
        self,
        read: Iterable[GroupRead],
        users: Mapping[str, frozenset[str]],
        groups: Mapping[str, frozenset[str]],
        keys: Mapping[str, str],
    ) -> None:
        """`users`, `groups`: group id -> whom this source put in it; `keys`: id -> stable key."""
        for group in read:
            for had, has in ((users, group.users), (groups, group.groups)):
                for id in (has - {group.id}) ^ had.get(group.id, frozenset()):
                    if id in keys:  # else whoever is new is a difference herself
                        self.together.append(frozenset({group.key, keys[id]}))

    def untold(self, source: Deltas, checkpoint: str, edited: set[str], kept: set[str], now: datetime) -> int | None:
        """How many; None if the source cannot say what it would have told.

        `edited`: keys of what the read would change, `kept`: of what it leaves as it is, whatever the directory says.
        """
        found = [keys for keys in (*self.together, *(frozenset({key}) for key in self.gone)) if keys & edited]
        told: set[str] = set()
        there: set[str] = set()
        listed = False
        try:
            with closing(source.changes(checkpoint, now)) as changes:
                for item in changes:
                    match item:
                        case Entry() | SetAside():
                            told.add(item.key or "")
                        case Gone():
                            told.add(item.key)
                        case Still():
                            there.add(item.key)
                        case OnlyThese():
                            listed = True
                if not changes.certificate().complete:
                    return None
        except SyncdError:
            return None
        if listed:
            told |= self.gone - there
        told |= kept
        return sum(not (keys & told) for keys in found)
