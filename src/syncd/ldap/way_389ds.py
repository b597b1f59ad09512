"""What changed in a 389 Directory Server, by its content synchronisation (RFC 4533) over the retro changelog.

It differs from OpenLDAP's in what it may be believed. It never says that somebody is not mentioned because she is gone, though
its last message reads so; it sends attributes that were not asked for, and says nothing of an entry that leaves a filter. So
the whole suffix is polled, for keys alone (nsUniqueId), and each is read again through bases and filters. A changelog that does
not keep nsUniqueIds makes it say nothing at all: as long as no change was ever told, one that was counted and not told means a
whole read. What is below a unit that moves changes its DN untold: that means a whole read too.
"""

from __future__ import annotations

import uuid
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

from syncd.core.snapshot import Gone, Reported
from syncd.errors import FullReadNeeded, InvalidValue
from syncd.ldap import keys, narrow, outcome, syncrepl
from syncd.ldap.client import NotNow
from syncd.ldap.conversation import Conversation
from syncd.ldap.syncrepl import Elsewhere, Keys, Named, Over
from syncd.ldap.values import integer, only_one
from syncd.ldap.ways import Behind, NotOffered, NotThisKind, State

KEY = "nsUniqueId"
MOST_CHANGED = 10_000  # entries; beyond that, reading everything is cheaper
_AT_ONCE = 50  # keys in one search
_ANY = "(objectClass=*)"
_UNIT_CLASSES = ("organizationalUnit", "organization", "domain", "dcObject", "country", "locality", "nsContainer")
_UNITS = narrow.any_of([f"(objectClass={name})" for name in _UNIT_CLASSES])
_ARE_UNITS = frozenset(name.lower().encode() for name in _UNIT_CLASSES)


@dataclass(slots=True)
class _Told:
    changed: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)


class ContentSync:
    name = "content synchronization"
    key_attribute: str | None = KEY

    def begin(self, with_: Conversation) -> State:
        server = with_.server
        assert server is not None
        if server.vendor != "389 Project":
            raise NotThisKind(f"{server.vendor} is not 389 Directory Server")
        if not server.offers(syncrepl.SYNC_REQUEST):
            raise NotOffered(
                "the server does not offer it: switch on its plug-ins Retro Changelog and Content Synchronization"
            )
        span = _span(with_)
        if span is None:
            raise NotOffered("the server shows no changelog: switch on its plug-in Retro Changelog")
        units = sorted({key for top in server.tops for key in _units(with_, top)})
        cookies = {top: _cookie_of_now(with_, top).decode("latin-1") for top in server.tops}
        return {"cookies": cookies, "number": span[1], "units": units, "told": False}

    def changes(self, with_: Conversation, state: State) -> Generator[Reported, None, State]:
        assert with_.server is not None
        number, units, cookies = int(state["number"]), set(state["units"]), dict(state["cookies"])
        if cookies.keys() != set(with_.server.tops):
            raise FullReadNeeded("other suffixes are read than before")
        last = _require_reach(with_, number)
        told = _Told()
        for top, cookie in cookies.items():
            cookies[top] = _poll(with_, top, cookie.encode("latin-1"), units, told).decode("latin-1")
        ever = bool(state["told"] or told.changed or told.gone)
        if last > number and not ever:
            raise FullReadNeeded(
                f"the server counted {last - number} changes and told none: does its Retro Changelog have "
                "nsslapd-attribute: nsuniqueid:targetUniqueId?"
            )
        found: set[str] = set()
        for some in _chunks(told.changed):
            for item in with_.having(narrow.any_of([keys.filter_of(KEY, key) for key in some])):
                found |= {item.key} if item.key else set()
                yield item
        for key in sorted(told.gone | (told.changed - found)):
            yield Gone(key)
        return {"cookies": cookies, "number": last, "units": sorted(units - told.gone), "told": ever}

    def doubt(self, with_: Conversation) -> str | None:
        return None

    def no_bell(self, with_: Conversation) -> str | None:
        return None

    def listen(self, with_: Conversation, state: State) -> Iterator[None]:
        """Its refreshAndPersist, of whole suffixes and only to hear that something changed: what it was is polled for."""
        told = state["cookies"].items()
        searches = [(top, "subtree", _ANY, (), str(cookie).encode("latin-1")) for top, cookie in told]
        yield from syncrepl.bells(with_.session.listen(searches))


