"""`syncd token`, `db`, `check`, `activity`, `sample`: and how errors and options are handled everywhere."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import update

from command_line import CONFIG, Cli
from postgres_server import Postgres
from syncd.app import compose
from syncd.cli import hoist
from syncd.store import tables as t
from syncd.store import tokens
from syncd.store.engine import Database


def test_a_token_stands_alone_on_stdout_and_nowhere_else(cli: Cli) -> None:
    ran = cli("token", "create", "--name", "okta", "--source", "okta", "--allow", "users:read,groups:read")
    assert re.fullmatch(r"syncd_[0-9a-f]{16}_[0-9a-f]{64}\n", ran.out)
    secret = ran.out.strip().rpartition("_")[2]
    shown = cli("token", "list", "--json")
    assert shown.json[0]["allow"] == ["groups:read", "users:read"] and shown.json[0]["source"] == "okta"
    assert secret not in ran.err + shown.out + cli("token", "list").out + cli("activity", "--format", "jsonl").out


def test_a_token_may_be_a_person_s(cli: Cli) -> None:
    ann = cli("user", "create", "ann", "--json").json["id"]
    cli("token", "create", "--name", "hers", "--user", "ANN")
    assert [each["user"] for each in cli("token", "list", "--json").json] == [ann]
    assert "nobody" in cli("token", "create", "--name", "x", "--user", "nobody", code=1).err


def test_a_token_is_rotated_and_revoked(cli: Cli) -> None:
    cli("token", "create", "--name", "okta", "--expires", "90d")
    cli("token", "rotate", "okta", "--grace", "1d")
    cli("token", "revoke", "okta")
    assert [each["state"] for each in cli("token", "list", "--json").json] == ["revoked", "revoked"]
    cli("token", "revoke", "okta", code=1)
    cli("token", "create", "--name", "x", "--source", "corp", code=2)
    cli("token", "create", "--name", "x", "--allow", "users:fly", code=1)


def test_a_token_shows_its_connection_s_policy_and_what_it_needed(cli: Cli, database_url: str) -> None:
    for name, source in (("okta", "okta"), ("other", "scim")):
        cli("token", "create", "--name", name, "--source", source)
    database = Database(database_url)
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    for counts in ({"bare_value": 2, "no_operations": 1}, {"no_operations": 4, "gone": 1, "!bare_value": 3}):
        database.write_now(
            lambda conn, counts=counts: tokens.note_tolerated(
                conn, {("default", "okta", name): uses for name, uses in counts.items()}, now
            )
        )
    database.close()
    shown = cli("token", "show", "okta", "--json").json
    assert [each["name"] for each in shown["tokens"]] == ["okta"]
    (connection,) = shown["connections"]
    assert (connection["source"], connection["policy"]) == ("okta", "tolerant")
    assert [(each["name"], each["requests"]) for each in connection["tolerances"]] == [
        ("no_operations", 5),
        ("bare_value", 2),
        ("gone", 1),
    ]
    assert [(each["name"], each["requests"]) for each in connection["refused"]] == [("bare_value", 3)]
    table, refused = cli("token", "show", "okta").out.split("\nRefused: ")
    assert "connection okta, policy tolerant" in table and "changes nothing" in table
    assert [line.split()[:2] for line in refused.splitlines() if "bare_value" in line] == [["bare_value", "3"]]
    other = cli("token", "show", "other").out
    assert "connection scim, policy tolerant" in other and "Refused" not in other
    cli("token", "show", "nobody", code=1)


def test_only_db_upgrade_makes_a_database(bare: Cli) -> None:
    for argv in (["user", "list"], ["plan", "corp"], ["token", "list"], ["status"]):
        ran = bare(*argv, code=1)
        assert "syncd db upgrade" in ran.err + ran.out  # `status` says on stdout what is wrong
    bare("db", "status", code=1)
    assert not list(bare.folder.glob("*.db"))
    bare("db", "upgrade")
    assert bare("db", "upgrade").code == 0
    assert bare("db", "status", "--json").json["up_to_date"] is True


def test_a_copy_of_the_database_holds_the_same(synced: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    synced("user", "create", "ann", "--role", "owner")
    here = synced("explain", "ann", "--json").json
    record = synced("activity", "--format", "jsonl").out
    rows = synced("db", "status", "--json").json["rows"]
    copy = synced.folder / "copy" / "of.db"
    assert f"{sum(rows.values()):,} rows" in synced("db", "copy", str(copy)).err
    assert "exists already" in synced("db", "copy", str(copy), code=1).err
    synced("db", "copy", "mysql://x", code=2)
    monkeypatch.setenv("SYNCD_DATABASE", f"sqlite:///{copy}")
    assert synced("db", "status", "--json").json["rows"] == rows
    assert synced("explain", "ann", "--json").json == here
    assert synced("activity", "--format", "jsonl").out == record
    assert synced("plan", "corp", "--json").json["status"] == "clean"


def test_a_copy_goes_from_one_engine_to_the_other(
    synced: Cli, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres_url = postgres.fresh()
    rows = synced("db", "status", "--json").json["rows"]
    synced("db", "copy", postgres_url)
    assert "is not empty" in synced("db", "copy", postgres_url, code=1).err
    monkeypatch.setenv("SYNCD_DATABASE", postgres_url)
    assert synced("db", "status", "--json").json["rows"] == rows
    assert synced("plan", "corp", "--json").json["status"] == "clean"
    postgres.drop(postgres_url)


def test_the_record_is_exported_in_three_forms(cli: Cli) -> None:
    cli("user", "create", "=cmd()", "--reason", "a, b\nc")
    rows = list(csv.DictReader(io.StringIO(cli("activity", "--format", "csv").out)))
    # What a spreadsheet would compute is made text.
    assert [(row["action"], row["subject"], row["why"]) for row in rows] == [("create", "'=cmd()", "a, b\nc")]
    assert len(cli("activity", "--format", "jsonl", "--since", "1h").out.splitlines()) == 1
    assert cli("activity", "--since", "2999-01-01").out == ""
    assert len(cli("activity").out.splitlines()) == 1
    cli("activity", "--since", "yesterday", code=2)


def test_the_record_is_chosen_from(cli: Cli) -> None:
    for name in ("ann", "bob"):
        cli("user", "create", name)
    cli("user", "suspend", "bob", "--reason", "lost laptop")
    cli("user", "delete", "ann")
    assert [line.split()[3] for line in cli("activity", "--user", "bob").out.splitlines()] == ["create", "suspend"]
    assert [line.split()[3] for line in cli("activity", "--user", "ann").out.splitlines()] == ["create", "delete"]
    assert len(cli("activity", "--kind", "create", "--door", "cli", "--source", "local").out.splitlines()) == 2
    for option in (["--actor", "nobody"], ["--run", "r1"], ["--user", "nobody"], ["--until", "2020-01-01"]):
        assert cli("activity", *option).out == "", option


def test_the_record_is_verified(cli: Cli, at: Callable[[str], None]) -> None:
    """Sealed by the worker's tick; what somebody changed beside syncd is named, and the exit code is 1."""
    at("2026-05-04T12:00:00Z")
    for name in ("ann", "bob", "eve"):
        cli("user", "create", name)
    fresh = cli("activity", "verify", "--json").json
    assert (fresh["intact"], fresh["rows"], fresh["unsealed"]) == (True, 0, 3)
    at("2026-05-04T12:10:00Z")
    app = compose(cli.folder / "syncd.yaml", os.environ)
    with contextlib.closing(app.database()) as database:
        app.timers(database, app.clock_of(database)).tick()
        told = cli("activity", "verify").out
        assert "the record is as it was written: 3 rows in 1 seals, 0 not sealed yet" in told
        head = told.split("head: ")[1].split()[0]
        cli("activity", "verify", "--head", head)
        with database.writing() as conn:
            conn.execute(update(t.activity).where(t.activity.c.subject == "bob").values(actor="nobody"))
    spoiled = cli("activity", "verify", code=1).out
    assert "! row " in spoiled and "create of bob" in spoiled and "NOT as it was written" in spoiled
    [fault] = cli("activity", "verify", "--json", code=1).json["faults"]
    assert (fault["what"], fault["seal"]) == ("row_altered", 1)
    assert "64 hexadecimal digits" in cli("activity", "verify", "--head", "zz", code=2).err


