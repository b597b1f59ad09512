"""A group as it was sent, of which only those members are written anew who joined since. Pure.

The members of a large group are megabytes of JSON that take the database tenths of a second. Where no user's name changed
meanwhile, it is enough to know who joined and who left; the rest is copied, once. Users stand in order of their ids, and
groups after them; how anybody is called is the same as long as the caller's counts are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

MOST: Final = 200  # who joined or left; each is looked for in the whole of it

_START: Final = b'{"value":"'


@dataclass(frozen=True, slots=True)
class Sent:
    """`body[start:end]` are its members, of them `body[start:groups]` the users; `ids`: of all users that are members, also of
    those who are not shown, in order, a comma before each; some more than once. None: it is not made of the bytes that are
    stored."""

    body: bytes
    start: int
    groups: int
    end: int
    ids: bytes | None

    @property
    def size(self) -> int:
        return len(self.body) + len(self.ids or b"")


@dataclass(frozen=True, slots=True)
class Delta:
    left: frozenset[str]
    joined: frozenset[str]


def delta(before: bytes, after: bytes) -> Delta | None:
    """Who joined and left between two lists of ids. None: many."""
    most = min(len(before), len(after))
    alike = _furthest(most, lambda here, there: before[here:there] == after[here:there])
    head = max(0, before.rfind(b",", 0, alike))  # whole ids are cut off, at both ends
    alike = _furthest(
        most - head, lambda here, there: _from_behind(before, here, there) == _from_behind(after, here, there)
    )
    comma = before.find(b",", len(before) - alike)
    tail = 0 if comma < 0 else len(before) - comma
    old, new = ({id for id in each[head : len(each) - tail].split(b",") if id} for each in (before, after))
    touched = [id.decode() for id in old ^ new]
    if len(touched) > MOST:
        return None
    was, is_ = ({id for id in touched if _at(each, b",", id, 0, len(each)) >= 0} for each in (before, after))
    return Delta(frozenset(was - is_), frozenset(is_ - was))


def delta_among(ids: bytes, touched: Collection[str], now: Collection[str]) -> tuple[Delta, bytes]:
    """The delta where only these may have joined or left, of whom those of `now` are members; and all ids of now."""
    before = {id for id in touched if _at(ids, b",", id, 0, len(ids)) >= 0}
    found = Delta(frozenset(before.difference(now)), frozenset(now) - before)
    edits = [(*_all_of(ids, b",", id, 0, len(ids)), b"") for id in found.left]
    for id in sorted(found.joined):
        at = _place(ids, b",", id, 0, len(ids))
        edits.append((at, at, b"," + id.encode()))
    return found, b"".join(_edited(ids, 0, len(ids), edits))


def _furthest(most: int, same: Callable[[int, int], bool]) -> int:
    """How far two texts are alike, found by comparing halves: at the speed of memory."""
    known, beyond = 0, most + 1
    while beyond - known > 1:
        middle = (known + beyond) // 2
        if same(known, middle):
            known = middle
        else:
            beyond = middle
    return known


def _from_behind(text: bytes, here: int, there: int) -> bytes:
    return text[len(text) - there : len(text) - here]


def spliced(
    sent: Sent,
    change: Delta,
    ids: bytes,
    written: Mapping[str, bytes],
    head: bytes,
    tail: bytes,
    groups: bytes | None = None,
) -> Sent | None:
    """The group of now. `written`: who joined and is shown, as JSON; `head` and `tail`: what stands before and behind its
    `members`; `groups`: those inside it, as JSON, None: as they were. None: there are no members any more, so it is to be
    written anew."""
    body, start, end = sent.body, sent.start, sent.groups
    places = (_at(body, _START, id, start, end) for id in change.left)
    edits = [(at, _end(body, _START, at, end), b"") for at in places if at >= 0]  # who is nowhere was not shown
    if end > start and not any(there == end for _, there, _ in edits):
        edits.append((end, end, b","))  # each has a comma behind her; who was the last and left leaves the one before
    for id in sorted(change.joined & written.keys()):
        at = _place(body, _START, id, start, end)
        edits.append((at, at, written[id] + b","))
    users = [each for each in _edited(body, start, end, edits) if each]
    users[-1:] = [each[:-1] for each in users[-1:]]
    nested = body[end : sent.end].removeprefix(b",") if groups is None else groups
    between = b"," if users and nested else b""
    if not users and not nested:
        return None
    front = head + b',"members":['
    behind = len(front) + sum(map(len, users))
    whole = b"".join((front, *users, between, nested, b"]", tail))
    return Sent(whole, len(front), behind, behind + len(between) + len(nested), ids)


def _edited(text: bytes, start: int, end: int, edits: list[tuple[int, int, bytes]]) -> list[bytes | memoryview]:
    """The pieces of `text[start:end]` after the edits, nothing copied yet."""
    view, done = memoryview(text), start
    pieces: list[bytes | memoryview] = []
    for here, there, instead in sorted(edits, key=lambda each: each[:2]):  # who joins at one place comes in order
        pieces += [view[done:here], instead]
        done = there
    return [*pieces, view[done:end]]


# -- in a text of many ids in order, each behind an opening ---------------------------------------------------------------


def _at(text: bytes, opening: bytes, id: str, start: int, end: int) -> int:
    """Where this id stands, with its opening; -1: nowhere."""
    at = _place(text, opening, id, start, end)
    return at if at < end and _id(text, opening, at, end) == id.encode() else -1


def _all_of(text: bytes, opening: bytes, id: str, start: int, end: int) -> tuple[int, int]:
    """From where to where this id stands, once or more often."""
    at = behind = _place(text, opening, id, start, end)
    while behind < end and _id(text, opening, behind, end) == id.encode():
        behind = _end(text, opening, behind, end)
    return at, behind


def _place(text: bytes, opening: bytes, id: str, start: int, end: int) -> int:
    """Where the first one stands, with its opening, that does not come before this id; by halves."""
    wanted = id.encode()
    while start < end:
        at = max(start, text.rfind(opening, start, (start + end) // 2 + len(opening)))
        if _id(text, opening, at, end) < wanted:
            start = _end(text, opening, at, end)
        else:
            end = at
    return start


def _id(text: bytes, opening: bytes, at: int, end: int) -> bytes:
    """No text in JSON holds a quotation mark as it is."""
    begin = at + len(opening)
    closing = text.find(opening[-1:], begin, end)
    return text[begin : end if closing < 0 else closing]


def _end(text: bytes, opening: bytes, at: int, end: int) -> int:
    """Where the next one begins."""
    following = text.find(opening, at + 1, end)
    return end if following < 0 else following
