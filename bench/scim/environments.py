"""Where the peers are installed: environments of their own under var/, made anew when their locks change."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "bench" / "peers"
LOCK = ROOT / "requirements" / "peers.lock"
INSTALLED = ROOT / "var" / "bench" / "peers"


def needed(programs: tuple[str, ...]) -> None:
    """Ends the program with the names of those that are not on PATH."""
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        raise SystemExit(f"missing: {', '.join(missing)} (on Debian: apt-get install wrk nodejs npm postgresql)")


def python() -> Path:
    """The interpreter of the environment with the Python peers."""
    place = INSTALLED / "python"
    found = place / "bin" / "python"
    if _changed(place, LOCK):
        subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
        pip: list[str | Path] = [
            found,
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            "--quiet",
            "--no-deps",
            "--require-hashes",
        ]
        subprocess.run([*pip, "-r", LOCK], check=True)
        _installed(place, LOCK)
    return found


def node() -> Path:
    """A folder with the peer on Node and its modules: what it imports is looked for beside it."""
    place, manifest = INSTALLED / "node", PEERS / "package.json"
    if _changed(place, manifest):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        shutil.copy(manifest, place)
        npm = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"]
        subprocess.run(npm, cwd=place, check=True)
        _installed(place, manifest)
    shutil.copy(PEERS / "scimmy.mjs", place)
    return place


def versions() -> dict[str, str]:
    """Of the peers, as installed."""
    listed = subprocess.run(
        [python(), "-m", "pip", "list", "--disable-pip-version-check", "--format=json"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    wanted = ("scim2-server", "scim2-models", "django", "django-scim2", "gunicorn", "uvicorn")
    found = {each["name"].lower(): each["version"] for each in json.loads(listed.stdout)}
    modules: dict[str, str] = json.loads((PEERS / "package.json").read_text(encoding="utf-8"))["dependencies"]
    return {name: found[name] for name in wanted} | modules


def _changed(place: Path, lock: Path) -> bool:
    stamp = place / ".installed-from"
    return not stamp.exists() or stamp.read_text() != _digest(lock)


def _installed(place: Path, lock: Path) -> None:
    (place / ".installed-from").write_text(_digest(lock))


def _digest(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes()).hexdigest() + sys.version
