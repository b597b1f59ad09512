"""What `syncd mail` and `syncd deliveries` share: a list of what is to be sent, one of it shown, or sent now."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, TypeVar

import typer

from syncd.app import no_such
from syncd.cli.session import cell, json_line, print_json, session, show
from syncd.errors import UsageError
from syncd.reconcile import render
from syncd.store.deliveries import Delivery
from syncd.store.describe import Conn
from syncd.store.mails import Mail

AsLines = Annotated[bool, typer.Option("--json", help="One object per line.")]
Row = TypeVar("Row", Mail, Delivery)


def state_of(given: str, states: Sequence[str]) -> str | None:
    """None for `all`. Raises UsageError."""
    if given not in (*states, "all"):
        raise UsageError(no_such("state", given, (*states, "all"), f"one of {', '.join(states)}, all"))
    return None if given == "all" else given


def print_lines(rows: Iterable[Mail | Delivery]) -> None:
    for each in rows:
        sys.stdout.write(json_line(asdict(each)) + "\n")


def show_one(ctx: typer.Context, find: Callable[[Conn, str, str], Row], id: str, as_json: bool) -> None:
    """Raises NotFound."""
    current = session(ctx)
    with current.database.reading() as conn:
        _shown(find(conn, current.workspace.name, id), as_json)


def send_now(ctx: typer.Context, retry: Callable[[Conn, str, str, datetime], Row], id: str, as_json: bool) -> None:
    """Raises NotFound, Conflict."""
    current = session(ctx)
    now, name = current.now(), current.workspace.name
    _shown(current.database.write_now(lambda conn: retry(conn, name, id, now)), as_json)


def _shown(found: Mail | Delivery, as_json: bool) -> None:
    told = asdict(found)
    if as_json:
        print_json(told)
        return
    shown = render.table("", "")
    render.fill(shown, ((name.replace("_", " "), cell(value)) for name, value in told.items() if value is not None))
    show(shown)
