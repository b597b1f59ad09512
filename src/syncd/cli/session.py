"""What every command shares: the configuration it runs under, how it prints, how it asks, how it goes through the door.

Results go to stdout, everything else (progress, questions, warnings) to stderr, so that `--json` can be piped. The
configuration and the database are opened when a command first needs them: `syncd sample` needs neither.
"""

from __future__ import annotations

import getpass
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson
import typer
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from syncd.app import DEFAULT_CONFIG, App, Clock, compose
from syncd.core.access import Role
from syncd.core.actor import Actor
from syncd.core.change import Edit
from syncd.core.plan import moved
from syncd.core.workspace import Workspace
from syncd.errors import UsageError
from syncd.reconcile import render
from syncd.store import describe, made_roles
from syncd.store.commit import Outcome, commit
from syncd.store.engine import Database
from syncd.store.plans import pool_use

PIPE_WIDTH = 200  # columns of a table when nobody looks at it on a terminal
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Session:
    """One invocation of the command line."""

    def __init__(self, config: Path | None, workspace: str, env: Mapping[str, str]) -> None:
        self.config = config or Path(env.get("SYNCD_CONFIG") or DEFAULT_CONFIG)
        self.workspace_name = workspace
        self.env = env
        self._database: Database | None = None

    @cached_property
    def app(self) -> App:
        return compose(self.config, self.env)

    @cached_property
    def workspace(self) -> Workspace:
        return self.app.workspace(self.workspace_name)

    @property
    def database(self) -> Database:
        """Raises DatabaseUnavailable if it does not exist or is behind its migrations; the workspace is checked first."""
        if self._database is None:
            _ = self.workspace
            self._database = self.app.database()
        return self._database

    @cached_property
    def roles(self) -> Mapping[str, Role]:
        """Every role by name, those made while syncd runs too."""
        with self.database.reading() as conn:
            return made_roles.known(conn, self.workspace)

    @cached_property
    def actor(self) -> Actor:
        return self.app.command_line(self.workspace.name, os_user())

    @cached_property
    def clock(self) -> Clock:
        """The one that all who share the database go by."""
        return self.app.clock_of(self.database)

    def now(self) -> datetime:
        return self.clock()

    def close(self) -> None:
        if self._database is not None:
            self._database.close()


def session(ctx: typer.Context) -> Session:
    found = ctx.find_root().obj
    assert isinstance(found, Session)
    return found


def os_user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container without an entry in passwd
        return f"uid {os.getuid()}"


# -- printing -----------------------------------------------------------------------------------------------------------


def console(stderr: bool = False) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else int(os.environ.get("COLUMNS") or PIPE_WIDTH)
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def show(*renderables: RenderableType) -> None:
    """On a terminal as it is; into a pipe or file without the blanks that fill a table's lines."""
    out = console()
    if out.is_terminal:
        out.print(*renderables, sep="\n")
        return
    with out.capture() as shown:
        out.print(*renderables, sep="\n")
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in shown.get().splitlines()))


def say(text: str) -> None:
    """A word on the side, for people."""
    print(f"syncd: {render.plain(text)}", file=sys.stderr)


def print_json(value: Any) -> None:
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z).decode() + "\n")


def json_line(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_UTC_Z).decode()


def show_rows(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    shown = render.table(*columns)
    render.fill(shown, ([cell(value) for value in row] for row in rows))
    if shown.row_count:
        show(shown)
    else:
        say(empty)


def cell(value: object) -> str:
    match value:
        case None:
            return ""
        case datetime():
            return when(value)
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case list() | tuple() | frozenset():
            return ", ".join(map(str, value))
    return str(value)


def when(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


# -- reading what was typed ------------------------------------------------------------------------------------------------


def duration(text: str) -> timedelta | None:
    found = re.fullmatch(r"([0-9]{1,6})([smhdw])", text)
    return timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else None


def moment(text: str, now: datetime, ahead: bool) -> datetime:
    """`24h` ago (or `ahead`), or an ISO date or instant; no zone means UTC. Raises UsageError."""
    span = duration(text)
    try:
        if span is not None:
            return now + span if ahead else now - span
        parsed = datetime.fromisoformat(text)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(f"{text!r} is neither a time such as 24h or 90d nor a date such as 2030-01-31") from None


# -- asking, and going through the door ----------------------------------------------------------------------------------------


def confirmed(question: str, yes: bool) -> None:
    """Ask before something is taken away, if somebody is there to answer; no is exit code 1."""
    if yes or not sys.stdin.isatty():
        return
    if not typer.confirm(question, err=True):
        say("nothing was done")
        raise typer.Exit(1)


Build = Callable[[describe.Conn], Sequence[Edit]]


def act(current: Session, build: Build, question: str | None = None, yes: bool = False) -> Outcome:
    """One command through the door: `build` reads and makes the edits in the transaction that applies them.

    With a `question`, whoever is at a terminal first sees what it comes to (the same decision, not applied): each change, seats
    and cost before -> after, and how many people lose what.
    """
    workspace, actor, ids = current.workspace, current.actor, current.app.ids
    database = current.database
    if question is not None and not yes and sys.stdin.isatty():
        with database.reading() as conn:
            preview = commit(conn, workspace, actor, build(conn), current.now(), ids, dry_run=True)
            pools = pool_use(conn, workspace)
        preview.check()
        parts = (render.changes_table(preview.changes), render.seats_table(pools, moved(pools, preview.changes)))
        if parts[0] is not None:
            console(stderr=True).print(*(part for part in parts if part is not None), sep="\n")
            confirmed(render.losses(preview.changes) + question, yes)
    outcome = database.write_now(lambda conn: commit(conn, workspace, actor, build(conn), current.now(), ids))
    return outcome.check()


def report(outcome: Outcome) -> None:
    shown = render.changes_table(outcome.changes)
    if shown is None:
        say("nothing to change")
    else:
        show(shown)


# -- progress -----------------------------------------------------------------------------------------------------------------


class Steps:
    """Progress of long work: a bar on a terminal, one line per finished step otherwise. Both on stderr."""

    def __init__(self, bar: Progress | None) -> None:
        self._bar = bar
        self._task: TaskID | None = None
        self._name = ""
        self._done = 0

    def step(self, name: str, done: int, total: int | None) -> None:
        if name != self._name:
            self.finish()
            self._name = name
            self._task = self._bar.add_task(name, total=total) if self._bar else None
        self._done = done
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total)

    def finish(self) -> None:
        if self._bar is None and self._name:
            print(f"{self._name}: {self._done:,}", file=sys.stderr, flush=True)
        elif self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done, total=self._done)
        self._name = ""


@contextmanager
def steps() -> Iterator[Steps]:
    screen = console(stderr=True)
    if not screen.is_terminal:
        lines = Steps(None)
        yield lines
        lines.finish()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True) as bar:
        yield Steps(bar)
