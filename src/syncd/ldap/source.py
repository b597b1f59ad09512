"""Read one LDAP directory whole, and say how far the read can be trusted.

Users of all bases first, then groups, page by page (RFC 2696) on one connection. The read is complete only if every
page ended with result 0, every last page had an empty cookie, every base was there, no part of the tree was handed to
another server, at least one user came and every canary is visible. Whatever else happens ends the iteration quietly and
is said in `certificate().because`. Only a connection that never came about raises (SourceUnreachable, from `read`).
A server that is busy or breaks off before its first entry is left for another one; after it, nothing is ever repeated.
Memory: two pages. That one key is not on two entries is noticed by a temporary file (seen.py).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from typing import TypeVar

from syncd.core.lookup import Answer, Question
from syncd.core.snapshot import Beyond, Entry, SetAside
from syncd.errors import FullReadNeeded, IncompleteRead, SyncdError
from syncd.ldap import deltas, dynamic, failover, outcome
from syncd.ldap import probe as looking
from syncd.ldap.client import NotNow, Page, Session
from syncd.ldap.config import LdapConfig, SearchConfig
from syncd.ldap.conversation import Conversation, require_whole_tree
from syncd.ldap.decode import RawEntry
from syncd.ldap.dynamic import ByUsers
from syncd.ldap.entries import Part, attributes_asked
from syncd.ldap.failover import Dialer
from syncd.ldap.watchdog import Watchdog
from syncd.ldap.ways import Behind, Rings

Talk = TypeVar("Talk", bound=Conversation)
_Reading = TypeVar("_Reading", bound="LdapReading")


class LdapSource:
    """A source of kind `ldap`. `attributes_wanted` are those the mapping reads, in any case.

    Remembers, as long as the process lives, which server gave a whole read last and which did not.
    """

    def __init__(self, config: LdapConfig, attributes_wanted: tuple[str, ...] = ()) -> None:
        self.name = config.name
        self.config = config
        self.attributes_wanted = attributes_wanted
        self._lock = threading.Lock()
        self._good: str | None = None
        self._bad: str | None = None
        self._stopped: str | None = None
        self._watchdogs: set[Watchdog] = set()

    def read(self, now: datetime) -> LdapReading:
        """Connect and bind; the reading asks for entries as it is iterated. Raises SourceUnreachable, ConfigError."""
        reading = self._open(LdapReading)
        reading.began_at = now
        return reading

    def _open(self, kind: type[_Reading]) -> _Reading:
        config, wanted = self.config, self.attributes_wanted
        return self._dialled(lambda dialer: kind(config, wanted, dialer.connect(), dialer.again, self._ended))

    def _dialled(self, begin: Callable[[Dialer], Talk]) -> Talk:
        config = self.config
        failover.require_sane(config)
        watchdog = Watchdog(config.deadline_s)
        with self._lock:
            urls = failover.order(config.urls, self._good, self._bad)
            self._watchdogs.add(watchdog)
            stopped = self._stopped
        try:
            if stopped:
                watchdog.stop(stopped)
            return begin(Dialer(config, urls, watchdog))
        except BaseException:
            watchdog.close()
            with self._lock:
                self._watchdogs.discard(watchdog)
            raise

    def changes(self, checkpoint: str, now: datetime) -> deltas.LdapChanges:
        """What changed since this checkpoint of a read of this source. Raises FullReadNeeded, and as `read`."""
        config, wanted = self.config, self.attributes_wanted
        begun = deltas.Begun.parse(checkpoint)
        changes = self._dialled(
            lambda dialer: deltas.LdapChanges(config, wanted, dialer.connect(), dialer.again, self._ended, begun)
        )
        changes.began_at = now
        return changes

    def listen(self, checkpoint: str) -> Iterator[None]:
        """Yields whenever something changed since this checkpoint, until the connection ends: by its silence, its deadline,
        the server or the network. Raises FullReadNeeded if this way cannot, IncompleteRead with why it ended, and as `read`.
        """
        begun = deltas.Begun.parse(checkpoint)
        if not isinstance(begun.way, Rings):
            raise FullReadNeeded(f"{begun.way.name} does not tell what changes as it happens")
        config, wanted = self.config, self.attributes_wanted
        talk = self._dialled(lambda dialer: Conversation(config, wanted, dialer.connect(), dialer.again, self._ended))
        try:
            while True:
                if talk.meet().identity != begun.server:
                    raise FullReadNeeded("another server answers")
                try:
                    yield from begun.way.listen(talk, begun.state)
                except Behind as exc:
                    talk.elsewhere(str(exc))
        finally:
            talk.over(None)

    def stop(self, reason: str = "syncd was told to end") -> None:
        """End what is being read or waited for, now: it becomes an incomplete read. For a process that is to end: later
        reads end at once too. From any thread, but not from within a signal handler."""
        with self._lock:
            self._stopped = reason
            running = tuple(self._watchdogs)
        for each in running:
            each.stop(reason)

    def look_up(self, question: Question, now: datetime) -> Answer:
        """A few people instead of everybody. Raises TooWide, SourceUnreachable and ConfigError."""
        from syncd.ldap.lookup import LdapLookup  # noqa: PLC0415 - is made of this module

        with closing(self._open(LdapLookup)) as looking_up:
            return looking_up.answer(question)

    def sees(self, name: str, keys: Sequence[str], key_attribute: str | None) -> bool:
        """Whether the entry of this DN is shown, or one with these keys, wherever. Raises IncompleteRead, SourceUnreachable."""
        from syncd.ldap.lookup import LdapLookup  # noqa: PLC0415 - is made of this module

        with closing(self._open(LdapLookup)) as looking_at:
            return looking_at.shows(name, keys, key_attribute)

    def groups_beyond(self, keys: Collection[str], names: Collection[str], key_attribute: str | None) -> list[Beyond]:
        """Those groups below no base that have one of these stable keys or DNs. Raises IncompleteRead, SourceUnreachable."""
        from syncd.ldap.lookup import LdapLookup, outside_of  # noqa: PLC0415 - is made of this module

        outside = outside_of(self.config, names)
        if not keys and not outside:
            return []
        with closing(self._open(LdapLookup)) as looking_at:
            return looking_at.groups_beyond(keys, outside, key_attribute)

    def probe(self, count_up_to: int = 1000) -> looking.Probe:
        """What `syncd check` says of the server that would be read. Raises SourceUnreachable and ConfigError."""
        return looking.probe(self.config, self.attributes_wanted, count_up_to)

    def probe_each(self, count_up_to: int = 1000) -> Iterator[tuple[str, looking.Probe | SyncdError]]:
        """The same of every URL, or why it cannot be used. Raises ConfigError."""
        return looking.probe_each(self.config, self.attributes_wanted, count_up_to)

    def _ended(self, session: Session, whole: bool | None) -> None:
        with self._lock:
            self._watchdogs.discard(session.watchdog)
            if whole:
                self._good, self._bad = session.url, None if self._bad == session.url else self._bad
            elif whole is False and not self._stopped:
                self._good, self._bad = None if self._good == session.url else self._good, session.url


class LdapReading(Conversation):
    """One read under way: iterate once. `close` ends it early; iterating to the end closes it."""

    def __init__(
        self,
        config: LdapConfig,
        attributes_wanted: tuple[str, ...],
        session: Session,
        again: Callable[[str], Session | None] = lambda url: None,
        when_ended: Callable[[Session, bool | None], None] = lambda session, whole: None,
    ) -> None:
        super().__init__(config, attributes_wanted, session, again, when_ended)
        self._first: Page | None = None  # had before it is known that the read will be of this server
        self._begun: deltas.Begun | None = None  # where deltas will go on from
        self._reading = self._read()

    def __iter__(self) -> Generator[Entry | SetAside, None, None]:
        return self._reading

    def close(self) -> None:
        self._reading.close()
        self.over(None)

    def _read(self) -> Generator[Entry | SetAside, None, None]:
        config = self.config
        try:
            self._begin()
            if config.groups is not None and config.groups.by is not None:
                yield from self._by_users()
            else:
                yield from self._part("users", config.users)
                if config.groups is not None:
                    yield from self._part("groups", config.groups)
            self.look_for_canaries()
            self.look_for_itself()
            self.checkpoint = self._begun.checkpoint(self) if self._begun else None
        except IncompleteRead as exc:
            self.because.append(str(exc))
        else:
            self.ended = True
        finally:
            self.ended = self.ended or bool(self.because)
            self.over(not self.because if self.ended else None)

    def _begin(self) -> None:
        """Meet the server and have its first page. One that is busy or breaks off before its first entry is left for
        another; nothing of it was believed yet."""
        while True:
            met = None
            try:
                self.meet()
                self._begun = deltas.begin(self) if self.config.deltas else None
                met = self.session.entries_received
                search = self.config.users
                self._first = self._ask(
                    search, search.base[0], attributes_asked(self.config, "users", search, self.wanted)
                )
                if self._first.code not in outcome.LATER or self.session.entries_received > met:
                    return
                why = self._first.outcome
            except NotNow as exc:
                why = str(exc)
                if met is not None and self.session.entries_received > met:
                    raise IncompleteRead(f"users: {why} after 0 entries") from exc
            self.elsewhere(f"users: {why} after 0 entries")

    def _by_users(self) -> Generator[Entry | SetAside, None, None]:
        """Users, and then the groups that they name."""
        assert self.config.groups is not None
        named = ByUsers(self.config)
        for item in self._part("users", self.config.users):
            yield named.take(item) if isinstance(item, Entry) else item
        if not named.shown:
            by = self.config.groups.by
            raise IncompleteRead(f"groups: no user shows {by}: grant the right to read it, or there are no groups")
        for group in named.groups():
            self.entries.groups += 1
            yield group

    def _part(self, part: Part, search: SearchConfig) -> Generator[Entry | SetAside, None, None]:
        before = self.entries.received
        for base in search.base:
            yield from self._search(part, search, base)
        if part == "users" and self.entries.received == before:
            raise IncompleteRead(f"users: no entry matches {search.filter} below {' or '.join(search.base)}")

    def _search(
        self,
        part: Part,
        search: SearchConfig,
        base: str,
        attributes: tuple[str, ...] | None = None,
        may_be_absent: bool = False,
    ) -> Generator[Entry | SetAside, None, None]:
        """All entries, page by page. `attributes` None: all that are of use; `may_be_absent`: no base is no entry."""
        received, cookie, number = 0, b"", 0
        searched_for: list[RawEntry] = []  # groups whose members another search finds, which would make a cookie void
        attributes = attributes or attributes_asked(self.config, part, search, self.wanted)
        while True:
            number += 1
            try:
                page = self._page(search, base, attributes, cookie)
                if page.code == 32 and may_be_absent:
                    return
                _judge(page, base)
                require_whole_tree(page.references)
                for raw in page.entries:
                    received += 1
                    if part == "groups" and page.cookie and dynamic.is_searched_for(raw):
                        searched_for.append(raw)
                    elif (entry := self.take(part, raw, page.entries)) is not None:
                        yield entry
                for raw in () if page.cookie else searched_for:
                    if (entry := self.take(part, raw)) is not None:
                        yield entry
            except IncompleteRead as exc:
                raise IncompleteRead(f"{part}: {exc} after {received:,} entries") from exc
            if not page.cookie:
                return
            if not page.entries and page.cookie == cookie:
                raise IncompleteRead(f"{part}: the server repeats page {number} after {received:,} entries")
            cookie = page.cookie

    def _page(self, search: SearchConfig, base: str, attributes: tuple[str, ...], cookie: bytes) -> Page:
        first, self._first = self._first, None
        page = first or self._ask(search, base, attributes, cookie)
        if self._paged and page.code == 0 and page.cookie is None:
            raise IncompleteRead(looking.NO_PAGING_CONTROL)
        return page

    def _ask(self, search: SearchConfig, base: str, attributes: tuple[str, ...], cookie: bytes = b"") -> Page:
        size = self.config.page_size if self._paged else None
        return self.session.search(base, search.scope, search.filter, attributes, size, cookie, ahead=True)

    @property
    def _paged(self) -> bool:
        return self.server is None or self.server.paging


def _judge(page: Page, base: str) -> None:
    if page.code == 32:
        raise IncompleteRead(f"the base {base} does not exist or is hidden: {page.outcome}")
    if page.code == 11 and (what_to_do := outcome.why_no_entries(page.code, page.outcome)):
        raise IncompleteRead(f"{page.outcome}: {what_to_do}")
    if page.code != 0:
        raise IncompleteRead(page.outcome)
