"""LDAP's subset of BER (RFC 4511 section 5.1), read strictly: every length is definite and ends exactly where what holds
it ends. Pure.

ldap3's own decoder slices past an inner length that is wrong: a value, an attribute or the rest of a group's members is
then gone without a word. Here such a message is Malformed, and the read that it belongs to is not complete.
"""

from __future__ import annotations

from typing import NamedTuple

SEQUENCE, SET, OCTETS, INTEGER = 0x30, 0x31, 0x04, 0x02
ENTRY = 0x64  # SearchResultEntry, [APPLICATION 4]
INTERMEDIATE = 0x79  # IntermediateResponse, [APPLICATION 25]
_NAME, _VALUE = 0x80, 0x81  # of an intermediate response
_CONTROLS = 0xA0
_CONSTRUCTED = 0x20
_DEEPEST = 20


class Malformed(ValueError):
    """Bytes that are not an LDAP message."""


class Envelope(NamedTuple):
    """An LDAPMessage: what it answers, the tag of its operation, where that operation's content is, and its controls."""

    id: int
    tag: int
    start: int
    stop: int
    controls: tuple[int, int] = (0, 0)


def end_of_message(buffer: bytes | bytearray, at: int, longest: int) -> int | None:
    """Where the message that begins at `at` ends; None while its length has not come.

    Raises Malformed if no message begins there, or one of more than `longest` bytes.
    """
    have = len(buffer) - at
    if have and buffer[at] != SEQUENCE:
        raise Malformed(f"it begins with byte {buffer[at]:02x}, not with 30")
    if have < 2:
        return None
    length, header = buffer[at + 1], 2
    if length >= 0x80:
        size = length & 0x7F
        if not 1 <= size <= 4:
            raise Malformed(f"its length is given in {size} bytes")
        header += size
        if have < header:
            return None
        length = int.from_bytes(buffer[at + 2 : at + header], "big")
    if length > longest:
        raise Malformed(f"it says that it is {length:,} bytes long")
    return at + header + length


def envelope(message: bytes) -> Envelope:
    """Raises Malformed, also for what is wrong deep inside; an entry's content is checked by decode.py."""
    start, stop = inside(message, 0, len(message), SEQUENCE)
    if stop != len(message):
        raise Malformed("something follows the message")
    at, after = inside(message, start, stop, INTEGER)
    if not 1 <= after - at <= 4:
        raise Malformed("its number is not a number")
    number = int.from_bytes(message[at:after], "big")
    if after >= stop:
        raise Malformed("it has no operation")
    tag = message[after]
    content, after = inside(message, after, stop, tag)
    found = Envelope(number, tag, content, after)
    if tag & _CONSTRUCTED and tag != ENTRY:
        _check(message, content, after, 0)
    if after < stop:
        controls, end = inside(message, after, stop, _CONTROLS)
        _check(message, controls, end, 0)
        found, after = found._replace(controls=(controls, end)), end
    if after != stop:
        raise Malformed("something follows its controls")
    return found


def intermediate(message: bytes, found: Envelope) -> tuple[str, bytes]:
    """Name and value of an intermediate response (RFC 4511 section 4.13); a part left out is empty. Raises Malformed."""
    parts = elements(message[found.start : found.stop])
    if [tag for tag, _ in parts] not in ([_NAME, _VALUE], [_NAME], [_VALUE], []):
        raise Malformed("an intermediate response has other parts than a name and a value")
    said = dict(parts)
    return said.get(_NAME, b"").decode("ascii", "replace"), said.get(_VALUE, b"")


def controls(message: bytes, found: Envelope) -> dict[str, bytes]:
    """The values of a message's controls by their OIDs (RFC 4511 section 4.1.11); b"" for one without. Raises Malformed."""
    start, stop = found.controls
    values: dict[str, bytes] = {}
    for _, control in elements(message[start:stop]):
        parts = elements(control)
        if not parts or parts[0][0] != OCTETS:
            raise Malformed("a control has no name")
        values[parts[0][1].decode("ascii", "replace")] = (
            parts[-1][1] if len(parts) > 1 and parts[-1][0] == OCTETS else b""
        )
    return values


def integer(content: bytes) -> int:
    return int.from_bytes(content, "big", signed=True)


def elements(content: bytes) -> list[tuple[int, bytes]]:
    """(tag, content) of each element that these bytes are made of. Raises Malformed."""
    found, at, stop = [], 0, len(content)
    while at < stop:
        tag = content[at]
        start = at + 2
        if start <= stop and (length := content[at + 1]) < 0x80 and start + length <= stop:
            at = start + length
        else:
            start, at = inside(content, at, stop, tag)
        found.append((tag, content[start:at]))
    return found


def element(tag: int, content: bytes) -> bytes:
    """The one element of these, written as shortly as it can be."""
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def number(value: int) -> bytes:
    """An INTEGER, in as few bytes as it takes."""
    size = (8 + (value + (value < 0)).bit_length()) // 8
    return element(INTEGER, value.to_bytes(size, "big", signed=True))


def inside(message: bytes, at: int, stop: int, tag: int) -> tuple[int, int]:
    """Start and end of the content of the element at `at`, which must have this tag and lie before `stop`."""
    if at + 2 > stop:
        raise Malformed("it ends in the middle of an element")
    if message[at] != tag:
        raise Malformed(f"an element has tag {message[at]:02x} instead of {tag:02x}")
    length = message[at + 1]
    at += 2
    if length >= 0x80:
        size = length & 0x7F
        if not 1 <= size <= 4 or at + size > stop:
            raise Malformed("a length is not definite")
        length = int.from_bytes(message[at : at + size], "big")
        at += size
    if at + length > stop:
        raise Malformed("an element is longer than what holds it")
    return at, at + length


def _check(message: bytes, at: int, stop: int, depth: int) -> None:
    if depth > _DEEPEST:
        raise Malformed("it is nested too deeply")
    while at < stop:
        tag = message[at]
        start, at = inside(message, at, stop, tag)
        if tag & _CONSTRUCTED:
            _check(message, start, at, depth + 1)
