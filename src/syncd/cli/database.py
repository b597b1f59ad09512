"""`syncd db ...`: migrations, and a consistent copy of the whole database."""

from __future__ import annotations

from typing import Annotated

import typer

from syncd.cli.session import print_json, say, session, show_rows, steps
from syncd.cli.users import AsJson
from syncd.store import copy as copying
from syncd.store import indexes, listing
from syncd.store.engine import Database
from syncd.store.migrate import revision
from syncd.store.migrate import upgrade as migrate

db = typer.Typer(help="The database: migrations, state, a copy.", no_args_is_help=True)


def register(cli: typer.Typer) -> None:
    cli.add_typer(db, name="db")


@db.command()
def upgrade(ctx: typer.Context) -> None:
    """Create the database, or bring it to this release's schema. Safe to run again and from several machines."""
    app = session(ctx).app
    database = app.database(create=True)
    try:
        say(f"database {database.display} is at revision {migrate(database).current}")
        indexes.keep(database, app.settings.types.values())
    finally:
        database.close()


@db.command()
def status(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Where the database is, its revision, and its rows by table. Exit 1 if it is behind this release."""
    app = session(ctx).app
    database = Database(app.settings.database)
    try:
        known = revision(database)
        counts: dict[str, int] = {}
        if known.current is not None:
            with database.reading() as conn:
                counts = listing.row_counts(conn)
    finally:
        database.close()
    if as_json:
        print_json(
            {
                **{"database": database.display, "revision": known.current, "head": known.head},
                **{"up_to_date": known.up_to_date, "rows": counts},
            }
        )
    else:
        if counts:
            show_rows(("table", "rows"), counts.items(), "empty")
        say(f"database {database.display} is at revision {known.current or 'none'}, this release needs {known.head}")
    if not known.up_to_date:
        raise typer.Exit(1)


@db.command()
def copy(
    ctx: typer.Context,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="A new file, sqlite:///PATH or postgresql://...")],
) -> None:
    """Copy everything, as of one moment, to a new database, while others go on writing. Engines may differ."""
    current = session(ctx)
    with steps() as progress:
        rows = copying.copy(current.database, target, progress.step)
    say(f"copied {rows:,} rows; use the copy with SYNCD_DATABASE")
