"""A made-up company as LDIF (RFC 2849): the same numbers and seed give the same text on every machine. Pure.

It holds what real directories hold and readers trip over: nested groups and one cycle of them, a member that no longer
exists, three kinds of groups, expired and soon expiring accounts, names beyond ASCII, very long ones, and DNs with commas,
plus signs, leading spaces and `#`. It loads into a stock OpenLDAP (core, cosine, inetorgperson, nis) with `slapadd`, or
with `ldapadd -e '!relax'` as its root, because each entry brings its entryUUID. `monday` is the same company later.
"""

from __future__ import annotations

import base64
import random
import unicodedata
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from syncd.ldap.dn import escape_value, parse

BASE = "dc=example,dc=org"
PEOPLE = f"ou=people,{BASE}"
GROUPS = f"ou=groups,{BASE}"
EXPIRED, LONG_AGO = 1, 19000  # shadowExpire in days since 1970: switched off for good; a contract that ended in 2022

_DEPARTMENTS = (
    "Engineering", "Sales, EMEA", "Support", "Finance", "Marketing", "Human Resources", "Legal", "Operations",
    "Research + Development", "Vertrieb Köln", "Facilities", "Security",
)  # fmt: skip
_GIVEN = (
    "Aaliyah", "Anna", "Björn", "Chen", "Chloé", "Dmitri", "Elena", "Femi", "Grace", "Hassan", "Ingrid", "Jane", "Jürgen",
    "Karthik", "Kateryna", "Liam", "Łukasz", "Mei", "Miguel", "Nadia", "Noah", "Olivia", "Priya", "Quentin", "Rosa",
    "Siobhán", "Søren", "Tariq", "Uma", "Viktor", "Wanjiku", "Xiomara", "Yuki", "Zoë",
)  # fmt: skip
_FAMILY = (
    "Adeyemi", "Andersen", "Becker", "Brown", "Castillo", "Díaz", "Dubois", "Eriksson", "Fischer", "García", "Haddad",
    "Ivanov", "Jones", "Kowalski", "Kumar", "Larsen", "Müller", "Nakamura", "Nguyễn", "O'Brien", "Okafor", "Papadopoulos",
    "Patel", "Quispe", "Rossi", "Şahin", "Silva", "Smith", "Tanaka", "Ueda", "van der Berg", "Weiß", "Xu", "Yılmaz", "Zhang",
)  # fmt: skip
_TITLES = ("Analyst", "Architect", "Assistant", "Consultant", "Engineer", "Lead", "Manager", "Specialist")
_CITIES = ("Berlin", "Köln", "Lagos", "Lisboa", "London", "São Paulo", "Tōkyō", "Wien")
_ASCII = str.maketrans({"ß": "ss", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "ı": "i"})
_LONG = "Wolfeschlegelsteinhausenbergerdorff" * 6


@dataclass(frozen=True, slots=True)
class Person:
    uuid: str
    uid: str
    given: str
    family: str
    department: str
    employee_type: str  # Employee, Contractor, Partner
    number: int
    title: str
    city: str
    manager: str | None  # a person's uuid
    shadow_expire: int | None = None
    rdn: str | None = None  # instead of uid=...

    @property
    def dn(self) -> str:
        return f"{self.rdn or 'uid=' + self.uid},ou={escape_value(self.department)},{PEOPLE}"

    @property
    def cn(self) -> str:
        return f"{self.given} {self.family}"


@dataclass(frozen=True, slots=True)
class Group:
    uuid: str
    name: str
    kind: str  # groupOfNames, groupOfUniqueNames, posixGroup
    people: tuple[str, ...] = ()  # uuids
    groups: tuple[str, ...] = ()  # names
    gone: tuple[str, ...] = ()  # DNs of nobody

    @property
    def dn(self) -> str:
        return f"cn={escape_value(self.name)},{GROUPS}"


@dataclass(frozen=True, slots=True)
class Company:
    title: str
    people: tuple[Person, ...]
    groups: tuple[Group, ...]


