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
_MOST = 0xFFF  # of 12 bits


class TimeOrderedIds:
    """Ids as UUIDv7 (RFC 9562 section 5.7): 48 bits of milliseconds, 12 that count on within one from a random start
    (section 6.2, method 1), 62 random ones. Each call gives a greater one than the call before, also when the clock is set
    back. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ms = self._count = 0
        self._begins = ""  # of what is made within this millisecond
        self._ends: list[tuple[str, int]] = []  # the last two groups, with a chance of 11 bits

    def __call__(self) -> str:
        with self._lock:
            if not self._ends:
                self._ends = _random_ends()
            end, start = self._ends.pop()
            ms = time.time_ns() // 1_000_000
            if ms <= self._ms and self._count < _MOST:
                self._count += 1
            else:
                self._ms, self._count = max(ms, self._ms + 1), start
                text = f"{self._ms:012x}"
                self._begins = f"{text[:8]}-{text[8:]}"
            return f"{self._begins}-7{self._count:03x}-{end}"


def _random_ends() -> list[tuple[str, int]]:
    text = os.urandom(10 * _IDS_AT_ONCE).hex()
    return [
        (f"{_VARIANT[text[at]]}{text[at + 1 : at + 4]}-{text[at + 4 : at + 16]}", int(text[at + 16 : at + 19], 16) >> 1)
        for at in range(0, len(text), 20)
    ]


_VARIANT = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))  # its first two bits are 10
