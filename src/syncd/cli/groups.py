"""`syncd group ...`: groups, who is in them, and what they give to whoever is in them.

A group is made, renamed and deleted here if people own it (source `local`); anybody's may be given members and grants by hand,
and what another source says of it is changed there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any

import typer

from syncd.cli.giving import Permissions, Roles, Scopes, Seats, grant, named
from syncd.cli.session import Session, act, print_json, report, session, show, show_rows
from syncd.cli.users import AsJson, Reason, Yes
from syncd.core.actor import ADMIN_SOURCE
from syncd.core.change import Edit, GroupEdit, UserEdit
from syncd.core.state import Group, Link
from syncd.errors import Conflict, Refused, UsageError
from syncd.reconcile.render import fill, plain, table
from syncd.store import describe, facts, listing
from syncd.store import groups as store
from syncd.store.commit import Outcome

group = typer.Typer(help="Groups: members, and what they give to their members.", no_args_is_help=True)
Which = Annotated[str, typer.Argument(metavar="GROUP", help="An id or a name.")]
Users = Annotated[list[str] | None, typer.Argument(metavar="[USER]...", help="An id, a userName or an e-mail address.")]
Groups = Annotated[list[str] | None, typer.Option("--group", metavar="GROUP", help="A group in it; may be repeated.")]


def register(cli: typer.Typer) -> None:
    cli.add_typer(group, name="group")


# -- reading ---------------------------------------------------------------------------------------------------------------


@group.command("list")
def list_groups(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Groups with the number of their members: direct, nested groups, and all users in effect; and what they give."""
    current = session(ctx)
    with current.database.reading() as conn:
        found = listing.list_groups(conn, current.workspace.name)
    if as_json:
        print_json(found)
        return
    gives = ("gives",) if any(each["gives"] for each in found) else ()
    columns = ("display", "source", "users", "groups", "effective", "unresolved", *gives, "id")
    rows = ({**each, "gives": [f"{given['kind']} {given['value']}" for given in each["gives"]]} for each in found)
    show_rows(columns, ([each[column] for column in columns] for each in rows), "no groups")


@group.command("show")
def show_group(ctx: typer.Context, which: Which, as_json: AsJson = False) -> None:
    """One group: members, groups in it and above it, what it gives, and members that could not be resolved."""
    current = session(ctx)
    with current.database.reading() as conn:
        id = describe.find_group(conn, current.workspace.name, which)
        found = listing.show_group(conn, current.workspace.name, id)
    if as_json:
        print_json(found)
        return
    show(f"{plain(found['display'])} (source {found['source']}, {id})")
    members = table("member", "what", "as stated by")
    fill(members, ((each["display"], "group", each["origin"]) for each in found["groups"]))
    fill(members, ((each["userName"], each["status"], each["origin"]) for each in found["users"]))
    fill(members, ((each, "not resolved", found["source"]) for each in found["unresolved"]))
    fill(members, ((each, "is within", "") for each in found["within"]))
    show(members)
    columns = ("kind", "value", "name", "why", "since")
    if found["gives"]:
        show_rows(("gives", "which", "by", "why", "since"), ([e[c] for c in columns] for e in found["gives"]), "")


# -- groups of people --------------------------------------------------------------------------------------------------------


@group.command()
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    users: Users = None,
    groups: Groups = None,
    roles: Roles = None,
    permissions: Permissions = None,
    scopes: Scopes = None,
    seats: Seats = None,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Make a group, with members and with what it gives to them if you like."""
    current = session(ctx)
    id, why = current.app.ids(), reason or "made at the command line"
    gives = named(roles, permissions, scopes, seats) if roles or permissions or scopes or seats else []
    made = tuple(grant(current, kind, value, reason) for kind, value in gives)
    link = Link(ADMIN_SOURCE, id, values={"displayName": _name(name)})

    def build(conn: describe.Conn) -> Sequence[Edit]:
        members = _members(conn, current, users, groups)
        return [
            GroupEdit(id, ADMIN_SOURCE, create=True, link=link, grant=made, why=why),
            *(_edit(kind, member, why, join=(id,)) for member, kind in members.items()),
        ]

    _finish(current, act(current, build), id, as_json)


@group.command()
def rename(
    ctx: typer.Context,
    which: Which,
    name: Annotated[str, typer.Argument(metavar="NEW_NAME")],
    reason: Reason = "",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Rename a group that people own. A rule that goes by its name gives nothing any more."""
    why = reason or "renamed at the command line"

    def edits(group: Group, _: describe.Conn) -> Sequence[Edit]:
        _owned(group)
        link = Link(ADMIN_SOURCE, group.id, values={**group.values, "displayName": _name(name)})
        return [GroupEdit(group.id, ADMIN_SOURCE, link=link, why=why)]

    _change(ctx, which, edits, as_json, yes)


@group.command()
def delete(ctx: typer.Context, which: Which, reason: Reason = "", yes: Yes = False) -> None:
    """Delete a group that people own. What it gave goes with it, at once and for good."""
    why = reason or "deleted at the command line"

    def edits(group: Group, _: describe.Conn) -> Sequence[Edit]:
        _owned(group)
        return [GroupEdit(group.id, ADMIN_SOURCE, delete=True, why=why)]

    _change(ctx, which, edits, False, yes)


