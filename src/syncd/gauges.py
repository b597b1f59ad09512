"""What the database says, as metrics: made of store.standing and health at the moment of asking.

The same from whichever web process answers. A database that does not answer is a metric, not an error, and one that hangs is
not waited for: Prometheus must hear of it.
"""

from __future__ import annotations

import asyncio
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version as installed
from typing import Any, Final

import structlog
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from syncd.core.workspace import Workspace
from syncd.errors import DatabaseUnavailable
from syncd.health import Timetables, punctuality
from syncd.store import migrate, standing
from syncd.store.engine import Database
from syncd.store.standing import SourceSeen, Standing, WorkspaceSeen

log = structlog.get_logger(__name__)
CACHE_S: Final = 5.0
PATIENCE_S: Final = 4.0  # for the database, within Prometheus's own 10 s
STATUSES: Final = ("applied", "clean", "held", "incomplete", "failed")
MOST_CONNECTIONS: Final = 200  # of a workspace, those that expire first


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at the database: whether it answered, its schema will do, and how everything stands."""

    up: bool
    usable: bool
    standing: Standing | None
    took_s: float


class Looking:
    """Looks at the database for scrapes: at most one look at a time, kept for `cache_s`, and never waited for too long."""

    def __init__(
        self,
        database: Database,
        workspaces: Iterable[Workspace],
        clock: Callable[[], datetime],
        cache_s: float = CACHE_S,
    ) -> None:
        self._database, self._workspaces, self._clock = database, tuple(workspaces), clock
        self._cache_s = cache_s
        self._seen: Seen | None = None
        self._seen_at = float("-inf")
        self._looking: asyncio.Future[Seen] | None = None

    async def seen(self) -> Seen:
        if self._seen is not None and time.monotonic() - self._seen_at < self._cache_s:
            return self._seen
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(asyncio.to_thread(self._look))
        try:
            found = await asyncio.wait_for(asyncio.shield(self._looking), PATIENCE_S)
        except TimeoutError:
            return Seen(False, False, None, PATIENCE_S)
        self._seen, self._seen_at = found, time.monotonic()
        return found

    def _look(self) -> Seen:
        started = time.perf_counter()
        usable, found = False, None
        try:
            known = migrate.revision(self._database)
            # A newer release's schema will do for a process that runs already (migrate.require_usable).
            usable = known.up_to_date or (known.current is not None and not known.known)
            if usable:
                with self._database.reading() as conn:
                    found = standing.read(conn, self._workspaces, self._clock())
        except DatabaseUnavailable:
            return Seen(False, False, None, time.perf_counter() - started)
        except Exception:  # whatever is wrong with it, Prometheus is answered
            log.exception("database_not_understood")
            return Seen(False, False, None, time.perf_counter() - started)
        return Seen(True, usable, found, time.perf_counter() - started)


def families(seen: Seen, timetables: Timetables) -> list[Metric]:
    """Everything the database says. Without a standing only that there is none."""
    release = installed("syncd")
    found = [
        _one("syncd_database_up", "1 if the database answers.", seen.up),
        _one("syncd_ready", "1 if the database answers and its schema will do for this release.", seen.usable),
        _one("syncd_database_look_seconds", "How long it took to ask the database for all this.", seen.took_s),
        _labelled(
            "syncd_build_info",
            "The release that answers.",
            [(1, {"release": release, "python": platform.python_version()})],
        ),
    ]
    if seen.standing is None:
        return found
    workspaces = seen.standing.workspaces
    return [
        *found,
        *_processes(seen.standing),
        *_people(workspaces),
        *_sources(seen.standing, timetables),
        *_guards(workspaces),
        *_seats(workspaces),
        *_deliveries(seen.standing),
    ]


Samples = Iterable[tuple[float | None, dict[str, str]]]  # None: not known, so not said


def _one(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


def _labelled(name: str, text: str, samples: Samples) -> Metric:
    family = GaugeMetricFamily(name, text)
    for value, labels in samples:
        if value is not None:
            family.add_sample(name, labels, float(value))
    return family


def _processes(seen: Standing) -> Iterator[Metric]:
    yield _labelled(
        "syncd_processes",
        "Processes with a heartbeat within the last 30 s.",
        [(seen.alive(kind), {"kind": kind}) for kind in ("web", "worker")],
    )
    yield _labelled(
        "syncd_process_heartbeat_age_seconds",
        "Since the last heartbeat of each process that had one within a day.",
        [(each.age_s, {"kind": each.kind, "host": each.host, "pid": str(each.pid)}) for each in seen.processes],
    )


def _people(workspaces: Iterable[WorkspaceSeen]) -> Iterator[Metric]:
    yield _labelled(
        "syncd_users",
        "Users by status.",
        [(n, {"workspace": each.name, "status": status}) for each in workspaces for status, n in each.users.items()],
    )
    yield _labelled("syncd_groups", "Groups.", [(each.groups, {"workspace": each.name}) for each in workspaces])


def _sources(seen: Standing, timetables: Timetables) -> Iterator[Metric]:
    found = [
        (
            {"workspace": each.name, "source": source.name},
            source,
            punctuality(source, timetables.get((each.name, source.name)), seen),
        )
        for each in seen.workspaces
        for source in each.sources
    ]

    def each_source(name: str, text: str, value: Callable[[SourceSeen], float | None]) -> Metric:
        return _labelled(f"syncd_source_{name}", text, [(value(source), labels) for labels, source, _ in found])

    def each_kept(name: str, text: str, value: Callable[[Any], float | None]) -> Metric:
        return _labelled(f"syncd_source_{name}", text, [(value(kept), labels) for labels, _, kept in found])

    yield each_kept(
        "lag_seconds",
        "Since a complete read was due that has not come; 0 on time. Only of sources with a schedule.",
        lambda kept: kept.lag_s,
    )
    yield each_kept(
        "complete_read_age_seconds", "Since the last complete read of a source began.", lambda kept: kept.age_s
    )
    yield each_kept(
        "start_lateness_seconds",
        "How long after its scheduled time the last scheduled run began.",
        lambda kept: kept.lateness_s,
    )
    yield each_kept(
        "missed_ticks", "Scheduled times of the last 24 h for which no run began.", lambda kept: kept.missed
    )
    yield each_source("users", "Users that the last complete read of a source found.", lambda source: source.users)
    yield each_source(
        "drift", "Differences that the last whole read found and deltas had not told.", lambda source: source.drift
    )
    yield each_source(
        "groups_outside",
        "Groups below no base that the last whole read came upon: moved away, or members of groups that are read.",
        lambda source: len(source.groups_outside) if source.groups_outside is not None else None,
    )
    yield each_source("last_run_duration_seconds", "How long the last run that ended took.", _took_s)
    yield _labelled(
        "syncd_source_last_run_status",
        "How the last run that ended did so: 1 for that status, 0 for the others.",
        [
            (source.last_ended.status == status, {**labels, "status": status})
            for labels, source, _ in found
            if source.last_ended is not None
            for status in STATUSES
        ],
    )
    yield _labelled(
        "syncd_source_runs_in_a_row",
        f"How many of the last runs ended as the very last one did, counted up to {standing.RUNS}.",
        [
            (source.in_a_row, {**labels, "status": source.last_ended.status})
            for labels, source, _ in found
            if source.last_ended is not None
        ],
    )
    yield _labelled(
        "syncd_set_aside_entries",
        "Entries that the last run set aside.",
        [(source.last_ended.set_aside, labels) for labels, source, _ in found if source.last_ended is not None],
    )


def _took_s(source: SourceSeen) -> float | None:
    run = source.last_ended
    return None if run is None or run.finished_at is None else (run.finished_at - run.started_at).total_seconds()


def _guards(workspaces: Iterable[WorkspaceSeen]) -> Iterator[Metric]:
    yield _labelled(
        "syncd_held_items",
        "What guards hold until a person approves or discards it, by kind of loss.",
        [
            (held.items, {"workspace": each.name, "source": held.source, "kind": held.kind})
            for each in workspaces
            for held in each.held
        ],
    )


def _seats(workspaces: Iterable[WorkspaceSeen]) -> Iterator[Metric]:
    found = [({"workspace": each.name, "pool": pool.pool}, pool) for each in workspaces for pool in each.pools]
    limited = [(labels, pool, pool.limit) for labels, pool in found if pool.limit is not None]
    yield _labelled("syncd_seats_used", "Seats that are taken.", [(pool.used, labels) for labels, pool in found])
    yield _labelled(
        "syncd_seats_waiting", "People who wait for a seat.", [(pool.waiting, labels) for labels, pool in found]
    )
    yield _labelled(
        "syncd_seats_limit", "Seats there are; not of pools without a limit.", [(n, labels) for labels, _, n in limited]
    )
    yield _labelled(
        "syncd_seats_free",
        "Seats that are left; below 0 where more are taken than there are.",
        [(limit - pool.used, labels) for labels, pool, limit in limited],
    )


def _deliveries(seen: Standing) -> Iterator[Metric]:
    workspaces = seen.workspaces
    yield _labelled(
        "syncd_outbox_events",
        "Events for others by state; `new` ones nobody has taken yet.",
        [
            (n, {"workspace": each.name, "state": state})
            for each in workspaces
            for state, n in {"new": 0, **each.outbox}.items()
        ],
    )
    yield _labelled(
        "syncd_outbox_oldest_age_seconds",
        "Since the oldest event that nobody has taken yet; 0 without one.",
        [
            (
                0 if each.outbox_since is None else (seen.at - each.outbox_since).total_seconds(),
                {"workspace": each.name},
            )
            for each in workspaces
        ],
    )
    owed = [
        ({"workspace": each.name, "webhook": name}, {one.webhook: one for one in each.owed}.get(name))
        for each in workspaces
        for name in sorted({*each.webhooks, *(one.webhook for one in each.owed)})
    ]
    yield _labelled(
        "syncd_deliveries_outstanding",
        "Revocations that a webhook has not acknowledged yet.",
        [(one.outstanding if one else 0, labels) for labels, one in owed],
    )
    yield _labelled(
        "syncd_delivery_oldest_age_seconds",
        "Since the oldest revocation that a webhook has not acknowledged yet; 0 without one.",
        [((seen.at - one.since).total_seconds() if one else 0, labels) for labels, one in owed],
    )
    yield _labelled(
        "syncd_mail_waiting",
        "Letters that wait.",
        [(each.mail.waiting, {"workspace": each.name}) for each in workspaces],
    )
    yield _labelled(
        "syncd_mail_oldest_age_seconds",
        "Since the oldest letter that waits was written; 0 without one.",
        [
            (0 if each.mail.since is None else (seen.at - each.mail.since).total_seconds(), {"workspace": each.name})
            for each in workspaces
        ],
    )
    yield _labelled(
        "syncd_mail_refused",
        "Letters that a mail server refused for good, or that were given up, within 7 days.",
        [(each.mail.refused, {"workspace": each.name}) for each in workspaces],
    )
    yield _labelled(
        "syncd_token_expiry_seconds",
        "Until the token of a connection expires, below 0 since it did. Not of tokens that last for ever.",
        [
            ((token.expires_at - seen.at).total_seconds(), {"workspace": each.name, "connection": token.name})
            for each in workspaces
            for token in each.expiring[:MOST_CONNECTIONS]
        ],
    )
