"""What changes in a directory, by every way in which syncd reads changes: OpenLDAP with and without its logs, 389ds, Active
Directory with each right. After every delta a whole read finds nothing left to do, and nobody lost what she should have.

Tests of one server or way alone stand in its own file.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from servers import corp as companies
from servers.active_directory import BASE as DOMAIN
from servers.corp import COMPANY, Corp, changes
from servers.directories import (
    DANGLING,
    IN_389DS,
    IN_A_DOMAIN,
    IN_SLAPD,
    PERSON,
    Directory,
    Kind,
    each_of,
    of_389ds,
    of_samba,
    of_slapd,
)
from servers.dirsrv import Dirsrv
from servers.faulty import Cut, Message, proxy
from servers.hearing import through_breaks
from servers.ldif_changes import delete, modify, move
from servers.roaming import Roamer
from servers.test_deltas_slapd import LOG, NO_LOG, access_log, is_whole, is_whole_but_for_the_missing
from syncd.cli.checking import check
from syncd.core.plan import Report
from syncd.errors import SourceUnreachable
from syncd.store import run_records
from syncd.store import standing as standing_of

BELL = "bell"  # the server tells at once that something changed
FEW = "few"  # it names what changed; where everybody is named, a delta is a whole read in small, with its cuts
ANNA, JANE = PERSON["anna.xu"], PERSON["jane.garcia"]


@pytest.fixture(scope="module")
def dirsrv(tmp_path_factory: pytest.TempPathFactory, dirsrv_template: Path) -> Iterator[Dirsrv]:
    """Every test takes back what it changed."""
    made = Dirsrv(tmp_path_factory.mktemp("389ds"), dirsrv_template, companies.LDIF).start()
    yield made
    made.discard()


def _slapd(overlays: str) -> Callable[[pytest.FixtureRequest], Directory]:
    def make(request: pytest.FixtureRequest) -> Directory:
        more: dict[str, object] = {"overlays": overlays}
        if overlays == "accesslog":
            folder: Path = request.getfixturevalue("tmp_path")
            more = {"overlays": access_log(folder / "log"), "globals": "moduleload accesslog"}
        start: Callable[..., object] = request.getfixturevalue("new_slapd")
        return of_slapd(start(ldif=companies.LDIF, max_bytes=4 << 20, **more))  # type: ignore[arg-type]

    return make


def _389ds(key: str) -> Callable[[pytest.FixtureRequest], Directory]:
    return lambda request: of_389ds(request.getfixturevalue("dirsrv"), key_attribute=key)


def _samba(account: str) -> Callable[[pytest.FixtureRequest], Directory]:
    reader = f"CN={account},OU=Services,{DOMAIN}"
    return lambda request: of_samba(request.getfixturevalue("changed_domain"), reader)


WAYS = {
    "slapd-present": Kind(_slapd(NO_LOG), IN_SLAPD | {BELL, FEW}),
    "slapd-session-log": Kind(_slapd(LOG), IN_SLAPD | {BELL, FEW}),
    "slapd-accesslog": Kind(_slapd("accesslog"), IN_SLAPD | {BELL}),
    "slapd-timestamps": Kind(_slapd(""), IN_SLAPD),
    "389ds-content": Kind(_389ds("nsUniqueId"), IN_389DS | {BELL, FEW}),
    "389ds-timestamps": Kind(_389ds("entryUUID"), IN_389DS),
    "samba-dirsync": Kind(_samba("syncd-dirsync"), IN_A_DOMAIN | {BELL, FEW}),
    "samba-tombstones": Kind(_samba("syncd-tombstones"), IN_A_DOMAIN | {BELL, FEW}),
    "samba-keys": Kind(_samba("syncd"), IN_A_DOMAIN | {BELL}),
}
# What one of a server's ways stands for the others in: test_ad_deltas.py roams by all three of a domain.
ALIKE = ("slapd-accesslog", "samba-tombstones", "samba-keys")
DIFFERENT = {name: kind for name, kind in WAYS.items() if name not in ALIKE}
SERVERS = {name: WAYS[name] for name in ("slapd-session-log", "389ds-content", "samba-dirsync")}


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Directory:
    kind: Kind = request.param
    return kind.start(request)


@pytest.fixture
def corp(server: Directory, tmp_path: Path) -> Iterator[Corp]:
    """Reconciled once with the directory."""
    source = {"schedule": {"full": "1d", "delta": "1m"}, "retries": 0, **server.source}
    made = Corp(tmp_path, f"sqlite:///{tmp_path / 'syncd.db'}", server.url, source)
    try:
        assert made.run().complete
        yield made
    finally:
        made.close()


def delta(corp: Corp) -> Report:
    """One that was believed, read at once: in the same second, maybe, as what it tells of."""
    report = corp.run(delta=True)
    assert (report.kind, report.kind_why, report.incomplete_because) == ("delta", None, ())
    return report


# ---- what changed


@each_of(WAYS)
def test_what_changed_is_all_that_is_read(server: Directory, corp: Corp) -> None:
    forms, finance = server.forms, server.forms.unit("Finance")
    anna, theirs = forms.of(ANNA), forms.unit(JANE.department)
    in_billing = forms.dn("newer.one", theirs) if server.names_follow else forms.dn("new.one", finance)
    happenings = (
        modify(anna, ("replace", "title", "Head")),
        forms.person("new.one", finance),
        forms.member("billing", "add", forms.dn("new.one", finance)),
        forms.moved("new.one", finance, theirs, called="newer.one"),
        forms.member("billing", "delete", in_billing),
        forms.group("young", anna),
        forms.switched(anna, False) + forms.moved(JANE.uid, theirs, forms.elsewhere),
        forms.switched(anna, True) + forms.moved(JANE.uid, forms.elsewhere, theirs),
        modify(anna, ("replace", "title", ANNA.title)) + delete(forms.group_dn("young")),
        delete(forms.dn("newer.one", theirs)),
    )
    delta(corp)
    for text in happenings:
        server.modify(text)
        report = delta(corp)
        if BELL in server.can:  # timestamps tell of seconds, not of people
            assert report.counts["read"] <= 15, "people, the groups that name them and whoever has them as manager"
        is_whole(corp)
    is_whole_but_for_the_missing(corp, {"newer.one"})
    if BELL in server.can:
        assert delta(corp).counts["read"] == 0


@each_of(DIFFERENT)
def test_any_changes_cut_into_any_deltas_end_where_a_whole_read_ends(
    request: pytest.FixtureRequest, server: Directory, corp: Corp
) -> None:
    chance = random.Random(request.node.name)  # each way its own changes, the same every time
    roamer = Roamer(chance, server.forms, server.names_follow, DANGLING in server.can)
    try:
        for _ in range(8):
            server.modify("".join(roamer.step() for _ in range(roamer.chance.randint(1, 8))))
            delta(corp)
            is_whole(corp)
    finally:
        server.modify(roamer.undone())


@each_of(DIFFERENT)
def test_a_filter_that_no_longer_matches_is_a_leaver(server: Directory, corp: Corp) -> None:
    usual = server.users_filter
    corp.source["users"] = {"base": server.forms.people, "filter": f"(&{usual}(employeeType=Employee))"}
    corp.run()
    corp.run()
    one = next(each for each in COMPANY.people if each.employee_type == "Employee")
    server.modify(modify(server.forms.of(one), ("replace", "employeeType", "Guest")))
    delta(corp)
    assert corp.links()[one.uid].missing_since is not None
    server.modify(modify(server.forms.of(one), ("replace", "employeeType", "Employee")))
    delta(corp)
    assert corp.links()[one.uid].missing_since is None
    is_whole(corp)


@each_of(DIFFERENT)
def test_a_unit_that_moves_takes_its_people_along(server: Directory, corp: Corp) -> None:
    """By deltas or, where the server does not tell, by a whole read; nobody is a leaver in between."""
    unit = server.forms.unit("Legal")
    below = [one.uid for one in COMPANY.people if one.department == "Legal"]
    keys = {uid: link.key for uid, link in corp.links().items()}
    for called in ("Law", "Legal"):
        server.modify(move(unit, f"OU={called}"))
        unit = server.forms.unit(called)
        corp.run(delta=True)
        links = corp.links()
        assert {uid: link.key for uid, link in links.items()} == keys and not any(
            each.missing_since for each in links.values()
        )
        assert below and all(links[uid].dn.lower().endswith(unit.lower()) for uid in below)
        is_whole(corp)


@each_of(WAYS, FEW)
def test_a_delta_that_is_cut_at_any_message_takes_nothing_and_is_told_again(server: Directory, corp: Corp) -> None:
    """In the middle of every message of a whole exchange, and after it: nothing moves, neither rows nor checkpoint, so the
    next one is as if there had been none."""
    forms, finance, unit = server.forms, server.forms.unit("Finance"), server.forms.unit(JANE.department)
    joiner = forms.dn("new.one", finance)
    server.modify(
        modify(forms.of(ANNA), ("replace", "title", "Head"))
        + forms.person("new.one", finance)
        + forms.member("billing", "add", joiner)
        + forms.moved(JANE.uid, unit, forms.elsewhere)
    )
    try:
        before, places = standing(corp), ((after, middle) for after in count(1) for middle in (True, False))
        while not cut(server, corp, *next(places)):
            assert standing(corp) == before
        assert next(places)[0] > 5
        assert {"new.one"} == corp.links().keys() - before["names"] and corp.links()[JANE.uid].missing_since
        delta(corp)
        is_whole_but_for_the_missing(corp, {JANE.uid})
    finally:
        title = modify(forms.of(ANNA), ("replace", "title", ANNA.title))
        server.modify(delete(joiner) + forms.moved(JANE.uid, forms.elsewhere, unit) + title)


def standing(corp: Corp) -> dict[str, Any]:
    """All that one could lose, and from where the next delta goes on."""
    with corp.database.reading() as conn:
        went_on_from = run_records.checkpoint(conn, "default", "corp")
    return {**corp.standing(), "checkpoint": went_on_from, "names": corp.links().keys()}


def cut(server: Directory, corp: Corp, after: int, middle: bool) -> bool:
    """A delta over a connection that breaks in the middle of this message, or after it. Whether it came to its end: it may
    have had all that it asked for by then."""
    seen = 0

    def spoil(message: Message) -> bytes:
        nonlocal seen
        seen += 1
        if seen != after:
            return message.raw
        return Cut(message.raw[: len(message.raw) // 2] if middle else message.raw)

    with proxy(server.server.port, spoil) as broken:
        corp.url = broken.url
        try:
            report = corp.run(delta=True)
        except SourceUnreachable:
            return False
        finally:
            corp.url = server.url
    assert report.kind == "delta"
    assert not (report.complete and middle and seen >= after), "half a message was taken for a whole one"
    return report.complete


@each_of(SERVERS)
def test_what_happens_is_read_when_it_does_wherever_the_connection_breaks(
    server: Directory, corp: Corp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listener's connection is cut in the middle of every message of a whole exchange, and after it; when the change
    that it missed was read, a whole read finds nothing left to do."""
    forms, unit, number = server.forms, server.forms.unit(ANNA.department), 0

    def change() -> None:
        """She gets another title, moves out of what is read, and comes back."""
        nonlocal number
        number += 1
        here, there, title = forms.of(ANNA), forms.dn(ANNA.uid, forms.elsewhere), f"Head {number}"
        match number % 3:
            case 1:
                server.modify(modify(here, ("replace", "title", title)))
                heard.until(lambda: corp.links()[ANNA.uid].values["title"] == title)
            case 2:
                server.modify(forms.moved(ANNA.uid, unit, forms.elsewhere))
                heard.until(lambda: corp.links()[ANNA.uid].missing_since is not None)
            case _:
                server.modify(modify(there, ("replace", "title", title)) + forms.moved(ANNA.uid, forms.elsewhere, unit))
                heard.until(lambda: corp.links()[ANNA.uid].missing_since is None)
        with heard.quiet():
            is_whole(corp)

    try:
        with through_breaks(corp, server.server.port, monkeypatch) as (heard, breaks):
            for _ in range(2):
                change()
            breaks.begin()
            while not breaks.done:
                change()
        assert len(heard.reports) < 5 * number, "to read is no change that rings"
    finally:
        away = ANNA.uid in corp.links() and corp.links()[ANNA.uid].missing_since is not None
        back = forms.moved(ANNA.uid, forms.elsewhere, unit) if away else ""
        server.modify(back + modify(forms.of(ANNA), ("replace", "title", ANNA.title)))


