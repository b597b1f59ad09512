"""A real 389 Directory Server: its limits, its access rules, its groups and its ways to switch an account off.

What it has in common with OpenLDAP is in test_ldap_read.py, which reads both.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from servers import corp as companies
from servers.corp import GROUPS_BASE, PEOPLE_BASE, Corp, changes, configuration, source
from servers.dirsrv import READ_ALL, Dirsrv
from servers.ldif_changes import add, delete, modify, move, person, unit_of
from servers.slapd import BASE, READER, READER_PASSWORD
from servers.test_ldap_read import USERS, config, read
from syncd import app
from syncd.cli.checking import Finding, check, worst
from syncd.core.secret import Secret
from syncd.errors import BindRefused
from syncd.ldap import dn
from syncd.ldap.source import LdapSource

PERSON = {one.uid: one for one in companies.COMPANY.people}
# What `dsidm account lock` wrote before 1.4, and older consoles still do: a role that switches off, by class of service.
DISABLED_ROLE = f"cn=nsManagedDisabledRole,{BASE}"
ROLE_CLASSES = ("LdapSubentry", "nsRoleDefinition")
BY_ROLE = "".join(
    (
        add(DISABLED_ROLE, objectClass=(*ROLE_CLASSES, "nsSimpleRoleDefinition", "nsManagedRoleDefinition")),
        add(
            f"cn=nsDisabledRole,{BASE}",
            objectClass=(*ROLE_CLASSES, "nsComplexRoleDefinition", "nsNestedRoleDefinition"),
            nsRoleDN=DISABLED_ROLE,
        ),
        add(f"cn=nsAccountInactivationTmp,{BASE}", objectClass="nsContainer"),
        add(
            f'cn="cn=nsDisabledRole,{BASE}",cn=nsAccountInactivationTmp,{BASE}',
            objectClass=("extensibleObject", "costemplate", "ldapsubentry"),
            cosPriority="1",
            nsAccountLock="true",
        ),
        add(
            f"cn=nsAccountInactivation_cos,{BASE}",
            objectClass=("ldapsubentry", "cosSuperDefinition", "cosClassicDefinition"),
            cosTemplateDn=f"cn=nsAccountInactivationTmp,{BASE}",
            cosSpecifier="nsRole",
            cosAttribute="nsAccountLock operational",
        ),
    )
)
MEMBER_OF = modify(
    "cn=MemberOf Plugin,cn=plugins,cn=config",
    ("add", "memberOfGroupAttr", "uniqueMember"),
    ("replace", "memberOfAutoAddOC", "nsMemberOf"),
)
LOCK_OUT = modify(
    "cn=config",
    ("replace", "passwordLockout", "on"),
    ("replace", "passwordMaxFailure", "2"),
    ("replace", "passwordLockoutDuration", "1800"),
)

# Of FreeIPA and eDirectory; any entry may have them as an extensibleObject. The numbers are those for examples (RFC 5612).
TYPES = {"krbPrincipalExpiration": 24, "loginActivationTime": 24, "loginExpirationTime": 24, "loginDisabled": 7}
FOREIGN = modify(
    "cn=schema",
    *(
        ("add", "attributeTypes", f"( 1.3.6.1.4.1.32473.{n} NAME '{name}' SYNTAX 1.3.6.1.4.1.1466.115.121.1.{syntax} )")
        for n, (name, syntax) in enumerate(TYPES.items())
    ),
)


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory, dirsrv_template: Path) -> Iterator[Dirsrv]:
    """A small company, of which every test changes people of its own."""
    server = Dirsrv(tmp_path_factory.mktemp("389ds"), dirsrv_template, companies.LDIF).start()
    server.modify(MEMBER_OF + LOCK_OUT + BY_ROLE + FOREIGN)
    yield server
    server.discard()


@pytest.fixture
def corp(changed: Dirsrv, tmp_path: Path) -> Iterator[Corp]:
    made = Corp(tmp_path, f"sqlite:///{tmp_path / 'syncd.db'}", changed.url)
    assert made.run().status == "applied"
    yield made
    made.close()


def checked(folder: Path, url: str, **different: object) -> list[Finding]:
    path = folder / "syncd.yaml"
    path.write_text(json.dumps(configuration("sqlite:///none.db", source(url, **different))))
    composed = app.compose(path, {"CORP_PASSWORD": READER_PASSWORD})
    return [each for each in check(composed) if each.about == "source corp"]


def said(findings: list[Finding], level: str) -> str:
    return "\n".join(each.text for each in findings if each.level == level)


# ---- what it is, and what it lets the bind account see


def test_check_says_what_it_is(shared_dirsrv: Dirsrv, tmp_path: Path) -> None:
    assert shared_dirsrv.tls
    found = checked(tmp_path, shared_dirsrv.ldaps_url, ca_file=str(shared_dirsrv.tls.ca), canaries=[READER])
    assert (worst(found), said(found, "problem")) == (0, "")
    assert "389 Project 389-Directory/" in said(found, "ok") and f"bound as {READER}, TLSv1.3" in said(found, "ok")


def test_a_misspelt_base_of_groups_is_a_problem(shared_dirsrv: Dirsrv, tmp_path: Path) -> None:
    """389ds answers a paged search below a base that is not there with success."""
    found = checked(tmp_path, shared_dirsrv.url, groups={"base": f"ou=gruops,{BASE}"})
    assert worst(found) == 5 and f"did you mean {GROUPS_BASE}?" in said(found, "problem")


def test_access_rules_that_hide_everything_are_no_empty_company(changed: Dirsrv, corp: Corp, tmp_path: Path) -> None:
    """Such a search succeeds and finds nothing."""
    before = corp.standing()
    changed.modify(modify(BASE, ("delete", "aci", READ_ALL)))
    try:
        report = corp.run()
        assert (report.status, report.exit_code, changes(report)) == ("incomplete", 5, [])
        assert not corp.lost(before)
        found = checked(tmp_path, changed.url)
        assert worst(found) == 5 and f"{READER} lacks the right to read" in said(found, "problem")
    finally:
        changed.modify(modify(BASE, ("add", "aci", READ_ALL)))


@pytest.mark.parametrize(
    ("limit", "what", "advice"),
    [
        ("nsSizeLimit", "sizeLimitExceeded (4)", "nsSizeLimit and nsPagedSizeLimit"),
        ("nsLookThroughLimit", "adminLimitExceeded (11)", "nsLookThroughLimit"),
    ],
)
def test_a_limit_of_the_server(changed: Dirsrv, tmp_path: Path, limit: str, what: str, advice: str) -> None:
    """389ds counts what each page asks for; one that is smaller than the limit comes."""
    changed.modify(modify(READER, ("replace", limit, "30")))
    try:
        _, _, certificate = read(config(changed.url, page_size=500))
        assert not certificate.complete and certificate.because[0].startswith(f"users: {what}")
        found = checked(tmp_path, changed.url, page_size=500)
        assert worst(found) == 5 and what in said(found, "problem") and advice in said(found, "problem")
    finally:
        changed.modify(modify(READER, ("delete", limit)))


@pytest.mark.parametrize("key", ["entryUUID", "nsUniqueId"])
def test_people_are_known_by_either_key(changed: Dirsrv, key: str) -> None:
    entries, _, certificate = read(config(changed.url, key_attribute=key))
    assert certificate.complete and certificate.key_attribute == key
    lines = changed.search("-b", PEOPLE_BASE, "(uid=chen.sahin)", key)
    (expected,) = [line.partition(": ")[2].lower() for line in lines if line.lower().startswith(f"{key.lower()}: ")]
    assert [one.key for one in entries if one.attributes.get("uid") == (b"chen.sahin",)] == [expected]


# ---- changes


def test_changes_by_hand_are_followed(changed: Dirsrv, corp: Corp) -> None:
    assert corp.run().status == "clean"
    one = PERSON["anna.xu"]
    changed.modify(modify(one.dn, ("replace", "title", "Director")))
    assert changes(corp.run()) == [("update", "anna.xu")]
    changed.modify(move(one.dn, "uid=anna.xu", f"ou=Legal,{PEOPLE_BASE}"))
    report = corp.run()
    assert ("deactivate", "anna.xu") not in changes(report)
    assert corp.user("anna.xu")["status"] == "active" and corp.links()["anna.xu"].dn.endswith(f"ou=Legal,{PEOPLE_BASE}")
    changed.modify(move(f"uid=anna.xu,ou=Legal,{PEOPLE_BASE}", "uid=anna.xu", unit_of(one)))
    changed.modify(person("new.one", f"ou=Legal,{PEOPLE_BASE}"))
    assert ("create", "new.one") in changes(corp.run())
    changed.modify(delete(f"uid=new.one,ou=Legal,{PEOPLE_BASE}"))
    corp.run()
    assert corp.links()["new.one"].missing_reads == 1
    corp.later(days=1)
    assert changes(corp.run()) == [("suspend", "new.one")]


# ---- groups


def test_nested_members_are_those_that_the_member_of_plugin_finds(changed: Dirsrv, corp: Corp) -> None:
    """`member` and `uniqueMember`, in each other and in a circle. `memberUid` is nothing to that plugin."""
    task = "cn=all,cn=memberof task,cn=tasks,cn=config"
    changed.modify(add(task, objectClass="extensibleObject", basedn=BASE, filter="(objectClass=*)"))
    deadline = time.monotonic() + 30
    while not any(line.startswith("nsTaskExitCode: 0") for line in _task(changed, task)):
        assert time.monotonic() < deadline, _task(changed, task)
        time.sleep(0.05)
    posix = {group.name for group in companies.COMPANY.groups if group.kind == "posixGroup"}
    found = dict(_member_of(changed))
    assert len(found) == companies.USERS and any(len(names) > 2 for names in found.values())
    for uid, names in found.items():
        assert {each["display"] for each in corp.user(uid)["groups"]} - posix == names, uid


def _task(server: Dirsrv, task: str) -> list[str]:
    return server.search("-b", task, "-s", "base", "nsTaskExitCode", "nsTaskStatus")


def _member_of(server: Dirsrv) -> Iterator[tuple[str, set[str]]]:
    """uid -> names of the groups, as the server says it of its users."""
    entries, _, certificate = read(config(server.url, users=replace(USERS, attributes=("memberOf",))))
    assert certificate.complete
    names = {dn.normalize(one.dn): one.attributes["cn"][0].decode() for one in entries if one.kind == "group"}
    for one in entries:
        if one.kind == "user":
            values = one.attributes.get("memberof", ())
            yield one.attributes["uid"][0].decode(), {names[dn.normalize(value.decode())] for value in values}


# ---- accounts


def test_an_account_that_is_switched_off(changed: Dirsrv, corp: Corp) -> None:
    by_hand, by_role = PERSON["noah.garcia"], PERSON["chen.sahin"]
    changed.modify(
        modify(by_hand.dn, ("add", "nsAccountLock", "true")) + modify(by_role.dn, ("add", "nsRoleDN", DISABLED_ROLE))
    )
    report = corp.run()
    assert {("deactivate", "noah.garcia"), ("deactivate", "chen.sahin")} <= set(changes(report))
    assert {corp.user(one.uid)["status"] for one in (by_hand, by_role)} == {"inactive"}
    assert corp.links()["chen.sahin"].enabled is False
    changed.modify(modify(by_hand.dn, ("delete", "nsAccountLock")) + modify(by_role.dn, ("delete", "nsRoleDN")))
    corp.run()
    assert {corp.user(one.uid)["status"] for one in (by_hand, by_role)} == {"active"}


def test_a_role_may_mean_that_one_has_left(changed: Dirsrv, corp: Corp) -> None:
    """A condition over the entry, where a directory has its own way."""
    left = f"cn=left,{BASE}"
    changed.modify(
        add(left, objectClass=(*ROLE_CLASSES, "nsSimpleRoleDefinition", "nsManagedRoleDefinition"))
        + modify(PERSON["bjorn.diaz"].dn, ("add", "nsRoleDN", left))
    )
    assert corp.run().status == "clean"
    corp.source["accounts"] = {"disabled": f'nsRole eq "{left}"'}
    report = corp.plan()
    assert [(held.kind, held.subjects) for held in report.held] == [("deactivate", ("bjorn.diaz",))]
    changed.modify(modify(PERSON["bjorn.diaz"].dn, ("delete", "nsRoleDN")))


def test_a_lock_out_is_a_lock_until_the_instant_that_the_server_names(changed: Dirsrv, corp: Corp) -> None:
    who = PERSON["nadia.ivanov"]
    changed.modify(modify(who.dn, ("replace", "userPassword", "nadia-password-1")))
    corp.now = datetime.now(UTC)
    before = corp.user(who.uid)
    for _ in range(2):
        with pytest.raises(BindRefused):
            LdapSource(config(changed.url, bind_dn=who.dn, bind_password=Secret("wrong"))).read(corp.now)
    assert changes(corp.run()) == [("update", who.uid)]
    locked = corp.user(who.uid)
    assert (locked["status"], locked["enabled"]) == ("locked", True)
    assert (locked["roles"], locked["seats"], locked["groups"]) == (before["roles"], before["seats"], before["groups"])
    (end,) = locked["scheduled"]
    assert (end["what"], end["because"]) == ("status becomes active", "the lock-out in corp ends")
    assert timedelta(minutes=25) < end["at"] - corp.now <= timedelta(minutes=31)
    changed.modify(modify(who.dn, ("delete", "accountUnlockTime"), ("delete", "passwordRetryCount")))
    corp.run()
    assert corp.user(who.uid)["status"] == "active"


FOREIGN_ACCOUNTS = (
    ({"loginDisabled": "TRUE"}, "inactive", []),
    ({"krbPrincipalExpiration": "20261231170000Z"}, "active", [("2026-12-31T17:00", "inactive")]),
    ({"krbPrincipalExpiration": "20200101000000Z"}, "inactive", []),
    ({"krbPrincipalExpiration": "19700101000000Z"}, "active", []),  # Kerberos' way to say never
    (
        {"loginActivationTime": "20261207080000Z", "loginExpirationTime": "20261231170000Z"},
        "inactive",
        [("2026-12-07T08:00", "active"), ("2026-12-31T17:00", "inactive")],
    ),
)


def test_what_other_directories_say_of_an_account_is_heeded_and_explained(changed: Dirsrv, corp: Corp) -> None:
    who = PERSON["karthik.weiss"]
    for said, status, scheduled in FOREIGN_ACCOUNTS:
        values = [("add", name, value) for name, value in said.items()]
        changed.modify(modify(who.dn, ("add", "objectClass", "extensibleObject"), *values))
        corp.run()
        shown = corp.user(who.uid)
        then = [(each["at"].isoformat()[:16], each["what"].rpartition(" ")[2]) for each in shown["scheduled"]]
        assert (shown["status"], then) == (status, scheduled), said
        gone = [("delete", name) for name in said]
        changed.modify(modify(who.dn, *gone, ("delete", "objectClass", "extensibleObject")))
    corp.run()
    assert (corp.user(who.uid)["status"], corp.user(who.uid)["scheduled"]) == ("active", [])


def test_one_person_is_looked_up_by_a_few_searches(corp: Corp, changed: Dirsrv) -> None:
    """389ds too says of a group that it does not name her only if its members may be seen; and of her key likewise."""
    rosa = PERSON["rosa.castillo"]
    group = next(one for one in companies.COMPANY.groups if one.name == "crm-users").dn
    named = f'userName eq "{rosa.uid}"'
    try:
        changed.modify(modify(group, ("delete", "uniqueMember", rosa.dn)))
        left = corp.run(only=named)
        assert (left.counts["leave"], [step.ok for step in left.looked[0].steps]) == (1, [True] * 5)
    finally:
        changed.modify(modify(group, ("add", "uniqueMember", rosa.dn)))
    assert corp.run(only=named).counts["join"] == 1
    rule = '(targetattr="member || uniqueMember")(version 3.0; acl "hide"; deny(all) userdn="ldap:///' + READER + '";)'
    try:
        changed.modify(modify(GROUPS_BASE, ("add", "aci", rule)))
        hidden = corp.run(only=named)
        assert hidden.counts["leave"] == 0 and "do not say whether she is still" in hidden.looked[0].steps[2].what
    finally:
        changed.modify(modify(GROUPS_BASE, ("delete", "aci", rule)))
    changed.modify(person("late.comer", unit_of(rosa)))
    assert corp.run(only='userName eq "late.comer"').counts["create"] == 1
    changed.modify(delete(f"uid=late.comer,{unit_of(rosa)}"))
    gone = corp.run(only='userName eq "late.comer"').looked[0]
    assert not gone.steps[0].ok and "is gone" in gone.steps[0].what
    assert corp.links()["late.comer"].missing_reads == 1 and corp.links()[rosa.uid].missing_reads == 0
