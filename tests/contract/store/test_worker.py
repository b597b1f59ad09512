"""The worker over a real store, with a clock and a source that the test moves: each time once, gaps, retries, the end."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from syncd import live
from syncd import worker as worker_module
from syncd.core.snapshot import Certificate
from syncd.core.workspace import SourcePolicy, Workspace
from syncd.errors import BindRefused, IncompleteRead, SourceUnreachable
from syncd.reconcile.mapping import compile_mapping
from syncd.store import leases, run_records
from syncd.store import tables as t
from syncd.store.engine import Database
from syncd.timers import Timers
from syncd.timetable import Timetable
from syncd.worker import Scheduled, Worker

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
MAPPING = compile_mapping({"userName": "uid"})


@dataclass
class Source:
    """Reads nobody, and whatever `reading` does meanwhile."""

    name: str = "corp"
    reading: Callable[[], None] = lambda: None
    reads: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    def read(self, now: datetime) -> Source:
        self.reads += 1
        self.reading()
        return self

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def certificate(self) -> Certificate:
        return Certificate()

    def close(self) -> None:
        pass

    def stop(self) -> None:
        self.stopped.set()


@dataclass
class Machine:
    """One worker in this process."""

    database: Database
    source: Source
    now: datetime = NOON
    ended: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None
    log: list[Any] = field(default_factory=list)

    def start(self, timetable: Timetable, grace: timedelta = timedelta(hours=1), live: bool = False) -> None:
        workspace = Workspace(sources={"corp": SourcePolicy("corp", "ldif")})
        numbers = itertools.count(time.time_ns())
        each = Scheduled(workspace, self.source, MAPPING, timetable, grace, live)
        clock = lambda: self.now  # noqa: E731
        ids = lambda: f"{next(numbers)}"  # noqa: E731
        timers = Timers(self.database, {"default": workspace}, clock, ids)
        working = Worker(self.database, {each.key: each}, timers, clock, ids, "test")
        ready = threading.Event()
        self.thread = threading.Thread(target=lambda: working.run(lambda _: self.ended.wait(0.05), ready.set))
        self.thread.start()
        assert ready.wait(20)

    def end(self) -> None:
        self.ended.set()
        if self.thread is not None:
            self.thread.join(30)
            assert not self.thread.is_alive()
            self.thread = None
        self.ended.clear()

    def runs(self) -> list[tuple[str, datetime | None]]:
        r = t.runs.c
        with self.database.reading() as conn:
            return [tuple(row) for row in conn.execute(select(r.status, r.scheduled_at).order_by(r.started_at, r.id))]

    def tries_again(self, times: int) -> None:
        """It failed so often, and the job is over: on PostgreSQL one that is not keeps the next one out of the queue."""
        self.wait_for(lambda: len(events(self, "run_again")) == times)
        if self.database.dialect == "postgresql":
            with self.database.reading() as conn:
                self.wait_for(lambda: not conn.exec_driver_sql("SELECT count(*) FROM syncd_pgqueuer").scalar())

    def wait_for(self, true: Callable[[], bool]) -> None:
        until = time.monotonic() + 20
        while not true():
            assert time.monotonic() < until, self.runs()
            time.sleep(0.02)


@pytest.fixture
def machine(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.setattr("apscheduler.schedulers.base.datetime", Frozen)
    database = Database(database_url)
    found = Machine(database, Source())
    Frozen.machine = found
    with capture_logs() as found.log:
        yield found
        found.end()
    database.close()


class Frozen(datetime):
    """The scheduler's clock is the test's."""

    machine: Machine

    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return cls.machine.now.astimezone(tz)


def at(hour: int, minute: int = 0) -> datetime:
    return NOON.replace(hour=hour, minute=minute)


HOURLY = Timetable("0 * * * *")


def events(machine: Machine, name: str) -> list[Any]:
    return [each for each in machine.log if each["event"] == name]


def test_each_time_has_its_run_once(machine: Machine) -> None:
    machine.start(HOURLY)
    machine.now = at(13)
    machine.wait_for(lambda: machine.runs() == [("clean", at(13))])
    machine.end()
    machine.start(HOURLY)  # starts anew within the same hour
    machine.now = at(13, 30)
    time.sleep(0.3)
    assert machine.runs() == [("clean", at(13))]
    machine.now = at(14)
    machine.wait_for(lambda: machine.runs() == [("clean", at(13)), ("clean", at(14))])


def test_a_time_that_passed_unseen_is_made_good_within_the_grace(machine: Machine) -> None:
    machine.start(HOURLY)
    machine.now = at(13)
    machine.wait_for(lambda: len(machine.runs()) == 1)
    machine.end()
    machine.now = at(14, 20)
    machine.start(HOURLY)
    machine.wait_for(lambda: machine.runs()[1:] == [("clean", at(14))])
    assert not events(machine, "run_missed")


def test_times_beyond_the_grace_are_recorded_as_missed(machine: Machine) -> None:
    machine.start(HOURLY)
    machine.now = at(13)
    machine.wait_for(lambda: len(machine.runs()) == 1)
    machine.end()
    machine.now = at(18, 30)
    machine.start(HOURLY, grace=timedelta(minutes=10))
    machine.wait_for(lambda: len(machine.runs()) == 2)
    assert machine.runs()[1:] == [("missed", at(18))]
    assert [each["times"] for each in events(machine, "run_missed")] == [5]
    machine.now = at(19)
    machine.wait_for(lambda: machine.runs()[2:] == [("clean", at(19))])
    with machine.database.reading() as conn:
        (row,) = [each for each in run_records.list_runs(conn, "default") if each.status == "missed"]
    assert row.message == "5 scheduled reads were missed, from 2030-01-01 14:00 to 2030-01-01 18:00 UTC"


def test_a_source_that_fails_is_tried_again_with_growing_pauses(machine: Machine) -> None:
    def gone() -> None:
        raise SourceUnreachable("source corp: connection refused")

    machine.source.reading = gone
    machine.start(HOURLY)
    machine.now = at(13)
    machine.tries_again(1)
    machine.now = at(13, 1)
    machine.tries_again(2)
    first, second = (each["in_s"] for each in events(machine, "run_again"))
    assert 24 <= first <= 36 and 48 <= second <= 72
    machine.source.reading = lambda: None
    machine.now = at(13, 4)
    machine.wait_for(lambda: [status for status, _ in machine.runs()] == ["failed", "failed", "clean"])


def test_a_refused_password_is_not_tried_again(machine: Machine) -> None:
    def refused() -> None:
        raise BindRefused("source corp: the password is wrong")

    machine.source.reading = refused
    machine.start(HOURLY)
    machine.now = at(13)
    machine.wait_for(lambda: [status for status, _ in machine.runs()] == ["failed"])
    machine.now = at(13, 30)
    time.sleep(0.3)
    assert machine.source.reads == 1
    machine.now = at(14)
    machine.wait_for(lambda: machine.source.reads == 2)


def test_the_end_stops_a_read_and_leaves_no_lease(machine: Machine) -> None:
    machine.source.reading = lambda: machine.source.stopped.wait(20) and None  # type: ignore[func-returns-value]
    machine.start(HOURLY)
    machine.now = at(13)
    machine.wait_for(lambda: machine.source.reads == 1)
    machine.end()
    assert [status for status, _ in machine.runs()] == ["stopped"]
    with machine.database.reading() as conn:
        assert conn.execute(select(t.leases)).all() == [] and conn.execute(select(t.processes)).all() == []


def test_what_cannot_be_stopped_is_left_without_its_lease(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "GRACE_S", 0.3)
    going_on = threading.Event()
    machine.source.reading = lambda: going_on.wait(20) and None  # type: ignore[func-returns-value]
    machine.start(HOURLY)
    machine.now = at(13)
    machine.wait_for(lambda: machine.source.reads == 1)
    machine.end()
    with machine.database.reading() as conn:
        assert not leases.held(conn, "default", "corp")
    assert events(machine, "run_cut_off")
    going_on.set()  # what woke too late writes nothing: its lease is gone
    machine.wait_for(lambda: machine.runs()[0][0] != "reading")
    assert [status for status, _ in machine.runs()] in (["failed"], ["stopped"])


def test_what_a_vanished_worker_left_is_finished(machine: Machine) -> None:
    with machine.database.writing() as conn:
        workspace = Workspace(sources={"corp": SourcePolicy("corp", "ldif")})
        run_records.begin(conn, workspace, "r0", "corp", False, "corp", NOON, scheduled_at=at(12))
    machine.start(HOURLY)
    machine.wait_for(lambda: sorted(status for status, _ in machine.runs()) == ["clean", "failed"])
    assert events(machine, "run_left_behind")


def test_a_clock_set_back_does_not_silence_the_schedule(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "SWEEP_S", 0)
    machine.start(HOURLY)
    machine.now = at(13)
    machine.wait_for(lambda: len(machine.runs()) == 1)
    machine.now = at(5, 30)
    time.sleep(0.3)
    machine.now = at(6)
    machine.wait_for(lambda: ("clean", at(6)) in machine.runs())


@dataclass
class Telling(Source):
    """Also says what changed, which is nothing."""

    deltas: int = 0
    listening: Callable[[], None] = lambda: None

    def changes(self, checkpoint: str, now: datetime) -> Telling:
        self.deltas += 1
        self.listening()
        return self

    def again(self, keys: Iterable[str]) -> Iterator[Any]:
        return iter(())

    def certificate(self) -> Certificate:
        return Certificate(checkpoint="here")


BOTH = Timetable("0 15 * * *", timedelta(hours=1))


def kinds(machine: Machine) -> list[tuple[str, str | None]]:
    r = t.runs.c
    with machine.database.reading() as conn:
        return [tuple(row) for row in conn.execute(select(r.status, r.kind).order_by(r.started_at, r.id))]


def test_between_whole_reads_what_changed_is_read(machine: Machine) -> None:
    machine.source = source = Telling()
    machine.start(BOTH)
    for hour, expected in ((13, "full"), (14, "delta"), (15, "full"), (16, "delta")):
        machine.now = at(hour)
        machine.wait_for(lambda hour=hour: len(machine.runs()) == hour - 12)  # type: ignore[misc]
        machine.wait_for(lambda expected=expected: kinds(machine)[-1] == ("clean", expected))  # type: ignore[misc]
    assert (source.reads, source.deltas) == (2, 3)  # the second whole read asks what deltas would have told


def test_no_delta_stands_in_for_a_whole_read(machine: Machine) -> None:
    """One that failed is tried again as such, and one that came due while a delta was read follows it."""
    machine.source = source = Telling()
    machine.start(BOTH)
    machine.now = at(14)
    machine.wait_for(lambda: kinds(machine) == [("clean", "full")])

    def gone() -> None:
        raise SourceUnreachable("source corp: connection refused")

    source.reading = gone
    machine.now = at(15)
    machine.tries_again(1)
    source.reading = lambda: None
    machine.now = at(15, 1)
    machine.wait_for(lambda: kinds(machine)[1:] == [("failed", None), ("clean", "full")])
    if machine.database.dialect == "sqlite":  # on PostgreSQL the queue keeps it
        waiting = threading.Event()
        source.listening = lambda: waiting.wait(20) and None  # type: ignore[func-returns-value]
        machine.now = at(16)
        machine.wait_for(lambda: source.deltas == 2)  # the whole read before it asked once
        machine.now = at(15) + timedelta(days=1)
        machine.wait_for(lambda: bool(events(machine, "run_skipped")))
        waiting.set()
        machine.wait_for(lambda: {("clean", "delta"), ("clean", "full")} <= set(kinds(machine)[3:]))


@dataclass
class Ringing(Telling):
    """Also says at once that something changed; None breaks the connection."""

    bells: queue.Queue[str | None] = field(default_factory=queue.Queue)
    listened: list[str] = field(default_factory=list)

    def listen(self, checkpoint: str) -> Iterator[None]:
        self.listened.append(checkpoint)
        while self.bells.get() is not None:
            yield None
        raise IncompleteRead("the connection broke")


def test_what_rings_is_read_at_once_and_what_rings_meanwhile_after_it(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "FIRST_PAUSE_S", 0.05)
    machine.source = source = Ringing()
    machine.start(BOTH, live=True)
    try:
        machine.now = at(13)
        machine.wait_for(lambda: kinds(machine) == [("clean", "full")])
        machine.wait_for(lambda: source.listened == ["here"])
        source.bells.put("a")
        machine.wait_for(lambda: kinds(machine)[1:] == [("clean", "delta")])
        reading = threading.Event()
        source.listening = lambda: reading.wait(20) and None  # type: ignore[func-returns-value]
        source.bells.put("b")
        machine.wait_for(lambda: source.deltas == 2)
        source.bells.put(None)  # listened to anew, and rung, while the delta is read
        machine.wait_for(lambda: len(source.listened) == 2)
        source.bells.put("c")
        machine.wait_for(source.bells.empty)
        reading.set()
        machine.wait_for(lambda: kinds(machine)[1:] == [("clean", "delta")] * 3)
        assert [when for _, when in machine.runs()][1:] == [None] * 3
    finally:
        source.bells.put(None)