# ---- what it means


def seats(corp: Corp, name: str) -> set[str]:
    return {each["value"] for each in corp.user(name)["seats"]}


@each_of(SERVERS)
def test_an_account_that_is_switched_off_holds_no_seat_and_gets_it_back(server: Directory, corp: Corp) -> None:
    before, had = corp.standing(), seats(corp, "rosa.castillo")
    rosa = server.forms.of(PERSON["rosa.castillo"])
    server.modify(server.forms.switched(rosa, False))
    assert ("deactivate", "rosa.castillo") in changes(delta(corp))
    shown = corp.user("rosa.castillo")
    assert (shown["status"], shown["enabled"], shown["seats"]) == ("inactive", False, [])
    assert any(link["because"] or link["ends_at"] for link in shown["links"]), "what of the entry says so"
    server.modify(server.forms.switched(rosa, True))
    assert ("reactivate", "rosa.castillo") in changes(delta(corp))
    assert had and seats(corp, "rosa.castillo") == had
    assert {name: rows for name, rows in corp.lost(before).items() if name != "users"} == {}


@each_of(SERVERS)
def test_an_end_date_is_told_before_and_ends_at_its_instant(server: Directory, corp: Corp) -> None:
    rosa, at = server.forms.of(PERSON["rosa.castillo"]), datetime(2026, 12, 1, tzinfo=UTC)
    server.modify(server.forms.ends(rosa, at))
    try:
        delta(corp)
        shown = corp.user("rosa.castillo")
        (link,) = shown["links"]
        ends = link["ends_at"]
        assert abs(ends - at) <= timedelta(days=1) and shown["status"] == "active"
        assert [each["at"] for each in shown["scheduled"]] == [ends]
        corp.now = ends - timedelta(seconds=1)
        assert corp.user("rosa.castillo")["enabled"]
        corp.now = ends
        assert not corp.user("rosa.castillo")["enabled"], "whatever was read or ticked since"
    finally:
        server.modify(server.forms.ends(rosa, None))
    delta(corp)
    assert corp.user("rosa.castillo")["enabled"]


