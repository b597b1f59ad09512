"""The ledger of what others must hear of: each webhook's deliveries, until they are acknowledged or somebody gives them up.

The door writes a row for each webhook in the transaction of the change itself (store/events.py: owe). Of one user a webhook
is told one thing after the other, in the order of her versions: the next is due when the one before has ended. Taking a
delivery moves its `next_at` to when it counts as lost, so that whoever is killed while sending leaves nothing to be mended.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, or_, select, update

from syncd.core.actor import Actor
from syncd.core.workspace import Workspace
from syncd.errors import Conflict, NotFound
from syncd.store import events, facts
from syncd.store import tables as t
from syncd.store.commit import Ids, record
from syncd.store.pages import Position
from syncd.store.rows import Rows

ACKNOWLEDGED, DISCARDED = "acknowledged", "discarded"
STATES = ("outstanding", ACKNOWLEDGED, DISCARDED)
_d, _o = t.deliveries.c, t.outbox.c


@dataclass(frozen=True, slots=True)
class Taken:
    """What is to be sent. `attempts`: this one included. `claims`: of the event, as the outbox has them."""

    workspace: str
    id: str
    webhook: str
    subject_id: str
    created_at: datetime
    attempts: int
    claims: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """What came of sending one. `again_at` None: it was acknowledged. `status` None: nothing was answered."""

    workspace: str
    id: str
    status: int | None
    error: str | None = None
    again_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One row of the ledger. `kind`: of the revocation; None once the event itself is not kept any more."""

    id: str
    webhook: str
    state: str
    user_id: str
    kind: str | None
    created_at: datetime
    attempts: int
    next_at: datetime | None  # None: it has ended
    last_at: datetime | None
    last_status: int | None
    last_error: str | None
    ended_at: datetime | None


# -- sending -----------------------------------------------------------------------------------------------------------------


def waiting(conn: Connection, now: datetime, horizon: timedelta) -> set[tuple[str, str]]:
    """Which (workspace, webhook) have something due. `horizon`: no pause is longer, so what is due after that was written
    by a clock that ran ahead."""
    query = select(_d.workspace, _d.webhook).where(_due(now, horizon)).distinct()
    return {(row.workspace, row.webhook) for row in conn.execute(query)}


