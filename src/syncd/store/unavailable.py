"""Which errors of a database are the database's own trouble, and what to do about each.

The code decides: SQLite's primary result code, PostgreSQL's SQLSTATE class (appendix A of its manual). What is a mistake of
ours, such as wrong SQL or a violated constraint, is not among them and stays what it is.
"""

from __future__ import annotations

import re

from sqlalchemy.exc import DBAPIError, OperationalError

from syncd.errors import DatabaseUnavailable

# what is wrong, what to do, after how many seconds a client may try again
_Trouble = tuple[str, str, int]
_UPGRADE: _Trouble = ("has not this release's tables", "run `syncd db upgrade`", 60)
# psycopg has no code for why it could not connect, only libpq's text.
_UNREACHED: _Trouble = ("cannot be reached", "look at its URL and whether the server runs; it goes on by itself", 10)
_SQLITE: dict[int, _Trouble] = {
    3: ("may not be opened", "give the user of syncd the right to it", 60),
    5: ("is locked by another process", "see with `fuser` who has the file open; it goes on by itself", 5),
    6: ("is locked by another connection", "it goes on by itself", 5),
    8: ("cannot be written", "make the file, its -wal and -shm and its folder writable for the user of syncd", 60),
    10: ("cannot be read or written", "look at the disk and the kernel's log", 60),
    11: ("is damaged", "stop syncd and restore the last backup (docs/operations.md)", 300),
    13: ("has no room", "make room on its disk; nothing was half written, and it goes on by itself", 60),
    14: ("cannot be opened", "look whether the file and its folder are there and open to the user of syncd", 60),
    26: (
        "is no SQLite database",
        "look whether the path is right, or restore the last backup (docs/operations.md)",
        300,
    ),
}
_POSTGRESQL: dict[str, _Trouble] = {
    "08": ("lost the connection", "look whether the server runs; it goes on by itself", 10),
    "25006": ("is read-only", "name the primary in the URL, not a standby", 60),
    "28": ("refuses the login", "look at user and password of the URL and at pg_hba.conf", 60),
    "3D": ("is not there", "create it (`createdb`), then run `syncd db upgrade`", 60),
    "42501": ("refuses the right", "let syncd's user own its tables", 60),
    "42703": _UPGRADE,
    "42P01": _UPGRADE,
    "53": ("has no room", "make room on the server's disk, or allow more connections; it goes on by itself", 60),
    "55P03": ("is locked by another transaction", "pg_stat_activity shows whose; it goes on by itself", 5),
    "57": ("does not answer", "look at the server's log; it goes on by itself", 10),
    "58": ("has trouble with its disk", "look at the server's log", 60),
    "XX": ("is damaged", "look at the server's log", 300),
}


def unavailable(exc: DBAPIError, display: str) -> DatabaseUnavailable | None:
    """The error to raise instead, or None for what is no trouble of the database. `display`: its URL, without secrets."""
    trouble = _trouble(exc)
    if trouble is None:
        return None
    what, remedy, retry_after_s = trouble
    said = re.sub(r"\s+", " ", str(exc.orig)).strip()[:300]
    return DatabaseUnavailable(f"database {display} {what} ({said}): {remedy}", retry_after_s)


def _trouble(exc: DBAPIError) -> _Trouble | None:
    sqlite = getattr(exc.orig, "sqlite_errorcode", None)
    if sqlite is not None:
        if str(exc.orig).startswith(("no such table", "no such column")):
            return _UPGRADE
        return _SQLITE.get(sqlite & 0xFF)
    state = getattr(exc.orig, "sqlstate", None) or ""
    if exc.connection_invalidated:
        return _POSTGRESQL["08"]
    if found := _POSTGRESQL.get(state) or _POSTGRESQL.get(state[:2]):
        return found
    return _UNREACHED if not state and isinstance(exc, OperationalError) else None
