"""`syncd serve` and `make run` as processes: they answer, they end when told, the worker with them; and the timer's tick."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import httpx

from command_line import Cli
from syncd.app import compose
from syncd.worker import Worker

ROOT = Path(__file__).parents[3]
DEADLINE_S = 60


@contextmanager
def running(folder: Path, database: str, *argv: str, bind: str = "127.0.0.1:0") -> Iterator[subprocess.Popen[str]]:
    env = {**os.environ, "SYNCD_DATABASE": database, "SYNCD_BIND": bind, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", *argv], env=env, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def line_of(process: subprocess.Popen[str], start: str) -> str:
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if line.startswith(start):
            return line.removeprefix(start).strip()
    raise AssertionError(f"ended without a line {start!r}: {''.join(seen)}")


def children(process: subprocess.Popen[str]) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pids: list[int]) -> bool:
    return not any(map(alive, pids))


def eventually(true: Callable[[], bool]) -> bool:
    until = time.monotonic() + DEADLINE_S
    while time.monotonic() < until:
        if true():
            return True
        time.sleep(0.1)
    return False


def test_make_run_serves_the_sample_and_goes_on_the_second_time(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "config", tmp_path / "config")
    database = f"sqlite:///{tmp_path / 'var' / 'syncd.db'}"
    tokens = []
    for stop in (signal.SIGINT, signal.SIGTERM):
        with running(tmp_path, database, "syncd.quickstart") as process:
            base = line_of(process, "scim: ")
            tokens.append(line_of(process, "token: "))
            answers = [
                httpx.get(f"{base}/Users", params={"count": 1}, headers={"Authorization": f"Bearer {token}"})
                for token in tokens
            ]
            assert [answer.status_code for answer in answers] == [401, 200][-len(tokens) :]
            assert answers[-1].json()["totalResults"] == 500
            assert eventually(lambda: len(children(process)) == 2)  # the worker, and what watches over it
            workers = children(process)
            process.send_signal(stop)
            assert process.wait(DEADLINE_S) == 0
            assert eventually(partial(gone, workers))


def test_the_worker_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "config", tmp_path / "config")
    database = f"sqlite:///{tmp_path / 'syncd.db'}"
    with running(tmp_path, database, "syncd", "serve") as process:
        assert eventually(lambda: len(children(process)) == 2)
        time.sleep(3)  # let it begin to work
        workers = children(process)
        process.kill()
        assert eventually(partial(gone, workers))


def test_an_address_that_is_taken_is_said_and_makes_no_token(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "config", tmp_path / "config")
    database = f"sqlite:///{tmp_path / 'syncd.db'}"
    with running(tmp_path, database, "syncd", "serve", "--only", "web") as first:
        port = _port(first)
        for command in (("syncd", "serve"), ("syncd.quickstart",)):
            with running(tmp_path, database, *command, bind=f"127.0.0.1:{port}") as second:
                out, _ = second.communicate(timeout=DEADLINE_S)
                assert second.returncode == 1 and f"cannot listen on 127.0.0.1:{port}" in out
                assert "token: " not in out
        first.send_signal(signal.SIGINT)
        assert first.wait(DEADLINE_S) == 0


def _port(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    for line in process.stdout:
        if '"serving"' in line:
            return int(line.split("http://127.0.0.1:")[1].split('"')[0])
    raise AssertionError("it never served")


def test_a_tick_takes_a_role_whose_time_is_over(cli: Cli) -> None:
    id = cli("user", "create", "ann", "--json").json["id"]
    cli("role", "grant", "ann", "crm-user", "--expires", "1h")
    app = compose(cli.folder / "syncd.yaml", os.environ)
    database = app.database()
    later: dict[tuple[str, str], datetime] = {}

    def ticked(now: datetime) -> int:
        return Worker(database, app.workspaces, (), lambda: now, app.ids, UTC).tick(later)

    now = datetime.now(UTC)
    try:
        assert ticked(now) == 0
        assert ticked(now + timedelta(hours=2)) == 1
        assert ticked(now + timedelta(hours=2)) == 0
    finally:
        database.close()
    assert [each["value"] for each in cli("user", "show", id, "--json").json["roles"]] == []
    assert '"door":"timer"' in cli("activity", "--format", "jsonl").out.splitlines()[-1]
