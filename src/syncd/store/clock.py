"""One clock for all who share a PostgreSQL: the server's, read at every heartbeat and carried on in between by a counter.

So that windows, dates and schedules mean the same on every machine, whatever its own clock says or is set to. On SQLite
there is one machine, and its clock is used.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from syncd.store import leases
from syncd.store.engine import Database

Clock = Callable[[], datetime]


class ServerClock:
    """Called like any clock; never waits for the database. `read` at start and then now and then, from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.read()

    def read(self) -> None:
        """Raises DatabaseUnavailable; the clock then goes on from what it knows."""
        with self._database.reading() as conn:
            asked = _counter_s()
            moment = leases.moment(conn)
        # Halfway between question and answer, as NTP has it.
        self._read = moment, (asked + _counter_s()) / 2

    def __call__(self) -> datetime:
        moment, at = self._read
        return moment + timedelta(seconds=_counter_s() - at)


def _counter_s() -> float:
    """Counts on while the machine sleeps, and is never set."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def shared(database: Database, own: Clock) -> Clock:
    return ServerClock(database) if database.dialect == "postgresql" else own


def keep(clock: Clock) -> None:
    """Set it by the server again, if it is one that can be. Raises DatabaseUnavailable."""
    if isinstance(clock, ServerClock):
        clock.read()
