"""Messages read strictly: what is right comes out whole, what is wrong anywhere is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.ldap import ber


def tlv(tag: int, *content: bytes, long: bool = False) -> bytes:
    value = b"".join(content)
    if len(value) < 0x80 and not long:
        return bytes([tag, len(value)]) + value
    return bytes([tag, 0x84]) + len(value).to_bytes(4, "big") + value  # as Active Directory writes every length


def entry(name: bytes, attributes: dict[str, list[bytes]], number: int = 2, long: bool = False) -> bytes:
    listed = [
        tlv(
            ber.SEQUENCE,
            tlv(ber.OCTETS, key.encode(), long=long),
            tlv(ber.SET, *(tlv(ber.OCTETS, value, long=long) for value in values), long=long),
            long=long,
        )
        for key, values in attributes.items()
    ]
    content = tlv(ber.OCTETS, name, long=long) + tlv(ber.SEQUENCE, *listed, long=long)
    return tlv(ber.SEQUENCE, tlv(ber.INTEGER, bytes([number])), tlv(ber.ENTRY, content, long=long), long=long)


def read(message: bytes) -> tuple[int, bytes, dict[str, list[bytes]]]:
    found = ber.envelope(message)
    assert found.tag == ber.ENTRY
    return found.id, *ber.entry(message, found.start, found.stop)


@given(
    st.binary(max_size=200),
    st.dictionaries(
        st.text("abcX;-", min_size=1, max_size=20), st.lists(st.binary(max_size=300), max_size=4), max_size=5
    ),
    st.booleans(),
)
def test_an_entry_comes_out_as_it_went_in(name: bytes, attributes: dict[str, list[bytes]], long: bool) -> None:
    assert read(entry(name, attributes, 7, long)) == (7, name, attributes)


PERSON = entry(b"uid=a,dc=x", {"uid": [b"a"], "mail": [b"a@x.org"], "cn": [b"A"]})
DONE = tlv(
    ber.SEQUENCE,
    tlv(ber.INTEGER, b"\x02"),
    tlv(0x65, b"\x0a\x01\x00\x04\x00\x04\x00"),
    tlv(0xA0, tlv(ber.SEQUENCE, tlv(ber.OCTETS, b"1.2"), tlv(ber.OCTETS, b"x"))),
)


def lengths(message: bytes, at: int = 0, stop: int | None = None) -> list[int]:
    """Where every length stands."""
    found, stop = [], len(message) if stop is None else stop
    while at < stop:
        found.append(at + 1)
        end = at + 2 + message[at + 1]
        if message[at] & 0x20:
            found += lengths(message, at + 2, end)
        at = end
    return found


@pytest.mark.parametrize("message", [PERSON, DONE], ids=["entry", "done"])
def test_no_wrong_length_is_believed(message: bytes) -> None:
    """Each length of the message by every other value: ldap3's decoder takes many of them."""
    for at in lengths(message):
        for wrong in set(range(256)) - {message[at]}:
            spoiled = message[:at] + bytes([wrong]) + message[at + 1 :]
            with pytest.raises((ber.Malformed, UnicodeDecodeError)):
                found = ber.envelope(spoiled)
                ber.entry(spoiled, found.start, found.stop)


@pytest.mark.parametrize("message", [PERSON, DONE], ids=["entry", "done"])
def test_a_message_that_is_cut_is_no_message(message: bytes) -> None:
    for end in range(len(message)):
        with pytest.raises(ber.Malformed):
            ber.envelope(message[:end])
        assert (ber.end_of_message(message[:end], 0, 1000) or 10**6) > end
    assert ber.end_of_message(b"??" + message, 2, 1000) == 2 + len(message)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"HTTP/1.1 400", "begins with byte 48"),
        (b"\x30\x80", "length is given in 0 bytes"),
        (b"\x30\x85\x00\x00\x00\x00\x01", "length is given in 5 bytes"),
        (b"\x30\x82\x10\x00", "4,096 bytes long"),
    ],
)
def test_what_does_not_begin_a_message(raw: bytes, why: str) -> None:
    with pytest.raises(ber.Malformed, match=why):
        ber.end_of_message(raw, 0, 1000)


@pytest.mark.parametrize(
    "raw",
    [
        PERSON + b"\x00",
        tlv(ber.SEQUENCE, tlv(ber.INTEGER, b"\x02")),
        tlv(ber.SEQUENCE, tlv(ber.INTEGER, b""), tlv(0x65)),
        tlv(ber.SEQUENCE, tlv(ber.INTEGER, b"\x02"), tlv(0x65), tlv(0x04)),
        tlv(ber.SEQUENCE, tlv(ber.INTEGER, b"\x02"), tlv(0x65), tlv(0xA0), tlv(0xA0)),
        tlv(ber.SEQUENCE, tlv(ber.INTEGER, b"\x02"), b"\x65\x82\x00"),
    ],
)
def test_what_is_no_envelope(raw: bytes) -> None:
    with pytest.raises(ber.Malformed):
        ber.envelope(raw)


def test_nothing_nests_without_end() -> None:
    deep = b""
    for _ in range(40):
        deep = tlv(ber.SEQUENCE, deep)
    with pytest.raises(ber.Malformed, match="nested too deeply"):
        ber.envelope(tlv(ber.SEQUENCE, tlv(ber.INTEGER, b"\x01"), tlv(0x65, deep)))


def test_elements_and_integers() -> None:
    assert ber.elements(tlv(4, b"ab") + tlv(2, b"\xff")) == [(4, b"ab"), (2, b"\xff")]
    assert (ber.integer(b"\xff"), ber.integer(b"\x01\x00")) == (-1, 256)
