"""A run at the door: decide a whole plan in bounded memory, store it, apply it batch by batch, resume it after a kill.

A run is leased with a fencing token that every batch checks. Its items are stored before the first is applied; a killed
run resumes them. An item whose subject changed since is dropped and planned again next time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import orjson
from pydantic import TypeAdapter
from sqlalchemy import Connection, delete, insert, select, update

from syncd.core.actor import Actor
from syncd.core.change import Change, ChangeGroup, Edit, GroupEdit, UserEdit
from syncd.core.guards import VERBS, Held
from syncd.core.plan import Counts, Digest, HeldItem, Plan, PoolUse, fingerprint
from syncd.core.snapshot import SetAside
from syncd.core.state import Link, User
from syncd.core.workspace import Workspace
from syncd.errors import Conflict, NotFound
from syncd.store import facts
from syncd.store import tables as t
from syncd.store.commit import RULES, Ids, apply, judge_losses, record, record_one, rules_digest, upsert
from syncd.store.decide import FIRST_RUN, Decision, Verdict, announce
from syncd.store.engine import Database
from syncd.store.facts import Rows
from syncd.store.spool import Spool

LEASE = timedelta(minutes=5)
_EDITS: TypeAdapter[tuple[Edit, ...]] = TypeAdapter(tuple[Edit, ...])
Step = Callable[[str, int, int | None], None]


@dataclass(frozen=True, slots=True)
class Item:
    """One change group as decided: what to do, the versions it was decided on, and what it was promised to do."""

    edits: ChangeGroup
    expected: dict[str, int]
    changes: tuple[Change, ...]
    batch: int  # decided together, so applied together: seats and versions come out as promised


@dataclass(slots=True)
class Decided:
    items: Spool[Item] = field(default_factory=Spool)
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
    whole: bool = True  # everything was read: what is not wanted now is not wanted any more
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


# -- decide ----------------------------------------------------------------------------------------------------------------


def batch_size(conn: Connection, workspace: str) -> int:
    """Small while the web may be writing to the same SQLite file; large into an empty store and on PostgreSQL."""
    empty = conn.scalar(
        select(t.totals.c.count).where(t.totals.c.workspace == workspace, t.totals.c.resource == "user")
    )
    return 500 if not empty or conn.dialect.name == "postgresql" else 100


def decide(
    conn: Connection, workspace: Workspace, plan: Plan, now: datetime, run_id: str, size: int, step: Step
) -> Decided:
    """Judge a whole plan; nothing is written. A second pass follows when a guard holds a kind of loss."""
    first = _pass(conn, workspace, plan, now, run_id, size, frozenset(), step)
    held = (
        [
            Held(FIRST_RUN, kind, f"{plan.holds_every_loss}: {len(ids):,} {VERBS[kind]}", tuple(sorted(ids)))
            for kind, ids in sorted(first.losses.items())
        ]
        if plan.holds_every_loss
        else judge_losses(conn, workspace, plan.source, first.losses, now)
    )
    if not held:
        first.held_items = _refusals(first.refused)
        first.waiting = _waiting(conn, workspace.name, plan.source, first)
        return first
    kinds = frozenset(each.kind for each in held)
    second = _pass(conn, workspace, plan, now, run_id, size, kinds, step)
    second.held, second.losing, second.released = held, first.losing, first.released
    second.held_items = (*_held_items(held, first.losing), *_refusals(second.refused))
    second.waiting = _waiting(conn, workspace.name, plan.source, second)
    return second


def _pass(
    conn: Connection,
    workspace: Workspace,
    plan: Plan,
    now: datetime,
    run_id: str,
    size: int,
    retain: frozenset[str],
    step: Step,
) -> Decided:
    decided = Decided(set_aside=list(plan.set_aside), whole=plan.certificate is None or plan.certificate.complete)
    held_users, held_groups = _held_subjects(conn, workspace.name, plan.source)
    defer = set(held_users)  # each is looked at again, or what is held of her would stay when its reason is gone
    graph = facts.load_graph(conn, workspace.name, None)
    announce(graph, _groups_of(plan.groups))
    decision = Decision(
        conn,
        workspace,
        plan.source,
        now,
        incomplete=plan.certificate is not None and not plan.certificate.complete,
        retain=retain,
        graph=graph,
        defer=defer,
        rules_changed=plan.source != RULES and rules_differ(conn, workspace),
        run_id=run_id,
    )
    decided.seats_before = pool_use(conn, workspace)
    deltas: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    done = 0
    total = len(plan.groups) if isinstance(plan.groups, Spool) else None
    for number, batch in enumerate(_batches(plan.groups, defer, plan.source, size)):
        for verdict in decision.batch(batch):
            _collect(decided, verdict, deltas, number)
        done += len(batch)
        step("decide", done, total)
    decided.released = decision.released | (held_groups - decision.still_wanted)
    for pool, use in decided.seats_before.items():
        used, waiting = deltas[pool]
        decided.seats_after[pool] = PoolUse(use.used + used, use.limit, use.waiting + waiting)
    return decided


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


def _groups_of(groups: Iterable[ChangeGroup]) -> Iterator[GroupEdit]:
    """The group edits a plan starts with."""
    for edits in groups:
        for edit in edits:
            if isinstance(edit, UserEdit):
                return
            yield edit


def _batches(groups: Iterable[ChangeGroup], defer: set[str], source: str, size: int) -> Iterator[list[ChangeGroup]]:
    """Batches in plan order, groups and users apart; at the end everyone a changed group touched and no edit named since."""
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
                seen.clear()
        kind = this
        batch.append(edits)
    if batch:
        yield batch
    yield from facts.batched(
        ((UserEdit(id, source, why="a group above changed"),) for id in sorted(early | (defer - seen))), size
    )


def _collect(decided: Decided, verdict: Verdict, deltas: dict[str, list[int]], batch: int = 0) -> None:
    if verdict.error is not None:
        decided.set_aside.append(SetAside(_entry_of(verdict), str(verdict.error)))
        return
    decided.refused += verdict.held
    changed = any(before != after for before, after in (*verdict.users, *verdict.groups))
    if not changed and not any(isinstance(edit, GroupEdit) and edit.unresolved is not None for edit in verdict.edits):
        return
    item = Item(verdict.edits, verdict.expected, verdict.changes, batch)
    decided.items.append(item)
    decided.counts.add(verdict.changes)
    lost = False
    for change in verdict.changes:
        decided.digest.add(change)
        if change.loss:
            lost = True
            decided.fingerprints.add(fingerprint(change)[:8])
            if not change.exempt:
                decided.losses[change.loss].add(change.subject_id)
    if lost:
        decided.losing.append(item)
    for before, after in verdict.users:
        for seats, sign in ((before.seats if before else (), -1), (after.seats, 1)):
            for seat in seats:
                deltas[seat.pool][0 if seat.held else 1] += sign


def _entry_of(verdict: Verdict) -> str:
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
    anew = {(change.subject_id, change.loss) for item in decided.losing for change in item.changes}
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


def _refusals(refused: Sequence[Held]) -> tuple[HeldItem, ...]:
    """Refusals of protected accounts and the last owner: nobody can approve these, so they have no digest."""
    return tuple(HeldItem(each.guard, each.kind, each.why, 1, "", each.subjects) for each in refused)


def pool_use(conn: Connection, workspace: Workspace) -> dict[str, PoolUse]:
    p = t.seat_pools.c
    rows = {row.name: row for row in conn.execute(select(t.seat_pools).where(p.workspace == workspace.name))}
    return {
        name: PoolUse(rows[name].used if name in rows else 0, pool.limit, rows[name].waiting if name in rows else 0)
        for name, pool in workspace.pools.items()
    }


def rules_differ(conn: Connection, workspace: Workspace) -> bool:
    s = t.source_states.c
    known = conn.scalar(select(s.digest).where(s.workspace == workspace.name, s.source == RULES))
    return known is not None and known != workspace.rules_digest


# -- the lease ---------------------------------------------------------------------------------------------------------------


def lease(conn: Connection, workspace: str, source: str, holder: str, now: datetime) -> int:
    """One run per source at a time. Returns the fencing token; raises Conflict while another holder is alive."""
    k = t.leases.c
    row = conn.execute(
        select(t.leases).where(k.workspace == workspace, k.name == source).with_for_update()
    ).one_or_none()
    if row is not None and row.expires_at > now and row.holder != holder:
        raise Conflict(
            f"source {source} is being reconciled by run {row.holder}; it is done or given up by "
            f"{row.expires_at:%Y-%m-%d %H:%M:%S} UTC at the latest"
        )
    fence = (row.fence if row is not None else 0) + 1
    values = {"holder": holder, "fence": fence, "expires_at": now + LEASE}
    upsert(conn, t.leases, {"workspace": workspace, "name": source}, values)
    return fence


def _fenced(conn: Connection, workspace: str, source: str, fence: int, now: datetime) -> None:
    k = t.leases.c
    renewed = conn.execute(
        update(t.leases)
        .where(k.workspace == workspace, k.name == source, k.fence == fence)
        .values(expires_at=now + LEASE)
    )
    if renewed.rowcount != 1:
        raise Conflict(f"another run of source {source} took over (fencing token {fence} is old); this one stops")


def release(conn: Connection, workspace: str, source: str, fence: int) -> None:
    k = t.leases.c
    conn.execute(delete(t.leases).where(k.workspace == workspace, k.name == source, k.fence == fence))


# -- the record of a run -----------------------------------------------------------------------------------------------------


def begin(
    conn: Connection,
    workspace: Workspace,
    run_id: str,
    source: str,
    dry_run: bool,
    actor: str,
    now: datetime,
    **more: Any,
) -> None:
    upsert(conn, t.workspaces, {"name": workspace.name}, {"created_at": now}, keep=True)
    if not dry_run:
        rules_digest(conn, workspace, now, record=True)
    row = {"workspace": workspace.name, "id": run_id, "source": source, "dry_run": dry_run, "actor": actor}
    conn.execute(insert(t.runs).values(**row, status="reading", started_at=now, **more))


def end(conn: Connection, workspace: str, run_id: str, status: str, now: datetime, **more: Any) -> None:
    r = t.runs.c
    values = {"status": status, "finished_at": now, **more}
    conn.execute(update(t.runs).where(r.workspace == workspace, r.id == run_id).values(**values))
    conn.execute(delete(t.run_items).where(t.run_items.c.workspace == workspace, t.run_items.c.run_id == run_id))


def store(
    database: Database, workspace: str, run_id: str, decided: Decided, plan: Plan, size: int, now: datetime
) -> None:
    """Everything a resumed run needs, before anything is applied."""
    certificate = plan.certificate
    for index, batch in enumerate(facts.batched(decided.items, size)):
        with database.writing() as conn:
            conn.execute(
                insert(t.run_items),
                [
                    {
                        "workspace": workspace,
                        "run_id": run_id,
                        "ordinal": index * size + offset,
                        "batch": item.batch,
                        "state": "planned",
                        "edits": orjson.dumps(item.edits),
                        "expected": item.expected,
                        "changes": b"[]",
                        "why": None,
                    }
                    for offset, item in enumerate(batch)
                ],
            )
    with database.writing() as conn:
        r = t.runs.c
        conn.execute(
            update(t.runs)
            .where(r.workspace == workspace, r.id == run_id)
            .values(
                status="applying",
                digest=decided.digest.text,
                complete=certificate is None or certificate.complete,
                incomplete_because=list(certificate.because) if certificate else [],
                counts=decided.counts.by_kind,
                held=[{"kind": each.kind, "guard": each.guard} for each in decided.held],
            )
        )
        hold_all(conn, workspace, plan.source, decided, run_id, now)
        _write_set_aside(conn, workspace, run_id, decided.set_aside)


def _write_set_aside(conn: Connection, workspace: str, run_id: str, set_aside: Sequence[SetAside]) -> None:
    rows = [
        {"workspace": workspace, "run_id": run_id, "ordinal": index, "entry": each.entry, "why": each.why}
        for index, each in enumerate(set_aside)
    ]
    for batch in facts.batched(rows):
        conn.execute(insert(t.set_aside), batch)


def hold_all(conn: Connection, workspace: str, source: str, decided: Decided, run_id: str, now: datetime) -> None:
    """Held items are unique per (source, subject, kind); those a whole read no longer wants are forgotten."""
    h = t.held.c
    by_kind = {item.kind: item for item in decided.held_items if item.digest}
    kept: set[tuple[str, str]] = set()
    for item in decided.losing if by_kind else ():
        for change in item.changes:
            if change.loss not in by_kind:
                continue
            kept.add((change.subject_id, change.loss))
            own = [each for each in item.changes if (each.subject_id, each.loss) == (change.subject_id, change.loss)]
            held = by_kind[change.loss]
            upsert(
                conn,
                t.held,
                {"workspace": workspace, "source": source, "subject_id": change.subject_id, "kind": change.loss},
                {
                    **{"subject": change.subject, "guard": held.guard, "why": held.why, "digest": held.digest},
                    **{"run_id": run_id, "created_at": now, "changes": orjson.dumps(own)},
                    "edits": orjson.dumps([edit for edit in item.edits if edit.id == change.subject_id]),
                },
            )
    rows = conn.execute(select(h.subject_id, h.kind, h.guard).where(h.workspace == workspace, h.source == source)).all()
    for row in rows if decided.whole else ():
        again = (row.subject_id, row.kind) in kept
        if not again and (row.subject_id in decided.released or not lasting(row)):
            conn.execute(
                delete(t.held).where(
                    h.workspace == workspace, h.source == source, h.subject_id == row.subject_id, h.kind == row.kind
                )
            )


# -- apply ---------------------------------------------------------------------------------------


def apply_items(
    database: Database,
    workspace: Workspace,
    actor: Actor,
    items: Iterable[tuple[int, Item]],
    retain: frozenset[str],
    incomplete: bool,
    fence: int,
    clock: Callable[[], datetime],
    now: datetime,
    ids: Ids,
    step: Step,
    total: int,
) -> tuple[int, list[SetAside]]:
    """Apply stored items in batches, each one transaction. Returns how many were dropped as stale, and late refusals."""
    assert actor.run_id is not None
    with database.reading() as conn:
        graph = facts.load_graph(conn, workspace.name, None)
        changed = actor.source != RULES and rules_differ(conn, workspace)
    announce(graph, _groups_of(item.edits for _, item in items))
    dropped, done = 0, 0
    late: list[SetAside] = []
    for _, together in groupby(items, key=lambda numbered: numbered[1].batch):
        batch = list(together)
        with database.writing() as conn:
            _fenced(conn, workspace.name, actor.source, fence, clock())
            fresh = _fresh(conn, workspace.name, [item for _, item in batch])
            dropped += len(batch) - len(fresh)
            decision = Decision(
                conn,
                workspace,
                actor.source,
                now,
                incomplete=incomplete,
                retain=retain,
                lock=True,
                graph=graph,
                defer=set(),
                rules_changed=changed,
                run_id=actor.run_id,
            )
            verdicts = decision.batch([item.edits for item in fresh])
            good = [verdict for verdict in verdicts if verdict.error is None]
            late += [SetAside(_entry_of(each), str(each.error)) for each in verdicts if each.error is not None]
            apply(conn, workspace, actor, good, now, ids)
            rows = Rows(workspace.name)
            for verdict in good:
                for held in verdict.held:
                    _record_refusal(rows, actor, verdict, held, now, ids)
            rows.write(conn)
            i = t.run_items.c
            ordinals = [ordinal for ordinal, _ in batch]
            conn.execute(
                update(t.run_items)
                .where(i.workspace == workspace.name, i.run_id == actor.run_id, i.ordinal.in_(ordinals))
                .values(state="applied")
            )
        done += len(batch)
        step("apply", done, total)
    return dropped, late


def _record_refusal(rows: Rows, actor: Actor, verdict: Verdict, held: Held, now: datetime, ids: Ids) -> None:
    name = held.subjects[0] if held.subjects else verdict.edits[0].id
    record(rows, actor, "refused", name, verdict.edits[0].id, held.why, None, {"asked": []}, now, ids)


def _fresh(conn: Connection, workspace: str, items: Sequence[Item]) -> list[Item]:
    """Items whose users are still at the version they were decided on. A group's version counts its members' moves."""
    user_ids = {edit.id for item in items for edit in item.edits if isinstance(edit, UserEdit)}
    u = t.users.c
    versions = {
        row.id: row.version
        for batch in facts.batched(sorted(user_ids))
        for row in conn.execute(select(u.id, u.version).where(u.workspace == workspace, u.id.in_(batch)))
    }
    return [
        item
        for item in items
        if all(versions.get(id, 0) == version for id, version in item.expected.items() if id in user_ids)
    ]


def unfinished(
    database: Database, workspace: str, source: str
) -> tuple[str, list[tuple[int, Item]], dict[str, Any]] | None:
    """The run of this source that was killed while it applied: its id, what is left of it, and its own facts."""
    r, i = t.runs.c, t.run_items.c
    with database.reading() as conn:
        run = conn.execute(
            select(t.runs)
            .where(r.workspace == workspace, r.source == source, r.status == "applying", r.dry_run.is_(False))
            .order_by(r.started_at)
        ).first()
        if run is None:
            return None
        rows = conn.execute(
            select(i.ordinal, i.batch, i.edits, i.expected)
            .where(i.workspace == workspace, i.run_id == run.id, i.state == "planned")
            .order_by(i.ordinal)
        ).all()
    left = [(row.ordinal, Item(_EDITS.validate_json(row.edits), row.expected, (), row.batch)) for row in rows]
    return run.id, left, run._mapping  # type: ignore[return-value]


# -- held items: approve, discard ---------------------------------------------------------------


def approve(
    conn: Connection, workspace: Workspace, digest: str, actor: Actor, now: datetime, ids: Ids
) -> tuple[Decided, str]:
    """Apply the stored held items of `digest` in the caller's transaction, each re-checked on today's facts."""
    rows = held_rows(conn, workspace.name, digest)
    source = rows[0].source
    approved = frozenset((row.subject_id, row.kind) for row in rows)
    people = facts.load_users(conn, workspace.name, {row.subject_id for row in rows}, workspace.precedence, True)
    decision = Decision(
        conn, workspace, source, now, lock=True, approved=approved, graph=facts.load_graph(conn, workspace.name, None)
    )
    own = replace(actor, source=source)
    decided = Decided(seats_before=pool_use(conn, workspace))
    why = f"approved by {actor.name}"
    groups: list[ChangeGroup] = [
        (edit,)
        for row in rows
        if (edit := _approved_edit(row, people.get(row.subject_id), why) or _approved_nesting(row, why)) is not None
    ]
    deltas: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for batch in facts.batched(groups, 100):
        verdicts = decision.batch(batch)
        for verdict in verdicts:
            _collect(decided, verdict, deltas)
        apply(conn, workspace, own, [each for each in verdicts if each.error is None], now, ids, count_losses=False)
    h = t.held.c
    conn.execute(delete(t.held).where(h.workspace == workspace.name, h.digest == rows[0].digest))
    # What else was held of the same requests is held on its own from now on: the rest of them was done.
    for subjects in facts.batched(sorted({row.subject_id for row in rows if row.run_id is None})):
        of_same = (h.workspace == workspace.name, h.source == source, h.run_id.is_(None), h.subject_id.in_(subjects))
        conn.execute(update(t.held).where(*of_same).values(run_id=own.run_id or ""))
    record_one(conn, own, "approve", digest, f"{len(rows)} held items approved", {"source": source}, now, ids)
    decided.held_items = _refusals(decided.refused)
    decided.seats_after = pool_use(conn, workspace)
    return decided, source


def _approved_nesting(row: Any, why: str) -> GroupEdit | None:
    """A group that leaves the groups it was in; one that is gone by now is passed over at the door."""
    edits = [edit for edit in _EDITS.validate_json(row.edits) if isinstance(edit, GroupEdit)]
    leave = tuple(group for edit in edits if edit.id == row.subject_id for group in edit.leave)
    return GroupEdit(row.subject_id, row.source, leave=leave, why=why) if leave else None


def _approved_edit(row: Any, user: User | None, why: str) -> UserEdit | None:
    """Only the loss that was held, on the facts of today; None if it is no longer wanted."""
    if user is None:
        return None
    bare = UserEdit(row.subject_id, row.source, why=why)
    if row.kind in ("role", "seat") and row.run_id is not None:
        return bare  # everything else of that run was done: deriving her anew takes what was held
    edits = [edit for edit in _EDITS.validate_json(row.edits) if isinstance(edit, UserEdit)]
    if not edits:
        return None
    asked = edits[0]
    if row.run_id is None and row.kind in ("role", "seat"):
        return replace(asked, create=False, why=why)  # the last word of the connection: nothing of it was done
    if row.kind == "membership":
        return replace(bare, leave=asked.leave, leave_all=asked.leave_all)
    current = user.link(row.source, asked.link.key) if asked.link else None
    if row.kind == "blank":
        gone = {path for change in orjson.loads(row.changes) for path in (change["before"] or {})}
        if current is None:
            return None
        return replace(bare, link=replace(current, values={k: v for k, v in current.values.items() if k not in gone}))
    if asked.link is None or current is None:
        return replace(bare, facts=asked.facts)
    if asked.link.stage is not None and current.missing_since is None:
        return None  # the entry came back
    return replace(bare, link=_with_state(current, asked.link), facts=asked.facts)


def _with_state(current: Link, asked: Link) -> Link:
    return replace(current, enabled=asked.enabled, starts_at=asked.starts_at, ends_at=asked.ends_at, stage=asked.stage)


def discard(conn: Connection, workspace: str, digest: str, actor: Actor, now: datetime, ids: Ids) -> int:
    """Forget held items; the next plan that still wants them holds them anew."""
    rows = held_rows(conn, workspace, digest)
    h = t.held.c
    conn.execute(delete(t.held).where(h.workspace == workspace, h.digest == rows[0].digest))
    record_one(conn, actor, "discard", digest, f"{len(rows)} held items discarded", {}, now, ids)
    return len(rows)


def held_rows(conn: Connection, workspace: str, digest: str) -> Sequence[Any]:
    """Held items by the start (8 digits or more) of their digest; NotFound, or Conflict if it is ambiguous."""
    h = t.held.c
    rows = conn.execute(
        select(t.held).where(h.workspace == workspace, h.digest.startswith(digest, autoescape=True)).order_by(h.subject)
    ).all()
    if not rows or len(digest) < 8:
        raise NotFound(f"no held items with digest {digest!r}: `syncd runs list` shows what is held (8 digits suffice)")
    if len({row.digest for row in rows}) > 1:
        raise Conflict(f"digest {digest!r} is short for several: give more digits")
    return rows


@dataclass(frozen=True, slots=True)
class HeldSummary:
    source: str
    kind: str
    guard: str
    why: str
    digest: str
    since: datetime
    run_id: str | None
    subjects: tuple[str, ...]


def list_held(conn: Connection, workspace: str) -> list[HeldSummary]:
    h = t.held.c
    by_digest: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for row in conn.execute(select(t.held).where(h.workspace == workspace).order_by(h.created_at, h.subject)):
        by_digest[row.digest, row.kind].append(row)
    return [
        HeldSummary(
            rows[0].source,
            rows[0].kind,
            rows[0].guard,
            rows[0].why,
            rows[0].digest,
            rows[0].created_at,
            rows[0].run_id,
            tuple(row.subject for row in rows),
        )
        for rows in by_digest.values()
    ]


@dataclass(frozen=True, slots=True)
class RunRow:
    id: str
    source: str
    dry_run: bool
    status: str
    actor: str
    started_at: datetime
    finished_at: datetime | None
    digest: str | None
    complete: bool | None
    incomplete_because: tuple[str, ...]
    counts: dict[str, int]
    held: tuple[dict[str, Any], ...]
    message: str | None
    set_aside: tuple[SetAside, ...] = ()


def _run_row(row: Any, set_aside: Sequence[SetAside] = ()) -> RunRow:
    return RunRow(
        row.id,
        row.source,
        row.dry_run,
        row.status,
        row.actor,
        row.started_at,
        row.finished_at,
        row.digest,
        row.complete,
        tuple(row.incomplete_because or ()),
        row.counts or {},
        tuple(row.held or ()),
        row.message,
        tuple(set_aside),
    )


def list_runs(conn: Connection, workspace: str, limit: int = 20, source: str | None = None) -> list[RunRow]:
    r = t.runs.c
    query = select(t.runs).where(r.workspace == workspace).order_by(r.started_at.desc(), r.id.desc()).limit(limit)
    return [_run_row(row) for row in conn.execute(query if source is None else query.where(r.source == source))]


def show_run(conn: Connection, workspace: str, run_id: str) -> RunRow:
    r, s = t.runs.c, t.set_aside.c
    row = conn.execute(select(t.runs).where(r.workspace == workspace, r.id == run_id)).one_or_none()
    if row is None:
        raise NotFound(f"no run {run_id!r} in workspace {workspace}: see `syncd runs list`")
    aside = conn.execute(select(s.entry, s.why).where(s.workspace == workspace, s.run_id == run_id).order_by(s.ordinal))
    return _run_row(row, [SetAside(each.entry, each.why) for each in aside])


def shown_losses(conn: Connection, workspace: str, source: str, digest: str) -> set[bytes]:
    """The losses an earlier plan showed, by its digest (or its first 8 digits or more)."""
    r = t.runs.c
    found = conn.execute(
        select(r.losses)
        .where(r.workspace == workspace, r.source == source, r.digest.startswith(digest, autoescape=True))
        .order_by(r.started_at.desc())
    ).first()
    if found is None or len(digest) < 8:
        raise NotFound(f"no plan of source {source} with digest {digest!r}: run `syncd plan {source}` first")
    packed = found.losses or b""
    return {packed[at : at + 8] for at in range(0, len(packed), 8)}


def failed(conn: Connection, workspace: str, run_id: str, message: str, now: datetime) -> None:
    """A run that stopped. One that had begun to apply stays `applying`, to be finished by the next run."""
    r = t.runs.c
    where = (r.workspace == workspace, r.id == run_id, r.status != "applying")
    conn.execute(update(t.runs).where(*where).values(status="failed", finished_at=now, message=message))


def user_values(conn: Connection, workspace: Workspace, id: str) -> Mapping[str, Any] | None:
    user = facts.load_users(conn, workspace.name, [id], workspace.precedence).get(id)
    return user.values if user else None


def user_names(conn: Connection, workspace: str, ids: Iterable[str]) -> dict[str, str]:
    u = t.users.c
    return {
        row.id: row.user_name
        for batch in facts.batched(sorted(ids))
        for row in conn.execute(select(u.id, u.user_name).where(u.workspace == workspace, u.id.in_(batch)))
    }
