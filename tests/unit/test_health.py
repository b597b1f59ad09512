"""What facts mean: lateness by a schedule, and what is a problem, what a notice, and what nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from syncd.health import findings, punctuality, span
from syncd.store.deliveries import Owed
from syncd.store.leases import Process
from syncd.store.listing import PoolReport
from syncd.store.mails import MailSeen
from syncd.store.standing import ConnectionSeen, HeldSeen, RunSeen, SourceSeen, Standing, WorkspaceSeen
from syncd.timetable import Timetable

NOW = datetime(2030, 1, 1, 12, 30, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
HOURLY = Timetable("0 * * * *")


def process(kind: str, age_s: float = 1.0) -> Process:
    return Process(f"h/{kind}", kind, "h", 7, "0.1.0", NOW - 3 * HOUR, age_s, False)


def run(status: str, ago: timedelta = HOUR, **more: Any) -> RunSeen:
    ended = None if status == "reading" else NOW - ago + timedelta(seconds=5)
    seen = RunSeen(f"run-{status}", status, NOW - ago, ended, None, None, None if ended is None else 0)
    return replace(seen, **more)


def source(**more: Any) -> SourceSeen:
    """Read half an hour ago, on the hour."""
    usual = SourceSeen("corp", "ldap", NOW - HOUR / 2, 9, (run("clean", HOUR / 2),), 24, NOW - DAY)
    return replace(usual, **more)


def standing(seen: SourceSeen | None = None, processes: tuple[Process, ...] | None = None, **more: Any) -> Standing:
    workspace = WorkspaceSeen("default", {"active": 9}, 1, (seen or source(),), (), (), {}, None, ())
    running = (process("web"), process("worker")) if processes is None else processes
    return Standing(NOW, running, (replace(workspace, **more),))


def said(found: Standing, timetable: Timetable = HOURLY) -> list[tuple[str, str]]:
    return [(each.level, each.about) for each in findings(found, {("default", "corp"): timetable})]


def test_when_all_is_well_nothing_is_said() -> None:
    assert said(standing()) == []


def test_a_source_on_time_ahead_of_the_clock_or_late() -> None:
    def lag(read_at: datetime | None, **more: Any) -> float | None:
        seen = source(last_complete_at=read_at, **more)
        return punctuality(seen, HOURLY, standing(seen)).lag_s

    assert lag(NOW - HOUR / 2) == 0
    assert lag(NOW + HOUR) == 0  # the clock was set back
    assert lag(NOW - HOUR) == 1800  # due at 12:00
    assert lag(None) == 0  # it tried at 12:00 for the first time, so that 13:00 is due
    assert lag(None, runs=()) == 10_800 - 1800  # the daemon began at 9:30, so that 10:00 was due
    assert punctuality(source(), None, standing()).lag_s is None
    assert punctuality(source(last_complete_at=NOW + HOUR), HOURLY, standing()).age_s == 0


def test_what_was_missed_is_what_no_run_began_for() -> None:
    kept = punctuality(source(scheduled=22), HOURLY, standing())
    assert (kept.missed, kept.due) == (2, NOW + HOUR / 2)
    assert punctuality(source(scheduled=22), None, standing()).missed == 0
    assert punctuality(source(scheduled=30), HOURLY, standing()).missed == 0  # the schedule was another one before
    assert punctuality(source(counted_from=None, scheduled=0), HOURLY, standing()).missed == 0


@pytest.mark.parametrize(
    ("processes", "expected"),
    [
        ((), [("problem", "processes")]),
        ((process("web", 31),), [("problem", "processes")]),
        ((process("web"),), [("problem", "worker")]),
        ((process("worker"), process("web", 99)), [("problem", "web")]),
        ((process("worker"), process("web"), process("web", 99)), []),
    ],
)
def test_processes(processes: tuple[Process, ...], expected: list[tuple[str, str]]) -> None:
    assert said(standing(processes=processes)) == expected


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ((run("applied"),), []),
        ((run("held"),), []),  # what is held speaks for itself
        ((run("failed"), run("clean")), [("problem", "source corp")]),
        ((run("reading", timedelta(0)), run("failed")), [("problem", "source corp")]),  # until it has ended otherwise
        ((run("incomplete"), run("failed")), [("problem", "source corp")]),
        ((run("clean", set_aside=2),), [("notice", "source corp")]),
    ],
)
def test_runs(runs: tuple[RunSeen, ...], expected: list[tuple[str, str]]) -> None:
    assert said(standing(source(runs=runs))) == expected


def test_how_often_in_a_row_is_counted_over_runs_that_ended() -> None:
    runs = (run("reading"), run("failed", message="source corp: no answer"), run("failed"), run("clean"), run("failed"))
    seen = source(runs=runs)
    assert (seen.in_a_row, source(runs=()).in_a_row) == (2, 0)
    (found,) = findings(standing(seen), {})
    assert found.what == "the last run failed (2 times in a row): no answer"


def test_held_items_of_directories_and_of_connections() -> None:
    held = (HeldSeen("corp", "role", 2), HeldSeen("corp", "suspend", 40), HeldSeen("okta", "seat", 1))
    found = findings(standing(held=held), {})
    assert [(each.about, each.what) for each in found] == [
        ("source corp", "42 items are held (role, suspend)"),
        ("okta", "1 item is held (seat)"),
    ]


@pytest.mark.parametrize(
    ("left", "level"),
    [(15 * DAY, None), (13 * DAY, "notice"), (47 * HOUR, "problem"), (-HOUR, "problem")],
)
def test_tokens(left: timedelta, level: str | None) -> None:
    found = said(standing(expiring=(ConnectionSeen("okta", NOW + left),)))
    assert found == ([] if level is None else [(level, "token okta")])


def test_a_token_whose_connection_was_taken_out() -> None:
    (found,) = findings(standing(strays=(("okta", "okta-eu"),)), {})
    assert (found.level, found.about) == ("notice", "token okta")
    assert "okta-eu is not in the configuration" in found.what and "syncd token revoke okta" in found.do


def test_events_that_nobody_takes_are_nothing_where_nobody_ever_does() -> None:
    waiting: dict[str, Any] = {"outbox_since": NOW - HOUR}
    assert said(standing(outbox={"new": 5}, **waiting)) == []
    assert said(standing(outbox={"new": 5, "claimed": 0}, **waiting)) == []
    assert said(standing(outbox={"new": 5, "done": 1}, **waiting)) == [("problem", "outbox")]


def test_people_who_wait_for_a_seat_are_a_notice_and_problems_come_first() -> None:
    pools = (PoolReport("crm", "internal", 40, 40, 2), PoolReport("portal", "portal", 1, None, 0))
    found = said(standing(source(runs=(run("failed"),)), pools=pools))
    assert found == [("problem", "source corp"), ("notice", "seats crm")]


def test_a_source_that_nobody_ever_reads_is_a_notice() -> None:
    unread = source(last_complete_at=None, runs=())
    assert said(standing(unread), Timetable()) == [("notice", "source corp")]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.9, "0 s"), (119, "119 s"), (120, "2 min"), (7_200, "2 h"), (172_799, "47 h"), (9e5, "10 d")],
)
def test_spans_are_rounded_down(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_mail_that_waits_or_was_refused() -> None:
    assert said(standing(mail=MailSeen(2, NOW - HOUR / 2, 0))) == []
    assert said(standing(mail=MailSeen(2, NOW - 2 * HOUR, 3))) == [("problem", "mail"), ("notice", "mail")]


def test_revocations_that_nobody_acknowledges() -> None:
    def about(**more: Any) -> list[tuple[str, str]]:
        owed = Owed("app", 3, NOW - HOUR, "answered 500: oh dear")
        return said(standing(owed=(replace(owed, **more),), webhooks=("app",)))

    assert about() == [("problem", "webhook app")]
    assert about(since=NOW - timedelta(minutes=4)) == []
    assert about(webhook="old", since=NOW) == [("problem", "webhook old")]
    [told] = findings(standing(owed=(Owed("app", 3, NOW - HOUR, "answered 500: oh dear"),), webhooks=("app",)), {})
    assert told.what == "3 revocations are not acknowledged, the oldest for 60 min (answered 500)"
