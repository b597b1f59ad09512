"""SQLite's writer: who waits at once is done in one transaction, and each stands or falls by itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Connection, MetaData, Table, Text, text

from door_stage import Directory, Stage, staff
from syncd.errors import DatabaseUnavailable
from syncd.store import leases, writer
from syncd.store.engine import Database, rehearsal
from syncd.store.postponed import POSTPONED, hold_back, postpone
from syncd.store.rows import Rows
from syncd.store.writer import Writer

NAMES = Table("names", MetaData(), Column("name", Text, primary_key=True), Column("workspace", Text))


class Bench:
    """A table of names, and a writer that does nothing until `asked` are waiting."""

    def __init__(self, folder: Path) -> None:
        self.database = Database(f"sqlite:///{folder / 'names.db'}", create=True)
        self.commits = 0
        with self.database.writing() as conn:
            conn.execute(text("CREATE TABLE names (name TEXT PRIMARY KEY, workspace TEXT)"))

    def names(self) -> set[str]:
        with self.database.reading() as conn:
            return set(conn.scalars(text("SELECT name FROM names")))

    def together(self, *works: Callable[[Connection], Any]) -> list[Any]:
        """What became of these, which wait while another has its turn: results, and errors in their places."""
        started, go = threading.Event(), threading.Event()

        def first(_: Connection) -> None:
            started.set()
            go.wait(10)

        async def asking() -> list[Any]:
            ahead = asyncio.create_task(self.database.write(first))
            await asyncio.to_thread(started.wait, 10)
            tasks = [asyncio.create_task(self.database.write(work)) for work in works]
            await asyncio.sleep(0.01)
            self._count_commits()
            go.set()
            found = await asyncio.gather(*tasks, return_exceptions=True)
            await ahead
            return found

        return run(asking())

    def _count_commits(self) -> None:
        made = self.database._writer
        assert made is not None
        before = made._writing

        @contextmanager
        def counted(wait_s: float) -> Iterator[Connection]:
            with before(wait_s) as conn:
                yield conn
            self.commits += 1

        made._writing = counted


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def adding(name: str) -> Callable[[Connection], str]:
    def add(conn: Connection) -> str:
        conn.execute(text("INSERT INTO names (name) VALUES (:name)"), {"name": name})
        return name

    return add


def failing(name: str) -> Callable[[Connection], None]:
    def fail(conn: Connection) -> None:
        adding(name)(conn)
        raise ValueError(name)

    return fail


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.database.close()


def test_who_waits_at_once_is_committed_at_once_and_in_order(bench: Bench) -> None:
    def count(conn: Connection) -> int:
        return int(conn.scalar(text("SELECT count(*) FROM names")) or 0)

    found = bench.together(adding("a"), count, adding("b"), count)
    assert found == ["a", 1, "b", 2]
    assert bench.commits == 1


def test_what_one_raises_undoes_what_that_one_did_and_nothing_else(bench: Bench) -> None:
    found = bench.together(adding("a"), failing("b"), adding("a"), adding("c"))
    assert found[0] == "a"
    assert isinstance(found[1], ValueError)
    assert type(found[2]).__name__ == "IntegrityError"
    assert found[3] == "c"
    assert bench.names() == {"a", "c"}
    assert bench.commits == 1


def test_a_rehearsal_among_others_is_undone_alone(bench: Bench) -> None:
    async def asking() -> list[Any]:
        async def rehearsed() -> Any:
            with rehearsal():
                return await bench.database.write(adding("b"))

        return await asyncio.gather(bench.database.write(adding("a")), rehearsed(), bench.database.write(adding("c")))

    assert run(asking()) == ["a", "b", "c"]
    assert bench.names() == {"a", "c"}


def test_nobody_is_answered_before_the_commit_and_its_failure_is_told_to_all(bench: Bench) -> None:
    @contextmanager
    def uncommitted(wait_s: float) -> Iterator[Connection]:
        with bench.database.writing(wait_s) as conn:
            yield conn
            raise DatabaseUnavailable("no room")

    made = Writer(uncommitted, bench.database._available, lambda _: None)

    async def asking() -> list[Any]:
        return await asyncio.gather(*(made.do(adding(name), 1) for name in "ab"), return_exceptions=True)

    assert [str(each) for each in run(asking())] == ["no room", "no room"]
    assert bench.names() == set()
    made.close()


def test_when_sqlite_itself_rolls_back_the_others_are_done_again(bench: Bench) -> None:
    def broken(conn: Connection) -> None:
        driver: Any = conn.connection.driver_connection
        driver.execute("ROLLBACK")  # as SQLite does by itself when the disk is full
        raise OSError("disk")

    found = bench.together(adding("a"), failing("x"), broken, adding("b"))
    assert found[0] == "a"
    assert isinstance(found[1], ValueError)
    assert isinstance(found[2], OSError)
    assert found[3] == "b"
    assert bench.names() == {"a", "b"}


def test_whose_time_for_the_lock_is_over_is_told_and_the_others_wait_on(bench: Bench) -> None:
    made = Writer(bench.database.writing, bench.database._available, lambda _: None)
    release = threading.Event()
    held = threading.Event()

    def hold() -> None:
        with bench.database.writing():
            held.set()
            release.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(10)

    async def asking() -> list[Any]:
        hasty, patient = (
            asyncio.create_task(made.do(adding(name), wait_s)) for name, wait_s in (("a", 0.05), ("b", 10))
        )
        found = await asyncio.gather(hasty, return_exceptions=True)
        release.set()
        return [*found, await patient]

    found = run(asking())
    assert isinstance(found[0], DatabaseUnavailable)
    assert found[1] == "b"
    assert bench.names() == {"b"}
    holder.join()
    made.close()


def test_a_transaction_takes_in_no_more_when_it_has_lasted_long(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "LONG_S", 0.0)
    assert bench.together(*(adding(name) for name in "abcd")) == ["a", "b", "c", "d"]
    assert bench.commits == 4


def test_whoever_gave_up_waiting_is_passed_over(bench: Bench) -> None:
    started, go = threading.Event(), threading.Event()

    def first(_: Connection) -> None:
        started.set()
        go.wait(10)

    async def asking() -> None:
        ahead = asyncio.create_task(bench.database.write(first))
        await asyncio.to_thread(started.wait, 10)
        gone, stays = (asyncio.create_task(bench.database.write(adding(name))) for name in ("gone", "stays"))
        await asyncio.sleep(0.01)
        gone.cancel()
        await asyncio.sleep(0)
        go.set()
        assert await stays == "stays"
        await ahead

    run(asking())
    assert bench.names() == {"stays"}


# -- in the event loop ---------------------------------------------------------------------------------------------------


def quickly(bench: Bench, *works: Callable[[Connection], Any]) -> list[Any]:
    """What became of these, which all come at once and are quick."""

    async def asking() -> list[Any]:
        asked = (bench.database.write(work, quick=True) for work in works)
        return await asyncio.gather(*asked, return_exceptions=True)

    found: list[Any] = run(asking())
    return found


def where(name: str) -> Callable[[Connection], bool]:
    """Adds the name; True: in the event loop's own thread."""

    def work(conn: Connection) -> bool:
        adding(name)(conn)
        return threading.current_thread() is threading.main_thread()

    return work


