"""Keys that all processes of a database share, each made by whoever needs it first and never shown."""

from __future__ import annotations

import secrets
from datetime import datetime

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from syncd.store import tables as t

BYTES = 32


def find(conn: Connection, name: str) -> bytes | None:
    k = t.keys.c
    secret: bytes | None = conn.scalar(select(k.secret).where(k.name == name))
    return secret


def make(conn: Connection, name: str, now: datetime) -> bytes:
    """The key of this name; a new one, unless another process was first."""
    row = {"name": name, "secret": secrets.token_bytes(BYTES), "created_at": now}
    insert = (sqlite if conn.dialect.name == "sqlite" else postgresql).insert(t.keys).on_conflict_do_nothing()
    conn.execute(insert, row)
    found = find(conn, name)
    assert found is not None
    return found
