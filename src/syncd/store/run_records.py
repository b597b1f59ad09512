"""The record of runs: begun, ended, listed, shown; and what an earlier plan showed, by its digest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, delete, func, insert, or_, select, update

from syncd.core.snapshot import SetAside
from syncd.core.workspace import Workspace
from syncd.errors import AlreadyRan, NotFound
from syncd.store import facts, leases
from syncd.store import tables as t
from syncd.store.commit import rules_digest
from syncd.store.pages import Page, Position
from syncd.store.rows import upsert


def begin(
    conn: Connection,
    workspace: Workspace,
    run_id: str,
    source: str,
    dry_run: bool,
    actor: str,
    now: datetime,
    **more: Any,
) -> None:
    """Raises AlreadyRan if `scheduled_at` (in `more`) has its run."""
    upsert(conn, t.workspaces, {"name": workspace.name}, {"created_at": now}, keep=True)
    if not dry_run:
        rules_digest(conn, workspace, now, record=True)
    row = {"source": source, "dry_run": dry_run, "actor": actor}
    key = {"workspace": workspace.name, "id": run_id}
    begun = upsert(conn, t.runs, key, {**row, "status": "reading", "started_at": now, **more}, keep=True)
    if not begun:
        raise AlreadyRan(
            f"source {source}: another worker took its run of {more['scheduled_at']:%Y-%m-%d %H:%M:%S} UTC"
        )


def abandon(conn: Connection, workspace: str, source: str, now: datetime) -> None:
    """Close the runs of this source whose process vanished. Called with the lease: nobody else is working on it.
    What had begun to apply is not closed, since it is finished next. A dry run has no lease, so it gets a day."""
    r = t.runs.c
    conn.execute(
        update(t.runs)
        .where(
            r.workspace == workspace,
            r.source == source,
            r.status.in_(("reading", "deciding")),
            or_(r.dry_run.is_(False), r.started_at < now - timedelta(days=1)),
        )
        .values(status="failed", finished_at=now, message="its process ended before it did")
    )
    # It may have been killed while it stored its plan.
    ended = select(r.id).where(r.workspace == workspace, r.source == source, r.status.in_(("failed", "stopped")))
    conn.execute(delete(t.run_items).where(t.run_items.c.workspace == workspace, t.run_items.c.run_id.in_(ended)))


def orphaned(conn: Connection, workspace: str, source: str) -> bool:
    """Whether a run of this source was left behind by a process that vanished."""
    r = t.runs.c
    under_way = r.status.in_(("reading", "deciding", "applying"))
    where = (r.workspace == workspace, r.source == source, r.dry_run.is_(False), under_way)
    return conn.execute(select(r.id).where(*where).limit(1)).first() is not None and not leases.held(
        conn, workspace, source
    )


def interrupted(conn: Connection, workspace: str, source: str) -> bool:
    """Whether a run of this source had begun to apply, and did not end."""
    r = t.runs.c
    where = (r.workspace == workspace, r.source == source, r.status == "applying")
    return conn.execute(select(r.id).where(*where).limit(1)).first() is not None


def last_scheduled(conn: Connection, workspace: str, source: str) -> datetime | None:
    """The latest time of the schedule that has its run."""
    r = t.runs.c
    where = (r.workspace == workspace, r.source == source)
    found: datetime | None = conn.execute(select(func.max(r.scheduled_at)).where(*where)).scalar_one()
    return found


def missed(conn: Connection, workspace: str, source: str, id: str, times: Sequence[datetime], now: datetime) -> bool:
    """Record that nobody was there at these times of the schedule. False if another worker said so before."""
    first, last = times[0], times[-1]
    message = f"{len(times)} scheduled reads were missed, from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"
    row = {"source": source, "dry_run": False, "status": "missed", "actor": "worker", "started_at": now}
    more = {"finished_at": now, "scheduled_at": last, "message": message}
    upsert(conn, t.workspaces, {"name": workspace}, {"created_at": now}, keep=True)
    return upsert(conn, t.runs, {"workspace": workspace, "id": id}, {**row, **more}, keep=True)


def end(conn: Connection, workspace: str, run_id: str, status: str, now: datetime, **more: Any) -> None:
    r = t.runs.c
    values = {"status": status, "finished_at": now, **more}
    conn.execute(update(t.runs).where(r.workspace == workspace, r.id == run_id).values(**values))
    conn.execute(delete(t.run_items).where(t.run_items.c.workspace == workspace, t.run_items.c.run_id == run_id))


def failed(conn: Connection, workspace: str, run_id: str, message: str, now: datetime, status: str = "failed") -> None:
    """A run that failed, or was stopped. One that had begun to apply stays `applying`, to be finished by the next run."""
    r = t.runs.c
    where = (r.workspace == workspace, r.id == run_id, r.status != "applying")
    conn.execute(update(t.runs).where(*where).values(status=status, finished_at=now, message=message))


def checkpoint(conn: Connection, workspace: str, source: str) -> str | None:
    """From where the next delta of this source goes on."""
    s = t.source_states.c
    return conn.scalar(select(s.checkpoint).where(s.workspace == workspace, s.source == source))


def write_set_aside(conn: Connection, workspace: str, run_id: str, set_aside: Sequence[SetAside]) -> None:
    rows = [
        {"workspace": workspace, "run_id": run_id, "ordinal": index, "entry": each.entry, "why": each.why}
        for index, each in enumerate(set_aside)
    ]
    for batch in facts.batched(rows):
        conn.execute(insert(t.set_aside), batch)


@dataclass(frozen=True, slots=True)
class RunRow:
    id: str
    source: str
    dry_run: bool
    status: str
    actor: str
    started_at: datetime
    finished_at: datetime | None
    digest: str | None
    complete: bool | None
    incomplete_because: tuple[str, ...]
    counts: dict[str, int]
    held: tuple[dict[str, Any], ...]
    message: str | None
    kind: str | None = None  # full | delta | only | rules | import | let_go
    kind_why: str | None = None  # why everything was read, though a delta was wanted
    set_aside: tuple[SetAside, ...] = ()
    drift: int | None = None  # differences that deltas should have told before this whole read


def _run_row(row: Any, set_aside: Sequence[SetAside] = ()) -> RunRow:
    return RunRow(
        row.id,
        row.source,
        row.dry_run,
        row.status,
        row.actor,
        row.started_at,
        row.finished_at,
        row.digest,
        row.complete,
        tuple(row.incomplete_because or ()),
        row.counts or {},
        tuple(row.held or ()),
        row.message,
        row.kind,
        row.kind_why,
        tuple(set_aside),
        row.drift,
    )


def list_runs(conn: Connection, workspace: str, limit: int = 20, source: str | None = None) -> list[RunRow]:
    r = t.runs.c
    query = select(t.runs).where(r.workspace == workspace).order_by(r.started_at.desc(), r.id.desc()).limit(limit)
    return [_run_row(row) for row in conn.execute(query if source is None else query.where(r.source == source))]


def page(
    conn: Connection,
    workspace: str,
    limit: int,
    after: Position | None,
    source: str | None = None,
    status: str | None = None,
) -> Page[RunRow]:
    """Runs, the last first."""
    r = t.runs.c
    query = select(t.runs).where(r.workspace == workspace)
    query = query if source is None else query.where(r.source == source)
    query = query if status is None else query.where(r.status == status)
    if after is not None:
        started = datetime.fromisoformat(str(after.key))
        query = query.where(or_(r.started_at < started, and_(r.started_at == started, r.id < after.id)))
    rows = [_run_row(row) for row in conn.execute(query.order_by(r.started_at.desc(), r.id.desc()).limit(limit + 1))]
    last = rows[limit - 1] if len(rows) > limit else None
    more = Position(last.started_at.isoformat(), last.id) if last is not None else None
    return Page(0, tuple(rows[:limit]), more)


def show_run(conn: Connection, workspace: str, run_id: str) -> RunRow:
    r, s = t.runs.c, t.set_aside.c
    row = conn.execute(select(t.runs).where(r.workspace == workspace, r.id == run_id)).one_or_none()
    if row is None:
        raise NotFound(f"no run {run_id!r} in workspace {workspace}: see `syncd runs list`")
    aside = conn.execute(select(s.entry, s.why).where(s.workspace == workspace, s.run_id == run_id).order_by(s.ordinal))
    return _run_row(row, [SetAside(each.entry, each.why) for each in aside])


def shown_losses(conn: Connection, workspace: str, source: str, digest: str) -> set[bytes]:
    """The losses an earlier plan showed, by its digest (or its first 8 digits or more)."""
    r = t.runs.c
    found = conn.execute(
        select(r.losses)
        .where(r.workspace == workspace, r.source == source, r.digest.startswith(digest, autoescape=True))
        .order_by(r.started_at.desc())
    ).first()
    if found is None or len(digest) < 8:
        raise NotFound(f"no plan of source {source} with digest {digest!r}: run `syncd plan {source}` first")
    packed = found.losses or b""
    return {packed[at : at + 8] for at in range(0, len(packed), 8)}


def user_values(conn: Connection, workspace: Workspace, id: str) -> Mapping[str, Any] | None:
    user = facts.load_users(conn, workspace.name, [id], workspace.precedence).get(id)
    return user.values if user else None


def user_names(conn: Connection, workspace: str, ids: Iterable[str]) -> dict[str, str]:
    u = t.users.c
    return {
        row.id: row.user_name
        for batch in facts.batched(sorted(ids))
        for row in conn.execute(select(u.id, u.user_name).where(u.workspace == workspace, u.id.in_(batch)))
    }
