"""Everything configured about one workspace, as values: what the door needs to decide. Built once by app.py."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import Any

from syncd.core.access import BUILT_IN, Role
from syncd.core.actor import ADMIN_SOURCE
from syncd.core.canary import Bad, Fewer
from syncd.core.connection import Access, Shows
from syncd.core.correlation import Correlation
from syncd.core.guards import Limits
from syncd.core.lifecycle import Ladder
from syncd.core.ownership import Precedence
from syncd.core.password import PasswordPolicy
from syncd.core.rules import MayGrant, Rule
from syncd.core.scopes import KINDS
from syncd.core.seats import Pool, excluders, in_order
from syncd.core.signins import SignInPolicy
from syncd.core.types import STANDARD, Types, read_by

Condition = Callable[[Mapping[str, Any]], bool]
DEFAULT_CONNECTION = "scim"  # the connection that exists without being configured


@dataclass(frozen=True, slots=True)
class SourcePolicy:
    """What one source may do. A connection that is not configured gets the defaults."""

    name: str
    kind: str = "scim"
    authoritative: bool = True
    may_grant: frozenset[str] | None = None
    limits: Limits = field(default_factory=Limits)
    ladder: Ladder = field(default_factory=Ladder)
    fewer: Fewer = field(default_factory=Fewer)  # entries a read may show fewer than the last ones, and be believed
    bad: Bad = field(default_factory=Bad)  # entries that may be set aside
    on_conflict: str = "yield"  # or "refuse"
    adopt: str = "never"  # "never" | "ask" | a filter's text: which existing users this source may take over
    may_adopt: Condition | None = field(default=None, compare=False)
    correlation: Correlation = field(default_factory=Correlation)  # who a new entry may be
    passwords: bool = False  # what it sends as passwords is kept
    sees: str = "all"  # "all" | "own": of the workspace, what its tokens may know
    access: Access = field(default_factory=Access)
    shows: Shows = field(default_factory=Shows)
    dialect: str = "tolerant"  # what people call its policy on forms that RFC 7644 does not have
    tolerances: frozenset[str] | None = None  # those it holds, by name; None: what is unambiguous
    digest: str = ""  # of base, filter and mapping: a change holds every loss of the first run after it


@lru_cache(256)
def _not_configured(name: str) -> SourcePolicy:
    return SourcePolicy(name, "local" if name == ADMIN_SOURCE else "scim")


@dataclass(frozen=True, slots=True)
class Workspace:
    name: str = "default"
    sources: Mapping[str, SourcePolicy] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    pools: Mapping[str, Pool] = field(default_factory=dict)
    roles: Mapping[str, Role] = field(default_factory=lambda: dict(BUILT_IN))
    protected: tuple[tuple[str, Condition], ...] = ()  # (the filter's text, compiled)
    precedence: Precedence = field(default_factory=Precedence)
    passwords: PasswordPolicy = field(default_factory=PasswordPolicy)
    sign_ins: SignInPolicy = field(default_factory=SignInPolicy)
    purge_after: timedelta | None = timedelta(days=14)  # this long a deletion can be undone; None: always
    warn_before: tuple[timedelta, ...] = (timedelta(days=14), timedelta(days=1))  # of an end date, each once
    invited_for: timedelta = timedelta(days=7)  # how long the link of an invitation counts
    withdrawn_after: timedelta | None = timedelta(days=30)  # so long after it expired it is withdrawn; None: never
    confirms_emails: bool = False  # another address counts only when it is confirmed by the link of a mail
    email_changes_for: timedelta = timedelta(days=1)  # how long that link counts
    mails: bool = False  # whether letters can be sent
    scope_kinds: Mapping[str, str] = field(default_factory=lambda: KINDS)  # kind of data scope -> what it is
    webhooks: tuple[str, ...] = ()  # names of who is told what was revoked, and must acknowledge it
    types: Types = field(default=STANDARD, compare=False)
    may_grant: MayGrant = field(init=False, compare=False)
    pool_order: tuple[Pool, ...] = field(init=False, compare=False)
    excluders: Mapping[str, frozenset[str]] = field(init=False, compare=False)  # of each pool, those that exclude it
    rules_digest: str = field(init=False, compare=False)  # what rules grant and to whom; a change is a plan of its own

    def source(self, name: str) -> SourcePolicy:
        return self.sources.get(name) or _not_configured(name)

    @property
    def connections(self) -> tuple[str, ...]:
        """Sources a token may speak for: what pushes, and people. A directory states its own facts."""
        pushing = (name for name, source in self.sources.items() if source.kind in ("scim", "local"))
        return tuple(dict.fromkeys((DEFAULT_CONNECTION, *pushing, ADMIN_SOURCE)))

    def authoritative(self, name: str) -> bool:
        return self.source(name).authoritative

    def __post_init__(self) -> None:
        granted = {name: source.may_grant for name, source in self.sources.items()}
        rules = repr(sorted((rule.name, rule.when, rule.grants()) for rule in self.rules))
        choices = [(rule.mode, rule.choice, rule.name) for rule in self.rules if rule.mode in ("first", "highest")]
        if choices:  # their order counts, and so does what ranks higher
            ranks = sorted((name, role.rank) for name, role in self.roles.items() if role.rank is not None)
            rules += repr((choices, ranks))
        if declared := read_by(self.types, (rule.when for rule in self.rules)):
            rules += repr(declared)
        limits = repr(sorted((name, None if roles is None else sorted(roles)) for name, roles in granted.items()))
        object.__setattr__(self, "may_grant", MayGrant(self.roles, granted))
        object.__setattr__(self, "pool_order", in_order(self.pools))
        object.__setattr__(self, "excluders", excluders(self.pools.values()))
        object.__setattr__(self, "rules_digest", hashlib.sha256(f"{rules}\n{limits}".encode()).hexdigest())
