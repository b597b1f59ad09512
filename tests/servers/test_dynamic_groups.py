"""Groups whose members no entry lists, on a real directory: a search finds them, or only users name them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from servers import corp as companies
from servers.corp import GROUPS_BASE, PEOPLE_BASE, Corp
from servers.ldif_changes import add, delete, modify
from servers.slapd import Slapd

PERSON = {one.uid: one for one in companies.COMPANY.people}
JANE, ANNA, ROSA = (PERSON[uid] for uid in ("jane.garcia", "anna.xu", "rosa.castillo"))
PARTNERS = {one.uid for one in companies.COMPANY.people if one.employee_type == "Partner"}


def groups_of(corp: Corp, uid: str) -> set[str]:
    return {each["display"] for each in corp.user(uid)["groups"]}


def members(corp: Corp, group: str) -> set[str]:
    return {one.uid for one in companies.COMPANY.people if group in groups_of(corp, one.uid)}


def started(folder: Path, url: str, source: dict[str, object]) -> Iterator[Corp]:
    corp = Corp(folder, f"sqlite:///{folder / 'syncd.db'}", url, source)
    yield corp
    corp.close()


# ---- memberURL


@pytest.fixture
def dynamic(new_slapd: Callable[..., Slapd], tmp_path: Path) -> Iterator[tuple[Corp, Slapd]]:
    slapd = new_slapd(ldif=companies.LDIF, globals="include /etc/ldap/schema/dyngroup.schema")
    groups = {"base": GROUPS_BASE, "filter": "(|(objectClass=groupOfUniqueNames)(objectClass=groupOfURLs))"}
    for corp in started(tmp_path, slapd.url, {"groups": groups}):
        yield corp, slapd


def grouped(name: str, *urls: str) -> str:
    return add(f"cn={name},{GROUPS_BASE}", objectClass="groupOfURLs", cn=name, memberURL=urls)


def test_whom_a_search_finds_is_a_member(dynamic: tuple[Corp, Slapd]) -> None:
    corp, slapd = dynamic
    url = f"ldap:///{PEOPLE_BASE}??sub?(employeeType=Partner)"
    here = f"{slapd.url}/{ANNA.dn}??base"
    slapd.modify(grouped("partners", url) + grouped("two", f"ldap:///{JANE.dn}??base", here))
    corp.run()
    assert members(corp, "partners") == PARTNERS and members(corp, "two") == {JANE.uid, ANNA.uid}
    gone = sorted(PARTNERS)[0]
    slapd.modify(modify(PERSON[gone].dn, ("replace", "employeeType", "Employee")))
    looked = corp.run(only=f'userName eq "{gone}"')
    assert looked.counts["leave"] == 1 and members(corp, "partners") == PARTNERS - {gone}
    slapd.modify(modify(JANE.dn, ("replace", "employeeType", "Partner")))
    assert corp.run(only=f'userName eq "{JANE.uid}"').counts["join"] == 1
    assert corp.run().counts["join"] == 0 and corp.plan().status == "clean"


def test_they_are_searched_for_between_the_pages_of_groups(dynamic: tuple[Corp, Slapd]) -> None:
    """OpenLDAP keeps the place of one paged search on a connection: another one makes its cookie void."""
    corp, slapd = dynamic
    corp.source["page_size"] = 2
    urls = {f"d{number}": f"ldap:///{PEOPLE_BASE}??sub?(employeeType=Partner)" for number in range(7)}
    slapd.modify("".join(grouped(name, url) for name, url in urls.items()))
    report = corp.run()
    assert (report.complete, report.set_aside) == (True, ())
    assert all(members(corp, name) == PARTNERS for name in urls)


def test_a_delta_that_tells_of_one_searches_for_its_members(new_slapd: Callable[..., Slapd], tmp_path: Path) -> None:
    overlays = "overlay syncprov\nsyncprov-sessionlog 1000"
    slapd = new_slapd(ldif=companies.LDIF, globals="include /etc/ldap/schema/dyngroup.schema", overlays=overlays)
    groups = {"base": GROUPS_BASE, "filter": "(|(objectClass=groupOfUniqueNames)(objectClass=groupOfURLs))"}
    source = {"groups": groups, "schedule": {"full": "1d", "delta": "1m"}, "retries": 0}
    for corp in started(tmp_path, slapd.url, source):
        corp.run()
        slapd.modify(grouped("partners", f"ldap:///{PEOPLE_BASE}??sub?(employeeType=Partner)"))
        report = corp.run(delta=True)
        assert (report.kind, report.complete) == ("delta", True)
        assert members(corp, "partners") == PARTNERS


def test_a_search_that_is_not_answered_takes_nobody_out(dynamic: tuple[Corp, Slapd]) -> None:
    corp, slapd = dynamic
    slapd.modify(grouped("partners", f"ldap:///{PEOPLE_BASE}??sub?(employeeType=Partner)"))
    corp.run()
    name = f"cn=partners,{GROUPS_BASE}"
    for url, why in (
        (f"ldap:///ou=nowhere,{PEOPLE_BASE}??sub", "was not answered whole"),
        (f"ldap://other.example.org/{PEOPLE_BASE}??sub", "of a server in `url`"),
        (f"ldap:///{PEOPLE_BASE}??sub?(employeeType=Partner", "is not an LDAP filter"),
        (f"ldap:///{PEOPLE_BASE}??deep", "is not one of base, one, sub"),
    ):
        slapd.modify(modify(name, ("replace", "memberURL", url)))
        report = corp.run()
        assert [(each.entry, why in each.why) for each in report.set_aside] == [(name, True)], report.set_aside
        assert members(corp, "partners") == PARTNERS


# ---- memberOf


@pytest.fixture
def by_users(new_slapd: Callable[..., Slapd], tmp_path: Path) -> Iterator[tuple[Corp, Slapd]]:
    """Group entries are hidden from who reads; an overlay writes users' memberOf."""
    overlay = "overlay memberof\nmemberof-group-oc groupOfUniqueNames\nmemberof-member-ad uniqueMember"
    hidden = f'access to dn.subtree="{GROUPS_BASE}" by * none'
    slapd = new_slapd(ldif=companies.LDIF, globals="moduleload memberof", limits=overlay)
    slapd.access = f"{hidden}\n{slapd.access}"
    slapd.restart()
    for corp in started(tmp_path, slapd.url, {"groups": {"base": GROUPS_BASE, "by": "memberOf"}}):
        yield corp, slapd


