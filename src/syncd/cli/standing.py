"""`syncd status`: how a workspace stands in one screen, what is wrong first and with what to do. Needs no daemon.

Exit 0 if nothing is wrong, 1 otherwise: a notice is nothing wrong. The facts are those of the status page and of the metrics.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from importlib.metadata import version as installed
from typing import Any

import typer

from syncd.app import App
from syncd.cli.session import print_json, session, when
from syncd.cli.users import AsJson
from syncd.errors import DatabaseUnavailable
from syncd.health import Finding, Timetables, findings, punctuality, span
from syncd.reconcile.render import plain
from syncd.store import standing as store
from syncd.store.engine import Database
from syncd.store.migrate import Revision, revision
from syncd.store.standing import SourceSeen, Standing, WorkspaceSeen

WIDTH = 79  # fits a terminal of 80 columns, also where it puts a cursor behind the last one


def register(cli: typer.Typer) -> None:
    cli.command()(status)


def status(ctx: typer.Context, as_json: AsJson = False) -> None:
    """How the workspace stands: what is wrong, processes, sources, seats. Exit 1: something is wrong."""
    current = session(ctx)
    app, workspace = current.app, current.workspace
    known, standing, wrong = _look(app)
    timetables = app.timetables
    elsewhere: list[Finding] = []
    if standing is not None:
        shown = tuple(each for each in standing.workspaces if each.name == workspace.name)
        wrong += findings(replace(standing, workspaces=shown), timetables)
        elsewhere = _elsewhere(standing, workspace.name, timetables)
    healthy = not any(each.level == "problem" for each in wrong)
    database = {"revision": known.current if known else None, "needs": known.head if known else None}
    if as_json:
        seen = {} if standing is None else _json(standing, workspace.name, timetables)
        print_json(
            {
                **{"healthy": healthy, "release": installed("syncd"), "workspace": workspace.name},
                "findings": [_finding(each) for each in (*wrong, *elsewhere)],
                "database": {"answers": known is not None, **database},
                **seen,
            }
        )
    else:
        head = f"syncd {installed('syncd')} · database {database['revision'] or 'unknown'} · workspace {workspace.name}"
        lines = [head, *_wrong([*wrong, *elsewhere])]
        if standing is not None:
            lines += _lines(standing, workspace.name, timetables)
        sys.stdout.writelines(f"{plain(line).rstrip()}\n" for line in lines)
    if not healthy:
        raise typer.Exit(1)


def _look(app: App) -> tuple[Revision | None, Standing | None, list[Finding]]:
    """What the database says; a database that does not is the first thing that is wrong."""
    try:
        database = Database(app.settings.database)
        try:
            known = revision(database)
            if not known.up_to_date:
                what = f"at revision {known.current or 'none'}, this release needs {known.head}"
                return known, None, [Finding("problem", "database", what, "`syncd db upgrade`")]
            with database.reading() as conn:
                return known, store.read(conn, app.workspaces.values(), app.clock()), []
        finally:
            database.close()
    except DatabaseUnavailable as exc:
        return None, None, [Finding("problem", "database", str(exc), "nothing works without it")]


def _elsewhere(standing: Standing, name: str, timetables: Timetables) -> list[Finding]:
    """That there is something wrong in other workspaces too; it is told in full when asked for them."""
    found = []
    for each in standing.workspaces:
        if each.name != name:
            theirs = [
                one
                for one in findings(replace(standing, workspaces=(each,)), timetables)
                if one.level == "problem" and one.about not in ("processes", "web", "worker")
            ]
            if theirs:
                do = f"`syncd status --workspace {each.name}`"
                found.append(Finding("notice", f"workspace {each.name}", f"{len(theirs):,} problems", do))
    return found


# -- for people --------------------------------------------------------------------------------------------------------------


def _wrong(found: Sequence[Finding]) -> Iterator[str]:
    """Each in as many lines as it needs."""
    if not found:
        yield "healthy: nothing is wrong"
        return
    for each in found:
        mark = "!" if each.level == "problem" else "-"
        yield from _wrapped(f"{mark} {plain(each.about)}: {plain(each.what)}; {plain(each.do)}")


def _wrapped(text: str) -> Iterator[str]:
    line = ""
    for word in text.split(" "):
        if line and len(line) + 1 + len(word) > WIDTH:
            yield line
            line = "   " + word
        else:
            line = f"{line} {word}" if line else word
    yield line


def _lines(standing: Standing, name: str, timetables: Timetables) -> Iterator[str]:
    seen = next(each for each in standing.workspaces if each.name == name)
    yield ""
    for kind in ("web", "worker"):
        beats = [
            f"pid {each.pid} on {each.host} {span(each.age_s)} ago" for each in standing.processes if each.kind == kind
        ]
        yield from _wrapped(f"{kind:<7} {', '.join(beats) or 'none'}")
    users = ", ".join(f"{n:,} {state}" for state, n in sorted(seen.users.items())) or "none"
    yield from _wrapped(f"users   {users}; groups {seen.groups:,}")
    waiting = f"{seen.outbox.get('new', 0):,} events"
    if seen.outbox_since is not None:
        waiting += f", the oldest {span((standing.at - seen.outbox_since).total_seconds())} old"
    yield f"outbox  {waiting}"
    for one in seen.owed:
        since = span((standing.at - one.since).total_seconds())
        yield f"webhook {one.webhook}: {one.outstanding:,} not acknowledged, the oldest {since} old"
    for each in seen.expiring[:3]:
        yield f"token   {each.name} expires {when(each.expires_at)}"
    if seen.sources:
        yield ""
        rows = [_source(seen, each, standing, timetables) for each in seen.sources]
        yield from _columns(("source", "complete", "last run", "took", "next", "held", "aside"), rows)
    if seen.pools:
        yield ""
        pools = [
            (each.pool, f"{each.used:,}", "unlimited" if each.limit is None else f"{each.limit:,}", f"{each.waiting:,}")
            for each in seen.pools
        ]
        yield from _columns(("seats", "used", "of", "waiting"), pools)


def _source(seen: WorkspaceSeen, each: SourceSeen, standing: Standing, timetables: Timetables) -> tuple[str, ...]:
    kept = punctuality(each, timetables.get((seen.name, each.name)), standing)
    run, ended = each.last_run, each.last_ended
    took = (ended.finished_at - ended.started_at).total_seconds() if ended and ended.finished_at else None
    return (
        each.name,
        "never" if kept.age_s is None else f"{span(kept.age_s)} ago",
        run.status if run else "",
        "" if took is None else span(took),
        _due(kept.due, standing.at),
        f"{seen.held_of(each.name):,}",
        "" if ended is None or ended.set_aside is None else f"{ended.set_aside:,}",
    )


def _due(due: datetime | None, now: datetime) -> str:
    if due is None:
        return "by hand"
    return f"in {span((due - now).total_seconds())}" if due - now < timedelta(days=2) else when(due)[:10]


def _columns(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Names to the left, the rest in columns as wide as they need; a name too long for the line is cut."""
    rows = [names, *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(1, len(names))]
    first = min(max(len(row[0]) for row in rows), WIDTH - sum(widths) - 2 * len(widths))
    for row in rows:
        name = row[0] if len(row[0]) <= first else f"{row[0][: first - 1]}…"
        yield "  ".join([name.ljust(first), *(cell.ljust(width) for cell, width in zip(row[1:], widths, strict=True))])


