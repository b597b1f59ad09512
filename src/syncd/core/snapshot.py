"""What one read of a source returned, and how far it can be trusted.

A reader never raises half way: it returns what it has with a certificate that says why it is not whole. Nothing may be
taken away by absence unless `certificate.complete` (design rule 1). The entries are streamed: a snapshot holds an
iterable, and its certificate is known only when the iterable is exhausted.

A delta is a read of what changed since a checkpoint. It goes the way of a whole read, with the same guards, and its
certificate says likewise whether it can be believed. One that cannot vouch for itself raises FullReadNeeded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

from syncd.core.quick import quick


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
    own_entry: bool | None = None  # whether the account that reads sees its own entry; None: it has none
    groups_by_users: bool = False  # groups are what users name: one that nobody names is there, and empty
    asserted_by: str | None = None  # "asserted": someone's own statement that the read is whole (an unmarked LDIF file)
    checkpoint: str | None = (
        None  # from where the next delta goes on; None: as it was (a delta), or no deltas (a whole read)
    )

    @property
    def complete(self) -> bool:
        return not self.because


@quick
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


@runtime_checkable
class Sighted(Protocol):
    """A source that can be asked whether it shows something at all, wherever it is and of whatever kind."""

    def sees(self, name: str, keys: Sequence[str], key_attribute: str | None) -> bool:
        """The entry of this DN, or one of those with these stable keys. Raises IncompleteRead, and what `Source.read` does."""
        ...


@dataclass(frozen=True, slots=True)
class Beyond:
    """A group of the directory that is below none of the source's bases: nobody counts through it."""

    name: str  # its DN
    key: str | None


@runtime_checkable
class Surveyed(Protocol):
    """A source that can be asked for groups where it does not read."""

    def groups_beyond(
        self, keys: Collection[str], names: Collection[str], key_attribute: str | None
    ) -> Sequence[Beyond]:
        """Those groups below no base that have one of these stable keys or DNs. Raises as `Sighted.sees`."""
        ...


class Reading(Protocol):
    """One read under way. Iterate once; then `certificate()` is the proof. Users come before groups."""

    def __iter__(self) -> Iterator[Entry | SetAside]: ...

    def certificate(self) -> Certificate: ...


@dataclass(frozen=True, slots=True)
class Gone:
    """A delta says that the entry with this stable key is not, or no longer, among those that are read."""

    key: str


@dataclass(frozen=True, slots=True)
class Still:
    """A delta says that this entry is there and did not change (RFC 4533 section 3.3.2, the present phase), but for its
    name if that is given and another one."""

    key: str
    dn: str | None = None


@dataclass(frozen=True, slots=True)
class OnlyThese:
    """Of this kind, below `base` (None: anywhere), exactly those are there that this delta named by Entry or Still."""

    kind: str  # "user" | "group"
    base: str | None = None
    scope: str = "subtree"


Reported = Entry | SetAside | Gone | Still | OnlyThese


@runtime_checkable
class Deltas(Protocol):
    """A source that can also say what changed since a checkpoint: an opaque text of a certificate of its own."""

    name: str

    def changes(self, checkpoint: str, now: datetime) -> Changes:
        """Raises FullReadNeeded with why, and whatever `Source.read` raises."""
        ...


@runtime_checkable
class Live(Protocol):
    """A source of deltas that can tell that something changed as soon as it did. What it was is asked for by a delta: so a
    bell that was not heard, or rang for nothing, changes only when that is."""

    def listen(self, checkpoint: str) -> Iterator[None]:
        """Yields whenever something changed since this checkpoint; blocks in between, and ends by raising SyncdError:
        FullReadNeeded if this source cannot, else why it is to be listened to anew."""
        ...


class Changes(Protocol):
    """One delta under way. Iterate once; it may raise FullReadNeeded until then. Order does not matter: an entry that is
    named is there, whatever else is said of its key. Its certificate is known when nothing more is asked of it."""

    def __iter__(self) -> Iterator[Reported]: ...

    def again(self, keys: Iterable[str]) -> Iterator[Entry | SetAside]:
        """Entries as they are now, by stable key, in any order; those that are not there are left out."""
        ...

    def certificate(self) -> Certificate: ...

    def close(self) -> None: ...


@runtime_checkable
class PrimaryGroups(Protocol):
    """Changes of a directory where a group's members are not all named by it (Active Directory's primaryGroupID), and where the
    names by which entries have others change when theirs do, without a change of the entry (`names_follow`)."""

    @property
    def names_follow(self) -> bool:
        """Whether it is one of these, as far as it is known yet."""
        ...

    def groups_of(self, sids: Collection[bytes]) -> Iterator[Entry | SetAside]:
        """Those groups that have one of these objectSids."""
        ...

    def groups_naming(self, dns: Collection[str]) -> Iterator[Entry | SetAside]:
        """Those groups that have one of these as a member."""
        ...

    def people_naming(self, attributes: Collection[str], dns: Collection[str]) -> Iterator[Entry | SetAside]:
        """Those people who have one of these in one of the attributes."""
        ...

    def people_of(self, sids: Collection[bytes]) -> Iterator[tuple[bytes, str]]:
        """(objectSid, stable key) of everybody whose primary group is one of these."""
        ...
