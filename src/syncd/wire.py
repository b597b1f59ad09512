"""What arrives on a connection before it is a request: bounded, and refused in words that a SCIM client can read.

Nobody is authenticated yet here. The head of a request (its line and headers, and what comes behind a chunked body) has at most
HEAD_BYTES: the parser itself would keep whatever is sent. All of a request, its body too, is there within REQUEST_S, or the
connection ends: whoever sends nothing more would keep it for ever. What is no HTTP at all has no path, so it is answered
in the form of who is asked: a SCIM error where the first line names /scim, else plain text.
"""

from __future__ import annotations

from asyncio import TimerHandle, Transport
from http import HTTPStatus
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from syncd.scim.endpoint import MEDIA_TYPE
from syncd.scim.messages import error_body
from syncd.together import Together

HEAD_BYTES: Final = 65_535  # what takes an address apart takes no longer one
REQUEST_S: Final = 120  # 4 MiB within it are 35 KiB a second
_SAYS: Final = {
    HTTPStatus.REQUEST_TIMEOUT: f"the whole request was not there within {REQUEST_S} seconds",
    HTTPStatus.BAD_REQUEST: "this is not a valid HTTP request: look for spaces and letters beyond ASCII in its first line",
    HTTPStatus.REQUEST_URI_TOO_LONG: f"the address is longer than {HEAD_BYTES} bytes: POST the query to /.search",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: f"the headers are longer than {HEAD_BYTES} bytes",
}


class _TooLong(Exception):
    pass


class Http(HttpToolsProtocol):
    """One connection."""

    _head = 0  # bytes of the head of this request, so far
    _silent = 0  # bytes that were received since the parser last told of anything
    _line = b""
    _refusal = HTTPStatus.BAD_REQUEST
    _whole = False  # what came so far ends with the end of a request
    _timer: TimerHandle | None = None
    url = b""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        self._together = Together(transport)
        super().connection_made(self._together)
        self._timer = self.loop.call_later(REQUEST_S, self._too_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_time()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._together.ended()
        super().on_response_complete()

    def data_received(self, data: bytes) -> None:
        self._line = data
        self._silent += len(data)
        super().data_received(data)
        if self._silent > HEAD_BYTES and not self.transport.is_closing():
            self._refuse_size()
            self.send_400_response("")
        if self._whole:
            self._in_time()
        elif self._timer is None:
            self._timer = self.loop.call_later(REQUEST_S, self._too_late)

    def on_message_begin(self) -> None:
        self._head = self._silent = 0
        self._whole = False
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self._whole = True
        super().on_message_complete()

    def on_url(self, url: bytes) -> None:
        self._grown(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._grown(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._silent = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._silent = 0
        super().on_body(body)

    def _unsupported_upgrade_warning(self) -> None:
        """Whoever offers another protocol is answered in this one (RFC 9110 section 7.8), and nobody needs to hear of it."""

    def send_400_response(self, msg: str) -> None:
        """Whatever is wrong with the request as a whole: the connection ends with it."""
        status, says = self._refusal, _SAYS[self._refusal]
        scim = b" /scim" in self._line[:100] or self.url.startswith(b"/scim")
        body = error_body(status, says) if scim else says.encode()
        media = MEDIA_TYPE if scim else "text/plain; charset=utf-8"
        head = f"HTTP/1.1 {status} {status.phrase}\r\nContent-Type: {media}\r\nContent-Length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"Connection: close\r\n\r\n" + body)
        self.transport.close()

    def _in_time(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.close()
        else:
            self._refusal = HTTPStatus.REQUEST_TIMEOUT
            self.send_400_response("")

    def _grown(self, by: int) -> None:
        self._head += by
        self._silent = 0
        if self._head > HEAD_BYTES:
            self._refuse_size()
            raise _TooLong

    def _refuse_size(self) -> None:
        in_line = not self.headers
        self._refusal = HTTPStatus.REQUEST_URI_TOO_LONG if in_line else HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
