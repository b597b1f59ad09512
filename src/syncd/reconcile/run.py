"""One reconcile: lease -> read -> map -> diff -> decide -> (apply) -> finish. A dry run is the same without apply.

No transaction is open while a source is read. Nothing is taken away by absence unless the read's certificate is complete. A
run that was killed while it applied is finished first, from its stored items. The rule set is reconciled the same way
under the reserved name `rules`.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import structlog

from syncd.core.actor import ADMIN_SOURCE, RULES, Actor
from syncd.core.change import ChangeGroup, UserEdit
from syncd.core.guards import VERBS, Limit
from syncd.core.plan import LET_GO, Plan, Report, fingerprint
from syncd.core.snapshot import Certificate, Deltas, SetAside, Source
from syncd.core.state import Link
from syncd.core.workspace import Workspace
from syncd.errors import FullReadNeeded, HeldByGuard, Stopped, SyncdError
from syncd.reconcile.collecting import SELDOM
from syncd.reconcile.delta import DeltaReader, why_not
from syncd.reconcile.drift import Differences
from syncd.reconcile.lookup import LookupReader, ended
from syncd.reconcile.mapping import DirectoryMapping
from syncd.reconcile.reading import Progress, Reader
from syncd.store import adoptions, held, leases, letting_go, linked, plans, quarantine, run_records, runs
from syncd.store.engine import Database
from syncd.store.rows import upsert
from syncd.store.spool import Spool
from syncd.store.tables import source_states

log = structlog.get_logger()
IMPORT = "import"  # what was read is a file of people

Clock = Callable[[], datetime]
Ids = Callable[[], str]


class Quiet:
    def step(self, name: str, done: int, total: int | None) -> None:
        pass


def reconcile(
    database: Database,
    workspace: Workspace,
    source: Source,
    mapping: DirectoryMapping,
    actor: Actor,
    clock: Clock,
    ids: Ids,
    *,
    dry_run: bool,
    plan: str | None = None,
    only: str | None = None,
    progress: Progress | None = None,
    scheduled_at: datetime | None = None,
    impact: bool = False,
    delta: bool = False,
    accept_fewer: str | None = None,
) -> Report:
    """Bring what `source` states into the store, or say what that would do.

    `plan`: the digest of an earlier plan; the run is refused if it would take away what that plan did not show.
    `only`: a SCIM filter over users. `scheduled_at`: the time of the schedule it runs for; each has one run, whoever comes
    first. `delta`: read what changed since the last read, if that can be had and believed, else everything; `only` looks
    some people up. What `progress` raises stops the run between two batches; what was stored is finished by the next one.
    `impact`: what a configuration that is not saved yet would come to in the end (dry run only): limits hold nothing back,
    whoever is missing has left, and everybody of the source is derived anew. `accept_fewer`: who says that a read which shows
    fewer entries than the last ones is right.
    Raises SourceUnreachable, Conflict (another run), HeldByGuard (`plan`).
    """

    if impact:
        assert dry_run
        workspace = _unlimited(workspace, source.name)

    def make(run: _Run) -> Plan:
        if only is not None and not impact:
            run.lookup = LookupReader(
                database, workspace, source, mapping, only, run.now, run.id, ids, run.progress, run.notes
            )
            return run.lookup.plan()
        common = (database, workspace, source, mapping, only, run.now, run.id, ids, run.progress, run.notes)
        if not delta or impact:
            return _everything(run, Reader(*common, impact=impact, fewer_by=accept_fewer))
        why, plan = _changes(run, common)
        return plan or replace(Reader(*common, fewer_by=accept_fewer).plan(), kind_why=why)

    run = _Run(
        database, workspace, source.name, actor, clock, ids, dry_run, plan, only, progress or Quiet(), scheduled_at
    )
    return run.go(make)


def _unlimited(workspace: Workspace, source: str) -> Workspace:
    policy = workspace.source(source)
    every = Limit(share=1.0, floor=10**9, number=10**9)
    limits = replace(policy.limits, by_kind=dict.fromkeys(VERBS, every))
    return replace(workspace, sources={**workspace.sources, source: replace(policy, limits=limits)})


def _everything(run: _Run, reader: Reader) -> Plan:
    """The plan of a whole read, which also proves the deltas before it: what they should have told is counted."""
    source, policy = reader.source, run.workspace.source(reader.source.name)
    with run.database.reading() as conn:
        state = linked.source_state(conn, run.workspace.name, source.name)
    if run.dry_run or not isinstance(source, Deltas) or why_not(state, policy.digest, source) is not None:
        return reader.plan()
    differences = reader.differences = Differences()
    plan = reader.plan()
    assert plan.certificate is not None
    if not plan.certificate.complete:
        return plan
    drift = differences.untold(source, state.checkpoint, reader.edited(plan.groups), reader.kept(), run.now)
    if drift:
        run.notes.append(f"{drift:,} differences had not been told by deltas; this whole read repairs them")
        log.warning("drift_found", n=drift)
    return replace(plan, drift=drift)


def _changes(run: _Run, common: tuple[Any, ...]) -> tuple[str | None, Plan | None]:
    """The plan of what changed, or why there is none."""
    workspace, source = run.workspace, common[2]
    with run.database.reading() as conn:
        state = linked.source_state(conn, workspace.name, source.name)
    why = why_not(state, workspace.source(source.name).digest, source)
    said = len(run.notes)
    if why is None:
        reader = DeltaReader(*common)
        reader.checkpoint = state.checkpoint
        try:
            return None, reader.plan()
        except FullReadNeeded as exc:
            why = str(exc)
    log.info("delta_refused", why=why)
    run.notes[said:] = [f"everything was read: {why}"]
    return why, None


def rederive(
    database: Database,
    workspace: Workspace,
    actor: Actor,
    clock: Clock,
    ids: Ids,
    *,
    dry_run: bool,
    plan: str | None = None,
    progress: Progress | None = None,
) -> Report:
    """Every user derived anew by the configured rule set (`syncd plan rules`, `syncd sync rules`)."""

    def make(run: _Run) -> Plan:
        with database.reading() as conn:
            everyone = linked.all_users(conn, workspace.name)
            changed = plans.rules_differ(conn, workspace)
        edits: Spool[ChangeGroup] = Spool((UserEdit(id, RULES, why="the rules changed"),) for id in everyone)
        return Plan(
            RULES,
            edits,
            Certificate(users_read=len(everyone)),
            (),
            "the rule set changed" if changed else None,
            kind="rules",
        )

    return _Run(database, workspace, RULES, actor, clock, ids, dry_run, plan, None, progress or Quiet()).go(make)


def let_go(
    database: Database,
    workspace: Workspace,
    source: str,
    actor: Actor,
    clock: Clock,
    ids: Ids,
    *,
    dry_run: bool,
    plan: str | None = None,
    progress: Progress | None = None,
) -> Report:
    """What a source that is not in the configuration any more still owns is taken away (`syncd sync SOURCE --let-go`)."""

    def make(run: _Run) -> Plan:
        with database.reading() as conn:
            return letting_go.plan(conn, workspace, source, run.now)

    return _Run(database, workspace, source, actor, clock, ids, dry_run, plan, None, progress or Quiet()).go(make)


def imported(
    database: Database,
    workspace: Workspace,
    groups: Spool[ChangeGroup],
    anew: Callable[[], Spool[ChangeGroup]],
    people: int,
    actor: Actor,
    clock: Clock,
    ids: Ids,
    *,
    dry_run: bool,
    progress: Progress | None = None,
) -> Report:
    """What people state in a file (store/imports.py), judged as a whole and applied in batches, like a run of `local`.

    `people`: how many the file names; those of whom nothing changes are not in `groups`. `anew`: makes the groups again, if
    a killed import was finished first, which may have made the same people.
    """

    def make(run: _Run) -> Plan:
        return Plan(ADMIN_SOURCE, anew() if run.notes else groups, Certificate(users_read=people), kind=IMPORT)

    return _Run(database, workspace, ADMIN_SOURCE, actor, clock, ids, dry_run, None, None, progress or Quiet()).go(make)


@dataclass(frozen=True, slots=True)
class _Leased:
    """A progress that stops the run as soon as its lease is somebody else's."""

    progress: Progress
    lease: leases.Kept

    def step(self, name: str, done: int, total: int | None) -> None:
        self.lease.check()
        self.progress.step(name, done, total)


