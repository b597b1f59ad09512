"""Two workers on one PostgreSQL: they share the work, never read one source at the same time, and either may vanish."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg

from syncd import sample

SOURCES = ("one", "two", "three")
DEADLINE_S = 60


def eventually(true: Callable[[], bool]) -> bool:
    until = time.monotonic() + DEADLINE_S
    while time.monotonic() < until:
        if true():
            return True
        time.sleep(0.2)
    return False


@contextmanager
def worker(folder: Path, database: str, name: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "SYNCD_DATABASE": database}
    with (folder / name).open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "syncd", "serve", "--only", "worker", "--config", str(folder / "syncd.yaml")],
            env=environment, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def logged(folder: Path, name: str, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / name).read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def finished(folder: Path, name: str) -> int:
    return len(logged(folder, name, "run_finished"))


def rows(database: str, query: str) -> list[Any]:
    with psycopg.connect(database) as conn:
        return conn.execute(query).fetchall()  # type: ignore[arg-type]


def test_two_workers_share_the_work_and_either_may_vanish(tmp_path: Path, postgres_url: str) -> None:
    config = ["database: postgresql://elsewhere/unused", "sources:"]
    for number, source in enumerate(SOURCES):
        company = sample.company(30, 6, number)
        (tmp_path / f"{source}.ldif").write_text("".join(sample.ldif(company)), encoding="utf-8")
        attributes = f'{{userName: "{{uid}}@{source}.example"}}'  # each source has people of its own
        config.append(
            f"  {source}: {{kind: ldif, path: {source}.ldif, attributes: {attributes}, schedule: {{full: 1s}}}}"
        )
    (tmp_path / "syncd.yaml").write_text("\n".join(config), encoding="utf-8")

    with worker(tmp_path, postgres_url, "a") as first, worker(tmp_path, postgres_url, "b") as second:
        assert eventually(lambda: min(finished(tmp_path, "a"), finished(tmp_path, "b")) >= 3)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        seen = finished(tmp_path, "b")
        assert eventually(lambda: finished(tmp_path, "b") >= seen + 6)
        open_runs = "SELECT id FROM runs WHERE status IN ('reading', 'deciding', 'applying') AND started_at < %s"
        then = int((time.time() - 5) * 1_000_000)
        assert eventually(lambda: not rows(postgres_url, open_runs % then)), "what the first left behind is closed"
        second.terminate()
        assert second.wait(DEADLINE_S) == 0

    spans = defaultdict(list)
    for source, began, ended in rows(
        postgres_url, "SELECT source, started_at, finished_at FROM runs WHERE status IN ('applied', 'clean')"
    ):
        spans[source].append((began, ended))
    assert set(spans) == set(SOURCES)
    for each in spans.values():
        each.sort()
        assert all(before[1] <= after[0] for before, after in pairwise(each)), "two at one time"
    times = rows(postgres_url, "SELECT source, scheduled_at FROM runs WHERE scheduled_at IS NOT NULL")
    assert len(times) == len(set(times))
    assert rows(postgres_url, "SELECT count(*) FROM users") == [(90,)]
    assert rows(postgres_url, "SELECT count(*) FROM activity WHERE action = 'create'") == [(90,)]
    assert rows(postgres_url, "SELECT name, holder FROM leases") == []
    assert not logged(tmp_path, "b", "run_crashed") + logged(tmp_path, "a", "run_crashed")


def test_a_worker_goes_on_without_its_queue(tmp_path: Path, postgres_url: str) -> None:
    company = sample.company(30, 6, 1)
    (tmp_path / "corp.ldif").write_text("".join(sample.ldif(company)), encoding="utf-8")
    source = "corp: {kind: ldif, path: corp.ldif, attributes: {userName: uid}, schedule: {full: 1s}}"
    (tmp_path / "syncd.yaml").write_text(f"database: postgresql://elsewhere/unused\nsources:\n  {source}\n")
    with worker(tmp_path, postgres_url, "a") as process:
        assert eventually(lambda: finished(tmp_path, "a") >= 1)
        with psycopg.connect(postgres_url, autocommit=True) as conn:
            conn.execute("DROP TABLE syncd_pgqueuer CASCADE")
        seen = finished(tmp_path, "a")
        assert eventually(lambda: finished(tmp_path, "a") >= seen + 2)
        assert logged(tmp_path, "a", "queue_passed_by") or logged(tmp_path, "a", "queue_lost")
        process.terminate()
        assert process.wait(DEADLINE_S) == 0
    assert rows(postgres_url, "SELECT name, holder FROM leases") == []
