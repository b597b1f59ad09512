"""Cursors of a paged list (RFC 9865): all that the next page needs, sealed, so that the server keeps nothing.

A cursor says where a page ended, how many were asked for, how many match, and until when it is good. It opens only for the
query it was made for, asked by the same connection of the same workspace (5.2). The seal is the synthetic-IV construction of
RFC 5297 over HMAC-SHA256 and SHAKE-256: nobody without the key can make, change or read one. Only letters, digits, `-`, `_`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import orjson

from syncd.errors import SyncdError

TIMEOUT_S: Final = 3600
_TAG: Final = 16
_LONGEST: Final = 8192  # a position is a name and an id


class InvalidCursor(SyncdError):
    status, scim_type = 400, "invalidCursor"


class ExpiredCursor(SyncdError):
    status, scim_type = 400, "expiredCursor"


class InvalidCount(SyncdError):
    status, scim_type = 400, "invalidCount"


@dataclass(frozen=True, slots=True)
class Cursor:
    """`key` and `id`: the last row shown. `total`: None where it is cheap to know anew."""

    key: str | int | float | None
    id: str
    count: int
    total: int | None
    expires: int  # seconds since 1970


def digest(*query: object) -> bytes:
    """What a cursor is bound to: who asks for what, in which order, shown how."""
    return hashlib.sha256(orjson.dumps(query)).digest()


def seal(cursor: Cursor, query: bytes, key: bytes) -> str:
    plain = orjson.dumps([cursor.key, cursor.id, cursor.count, cursor.total, cursor.expires])
    tag = _tag(plain, query, key)
    return _text(tag + _masked(plain, tag, key))


def unseal(text: str, query: bytes, key: bytes, now: datetime) -> Cursor:
    """Raises InvalidCursor, always in the same words (5.2), or ExpiredCursor."""
    invalid = InvalidCursor("this cursor is not of this query: begin again with an empty cursor, all else unchanged")
    try:
        if len(text) > _LONGEST or not text.isascii():
            raise ValueError
        sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        if _text(sealed) != text:
            raise ValueError  # its last letter says more than the bytes it stands for
    except ValueError:
        raise invalid from None
    tag, masked = sealed[:_TAG], sealed[_TAG:]
    plain = _masked(masked, tag, key)
    if not hmac.compare_digest(tag, _tag(plain, query, key)):
        raise invalid
    cursor = Cursor(*orjson.loads(plain))
    if cursor.expires < now.timestamp():
        raise ExpiredCursor(f"this cursor is older than {TIMEOUT_S} seconds: begin again with an empty cursor")
    return cursor


def _text(sealed: bytes) -> str:
    return base64.urlsafe_b64encode(sealed).decode().rstrip("=")


def _tag(plain: bytes, query: bytes, key: bytes) -> bytes:
    return hmac.digest(key, b"syncd cursor\0" + query + plain, "sha256")[:_TAG]


def _masked(text: bytes, tag: bytes, key: bytes) -> bytes:
    stream = hashlib.shake_256(b"syncd cursor mask\0" + key + tag).digest(len(text))
    return bytes(a ^ b for a, b in zip(text, stream, strict=True))
