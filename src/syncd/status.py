"""The status page: how each workspace stands, as one HTML page made on the server, without scripts.

Pure: what `store.listing` reads goes in, a page comes out. Every text is escaped, since names come from directories.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Any

from syncd.store.listing import PoolReport

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1c1c1c; }
table { border-collapse: collapse; margin: 0 0 1.5rem; width: 100%; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { border-bottom: 1px solid #d0d0d0; padding: .3rem .6rem .3rem 0; text-align: left; }
td.number, th.number { text-align: right; }
.waits { font-weight: 600; }
"""


@dataclass(frozen=True, slots=True)
class Standing:
    """One workspace: `overview` as store.listing.overview gives it."""

    overview: Mapping[str, Any]
    pools: Sequence[PoolReport]


def page(standings: Iterable[Standing], now: datetime) -> str:
    parts = "".join(map(_workspace, standings)) or "<p>No workspace is configured.</p>"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>syncd</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body><h1>syncd</h1>{parts}<p>As of {_instant(now)}.</p></body></html>"
    )


def _workspace(standing: Standing) -> str:
    seen = standing.overview
    users: Mapping[str, int] = seen["users"]
    counts = [
        *((f"users, {status}", users[status]) for status in sorted(users)),
        ("groups", seen["groups"]),
        ("changes held for approval", seen["held"]),
    ]
    pools = [
        (pool.pool, pool.used, "unlimited" if pool.limit is None else pool.limit, pool.waiting)
        for pool in standing.pools
    ]
    sources = [
        (
            source["source"],
            source["kind"],
            _instant(source["last_complete_at"]),
            *((run["status"], _instant(run["at"])) if (run := source["last_run"]) else ("", "")),
        )
        for source in seen["sources"]
    ]
    return (
        f"<h2>{escape(str(seen['workspace']))}</h2>"
        + _table("Resources", ("", "number"), counts)
        + (_table("Seats", ("pool", "used", "limit", "waiting"), pools) if pools else "")
        + (_table("Sources", ("source", "kind", "last complete read", "last run", "at"), sources) if sources else "")
    )


def _table(caption: str, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><caption>{escape(caption)}</caption><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    return f'<td class="number">{value:,}</td>' if isinstance(value, int) else f"<td>{escape(str(value))}</td>"


def _instant(moment: datetime | None) -> str:
    return "never" if moment is None else moment.strftime("%Y-%m-%d %H:%M:%S UTC")
