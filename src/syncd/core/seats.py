"""Seat pools: who holds, who waits. A full pool refuses the seat, never the person (unless the pool is `required`).

Seats follow status: an inactive, suspended or deleted user holds none. Pools are taken in the order of `requires`
(`crm` requires `internal`: no internal seat, no crm seat). Whoever holds a seat in a pool that excludes another has none in
that other, and gets it back when the first one goes. A released seat goes to the first waiting user at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from syncd.core.lifecycle import SEATED
from syncd.core.state import Seat


@dataclass(frozen=True, slots=True)
class Price:
    """Of one seat that is taken. For the arithmetic: nothing is charged here."""

    amount: Decimal
    currency: str  # ISO 4217, such as EUR
    per: str = "month"  # "month" | "year"

    def times(self, seats: int) -> Decimal:
        return self.amount * seats

    def __str__(self) -> str:
        return f"{money(self.amount)} {self.currency}/{self.per}"


def money(amount: Decimal) -> str:
    """For people, with two decimals at least, and no digit that was not said: 12.50, 0.125, 1,000.00."""
    places = max(2, -int(amount.normalize().as_tuple().exponent))
    return f"{amount:,.{places}f}"


def number(amount: Decimal) -> str:
    """The same for programs: 1000.00."""
    return money(amount).replace(",", "")


def cost(taken: Iterable[tuple[Price | None, int]]) -> dict[tuple[str, str], Decimal]:
    """What so many seats of each pool come to, by currency and period; () if none has a price."""
    sums: dict[tuple[str, str], Decimal] = {}
    for price, seats in taken:
        if price is not None:
            key = (price.currency, price.per)
            sums[key] = sums.get(key, Decimal(0)) + price.times(seats)
    return dict(sorted(sums.items()))


@dataclass(frozen=True, slots=True)
class Pool:
    """One licence. `limit` None means unlimited; `overage` seats may be held beyond it."""

    name: str
    limit: int | None = None
    when_full: str = "waitlist"  # "refuse" | "waitlist" | "overage"
    overage: int = 0
    requires: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()  # who holds a seat here holds none there
    idle_after: timedelta | None = None  # without a sign-in: the seat is taken back until she signs in; None: never
    pending_counts: bool = True  # whether who was invited and has not come yet holds a seat
    required: bool = False  # nobody comes in without a seat: refuse the person
    kind: str = "internal"  # "internal" | "portal" | "add-on"
    price: Price | None = None
    where: str | None = None

    @property
    def capacity(self) -> int | None:
        return None if self.limit is None else self.limit + (self.overage if self.when_full == "overage" else 0)

    def seats(self, status: str) -> bool:
        """Whether users in this state hold seats here."""
        return status in SEATED and (self.pending_counts or status != "pending")

    @property
    def queues(self) -> bool:
        return self.when_full != "refuse" and not self.required


def in_order(pools: Mapping[str, Pool]) -> tuple[Pool, ...]:
    """Pools so that each comes after all it requires and all that exclude it; names break ties. A cycle is a ValueError
    naming it."""
    after = comes_after(pools)
    ordered: dict[str, Pool] = {}
    opened: list[str] = []

    def visit(name: str) -> None:
        if name in ordered or name not in pools:
            return
        if name in opened:
            raise ValueError(" -> ".join([*opened[opened.index(name) :], name]))
        opened.append(name)
        for needed in after[name]:
            visit(needed)
        opened.pop()
        ordered[name] = pools[name]

    for name in sorted(pools):
        visit(name)
    return tuple(ordered.values())


def comes_after(pools: Mapping[str, Pool]) -> dict[str, list[str]]:
    """For each pool those that are settled before it."""
    excluding = excluders(pools.values())
    return {name: sorted({*pool.requires, *excluding.get(name, ())}) for name, pool in pools.items()}


def excluders(pools: Iterable[Pool]) -> dict[str, frozenset[str]]:
    """For each pool that is excluded, the pools that exclude it."""
    found: dict[str, frozenset[str]] = {}
    for pool in pools:
        for name in pool.excludes:
            found[name] = found.get(name, frozenset()) | {pool.name}
    return found


@dataclass(slots=True)
class Claim:
    """One user before the pools: what she wants, holds and waits for."""

    id: str
    wanted: frozenset[str]
    seats: dict[str, Seat]

    def held(self, pool: str) -> bool:
        return pool in self.seats and self.seats[pool].held


def settle(
    order: Iterable[Pool],
    used: dict[str, int],
    claims: dict[str, Claim],
    waiting: Callable[[str, int], Iterable[Claim]],
    now: datetime,
) -> list[tuple[str, str]]:
    """Release what is no longer wanted, then fill every pool in `order` from those who wait, the longest wait first.

    Changes `claims` (users who wait elsewhere and are served now are added) and `used` (seats held per pool).
    `waiting(pool, n)` gives up to n users outside `claims` who wait for it, hold all it requires and nothing that excludes it,
    in queue order.
    Returns (user id, pool) for each seat refused because a pool without a waiting list is full.
    """
    refused: list[tuple[str, str]] = []
    for claim in claims.values():
        for name in [name for name in claim.seats if name not in claim.wanted]:
            used[name] = used.get(name, 0) - claim.seats.pop(name).held
    order = tuple(order)
    excluding = excluders(order)
    for pool in order:
        served = used.get(pool.name, 0)
        queue: list[Claim] = []
        for claim in claims.values():
            if pool.name not in claim.wanted:
                continue
            ready = all(claim.held(needed) for needed in pool.requires)
            if any(claim.held(other) for other in excluding.get(pool.name, ())):
                gone = claim.seats.pop(pool.name, None)
                served -= gone is not None and gone.held
                continue
            seat = claim.seats.get(pool.name)
            if seat is not None and seat.held and ready:
                continue
            if seat is not None and seat.held:  # what it requires went away
                served -= 1
                seat = None
            claim.seats[pool.name] = seat or Seat(pool.name, False, now)
            if ready:
                queue.append(claim)
        free = len(queue) + MOST_AT_ONCE if pool.capacity is None else pool.capacity - served
        if free > 0:
            queue += waiting(pool.name, min(free, MOST_AT_ONCE))
            queue.sort(key=lambda claim: _turn(claim, pool.name))
            for claim in queue[:free]:
                claims.setdefault(claim.id, claim)
                claim.seats[pool.name] = replace(claim.seats[pool.name], held=True, since=now)
                served += 1
        used[pool.name] = served
        if not pool.queues:
            for claim in claims.values():
                if pool.name in claim.seats and not claim.held(pool.name):
                    del claim.seats[pool.name]
                    refused.append((claim.id, pool.name))
    return refused


MOST_AT_ONCE = 1_000  # users served from a waiting list in one batch; the next batch or run serves more


def _turn(claim: Claim, pool: str) -> tuple[int, datetime, str]:
    seat = claim.seats[pool]
    return (seat.priority, seat.since, claim.id)
