"""New entries that may be people who are known: who they may be, and what an admin said. The queue of `syncd adopt`.

A run writes whom it asks about in the transaction that ends it; an answer is taken up by the next read of the entry. Only ids
and scores are kept of people, so that nothing personal outlives them here. An entry that is linked is settled.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, delete, exists, or_, select, update

from syncd.core.access import Role, privileged
from syncd.core.actor import Actor
from syncd.core.correlation import Asked, Candidate, CorrelationRule, Key
from syncd.core.resource import name_key
from syncd.core.rules import view
from syncd.core.state import User
from syncd.core.workspace import Workspace
from syncd.errors import Conflict, NotFound, Refused
from syncd.store import facts, linked
from syncd.store import tables as t
from syncd.store.commit import Ids, record_one
from syncd.store.made_roles import known
from syncd.store.rows import upsert

ACCEPTED, REFUSED = "accepted", "refused"
PRIVILEGED = "holds a privileged role or permission: nobody may take that account over"
_a, _u = t.adoptions.c, t.users.c


@dataclass(frozen=True, slots=True)
class Answered:
    decision: str | None
    user_id: str | None
    refused: frozenset[str]
    by: str | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A row of the queue, for people."""

    source: str
    key: str
    entry: str
    user_name: str
    since: datetime
    candidates: tuple[Candidate, ...]
    decision: str | None
    user_id: str | None
    user: str | None
    by: str | None
    decided_at: datetime | None


# -- for a run ---------------------------------------------------------------------------------------------------------------


def answers(conn: Connection, workspace: str, source: str) -> dict[str, Answered]:
    """By the entry's key. Of somebody who was deleted since nobody said anything: it is asked about anew."""
    where = (_a.workspace == workspace, _a.source == source, _a.decision.is_not(None))
    columns = (_a.key, _a.decision, _a.user_id, _a.refused, _a.decided_by)
    rows = conn.execute(select(*columns).where(*where)).all()
    there = _living(conn, workspace, {row.user_id for row in rows if row.user_id})
    return {
        row.key: Answered(
            row.decision if row.user_id is None or row.user_id in there else None,
            row.user_id if row.user_id in there else None,
            frozenset(row.refused or ()),
            row.decided_by,
        )
        for row in rows
    }


def _living(conn: Connection, workspace: str, ids: Iterable[str]) -> dict[str, str]:
    """userNames of those of these users who are not deleted."""
    found: dict[str, str] = {}
    for batch in facts.batched(sorted(ids)):
        mine = (_u.workspace == workspace, _u.id.in_(batch), _u.status != "deleted")
        found |= {id: name for id, name in conn.execute(select(_u.id, _u.user_name).where(*mine))}
    return found


def people(
    conn: Connection, workspace: str, rules: Sequence[CorrelationRule], wanted: set[Key]
) -> dict[Key, list[str]]:
    """(rule's text, *key) -> ids of undeleted users. Names and addresses are found by an index; any other rule costs one
    walk over everybody, and only when something new has to be compared."""
    found: dict[Key, list[str]] = defaultdict(list)
    walked: list[CorrelationRule] = []
    for rule in rules:
        mine = {key[1]: key for key in wanted if key[0] == str(rule)}
        if not mine:
            continue
        if rule.same == ("userName",):
            for name, holder in linked.holders_of(conn, workspace, mine).items():
                found[mine[name]].append(holder)
        elif rule.same in (("emails",), ("emails.value",)):
            for value, id in _by_address(conn, workspace, mine):
                found[mine[value]].append(id)
        else:
            walked.append(rule)
    if walked:
        for id, search in conn.execute(
            select(_u.id, _u.search).where(_u.workspace == workspace, _u.status != "deleted")
        ):
            for rule in walked:
                for key in rule.keys(search):
                    if (str(rule), *key) in wanted:
                        found[(str(rule), *key)].append(id)
    return found


