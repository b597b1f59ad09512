"""`syncd adopt`: new entries of a directory that may be people who are known, and whose they are.

Nothing is guessed (reconcile/adopting.py). An answer is followed by the next read of the entry, and the door judges it again.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from syncd.cli.session import print_json, say, session, show_rows
from syncd.cli.users import AsJson
from syncd.store import adoptions as store
from syncd.store import describe
from syncd.store.adoptions import Waiting

Which = Annotated[str, typer.Argument(metavar="ENTRY", help="Its userName, stable key or DN.")]
SourceOption = Annotated[str | None, typer.Option("--source", metavar="NAME", help="Only of this directory.")]

adopt = typer.Typer(help="New entries that may be people who are known: whose are they?", no_args_is_help=True)


def register(cli: typer.Typer) -> None:
    cli.add_typer(adopt, name="adopt")


@adopt.command("list")
def list_(
    ctx: typer.Context,
    source: SourceOption = None,
    undecided: Annotated[bool, typer.Option("--undecided", help="Only what waits for an answer.")] = False,
    as_json: AsJson = False,
) -> None:
    """Who waits, the longest first, with whom each may be: the score of 100 and the rules that gave it."""
    current = session(ctx)
    with current.database.reading() as conn:
        found = store.list_(conn, current.workspace.name, source, undecided)
    if as_json:
        print_json({"adoptions": [asdict(each) for each in found]})
        return
    columns = ("entry", "source", "userName", "since", "may be", "answer")
    rows = ((each.entry, each.source, each.user_name, each.since, _people(each), _answer(each)) for each in found)
    show_rows(columns, rows, "nobody waits")


def _people(each: Waiting) -> str:
    return "; or ".join(map(str, each.candidates)) or "nobody any more"


def _answer(each: Waiting) -> str:
    if each.decision is None:
        return ""
    return (
        f"{each.user or each.user_id} ({each.by})" if each.decision == store.ACCEPTED else f"somebody new ({each.by})"
    )


@adopt.command()
def accept(
    ctx: typer.Context,
    entry: Which,
    user: Annotated[str | None, typer.Argument(metavar="USER", help="Whose it is, where it may be several.")] = None,
    source: SourceOption = None,
) -> None:
    """The entry is that user: the next read of it takes her over. Nobody takes over a privileged account."""
    current = session(ctx)
    with current.database.writing() as conn:
        waiting = store.find(conn, current.workspace.name, entry, source)
        id = None if user is None else describe.find_user(conn, current.workspace.name, user)
        done = store.accept(conn, current.workspace, waiting, id, current.actor, current.clock(), current.app.ids)
    _told(done, f"is {done.user}")


@adopt.command()
def refuse(ctx: typer.Context, entry: Which, source: SourceOption = None) -> None:
    """The entry is none of them: the next read of it makes a new user, if her userName is free."""
    current = session(ctx)
    with current.database.writing() as conn:
        waiting = store.find(conn, current.workspace.name, entry, source)
        done = store.refuse(conn, current.workspace, waiting, current.actor, current.clock(), current.app.ids)
    _told(done, "is somebody new")


def _told(done: Waiting, what: str) -> None:
    now = f"syncd sync {done.source} --only 'userName eq \"{done.user_name}\"'"
    say(f"{done.entry} {what}, from the next read of it on; at once: {now}")
