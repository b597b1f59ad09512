"""Requests that were accepted to be done later (RFC 9967 section 2.5.1.1), and what became of them.

What came of one is an event in the outbox under the request's own `txn`, written in the transaction that did it: so it is
done once, whoever tries it again after a kill. Those of one connection are done in the order they came.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from syncd.errors import Conflict
from syncd.store import events, facts
from syncd.store import tables as t

WAITING: Final = 1_000  # requests of one connection
WAITING_BYTES: Final = 64 * 2**20


class AlreadyDone(Conflict):
    """Somebody has done this before; nothing of it is written again."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """`actor`: what is needed to make one again. `operations`: how many a bulk request has; None: it is none."""

    workspace: str
    id: str
    source: str
    actor: Mapping[str, Any]
    method: str
    endpoint: str
    at: datetime
    resource_id: str | None = None
    query: str = ""
    if_match: str | None = None
    body: bytes | None = None
    operations: int | None = None
    attempts: int = 0
    done_at: datetime | None = None


def accept(conn: Connection, request: Accepted) -> bool:
    """Keep it. False, and nothing is kept, if too much of its connection waits already."""
    r = t.requests.c
    of_source = (r.done_at.is_(None), r.workspace == request.workspace, r.source == request.source)
    n, size = conn.execute(
        select(func.count(), func.coalesce(func.sum(func.length(r.body)), 0)).where(*of_source)
    ).one()
    if n >= WAITING or size + len(request.body or b"") > WAITING_BYTES:
        return False
    values = {name: getattr(request, name) for name in Accepted.__slots__}
    conn.execute(insert(t.requests).values(**values | {"actor": dict(request.actor)}))
    return True


def waiting(conn: Connection) -> list[tuple[str, str]]:
    """(workspace, source) of whom something waits."""
    r = t.requests.c
    query = select(r.workspace, r.source).where(r.done_at.is_(None)).distinct().order_by(r.workspace, r.source)
    return [(row.workspace, row.source) for row in conn.execute(query)]


def following(conn: Connection, workspace: str, source: str) -> Accepted | None:
    """The next of this connection."""
    r = t.requests.c
    query = select(t.requests).where(r.done_at.is_(None), r.workspace == workspace, r.source == source)
    row = conn.execute(query.order_by(r.id).limit(1)).one_or_none()
    return None if row is None else Accepted(**row._mapping)


def find(conn: Connection, workspace: str, source: str, id: str) -> Accepted | None:
    """One of this connection, without its body."""
    r = t.requests.c
    query = select(*(column for column in r if column.name != "body"))
    row = conn.execute(query.where(r.workspace == workspace, r.id == id, r.source == source)).one_or_none()
    return None if row is None else Accepted(**row._mapping)


def begin(conn: Connection, request: Accepted) -> None:
    """Count the attempt, so that one that kills its process is not tried for ever."""
    r = t.requests.c
    conn.execute(
        update(t.requests)
        .where(r.workspace == request.workspace, r.id == request.id)
        .values(attempts=t.requests.c.attempts + 1)
    )


def end(conn: Connection, workspace: str, id: str, now: datetime) -> None:
    """It is done, and its body is not kept."""
    r = t.requests.c
    conn.execute(
        update(t.requests)
        .where(r.workspace == workspace, r.id == id, r.done_at.is_(None))
        .values(done_at=now, body=None)
    )


def complete(conn: Connection, workspace: str, txn: str, uri: str, result: Mapping[str, Any], now: datetime) -> None:
    """The event of its completion: `result` is one operation of a bulk response. Raises AlreadyDone."""
    row = events.row(uri, uri.rpartition("/")[2], {events.ASYNC_RESPONSE: dict(result)}, now, txn, txn)
    insertion = (sqlite if conn.dialect.name == "sqlite" else postgresql).insert(t.outbox)
    made = insertion.values(workspace=workspace, **row).on_conflict_do_nothing().returning(t.outbox.c.id)
    if conn.execute(made).first() is None:
        raise AlreadyDone(f"{txn} was done before")


def completions(conn: Connection, workspace: str, txns: Iterable[str]) -> dict[str, dict[str, Any]]:
    """txn -> the claims of its event, of those that are done."""
    o = t.outbox.c
    found: dict[str, dict[str, Any]] = {}
    for some in facts.batched(list(txns)):
        rows = conn.execute(select(o.id, o.payload).where(o.workspace == workspace, o.id.in_(some)))
        found |= {row.id: row.payload for row in rows}
    return found


def may_still(conn: Connection, token_id: str | None) -> bool:
    """Whether the token it was asked with was not revoked meanwhile; it may have expired."""
    k = t.tokens.c
    if token_id is None:
        return True
    found = conn.execute(select(k.revoked_at).where(k.id == token_id)).first()
    return found is not None and found.revoked_at is None
