"""`syncd serve`, the daemon, and `syncd check`, what to run before it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from syncd import logs
from syncd.cli import checking
from syncd.cli.session import print_json, session, show
from syncd.cli.users import AsJson
from syncd.reconcile.render import fill, table
from syncd.settings import json_schema

_STYLES = {"ok": None, "warning": "yellow", "problem": "bold red"}


class Only(StrEnum):
    WEB = "web"
    WORKER = "worker"


def register(cli: typer.Typer) -> None:
    cli.command()(serve)
    cli.command()(check)


def serve(
    ctx: typer.Context,
    only: Annotated[Only | None, typer.Option(help="One half, where they run on different machines.")] = None,
) -> None:
    """The daemon: SCIM and the API on http.bind, and the worker that reads directories on their schedule."""
    from syncd import supervise  # noqa: PLC0415 - only the daemon loads a web server; other commands start faster

    app = session(ctx).app
    logs.configure(app.settings.log.level, app.settings.log.format, secrets=app.secrets)
    supervise.serve(app, only.value if only else None)


def check(
    ctx: typer.Context,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of the configuration.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at the configuration, the database and every source, and say what is wrong or doubtful."""
    if schema:
        print_json(json_schema())
        return
    findings = list(checking.check(session(ctx).app))
    if as_json:
        print_json([{"about": f.about, "level": f.level, "text": f.text, "exit_code": f.exit_code} for f in findings])
    else:
        shown = table("", "about", "what")
        for each in findings:
            fill(shown, [(each.level, each.about, each.text)], style=_STYLES[each.level])
        show(shown)
    raise typer.Exit(checking.worst(findings))
