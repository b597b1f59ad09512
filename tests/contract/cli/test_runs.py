"""`syncd plan`, `sync` and `runs` on both engines: exit codes, the JSON object, what is held and what becomes of it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from command_line import CONFIG, Cli
from syncd import sample

KEYS = [
    *("run", "source", "dry_run", "status", "complete", "incomplete_because", "digest", "counts", "held", "set_aside"),
    *("seats", "cost", "kind", "kind_why", "drift", "looked_up", "changes"),
]
COUNTS = [
    *("read", "create", "adopt", "update", "suspend", "unsuspend", "deactivate", "reactivate", "delete", "restore"),
    *("grant", "revoke", "seat", "unseat", "wait", "join", "leave", "group_create", "group_update", "group_delete"),
    *("yield", "set_aside"),
]


def without(company: sample.Company, n: int) -> sample.Company:
    """The last n people left, and every group they were in has forgotten them."""
    gone = {person.uuid for person in company.people[-n:]}
    boss = company.people[0].uuid
    people = tuple(
        replace(person, manager=boss if person.manager in gone else person.manager)
        for person in company.people
        if person.uuid not in gone
    )
    groups = tuple(replace(g, people=tuple(one for one in g.people if one not in gone)) for g in company.groups)
    return replace(company, people=people, groups=groups)


def test_a_plan_is_what_the_sync_then_does(cli: Cli, company: sample.Company) -> None:
    cli.directory(company)
    planned = cli("plan", "corp", "--json", code=3).json
    assert list(planned) == KEYS and list(planned["counts"]) == COUNTS
    assert (planned["status"], planned["dry_run"], planned["complete"]) == ("pending", True, True)
    assert planned["counts"]["create"] == 60
    assert list(planned["changes"][0]) == ["kind", "subject", "before", "after", "why"]
    done = cli("sync", "corp", "--plan", planned["digest"], "--json").json
    assert (done["status"], done["digest"], done["counts"]) == ("applied", planned["digest"], planned["counts"])
    assert cli("plan", "corp", "--json").json["status"] == "clean"
    assert cli("sync", "corp", "--json").json["changes"] == []


def test_a_plan_writes_nothing_but_that_it_ran(cli: Cli, company: sample.Company) -> None:
    cli.directory(company)
    cli("plan", "corp", code=3)
    assert cli("user", "list", "--json").out == ""
    assert cli("activity", "--format", "jsonl").out == ""
    assert [each["dry_run"] for each in cli("runs", "list", "--json").json["runs"]] == [True]


def test_progress_and_words_go_to_stderr(cli: Cli, company: sample.Company) -> None:
    cli.directory(company)
    ran = cli("sync", "corp", "--json")
    assert ran.out.startswith("{") and ran.out.endswith("}\n")
    assert "read: 80" in ran.err
    people = cli("plan", "corp").out
    assert people.splitlines()[-1].startswith("corp: clean · read 80")


def test_a_plan_for_people_says_what_who_why_and_seats(cli: Cli, company: sample.Company) -> None:
    cli.directory(company)
    out = cli("plan", "corp", "--rows", "8", code=3).out
    assert "rule staff through" in out and "... 58 more (--json shows all)" in out
    assert "Seats before -> after" in out and "0 -> 2" in out


def test_losses_over_the_limit_are_held_until_approved(
    synced: Cli, company: sample.Company, at: Callable[[str], None]
) -> None:
    at("2040-01-01T00:00:00Z")
    synced.directory(without(company, 20))
    synced("sync", "corp", code=None)
    at("2040-01-02T12:00:00Z")
    held = synced("sync", "corp", "--json", code=4).json
    assert held["status"] == "held" and held["counts"]["suspend"] == 0
    suspending = next(each for each in held["held"] if each["kind"] == "suspend")
    assert suspending["guard"] == "limit" and 10 < suspending["changes"] == len(suspending["subjects"]) <= 20
    name = suspending["subjects"][0]
    explained = synced("explain", name, "--json").json
    assert explained["status"] == "active" and explained["held"][0]["digest"]
    listed = {each["kind"]: each for each in synced("runs", "list", "--json").json["held"]}
    assert listed["suspend"]["digest"] == suspending["digest"]
    assert suspending["digest"][:12] in synced("runs", "list").out
    synced("runs", "approve", suspending["digest"][:12])
    assert synced("user", "show", name, "--json").json["status"] == "suspended"
    synced("runs", "approve", suspending["digest"], code=1)


def test_held_items_can_be_forgotten(synced: Cli, company: sample.Company, at: Callable[[str], None]) -> None:
    at("2040-01-01T00:00:00Z")
    synced.directory(without(company, 20))
    synced("sync", "corp", code=None)
    at("2040-01-02T12:00:00Z")
    synced("sync", "corp", code=4)
    for each in synced("runs", "list", "--json").json["held"]:
        synced("runs", "discard", each["digest"])
    assert synced("runs", "list", "--json").json["held"] == []


def test_an_incomplete_read_takes_nothing_away(synced: Cli) -> None:
    file = synced.folder / "corp.ldif"
    text = file.read_text(encoding="utf-8")
    file.write_text(text[: len(text) // 2].rsplit("\n\n", 1)[0] + "\n", encoding="utf-8")
    ran = synced("sync", "corp", "--json", code=5).json
    assert (ran["status"], ran["complete"]) == ("incomplete", False) and ran["incomplete_because"]
    assert not any(ran["counts"][kind] for kind in ("suspend", "deactivate", "delete", "leave", "revoke", "unseat"))
    assert "nothing is taken away by absence" in synced("plan", "corp", code=5).out


def test_a_source_that_cannot_be_read_is_75_and_still_one_object(cli: Cli) -> None:
    ran = cli("sync", "corp", "--json", code=75)
    assert list(ran.json) == KEYS and ran.json["status"] == "failed"
    assert "corp.ldif" in ran.json["incomplete_because"][0] and "corp.ldif" in ran.err


def test_only_some_users_are_brought(cli: Cli, company: sample.Company) -> None:
    cli.directory(company)
    name = company.people[0].uid
    cli("sync", "corp", "--only", f'userName eq "{name}"')
    assert [line for line in cli("user", "list", "--json").out.splitlines() if name in line]
    assert len(cli("user", "list", "--json").out.splitlines()) == 1
    cli("plan", "corp", "--only", "userName eq", code=2)


def test_people_are_looked_up_by_what_only_the_store_knows(synced: Cli, company: sample.Company) -> None:
    name = company.people[0].uid
    key = synced("explain", name, "--json").json["links"][0]["key"]
    for filter in (f'externalId eq "{key}"', f'groups[display eq "all-staff"] and userName eq "{name}"'):
        ran = synced("plan", "corp", "--only", filter, "--json").json
        assert [each["subject"] for each in ran["looked_up"]] == [name], filter


def test_all_that_is_held_of_a_source_is_forgotten_at_once(
    synced: Cli, company: sample.Company, at: Callable[[str], None]
) -> None:
    at("2040-01-01T00:00:00Z")
    synced.directory(without(company, 20))
    synced("sync", "corp", code=None)
    at("2040-01-02T12:00:00Z")
    synced("sync", "corp", code=4)
    people = synced("user", "list", "--json").out
    assert "held items discarded" in synced("runs", "discard", "--source", "corp").err
    assert synced("runs", "list", "--json").json["held"] == []
    assert synced("user", "list", "--json").out == people


def test_a_run_is_shown_with_what_it_changed(synced: Cli) -> None:
    run = synced("runs", "list", "--json").json["runs"][0]["run"]
    shown = synced("runs", "show", run, "--json").json
    assert shown["status"] == "applied" and len(shown["activity"]) >= 60
    assert run in synced("runs", "show", run, "--rows", "3").out


def test_changed_rules_are_a_plan_of_their_own(synced: Cli, at: Callable[[str], None]) -> None:
    at("2040-01-01T00:00:00Z")  # what was granted within the window may go again without being held
    config = synced.folder / "syncd.yaml"
    config.write_text(config.read_text().replace("roles: [crm-user]", "roles: [member]"), encoding="utf-8")
    planned = synced("plan", "rules", "--json", code=4).json
    assert [(each["guard"], each["kind"]) for each in planned["held"]] == [("first_run_after_change", "role")]
    # Nobody loses a role by a changed rule set in passing.
    assert synced("sync", "corp", "--json").json["counts"]["revoke"] == 0
    synced("sync", "rules", code=4)
    digest = synced("runs", "list", "--json").json["held"][0]["digest"]
    approved = synced("runs", "approve", digest, "--json").json
    assert approved["counts"]["revoke"] == len(planned["held"][0]["subjects"])
    synced("plan", "rules")


@pytest.mark.parametrize(
    ("argv", "code", "text"),
    [
        (["plan", "crop"], 2, "did you mean 'corp'?"),
        (["sync", "okta"], 2, "it is not read"),
        (["sync", "scim"], 2, "it is not read"),
        (["plan"], 2, "SOURCE"),
        (["sync", "corp", "--plan", "00000000"], 1, "syncd plan corp"),
        (["runs", "show", "nope"], 1, "runs list"),
        (["runs", "approve", "00000000"], 1, "no held items"),
        (["runs", "approve"], 2, "either a DIGEST"),
        (["runs", "approve", "00000000", "--source", "corp"], 2, "either a DIGEST"),
        (["runs", "approve", "--source", "okta"], 2, "nothing of source okta is held"),
        (["runs", "discard"], 2, "either a DIGEST"),
    ],
)
def test_what_does_not_exist_is_said(cli: Cli, argv: list[str], code: int, text: str) -> None:
    assert text in cli(*argv, code=code).err


def test_monday_comes_in_within_the_limits(cli: Cli) -> None:
    company = sample.company(300, 30, 3)
    cli.directory(company)
    cli("sync", "corp")
    cli.directory(sample.monday(company))
    ran = cli("sync", "corp", "--json", code=None).json
    assert ran["counts"]["create"] == 6 and ran["counts"]["update"] > 0
    assert ran["counts"]["delete"] == ran["counts"]["deactivate"] == 0


def test_the_report_survives_a_reader_that_goes_away(
    synced: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Closed:
        def write(self, _: str) -> int:
            raise BrokenPipeError

        def flush(self) -> None: ...
        def isatty(self) -> bool:
            return False

        def fileno(self) -> int:
            return os.open(tmp_path / "sink", os.O_WRONLY | os.O_CREAT)

    monkeypatch.setattr("sys.stdout", Closed())
    ran = synced("activity", "--format", "jsonl", code=1)
    assert ran.err == ""


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_who_gets_no_seat_of_a_full_pool_is_told(cli: Cli, company: sample.Company) -> None:
    config = cli.folder / "syncd.yaml"
    full = CONFIG.replace("internal: {limit: 600}", "internal: {limit: 1, when_full: refuse}", 1)
    config.write_text(full, encoding="utf-8")
    cli.directory(company)
    assert re.search(r"\d\d users get no seat in internal: it is full, and keeps no line", cli("sync", "corp").out)
    holder = cli("seat", "list", "internal", "--json").json[0]["userName"]
    people = (json.loads(line) for line in cli("user", "list", "--json").out.splitlines())
    other = next(each["userName"] for each in people if each["status"] == "active" and each["userName"] != holder)
    because = "the pool is full: 1 of 1 are taken, and it keeps no line"
    assert cli("explain", other, "--json").json["scheduled"] == [
        {"at": None, "what": "no seat in internal", "because": because}
    ]
    assert cli("explain", holder, "--json").json["scheduled"] == []
    assert "get no seat" not in cli("sync", "corp").out, "it is said once"
