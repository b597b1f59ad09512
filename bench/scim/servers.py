"""The servers that are measured, each started as a child on a free port, with its users in it, in its best ordinary set-up:
uvloop and httptools, no access log, SQLite in WAL with synchronous=NORMAL, a bearer token that is checked.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bench.measure import free_port
from bench.scim import environments
from bench.scim.client import Client
from bench.scim.seed import SOURCE, Seeded, seed, user
from bench.serving import Daemon, end, wait_until_it_answers
from syncd.app import TimeOrderedIds
from syncd.store.engine import Database

TOKEN = "bench-token"  # noqa: S105 - the peers', which hold nothing
CHANGED = 1000  # users whom the writes change: all that the peers have
# One connection sends more here than a provider does, and takes more away: else its limits would be measured.
CONFIG = """
database: {database}
sources:
  {source}: {{kind: scim, rate: 1000000}}
"""


@dataclass
class Server:
    """`targets`: (id, userName) of what is read; `changed`: of what is written to."""

    name: str
    port: int
    prefix: str
    token: str
    roots: Sequence[int]  # its processes are these and their children
    targets: Sequence[tuple[str, str]]
    changed: Sequence[tuple[str, str]] = ()
    ours: bool = False
    had: dict[str, int] = field(default_factory=dict)  # requests of each operation so far

    def client(self) -> Client:
        return Client(self.port, self.prefix, self.token)


@dataclass(frozen=True)
class Ours:
    """A running syncd with what was seeded."""

    daemon: Daemon
    database: str
    server: Server
    seeded: Seeded


@contextmanager
def ours(folder: Path, name: str, database: str, users: int, beside: Sequence[int] = ()) -> Iterator[Ours]:
    """`beside`: process ids of what else works for it, such as its PostgreSQL."""
    folder.mkdir()
    daemon = Daemon(folder, CONFIG.format(database=database, source=SOURCE))
    daemon.run("db", "upgrade")
    store = Database(database)
    try:
        seeded = seed(store, users, TimeOrderedIds(), datetime.now(UTC))
    finally:
        store.close()
    token = new_token(daemon)
    daemon.start()
    step = max(1, users // CHANGED)
    try:
        changed = seeded.users[::step][:CHANGED]
        server = Server(name, daemon.port, "/scim/v2", token, [daemon.pid, *beside], seeded.users, changed, ours=True)
        yield Ours(daemon, database, server, seeded)
    finally:
        daemon.stop()


def new_token(daemon: Daemon) -> str:
    allowed = [
        part for each in ("users", "groups") for verb in ("read", "write") for part in ("--allow", f"{each}:{verb}")
    ]
    return daemon.run("token", "create", "--name", "bench", "--source", SOURCE, *allowed)


@contextmanager
def peers(folder: Path, names: Sequence[str], users: int) -> Iterator[list[Server]]:
    """Those of PEERS with these names, started and filled."""
    with ExitStack() as stack:
        yield [stack.enter_context(_peer(folder, name, users)) for name in names]


@contextmanager
def _peer(folder: Path, name: str, users: int) -> Iterator[Server]:
    port = free_port()
    start, prefix = PEERS[name]
    place = folder / name.replace(" ", "-")
    place.mkdir()
    environment = {
        **os.environ,
        "BENCH_TOKEN": TOKEN,
        "BENCH_DATABASE": str(place / "peer.db"),
        "DJANGO_SETTINGS_MODULE": "django_site",
        "PYTHONPATH": str(environments.PEERS),
        "PYTHONDONTWRITEBYTECODE": "1",
        "NODE_ENV": "production",
    }
    command = start(port, environment)
    log = place / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment, cwd=place)
    try:
        wait_until_it_answers(port, f"{prefix}/ServiceProviderConfig", process, log)
        server = Server(name, port, prefix, TOKEN, [process.pid], [])
        with server.client() as client:
            server.targets = [client.create(user(number)) for number in range(users)]
        server.changed = server.targets[:CHANGED]
        yield server
    finally:
        end(process)


def _scim2_server(port: int, _: Mapping[str, str]) -> list[str]:
    options = [
        "--port",
        str(port),
        "--no-access-log",
        "--log-level",
        "warning",
        "--loop",
        "uvloop",
        "--http",
        "httptools",
    ]
    return [str(environments.python()), "-m", "uvicorn", "scim2_asgi:app", *options]


def _django(port: int, environment: Mapping[str, str], *options: str) -> list[str]:
    python = str(environments.python())
    subprocess.run([python, "-m", "django", "migrate", "--run-syncdb", "-v0"], env=environment, check=True)
    bind = ["--bind", f"127.0.0.1:{port}", "--log-level", "warning", "--worker-tmp-dir", "/dev/shm"]  # noqa: S108
    return [python, "-m", "gunicorn", "django_site:application", *bind, *options]


def _scimmy(port: int, _: Mapping[str, str]) -> list[str]:
    return ["node", str(environments.node() / "scimmy.mjs"), str(port), TOKEN]


PEERS = {
    "scim2-server": (_scim2_server, "/v2"),
    "scimmy-routers": (_scimmy, "/scim"),
    "django-scim2 threads": (
        lambda port, env: _django(port, env, "-k", "gthread", "-w", "1", "--threads", "4"),
        "/scim/v2",
    ),
    "django-scim2 2 workers": (lambda port, env: _django(port, env, "-k", "sync", "-w", "2"), "/scim/v2"),
}
