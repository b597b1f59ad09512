"""How connections are made, for each driver: what is set on them, how a transaction begins, and how long anything waits."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DisconnectionError

from syncd.errors import DatabaseUnavailable
from syncd.store.raw import MOVED, settle
from syncd.store.unmoved import WRITTEN

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

_POLL_S = 0.0015  # SQLite's own waiting sleeps up to 100 ms at a time, and so misses the pauses between a run's batches
_BUSY_TIMEOUT_S = 1  # for what finds SQLite's file busy and is no write, such as its recovery
_CONNECT_S = 10
COMMAND_S = 60  # the web's: the server has given up before, unless it hangs itself
_LOCK_S = 20  # for what another transaction holds
_STATEMENT_S = 30  # the web's
# A server that is gone without a word is noticed within 30 s, by the kernel.
_PSYCOPG = {
    "connect_timeout": _CONNECT_S,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


def sqlite(path: Path, create: bool) -> Engine:
    """Raises DatabaseUnavailable where there is no file, unless `create`."""
    _look_for(path, create)
    engine = create_engine(
        f"sqlite:///{path}",
        creator=lambda: _open_sqlite(path, create),
        hide_parameters=True,  # an error that is logged shows no attribute's value
        json_serializer=_json,
        pool_use_lifo=True,  # what was read is written on the same connection, if nobody else has it
    )
    _prepare_sqlite(engine)
    return engine


def psycopg(url: URL, pool_size: int) -> Engine:
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_size=pool_size,
        hide_parameters=True,
        json_serializer=_json,
        pool_pre_ping=True,  # a round trip a transaction, which a run's batches do not feel
        connect_args=_PSYCOPG,
    )
    _prepare_postgresql(engine, {"lock_timeout": _LOCK_S})
    return engine


def asyncpg(url: URL, pool_size: int) -> AsyncEngine:
    # It loads all of the object mapper, and only the web on PostgreSQL needs it.
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415 - as said

    engine = create_async_engine(
        url.set(drivername="postgresql+asyncpg"),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=_CONNECT_S,
        hide_parameters=True,
        json_serializer=_json,
        connect_args={"timeout": _CONNECT_S, "command_timeout": COMMAND_S},
    )
    _prepare_postgresql(engine.sync_engine, {"lock_timeout": _LOCK_S, "statement_timeout": _STATEMENT_S})
    event.listen(engine.sync_engine, "checkout", _refuse_closed)
    return engine


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _look_for(path: Path, create: bool) -> None:
    try:
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
        elif not path.is_file():
            raise DatabaseUnavailable(f"no database at {path}: create it with `syncd db upgrade`")
    except OSError as exc:
        raise DatabaseUnavailable(f"no way to a database at {path}: {exc.strerror}: {exc.filename}") from exc


def _open_sqlite(path: Path, create: bool) -> sqlite3.Connection:
    """Never makes a file by mistake: one that was taken away must not come back empty."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}",
        uri=True,
        timeout=_BUSY_TIMEOUT_S,
        check_same_thread=False,
    )


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_S * 1000}")
        cursor.close()

    @event.listens_for(engine, "before_cursor_execute")
    def on_execute(conn: Connection, *_: Any) -> None:
        settle(conn)

    @event.listens_for(engine, "begin")
    def on_begin(conn: Connection) -> None:
        conn.info.pop(MOVED, None)
        begun = conn.info.pop("begun", False)
        alone = conn.get_execution_options().get("isolation_level") == "AUTOCOMMIT"
        if begun or alone or "write_by" in conn.info:
            conn.info[WRITTEN] = conn.info.get(WRITTEN, 0) + 1
        if begun or alone:
            return
        if "write_by" not in conn.info:
            conn.exec_driver_sql("BEGIN")
            return
        connection: Any = conn.connection.driver_connection
        connection.execute("PRAGMA busy_timeout=0")
        try:
            if not _begun(connection, conn.info["write_by"]):
                conn.exec_driver_sql("BEGIN IMMEDIATE")  # once more, so that what SQLite says is raised as ever
        finally:
            connection.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_S * 1000}")


def _begun(connection: sqlite3.Connection, by: float) -> bool:
    """Take the write lock as soon as it is free; False if it is not by then (monotonic), or something else is wrong."""
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            return True
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= by:
                return False
        time.sleep(_POLL_S * random.uniform(0.5, 1.5))  # noqa: S311 - no secret


def _prepare_postgresql(engine: Engine, limits_s: Mapping[str, int]) -> None:
    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _: Any) -> None:
        cursor = connection.cursor()
        settings = ", ".join(f"set_config('{name}', '{seconds}s', false)" for name, seconds in limits_s.items())
        cursor.execute(f"SELECT {settings}")
        cursor.close()
        connection.commit()

    @event.listens_for(engine, "begin")
    def on_begin(conn: Connection) -> None:
        conn.info.pop(MOVED, None)


def _refuse_closed(connection: Any, _: Any, __: Any) -> None:
    """asyncpg knows by itself when the server closed an idle connection: the pool then opens another, unasked."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError
