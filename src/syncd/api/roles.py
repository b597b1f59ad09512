"""Roles: what there is, what each permits, and who has it. Some are built in, some configured (`roles:`), some made here.

What is configured wins on a name and is changed there. A role's permissions are asked for at each sign-in, so a change counts
at once and makes no user's new version. Nobody puts into a role, or takes out of one, what she does not hold.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from syncd.api.access import Flags
from syncd.api.model import Instant, Model, Page, Paging, Text
from syncd.api.operation import Answer, Call, Operation, Recorded
from syncd.api.paging import asked
from syncd.api.problem import Fault, Invalid
from syncd.core.access import Role, flags
from syncd.core.granting import ROLE_NAME, checked
from syncd.errors import InvalidValue, NotFound
from syncd.store import holders, listing
from syncd.store import roles as store
from syncd.store.holders import RoleHolder
from syncd.store.made_roles import known
from syncd.store.read import Connection

Permissions = Annotated[
    tuple[Annotated[str, StringConstraints(max_length=200)], ...],
    Field(max_length=500, description="`module.action`; `*` is any text, `!` in front denies: `nav.*`, `data.export`."),
]


class RoleShown(Model):
    name: str
    description: str
    permissions: tuple[str, ...] = Field(description="`module.action`; `*` is any text, `!` in front denies.")
    flags: Flags
    privileged: bool = Field(description="It lets one manage users or permissions: no rule or source gives it unasked.")
    built_in: bool
    where: str | None = Field(description="Where it is configured; null: it is built in, or made and changed here.")
    users: int = Field(description="How many undeleted users have it, however they came by it.")


class RolesShown(Model):
    items: tuple[RoleShown, ...]


class CreateRole(Model):
    name: Annotated[str, StringConstraints(pattern=f"^{ROLE_NAME}$")] = Field(description="Letters, digits and `._-`.")
    permissions: Permissions = ()
    description: Text = ""
    reason: Text = Field(default="", description="Stands in the activity record.")


class ChangeRole(Model):
    """What is left out stays as it is."""

    permissions: Permissions | None = None
    description: Text | None = None
    reason: Text = Field(default="", description="Stands in the activity record.")


class DeleteRole(Model):
    move_to: Text | None = Field(
        default=None, description="The role that its holders, and groups that give it, get instead."
    )
    reason: Text = Field(default="", description="Stands in the activity record.")


class RoleHolderShown(Model):
    id: str
    userName: str
    status: str
    origins: tuple[str, ...] = Field(description="Where it comes from, such as `direct eve` or `rule staff`.")
    since: Instant
    expires: Instant | None = Field(description="When the last of these ends; null: it does not.")


class RoleHolderPage(Page[RoleHolderShown]):
    pass


def list_(call: Call, conn: Connection) -> RolesShown:
    users = listing.role_holders(conn, call.workspace.name)
    roles = known(conn, call.workspace).values()
    return RolesShown(items=tuple(_shown(each, users.get(each.name, 0)) for each in roles))


def show(call: Call, conn: Connection) -> Answer:
    return _answered(call, conn, found(call, conn).name)


def create(call: Call, conn: Connection) -> Answer:
    said = call.said(CreateRole)
    role = Role(said.name, _permissions(said.permissions), made=True, description=said.description)
    why = said.reason or f"made by {call.actor.name}"
    store.create(conn, call.workspace, call.actor, role, why, call.now, call.ids)
    return _answered(call, conn, said.name, 201)


def change(call: Call, conn: Connection) -> Answer:
    said, name = call.said(ChangeRole), call.param("name")
    before = store.own(conn, call.workspace, name)
    _match(call, conn, name)
    permissions = before.permissions if said.permissions is None else _permissions(said.permissions)
    description = before.description if said.description is None else said.description
    role = Role(name, permissions, made=True, description=description)
    why = said.reason or f"changed by {call.actor.name}"
    refused = store.change(conn, call.workspace, call.actor, name, role, why, call.now, call.ids)
    if refused is not None:
        raise Recorded(refused)
    return _answered(call, conn, name)


def delete(call: Call, conn: Connection) -> Answer:
    said, name = call.asked(DeleteRole), call.param("name")
    store.own(conn, call.workspace, name)
    _match(call, conn, name)
    why = said.reason or f"deleted by {call.actor.name}"
    refused = store.remove(conn, call.workspace, call.actor, name, said.move_to, why, call.now, call.ids)
    if refused is not None:
        raise Recorded(refused)
    return Answer()


def list_users(call: Call, conn: Connection) -> RoleHolderPage:
    role = found(call, conn)
    wanted = asked(call, call.asked(Paging), "role holders")
    here = holders.of_role(conn, call.workspace.name, role.name, call.now, wanted.limit, wanted.after)
    return wanted.page(RoleHolderPage, map(_holder, here.rows), here.more)


def found(call: Call, conn: Connection) -> Role:
    name, roles = call.param("name"), known(conn, call.workspace)
    if name not in roles:
        raise NotFound(f"there is no role {name[:64]!r}: there are {', '.join(sorted(roles))}")
    return roles[name]


def _match(call: Call, conn: Connection, name: str) -> None:
    version = store.version(conn, call.workspace.name, name)
    if version is not None:
        call.must_match(version)


def _permissions(wanted: tuple[str, ...]) -> frozenset[str]:
    """Raises Invalid, saying which cannot be."""
    faults = []
    for n, each in enumerate(wanted):
        try:
            checked("permission", each, (), ())
        except InvalidValue as exc:
            faults.append(Fault(pointer=f"/permissions/{n}", detail=str(exc)))
    if faults:
        raise Invalid(faults[0].detail, tuple(faults))
    return frozenset(wanted)


def _answered(call: Call, conn: Connection, name: str, status: int | None = None) -> Answer:
    role = known(conn, call.workspace)[name]
    users = listing.role_holders(conn, call.workspace.name).get(name, 0)
    version = store.version(conn, call.workspace.name, name) if role.made else None
    return Answer(_shown(role, users), version, f"/roles/{name}", status)


def _shown(role: Role, users: int) -> RoleShown:
    return RoleShown(
        name=role.name,
        description=role.description,
        permissions=tuple(sorted(role.permissions)),
        flags=Flags(**flags(role.permissions)),
        privileged=role.privileged,
        built_in=role.built_in,
        where=role.where,
        users=users,
    )


def _holder(each: RoleHolder) -> RoleHolderShown:
    return RoleHolderShown(
        id=each.id,
        userName=each.user_name,
        status=each.status,
        origins=each.origins,
        since=each.since,
        expires=each.expires,
    )


OPERATIONS = (
    Operation("GET", "/roles", "roles:read", list_, "Roles and what they permit", answer=RolesShown),
    Operation(
        "POST",
        "/roles",
        "roles:write",
        create,
        "A role of your own",
        answer=RoleShown,
        body=CreateRole,
        status=201,
        versioned=True,
    ),
    Operation("GET", "/roles/{name}", "roles:read", show, "One role", answer=RoleShown, versioned=True),
    Operation(
        "PATCH",
        "/roles/{name}",
        "roles:write",
        change,
        "Change what a role of your own permits",
        answer=RoleShown,
        body=ChangeRole,
        versioned=True,
    ),
    Operation(
        "DELETE",
        "/roles/{name}",
        "roles:write",
        delete,
        "Delete a role of your own",
        query=DeleteRole,
        versioned=True,
    ),
    Operation(
        "GET",
        "/roles/{name}/users",
        "roles:read",
        list_users,
        "Who has it",
        answer=RoleHolderPage,
        query=Paging,
        beside=True,
    ),
)
