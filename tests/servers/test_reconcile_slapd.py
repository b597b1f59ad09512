"""Reconciling a real slapd: after a run nothing is left to do, what is broken by hand is healed, and who left comes back."""

from __future__ import annotations

from servers import corp as companies
from servers.corp import GROUPS_BASE, PEOPLE_BASE, Corp, changes
from servers.ldif_changes import add, delete, modify, move, person, unit_of
from servers.slapd import Slapd

PERSON = {one.uid: one for one in companies.COMPANY.people}
GROUP = {one.name: one for one in companies.COMPANY.groups}
MANAGER = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value"
FINANCE = f"ou=Finance,{PEOPLE_BASE}"


def roles(corp: Corp, name: str) -> set[str]:
    return {each["value"] for each in corp.user(name)["roles"]}


def seats(corp: Corp, name: str) -> set[str]:
    return {each["value"] for each in corp.user(name)["seats"]}


def groups(corp: Corp, name: str) -> set[str]:
    return {each["display"] for each in corp.user(name)["groups"]}


def heals(corp: Corp) -> list[tuple[str, str]]:
    """Plan, apply exactly that, and find nothing left; what it came to."""
    planned = corp.plan()
    assert (planned.status, planned.exit_code) == ("pending", 3), planned.held
    applied = corp.run(plan=planned.digest)
    assert (applied.status, applied.exit_code) == ("applied", 0), applied.held
    assert changes(applied) == changes(planned) and applied.counts == planned.counts
    assert applied.digest == planned.digest
    left = corp.plan()
    assert (left.status, left.exit_code, changes(left)) == ("clean", 0, [])
    return changes(applied)


def test_a_directory_that_did_not_change_is_no_work(corp: Corp) -> None:
    before = corp.standing()
    again = corp.run()
    assert (again.status, again.exit_code, changes(again)) == ("clean", 0, [])
    assert corp.standing() == before
    assert len(before["users"]) == companies.USERS and len(before["groups"]) == companies.GROUPS
    assert any("round-one > round-two > round-one" in note for note in again.notes)
    record = corp.record(again)
    assert record.complete and record.status == "clean" and record.counts["read"] == companies.USERS + companies.GROUPS


def test_a_change_of_what_is_not_read_writes_nothing(sqlite_corp: Corp, directory: Slapd) -> None:
    """It moves the entry's modifyTimestamp, as a new password does, or a reload for every entry."""
    before = sqlite_corp.links()
    directory.modify(modify(PERSON["anna.xu"].dn, ("replace", "telephoneNumber", "+49 30 1")))
    assert sqlite_corp.run().status == "clean"
    assert sqlite_corp.links() == before


# ---- broken by hand, healed


def test_a_joiner_gets_what_her_groups_give(sqlite_corp: Corp, directory: Slapd) -> None:
    unit = f"ou=Engineering,{PEOPLE_BASE}"
    directory.modify(
        person("nora.new", unit, title="Engineer", manager=PERSON["noah.garcia"].dn)
        + modify(GROUP["dept-engineering"].dn, ("add", "member", f"uid=nora.new,{unit}"))
        + modify(GROUP["shell-users"].dn, ("add", "memberUid", "nora.new"))
    )
    assert heals(sqlite_corp) == [
        ("create", "nora.new"),
        ("grant", "nora.new"),
        ("join", "nora.new"),
        ("join", "nora.new"),
        ("seat", "nora.new"),
    ]
    assert roles(sqlite_corp, "nora.new") == {"member"} and seats(sqlite_corp, "nora.new") == {"internal"}
    assert groups(sqlite_corp, "nora.new") == {"dept-engineering", "all-staff", "shell-users"}
    boss = sqlite_corp.user("nora.new")["values"][MANAGER]
    assert boss == sqlite_corp.user("noah.garcia")["id"]


def test_a_mover_keeps_her_id_while_her_dn_moves(corp: Corp, directory: Slapd) -> None:
    jane, before = PERSON["jane.garcia"], corp.user("jane.garcia")
    moved = f"uid=jane.garcia,{FINANCE}"
    directory.modify(
        move(jane.dn, "uid=jane.garcia", FINANCE)
        + modify(moved, ("replace", "departmentNumber", "Finance"))
        + modify(GROUP["dept-marketing"].dn, ("delete", "member", jane.dn))
        + modify(GROUP["dept-finance"].dn, ("add", "member", moved))
        + modify(GROUP["crm-users"].dn, ("delete", "uniqueMember", jane.dn), ("add", "uniqueMember", moved))
        + modify(GROUP["project-0024"].dn, ("delete", "member", jane.dn), ("add", "member", moved))
    )
    assert heals(corp) == [("join", "jane.garcia"), ("leave", "jane.garcia"), ("update", "jane.garcia")]
    after = corp.user("jane.garcia")
    assert after["id"] == before["id"] and after["links"][0]["dn"].endswith(FINANCE)
    assert (after["roles"][0]["value"], seats(corp, "jane.garcia")) == ("crm-user", {"internal", "crm"})


