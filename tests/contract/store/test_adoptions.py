"""New entries that may be people who are known: rules score, doubt waits for an admin, and her answer is followed."""

from __future__ import annotations

import pytest

from door_stage import Directory, Stage, condition, owner, policy, user
from syncd.core.actor import Actor
from syncd.core.change import UserEdit
from syncd.core.correlation import Correlation, CorrelationRule
from syncd.core.plan import Report
from syncd.errors import Conflict, NotFound, Refused
from syncd.reconcile.mapping import compile_mapping
from syncd.store import adoptions
from syncd.store import tables as t
from syncd.store.adoptions import Waiting

MAPPING = compile_mapping(
    {"userName": "uid", "emails.work": "mail", "name.familyName": "sn", "name.givenName": "gn", "employeeNumber": "no"}
)
NUMBER = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:employeeNumber"
RULES = (
    CorrelationRule(("userName",), 100),
    CorrelationRule((NUMBER,), 80),
    CorrelationRule(("emails.value",), 60),
    CorrelationRule(("name.familyName", "name.givenName"), 40),
)


@pytest.fixture
def directory(stage: Stage) -> Directory:
    stage.configure(sources={"corp": policy(adopt="rule", correlation=Correlation(RULES, 100, 50))})
    return Directory(mapping=MAPPING)


def known(stage: Stage, id: str, mail: str | None = None, **values: str) -> None:
    emails = {"emails": [{"value": mail, "type": "work"}]} if mail else {}
    stage.do(user(id, values={**values, **emails}))


def waiting(stage: Stage) -> list[Waiting]:
    with stage.database.reading() as conn:
        return adoptions.list_(conn, stage.workspace.name)


def answer(stage: Stage, which: str, whose: str | None) -> Waiting:
    actor = Actor("cli", "ann", stage.workspace.name)
    with stage.database.writing() as conn:
        found = adoptions.find(conn, stage.workspace.name, which)
        if whose is None:
            return adoptions.refuse(conn, stage.workspace, found, actor, stage.now, stage.ids)
        id = None if whose == "" else whose
        return adoptions.accept(conn, stage.workspace, found, id, actor, stage.now, stage.ids)


def aside(report: Report) -> list[str]:
    return [each.why for each in report.set_aside]


def test_whoever_alone_is_certain_is_taken_over(stage: Stage, directory: Directory) -> None:
    known(stage, "boss", "ann@x.example", **{NUMBER: "7"})
    known(stage, "other", "bob@x.example", **{NUMBER: "8"})
    directory.hire("ann", mail="ANN@x.example", no="7")
    report = stage.run(directory)
    assert (report.counts["adopt"], report.counts["create"], report.set_aside) == (1, 0, ())
    assert {link.source for link in stage.user("boss").links} == {"local", "corp"}
    assert waiting(stage) == []


def test_what_is_possible_waits_for_an_answer_and_makes_nobody(stage: Stage, directory: Directory) -> None:
    known(stage, "boss", "ann@x.example")
    directory.hire("ann", mail="ann@x.example")
    assert "may be boss (score 60: emails.value)" in aside(stage.plan(directory))[0]
    assert waiting(stage) == [], "a plan asks nobody"
    report = stage.run(directory)
    assert report.counts["create"] == report.counts["adopt"] == 0
    (asked,) = waiting(stage)
    assert (asked.entry, asked.user_name, asked.decision) == (directory.dn("ann"), "ann", None)
    assert [(one.id, one.score) for one in asked.candidates] == [("boss", 60)]
    assert answer(stage, "ann", "").user == "boss"
    later = stage.run(directory)
    assert later.counts["adopt"] == 1 and stage.user("boss").name in ("ann", "boss")
    assert [why for action, _, why in stage.activity("adopt")] == ["accepted by ann"]
    assert [subject for _, subject, _ in stage.activity("adoption_accepted")] == ["boss"]
    assert waiting(stage) == []


def test_an_answer_that_she_is_somebody_else_makes_a_new_user(stage: Stage, directory: Directory) -> None:
    known(stage, "boss", "ann@x.example")
    directory.hire("ann", mail="ann@x.example")
    stage.run(directory)
    answer(stage, "ann", None)
    assert stage.run(directory).counts["create"] == 1
    assert stage.named("ann").id != "boss" and waiting(stage) == []
    assert stage.run(directory).status == "clean"


def test_two_who_are_certain_are_no_guess_and_one_has_to_be_named(stage: Stage, directory: Directory) -> None:
    known(stage, "a1", "ann@x.example", **{"name.familyName": "Xu", "name.givenName": "Ann"})
    known(stage, "a2", "ann@x.example", **{"name.familyName": "Xu", "name.givenName": "Ann"})
    directory.hire("ann", mail="ann@x.example", sn="xu", gn="ann")
    assert "one of a1" in aside(stage.run(directory))[0]
    with pytest.raises(Conflict, match="say which one"):
        answer(stage, "ann", "")
    answer(stage, "ann", "a2")
    assert stage.run(directory).counts["adopt"] == 1
    assert {link.source for link in stage.user("a2").links} == {"local", "corp"}


def test_two_new_entries_are_not_one_person(stage: Stage, directory: Directory) -> None:
    known(stage, "boss", "ann@x.example", **{NUMBER: "7"})
    directory.hire("ann", mail="ann@x.example", no="7")
    directory.hire("anna", mail="ann@x.example", no="7")
    assert len(aside(stage.run(directory))) == 2 and len(waiting(stage)) == 2
    answer(stage, "anna", "")
    answer(stage, "ann", None)
    report = stage.run(directory)
    assert (report.counts["adopt"], report.counts["create"]) == (1, 1)
    assert stage.user("boss").link("corp", "anna") is not None


