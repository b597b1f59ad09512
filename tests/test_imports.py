"""Imports point one way: the contracts are in pyproject.toml, import-linter judges them. Every module has its room."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parent.parent


def test_every_import_contract_is_kept() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache", "--config", "pyproject.toml"]
    verdict = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr


def test_every_module_has_its_place_among_the_rooms_of_the_architecture() -> None:
    text = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = set(re.findall(r"\w+", text.partition("## The rooms")[2].partition("Imports point one way")[0]))
    source = PROJECT / "src" / "syncd"
    migrations = source / "store" / "migrations" / "versions"
    modules = [each for each in sorted(source.rglob("*.py")) if migrations not in each.parents]
    missing = [each for each in modules if each.name != "__init__.py" and each.stem not in rooms]
    assert [str(each.relative_to(PROJECT)) for each in missing] == [], "name them in docs/architecture.md, The rooms"


def test_what_the_architecture_names_in_a_file_or_among_the_tests_is_there() -> None:
    text = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w/]+\.py): ([\w.]+)`", text)
    assert len(named) > 10, "else nothing is looked at"
    for file, name in named:
        (found,) = (PROJECT / "src" / "syncd").rglob(file)
        assert re.search(rf"\b{name.rpartition('.')[2]}\b", found.read_text(encoding="utf-8")), f"{file}: {name}"
    assert [each for each in re.findall(r"`(tests/[\w/]+(?:\.py)?)`", text) if not (PROJECT / each).exists()] == []
