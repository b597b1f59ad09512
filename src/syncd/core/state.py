"""What the store knows of one user or group: facts where they were stated, and what the door derived from them.

Facts of a source live on its link; facts of people live on the user; `status`, `values`, rule grants, seats and effective
groups are derived from facts and kept by the door. These values are frozen: an edit makes a new one, and the difference
between the old and the new is the plan (core/change.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from syncd.core.quick import quick

Values = Mapping[str, Any]  # canonical attribute path -> JSON value; see core/resource.py
UNTIL_LIFTED = datetime(9999, 12, 31, tzinfo=UTC)  # the end of a lock that has none: whoever locked it lifts it
STAGES = ("missing", "suspended", "deactivated", "deleted")  # the ladder of a missing entry, in order


MOST_UIDS = 100  # of one entry, in the order of their hashes; any more name nobody


def name_hash(name: str) -> str:
    """16 hexadecimal digits that an index can hold, however long the name (a DN may be longer than an index entry)."""
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def uids_key(uids: Iterable[str]) -> str | None:
    """Of folded uids: one is its hash; several are `*` and theirs, so that they can be told apart in an index."""
    hashes = sorted({name_hash(uid) for uid in uids})[:MOST_UIDS]
    return ("*" + ",".join(hashes) if len(hashes) > 1 else hashes[0]) if hashes else None


def uid_hashes(key: str | None) -> frozenset[str]:
    """The hashes that `uids_key` put together."""
    return frozenset(key.lstrip("*").split(",")) if key else frozenset()


@quick
@dataclass(frozen=True, slots=True)
class Link:
    """(source, stable key) -> resource, with everything that source last stated about it."""

    source: str
    key: str
    enabled: bool | None = True  # None: it says nothing of it, which counts as enabled
    dn: str | None = None
    dn_key: str | None = None  # the DN normalised: how members and managers that name it are found
    values: Values = field(default_factory=dict)
    entry_hash: str = ""  # of the raw entry, so that an unchanged one costs nothing
    mapping_digest: str = ""  # of the mapping that made `values`
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    locked_until: datetime | None = None  # its lock-out, never a leaver
    missing_since: datetime | None = None
    missing_reads: int = 0  # complete reads that did not find it
    stage: str | None = None  # one of STAGES, None while present
    created_at: datetime | None = None
    uid_key: str | None = None  # of its uids, by `uids_key`: how a group's memberUid finds it
    waits_for: str | None = None  # `name_hash` of the normalised DN of a manager who was not found


@quick
@dataclass(frozen=True, slots=True)
class Grant:
    """One role, permission, data scope (`kind=value`) or seat of one user, with its origin."""

    kind: str  # "role" | "permission" | "scope" | "seat"
    value: str
    origin: str  # "direct" | "override" | "rule" | "group" | "source"
    name: str  # the rule's name, the group's id, the source's name, or the actor who granted it
    why: str = ""  # the group path or the reason given
    run_id: str | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None

    @property
    def id(self) -> tuple[str, str, str, str]:
        return (self.kind, self.value, self.origin, self.name)

    @property
    def comes_from(self) -> str:
        """Where to change it: `rule staff`, `group sales > crm`, `direct eve`."""
        return self.why if self.origin == "group" else f"{self.origin} {self.name}"


@quick
@dataclass(frozen=True, slots=True)
class Seat:
    """A seat held in, or waited for in, one pool. Lower `priority` is served first, then the longer wait."""

    pool: str
    held: bool
    since: datetime
    priority: int = 100


@quick
@dataclass(frozen=True, slots=True)
class Membership:
    """This user (or group) is a direct member of `group`, as `origin` (a source) states."""

    group: str
    origin: str
    created_at: datetime | None = None


@quick
@dataclass(frozen=True, slots=True)
class User:
    """One user: facts first, then what is derived. `version` 0 means not stored yet."""

    id: str
    links: tuple[Link, ...] = ()
    suspended: str | None = None  # an admin's hold: the reason
    locked_until: datetime | None = None
    invited: bool = False
    deleted_at: datetime | None = None
    memberships: tuple[Membership, ...] = ()
    grants: tuple[Grant, ...] = ()
    denied: tuple[Grant, ...] = ()  # what does not count while a denial among `grants` does: core/denial.py
    created_at: datetime | None = None
    reclaimed: tuple[str, ...] = ()  # pools whose seat was taken back since she did not sign in; until she does
    # derived, kept by the door
    values: Values = field(default_factory=dict)
    status: str = "active"
    next_status_at: datetime | None = None
    groups: frozenset[str] = frozenset()
    seats: tuple[Seat, ...] = ()
    version: int = 0

    @property
    def name(self) -> str:
        return str(self.values.get("userName") or self.id)

    def link(self, source: str, key: str | None = None) -> Link | None:
        for each in self.links:
            if each.source == source and (key is None or each.key == key):
                return each
        return None

    @property
    def stated(self) -> tuple[Grant, ...]:
        """Every grant, also what is denied now."""
        return (*self.grants, *self.denied) if self.denied else self.grants

    @property
    def present(self) -> bool:
        return self.status != "deleted"


@quick
@dataclass(frozen=True, slots=True)
class Group:
    """One group. `source` owns it; its members are rows of their own (Membership), never part of this value."""

    id: str
    source: str
    link: Link | None = None
    values: Values = field(default_factory=dict)
    memberships: tuple[Membership, ...] = ()  # this group's own parents
    grants: tuple[Grant, ...] = ()  # what people gave it, by hand: each of its effective members has it
    created_at: datetime | None = None
    version: int = 0

    @property
    def name(self) -> str:
        return str(self.values.get("displayName") or self.id)