def sample_company(users: int, groups: int, seed: int) -> Iterator[str]:
    """Its LDIF, entry by entry, with the trailer `# numEntries: N` that proves the file whole."""
    return ldif(company(users, groups, seed))


def company(users: int, groups: int, seed: int) -> Company:
    """Exactly so many users and groups; the groups that rules and tests name come first."""
    chance = random.Random(seed)  # noqa: S311 - nothing here is a secret
    people: list[Person] = []
    taken: dict[str, int] = {}
    heads: dict[str, str] = {}
    for number in range(users):
        person = _person(chance, number, taken)
        manager = heads.setdefault(person.department, person.uuid)
        boss = people[0].uuid if people else None
        people.append(replace(person, manager=manager if manager != person.uuid else boss))
    title = f"{users} users, {groups} groups, seed {seed}"
    return Company(title, tuple(_with_oddities(people)), _groups(chance, people, groups))


def monday(before: Company) -> Company:
    """The company after a weekend: about 1 % leave, 1 % change department (and so their DN), 2 % join, one marries."""
    chance = random.Random(before.title + " monday")  # noqa: S311
    some = max(1, len(before.people) // 100)
    ordinary = [person for person in before.people[1:] if person.rdn is None and person.shadow_expire is None]
    chosen = chance.sample(ordinary, min(len(ordinary), 2 * some + 1))
    married, leavers, movers = chosen[:1], chosen[1 : some + 1], chosen[some + 1 :]
    changed = {person.uuid: _marry(person) for person in married} | {person.uuid: _move(person) for person in movers}
    gone = {person.uuid for person in leavers}
    boss = before.people[0].uuid if before.people else None
    stay = [
        replace(person, manager=boss) if person.manager in gone else person
        for person in (changed.get(person.uuid, person) for person in before.people if person.uuid not in gone)
    ]
    taken = {person.uid: 1 for person in before.people}
    first = 1 + max((person.number for person in before.people), default=0)
    joiners = [
        replace(_person(chance, first + n, taken), manager=boss) for n in range(2 * some if before.people else 0)
    ]
    by_department: dict[str, list[str]] = {}
    for person in (*joiners, *(_move(person) for person in movers)):
        by_department.setdefault(_department_group(person.department), []).append(person.uuid)
    moved = {person.uuid for person in movers}
    groups = []
    for group in before.groups:
        left = gone | moved if group.name.startswith("dept-") else gone
        members = (*(one for one in group.people if one not in left), *by_department.get(group.name, ()))
        groups.append(replace(group, people=members))
    return Company(before.title + ", the Monday after", (*stay, *joiners), tuple(groups))


def ldif(company: Company) -> Iterator[str]:
    yield f"# A made-up company: {company.title}\n\n"
    entries = 3
    yield _entry(BASE, [("objectClass", "domain"), ("dc", "example"), ("entryUUID", _fixed_uuid(BASE))])
    for parent in (PEOPLE, GROUPS):
        yield _unit(parent, parent.split(",")[0][3:])
    for department in sorted({person.department for person in company.people}):
        entries += 1
        yield _unit(f"ou={escape_value(department)},{PEOPLE}", department)
    dns = {person.uuid: person.dn for person in company.people}
    for person in company.people:
        entries += 1
        yield _person_entry(person, dns)
    uids = {person.uuid: person.uid for person in company.people}
    group_dns = {group.name: group.dn for group in company.groups}
    for group in company.groups:
        entries += 1
        yield _group_entry(group, dns, uids, group_dns)
    yield f"# numEntries: {entries}\n"


def _person(chance: random.Random, number: int, taken: dict[str, int]) -> Person:
    given, family = chance.choice(_GIVEN), chance.choice(_FAMILY)
    kind = chance.choices(("Employee", "Contractor", "Partner"), (85, 10, 5))[0]
    expire = None
    if kind == "Contractor":
        expire = chance.choice((LONG_AGO, None, 24000 + chance.randrange(700)))  # 24000: September 2035
    elif chance.random() < 0.02:
        expire = EXPIRED
    return Person(
        uuid=str(uuid.UUID(int=chance.getrandbits(128), version=4)),
        uid=_free_uid(f"{given}.{family}", taken),
        given=given,
        family=family,
        department=chance.choice(_DEPARTMENTS),
        employee_type=kind,
        number=number,
        title=chance.choice(_TITLES),
        city=chance.choice(_CITIES),
        manager=None,
        shadow_expire=expire,
    )


def _free_uid(name: str, taken: dict[str, int]) -> str:
    plain = unicodedata.normalize("NFD", name.translate(_ASCII)).encode("ascii", "ignore").decode()
    uid = plain.lower().replace("'", "").replace(" ", "")
    while True:
        count = taken[uid] = taken.get(uid, 0) + 1
        numbered = uid if count == 1 else f"{uid}{count}"
        if count == 1 or numbered not in taken:
            taken.setdefault(numbered, 1)
            return numbered


def _with_oddities(people: list[Person]) -> Iterator[Person]:
    """The fourth to ninth person have names and DNs that are legal and seldom handled."""
    for index, person in enumerate(people):
        match index:
            case 3:
                yield replace(person, rdn=f"cn={escape_value(f'{person.family}, {person.given}')}")
            case 4:
                yield replace(person, rdn=f"cn={escape_value('#1 Hotline')}+uid={person.uid}")
            case 5:
                yield replace(person, rdn="cn=" + escape_value(" Leading space"))
            case 6:
                yield replace(person, family=_LONG)
            case 7:
                yield replace(person, rdn="cn=" + escape_value('Zoë "Zed" <QA>; A+B = C'))
            case 8:
                yield replace(person, given="김", family="민준", rdn="cn=김 민준")
            case _:
                yield person


def _groups(chance: random.Random, people: list[Person], number: int) -> tuple[Group, ...]:
    everyone = [person.uuid for person in people]

    def some(share: float, least: int = 1) -> tuple[str, ...]:
        return tuple(chance.sample(everyone, min(len(everyone), max(least, int(len(everyone) * share)))))

    named = ["crm-admins", "crm-users", "billing", "all-staff"]
    departments = [_department_group(department) for department in _DEPARTMENTS][: max(0, number - len(named))]
    inside: dict[str, list[str]] = {name: [] for name in departments}
    alone: list[str] = []  # members of all-staff themselves, because their department has no group
    for person in people:
        inside.get(_department_group(person.department), alone).append(person.uuid)
    admins = some(0.01, 2)
    made = [
        ("crm-admins", "groupOfNames", admins, (), ()),
        ("crm-users", "groupOfUniqueNames", tuple(sorted({*admins, *some(0.08, 3)})), (), ()),
        ("billing", "groupOfNames", some(0.03, 2), (), ()),
        ("all-staff", "groupOfNames", tuple(alone), tuple(departments), ()),
        *((name, "groupOfNames", tuple(inside[name]), (), ()) for name in departments),
        ("round-one", "groupOfNames", some(0.01), ("round-two",), ()),
        ("round-two", "groupOfNames", some(0.01), ("round-one",), ()),
        ("shell-users", "posixGroup", some(0.2), (), ()),
        ("old-project", "groupOfNames", some(0.01), (), (f"uid=long.gone,ou=Engineering,{PEOPLE}",)),
        ("Größe + Maß, #1", "groupOfNames", some(0.01), (), ()),
    ]
    kinds = ("groupOfNames", "groupOfNames", "groupOfUniqueNames", "posixGroup")
    while len(made) < number:
        index = len(made) + 1
        size = min(len(everyone), chance.randrange(2, 40))
        made.append((f"project-{index:04d}", kinds[index % 4], tuple(chance.sample(everyone, size)), (), ()))
    return tuple(
        Group(str(uuid.UUID(int=chance.getrandbits(128), version=4)), *described) for described in made[:number]
    )


def _department_group(department: str) -> str:
    slug = "".join(char if char.isalnum() else "-" for char in department.translate(_ASCII).lower().replace("ö", "o"))
    return "dept-" + "-".join(part for part in slug.split("-") if part)


def _marry(person: Person) -> Person:
    return replace(person, family=f"{person.family}-Lindqvist", uid=f"{person.uid}.lindqvist")


def _move(person: Person) -> Person:
    return replace(person, department=_DEPARTMENTS[(_DEPARTMENTS.index(person.department) + 1) % len(_DEPARTMENTS)])


def _fixed_uuid(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_X500, name))


