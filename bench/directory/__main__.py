"""`python -m bench.directory [--users 20000] [--groups 2000] [--memberships 200000] [--rounds 3] [--only first full ...]`.

In under four minutes on a quiet machine. What issue and documentation speak of: `--users 100000 --groups 10000 --memberships
1000000`. Nothing but loopback is touched; slapd runs as whoever runs this, in a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.directory.company import company
from bench.directory.slapd import Slapd, missing
from bench.directory.work import CHANGES, Work, configuration
from bench.scim.figures import Figure, figure, figures_table
from syncd import sample

PARTS = ("first", "full", "poll", "read", "changes", "counted")
SHOWN = Console()
Pairs = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Limit:
    """A value of its own, and what it should stay below."""

    what: str
    value: float
    unit: str
    at_most: float

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "met": self.value <= self.at_most}


class Bench:
    """One directory, one syncd, and every run of a piece of work with what it found."""

    def __init__(self, folder: Path, rounds: int, peak_mib: float) -> None:
        self.folder, self.rounds, self.peak_mib = folder, rounds, peak_mib
        self.slapd = Slapd(folder)
        self.runs: list[dict[str, Any]] = []
        self.figures: list[Figure] = []
        self.limits: list[Limit] = []

    def work(self, piece: str) -> dict[str, Any]:
        SHOWN.log(piece)
        with (self.folder / "work.log").open("wb") as log:
            command = [sys.executable, "-m", "bench.directory.work", piece, str(self.folder)]
            done = subprocess.run(command, stdout=log, stderr=log, check=False)
        if done.returncode:
            raise SystemExit(f"{piece} failed:\n" + (self.folder / "work.log").read_text()[-3000:])
        found: dict[str, Any] = json.loads((self.folder / "work.json").read_text())
        self.runs.append({"piece": piece, **found})
        return found

    def first(self, beside: bool) -> None:
        """The first load, which everything else needs, and the same rows by the driver."""
        loaded = self.work("load")
        if not beside:
            return
        self.limits.append(Limit("peak memory of the first load", loaded["peak_mib"], "MiB", self.peak_mib))
        inserted = [self.work("insert") for _ in range(self.rounds)]
        beside_it = f"sqlite3 inserts the same {inserted[0]['rows']:,} rows"
        for kind, of in (("s", ""), ("cpu_s", ", processor time")):
            pairs = [(loaded[kind], each[kind]) for each in inserted]
            self.figures.append(figure(f"first load{of}", beside_it, pairs, "s", 4, at_least=False))

    def full(self) -> None:
        """The whole reconcile that finds nothing, beside the ldapsearch command over the same entries."""
        pairs, found = [], {}
        for _ in range(self.rounds):
            found = self.work("full")
            pairs.append((found["s"], self._ldapsearch()))
        self.figures.append(
            figure("full reconcile, no change", "ldapsearch > /dev/null", pairs, "s", 8, at_least=False)
        )
        self.limits.append(Limit("peak memory of the full reconcile", found["peak_mib"], "MiB", self.peak_mib))

    def _ldapsearch(self) -> float:
        started = time.perf_counter()
        for search in self._searches():
            self.slapd.search(search.base, search.filter, search.attributes)
        return time.perf_counter() - started

    def _searches(self) -> Iterable[Any]:
        reading = Work(self.folder).source.read(datetime.now(UTC))
        searches = list(reading.searches())
        reading.close()
        return searches

    def poll(self) -> None:
        found = self.work("polls")
        for beside, target in (("bare", 20.0), ("bare on an open connection", 20.0)):
            name = f"ldap3's poll{beside.removeprefix('bare')}"
            self.figures.append(
                figure("delta, no change", name, found[f"poll : {beside}"], "ms", target, at_least=False)
            )
        self.figures.append(
            figure("full reconcile, no change", "delta, no change", found["full : poll"], "ms", 200, at_least=True)
        )

    def changes(self) -> None:
        found, what = self.work("changes"), f"delta of {CHANGES} titles"
        for of in ("", ", processor time"):
            pairs: Pairs = found[f"delta, rows{of}"]
            self.figures.append(figure(f"{what}{of}", "the same rows by the door", pairs, "ms", 2, at_least=False))
            more = sorted(a - b for a, b in pairs)
            self.limits.append(Limit(f"{what} beyond its rows{of}", round(more[len(more) // 2], 1), "ms", 50))

    def read(self) -> None:
        rounds = [[self.work(piece) for piece in ("stock", "pages", "entries")] for _ in range(self.rounds)]
        for kind, of in (("s", ""), ("cpu_s", ", processor time")):
            times = [[each[kind] for each in one] for one in rounds]
            beside = f"ldap3 as it comes{of}"
            self.figures.append(figure(beside, "syncd's receive strategy", [(a, b) for a, b, _ in times], "s", 8))
            self.figures.append(figure(beside, "syncd's whole read", [(a, c) for a, _, c in times], "s", 8))
        some, people = self.work("entries_of_some"), self.work("entries_of_people")
        what, beside = (f"peak memory of a read of {each['entries']:,} people" for each in (people, some))
        pairs = [(people["peak_mib"], some["peak_mib"])]
        self.figures.append(figure(what, beside, pairs, "MiB", 1.1, at_least=False))

    def counted(self, users: int, groups: int) -> None:
        """What a whole reconcile and a delta ask the server, by its own log."""
        for piece, title in (("full", "full reconcile"), ("delta", "delta")):
            self.slapd.stop()
            self.slapd.start(counting=True)
            self.work(piece)
            counted = self.slapd.counted()
            self.runs.append({"piece": f"counted: {piece}", **asdict(counted)})
            self.limits.append(Limit(f"connections of a {title}, no change", counted.connections, "", 4))
            pages = -(-(users + 1) // 500) - (-groups // 500)
            most = (pages if piece == "full" else 0) + 20
            self.limits.append(Limit(f"searches of a {title}, no change", counted.searches, "", most))
        self.slapd.start()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.directory")
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--groups", type=int, default=2_000)
    parser.add_argument("--memberships", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3, help="of what takes seconds")
    parser.add_argument(
        "--only", nargs="+", default=PARTS, choices=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}"
    )
    asked = parser.parse_args()
    if absent := missing():
        SHOWN.print(f"left out: needs {', '.join(absent)} (apt-get install slapd ldap-utils)")
        return
    started, size = datetime.now(UTC), (asked.users, asked.groups, asked.memberships)
    with tempfile.TemporaryDirectory(prefix="syncd-bench-") as place:
        bench = Bench(Path(place), asked.rounds, 300 if asked.memberships <= 300_000 else 600)
        SHOWN.log("making {:,} users, {:,} groups, {:,} memberships".format(*size))
        bench.slapd.load(sample.ldif(company(*size)))
        bench.slapd.start()
        written = configuration(bench.slapd.url, bench.folder / "syncd.db")
        (bench.folder / "syncd.json").write_text(json.dumps(written))
        try:
            _measure(bench, asked.only, size)
        finally:
            bench.slapd.stop()
    SHOWN.print(figures_table(bench.figures), _limits_table(bench.limits))
    SHOWN.log("kept in", _keep(bench, started, vars(asked)))


def _measure(bench: Bench, only: Iterable[str], size: tuple[int, int, int]) -> None:
    bench.first(beside="first" in only)
    if "full" in only:
        bench.full()
    if "poll" in only:
        bench.poll()
    if "read" in only:
        bench.read()
    if "changes" in only:
        bench.changes()
    if "counted" in only:
        bench.counted(*size[:2])  # the last: the server starts anew for it, and its session log with it


def _limits_table(limits: Iterable[Limit]) -> Table:
    table = Table(title="limits")
    for column in ("what", "measured", "at most", "met"):
        table.add_column(column)
    for each in limits:
        met = "[green]yes[/]" if each.value <= each.at_most else "[red]no[/]"
        table.add_row(each.what, f"{each.value:,} {each.unit}", f"{each.at_most:,}", met)
    return table


def _keep(bench: Bench, started: datetime, asked: dict[str, Any]) -> Path:
    results = Path(__file__).parents[1] / "results"
    results.mkdir(exist_ok=True)
    raw = {
        "at": started.isoformat(timespec="seconds"),
        "took_s": round((datetime.now(UTC) - started).total_seconds()),
        "asked": asked,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} at the end",
        "figures": [each.as_json() for each in bench.figures],
        "limits": [each.as_json() for each in bench.limits],
        "runs": bench.runs,
    }
    path = results / f"directory-{asked['users']}-{started:%Y%m%d-%H%M%S}.json"
    path.write_text(json.dumps(raw, indent=2) + "\n")
    return path


if __name__ == "__main__":
    main()
