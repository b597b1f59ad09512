"""How often: a token bucket for each of many keys, in bounded memory. Pure; the time is handed in.

A key starts with a full bucket of `burst` and gets `per_s` more each second. When there are more keys than `most`, the one
that was quiet the longest is forgotten, that is, its bucket is full again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from math import ceil


class Buckets:
    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()  # when the bucket will be full again

    def wait_s(self, key: Hashable, now: float, per_s: float, burst: float) -> int:
        """Whole seconds until there is something in the bucket again; 0: now."""
        missing = max(0.0, self._full_at.get(key, now) - now) * per_s
        return max(0, ceil((missing - (burst - 1)) / per_s - 1e-9))

    def admit(self, key: Hashable, now: float, per_s: float, burst: float) -> int:
        """Take one, if there is one: 0. Else the whole seconds until there is."""
        full_at = self._full_at.get(key, now)
        if full_at - now > (burst - 1) / per_s and (wait_s := self.wait_s(key, now, per_s, burst)):
            return wait_s
        self._full_at[key] = max(now, full_at) + 1 / per_s
        self._full_at.move_to_end(key)
        if len(self._full_at) > self._most:
            self._full_at.popitem(last=False)
        return 0

    def take(self, key: Hashable, now: float, per_s: float, n: int = 1) -> None:
        """Also more than there is: then nothing is left for that much longer."""
        self._full_at[key] = max(now, self._full_at.get(key, now)) + n / per_s
        self._full_at.move_to_end(key)
        if len(self._full_at) > self._most:
            self._full_at.popitem(last=False)

    def __len__(self) -> int:
        return len(self._full_at)
