"""What a plan decided is applied as it is while nothing moved that it rests on; else it is decided anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from door_stage import Directory, Stage, group, policy, rule, user
from foreseeing import both_ways
from syncd.core.change import GroupEdit, UserEdit
from syncd.core.seats import Pool
from syncd.core.state import Grant, Link
from syncd.store import runs
from syncd.store import tables as t

SEATS = {"crm": Pool("crm", limit=2)}


@pytest.fixture
def company(stage: Stage) -> Directory:
    """Five people, one of whom has a seat; a group that gives a role; one more seat."""
    stage.configure(
        sources={"corp": policy()},
        pools=SEATS,
        rules=(
            rule("crew", 'groups[display eq "crew"]', roles=("viewer",)),
            rule("sales", 'userType eq "Sales"', seats=("crm",)),
        ),
    )
    directory = Directory()
    directory.hire("p0", "p1", "p2", "p3", employeeType="Employee")
    directory.hire("p4", employeeType="Sales")
    directory.teams = {"crew": {"p0", "p1"}}
    stage.run(directory)
    stage.later(days=1)
    return directory


def test_it_is_applied_as_decided_and_that_is_what_deciding_anew_comes_to(stage: Stage, company: Directory) -> None:
    with both_ways() as as_decided:
        for key in ("p0", "p3"):
            company.people[key]["title"] = "Lead"
        company.hire("p5", "p6", employeeType="Sales")
        company.teams["crew"] |= {"p3"}
        promised = stage.plan(company)
        done = stage.run(company)
    assert as_decided == [True] and done.digest == promised.digest
    assert stage.held("crm") == sorted(stage.named(name).id for name in ("p4", "p5")) and stage.roles(
        stage.named("p3").id
    ) == {"viewer"}
    assert stage.run(company).status == "clean"


# What others do between the plan and its application.
def _states_a_value_that_yields(stage: Stage) -> None:
    person = stage.named("p0")
    stage.do(UserEdit(person.id, "local", link=Link("local", person.id, values={"displayName": "Boss"})))
    assert stage.named("p0").version == person.version


def _takes_the_seat(stage: Stage) -> None:
    stage.do(user("q1", grant=(Grant("seat", "crm", "direct", "root"),)))


def _takes_the_name(stage: Stage) -> None:
    stage.do(user("q2", name="P5"))


def _gives_something_by_a_group(stage: Stage) -> None:
    stage.do(group("g9"), GroupEdit("g9", "local", grant=(Grant("role", "viewer", "direct", "root"),)))


def _moves_a_person(stage: Stage) -> None:
    stage.do(UserEdit(stage.named("p3").id, "local", grant=(Grant("role", "viewer", "direct", "root"),)))


def _holds_something(stage: Stage) -> None:
    row = {"subject": "p0", "guard": "limit", "why": "7 of 10", "digest": "d" * 64, "created_at": stage.now}
    named = {"workspace": "default", "source": "corp", "subject_id": stage.named("p0").id, "kind": "role"}
    with stage.database.writing() as conn:
        conn.execute(t.held.insert().values(**named, **row, run_id="r1", changes=b"[]", edits=b"[]"))


@pytest.mark.parametrize(
    "disturb",
    [
        _states_a_value_that_yields,
        _takes_the_seat,
        _takes_the_name,
        _gives_something_by_a_group,
        _moves_a_person,
        _holds_something,
    ],
)
def test_what_moved_meanwhile_is_seen_in_the_transaction(
    stage: Stage, company: Directory, monkeypatch: pytest.MonkeyPatch, disturb: Callable[[Stage], None]
) -> None:
    stored = runs.store

    def disturbed(*given: Any) -> None:
        stored(*given)
        disturb(stage)

    for key in ("p0", "p3"):
        company.people[key]["title"] = "Lead"
    company.hire("p5", "p6", employeeType="Sales")
    with both_ways() as as_decided:
        monkeypatch.setattr(runs, "store", disturbed)
        done = stage.run(company)
        monkeypatch.undo()
    assert as_decided == [False]
    stage.later(days=1)
    match disturb.__name__:
        case "_takes_the_seat":
            assert stage.held("crm") == [stage.named("p4").id, "q1"]
        case "_takes_the_name":
            assert "another user" in done.set_aside[0].why and stage.named("P5").id == "q2"
        case "_moves_a_person":
            assert any("dropped" in note for note in done.notes) and stage.named("p3").values.get("title") is None
    assert stage.named("p0").values["title"] == "Lead"
    stage.run(company)
    assert {name: stage.named(name).values.get("title") for name in ("p0", "p3")} == {"p0": "Lead", "p3": "Lead"}
