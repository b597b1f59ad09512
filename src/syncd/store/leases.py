"""Who works on what: a lease with a fencing token, and the heartbeats of processes.

Both go by one clock: the database's on PostgreSQL, this machine's on SQLite, which only this machine opens. A lease lasts
`LEASE` and is renewed while its run lives. It is void as soon as it ran out, or the process that holds it is seen to be
dead on this machine. Fencing tokens only ever grow, also after a lease was given back, so that whoever slept through the
end of a lease can write nothing.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, delete, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from syncd.errors import Conflict, SyncdError
from syncd.store import tables as t
from syncd.store.engine import Database

LEASE = timedelta(seconds=60)
BEAT = timedelta(seconds=10)
_FENCE = "fence"  # the counter's name among the totals


def moment(conn: Connection) -> datetime:
    """Now, on the clock that all who share this database go by."""
    if conn.dialect.name == "postgresql":
        found: datetime = conn.execute(select(func.clock_timestamp())).scalar_one()
        return found.astimezone(UTC)
    return datetime.now(UTC)


def this_process() -> str:
    """Host, boot and process: tells whether the holder of a lease is a process of this machine, and still that one."""
    return "/".join((_machine(), str(os.getpid()), _started(os.getpid()) or "?"))


def take(conn: Connection, workspace: str, name: str, run_id: str, holder: str | None = None) -> int:
    """The fencing token of a fresh lease on `name`, such as a source. Raises Conflict while another holder is alive."""
    now = moment(conn)
    k = t.leases.c
    fence = _count_fence(conn, workspace)
    values = {"holder": f"{run_id} {holder or this_process()}", "fence": fence, "expires_at": now + LEASE}
    old = conn.execute(select(t.leases).where(k.workspace == workspace, k.name == name)).one_or_none()
    # A lease that outlasts any lease given now was given before the clock was set back.
    void = or_(k.expires_at <= now, k.expires_at > now + 2 * LEASE)
    if old is not None and _dead(_process(old.holder)):
        void = or_(void, k.holder == old.holder)
    insert = (sqlite if conn.dialect.name == "sqlite" else postgresql).insert(t.leases)
    taken = conn.execute(
        insert.values(workspace=workspace, name=name, **values)
        .on_conflict_do_update(index_elements=["workspace", "name"], set_=values, where=void)
        .returning(t.leases.c.fence)
    ).first()
    if taken is None:
        row = conn.execute(select(t.leases).where(k.workspace == workspace, k.name == name)).one()
        raise Conflict(
            f"{name} is being worked on by run {row.holder.partition(' ')[0]}; it is done or given up by "
            f"{row.expires_at:%Y-%m-%d %H:%M:%S} UTC at the latest, unless it renews its lease"
        )
    return fence


def renew(conn: Connection, workspace: str, name: str, fence: int) -> None:
    """Raises Conflict if the lease went to somebody else."""
    k = t.leases.c
    renewed = conn.execute(
        update(t.leases)
        .where(k.workspace == workspace, k.name == name, k.fence == fence)
        .values(expires_at=moment(conn) + LEASE)
    )
    if renewed.rowcount != 1:
        raise Conflict(f"another run took {name} over (fencing token {fence} is old); this one stops")


def release(conn: Connection, workspace: str, name: str, fence: int) -> None:
    k = t.leases.c
    conn.execute(delete(t.leases).where(k.workspace == workspace, k.name == name, k.fence == fence))


def release_when_back(database: Database, workspace: str, name: str, fence: int) -> None:
    """Give a lease back that could not be given back now, because the database is away; else the next run waits a minute."""

    def work() -> None:
        for pause_s in (2, 4, 8, 16, 30):
            time.sleep(pause_s)
            with suppress(SyncdError), database.writing() as conn:
                release(conn, workspace, name, fence)
                return

    threading.Thread(target=work, name=f"release-{name}", daemon=True).start()


def release_all(conn: Connection) -> None:
    """Give back whatever this process still holds, because it ends now, and what dead ones of this machine left."""
    holder = t.leases.c.holder
    ours = [
        each for (each,) in conn.execute(select(holder)) if _process(each) == this_process() or _dead(_process(each))
    ]
    conn.execute(delete(t.leases).where(holder.in_(ours)))


def held(conn: Connection, workspace: str, name: str) -> bool:
    """Whether somebody who may be alive works on it."""
    k = t.leases.c
    row = conn.execute(select(t.leases).where(k.workspace == workspace, k.name == name)).one_or_none()
    now = moment(conn)
    return row is not None and now < row.expires_at <= now + 2 * LEASE and not _dead(_process(row.holder))


class Kept:
    """Renews a lease from a thread of its own while the `with` block runs, also while a slow directory is being read."""

    def __init__(self, database: Database, workspace: str, name: str, fence: int) -> None:
        self._database, self._key, self._fence = database, (workspace, name), fence
        self._lost: str | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"lease-{name}", daemon=True)

    def __enter__(self) -> Kept:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def check(self) -> None:
        """Raises Conflict once the lease is lost. What is being written checks it again in its own transaction."""
        if self._lost is not None:
            raise Conflict(self._lost)

    def _renew(self) -> None:
        good = time.monotonic()
        while not self._ended.wait(LEASE.total_seconds() / 4):
            try:
                with self._database.writing() as conn:
                    renew(conn, *self._key, self._fence)
                good = time.monotonic()
            except Conflict as exc:
                self._lost = str(exc)
            except SyncdError as exc:
                if time.monotonic() - good > LEASE.total_seconds():
                    self._lost = f"the lease on {self._key[1]} ran out: {exc}"


def _count_fence(conn: Connection, workspace: str) -> int:
    insert = (sqlite if conn.dialect.name == "sqlite" else postgresql).insert(t.totals)
    counted = insert.values(workspace=workspace, resource=_FENCE, count=1).on_conflict_do_update(
        index_elements=["workspace", "resource"], set_={"count": t.totals.c.count + 1}
    )
    return int(conn.execute(counted.returning(t.totals.c.count)).scalar_one())


# -- heartbeats ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Process:
    """A web or worker process. `age_s`: since its last heartbeat. `dead`: it is seen not to run any more."""

    id: str
    kind: str  # "web" | "worker"
    host: str
    pid: int
    release: str
    started_at: datetime
    age_s: float
    dead: bool

    @property
    def alive(self) -> bool:
        return not self.dead and self.age_s < 3 * BEAT.total_seconds()


def beat(conn: Connection, kind: str, release: str) -> None:
    """Say that this process lives."""
    now = moment(conn)
    row = {"kind": kind, "host": socket.gethostname(), "pid": os.getpid(), "release": release, "started_at": now}
    insert = (sqlite if conn.dialect.name == "sqlite" else postgresql).insert(t.processes)
    conn.execute(
        insert.values(id=this_process(), **row, beat_at=now).on_conflict_do_update(
            index_elements=["id"], set_={"beat_at": now}
        )
    )


def gone(conn: Connection) -> None:
    """Forget this process, which ends in order, those seen to be dead, and those that were silent for a day."""
    c = t.processes.c
    dead = [each.id for each in processes(conn) if each.dead]
    silent = c.beat_at < moment(conn) - timedelta(days=1)
    conn.execute(delete(t.processes).where(or_(c.id.in_([this_process(), *dead]), silent)))


def processes(conn: Connection) -> list[Process]:
    """All that beat within the last day, the latest first."""
    now = moment(conn)
    rows = conn.execute(select(t.processes).order_by(t.processes.c.beat_at.desc())).all()
    return [
        Process(
            row.id, row.kind, row.host, row.pid, row.release, row.started_at,
            max(0.0, (now - row.beat_at).total_seconds()),
            _dead(row.id),
        )
        for row in rows
    ]  # fmt: skip


# -- processes of this machine ---------------------------------------------------------------------------------------------


def _process(holder: str) -> str:
    return holder.partition(" ")[2]


def _dead(process: str) -> bool:
    """True only if it is certain: a process of this machine, this boot and this namespace that does not run any more."""
    place, _, started = process.rpartition("/")
    machine, _, pid = place.rpartition("/")
    if machine != _machine() or not pid.isdecimal():
        return False
    now_there = _started(int(pid))
    if now_there is None:  # also when /proc hides the processes of others, who then live for all we know
        return not _exists(int(pid))
    return now_there != started


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@cache
def _machine() -> str:
    parts: list[str] = [socket.gethostname()]
    readers: tuple[Callable[[], str], ...] = (
        lambda: Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        lambda: str(Path("/proc/self/ns/pid").readlink()),
    )
    for read in readers:
        try:
            parts.append(read())
        except OSError:  # not Linux: nothing is certain, a lease runs out by itself
            parts.append(os.urandom(8).hex())
    return "+".join(parts)


def _started(pid: int) -> str | None:
    """When a process began, in ticks since boot (field 22 of /proc/PID/stat), "ended" for one that only awaits its burial;
    None if that cannot be seen."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return "ended" if fields[0] in "ZX" else fields[19]
