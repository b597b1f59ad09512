"""`python -m bench.scim [--users 100000] [--rounds 3] [--seconds 3] [--only get patch ...] [--without postgresql peers]`.

Everything by default, in under ten minutes. A quick look at one thing: `--users 20000 --rounds 1 --only patch`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from bench import postgres
from bench.scim import environments, more
from bench.scim.drive import CONNECTIONS, OPERATIONS, Measured, drive, verify
from bench.scim.figures import Figure, against_peers, figures_table, rates_table
from bench.scim.servers import PEERS, Ours, Server, ours, peers

MORE = ("groups", "pages", "processes")
PARTS = (*OPERATIONS, *MORE)
SHOWN = Console()


def main() -> None:
    asked = _asked()
    wanted = [part for part in PARTS if not asked.only or any(part.startswith(each) for each in asked.only)]
    operations = [part for part in OPERATIONS if part in wanted]
    with_peers = bool(operations) and "peers" not in asked.without
    environments.needed(("wrk", "node", "npm") if with_peers else ("wrk",))
    started = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="syncd-bench-") as place, ExitStack() as stack:
        folder = Path(place)
        folder.chmod(0o755)
        SHOWN.log(f"seeding {asked.users:,} users")
        sqlite = ours(folder / "sqlite", "syncd SQLite", f"sqlite:///{folder}/syncd.db", asked.users)
        all_ours = [stack.enter_context(sqlite)]
        if "postgresql" not in asked.without and postgres.installed():
            cluster = stack.enter_context(postgres.running(**postgres.AS_SQLITE))
            roots, url = [cluster.process.pid], cluster.fresh()
            beside = ours(folder / "postgresql", "syncd PostgreSQL", url, asked.users, roots)
            all_ours.append(stack.enter_context(beside))
        theirs: list[Server] = []
        if with_peers:
            SHOWN.log(f"starting peers with {asked.peer_users:,} users")
            theirs = stack.enter_context(peers(folder, tuple(PEERS), asked.peer_users))
        servers = [*(each.server for each in all_ours), *theirs]
        for server in servers:
            verify(server)
        runs = _drive(folder, servers, operations, asked.rounds, asked.seconds)
        figures = against_peers(runs, servers)
        more_figures, more_runs = _more(folder, all_ours, wanted, asked)
        figures += more_figures
    if runs:
        SHOWN.print(rates_table(runs, f"{asked.users:,} users in syncd, {asked.peer_users:,} in the others"))
    if more_runs:
        SHOWN.print(rates_table(more_runs, "web processes on SQLite"))
    SHOWN.print(figures_table(figures))
    SHOWN.log("kept in", _keep(started, vars(asked), [*runs, *more_runs], figures, with_peers))


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.scim")
    parser.add_argument("--users", type=int, default=100_000, help="in syncd")
    parser.add_argument("--peer-users", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3, help="of each run of wrk")
    parser.add_argument(
        "--only", nargs="+", default=(), metavar="PART", help=f"of {', '.join(PARTS)}, or their beginnings"
    )
    parser.add_argument("--without", nargs="+", default=(), choices=("peers", "postgresql"))
    return parser.parse_args()


def _drive(folder: Path, servers: list[Server], operations: list[str], rounds: int, seconds: float) -> list[Measured]:
    """Operation by operation, and in each round every server in turn, so that a drift of the machine's speed hits all alike."""
    runs = []
    for operation in operations:
        for round in range(rounds):
            for server in servers:
                runs.append(drive(folder, server, operation, round, seconds))
                SHOWN.log(f"{operation} {round + 1}: {server.name}", f"{runs[-1].per_s:,.0f}/s")
    return runs


def _more(
    folder: Path, all_ours: list[Ours], wanted: list[str], asked: argparse.Namespace
) -> tuple[list[Figure], list[Measured]]:
    figures: list[Figure] = []
    runs: list[Measured] = []
    for each in all_ours:
        if "pages" in wanted:
            SHOWN.log(f"pages: {each.server.name}")
            figures += more.pages(each)
        if "groups" in wanted:
            SHOWN.log(f"groups: {each.server.name}")
            figures += more.groups(folder, each)
    if "processes" in wanted:
        found, runs = more.processes(folder, all_ours[0], asked.rounds, asked.seconds, SHOWN.log)
        figures += found
    return figures, runs


def _keep(
    started: datetime, asked: dict[str, object], runs: list[Measured], figures: list[Figure], with_peers: bool
) -> Path:
    """Everything measured, in a file of its own."""
    results = Path(__file__).parents[1] / "results"
    results.mkdir(exist_ok=True)
    raw = {
        "at": started.isoformat(timespec="seconds"),
        "commit": subprocess.run(
            ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
        ).stdout.strip(),
        "machine": {"arch": platform.machine(), "cores": os.cpu_count(), "system": platform.platform()},
        "versions": {"python": platform.python_version(), "uvicorn": version("uvicorn")}
        | (environments.versions() if with_peers else {}),
        "asked": asked,
        "connections": CONNECTIONS,
        "runs": [run.as_json() for run in runs],
        "figures": [each.as_json() for each in figures],
    }
    path = results / f"scim-{asked['users']}-{started:%Y%m%dT%H%M%S}.json"
    path.write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    return path


if __name__ == "__main__":
    main()