def test_what_is_quick_is_done_in_the_event_loop_and_stands_or_falls_by_itself(bench: Bench) -> None:
    found = quickly(bench, where("a"), failing("b"), where("a"), where("c"))
    assert [found[0], found[3]] == [True, True]
    assert isinstance(found[1], ValueError)
    assert type(found[2]).__name__ == "IntegrityError"
    assert bench.names() == {"a", "c"}
    assert quickly(bench, where("d")) == [True]  # and again, when all waiting ones are done


def test_what_is_quick_waits_in_the_thread_while_another_has_the_lock(bench: Bench) -> None:
    with bench.database.writing() as conn:
        adding("other")(conn)

        async def asking() -> bool:
            asked = asyncio.create_task(bench.database.write(where("mine"), quick=True))
            await asyncio.sleep(0.05)
            assert not asked.done()
            await asyncio.to_thread(conn.commit)
            return await asked

        assert run(asking()) is False
    assert bench.names() == {"other", "mine"}
    assert quickly(bench, where("later")) == [True]


def test_what_takes_long_is_done_in_the_thread_and_nobody_overtakes_it(bench: Bench) -> None:
    async def asking() -> list[bool]:
        asked = [bench.database.write(where(name), quick=name != "long") for name in ("a", "long", "b")]
        return list(await asyncio.gather(*asked))

    assert run(asking()) == [False, False, False]
    assert bench.names() == {"a", "long", "b"}


def test_a_rehearsal_in_the_event_loop_is_undone_alone(bench: Bench) -> None:
    async def asking() -> list[Any]:
        async def rehearsed() -> Any:
            with rehearsal():
                return await bench.database.write(adding("b"), quick=True)

        first = bench.database.write(adding("a"), quick=True)
        return await asyncio.gather(first, rehearsed(), bench.database.write(adding("c"), quick=True))

    assert run(asking()) == ["a", "b", "c"]
    assert bench.names() == {"a", "c"}


def postponing(name: str) -> Callable[[Connection], set[str]]:
    """Adds the name, leaves the same with an exclamation mark for the end, and returns what it sees."""

    def adding_later(rows: Rows) -> None:
        rows.insert(NAMES, name=f"{name}!")

    def work(conn: Connection) -> set[str]:
        adding(name)(conn)
        if not postpone(conn, "default", adding_later):
            adding(f"{name}!")(conn)
        return set(conn.scalars(text("SELECT name FROM names")))

    return work


def test_what_is_postponed_is_written_at_the_end_of_the_transaction(bench: Bench) -> None:
    assert quickly(bench, postponing("a"), postponing("b")) == [{"a"}, {"a", "b"}]
    assert bench.names() == {"a", "a!", "b", "b!"}
    assert quickly(bench, postponing("c")) == [{"a", "a!", "b", "b!", "c"}]
    assert bench.names() == {"a", "a!", "b", "b!", "c", "c!"}


