"""What is kept how long, and the deleting of the rest in steps so small that no other writer notices.

A step is one transaction of at most `STEP` rows of one kind (measured on SQLite: 10 to 35 ms on a busy machine); they are
looked for before it. Kept whatever its age: what an unfinished run needs, the last run of each source, held items, and
activity unless its days are limited. Then sealed ranges go whole, and their seals stay, so that the chain of those that are
left still starts at a known hash; and a row of the record tells which went (store/verification.py asks for it).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, func, or_, select, tuple_

from syncd.store import leases, seals
from syncd.store import tables as t
from syncd.store.commit import Ids
from syncd.store.engine import Database
from syncd.store.purge import agreed

STEP = 200  # rows
UNFINISHED = ("reading", "deciding", "applying")
UNDELIVERED = ("new", "claimed", "failed")


@dataclass(frozen=True, slots=True)
class Retention:
    """How long each kind of row is kept after it is of no use any more; None: for ever."""

    run_details: timedelta | None = timedelta(days=7)  # set-aside entries and items of finished runs
    runs: timedelta | None = timedelta(days=400)
    activity: timedelta | None = None
    delivered: timedelta | None = timedelta(
        days=7
    )  # events that were delivered, and deliveries that ended; asynchronous requests that are done
    undelivered: timedelta | None = timedelta(days=30)  # events nobody fetched
    tokens: timedelta | None = timedelta(days=90)  # after they expired or were revoked
    sign_ins: timedelta | None = timedelta(days=90)  # each report; the last ones are kept with the user
    losses: timedelta = timedelta(hours=48)  # not less than the longest rolling window of any source


_DAY = timedelta(days=1)  # leases and heartbeats of who is gone


Keys = list[tuple[Any, ...]]


def old(conn: Connection, kind: str, policy: Retention, now: datetime) -> Keys:
    """Keys of up to `STEP` rows of one of `KINDS` that may go. Read before the write lock is taken: it may be a long look.

    Of activity, those of one seal.
    """
    if kind == "activity":
        return [(seal.workspace, id) for seal in _sealed(conn, policy, now) for id in seal.ids]
    table, condition = _old(conn, kind, policy, agreed(conn, now))
    if condition is None:
        return []
    query = select(*table.primary_key.columns).where(condition).limit(STEP)
    return [tuple(row) for row in conn.execute(query)]


def drop(conn: Connection, kind: str, keys: Keys, policy: Retention, now: datetime, ids: Ids) -> int:
    """Delete those of `keys` that still may go; an old lease may have been taken again. Returns how many."""
    if kind == "activity":
        going = [seal for seal in _sealed(conn, policy, now) if (seal.workspace, seal.first_id) in keys]
        for seal in going:
            seals.drop(conn, seal, now, ids)
        return sum(seal.rows for seal in going)
    table, condition = _old(conn, kind, policy, agreed(conn, now))
    if condition is None or not keys:
        return 0
    return conn.execute(delete(table).where(_among(table, keys), condition)).rowcount


def _sealed(conn: Connection, policy: Retention, now: datetime) -> list[seals.Old]:
    """The sealed block of activity that goes next, if one may."""
    if policy.activity is None:
        return []
    date = agreed(conn, now) - policy.activity
    found = (seals.oldest(conn, workspace, date) for workspace in seals.workspaces(conn))
    return [seal for seal in found if seal is not None][:1]


def _among(table: Table, keys: Keys) -> ColumnElement[bool]:
    columns = list(table.primary_key.columns)
    return columns[0].in_([key[0] for key in keys]) if len(columns) == 1 else tuple_(*columns).in_(keys)


def figures(conn: Connection, policy: Retention, now: datetime) -> dict[str, int]:
    """How many rows of each kind would go now, for kinds of which any would: the dry run."""
    found: dict[str, int] = {}
    for kind in KINDS:
        table, condition = _old(conn, kind, policy, agreed(conn, now))
        if condition is not None:
            how_many = func.sum(table.c.rows) if kind == "activity" else func.count()
            found[kind] = conn.scalar(select(how_many).select_from(table).where(condition)) or 0
    return {kind: n for kind, n in found.items() if n}


def _old(conn: Connection, kind: str, policy: Retention, now: datetime) -> tuple[Table, ColumnElement[bool] | None]:
    table, span, condition = KINDS[kind]
    if table in (t.leases, t.processes):
        now = leases.moment(conn)  # the clock they go by
    kept = span(policy)
    return table, None if kept is None else condition(conn, now - kept)


def _finished_before(date: datetime) -> ColumnElement[bool]:
    r = t.runs.c
    return and_(r.status.not_in(UNFINISHED), r.finished_at < date)


def _details(table: Table) -> Callable[[Connection, datetime], ColumnElement[bool]]:
    def of_finished(_: Connection, date: datetime) -> ColumnElement[bool]:
        """Also of runs that are not there any more."""
        r = t.runs.c
        here = select(r.id).where(r.workspace == table.c.workspace, r.id == table.c.run_id)
        return or_(here.where(_finished_before(date)).exists(), ~here.exists())

    return of_finished


def _runs(_: Connection, date: datetime) -> ColumnElement[bool]:
    """Not the last of its source: `syncd status` and the schedule start from it."""
    r, later = t.runs.c, t.runs.alias()
    newer = select(later.c.id).where(
        later.c.workspace == r.workspace, later.c.source == r.source, later.c.started_at > r.started_at
    )
    return and_(_finished_before(date), r.started_at < date, newer.exists())


def _owed() -> ColumnElement[bool]:
    """Somebody has not acknowledged this event yet."""
    d, o = t.deliveries.c, t.outbox.c
    same = and_(d.workspace == o.workspace, d.event_id == o.id)
    return select(d.id).where(same, d.ended_at.is_(None)).exists()


def _of_anybody() -> ColumnElement[bool]:
    """Every workspace that ever wrote or has a token, named since the index of the outbox begins with it."""
    return _o.workspace.in_(select(t.workspaces.c.name).union(select(t.tokens.c.workspace)))


_Condition = Callable[[Connection, datetime], ColumnElement[bool]]
_o, _k, _r = t.outbox.c, t.tokens.c, t.runs.c
_POLLS = timedelta(days=2)  # runs of every minute that found nothing; times of the last day are counted by them
KINDS: Mapping[str, tuple[Table, Callable[[Retention], timedelta | None], _Condition]] = {
    "set_aside": (t.set_aside, lambda policy: policy.run_details, _details(t.set_aside)),
    "run_items": (t.run_items, lambda policy: policy.run_details, _details(t.run_items)),
    "runs": (t.runs, lambda policy: policy.runs, _runs),
    "polls": (
        t.runs,
        lambda _: _POLLS,
        lambda _, date: and_(_r.kind == "delta", _r.status == "clean", _r.finished_at < date),
    ),
    "outbox": (
        t.outbox,
        lambda policy: policy.delivered,
        lambda _, date: and_(_of_anybody(), _o.state == "delivered", _o.at < date, ~_owed()),
    ),
    "outbox_undelivered": (
        t.outbox,
        lambda policy: policy.undelivered,
        lambda _, date: and_(_of_anybody(), _o.state.in_(UNDELIVERED), _o.at < date, ~_owed()),
    ),
    "deliveries": (t.deliveries, lambda policy: policy.delivered, lambda _, date: t.deliveries.c.ended_at < date),
    "mails": (t.mails, lambda policy: policy.delivered, lambda _, date: t.mails.c.ended_at < date),
    "requests": (t.requests, lambda policy: policy.delivered, lambda _, date: t.requests.c.done_at < date),
    "sign_ins": (
        t.sign_in_reports,
        lambda policy: policy.sign_ins,
        lambda _, date: t.sign_in_reports.c.at < date,
    ),
    "losses": (t.losses, lambda policy: policy.losses, lambda _, date: t.losses.c.at < date),
    "tokens": (
        t.tokens,
        lambda policy: policy.tokens,
        lambda _, date: or_(_k.revoked_at < date, _k.expires_at < date),
    ),
    "password_resets": (
        t.password_resets,
        lambda _: timedelta(0),
        lambda _, date: t.password_resets.c.expires_at < date,
    ),
    "leases": (t.leases, lambda _: _DAY, lambda _, date: t.leases.c.expires_at < date),
    "processes": (t.processes, lambda _: _DAY, lambda _, date: t.processes.c.beat_at < date),
    "activity": (
        t.activity_seals,
        lambda policy: policy.activity,
        lambda _, date: and_(t.activity_seals.c.sealed_at < date, t.activity_seals.c.dropped_at.is_(None)),
    ),
}


def tidy(database: Database) -> None:
    """After a round on SQLite: statistics for the planner, and the log moved into the file as far as no reader needs it.

    Both are bounded: at most 400 rows of an index are looked at, and a passive checkpoint waits for nobody. The file does not
    shrink; free pages are used again. PostgreSQL has its own vacuum.
    """
    if database.dialect == "sqlite":
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
            for pragma in ("analysis_limit=400", "optimize", "wal_checkpoint(PASSIVE)"):
                conn.exec_driver_sql(f"PRAGMA {pragma}")
