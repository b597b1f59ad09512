"""`syncd token create --client | --public-keys`: what an OAuth client is given, and what is kept of it."""

from __future__ import annotations

import json
import re

from joserfc import jwk

from command_line import Cli
from syncd.store import tables as t
from syncd.store.engine import Database

KEY = jwk.ECKey.generate_key("P-256", {"kid": "k1"})


def test_a_client_gets_its_secret_once(cli: Cli) -> None:
    ran = cli(
        "token", "create", "--name", "okta", "--source", "okta", "--client", "--allow", "users:read:userName groups:*"
    )
    secret = ran.out.strip()
    assert re.fullmatch(r"syncd_[0-9a-f]{16}_[0-9a-f]{64}", secret)
    id = secret.split("_")[1]
    assert f"client_id {id}" in ran.err and secret not in ran.err
    (listed,) = cli("token", "list", "--json").json
    assert (listed["id"], listed["use"], listed["allow"]) == (id, "client", ["groups:*", "users:read:userName"])
    assert "live client" in cli("token", "list").out and secret not in cli("token", "list").out
    fresh = cli("token", "rotate", "okta", "--grace", "1h").out.strip()
    assert fresh != secret
    assert [each["use"] for each in cli("token", "list", "--json").json] == ["client", "client"]


def test_a_client_with_keys_has_no_secret_and_its_private_key_is_not_kept(cli: Cli, database_url: str) -> None:
    public, private = cli.folder / "public.json", cli.folder / "private.json"
    public.write_text(json.dumps({"keys": [KEY.as_dict(private=False)]}), encoding="utf-8")
    private.write_text(json.dumps({"keys": [KEY.as_dict(private=True)]}), encoding="utf-8")
    ran = cli("token", "create", "--name", "signs", "--source", "okta", "--public-keys", str(public))
    assert re.fullmatch(r"[0-9a-f]{16}\n", ran.out)
    assert "new keys" in cli("token", "rotate", "signs", code=1).err
    for wrong in (private, cli.folder / "none.json", cli.folder / "corp.ldif"):
        assert str(wrong) in cli("token", "create", "--name", "x", "--public-keys", str(wrong), code=2).err
    database = Database(database_url)
    with database.reading() as conn:
        (row,) = conn.execute(t.tokens.select()).all()
    database.close()
    assert row.public_keys == {"keys": [KEY.as_dict(private=False)]} and "d" not in row.public_keys["keys"][0]


def test_permissions_are_listed_as_people_list_them(cli: Cli) -> None:
    ways = (
        ["--allow", "users:read", "roles:write"],
        ["--allow", "users:read roles:write"],
        ["--allow", "users:read,roles:write"],
        ["--allow", "users:read", "--allow", "roles:write"],
        ["--allow", "users:read", "roles:write", "--expires", "90d"],
    )
    for number, way in enumerate(ways):
        cli("token", "create", "--name", f"t{number}", "--source", "okta", *way)
    assert {tuple(each["allow"]) for each in cli("token", "list", "--json").json} == {("roles:write", "users:read")}
    assert "--allow" in cli("token", "create", "--name", "x", "users:read", code=2).err
    assert "users:fly" in cli("token", "create", "--name", "x", "--allow", "users:read", "users:fly", code=1).err


def test_a_permission_that_does_not_exist_is_named_with_what_can_be_chosen(cli: Cli) -> None:
    for wrong in ("users:fly", "users:update:shoeSize", "users:delete:title"):
        said = cli("token", "create", "--name", "x", "--allow", wrong, code=1).err
        assert wrong in said
