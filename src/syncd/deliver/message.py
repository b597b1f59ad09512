"""What a webhook says: the event of the outbox in plain JSON. Pure.

The bytes of one delivery are the same at every attempt. They name the user by id only: names and addresses are asked for
at `/api/v1/users/{id}`, so that nothing personal lies in a receiver's logs or outlives a purge here.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from syncd.core.offboarding import Handover
from syncd.store import deliveries, events
from syncd.store.deliveries import Taken

TYPES: Mapping[str, str] = {
    "deleted": "user.deleted",
    "deactivated": "user.deactivated",
    "suspended": "user.suspended",
    "access": "user.access_revoked",
    "sessions": "user.sessions_revoked",
    "handover": "user.handover",
}


def body(taken: Taken) -> bytes:
    claims = taken.claims
    said = claims["events"]
    kind = deliveries.kind_of(claims)
    told: dict[str, Any] = {"user": {"id": taken.subject_id, "workspace": taken.workspace}}
    if kind == "sessions":
        told["end_sessions"] = True
    elif kind == "handover":
        left = said[events.OFFBOARDING]
        told["hand_over_to"] = left["hand_over_to"] and {"id": left["hand_over_to"]}
        told["handed_over"] = {name: left[name] for name in Handover.__dataclass_fields__}
    else:
        revoked = said[events.REVOKED]
        told["user"] |= {"status": revoked["status"], "version": revoked["version"]}
        told["end_sessions"] = revoked["sign_in"]
        told["lost"] = {name: revoked[name] for name in ("roles", "permissions", "data_scopes", "seats")}
    at = datetime.fromtimestamp(claims["iat"], UTC)
    message = {"type": TYPES[kind], "timestamp": at.isoformat().replace("+00:00", "Z"), "data": _with(told, claims)}
    return orjson.dumps(message)


def _with(told: dict[str, Any], claims: Mapping[str, Any]) -> dict[str, Any]:
    """`event` and `transaction` as SCIM's events name them, so that both can be laid side by side."""
    return {**told, "event": claims["jti"], "transaction": claims["txn"]}