def test_a_group_that_names_where_somebody_was_no_longer_names_her(sqlite_corp: Corp, directory: Slapd) -> None:
    """Stock OpenLDAP does not follow a move in its groups (no refint): to every LDAP client she is no member then."""
    jane = PERSON["jane.garcia"]
    directory.modify(move(jane.dn, "uid=jane.garcia", FINANCE))
    assert ("leave", "jane.garcia") in heals(sqlite_corp)
    assert groups(sqlite_corp, "jane.garcia") == set() and roles(sqlite_corp, "jane.garcia") == set()
    directory.modify(move(f"uid=jane.garcia,{FINANCE}", "uid=jane.garcia", unit_of(jane)))
    assert ("join", "jane.garcia") in heals(sqlite_corp)
    assert groups(sqlite_corp, "jane.garcia") == {"dept-marketing", "crm-users", "project-0024", "all-staff"}


def test_two_people_may_swap_names_and_places(corp: Corp, directory: Slapd) -> None:
    anna, zoe = PERSON["anna.becker"], PERSON["zoe.xu"]
    before = {one.uid: corp.user(one.uid)["id"] for one in (anna, zoe)}
    directory.modify(
        move(anna.dn, "uid=between", FINANCE)
        + move(zoe.dn, "uid=anna.becker", unit_of(anna))
        + move(f"uid=between,{FINANCE}", "uid=zoe.xu", unit_of(zoe))
    )
    assert {kind for kind, _ in heals(corp)} == {"update", "join", "leave"}
    assert corp.user("zoe.xu")["id"] == before["anna.becker"]
    assert corp.user("anna.becker")["id"] == before["zoe.xu"]


def test_a_marriage_changes_uid_name_and_dn_of_the_same_user(sqlite_corp: Corp, directory: Slapd) -> None:
    bjorn, before = PERSON["bjorn.obrien"], sqlite_corp.user("bjorn.obrien")
    renamed = f"uid=bjorn.lindqvist,{unit_of(bjorn)}"
    directory.modify(
        move(bjorn.dn, "uid=bjorn.lindqvist")
        + modify(
            renamed,
            ("replace", "cn", "Björn Lindqvist"),
            ("replace", "sn", "Lindqvist"),
            ("replace", "mail", "bjorn.lindqvist@example.org"),
        )
        + "".join(
            modify(GROUP[name].dn, ("delete", attribute, bjorn.dn), ("add", attribute, renamed))
            for name, attribute in (
                ("crm-admins", "member"),
                ("crm-users", "uniqueMember"),
                ("dept-marketing", "member"),
            )
        )
    )
    assert heals(sqlite_corp) == [("update", "bjorn.lindqvist")]
    after = sqlite_corp.user("bjorn.lindqvist")
    assert after["id"] == before["id"] and after["values"]["name.familyName"] == "Lindqvist"
    assert after["values"]["displayName"] == "Björn Lindqvist"
    assert {each["value"] for each in after["roles"]} == {"admin", "crm-user", "member"}


def test_an_account_switched_off_holds_no_seat_and_gets_it_back(sqlite_corp: Corp, directory: Slapd) -> None:
    rosa = PERSON["rosa.castillo"]
    directory.modify(modify(rosa.dn, ("add", "shadowExpire", "1")))
    assert heals(sqlite_corp) == [
        ("deactivate", "rosa.castillo"),
        ("unseat", "rosa.castillo"),
        ("unseat", "rosa.castillo"),
    ]
    assert sqlite_corp.user("rosa.castillo")["status"] == "inactive" and seats(sqlite_corp, "rosa.castillo") == set()
    directory.modify(modify(rosa.dn, ("delete", "shadowExpire")))
    assert heals(sqlite_corp) == [("reactivate", "rosa.castillo"), ("seat", "rosa.castillo"), ("seat", "rosa.castillo")]
    assert seats(sqlite_corp, "rosa.castillo") == {"internal", "crm"}


def test_members_come_and_go(corp: Corp, directory: Slapd) -> None:
    directory.modify(
        modify(GROUP["billing"].dn, ("add", "member", PERSON["anna.xu"].dn))
        + modify(GROUP["crm-users"].dn, ("delete", "uniqueMember", PERSON["rosa.castillo"].dn))
        + modify(GROUP["shell-users"].dn, ("delete", "memberUid", "yuki.xu"))
    )
    assert heals(corp) == [
        ("grant", "anna.xu"),
        ("grant", "anna.xu"),
        ("join", "anna.xu"),
        ("leave", "rosa.castillo"),
        ("leave", "yuki.xu"),
        ("revoke", "rosa.castillo"),
        ("seat", "anna.xu"),
        ("unseat", "rosa.castillo"),
    ]
    assert roles(corp, "anna.xu") == {"billing-clerk", "member"} and roles(corp, "rosa.castillo") == {"member"}
    assert corp.user("anna.xu")["data_scopes"]