def _unit(name: str, unit: str) -> str:
    return _entry(name, [("objectClass", "organizationalUnit"), ("ou", unit), ("entryUUID", _fixed_uuid(name))])


def _person_entry(person: Person, dns: dict[str, str]) -> str:
    pairs = [
        ("objectClass", "inetOrgPerson"),
        ("objectClass", "posixAccount"),
        ("objectClass", "shadowAccount"),
        ("uid", person.uid),
        # All values of an attribute stand together: slapadd makes two attributes of what stands apart.
        *(("cn", value) for value in dict.fromkeys((person.cn, *_rdn_values(person.rdn or "")))),
        ("givenName", person.given),
        ("sn", person.family),
        ("displayName", person.cn),
        ("mail", f"{person.uid}@example.org"),
        ("employeeNumber", f"{person.number:06d}"),
        ("employeeType", person.employee_type),
        ("departmentNumber", person.department),
        ("title", person.title),
        ("l", person.city),
        ("telephoneNumber", f"+49 30 {100000 + person.number}"),
        ("uidNumber", str(10000 + person.number)),
        ("gidNumber", "10000"),
        ("homeDirectory", f"/home/{person.uid}"),
        ("entryUUID", person.uuid),
    ]
    if person.manager in dns:
        pairs.append(("manager", dns[person.manager]))
    if person.shadow_expire is not None:
        pairs.append(("shadowExpire", str(person.shadow_expire)))
    return _entry(person.dn, pairs)


