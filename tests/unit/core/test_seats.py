"""Settling seats: release, then fill in the order of `requires`, the longest wait first, never over capacity."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from syncd.core.seats import Claim, Pool, Price, cost, in_order, money, settle
from syncd.core.state import Seat

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


def ago(minutes: int) -> datetime:
    return NOW - timedelta(minutes=minutes)


def claim(id: str, *wanted: str, **seats: tuple[bool, int] | tuple[bool, int, int]) -> Claim:
    """`crm=(held, minutes ago[, priority])`."""
    held = {pool: Seat(pool, each[0], ago(each[1]), *each[2:]) for pool, each in seats.items()}
    return Claim(id, frozenset(wanted), held)


def settled(
    pools: Iterable[Pool], claims: Iterable[Claim], used: dict[str, int] | None = None, waiting: Iterable[Claim] = ()
) -> tuple[dict[str, list[str]], list[tuple[str, str]], dict[str, int]]:
    people = {each.id: each for each in claims}
    counts = used if used is not None else {}
    outside = list(waiting)

    def queue(pool: str, n: int) -> list[Claim]:
        return [each for each in outside if pool in each.seats and not each.held(pool) and each.id not in people][:n]

    order = in_order({pool.name: pool for pool in pools})
    refused = settle(order, counts, people, queue, NOW)
    held = {pool.name: sorted(id for id, each in people.items() if each.held(pool.name)) for pool in order}
    return held, refused, counts


def test_the_order_is_priority_then_the_longer_wait_then_the_id() -> None:
    claims = [
        claim("late", "crm", crm=(False, 1)),
        claim("early", "crm", crm=(False, 9)),
        claim("vip", "crm", crm=(False, 0, 1)),
        claim("b", "crm"),
        claim("a", "crm"),
    ]
    for limit, expected in ((0, []), (1, ["vip"]), (2, ["early", "vip"]), (4, ["a", "early", "late", "vip"])):
        fresh = [Claim(each.id, each.wanted, dict(each.seats)) for each in claims]
        held, refused, used = settled([Pool("crm", limit)], fresh)
        assert (held["crm"], refused, used["crm"]) == (expected, [], limit)


def test_a_released_seat_goes_to_who_waits_outside_the_batch() -> None:
    leaving = claim("u1", crm=(True, 5))
    waiting = claim("u2", "crm", crm=(False, 5))
    held, _, used = settled([Pool("crm", 1)], [leaving], {"crm": 1}, [waiting])
    assert (held["crm"], used["crm"], leaving.seats) == (["u2"], 1, {})


def test_what_requires_a_seat_that_goes_goes_too_and_waits() -> None:
    pools = [Pool("crm", 5, requires=("base",)), Pool("base", 5)]
    user = claim("u1", "crm", base=(True, 5), crm=(True, 5))
    held, _, used = settled(pools, [user], {"crm": 1, "base": 1})
    assert held == {"base": [], "crm": []}
    assert used == {"crm": 0, "base": 0}
    assert user.seats["crm"].held is False


def test_a_pool_without_a_queue_refuses_and_forgets() -> None:
    for pool in (Pool("crm", 0, when_full="refuse"), Pool("crm", 0, required=True)):
        user = claim("u1", "crm")
        assert settled([pool], [user])[1] == [("u1", "crm")]
        assert user.seats == {}


def test_unlimited_and_overage() -> None:
    assert len(settled([Pool("crm")], [claim(f"u{n}", "crm") for n in range(50)])[0]["crm"]) == 50
    over = Pool("crm", 2, when_full="overage", overage=1)
    assert len(settled([over], [claim(f"u{n}", "crm") for n in range(9)])[0]["crm"]) == 3
    assert Pool("crm", 2, when_full="waitlist", overage=1).capacity == 2


def test_a_lowered_limit_takes_nobodys_seat() -> None:
    holders = [claim(f"u{n}", "crm", crm=(True, 5)) for n in range(3)]
    assert settled([Pool("crm", 1)], [*holders, claim("u9", "crm")], {"crm": 3})[0]["crm"] == ["u0", "u1", "u2"]


def test_a_cycle_of_requires_is_named() -> None:
    pools = {"a": Pool("a", requires=("b",)), "b": Pool("b", requires=("c",)), "c": Pool("c", requires=("b",))}
    with pytest.raises(ValueError, match="b -> c -> b"):
        in_order(pools)


def test_what_seats_come_to() -> None:
    monthly, yearly = Price(Decimal("12.50"), "EUR"), Price(Decimal("0.125"), "EUR", "year")
    sums = cost([(monthly, 3), (yearly, 8), (None, 99), (monthly, 1), (Price(Decimal(2), "USD"), 0)])
    assert sums == {("EUR", "month"): Decimal("50"), ("EUR", "year"): Decimal(1), ("USD", "month"): Decimal(0)}
    assert [money(each) for each in (Decimal("12.5"), Decimal("0.125"), Decimal(1000), Decimal(0))] == [
        *("12.50", "0.125", "1,000.00", "0.00")
    ]
    assert str(yearly) == "0.125 EUR/year"
