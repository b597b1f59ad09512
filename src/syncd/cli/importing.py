"""`syncd import` and `syncd user export`: people as CSV, with a plan first.

The file is judged whole before anything is done: its faults are told by line and column, and one of them is exit code 2.
Then it is a run of the source `local`, with the guards, the report and the exit codes of any run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from syncd.cli.runs import Rows
from syncd.cli.session import Session, confirmed, console, say, session, show, steps
from syncd.cli.users import AsJson, Reason, Yes
from syncd.core import userfile
from syncd.core.change import ChangeGroup
from syncd.core.filter import parse_filter
from syncd.core.plan import Report
from syncd.errors import InvalidValue, UsageError
from syncd.reconcile import render, run
from syncd.store import imports, userexport
from syncd.store.spool import Spool

MOST_TOLD = 20  # faults
MOST_BYTES = 256 << 20


def register(cli: typer.Typer) -> None:
    cli.command("import")(import_)


def import_(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE.csv", help="`-` reads standard input.")],
    plan: Annotated[bool, typer.Option("--plan", help="Show what it would come to, and do nothing.")] = False,
    invite: Annotated[bool, typer.Option("--invite", help="Whoever is new is asked in by mail (`mail:`).")] = False,
    encoding: Annotated[str | None, typer.Option(help="Default: UTF-8, UTF-16 by its mark, or Windows-1252.")] = None,
    delimiter: Annotated[
        str | None, typer.Option(help="Default: comma, semicolon or tab, as the first line has it.")
    ] = None,
    reason: Reason = "",
    yes: Yes = False,
    as_json: AsJson = False,
    rows: Rows = render.ROWS,
) -> None:
    """Make and change users by a CSV file. Nothing is taken away. Exit 3: changes pending (--plan), 4: some are held."""
    current = session(ctx)
    if delimiter is not None and len(delimiter) != 1:
        raise UsageError(f"--delimiter {delimiter!r} is not one character")
    if invite and not current.workspace.mails:
        raise UsageError("--invite: no mail server is configured (`mail:`), so that nobody would get the letter")
    people = _read(current, file, encoding, delimiter)
    why = reason or f"imported from {Path(file).name if file != '-' else 'standard input'}"
    lines, edits = _edits(current, people, why, invite)

    def again() -> Spool[ChangeGroup]:
        lines[:], made = _edits(current, people, why, invite)
        return made

    for note in people.notes:
        say(note)
    if people.faults:
        told = "".join(f"\n  {each}" for each in people.in_order()[:MOST_TOLD])
        more = len(people.faults) - MOST_TOLD
        raise UsageError(
            f"{file}: {_faults(len(people.faults))}, so nothing is done:{told}"
            + (f"\n  and {more:,} more" if more > 0 else "")
        )
    asking = not plan and not yes and sys.stdin.isatty() and file != "-"
    if plan or asking:
        report = _run(current, edits, again, len(lines), dry_run=True)
        if plan:
            _told(report, as_json, rows)
        console(stderr=True).print(render.for_people(report, rows))
        confirmed("Do this?", False)
    report = _run(current, edits, again, len(lines), dry_run=False)
    if invite:
        asked = current.database.write_now(
            lambda conn: imports.ask_in(
                conn, current.workspace, current.actor, lines, why, current.now(), current.app.ids
            )
        )
        say(f"{asked:,} will be written to; `syncd invitation list` shows what becomes of it")
    _told(report, as_json, rows)


def _faults(n: int) -> str:
    return "one fault" if n == 1 else f"{n:,} faults{' or more' if n >= userfile.MOST_FAULTS else ''}"


def _read(current: Session, file: str, encoding: str | None, delimiter: str | None) -> userfile.People:
    """Raises UsageError for a file that cannot be read at all."""
    try:
        if file == "-":
            content = sys.stdin.buffer.read(MOST_BYTES + 1)
        else:
            with Path(file).open("rb") as stream:
                content = stream.read(MOST_BYTES + 1)
    except OSError as exc:
        raise UsageError(f"{file} cannot be read: {exc.strerror or exc}") from None
    if len(content) > MOST_BYTES:
        raise UsageError(f"{file} is larger than {MOST_BYTES >> 20} MiB: split it")
    try:
        text, note = userfile.decoded(content, encoding)
    except InvalidValue as exc:
        raise UsageError(f"{file}: {exc}") from None
    people = userfile.read(text, current.workspace.types.user, delimiter)
    people.notes += [f"{file} is {note}"] if note else []
    return people


def _edits(current: Session, people: userfile.People, why: str, invite: bool) -> tuple[list[str], Spool[ChangeGroup]]:
    """The ids of everybody in the file, and what is to be changed."""
    ids: list[str] = []
    edits: Spool[ChangeGroup] = Spool()
    with current.database.reading() as conn:
        made = imports.Import(
            conn, current.workspace, current.actor, people, current.now(), current.app.ids, why, invite
        )
        for line in made.lines():
            ids.append(line.id)
            if line.edit is not None:
                edits.append((line.edit,))
    return ids, edits


def _run(
    current: Session, edits: Spool[ChangeGroup], again: Callable[[], Spool[ChangeGroup]], people: int, dry_run: bool
) -> Report:
    with steps() as progress:
        return run.imported(
            *(current.database, current.workspace, edits, again, people, current.actor, current.clock, current.app.ids),
            dry_run=dry_run,
            progress=progress,
        )


def _told(report: Report, as_json: bool, rows: int) -> None:
    if as_json:
        for piece in render.to_json(report):
            sys.stdout.write(piece.decode())
    else:
        show(render.for_people(report, rows))
    raise typer.Exit(report.exit_code)


def export(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="[FILE.csv]", help="Default: standard output.")] = "-",
    where: Annotated[str | None, typer.Option("--filter", help='SCIM filter, such as title co "lead".')] = None,
) -> None:
    """Users as CSV, which `syncd import` reads; a cell that a spreadsheet would compute begins with an apostrophe."""
    current = session(ctx)
    condition = parse_filter(where, current.workspace.types.user) if where else None

    def pieces() -> Iterator[str]:
        after = None
        while True:
            with current.database.reading() as conn:
                text, after = userexport.piece(conn, current.workspace, condition, after, current.now())
            yield text
            if after is None:
                return

    if file == "-":
        sys.stdout.writelines(pieces())
        return
    try:
        with Path(file).open("x", encoding="utf-8-sig", newline="") as stream:
            stream.writelines(pieces())
    except FileExistsError:
        raise UsageError(f"{file} is there already: name another file") from None
    except OSError as exc:
        raise UsageError(f"{file} cannot be written: {exc.strerror or exc}") from None
