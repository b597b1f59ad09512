"""Idempotency keys: what a request was answered, so that its repetition is answered the same and changes nothing.

Kept in the transaction of the change itself, so that there is never one without the other; for a day.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, and_, delete, func, select

from syncd.store import tables as t
from syncd.store.rows import upsert

KEPT_FOR: Final = timedelta(days=1)
_FORGOTTEN_AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True)
class Kept:
    """`holder`: the token that asked, so that keys of different clients never meet. `digest`: of the request."""

    workspace: str
    holder: str
    key: str
    digest: bytes
    at: datetime
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


def claim(conn: Connection, request: Kept) -> bool:
    """False while another transaction answers the same key. SQLite has one writer, so there none can."""
    if conn.dialect.name == "sqlite":
        return True
    number = hashlib.sha256("\0".join([request.workspace, request.holder, request.key]).encode()).digest()[:8]
    taken = func.pg_try_advisory_xact_lock(int.from_bytes(number, "big", signed=True))
    return bool(conn.scalar(select(taken)))


def find(conn: Connection, request: Kept, now: datetime) -> Kept | None:
    """What was answered before, unless that was too long ago."""
    c = t.idempotency.c
    query = select(t.idempotency).where(
        c.workspace == request.workspace, c.holder == request.holder, c.key == request.key, c.at > now - KEPT_FOR
    )
    row = conn.execute(query).first()
    return None if row is None else Kept(**row._mapping)


def keep(conn: Connection, answered: Kept) -> None:
    """And forget some that are too old, so that no one else has to."""
    key = {"workspace": answered.workspace, "holder": answered.holder, "key": answered.key}
    values = {name: getattr(answered, name) for name in ("digest", "at", "status", "body")}
    upsert(conn, t.idempotency, key, values | {"headers": dict(answered.headers)})
    c = t.idempotency.c
    old = select(c.holder, c.key).where(c.workspace == answered.workspace, c.at <= answered.at - KEPT_FOR)
    for row in conn.execute(old.limit(_FORGOTTEN_AT_ONCE)).all():
        conn.execute(
            delete(t.idempotency).where(
                and_(c.workspace == answered.workspace, c.holder == row.holder, c.key == row.key)
            )
        )
