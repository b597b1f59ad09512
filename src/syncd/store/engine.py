"""One Database, two engines, and who may use it how.

SQLite (WAL): point reads run in the caller on one held autocommit connection; every write runs on the process's one writer
thread with BEGIN IMMEDIATE, so that requests never race for the lock. PostgreSQL: the web reads and writes through asyncpg
(`run_sync`), the command line and the worker through psycopg. The door is the same synchronous function everywhere.
"""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from syncd.errors import DatabaseUnavailable

T = TypeVar("T")
_BUSY_TIMEOUT_S = 30
_NO_CONNECTION = (ConnectionRefusedError, ConnectionResetError, ConnectionAbortedError, TimeoutError, socket.gaierror)
_RETRIED = {"40001", "40P01"}  # serialization failure, deadlock detected


class Database:
    """`url`: `sqlite:///PATH` or `postgresql://...`. SQLite files are opened only if they exist, unless `create`."""

    def __init__(self, url: str, create: bool = False, pool_size: int = 8) -> None:
        self.url = url
        parsed = make_url(url)
        self.dialect = parsed.get_backend_name()
        self.display = parsed.render_as_string(hide_password=True)
        self._async: AsyncEngine | None = None
        self._held: Connection | None = None
        self._writer: ThreadPoolExecutor | None = None
        if self.dialect == "sqlite":
            self.path = Path(parsed.database or "")
            if create:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            elif not self.path.is_file():
                raise DatabaseUnavailable(f"no database at {self.path}: create it with `syncd db upgrade`")
            self.engine = create_engine(
                f"sqlite:///{self.path}",
                connect_args={"timeout": _BUSY_TIMEOUT_S, "check_same_thread": False},
                hide_parameters=True,  # an error that is logged shows no attribute's value
            )
            _prepare_sqlite(self.engine)
        elif self.dialect == "postgresql":
            self.engine = create_engine(
                parsed.set(drivername="postgresql+psycopg"), pool_size=pool_size, hide_parameters=True
            )
            self._async_url = parsed.set(drivername="postgresql+asyncpg")
            self._pool_size = pool_size
        else:
            raise DatabaseUnavailable(f"database {self.display}: only sqlite:/// and postgresql:// are supported")

    # -- synchronous: the command line, the worker, migrations ------------------------------------------------------

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent view of the database; nothing may be written."""
        with self._available(), self.engine.connect() as conn:
            yield conn
            conn.rollback()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One write transaction. Ends in commit, or in rollback on an exception."""
        with self._available(), self.engine.connect() as conn:
            if self.dialect == "sqlite":
                conn.info["immediate"] = True
            try:
                with conn.begin():
                    yield conn
            finally:
                conn.info.pop("immediate", None)

    def write_now(self, work: Callable[[Connection], T]) -> T:
        """`work` in a write transaction, tried again when PostgreSQL picked it as a deadlock's victim."""
        for attempt in range(5):
            try:
                with self.writing() as conn:
                    return work(conn)
            except DBAPIError as exc:
                if not _retried(exc) or attempt == 4:
                    raise
                time.sleep(0.02 * 2**attempt)
        raise AssertionError("unreachable")

    # -- asynchronous: the web ---------------------------------------------------------------------------------------

    async def read(self, work: Callable[[Connection], T]) -> T:
        if self.dialect == "sqlite":
            if self._held is None:
                self._held = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            with self._available():
                return work(self._held)
        with self._available():
            async with self._pool().connect() as conn:
                return await conn.run_sync(work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        if self.dialect == "sqlite":
            if self._writer is None:
                self._writer = ThreadPoolExecutor(1, thread_name_prefix="writer")
            return await asyncio.get_running_loop().run_in_executor(self._writer, self.write_now, work)
        for attempt in range(5):
            try:
                with self._available():
                    async with self._pool().begin() as conn:
                        return await conn.run_sync(work)
            except DBAPIError as exc:
                if not _retried(exc) or attempt == 4:
                    raise
                await asyncio.sleep(0.02 * 2**attempt)
        raise AssertionError("unreachable")

    def _pool(self) -> AsyncEngine:
        if self._async is None:
            self._async = create_async_engine(
                self._async_url, pool_size=self._pool_size, max_overflow=0, hide_parameters=True
            )
        return self._async

    async def aclose(self) -> None:
        if self._async is not None:
            await self._async.dispose()
        self.close()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.shutdown()
        if self._held is not None:
            self._held.close()
        self.engine.dispose()

    @contextmanager
    def _available(self) -> Iterator[None]:
        try:
            yield
        except OperationalError as exc:
            if _retried(exc):
                raise
            raise DatabaseUnavailable(f"database {self.display} does not answer: {_first_line(exc)}") from exc
        except _NO_CONNECTION as exc:  # asyncpg lets these through; a broken pipe of our own output is not one
            raise DatabaseUnavailable(f"database {self.display} does not answer: {exc}") from exc


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_S * 1000}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def on_begin(conn: Connection) -> None:
        if conn.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            conn.exec_driver_sql("BEGIN IMMEDIATE" if conn.info.get("immediate") else "BEGIN")


def _retried(exc: DBAPIError) -> bool:
    return getattr(exc.orig, "sqlstate", None) in _RETRIED


def _first_line(exc: OperationalError) -> str:
    return re.sub(r"\s+", " ", str(exc.orig)).strip()[:300]
