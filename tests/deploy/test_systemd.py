"""The unit by systemd's own judges: what it means, how much it could do, and the user it runs as."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.files import DEPLOY, UNIT, all_of, unit
from syncd.supervise import GRACE_S

EXPOSURE = 20  # of 100; what is left is mostly that it may use the network


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}: apt-get install systemd")
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine with systemd's units, ours, and what it starts."""
    analyze = program("systemd-analyze")
    assert analyze
    shutil.copytree("/usr/lib/systemd/system", tmp_path / "usr/lib/systemd/system", symlinks=True)
    for command in (all_of("ExecStart")[0], *all_of("ExecReload")):
        path = tmp_path / shlex.split(command)[0].lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n", encoding="utf-8")
        path.chmod(0o755)
    return tmp_path


def verified(root: Path, text: str) -> str:
    where = root / "etc/systemd/system/syncd.service"
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_text(text, encoding="utf-8")
    command = [program("systemd-analyze"), "verify", f"--root={root}", "--man=no", "syncd.service"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return ran.stdout + ran.stderr


def test_systemd_understands_every_line(root: Path) -> None:
    text = UNIT.read_text(encoding="utf-8")
    assert verified(root, text) == ""
    assert "Unknown key" in verified(root, text.replace("RestartSec=", "RestartSeconds="))  # the judge judges


def test_it_may_do_little() -> None:
    command = [program("systemd-analyze"), "security", "--offline=true", f"--threshold={EXPOSURE}", str(UNIT)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout


def test_its_user_can_be_made(tmp_path: Path) -> None:
    wanted = tmp_path / "usr/lib/sysusers.d/syncd.conf"
    wanted.parent.mkdir(parents=True)
    shutil.copy(DEPLOY / "systemd/syncd.sysusers", wanted)
    (tmp_path / "etc").mkdir()
    ran = subprocess.run(
        [program("systemd-sysusers"), f"--root={tmp_path}", "syncd.conf"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    user = (tmp_path / "etc/passwd").read_text(encoding="utf-8").split(":")
    assert user[0] == unit()["Service"]["User"] and user[5] == unit()["Service"]["WorkingDirectory"]


def test_it_is_given_the_time_that_it_takes_to_end() -> None:
    assert float(unit()["Service"]["TimeoutStopSec"]) > max(30, GRACE_S)
