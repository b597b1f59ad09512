"""Two workspaces in one database: no command of one sees or touches anything of the other."""

from __future__ import annotations

import pytest

from command_line import Cli
from syncd import sample

ACME = ("--workspace", "acme")


@pytest.fixture
def both(synced: Cli) -> Cli:
    """`default` holds a company and a token; `acme` one user of the same name as one of default's."""
    synced("user", "create", "ann", "--role", "owner", "--seat", "internal")
    synced("token", "create", "--name", "okta")
    synced(*ACME, "user", "create", "ann", "--seat", "internal")
    return synced


def test_reading_commands_show_one_workspace(both: Cli) -> None:
    assert len(both("user", "list", *ACME, "--json").out.splitlines()) == 1
    assert both("group", "list", *ACME, "--json").json == []
    assert both("runs", "list", *ACME, "--json").json == {"runs": [], "held": []}
    assert both("token", "list", *ACME, "--json").json == []
    assert [each["pool"] for each in both("seat", "list", *ACME, "--json").json] == ["internal"]
    assert [each["userName"] for each in both("seat", "list", "internal", *ACME, "--json").json] == ["ann"]
    assert {each["users"] for each in both("role", "list", *ACME, "--json").json} == {0}
    assert both("status", *ACME, "--json", code=1).json["users"] == {"active": 1}
    subjects = {
        line.split('"subject":"')[1].split('"')[0]
        for line in both("activity", *ACME, "--format", "jsonl").out.splitlines()
    }
    assert subjects == {"ann"}


def test_ids_and_names_of_the_other_do_not_exist(both: Cli) -> None:
    other = both("user", "show", "ann", "--json").json
    group = both("group", "list", "--json").json[0]["id"]
    run = both("runs", "list", "--json").json["runs"][0]["run"]
    token = both("token", "list", "--json").json[0]["id"]
    for argv in (
        *(["user", command, other["id"]] for command in ("show", "suspend", "deactivate", "delete", "restore")),
        *(["user", command, other["id"]] for command in ("unsuspend", "reactivate")),
        *(
            ["explain", other["id"]],
            ["role", "grant", other["id"], "member"],
            ["seat", "assign", other["id"], "internal"],
        ),
        *(["role", "revoke", other["id"], "owner"], ["seat", "release", other["id"], "internal"]),
        *(["group", "show", group], ["runs", "show", run], ["token", "revoke", token], ["token", "rotate", token]),
        ["user", "show", "olivia"],
    ):
        assert "acme" in both(*ACME, *argv, code=1).err
    assert both("user", "show", "ann", "--json").json == other
    assert both("token", "list", "--json").json[0]["state"] == "live"


def test_changes_and_seats_stay_in_their_workspace(both: Cli) -> None:
    both("user", "suspend", "ann", *ACME)
    assert both("user", "show", "ann", "--json").json["status"] == "active"
    both(*ACME, "user", "create", "bob", "--seat", "internal")
    used = {name: both("seat", "list", "--workspace", name, "--json").json[0]["used"] for name in ("default", "acme")}
    assert used["acme"] == 1 and used["default"] > 1


def test_a_directory_of_one_is_no_source_of_the_other(both: Cli) -> None:
    both.directory(sample.company(5, 3, 9), "acme.ldif")
    before = both("status", "--json", code=1).json["users"]
    both("sync", "corp", *ACME)
    assert both("status", *ACME, "--json", code=1).json["users"]["active"] == 6 - _off(both)
    assert both("status", "--json", code=1).json["users"] == before
    assert "no connection 'okta'" in both("token", "create", "--name", "x", "--source", "okta", *ACME, code=2).err


def _off(both: Cli) -> int:
    return both("status", *ACME, "--json", code=1).json["users"].get("inactive", 0)


@pytest.mark.parametrize(
    "argv", [["user", "list"], ["token", "list"], ["plan", "corp"], ["sync", "corp"], ["activity"]]
)
def test_a_workspace_that_is_not_configured_is_wrong_usage(cli: Cli, argv: list[str]) -> None:
    assert "did you mean 'acme'?" in cli(*argv, "--workspace", "acne", code=2).err
