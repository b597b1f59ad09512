"""Figures of syncd beside itself, over HTTP: what size must not cost, and what a second process brings."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from bench.measure import free_port
from bench.scim.client import Client
from bench.scim.drive import Measured, drive
from bench.scim.figures import Figure, figure
from bench.scim.seed import SOURCE
from bench.scim.servers import CONFIG, Ours
from bench.serving import Daemon, end, wait_until_it_answers

ROUNDS = 15
PAGE = 100


def groups(folder: Path, ours: Ours) -> list[Figure]:
    seeded, name = ours.seeded, ours.server.name
    size = f"{seeded.large_members:,}"
    with ours.server.client() as client:
        large, small = f"/Groups/{seeded.large}", f"/Groups/{seeded.small}"
        outside = itertools.cycle(seeded.outside)

        def add(group: str, by: Client = client) -> float:
            took = 0.0
            for _ in range(5):
                body = {"op": "add", "path": "members", "value": [{"value": next(outside)}]}
                took += by.timed_ms("PATCH", f"{group}?excludedAttributes=members", _patch(body))
            return took / 5

        def silent(group: str) -> float:
            body = {"op": "add", "path": "members", "value": [{"value": next(outside)}]}
            return client.timed_ms("PATCH", group, _patch(body))

        add(large), add(small)
        added = [(add(large), add(small)) for _ in range(ROUNDS)]
        unanswered = [(silent(large), silent(small)) for _ in range(5)]
        body = client.ask("GET", large)
        with bare(folder, body) as bare_client, _another(ours) as other:

            def read() -> tuple[float, float]:
                return client.timed_ms("GET", large), bare_client.timed_ms("GET", "/")

            read()
            known = [read() for _ in range(ROUNDS)]
            fresh, elsewhere = [], []
            for _ in range(ROUNDS):
                add(large)
                fresh.append(read())
                add(large, other)
                elsewhere.append(read())
    mib = f"{len(body) / 2**20:.1f} MiB"
    return [
        figure(f"add one member, group of {size}, {name}", "the same, group of 5", added, "ms", 1.5, at_least=False),
        figure(f"the same, answered 204, {name}", "the same, group of 5", unanswered, "ms", 1.5, at_least=False),
        figure(f"GET of that group, {name}", f"its {mib} sent by a bare ASGI app", known, "ms", 10, at_least=False),
        figure(f"GET of that group just changed, {name}", "the same bytes", fresh, "ms", 10, at_least=False),
        figure(f"GET of it just changed by another process, {name}", "the same", elsewhere, "ms", 10, at_least=False),
    ]


@contextmanager
def _another(ours: Ours) -> Iterator[Client]:
    """A second web process on the same database, by its own port."""
    daemon = Daemon(ours.daemon.folder, CONFIG.format(database=ours.database, source=SOURCE), name="another")
    daemon.start()
    try:
        with replace(ours.server, port=daemon.port).client() as client:
            yield client
    finally:
        daemon.stop()


def pages(ours: Ours) -> list[Figure]:
    """A page by cursor, nine tenths into the list, beside the first one."""
    users = len(ours.server.targets)
    with ours.server.client() as client:
        cursor = _cursor_at(client, users * 9 // 10)

        def times(path: str) -> float:
            return sum(client.timed_ms("GET", path) for _ in range(10)) / 10

        first, deep = f"/Users?count={PAGE}&cursor=", f"/Users?count={PAGE}&cursor={cursor}"
        times(first), times(deep)
        pairs = [(times(deep), times(first)) for _ in range(ROUNDS)]
    what = f"page of {PAGE} by cursor after {users * 9 // 10:,} of {users:,}, {ours.server.name}"
    return [figure(what, "the first page", pairs, "ms", 1.2, at_least=False)]


def _cursor_at(client: Client, depth: int) -> str:
    cursor = ""
    for _ in range(depth // PAGE):
        cursor = client.json("GET", f"/Users?count={PAGE}&cursor={cursor}")["nextCursor"]
    return cursor


def processes(
    folder: Path, ours: Ours, rounds: int, seconds: float, note: Callable[[str], None]
) -> tuple[list[Figure], list[Measured]]:
    """Reads by two web processes beside one, on the same file. wrk itself takes one of the machine's cores."""
    daemon = Daemon(ours.daemon.folder, CONFIG.format(database=ours.database, source=SOURCE), processes=2, name="two")
    daemon.start()
    try:
        one = replace(ours.server, name="one process")
        two = replace(ours.server, name="two processes", port=daemon.port)
        runs = []
        for operation in ("get", "filter", "list"):
            for round in range(rounds):
                note(f"{operation} by one process and by two, round {round + 1}")
                runs += [drive(folder, server, operation, round, seconds) for server in (one, two)]
    finally:
        daemon.stop()
    found = []
    for operation in ("get", "filter", "list"):
        own = {(run.server, run.round): run.per_s for run in runs if run.operation == operation}
        pairs = [(own["two processes", n], own["one process", n]) for n in range(rounds)]
        found.append(figure(f"{operation}, two web processes on SQLite", "one", pairs, "/s", 1.4))
    return found, runs


@contextmanager
def bare(folder: Path, body: bytes) -> Iterator[Client]:
    """A bare ASGI application under the same server that answers everything with these bytes."""
    (folder / "body").write_bytes(body)
    port, log = free_port(), folder / "bare.log"
    options = [
        "--port",
        str(port),
        "--no-access-log",
        "--log-level",
        "warning",
        "--app-dir",
        str(Path(__file__).parent),
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "bare:app", *options], stdout=output, stderr=output, cwd=folder
        )
    try:
        wait_until_it_answers(port, "/", process, log)
        with Client(port, "", "") as client:
            yield client
    finally:
        end(process)


def _patch(operation: Mapping[str, object]) -> dict[str, object]:
    return {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [operation]}
