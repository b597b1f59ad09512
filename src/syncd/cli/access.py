"""`syncd seat` and `syncd role`: what there is, who has it, and direct grants by hand.

What a rule or source gives is not taken away here: the answer says where it comes from, so that it is changed there.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Literal

import typer

from syncd.app import no_such
from syncd.cli import seat_report
from syncd.cli.by_hand import by_hand
from syncd.cli.giving import Expires, Permissions, grant, permitted
from syncd.cli.session import Session, act, confirmed, duration, print_json, say, session, show, show_rows
from syncd.cli.users import AsJson, Reason, Who, Yes, finish
from syncd.core.access import Role
from syncd.core.actor import ADMIN_SOURCE
from syncd.core.change import Edit, UserEdit
from syncd.core.granting import ROLE_NAME
from syncd.core.handover import handover
from syncd.core.scopes import KINDS
from syncd.core.seats import cost
from syncd.errors import Conflict, SyncdError, UsageError
from syncd.store import describe, holders, listing, roles

seat = typer.Typer(help="Seats: used, limit, waiting; assign and release.", no_args_is_help=True)
role = typer.Typer(help="Roles: what they permit, who has them; grant and revoke.", no_args_is_help=True)
Pool = Annotated[str, typer.Argument(metavar="POOL")]
RoleName = Annotated[str, typer.Argument(metavar="ROLE")]


def register(cli: typer.Typer) -> None:
    cli.add_typer(seat, name="seat")
    cli.add_typer(role, name="role")


# -- seats -------------------------------------------------------------------------------------------------------------------


@seat.command("list")
def list_seats(
    ctx: typer.Context,
    pool: Annotated[str | None, typer.Argument(metavar="[POOL]", help="Who holds and waits.")] = None,
    as_json: AsJson = False,
) -> None:
    """Every pool with its numbers; or who holds a seat in one, and who waits in which order."""
    current = session(ctx)
    with current.database.reading() as conn:
        if pool is None:
            pools = listing.seat_pools(conn, current.workspace)
            if as_json:
                print_json(
                    [
                        {
                            **{"pool": each.pool, "kind": each.kind, "used": each.used, "limit": each.limit},
                            **{"waiting": each.waiting, "over": each.over, "requires": list(each.requires)},
                        }
                        for each in pools
                    ]
                )
                return
            columns = ("pool", "kind", "used", "limit", "waiting", "over", "requires")
            rows = (
                (u.pool, u.kind, u.used, "unlimited" if u.limit is None else u.limit, u.waiting, u.over, u.requires)
                for u in pools
            )
            show_rows(columns, rows, "no seat pools are configured")
            return
        holders = list(listing.seat_holders(conn, current.workspace.name, _pool(current, pool)))
    if as_json:
        print_json(holders)
        return
    place = 0
    rows_ = []
    for each in holders:
        place += not each["held"]
        seen = "holds" if each["held"] else f"waits, number {place}"
        rows_.append((each["userName"], seen, each["since"], each["priority"], each["status"]))
    show_rows(("user", "seat", "since", "priority", "status"), rows_, f"nobody holds or waits for a seat in {pool}")


@seat.command("report")
def report_seats(
    ctx: typer.Context,
    form: Annotated[
        Literal["table", "csv", "json"], typer.Option("--format", help="For people, a sheet or a program.")
    ] = "table",
    idle: Annotated[str, typer.Option(help="Seats of people who have not signed in for this long.")] = "90d",
) -> None:
    """What the licences are used for and come to: used, free, waiting, idle, price and cost, pool by pool."""
    current = session(ctx)
    span = duration(idle)
    if span is None:
        raise UsageError(f"--idle {idle}: write a duration such as 90d")
    with current.database.reading() as conn:
        pools = listing.seat_pools(conn, current.workspace)
        told = listing.signs_in(conn, current.workspace.name)
        found = listing.seats_idle(conn, current.workspace.name, current.now() - span)
    rows = [seat_report.row(each, found.get(each.pool, listing.Idle()), told) for each in pools]
    totals = cost((each.price, each.used) for each in pools)
    if form == "json":
        print_json(seat_report.as_json(rows, totals, idle))
    elif form == "csv":
        seat_report.write_csv(sys.stdout, rows)
    else:
        show(seat_report.as_table(rows, totals, idle))


@seat.command()
def assign(
    ctx: typer.Context, who: Who, pool: Pool, expires: Expires = None, reason: Reason = "", as_json: AsJson = False
) -> None:
    """Give a user a seat, or a place on the waiting list if the pool is full."""
    _grant(ctx, who, "seat", pool, expires, reason, as_json)


@seat.command()
def release(
    ctx: typer.Context, who: Who, pool: Pool, reason: Reason = "", yes: Yes = False, as_json: AsJson = False
) -> None:
    """Take back a seat that was assigned by hand."""
    _revoke(ctx, who, "seat", _pool(session(ctx), pool, removed=True), reason, yes, as_json)


@seat.command("place")
def place_seat(
    ctx: typer.Context,
    who: Who,
    pool: Pool,
    priority: Annotated[
        int, typer.Argument(min=0, max=1_000_000, help="The lower is served first; 100 is where all start.")
    ],
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Move somebody who waits for a seat up or down the waiting list."""
    current = session(ctx)
    _pool(current, pool)

    def build(conn: describe.Conn) -> Sequence[Edit]:
        found[:] = [describe.find_user(conn, current.workspace.name, who)]
        known = describe.user_facts(conn, current.workspace, found[0])
        if not any(each.pool == pool for each in known.seats):
            raise Conflict(f"{known.name} neither holds a seat in {pool} nor waits for one")
        why = reason or "placed at the command line"
        return [UserEdit(found[0], ADMIN_SOURCE, priorities=((pool, priority),), why=why)]

    found: list[str] = []
    finish(current, act(current, build), found[0], as_json)


