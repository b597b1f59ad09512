"""Cron as people write it, for a library that counts weekdays from Monday."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from apscheduler.triggers.cron import CronTrigger

from syncd.worker import cron_fields


@pytest.mark.parametrize(
    ("weekday", "days"),
    [
        ("0", "sun"),
        ("7", "sun"),
        ("1-5", "mon,tue,wed,thu,fri"),
        ("5-7", "fri,sat,sun"),
        ("*/2", "sun,tue,thu,sat"),
        ("1/3", "mon,thu"),
        ("sat,0", "sat,sun"),
        ("Mon-Wed", "mon,tue,wed"),
        ("*", "*"),
    ],
)
def test_weekdays_are_those_of_cron(weekday: str, days: str) -> None:
    assert cron_fields(f"0 3 * * {weekday}")["day_of_week"] == days


def test_sunday_at_three_is_sunday_at_three() -> None:
    trigger = CronTrigger(**cron_fields("0 3 * * 0"), timezone=UTC)
    following = trigger.get_next_fire_time(None, datetime(2030, 1, 1, tzinfo=UTC))
    assert following == datetime(2030, 1, 6, 3, tzinfo=UTC) and following.strftime("%A") == "Sunday"
