"""Every kind of directory that syncd reads, with the same company in it, and how people and groups are written there.

The contract suites ask for `Directory` and know no server by name. What one kind cannot do it does not claim in `can`, and a
test that needs it is not made for it (`that_can`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

import pytest

from servers import active_directory
from servers.active_directory import Samba
from servers.corp import COMPANY, GROUPS_BASE, PEOPLE_BASE
from servers.dirsrv import Dirsrv
from servers.ldif_changes import add, modify, move
from servers.ldif_changes import person as inet_org_person
from servers.slapd import BASE, READER, Authority, Slapd
from syncd import sample
from syncd.ldap.dn import escape_value, parse

DAY_S = 86_400
FILETIME_OF_1970 = 116_444_736_000_000_000  # accountExpires counts 100 ns since 1601
PERSON = {one.uid: one for one in COMPANY.people}
GROUP = {one.name: one for one in COMPANY.groups}
# What not every kind can do.
OWN_KEYS = "own keys"  # an entry's key may be given when it is made
DANGLING = "dangling members"  # a group may name who is not there


class Forms(Protocol):
    """How people and groups are written; each method but the first four gives LDIF change records."""

    people: str
    groups: str
    elsewhere: str  # a place that is below no base

    def unit(self, department: str) -> str: ...
    def dn(self, uid: str, unit: str) -> str: ...
    def of(self, person: sample.Person) -> str: ...
    def group_dn(self, name: str) -> str: ...
    def person(self, uid: str, unit: str, **different: str) -> str: ...
    def moved(self, uid: str, unit: str, to: str, called: str | None = None) -> str: ...
    def group(self, name: str, *members: str) -> str: ...
    def member(self, group: str, kind: str, dn: str) -> str: ...
    def switched(self, dn: str, on: bool) -> str: ...
    def ends(self, dn: str, at: datetime | None) -> str: ...


@dataclass(frozen=True)
class Standard:
    """inetOrgPerson and groupOfNames. `lock`: of 389ds; where the server has no switch, an account that expired is one."""

    lock: str | None = None
    people: str = PEOPLE_BASE
    groups: str = GROUPS_BASE
    elsewhere: str = BASE

    def unit(self, department: str) -> str:
        return f"ou={escape_value(department)},{self.people}"

    def dn(self, uid: str, unit: str) -> str:
        return f"uid={uid},{unit}"

    def of(self, person: sample.Person) -> str:
        return person.dn

    def group_dn(self, name: str) -> str:
        return f"cn={escape_value(name)},{self.groups}"

    def person(self, uid: str, unit: str, **different: str) -> str:
        return inet_org_person(uid, unit, **different)

    def moved(self, uid: str, unit: str, to: str, called: str | None = None) -> str:
        return move(self.dn(uid, unit), f"uid={called or uid}", to)

    def group(self, name: str, *members: str) -> str:
        return add(self.group_dn(name), objectClass="groupOfNames", cn=name, member=members)

    def member(self, group: str, kind: str, dn: str) -> str:
        listed = "uniqueMember" if group in GROUP and GROUP[group].kind == "groupOfUniqueNames" else "member"
        return modify(self.group_dn(group), (kind, listed, dn))

    def switched(self, dn: str, on: bool) -> str:
        if self.lock is None:
            return modify(dn, ("replace", "shadowExpire", *(() if on else ("1",))))
        return modify(dn, ("replace", self.lock, *(() if on else ("true",))))

    def ends(self, dn: str, at: datetime | None) -> str:
        days = () if at is None else (str(int(at.timestamp()) // DAY_S),)
        return modify(dn, ("replace", "shadowExpire", *days))


@dataclass(frozen=True)
class Microsoft:
    """user and group of Active Directory, in a unit of their own."""

    top: str = f"OU=corp,{active_directory.BASE}"

    @property
    def people(self) -> str:
        return f"OU=people,{self.top}"

    @property
    def groups(self) -> str:
        return f"OU=groups,{self.top}"

    @property
    def elsewhere(self) -> str:
        return f"OU=elsewhere,{self.top}"

    def unit(self, department: str) -> str:
        return f"OU={_escaped(department)},{self.people}"

    def dn(self, uid: str, unit: str) -> str:
        return f"CN={uid},{unit}"

    def of(self, person: sample.Person) -> str:
        """With the odd names of the company, but for a name of two parts, which a domain does not have."""
        parts = parse(person.rdn)[0] if person.rdn else ()
        name = parts[0][1] if len(parts) == 1 else person.uid
        return f"CN={_escaped(name)},{self.unit(person.department)}"

    def group_dn(self, name: str) -> str:
        return f"CN={_escaped(name)},{self.groups}"

    def person(self, uid: str, unit: str, **different: str) -> str:
        return self._user(self.dn(uid, unit), uid, **{"givenName": "New", "sn": uid, **different})

    def _user(self, dn: str, uid: str, **said: str) -> str:
        own = {"uid": uid, "sAMAccountName": uid, "mail": f"{uid}@example.org", "employeeType": "Employee"}
        return add(dn, objectClass="user", **{**own, "userAccountControl": "544", **said})

    def moved(self, uid: str, unit: str, to: str, called: str | None = None) -> str:
        moving = move(self.dn(uid, unit), f"CN={called or uid}", to)
        if called is None:
            return moving
        return moving + modify(self.dn(called, to), ("replace", "uid", called), ("replace", "sAMAccountName", called))

    def group(self, name: str, *members: str) -> str:
        return add(self.group_dn(name), objectClass="group", member=members)

    def member(self, group: str, kind: str, dn: str) -> str:
        return modify(self.group_dn(group), (kind, "member", dn))

    def switched(self, dn: str, on: bool) -> str:
        return modify(dn, ("replace", "userAccountControl", "544" if on else "546"))

    def ends(self, dn: str, at: datetime | None) -> str:
        return modify(dn, ("replace", "accountExpires", str(_filetime(at.timestamp()) if at else 0)))

    def company(self) -> str:
        """The company of the other servers. Where a value is longer than the domain's schema allows, its beginning."""
        dns = {one.uuid: self.of(one) for one in COMPANY.people}
        uids = {one.uuid: one.uid for one in COMPANY.people}
        made = [add(each, objectClass="organizationalUnit") for each in (self.top, self.people, self.groups)]
        made += [add(self.elsewhere, objectClass="organizationalUnit")]
        units = sorted({one.department for one in COMPANY.people})
        made += [add(self.unit(each), objectClass="organizationalUnit") for each in units]
        for one in COMPANY.people:
            said = {"givenName": one.given, "sn": one.family[:64], "displayName": one.cn[:256], "title": one.title}
            said |= {"employeeType": one.employee_type, "departmentNumber": one.department}
            if one.shadow_expire is not None:
                said["accountExpires"] = str(_filetime(one.shadow_expire * DAY_S))
            made.append(self._user(dns[one.uuid], one.uid, **said))
        made += [modify(dns[one.uuid], ("add", "manager", dns[one.manager])) for one in COMPANY.people if one.manager]
        made += [add(self.group_dn(one.name), objectClass="group") for one in COMPANY.groups]
        for group in COMPANY.groups:
            inside = [self.group_dn(name) for name in group.groups if name in GROUP]
            posix = group.kind == "posixGroup"
            names = [uids[one] if posix else dns[one] for one in group.people]
            listed = [("add", "memberUid" if posix else "member", *names)] if names else []
            listed += [("add", "member", *inside)] if inside else []
            made += [modify(self.group_dn(group.name), *listed)] if listed else []
        return "".join(made)


