"""What changed in a real Active Directory (Samba), by DirSync, by numbers and tombstones, and by numbers and everybody's keys:
after every change each of them has what a whole read has.
"""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from servers.active_directory import BASE, READER, Samba
from servers.corp import Corp, changes
from servers.faulty import Message, proxy
from servers.hearing import through_breaks
from servers.test_active_directory import ATTRIBUTES, GROUPS, NOW, PEOPLE, USERS_FILTER
from servers.wandering import Wanderer
from syncd.cli.checking import check
from syncd.core.plan import Report
from syncd.ldap import way_active_directory
from syncd.ldap.source import LdapSource
from syncd.store import run_records
from syncd.store import tables as t

DIRSYNC, TOMBSTONES = (f"CN={name},OU=Services,{BASE}" for name in ("syncd-dirsync", "syncd-tombstones"))
READERS = {"dirsync": DIRSYNC, "tombstones": TOMBSTONES, "keys": READER, "whole": READER}
DOMAIN_USERS = f"CN=Domain Users,CN=Users,{BASE}"
ELSEWHERE = f"OU=Things,{BASE}"


def corp_of(domain: Samba, folder: Path, reader: str, **different: object) -> Corp:
    folder.mkdir(exist_ok=True)
    source = {
        "bind_dn": reader,
        "ca_file": str(domain.tls.ca),
        "users": {"base": PEOPLE, "filter": USERS_FILTER},
        "groups": {"base": [GROUPS, DOMAIN_USERS], "filter": "(objectClass=group)"},
        "attributes": ATTRIBUTES,
        "schedule": {"full": "1d", "delta": "1m"},
        **different,
    }
    made = Corp(folder, f"sqlite:///{folder / 'syncd.db'}", domain.ldaps_url, source, NOW)
    assert made.run().status == "applied"
    return made


@pytest.fixture
def corps(changed_domain: Samba, tmp_path: Path) -> Iterator[dict[str, Corp]]:
    """One company for each way, and one that is always read whole."""
    made = {way: corp_of(changed_domain, tmp_path / way, reader) for way, reader in READERS.items()}
    yield made
    for each in made.values():
        each.close()


def everything(corp: Corp) -> dict[str, set[Any]]:
    """All that one could lose, with keys instead of ids."""
    standing = corp.standing()
    keys = {row[3]: row[2] for row in standing["links"]}

    def shown(value: Any) -> Any:
        return keys.get(value, value)

    found = {name: {tuple(map(shown, row)) for row in rows} for name, rows in standing.items() if name != "users"}
    with corp.database.reading() as conn:
        found["missing"] = set(conn.scalars(select(t.links.c.key).where(t.links.c.missing_since.is_not(None))))
    found["users"] = {(keys[id], name, status) for id, name, status, _ in standing["users"]}
    return found


def follow(corps: dict[str, Corp]) -> dict[str, Report]:
    reports = {way: corp.run(delta=way != "whole") for way, corp in corps.items()}
    expected = everything(corps["whole"])
    for way, corp in corps.items():
        found = everything(corp)
        differ = {
            name: (rows - expected[name], expected[name] - rows)
            for name, rows in found.items()
            if rows != expected[name]
        }
        assert not differ, way
    return reports


def person(name: str, under: str = PEOPLE, **more: str) -> str:
    said = {
        "objectClass": "user",
        "sAMAccountName": name,
        "givenName": name,
        "sn": "New",
        "userAccountControl": "544",
        **more,
    }
    return f"dn: CN={name},{under}\nchangetype: add\n" + "".join(f"{k}: {v}\n" for k, v in said.items()) + "\n"


def change(name: str, *lines: str, under: str = PEOPLE) -> str:
    return f"dn: CN={name},{under}\nchangetype: modify\n" + "".join(f"{line}\n" for line in lines) + "\n"


def move(name: str, to: str, under: str = PEOPLE, called: str | None = None) -> str:
    rdn = f"newrdn: CN={called or name}\ndeleteoldrdn: 1\nnewsuperior: {to}\n"
    return f"dn: CN={name},{under}\nchangetype: modrdn\n{rdn}\n"


def rid(domain: Samba, group: str) -> str:
    lines = domain.search("-b", f"CN={group},{GROUPS}", "-s", "base", "primaryGroupToken")
    return next(line.partition(": ")[2] for line in lines if line.startswith("primaryGroupToken: "))


