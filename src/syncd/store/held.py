"""What guards hold: kept with the edits that would do it, until someone approves or discards it, or it is no longer wanted.

Approving applies only the loss that was held, on the facts of today: an entry that came back is not taken away.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import orjson
from pydantic import TypeAdapter
from sqlalchemy import Connection, and_, delete, or_, select, update

from syncd.core.actor import Actor
from syncd.core.change import ChangeGroup, Edit, GroupEdit, UserEdit
from syncd.core.state import Link, User
from syncd.core.workspace import Workspace
from syncd.errors import Conflict, NotFound
from syncd.store import facts, run_records
from syncd.store import tables as t
from syncd.store.commit import Ids, apply, record, record_one
from syncd.store.decide import Decision
from syncd.store.pages import Page, Position
from syncd.store.plans import Decided, Item, collect, lasting, pool_use, refusals
from syncd.store.rows import Rows, upsert

EDITS: TypeAdapter[tuple[Edit, ...]] = TypeAdapter(tuple[Edit, ...])


def hold_all(conn: Connection, workspace: str, actor: Actor, decided: Decided, now: datetime, ids: Ids) -> None:
    """Held items are unique per (source, subject, kind); those a whole read no longer wants are forgotten.

    The activity record says once what is held, not every night again.
    """
    h, source = t.held.c, actor.source
    before = conn.execute(
        select(h.subject_id, h.kind, h.guard).where(h.workspace == workspace, h.source == source)
    ).all()
    known = {(row.subject_id, row.kind) for row in before}
    rows = Rows(workspace)
    by_kind = {item.kind: item for item in decided.held_items if item.digest}
    kept: set[tuple[str, str]] = set()
    for item in decided.losing if by_kind else ():
        for change in item.changes:
            if change.loss not in by_kind:
                continue
            kept.add((change.subject_id, change.loss))
            own = [each for each in item.changes if (each.subject_id, each.loss) == (change.subject_id, change.loss)]
            held = by_kind[change.loss]
            if (change.subject_id, change.loss) not in known:
                known.add((change.subject_id, change.loss))
                asked = {"asked": [orjson.loads(orjson.dumps(each)) for each in own]}
                record(rows, actor, "held", change.subject, change.subject_id, held.why, None, asked, now, ids)
            upsert(
                conn,
                t.held,
                {"workspace": workspace, "source": source, "subject_id": change.subject_id, "kind": change.loss},
                {
                    **{"subject": change.subject, "guard": held.guard, "why": held.why, "digest": held.digest},
                    **{"run_id": actor.run_id, "created_at": now, "changes": orjson.dumps(own)},
                    "edits": orjson.dumps(_edits_of(item, change.subject_id, source)),
                },
            )
    rows.write(conn)
    for row in before if decided.whole else ():
        again = (row.subject_id, row.kind) in kept
        if not again and (row.subject_id in decided.released or not lasting(row)):
            conn.execute(
                delete(t.held).where(
                    h.workspace == workspace, h.source == source, h.subject_id == row.subject_id, h.kind == row.kind
                )
            )


def _edits_of(item: Item, subject: str, source: str) -> list[Edit]:
    """What would do it. A group that goes takes the groups in it out of it without edits of their own."""
    own = [edit for edit in item.edits if edit.id == subject]
    gone = tuple(edit.id for edit in item.edits if isinstance(edit, GroupEdit) and edit.delete and edit.id != subject)
    return own or [GroupEdit(subject, source, leave_all=gone)] if gone else own


def approve(
    conn: Connection, workspace: Workspace, digest: str, actor: Actor, now: datetime, ids: Ids
) -> tuple[Decided, str]:
    """Apply the stored held items of `digest` in the caller's transaction, each re-checked on today's facts."""
    rows = held_rows(conn, workspace.name, digest)
    source = rows[0].source
    approved = frozenset((row.subject_id, row.kind) for row in rows)
    people = facts.load_users(conn, workspace.name, {row.subject_id for row in rows}, workspace.precedence, True)
    decision = Decision(
        conn, workspace, source, now, lock=True, approved=approved, graph=facts.load_graph(conn, workspace.name, None)
    )
    own = replace(actor, source=source)
    decided = Decided(seats_before=pool_use(conn, workspace))
    why = f"approved by {actor.name}"
    groups: list[ChangeGroup] = [(edit,) for edit in _approved_groups(rows, why)]
    groups += [
        (edit,)
        for row in rows
        if (edit := _approved_edit(row, people.get(row.subject_id), why) or _approved_nesting(row, why)) is not None
    ]
    deltas: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for batch in facts.batched(groups, 100):
        verdicts = decision.batch(batch)
        for verdict in verdicts:
            collect(decided, verdict, deltas)
        apply(conn, workspace, own, [each for each in verdicts if each.error is None], now, ids, count_losses=False)
    h = t.held.c
    conn.execute(delete(t.held).where(h.workspace == workspace.name, h.digest == rows[0].digest))
    # What else was held of the same requests is held on its own from now on: the rest of them was done.
    for subjects in facts.batched(sorted({row.subject_id for row in rows if row.run_id is None})):
        of_same = (h.workspace == workspace.name, h.source == source, h.run_id.is_(None), h.subject_id.in_(subjects))
        conn.execute(update(t.held).where(*of_same).values(run_id=own.run_id or ""))
    record_one(conn, own, "approve", digest, f"{len(rows)} held items approved", {"source": source}, now, ids)
    decided.held_items = refusals(decided.refused)
    decided.seats_after = pool_use(conn, workspace)
    return decided, source


@dataclass(frozen=True, slots=True)
class Approval:
    """What became of it: a run of its own in the record."""

    run_id: str
    source: str
    status: str
    counts: dict[str, int]
    decided: Decided


def approve_as_run(
    conn: Connection, workspace: Workspace, digest: str, actor: Actor, clock: Callable[[], datetime], ids: Ids
) -> Approval:
    """`approve`, recorded as a run that began and ended now."""
    run_id, now = ids(), clock()
    decided, source = approve(conn, workspace, digest, replace(actor, run_id=run_id), now, ids)
    run_records.begin(conn, workspace, run_id, source, False, actor.name, now)
    counts = dict(decided.counts.by_kind) | {"set_aside": len(decided.set_aside)}
    status = "held" if decided.held_items else "applied" if decided.counts.changes else "clean"
    told = {"digest": decided.digest.text, "complete": True, "counts": counts}
    run_records.end(conn, workspace.name, run_id, status, clock(), **told)
    return Approval(run_id, source, status, counts, decided)


def _approved_groups(rows: Sequence[Any], why: str) -> list[GroupEdit]:
    """What was to be taken from groups, each once: their members lose it with them."""
    asked = {
        edit.id: replace(edit, why=why)
        for row in rows
        if row.run_id is None
        for edit in EDITS.validate_json(row.edits)
        if isinstance(edit, GroupEdit) and (edit.grant or edit.revoke)
    }
    return [asked[id] for id in sorted(asked)]


def _approved_nesting(row: Any, why: str) -> GroupEdit | None:
    """A group that leaves the groups it was in; one that is gone by now is passed over at the door."""
    edits = [edit for edit in EDITS.validate_json(row.edits) if isinstance(edit, GroupEdit)]
    leave = tuple(group for edit in edits if edit.id == row.subject_id for group in edit.leave)
    leave_all = tuple(group for edit in edits if edit.id == row.subject_id for group in edit.leave_all)
    return (
        GroupEdit(row.subject_id, row.source, leave=leave, leave_all=leave_all, why=why) if leave or leave_all else None
    )


def _approved_edit(row: Any, user: User | None, why: str) -> UserEdit | None:
    """Only the loss that was held, on the facts of today; None if it is no longer wanted."""
    if user is None:
        return None
    bare = UserEdit(row.subject_id, row.source, why=why)
    if row.kind in ("role", "seat") and row.run_id is not None:
        return bare  # everything else of that run was done: deriving her anew takes what was held
    edits = [edit for edit in EDITS.validate_json(row.edits) if isinstance(edit, UserEdit)]
    if not edits:
        return None
    asked = replace(edits[0], facts=_facts(edits[0].facts))
    if row.run_id is None:
        return replace(asked, create=False, why=why)  # the last word of the connection: nothing of it was done
    if row.kind == "membership":
        return replace(bare, leave=asked.leave, leave_all=asked.leave_all)
    current = user.link(row.source, asked.link.key) if asked.link else None
    if row.kind == "blank":
        gone = {path for change in orjson.loads(row.changes) for path in (change["before"] or {})}
        if current is None:
            return None
        return replace(bare, link=replace(current, values={k: v for k, v in current.values.items() if k not in gone}))
    if asked.link is None or current is None:
        return replace(bare, facts=asked.facts)
    if asked.link.stage is not None and current.missing_since is None:
        return None  # the entry came back
    return replace(bare, link=_with_state(current, asked.link), facts=asked.facts)


def _facts(stored: Mapping[str, Any]) -> dict[str, Any]:
    """As they were before they were JSON."""
    dates = {"locked_until", "deleted_at"}
    found = {name: datetime.fromisoformat(each) if name in dates and each else each for name, each in stored.items()}
    return found | ({"reclaimed": tuple(stored["reclaimed"])} if "reclaimed" in stored else {})


def _with_state(current: Link, asked: Link) -> Link:
    return replace(current, enabled=asked.enabled, starts_at=asked.starts_at, ends_at=asked.ends_at, stage=asked.stage)


def discard(conn: Connection, workspace: str, digest: str, actor: Actor, now: datetime, ids: Ids) -> int:
    """Forget held items; the next plan that still wants them holds them anew."""
    rows = held_rows(conn, workspace, digest)
    h = t.held.c
    conn.execute(delete(t.held).where(h.workspace == workspace, h.digest == rows[0].digest))
    record_one(conn, actor, "discard", digest, f"{len(rows)} held items discarded", {}, now, ids)
    return len(rows)


def held_rows(conn: Connection, workspace: str, digest: str) -> Sequence[Any]:
    """Held items by the start (8 digits or more) of their digest; NotFound, or Conflict if it is ambiguous."""
    h = t.held.c
    rows = conn.execute(
        select(t.held).where(h.workspace == workspace, h.digest.startswith(digest, autoescape=True)).order_by(h.subject)
    ).all()
    if not rows or len(digest) < 8:
        raise NotFound(f"no held items with digest {digest!r}: `syncd runs list` shows what is held (8 digits suffice)")
    if len({row.digest for row in rows}) > 1:
        raise Conflict(f"digest {digest!r} is short for several: give more digits")
    return rows


@dataclass(frozen=True, slots=True)
class HeldSummary:
    source: str
    kind: str
    guard: str
    why: str
    digest: str
    since: datetime
    run_id: str | None
    subjects: tuple[str, ...]


def list_held(conn: Connection, workspace: str) -> list[HeldSummary]:
    h = t.held.c
    by_digest: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for row in conn.execute(select(t.held).where(h.workspace == workspace).order_by(h.created_at, h.subject)):
        by_digest[row.digest, row.kind].append(row)
    return [
        HeldSummary(
            rows[0].source,
            rows[0].kind,
            rows[0].guard,
            rows[0].why,
            rows[0].digest,
            rows[0].created_at,
            rows[0].run_id,
            tuple(row.subject for row in rows),
        )
        for rows in by_digest.values()
    ]


@dataclass(frozen=True, slots=True)
class HeldRow:
    """One item under a digest."""

    subject_id: str
    subject: str
    kind: str
    why: str
    since: datetime


def page_of_held(conn: Connection, workspace: str, digest: str, limit: int, after: Position | None) -> Page[HeldRow]:
    """Items under this whole digest, by subject id and kind; none if there is no such digest."""
    h = t.held.c
    query = select(h.subject_id, h.subject, h.kind, h.why, h.created_at).where(
        h.workspace == workspace, h.digest == digest
    )
    if after is not None:
        query = query.where(or_(h.subject_id > after.id, and_(h.subject_id == after.id, h.kind > after.key)))
    rows = [HeldRow(*row) for row in conn.execute(query.order_by(h.subject_id, h.kind).limit(limit + 1))]
    more = Position(rows[limit - 1].kind, rows[limit - 1].subject_id) if len(rows) > limit else None
    return Page(0, tuple(rows[:limit]), more)
