"""A SCIM filter as an LDAP filter (RFC 4515) that every entry matches which the SCIM filter matches. Pure.

It may match more: whoever asks judges the entries again. What a directory compares otherwise than we do is left open: a
character beyond ASCII (case and composition) becomes a wildcard, a time or a number only has to be there. None: nothing
narrower than everything can be said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import assert_never

from syncd.core.filter import And, Bound, Condition, Element, Not, Op, Or
from syncd.ldap.values import WRITTEN

NOBODY = "(!(objectClass=*))"
_OURS = ("id", "meta", "schemas")  # what no directory states

Names = Mapping[str, tuple[str, ...]]  # canonical path -> attributes, one of which holds the value


def narrowed(bound: Bound, names: Names) -> str | None:
    """`names`: what the mapping makes each path of, whole values only; a path that is not there cannot be asked for."""
    match bound:
        case And():
            found = [each for term in bound.terms if (each := narrowed(term, names)) is not None]
            return NOBODY if NOBODY in found else _joined("&", found) if found else None
        case Or():
            each_of = [narrowed(term, names) for term in bound.terms]
            known = [each for each in each_of if each is not None and each != NOBODY]
            if None in each_of:
                return None
            return _joined("|", known) if known else NOBODY
        case Not():
            return None
        case Element():
            return narrowed(bound.term, names)
        case Condition():
            return _condition(bound, names)
        case _:
            assert_never(bound)


def escaped(value: str) -> str:
    """As a value within a filter (RFC 4515 section 3)."""
    return "".join(
        char if char.isascii() and char.isprintable() and char not in "\\*()" else _hex(char.encode("utf-8", "replace"))
        for char in value
    )


def escaped_bytes(value: bytes) -> str:
    return _hex(value)


def any_of(terms: Sequence[str]) -> str:
    return _joined("|", terms)


def all_of(terms: Sequence[str]) -> str:
    return _joined("&", terms)


def _hex(value: bytes) -> str:
    return "".join(f"\\{byte:02x}" for byte in value)


def _joined(operator: str, terms: Sequence[str]) -> str:
    return terms[0] if len(terms) == 1 else f"({operator}{''.join(terms)})"


def _condition(condition: Condition, names: Names) -> str | None:
    path = condition.attribute.path
    if path.partition(".")[0] in _OURS:
        return NOBODY
    attributes = names.get(path) or (names.get(condition.attribute.top) if _is_value(condition) else None)
    if not attributes or any(name.lower() in WRITTEN for name in attributes):
        return None
    return any_of([_test(name, condition) for name in attributes])


def _is_value(condition: Condition) -> bool:
    """Of `emails` the address, which the mapping takes from the directory; not its type, which the mapping sets."""
    return condition.attribute.path.rpartition(".")[2] == "value" or condition.attribute.path == condition.attribute.top


def _test(name: str, condition: Condition) -> str:
    if not isinstance(condition.value, str):
        return f"({name}=*)"
    pieces = ["".join(chars) if ascii else "*" for ascii, chars in groupby(condition.value, key=_told_apart)]
    match condition.op:
        case Op.EQ:
            pass
        case Op.SW:
            pieces.append("*")
        case Op.EW:
            pieces.insert(0, "*")
        case Op.CO:
            pieces = ["*", *pieces, "*"]
        case _:
            return f"({name}=*)"
    written = "".join(piece if piece == "*" else escaped(piece) for piece in pieces)
    while "**" in written:
        written = written.replace("**", "*")
    return f"({name}={written or '*'})"


def _told_apart(char: str) -> bool:
    """A directory finds it as it is written, but for its case."""
    return char.isascii()
