"""Who changed, by sums over keys and timestamps: nobody is left out, whatever clocks did."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.errors import FullReadNeeded
from syncd.ldap.values import generalized_time
from syncd.ldap.way_timestamps import _Everybody, _Latest, _Sums, _Swept

KEYS = [f"e0bf7b6d-{number:04}" for number in range(40)]
STAMPS = ["20261201090000Z", "20261201090001Z", "20261201085800Z", "20200101000000Z", "20991231235959Z"]
directories = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(STAMPS), min_size=1)


def sums(directory: dict[str, str]) -> _Sums:
    found = _Sums.of_nobody()
    for key, stamp in directory.items():
        found.add(key, stamp)
    return found.folded(len(directory))


def swept(before: dict[str, str], now: dict[str, str]) -> _Everybody:
    everybody = _Everybody(_Sums.read({"sums": sums(before).written()}))
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
    everybody = _Everybody(other)
    for key, stamp in now.items():
        everybody.note(_Swept("user", key, key, datetime.now(UTC), stamp))
    assert everybody.changed()[0] == set()


def test_few_others_are_suspected_beside_few_that_changed_whatever_their_clocks_said() -> None:
    """Thirty fall to each sum, in either way; some were written by a clock that is years behind."""
    before = {f"{number:x}-{number * 7919:x}": "20261201070000Z" for number in range(30_000)}
    known = _Sums.of_nobody()
    for key, stamp in before.items():
        known.add(key, stamp)
    everybody = _Everybody(known.folded(600))
    assert len(everybody.sums.one) == 1024
    lately, behind = sorted(before)[100:110], sorted(before)[200:210]
    written = dict.fromkeys(lately, "20261201090000Z") | dict.fromkeys(behind, "20110101000000Z")
    for key, stamp in (before | written).items():
        everybody.note(_Swept("user", key, key, generalized_time("", stamp.encode()), stamp))
    changed, _ = everybody.changed()
    assert written.keys() <= changed and len(changed) < 60


def test_the_latest_seconds_are_remembered_and_no_others() -> None:
    start, latest = datetime(2026, 12, 1, tzinfo=UTC), _Latest()
    for second in range(3000):
        latest.note(start + timedelta(seconds=second), str(second))
    assert latest.stamps() == {"2998", "2999"}


@pytest.mark.parametrize("state", [{"seen": {}}, {"sums": "abc"}, {"sums": ["!", "!"]}, {"sums": []}])
def test_a_checkpoint_of_another_release_means_a_whole_read(state: dict[str, object]) -> None:
    with pytest.raises(FullReadNeeded, match="not one of this release"):
        _Sums.read(state)
