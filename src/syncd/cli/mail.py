"""`syncd mail`: letters that wait, that were sent, and that a server refused."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer

from syncd.app import no_such
from syncd.cli.session import Session, cell, json_line, print_json, say, session, show, show_rows
from syncd.cli.users import AsJson
from syncd.core.mail import Envelope, is_address
from syncd.errors import Conflict, UsageError
from syncd.reconcile import render
from syncd.store import mails as store
from syncd.store.mails import STATES, Mail
from syncd.store.offboarding import user_names

Id = Annotated[str, typer.Argument(metavar="ID", help="As `syncd mail list` shows it.")]

mail = typer.Typer(help="Letters that wait, were sent, or were refused.", no_args_is_help=True)


def register(cli: typer.Typer) -> None:
    cli.add_typer(mail, name="mail")


@mail.command("list")
def list_(
    ctx: typer.Context,
    state: Annotated[str, typer.Option(help=f"One of {', '.join(STATES)}, all.")] = "all",
    as_json: Annotated[bool, typer.Option("--json", help="One object per line.")] = False,
) -> None:
    """Letters, the oldest first, with what the mail server said."""
    if state not in (*STATES, "all"):
        raise UsageError(no_such("state", state, (*STATES, "all"), f"one of {', '.join(STATES)}, all"))
    current = session(ctx)
    with current.database.reading() as conn:
        found = store.listed(conn, current.workspace.name, None if state == "all" else state)
        names = user_names(conn, current.workspace.name, sorted({each.about_id for each in found}))
    if as_json:
        for each in found:
            sys.stdout.write(json_line(asdict(each)) + "\n")
        return
    rows = (
        (
            *(each.id, each.kind.replace("_", " "), names.get(each.about_id, each.about_id)),
            *(each.created_at, each.attempts, each.state, each.last_error),
        )
        for each in found
    )
    show_rows(("id", "letter", "about", "since", "tries", "state", "last attempt"), rows, "no mail")


@mail.command("show")
def show_(ctx: typer.Context, id: Id, as_json: AsJson = False) -> None:
    """One letter: how often it was tried, what the mail server said."""
    current = session(ctx)
    with current.database.reading() as conn:
        _shown(store.find(conn, current.workspace.name, id), as_json)


@mail.command()
def retry(ctx: typer.Context, id: Id, as_json: AsJson = False) -> None:
    """Send it now, also if it was refused or given up; the worker does that within seconds."""
    current = session(ctx)
    now, name = current.now(), current.workspace.name
    _shown(current.database.write_now(lambda conn: store.retry(conn, name, id, now)), as_json)


@mail.command()
def discard(ctx: typer.Context, id: Annotated[list[str], typer.Argument(metavar="ID...")]) -> None:
    """Do not send these."""
    current = session(ctx)
    now, name = current.now(), current.workspace.name
    n = current.database.write_now(lambda conn: store.end(conn, name, id, store.DISCARDED, now))
    say(f"{n:,} of {len(id):,} waited and will not be sent")


@mail.command()
def test(ctx: typer.Context, address: Annotated[str, typer.Argument(metavar="ADDRESS")]) -> None:
    """Hand in a letter at once, and say what the mail server says."""
    if not is_address(address):
        raise UsageError(f"{address!r} is not an address such as ann@example.org")
    said = _handed_in(session(ctx), address)
    if said is not None:
        raise Conflict(f"the mail server did not take it: {said}")
    say(f"handed in for {address}")


def _handed_in(current: Session, address: str) -> str | None:
    """What the server said if it did not take it."""
    from syncd.deliver import letters, postman  # noqa: PLC0415 - loads what only this needs

    app = current.app
    server, settings, sending = app.mail_server, app.settings.mail, app.sending
    if server is None or settings is None or sending is None:
        raise UsageError("no mail server is configured (`mail:`)")
    envelope = Envelope(app.ids(), "test", address, "", app.clock(), {"application": sending.application})
    outcome = asyncio.run(postman.hand_in(server, letters.read(settings.templates), envelope))
    return None if outcome.fate == "sent" else outcome.error


def _shown(found: Mail, as_json: bool) -> None:
    told: dict[str, Any] = asdict(found)
    if as_json:
        print_json(told)
        return
    shown = render.table("", "")
    render.fill(shown, ((name.replace("_", " "), cell(value)) for name, value in told.items() if value is not None))
    show(shown)
