"""Which new entries are people whom the store knows already: adopted where that is certain and allowed, asked about otherwise.

Never by a guess: two candidates, or one below certainty, make the entry wait for `syncd adopt`. Whom another entry of this very
source states is another person, whatever they share. An answer that was given is followed, and judged again by the door.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from syncd.core.correlation import Asked, Candidate, Correlation, scored, verdict, wanted_keys
from syncd.core.resource import search_view
from syncd.core.schema import ResourceType
from syncd.core.snapshot import Entry
from syncd.core.workspace import Workspace
from syncd.reconcile.mapping import MappedUser
from syncd.store import adoptions
from syncd.store.adoptions import ACCEPTED

_NAME_ONLY = ("userName",)
# Ids of users -> those whom this source states, and whether their entry is gone.
Stated = Callable[[Iterable[str]], Mapping[str, bool]]


@dataclass(frozen=True, slots=True)
class Newcomer:
    """An entry that is linked to nobody, with the id it gets if it is somebody new."""

    id: str
    key: str
    dn: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Newcomers:
    """Those of a read's entries that are new: (entry, id, its hash, what it is mapped to)."""

    mapped: Iterable[tuple[Entry, str, str, MappedUser]]

    def __iter__(self) -> Iterator[Newcomer]:
        return (Newcomer(id, entry.key, entry.dn, user.values) for entry, id, _, user in self.mapped)


@dataclass(slots=True)
class Adopted:
    """Our new id -> whose entry it is. `by`: the admin who said so, for those ids; `asked`: our new id -> the question."""

    users: dict[str, str] = field(default_factory=dict)
    by: dict[str, str] = field(default_factory=dict)
    asked: dict[str, Asked] = field(default_factory=dict)


def correlate(conn: Any, workspace: Workspace, source: str, newcomers: Iterable[Newcomer], stated: Stated) -> Adopted:
    """`newcomers` is gone through twice: a list, or a view of a spool. Nobody is adopted by a source that may not."""
    policy, found = workspace.source(source), Adopted()
    if policy.adopt == "never":
        return found
    correlation = policy.correlation
    compared = _compared(correlation, workspace.types.user)
    answered = adoptions.answers(conn, workspace.name, source)
    wanted = {key for each in newcomers for key in wanted_keys(correlation.rules, compared(each))}
    if not wanted and not answered:
        return found
    people = adoptions.people(conn, workspace.name, correlation.rules, wanted)
    here = stated(
        {id for ids in people.values() for id in ids} | {each.user_id for each in answered.values() if each.user_id}
    )
    doubtful: list[tuple[Newcomer, dict[str, tuple[int, list[str]]]]] = []
    for each in newcomers:
        answer = answered.get(each.key)
        if answer is not None and answer.decision == ACCEPTED and answer.user_id and answer.user_id not in here:
            found.users[each.id], found.by[each.id] = answer.user_id, answer.by or "an admin"
            continue
        refused = answer.refused if answer is not None else frozenset()
        scores = scored(correlation, compared(each), people)
        scores = {id: score for id, score in scores.items() if id not in here and id not in refused}
        candidates = [Candidate(id, "", score, tuple(by)) for id, (score, by) in scores.items()]
        decided, who = verdict(correlation, candidates)
        by_name = who is not None and who.by == _NAME_ONLY
        if decided == "adopt" and policy.adopt != "ask" and who is not None and (by_name or policy.may_adopt is None):
            found.users[each.id] = who.id
        elif decided != "new":
            doubtful.append((each, scores))
    _settle_doubts(conn, workspace, source, doubtful, found)
    _ask_about_doubles(conn, workspace, source, newcomers, found)
    return found


def _compared(correlation: Correlation, type: ResourceType) -> Callable[[Newcomer], Mapping[str, Any]]:
    """The search view of what the rules look at, and no more: a first load compares everybody."""
    heads = tuple(head for rule in correlation.rules for head in rule.heads)

    def view(newcomer: Newcomer) -> Mapping[str, Any]:
        return search_view({path: each for path, each in newcomer.values.items() if path.startswith(heads)}, type)

    return view


def _settle_doubts(
    conn: Any,
    workspace: Workspace,
    source: str,
    doubtful: list[tuple[Newcomer, dict[str, tuple[int, list[str]]]]],
    found: Adopted,
) -> None:
    """Those of whom more has to be known: the names for people, and whether the policy lets them be adopted."""
    policy = workspace.source(source)
    known = adoptions.described(conn, workspace, source, {id for _, scores in doubtful for id in scores})
    for each, scores in doubtful:
        candidates = tuple(
            sorted(
                (
                    Candidate(id, known[id][0], score, tuple(by), known[id][1])
                    for id, (score, by) in scores.items()
                    if id in known
                ),
                key=lambda one: (-one.score, one.name),
            )
        )
        decided, who = verdict(policy.correlation, candidates)
        if decided == "adopt" and policy.adopt != "ask" and who is not None and who.barred is None:
            found.users[each.id] = who.id
        elif candidates:
            found.asked[each.id] = Asked(each.key, each.dn, str(each.values["userName"]), candidates)


def _ask_about_doubles(
    conn: Any, workspace: Workspace, source: str, newcomers: Iterable[Newcomer], found: Adopted
) -> None:
    """Two entries that would be one person: none of them is, until somebody says which."""
    counted = Counter(found.users.values())
    doubled = {id for id, n in counted.items() if n > 1}
    if not doubled:
        return
    known = adoptions.described(conn, workspace, source, doubled)
    for each in newcomers:
        user = found.users.get(each.id)
        if user in doubled and each.id not in found.by:
            del found.users[each.id]
            name, barred = known.get(user, ("", None))
            candidate = Candidate(
                user, name, workspace.source(source).correlation.certain, ("another new entry is too",), barred
            )
            found.asked[each.id] = Asked(each.key, each.dn, str(each.values["userName"]), (candidate,))
