"""`syncd deliveries`: what the application has not acknowledged yet, and what came of telling it.

A delivery is tried until it is acknowledged; only people give one up, on record.
"""

from __future__ import annotations

import secrets
from typing import Annotated

import typer

from syncd.cli.ledger import AsLines, print_lines, send_now, show_one, state_of
from syncd.cli.session import confirmed, say, session, show_rows
from syncd.cli.users import AsJson, Reason, Yes
from syncd.deliver import signing
from syncd.errors import UsageError
from syncd.store import deliveries as store
from syncd.store import describe
from syncd.store.deliveries import STATES

Id = Annotated[str, typer.Argument(metavar="ID", help="As `syncd deliveries list` shows it.")]
Webhook = Annotated[str | None, typer.Option("--webhook", metavar="NAME", help="Only of this one.")]

deliveries = typer.Typer(
    help="What was told to the application, and what it has not acknowledged.", no_args_is_help=True
)


def register(cli: typer.Typer) -> None:
    cli.add_typer(deliveries, name="deliveries")


@deliveries.command("list")
def list_(
    ctx: typer.Context,
    state: Annotated[str, typer.Option(help=f"One of {', '.join(STATES)}, all.")] = "outstanding",
    webhook: Webhook = None,
    user: Annotated[str | None, typer.Option(metavar="USER", help="Only what is told of her.")] = None,
    as_json: AsLines = False,
) -> None:
    """The ledger, the oldest first; what is outstanding unless another state is asked for."""
    wanted = state_of(state, STATES)
    current = session(ctx)
    workspace = current.workspace.name
    with current.database.reading() as conn:
        id = None if user is None else describe.find_user(conn, workspace, user)
        found = store.listed(conn, workspace, wanted, webhook, id)
    if as_json:
        print_lines(found)
        return
    rows = (
        (
            each.id,
            each.webhook,
            each.user_id,
            each.kind,
            each.created_at,
            each.attempts,
            each.next_at or each.state,
            each.last_error,
        )
        for each in found
    )
    columns = ("id", "webhook", "user", "what", "since", "attempts", "next", "last attempt")
    show_rows(columns, rows, "nothing is outstanding" if state == "outstanding" else "no deliveries")


@deliveries.command("show")
def show_(ctx: typer.Context, id: Id, as_json: AsJson = False) -> None:
    """One delivery: what it tells, how often it was tried, what was answered."""
    show_one(ctx, store.find, id, as_json)


@deliveries.command()
def retry(ctx: typer.Context, id: Id, as_json: AsJson = False) -> None:
    """Send it now instead of after its pause; the worker does that within a second."""
    send_now(ctx, store.retry, id, as_json)


@deliveries.command()
def discard(
    ctx: typer.Context,
    id: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Those to give up.")] = None,
    webhook: Annotated[str | None, typer.Option("--webhook", metavar="NAME", help="All of this one.")] = None,
    reason: Reason = "",
    yes: Yes = False,
) -> None:
    """Give deliveries up: the application is never told, and whoever lost access may keep a session there."""
    ids = id or []
    if bool(ids) == (webhook is not None):
        raise UsageError("name deliveries by id, or all of one webhook with --webhook")
    current = session(ctx)
    name = current.workspace.name
    with current.database.reading() as conn:
        n = len(ids) if webhook is None else len(store.listed(conn, name, webhook=webhook))
    confirmed(f"Give up {n:,} deliveries that were not acknowledged?", yes)
    why = reason or "given up at the command line"
    gone = current.database.write_now(
        lambda conn: store.discard(conn, current.actor, ids, webhook, why, current.now(), current.app.ids)
    )
    say(f"{gone:,} deliveries given up")


@deliveries.command()
def secret() -> None:
    """A new secret for a webhook, on stdout. Both sides keep it as it is; syncd in a file that only it can read."""
    print(signing.written(secrets.token_bytes(32)))
