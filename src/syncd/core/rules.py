"""Rules map a condition over a user to roles, permissions, seats and data scopes.

One pass suffices: a condition reads attributes, effective groups and sources, never roles, grants, seats or status.
No escalation by name: what a source may not grant is judged again on the part of the user that only permitted
sources state, so a group pushed by a connection cannot make an admin unless that connection's `may_grant` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from syncd.core.access import Role
from syncd.core.actor import ADMIN_SOURCE
from syncd.core.groups import Graph
from syncd.core.resource import search_part, search_view
from syncd.core.schema import RULE_USER
from syncd.core.state import Grant, User


@dataclass(frozen=True, slots=True)
class Rule:
    name: str
    when: str  # the filter's text
    matches: Callable[[Mapping[str, Any]], bool] = field(compare=False)
    roles: tuple[str, ...] = ()
    permissions: tuple[str, ...] = ()
    seats: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()  # "kind=value"
    reads_groups: bool = False
    where: str | None = None

    def grants(self) -> tuple[tuple[str, str], ...]:
        return (
            *(("role", each) for each in self.roles),
            *(("permission", each) for each in self.permissions),
            *(("scope", each) for each in self.scopes),
            *(("seat", each) for each in self.seats),
        )


@dataclass(frozen=True, slots=True)
class MayGrant:
    """Which sources may grant which role; an ordinary role needs no permission, a privileged one does."""

    roles: Mapping[str, Role]
    by_source: Mapping[str, frozenset[str] | None]  # None: not listed, so every ordinary role

    def allowed(self, kind: str, value: str, source: str) -> bool:
        if source == ADMIN_SOURCE:
            return True  # what people state was judged when they stated it
        listed = self.by_source.get(source)
        if kind == "role":
            if listed is not None:
                return value in listed
            return value not in self.roles or not self.roles[value].privileged
        if kind == "permission":
            return not Role("", frozenset({value})).privileged or (listed is not None and value in listed)
        return True


@dataclass(frozen=True, slots=True)
class Refusal:
    """A rule matched, but only through sources that may not grant this."""

    rule: str
    kind: str
    value: str
    sources: tuple[str, ...]


def view(user: User, paths: Mapping[str, tuple[str, ...]], graph: Graph) -> dict[str, Any]:
    """What conditions read: attributes, effective groups (direct and indirect), the sources that state the user."""
    direct = {membership.group for membership in user.memberships}
    groups = [
        {
            "value": group,
            "display": graph.names[group].display,
            "type": "direct" if group in direct else "indirect",
            "source": graph.names[group].source,
            **({"externalId": graph.names[group].external_id} if graph.names[group].external_id else {}),
            **({"dn": graph.names[group].dn} if graph.names[group].dn else {}),
        }
        for group in sorted(paths)
        if group in graph.names
    ]
    extra: dict[str, Any] = {"source": search_part("source", sorted({link.source for link in user.links}), RULE_USER)}
    if groups:
        extra["groups"] = search_part("groups", groups, RULE_USER)
    return search_view(user.values, RULE_USER, **extra)


def evaluate(
    rules: Iterable[Rule], user: User, owners: Mapping[str, str], graph: Graph, may: MayGrant
) -> tuple[dict[tuple[str, str, str, str], Grant], list[Refusal]]:
    """The grants the rules give this user, keyed by Grant.id, and those refused by `may_grant`."""
    paths = graph.closure(membership.group for membership in user.memberships)
    whole = view(user, paths, graph)
    grants: dict[tuple[str, str, str, str], Grant] = {}
    refusals: list[Refusal] = []
    narrowed: dict[frozenset[str], dict[str, Any]] = {}
    sources = {link.source for link in user.links} | {each.origin for each in user.memberships}
    for rule in rules:
        if not rule.matches(whole):
            continue
        for kind, value in rule.grants():
            barred = frozenset(source for source in sources if not may.allowed(kind, value, source))
            if barred:
                if barred not in narrowed:
                    narrowed[barred] = _without(user, owners, graph, barred)
                if not rule.matches(narrowed[barred]):
                    refusals.append(Refusal(rule.name, kind, value, tuple(sorted(barred))))
                    continue
            grant = Grant(kind, value, "rule", rule.name, why=_why(rule, user, paths, graph))
            grants[grant.id] = grant
    return grants, refusals


def _without(user: User, owners: Mapping[str, str], graph: Graph, barred: frozenset[str]) -> dict[str, Any]:
    """The user as only the other sources state her: their attributes, and memberships of their origin in their groups."""
    kept = User(
        user.id,
        links=tuple(link for link in user.links if link.source not in barred),
        memberships=tuple(
            each
            for each in user.memberships
            if each.origin not in barred and each.group in graph.names and graph.names[each.group].source not in barred
        ),
        values={path: value for path, value in user.values.items() if owners.get(path) not in barred},
    )
    trusted = Graph(
        {id: name for id, name in graph.names.items() if name.source not in barred},
        graph.parents,
    )
    return view(kept, trusted.closure(each.group for each in kept.memberships), trusted)


def _why(rule: Rule, user: User, paths: Mapping[str, tuple[str, ...]], graph: Graph) -> str:
    """The rule, and for a rule about groups the nesting path of each group without which it would not match."""
    if not rule.reads_groups:
        return f"rule {rule.name}: {rule.when}"
    deciding = [
        path
        for group, path in sorted(paths.items())
        if group in graph.names and rule.matches(view(user, {group: path}, graph))
    ]
    through = "; ".join(graph.path_text(path) for path in deciding)
    return f"rule {rule.name} through {through}" if through else f"rule {rule.name}: {rule.when}"
