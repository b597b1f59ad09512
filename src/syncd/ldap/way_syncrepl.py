"""What changed by LDAP content synchronisation (RFC 4533): one poll for each base, each with a cookie of its own.

Entries go through as they come; nothing of a poll is kept. Pages are never asked for with it. OpenLDAP makes the first
cookie without a refresh: its cookies say how far a server has come, and are the same for every search.
Whoever is below a unit that is renamed or moved gets another DN without a word (OpenLDAP writes the unit only), so the units
are asked about first, and one that changed, came or went means a whole read.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, assert_never

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
        asking = _Asking(with_)
        units = [{**each, "cookie": _same_units(asking, each)} for each in state["units"]]
        for number, search in enumerate(searches):
            cookie = yield from _poll(asking, search, cookies[number].encode("latin-1"))
            cookies[number] = cookie.decode("latin-1")
        return {"cookies": cookies, "units": units}

    def doubt(self, with_: Conversation) -> str | None:
        return None

    def no_bell(self, with_: Conversation) -> str | None:
        return None

    def listen(self, with_: Conversation, state: State) -> Iterator[None]:
        """RFC 4533's refreshAndPersist, only to hear that something changed: what it was is polled for."""
        cookies = [each.encode("latin-1") for each in state["cookies"]]
        asked = [(search.base, search.scope, search.filter) for search in with_.searches()]
        searches = [(*each, cookie) for each, cookie in zip(asked, cookies, strict=True)]
        yield from syncrepl.bells(with_.session.listen(searches))


@dataclass(slots=True)
class _Asking:
    """Polls. OpenLDAP ends one without a word and without a cookie if the whole database is as the cookie says: then it is not
    asked again with the same cookie below the same naming context."""

    with_: Conversation
    quiet: set[tuple[str, bytes]] = field(default_factory=set)

    def __call__(
        self, base: str, scope: str, filter_text: str, attributes: tuple[str, ...], cookie: bytes
    ) -> Iterator[Told]:
        where = (self._context(base), cookie)
        if where in self.quiet:
            yield Over(0, "success", "", False, None)
            return
        silent = True
        for told in self.with_.session.sync(base, scope, filter_text, attributes, cookie):
            silent = silent and told == Over(0, "success", "", False, None)
            yield told
        if silent and where[0]:
            self.quiet.add(where)

    def _context(self, base: str) -> str:
        assert self.with_.server is not None
        above = [context for context in self.with_.server.contexts if context and dn.is_under(base, context)]
        return max(above, key=len, default="")


def _cookie_of_now(with_: Conversation, search: Search) -> bytes:
    """By a search that finds nobody."""
    told = list(with_.session.sync(search.base, "base", _NOBODY, (), None))
    over = told[-1]
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


def _same_units(asking: _Asking, known: dict[str, Any]) -> str:
    """The next cookie. Raises FullReadNeeded if one of these units is not as it was."""
    base, left = str(known["base"]), set(known["keys"])
    cookie = str(known["cookie"]).encode("latin-1")
    present = False
    for told in asking(base, "subtree", _UNITS, (), cookie):
        match told:
            case Named(state=syncrepl.PRESENT):
                left.discard(told.key)
            case Named(state=syncrepl.ADD | syncrepl.MODIFY):
                name = told.dn.decode("utf-8", "replace")
                raise FullReadNeeded(f"{name} is new or changed: what is below it may have moved untold")
            case Keys(deleted=False):
                left -= set(told.keys)
            case Named() | Keys():
                named = {told.key} if isinstance(told, Named) else set(told.keys)
                if named & set(known["keys"]):
                    raise FullReadNeeded(f"a unit below {base} is gone, and what was below it went untold")
            case PhaseOver():
                present = present or told.present
            case Over():
                _judge(base, told)
                if (told.present or present) and left:
                    raise FullReadNeeded(
                        f"{len(left):,} units below {base} are gone, and what was below them went untold"
                    )
        if not isinstance(told, Elsewhere):
            cookie = _next(base, told.cookie, cookie)
    return cookie.decode("latin-1")


def _poll(asking: _Asking, search: Search, cookie: bytes) -> Generator[Reported, None, bytes]:
    """What changed there. Returns the cookie of the next poll."""
    present = False
    searched_for: list[Named] = []
    for told in asking(search.base, search.scope, search.filter, search.attributes, cookie):
        match told:
            case Named() if dynamic.is_searched_for(told):
                searched_for.append(told)
            case Named():
                entry = _named(asking.with_, search, told)
                if entry is not None:
                    yield entry
            case Keys():
                for key in told.keys:
                    yield Gone(key) if told.deleted else Still(key)
            case PhaseOver():
                present = present or told.present
            case NewCookie():
                pass
            case Elsewhere():
                require_whole_tree(told.urls)
                continue
            case Over():
                _judge(search.base, told, search.part)
                if told.present or present:
                    yield OnlyThese(search.kind, search.base, search.scope)
            case _:
                assert_never(told)
        cookie = _next(search.part, told.cookie, cookie)
    for each in searched_for:
        entry = _named(asking.with_, search, each)
        if entry is not None:
            yield entry
    return cookie


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
