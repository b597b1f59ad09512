"""What a directory says of an account, end to end: a lock-out is no leaver, and a date acts at its instant."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from command_line import Cli
from syncd.app import compose

CONFIG = """
database: sqlite:///unused.db
timezone: Europe/Berlin
seats: {internal: {limit: 10}}
sources:
  corp:
    kind: ldif
    path: corp.ldif
    accounts: {lockout: 1h, ends_at: contractEnd, starts_at: contractStart, disabled: 'employeeType eq "leaver"'}
rules:
  - {name: staff, when: 'source eq "corp"', roles: [member], seats: [internal]}
"""


def person(number: int, uid: str, **attributes: str) -> str:
    said = "".join(f"{name}: {value}\n" for name, value in attributes.items())
    return (
        f"dn: uid={uid},dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: {uid}\nsn: X\ngivenName: {uid}\n"
        f"entryUUID: 00000000-0000-4000-8000-{number:012}\n{said}\n"
    )


@pytest.fixture
def corp(cli: Cli) -> Callable[..., dict[str, Any]]:
    """Read a directory of these entries; returns the run's object."""
    (cli.folder / "syncd.yaml").write_text(CONFIG, encoding="utf-8")

    def read(*entries: str, code: int = 0, only: str | None = None) -> dict[str, Any]:
        text = "".join(entries) + f"# numEntries: {len(entries)}\n"
        (cli.folder / "corp.ldif").write_text(text, encoding="utf-8")
        chosen = ["--only", only] if only else []
        return dict(cli("sync", "corp", "--json", *chosen, code=code).json)

    return read


def tick(cli: Cli) -> None:
    app = compose(cli.folder / "syncd.yaml", os.environ)
    database = app.database()
    try:
        app.timers(database, app.clock).tick()
    finally:
        database.close()


def explained(cli: Cli, who: str = "ann") -> dict[str, Any]:
    return dict(cli("explain", who, "--json").json)


def test_a_start_and_an_end_act_at_their_instants_and_explain_shows_both(
    cli: Cli, corp: Callable[..., dict[str, Any]], at: Callable[[str], None]
) -> None:
    at("2026-06-01T12:00:00Z")
    corp(person(1, "ann", contractStart="2026-07-01", contractEnd="2026-12-31"), person(2, "bob"))
    coming = explained(cli)
    assert (coming["status"], coming["seats"]) == ("inactive", [])
    assert [(each["at"], each["what"], each["because"]) for each in coming["scheduled"]] == [
        ("2026-06-30T22:00:00Z", "status becomes active", "source corp states this date"),
        ("2026-12-31T23:00:00Z", "status becomes inactive", "source corp states this date"),
    ]
    shown = " ".join(cli("explain", "ann").out.split())
    assert "starts 2026-06-30 22:00:00, ends 2026-12-31 23:00:00" in shown

    at("2026-06-30T21:59:59Z")
    tick(cli)
    assert explained(cli)["status"] == "inactive"
    at("2026-06-30T22:00:00Z")
    tick(cli)
    there = explained(cli)
    assert (there["status"], [each["value"] for each in there["seats"]]) == ("active", ["internal"])
    at("2026-12-31T22:59:59Z")
    tick(cli)
    assert explained(cli)["status"] == "active"
    at("2026-12-31T23:00:00Z")
    tick(cli)
    over = explained(cli)
    assert (over["status"], over["seats"], over["scheduled"]) == ("inactive", [], [])
    said = [json.loads(line) for line in cli("activity", "--format", "jsonl").out.splitlines()]
    assert [each["why"] for each in said if each["action"] in ("reactivate", "deactivate")] == [
        "the start date that corp states has come",
        "the end date that corp states has come",
    ]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_where_no_daemon_runs_a_sync_acts_on_the_dates_that_came(
    cli: Cli, corp: Callable[..., dict[str, Any]], at: Callable[[str], None]
) -> None:
    at("2026-06-01T12:00:00Z")
    people = [person(1, "ann", contractEnd="2026-06-30"), person(2, "bob", contractStart="2026-07-01")]
    corp(*people)
    at("2026-06-30T22:00:00Z")
    cli("plan", "corp")
    assert "ann" in cli("user", "list", "--status", "active").out, "a plan writes nothing"
    ran = cli("sync", "corp")
    assert "dates of 2 users had come" in ran.err and "no change" in ran.out
    assert [
        line.split()[0] for line in cli("user", "list", "--status", "active").out.splitlines() if "2026" in line
    ] == ["bob"]
    (pool,) = cli("seat", "list", "--json").json
    assert pool["used"] == 1
    assert "had come" not in cli("sync", "corp").err
    corp(person(1, "ann", contractEnd="2026-12-31"), people[1])
    assert explained(cli)["status"] == "active", "a date that was moved is as if it had not come"


