"""Which number belongs to another one, of however many: in bounded memory.

The first ones are in a dictionary; as soon as they are many, all are in a temporary file of SQLite's, which nobody else can
open and which is gone with its user.
"""

from __future__ import annotations

import sqlite3
import tempfile
from typing import Final

from syncd.errors import Retryable

IN_MEMORY: Final = 10_000
_CACHE_KIB: Final = 4096
_INSERT = "INSERT OR IGNORE INTO numbers VALUES (?, ?)"


class Numbers:
    """Both of up to 64 bits, signed. `close` it: it may have a file."""

    def __init__(self) -> None:
        self._few: dict[int, int] = {}
        self._many: sqlite3.Connection | None = None

    def note(self, number: int, other: int) -> int | None:
        """What was noted of it before; None: nothing, and `other` is from now on. Raises Retryable if there is no room."""
        if self._many is None:
            known = self._few.get(number)
            if known is None:
                self._few[number] = other
                if len(self._few) > IN_MEMORY:
                    self._write()
            return known
        try:
            if self._many.execute(_INSERT, (number, other)).rowcount:
                return None
            found: int = self._many.execute("SELECT other FROM numbers WHERE number = ?", (number,)).fetchone()[0]
        except sqlite3.Error as exc:
            raise _no_room(exc) from exc
        return found

    def close(self) -> None:
        self._few = {}
        if self._many is not None:
            self._many.close()
            self._many = None

    def _write(self) -> None:
        try:
            self._many = many = sqlite3.connect("", isolation_level=None, check_same_thread=False)
            for setting in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE_KIB}"):
                many.execute(f"PRAGMA {setting}")
            many.execute("CREATE TABLE numbers (number INTEGER PRIMARY KEY, other INTEGER NOT NULL)")
            many.execute("BEGIN")
            many.executemany(_INSERT, sorted(self._few.items()))
        except sqlite3.Error as exc:
            raise _no_room(exc) from exc
        self._few = {}


def _no_room(exc: sqlite3.Error) -> Retryable:
    return Retryable(
        f"temporary files in {tempfile.gettempdir()} cannot be written ({exc}): make room there, or let TMPDIR name a folder "
        "with room"
    )
