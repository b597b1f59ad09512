"""What Prometheus is told: parsed as Prometheus would, against a store in which everything is going on."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from sqlalchemy import event, insert, update

from syncd.core.snapshot import SetAside
from syncd.errors import DatabaseUnavailable
from syncd.metrics import CONNECTIONS, Metrics, operation
from syncd.store import run_records
from syncd.store import tables as t
from syncd.timetable import Timetable

from .conftest import Service

WHERE = {"workspace": "default", "source": "corp"}


class Scrape:
    """One answer of /metrics."""

    def __init__(self, text: str) -> None:
        self.families = {each.name: each for each in text_string_to_metric_families(text)}
        self.samples: list[Sample] = [sample for each in self.families.values() for sample in each.samples]

    def value(self, name: str, **labels: str) -> float | None:
        """Of the only sample that has these labels."""
        found = [each for each in self.samples if each.name == name and labels.items() <= each.labels.items()]
        assert len(found) <= 1, found
        return found[0].value if found else None


def scraped(service: Service, **options: Any) -> Scrape:
    """Asked of a new application, as after a while: what it saw is not kept from before."""
    service.web = service.application(open_status=True, **options)
    answer = service.ask("GET", "/metrics", token=None)
    assert answer.status_code == 200 and answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Scrape(answer.text)


def ran(service: Service, status: str, ago: timedelta, aside: int = 0, tick: timedelta | None = None) -> None:
    """A run of `corp` that took two seconds. `tick`: how long ago it was due."""
    id, started = service.ids(), service.now - ago
    with service.database.writing() as conn:
        due = None if tick is None else service.now - tick
        run_records.begin(conn, service.workspaces["default"], id, "corp", False, "corp", started, scheduled_at=due)
        ended = started + timedelta(seconds=2)
        if status == "failed":
            run_records.failed(conn, "default", id, "no answer", ended)
            return
        run_records.end(conn, "default", id, status, ended, complete=True, counts={"read": 9, "set_aside": aside})
        run_records.write_set_aside(conn, "default", id, [SetAside(f"e{n}", "bad") for n in range(aside)])


def complete(service: Service, ago: timedelta) -> None:
    with service.database.writing() as conn:
        row = {**WHERE, "last_complete_at": service.now - ago, "last_users": 9}
        conn.execute(insert(t.source_states).values(**row))


def test_people_seats_and_events_are_counted(service: Service) -> None:
    for name in ("ann", "bob", "eve", "dan"):
        service.user(name, userType="Employee")
    service.user("out", active=False)
    seen = scraped(service)
    assert seen.value("syncd_users", workspace="default", status="active") == 4
    assert seen.value("syncd_users", workspace="default", status="inactive") == 1
    pool = {"workspace": "default", "pool": "internal"}
    assert [seen.value(f"syncd_seats_{each}", **pool) for each in ("limit", "used", "free", "waiting")] == [3, 3, 0, 1]
    assert seen.value("syncd_seats_free", workspace="other", pool="internal") == 3
    assert (seen.value("syncd_outbox_events", workspace="default", state="new") or 0) >= 5
    service.now += timedelta(hours=1)
    assert scraped(service).value("syncd_outbox_oldest_age_seconds", workspace="default") == 3600
    assert seen.value("syncd_outbox_oldest_age_seconds", workspace="other") == 0
    assert [seen.value(f"syncd_{each}") for each in ("database_up", "ready")] == [1, 1]


def test_revocations_that_wait_are_counted_by_webhook(service: Service) -> None:
    service.workspaces["default"] = replace(service.workspaces["default"], webhooks=("app", "other"))
    service.web = service.application()
    service.ask("PATCH", f"/api/v1/users/{service.user('ann')['id']}", {"title": "Lead"})
    assert service.ask("POST", f"/api/v1/users/{service.user('bob')['id']}/suspend").status_code == 200
    with service.database.writing() as conn:
        conn.execute(t.deliveries.delete().where(t.deliveries.c.webhook == "other"))
    service.now += timedelta(minutes=7)
    seen = scraped(service)
    app, other = ({"workspace": "default", "webhook": name} for name in ("app", "other"))
    assert seen.value("syncd_deliveries_outstanding", **app) == 1
    assert seen.value("syncd_delivery_oldest_age_seconds", **app) == 420
    assert seen.value("syncd_deliveries_outstanding", **other) == 0
    assert seen.value("syncd_delivery_oldest_age_seconds", **other) == 0
    assert seen.value("syncd_deliveries_outstanding", workspace="other", webhook="app") is None


def test_a_source_that_keeps_its_schedule(service: Service) -> None:
    hourly = {("default", "corp"): Timetable("0 * * * *")}  # the clock stands at 12:00
    for hours in range(30):
        ran(service, "clean", timedelta(hours=hours) - timedelta(seconds=7), aside=3, tick=timedelta(hours=hours))
    complete(service, timedelta(seconds=-7))
    service.now += timedelta(minutes=20)
    seen = scraped(service, timetables=hourly)
    assert seen.value("syncd_source_lag_seconds", **WHERE) == 0
    assert seen.value("syncd_source_complete_read_age_seconds", **WHERE) == 1193
    assert seen.value("syncd_source_start_lateness_seconds", **WHERE) == 7
    assert seen.value("syncd_source_missed_ticks", **WHERE) == 0
    assert seen.value("syncd_source_last_run_duration_seconds", **WHERE) == 2
    assert seen.value("syncd_source_last_run_status", **WHERE, status="clean") == 1
    assert seen.value("syncd_source_last_run_status", **WHERE, status="failed") == 0
    assert seen.value("syncd_source_runs_in_a_row", **WHERE) == 10
    assert seen.value("syncd_set_aside_entries", **WHERE) == 3
    assert seen.value("syncd_source_users", **WHERE) == 9


def test_a_source_that_fails_and_is_late(service: Service) -> None:
    hourly = {("default", "corp"): Timetable("0 * * * *")}
    complete(service, timedelta(hours=5, minutes=30))  # at 6:30
    ran(service, "clean", timedelta(hours=5, minutes=30))
    for hours in (3, 1):
        ran(service, "failed", timedelta(hours=hours), tick=timedelta(hours=hours))
    with service.database.writing() as conn:  # a time that was missed has a row, and is a miss all the same
        missed = {**WHERE, "id": "m", "dry_run": False, "status": "missed", "actor": "corp"}
        at = service.now - timedelta(hours=2)
        conn.execute(insert(t.runs).values(**missed, started_at=at, scheduled_at=at, finished_at=at))
    seen = scraped(service, timetables=hourly)
    assert seen.value("syncd_source_lag_seconds", **WHERE) == 5 * 3600  # since 7:00
    assert seen.value("syncd_source_missed_ticks", **WHERE) == 3  # 7:00, 8:00 and 10:00 of 7:00 ... 11:00
    assert seen.value("syncd_source_runs_in_a_row", **WHERE, status="failed") == 2
    assert seen.value("syncd_source_last_run_status", **WHERE, status="failed") == 1


def test_a_source_that_was_never_read_is_late_since_it_first_tried(service: Service) -> None:
    ran(service, "failed", timedelta(hours=2, minutes=10))
    seen = scraped(service, timetables={("default", "corp"): Timetable(timedelta(minutes=30))})
    assert seen.value("syncd_source_lag_seconds", **WHERE) == 7200
    assert seen.value("syncd_source_complete_read_age_seconds", **WHERE) is None
    assert scraped(service).value("syncd_source_lag_seconds", **WHERE) is None  # without a schedule


def test_only_runs_that_read_are_runs_of_a_source(service: Service) -> None:
    ran(service, "held", timedelta(hours=2))
    with service.database.writing() as conn:
        for id, more in (("approval", {"dry_run": False}), ("plan", {"dry_run": True})):
            row = {**WHERE, "id": id, "status": "applied", "actor": "root", "started_at": service.now, **more}
            conn.execute(insert(t.runs).values(**row, finished_at=service.now, counts={"suspend": 3}))
    assert scraped(service).value("syncd_source_last_run_status", **WHERE, status="held") == 1


def test_held_items_are_counted_by_kind(service: Service) -> None:
    with service.database.writing() as conn:
        for number in range(3):
            row = {**WHERE, "subject_id": f"u{number}", "kind": "suspend", "subject": "x", "guard": "limit", "why": ""}
            rest = {"digest": "d", "created_at": service.now, "changes": b"[]", "edits": b"[]"}
            conn.execute(insert(t.held).values(**row, **rest))
    assert scraped(service).value("syncd_held_items", **WHERE, kind="suspend") == 3


def test_tokens_tell_when_a_connection_ends(service: Service) -> None:
    def expiry(name: str) -> float | None:
        return scraped(service).value("syncd_token_expiry_seconds", workspace="default", connection=f"{name} test")

    day = timedelta(days=1)
    service.make_token("entra", expires_at=service.now + 60 * day)
    service.make_token("okta", expires_at=service.now + 2 * day)  # made for a short time: nobody wants to hear of it
    assert expiry("okta") is None and expiry("entra") == 60 * 86_400
    service.now += 50 * day
    service.make_token("entra", expires_at=service.now + 90 * day)  # rotated: the old one matters while it is used
    assert expiry("entra") == 90 * 86_400
    with service.database.writing() as conn:
        conn.execute(update(t.tokens).where(t.tokens.c.source == "entra").values(last_used_at=service.now))
    assert expiry("entra") == 10 * 86_400
    service.now += 11 * day
    assert expiry("entra") == 79 * 86_400  # what has expired is not used any more


def test_processes_and_their_heartbeats(service: Service) -> None:
    from syncd.store import leases

    assert scraped(service).value("syncd_processes", kind="worker") == 0
    with service.database.writing() as conn:
        leases.beat(conn, "worker", "0.1.0")
    seen = scraped(service)
    assert seen.value("syncd_processes", kind="worker") == 1 and seen.value("syncd_processes", kind="web") == 0
    assert 0 <= (seen.value("syncd_process_heartbeat_age_seconds", kind="worker", pid=str(os.getpid())) or 0) < 30


def test_a_scrape_takes_as_many_statements_for_many_sources_and_runs_as_for_one(service: Service) -> None:
    def statements() -> int:
        said: list[str] = []

        def listen(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
            said.append(statement)

        event.listen(service.database.engine, "before_cursor_execute", listen)
        scraped(service)
        event.remove(service.database.engine, "before_cursor_execute", listen)
        return len(said)

    before = statements()
    for hours in range(25):
        ran(service, "clean", timedelta(hours=hours))
    for name in ("a", "b", "c"):
        service.user(name, userType="Employee")
        service.workspaces[name] = service.workspaces["other"]
    assert statements() == before <= 20


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("PATCH", "/scim/v2/Users/{id}", "patch_user"),
        ("HEAD", "/scim/v2/Groups", "list_groups"),
        ("POST", "/scim/v2/Users/.search", "search_users"),
        ("GET", "/scim/v2/Schemas/{id}", "discover"),
        ("GET", "/readyz", "readyz"),
        ("PATCH", "/scim/v2/Users", "other"),
        ("GET", "/scim/{rest}", "other"),
    ],
)
def test_operations_have_names(method: str, path: str, name: str) -> None:
    assert operation(method, path) == name


def test_requests_are_counted_by_operation_and_connection_not_by_what_they_say(service: Service) -> None:
    service.web = service.application(open_status=True)
    made = service.user("ann")
    service.ask("GET", f"Users/{made['id']}")
    service.ask("GET", "Users/none")
    service.ask("GET", "Users", token=None)
    service.ask("BREW", "/scim/v2/coffee")
    text = service.ask("GET", "/metrics", token=None).text
    seen = Scrape(text)
    asked = {"workspace": "default", "connection": "okta test"}
    assert seen.value("syncd_requests_total", **asked, operation="create_user", status="201") == 1
    assert seen.value("syncd_requests_total", **asked, operation="get_user", status="404") == 1
    assert seen.value("syncd_request_duration_seconds_count", **asked, operation="get_user") == 2
    assert seen.value("syncd_requests_total", connection="", operation="other", status="401") == 1  # nobody asked
    assert seen.value("syncd_requests_in_flight") == 1  # this one
    assert made["id"] not in text and "coffee" not in text and "BREW" not in text


def test_connections_are_counted_apart_up_to_a_cap() -> None:
    metrics = Metrics()
    for number in range(CONNECTIONS + 50):
        metrics.answered("default", f"c{number}", "get_user", 200, 0.01)
    metrics.tell()
    seen = Scrape(metrics.page([]).decode())
    names = {each.labels["connection"] for each in seen.samples if each.name == "syncd_requests_total"}
    assert len(names) == CONNECTIONS + 1
    assert seen.value("syncd_requests_total", connection="other") == 50


@pytest.mark.parametrize("error", [DatabaseUnavailable("gone"), ZeroDivisionError("a bug")])
def test_a_database_that_does_not_answer_is_a_metric(
    service: Service, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def gone(*_: Any) -> None:
        raise error

    monkeypatch.setattr("syncd.store.migrate.revision", gone)
    seen = scraped(service)
    assert [seen.value(f"syncd_{each}") for each in ("database_up", "ready")] == [0, 0]
    assert seen.value("syncd_build_info") == 1 and "syncd_users" not in seen.families


def test_a_database_that_hangs_does_not_hang_the_scrape(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    ended = threading.Event()

    def hangs(_: Any) -> None:
        ended.wait(30)
        raise DatabaseUnavailable("at last")

    monkeypatch.setattr("syncd.store.migrate.revision", hangs)
    monkeypatch.setattr("syncd.gauges.PATIENCE_S", 0.05)
    try:
        assert scraped(service).value("syncd_database_up") == 0
    finally:
        ended.set()


def test_a_schema_of_another_release_is_not_ready(service: Service) -> None:
    with service.database.writing() as conn:
        conn.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    seen = scraped(service)
    assert [seen.value(f"syncd_{each}") for each in ("database_up", "ready")] == [1, 0]


def test_metrics_of_several_workspaces_need_the_permission_by_name(service: Service) -> None:
    everything, metrics, users = (service.make_token(allow=[each]) for each in ("*", "metrics:read", "users:read"))
    codes = [service.ask("GET", "/metrics", token=each).status_code for each in (everything, metrics, users)]
    assert codes == [403, 200, 403]
    assert service.ask("GET", "Users", token=metrics).status_code == 403
    del service.workspaces["other"]
    service.web = service.application()
    codes = [service.ask("GET", "/metrics", token=each).status_code for each in (everything, metrics, users)]
    assert codes == [200, 200, 403]


def test_the_event_loop_and_the_writer_are_watched(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio
    import time

    monkeypatch.setattr("syncd.metrics.STEP_S", 0.01)

    async def live() -> bytes:
        metrics = Metrics()
        watching = asyncio.create_task(metrics.watch(service.database))
        await asyncio.sleep(0.02)

        def work(_: Any) -> None:
            time.sleep(0.05)

        writes = [asyncio.create_task(service.database.write(work)) for _ in range(3)]
        await asyncio.sleep(0.03)
        time.sleep(0.2)  # noqa: ASYNC251 - what the gauge is for
        await asyncio.gather(*writes)
        await asyncio.sleep(0.03)
        watching.cancel()
        return metrics.page([])

    seen = Scrape(service.run(live()).decode())
    assert (seen.value("syncd_event_loop_lag_seconds") or 0) > 0.1
    assert (seen.value("syncd_process_resident_memory_bytes", kind="web") or 0) > 1 << 20
    if service.database.dialect == "sqlite":
        assert seen.value("syncd_writer_queue_depth") == 3
        assert seen.value("syncd_writer_wait_seconds_count") == 3


_SHARED = """
import sys
from syncd.metrics import Metrics
metrics = Metrics(sys.argv[1])
metrics.answered("default", "okta", "get_user", 200, 0.01)
metrics.tell()
if sys.argv[2:]:
    sys.stdout.write(metrics.page([]).decode())
"""


def test_several_processes_share_their_counts(tmp_path: Path) -> None:
    from prometheus_client.multiprocess import mark_process_dead

    env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}

    def run(*argv: str) -> tuple[int, str]:
        process = subprocess.Popen(
            [sys.executable, "-c", _SHARED, *argv], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        return process.pid, out

    worker, _ = run("worker")
    _, out = run("web", "page")
    seen = Scrape(out)
    assert seen.value("syncd_requests_total", operation="get_user") == 2
    assert seen.value("syncd_process_resident_memory_bytes", kind="worker", pid=str(worker)) is not None
    mark_process_dead(worker, str(tmp_path))
    seen = Scrape(run("web", "page")[1])
    assert seen.value("syncd_requests_total", operation="get_user") == 3  # what the dead one counted stays
    assert seen.value("syncd_process_resident_memory_bytes", kind="worker") is None