def test_every_way_ends_where_a_whole_read_ends(changed_domain: Samba, corps: dict[str, Corp]) -> None:
    domain, sales = changed_domain, f"CN=sales,{GROUPS}"
    staff = rid(domain, "staff")
    heidi, huber = f"CN=heidi,{PEOPLE}", f"CN=heidi huber,{PEOPLE}"
    steps = {
        "nothing": "",
        "somebody comes": person("heidi"),
        "joins, and another comes": change("sales", "add: member", f"member: {heidi}", under=GROUPS) + person("ivan"),
        "is disabled, another ends": change("heidi", "replace: userAccountControl", "userAccountControl: 546")
        + change("ivan", "replace: accountExpires", "accountExpires: 135540000000000000"),
        "marries, and comes back": move("heidi", PEOPLE, called="heidi huber")
        + change("heidi huber", "replace: userAccountControl", "userAccountControl: 544"),
        "another primary group": change("staff", "add: member", f"member: {huber}", under=GROUPS)
        + change("heidi huber", "replace: primaryGroupID", f"primaryGroupID: {staff}"),
        "the usual one again, and a new group": change("heidi huber", "replace: primaryGroupID", "primaryGroupID: 513")
        + f"dn: CN=fresh,{GROUPS}\nchangetype: add\nobjectClass: group\nsAMAccountName: fresh\nmember: {huber}\n"
        + f"member: {sales}\n\n",
        "moves out of what is read, another is deleted": move("heidi huber", ELSEWHERE)
        + f"dn: CN=ivan,{PEOPLE}\nchangetype: delete\n\n"
        + f"dn: CN=late,{GROUPS}\nchangetype: add\nobjectClass: group\nsAMAccountName: late\n"
        + f"member: CN=heidi huber,{ELSEWHERE}\n\n",
        "comes back, a group leaves another": move("heidi huber", PEOPLE, under=ELSEWHERE)
        + change("fresh", "delete: member", f"member: {sales}", under=GROUPS),
        "a group and a person are deleted": f"dn: CN=fresh,{GROUPS}\nchangetype: delete\n\n"
        f"dn: {huber}\nchangetype: delete\n\n",
    }
    for step, ldif in steps.items():
        if ldif:
            domain.modify(ldif)
        for way, report in follow(corps).items():
            assert report.kind == ("full" if way == "whole" else "delta"), (step, way, report.notes)
            assert report.status in ("applied", "clean"), (step, way, report)


@pytest.mark.parametrize("seed", [11])
def test_whatever_is_changed_every_way_ends_where_a_whole_read_ends(
    changed_domain: Samba, corps: dict[str, Corp], seed: int
) -> None:
    own = [f"own-{seed}-{n}" for n in range(2)]
    for name in own:
        changed_domain.modify(
            f"dn: CN={name},{GROUPS}\nchangetype: add\nobjectClass: group\nsAMAccountName: {name}\n\n"
        )
    rids = {name: rid(changed_domain, name) for name in own}
    wanderer = Wanderer(random.Random(seed), rids, groups={name: set() for name in own})
    try:
        for _ in range(6):
            for _ in range(wanderer.chance.randint(2, 5)):
                changed_domain.modify(wanderer.step())
            for way, report in follow(corps).items():
                assert report.kind == ("full" if way == "whole" else "delta"), (way, report.notes)
    finally:
        for name in wanderer.people:
            changed_domain.modify(f"dn: {wanderer.dn(name)}\nchangetype: delete\n")
        for name in wanderer.groups:
            changed_domain.modify(f"dn: {wanderer.group_dn(name)}\nchangetype: delete\n")


def test_a_lock_out_is_told_by_every_way(changed_domain: Samba, corps: dict[str, Corp]) -> None:
    """The domain writes it by itself, when somebody guesses passwords."""
    erin = f"CN=Erin Ellis,{PEOPLE}"
    url = f"ldap://127.0.0.1:{changed_domain.port}"
    try:
        for _ in range(3):
            wrong = ["ldapwhoami", "-x", "-H", url, "-D", erin, "-w", "wrong"]
            assert subprocess.run(wrong, capture_output=True, check=False).returncode == 49
        reports = follow(corps)
        assert {way: report.kind for way, report in reports.items() if way != "whole"} == dict.fromkeys(
            ("dirsync", "tombstones", "keys"), "delta"
        )
        assert {corp.user("erin")["status"] for corp in corps.values()} == {"locked"}
    finally:
        changed_domain.modify(change("Erin Ellis", "replace: lockoutTime", "lockoutTime: 0"))
    follow(corps)
    assert {corp.user("erin")["status"] for corp in corps.values()} == {"active"}
    assert corps["dirsync"].run().drift == 0


