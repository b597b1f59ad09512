"""When timers last ran: how the next worker notices that the clock leapt, or that nobody was there."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select

from syncd.store import tables as t
from syncd.store.rows import upsert


def read(conn: Connection, name: str) -> datetime | None:
    found: datetime | None = conn.scalar(select(t.timers.c.ran_at).where(t.timers.c.name == name))
    return found


def write(conn: Connection, name: str, now: datetime) -> None:
    upsert(conn, t.timers, {"name": name}, {"ran_at": now})