def test_a_group_in_a_group_gives_its_members_what_the_outer_one_gives(sqlite_corp: Corp, directory: Slapd) -> None:
    support = GROUP["dept-support"]
    directory.modify(modify(GROUP["billing"].dn, ("add", "member", support.dn)))
    assert ("join", "group dept-support") in heals(sqlite_corp)
    assert "billing-clerk" in roles(sqlite_corp, "kateryna.dubois")
    path = next(each for each in sqlite_corp.user("kateryna.dubois")["groups"] if each["display"] == "billing")
    assert path["path"] == "dept-support > billing"
    directory.modify(modify(GROUP["billing"].dn, ("delete", "member", support.dn)))
    assert ("leave", "group dept-support") in heals(sqlite_corp)
    assert "billing-clerk" not in roles(sqlite_corp, "kateryna.dubois")


def test_a_renamed_group_keeps_its_id_and_loses_what_its_name_gave(sqlite_corp: Corp, directory: Slapd) -> None:
    billing = GROUP["billing"]
    before = next(each for each in sqlite_corp.user("liam.ivanov")["groups"] if each["display"] == "billing")
    directory.modify(move(billing.dn, "cn=accounts"))
    healed = heals(sqlite_corp)
    assert [one for one in healed if one[0].startswith("group")] == [("group_update", "group accounts")]
    assert ("revoke", "liam.ivanov") in healed and ("leave", "liam.ivanov") not in healed
    after = next(each for each in sqlite_corp.user("liam.ivanov")["groups"] if each["display"] == "accounts")
    assert after["value"] == before["value"]
    directory.modify(move(f"cn=accounts,{GROUPS_BASE}", "cn=billing"))
    heals(sqlite_corp)
    assert "billing-clerk" in roles(sqlite_corp, "liam.ivanov")


def test_another_manager(sqlite_corp: Corp, directory: Slapd) -> None:
    directory.modify(modify(PERSON["anna.xu"].dn, ("replace", "manager", PERSON["jane.garcia"].dn)))
    assert heals(sqlite_corp) == [("update", "anna.xu")]
    assert sqlite_corp.user("anna.xu")["values"][MANAGER] == sqlite_corp.user("jane.garcia")["id"]
    directory.modify(modify(PERSON["anna.xu"].dn, ("delete", "manager")))
    assert heals(sqlite_corp) == [("update", "anna.xu")]
    assert MANAGER not in sqlite_corp.user("anna.xu")["values"]


def test_a_blanked_attribute_and_a_group_dissolved(sqlite_corp: Corp, directory: Slapd) -> None:
    directory.modify(modify(PERSON["anna.xu"].dn, ("delete", "title")) + delete(GROUP["old-project"].dn))
    assert heals(sqlite_corp) == [("update", "anna.xu")]  # the group is only missing yet
    assert "old-project" in groups(sqlite_corp, "olivia.ueda")
    sqlite_corp.later(1)
    assert heals(sqlite_corp) == [("group_delete", "group old-project"), ("leave", "olivia.ueda")]


def test_a_monday_at_once(corp: Corp, directory: Slapd) -> None:
    """A joiner takes the name a mover gave up in the same read, and joins a group made in it."""
    jane = PERSON["jane.garcia"]
    renamed = f"uid=jane.lindqvist,{unit_of(jane)}"
    fresh = f"uid=jane.garcia,{FINANCE}"
    directory.modify(
        move(jane.dn, "uid=jane.lindqvist")
        + person("jane.garcia", FINANCE)
        + add(f"cn=night-shift,{GROUPS_BASE}", objectClass="groupOfNames", cn="night-shift", member=(fresh, renamed))
    )
    healed = heals(corp)
    assert {("create", "jane.garcia"), ("update", "jane.lindqvist"), ("group_create", "group night-shift")} <= {*healed}
    assert groups(corp, "jane.garcia") == {"night-shift"} == groups(corp, "jane.lindqvist")


def test_a_date_that_moves_is_written_beside_what_changes(corp: Corp, directory: Slapd) -> None:
    """No reader sees the new date, so one row of the batch is written without a new modification time."""
    bjorn, zoe = PERSON["bjorn.diaz"], PERSON["zoe.xu"]
    directory.modify(modify(bjorn.dn, ("add", "shadowExpire", "24000")) + modify(zoe.dn, ("replace", "title", "Lead")))
    assert heals(corp) == [("update", "zoe.xu")]
    directory.modify(
        modify(bjorn.dn, ("replace", "shadowExpire", "24100")) + modify(zoe.dn, ("replace", "title", "Cat"))
    )
    assert heals(corp) == [("update", "zoe.xu")]
    assert corp.user("bjorn.diaz")["links"][0]["ends_at"].year == 2035
    directory.modify(
        modify(zoe.dn, ("replace", "shadowExpire", "24100")) + modify(bjorn.dn, ("replace", "title", "Cat"))
    )
    assert heals(corp) == [("update", "bjorn.diaz")]