def test_nobody_takes_over_a_privileged_account(stage: Stage, directory: Directory) -> None:
    known(stage, "boss", "ann@x.example")
    stage.do(user("second", grant=(owner(),)))
    stage.do(user("root", values={"emails": [{"value": "r@x.example"}]}, grant=(owner(),)))
    directory.hire("r", mail="r@x.example")
    assert "nobody may take that account over" in aside(stage.run(directory))[0]
    with pytest.raises(Refused, match="privileged"):
        answer(stage, "r", "")
    directory.hire("root")  # by name she is certain, and refused by the door
    assert "privileged" in " ".join(aside(stage.run(directory)))
    # She became one after the answer was given.
    directory.people.clear()
    directory.hire("ann", mail="ann@x.example")
    stage.run(directory)
    answer(stage, "ann", "")
    stage.do(UserEdit("boss", "local", grant=(owner(),)))
    assert stage.run(directory).counts["adopt"] == 0
    assert stage.user("boss").link("corp") is None


def test_ask_asks_of_everybody_and_never_asks_nobody(stage: Stage, directory: Directory) -> None:
    known(stage, "ann")
    directory.hire("ann")
    stage.configure(sources={"corp": policy(adopt="never")})
    assert "is taken by another user" in aside(stage.run(directory))[0] and waiting(stage) == []
    stage.configure(sources={"corp": policy(adopt="ask")})
    assert "may be ann (score 100: userName)" in aside(stage.run(directory))[0]
    answer(stage, "ann", "")
    assert stage.run(directory).counts["adopt"] == 1


def test_only_whoever_matches_the_filter_is_taken_over_without_asking(stage: Stage, directory: Directory) -> None:
    stage.configure(
        sources={
            "corp": policy(
                adopt="rule", may_adopt=condition('title eq "Clerk"'), correlation=Correlation(RULES, 60, 50)
            )
        }
    )
    known(stage, "c", "c@x.example", title="Clerk")
    known(stage, "d", "d@x.example", title="Director")
    directory.hire("cc", mail="c@x.example")
    directory.hire("dd", mail="d@x.example")
    report = stage.run(directory)
    assert report.counts["adopt"] == 1 and "does not match `adopt`" in aside(report)[0]
    answer(stage, "dd", "")
    assert stage.run(directory).counts["adopt"] == 1


def test_whom_this_source_states_already_is_another_person(stage: Stage, directory: Directory) -> None:
    directory.hire("ann", mail="ann@x.example", no="7")
    stage.run(directory)
    directory.hire("anna", mail="ann@x.example", no="7")
    assert stage.run(directory).counts["create"] == 1


def test_a_question_that_is_no_more_is_forgotten(stage: Stage, directory: Directory) -> None:
    known(stage, "boss", "ann@x.example")
    directory.hire("ann", mail="ann@x.example")
    directory.hire("zoe", mail="zoe@x.example")
    stage.run(directory)
    assert len(waiting(stage)) == 1
    del directory.people["ann"]
    directory.because = ("cut off",)
    stage.run(directory)
    assert len(waiting(stage)) == 1, "an incomplete read forgets nothing"
    directory.because = ()
    stage.run(directory)
    assert waiting(stage) == []
    with pytest.raises(NotFound, match="adopt list"):
        answer(stage, "ann", None)


@pytest.mark.parametrize("whose", [None, "boss"], ids=["refused", "accepted"])
def test_an_answer_goes_with_the_entry_it_was_about(stage: Stage, directory: Directory, whose: str | None) -> None:
    known(stage, "boss", "ann@x.example")
    directory.hire("ann", mail="ann@x.example")
    directory.hire("zoe", mail="zoe@x.example")
    stage.run(directory)
    answer(stage, "ann", whose)
    gone = directory.people.pop("ann")
    directory.because = ("cut off",)
    stage.run(directory)
    assert len(waiting(stage)) == 1, "an incomplete read does not know who is gone"
    directory.because = ()
    stage.run(directory)
    assert waiting(stage) == []
    directory.people["ann"] = gone
    stage.run(directory)
    assert [each.decision for each in waiting(stage)] == [None], "whoever comes back is asked about anew"


def test_an_answer_stays_while_its_entry_cannot_be_taken_up(stage: Stage, directory: Directory) -> None:
    """The name is taken: she is none of them, and cannot come in either, until somebody renames the other."""
    known(stage, "ann", "ann@x.example")
    directory.hire("ann", mail="ann@x.example")
    stage.configure(sources={"corp": policy(adopt="ask", correlation=Correlation(RULES, 100, 50))})
    stage.run(directory)
    answer(stage, "ann", None)
    for _ in range(2):
        stage.run(directory)
        assert [each.decision for each in waiting(stage)] == ["refused"]


def test_one_who_is_looked_up_waits_too_and_is_told(stage: Stage, directory: Directory) -> None:
    known(stage, "boss", "ann@x.example")
    directory.hire("ann", mail="ann@x.example")
    report = stage.run(directory, only='userName eq "ann"')
    assert [(step.name, step.ok) for step in report.looked[0].steps] == [
        ("found", True),
        ("in scope", True),
        ("matched", False),
    ]
    answer(stage, "ann", "")
    assert stage.run(directory, only='userName eq "ann"').counts["adopt"] == 1
    assert stage.rows(t.adoptions) == []
