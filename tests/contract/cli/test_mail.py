"""`syncd mail` and what `syncd check` says of the mail server."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from command_line import CONFIG, Cli
from post_office import PostOffice, post_office

MANAGER = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value"


@pytest.fixture
def office() -> Iterator[PostOffice]:
    with post_office() as made:
        yield made


@pytest.fixture
def mailed(cli: Cli, office: PostOffice) -> Cli:
    mail = f"mail: {{host: localhost, port: {office.port}, tls: none, sender: syncd@example.org, timeout: 5s}}\n"
    (cli.folder / "syncd.yaml").write_text(CONFIG + mail, encoding="utf-8")
    return cli


def test_the_server_is_tried(mailed: Cli, office: PostOffice) -> None:
    assert mailed("mail", "test", "ann@example.org").err == "syncd: handed in for ann@example.org\n"
    assert office.taken[0]["To"] == "ann@example.org"
    office.refuse = lambda _: "550 nobody of that name"
    assert "550 nobody of that name" in mailed("mail", "test", "ann@example.org", code=1).err
    assert "not an address" in mailed("mail", "test", "ann", code=2).err
    assert "takes mail from syncd@example.org" in mailed("check", code=None).out
    (mailed.folder / "syncd.yaml").write_text(CONFIG, encoding="utf-8")
    assert "no mail server" in mailed("mail", "test", "ann@example.org", code=2).err


def test_letters_are_listed(mailed: Cli) -> None:
    clara = mailed("user", "create", "clara", "--email", "clara@example.org", "--json").json["id"]
    mailed("user", "create", "rosa", "--set", f"{MANAGER}={clara}")
    assert mailed("mail", "list").err == "syncd: no mail\n"
    mailed("mail", "show", "nothing", code=1)
    mailed("mail", "list", "--state", "lost", code=2)
    assert mailed("mail", "discard", "nothing").err == "syncd: 0 of 1 waited and will not be sent\n"
    assert [json.loads(line) for line in mailed("mail", "list", "--json").out.splitlines()] == []
