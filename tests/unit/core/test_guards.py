"""The arithmetic of limits, at its edges: held when n > min(number, max(floor, share x population))."""

from __future__ import annotations

from datetime import timedelta

import pytest

from syncd.core.guards import VERBS, Limit, Limits, over_limit


def people(n: int, letter: str = "u") -> set[str]:
    return {f"{letter}{each}" for each in range(n)}


@pytest.mark.parametrize(
    ("population", "allowed"),
    [(0, 5), (1, 5), (100, 5), (119, 5), (120, 6), (1_030, 51), (9_999, 499), (10_000, 500), (1_000_000, 500)],
)
def test_the_defaults(population: int, allowed: int) -> None:
    assert Limit().allowed(population) == allowed


def test_number_wins_over_floor_and_share() -> None:
    assert Limit(share=1.0, floor=50, number=3).allowed(100) == 3
    assert Limit(share=0.0, floor=0, number=500).allowed(100) == 0


@pytest.mark.parametrize(
    ("n", "before", "held"), [(5, 0, False), (6, 0, True), (3, 2, False), (3, 3, True), (0, 9, False)]
)
def test_held_is_more_than_allowed_with_what_went_before(n: int, before: int, held: bool) -> None:
    found = over_limit("corp", {"deactivate": people(n)}, {"deactivate": people(before, "v")}, 100, Limits())
    assert bool(found) is held


def test_each_subject_counts_once_and_each_kind_by_itself() -> None:
    losing = {"role": people(3), "seat": people(6), "blank": people(5)}
    (held,) = over_limit("corp", losing, {"role": people(4), "blank": people(5)}, 100, Limits())
    assert (held.guard, held.kind, len(held.subjects)) == ("limit", "seat", 6)


def test_a_kind_has_its_own_limit() -> None:
    limits = Limits({"delete": Limit(floor=0, share=0)}, timedelta(hours=1))
    kinds = {kind: people(1) for kind in VERBS}
    assert [each.kind for each in over_limit("corp", kinds, {}, 100, limits)] == ["delete"]


@pytest.mark.parametrize(
    ("n", "before", "population", "outside", "said"),
    [
        (412, 0, 1_030, 0, "412 of 1,030 (40.0%) users would be deactivated; limit"),
        (
            412,
            3,
            1_030,
            0,
            "415 of 1,030 (40.3%) users would be deactivated, 3 of them already within the window; limit",
        ),
        (1, 28, 54, 0, "29 of 54 (53.7%) users would be deactivated, 28 of them already within the window; limit"),
        (29, 0, 26, 21, "29 users would be deactivated (8 of its own 26 active ones and 21 others); limit"),
        (6, 0, 9, 1, "6 users would be deactivated (5 of its own 9 active ones and 1 other); limit"),
    ],
)
def test_the_words_hold_the_numbers(n: int, before: int, population: int, outside: int, said: str) -> None:
    losing, recent = {"deactivate": people(n)}, {"deactivate": people(before, "v")}
    (held,) = over_limit("corp", losing, recent, population, Limits(), lambda ids: len(ids) - outside)
    allowed = Limit().allowed(population)
    assert held.why == f"source corp: {said} {allowed} (share 5%, floor 5, number 500)"
    assert len(held.subjects) == n, "what was done already is not held"


def test_of_a_population_that_was_not_counted_whole_no_share_is_told() -> None:
    (held,) = over_limit("corp", {"delete": people(501)}, {}, 10_000, Limits(), more=True)
    assert held.why.startswith("source corp: 501 of more than 10,000 users would be deleted; limit 500 (")
    (held,) = over_limit("corp", {"delete": people(501)}, {}, 10_000, Limits(), lambda ids: 500, more=True)
    assert "501 users would be deleted (500 of its own more than 10,000 active ones and 1 other); limit 500" in held.why


@pytest.mark.parametrize("limit", [Limit(), Limit(0.07, 0, 90), Limit(1.0, 3, 50), Limit(0, 4, 9), Limit(0.5, 8, 2)])
def test_how_many_are_enough_for_a_loss(limit: Limit) -> None:
    for n in range(1, 120):
        enough = limit.enough(n)
        if enough is None:
            assert limit.allowed(10**9) < n
        else:
            assert limit.allowed(enough) >= n
            assert enough == 0 or limit.allowed(enough - 1) < n
    assert limit.allowed(limit.settled) == limit.allowed(10**9)


@pytest.mark.parametrize("number", [7 * 10**15, 99 * 10**18, 2**63 - 1, 10**30])
@pytest.mark.parametrize("share", [1.0, 0.05, 0.033, 0.01, 1e-6])
def test_a_number_that_is_never_reached_is_a_limit_too(share: float, number: int) -> None:
    limit = Limit(share, 5, number)
    assert limit.settled >= 0.999 * number and limit.allowed(limit.settled) >= 0.999 * number
