"""A real Active Directory domain (Samba): who people are, what their accounts are, groups in ranges and in each other, TLS.

What syncd makes of the domain is compared with what the domain says itself, wherever it can be asked.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from servers.active_directory import BASE, READER, Samba
from servers.corp import Corp, changes
from servers.faulty import DONE, REFERENCE, Message, proxy
from servers.slapd import READER_PASSWORD, authority, free_port
from syncd.core.secret import Secret
from syncd.core.snapshot import Certificate, Entry
from syncd.errors import BindRefused, SourceUnreachable
from syncd.ldap import source as ldap_source
from syncd.ldap.config import LdapConfig, SearchConfig
from syncd.ldap.source import LdapSource

PEOPLE, GROUPS = f"OU=People,{BASE}", f"OU=Groups,{BASE}"
USERS_FILTER = "(&(objectCategory=person)(objectClass=user))"
IN_CHAIN = "1.2.840.113556.1.4.1941"
NOW = datetime(2026, 11, 2, 3, 0, tzinfo=UTC)
ATTRIBUTES = {
    "userName": "sAMAccountName",
    "name.givenName": "givenName",
    "name.familyName": "sn",
    "emails.work": "mail",
    "displayName": "{givenName} {sn}",
    "title": "objectSid",
    "userType": "objectGUID",
}


def config(domain: Samba, **different: object) -> LdapConfig:
    base = LdapConfig(
        name="corp",
        urls=(domain.ldaps_url,),
        users=SearchConfig((PEOPLE,), USERS_FILTER),
        groups=SearchConfig((GROUPS,), "(objectClass=group)"),
        bind_dn=READER,
        bind_password=Secret(READER_PASSWORD),
        ca_file=domain.tls.ca,
        connect_timeout_s=10,
        receive_timeout_s=20,
        deadline_s=60,
        retries=0,
    )
    return replace(base, **different)  # type: ignore[arg-type]


def read(settings: LdapConfig) -> tuple[list[Entry], Certificate]:
    reading = LdapSource(settings, ("sAMAccountName", "objectSid")).read(NOW)
    found = [one for one in reading if isinstance(one, Entry)]
    return found, reading.certificate()


def corp_of(domain: Samba, folder: Path) -> Corp:
    source = {
        "bind_dn": READER,
        "ca_file": str(domain.tls.ca),
        "users": {"base": PEOPLE, "filter": USERS_FILTER},
        "groups": {"base": GROUPS, "filter": "(objectClass=group)"},
        "attributes": ATTRIBUTES,
        "deadline": "60s",
        "receive_timeout": "20s",
    }
    return Corp(folder, f"sqlite:///{folder / 'syncd.db'}", domain.ldaps_url, source, NOW)


@pytest.fixture
def corp(domain: Samba, tmp_path: Path) -> Iterator[Corp]:
    """Reconciled once with the domain, which is only read."""
    made = corp_of(domain, tmp_path)
    assert made.run().status == "applied"
    yield made
    made.close()


def values(lines: list[str], name: str) -> list[str]:
    return [line.partition(": ")[2] for line in lines if line.lower().startswith(f"{name.lower()}: ")]


# -- who people are --------------------------------------------------------------------------------------------------------


def test_people_are_known_by_object_guid_and_shown_with_their_sid(domain: Samba, corp: Corp) -> None:
    lines = domain.search("-b", PEOPLE, "(sAMAccountName=alice)", "objectGUID", "objectSid")
    (raw,) = [line.partition(":: ")[2] for line in lines if line.startswith("objectGUID:: ")]
    guid = str(uuid.UUID(bytes_le=base64.b64decode(raw)))
    link = corp.links()["alice"]
    assert link.key == guid
    (sid,) = [line.partition(":: ")[2] for line in lines if line.startswith("objectSid:: ")]
    shown = corp.user("alice")["values"]
    assert shown["userType"] == guid
    authorities = [str(int.from_bytes(base64.b64decode(sid)[at : at + 4], "little")) for at in range(8, 28, 4)]
    assert shown["title"] == "S-1-5-" + "-".join(authorities)


def test_the_domain_says_what_it_is(domain: Samba) -> None:
    entries, certificate = read(config(domain))
    assert certificate.complete and certificate.key_attribute == "objectGUID"
    assert (certificate.flavour, certificate.lockout) == ("active-directory", timedelta(minutes=30))
    assert (certificate.server_identity or "").startswith(f"Active Directory; {BASE} objectGUID ")
    assert {one.attributes["samaccountname"][0] for one in entries if one.kind == "user"} == {
        *(b"alice", b"bob", b"carol", b"dora", b"erin", b"frank", b"grace"),
    }


def test_a_name_that_is_used_again_is_another_person(changed_domain: Samba, tmp_path: Path) -> None:
    """Not even where accounts are adopted by name: the first one's access is not handed on, and the ladder takes her."""
    corp = corp_of(changed_domain, tmp_path)
    corp.source["adopt"] = "userName pr"
    try:
        corp.run()
        first = corp.user("frank")
        assert first["groups"]
        changed_domain.modify(f"dn: CN=Frank Fisher,{PEOPLE}\nchangetype: delete\n")
        changed_domain.modify(
            f"dn: CN=Frank Fisher,{PEOPLE}\nchangetype: add\nobjectClass: user\nsAMAccountName: frank\ngivenName: Frank\n"
            "sn: Foster\nmail: frank@example.org\nuserAccountControl: 544\n"
        )
        report = corp.run()
        (aside,) = report.set_aside
        assert aside.entry == f"CN=Frank Fisher,{PEOPLE}" and "is that of another person" in aside.why
        assert any(
            note.startswith("1 new entries have the userName of somebody whose entry is gone") for note in report.notes
        )
        assert changes(report) == []
        assert corp.links()["frank"].missing_reads == 1
        for _ in range(3):
            corp.later(days=15)
            report = corp.run()
        assert corp.user(first["id"])["status"] == "deleted"
        second = corp.user("frank")
        assert (second["id"] != first["id"], second["displayName"], second["groups"]) == (True, "Frank Foster", [])
    finally:
        corp.close()


