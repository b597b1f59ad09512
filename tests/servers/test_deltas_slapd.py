"""Deltas by RFC 4533 from a real slapd, with and without a session log: after each, a whole read finds nothing left to do.

And when a cookie is lost, too old or another server's, when the answer is cut short or lies: nobody loses anything.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from servers import corp as companies
from servers.corp import COMPANY, GROUPS_BASE, PEOPLE_BASE, Corp, changes
from servers.faulty import DONE, Message, proxy
from servers.ldif_changes import add, delete, modify, move, person, unit_of
from servers.slapd import ACCESS_READ_ALL, BASE, READER, Slapd
from syncd import app
from syncd.cli.checking import check
from syncd.core.plan import Report
from syncd.ldap import ber, way_timestamps
from syncd.ldap.source import LdapSource
from syncd.store import run_records

PERSON = {one.uid: one for one in COMPANY.people}
GROUP = {one.name: one for one in COMPANY.groups}
FINANCE = f"ou=Finance,{PEOPLE_BASE}"
DELTAS: dict[str, object] = {"schedule": {"full": "1d", "delta": "1m"}, "retries": 0}
NO_LOG = "overlay syncprov"
LOG = "overlay syncprov\nsyncprov-sessionlog 1000"
INTERMEDIATE = 0x79
TWO = ("anna.xu", "nadia.ivanov")

Started = Callable[..., tuple[Slapd, Corp]]


@pytest.fixture
def started(new_slapd: Callable[..., Slapd], tmp_path: Path) -> Iterator[Started]:
    """A directory and a company reconciled with it once; keywords are fields of Slapd."""
    kept: list[Corp] = []

    def start(**different: object) -> tuple[Slapd, Corp]:
        directory = new_slapd(**{"ldif": companies.LDIF, "max_bytes": 4 << 20, "overlays": LOG, **different})
        corp = Corp(tmp_path, f"sqlite:///{tmp_path / 'syncd.db'}", directory.url, dict(DELTAS))
        kept.append(corp)
        assert corp.run().complete
        return directory, corp

    yield start
    for corp in kept:
        corp.close()


def delta(corp: Corp) -> Report:
    """One that was believed."""
    corp.later(1 / 24)
    report = corp.run(delta=True)
    assert (report.kind, report.kind_why, report.incomplete_because) == ("delta", None, ())
    return report


def is_whole(corp: Corp) -> None:
    """A whole read finds nothing left to do."""
    left = corp.plan()
    assert left.complete and changes(left) == []


def happenings() -> tuple[str, ...]:
    """Everything that becomes of people and groups, one after another."""
    anna, nadia = PERSON["anna.xu"], PERSON["nadia.ivanov"]
    return (
        modify(anna.dn, ("replace", "title", "Head")),
        person("new.one", FINANCE),
        modify(GROUP["billing"].dn, ("add", "member", f"uid=new.one,{FINANCE}")),
        move(f"uid=new.one,{FINANCE}", "uid=newer.one", unit_of(nadia)),
        modify(GROUP["billing"].dn, ("delete", "member", f"uid=new.one,{FINANCE}")),
        add(f"cn=young,{GROUPS_BASE}", objectClass="groupOfNames", cn="young", member=anna.dn),
        move(nadia.dn, nadia.rdn, BASE),  # out of the base
        move(f"{nadia.rdn},{BASE}", nadia.rdn, unit_of(nadia)),
        delete(f"cn=young,{GROUPS_BASE}"),
        delete(f"uid=newer.one,{unit_of(nadia)}"),
    )


def access_log(folder: Path) -> str:
    """The session log is made of the overlay accesslog's records, which outlast a restart."""
    folder.mkdir()
    source = "overlay syncprov\nsyncprov-sessionlog-source cn=log"
    writes = "overlay accesslog\nlogdb cn=log\nlogops writes\nlogsuccess TRUE"
    records = f"database mdb\nsuffix cn=log\ndirectory {folder}\nmaxsize 4194304\nindex reqStart,entryCSN eq"
    return f"{writes}\n{source}\n{records}"


def is_whole_but_for_the_missing(corp: Corp, missing: set[str]) -> None:
    assert {name for name, link in corp.links().items() if link.missing_since} == missing
    is_whole(corp)


