"""`syncd mail`: letters that wait, that were sent, and that a server refused."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from syncd.cli.ledger import AsLines, print_lines, send_now, show_one, state_of
from syncd.cli.session import Session, say, session, show_rows
from syncd.cli.users import AsJson
from syncd.core.mail import Envelope, is_address
from syncd.errors import Conflict, UsageError
from syncd.store import mails as store
from syncd.store.mails import STATES
from syncd.store.offboarding import user_names

Id = Annotated[str, typer.Argument(metavar="ID", help="As `syncd mail list` shows it.")]

mail = typer.Typer(help="Letters that wait, were sent, or were refused.", no_args_is_help=True)


def register(cli: typer.Typer) -> None:
    cli.add_typer(mail, name="mail")


@mail.command("list")
def list_(
    ctx: typer.Context,
    state: Annotated[str, typer.Option(help=f"One of {', '.join(STATES)}, all.")] = "all",
    as_json: AsLines = False,
) -> None:
    """Letters, the oldest first, with what the mail server said."""
    wanted = state_of(state, STATES)
    current = session(ctx)
    with current.database.reading() as conn:
        found = store.listed(conn, current.workspace.name, wanted)
        names = user_names(conn, current.workspace.name, sorted({each.about_id for each in found}))
    if as_json:
        print_lines(found)
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
    show_one(ctx, store.find, id, as_json)


@mail.command()
def retry(ctx: typer.Context, id: Id, as_json: AsJson = False) -> None:
    """Send it now, also if it was refused or given up; the worker does that within seconds."""
    send_now(ctx, store.retry, id, as_json)


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
