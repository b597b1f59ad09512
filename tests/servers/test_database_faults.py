"""PostgreSQL that restarts, crashes, hangs or is locked, in the middle of a run and under the web: nothing is lost or
doubled, the next run finishes, requests get 503 with Retry-After and then go on by themselves.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import event, select

import postgres_server
from campaign import differences, state
from contract.scim.conftest import Service
from door_stage import Directory, Stage, policy, rule, staff
from postgres_server import Postgres
from syncd.core.guards import Limit, Limits
from syncd.core.seats import Pool
from syncd.core.workspace import Workspace
from syncd.errors import Conflict, DatabaseUnavailable
from syncd.store import connections, engine
from syncd.store import tables as t
from syncd.store.migrate import upgrade

KINDS = ("deactivate", "suspend", "delete", "role", "seat", "membership", "blank")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Postgres]:
    """A cluster that may be stopped, and that keeps what it said it committed."""
    with postgres_server.running(synchronous_commit="on") as server:
        yield server


@pytest.fixture(scope="module")
def template(cluster: Postgres) -> str:
    url = cluster.fresh()
    database = engine.Database(url)
    upgrade(database)
    database.close()
    return url.rpartition("/")[2]


@pytest.fixture
def fresh(cluster: Postgres, template: str) -> Iterator[Callable[[], str]]:
    urls: list[str] = []

    def make() -> str:
        urls.append(cluster.fresh(template))
        return urls[-1]

    yield make
    for url in urls:
        cluster.drop(url)


@pytest.fixture
def url(fresh: Callable[[], str]) -> str:
    return fresh()


# -- a run ---------------------------------------------------------------------------------------------------------------


def founded(url: str) -> tuple[Stage, Directory]:
    """Forty people read once, and then much that changed: some left, came, moved; a pool that is full changes hands."""
    wide = Limits({kind: Limit(floor=1000) for kind in KINDS})
    stage = Stage(
        url,
        Workspace(
            sources={"corp": policy(limits=wide)},
            pools={"desk": Pool("desk", 20)},
            rules=(rule("staff", 'groups[display eq "t0"]', roles=("member",), seats=("desk",)),),
        ),
    )
    people = staff("p", 40)
    directory = Directory()
    directory.hire(*people)
    directory.teams = {"t0": set(people[:30]), "t1": {"t0", *people[30:]}}
    stage.run(directory)
    stage.later(days=2)
    for key in people[:6]:
        del directory.people[key]
    directory.hire(*staff("n", 6), title="new")
    for key in people[10:16]:
        directory.people[key]["title"] = "moved"
    directory.teams["t0"] = set(people[6:26]) | set(staff("n", 6))
    return stage, directory


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncd.store.plans.batch_size", lambda conn, workspace: 5)


@pytest.fixture
def calm(fresh: Callable[[], str], small_batches: None) -> dict[str, Any]:
    """What two reads come to that nobody disturbs."""
    stage, directory = founded(fresh())
    assert [stage.run(directory).status for _ in range(2)] == ["applied", "applied"]
    stage.close()
    return state(stage.url)


class At:
    """A progress that does something at the nth step of one kind."""

    def __init__(self, name: str, number: int, strike: Callable[[], None]) -> None:
        self.name, self.left, self.strike = name, number, strike

    def step(self, name: str, done: int, total: int | None) -> None:
        if name == self.name:
            self.left -= 1
            if self.left == 0:
                self.strike()


def crash(cluster: Postgres, url: str) -> None:
    """One backend dies; the server then ends all others, and recovers."""
    os.kill(cluster.backends(url)[0], signal.SIGKILL)
    with pytest.raises(psycopg.OperationalError):
        for _ in range(100):
            cluster.execute("SELECT 1")
            time.sleep(0.01)
    cluster.wait_until_it_answers()


def restart(cluster: Postgres, how: int) -> None:
    cluster.stop(how)
    cluster.start()


STRIKES: dict[str, Callable[[Postgres, str], None]] = {
    "fast restart": lambda cluster, url: restart(cluster, signal.SIGINT),
    "immediate restart": lambda cluster, url: restart(cluster, signal.SIGQUIT),
    "crash of a backend": crash,
}


@pytest.mark.parametrize("strike", STRIKES)
def test_a_server_that_restarts_while_a_run_decides(
    cluster: Postgres, url: str, calm: dict[str, Any], strike: str
) -> None:
    """What was read is lost with the connection: the run fails, having written nothing, and the next one starts anew."""
    stage, directory = founded(url)
    with pytest.raises(DatabaseUnavailable, match="postgresql://tester@"):
        stage.run(directory, progress=At("decide", 2, lambda: STRIKES[strike](cluster, url)))
    assert [row.status for row in stage.rows(t.runs)][-1] == "failed"
    assert [stage.run(directory).status for _ in range(2)] == ["applied", "applied"]
    finished(stage, calm)


@pytest.mark.parametrize("strike", STRIKES)
def test_a_server_that_restarts_between_two_batches(
    cluster: Postgres, url: str, calm: dict[str, Any], strike: str
) -> None:
    """Nothing is open then: the run goes on with a new connection."""
    stage, directory = founded(url)
    struck = At("apply", 2, lambda: STRIKES[strike](cluster, url))
    assert stage.run(directory, progress=struck).status == "applied"
    assert struck.left <= 0
    stage.run(directory)
    finished(stage, calm)


def finished(stage: Stage, calm: dict[str, Any]) -> None:
    stage.sound(stage.now)
    assert stage.rows(t.leases) == [] and stage.rows(t.run_items) == []
    stage.close()
    assert differences(state(stage.url), calm) == []


def test_a_connection_that_is_cut_at_any_statement(
    cluster: Postgres, fresh: Callable[[], str], calm: dict[str, Any]
) -> None:
    """Also in the middle of a batch and while its end is committed: what was begun is undone, what was said is kept."""
    stage, directory = founded(fresh())
    with counted(stage) as statements:
        stage.run(directory)
    total = statements()
    stage.close()
    for at in range(1, total, max(1, total // 12)):
        stage, directory = founded(fresh())
        with counted(stage, at, partial(terminate, cluster, stage.url)), pytest.raises(DatabaseUnavailable):
            stage.run(directory)
        _, *struck = sorted((row.id, row.status) for row in stage.rows(t.runs))
        stage.run(directory)
        if not struck or struck[0][1] == "failed":  # it stored no plan, so its read does not count
            stage.run(directory)
        finished(stage, calm)


@contextmanager
def counted(stage: Stage, at: int = 0, strike: Callable[[], None] = lambda: None) -> Iterator[Callable[[], int]]:
    """Count a run's statements, and do something before one of them."""
    number = 0

    def before(*_: Any) -> None:
        nonlocal number
        if threading.current_thread() is threading.main_thread():  # not what renews the lease
            number += 1
            if number == at:
                strike()

    event.listen(stage.database.engine, "before_cursor_execute", before)
    yield lambda: number
    event.remove(stage.database.engine, "before_cursor_execute", before)


