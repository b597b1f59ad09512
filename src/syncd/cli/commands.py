"""Every command: the module it is in, and its line in `syncd --help`. A module is loaded when one of its commands is called."""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

# The lines are not the commands' own docstrings, which would have to be loaded, and are longer than a terminal's line.
COMMANDS = MappingProxyType(
    {
        "serve": ("service", "The daemon: SCIM, the API, and the worker that reads directories"),
        "check": ("service", "Look at configuration, database and sources: is anything wrong?"),
        "status": ("standing", "How the workspace stands: what is wrong, sources, seats"),
        "plan": ("runs", "What a run would do; nothing is written"),
        "sync": ("runs", "Read a source and apply what it states"),
        "explain": ("users", "Why a user has every role, permission, scope and seat she has"),
        "activity": ("record", "The record: who changed what and why; export, verify"),
        "sample": ("admin", "A made-up company as LDIF on stdout"),
        "runs": ("runs", "Past runs, and what is held until somebody decides"),
        "adopt": ("adopting", "New entries that may be people who are known: whose are they?"),
        "user": ("users", "People: create, show, suspend, deactivate, delete, and back"),
        "import": ("importing", "Make and change users by a CSV file, with a plan first"),
        "group": ("groups", "Groups, their members, and what they give"),
        "seat": ("access", "Seats: used, limit, waiting; assign and release"),
        "role": ("access", "Roles: what they permit, who has them; grant and revoke"),
        "review": ("review", "Who has what, unused for how long; decided in a file"),
        "token": ("tokens", "Tokens: create, list, show, rotate, revoke"),
        "deliveries": ("deliveries", "What the application has not acknowledged yet"),
        "invitation": ("invitations", "People asked in by mail: create, resend, correct, cancel"),
        "mail": ("mail", "Letters that wait, were sent or refused; test the mail server"),
        "db": ("database", "The database: migrations, state, a copy"),
    }
)


class Commands(TyperGroup):
    """The top of the command line."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in COMMANDS and cmd_name not in self.commands:
            self.commands.update(commands_of(COMMANDS[cmd_name][0]))
        return self.commands.get(cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        lines: dict[str, Any] = {name: TyperCommand(name, help=line) for name, (_, line) in COMMANDS.items()}
        TyperGroup(commands=lines).format_commands(ctx, formatter)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in COMMANDS:  # perhaps one of them was meant
            for name in COMMANDS:
                self.get_command(ctx, name)
        return super().resolve_command(ctx, args)


def commands_of(module: str) -> dict[str, Any]:
    """What a module of this package adds to the top, by name."""
    part = typer.Typer(rich_markup_mode=None)
    import_module(f"syncd.cli.{module}").register(part)
    return dict(typer.main.get_group(part).commands)
