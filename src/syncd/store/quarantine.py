"""Entries that are looked at again: set aside, refused at the door, or dropped because their user changed meanwhile.

A whole read sees every entry anyway. A delta is told of an entry once, so whatever came to nothing is written down here in
the transaction that moves the checkpoint or before it, and asked for again by its key, after pauses that double.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select

from syncd.core.actor import ADMIN_SOURCE
from syncd.core.snapshot import SetAside
from syncd.store import facts
from syncd.store import tables as t

FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=1), timedelta(hours=6)


def pause(tries: int) -> timedelta:
    """After so many looks: at once after the first, then 1 min, 3 min, 7 min and so on, up to 6 h."""
    doubled: int = 2 ** min(tries - 1, 16)
    return min(LONGEST_PAUSE, FIRST_PAUSE * (doubled - 1))


def put(conn: Connection, workspace: str, source: str, entries: Iterable[SetAside], run_id: str, now: datetime) -> None:
    """Entries without a key cannot be asked for; they are reported when they change. A run counts once.

    What people state in a file is no entry: whoever wants it again imports the file again.
    """
    if source == ADMIN_SOURCE:
        return
    named = {each.key: each for each in entries if each.key}
    q = t.quarantine.c
    for batch in facts.batched(sorted(named)):
        here = (q.workspace == workspace, q.source == source, q.key.in_(batch))
        known = {row.key: row for row in conn.execute(select(q.key, q.tries, q.since, q.run_id).where(*here))}
        rows = []
        for key in batch:
            again = key in known and known[key].run_id != run_id
            tries = known[key].tries + again if key in known else 1
            since = known[key].since if key in known else now
            rows.append(
                {
                    **{"workspace": workspace, "source": source, "key": key, "entry": named[key].entry},
                    **{"why": named[key].why, "since": since, "tries": tries},
                    **{"run_id": run_id, "next_at": now + pause(tries)},
                }
            )
        conn.execute(delete(t.quarantine).where(*here))
        conn.execute(insert(t.quarantine), rows)


def named(conn: Connection, workspace: str, source: str, ids: Iterable[str], why: str) -> list[SetAside]:
    """The entries of these users and groups."""
    k = t.links.c
    return [
        SetAside(row.dn or row.key, why, row.key)
        for batch in facts.batched(sorted(ids))
        for row in conn.execute(
            select(k.dn, k.key).where(k.workspace == workspace, k.source == source, k.resource_id.in_(batch))
        )
    ]


@dataclass(frozen=True, slots=True)
class Waiting:
    """An entry as people look at it. `tries`: how often it was looked at."""

    source: str
    entry: str
    why: str
    key: str
    since: datetime
    tries: int
    next_at: datetime


def listed(conn: Connection, workspace: str, source: str | None = None) -> list[Waiting]:
    """The longest first."""
    q = t.quarantine.c
    query = select(q.source, q.entry, q.why, q.key, q.since, q.tries, q.next_at).where(q.workspace == workspace)
    if source is not None:
        query = query.where(q.source == source)
    return [Waiting(*row) for row in conn.execute(query.order_by(q.since, q.source, q.key))]


def due(conn: Connection, workspace: str, source: str, now: datetime) -> list[str]:
    """Keys to ask for."""
    q = t.quarantine.c
    where = (q.workspace == workspace, q.source == source, q.next_at <= now)
    return list(conn.scalars(select(q.key).where(*where).order_by(q.key)))


def keys(conn: Connection, workspace: str, source: str) -> set[str]:
    q = t.quarantine.c
    return set(conn.scalars(select(q.key).where(q.workspace == workspace, q.source == source)))


def settle(conn: Connection, workspace: str, source: str, retried: frozenset[str] | None, run_id: str) -> None:
    """Forget those that this run looked at (None: all) and did not put here again."""
    q = t.quarantine.c
    gone = delete(t.quarantine).where(q.workspace == workspace, q.source == source, q.run_id != run_id)
    if retried is None:
        conn.execute(gone)
        return
    for batch in facts.batched(sorted(retried)):
        conn.execute(gone.where(q.key.in_(batch)))
