"""What changed in an Active Directory: by DirSync where that is granted, else by the controller's update sequence numbers.

Rules: a controller numbers the writes of its own copy (uSNChanged, MS-ADTS 3.1.1.1.9), so a number means something with the
controller (its NTDS settings) and the copy (invocationId) that gave it, and with no other. It is taken before anything is
read, and nothing is believed of a controller that counts less than it did. Both ways only name objects: each is read again by
its objectGUID, below the bases and through the filters. One that is there and not found so is out of scope, and gone; one that
can be seen neither so nor as a tombstone says nothing, or a right that was taken away would make leavers. Whoever was deleted
is known by a tombstone; an account that cannot read those reads the keys of everybody.
"""

from __future__ import annotations

import base64
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from syncd.core.snapshot import Gone, OnlyThese, Reported, Still
from syncd.errors import FullReadNeeded, IncompleteRead, InvalidValue
from syncd.ldap import accounts, ber, dn, keys, narrow, outcome
from syncd.ldap.client import Asked, Control, NotNow, Page, Session
from syncd.ldap.conversation import Conversation, require_whole_tree
from syncd.ldap.values import Attributes, guid_text, integer, only_one
from syncd.ldap.ways import Behind, NotOffered, NotThisKind, State

KEY = "objectGUID"
MOST_CHANGED = 10_000  # objects; beyond that, reading everything is cheaper
_AT_ONCE = 50  # keys in one search
_DIRSYNC = "1.2.840.113556.1.4.841"  # MS-ADTS 3.1.1.3.4.1.3
_NOTIFICATION = "1.2.840.113556.1.4.528"  # MS-ADTS 3.1.1.3.4.1.9
_SHOW_DELETED = "1.2.840.113556.1.4.417"
_SHOW_RECYCLED = "1.2.840.113556.1.4.2064"
_INCREMENTAL_VALUES = -0x80000000  # of a group only the members that changed (LDAP_DIRSYNC_INCREMENTAL_VALUES)
_LONGEST_ANSWER = 1 << 20  # bytes
_NOBODY = "00000000-0000-0000-0000-000000000000"
_ANY = "(objectClass=*)"
_SEEN = (KEY, "objectClass", "uSNCreated")
# What holds others: where it is moved, renamed or closed, all below it changes without a word.
_CONTAINERS = frozenset(
    {b"organizationalunit", b"container", b"builtindomain", b"organization", b"country", b"locality"}
)
_OF_THE_SYSTEM = "cn=system,"


@dataclass(frozen=True, slots=True)
class Place:
    """Up to where one controller's changes are known."""

    controller: str  # the DN of its NTDS settings
    invocation: str  # which copy of the database it has
    usn: int

    @property
    def name(self) -> str:
        return _short(self.controller)


@dataclass(slots=True)
class Told:
    """Keys of objects that changed and can be seen now, and of those that are gone."""

    changed: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    cookies: dict[str, str] = field(default_factory=dict)  # of DirSync, in base64, by naming context


class Numbers:
    """By uSNChanged."""

    name = "uSNChanged"
    key_attribute: str | None = KEY

    def begin(self, with_: Conversation) -> State:
        return _state(_require_place(with_), {})

    def changes(self, with_: Conversation, state: State) -> Generator[Reported, None, State]:
        before, now = _since(with_, state)
        told = Told()
        later = f"(uSNChanged>={before.usn + 1})"
        for context in _tops(with_):
            for page in with_.pages(context, "subtree", later, _SEEN):
                _note(page, before, told)
            if tombstones(with_, context):
                deleted = narrow.all_of(["(isDeleted=TRUE)", later])
                for page in with_.pages(_deleted(context), "subtree", deleted, (KEY,), (_show_deleted(with_),)):
                    told.gone |= {key for entry in page.entries if (key := _key(keys.fold_names(entry.attributes)))}
        yield from _report(with_, told)
        return _state(now, {})

    def doubt(self, with_: Conversation) -> str | None:
        return _unreadable(with_)

    def no_bell(self, with_: Conversation) -> str | None:
        return _no_bell(with_)

    def listen(self, with_: Conversation, state: State) -> Iterator[None]:
        return _bells(with_, state)


