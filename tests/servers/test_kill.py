"""SIGKILL at any moment, then go on: as if nothing had happened. `make soak` kills 500 runs; here are a few.

The daemon's processes are killed one by one and all at once while clients write: what was acknowledged is there afterwards.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen

import httpx
import psycopg
import pytest
from sqlalchemy import func, select

import postgres_server
from campaign import campaign
from postgres_server import Postgres, free_port
from soak.__main__ import daemon
from soak.load import user_body
from soak.watch import children, ready, role
from soak.world import World, directories
from syncd.store import tables as t
from syncd.store.engine import Database
from syncd.store.invariants import check

SEEDS = (10, 11, 12, 13, 15)  # on each engine; with 15 it is killed while it stores its plan


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_a_run_killed_anywhere_ends_where_an_undisturbed_one_ends(engine: str, request: pytest.FixtureRequest) -> None:
    postgres = request.getfixturevalue("postgres") if engine == "postgresql" else None
    tight = engine == "postgresql"  # where guards hold much of it
    with campaign(engine, users=200, tight=tight, postgres=postgres) as campaigned:
        found = {seed: each for seed in SEEDS if (each := campaigned.kill(seed))}
    assert found == {}, "repeat with: python tests/campaign.py --kills 1 --engine ENGINE --seed SEED"


# -- the daemon ----------------------------------------------------------------------------------------------------------


@dataclass
class Client:
    """Creates users and switches them off and on, one request after the other, whatever happens to the server."""

    base: str
    token: str
    name: str
    acknowledged: dict[str, bool] = field(default_factory=dict)  # userName -> active
    unsure: set[str] = field(default_factory=set)  # asked and not answered: either is right
    statuses: Counter[int] = field(default_factory=Counter)

    def work(self, ended: threading.Event) -> None:
        chance, ids = random.Random(self.name), {}
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/scim+json"}
        with httpx.Client(base_url=f"{self.base}/scim/v2/", headers=headers, timeout=30) as http:
            for number in range(10**6):
                if ended.wait(0.03):  # four of them keep the daemon busy without taking the machine
                    return
                if ids and chance.random() < 0.5:
                    user = chance.choice(sorted(ids))
                    new = not self.acknowledged[user]
                    patch = {
                        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
                        "Operations": [{"op": "replace", "path": "active", "value": new}],
                    }
                    if self._ask(http, "PATCH", f"Users/{ids[user]}", patch) is not None:
                        self.acknowledged[user] = new
                    else:
                        self.unsure.add(user)
                        del ids[user]
                else:
                    user = f"{self.name}.{number}"
                    answer = self._ask(http, "POST", "Users", user_body(user, True, "x"))
                    if answer is not None:
                        ids[user], self.acknowledged[user] = answer.json()["id"], True

    def _ask(self, http: httpx.Client, method: str, path: str, body: object) -> httpx.Response | None:
        try:
            answer = http.request(method, path, json=body)
        except httpx.HTTPError:
            self.statuses[0] += 1
            time.sleep(0.05)
            return None
        self.statuses[answer.status_code] += 1
        return answer if answer.is_success else None


@contextmanager
def writing(world: World, base: str) -> Iterator[list[Client]]:
    ended = threading.Event()
    clients = [Client(base, token, f"{name}-{n}") for name, token in world.tokens.items() for n in range(2)]
    threads = [threading.Thread(target=client.work, args=(ended,)) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield clients
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def eventually_ready(base: str) -> None:
    until = time.monotonic() + 60
    while ready(base) != 200:
        assert time.monotonic() < until, "it did not come back"
        time.sleep(0.05)


def by_role(process: Popen[bytes]) -> dict[str, int]:
    return {what: pid for pid in children(process.pid) if (what := role(pid, process.pid))}


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_what_was_acknowledged_outlives_every_kill(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = f"sqlite:///{tmp_path / 'syncd.db'}"
    postgres: Postgres | None = request.getfixturevalue("postgres") if engine == "postgresql" else None
    world = World(tmp_path, 2, 30, "2s", free_port(), postgres.fresh() if postgres else url).build()
    base = f"http://127.0.0.1:{world.port}"
    chance, changing = random.Random(engine), list(directories(world))
    with daemon(world, base) as (first, _), writing(world, base) as clients:
        for what in ("worker", "web"):
            time.sleep(chance.uniform(0.5, 1.5))
            for each in changing:
                each.step()
            os.kill(by_role(first)[what], signal.SIGKILL)
        eventually_ready(base)
        time.sleep(chance.uniform(0.5, 1.5))
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        with daemon(world, base) as (second, log):
            time.sleep(2)
            second.send_signal(signal.SIGTERM)
            assert second.wait(60) == 0, log.read_text()[-3000:]
    judge(world, clients)
    if postgres:
        postgres.drop(world.database)


def test_the_daemon_outlives_a_restart_of_its_database(tmp_path: Path) -> None:
    """No process of it dies of the outage; requests are refused meanwhile and answered again, and sources are read again."""
    with postgres_server.running(synchronous_commit="on") as cluster:
        world = World(tmp_path, 2, 30, "2s", free_port(), cluster.fresh()).build()
        base = f"http://127.0.0.1:{world.port}"
        with daemon(world, base) as (process, log), writing(world, base) as clients:
            before = by_role(process)
            for how in (signal.SIGINT, signal.SIGQUIT):
                time.sleep(1)
                cluster.stop(how)
                time.sleep(1.5)
                assert ready(base) == 503
                cluster.start()
                eventually_ready(base)
            # A run that ended without its database could not give back its lease, which would last up to a minute.
            with psycopg.connect(world.database, autocommit=True) as connection:
                connection.execute("UPDATE leases SET expires_at = 0")
            done = runs_of(world)
            until = time.monotonic() + 60
            while runs_of(world) < done + 2:
                assert time.monotonic() < until, "sources are not read any more"
                time.sleep(0.2)
            assert by_role(process) == before, log.read_text()[-3000:]
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0, log.read_text()[-3000:]
            # The job library says at level error that its connection is gone; nothing of ours does.
            said = [line for line in log.read_text().splitlines() if '"level":"error"' in line]
            assert [line for line in said if '"logger":"pgqueuer"' not in line] == []
        judge(world, clients)
        assert sum(client.statuses[503] for client in clients) > 0


def runs_of(world: World) -> int:
    """How many runs ended well."""
    database = Database(world.database)
    with closing(database), database.reading() as conn:
        return conn.scalar(select(func.count()).where(t.runs.c.status.in_(("applied", "clean")))) or 0


def judge(world: World, clients: list[Client]) -> None:
    statuses = sum((client.statuses for client in clients), Counter())
    assert statuses[201] > 20 and set(statuses) <= {0, 200, 201, 503}, statuses
    database, app = Database(world.database), world.app()
    with closing(database), database.reading() as conn:
        u = t.users.c
        found = {row.user_name: row.status for row in conn.execute(select(u.user_name, u.status))}
        for client in clients:
            for user, active in client.acknowledged.items():
                assert user in found, f"{user} was acknowledged and is lost"
                if user not in client.unsure:
                    assert (found[user] == "active") == active, (
                        f"{user}: acknowledged active={active}, is {found[user]}"
                    )
        for name in world.names:
            assert check(conn, app.workspace(name), app.clock()) == []
        assert conn.scalar(select(func.count()).select_from(t.leases)) == 0
