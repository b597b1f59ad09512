"""How answers are taken off the socket, in place of ldap3's way.

Rules: each message is checked whole before anything of it is believed (ber.py); entries are decoded by decode.py, everything
else by ldap3; a message of a wrong number, a notice of disconnection (RFC 4511 section 4.4.1) and bytes that are no LDAP
end the connection. ldap3 sends; the answers to a search are taken here, whole by `answer` or one by one by `stream`.
What it sends for a page serves for the next pages too, since only two values differ and ldap3 makes it at 2 ms each.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Set
from typing import Any, NamedTuple

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # ldap3 2.9.1 imports old names of pyasn1
    from ldap3.strategy.base import RESPONSE_COMPLETE, SESSION_TERMINATED_BY_SERVER
    from ldap3.strategy.sync import SyncStrategy
    from ldap3.utils.asn1 import decode_message_fast, encode

from syncd.ldap import ber, paging
from syncd.ldap.decode import Decoder, RawEntry

_CHUNK = 256 * 1024
_BOUND = ("send", "open", "get_response", "post_send_single_response", "post_send_search")
_UNFINISHED = ("searchResEntry", "searchResRef", "intermediateResponse")


class Ended(Exception):
    """The connection is of no more use, and why."""


class Answer(NamedTuple):
    """To one search, whole. `done` is as ldap3 has a SearchResultDone, the values of its controls as they came."""

    entries: list[RawEntry]
    references: list[str]
    done: dict[str, Any]


class Receive(SyncStrategy):  # type: ignore[misc]
    """Attached to a connection before it is opened; `longest` bounds one message, in bytes."""

    def __init__(self, connection: Any, longest: int) -> None:
        super().__init__(connection)
        self._longest = longest
        self._decoder = Decoder(longest)
        self._buffer = b""
        self._at = 0
        self.sent = b""  # the last message that ldap3 made
        self.entries = 0  # that came, whether their search ended well or not
        connection.strategy = self
        for name in _BOUND:  # the connection holds these of the strategy it was made with
            setattr(connection, name, getattr(self, name))

    @staticmethod
    def decode_control_fast(control: Any, from_server: bool = True) -> tuple[str, dict[str, Any]]:
        """The value stays bytes: ldap3 would read a paging cookie whose length is wrong as another cookie, or as none."""
        value = next((bytes(each[3]) for each in control[1:] if each[2] == ber.OCTETS), b"")
        return control[0][3].decode("ascii"), {"value": value}

    @property
    def unread(self) -> bool:
        """Bytes came that nobody asked for yet."""
        return len(self._buffer) > self._at

    def post_send_search(self, message_id: int) -> int:
        """A search is only sent: its number is what `answer` and `stream` want."""
        return message_id

    def sending(self, ldap_message: Any) -> None:
        self.sent = encode(ldap_message)
        self.connection.socket.sendall(self.sent)

    def send_page(self, first: bytes, cookie: bytes) -> int:
        """The search that was `sent` as these bytes, now for the page that this cookie stands for."""
        number = int(self.connection.server.next_message_id())
        self.connection.socket.sendall(paging.next_page(first, number, cookie))
        return number

    def answer(self, number: int) -> Answer:
        """All that comes to this search, up to its result. Raises Ended, Malformed and what a socket raises."""
        entries: list[RawEntry] = []
        references: list[str] = []
        before = self.entries
        while True:
            self._at = self._decoder.entries(self._buffer, self._at, number, entries)
            self.entries = before + len(entries)
            _, each = self._answer(self._message(), {number})
            if isinstance(each, RawEntry):
                entries.append(each)
            elif each["type"] == "searchResRef":
                references += each["uri"]
            elif each["type"] not in _UNFINISHED:
                self._outstanding.pop(number, None)
                return Answer(entries, references, each)

    def stream(self, *message_ids: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """The answers to these searches one by one, with the number of theirs, until each had its result. Entries have the
        values of their `controls`."""
        left = set(message_ids)
        while left:
            message = self._message()
            found, answer = self._answer(message, left)
            if isinstance(answer, RawEntry):
                self.entries += 1
                controls = {oid: {"value": value} for oid, value in ber.controls(message, found).items()}
                entry = {"raw_dn": answer.dn, "raw_attributes": answer.attributes, "controls": controls}
                yield found.id, {"type": "searchResEntry", **entry}
                continue
            if answer["type"] not in _UNFINISHED:
                left.discard(found.id)
                self._outstanding.pop(found.id, None)
            yield found.id, answer

    def _get_response(self, message_id: int, timeout: Any) -> Any:
        """What ldap3 asks for itself: of a bind, or of an extended request."""
        answers: list[Any] = []
        while (message := self._next()) is not None:
            answers.append(self._answer(message, {message_id})[1])
            if answers[-1]["type"] not in _UNFINISHED:
                return [*answers, RESPONSE_COMPLETE]
        return SESSION_TERMINATED_BY_SERVER

    def _answer(self, message: bytes, to: Set[int]) -> tuple[ber.Envelope, RawEntry | dict[str, Any]]:
        """Which of these requests it answers, and how."""
        found = ber.envelope(message)
        if found.id not in to:
            raise Ended(self._unasked(message, found.id))
        if found.tag == ber.ENTRY:
            return found, self._decoder.entry(message, found.start, found.stop)
        if found.tag == ber.INTERMEDIATE:  # a poll may be answered by thousands, each of which ldap3 takes 50 us for
            name, value = ber.intermediate(message, found)
            return found, {"type": "intermediateResponse", "responseName": name, "responseValue": value}
        return found, self.decode_response_fast(decode_message_fast(message))

    def _message(self) -> bytes:
        message = self._next()
        if message is None:
            raise Ended("session terminated by server")
        return message

    def _next(self) -> bytes | None:
        """The next whole message; None when the server ended the connection."""
        while True:
            end = ber.end_of_message(self._buffer, self._at, self._longest)
            if end is not None and end <= len(self._buffer):
                message = self._buffer[self._at : end]
                self._at = end
                return message
            if not self._receive(1 if end is None else end - len(self._buffer)):
                return None

    def _receive(self, wanted: int) -> bool:
        """At least so many bytes more, or False."""
        parts = [self._buffer[self._at :]]
        while wanted > 0:
            came = self.connection.socket.recv(_CHUNK)
            if not came:
                return False
            parts.append(came)
            wanted -= len(came)
        self._buffer, self._at = b"".join(parts), 0
        return True

    def _unasked(self, message: bytes, number: int) -> str:
        if number:
            return f"the server answered request {number}, which was not made"
        notice = self.decode_response_fast(decode_message_fast(message))
        said = f"{notice['description']} ({notice['result']}) {notice['message']}".rstrip()
        if notice.get("responseName") == "1.3.6.1.4.1.1466.20036":
            return f"the server gave notice that it disconnects: {said}"
        return f"the server sent a notice that nobody asked for: {said}"