@dataclass(slots=True)
class _Run:
    """One run from lease to last line."""

    database: Database
    workspace: Workspace
    source: str
    actor: Actor
    clock: Clock
    ids: Ids
    dry_run: bool
    shown_plan: str | None
    only: str | None
    progress: Progress
    scheduled_at: datetime | None = None
    id: str = ""
    now: datetime = field(init=False)
    fence: int = 0
    notes: list[str] = field(default_factory=list)
    lookup: LookupReader | None = None  # with `only`
    closed: bool = False  # what goes with the last batch was done with it

    def go(self, make: Callable[[_Run], Plan]) -> Report:
        self.id, self.now = self.ids(), self.clock()
        bound = structlog.contextvars.bound_contextvars(
            workspace=self.workspace.name, source=self.source, run_id=self.id
        )
        with SELDOM.collecting(), bound:
            return self._go(make)

    def _go(self, make: Callable[[_Run], Plan]) -> Report:
        started = time.monotonic()
        shown = None
        if self.shown_plan is not None:
            with self.database.reading() as conn:
                shown = run_records.shown_losses(conn, self.workspace.name, self.source, self.shown_plan)
        self._begin()
        try:
            if self.dry_run:
                report = self._plan_and_apply(make(self), shown)
            else:
                with leases.Kept(self.database, self.workspace.name, self.source, self.fence) as lease:
                    self.progress = _Leased(self.progress, lease)
                    self._finish_interrupted()
                    report = self._plan_and_apply(make(self), shown)
        except BaseException as exc:
            self._failed(exc)
            raise
        report = replace(report, took_s=round(time.monotonic() - started, 3), notes=tuple(self.notes))
        log.info(
            "run_finished",
            dry_run=self.dry_run,
            status=report.status,
            held=sum(each.changes for each in report.held),
            took_s=report.took_s,
            **{kind: n for kind, n in report.counts.items() if n},
        )
        return report

    def _begin(self) -> None:
        with self.database.writing() as conn:
            if not self.dry_run:
                self.fence = leases.take(conn, self.workspace.name, self.source, self.id)
                run_records.abandon(conn, self.workspace.name, self.source, self.now)
            more = {"scheduled_at": self.scheduled_at, "fence": self.fence or None}
            run_records.begin(
                conn, self.workspace, self.id, self.source, self.dry_run, self.actor.name, self.now, **more
            )

    def _plan_and_apply(self, plan: Plan, shown: set[bytes] | None) -> Report:
        with self.database.reading() as conn:
            size = plans.batch_size(conn, self.workspace.name)
            if plan.groups or plan.set_aside or plan.kind != "delta":
                decided = plans.decide(
                    conn, self.workspace, plan, self.now, self.id, size, self.progress.step, keep=not self.dry_run
                )
            else:
                decided = plans.nothing(conn, self.workspace, plan)
        decided.whole = decided.whole and self.only is None
        for each in decided.held_items:
            log.warning("guard_held", guard=each.guard, kind=each.kind, n=each.changes)
        if shown is not None and (new := decided.fingerprints - shown):
            examples = [change.subject for change in decided.changes() if change.loss and _print(change) in new][:3]
            raise HeldByGuard(
                f"source {self.source}: {len(new)} losses were not in plan {self.shown_plan} "
                f"({', '.join(examples)}): look at a new `syncd plan {self.source}` first"
            )
        if not self.dry_run and (decided.items or decided.set_aside or plan.kind != "delta"):
            self._apply(plan, decided, size)
        return self._end(plan, decided)

    def _apply(self, plan: Plan, decided: plans.Decided, size: int) -> None:
        if size < plans.LOADED:
            self._store_and_apply(plan, decided, size)
            return
        with self.database.loading():
            self._store_and_apply(plan, decided, size)

    def _store_and_apply(self, plan: Plan, decided: plans.Decided, size: int) -> None:
        checkpoint, run = self._checkpoint(plan), self._at_door()
        begin = None
        if runs.in_one(decided):

            def begin(conn: Any) -> None:
                runs.store_plan(conn, run, decided, plan, checkpoint)
        else:
            runs.store(self.database, run, decided, plan, size, checkpoint)
        batches = runs.Batches.of(decided, plan, plans.LOADED_AT_ONCE if size >= plans.LOADED else 1)
        last = self._closing(run, checkpoint)
        dropped, late = runs.apply_items(self.database, run, batches, last, self.progress.step, begin)
        decided.set_aside += late
        if dropped:
            self.notes.append(
                f"{dropped} changes were dropped because their user changed meanwhile; the next run plans them anew"
            )

    def _checkpoint(self, plan: Plan) -> str | None:
        """What the source's becomes with the last batch (runs.close)."""
        certificate = plan.certificate
        if certificate is None or not certificate.complete or self.only is not None:
            return None
        if plan.kind in ("rules", IMPORT, LET_GO):
            return None
        return certificate.checkpoint or ("" if plan.kind == "full" else None)

    def _closing(self, run: runs.Run, checkpoint: str | None) -> runs.Last:
        def last(conn: Any, late: Sequence[SetAside], again: set[str]) -> None:
            runs.close(conn, run, checkpoint, late, again)
            self.closed = True

        return last

    def _at_door(self, id: str | None = None) -> runs.Run:
        """`id`: of the run that it finishes."""
        actor = replace(self.actor, door="run", source=self.source, run_id=id or self.id)
        return runs.Run(self.workspace, actor, self.now, self.ids, self.fence)

    def _finish_interrupted(self) -> None:
        """A run killed while it applied is finished before anything new is read."""
        left = runs.unfinished(self.database, self.workspace.name, self.source)
        if left is None:
            return
        old_id, items, row = left
        run = self._at_door(old_id)
        retain = frozenset(each["kind"] for each in row["held"] or ())
        batches = runs.Batches(items, len(items), retain, incomplete=not row["complete"])
        last = self._closing(run, row["checkpoint"])
        dropped, _ = runs.apply_items(self.database, run, batches, last, self.progress.step)
        self.closed = False
        with self.database.writing() as conn:
            message = f"resumed by run {self.id}: {len(items) - dropped} changes applied, {dropped} dropped"
            run_records.end(conn, self.workspace.name, old_id, "applied", self.clock(), message=message)
        self.notes.append(f"finished run {old_id}, which was interrupted ({len(items)} changes were left)")
        log.warning("run_resumed", resumed=old_id, left=len(items))

    def _end(self, plan: Plan, decided: plans.Decided) -> Report:
        for pool, n in sorted(decided.seatless.items()):
            who = "1 user gets" if n == 1 else f"{n:,} users get"
            self.notes.append(f"{who} no seat in {pool}: it is full, and keeps no line (when_full: refuse)")
        certificate = plan.certificate or Certificate()
        counts = dict(decided.counts.by_kind)
        counts["read"] = certificate.users_read + certificate.groups_read
        counts["set_aside"] = len(decided.set_aside)
        held = (*decided.held_items, *decided.waiting)
        if held:
            status = "held"
        elif not certificate.complete:
            status = "incomplete"
        elif decided.counts.changes == 0:
            status = "clean"
        else:
            status = "pending" if self.dry_run else "applied"
        report = Report(
            self.id,
            self.source,
            self.dry_run,
            status,
            certificate.complete,
            certificate.because,
            decided.digest.text,
            counts,
            held,
            tuple(decided.set_aside),
            plans.Changes(decided),
            decided.seats_before,
            decided.seats_after,
            self._names(decided),
            kind=plan.kind,
            kind_why=plan.kind_why,
            drift=plan.drift,
        )
        if self.lookup is not None:
            hers = defaultdict(list)
            for change in report.changes:
                hers[change.subject_id].append(change)
            looked = [ended(each, report, hers[each.id or ""], self.id) for each in self.lookup.looked]
            report = replace(report, looked=tuple(looked))
        with self.database.writing() as conn:
            run_records.end(
                conn,
                self.workspace.name,
                self.id,
                status,
                self.clock(),
                digest=report.digest,
                complete=report.complete,
                incomplete_because=list(report.incomplete_because),
                counts=counts,
                held=[{"guard": each.guard, "kind": each.kind, "why": each.why} for each in report.held],
                losses=b"".join(sorted(decided.fingerprints)),
                kind=plan.kind,
                kind_why=plan.kind_why,
                drift=plan.drift,
                **({"message": plan.accepted} if plan.accepted else {}),
            )
            if not self.dry_run:
                whole = plan.kind == "full" and certificate.complete and self.only is None
                gone = plan.answered_gone if whole else ()
                adoptions.settle(conn, self.workspace.name, self.source, plan.asked, gone, whole, self.id, self.now)
                if not self.closed:
                    self._closing(self._at_door(), self._checkpoint(plan))(conn, (), set())
                self._remember(conn, plan, certificate)
                leases.release(conn, self.workspace.name, self.source, self.fence)
        return report

    def _names(self, decided: plans.Decided) -> dict[str, str]:
        """userNames of the managers that changed values name by id, so that people can read the plan."""
        if not decided.managers:
            return {}
        with self.database.reading() as conn:
            known = run_records.user_names(conn, self.workspace.name, decided.managers)
        if unknown := decided.managers - known.keys():  # of a dry run
            known |= {each.subject_id: each.subject for each in decided.changes() if each.subject_id in unknown}
        return known

    def _remember(self, conn: Any, plan: Plan, certificate: Certificate) -> None:
        """What the next run compares with. Only a complete read of everything moves it; of one that broke off it is known by
        which configuration people came, where that was not known."""
        if self.only is not None or plan.kind == IMPORT:
            return
        if not certificate.complete:
            if plan.kind == "full":
                self._remember_digest(conn)
            return
        if plan.kind == LET_GO:
            linked.forget(conn, self.workspace.name, self.source)
            return
        if plan.kind != "rules":
            quarantine.settle(conn, self.workspace.name, self.source, plan.retried, self.id)
        if plan.kind == "delta":
            state = {"workspace": self.workspace.name, "source": self.source}
            upsert(conn, source_states, state, {"last_delta_at": self.now})
            return
        digest = self.workspace.rules_digest if self.source == RULES else self.workspace.source(self.source).digest
        upsert(
            conn,
            source_states,
            {"workspace": self.workspace.name, "source": self.source},
            {
                "digest": digest,
                "last_complete_at": self.now,
                "last_users": certificate.users_read,
                "last_groups": certificate.groups_read,
                # What a read does not say stays as it was known: another answer later is a change all the same.
                **({"server_identity": certificate.server_identity} if certificate.server_identity else {}),
                **({"drift": plan.drift} if plan.drift is not None else {}),
                **({"groups_outside": list(plan.beyond)} if plan.beyond is not None else {}),
                **({"key_attribute": certificate.key_attribute} if certificate.key_attribute else {}),
                **({"own_entry": certificate.own_entry} if certificate.own_entry is not None else {}),
            },
        )

    def _remember_digest(self, conn: Any) -> None:
        state = linked.source_state(conn, self.workspace.name, self.source)
        if state is None or state.digest is None:
            where = {"workspace": self.workspace.name, "source": self.source}
            upsert(conn, source_states, where, {"digest": self.workspace.source(self.source).digest})

    def _failed(self, exc: BaseException) -> None:
        message = str(exc) if isinstance(exc, SyncdError) else type(exc).__name__
        stopped = isinstance(exc, Stopped)
        if stopped:
            log.info("run_stopped")
        else:
            log.warning("source_failed", why=message)
        try:
            with self.database.writing() as conn:
                # A run that had begun to apply stays `applying`: its stored items are finished by the next one.
                status = "stopped" if stopped else "failed"
                run_records.failed(conn, self.workspace.name, self.id, message, self.clock(), status)
                if not self.dry_run:
                    leases.release(conn, self.workspace.name, self.source, self.fence)
        except SyncdError as gone:  # what stopped the run is what is told; the next one closes it
            log.warning("run_not_closed", why=str(gone))
            if not self.dry_run:
                leases.release_when_back(self.database, self.workspace.name, self.source, self.fence)


def _print(change: Any) -> bytes:
    return fingerprint(change)[:8]


def approve(database: Database, workspace: Workspace, digest: str, actor: Actor, clock: Clock, ids: Ids) -> Report:
    """Apply stored held items, each re-checked."""
    with database.writing() as conn:
        done = held.approve_as_run(conn, workspace, digest, actor, clock, ids)
    decided = done.decided
    return Report(
        done.run_id,
        done.source,
        False,
        done.status,
        True,
        (),
        decided.digest.text,
        done.counts,
        decided.held_items,
        tuple(decided.set_aside),
        plans.Changes(decided),
        decided.seats_before,
        decided.seats_after,
    )


def discard(database: Database, workspace: Workspace, digest: str, actor: Actor, clock: Clock, ids: Ids) -> int:
    """Forget held items. Returns how many."""
    with database.writing() as conn:
        return held.discard(conn, workspace.name, digest, actor, clock(), ids)


__all__ = ["Link", "Progress", "Report", "approve", "discard", "reconcile", "rederive"]
