"""A whole plan decided in bounded memory: what it comes to, what guards hold of it, its digest and its seats.

Nothing is written. A second pass follows when a guard holds a kind of loss, so that what goes on is decided without it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain
from typing import Any, Final

import orjson
from sqlalchemy import Connection, select

from syncd.core.actor import RULES
from syncd.core.change import Change, ChangeGroup, GroupEdit, UserEdit
from syncd.core.groups import Graph
from syncd.core.guards import VERBS, Held
from syncd.core.offboarding import MANAGER
from syncd.core.plan import LET_GO, Counts, Digest, HeldItem, Plan, PoolUse, fingerprint
from syncd.core.snapshot import SetAside
from syncd.core.state import User
from syncd.core.workspace import Workspace
from syncd.errors import Mutability, Uniqueness
from syncd.store import fact_queries as queries
from syncd.store import facts, leases, linked, raw
from syncd.store import tables as t
from syncd.store.decide import Decision, announce
from syncd.store.drafts import FIRST_RUN, Verdict
from syncd.store.foreseen import Basis
from syncd.store.limits import judge_losses
from syncd.store.spool import Spool
from syncd.store.unmoved import sight

LOADED: Final = 1000  # change groups in a batch into an empty store, where nobody waits
LOADED_AT_ONCE: Final = 5  # such batches in a transaction, so that pages of indexes are written once and not by each
Step = Callable[[str, int, int | None], None]


@dataclass(frozen=True, slots=True)
class Item:
    """One change group as decided: what to do, the versions it was decided on, and what it was promised to do."""

    edits: ChangeGroup
    expected: dict[str, int]
    changes: tuple[Change, ...]
    batch: int  # decided together, so applied together: seats and versions come out as promised
    verdict: Verdict | None = None  # what the plan decided, if it may be applied as it is (store/foreseen.py)


Stored = tuple[int, bytes, dict[str, int]]  # batch, edits as JSON, expected


@dataclass(slots=True)
class Decided:
    items: Spool[Item] = field(default_factory=Spool)
    stored: Spool[Stored] = field(
        default_factory=Spool
    )  # the same, of what is to be applied, as another process resumes it
    losing: Spool[Item] = field(default_factory=Spool)  # what would be lost, before a guard held it
    losses: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # kind -> subject ids that count
    counts: Counts = field(default_factory=Counts)
    digest: Digest = field(default_factory=Digest)
    fingerprints: set[bytes] = field(default_factory=set)
    refused: list[Held] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    held_items: tuple[HeldItem, ...] = ()
    waiting: tuple[HeldItem, ...] = ()  # held by an earlier run, still wanted, not decided yet
    set_aside: list[SetAside] = field(default_factory=list)
    released: set[str] = field(default_factory=set)  # subjects of whom nothing that was held is wanted any more
    awaiting: set[str] = field(default_factory=set)  # users of whom a role or seat is kept that was held before
    whole: bool = True  # everything was read: what is not wanted now is not wanted any more
    again: set[str] = field(default_factory=set)  # users and groups of what was refused: a delta looks at them again
    managers: set[str] = field(default_factory=set)  # ids that changed values name, so that people can read the plan
    basis: Basis = field(default_factory=Basis)
    batches: int = 0
    seatless: Counter[str] = field(default_factory=Counter)  # pool -> who gets no seat there, since it is full
    seats_before: dict[str, PoolUse] = field(default_factory=dict)
    seats_after: dict[str, PoolUse] = field(default_factory=dict)

    def changes(self) -> Iterator[Change]:
        for item in self.items:
            yield from item.changes


class Numbered:
    """Items with their ordinals, iterated as often as wanted."""

    def __init__(self, items: Spool[Item]) -> None:
        self._items = items

    def __iter__(self) -> Iterator[tuple[int, Item]]:
        return iter(enumerate(self._items))


class Changes:
    """The changes of a decided plan, iterated as often as wanted."""

    def __init__(self, decided: Decided) -> None:
        self._decided = decided

    def __iter__(self) -> Iterator[Change]:
        return self._decided.changes()


def batch_size(conn: Connection, workspace: str) -> int:
    """Small while requests may have to wait for SQLite's one writer; large into an empty store."""
    if conn.dialect.name == "sqlite" and web_is_alive(conn):
        return 25
    users = conn.scalar(
        select(t.totals.c.count).where(t.totals.c.workspace == workspace, t.totals.c.resource == "user")
    )
    return 500 if users else LOADED


