"""Settling seats: release, then fill in the order of `requires`, the longest wait first, never over capacity."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


EXCLUSIVE = (Pool("internal", 1, excludes=("portal",)), Pool("portal", 2), Pool("forum", None, requires=("portal",)))


def test_who_holds_what_excludes_another_has_none_there_and_gets_it_back() -> None:
    both = claim("u1", "internal", "portal", "forum", portal=(True, 5), forum=(True, 5))
    other = claim("u2", "portal", portal=(False, 1))
    third = claim("u3", "internal", "portal")
    held, _, used = settled(EXCLUSIVE, [both, third], {"portal": 1, "forum": 1}, [other])
    assert held == {"internal": ["u1"], "portal": ["u2", "u3"], "forum": []}
    assert used == {"internal": 1, "portal": 2, "forum": 0}
    assert "portal" not in both.seats, "she does not wait for what she may not have"
    back = Claim("u1", frozenset({"portal", "forum"}), {"internal": Seat("internal", True, ago(1))})
    held, _, used = settled(EXCLUSIVE, [back], {"internal": 1, "portal": 1, "forum": 0}, [third])
    assert held == {"internal": ["u3"], "portal": ["u1"], "forum": ["u1"]}, "who is served from the list gives up hers"


def test_what_excludes_what_it_requires_is_a_circle() -> None:
    with pytest.raises(ValueError, match="a -> b -> a"):
        in_order({"a": Pool("a", requires=("b",), excludes=("b",)), "b": Pool("b")})


@given(st.data())
def test_no_order_of_claims_breaks_a_pool(data: st.DataObject) -> None:
    """Whatever people want, hold and wait for: never over capacity, nothing without what it requires or beside what
    excludes it, and nobody waits where a seat is free."""
    pools = {pool.name: pool for pool in (*EXCLUSIVE, Pool("desk", 2, when_full="overage", overage=1))}
    names = st.sampled_from(sorted(pools))
    claims, used = [], dict.fromkeys(pools, 0)
    for n in range(data.draw(st.integers(0, 6))):
        wanted = data.draw(st.frozensets(names))
        each = Claim(f"u{n}", wanted, {})
        for name in sorted(data.draw(st.frozensets(names))):
            capacity = pools[name].capacity
            holds = data.draw(st.booleans()) and (capacity is None or used[name] < capacity)
            each.seats[name] = Seat(name, holds, ago(data.draw(st.integers(0, 3))), data.draw(st.integers(1, 2)))
            used[name] += holds
        claims.append(each)
    _, refused, counts = settled(pools.values(), claims, used)
    for pool in pools.values():
        inside = [each for each in claims if each.held(pool.name)]
        assert counts[pool.name] == len(inside) <= (pool.capacity if pool.capacity is not None else 99)
        for each in claims:
            seat = each.seats.get(pool.name)
            ready = all(each.held(needed) for needed in pool.requires)
            assert seat is None or pool.name in each.wanted
            assert not each.held(pool.name) or ready
            if pool.name == "portal" and each.held("internal"):
                assert seat is None
            if seat is not None and not seat.held and ready:
                assert len(inside) == pool.capacity
    assert refused == []
