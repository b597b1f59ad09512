"""Reading what changed in an LDAP directory: the way is chosen by asking the server, and the checkpoint remembers it.

Rules: another server than the one that was read, or one that no longer knows the checkpoint, means a whole read; a server
that lags behind is left for another one first. Whoever is reported gone is believed by `reconcile/delta.py`, not here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from syncd.core.snapshot import Entry, Gone, OnlyThese, Reported, SetAside
from syncd.errors import FullReadNeeded, IncompleteRead, InvalidValue
from syncd.ldap import accounts, keys, narrow
from syncd.ldap.client import NotNow, Session
from syncd.ldap.config import LdapConfig
from syncd.ldap.conversation import Conversation
from syncd.ldap.seen import Seen
from syncd.ldap.values import Attributes, primary_group_of
from syncd.ldap.way_389ds import ContentSync
from syncd.ldap.way_active_directory import DirSync, Numbers
from syncd.ldap.way_syncrepl import Syncrepl
from syncd.ldap.way_timestamps import Timestamps
from syncd.ldap.ways import Behind, NotOffered, NotThisKind, State, Way

WAYS: tuple[Way, ...] = (Syncrepl(), ContentSync(), DirSync(), Numbers(), Timestamps())  # the better one first
_AT_ONCE = 50  # keys in one search

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Begun:
    """From where deltas go on: of this server, in this way, with entries named by this attribute."""

    way: Way
    state: State
    server: str
    key_attribute: str | None = None

    @classmethod
    def parse(cls, checkpoint: str) -> Begun:
        """Raises FullReadNeeded for one that was made by another release."""
        try:
            written = json.loads(checkpoint)
            way = next(each for each in WAYS if each.name == written["way"])
            return cls(way, written["state"], written["server"], written["keys"])
        except (ValueError, KeyError, TypeError, StopIteration) as exc:
            raise FullReadNeeded("the checkpoint is not one of this release") from exc

    def checkpoint(self, with_: Conversation) -> str | None:
        """After a read by this conversation; None if its entries have other keys than the way names."""
        attribute = with_.entries.key_attribute or self.key_attribute
        if attribute is None or self.way.key_attribute not in (None, attribute):
            return None
        written = {"way": self.way.name, "server": self.server, "keys": attribute, "state": self.state}
        return json.dumps(written, sort_keys=True)


def begin(with_: Conversation) -> Begun | None:
    """The best way that this server offers us; None if it offers none. Raises NotNow if it is busy, or the connection fails."""
    return choose(with_)[0]


def choose(with_: Conversation) -> tuple[Begun | None, list[str]]:
    """Also why not, for each way before it: `syncrepl: the server does not offer it`."""
    refused: list[str] = []
    strange: list[str] = []  # said only if there is nothing else to say
    assert with_.server is not None
    for way in WAYS:
        try:
            begun = Begun(way, way.begin(with_), with_.server.identity)
        except NotNow:
            raise
        except (NotOffered, IncompleteRead) as exc:  # a whole read may still be had without it
            (strange if isinstance(exc, NotThisKind) else refused).append(f"{way.name}: {exc}")
            continue
        attribute = with_.entries.key_attribute
        if attribute is None or way.key_attribute in (None, attribute):
            return begun, refused
        refused.append(f"{way.name}: it names entries by {way.key_attribute}, not {attribute}")
    return None, refused or strange


class LdapChanges(Conversation):
    """One delta under way (core/snapshot.py: Changes)."""

    def __init__(
        self,
        config: LdapConfig,
        attributes_wanted: tuple[str, ...],
        session: Session,
        again: Callable[[str], Session | None],
        when_ended: Callable[[Session, bool | None], None],
        begun: Begun,
    ) -> None:
        super().__init__(config, attributes_wanted, session, again, when_ended)
        self.begun = begun
        self.entries.key_attribute = begun.key_attribute
        self.entries.seen = Seen(moving=True)
        self._losing = False  # somebody may be gone
        self._reading = self._read()

    def __iter__(self) -> Iterator[Reported]:
        return self._reading

    def again(self, wanted: Iterable[str]) -> Iterator[Entry | SetAside]:
        """As the contract says. What goes wrong is said in the certificate."""
        attribute = self.entries.key_attribute
        assert attribute is not None
        try:
            for some in _some(wanted):
                yield from self.having(narrow.any_of([keys.filter_of(attribute, key) for key in some]))
        except IncompleteRead as exc:
            self.because.append(str(exc))

    def groups_of(self, sids: Collection[bytes]) -> Iterator[Entry | SetAside]:
        """Those groups that have one of these objectSids (core/snapshot.py: PrimaryGroups)."""
        try:
            for some in _some(sids):
                by_sid = narrow.any_of([f"(objectSid={narrow.escaped_bytes(sid)})" for sid in some])
                yield from self.having(by_sid, "groups")
        except IncompleteRead as exc:
            self.because.append(str(exc))

    def groups_naming(self, dns: Collection[str]) -> Iterator[Entry | SetAside]:
        try:
            for some in _some(sorted(dns)):
                yield from self.having(narrow.any_of([f"(member={narrow.escaped(name)})" for name in some]), "groups")
        except IncompleteRead as exc:
            self.because.append(str(exc))

    @property
    def names_follow(self) -> bool:
        return self.server is not None and self.server.flavour == accounts.ACTIVE_DIRECTORY

    def people_naming(self, attributes: Collection[str], dns: Collection[str]) -> Iterator[Entry | SetAside]:
        try:
            for some in _some(sorted(dns)):
                named = [f"({name}={narrow.escaped(each)})" for name in attributes for each in some]
                yield from self.having(narrow.any_of(named), "users")
        except IncompleteRead as exc:
            self.because.append(str(exc))

    def people_of(self, sids: Collection[bytes]) -> Iterator[tuple[bytes, str]]:
        """Whose primary groups these are: said by its last part, in the domain of the person's own objectSid."""
        attribute = self.entries.key_attribute
        assert attribute is not None
        try:
            for some in _some(sids):
                numbers = sorted({int.from_bytes(sid[-4:], "little") for sid in some})
                condition = narrow.any_of([f"(primaryGroupID={number})" for number in numbers])
                for found in self._people(condition, (attribute, "primaryGroupID", "objectSid")):
                    sid = primary_group_of(found)
                    if sid is not None and sid in some:
                        yield sid, keys.key_of(attribute, found)
        except (IncompleteRead, InvalidValue) as exc:
            self.because.append(str(exc))

    def _people(self, condition: str, attributes: tuple[str, ...]) -> Iterator[Attributes]:
        users = self.config.users
        for base in users.base:
            for page in self.pages(base, users.scope, narrow.all_of([users.filter, condition]), attributes):
                yield from (keys.fold_names(entry.attributes) for entry in page.entries)

    def close(self) -> None:
        self._reading.close()
        self.over((not self.because) if self.ended else None)

    def _read(self) -> Generator[Reported, None, None]:
        try:
            state: State = None
            while state is None:
                try:
                    self._meet_the_same()
                    state = yield from self._told()
                except Behind as exc:
                    self._leave(exc)
                except NotNow as exc:
                    if self.entries.received:
                        raise
                    self.elsewhere(str(exc))
            if self._losing:
                self.look_for_canaries()
            begun = Begun(self.begun.way, state, self.begun.server, self.begun.key_attribute)
            self.checkpoint = begun.checkpoint(self)
        except IncompleteRead as exc:
            self.because.append(str(exc))
        self.ended = True

    def _meet_the_same(self) -> None:
        now_is = self.meet().identity
        if now_is != self.begun.server:
            raise FullReadNeeded(f"another server answers: {now_is} instead of {self.begun.server}")

    def _told(self) -> Generator[Reported, None, State]:
        telling = self.begun.way.changes(self, self.begun.state)
        while True:
            try:
                item = next(telling)
            except StopIteration as over:
                return over.value
            self._losing = self._losing or isinstance(item, Gone | OnlyThese)
            yield item

    def _leave(self, exc: Behind) -> None:
        try:
            self.elsewhere(str(exc))
        except IncompleteRead as none:
            raise FullReadNeeded(f"{exc}; no other server has what was read before") from none


def _some(all_: Iterable[T]) -> Iterator[list[T]]:
    """As many as one search asks for."""
    rest = iter(all_)
    while some := list(islice(rest, _AT_ONCE)):
        yield some