def test_check_reads_every_source_and_the_worst_code_wins(synced: Cli) -> None:
    out = synced("check", code=75)  # acme's file is not there
    assert "acme: source corp" in out.out and "60 users, 20 groups" in out.out
    (config,) = [each["text"] for each in synced("check", "--json", code=75).json if each["about"] == "config"]
    assert config.endswith(": 2 workspaces, 3 sources")
    (synced.folder / "acme.ldif").write_text("dn: uid=a,dc=x\nobjectClass: person\nuid: a\n", encoding="utf-8")
    levels = {each["about"]: each for each in synced("check", "--json", code=5).json if each["level"] == "problem"}
    assert set(levels) == {"acme: source corp"}
    read = [each["text"] for each in synced("check", "--json", code=5).json if each["about"] == "acme: source corp"]
    assert "1 entry would be set aside" in read


def test_check_warns_of_power_by_a_groups_name_alone(cli: Cli) -> None:
    config = cli.folder / "syncd.yaml"
    rule = "  - {name: bosses, when: 'groups[display eq \"bosses\"]', roles: [admin]}\n"
    safe = '  - {name: safe, when: \'groups[display eq "b" and source eq "corp"]\', roles: [admin]}\n'
    config.write_text(CONFIG.replace("rules:\n", "rules:\n" + rule + safe), encoding="utf-8")
    warned = [each["about"] for each in cli("check", "--json", code=None).json if each["level"] == "warning"]
    assert warned == ["rule bosses"]


