"""A listener to a company's directory whose bell has a delta read, over a connection that breaks at every message in turn."""

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

    def until(self, true: Callable[[], object]) -> None:
        give_up = time.monotonic() + 60
        while not true():
            assert time.monotonic() < give_up, [(each.kind, each.kind_why, each.counts) for each in self.reports]
            time.sleep(0.02)


@contextmanager
def through_breaks(corp: Corp, port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Heard, Proxy]]:
    """Each connection of the listener ends in the middle of another message: the first at the bind's answer, later ones at
    what happens long after."""
    monkeypatch.setattr(live, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(live, "LAST_PAUSE_S", 0.05)
    passed: dict[int, int] = {}

    def spoil(message: Message) -> bytes:
        number = passed[message.connection] = passed.get(message.connection, 0) + 1
        return Cut(message.raw[:-1]) if number == message.connection else message.raw

    with proxy(port, spoil) as between:
        heard = Heard(corp)
        heard.start(between.url)
        try:
            yield heard, between
        finally:
            heard.end()
    assert {(each.kind, each.complete) for each in heard.reports} == {("delta", True)}
