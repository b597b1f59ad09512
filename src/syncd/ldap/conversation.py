"""A read under way, whole or of what changed: one server at a time, what came from it, and why it ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from syncd.core.snapshot import Certificate, Entry, SetAside
from syncd.errors import IncompleteRead, SourceUnreachable
from syncd.ldap import narrow, outcome
from syncd.ldap.client import Control, NotNow, Page, Session
from syncd.ldap.config import LdapConfig, SearchConfig
from syncd.ldap.decode import RawEntry
from syncd.ldap.entries import Entries, Part, attributes_asked
from syncd.ldap.rootdse import Server, meet

# Active Directory names these in every search from a domain's top; they hold zones and settings, never people.
_NO_PEOPLE = ("dc=domaindnszones", "dc=forestdnszones", "cn=configuration", "cn=schema")

_NO_SUCH_OBJECT = 32
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class Search(NamedTuple):
    """One base of the users or of the groups, as it is asked."""

    part: Part
    base: str
    scope: str
    filter: str
    attributes: tuple[str, ...]

    @property
    def kind(self) -> str:
        return "user" if self.part == "users" else "group"


class Conversation:
    """`session` and `server` are those of now. `checkpoint` is what the certificate of a complete read says."""

    def __init__(
        self,
        config: LdapConfig,
        attributes_wanted: tuple[str, ...],
        session: Session,
        again: Callable[[str], Session | None] = lambda url: None,
        when_ended: Callable[[Session, bool | None], None] = lambda session, whole: None,
    ) -> None:
        self.config = config
        self.wanted = attributes_wanted
        self.session = session
        self.server: Server | None = None
        self.entries = Entries(config)
        self.because: list[str] = []
        self.ended = False
        self.checkpoint: str | None = None
        self.own_entry: bool | None = None
        self._again = again
        self._when_ended = when_ended
        self.began_at = _LONG_AGO
        self._began_s = time.monotonic()
        self._noted = False

    def time(self) -> datetime:
        """Now, by the clock of whoever asked for it when it began (`began_at`)."""
        return self.began_at + timedelta(seconds=time.monotonic() - self._began_s)

    def meet(self) -> Server:
        self.server = meet(self.session, self.config)
        self.entries.paged = self.server.paging
        return self.server

    def searches(self) -> Iterator[Search]:
        """Users first, every base."""
        both: tuple[tuple[Part, SearchConfig | None], ...] = (
            ("users", self.config.users),
            ("groups", self.config.groups),
        )
        for part, search in both:
            for base in search.base if search else ():
                assert search is not None
                asked = attributes_asked(self.config, part, search, self.wanted)
                yield Search(part, base, search.scope, search.filter, asked)

    def take(self, part: Part, raw: RawEntry, among: tuple[RawEntry, ...] = ()) -> Entry | SetAside | None:
        """See Entries.take."""
        return self.entries.take(self.session, part, raw, among or (raw,))

    def having(self, condition: str, part: Part | None = None) -> Iterator[Entry | SetAside]:
        """Those of whom this filter is true as well, users first, or of one part only. Raises IncompleteRead."""
        for search in self.searches():
            if part is not None and search.part != part:
                continue
            page = self.session.search(
                search.base, search.scope, narrow.all_of([search.filter, condition]), search.attributes
            )
            if page.code:
                raise IncompleteRead(f"{search.part}: {page.outcome} when entries were asked for by their keys")
            require_whole_tree(page.references)
            for raw in page.entries:
                entry = self.take(search.part, raw)
                if entry is not None:
                    yield entry

    def pages(
        self,
        base: str,
        scope: str,
        filter_text: str,
        attributes: tuple[str, ...],
        controls: tuple[Control, ...] = (),
    ) -> Iterator[Page]:
        """Every page of any search. Raises IncompleteRead, NotNow."""
        cookie = b""
        while True:
            page = self.session.search(
                base, scope, filter_text, attributes, self.config.page_size, cookie, controls=controls, ahead=True
            )
            if page.code in outcome.LATER:
                raise NotNow(f"{base}: {page.outcome}")
            if page.code == _NO_SUCH_OBJECT:
                raise IncompleteRead(f"the base {base} does not exist or is hidden: {page.outcome}")
            if page.code != 0:
                raise IncompleteRead(f"{base}: {page.outcome}")
            if page.cookie is None or (page.cookie and page.cookie == cookie and not page.entries):
                raise IncompleteRead(f"{base}: the end of the answer is not known")
            yield page
            if not page.cookie:
                return
            cookie = page.cookie

    def elsewhere(self, why: str) -> None:
        """Go on with another session, or raise IncompleteRead with why this one was of no use."""
        self.session.hang_up()
        try:
            session = self._again(self.session.url)
        except SourceUnreachable as exc:
            raise IncompleteRead(f"{why}, and afterwards {exc}") from exc
        if session is None:
            raise IncompleteRead(why)
        self.session = session

    def look_for_canaries(self) -> None:
        for canary in self.config.canaries:
            page = self.session.look_at(canary)
            if not page.shows_one:
                self.because.append(f"canary {canary} is not visible: {page.outcome}")

    def look_for_itself(self) -> None:
        own = self.config.own_name(self.session.who_am_i() if self.config.sasl else None)
        self.own_entry = None if own is None else self.session.sees(own)

    def certificate(self) -> Certificate:
        server = self.server
        return Certificate(
            because=tuple(self.because) if self.ended else (*self.because, "the read was not carried to its end"),
            server_identity=server.identity if server else None,
            key_attribute=self.entries.key_attribute,
            users_read=self.entries.users,
            groups_read=self.entries.groups,
            set_aside=self.entries.set_aside,
            flavour=server.flavour if server else None,
            lockout=server.lockout if server else None,
            own_entry=self.own_entry,
            groups_by_users=bool(self.config.groups and self.config.groups.by),
            checkpoint=self.checkpoint,
        )

    def over(self, whole: bool | None) -> None:
        """None: given up by whoever read, which says nothing about the server."""
        self.session.close()
        self.entries.seen.close()
        if not self._noted:
            self._noted = True
            self._when_ended(self.session, whole)


def require_whole_tree(references: tuple[str, ...]) -> None:
    """Raises IncompleteRead if a part of what was searched is on another server."""
    found = tuple(url for url in references if not _holds_no_people(url))
    if found:
        raise IncompleteRead(f"{len(found)} parts of the tree are on another server (referral to {found[0]})")


def _holds_no_people(url: str) -> bool:
    return unquote(urlsplit(url).path).lstrip("/").replace(" ", "").lower().startswith(_NO_PEOPLE)
