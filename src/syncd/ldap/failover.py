"""Which of a source's servers a read uses: one, found before its first entry and never changed after.

Rules: URLs are replicas of the same data and are tried in order, each with every address of its host; the one whose last
read was whole comes first, one whose last read was not comes last. A refused bind ends the search at once: the same
password refused by three servers locks the account. When nobody could be reached, or all were busy, the round is
repeated `retries` times with growing pauses, within the read's deadline and until the process is told to end.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import structlog

from syncd.errors import ConfigError, SourceUnreachable
from syncd.ldap import client
from syncd.ldap.address import Address, Unusable, addresses
from syncd.ldap.client import Session
from syncd.ldap.config import LdapConfig
from syncd.ldap.watchdog import Watchdog

log = structlog.get_logger()

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0

Open = Callable[[LdapConfig, Address, Watchdog], Session]


def order(urls: tuple[str, ...], good: str | None, bad: str | None) -> tuple[str, ...]:
    """`good` first, `bad` last, the others as configured."""
    return tuple(sorted(urls, key=lambda url: (url == bad, url != good)))


def pause_s(number: int, chance: float) -> float:
    """Before retry `number` (from 1): doubles each time, and between half of it and all by chance (0 to 1)."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (number - 1)) * (0.5 + chance / 2)


def require_sane(config: LdapConfig) -> None:
    """Raises ConfigError for values that cannot work."""
    found = client.check(config)
    if found:
        raise ConfigError("\n".join(f"sources.{config.name}.{problem}" for problem in found))


class Dialer:
    """Connects one read. `urls` are in the order to try; the retries of a read are counted here, over all its attempts."""

    def __init__(
        self,
        config: LdapConfig,
        urls: tuple[str, ...],
        watchdog: Watchdog,
        *,
        open_: Open = client.bound,
        chance: Callable[[], float] = random.random,
    ) -> None:
        require_sane(config)
        self._config = config
        self._urls = urls
        self._watchdog = watchdog
        self._open = open_
        self._chance = chance
        self._left = config.retries

    def connect(self) -> Session:
        """A bound session. Raises SourceUnreachable with what each address said, BindRefused, ConfigError."""
        while True:
            failures: list[tuple[str, Unusable]] = []
            for url in self._urls:
                session = self._one_of(url, failures)
                if session is not None:
                    self._tell(failures, url)
                    return session
            if not any(why.later for _, why in failures) or not self._pause():
                raise SourceUnreachable(
                    f"source {self._config.name}: " + "; ".join(f"{where}: {why}" for where, why in failures)
                )

    def again(self, url: str) -> Session | None:
        """Another session after the one to `url` was of no use before its first entry, that server last.

        None if there are no retries left. Raises as `connect`.
        """
        if not self._pause():
            return None
        self._urls = order(self._urls, None, bad=url)
        return self.connect()

    def _one_of(self, url: str, failures: list[tuple[str, Unusable]]) -> Session | None:
        try:
            found = addresses(url)
        except Unusable as exc:
            failures.append((url, exc))
            return None
        for address in found:
            try:
                return self._open(self._config, address, self._watchdog)
            except Unusable as exc:
                failures.append((url if len(found) == 1 else f"{url} at {address.text}", exc))
        return None

    def _tell(self, failures: list[tuple[str, Unusable]], instead: str) -> None:
        """A server that nobody misses, because another one answers, would stay broken."""
        for where, why in failures:
            log.warning("directory_server_skipped", source=self._config.name, url=where, why=str(why), instead=instead)

    def _pause(self) -> bool:
        if self._left == 0:
            return False
        self._left -= 1
        return self._watchdog.pause(pause_s(self._config.retries - self._left, self._chance()))
