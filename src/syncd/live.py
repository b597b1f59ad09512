"""Listens to directories that tell at once that something changed, and has a delta read.

A bell carries nothing: what changed is polled for from the checkpoint in the store, under the same guards as ever. So nothing
is lost when the connection breaks at any moment: it is listened to anew from where the store is, and what was missed rings.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from syncd.core.snapshot import Live
from syncd.errors import FullReadNeeded, SyncdError

log = structlog.get_logger()

GATHER_S, LONGEST_GATHER_S = 0.05, 1.0  # changes that come together are read together
FIRST_PAUSE_S, LAST_PAUSE_S = 1.0, 60.0
_LONG_S = 30.0  # a connection that lasted this long was no failure


@dataclass(slots=True)
class Listener:
    """Of one source, in a thread of its own. `checkpoint` gives the store's; `leads`: this worker is the one to listen."""

    workspace: str
    name: str
    source: Live
    checkpoint: Callable[[], str | None]
    ring: Callable[[], None]
    leads: Callable[[], bool]
    ending: threading.Event
    _pause_s: float = FIRST_PAUSE_S
    _rang: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        for work in (self._listen, self._gather):
            threading.Thread(target=work, name=f"live {self.name}", daemon=True).start()

    def _listen(self) -> None:
        with structlog.contextvars.bound_contextvars(workspace=self.workspace, source=self.name):
            while not self.ending.is_set():
                began = time.monotonic()
                self._once()
                self.ending.wait(self._pause_s * random.uniform(0.8, 1.2))  # noqa: S311
                lasted = time.monotonic() - began > _LONG_S
                self._pause_s = FIRST_PAUSE_S if lasted else min(LAST_PAUSE_S, self._pause_s * 2)

    def _once(self) -> None:
        began = time.monotonic()
        try:
            checkpoint = self.checkpoint() if self.leads() else None
            if checkpoint is None:
                self._pause_s = FIRST_PAUSE_S
                return
            log.debug("live_listening")
            for _ in self.source.listen(checkpoint):
                self._rang.set()
                if not self.leads():
                    return
        except FullReadNeeded as exc:
            log.info("live_not_possible", why=str(exc))
            self._pause_s = LAST_PAUSE_S
        except SyncdError as exc:
            if not self.ending.is_set():  # one that was silent for long is only renewed
                tell = log.debug if time.monotonic() - began > _LONG_S else log.info
                tell("live_broke", why=str(exc))
        except Exception:
            log.exception("live_crashed")

    def _gather(self) -> None:
        pause_s, rang_at = GATHER_S, 0.0
        while not self.ending.is_set():
            if not self._rang.wait(1.0):
                continue
            pause_s = gathering_s(pause_s, time.monotonic() - rang_at)
            if not self.ending.wait(pause_s):
                self._rang.clear()
                self.ring()
                rang_at = time.monotonic()


def gathering_s(last_s: float, quiet_s: float) -> float:
    """How long to gather changes, after so long last time and then so long a silence: one by itself is read at once, and so
    are some dozen one after the other; where they do not end, all are read once a second."""
    return min(LONGEST_GATHER_S, 1.2 * last_s) if quiet_s < 2 * last_s else GATHER_S
