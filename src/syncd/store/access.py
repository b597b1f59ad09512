"""What one user may do, as the application asks at each sign-in: one statement over four indexes, compiled once.

Nothing here is late: a status that a date has changed is derived from the facts, and a grant that has ended grants nothing,
whether or not the timer was there. Whoever may not sign in has no access.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    CompoundSelect,
    Connection,
    Integer,
    Text,
    bindparam,
    cast,
    literal,
    null,
    select,
    type_coerce,
    union_all,
)

from syncd.core.access import DENIAL, listed
from syncd.core.denial import OVERRIDE, counted
from syncd.core.lifecycle import status
from syncd.core.state import Grant
from syncd.core.workspace import Workspace
from syncd.store import facts, raw
from syncd.store import tables as t

_WORKSPACE: Final = bindparam("workspace", type_=Text())
_USER: Final = bindparam("user_id", type_=Text())


@dataclass(frozen=True, slots=True)
class Access:
    """`permissions` are those of the roles and those given singly; `denied` come before them, without their `!`; and
    `always`, which overrides give, before these.

    `scopes`: kind -> values. Everything is sorted. `version`: of the user; what is configured and what time brings have none.
    """

    id: str
    user_name: str
    status: str
    version: int
    roles: tuple[str, ...] = ()
    permissions: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    always: tuple[str, ...] = ()
    scopes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    seats: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()

    @property
    def may_sign_in(self) -> bool:
        return self.status == "active"

    @property
    def patterns(self) -> tuple[str, ...]:
        """What core/access.py judges by."""
        return (*self.permissions, *(DENIAL + each for each in self.denied))


@cache
def _statement() -> CompoundSelect[Any]:
    u, g, s = t.users.c, t.grants.c, t.seats.c
    user = select(literal("user"), u.user_name, u.status, type_coerce(u.next_status_at, BigInteger), u.version).where(
        u.workspace == _WORKSPACE, u.id == _USER
    )
    grants = select(g.kind, g.value, g.origin, type_coerce(g.expires_at, BigInteger), cast(null(), Integer)).where(
        g.workspace == _WORKSPACE, g.user_id == _USER
    )
    seats = select(literal("held"), s.pool, cast(null(), Text), cast(null(), BigInteger), cast(s.held, Integer)).where(
        s.workspace == _WORKSPACE, s.user_id == _USER
    )
    r = t.roles.c
    held = (g.workspace == _WORKSPACE, g.user_id == _USER, g.kind == "role")
    own = select(
        literal("made"), r.name, type_coerce(r.permissions, Text), cast(null(), BigInteger), cast(null(), Integer)
    ).where(r.workspace == _WORKSPACE, r.name.in_(select(g.value).where(*held)))
    return union_all(user, grants, seats, own)


def access(conn: Connection, workspace: Workspace, id: str, now: datetime) -> Access | None:
    """None if there is no such user. A deleted one is there, without access, until she is purged."""
    moment = t.micros(now)
    name: str | None = None
    state, due, version = "", None, 0
    unended: set[Grant] = set()
    seats: dict[str, bool] = {}
    made: dict[str, frozenset[str]] = {}  # roles that people made, where the configuration has none of that name
    for kind, value, said, until, number in raw.rows(conn, _statement(), {"workspace": workspace.name, "user_id": id}):
        if kind == "user":
            name, state, due, version = value, said, until, number
        elif kind == "held":
            seats[value] = bool(number)
        elif kind == "made":
            made[value] = listed(said)
        elif until is None or until > moment:
            unended.add(Grant(kind, value, said, ""))
    if name is None:
        return None
    if due is not None and due <= moment:
        known = facts.load_users(conn, workspace.name, [id], workspace.precedence)
        state = status(known[id], workspace.authoritative, now)[0] if id in known else "deleted"
    if state != "active":
        return Access(id, name, state, version)
    live: dict[str, set[str]] = {"role": set(), "permission": set(), "scope": set(), "seat": set(), "always": set()}
    for each in counted(unended).grants:  # not by what the store last counted: an override or a denial may have ended
        if each.kind != "permission" and each.value.startswith(DENIAL):
            continue
        live["always" if (each.kind, each.origin) == ("permission", OVERRIDE) else each.kind].add(each.value)
    permitted = made | {role: workspace.roles[role].permissions for role in live["role"] & workspace.roles.keys()}
    permissions = live["permission"].union(*(permitted.get(role, ()) for role in live["role"]))
    return _granted(Access(id, name, state, version), live, permissions, seats)


def _granted(bare: Access, live: Mapping[str, set[str]], permissions: set[str], seats: Mapping[str, bool]) -> Access:
    scopes: dict[str, list[str]] = {}
    for each in sorted(live["scope"]):
        kind, _, value = each.partition("=")
        scopes.setdefault(kind, []).append(value)
    granted = sorted(seats.keys() & live["seat"])
    return replace(
        bare,
        roles=tuple(sorted(live["role"])),
        always=tuple(sorted(live["always"])),
        permissions=tuple(sorted(each for each in permissions if not each.startswith(DENIAL))),
        denied=tuple(sorted(each.removeprefix(DENIAL) for each in permissions if each.startswith(DENIAL))),
        scopes={kind: tuple(values) for kind, values in scopes.items()},
        seats=tuple(pool for pool in granted if seats[pool]),
        waiting=tuple(pool for pool in granted if not seats[pool]),
    )
