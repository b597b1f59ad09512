"""A listener to a company's directory whose bell has a delta read, over connections that break at every message in turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from servers.corp import Corp
from servers.faulty import Cut, Message, Proxy, proxy
from syncd import live
from syncd.core.plan import Report
from syncd.ldap.source import LdapSource
from syncd.live import Listener
from syncd.store import run_records


@dataclass
class Heard:
    """Until its `end`."""

    corp: Corp
    ending: threading.Event = field(default_factory=threading.Event)
    reports: list[Report] = field(default_factory=list)
    _reading: threading.Lock = field(default_factory=threading.Lock)

    def start(self, url: str) -> None:
        """Listen at this address; deltas are read where the company reads."""
        usual, self.corp.url = self.corp.url, url
        source = self.corp.composed().directory("default", "corp").source
        self.corp.url = usual
        assert isinstance(source, LdapSource)
        Listener("default", "corp", source, self._checkpoint, self._ring, lambda: True, self.ending).start()

    def _checkpoint(self) -> str | None:
        with self.corp.database.reading() as conn:
            return run_records.checkpoint(conn, "default", "corp")

    def _ring(self) -> None:
        with self._reading:
            if not self.ending.is_set():
                self.reports.append(self.corp.run(delta=True))

    def end(self) -> None:
        """No delta is under way afterwards."""
        self.ending.set()
        with self._reading:
            pass

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """No delta is under way meanwhile."""
        with self._reading:
            yield

    def until(self, true: Callable[[], object]) -> None:
        give_up = time.monotonic() + 60
        while not true():
            assert time.monotonic() < give_up, [(each.kind, each.kind_why, each.counts) for each in self.reports]
            time.sleep(0.02)


@dataclass
class Breaks:
    """Where the listener's connections break: the first, which is whole, tells how many messages there are; then each of
    these is cut in its middle, and right after it, by a connection of its own."""

    passed: dict[int, int] = field(default_factory=dict)  # connection -> messages
    whole: int | None = None  # messages of the first one
    cut: set[tuple[int, bool]] = field(default_factory=set)  # the message, and whether in its middle
    between: Proxy | None = None

    def spoil(self, message: Message) -> bytes:
        number = self.passed[message.connection] = self.passed.get(message.connection, 0) + 1
        if message.connection == 1 or number != message.connection // 2:
            return message.raw
        in_the_middle = message.connection % 2 == 0
        self.cut.add((number, in_the_middle))
        return Cut(message.raw[: len(message.raw) // 2] if in_the_middle else message.raw)

    def begin(self) -> None:
        """What came so far is the whole exchange; its connection is over."""
        assert self.between is not None
        self.whole = self.passed[1]
        self.between.close()

    @property
    def done(self) -> bool:
        """Every message of the exchange was cut, in both ways."""
        return (
            self.whole is not None and {(n, how) for n in range(1, self.whole + 1) for how in (True, False)} <= self.cut
        )


@contextmanager
def through_breaks(corp: Corp, port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Heard, Breaks]]:
    monkeypatch.setattr(live, "FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(live, "LAST_PAUSE_S", 0.02)
    monkeypatch.setattr(live, "GATHER_S", 0.02)
    breaks = Breaks()
    with proxy(port, breaks.spoil) as between:
        breaks.between = between
        heard = Heard(corp)
        heard.start(between.url)
        try:
            yield heard, breaks
        finally:
            heard.end()
    assert {(each.kind, each.complete) for each in heard.reports} == {("delta", True)}
