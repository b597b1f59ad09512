"""The ways of an account: suspend is not lock is not deactivate is not delete, and each has its way back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pydantic import Field

from syncd.api.model import Model, Reason, Text
from syncd.api.operation import Answer, Call, Handler, Operation
from syncd.api.problem import Fault, Invalid
from syncd.api.users import UserShown, answered, found
from syncd.core.actor import ADMIN_SOURCE
from syncd.core.change import Edit, UserEdit
from syncd.core.deletion import restoration
from syncd.core.granting import checked
from syncd.core.handover import handover
from syncd.core.offboarding import enabled_again
from syncd.core.state import Link, User
from syncd.errors import Conflict, InvalidValue
from syncd.store import describe
from syncd.store.made_roles import known
from syncd.store.read import Connection

Make = Callable[[Call, User, str], Edit | None]


def suspend(call: Call, known: User, why: str) -> Edit:
    return UserEdit(known.id, ADMIN_SOURCE, facts={"suspended": why}, why=why)


def unsuspend(call: Call, known: User, why: str) -> Edit:
    return UserEdit(known.id, ADMIN_SOURCE, facts={"suspended": None}, why=why)


def unlock(call: Call, known: User, why: str) -> Edit:
    locked = sorted(link.source for link in known.links if link.locked_until and link.locked_until > call.now)
    if locked and known.locked_until is None:
        raise Conflict(f"{known.name} is locked out in source {', '.join(locked)}: unlock her there")
    return UserEdit(known.id, ADMIN_SOURCE, facts={"locked_until": None}, why=why)


def deactivate(call: Call, known: User, why: str) -> Edit:
    own = known.link(ADMIN_SOURCE) or Link(ADMIN_SOURCE, known.id)
    return UserEdit(known.id, ADMIN_SOURCE, link=replace(own, enabled=False), why=why)


def reactivate(call: Call, known: User, why: str) -> Edit | None:
    """Takes back `deactivate`, and an end date of people that has come; what other sources say of her stays."""
    return enabled_again(known, call.now, why)


def _of(name: str, make: Make) -> Handler:
    def handle(call: Call, conn: Connection) -> Answer:
        known = found(call, conn, call.id)
        edit = make(call, known, call.said(Reason).reason or f"{name} by {call.actor.name}")
        if edit is not None:
            call.door(conn, [edit])
        return answered(call, conn, known.id)

    return handle


def restore(call: Call, conn: Connection) -> Answer:
    """Undo a deletion, if her userName is still free."""
    known = found(call, conn, call.id, deleted=True)
    why = call.said(Reason).reason or f"restored by {call.actor.name}"
    call.door(conn, list(restoration(known, call.workspace, call.now, why)))
    return answered(call, conn, known.id)


ACTIONS: dict[str, tuple[str, Handler]] = {
    "suspend": ("An admin's hold: she keeps everything but access and seats", _of("suspended", suspend)),
    "unsuspend": ("Lift an admin's hold", _of("hold lifted", unsuspend)),
    "unlock": ("End a lock before its time", _of("unlocked", unlock)),
    "deactivate": ("State that she is disabled, whatever other sources say", _of("deactivated", deactivate)),
    "reactivate": ("Take back `deactivate`; what other sources say stays", _of("reactivated", reactivate)),
    "restore": ("Undo a deletion within its days", restore),
}


class HandOverOwnership(Model):
    to: Text = Field(min_length=1, description="The id of who becomes the owner.")
    keep: Text | None = Field(default="admin", description="The role she has afterwards; null: none is given.")
    reason: Text = Field(default="", description="Stands in the activity record.")


def hand_over(call: Call, conn: Connection) -> Answer:
    """Only the owner herself, or an application that may do everything."""
    said = call.said(HandOverOwnership)
    owner, heir = found(call, conn, call.id), describe.user_facts(conn, call.workspace, said.to)
    if said.keep is not None:
        try:
            checked("role", said.keep, known(conn, call.workspace), call.workspace.pools)
        except InvalidValue as exc:
            raise Invalid(str(exc), (Fault(pointer="/keep", detail=str(exc)),)) from None
    why = said.reason or f"ownership handed over by {call.actor.name}"
    call.door(conn, list(handover(owner, heir, said.keep, call.actor, why, call.now)))
    return answered(call, conn, heir.id)


_STATES: tuple[Operation, ...] = tuple(
    Operation(
        "POST", f"/users/{{id}}/{name}", "users:update", handle, summary, answer=UserShown, body=Reason, versioned=True
    )
    for name, (summary, handle) in ACTIONS.items()
)
OPERATIONS: tuple[Operation, ...] = (
    *_STATES,
    Operation(
        "POST",
        "/users/{id}/hand-over",
        "roles:write",
        hand_over,
        "Hand ownership over to somebody else; answers with her",
        answer=UserShown,
        body=HandOverOwnership,
        versioned=True,
    ),
)
