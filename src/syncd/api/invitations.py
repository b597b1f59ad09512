"""Invitations: by e-mail with roles, seats and groups; sent again, corrected, withdrawn."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from pydantic import Field

from syncd.api.model import Instant, Model, Name, Page, Paging, Reason, Text
from syncd.api.operation import Answer, Call, Operation, Recorded
from syncd.api.paging import asked
from syncd.core.state import Grant
from syncd.errors import InvalidValue, NotFound
from syncd.store import describe, invitations
from syncd.store.commit import Outcome
from syncd.store.invitations import Invitation
from syncd.store.made_roles import known
from syncd.store.read import Connection

State = Literal["pending", "expired", "accepted", "cancelled"]


class InvitationShown(Model):
    """The user is there already, with status pending. `mail` says what became of the last letter."""

    id: str
    user_id: str
    address: str
    state: State
    invited_by: str
    created_at: Instant
    sent_at: Instant
    expires_at: Instant
    ended_at: Instant | None
    mail: Literal["waiting", "sent", "refused", "failed", "void", "discarded"] | None
    mail_error: str | None = Field(description="What the mail server said, if it did not take the letter.")


class InvitationPage(Page[InvitationShown]):
    pass


class ListInvitations(Paging):
    state: State | None = None


class Invite(Reason):
    email: Text
    userName: Text | None = Field(default=None, description="Default: the address.")
    displayName: Text | None = None
    roles: tuple[Name, ...] = Field(default=(), max_length=50)
    seats: tuple[Name, ...] = Field(default=(), max_length=50)
    groups: tuple[Text, ...] = Field(default=(), max_length=50, description="Ids of groups.")


class Correct(Reason):
    email: Text


def list_(call: Call, conn: Connection) -> InvitationPage:
    query = call.asked(ListInvitations)
    wanted = asked(call, query, "invitations")
    after = wanted.after.id if wanted.after is not None else None
    rows = invitations.listed(conn, call.workspace, call.now, query.state, after, wanted.limit + 1)
    return wanted.cut(InvitationPage, rows, _shown)


def invite(call: Call, conn: Connection) -> Answer:
    said, workspace = call.said(Invite), call.workspace
    values: dict[str, Any] = {"userName": said.userName, "displayName": said.displayName}
    wanted = [*(("role", each) for each in said.roles), *(("seat", each) for each in said.seats)]
    roles = known(conn, workspace)
    for kind, name in wanted:
        if name not in (roles if kind == "role" else workspace.pools):
            raise InvalidValue(f"there is no {'role' if kind == 'role' else 'seat pool'} {name[:60]!r}")
    why = said.reason or f"invited by {call.actor.name}"
    grants = [Grant(k, name, "direct", call.actor.name, why=why, created_at=call.now) for k, name in wanted]
    try:
        groups = [describe.find_group(conn, workspace.name, each) for each in said.groups]
    except NotFound as exc:  # what is named here is part of the message, not what is asked for
        raise InvalidValue(str(exc)) from None
    given = {name: value for name, value in values.items() if value}
    outcome, id = invitations.invite(
        conn, workspace, call.actor, said.email, given, grants, groups, why, call.now, call.ids
    )
    _checked(outcome)
    return Answer(_found(call, conn, id), location=f"/invitations/{id}", status=201)


def show(call: Call, conn: Connection) -> InvitationShown:
    return _found(call, conn, call.id)


def correct(call: Call, conn: Connection) -> InvitationShown:
    said = call.said(Correct)
    why = said.reason or f"address corrected by {call.actor.name}"
    _checked(invitations.correct(conn, call.workspace, call.actor, call.id, said.email, why, call.now, call.ids))
    return _found(call, conn, call.id)


def resend(call: Call, conn: Connection) -> InvitationShown:
    why = call.said(Reason).reason or f"sent again by {call.actor.name}"
    return _shown(invitations.resend(conn, call.workspace, call.actor, call.id, why, call.now, call.ids))


def cancel(call: Call, conn: Connection) -> InvitationShown:
    why = call.said(Reason).reason or f"withdrawn by {call.actor.name}"
    _checked(invitations.cancel(conn, call.workspace, call.actor, call.id, why, call.now, call.ids))
    return _found(call, conn, call.id)


def _checked(outcome: Outcome) -> None:
    if outcome.error is not None:
        raise Recorded(outcome.error)


def _found(call: Call, conn: Connection, id: str) -> InvitationShown:
    return _shown(invitations.find(conn, call.workspace, id, call.now))


def _shown(found: Invitation) -> InvitationShown:
    return InvitationShown(**asdict(found))


OPERATIONS: tuple[Operation, ...] = (
    Operation("GET", "/invitations", "users:read", list_, "Invitations", answer=InvitationPage, query=ListInvitations),
    Operation(
        "POST",
        "/invitations",
        "users:create",
        invite,
        "Invite somebody by e-mail: she is pending until she sets a password",
        answer=InvitationShown,
        body=Invite,
        status=201,
    ),
    Operation("GET", "/invitations/{id}", "users:read", show, "One invitation", answer=InvitationShown),
    Operation(
        "PATCH",
        "/invitations/{id}",
        "users:update",
        correct,
        "Correct the address; the link sent before ends",
        answer=InvitationShown,
        body=Correct,
    ),
    Operation(
        "POST",
        "/invitations/{id}/resend",
        "users:update",
        resend,
        "Send it again; the link sent before ends",
        answer=InvitationShown,
        body=Reason,
    ),
    Operation(
        "POST",
        "/invitations/{id}/cancel",
        "users:delete",
        cancel,
        "Withdraw it; name and seats are free again",
        answer=InvitationShown,
        body=Reason,
    ),
)
