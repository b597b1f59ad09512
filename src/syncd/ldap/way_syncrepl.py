"""What changed by LDAP content synchronisation (RFC 4533): one poll for each base, each with a cookie of its own.

Entries go through as they come; nothing of a poll is kept. Pages are never asked for with it. OpenLDAP makes the first
cookie without a refresh: its cookies say how far a server has come, and are the same for every search.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import assert_never

from syncd.core.snapshot import Entry, Gone, OnlyThese, Reported, SetAside, Still
from syncd.errors import FullReadNeeded, IncompleteRead
from syncd.ldap import outcome, syncrepl
from syncd.ldap.client import NotNow, RawEntry
from syncd.ldap.conversation import Conversation, Search, require_whole_tree
from syncd.ldap.syncrepl import Elsewhere, Keys, Named, NewCookie, Over, PhaseOver
from syncd.ldap.ways import Behind, NotOffered, NotThisKind, State

_NOBODY = "(!(objectClass=*))"
_UNWILLING = 53


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
        return {"cookies": [_cookie_of_now(with_, search).decode("latin-1") for search in with_.searches()]}

    def changes(self, with_: Conversation, state: State) -> Generator[Reported, None, State]:
        searches = list(with_.searches())
        cookies: list[str] = list(state["cookies"])
        if len(cookies) != len(searches):
            raise FullReadNeeded("the checkpoint is of other searches")
        for number, search in enumerate(searches):
            cookie = yield from _poll(with_, search, cookies[number].encode("latin-1"))
            cookies[number] = cookie.decode("latin-1")
        return {"cookies": cookies}

    def doubt(self, with_: Conversation) -> str | None:
        return None


def _cookie_of_now(with_: Conversation, search: Search) -> bytes:
    """By a search that finds nobody."""
    told = list(with_.session.sync(search.base, "base", _NOBODY, (), None, persist=False))
    over = told[-1]
    assert isinstance(over, Over)
    if over.code in outcome.LATER:
        raise NotNow(over.outcome)
    if over.code:
        raise NotOffered(f"{search.base}: {over.outcome}: is the overlay syncprov on this database?")
    if not over.cookie:
        raise NotOffered(f"{search.base}: the server gave no cookie")
    return over.cookie


def _poll(with_: Conversation, search: Search, cookie: bytes) -> Generator[Reported, None, bytes]:
    """What changed there. Returns the cookie of the next poll."""
    present = False
    asked = with_.session.sync(search.base, search.scope, search.filter, search.attributes, cookie, persist=False)
    for told in asked:
        match told:
            case Named():
                entry = _named(with_, search, told)
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
                _judge(search, told)
                if told.present or present:
                    yield OnlyThese(search.kind, search.base, search.scope)
            case _:
                assert_never(told)
        if told.cookie == b"":
            raise FullReadNeeded(f"{search.part}: the server does not know the cookie")
        cookie = told.cookie or cookie
    return cookie


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


def _judge(search: Search, over: Over) -> None:
    about = f"{search.part}: {over.outcome}"
    if over.code == 0 and over.present is not None:
        return
    if over.code == 0:
        raise IncompleteRead(f"{search.part}: the server left out the sync done control, so who is gone is not known")
    if over.code in outcome.LATER:
        raise NotNow(about)
    if over.code == _UNWILLING and "newer than provider" in over.message:
        raise Behind(about)
    if over.code == 32:
        raise IncompleteRead(f"{search.part}: the base {search.base} does not exist or is hidden: {over.outcome}")
    if over.code in (3, 10, 80):
        raise IncompleteRead(about)
    raise FullReadNeeded(about)
