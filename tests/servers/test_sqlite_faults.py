"""A SQLite file that is locked, full, damaged, read-only or gone, and a full /tmp: said plainly, nothing half done, healed
without a restart.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from campaign import state
from contract.scim.conftest import Service
from disks import tiny
from servers.test_database_faults import finished, founded
from syncd.cli import main
from syncd.errors import DatabaseUnavailable, Retryable
from syncd.store import connections, spool
from syncd.store import tables as t
from syncd.store.engine import Database
from syncd.store.migrate import upgrade

OFF = {"op": "replace", "path": "active", "value": False}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits longer than a second for a lock."""
    begun = connections._begun
    monkeypatch.setattr(connections, "_begun", lambda connection, by: begun(connection, min(by, time.monotonic() + 1)))
    monkeypatch.setattr("syncd.store.plans.batch_size", lambda conn, workspace: 5)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'syncd.db'}"


@pytest.fixture
def service(url: str) -> Iterator[Service]:
    made = Service(url)
    yield made
    made.close()


@pytest.fixture
def calm(tmp_path: Path) -> dict[str, Any]:
    """What two reads come to that nobody disturbs."""
    stage, directory = founded(f"sqlite:///{tmp_path / 'calm.db'}")
    for _ in range(2):
        stage.run(directory)
    stage.close()
    return state(stage.url)


def file_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


# -- locked --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["IMMEDIATE", "EXCLUSIVE"])
def test_a_write_waits_for_another_process_and_then_says_so_while_reads_go_on(service: Service, how: str) -> None:
    ann = service.user("ann")
    path = f"Users/{ann['id']}"
    with closing(sqlite3.connect(service.database.path, isolation_level=None, check_same_thread=False)) as other:
        other.execute(f"BEGIN {how}")
        answer = service.patch(path, OFF)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert str(service.database.path) not in answer.text
        assert service.ask("GET", path).json()["active"] is True
        assert service.names() == ["ann"] and service.ask("GET", "/readyz", token=None).status_code == 200
        let_go = threading.Timer(0.3, other.execute, ("ROLLBACK",))
        let_go.start()
        assert service.patch(path, OFF).json()["active"] is False, "it waits as long as it may"
        let_go.join()


def test_a_run_that_meets_a_lock_fails_clean_and_is_finished_by_the_next(url: str, calm: dict[str, Any]) -> None:
    stage, directory = founded(url)
    other = sqlite3.connect(stage.database.path, isolation_level=None)
    with pytest.raises(DatabaseUnavailable, match="is locked by another process"):
        stage.run(directory, progress=Once("apply", 2, lambda: other.execute("BEGIN IMMEDIATE")))
    other.execute("ROLLBACK")
    other.close()
    free_lease(url)
    stage.run(directory)
    finished(stage, calm)


class Once:
    """A progress that does something at the nth step of one kind."""

    def __init__(self, name: str, number: int, strike: Callable[[], object]) -> None:
        self.name, self.left, self.strike = name, number, strike

    def step(self, name: str, done: int, total: int | None) -> None:
        self.left -= name == self.name
        if name == self.name and self.left == 0:
            self.strike()


def free_lease(url: str) -> None:
    """As if its time had run out: the run could not give it back."""
    with closing(sqlite3.connect(file_of(url))) as connection:
        connection.execute("UPDATE leases SET expires_at = 0")
        connection.commit()


# -- full ----------------------------------------------------------------------------------------------------------------


@contextmanager
def few_pages(database: Database) -> Iterator[None]:
    """No connection may let the file grow: SQLite then answers as on a full disk."""

    def limit(connection: Any, _: Any) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages}")

    database.engine.dispose()
    event.listen(database.engine, "connect", limit)
    yield
    event.remove(database.engine, "connect", limit)
    database.engine.dispose()


def test_a_run_without_room_fails_clean_and_is_finished_when_there_is_some(url: str, calm: dict[str, Any]) -> None:
    stage, directory = founded(url)
    with few_pages(stage.database), pytest.raises(DatabaseUnavailable, match=r"has no room .*: make room on its disk"):
        stage.run(directory)
    stage.sound(stage.now)
    free_lease(url)
    _, *struck = sorted((row.id, row.status) for row in stage.rows(t.runs))
    for _ in range(1 if struck and struck[0][1] == "applying" else 2):
        stage.run(directory)
    finished(stage, calm)


def test_requests_on_a_full_disk_are_503_and_go_on_when_there_is_room() -> None:
    with tiny(4) as folder:
        service = Service(f"sqlite:///{folder / 'syncd.db'}")
        try:
            ann = service.user("ann")
            (folder / "filler").touch()
            made = [fill(service, number) for number in range(60)]
            assert made[-1] == 503 and set(made) == {201, 503}
            assert service.ask("GET", f"Users/{ann['id']}").status_code == 200, "reading needs no room"
            (folder / "more").mkdir()
            for name in service.names(count=30, filter='userName sw "u1"'):
                id = service.ask("GET", "Users", filter=f'userName eq "{name}"').json()["Resources"][0]["id"]
                assert service.ask("DELETE", f"Users/{id}").status_code in (204, 503)
            os.system(f"mount -o remount,size=40m {folder}")
            assert fill(service, 99) == 201
            known = service.names(count=200)
            assert {"ann", "u99"} <= set(known)
            with service.database.reading() as conn:
                assert conn.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        finally:
            service.close()


