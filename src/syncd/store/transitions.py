"""Dates that have come: whose status or grants change by them, and the door for a batch of them.

A date is a statement, so its guard is the source that stated it: an end date of corp counts against corp's limits, an
override that a person let expire against those of `local`. What is held is recorded once, however often it is tried again;
it passes when somebody approves it, or by itself when the limit allows all that waits. What cannot be done for one user does
not stop the others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, and_, delete, or_, select

from syncd.core.actor import ADMIN_SOURCE, Actor
from syncd.core.change import UserEdit
from syncd.core.guards import Held
from syncd.core.plan import Digest
from syncd.core.workspace import Workspace
from syncd.store import facts
from syncd.store import tables as t
from syncd.store.commit import Ids, apply, record, rules_digest
from syncd.store.decide import Decision
from syncd.store.drafts import Verdict
from syncd.store.limits import judge_losses
from syncd.store.rows import Rows, upsert

DOOR = "timer"
GUARD = "limit_on_dates"  # tells what a timer held from what a connection's push was held for
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Due:
    """One user whom a date changes. `source` stated it; `why` says which date."""

    id: str
    source: str
    why: str
    facts: Mapping[str, Any] = field(default_factory=dict)  # that the time brings about by itself

    @property
    def edit(self) -> UserEdit:
        return UserEdit(self.id, self.source, facts=self.facts, why=self.why)


@dataclass(slots=True)
class Settled:
    """What became of one batch. Whoever is in neither dict is done."""

    held: dict[str, str] = field(default_factory=dict)  # user id -> why; tried again later
    refused: dict[str, str] = field(default_factory=dict)


def due(conn: Connection, workspace: Workspace, now: datetime, passing: Collection[str], limit: int) -> list[Due]:
    """Users with a date that has come, the longest overdue first, without those in `passing`: they must not stand in
    the way of the others. A constant number of statements for each 500 users looked at."""
    u = t.users.c
    query = select(u.id, u.next_status_at).where(u.workspace == workspace.name, u.next_status_at <= now)
    query = query.order_by(u.next_status_at, u.id).limit(_PAGE)
    found: list[Any] = []
    page = conn.execute(query).all()
    while True:
        found += [row for row in page if row.id not in passing]
        if len(page) < _PAGE or len(found) >= limit:
            break
        last = page[-1]
        after = or_(
            u.next_status_at > last.next_status_at, and_(u.next_status_at == last.next_status_at, u.id > last.id)
        )
        page = conn.execute(query.where(after)).all()
    since = {row.id: row.next_status_at for row in found[:limit]}
    return [stated for ids in facts.batched(since) for stated in _stated(conn, workspace, ids, since, now)]


def _stated(
    conn: Connection, workspace: Workspace, ids: Sequence[str], since: dict[str, datetime], now: datetime
) -> Iterable[Due]:
    """Who said so. Dates before `next_status_at` have been settled. A link's date outweighs an override that expires: it
    can take everything."""
    k, g = t.links.c, t.grants.c
    first: dict[str, tuple[datetime, str, str]] = {}
    for link in conn.execute(
        select(k.resource_id, k.source, k.starts_at, k.ends_at, k.locked_until).where(
            k.workspace == workspace.name, k.resource == "user", k.resource_id.in_(ids)
        )
    ):
        if not workspace.authoritative(link.source):
            continue  # its dates end nothing
        for date, what in (
            (link.ends_at, "the end date that {} states has come"),
            (link.starts_at, "the start date that {} states has come"),
            (link.locked_until, "the lock-out in {} has ended"),
        ):
            if date is not None and since[link.resource_id] <= date <= now:
                stated = (date, link.source, what.format(link.source))
                first[link.resource_id] = min(stated, first.get(link.resource_id, stated))
    expired: dict[str, tuple[datetime, str, str]] = {}
    for row in conn.execute(
        select(g.user_id, g.kind, g.value, g.origin, g.name, g.expires_at).where(
            g.workspace == workspace.name, g.user_id.in_(ids), g.expires_at <= now
        )
    ):
        source = row.name if row.origin == "source" else ADMIN_SOURCE
        override = (row.expires_at, source, f"{row.kind} {row.value} has expired")
        expired[row.user_id] = min(override, expired.get(row.user_id, override))
    for id in ids:
        _, source, why = first.get(id) or expired.get(id) or (now, ADMIN_SOURCE, "the lock has ended")
        yield Due(id, source, why)


def rewound(conn: Connection, workspace: str, now: datetime, until: datetime) -> list[Due]:
    """Users whose status was derived by a clock that ran ahead: a date of theirs lies between now and what it said."""
    k, u = t.links.c, t.users.c
    ahead = or_(*(and_(date > now, date <= until) for date in (k.starts_at, k.ends_at, k.locked_until)))
    why = "the clock was set back"
    found = {
        row.resource_id: Due(row.resource_id, row.source, why)
        for row in conn.execute(
            select(k.resource_id, k.source).where(k.workspace == workspace, k.resource == "user", ahead)
        )
    }
    locked = select(u.id).where(u.workspace == workspace, u.locked_until > now, u.locked_until <= until)
    for id in conn.scalars(locked):
        found.setdefault(id, Due(id, ADMIN_SOURCE, why))
    return [found[id] for id in sorted(found)]


def foresee(
    conn: Connection, workspace: Workspace, source: str, dues: Sequence[Due], now: datetime
) -> tuple[Held, ...]:
    """The kinds of loss that are over the limit if all of these are settled: the whole is judged before its batches, or
    what a limit would hold passes in slices."""
    changed = rules_digest(conn, workspace, now, record=False) != workspace.rules_digest
    decision = Decision(conn, workspace, source, now, rules_changed=changed)
    verdicts = decision.batch([(each.edit,) for each in dues])
    return tuple(_over(conn, workspace, source, [each for each in verdicts if each.error is None], now))


def _over(
    conn: Connection, workspace: Workspace, source: str, verdicts: Iterable[Verdict], now: datetime
) -> list[Held]:
    """As the door judges; those whom a timer held before and who are still due count too."""
    losing: dict[str, set[str]] = defaultdict(set)
    for verdict in verdicts:
        for change in verdict.changes:
            if change.loss and not change.exempt:
                losing[change.loss].add(change.subject_id)
    h, u = t.held.c, t.users.c
    if not losing:
        return []
    for row in conn.execute(
        select(h.kind, h.subject_id)
        .join(t.users, and_(u.workspace == h.workspace, u.id == h.subject_id, u.next_status_at <= now))
        .where(h.workspace == workspace.name, h.source == source, h.kind.in_(sorted(losing)), h.guard == GUARD)
    ):
        losing[row.kind].add(row.subject_id)
    return judge_losses(conn, workspace, source, losing, now, exact=True)


def settle(
    conn: Connection,
    workspace: Workspace,
    source: str,
    dues: Sequence[Due],
    now: datetime,
    ids: Ids,
    foreseen: Sequence[Held] = (),
) -> Settled:
    """Decide and apply one batch of one source, in the caller's transaction. `foreseen`: what is held anyhow.

    Whoever is held or refused is left out and the rest is decided again, so that nobody gets the seat of somebody who
    keeps it.
    """
    actor = Actor(DOOR, DOOR, workspace.name, source=source)
    changed = rules_digest(conn, workspace, now, record=True) != workspace.rules_digest
    settled = Settled()
    left = {each.id: each.edit for each in dues}
    while left:
        decision = Decision(conn, workspace, source, now, lock=True, rules_changed=changed)
        verdicts = decision.batch([(edit,) for edit in left.values()])
        refused = {each.edits[0].id: each for each in verdicts if each.error is not None or each.held}
        over = [] if refused else [*foreseen, *_over(conn, workspace, source, verdicts, now)]
        held = _held(verdicts, over)
        if refused:
            _record_refusals(conn, workspace.name, actor, refused, settled, now, ids)
        elif held:
            _hold(conn, workspace.name, actor, held, over, settled, now, ids)
        else:
            apply(conn, workspace, actor, verdicts, now, ids)
            break
        left = {id: edit for id, edit in left.items() if id not in refused and id not in held}
    _forget(conn, workspace.name, source, left)
    return settled


def _held(verdicts: Sequence[Verdict], over: Sequence[Held]) -> dict[str, Verdict]:
    kinds = {each.kind for each in over}
    return {
        verdict.edits[0].id: verdict
        for verdict in verdicts
        if any(change.loss in kinds and not change.exempt for change in verdict.changes)
    }


def _record_refusals(
    conn: Connection,
    workspace: str,
    actor: Actor,
    refused: dict[str, Verdict],
    settled: Settled,
    now: datetime,
    ids: Ids,
) -> None:
    a, u = t.activity.c, t.users.c
    said = set(
        conn.scalars(
            select(a.subject_id)
            .join(t.users, and_(u.workspace == a.workspace, u.id == a.subject_id))
            .where(
                a.workspace == workspace,
                a.subject_id.in_(sorted(refused)),
                a.action == "refused",
                a.door == DOOR,
                a.at >= u.next_status_at,  # of this date: the same is not said every hour again
            )
        )
    )
    rows = Rows(workspace)
    for id, verdict in refused.items():
        why = str(verdict.error) if verdict.error is not None else "; ".join(each.why for each in verdict.held)
        settled.refused[id] = why
        if id not in said:
            record(rows, actor, "refused", verdict.subject or id, id, why, None, {"asked": []}, now, ids)
    rows.write(conn)


def _hold(
    conn: Connection,
    workspace: str,
    actor: Actor,
    held: dict[str, Verdict],
    over: Sequence[Held],
    settled: Settled,
    now: datetime,
    ids: Ids,
) -> None:
    """One held item for each (source, subject, kind), as the door keeps them; one that is there stays as it is."""
    rows = Rows(workspace)
    for guard in over:
        digest = Digest()
        losing = {
            id: [change for change in verdict.changes if change.loss == guard.kind and not change.exempt]
            for id, verdict in held.items()
        }
        for changes in losing.values():
            for change in changes:
                digest.add(change)
        for id, changes in losing.items():
            if not changes:
                continue
            settled.held[id] = guard.why
            new = upsert(
                conn,
                t.held,
                {"workspace": workspace, "source": actor.source, "subject_id": id, "kind": guard.kind},
                {
                    **{"subject": changes[0].subject, "guard": GUARD, "why": guard.why, "digest": digest.text},
                    **{"run_id": None, "created_at": now, "changes": orjson.dumps(changes)},
                    "edits": orjson.dumps(held[id].edits),
                },
                keep=True,
            )
            if new:
                asked = {"asked": [orjson.loads(orjson.dumps(change)) for change in changes]}
                record(rows, actor, "held", changes[0].subject, id, guard.why, None, asked, now, ids)
    rows.write(conn)


def _forget(conn: Connection, workspace: str, source: str, done: Iterable[str]) -> None:
    h = t.held.c
    for ids in facts.batched(sorted(done)):
        conn.execute(
            delete(t.held).where(h.workspace == workspace, h.source == source, h.subject_id.in_(ids), h.guard == GUARD)
        )
