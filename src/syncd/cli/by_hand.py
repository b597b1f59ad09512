"""`syncd user grant` and `revoke`: what a person is given and loses by hand, several at once.

What a rule, group or source gives is not taken away here: the answer says where it comes from, so that it is changed there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import typer

from syncd.cli.giving import Expires, Permissions, Roles, Scopes, Seats, grant, named
from syncd.cli.session import act, session
from syncd.cli.users import AsJson, Reason, Who, Yes, finish
from syncd.core.access import DENIAL
from syncd.core.actor import ADMIN_SOURCE
from syncd.core.change import Edit, UserEdit
from syncd.core.denial import OVERRIDE
from syncd.core.state import User
from syncd.errors import Conflict, UsageError
from syncd.store import describe


def give(
    ctx: typer.Context,
    who: Who,
    roles: Roles = None,
    permissions: Permissions = None,
    scopes: Scopes = None,
    seats: Seats = None,
    expires: Expires = None,
    override: Annotated[bool, typer.Option("--override", help="Before every denial; with --expires.")] = False,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Give roles, permissions, data scopes or seats by hand, beside what rules and groups give. A ! in front denies one."""
    current, why = session(ctx), reason or "by hand"
    wanted = named(roles, permissions, scopes, seats)
    if override and (expires is None or any(value.startswith(DENIAL) for _, value in wanted)):
        raise UsageError("--override gives something, and only for a time: say until when (--expires), without a !")
    origin = OVERRIDE if override else "direct"
    made = tuple(replace(grant(current, kind, value, reason, expires), origin=origin) for kind, value in wanted)

    def build(conn: describe.Conn) -> Sequence[Edit]:
        found[:] = [describe.find_user(conn, current.workspace.name, who)]
        return [UserEdit(found[0], ADMIN_SOURCE, grant=made, why=why)]

    found: list[str] = []
    finish(current, act(current, build), found[0], as_json)


def take(
    ctx: typer.Context,
    who: Who,
    roles: Roles = None,
    permissions: Permissions = None,
    scopes: Scopes = None,
    seats: Seats = None,
    reason: Reason = "",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Take back what was given by hand."""
    current, why = session(ctx), reason or "taken back by hand"
    wanted = named(roles, permissions, scopes, seats)

    def build(conn: describe.Conn) -> Sequence[Edit]:
        found[:] = [describe.find_user(conn, current.workspace.name, who)]
        known = describe.user_facts(conn, current.workspace, found[0])
        ids = tuple(id for kind, value in wanted for id in by_hand(known, kind, value))
        return [UserEdit(found[0], ADMIN_SOURCE, revoke=ids, why=why)]

    found: list[str] = []
    finish(current, act(current, build, "Do this?", yes), found[0], as_json)


def by_hand(user: User, kind: str, value: str) -> tuple[tuple[str, str, str, str], ...]:
    """Ids of her grants by hand of this. Raises Conflict, saying where else it comes from."""
    own = [each for each in user.stated if (each.kind, each.value) == (kind, value)]
    direct = tuple(each.id for each in own if each.origin in ("direct", OVERRIDE))
    if not direct:
        others = ", ".join(sorted({each.comes_from for each in own}))
        hint = f"it comes from {others}: change that" if others else "she does not have it"
        raise Conflict(f"{user.name} was not given {kind} {value!r} by hand; {hint} (`syncd explain`)")
    return direct
