"""Whole reconciles over a connection that fails in every way we know, at every place: nobody loses anything, the exit code
is the designed one, and the next good run brings exactly what an undisturbed one would have brought.

One directory of 6 users and 2 groups, read in pages of 2. What waits to be taken away by a whole read: somebody missing
for so long that she is to be suspended, somebody freshly gone, a member taken out of a group. A joiner waits, too.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import select

from servers.corp import GROUPS_BASE, PEOPLE_BASE, Corp
from servers.faulty import (
    BOUND,
    DONE,
    ENTRY,
    Cut,
    Message,
    Proxy,
    Spoil,
    balancer,
    last_page,
    notice_of_disconnection,
    proxy,
)
from servers.ldif_changes import delete, modify, person
from servers.slapd import BASE, Slapd, program
from syncd.errors import BindRefused, SourceUnreachable, SyncdError
from syncd.ldap import failover
from syncd.ldap.source import LdapSource
from syncd.store import invariants
from syncd.store import tables as t

USERS, GROUPS, PAGE = 6, 2, 2
BEFORE_USERS = 2  # searches, each of one entry: the server about itself, and the top of its tree
PAGES = USERS // PAGE  # the last page of users is full and has an empty cookie
READ = BEFORE_USERS + PAGES + GROUPS // PAGE  # searches until the last page of a whole read
OWN_ENTRY = 1  # search after it, of one entry: whether the account that reads still sees itself
ALMOST, FRESH, TAKEN_OUT, JOINER = "p6", "p7", "p2", "p8"
SMALL = {"page_size": PAGE, "retries": 1, "receive_timeout": "20s", "deadline": "40s"}


def _dn(uid: str) -> str:
    return f"uid={uid},{PEOPLE_BASE}"


def _key(number: int) -> str:
    return f"entryUUID: 00000000-0000-4000-8000-0000000001{number:02d}\n"


def _ldif() -> str:
    units = [
        f"dn: {BASE}\nobjectClass: domain\ndc: example\n{_key(0)}",
        *(
            f"dn: {base}\nobjectClass: organizationalUnit\nou: {base[3:].partition(',')[0]}\n{_key(number)}"
            for number, base in ((1, PEOPLE_BASE), (2, GROUPS_BASE))
        ),
    ]
    people = [
        f"dn: {_dn(f'p{n}')}\nobjectClass: inetOrgPerson\nuid: p{n}\ncn: P {n}\nsn: {n}\ngivenName: P\n"
        f"mail: p{n}@example.org\nemployeeType: Employee\n{_key(10 + n)}"
        for n in range(1, 8)
    ]
    groups = [
        f"dn: cn={name},{GROUPS_BASE}\nobjectClass: groupOfNames\ncn: {name}\n{_key(30 + number)}"
        + "".join(f"member: {_dn(f'p{n}')}\n" for n in members)
        for number, (name, members) in enumerate({"all-staff": range(1, 8), "crm-users": range(1, 5)}.items())
    ]
    return "\n".join([*units, *people, *groups])


@dataclass
class Stage:
    """The directory as it now is, and the store as it was left: a file that every case copies."""

    directory: Slapd
    other: Slapd  # another server of the same data
    prepared: Path
    settings: dict[str, object]
    undisturbed: dict[str, set[Any]] = field(default_factory=dict)
    taken: dict[str, frozenset[Any]] = field(default_factory=dict)  # what an undisturbed run takes away

    def corp(self, folder: Path) -> Corp:
        shutil.copy(self.prepared, folder / "syncd.db")
        corp = Corp(folder, f"sqlite:///{folder / 'syncd.db'}", self.directory.url, dict(self.settings))
        corp.later(3)
        return corp


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, slapd_templates: Path) -> Iterator[Stage]:
    program("slapd")
    folder = tmp_path_factory.mktemp("faults")
    servers = []
    for name in ("one", "other"):
        (folder / name).mkdir()
        servers.append(Slapd(folder / name, _ldif(), slapd_templates, max_bytes=1 << 20).start())
    directory, other = servers
    corp = Corp(folder, f"sqlite:///{folder / 'syncd.db'}", directory.url, dict(SMALL))
    try:
        assert corp.run().status == "applied"
        directory.modify(delete(_dn(ALMOST)))
        corp.later(2)
        assert corp.run().exit_code == 0 and corp.links()[ALMOST].stage == "missing"
        directory.modify(
            delete(_dn(FRESH))
            + modify(f"cn=crm-users,{GROUPS_BASE}", ("delete", "member", _dn(TAKEN_OUT)))
            + person(JOINER, PEOPLE_BASE, "00000000-0000-4000-8000-000000000199")
        )
        corp.close()
        made = Stage(directory, other, folder / "syncd.db", dict(SMALL))
        (folder / "undisturbed").mkdir()
        undisturbed = made.corp(folder / "undisturbed")
        before = undisturbed.standing()
        report = undisturbed.run()
        assert (report.exit_code, report.complete) == (0, True)
        assert undisturbed.user(ALMOST)["status"] == "suspended"
        made.undisturbed, made.taken = standing_by_name(undisturbed), undisturbed.lost(before)
        sound(undisturbed)
        assert made.taken.keys() >= {"users", "grants", "memberships", "seats"}
        undisturbed.close()
        yield made
    finally:
        for server in servers:
            server.stop()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failover, "FIRST_PAUSE_S", 0.01)


def standing_by_name(corp: Corp) -> dict[str, set[Any]]:
    """What `standing` shows and every link's rung, with names for ids: those who came in different runs have others."""
    with corp.database.reading() as conn:
        names = {row.id: row.user_name for row in conn.execute(select(t.users.c.id, t.users.c.user_name))}
        names |= {row.id: row.display_name for row in conn.execute(select(t.groups.c.id, t.groups.c.display_name))}
        rungs = conn.execute(select(t.links.c.resource_id, t.links.c.stage, t.links.c.missing_reads, t.links.c.dn))
        found = {"rungs": {(names[row.resource_id], row.stage, row.missing_reads, row.dn) for row in rungs}}

    def named(value: Any) -> Any:
        if isinstance(value, bytes):
            for id, name in names.items():
                value = value.replace(id.encode(), name.encode())
            return orjson.dumps(orjson.loads(value), option=orjson.OPT_SORT_KEYS)  # a document's keys have no order
        return names.get(value, value) if isinstance(value, str) else value

    return found | {
        what: {tuple(named(value) for value in row) for row in rows} for what, rows in corp.standing().items()
    }


