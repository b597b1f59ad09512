"""What sends, sends in a thread with an event loop of its own: a turn every so often, until the process is to end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from syncd.errors import SyncdError

GRACE_S: Final = 10  # for what is on its way when the process is to end
log = structlog.get_logger()


class Loop:
    """`turn` does what is due now. `missed`: the event that is logged when it could not. `last`: before the thread ends."""

    def __init__(
        self,
        name: str,
        turn: Callable[[], Awaitable[None]],
        poll_s: float,
        missed: str,
        last: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._name, self._turn, self._poll_s, self._missed, self._last = name, turn, poll_s, missed, last
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def ends(self) -> bool:
        """Whether nothing new is to be begun."""
        return self._ending.is_set()

    def start(self) -> None:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._work()), name=self._name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """What is on its way is waited for; what is cut off is sent again by whoever works next."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(GRACE_S + self._poll_s)

    async def _work(self) -> None:
        while not self.ends:
            try:
                await self._turn()
            except SyncdError as exc:
                log.warning(self._missed, why=str(exc))
            except Exception:
                log.exception(f"{self._name}_failed")
            await asyncio.to_thread(self._ending.wait, self._poll_s)
        if self._last is not None:
            await self._last()