@each_of(SERVERS)
def test_a_start_date_is_told_before_and_begins_at_its_instant(server: Directory, corp: Corp) -> None:
    """Of an attribute that the configuration names, as a personnel system writes it; with the end that the server has."""
    forms, finance = server.forms, server.forms.unit("Finance")
    starts, ends = datetime(2026, 11, 9, 8, 30, tzinfo=UTC), datetime(2027, 3, 1, tzinfo=UTC)
    corp.source["accounts"] = {"starts_at": "carLicense"}
    corp.run()
    joiner = forms.dn("new.one", finance)
    server.modify(
        forms.person("new.one", finance, carLicense="20261109083000Z", shadowExpire="24000")
        + forms.member("billing", "add", joiner)
        + forms.ends(joiner, ends)
    )
    try:
        corp.run()
        shown = corp.user("new.one")
        (link,) = shown["links"]
        assert link["starts_at"] == starts and abs(link["ends_at"] - ends) <= timedelta(days=1)
        assert (shown["enabled"], shown["seats"]) == (False, [])
        assert [each["at"] for each in shown["scheduled"]] == [starts, link["ends_at"]]
        corp.now = starts - timedelta(seconds=1)
        assert not corp.user("new.one")["enabled"]
        corp.now = starts
        assert corp.user("new.one")["enabled"], "whatever was read or ticked since"
        corp.tick()
        assert {"billing-clerk"} <= {each["value"] for each in corp.user("new.one")["roles"]}
        assert seats(corp, "new.one") == {"portal"}
        corp.now = link["ends_at"]
        assert not corp.user("new.one")["enabled"]
    finally:
        server.modify(delete(joiner))


