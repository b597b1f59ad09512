"""`syncd deliveries` and `syncd user revoke-sessions`, without a daemon."""

from __future__ import annotations

import json

import pytest

from command_line import CONFIG, Cli

HOOK = "webhooks:\n  app: {url: http://127.0.0.1:1/syncd, secret_files: hook}\n"


@pytest.fixture
def told(cli: Cli) -> Cli:
    """One webhook, and somebody of whom it has not heard yet."""
    (cli.folder / "syncd.yaml").write_text(CONFIG + HOOK, encoding="utf-8")
    (cli.folder / "hook").write_text(cli("deliveries", "secret").out, encoding="utf-8")
    cli("user", "create", "boss", "--role", "owner")
    cli("user", "create", "rosa")
    cli("user", "suspend", "rosa", "--reason", "left")
    return cli


def test_the_ledger_is_listed_hurried_and_given_up(told: Cli) -> None:
    assert "suspended" in told("deliveries", "list").out
    [row] = [json.loads(line) for line in told("deliveries", "list", "--json", "--user", "rosa").out.splitlines()]
    assert (row["webhook"], row["state"], row["kind"], row["attempts"]) == ("app", "outstanding", "suspended", 0)
    assert told("deliveries", "list", "--webhook", "other").err == "syncd: nothing is outstanding\n"
    shown = told("deliveries", "show", row["id"])
    assert "outstanding" in shown.out and "suspended" in shown.out
    assert json.loads(told("deliveries", "retry", row["id"], "--json").out)["next_at"] is not None
    told("deliveries", "discard", code=2)
    assert told("deliveries", "discard", row["id"], "--reason", "no such application").err == (
        "syncd: 1 deliveries given up\n"
    )
    told("deliveries", "retry", row["id"], code=1)
    told("deliveries", "discard", row["id"], code=1)
    assert told("deliveries", "list").out == ""
    told("deliveries", "list", "--state", "lost", code=2)
    assert "no such application" in told("activity").out


def test_sessions_are_revoked(told: Cli) -> None:
    told("user", "revoke-sessions", "boss", "--reason", "a stolen laptop")
    kinds = [json.loads(line)["kind"] for line in told("deliveries", "list", "--json").out.splitlines()]
    assert kinds == ["suspended", "sessions"]
    told("user", "revoke-sessions", "nobody", code=1)
    assert told("deliveries", "discard", "--webhook", "app").err == "syncd: 2 deliveries given up\n"
    (told.folder / "syncd.yaml").write_text(CONFIG, encoding="utf-8")
    assert "no webhook is configured" in told("user", "revoke-sessions", "boss", code=2).err
