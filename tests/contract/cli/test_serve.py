"""`syncd serve` and `make run` as processes: they answer, start again what dies, and end when told, leaving no lease."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from syncd import quickstart
from syncd.cli import main
from syncd.store import leases
from syncd.store.engine import Database

ROOT = Path(__file__).parents[3]
DEADLINE_S = 60


@contextmanager
def first_steps(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """`make run` in a folder of its own."""
    database = f"sqlite:///{folder / 'var' / 'syncd.db'}"
    env = {**os.environ, "SYNCD_DATABASE": database, "SYNCD_BIND": "127.0.0.1:0", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "syncd.quickstart"],
        env=env,
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
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
        time.sleep(0.05)
    return False


def test_make_run_serves_the_sample_and_goes_on_the_second_time(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "config", tmp_path / "config")
    tokens = []
    for stop in (signal.SIGINT, signal.SIGTERM):
        with first_steps(tmp_path) as process:
            base = line_of(process, "scim: ")
            tokens.append(line_of(process, "token: "))
            answers = [
                httpx.get(f"{base}/Users", params={"count": 1}, headers={"Authorization": f"Bearer {token}"})
                for token in tokens
            ]
            assert [answer.status_code for answer in answers] == [401, 200][-len(tokens) :]
            assert answers[-1].json()["totalResults"] == 500
            others = children(process)
            process.send_signal(stop)
            assert process.wait(DEADLINE_S) == 0
            assert eventually(partial(gone, others))


def test_an_address_that_is_taken_is_said_and_makes_no_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(ROOT / "config", tmp_path / "config")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNCD_DATABASE", f"sqlite:///{tmp_path / 'syncd.db'}")
    with socket.create_server(("127.0.0.1", 0)) as other:
        bind = f"127.0.0.1:{other.getsockname()[1]}"
        monkeypatch.setenv("SYNCD_BIND", bind)
        for command in (partial(main, ["serve"]), quickstart.main):
            assert command() == 1
            out, err = capfd.readouterr()
            assert f"cannot listen on {bind}" in err and "token: " not in out


# -- the daemon ----------------------------------------------------------------------------------------------------------------


@contextmanager
def daemon(
    folder: Path,
    *only: str,
    env: dict[str, str] | None = None,
    more: str = "",
    schedule: str = "",
    processes: int = 1,
) -> Iterator[subprocess.Popen[str]]:
    """`syncd serve` on the sample, in its folder, once everything is ready. Its log is in the file `log`."""
    if not (folder / "config").exists():
        shutil.copytree(ROOT / "config", folder / "config")
        config = folder / "config" / "syncd.yaml"
        config.write_text(
            config.read_text()
            .replace("../var/syncd.db", str(folder / "syncd.db"))
            .replace("bind: 127.0.0.1:8080", f"bind: 127.0.0.1:0, processes: {processes}")
            .replace("kind: ldif", f"kind: ldif\n    schedule: {{{schedule}}}")
            + more
        )
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "syncd", "serve", *only], cwd=folder, stderr=log, env={**os.environ, **(env or {})}
        )
    try:
        assert eventually(lambda: '"event":"ready"' in (folder / "log").read_text()), (folder / "log").read_text()
        yield process  # type: ignore[misc]
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def logged(folder: Path, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "log").read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def base(folder: Path) -> str:
    return str(logged(folder, "serving")[-1]["url"])


def pid_of(folder: Path, kind: str) -> int:
    database = Database(f"sqlite:///{folder / 'syncd.db'}")
    with database.reading() as conn:
        found = [each.pid for each in leases.processes(conn) if each.kind == kind and each.alive]
    database.close()
    return found[0] if found else 0


def count(folder: Path, table: str) -> int:
    with closing(sqlite3.connect(folder / "syncd.db")) as conn:
        return int(conn.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def readiness(folder: Path) -> tuple[int, str]:
    try:
        answer = httpx.get(f"{base(folder)}/readyz", timeout=20)
    except httpx.TransportError as exc:
        return 0, str(exc)
    return answer.status_code, answer.text


def test_what_dies_is_started_again_and_readiness_tells_the_truth(tmp_path: Path) -> None:
    with daemon(tmp_path) as process:
        assert readiness(tmp_path) == (200, "database: ok\nschema: ok\nworker: ok\n")
        worker, web = pid_of(tmp_path, "worker"), pid_of(tmp_path, "web")
        os.kill(worker, signal.SIGKILL)
        assert eventually(lambda: readiness(tmp_path) == (503, "database: ok\nschema: ok\nworker: none is alive\n"))
        assert eventually(lambda: readiness(tmp_path)[0] == 200)
        assert pid_of(tmp_path, "worker") not in (0, worker)
        os.kill(web, signal.SIGKILL)
        assert eventually(lambda: pid_of(tmp_path, "web") not in (0, web))
        assert eventually(lambda: readiness(tmp_path)[0] == 200)
        process.terminate()
        assert process.wait(DEADLINE_S) == 0
    died = [(each["kind"], each["exit_code"]) for each in logged(tmp_path, "process_died")]
    assert died == [("worker", -9), ("web", -9)]
    assert count(tmp_path, "leases") == count(tmp_path, "processes") == 0


def pids_of_the_web(folder: Path) -> list[int]:
    database = Database(f"sqlite:///{folder / 'syncd.db'}")
    with database.reading() as conn:
        found = [each.pid for each in leases.processes(conn) if each.kind == "web" and alive(each.pid)]
    database.close()
    return found


def connections(pid: int, port: int) -> int:
    """How many clients of `port` a process has."""
    lines = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    established = {line[9] for line in lines if line[1].endswith(f":{port:04X}") and line[3] == "01"}
    ends = (str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir() if each.is_symlink())
    return sum(
        end.removeprefix("socket:[").removesuffix("]") in established for end in ends if end.startswith("socket:")
    )


def test_connections_are_spread_over_several_web_processes_and_one_that_dies_keeps_none_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with daemon(tmp_path, "--only", "web", processes=2) as process:
        assert eventually(lambda: len(pids_of_the_web(tmp_path)) == 2)
        url = httpx.URL(base(tmp_path))
        assert url.port is not None

        def spread() -> list[int]:
            with httpx.Client(limits=httpx.Limits(max_connections=40), timeout=DEADLINE_S) as client:
                streams = [client.stream("GET", f"{url}/healthz") for _ in range(40)]
                assert all(each.__enter__().status_code == 200 for each in streams)
                found = [connections(pid, int(url.port or 0)) for pid in pids_of_the_web(tmp_path)]
                for each in streams:
                    each.__exit__(None, None, None)
            return found

        found = spread()
        assert sum(found) == 40 and all(found)
        first, other = pids_of_the_web(tmp_path)
        os.kill(first, signal.SIGKILL)
        assert eventually(lambda: bool(logged(tmp_path, "process_died")))
        assert all(httpx.get(f"{url}/healthz", timeout=DEADLINE_S).status_code == 200 for _ in range(20))
        assert eventually(lambda: len({*pids_of_the_web(tmp_path)} - {first}) == 2) and other in pids_of_the_web(
            tmp_path
        )
        found = spread()
        assert sum(found) == 40 and all(found)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("SYNCD_BIND", f"127.0.0.1:{url.port}")
        assert main(["serve"]) == 1
        assert f"cannot listen on 127.0.0.1:{url.port}: Address already in use" in capfd.readouterr().err
        process.terminate()
        assert process.wait(DEADLINE_S) == 0


def test_a_request_under_way_is_answered_before_the_end_and_systemd_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with heard_by_systemd(tmp_path) as (heard, env), daemon(tmp_path, env=env) as process:
        assert eventually(lambda: heard.count("WATCHDOG=1") >= 3 and "READY=1" in heard)
        create = ["token", "create", "--name", "t", "--allow", "users:write"]
        assert main(["--config", str(tmp_path / "config" / "syncd.yaml"), *create]) == 0
        token = capsys.readouterr().out.strip()
        body = b'{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"late@example.org"}'
        head = (
            f"POST /scim/v2/Users HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/scim+json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", int(base(tmp_path).rpartition(":")[2]))) as connection:
            connection.sendall(head.encode() + body[:20])
            time.sleep(0.5)
            process.terminate()
            assert eventually(lambda: heard[-1] == "STOPPING=1")
            time.sleep(1)
            connection.sendall(body[20:])
            answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 201"), answer
        assert process.wait(DEADLINE_S) == 0
    assert heard.count("READY=1") == 1 and heard[-1] == "STOPPING=1"
    with closing(sqlite3.connect(tmp_path / "syncd.db")) as conn:
        assert conn.execute("SELECT user_name FROM users WHERE user_name = 'late@example.org'").fetchall()


@contextmanager
def heard_by_systemd(folder: Path) -> Iterator[tuple[list[str], dict[str, str]]]:
    """What it is told, and the environment in which it is."""
    address, heard = str(folder / "notify"), [""]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(address)

        def listen() -> None:
            while heard[-1] != "STOPPING=1":
                heard.append(ear.recv(1000).decode())

        listening = threading.Thread(target=listen, daemon=True)
        listening.start()
        yield heard, {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"}
        listening.join(DEADLINE_S)


def test_a_worker_alone_keeps_the_schedule_and_leaves_no_lease(tmp_path: Path) -> None:
    beat = tmp_path / "beat"
    with daemon(
        tmp_path, "--only", "worker", schedule="full: 2s", more=f"\nworker: {{beat_file: {beat}}}\n"
    ) as process:
        assert eventually(lambda: len(logged(tmp_path, "run_finished")) >= 2)
        assert abs(beat.stat().st_mtime - time.time()) < 30
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_S) == 0
    assert count(tmp_path, "leases") == count(tmp_path, "processes") == 0
    with closing(sqlite3.connect(tmp_path / "syncd.db")) as conn:
        times = [at for (at,) in conn.execute("SELECT scheduled_at FROM runs ORDER BY started_at")]
    assert (
        None not in times
        and len(times) == len(set(times))
        and all(at % 2_000_000 == times[0] % 2_000_000 for at in times)
    )
    with daemon(tmp_path, "--only", "web") as process:
        assert readiness(tmp_path) == (200, "database: ok\nschema: ok\n")  # its worker runs elsewhere
        process.terminate()
        assert process.wait(DEADLINE_S) == 0


def test_hangup_reads_the_configuration_anew_if_it_is_good_and_everything_ends_with_the_supervisor(
    tmp_path: Path,
) -> None:
    with daemon(tmp_path) as process:
        config = tmp_path / "config" / "syncd.yaml"
        good = config.read_text()
        before = pid_of(tmp_path, "worker")
        config.write_text(good.replace("crm: {limit: 40", "crm: {limit: many"))
        process.send_signal(signal.SIGHUP)
        assert eventually(lambda: bool(logged(tmp_path, "reload_refused")))
        assert "seats.crm.limit" in logged(tmp_path, "reload_refused")[0]["why"]
        assert pid_of(tmp_path, "worker") == before
        config.write_text(good.replace("crm: {limit: 40", "crm: {limit: 77"))
        process.send_signal(signal.SIGHUP)
        assert eventually(lambda: bool(logged(tmp_path, "reloaded")))
        assert eventually(lambda: pid_of(tmp_path, "worker") not in (0, before))
        assert eventually(lambda: "77" in httpx.get(f"{base(tmp_path)}/", timeout=20).text)
        others = children(process)
        assert len(others) == 3  # web, worker, and what watches over them for Python
        process.kill()
        assert eventually(partial(gone, others))
