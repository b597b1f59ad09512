"""One run from lease to last line: what is planned by `make` is decided, applied where it is no dry run, and recorded.

A run that was killed while it applied is finished first, from its stored items. What raises is noted in the run's record, and
the lease given back.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import structlog

from syncd.core.actor import Actor
from syncd.core.plan import Plan, Report, fingerprint
from syncd.core.snapshot import Certificate, SetAside
from syncd.core.workspace import Workspace
from syncd.errors import HeldByGuard, Stopped, SyncdError
from syncd.reconcile import remembering
from syncd.reconcile.collecting import SELDOM
from syncd.reconcile.lookup import LookupReader, ended
from syncd.reconcile.reading import Progress
from syncd.store import adoptions, leases, plans, run_records, runs
from syncd.store.engine import Database

log = structlog.get_logger()

Clock = Callable[[], datetime]
Ids = Callable[[], str]


class Quiet:
    def step(self, name: str, done: int, total: int | None) -> None:
        pass


@dataclass(frozen=True, slots=True)
class _Leased:
    """A progress that stops the run as soon as its lease is somebody else's."""

    progress: Progress
    lease: leases.Kept

    def step(self, name: str, done: int, total: int | None) -> None:
        self.lease.check()
        self.progress.step(name, done, total)


@dataclass(slots=True)
class Runner:
    """One run from lease to last line."""

    database: Database
    workspace: Workspace
    source: str
    actor: Actor
    clock: Clock
    ids: Ids
    dry_run: bool
    progress: Progress
    shown_plan: str | None = None
    only: str | None = None
    scheduled_at: datetime | None = None
    id: str = ""
    now: datetime = field(init=False)
    fence: int = 0
    notes: list[str] = field(default_factory=list)
    lookup: LookupReader | None = None  # with `only`
    closed: bool = False  # what goes with the last batch was done with it

    def go(self, make: Callable[[Runner], Plan]) -> Report:
        self.id, self.now = self.ids(), self.clock()
        bound = structlog.contextvars.bound_contextvars(
            workspace=self.workspace.name, source=self.source, run_id=self.id
        )
        with SELDOM.collecting(), bound:
            return self._go(make)

    def _go(self, make: Callable[[Runner], Plan]) -> Report:
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
        checkpoint, run = remembering.checkpoint(plan, self.only), self._at_door()
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
                    self._closing(self._at_door(), remembering.checkpoint(plan, self.only))(conn, (), set())
                remembering.remember(conn, self.workspace, self.source, plan, self.only, self.id, self.now)
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
