"""Deletions and their end, and tokens about to expire, as the command line shows them, on both engines."""

from __future__ import annotations

import os
from collections.abc import Callable

from command_line import Cli
from syncd.app import compose

At = Callable[[str], None]
END = ("2030-01-14T22:30:00Z", "2030-01-14T23:30:00Z", "2030-01-15T00:30:00Z")


def worker(cli: Cli, at: At, *moments: str) -> None:
    """The timers of a worker that starts at the first of these moments; it knows nothing of the clock before."""
    for moment in moments:
        at(moment)
        app = compose(cli.folder / "syncd.yaml", os.environ)
        database = app.database()
        app.timers(database, app.clock).tick()
        database.close()


def test_when_the_days_are_over_a_deletion_is_final_and_says_so(cli: Cli, at: At) -> None:
    at("2030-01-01T00:00:00Z")
    id = cli("user", "create", "ann", "--email", "ann@example.org", "--json").json["id"]
    cli("user", "delete", "ann")
    (end,) = cli("user", "show", id, "--json").json.get("scheduled") or cli("explain", id, "--json").json["scheduled"]
    assert (end["at"], end["what"]) == ("2030-01-15T00:00:00Z", "purged for good")
    worker(cli, at, *END)
    if cli("user", "list", "--status", "deleted", "--json").out:  # PostgreSQL's clock does not say 2030
        assert "is final" in cli("user", "restore", "ann", code=1).err
        return
    assert "purged: that is final" in cli("user", "restore", id, code=1).err
    assert "a deletion is final" in cli("user", "restore", "ann", code=1).err
    assert cli("user", "create", "ann", "--json").json["id"] != id
    record = cli("activity", "--format", "jsonl").out
    assert "ann@example.org" not in record and id in record


def test_a_token_about_to_expire_is_marked(cli: Cli, at: At) -> None:
    at("2029-12-25T12:00:00Z")
    cli("token", "create", "--name", "okta", "--expires", "26d")
    assert " live " in cli("token", "list").out
    worker(cli, at, *END)
    assert "live, ends in 5 d" in cli("token", "list").out
    assert "token_expires" in cli("activity").out
    at("2030-01-19T12:00:00Z")
    assert "live, ends in 24 h" in cli("token", "list").out


def test_what_is_kept_how_long_is_configured(cli: Cli, at: At) -> None:
    path = cli.folder / "syncd.yaml"
    path.write_text(path.read_text() + "retention: {purge_after: never, runs: 1d}\ntokens: {warn_before: []}\n")
    at("2030-01-01T00:00:00Z")
    id = cli("user", "create", "ann", "--json").json["id"]
    cli("user", "delete", "ann")
    assert cli("explain", id, "--json").json["scheduled"] == []
    at("2050-01-01T00:00:00Z")
    assert cli("user", "restore", "ann", "--json").json["id"] == id
    path.write_text(path.read_text().replace("never", "soon"))
    assert "retention.purge_after" in cli("user", "list", code=78).err