# -- when everything is read instead ---------------------------------------------------------------------------------------


@pytest.fixture
def corp(changed_domain: Samba, tmp_path: Path) -> Iterator[Corp]:
    made = corp_of(changed_domain, tmp_path, TOMBSTONES)
    yield made
    made.close()


def checkpoint(corp: Corp, **state: object) -> dict[str, Any]:
    """What is kept of the last read; keywords are written into it."""
    s = t.source_states.c
    with corp.database.writing() as conn:
        kept = json.loads(conn.scalar(select(s.checkpoint).where(s.source == "corp")))
        kept["state"] |= state
        conn.execute(t.source_states.update().where(s.source == "corp").values(checkpoint=json.dumps(kept)))
    return kept["state"]


def why_whole(corp: Corp) -> str:
    """Why a delta became a whole read; the one after it is a delta again."""
    report = corp.run(delta=True)
    assert (report.kind, report.complete) == ("full", True) and report.kind_why
    assert corp.run(delta=True).kind == "delta"
    return report.kind_why


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (
            {"controller": "CN=NTDS Settings,CN=DC2,CN=Servers,CN=Site,CN=Sites,CN=Configuration,DC=ad"},
            "DC1 answers, which numbers changes in its own way, not DC2; no other server has what was read before",
        ),
        (
            {"invocation": "00000000-0000-0000-0000-000000000001"},
            "the database of DC1 was restored: its invocationId is",
        ),
        ({"usn": 10**9}, "before 1000000000: an older copy of it was put back"),
    ],
    ids=["another controller", "restored", "set back"],
)
def test_numbers_of_another_copy_mean_nothing(corp: Corp, state: dict[str, object], why: str) -> None:
    checkpoint(corp, **state)
    assert why in why_whole(corp)


def test_the_controller_that_gave_the_numbers_is_asked(changed_domain: Samba, corp: Corp) -> None:
    """It is found among the others of the source; without it everything is read of another one."""

    def of_another(message: Message) -> bytes:
        return message.raw.replace(b"CN=DC1,CN=Servers", b"CN=DC2,CN=Servers")

    with proxy(changed_domain.port, of_another) as second:
        corp.source["ca_file"] = None
        corp.url = [second.url, changed_domain.url]
        changed_domain.modify(change("Alice Archer", "replace: sn", "sn: Ames"))
        report = corp.run(delta=True)
        assert (report.kind, [each.subject for each in report.changes]) == ("delta", ["alice"])
        assert second.connections == 1
        corp.url, corp.source["retries"] = second.url, 0
        report = corp.run(delta=True)
        assert (report.kind, report.complete) == ("full", True)
        assert report.kind_why and report.kind_why.startswith(
            "DC2 answers, which numbers changes in its own way, not DC1"
        )


def test_a_unit_that_was_changed_takes_all_below_it_along(changed_domain: Samba, corp: Corp) -> None:
    unit = f"OU=Berlin,{PEOPLE}"
    changed_domain.modify(f"dn: {unit}\nchangetype: add\nobjectClass: organizationalUnit\n\n" + person("judy", unit))
    report = corp.run(delta=True)
    assert (report.kind, {each.subject for each in report.changes}) == ("delta", {"judy"})
    changed_domain.modify(
        f"dn: {unit}\nchangetype: modrdn\nnewrdn: OU=Berlin\ndeleteoldrdn: 1\nnewsuperior: {ELSEWHERE}\n"
    )
    assert f"OU=Berlin,{ELSEWHERE} was changed" in why_whole(corp)
    assert corp.links()["judy"].missing_reads == 1
    changed_domain.modify(f"dn: CN=judy,OU=Berlin,{ELSEWHERE}\nchangetype: delete\n")


