"""A group of which only the delta is written anew is the group written anew: pure, and over SCIM with two processes."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncd.core.change import UserEdit
from syncd.scim import groups, remembered
from syncd.scim.splice import MOST, Delta, Sent, delta, delta_among, spliced
from web_service import Service

IDS = [f"{n:x}" for n in (*range(1, 40), 0x100, 0x101, 0x1000)]
id_sets = st.frozensets(st.sampled_from(IDS), max_size=20)


def member(id: str, kind: str = "User") -> bytes:
    said = {"value": id, "$ref": f"/{id}", "type": kind, "display": f'}},{{"value":"{id}","$ref"'}
    return orjson.dumps(said)


def sent(users: Sequence[str], hidden: frozenset[str], nested: bytes, head: bytes, tail: bytes) -> Sent:
    here = b",".join(member(id) for id in users if id not in hidden)
    members = b",".join(filter(None, (here, nested)))
    front = head + b',"members":['
    if not members:
        return Sent(head + tail, 0, 0, 0, ids(users))
    start = len(front)
    return Sent(front + members + b"]" + tail, start, start + len(here), start + len(members), ids(users))


def ids(users: Sequence[str], twice: frozenset[str] = frozenset()) -> bytes:
    return b"".join((b"," + id.encode()) * (1 + (id in twice)) for id in users)


@given(
    id_sets,
    st.lists(st.tuples(id_sets, id_sets), min_size=1, max_size=4),
    id_sets,
    id_sets,
    st.booleans(),
)
def test_step_by_step_it_stays_what_it_would_be_anew(
    first: frozenset[str],
    then: list[tuple[frozenset[str], frozenset[str]]],
    hidden: frozenset[str],
    others: frozenset[str],
    inside: bool,
) -> None:
    """`then`: who is in it, and whom two sources state."""
    nested = member("a group", "Group") if inside else b""
    now = sent(sorted(first), hidden, nested, b'{"v":0', b',"m":0}')
    for step, (each, twice) in enumerate(then):
        users, around = sorted(each), (b'{"v":%d' % step, b',"m":%d}' % step)
        anew = sent(users, hidden, nested, *around)
        assert now.ids is not None
        stated = ids(users, twice)
        change = delta(now.ids, stated)
        assert change is not None
        before = {id.decode() for id in now.ids.split(b",") if id}
        assert (change.left, change.joined) == (before - each, each - before)
        touched = (before ^ each) | others  # some of whom stay, or stay outside
        among, known = delta_among(now.ids, touched, touched & each)
        assert among == change and list(dict.fromkeys(known.decode().split(",")[1:])) == users
        written = {id: member(id) for id in change.joined if id not in hidden}
        found = spliced(now, change, stated, written, *around)
        assert found == (replace(anew, ids=stated) if anew.end else None)
        now = replace(anew, ids=known if step % 2 else stated)


def test_where_it_gives_up_it_says_so() -> None:
    assert delta(b"", ids([f"{n:04}" for n in range(MOST + 1)])) is None
    alone = sent(["1"], frozenset(), b"", b"{", b"}")
    assert spliced(alone, Delta(frozenset("1"), frozenset()), b"", {}, b"{", b"}") is None


@pytest.fixture
def two(database_url: str) -> Iterator[tuple[Service, Service]]:
    one = Service(database_url)
    other = Service(database_url, first_id=500_000)
    yield one, other
    one.close()
    other.close()


steps = st.lists(
    st.tuples(
        st.sampled_from(("join", "leave", "rename", "delete", "hide", "nest", "call", "own")), st.integers(0, 11)
    ),
    min_size=4,
    max_size=12,
)


@given(steps=steps)
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whoever_writes_it_is_shown_as_by_a_process_that_remembers_nothing(
    two: tuple[Service, Service], steps: list[tuple[str, int]]
) -> None:
    reads, writes = two
    group, inner = (writes.group(name)["id"] for name in (f"g{writes.ids()}", f"i{writes.ids()}"))
    users = [writes.user(f"{n}{writes.ids()}")["id"] for n in range(12)]

    def members(op: str, id: str, by: Service) -> None:
        one: dict[str, Any] = {"op": op, "path": "members", "value": [{"value": id}]}
        if op == "remove":
            one = {"op": op, "path": f'members[value eq "{id}"]'}
        by.patch(f"Groups/{group}", one)

    for number, (step, at) in enumerate(steps):
        by = (writes, reads)[number % 2]  # also the process that remembers
        match step:
            case "join":
                members("add", users[at], by)
            case "leave":
                members("remove", users[at], by)
            case "rename":
                named = {"op": "replace", "path": "userName", "value": f"n{writes.ids()}"}
                by.patch(f"Users/{users[at]}", named)
            case "delete":
                by.ask("DELETE", f"Users/{users[at]}")
            case "hide":
                by.commit(UserEdit(users[at], "corp", join=(group,)), source="corp")
            case "nest":
                members("add" if at % 2 else "remove", inner, by)
            case "call":
                by.patch(
                    f"Groups/{(group, inner)[at % 2]}",
                    {"op": "replace", "path": "displayName", "value": f"n{writes.ids()}"},
                )
            case "own":
                by.patch(f"Groups/{group}", {"op": "replace", "path": "externalId", "value": f"x{at}"})
        shown = reads.ask("GET", f"Groups/{group}")
        anew = reads.application()
        kept, reads.web = reads.web, anew
        fresh = reads.ask("GET", f"Groups/{group}")
        reads.web = kept
        assert shown.content == fresh.content, (step, at)
        assert shown.headers["etag"] == fresh.headers["etag"]


def test_what_is_sent_under_a_version_is_what_was_there_under_it(
    two: tuple[Service, Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody joins after the group was read and before its members are."""
    reads, writes = two
    first, *users = [writes.user(f"u{n}")["id"] for n in range(4)]
    path = f"Groups/{writes.group('crm', first)['id']}"
    members: dict[str, set[int]] = {}

    def look() -> None:
        found = reads.ask("GET", path)
        members.setdefault(found.headers["etag"], set()).add(len(found.json()["members"]))

    def join(id: str) -> None:
        added = {"op": "add", "path": "members", "value": [{"value": id}]}
        thread = threading.Thread(target=writes.patch, args=(path, added))
        thread.start()
        thread.join()

    def shown(*given: Any) -> Any:
        join(users.pop())
        return shown_group(*given)

    shown_group = remembered.shown_group
    monkeypatch.setattr(groups, "shown_group", shown)
    for _ in (0, 1, 2):
        look()
    monkeypatch.undo()
    look()
    assert list(members.values()) == [{1}, {2}, {3}, {4}]


