"""A file as a source: what is an entry, what is set aside, and when the file counts as whole."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from syncd import sample
from syncd.core.snapshot import Certificate, Entry, SetAside
from syncd.errors import SourceUnreachable
from syncd.ldap.ldif_source import LdifConfig, LdifSource

NOW = datetime(2026, 11, 21, tzinfo=UTC)
KEY = "00000000-0000-4000-8000-00000000000"


def person(number: int, *more: str) -> str:
    lines = (
        f"dn: uid=u{number},dc=x",
        "objectClass: inetOrgPerson",
        f"uid: u{number}",
        f"entryUUID: {KEY}{number}",
        *more,
    )
    return "\n".join(lines) + "\n\n"


def group(number: int) -> str:
    return f"dn: cn=g{number},dc=x\nobjectClass: groupOfNames\nmember: uid=u1,dc=x\nentryUUID: {KEY}{number}\n\n"


def read(path: Path, **settings: object) -> tuple[list[Entry], list[SetAside], Certificate]:
    reading = LdifSource(LdifConfig("dump", path, **settings)).read(NOW)  # type: ignore[arg-type]
    found = list(reading)
    entries = [one for one in found if isinstance(one, Entry)]
    return entries, [one for one in found if isinstance(one, SetAside)], reading.certificate()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "dump.ldif"


def test_the_sample_company(file: Path) -> None:
    file.write_text("".join(sample.sample_company(200, 30, seed=3)))
    entries, set_aside, certificate = read(file)
    company = sample.company(200, 30, seed=3)
    assert certificate == Certificate(key_attribute="entryUUID", users_read=200, groups_read=30)
    assert not set_aside
    assert [one.key for one in entries] == [one.uuid for one in (*company.people, *company.groups)]
    assert [one.dn for one in entries[:200]] == [one.dn for one in company.people]


def test_users_come_first_wherever_they_stand(file: Path) -> None:
    file.write_text(group(8) + person(1) + group(9) + person(2) + "# numEntries: 4\n")
    entries, _, certificate = read(file)
    assert [one.key[-1] for one in entries] == ["1", "2", "8", "9"] and certificate.complete
    assert entries[2].attributes == {
        "objectclass": (b"groupOfNames",),
        "member": (b"uid=u1,dc=x",),
        "entryuuid": (f"{KEY}8".encode(),),
    }


def test_other_entries_are_passed_over_and_counted(file: Path) -> None:
    file.write_text(
        "dn: dc=x\nobjectClass: domain\n\n" + person(1) + "dn: cn=pc,dc=x\nobjectClass: person\nobjectClass: user\n"
        "objectClass: computer\n\n# numEntries: 3\n"
    )
    entries, set_aside, certificate = read(file)
    assert len(entries) == 1 and not set_aside and certificate.complete


def test_only_below_the_base(file: Path) -> None:
    file.write_text(person(1) + person(2).replace("dc=x", "ou=Gone, DC=x") + "# numEntries: 2\n")
    assert [one.key[-1] for one in read(file, base=("OU=gone,dc=X",))[0]] == ["2"]


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("", "no users: none of 0 entries"),
        (group(1) + "# numEntries: 1\n", "no users: none of 1 entries"),
        (person(1), "nothing says that the file is whole"),
        (person(1) + "# numEntries: 2\n", "it says it has 2 entries and has 1"),
        (person(1) + "# search result\n\n# numEntries: 1\n", "(ldapsearch -L leaves it out)"),
        (person(1) + "search: 2\nresult: 4 Size limit exceeded\n\n# numEntries: 1\n", "Size limit exceeded (4)"),
        (person(1) + "dn: uid=u2,dc=x\nobjectCl", "line 7: neither"),
        (person(1) + "dn: uid=u2,dc=x\nobjectClass: inetOrgPer", "the last line has no end"),
        (person(1) + "dn: uid=u2,dc=x\nchangetype: delete\n", "line 7: a change record"),
    ],
)
def test_not_whole(file: Path, text: str, because: str) -> None:
    file.write_text(text)
    certificate = read(file)[2]
    assert not certificate.complete and because in "; ".join(certificate.because)
    assert certificate.asserted_by is None


def test_cut_anywhere_it_is_never_whole(file: Path) -> None:
    whole = "".join(sample.sample_company(6, 5, seed=1)).encode()
    for length in range(0, len(whole) - 1, 7):
        file.write_bytes(whole[:length])
        assert not read(file)[2].complete, length


def test_an_unmarked_file_may_be_asserted_whole_but_not_against_the_evidence(file: Path) -> None:
    file.write_text(person(1))
    certificate = read(file, accept_unmarked_files_as_complete=True)[2]
    assert certificate.complete and certificate.asserted_by == "accept_unmarked_files_as_complete"
    for text in ("", person(1).rstrip("\n"), person(1) + "# numEntries: 2\n", person(1) + "result: 3 Time limit\n"):
        file.write_text(text)
        certificate = read(file, accept_unmarked_files_as_complete=True)[2]
        assert not certificate.complete and certificate.asserted_by is None


def test_a_sum_beside_the_file(file: Path) -> None:
    file.write_text(person(1))
    beside = file.with_name("dump.ldif.sha256")
    beside.write_text(hashlib.sha256(file.read_bytes()).hexdigest() + "  dump.ldif\n")
    certificate = read(file)[2]
    assert certificate.complete and certificate.asserted_by is None
    file.write_text(person(1) + person(2) + "# numEntries: 2\n")
    certificate = read(file, accept_unmarked_files_as_complete=True)[2]
    assert certificate.because == ("dump.ldif.sha256 has another sum than the file",)


def test_a_bad_entry_is_set_aside_by_name(file: Path) -> None:
    file.write_text(
        person(1)
        + person(2, "jpegPhoto:< file:///etc/passwd")
        + person(3).replace(f"{KEY}3", f"{KEY}1")
        + person(4).replace(KEY, "x")
        + person(5).replace("dn: uid=u5,dc=x", "dn: nonsense")
        + person(6).replace("dn: uid=u6,dc=x", "dn:: /w==")
        + person(1)
        + "# numEntries: 7\n"
    )
    entries, set_aside, certificate = read(file)
    assert certificate.complete and certificate.set_aside == 5 and len(entries) == 1
    assert [(one.entry, one.key) for one in set_aside] == [
        ("uid=u2,dc=x", f"{KEY}2"),
        ("uid=u3,dc=x", f"{KEY}1"),
        ("uid=u4,dc=x", None),
        ("nonsense", f"{KEY}5"),
        ("\\xff", f"{KEY}6"),
    ]
    reasons = [one.why for one in set_aside]
    assert "is not fetched" in reasons[0] and "on another entry" in reasons[1] and "not a stable key" in reasons[2]
    assert "not a distinguished name" in reasons[3] and "not UTF-8" in reasons[4]


def test_without_a_stable_key_the_dn_is_never_one(file: Path) -> None:
    file.write_text(person(1, "employeeNumber: E-007").replace("entryUUID", "x-gone") + "# numEntries: 1\n")
    entries, set_aside, certificate = read(file)
    assert not entries and not certificate.complete
    assert "name another attribute that never changes as key_attribute" in set_aside[0].why
    entries, _, certificate = read(file, key_attribute="employeeNumber")
    assert [one.key for one in entries] == ["e-007"]
    assert certificate.complete and certificate.key_attribute == "employeeNumber"


def test_a_file_that_is_not_there(file: Path) -> None:
    with pytest.raises(SourceUnreachable, match=r"dump\.ldif: No such file"):
        LdifSource(LdifConfig("dump", file)).read(NOW)


def test_a_reading_that_is_given_up(file: Path) -> None:
    file.write_text(person(1) + person(2) + "# numEntries: 2\n")
    reading = LdifSource(LdifConfig("dump", file)).read(NOW)
    next(iter(reading))
    reading.close()
    assert reading.certificate().because == ("the read was not carried to its end",)


def test_a_file_that_changes_while_it_is_read(file: Path) -> None:
    file.write_text(person(1) + person(2) + "# numEntries: 2\n")
    reading = LdifSource(LdifConfig("dump", file)).read(NOW)
    entries = iter(reading)
    next(entries)
    with file.open("a") as more:
        more.write("# one more line\n")
    list(entries)
    assert reading.certificate().because == ("the file changed while it was read",)


def test_a_canary_that_is_not_in_the_file_makes_the_read_incomplete(tmp_path: Path) -> None:
    from syncd.sample import sample_company

    file = tmp_path / "company.ldif"
    file.write_text("".join(sample_company(20, 5, 1)))
    someone = next(line[4:] for line in file.read_text().splitlines() if line.startswith("dn: uid="))
    assert read(file, canaries=(someone.upper(),))[2].complete
    certificate = read(file, canaries=(someone, "uid=nobody,dc=example,dc=org"))[2]
    assert certificate.because == ("canary uid=nobody,dc=example,dc=org is not in the file",)
