"""Entries that cannot be used: set aside by name and reason, listed until they are well; too many of them are not believed."""

from __future__ import annotations

import pytest

from changing import Changing, Person
from door_stage import Directory, Stage, policy, staff, user
from syncd.core.canary import Bad
from syncd.store import quarantine
from syncd.store.quarantine import Waiting

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def directory(stage: Stage) -> Directory:
    stage.configure(sources={"corp": policy(bad=Bad(0.1, 2))})
    directory = Directory()
    directory.hire(*staff("p", 30))
    stage.run(directory)
    return directory


def listed(stage: Stage) -> list[Waiting]:
    with stage.database.reading() as conn:
        return quarantine.listed(conn, stage.workspace.name)


def test_as_many_as_the_size_allows_are_set_aside_and_the_rest_goes_on(stage: Stage, directory: Directory) -> None:
    directory.bad = set(staff("p", 2))
    del directory.people["p002"]["uid"]  # can be read, and not mapped
    del directory.people["p009"]
    report = stage.run(directory)
    assert report.complete and len(report.set_aside) == 3
    assert (
        stage.named("p009").status != "active" and stage.named("p000").status == stage.named("p002").status == "active"
    )
    found = {each.key: each for each in listed(stage)}
    assert found.keys() == {"p000", "p001", "p002"} and found["p002"].why.startswith("userName")
    assert found["p000"].entry == directory.dn("p000") and found["p000"].tries == 1


def test_more_of_them_are_not_believed(stage: Stage, directory: Directory) -> None:
    for key in staff("p", 4):
        del directory.people[key]["uid"]
    directory.people["p020"]["title"] = "Lead"
    del directory.people["p009"]
    report = stage.run(directory)
    assert (report.status, report.exit_code) == ("incomplete", 5)
    assert "4 of 29 entries cannot be used (14%), believed are 2" in report.incomplete_because[0]
    assert directory.dn("p000") in report.incomplete_because[0] and "userName" in report.incomplete_because[0]
    assert stage.named("p009").status == "active", "nothing goes by absence"
    assert stage.named("p020").values["title"] == "Lead", "what is stated goes on"


def test_whoever_is_well_again_is_listed_no_more(stage: Stage, directory: Directory) -> None:
    directory.bad = {"p000", "p001"}
    stage.run(directory)
    since = stage.now
    stage.later(hours=1)
    directory.bad = {"p001"}
    stage.run(directory)
    (left,) = listed(stage)
    assert (left.key, left.since, left.tries) == ("p001", since, 2) and left.next_at > stage.now
    directory.bad = set()
    stage.run(directory)
    assert listed(stage) == []


@pytest.mark.parametrize("delta", [False, True])
def test_whoever_is_disabled_under_a_name_that_is_taken_is_closed_under_her_own(stage: Stage, delta: bool) -> None:
    stage.configure(sources={"corp": policy(bad=Bad(0.1, 2))})
    directory = Changing(people={f"k{n}": Person(f"p{n}") for n in range(8)})
    stage.run(directory, delta=delta)
    stage.do(user("boss"))
    directory.people["k1"] = Person("boss", disabled=True)
    promised = stage.plan(directory, delta=delta)
    report = stage.run(directory, delta=delta)
    assert report.digest == promised.digest and len(report.set_aside) == 1
    assert [(each.kind, each.subject) for each in report.changes] == [("deactivate", "p1")]
    closed = stage.named("p1")
    assert (closed.status, stage.named("boss").status) == ("inactive", "active")
    assert stage.run(directory, delta=delta).status == "clean", "it is said once"
    directory.people["k1"] = Person("p1")
    stage.run(directory)
    assert stage.named("p1").status == "active"
