"""Messages read strictly: what is wrong anywhere is refused. Entries: test_ldap_decode.py."""

from __future__ import annotations

import pytest

from syncd.ldap import ber


def tlv(tag: int, *content: bytes, long: bool = False) -> bytes:
    value = b"".join(content)
    if len(value) < 0x80 and not long:
        return bytes([tag, len(value)]) + value
    return bytes([tag, 0x84]) + len(value).to_bytes(4, "big") + value  # as Active Directory writes every length


DONE = tlv(
    ber.SEQUENCE,
    tlv(ber.INTEGER, b"\x02"),
    tlv(0x65, b"\x0a\x01\x00\x04\x00\x04\x00"),
    tlv(0xA0, tlv(ber.SEQUENCE, tlv(ber.OCTETS, b"1.2"), tlv(ber.OCTETS, b"x"))),
)


def test_a_message_that_is_cut_is_no_message() -> None:
    for end in range(len(DONE)):
        with pytest.raises(ber.Malformed):
            ber.envelope(DONE[:end])
        assert (ber.end_of_message(DONE[:end], 0, 1000) or 10**6) > end
    assert ber.end_of_message(b"??" + DONE, 2, 1000) == 2 + len(DONE)


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
        DONE + b"\x00",
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


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ((tlv(0x80, b"1.2"), tlv(0x81, b"x")), ("1.2", b"x")),
        ((tlv(0x80, b"1.2", long=True),), ("1.2", b"")),
        ((tlv(0x81, b"x"),), ("", b"x")),
        ((), ("", b"")),
    ],
)
def test_an_intermediate_response_has_a_name_and_a_value(parts: tuple[bytes, ...], said: tuple[str, bytes]) -> None:
    message = tlv(ber.SEQUENCE, tlv(ber.INTEGER, b"\x02"), tlv(ber.INTERMEDIATE, *parts))
    assert ber.intermediate(message, ber.envelope(message)) == said


@pytest.mark.parametrize("parts", [(tlv(0x81), tlv(0x80)), (tlv(0x80), tlv(0x80)), (tlv(0x82),), (tlv(4, b"x"),)])
def test_what_is_no_intermediate_response(parts: tuple[bytes, ...]) -> None:
    message = tlv(ber.SEQUENCE, tlv(ber.INTEGER, b"\x02"), tlv(ber.INTERMEDIATE, *parts))
    with pytest.raises(ber.Malformed, match="other parts"):
        ber.intermediate(message, ber.envelope(message))


def test_elements_and_integers() -> None:
    assert ber.elements(tlv(4, b"ab") + tlv(2, b"\xff")) == [(4, b"ab"), (2, b"\xff")]
    assert (ber.integer(b"\xff"), ber.integer(b"\x01\x00")) == (-1, 256)
