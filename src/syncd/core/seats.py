"""Seat pools: who holds, who waits. A full pool refuses the seat, never the person (unless the pool is `required`).

Seats follow status: an inactive, suspended or deleted user holds none. Pools are taken in the order of `requires`
(`crm` requires `internal`: no internal seat, no crm seat). A released seat goes to the first waiting user at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pool:
    """One licence. `limit` None means unlimited; `overage` seats may be held beyond it."""

    name: str
    limit: int | None = None
    when_full: str = "waitlist"  # "refuse" | "waitlist" | "overage"
    overage: int = 0
    requires: tuple[str, ...] = ()
    required: bool = False  # nobody comes in without a seat: refuse the person
    kind: str = "internal"  # "internal" | "portal" | "add-on"
    where: str | None = None

    @property
    def capacity(self) -> int | None:
        return None if self.limit is None else self.limit + (self.overage if self.when_full == "overage" else 0)

    @property
    def queues(self) -> bool:
        return self.when_full != "refuse" and not self.required


def in_order(pools: Mapping[str, Pool]) -> tuple[Pool, ...]:
    """Pools so that each comes after all it requires; names break ties. A cycle is a ValueError naming it."""
    ordered: dict[str, Pool] = {}
    opened: list[str] = []

    def visit(name: str) -> None:
        if name in ordered or name not in pools:
            return
        if name in opened:
            raise ValueError(" -> ".join([*opened[opened.index(name) :], name]))
        opened.append(name)
        for needed in sorted(pools[name].requires):
            visit(needed)
        opened.pop()
        ordered[name] = pools[name]

    for name in sorted(pools):
        visit(name)
    return tuple(ordered.values())


def entitled(wanted: Iterable[str], pools: Mapping[str, Pool]) -> frozenset[str]:
    """The pools a user is entitled to: granted, existing."""
    return frozenset(name for name in wanted if name in pools)