def web_is_alive(conn: Connection) -> bool:
    """Whether requests may come that write."""
    return any(each.kind == "web" and each.alive for each in leases.processes(conn))


def decide(
    conn: Connection,
    workspace: Workspace,
    plan: Plan,
    now: datetime,
    run_id: str,
    size: int,
    step: Step,
    keep: bool = False,
) -> Decided:
    """Judge a whole plan; nothing is written. `keep`: what is decided is kept with its items, to be applied.

    What a guard holds makes another pass: whoever stays active may lose a seat that would have gone with her, so the
    losses are judged again until no kind is added.
    """
    decided = first = _pass(conn, workspace, plan, now, run_id, size, frozenset(), step, keep)
    held: list[Held] = []
    items: list[HeldItem] = []
    losing: Spool[Item] = Spool()
    while added := _over(conn, workspace, plan, decided, {each.kind for each in held}, now):
        held += added
        items += _held_items(added, decided.losing)
        for item in decided.losing:
            lost = tuple(change for change in item.changes if change.loss in {each.kind for each in added})
            if lost:
                losing.append(replace(item, changes=lost))
        decided = _pass(conn, workspace, plan, now, run_id, size, frozenset(each.kind for each in held), step, keep)
    # What is held now may be why something that was held before is wanted still, such as a group she would have left.
    decided.held, decided.losing, decided.released = held, losing, first.released - decided.awaiting
    decided.held_items = (*items, *refusals(decided.refused))
    decided.waiting = _waiting(conn, workspace.name, plan.source, decided)
    return decided


def nothing(conn: Connection, workspace: Workspace, plan: Plan) -> Decided:
    """What a plan without edits comes to, in three statements; what waits for a decision goes on waiting."""
    pools = pool_use(conn, workspace)
    decided = Decided(whole=False, seats_before=pools, seats_after=pools)
    decided.waiting = _waiting(conn, workspace.name, plan.source, decided)
    return decided


def _over(
    conn: Connection, workspace: Workspace, plan: Plan, decided: Decided, known: set[str], now: datetime
) -> list[Held]:
    """The kinds of loss that must be held and are not yet."""
    losses = {kind: ids for kind, ids in sorted(decided.losses.items()) if kind not in known}
    if not plan.holds_every_loss:
        return judge_losses(conn, workspace, plan.source, losses, now, exact=True)
    return [
        Held(FIRST_RUN, kind, f"{plan.holds_every_loss}: {len(ids):,} {VERBS[kind]}", tuple(sorted(ids)))
        for kind, ids in losses.items()
    ]


def _pass(
    conn: Connection,
    workspace: Workspace,
    plan: Plan,
    now: datetime,
    run_id: str,
    size: int,
    retain: frozenset[str],
    step: Step,
    keep: bool,
) -> Decided:
    whole = plan.kind in ("full", LET_GO) and (plan.certificate is None or plan.certificate.complete)
    decided = Decided(set_aside=list(plan.set_aside), whole=whole)
    held_users, held_groups = _held_subjects(conn, workspace.name, plan.source)
    defer = set(held_users)  # each is looked at again, or what is held of her would stay when its reason is gone
    decided.basis.sight = sight(conn) if keep else None
    decided.basis.groups = raw.one(conn, queries.graph_count(), {"workspace": workspace.name}) or 0
    graph = _graph(conn, workspace.name, plan)
    decision = Decision(
        conn,
        workspace,
        plan.source,
        now,
        incomplete=plan.certificate is not None and not plan.certificate.complete,
        retain=retain,
        graph=graph,
        defer=defer,
        rules_changed=plan.source != RULES and not plan.impact and rules_differ(conn, workspace),
        run_id=run_id,
        goes=plan.goes,
    )
    decided.basis.rules_changed = decision.rules_changed
    if keep:
        decision.prints = decided.basis.people
    decided.seats_before = pool_use(conn, workspace)
    deltas: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    done = 0
    total = len(plan.groups) if isinstance(plan.groups, Spool) else None
    refused: list[Verdict] = []
    batches = _batches(plan.groups, defer, decision.overlay, plan.source, size)
    for number, batch in enumerate(chain(batches, _closing(conn, workspace, plan.source, refused, size))):
        before, decided.batches = decision.used, number + 1
        verdicts = decision.batch(batch)
        if decision.certain:
            decided.basis.used[number] = decision.used_at_first if before is None else before
        for verdict in verdicts:
            collect(decided, verdict, deltas, number, keep, keep and decision.certain)
        refused += (verdict for verdict in verdicts if verdict.error is not None)
        done += len(batch)
        step("decide", done, total)
    decided.basis.roles = decision.every_role
    decided.awaiting = decision.awaiting
    decided.released = decision.released | (held_groups - decision.still_wanted)
    for pool, use in decided.seats_before.items():
        used, waiting = deltas[pool]
        decided.seats_after[pool] = replace(use, used=use.used + used, waiting=use.waiting + waiting)
    return decided


