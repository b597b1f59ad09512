"""Reads that are short, blind or wrong take nothing from anybody, say why, and the next good one heals.

Each starts from the same state: somebody has been missing for so long that the next complete read would suspend her,
somebody else is freshly gone, a member was taken out of a group, and a joiner waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from servers import corp as companies
from servers.corp import GROUPS_BASE, PEOPLE_BASE, USERS, Corp, changes
from servers.faulty import DONE, Message, Spoil, proxy
from servers.ldif_changes import delete, modify, person, unit_of
from servers.slapd import ACCESS_READ_ALL, BASE, READER, Slapd, free_port
from syncd import sample
from syncd.errors import SourceUnreachable

PERSON = {one.uid: one for one in companies.COMPANY.people}
GROUP = {one.name: one for one in companies.COMPANY.groups}
ALMOST, FRESH, TAKEN_OUT = PERSON["anna.xu"], PERSON["zoe.xu"], PERSON["rosa.castillo"]
READ_THE_REST = f'access to attrs=userPassword by anonymous auth\naccess to * by dn.exact="{READER}" read by * none'


def broken(corp: Corp, directory: Slapd) -> dict[str, frozenset[object]]:
    directory.modify(delete(ALMOST.dn))
    corp.later(2)
    assert corp.run().status == "clean" and corp.links()[ALMOST.uid].stage == "missing"
    corp.later(1)
    directory.modify(
        delete(FRESH.dn)
        + modify(GROUP["crm-users"].dn, ("delete", "uniqueMember", TAKEN_OUT.dn))
        + person("a.joiner", unit_of(PERSON["jane.garcia"]))
    )
    return corp.standing()


def heals(corp: Corp) -> None:
    """The next good run does what the bad one could not."""
    good = corp.run()
    assert good.complete and good.exit_code == 0
    assert corp.user(ALMOST.uid)["status"] == "suspended" and corp.links()[FRESH.uid].stage == "missing"
    assert "crm-user" not in {each["value"] for each in corp.user(TAKEN_OUT.uid)["roles"]}
    assert corp.user("a.joiner")["status"] == "active"
    assert corp.plan().status == "clean"


def after(entries: int, answer: Callable[[Message], bytes | None]) -> Spoil:
    return lambda message: answer(message) if message.entries_before >= entries else message.raw


@dataclass(frozen=True)
class Trouble:
    """What goes wrong between syncd and the directory, and what the run has to say of it."""

    name: str
    because: str
    spoil: Spoil | None = None
    source: dict[str, object] | None = None
    server: dict[str, str] | None = None  # the directory's own settings; `ldif`: another slapd answers

    @contextmanager
    def happens(self, corp: Corp, directory: Slapd, new_slapd: Callable[..., Slapd]) -> Iterator[None]:
        usual_url, usual_source = corp.url, dict(corp.source)
        corp.source |= self.source or {}
        if self.server is not None and "ldif" in self.server:
            corp.url = new_slapd(**self.server).url
        elif self.server is not None:
            configured(directory, **self.server)
        try:
            if self.spoil is None:
                yield
                return
            with proxy(directory.port, self.spoil) as in_between:
                corp.url = in_between.url
                yield
        finally:
            corp.url, corp.source = usual_url, usual_source
            configured(directory, access=ACCESS_READ_ALL, limits="")


def configured(directory: Slapd, **settings: str) -> None:
    for name, value in settings.items():
        setattr(directory, name, value)
    directory.restart()


def at_done(code: int) -> Callable[[Message], bytes]:
    return lambda message: message.done(code) if message.tag == DONE else message.raw


HIDDEN = f"ou=Security,{PEOPLE_BASE}"
TROUBLES = [
    Trouble(
        "size limit",
        "users: sizeLimitExceeded (4) after",
        server={"limits": f'limits dn.exact="{READER}" size.pr=25 size.prtotal=25'},
    ),
    Trouble("time limit", "users: timeLimitExceeded (3)", spoil=after(20, at_done(3))),
    Trouble("server busy with the groups", "groups: busy (51) after", spoil=after(USERS + 5, at_done(51))),
    Trouble("connection cut in the users", "broke: session terminated", spoil=after(45, lambda _: None)),
    Trouble("connection cut in the groups", "groups: the connection to", spoil=after(USERS + 5, lambda _: None)),
    Trouble(
        "half the tree hidden from a canary",
        f"canary {HIDDEN} is not visible",
        source={"canaries": [HIDDEN]},
        server={"access": f'access to dn.subtree="{HIDDEN}" by * none\n{READ_THE_REST}'},
    ),
    Trouble(
        "a base that is not there",
        f"users: the base ou=peple,{BASE} does not exist",
        source={"users": {"base": [PEOPLE_BASE, f"ou=peple,{BASE}"]}},
    ),
    Trouble(
        "an empty replica",
        "users: no entry matches",
        server={"ldif": "".join(sample.sample_company(0, 0, seed=7))},
    ),
    Trouble(
        "the groups hidden",
        f"groups: the base {GROUPS_BASE} does not exist or is hidden",
        server={"access": f'access to dn.subtree="{GROUPS_BASE}" by * none\n{READ_THE_REST}'},
    ),
    Trouble(
        "nothing readable",
        f"users: the base {PEOPLE_BASE} does not exist or is hidden",
        server={"access": "access to attrs=userPassword by anonymous auth\naccess to * by * none"},
    ),
]


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda one: one.name)
def test_an_incomplete_read_takes_nothing_by_absence(
    sqlite_corp: Corp, directory: Slapd, new_slapd: Callable[..., Slapd], trouble: Trouble
) -> None:
    corp = sqlite_corp
    before = broken(corp, directory)
    with trouble.happens(corp, directory, new_slapd):
        planned = corp.plan()
        assert (planned.exit_code, planned.status, planned.complete) == (5, "incomplete", False)
        report = corp.run()
    assert corp.lost(before) == {}
    assert (report.exit_code, report.status, report.complete) == (5, "incomplete", False)
    assert trouble.because in "; ".join(report.incomplete_because)
    record = corp.record(report)
    assert (record.status, record.complete, record.incomplete_because) == (
        "incomplete",
        False,
        report.incomplete_because,
    )
    assert corp.links()[ALMOST.uid].missing_reads == 1 and corp.links()[FRESH.uid].stage is None
    heals(corp)


@pytest.mark.parametrize("entries", [30, USERS + 10])
def test_a_cut_connection_on_both_engines(
    corp: Corp, directory: Slapd, new_slapd: Callable[..., Slapd], entries: int
) -> None:
    before = broken(corp, directory)
    with Trouble("cut", "", spoil=after(entries, lambda _: None)).happens(corp, directory, new_slapd):
        assert corp.run().exit_code == 5
    assert corp.lost(before) == {}
    heals(corp)


def test_what_an_incomplete_read_states_is_done(
    sqlite_corp: Corp, directory: Slapd, new_slapd: Callable[..., Slapd]
) -> None:
    """Disabled by statement, a new title, a new member: these were read, and go on."""
    directory.modify(
        modify(PERSON["noah.garcia"].dn, ("add", "shadowExpire", "1"), ("replace", "title", "Lead"))
        + modify(GROUP["billing"].dn, ("add", "member", PERSON["jane.garcia"].dn))
    )
    late = Trouble("cut", "", spoil=after(USERS + 23, lambda _: None))
    with late.happens(sqlite_corp, directory, new_slapd):
        report = sqlite_corp.run()
    assert report.exit_code == 5
    done = changes(report)
    assert ("deactivate", "noah.garcia") in done and ("update", "noah.garcia") in done
    assert ("join", "jane.garcia") in done and not {"leave", "suspend", "revoke"} & {kind for kind, _ in done}


def test_no_connection_is_a_failed_run(sqlite_corp: Corp, directory: Slapd) -> None:
    before = broken(sqlite_corp, directory)
    usual, sqlite_corp.url = sqlite_corp.url, f"ldap://127.0.0.1:{free_port()}"
    with pytest.raises(SourceUnreachable, match="connection refused") as refused:
        sqlite_corp.run()
    assert refused.value.exit_code == 75 and sqlite_corp.lost(before) == {}
    record = sqlite_corp.last_record()
    assert record.status == "failed" and "connection refused" in str(record.message)
    sqlite_corp.url = usual
    heals(sqlite_corp)


# ---- complete, and blind all the same


HALF = [f"ou={sample.escape_value(unit)},{PEOPLE_BASE}" for unit in ("Security", "Marketing", "Support", "Facilities")]
HIDE_HALF = "".join(f'access to dn.subtree="{unit}" by * none\n' for unit in HALF) + READ_THE_REST


def test_half_the_tree_hidden_with_success_is_held_by_the_thresholds(
    corp: Corp, new_slapd: Callable[..., Slapd]
) -> None:
    hidden = {one.uid for one in companies.COMPANY.people if one.dn.endswith(tuple(HALF))}
    corp.later(2)
    before, usual = corp.standing(), corp.url
    corp.url = new_slapd(ldif=companies.LDIF, access=HIDE_HALF, max_bytes=4 << 20).url
    first = corp.run()
    assert first.complete and corp.lost(before) == {}
    assert f"{len(hidden)} users were not found in corp" in " ".join(first.notes)
    for _ in range(3):
        corp.later(1)
        held = corp.run()
        assert (held.exit_code, held.status, corp.lost(before)) == (4, "held", {})
        assert [(each.guard, each.kind, each.changes) for each in held.held] == [("limit", "suspend", len(hidden))]
    assert held.held[0].why.startswith(f"source corp: {len(hidden)} of 56")
    assert corp.record(held).held[0]["why"] == held.held[0].why
    corp.url = usual
    good = corp.run()
    assert (good.exit_code, good.status, corp.standing()) == (0, "clean", before)
    assert corp.held() == []


def test_half_the_tree_hidden_is_held_at_once_where_there_is_no_patience(
    sqlite_corp: Corp, new_slapd: Callable[..., Slapd]
) -> None:
    sqlite_corp.later(2)
    sqlite_corp.source["missing"] = {"suspend_after": "0s"}
    before = sqlite_corp.standing()
    sqlite_corp.url = new_slapd(ldif=companies.LDIF, access=HIDE_HALF, max_bytes=4 << 20).url
    held = sqlite_corp.run()
    assert (held.exit_code, sqlite_corp.lost(before)) == (4, {})


def test_every_group_hidden_with_success_is_held(sqlite_corp: Corp, new_slapd: Callable[..., Slapd]) -> None:
    """The base is there and nothing below it: the groups are missing, and their members do not leave them."""
    corp = sqlite_corp
    corp.later(2)
    before, usual = corp.standing(), corp.url
    corp.url = new_slapd(
        ldif=companies.LDIF, access=f'access to dn.children="{GROUPS_BASE}" by * none\n{READ_THE_REST}'
    ).url
    first = corp.run()
    assert first.complete and corp.lost(before) == {}
    for _ in range(3):
        corp.later(1)
        held = corp.run()
        assert (held.exit_code, corp.lost(before)) == (4, {}), held.held
    assert {each.kind for each in held.held} >= {"membership"}
    corp.url = usual
    good = corp.run()
    assert (good.exit_code, good.status, corp.standing()) == (0, "clean", before)
    assert corp.held() == []
