"""Entries off the buffer: what stock ldap3 reads, byte for byte, and never a part of what it says to be."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.ldap import ber, keys
from syncd.ldap.decode import Decoder, RawEntry

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # as in syncd/ldap/receive.py
    import ldap3
    from ldap3.utils.asn1 import decode_message_fast

LONGEST = 10**6
STOCK = ldap3.Connection(ldap3.Server("127.0.0.1", get_info=ldap3.NONE), check_names=False)
Pairs = list[tuple[str, list[bytes]]]


def tlv(tag: int, *content: bytes, wide: bool = False) -> bytes:
    value = b"".join(content)
    if wide:
        return bytes([tag, 0x84]) + len(value).to_bytes(4, "big") + value
    return ber.element(tag, value)


def entry(name: bytes, attributes: Pairs, number: int = 2, wide: bool = False, all_wide: bool = False) -> bytes:
    """`wide`: as Active Directory writes the lengths of what holds others; `all_wide`: of strings as well."""
    wide = wide or all_wide

    def string(value: bytes) -> bytes:
        return tlv(ber.OCTETS, value, wide=all_wide)

    listed = [
        tlv(ber.SEQUENCE, string(key.encode()), tlv(ber.SET, *map(string, values), wide=wide), wide=wide)
        for key, values in attributes
    ]
    content = string(name) + tlv(ber.SEQUENCE, *listed, wide=wide)
    return tlv(ber.SEQUENCE, ber.number(number), tlv(ber.ENTRY, content, wide=wide), wide=wide)


def read(buffer: bytes, number: int = 2, decoder: Decoder | None = None) -> list[RawEntry]:
    """All entries of a buffer, as `receive.py` takes them off."""
    decoder, at = decoder or Decoder(LONGEST), 0
    found: list[RawEntry] = []
    while at < len(buffer):
        at = decoder.entries(buffer, at, number, found)
        if at < len(buffer):
            end = ber.end_of_message(buffer, at, LONGEST)
            if end is None or end > len(buffer):
                raise ber.Malformed("the rest does not come")
            message, at = buffer[at:end], end
            envelope = ber.envelope(message)
            if (envelope.id, envelope.tag) != (number, ber.ENTRY):
                raise ber.Malformed("something else comes")
            found.append(decoder.entry(message, envelope.start, envelope.stop))
    return found


def by_ldap3(message: bytes) -> tuple[bytes, dict[str, tuple[bytes, ...]]]:
    answer: dict[str, Any] = STOCK.strategy.decode_response_fast(decode_message_fast(message))
    return answer["raw_dn"], {name: tuple(each or ()) for name, each in answer["raw_attributes"].items()}


names = st.sampled_from(["uid", "cn", "objectClass", "member", "mail", "jpegPhoto;binary", "cn;lang-de", "x" * 60])
values = st.binary(max_size=20) | st.binary(min_size=120, max_size=300) | st.just(b"\x04\x01a" * 30)
attributes = st.lists(st.tuples(names, st.lists(values, max_size=5)), max_size=6, unique_by=lambda pair: pair[0])
entries = st.lists(st.tuples(st.binary(max_size=150), attributes), min_size=1, max_size=5)


@given(entries, st.sampled_from([1, 127, 128, 70_000]), st.booleans(), st.booleans())
def test_entries_are_those_of_stock_ldap3(
    company: list[tuple[bytes, Pairs]], number: int, wide: bool, all_wide: bool
) -> None:
    messages = [entry(name, listed, number, wide, all_wide) for name, listed in company]
    expected = [by_ldap3(message) for message in messages]
    decoder = Decoder(LONGEST)
    for _ in range(2):  # the second time most is known
        found = read(b"".join(messages), number, decoder)
        assert [(each.dn, each.attributes) for each in found] == [
            (name, keys.fold_names(listed)) for name, listed in expected
        ]
        assert all(each.folded for each in found)
        for each in found:
            assert sum(len(value) for some in each.attributes.values() for value in some) <= (each.longest or 0)


PERSON: Pairs = [
    ("objectClass", [b"top", b"person"]),
    ("uid", [b"a"]),
    ("mail", [b"a@x.org", b"b@x.org"]),
    ("cn", [b"A"]),
]


def lengths(message: bytes, at: int = 0, stop: int | None = None) -> list[int]:
    """Where every length stands, all its bytes."""
    found, stop = [], len(message) if stop is None else stop
    while at < stop:
        size = message[at + 1]
        wide = size & 0x7F if size >= 0x80 else 0
        found += range(at + 1, at + 2 + wide)
        begin = at + 2 + wide
        end = begin + (int.from_bytes(message[at + 2 : begin], "big") if wide else size)
        if message[at] & 0x20:
            found += lengths(message, begin, end)
        at = end
    return found


def by_elements(message: bytes) -> tuple[bytes, dict[str, tuple[bytes, ...]]]:
    """The same entry read element by element. Raises Malformed."""
    envelope = ber.envelope(message)
    match ber.elements(message[envelope.start : envelope.stop]):
        case [(ber.OCTETS, name), (ber.SEQUENCE, listed)] if envelope.id == 2 and envelope.tag == ber.ENTRY:
            return name, keys.fold_names(dict(_attribute(*each) for each in ber.elements(listed)))
    raise ber.Malformed("no entry")


def _attribute(tag: int, content: bytes) -> tuple[str, tuple[bytes, ...]]:
    match ber.elements(content):
        case [(ber.OCTETS, name), (ber.SET, listed)] if tag == ber.SEQUENCE:
            values = ber.elements(listed)
            if all(each == ber.OCTETS for each, _ in values):
                return name.decode(), tuple(value for _, value in values)
    raise ber.Malformed("no attribute")


@pytest.mark.parametrize("known", [False, True], ids=["first", "known"])
@pytest.mark.parametrize("wide", [False, True], ids=["short", "wide"])
def test_no_wrong_length_is_believed(wide: bool, known: bool) -> None:
    """Each byte of each length by every other value. Two values may so become one, which is an entry as well; whatever is
    none is refused, and good entries stand beside it. ldap3's decoder takes many of them."""
    good = entry(b"uid=b,dc=x", [*PERSON, ("description", [b"d" * 300])], wide=wide)
    decoder, refused = Decoder(LONGEST), 0
    for at in lengths(good):
        for wrong in set(range(256)) - {good[at]}:
            if known:
                assert len(read(good, decoder=decoder)) == 1
            else:
                decoder = Decoder(LONGEST)
            spoiled = good[:at] + bytes([wrong]) + good[at + 1 :]
            try:
                expected = by_elements(spoiled)
            except (ber.Malformed, UnicodeDecodeError):
                refused += 1
                for buffer in (spoiled, spoiled + good):
                    with pytest.raises((ber.Malformed, UnicodeDecodeError)):
                        read(buffer, decoder=decoder)
            else:
                found, _ = read(spoiled + good, decoder=decoder)
                assert (found.dn, found.attributes) == expected
    assert refused > 4000


