"""Deltas from a real 389 Directory Server: after each, a whole read finds nothing left to do; and a changelog that is set up
wrong, lost, or another server's loses nobody.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from servers import corp as companies
from servers.corp import COMPANY, PEOPLE_BASE, Corp, changes
from servers.dirsrv import Dirsrv
from servers.ldif_changes import add, delete, modify, move
from servers.slapd import BASE
from servers.test_deltas_slapd import delta, is_whole
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


@pytest.mark.parametrize("key", ["nsUniqueId", "entryUUID"], ids=["content", "timestamps"])
def test_a_lock_out_is_told(server: Dirsrv, tmp_path: Path, key: str) -> None:
    """The server writes it by itself, when somebody guesses passwords."""
    anna = PERSON["anna.xu"].dn
    settings = ("passwordLockout", "on"), ("passwordMaxFailure", "2"), ("passwordLockoutDuration", "1800")
    server.modify(modify("cn=config", *(("replace", name, value) for name, value in settings)))
    server.modify(modify(anna, ("replace", "userPassword", "right-password")))
    try:
        for corp in reconciled(server, tmp_path, key_attribute=key):
            for _ in range(2):
                wrong = ["ldapwhoami", "-x", "-H", server.url, "-D", anna, "-w", "wrong"]
                assert subprocess.run(wrong, capture_output=True, check=False).returncode == 49
            assert changes(corp.run(delta=True)) == [("update", "anna.xu")]
            assert corp.user("anna.xu")["status"] == "locked"
            server.modify(modify(anna, ("replace", "accountUnlockTime"), ("replace", "passwordRetryCount")))
            assert changes(corp.run(delta=True)) == [("update", "anna.xu")]
            assert corp.user("anna.xu")["status"] == "active"
            is_whole(corp)
    finally:
        server.modify(modify("cn=config", ("replace", "passwordLockout", "off")))


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
