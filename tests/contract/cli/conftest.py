"""The command line run in this process, on each engine, in a folder and an environment of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from command_line import CONFIG, Cli, Ran
from syncd import sample
from syncd.cli import main


@pytest.fixture(autouse=True)
def no_width_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables fit COLUMNS, which pytest's workers set."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[str], Cli]:
    """The command line over the database of an address."""

    def run(*argv: str) -> Ran:
        capsys.readouterr()
        code = main(argv)
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    def configured(url: str) -> Cli:
        (tmp_path / "syncd.yaml").write_text(CONFIG, encoding="utf-8")
        monkeypatch.setenv("SYNCD_CONFIG", str(tmp_path / "syncd.yaml"))
        monkeypatch.setenv("SYNCD_DATABASE", url)
        return Cli(tmp_path, run)

    return configured


@pytest.fixture
def bare(on: Callable[[str], Cli], new_database_url: str) -> Cli:
    """Without a database yet."""
    return on(new_database_url)


@pytest.fixture
def cli(on: Callable[[str], Cli], database_url: str) -> Cli:
    return on(database_url)


@pytest.fixture
def company() -> sample.Company:
    return sample.company(60, 20, 7)


@pytest.fixture
def synced(cli: Cli, company: sample.Company) -> Cli:
    """The sample company is in the store."""
    cli.directory(company)
    cli("sync", "corp")
    return cli


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Stop the clock of the commands that follow."""

    def stop(moment: str) -> None:
        monkeypatch.setenv("SYNCD_TESTING", "1")
        monkeypatch.setenv("SYNCD_TESTING_NOW", moment)

    return stop
