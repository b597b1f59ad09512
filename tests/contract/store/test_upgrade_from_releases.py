"""A database of every earlier release, with rows of every kind, becomes this release's without losing a word of them."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, inspect

from syncd.app import compose
from syncd.cli import main
from syncd.store.engine import Database
from syncd.store.invariants import check
from syncd.store.migrate import upgrade

RELEASES = Path(__file__).parent / "releases"
Ask = Callable[..., str]


@pytest.fixture(params=sorted(folder.name for folder in RELEASES.iterdir() if folder.is_dir() and "." in folder.name))
def release(request: pytest.FixtureRequest) -> Path:
    return RELEASES / str(request.param)


@pytest.fixture
def old_database_url(release: Path, new_database_url: str) -> str:
    """A database as that release left it."""
    if new_database_url.startswith("sqlite:///"):
        with closing(sqlite3.connect(new_database_url.removeprefix("sqlite:///"))) as conn:
            conn.executescript((release / "sqlite.sql").read_text(encoding="utf-8"))
    else:
        with psycopg.connect(new_database_url) as connection:
            connection.execute((release / "postgresql.sql").read_bytes())
    return new_database_url


@pytest.fixture
def ask(
    release: Path,
    old_database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Ask:
    """Runs a command on the old database with the configuration and the directory of its time; returns its output."""
    for name in ("syncd.yaml", "corp.ldif"):
        shutil.copy(release / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNCD_CONFIG", "syncd.yaml")
    monkeypatch.setenv("SYNCD_DATABASE", old_database_url)
    monkeypatch.setenv("SYNCD_TESTING", "1")
    monkeypatch.setenv("SYNCD_TESTING_NOW", "2026-09-05T12:00")

    def run(line: str, *codes: int) -> str:
        capsys.readouterr()
        code = main(line.split())
        out, err = capsys.readouterr()
        assert code in (codes or (0,)), (line, code, out, err)
        return out.strip()

    return run


def test_it_is_refused_until_upgraded_and_then_says_what_it_said(ask: Ask, release: Path, database: Database) -> None:
    ask("user list", 1)
    ask("db upgrade")
    said = json.loads((release / "said.json").read_text(encoding="utf-8"))[database.dialect]
    for line, answer in said.items():
        assert contains(values(ask(line)), values(answer)), line


def test_its_tables_are_those_of_a_fresh_database(database: Database, fresh: Database) -> None:
    upgrade(database)
    assert tables(database.engine) == tables(fresh.engine)


def test_its_rows_keep_every_invariant_and_a_run_goes_on_from_them(
    ask: Ask, database: Database, tmp_path: Path
) -> None:
    ask("db upgrade")
    app = compose(tmp_path / "syncd.yaml", {"SYNCD_DATABASE": database.url})
    held = [each["digest"] for each in json.loads(ask("runs list --json"))["held"]]
    assert held, "the old release left something to decide"

    def sound() -> None:
        with database.reading() as conn:
            for workspace in app.workspaces.values():
                assert check(conn, workspace, app.clock()) == []

    sound()
    report = json.loads(ask("sync corp --json"))
    assert report["complete"] and report["status"] == "applied"
    assert report["counts"]["reactivate"] + report["counts"]["unsuspend"] + report["counts"]["update"] > 0
    assert json.loads(ask("sync corp --json"))["status"] == "clean"
    assert json.loads(ask("runs list --json"))["held"] == []  # those whom it would have taken away are back
    sound()


@pytest.fixture
def database(old_database_url: str) -> Any:
    with closing(Database(old_database_url)) as opened:
        yield opened


@pytest.fixture
def fresh(request: pytest.FixtureRequest, database: Database, tmp_path: Path) -> Any:
    embedded = database.dialect == "sqlite"
    url = f"sqlite:///{tmp_path / 'fresh.db'}" if embedded else request.getfixturevalue("postgres_url")
    with closing(Database(url, create=True)) as made:
        upgrade(made)
        yield made


def values(text: str) -> Any:
    """One JSON value, or one a line: rows of the record, by id. They come in the order of time, which here is not that of
    ids: those were made by the real clock."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return sorted((json.loads(line) for line in text.splitlines()), key=lambda row: str(row["id"]))


def contains(now: Any, before: Any) -> bool:
    """A later release may say more of a thing; it may not say less or otherwise."""
    match before:
        case dict():
            return isinstance(now, dict) and all(key in now and contains(now[key], before[key]) for key in before)
        case list():
            return isinstance(now, list) and len(now) == len(before) and all(map(contains, now, before))
    return bool(now == before)


def tables(engine: Engine) -> dict[str, Any]:
    """Columns, keys and indexes by table; a column that was added later may stand further behind."""
    seen = inspect(engine)
    return {
        table: {
            "columns": sorted(
                (each["name"], str(each["type"]), each["nullable"], each["default"]) for each in seen.get_columns(table)
            ),
            "key": seen.get_pk_constraint(table)["constrained_columns"],
            "foreign": sorted(map(repr, seen.get_foreign_keys(table))),
            "unique": sorted(map(repr, seen.get_unique_constraints(table))),
            "indexes": sorted(map(_index, seen.get_indexes(table))),
            "checks": sorted(map(repr, seen.get_check_constraints(table))),
        }
        for table in sorted(seen.get_table_names())
    }


def _index(found: Any) -> str:
    where = sorted((key, str(value)) for key, value in found["dialect_options"].items())
    return f"{found['name']} {found['column_names']} {found.get('expressions')} {found['unique']} {where}"
