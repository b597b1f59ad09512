"""Addresses that wait to be confirmed, as they are kept: one a user, until it is confirmed, withdrawn or replaced."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, select

from syncd.store import facts
from syncd.store import tables as t

PENDING, EXPIRED = "pending", "expired"
_e, _m = t.email_changes.c, t.mails.c


@dataclass(frozen=True, slots=True)
class EmailChange:
    """`mail` and `mail_error`: what became of the last letter. `granted`: what she held when it was asked."""

    user_id: str
    address: str
    state: str
    asked_by: str
    why: str
    asked_at: datetime
    sent_at: datetime
    expires_at: datetime
    mail: str | None
    mail_error: str | None
    mail_id: str | None = field(repr=False)
    hashes: tuple[str, ...] = field(repr=False)
    granted: frozenset[tuple[str, str]] = field(repr=False)


def find(conn: Connection, workspace: str, user_id: str, now: datetime) -> EmailChange | None:
    return of(conn, workspace, [user_id], now).get(user_id)


def of(conn: Connection, workspace: str, user_ids: Iterable[str], now: datetime) -> dict[str, EmailChange]:
    """Those of these users for whom one waits or has expired."""
    letter = and_(_m.workspace == _e.workspace, _m.id == _e.mail_id)
    columns = (_m.id.label("letter"), _m.ended_as.label("mail_state"), _m.last_error.label("mail_error"))
    found: dict[str, EmailChange] = {}
    for ids in facts.batched(sorted(set(user_ids))):
        query = select(t.email_changes, *columns).outerjoin(t.mails, letter)
        rows = conn.execute(query.where(_e.workspace == workspace, _e.user_id.in_(ids)))
        found |= {row.user_id: _change(row, now) for row in rows}
    return found


def _change(row: Any, now: datetime) -> EmailChange:
    return EmailChange(
        row.user_id,
        row.address,
        PENDING if row.expires_at > now else EXPIRED,
        row.asked_by,
        row.why,
        row.asked_at,
        row.sent_at,
        row.expires_at,
        None if row.letter is None else row.mail_state or "waiting",
        row.mail_error,
        row.mail_id,
        tuple(row.hashes),
        frozenset((kind, value) for kind, value in row.granted),
    )
