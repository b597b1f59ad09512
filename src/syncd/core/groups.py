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
    grants: tuple[tuple[str, str], ...] = ()  # (kind, value) of what each of its effective members has by it

    def __hash__(self) -> int:
        return hash(self.id)  # what rules make of it is looked up for each member


@dataclass(slots=True)
class Graph:
    """The groups a decision touches and their parents; grows while a plan is decided."""

    names: dict[str, GroupName] = field(default_factory=dict)
    parents: dict[str, set[str]] = field(default_factory=dict)
    stated: dict[tuple[str, str], set[str]] = field(default_factory=dict)  # (child, parent) -> the sources that say so
    coming: dict[str, GroupName] = field(default_factory=dict)  # groups that a plan creates later
    epoch: int | None = None  # of the store's groups, when all of them were read

    def nest(self, child: str, parent: str, origin: str) -> None:
        self.parents.setdefault(child, set()).add(parent)
        self.stated.setdefault((child, parent), set()).add(origin)

    def set_parents(self, child: str, stated: Iterable[tuple[str, str]]) -> None:
        """All (parent, origin) of one group, in place of what was known."""
        for parent in self.parents.pop(child, ()):
            self.stated.pop((child, parent), None)
        for parent, origin in stated:
            self.nest(child, parent, origin)

    def closure(
        self, direct: Iterable[str], barred: frozenset[str] = frozenset(), whosever: bool = False
    ) -> dict[str, tuple[str, ...]]:
        """Every group above `direct`, each with the shortest path of ids from a direct group up to it.

        `barred`: sources whose groups are neither counted nor passed through, and whose word nests no group in another;
        `whosever`: their groups count, and only their word does not.
        """
        first = sorted(set(direct))
        if not barred and self.parents.keys().isdisjoint(first):
            return {group: (group,) for group in first}
        owners = frozenset() if whosever else barred
        paths: dict[str, tuple[str, ...]] = {}
        level: list[tuple[str, tuple[str, ...]]] = [(group, (group,)) for group in first]
        while level:
            above: list[tuple[str, tuple[str, ...]]] = []
            for group, path in level:
                if group in paths or (owners and group in self.names and self.names[group].source in owners):
                    continue
                paths[group] = path
                above += [
                    (parent, (*path, parent))
                    for parent in sorted(self.parents.get(group, ()))
                    if not barred or not self.stated.get((group, parent), {""}) <= barred
                ]
            level = above
        return paths

    def stating(self, paths: Mapping[str, tuple[str, ...]]) -> set[str]:
        """The sources whose word counts in these paths: those of the groups, and those that nest one in another."""
        sources = {self.names[group].source for group in paths if group in self.names}
        for path in paths.values():  # every path but its last step is a path of its own
            sources |= self.stated.get((path[-2], path[-1]), set()) if len(path) > 1 else set()
        return sources

    def nesting(self, paths: Iterable[str]) -> set[str]:
        """The sources that nest one of these groups in another."""
        return {
            source
            for group in paths
            for parent in self.parents.get(group, ())
            for source in self.stated.get((group, parent), ())
        }

    def path_text(self, path: Iterable[str]) -> str:
        return " > ".join(self.displays(path))

    def displays(self, path: Iterable[str]) -> list[str]:
        return [self.names[group].display if group in self.names else group for group in path]


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
