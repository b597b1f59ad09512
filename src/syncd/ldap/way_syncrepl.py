"""What changed by LDAP content synchronisation (RFC 4533): one poll for each base, each with a cookie of its own.

Entries go through as they come; nothing of a poll is kept. Pages are never asked for with it. OpenLDAP makes the first
cookie without a refresh: its cookies say how far a server has come, and are the same for every search.
Whoever is below a unit that is renamed or moved gets another DN without a word (OpenLDAP writes the unit only), so the units
are asked about too, and one that changed, came or went means a whole read.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from syncd.core.snapshot import Entry, Gone, OnlyThese, Reported, SetAside, Still
from syncd.errors import FullReadNeeded, IncompleteRead, InvalidValue
from syncd.ldap import dn, dynamic, keys, narrow, outcome, syncrepl
from syncd.ldap.client import NotNow
from syncd.ldap.conversation import Conversation, Search, require_whole_tree
from syncd.ldap.decode import RawEntry
from syncd.ldap.syncrepl import Elsewhere, Keys, Named, NewCookie, Over, PhaseOver, Told
from syncd.ldap.ways import Behind, NotOffered, NotThisKind, State

_NOBODY = "(!(objectClass=*))"
_UNWILLING = 53
_UNITS = narrow.any_of(
    [
        f"(objectClass={name})"
        for name in ("organizationalUnit", "organization", "domain", "dcObject", "country", "locality", "container")
    ]
)


class Syncrepl:
    name = "syncrepl"
    key_attribute: str | None = "entryUUID"

    def begin(self, with_: Conversation) -> State:
        server = with_.server
        assert server is not None
        if server.vendor != "OpenLDAP":
            raise NotThisKind(f"{server.vendor} is not OpenLDAP")
        if not server.offers(syncrepl.SYNC_REQUEST):
            raise NotOffered("the server does not offer it: load the overlay syncprov")
        cookies = [_cookie_of_now(with_, search).decode("latin-1") for search in with_.searches()]
        of_base = {search.base: each for search, each in zip(with_.searches(), cookies, strict=True)}
        tops = dict.fromkeys(search.base for search in with_.searches() if search.scope == "subtree")
        units = [{"base": base, "cookie": of_base[base], "keys": sorted(_units(with_, base))} for base in tops]
        return {"cookies": cookies, "units": units}

    def changes(self, with_: Conversation, state: State) -> Generator[Reported, None, State]:
        searches = list(with_.searches())
        cookies: list[str] = list(state["cookies"])
        if len(cookies) != len(searches):
            raise FullReadNeeded("the checkpoint is of other searches")
        units = [_Units(str(each["base"]), _bytes(each["cookie"]), frozenset(each["keys"])) for each in state["units"]]
        entries = [_Poll(with_, search, _bytes(cookie)) for search, cookie in zip(searches, cookies, strict=True)]
        yield from _told(with_, [*units, *entries])
        for poll in entries:
            yield from poll.searched_for()
        known = zip(state["units"], units, strict=True)
        return {
            "cookies": [poll.cookie.decode("latin-1") for poll in entries],
            "units": [{**each, "cookie": poll.cookie.decode("latin-1")} for each, poll in known],
        }

    def doubt(self, with_: Conversation) -> str | None:
        return None

    def no_bell(self, with_: Conversation) -> str | None:
        return None

    def listen(self, with_: Conversation, state: State) -> Iterator[None]:
        """RFC 4533's refreshAndPersist, only to hear that something changed: what it was is polled for."""
        pairs = zip(with_.searches(), state["cookies"], strict=True)
        searches = [(search.base, search.scope, search.filter, (), _bytes(cookie)) for search, cookie in pairs]
        yield from syncrepl.bells(with_.session.listen(searches))


def _told(with_: Conversation, polls: Sequence[_Units | _Poll]) -> Iterator[Reported]:
    """The answers to all of these, as they come.

    The first is asked alone: OpenLDAP ends a poll without a word and without a cookie if the whole database is as the cookie
    says, and then others with the same cookie below the same naming context are not asked. The rest are asked together, so
    that the server makes one answer while another is read.
    """
    over, quiet, waiting = Over(0, "success", "", False, None), True, list(polls)
    first = waiting.pop(0)
    for _, told in with_.session.sync((_asked(first),)):
        quiet = quiet and told == over
        yield from first.take(told)
    where = _context(with_, first.base), first.cookie
    if quiet and where[0]:
        for poll in [poll for poll in waiting if (_context(with_, poll.base), poll.cookie) == where]:
            waiting.remove(poll)
            yield from poll.take(over)
    if waiting:
        for number, told in with_.session.sync([_asked(poll) for poll in waiting]):
            yield from waiting[number].take(told)


def _asked(poll: _Units | _Poll) -> tuple[str, str, str, tuple[str, ...], bytes]:
    return poll.base, poll.scope, poll.filter, poll.attributes, poll.cookie


def _context(with_: Conversation, base: str) -> str:
    assert with_.server is not None
    above = [context for context in with_.server.contexts if context and dn.is_under(base, context)]
    return max(above, key=len, default="")


def _bytes(cookie: str) -> bytes:
    return cookie.encode("latin-1")


