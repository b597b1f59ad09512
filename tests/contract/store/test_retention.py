"""What is kept how long, on both engines: small steps, nothing that anybody still needs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from door_stage import Stage, user
from syncd.core.snapshot import SetAside
from syncd.store import leases, retention, run_records, seals
from syncd.store import tables as t
from syncd.store.retention import KINDS, Retention

DAY = timedelta(days=1)
POLICY = Retention(activity=100 * DAY)


@pytest.fixture(autouse=True)
def long_ago(stage: Stage) -> None:
    """PostgreSQL's clock has a say: what it does not think old stays."""
    stage.now = datetime(2001, 1, 1, tzinfo=UTC)


def drop(stage: Stage, policy: Retention = POLICY) -> dict[str, int]:
    """A whole round; what went, by kind."""
    gone = {}
    for kind in KINDS:
        n = 0
        while True:
            with stage.database.reading() as conn:
                keys = retention.old(conn, kind, policy, stage.now)
            assert len(keys) <= retention.STEP
            if not keys:
                break
            n += stage.database.write_now(
                lambda conn, kind=kind, keys=keys: retention.drop(conn, kind, keys, policy, stage.now, stage.ids)
            )
        if n:
            gone[kind] = n
    stage.sound()
    return gone


def sealed(stage: Stage) -> None:
    with stage.database.writing() as conn:
        block = seals.due(conn, "default", stage.now)
        assert block is not None and seals.write(conn, block, stage.now)


def figures(stage: Stage, policy: Retention = POLICY) -> dict[str, int]:
    with stage.database.reading() as conn:
        return retention.figures(conn, policy, stage.now)


def put(stage: Stage, table: Any, *rows: dict[str, Any]) -> None:
    with stage.database.writing() as conn:
        conn.execute(insert(table), list(rows))


def run(stage: Stage, id: str, source: str = "corp", status: str | None = "applied", aside: int = 0) -> None:
    with stage.database.writing() as conn:
        run_records.begin(conn, stage.workspace, id, source, False, "root", stage.now)
        run_records.write_set_aside(conn, "default", id, [SetAside(f"uid={n}", "bad") for n in range(aside)])
        if status:
            run_records.end(conn, "default", id, status, stage.now)
        item = {"workspace": "default", "run_id": id, "batch": 0, "state": "planned", "edits": b"[]", "expected": {}}
        conn.execute(insert(t.run_items), [{**item, "ordinal": n, "changes": b"[]"} for n in range(2)])


def test_details_of_finished_runs_go_first_then_the_runs_but_for_the_last_of_a_source(stage: Stage) -> None:
    run(stage, "r1", aside=450)
    run(stage, "r2", "lab")
    stage.later(days=1)
    run(stage, "r3", aside=1)
    stage.later(days=6, hours=1)
    assert figures(stage) == {"set_aside": 450, "run_items": 4} == drop(stage)
    assert [row.run_id for row in stage.rows(t.set_aside)] == ["r3"]
    stage.later(days=400)
    assert drop(stage) == {"set_aside": 1, "run_items": 2, "runs": 1}
    assert sorted(row.id for row in stage.rows(t.runs)) == ["r2", "r3"]
    assert figures(stage) == {}


@pytest.mark.parametrize("status", ["reading", "deciding", "applying"])
def test_what_an_unfinished_run_needs_is_kept_at_any_age(stage: Stage, status: str) -> None:
    run(stage, "r1", status=None, aside=3)
    with stage.database.writing() as conn:
        conn.execute(t.runs.update().values(status=status))
    stage.later(days=1)
    run(stage, "r2", aside=1)
    stage.later(days=5000)
    assert drop(stage) == {"set_aside": 1, "run_items": 2}
    assert (len(stage.rows(t.set_aside)), len(stage.rows(t.run_items)), len(stage.rows(t.runs))) == (3, 2, 2)


def test_details_of_a_run_that_is_not_there_go(stage: Stage) -> None:
    put(stage, t.set_aside, {"workspace": "default", "run_id": "r0", "ordinal": 0, "entry": "e", "why": "w"})
    assert drop(stage) == {"set_aside": 1}


