from __future__ import annotations

from datetime import UTC, datetime, timedelta

from syncd.core.signins import SignIn, SignInPolicy, SignIns, reported

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
POLICY = SignInPolicy(lock_after=3, lock_for=timedelta(minutes=15), count_for=timedelta(hours=1))


def minutes(n: float) -> datetime:
    return NOON + timedelta(minutes=n)


def failing(*at: float, known: SignIns = SignIns(), locked: datetime | None = None) -> tuple[SignIns, datetime | None]:
    until = locked
    for each in at:
        known, found = reported(known, SignIn(False, minutes(each), "192.0.2.7"), until, POLICY)
        until = found or until
    return known, until


def test_failures_in_a_row_lock_and_a_success_ends_the_row() -> None:
    known, until = failing(0, 1)
    assert (known.failures, until) == (2, None)
    known, until = reported(known, SignIn(True, minutes(2), "192.0.2.9", True), None, POLICY)
    assert (known.failures, known.last_at, known.last_address, known.second_factor) == (
        0,
        minutes(2),
        "192.0.2.9",
        True,
    )
    assert known.failed_at == minutes(1), "what failed last is still told"
    known, until = failing(3, 4, known=known)
    assert (known.failures, until) == (2, None)
    assert failing(5, known=known) == (SignIns(minutes(2), "192.0.2.9", True, 3, minutes(5), "192.0.2.7"), minutes(20))


def test_a_long_pause_and_the_end_of_a_lock_begin_a_new_row() -> None:
    known, until = failing(0, 1, 62)
    assert (known.failures, until) == (1, None)
    known, until = failing(0, 1, 2)
    assert until == minutes(17)
    locked, still = failing(3, known=known, locked=until)
    assert (locked.failures, still) == (4, until), "a failure while she is locked makes the lock no longer"
    assert failing(18, known=locked, locked=until)[0].failures == 1


def test_late_reports_count_by_their_time() -> None:
    known, _ = reported(SignIns(), SignIn(True, minutes(10)), None, POLICY)
    assert failing(1, 2, 3, known=known) == (known, None), "older than the last success"
    known, _ = failing(11, 12, known=known)
    older, _ = reported(known, SignIn(True, minutes(5)), None, POLICY)
    assert older == known
    between, _ = reported(known, SignIn(True, minutes(11.5)), None, POLICY)
    assert (between.failures, between.last_at) == (2, minutes(11.5)), "a later failure is still in the row"


def test_never() -> None:
    known, until = SignIns(), None
    for n in range(50):
        known, until = reported(known, SignIn(False, minutes(n)), None, SignInPolicy(lock_after=None))
    assert (known.failures, until) == (50, None)