class DirSync:
    """By the control of that name, which takes the right Replicating Directory Changes."""

    name = "DirSync"
    key_attribute: str | None = KEY

    def begin(self, with_: Conversation) -> State:
        place = _require_place(with_)
        try:
            return _state(place, {context: _first_cookie(with_.session, context) for context in _tops(with_)})
        except _Refused as exc:
            raise NotOffered(f"{exc}: it takes the right Replicating Directory Changes on the domain") from exc

    def changes(self, with_: Conversation, state: State) -> Generator[Reported, None, State]:
        before, now = _since(with_, state)
        told = Told()
        cookies: dict[str, str] = state["cookies"]
        if cookies.keys() != set(_tops(with_)):
            raise FullReadNeeded("other domains are read than before")
        for context, cookie in cookies.items():
            _named_by_dirsync(with_, context, cookie, before, told)
        yield from _report(with_, told)
        return _state(now, told.cookies)

    def doubt(self, with_: Conversation) -> str | None:
        return _unreadable(with_)

    def no_bell(self, with_: Conversation) -> str | None:
        return _no_bell(with_)

    def listen(self, with_: Conversation, state: State) -> Iterator[None]:
        return _bells(with_, state)


def _short(controller: str) -> str:
    """`CN=NTDS Settings,CN=DC1,CN=Servers,...` -> DC1."""
    parts = controller.split(",")
    return parts[1].partition("=")[2] if len(parts) > 1 else controller


# -- where the controller stands -----------------------------------------------------------------------------------------


def _state(place: Place, cookies: dict[str, str]) -> State:
    return {"controller": place.controller, "invocation": place.invocation, "usn": place.usn, "cookies": cookies}


def _tops(with_: Conversation) -> tuple[str, ...]:
    assert with_.server is not None
    return with_.server.tops


def _require_place(with_: Conversation) -> Place:
    server = with_.server
    assert server is not None
    if server.flavour != accounts.ACTIVE_DIRECTORY:
        raise NotThisKind(f"{server.vendor} is not an Active Directory")
    place = _place(with_.session)
    if place is None:
        raise NotOffered("the controller does not say where it stands (highestCommittedUSN, invocationId)")
    return place


def _place(session: Session, before: Place | None = None) -> Place | None:
    """None if the controller does not say. Raises Behind if it is another one than `before`."""
    root = _one(session.search("", "base", _ANY, ("highestCommittedUSN", "dsServiceName")))
    controller = _text(root, "dsServiceName")
    if before and controller and controller != before.controller:
        raise Behind(f"{_short(controller)} answers, which numbers changes in its own way, not {before.name}")
    settings = _one(session.search(controller, "base", _ANY, ("invocationId",))) if controller else {}
    try:
        usn, invocation = only_one("highestCommittedUSN", root), only_one("invocationId", settings)
        if controller is None or usn is None or invocation is None:
            return None
        return Place(controller, guid_text("invocationId", invocation), integer("highestCommittedUSN", usn))
    except InvalidValue:
        return None


def _since(with_: Conversation, state: State) -> tuple[Place, Place]:
    """Where the numbers stood and where they stand now. Another controller is left for the one that gave them."""
    before = Place(state["controller"], state["invocation"], int(state["usn"]))
    now = _place(with_.session, before)
    if now is None:
        raise FullReadNeeded("the controller does not say any more where it stands")
    if now.invocation != before.invocation:
        raise FullReadNeeded(
            f"the database of {now.name} was restored: its invocationId is {now.invocation}, before {before.invocation}"
        )
    if now.usn < before.usn:
        raise FullReadNeeded(
            f"{now.name} counts {now.usn} changes, before {before.usn}: an older copy of it was put back"
        )
    return before, now


# -- what is named -------------------------------------------------------------------------------------------------------


def _report(with_: Conversation, told: Told) -> Iterator[Reported]:
    """Those in scope as they are now, who is gone, and without tombstones the keys of everybody."""
    found: set[str] = set()
    for some in _chunks(told.changed):
        for item in with_.having(narrow.any_of([keys.filter_of(KEY, key) for key in some])):
            found |= {item.key} if item.key else set()
            yield item
    for key in sorted(told.changed - found | told.gone):
        yield Gone(key)
    if not all(tombstones(with_, context) for context in _tops(with_)):
        yield from _everybody(with_)


