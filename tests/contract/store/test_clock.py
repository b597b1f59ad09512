"""A clock that leaps, forward and back, between two reads and in the middle of one: nobody goes early, nothing stands still.

Leases go by a clock of their own (test_leases.py), dates and what cannot be undone are with the timers (test_transitions.py).
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from door_stage import Directory, Stage, policy, staff, user
from syncd.core.guards import Limit, Limits
from syncd.core.lifecycle import Ladder
from syncd.store import tables as t

KINDS = ("deactivate", "suspend", "delete", "role", "seat", "membership", "blank")
YEAR = timedelta(days=365)


def company(stage: Stage, floor: int = 100, n: int = 6) -> Directory:
    """n people read two days ago; the usual ladder: suspended after a day, deactivated after two, deleted after fourteen."""
    limits = Limits({kind: Limit(floor=floor) for kind in KINDS})
    stage.configure(sources={"corp": policy(ladder=Ladder(), limits=limits)})
    directory = Directory()
    directory.hire(*staff("p", n))
    stage.run(directory)
    stage.later(days=2)
    return directory


def status(stage: Stage, name: str = "p000") -> str:
    return stage.statuses()[name]


@pytest.mark.parametrize("days", [1, 30, 365])
def test_a_leap_forward_takes_nobody_away_at_her_first_absence(stage: Stage, days: int) -> None:
    directory = company(stage)
    del directory.people["p000"]
    stage.later(days=days)
    stage.run(directory)
    assert status(stage) == "active"


@pytest.mark.parametrize("days", [30, 365])
def test_a_leap_forward_between_two_reads_costs_one_rung_which_a_return_heals(stage: Stage, days: int) -> None:
    """Suspended: not deactivated, let alone deleted. Each rung wants a complete read of its own."""
    directory = company(stage)
    gone = directory.people.pop("p000")
    stage.run(directory)
    before = stage.now
    stage.later(days=days)
    stage.run(directory)
    assert status(stage) == "suspended"
    stage.now = before + timedelta(hours=1)  # set right again
    for _ in range(5):
        stage.run(directory)
        stage.later(minutes=1)
    assert status(stage) == "suspended", "two days have not passed"
    directory.people["p000"] = gone
    stage.run(directory)
    assert status(stage) == "active"


def test_a_leap_in_the_middle_of_a_run_changes_nothing_of_it(stage: Stage) -> None:
    """A run has one moment: the one at which it began."""
    directory = company(stage)
    del directory.people["p000"]
    stage.run(directory)
    promised = stage.plan(directory)

    class Leap:
        def step(self, name: str, done: int, total: int | None) -> None:
            stage.now += YEAR if name == "decide" else -3 * YEAR

    before = stage.now
    done = stage.run(directory, progress=Leap())
    assert done.digest == promised.digest and status(stage) == "active"
    stage.now = before
    stage.sound(stage.now)


def test_who_was_missed_first_by_a_clock_that_was_ahead_still_goes(stage: Stage) -> None:
    """The days are counted anew from when the clock was set right, and not from a date that has not come."""
    directory = company(stage)
    before = stage.now
    stage.now += YEAR
    del directory.people["p000"]
    stage.run(directory)
    stage.now = before
    found = []
    for _ in range(5):
        stage.run(directory)
        found.append(status(stage))
        stage.later(days=1)
    assert found == ["active", "suspended", "inactive", "inactive", "inactive"]


def test_losses_of_a_clock_that_was_ahead_do_not_fill_the_window_until_then(stage: Stage) -> None:
    directory = company(stage, floor=2)
    before = stage.now
    stage.now += YEAR
    directory.disabled = {"p000", "p001"}
    assert stage.run(directory).counts["deactivate"] == 2
    stage.now = before
    directory.disabled |= {"p002", "p003"}
    assert [each.kind for each in stage.run(directory).held] == []
    assert status(stage, "p003") == "inactive"


@pytest.mark.parametrize("hours", [-1, -12, 0, 1, 12])
def test_a_small_step_of_the_clock_does_not_empty_the_window(stage: Stage, hours: int) -> None:
    directory = company(stage, floor=2)
    directory.disabled = {"p000", "p001"}
    stage.run(directory)
    stage.later(hours=hours)
    directory.disabled |= {"p002", "p003"}
    assert [each.kind for each in stage.run(directory).held] == ["deactivate"]
    assert status(stage, "p003") == "active"


def test_who_was_made_by_a_clock_that_was_ahead_is_not_young_for_ever(stage: Stage) -> None:
    """A connection takes back its own trial users without limits; these are old users with a date that has not come."""
    limits = Limits({kind: Limit(floor=1) for kind in KINDS})
    stage.configure(sources={"okta": policy("okta", kind="scim", limits=limits)})
    before = stage.now
    stage.now += YEAR
    for name in staff("p", 4):
        stage.do(user(name, "okta"), source="okta")
    stage.now = before
    assert stage.restate("p000", "okta", enabled=False).error is None
    assert stage.restate("p001", "okta", enabled=False).error is not None, "the second within a day is one too many"


def test_a_month_back_reads_and_writes_go_on(stage: Stage) -> None:
    directory = company(stage)
    stage.later(days=-30)
    directory.hire("new")
    directory.people["p001"]["title"] = "moved"
    for _ in range(3):
        stage.run(directory)
        stage.later(minutes=1)
    assert status(stage, "new") == "active"
    assert stage.named("p001").values["title"] == "moved"
    assert stage.rows(t.leases) == []
    stage.sound(stage.now)
