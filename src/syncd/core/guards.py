"""Pure judgements of a plan's losses against facts: which kinds of loss are held, and the numbers that say why.

A kind is held when n > min(number, max(floor, share x population)), where n counts the losses of the plan and those the
same source caused within its rolling window. All losses of a kind that is over its limit are held; the rest goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

VERBS: Mapping[str, str] = {  # every kind of loss
    "deactivate": "users would be deactivated",
    "suspend": "users would be suspended",
    "delete": "users would be deleted",
    "role": "users would lose a role, permission or data scope",
    "seat": "users would lose a seat",
    "membership": "users would leave a group",
    "blank": "users would lose an attribute's value",
}


@dataclass(frozen=True, slots=True)
class Limit:
    share: float = 0.05
    floor: int = 5
    number: int = 500

    def allowed(self, population: int) -> int:
        return min(self.number, max(self.floor, int(self.share * population)))


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one source: per kind of loss, over a rolling window."""

    by_kind: Mapping[str, Limit] = field(default_factory=dict)
    window: timedelta = timedelta(hours=24)

    def of(self, loss: str) -> Limit:
        return self.by_kind.get(loss, Limit())


@dataclass(frozen=True, slots=True)
class Held:
    """Why losses of one kind (of some or all subjects) are not applied."""

    guard: str  # "limit" | "first_run_after_change" | "incomplete" | "protected" | "last_owner" | "may_grant"
    kind: str  # the kind of loss, a key of VERBS
    why: str
    subjects: tuple[str, ...] = ()


def over_limit(
    source: str, losing: Mapping[str, Iterable[str]], recent: Mapping[str, int], population: int, limits: Limits
) -> list[Held]:
    """The kinds of loss that are over their limit.

    `losing`: kind of loss -> subjects (each counted once) that lose in this plan; `recent`: kind -> distinct subjects that
    lost through the same source within the window. `population`: active users linked to the source at decision.
    """
    held = []
    for loss, subjects in losing.items():
        names = tuple(sorted(set(subjects)))
        before = recent.get(loss, 0)
        limit = limits.of(loss)
        allowed = limit.allowed(population)
        if names and len(names) + before > allowed:
            held.append(
                Held("limit", loss, _numbers(source, loss, len(names), before, population, limit, allowed), names)
            )
    return held


def _numbers(source: str, loss: str, n: int, before: int, population: int, limit: Limit, allowed: int) -> str:
    share = f" ({n / population:.1%})" if population else ""
    earlier = f", {before} more within the window" if before else ""
    return (
        f"source {source}: {n:,} of {population:,}{share} {VERBS[loss]}{earlier}; limit {allowed:,} "
        f"(share {limit.share:.0%}, floor {limit.floor}, number {limit.number})"
    )
