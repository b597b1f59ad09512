"""Whether anybody wrote to a SQLite database since it was read: asked of SQLite itself, instead of by reading all of it again.

`PRAGMA data_version` of a connection changes when another connection has committed something, of whatever process
(https://www.sqlite.org/pragma.html#pragma_data_version). It says nothing of what its own connection wrote: those
transactions are counted where they begin (store/connections.py). PostgreSQL has nothing that tells as much as cheaply.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

WRITTEN: Final = "syncd_written"  # in `Connection.info`: how many transactions that may write began on this connection


@dataclass(frozen=True, slots=True)
class Sight:
    """What a connection saw: its number of the data, and how many transactions had begun to write on it."""

    connection: Any
    version: int
    written: int


def sight(conn: Connection) -> Sight | None:
    """Of the transaction that reads now. None: nobody can tell later."""
    if conn.dialect.name != "sqlite":
        return None
    return Sight(conn.connection.dbapi_connection, _version(conn), conn.info.get(WRITTEN, 0))


def unmoved(conn: Connection, before: Sight | None) -> bool:
    """Whether this transaction, which writes, finds everything as it was seen, but for what it wrote itself."""
    return (
        before is not None
        and conn.connection.dbapi_connection is before.connection
        and conn.info.get(WRITTEN, 0) == before.written + 1
        and _version(conn) == before.version
    )


def _version(conn: Connection) -> int:
    driver: Any = conn.connection.dbapi_connection
    return int(driver.execute("PRAGMA data_version").fetchone()[0])
