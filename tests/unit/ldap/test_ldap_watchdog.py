"""The end of a read from outside: at once, for whoever reads the socket and for whoever waits."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass

import pytest

from syncd.ldap.watchdog import Watchdog


@dataclass
class Connection:
    socket: socket.socket
    goodbyes: int = 0

    def unbind(self) -> None:
        self.goodbyes += 1


def test_a_reader_is_woken() -> None:
    ours, theirs = socket.socketpair()
    watchdog = Watchdog(60)
    with ours, theirs:
        watchdog.watch(Connection(ours))
        threading.Timer(0.02, watchdog.stop, ("told to end",)).start()
        assert ours.recv(1) == b""
        assert watchdog.reason == "told to end"
        watchdog.stop("once more")
        assert watchdog.reason == "told to end"
    watchdog.close()


def test_a_pause_ends_early_and_is_not_begun_in_vain() -> None:
    watchdog = Watchdog(5)
    began = time.monotonic()
    assert watchdog.pause(0.001)
    assert not watchdog.pause(10)  # the deadline comes first
    threading.Timer(0.02, watchdog.stop, ("told to end",)).start()
    assert not watchdog.pause(4)
    assert not watchdog.pause(0)
    assert time.monotonic() - began < 3
    watchdog.close()


def test_the_deadline() -> None:
    watchdog = Watchdog(1)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        watchdog.watch(Connection(ours))
        assert ours.recv(1) == b""
    assert watchdog.reason == "the read took longer than its deadline of 1 s"
    watchdog.close()


@pytest.mark.parametrize("stopped", [False, True])
def test_the_server_is_told_goodbye_once(stopped: bool) -> None:
    watchdog = Watchdog(60)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection = Connection(ours)
        watchdog.watch(connection)
        if stopped:
            watchdog.stop("told to end")
        watchdog.close()
        watchdog.close()
        assert connection.goodbyes == 1


def test_a_connection_without_a_socket_is_no_trouble() -> None:
    watchdog = Watchdog(60)
    watchdog.watch(object())
    watchdog.stop("told to end")
    watchdog.watch(None)
    watchdog.close()
    assert watchdog.reason == "told to end"