def _span(with_: Conversation) -> tuple[int, int] | None:
    """The first and the last number of the changelog; None if it is not shown. (1, 0): nothing is in it yet."""
    page = with_.session.search("", "base", _ANY, ("changelog", "firstChangeNumber", "lastChangeNumber"))
    if page.code in outcome.LATER:
        raise NotNow(page.outcome)
    found = keys.fold_names(page.entries[0].attributes) if page.code == 0 and page.entries else {}
    try:
        first, last = (only_one(name, found) for name in ("firstChangeNumber", "lastChangeNumber"))
        if first is None or last is None:
            return (1, 0) if "changelog" in found else None
        return max(1, integer("firstChangeNumber", first)), integer("lastChangeNumber", last)
    except InvalidValue:
        return None


def _require_reach(with_: Conversation, number: int) -> int:
    """The last number now. Raises FullReadNeeded if the changelog does not reach back to `number`, or not so far."""
    span = _span(with_)
    if span is None:
        raise FullReadNeeded("the server shows no changelog any more")
    first, last = span
    if first > number + 1:
        raise FullReadNeeded(
            f"the changelog begins with number {first}, and what came after {number} is gone (its max-age)"
        )
    if last < number:
        raise FullReadNeeded(f"the changelog ends with number {last}, before {number}: it was made anew")
    return last


def _cookie_of_now(with_: Conversation, top: str) -> bytes:
    """A cookie is of who asks, base and filter, and not of the scope: so one entry is enough."""
    *_, (_, over) = with_.session.sync(((top, "base", _ANY, (), None),))
    assert isinstance(over, Over)
    if over.code in outcome.LATER:
        raise NotNow(over.outcome)
    if over.code or not over.cookie:
        raise NotOffered(f"{top}: {over.outcome if over.code else 'the server gave no cookie'}")
    return over.cookie


def _poll(with_: Conversation, top: str, cookie: bytes, units: set[str], told: _Told) -> bytes:
    """Adds to `told` and to `units`; the next cookie. Raises FullReadNeeded for a unit that was there and changed."""
    for _, answer in with_.session.sync(((top, "subtree", _ANY, ("objectClass",), cookie),)):
        match answer:
            case Named(state=syncrepl.DELETE) | Keys(deleted=True):
                told.gone |= {_ns(each) for each in ((answer.key,) if isinstance(answer, Named) else answer.keys)}
            case Named():
                key = _ns(answer.key)
                told.changed.add(key)
                told.gone.discard(key)
                _note_unit(answer, key, units)
            case Over():
                _judge(answer)
        if not isinstance(answer, Elsewhere):
            cookie = answer.cookie or cookie
        if len(told.changed) > MOST_CHANGED:
            raise FullReadNeeded(f"more than {MOST_CHANGED:,} entries changed")
    return cookie


def _note_unit(answer: Named, key: str, units: set[str]) -> None:
    classes = {
        value.lower() for name, each in answer.attributes.items() if name.lower() == "objectclass" for value in each
    }
    if not classes & _ARE_UNITS:
        return
    if key in units:
        name = answer.dn.decode("utf-8", "replace")
        raise FullReadNeeded(f"{name} was changed: if it was moved or renamed, so was all below it, untold")
    units.add(key)


def _judge(over: Over) -> None:
    if over.code == 0:
        return
    if over.code in outcome.LATER:
        raise NotNow(over.outcome)
    if over.code == syncrepl.REFRESH_REQUIRED:
        raise Behind(f"the server does not know the cookie: {over.outcome}")
    raise FullReadNeeded(over.outcome)


def _units(with_: Conversation, top: str) -> Iterator[str]:
    for page in with_.pages(top, "subtree", _UNITS, (KEY,)):
        for entry in page.entries:
            try:
                yield keys.key_of(KEY, keys.fold_names(entry.attributes))
            except InvalidValue:
                raise NotOffered(f"{top}: a unit shows no {KEY}") from None


def _ns(key: str) -> str:
    """389ds sends an nsUniqueId as 16 bytes; written, it has four groups of eight."""
    digits = uuid.UUID(key).hex
    return "-".join(digits[at : at + 8] for at in range(0, 32, 8))


def _chunks(found: set[str]) -> Iterator[list[str]]:
    ordered = sorted(found)
    for at in range(0, len(ordered), _AT_ONCE):
        yield ordered[at : at + _AT_ONCE]
