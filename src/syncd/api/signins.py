"""Sign-ins: the application reports them, syncd counts and locks, and says at once whether she may come in."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from syncd.api.model import Instant, Model, Page, Paging
from syncd.api.operation import Call, Operation
from syncd.api.paging import asked
from syncd.api.problem import Fault, Invalid
from syncd.api.users import SignInsShown, Status, found, sign_ins_shown
from syncd.core.lifecycle import status
from syncd.core.signins import AHEAD, SignIn
from syncd.core.state import User
from syncd.store import signins
from syncd.store.read import Connection


def _address(value: object) -> object:
    if value is not None and (not isinstance(value, str) or "%" in value):
        raise ValueError("an address is text without a zone, such as 192.0.2.7")
    return value


Address = Annotated[IPv4Address | IPv6Address | None, BeforeValidator(_address)]


class ReportSignIn(Model):
    outcome: Literal["success", "failure"]
    at: Instant | None = Field(default=None, description="When it was; without it, now. May be in the past.")
    address: Address = Field(default=None, description="Where she came from.")
    second_factor: bool | None = Field(default=None, description="Whether a second factor was used.")


class SignedIn(Model):
    """What came of a report. Let her in only if `may_sign_in`."""

    status: Status
    may_sign_in: bool = Field(description="False for everybody who is not active, whatever the report said.")
    locked_until: Instant | None
    sign_ins: SignInsShown


class SignInReport(Model):
    id: str
    outcome: Literal["success", "failure"]
    at: Instant
    address: str | None
    second_factor: bool | None
    reported_by: str


class SignInPage(Page[SignInReport]):
    pass


def report(call: Call, conn: Connection) -> SignedIn:
    said = call.said(ReportSignIn)
    at = said.at or call.now
    if at > call.now + AHEAD:
        told = f"{at.isoformat()} has not come yet: the clock here says {call.now.isoformat()}"
        raise Invalid(told, (Fault(pointer="/at", detail=told),))
    known = found(call, conn, call.id)
    address = None if said.address is None else str(said.address)
    each = SignIn(said.outcome == "success", min(at, call.now), address, said.second_factor)
    signins.report(conn, call.workspace, call.actor, known.id, each, call.now, call.ids)
    return came_of(call, conn, found(call, conn, known.id) if said.outcome == "failure" else known)


def came_of(call: Call, conn: Connection, user: User) -> SignedIn:
    state = status(user, call.workspace.authoritative, call.now)[0]
    kept = signins.of(conn, call.workspace.name, [user.id]).get(user.id, signins.NONE)
    locked = user.locked_until if state == "locked" else None
    return SignedIn.model_validate(
        {"status": state, "may_sign_in": state == "active", "locked_until": locked, "sign_ins": sign_ins_shown(kept)}
    )


def list_(call: Call, conn: Connection) -> SignInPage:
    found(call, conn, call.id, deleted=True)
    wanted = asked(call, call.asked(Paging), "sign-ins")
    before = wanted.after.id if wanted.after else None
    rows = signins.recent(conn, call.workspace.name, call.id, wanted.limit + 1, before)
    return wanted.cut(SignInPage, rows, _report)


def _report(found: signins.Reported) -> SignInReport:
    return SignInReport(
        id=found.id,
        outcome="success" if found.succeeded else "failure",
        at=found.at,
        address=found.address,
        second_factor=found.second_factor,
        reported_by=found.reported_by,
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "POST",
        "/users/{id}/sign-ins",
        "sign-ins:write",
        report,
        "Report that she signed in, or failed to",
        answer=SignedIn,
        body=ReportSignIn,
    ),
    Operation(
        "GET",
        "/users/{id}/sign-ins",
        "sign-ins:read",
        list_,
        "Her sign-ins and failed attempts in the order they came, the last first",
        answer=SignInPage,
        query=Paging,
        beside=True,
    ),
)