@each_of(SERVERS)
def test_what_another_filter_comes_to_is_shown_before_it_is_saved(server: Directory, corp: Corp) -> None:
    usual, before = server.users_filter, standing(corp)
    leavers = {
        each.uid
        for each in COMPANY.people
        if each.employee_type == "Contractor" and corp.user(each.uid)["status"] == "active"
    }
    saved = corp.source.get("users")
    corp.source["users"] = {"base": server.forms.people, "filter": f"(&{usual}(!(employeeType=Contractor)))"}
    report = corp.plan(impact=True)
    assert {subject for kind, subject in changes(report) if kind == "deactivate"} == leavers and leavers
    assert report.counts["unseat"] > 0 and standing(corp) == before
    corp.source["users"] = saved or {"base": server.forms.people}
    assert corp.plan().status == "clean"


@each_of(SERVERS)
def test_a_group_in_a_group_is_shown_with_its_path(server: Directory, corp: Corp) -> None:
    inner, who = server.forms.group_dn("dept-support"), "kateryna.dubois"
    server.modify(server.forms.member("billing", "add", inner))
    assert ("join", "group dept-support") in changes(delta(corp))
    shown = corp.user(who)
    assert next(each for each in shown["groups"] if each["display"] == "billing")["path"] == "dept-support > billing"
    assert "billing-clerk" in {each["value"] for each in shown["roles"]}
    server.modify(server.forms.member("billing", "delete", inner))
    assert ("leave", "group dept-support") in changes(delta(corp))
    assert "billing-clerk" not in {each["value"] for each in corp.user(who)["roles"]}