def _rdn_values(rdn: str) -> Iterator[str]:
    """The `cn` values of an RDN; they must be among the entry's (RFC 4512 section 2.3.1)."""
    for kind, value in parse(rdn)[0] if rdn else ():
        if kind == "cn":
            yield value.strip()


def _group_entry(group: Group, dns: dict[str, str], uids: dict[str, str], group_dns: dict[str, str]) -> str:
    pairs = [("objectClass", group.kind), ("cn", group.name), ("entryUUID", group.uuid)]
    if group.kind == "posixGroup":
        pairs.append(("gidNumber", str(20000 + int(group.uuid[:4], 16))))
        pairs += [("memberUid", uids[one]) for one in group.people]
    else:
        name = "uniqueMember" if group.kind == "groupOfUniqueNames" else "member"
        members = [dns[one] for one in group.people]
        members += [group_dns[other] for other in group.groups if other in group_dns]
        members += group.gone
        # Both classes must have a member (RFC 4519 section 3.5): an empty group names the base entry.
        pairs += [(name, member) for member in members or [GROUPS]]
    return _entry(group.dn, pairs)


def _entry(name: str, pairs: Iterable[tuple[str, str]]) -> str:
    return "".join((_line("dn", name), *(_line(kind, value) for kind, value in pairs), "\n"))


def _line(kind: str, value: str) -> str:
    """One attribute, base64 where RFC 2849 wants it, folded at 76 columns."""
    safe = value.isascii() and value.isprintable() and value[:1] not in (" ", ":", "<") and not value.endswith(" ")
    line = f"{kind}: {value}" if safe else f"{kind}:: {base64.b64encode(value.encode()).decode()}"
    if len(line) <= 76:
        return line + "\n"
    return line[:76] + "".join(f"\n {line[at : at + 75]}" for at in range(76, len(line), 75)) + "\n"
