"""What a group gives: roles, permissions (`nav.*` among them), data scopes and seats, to whoever is in it, also through others.

People give it by hand, to a group of any source. Whoever joins has it at once and loses it when she leaves; what a source
may not grant is not given by its word that somebody is a member. Nobody gives or takes more than she holds, also where
nobody is in the group yet.
"""

from __future__ import annotations

from pydantic import Field

from syncd.api.grants import GrantNamed, Kind, granted
from syncd.api.groups import found
from syncd.api.model import Instant, Model, Text
from syncd.api.operation import Answer, Call, Operation
from syncd.core.actor import ADMIN_SOURCE
from syncd.core.change import GroupEdit
from syncd.core.state import Grant, Group
from syncd.errors import Conflict
from syncd.store import facts
from syncd.store.read import Connection


class GroupGrantShown(Model):
    kind: Kind
    value: str
    name: str = Field(description="Who gave it.")
    why: str
    since: Instant | None


class GroupGrantsShown(Model):
    items: tuple[GroupGrantShown, ...]


class GroupGrantMade(Model):
    """The same again replaces its reason."""

    kind: Kind
    value: Text = Field(
        min_length=1,
        description="A role, a permission `module.action`, a data scope `kind=value`, or a seat pool; `!` in front denies it.",
    )
    reason: Text = Field(default="", description="Stands in the activity record.")


def list_(call: Call, conn: Connection) -> Answer:
    return _answered(_group(call, conn))


def add(call: Call, conn: Connection) -> Answer:
    said = call.said(GroupGrantMade)
    group = _group(call, conn)
    made = granted(call, conn, said.kind, said.value, said.reason)
    again = tuple(each.id for each in group.grants if (each.kind, each.value) == (said.kind, said.value))
    why = said.reason or f"given by {call.actor.name}"
    call.door(conn, [GroupEdit(group.id, ADMIN_SOURCE, grant=(made,), revoke=again, why=why)])
    return _answered(_group(call, conn, written=True))


def remove(call: Call, conn: Connection) -> Answer:
    said = call.asked(GrantNamed)
    group = _group(call, conn)
    ids = tuple(each.id for each in group.grants if (each.kind, each.value) == (said.kind, said.value))
    if not ids:
        raise Conflict(f"group {group.name} does not give {said.kind} {said.value!r}")
    why = said.reason or f"taken back by {call.actor.name}"
    call.door(conn, [GroupEdit(group.id, ADMIN_SOURCE, revoke=ids, why=why)])
    return Answer()


def _group(call: Call, conn: Connection, written: bool = False) -> Group:
    """Raises NotFound; StaleVersion unless it is at the version of If-Match, or was just written."""
    if not written:
        found(call, conn)
    return facts.load_groups(conn, call.workspace.name, [call.id])[call.id]


def _answered(group: Group) -> Answer:
    shown = GroupGrantsShown(items=tuple(_shown(each) for each in group.grants))
    return Answer(shown, group.version)


def _shown(grant: Grant) -> GroupGrantShown:
    return GroupGrantShown.model_validate(
        {"kind": grant.kind, "value": grant.value, "name": grant.name, "why": grant.why, "since": grant.created_at}
    )


OPERATIONS = (
    Operation(
        "GET",
        "/groups/{id}/grants",
        "groups:read",
        list_,
        "What it gives to who is in it",
        answer=GroupGrantsShown,
        versioned=True,
    ),
    Operation(
        "POST",
        "/groups/{id}/grants",
        "roles:write",
        add,
        "Have it give a role, permission, data scope or seat",
        answer=GroupGrantsShown,
        body=GroupGrantMade,
        versioned=True,
    ),
    Operation(
        "DELETE",
        "/groups/{id}/grants",
        "roles:write",
        remove,
        "Have it give that no more",
        query=GrantNamed,
        versioned=True,
    ),
)
