"""What the application reports of people signing in, and when too many failures lock an account. Pure.

Failures count in a row: a success ends the row, and so does a pause of `count_for`. A lock begins when the row reaches
`lock_after` and ends by time or by an admin; the next failure after it begins a new row. Reports may come late and in any
order: what is older than the last success counts for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

AHEAD = timedelta(minutes=5)  # how far the application's clock may be ahead of ours


@dataclass(frozen=True, slots=True)
class SignInPolicy:
    """`lock_after` failures in a row, none of them longer than `count_for` after the one before; None: never."""

    lock_after: int | None = 10
    lock_for: timedelta = timedelta(minutes=15)
    count_for: timedelta = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class SignIn:
    """One report. `second_factor`: whether one was used; None: not said."""

    succeeded: bool
    at: datetime
    address: str | None = None
    second_factor: bool | None = None


@dataclass(frozen=True, slots=True)
class SignIns:
    """All that is kept of one user's. `failures`: since the last success, or since a pause or a lock ended the row."""

    last_at: datetime | None = None
    last_address: str | None = None
    second_factor: bool | None = None  # at the last sign-in
    failures: int = 0
    failed_at: datetime | None = None
    failed_address: str | None = None


def reported(
    known: SignIns, each: SignIn, locked_until: datetime | None, policy: SignInPolicy
) -> tuple[SignIns, datetime | None]:
    """What is known after this report, and until when it locks the account; None: it does not."""
    if each.succeeded:
        if known.last_at is not None and each.at < known.last_at:
            return known, None
        ended = known.failed_at is None or known.failed_at <= each.at
        after = replace(
            known,
            last_at=each.at,
            last_address=each.address,
            second_factor=each.second_factor,
            failures=0 if ended else known.failures,
        )
        return after, None
    if known.last_at is not None and each.at < known.last_at:
        return known, None
    failures = 1 + _row(known, each.at, locked_until, policy)
    after = replace(known, failures=failures)
    if known.failed_at is None or each.at >= known.failed_at:
        after = replace(after, failed_at=each.at, failed_address=each.address)
    locked = locked_until is not None and each.at < locked_until
    full = policy.lock_after is not None and failures >= policy.lock_after
    return after, each.at + policy.lock_for if full and not locked else None


def _row(known: SignIns, at: datetime, locked_until: datetime | None, policy: SignInPolicy) -> int:
    """Failures before this one that it goes on from."""
    if known.failed_at is None or at - known.failed_at > policy.count_for:
        return 0
    if locked_until is not None and at < locked_until:
        return known.failures
    return 0 if policy.lock_after is not None and known.failures >= policy.lock_after else known.failures