def terminate(cluster: Postgres, url: str) -> None:
    name = url.rpartition("/")[2]
    cluster.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'")


def test_a_server_that_stays_away_longer_than_the_run(cluster: Postgres, url: str, calm: dict[str, Any]) -> None:
    """The lease could not be given back. It runs out; until then the next run says so."""
    stage, directory = founded(url)
    try:
        with pytest.raises(DatabaseUnavailable):
            stage.run(directory, progress=At("apply", 2, cluster.stop))
        with pytest.raises(DatabaseUnavailable):
            stage.run(directory)
    finally:
        cluster.start()
    with pytest.raises(Conflict, match="is being worked on"):
        stage.run(directory)
    cluster_time = "UPDATE leases SET expires_at = 0"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(cluster_time)
    stage.run(directory)
    finished(stage, calm)


# -- the web -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def service(url: str) -> Iterator[Service]:
    made = Service(url)
    yield made
    made.close()


def statuses(service: Service, *asked: tuple[str, str]) -> list[int]:
    """Of requests that are under way at the same time. Every 503 says when to come back, and not where the database is."""
    body = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": str(time.monotonic_ns())}

    async def all_of_them() -> list[Any]:
        import httpx

        headers = {"Authorization": f"Bearer {service.token}", "Content-Type": "application/scim+json"}
        transport = httpx.ASGITransport(service.web)
        async with httpx.AsyncClient(transport=transport, base_url="http://syncd.test", headers=headers) as client:
            await asyncio.sleep(
                0.1
            )  # the loop of a server turns between requests, and sees which connections are closed
            return await asyncio.gather(
                *(client.request(method, path, json=body if method == "POST" else None) for method, path in asked)
            )

    answers = service.run(all_of_them())
    for answer in answers:
        if answer.status_code == 503 and "/scim/" in str(answer.url):
            assert 0 < int(answer.headers["Retry-After"]) <= 60
            assert answer.json()["status"] == "503" and "postgresql" not in answer.text
    return [answer.status_code for answer in answers]