def take(
    conn: Connection, workspace: str, webhook: str, now: datetime, until: datetime, limit: int, horizon: timedelta
) -> list[Taken]:
    """Up to `limit` that are due, the longest waiting first and of each user one; nobody else takes them before `until`."""
    earlier = t.deliveries.alias("earlier").c
    first = ~(
        select(earlier.id)
        .where(
            earlier.workspace == _d.workspace,
            earlier.webhook == _d.webhook,
            earlier.subject_id == _d.subject_id,
            earlier.ended_at.is_(None),
            or_(earlier.version < _d.version, and_(earlier.version == _d.version, earlier.id < _d.id)),
        )
        .exists()
    )
    query = (
        select(t.deliveries)
        .where(_d.workspace == workspace, _d.webhook == webhook, _due(now, horizon), first)
        .order_by(_d.next_at, _d.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = conn.execute(query).all()
    if not rows:
        return []
    mine = [row.id for row in rows]
    conn.execute(
        update(t.deliveries)
        .where(_d.workspace == workspace, _d.id.in_(mine))
        .values(next_at=until, last_at=now, last_status=None, last_error=None, attempts=_d.attempts + 1)
    )
    claims = {
        row.id: row.payload
        for row in conn.execute(
            select(_o.id, _o.payload).where(_o.workspace == workspace, _o.id.in_([row.event_id for row in rows]))
        )
    }
    return [
        Taken(workspace, row.id, webhook, row.subject_id, row.created_at, row.attempts + 1, claims[row.event_id])
        for row in rows
    ]


def _due(now: datetime, horizon: timedelta) -> ColumnElement[bool]:
    return and_(_d.ended_at.is_(None), or_(_d.next_at <= now, _d.next_at > now + horizon))


def note(conn: Connection, results: Iterable[Result], now: datetime) -> None:
    """What came of what was taken. What ended meanwhile stays as it ended, but for an acknowledgement that came late."""
    for each in results:
        where = and_(_d.workspace == each.workspace, _d.id == each.id)
        answered: dict[str, Any] = {"last_status": each.status, "last_error": each.error}
        if each.again_at is None:
            ended = {"ended_at": now, "ended_as": ACKNOWLEDGED}
            conn.execute(update(t.deliveries).where(where, _unacknowledged()).values(**answered, **ended))
        else:
            values = {**answered, "next_at": each.again_at}
            conn.execute(update(t.deliveries).where(where, _d.ended_at.is_(None)).values(**values))


def _unacknowledged() -> ColumnElement[bool]:
    return or_(_d.ended_as.is_(None), _d.ended_as != ACKNOWLEDGED)


def hasten(conn: Connection, workspace: str, webhook: str, now: datetime) -> int:
    """Whoever could not be reached answers again: what failed for that is due at once. Returns how many."""
    unreached = or_(_d.last_status.is_(None), _d.last_status >= 500, _d.last_status.in_((408, 429)))
    mine = and_(_d.workspace == workspace, _d.webhook == webhook, _d.ended_at.is_(None), _d.last_error.is_not(None))
    return conn.execute(update(t.deliveries).where(mine, unreached, _d.next_at > now).values(next_at=now)).rowcount


# -- people ------------------------------------------------------------------------------------------------------------------


def listed(
    conn: Connection,
    workspace: str,
    state: str | None = "outstanding",
    webhook: str | None = None,
    user_id: str | None = None,
    after: Position | None = None,
    limit: int | None = None,
) -> list[Delivery]:
    """In the order of their ids, which is that of time. `after`: where the page before ended."""
    query = _rows(workspace)
    if state is not None:
        query = query.where(_d.ended_at.is_(None) if state == "outstanding" else _d.ended_as == state)
    if webhook is not None:
        query = query.where(_d.webhook == webhook)
    if user_id is not None:
        query = query.where(_d.subject_id == user_id)
    if after is not None:
        query = query.where(_d.id > after.id)
    return [_delivery(row) for row in conn.execute(query.order_by(_d.id).limit(limit))]


def find(conn: Connection, workspace: str, id: str) -> Delivery:
    """Raises NotFound."""
    row = conn.execute(_rows(workspace).where(_d.id == id)).first()
    if row is None:
        raise NotFound(f"there is no delivery {id[:64]!r}")
    return _delivery(row)


def _rows(workspace: str) -> Select[Any]:
    return (
        select(t.deliveries, _o.payload)
        .outerjoin(t.outbox, and_(_o.workspace == _d.workspace, _o.id == _d.event_id))
        .where(_d.workspace == workspace)
    )


def _delivery(row: Any) -> Delivery:
    return Delivery(
        row.id,
        row.webhook,
        row.ended_as or "outstanding",
        row.subject_id,
        None if row.payload is None else kind_of(row.payload),
        row.created_at,
        row.attempts,
        None if row.ended_at else row.next_at,
        row.last_at,
        row.last_status,
        row.last_error,
        row.ended_at,
    )


def kind_of(claims: Mapping[str, Any]) -> str:
    said = claims["events"]
    if events.SESSIONS_REVOKED in said:
        return "sessions"
    return str(said[events.OFFBOARDING if events.OFFBOARDING in said else events.REVOKED]["kind"])


def retry(conn: Connection, workspace: str, id: str, now: datetime) -> Delivery:
    """Due at once. Raises NotFound; Conflict if it has ended."""
    found = find(conn, workspace, id)
    if found.state != "outstanding":
        raise Conflict(f"delivery {id} is {found.state}: there is nothing to send")
    conn.execute(update(t.deliveries).where(_d.workspace == workspace, _d.id == id).values(next_at=now))
    return find(conn, workspace, id)


def discard(
    conn: Connection, actor: Actor, ids: Sequence[str], webhook: str | None, why: str, now: datetime, make: Ids
) -> int:
    """Give these up (or all that are outstanding of one webhook), on record: it is never acknowledged. Returns how many.

    Raises NotFound for an id that is not outstanding.
    """
    outstanding = and_(_d.workspace == actor.workspace, _d.ended_at.is_(None))
    chosen = _d.webhook == webhook if webhook is not None else _d.id.in_(list(ids))
    rows = conn.execute(select(_d.id, _d.webhook, _d.subject_id).where(outstanding, chosen).with_for_update()).all()
    missing = set(ids) - {row.id for row in rows}
    if missing:
        raise NotFound(f"no delivery {min(missing)[:64]!r} is outstanding")
    ended = {"ended_at": now, "ended_as": DISCARDED}
    for batch in facts.batched([row.id for row in rows]):
        conn.execute(update(t.deliveries).where(outstanding, _d.id.in_(batch)).values(**ended))
    written = Rows(actor.workspace)
    for row in rows:
        said = {"delivery": row.id, "webhook": row.webhook}
        record(written, actor, "delivery_discard", row.subject_id, row.subject_id, why, None, said, now, make)
    written.write(conn)
    return len(rows)


def revoke_sessions(
    conn: Connection, workspace: Workspace, actor: Actor, user_id: str, why: str, now: datetime, ids: Ids
) -> None:
    """The application is to end every session of this user; what she may do stays. Raises NotFound."""
    u = t.users.c
    row = conn.execute(
        select(u.version, u.user_name).where(u.workspace == workspace.name, u.id == user_id, u.status != "deleted")
    ).first()
    if row is None:
        raise NotFound(f"there is no user {user_id[:64]!r}")
    rows = Rows(workspace.name)
    event = ids()
    said = {"event_timestamp": int(now.timestamp())}
    events.tell(rows, f"/Users/{user_id}", user_id, {events.SESSIONS_REVOKED: said}, now, event)
    events.owe(rows, workspace.webhooks, event, user_id, row.version, now, ids)
    record(rows, actor, "sessions_revoke", row.user_name, user_id, why, None, None, now, ids)
    rows.write(conn)


# -- how it stands -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Owed:
    """What one webhook has not acknowledged yet. `why`: what became of the last attempt with the oldest of it."""

    webhook: str
    outstanding: int
    since: datetime
    why: str | None


def owed(conn: Connection, workspaces: Sequence[str]) -> dict[str, list[Owed]]:
    """By workspace, in one statement; webhooks that owe nothing are not in it."""
    counted = (
        select(_d.workspace, _d.webhook, func.count().label("n"), func.min(_d.created_at).label("since"))
        .where(_d.workspace.in_(workspaces), _d.ended_at.is_(None))
        .group_by(_d.workspace, _d.webhook)
        .subquery("counted")
    )
    of, oldest = counted.c, t.deliveries.alias("oldest").c
    why = (
        select(oldest.last_error)
        .where(oldest.workspace == of.workspace, oldest.webhook == of.webhook, oldest.ended_at.is_(None))
        .where(oldest.created_at == of.since)
        .order_by(oldest.last_error.is_(None))
        .limit(1)
        .scalar_subquery()
    )
    found: dict[str, list[Owed]] = {}
    for row in conn.execute(select(counted, why.label("why")).order_by(of.workspace, of.webhook)):
        found.setdefault(row.workspace, []).append(Owed(row.webhook, row.n, row.since, row.why))
    return found
