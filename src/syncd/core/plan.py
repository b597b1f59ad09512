"""A plan: change groups in order, with the certificate of the read they come from; and what is decided about it.

The digest covers (kind, subject, before, after) of every change, without times, ids and versions, and does not depend on
order, so that it can be summed while the plan streams by.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from syncd.core.change import KINDS, WAITING, Change, ChangeGroup
from syncd.core.correlation import Asked
from syncd.core.lookup import Looked
from syncd.core.seats import Price
from syncd.core.snapshot import Certificate, SetAside

IMPORT = "import"  # what was read is a file of people
LET_GO = "let_go"  # what a directory owns that is not in the configuration any more is let go
COUNTED = ("read", *KINDS, "set_aside")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a writer wants. `certificate` None: every edit is a statement (SCIM, API, a person), nothing is by absence."""

    source: str
    groups: Iterable[ChangeGroup]  # iterated more than once: a list, or a spool
    certificate: Certificate | None = None
    set_aside: tuple[SetAside, ...] = ()
    holds_every_loss: str | None = None  # why, after a changed base, filter, mapping, rule set or server (rule 4)
    impact: bool = False  # of a configuration that is not saved yet: all that it would come to, rules included
    kind: str = "full"  # what was read: "full" | "delta" | "only" (some people) | "rules" | "import" | "let_go"
    kind_why: str | None = None  # why everything was read, though a delta was wanted
    accepted: str | None = None  # what somebody says is right though a read looks blind
    asked: tuple[Asked, ...] = ()  # new entries that may be people who are known
    answered_gone: frozenset[str] = frozenset()  # keys of those of whom an admin said who they are, and who left since
    drift: int | None = None  # differences that deltas should have told before this whole read; None: not measured
    beyond: tuple[str, ...] | None = None  # groups below no base that should be known of; None: nobody looked
    goes: frozenset[str] | None = None  # ids of the groups that it deletes; None: any may be among them
    retried: frozenset[str] | None = None  # keys of set aside entries that were looked at again; None: of all of them


@dataclass(slots=True)
class Digest:
    """A sum over changes, order-independent. `text` is 64 hexadecimal digits."""

    total: int = 0
    count: int = 0

    def add(self, change: Change) -> None:
        self.total += int.from_bytes(fingerprint(change), "big")
        self.count += 1

    @property
    def text(self) -> str:
        return hashlib.sha256(f"{self.count}:{self.total % (1 << 256):x}".encode()).hexdigest()


def fingerprint(change: Change) -> bytes:
    """32 bytes that name a change across plans."""
    before, after = change.before, change.after
    if isinstance(before, dict) or isinstance(after, dict):
        before, after = _without_ids(before), _without_ids(after)
    form = (change.kind, change.subject, before, after)
    return hashlib.sha256(orjson.dumps(form, option=orjson.OPT_SORT_KEYS)).digest()


def _without_ids(value: Any) -> Any:
    """A manager is stored by id, and the id of a user this same plan creates is made anew each time."""
    if isinstance(value, dict):
        return {path: "<id>" if path.endswith("manager.value") and each else each for path, each in value.items()}
    return value


@dataclass(slots=True)
class Counts:
    by_kind: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTED, 0))

    def add(self, changes: Iterable[Change]) -> None:
        for change in changes:
            self.by_kind[change.kind] += 1

    @property
    def changes(self) -> int:
        return sum(self.by_kind[kind] for kind in KINDS if kind != "yield")


@dataclass(frozen=True, slots=True)
class HeldItem:
    """Losses of one kind that a guard holds. `digest` is what `syncd runs approve` takes; refusals have none."""

    guard: str
    kind: str
    why: str
    changes: int
    digest: str
    subjects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PoolUse:
    used: int
    limit: int | None
    waiting: int
    price: Price | None = None


def moved(before: Mapping[str, PoolUse], changes: Iterable[Change]) -> dict[str, PoolUse]:
    """Each pool as these changes leave it."""
    used: Counter[str] = Counter()
    waiting: Counter[str] = Counter()
    for change in changes:
        match change.kind:
            case "seat":
                used[change.after] += 1
                waiting[change.after] -= change.before is not None
            case "wait":
                waiting[str(change.after).removeprefix(WAITING)] += 1
                used[str(change.after).removeprefix(WAITING)] -= change.before is not None
            case "unseat" if str(change.before).startswith(WAITING):
                waiting[change.before.removeprefix(WAITING)] -= 1
            case "unseat":
                used[change.before] -= 1
    return {
        pool: replace(use, used=use.used + used[pool], waiting=use.waiting + waiting[pool])
        for pool, use in before.items()
    }


@dataclass(frozen=True, slots=True)
class Report:
    """What a plan or run came to. `changes` may be 100,000: a re-iterable stream, not a list."""

    run: str
    source: str
    dry_run: bool
    status: str  # clean | pending | applied | held | incomplete | failed
    complete: bool
    incomplete_because: tuple[str, ...]
    digest: str
    counts: dict[str, int]
    held: tuple[HeldItem, ...]
    set_aside: tuple[SetAside, ...]
    changes: Iterable[Change]
    seats_before: dict[str, PoolUse] = field(default_factory=dict)
    seats_after: dict[str, PoolUse] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)  # userNames of the ids that changed values (managers) hold
    notes: tuple[str, ...] = ()
    took_s: float = 0.0
    kind: str = "full"  # "full" | "delta" | "only"
    kind_why: str | None = None
    drift: int | None = None
    looked: tuple[Looked, ...] = ()  # with `--only`: what became of whom

    @property
    def exit_code(self) -> int:
        """The worst wins: 4 held, 5 incomplete, 3 pending, 0 (design section 9)."""
        if self.held:
            return 4
        if not self.complete:
            return 5
        return 3 if self.status == "pending" else 0
