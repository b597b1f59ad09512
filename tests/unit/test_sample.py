"""The sample company: the same each time, with everything that readers trip over."""

import io
from pathlib import Path

import pytest

from syncd import sample
from syncd.ldap import dn
from syncd.ldap.ldif import LdifReader, Record

SHIPPED = Path(__file__).parents[2] / "config" / "sample"


def records(company: sample.Company) -> list[Record]:
    reader = LdifReader(io.BytesIO("".join(sample.ldif(company)).encode()))
    found = list(reader)
    assert reader.marks.present and not reader.marks.problems()
    return found


@pytest.mark.parametrize(("users", "groups"), [(0, 0), (1, 1), (2, 3), (12, 7), (300, 50)])
def test_exactly_so_many(users: int, groups: int) -> None:
    found = records(sample.company(users, groups, seed=5))
    assert sum(b"inetOrgPerson" in one.attributes["objectClass"] for one in found) == users
    assert sum("groupOf" in str(one.attributes) or "posixGroup" in str(one.attributes) for one in found) == groups
    assert len({dn.normalize(one.dn.decode()) for one in found}) == len(found)
    assert len({one.attributes["entryUUID"] for one in found}) == len(found)


def test_the_same_seed_is_the_same_company() -> None:
    assert list(sample.sample_company(50, 20, 1)) == list(sample.sample_company(50, 20, 1))
    assert list(sample.sample_company(50, 20, 1)) != list(sample.sample_company(50, 20, 2))


def test_every_parent_comes_before_its_children_and_rdns_are_attributes() -> None:
    known = {""}
    for record in records(sample.company(60, 30, seed=1)):
        name = record.dn.decode()
        assert name == sample.BASE or dn.parent(name) in known
        known.add(dn.normalize(name))
        for kind, value in dn.parse(name)[0]:
            folded = {dn.normalize("cn=" + dn.escape_value(v.decode())) for v in record.attributes[kind]}
            assert dn.normalize("cn=" + dn.escape_value(value)) in folded


def test_what_readers_trip_over_is_there() -> None:
    company = sample.company(300, 50, seed=1)
    names = [one.dn for one in company.people]
    for oddity in ("\\,", "\\+", "\\ ", "\\#", '\\"', "+uid=", "김"):
        assert any(oddity in name for name in names), oddity
    assert max(len(one.family) for one in company.people) > 200
    by_name = {one.name: one for one in company.groups}
    assert {"crm-admins", "crm-users", "billing", "all-staff"} <= set(by_name)
    assert by_name["round-one"].groups == ("round-two",) and by_name["round-two"].groups == ("round-one",)
    assert by_name["old-project"].gone and by_name["all-staff"].groups
    assert {one.kind for one in company.groups} == {"groupOfNames", "groupOfUniqueNames", "posixGroup"}
    assert {one.employee_type for one in company.people} == {"Employee", "Contractor", "Partner"}
    expiries = {one.shadow_expire for one in company.people}
    assert {sample.EXPIRED, sample.LONG_AGO, None} < expiries
    assert all(one.uid.isascii() for one in company.people)
    assert len({one.uid for one in company.people}) == 300


@pytest.mark.parametrize(("users", "groups"), [(500, 60), (12, 5), (1, 1), (0, 0)])
def test_monday(users: int, groups: int) -> None:
    before = sample.company(users, groups, seed=1)
    after = sample.monday(before)
    was, now = {one.uuid: one for one in before.people}, {one.uuid: one for one in after.people}
    gone, came = set(was) - set(now), set(now) - set(was)
    assert len(gone) <= max(5, users // 20)
    records(after)
    if users < 500:
        return
    moved = [key for key in was.keys() & now.keys() if was[key].department != now[key].department]
    married = [key for key in was.keys() & now.keys() if was[key].family != now[key].family]
    assert (len(gone), len(came), len(moved), len(married)) == (5, 10, 5, 1)
    assert was[married[0]].uid != now[married[0]].uid and was[married[0]].dn != now[married[0]].dn
    assert all(was[key].dn != now[key].dn for key in moved)
    members = {one for group in after.groups for one in group.people}
    assert members <= set(now) and all(one.manager in now for one in after.people if one.manager)
    departments = {one.name: set(one.people) for one in after.groups if one.name.startswith("dept-")}
    assert all(sum(key in people for people in departments.values()) == 1 for key in now)
    assert sample.monday(before) == after


def test_the_shipped_files_are_what_the_generator_makes() -> None:
    company = sample.company(500, 60, seed=1)
    assert (SHIPPED / "company.ldif").read_text() == "".join(sample.ldif(company))
    assert (SHIPPED / "company-monday.ldif").read_text() == "".join(sample.ldif(sample.monday(company)))
