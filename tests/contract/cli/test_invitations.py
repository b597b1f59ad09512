"""`syncd invitation` without a daemon: what it makes, shows and refuses."""

from __future__ import annotations

import json

import pytest

from command_line import CONFIG, Cli

MAIL = "mail: {host: localhost, tls: none, sender: syncd@example.org}\n"


@pytest.fixture
def asked(cli: Cli) -> Cli:
    (cli.folder / "syncd.yaml").write_text(CONFIG + MAIL, encoding="utf-8")
    cli("user", "create", "boss", "--role", "owner", "--email", "boss@example.org")
    return cli


def test_the_life_of_an_invitation(asked: Cli) -> None:
    made = asked(
        *("invitation", "create", "ann@example.org", "--role", "member", "--seat", "internal"),
        *("--display-name", "Ann Lee", "--json"),
    ).json
    assert (made["state"], made["mail"]) == ("pending", "waiting")
    shown = asked("user", "show", "ann@example.org", "--json").json
    assert (shown["status"], [each["value"] for each in shown["roles"]]) == ("pending", ["member"])
    asked("invitation", "create", "eve@example.org", "--group", "nobody", code=1)
    assert "ann@example.org" in asked("invitation", "list", "--state", "pending").out
    assert "anna@example.org will be written to" in asked("invitation", "correct", made["id"], "anna@example.org").err
    assert asked("invitation", "resend", made["id"], "--json").json["address"] == "anna@example.org"
    letters = [json.loads(line) for line in asked("mail", "list", "--json").out.splitlines()]
    assert [each["state"] for each in letters] == ["void", "void", "waiting"]
    assert "not invited any more" in asked("invitation", "cancel", made["id"]).err
    assert asked("invitation", "list", "--json").json[0]["state"] == "cancelled"
    assert asked("user", "list", "--status", "pending").out == ""
    assert "is cancelled" in asked("invitation", "resend", made["id"], code=1).err


def test_what_is_refused(asked: Cli) -> None:
    assert "needs no invitation" in asked("invitation", "create", "boss@example.org", code=1).err
    assert "not an e-mail address" in asked("invitation", "create", "boss", code=1).err
    asked("invitation", "create", "a@b.example", "--role", "king", code=2)
    asked("invitation", "list", "--state", "lost", code=2)
    asked("invitation", "cancel", "nothing", code=1)
    (asked.folder / "syncd.yaml").write_text(CONFIG, encoding="utf-8")
    assert "no mail server" in asked("invitation", "create", "a@b.example", code=1).err


def test_a_link_for_a_new_password(asked: Cli) -> None:
    asked("user", "create", "cy", "--email", "cy@example.org")
    assert "a link goes to cy" in asked("user", "reset-password", "cy", "--mail").err
    letters = [json.loads(line) for line in asked("mail", "list", "--json").out.splitlines()]
    assert [(each["kind"], each["state"]) for each in letters] == [("reset", "waiting")]
    asked("user", "create", "mute")
    assert "no e-mail address" in asked("user", "reset-password", "mute", "--mail", code=1).err


def test_another_address(asked: Cli) -> None:
    assert "boss@example.net" in asked("user", "change-email", "boss", "boss@example.net").out
    assert "a link goes to" in asked("user", "change-email", "boss", "boss@example.com", "--confirm").err
    shown = asked("user", "show", "boss").out
    assert "boss@example.com (to be confirmed until" in shown and "the mail is waiting" in shown
    waiting = asked("user", "change-email", "boss", "--resend", "--json").json["email_change"]
    assert (waiting["address"], waiting["state"]) == ("boss@example.com", "pending")
    assert "stays as it is" in asked("user", "change-email", "boss", "--cancel").err
    assert asked("user", "show", "boss", "--json").json["email_change"] is None
    asked("user", "change-email", "boss", "--cancel", code=1)
    asked("user", "change-email", "boss", code=2)
