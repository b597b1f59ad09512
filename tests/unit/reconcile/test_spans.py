"""Spans of time as a run tells them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from syncd.reconcile.reading import so_long


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (timedelta(days=1), "1 day"),
        (timedelta(days=14), "14 days"),
        (timedelta(hours=36), "36 hours"),
        (timedelta(minutes=90), "90 minutes"),
        (timedelta(seconds=1), "1 second"),
        (timedelta(seconds=1.5), "1.5 seconds"),
    ],
)
def test_a_span_in_its_largest_whole_unit(time: timedelta, text: str) -> None:
    assert so_long(time) == text
