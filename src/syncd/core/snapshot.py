"""What one read of a source returned, and how far it can be trusted.

A reader never raises half way: it returns what it has with a certificate that says why it is not whole. Nothing may be
taken away by absence unless `certificate.complete` (design rule 1). The entries are streamed: a snapshot holds an
iterable, and its certificate is known only when the iterable is exhausted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Certificate:
    """Proof of a read. `because` is empty exactly when the read is complete."""

    because: tuple[str, ...] = ()
    server_identity: str | None = None  # what the server says it is, to notice another one answering
    key_attribute: str | None = None  # what the stable keys are made of; another one than last time is another identity
    users_read: int = 0
    groups_read: int = 0
    set_aside: int = 0
    flavour: str | None = None  # the kind of directory, where only its own attributes say what an account is
    lockout: timedelta | None = None  # how long its lock-outs last, if it says
    asserted_by: str | None = None  # "asserted": someone's own statement that the read is whole (an unmarked LDIF file)

    @property
    def complete(self) -> bool:
        return not self.because


@dataclass(frozen=True, slots=True)
class Entry:
    """One directory entry. Attribute names are in lower case; values are bytes, in the server's order."""

    kind: str  # "user" | "group"
    key: str  # entryUUID, objectGUID, nsUniqueId, ipaUniqueID as text in lower case; for `ldif` see ldif.py
    dn: str
    attributes: Mapping[str, tuple[bytes, ...]]


@dataclass(frozen=True, slots=True)
class SetAside:
    """One bad entry, by name and reason; the rest of the read goes on (design rule 8)."""

    entry: str  # its DN, or `line 812` of an LDIF file
    why: str
    key: str | None = None  # known: the entry counts as present


class Source(Protocol):
    """Anything that can be read whole: `ldap`, `ldif`, later providers' APIs."""

    name: str

    def read(self, now: datetime) -> Reading: ...


class Reading(Protocol):
    """One read under way. Iterate once; then `certificate()` is the proof. Users come before groups."""

    def __iter__(self) -> Iterator[Entry | SetAside]: ...

    def certificate(self) -> Certificate: ...
