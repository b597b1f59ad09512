"""`python -m soak [load] [kill] [property]`: see `make soak`. Exit 1 when a check fails, with the report's path."""

from __future__ import annotations

import argparse
import itertools
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import orjson

import postgres_server
from postgres_server import free_port
from soak.judge import Limits, Report, judge_database, judge_load, judge_log, judge_watch
from soak.watch import Watch, ready
from soak.world import World, directories

ROOT = Path(__file__).parents[2]
PARTS = ("load", "kill", "property")
GRACE_S = 60


@dataclass(frozen=True)
class Size:
    seconds: float = 1800
    workspaces: int = 40
    people: int = 100
    rate: float = 25  # requests a second, of all workspaces together
    period_s: int = 60  # between two reads of a directory
    seed: int = 1
    limits: Limits = field(default_factory=Limits)


def load(folder: Path, database: str, size: Size) -> Report:
    """A daemon, its load, and the verdict."""
    world = World(folder, size.workspaces, size.people, f"{size.period_s}s", free_port(), database).build()
    base = f"http://127.0.0.1:{world.port}"
    with daemon(world, base) as (process, log):
        watch = Watch(process.pid, base)
        plan, result = folder / "plan.json", folder / "result.json"
        asked = {"base": base, "tokens": world.tokens, "rate": size.rate, "seconds": size.seconds, "seed": size.seed}
        plan.write_bytes(orjson.dumps(asked))
        began = time.monotonic()
        ended = threading.Event()
        changing = threading.Thread(target=_change, args=(world, size.period_s, ended), daemon=True)
        changing.start()
        command = [sys.executable, "-m", "soak.load", str(plan), str(result)]
        subprocess.run(command, check=True, cwd=ROOT / "tests")
        ended.set()
        changing.join()
        seconds = time.monotonic() - began
        watch.stop()
        process.send_signal(signal.SIGTERM)
        exit_code = process.wait(GRACE_S)
    report = Report()
    kind = database.partition(":")[0]
    report.facts["world"] = (
        f"{size.workspaces} workspaces on {kind}, {size.people} people in each directory, read every {size.period_s} s; "
        f"{size.rate:g} requests a second together for {size.seconds:.0f} s"
    )
    judge_load(report, orjson.loads(result.read_bytes()), size.limits)
    judge_watch(report, watch, seconds)
    judge_database(report, world, seconds, size.period_s)
    judge_log(report, log, exit_code)
    return report


@contextmanager
def daemon(world: World, base: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    log = world.folder / "serve.log"
    with log.open("ab") as output:
        command = [sys.executable, "-m", "syncd", "serve"]
        process = subprocess.Popen(
            command, env=world.env, cwd=world.folder, stdout=output, stderr=output, start_new_session=True
        )
    try:
        until = time.monotonic() + GRACE_S
        while ready(base) != 200:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"syncd serve did not become ready:\n{log.read_text()[-3000:]}")
            time.sleep(0.1)
        yield process, log
    finally:
        if process.poll() is None:
            process.kill()  # its children end with it
            process.wait()


def _change(world: World, period_s: float, ended: threading.Event) -> None:
    """Each directory changes once in a period, one after the other."""
    every = list(directories(world))
    random.Random(0).shuffle(every)
    for each in itertools.cycle(every):
        if ended.wait(period_s / len(every)):
            return
        each.step()


@contextmanager
def database_of(engine: str, folder: Path) -> Iterator[str]:
    if engine == "sqlite":
        yield f"sqlite:///{folder / 'syncd.db'}"
        return
    with postgres_server.running() as server:
        yield server.fresh()


def _load_part(asked: argparse.Namespace) -> bool:
    good = True
    for engine in asked.engine or ["sqlite"]:
        folder = Path(tempfile.mkdtemp(prefix="syncd-soak-"))
        size = Size(asked.minutes * 60, asked.workspaces, rate=asked.rate, seed=asked.seed)
        with database_of(engine, folder) as database:
            report = load(folder, database, size)
        where = ROOT / "var" / "soak" / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{engine}"
        report.write(where)
        shutil.copy(folder / "serve.log", where)
        if report.good:
            shutil.rmtree(folder)
        else:
            print(f"kept to be looked at: {folder}")
        print(report.markdown(), f"report: {where / 'report.md'}", sep="\n", flush=True)
        good = good and report.good
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="*", choices=[*PARTS, []], help="default: all")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--workspaces", type=int, default=40)
    parser.add_argument("--rate", type=float, default=25)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=["sqlite", "postgresql"], action="append")
    asked = parser.parse_args()
    failed = []
    for part in asked.part or PARTS:
        if part == "load":
            good = _load_part(asked)
        elif part == "kill":
            engines = [word for engine in asked.engine or () for word in ("--engine", engine)]
            command = [sys.executable, str(ROOT / "tests" / "campaign.py"), "--kills", str(asked.kills), *engines]
            good = subprocess.run(command, check=False, cwd=ROOT).returncode == 0
        else:
            command = [sys.executable, "-m", "pytest", "-n", "2", "--hypothesis-profile=soak", "tests/property"]
            good = subprocess.run(command, check=False, cwd=ROOT).returncode == 0
        if not good:
            failed.append(part)
    print(f"soak: {', '.join(failed)} failed" if failed else "soak: all is well", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
