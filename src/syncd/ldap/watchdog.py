"""Ends a read from outside: when its deadline passes, or when the process is told to end.

A receive timeout begins anew with every byte, so only shutting the socket down is a hard end. Reading it then fails at
once, in any thread. One watchdog serves one read: the connection it uses, and the pauses between attempts to connect.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import Any


class Watchdog:
    """`stop` may be called from any thread, also after `close`; not from a signal handler."""

    def __init__(self, deadline_s: int) -> None:
        self.reason: str | None = None  # why it ended the read; None while it did not
        self._ends_at = time.monotonic() + deadline_s
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._connection: Any = None
        self._timer = threading.Timer(
            deadline_s, self.stop, (f"the read took longer than its deadline of {deadline_s} s",)
        )
        self._timer.daemon = True
        self._timer.start()

    def watch(self, connection: Any) -> None:
        """From now on this is the connection; the one before is forgotten."""
        with self._lock:
            self._connection = connection

    def pause(self, seconds: float) -> bool:
        """Wait; False, at once, if that is longer than the deadline leaves or the read was ended."""
        if time.monotonic() + seconds >= self._ends_at:
            return False
        return not self._ended.wait(seconds)

    def stop(self, reason: str) -> None:
        with self._lock:
            if self._ended.is_set():
                return
            self.reason = reason
            self._ended.set()
            open_socket = getattr(self._connection, "socket", None)
            if open_socket is None:
                return
            # A copy of the descriptor: shutting an SSLSocket itself down would turn it into a plain one for its reader.
            with suppress(OSError), socket.socket(fileno=socket.dup(open_socket.fileno())) as raw:
                raw.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """The read is over: say goodbye to the server and let the timer go."""
        self._timer.cancel()
        with self._lock:
            connection, self._connection = self._connection, None
        hang_up(connection)


def hang_up(connection: Any) -> None:
    if connection is not None:
        with suppress(Exception):  # the server may be gone; there is nothing left to save
            connection.unbind()
