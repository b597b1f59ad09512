"""Read one LDAP directory whole, and say how far the read can be trusted.

Users of all bases first, then groups, page by page (RFC 2696) on one connection. The read is complete only if every
page ended with result 0, every last page had an empty cookie, every base was there, no part of the tree was handed to
another server, at least one user came and every canary is visible. Whatever else happens ends the iteration quietly and
is said in `certificate().because`. Only a connection that never came about raises (SourceUnreachable, from `read`).
A server that is busy or breaks off before its first entry is left for another one; after it, nothing is ever repeated.
Memory: one page, and for each entry its key and a hash of its DN (to notice one key on two entries).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from datetime import datetime
from typing import Literal, TypeVar
from urllib.parse import unquote, urlsplit

from syncd.core.lookup import Answer, Question
from syncd.core.snapshot import Certificate, Entry, SetAside
from syncd.errors import IncompleteRead, InvalidValue, SourceUnreachable, SyncdError
from syncd.ldap import accounts, failover, keys, outcome
from syncd.ldap import probe as looking
from syncd.ldap.client import NotNow, Page, RawEntry, Session
from syncd.ldap.config import KEY_ATTRIBUTES, LdapConfig, SearchConfig
from syncd.ldap.failover import Dialer
from syncd.ldap.rootdse import Server, meet
from syncd.ldap.watchdog import Watchdog

GROUP_ATTRIBUTES = ("cn", "description", "member", "uniqueMember", "memberUid", "gidNumber", "objectSid")
USER_ATTRIBUTES = (*accounts.ATTRIBUTES, "primaryGroupID", "objectSid")
_ALWAYS = ("objectClass", "uid", "modifyTimestamp")
_ANY = "(objectClass=*)"
_RANGE = re.compile(r"(.+);range=(\d{1,12})-(\d{1,12}|\*)", re.IGNORECASE | re.ASCII)
# Active Directory names these in every search from a domain's top; they hold zones and settings, never people.
_NO_PEOPLE = ("dc=domaindnszones", "dc=forestdnszones", "cn=configuration", "cn=schema")

Part = Literal["users", "groups"]
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
        return self._open(LdapReading)

    def _open(self, kind: type[_Reading]) -> _Reading:
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
            dialer = Dialer(config, urls, watchdog)
            return kind(config, self.attributes_wanted, dialer.connect(), dialer.again, self._ended)
        except BaseException:
            watchdog.close()
            with self._lock:
                self._watchdogs.discard(watchdog)
            raise

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

    def probe(self, count_up_to: int = 1000) -> looking.Probe:
        """What `syncd check` says of the server that would be read. Raises SourceUnreachable and ConfigError."""
        return looking.probe(self.config, count_up_to)

    def probe_each(self, count_up_to: int = 1000) -> Iterator[tuple[str, looking.Probe | SyncdError]]:
        """The same of every URL, or why it cannot be used. Raises ConfigError."""
        return looking.probe_each(self.config, count_up_to)

    def _ended(self, session: Session, whole: bool | None) -> None:
        with self._lock:
            self._watchdogs.discard(session.watchdog)
            if whole:
                self._good, self._bad = session.url, None if self._bad == session.url else self._bad
            elif whole is False and not self._stopped:
                self._good, self._bad = None if self._good == session.url else self._good, session.url


class LdapReading:
    """One read under way: iterate once. `close` ends it early; iterating to the end closes it."""

    def __init__(
        self,
        config: LdapConfig,
        attributes_wanted: tuple[str, ...],
        session: Session,
        again: Callable[[str], Session | None] = lambda url: None,
        when_ended: Callable[[Session, bool | None], None] = lambda session, whole: None,
    ) -> None:
        self._config = config
        self._wanted = attributes_wanted
        self._again = again
        self._session = session
        self._when_ended = when_ended
        self._because: list[str] = []
        self._ended = False
        self._server: Server | None = None
        self._key_attribute = config.key_attribute
        self._seen = keys.Seen()
        self._counts = {"users": 0, "groups": 0, "received": 0, "set_aside": 0}
        self._first: Page | None = None  # had before it is known that the read will be of this server
        self._noted = False
        self._entries = self._read()

    def __iter__(self) -> Generator[Entry | SetAside, None, None]:
        return self._entries

    def close(self) -> None:
        self._entries.close()
        self._over(None)

    def certificate(self) -> Certificate:
        return Certificate(
            because=tuple(self._because) if self._ended else (*self._because, "the read was not carried to its end"),
            server_identity=self._server.identity if self._server else None,
            key_attribute=self._key_attribute,
            users_read=self._counts["users"],
            groups_read=self._counts["groups"],
            set_aside=self._counts["set_aside"],
            flavour=self._server.flavour if self._server else None,
            lockout=self._server.lockout if self._server else None,
        )

    def _read(self) -> Generator[Entry | SetAside, None, None]:
        config = self._config
        try:
            self._begin()
            yield from self._part("users", config.users)
            if config.groups is not None:
                yield from self._part("groups", config.groups)
            for canary in config.canaries:
                self._look_for(canary)
        except IncompleteRead as exc:
            self._because.append(str(exc))
        else:
            self._ended = True
        finally:
            self._ended = self._ended or bool(self._because)
            self._over(not self._because if self._ended else None)

    def _over(self, whole: bool | None) -> None:
        """None: given up by whoever read, which says nothing about the server."""
        self._session.close()
        if not self._noted:
            self._noted = True
            self._when_ended(self._session, whole)

    def _begin(self) -> None:
        """Meet the server and have its first page. One that is busy or breaks off before its first entry is left for
        another; nothing of it was believed yet."""
        while True:
            met = None
            try:
                self._server = meet(self._session, self._config)
                met = self._session.entries_received
                search = self._config.users
                self._first = self._ask(
                    search, search.base[0], _attributes(self._config, "users", search, self._wanted)
                )
                if self._first.code not in outcome.LATER or self._session.entries_received > met:
                    return
                why = self._first.outcome
            except NotNow as exc:
                why = str(exc)
                if met is not None and self._session.entries_received > met:
                    raise IncompleteRead(f"users: {why} after 0 entries") from exc
            self._elsewhere(f"users: {why} after 0 entries")

    def _elsewhere(self, why: str) -> None:
        """Go on with another session, or raise IncompleteRead with why this one was of no use."""
        self._session.hang_up()
        try:
            session = self._again(self._session.url)
        except SourceUnreachable as exc:
            raise IncompleteRead(f"{why}, and afterwards {exc}") from exc
        if session is None:
            raise IncompleteRead(why)
        self._session = session

    def _part(self, part: Part, search: SearchConfig) -> Generator[Entry | SetAside, None, None]:
        before = self._counts["received"]
        for base in search.base:
            yield from self._search(part, search, base)
        if part == "users" and self._counts["received"] == before:
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
        attributes = attributes or _attributes(self._config, part, search, self._wanted)
        while True:
            number += 1
            try:
                page = self._page(search, base, attributes, cookie)
                if page.code == 32 and may_be_absent:
                    return
                _judge(page, base)
                self._note_references(page)
                for raw in page.entries:
                    received += 1
                    entry = self._entry(part, raw, page)
                    if entry is not None:
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
        size = self._config.page_size if self._paged else None
        return self._session.search(base, search.scope, search.filter, attributes, size, cookie)

    @property
    def _paged(self) -> bool:
        return self._server is None or self._server.paging

    def _note_references(self, page: Page) -> None:
        elsewhere = tuple(url for url in page.references if not _holds_no_people(url))
        if elsewhere:
            raise IncompleteRead(
                f"{len(elsewhere)} parts of the tree are on another server (referral to {elsewhere[0]})"
            )

    def _entry(self, part: Part, raw: RawEntry, page: Page) -> Entry | SetAside | None:
        self._counts["received"] += 1
        if self._counts["received"] > self._config.max_entries:
            raise IncompleteRead(f"more than max_entries ({self._config.max_entries:,}) came")
        if self._key_attribute is None:
            self._key_attribute = keys.choose(keys.fold_names(other.attributes) for other in page.entries)
            if self._key_attribute is None:
                raise IncompleteRead(
                    f"no entry shows {', '.join(KEY_ATTRIBUTES)}; the bind account must be able to read one"
                )
        key = None
        try:
            attributes = keys.fold_names(self._whole_ranges(raw))
            key = keys.key_of(self._key_attribute, attributes)
            name = keys.readable_dn(raw.dn)
            size = sum(len(value) for values in attributes.values() for value in values)
            if size > self._config.max_entry_bytes:
                raise InvalidValue(
                    f"it has {size:,} bytes, more than max_entry_bytes ({self._config.max_entry_bytes:,})"
                )
            if self._seen.repeats(self._key_attribute, key, name):
                return None
        except InvalidValue as exc:
            self._counts["set_aside"] += 1
            return SetAside(raw.dn.decode("utf-8", "backslashreplace") or "an entry without a DN", str(exc), key)
        self._counts[part] += 1
        return Entry("user" if part == "users" else "group", key, name, attributes)

    def _whole_ranges(self, raw: RawEntry) -> Mapping[str, tuple[bytes, ...]]:
        """Active Directory hands out 1,500 members at a time (MS-ADTS 3.1.1.3.1.3.3): ask for the rest."""
        if not any(";range=" in name.lower() for name in raw.attributes):
            return raw.attributes
        whole: dict[str, tuple[bytes, ...]] = {}
        for name, values in raw.attributes.items():
            found = _RANGE.fullmatch(name)
            if found is None:
                whole[name] = whole.get(name, ()) + values
                continue
            attribute, last = found[1], found[3]
            collected = list(values)
            while last != "*":
                last, more = self._range(raw.dn.decode("utf-8", "replace"), attribute, int(last) + 1)
                collected += more
            whole[attribute] = whole.get(attribute, ()) + tuple(collected)
        return whole

    def _range(self, name: str, attribute: str, start: int) -> tuple[str, tuple[bytes, ...]]:
        page = self._session.search(name, "base", _ANY, (f"{attribute};range={start}-*",))
        for entry in page.entries if page.code == 0 else ():
            for option, values in entry.attributes.items():
                found = _RANGE.fullmatch(option)
                if not found or found[1].lower() != attribute.lower() or int(found[2]) != start or not values:
                    continue
                if found[3] == "*" or int(found[3]) >= start:
                    return found[3], values
        raise IncompleteRead(f"{attribute} of {name}: the values from {start:,} on did not come: {page.outcome}")

    def _look_for(self, canary: str) -> None:
        page = self._session.search(canary, "base", _ANY, ())
        if page.code != 0 or len(page.entries) != 1:
            self._because.append(f"canary {canary} is not visible: {page.outcome}")


def _attributes(config: LdapConfig, part: Part, search: SearchConfig, wanted: tuple[str, ...]) -> tuple[str, ...]:
    key = (config.key_attribute,) if config.key_attribute else KEY_ATTRIBUTES
    own = USER_ATTRIBUTES if part == "users" else GROUP_ATTRIBUTES
    unique = {name.lower(): name for name in (*_ALWAYS, *key, *own, *search.attributes, *wanted)}
    return tuple(unique.values())


def _judge(page: Page, base: str) -> None:
    if page.code == 32:
        raise IncompleteRead(f"the base {base} does not exist or is hidden: {page.outcome}")
    if page.code != 0:
        raise IncompleteRead(page.outcome)


def _holds_no_people(url: str) -> bool:
    return unquote(urlsplit(url).path).lstrip("/").replace(" ", "").lower().startswith(_NO_PEOPLE)