def test_check_prints_the_schema_without_a_configuration(bare: Cli) -> None:
    assert "properties" in bare("--config", "/nowhere.yaml", "check", "--schema").json


def test_the_sample_is_the_same_for_the_same_seed_and_another_on_monday(bare: Cli) -> None:
    argv = ["sample", "--users", "30", "--groups", "5", "--seed", "4"]
    assert bare(*argv).out == bare(*argv).out != bare(*argv, "--monday").out
    assert bare(*argv).out.endswith("\n") and "# numEntries: " in bare(*argv).out


def test_a_wrong_configuration_is_78_with_every_fault(cli: Cli) -> None:
    bad = cli.folder / "bad.yaml"
    bad.write_text(CONFIG.replace("limit: 600", "limit: many").replace("uid,", "uid, titel: title,"), encoding="utf-8")
    err = cli("user", "list", "--config", str(bad), code=78).err
    assert "bad.yaml:4:" in err and "titel" in err
    cli("user", "list", "--config", str(cli.folder / "none.yaml"), code=78)


@pytest.mark.parametrize("argv", [["nope"], ["user"], ["user", "create"], ["user", "list", "--nope"], ["--workspace"]])
def test_wrong_usage_is_2(bare: Cli, argv: list[str]) -> None:
    ran = bare(*argv, code=2)
    assert "Usage: " in ran.err + ran.out or "Error" in ran.err


def test_global_options_stand_anywhere() -> None:
    assert hoist(["plan", "corp", "--config", "F", "--json", "--workspace=a"]) == [
        *("--config", "F", "--workspace=a", "plan", "corp", "--json")
    ]
    assert hoist(["user", "show", "--", "--config"]) == ["user", "show", "--", "--config"]


def test_help_names_every_command(bare: Cli) -> None:
    out = bare("--help").out
    for name in ("serve", "check", "plan", "sync", "runs", "explain", "user", "group", "seat", "role", "token", "db"):
        assert f"  {name} " in out


def test_a_person_at_a_terminal_is_asked_first(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cli("user", "create", "ann")
    for answer, code, status in (("n\n", 1, "active"), ("y\n", 0, "inactive")):
        typed = io.StringIO(answer)
        monkeypatch.setattr(typed, "isatty", lambda: True, raising=False)
        monkeypatch.setattr("sys.stdin", typed)
        ran = cli("user", "deactivate", "ann", code=code)
        assert "active -> inactive" in ran.err
        monkeypatch.setattr("sys.stdin", io.StringIO())
        assert cli("user", "show", "ann", "--json").json["status"] == status
    cli("user", "delete", "ann", "--yes")
