"""Direct grants of one user: what people give by hand, beside what rules and sources give.

A grant is named by its kind and value. What a rule or source gives is not taken away here: the refusal says where it comes
from. Nobody gives more than she holds (store/escalation.py).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import Field

from syncd.api.model import Instant, Model, Text
from syncd.api.operation import Answer, Call, Operation
from syncd.api.problem import Fault, Invalid
from syncd.api.users import found
from syncd.core.access import DENIAL
from syncd.core.actor import ADMIN_SOURCE
from syncd.core.change import UserEdit
from syncd.core.denial import OVERRIDE
from syncd.core.granting import checked
from syncd.core.state import Grant, User
from syncd.errors import Conflict, InvalidValue
from syncd.store import describe, holders
from syncd.store.made_roles import known
from syncd.store.read import Connection

Kind = Literal["role", "permission", "scope", "seat"]


class GrantShown(Model):
    kind: Kind
    value: str
    origin: Literal["direct", "override", "rule", "group", "source"]
    name: str = Field(description="Who granted it, or which rule, group (its id: `why` names it) or source.")
    why: str
    run: str | None
    since: Instant | None
    expires: Instant | None
    denied: bool = Field(description="It does not count while a denial does.")
    waits: bool = Field(description="A seat that is granted and waited for, since the pool is full.")


class GrantsShown(Model):
    items: tuple[GrantShown, ...]


class ListGrants(Model):
    kind: Kind | None = None
    origin: Literal["direct", "override", "rule", "group", "source"] | None = None


class GrantMade(Model):
    """A grant by hand. The same one again replaces its end and reason."""

    kind: Kind
    value: Text = Field(
        min_length=1,
        description="A role, a permission `module.action`, a data scope `kind=value`, or a seat pool; `!` in front denies it.",
    )
    expires: Instant | None = Field(default=None, description="When it ends by itself.")
    override: bool = Field(default=False, description="It comes before every denial, and has to end: give `expires`.")
    reason: Text = Field(default="", description="Stands in the activity record and in the explanation.")


class GrantNamed(Model):
    """Which grant to take back."""

    kind: Kind
    value: Text = Field(min_length=1)
    reason: Text = Field(default="", description="Stands in the activity record.")


def list_(call: Call, conn: Connection) -> Answer:
    query = call.asked(ListGrants)
    user = describe.user_facts(conn, call.workspace, call.id)
    items = [
        each for each in shown(user, call) if query.kind in (None, each.kind) and query.origin in (None, each.origin)
    ]
    return Answer(GrantsShown(items=tuple(items)), user.version)


def add(call: Call, conn: Connection) -> Answer:
    said = call.said(GrantMade)
    user = found(call, conn, call.id)
    made = grant_of(call, conn, said)
    why = said.reason or f"granted by {call.actor.name}"
    outcome = call.door(conn, [UserEdit(user.id, ADMIN_SOURCE, grant=(made,), why=why)])
    after = outcome.users.get(user.id, user)
    if said.kind == "seat":
        must_have(call, conn, after, said.value)
    given = next(each for each in shown(after, call) if (each.kind, each.value, each.origin, each.name) == made.id)
    return Answer(given, after.version)


def must_have(call: Call, conn: Connection, user: User, pool: str) -> None:
    """Raises Conflict, so that nothing is changed, if she was given a seat that nobody has left."""
    why = holders.refused(conn, call.workspace, user, pool)
    if why is not None:
        raise why


def remove(call: Call, conn: Connection) -> Answer:
    said = call.asked(GrantNamed)
    user = found(call, conn, call.id)
    ids = direct_of(user, said.kind, said.value)
    why = said.reason or f"taken back by {call.actor.name}"
    call.door(conn, [UserEdit(user.id, ADMIN_SOURCE, revoke=ids, why=why)])
    return Answer()


# -- shared with bulk ------------------------------------------------------------------------------------------------------


def grant_of(call: Call, conn: Connection, said: GrantMade) -> Grant:
    """Raises Invalid for a role, pool, permission or date that cannot be."""
    made = granted(call, conn, said.kind, said.value, said.reason)
    if said.expires is not None and said.expires <= call.now:
        told = f"expires: {said.expires.isoformat()} is in the past"
        raise Invalid(told, (Fault(pointer="/expires", detail=told),))
    if said.override and (said.expires is None or said.value.startswith(DENIAL)):
        told = "override: it gives something, and only for a time: say until when (expires), without a `!`"
        raise Invalid(told, (Fault(pointer="/override", detail=told),))
    return replace(made, expires_at=said.expires, origin=OVERRIDE if said.override else made.origin)


def granted(call: Call, conn: Connection, kind: str, value: str, reason: str) -> Grant:
    """A grant by the caller's hand. Raises Invalid for a role, pool, permission or data scope that cannot be."""
    try:
        there = known(conn, call.workspace) if kind == "role" else ()
        checked(kind, value, there, call.workspace.pools, call.workspace.scope_kinds)
    except InvalidValue as exc:
        raise Invalid(str(exc), (Fault(pointer="/value", detail=str(exc)),)) from None
    return Grant(kind, value, "direct", call.actor.name, why=reason, created_at=call.now)


def direct_of(user: User, kind: str, value: str) -> tuple[tuple[str, str, str, str], ...]:
    """Ids of the grants by hand of this. Raises Conflict, saying where else it comes from."""
    own = [each for each in user.stated if (each.kind, each.value) == (kind, value)]
    direct = tuple(each.id for each in own if each.origin in ("direct", OVERRIDE))
    if not direct:
        others = ", ".join(sorted({each.comes_from for each in own}))
        hint = f"it comes from {others}: change that" if others else "she does not have it"
        raise Conflict(f"{user.name} was not given {kind} {value!r} by hand; {hint}")
    return direct


def shown(user: User, call: Call) -> list[GrantShown]:
    waiting = {seat.pool for seat in user.seats if not seat.held}
    return [
        GrantShown.model_validate(
            {
                **{"kind": each.kind, "value": each.value, "origin": each.origin, "name": each.name, "why": each.why},
                **{"run": each.run_id, "since": each.created_at, "expires": each.expires_at},
                "denied": each in user.denied,
                "waits": each.kind == "seat" and each.value in waiting,
            }
        )
        for each in sorted(user.stated, key=lambda grant: grant.id)
        if each.expires_at is None or each.expires_at > call.now
    ]


OPERATIONS = (
    Operation(
        "GET",
        "/users/{id}/grants",
        "users:read",
        list_,
        "Her grants",
        answer=GrantsShown,
        query=ListGrants,
        versioned=True,
    ),
    Operation(
        "POST",
        "/users/{id}/grants",
        "roles:write",
        add,
        "Give a role, permission, data scope or seat",
        answer=GrantShown,
        body=GrantMade,
        versioned=True,
    ),
    Operation(
        "DELETE",
        "/users/{id}/grants",
        "roles:write",
        remove,
        "Take back what was given by hand",
        query=GrantNamed,
        versioned=True,
    ),
)