def test_a_directory_in_which_nothing_happened_is_asked_once(started: Started) -> None:
    directory, corp = started()
    asked: list[int] = []

    def count(message: Message) -> bytes:
        asked.append(message.tag)
        return message.raw

    with proxy(directory.port, count) as between:
        corp.url = between.url
        delta(corp)
    assert asked.count(DONE) == 3  # the root DSE, the naming context, and what changed
    corp.url = directory.url


@pytest.mark.parametrize("overlays", [NO_LOG, LOG])
def test_a_unit_that_moves_takes_its_people_along(started: Started, overlays: str) -> None:
    """OpenLDAP writes the unit only: nobody below it is told."""
    directory, corp = started(overlays=overlays)
    in_finance = {one.uid for one in COMPANY.people if one.department == "Finance"}
    for change, missing, why in (
        (move(FINANCE, "ou=Money"), set(), "is new or changed"),
        (move(f"ou=Money,{PEOPLE_BASE}", "ou=Money", BASE), in_finance, "gone, and what was below"),
        (move(f"ou=Money,{BASE}", "ou=Finance", PEOPLE_BASE), set(), "is new or changed"),
    ):
        directory.modify(change)
        report = corp.run(delta=True, accept_fewer="ann" if missing else None)
        assert (report.kind, report.incomplete_because) == ("full", ())
        assert report.kind_why is not None and why in report.kind_why
        assert {name for name, link in corp.links().items() if link.missing_since} == missing
        assert delta(corp).counts["read"] == 0


def test_a_session_log_that_was_lost_is_made_good_by_who_is_present(started: Started) -> None:
    directory, corp = started(overlays=LOG)
    directory.modify(delete(PERSON["anna.xu"].dn) + modify(PERSON["nadia.ivanov"].dn, ("replace", "title", "Head")))
    directory.restart()
    delta(corp)
    is_whole_but_for_the_missing(corp, {"anna.xu"})


def test_a_server_without_a_better_way_tells_by_timestamps(started: Started) -> None:
    directory, corp = started(overlays="")
    for text in (*happenings(), move(FINANCE, "ou=Money"), move(f"ou=Money,{PEOPLE_BASE}", "ou=Finance")):
        directory.modify(text)
        delta(corp)
        assert changes(corp.plan()) == []
    is_whole_but_for_the_missing(corp, {"newer.one"})
    assert corp.run().drift == 0
    assert (
        f"{directory.url}: what changed is read by modifyTimestamp (syncrepl: the server does not offer it: load the overlay "
        "syncprov)"
    ) in said(corp)
    corp.source["schedule"] = {"full": "1d", "delta": "1m", "live": True}
    corp.composed()
    composed = app.compose(corp.folder / "syncd.yaml", {"CORP_PASSWORD": companies.READER_PASSWORD})
    warned = [each.text for each in check(composed) if each.level == "warning"]
    assert f"{directory.url}: not live: timestamps tell nothing by themselves; it is asked every 60 s" in warned


def test_timestamps_tell_of_a_change_whatever_the_clock_said(started: Started) -> None:
    """A server whose clock was set back, or ahead and corrected, writes timestamps that are no later than those before."""
    directory, corp = started(overlays="")
    for number, clock in enumerate(("20991231235959Z", "20010101000000Z", "20260101000000Z", "19990101000000Z")):
        for name in TWO:
            directory.modify(
                modify(PERSON[name].dn, ("replace", "title", f"Head {number}"), ("replace", "modifyTimestamp", clock))
            )
            assert f"modifyTimestamp: {clock}" in directory.search(f"(uid={name})", "modifyTimestamp")
            report = delta(corp)
            assert report.counts["update"] == 1 and corp.links()[name].values["title"] == f"Head {number}"
    assert corp.run().drift == 0