@pytest.fixture
def corp(stage: Stage, tmp_path: Path) -> Iterator[Corp]:
    made = stage.corp(tmp_path)
    yield made
    made.close()


def incomplete(corp: Corp) -> str:
    """A run that takes nothing away, and why its read was not whole."""
    before = corp.standing()
    report = corp.run()
    assert (report.exit_code, report.status, report.complete) == (5, "incomplete", False)
    assert corp.lost(before) == {}
    sound(corp)
    return "; ".join(report.incomplete_because)


def failed(corp: Corp) -> SyncdError:
    """A run that read nothing at all."""
    before = corp.standing()
    with pytest.raises(SyncdError) as caught:
        corp.run()
    assert corp.standing() == before
    sound(corp)
    return caught.value


def sound(corp: Corp) -> None:
    with corp.database.reading() as conn:
        assert invariants.check(conn, corp.composed().workspace("default"), corp.now) == []


def heals(corp: Corp, stage: Stage) -> None:
    corp.url, corp.source = stage.directory.url, dict(stage.settings)
    good = corp.run()
    assert (good.exit_code, good.complete) == (0, True)
    assert standing_by_name(corp) == stage.undisturbed  # which is sound


def from_entry(number: int, spoil: Spoil) -> Spoil:
    """Spoils what comes after this many entries of people and groups."""
    return lambda message: spoil(message) if message.entries_before >= BEFORE_USERS + number else message.raw


def from_search(number: int, spoil: Spoil) -> Spoil:
    """Spoils what comes after this many searches, and all before the next."""
    return lambda message: spoil(message) if message.searches_before >= number else message.raw


def close(_: Message) -> None:
    return None


def silence(_: Message) -> bytes:
    return b""


def code(number: int) -> Spoil:
    return lambda message: message.done(number) if message.tag == DONE else message.raw


def test_a_whole_read_is_of_so_many_answers(stage: Stage, corp: Corp) -> None:
    """What the places of all the cuts below rest on."""
    seen: list[int] = []

    def note(message: Message) -> bytes:
        seen.append(message.tag)
        return message.raw

    with proxy(stage.directory.port, note) as between:
        corp.url = between.url
        assert corp.run().complete
    assert (seen.count(ENTRY), seen.count(DONE)) == (BEFORE_USERS + USERS + GROUPS + OWN_ENTRY, READ + OWN_ENTRY)
    assert standing_by_name(corp) == stage.undisturbed


# ---- cut


@pytest.mark.parametrize("entries", range(USERS + GROUPS + 1))
def test_cut_after_every_entry(stage: Stage, corp: Corp, entries: int) -> None:
    with proxy(stage.directory.port, from_entry(entries, close)) as between:
        corp.url = between.url
        assert "broke: session terminated by server" in incomplete(corp)
    assert between.connections == (2 if entries == 0 else 1)  # before the first entry the read may begin again
    heals(corp, stage)


