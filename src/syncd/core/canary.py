"""Signs that a read which ended well is blind all the same: a changed access rule, a wrong base, a replica half filled. Pure.

Compared with what complete reads saw before: how many there were, whether the account that reads sees its own entry, and
whether a whole branch is gone together with the entry above it. Whoever knows better accepts it (`--accept-fewer`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

BRANCH = 5  # people below one entry, all of them gone at once


@dataclass(frozen=True, slots=True)
class Fewer:
    """How many entries fewer than before a read may show and be believed: the larger of the two."""

    share: float = 0.5
    floor: int = 50

    def allowed(self, before: int) -> int:
        return max(self.floor, int(self.share * before))


@dataclass(frozen=True, slots=True)
class Bad:
    """How many entries of a read may be set aside, for it to be believed: the larger of the two."""

    share: float = 0.1
    floor: int = 50

    def doubt(self, set_aside: int, read: int) -> str | None:
        """When that many are bad, it is hardly the entries. `read`: the others."""
        whole = set_aside + read
        allowed = max(self.floor, int(self.share * whole))
        if set_aside <= allowed:
            return None
        return (
            f"{set_aside:,} of {whole:,} entries cannot be used ({set_aside / whole:.0%}), believed are {allowed:,} "
            f"(share {self.share:.0%}, floor {self.floor})"
        )


@dataclass(frozen=True, slots=True)
class Before:
    """What complete reads saw; None: nothing is known."""

    users: int | None = None
    groups: int | None = None
    most: int | None = None  # entries of both kinds, the largest of the last reads
    own_entry: bool | None = None  # the account that reads saw itself


@dataclass(frozen=True, slots=True)
class Seen:
    users: int
    groups: int
    own_entry: bool | None = None


def doubts(now: Seen, before: Before, fewer: Fewer) -> Iterator[str]:
    """Why a read is not believed, of what can be counted."""
    yield from _fewer("users", now.users, before.users, fewer, "the last complete read saw")
    yield from _fewer("groups", now.groups, before.groups, fewer, "the last complete read saw")
    if now.users + now.groups < (before.users or 0) + (before.groups or 0):  # else it only did not grow back
        yield from _fewer("entries", now.users + now.groups, before.most, fewer, "one of the last complete reads saw")
    if now.own_entry is False and before.own_entry:
        yield "the account that reads does not see its own entry any more: its rights were narrowed"


def _fewer(what: str, now: int, before: int | None, fewer: Fewer, who: str) -> Iterator[str]:
    if before is not None and before - now > fewer.allowed(before):
        yield (
            f"{now:,} {what}, and {who} {before:,}: {before - now:,} fewer, "
            f"believed are {fewer.allowed(before):,} (share {fewer.share:.0%}, floor {fewer.floor})"
        )


def branches_gone(people: Iterable[tuple[str, str, bool]]) -> list[tuple[str, list[str]]]:
    """Entries right below which everybody is gone, and the keys of those who were there.

    `people`: the normalised DN and the key of each who was there before, and whether she is there now.
    """
    there: set[str] = set()
    gone: dict[str, list[str]] = defaultdict(list)
    for name, key, is_there in people:
        above = name.partition(",")[2]
        if is_there:
            there.add(above)
        else:
            gone[above].append(key)
    return sorted((above, keys) for above, keys in gone.items() if len(keys) >= BRANCH and above not in there)
