"""What a process counts for Prometheus; what the database says is in gauges.py.

Names begin with `syncd_` and end in their base unit. Labels are bounded: operations by the routes there are, workspaces and
sources by the configuration, tolerances by their table, connections by a cap; nothing of a request's content. Several web
processes behind one port share their counts through files (PROMETHEUS_MULTIPROC_DIR, set by the supervisor before they start).
What requests count is gathered in this process and put there every STEP_S and before a page: a request pays for no file.
"""

from __future__ import annotations

import asyncio
import os
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from syncd.store.engine import Database

CONNECTIONS: Final = 200  # beyond these, connections are counted together as `other`
WINDOW_S: Final = 15.0  # a peak is shown for as long as a usual scrape interval
STEP_S: Final = 0.25
_BUCKETS: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def operation(method: str, route: str) -> str:
    """`patch_user` for PATCH and `/scim/v2/Users/{id}`; `other` for what no client should send."""
    return _OPERATIONS.get(("GET" if method == "HEAD" else method, route), "other")


def _operations() -> Iterator[tuple[tuple[str, str], str]]:
    for one, path in (("user", "/scim/v2/Users"), ("group", "/scim/v2/Groups")):
        yield ("GET", path), f"list_{one}s"
        yield ("POST", path), f"create_{one}"
        yield ("POST", f"{path}/.search"), f"search_{one}s"
        for method, verb in (("GET", "get"), ("PUT", "replace"), ("PATCH", "patch"), ("DELETE", "delete")):
            yield (method, f"{path}/{{id}}"), f"{verb}_{one}"
    yield ("POST", "/scim/v2/Bulk"), "bulk"
    yield ("GET", "/scim/v2/Events/{id}"), "get_event"
    for name in ("ServiceProviderConfig", "ResourceTypes", "ResourceTypes/{id}", "Schemas", "Schemas/{id}"):
        yield ("GET", f"/scim/v2/{name}"), "discover"
    for name, path in (("healthz", "/healthz"), ("readyz", "/readyz"), ("metrics", "/metrics"), ("status", "/")):
        yield ("GET", path), name


_OPERATIONS: Final = dict(_operations())


# -- counted by this process ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Spread:
    """Observations that their histogram has not been told of."""

    sum: float = 0.0
    within: list[int] = field(default_factory=lambda: [0] * (len(_BUCKETS) + 1))  # by the first bound that holds them

    def observe(self, amount: float) -> None:
        self.sum += amount
        self.within[bisect_left(_BUCKETS, amount)] += 1

    def tell(self, histogram: Histogram) -> None:
        """All at once: the library's `observe` takes one at a time, each of which writes to a file twice."""
        sum, within = self.sum, self.within
        self.sum, self.within = 0.0, [0] * len(within)
        histogram._sum.inc(sum)
        for bucket, n in zip(histogram._buckets, within, strict=True):
            if n:
                bucket.inc(n)


@dataclass(slots=True)
class _Answered:
    """Requests of one kind, since they were told of."""

    requests: Counter
    seconds: Histogram
    count: int = 0
    spread: _Spread = field(default_factory=_Spread)

    def tell(self) -> None:
        if self.count:
            self.requests.inc(self.count)
            self.count = 0
            self.spread.tell(self.seconds)


