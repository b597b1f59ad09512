"""Pure judgements of a plan's losses against facts: which kinds of loss are held, and the numbers that say why.

A kind is held when n > min(number, max(floor, share x population)), where n counts whoever loses by the plan or lost through
the same source within its rolling window, each once. The population is that of the window and not what is left of it: the
source's active users and whom it took away itself. All losses of a kind that is over its limit are held; the rest goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
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

    def enough(self, n: int) -> int | None:
        """The smallest population of which so many are allowed (beyond what can be computed: a little more); None: of none."""
        if n <= self.allowed(0):
            return 0
        if n > self.number or self.share <= 0:
            return None
        near = int(n / self.share)
        likely = (each for each in range(max(0, near - 1), near + 3) if self.allowed(each) >= n)
        return next(likely, near + near // 10**9 + 3)

    @property
    def settled(self) -> int:
        """The population from which on a larger one allows no more."""
        return self.enough(self.number) or 0


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
    source: str,
    losing: Mapping[str, Set[str]],
    recent: Mapping[str, Set[str]],
    population: int,
    limits: Limits,
    among: Callable[[Set[str]], int] = len,
    more: bool = False,
) -> list[Held]:
    """The kinds of loss that are over their limit.

    `losing`: kind of loss -> subjects that lose in this plan; `recent`: kind -> those that lost through the same source
    within the window. `population`: how many users of the source are active now, or were until it took that within the
    window; `among`: how many of some subjects belong to it; `more`: it is larger, which changes no limit.
    """
    held = []
    for loss, subjects in losing.items():
        before = recent.get(loss, frozenset())
        limit, everyone = limits.of(loss), subjects | before
        if subjects and len(everyone) > limit.allowed(population):
            why = _numbers(source, loss, (len(everyone), among(everyone)), population, len(before), limit, more)
            held.append(Held("limit", loss, why, tuple(sorted(subjects))))
    return held


def _numbers(
    source: str, loss: str, everyone: tuple[int, int], population: int, before: int, limit: Limit, more: bool
) -> str:
    """`everyone`: how many lose now or did within the window, and how many of these belong to the population."""
    n, inside = everyone
    size = f"more than {population:,}" if more else f"{population:,}"
    share = "" if more else f" ({n / max(1, population):.1%})"
    whom = f"{n:,} of {size}{share} {VERBS[loss]}"
    if inside < n:
        others = f"{n - inside:,} other{'s' if n - inside > 1 else ''}"
        whom = f"{n:,} {VERBS[loss]} ({inside:,} of its own {size} active ones and {others})"
    earlier = f", {before:,} of them already within the window" if before else ""
    return (
        f"source {source}: {whom}{earlier}; limit {limit.allowed(population):,} "
        f"(share {limit.share:.0%}, floor {limit.floor}, number {limit.number})"
    )