@each_of(SERVERS)
def test_a_group_that_moves_below_no_base_takes_nothing_until_somebody_says_so(server: Directory, corp: Corp) -> None:
    """Everybody is told which, where it is, and which base to add."""
    forms, billing = server.forms, server.forms.group_dn("billing")
    moved = f"cn=billing,{forms.elsewhere}"
    had = {uid for uid in PERSON if "billing-clerk" in {each["value"] for each in corp.user(uid)["roles"]}}
    corp.source["missing"] = {"suspend_after": "0s"}  # whoever is missing is so at once, also by a delta
    server.modify(move(billing, "cn=billing", forms.elsewhere))
    try:
        assert delta(corp).counts["group_delete"] == 0
        for _ in range(4):
            report = corp.run()
            (note,) = [each for each in report.notes if "below no base" in each]
            assert (
                note.lower()
                == (
                    f"1 group moved below no base: billing is {moved} now. whoever is in them keeps what they give. "
                    f"add {forms.elsewhere} to `groups.base`, or say that they may go: syncd sync corp --accept-fewer"
                ).lower()
            )
            corp.later(2)
        assert had == {uid for uid in PERSON if "billing-clerk" in {each["value"] for each in corp.user(uid)["roles"]}}
        assert note in warned(corp)
        (outside,) = stands(corp).groups_outside or ()
        assert outside.lower() == f"{moved} (was read as billing)".lower()
        corp.source["groups"] = {**corp.source.get("groups", {}), "base": [forms.groups, forms.elsewhere]}
        whole = corp.run()
        assert not [each for each in whole.notes if "no base" in each] and whole.counts["group_delete"] == 0
        assert not stands(corp).groups_outside
        corp.source["groups"] = {**corp.source["groups"], "base": forms.groups}
        corp.run()
        for each in corp.held():
            corp.discard(each.digest)
        accepted = corp.run(accept_fewer="ann")
        assert had and accepted.counts["group_delete"] == 1
        said = corp.record(accepted).message or ""
        assert said.lower() == f"accepted by ann: 1 group moved below no base: billing is {moved} now".lower()
        assert said in accepted.notes and stands(corp).groups_outside == ()
        assert not any("billing-clerk" in {each["value"] for each in corp.user(uid)["roles"]} for uid in had)
    finally:
        server.modify(move(moved, "cn=billing", forms.groups))


