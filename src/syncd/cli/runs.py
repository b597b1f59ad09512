"""`syncd plan`, `sync` and `runs`: what a source would change, doing it, and what was held.

`plan` and `sync` are one function with another last step, as they are one path below. Their exit code is that of the
report; progress goes to stderr, the report to stdout.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from syncd.app import RULES
from syncd.app.directories import Directory
from syncd.cli.session import (
    Session,
    confirmed,
    console,
    print_json,
    say,
    session,
    show,
    show_rows,
    steps,
    when,
)
from syncd.cli.users import AsJson, Yes
from syncd.core.actor import ADMIN_SOURCE, Actor
from syncd.core.filter import parse_filter
from syncd.core.plan import IMPORT, LET_GO, Report
from syncd.errors import Conflict, DatabaseUnavailable, NotFound, SourceUnreachable, UsageError
from syncd.reconcile import render, run
from syncd.store import activity, linked, quarantine, run_records
from syncd.store import held as held_store
from syncd.store.activity import Wanted
from syncd.store.letting_go import require

SourceName = Annotated[str, typer.Argument(metavar="SOURCE", help="A directory's name, or `rules`.")]
Only = Annotated[str | None, typer.Option(metavar="FILTER", help="Only users that this SCIM filter matches.")]
Full = Annotated[
    bool, typer.Option("--full", help="Read everything, also where the schedule has deltas (`schedule.delta`).")
]
LetGo = Annotated[
    bool, typer.Option("--let-go", help="SOURCE is not in the configuration any more: take away what it still owns.")
]
Rows = Annotated[int, typer.Option(min=1, help="Rows of each table at most.")]
Digest = Annotated[str | None, typer.Argument(metavar="DIGEST", help="8 digits or more.")]
AllOf = Annotated[str | None, typer.Option("--source", help="Instead of DIGEST: all that is held of this source.")]

runs = typer.Typer(help="Past runs, and what is held until somebody decides.", no_args_is_help=True)


def register(cli: typer.Typer) -> None:
    cli.command()(plan)
    cli.command()(sync)
    cli.add_typer(runs, name="runs")


def plan(
    ctx: typer.Context,
    source: SourceName,
    only: Only = None,
    impact: Annotated[
        bool,
        typer.Option(
            "--impact", help="With --config NEW.yaml: who would leave, lose a role or a seat by it in the end."
        ),
    ] = False,
    full: Full = False,
    let_go: LetGo = False,
    as_json: AsJson = False,
    rows: Rows = render.ROWS,
) -> None:
    """What a run would do: read, compare, judge; nothing is written. Exit 3: changes pending, 4: some would be held."""
    if impact and source == RULES:
        raise UsageError("--impact is of a directory: `syncd plan rules` shows all that changed rules come to")
    _require_alone(let_go, only, full, impact)
    _run(session(ctx), source, True, None, only, full, as_json, rows, impact, let_go=let_go)


def sync(
    ctx: typer.Context,
    source: SourceName,
    plan: Annotated[
        str | None, typer.Option(metavar="DIGEST", help="Refuse if it would take away what that plan did not show.")
    ] = None,
    only: Only = None,
    full: Full = False,
    accept_fewer: Annotated[
        bool,
        typer.Option(
            "--accept-fewer", help="It is right that far fewer entries are there, or that groups moved below no base."
        ),
    ] = False,
    let_go: LetGo = False,
    as_json: AsJson = False,
    rows: Rows = render.ROWS,
) -> None:
    """Read a source and apply what it states. What a guard holds waits for `syncd runs approve`."""
    if accept_fewer and (source == RULES or only is not None):
        raise UsageError("--accept-fewer is of a whole read of a directory")
    _require_alone(let_go, only, full, accept_fewer)
    _run(session(ctx), source, False, plan, only, full, as_json, rows, accept_fewer=accept_fewer, let_go=let_go)


def _require_alone(let_go: bool, *others: object) -> None:
    if let_go and any(others):
        raise UsageError("--let-go reads nothing: it stands alone")


def _run(
    current: Session,
    source: str,
    dry_run: bool,
    digest: str | None,
    only: str | None,
    full: bool,
    as_json: bool,
    rows: int,
    impact: bool = False,
    accept_fewer: bool = False,
    let_go: bool = False,
) -> None:
    if only is not None:
        parse_filter(only, current.workspace.types.user)  # refused before anything is read
    try:
        if let_go:
            report = letting_go(current, source, dry_run, digest)
        else:
            report = reconcile(current, source, dry_run, digest, only, full or accept_fewer, impact, accept_fewer)
    except SourceUnreachable as exc:
        if as_json:
            _stream(render.failed(source, dry_run, str(exc)))
        raise
    if not dry_run:
        _settle(current)
    if as_json:
        _stream(report)
    else:
        show(render.for_people(report, rows))
    raise typer.Exit(report.exit_code)


def _settle(current: Session) -> None:
    """Where no daemon runs, nobody else acts on a date that has come."""
    workspace = current.workspace.name
    n = current.app.timers(current.database, current.clock).settle(workspace)
    if n:
        users = "1 user" if n == 1 else f"{n:,} users"
        say(f"dates of {users} had come: `syncd activity --door timer` says what they changed")


def reconcile(
    current: Session,
    source: str,
    dry_run: bool,
    digest: str | None = None,
    only: str | None = None,
    full: bool = False,
    impact: bool = False,
    accept_fewer: bool = False,
) -> Report:
    """One run of a directory or of the rule set, with its progress on stderr. Of a directory whose schedule has deltas
    what changed is read, unless `full`."""
    app, workspace = current.app, current.workspace
    directory = None if source == RULES else _directory(current, source)
    actor = Actor("run", source, workspace.name, source=source)
    with steps() as progress:
        if directory is None:
            return run.rederive(
                current.database,
                workspace,
                actor,
                current.clock,
                app.ids,
                dry_run=dry_run,
                plan=digest,
                progress=progress,
            )
        return run.reconcile(
            current.database,
            workspace,
            directory.source,
            directory.mapping,
            actor,
            current.clock,
            app.ids,
            dry_run=dry_run,
            plan=digest,
            only=only,
            progress=progress,
            impact=impact,
            delta=directory.schedule.delta is not None and not full,
            accept_fewer=current.actor.name if accept_fewer else None,
        )


def _directory(current: Session, source: str) -> Directory:
    try:
        return current.app.directory(current.workspace.name, source)
    except UsageError as exc:
        if source in current.workspace.sources or source == ADMIN_SOURCE:
            raise
        try:
            with current.database.reading() as conn:
                left = linked.owns(conn, current.workspace.name, source)
        except DatabaseUnavailable:
            left = False
        if not left:
            raise
        raise UsageError(f"{exc}. It was there once: `syncd plan {source} --let-go` shows what it still owns") from None


def letting_go(current: Session, source: str, dry_run: bool, digest: str | None = None) -> Report:
    """What a source that was taken out of the configuration still owns. Raises UsageError if it is not such a one."""
    workspace = current.workspace
    try:
        with current.database.reading() as conn:
            require(conn, workspace, source, current.clock())
    except (Conflict, NotFound) as exc:
        raise UsageError(f"{exc} (see {current.app.settings.path})") from None
    actor = Actor("run", current.actor.name, workspace.name, source=source)
    with steps() as progress:
        return run.let_go(
            current.database,
            workspace,
            source,
            actor,
            current.clock,
            current.app.ids,
            dry_run=dry_run,
            plan=digest,
            progress=progress,
        )


def _stream(report: Report) -> None:
    for piece in render.to_json(report):
        sys.stdout.write(piece.decode())


@runs.command("list")
def list_(
    ctx: typer.Context,
    source: Annotated[str | None, typer.Option(help="Only runs of this source.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The last so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """The last runs, and below them everything that is held."""
    current = session(ctx)
    with current.database.reading() as conn:
        found = run_records.list_runs(conn, current.workspace.name, limit, source)
        held = [each for each in held_store.list_held(conn, current.workspace.name) if source in (None, each.source)]
    if as_json:
        print_json({"runs": [_run_json(each) for each in found], "held": [_held_json(each) for each in held]})
        return
    lines = ((each.started_at, each.source, _what(each), each.status, _counted(each.counts), each.id) for each in found)
    show_rows(("started", "source", "what", "status", "counts", "run"), lines, "no runs yet")
    if held:
        waiting = render.table("source", "of what", "who", "since", "why", "digest", title="Held")
        render.fill(
            waiting,
            ((h.source, h.kind, _names(h.subjects), when(h.since), h.why, h.digest[:12]) for h in held),
            style="red",
        )
        show(waiting)
        say("`syncd runs approve DIGEST` applies held items, `syncd runs discard DIGEST` forgets them")


@runs.command("show")
def show_(
    ctx: typer.Context,
    id: Annotated[str, typer.Argument(metavar="RUN")],
    as_json: AsJson = False,
    rows: Rows = render.ROWS,
) -> None:
    """One run: its counts, what was held, what was set aside, and what it changed."""
    current = session(ctx)
    with current.database.reading() as conn:
        found = run_records.show_run(conn, current.workspace.name, id)
        changes = activity.rows(conn, current.workspace.name, Wanted(run=found.id))
        done = list(changes) if as_json else [each for _, each in zip(range(rows + 1), changes, strict=False)]
    if as_json:
        aside = [{"entry": each.entry, "why": each.why} for each in found.set_aside]
        print_json({**_run_json(found), "set_aside": aside, "activity": done})
        return
    facts = render.table("", "")
    facts.show_header = False
    render.fill(
        facts,
        [
            *(("run", found.id), ("source", found.source), ("what", _what(found))),
            *((("whole read", found.kind_why),) if found.kind_why else ()),
            *((("drift", f"{found.drift:,} differences that deltas had not told"),) if found.drift is not None else ()),
            *(("status", found.status), ("started", when(found.started_at)), ("finished", when(found.finished_at))),
            *(("by", found.actor), ("digest", found.digest or ""), ("counts", _counted(found.counts))),
            *(("incomplete", why) for why in found.incomplete_because),
            *(("held", f"{each['kind']}: {each.get('why', '')}") for each in found.held),
            *((("message", found.message),) if found.message else ()),
        ],
    )
    show(facts)
    if found.set_aside:
        aside_table = render.table("set aside", "why")
        render.fill(aside_table, ((e.entry, e.why) for e in found.set_aside[:rows]), len(found.set_aside) - rows)
        show(aside_table)
    if done:
        made = render.table("what", "who", "why")
        render.fill(made, ((each["action"], each["subject"], each["why"]) for each in done[:rows]))
        show(made)
        if len(done) > rows:
            say(f"more than {rows} changes: `syncd runs show {found.id} --json` shows all")


@runs.command("quarantine")
def quarantine_(
    ctx: typer.Context,
    source: Annotated[str | None, typer.Option(help="Only of this source.")] = None,
    as_json: AsJson = False,
) -> None:
    """Entries that could not be used, by name and reason, the longest first; each is looked at again by itself."""
    current = session(ctx)
    with current.database.reading() as conn:
        found = quarantine.listed(conn, current.workspace.name, source)
    if as_json:
        print_json({"quarantine": [asdict(each) for each in found]})
        return
    rows = ((each.entry, each.source, each.why, each.since, each.tries, each.next_at) for each in found)
    show_rows(("entry", "source", "why", "since", "tries", "again"), rows, "nothing is set aside")


@runs.command()
def approve(
    ctx: typer.Context, digest: Digest = None, source: AllOf = None, yes: Yes = False, as_json: AsJson = False
) -> None:
    """Apply held items, each judged again on today's facts."""
    current = session(ctx)
    if digest is None or source is not None:
        _approve_all(current, _held_of(current, digest, source), yes, as_json)
        return
    with current.database.reading() as conn:
        rows = held_store.held_rows(conn, current.workspace.name, digest)
    if not yes and sys.stdin.isatty():
        asked = render.table("of what", "who", "why")
        render.fill(asked, ((each.kind, each.subject, each.why) for each in rows[:20]), len(rows) - 20)
        console(stderr=True).print(asked)
    confirmed(f"Apply {len(rows)} held items?", yes)
    app = current.app
    report = run.approve(current.database, current.workspace, digest, current.actor, current.clock, app.ids)
    if as_json:
        _stream(report)
    else:
        show(render.for_people(report))
    raise typer.Exit(report.exit_code)


