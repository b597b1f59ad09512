"""Reads that end well and are blind, on a real directory: noticed without a canary being named, and proved by `syncd check`."""

from __future__ import annotations

from servers import corp as companies
from servers.corp import PEOPLE_BASE, Corp
from servers.ldif_changes import delete, unit_of
from servers.slapd import ACCESS_READ_ALL, READER, Slapd
from syncd.cli.checking import Finding, check

PERSON = {one.uid: one for one in companies.COMPANY.people}
ZOE = PERSON["zoe.xu"]
LENIENT = {kind: {"share": "60%"} for kind in ("suspend", "deactivate", "delete", "role", "seat", "membership")}
BRANCH = [one for one in companies.COMPANY.people if unit_of(one) == unit_of(ZOE)]


def narrowed(directory: Slapd, *rules: str) -> None:
    directory.access = "\n".join([*rules, ACCESS_READ_ALL])
    directory.restart()


def checked(corp: Corp) -> list[Finding]:
    return [each for each in check(corp.composed()) if each.about == "source corp"]


def test_a_branch_that_is_hidden_with_its_people_is_no_leaving(sqlite_corp: Corp, directory: Slapd) -> None:
    """So few that no limit would hold them."""
    sqlite_corp.source = {"limits": LENIENT}
    assert len(BRANCH) >= 5
    before = sqlite_corp.standing()
    narrowed(directory, f'access to dn.subtree="{unit_of(ZOE)}" by * none')
    for _ in range(3):
        report = sqlite_corp.run()
        sqlite_corp.later(3)
        assert (report.status, report.exit_code) == ("incomplete", 5)
    assert f"{unit_of(ZOE).lower()} is not visible any more, and {len(BRANCH)} people" in report.incomplete_because[0]
    assert sqlite_corp.lost(before) == {} and sqlite_corp.links()[ZOE.uid].missing_reads == 0
    narrowed(directory)
    assert sqlite_corp.run().status == "clean"


def test_a_branch_whose_people_left_is_believed_and_one_that_went_with_them_when_somebody_says_so(
    sqlite_corp: Corp, directory: Slapd
) -> None:
    sqlite_corp.source = {"limits": LENIENT}
    directory.modify("".join(delete(one.dn) for one in BRANCH))
    assert sqlite_corp.run().complete, "the entry above them is there, and shows that nobody is below it"
    assert sqlite_corp.links()[ZOE.uid].missing_reads == 1
    jane = PERSON["jane.garcia"]
    unit = [one for one in companies.COMPANY.people if unit_of(one) == unit_of(jane)]
    assert len(unit) >= 5
    directory.modify("".join(delete(one.dn) for one in unit) + delete(unit_of(jane)))
    report = sqlite_corp.run()
    assert "--accept-fewer" in report.incomplete_because[0]
    accepted = sqlite_corp.run(accept_fewer="ann")
    assert accepted.complete and "accepted by ann" in (sqlite_corp.record(accepted).message or "")
    assert sqlite_corp.links()[jane.uid].missing_reads == 1
    assert sqlite_corp.run().complete, "it was said once, and is known from then on"


def test_an_account_that_no_longer_sees_itself_is_not_believed(sqlite_corp: Corp, directory: Slapd) -> None:
    assert any("sees its own entry" in each.text and each.level == "ok" for each in checked(sqlite_corp))
    narrowed(directory, f'access to dn.exact="{READER}" by anonymous auth by * none')
    report = sqlite_corp.run()
    assert report.status == "incomplete" and "does not see its own entry" in report.incomplete_because[0]
    assert any("does not see its own entry" in each.text and each.exit_code == 5 for each in checked(sqlite_corp))


def test_counts_of_the_last_reads_are_proved_by_check(sqlite_corp: Corp, directory: Slapd) -> None:
    told = [each.text for each in checked(sqlite_corp) if each.text.startswith("canary:")]
    n, groups = companies.USERS, companies.GROUPS
    assert told == [f"canary: {n} users and {groups} groups, and the last complete read saw {n} and {groups}"]
    sqlite_corp.source = {"fewer": {"share": "10%", "floor": 0}, "canaries": [PEOPLE_BASE]}
    directory.modify("".join(delete(one.dn) for one in companies.COMPANY.people[:7]))
    report = sqlite_corp.run()
    assert (
        report.status == "incomplete" and "53 users, and the last complete read saw 60" in report.incomplete_because[0]
    )
    found = checked(sqlite_corp)
    assert any("--accept-fewer" in each.text and each.exit_code == 5 for each in found)
    assert any(f"canaries are visible: {PEOPLE_BASE}" in each.text for each in found)
    sqlite_corp.run(accept_fewer="ann")
    assert sqlite_corp.run().complete
