"""A proxy in front of an LDAP server that spoils answers: what networks, overloaded servers and bad ones do.

It cuts the server's stream into LDAP messages (RFC 4511 section 4.1.1) and hands each to `spoil`, which returns the bytes
to send instead: the same, other ones, some and then nothing more (`Cut`), or none (the connection is closed).
`balancer` stands in front of two servers and sends the requests of one connection now to the one, now to the other.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

BOUND, ENTRY, DONE, REFERENCE = 0x61, 0x64, 0x65, 0x73  # the tags of answers
_BIND, _SEARCH = 0x60, 0x63  # and of requests


class Cut(bytes):
    """Send these bytes and close the connection."""


Spoil = Callable[["Message"], bytes | None]


@dataclass
class Message:
    raw: bytes
    entries_before: int  # how many search entries went through on this connection
    searches_before: int = 0  # how many searches were answered on this connection
    connection: int = 1  # the first, the second, ... that was made to this proxy

    @property
    def tag(self) -> int:
        return self.raw[self._operation()]

    @property
    def id(self) -> bytes:
        """The messageID, still in BER."""
        at = _header(self.raw)
        return self.raw[at : at + 2 + self.raw[at + 1]]

    def _operation(self) -> int:
        at = _header(self.raw)
        return at + 2 + self.raw[at + 1]

    @property
    def start(self) -> int:
        """Where the content of the operation begins in `raw`."""
        at = self._operation()
        return at + _header(self.raw[at:])

    def refused_bind(self, code: int) -> bytes:
        return _tlv(0x30, self.id + bytes([BOUND, 7, 0x0A, 1, code, 4, 0, 4, 0]))

    def done(self, code: int, controls: bytes = b"") -> bytes:
        """A search result done of this operation with another code."""
        operation = bytes([DONE, 7, 0x0A, 1, code, 4, 0, 4, 0])
        return _tlv(0x30, self.id + operation + controls)

    def reference(self, url: str) -> bytes:
        return _tlv(0x30, self.id + _tlv(REFERENCE, _tlv(4, url.encode())))


def last_page() -> bytes:
    """The paging control of a last page: empty cookie."""
    value = _tlv(0x30, bytes([2, 1, 0, 4, 0]))
    return _tlv(0xA0, _tlv(0x30, _tlv(4, b"1.2.840.113556.1.4.319") + _tlv(4, value)))


def notice_of_disconnection(code: int, why: str) -> bytes:
    """RFC 4511 section 4.4.1."""
    result = bytes([0x0A, 1, code, 4, 0]) + _tlv(4, why.encode())
    return _tlv(0x30, bytes([2, 1, 0]) + _tlv(0x78, result + _tlv(0x8A, b"1.3.6.1.4.1.1466.20036")))


@dataclass
class Proxy:
    target: int
    spoil: Spoil
    drip_after: int | None = None  # from this entry on, one byte every tenth of a second
    port: int = 0
    connections: int = 0
    _sockets: list[socket.socket] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"ldap://127.0.0.1:{self.port}"

    def serve(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets += [client, server]
                self.connections += 1
                threading.Thread(target=self._forward, args=(client, server), daemon=True).start()
                threading.Thread(target=self._answer, args=(server, client, self.connections), daemon=True).start()

    def close(self) -> None:
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _answer(self, server: socket.socket, client: socket.socket, number: int) -> None:
        entries = searches = 0
        with suppress(OSError):
            for raw in _messages(server):
                message = Message(raw, entries, searches, number)
                entries += message.tag == ENTRY
                searches += message.tag == DONE
                spoiled = self.spoil(message)
                if spoiled is None:
                    break
                if self.drip_after is not None and entries > self.drip_after:
                    for byte in spoiled:
                        client.sendall(bytes([byte]))
                        time.sleep(0.1)
                else:
                    client.sendall(spoiled)
                if isinstance(spoiled, Cut):
                    break
            client.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxy(target: int, spoil: Spoil = lambda message: message.raw, drip_after: int | None = None) -> Iterator[Proxy]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = Proxy(target, spoil, drip_after, listener.getsockname()[1])
        threading.Thread(target=running.serve, args=(listener,), daemon=True).start()
        yield running
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        running.close()


@contextmanager
def balancer(first: int, second: int, from_search: int) -> Iterator[Proxy]:
    """Binds to both; the searches from this one on (the first is 1) are the second server's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = Proxy(first, lambda message: message.raw, None, listener.getsockname()[1])

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    servers = [socket.create_connection(("127.0.0.1", port)) for port in (first, second)]
                    running._sockets += [client, *servers]
                    running.connections += 1
                    threading.Thread(target=relay, args=(client, *servers), daemon=True).start()

        def relay(client: socket.socket, one: socket.socket, other: socket.socket) -> None:
            searches = 0
            with suppress(OSError):
                for raw in _messages(client):
                    request = Message(raw, 0)
                    searches += request.tag == _SEARCH
                    server = other if searches >= from_search else one
                    if request.tag == _BIND:
                        other.sendall(raw)
                        next(_messages(other))
                    server.sendall(raw)
                    if request.tag not in (_BIND, _SEARCH):
                        return
                    for answer in _messages(server):
                        client.sendall(answer)
                        if Message(answer, 0).tag not in (ENTRY, REFERENCE):
                            break

        threading.Thread(target=serve, daemon=True).start()
        yield running
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        running.close()


def _messages(server: socket.socket) -> Iterator[bytes]:
    buffer = b""
    while True:
        while (
            len(buffer) >= 2 and len(buffer) >= (header := _header(buffer)) and len(buffer) >= header + _length(buffer)
        ):
            size = header + _length(buffer)
            yield buffer[:size]
            buffer = buffer[size:]
        data = server.recv(65536)
        if not data:
            return
        buffer += data


def _header(raw: bytes) -> int:
    return 2 if raw[1] < 0x80 else 2 + (raw[1] & 0x7F)


def _length(raw: bytes) -> int:
    return raw[1] if raw[1] < 0x80 else int.from_bytes(raw[2 : 2 + (raw[1] & 0x7F)], "big")


def _tlv(tag: int, value: bytes) -> bytes:
    if len(value) < 0x80:
        return bytes([tag, len(value)]) + value
    length = len(value).to_bytes((len(value).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + value
