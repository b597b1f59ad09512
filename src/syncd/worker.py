"""The worker process: reads directories when their schedule says so, and keeps the times of everything else.

It decides nothing itself: a due time calls `reconcile`, `Timers` commits what a date brings. Each time of a schedule has one
run, whichever worker takes it; on PostgreSQL the queue hands it to one that is free. A read that fails is tried again with
growing pauses until its schedule comes round; what a vanished worker left behind is finished by whoever sees it first.
Times that passed unseen are made good within the source's grace, and recorded as missed after that.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import orjson
import structlog
from apscheduler.executors.base import BaseExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.date import DateTrigger

from syncd.core.actor import Actor
from syncd.core.snapshot import Live, Source
from syncd.core.workspace import Workspace
from syncd.errors import AlreadyRan, BindRefused, Conflict, Stopped, SyncdError
from syncd.live import Listener
from syncd.reconcile.mapping import DirectoryMapping
from syncd.reconcile.run import reconcile
from syncd.store import leases, run_records
from syncd.store.clock import keep
from syncd.store.engine import Database
from syncd.timers import Timers
from syncd.timetable import Timetable

if TYPE_CHECKING:
    from syncd.store.queue import Queue

TICK_S = 5
SWEEP_S = 30
GRACE_S = 15  # for a batch under way when the process is told to end
FIRST_RETRY_S, LAST_RETRY_S = 30, 900
_SOON = timedelta(seconds=2)
_LOOK_BACK = timedelta(days=7)  # for times that nobody was there to see
log = structlog.get_logger()


@runtime_checkable
class Stoppable(Protocol):
    """A source whose read waits for a network, and can be told not to."""

    def stop(self) -> None: ...


class Sender(Protocol):
    """What brings messages to others, in a thread of its own."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A directory with its times; a run may begin `misfire_grace` after its own."""

    workspace: Workspace
    source: Source
    mapping: DirectoryMapping
    timetable: Timetable
    misfire_grace: timedelta = timedelta(hours=1)
    live: bool = False  # what changed is read as soon as the source says that something did

    @property
    def key(self) -> str:
        return f"{self.workspace.name}/{self.source.name}"


