"""`--only` against a real directory: some searches instead of a whole read, each step told, and silence is no leaver."""

from __future__ import annotations

import pytest

from servers import corp as companies
from servers.corp import GROUPS_BASE, PEOPLE_BASE, Corp
from servers.ldif_changes import add, delete, modify, move, person, unit_of
from servers.slapd import ACCESS_READ_ALL, BASE, READER, Slapd
from syncd.core.lookup import Looked
from syncd.core.plan import Report
from syncd.reconcile.mapping import MANAGER

PERSON = {one.uid: one for one in companies.COMPANY.people}
GROUP = {one.name: one for one in companies.COMPANY.groups}
JANE, ANNA, ROSA, ZOE = (PERSON[uid] for uid in ("jane.garcia", "anna.xu", "rosa.castillo", "zoe.xu"))


def named(uid: str) -> str:
    return f'userName eq "{uid}"'


def the_one(report: Report) -> Looked:
    (looked,) = report.looked
    return looked


def steps(report: Report) -> list[tuple[str, bool]]:
    return [(step.name, step.ok) for step in the_one(report).steps]


def said(report: Report) -> str:
    return the_one(report).steps[-1].what


def hidden(corp: Corp, directory: Slapd, rule: str) -> None:
    directory.access = f"{rule}\n{ACCESS_READ_ALL}"
    directory.restart()


def test_one_person_is_brought_in_step_and_nobody_else(sqlite_corp: Corp, directory: Slapd) -> None:
    directory.modify(
        modify(JANE.dn, ("replace", "title", "Lead"))
        + modify(ANNA.dn, ("replace", "title", "Lead"))
        + modify(GROUP["crm-users"].dn, ("delete", "uniqueMember", ROSA.dn))
        + delete(ZOE.dn)
    )
    planned = sqlite_corp.plan(only=named(JANE.uid))
    assert steps(planned) == [
        ("found", True),
        ("in scope", True),
        ("matched", True),
        ("planned", True),
        ("applied", False),
    ]
    report = sqlite_corp.run(only=named(JANE.uid))
    assert (report.kind, report.status, report.counts["read"]) == ("only", "applied", 1 + groups_of(JANE.uuid))
    assert steps(report)[-1] == ("applied", True) and "title" in the_one(report).steps[-2].what
    assert sqlite_corp.user(JANE.uid)["values"]["title"] == "Lead"
    assert sqlite_corp.user(ANNA.uid)["values"].get("title") != "Lead"
    assert sqlite_corp.links()[ZOE.uid].missing_reads == 0
    assert "crm-user" in {each["value"] for each in sqlite_corp.user(ROSA.uid)["roles"]}
    again = sqlite_corp.run(only=named(JANE.uid))
    assert again.status == "clean" and said(again) == "nothing: the store has all of it already"


def groups_of(uuid: str) -> int:
    return sum(uuid in group.people for group in companies.COMPANY.groups)


def test_groups_she_joined_and_left_follow_new_groups_too(sqlite_corp: Corp, directory: Slapd) -> None:
    directory.modify(
        modify(GROUP["crm-users"].dn, ("delete", "uniqueMember", ROSA.dn))
        + add(f"cn=fresh,{GROUPS_BASE}", objectClass="groupOfNames", cn="fresh", member=(ROSA.dn, ANNA.dn))
    )
    report = sqlite_corp.run(only=named(ROSA.uid))
    assert (report.counts["leave"], report.counts["group_create"]) == (1, 1)
    shown = sqlite_corp.user(ROSA.uid)
    assert "fresh" in {each["display"] for each in shown["groups"]}
    assert "crm-user" not in {each["value"] for each in shown["roles"]}
    whole = sqlite_corp.run()
    assert {change.subject for change in whole.changes} == {ANNA.uid}  # who else is in the new group
    assert sqlite_corp.plan().status == "clean"


def test_a_name_with_a_bit_string_after_it_is_found_in_the_group(sqlite_corp: Corp, directory: Slapd) -> None:
    """Servers do not find it by the name alone."""
    crm = GROUP["crm-users"].dn
    directory.modify(modify(crm, ("delete", "uniqueMember", ROSA.dn), ("add", "uniqueMember", f"{ROSA.dn}#'0101'B")))
    assert sqlite_corp.run().status == "clean"
    only = named(ROSA.uid)
    assert sqlite_corp.run(only=only).status == "clean"
    directory.modify(modify(crm, ("delete", "uniqueMember", f"{ROSA.dn}#'0101'B")))
    assert sqlite_corp.run(only=only).counts["leave"] == 1


def test_members_that_cannot_be_seen_are_no_leavers(sqlite_corp: Corp, directory: Slapd) -> None:
    hidden(sqlite_corp, directory, f'access to dn.subtree="{GROUPS_BASE}" attrs=uniqueMember,member by * none')
    before = sqlite_corp.standing()
    report = sqlite_corp.run(only=named(ROSA.uid))
    assert report.counts["leave"] == 0 and sqlite_corp.lost(before) == {}
    assert "do not say whether she is still in them" in the_one(report).steps[2].what


