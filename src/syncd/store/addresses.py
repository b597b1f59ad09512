"""Another e-mail address of a user, who signs in with the old one until the new one is confirmed.

Where the policy says so, a link goes to the new address, and a word about it to the old one; the address, and the userName if
that was the old address, change when the form behind the link is sent. Nobody takes over another's address, neither when it
is asked nor when it is confirmed. As with invitations, of a link only the hash is kept, and looking at it changes nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, update

from syncd.core.actor import ADMIN_SOURCE, Actor
from syncd.core.change import UserEdit
from syncd.core.mail import address_of, is_address
from syncd.core.resource import fold
from syncd.core.state import Grant, Link, User
from syncd.core.workspace import Workspace
from syncd.errors import Conflict, InvalidValue, NotFound, Refused
from syncd.store import describe, email_changes, escalation, facts, mails, resets
from syncd.store import tables as t
from syncd.store.commit import Ids, Outcome, commit, record
from syncd.store.email_changes import EXPIRED, EmailChange
from syncd.store.posting import post
from syncd.store.rows import Rows, upsert

CONFIRMING, TOLD = "email_change", "email_changing"  # the letters to the new address and to the old one
_LINKS = 5  # of one sending: a mail that is tried again has another
_WRONG = "this link is not valid: it was used or withdrawn, has expired, or a newer one was sent"
_e = t.email_changes.c


@dataclass(frozen=True, slots=True)
class Opened:
    """A link that is good now."""

    workspace: Workspace
    user: User
    change: EmailChange


# -- people ------------------------------------------------------------------------------------------------------------------


def change(
    conn: Connection,
    workspace: Workspace,
    actor: Actor,
    user: User,
    address: str,
    why: str,
    now: datetime,
    ids: Ids,
    confirm: bool,
) -> Outcome | None:
    """This is to be her address: at once, or when it is confirmed (then None). What waited before ends.

    Raises InvalidValue for what is no address; Conflict if it is hers or another's, or she is invited and not in yet, or there
    is no mail server to confirm it; Refused where another source states it; Forbidden for who holds less than she does.
    """
    facts.lock(conn, workspace.name, "addresses")
    _check(conn, workspace, user, address)
    refused = escalation.outranked(conn, workspace, actor, user, now)
    if refused is not None:
        raise refused
    if not confirm:
        outcome = _apply(conn, workspace, actor, user, address, why, now, ids)
        if outcome.error is None:
            _end(conn, workspace.name, user.id, now)
        return outcome
    _can_write(workspace)
    _end(conn, workspace.name, user.id, now)
    granted = sorted({(each.kind, each.value) for each in user.grants})
    row: dict[str, Any] = {
        "address": address,
        "hashes": [],
        "mail_id": None,
        "asked_by": actor.name,
        "why": why,
        "granted": granted,
    }
    row |= {"asked_at": now, "sent_at": now, "expires_at": now + workspace.email_changes_for}
    upsert(conn, t.email_changes, {"workspace": workspace.name, "user_id": user.id}, row)
    _send(conn, workspace, actor, user, "email_change_asked", why, now, ids)
    if address_of(user.values) is not None:
        rows = Rows(workspace.name)
        post(rows, TOLD, user.id, user.id, {"asked_at": int(now.timestamp())}, now, ids)
        rows.write(conn)
    return None


def resend(conn: Connection, workspace: Workspace, actor: Actor, user: User, why: str, now: datetime, ids: Ids) -> None:
    """Another letter; the link before ends, the time begins anew. Raises NotFound, Conflict."""
    _can_write(workspace)
    facts.lock(conn, workspace.name, "addresses")
    waiting = _waiting(conn, workspace, user, now)
    _check(conn, workspace, user, waiting.address)
    _send(conn, workspace, actor, user, "email_change_resent", why, now, ids)


def cancel(conn: Connection, workspace: Workspace, actor: Actor, user: User, why: str, now: datetime, ids: Ids) -> None:
    """The old address stays; the link ends. Raises NotFound if none waits."""
    _waiting(conn, workspace, user, now)
    _end(conn, workspace.name, user.id, now)
    rows = Rows(workspace.name)
    record(rows, actor, "email_change_cancelled", user.name, user.id, why, None, None, now, ids)
    rows.write(conn)


def _waiting(conn: Connection, workspace: Workspace, user: User, now: datetime) -> EmailChange:
    found = email_changes.find(conn, workspace.name, user.id, now)
    if found is None:
        raise NotFound(f"no other address of {user.name} waits to be confirmed")
    return found


def _can_write(workspace: Workspace) -> None:
    if not workspace.mails:
        raise Conflict("no mail server is configured (`mail:`), so that nobody could confirm the address")


def _check(conn: Connection, workspace: Workspace, user: User, address: str) -> None:
    if not is_address(address):
        raise InvalidValue(f"{address[:100]!r} is not an e-mail address such as ann@example.org")
    if user.invited:
        raise Conflict(f"{user.name} is invited and not in yet: correct the address of her invitation")
    elsewhere = sorted(
        {link.source for link in user.links if link.source != ADMIN_SOURCE and link.values.get("emails")}
    )
    if elsewhere:
        raise Refused(f"the address of {user.name} is stated by source {', '.join(elsewhere)}: change it there")
    old = address_of(user.values)
    if old is not None and fold(old) == fold(address):
        raise Conflict(f"{address} is the address of {user.name} already")
    named = describe.user_named(conn, workspace.name, address)
    if {each for each in (named, *describe.with_address(conn, workspace.name, address)) if each} - {user.id}:
        raise Conflict(f"{address} is of another user: nobody takes over another's address")


def _apply(
    conn: Connection, workspace: Workspace, actor: Actor, user: User, address: str, why: str, now: datetime, ids: Ids
) -> Outcome:
    """The address in the place of the one before, and her userName too if that was the one before."""
    own = user.link(ADMIN_SOURCE) or Link(ADMIN_SOURCE, user.id)
    old = fold(address_of(user.values) or "")
    values = {**own.values, "emails": _with(own.values.get("emails") or (), old, address)}
    if old and fold(str(own.values.get("userName", ""))) == old:
        values["userName"] = address
    outcome = commit(
        conn, workspace, actor, [UserEdit(user.id, ADMIN_SOURCE, link=replace(own, values=values), why=why)], now, ids
    )
    if outcome.error is None:
        resets.forget(conn, workspace.name, user.id)  # links that went to the old address
    return outcome


def _with(listed: Any, old: str, address: str) -> list[dict[str, Any]]:
    found = [dict(each) for each in listed if fold(str(each.get("value", ""))) not in (old, fold(address))]
    replaced = next((dict(each) for each in listed if fold(str(each.get("value", ""))) == old), {"type": "work"})
    others = [{name: part for name, part in each.items() if name != "primary"} for each in found]
    return [{**replaced, "value": address, "primary": True}, *others]


def _send(
    conn: Connection, workspace: Workspace, actor: Actor, user: User, action: str, why: str, now: datetime, ids: Ids
) -> None:
    _stop_letters(conn, workspace.name, user.id, now)
    rows = Rows(workspace.name)
    letter = post(rows, CONFIRMING, user.id, user.id, {}, now, ids)
    record(rows, actor, action, user.name, user.id, why, None, None, now, ids)
    rows.write(conn)
    again = {"mail_id": letter, "hashes": [], "sent_at": now, "expires_at": now + workspace.email_changes_for}
    conn.execute(update(t.email_changes).where(*_key(workspace.name, user.id)).values(**again))


def _end(conn: Connection, workspace: str, user_id: str, now: datetime) -> None:
    _stop_letters(conn, workspace, user_id, now)
    conn.execute(delete(t.email_changes).where(*_key(workspace, user_id)))


def _stop_letters(conn: Connection, workspace: str, user_id: str, now: datetime) -> None:
    found = email_changes.find(conn, workspace, user_id, now)
    if found is not None and found.mail_id is not None:
        mails.end(conn, workspace, [found.mail_id], mails.VOID, now)


def _key(workspace: str, user_id: str) -> tuple[Any, ...]:
    return _e.workspace == workspace, _e.user_id == user_id


# -- the link ----------------------------------------------------------------------------------------------------------------


def open(conn: Connection, workspaces: Mapping[str, Workspace], text: str, now: datetime) -> Opened:
    """What this link is for; nothing changes by looking. Raises NotFound, without saying what was wrong."""
    id, _, secret = text.strip().rpartition(".")
    if not id or "\0" in text or len(text) > 200:
        raise NotFound(_WRONG)
    for workspace in workspaces.values():
        found = email_changes.find(conn, workspace.name, id, now)
        if found is None or found.state == EXPIRED:
            continue
        if any(hmac.compare_digest(_hash(secret), each) for each in found.hashes):
            user = facts.load_users(conn, workspace.name, [id], workspace.precedence).get(id)
            if user is not None and user.present:
                return Opened(workspace, user, found)
    raise NotFound(_WRONG)


def confirm(conn: Connection, opened: Opened, now: datetime, ids: Ids) -> Outcome:
    """It is her address now. Raises NotFound if the link was used or ended since it was opened; Conflict if the address is
    another's by now, or she was given more than she held when it was asked: whoever asked might not have been allowed to."""
    workspace, asked = opened.workspace, opened.change
    facts.lock(conn, workspace.name, "addresses")
    user = facts.load_users(conn, workspace.name, [asked.user_id], workspace.precedence, lock=True).get(asked.user_id)
    here = email_changes.find(conn, workspace.name, asked.user_id, now)
    if user is None or not user.present or here is None or here.mail_id != asked.mail_id or here.state == EXPIRED:
        raise NotFound(_WRONG)
    _check(conn, workspace, user, asked.address)
    more = [each for each in user.grants if (each.kind, each.value) not in asked.granted and _counts(each)]
    if more:
        raise Conflict(f"{user.name} was given more since this was asked ({more[0].value}): ask again")
    actor = Actor("email link", user.name, workspace.name)
    outcome = _apply(conn, workspace, actor, user, asked.address, "confirmed by the link of the mail", now, ids)
    if outcome.error is None:
        _end(conn, workspace.name, user.id, now)
    return outcome


def _counts(grant: Grant) -> bool:
    return grant.kind in ("role", "permission") and not grant.value.startswith("!")


def link(
    conn: Connection, workspace: Workspace, user_id: str, mail_id: str, now: datetime
) -> tuple[str, EmailChange] | None:
    """A new secret for the letter that is being sent; None if this letter has no reason any more."""
    found = email_changes.find(conn, workspace.name, user_id, now)
    if found is None or found.mail_id != mail_id or found.state == EXPIRED:
        return None
    secret = secrets.token_hex(32)
    kept = [*found.hashes, _hash(secret)][-_LINKS:]
    conn.execute(update(t.email_changes).where(*_key(workspace.name, user_id)).values(hashes=kept))
    return f"{user_id}.{secret}", found


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
