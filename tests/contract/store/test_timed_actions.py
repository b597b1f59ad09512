"""Every timer fires once, at its instant or after it: killed anywhere and started again, and whatever the clock does.

The table of timers is tests/timed.py. What a killed one leaves is compared row by row with what an undisturbed one does. Mail
and webhooks are in tests/contract/deliver, runs in tests/servers/test_kill.py.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from door_stage import Stage
from syncd.timers import Timers
from timed import HERE, SECOND, TABLE, Timed, killed, state, timers, work

ROUND = timedelta(hours=1)
Open = Callable[[str], Stage]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Databases by name; a new name is a copy of `ready`, if there is one."""
    stages: list[Stage] = []

    def open_(name: str) -> Stage:
        file, ready = tmp_path / name, tmp_path / "ready"
        if not file.exists() and ready.exists():
            shutil.copy(ready, file)
        stages.append(Stage(f"sqlite:///{file}", HERE, first_id=1_000_000 * (len(stages) + 1)))
        return stages[-1]

    yield open_
    for each in stages:
        each.close()


def before(stage: Stage, timed: Timed) -> Timers:
    """Everything prepared, and timers that knew the clock until a second before it is time. Nothing was done yet."""
    timed.prepare(stage)
    process = timers(stage, timed)
    while stage.now < timed.at - SECOND:
        stage.now = min(timed.at - SECOND, stage.now + timedelta(hours=12))
        process.tick()
        process.tick()
    stage.sound()
    assert timed.seen(stage) == Counter()
    return process


def pass_rounds(stage: Stage, process: Timers, rounds: int = 2) -> None:
    """What is looked for hourly is found after an hour at most."""
    for _ in range(4 * rounds):
        process.tick()
        stage.now += ROUND / 4
    process.tick()
    stage.sound()


named = pytest.mark.parametrize("timed", TABLE, ids=lambda each: each.name)


@named
def test_killed_anywhere_and_started_again_it_is_done_as_if_nothing_had_happened(timed: Timed, opened: Open) -> None:
    stage = opened("ready")
    before(stage, timed)
    stage.close()
    undisturbed = opened("undisturbed")
    undisturbed.now = timed.at
    work(undisturbed, timed)
    assert timed.seen(undisturbed) == Counter(timed.done)
    wanted = state(undisturbed)
    commit = 1
    while True:
        stage = opened(f"killed before commit {commit}")
        stage.now = timed.at
        if not killed(stage.url, timed, stage.now, commit):
            break
        work(stage, timed)
        stage.sound()
        assert state(stage) == wanted, commit
        commit += 1
    assert commit > 1


@named
def test_it_is_done_once_and_not_again(timed: Timed, opened: Open) -> None:
    stage = opened("ready")
    process = before(stage, timed)
    stage.now = timed.at
    pass_rounds(stage, process)
    assert timed.seen(stage) == Counter(timed.done)
    for again in (process, timers(stage, timed), timers(stage, timed)):
        stage.later(hours=7)
        pass_rounds(stage, again)
    assert timed.seen(stage) == Counter(timed.done)


@named
def test_a_clock_set_back_a_little_repeats_nothing(timed: Timed, opened: Open) -> None:
    """By NTP, or by hours that somebody thought were summer time."""
    stage = opened("ready")
    process = before(stage, timed)
    stage.now = timed.at
    pass_rounds(stage, process)
    stage.later(minutes=-4)
    pass_rounds(stage, process)
    assert timed.seen(stage) == Counter(timed.done)


@named
def test_a_clock_that_was_ahead(timed: Timed, opened: Open) -> None:
    """What can be undone is, and comes again in its time; what cannot be waits whether the clock is set right."""
    stage = opened("ready")
    process = before(stage, timed)
    stage.later(days=3)
    process.tick()
    stage.later(minutes=50)
    process.tick()
    early = timed.seen(stage)
    assert early in ((Counter(),) if timed.final else (Counter(), Counter(timed.done)))
    stage.now = timed.at - SECOND
    pass_rounds(stage, process, rounds=0)
    status = stage.user("ann").status if timed.again else None
    stage.now = timed.at
    pass_rounds(stage, process)
    if timed.again:
        assert (
            status == {"an end date": "active", "a start date": "inactive", "the end of a lock": "locked"}[timed.name]
        )
        assert stage.user("ann").status != status
    else:
        assert timed.seen(stage) == Counter(timed.done) + (early if timed.told_again else Counter())


@named
def test_a_long_sleep_makes_it_late_and_not_lost(timed: Timed, opened: Open) -> None:
    stage = opened("ready")
    before(stage, timed)
    stage.now = timed.at + timedelta(hours=20)
    pass_rounds(stage, timers(stage, timed))
    assert timed.seen(stage) == Counter(timed.done)
