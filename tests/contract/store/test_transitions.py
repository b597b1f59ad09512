"""Dates that have come, on both engines: whose guard judges them, what is recorded of a hold, and who stops whom."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from door_stage import Stage, policy, staff, user
from syncd.core.change import UserEdit
from syncd.core.guards import Limit, Limits
from syncd.core.seats import Pool
from syncd.core.state import Grant
from syncd.store import tables as t
from syncd.store import transitions
from syncd.store.transitions import GUARD, Due, Settled

DAY = timedelta(days=1)


@pytest.fixture
def corp(stage: Stage) -> Stage:
    """100 people of corp; okta may push too. Corp may deactivate 5, people 5."""
    stage.configure(sources={"corp": policy(), "okta": policy("okta", kind="scim")}, pools={"crm": Pool("crm", 2)})
    stage.do(*(user(id, "corp") for id in staff("u", 100)), source="corp")
    stage.later(days=2)  # what a source made within the window it may take back
    return stage


def due(stage: Stage, passing: frozenset[str] = frozenset(), limit: int = 200) -> list[Due]:
    with stage.database.reading() as conn:
        return transitions.due(conn, stage.workspace, stage.now, passing, limit)


def settle(stage: Stage, source: str = "corp") -> Settled:
    found = [each for each in due(stage) if each.source == source]
    settled = stage.database.write_now(
        lambda conn: transitions.settle(conn, stage.workspace, source, found, stage.now, stage.ids)
    )
    stage.sound()
    return settled


def end(stage: Stage, *ids: str, source: str = "corp") -> None:
    for id in ids:
        stage.restate(id, source, ends_at=stage.now + DAY).check()


def test_a_date_is_judged_by_the_limits_of_who_stated_it(corp: Stage) -> None:
    end(corp, *staff("u", 5))
    expiring = Grant("role", "viewer", "direct", "root", expires_at=corp.now + DAY)
    corp.do(UserEdit("u050", "local", grant=(expiring,)))
    corp.do(UserEdit("u051", "local", facts={"locked_until": corp.now + DAY}))
    corp.later(days=1)
    assert {each.id: each.source for each in due(corp)} == {
        **dict.fromkeys(staff("u", 5), "corp"),
        **{"u050": "local", "u051": "local"},
    }
    assert settle(corp, "corp") == settle(corp, "local") == Settled()
    assert [corp.user(id).status for id in ("u000", "u050", "u051")] == ["inactive", "active", "active"]
    assert corp.roles("u050") == set()
    assert {(row.source, row.kind) for row in corp.rows(t.losses)} == {("corp", "deactivate"), ("local", "role")}
    whys = dict.fromkeys(why for _, _, why in corp.activity("deactivate", "revoke"))
    assert list(whys) == ["the end date that corp states has come", "role viewer has expired"]
    assert due(corp) == []


def test_a_hold_is_recorded_once_and_passes_when_the_limit_allows(corp: Stage) -> None:
    end(corp, *staff("u", 6))
    corp.later(days=1)
    first = settle(corp)
    assert set(first.held) == set(staff("u", 6)) and "6 of 100" in first.held["u000"]
    assert {row.guard for row in corp.rows(t.held)} == {GUARD}
    for _ in range(3):
        corp.later(hours=1)
        assert settle(corp).held == first.held
    assert len(corp.activity("held")) == len(corp.kept()) == 6
    limits = Limits({"deactivate": Limit(number=50, floor=10)})
    corp.configure(sources={"corp": policy(limits=limits)})
    assert settle(corp) == Settled()
    assert corp.kept() == [] and corp.user("u005").status == "inactive"


def test_what_is_held_may_be_approved(corp: Stage) -> None:
    end(corp, *staff("u", 6))
    corp.later(days=1)
    settle(corp)
    (digest,) = {row.digest for row in corp.rows(t.held)}
    assert corp.approve(digest).counts["deactivate"] == 6
    assert due(corp) == [] and corp.kept() == []


def test_a_push_that_is_held_stays_held_as_it_was_pushed(corp: Stage) -> None:
    corp.configure(sources={"okta": policy("okta", kind="scim", limits=Limits({"deactivate": Limit(0, 0, 0)}))})
    corp.do(user("v1", "okta"), source="okta")
    corp.later(days=2)
    end(corp, "v1", source="okta")
    assert corp.restate("v1", "okta", enabled=False, ends_at=corp.now + DAY).error is not None
    (pushed,) = corp.rows(t.held)
    corp.later(days=1)
    assert set(settle(corp, "okta").held) == {"v1"}
    assert corp.rows(t.held) == [pushed]
    assert len(corp.activity("held")) == 1


def test_who_is_refused_or_held_stops_nobody_and_keeps_her_seat(corp: Stage) -> None:
    seat = Grant("seat", "crm", "direct", "root")
    owner = Grant("role", "owner", "direct", "root")
    corp.do(UserEdit("u000", "local", grant=(seat, owner)))
    corp.do(UserEdit("u001", "local", grant=(seat,)))
    corp.do(UserEdit("u090", "local", grant=(seat,)))
    corp.do(UserEdit("u091", "local", grant=(seat,)))
    end(corp, "u000", "u001", "u002")
    corp.later(days=1)
    settled = settle(corp)
    assert list(settled.refused) == ["u000"] and "last active owner" in settled.refused["u000"]
    assert [corp.user(id).status for id in ("u000", "u001", "u002")] == ["active", "inactive", "inactive"]
    assert corp.held("crm") == ["u000", "u090"]  # the one seat that was freed
    corp.later(hours=1)
    assert list(settle(corp).refused) == ["u000"]
    assert len(corp.activity("refused")) == 1


def test_those_who_are_passed_over_do_not_stand_in_the_way(corp: Stage) -> None:
    end(corp, *staff("u", 30))
    corp.later(days=1)
    assert [each.id for each in due(corp, frozenset(staff("u", 28)), 5)] == ["u028", "u029"]
    assert [each.id for each in due(corp, limit=3)] == ["u000", "u001", "u002"]


def test_a_start_date_lets_somebody_in(corp: Stage) -> None:
    corp.restate("u000", "corp", starts_at=corp.now + DAY).check()
    assert corp.user("u000").status == "inactive"
    corp.later(days=1)
    assert settle(corp) == Settled() and corp.user("u000").status == "active"


def test_a_lock_out_of_a_directory_ends_at_its_instant(corp: Stage) -> None:
    corp.restate("u000", "corp", locked_until=corp.now + DAY).check()
    assert corp.user("u000").status == "locked"
    before = corp.now
    corp.later(days=1)
    assert [(each.source, each.why) for each in due(corp)] == [("corp", "the lock-out in corp has ended")]
    assert settle(corp) == Settled() and corp.user("u000").status == "active"
    with corp.database.reading() as conn:
        rewound = transitions.rewound(conn, "default", before, corp.now)
    assert [(each.id, each.source) for each in rewound] == [("u000", "corp")]


def test_a_clock_that_ran_ahead_is_made_good(corp: Stage) -> None:
    end(corp, "u000")
    corp.do(UserEdit("u001", "local", facts={"locked_until": corp.now + DAY}))
    before = corp.now
    corp.later(days=300)
    settle(corp, "corp")
    settle(corp, "local")
    assert corp.user("u000").status == "inactive"
    ahead, corp.now = corp.now, before
    with corp.database.reading() as conn:
        found = transitions.rewound(conn, "default", corp.now, ahead)
    assert {each.id: each.source for each in found} == {"u000": "corp", "u001": "local"}
    for each in found:
        corp.database.write_now(
            lambda conn, each=each: transitions.settle(conn, corp.workspace, each.source, [each], corp.now, corp.ids)
        )
    assert (corp.user("u000").status, corp.user("u001").status) == ("active", "locked")
    corp.sound(corp.now)


def test_a_source_that_is_not_read_lets_nobody_fall(corp: Stage) -> None:
    gone = replace(corp.user("u000").links[0], missing_since=corp.now, missing_reads=1, stage="missing")
    corp.do(UserEdit("u000", "corp", link=gone), source="corp")
    corp.later(days=400)
    assert due(corp) == [] and corp.user("u000").status == "active"
