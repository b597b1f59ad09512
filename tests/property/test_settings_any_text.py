"""Whatever stands in the file, the answer is settings or a report with places: never another error."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from syncd.deliver import signing
from syncd.errors import ConfigError
from syncd.settings import load

CONFIG = Path(__file__).parent.parent.parent / "config"
EXAMPLE = (CONFIG / "syncd.example.yaml").read_text(encoding="utf-8")
ENV = {"CORP_PASSWORD": "hunter2", "HOOK_SECRET": signing.written(b"hook" * 8)}
ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-9, 9), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=8),
    st.sampled_from(["ldap", "scim", "never", "1d", "5%", "unlimited", "userName pr", "[]", "0 3 * * *", "default"]),
    st.just([]), st.just({}), st.just([None]), st.just({"kind": "ldap"}), st.just([{"name": "a"}]), st.just({"": None}),
)  # fmt: skip


def paths(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of everything in the tree, the root included."""
    inside = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(deeper for key, value in inside for deeper in paths(value, (*path, key)))]


def replaced(node: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = dict(node) if isinstance(node, dict) else list(node)
    copy[path[0]] = replaced(copy[path[0]], path[1:], value)
    return copy


TREE = yaml.safe_load(EXAMPLE)
PATHS = paths(TREE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("config")
    shutil.copytree(CONFIG / "schemas", folder / "schemas")
    return folder


def check(text: str, folder: Path) -> None:
    path = folder / "syncd.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        load(path, ENV)
    except ConfigError as exc:
        report = str(exc)
        assert re.match(rf"{re.escape(str(path))}(:\d+:\d+)?  ", report), report
        assert "hunter2" not in report


@given(st.sampled_from(PATHS), ODD, st.data())
def test_any_value_anywhere(folder: Path, path: tuple[Any, ...], value: Any, data: st.DataObject) -> None:
    tree = replaced(TREE, path, value)
    if data.draw(st.booleans()):
        tree = replaced(tree, data.draw(st.sampled_from(paths(tree))), data.draw(ODD))
    check(yaml.safe_dump(tree), folder)


@given(st.integers(0, len(EXAMPLE)), st.integers(0, 40), st.text(alphabet=" \n\t:-[]{}#&*!|>'\"%@`a1", max_size=6))
def test_any_damage_to_the_text(folder: Path, start: int, length: int, inserted: str) -> None:
    check(EXAMPLE[:start] + inserted + EXAMPLE[start + length :], folder)


@given(st.text(max_size=60))
def test_any_text(folder: Path, text: str) -> None:
    check(text, folder)