def _escaped(value: str) -> str:
    """By numbers (RFC 4514 section 2.4): Samba's own tools read no other form of some characters."""
    return "".join(f"\\{ord(char):02X}" if char in ' ,+"\\<>;=#' else char for char in value)


def _filetime(timestamp: float) -> int:
    return FILETIME_OF_1970 + int(timestamp) * 10_000_000


@dataclass(frozen=True)
class Directory:
    """A server with the company. `source`: what differs from the usual configuration (`corp.source`)."""

    server: Slapd | Dirsrv | Samba
    forms: Forms
    source: dict[str, Any]
    names_follow: bool  # a member's new name is written into her groups, and who was deleted is taken out of them
    tls: Authority | None = None
    can: frozenset[str] = frozenset()

    @property
    def url(self) -> str:
        return f"ldap://127.0.0.1:{self.server.port}"

    @property
    def ldaps_url(self) -> str:
        return self.server.ldaps_url

    @property
    def users_filter(self) -> str:
        return str(self.source.get("users", {}).get("filter", "(objectClass=inetOrgPerson)"))

    @property
    def reader(self) -> str:
        return str(self.source.get("bind_dn", READER))

    def modify(self, ldif: str) -> None:
        self.server.modify(ldif)


@dataclass(frozen=True)
class Kind:
    """How one is had, and what it can do beside what all can."""

    make: Callable[[pytest.FixtureRequest], Directory]
    can: frozenset[str]

    def start(self, request: pytest.FixtureRequest) -> Directory:
        return replace(self.make(request), can=self.can)


def each_of(kinds: dict[str, Kind], *needed: str) -> Callable[[Any], Any]:
    """The test is made for those of the kinds that can do what it needs; the fixture is `server`."""
    chosen = [pytest.param(kind, id=name) for name, kind in kinds.items() if kind.can.issuperset(needed)]
    return pytest.mark.parametrize("server", chosen, indirect=True)


USERS_OF_A_DOMAIN, GROUPS_OF_A_DOMAIN = "(&(objectCategory=person)(objectClass=user))", "(objectClass=group)"


def of_slapd(server: Slapd, **source: object) -> Directory:
    return Directory(server, Standard(), source, names_follow=False, tls=server.tls)


def of_389ds(server: Dirsrv, **source: object) -> Directory:
    return Directory(server, Standard(lock="nsAccountLock"), source, names_follow=True, tls=server.tls)


def of_samba(server: Samba, bind_dn: str = active_directory.READER, **source: object) -> Directory:
    forms = Microsoft()
    usual = {
        "bind_dn": bind_dn,
        "users": {"base": forms.people, "filter": USERS_OF_A_DOMAIN},
        "groups": {"base": forms.groups, "filter": GROUPS_OF_A_DOMAIN},
    }
    return Directory(server, forms, {**usual, **source}, names_follow=True, tls=server.tls)


IN_SLAPD = frozenset({OWN_KEYS, DANGLING})
IN_389DS = frozenset({OWN_KEYS})  # which takes out who is deleted
IN_A_DOMAIN: frozenset[str] = frozenset()
READ = {
    "slapd": Kind(lambda request: of_slapd(request.getfixturevalue("small_slapd")), IN_SLAPD),
    "389ds": Kind(lambda request: of_389ds(request.getfixturevalue("shared_dirsrv")), IN_389DS | {DANGLING}),
    "samba": Kind(lambda request: of_samba(request.getfixturevalue("changed_domain")), IN_A_DOMAIN),
}
