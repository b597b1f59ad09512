"""Groups by command: made, filled, renamed, deleted, and what they give; asked for with numbers and seats."""

from __future__ import annotations

import io
import json

import pytest

from command_line import Cli

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def held(cli: Cli, name: str) -> tuple[list[str], list[str]]:
    found = cli("user", "show", name, "--json").json
    return [each["value"] for each in found["roles"]], [each["value"] for each in found["seats"]]


def test_the_life_of_a_group(cli: Cli) -> None:
    for name in ("ann", "bob", "cy"):
        cli("user", "create", name)
    made = cli("group", "create", "sales", "ann", "--role", "member", "--seat", "internal", "--json").json
    assert ([each["userName"] for each in made["users"]], made["source"]) == (["ann"], "local")
    assert held(cli, "ann") == (["member"], ["internal"])
    cli("group", "create", "emea", "bob")
    cli("group", "add", "sales", "cy", "--group", "emea")
    assert held(cli, "bob") == held(cli, "cy") == (["member"], ["internal"])
    out = cli("explain", "bob").out
    assert "group emea > sales" in out and "bob -> sales (via emea)" in out
    assert "cannot be a member of itself" in cli("group", "add", "sales", "--group", "sales", code=2).err
    told = cli("group", "grant", "sales", "--permission", "nav.reports", "--scope", "unit=north", "--reason", "theirs")
    assert "+ permission nav.reports" in told.out and "group sales" in told.out
    shown = cli("group", "show", "sales", "--json").json["gives"]
    assert [(each["kind"], each["value"]) for each in shown] == [
        *(("permission", "nav.reports"), ("role", "member"), ("scope", "unit=north"), ("seat", "internal")),
    ]
    assert "role member" in cli("group", "list").out and "nav.reports" in cli("group", "show", "sales").out
    cli("group", "rename", "sales", "selling")
    assert held(cli, "ann") == (["member"], ["internal"])
    cli("group", "remove", "selling", "cy", "--yes")
    assert held(cli, "cy") == ([], [])
    assert "it is not there" in cli("group", "remove", "selling", "cy", "--yes", code=1).err
    assert "does not give" in cli("group", "revoke", "selling", "--role", "viewer", code=1).err
    cli("group", "revoke", "selling", "--role", "member", "--yes")
    assert held(cli, "bob") == ([], ["internal"])
    cli("group", "delete", "selling", "--yes")
    assert held(cli, "bob") == ([], [])


def test_explain_shows_every_way_into_a_group(cli: Cli) -> None:
    cli("user", "create", "ann")
    cli("group", "create", "crm")
    for name, above in (("regions", "crm"), ("emea", "regions"), ("apac", "regions"), ("ops", "crm")):
        cli("group", "create", name)
        cli("group", "add", above, "--group", name)
    for name in ("emea", "apac", "ops", "crm"):
        cli("group", "add", name, "ann")
    out = cli("explain", "ann").out
    assert "ann -> regions (via emea; also via apac)" in out
    assert "member, also via ops; via apac > regions; via emea > regions" in out
    cli("group", "remove", "crm", "ann", "--yes")
    assert "ann -> crm (via ops; also via apac > regions; via emea > regions)" in cli("explain", "ann").out
    for n in range(3):
        cli("group", "create", f"w{n}", "ann")
        cli("group", "add", "crm", "--group", f"w{n}")
    out = " ".join(cli("explain", "ann").out.split())
    assert "also via w0; via w1; via w2; 2 more)" in out
    (crm,) = [each for each in cli("explain", "ann", "--json").json["groups"] if each["display"] == "crm"]
    assert crm["also"] == [["w0"], ["w1"], ["w2"], ["apac", "regions"], ["emea", "regions"]]