def test_what_is_not_quick_sees_what_was_postponed_before_it_and_postpones_nothing(bench: Bench) -> None:
    async def asking() -> list[Any]:
        works = ((postponing("a"), True), (postponing("b"), False), (postponing("c"), True))
        return await asyncio.gather(*(bench.database.write(work, quick=quick) for work, quick in works))

    assert run(asking()) == [{"a"}, {"a", "a!", "b", "b!"}, {"a", "a!", "b", "b!", "c"}]
    assert bench.names() == {"a", "a!", "b", "b!", "c", "c!"}


def test_what_one_raises_undoes_what_it_postponed_too(bench: Bench) -> None:
    def leaving(conn: Connection) -> None:
        assert postpone(conn, "default", lambda rows: rows.insert(NAMES, name="b!")) or adding("b!")(conn)
        raise ValueError("b")

    found = quickly(bench, postponing("a"), leaving, postponing("c"))
    assert isinstance(found[1], ValueError)
    assert bench.names() == {"a", "a!", "c", "c!"}
    assert isinstance(quickly(bench, leaving)[0], ValueError)
    assert bench.names() == {"a", "a!", "c", "c!"}


def test_what_cannot_be_written_at_the_end_is_told_to_all_and_nothing_lasts(bench: Bench) -> None:
    missing = Table("missing", MetaData(), Column("name", Text, primary_key=True), Column("workspace", Text))

    def lost(conn: Connection) -> None:
        postpone(conn, "default", lambda rows: rows.insert(missing, name="lost"))

    found = quickly(bench, adding("a"), lost)
    assert [type(each) for each in found] == [DatabaseUnavailable] * 2
    assert bench.names() == set()
    assert quickly(bench, postponing("b")) == [{"b"}]


def test_when_sqlite_rolls_back_in_the_event_loop_the_others_are_done_again(bench: Bench) -> None:
    def broken(conn: Connection) -> None:
        driver: Any = conn.connection.driver_connection
        driver.execute("ROLLBACK")  # as SQLite does by itself when the disk is full
        raise OSError("disk")

    found = quickly(bench, adding("a"), broken, adding("b"))
    assert found[0] == "a" and isinstance(found[1], OSError) and found[2] == "b"
    assert bench.names() == {"a", "b"}


def test_the_log_is_moved_into_the_file_beside_who_writes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "TO_CHECKPOINT", 2)
    for name in ("alice", "bob", "carol"):
        assert quickly(bench, where(name)) == [True]
    made = bench.database._writer
    assert made is not None
    made.close()  # the thread has done what it was given
    assert b"alice" in bench.database.path.read_bytes()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_run_leaves_the_lock_as_long_as_it_had_it_only_where_requests_may_wait_for_it(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[float] = []
    monkeypatch.setattr(Database, "give_way", lambda _, held_s=0.0: left.append(held_s))
    stage, directory = Stage(database_url), Directory()
    directory.hire(*staff("p", 30))
    stage.run(directory)
    assert not any(left)
    with stage.database.writing() as conn:
        leases.beat(conn, "web", "0.1.0")
    left.clear()
    directory.hire(*staff("q", 30))
    stage.run(directory)
    stage.close()
    assert any(left)


def test_what_one_raises_undoes_what_it_wrote_after_it_had_others_postponed_rows_written(bench: Bench) -> None:
    def nothing(_: Rows) -> None: ...

    def leaving(conn: Connection) -> None:
        assert postpone(conn, "default", nothing) == postpone(conn, "default", nothing)
        if POSTPONED in conn.info:
            hold_back(conn, "default", "a", (), lambda rows: rows.insert(NAMES, name="a"))
        else:
            adding("a")(conn)

    def failing_late(conn: Connection) -> None:
        assert conn.scalar(text("SELECT count(*) FROM names")) == 1  # which writes what was held back
        adding("b")(conn)
        adding("c")(conn)
        raise ValueError("late")

    assert isinstance(quickly(bench, leaving, failing_late)[1], ValueError)
    assert bench.names() == {"a"}


def test_when_postponed_rows_cannot_be_written_each_writes_its_own_and_hears_of_its_own_alone(bench: Bench) -> None:
    def leaving(name: str) -> Callable[[Connection], str]:
        def work(conn: Connection) -> str:
            if POSTPONED in conn.info:
                hold_back(conn, "default", name, (), lambda rows: rows.insert(NAMES, name=name))
            else:
                adding(name)(conn)
            return name

        return work

    def looking(conn: Connection) -> int:
        return int(conn.scalar(text("SELECT count(*) FROM names")) or 0)

    found = quickly(bench, leaving("a"), leaving("b"), leaving("a"))
    assert found[:2] == ["a", "b"] and type(found[2]).__name__ == "IntegrityError"
    found = quickly(bench, leaving("a"), looking, leaving("c"))
    assert type(found[0]).__name__ == "IntegrityError" and found[1:] == [2, "c"]
    assert bench.names() == {"a", "b", "c"}
