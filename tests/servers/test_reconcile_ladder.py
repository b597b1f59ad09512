"""Who is missing from the directory climbs a ladder, one rung a complete read, and comes back with everything she had."""

from __future__ import annotations

import pytest

from servers import corp as companies
from servers.corp import PEOPLE_BASE, Corp, changes
from servers.ldif_changes import delete, modify
from servers.slapd import Slapd

LEAVER = next(one for one in companies.COMPANY.people if one.uid == "rosa.castillo")
HER_GROUPS = [one for one in companies.COMPANY.groups if LEAVER.uuid in one.people]
ENTRY = next(
    text for text in companies.LDIF.split("\n\n") if f"entryUUID: {LEAVER.uuid}" in text
)  # as it was, for her return


def leave(directory: Slapd, with_groups: bool) -> None:
    directory.modify(delete(LEAVER.dn) + (groups("delete") if with_groups else ""))


def come_back(directory: Slapd, with_groups: bool) -> None:
    head, _, rest = ENTRY.partition("\nobjectClass")
    directory.modify(f"{head}\nchangetype: add\nobjectClass{rest}\n\n" + (groups("add") if with_groups else ""))


def groups(operation: str) -> str:
    names = {"groupOfNames": "member", "groupOfUniqueNames": "uniqueMember", "posixGroup": "memberUid"}
    return "".join(
        modify(one.dn, (operation, names[one.kind], LEAVER.uid if one.kind == "posixGroup" else LEAVER.dn))
        for one in HER_GROUPS
    )


def status(corp: Corp) -> str:
    return str(corp.user(LEAVER.uid)["status"])


@pytest.mark.parametrize("with_groups", [False, True], ids=["groups still name her", "groups forgot her"])
def test_missing_suspended_deactivated_deleted(corp: Corp, directory: Slapd, with_groups: bool) -> None:
    before = corp.standing()
    id = corp.user(LEAVER.uid)["id"]
    leave(directory, with_groups)
    first = corp.run()
    assert (first.exit_code, changes(first), corp.lost(before)) == (0, [], {})
    assert any(note.startswith("1 user was not found in corp") for note in first.notes)
    assert corp.links()[LEAVER.uid].stage == "missing"

    corp.later(1)
    second = corp.run()
    assert {kind for kind, _ in changes(second)} == {"suspend", "unseat"}
    assert status(corp) == "suspended" and set(corp.lost(before)) == {"users", "seats"}
    assert "2 complete reads" in next(change.why for change in second.changes if change.kind == "suspend")

    corp.later(1)
    third = corp.run()
    assert ("deactivate", LEAVER.uid) in changes(third) and status(corp) == "inactive"
    # Until now she kept what her groups gave, whatever they say; a dangling DN still means her, a uid means nobody.
    left = {change.before for change in third.changes if change.kind == "leave"}
    assert left == ({one.name for one in HER_GROUPS} if with_groups else {"project-0023"})
    assert corp.run().status == "clean"  # reads more often climb no faster

    corp.later(11.5)
    assert corp.run().status == "clean"
    corp.later(0.5)
    assert ("delete", LEAVER.uid) in changes(corp.run())
    assert not [row for row in corp.standing()["effective"] if row[0] == id]
    assert corp.run().status == "clean"

    come_back(directory, with_groups)
    restored = corp.run()
    assert ("restore", LEAVER.uid) in changes(restored), changes(restored)
    assert corp.user(LEAVER.uid)["id"] == id
    assert corp.standing() == before
    assert corp.plan().status == "clean"


@pytest.mark.parametrize("days", [0, 1, 2])
def test_whoever_comes_back_has_what_she_had(sqlite_corp: Corp, directory: Slapd, days: int) -> None:
    before = sqlite_corp.standing()
    leave(directory, with_groups=True)
    for _ in range(days + 1):
        sqlite_corp.run()
        sqlite_corp.later(1)
    stage = sqlite_corp.links()[LEAVER.uid].stage
    assert stage == ("missing", "suspended", "deactivated")[days]
    come_back(directory, with_groups=True)
    assert sqlite_corp.plan().exit_code == (3 if days else 0)
    assert sqlite_corp.run().exit_code == 0
    assert sqlite_corp.standing() == before
    link = sqlite_corp.links()[LEAVER.uid]
    assert (link.stage, link.missing_since, link.missing_reads) == (None, None, 0)


def test_a_long_pause_between_reads_skips_no_rung(sqlite_corp: Corp, directory: Slapd) -> None:
    leave(directory, with_groups=False)
    seen = []
    for _ in range(4):
        sqlite_corp.run()
        seen.append(sqlite_corp.links()[LEAVER.uid].stage)
        sqlite_corp.later(30)
    assert seen == ["missing", "suspended", "deactivated", "deleted"]


def test_an_admins_hold_is_not_lifted_by_a_return(sqlite_corp: Corp, directory: Slapd) -> None:
    sqlite_corp.suspend(LEAVER.uid, "under investigation")
    leave(directory, with_groups=False)
    sqlite_corp.run()
    sqlite_corp.later(1)
    sqlite_corp.run()
    come_back(directory, with_groups=False)
    sqlite_corp.run()
    assert status(sqlite_corp) == "suspended" and sqlite_corp.user(LEAVER.uid)["suspended"]


def test_a_whole_department_that_leaves_is_held_until_somebody_approves(corp: Corp, directory: Slapd) -> None:
    gone = [one for one in companies.COMPANY.people if one.department == "Security"]
    directory.modify("".join(delete(one.dn) for one in gone) + delete(f"ou=Security,{PEOPLE_BASE}"))
    before = corp.standing()
    assert corp.run().exit_code == 0
    corp.later(1)
    planned = corp.plan()
    assert (planned.exit_code, planned.status) == (4, "held")
    held = corp.run()
    assert (held.exit_code, held.status, corp.lost(before)) == (4, "held", {})
    (item,) = held.held
    assert (item.guard, item.kind, item.changes) == ("limit", "suspend", len(gone))
    assert item.why.startswith("source corp: 10 of 56 (17.9%) users would be suspended; limit 5")
    assert set(item.subjects) == {one.uid for one in gone}
    approved = corp.approve(item.digest)
    assert {one for one in changes(approved) if one[0] == "suspend"} == {("suspend", one.uid) for one in gone}
    assert corp.plan().status == "clean"


def test_the_ladder_without_rungs(sqlite_corp: Corp, directory: Slapd) -> None:
    never = {"suspend_after": "never", "deactivate_after": "never", "delete_after": "never"}
    sqlite_corp.source["missing"] = never
    before = sqlite_corp.standing()
    leave(directory, with_groups=False)
    for _ in range(3):
        assert sqlite_corp.run().status == "clean"
        sqlite_corp.later(100)
    assert sqlite_corp.lost(before) == {}
