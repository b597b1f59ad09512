"""`syncd user`, `explain`, `role` and `seat` on both engines: what they do and what they answer."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from command_line import CONFIG, Cli
from syncd.app import TimeOrderedIds
from syncd.core.actor import Actor
from syncd.core.signins import SignIn
from syncd.core.workspace import Workspace
from syncd.store import signins
from syncd.store.engine import Database

KEYS = {"id", "userName", "status", "enabled", "suspended", "roles", "permissions", "data_scopes", "seats", "waiting"}


def test_an_owner_is_made_and_shown_with_the_origin_of_the_role(cli: Cli) -> None:
    made = cli("user", "create", "ann", "--role", "owner", "--email", "Ann@Example.org", "--reason", "first", "--json")
    shown = cli("user", "show", "ann", "--json").json
    assert shown == made.json
    assert KEYS | {"groups", "links"} <= shown.keys()
    assert (shown["status"], shown["enabled"], shown["suspended"]) == ("active", True, False)
    assert [(each["value"], each["origin"], each["why"]) for each in shown["roles"]] == [("owner", "direct", "first")]
    assert {each["value"]: each["role"] for each in shown["permissions"]} == {"*": "owner"}


@pytest.mark.parametrize("who", ["ann", "ANN", "ann@example.org", "ANN@EXAMPLE.ORG"])
def test_a_user_is_found_by_name_and_address_in_any_case(cli: Cli, who: str) -> None:
    id = cli("user", "create", "ann", "--email", "Ann@Example.org", "--json").json["id"]
    assert cli("user", "show", who, "--json").json["id"] == id
    assert cli("explain", id, "--json").json["id"] == id


def test_an_address_of_two_users_names_neither(cli: Cli) -> None:
    for name in ("ann", "bob"):
        cli("user", "create", name, "--email", "desk@example.org")
    assert "2 users or more" in cli("user", "suspend", "desk@example.org", code=1).err


def test_an_unknown_user_is_answered_with_names_that_are_near(cli: Cli) -> None:
    cli("user", "create", "hannah.weiss")
    assert "did you mean hannah.weiss" in cli("user", "show", "hannah.weis", code=1).err


def test_a_name_is_taken_once(cli: Cli) -> None:
    cli("user", "create", "ann")
    assert "is taken" in cli("user", "create", "ANN", code=1).err


def test_suspension_is_an_admins_hold_and_frees_the_seat(cli: Cli) -> None:
    cli("user", "create", "ann", "--seat", "internal", "--role", "member")
    held = cli("user", "suspend", "ann", "--reason", "lost laptop", "--json").json
    assert (held["status"], held["suspended"], held["suspended_because"]) == ("suspended", True, "lost laptop")
    assert held["seats"] == [] and [each["value"] for each in held["roles"]] == ["member"]
    assert cli("user", "suspend", "ann", "--reason", "lost laptop").err == "syncd: nothing to change\n"
    back = cli("user", "unsuspend", "ann", "--json").json
    assert (back["status"], back["suspended"]) == ("active", False)
    assert [each["value"] for each in back["seats"]] == ["internal"]


def test_failed_sign_ins_lock_and_an_admin_ends_the_lock(
    cli: Cli, at: Callable[[str], None], database_url: str
) -> None:
    at("2030-01-01T00:00:00Z")
    now = datetime(2030, 1, 1, tzinfo=UTC)
    id = cli("user", "create", "ann", "--json").json["id"]
    assert "sign-in" not in cli("user", "show", "ann").out
    ids, actor = TimeOrderedIds(), Actor("api", "crm", "default")
    database = Database(database_url)
    with database.writing() as conn:
        for each in [SignIn(True, now, "192.0.2.7", True), *[SignIn(False, now, "192.0.2.9")] * 10]:
            signins.report(conn, Workspace(), actor, id, each, now, ids)
    database.close()
    shown = cli("user", "show", "ann").out
    assert "ann: locked" in shown
    assert "2030-01-01 00:00:00 from 192.0.2.7, with a second factor" in shown
    assert "10, the last 2030-01-01 00:00:00 from 192.0.2.9" in shown
    assert "2030-01-01T00:15:00" in cli("user", "show", "ann", "--json").json["locked_until"]
    assert cli("user", "unlock", "ann", "--json").json["status"] == "active"
    assert cli("user", "unlock", "ann").err == "syncd: nothing to change\n"


def test_a_password_is_typed_and_never_shown(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("user", "create", "ann")

    def typed(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))

    typed("correct horse battery\n")
    assert cli("user", "set-password", "ann", "--stdin", "--must-change").err == "syncd: password of ann set\n"
    assert "by local, to be changed" in cli("user", "show", "ann").out
    typed("short\n")
    refused = cli("user", "set-password", "ann", "--stdin", code=2)
    assert "it has 5 characters, fewer than 12" in refused.err
    made = cli("user", "reset-password", "ann")
    assert re.fullmatch(r"syncd_[0-9a-f]{16}_[0-9a-f]{64}\n", made.out)
    assert "for one use" in made.err


def test_who_signs_in_elsewhere_has_no_password_here(synced: Cli) -> None:
    name = synced("user", "list", "--status", "active", "--limit", "1", "--json").json["userName"]
    assert "signs in there" in synced("user", "reset-password", name, code=1).err


def test_ownership_is_handed_over_in_one_step(cli: Cli) -> None:
    cli("user", "create", "boss", "--role", "owner")
    cli("user", "create", "ann")
    cli("role", "hand-over", "boss", "ann", "--reason", "retires")
    assert [each["value"] for each in cli("user", "show", "ann", "--json").json["roles"]] == ["owner"]
    assert [each["value"] for each in cli("user", "show", "boss", "--json").json["roles"]] == ["admin"]
    assert "is no owner" in cli("role", "hand-over", "boss", "ann", code=1).err


def test_deactivate_is_not_suspend(cli: Cli) -> None:
    cli("user", "create", "ann")
    cli("user", "suspend", "ann", "--reason", "hold")
    off = cli("user", "deactivate", "ann", "--json").json
    assert (off["status"], off["enabled"], off["suspended"]) == ("inactive", False, True)
    on = cli("user", "reactivate", "ann", "--json").json
    assert (on["status"], on["enabled"]) == ("suspended", True)


def test_reactivating_lifts_only_what_was_stated_by_hand(synced: Cli) -> None:
    name = synced("user", "list", "--status", "active", "--limit", "1", "--json").json["userName"]
    synced("user", "deactivate", name)
    shown = synced("user", "reactivate", name, "--json").json
    assert shown["status"] == "active"
    assert [link["source"] for link in shown["links"]] == ["corp"]


def test_a_deletion_is_undone_but_not_after_the_days_are_over(cli: Cli, at: Callable[[str], None]) -> None:
    at("2030-01-01T00:00:00Z")
    id = cli("user", "create", "ann", "--json").json["id"]
    cli("user", "delete", "ann")
    assert "was deleted" in cli("user", "show", "ann", code=1).err
    assert cli("user", "show", id, "--json").json["status"] == "deleted"
    at("2030-01-10T00:00:00Z")
    assert cli("user", "restore", "ann", "--json").json["id"] == id
    cli("user", "delete", "ann")
    at("2030-01-24T00:00:00Z")
    assert "final" in cli("user", "restore", "ann", code=1).err


def test_restoring_onto_a_taken_name_is_a_conflict(cli: Cli) -> None:
    cli("user", "create", "ann")
    cli("user", "delete", "ann")
    new = cli("user", "create", "ann", "--json").json["id"]
    assert "is taken" in cli("user", "restore", "ann", code=1).err
    assert cli("user", "show", "ann", "--json").json["id"] == new


def test_the_last_owner_stays(cli: Cli) -> None:
    cli("user", "create", "ann", "--role", "owner")
    for command in (["user", "delete", "ann"], ["user", "suspend", "ann"], ["role", "revoke", "ann", "owner"]):
        assert "last active owner" in cli(*command, code=1).err
    cli("user", "create", "bob", "--role", "owner")
    cli("user", "delete", "ann")


def test_a_role_ends_by_itself(cli: Cli, at: Callable[[str], None]) -> None:
    at("2030-01-01T00:00:00Z")
    cli("user", "create", "ann")
    cli("role", "grant", "ann", "crm-user", "--expires", "90d")
    shown = cli("explain", "ann", "--json").json
    assert [each["what"] for each in shown["scheduled"]][-1] == "role crm-user ends"
    at("2030-04-02T00:00:00Z")
    assert cli("explain", "ann", "--json").json["roles"] == []


def test_what_a_rule_gives_is_not_taken_back_by_hand(synced: Cli) -> None:
    name = synced("seat", "list", "internal", "--json").json[0]["userName"]
    assert "rule staff" in synced("role", "revoke", name, "member", code=1).err
    shown = synced("explain", name, "--json").json
    why = {each["value"]: each for each in shown["roles"]}["member"]
    assert (why["origin"], why["name"]) == ("rule", "staff")
    assert " > all-staff" in why["why"] and why["run"]
    assert name in synced("explain", name).out


def test_who_waits_is_told_her_place(synced: Cli) -> None:
    waiting = [each for each in synced("seat", "list", "crm", "--json").json if not each["held"]]
    assert waiting
    for place, each in enumerate(waiting, 1):
        own = synced("explain", each["userName"], "--json").json["waiting"][0]
        assert (own["value"], own["position"], own["queue"]) == ("crm", place, len(waiting))
    pool = next(each for each in synced("seat", "list", "--json").json if each["pool"] == "crm")
    assert (pool["used"], pool["limit"], pool["waiting"]) == (2, 2, len(waiting))


def test_a_seat_needs_the_one_it_requires(cli: Cli) -> None:
    cli("user", "create", "ann")
    waiting = cli("seat", "assign", "ann", "crm", "--json").json["waiting"]
    assert waiting[0]["needs"] == ["internal"]
    got = cli("seat", "assign", "ann", "internal", "--json").json
    assert {each["value"] for each in got["seats"]} == {"internal", "crm"}
    assert cli("seat", "release", "ann", "internal", "--json").json["seats"] == []


def test_users_are_listed_by_filter(synced: Cli) -> None:
    lines = synced("user", "list", "--filter", 'title eq "LEAD"', "--json").out.splitlines()
    assert lines and len(lines) < 60


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (["role", "grant", "ann", "admn"], "did you mean 'admin'?"),
        (["seat", "assign", "ann", "crn"], "did you mean 'crm'?"),
        (["seat", "list", "crn"], "did you mean 'crm'?"),
        (["user", "create", "bob", "--set", "titel=x"], "did you mean 'title'?"),
        (["user", "list", "--status", "activ"], "did you mean 'active'?"),
        (["role", "grant", "ann", "admin", "--expires", "soon"], "neither a time"),
        (["role", "grant", "ann", "admin", "--expires", "2001-01-01"], "in the past"),
    ],
)
def test_a_word_that_is_wrong_is_wrong_usage(cli: Cli, command: list[str], text: str) -> None:
    cli("user", "create", "ann")
    assert text in cli(*command, code=2).err


def test_names_cannot_move_the_cursor(cli: Cli) -> None:
    cli("user", "create", "ann", "--display-name", "\x1b[2Jgone\u202e")
    for command in (["user", "show", "ann"], ["explain", "ann"], ["activity"]):
        out = cli(*command).out
        assert "\x1b" not in out and "\u202e" not in out and "\\u001b" in out


def test_a_filter_that_is_not_understood_is_wrong_usage(cli: Cli) -> None:
    assert cli("user", "list", "--filter", "title eq", code=2).out == ""


def test_a_seat_that_nobody_has_left_is_refused_in_words(cli: Cli) -> None:
    text = CONFIG.replace("crm: {limit: 2, requires: [internal]}", "crm: {limit: 1, when_full: refuse}")
    (cli.folder / "syncd.yaml").write_text(text, encoding="utf-8")
    for name, code in (("ann", 0), ("bob", 1)):
        cli("user", "create", name)
        ran = cli("seat", "assign", name, "crm", code=code)
    assert "bob has no seat: seat pool crm is full: 1 of 1 are taken, and nobody waits for one there" in ran.err
