"""Roles that people make while syncd runs, beside the built-in ones and those of the configuration, which win on a name.

A role is a name for permissions: who holds it has them as they are now, so a change of its permissions is no change of any
user. It is on the record, and nobody puts into a role, or takes out of one, what she does not hold. The one thing that is
derived anew is who has it through a group, when it begins or ceases to manage users: a source may not grant what does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select, update

from syncd.core.access import Role
from syncd.core.actor import ADMIN_SOURCE, Actor
from syncd.core.change import Edit, GroupEdit, UserEdit
from syncd.core.resource import fold
from syncd.core.state import Grant
from syncd.core.workspace import Workspace
from syncd.errors import Conflict, Forbidden, NotFound, Refused, SyncdError, Uniqueness
from syncd.store import facts
from syncd.store import tables as t
from syncd.store.commit import Ids, commit, record
from syncd.store.escalation import holder_of
from syncd.store.made_roles import known, made
from syncd.store.rows import Rows

MOST: Final = 1000  # people who have it by hand, moved to another role in one transaction


@dataclass(frozen=True, slots=True)
class Holders:
    """Who has a role by hand, deleted users too, and which groups give it."""

    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


def create(conn: Connection, workspace: Workspace, actor: Actor, role: Role, why: str, now: datetime, ids: Ids) -> None:
    """Raises Uniqueness for a name that is used, Forbidden for permissions that the actor does not hold."""
    same = next((each for each in known(conn, workspace).values() if fold(each.name) == fold(role.name)), None)
    if same is not None:
        where = f" ({same.where})" if same.where else ""
        raise Uniqueness(f"there is a role {same.name} already{where}: choose another name")
    _must_hold(conn, workspace, actor, role.permissions, f"make the role {role.name}", now)
    _write(conn, workspace, None, role, now)
    _record(conn, workspace, actor, "role_create", role.name, why, None, _shown(role), now, ids)


def change(
    conn: Connection, workspace: Workspace, actor: Actor, name: str, after: Role, why: str, now: datetime, ids: Ids
) -> SyncdError | None:
    """What the door refused, and nothing was changed; None: done. Raises NotFound, Refused, Forbidden."""
    before = own(conn, workspace, name)
    if (before.permissions, before.description) == (after.permissions, after.description):
        return None
    moving = before.permissions ^ after.permissions
    _must_hold(conn, workspace, actor, before.permissions | after.permissions if moving else (), f"change {name}", now)
    if before.privileged != after.privileged:
        groups = holders(conn, workspace.name, name).groups
        people = sorted(facts.users_within(conn, workspace.name, groups)) if groups else []
        judged = replace(workspace, roles={**workspace.roles, name: after})
        told = f"the role {name} {'manages' if after.privileged else 'no longer manages'} users or permissions"
        edits = [UserEdit(id, ADMIN_SOURCE, why=told) for id in people]
        outcome = commit(conn, judged, actor, edits, now, ids)
        if outcome.error is not None:
            return outcome.error
    _write(conn, workspace, before, after, now)
    _record(conn, workspace, actor, "role_update", name, why, _shown(before), _shown(after), now, ids)
    return None


def remove(
    conn: Connection,
    workspace: Workspace,
    actor: Actor,
    name: str,
    move_to: str | None,
    why: str,
    now: datetime,
    ids: Ids,
) -> SyncdError | None:
    """What the door refused, and nothing was changed; None: done. Whoever has it gets `move_to` instead.

    Raises Conflict if somebody has it and `move_to` is None; NotFound, Refused, Forbidden.
    """
    role = own(conn, workspace, name)
    _must_hold(conn, workspace, actor, role.permissions, f"delete the role {name}", now)
    there = known(conn, workspace)
    if move_to is not None and (move_to not in there or move_to == name):
        raise NotFound(f"there is no other role {move_to[:64]!r} to move them to: see `syncd role list`")
    here = holders(conn, workspace.name, name)
    if here.users or here.groups:
        if move_to is None:
            told = f"the role {name} is held by hand by {len(here.users):,} and given by {len(here.groups):,} groups"
            raise Conflict(f"{told}: take it back first, or name the role that they get instead (move_to)")
        if len(here.users) > MOST:
            told = f"the role {name} is held by hand by {len(here.users):,}"
            raise Conflict(f"{told}: up to {MOST:,} are moved at once, so take it from some of them before")
        edits = _moves(conn, workspace, actor, here, name, move_to, why, now)
        outcome = commit(conn, workspace, actor, edits, now, ids)
        if outcome.error is not None:
            return outcome.error
    r = t.roles.c
    conn.execute(delete(t.roles).where(r.workspace == workspace.name, r.name == name))
    _record(conn, workspace, actor, "role_delete", name, why, _shown(role), None, now, ids)
    return None


def own(conn: Connection, workspace: Workspace, name: str) -> Role:
    """A role that can be changed here. Raises NotFound, Refused for one that is built in or configured."""
    if name in workspace.roles:
        where = workspace.roles[name].where
        raise Refused(f"the role {name} is {f'configured at {where}: change it there' if where else 'built in'}")
    there = made(conn, workspace.name)
    if name not in there:
        raise NotFound(f"there is no role {name[:64]!r}: there are {', '.join(sorted({*workspace.roles, *there}))}")
    return there[name]


def holders(conn: Connection, workspace: str, name: str) -> Holders:
    g, of = t.grants.c, t.groups.c
    by_hand = (g.workspace == workspace, g.kind == "role", g.value == name, g.origin != "group")
    users = conn.scalars(select(g.user_id).distinct().where(*by_hand).order_by(g.user_id))
    giving = select(of.id, of.grants).where(of.workspace == workspace, of.grants.is_not(None)).order_by(of.id)
    groups = [row.id for row in conn.execute(giving) if any(each[:2] == ["role", name] for each in row.grants)]
    return Holders(tuple(users), tuple(groups))


def _moves(
    conn: Connection,
    workspace: Workspace,
    actor: Actor,
    here: Holders,
    name: str,
    move_to: str,
    why: str,
    now: datetime,
) -> list[Edit]:
    """Each grant of it becomes one of the other role, with its own end and reason."""

    def moved(grants: Iterable[Grant]) -> dict[str, Any]:
        old = [each for each in grants if (each.kind, each.value) == ("role", name) and each.origin != "group"]
        given = [replace(each, value=move_to, name=actor.name, run_id=None, created_at=now) for each in old]
        return {"revoke": tuple(each.id for each in old), "grant": tuple(given)}

    groups = facts.load_groups(conn, workspace.name, here.groups)
    users = facts.load_users(conn, workspace.name, here.users, workspace.precedence)
    return [
        *(GroupEdit(id, ADMIN_SOURCE, why=why, **moved(groups[id].grants)) for id in sorted(groups)),
        *(UserEdit(id, ADMIN_SOURCE, why=why, **moved(users[id].stated)) for id in sorted(users)),
    ]


def _must_hold(
    conn: Connection, workspace: Workspace, actor: Actor, permissions: Iterable[str], what: str, now: datetime
) -> None:
    holder = holder_of(conn, workspace, actor, now)
    if holder is None:
        return
    if not holder.manages("role"):
        raise Forbidden(f"{holder.name} does not manage roles: nothing was changed")
    lacking = holder.lacks_any(permissions)
    if lacking is not None:
        raise Forbidden(f"{holder.name} may not {what}: that needs {lacking}; nothing was changed")


def _write(conn: Connection, workspace: Workspace, before: Role | None, after: Role, now: datetime) -> None:
    said = {"permissions": sorted(after.permissions), "description": after.description, "modified_at": now}
    if before is None:
        own = {"workspace": workspace.name, "name": after.name, "created_at": now, "version": 1}
        conn.execute(insert(t.roles).values(**own, **said))
        return
    r = t.roles.c
    here = update(t.roles).where(r.workspace == workspace.name, r.name == after.name)
    conn.execute(here.values(**said, version=r.version + 1))


def _record(
    conn: Connection,
    workspace: Workspace,
    actor: Actor,
    action: str,
    name: str,
    why: str,
    before: Any,
    after: Any,
    now: datetime,
    ids: Ids,
) -> None:
    rows = Rows(workspace.name)
    record(rows, actor, action, f"role {name}", name, why, before, after, now, ids)
    rows.write(conn)


def _shown(role: Role) -> Mapping[str, Any]:
    return {"permissions": sorted(role.permissions), "description": role.description}


def version(conn: Connection, workspace: str, name: str) -> int | None:
    """Of a role that people made; None: of no such."""
    r = t.roles.c
    found: int | None = conn.scalar(select(r.version).where(r.workspace == workspace, r.name == name))
    return found
