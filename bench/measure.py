"""Pairs of work measured in turn (A B A B ...), so that a ratio holds while the machine's speed drifts."""

from __future__ import annotations

import gc
import resource
import socket
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass


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
    a(), b()
    times: list[tuple[float, float]] = []
    for _ in range(rounds):
        times.append((_ms(a), _ms(b)))
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


def _ms(work: Callable[[], object]) -> float:
    gc.collect()
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def peak_mib() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
