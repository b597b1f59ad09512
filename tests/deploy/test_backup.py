"""The commands of docs/operations.md for backup, restore and moving, run as they stand there, on both databases."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, select

import postgres_server
from deploy.document import OPERATIONS
from postgres_server import Postgres
from syncd.cli import main
from syncd.sample import sample_company
from syncd.store import tables as t

CONFIG = """\
database: {database}
seats: {{crm: {{limit: 2}}}}
sources:
  corp: {{kind: ldif, path: corp.ldif, may_grant: [member]}}
rules:
  - {{name: all, when: userName pr, roles: [member], seats: [crm]}}
"""
Shell = Callable[[str], str]


class Place:
    """A machine with a configuration, `syncd` on its path, and a `systemctl` that only remembers what it was told."""

    def __init__(self, folder: Path, database: str, **env: str) -> None:
        self.folder, self.database = folder, database
        self.state, self.backup, self.programs = folder / "state", folder / "backup", folder / "bin"
        for each in (self.state, self.backup, self.programs):
            each.mkdir()
        self.told = folder / "told"
        self._program("systemctl", f'echo "$@" >>{self.told}')
        self._program("syncd", f'exec {sys.executable} -m syncd "$@"')
        (folder / "syncd.yaml").write_text(CONFIG.format(database=database), encoding="utf-8")
        path = f"{self.programs}:{env.pop('PATH_BEFORE', '')}:{os.environ['PATH']}"
        own = {"BACKUP": str(self.backup), "STATE": str(self.state), "SYNCD_CONFIG": str(folder / "syncd.yaml")}
        self.env = {**os.environ, **own, "DATABASE": database, "PATH": path, **env}
        self.env.pop("SYNCD_DATABASE", None)

    def _program(self, name: str, line: str) -> None:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        path.chmod(0o755)

    def type(self, commands: str) -> str:
        ran = subprocess.run(
            ["sh", "-eu"], input=commands, cwd=self.folder, env=self.env, text=True, capture_output=True, check=False
        )
        assert ran.returncode == 0, (commands, ran)
        return ran.stdout

    def fill(self) -> None:
        """Rows that people and directories make."""
        (self.folder / "corp.ldif").write_text("".join(sample_company(20, 5, seed=5)), encoding="utf-8")
        for line in ("db upgrade", "sync corp", "user create root --role owner", "token create --name okta"):
            self.does(line, self.database)

    def go_on(self) -> None:
        """What is lost when a backup is restored."""
        self.does("user create after-the-backup", self.database)

    def does(self, line: str, database: str) -> None:
        """A command that is not in the document, here in this process, since each start of one takes its time."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SYNCD_DATABASE", database)
            assert main([*line.split(), "--config", str(self.folder / "syncd.yaml")]) == 0, line


def rows(database: str) -> dict[str, list[str]]:
    """Everything in it, by table."""
    url = database.replace("postgresql://", "postgresql+psycopg://")
    engine = create_engine(url)
    with closing(engine.connect()) as conn:
        found = {
            table.name: sorted(repr([_alike(value) for value in row]) for row in conn.execute(select(table)))
            for table in t.metadata.sorted_tables
        }
    engine.dispose()
    return found


def _alike(value: Any) -> Any:
    """PostgreSQL keeps the keys of an object in an order of its own."""
    return json.dumps(value, sort_keys=True) if isinstance(value, dict) else value


def test_sqlite_is_backed_up_and_restored(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'state' / 'syncd.db'}"
    place = Place(tmp_path, database)
    place.fill()
    before = rows(database)
    place.type(OPERATIONS.tried("sqlite backup"))
    place.go_on()
    changed = rows(database)
    assert changed["users"] != before["users"]

    place.type(OPERATIONS.tried("sqlite verify"))
    place.type(OPERATIONS.tried("sqlite restore"))
    assert rows(database) == before
    assert place.told.read_text(encoding="utf-8").splitlines() == ["stop syncd", "start syncd"]
    aside = rows(f"sqlite:///{place.state / 'before-restore' / 'syncd.db'}")
    assert aside == changed  # nothing is thrown away, not even what was wrong
    assert place.state.stat().st_uid == (place.state / "syncd.db").stat().st_uid
    place.does("plan corp", database)  # exit code 0: nothing is to be done


@pytest.fixture
def place(tmp_path: Path, postgres: Postgres, postgres_url: str) -> Any:
    """On PostgreSQL; `RESTORED` names a database that does not exist yet."""
    restored = f"{postgres_url}_restored"
    yield Place(tmp_path, postgres_url, RESTORED=restored, PATH_BEFORE=str(postgres_server.programs()))
    postgres.drop(restored)


def test_postgresql_is_backed_up_and_restored(place: Place) -> None:
    place.fill()
    before = rows(place.database)
    place.type(OPERATIONS.tried("postgresql backup"))
    place.go_on()
    changed = rows(place.database)
    assert changed["users"] != before["users"]

    place.type(OPERATIONS.tried("postgresql restore"))
    assert rows(place.env["RESTORED"]) == before
    assert rows(place.database) == changed
    place.does("plan corp", place.env["RESTORED"])


def test_everything_moves_from_sqlite_to_postgresql(tmp_path: Path, postgres: Postgres) -> None:
    target = postgres.fresh()
    database = f"sqlite:///{tmp_path / 'state' / 'syncd.db'}"
    place = Place(tmp_path, database, RESTORED=target)
    try:
        place.fill()
        place.type(OPERATIONS.tried("move"))
        old, new = rows(database), rows(target)
        assert new == old
        place.does("plan corp", target)
        place.does("user create newcomer", target)  # what counts went along: new rows find their place
    finally:
        postgres.drop(target)
