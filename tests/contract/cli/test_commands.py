"""The top of the command line: its list names every command there is, and loads only the one that is called."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict

from syncd.cli.commands import COMMANDS, commands_of

# What a command loads is what its user waits for.
HEAVY = ("alembic", "cryptography", "httpx", "ldap3", "sqlalchemy.ext.asyncio", "starlette", "uvicorn")


def loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sys.modules, sep='\\n')"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_the_list_names_every_command_and_fits_a_terminal() -> None:
    listed = defaultdict(set)
    for name, (module, line) in COMMANDS.items():
        listed[module].add(name)
        assert len(line) <= 64, line
    assert {module: set(commands_of(module)) for module in listed} == listed


def test_help_loads_no_command() -> None:
    loaded = loaded_by("from syncd.cli import main\nmain(['--help'])")
    assert "syncd.cli.commands" in loaded
    assert not loaded & {"sqlalchemy", "pydantic", "structlog", *HEAVY}


def test_a_command_loads_what_it_needs() -> None:
    loaded = loaded_by("from syncd.cli import main\nmain(['user', 'show', '--help'])")
    assert {"syncd.cli.users", "sqlalchemy"} <= loaded
    assert not loaded & set(HEAVY), loaded & set(HEAVY)
