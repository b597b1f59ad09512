"""The same for many: states of an account, and grants by hand, for up to 1,000 users, each answered by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import Field

from syncd.api import lifecycle
from syncd.api.each import Each, Ids, answers, unique
from syncd.api.grants import GrantMade, Kind, direct_of, grant_of
from syncd.api.model import Model, Text
from syncd.api.operation import Answer, Call, Operation
from syncd.core.actor import ADMIN_SOURCE
from syncd.core.change import ChangeGroup, Edit, UserEdit, edited
from syncd.core.state import User
from syncd.errors import Conflict, NotFound
from syncd.store import facts
from syncd.store.read import Connection


class ChangeStates(Model):
    """One change of state for all of them."""

    action: Literal["suspend", "unsuspend", "unlock", "deactivate", "reactivate", "delete"]
    ids: Ids = Field(min_length=1)
    reason: Text = ""


class GrantTaken(Model):
    kind: Kind
    value: Text = Field(min_length=1)


class ChangeGrants(Model):
    """What all of them are given, and what is taken back from all of them."""

    ids: Ids = Field(min_length=1)
    give: tuple[GrantMade, ...] = Field(default=(), max_length=20)
    take: tuple[GrantTaken, ...] = Field(default=(), max_length=20)
    reason: Text = ""


def change_states(call: Call, conn: Connection) -> Answer:
    said = call.said(ChangeStates)
    why = said.reason or f"{said.action} by {call.actor.name}"

    def edit(user: User) -> Edit | None:
        match said.action:
            case "suspend":
                return None if user.suspended is not None else lifecycle.suspend(call, user, why)
            case "unsuspend":
                return lifecycle.unsuspend(call, user, why)
            case "unlock":
                return lifecycle.unlock(call, user, why)
            case "deactivate":
                return lifecycle.deactivate(call, user, why)
            case "reactivate":
                return lifecycle.reactivate(call, user, why)
            case "delete":
                return UserEdit(user.id, ADMIN_SOURCE, facts={"deleted_at": call.now}, why=why)

    return _each(call, conn, said.ids, edit)


def change_grants(call: Call, conn: Connection) -> Answer:
    said = call.said(ChangeGrants)
    given = tuple(grant_of(call, conn, each) for each in said.give)
    why = said.reason or f"granted by {call.actor.name}"

    def edit(user: User) -> Edit:
        taken = tuple(id for each in said.take for id in direct_of(user, each.kind, each.value))
        return UserEdit(user.id, ADMIN_SOURCE, grant=given, revoke=taken, why=why)

    return _each(call, conn, said.ids, edit)


def _each(call: Call, conn: Connection, ids: Ids, edit: Callable[[User], Edit | None]) -> Answer:
    unique(ids, "/ids")
    known = facts.load_users(conn, call.workspace.name, ids, call.workspace.precedence)

    def edits(id: str) -> ChangeGroup:
        """Raises what this one is answered."""
        if id not in known:
            raise NotFound(f"there is no user {id[:64]!r}")
        if not known[id].present:
            raise Conflict(f"{known[id].name} is deleted: restore her first")
        made = edit(known[id])
        if made is None or (isinstance(made, UserEdit) and edited(known[id], made, call.now) == known[id]):
            return ()
        return (made,)

    return Answer(answers(call, conn, ids, edits))


OPERATIONS = (
    Operation(
        "POST",
        "/users/bulk/state",
        "users:update",
        change_states,
        "Change the state of many, each answered by itself",
        answer=Each,
        body=ChangeStates,
    ),
    Operation(
        "POST",
        "/users/bulk/grants",
        "roles:write",
        change_grants,
        "Give many the same, or take it back, each answered by itself",
        answer=Each,
        body=ChangeGrants,
    ),
)
