"""SCIM while a reconcile works: latencies of the real daemon, idle and beside a run that is niced as the worker is.

`python -m bench.daemon [--users 100000] [--changes 10000] [--rate 25] [--database postgresql://...]`. The load is open: a
request is due when its time comes, whatever the one before it took, and its latency counts from then. Wanted: writes
under 100 ms at p99 while 10,000 changes are applied; reads within 3 times idle during a run that finds nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from bench.serving import Daemon
from syncd import sample

CONFIG = """
database: {database}
seats: {{internal: {{limit: unlimited}}}}
sources:
  corp:
    kind: ldif
    path: corp.ldif
    attributes: {{userName: uid, name.givenName: givenName, name.familyName: sn, emails.work: mail, title: title}}
rules:
  - {{name: staff, when: 'groups[source eq "corp" and display eq "all-staff"]', roles: [member], seats: [internal]}}
"""
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
PUSHED = 50  # users that the measured writes change


class Load:
    """Reads and writes in turn at a fixed rate. Latencies in milliseconds."""

    def __init__(self, client: httpx.AsyncClient, ids: list[str], rate: float) -> None:
        self._client, self._ids, self._rate = client, ids, rate
        self._number = 0

    async def measure(self, ended: Callable[[], bool]) -> dict[str, list[float]]:
        taken: dict[str, list[float]] = {"read": [], "write": []}
        under_way: set[asyncio.Task[None]] = set()
        started = time.perf_counter()
        sent = 0
        while not ended():
            due = started + sent / self._rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            kind, work = ("read", self._read) if sent % 2 else ("write", self._write)
            under_way.add(asyncio.create_task(_timed(work, due, taken[kind])))
            sent += 1
        await asyncio.gather(*under_way)
        return taken

    async def _read(self) -> httpx.Response:
        return await self._client.get(f"/Users/{random.choice(self._ids)}")  # noqa: S311

    async def _write(self) -> httpx.Response:
        self._number += 1
        operation = {"op": "replace", "path": "title", "value": f"title {self._number}"}
        body = {"schemas": [PATCH], "Operations": [operation]}
        return await self._client.patch(f"/Users/{random.choice(self._ids)}", json=body)  # noqa: S311


async def _timed(work: Callable[[], Awaitable[httpx.Response]], due: float, into: list[float]) -> None:
    answer = await work()
    into.append((time.perf_counter() - due) * 1000)
    answer.raise_for_status()


async def measure(daemon: Daemon, token: str, rate: float, changes: int) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/scim+json"}
    base = f"http://127.0.0.1:{daemon.port}/scim/v2"
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=120) as client:
        ids = []
        for number in range(PUSHED):
            made = await client.post("/Users", json={"schemas": [USER], "userName": f"pushed-{number}"})
            ids.append(made.raise_for_status().json()["id"])
        load = Load(client, ids, rate)
        until = time.monotonic() + 15
        found = {"idle": await load.measure(lambda: time.monotonic() > until)}
        found["no change"] = await beside(daemon, load)
        change_titles(daemon.folder / "corp.ldif", changes)
        found["changes"] = await beside(daemon, load)
        return found


async def beside(daemon: Daemon, load: Load) -> dict[str, list[float]]:
    run = daemon.beside("sync", "corp", "--json")
    found = await load.measure(lambda: run.poll() is not None)
    if run.returncode != 0:
        raise SystemExit((daemon.folder / "run.json").read_text()[-2000:])
    return found


def change_titles(path: Path, changes: int) -> None:
    left = iter(range(changes))

    def another(found: re.Match[str]) -> str:
        number = next(left, None)
        return found[0] if number is None else f"title: changed {number}"

    path.write_text(re.sub(r"^title: .*$", another, path.read_text("utf-8"), flags=re.MULTILINE), "utf-8")


def quantile(values: list[float], share: float) -> float:
    return round(sorted(values)[min(len(values) - 1, int(len(values) * share))], 1)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.daemon")
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--changes", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=25)
    parser.add_argument("--database", help="an empty database; default: SQLite in a temporary folder")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        company = sample.company(asked.users, asked.users // 50, 1)
        (folder / "corp.ldif").write_text("".join(sample.ldif(company)), encoding="utf-8")
        database = asked.database or f"sqlite:///{folder / 'syncd.db'}"
        daemon = Daemon(folder, CONFIG.format(database=database))
        daemon.run("db", "upgrade")
        daemon.run("sync", "corp")
        token = daemon.run("token", "create", "--name", "bench", "--allow", "users:read", "--allow", "users:write")
        daemon.start()
        try:
            taken = asyncio.run(measure(daemon, token, asked.rate, asked.changes))
        finally:
            daemon.stop()
    engine = "postgresql" if asked.database else "sqlite"
    table = Table(title=f"SCIM beside a reconcile, {engine}, {asked.users:,} users, {asked.changes:,} changes, ms")
    for column in ("beside", "what", "requests", "p50", "p95", "p99", "max", "p50 : idle"):
        table.add_column(column)
    rows = []
    for name, kinds in taken.items():
        for kind, values in kinds.items():
            ratio = round(quantile(values, 0.5) / quantile(taken["idle"][kind], 0.5), 2)
            figures = [quantile(values, share) for share in (0.5, 0.95, 0.99)]
            rows.append([name, kind, len(values), *figures, round(max(values), 1), ratio])
            table.add_row(*map(str, rows[-1]))
    Console().print(table)
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    raw = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "rows": rows, "taken_ms": taken}
    (results / f"daemon-{engine}-{asked.users}.json").write_text(json.dumps(raw) + "\n")


if __name__ == "__main__":
    main()