def test_events_losses_tokens_leases_and_heartbeats(stage: Stage) -> None:
    def old(days: float) -> datetime:
        return stage.now - timedelta(days=days)

    event = {"workspace": "default", "topic": "user.changed", "subject_id": "u", "payload": {}, "attempts": 0}
    states = [("delivered", 8), ("delivered", 6), ("new", 31), ("new", 29), ("claimed", 31), ("failed", 31), ("new", 0)]
    put(stage, t.outbox, *({**event, "id": f"e{n}", "state": s, "at": old(days)} for n, (s, days) in enumerate(states)))
    loss = {"workspace": "default", "source": "corp", "kind": "deactivate", "run_id": ""}
    put(stage, t.losses, *({**loss, "subject_id": f"u{n}", "at": old(n)} for n in (0, 1, 3)))
    token = {"workspace": "default", "name": "n", "source": "scim", "hash": b"h", "allow": [], "created_at": old(900)}
    dates = [(None, None), (old(91), None), (old(89), None), (None, old(91)), (stage.now + DAY, old(91))]
    put(
        stage, t.tokens, *({**token, "id": f"t{n}", "expires_at": e, "revoked_at": r} for n, (e, r) in enumerate(dates))
    )
    lease = {"workspace": "default", "holder": "h", "fence": 1}
    with stage.database.reading() as conn:
        there = leases.moment(conn)  # the clock these go by
    put(stage, t.leases, *({**lease, "name": f"l{n}", "expires_at": there - n * DAY} for n in (0, 2)))
    process = {"kind": "web", "host": "h", "pid": 1, "release": "1", "started_at": old(9)}
    with stage.database.writing() as conn:
        conn.execute(insert(t.processes), [{**process, "id": f"p{n}", "beat_at": there - n * DAY} for n in (0, 2)])
    gone = {"outbox": 1, "outbox_undelivered": 3, "losses": 1, "tokens": 3, "leases": 1, "processes": 1}
    assert figures(stage) == gone == drop(stage)
    assert [row.id for row in stage.rows(t.tokens)] == ["t0", "t2"]
    never = Retention(*[None] * 6, losses=timedelta(days=900))
    stage.later(days=800)
    assert drop(stage, never) == {}


def test_a_lease_that_was_taken_again_meanwhile_stays(stage: Stage) -> None:
    with stage.database.reading() as conn:
        there = leases.moment(conn)
    row = {"workspace": "default", "holder": "h", "fence": 1, "name": "corp", "expires_at": there - 2 * DAY}
    put(stage, t.leases, row)
    with stage.database.reading() as conn:
        keys = retention.old(conn, "leases", POLICY, stage.now)
    with stage.database.writing() as conn:
        conn.execute(t.leases.update().values(expires_at=there + DAY))
        assert len(keys) == 1 and retention.drop(conn, "leases", keys, POLICY, stage.now, stage.ids) == 0


def test_activity_is_kept_for_ever_unless_its_days_are_limited(stage: Stage) -> None:
    """It goes by whole seals, from the front; what is not sealed stays, and so do the seals."""
    for name in ("u1", "u2"):
        stage.do(user(name))
        stage.later(days=50)
        sealed(stage)
    stage.do(user("u3"))
    assert "activity" not in figures(stage, Retention())
    assert "activity" not in drop(stage)
    stage.later(days=51)
    assert figures(stage)["activity"] == drop(stage)["activity"] == 1
    assert [row.subject for row in stage.rows(t.activity)] == ["u2", "u3", "activity"]
    assert len(stage.rows(t.activity_payloads)) == 3
    stage.later(days=100)
    assert drop(stage)["activity"] == 1
    assert [row.subject for row in stage.rows(t.activity)][:2] == ["u3", "activity"]
    assert [row.dropped_at is not None for row in stage.rows(t.activity_seals)] == [True, True]


def test_tidying_changes_nothing(stage: Stage) -> None:
    stage.do(user("u1"))
    retention.tidy(stage.database)
    assert stage.statuses() == {"u1": "active"}
    stage.sound()
