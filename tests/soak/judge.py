"""What a soak is judged by, and its report. Each check has a name, a verdict and the figures it rests on."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import orjson
from sqlalchemy import func, select

from soak.load import WRITES
from soak.watch import Watch
from soak.world import World
from syncd.store import tables as t
from syncd.store.engine import Database
from syncd.store.invariants import check

GROWTH = 0.05  # of a process after its warm-up
JUDGED_FROM_S = 300  # of measured time after the warm-up: before, caches still fill


@dataclass(frozen=True)
class Limits:
    """Of latencies, in ms; None: not judged."""

    p95_ms: float | None = 100
    p99_ms: float | None = 250


@dataclass
class Report:
    facts: dict[str, Any] = field(default_factory=dict)
    checks: list[tuple[str, bool, str]] = field(default_factory=list)

    def judge(self, name: str, good: bool, figures: str) -> None:
        self.checks.append((name, good, figures))

    @property
    def good(self) -> bool:
        return all(good for _, good, _ in self.checks)

    def markdown(self) -> str:
        lines = ["# Soak", ""]
        lines += [f"- {name}: {value}" for name, value in self.facts.items() if not isinstance(value, list | dict)]
        lines += ["", "| check | | figures |", "|---|---|---|"]
        lines += [f"| {name} | {'ok' if good else '**FAILED**'} | {figures} |" for name, good, figures in self.checks]
        lines += ["", "| operation | n | p50 ms | p95 ms | p99 ms | max ms |", "|---|---|---|---|---|---|"]
        lines += [
            f"| {name} | {row['n']} | {row['p50']} | {row['p95']} | {row['p99']} | {row['max']} |"
            for name, row in self.facts["latencies"].items()
        ]
        lines += ["", "| process | MiB after warm-up | MiB at the end | growth |", "|---|---|---|---|"]
        lines += [
            f"| {row['process']} | {row['before']} | {row['after']} | {row['growth']} |" for row in self.facts["memory"]
        ]
        lines += ["", "Warnings and errors in the log: " + (str(self.facts["log"]) or "none"), ""]
        return "\n".join(lines)

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.md").write_text(self.markdown(), encoding="utf-8")
        checks = [{"name": name, "good": good, "figures": figures} for name, good, figures in self.checks]
        (folder / "report.json").write_bytes(
            orjson.dumps({**self.facts, "checks": checks}, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS)
        )


def percentile(values: Sequence[float], share: float) -> float:
    return round(sorted(values)[min(len(values) - 1, int(len(values) * share))], 1)


def judge_load(report: Report, load: dict[str, Any], limits: Limits) -> None:
    latencies = {name: [ms for _, ms in found] for name, found in sorted(load["latencies"].items())}
    latencies["all reads"] = [ms for name, found in latencies.items() if name not in WRITES for ms in found]
    latencies["all writes"] = [ms for name, found in latencies.items() if name in WRITES for ms in found]
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    report.facts["latencies"] = {
        name: {"n": len(found), **{each: percentile(found, share) for each, share in shares.items()}}
        for name, found in latencies.items()
        if found
    }
    report.facts["statuses"] = load["statuses"]
    n = sum(load["statuses"].values())
    report.facts["requests"] = f"{n} in {load['seconds']:.0f} s"
    report.judge("every answer is right", not load["wrong_count"], _some(load["wrong_count"], load["wrong"]))
    report.judge(
        "what was acknowledged is so",
        not load["differences_count"],
        _some(load["differences_count"], load["differences"]),
    )
    late = percentile(load["late_ms"], 0.99)
    report.facts["the load program itself was late (p99)"] = f"{late} ms"
    for name in ("all reads", "all writes"):
        row = report.facts["latencies"][name]
        for each, limit in (("p95", limits.p95_ms), ("p99", limits.p99_ms)):
            if limit is not None:
                report.judge(f"{each} of {name} below {limit:.0f} ms", row[each] < limit, f"{row[each]} ms")


def judge_watch(report: Report, watch: Watch, seconds: float) -> None:
    """The median of the first fifth after the warm-up against that of the last."""
    warm = min(max(60.0, seconds / 5), seconds / 2)
    report.facts["memory"] = rows = []
    grown = []
    for (what, pid), samples in sorted(watch.memory.items()):
        kept = [kib for at, kib in samples if at >= warm]
        fifth = max(1, len(kept) // 5)
        if not kept:
            continue
        before, after = median(kept[:fifth]), median(kept[-fifth:])
        growth = after / before - 1
        rows.append(
            {
                "process": f"{what} {pid}",
                **{"before": round(before / 1024, 1), "after": round(after / 1024, 1), "growth": f"{growth:+.1%}"},
            }
        )
        rows[-1]["series"] = [round(kib / 1024, 1) for _, kib in samples[:: max(1, len(samples) // 20)]]
        if growth >= GROWTH:
            grown.append(f"{what} {growth:+.1%}")
    if seconds - warm >= JUDGED_FROM_S:
        report.judge(f"memory grows less than {GROWTH:.0%}", not grown, ", ".join(grown) or "none did")
    roles = Counter(what for what, _ in watch.memory)
    report.judge(
        "no process had to be started again", max(roles.values(), default=0) <= 1 or _once(watch), str(dict(roles))
    )
    report.judge("always ready", not watch.not_ready, _some(len(watch.not_ready), watch.not_ready))


def _once(watch: Watch) -> bool:
    """Several web processes are one set from the first sample to the last."""
    first = max(samples[0][0] for samples in watch.memory.values())
    last = min(samples[-1][0] for samples in watch.memory.values())
    return first < last and first < 15


def judge_database(report: Report, world: World, seconds: float, period_s: float) -> None:
    app = world.app()
    database = Database(world.database)
    finish(world, database)
    with closing(database), database.reading() as conn:
        now = app.clock()
        broken = [f"{name}: {line}" for name in world.names for line in check(conn, app.workspace(name), now)]
        report.judge("every invariant holds", not broken, _some(len(broken), broken))
        r = t.runs.c
        runs = conn.execute(
            select(r.workspace, r.status, r.scheduled_at, r.started_at, r.finished_at, r.message).order_by(r.started_at)
        ).all()
        statuses = Counter(row.status for row in runs)
        report.facts["runs"] = str(dict(statuses))
        # Those that the end of the daemon stopped go on when it starts again.
        bad = [
            f"{row.workspace}: {row.status} {row.message}"
            for row in runs
            if row.status in ("failed", "missed", "held") and "told to end" not in (row.message or "")
        ]
        report.judge("no run failed, was missed or held", not bad, _some(len(bad), bad))
        least = int(seconds // period_s) - 1
        per = Counter(row.workspace for row in runs if row.finished_at)
        few = [f"{name}: {per[name]}" for name in world.names if per[name] < least]
        report.judge(f"at least {least} runs of each source", not few, _some(len(few), few))
        took = sorted((row.finished_at - row.started_at) / timedelta(seconds=1) for row in runs if row.finished_at)
        if took:
            report.facts["a run took"] = f"p50 {percentile(took, 0.5)} s, max {took[-1]:.1f} s"
        late = [(row.started_at - row.scheduled_at) / timedelta(seconds=1) for row in runs if row.scheduled_at]
        if late:
            report.facts["a run began after its time"] = f"p50 {percentile(late, 0.5)} s, max {max(late):.1f} s"
        left = {
            table.name: n
            for table in (t.leases, t.run_items)
            if (n := conn.scalar(select(func.count()).select_from(table)))
        }
        left |= (
            {"runs under way": n} if (n := statuses["applying"] + statuses["reading"] + statuses["deciding"]) else {}
        )
        report.judge("nothing is left under way", not left, str(left) if left else "no lease, no item")


def finish(world: World, database: Database) -> None:
    """What the daemon was applying when it was told to end, the next run finishes."""
    r = t.runs.c
    with database.reading() as conn:
        begun = list(conn.scalars(select(r.workspace).where(r.status == "applying").distinct()))
    for name in begun:
        command = [sys.executable, "-m", "syncd", "sync", "corp", "--workspace", name]
        subprocess.run(command, env=world.env, cwd=world.folder, check=True, capture_output=True)


def judge_log(report: Report, log: Path, exit_code: int) -> None:
    events: Counter[str] = Counter()
    errors = []
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            found = orjson.loads(line)
        except orjson.JSONDecodeError:
            errors.append(line)
            continue
        if found.get("level") not in ("debug", "info"):
            events[f"{found.get('level')} {found.get('event')}"] += 1
        if found.get("level") in ("error", "critical"):
            errors.append(line[:300])
    report.facts["log"] = dict(events)
    report.judge("no error in the log", not errors, _some(len(errors), errors))
    report.judge("ended in order when told", exit_code == 0, f"exit {exit_code}")


def _some(n: int, lines: Iterable[str]) -> str:
    return "none" if not n else f"{n}: " + "; ".join(line.replace("|", "/") for line in list(lines)[:5])
