"""The Containerfiles by their linter, and by what an operator relies on: not root, no secret, only hashed wheels."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from deploy.files import CONTAINERFILE, DEPLOY, ROOT, image, instructions

ALL = sorted(DEPLOY.rglob("Containerfile"))


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.parent.name)
def test_hadolint_finds_nothing(path: Path) -> None:
    ran = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), path], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout) == (0, "")


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.parent.name)
def test_an_image_runs_as_a_number_says_how_it_is_and_how_it_ends(path: Path) -> None:
    of = image(path)
    assert re.fullmatch(r"[1-9]\d{4}:[1-9]\d{4}", of.user)
    assert of.entrypoint and of.healthcheck and of.stop_signal == "SIGTERM"
    for _, text in instructions(path):
        assert not re.search(r"password|secret|token", text, re.IGNORECASE)
        assert not re.search(r"\bcurl\b|\bwget\b|\badd http", text, re.IGNORECASE)


def test_the_entry_point_is_the_command_that_the_wheel_installs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    of = image()
    assert Path(of.entrypoint[0]).name in project["scripts"]
    assert of.env["PATH"].split(":")[0] == str(Path(of.entrypoint[0]).parent)
    tagged = re.findall(r"syncd:(\d\S*) \.", CONTAINERFILE.read_text(encoding="utf-8"))
    assert set(tagged) == {version("syncd")} == {project["version"]}


def test_every_pip_install_is_of_hashed_wheels_or_of_our_own_wheel() -> None:
    installs = [
        line
        for name, text in instructions(CONTAINERFILE)
        if name == "RUN"
        for line in re.findall(r"pip install [^&]*", text)
    ]
    assert len(installs) == 3
    for line in installs:
        assert "--no-deps --require-hashes --only-binary :all:" in line or "--no-deps --no-index" in line


def locked(name: str) -> dict[str, str]:
    """Package -> its block in a lock."""
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    blocks = re.findall(r"^([a-z0-9.-]+)(==.*?)(?=^[a-z]|\Z)", text, re.MULTILINE | re.DOTALL)
    return {name: rest for name, rest in blocks}


@pytest.mark.parametrize("lock", ["run.lock", "dev.lock"])
def test_every_package_of_a_lock_has_a_version_and_hashes_and_no_address(lock: str) -> None:
    text = (ROOT / "requirements" / lock).read_text(encoding="utf-8")
    packages = locked(lock)
    assert len(packages) == len(re.findall(r"^[^\s#]", text, re.MULTILINE)) > 20
    for name, block in packages.items():
        assert re.match(r"==\S+", block) and "--hash=sha256:" in block, name
    assert not re.search(r"--index-url|--find-links|https?://", re.sub(r"#.*", "", text))


def test_what_builds_our_wheel_is_all_of_what_hatchling_needs() -> None:
    """The awk line takes hatchling and what the lock says it came for; one more there must be named here too."""
    named = re.search(r"\^\(([a-z|-]+)\)==", CONTAINERFILE.read_text(encoding="utf-8"))
    assert named
    needed, found = set(), {"hatchling"}
    packages = locked("dev.lock")
    while found - needed:
        needed |= found
        found = {name for name, block in packages.items() if needed & set(re.findall(r"(?:# via|#  ) +(\S+)", block))}
    assert set(named[1].split("|")) == needed


def test_only_what_the_images_copy_is_sent_to_the_engine() -> None:
    ignored = (ROOT / ".containerignore").read_text(encoding="utf-8")
    assert ignored == (ROOT / ".dockerignore").read_text(encoding="utf-8")
    lines = [line for line in ignored.splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    sent = [line[1:] for line in lines if line.startswith("!")]
    for path in ALL:
        for name, text in instructions(path):
            if name == "COPY" and not text.startswith("--from"):
                for source in text.split()[:-1]:
                    assert (ROOT / source).exists()
                    assert any(_sent(source, each) for each in sent), source


def _sent(source: str, pattern: str) -> bool:
    return source == pattern or Path(source).match(pattern) or source.startswith(f"{pattern}/")
