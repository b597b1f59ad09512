"""The machine's clock and the maker of ids; a test may stop the clock."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TypeAlias

from syncd.errors import ConfigError

Clock: TypeAlias = Callable[[], datetime]


def clock(env: Mapping[str, str]) -> Clock:
    """The machine's clock, in UTC. A test may stop it; nobody else can."""
    standing = stopped(env)
    if standing is not None:
        return lambda: standing
    return lambda: datetime.now(UTC)


def stopped(env: Mapping[str, str]) -> datetime | None:
    text = env.get("SYNCD_TESTING_NOW")
    if env.get("SYNCD_TESTING") != "1" or not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        raise ConfigError(f"SYNCD_TESTING_NOW: {exc}") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


_IDS_AT_ONCE = 64  # for which randomness is asked of the system together
_74_BITS, _62_BITS = (1 << 74) - 1, (1 << 62) - 1


class TimeOrderedIds:
    """Ids as UUIDv7 (RFC 9562 section 5.7): 48 bits of milliseconds, then 74 random bits. Each call gives a greater one
    than the call before, also within one millisecond and when the clock is set back. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        self._chances: list[int] = []  # of 112 bits each

    def __call__(self) -> str:
        with self._lock:
            if not self._chances:
                fresh = os.urandom(14 * _IDS_AT_ONCE)
                self._chances = [int.from_bytes(fresh[at : at + 14], "big") for at in range(0, len(fresh), 14)]
            chance = self._chances.pop()
            value = (time.time_ns() // 1_000_000 << 74) | (chance & _74_BITS)
            if value <= self._last:
                # Counting on from the last one by a random step keeps neighbours hard to guess (RFC 9562 section 6.2).
                value = self._last + 1 + (chance >> 80)
            self._last = value
        # Version 7 before the first 12 of the random bits, variant 2 before the others.
        whole = value >> 74 << 80 | 0x7 << 76 | (value >> 62 & 0xFFF) << 64 | 0x2 << 62 | value & _62_BITS
        text = f"{whole:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