def _approve_all(current: Session, held: Sequence[held_store.HeldSummary], yes: bool, as_json: bool) -> None:
    """What a connection's requests asked for is held request by request, so that each is applied by itself."""
    if not yes and sys.stdin.isatty():
        asked = render.table("of what", "who", "why")
        render.fill(asked, ((each.kind, _names(each.subjects), each.why) for each in held[:20]), len(held) - 20)
        console(stderr=True).print(asked)
    confirmed(f"Apply {sum(len(each.subjects) for each in held)} held items?", yes)
    reports, rows = [], []
    for digest in dict.fromkeys(each.digest for each in held):
        try:
            report = run.approve(
                current.database, current.workspace, digest, current.actor, current.clock, current.app.ids
            )
        except NotFound:  # the connection has spoken again meanwhile, or another admin was faster
            continue
        reports.append(report)
        of_it = [each for each in held if each.digest == digest]
        kinds, why = ", ".join(each.kind for each in of_it), "; ".join(each.why for each in report.held)
        rows.append((_names(of_it[0].subjects), kinds, report.status, why))
        if as_json:
            _stream(report)
    if not as_json:
        show_rows(("who", "of what", "status", "why not"), rows, "nothing was held any more")
    raise typer.Exit(max((report.exit_code for report in reports), default=0))