def _pool(current: Session, pool: str, removed: bool = False) -> str:
    if pool not in current.workspace.pools and not removed:
        raise UsageError(no_such("seat pool", pool, current.workspace.pools, "see `syncd seat list`"))
    return pool


# -- roles -------------------------------------------------------------------------------------------------------------------


@role.command("list")
def list_roles(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Roles with what they permit and how many users hold them."""
    current = session(ctx)
    with current.database.reading() as conn:
        holding = listing.role_holders(conn, current.workspace.name)
    found = [
        {
            **{"role": each.name, "permissions": sorted(each.permissions), "privileged": each.privileged},
            **{"users": holding.get(each.name, 0), "where": each.where or ("made here" if each.made else "built in")},
        }
        for each in current.roles.values()
    ]
    if as_json:
        print_json(found)
        return
    columns = ("role", "users", "privileged", "permissions", "where")
    show_rows(columns, ([each[column] for column in columns] for each in found), "no roles")


@role.command("scopes")
def list_scopes(ctx: typer.Context, as_json: AsJson = False) -> None:
    """The kinds of data scopes: which records somebody sees is given as KIND=VALUE."""
    there = session(ctx).workspace.scope_kinds.items()
    found = [{"kind": kind, "description": told, "built_in": kind in KINDS} for kind, told in there]
    if as_json:
        print_json(found)
        return
    columns = ("kind", "description", "built_in")
    show_rows(("kind", "what it is", "built in"), ([each[column] for column in columns] for each in found), "")


@role.command("grant")
def grant_role(
    ctx: typer.Context, who: Who, name: RoleName, expires: Expires = None, reason: Reason = "", as_json: AsJson = False
) -> None:
    """Give a user a role by hand, beside what rules give."""
    _grant(ctx, who, "role", name, expires, reason, as_json)


@role.command("revoke")
def revoke_role(
    ctx: typer.Context, who: Who, name: RoleName, reason: Reason = "", yes: Yes = False, as_json: AsJson = False
) -> None:
    """Take back a role that was given by hand."""
    _revoke(ctx, who, "role", name, reason, yes, as_json)


@role.command("create")
def create_role(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    permissions: Permissions = None,
    description: Annotated[str, typer.Option(help="For people.")] = "",
    reason: Reason = "",
) -> None:
    """Make a role of your own, beside those of the configuration."""
    current = session(ctx)
    if not re.fullmatch(ROLE_NAME, name):
        raise UsageError(f"{name!r} is no name for a role: letters, digits and ._- are, such as tour-guide")
    made = Role(name, permitted(permissions or ()), made=True, description=description)
    why = reason or "made at the command line"
    current.database.write_now(
        lambda conn: roles.create(conn, current.workspace, current.actor, made, why, current.now(), current.app.ids)
    )
    say(f"role {name} made: {', '.join(sorted(made.permissions)) or 'it permits nothing yet'}")


@role.command("change")
def change_role(
    ctx: typer.Context,
    name: RoleName,
    add: Annotated[list[str] | None, typer.Option("--add", metavar="MODULE.ACTION", help="May be repeated.")] = None,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", metavar="MODULE.ACTION", help="May be repeated.")
    ] = None,
    description: Annotated[str | None, typer.Option(help="For people.")] = None,
    reason: Reason = "",
    yes: Yes = False,
) -> None:
    """Change what a role of your own permits: at once, for whoever has it."""
    current = session(ctx)
    with current.database.reading() as conn:
        before = roles.own(conn, current.workspace, name)
        users = listing.role_holders(conn, current.workspace.name).get(name, 0)
    if not (add or remove or description is not None):
        raise UsageError("say what: --add, --remove or --description")
    strange = sorted(set(remove or ()) - before.permissions)
    if strange:
        raise UsageError(f"the role {name} does not permit {', '.join(strange)}: see `syncd role list`")
    after = replace(
        before,
        permissions=(before.permissions | permitted(add or ())) - set(remove or ()),
        description=before.description if description is None else description,
    )
    taken = sorted(before.permissions - after.permissions)
    if taken:
        confirmed(f"{users:,} people lose {', '.join(taken)} of the role {name}. Do this?", yes)
    why = reason or "changed at the command line"

    def change(conn: describe.Conn) -> SyncdError | None:
        return roles.change(conn, current.workspace, current.actor, name, after, why, current.now(), current.app.ids)

    _done(current.database.write_now(change))
    say(f"role {name} permits {', '.join(sorted(after.permissions)) or 'nothing'}")


@role.command("delete")
def delete_role(
    ctx: typer.Context,
    name: RoleName,
    move_to: Annotated[str | None, typer.Option(metavar="ROLE", help="What its holders get instead.")] = None,
    reason: Reason = "",
    yes: Yes = False,
) -> None:
    """Delete a role of your own. While somebody has it, name the role that they get instead."""
    current = session(ctx)
    with current.database.reading() as conn:
        roles.own(conn, current.workspace, name)
        here = roles.holders(conn, current.workspace.name, name)
    if move_to is not None and (here.users or here.groups):
        told = f"{len(here.users):,} people and {len(here.groups):,} groups get {move_to} instead of {name}"
        confirmed(f"{told}. Do this?", yes)
    else:
        confirmed(f"Delete the role {name}?", yes)
    why = reason or "deleted at the command line"

    def delete(conn: describe.Conn) -> SyncdError | None:
        return roles.remove(conn, current.workspace, current.actor, name, move_to, why, current.now(), current.app.ids)

    _done(current.database.write_now(delete))
    say(f"role {name} deleted")


def _done(refused: SyncdError | None) -> None:
    if refused is not None:
        raise refused


@role.command("hand-over")
def hand_over(
    ctx: typer.Context,
    who: Who,
    to: Annotated[str, typer.Argument(metavar="HEIR", help="Who becomes the owner.")],
    keep: Annotated[str, typer.Option(help="The role the owner has afterwards; none for none.")] = "admin",
    reason: Reason = "",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Hand ownership over: one gets it and the other loses it, in one step."""
    current = session(ctx)
    if keep != "none" and keep not in current.roles:
        raise UsageError(no_such("role", keep, current.roles, "see `syncd role list`"))

    def build(conn: describe.Conn) -> Sequence[Edit]:
        ids = [describe.find_user(conn, current.workspace.name, each) for each in (who, to)]
        owner, heir = (describe.user_facts(conn, current.workspace, each) for each in ids)
        found[:] = [heir.id]
        why = reason or "ownership handed over at the command line"
        return handover(owner, heir, None if keep == "none" else keep, current.actor, why, current.now())

    found: list[str] = []
    outcome = act(current, build, "Hand ownership over?", yes)
    finish(current, outcome, found[0], as_json)


# -- both ------------------------------------------------------------------------------------------------------------------


def _grant(
    ctx: typer.Context, who: str, kind: str, value: str, expires: str | None, reason: str, as_json: bool
) -> None:
    current = session(ctx)
    made = grant(current, kind, value, reason, expires)
    _edit(current, who, lambda id: UserEdit(id, ADMIN_SOURCE, grant=(made,), why=reason or "by hand"), as_json)
    if kind == "seat":
        with current.database.reading() as conn:
            known = describe.user_facts(conn, current.workspace, describe.find_user(conn, current.workspace.name, who))
            why = holders.refused(conn, current.workspace, known, value)
        if why is not None:
            raise Conflict(f"{known.name} has no seat: {why}")


def _revoke(ctx: typer.Context, who: str, kind: str, value: str, reason: str, yes: bool, as_json: bool) -> None:
    current = session(ctx)

    def build(conn: describe.Conn) -> Sequence[Edit]:
        found[:] = [describe.find_user(conn, current.workspace.name, who)]
        known = describe.user_facts(conn, current.workspace, found[0])
        ids = by_hand(known, kind, value)
        return [UserEdit(found[0], ADMIN_SOURCE, revoke=ids, why=reason or "taken back by hand")]

    found: list[str] = []
    outcome = act(current, build, "Do this?", yes)
    finish(current, outcome, found[0], as_json)


def _edit(current: Session, who: str, edit: Callable[[str], UserEdit], as_json: bool) -> None:
    found: list[str] = []

    def build(conn: describe.Conn) -> Sequence[Edit]:
        found[:] = [describe.find_user(conn, current.workspace.name, who)]
        return [edit(found[0])]

    outcome = act(current, build)
    finish(current, outcome, found[0], as_json)