@pytest.mark.parametrize("pages", range(1, READ - BEFORE_USERS))
def test_cut_after_every_page_and_never_taken_up_elsewhere(stage: Stage, corp: Corp, pages: int) -> None:
    with (
        proxy(stage.directory.port, from_search(BEFORE_USERS + pages, close)) as between,
        proxy(stage.other.port) as other,
    ):
        corp.url = [between.url, other.url]
        reason = incomplete(corp)
    part, entries = ("users", pages * PAGE) if pages < PAGES else ("groups", 0)
    assert reason.startswith(f"{part}: the connection to {between.url} broke")
    assert reason.endswith(f"after {entries} entries")
    assert (between.connections, other.connections) == (1, 0)
    heals(corp, stage)


def test_cut_before_the_account_has_seen_itself(stage: Stage, corp: Corp) -> None:
    with proxy(stage.directory.port, from_search(READ, close)) as between:
        corp.url = between.url
        assert "broke: session terminated by server" in incomplete(corp)
    heals(corp, stage)


def test_cut_after_the_last_answer_no_longer_matters(stage: Stage, corp: Corp) -> None:
    with proxy(stage.directory.port, from_search(READ + OWN_ENTRY, close)) as between:
        corp.url = between.url
        assert corp.run().complete
    assert standing_by_name(corp) == stage.undisturbed


@pytest.mark.parametrize("entries", [1, USERS + 1])
@pytest.mark.parametrize("share", [0.1, 0.9])
def test_cut_in_the_middle_of_a_message(stage: Stage, corp: Corp, entries: int, share: float) -> None:
    def half(message: Message) -> bytes:
        return Cut(message.raw[: int(len(message.raw) * share)])

    with proxy(stage.directory.port, from_entry(entries, half)) as between:
        corp.url = between.url
        assert "broke: session terminated by server" in incomplete(corp)
    heals(corp, stage)


@pytest.mark.parametrize("spoil", [close, lambda message: Cut(message.raw[:5])], ids=["before", "in"])
def test_cut_at_the_answer_to_the_bind(stage: Stage, corp: Corp, spoil: Spoil) -> None:
    with proxy(stage.directory.port, spoil) as between:
        corp.url = between.url
        error = failed(corp)
    assert isinstance(error, SourceUnreachable) and error.exit_code == 75
    assert "no answer to the bind" in str(error) and between.connections == 2
    heals(corp, stage)


def test_no_server_at_all(stage: Stage, corp: Corp) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        corp.url = f"ldap://127.0.0.1:{listener.getsockname()[1]}"
    assert failed(corp).exit_code == 75
    heals(corp, stage)


# ---- slow


@pytest.mark.parametrize("entries", [1, USERS + 1])
def test_a_server_that_hangs(stage: Stage, corp: Corp, entries: int) -> None:
    with proxy(stage.directory.port, from_entry(entries, silence)) as between:
        corp.url = between.url
        corp.source["receive_timeout"] = "1s"
        assert "timed out" in incomplete(corp)
    heals(corp, stage)


def test_one_byte_at_a_time_ends_at_the_deadline(stage: Stage, corp: Corp) -> None:
    with proxy(stage.directory.port, drip_after=BEFORE_USERS + 1) as between:
        corp.url = between.url
        corp.source |= {"receive_timeout": "1s", "deadline": "2s"}
        assert "took longer than its deadline of 2 s" in incomplete(corp)
    heals(corp, stage)


def test_a_process_that_is_told_to_end_does_not_wait_for_the_server(stage: Stage, corp: Corp) -> None:
    sources: list[LdapSource] = []

    def end(_: Message) -> bytes:
        sources[0].stop()
        return b""

    with proxy(stage.directory.port, from_entry(3, end)) as between:
        corp.url = between.url
        source = corp.composed().directory("default", "corp").source
        assert isinstance(source, LdapSource)
        sources.append(source)
        assert incomplete(corp) == "users: syncd was told to end after 2 entries"
    heals(corp, stage)


# ---- what the server answers


@pytest.mark.parametrize("entries", [3, USERS + 1], ids=["users", "groups"])
@pytest.mark.parametrize("number", [3, 4, 10, 11, 51, 52, 53, 80])
def test_a_result_code_after_some_entries(stage: Stage, corp: Corp, number: int, entries: int) -> None:
    with proxy(stage.directory.port, from_entry(entries, code(number))) as between, proxy(stage.other.port) as other:
        corp.url = [between.url, other.url]
        reason = incomplete(corp)
    assert f"({number})" in reason and reason.startswith("users" if entries < USERS else "groups")
    assert (between.connections, other.connections) == (1, 0)
    heals(corp, stage)