def crew(name: str, *dns: str) -> str:
    return add(f"cn={name},{GROUPS_BASE}", objectClass="groupOfUniqueNames", cn=name, uniqueMember=dns)


def test_users_alone_say_who_is_in_which_group(by_users: tuple[Corp, Slapd]) -> None:
    corp, slapd = by_users
    refused = corp.run()
    assert refused.status == "incomplete" and "no user shows memberOf" in refused.incomplete_because[0]
    slapd.modify(crew("red", JANE.dn, ANNA.dn) + crew("blue", ROSA.dn))
    first = corp.run()
    assert (first.complete, first.counts["group_create"], first.counts["join"]) == (True, 2, 3)
    assert members(corp, "red") == {JANE.uid, ANNA.uid} and groups_of(corp, ROSA.uid) == {"blue"}
    assert corp.run().status == "clean"
    slapd.modify(modify(f"cn=red,{GROUPS_BASE}", ("delete", "uniqueMember", ANNA.dn)))
    assert corp.run(only=f'userName eq "{ANNA.uid}"').counts["leave"] == 0, "she shows no group: hidden, or in none"
    slapd.modify(modify(f"cn=red,{GROUPS_BASE}", ("add", "uniqueMember", ROSA.dn)))
    assert corp.run(only=f'userName eq "{ROSA.uid}"').counts["join"] == 1
    assert corp.run().counts["leave"] == 1 and members(corp, "red") == {JANE.uid, ROSA.uid}


def test_a_group_that_nobody_names_is_empty_and_not_gone(by_users: tuple[Corp, Slapd]) -> None:
    corp, slapd = by_users
    slapd.modify(crew("red", JANE.dn) + crew("blue", ROSA.dn))
    corp.run()
    slapd.modify(delete(f"cn=red,{GROUPS_BASE}"))
    report = corp.run()
    assert (report.counts["leave"], report.counts["group_delete"]) == (1, 0) and groups_of(corp, JANE.uid) == set()
    corp.later(30)
    assert corp.run().status == "clean"
