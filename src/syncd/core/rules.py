"""Rules map a condition over a user to roles, permissions, seats and data scopes.

Rules add up (`cumulative`), or of those of one choice only the first that matches counts (`first`) or that of the highest
role (`highest`); what a rule of mode `deny` names is denied, whatever gives it (core/denial.py).
One pass suffices: a condition reads attributes, effective groups and sources, never roles, grants, seats or status.
No escalation by name: what a source may not grant is judged again on the part of the user that only permitted
sources state, so a group pushed by a connection cannot make an admin unless that connection's `may_grant` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from syncd.core.access import DENIAL, Role
from syncd.core.actor import ADMIN_SOURCE
from syncd.core.groups import Graph, GroupName
from syncd.core.resource import search_part, search_view
from syncd.core.schema import RULE_USER, ResourceType
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
    reads: frozenset[str] | None = None  # canonical paths of the top-level attributes it asks for; None: of any
    where: str | None = None
    mode: str = "cumulative"  # "cumulative" | "first" | "highest" | "deny"
    choice: str = ""  # rules of one choice, of mode first or highest, of which one counts

    def grants(self) -> tuple[tuple[str, str], ...]:
        """What it gives; of a rule that denies, the denials."""
        if self.mode == "deny":
            return tuple((kind, DENIAL + value) for kind, value in self._named())
        return self._named()

    def _named(self) -> tuple[tuple[str, str], ...]:
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
    """A rule matched, or a group gives it, but only through sources that may not grant this."""

    rule: str  # its name, or `group NAME`
    kind: str
    value: str
    sources: tuple[str, ...]


def view(
    user: User,
    paths: Mapping[str, tuple[str, ...]],
    graph: Graph,
    type: ResourceType = RULE_USER,
    reads: frozenset[str] | None = None,
) -> dict[str, Any]:
    """What conditions read: attributes, effective groups (direct and indirect), the sources that state the user.

    `reads`: it is made of these top-level attributes only; None: of all.
    """
    values = user.values
    if reads is not None and "schemas" not in reads:
        values = {path: value for path, value in values.items() if _is_read(path, type, reads)}
    seen = search_view(values, type, source=sorted({link.source for link in user.links}))
    return seen if reads is not None and "groups" not in reads else _with_groups(seen, user, sorted(paths), graph)


@lru_cache(4096)
def _is_read(path: str, type: ResourceType, reads: frozenset[str]) -> bool:
    found = type.resolve(path)
    return found is not None and (found.top in reads or found.extension in reads)


@lru_cache(256)
def _all_read(each: tuple[frozenset[str] | None, ...]) -> frozenset[str] | None:
    known = [reads for reads in each if reads is not None]
    return frozenset().union(*known) if len(known) == len(each) else None


def _with_groups(seen: dict[str, Any], user: User, groups: Iterable[str], graph: Graph) -> dict[str, Any]:
    direct = {membership.group for membership in user.memberships}
    elements = [_element(graph.names[id], id in direct) for id in groups if id in graph.names]
    return {**seen, "groups": elements} if elements else seen


@lru_cache(maxsize=65_536)
def _element(group: GroupName, direct: bool) -> dict[str, Any]:
    """One group as a condition sees it; the same for every member, so made once."""
    element = {
        "value": group.id,
        "display": group.display,
        "type": "direct" if direct else "indirect",
        "source": group.source,
        "externalId": group.external_id,
        "dn": group.dn,
    }
    part: list[dict[str, Any]] = search_part("groups", [element], RULE_USER)
    return part[0]


def evaluate(
    rules: Sequence[Rule],
    user: User,
    owners: Mapping[str, str],
    graph: Graph,
    may: MayGrant,
    type: ResourceType = RULE_USER,
    paths: Mapping[str, tuple[str, ...]] | None = None,
) -> tuple[dict[tuple[str, str, str, str], Grant], list[Refusal]]:
    """The grants the rules give this user, keyed by Grant.id, and those refused by `may_grant`.

    `type`: a user as the rules' conditions were bound to see it; `paths`: her groups, as `Graph.closure`, if they are known.
    """
    grants: dict[tuple[str, str, str, str], Grant] = {}
    refusals: list[Refusal] = []
    if not rules:
        return grants, refusals
    if paths is None:
        paths = graph.closure(membership.group for membership in user.memberships)
    reads = _all_read(tuple([rule.reads for rule in rules]))
    whole = view(user, paths, graph, type, reads)
    narrowed: dict[frozenset[str], dict[str, Any] | None] = {}
    sources = {link.source for link in user.links} | {each.origin for each in user.memberships} | graph.stating(paths)
    for rule in chosen([rule for rule in rules if rule.matches(whole)], may.roles):
        why = _why(rule, user, whole, paths, graph)
        for kind, value in rule.grants():
            denies = rule.mode == "deny"  # that a source may not grant it is no reason not to deny it
            barred = frozenset(source for source in sources if not denies and not may.allowed(kind, value, source))
            if barred:
                if barred not in narrowed:
                    narrowed[barred] = _without(user, owners, graph, barred, type, reads)
                seen = narrowed[barred]
                if seen is None or not rule.matches(seen):
                    refusals.append(Refusal(rule.name, kind, value, tuple(sorted(barred))))
                    continue
            grant = Grant(kind, value, "rule", rule.name, why=why)
            grants[grant.id] = grant
    return grants, refusals


def chosen(matching: Sequence[Rule], roles: Mapping[str, Role]) -> list[Rule]:
    """Those of the matching rules that count, in their order: of each choice the first, or that of the highest role.

    Of two that rank alike the earlier counts. A role without a rank is below all that have one.
    """
    best: dict[tuple[str, str], Rule] = {}
    for rule in matching:
        key = (rule.mode, rule.choice)
        if rule.mode == "first":
            best.setdefault(key, rule)
        elif rule.mode == "highest" and (key not in best or _rank(rule, roles) > _rank(best[key], roles)):
            best[key] = rule
    return [rule for rule in matching if best.get((rule.mode, rule.choice), rule) is rule]


def _rank(rule: Rule, roles: Mapping[str, Role]) -> float:
    ranks = [roles[name].rank for name in rule.roles if name in roles]
    return max((rank for rank in ranks if rank is not None), default=float("-inf"))


def through_groups(
    user: User, paths: Mapping[str, tuple[str, ...]], graph: Graph, may: MayGrant
) -> tuple[dict[tuple[str, str, str, str], Grant], list[Refusal]]:
    """What the groups give her that she is in, keyed by Grant.id, and what is refused by `may_grant`.

    `paths`: her groups, as `Graph.closure`. A source's word that she is in a group, or that it is in another, gives only what
    that source may grant.
    """
    grants: dict[tuple[str, str, str, str], Grant] = {}
    refusals: list[Refusal] = []
    giving = sorted([group for group in paths if group in graph.names and graph.names[group].grants])
    if not giving:
        return grants, refusals
    sources = {each.origin for each in user.memberships} | graph.nesting(paths)
    narrowed: dict[frozenset[str], Mapping[str, tuple[str, ...]]] = {frozenset(): paths}
    for group in giving:
        for kind, value in graph.names[group].grants:
            barred = frozenset(source for source in sources if not may.allowed(kind, value, source))
            if barred not in narrowed:
                direct = [each.group for each in user.memberships if each.origin not in barred]
                narrowed[barred] = graph.closure(direct, barred, whosever=True)
            path = narrowed[barred].get(group)
            if path is None:
                refusals.append(Refusal(f"group {graph.names[group].display}", kind, value, tuple(sorted(barred))))
                continue
            grant = Grant(kind, value, "group", group, why=f"group {graph.path_text(path)}")
            grants[grant.id] = grant
    return grants, refusals


def _without(
    user: User,
    owners: Mapping[str, str],
    graph: Graph,
    barred: frozenset[str],
    type: ResourceType,
    reads: frozenset[str] | None,
) -> dict[str, Any] | None:
    """The user as only the other sources state her: their attributes, and memberships of their origin in their groups.

    None if they state nothing: `not (title pr)` is no reason to grant anything to somebody unknown.
    """
    links = tuple(link for link in user.links if link.source not in barred)
    memberships = tuple(each for each in user.memberships if each.origin not in barred)
    if not links and not memberships:
        return None
    shown = {path: value for path, value in user.values.items() if owners.get(path) not in barred}
    outranked = {path: value for link in links for path, value in link.values.items()}  # by what is not counted here
    kept = User(user.id, links=links, memberships=memberships, values={**outranked, **shown})
    return view(kept, graph.closure((each.group for each in kept.memberships), barred), graph, type, reads)


def _why(rule: Rule, user: User, whole: dict[str, Any], paths: Mapping[str, tuple[str, ...]], graph: Graph) -> str:
    """The rule, and for a rule about groups the nesting path of each group that alone makes it match."""
    if not rule.reads_groups:
        return f"rule {rule.name}{_CHOSEN.get(rule.mode, '')}: {rule.when}"
    bare = {name: part for name, part in whole.items() if name != "groups"}
    deciding = [
        graph.path_text(path)
        for group, path in sorted(paths.items())
        if rule.matches(_with_groups(bare, user, (group,), graph))
    ]
    told = f"rule {rule.name}{_CHOSEN.get(rule.mode, '')}"
    return f"{told} through {'; '.join(deciding)}" if deciding else f"{told}: {rule.when}"


_CHOSEN: Mapping[str, str] = {
    "first": " (the first that matches)",
    "highest": " (of the highest role)",
    "deny": " (denies)",
}