def test_requests_during_an_outage_are_503_and_go_on_afterwards(cluster: Postgres, service: Service) -> None:
    ann = service.user("ann")
    asked = [
        ("GET", f"/scim/v2/Users/{ann['id']}"),
        ("GET", '/scim/v2/Users?filter=userName eq "ann"'),
        ("GET", "/scim/v2/Users"),
        ("POST", "/scim/v2/Groups"),
        ("GET", "/readyz"),
    ]
    assert statuses(service, *asked) == [200, 200, 200, 201, 200]
    many = asked[:3] * 4  # every connection of the pool is used, and then stale
    assert set(statuses(service, *many)) == {200}
    for how in (signal.SIGINT, signal.SIGQUIT):
        cluster.stop(how)
        try:
            assert statuses(service, *asked) == [503] * 5
            assert statuses(service, ("GET", "/healthz")) == [200]
        finally:
            cluster.start()
        assert set(statuses(service, *many)) == {200}, "stale connections are no reason for a 503"
        assert statuses(service, *asked) == [200, 200, 200, 201, 200]


def test_a_request_whose_connection_is_cut_is_503_and_its_write_undone(cluster: Postgres, service: Service) -> None:
    ann = service.user("ann")
    rival = psycopg.connect(service.database.url)
    rival.execute("SELECT 1 FROM users FOR UPDATE")
    killer = threading.Timer(0.5, terminate, (cluster, service.database.url))
    killer.start()
    answer = service.patch(f"Users/{ann['id']}", {"op": "replace", "path": "active", "value": False})
    killer.join()
    rival.close()
    assert answer.status_code == 503
    assert service.ask("GET", f"Users/{ann['id']}").json()["active"] is True


def test_who_waits_for_a_lock_too_long_is_503_while_others_read(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_LOCK_S", 1)
    ann = service.user("ann")
    service.run(service.database.aclose())  # connections with the limit of this test
    service.database = engine.Database(service.database.url)
    service.web = service.application()
    with psycopg.connect(service.database.url) as rival:
        rival.execute("LOCK TABLE users IN EXCLUSIVE MODE")
        answer = service.patch(f"Users/{ann['id']}", {"op": "replace", "path": "active", "value": False})
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert service.ask("GET", f"Users/{ann['id']}").status_code == 200
        assert service.names() == ["ann"]
    answer = service.patch(f"Users/{ann['id']}", {"op": "replace", "path": "active", "value": False})
    assert answer.json()["active"] is False


def test_a_server_that_hangs_costs_a_request_its_time_and_no_more(
    cluster: Postgres, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "COMMAND_S", 3)
    service = Service(url)
    ann = service.user("ann")
    stopped = cluster.backends(url)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        found = [service.ask("GET", f"Users/{ann['id']}").status_code for _ in range(3)]
        assert time.monotonic() - began < 15
        assert found[0] == 503 and found[-1] == 200, "the next one gets another connection"
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        service.close()


def test_a_database_that_is_not_there_or_refuses_is_said_to_be_so(cluster: Postgres, url: str) -> None:
    for wrong, said, asked_said in (
        (url.rpartition("/")[0] + "/nowhere", '"nowhere" does not exist', "is not there"),
        (url.replace("tester@", "stranger@"), '"stranger" does not exist', "refuses the login"),
        (url.replace(str(cluster.port), str(postgres_server.free_port())), "refused", "does not answer"),
    ):
        database = engine.Database(wrong)
        with pytest.raises(DatabaseUnavailable, match=said), database.reading():
            pass
        with pytest.raises(DatabaseUnavailable, match=asked_said):
            asyncio.run(asked(database))
        database.close()


async def asked(database: engine.Database) -> None:
    try:
        await database.read(lambda conn: conn.execute(select(1)))
    finally:
        await database.aclose()


def test_a_server_without_room_on_its_disk(cluster: Postgres, fresh: Callable[[], str], tmp_path: Path) -> None:
    """A table space on a file system of 16 MB."""
    from disks import tiny

    with tiny(16) as folder:
        os.chown(folder, cluster.somebody["user"], cluster.somebody["group"])
        cluster.execute(f"CREATE TABLESPACE small LOCATION '{folder}'")
        url = fresh()
        cluster.execute(f"ALTER DATABASE {url.rpartition('/')[2]} SET TABLESPACE small")
        service = Service(url)
        try:
            ann = service.user("ann")
            (folder / "filler").write_bytes(b"x" * room(folder))
            made = [fill(service, number) for number in range(40)]
            assert made[-1] == 503 and set(made) <= {201, 503}
            assert service.ask("GET", f"Users/{ann['id']}").status_code == 200
            (folder / "filler").unlink()
            assert fill(service, 99) == 201
            assert len(service.names(count=200)) == 2 + made.count(201)
        finally:
            service.close()
            cluster.drop(url)
            cluster.execute("DROP TABLESPACE small")


def fill(service: Service, number: int) -> int:
    body = {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "userName": f"u{number}",
        "nickName": os.urandom(60_000).hex(),
    }
    return service.ask("POST", "Users", body).status_code


def room(folder: Path) -> int:
    """Bytes left but for a few pages."""
    found = os.statvfs(folder)
    return max(0, found.f_bavail * found.f_frsize - 300_000)
