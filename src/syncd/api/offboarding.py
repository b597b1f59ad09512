"""Leaving by date: who leaves when, who is told, and what is handed over to whom."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from pydantic import Field

from syncd.api.model import Instant, Model, Reason, Text
from syncd.api.operation import Answer, Call, Operation, Recorded
from syncd.api.users import Status, found
from syncd.store import offboarding
from syncd.store.commit import Outcome
from syncd.store.offboarding import Offboarding
from syncd.store.read import Connection


class Named(Model):
    id: str
    name: str | None = Field(description="As it is called today; null: it is gone.")


class RecipientShown(Model):
    id: str
    name: str
    because: Literal["chosen", "manager", "manager above"]


class HandoverShown(Model):
    """What must be somebody's."""

    as_of: Literal["now", "leaving"] = Field(description="What is hers now, or what was told when she left.")
    roles: tuple[str, ...]
    permissions: tuple[str, ...]
    data_scopes: tuple[str, ...]
    seats: tuple[str, ...]
    groups: tuple[Named, ...]
    reports: tuple[Named, ...] = Field(description="Whose manager she is.")


class Leaving(Model):
    user_id: str
    name: str
    status: Status
    ends_at: Instant | None = Field(description="When her access ends; null: nobody states a date.")
    source: str | None = Field(description="Who states it: a directory, a connection, or `local`.")
    reason: str
    set_by: str | None = Field(description="Who set it here; null: nobody did.")
    warned_before_s: int | None = Field(description="The last warning was given so long before the end.")
    done_at: Instant | None = Field(description="When the hand-over was told.")


class OffboardingShown(Leaving):
    hand_over_to: RecipientShown | None = Field(description="Null: nobody is there, choose somebody.")
    handover: HandoverShown


class LeavingList(Model):
    items: tuple[Leaving, ...]


class ListLeaving(Model):
    days: int = Field(default=30, ge=1, le=3660, description="Whose access ends within so many days.")


class Offboard(Reason):
    at: Instant | None = Field(default=None, description="When her access ends; null: now.")
    hand_over_to: Text | None = Field(default=None, description="The id of who takes over; null: her manager.")


class HandOver(Model):
    to: Text | None = Field(description="The id of who takes over; null: her manager.")


def list_(call: Call, conn: Connection) -> LeavingList:
    until = call.now + timedelta(days=call.asked(ListLeaving).days)
    found = offboarding.leaving(conn, call.workspace, call.now, until)
    return LeavingList(items=tuple(Leaving(**_standing(each)) for each in found))


def show(call: Call, conn: Connection) -> OffboardingShown:
    return _shown(call, conn)


def put(call: Call, conn: Connection) -> OffboardingShown:
    said = call.said(Offboard)
    known = found(call, conn, call.id)
    why = said.reason or f"leaves, by {call.actor.name}"
    to = said.hand_over_to
    _checked(offboarding.schedule(conn, call.workspace, call.actor, known, said.at, to, why, call.now, call.ids))
    return _shown(call, conn)


def cancel(call: Call, conn: Connection) -> Answer:
    known = found(call, conn, call.id)
    why = call.asked(Reason).reason or f"stays, by {call.actor.name}"
    _checked(offboarding.cancel(conn, call.workspace, call.actor, known, why, call.now, call.ids))
    return Answer()


def hand_over(call: Call, conn: Connection) -> OffboardingShown:
    known = found(call, conn, call.id)
    offboarding.choose(conn, call.workspace, call.actor, known, call.said(HandOver).to, call.now, call.ids)
    return _shown(call, conn)


def _checked(outcome: Outcome) -> None:
    if outcome.error is not None:
        raise Recorded(outcome.error)


def _standing(each: Offboarding) -> dict[str, Any]:
    return {
        "user_id": each.user_id,
        "name": each.name,
        "status": each.status,
        "ends_at": each.leave and each.leave.ends_at,
        "source": each.leave and each.leave.source,
        "reason": each.reason,
        "set_by": each.set_by,
        "warned_before_s": None if each.warned is None else int(each.warned.total_seconds()),
        "done_at": each.done_at,
    }


def _shown(call: Call, conn: Connection) -> OffboardingShown:
    report = offboarding.report(conn, call.workspace, found(call, conn, call.id, deleted=True), call.now)
    what, to = report.what, report.to
    handover = HandoverShown(
        as_of="leaving" if report.then else "now",
        **{name: getattr(what, name) for name in ("roles", "permissions", "data_scopes", "seats")},
        groups=tuple(Named(id=id, name=report.groups.get(id)) for id in what.groups),
        reports=tuple(Named(id=id, name=report.people.get(id)) for id in what.reports),
    )
    return OffboardingShown(
        **_standing(report.standing),
        hand_over_to=None if to is None else RecipientShown(id=to.id, name=to.name, because=to.because),
        handover=handover,
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "GET",
        "/offboardings",
        "users:read",
        list_,
        "Who leaves within the next days, the first first",
        answer=LeavingList,
        query=ListLeaving,
        beside=True,
    ),
    Operation(
        "GET",
        "/users/{id}/offboarding",
        "users:read",
        show,
        "When she leaves, and what is handed over to whom",
        answer=OffboardingShown,
        beside=True,
    ),
    Operation(
        "PUT",
        "/users/{id}/offboarding",
        "users:update",
        put,
        "She leaves at an instant, or now: seats are released, sessions end, the hand-over is told",
        answer=OffboardingShown,
        body=Offboard,
    ),
    Operation(
        "DELETE",
        "/users/{id}/offboarding",
        "users:update",
        cancel,
        "She stays: take back a date that was set here",
        query=Reason,
        status=204,
    ),
    Operation(
        "POST",
        "/users/{id}/offboarding/hand-over",
        "users:update",
        hand_over,
        "Choose who takes over",
        answer=OffboardingShown,
        body=HandOver,
    ),
)