def _everybody(with_: Conversation) -> Iterator[Still | OnlyThese]:
    """Of everybody the key alone: who is not named is gone."""
    numbers: dict[str, int] = {}
    for search in with_.searches():
        for page in with_.pages(search.base, search.scope, search.filter, (KEY,)):
            require_whole_tree(page.references)
            for entry in page.entries:
                key = _key(keys.fold_names(entry.attributes))
                if key is None:
                    raise IncompleteRead(f"{search.part}: {entry.dn.decode('utf-8', 'replace')} shows no {KEY}")
                numbers[search.kind] = numbers.get(search.kind, 0) + 1
                yield Still(key)
    if not numbers.get("user"):
        raise IncompleteRead("users: no entry matches below any base")
    for kind in dict.fromkeys(search.kind for search in with_.searches()):
        yield OnlyThese(kind)


def _note(page: Page, before: Place, told: Told) -> None:
    for entry in page.entries:
        attributes = keys.fold_names(entry.attributes)
        key = _key(attributes)
        if key is None:
            continue
        name = entry.dn.decode("utf-8", "replace")
        old = _created(attributes) <= before.usn
        classes = {each.lower() for each in attributes.get("objectclass", ())}
        if old and classes & _CONTAINERS and _OF_THE_SYSTEM not in name.lower():
            raise FullReadNeeded(f"{name} was changed: if it was moved, renamed or closed, so was all below it, untold")
        told.changed.add(key)
    _require_bearable(len(told.changed))


def _created(attributes: Attributes) -> int:
    """0 if it cannot be read: as old as can be."""
    try:
        raw = only_one("uSNCreated", attributes)
        return integer("uSNCreated", raw) if raw is not None else 0
    except InvalidValue:
        return 0


def _require_bearable(number: int) -> None:
    if number > MOST_CHANGED:
        raise FullReadNeeded(f"more than {MOST_CHANGED:,} objects changed")


def tombstones(with_: Conversation, context: str) -> bool:
    """Whether this account sees who was deleted. The container shows its attributes to those only who may read it; Samba
    keeps tombstones from others in DirSync too."""
    page = with_.session.search(_deleted(context), "base", _ANY, ("isDeleted",), controls=(_show_deleted(with_),))
    return _text(_one(page), "isDeleted") == "TRUE"


def _unreadable(with_: Conversation) -> str | None:
    """For an admin: where deletions cannot be read, and what to do."""
    for context in _tops(with_):
        if not tombstones(with_, context):
            return (
                f"who was deleted cannot be read in {_deleted(context)}, so each read of changes reads the keys of everybody: "
                "grant the account List Contents and Read Property there (dsacls /G account:LCRP)"
            )
    return None


def _deleted(context: str) -> str:
    return f"CN=Deleted Objects,{context}"


def _show_deleted(with_: Conversation) -> Control:
    """With the recycle bin, an object that is past recalling is shown with the other control only."""
    assert with_.server is not None
    return (_SHOW_RECYCLED if with_.server.offers(_SHOW_RECYCLED) else _SHOW_DELETED, True, None)


# -- as it happens -------------------------------------------------------------------------------------------------------


def _no_bell(with_: Conversation) -> str | None:
    assert with_.server is not None
    if with_.server.offers(_NOTIFICATION):
        return None
    return f"the controller does not offer change notifications ({_NOTIFICATION})"


def _bells(with_: Conversation, state: State) -> Iterator[None]:
    """For each object of the domain that changes, and for what changed before it was listened to.

    Not for the account that reads: to bind is a change of its entry, and would ring for itself. Who cannot read tombstones
    does not hear of deletions.
    """
    before, _ = _since(with_, state)
    controls = ((_NOTIFICATION, True, None), _show_deleted(with_))
    now = Asked("", "base", _ANY, ("highestCommittedUSN",))
    watched = [Asked(top, "subtree", _ANY, controls=controls) for top in _tops(with_)]
    oneself = _canonical((with_.config.own_name(None) or "").encode())
    for asked, entry in with_.session.together([*watched, now]):
        if asked is now:
            stands = only_one("highestCommittedUSN", keys.fold_names(entry.attributes))
            if stands is None or integer("highestCommittedUSN", stands) > before.usn:
                yield
        elif oneself is None or _canonical(entry.dn) != oneself:
            yield


