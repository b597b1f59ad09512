"""When a source is due: cron as people write it, intervals that every worker counts alike."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from syncd.timetable import Timetable, cron_fields

NEW_YEAR = datetime(2030, 1, 1, tzinfo=UTC)  # a Tuesday


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
    (fields,) = cron_fields(f"0 3 * * {weekday}")
    assert fields["day_of_week"] == days


def test_sunday_at_three_is_sunday_at_three() -> None:
    following = Timetable("0 3 * * 0").after(NEW_YEAR)
    assert following == datetime(2030, 1, 6, 3, tzinfo=UTC) and following.strftime("%A") == "Sunday"


def test_a_day_and_a_weekday_mean_either() -> None:
    table = Timetable("0 3 15 * 1")
    days, moment = [], NEW_YEAR
    for _ in range(3):
        found = table.after(moment)
        assert found is not None
        days.append(found.day)
        moment = found
    assert days == [7, 14, 15]  # two Mondays and the 15th


def test_cron_is_meant_in_its_zone_also_when_the_clocks_change() -> None:
    table = Timetable("30 2 * * *", zone=ZoneInfo("Europe/Berlin"))
    assert table.after(datetime(2030, 1, 10, 12, tzinfo=UTC)) == datetime(2030, 1, 11, 1, 30, tzinfo=UTC)
    assert table.after(datetime(2030, 7, 10, 12, tzinfo=UTC)) == datetime(2030, 7, 11, 0, 30, tzinfo=UTC)


def test_intervals_are_the_same_instants_for_every_worker() -> None:
    one, other = (Timetable(delta=timedelta(minutes=2), name="default/corp") for _ in range(2))
    first = one.after(NEW_YEAR)
    assert first is not None and NEW_YEAR < first <= NEW_YEAR + timedelta(minutes=2)
    assert other.after(NEW_YEAR + timedelta(seconds=1)) == first or first - NEW_YEAR <= timedelta(seconds=1)
    assert one.after(first) == first + timedelta(minutes=2)


def test_sources_are_spread_over_the_interval() -> None:
    starts = {Timetable(delta=timedelta(minutes=2), name=f"w{number}/corp").after(NEW_YEAR) for number in range(40)}
    assert len(starts) > 20


def test_jitter_puts_cron_off_by_the_same_part_each_day() -> None:
    plain = Timetable("0 3 * * *", name="default/corp").after(NEW_YEAR)
    later = Timetable("0 3 * * *", jitter=timedelta(minutes=10), name="default/corp")
    first = later.after(NEW_YEAR)
    assert plain is not None and first is not None
    assert timedelta(0) < first - plain < timedelta(minutes=10)
    assert later.after(first) == first + timedelta(days=1)


def test_counted_from_on_and_before() -> None:
    table = Timetable("0 * * * *")
    assert table.count(NEW_YEAR, NEW_YEAR + timedelta(hours=3)) == 3
    assert Timetable(timedelta(hours=6)).count(NEW_YEAR, NEW_YEAR + timedelta(days=1)) == 4


def test_nothing_is_due_without_a_schedule_or_on_a_day_that_never_comes() -> None:
    assert not Timetable()
    assert Timetable().after(NEW_YEAR) is None
    assert Timetable("0 0 30 2 *").after(NEW_YEAR) is None


@pytest.mark.parametrize(
    "table",
    [
        Timetable("0 3 * * *", timedelta(minutes=7), name="a"),
        Timetable(timedelta(hours=1), timedelta(minutes=2), name="b"),  # those of one are among those of the other
        Timetable("*/20 2-4 * * 1", zone=ZoneInfo("Europe/Berlin"), jitter=timedelta(minutes=9), name="c"),
        Timetable("30 1 * * *", zone=ZoneInfo("Europe/Berlin")),
        Timetable("0 4 13 * 5", timedelta(hours=5)),
    ],
)
@pytest.mark.parametrize("days", [0, 0.013, 1, 30])
@pytest.mark.parametrize("since", [NEW_YEAR, datetime(2030, 3, 30, 23, 59, 59, 7, tzinfo=UTC)])
def test_a_count_is_what_walking_along_finds(table: Timetable, days: float, since: datetime) -> None:
    until = since + timedelta(days=days)
    walked, each = 0, table.after(since - timedelta(microseconds=1))
    while each is not None and each < until:
        walked, each = walked + 1, table.after(each)
    assert table.count(since, until) == walked


def test_times_of_whole_reads_are_told_from_those_of_deltas() -> None:
    both = Timetable("0 3 * * *", timedelta(hours=1))
    assert [both.is_whole(NEW_YEAR + timedelta(hours=hour)) for hour in range(5)] == [False, False, False, True, False]
    assert both.delta
    assert both.after(NEW_YEAR, whole=True) == NEW_YEAR + timedelta(hours=3)
    often = Timetable(timedelta(hours=6), timedelta(minutes=2), name="default/corp")
    first = often.after(NEW_YEAR, whole=True)
    assert first is not None and often.is_whole(first) and often.after(first, whole=True) == first + timedelta(hours=6)
    assert not Timetable("0 3 * * *").delta
    only = Timetable(delta=timedelta(minutes=2))
    assert only.after(NEW_YEAR, whole=True) is None and not only.is_whole(NEW_YEAR)
