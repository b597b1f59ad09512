"""The keys of one read, each with the entry it was on: a key on two entries would make them one person.

In bounded memory (store/numbers.py), so keys and names are told apart by their 64-bit hashes.
"""

from __future__ import annotations

from syncd.errors import IncompleteRead, InvalidValue, Retryable
from syncd.ldap import dn
from syncd.store.numbers import Numbers


class Seen:
    """`moving`: an entry may come twice under two names, as between two searches for what changed; the first one is taken."""

    def __init__(self, moving: bool = False) -> None:
        self._moving = moving
        self._names = Numbers()  # of the key -> of the canonical DN

    def repeats(self, attribute: str, key: str, name: str) -> bool:
        """True if this very entry came before (two bases overlap).

        Raises InvalidValue if another one had its key, or for a DN that is none, and IncompleteRead if there is no room.
        """
        canonical = hash(dn.normalize(name))
        try:
            known = self._names.note(hash(key), canonical)
        except Retryable as exc:
            raise IncompleteRead(str(exc)) from exc
        if known is not None and known != canonical and not self._moving:
            raise InvalidValue(f"{attribute}: {key} is on another entry too")
        return known is not None

    def close(self) -> None:
        self._names.close()
