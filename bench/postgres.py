"""A real PostgreSQL from Debian's package: one cluster in a temporary folder, on a free loopback port.

For the benchmark and the tests. It refuses to run as root, so as root it runs as `postgres` or `nobody`. Nothing on its
disk outlives it, so it does not wait for the disk unless it is told to.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from bench.measure import free_port

_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


# What SQLite in WAL with synchronous=NORMAL promises: a crash of the machine loses the last moments and nothing else.
AS_SQLITE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "off", "shared_buffers": "256MB"}


class Missing(Exception):
    """PostgreSQL is not installed."""


@dataclass
class Postgres:
    """A cluster that trusts loopback. `fresh()` gives the address of an empty database."""

    user: str
    port: int
    command: Sequence[str | Path]
    somebody: Mapping[str, Any]
    folder: Path
    process: subprocess.Popen[bytes] = field(init=False)
    _numbers: Iterator[int] = field(default_factory=count)

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command, stdout=output, stderr=output, env=_ENVIRONMENT, cwd=self.folder, **self.somebody
            )
        self.wait_until_it_answers()

    def stop(self, how: int = signal.SIGINT) -> None:
        """SIGINT: fast, whoever is connected is cut off; SIGQUIT: immediate, recovers at its next start."""
        self.process.send_signal(how)
        self.process.wait(timeout=30)

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def backends(self, url: str) -> list[int]:
        """Process ids of the connections to a database."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            name = url.rpartition("/")[2]
            return [pid for (pid,) in connection.execute("SELECT pid FROM pg_stat_activity WHERE datname = %s", [name])]

    def wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                return self.execute("SELECT 1")
            except psycopg.OperationalError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"PostgreSQL did not start:\n{self.log.read_text(errors='replace')}") from None
                time.sleep(0.05)

    def url(self, database: str) -> str:
        return f"postgresql://{self.user}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)

    def fresh(self, template: str = "template0") -> str:
        name = f"test_{next(self._numbers)}"
        # Copying files takes half the time of writing them through the log, which nobody will ever replay here.
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        return self.url(name)

    def drop(self, url: str) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]} WITH (FORCE)")


def programs() -> Path:
    """The folder of the newest initdb: Debian keeps one folder a version and none of them on PATH."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(re.sub(r"\D", "", path.parts[-3]) or 0)
    )
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        raise Missing("needs PostgreSQL: apt-get install postgresql")
    return (found[-1] if found else Path(str(on_path))).parent


def installed() -> bool:
    try:
        return programs().is_dir()
    except Missing:
        return False


def _unprivileged() -> dict[str, Any]:
    """How to start PostgreSQL as somebody it accepts, as keywords of subprocess."""
    if os.geteuid() != 0:
        return {}
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    account = known.get("postgres") or known["nobody"]
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


@contextmanager
def running(**different: str) -> Iterator[Postgres]:
    """Started and answering; stopped by its process id. Raises Missing.

    `different`: settings of postgresql.conf.
    """
    found, somebody = programs(), _unprivileged()
    # Not pytest's own temporary folder: that one is closed to every other user, and so to the server.
    folder = Path(tempfile.mkdtemp(prefix="syncd-postgres-"))
    cluster = folder / "cluster"
    if somebody:
        os.chown(folder, somebody["user"], somebody["group"])
    server = None
    try:
        subprocess.run(
            [found / "initdb", "-D", cluster, "-U", "tester", "--auth=trust", "--encoding=UTF8", "--no-sync"],
            check=True, capture_output=True, env=_ENVIRONMENT, cwd=folder, **somebody,
        )  # fmt: skip
        port = free_port()
        settings = {
            "listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": folder, "max_connections": 100,
            "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "64MB",
            **different,
        }  # fmt: skip
        command: list[str | Path] = [
            found / "postgres",
            "-D",
            cluster,
            *(f"--{name}={value}" for name, value in settings.items()),
        ]
        server = Postgres("tester", port, command, somebody, folder)
        server.start()
        yield server
    finally:
        if server is not None and server.process.poll() is None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)
