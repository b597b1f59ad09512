"""Indexes over single values of users, for the filters that clients look people up by (core/types.py: `looked_up`).

They follow the configuration, and so are no part of a migration: `syncd db upgrade`, and `syncd serve` on SQLite, make those
that are missing and drop those that are not wanted any more. An index is over what every filter on its attribute says
(store/search.py), so that the database knows it by itself. On PostgreSQL it holds hashes, which have no longest value, and is
made beside whoever reads and writes.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from typing import Final

from sqlalchemy import Connection

from syncd.core.schema import Resolved
from syncd.core.types import Types, looked_up
from syncd.store.engine import Database
from syncd.store.search import one_value

_BEGIN: Final = "users_by_"
_LOCK: Final = 7305810
_POLL_S: Final = 0.2


def keep(database: Database, types: Iterable[Types]) -> None:
    """Of all workspaces' attributes. Safe to run from several processes at once. Raises DatabaseUnavailable."""
    wanted = {index_name(each): each for one in types for each in looked_up(one)}
    if database.dialect == "sqlite":
        with database.reading() as conn:
            known = _known(conn)
        if known != wanted.keys():
            with database.writing() as conn:
                _settle(conn, wanted)
        return
    with database.outside_transactions() as conn:
        # Who waited for the lock within a statement would be waited for by the other one's CREATE INDEX.
        while not conn.exec_driver_sql(f"SELECT pg_try_advisory_lock({_LOCK})").scalar():
            time.sleep(_POLL_S)
        try:
            _settle(conn, wanted)
        finally:
            conn.exec_driver_sql(f"SELECT pg_advisory_unlock({_LOCK})")


def _settle(conn: Connection, wanted: Mapping[str, Resolved]) -> None:
    known, beside = _known(conn), "" if conn.dialect.name == "sqlite" else "CONCURRENTLY "
    for name in sorted(known - wanted.keys()):
        conn.exec_driver_sql(f"DROP INDEX {beside}IF EXISTS {name}")
    for name in sorted(wanted.keys() - known):
        conn.exec_driver_sql(_made(name, wanted[name], conn))


def index_name(attribute: Resolved) -> str:
    return _BEGIN + hashlib.sha256(attribute.path.encode()).hexdigest()[:20]


def _known(conn: Connection) -> set[str]:
    if conn.dialect.name == "sqlite":
        named = conn.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'users'")
        return {row[0] for row in named if row[0].startswith(_BEGIN)}
    found = conn.exec_driver_sql(
        "SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "WHERE i.indrelid = 'users'::regclass"
    )
    known = {name: whole for name, whole in found if name.startswith(_BEGIN)}
    for name in [name for name, whole in known.items() if not whole]:  # whoever made it was interrupted
        conn.exec_driver_sql(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        del known[name]
    return set(known)


def _made(name: str, attribute: Resolved, conn: Connection) -> str:
    sqlite = conn.dialect.name == "sqlite"
    value = str(one_value(attribute, "sqlite" if sqlite else "postgresql").compile(dialect=conn.dialect))
    if sqlite:
        return f"CREATE INDEX IF NOT EXISTS {name} ON users (workspace, {value}) WHERE {value} IS NOT NULL"
    return f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON users USING hash (({value}))"
