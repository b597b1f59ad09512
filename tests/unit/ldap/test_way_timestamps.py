"""Who changed, by sums over keys and timestamps: nobody is left out, whatever clocks did."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.errors import FullReadNeeded
from syncd.ldap import way_timestamps
from syncd.ldap.values import generalized_time
from syncd.ldap.way_timestamps import _Everybody, _Latest, _Sums, _Swept

KEYS = [f"e0bf7b6d-{number:04}" for number in range(40)]
STAMPS = ["20261201090000Z", "20261201090001Z", "20261201085800Z", "20200101000000Z", "20991231235959Z"]
directories = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(STAMPS), min_size=1)


def sums(directory: dict[str, str]) -> _Sums:
    found = _Sums()
    for key, stamp in directory.items():
        found.add(key, stamp)
    return found.folded(len(directory))


def swept(before: dict[str, str], now: dict[str, str]) -> _Everybody:
    known = _Sums.read({"sums": sums(before).written()})
    everybody = _Everybody(known, max(generalized_time("", stamp.encode()) for stamp in before.values()))
    for key, stamp in now.items():
        everybody.note(_Swept("user", key, f"uid={key}", generalized_time("", stamp.encode()), stamp))
    return everybody


@given(directories, directories)
def test_whoever_has_another_timestamp_is_among_the_changed(before: dict[str, str], now: dict[str, str]) -> None:
    changed, written = swept(before, now).changed()
    assert {key for key, stamp in now.items() if before.get(key) != stamp} <= changed
    assert written.stamps() <= {now[key] for key in changed}
    assert swept(now, now).changed() == (set(), _Latest())


@given(directories, directories)
def test_the_sums_go_on_with_those_of_everybody_that_was_seen(before: dict[str, str], now: dict[str, str]) -> None:
    other = _Sums.read({"sums": swept(before, now).sums.written()})
    assert other.written() == swept(before, now).sums.written()
    everybody = _Everybody(other, datetime.now(UTC))
    for key, stamp in now.items():
        everybody.note(_Swept("user", key, key, datetime.now(UTC), stamp))
    assert everybody.changed()[0] == set()


def test_where_very_many_may_have_changed_those_written_lately_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(way_timestamps, "MOST_CHANGED", 100)
    before = dict.fromkeys(map(str, range(1000)), "20261201070000Z")
    known = _Sums()
    for key, stamp in before.items():
        known.add(key, stamp)
    few = known.folded(30)  # more than ten fall to each
    everybody = _Everybody(few, datetime(2026, 12, 1, 8, 0, tzinfo=UTC))
    written = {str(number): "20261201090000Z" for number in range(0, 1000, 25)}
    for key, stamp in (before | written).items():
        everybody.note(_Swept("user", key, key, generalized_time("", stamp.encode()), stamp))
    changed, latest = everybody.changed()
    assert changed == written.keys() and latest.stamps() == {"20261201090000Z"}


def test_the_latest_seconds_are_remembered_and_no_others() -> None:
    start, latest = datetime(2026, 12, 1, tzinfo=UTC), _Latest()
    for second in range(3000):
        latest.note(start + timedelta(seconds=second), str(second))
    assert latest.stamps() == {"2998", "2999"}


@pytest.mark.parametrize("state", [{"seen": {}}, {"sums": "abc"}, {"sums": "!"}])
def test_a_checkpoint_of_another_release_means_a_whole_read(state: dict[str, object]) -> None:
    with pytest.raises(FullReadNeeded, match="not one of this release"):
        _Sums.read(state)
