"""A session in which every kind of secret is used, wrongly and rightly; nothing that was written shows one of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import yaml

from servers import corp
from servers.slapd import READER_PASSWORD, Slapd, free_port
from syncd.cli import main

WRONG_BIND = "pl4nted-bind-secret"
IN_URL = "pl4nted/url:s@cret"
QUOTED = "pl4nted%2Furl%3As%40cret"
NO_TOKEN = "syncd_0123456789abcdef_" + "9e" * 32
USER_PASSWORD = "pl4nted-user-password"
BASIC = "cGw0bnRlZDpzZWNyZXQ="
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
DEADLINE_S = 60


@pytest.fixture
def folder(tmp_path: Path, slapd: Slapd, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """PostgreSQL's password is not asked for there, but it is one."""
    for name in [each for each in os.environ if each.startswith("SYNCD_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    read = {"deadline": "30s", "schedule": {"full": "1s"}, "attributes": {"userName": "uid"}, "retries": 0}
    (tmp_path / "right").write_text(READER_PASSWORD)
    (tmp_path / "wrong").write_text(WRONG_BIND)
    sources = {
        name: corp.source(slapd.url, bind_password_env=None, bind_password_file=name, may_grant=None, **read)
        for name in ("right", "wrong")
    }
    config = {
        "database": postgres_url.replace("@", f":{QUOTED}@", 1),
        "http": {"bind": f"127.0.0.1:{free_port()}"},
        "log": {"level": "debug"},
        "sources": {**sources, "okta": {"kind": "scim"}},
    }
    (tmp_path / "syncd.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return tmp_path


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    bind = yaml.safe_load((folder / "syncd.yaml").read_text())["http"]["bind"]
    with (folder / "serve.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "syncd", "serve", "--config", "syncd.yaml"],
            cwd=folder,
            stderr=log,
            stdout=log,
        )
        try:
            yield f"http://{bind}"
        finally:
            process.terminate()
            process.wait(DEADLINE_S)


def lines(folder: Path) -> list[dict[str, Any]]:
    """Whole lines, each JSON: whoever wrote it."""
    return [
        json.loads(line) for line in (folder / "serve.log").read_text().splitlines(keepends=True) if line[-1] == "\n"
    ]


def until_logged(folder: Path, **wanted: str) -> dict[str, Any]:
    until = time.monotonic() + DEADLINE_S
    while time.monotonic() < until:
        for each in lines(folder):
            if wanted.items() <= each.items():
                return each
        time.sleep(0.2)
    raise AssertionError(f"no line with {wanted}: {(folder / 'serve.log').read_text()[-3000:]}")


def provoke(base: str, token: str) -> None:
    """Requests with secrets where they belong and where they do not."""
    users = f"{base}/scim/v2/Users"
    with httpx.Client(headers={"Content-Type": "application/scim+json"}) as client:
        asked = [
            client.get(users, headers={"Authorization": f"Bearer {NO_TOKEN}"}),
            client.get(users, headers={"Authorization": f"Basic {BASIC}"}),
            client.get(users, headers={"X-Request-Id": NO_TOKEN}),
            client.get(f"{base}/scim/v2/{NO_TOKEN}", headers={"Authorization": f"Bearer {token}"}),
        ]
        assert [each.status_code for each in asked] == [401, 401, 401, 404]
        client.headers["Authorization"] = f"Bearer {token}"
        client.headers["X-Request-Id"] = "given-by-okta"
        made = client.post(users, json={"schemas": [USER], "userName": "new@example.org", "password": USER_PASSWORD})
        assert made.status_code == 201 and made.headers["x-request-id"] == "given-by-okta"
        one = f"{users}/{made.json()['id']}"
        client.patch(
            one, json={"schemas": [PATCH], "Operations": [{"op": "replace", "value": {"password": USER_PASSWORD}}]}
        )
        client.patch(one, content=f'{{"password": "{USER_PASSWORD}", broken')
        client.get(users, params={"filter": f'password eq "{USER_PASSWORD}"'})
        client.get(users, params={"filter": f'userName eq "{token}" and'})


def test_nothing_that_is_written_shows_a_secret(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["token", "create", "--name", "okta", "--source", "okta", "--config", "syncd.yaml"])
    token, written = capsys.readouterr()
    token = token.strip()
    assert token.startswith("syncd_")
    with serving(folder) as base:
        until_logged(folder, event="ready")
        provoke(base, token)
        failed = until_logged(folder, event="source_failed", source="wrong")
        finished = until_logged(folder, event="run_finished", source="right")
        until_logged(folder, event="scim_answered", request_id="given-by-okta", route="/scim/v2/Users/{id}")
    assert failed["run_id"] != finished["run_id"] and failed["workspace"] == "default"
    text = (folder / "syncd.yaml").read_text()
    nowhere = yaml.safe_load(text) | {"database": f"postgresql://syncd:{QUOTED}@127.0.0.1:{free_port()}/none"}
    (folder / "nowhere.yaml").write_text(yaml.safe_dump(nowhere))
    codes = [main([*argv, "--config", "syncd.yaml"]) for argv in (["check"], ["plan", "wrong"], ["status"])]
    assert all(codes), codes
    codes = [
        main([*argv, "--config", "nowhere.yaml"]) for argv in (["serve"], ["check"], ["status"], ["db", "upgrade"])
    ]
    assert all(codes), codes
    written += "".join(capsys.readouterr()) + (folder / "serve.log").read_text()
    assert f"postgresql://syncd:***@127.0.0.1:{urlsplit(nowhere['database']).port}/none" in written
    assert "invalidCredentials" in written
    planted = (WRONG_BIND, IN_URL, QUOTED, READER_PASSWORD, "9e9e9e9e", USER_PASSWORD, BASIC, token[-64:], "pl4nted")
    assert [each for each in planted if each in written] == []
