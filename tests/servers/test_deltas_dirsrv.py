"""Deltas from a real 389 Directory Server: after each, a whole read finds nothing left to do; and a changelog that is set up
wrong, lost, or another server's loses nobody.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from servers import corp as companies
from servers.corp import COMPANY, GROUPS_BASE, PEOPLE_BASE, Corp, changes
from servers.dirsrv import Dirsrv
from servers.hearing import through_breaks
from servers.ldif_changes import add, delete, modify, move, person, unit_of
from servers.roaming import Roamer
from servers.slapd import BASE
from servers.test_deltas_slapd import delta, is_whole, is_whole_but_for_the_missing
from syncd.cli.checking import check
from syncd.store import tables as t

PERSON = {one.uid: one for one in COMPANY.people}
GROUP = {one.name: one for one in COMPANY.groups}
FINANCE, LEGAL = f"ou=Finance,{PEOPLE_BASE}", f"ou=Legal,{PEOPLE_BASE}"
SOURCE = {"schedule": {"full": "1d", "delta": "1m"}, "retries": 0, "key_attribute": "nsUniqueId"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, dirsrv_template: Path) -> Iterator[Dirsrv]:
    made = Dirsrv(tmp_path_factory.mktemp("389ds"), dirsrv_template, companies.LDIF).start()
    yield made
    made.discard()


@pytest.fixture
def corp(server: Dirsrv, tmp_path: Path) -> Iterator[Corp]:
    yield from reconciled(server, tmp_path)


def reconciled(server: Dirsrv, folder: Path, **different: object) -> Iterator[Corp]:
    made = Corp(folder, f"sqlite:///{folder / 'syncd.db'}", server.url, {**SOURCE, **different})
    try:
        assert made.run().complete
        yield made
    finally:
        made.close()


def why_whole(corp: Corp) -> str:
    report = corp.run(delta=True)
    assert (report.kind, report.complete) == ("full", True) and report.kind_why
    return report.kind_why


def test_what_changed_is_all_that_is_read(server: Dirsrv, corp: Corp) -> None:
    assert delta(corp).counts["read"] == 0
    anna, nadia = PERSON["anna.xu"], PERSON["nadia.ivanov"]
    happenings = (
        modify(anna.dn, ("replace", "title", "Head")),
        person("new.one", FINANCE),
        modify(GROUP["billing"].dn, ("add", "member", f"uid=new.one,{FINANCE}")),
        move(f"uid=new.one,{FINANCE}", "uid=newer.one", unit_of(nadia)),
        modify(GROUP["billing"].dn, ("delete", "member", f"uid=newer.one,{unit_of(nadia)}")),
        add(f"cn=young,{GROUPS_BASE}", objectClass="groupOfUniqueNames", cn="young", uniqueMember=anna.dn),
        move(nadia.dn, nadia.rdn, BASE),  # out of the base
        modify(anna.dn, ("replace", "nsAccountLock", "true")) + move(f"{nadia.rdn},{BASE}", nadia.rdn, unit_of(nadia)),
        modify(anna.dn, ("delete", "nsAccountLock")) + delete(f"cn=young,{GROUPS_BASE}"),
        delete(f"uid=newer.one,{unit_of(nadia)}"),
    )
    for text in happenings:
        server.modify(text)
        report = delta(corp)
        assert report.counts["read"] <= 5  # a person, and the groups that name her
        is_whole(corp)
    is_whole_but_for_the_missing(corp, {"newer.one"})
    assert delta(corp).counts["read"] == 0


def test_any_changes_cut_into_any_deltas_end_where_a_whole_read_ends(server: Dirsrv, corp: Corp) -> None:
    roamer = Roamer(random.Random(4), names_follow=True)  # the plug-in referint
    try:
        for _ in range(10):
            server.modify("".join(roamer.step() for _ in range(roamer.chance.randint(1, 8))))
            delta(corp)
            is_whole(corp)
    finally:
        server.modify(roamer.undone())


def test_a_filter_that_no_longer_matches_is_a_leaver(server: Dirsrv, corp: Corp) -> None:
    """389ds says nothing of it to whoever polls with that filter."""
    corp.source["users"] = {"base": PEOPLE_BASE, "filter": "(employeeType=Employee)"}
    corp.run()
    corp.run()
    one = next(each for each in COMPANY.people if each.employee_type == "Employee")
    server.modify(modify(one.dn, ("replace", "employeeType", "Guest")))
    delta(corp)
    assert corp.links()[one.uid].missing_since is not None
    server.modify(modify(one.dn, ("replace", "employeeType", "Employee")))
    delta(corp)
    assert corp.links()[one.uid].missing_since is None
    is_whole(corp)


def test_a_unit_that_was_renamed_takes_all_below_it_along(server: Dirsrv, corp: Corp) -> None:
    below = [one.uid for one in COMPANY.people if one.dn.endswith(LEGAL)]
    server.modify(move(LEGAL, "ou=Law"))
    assert why_whole(corp).startswith(f"ou=Law,{PEOPLE_BASE} was changed")
    assert below and all(corp.links()[uid].dn.endswith(f"ou=Law,{PEOPLE_BASE}") for uid in below)
    server.modify(move(f"ou=Law,{PEOPLE_BASE}", "ou=Legal"))
    server.modify(add(f"ou=New,{PEOPLE_BASE}", objectClass="organizationalUnit", ou="New"))
    assert why_whole(corp).startswith(f"{LEGAL} was changed")
    server.modify(delete(f"ou=New,{PEOPLE_BASE}"))
    assert changes(delta(corp)) == []


def test_what_happens_is_read_when_it_does_however_the_connection_breaks(
    server: Dirsrv, corp: Corp, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, nadia = PERSON["anna.xu"], PERSON["nadia.ivanov"]
    with through_breaks(corp, server.port, monkeypatch) as (heard, between):
        for number in range(12):
            server.modify(modify(anna.dn, ("replace", "title", f"Head {number}")))
            heard.until(lambda number=number: corp.links()["anna.xu"].values["title"] == f"Head {number}")  # type: ignore[misc]
        server.modify(move(nadia.dn, nadia.rdn, BASE))  # out of the base
        heard.until(lambda: corp.links()["nadia.ivanov"].missing_since is not None)
        server.modify(move(f"{nadia.rdn},{BASE}", nadia.rdn, unit_of(nadia)))
        heard.until(lambda: corp.links()["nadia.ivanov"].missing_since is None)
        server.modify(person("new.one", FINANCE))
        heard.until(lambda: "new.one" in corp.links())
        server.modify(delete(f"uid=new.one,{FINANCE}"))
        heard.until(lambda: corp.links()["new.one"].missing_since is not None)
        assert between.connections > 5
    is_whole_but_for_the_missing(corp, {"new.one"})


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (
            {"cookies": {BASE: "elsewhere:389#x#1"}},
            "e-syncRefreshRequired (4096): Invalid session cookie; no other server",
        ),
        ({"number": 10**9}, "before 1000000000: it was made anew"),
        ({"number": -10}, "the changelog begins with number 1, and what came after -10 is gone"),
    ],
    ids=["another server", "made anew", "too old"],
)
def test_a_changelog_that_does_not_go_on(server: Dirsrv, corp: Corp, state: dict[str, object], why: str) -> None:
    s = t.source_states.c
    server.modify(modify(PERSON["anna.xu"].dn, ("replace", "title", str(state)[:20])))
    with corp.database.writing() as conn:
        kept: dict[str, Any] = json.loads(conn.scalar(select(s.checkpoint).where(s.source == "corp")) or "")
        kept["state"] |= state
        conn.execute(t.source_states.update().where(s.source == "corp").values(checkpoint=json.dumps(kept)))
    assert why in why_whole(corp)
    assert delta(corp).counts["read"] == 0
    is_whole(corp)


def test_a_changelog_that_names_nobody_is_not_believed(tmp_path: Path, dirsrv_template: Path) -> None:
    """Without nsuniqueid:targetUniqueId the server answers that nothing changed, whatever did."""
    folder = tmp_path / "389ds"
    folder.mkdir()
    server = Dirsrv(folder, dirsrv_template, companies.LDIF, settings={}).start()
    try:
        for corp in reconciled(server, tmp_path):
            assert delta(corp).counts["read"] == 0
            server.modify(modify(PERSON["anna.xu"].dn, ("replace", "title", "Head")))
            assert "does its Retro Changelog have nsslapd-attribute: nsuniqueid:targetUniqueId?" in why_whole(corp)
            assert corp.user("anna.xu")["values"]["title"] == "Head"
    finally:
        server.discard()


def test_check_says_how_changes_are_read(server: Dirsrv, corp: Corp) -> None:
    """Where people are known by another key than the server names them by, the next best way is taken."""

    def said() -> str:
        return "\n".join(each.text for each in check(corp.composed()) if each.about == "source corp")

    assert "what changed is read by content synchronization" in said()
    assert f"{server.url}: not live: it would tell at once that something changed (schedule.live: true)" in said()
    corp.source["key_attribute"] = "entryUUID"
    other = "content synchronization: it names entries by nsUniqueId, not entryUUID"
    assert f"what changed is read by modifyTimestamp ({other})" in said()


def test_people_known_by_another_key_are_read_by_what_changed_too(server: Dirsrv, tmp_path: Path) -> None:
    for corp in reconciled(server, tmp_path, key_attribute="entryUUID"):
        assert changes(delta(corp)) == []
        server.modify(modify(PERSON["anna.xu"].dn, ("replace", "title", "Chair")))
        assert changes(delta(corp)) == [("update", "anna.xu")]
        is_whole(corp)
