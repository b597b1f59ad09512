"""Whether a command line is one of ours: parsed by the command line's own parser, and not run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer

from syncd.cli import cli, hoist


def parses(argv: Sequence[str]) -> None:
    """Raises click's UsageError, naming what is wrong, for a command, option or argument that does not exist."""
    command: Any = typer.main.get_command(cli)
    words = hoist(argv)
    context = command.make_context("syncd", list(words), resilient_parsing=False)
    while hasattr(command, "resolve_command"):
        words = [*context._protected_args, *context.args] if hasattr(context, "_protected_args") else context.args
        if not words and command.invoke_without_command:  # `syncd activity` does something itself
            return
        _, command, rest = command.resolve_command(context, words)
        context = command.make_context(command.name, rest, parent=context, resilient_parsing=False)
