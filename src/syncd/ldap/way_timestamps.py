"""What changed by modifyTimestamp, for servers without a better way: each time the key, the name and the timestamp of everybody
are read, and whole only those whose timestamp is another one.

Rules: no clock of a server is believed. What a timestamp was is kept of everybody, as sums over few entries each (`_Sums`), so
that one written by a clock that is behind or ahead is seen too. A timestamp counts whole seconds, so whoever was written in
the latest ones is read again until these are over by our own clock. Whoever does not show up is gone; whoever has another
name moved.
"""

from __future__ import annotations

import sys
from array import array
from base64 import b64decode, b64encode
from collections.abc import Collection, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import NamedTuple
from zlib import crc32

from syncd.core.snapshot import Entry, OnlyThese, Reported, SetAside, Still
from syncd.errors import FullReadNeeded, IncompleteRead, InvalidValue
from syncd.ldap import accounts, keys, narrow
from syncd.ldap.config import KEY_ATTRIBUTES
from syncd.ldap.conversation import Conversation, require_whole_tree
from syncd.ldap.values import generalized_time, only_one
from syncd.ldap.ways import NotOffered, NotThisKind, State

MOST_CHANGED = 5_000  # entries; beyond that, reading everything is cheaper
MOST_SUMS = 1 << 15  # in either way; of them a checkpoint keeps 4 bytes each
UNSURE = timedelta(seconds=2)
_STAMP = "modifyTimestamp"
_AT_ONCE = 50  # keys, or timestamps, in one search
_BY_STAMP = 500  # entries; more are asked for by their timestamps
_NEVER = datetime(1, 1, 1, tzinfo=UTC)


class _Swept(NamedTuple):
    kind: str
    key: str
    dn: str
    at: datetime
    stamp: str


class Timestamps:
    name = "modifyTimestamp"
    key_attribute: str | None = None

    def begin(self, with_: Conversation) -> State:
        server = with_.server
        assert server is not None
        if server.flavour == accounts.ACTIVE_DIRECTORY:
            raise NotThisKind("an Active Directory has its own ways")
        if not server.paging:
            raise NotOffered("the server has no paging")
        sums, latest, number = _Sums.of_nobody(), _Latest(), 0
        for each in _sweep(with_, with_.config.key_attribute):
            sums.add(each.key, each.stamp)
            latest.note(each.at, each.stamp)
            number += 1
        return _state(sums.folded(number), dict.fromkeys(latest.stamps(), with_.time()))

    def changes(self, with_: Conversation, state: State) -> Generator[Reported, None, State]:
        swept, unsure = _Everybody(_Sums.read(state)), _unsure(state)
        users = 0
        try:
            for each in _sweep(with_, with_.entries.key_attribute):
                yield Still(each.key, each.dn)
                users += each.kind == "user"
                swept.note(each)
        except NotOffered as exc:
            raise FullReadNeeded(str(exc)) from exc
        if not users:
            raise IncompleteRead("users: no entry matches below any base")
        changed, written = swept.changed()
        if len(changed) > MOST_CHANGED:
            raise FullReadNeeded(f"{len(changed):,} entries may have been written, more than {MOST_CHANGED:,}")
        yield from _read_again(with_, changed, swept.bearing(unsure), unsure)
        for kind in dict.fromkeys(search.kind for search in with_.searches()):
            yield OnlyThese(kind)
        lately = {stamp: at for stamp, at in unsure.items() if with_.began_at - at < UNSURE}
        return _state(swept.sums, dict.fromkeys(written.stamps(), with_.time()) | lately)

    def doubt(self, with_: Conversation) -> str | None:
        return None

    def no_bell(self, with_: Conversation) -> str | None:
        return "timestamps tell nothing by themselves"


def _state(sums: _Sums, unsure: Mapping[str, datetime]) -> State:
    """`unsure`: timestamps that somebody may have been given once more after she was read, and until when they were read."""
    return {"sums": sums.written(), "unsure": {stamp: at.isoformat() for stamp, at in sorted(unsure.items())}}


def _unsure(state: State) -> dict[str, datetime]:
    return {stamp: datetime.fromisoformat(at) for stamp, at in state["unsure"].items()}


@dataclass(frozen=True, slots=True)
class _Sums:
    """Each over the keys and timestamps of the entries whose keys fall to it. They are kept twice, and the same keys fall
    together in one way and apart in the other, so that of few that changed few others come under suspicion, however many
    fall to one. Their number is a power of two."""

    one: array[int]
    other: array[int]

    @classmethod
    def of_nobody(cls, number: int | None = None) -> _Sums:
        number = number or MOST_SUMS
        return cls(array("I", bytes(4 * number)), array("I", bytes(4 * number)))

    @classmethod
    def read(cls, state: State) -> _Sums:
        try:
            found = [array("I", b64decode(each, validate=True)) for each in state["sums"]]
            one, other = found
        except (KeyError, TypeError, ValueError) as exc:
            raise FullReadNeeded("the checkpoint is not one of this release") from exc
        if sys.byteorder == "big":
            one.byteswap()
            other.byteswap()
        return cls(one, other)

    def written(self) -> list[str]:
        both = [self.one[:], self.other[:]]
        for each in both if sys.byteorder == "big" else ():
            each.byteswap()
        return [b64encode(each).decode("ascii") for each in both]

    def none(self) -> _Sums:
        return self.of_nobody(len(self.one))

    def add(self, key: str, stamp: str) -> tuple[int, int]:
        """Which of them, in either way, it is."""
        where = crc32(key.encode())
        at, also = where & (len(self.one) - 1), where >> 16 & (len(self.other) - 1)
        own = int.from_bytes(blake2b(f"{key} {stamp}".encode(), digest_size=4).digest())
        self.one[at] = (self.one[at] + own) & 0xFFFFFFFF
        self.other[also] = (self.other[also] + own) & 0xFFFFFFFF
        return at, also

    def folded(self, number: int) -> _Sums:
        """As few as so many entries need: about one for each."""
        return _Sums(_folded(self.one, number), _folded(self.other, number))


