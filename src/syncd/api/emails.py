"""Another e-mail address of a user: at once, or when it is confirmed by the link of a mail; until then the old one counts."""

from __future__ import annotations

from pydantic import Field

from syncd.api.model import Reason, Text
from syncd.api.operation import Answer, Call, Operation, Recorded
from syncd.api.users import EmailChangeShown, email_change_shown, found
from syncd.errors import Forbidden, NotFound
from syncd.store import addresses, email_changes
from syncd.store.read import Connection


class ChangeEmail(Reason):
    email: Text = Field(min_length=1)
    confirm: bool | None = Field(
        default=None,
        description="Whether the new address has to be confirmed. Default: as configured; false only where that says so.",
    )


def show(call: Call, conn: Connection) -> EmailChangeShown:
    return _waiting(call, conn, found(call, conn, call.id).id)


def change(call: Call, conn: Connection) -> EmailChangeShown:
    said, policy = call.said(ChangeEmail), call.workspace.confirms_emails
    if policy and said.confirm is False:
        raise Forbidden("another address has to be confirmed here (`email_changes: {confirm: true}`)")
    confirm = policy if said.confirm is None else said.confirm
    user = found(call, conn, call.id)
    why = said.reason or f"asked for by {call.actor.name}"
    outcome = addresses.change(conn, call.workspace, call.actor, user, said.email, why, call.now, call.ids, confirm)
    if outcome is None:
        return _waiting(call, conn, user.id)
    if outcome.error is not None:
        raise Recorded(outcome.error)
    return EmailChangeShown(
        user_id=user.id,
        address=said.email,
        state="changed",
        asked_by=call.actor.name,
        asked_at=call.now,
        sent_at=None,
        expires_at=None,
        mail=None,
        mail_error=None,
    )


def resend(call: Call, conn: Connection) -> EmailChangeShown:
    user = found(call, conn, call.id)
    why = call.said(Reason).reason or f"sent again by {call.actor.name}"
    addresses.resend(conn, call.workspace, call.actor, user, why, call.now, call.ids)
    return _waiting(call, conn, user.id)


def cancel(call: Call, conn: Connection) -> Answer:
    user = found(call, conn, call.id)
    why = call.asked(Reason).reason or f"withdrawn by {call.actor.name}"
    addresses.cancel(conn, call.workspace, call.actor, user, why, call.now, call.ids)
    return Answer()


def _waiting(call: Call, conn: Connection, id: str) -> EmailChangeShown:
    waiting = email_changes.find(conn, call.workspace.name, id, call.now)
    if waiting is None:
        raise NotFound("no other address of this user waits to be confirmed")
    return email_change_shown(waiting)


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "GET",
        "/users/{id}/email-change",
        "users:read",
        show,
        "The address that waits to be confirmed",
        answer=EmailChangeShown,
    ),
    Operation(
        "POST",
        "/users/{id}/email-change",
        "users:update",
        change,
        "Another address: at once, or when it is confirmed by the link of a mail; until then she signs in with the old one",
        answer=EmailChangeShown,
        body=ChangeEmail,
        errors=(409,),
    ),
    Operation(
        "POST",
        "/users/{id}/email-change/resend",
        "users:update",
        resend,
        "Another letter; the link sent before ends",
        answer=EmailChangeShown,
        body=Reason,
        errors=(409,),
    ),
    Operation(
        "DELETE",
        "/users/{id}/email-change",
        "users:update",
        cancel,
        "The old address stays; the link ends",
        query=Reason,
    ),
)
