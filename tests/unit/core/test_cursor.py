"""Cursors: RFC 9865, sections 2 and 5.2. Whatever is sent, a cursor is ours or it is invalid."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.core.cursor import Cursor, ExpiredCursor, InvalidCursor, digest, seal, unseal

KEY, NOW = b"k" * 32, datetime(2026, 11, 21, tzinfo=UTC)
QUERY = digest("default", "okta", ["User"], 'userName sw "a"', None)
keys = st.none() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
keys |= st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def cursor(key="ann", expires=60):
    return Cursor(key, "0199", 100, 7, int(NOW.timestamp()) + expires)


@given(keys)
def test_what_was_sealed_comes_out(key):
    sealed = seal(cursor(key), QUERY, KEY)
    assert set(sealed) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert unseal(sealed, QUERY, KEY, NOW) == cursor(key)


@given(st.text(max_size=80) | st.text("ABCab01-_", max_size=80))
def test_any_text_is_invalid(text):
    with pytest.raises(InvalidCursor):
        unseal(text, QUERY, KEY, NOW)


@given(st.integers(0, 10_000), st.sampled_from("ABQRghwx-_"))
def test_one_letter_changed_is_invalid(place, letter):
    sealed = seal(cursor(), QUERY, KEY)
    place %= len(sealed)
    changed = sealed[:place] + letter + sealed[place + 1 :]
    if changed != sealed:
        with pytest.raises(InvalidCursor):
            unseal(changed, QUERY, KEY, NOW)


def test_it_belongs_to_a_query_and_a_key_and_ends():
    sealed = seal(cursor(), QUERY, KEY)
    for query, key in ((digest("other"), KEY), (QUERY, b"x" * 32)):
        with pytest.raises(InvalidCursor):
            unseal(sealed, query, key, NOW)
    assert unseal(sealed, QUERY, KEY, NOW + timedelta(seconds=60)) == cursor()
    with pytest.raises(ExpiredCursor):
        unseal(sealed, QUERY, KEY, NOW + timedelta(seconds=61))


def test_nobody_reads_what_it_holds():
    assert "ann" not in seal(cursor(), QUERY, KEY) and seal(cursor("bob"), QUERY, KEY) != seal(cursor(), QUERY, KEY)