@pytest.mark.parametrize("number", [11, 51, 80])
@pytest.mark.parametrize("search", [0, 1, 2], ids=["the root DSE", "the top of the tree", "the first page"])
def test_a_result_code_before_the_first_entry(stage: Stage, corp: Corp, number: int, search: int) -> None:
    """Busy: tried again, here in vain. A server that only will not say who it is can be read, but if it just could not,
    every loss would be held for it as if another one had answered."""

    def spoil(message: Message) -> bytes:
        if message.tag == BOUND:
            return message.raw
        return b"" if message.tag == ENTRY else message.done(number)

    with proxy(stage.directory.port, from_search(search, spoil)) as between:
        corp.url = between.url
        assert f"({number})" in incomplete(corp)
    assert between.connections == (2 if number == 51 else 1)
    heals(corp, stage)


@pytest.mark.parametrize("page", range(1, PAGES))
def test_a_cookie_that_is_left_out_early(stage: Stage, corp: Corp, page: int) -> None:
    with proxy(stage.directory.port, from_entry(page * PAGE, code(0))) as between:
        corp.url = between.url
        assert "left out the paging control" in incomplete(corp)
    heals(corp, stage)


@pytest.mark.parametrize("page", range(1, PAGES))
def test_a_last_page_that_comes_early(stage: Stage, corp: Corp, page: int) -> None:
    """Nothing in the protocol shows such a lie. Whom it hides is missing for the first time, and loses nothing yet."""

    def lie(message: Message) -> bytes:
        ends = message.tag == DONE and message.searches_before == BEFORE_USERS + page - 1
        return message.done(0, last_page()) if ends else message.raw

    with proxy(stage.directory.port, lie) as between:
        corp.url = between.url
        before = corp.standing()
        assert corp.run().complete
    gone = corp.lost(before)
    assert {name: rows - stage.taken.get(name, frozenset()) for name, rows in gone.items()} == dict.fromkeys(
        gone, frozenset()
    )
    sound(corp)


def test_success_without_an_entry(stage: Stage, corp: Corp) -> None:
    def spoil(message: Message) -> bytes:
        return message.done(0, last_page()) if message.tag == DONE else b""

    with proxy(stage.directory.port, from_search(BEFORE_USERS, spoil)) as between:
        corp.url = between.url
        assert "users: no entry matches" in incomplete(corp)
    heals(corp, stage)


def test_groups_that_are_all_hidden_keep_their_members(stage: Stage, corp: Corp) -> None:
    def spoil(message: Message) -> bytes:
        if not BEFORE_USERS + PAGES <= message.searches_before < READ:
            return message.raw
        return message.done(0, last_page()) if message.tag == DONE else b""

    with proxy(stage.directory.port, spoil) as between:
        corp.url = between.url
        before = corp.standing()
        assert corp.run().complete
    assert "memberships" not in corp.lost(before) and "groups" not in corp.lost(before)
    sound(corp)


@pytest.mark.parametrize("entries", [1, USERS + 1])
def test_a_notice_of_disconnection(stage: Stage, corp: Corp, entries: int) -> None:
    notice = Cut(notice_of_disconnection(52, "shutting down"))
    with proxy(stage.directory.port, from_entry(entries, lambda _: notice)) as between:
        corp.url = between.url
        assert "gave notice that it disconnects: unavailable (52) shutting down" in incomplete(corp)
    heals(corp, stage)


@pytest.mark.parametrize("number", [1, 11, 51, 80])
def test_a_bind_that_fails_without_a_verdict(stage: Stage, corp: Corp, number: int) -> None:
    """The server is unwell, and has not said that the password is wrong: another one may be asked."""

    def spoil(message: Message) -> bytes:
        return message.refused_bind(number)

    with proxy(stage.directory.port, spoil) as between:
        corp.url = between.url
        error = failed(corp)
        assert error.exit_code == 75 and f"({number})" in str(error)
        corp.url = [between.url, stage.directory.url]
        assert corp.run().complete
    assert standing_by_name(corp) == stage.undisturbed


@pytest.mark.parametrize("number", [49, 53])
def test_a_refused_bind_is_tried_nowhere_else(stage: Stage, corp: Corp, number: int) -> None:
    with (
        proxy(stage.directory.port, lambda message: message.refused_bind(number)) as between,
        proxy(stage.other.port) as other,
    ):
        corp.url = [between.url, other.url]
        error = failed(corp)
    assert isinstance(error, BindRefused) and error.exit_code == 1
    assert (between.connections, other.connections) == (1, 0)
    heals(corp, stage)


