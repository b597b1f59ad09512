"""`syncd adopt`: whoever may be a person who is known waits, is listed, and is decided about by name."""

from __future__ import annotations

import pytest

from command_line import Cli
from syncd import sample

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def asked(cli: Cli, company: sample.Company) -> tuple[Cli, str, str]:
    """Two people of the directory have the names of users whom somebody made by hand."""
    one, two = company.people[0].uid, company.people[1].uid
    config = cli.folder / "syncd.yaml"
    asking = config.read_text().replace("    path: corp.ldif", "    path: corp.ldif\n    adopt: ask")
    config.write_text(asking, encoding="utf-8")
    for name in (one, two):
        cli("user", "create", name)
    cli.directory(company)
    assert f"may be {one} (score 100: userName)" in cli("plan", "corp", "--json", code=3).out
    assert cli("adopt", "list", "--json").json == {"adoptions": []}
    cli("sync", "corp")
    return cli, one, two


def test_who_waits_is_listed_and_decided_about(asked: tuple[Cli, str, str]) -> None:
    cli, one, two = asked
    listed = cli("adopt", "list", "--json").json["adoptions"]
    assert {each["user_name"] for each in listed} == {one, two}
    assert "score 100: userName" in cli("adopt", "list").out
    waiting = cli("runs", "quarantine", "--json").json["quarantine"]
    assert {each["entry"].split(",")[0] for each in waiting} == {f"uid={one}", f"uid={two}"}
    assert "may be" in cli("runs", "quarantine", "--source", "corp").out
    assert cli("runs", "quarantine", "--source", "other", "--json").json == {"quarantine": []}
    status = cli("status", "--json", code=None).json
    assert [each["adoptions_waiting"] for each in status["sources"]] == [2]
    assert any("syncd adopt list" in each["do"] for each in status["findings"])

    assert f"syncd sync corp --only 'userName eq \"{one}\"'" in cli("adopt", "accept", one).err
    assert "is somebody new" in cli("adopt", "refuse", two).err
    assert cli("adopt", "list", "--undecided", "--json").json == {"adoptions": []}
    ran = cli("sync", "corp", "--json").json
    assert ran["counts"]["adopt"] == 1 and [each["entry"].split(",")[0] for each in ran["set_aside"]] == [f"uid={two}"]
    assert [link["source"] for link in cli("explain", one, "--json").json["links"]] == ["corp", "local"]
    assert "Values that several sources state" in cli("explain", one).out
    cli("user", "delete", two, "--yes")  # whoever had the name is gone: she is somebody new
    assert cli("sync", "corp", "--json").json["counts"]["create"] == 1
    cli("adopt", "accept", two, code=1)


def test_what_is_typed_wrongly_is_told(asked: tuple[Cli, str, str]) -> None:
    cli, one, _ = asked
    assert "adopt list" in cli("adopt", "accept", "nobody", code=1).err
    cli("adopt", "accept", one, "nobody", code=1)
    cli("adopt", code=2)
    assert cli("adopt", "list", "--source", "other", "--json").json == {"adoptions": []}


def test_an_answer_that_names_somebody_deleted_since_is_none(asked: tuple[Cli, str, str]) -> None:
    cli, one, two = asked
    cli("adopt", "accept", one, two)
    assert cli("adopt", "accept", one, two).code == 0, "said once more, it is the same"
    cli("user", "delete", two, "--yes")
    waiting = {each["user_name"]: each for each in cli("adopt", "list", "--json").json["adoptions"]}
    assert waiting[one]["decision"] is None and [each["name"] for each in waiting[one]["candidates"]] == [one]
    assert waiting[two]["candidates"] == []
    assert "nobody any more: say which one" in cli("adopt", "accept", two, code=1).err
    ran = cli("sync", "corp", "--json").json
    assert (ran["counts"]["adopt"], ran["counts"]["create"]) == (0, 1), "whose name is free again is made anew"
    assert cli("user", "show", two, "--json").json["status"] == "active"
    assert [each["user_name"] for each in cli("adopt", "list", "--json").json["adoptions"]] == [one], "asked about anew"


def test_several_people_she_may_be_stand_in_one_line(cli: Cli, company: sample.Company) -> None:
    config, who = cli.folder / "syncd.yaml", company.people[0]
    asking = "    path: corp.ldif\n    adopt: ask\n    correlation: {rules: [{same: displayName, score: 60}]}"
    config.write_text(config.read_text().replace("    path: corp.ldif", asking), encoding="utf-8")
    for name in ("k.one", "k.two"):
        cli("user", "create", name, "--display-name", f"{who.given} {who.family}")
    cli.directory(company)
    cli("sync", "corp")
    assert "k.one (score 60: displayName); or k.two (score 60: displayName)" in cli("adopt", "list").out
    assert "say which one" in cli("adopt", "accept", who.uid, code=1).err
