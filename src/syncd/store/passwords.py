"""Passwords as they are kept: a hash beside the user, never in a document, an activity row or an event.

The hash is made outside the transaction (passwords.py); here it is only kept. Who is purged takes it along.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, select

from syncd.core.actor import Actor
from syncd.store import facts
from syncd.store import tables as t
from syncd.store.commit import Ids, record
from syncd.store.rows import Rows, upsert


@dataclass(frozen=True, slots=True)
class Kept:
    """`source`: who set it. `must_change`: somebody else chose it, so that she has to."""

    hash: str
    source: str
    set_at: datetime
    must_change: bool

    def __repr__(self) -> str:
        return f"Kept(source={self.source!r}, set_at={self.set_at!r}, must_change={self.must_change!r})"


def find(conn: Connection, workspace: str, user_id: str) -> Kept | None:
    p = t.passwords.c
    row = conn.execute(
        select(p.hash, p.source, p.set_at, p.must_change).where(p.workspace == workspace, p.user_id == user_id)
    ).first()
    return None if row is None else Kept(*row)


def of(conn: Connection, workspace: str, user_ids: Iterable[str]) -> dict[str, Kept]:
    """Those of these users who have one."""
    p = t.passwords.c
    found: dict[str, Kept] = {}
    for ids in facts.batched(sorted(set(user_ids))):
        rows = conn.execute(
            select(p.user_id, p.hash, p.source, p.set_at, p.must_change).where(
                p.workspace == workspace, p.user_id.in_(ids)
            )
        )
        found |= {row.user_id: Kept(*row[1:]) for row in rows}
    return found


def put(
    conn: Connection,
    actor: Actor,
    user_id: str,
    name: str,
    hash: str,
    now: datetime,
    ids: Ids,
    *,
    why: str = "",
    must_change: bool = False,
) -> None:
    """Keep it in the place of what was there, and record that this was done, by whom and why."""
    values = {"hash": hash, "source": actor.source, "set_at": now, "must_change": must_change}
    upsert(conn, t.passwords, {"workspace": actor.workspace, "user_id": user_id}, values)
    _record(conn, actor, "password_set", user_id, name, why, now, ids)


def renew(conn: Connection, workspace: str, user_id: str, old: str, new: str) -> None:
    """The same password under today's parameters, unless it was changed meanwhile."""
    p = t.passwords.c
    same = t.passwords.update().where(p.workspace == workspace, p.user_id == user_id, p.hash == old)
    conn.execute(same.values(hash=new))


def drop(conn: Connection, actor: Actor, user_id: str, name: str, now: datetime, ids: Ids, why: str = "") -> bool:
    """Nobody signs in with it any more. Returns whether there was one."""
    p = t.passwords.c
    here = delete(t.passwords).where(p.workspace == actor.workspace, p.user_id == user_id)
    if conn.execute(here.returning(p.user_id)).first() is None:
        return False
    _record(conn, actor, "password_removed", user_id, name, why, now, ids)
    return True


def _record(
    conn: Connection, actor: Actor, action: str, user_id: str, name: str, why: str, now: datetime, ids: Ids
) -> None:
    rows = Rows(actor.workspace)
    record(rows, actor, action, name, user_id, why, None, None, now, ids)
    rows.write(conn)