# ---- what is no answer


def _shorter(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes([raw[at] - 1]) + raw[at + 1 :]


def _outer(message: Message) -> bytes:
    return _shorter(message.raw, 3 if message.raw[1] & 0x80 else 1)


def _name(message: Message) -> bytes:
    return _shorter(message.raw, message.start + 1)


def _value(message: Message) -> bytes:
    """The last value says that it is longer than what holds it: stock ldap3 takes what there is, without a word."""
    at = message.raw.rindex(b"\x04", 0, len(message.raw) - 1)
    return message.raw[: at + 1] + bytes([message.raw[at + 1] + 1]) + message.raw[at + 2 :]


def _cookie(message: Message) -> bytes:
    """A cookie of no bytes, followed by those it had: not the end of the list."""
    if message.tag != DONE:
        return message.raw
    at = message.raw.rindex(b"\x04\x08")
    return message.raw[: at + 1] + b"\x00" + message.raw[at + 2 :]


NOT_RIGHT: dict[str, Spoil] = {
    "outer length": _outer,
    "length of a name": _name,
    "length of a value": _value,
    "length of the cookie": _cookie,
    "HTTP": lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "two gigabytes": lambda _: b"\x30\x84\x7f\xff\xff\xff",
    "no length": lambda _: b"\x30\x80\x00\x00",
    "another request": lambda message: message.raw.replace(message.id, b"\x02\x01\x63", 1),
}


@pytest.mark.parametrize("spoil", NOT_RIGHT.values(), ids=NOT_RIGHT.keys())
def test_bytes_that_are_not_right(stage: Stage, corp: Corp, spoil: Spoil) -> None:
    with proxy(stage.directory.port, from_entry(3, spoil)) as between:
        corp.url = between.url
        reason = incomplete(corp)
    assert reason.startswith("users: ") and ("not LDAP" in reason or "broke" in reason)
    assert between.connections == 1
    heals(corp, stage)


def test_something_else_listens_there(stage: Stage, corp: Corp) -> None:
    with proxy(stage.directory.port, lambda _: b"220 mail.example.org ESMTP\r\n") as between:
        corp.url = between.url
        error = failed(corp)
    assert error.exit_code == 75 and "not LDAP" in str(error) and between.connections == 1
    heals(corp, stage)


# ---- another server


@pytest.mark.parametrize("page", [2, 3])
def test_a_balancer_that_asks_another_server_for_the_next_page(stage: Stage, corp: Corp, page: int) -> None:
    with balancer(stage.directory.port, stage.other.port, from_search=BEFORE_USERS + page) as between:
        corp.url = between.url
        reason = incomplete(corp)
    assert reason.startswith("users: ") and "cookie" in reason
    assert between.connections == 1
    heals(corp, stage)


@contextmanager
def _busy_once(stage: Stage) -> Iterator[Proxy]:
    def spoil(message: Message) -> bytes:
        return message.refused_bind(51) if message.tag == BOUND and message.connection == 1 else message.raw

    with proxy(stage.directory.port, spoil) as between:
        yield between


@contextmanager
def _cut_once(stage: Stage) -> Iterator[Proxy]:
    def spoil(message: Message) -> bytes | None:
        return None if message.searches_before == BEFORE_USERS and message.connection == 1 else message.raw

    with proxy(stage.directory.port, spoil) as between:
        yield between


@pytest.mark.parametrize("trouble", [_busy_once, _cut_once])
def test_trouble_before_the_first_entry_passes(
    stage: Stage, corp: Corp, trouble: Callable[[Stage], AbstractContextManager[Proxy]]
) -> None:
    with trouble(stage) as between:
        corp.url = between.url
        assert corp.run().complete
    assert between.connections == 2
    assert standing_by_name(corp) == stage.undisturbed


def test_the_other_server_of_the_same_data_is_no_changed_server(stage: Stage, corp: Corp) -> None:
    """Its identity is that of the data (rule 4), so going there and back holds nothing."""
    corp.url = ["ldap://127.0.0.1:1", stage.directory.url]
    report = corp.run()
    assert (report.exit_code, report.complete, report.held) == (0, True, ())
    assert standing_by_name(corp) == stage.undisturbed
    corp.later(1 / 24)
    corp.url = [stage.other.url, stage.directory.url]
    assert not any("another server answers" in each.why for each in corp.run().held)
    sound(corp)
