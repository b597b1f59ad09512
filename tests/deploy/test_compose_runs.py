"""compose.yaml as an engine would run it, on one network without one: each service by its image's and its own words.

PostgreSQL comes from Debian's package instead of its image; everything else is what the files say.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import postgres_server
from deploy.box import STOP, Box, Network, Running, eventually
from deploy.files import DEPLOY, compose, copied, image, secrets_of
from servers.slapd import program

DIRECTORY = DEPLOY / "compose" / "directory" / "Containerfile"
POSTGRES_UID = 999


@dataclass
class Stack:
    folder: Path
    network: Network
    services: dict[str, Any]
    started: list[Running] = field(default_factory=list)

    def start(self, name: str) -> Running:
        service = self.services[name]
        of = image(DIRECTORY if name == "directory" else DEPLOY / "container" / "Containerfile")
        binds, writable = {}, {}
        if name == "directory":
            binds = copied(DIRECTORY)
            writable = {"/run/directory-tls": self.folder / "directory-tls"}
        else:
            binds["/run/directory-tls"] = self.folder / "directory-tls"
            (binds["/run/directory-tls"]).mkdir(exist_ok=True)
            binds["/etc/syncd/syncd.yaml"] = DEPLOY / "compose" / "syncd.yaml"
        for mount in service["tmpfs"]:
            inside = mount.split(":")[0]
            if inside != "/tmp":  # which every box has
                writable[inside] = self.folder / name / inside.strip("/").replace("/", "-")
        box = Box(
            *(self.folder / name / "box", self.network, of.uid),
            files={f"/run/secrets/{each}": f"secret-{each}" for each in secrets_of(service)},
            binds=binds,
            writable=writable,
            hosts=["database", "directory"],
            workdir=of.workdir,
        )
        process = box.start(
            [*of.entrypoint, *service.get("command", of.cmd)], {**of.env, **service.get("environment", {})}
        )
        self.started.append(process)
        return process

    def database(self) -> Running:
        """PostgreSQL with the user, the database and the password that the service asks its image for."""
        service = self.services["database"]
        programs = postgres_server.programs()
        asked = service["environment"]
        data, secret = "/var/lib/postgresql/data", asked["POSTGRES_PASSWORD_FILE"]
        settings = "-c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off -c shared_buffers=32MB"
        prepare = (
            f"{programs}/initdb -D {data} -U {asked['POSTGRES_USER']} --pwfile={secret} --auth=scram-sha-256 -E UTF8 -N"
        )
        box = Box(
            *(self.folder / "database" / "box", self.network, POSTGRES_UID),
            files={
                "/etc/passwd": f"postgres:x:{POSTGRES_UID}:{POSTGRES_UID}::/tmp:/bin/sh\n",
                **{f"/run/secrets/{each}": f"secret-{each}" for each in secrets_of(service)},
            },
            writable={data: self.folder / "database" / "data"},
        )
        command = f"{prepare} && exec {programs}/postgres -D {data} {settings}"
        process = box.start(
            ["/bin/sh", "-c", command], {"PATH": os.defpath, "PGPASSWORD": f"secret-{Path(secret).name}"}
        )
        self.started.append(process)
        create = [f"{programs}/createdb", "-h", "127.0.0.1", "-U", asked["POSTGRES_USER"], asked["POSTGRES_DB"]]
        eventually(lambda: process.run(create).returncode == 0, "PostgreSQL answers")
        return process

    def healthy(self, process: Running, test: list[str]) -> None:
        """As compose judges: the check of the service, or of its image."""

        def answers() -> bool:
            assert process.outer.poll() is None, process.output()
            return process.run(test).returncode == 0

        eventually(answers, f"{test}: {process.output()}")


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    program("slapd")
    postgres_server.programs()
    network = Network()
    made = Stack(tmp_path, network, compose()["services"])
    try:
        yield made
    finally:
        for process in made.started:
            process.kill()
        network.close()


def test_the_stack_comes_up_reads_the_directory_and_ends(stack: Stack) -> None:
    database = stack.database()
    directory = stack.start("directory")
    stack.healthy(directory, image(DIRECTORY).healthcheck)
    migrate = stack.start("migrate")
    assert migrate.wait() == 0, migrate.output()

    web, worker = stack.start("web"), stack.start("worker")
    stack.healthy(web, image().healthcheck)
    stack.healthy(worker, stack.services["worker"]["healthcheck"]["test"][1:])

    checked = web.run(["/opt/syncd/bin/syncd", "check"])
    assert checked.returncode == 0, checked
    # The worker may read it at the same moment, by its schedule; one of the two does.
    eventually(lambda: worker.run(["/opt/syncd/bin/syncd", "sync", "corp"]).returncode == 0, "corp is read")
    status = web.run(["/opt/syncd/bin/syncd", "db", "status", "--json"])
    rows = json.loads(status.stdout)["rows"]
    assert (rows["users"], rows["groups"]) == (500, 60)
    for process in (web, worker):
        process.signal(STOP[image().stop_signal])
    assert [process.wait(45) for process in (web, worker)] == [0, 0], web.output() + worker.output()
    psql = [
        f"{postgres_server.programs()}/psql",
        "-h",
        "127.0.0.1",
        "-U",
        "syncd",
        "-Atc",
        "SELECT count(*) FROM leases",
    ]
    assert database.run(psql).stdout == "0\n"
    for process in (directory, database):
        process.signal(STOP["SIGTERM"])
        assert process.wait() == 0
