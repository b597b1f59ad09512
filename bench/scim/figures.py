"""Targets, and what was measured beside them. Printing is all the judging there is: no figure fails a run."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from rich.table import Table

from bench.scim.drive import Measured
from bench.scim.servers import Server

# How many times the best peer's rate, by operation: (syncd on SQLite, on PostgreSQL).
TARGETS = {
    "get": (3.0, 1.0),
    "filter": (3.0, 1.0),
    "list": (40.0, 10.0),
    "create": (1.5, 1.0),
    "patch-name": (2.0, 1.0),
    "patch-active": (2.0, 1.0),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """A ratio: median, least and most over rounds. `at_least`: it should be as much as the target; else at most."""

    what: str
    compared_with: str
    a: str
    b: str
    ratio: float
    low: float
    high: float
    target: float
    at_least: bool = True

    @property
    def met(self) -> bool:
        return self.ratio >= self.target if self.at_least else self.ratio <= self.target

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "met": self.met}


def figure(
    what: str, compared_with: str, pairs: Sequence[tuple[float, float]], unit: str, target: float, at_least: bool = True
) -> Figure:
    """`pairs`: what was measured in turn, A and what it is compared with."""
    ratios = [a / b for a, b in pairs]
    shown = [f"{statistics.median(each):,.4g} {unit}" for each in zip(*pairs, strict=True)]
    low, high = round(min(ratios), 2), round(max(ratios), 2)
    return Figure(
        what, compared_with, shown[0], shown[1], round(statistics.median(ratios), 2), low, high, target, at_least
    )


def against_peers(runs: Iterable[Measured], servers: Sequence[Server]) -> list[Figure]:
    """Each operation of ours against the best peer of that operation, round by round."""
    rates: dict[tuple[str, str], dict[int, float]] = {}
    for run in runs:
        rates.setdefault((run.operation, run.server), {})[run.round] = run.per_s
    found = []
    for operation, targets in TARGETS.items():
        theirs = {
            each.name: rates[operation, each.name]
            for each in servers
            if not each.ours and (operation, each.name) in rates
        }
        if not theirs:
            continue
        best = max(theirs, key=lambda name: statistics.median(theirs[name].values()))
        for server, target in zip([each for each in servers if each.ours], targets, strict=False):
            if own := rates.get((operation, server.name)):
                pairs = [(own[n], theirs[best][n]) for n in own]
                found.append(figure(f"{operation}, {server.name}", best, pairs, "/s", target))
    return found


def rates_table(runs: Sequence[Measured], title: str) -> Table:
    """Requests a second and milliseconds, medians over rounds."""
    servers = list(dict.fromkeys(run.server for run in runs))
    table = Table(title=title)
    table.add_column("requests a second (CPU µs each; p99 ms)")
    for name in servers:
        table.add_column(name, justify="right")
    for operation in dict.fromkeys(run.operation for run in runs):
        cells = []
        for name in servers:
            own = [run for run in runs if (run.operation, run.server) == (operation, name)]
            rate, cpu, p99 = (
                statistics.median(getattr(run, of) for run in own) for of in ("per_s", "cpu_us", "p99_ms")
            )
            cells.append(f"{rate:,.0f} ({cpu:,.0f}; {p99:,.0f})")
        table.add_row(operation, *cells)
    return table


def figures_table(figures: Sequence[Figure]) -> Table:
    table = Table(title="figures")
    for column in ("what", "measured", "beside", "measured", "ratio", "min-max", "target", "met"):
        table.add_column(column)
    for each in figures:
        sign = "≥" if each.at_least else "≤"
        spread, target = f"{each.low}-{each.high}", f"{sign} {each.target:g}"
        met = "[green]yes[/]" if each.met else "[red]no[/]"
        table.add_row(each.what, each.a, each.compared_with, each.b, f"{each.ratio}", spread, target, met)
    return table
