"""What arrives on a connection before it is a request: bounded, and refused in words that a SCIM client can read.

Nobody is authenticated yet here. The head of a request (its line and headers, and what comes behind a chunked body) has at most
HEAD_BYTES: the parser itself would keep whatever is sent. All of a request, its body too, is there within REQUEST_S, or the
connection ends: whoever sends nothing more would keep it for ever. What is no HTTP at all has no path, so it is answered
in the form of who is asked: a SCIM error where the first line names /scim, else plain text.

Another protocol that is offered (`Upgrade: h2c`, by Java's client with its first request) is not taken, and the request
is read on in this one (RFC 9110 section 7.8): the parser would take its body for the other protocol's.

What was asked before on the same connection is answered before it: an answer is told by its place alone. Fields behind a
chunked body are counted and left out, since whoever stands before this server has not seen them (RFC 9110 section 6.5.1).
"""

from __future__ import annotations

from asyncio import TimerHandle, Transport
from http import HTTPStatus
from typing import Final

import httptools
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


_HOST: Final = "a request of HTTP/1.1 names its host, once (RFC 9112 section 3.2)"
_CODING: Final = "of the transfer codings only chunked is understood, alone and in HTTP/1.1"


class _Refused(Exception):
    pass


class Http(HttpToolsProtocol):
    """One connection."""

    _head = 0  # bytes of the head of this request, so far
    _silent = 0  # bytes that were received since the parser last told of anything
    _line = b""
    _refusal = HTTPStatus.BAD_REQUEST
    _says = ""  # what is wrong, where the status alone would not tell
    _refused = False  # nothing more is read; the refusal may wait for the answers before it
    _whole = False  # what came so far ends with the end of a request
    _in_body = False  # the head of a request is complete and its body is not
    _again = False  # what is parsed is the head once more, for its body
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
        last = not self.pipeline
        super().on_response_complete()
        if self._refused and last:
            self._refuse()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._line = data
        self._silent += len(data)
        self._unset_keepalive_if_required()
        while data:
            try:
                self.parser.feed_data(data)
                break
            except httptools.HttpParserUpgrade as offer:
                data = self._framing() + data[offer.args[0] :]
                self.parser, self._again = httptools.HttpRequestParser(self), True
            except httptools.HttpParserError:
                self.send_400_response("")
                return
        if self._silent > HEAD_BYTES and not self.transport.is_closing():
            self._refuse_size()
            self.send_400_response("")
        if self._whole:
            self._in_time()
        elif self._timer is None:
            self._timer = self.loop.call_later(REQUEST_S, self._too_late)

    def _framing(self) -> bytes:
        """A head with nothing in it but how long the body is."""
        kept = (b"%b: %b\r\n" % each for each in self.headers if each[0] in (b"content-length", b"transfer-encoding"))
        return b"POST / HTTP/1.1\r\n%b\r\n" % b"".join(kept)

    def on_message_begin(self) -> None:
        if self._again:
            return
        self._head = self._silent = 0
        self._whole = False
        super().on_message_begin()

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return  # its body comes yet
        self._whole, self._in_body = True, False
        super().on_message_complete()

    def on_url(self, url: bytes) -> None:
        if self._again:
            return
        self._grown(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._grown(len(name) + len(value))
        if not self._in_body:  # of a head once more neither
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._again:
            self._again = False
            return
        self._silent = 0
        names = [name for name, _ in self.headers]
        if b"transfer-encoding" in names or names.count(b"host") != 1:
            self._check(names.count(b"host"))
        super().on_headers_complete()
        self._in_body = True

    def _check(self, hosts: int) -> None:
        """Raises _Refused for what must not be guessed: whom it is for, and where its body ends."""
        old = self.parser.get_http_version() == "1.0"
        for name, value in self.headers:
            if name == b"transfer-encoding" and (old or value.strip().lower() != b"chunked"):
                self._says = _CODING
                raise _Refused
        if hosts != 1 and not old:
            self._says = _HOST
            raise _Refused

    def on_body(self, body: bytes) -> None:
        self._silent = 0
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """Whatever is wrong with the request as a whole: the connection ends with it."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        if self._in_body and self.pipeline and self.pipeline[0][0] is self.cycle:
            self.pipeline.popleft()  # it waits for those before it, and is not to be begun
            self.flow.pause_reading()
        elif self._in_body and self.cycle.response_started:
            self.transport.close()  # it is answered already
        elif self._in_body or self.cycle is None or self.cycle.response_complete:
            self._refuse()
        else:
            self.flow.pause_reading()

    def _refuse(self) -> None:
        if self.transport.is_closing():
            return
        status, says = self._refusal, self._says or _SAYS[self._refusal]
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
            raise _Refused

    def _refuse_size(self) -> None:
        in_line = not self.headers
        self._refusal = HTTPStatus.REQUEST_URI_TOO_LONG if in_line else HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
