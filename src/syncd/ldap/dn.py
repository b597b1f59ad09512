"""Distinguished names (RFC 4514): parse, escape, and one canonical form to compare by. Pure.

The canonical form is for comparing and looking up, never for showing or sending: types are lower case (OIDs and long
names of the common types become the short name), values are folded as caseIgnoreMatch does (RFC 4518: case, NFKC,
insignificant spaces), parts of a multi-valued RDN are sorted, and every special character is a hex escape. So an
unescaped comma always separates, and "is under" is a suffix test.
Folding treats case-exact attributes like the others: two entries whose DNs differ only in case would collide. A DN is a
look-up here, never an identity (that is the stable key), so the price is one unresolved member at worst.
"""

from __future__ import annotations

import re
import unicodedata
from contextlib import suppress
from functools import lru_cache

from syncd.errors import InvalidValue

Part = tuple[str, str]  # (attribute type as written, value unescaped)
Rdn = tuple[Part, ...]

# RFC 4514 section 3, RFC 4519 section 2: the names servers and people write for the same type.
_SHORT = {
    "0.9.2342.19200300.100.1.1": "uid",
    "0.9.2342.19200300.100.1.25": "dc",
    "2.5.4.3": "cn",
    "2.5.4.4": "sn",
    "2.5.4.6": "c",
    "2.5.4.7": "l",
    "2.5.4.8": "st",
    "2.5.4.9": "street",
    "2.5.4.10": "o",
    "2.5.4.11": "ou",
    "commonname": "cn",
    "countryname": "c",
    "domaincomponent": "dc",
    "localityname": "l",
    "organizationalunitname": "ou",
    "organizationname": "o",
    "stateorprovincename": "st",
    "surname": "sn",
    "userid": "uid",
}
_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)+")
_RUN = re.compile('[^\\\\,+";<>\0\ud800-\udc7f\udd00-\udfff]+')  # of characters that stand for themselves
_HEX = frozenset("0123456789abcdefABCDEF")
_MUST_ESCAPE = frozenset('"+,;<>\\\0')  # RFC 4514 section 2.4
_ESCAPABLE = _MUST_ESCAPE | frozenset(" #=")

# Most names of a directory need no work but lower case: short type, ASCII, single inner spaces, no escapes.
_PLAIN_TEXT = r"[!$-*\-.-:?-\[\]-`{-~a-z]+"
_PLAIN_PART = rf"(?:uid|cn|ou|dc|o|c|l|st)={_PLAIN_TEXT}(?: {_PLAIN_TEXT})*"
_PLAIN = re.compile(rf"{_PLAIN_PART}(?:,{_PLAIN_PART})*")
_PLAIN_RDN = re.compile(_PLAIN_PART)
_LEAF = re.compile(r"((?:[^\\,]|\\.)+),", re.DOTALL)
_DEEP = 100  # commas
_CANONICAL_ESCAPES = {ord(c): f"\\{ord(c):02x}" for c in '"+,;<>\\\0#='}


def normalize(dn: str) -> str:
    """The canonical form of `dn`; "" stays "" (the root). Idempotent. Raises InvalidValue if it is not RFC 4514."""
    lowered = dn.lower() if dn.isascii() else dn
    first, comma, rest = lowered.partition(",")
    if _PLAIN_RDN.fullmatch(first) and (not comma or _plain(rest)):
        return lowered
    split = _LEAF.match(dn) if dn.count(",") < _DEEP else None
    if split is not None:
        with suppress(InvalidValue):  # it is raised below, with its place in the whole name
            above = _above(dn[split.end() :])
            plain = split[1].lower() if split[1].isascii() else ""
            if above and _PLAIN_RDN.fullmatch(plain):
                return f"{plain},{above}"
            leaf = parse(split[1])
            if leaf and above:
                return f"{_canonical_rdn(leaf[0])},{above}"
    return ",".join(_canonical_rdn(rdn) for rdn in parse(dn))


@lru_cache(4096)  # the units above people are few
def _plain(lowered: str) -> bool:
    return _PLAIN.fullmatch(lowered) is not None


@lru_cache(4096)
def _above(dn: str) -> str:
    return normalize(dn)


def parse(dn: str) -> tuple[Rdn, ...]:
    """RDNs, leaf first, values as text (bytes that are not UTF-8 become surrogate escapes)."""
    if not dn.strip(" "):
        return ()
    rdns: list[Rdn] = []
    parts: list[Part] = []
    at = 0
    while True:
        kind, value, at = _part(dn, at)
        parts.append((kind, value))
        if at < len(dn) and dn[at] == "+":
            at += 1
            continue
        rdns.append(tuple(parts))
        parts = []
        if at == len(dn):
            return tuple(rdns)
        at += 1  # the comma


