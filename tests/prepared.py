"""Databases with every table and no row, for a fraction of what the migrations take.

A SQLite file is written from the bytes of one that was migrated. A PostgreSQL database is used by one test after the other:
emptied in between and looked over, and dropped whenever it is not exactly what a migrated one is.
"""

from __future__ import annotations

import functools
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import Connection, sql

from postgres_server import Postgres
from syncd.store.engine import Database
from syncd.store.migrate import revision, upgrade

# Whatever is created, altered or dropped leaves another row, or another version of one (xmin), in these. Emptying a table
# changes rows of pg_class only, in columns that are left out; copying a database changes none.
_CATALOGS = (
    "SELECT concat_ws(' ', oid, relname, relkind, relnatts, relhasindex, relhastriggers, relhasrules, reloptions, relacl)"
    " FROM pg_class WHERE relnamespace NOT IN ('pg_catalog'::regnamespace, 'pg_toast'::regnamespace)",
    "SELECT concat_ws(' ', attrelid, attnum, xmin) FROM pg_attribute WHERE attrelid >= 16384",
    *(f"SELECT concat_ws(' ', oid, xmin) FROM {name} WHERE oid >= 16384"  # the first that is not the server's own
      for name in ("pg_attrdef", "pg_constraint", "pg_trigger", "pg_proc", "pg_type", "pg_enum", "pg_namespace")),
    "SELECT concat_ws(' ', indexrelid, xmin) FROM pg_index WHERE indexrelid >= 16384",
    "SELECT setconfig::text FROM pg_db_role_setting JOIN pg_database ON setdatabase = pg_database.oid"
    " WHERE datname = current_database()",
)  # fmt: skip

_SMALL = 10 * 8192  # of a table that was never analysed, PostgreSQL's planner supposes at least ten pages


def database(url: str) -> Database:
    """Open with every table; made if there is none at `url`."""
    if url.startswith("sqlite:///"):
        file = Path(url.removeprefix("sqlite:///"))
        if not file.exists():
            write(file)
    opened = Database(url, create=True)
    if not revision(opened).up_to_date:
        upgrade(opened)
    return opened


def write(file: Path) -> None:
    """A SQLite database."""
    file.write_bytes(_migrated_file())


@functools.cache
def _migrated_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "syncd.db")
        made = Database(f"sqlite:///{file}", create=True)
        upgrade(made)
        made.close()
        return file.read_bytes()


@dataclass
class Shared:
    """The databases of one cluster. `template`: the name of a migrated one, to be copied when none is free."""

    server: Postgres
    template: str
    _free: list[str] = field(default_factory=list)
    _looking: dict[str, Connection] = field(default_factory=dict)  # to each: a new one would load its catalogs anew
    _kept: frozenset[str] = frozenset()  # tables in which a migrated database has rows
    _wanted: str = ""  # `_looks` of a migrated database

    def __post_init__(self) -> None:
        with psycopg.connect(self.server.url(self.template), autocommit=True) as connection:
            self._kept = frozenset(_filled(connection))
            self._wanted = self._looks(connection)

    def take(self) -> str:
        """A database that nobody else has until it is given back."""
        return self._free.pop() if self._free else self.server.fresh(self.template)

    def give_back(self, url: str) -> None:
        try:
            if url not in self._looking:
                self._looking[url] = psycopg.connect(url, autocommit=True)
            self._empty(self._looking[url])
            sound = self._looks(self._looking[url]) == self._wanted
        except psycopg.Error:  # the test dropped it, or holds a lock in it
            sound = False
        if sound:
            self._free.append(url)
        else:
            if connection := self._looking.pop(url, None):
                connection.close()
            self.server.drop(url)

    def close(self) -> None:
        for connection in self._looking.values():
            connection.close()

    def _empty(self, connection: Connection) -> None:
        connection.execute("SET lock_timeout = '2s'")
        # Whoever is connected still, such as a pool that a test did not close, must not write into the next test.
        connection.execute(
            "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        for name, size in sorted(_filled(connection).items()):
            if name not in self._kept:
                # DELETE is the cheaper by far. A table of some pages is planned as an empty one is; a longer one would not be.
                how = "DELETE FROM {}" if size <= _SMALL else "TRUNCATE {}"
                connection.execute(sql.SQL(how).format(sql.Identifier(name)))
        for (name,) in connection.execute(
            "SELECT sequencename FROM pg_sequences WHERE last_value IS NOT NULL"
        ).fetchall():
            connection.execute(sql.SQL("ALTER SEQUENCE {} RESTART").format(sql.Identifier(name)))

    def _looks(self, connection: Connection) -> str:
        """A digest of the schema, of the database's own settings and of what the kept tables hold, so of the revision too."""
        parts = [sql.SQL(text) for text in _CATALOGS]
        parts += [sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(name)) for name in sorted(self._kept)]
        whole = sql.SQL("SELECT md5(string_agg(row, '|' ORDER BY row)) FROM ({}) rows(row)")
        (digest,) = connection.execute(whole.format(sql.SQL(" UNION ALL ").join(parts))).fetchone()  # type: ignore[misc]
        return str(digest)


def _filled(connection: Connection) -> dict[str, int]:
    """The tables that have or had a row, with their sizes in bytes."""
    sizes = (
        "SELECT relname, pg_relation_size(oid) FROM pg_class"
        " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND pg_relation_size(oid) > 0"
    )
    return dict(connection.execute(sizes).fetchall())
