"""`syncd seat report`: one set of figures as a table, a sheet and an object."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime

from command_line import CONFIG, Cli
from syncd.app import TimeOrderedIds
from syncd.core.actor import Actor
from syncd.core.signins import SignIn
from syncd.core.workspace import Workspace
from syncd.store import signins
from syncd.store.engine import Database


def test_used_free_waiting_idle_and_cost(cli: Cli, at: Callable[[str], None], database_url: str) -> None:
    priced = CONFIG.replace("{limit: 600}", "{limit: 600, price: 12.50, currency: EUR}")
    priced = priced.replace("{limit: 2, requires", "{limit: 2, price: 30, currency: EUR, per: year, requires")
    (cli.folder / "syncd.yaml").write_text(priced, encoding="utf-8")
    at("2030-01-01T00:00:00Z")
    ids = {}
    for name in ("ann", "bob", "cy"):
        ids[name] = cli("user", "create", name, "--seat", "internal", "--seat", "crm", "--json").json["id"]
    pools = {each["pool"]: each for each in cli("seat", "report", "--format", "json").json["pools"]}
    assert (pools["crm"]["used"], pools["crm"]["free"], pools["crm"]["waiting"]) == (2, 0, 1)
    assert pools["crm"]["waiting_since"].startswith("2030-01-01")
    assert pools["crm"]["idle"] is None, "nobody knows who is idle until the application reports sign-ins"
    at("2030-06-01T00:00:00Z")
    database = Database(database_url)
    came = SignIn(True, datetime(2030, 6, 1, tzinfo=UTC))
    with database.writing() as conn:
        signins.report(conn, Workspace(), Actor("api", "crm", "default"), ids["ann"], came, came.at, TimeOrderedIds())
    database.close()
    found = cli("seat", "report", "--format", "json").json
    assert [(each["pool"], each["idle"], each["cost"]) for each in found["pools"]] == [
        ("internal", 2, "37.50"),
        ("crm", 1, "60.00"),
    ]
    assert found["cost"] == [
        {"currency": "EUR", "per": "month", "cost": "37.50"},
        {"currency": "EUR", "per": "year", "cost": "60.00"},
    ]
    assert cli("seat", "report", "--format", "json", "--idle", "200d").json["pools"][0]["idle"] == 0
    sheet = list(csv.DictReader(io.StringIO(cli("seat", "report", "--format", "csv").out)))
    assert (sheet[1]["pool"], sheet[1]["waiting"], sheet[1]["cost"]) == ("crm", "1", "60.00")
    shown = cli("seat", "report").out
    assert "12.50 EUR/month" in shown and "37.50 EUR/month" in shown and "idle 90d" in shown
    assert "write a duration" in cli("seat", "report", "--idle", "soon", code=2).err


def test_a_price_needs_a_currency(cli: Cli) -> None:
    (cli.folder / "syncd.yaml").write_text(
        CONFIG.replace("{limit: 600}", "{limit: 600, price: 12.50}"), encoding="utf-8"
    )
    assert "price and currency belong together" in cli("seat", "report", code=78).err


def test_a_place_in_the_line(cli: Cli) -> None:
    for name in ("ann", "bob", "cy", "dan"):
        cli("user", "create", name, "--seat", "internal", "--seat", "crm")
    cli("seat", "place", "dan", "crm", "5", "--reason", "starts on Monday")
    shown = cli("seat", "list", "crm").out.splitlines()
    assert [line.split()[0] for line in shown if "waits" in line] == ["dan", "cy"]