def test_somebody_new_and_her_manager_and_somebody_renamed_and_moved(sqlite_corp: Corp, directory: Slapd) -> None:
    directory.modify(person("n.joiner", unit_of(JANE), manager=JANE.dn))
    report = sqlite_corp.run(only=named("n.joiner"))
    assert report.counts["create"] == 1 and "a new user" in the_one(report).steps[2].what
    assert sqlite_corp.links()["n.joiner"].values[MANAGER] == sqlite_corp.user(JANE.uid)["id"]
    directory.modify(move(ANNA.dn, "uid=anna.x", unit_of(JANE)))
    moved = sqlite_corp.run(only=named(ANNA.uid))  # by the name that the store knows
    assert moved.counts["update"] == 1 and sqlite_corp.user("anna.x")["status"] == "active"
    assert sqlite_corp.plan(only=named("anna.x")).status == "clean"


def test_a_miss_says_where_it_stopped(sqlite_corp: Corp, directory: Slapd) -> None:
    nobody = sqlite_corp.run(only=named("nobody.here"))
    assert steps(nobody) == [("found", False)] and "(uid=nobody.here))" in said(nobody) and PEOPLE_BASE in said(nobody)
    directory.modify(add(f"ou=elsewhere,{BASE}", objectClass="organizationalUnit", ou="elsewhere"))
    directory.modify(person("far.away", f"ou=elsewhere,{BASE}"))
    outside = sqlite_corp.run(only=named("far.away"))
    assert steps(outside) == [("found", True), ("in scope", False)]
    assert f"it is not below {PEOPLE_BASE}" in said(outside)
    sqlite_corp.source = {"users": {"base": PEOPLE_BASE, "filter": "(!(uid=far.away))"}}
    directory.modify(move(f"uid=far.away,ou=elsewhere,{BASE}", "uid=far.away", unit_of(JANE)))
    filtered = sqlite_corp.run(only=named("far.away"))
    assert steps(filtered) == [("found", True), ("in scope", False)]
    assert "it does not match (!(uid=far.away))" in said(filtered)
    assert nobody.status == outside.status == filtered.status == "clean"


def test_whoever_is_gone_for_certain_climbs_the_ladder_alone(sqlite_corp: Corp, directory: Slapd) -> None:
    directory.modify(delete(ANNA.dn) + delete(JANE.dn))
    first = sqlite_corp.run(only=named(ANNA.uid))
    assert steps(first) == [("found", False), ("planned", True), ("applied", True)]
    assert (
        "is gone" in the_one(first).steps[0].what and "suspended when missing for 1 day" in the_one(first).steps[1].what
    )
    assert sqlite_corp.links()[ANNA.uid].stage == "missing" and sqlite_corp.links()[JANE.uid].stage is None
    sqlite_corp.later(2)
    assert sqlite_corp.run(only=named(ANNA.uid)).counts["suspend"] == 1


def test_whoever_left_the_scope_is_seen_elsewhere(sqlite_corp: Corp, directory: Slapd) -> None:
    directory.modify(add(f"ou=former,{BASE}", objectClass="organizationalUnit", ou="former"))
    directory.modify(move(ANNA.dn, f"uid={ANNA.uid}", f"ou=former,{BASE}"))
    report = sqlite_corp.run(only=named(ANNA.uid))
    assert steps(report)[:2] == [("found", True), ("in scope", False)]
    assert sqlite_corp.links()[ANNA.uid].stage == "missing"


@pytest.mark.parametrize(
    "rule",
    [
        f'access to dn.subtree="{unit_of(ZOE)}" by * none',
        f'access to dn.subtree="{unit_of(ZOE)}" attrs=uid,entryUUID by * none',
        f'access to attrs=entryUUID by dn.exact="{READER}" none by * read',
    ],
)
def test_silence_is_no_proof(sqlite_corp: Corp, directory: Slapd, rule: str) -> None:
    hidden(sqlite_corp, directory, rule)
    before = sqlite_corp.standing()
    for _ in range(3):
        report = sqlite_corp.run(only=named(ZOE.uid))
        sqlite_corp.later(3)
    assert sqlite_corp.lost(before) == {} and sqlite_corp.links()[ZOE.uid].missing_reads == 0
    assert not the_one(report).going_on and "the same search does not find somebody next to her either" in said(report)


def test_a_canary_that_is_hidden_makes_it_incomplete(sqlite_corp: Corp, directory: Slapd) -> None:
    sqlite_corp.source = {"canaries": [JANE.dn]}
    directory.modify(delete(JANE.dn) + delete(ANNA.dn))
    report = sqlite_corp.run(only=named(ANNA.uid))
    assert (report.status, report.exit_code) == ("incomplete", 5)
    assert sqlite_corp.links()[ANNA.uid].missing_reads == 0


def test_a_filter_that_cannot_be_asked_reads_everything(sqlite_corp: Corp, directory: Slapd) -> None:
    directory.modify(modify(JANE.dn, ("replace", "title", "Lead")))
    report = sqlite_corp.run(only=f'displayName eq "{JANE.given} {JANE.family}"')
    assert report.counts["update"] == 1 and "everything was read" in report.notes[0]
    assert [step.ok for step in the_one(report).steps] == [True] * 5