def _by_address(conn: Connection, workspace: str, addresses: Mapping[str, Key]) -> Iterable[tuple[str, str]]:
    e = t.emails.c
    beginnings: dict[str, list[str]] = defaultdict(list)
    for address in addresses:
        beginnings[facts.email_key(address)].append(address)
    joined = and_(_u.workspace == e.workspace, _u.id == e.user_id)
    query = select(e.value, e.user_id, _u.search).join_from(t.emails, t.users, joined)
    for batch in facts.batched(sorted(beginnings)):
        for row in conn.execute(query.where(e.workspace == workspace, e.value.in_(batch), _u.status != "deleted")):
            whole = {each.get("value") for each in row.search.get("emails") or ()}
            yield from ((address, row.user_id) for address in beginnings[row.value] if address in whole)


def described(
    conn: Connection, workspace: Workspace, source: str, ids: Iterable[str]
) -> dict[str, tuple[str, str | None]]:
    """id -> userName, and why this source may not adopt her (None: it may)."""
    policy = workspace.source(source)
    found: dict[str, tuple[str, str | None]] = {}
    roles = known(conn, workspace)
    for batch in facts.batched(sorted(set(ids))):
        users = facts.load_users(conn, workspace.name, batch, workspace.precedence)
        graph = facts.load_graph(
            conn, workspace.name, {each.group for user in users.values() for each in user.memberships}
        )
        for id, user in users.items():
            barred = PRIVILEGED if _privileged(user, roles) else None
            if barred is None and policy.may_adopt is not None:
                paths = graph.closure(each.group for each in user.memberships)
                if not policy.may_adopt(view(user, paths, graph, workspace.types.rule_user)):
                    barred = f"does not match `adopt` of source {source}"
            found[id] = (user.name, barred)
    return found


def _privileged(user: User, roles: Mapping[str, Role]) -> bool:
    return any(
        (grant.kind == "permission" and privileged([grant.value]))
        or (grant.kind == "role" and grant.value in roles and roles[grant.value].privileged)
        for grant in user.stated
    )


def settle(
    conn: Connection,
    workspace: str,
    source: str,
    asked: Iterable[Asked],
    gone: Iterable[str],
    whole: bool,
    run_id: str,
    now: datetime,
) -> None:
    """What this run asks; entries that were linked meanwhile, or that a whole read asks about no more, are settled.

    `gone`: keys of entries about which somebody said something, and which are not there any more.
    """
    names = list(asked)
    for each in names:
        written = [[one.id, one.score, list(one.by), one.barred] for one in each.candidates]
        here = (_a.workspace == workspace, _a.source == source, _a.key == each.key)
        since = conn.scalar(select(_a.since).where(*here)) or now
        row = {"entry": each.entry, "user_name": each.user_name, "candidates": written, "since": since}
        upsert(
            conn,
            t.adoptions,
            {"workspace": workspace, "source": source, "key": each.key},
            {**row, "run_id": run_id, "decision": None, "user_id": None, "decided_by": None, "decided_at": None},
        )
    k = t.links.c
    linked_now = exists().where(
        k.workspace == _a.workspace, k.source == _a.source, k.resource == "user", k.key == _a.key
    )
    settled: list[Any] = [linked_now]
    if whole:
        settled.append(and_(_a.run_id != run_id, _a.decision.is_(None)))
    mine = (_a.workspace == workspace, _a.source == source)
    conn.execute(delete(t.adoptions).where(*mine, or_(*settled)))
    for batch in facts.batched(gone):
        conn.execute(delete(t.adoptions).where(*mine, _a.key.in_(batch)))


# -- for people --------------------------------------------------------------------------------------------------------------


def list_(conn: Connection, workspace: str, source: str | None = None, undecided: bool = False) -> list[Waiting]:
    """The queue, the oldest first; `undecided`: only what waits for an answer."""
    query = select(t.adoptions).where(_a.workspace == workspace)
    if source is not None:
        query = query.where(_a.source == source)
    if undecided:
        query = query.where(_a.decision.is_(None))
    rows = conn.execute(query.order_by(_a.since, _a.source, _a.key)).all()
    ids = {one[0] for row in rows for one in row.candidates} | {row.user_id for row in rows if row.user_id}
    names = _living(conn, workspace, ids)
    return [_waiting(row, names) for row in rows]