# -- what their accounts are -------------------------------------------------------------------------------------------------


def test_accounts_as_the_domain_has_them(corp: Corp) -> None:
    status = {name: corp.user(name)["status"] for name in ("alice", "bob", "carol", "dora", "frank")}
    assert status == {
        "alice": "active",
        "bob": "inactive",  # userAccountControl
        "carol": "active",  # until accountExpires
        "dora": "inactive",  # it has expired
        "frank": "active",  # must change the password, which says nothing of the account
    }
    (end,) = corp.user("carol")["scheduled"]
    assert (end["at"], end["what"]) == (datetime(2030, 7, 6, 0, 0, tzinfo=UTC), "status becomes inactive")
    corp.source["accounts"] = {"locked": 'pwdLastSet eq "0"'}
    corp.run()
    assert corp.user("frank")["status"] == "locked"


def wrong_password(domain: Samba, name: str) -> None:
    settings = config(domain, bind_dn=f"{name}@ad.example.org", bind_password=Secret("wrong"))
    with pytest.raises(BindRefused):
        LdapSource(settings).read(NOW)


def test_a_lock_out_is_a_lock(changed_domain: Samba, tmp_path: Path) -> None:
    corp = corp_of(changed_domain, tmp_path)
    try:
        corp.now = datetime.now(UTC)
        corp.run()
        before = corp.user("erin")
        for _ in range(3):
            wrong_password(changed_domain, "erin")
        report = corp.run()
        assert changes(report) == [("update", "erin")] and not report.held
        locked = corp.user("erin")
        assert (locked["status"], locked["enabled"]) == ("locked", True)
        assert (locked["roles"], locked["seats"], locked["groups"]) == (
            before["roles"],
            before["seats"],
            before["groups"],
        )
        (end,) = locked["scheduled"]
        assert (end["what"], end["because"]) == ("status becomes active", "the lock-out in corp ends")
        assert timedelta(minutes=25) < end["at"] - corp.now <= timedelta(minutes=31)
        changed_domain.modify(f"dn: CN=Erin Ellis,{PEOPLE}\nchangetype: modify\nreplace: lockoutTime\nlockoutTime: 0\n")
        corp.run()
        assert corp.user("erin")["status"] == "active"
    finally:
        corp.close()


# -- groups ------------------------------------------------------------------------------------------------------------------


def test_a_group_of_more_members_than_one_answer_holds(domain: Samba, monkeypatch: pytest.MonkeyPatch) -> None:
    """Active Directory answers with `member;range=0-1499` by itself; Samba does if it is asked for a range."""
    whole = _members(domain)
    assert len(whole) == 1505
    asked = ldap_source.attributes_asked

    def in_ranges(*arguments: Any) -> tuple[str, ...]:
        return tuple("member;range=0-1499" if name == "member" else name for name in asked(*arguments))

    monkeypatch.setattr(ldap_source, "attributes_asked", in_ranges)
    assert _members(domain) == whole