def test_one_who_joins_is_all_that_is_written_anew(service_of_one: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service = service_of_one
    users = [service.user(f"u{n}")["id"] for n in range(4)]
    group = service.group("crm", *users[:3])["id"]
    service.ask("GET", f"Groups/{group}")
    monkeypatch.setattr(remembered.read, "members_of", lambda *_: pytest.fail("written anew"))
    service.patch(f"Groups/{group}", {"op": "add", "path": "members", "value": [{"value": users[3]}]})
    found = service.ask("GET", f"Groups/{group}").json()
    assert [each["display"] for each in found["members"]] == ["u0", "u1", "u2", "u3"]
    service.patch(f"Groups/{group}", {"op": "remove", "path": f'members[value eq "{users[0]}"]'})
    assert [each["value"] for each in service.ask("GET", f"Groups/{group}").json()["members"]] == users[1:]


def test_groups_that_are_made_and_named_elsewhere_do_not_have_it_written_anew(
    service_of_one: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = service_of_one
    inner = service.group("inner")["id"]
    ann = service.user("ann")["id"]
    group = service.group("crm", ann, inner)["id"]
    path = f"Groups/{group}"
    service.ask("GET", path)
    monkeypatch.setattr(remembered.read, "members_of", lambda *_: pytest.fail("written anew"))
    service.group("other")
    assert [each["display"] for each in service.ask("GET", path).json()["members"]] == ["ann", "inner"]
    service.patch(f"Groups/{inner}", {"op": "replace", "path": "displayName", "value": "within"})
    assert [each["display"] for each in service.ask("GET", path).json()["members"]] == ["ann", "within"]
    service.patch(path, {"op": "remove", "path": f'members[value eq "{inner}"]'})
    assert [each["value"] for each in service.ask("GET", path).json()["members"]] == [ann]
    both = [{"value": service.group("late")["id"]}, {"value": inner}]
    service.patch(path, {"op": "add", "path": "members", "value": both})
    assert {each["display"] for each in service.ask("GET", path).json()["members"]} == {"ann", "within", "late"}


@pytest.fixture
def service_of_one(database_url: str) -> Iterator[Service]:
    made = Service(database_url)
    yield made
    made.close()
