"""What stands in deploy/, read by parsers that are not ours."""

from __future__ import annotations

import configparser
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CONTAINERFILE = DEPLOY / "container" / "Containerfile"
COMPOSE = DEPLOY / "compose.yaml"
UNIT = DEPLOY / "systemd" / "syncd.service"
KUBERNETES = DEPLOY / "kubernetes"


@dataclass(frozen=True)
class Image:
    """What the last stage of a Containerfile tells an engine."""

    entrypoint: list[str]
    cmd: list[str]
    env: dict[str, str]
    user: str
    healthcheck: list[str]
    stop_signal: str
    workdir: str

    @property
    def uid(self) -> int:
        return int(self.user.split(":")[0])


def instructions(path: Path) -> list[tuple[str, str]]:
    parser = DockerfileParser(fileobj=path.open("rb"))
    return [(each["instruction"], each["value"]) for each in parser.structure if each["instruction"] != "COMMENT"]


def image(path: Path = CONTAINERFILE) -> Image:
    everything = instructions(path)
    last = max(number for number, (name, _) in enumerate(everything) if name == "FROM")
    stage = everything[last:]

    def value(name: str, default: str = "[]") -> str:
        return next((text for each, text in reversed(stage) if each == name), default)

    env = dict(pair.split("=", 1) for name, text in stage if name == "ENV" for pair in shlex.split(text))
    return Image(
        entrypoint=json.loads(value("ENTRYPOINT")),
        cmd=json.loads(value("CMD")),
        env=env,
        user=value("USER", ""),
        healthcheck=json.loads(value("HEALTHCHECK").partition("CMD ")[2] or "[]"),
        stop_signal=value("STOPSIGNAL", ""),
        workdir=value("WORKDIR", "/"),
    )


def compose() -> dict[str, Any]:
    loaded = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def unit() -> configparser.ConfigParser:
    # systemd repeats keys; the last one of each is enough here, and `all_of` gives the others.
    parser = configparser.ConfigParser(interpolation=None, strict=False, comment_prefixes=("#", ";"))
    parser.optionxform = str  # type: ignore[assignment]
    parser.read_string(UNIT.read_text(encoding="utf-8"))
    return parser


def all_of(key: str) -> list[str]:
    lines = UNIT.read_text(encoding="utf-8").splitlines()
    return [line.split("=", 1)[1] for line in lines if line.startswith(f"{key}=")]


def manifests() -> list[tuple[str, dict[str, Any]]]:
    """(file, object) of every manifest; kustomization.yaml is none."""
    found = []
    for path in sorted(KUBERNETES.glob("*.yaml")):
        if path.name != "kustomization.yaml":
            found += [(path.name, each) for each in yaml.safe_load_all(path.read_text(encoding="utf-8"))]
    return found


def secrets_of(service: dict[str, Any]) -> list[str]:
    return [each if isinstance(each, str) else each["source"] for each in service.get("secrets", ())]


def copied(path: Path) -> dict[str, Path]:
    """Path inside -> file of this tree, for every COPY of one file."""
    pairs = [text.split() for name, text in instructions(path) if name == "COPY" and not text.startswith("--")]
    return {pair[1]: ROOT / pair[0] for pair in pairs if len(pair) == 2}
