"""A consistent copy of the whole database, of one moment, while others go on writing. To try things on, or to move engines.

SQLite to SQLite uses SQLite's own backup; otherwise table by table from one snapshot into a schema that the migrations
made. The target must be new: nothing is ever written over.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import func, insert, select, text

from syncd.errors import Conflict, UsageError
from syncd.store import tables as t
from syncd.store.engine import Database
from syncd.store.migrate import upgrade

ROWS = 2000
Step = Callable[[str, int, int | None], None]  # table, rows done, rows there


def target_url(target: str) -> str:
    """`sqlite:///PATH`, `postgresql://...`, or the path of a new SQLite file. Raises UsageError."""
    if target.startswith("postgresql://"):
        return target
    path = target.removeprefix("sqlite:///")
    if "://" in path or not path:
        raise UsageError(f"{target!r} is neither a path nor sqlite:///PATH nor postgresql://...")
    return f"sqlite:///{Path(path).absolute()}"


def copy(source: Database, target: str, step: Step) -> int:
    """Copy all of `source` to `target`; returns the rows copied. Raises Conflict if the target holds something."""
    url = target_url(target)
    if url.startswith("sqlite:///") and Path(url.removeprefix("sqlite:///")).exists():
        raise Conflict(f"{url.removeprefix('sqlite:///')} exists already: name a new file")
    made = Database(url, create=True)
    try:
        if source.dialect == made.dialect == "sqlite":
            return _backup(source, made, step)
        upgrade(made)
        return _tables(source, made, step)
    finally:
        made.close()


def _backup(source: Database, made: Database, step: Step) -> int:
    with source.reading() as old, made.engine.connect() as new:
        pages = 0

        def progress(_: int, remaining: int, total: int) -> None:
            nonlocal pages
            pages = total
            step("pages", total - remaining, total)

        # sqlite3.Connection.backup: copies the state of one moment, other connections may write meanwhile.
        old.connection.driver_connection.backup(  # type: ignore[union-attr]
            new.connection.driver_connection, pages=-1, progress=progress
        )
    with made.reading() as conn:
        return sum(conn.scalar(select(func.count()).select_from(table)) or 0 for table in t.metadata.sorted_tables)


def _tables(source: Database, made: Database, step: Step) -> int:
    copied = 0
    with source.reading() as old, made.writing() as new:
        if source.dialect == "postgresql":
            old.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        for table in t.metadata.sorted_tables:
            if new.scalar(select(func.count()).select_from(table)):
                raise Conflict(f"database {made.display} is not empty (table {table.name}): name a new one")
        for table in t.metadata.sorted_tables:
            total = old.scalar(select(func.count()).select_from(table)) or 0
            done = 0
            step(table.name, 0, total)
            rows = old.execution_options(stream_results=True).execute(select(table)).mappings()
            for batch in rows.partitions(ROWS):
                new.execute(insert(table), [dict(row) for row in batch])
                done += len(batch)
                step(table.name, done, total)
            copied += done
    return copied