def test_a_right_that_was_taken_away(changed_domain: Samba, corp: Corp) -> None:
    """DirSync first, then an account that may not: everything is read, and from then on the numbers count."""
    corp.source["bind_dn"] = DIRSYNC
    corp.run()
    assert checkpoint(corp)["cookies"]
    corp.source["bind_dn"] = TOMBSTONES
    assert "DirSync is refused now: insufficientAccessRights (50)" in why_whole(corp)
    assert not checkpoint(corp)["cookies"]


def test_too_much_at_once(changed_domain: Samba, corp: Corp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(way_active_directory, "MOST_CHANGED", 1)
    changed_domain.modify(
        change("Alice Archer", "replace: title", "title: A") + change("Carol Carter", "replace: title", "title: B")
    )
    assert why_whole(corp) == "more than 1 objects changed"


# -- as it happens ---------------------------------------------------------------------------------------------------------


def test_who_cannot_read_tombstones_hears_of_everything_but_deletions(
    changed_domain: Samba, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corp = corp_of(changed_domain, tmp_path, READERS["keys"])
    corp.source["ca_file"], corp.url = None, f"ldap://127.0.0.1:{changed_domain.port}"
    try:
        with through_breaks(corp, changed_domain.port, monkeypatch) as (heard, breaks):
            for number in range(6):
                if number == 2:
                    breaks.begin()
                changed_domain.modify(change("Alice Archer", "replace: sn", f"sn: Head {number}"))
                heard.until(lambda number=number: corp.links()["alice"].values["name.familyName"] == f"Head {number}")  # type: ignore[misc]
            changed_domain.modify(person("lara"))
            heard.until(lambda: "lara" in corp.links())
            changed_domain.modify(f"dn: CN=lara,{PEOPLE}\nchangetype: delete\n")
            changed_domain.modify(change("Alice Archer", "replace: sn", "sn: Archer"))
            heard.until(lambda: corp.links()["lara"].missing_since is not None)
            heard.until(lambda: corp.links()["alice"].values["name.familyName"] == "Archer")
            assert len(breaks.cut) > 5
        assert len(heard.reports) < 50, "to read is no change that rings"
        assert changes(corp.run()) == []
    finally:
        corp.close()


def test_the_controller_that_gave_the_numbers_is_listened_to(changed_domain: Samba, tmp_path: Path) -> None:
    """And what changed before it was is told."""
    corp = corp_of(changed_domain, tmp_path, DIRSYNC)

    def of_another(message: Message) -> bytes:
        return message.raw.replace(b"CN=DC1,CN=Servers", b"CN=DC2,CN=Servers")

    try:
        with proxy(changed_domain.port, of_another) as second:
            corp.source["ca_file"], corp.url = None, [second.url, f"ldap://127.0.0.1:{changed_domain.port}"]
            changed_domain.modify(change("Alice Archer", "replace: sn", "sn: Arnold"))
            source = corp.composed().directory("default", "corp").source
            assert isinstance(source, LdapSource)
            with corp.database.reading() as conn:
                listening = source.listen(run_records.checkpoint(conn, "default", "corp") or "")
            assert next(listening) is None and second.connections == 1
            listening.close()  # type: ignore[attr-defined]
    finally:
        corp.close()


# -- what check says -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("way", "says", "warns"),
    [
        ("dirsync", "what changed is read by DirSync", False),
        ("tombstones", "what changed is read by uSNChanged (DirSync: insufficientAccessRights (50)", False),
        ("keys", "it takes the right Replicating Directory Changes on the domain)", True),
    ],
)
def test_check_says_which_way_and_why(changed_domain: Samba, tmp_path: Path, way: str, says: str, warns: bool) -> None:
    corp = corp_of(changed_domain, tmp_path, READERS[way])
    try:
        found = [each for each in check(corp.composed()) if each.about == "source corp"]
    finally:
        corp.close()
    assert says in "\n".join(each.text for each in found if each.level == "ok")
    could = f"{corp.url}: not live: it would tell at once that something changed (schedule.live: true)"
    assert could in [each.text for each in found if each.level == "ok"]
    warnings = [each.text for each in found if each.level == "warning" and "Deleted Objects" in each.text]
    assert bool(warnings) is warns
    assert all(f"cannot be read in CN=Deleted Objects,{BASE}" in each and "LCRP" in each for each in warnings)
