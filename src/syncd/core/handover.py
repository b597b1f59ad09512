"""Ownership is handed over by its owner: one gets it and the other loses it in one change group, or nothing happens. Pure."""

from __future__ import annotations

from datetime import datetime

from syncd.core.access import OWNER
from syncd.core.actor import ADMIN_SOURCE, Actor
from syncd.core.change import UserEdit
from syncd.core.state import Grant, User
from syncd.errors import Conflict, Forbidden


def handover(
    owner: User, heir: User, keep: str | None, actor: Actor, why: str, now: datetime
) -> tuple[UserEdit, UserEdit]:
    """`keep`: the role the owner has afterwards; None: none is given. Raises Forbidden for who is not that owner herself;
    Conflict for who has nothing to hand over, an owner by rule, or an heir who may not sign in."""
    if actor.user is not None and actor.user != owner.id:
        raise Forbidden(f"ownership is handed over by its owner: {owner.name}, and nobody for her")
    if owner.id == heir.id:
        raise Conflict(f"{owner.name} cannot hand over to herself")
    held = [grant for grant in owner.grants if (grant.kind, grant.value) == ("role", OWNER)]
    by_rule = sorted({grant.comes_from for grant in held if grant.origin != "direct"})
    if not held:
        raise Conflict(f"{owner.name} is no owner: there is nothing to hand over")
    if by_rule:
        raise Conflict(f"{owner.name} is an owner by {', '.join(by_rule)}: change that")
    if heir.status != "active":
        raise Conflict(f"{heir.name} is {heir.status}: only somebody who is active can be the owner")
    given = Grant("role", OWNER, "direct", actor.name, why=why, created_at=now)
    kept = () if keep is None else (Grant("role", keep, "direct", actor.name, why=why, created_at=now),)
    return (
        UserEdit(heir.id, ADMIN_SOURCE, grant=(given,), why=why),
        UserEdit(owner.id, ADMIN_SOURCE, grant=kept, revoke=tuple(grant.id for grant in held), why=why),
    )