def fill(service: Service, number: int) -> int:
    schema = "urn:ietf:params:scim:schemas:core:2.0:User"
    body = {"schemas": [schema], "userName": f"u{number}", "nickName": os.urandom(40_000).hex()}
    return service.ask("POST", "Users", body).status_code


def test_a_full_folder_for_temporary_files(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, directory = founded(url)
    directory.hire(*(f"x{number}" for number in range(2 * spool.TOGETHER)), title="x" * 20_000)
    monkeypatch.setattr(spool, "_IN_MEMORY", 1000)
    with tiny(1) as folder:
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        with pytest.raises(Retryable, match=rf"temporary files in {folder} cannot be written \(No space"):
            stage.run(directory)
    assert {row.status for row in stage.rows(t.runs)} == {"applied", "failed"}
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert stage.run(directory).status == "applied"
    stage.close()


# -- damaged, gone, forbidden --------------------------------------------------------------------------------------------


def test_a_damaged_file_is_said_to_be_damaged(url: str) -> None:
    stage, directory = founded(url)
    stage.close()
    file = file_of(url)
    file.with_name("syncd.db-wal").unlink(missing_ok=True)
    whole = file.read_bytes()
    file.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 8192) + whole[-4096:])
    database = Database(url)
    with pytest.raises(DatabaseUnavailable, match=r"is damaged .*restore the last backup"):
        stage.database = database
        stage.run(directory)
    database.close()


@pytest.mark.parametrize("command", [["db", "status"], ["user", "list"], ["sync", "corp"], ["token", "list"]])
def test_a_file_that_is_no_database_is_said_to_be_none(
    command: list[str], url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file_of(url).write_text("this is a letter to the editor, and not a database\n" * 100)
    config = file_of(url).with_name("syncd.yaml")
    config.write_text(f"database: {url}\n")
    monkeypatch.setenv("SYNCD_CONFIG", str(config))
    expected = 2 if command[0] == "sync" else 1  # there is no such source: that is said first
    assert main(command) == expected
    if expected == 1:
        assert "is no SQLite database" in capsys.readouterr().err


def test_a_file_that_is_taken_away_does_not_come_back_empty(url: str) -> None:
    stage, _ = founded(url)
    stage.close()
    database = Database(url)
    file_of(url).unlink()
    with pytest.raises(DatabaseUnavailable, match="cannot be opened"), database.reading():
        pass
    assert not file_of(url).exists()
    with pytest.raises(DatabaseUnavailable, match="no database at"):
        Database(url)


@contextmanager
def nobody() -> Iterator[Path]:
    """A folder of somebody without privileges, who is this process for a while: root may write to everything."""
    with tempfile.TemporaryDirectory(prefix="syncd-nobody-") as name:
        folder, root = Path(name), os.geteuid() == 0
        folder.chmod(0o755)
        (folder / "in").mkdir(mode=0o755)
        upgrade_to(folder / "in" / "syncd.db")
        for path in ((folder / "in"), *(folder / "in").iterdir()):
            os.chown(path, 65534 if root else -1, -1)
        if root:
            os.seteuid(65534)
        try:
            yield folder / "in"
        finally:
            if root:
                os.seteuid(0)


def upgrade_to(path: Path) -> None:
    database = Database(f"sqlite:///{path}", create=True)
    upgrade(database)
    database.close()


def test_a_file_that_may_not_be_written() -> None:
    with nobody() as folder:
        (folder / "syncd.db").chmod(0o444)
        folder.chmod(0o555)
        with pytest.raises(DatabaseUnavailable, match=r"cannot be (written|opened) .*folder"):
            begin(f"sqlite:///{folder / 'syncd.db'}")
        folder.chmod(0o755)
        with pytest.raises(DatabaseUnavailable, match=r"cannot be written .*: make the file, its -wal and -shm and"):
            begin(f"sqlite:///{folder / 'syncd.db'}")
        for path in folder.iterdir():
            path.chmod(0o644)
        begin(f"sqlite:///{folder / 'syncd.db'}")


def test_a_folder_that_may_not_be_entered() -> None:
    with nobody() as folder:
        folder.chmod(0)
        with pytest.raises(DatabaseUnavailable, match=r"no way to a database .*Permission denied"):
            Database(f"sqlite:///{folder / 'syncd.db'}")
        with pytest.raises(DatabaseUnavailable, match=r"no way to a database .*Permission denied"):
            Database(f"sqlite:///{folder / 'below' / 'syncd.db'}", create=True)
        folder.chmod(0o755)


def begin(url: str) -> None:
    database = Database(url)
    try:
        with database.writing() as conn:
            conn.exec_driver_sql("INSERT INTO workspaces (name, created_at) VALUES ('x', 0)")
    finally:
        database.close()
