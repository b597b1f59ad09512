"""What a web process remembers of the store between two reads, in bounded memory. It is never believed without asking.

Everything here bears the counts under which it was true: of a row its version, of a workspace `graph` (groups were named,
nested, made or deleted) and `shown` (somebody's name, or for whom she exists). Each statement that reads brings these counts
along, and what was remembered under others is not used. Only committed reads may put something in: a transaction that is
rolled back has counts that others will have too.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final

BYTES: Final = 32 * 1024 * 1024  # of rendered resources
_NAMES: Final = 20_000  # of groups, in a workspace
_PLACES: Final = 5_000  # known of one list
_GROUPS: Final = 1_000  # of which it is known who joined and left
_STEPS: Final = 64  # of one of them


@dataclass(frozen=True, slots=True)
class GroupOf:
    """A group a user belongs to."""

    id: str
    display: str
    direct: bool


@dataclass(frozen=True, slots=True)
class Named:
    """A group as its members show it, and whose it is."""

    direct: GroupOf
    indirect: GroupOf
    source: str


@dataclass(slots=True)
class _Places:
    """Which id stood at which place of a list, while `counts` were true."""

    counts: Hashable = None
    at: list[int] = field(default_factory=list)  # in order
    ids: dict[int, str] = field(default_factory=dict)


class Memory:
    """Of one process. May be used by several threads."""

    def __init__(self, most_bytes: int = BYTES) -> None:
        self._most, self._bytes, self._lock = most_bytes, 0, Lock()
        self._names: dict[str, tuple[int, dict[str, Named]]] = {}
        self._rendered: OrderedDict[Hashable, tuple[Hashable, Any, int]] = OrderedDict()
        self._places: dict[Hashable, _Places] = {}
        self._moved: OrderedDict[Hashable, OrderedDict[int, tuple[int, frozenset[str]]]] = OrderedDict()

    # -- names of groups ----------------------------------------------------------------------------------------------------

    def names(self, workspace: str, graph: int) -> Mapping[str, Named]:
        known = self._names.get(workspace)
        return known[1] if known is not None and known[0] == graph else {}

    def keep_names(self, workspace: str, graph: int, names: Mapping[str, Named]) -> None:
        with self._lock:
            known = self._names.get(workspace)
            if known is None or known[0] != graph or len(known[1]) > _NAMES:
                self._names[workspace] = (graph, dict(names))
            else:
                self._names[workspace] = (graph, {**known[1], **names})

    # -- rendered resources -------------------------------------------------------------------------------------------------

    def rendered(self, key: Hashable, stamp: Hashable) -> Any:
        """What was kept under this key, if it was of this stamp; else None."""
        with self._lock:
            found = self._rendered.get(key)
            if found is None or found[0] != stamp:
                return None
            self._rendered.move_to_end(key)
            return found[1]

    def latest(self, key: Hashable) -> tuple[Any, Any] | None:
        """What was kept under this key last, with its stamp."""
        with self._lock:
            found = self._rendered.get(key)
            return None if found is None else found[:2]

    def keep_rendered(self, key: Hashable, stamp: Hashable, body: Any, size: int | None = None) -> None:
        """`size`: its bytes, unless it is bytes itself. The longest unused go when there is no room."""
        bytes_ = len(body) if size is None else size
        if bytes_ > self._most // 2:
            return
        with self._lock:
            old = self._rendered.pop(key, None)
            self._rendered[key] = (stamp, body, bytes_)
            self._bytes += bytes_ - (old[2] if old is not None else 0)
            while self._bytes > self._most:
                _, (_, _, gone) = self._rendered.popitem(last=False)
                self._bytes -= gone

    # -- who joined and left groups ------------------------------------------------------------------------------------------

    def keep_moved(self, group: Hashable, before: int, after: int, users: frozenset[str]) -> None:
        """One transaction of this process took the group from a version to the next, and no other users joined or left.
        To be said once it is committed."""
        with self._lock:
            steps = self._moved.setdefault(group, OrderedDict())
            self._moved.move_to_end(group)
            steps[before] = after, users
            if len(steps) > _STEPS:
                steps.popitem(last=False)
            if len(self._moved) > _GROUPS:
                self._moved.popitem(last=False)

    def moved(self, group: Hashable, since: int, until: int) -> frozenset[str] | None:
        """All who may have joined or left between two versions. None: another process had part in it, or it is long ago."""
        users: set[str] = set()
        with self._lock:
            steps, at = self._moved.get(group), since
            while at != until:
                if steps is None or at not in steps:
                    return None
                at, found = steps[at]
                users |= found
        return frozenset(users)

    # -- places in lists ----------------------------------------------------------------------------------------------------

    def place_before(self, listed: Hashable, place: int) -> tuple[int, str, Hashable] | None:
        """The nearest known place (1-based) up to this one, who stands there, and the counts under which that was so."""
        with self._lock:
            known = self._places.get(listed)
            if known is None:
                return None
            at = bisect_right(known.at, place)
            if not at:
                return None
            return known.at[at - 1], known.ids[known.at[at - 1]], known.counts

    def keep_place(self, listed: Hashable, place: int, id: str, counts: Hashable) -> None:
        with self._lock:
            known = self._places.setdefault(listed, _Places())
            if known.counts != counts or len(known.at) >= _PLACES:
                known.counts, known.at, known.ids = counts, [], {}
            if place not in known.ids:
                known.at.insert(bisect_right(known.at, place), place)
            known.ids[place] = id
