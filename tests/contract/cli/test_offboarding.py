"""`syncd user offboard`, `handover` and `leaving`, without a daemon."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from command_line import Cli

MANAGER = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value"


@pytest.fixture
def team(cli: Cli, at: Callable[[str], None]) -> Cli:
    at("2026-05-04T12:00")
    cli("user", "create", "boss", "--role", "owner")
    clara = cli("user", "create", "clara", "--json").json["id"]
    rosa = cli(
        "user", "create", "rosa", "--role", "member", "--seat", "internal", "--set", f"{MANAGER}={clara}", "--json"
    )
    cli("user", "create", "karl", "--set", f"{MANAGER}={rosa.json['id']}")
    return cli


def test_somebody_leaves_on_a_date(team: Cli, at: Callable[[str], None]) -> None:
    set_ = team("user", "offboard", "rosa", "--at", "2026-06-30T18:00", "--reason", "moves on", "--json").json
    assert (set_["status"], set_["ends_at"], set_["source"]) == ("active", "2026-06-30T18:00:00Z", "local")
    assert set_["hand_over_to"]["userName"] == "clara" and set_["hand_over_to"]["because"] == "manager"
    assert set_["handover"]["seats"] == ["internal"] and set_["handover"]["roles"] == ["member"]
    assert [each["userName"] for each in set_["handover"]["reports"]] == ["karl"]
    assert "2026-06-30 18:00" in team("user", "leaving", "--within", "12w").out
    assert team("user", "leaving", "--within", "7d").err == "syncd: nobody leaves within 7d\n"
    assert "status becomes inactive" in team("explain", "rosa").out
    told = team("user", "handover", "rosa", "--to", "boss")
    assert told.err == "syncd: rosa leaves on 2026-06-30 18:00:00 UTC, as local states; to hand over to boss (chosen)\n"
    assert "karl" in told.out and "internal" in told.out
    assert "has no date of leaving" in team("user", "offboard", "rosa", "--cancel").err
    assert team("user", "show", "rosa", "--json").json["links"][0]["ends_at"] is None
    assert "moves on" in team("activity").out


def test_somebody_leaves_now(team: Cli) -> None:
    told = team("user", "offboard", "rosa", "--hand-over-to", "boss", "--yes")
    assert "deactivate" in told.out and "unseat" in told.out
    assert team("user", "show", "rosa", "--json").json["status"] == "inactive"
    assert "has left" in team("user", "offboard", "rosa", "--cancel", code=1).err
    assert team("user", "reactivate", "rosa", "--json").json["status"] == "active"


def test_mistakes_are_told(team: Cli) -> None:
    assert "has passed" in team("user", "offboard", "rosa", "--at", "2020-01-01", code=1).err
    assert "neither a time" in team("user", "offboard", "rosa", "--at", "soon", code=2).err
    assert "--cancel takes" in team("user", "offboard", "rosa", "--cancel", "--at", "1d", code=2).err
    assert "owner" in team("user", "offboard", "boss", "--at", "3d", code=1).err
    assert "cannot take over from herself" in team("user", "offboard", "rosa", "--hand-over-to", "rosa", code=1).err
    assert "no date of leaving" in team("user", "handover", "rosa", "--to", "boss", code=1).err
    team("user", "leaving", "--within", "soon", code=2)
    team("user", "handover", "nobody", code=1)
