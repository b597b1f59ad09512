"""DirSync's control, written and read strictly (MS-ADTS 3.1.1.3.4.1.3)."""

from __future__ import annotations

import pytest

from syncd.errors import IncompleteRead
from syncd.ldap import ber
from syncd.ldap.way_active_directory import _answer, _request


@pytest.mark.parametrize(
    ("value", "content"),
    [(0, "00"), (127, "7f"), (128, "0080"), (1 << 20, "100000"), (-1, "ff"), (-0x80000000, "80000000"), (-129, "ff7f")],
)
def test_an_integer_is_as_short_as_it_can_be(value: int, content: str) -> None:
    written = ber.number(value)
    assert written[2:].hex() == content
    ((tag, inner),) = ber.elements(written)
    assert (tag, ber.integer(inner)) == (ber.INTEGER, value)


def test_what_is_asked() -> None:
    ((tag, inner),) = ber.elements(_request(b"cookie"))
    assert tag == ber.SEQUENCE
    assert [(each, content) for each, content in ber.elements(inner)][2] == (ber.OCTETS, b"cookie")
    assert ber.integer(ber.elements(inner)[0][1]) == -(1 << 31)


def answer(more: int, cookie: bytes) -> bytes:
    return ber.element(ber.SEQUENCE, ber.number(more) + ber.number(0) + ber.element(ber.OCTETS, cookie))


def test_what_is_answered() -> None:
    assert _answer(answer(0, b"next"), b"") == (False, b"next")
    assert _answer(answer(1, b"next"), b"before") == (True, b"next")


@pytest.mark.parametrize(
    ("value", "before", "why"),
    [
        (b"", b"", "no DirSync control"),
        (answer(0, b""), b"", "no DirSync control"),
        (answer(0, b"next")[:-1], b"", "malformed"),
        (answer(1, b"same"), b"same", "repeats an answer"),
    ],
    ids=["none", "without a cookie", "cut short", "no progress"],
)
def test_an_answer_that_cannot_be_believed(value: bytes, before: bytes, why: str) -> None:
    with pytest.raises(IncompleteRead, match=why):
        _answer(value, before)