def test_a_lock_out_takes_nothing_and_ends_by_itself(
    cli: Cli, corp: Callable[..., dict[str, Any]], at: Callable[[str], None]
) -> None:
    at("2026-06-01T12:00:00Z")
    corp(person(1, "ann"), person(2, "bob"))
    run = corp(person(1, "ann", pwdAccountLockedTime="20260601113000Z"), person(2, "bob"))
    assert {kind: n for kind, n in run["counts"].items() if n} == {"read": 2, "update": 1}
    locked = explained(cli)
    assert (locked["status"], locked["enabled"]) == ("locked", True)
    assert [each["value"] for each in locked["roles"] + locked["seats"]] == ["member", "internal"]
    assert locked["scheduled"][0] == {
        "at": "2026-06-01T12:30:00Z",
        "what": "status becomes active",
        "because": "the lock-out in corp ends",
    }
    assert "locked out until 2026-06-01 12:30:00" in " ".join(cli("explain", "ann").out.split())
    assert "locked out in source corp" in cli("user", "unlock", "ann", code=1).err
    at("2026-06-01T12:30:00Z")
    tick(cli)
    assert explained(cli)["status"] == "active"


def test_a_condition_over_the_directorys_own_attributes(cli: Cli, corp: Callable[..., dict[str, Any]]) -> None:
    corp(person(1, "ann", employeeType="staff"), person(2, "bob"))
    run = corp(person(1, "ann", employeeType="Leaver"), person(2, "bob"))
    assert run["counts"]["deactivate"] == 1
    (change,) = [each for each in run["changes"] if each["kind"] == "deactivate"]
    assert change["why"] == 'accounts.disabled: employeeType eq "leaver"'
    (link,) = explained(cli)["links"]
    assert link["because"] == change["why"]
    assert 'disabled: accounts.disabled: employeeType eq "leaver"' in " ".join(cli("explain", "ann").out.split())
    corp(person(1, "ann", employeeType="Leaver", nsAccountLock="TRUE"), person(2, "bob"))
    corp(person(1, "ann"), person(2, "bob"))
    assert explained(cli)["links"][0]["because"] is None


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_whoever_is_disabled_and_lost_what_names_her_is_closed_all_the_same(
    cli: Cli, corp: Callable[..., dict[str, Any]]
) -> None:
    """Whoever leaves often loses her mail or name first. Only that she is disabled is believed; the rest is looked at again."""
    ann = person(1, "ann", employeeType="staff")
    corp(ann, person(2, "bob"))
    broken = ann.replace("uid: ann\n", "")
    assert corp(broken, person(2, "bob"))["counts"].get("deactivate", 0) == 0
    run = corp(broken.replace("staff", "leaver"), person(2, "bob"))
    (aside,) = run["set_aside"]
    assert aside["why"].startswith("userName: ") and run["counts"]["deactivate"] == 1
    (change,) = [each for each in run["changes"] if each["kind"] == "deactivate"]
    assert change["why"] == 'accounts.disabled: employeeType eq "leaver"; nothing else of the entry can be used'
    closed = explained(cli)
    assert (closed["status"], closed["seats"], closed["displayName"]) == ("inactive", [], "ann X")
    assert corp(broken.replace("staff", "leaver"), person(2, "bob"))["changes"] == []
    corp(ann, person(2, "bob"))
    assert explained(cli)["status"] == "active", "an entry that is as it was before is read again"
    corp(broken.replace("staff", "leaver"), person(2, "bob"), only='userName eq "ann"')
    assert explained(cli)["status"] == "inactive", "by looking her up too"