def _waiting(row: Any, names: Mapping[str, str]) -> Waiting:
    """`names`: of whoever is not deleted. An answer that names somebody who was deleted since is none any more."""
    answered = row.user_id is None or row.user_id in names
    people = tuple(
        Candidate(id, names[id], score, tuple(by), barred) for id, score, by, barred in row.candidates if id in names
    )
    user = names.get(row.user_id) if row.user_id else None
    return Waiting(
        *(row.source, row.key, row.entry, row.user_name, row.since, people),
        *((row.decision, row.user_id, user, row.decided_by, row.decided_at) if answered else (None,) * 5),
    )


def find(conn: Connection, workspace: str, which: str, source: str | None = None) -> Waiting:
    """By stable key, DN or userName. Raises NotFound; Conflict if several sources ask about one of that name."""
    found = [
        each
        for each in list_(conn, workspace, source)
        if which in (each.key, each.entry) or name_key(which) == name_key(each.user_name)
    ]
    if not found:
        raise NotFound(f"nobody asks about {which[:200]!r}: `syncd adopt list` shows who waits")
    if len(found) > 1:
        keys = ", ".join(f"{each.key} (source {each.source})" for each in found)
        raise Conflict(f"{len(found)} entries are called {which[:200]!r}: name one by its key: {keys}")
    return found[0]


def accept(
    conn: Connection, workspace: Workspace, waiting: Waiting, user_id: str | None, actor: Actor, now: datetime, ids: Ids
) -> Waiting:
    """This entry is that user. Raises Conflict if it is not said which of several, Refused for a privileged account."""
    if user_id is None:
        if len(waiting.candidates) != 1:
            people = ", ".join(f"{each.name} ({each.id})" for each in waiting.candidates) or "nobody any more"
            raise Conflict(f"{waiting.user_name} may be {people}: say which one")
        user_id = waiting.candidates[0].id
    known = described(conn, workspace, waiting.source, _living(conn, workspace.name, [user_id]))
    name, barred = known.get(user_id, ("", "there is no such user, or she was deleted"))
    if barred is not None and not barred.startswith("does not match"):
        raise Refused(f"{name or user_id}: {barred}")
    if any(row.resource == "user" for row in linked.links_of(conn, workspace.name, waiting.source, [user_id])):
        raise Conflict(f"{name} is linked to another entry of source {waiting.source}: they are two people")
    _decide(conn, workspace.name, waiting, ACCEPTED, user_id, [], actor, now)
    why = f"{waiting.entry} of source {waiting.source} is {name}"
    record_one(conn, actor, "adoption_accepted", name, why, {"source": waiting.source, "key": waiting.key}, now, ids)
    return find(conn, workspace.name, waiting.key, waiting.source)


def refuse(conn: Connection, workspace: Workspace, waiting: Waiting, actor: Actor, now: datetime, ids: Ids) -> Waiting:
    """This entry is none of them: another person, who is made by the next read, under a name that is free."""
    refused = [each.id for each in waiting.candidates]
    _decide(conn, workspace.name, waiting, REFUSED, None, refused, actor, now)
    why = f"{waiting.entry} of source {waiting.source} is none of {', '.join(each.name for each in waiting.candidates)}"
    after = {"source": waiting.source, "key": waiting.key}
    record_one(conn, actor, "adoption_refused", waiting.user_name, why, after, now, ids)
    return find(conn, workspace.name, waiting.key, waiting.source)


def _decide(
    conn: Connection,
    workspace: str,
    waiting: Waiting,
    decision: str,
    user_id: str | None,
    refused: list[str],
    actor: Actor,
    now: datetime,
) -> None:
    here = (_a.workspace == workspace, _a.source == waiting.source, _a.key == waiting.key)
    before = conn.scalar(select(_a.refused).where(*here)) or []
    values = {"decision": decision, "user_id": user_id, "refused": sorted({*before, *refused})}
    conn.execute(update(t.adoptions).where(*here).values(**values, decided_by=actor.name, decided_at=now))
    q = t.quarantine.c  # a read of what changed would not be told of the entry again
    mine = (q.workspace == workspace, q.source == waiting.source, q.key == waiting.key)
    conn.execute(update(t.quarantine).where(*mine).values(next_at=now))