def _members(domain: Samba) -> set[bytes]:
    entries, certificate = read(config(domain))
    assert certificate.complete
    (group,) = [one for one in entries if one.attributes.get("cn") == (b"everything",)]
    assert len(group.attributes["member"]) == len(set(group.attributes["member"]))
    return set(group.attributes["member"])


@pytest.mark.parametrize("group", ["crm-admins", "sales", "emea-sales", "ring-a", "ring-b"])
def test_nested_members_are_those_that_the_domain_finds_itself(domain: Samba, corp: Corp, group: str) -> None:
    """Our own walk and the server's rule in-chain, circles included."""
    lines = domain.search(
        "-b", PEOPLE, f"(&{USERS_FILTER}(memberOf:{IN_CHAIN}:=CN={group},{GROUPS}))", "sAMAccountName"
    )
    known = {name for name in corp.links() if group in {each["display"] for each in corp.user(name)["groups"]}}
    assert known == set(values(lines, "sAMAccountName")) != set()


def test_a_primary_group_has_its_members(domain: Samba, tmp_path: Path) -> None:
    """No `member` names them: the domain only says it of each user. Whose it is not any more is named again."""
    corp = corp_of(domain, tmp_path)
    corp.source["groups"] = {"base": [GROUPS, f"CN=Domain Users,CN=Users,{BASE}"], "filter": "(objectClass=group)"}
    try:
        corp.run()
        assert {each["display"] for each in corp.user("grace")["groups"]} == {"Domain Users", "staff"}
        everybody = {
            name for name in corp.links() if "Domain Users" in {g["display"] for g in corp.user(name)["groups"]}
        }
        assert everybody == set(corp.links())
        lines = domain.search("-b", f"CN=Domain Users,CN=Users,{BASE}", "-s", "base", "member")
        assert values(lines, "member") == [f"CN=Grace Green,{PEOPLE}"]
        assert corp.plan().status == "clean"
    finally:
        corp.close()


def test_one_person_is_looked_up_by_her_guid_and_her_groups(changed_domain: Samba, tmp_path: Path) -> None:
    """Found, moved between groups, renamed, gone: by a few searches, and only what the domain says for certain."""
    corp = corp_of(changed_domain, tmp_path)
    try:
        staff = f"CN=staff,{GROUPS}"
        new = f"CN=Nora Newman,{PEOPLE}"
        changed_domain.modify(
            f"dn: {new}\nchangetype: add\nobjectClass: user\nsAMAccountName: nora\ngivenName: Nora\nsn: Newman\n"
            "userAccountControl: 544\n"
        )
        changed_domain.modify(f"dn: {staff}\nchangetype: modify\nadd: member\nmember: {new}\n")
        corp.run()
        assert "staff" in {each["display"] for each in corp.user("nora")["groups"]}
        changed_domain.modify(f"dn: {staff}\nchangetype: modify\ndelete: member\nmember: {new}\n")
        left = corp.run(only='userName eq "nora"')
        assert (left.counts["leave"], [step.ok for step in left.looked[0].steps]) == (1, [True] * 5)
        changed_domain.modify(f"dn: {new}\nchangetype: modrdn\nnewrdn: CN=Nora Norton\ndeleteoldrdn: 1\n")
        assert corp.run(only='userName eq "nora"').counts["update"] <= 1
        changed_domain.modify(f"dn: CN=Nora Norton,{PEOPLE}\nchangetype: delete\n")
        gone = corp.run(only='userName eq "nora"').looked[0]
        assert not gone.steps[0].ok and "is gone" in gone.steps[0].what
        assert corp.links()["nora"].missing_reads == 1 and corp.links()["erin"].missing_reads == 0
    finally:
        corp.close()


# -- the way there -----------------------------------------------------------------------------------------------------------


def test_ldaps_and_starttls_with_verified_certificates(domain: Samba, tmp_path: Path) -> None:
    for settings in (config(domain), config(domain, urls=(domain.url,), starttls=True)):
        assert read(settings)[1].complete
    stranger = authority(tmp_path / "stranger").ca
    for settings in (
        config(domain, ca_file=stranger),
        config(domain, urls=(domain.url,), starttls=True, ca_file=stranger),
    ):
        with pytest.raises(SourceUnreachable, match="certificate"):
            read(settings)


def test_a_password_in_clear_is_refused_by_the_domain_itself(domain: Samba) -> None:
    with pytest.raises((BindRefused, SourceUnreachable), match="strongerAuthRequired"):
        read(config(domain, urls=(domain.url,)))