def escape_value(value: str) -> str:
    """`value` as it is written inside a DN (RFC 4514 section 2.4)."""
    escaped = []
    for index, char in enumerate(value):
        if char == "\0":
            escaped.append("\\00")
        elif char in _MUST_ESCAPE or (index == 0 and char in " #") or (index == len(value) - 1 and char == " "):
            escaped.append("\\" + char)
        elif "\udc80" <= char <= "\udcff":
            escaped.append(f"\\{ord(char) - 0xDC00:02x}")
        else:
            escaped.append(char)
    return "".join(escaped)


def is_under(dn: str, base: str) -> bool:
    """True if `dn` is `base` or below it. Either may be written in any form."""
    lower, upper = normalize(dn), normalize(base)
    return not upper or lower == upper or lower.endswith("," + upper)


def is_within(dn: str, base: str, scope: str) -> bool:
    """True if a search of this scope (base, one, subtree) from `base` reaches `dn`. Raises InvalidValue."""
    match scope:
        case "base":
            return normalize(dn) == normalize(base)
        case "one":
            return parent(normalize(dn)) == normalize(base)
        case _:
            return is_under(dn, base)


def parent(dn: str) -> str:
    """The canonical form of the entry above; "" above a top entry and for the root itself."""
    return normalize(dn).partition(",")[2]


def _part(dn: str, at: int) -> tuple[str, str, int]:
    """One `type=value` from `at`; returns also where it stopped (a separator or the end)."""
    while at < len(dn) and dn[at] == " ":
        at += 1
    equals = dn.find("=", at)
    kind = dn[at:equals].rstrip(" ") if equals >= 0 else ""
    if kind[:4].lower() == "oid.":  # LDAPv2 form, RFC 2253 section 4
        kind = kind[4:]
    if not _TYPE.fullmatch(kind):
        raise _invalid(dn, at, "an attribute type and '=' must stand here")
    at = equals + 1
    while at < len(dn) and dn[at] == " ":
        at += 1
    if at < len(dn) and dn[at] == "#":
        return _hex_value(dn, kind, at)
    raw = bytearray()
    keep = 0  # length up to the last character that is not an unescaped space
    while at < len(dn) and dn[at] not in ",+":
        char = dn[at]
        if char == "\\":
            piece, at = _escape(dn, at)
            raw += piece
            keep = len(raw)
            continue
        if char in '";<>\0':
            raise _invalid(dn, at, f"{char!r} must be escaped with a backslash")
        run = _RUN.match(dn, at)
        if run is None:
            raise _invalid(dn, at, "half a surrogate pair is not a character")
        text = run[0]
        if inked := text.rstrip(" "):
            keep = len(raw) + len(inked.encode("utf-8", "surrogateescape"))
        raw += text.encode("utf-8", "surrogateescape")
        at = run.end()
    return kind, raw[:keep].decode("utf-8", "surrogateescape"), at


def _escape(dn: str, at: int) -> tuple[bytes, int]:
    pair = dn[at + 1 : at + 3]
    if len(pair) == 2 and pair[0] in _HEX and pair[1] in _HEX:
        return bytes.fromhex(pair), at + 3
    if pair and pair[0] in _ESCAPABLE and pair[0] != "\0":
        return pair[0].encode(), at + 2
    raise _invalid(dn, at, "a backslash must be followed by two hex digits or a special character")


def _hex_value(dn: str, kind: str, at: int) -> tuple[str, str, int]:
    """`#` and the BER of the value (RFC 4514 section 2.4): a plain string is decoded, anything else kept as bytes."""
    end = at + 1
    while end < len(dn) and dn[end] in _HEX:
        end += 1
    digits = dn[at + 1 : end]
    stop = end
    while stop < len(dn) and dn[stop] == " ":
        stop += 1
    if not digits or len(digits) % 2 or (stop < len(dn) and dn[stop] not in ",+"):
        raise _invalid(dn, at, "'#' must be followed by pairs of hex digits")
    ber = bytes.fromhex(digits)
    # OCTET STRING, UTF8String, PrintableString, IA5String with a short length: the value itself.
    simple = len(ber) >= 2 and ber[0] in (0x04, 0x0C, 0x13, 0x16) and ber[1] == len(ber) - 2 and ber[1] < 0x80
    return kind, (ber[2:] if simple else ber).decode("utf-8", "surrogateescape"), stop


def _canonical_rdn(rdn: Rdn) -> str:
    parts = []
    for kind, value in rdn:
        short = kind.lower()
        parts.append(f"{_SHORT.get(short, short)}={_canonical_value(value)}")
    return "+".join(sorted(parts))


def _canonical_value(value: str) -> str:
    folded = value
    for _ in range(4):  # NFKC and case folding undo each other for a few characters; stable after at most three rounds
        again = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", folded).casefold())
        again = " ".join(again.split())
        if again == folded:
            break
        folded = again
    folded = folded.translate(_CANONICAL_ESCAPES)
    if not folded.isascii():
        folded = "".join(f"\\{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else c for c in folded)
    return folded


def _invalid(dn: str, at: int, why: str) -> InvalidValue:
    shown = dn if len(dn) <= 200 else dn[:200] + "..."
    return InvalidValue(f"not a distinguished name: {shown!r}, character {at + 1}: {why} (RFC 4514)")
