"""`syncd activity` and `sample`: the record exported, and a made-up company."""

from __future__ import annotations

import csv
import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from syncd import sample as samples
from syncd.cli.session import json_line, moment, session, when
from syncd.reconcile.render import plain, short
from syncd.store import listing

FIELDS = ("at", "actor", "door", "action", "subject", "before", "after", "why", "source", "run", "subject_id", "id")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would compute


class Format(StrEnum):
    TABLE = "table"
    CSV = "csv"
    JSONL = "jsonl"


def register(cli: typer.Typer) -> None:
    cli.command()(activity)
    cli.command()(sample)


def activity(
    ctx: typer.Context,
    since: Annotated[str | None, typer.Option(help="24h, 7d, or a date. Default: from the beginning.")] = None,
    form: Annotated[Format, typer.Option("--format", help="For reading, for a spreadsheet, or for a program.")] = (
        Format.TABLE
    ),
) -> None:
    """The record, oldest first: who changed what, from what, to what, why."""
    current = session(ctx)
    start = moment(since, current.now(), ahead=False) if since else None
    with current.database.reading() as conn:
        rows = listing.activity(conn, current.workspace.name, start)
        match form:
            case Format.JSONL:
                for row in rows:
                    sys.stdout.write(json_line({name: row[name] for name in FIELDS}) + "\n")
            case Format.CSV:
                writer = csv.writer(sys.stdout, lineterminator="\n")
                writer.writerow(FIELDS)
                for row in rows:
                    writer.writerow([_csv(row[name]) for name in FIELDS])
            case Format.TABLE:
                for row in rows:
                    sys.stdout.write(_line(row) + "\n")


def _csv(value: Any) -> str:
    if value is None:
        return ""
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    text = value if isinstance(value, str) else json_line(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _line(row: dict[str, Any]) -> str:
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
    return plain(f"{what}  {moved}  {row['why']}".rstrip())


def sample(
    users: Annotated[int, typer.Option(min=1, help="How many people.")] = 500,
    groups: Annotated[int, typer.Option(min=0, help="How many groups.")] = 40,
    seed: Annotated[int, typer.Option(help="The same numbers give the same company.")] = 1,
    monday: Annotated[bool, typer.Option("--monday", help="The same company after a weekend.")] = False,
) -> None:
    """A made-up company as LDIF on stdout: names, nesting and oddities that real directories have."""
    company = samples.company(users, groups, seed)
    sys.stdout.writelines(samples.ldif(samples.monday(company) if monday else company))
