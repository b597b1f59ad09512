"""Signatures of webhooks in the form of Standard Webhooks 1.0 (github.com/standard-webhooks/standard-webhooks). Pure.

Signed is `ID.TIMESTAMP.BODY` with HMAC-SHA256. A message carries one signature for each active secret, so that a receiver
can be changed over from one secret to the next without a gap; it accepts a message if one of them is right, and the
timestamp is within its replay window.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable
from datetime import datetime
from typing import Final

PREFIX: Final = "whsec_"
LEAST, MOST = 24, 64  # bytes of a secret, as the specification wants
WINDOW_S: Final = 300  # the receiver's: how far a timestamp may be from its clock


def key_of(secret: str) -> bytes:
    """The bytes of a secret as it is written. Raises ValueError, which never shows it."""
    try:
        if not secret.startswith(PREFIX):
            raise ValueError
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (ValueError, binascii.Error):
        raise ValueError(f"is not {PREFIX} and base64: `syncd deliveries secret` makes one") from None
    if not LEAST <= len(key) <= MOST:
        raise ValueError(f"has {len(key)} bytes, not {LEAST} to {MOST}: `syncd deliveries secret` makes one")
    return key


def written(key: bytes) -> str:
    """A secret as both sides write it down."""
    return PREFIX + base64.b64encode(key).decode()


def signature(key: bytes, id: str, timestamp: int, body: bytes) -> str:
    signed = f"{id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def headers(keys: Iterable[bytes], id: str, at: datetime, body: bytes) -> dict[str, str]:
    """`at`: of this attempt, so that one that comes late is not taken for a replay."""
    timestamp = int(at.timestamp())
    return {
        "webhook-id": id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signature(key, id, timestamp, body) for key in keys),
    }