@dataclass(slots=True)
class Worker:
    """`runs`: how many sources are read at the same time. `beat_file`: touched at every heartbeat."""

    database: Database
    directories: Mapping[str, Scheduled]  # by their key
    timers: Timers
    clock: Callable[[], datetime]
    ids: Callable[[], str]
    release: str
    runs: int = 2
    beat_file: Path | None = None
    senders: Sequence[Sender] = ()
    _ending: threading.Event = field(default_factory=threading.Event)
    _under_way: dict[str, bool] = field(default_factory=dict)  # key of a source -> it is read whole
    _failures: dict[tuple[str, bool], int] = field(default_factory=dict)
    _rung: set[str] = field(default_factory=set)  # sources that said so while they were read
    _lock: threading.Lock = field(default_factory=threading.Lock)  # of these three
    _owed: set[str] = field(default_factory=set)  # sources whose whole read came due while a delta was read
    _timers_fence: int | None = None
    _queue: Queue | None = None
    _pool: ThreadPoolExecutor = field(init=False)
    _scheduler: BackgroundScheduler = field(init=False)

    def run(self, wait: Callable[[float], bool], ready: Callable[[], None] = lambda: None) -> None:
        """Work until `wait(seconds)` says True: it sleeps that long, or less when the process is to end.

        `ready` is called after the first heartbeat. Returns when the batches under way are done, or GRACE_S later: the
        caller then ends the process, since a thread that waits for a directory cannot be stopped otherwise.
        """
        self._pool = ThreadPoolExecutor(self.runs, thread_name_prefix="run")
        self._scheduler = BackgroundScheduler(
            timezone="UTC", executors={"default": _Due()}, job_defaults={"coalesce": False, "misfire_grace_time": None}
        )
        if self.database.dialect == "postgresql":
            from syncd.store.queue import Queue  # noqa: PLC0415 - loads a job library that only PostgreSQL needs

            self._queue = Queue(self.database.url, self._taken, self._pool, self.runs)
            self._queue.start()
        self._beat()
        for each in self.directories.values():
            if each.timetable:
                times = _Times(each.timetable)
                self._scheduler.add_job(self._due, times, [each, (), False], next_run_time=self._from(each))
        self._scheduler.start()
        for sender in self.senders:
            sender.start()
        for each in self.directories.values():
            if each.live and isinstance(each.source, Live):
                self._listen(each, each.source)
        ready()
        waited = float(SWEEP_S)
        try:
            while True:
                self._tick()
                if waited >= SWEEP_S:
                    waited = 0
                    self._sweep()
                if wait(TICK_S):
                    break
                waited += TICK_S
        finally:
            self._end()

    # -- the times of a schedule -------------------------------------------------------------------------------------

    def _from(self, each: Scheduled) -> datetime | None:
        """The first time this worker is to see: after the last one that has a run, so that a gap is noticed."""
        now = self.clock()
        last = now
        with suppress(SyncdError), self.database.reading() as conn:
            last = run_records.last_scheduled(conn, each.workspace.name, each.source.name) or now
        return each.timetable.after(min(now, max(last, now - _LOOK_BACK)))

    def _due(self, each: Scheduled, times: Sequence[datetime], whole: bool = False) -> None:
        """Called by the scheduler with every time that came since it last looked. `whole`: another attempt at a whole read."""
        now = self.clock()
        gone = [time for time in times if now - time > each.misfire_grace]
        if gone:
            self._record_missed(each, gone, now)
        if len(gone) < len(times):
            self._hand_out(each, times[-1], whole or any(map(each.timetable.is_whole, times)))

    def _record_missed(self, each: Scheduled, gone: Sequence[datetime], now: datetime) -> None:
        names = {"workspace": each.workspace.name, "source": each.source.name}
        try:
            with self.database.writing() as conn:
                mine = run_records.missed(conn, each.workspace.name, each.source.name, self.ids(), gone, now)
        except SyncdError as exc:
            log.warning("missed_not_recorded", why=str(exc), **names)
            mine = True
        if mine:
            log.warning("run_missed", **names, times=len(gone), first=gone[0].isoformat(), last=gone[-1].isoformat())

    def _hand_out(self, each: Scheduled, when: datetime | None, whole: bool) -> None:
        """To any worker through the queue, or to a thread of this one. `when` None: a run that no time asked for."""
        if self._queue is not None:
            try:
                text = when.isoformat() if when else None
                self._queue.put(each.key, orjson.dumps({"source": each.key, "at": text, "whole": whole}))
                return
            except SyncdError as exc:
                log.warning("queue_passed_by", source=each.key, why=str(exc))
        with self._lock:
            busy = (
                each.key in self._under_way
            )  # its reads take longer than the time between them: they must not pile up
            if busy and whole and not self._under_way[each.key]:
                self._owed.add(each.key)
            if not busy:
                self._under_way[each.key] = whole
        if busy:
            log.info(
                "run_skipped", workspace=each.workspace.name, source=each.source.name, why="it is under way or next"
            )
            return
        self._pool.submit(self._read, each, when, whole)

    def _listen(self, each: Scheduled, source: Live) -> None:
        def checkpoint() -> str | None:
            with self.database.reading() as conn:
                return run_records.checkpoint(conn, each.workspace.name, each.source.name)

        leads = lambda: self._timers_fence is not None  # noqa: E731 - one worker listens
        names = (each.workspace.name, each.source.name)
        Listener(*names, source, checkpoint, lambda: self._ring(each), leads, self._ending).start()

    def _ring(self, each: Scheduled) -> None:
        """Something changed: read it here and now, or again when what is read now is over."""
        with self._lock:
            if each.key in self._under_way:
                self._rung.add(each.key)
                return
            self._under_way[each.key] = False
        with suppress(RuntimeError):  # the pool takes no more: this process ends
            self._pool.submit(self._read, each, None, False)

    def _taken(self, payload: bytes) -> None:
        """A job from the queue, in a thread of the pool."""
        job: dict[str, Any] = orjson.loads(payload)
        each = self.directories.get(job["source"])
        if each is None:
            log.warning("job_not_known", source=job["source"])  # another worker has another configuration
            return
        self._read(each, datetime.fromisoformat(job["at"]) if job["at"] else None, job.get("whole", True))

    # -- one read ----------------------------------------------------------------------------------------------------

    def _read(self, each: Scheduled, when: datetime | None, whole: bool) -> None:
        with self._lock:
            self._under_way[each.key] = whole
        try:
            if self._ending.is_set():
                return
            complete = self._reconcile(each, when, whole)
        except AlreadyRan as exc:
            log.debug("run_taken", why=str(exc))
        except Conflict as exc:
            log.info("run_skipped", workspace=each.workspace.name, source=each.source.name, why=str(exc))
            if whole and each.timetable.delta:  # a delta is under way somewhere, and does not take its place
                self._again(each, whole)
            elif when is None and each.live:  # it rang while another worker reads
                self._scheduler.add_job(
                    self._due,
                    DateTrigger(self.clock() + _SOON),
                    [each, (), False],
                    id=f"rang {each.key}",
                    replace_existing=True,
                )
        except (Stopped, BindRefused):
            pass  # said by the run itself; the next worker goes on, and a wrong password tried again locks the account
        except SyncdError:
            self._again(each, whole)  # said by the run itself, as `source_failed`
        except Exception:
            log.exception("run_crashed", workspace=each.workspace.name, source=each.source.name)
            self._again(each, whole)
        else:
            if complete:
                self._failures.pop((each.key, whole), None)
            else:
                self._again(each, whole)
        finally:
            with self._lock:
                self._under_way.pop(each.key, None)
                owed, rung = each.key in self._owed, each.key in self._rung
                self._owed.discard(each.key)
                self._rung.discard(each.key)
            if owed and not self._ending.is_set():
                self._hand_out(each, None, True)
            elif rung and not self._ending.is_set():
                self._ring(each)

    def _reconcile(self, each: Scheduled, when: datetime | None, whole: bool) -> bool:
        name = each.source.name
        actor = Actor("run", name, each.workspace.name, source=name)
        report = reconcile(
            self.database, each.workspace, each.source, each.mapping, actor, self.clock, self.ids,
            dry_run=False, progress=_Until(self._ending), scheduled_at=when,
            delta=each.timetable.delta and not whole,
        )  # fmt: skip
        return report.complete

    def _again(self, each: Scheduled, whole: bool) -> None:
        """Once more after a pause that doubles, unless the schedule comes round before. No delta stands in for a whole read."""
        times = self._failures[each.key, whole] = self._failures.get((each.key, whole), 0) + 1
        pause_s = min(LAST_RETRY_S, FIRST_RETRY_S * 2 ** (times - 1)) * random.uniform(0.8, 1.2)  # noqa: S311
        at = self.clock() + timedelta(seconds=pause_s)
        following = each.timetable.after(self.clock(), whole)
        if (following is None or at < following) and not self._ending.is_set():
            self._scheduler.add_job(
                self._due, DateTrigger(at), [each, (), whole], id=f"again {each.key} {whole}", replace_existing=True
            )
            log.info(
                "run_again", workspace=each.workspace.name, source=each.source.name, in_s=round(pause_s), failed=times
            )

    # -- everything else ---------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        try:
            self._beat()
            if self._leads():
                self.timers.tick()
        except SyncdError as exc:
            log.warning("tick_missed", why=str(exc))

    def _beat(self) -> None:
        if self.beat_file is not None:
            self.beat_file.touch()
        with self.database.writing() as conn:
            leases.beat(conn, "worker", self.release)
        keep(self.clock)

    def _leads(self) -> bool:
        """One worker at a time keeps the times that belong to no source."""
        with self.database.writing() as conn:
            try:
                if self._timers_fence is None:
                    self._timers_fence = leases.take(conn, "", "timers", "timers")
                else:
                    leases.renew(conn, "", "timers", self._timers_fence)
            except Conflict:
                self._timers_fence = None
        return self._timers_fence is not None

    def _sweep(self) -> None:
        """Runs that a vanished process left behind are finished, whatever became of their place in the queue."""
        self._look_at_the_clock()
        for each in self.directories.values():
            if each.key in self._under_way:
                continue
            try:
                with self.database.reading() as conn:
                    left = run_records.orphaned(conn, each.workspace.name, each.source.name)
            except SyncdError as exc:
                log.warning("sweep_missed", why=str(exc))
                return
            if left:
                log.warning("run_left_behind", workspace=each.workspace.name, source=each.source.name)
                self._hand_out(each, None, True)

    def _look_at_the_clock(self) -> None:
        """Set forward, it has passed times that the scheduler sleeps towards; set back, it has them again before it."""
        now = self.clock()
        for job in self._scheduler.get_jobs():
            each, _, whole = job.args
            following = each.timetable.after(now, whole)
            if following is not None and job.next_run_time > following + timedelta(seconds=1):
                job.modify(next_run_time=following)
        self._scheduler.wakeup()

    def _end(self) -> None:
        self._ending.set()
        for each in self.directories.values():
            if isinstance(each.source, Stoppable):
                each.source.stop()
        self._scheduler.shutdown(wait=False)
        for sender in self.senders:
            sender.stop()
        ended = threading.Thread(target=self._drain, daemon=True)
        ended.start()
        ended.join(GRACE_S)
        if ended.is_alive():
            log.warning("run_cut_off", sources=sorted(self._under_way))
        with suppress(SyncdError), self.database.writing() as conn:
            leases.release_all(conn)
            leases.gone(conn)

    def _drain(self) -> None:
        if self._queue is not None:
            self._queue.stop()
        self._pool.shutdown(cancel_futures=True)


class _Times(BaseTrigger):  # type: ignore[misc]
    """A timetable as the scheduler wants it."""

    def __init__(self, timetable: Timetable) -> None:
        self._timetable = timetable

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime | None:
        return self._timetable.after(previous or now)


class _Due(BaseExecutor):  # type: ignore[misc]
    """Hands the times that came to the job's function at once: the work itself is done elsewhere."""

    def _do_submit_job(self, job: Any, times: list[datetime]) -> None:
        each, _, whole = job.args
        job.func(each, times, whole)
        self._run_job_success(job.id, [])


@dataclass(frozen=True, slots=True)
class _Until:
    """A run's progress, which stops it between two steps once the process is to end."""

    ending: threading.Event

    def step(self, name: str, done: int, total: int | None) -> None:
        if self.ending.is_set():
            raise Stopped("the worker was told to end; the next run goes on from here")
