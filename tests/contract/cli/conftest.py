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
def bare(
    tmp_path: Path, new_database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Cli:
    """Without a database yet."""
    (tmp_path / "syncd.yaml").write_text(CONFIG, encoding="utf-8")
    monkeypatch.setenv("SYNCD_CONFIG", str(tmp_path / "syncd.yaml"))
    monkeypatch.setenv("SYNCD_DATABASE", new_database_url)

    def run(*argv: str) -> Ran:
        capsys.readouterr()
        code = main(argv)
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return Cli(tmp_path, run)


@pytest.fixture
def cli(bare: Cli) -> Cli:
    bare("db", "upgrade")
    return bare


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