def test_many_written_at_once_are_read_whole_and_what_follows_by_timestamps(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(way_timestamps, "MOST_CHANGED", 20)
    monkeypatch.setattr(way_timestamps, "_BY_STAMP", 5)
    directory, corp = started(overlays="")
    delta(corp)
    directory.modify("".join(modify(one.dn, ("replace", "title", "Boss")) for one in COMPANY.people[:30]))
    report = corp.run(delta=True)
    assert (report.kind, report.complete, report.counts["update"]) == ("full", True, 30)
    assert report.kind_why is not None and report.kind_why.endswith(" entries may have been written, more than 20")
    assert delta(corp).counts["read"] >= 30, "who was written in the latest seconds is read once more"
    assert delta(corp).counts["read"] == 0
    directory.modify(modify(PERSON["anna.xu"].dn, ("replace", "title", "Head")))
    assert delta(corp).counts["update"] == 1
    assert corp.run().drift == 0


def test_entries_that_show_no_timestamp_are_read_whole(started: Started) -> None:
    hidden = f"access to attrs=modifyTimestamp by * none\n{ACCESS_READ_ALL}"
    _, corp = started(overlays="", access=hidden)
    report = corp.run(delta=True)
    assert report.kind == "full" and report.complete
    assert report.kind_why == "the last whole read left nothing to go on from; `syncd check` says why"
    assert any("every read reads everything: " in text and "modifyTimestamp of " in text for text in said(corp))


def test_the_check_says_how_what_changed_is_read(started: Started) -> None:
    directory, corp = started()
    assert f"{directory.url}: what changed is read by syncrepl" in said(corp)
    assert f"{directory.url}: not live: it would tell at once that something changed (schedule.live: true)" in said(
        corp
    )
    assert not any("memberOf" in text for text in said(corp))
    corp.source["schedule"] = {"full": "1d", "delta": "1m", "live": True}
    assert f"{directory.url}: live: it tells at once that something changed" in said(corp)
    corp.source["schedule"] = {"full": "1d"}
    assert f"{directory.url}: not live: every read reads everything" in said(corp)
    corp.source["schedule"] = {"full": "1d", "delta": "1m"}
    corp.source["attributes"] = {**companies.ATTRIBUTES, "costCenter": "memberOf"}
    assert any("memberOf: servers make it up of other entries" in text for text in said(corp))


def said(corp: Corp) -> list[str]:
    corp.composed()
    composed = app.compose(corp.folder / "syncd.yaml", {"CORP_PASSWORD": companies.READER_PASSWORD})
    return [each.text for each in check(composed)]


def test_a_delta_larger_than_the_size_limit_is_read_whole(started: Started) -> None:
    limits = f'limits dn.exact="{READER}" size.soft=20 size.hard=20 size.pr=100 size.prtotal=unlimited'
    directory, corp = started(limits=limits)
    directory.modify("".join(modify(one.dn, ("replace", "title", "Boss")) for one in COMPANY.people[:30]))
    report = corp.run(delta=True)
    assert (report.kind, report.complete) == ("full", True)
    assert report.kind_why is not None and report.kind_why.startswith("users: sizeLimitExceeded (4)")
    is_whole(corp)
    assert delta(corp).counts["read"] == 0


# ---- as it happens


def test_a_cookie_that_the_server_does_not_know_rings(started: Started) -> None:
    """So that everything is read, and there is one that it knows."""
    _, corp = started()
    with corp.database.reading() as conn:
        kept = json.loads(run_records.checkpoint(conn, "default", "corp") or "")
    kept["state"]["cookies"] = ["rid=000,csn=20010101000000.000000Z#000000#000#000000"] * len(kept["state"]["cookies"])
    source = corp.composed().directory("default", "corp").source
    assert isinstance(source, LdapSource)
    listening = source.listen(json.dumps(kept))
    assert next(listening) is None


def test_a_server_that_asks_for_a_refresh_is_read_whole(started: Started) -> None:
    directory, corp = started()
    directory.modify(modify(PERSON["anna.xu"].dn, ("replace", "title", "Head")))

    def spoil(message: Message) -> bytes:
        if message.tag != DONE or message.connection > 1 or message.searches_before != 2:
            return message.raw
        required = ber.element(DONE, b"\x0a\x02\x10\x00\x04\x00\x04\x00")  # e-syncRefreshRequired (4096)
        return ber.element(ber.SEQUENCE, message.id + required)

    with proxy(directory.port, spoil) as between:
        corp.url = between.url
        report = corp.run(delta=True)
    corp.url = directory.url
    assert (report.kind, report.complete, report.counts["update"]) == ("full", True, 1)
    assert report.kind_why == "units: e-syncRefreshRequired (4096)"
    assert delta(corp).counts["read"] == 0


# ---- another server


def test_an_older_replica_is_read_whole_and_takes_nothing(started: Started, tmp_path: Path) -> None:
    directory, corp = started()
    directory.stop()
    shutil.copytree(directory.folder / "db", tmp_path / "older")
    directory.start()
    directory.modify(person("new.one", FINANCE) + modify(PERSON["anna.xu"].dn, ("replace", "title", "Head")))
    delta(corp)
    before = corp.standing()
    directory.stop()
    shutil.rmtree(directory.folder / "db")
    shutil.copytree(tmp_path / "older", directory.folder / "db")
    directory.start()
    report = corp.run(delta=True)
    assert (report.kind, report.complete) == ("full", True)
    assert report.kind_why is not None and "consumer state is newer than provider" in report.kind_why
    assert {name for name, rows in corp.lost(before).items() if rows} == {"users"}  # her title, as it was
    is_whole_but_for_the_missing(corp, {"new.one"})
    assert delta(corp).counts["read"] == 0


def test_another_directory_is_read_whole_and_its_losses_wait(
    started: Started, new_slapd: Callable[..., Slapd], tmp_path: Path
) -> None:
    _, corp = started()
    before = corp.standing()
    other_ldif = companies.company_ldif({one.uid for one in COMPANY.people[:20]}).replace(
        "e0bf7b6d-b5f5-5bd4-a6a4-e38f8c0e70ea", "00000000-b5f5-5bd4-a6a4-e38f8c0e70ea"
    )
    corp.url = new_slapd(ldif=other_ldif, max_bytes=4 << 20).url
    report = corp.run(delta=True)
    assert (report.kind, report.status) == ("full", "held")
    assert report.kind_why is not None and report.kind_why.startswith("another server answers: OpenLDAP; ")
    assert corp.lost(before) == {}


def test_a_clock_set_back_is_made_good_by_the_whole_read_and_counted(started: Started) -> None:
    """What is written then bears a CSN that every consumer has passed: RFC 4533 does not tell it."""
    directory, corp = started()
    directory.stop()
    before = "20200101000000.000000Z#000000#000#000000"
    directory.load(person("new.one", FINANCE, entryCSN=before).replace("changetype: add\n", ""))
    directory.start()
    assert delta(corp).counts["read"] == 0
    report = corp.run()
    assert (report.drift, report.counts["create"]) == (1, 1)
    assert corp.record(report).drift == 1
    assert corp.run().drift == 0


# ---- answers that are cut short, or lie


def silent_of(some: int) -> Callable[[Message], bytes]:
    """The present phase leaves out so many people: as a server with a known fault did."""

    def spoil(message: Message) -> bytes:
        if message.tag != INTERMEDIATE:
            return message.raw
        ((_, whole),) = ber.elements(message.raw)
        number, (_, operation) = ber.elements(whole)
        oid, (value_tag, value) = ber.elements(operation)
        ((set_tag, parts),) = ber.elements(value)
        *flags, (_, keys) = ber.elements(parts)
        there = ber.elements(keys)
        if len(there) < companies.USERS:  # of units, or of groups
            return message.raw
        fewer = b"".join(ber.element(*each) for each in there[some:])
        said = b"".join(ber.element(*each) for each in (*flags, (ber.SET, fewer)))
        told = ber.element(*oid) + ber.element(value_tag, ber.element(set_tag, said))
        return ber.element(ber.SEQUENCE, ber.element(*number) + ber.element(INTERMEDIATE, told))

    return spoil


@pytest.mark.parametrize(("some", "kind"), [(3, "delta"), (40, "full")])
def test_a_present_phase_that_is_cut_short_takes_nobody(started: Started, some: int, kind: str) -> None:
    directory, corp = started(overlays=NO_LOG)
    directory.modify(modify(PERSON["anna.xu"].dn, ("replace", "title", "Head")))
    before = corp.standing()
    with proxy(directory.port, silent_of(some)) as liar:
        corp.url = liar.url
        report = corp.run(delta=True)
    corp.url = directory.url
    assert (report.kind, report.complete) == (kind, True)
    assert (report.kind_why is not None and "users were reported gone at once" in report.kind_why) == (kind == "full")
    assert {name for name, rows in corp.lost(before).items() if rows} == {"users"}  # her title
    is_whole_but_for_the_missing(corp, set())


def test_a_present_phase_without_its_end_takes_nobody(started: Started) -> None:
    directory, corp = started(overlays=NO_LOG)
    directory.modify(delete(PERSON["anna.xu"].dn))
    with proxy(directory.port, lambda m: m.done(0) if m.tag == DONE and m.searches_before > 2 else m.raw) as liar:
        corp.url = liar.url
        report = corp.run(delta=True)
    (why,) = report.incomplete_because  # users' or groups': asked for together, slapd may end either first
    assert (report.kind, why.partition(": ")[2]) == (
        "delta",
        "the server left out the sync done control, so who is gone is not known",
    )
    corp.url = directory.url
    delta(corp)
    is_whole_but_for_the_missing(corp, {"anna.xu"})
