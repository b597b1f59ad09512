"""The timers' own decisions, on a small SQLite file: turns, leaps of the clock, one bad user, and work in small steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import Connection

from door_stage import Stage, policy, staff, user
from syncd import timers
from syncd.core.actor import Actor
from syncd.core.change import UserEdit
from syncd.core.schema import Attribute, Schema
from syncd.core.state import User
from syncd.core.types import Extension, extended
from syncd.core.workspace import Workspace
from syncd.errors import DatabaseUnavailable
from syncd.store import facts, purge, tokens, transitions
from syncd.store import tables as t
from syncd.timers import Timers, TimerSettings

DAY = timedelta(days=1)
Logs = list[Any]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(f"sqlite:///{tmp_path / 'syncd.db'}")
    made.configure(sources={"corp": policy()})
    yield made
    made.close()


@pytest.fixture
def logs() -> Iterator[Logs]:
    with structlog.testing.capture_logs() as found:
        yield found


def process(stage: Stage, **more: Any) -> Timers:
    """The timers of a process that has just started."""
    return Timers(stage.database, {"default": stage.workspace}, lambda: stage.now, stage.ids, **more)


def settled(stage: Stage) -> Timers:
    """Timers that know the clock."""
    made = process(stage)
    made.tick()
    stage.later(hours=1)
    made.tick()
    return made


def pass_time(stage: Stage, timer: Timers, days: float, ticks: int = 1) -> None:
    """Without a leap: a tick every 12 hours, and then some."""
    end = stage.now + timedelta(days=days)
    while stage.now < end:
        stage.now = min(end, stage.now + timedelta(hours=12))
        timer.tick()
    for _ in range(ticks):
        timer.tick()


def events(logs: Logs, *names: str) -> list[str]:
    # Of a thread that another test's database left behind; and what is told of every few minutes.
    others = {"database_unavailable", "activity_sealed"}
    return [each["event"] for each in logs if (not names or each["event"] in names) and each["event"] not in others]


def delete(stage: Stage, *ids: str) -> None:
    for id in ids:
        stage.do(user(id))
        stage.do(UserEdit(id, "local", facts={"deleted_at": stage.now}))


# -- documents of schemas that are others now --------------------------------------------------------------------------------


def test_documents_are_made_anew_once_and_one_that_cannot_be_stops_no_other(
    stage: Stage, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    badge = "urn:example:badge"
    stage.configure(types=extended([Extension(Schema(badge, "Badge", "", (Attribute("number"), Attribute("level"))))]))
    values = {f"{badge}:number": "1", f"{badge}:level": "2"}
    stage.do(*(user(id, "corp", values=values) for id in staff("u", 60)), source="corp")
    process(stage).tick()
    assert events(logs, "documents_remade") == ["documents_remade"] and logs[-1]["written"] == 0
    stage.configure(types=extended([Extension(Schema(badge, "Badge", "", (Attribute("level"),)))]))
    made = facts.user_document

    def broken(of: User, *rest: Any) -> Any:
        if of.id == "u030":
            raise ZeroDivisionError
        return made(of, *rest)

    timer = process(stage)
    with monkeypatch.context() as patched:
        patched.setattr(facts, "user_document", broken)
        timer.tick()
    assert [stage.user(id).version for id in ("u000", "u030", "u059")] == [2, 1, 2]
    assert (logs[-1]["written"], logs[-1]["failed"]) == (59, 1)
    stage.later(minutes=2)
    timer.tick()
    assert stage.user("u030").version == 1  # tried again in an hour
    stage.later(minutes=59)
    timer.tick()
    assert [stage.user(id).version for id in ("u000", "u030", "u059")] == [2, 2, 2]
    stage.sound()
    assert [(action, why) for action, _, why in stage.activity("documents_remade")] != []
    stage.later(hours=2)
    timer.tick()
    assert len(events(logs, "documents_remade")) == 3


# -- the clock -------------------------------------------------------------------------------------------------------------


def test_who_knows_nothing_of_the_clock_waits_before_what_cannot_be_undone(stage: Stage) -> None:
    delete(stage, "u1")
    stage.later(days=20)
    timer = process(stage)
    timer.tick()
    stage.later(minutes=59)
    timer.tick()
    assert "u1" in stage.statuses()
    stage.later(minutes=1)
    timer.tick()
    assert stage.statuses() == {}


def test_a_leap_of_the_clock_purges_and_warns_only_if_it_stays(stage: Stage, logs: Logs) -> None:
    delete(stage, "u1")
    timer = settled(stage)
    before = stage.now
    stage.later(days=365)
    timer.tick()
    stage.later(minutes=30)
    timer.tick()
    assert "u1" in stage.statuses()
    stage.now = before + timedelta(minutes=30)  # somebody set it right
    timer.tick()
    stage.later(hours=2)
    timer.tick()
    assert "u1" in stage.statuses() and events(logs, "clock_leapt") == ["clock_leapt"] * 2
    pass_time(stage, timer, 14)
    assert stage.statuses() == {}


def test_another_process_notices_the_leap_as_well(stage: Stage, logs: Logs) -> None:
    delete(stage, "u1")
    settled(stage)
    stage.later(days=15)
    process(stage).tick()
    assert "u1" in stage.statuses() and events(logs, "clock_leapt") == ["clock_leapt"]


def test_a_worker_that_has_the_lease_again_sees_no_leap(stage: Stage, logs: Logs) -> None:
    first, second = settled(stage), process(stage)
    pass_time(stage, second, 3)
    first.tick()
    assert events(logs) == []


def test_a_restart_is_no_leap(stage: Stage, logs: Logs) -> None:
    delete(stage, "u1")
    pass_time(stage, settled(stage), 13.5)
    stage.later(hours=12)
    process(stage).tick()
    assert stage.statuses() == {} and events(logs) == ["purge_done"]


def test_dates_wait_for_no_clock_and_are_made_good_when_it_is_set_back(stage: Stage) -> None:
    stage.do(user("u1", "corp"), source="corp")
    stage.restate("u1", "corp", ends_at=stage.now + 30 * DAY)
    timer = settled(stage)
    before = stage.now
    stage.later(days=31)
    timer.tick()
    assert stage.statuses() == {"u1": "inactive"}
    stage.now = before
    timer.tick()
    assert stage.statuses() == {"u1": "active"}
    stage.sound(stage.now)


# -- dates that have come --------------------------------------------------------------------------------------------------


def test_what_is_held_is_tried_again_after_an_hour_and_said_once(stage: Stage, logs: Logs) -> None:
    stage.do(*(user(id, "corp") for id in staff("u", 8)), source="corp")
    pass_time(stage, timer := settled(stage), 2)
    for id in staff("u", 8):
        stage.restate(id, "corp", ends_at=stage.now + DAY)
    pass_time(stage, timer, 1, ticks=20)
    assert events(logs, "transitions_held") == ["transitions_held"]
    stage.later(hours=1)
    timer.tick()
    assert events(logs, "transitions_held") == ["transitions_held"] * 2
    assert len(stage.activity("held")) == 8 and set(stage.statuses().values()) == {"active"}


def test_a_limit_is_for_all_that_is_due_not_for_a_slice_of_it(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to 5 may go, in batches of 3 and ticks of 6: none of the 8 does."""
    stage.do(*(user(id, "corp") for id in staff("u", 20)), source="corp")
    pass_time(stage, timer := settled(stage), 2)
    for id in staff("u", 8):
        stage.restate(id, "corp", ends_at=stage.now + DAY)
    monkeypatch.setattr(timers, "BATCH", 3)
    monkeypatch.setattr(timers, "PER_TICK", 6)
    pass_time(stage, timer, 1.5, ticks=5)
    assert set(stage.statuses().values()) == {"active"} and len(stage.kept()) == 8
    for id in staff("u", 4):
        stage.restate(id, "corp", ends_at=None)
    stage.later(hours=1)
    timer.tick()
    assert [name for name, state in stage.statuses().items() if state != "active"] == ["u004", "u005", "u006", "u007"]