# -- whole, or not: what test_ldap_read.py holds of OpenLDAP and 389ds --------------------------------------------------------


@pytest.mark.parametrize("page_size", [1, 6, 7, 8])
def test_every_page_size_reads_the_same(domain: Samba, page_size: int) -> None:
    entries, certificate = read(config(domain, page_size=page_size))
    assert certificate.complete and (certificate.users_read, certificate.groups_read) == (7, 7)
    assert len({one.key for one in entries}) == 14
    assert [one.kind for one in entries] == ["user"] * 7 + ["group"] * 7


def test_overlapping_bases_and_a_server_that_is_away(domain: Samba) -> None:
    users = SearchConfig((PEOPLE, f"CN=Alice Archer,{PEOPLE}"), USERS_FILTER)
    away = f"ldaps://127.0.0.1:{free_port()}"
    entries, certificate = read(config(domain, users=users, urls=(away, domain.ldaps_url)))
    assert certificate.complete and certificate.users_read == 7 and len(entries) == 14


def test_what_cannot_be_seen_is_no_empty_domain(domain: Samba) -> None:
    wrong = SearchConfig((PEOPLE, f"OU=Peple,{BASE}"), USERS_FILTER)
    _, certificate = read(config(domain, users=wrong))
    (because,) = certificate.because
    assert because.startswith(f"users: the base OU=Peple,{BASE} does not exist or is hidden: noSuchObject (32)")
    gone = f"CN=Nobody,{PEOPLE}"
    (because,) = read(config(domain, canaries=(READER, gone)))[1].because
    assert because.startswith(f"canary {gone} is not visible")
    problems = "\n".join(LdapSource(config(domain, users=wrong, canaries=(gone,))).probe().problems)
    assert f"did you mean {PEOPLE}?" in problems and f"canary {gone} is not visible" in problems


def test_check_tells_that_nobody_can_see_who_is_disabled(changed_domain: Samba) -> None:
    def hidden(message: Message) -> bytes:
        return message.raw.replace(b"userAccountControl", b"userAccountContrXX")

    with proxy(changed_domain.port, hidden) as between:
        found = LdapSource(config(changed_domain, urls=(between.url,), ca_file=None)).probe()
    told = [each for each in found.warnings if "show no userAccountControl" in each]
    assert len(told) == 1, found.warnings
    assert f"7 of 7 entries below {PEOPLE}" in told[0] and "Account Restrictions" in told[0]
    assert not found.problems


def test_a_wrong_password_is_told_and_not_shown(domain: Samba) -> None:
    with pytest.raises(BindRefused, match=": the password is wrong") as error:
        read(config(domain, bind_password=Secret("a-guess")))
    assert "a-guess" not in str(error.value)


@pytest.mark.parametrize(
    ("code", "name"), [(3, "timeLimitExceeded"), (4, "sizeLimitExceeded"), (11, "adminLimitExceeded")]
)
def test_a_limit_of_the_server_makes_no_leavers(changed_domain: Samba, code: int, name: str) -> None:
    def spoil(message: Message) -> bytes:
        return message.done(code) if message.tag == DONE and message.entries_before > 5 else message.raw

    with proxy(changed_domain.port, spoil) as between:
        _, certificate = read(config(changed_domain, urls=(between.url,), ca_file=None, page_size=3))
    assert not certificate.complete and certificate.because[0].startswith(f"users: {name} ({code})")


def test_what_another_domain_holds_is_said_and_not_followed(changed_domain: Samba) -> None:
    """A search from the top names what other servers hold. The configuration's context, which Samba names, holds no people;
    a child domain, which is put in its place here, does, and then the read is not whole."""
    domain = changed_domain
    top = SearchConfig((BASE,), USERS_FILTER)
    child = f"ldap://child.ad.example.org/DC=child,{BASE}"
    seen: list[bytes] = []

    def spoil(message: Message) -> bytes:
        if message.tag != REFERENCE:
            return message.raw
        seen.append(message.raw)
        return message.reference(child)

    with proxy(domain.port, spoil) as between:
        plain = config(domain, urls=(between.url,), users=top, ca_file=None)
        _, certificate = read(plain)
        assert certificate.because == (
            f"users: 1 parts of the tree are on another server (referral to {child}) after 0 entries",
        )
        assert between.connections == 1 and b"CN=Configuration" in seen[0]
    entries, certificate = read(replace(plain, urls=(domain.url,)))
    assert certificate.complete
    assert {"alice", "Administrator", "syncd"} <= {
        one.attributes["samaccountname"][0].decode() for one in entries if one.kind == "user"
    }
