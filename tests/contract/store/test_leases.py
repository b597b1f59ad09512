"""Leases and heartbeats on both databases."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, update

from syncd.errors import Conflict
from syncd.store import leases
from syncd.store import tables as t
from syncd.store.engine import Database

ELSEWHERE = "other-host+boot+pid/1/1"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


def take(database: Database, run: str, holder: str | None = None) -> int:
    with database.writing() as conn:
        return leases.take(conn, "default", "corp", run, holder)


def expire(database: Database, by: timedelta) -> None:
    with database.writing() as conn:
        conn.execute(update(t.leases).values(expires_at=leases.moment(conn) + by))


def test_one_holder_at_a_time(database: Database) -> None:
    fence = take(database, "r1")
    with pytest.raises(Conflict, match="worked on by run r1"):
        take(database, "r2")
    with database.writing() as conn:
        assert leases.held(conn, "default", "corp")
        leases.release(conn, "default", "corp", fence)
        assert not leases.held(conn, "default", "corp")
    take(database, "r2")


def test_tokens_only_grow_also_after_a_lease_was_given_back(database: Database) -> None:
    first = take(database, "r1")
    with database.writing() as conn:
        leases.release(conn, "default", "corp", first)
    second = take(database, "r2")
    assert second > first
    with database.writing() as conn, pytest.raises(Conflict, match="took corp over"):
        leases.renew(conn, "default", "corp", first)
    with database.writing() as conn:
        leases.release(conn, "default", "corp", first)  # whoever slept gives nothing back
        assert leases.held(conn, "default", "corp")


def test_a_lease_that_ran_out_is_void(database: Database) -> None:
    take(database, "r1", ELSEWHERE)
    expire(database, timedelta(0))
    take(database, "r2")


def test_a_lease_from_the_future_is_void(database: Database) -> None:
    """The clock was set back by a day after it was given."""
    take(database, "r1", ELSEWHERE)
    expire(database, timedelta(days=1))
    take(database, "r2")


def test_a_dead_process_of_this_machine_holds_nothing(database: Database) -> None:
    code = "from syncd.store.leases import this_process; print(this_process())"
    holder = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    take(database, "r1", holder)
    take(database, "r2")


def test_a_process_elsewhere_may_be_alive(database: Database) -> None:
    take(database, "r1", ELSEWHERE)
    with pytest.raises(Conflict):
        take(database, "r2")


def test_a_number_used_again_by_another_process_is_not_the_holder(database: Database) -> None:
    mine = leases.this_process()
    take(database, "r1", mine.rpartition("/")[0] + "/1")
    take(database, "r2")


def test_of_many_who_want_it_at_once_one_gets_it(database: Database) -> None:
    got: list[int] = []
    refused: list[str] = []

    def want(number: int) -> None:
        try:
            got.append(take(database, f"r{number}"))
        except Conflict as exc:
            refused.append(str(exc))

    threads = [threading.Thread(target=want, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1 and len(refused) == 5


def test_a_lease_is_renewed_while_its_run_lives(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LEASE", timedelta(seconds=0.4))
    fence = take(database, "r1")
    with leases.Kept(database, "default", "corp", fence) as kept:
        threading.Event().wait(1)
        kept.check()
        with pytest.raises(Conflict):
            take(database, "r2", ELSEWHERE)
        with database.writing() as conn:
            leases.release(conn, "default", "corp", fence)
        threading.Event().wait(0.3)
        with pytest.raises(Conflict, match="took corp over"):
            kept.check()


def elsewhere(conn: Any) -> dict[str, Any]:
    now = leases.moment(conn)
    who = {"id": ELSEWHERE, "kind": "web", "host": "other-host", "pid": 1, "release": "0.2.0"}
    return {**who, "started_at": now, "beat_at": now}


def test_heartbeats(database: Database) -> None:
    with database.writing() as conn:
        leases.beat(conn, "worker", "0.2.0")
        leases.beat(conn, "worker", "0.2.0")
        (found,) = leases.processes(conn)
        assert (found.kind, found.pid, found.release, found.alive) == ("worker", os.getpid(), "0.2.0", True)
        conn.execute(update(t.processes).values(beat_at=leases.moment(conn) - timedelta(minutes=1)))
        assert not leases.processes(conn)[0].alive
        leases.beat(conn, "worker", "0.2.0")
        conn.execute(update(t.processes).values(id=leases.this_process().rpartition("/")[0] + "/1"))
        assert not leases.processes(conn)[0].alive, "its number belongs to another process"
        leases.beat(conn, "web", "0.2.0")
        conn.execute(insert(t.processes).values(**elsewhere(conn)))
        leases.gone(conn)
        assert [each.host for each in leases.processes(conn)] == ["other-host"]