# -- members -----------------------------------------------------------------------------------------------------------------


@group.command()
def add(
    ctx: typer.Context,
    which: Which,
    users: Users = None,
    groups: Groups = None,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Put people or groups into a group, by your word beside what its source says."""
    current, why = session(ctx), reason or "added at the command line"

    def edits(group: Group, conn: describe.Conn) -> Sequence[Edit]:
        members = _members(conn, current, users, groups, some=True)
        if group.id in members:
            raise UsageError("a group cannot be a member of itself")
        return [_edit(kind, id, why, join=(group.id,)) for id, kind in members.items()]

    _change(ctx, which, edits, as_json)


@group.command()
def remove(
    ctx: typer.Context,
    which: Which,
    users: Users = None,
    groups: Groups = None,
    reason: Reason = "",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Take people or groups out of a group again that were put in by hand."""
    current, why = session(ctx), reason or "removed at the command line"

    def edits(group: Group, conn: describe.Conn) -> Sequence[Edit]:
        members = _members(conn, current, users, groups, some=True)
        stated = store.stated(conn, current.workspace.name, group.id, members)
        for id in members:
            if ADMIN_SOURCE not in stated.get(id, set()):
                said = ", ".join(sorted(stated.get(id, set())))
                hint = f"source {said} says that it is: take it back there" if said else "it is not there"
                raise Conflict(f"{id} was not put into {group.name} by hand; {hint}")
        return [_edit(kind, id, why, leave=(group.id,)) for id, kind in members.items()]

    _change(ctx, which, edits, as_json, yes)


# -- what it gives ---------------------------------------------------------------------------------------------------------


@group.command("grant")
def grant_(
    ctx: typer.Context,
    which: Which,
    roles: Roles = None,
    permissions: Permissions = None,
    scopes: Scopes = None,
    seats: Seats = None,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Have a group give roles, permissions, data scopes or seats to whoever is in it, also through other groups."""
    current, why = session(ctx), reason or "given at the command line"
    made = tuple(grant(current, kind, value, reason) for kind, value in named(roles, permissions, scopes, seats))
    again = {(each.kind, each.value) for each in made}

    def edits(group: Group, _: describe.Conn) -> Sequence[Edit]:
        there = tuple(each.id for each in group.grants if (each.kind, each.value) in again)
        return [GroupEdit(group.id, ADMIN_SOURCE, grant=made, revoke=there, why=why)]

    _change(ctx, which, edits, as_json)


@group.command()
def revoke(
    ctx: typer.Context,
    which: Which,
    roles: Roles = None,
    permissions: Permissions = None,
    scopes: Scopes = None,
    seats: Seats = None,
    reason: Reason = "",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Have a group give that no more: all its members lose it who have it in no other way."""
    why = reason or "taken back at the command line"
    wanted = named(roles, permissions, scopes, seats)

    def edits(group: Group, _: describe.Conn) -> Sequence[Edit]:
        for kind, value in wanted:
            if not any((each.kind, each.value) == (kind, value) for each in group.grants):
                raise Conflict(f"group {group.name} does not give {kind} {value!r}; see `syncd group show`")
        ids = tuple(each.id for each in group.grants if (each.kind, each.value) in wanted)
        return [GroupEdit(group.id, ADMIN_SOURCE, revoke=ids, why=why)]

    _change(ctx, which, edits, as_json, yes)


# -- shared ------------------------------------------------------------------------------------------------------------------


def _change(
    ctx: typer.Context,
    which: str,
    edits: Callable[[Group, describe.Conn], Sequence[Edit]],
    as_json: bool,
    yes: bool | None = None,
) -> None:
    """`yes` None: nothing is taken away, so nothing is asked."""
    current = session(ctx)
    found: list[str] = []

    def build(conn: describe.Conn) -> Sequence[Edit]:
        found[:] = [describe.find_group(conn, current.workspace.name, which)]
        return edits(facts.load_groups(conn, current.workspace.name, found)[found[0]], conn)

    outcome = act(current, build, None if yes is None else "Do this?", bool(yes))
    _finish(current, outcome, found[0], as_json)


def _finish(current: Session, outcome: Outcome, id: str, as_json: bool) -> None:
    if not as_json:
        report(outcome)
        return
    with current.database.reading() as conn:
        print_json(listing.show_group(conn, current.workspace.name, id))


def _members(
    conn: describe.Conn, current: Session, users: Iterable[str] | None, groups: Iterable[str] | None, some: bool = False
) -> dict[str, str]:
    """Id -> `user` or `group`. Raises UsageError if `some` must be named and none is."""
    name = current.workspace.name
    found = {describe.find_user(conn, name, each): "user" for each in users or ()}
    found |= {describe.find_group(conn, name, each): "group" for each in groups or ()}
    if some and not found:
        raise UsageError("name who: USER..., or --group for a group")
    return found


def _edit(kind: str, id: str, why: str, **change: Any) -> Edit:
    return (UserEdit if kind == "user" else GroupEdit)(id, ADMIN_SOURCE, why=why, **change)


def _owned(group: Group) -> None:
    if group.source != ADMIN_SOURCE:
        raise Refused(f"group {group.name} belongs to source {group.source}: change it there")


def _name(text: str) -> str:
    if not text.strip():
        raise UsageError("a group needs a name")
    return text.strip()
