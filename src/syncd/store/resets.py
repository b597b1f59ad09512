"""Tokens with which a user chooses a new password, once: `syncd_<id>_<secret>`, of which the SHA-256 is kept.

256 random bits need no slow hash. A user has one at a time; making another, using it, or setting the password ends it.
One that goes by mail is made when the mail is sent (store/mails.py). Who asks for one at a sign-in page gives a name: it is
looked up then too, so that the answer, its time and its rows are the same whether or not there is such a user.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from syncd.core import password as policies
from syncd.core.actor import ADMIN_SOURCE, Actor
from syncd.core.lifecycle import status
from syncd.core.mail import address_of
from syncd.core.ownership import merge
from syncd.core.state import User
from syncd.core.workspace import Workspace
from syncd.errors import Conflict, NotFound, Refused, SyncdError
from syncd.store import describe, facts, passwords
from syncd.store import tables as t
from syncd.store.commit import Ids, record
from syncd.store.posting import post
from syncd.store.rows import Rows

KIND = "reset"
MOST_AN_HOUR = 3  # letters that one user gets because somebody asked at a sign-in page
_TOKEN = re.compile(r"syncd_([0-9a-f]{16})_([0-9a-f]{64})", re.ASCII)
_WRONG = "this link is not valid: it was used, has expired, or a newer one was made"


@dataclass(frozen=True, slots=True)
class Reset:
    workspace: str
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
    text = _new(conn, actor.workspace, user_id, now, expires_at)
    _record(conn, actor, user_id, name, why, now, ids, expires_at)
    return text


def _new(
    conn: Connection, workspace: str, user_id: str, now: datetime, expires_at: datetime, mail_id: str | None = None
) -> str:
    """A letter that is tried again has another token, and the one before counts too: perhaps it arrived."""
    r = t.password_resets.c
    others = delete(t.password_resets).where(r.workspace == workspace, r.user_id == user_id)
    conn.execute(others if mail_id is None else others.where(r.mail_id.is_distinct_from(mail_id)))
    id, secret = secrets.token_hex(8), secrets.token_hex(32)
    row = {"workspace": workspace, "id": id, "user_id": user_id, "hash": _hash(secret), "mail_id": mail_id}
    conn.execute(insert(t.password_resets).values(**row, created_at=now, expires_at=expires_at))
    return f"syncd_{id}_{secret}"


def _record(
    conn: Connection,
    actor: Actor,
    user_id: str,
    name: str,
    why: str,
    now: datetime,
    ids: Ids,
    expires_at: datetime | None,
) -> None:
    rows = Rows(actor.workspace)
    after = {"by_mail": True} if expires_at is None else {"expires_at": expires_at}
    record(rows, actor, "password_reset", name, user_id, why, None, after, now, ids)
    rows.write(conn)


# -- by mail -----------------------------------------------------------------------------------------------------------------


def mail(conn: Connection, workspace: Workspace, actor: Actor, user: User, why: str, now: datetime, ids: Ids) -> str:
    """A letter with a link to this user, because somebody who manages users wants it. Returns the letter's id.

    Raises Conflict without a mail server or an address, or for who cannot sign in anyway; Refused for who signs in elsewhere.
    """
    _can_write(workspace)
    found = _why_not(workspace, user, now)
    if found is not None:
        raise found
    rows = Rows(workspace.name)
    letter = post(rows, KIND, user.id, user.id, {}, now, ids)
    rows.write(conn)
    _record(conn, actor, user.id, user.name, why, now, ids, None)
    return letter


def ask(conn: Connection, workspace: Workspace, actor: Actor, who: str, now: datetime, ids: Ids) -> None:
    """Somebody says at a sign-in page that she forgot the password of this userName or address. Nothing is looked up here.

    Raises Conflict without a mail server.
    """
    _can_write(workspace)
    rows = Rows(workspace.name)
    post(rows, KIND, None, "", {"who": who, "by": actor.name, "door": actor.door, "source": actor.source}, now, ids)
    rows.write(conn)


def letter(conn: Connection, workspace: Workspace, row: Any, now: datetime) -> tuple[User, str, str, datetime] | str:
    """(user, her address, token, its end) for the letter that is being sent; a str says why it is not sent."""
    asked = row.about_id == ""
    id = _known(conn, workspace, row) if asked else row.about_id
    user = facts.load_users(conn, workspace.name, [id], workspace.precedence).get(id) if id else None
    if user is None:
        return "nobody who may have a password here was named"
    why = _why_not(workspace, user, now) or _outlived(conn, workspace, row, user, now, asked)
    if why is not None:
        return str(why)
    if asked:
        by = Actor(row.said["door"], row.said["by"], workspace.name, source=row.said["source"])
        # The only row of the record that comes of this letter, so that the letter's id is unique for it too.
        _record(conn, by, user.id, user.name, "asked for at a sign-in page", now, lambda: str(row.id), None)
    address = address_of(user.values)
    assert address is not None
    until = now + workspace.passwords.reset_for
    return user, address, _new(conn, workspace.name, user.id, now, until, row.id), until


def _known(conn: Connection, workspace: Workspace, row: Any) -> str | None:
    """Whom was asked about. What was typed is not kept."""
    id = describe.signs_in_as(conn, workspace.name, row.said["who"])
    m = t.mails.c
    here = update(t.mails).where(m.workspace == workspace.name, m.id == row.id)
    kept = {name: value for name, value in row.said.items() if name != "who"}
    conn.execute(here.values(said=kept, about_id=id or "", to_id=id))
    return id


def _outlived(
    conn: Connection, workspace: Workspace, row: Any, user: User, now: datetime, asked: bool
) -> SyncdError | None:
    kept = passwords.find(conn, workspace.name, user.id)
    self_service = "by" in row.said
    if kept is not None and kept.set_at > row.created_at:
        return Conflict("a password was set since")
    if self_service and (kept is None or row.created_at < now - workspace.passwords.reset_for):
        return Conflict("she has no password here" if kept is None else "whoever asked waits no more")
    m = t.mails.c
    lately = select(func.count()).where(
        *(m.workspace == workspace.name, m.about_id == user.id, m.kind == KIND, m.attempts > 0),
        *(m.created_at > now - timedelta(hours=1), m.id != row.id),
    )
    if asked and (conn.scalar(lately) or 0) >= MOST_AN_HOUR:
        return Conflict("asked for too often within an hour")
    return None


def _why_not(workspace: Workspace, user: User, now: datetime) -> SyncdError | None:
    """Why this user gets no link; None: she does. A lock does not end by it."""
    state = status(user, workspace.authoritative, now)[0]
    if state not in ("active", "locked"):
        way = "her invitation can be sent again" if state == "pending" else "a password would not let her in"
        return Conflict(f"{user.name} is {state}: {way}")
    barred = policies.barred(user, workspace.passwords, lambda name: workspace.source(name).passwords)
    barred = barred or _out_of_reach(workspace, user, now)
    if barred is not None:
        return Refused(barred)
    return None if address_of(user.values) else Conflict(f"{user.name} has no e-mail address")


def _out_of_reach(workspace: Workspace, user: User, now: datetime) -> str | None:
    """Whoever says what her address is could have the link and sign in as her: that has to be somebody who may give all that
    she holds, as with the password itself (scim/passwords.py)."""
    source = merge(user.links, workspace.precedence)[1].get("emails", ADMIN_SOURCE)
    for grant in user.grants if source != ADMIN_SOURCE else ():
        over = grant.expires_at is not None and grant.expires_at <= now
        if not over and not workspace.may_grant.allowed(grant.kind, grant.value, source):
            return (
                f"{user.name} has the {grant.kind} {grant.value}, which source {source} may not give; it is {source} that says "
                "what her address is, so no link goes there: `syncd user set-password` sets a password"
            )
    return None


def _can_write(workspace: Workspace) -> None:
    if not workspace.mails:
        raise Conflict("no mail server is configured (`mail:`), so that nobody would get the link")


# -- using one ---------------------------------------------------------------------------------------------------------------


def open(conn: Connection, workspaces: Collection[str], text: str, now: datetime) -> Reset:
    """What this token is for. Raises NotFound, without saying which part of it was wrong."""
    found = _TOKEN.fullmatch(text.strip())
    if found is None:
        raise NotFound(_WRONG)
    r = t.password_resets.c
    rows = conn.execute(
        select(r.workspace, r.id, r.user_id, r.hash).where(
            r.workspace.in_(sorted(workspaces)), r.id == found[1], r.expires_at > now
        )
    )
    for row in rows:
        if hmac.compare_digest(row.hash, _hash(found[2])):
            return Reset(row.workspace, row.id, row.user_id)
    raise NotFound(_WRONG)


def accept(
    conn: Connection, workspace: Workspace, reset: Reset, actor: Actor, hash: str, now: datetime, ids: Ids
) -> User:
    """The password (hashed) is hers. Raises NotFound if it was used or ended since it was opened: of two at once, one is
    first; Refused for who may have none any more; Conflict for a deleted user."""
    r = t.password_resets.c
    here = delete(t.password_resets).where(r.workspace == workspace.name, r.id == reset.id, r.expires_at > now)
    if conn.execute(here.returning(r.id)).first() is None:
        raise NotFound(_WRONG)
    user = holder(conn, workspace, reset)
    passwords.put(conn, actor, user.id, user.name, hash, now, ids, why="set by a reset link")
    forget(conn, workspace.name, user.id)
    return user


def holder(conn: Connection, workspace: Workspace, reset: Reset) -> User:
    """Whose link this is. Raises Refused for who may have no password here, Conflict for a deleted user."""
    user = describe.user_facts(conn, workspace, reset.user_id)
    if not user.present:
        raise Conflict(f"{user.name} is deleted")
    barred = policies.barred(user, workspace.passwords, lambda name: workspace.source(name).passwords)
    if barred is not None:
        raise Refused(barred)
    return user


def forget(conn: Connection, workspace: str, user_id: str) -> None:
    r = t.password_resets.c
    conn.execute(delete(t.password_resets).where(r.workspace == workspace, r.user_id == user_id))


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
