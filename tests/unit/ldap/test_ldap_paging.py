"""The control for pages: its cookie, and the request for the next page made of the one before."""

from __future__ import annotations

import pytest

from syncd.ldap import ber, paging


def control(oid: bytes, *others: bytes) -> bytes:
    return ber.element(ber.SEQUENCE, ber.element(ber.OCTETS, oid) + b"".join(others))


def paged(size: int, cookie: bytes) -> bytes:
    value = ber.element(ber.SEQUENCE, ber.number(size) + ber.element(ber.OCTETS, cookie))
    return control(paging.PAGED_RESULTS.encode(), b"\x01\x01\xff", ber.element(ber.OCTETS, value))


def request(number: int, *controls: bytes) -> bytes:
    parts = ber.number(number) + ber.element(0x63, b"the search") + ber.element(0xA0, b"".join(controls))
    return ber.element(ber.SEQUENCE, parts)


def test_the_next_page_is_the_same_search_with_another_number_and_cookie() -> None:
    other = control(b"1.2.3", b"\x01\x01\xff")
    for cookie in (b"c", b"c" * 300):
        assert paging.next_page(request(3, other, paged(500, b"")), 129, cookie) == request(
            129, other, paged(500, cookie)
        )


@pytest.mark.parametrize("wrong", [b"", b"\x30\x00", ber.element(ber.SEQUENCE, ber.number(3) + b"\x63\x00")])
def test_what_is_no_paged_search(wrong: bytes) -> None:
    with pytest.raises(ber.Malformed):
        paging.next_page(wrong, 4, b"c")


@pytest.mark.parametrize(
    "value", [b"", b"\x30\x00", b"\x30\x05\x02\x01\x00\x04\x01", b"\x30\x06\x02\x01\x00\x04\x00\x00"]
)
def test_what_is_no_cookie(value: bytes) -> None:
    with pytest.raises(ber.Malformed):
        paging.cookie_of(value)


def test_a_cookie() -> None:
    assert paging.cookie_of(b"\x30\x06\x02\x01\x00\x04\x01c") == b"c"
