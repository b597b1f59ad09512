"""One Database, two engines, and who may use it how.

SQLite (WAL): point reads run in the caller on one held autocommit connection; every write has its turn at the process's one
writer with BEGIN IMMEDIATE, those that wait at once together (store/writer.py). PostgreSQL: the web reads and writes through
asyncpg (`run_sync`), the command line and the worker through psycopg. The door is the same synchronous function everywhere.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.util import greenlet_spawn

from syncd.errors import DatabaseUnavailable
from syncd.store import connections
from syncd.store.raw import AGAIN, LASTS, READING, Crossing
from syncd.store.unavailable import unavailable
from syncd.store.writer import Writer

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

T = TypeVar("T")
log = structlog.get_logger()
_WRITE_S = 30  # how long a write waits for SQLite's lock
_WEB_WRITE_S = 20  # the same for a request, its place in the queue of the writer thread included
_GIVE_WAY_S = 0.01
_LONG_S = 0.1
_READ_CACHE_KIB = (
    64 * 1024
)  # of the web's held connection: SQLite's own 2 MiB holds no level of an index over 100,000 users
_WAL_PAGES = 4000  # of 4 KiB, after which who writes in the event loop moves them into the file itself, once for long
_WRITE_CACHE_KIB = 32 * 1024  # the same of the connection on which the event loop writes
_OF_A_LOAD = (f"cache_size=-{32 * 1024}", "wal_autocheckpoint=16000")  # the same while a first load is written
# What a savepoint keeps would go to a temporary file.
_OF_THE_LOOP = (
    *(f"wal_autocheckpoint={_WAL_PAGES}", f"cache_size=-{_WRITE_CACHE_KIB}"),
    *("busy_timeout=0", "temp_store=MEMORY"),
)
_rehearsing: ContextVar[bool] = ContextVar("rehearsing", default=False)
Turn = Callable[[Callable[[Connection], Any]], Awaitable[Any]]
_stage: ContextVar[Turn | None] = ContextVar("stage", default=None)
_RETRIED = {"40001", "40P01"}  # serialization failure, deadlock detected
_ATTEMPTS: Final = 5  # then the client is to come again
_First = Callable[[Connection], None] | None  # what the attempt before found to be locked first


@contextmanager
def rehearsal() -> Iterator[None]:
    """Within it `Database.write` does its work, returns what came of it, and rolls it back."""
    before = _rehearsing.set(True)
    try:
        yield
    finally:
        _rehearsing.reset(before)


class _Undone(Exception):
    """Carries the result of a rehearsal out of its transaction."""

    def __init__(self, result: Any) -> None:
        self.result = result


class Database:
    """`url`: `sqlite:///PATH` or `postgresql://...`. SQLite files are opened only if they exist, unless `create`."""

    def __init__(self, url: str, create: bool = False, pool_size: int = 8) -> None:
        self.url = url
        parsed = make_url(url)
        self.dialect = parsed.get_backend_name()
        self.display = parsed.render_as_string(hide_password=True)
        self._async: AsyncEngine | None = None
        self._async_reading: Engine | None = None
        self._async_unmoved: Engine | None = None
        self._held: Connection | None = None
        self._held_writing: Connection | None = None
        self._writer: Writer | None = None
        self._loading = False
        self.on_writer_wait: Callable[[float], object] = lambda waited_s: None  # told when each has its turn
        if self.dialect == "sqlite":
            self.path = Path(parsed.database or "")
            self.engine = connections.sqlite(self.path, create)
        elif self.dialect == "postgresql":
            self.engine = connections.psycopg(parsed, pool_size)
            self._pool_size = pool_size
        else:
            raise DatabaseUnavailable(f"database {self.display}: only sqlite:/// and postgresql:// are supported")

    @property
    def writes_waiting(self) -> int:
        """For SQLite's writer thread, those being done included."""
        return self._writer.waiting if self._writer is not None else 0

    def _waited(self, waited_s: float) -> None:
        self.on_writer_wait(waited_s)

    # -- synchronous: the command line, the worker, migrations ------------------------------------------------------

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent view of the database; nothing may be written."""
        with self._available(), self.engine.connect() as conn:
            yield conn
            conn.rollback()

    @contextmanager
    def writing(self, wait_s: float = _WRITE_S) -> Iterator[Connection]:
        """One write transaction. Ends in commit, or in rollback on an exception. `wait_s`: for SQLite's lock."""
        with self._available(), self.engine.connect() as conn:
            if self.dialect == "sqlite":
                conn.info["write_by"] = time.monotonic() + wait_s
                if self._loading:
                    for pragma in _OF_A_LOAD:
                        conn.connection.cursor().execute(f"PRAGMA {pragma}")
            try:
                with conn.begin():
                    yield conn
            finally:
                conn.info.pop("write_by", None)

    @contextmanager
    def outside_transactions(self) -> Iterator[Connection]:
        """For statements each of which is a transaction of its own."""
        with self._available(), self.engine.connect() as conn:
            yield conn.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Within it much is written by this process: SQLite keeps the pages of indexes in memory from one transaction to the
        next, instead of writing and reading them several times."""
        self._loading = True
        try:
            yield
        finally:
            self._loading = False
            self.engine.dispose()  # closes the connections that have so much

    def give_way(self, held_s: float = 0.0) -> None:
        """Between the batches of a run: who waits for SQLite's lock has it now, instead of losing every race.

        `held_s`: how long the batch had the lock. Where that is long, this niced process gets no processor: then others get as
        much time as it took, or requests would pile up behind it.
        """
        if self.dialect == "sqlite":
            time.sleep(_GIVE_WAY_S if held_s < _LONG_S else min(held_s, _WEB_WRITE_S / 4))

    def write_now(self, work: Callable[[Connection], T], wait_s: float = _WRITE_S) -> T:
        """`work` in a write transaction, tried again when PostgreSQL picked it as a deadlock's victim."""
        first: _First = None
        for attempt in range(_ATTEMPTS):
            try:
                with self.writing(wait_s) as conn, _again(conn, first, attempt):
                    return work(conn)
            except Crossing as exc:
                first = exc.first
            except DBAPIError as exc:
                self._may_retry(exc, attempt)
                time.sleep(0.02 * 2**attempt)
        raise AssertionError("unreachable")

    # -- asynchronous: the web ---------------------------------------------------------------------------------------

    async def read(self, work: Callable[[Connection], T]) -> T:
        if (turn := _stage.get()) is not None:
            seen: T = await turn(work)
            return seen
        if self.dialect == "sqlite":
            return self._read_held(work)
        with self._available(OSError):
            self._pool()
            done: T = await greenlet_spawn(self._read_beside, work)
            return done

    async def read_at_one_moment(self, work: Callable[[Connection], T]) -> T:
        """PostgreSQL: a read of several statements, none of which sees what another process writes between them."""
        if (turn := _stage.get()) is not None:
            seen: T = await turn(work)
            return seen
        with self._available(OSError):
            self._pool()
            done: T = await greenlet_spawn(self._read_unmoved, work)
            return done

    def _read_unmoved(self, work: Callable[[Connection], T]) -> T:
        assert self._async_unmoved is not None
        with self._async_unmoved.begin() as conn:
            return work(conn)

    def _read_beside(self, work: Callable[[Connection], T]) -> T:
        """In a greenlet: all of it in one, instead of one for each step."""
        assert self._async_reading is not None
        with self._async_reading.connect() as conn:
            return work(conn)

    def _write_beside(self, work: Callable[[Connection], T], lasts: bool, first: _First, attempt: int) -> T:
        """The same in a transaction."""
        with self._pool().sync_engine.begin() as conn, _again(conn, first, attempt):
            conn.info[LASTS] = lasts
            return work(conn)

    def _read_held(self, work: Callable[[Connection], T]) -> T:
        with self._available():
            if self._held is None:
                self._held = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT", **{READING: True})
                self._held.exec_driver_sql(f"PRAGMA cache_size=-{_READ_CACHE_KIB}")
            try:
                return work(self._held)
            except DBAPIError:  # the file may have been repaired or replaced: the next one opens it anew
                self._held.invalidate()
                self._held.close()
                self._held = None
                raise

    @contextmanager
    def _writing_here(self) -> Iterator[Connection | None]:
        """As `writing`, on a held connection and without waiting: None if another has SQLite's lock."""
        with self._available():
            if self._held_writing is None:
                self._held_writing = self.engine.connect()
                for pragma in _OF_THE_LOOP:
                    self._held_writing.exec_driver_sql(f"PRAGMA {pragma}")
                self._held_writing.rollback()
            conn = self._held_writing
            try:
                driver: Any = conn.connection.dbapi_connection
                try:
                    driver.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError as exc:
                    if exc.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                        yield None
                        return
                    conn.info["begun"] = True
                    conn.exec_driver_sql("BEGIN IMMEDIATE")  # once more, so that what SQLite says is raised as ever
                conn.info["begun"] = True
                with conn.begin():
                    yield conn
            except DBAPIError:  # the file may have been repaired or replaced
                self._held_writing = None
                conn.invalidate()
                conn.close()
                raise

    def _checkpoint(self) -> None:
        """What the log has goes into the file, as far as nobody reads it there; beside whoever reads and writes."""
        with suppress(DBAPIError), self.engine.connect() as conn:
            conn.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")

    async def write(self, work: Callable[[Connection], T], quick: bool = False) -> T:
        """`work` in a write transaction. `quick`: it takes a millisecond or two, and reads no record and no events."""
        if (turn := _stage.get()) is not None:
            done: T = await turn(work)
            return done
        if not _rehearsing.get():
            return await self._write(work, quick, True)

        def undone(conn: Connection) -> T:
            raise _Undone(work(conn))

        try:
            return await self._write(undone, quick, False)
        except _Undone as rehearsed:
            result: T = rehearsed.result
            return result

    @property
    def rehearses(self) -> bool:
        """Whether what is written now is going to be rolled back."""
        return _rehearsing.get() or _stage.get() is not None

    @asynccontextmanager
    async def staged(self) -> AsyncIterator[None]:
        """A rehearsal of several writes: each sees what those before it wrote, and at the end all of it is rolled back.

        It is one transaction from the first to the last, so on SQLite other writers wait for it.
        """
        stage = self._stage_of_sqlite() if self.dialect == "sqlite" else self._stage_of_postgresql()
        async with stage as turn:
            before = _stage.set(turn)
            try:
                yield
            finally:
                _stage.reset(before)

    @asynccontextmanager
    async def _stage_of_sqlite(self) -> AsyncIterator[Turn]:
        """In a thread of its own, beside the loop and the writer."""
        loop, thread = asyncio.get_running_loop(), ThreadPoolExecutor(1, thread_name_prefix="stage")

        def begun() -> Connection:
            with self._available():
                conn = self.engine.connect()
                conn.info["write_by"] = time.monotonic() + _WEB_WRITE_S
                try:
                    conn.begin()
                except BaseException:
                    conn.close()
                    raise
                finally:
                    conn.info.pop("write_by", None)
                return conn

        async def turn(work: Callable[[Connection], Any]) -> Any:
            def beside() -> Any:
                with self._available(), conn.begin_nested():
                    return work(conn)

            return await loop.run_in_executor(thread, copy_context().run, beside)

        try:
            conn = await loop.run_in_executor(thread, copy_context().run, begun)
            try:
                yield turn
            finally:
                await loop.run_in_executor(thread, conn.close)  # which rolls back
        finally:
            thread.shutdown(wait=False)

    @asynccontextmanager
    async def _stage_of_postgresql(self) -> AsyncIterator[Turn]:
        with self._available(OSError):
            async with self._pool().connect() as conn:
                await conn.begin()

                async def turn(work: Callable[[Connection], Any]) -> Any:
                    with self._available(OSError):
                        try:
                            async with conn.begin_nested():
                                return await conn.run_sync(work)
                        except DBAPIError as exc:
                            if _retried(exc):
                                raise DatabaseUnavailable(
                                    "others write the same rows: try the dry run again", 1
                                ) from exc
                            raise

                try:
                    yield turn
                finally:
                    await conn.rollback()

    async def _write(self, work: Callable[[Connection], T], quick: bool, lasts: bool) -> T:
        if self.dialect == "sqlite":
            if self._writer is None:
                self._writer = Writer(
                    *(self.writing, self._available, self._waited), self._writing_here, self._checkpoint
                )
            return await self._writer.do(work, _WEB_WRITE_S, quick, lasts)
        first: _First = None
        for attempt in range(_ATTEMPTS):
            try:
                with self._available(OSError):
                    done: T = await greenlet_spawn(self._write_beside, work, lasts, first, attempt)
                    return done
            except Crossing as exc:
                first = exc.first
            except DBAPIError as exc:
                self._may_retry(exc, attempt)
                await asyncio.sleep(0.02 * 2**attempt)
        raise AssertionError("unreachable")

    def _may_retry(self, exc: DBAPIError, attempt: int) -> None:
        """Raises it, unless PostgreSQL undid this transaction for another; DatabaseUnavailable after the last attempt."""
        if not _retried(exc):
            raise exc
        if attempt + 1 == _ATTEMPTS:
            what = f"has too many writers of the same rows: undone {_ATTEMPTS} times for others"
            raise _logged(DatabaseUnavailable(f"database {self.display} {what}", 1)) from exc

    def _pool(self) -> AsyncEngine:
        if self._async is None:
            self._async = connections.asyncpg(make_url(self.url), self._pool_size)
            plain = self._async.sync_engine
            self._async_reading = plain.execution_options(**{READING: True})
            self._async_unmoved = plain.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        return self._async

    async def aclose(self) -> None:
        if self._async is not None:
            await self._async.dispose()
        self.close()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        for held in (self._held, self._held_writing):
            if held is not None:
                held.close()
        self.engine.dispose()

    @contextmanager
    def _available(self, *unwrapped: type[Exception]) -> Iterator[None]:
        """`unwrapped`: what the driver lets through. Only where nothing else can raise it, such as our own output."""
        try:
            yield
        except DBAPIError as exc:
            trouble = None if _retried(exc) else unavailable(exc, self.display)
            if trouble is None:
                raise
            raise _logged(trouble) from exc
        except NoConnectionFree as exc:
            what = "has too much to do: no connection came free in time"
            raise _logged(DatabaseUnavailable(f"database {self.display} {what}", 5)) from exc
        except unwrapped as exc:
            what = str(exc) or f"nothing within {connections.COMMAND_S} s"
            raise _logged(DatabaseUnavailable(f"database {self.display} does not answer: {what}", 10)) from exc


def _logged(trouble: DatabaseUnavailable) -> DatabaseUnavailable:
    log.warning("database_unavailable", why=str(trouble))  # clients are not told
    return trouble


@contextmanager
def _again(conn: Connection, first: _First, attempt: int) -> Iterator[None]:
    """A transaction that can be undone and done again, the last attempt excepted: that one waits for whatever it needs."""
    info = conn.info  # a connection that was lost has none any more
    info[AGAIN] = attempt + 1 < _ATTEMPTS
    try:
        if first is not None:
            first(conn)
        yield
    finally:
        info.pop(AGAIN, None)


def _retried(exc: DBAPIError) -> bool:
    return getattr(exc.orig, "sqlstate", None) in _RETRIED
