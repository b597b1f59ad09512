"""Whether the activity record is as it was written: every row against its seal, every seal against the one before.

Reads the whole record once, a block at a time, in one consistent view. What does not agree is named: which row, of which
seal, and what of it. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Text, and_, select, type_coerce

from syncd.core import chain
from syncd.store import facts, seals
from syncd.store import tables as t

SHOWN: Final = 1000  # faults that are told in full
_SEALS: Final = 20  # read at once
_NULL: Final = "null"


@dataclass(frozen=True, slots=True)
class Fault:
    """`what`: row_gone, row_altered, row_added, content_altered, content_gone, seal_gone, seal_altered or head_unknown."""

    what: str
    told: str
    row: str | None = None
    seal: int | None = None


@dataclass(slots=True)
class Verified:
    """What was found.

    `rows`: those that are sealed and there. `erased`: whose personal content a purge took. `of_0_2`: written before subject
    and reason were part of the hash. `late`: sealed after rows with greater ids. `head`: the hash of the last seal, to be
    kept elsewhere and asked for again.
    """

    rows: int = 0
    seals: int = 0
    unsealed: int = 0
    unsealed_since: datetime | None = None
    dropped: int = 0
    erased: int = 0
    late: int = 0
    of_0_2: int = 0
    head: bytes | None = None
    faults: list[Fault] = field(default_factory=list)
    more: int = 0  # faults that are not among them

    def found(self, what: str, told: str, row: str | None = None, seal: int | None = None) -> None:
        if len(self.faults) < SHOWN:
            self.faults.append(Fault(what, told, row, seal))
        else:
            self.more += 1


def verify(conn: Connection, workspace: str, head: bytes | None = None) -> Verified:
    """`head`: the hash of a seal that was noted earlier, which must be in the chain still."""
    if conn.dialect.name == "postgresql" and not conn.in_transaction():
        conn.execution_options(isolation_level="REPEATABLE READ")
    return _Verification(conn, workspace, head).run()


class _Verification:
    def __init__(self, conn: Connection, workspace: str, head: bytes | None) -> None:
        self.conn, self.workspace, self.head = conn, workspace, head
        self.result = Verified()
        self.through = ""  # the greatest id seen in a seal
        self.last_dropped: int | None = None
        self.kept = False  # a seal was seen whose rows are there

    def run(self) -> Verified:
        previous, expected = chain.FIRST, 1
        for seal in self._seals():
            if seal.number != expected:
                gone = f"seal {expected}" if seal.number == expected + 1 else f"seals {expected} to {seal.number - 1}"
                self.result.found("seal_gone", f"{gone}: not there", seal=expected)
            self._link(seal, previous, seal.number == expected)
            previous, expected = seal.hash, seal.number + 1
            self._rows_of(seal)
            self.result.seals += 1
            self.result.head = seal.hash
            if seal.hash == self.head:
                self.head = None
        self._dropping_told()
        self._unsealed()
        if self.head is not None:
            self.result.found("head_unknown", "no seal has the hash that was given: the chain was made anew since")
        return self.result

    def _seals(self) -> Iterable[Any]:
        s, after = t.activity_seals.c, 0
        query = select(t.activity_seals).where(s.workspace == self.workspace).order_by(s.number).limit(_SEALS)
        while rows := self.conn.execute(query.where(s.number > after)).all():
            yield from rows
            after = rows[-1].number

    def _link(self, seal: Any, previous: bytes, follows: bool) -> None:
        parts = (seal.rows, seal.first_id, seal.last_id, seal.previous, seal.root)
        if chain.link(self.workspace, seal.number, *parts) != seal.hash or (follows and seal.previous != previous):
            self.result.found("seal_altered", f"seal {seal.number}: it is not what was written", seal=seal.number)

    # -- rows --------------------------------------------------------------------------------------------------------------

    def _rows_of(self, seal: Any) -> None:
        leaves: dict[str, bytes] = {}
        if seal.dropped_at is not None:
            if self.kept:
                told = f"seal {seal.number}: its rows are gone, though older ones are there"
                self.result.found("row_gone", told, seal=seal.number)
            self.result.dropped += seal.rows
            self.last_dropped = seal.number
        else:
            self.kept = True
            leaves = self._leaves(seal)
            self._compare(seal.number, leaves)
        self._added(seal, leaves)

    def _leaves(self, seal: Any) -> dict[str, bytes]:
        named = seals.named_by(seal.leaves, seal.root)
        if named is None:
            told = f"seal {seal.number}: its list of rows is not what was written"
            self.result.found("seal_altered", told, seal=seal.number)
        return named or {}

    def _compare(self, number: int, leaves: dict[str, bytes]) -> None:
        there = {row.id: row for ids in facts.batched(sorted(leaves)) for row in self._read(ids)}
        for id, digest in leaves.items():
            if id not in there:
                self.result.found("row_gone", f"row {id} of seal {number}: not there", id, number)
            elif seals.leaf(there[id]) != digest:
                told = f"row {id} of seal {number}: altered ({_named(there[id])})"
                self.result.found("row_altered", told, id, number)
        self.result.rows += len(there)
        self._contents(list(there.values()))

    def _read(self, ids: Sequence[str]) -> Sequence[Any]:
        return self.conn.execute(_ROWS.where(t.activity.c.workspace == self.workspace, t.activity.c.id.in_(ids))).all()

    def _contents(self, rows: Sequence[Any]) -> None:
        """Against the salted hash of each row."""
        bare = []
        for row in rows:
            if row.salt is None:
                bare.append(row)
                continue
            before, after = ((text or _NULL).encode() for text in (row.before, row.after))
            if chain.payload_hash(row.salt, before, after, row.subject, row.why) == row.payload_hash:
                continue
            if chain.payload_hash_of_0_2(row.salt, before, after) == row.payload_hash:
                self.result.of_0_2 += 1
                continue
            told = f"row {row.id}: its subject, reason or values were altered ({_named(row)})"
            self.result.found("content_altered", told, row.id)
        purged = self._purged({row.subject_id for row in bare})
        for row in bare:
            if row.subject_id in purged and row.subject == row.subject_id and not row.why:
                self.result.erased += 1
            else:
                self.result.found("content_gone", f"row {row.id}: its values are gone, and no purge took them", row.id)

    def _purged(self, ids: set[str]) -> set[str]:
        """Users who were purged, or are being purged."""
        a, u = t.activity.c, t.users.c
        found: set[str] = set()
        for some in facts.batched(sorted(ids)):
            gone = select(a.subject_id).where(
                a.workspace == self.workspace, a.subject_id.in_(some), a.action == "purge"
            )
            going = select(u.id).where(u.workspace == self.workspace, u.id.in_(some), u.status == "deleted")
            found |= {*self.conn.scalars(gone), *self.conn.scalars(going)}
        return found

    def _added(self, seal: Any, leaves: dict[str, bytes]) -> None:
        """Rows of this range that no seal names; and what the seal names of an earlier range came late."""
        if seal.last_id <= self.through:
            self.result.late += seal.rows
            return
        a = t.activity.c
        within = select(a.id).where(a.workspace == self.workspace, a.id > self.through, a.id <= seal.last_id)
        unknown = sorted(set(self.conn.scalars(within)) - leaves.keys())
        for id in seals.unsealed_among(self.conn, self.workspace, unknown) if unknown else ():
            told = f"row {id}: among those of seal {seal.number}, and no seal names it (written late, or added)"
            self.result.found("row_added", told, id, seal.number)
        self.through = seal.last_id

    # -- the ends ------------------------------------------------------------------------------------------------------------

    def _dropping_told(self) -> None:
        if self.last_dropped is None:
            return
        a = t.activity.c
        told = select(a.id).where(
            a.workspace == self.workspace, a.subject_id == seals.dropping(self.last_dropped), a.action == seals.DROPPED
        )
        if self.conn.execute(told.limit(1)).first() is None:
            why = f"seal {self.last_dropped}: its rows are gone, and no row says that retention took them"
            self.result.found("row_gone", why, seal=self.last_dropped)

    def _unsealed(self) -> None:
        a, after = t.activity.c, self.through
        query = _ROWS.where(a.workspace == self.workspace).order_by(a.id).limit(facts.BATCH)
        while rows := self.conn.execute(query.where(a.id > after)).all():
            self.result.unsealed += len(rows)
            self.result.unsealed_since = self.result.unsealed_since or rows[0].at
            self._contents(rows)
            after = rows[-1].id


def _named(row: Any) -> str:
    return f"{row.at:%Y-%m-%d %H:%M:%S} {row.action} of {row.subject}"


_P = t.activity_payloads.c
_ROWS: Final = select(
    *seals.LEAF,
    *(t.activity.c.at, t.activity.c.subject, t.activity.c.why, _P.salt),
    type_coerce(_P.before, Text).label("before"),
    type_coerce(_P.after, Text).label("after"),
).select_from(
    t.activity.outerjoin(
        t.activity_payloads, and_(_P.workspace == t.activity.c.workspace, _P.activity_id == t.activity.c.id)
    )
)
