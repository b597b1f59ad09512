"""`syncd import` and `syncd user export`: a plan first, faults by line and column, the guards, and back again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from command_line import CONFIG, Cli
from syncd.store import runs

PRICES = CONFIG.replace("crm: {limit: 2", "crm: {limit: 2, price: 5, currency: EUR, per: month")
MAIL = "mail: {host: localhost, tls: none, sender: syncd@example.org}\n"
SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # no engine changes it
PEOPLE = "\ufeffE-Mail;First name;Role;Seats\r\n" + "".join(
    f"{name}@example.org;{name.title()};member;internal|crm\r\n" for name in ("ann", "bob", "cy")
)


@pytest.fixture
def office(cli: Cli) -> Cli:
    (cli.folder / "syncd.yaml").write_text(PRICES + MAIL, encoding="utf-8")
    (cli.folder / "people.csv").write_text(PEOPLE, encoding="utf-8", newline="")
    return cli


def path(office: Cli, name: str = "people.csv") -> str:
    return str(office.folder / name)


def test_a_plan_first_then_the_file(office: Cli) -> None:
    planned = office("import", path(office), "--plan", "--json", code=3).json
    assert (planned["status"], planned["counts"]["create"], planned["counts"]["read"]) == ("pending", 3, 3)
    assert office("user", "list").out == ""
    done = office("import", path(office), "--json").json
    assert (done["status"], done["digest"]) == ("applied", planned["digest"])
    assert {name: n for name, n in done["counts"].items() if n} == {
        name: n for name, n in planned["counts"].items() if n
    }
    crm = next(each for each in done["seats"] if each["pool"] == "crm")
    assert (crm["used_before"], crm["used_after"], crm["waiting_after"]) == (0, 2, 1)
    assert done["cost"] == [{"currency": "EUR", "per": "month", "before": "0.00", "after": "10.00"}]
    shown = office("user", "show", "ann@example.org", "--json").json
    assert [each["value"] for each in shown["roles"]] == ["member"]
    again = office("import", path(office), "--json").json
    assert (again["status"], again["counts"]["read"]) == ("clean", 3)
    listed = office("runs", "list").out
    assert "import --plan" in listed and "import " in listed


@SQLITE
def test_the_plan_shows_seats_and_cost(office: Cli) -> None:
    shown = office("import", path(office), "--plan", code=3).out
    assert "0 -> 2" in shown and "0.00 -> 10.00 EUR/month" in shown and "create" in shown


@SQLITE
def test_faults_are_told_by_line_and_column_and_nothing_is_done(office: Cli) -> None:
    (office.folder / "bad.csv").write_text("userName,role,email\nx,memer,\ny,,no\n", encoding="utf-8")
    said = office("import", path(office, "bad.csv"), code=2).err
    assert "2 faults, so nothing is done" in said
    assert "line 2, column 2 (role): there is no role memer" in said and "did you mean member?" in said
    assert "line 3, column 3 (email): 'no' is not an e-mail address" in said
    many = "userName,email\n" + "".join(f"u{n},no\n" for n in range(200))
    (office.folder / "bad.csv").write_text(many, encoding="utf-8")
    assert "100 faults or more" in office("import", path(office, "bad.csv"), code=2).err
    (office.folder / "bad.csv").write_bytes(b"userName\n\x81\xff\n")
    assert "neither UTF-8 nor" in office("import", path(office, "bad.csv"), code=2).err
    assert "cannot be read" in office("import", path(office, "none.csv"), code=2).err
    assert office("user", "list").out == ""


@SQLITE
def test_windows_saves_in_its_own_way(office: Cli) -> None:
    (office.folder / "win.csv").write_bytes("sep=;\r\nuserName;name.familyName\r\nann;Müller\r\n".encode("cp1252"))
    ran = office("import", path(office, "win.csv"))
    assert "read as Windows-1252, since line 3 is not UTF-8" in ran.err
    assert "Müller" in office("user", "show", "ann").out


@SQLITE
def test_who_is_new_is_asked_in(office: Cli) -> None:
    ran = office("import", path(office), "--invite")
    assert "3 will be written to" in ran.err
    assert "0 will be written to" in office("import", path(office), "--invite").err
    assert [each["state"] for each in office("invitation", "list", "--json").json] == ["pending"] * 3
    (office.folder / "syncd.yaml").write_text(PRICES, encoding="utf-8")
    assert "no mail server" in office("import", path(office), "--invite", code=2).err


@SQLITE
def test_what_would_be_lost_is_held(office: Cli) -> None:
    """A file takes nothing away, but a rule may: by an attribute that it changes."""
    rule = "  - {name: hr, when: 'title eq \"HR\"', permissions: [hr.view]}\n"
    (office.folder / "syncd.yaml").write_text(PRICES.replace("workspaces:\n", f"{rule}workspaces:\n"), encoding="utf-8")
    lines = "userName,title\n" + "".join(f"u{n},HR\n" for n in range(12))
    (office.folder / "hr.csv").write_text(lines, encoding="utf-8")
    office("import", path(office, "hr.csv"))
    (office.folder / "hr.csv").write_text(lines.replace("HR", "Sales"), encoding="utf-8")
    planned = office("import", path(office, "hr.csv"), "--plan", "--json", code=4).json
    [held] = planned["held"]
    assert (held["kind"], held["changes"]) == ("role", 12)
    done = office("import", path(office, "hr.csv"), "--json", code=4).json
    assert done["counts"]["update"] == 12 and done["counts"]["revoke"] == 0
    office("runs", "approve", done["held"][0]["digest"], code=None)
    assert office("user", "show", "u1", "--json").json["permissions"] == []


def test_out_and_in_again(office: Cli) -> None:
    office("import", path(office))
    office("user", "create", "eve", "--display-name", "=HYPERLINK(1)")
    out = path(office, "out.csv")
    office("user", "export", out)
    text = (office.folder / "out.csv").read_text(encoding="utf-8-sig")
    assert "'=HYPERLINK(1)" in text and text.count("\n") == 5
    assert office("user", "export").out.replace("\r\n", "\n") == text
    assert office("import", out, "--json").json["status"] == "clean"
    assert "there already" in office("user", "export", out, code=2).err
    assert "eve" not in office("user", "export", "--filter", 'userName sw "a"').out


@SQLITE
def test_json_is_one_object(office: Cli) -> None:
    assert json.loads(office("import", path(office), "--plan", "--json", code=3).out)["source"] == "local"


@SQLITE
def test_an_import_that_was_killed_is_finished_by_the_next_one(office: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its stored people are made first; then the file is looked at anew, so that nobody is in her own way."""
    monkeypatch.setattr("syncd.store.plans.batch_size", lambda conn, workspace: 20)
    lines = "userName,title\n" + "".join(f"u{n:03},Lead\n" for n in range(30))
    (office.folder / "many.csv").write_text(lines, encoding="utf-8")
    batches = []

    def killed(*given: Any, **more: Any) -> Any:
        batches.append(given)
        if len(batches) == 2:
            raise KeyboardInterrupt
        return apply(*given, **more)

    apply = runs.apply
    monkeypatch.setattr(runs, "apply", killed)
    office("import", path(office, "many.csv"), code=None)
    monkeypatch.setattr(runs, "apply", apply)
    made = len(office("user", "list", "--json").out.splitlines())
    assert 0 < made < 30
    done = office("import", path(office, "many.csv"), "--json").json
    assert (done["status"], done["set_aside"]) == ("clean", [])
    assert len(office("user", "list", "--json").out.splitlines()) == 30
    assert [each["status"] for each in office("runs", "list", "--json").json["runs"]] == ["clean", "applied"]
