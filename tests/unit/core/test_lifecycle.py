"""Status is derived: the whole table, the dates, and a ladder that climbs one rung a complete read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from syncd.core.lifecycle import SEATED, Ladder, climb, found, may_sign_in, status
from syncd.core.state import STAGES, UNTIL_LIFTED, Link, User

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def everyone(source: str) -> bool:
    return True


def derived(**facts: object) -> str:
    return status(User("u1", **facts), everyone, NOW)[0]  # type: ignore[arg-type]


def test_the_order_of_facts() -> None:
    """deleted > inactive > suspended > locked > pending > active, whatever else is true."""
    order = ("deleted", "inactive", "suspended", "locked", "pending", "active")
    for deleted, disabled, held, locked, invited in product((True, False), repeat=5):
        said = (deleted, disabled, held, locked, invited, True)
        expected = next(name for name, each in zip(order, said, strict=True) if each)
        assert expected == derived(
            deleted_at=NOW if deleted else None,
            links=(Link("corp", "k", enabled=not disabled),),
            suspended="hold" if held else None,
            locked_until=NOW + DAY if locked else None,
            invited=invited,
        )


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        (("missing",), "active"),
        (("suspended",), "suspended"),
        (("deactivated",), "inactive"),
        (("deleted",), "deleted"),
        (("deleted", None), "active"),
        (("deleted", "missing"), "active"),
        (("deleted", "suspended"), "suspended"),
        (("deactivated", "deleted"), "inactive"),
        (("deleted", "deleted"), "deleted"),
        ((), "active"),
    ],
)
def test_all_who_vouch_must_be_gone(stages: tuple[str | None, ...], expected: str) -> None:
    links = tuple(Link(f"s{n}", "k", stage=stage) for n, stage in enumerate(stages))
    assert derived(links=links) == expected
    # People state facts, but never vouch that somebody is still there; nor does a connection that only said she may sign in.
    assert derived(links=(*links, Link("local", "k"))) == expected
    assert derived(links=(*links, Link("bot", "u1"))) == expected
    blocked = {"active": "inactive", "suspended": "inactive"}
    assert derived(links=(*links, Link("bot", "u1", enabled=False))) == blocked.get(expected, expected)
    assert derived(links=(*links, Link("okta", "u1", values={"userName": "a"}))) == "active"


def test_any_authoritative_link_may_disable_and_no_other() -> None:
    links = (Link("corp", "k"), Link("hr", "k", enabled=False))
    user = User("u1", links=links)
    assert status(user, everyone, NOW)[0] == "inactive"
    assert status(user, lambda source: source == "corp", NOW)[0] == "active"
    missing = User("u1", links=(Link("corp", "k", stage="deleted"), Link("hr", "k")))
    assert status(missing, lambda source: source == "corp", NOW)[0] == "deleted"


@pytest.mark.parametrize(("offset", "expected"), [(-1, "inactive"), (0, "inactive"), (1, "active")])
def test_an_end_date_is_the_first_moment_without_access(offset: int, expected: str) -> None:
    ends = NOW + timedelta(microseconds=offset)
    assert derived(links=(Link("corp", "k", ends_at=ends),)) == expected


@pytest.mark.parametrize(("offset", "expected"), [(-1, "active"), (0, "active"), (1, "inactive")])
def test_a_start_date_is_the_first_moment_with_access(offset: int, expected: str) -> None:
    starts = NOW + timedelta(microseconds=offset)
    assert derived(links=(Link("corp", "k", starts_at=starts),)) == expected


def test_a_lock_ends_by_itself() -> None:
    assert derived(locked_until=NOW + timedelta(microseconds=1)) == "locked"
    assert derived(locked_until=NOW) == "active"


def test_a_lock_out_in_a_directory_is_a_lock() -> None:
    """It takes no seat, is not shown as inactive, and ends at its instant; a source that has no say locks nobody."""
    user = User("u1", links=(Link("corp", "k", locked_until=NOW + DAY), Link("hr", "k")))
    assert status(user, everyone, NOW) == ("locked", NOW + DAY)
    assert may_sign_in(user, everyone, NOW)
    assert status(user, everyone, NOW + DAY) == ("active", None)
    assert status(user, lambda source: source == "hr", NOW)[0] == "active"


def test_a_lock_without_an_end_is_no_date() -> None:
    user = User("u1", links=(Link("corp", "k", locked_until=UNTIL_LIFTED),))
    assert status(user, everyone, NOW) == ("locked", None)


def test_the_next_instant_is_the_first_that_changes_anything() -> None:
    user = User(
        "u1",
        links=(
            Link("corp", "k", starts_at=NOW - DAY, ends_at=NOW + 3 * DAY),
            Link("hr", "k", starts_at=NOW + 2 * DAY),
            Link("guest", "k", ends_at=NOW + timedelta(hours=1)),
        ),
        locked_until=NOW + 4 * DAY,
    )
    assert status(user, lambda source: source != "guest", NOW)[1] == NOW + 2 * DAY
    assert status(user, everyone, NOW)[1] == NOW + timedelta(hours=1)
    assert status(user, everyone, NOW + 9 * DAY) == ("inactive", None)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, True),
        ({"suspended": "hold"}, True),
        ({"locked_until": NOW + DAY}, True),
        ({"invited": True}, True),
        ({"deleted_at": NOW}, False),
        ({"links": (Link("corp", "k", enabled=False),)}, False),
        ({"links": (Link("corp", "k", stage="suspended"),)}, False),
        ({"links": (Link("corp", "k", enabled=False),), "suspended": "hold"}, False),
    ],
)
def test_an_admins_hold_or_a_lock_is_not_shown_as_inactive(facts: dict[str, object], expected: bool) -> None:
    """Or Entra would re-send `active: true` for ever."""
    assert may_sign_in(User("u1", **facts), everyone, NOW) is expected  # type: ignore[arg-type]


def test_who_holds_seats() -> None:
    assert {"active", "pending", "locked"} == SEATED


# -- the ladder ----------------------------------------------------------------------------------------------------------


def climbed(ladder: Ladder, reads: int, apart: timedelta = DAY) -> list[str | None]:
    link, seen = Link("corp", "k"), []
    for read in range(reads):
        link = climb(link, ladder, NOW + read * apart)
        assert link.missing_reads == read + 1
        assert link.missing_since == NOW
        seen.append(link.stage)
    return seen


def test_one_rung_a_read_and_never_before_its_days() -> None:
    expected = ["missing", "suspended", *["deactivated"] * 12, "deleted", "deleted"]
    assert climbed(Ladder(), 16) == expected
    assert (
        climbed(Ladder(), 40, timedelta(hours=12))
        == [each for each in expected for _ in range(2)][:28] + ["deleted"] * 12
    )


def test_a_read_after_a_long_silence_climbs_only_one() -> None:
    assert climbed(Ladder(), 5, 100 * DAY) == ["missing", "suspended", "deactivated", "deleted", "deleted"]


def test_at_once_is_still_one_rung_a_read() -> None:
    at_once = Ladder(timedelta(0), timedelta(0), timedelta(0))
    assert climbed(at_once, 4, timedelta(0)) == ["suspended", "deactivated", "deleted", "deleted"]


@pytest.mark.parametrize(
    ("ladder", "expected"),
    [
        (Ladder(None, None, None), ["missing"] * 4),
        (Ladder(None, timedelta(0), None), ["deactivated"] * 4),
        (Ladder(None, None, timedelta(0)), ["deleted"] * 4),
        (Ladder(timedelta(0), None, timedelta(0)), ["suspended", "deleted", "deleted", "deleted"]),
        (Ladder(timedelta(0), None, None), ["suspended"] * 4),
        (Ladder(None, DAY, None), ["missing", "deactivated", "deactivated", "deactivated"]),
    ],
)
def test_a_rung_that_is_never_is_no_rung(ladder: Ladder, expected: list[str]) -> None:
    assert climbed(ladder, 4) == expected


def test_a_ladder_made_longer_takes_nothing_back() -> None:
    link = Link("corp", "k", missing_since=NOW - DAY, missing_reads=3, stage="deactivated")
    assert climb(link, Ladder(9 * DAY, 9 * DAY, 9 * DAY), NOW).stage == "deactivated"


def test_whoever_is_found_starts_at_the_bottom_again() -> None:
    for stage in STAGES:
        link = found(Link("corp", "k", enabled=False, missing_since=NOW, missing_reads=3, stage=stage))
        assert link == Link("corp", "k", enabled=False)
        assert climb(link, Ladder(), NOW + 99 * DAY).stage == "missing"
