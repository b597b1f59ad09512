"""Seals over the activity record: made by the worker after the fact, in blocks, so that no writer waits for another.

A seal names its rows and their digests (core/chain.py), so that a row that was altered or taken away is found and named. It
covers rows that are a few minutes old, in the order of their ids. A row that turns up later with an older id (its
transaction was slow, or a clock was behind) is sealed too, in a seal of its own that says so by its range. Retention takes
whole blocks, from the front of the chain only; the seal stays, and a row of the record tells it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import BigInteger, Connection, delete, func, select, type_coerce, update

from syncd.core import chain
from syncd.core.actor import Actor
from syncd.store import tables as t
from syncd.store.commit import Ids, record
from syncd.store.rows import Rows, upsert

DROPPED: Final = "activity_dropped"  # the action of the row that tells what retention took
BLOCK: Final = 200  # rows in a seal: what retention takes in one transaction
LAG: Final = timedelta(minutes=2)  # a transaction that began before has ended by then, almost certainly
_PAGE: Final = 1000
FIELDS: Final = tuple(t.activity.c[name] for name in ("door", "actor", "action", "subject_id", "source", "run_id"))
LEAF: Final = (
    t.activity.c.id,
    type_coerce(t.activity.c.at, BigInteger).label("at_us"),
    *FIELDS,
    t.activity.c.address,
    t.activity.c.payload_hash,
)


@dataclass(frozen=True, slots=True)
class Block:
    """Rows to be sealed, and the seal they follow."""

    workspace: str
    number: int
    previous: bytes
    rows: int
    first_id: str
    last_id: str
    leaves: bytes

    @property
    def root(self) -> bytes:
        return chain.root(self.leaves)

    @property
    def hash(self) -> bytes:
        return chain.link(self.workspace, self.number, self.rows, self.first_id, self.last_id, self.previous, self.root)


def leaf(row: Sequence[Any]) -> bytes:
    """Of a row that begins with the columns `LEAF`."""
    id, at_us, *fields, address, payload = row[: len(LEAF)]
    return chain.leaf(id, at_us, fields if address is None else (*fields, address), payload)


def through(conn: Connection, workspace: str) -> str:
    """The greatest id that is sealed; "" if nothing is."""
    found: str | None = conn.scalar(
        select(func.max(t.activity_seals.c.last_id)).where(t.activity_seals.c.workspace == workspace)
    )
    return found or ""


def due(conn: Connection, workspace: str, now: datetime) -> Block | None:
    """The next rows to be sealed."""
    a = t.activity.c
    query = select(*LEAF).where(a.workspace == workspace, a.id > through(conn, workspace), a.at <= now - LAG)
    return _block(conn, workspace, conn.execute(query.order_by(a.id).limit(BLOCK)).all())


def late(conn: Connection, workspace: str) -> Block | None:
    """Rows that turned up among those that are sealed. Looked for only if there are more rows than were sealed: one count."""
    a, s = t.activity.c, t.activity_seals.c
    last = through(conn, workspace)
    if not last:
        return None
    sealed = conn.scalar(select(func.sum(s.rows)).where(s.workspace == workspace, s.dropped_at.is_(None))) or 0
    there = conn.scalar(select(func.count()).where(a.workspace == workspace, a.id <= last)) or 0
    if there <= sealed:
        return None
    found: list[str] = []
    for ids in _pages(conn, workspace, last):
        found += unsealed_among(conn, workspace, ids)
        if len(found) >= min(BLOCK, there - sealed):
            break
    rows = conn.execute(select(*LEAF).where(a.workspace == workspace, a.id.in_(found[:BLOCK])).order_by(a.id)).all()
    return _block(conn, workspace, rows)


def _pages(conn: Connection, workspace: str, last: str) -> Iterator[list[str]]:
    a = t.activity.c
    after = ""
    while True:
        query = select(a.id).where(a.workspace == workspace, a.id > after, a.id <= last)
        ids = list(conn.scalars(query.order_by(a.id).limit(_PAGE)))
        if ids:
            yield ids
        if len(ids) < _PAGE:
            return
        after = ids[-1]


def unsealed_among(conn: Connection, workspace: str, ids: Sequence[str]) -> list[str]:
    """Those of `ids`, which are sorted, that no seal names. What lies in the range of a seal whose list of rows was damaged
    is not among them: nobody can say."""
    s = t.activity_seals.c
    query = select(s.first_id, s.last_id, s.leaves, s.root).where(
        s.workspace == workspace, s.last_id >= ids[0], s.first_id <= ids[-1], s.dropped_at.is_(None)
    )
    left = set(ids)
    for seal in conn.execute(query):
        named = named_by(seal.leaves, seal.root)
        left -= {id for id in left if seal.first_id <= id <= seal.last_id} if named is None else named.keys()
    return sorted(left)


def named_by(leaves: bytes | None, root: bytes) -> dict[str, bytes] | None:
    """id -> leaf of the rows that a seal names; None if the list is not what it was."""
    if leaves is None or chain.root(leaves) != root:
        return None
    try:
        return dict(chain.unpacked(leaves))
    except ValueError:
        return None


def _block(conn: Connection, workspace: str, rows: Sequence[Any]) -> Block | None:
    if not rows:
        return None
    s = t.activity_seals.c
    before = conn.execute(
        select(s.number, s.hash).where(s.workspace == workspace).order_by(s.number.desc()).limit(1)
    ).first()
    number, previous = (before.number + 1, before.hash) if before else (1, chain.FIRST)
    leaves = chain.packed((row.id, leaf(row)) for row in rows)
    return Block(workspace, number, previous, len(rows), rows[0].id, rows[-1].id, leaves)


def write(conn: Connection, block: Block, now: datetime) -> bool:
    """False if another worker sealed meanwhile."""
    return upsert(
        conn,
        t.activity_seals,
        {"workspace": block.workspace, "number": block.number},
        {
            **{"rows": block.rows, "first_id": block.first_id, "last_id": block.last_id, "leaves": block.leaves},
            **{"previous": block.previous, "root": block.root, "hash": block.hash, "sealed_at": now},
        },
        keep=True,
    )


def workspaces(conn: Connection) -> list[str]:
    """All that ever wrote, whether or not they are configured still."""
    return list(conn.scalars(select(t.workspaces.c.name).order_by(t.workspaces.c.name)))


# -- retention -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Old:
    """A seal at the front of the chain all of whose rows may go."""

    workspace: str
    number: int
    rows: int
    first_id: str
    last_id: str
    ids: tuple[str, ...]


def oldest(conn: Connection, workspace: str, date: datetime) -> Old | None:
    """The first seal whose rows are still there, if all of them, and the seal, are older than `date`."""
    s, a = t.activity_seals.c, t.activity.c
    query = select(t.activity_seals).where(s.workspace == workspace, s.dropped_at.is_(None))
    row = conn.execute(query.order_by(s.number).limit(1)).first()
    if row is None or row.sealed_at >= date or (named := named_by(row.leaves, row.root)) is None:
        return None
    ids = tuple(named)
    young = select(a.id).where(a.workspace == workspace, a.id.in_(ids), a.at >= date).limit(1)
    if conn.execute(young).first() is not None:
        return None
    return Old(workspace, row.number, row.rows, row.first_id, row.last_id, ids)


def drop(conn: Connection, seal: Old, now: datetime, ids: Ids) -> None:
    """Its rows and their content; the seal and a row that tells of it stay."""
    a, p, s = t.activity, t.activity_payloads, t.activity_seals
    conn.execute(delete(p).where(p.c.workspace == seal.workspace, p.c.activity_id.in_(seal.ids)))
    conn.execute(delete(a).where(a.c.workspace == seal.workspace, a.c.id.in_(seal.ids)))
    own = (s.c.workspace == seal.workspace, s.c.number == seal.number)
    conn.execute(update(s).where(*own).values(leaves=None, dropped_at=now))
    rows = Rows(seal.workspace)
    why = f"{seal.rows} rows of seal {seal.number} were older than the activity is kept (`retention.activity`)"
    said = {"seal": seal.number, "rows": seal.rows, "first": seal.first_id, "last": seal.last_id}
    actor = Actor("timer", "retention", seal.workspace)
    record(rows, actor, DROPPED, "activity", dropping(seal.number), why, None, said, now, ids)
    rows.write(conn)


def dropping(number: int) -> str:
    """The subject id of the row that tells that retention took the rows of a seal."""
    return f"seal-{number}"