def _graph(conn: Connection, workspace: str, plan: Plan) -> Graph | None:
    """Every group there is, with those that the plan makes. None: a few changes that make no group know theirs without it."""
    if plan.kind in ("delta", "only") and not any(edit.create for edit in groups_of(plan.groups)):
        return None
    graph = facts.load_graph(conn, workspace, None)
    announce(graph, groups_of(plan.groups))
    return graph


def _held_subjects(conn: Connection, workspace: str, source: str) -> tuple[set[str], set[str]]:
    """Users and groups of whom something is held for this source."""
    h, g = t.held.c, t.groups.c
    held = set(conn.scalars(select(h.subject_id).where(h.workspace == workspace, h.source == source)))
    groups = {
        id
        for ids in facts.batched(sorted(held))
        for id in conn.scalars(select(g.id).where(g.workspace == workspace, g.id.in_(ids)))
    }
    return held - groups, groups


def groups_of(groups: Iterable[ChangeGroup]) -> Iterator[GroupEdit]:
    """The group edits a plan starts with."""
    for edits in groups:
        for edit in edits:
            if isinstance(edit, UserEdit):
                return
            yield edit


def _batches(
    groups: Iterable[ChangeGroup], defer: set[str], decided: Mapping[str, User], source: str, size: int
) -> Iterator[list[ChangeGroup]]:
    """Batches in plan order, groups and users apart; at the end everyone a changed group touched and no edit named since.

    `decided`: users as decided so far. Whoever is in a group that goes at the end, and is not kept there, was decided
    without it: its own source took her out before.
    """
    seen: set[str] = set()
    early: set[str] = set()
    batch: list[ChangeGroup] = []
    kind = ""
    for edits in groups:
        for edit in edits:
            if isinstance(edit, UserEdit):
                seen.add(edit.id)
        this = edits[0].resource if edits else kind
        if batch and (this != kind or len(batch) == size):
            yield batch
            batch = []
            if kind == "user" and this == "group":  # groups that go at the end touch who was decided before
                early |= defer - seen
                defer.clear()
                seen -= decided.keys()
        kind = this
        batch.append(edits)
    if batch:
        yield batch
    yield from facts.batched(
        ((UserEdit(id, source, why="a group above changed"),) for id in sorted(early | (defer - seen))), size
    )


def _closing(
    conn: Connection, workspace: Workspace, source: str, refused: list[Verdict], size: int
) -> Iterator[list[ChangeGroup]]:
    """Whoever is refused another name, say, and is disabled by the same entry: that alone, which nothing stands against."""
    why = {
        edit.link.key: edit.why
        for verdict in list(refused)
        if isinstance(verdict.error, Uniqueness | Mutability)
        for edit in verdict.edits
        if isinstance(edit, UserEdit) and not edit.create and edit.link is not None and edit.link.enabled is False
    }
    known = linked.whole_links(conn, workspace.name, source, "user", why)
    yield from facts.batched(
        (
            (UserEdit(id, source, link=replace(link, enabled=False, entry_hash=""), why=why[link.key]),)
            for id, link in known
            if link.enabled is not False
        ),
        size,
    )