def _folded(sums: array[int], number: int) -> array[int]:
    while len(sums) > max(64, 2 * number):
        half = len(sums) // 2
        sums = array("I", ((one + other) & 0xFFFFFFFF for one, other in zip(sums[:half], sums[half:], strict=True)))
    return sums


@dataclass(slots=True)
class _Latest:
    """The latest time of some entries, and the timestamps of about then."""

    at: datetime = _NEVER
    _near: dict[str, datetime] = field(default_factory=dict)

    def note(self, at: datetime, stamp: str) -> None:
        self.at = max(self.at, at)
        if self.at - at < UNSURE:
            self._near[stamp] = at
            if len(self._near) > 1000:
                self._near = {stamp: self._near[stamp] for stamp in self.stamps()}

    def stamps(self) -> set[str]:
        return {stamp for stamp, at in self._near.items() if self.at - at < UNSURE}


class _Everybody:
    """As few bytes of each as it takes to tell, when all were seen, who changed."""

    def __init__(self, before: _Sums) -> None:
        self.sums = before.none()
        self._before = before
        self._keys: list[str] = []
        self._stamps: list[str] = []
        self._at, self._also = array("I"), array("I")  # the sums that each fell to

    def note(self, each: _Swept) -> None:
        self._keys.append(each.key)
        self._stamps.append(sys.intern(each.stamp))
        at, also = self.sums.add(each.key, each.stamp)
        self._at.append(at)
        self._also.append(also)

    def changed(self) -> tuple[set[str], _Latest]:
        """Keys, and when they were written: of all who fell to sums that differ, in either way."""
        one, other = (
            bytes(known != now for known, now in zip(before, after, strict=True))
            for before, after in ((self._before.one, self.sums.one), (self._before.other, self.sums.other))
        )
        written, found = _Latest(), set()
        for number, (at, also) in enumerate(zip(self._at, self._also, strict=True)):
            if one[at] and other[also]:
                stamp = self._stamps[number]
                written.note(generalized_time(_STAMP, stamp.encode()), stamp)
                found.add(self._keys[number])
        return found, written

    def bearing(self, stamps: Collection[str]) -> set[str]:
        """Keys."""
        wanted = set(stamps)
        return (
            {key for key, stamp in zip(self._keys, self._stamps, strict=True) if stamp in wanted} if wanted else set()
        )


def _read_again(
    with_: Conversation, changed: set[str], unsure: set[str], stamps: Collection[str]
) -> Iterator[Entry | SetAside]:
    """`changed`, `unsure`: keys. Many of the latter are asked for by the timestamps they bear; who is not found so, by key."""
    left = changed | unsure
    if len(unsure) > _BY_STAMP:
        for some in _some(stamps):
            for entry in _bearing(with_, narrow.any_of([f"({_STAMP}={narrow.escaped(each)})" for each in some])):
                left.discard(entry.key or "")
                yield entry
    attribute = with_.entries.key_attribute
    assert attribute is not None
    for some in _some(left):
        yield from with_.having(narrow.any_of([keys.filter_of(attribute, key) for key in some]))


def _some(all_: Collection[str]) -> Iterator[list[str]]:
    """As many as one search asks for."""
    ordered = sorted(all_)
    for at in range(0, len(ordered), _AT_ONCE):
        yield ordered[at : at + _AT_ONCE]


def _bearing(with_: Conversation, stamps: str) -> Iterator[Entry | SetAside]:
    for search in with_.searches():
        filter_text = narrow.all_of([search.filter, stamps])
        for page in with_.pages(search.base, search.scope, filter_text, search.attributes):
            require_whole_tree(page.references)
            for raw in page.entries:
                entry = with_.take(search.part, raw)
                if entry is not None:
                    yield entry


def _sweep(with_: Conversation, attribute: str | None) -> Iterator[_Swept]:
    """Raises NotOffered if an entry does not show its key or its timestamp."""
    asked = (attribute,) if attribute else KEY_ATTRIBUTES
    for search in with_.searches():
        for page in with_.pages(search.base, search.scope, search.filter, (*asked, _STAMP)):
            require_whole_tree(page.references)
            for entry in page.entries:
                attributes = keys.fold_names(entry.attributes)
                attribute = attribute or keys.choose([attributes])
                name = entry.dn.decode("utf-8", "replace")
                if attribute is None or not attributes.get(attribute.lower()):
                    continue  # a whole read sets it aside
                try:
                    key, stamp = keys.key_of(attribute, attributes), only_one(_STAMP, attributes)
                    if stamp is None:
                        raise InvalidValue("it is missing, or may not be read")
                    at = generalized_time(_STAMP, stamp)
                except InvalidValue as exc:
                    raise NotOffered(f"{_STAMP} of {name}: {exc}") from exc
                yield _Swept(search.kind, key, name, at, stamp.decode("ascii", "replace"))
