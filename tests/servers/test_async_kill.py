"""An asynchronous bulk request outlives the processes that accepted and do it: each operation is done, and done once."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from subprocess import Popen

import httpx
import pytest

from postgres_server import Postgres, free_port
from soak.__main__ import daemon
from soak.load import user_body
from soak.watch import children, ready, role
from soak.world import World

N = 300


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_an_asynchronous_bulk_request_outlives_every_kill(
    engine: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    postgres: Postgres | None = request.getfixturevalue("postgres") if engine == "postgresql" else None
    url = postgres.fresh() if postgres else f"sqlite:///{tmp_path / 'syncd.db'}"
    world = World(tmp_path, 1, 5, "1h", free_port(), url).build()
    base, token = f"http://127.0.0.1:{world.port}", next(iter(world.tokens.values()))
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/scim+json"}
    operations = [
        {"method": "POST", "path": "/Users", "bulkId": f"{n}", "data": user_body(f"async.{n}", True, "x")}
        for n in range(N)
    ]
    body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": operations}
    with httpx.Client(base_url=f"{base}/scim/v2/", headers=headers, timeout=30) as http:

        def made() -> int:
            return int(http.get("Users", params={"filter": 'userName sw "async."', "count": 0}).json()["totalResults"])

        with daemon(world, base) as (first, _):
            accepted = http.post("Bulk", json=body, headers={"Prefer": "respond-async"})
            assert accepted.status_code == 202, accepted.text
            some = _wait(lambda: made() > 10 and made())
            os.kill(_web(first), signal.SIGKILL)
            _wait(lambda: ready(base) == 200)
            more = _wait(lambda: made() > some and made())
            os.killpg(first.pid, signal.SIGKILL)
            first.wait()
        assert more < N, "it was done before it was killed: nothing was tried"
        with daemon(world, base):
            event = accepted.headers["location"].removeprefix(f"{base}/scim/v2/")
            _wait(lambda: http.get(event).status_code == 200)
            found = http.get(event).json()["Resources"]
            said = [each["events"]["urn:ietf:params:scim:event:misc:asyncresp"] for each in found]
            assert [each["status"] for each in said] == ["201"] * N
            assert len({each["location"] for each in said}) == N == made()
    if postgres:
        postgres.drop(world.database)


def _web(process: Popen[bytes]) -> int:
    return next(pid for pid in children(process.pid) if role(pid, process.pid) == "web")


def _wait(true: object, until_s: float = 60) -> int:
    until = time.monotonic() + until_s
    assert callable(true)
    while True:
        try:
            if found := true():
                return int(found)
        except httpx.HTTPError:
            pass
        assert time.monotonic() < until
        time.sleep(0.02)