def test_one_bad_user_stops_nobody(stage: Stage, logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.do(*(user(id, "corp") for id in staff("u", 5)), source="corp")
    for id in staff("u", 5):
        stage.restate(id, "corp", ends_at=stage.now + DAY)
    real = transitions.settle

    def settle(conn: Connection, workspace: Workspace, source: str, dues: Any, *more: Any) -> Any:
        done = real(conn, workspace, source, dues, *more)
        if any(each.id == "u003" for each in dues):
            raise ValueError("a row that cannot be read")
        return done

    monkeypatch.setattr(transitions, "settle", settle)
    pass_time(stage, settled(stage), 1, ticks=3)
    assert [name for name, state in stage.statuses().items() if state == "active"] == ["u003"]
    failed = [(each["event"], each["user_id"]) for each in logs if each["event"] == "transition_failed"]
    assert failed == [("transition_failed", "u003")]


def test_workspaces_take_turns_when_the_time_of_a_tick_is_over(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    names = ("default", "acme", "zoo")
    monkeypatch.setattr(timers, "BUDGET_S", -1)
    monkeypatch.setattr(transitions, "due", lambda conn, workspace, *_: seen.append(workspace.name) or [])
    timer = Timers(stage.database, {name: Workspace(name) for name in names}, lambda: stage.now, stage.ids)
    for _ in range(4):
        timer.tick()
    assert seen == ["default", "acme", "zoo", "default"]


def test_a_tick_is_bounded_and_the_next_one_goes_on(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timers, "PER_TICK", 2)
    monkeypatch.setattr(timers, "BATCH", 1)
    stage.do(*(user(id, "corp", facts={"locked_until": stage.now + DAY}) for id in staff("u", 5)), source="corp")
    timer = settled(stage)
    stage.later(days=1)
    locked = []
    for _ in range(3):
        timer.tick()
        locked.append(list(stage.statuses().values()).count("locked"))
    assert locked == [3, 1, 0]


@pytest.mark.parametrize(
    ("error", "event"), [(DatabaseUnavailable("gone"), "tick_missed"), (KeyError("a defect"), "tick_failed")]
)
def test_a_tick_raises_nothing(
    stage: Stage, logs: Logs, monkeypatch: pytest.MonkeyPatch, error: Exception, event: str
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(transitions, "due", fail)
    process(stage).tick()
    assert events(logs) == [event]


# -- what cannot be undone -------------------------------------------------------------------------------------------------


def test_a_round_goes_on_over_ticks_and_a_killed_one_is_begun_anew(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"BATCH": 1, "STEPS": 3, "ROWS": 1}.items():
        monkeypatch.setattr(timers, name, value)
    delete(stage, *staff("u", 3))
    timer = settled(stage)
    pass_time(stage, timer, 14, ticks=0)
    assert 0 < len(stage.statuses()) < 4
    second = process(stage)  # the first one was killed
    for _ in range(8):
        second.tick()
        stage.sound()
    assert stage.statuses() == {}
    assert len(stage.activity("purge")) == 3


def test_one_user_who_cannot_be_purged_keeps_nobody(stage: Stage, logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    delete(stage, *staff("u", 4))
    real: Callable[..., int] = purge.purge

    def broken(conn: Connection, workspace: Workspace, ids: Any, *more: Any) -> int:
        done = real(conn, workspace, ids, *more)
        if "u002" in ids:
            raise ValueError
        return done

    monkeypatch.setattr(purge, "purge", broken)
    pass_time(stage, settled(stage), 14)
    assert list(stage.statuses()) == ["u002"]
    assert set(events(logs)) == {"purge_failed", "purge_done"}


def test_a_token_is_warned_of_once_at_each_time(stage: Stage, logs: Logs) -> None:
    root = Actor("cli", "root", "default")

    def token(name: str, days: float) -> str:
        end = stage.now + timedelta(days=days)
        return stage.database.write_now(
            lambda conn: tokens.create(conn, root, name, stage.now, stage.ids, expires_at=end)[0].id
        )

    long, short = token("long", 20), token("short", 2)
    gone = token("gone", 20)
    stage.database.write_now(lambda conn: tokens.revoke(conn, root, gone, stage.now, stage.ids))
    timer = settled(stage)
    start = stage.now
    told: list[tuple[str, int]] = []
    for half in range(42):
        stage.now = start + timedelta(hours=12 * half)
        timer.tick()
        timer.tick()
        told += [(each["token"], half // 2) for each in logs if each["event"] == "token_expires"]
        logs.clear()
    assert told == [("short", 1), ("long", 6), ("long", 13), ("long", 19)]
    assert [subject for _, subject, _ in stage.activity("token_expires")] == ["short", "long", "long", "long"]
    assert [row.subject_id for row in stage.rows(t.outbox, topic="token.expires")] == [short, long, long, long]


def test_no_warnings_if_none_are_wanted(stage: Stage, logs: Logs) -> None:
    root = Actor("cli", "root", "default")
    stage.database.write_now(
        lambda conn: tokens.create(conn, root, "t", stage.now, stage.ids, expires_at=stage.now + 20 * DAY)
    )
    timer = process(stage, settings=TimerSettings(warn_before=()))
    pass_time(stage, timer, 19)
    assert events(logs) == []


def test_a_warning_by_a_clock_that_ran_ahead_is_given_again(stage: Stage) -> None:
    root = Actor("cli", "root", "default")
    stage.database.write_now(
        lambda conn: tokens.create(conn, root, "t", stage.now, stage.ids, expires_at=stage.now + 30 * DAY)
    )
    before: datetime = stage.now
    timer = settled(stage)
    pass_time(stage, timer, 20)
    stage.now = before
    timer.tick()
    pass_time(stage, timer, 20)
    assert len(stage.activity("token_expires")) == 2


def test_retention_says_what_it_dropped(stage: Stage, logs: Logs) -> None:
    stage.do(user("u1"))
    pass_time(stage, settled(stage), 31)
    (done,) = [each for each in logs if each["event"] == "retention_done"]
    assert done["due"] == done["dropped"] == {"outbox_undelivered": 1}
    assert stage.rows(t.outbox) == []