def _canonical(name: bytes) -> str | None:
    """None for one that is no DN, such as `syncd@example.org`."""
    with suppress(InvalidValue):
        return dn.normalize(keys.readable_dn(name))
    return None


# -- DirSync -------------------------------------------------------------------------------------------------------------


class _Refused(Exception):
    """DirSync is not to be had here; the outcome."""


def _first_cookie(session: Session, context: str) -> str:
    """A cookie to go on from, of a search that names nobody."""
    *_, (_, cookie) = _dirsync(session, context, b"", keys.filter_of(KEY, _NOBODY), (KEY,))
    return base64.b64encode(cookie).decode()


def _named_by_dirsync(with_: Conversation, context: str, written: str, before: Place, told: Told) -> None:
    named: set[str] = set()
    try:
        for page, cookie in _dirsync(with_.session, context, base64.b64decode(written), _ANY, ("*",)):
            told.cookies[context] = base64.b64encode(cookie).decode()
            for entry in page.entries:
                attributes = keys.fold_names(entry.attributes)
                key = _key(attributes)
                if key is not None:
                    (told.gone if attributes.get("isdeleted") == (b"TRUE",) else named).add(key)
            _require_bearable(len(named))
    except _Refused as exc:
        raise FullReadNeeded(f"DirSync is refused now: {exc}") from exc
    for some in _chunks(named - told.gone):
        by_key = narrow.any_of([keys.filter_of(KEY, key) for key in some])
        for page in with_.pages(context, "subtree", by_key, _SEEN):
            _note(page, before, told)


def _dirsync(
    session: Session, context: str, cookie: bytes, filter_text: str, attributes: tuple[str, ...]
) -> Iterator[tuple[Page, bytes]]:
    """Answers, each with the cookie after it. Raises _Refused."""
    while True:
        control = (_DIRSYNC, True, _request(cookie))
        page = session.search(context, "subtree", filter_text, attributes, controls=(control,))
        if page.code in outcome.LATER:
            raise NotNow(page.outcome)
        if page.code != 0:
            raise _Refused(page.outcome)
        more, cookie = _answer(page.controls.get(_DIRSYNC, b""), cookie)
        yield page, cookie
        if not more:
            return


def _request(cookie: bytes) -> bytes:
    """SEQUENCE {flags, the longest answer, cookie} (MS-ADTS 3.1.1.3.4.1.3)."""
    numbers = b"".join(ber.number(each) for each in (_INCREMENTAL_VALUES, _LONGEST_ANSWER))
    return ber.element(ber.SEQUENCE, numbers + ber.element(ber.OCTETS, cookie))


def _answer(value: bytes, before: bytes) -> tuple[bool, bytes]:
    """SEQUENCE {more, unused, cookie}."""
    try:
        match ber.elements(value):
            case [(ber.SEQUENCE, inner)]:
                match ber.elements(inner):
                    case [(ber.INTEGER, more), (ber.INTEGER, _), (ber.OCTETS, cookie)] if cookie:
                        if ber.integer(more) and cookie == before:
                            raise IncompleteRead("DirSync repeats an answer")
                        return ber.integer(more) != 0, cookie
    except ber.Malformed as exc:
        raise IncompleteRead("the answer's DirSync control is malformed") from exc
    raise IncompleteRead("the answer has no DirSync control, so nobody knows whether it is whole")


# -- values --------------------------------------------------------------------------------------------------------------


def _chunks(found: set[str]) -> Iterator[list[str]]:
    ordered = sorted(found)
    for at in range(0, len(ordered), _AT_ONCE):
        yield ordered[at : at + _AT_ONCE]


def _key(attributes: Attributes) -> str | None:
    try:
        return keys.key_of(KEY, attributes)
    except InvalidValue:
        return None


def _one(page: Page) -> dict[str, tuple[bytes, ...]]:
    if page.code in outcome.LATER:
        raise NotNow(page.outcome)
    return keys.fold_names(page.entries[0].attributes) if page.code == 0 and len(page.entries) == 1 else {}


def _text(attributes: Attributes, name: str) -> str | None:
    values = attributes.get(name.lower(), ())
    return values[0].decode("utf-8", "replace") if len(values) == 1 else None
