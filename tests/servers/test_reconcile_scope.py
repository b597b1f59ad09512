"""What lies outside the bases, what changes them, and entries that cannot be used: said by name, and nobody loses by it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import select

from servers import corp as companies
from servers.corp import GROUPS_BASE, PEOPLE_BASE, Corp, changes
from servers.faulty import proxy
from servers.ldif_changes import add, delete, modify, move, person, unit_of
from servers.slapd import Slapd
from syncd import sample
from syncd.ldap import dn
from syncd.store import tables as t

PERSON = {one.uid: one for one in companies.COMPANY.people}
GROUP = {one.name: one for one in companies.COMPANY.groups}


def unit(name: str) -> str:
    return f"ou={sample.escape_value(name)},{PEOPLE_BASE}"


def unresolved(corp: Corp, group: str) -> set[str]:
    query = (
        select(t.unresolved_members.c.ref)
        .join(t.groups, t.groups.c.id == t.unresolved_members.c.group_id)
        .where(t.groups.c.display_name == group)
    )
    with corp.database.reading() as conn:
        return set(conn.scalars(query))


def groups_of(corp: Corp, name: str) -> set[str]:
    return {each["display"] for each in corp.user(name)["groups"]}


# ---- outside the bases


def test_members_outside_the_bases_wait_by_name_and_join_when_the_base_grows(
    database_url: str, directory: Slapd, tmp_path: Path
) -> None:
    some = [unit(name) for name in ("Finance", "Marketing", "Engineering", "Vertrieb Köln")]
    corp = Corp(tmp_path, database_url, directory.url, {"users": {"base": some}})
    try:
        first = corp.run()
        inside = [one for one in companies.COMPANY.people if one.dn.endswith(tuple(some))]
        assert first.counts["create"] == len(inside)
        outside = {one.dn for one in companies.COMPANY.people if one.uuid in GROUP["crm-users"].people} - {
            one.dn for one in inside
        }
        assert len(unresolved(corp, "crm-users")) == len(outside) > 0
        assert "yuki.xu" in unresolved(corp, "shell-users")
        assert corp.plan().status == "clean"

        corp.later(1)
        corp.source = {}
        before = corp.standing()
        wider = corp.run()
        assert (wider.status, wider.exit_code) == ("applied", 0)  # only gains, so nothing is held
        assert wider.counts["create"] == companies.USERS - len(inside)
        assert unresolved(corp, "crm-users") == set() == unresolved(corp, "shell-users")
        assert groups_of(corp, "yuki.xu") >= {"shell-users", "all-staff"}
        assert set(corp.lost(before)) <= {"users"}  # documents: managers are found now
        assert corp.plan().status == "clean"
    finally:
        corp.close()


def test_the_oddities_of_the_sample_are_kept_by_name(sqlite_corp: Corp) -> None:
    assert unresolved(sqlite_corp, "old-project") == {GROUP["old-project"].gone[0]}
    assert unresolved(sqlite_corp, "all-staff") == set()


# ---- a changed base, filter or mapping


def test_a_smaller_base_holds_every_loss_until_somebody_approves(corp: Corp) -> None:
    """Two people only, far below every threshold, and not when they are suspended a day later either."""
    kept = [unit(name) for name in {one.department for one in companies.COMPANY.people} - {"Facilities"}]
    gone = {one.uid for one in companies.COMPANY.people if one.department == "Facilities"}
    corp.later(2)
    before = corp.standing()
    corp.source = {"users": {"base": kept}}
    held = corp.run()
    assert (held.exit_code, held.status, corp.lost(before)) == (4, "held", {})
    (item,) = held.held
    assert (item.guard, item.kind, set(item.subjects)) == ("first_run_after_change", "suspend", gone)
    assert "the base, filter or mapping of source corp changed" in item.why
    for _ in range(4):
        corp.later(1)
        corp.run()
        assert corp.lost(before) == {}, "it waits for a decision, however long that takes"
    assert [each.digest for each in corp.held()] == [item.digest]

    approved = corp.approve(item.digest)
    assert {one for one in changes(approved) if one[0] == "suspend"} == {("suspend", name) for name in gone}
    assert corp.user("rosa.castillo")["status"] == "suspended"
    assert corp.held() == []
    corp.run()
    assert corp.user("rosa.castillo")["status"] == "inactive"  # the ladder goes on from there


def test_a_base_set_back_forgets_what_was_held(sqlite_corp: Corp) -> None:
    corp = sqlite_corp
    corp.later(2)
    before = corp.standing()
    kept = [unit(name) for name in {one.department for one in companies.COMPANY.people} - {"Facilities"}]
    corp.source = {"users": {"base": kept}}
    assert corp.run().exit_code == 4
    corp.later(1)
    corp.source = {}
    assert corp.run().exit_code == 0
    assert corp.standing() == before and corp.held() == []


def test_a_group_base_that_hides_groups_holds_their_members(corp: Corp, directory: Slapd) -> None:
    corp.later(2)
    before = corp.standing()
    corp.source = {"groups": {"base": GROUPS_BASE, "filter": "(objectClass=groupOfNames)"}}
    held = corp.run()
    assert (held.exit_code, corp.lost(before)) == (4, {})
    assert {(each.guard, each.kind) for each in held.held} >= {("first_run_after_change", "membership")}
    for _ in range(3):
        corp.later(1)
        corp.run()
        assert corp.lost(before) == {}
    for each in corp.held():
        corp.approve(each.digest)
    corp.run()
    corp.later(1)
    corp.run()
    left = {one.name for one in companies.COMPANY.groups if one.kind == "groupOfNames"}
    assert {name for _, name in corp.standing()["groups"]} == left
    assert "crm-user" not in {each["value"] for each in corp.user("rosa.castillo")["roles"]}
    assert corp.plan().status == "clean"


def test_a_mapping_that_blanks_is_held(sqlite_corp: Corp) -> None:
    corp = sqlite_corp
    corp.later(2)
    before = corp.standing()
    corp.source = {"attributes": {key: value for key, value in companies.ATTRIBUTES.items() if key != "title"}}
    held = corp.run()
    assert (held.exit_code, corp.lost(before)) == (4, {})
    assert {(each.guard, each.kind) for each in held.held} == {("first_run_after_change", "blank")}
    corp.later(1)
    corp.run()
    assert corp.lost(before) == {}
    corp.approve(held.held[0].digest)
    assert "title" not in corp.user("jane.garcia")["values"]
    assert corp.plan().status == "clean"


def test_another_directory_behind_the_same_address_is_held(
    sqlite_corp: Corp, directory: Slapd, new_slapd: Callable[..., Slapd]
) -> None:
    """The base entry has another entryUUID: a freshly loaded directory. Two people who left it stay."""
    corp = sqlite_corp
    corp.later(2)
    before = corp.standing()
    base = sample._fixed_uuid(sample.BASE)
    fewer = companies.company_ldif(without={"zoe.xu", "anna.xu"}).replace(base, base[:-4] + "abcd")
    corp.url = new_slapd(ldif=fewer).url
    held = corp.run()
    assert (held.exit_code, corp.lost(before)) == (4, {})
    assert "another server answers for source corp" in held.held[0].why
    assert set(held.held[0].subjects) == {"zoe.xu", "anna.xu"}


# ---- groups in groups


def test_a_nested_group_taken_out_over_the_limit_is_held_and_can_be_approved(corp: Corp, directory: Slapd) -> None:
    """all-staff is the role and the seat of everybody; who empties it by mistake empties nothing."""
    corp.later(2)
    before = corp.standing()
    departments = [GROUP[name].dn for name in GROUP["all-staff"].groups]
    directory.modify(modify(GROUP["all-staff"].dn, ("replace", "member", GROUPS_BASE)))
    held = corp.run()
    assert held.exit_code == 4 and corp.lost(before).keys() <= {"effective", "memberships"}
    assert {each.kind for each in held.held} >= {"role", "seat"}
    corp.later(1)
    corp.run()
    assert not {"users", "grants", "seats"} & corp.lost(before).keys()
    directory.modify(modify(GROUP["all-staff"].dn, ("replace", "member", *departments)))
    assert corp.run().exit_code == 0
    assert corp.standing() == before and corp.held() == []


def test_a_group_that_is_missing_keeps_the_groups_in_it(sqlite_corp: Corp, directory: Slapd) -> None:
    corp = sqlite_corp
    corp.later(2)
    before = corp.standing()
    directory.modify(delete(GROUP["all-staff"].dn))
    assert (corp.run().exit_code, corp.lost(before)) == (0, {})
    corp.later(1)
    assert corp.run().exit_code == 4
    assert not {"users", "grants", "seats"} & corp.lost(before).keys()


def test_cycles_are_survived_and_reported(sqlite_corp: Corp, directory: Slapd) -> None:
    corp = sqlite_corp
    directory.modify(
        modify(GROUP["dept-support"].dn, ("add", "member", GROUP["all-staff"].dn))
        + modify(GROUP["billing"].dn, ("add", "member", GROUP["billing"].dn))
    )
    report = corp.run()
    assert report.exit_code == 0 and corp.plan().status == "clean"
    notes = " ".join(report.notes)
    assert "dept-support" in notes and "all-staff" in notes and "round-one > round-two > round-one" in notes
    assert "dept-support" in groups_of(corp, "zoe.xu")  # through all-staff, which is inside it now


# ---- entries that are set aside


def test_two_entries_of_one_uid(corp: Corp, directory: Slapd) -> None:
    """The second one is set aside by name; the first keeps everything, also groups that name members by uid."""
    corp.later(2)
    before = corp.standing()
    double = f"uid=yuki.xu,{unit('Finance')}"
    directory.modify(
        person("yuki.xu", unit("Finance"), manager=PERSON["jane.garcia"].dn)
        + modify(GROUP["crm-admins"].dn, ("add", "member", double))
    )
    report = corp.run()
    assert report.exit_code == 0 and corp.lost(before) == {} and corp.standing()["users"] == before["users"]
    ((entry, why),) = [(each.entry, each.why) for each in report.set_aside]
    assert entry == double and "userName 'yuki.xu' is that of another person" in why
    assert "shell-users" in groups_of(corp, "yuki.xu") and "crm-admins" not in groups_of(corp, "yuki.xu")
    assert [(each.entry, each.why) for each in corp.record(report).set_aside] == [(entry, why)]
    directory.modify(delete(double) + modify(GROUP["crm-admins"].dn, ("delete", "member", double)))
    healed = corp.run()
    assert (healed.status, healed.set_aside) == ("clean", ())


def test_two_new_entries_of_one_uid(sqlite_corp: Corp, directory: Slapd) -> None:
    corp = sqlite_corp
    one, other = f"uid=twin,{unit('Finance')}", f"uid=twin,{unit('Legal')}"
    directory.modify(
        person("twin", unit("Finance"))
        + person("twin", unit("Legal"))
        + modify(GROUP["billing"].dn, ("add", "member", one, other))
        + modify(PERSON["anna.xu"].dn, ("replace", "manager", other))
    )
    report = corp.run()
    assert [each.entry for each in report.set_aside] == [other] and corp.user("twin")["links"][0]["dn"] == one
    assert unresolved(corp, "billing") == {other}
    managers = {value for key, value in corp.user("anna.xu")["values"].items() if key.endswith("manager.value")}
    assert managers == set()
    assert corp.run().status == "clean"


def test_a_second_entry_is_not_adopted_into_the_first(sqlite_corp: Corp, directory: Slapd) -> None:
    corp = sqlite_corp
    corp.source = {"adopt": "userName pr"}
    directory.modify(person("yuki.xu", unit("Finance")))
    report = corp.run()
    assert len(report.set_aside) == 1 and len(corp.user("yuki.xu")["links"]) == 1


def test_an_account_made_again_is_another_person(sqlite_corp: Corp, directory: Slapd) -> None:
    """Deleted and created anew in the directory: another entryUUID, the same uid. No rule about adoption gives her access
    to whoever got her name; the one who is gone goes down the ladder."""
    corp, zoe = sqlite_corp, PERSON["zoe.xu"]
    id = corp.user("zoe.xu")["id"]
    directory.modify(delete(zoe.dn) + person("zoe.xu", unit_of(zoe)))
    assert [each.entry for each in corp.run().set_aside] == [zoe.dn]
    corp.source = {"adopt": 'userType eq "Employee"'}
    again = corp.run()
    assert ("adopt", "zoe.xu") not in changes(again) and [each.entry for each in again.set_aside] == [zoe.dn]
    assert any("userName of somebody whose entry is gone: other people" in note for note in again.notes)
    corp.later(30)
    corp.run()
    after = corp.user("zoe.xu")
    assert after["id"] == id and after["status"] == "suspended"


def test_an_entry_without_a_uid_counts_as_present(sqlite_corp: Corp, directory: Slapd) -> None:
    """Known, then without userName: set aside by name, and neither missing nor out of her groups."""
    corp = sqlite_corp
    corp.later(2)
    before = corp.standing()
    nadia = PERSON["nadia.ivanov"]  # named by cn
    directory.modify(
        modify(
            nadia.dn,
            ("replace", "objectClass", "inetOrgPerson"),
            ("delete", "uid"),
            ("delete", "uidNumber"),
            ("delete", "gidNumber"),
            ("delete", "homeDirectory"),
        )
        + add(f"cn=no uid,{unit('Finance')}", objectClass="inetOrgPerson", cn="no uid", sn="uid")
    )
    for _ in range(3):
        report = corp.run()
        assert (report.exit_code, corp.lost(before)) == (0, {})
        assert {dn.normalize(each.entry) for each in report.set_aside} == {
            dn.normalize(nadia.dn),
            dn.normalize(f"cn=no uid,{unit('Finance')}"),
        }
        assert all("userName" in each.why for each in report.set_aside)
        corp.later(1)
    assert corp.links()["nadia.ivanov"].missing_since is None


def test_an_entry_whose_key_cannot_be_read_is_matched_by_its_dn(sqlite_corp: Corp, directory: Slapd) -> None:
    corp = sqlite_corp
    corp.later(2)
    before = corp.standing()
    yuki, billing = PERSON["yuki.xu"], GROUP["billing"]
    swaps = [(key.encode(), key.replace("-", "_").encode()) for key in (yuki.uuid, billing.uuid)]

    def spoil(message: object) -> bytes:
        raw: bytes = message.raw  # type: ignore[attr-defined]
        for good, bad in swaps:
            raw = raw.replace(good, bad)
        return raw

    with proxy(directory.port, spoil) as spoiled:
        corp.url = spoiled.url
        for _ in range(4):
            report = corp.run()
            assert (report.exit_code, report.complete, corp.lost(before)) == (0, True, {})
            assert {(dn.normalize(each.entry), each.key) for each in report.set_aside} == {
                (dn.normalize(yuki.dn), None),
                (dn.normalize(billing.dn), None),
            }
            corp.later(2)
    corp.url = directory.url
    assert corp.run().status == "clean"


def test_a_key_on_two_entries_is_nobodys_loss(sqlite_corp: Corp, directory: Slapd) -> None:
    corp = sqlite_corp
    corp.later(2)
    before = corp.standing()
    one, other = (PERSON[name].uuid.encode() for name in ("zoe.xu", "yuki.xu"))
    with proxy(directory.port, lambda message: message.raw.replace(one, other)) as spoiled:
        corp.url = spoiled.url
        for _ in range(3):
            report = corp.run()
            assert report.set_aside and "is on another entry too" in report.set_aside[0].why
            assert corp.lost(before) == {}
            corp.later(1)


def test_a_group_of_a_taken_name_is_set_aside(sqlite_corp: Corp, directory: Slapd) -> None:
    below = f"ou=more,{GROUPS_BASE}"
    twin = f"cn=billing,{below}"
    directory.modify(
        add(below, objectClass="organizationalUnit", ou="more")
        + add(twin, objectClass="groupOfNames", cn="billing", member=PERSON["zoe.xu"].dn)
    )
    report = sqlite_corp.run()
    assert [each.entry for each in report.set_aside] == [twin] and "exists already" in report.set_aside[0].why
    assert "billing-clerk" not in {each["value"] for each in sqlite_corp.user("zoe.xu")["roles"]}
    assert sqlite_corp.run().status == "clean"
    directory.modify(move(twin, "cn=billing two"))
    assert sqlite_corp.run().exit_code == 0
    assert "billing two" in groups_of(sqlite_corp, "zoe.xu")
