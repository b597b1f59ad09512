"""What stands between uvicorn and its sockets: the head of an answer and what follows it are sent together.

uvicorn writes them one after the other, and each write that nobody waits for is a call of the system, a packet and a wake-up
of who asked; a small answer is one of each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

_INTERIM: Final = b"HTTP/1.1 1"  # 100 Continue: whoever asked waits for it


class Together(asyncio.Transport):
    """A connection that keeps back the first that is written of each answer until there is more of it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._begun = False
        self._head = b""
        self.is_closing: Callable[[], bool] = transport.is_closing
        self.pause_reading: Callable[[], None] = transport.pause_reading
        self.resume_reading: Callable[[], None] = transport.resume_reading
        self.get_extra_info: Callable[..., Any] = transport.get_extra_info

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:  # type: ignore[override]
        if self._begun:
            if self._head:
                head, self._head = self._head, b""
                self._transport.writelines((head, data))
            else:
                self._transport.write(data)
        elif data.startswith(_INTERIM):
            self._transport.write(data)
        else:
            self._begun, self._head = True, data

    def ended(self) -> None:
        """An answer is complete: what comes next begins another."""
        self._flush()
        self._begun = False

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)
