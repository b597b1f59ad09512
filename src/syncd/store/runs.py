"""A run at the door: stored, applied batch by batch, resumed after a kill.

Every batch checks the fencing token of the run's lease. Items are stored before the first is applied; a killed run resumes
them. An item whose user changed since is dropped and planned again next time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any, Final

from sqlalchemy import Connection, delete, select, update

from syncd.core.actor import RULES, Actor
from syncd.core.change import ChangeGroup
from syncd.core.groups import Graph
from syncd.core.guards import Held
from syncd.core.plan import Plan
from syncd.core.snapshot import SetAside
from syncd.core.workspace import Workspace
from syncd.store import facts, leases, quarantine
from syncd.store import tables as t
from syncd.store.commit import Ids, Later, apply, record
from syncd.store.decide import Decision, announce
from syncd.store.drafts import Verdict
from syncd.store.engine import Database
from syncd.store.foreseen import Basis, Foreseen
from syncd.store.held import EDITS, hold_all
from syncd.store.plans import (
    Decided,
    Item,
    Numbered,
    Step,
    Stored,
    groups_of,
    refused_entry,
    rules_differ,
    touched,
    web_is_alive,
)
from syncd.store.rows import Rows, upsert
from syncd.store.run_records import write_set_aside

_STORED: Final = 100  # items at least that are stored at once
REFUSED = "a change of it was refused, or dropped because its user changed meanwhile"
# Called in the transaction of a run's last batch, with what the door refused late, and with the users and groups of that
# and of what was dropped.
Last = Callable[[Connection, Sequence[SetAside], set[str]], None]


@dataclass(frozen=True, slots=True)
class Run:
    """Who comes to the door, with the token of the lease under which it writes."""

    workspace: Workspace
    actor: Actor
    now: datetime
    ids: Ids
    fence: int

    @property
    def id(self) -> str:
        assert self.actor.run_id is not None
        return self.actor.run_id

    @property
    def source(self) -> str:
        return self.actor.source


@dataclass(frozen=True, slots=True)
class Batches:
    """What is to be applied, and how it is judged where it is decided anew."""

    items: Iterable[tuple[int, Item]]  # with their ordinals, iterated as often as wanted
    total: int
    retain: frozenset[str]  # kinds of loss that guards hold
    incomplete: bool  # so was the read
    basis: Basis | None = None  # what they were decided on, if this process decided them
    at_once: int = 1  # batches in a transaction, if no request may wait for it

    @classmethod
    def of(cls, decided: Decided, plan: Plan, at_once: int) -> Batches:
        held, certificate = frozenset(each.kind for each in decided.held), plan.certificate
        incomplete = certificate is not None and not certificate.complete
        return cls(Numbered(decided.items), len(decided.items), held, incomplete, decided.basis, at_once)


def store(database: Database, run: Run, decided: Decided, plan: Plan, size: int, checkpoint: str | None) -> None:
    """Everything a resumed run needs, before anything is applied. `checkpoint`: see `close`."""
    first, last = 0, list[Stored]()
    for batch in facts.batched(decided.stored, max(size, _STORED)):
        if last:
            with database.writing() as conn:
                _store_items(conn, run, first, last)
            database.give_way()
        first, last = first + len(last), batch
    with database.writing() as conn:
        if last:
            _store_items(conn, run, first, last)
        store_plan(conn, run, decided, plan, checkpoint)


def in_one(decided: Decided) -> bool:
    """Whether a plan is stored and applied in one transaction, so that there is nothing to resume: it is one batch, and holds
    nothing, since others lock what is held after the people."""
    return decided.batches == 1 and bool(decided.items) and not decided.whole and not decided.held_items


def store_plan(conn: Connection, run: Run, decided: Decided, plan: Plan, checkpoint: str | None) -> None:
    """What a plan comes to, but for its items."""
    workspace, certificate = run.workspace.name, plan.certificate
    r = t.runs.c
    conn.execute(
        update(t.runs)
        .where(r.workspace == workspace, r.id == run.id)
        .values(
            status="applying",
            digest=decided.digest.text,
            complete=certificate is None or certificate.complete,
            incomplete_because=list(certificate.because) if certificate else [],
            counts=decided.counts.by_kind,
            held=[{"kind": each.kind, "guard": each.guard} for each in decided.held],
            kind=plan.kind,
            kind_why=plan.kind_why,
            checkpoint=checkpoint,
        )
    )
    refused = quarantine.named(conn, workspace, run.source, decided.again, REFUSED)
    quarantine.put(conn, workspace, run.source, [*refused, *decided.set_aside], run.id, run.now)
    hold_all(conn, workspace, run.actor, decided, run.now, run.ids)
    write_set_aside(conn, workspace, run.id, decided.set_aside)


def _store_items(conn: Connection, run: Run, first: int, items: Sequence[Stored]) -> None:
    rows = Rows(run.workspace.name)
    for ordinal, (batch, edits, expected) in enumerate(items, first):
        rows.add(t.run_items, _ITEMS, (run.id, ordinal, batch, "planned", edits, b"[]", expected, None, rows.workspace))
    rows.write(conn)


_ITEMS: Final = ("run_id", "ordinal", "batch", "state", "edits", "changes", "expected", "why", "workspace")


def apply_items(
    database: Database,
    run: Run,
    batches: Batches,
    last: Last,
    step: Step,
    begin: Callable[[Connection], None] | None = None,
) -> tuple[int, list[SetAside]]:
    """Apply batches, and tell `step` how far it is. Returns how many items were dropped as stale, and late refusals.

    `last` is called in the transaction that makes the total full. `begin`: stores a plan that is `in_one` in the transaction
    that applies it.
    """
    with database.reading() as conn:
        changed = run.source != RULES and rules_differ(conn, run.workspace)
        served = web_is_alive(conn)
    at_once = 1 if served else batches.at_once  # the rows of totals and pools are everybody's, and locked until the end
    same_rules = batches.basis is not None and batches.basis.rules_changed == changed
    applying = _Applying.of(run, batches, changed, batches.basis if same_rules else None)
    done = 0
    for _, together in groupby(batches.items, key=lambda numbered: numbered[1].batch // at_once):
        with database.writing() as conn:
            began = time.monotonic()
            leases.renew(conn, run.workspace.name, run.source, run.fence)
            if begin is not None:
                begin(conn)
            ordinals = applying.together(conn, together)
            if begin is None:
                i = t.run_items.c
                mine = (i.workspace == run.workspace.name, i.run_id == run.id)
                conn.execute(delete(t.run_items).where(*mine, i.ordinal.between(ordinals[0], ordinals[-1])))
            done += len(ordinals)
            if done == batches.total:
                last(conn, applying.late, applying.again)
        step("apply", done, batches.total)
        if done < batches.total:
            database.give_way(time.monotonic() - began if served else 0.0)
    return applying.dropped, applying.late


def _decided_anew(
    run: Run, batches: Batches, rules_changed: bool
) -> Callable[[Connection, Sequence[ChangeGroup]], list[Verdict]]:
    """Judges a batch on the facts of its transaction."""
    graph: Graph | None = None

    def anew(conn: Connection, groups: Sequence[ChangeGroup]) -> list[Verdict]:
        nonlocal graph
        if graph is None:
            graph = facts.load_graph(conn, run.workspace.name, None)
            announce(graph, groups_of(item.edits for _, item in batches.items))
        decision = Decision(
            conn,
            run.workspace,
            run.source,
            run.now,
            incomplete=batches.incomplete,
            retain=batches.retain,
            lock=True,
            graph=graph,
            defer=set(),
            rules_changed=rules_changed,
            run_id=run.id,
        )
        return decision.batch(groups)

    return anew


def apply_within(conn: Connection, run: Run, decided: Decided, plan: Plan) -> None:
    """A plan that was decided in the caller's transaction, applied in it: nothing has to be resumed. What a guard holds is
    stored. What the door refuses late is set aside in `decided`."""
    store_plan(conn, run, decided, plan, None)
    batches = Batches.of(decided, plan, 1)
    applying = _Applying.of(run, batches, rules_differ(conn, run.workspace), None)
    applying.together(conn, batches.items)
    decided.set_aside += applying.late
    close(conn, run, None, applying.late, applying.again)


@dataclass(slots=True)
class _Applying:
    """What has come of the items so far."""

    run: Run
    foreseen: Foreseen
    dropped: int = 0
    late: list[SetAside] = field(default_factory=list)
    again: set[str] = field(default_factory=set)  # users and groups of what came to nothing

    @classmethod
    def of(cls, run: Run, batches: Batches, rules_changed: bool, basis: Basis | None) -> _Applying:
        return cls(run, Foreseen(run.workspace, basis, _decided_anew(run, batches, rules_changed)))

    def together(self, conn: Connection, numbered: Iterable[tuple[int, Item]]) -> list[int]:
        """One transaction. Returns the ordinals of its items."""
        ordinals: list[int] = []
        later = Later(self.run.workspace, self.run.actor, self.run.now, self.run.ids)
        for number, together in groupby(numbered, key=lambda numbered: numbered[1].batch):
            items: list[Item] = []
            for ordinal, item in together:
                ordinals.append(ordinal)
                items.append(item)
            self._batch(conn, number, items, later)
        later.write(conn)
        return ordinals

    def _batch(self, conn: Connection, number: int, items: Sequence[Item], later: Later) -> None:
        if not all(item.verdict is not None and _joiners([item.verdict]) for item in items):
            later.write(conn)  # what is decided or written now may be about the same groups and people
        verdicts, stale = self.foreseen.verdicts(conn, number, items)
        self.dropped += len(stale)
        good = [verdict for verdict in verdicts if verdict.error is None]
        refused = [verdict for verdict in verdicts if verdict.error is not None]
        self.late += map(refused_entry, refused)
        for edits in (*(item.edits for item in stale), *(verdict.edits for verdict in refused)):
            self.again |= touched(edits)
        run = self.run
        if _joiners(good):
            apply(conn, run.workspace, run.actor, good, run.now, run.ids, later=later)
        else:
            later.write(conn)
            apply(conn, run.workspace, run.actor, good, run.now, run.ids)
        rows = Rows(run.workspace.name)
        for verdict in good:
            for held in verdict.held:
                _record_refusal(rows, run, verdict, held)
        rows.write(conn)


def _joiners(verdicts: Sequence[Verdict]) -> bool:
    """Whether they make new people and nothing else."""
    return not any(verdict.groups or any(before is not None for before, _ in verdict.users) for verdict in verdicts)


def _record_refusal(rows: Rows, run: Run, verdict: Verdict, held: Held) -> None:
    id = verdict.edits[0].id
    name = held.subjects[0] if held.subjects else id
    record(rows, run.actor, "refused", name, id, held.why, None, {"asked": []}, run.now, run.ids)


def close(conn: Connection, run: Run, checkpoint: str | None, late: Sequence[SetAside], again: set[str]) -> None:
    """What goes with the last batch: the source's checkpoint, and what came to nothing, to be looked at again.

    `checkpoint` None leaves the one that is there; "" takes it away, since deltas cannot be had.
    """
    workspace, source = run.workspace.name, run.source
    named = quarantine.named(conn, workspace, source, again, REFUSED)
    quarantine.put(conn, workspace, source, [*named, *late], run.id, run.now)
    if checkpoint is not None:
        state = {"workspace": workspace, "source": source}
        upsert(conn, t.source_states, state, {"checkpoint": checkpoint or None})


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
    left = [(row.ordinal, Item(EDITS.validate_json(row.edits), row.expected, (), row.batch)) for row in rows]
    return run.id, left, run._asdict()
