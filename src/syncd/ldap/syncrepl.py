"""LDAP content synchronisation (RFC 4533): its controls and messages as values. Pure.

A poll (refreshOnly) tells what changed since a cookie. Its end says how to take what was not mentioned: after a delete
phase it is as it was, after a present phase it is gone (sections 3.3.2 and 3.4). Cookies are opaque, and the last one
that came counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from syncd.errors import IncompleteRead
from syncd.ldap import ber

SYNC_REQUEST = "1.3.6.1.4.1.4203.1.9.1.1"
_SYNC_STATE = "1.3.6.1.4.1.4203.1.9.1.2"
_SYNC_DONE = "1.3.6.1.4.1.4203.1.9.1.3"
_SYNC_INFO = "1.3.6.1.4.1.4203.1.9.1.4"
REFRESH_ONLY, REFRESH_AND_PERSIST = 1, 3
REFRESH_REQUIRED = 4096  # e-syncRefreshRequired (section 2.6)
PRESENT, ADD, MODIFY, DELETE = range(4)  # of a Sync State control (section 2.3)
_STATES = tuple(bytes([state]) for state in range(4))
_BOOLEAN, _ENUMERATED = 0x01, 0x0A
_NEW_COOKIE, _REFRESH_DELETE, _REFRESH_PRESENT, _ID_SET = 0x80, 0xA1, 0xA2, 0xA3


@dataclass(frozen=True, slots=True)
class Named:
    """An entry, or only its key if it is `present` or deleted."""

    state: int  # PRESENT | ADD | MODIFY | DELETE
    key: str
    dn: bytes
    attributes: Mapping[str, Sequence[bytes]]
    cookie: bytes | None


@dataclass(frozen=True, slots=True)
class Keys:
    """Entries that are there unchanged, or are deleted, by their keys alone (syncIdSet)."""

    deleted: bool
    keys: tuple[str, ...]
    cookie: bytes | None


@dataclass(frozen=True, slots=True)
class PhaseOver:
    """What was not mentioned is gone (`present`), or as it was. `refreshed`: from here on changes come as they happen."""

    present: bool
    refreshed: bool
    cookie: bytes | None


@dataclass(frozen=True, slots=True)
class NewCookie:
    cookie: bytes | None


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A part of the tree that another server holds."""

    urls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Over:
    """The end of the operation. `present`: what was not mentioned is gone; None if the server left that out."""

    code: int
    description: str
    message: str
    present: bool | None
    cookie: bytes | None

    @property
    def outcome(self) -> str:
        text = f"{self.description} ({self.code})"
        return f"{text}: {self.message}" if self.message else text


Told = Named | Keys | PhaseOver | NewCookie | Elsewhere | Over


def request(mode: int, cookie: bytes | None) -> bytes:
    """The value of the Sync Request control (section 2.2). Of reloadHint the default is meant: the server is to say that
    everything must be read, and not to send it."""
    inner = bytes([_ENUMERATED, 1, mode])
    if cookie is not None:
        inner += ber.element(ber.OCTETS, cookie)
    return ber.element(ber.SEQUENCE, inner)


def told(answer: dict[str, Any]) -> Told:
    """What one answer to a sync search says. Raises Malformed, also for an entry without its state."""
    match answer["type"]:
        case "intermediateResponse":
            return _info(answer)
        case "searchResEntry":
            return _named(answer, _values(answer))
        case "searchResRef":
            return Elsewhere(tuple(answer["uri"]))
        case "searchResDone":
            present, cookie = _done(_values(answer))
            message = str(answer["message"] or "").strip("\0 \n")
            return Over(int(answer["result"]), str(answer["description"]), message, present, cookie)
    raise ber.Malformed(f"{answer['type']} is no answer to a search")


def _values(answer: dict[str, Any]) -> dict[str, bytes]:
    """Of its controls."""
    return {oid: each["value"] for oid, each in (answer.get("controls") or {}).items()}


def bells(telling: Iterable[Told]) -> Iterator[None]:
    """One for each change that is told, and one if the server does not know the cookie, since everything must be read then.

    Raises IncompleteRead when the server ends it.
    """
    for each in telling:
        match each:
            case Named() | Keys():
                yield
            case Over():
                if each.code == REFRESH_REQUIRED:
                    yield
                raise IncompleteRead(f"the server ended it: {each.outcome}")


def _named(answer: dict[str, Any], controls: dict[str, bytes]) -> Named:
    if _SYNC_STATE not in controls:
        raise ber.Malformed("an entry came without its sync state (RFC 4533 section 2.3)")
    parts = _sequence(controls[_SYNC_STATE])
    tags = [tag for tag, _ in parts]
    state = parts[0][1] if parts else b""
    if tags[:2] != [_ENUMERATED, ber.OCTETS] or tags[2:] not in ([], [ber.OCTETS]) or state not in _STATES:
        raise ber.Malformed("the sync state of an entry is not one")
    cookie = parts[2][1] if len(parts) == 3 else None
    return Named(state[0], _uuid(parts[1][1]), answer["raw_dn"], answer["raw_attributes"], cookie)


def _info(answer: dict[str, Any]) -> Told:
    if answer["responseName"] != _SYNC_INFO:
        raise ber.Malformed(f"an intermediate response {answer['responseName']} was not asked for")
    parts = ber.elements(bytes(answer["responseValue"] or b""))
    if len(parts) != 1:
        raise ber.Malformed("the sync info message is not one")
    tag, content = parts[0]
    if tag == _NEW_COOKIE:
        return NewCookie(content)
    inner = ber.elements(content)
    cookie = inner.pop(0)[1] if inner and inner[0][0] == ber.OCTETS else None
    flag = inner.pop(0)[1] != b"\0" if inner and inner[0][0] == _BOOLEAN else None
    if tag in (_REFRESH_DELETE, _REFRESH_PRESENT) and not inner:
        return PhaseOver(tag == _REFRESH_PRESENT, flag is not False, cookie)
    if tag == _ID_SET and len(inner) == 1 and inner[0][0] == ber.SET:
        keys = ber.elements(inner[0][1])
        if any(each != ber.OCTETS for each, _ in keys):
            raise ber.Malformed("a sync id set holds something else than UUIDs")
        return Keys(bool(flag), tuple(_uuid(key) for _, key in keys), cookie)
    raise ber.Malformed("the sync info message is of no known kind")


def _done(controls: dict[str, bytes]) -> tuple[bool | None, bytes | None]:
    if _SYNC_DONE not in controls:
        return None, None
    inner = _sequence(controls[_SYNC_DONE])
    cookie = inner.pop(0)[1] if inner and inner[0][0] == ber.OCTETS else None
    deletes = inner.pop(0)[1] != b"\0" if inner and inner[0][0] == _BOOLEAN else False
    if inner:
        raise ber.Malformed("the sync done control is not one")
    return not deletes, cookie


def _sequence(value: bytes) -> list[tuple[int, bytes]]:
    match ber.elements(value):
        case [(ber.SEQUENCE, inner)]:
            return ber.elements(inner)
    raise ber.Malformed("a control is not a sequence")


def _uuid(octets: bytes) -> str:
    if len(octets) != 16:
        raise ber.Malformed(f"a UUID of {len(octets)} bytes")
    digits = octets.hex()  # a present phase names everybody: five times as fast as uuid.UUID
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