# -- for programs ------------------------------------------------------------------------------------------------------------


def _finding(each: Finding) -> Mapping[str, str]:
    return {"level": each.level, "about": each.about, "what": each.what, "do": each.do}


def _json(standing: Standing, name: str, timetables: Timetables) -> dict[str, Any]:
    seen = next(each for each in standing.workspaces if each.name == name)
    return {
        "at": standing.at,
        "processes": [
            {
                **{"kind": each.kind, "host": each.host, "pid": each.pid, "release": each.release},
                **{"started_at": each.started_at, "heartbeat_age_s": each.age_s, "alive": each.alive},
            }
            for each in standing.processes
        ],
        "users": dict(seen.users),
        "groups": seen.groups,
        "held": sum(each.items for each in seen.held),
        "sources": [_source_json(seen, each, standing, timetables) for each in seen.sources],
        "seats": [{"pool": p.pool, "used": p.used, "limit": p.limit, "waiting": p.waiting} for p in seen.pools],
        "webhooks": [
            {"webhook": one.webhook, "outstanding": one.outstanding, "oldest_at": one.since, "last_error": one.why}
            for one in seen.owed
        ],
        "outbox": {"events": dict(seen.outbox), "oldest_at": seen.outbox_since},
        "tokens": [{"connection": each.name, "expires_at": each.expires_at} for each in seen.expiring],
    }


def _source_json(seen: WorkspaceSeen, each: SourceSeen, standing: Standing, timetables: Timetables) -> dict[str, Any]:
    kept, run, ended = (
        punctuality(each, timetables.get((seen.name, each.name)), standing),
        each.last_run,
        each.last_ended,
    )
    return {
        **{"source": each.name, "kind": each.kind, "users": each.users, "last_complete_at": each.last_complete_at},
        "last_run": {"run": run.id, "status": run.status, "at": run.started_at} if run else None,
        **{"age_s": kept.age_s, "lag_s": kept.lag_s, "missed": kept.missed, "next_at": kept.due},
        **{"held": seen.held_of(each.name), "set_aside": ended.set_aside if ended else None, "drift": each.drift},
        "groups_outside": list(each.groups_outside) if each.groups_outside is not None else None,
        **{"adoptions_waiting": seen.asked.get(each.name, 0), "quarantined": seen.quarantined.get(each.name, 0)},
    }
