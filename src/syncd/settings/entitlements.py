"""What users may be given, as it is written: seats, roles, rules, and how they sign in."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from syncd.settings.block import Block
from syncd.settings.values import (
    CountOrNever,
    Duration,
    DurationOrNever,
    Lines,
    Money,
    Name,
    Names,
    shown,
)


class WhenFull(Block):
    mode: Literal["refuse", "waitlist", "overage"] = "waitlist"
    overage: int = 0


def _when_full(value: object) -> WhenFull:
    if value in ("refuse", "waitlist"):
        return WhenFull(mode="refuse" if value == "refuse" else "waitlist")
    match value:
        case {"overage": int(seats), **others} if not others and seats > 0 and not isinstance(seats, bool):
            return WhenFull(mode="overage", overage=seats)
    raise ValueError(f"{shown(value)} is not one of refuse, waitlist, {{overage: NUMBER}}")


def _limit(value: object) -> int | None:
    if value == "unlimited":
        return None
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError(f"{shown(value)} is neither a number of seats nor unlimited")


class Seat(Block):
    limit: Annotated[
        int | None,
        BeforeValidator(_limit),
        WithJsonSchema({"oneOf": [{"type": "integer", "minimum": 0}, {"const": "unlimited"}]}),
    ]
    """How many seats the licence has, or `unlimited`."""
    when_full: Annotated[
        WhenFull,
        BeforeValidator(_when_full),
        WithJsonSchema(
            {
                "oneOf": [
                    {"enum": ["refuse", "waitlist"]},
                    {"type": "object", "properties": {"overage": {"type": "integer", "minimum": 1}}},
                ]
            }
        ),
    ] = WhenFull.model_construct()
    """A full pool refuses the seat, keeps a waiting list (default), or lets this many more in."""
    requires: Names = ()
    """Pools in which one must hold a seat to hold one here."""
    excludes: Names = ()
    """Pools in which nobody holds a seat who holds one here; it comes back when the one here goes."""
    idle_after: DurationOrNever = None
    """Without a sign-in for this long the seat is taken back; the next one returns it. Only where sign-ins are reported."""
    pending_counts: bool = True
    """Whether who was invited and has not come yet holds a seat. Suspended, inactive and deleted users never do."""
    required: bool = False
    """Without a seat here the whole person is refused."""
    kind: Literal["internal", "portal", "add-on"] = "internal"
    """What sort of licence it is, for reports."""
    price: Money | None = None
    """What one seat that is taken costs, for plans and reports: 12.50. It needs a currency."""
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] | None = None
    """Of the price, as ISO 4217 writes it: EUR."""
    per: Literal["month", "year"] = "month"
    """What the price is for."""


class Role(Block):
    rank: int | None = None
    """Its place among the roles of rules of mode `highest`: owner has 400, admin 300, member 200, viewer 100."""
    permissions: tuple[str, ...]
    """What the role permits, as `module.action`; `module.*` is all of a module, `!module.action` is denied."""


class Rule(Block):
    name: Name
    """Unique; stands in `syncd explain` and in the activity record."""
    when: str
    """A SCIM filter over attributes, `groups` and `source`."""
    mode: Literal["cumulative", "first", "highest", "deny"] = "cumulative"
    """What it gives adds up; or of several only the first that matches, or that of the highest role, counts; or it denies."""
    choice: Name | None = None
    """Of which `first` or `highest` rules one counts: those with the same word here. Default: all without one."""
    roles: Names = ()
    """Roles given to whom it matches."""
    permissions: tuple[str, ...] = ()
    """Single permissions given."""
    seats: Names = ()
    """Pools in which a seat is given."""
    scopes: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Data scopes given: which records one sees, as kind: [values]."""


class SignIns(Block):
    lock_after: CountOrNever = 10
    """Failed sign-ins in a row, as the application reports them, until the account is locked."""
    lock_for: Duration = timedelta(minutes=15)
    """How long a lock lasts, unless an admin ends it."""
    count_for: Duration = timedelta(hours=1)
    """A pause between two failures that is longer than this begins a new row."""


class Passwords(Block):
    min_length: Annotated[int, Field(ge=8, le=64)] = 12
    """Characters. Which kinds is nobody's business: length is what counts."""
    forbidden_file: Lines | None = None
    """Passwords that are refused beside the common ones that syncd knows, one a line."""
    beside_provider: bool = False
    """Who comes from a directory or an identity provider may have a password here too."""
    attempts_per_minute: Annotated[int, Field(ge=1)] = 10
    """Passwords that are looked at for one user; ten times as many from one address. More are answered 429."""
    reset_for: Duration = timedelta(hours=1)
    """How long a link to choose a new password lasts."""