class Metrics:
    """What one process counts. Made after the supervisor set PROMETHEUS_MULTIPROC_DIR, or without it."""

    def __init__(self, kind: str = "web") -> None:
        self.registry = CollectorRegistry()
        self._shared = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        self._kind = kind
        self._connections: set[tuple[str, str]] = set()
        self._answered: dict[tuple[str, str, str, int], _Answered] = {}  # found by their labels once
        self._waits: deque[float] = deque()  # for the writer; another thread puts them in
        self.in_flight = 0
        asked = ("workspace", "connection", "operation")
        self._requests = Counter(
            "syncd_requests", "Requests answered, by HTTP status.", (*asked, "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "syncd_request_duration_seconds",
            "Time to answer a request.",
            asked,
            registry=self.registry,
            buckets=_BUCKETS,
        )
        self._tolerated = Counter(
            "syncd_scim_tolerances",
            "Requests that took a form RFC 7644 does not have, by the name of the tolerance.",
            ("workspace", "connection", "tolerance"),
            registry=self.registry,
        )
        self._refused = Counter(
            "syncd_scim_refused_forms",
            "Requests refused because the policy of their connection lacks a tolerance, by its name.",
            ("workspace", "connection", "tolerance"),
            registry=self.registry,
        )
        self._in_flight = Gauge(
            "syncd_requests_in_flight",
            "Requests being answered now.",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self._loop_lag = Gauge(
            "syncd_event_loop_lag_seconds",
            "The longest that the event loop of a web process was kept from running within the last 15 s.",
            registry=self.registry,
            multiprocess_mode="livemax",
        )
        self._queue = Gauge(
            "syncd_writer_queue_depth",
            "The most writes that waited for the SQLite writer at once within the last 15 s, the one being done included.",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self._waited = Histogram(
            "syncd_writer_wait_seconds",
            "How long a write waited for its turn at the SQLite writer.",
            registry=self.registry,
            buckets=_BUCKETS,
        )
        self._memory = Gauge(
            "syncd_process_resident_memory_bytes",
            "Memory of each process of this host that serves or works.",
            ("kind",),
            registry=self.registry,
            multiprocess_mode="liveall",
        )
        self.note_memory()

    def answered(self, workspace: str, connection: str, operation: str, status: int, took_s: float) -> None:
        """`workspace` and `connection` are empty for who showed no valid token."""
        key = (workspace, connection, operation, status)
        found = self._answered.get(key)
        if found is None:
            connection = self._label(workspace, connection)
            kept = (workspace, connection, operation, status)  # and so is bounded
            found = self._answered.get(kept)
            if found is None:
                requests = self._requests.labels(workspace, connection, operation, status)
                found = _Answered(requests, self._seconds.labels(workspace, connection, operation))
                self._answered[kept] = found
        found.count += 1
        found.spread.observe(took_s)

    def tolerated(self, workspace: str, connection: str, names: Iterable[str], lacked: Iterable[str] = ()) -> None:
        """A request took these tolerances, and was refused for want of those."""
        for counter, counted in ((self._tolerated, names), (self._refused, lacked)):
            for name in counted:
                counter.labels(workspace, self._label(workspace, connection), name).inc()

    def _label(self, workspace: str, connection: str) -> str:
        """The connection, while there are not too many."""
        known = (workspace, connection)
        if known not in self._connections:
            if len(self._connections) >= CONNECTIONS:
                return "other"
            self._connections.add(known)
        return connection

    def note_memory(self) -> None:
        try:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
        except OSError:  # not Linux
            return
        self._memory.labels(self._kind).set(pages * _PAGE_BYTES)

    async def watch(self, database: Database) -> None:
        """Look at the event loop and the writer's queue until cancelled."""
        database.on_writer_wait = self._waits.append
        peaks: deque[tuple[float, int]] = deque(maxlen=int(WINDOW_S / STEP_S))
        while True:
            for _ in range(peaks.maxlen or 1):
                before = time.perf_counter()
                await asyncio.sleep(STEP_S)
                peaks.append((max(0.0, time.perf_counter() - before - STEP_S), database.writes_waiting))
                self._loop_lag.set(max(lag for lag, _ in peaks))
                self._queue.set(max(waiting for _, waiting in peaks))
                self.tell()
            self.note_memory()

    def tell(self) -> None:
        """What was gathered goes where a page is made from. In the thread that counts."""
        for each in self._answered.values():
            each.tell()
        self._in_flight.set(self.in_flight)
        waited = _Spread()
        while self._waits:
            waited.observe(self._waits.popleft())
        waited.tell(self._waited)

    def page(self, facts: Iterable[Metric]) -> bytes:
        """What was told, by all processes that share their counts, and `facts`, in the text format 0.0.4."""
        shown = CollectorRegistry()
        if self._shared:
            MultiProcessCollector(shown, self._shared)
        else:
            shown.register(self.registry)
        shown.register(_Facts(facts))
        return generate_latest(shown)


@dataclass(frozen=True, slots=True, eq=False)
class _Facts(Collector):
    families: Iterable[Metric]

    def collect(self) -> Iterable[Metric]:
        return self.families