def collect(
    decided: Decided,
    verdict: Verdict,
    deltas: dict[str, list[int]],
    batch: int = 0,
    keep: bool = False,
    certain: bool = False,
) -> None:
    """`keep`: to be applied; `certain`: as it is decided, if nothing moves (store/foreseen.py)."""
    if verdict.error is not None:
        decided.set_aside.append(refused_entry(verdict))
        decided.again |= touched(verdict.edits)
        return
    decided.refused += verdict.held
    changed = any(before != after for before, after in (*verdict.users, *verdict.groups))
    if not changed and not any(isinstance(edit, GroupEdit) and edit.unresolved is not None for edit in verdict.edits):
        return
    item = Item(verdict.edits, verdict.expected, verdict.changes, batch, verdict if certain else None)
    decided.items.append(item)
    if keep:
        decided.stored.append((batch, orjson.dumps(verdict.edits), item.expected))
    decided.counts.add(verdict.changes)
    decided.seatless.update(verdict.seatless)
    lost = False
    for change in verdict.changes:
        decided.digest.add(change)
        if change.kind in ("create", "update"):
            decided.managers |= _managers(change)
        if change.loss:
            lost = True
            decided.fingerprints.add(fingerprint(change)[:8])
            if not change.exempt:
                decided.losses[change.loss].add(change.subject_id)
    if lost:
        decided.losing.append(replace(item, verdict=None))
    for before, after in verdict.users:
        for seats, sign in ((before.seats if before else (), -1), (after.seats, 1)):
            for seat in seats:
                deltas[seat.pool][0 if seat.held else 1] += sign


def _managers(change: Change) -> set[str]:
    shown = (each for each in (change.before, change.after) if isinstance(each, Mapping))
    return {each[MANAGER] for each in shown if each.get(MANAGER)}


def refused_entry(verdict: Verdict) -> SetAside:
    """What the door refused, for the list of what was set aside."""
    edit = verdict.edits[0]
    return SetAside(entry_of(verdict), str(verdict.error), edit.link.key if edit.link else None)


def touched(edits: ChangeGroup) -> set[str]:
    """Users and groups that these edits are about, by id."""
    return {id for edit in edits for id in (edit.id, *edit.join, *edit.leave)}


def entry_of(verdict: Verdict) -> str:
    edit = verdict.edits[0]
    if edit.link is None:
        return edit.id
    return edit.link.dn or str(edit.link.values.get("userName") or edit.link.key)


def _held_items(held: Sequence[Held], losing: Iterable[Item]) -> tuple[HeldItem, ...]:
    digests = {each.kind: Digest() for each in held}
    names: dict[str, dict[str, None]] = {each.kind: {} for each in held}
    for item in losing:
        for change in item.changes:
            if change.loss in digests:
                digests[change.loss].add(change)
                names[change.loss][change.subject] = None
    return tuple(
        HeldItem(
            each.guard, each.kind, each.why, digests[each.kind].count, digests[each.kind].text, tuple(names[each.kind])
        )
        for each in held
    )


def _waiting(conn: Connection, workspace: str, source: str, decided: Decided) -> tuple[HeldItem, ...]:
    """What lasts until somebody decides (`Decision._awaiting_approval`) and is not held anew by this plan."""
    anew = {
        (change.subject_id, change.loss) for item in decided.losing for change in item.changes
    }  # of held kinds only
    held = {each.kind for each in decided.held}
    found: dict[tuple[str, str], list[Any]] = defaultdict(list)
    h = t.held.c
    for row in conn.execute(
        select(t.held).where(h.workspace == workspace, h.source == source, h.run_id.is_not(None)).order_by(h.subject)
    ):
        again = row.kind in held and (row.subject_id, row.kind) in anew
        if lasting(row) and not again and row.subject_id not in decided.released:
            found[row.kind, row.digest].append(row)
    return tuple(
        HeldItem(
            rows[0].guard,
            kind,
            rows[0].why,
            sum(len(orjson.loads(row.changes)) for row in rows),
            digest,
            tuple(row.subject for row in rows),
        )
        for (kind, digest), rows in sorted(found.items())
    )


def lasting(row: Any) -> bool:
    return row.kind in ("role", "seat") or row.guard == FIRST_RUN


def refusals(refused: Sequence[Held]) -> tuple[HeldItem, ...]:
    """Refusals of protected accounts and the last owner: nobody can approve these, so they have no digest."""
    return tuple(HeldItem(each.guard, each.kind, each.why, 1, "", each.subjects) for each in refused)


def pool_use(conn: Connection, workspace: Workspace) -> dict[str, PoolUse]:
    p = t.seat_pools.c
    rows = {row.name: row for row in conn.execute(select(t.seat_pools).where(p.workspace == workspace.name))}
    return {
        name: PoolUse(
            rows[name].used if name in rows else 0,
            pool.limit,
            rows[name].waiting if name in rows else 0,
            pool.price,
        )
        for name, pool in workspace.pools.items()
    }


def rules_differ(conn: Connection, workspace: Workspace) -> bool:
    s = t.source_states.c
    known = conn.scalar(select(s.digest).where(s.workspace == workspace.name, s.source == RULES))
    return known is not None and known != workspace.rules_digest
