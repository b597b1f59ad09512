"""The status page: how each workspace stands, as one HTML page made on the server, without scripts. What is wrong comes first.

Pure: what `store.standing` read goes in, a page comes out. Every text is escaped, since names come from directories.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from typing import Any

from syncd.health import Finding, Timetables, findings, punctuality, span
from syncd.store.standing import SourceSeen, Standing, WorkspaceSeen

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1c1c1c; }
table { border-collapse: collapse; margin: 0 0 1.5rem; width: 100%; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { border-bottom: 1px solid #d0d0d0; padding: .3rem .6rem .3rem 0; text-align: left; }
td.number, th.number { text-align: right; }
"""


def page(standing: Standing, timetables: Timetables, processes: bool = True) -> str:
    """`processes`: name them, with their hosts; not for who may see one workspace."""
    parts = "".join(_workspace(each, standing, timetables) for each in standing.workspaces)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>syncd</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body><h1>syncd</h1>{_findings(findings(standing, timetables))}{_processes(standing) if processes else ''}"
        f"{parts or '<p>No workspace is configured.</p>'}<p>As of {_instant(standing.at)}.</p></body></html>"
    )


def _findings(found: Sequence[Finding]) -> str:
    if not found:
        return "<p>Everything is well.</p>"
    rows = [(each.level, each.about, each.what, each.do) for each in found]
    return _table("What needs attention", ("", "about", "what", "what to do"), rows)


def _processes(standing: Standing) -> str:
    rows = [
        (each.kind, each.host, str(each.pid), each.release, f"{span(each.age_s)} ago") for each in standing.processes
    ]
    return _table("Processes", ("", "host", "process", "release", "last heartbeat"), rows) if rows else ""


def _workspace(seen: WorkspaceSeen, standing: Standing, timetables: Timetables) -> str:
    counts = [
        *((f"users, {status}", n) for status, n in sorted(seen.users.items())),
        ("groups", seen.groups),
        ("changes held for approval", sum(each.items for each in seen.held)),
        ("events waiting for delivery", seen.outbox.get("new", 0)),
    ]
    pools = [
        (pool.pool, pool.used, "unlimited" if pool.limit is None else pool.limit, pool.waiting) for pool in seen.pools
    ]
    tokens = [(each.name, _instant(each.expires_at)) for each in seen.expiring]

    def source(each: SourceSeen) -> tuple[Any, ...]:
        run = each.last_run
        due = punctuality(each, timetables.get((seen.name, each.name)), standing).due
        ran = (run.status, _instant(run.started_at)) if run else ("", "")
        scheduled = "" if due is None else _instant(due)
        return (each.name, each.kind, _instant(each.last_complete_at), *ran, scheduled, seen.held_of(each.name))

    names = ("source", "kind", "last complete read", "last run", "at", "next", "held")
    return (
        f"<h2>{escape(seen.name)}</h2>"
        + _table("Resources", ("", "number"), counts)
        + (_table("Seats", ("pool", "used", "limit", "waiting"), pools) if pools else "")
        + (_table("Sources", names, map(source, seen.sources)) if seen.sources else "")
        + (_table("Tokens that expire", ("connection", "at"), tokens) if tokens else "")
    )


def _table(caption: str, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><caption>{escape(caption)}</caption><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    return f'<td class="number">{value:,}</td>' if isinstance(value, int) else f"<td>{escape(str(value))}</td>"


def _instant(moment: datetime | None) -> str:
    return "never" if moment is None else moment.strftime("%Y-%m-%d %H:%M:%S UTC")
