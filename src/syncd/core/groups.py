"""Nesting: which groups a member belongs to, through any depth, with the path that says why. Cycles are survived.

The graph holds only edges between groups (child -> parents), never users, so that one member added to a group of 50,000
costs what it costs for a group of 5: the closure is walked upwards from the groups the user is directly in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class GroupName:
    """What a rule may ask of a group."""

    id: str
    display: str
    source: str
    external_id: str | None = None  # the stable key, or what a connection sent as externalId
    dn: str | None = None


@dataclass(slots=True)
class Graph:
    """The groups a decision touches and their parents; grows while a plan is decided."""

    names: dict[str, GroupName] = field(default_factory=dict)
    parents: dict[str, set[str]] = field(default_factory=dict)

    def closure(self, direct: Iterable[str], barred: frozenset[str] = frozenset()) -> dict[str, tuple[str, ...]]:
        """Every group above `direct`, each with the shortest path of ids from a direct group up to it.

        `barred`: sources whose groups are neither counted nor passed through.
        """
        paths: dict[str, tuple[str, ...]] = {}
        level: list[tuple[str, tuple[str, ...]]] = [(group, (group,)) for group in sorted(set(direct))]
        while level:
            above: list[tuple[str, tuple[str, ...]]] = []
            for group, path in level:
                if group in paths or (barred and group in self.names and self.names[group].source in barred):
                    continue
                paths[group] = path
                above += [(parent, (*path, parent)) for parent in sorted(self.parents.get(group, ()))]
            level = above
        return paths

    def path_text(self, path: Iterable[str]) -> str:
        return " > ".join(self.names[group].display if group in self.names else group for group in path)


def cycles(parents: Mapping[str, Iterable[str]]) -> list[tuple[str, ...]]:
    """The cycles among groups, each once, as ids in order; reported, never followed. Iterative: nesting may be deep."""
    done: set[str] = set()
    found: list[tuple[str, ...]] = []
    for start in sorted(parents):
        if start in done:
            continue
        path: list[str] = [start]
        on_path = {start}
        stack = [iter(sorted(parents.get(start, ())))]
        while stack:
            following = next(stack[-1], None)
            if following is None:
                stack.pop()
                leaving = path.pop()
                on_path.discard(leaving)
                done.add(leaving)
            elif following in on_path:
                found.append((*path[path.index(following) :], following))
            elif following not in done:
                path.append(following)
                on_path.add(following)
                stack.append(iter(sorted(parents.get(following, ()))))
    return found
