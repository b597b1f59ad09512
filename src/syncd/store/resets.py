"""Tokens with which a user chooses a new password, once: `syncd_<id>_<secret>`, of which the SHA-256 is kept.

256 random bits need no slow hash. A user has one at a time; making another, using it, or setting the password ends it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from syncd.core.actor import Actor
from syncd.errors import NotFound
from syncd.store import tables as t
from syncd.store.commit import Ids, record
from syncd.store.rows import Rows

_TOKEN = re.compile(r"syncd_([0-9a-f]{16})_([0-9a-f]{64})", re.ASCII)
_WRONG = "this link is not valid: it was used, has expired, or a newer one was made"


@dataclass(frozen=True, slots=True)
class Reset:
    id: str
    user_id: str


def make(
    conn: Connection,
    actor: Actor,
    user_id: str,
    name: str,
    now: datetime,
    expires_at: datetime,
    ids: Ids,
    why: str = "",
) -> str:
    """The text of a new token, shown this once. Whatever was made before for her ends."""
    forget(conn, actor.workspace, user_id)
    id, secret = secrets.token_hex(8), secrets.token_hex(32)
    conn.execute(
        insert(t.password_resets).values(
            workspace=actor.workspace,
            id=id,
            user_id=user_id,
            hash=_hash(secret),
            created_at=now,
            expires_at=expires_at,
        )
    )
    rows = Rows(actor.workspace)
    record(rows, actor, "password_reset", name, user_id, why, None, {"expires_at": expires_at}, now, ids)
    rows.write(conn)
    return f"syncd_{id}_{secret}"


def open(conn: Connection, workspace: str, text: str, now: datetime) -> Reset:
    """What this token is for. Raises NotFound, without saying which part of it was wrong."""
    found = _TOKEN.fullmatch(text.strip())
    if found is None:
        raise NotFound(_WRONG)
    r = t.password_resets.c
    row = conn.execute(
        select(r.id, r.user_id, r.hash).where(r.workspace == workspace, r.id == found[1], r.expires_at > now)
    ).first()
    if row is None or not hmac.compare_digest(row.hash, _hash(found[2])):
        raise NotFound(_WRONG)
    return Reset(row.id, row.user_id)


def use(conn: Connection, workspace: str, reset: Reset, now: datetime) -> None:
    """Raises NotFound if it was used or ended since it was opened: of two at once, one is first."""
    r = t.password_resets.c
    here = delete(t.password_resets).where(r.workspace == workspace, r.id == reset.id, r.expires_at > now)
    if conn.execute(here.returning(r.id)).first() is None:
        raise NotFound(_WRONG)


def forget(conn: Connection, workspace: str, user_id: str) -> None:
    r = t.password_resets.c
    conn.execute(delete(t.password_resets).where(r.workspace == workspace, r.user_id == user_id))


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
