"""The hash chain over the activity record: what is hashed, and in which order.

    row    -> leaf   fixed fields and the payload's hash, none of which a purge touches
    leaves -> root   of up to some hundreds of rows, in the order of their ids
    root   -> link   of a seal: with its number, its range and the link before it

What is personal (subject, reason, before, after) is in the payload's salted hash alone: a purge takes it, and its salt with it,
and every leaf stays what it was. Changing one byte of anything else, or taking a row away, changes every link after it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Final

import orjson

FIRST: Final = bytes(32)  # what the first seal follows
_LEAF: Final = b"syncd activity row 1\0"
_LINK: Final = b"syncd activity seal 1\0"
_DIGEST = 32


def payload_hash(salt: bytes, before: bytes, after: bytes, subject: str, why: str) -> bytes:
    """`before` and `after` as they are stored: JSON."""
    rest = orjson.dumps([subject, why])
    return hashlib.sha256(b"%b[%b,%b,%b" % (salt, before, after, rest[1:])).digest()


def payload_hash_of_0_2(salt: bytes, before: bytes, after: bytes) -> bytes:
    """As releases before 0.3 made it: subject and reason were in no hash."""
    return hashlib.sha256(b"%b[%b,%b]" % (salt, before, after)).digest()


def leaf(id: str, at_us: int, fields: Iterable[str | None], payload: bytes) -> bytes:
    """`fields`: door, actor, action, subject id, source and run of the row, in this order, and the address if it has one
    (rows before release 0.3 have none). `at_us`: since 1970."""
    return hashlib.sha256(_LEAF + orjson.dumps([id, at_us, *fields, payload.hex()])).digest()


def packed(leaves: Iterable[tuple[str, bytes]]) -> bytes:
    """(id, leaf) of each row, as a seal keeps them so that a row that is altered or gone can be named."""
    return b"".join(id.encode() + b"\0" + digest for id, digest in leaves)


def unpacked(leaves: bytes) -> Iterator[tuple[str, bytes]]:
    """Raises ValueError if it was never packed."""
    at = 0
    while at < len(leaves):
        end = leaves.index(b"\0", at)
        digest = leaves[end + 1 : end + 1 + _DIGEST]
        if len(digest) != _DIGEST:
            raise ValueError("the last leaf is cut off")
        yield leaves[at:end].decode(), digest
        at = end + 1 + _DIGEST


def root(leaves: bytes) -> bytes:
    return hashlib.sha256(leaves).digest()


def link(workspace: str, number: int, rows: int, first: str, last: str, previous: bytes, root: bytes) -> bytes:
    said = orjson.dumps([workspace, number, rows, first, last, previous.hex(), root.hex()])
    return hashlib.sha256(_LINK + said).digest()
