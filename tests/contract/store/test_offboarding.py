"""Leaving by date: set, taken back, warned of, fired at its instant whatever is restarted, and handed over once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from door_stage import Stage, owner, policy, protects, user
from syncd.core.actor import Actor
from syncd.core.change import UserEdit
from syncd.core.guards import Limit, Limits
from syncd.core.offboarding import MANAGER, enabled_again, warning
from syncd.core.seats import Pool
from syncd.core.state import Grant
from syncd.errors import Conflict, InvalidValue, Refused
from syncd.store import deliveries, events, offboarding, purge
from syncd.store import tables as t
from syncd.store.commit import Outcome
from syncd.store.offboarding import Offboarding, Report
from syncd.timers import Timers

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
ROOT = Actor("cli", "root", "default")


def _team(stage: Stage) -> Stage:
    """Rosa, with a role and a seat; her manager Clara, and Karl, whom she manages."""
    stage.configure(
        sources={"corp": policy()}, pools={"desk": Pool("desk", 5)}, webhooks=("app",), warn_before=(3 * DAY, DAY)
    )
    access = tuple(Grant(kind, value, "direct", "root") for kind, value in (("role", "member"), ("seat", "desk")))
    stage.do(user("boss", grant=(owner(),)), user("clara", values={MANAGER: "boss"}))
    stage.do(user("rosa", "corp", values={MANAGER: "clara"}, grant=access), user("karl", values={MANAGER: "rosa"}))
    return stage


@pytest.fixture
def team(stage: Stage) -> Stage:
    return _team(stage)


@pytest.fixture
def solo(tmp_path: Path) -> Iterator[Stage]:
    """The same on SQLite: what no engine can change."""
    made = _team(Stage(f"sqlite:///{tmp_path / 'syncd.db'}"))
    yield made
    made.close()


def offboard(stage: Stage, id: str, at: datetime | None = None, to: str | None = None) -> Outcome:
    with stage.database.writing() as conn:
        known = stage.user(id)
        return offboarding.schedule(conn, stage.workspace, ROOT, known, at, to, "moves on", stage.now, stage.ids)


def cancel(stage: Stage, id: str) -> None:
    with stage.database.writing() as conn:
        offboarding.cancel(conn, stage.workspace, ROOT, stage.user(id), "stays", stage.now, stage.ids).check()


def standing(stage: Stage, id: str) -> Offboarding:
    with stage.database.reading() as conn:
        return offboarding.find(conn, stage.workspace, stage.user(id), stage.now)


def report(stage: Stage, id: str) -> Report:
    with stage.database.reading() as conn:
        return offboarding.report(conn, stage.workspace, stage.user(id), stage.now)


def tick(stage: Stage, **later: float) -> None:
    """A worker that has just started, so much later."""
    stage.later(**later)
    Timers(stage.database, {"default": stage.workspace}, lambda: stage.now, stage.ids).tick()
    stage.sound()


def told(stage: Stage) -> list[tuple[str, Any]]:
    rows = [row.payload["events"].get(events.OFFBOARDING) for row in stage.rows(t.outbox)]
    return [(said["kind"], said["hand_over_to"]) for said in rows if said]


def test_she_leaves_at_the_instant_and_all_is_told_once_whatever_is_restarted(team: Stage) -> None:
    at = team.now + 5 * DAY
    offboard(team, "rosa", at).check()
    assert (team.user("rosa").status, team.held("desk")) == ("active", ["rosa"])
    assert standing(team, "rosa").leave is not None and standing(team, "rosa").set_by == "root"
    tick(team)
    assert told(team) == []
    tick(team, days=2)
    tick(team, minutes=2)
    assert told(team) == [("due", "clara")]
    tick(team, days=2)
    tick(team, hours=1)
    assert told(team) == [("due", "clara")] * 2
    team.now = at - timedelta(seconds=1)
    tick(team)
    assert team.user("rosa").status == "active"
    tick(team, seconds=1)
    assert (team.user("rosa").status, team.held("desk")) == ("inactive", [])
    tick(team, minutes=2)
    tick(team, minutes=2)
    assert told(team) == [("due", "clara"), ("due", "clara"), ("handover", "clara")]
    seen = report(team, "rosa")
    assert seen.then and seen.to is not None and (seen.to.id, seen.to.because) == ("clara", "manager")
    assert (seen.what.roles, seen.what.seats, seen.what.reports) == (("member",), ("desk",), ("karl",))
    assert seen.people == {"karl": "karl"}
    assert [action for action, _, _ in team.activity("offboard", "offboard_due", "offboard_handover")] == [
        *("offboard", "offboard_due", "offboard_due", "offboard_handover")
    ]
    with team.database.reading() as conn:
        assert [each.kind for each in deliveries.listed(conn, "default")] == ["deactivated", "handover"]


def test_at_once(solo: Stage) -> None:
    offboard(solo, "rosa", to="boss").check()
    assert (solo.user("rosa").status, solo.held("desk")) == ("inactive", [])
    tick(solo)
    assert told(solo) == [("handover", "boss")]


def test_a_directorys_date_is_warned_of_and_handed_over_too(team: Stage) -> None:
    team.restate("rosa", "corp", ends_at=team.now + 2 * DAY).check()
    tick(team)
    assert told(team) == [("due", "clara")]
    with team.database.writing() as conn:
        offboarding.choose(conn, team.workspace, ROOT, team.user("rosa"), "boss", team.now, team.ids)
    tick(team, days=1)
    tick(team, days=1)
    assert told(team) == [("due", "clara"), ("due", "boss"), ("handover", "boss")]
    assert standing(team, "rosa").leave == offboarding.Leave(team.now, "corp")


def test_a_date_that_moves_begins_anew(solo: Stage) -> None:
    offboard(solo, "rosa", solo.now + DAY).check()
    tick(solo)
    offboard(solo, "rosa", solo.now + 2 * DAY).check()
    tick(solo)
    solo.restate("rosa", "corp", ends_at=solo.now + DAY).check()  # the earliest counts
    tick(solo)
    assert told(solo) == [("due", "clara")] * 3
    assert [each.user_id for each in _leaving(solo, 30)] == ["rosa"]
    assert _leaving(solo, 0) == []


def _leaving(stage: Stage, days: int) -> list[Offboarding]:
    with stage.database.reading() as conn:
        return offboarding.leaving(conn, stage.workspace, stage.now, stage.now + days * DAY)


def test_who_was_warned_hears_that_she_stays(team: Stage) -> None:
    offboard(team, "rosa", team.now + 2 * DAY).check()
    cancel(team, "rosa")
    assert told(team) == [], "nobody was warned yet"
    offboard(team, "rosa", team.now + 2 * DAY).check()
    tick(team)
    cancel(team, "rosa")
    assert told(team) == [("due", "clara"), ("cancelled", "clara")]
    assert team.user("rosa").link("local") is None
    team.restate("rosa", "corp", ends_at=team.now + 2 * DAY).check()
    tick(team, minutes=2)
    team.restate("rosa", "corp", ends_at=None).check()
    tick(team, minutes=2)
    tick(team, minutes=2)
    assert told(team)[2:] == [("due", "clara"), ("cancelled", "clara")]
    assert standing(team, "rosa") == Offboarding("rosa", "rosa", "active", None)


def test_what_cannot_be_taken_back(solo: Stage) -> None:
    with pytest.raises(Conflict, match="has no date"):
        cancel(solo, "rosa")
    solo.restate("rosa", "corp", ends_at=solo.now + 2 * DAY).check()
    with pytest.raises(Conflict, match="source corp"):
        cancel(solo, "rosa")
    offboard(solo, "karl").check()
    with pytest.raises(Conflict, match="has left"):
        cancel(solo, "karl")
    edit = enabled_again(solo.user("karl"), solo.now, "comes back")
    assert edit is not None
    solo.do(edit)
    assert solo.user("karl").status == "active"
    with solo.database.writing() as conn, pytest.raises(Conflict, match="no date"):
        offboarding.choose(conn, solo.workspace, ROOT, solo.user("karl"), "boss", solo.now, solo.ids)


def test_reactivating_keeps_a_date_that_is_ahead(solo: Stage) -> None:
    at = solo.now + 2 * DAY
    offboard(solo, "rosa", at).check()
    solo.restate("rosa", enabled=False).check()
    edit = enabled_again(solo.user("rosa"), solo.now, "")
    assert edit is not None
    solo.do(edit)
    assert solo.user("rosa").status == "active"
    assert (own := solo.user("rosa").link("local")) is not None and own.ends_at == at


def test_who_takes_over(solo: Stage) -> None:
    def to(chosen: str | None = None) -> tuple[str, str] | None:
        with solo.database.reading() as conn:
            found = offboarding.recipient(conn, solo.workspace, solo.user("rosa"), chosen, solo.now)
        return found and (found.id, found.because)

    assert to() == ("clara", "manager")
    assert to("karl") == ("karl", "chosen")
    offboard(solo, "clara").check()
    assert to() == ("boss", "manager above")
    solo.restate("boss", values={MANAGER: "rosa"}).check()
    solo.do(UserEdit("boss", "local", grant=()), user("second", grant=(owner(),)))
    solo.do(UserEdit("boss", "local", facts={"suspended": "x"}))
    assert to() is None, "managers go round in a circle"
    solo.restate("rosa", "corp", values={MANAGER: "gone"}).check()
    assert to() is None


def test_what_would_be_refused_then_is_refused_now(solo: Stage) -> None:
    solo.configure(protected=protects('userName eq "karl"'))
    for id in ("karl", "boss"):
        refused = offboard(solo, id, solo.now + DAY)
        assert isinstance(refused.error, Refused), refused
        assert standing(solo, id).leave is None
    for at, to in ((solo.now, None), (None, "rosa"), (None, "nobody")):
        with pytest.raises(InvalidValue):
            offboard(solo, "rosa", at, to)
    solo.do(UserEdit("clara", "local", facts={"suspended": "x"}))
    with pytest.raises(InvalidValue, match="suspended and cannot"):
        offboard(solo, "rosa", to="clara")


def test_whose_leaving_a_limit_holds_has_not_left(solo: Stage) -> None:
    people = [f"p{n}" for n in range(4)]
    solo.do(*(user(id, "corp") for id in people))
    solo.later(days=2)  # what corp made a moment ago is no loss
    strict = policy(limits=Limits({"deactivate": Limit(0.0, 1, 1)}))
    solo.configure(sources={"corp": strict})
    for id in people:
        solo.restate(id, "corp", ends_at=solo.now + HOUR).check()
    tick(solo, hours=2)
    assert {solo.user(id).status for id in people} == {"active"}
    assert "handover" not in [kind for kind, _ in told(solo)]
    solo.configure(sources={"corp": policy()})
    tick(solo, hours=2)
    assert [kind for kind, _ in told(solo)].count("handover") == 4


def test_what_is_long_past_is_history(solo: Stage) -> None:
    solo.restate("rosa", "corp", ends_at=solo.now + 10 * DAY).check()
    tick(solo, days=30)
    assert solo.user("rosa").status == "inactive"
    assert told(solo) == []


def test_nothing_is_left_of_who_is_purged(team: Stage) -> None:
    offboard(team, "rosa").check()
    tick(team)
    team.do(UserEdit("rosa", "local", facts={"deleted_at": team.now}))
    team.do(UserEdit("rosa", "corp", drop_link="rosa"), source="corp")
    team.later(days=20)
    with team.database.writing() as conn:
        purge.strip(conn, team.workspace, ["rosa"], team.now, 500)
    with team.database.writing() as conn:
        assert purge.purge(conn, team.workspace, ["rosa"], team.now, team.ids) == 1
    assert team.rows(t.offboardings) == []


def test_which_warning_is_due() -> None:
    end = datetime.fromisoformat("2026-05-10T00:00+00:00")
    before = (DAY, 3 * DAY)
    assert warning(end, before, None, end - 4 * DAY) is None
    assert warning(end, before, None, end - 3 * DAY) == 3 * DAY
    assert warning(end, before, 3 * DAY, end - 2 * DAY) is None
    assert warning(end, before, None, end - HOUR) == DAY
    assert warning(end, before, DAY, end - HOUR) is None
    assert warning(end, before, None, end) is None
    assert warning(end, (), None, end - HOUR) is None


def test_whom_many_leavers_manage_is_one_look(stage: Stage) -> None:
    managers = [f"m{number:02}" for number in range(60)]
    stage.do(*(user(id) for id in managers))
    stage.do(*(user(f"r{number:02}", values={MANAGER: id}) for number, id in enumerate(managers[:55])))
    stage.do(user("second", values={MANAGER: "m00"}), user("gone", values={MANAGER: "m00"}))
    stage.do(UserEdit("gone", "local", facts={"deleted_at": stage.now}))
    with stage.database.reading() as conn:
        found = offboarding.reports_of(conn, "default", managers)
        assert offboarding.reports(conn, "default", "m00") == ["r00", "second"]
    assert found == {**{id: [] for id in managers}, **{id: [f"r{n:02}"] for n, id in enumerate(managers[:55])}} | {
        "m00": ["r00", "second"]
    }
