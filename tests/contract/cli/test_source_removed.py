"""A directory that is taken out of the configuration lets go of whom it stated: nobody is deleted, suspended or emptied."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from command_line import CONFIG, Cli
from syncd import sample


def test_whom_a_removed_source_stated_stays_until_somebody_says_otherwise(synced: Cli) -> None:
    people = synced("user", "list", "--json").out
    name = synced("seat", "list", "internal", "--json").json[0]["userName"]
    had = synced("explain", name, "--json").json
    without = re.sub(r"  corp:\n    kind: ldif\n    path: corp.ldif\n(    .*\n)*", "", CONFIG, count=1)
    assert without != CONFIG
    (synced.folder / "syncd.yaml").write_text(without, encoding="utf-8")

    assert "no source 'corp'" in synced("sync", "corp", code=2).err
    counts = synced("plan", "rules", "--json", code=None).json["counts"]
    assert [counts[kind] for kind in ("deactivate", "suspend", "delete", "leave", "group_delete")] == [0] * 5
    assert synced("user", "list", "--json").out == people
    has = synced("explain", name, "--json").json
    for what in ("status", "values", "roles", "seats", "groups"):
        assert has[what] == had[what]

    (synced.folder / "syncd.yaml").write_text(CONFIG, encoding="utf-8")
    assert synced("plan", "corp", "--json").json["status"] == "clean", "it takes up where it left off"


def taken_out(cli: Cli, more: str = "") -> None:
    """Without `corp`."""
    without = re.sub(r"  corp:\n    kind: ldif\n    path: corp.ldif\n(    .*\n)*", more, CONFIG, count=1)
    (cli.folder / "syncd.yaml").write_text(without, encoding="utf-8")


def test_the_token_of_a_removed_connection_is_named(cli: Cli) -> None:
    cli("token", "create", "--name", "provider", "--source", "okta")
    before = cli("status", "--json", code=None).json["findings"]
    without = CONFIG.replace("  okta: {kind: scim}\n", "", 1)
    assert without != CONFIG
    (cli.folder / "syncd.yaml").write_text(without, encoding="utf-8")
    after = cli("status", "--json", code=None).json["findings"]
    (found,) = [each for each in after if each not in before]
    assert (found["about"], found["do"]) == ("token provider", "configure okta again, or `syncd token revoke provider`")
    assert "source is not configured" in cli("token", "list").out
    cli("token", "revoke", "provider", "--yes")
    assert found not in cli("status", "--json", code=None).json["findings"]


HR = "  hr:\n    kind: ldif\n    path: hr.ldif\n    adopt: 'userName pr'\n    attributes: {userName: uid}\n"


def test_what_a_removed_source_still_owns_goes_when_somebody_says_so(cli: Cli, company: sample.Company) -> None:
    made, shared, *others = (one.uid for one in company.people if one.shadow_expire is None)
    ended = next(one for one in company.people if one.shadow_expire is not None)
    in_hr = [one for one in company.people if one.uid == shared] + [replace(ended, shadow_expire=None)]
    config = CONFIG.replace("    path: corp.ldif\n", "    path: corp.ldif\n    adopt: 'userName pr'\n", 1)
    (cli.folder / "syncd.yaml").write_text(config.replace("  okta:", f"{HR}  okta:", 1), encoding="utf-8")
    cli("user", "create", made, "--role", "viewer", "--display-name", "By Hand")
    cli.directory(company)
    cli("sync", "corp")
    cli.directory(replace(company, people=in_hr, groups=()), "hr.ldif")
    cli("sync", "hr")
    had = cli("explain", others[0], "--json").json
    assert "is in the configuration: only what was taken out" in cli("plan", "corp", "--let-go", code=2).err

    taken_out(cli, HR)
    assert "`syncd plan corp --let-go` shows what it still owns" in cli("plan", "corp", code=2).err
    left = [each for each in cli("status", "--json", code=None).json["findings"] if each["about"] == "source corp"]
    assert [(each["level"], each["do"]) for each in left] == [
        ("notice", "`syncd plan corp --let-go` shows what goes with it")
    ]
    plan = cli("plan", "corp", "--let-go", "--json", code=4).json
    assert plan["counts"]["delete"] == 0 and {each["kind"] for each in plan["held"]} >= {"delete", "membership"}
    assert cli("sync", "corp", "--let-go", "--json", code=4).json["counts"]["group_delete"] == 0
    for held in cli("runs", "list", "--json").json["held"]:
        cli("runs", "approve", held["digest"], "--yes")
    assert cli("sync", "corp", "--let-go", "--json").json["status"] == "applied"

    people = {each["userName"]: each for each in map(json.loads, cli("user", "list", "--json").out.splitlines())}
    assert people.keys() == {made, shared, ended.uid}
    closed = cli("explain", ended.uid, "--json").json
    assert closed["status"] == "suspended" and closed["suspended_because"].startswith("corp had ended her account")
    assert cli("group", "list", "--json").json == []
    kept = cli("explain", made, "--json").json
    assert (kept["status"], kept["roles"][0]["value"], kept["values"]["displayName"]) == ("active", "viewer", "By Hand")
    assert [link["source"] for link in cli("explain", shared, "--json").json["links"]] == ["hr"]
    assert cli("plan", "corp", "--let-go", "--json").json["status"] == "clean"
    assert "nothing is known of a source 'other'" in cli("plan", "other", "--let-go", code=2).err
    assert "reads nothing: it stands alone" in cli("sync", "corp", "--let-go", "--full", code=2).err
    assert not [each for each in cli("status", "--json", code=None).json["findings"] if each["about"] == "source corp"]

    (cli.folder / "syncd.yaml").write_text(config, encoding="utf-8")
    cli("sync", "corp", code=None)
    has = cli("explain", others[0], "--json").json
    assert (has["id"], has["status"]) == (had["id"], had["status"]), "who is read again is who she was"
    assert {each["value"] for each in has["roles"]} == {each["value"] for each in had["roles"]}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_source_that_still_pushes_is_not_let_go(cli: Cli) -> None:
    cli("token", "create", "--name", "theirs", "--source", "okta")
    (cli.folder / "syncd.yaml").write_text(CONFIG.replace("  okta: {kind: scim}\n", ""), encoding="utf-8")
    assert "still pushes by token theirs" in cli("sync", "okta", "--let-go", code=2).err
    cli("token", "revoke", "theirs")
    assert "nothing is known" in cli("sync", "okta", "--let-go", code=2).err
