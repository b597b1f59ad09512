"""wrk against one server for one operation, and the checks without which a figure would be worth nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from bench.measure import cpu_s
from bench.scim.seed import user
from bench.scim.servers import Server

SCRIPT = Path(__file__).parent / "operation.lua"
OPERATIONS = ("get", "filter", "list", "patch-name", "patch-active", "create")  # create last: it makes stores larger
CONNECTIONS = 16


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of wrk."""

    server: str
    operation: str
    round: int
    per_s: float
    p50_ms: float
    p99_ms: float
    mib_per_s: float
    cpu_us: float  # of the server's processes, for one request
    requests: int

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def drive(
    folder: Path, server: Server, operation: str, round: int, seconds: float, connections: int = CONNECTIONS
) -> Measured:
    """Ends the program if an answer was an error or did not come."""
    changes = operation.startswith("patch")
    targets = folder / f"targets-{server.port}-{'changed' if changes else 'read'}"
    if not targets.exists():
        _write_targets(targets, server.changed if changes else server.targets)
    had = server.had.get(operation, 0)
    command = [
        *("wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "30s", "-s", str(SCRIPT)),
        f"http://127.0.0.1:{server.port}",
        *("--", operation, str(targets), server.token, server.prefix, str(had), f"{server.port}-{round}"),
    ]
    cpu = cpu_s(server.roots)
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    counted = orjson.loads(ran.stdout.strip().splitlines()[-1])
    failed = {kind: counted[kind] for kind in ("status", "connect", "read", "write", "timeout") if counted[kind]}
    if failed or not counted["requests"]:
        raise SystemExit(f"{server.name}, {operation}: of {counted['requests']} requests failed {failed}")
    server.had[operation] = had + int(counted["requests"]) + connections  # those under way when it ended were done too
    with server.client() as client:
        client.ask(
            "GET", f"/Users/{server.targets[0][0]}"
        )  # whatever is still queued is done before the next one starts
    cpu = cpu_s(server.roots) - cpu
    took_s = counted["us"] / 1e6
    return Measured(
        server.name,
        operation,
        round,
        round_(counted["requests"] / took_s),
        round_(counted["p50_us"] / 1000),
        round_(counted["p99_us"] / 1000),
        round_(counted["bytes"] / took_s / 2**20),
        round_(cpu / (counted["requests"] + connections) * 1e6),
        counted["requests"],
    )


def round_(value: float) -> float:
    return round(value, 2)


def _write_targets(path: Path, targets: Sequence[tuple[str, str]]) -> None:
    rest = {key: value for key, value in user(0).items() if key not in ("schemas", "userName")}
    lines = [f"{id}\t{name}" for id, name in targets]
    path.write_text("\n".join([*lines, orjson.dumps(rest).decode()[1:-1]]) + "\n", encoding="utf-8")


def verify(server: Server) -> None:
    """Once before: each operation does what it says. Ends the program if one does not."""
    id, name = server.targets[len(server.targets) // 2]
    with server.client() as client:
        _same(server, "GET", client.json("GET", f"/Users/{id}"), id=id, userName=name)
        found = client.json("GET", f"/Users?filter=userName%20eq%20%22{name}%22")
        _same(server, "filter", found, totalResults=1)
        _same(server, "filter", found["Resources"][0], id=id, userName=name)
        listed = client.json("GET", "/Users?startIndex=1&count=100")
        _same(server, "list", listed, itemsPerPage=100, totalResults=len(server.targets))
        _same(server, "list", {"ids": len({each["id"] for each in listed["Resources"] if each["emails"]})}, ids=100)
        made, _ = client.create({**user(0), "userName": "verified", "active": False})
        _same(server, "POST", client.json("GET", f"/Users/{made}"), userName="verified", active=False)
        for path, value in (("active", True), ("name.familyName", "Verified")):
            client.patch(f"/Users/{made}", {"op": "replace", "path": path, "value": value})
        after = client.json("GET", f"/Users/{made}")
        _same(server, "PATCH", {**after, "family": after["name"]["familyName"]}, active=True, family="Verified")
        client.ask("DELETE", f"/Users/{made}")


def _same(server: Server, what: str, answer: Any, **wanted: Any) -> None:
    wrong = {key: answer.get(key) for key, value in wanted.items() if answer.get(key) != value}
    if wrong:
        raise SystemExit(f"{server.name} answers {what} with {wrong}, not {wanted}")