def _held_of(current: Session, digest: str | None, source: str | None) -> list[held_store.HeldSummary]:
    if source is None or digest is not None:
        raise UsageError(
            "give either a DIGEST of `syncd runs list`, or --source NAME for all that is held of that source"
        )
    with current.database.reading() as conn:
        held = [each for each in held_store.list_held(conn, current.workspace.name) if each.source == source]
    if not held:
        raise UsageError(f"nothing of source {source} is held: `syncd runs list` shows what is")
    return held


@runs.command()
def discard(ctx: typer.Context, digest: Digest = None, source: AllOf = None) -> None:
    """Forget held items. Nothing was done; the next run that still wants them holds them anew."""
    current, app = session(ctx), session(ctx).app
    digests = [digest] if digest is not None and source is None else []
    digests = digests or [*dict.fromkeys(each.digest for each in _held_of(current, digest, source))]
    gone = sum(
        run.discard(current.database, current.workspace, each, current.actor, current.clock, app.ids)
        for each in digests
    )
    say(f"{gone} held items discarded")


def _what(row: run_records.RunRow) -> str:
    if row.kind == IMPORT:
        return "import --plan" if row.dry_run else "import"
    if row.kind == LET_GO:
        return "plan --let-go" if row.dry_run else "let go"
    return f"{'plan' if row.dry_run else 'sync'}{' of what changed' if row.kind == 'delta' else ''}"


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{kind.replace('_', ' ')} {n:,}" for kind, n in counts.items() if n)


def _names(subjects: tuple[str, ...]) -> str:
    return ", ".join(subjects[:3]) + (f" and {len(subjects) - 3:,} more" if len(subjects) > 3 else "")


def _run_json(row: run_records.RunRow) -> dict[str, Any]:
    return {
        **{"run": row.id, "source": row.source, "dry_run": row.dry_run, "status": row.status, "actor": row.actor},
        **{"kind": row.kind, "kind_why": row.kind_why, "drift": row.drift},
        **{"started_at": row.started_at, "finished_at": row.finished_at, "digest": row.digest},
        **{"complete": row.complete, "incomplete_because": list(row.incomplete_because), "counts": row.counts},
        **{"held": list(row.held), "message": row.message},
    }


def _held_json(each: held_store.HeldSummary) -> dict[str, Any]:
    return {
        **{"source": each.source, "kind": each.kind, "guard": each.guard, "why": each.why, "digest": each.digest},
        **{"since": each.since, "run": each.run_id, "changes": len(each.subjects), "subjects": list(each.subjects)},
    }
