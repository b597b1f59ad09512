"""Roles: what there is, what each permits, and who has it. They are made in the configuration (`roles:`)."""

from __future__ import annotations

from pydantic import Field

from syncd.api.model import Instant, Model, Page, Paging
from syncd.api.operation import Call, Operation
from syncd.api.paging import asked
from syncd.core.access import Role
from syncd.errors import NotFound
from syncd.store import holders, listing
from syncd.store.holders import RoleHolder
from syncd.store.read import Connection


class RoleShown(Model):
    name: str
    permissions: tuple[str, ...] = Field(description="`module.action`; `*` is any text, `!` in front denies.")
    privileged: bool = Field(description="It lets one manage users or permissions: no rule or source gives it unasked.")
    built_in: bool
    users: int = Field(description="How many undeleted users have it, however they came by it.")


class RolesShown(Model):
    items: tuple[RoleShown, ...]


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
    return RolesShown(items=tuple(_shown(each, users.get(each.name, 0)) for each in call.workspace.roles.values()))


def show(call: Call, conn: Connection) -> RoleShown:
    role = found(call)
    return _shown(role, listing.role_holders(conn, call.workspace.name).get(role.name, 0))


def list_users(call: Call, conn: Connection) -> RoleHolderPage:
    role = found(call)
    wanted = asked(call, call.asked(Paging), "role holders")
    here = holders.of_role(conn, call.workspace.name, role.name, call.now, wanted.limit, wanted.after)
    page = wanted.page(RoleHolderPage, map(_holder, here.rows), here.more)
    assert isinstance(page, RoleHolderPage)
    return page


def found(call: Call) -> Role:
    name = call.param("name")
    if name not in call.workspace.roles:
        raise NotFound(f"there is no role {name[:64]!r}: there are {', '.join(sorted(call.workspace.roles))}")
    return call.workspace.roles[name]


def _shown(role: Role, users: int) -> RoleShown:
    return RoleShown(
        name=role.name,
        permissions=tuple(sorted(role.permissions)),
        privileged=role.privileged,
        built_in=role.where is None,
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
    Operation("GET", "/roles/{name}", "roles:read", show, "One role", answer=RoleShown),
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
