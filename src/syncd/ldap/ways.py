"""What a way of reading what changed is: syncrepl now, others as other servers have them.

`begin` is called before the first page of a whole read, so that what changes while it lasts is told again by the first
delta. What it returns comes back to `changes`, which returns what the next one is to get: values that JSON can hold.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any, Protocol, runtime_checkable

from syncd.core.snapshot import Reported
from syncd.errors import IncompleteRead
from syncd.ldap.conversation import Conversation

State = Any  # values that JSON can hold


class NotOffered(Exception):
    """This server does not read what changed in this way, or not for us; the message says why, for an admin."""


class NotThisKind(NotOffered):
    """Servers of this kind never do."""


class Behind(IncompleteRead):
    """This server has not yet got what was read before: another replica may have."""


@runtime_checkable
class Rings(Protocol):
    """A way that can also tell that something changed, at once, of servers where `no_bell` says nothing against it."""

    def listen(self, with_: Conversation, state: State) -> Iterator[None]:
        """Yields for each change since this state, those that come included. Raises IncompleteRead when it ends."""
        ...


class Way(Protocol):
    name: str
    key_attribute: str | None  # what it names entries by; None: whatever the read does

    def begin(self, with_: Conversation) -> State:
        """Raises NotOffered, and IncompleteRead if the connection fails."""
        ...

    def changes(self, with_: Conversation, state: State) -> Generator[Reported, None, State]:
        """Raises FullReadNeeded, Behind and IncompleteRead."""
        ...

    def doubt(self, with_: Conversation) -> str | None:
        """What an admin should know of it: a right that is missing, say. None: all is well."""
        ...

    def no_bell(self, with_: Conversation) -> str | None:
        """Why this server does not tell at once that something changed; None if it does, and this way `Rings`."""
        ...
