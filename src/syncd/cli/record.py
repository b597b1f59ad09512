"""`syncd activity`: the record read, exported, and verified to be as it was written."""

from __future__ import annotations

import sys
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

from syncd.cli.session import Session, moment, print_json, say, session, when
from syncd.cli.users import AsJson
from syncd.core.export import csv_head, csv_line, json_line
from syncd.errors import NotFound, UsageError
from syncd.reconcile.render import plain, short
from syncd.store import activity, verification
from syncd.store.activity import Wanted
from syncd.store.describe import find_user
from syncd.store.verification import Verified

_SHOWN = 20  # faults told to people
_LATE_S = 3600

record = typer.Typer(help="The record, oldest first: who changed what, from what, to what, why.")


class Format(StrEnum):
    TABLE = "table"
    CSV = "csv"
    JSONL = "jsonl"


def register(cli: typer.Typer) -> None:
    cli.add_typer(record, name="activity")


@record.callback(invoke_without_command=True)
def show(
    ctx: typer.Context,
    since: Annotated[str | None, typer.Option(help="24h, 7d, or a date. Default: from the beginning.")] = None,
    until: Annotated[str | None, typer.Option(help="24h, 7d, or a date. Default: to the end.")] = None,
    user: Annotated[str | None, typer.Option(help="About this user, by id, userName or e-mail address.")] = None,
    actor: Annotated[str | None, typer.Option(help="By this person, token or program.")] = None,
    door: Annotated[str | None, typer.Option(help="scim, api, cli, run or timer.")] = None,
    kind: Annotated[str | None, typer.Option(help="Such as grant, suspend, refused or held.")] = None,
    source: Annotated[str | None, typer.Option(help="Stated by this source.")] = None,
    run: Annotated[str | None, typer.Option(help="Of this run.")] = None,
    form: Annotated[Format, typer.Option("--format", help="For reading, for a spreadsheet, or for a program.")] = (
        Format.TABLE
    ),
) -> None:
    if ctx.invoked_subcommand is not None:
        return
    current = session(ctx)
    start, end = (moment(text, current.now(), ahead=False) if text else None for text in (since, until))
    with current.database.reading() as conn:
        subject = None if user is None else _subject(conn, current, user)
        wanted = Wanted(subject, actor, door, kind, source, run, start, end)
        line = {Format.CSV: csv_line, Format.JSONL: json_line, Format.TABLE: _line}[form]
        if form is Format.CSV:
            sys.stdout.write(csv_head())
        for row in activity.rows(conn, current.workspace.name, wanted):
            sys.stdout.write(line(row))


def _subject(conn: Any, current: Session, user: str) -> str:
    """Her id; whoever was purged is known by her id alone."""
    for deleted in (False, True):
        try:
            return find_user(conn, current.workspace.name, user, deleted)
        except NotFound:
            continue
    return user


def _line(row: Any) -> str:
    match row["before"], row["after"]:
        case None, None:
            moved = ""
        case None, after:
            moved = short(after, 80)
        case before, None:
            moved = f"- {short(before, 80)}"
        case before, after:
            moved = f"{short(before, 40)} -> {short(after, 40)}"
    who = f"{row['door']}/{row['actor']}"
    what = f"{when(row['at'])}  {who:<20}  {row['action']:<12}  {row['subject']:<24}"
    return plain(f"{what}  {moved}  {row['why']}".rstrip()) + "\n"


@record.command()
def verify(
    ctx: typer.Context,
    head: Annotated[
        str | None, typer.Option(help="The hash that an earlier verification, or the worker's log, told.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Is every row as it was written, and none taken away? Exit 1: something is not, and is named."""
    current = session(ctx)
    known = _hash(head)
    with current.database.reading() as conn:
        found = verification.verify(conn, current.workspace.name, known)
    if as_json:
        print_json(_json(found))
    else:
        _tell(found, current.now())
    if found.faults:
        raise typer.Exit(1)


def _hash(text: str | None) -> bytes | None:
    try:
        known = None if text is None else bytes.fromhex(text)
    except ValueError:
        known = b""
    if known is not None and len(known) != 32:
        raise UsageError(f"--head {text!r} is no hash of a seal: it has 64 hexadecimal digits")
    return known


def _tell(found: Verified, now: datetime) -> None:
    for each in found.faults[:_SHOWN]:
        print(f"! {plain(each.told)}")
    if (more := len(found.faults) - _SHOWN + found.more) > 0:
        print(f"! and {more:,} more: --json")
    state = "NOT as it was written" if found.faults else "as it was written"
    print(f"the record is {state}: {found.rows:,} rows in {found.seals:,} seals, {found.unsealed:,} not sealed yet")
    if found.dropped:
        print(f"{found.dropped:,} older rows went by retention, as the record says")
    if found.erased:
        print(f"of {found.erased:,} rows the personal content was purged; that they are there is still proven")
    if found.late:
        print(f"{found.late:,} rows were sealed after later ones: slow transactions, or a clock that was behind")
    if found.of_0_2:
        print(f"of {found.of_0_2:,} rows written before release 0.3 subject and reason are not covered")
    if found.unsealed_since is not None and (now - found.unsealed_since).total_seconds() > _LATE_S:
        say(f"nothing was sealed since {when(found.unsealed_since)}: is a worker running? (`syncd status`)")
    if found.head is not None:
        print(f"head: {found.head.hex()} (note it elsewhere; `--head` asks for it again)")


def _json(found: Verified) -> dict[str, Any]:
    return {
        **{"intact": not found.faults, "rows": found.rows, "seals": found.seals, "unsealed": found.unsealed},
        **{"unsealed_since": found.unsealed_since, "dropped": found.dropped, "erased": found.erased},
        **{"late": found.late, "of_0_2": found.of_0_2, "head": found.head.hex() if found.head else None},
        "faults": [{"what": each.what, "row": each.row, "seal": each.seal, "told": each.told} for each in found.faults],
        "more": found.more,
    }
