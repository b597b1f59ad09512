"""Each provider's lifecycle (`*/lifecycle*.json`) against `syncd serve` on a loopback port: one person and one group made,
found, changed, blocked, brought back and deleted, as that provider does it. What it took is counted for its connection.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import httpx
import pytest

import prepared
from syncd.app import App, compose
from syncd.core.actor import Actor
from syncd.scim import dialects
from syncd.store import tokens
from syncd.store.engine import Database
from syncd.store.invariants import check
from web_service import Service

from .conftest import TRANSCRIPTS, Stage

LIFECYCLES = [name for name in TRANSCRIPTS if "/lifecycle" in name]
CONFIG = """
database: sqlite:///syncd.db
http: {bind: "127.0.0.1:0"}
workspaces:
"""
WORKSPACE = """
  NAME:
    seats: {internal: {limit: 10}}
    sources: {PROVIDER: {kind: scim, policy: PROVIDER}}
    rules: [{name: everyone, when: 'source eq "PROVIDER"', seats: [internal]}]
"""
DEADLINE_S = 60
NOT_HERE = cast(Service, None)


def workspace_of(name: str) -> str:
    return re.sub(r"\W|_", "-", name)


def provider_of(name: str) -> str:
    return name.partition("/")[0]


@dataclass
class Served(Stage):
    """Requests go to the daemon, over a connection that is kept."""

    client: httpx.Client = field(kw_only=True)

    def send(
        self, method: str, path: str, content: bytes | None = None, headers: Any = MappingProxyType({})
    ) -> httpx.Response:
        given = {"Authorization": f"Bearer {self.token}", **self.headers, **headers}
        return self.client.request(method, f"/scim/v2{path}", headers=given, content=content)

    def ask(self, step: dict[str, Any]) -> tuple[Any, set[str]]:
        request = self.filled(step["request"])
        content = json.dumps(request["body"]).encode() if "body" in request else None
        found = self.send(request["method"], request["path"], content, request.get("headers", {}))
        return found, set(step.get("tolerances", ()))  # the process counts them, see below

    def sound(self) -> None:
        """Looked over when all have ended: the daemon's file is not opened for each step."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration with a workspace for each lifecycle, and an empty database."""
    folder = tmp_path_factory.mktemp("lifecycles")
    blocks = [WORKSPACE.replace("NAME", workspace_of(n)).replace("PROVIDER", provider_of(n)) for n in LIFECYCLES]
    (folder / "syncd.yaml").write_text(CONFIG + "".join(blocks), encoding="utf-8")
    prepared.write(folder / "syncd.db")
    return folder


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("SYNCD_")}
    command = [sys.executable, "-m", "syncd", "--config", str(folder / "syncd.yaml"), "serve", "--only", "web"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=env, stderr=log)
    try:
        until = time.monotonic() + DEADLINE_S
        while not logged(folder, "ready"):
            assert time.monotonic() < until and process.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
        yield str(logged(folder, "serving")[0]["url"])
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def logged(folder: Path, event: str) -> list[dict[str, Any]]:
    lines = (folder / "log").read_text(encoding="utf-8").splitlines()
    return [found for line in lines if line.startswith("{") and (found := json.loads(line))["event"] == event]


def test_each_lifecycle_ends_as_an_admin_expects_it_and_what_it_took_is_counted(folder: Path) -> None:
    app = compose(folder / "syncd.yaml", {})
    database = app.database()
    token = {name: new_token(app, database, name) for name in LIFECYCLES}
    with serving(folder) as url, httpx.Client(base_url=url, timeout=30, headers={"User-Agent": ""}) as client:
        for name in LIFECYCLES:
            headers = TRANSCRIPTS[name].get("headers", {})
            stage = Served(NOT_HERE, provider_of(name), workspace_of(name), token[name], {}, headers, client=client)
            for number, step in enumerate(TRANSCRIPTS[name]["steps"]):
                with noting(f"{name}, step {number}"):
                    stage.play(step)
            with noting(name):
                stage.see(TRANSCRIPTS[name]["effect"])
    answered = logged(folder, "scim_answered")
    for name in LIFECYCLES:
        wanted = Counter(each for step in TRANSCRIPTS[name]["steps"] for each in step.get("tolerances", ()))
        lines = [line for line in answered if line["workspace"] == workspace_of(name)]
        assert Counter(each for line in lines for each in line.get("tolerances", ())) == wanted, name
        with database.reading() as conn:
            kept = tokens.tolerated(conn, workspace_of(name), [provider_of(name)])
            assert {each.name: each.uses for each in kept} == wanted, name
            assert check(conn, app.workspace(workspace_of(name)), datetime.now(UTC)) == [], name
    database.close()


def new_token(app: App, database: Database, name: str) -> str:
    actor = Actor("cli", "root", workspace_of(name))
    with database.writing() as conn:
        return tokens.create(conn, actor, name, datetime.now(UTC), app.ids, source=provider_of(name))[1]


@contextmanager
def noting(where: str) -> Iterator[None]:
    try:
        yield
    except AssertionError as exc:
        exc.add_note(where)
        raise


def test_every_provider_has_a_lifecycle() -> None:
    assert {provider_of(name) for name in LIFECYCLES} == set(dialects.PROVIDERS)
