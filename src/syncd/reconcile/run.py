"""Every way to a run: what is read or stated becomes a plan, which a Runner decides and applies. A dry run is the same without
apply.

No transaction is open while a source is read. Nothing is taken away by absence unless the read's certificate is complete. The
rule set is reconciled the same way under the reserved name `rules`, people in a file under `local`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import structlog

from syncd.core.actor import ADMIN_SOURCE, RULES, Actor
from syncd.core.change import ChangeGroup, UserEdit
from syncd.core.guards import VERBS, Limit
from syncd.core.plan import IMPORT, Plan, Report
from syncd.core.snapshot import Certificate, Deltas, Source
from syncd.core.workspace import Workspace
from syncd.errors import FullReadNeeded
from syncd.reconcile.delta import DeltaReader, why_not
from syncd.reconcile.drift import Differences
from syncd.reconcile.lookup import LookupReader
from syncd.reconcile.mapping import DirectoryMapping
from syncd.reconcile.reading import Progress, Reader
from syncd.reconcile.runner import Clock, Ids, Quiet, Runner
from syncd.store import held, letting_go, linked, plans
from syncd.store.engine import Database
from syncd.store.spool import Spool

log = structlog.get_logger()


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

    def make(run: Runner) -> Plan:
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

    run = Runner(
        database, workspace, source.name, actor, clock, ids, dry_run, progress or Quiet(), plan, only, scheduled_at
    )
    return run.go(make)


def _unlimited(workspace: Workspace, source: str) -> Workspace:
    policy = workspace.source(source)
    every = Limit(share=1.0, floor=10**9, number=10**9)
    limits = replace(policy.limits, by_kind=dict.fromkeys(VERBS, every))
    return replace(workspace, sources={**workspace.sources, source: replace(policy, limits=limits)})


def _everything(run: Runner, reader: Reader) -> Plan:
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


def _changes(run: Runner, common: tuple[Any, ...]) -> tuple[str | None, Plan | None]:
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

    def make(run: Runner) -> Plan:
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

    return Runner(database, workspace, RULES, actor, clock, ids, dry_run, progress or Quiet(), plan).go(make)


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

    def make(run: Runner) -> Plan:
        with database.reading() as conn:
            return letting_go.plan(conn, workspace, source, run.now)

    return Runner(database, workspace, source, actor, clock, ids, dry_run, progress or Quiet(), plan).go(make)


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

    def make(run: Runner) -> Plan:
        return Plan(ADMIN_SOURCE, anew() if run.notes else groups, Certificate(users_read=people), kind=IMPORT)

    return Runner(database, workspace, ADMIN_SOURCE, actor, clock, ids, dry_run, progress or Quiet()).go(make)


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
