"""Pairs of work measured in turn (A B A B ...), so that a ratio holds while the machine's speed drifts."""

from __future__ import annotations

import gc
import os
import resource
import socket
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Pair:
    """Medians in milliseconds and their ratio, pair by pair. `floor` says what B is."""

    name: str
    a_ms: float
    b_ms: float
    ratio: float
    low: float
    high: float
    floor: str

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def pair(name: str, a: Callable[[], object], b: Callable[[], object], floor: str, rounds: int = 7) -> Pair:
    times = alternately(a, b, rounds)
    ratios = [first / second for first, second in times]
    return Pair(
        name,
        round(statistics.median(first for first, _ in times), 3),
        round(statistics.median(second for _, second in times), 3),
        round(statistics.median(ratios), 2),
        round(min(ratios), 2),
        round(max(ratios), 2),
        floor,
    )


def alternately(a: Callable[[], object], b: Callable[[], object], rounds: int) -> list[tuple[float, float]]:
    """Milliseconds of A and of B, after each was done once unmeasured."""
    a(), b()
    return [(_ms(a), _ms(b)) for _ in range(rounds)]


def _ms(work: Callable[[], object]) -> float:
    gc.collect()
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def peak_mib() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def cpu_s(roots: Iterable[int]) -> float:
    """Seconds of processor that these processes and all their children have taken so far; 0 where there is no /proc.

    Unlike a rate it hardly changes with what else runs on the machine.
    """
    tick = os.sysconf("SC_CLK_TCK")
    children: dict[int, list[int]] = {}
    ticks: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended just now
        pid = int(path.parent.name)
        children.setdefault(int(fields[1]), []).append(pid)
        ticks[pid] = sum(map(int, fields[11:15]))  # proc_pid_stat(5): utime, stime, and those of children waited for
    found, left = 0, list(roots)
    while left:
        pid = left.pop()
        found += ticks.get(pid, 0)
        left += children.get(pid, [])
    return found / tick


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
