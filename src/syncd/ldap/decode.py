"""SearchResultEntries off the buffer (RFC 4511 section 4.5.2), as strictly as ber.py reads and several times as fast. Pure.

A directory repeats itself: an attribute with one short value begins with one of a few hundred runs of bytes (two tags,
its length, its name, two tags and two lengths), and object classes come in a few combinations. Whatever was read strictly
once is known by its bytes; so a look-up takes the place of reading, and what is not known takes the strict way.
Both ways end where the entry ends, or the entry is Malformed.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from typing import NamedTuple

from syncd.ldap.ber import ENTRY, INTEGER, OCTETS, SEQUENCE, SET, Malformed, inside
from syncd.ldap.keys import fold_name

_MOST = 20_000  # beginnings that are remembered: names by lengths, of at most 142 bytes each
_MOST_REPEATED, _REPEATED_BYTES = 1_000, 300
_REPEATS = frozenset({"objectclass"})
_SHORT = 0x80  # lengths from here on are written in more than one byte

Attributes = dict[str, tuple[bytes, ...]]


class RawEntry(NamedTuple):
    dn: bytes
    attributes: Mapping[str, tuple[bytes, ...]]
    folded: bool = False  # the names are as `keys.fold_names` makes them, and none has a range of its values only
    longest: int | None = None  # its values together have no more bytes; None: not known


class Decoder:
    """Of one connection."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._single: dict[bytes, tuple[str, int, int]] = {}  # beginning -> name, its length, the attribute's
        self._repeated: dict[bytes, tuple[str, tuple[bytes, ...]]] = {}  # a whole attribute
        self._ranged = False

    def entries(self, buffer: bytes, at: int, number: int, into: list[RawEntry]) -> int:
        """Take whole messages that are entries for this request, from `at` on, and say where another one begins.

        It stops at what is not there yet or has an uncommon form, which `entry` reads. Raises Malformed, UnicodeDecodeError.
        """
        asked = _number(number)
        heads = {0x82: _head("H", asked), 0x84: _head("I", asked)}  # the latter is how Active Directory writes lengths
        end = len(buffer) - 40
        while at < end and (head := heads.get(buffer[at + 1])) is not None:
            outer, _, length, answers, operation, form, inner, octets, name = head.unpack_from(buffer, at)
            stop = at + length + (size := form - 0x7E)
            if (
                (outer, answers, operation, octets) != (SEQUENCE, asked, ENTRY, OCTETS)
                or form != buffer[at + 1]
                or name >= _SHORT
                or length > self._longest
                or inner + len(asked) + size != length
                or stop > len(buffer)
            ):
                break
            begin = at + head.size
            into.append(self._entry(buffer, buffer[begin : begin + name], begin + name, stop))
            at = stop
        return at

    def entry(self, message: bytes, start: int, stop: int) -> RawEntry:
        """The one whose content is there. Raises Malformed, or UnicodeDecodeError for an attribute's name."""
        at, after = inside(message, start, stop, OCTETS)
        return self._entry(message, message[at:after], after, stop)

    def _entry(self, message: bytes, dn: bytes, at: int, stop: int) -> RawEntry:
        longest = stop - at
        at, end = inside(message, at, stop, SEQUENCE)
        if end != stop:
            raise Malformed("something follows the entry's attributes")
        self._ranged = False
        try:
            attributes = self._attributes(message, at, stop)
        except IndexError:
            raise Malformed("it ends in the middle of an attribute") from None
        return RawEntry(dn, attributes, not self._ranged, longest)

    def _attributes(self, message: bytes, at: int, stop: int) -> Attributes:
        known = self._single.get
        attributes: Attributes = {}
        while at < stop:
            found = known(message[at : at + message[at + 3] + 8])
            if found is None and message[at + 1] == 0x84:
                found = known(message[at : at + message[at + 7] + 16])
            if found is None:
                at = self._attribute(message, at, stop, attributes)
                continue
            name, begin, size = found
            begin += at
            at += size
            if name in attributes:  # with and without `;binary`
                attributes[name] += (message[begin:at],)
            else:
                attributes[name] = (message[begin:at],)
        if at != stop:
            raise Malformed("an attribute is longer than what holds it")
        return attributes

    def _attribute(self, message: bytes, start: int, stop: int, into: Attributes) -> int:
        """Read strictly, and remembered. Returns where it ends."""
        at, end = inside(message, start, stop, SEQUENCE)
        whole = message[start:end] if end - start <= _REPEATED_BYTES else b""
        if (repeated := self._repeated.get(whole)) is not None:
            name, values = repeated
        else:
            at, after = inside(message, at, end, OCTETS)
            name = fold_name(message[at:after].decode("utf-8"))
            at, values_end = inside(message, after, end, SET)
            if values_end != end:
                raise Malformed("something follows an attribute's values")
            values = _values(message, at, end)
            if len(values) == 1 and len(values[0]) < _SHORT:
                self._remember(message[start : end - len(values[0])], name, end - start)
            elif whole and name in _REPEATS and len(self._repeated) < _MOST_REPEATED:
                self._repeated[whole] = name, values
        self._ranged = self._ranged or ";range=" in name
        into[name] = into[name] + values if name in into else values
        return end

    def _remember(self, beginning: bytes, name: str, size: int) -> None:
        short = beginning[1] < _SHORT and len(beginning) == beginning[3] + 8
        wide = beginning[1] == 0x84 and len(beginning) == beginning[7] + 16
        if (short or wide) and ";range=" not in name and len(self._single) < _MOST:
            self._single[beginning] = name, len(beginning), size


def _values(message: bytes, at: int, end: int) -> tuple[bytes, ...]:
    """Of a SET that ends at `end`. Short values take a short way: a group may have 500,000 of them."""
    values: list[bytes] = []
    add = values.append
    while at < end:
        if message[at] == OCTETS and (length := message[at + 1]) < _SHORT:
            begin = at + 2
            at = begin + length
        else:
            begin, at = inside(message, at, end, OCTETS)
        add(message[begin:at])
    if at != end:
        raise Malformed("a value is longer than what holds it")
    return tuple(values)


def _head(length: str, asked: bytes) -> Struct:
    """Of a message up to the length of the entry's name, all lengths but the last written so."""
    return Struct(f">BB{length}{len(asked)}sBB{length}BB")


def _number(number: int) -> bytes:
    size = (8 + number.bit_length()) // 8
    return bytes([INTEGER, size]) + number.to_bytes(size, "big")