def _cookie_of_now(with_: Conversation, search: Search) -> bytes:
    """By a search that finds nobody."""
    *_, (_, over) = with_.session.sync(((search.base, "base", _NOBODY, (), None),))
    assert isinstance(over, Over)
    if over.code in outcome.LATER:
        raise NotNow(over.outcome)
    if over.code:
        raise NotOffered(f"{search.base}: {over.outcome}: is the overlay syncprov on this database?")
    if not over.cookie:
        raise NotOffered(f"{search.base}: the server gave no cookie")
    return over.cookie


def _units(with_: Conversation, base: str) -> Iterator[str]:
    """Keys of the entries below which others are."""
    for page in with_.pages(base, "subtree", _UNITS, ("entryUUID",)):
        for entry in page.entries:
            try:
                yield keys.key_of("entryUUID", keys.fold_names(entry.attributes))
            except InvalidValue:
                raise NotOffered(f"{base}: a unit shows no entryUUID") from None


@dataclass(slots=True)
class _Units:
    """The poll for the entries below which others are. Raises FullReadNeeded if one of these is not as it was."""

    base: str
    cookie: bytes  # of the next poll, when this one is over
    keys: frozenset[str]
    left: set[str] = field(default_factory=set)  # in a present phase: those that were not named yet
    present: bool = False
    scope: str = "subtree"
    filter: str = _UNITS
    attributes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.left = set(self.keys)

    def take(self, told: Told) -> tuple[()]:
        match told:
            case Named(state=syncrepl.PRESENT):
                self.left.discard(told.key)
            case Named(state=syncrepl.ADD | syncrepl.MODIFY):
                name = told.dn.decode("utf-8", "replace")
                raise FullReadNeeded(f"{name} is new or changed: what is below it may have moved untold")
            case Keys(deleted=False):
                self.left.difference_update(told.keys)
            case Named() | Keys():
                if not self.keys.isdisjoint((told.key,) if isinstance(told, Named) else told.keys):
                    raise FullReadNeeded(f"a unit below {self.base} is gone, and what was below it went untold")
            case PhaseOver():
                self.present = self.present or told.present
            case Over():
                _judge(self.base, told)
                if (told.present or self.present) and self.left:
                    raise FullReadNeeded(
                        f"{len(self.left):,} units below {self.base} are gone, and what was below them went untold"
                    )
        if not isinstance(told, Elsewhere):
            self.cookie = _next(self.base, told.cookie, self.cookie)
        return ()


@dataclass(slots=True)
class _Poll:
    """What changed for one search."""

    with_: Conversation
    search: Search
    cookie: bytes  # of the next poll, when this one is over
    present: bool = False
    dynamic: list[Named] = field(default_factory=list)  # groups whose members are searched for

    @property
    def base(self) -> str:
        return self.search.base

    @property
    def scope(self) -> str:
        return self.search.scope

    @property
    def filter(self) -> str:
        return self.search.filter

    @property
    def attributes(self) -> tuple[str, ...]:
        return self.search.attributes

    def take(self, told: Told) -> Iterator[Reported]:
        match told:
            case Named() if dynamic.is_searched_for(told):
                self.dynamic.append(told)
            case Named():
                entry = _named(self.with_, self.search, told)
                if entry is not None:
                    yield entry
            case Keys():
                for key in told.keys:
                    yield Gone(key) if told.deleted else Still(key)
            case PhaseOver():
                self.present = self.present or told.present
            case NewCookie():
                pass
            case Elsewhere():
                require_whole_tree(told.urls)
                return
            case Over():
                _judge(self.search.base, told, self.search.part)
                if told.present or self.present:
                    yield OnlyThese(self.search.kind, self.search.base, self.search.scope)
            case _:
                assert_never(told)
        self.cookie = _next(self.search.part, told.cookie, self.cookie)

    def searched_for(self) -> Iterator[Reported]:
        """Other requests are made for these, so they wait until nothing is being told."""
        for each in self.dynamic:
            entry = _named(self.with_, self.search, each)
            if entry is not None:
                yield entry


def _next(about: str, told: bytes | None, cookie: bytes) -> bytes:
    if told == b"":
        raise FullReadNeeded(f"{about}: the server does not know the cookie")
    return told or cookie


def _named(with_: Conversation, search: Search, told: Named) -> Entry | SetAside | Gone | Still | None:
    if told.state == syncrepl.PRESENT:
        return Still(told.key)
    if told.state == syncrepl.DELETE:
        return Gone(told.key)
    values = {name: tuple(each) for name, each in told.attributes.items()}
    entry = with_.take(search.part, RawEntry(told.dn, values))
    if isinstance(entry, SetAside) and entry.key is None:
        return SetAside(entry.entry, entry.why, told.key)
    if entry is not None and entry.key != told.key:
        raise IncompleteRead(f"{search.part}: an entry and its sync state name two keys, {entry.key} and {told.key}")
    return entry


def _judge(base: str, over: Over, part: str = "units") -> None:
    about = f"{part}: {over.outcome}"
    if over.code == 0 and over.present is not None:
        return
    if over.code == 0:
        raise IncompleteRead(f"{part}: the server left out the sync done control, so who is gone is not known")
    if over.code in outcome.LATER:
        raise NotNow(about)
    if over.code == _UNWILLING and "newer than provider" in over.message:
        raise Behind(about)
    if over.code == 32:
        raise IncompleteRead(f"{part}: the base {base} does not exist or is hidden: {over.outcome}")
    if over.code in (3, 10, 80):
        raise IncompleteRead(about)
    raise FullReadNeeded(about)  # e-syncRefreshRequired, a limit of ours, whatever else a whole read may still manage
