"""Letters: which wait, were sent or were refused, and what the mail server said; sent again, or not at all."""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal

from pydantic import Field

from syncd.api.model import Instant, Model, Page, Paging, Text, Whole
from syncd.api.operation import Call, Operation
from syncd.api.paging import asked
from syncd.errors import Conflict
from syncd.store import mails
from syncd.store.mails import Mail
from syncd.store.read import Connection

State = Literal["waiting", "sent", "refused", "failed", "void", "discarded"]


class ListMails(Paging):
    state: State | Literal["all"] = "all"
    user: Text | None = Field(default=None, description="Only what is about this user, by id.")


class MailShown(Model):
    """One letter, without addresses and links: these come in when it is sent."""

    id: str
    kind: str = Field(description="`invitation`, `reset`, `email_change`, `email_changing`, `leaving`, `handover`, ...")
    state: State = Field(description="`void`: its reason was gone before it was sent; `failed`: given up.")
    to_id: str | None
    about_id: str | None
    created_at: Instant
    attempts: Whole
    next_at: Instant | None
    last_at: Instant | None
    last_code: Whole | None = Field(description="What the mail server answered (RFC 5321 section 4.2).")
    last_error: str | None
    ended_at: Instant | None


class MailPage(Page[MailShown]):
    pass


def list_(call: Call, conn: Connection) -> MailPage:
    query = call.asked(ListMails)
    wanted = asked(call, query, "mails")
    state = None if query.state == "all" else query.state
    after = wanted.after.id if wanted.after is not None else None
    rows = mails.listed(conn, call.workspace.name, state, after, wanted.limit + 1, query.user)
    return wanted.cut(MailPage, rows, _shown)


def show(call: Call, conn: Connection) -> MailShown:
    return _shown(mails.find(conn, call.workspace.name, call.id))


def retry(call: Call, conn: Connection) -> MailShown:
    return _shown(mails.retry(conn, call.workspace.name, call.id, call.now))


def discard(call: Call, conn: Connection) -> MailShown:
    found = mails.find(conn, call.workspace.name, call.id)
    if not mails.end(conn, call.workspace.name, [found.id], mails.DISCARDED, call.now):
        raise Conflict(f"mail {found.id} is {found.state}: there is nothing to give up")
    return show(call, conn)


def _shown(found: Mail) -> MailShown:
    return MailShown(**{**asdict(found), "about_id": found.about_id or None})


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "GET",
        "/mails",
        "deliveries:read",
        list_,
        "Letters, the oldest first, with what the mail server said",
        answer=MailPage,
        query=ListMails,
        beside=True,
    ),
    Operation("GET", "/mails/{id}", "deliveries:read", show, "One letter", answer=MailShown),
    Operation(
        "POST",
        "/mails/{id}/retry",
        "deliveries:write",
        retry,
        "Send it now, also if it was refused or given up",
        answer=MailShown,
        errors=(409,),
    ),
    Operation(
        "POST",
        "/mails/{id}/discard",
        "deliveries:write",
        discard,
        "Do not send it",
        answer=MailShown,
        errors=(409,),
    ),
)
