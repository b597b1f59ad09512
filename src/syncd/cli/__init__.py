"""The command line: `syncd COMMAND`. One main, one place where an error becomes a line and an exit code.

    main -> hoist global options -> typer -> commands.py -> a command -> session.py (configuration, database, the door)
         -> tables or JSON

What a command works with is loaded when it is called, not before: `syncd --help` needs no database library.

Exit codes (people script against them): 78 wrong configuration, 75 source unreachable, 4 held by a guard, 5 incomplete
read, 3 changes pending, 2 wrong usage, 1 anything else, 0 clean or applied; 130 after Ctrl-C.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from syncd.cli.commands import Commands
from syncd.errors import SyncdError

__all__ = ["cli", "main"]

GLOBAL = ("--config", "--workspace")
EPILOG = "--config FILE and --workspace NAME may stand before or after any command. SYNCD_CONFIG, SYNCD_DATABASE and \
SYNCD_BIND come before the file."

cli = typer.Typer(
    name="syncd",
    cls=Commands,
    help="Keeps an application's users, groups, roles and seats in step with its customers' directories.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # its tracebacks show local values, and those may be secrets
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version as installed  # noqa: PLC0415 - takes longer than all of --help

        print(f"syncd {installed('syncd')}")
        raise typer.Exit


@cli.callback()
def opening(
    ctx: typer.Context,
    config: Annotated[Path | None, typer.Option(help="Default: $SYNCD_CONFIG, then config/syncd.yaml.")] = None,
    workspace: Annotated[str, typer.Option(help="One customer's users, groups, tokens and runs.")] = "default",
    version: Annotated[bool, typer.Option("--version", is_eager=True, callback=_version)] = False,
) -> None:
    from syncd import logs  # noqa: PLC0415 - not for --help
    from syncd.cli.session import Session  # noqa: PLC0415 - the same

    logs.configure(level="error")  # a command prints its own results
    current = Session(config, workspace, os.environ)
    ctx.obj = current
    ctx.call_on_close(current.close)


def hoist(argv: Sequence[str]) -> list[str]:
    """Global options to the front, wherever they stand: `syncd plan corp --config F` is `syncd --config F plan corp`."""
    front: list[str] = []
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word in GLOBAL:
            front += [word, *([value] if (value := next(words, None)) is not None else [])]
        elif word.startswith(tuple(f"{name}=" for name in GLOBAL)):
            front.append(word)
        else:
            rest.append(word)
    return front + rest


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. SyncdError is told, anything else is a bug and shows its traceback."""
    try:
        result = cli(args=hoist(sys.argv[1:] if argv is None else argv), prog_name="syncd", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except SyncdError as exc:
        if isinstance(exc.__cause__, BrokenPipeError):  # stdout was closed while the database was being read
            return _nobody_reads()
        _tell(str(exc))
        return exc.exit_code
    except typer.TyperException as exc:  # wrong usage
        shown = getattr(exc, "show", None)
        if shown is not None:
            shown()  # with the command's usage line
        else:
            _tell(str(exc))
        return 2
    except typer.Abort:
        _tell("nothing was done")
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return _nobody_reads()


def _nobody_reads() -> int:
    """Whoever read our output went away (`syncd activity | head`); Python would complain once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def _tell(message: str) -> None:
    from syncd.reconcile.render import plain  # noqa: PLC0415 - only where something went wrong

    lines = [plain(line) for line in message.splitlines()] or [""]
    print(f"syncd: {lines[0]}", *lines[1:], sep="\n", file=sys.stderr)