@pytest.mark.parametrize("wide", [False, True], ids=["short", "wide"])
def test_an_entry_that_is_cut_is_none(wide: bool) -> None:
    good = entry(b"uid=b,dc=x", [*PERSON, ("description", [b"d" * 300])], wide=wide)
    decoder = Decoder(LONGEST)
    assert len(read(good + good, decoder=decoder)) == 2
    for end in range(1, len(good)):
        found: list[RawEntry] = []
        assert decoder.entries(good + good[:end], 0, 2, found) == len(good) and len(found) == 1


def test_another_request_and_one_that_is_too_long_are_left() -> None:
    found: list[RawEntry] = []
    good = entry(b"uid=b,dc=x", [("description", [b"d" * 300])])
    assert Decoder(LONGEST).entries(good, 0, 3, found) == 0
    assert Decoder(200).entries(good, 0, 2, found) == 0
    assert found == []


def test_one_name_written_in_two_ways_is_one() -> None:
    message = entry(b"uid=b", [("userCertificate;binary", [b"1"]), ("USERCERTIFICATE", [b"2"])])
    decoder = Decoder(LONGEST)
    for _ in range(2):
        (found,) = read(message, decoder=decoder)
        assert found.attributes == {"usercertificate": (b"1", b"2")}


def test_a_range_is_said_each_time() -> None:
    message = entry(b"cn=g", [("member;Range=0-0", [b"cn=a"])])
    decoder = Decoder(LONGEST)
    for _ in range(2):
        (found,) = read(message, decoder=decoder)
        assert not found.folded and found.attributes == {"member;range=0-0": (b"cn=a",)}


def test_what_is_remembered_is_bounded() -> None:
    decoder = Decoder(LONGEST)
    for number in range(1_100):
        listed: Pairs = [("objectClass", [b"top", b"%d" % number]), (f"a{number}", [b"1"])]
        assert read(entry(b"uid=b", listed), decoder=decoder)[0].attributes["objectclass"] == (b"top", b"%d" % number)
    assert len(decoder._repeated) == 1_000 and len(decoder._single) == 1_100
