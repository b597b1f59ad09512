"""How answers are taken off the socket, in place of ldap3's way.

Rules: each message is checked whole before anything of it is believed (ber.py); entries are decoded here, everything
else by ldap3; a message of a wrong number, a notice of disconnection (RFC 4511 section 4.4.1) and bytes that are no LDAP
end the connection. Entries come as ldap3's dicts with `raw_dn` and `raw_attributes` only, 12 times as fast.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Set
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # ldap3 2.9.1 imports old names of pyasn1
    from ldap3.strategy.base import RESPONSE_COMPLETE, SESSION_TERMINATED_BY_SERVER
    from ldap3.strategy.sync import SyncStrategy
    from ldap3.utils.asn1 import decode_message_fast

from syncd.ldap import ber

_CHUNK = 256 * 1024
_BOUND = ("send", "open", "get_response", "post_send_single_response", "post_send_search")
_UNFINISHED = ("searchResEntry", "searchResRef", "intermediateResponse")


class Ended(Exception):
    """The connection is of no more use, and why."""


class Receive(SyncStrategy):  # type: ignore[misc]
    """Attached to a connection before it is opened; `longest` bounds one message, in bytes."""

    def __init__(self, connection: Any, longest: int) -> None:
        super().__init__(connection)
        self._longest = longest
        self._buffer = bytearray()
        self._at = 0
        self.entries = 0  # that came, whether their search ended well or not
        self.streaming = False  # the next search is only sent, and its answers are taken one by one from `stream`
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

    def post_send_search(self, message_id: int) -> Any:
        return message_id if self.streaming else super().post_send_search(message_id)

    def stream(self, *message_ids: int) -> Iterator[dict[str, Any]]:
        """The answers to these searches one by one, until each had its result. Entries have the values of their `controls`."""
        left = set(message_ids)
        while left:
            message = self._next()
            if message is None:
                raise Ended("session terminated by server")
            number, answer = self._answer(message, left, with_controls=True)
            if answer["type"] not in _UNFINISHED:
                left.discard(number)
                self._outstanding.pop(number, None)
            yield answer

    def _get_response(self, message_id: int, timeout: Any) -> Any:
        answers: list[Any] = []
        while True:
            message = self._next()
            if message is None:
                return SESSION_TERMINATED_BY_SERVER
            _, answer = self._answer(message, {message_id})
            answers.append(answer)
            if answer["type"] not in _UNFINISHED:
                answers.append(RESPONSE_COMPLETE)
                return answers

    def _answer(self, message: bytes, to: Set[int], with_controls: bool = False) -> tuple[int, dict[str, Any]]:
        """Which of these requests it answers, and how."""
        found = ber.envelope(message)
        if found.id not in to:
            raise Ended(self._unasked(message, found.id))
        if found.tag != ber.ENTRY:
            return found.id, self.decode_response_fast(decode_message_fast(message))
        name, attributes = ber.entry(message, found.start, found.stop)
        self.entries += 1
        entry = {"type": "searchResEntry", "raw_dn": name, "raw_attributes": attributes}
        if with_controls:
            entry["controls"] = {oid: {"value": value} for oid, value in ber.controls(message, found).items()}
        return found.id, entry

    def _next(self) -> bytes | None:
        """The next whole message; None when the server ended the connection."""
        while True:
            end = ber.end_of_message(self._buffer, self._at, self._longest)
            if end is not None and end <= len(self._buffer):
                message = bytes(memoryview(self._buffer)[self._at : end])
                self._at = end
                return message
            if self._at:
                del self._buffer[: self._at]
                self._at = 0
            came = self.connection.socket.recv(_CHUNK)
            if not came:
                return None
            self._buffer += came

    def _unasked(self, message: bytes, number: int) -> str:
        if number:
            return f"the server answered request {number}, which was not made"
        notice = self.decode_response_fast(decode_message_fast(message))
        said = f"{notice['description']} ({notice['result']}) {notice['message']}".rstrip()
        if notice.get("responseName") == "1.3.6.1.4.1.1466.20036":
            return f"the server gave notice that it disconnects: {said}"
        return f"the server sent a notice that nobody asked for: {said}"
