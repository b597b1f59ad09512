"""The arithmetic of limits, at its edges: held when n > min(number, max(floor, share x population))."""

from __future__ import annotations

from datetime import timedelta

import pytest

from syncd.core.guards import VERBS, Limit, Limits, over_limit


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
    losing = {"deactivate": [f"u{each}" for each in range(n)]}
    found = over_limit("corp", losing, {"deactivate": before}, 100, Limits())
    assert bool(found) is held


def test_each_subject_counts_once_and_each_kind_by_itself() -> None:
    losing = {"role": ["u1"] * 99, "seat": [f"u{n}" for n in range(6)], "blank": [f"u{n}" for n in range(5)]}
    (held,) = over_limit("corp", losing, {}, 100, Limits())
    assert (held.guard, held.kind, len(held.subjects)) == ("limit", "seat", 6)


def test_a_kind_has_its_own_limit() -> None:
    limits = Limits({"delete": Limit(floor=0, share=0)}, timedelta(hours=1))
    kinds = {kind: ["u1"] for kind in VERBS}
    assert [each.kind for each in over_limit("corp", kinds, {}, 100, limits)] == ["delete"]


def test_the_words_hold_the_numbers() -> None:
    losing = {"deactivate": [f"u{n}" for n in range(412)]}
    (held,) = over_limit("corp", losing, {"deactivate": 3}, 1_030, Limits())
    assert held.why == (
        "source corp: 412 of 1,030 (40.0%) users would be deactivated, 3 more within the window; "
        "limit 51 (share 5%, floor 5, number 500)"
    )
    assert over_limit("corp", losing, {}, 0, Limits())[0].why.startswith("source corp: 412 of 0 users would")