def test_what_is_taken_away_is_asked_with_numbers_and_seats(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ann", "bob"):
        cli("user", "create", name)
    cli("group", "create", "sales", "ann", "bob", "--role", "member", "--seat", "internal")
    for answer, code in (("n\n", 1), ("y\n", 0)):
        typed = io.StringIO(answer)
        monkeypatch.setattr(typed, "isatty", lambda: True, raising=False)
        monkeypatch.setattr("sys.stdin", typed)
        ran = cli("group", "delete", "sales", code=code)
        assert "2 people lose 2 memberships, 2 roles, permissions or data scopes, 2 seats. Do this?" in ran.err
        assert "internal   2 -> 0" in ran.err
        monkeypatch.setattr("sys.stdin", io.StringIO())
        assert held(cli, "ann") == ((["member"], ["internal"]) if code else ([], []))


def test_a_directory_keeps_its_own_groups(synced: Cli) -> None:
    """It names and fills them; what they give is people's."""
    staff = next(each["id"] for each in synced("group", "list", "--json").json if each["display"] == "crm-users")
    for words in (("rename", staff, "others"), ("delete", staff, "--yes")):
        assert "belongs to source corp" in synced("group", *words, code=1).err
    who = synced("group", "show", staff, "--json").json["users"][0]
    assert "source corp says" in synced("group", "remove", staff, who["id"], "--yes", code=1).err
    synced("group", "grant", staff, "--permission", "nav.intranet")
    found = synced("explain", who["id"], "--json").json["permissions"]
    given = [(each["value"], each["why"]) for each in found if each["origin"] == "group"]
    assert given == [("nav.intranet", "group crm-users")]
    assert synced("plan", "corp", "--json").json["status"] == "clean"
    assert "say what" in synced("group", "grant", staff, code=2).err
    assert "is no permission" in synced("group", "grant", staff, "--permission", "nav", code=2).err
    assert "name who" in synced("group", "add", staff, code=2).err


def test_a_role_of_ones_own(cli: Cli) -> None:
    """Made, changed and deleted by command; what it permits counts at once."""
    cli("user", "create", "ann")
    assert "is no permission" in cli("role", "create", "guide", "--permission", "tours", code=2).err
    assert "is no name" in cli("role", "create", "tour guide", code=2).err
    cli(
        "role",
        "create",
        "guide",
        "--permission",
        "tours.view",
        "--permission",
        "nav.*",
        "--description",
        "in the house",
    )
    cli("role", "grant", "ann", "guide")
    listed = {each["role"]: (each["permissions"], each["where"]) for each in cli("role", "list", "--json").json}
    assert listed["guide"] == (["nav.*", "tours.view"], "made here")
    cli("role", "change", "guide", "--add", "tours.edit", "--remove", "nav.*", "--yes")
    permits = [each["value"] for each in cli("explain", "ann", "--json").json["permissions"]]
    assert permits == ["tours.edit", "tours.view"]
    assert "does not permit nav.*" in cli("role", "change", "guide", "--remove", "nav.*", code=2).err
    assert "configured at" in cli("role", "delete", "crm-user", code=1).err
    assert "move_to" in cli("role", "delete", "guide", code=1).err
    cli("role", "delete", "guide", "--move-to", "viewer", "--yes")
    assert held(cli, "ann") == (["viewer"], [])
    assert "there is no role" in cli("role", "change", "guide", "--add", "tours.view", code=1).err


def test_given_and_taken_back_by_hand_several_at_once(cli: Cli) -> None:
    for name in ("ann", "bob"):
        cli("user", "create", name)
    given = ("--role", "viewer", "--permission", "nav.reports", "--scope", "customer=acme", "--seat", "internal")
    cli("user", "grant", "ann", *given, "--expires", "90d", "--reason", "stands in")
    found = cli("user", "show", "ann", "--json").json
    assert [(each["kind"], each["value"], each["name"] != "") for each in found["data_scopes"]] == [
        ("customer", "acme", True)
    ]
    assert [each["value"] for each in found["permissions"] if each["role"] is None] == ["nav.reports"]
    assert {each["expires"] is None for each in found["roles"]} == {False}
    assert {each["kind"] for each in cli("role", "scopes", "--json").json if each["built_in"]} >= {"unit", "issue-type"}
    assert "distributor" in cli("role", "scopes").out
    assert "no kind of data scope region" in cli("user", "grant", "ann", "--scope", "region=north", code=2).err
    picked = {
        **{("--role", "viewer"): ["ann"], ("--scope", "customer=acme"): ["ann"], ("--seat", "internal"): ["ann"]},
        **{("--source", "corp"): [], ("--idle", "1d"): [], ("--status", "active"): ["ann", "bob"]},
    }
    for words, names in picked.items():
        listed = [json.loads(line)["userName"] for line in cli("user", "list", *words, "--json").out.splitlines()]
        assert listed == names, words
    assert "write a duration" in cli("user", "list", "--idle", "soon", code=2).err
    cli("user", "revoke", "ann", *given[:6], "--yes")
    assert held(cli, "ann") == ([], ["internal"])
    assert "does not have it" in cli("user", "revoke", "ann", "--role", "viewer", "--yes", code=1).err
