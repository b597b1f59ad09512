"""A group as it was sent, of which only those members are written anew who joined since. Pure.

The members of a large group are megabytes of JSON that take the database tenths of a second. Where nobody's name changed
meanwhile, the ids of then and now tell who joined and who left; the rest is copied. Users stand in order of their ids, and
groups after them; which groups are inside, and how anybody is called, is the same as long as the caller's counts are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

MOST: Final = 200  # who joined or left; each is looked for in the whole of it

_START: Final = b'{"value":"'


@dataclass(frozen=True, slots=True)
class Sent:
    """`body[start:end]` are its members, of them `body[start:groups]` the users; `ids`: of all users that are members, also of
    those who are not shown, in order and with commas between. None: it is not made of the bytes that are stored."""

    body: bytes
    start: int
    groups: int
    end: int
    ids: str | None

    @property
    def size(self) -> int:
        return len(self.body) + len(self.ids or "")


@dataclass(frozen=True, slots=True)
class Delta:
    """`joined`: each with who follows in the order of now, None being the end."""

    left: frozenset[str]
    joined: tuple[tuple[str, str | None], ...]

    @property
    def ids(self) -> list[str]:
        return [id for id, _ in self.joined]


def delta(before: str, after: str) -> Delta | None:
    """Who joined and left between two lists of ids. None: many."""
    most = min(len(before), len(after))
    alike = _furthest(most, lambda here, there: before[here:there] == after[here:there])
    head = before.rfind(",", 0, alike) + 1  # whole ids are cut off, at both ends
    alike = _furthest(
        most - head, lambda here, there: _from_behind(before, here, there) == _from_behind(after, here, there)
    )
    rest = before[len(before) - alike :]
    _, comma, rest = rest.partition(",")
    tail, follows = (len(rest), rest.partition(",")[0]) if comma else (0, None)
    old, new = (_ids(each[head : len(each) - tail]) for each in (before, after))
    known = set(old)
    left, joined = known.difference(new), []
    for id in reversed(new):
        if id in known:
            follows = id
        else:
            joined.append((id, follows))
    if len(left) + len(joined) > MOST:
        return None
    return Delta(frozenset(left), tuple(reversed(joined)))


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


def _from_behind(text: str, here: int, there: int) -> str:
    return text[len(text) - there : len(text) - here]


def _ids(joined: str) -> list[str]:
    return [id for id in joined.split(",") if id]


def spliced(sent: Sent, change: Delta, ids: str, written: Mapping[str, bytes], head: bytes, tail: bytes) -> Sent | None:
    """The group of now. `written`: who joined and is shown, as JSON; `head` and `tail`: what stands before and behind its
    `members`. None: somebody does not stand where she should, so it is to be written anew."""
    users = sent.body[sent.start : sent.groups]
    nested = sent.body[sent.groups : sent.end].removeprefix(b",")
    edits: list[tuple[int, int, bytes]] = []  # from, to, instead; each member has a comma behind it
    behind = users + b"," if users else b""
    for id in change.left:
        at = _at(behind, id)
        if at >= 0:  # else she was not shown
            edits.append((at, _end(behind, at), b""))
    for id, follows in change.joined:
        if id in written:
            at = len(behind) if follows is None else _at(behind, follows)
            if at < 0:
                return None
            edits.append((at, at, written[id] + b","))
    pieces, done = [], 0
    for start, end, instead in sorted(edits, key=lambda each: each[:2]):  # who joins at one place comes in order
        pieces += [behind[done:start], instead]
        done = end
    pieces.append(behind[done:])
    new = b"".join(pieces)[:-1]
    members = b",".join(filter(None, (new, nested)))
    if not members:
        return None
    front = head + b',"members":['
    body = b"".join((front, members, b"]", tail))
    return Sent(body, len(front), len(front) + len(new), len(front) + len(members), ids)


def _at(members: bytes, id: str) -> int:
    return members.find(b'%b%b","$ref"' % (_START, id.encode()))


def _end(members: bytes, at: int) -> int:
    """Behind the comma of the member that stands there. No text in JSON holds a quotation mark as it is."""
    following = members.find(b"}," + _START, at)
    return len(members) if following < 0 else following + 2
