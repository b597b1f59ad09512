"""`syncd invitation`: people who are asked in by mail, until they set a password."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from syncd.app import no_such
from syncd.cli.giving import grant
from syncd.cli.session import Session, print_json, say, session, show_rows
from syncd.cli.users import AsJson, Reason
from syncd.errors import UsageError
from syncd.store import describe
from syncd.store import invitations as store
from syncd.store.commit import Outcome
from syncd.store.invitations import STATES, Invitation

Id = Annotated[str, typer.Argument(metavar="ID", help="As `syncd invitation list` shows it.")]

invitation = typer.Typer(help="People who are asked in by mail: create, resend, correct, cancel.", no_args_is_help=True)


def register(cli: typer.Typer) -> None:
    cli.add_typer(invitation, name="invitation")


@invitation.command()
def create(
    ctx: typer.Context,
    email: Annotated[str, typer.Argument(metavar="ADDRESS")],
    role: Annotated[list[str] | None, typer.Option(help="A role to grant; may be repeated.")] = None,
    seat: Annotated[list[str] | None, typer.Option(help="A seat to grant; may be repeated.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="A group to be in; may be repeated.")] = None,
    user_name: Annotated[str | None, typer.Option(help="Default: the address.")] = None,
    display_name: Annotated[str | None, typer.Option()] = None,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Invite somebody: she is pending until she follows the link of the mail and sets a password."""
    current = session(ctx)
    why = reason or "invited at the command line"
    grants = [grant(current, "role", each, reason) for each in role or ()]
    grants += [grant(current, "seat", each, reason) for each in seat or ()]
    named = {"userName": user_name, "displayName": display_name}
    values = {name: value for name, value in named.items() if value}

    def invite(conn: describe.Conn) -> tuple[Outcome, str]:
        groups = [describe.find_group(conn, current.workspace.name, each) for each in group or ()]
        return store.invite(
            *(conn, current.workspace, current.actor, email, values, grants, groups),
            *(why, current.now(), current.app.ids),
        )

    outcome, id = current.database.write_now(invite)
    outcome.check()
    _told(current, id, as_json, "will be written to")


@invitation.command("list")
def list_(
    ctx: typer.Context,
    state: Annotated[str | None, typer.Option(help=f"One of {', '.join(STATES)}.")] = None,
    as_json: AsJson = False,
) -> None:
    """Invitations, the oldest first, and what became of their mail."""
    if state is not None and state not in STATES:
        raise UsageError(no_such("state", state, STATES, f"one of {', '.join(STATES)}"))
    current = session(ctx)
    with current.database.reading() as conn:
        found = store.listed(conn, current.workspace, current.now(), state)
    if as_json:
        print_json([asdict(each) for each in found])
        return
    rows = ((each.id, each.address, each.state, each.expires_at, each.mail, each.mail_error) for each in found)
    show_rows(("id", "address", "state", "expires", "mail", "server said"), rows, "no invitations")


@invitation.command()
def resend(ctx: typer.Context, id: Id, reason: Reason = "", as_json: AsJson = False) -> None:
    """Another mail with another link; the one before ends, and the days begin anew."""
    current = session(ctx)
    why, now = reason or "sent again at the command line", current.now()
    current.database.write_now(
        lambda conn: store.resend(conn, current.workspace, current.actor, id, why, now, current.app.ids)
    )
    _told(current, id, as_json, "will be written to again")


@invitation.command()
def correct(
    ctx: typer.Context,
    id: Id,
    email: Annotated[str, typer.Argument(metavar="ADDRESS")],
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """The address was wrong: the mail goes to this one, and the link before ends."""
    current = session(ctx)
    why, now = reason or "address corrected at the command line", current.now()
    current.database.write_now(
        lambda conn: store.correct(conn, current.workspace, current.actor, id, email, why, now, current.app.ids)
    ).check()
    _told(current, id, as_json, "will be written to")


@invitation.command()
def cancel(ctx: typer.Context, id: Id, reason: Reason = "", as_json: AsJson = False) -> None:
    """Withdraw it: the link ends, name and seats are free again."""
    current = session(ctx)
    why, now = reason or "withdrawn at the command line", current.now()
    current.database.write_now(
        lambda conn: store.cancel(conn, current.workspace, current.actor, id, why, now, current.app.ids)
    ).check()
    _told(current, id, as_json, "is not invited any more")


def _told(current: Session, id: str, as_json: bool, what: str) -> None:
    with current.database.reading() as conn:
        found: Invitation = store.find(conn, current.workspace, id, current.now())
    if as_json:
        print_json(asdict(found))
    else:
        say(f"{found.address} {what} (invitation {found.id})")