@each_of(SERVERS)
def test_a_group_below_no_base_that_is_a_member_of_one_that_is_read_is_told(server: Directory, corp: Corp) -> None:
    forms = server.forms
    stray = f"cn=stray,{forms.elsewhere}"
    server.modify(forms.group("stray", forms.of(ANNA)) + move(forms.group_dn("stray"), "cn=stray", forms.elsewhere))
    server.modify(forms.member("billing", "add", stray))
    try:
        (note,) = [each for each in corp.run().notes if "below no base" in each]
        assert (
            note.lower()
            == (
                "1 group below no base is a member of groups that are read, so nobody in them counts: "
                f"{stray} (in billing). add {forms.elsewhere} to `groups.base`, or to `groups.left_out`"
            ).lower()
        )
        assert note in warned(corp)
        (outside,) = stands(corp).groups_outside or ()
        assert outside.lower() == f"{stray} (in billing)".lower()
        corp.source["groups"] = {**corp.source.get("groups", {"base": forms.groups}), "left_out": forms.elsewhere}
        assert not [each for each in corp.run().notes if "no base" in each]
        assert note not in warned(corp) and stands(corp).groups_outside == ()
        del corp.source["groups"]["left_out"]
        assert "billing-clerk" not in {each["value"] for each in corp.user(ANNA.uid)["roles"]}
    finally:
        server.modify(forms.member("billing", "delete", stray) + delete(stray))
    corp.run()
    assert stands(corp).groups_outside == ()


def warned(corp: Corp) -> list[str]:
    return [each.text for each in check(corp.composed()) if each.level == "warning"]


def stands(corp: Corp) -> standing_of.SourceSeen:
    with corp.database.reading() as conn:
        (workspace,) = standing_of.read(conn, [corp.composed().workspace("default")], corp.now).workspaces
    (source,) = workspace.sources
    return source


@each_of(SERVERS)
@pytest.mark.parametrize("stage", ["missing", "suspended", "deactivated"])
def test_whoever_comes_back_has_what_she_had(server: Directory, corp: Corp, stage: str) -> None:
    before, unit = corp.standing(), server.forms.unit(JANE.department)
    server.modify(server.forms.moved(JANE.uid, unit, server.forms.elsewhere))
    for _ in range(("missing", "suspended", "deactivated").index(stage) + 1):
        corp.run()
        corp.later(1)
    assert corp.links()[JANE.uid].stage == stage
    server.modify(server.forms.moved(JANE.uid, server.forms.elsewhere, unit))
    corp.run()
    assert {name: rows for name, rows in corp.lost(before).items() if name != "users"} == {}
    assert corp.user(JANE.uid)["status"] == "active"


@each_of(SERVERS)
def test_one_person_is_brought_in_step_and_nobody_else(server: Directory, corp: Corp) -> None:
    forms = server.forms
    both = [forms.of(JANE), forms.of(ANNA)]
    server.modify("".join(modify(each, ("replace", "title", "Chair")) for each in both))
    try:
        report = corp.run(only=f'userName eq "{JANE.uid}"')
        assert (report.kind, report.status) == ("only", "applied")
        assert [(step.name, step.ok) for step in report.looked[0].steps] == [
            *(("found", True), ("in scope", True), ("matched", True), ("planned", True), ("applied", True)),
        ]
        assert corp.user(JANE.uid)["values"]["title"] == "Chair"
        assert corp.user(ANNA.uid)["values"].get("title") != "Chair"
    finally:
        titles = zip(both, (JANE.title, ANNA.title), strict=True)
        server.modify("".join(modify(dn, ("replace", "title", title)) for dn, title in titles))
