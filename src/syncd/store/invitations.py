"""Invitations: somebody who is no user yet gets a link by mail, with which she sets a password and comes in.

The user is made at once and is pending: her name is taken, her roles, groups and seats stand ready. The link holds 256 random
bits, of which the hash is kept; it is made when the mail is sent (store/mails.py), so that it never waits anywhere. Opening
it changes nothing, since machines look at mail too. A resent, corrected or cancelled invitation ends the links before.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, insert, select, update

from syncd.core.actor import ADMIN_SOURCE, Actor
from syncd.core.change import UserEdit
from syncd.core.lifecycle import status
from syncd.core.mail import is_address
from syncd.core.state import Grant, Link, User
from syncd.core.workspace import Workspace
from syncd.errors import Conflict, InvalidValue, NotFound
from syncd.store import describe, facts, mails, passwords
from syncd.store import tables as t
from syncd.store.commit import Ids, Outcome, commit, record
from syncd.store.posting import post
from syncd.store.rows import Rows

STATES = ("pending", "expired", "accepted", "cancelled")
_LINKS = 5  # of one sending: a mail that is tried again has another
_WRONG = "this link is not valid: it was used or withdrawn, has expired, or a newer one was sent"
_i, _m = t.invitations.c, t.mails.c


@dataclass(frozen=True, slots=True)
class Invitation:
    """`mail` and `mail_error`: what became of the last letter, so that a refused address is seen."""

    id: str
    user_id: str
    address: str
    state: str
    invited_by: str
    created_at: datetime
    sent_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    mail: str | None
    mail_error: str | None


@dataclass(frozen=True, slots=True)
class Opened:
    """A link that is good now."""

    workspace: Workspace
    id: str
    user: User


# -- people ------------------------------------------------------------------------------------------------------------------


def invite(
    conn: Connection,
    workspace: Workspace,
    actor: Actor,
    address: str,
    values: Mapping[str, Any],
    grants: Sequence[Grant],
    groups: Sequence[str],
    why: str,
    now: datetime,
    ids: Ids,
) -> tuple[Outcome, str]:
    """A pending user with these grants and groups (ids), and a letter to her. Her userName is the address unless `values` say
    otherwise. What the door refuses is in the outcome; the str is the id of the invitation.

    Raises Conflict without a mail server or for the address of a user, InvalidValue for what is no address.
    """
    _can_write(workspace)
    _check(conn, workspace.name, address)
    user_id, id = ids(), ids()
    stated = {"userName": address, **values, "emails": [{"value": address, "type": "work", "primary": True}]}
    edit = UserEdit(
        user_id,
        ADMIN_SOURCE,
        create=True,
        link=Link(ADMIN_SOURCE, user_id, values=stated),
        facts={"invited": True},
        grant=tuple(grants),
        join=tuple(groups),
        why=why,
    )
    outcome = commit(conn, workspace, actor, [edit], now, ids)
    if outcome.error is None:
        _begin(conn, workspace, actor, id, user_id, str(stated["userName"]), address, why, now, ids)
    return outcome, id


def begin(
    conn: Connection, workspace: Workspace, actor: Actor, user: User, address: str, why: str, now: datetime, ids: Ids
) -> bool:
    """An invitation for a pending user who was made otherwise; False if she has one. Raises Conflict without a mail server."""
    _can_write(workspace)
    mine = select(_i.id).where(_i.workspace == workspace.name, _i.user_id == user.id, _i.ended_at.is_(None))
    if conn.execute(mine.limit(1)).first() is not None:
        return False
    _begin(conn, workspace, actor, ids(), user.id, user.name, address, why, now, ids)
    return True


def _begin(
    conn: Connection,
    workspace: Workspace,
    actor: Actor,
    id: str,
    user_id: str,
    name: str,
    address: str,
    why: str,
    now: datetime,
    ids: Ids,
) -> None:
    row = {"workspace": workspace.name, "id": id, "user_id": user_id, "address": address, "invited_by": actor.name}
    when = {"created_at": now, "sent_at": now, "expires_at": now + workspace.invited_for}
    conn.execute(insert(t.invitations).values(**row, **when, hashes=[], mail_id=None))
    _send(conn, workspace, actor, id, user_id, name, "invite", why, now, ids)


def resend(
    conn: Connection, workspace: Workspace, actor: Actor, id: str, why: str, now: datetime, ids: Ids
) -> Invitation:
    """Another letter; the links before end, the days begin anew. Raises NotFound, Conflict."""
    _can_write(workspace)
    known = _open(conn, workspace, id, now)
    user = _user(conn, workspace, known.user_id)
    _send(conn, workspace, actor, id, user.id, user.name, "invite_resend", why, now, ids)
    return find(conn, workspace, id, now)


def correct(
    conn: Connection, workspace: Workspace, actor: Actor, id: str, address: str, why: str, now: datetime, ids: Ids
) -> Outcome:
    """The address was wrong: the letter goes to this one, and so does her userName if it was the address.

    Raises NotFound, Conflict, InvalidValue.
    """
    _can_write(workspace)
    _check(conn, workspace.name, address)
    known = _open(conn, workspace, id, now)
    user = _user(conn, workspace, known.user_id)
    own = user.link(ADMIN_SOURCE) or Link(ADMIN_SOURCE, user.id)
    values = {**own.values, "emails": [{"value": address, "type": "work", "primary": True}]}
    if own.values.get("userName") == known.address:
        values["userName"] = address
    edit = UserEdit(user.id, ADMIN_SOURCE, link=replace(own, values=values), why=why)
    outcome = commit(conn, workspace, actor, [edit], now, ids)
    if outcome.error is None:
        conn.execute(update(t.invitations).where(*_key(workspace, id)).values(address=address))
        _send(conn, workspace, actor, id, user.id, str(values["userName"]), "invite_correct", why, now, ids)
    return outcome


def cancel(conn: Connection, workspace: Workspace, actor: Actor, id: str, why: str, now: datetime, ids: Ids) -> Outcome:
    """Withdrawn: the links end, and the pending user goes, so that name and seats are free. Raises NotFound, Conflict."""
    known = _open(conn, workspace, id, now)
    outcome = commit(
        conn, workspace, actor, [UserEdit(known.user_id, ADMIN_SOURCE, facts={"deleted_at": now}, why=why)], now, ids
    )
    if outcome.error is None:
        _stop_letters(conn, workspace.name, id, now)
        ended = {"ended_at": now, "ended_as": "cancelled", "hashes": []}
        conn.execute(update(t.invitations).where(*_key(workspace, id)).values(**ended))
    return outcome


def forgotten(conn: Connection, workspace: Workspace, now: datetime, limit: int) -> list[Invitation]:
    """Those that expired so long ago that they are withdrawn, the oldest first."""
    if workspace.withdrawn_after is None:
        return []
    old = _i.expires_at <= now - workspace.withdrawn_after
    query = _rows(workspace).where(_i.ended_at.is_(None), old).order_by(_i.expires_at, _i.id).limit(limit)
    return [_invitation(row, now) for row in conn.execute(query)]


def withdraw(conn: Connection, workspace: Workspace, known: Invitation, now: datetime, ids: Ids) -> Outcome | None:
    """What time does with one of them. None: it has ended, or was sent again, meanwhile."""
    again = find(conn, workspace, known.id, now)
    if again.state != "expired" or again.expires_at != known.expires_at:
        return None
    why = f"invited, and did not come until {known.expires_at:%Y-%m-%d}"
    return cancel(conn, workspace, Actor("timer", "timer", workspace.name), known.id, why, now, ids)


def _can_write(workspace: Workspace) -> None:
    if not workspace.mails:
        raise Conflict("no mail server is configured (`mail:`), so nobody can be invited")


def _check(conn: Connection, workspace: str, address: str) -> None:
    """Raises InvalidValue; Conflict for the address of somebody who is a user already."""
    if not is_address(address):
        raise InvalidValue(f"{address[:100]!r} is not an e-mail address such as ann@example.org")
    try:
        describe.find_user(conn, workspace, address)
    except NotFound:
        return
    raise Conflict(f"{address} is of a user already, who needs no invitation")


def _open(conn: Connection, workspace: Workspace, id: str, now: datetime) -> Invitation:
    found = find(conn, workspace, id, now)
    if found.state not in ("pending", "expired"):
        raise Conflict(f"the invitation of {found.address} is {found.state}")
    return found


def _user(conn: Connection, workspace: Workspace, id: str) -> User:
    found = facts.load_users(conn, workspace.name, [id], workspace.precedence, lock=True).get(id)
    if found is None or not found.present or not found.invited:
        raise Conflict("who was invited is not pending any more")
    return found


def _send(
    conn: Connection,
    workspace: Workspace,
    actor: Actor,
    id: str,
    user_id: str,
    name: str,
    action: str,
    why: str,
    now: datetime,
    ids: Ids,
) -> None:
    _stop_letters(conn, workspace.name, id, now)
    rows = Rows(workspace.name)
    letter = post(rows, "invitation", user_id, user_id, {"invitation": id}, now, ids)
    record(rows, actor, action, name, user_id, why, None, None, now, ids)
    rows.write(conn)
    again = {"mail_id": letter, "hashes": [], "sent_at": now, "expires_at": now + workspace.invited_for}
    conn.execute(update(t.invitations).where(*_key(workspace, id)).values(**again))


def _stop_letters(conn: Connection, workspace: str, id: str, now: datetime) -> None:
    waiting = conn.scalar(select(_i.mail_id).where(_i.workspace == workspace, _i.id == id))
    if waiting is not None:
        mails.end(conn, workspace, [waiting], mails.VOID, now)


def _key(workspace: Workspace, id: str) -> tuple[Any, ...]:
    return _i.workspace == workspace.name, _i.id == id


# -- looking -----------------------------------------------------------------------------------------------------------------


def listed(
    conn: Connection,
    workspace: Workspace,
    now: datetime,
    state: str | None = None,
    after: str | None = None,
    limit: int | None = None,
) -> list[Invitation]:
    """In the order of their ids, which is that of time; `after`: the id before the first."""
    query = _rows(workspace)
    match state:
        case "pending":
            query = query.where(_i.ended_at.is_(None), _i.expires_at > now)
        case "expired":
            query = query.where(_i.ended_at.is_(None), _i.expires_at <= now)
        case str():
            query = query.where(_i.ended_as == state)
    if after is not None:
        query = query.where(_i.id > after)
    return [_invitation(row, now) for row in conn.execute(query.order_by(_i.id).limit(limit))]


def find(conn: Connection, workspace: Workspace, id: str, now: datetime) -> Invitation:
    """Raises NotFound."""
    row = conn.execute(_rows(workspace).where(_i.id == id)).first()
    if row is None:
        raise NotFound(f"there is no invitation {id[:64]!r}")
    return _invitation(row, now)


def _rows(workspace: Workspace) -> Any:
    letters = and_(_m.workspace == _i.workspace, _m.id == _i.mail_id)
    columns = (_m.ended_as.label("mail_state"), _m.last_error.label("mail_error"), _m.id.label("letter"))
    return select(t.invitations, *columns).outerjoin(t.mails, letters).where(_i.workspace == workspace.name)


def _invitation(row: Any, now: datetime) -> Invitation:
    return Invitation(
        row.id,
        row.user_id,
        row.address,
        row.ended_as or ("pending" if row.expires_at > now else "expired"),
        row.invited_by,
        row.created_at,
        row.sent_at,
        row.expires_at,
        row.ended_at,
        None if row.letter is None else row.mail_state or "waiting",
        row.mail_error,
    )


# -- the link ----------------------------------------------------------------------------------------------------------------


def open(conn: Connection, workspaces: Mapping[str, Workspace], text: str, now: datetime) -> Opened:
    """What this link is for; nothing changes by looking. Raises NotFound, without saying what was wrong."""
    id, _, secret = text.strip().rpartition(".")
    if not id or "\0" in text or len(text) > 200:
        raise NotFound(_WRONG)
    rows = conn.execute(
        select(t.invitations).where(
            _i.workspace.in_(list(workspaces)), _i.id == id, _i.ended_at.is_(None), _i.expires_at > now
        )
    )
    for row in rows:
        if any(hmac.compare_digest(_hash(secret), each) for each in row.hashes):
            workspace = workspaces[row.workspace]
            user = facts.load_users(conn, workspace.name, [row.user_id], workspace.precedence).get(row.user_id)
            if user is not None and status(user, workspace.authoritative, now)[0] == "pending":
                return Opened(workspace, row.id, user)
    raise NotFound(_WRONG)


def accept(
    conn: Connection, opened: Opened, hash: str, country: str, timezone: str, now: datetime, ids: Ids
) -> Outcome:
    """She comes in with this password (hashed). Raises NotFound if the link was used or ended since it was opened."""
    workspace, user = opened.workspace, opened.user
    actor = Actor("invitation", user.name, workspace.name)
    own = user.link(ADMIN_SOURCE) or Link(ADMIN_SOURCE, user.id)
    values = {**own.values, "timezone": timezone, "addresses": [{"type": "work", "country": country}]}
    why = "accepted her invitation"
    edit = UserEdit(user.id, ADMIN_SOURCE, link=replace(own, values=values), facts={"invited": False}, why=why)
    outcome = commit(conn, workspace, actor, [edit], now, ids)
    if outcome.error is None:
        _stop_letters(conn, workspace.name, opened.id, now)
        ended = {"ended_at": now, "ended_as": "accepted", "hashes": []}
        mine = (*_key(workspace, opened.id), _i.ended_at.is_(None), _i.expires_at > now)
        if conn.execute(update(t.invitations).where(*mine).values(**ended)).rowcount != 1:
            raise NotFound(_WRONG)  # of two at once, one is first; the transaction takes the rest back
        passwords.put(conn, actor, user.id, user.name, hash, now, ids, why=why)
    return outcome


def link(conn: Connection, workspace: str, id: str, mail_id: str, now: datetime) -> tuple[str, Any] | None:
    """A new secret for the letter that is being sent, and the invitation; None if this letter has no reason any more."""
    row = conn.execute(
        select(t.invitations).where(
            _i.workspace == workspace, _i.id == id, _i.ended_at.is_(None), _i.mail_id == mail_id, _i.expires_at > now
        )
    ).first()
    if row is None:
        return None
    secret = secrets.token_hex(32)
    kept = [*row.hashes, _hash(secret)][-_LINKS:]
    conn.execute(update(t.invitations).where(_i.workspace == workspace, _i.id == id).values(hashes=kept))
    return f"{id}.{secret}", row


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
