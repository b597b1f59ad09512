"""A real mail server on loopback (aiosmtpd), which refuses what a test tells it to and keeps what it took."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


@dataclass
class PostOffice:
    """`refuse(address)`: the answer to RCPT TO, or None. `refuse_text`: the answer to DATA."""

    port: int = 0
    taken: list[EmailMessage] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)  # addresses, refused ones too
    refuse: Callable[[str], str | None] = lambda _: None
    refuse_text: str | None = None

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        self.asked.append(address)
        refused = self.refuse(address)
        if refused is not None:
            return refused
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.refuse_text is not None:
            return self.refuse_text
        found = message_from_bytes(envelope.content, policy=default)
        assert isinstance(found, EmailMessage)
        self.taken.append(found)
        return "250 OK"

    def text(self, number: int = -1) -> str:
        body = self.taken[number].get_body(("plain",))
        assert body is not None
        return str(body.get_content())


@contextmanager
def post_office(
    tls: ssl.SSLContext | None = None, starttls: ssl.SSLContext | None = None, password: str | None = None
) -> Iterator[PostOffice]:
    """`password`: of the user `syncd`, without which nothing is taken."""

    def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, auth: Any) -> AuthResult:
        good = isinstance(auth, LoginPassword) and auth == LoginPassword(b"syncd", (password or "").encode())
        return AuthResult(success=good, handled=False)

    made = PostOffice()
    more: dict[str, Any] = {"enable_SMTPUTF8": True}
    if password is not None:
        more |= {"authenticator": authenticate, "auth_required": True, "auth_require_tls": False}
    if starttls is not None:
        more |= {"tls_context": starttls, "require_starttls": True}
    loop = asyncio.new_event_loop()
    serving = loop.run_until_complete(
        loop.create_server(lambda: SMTP(made, loop=loop, **more), "127.0.0.1", 0, ssl=tls)
    )
    made.port = serving.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        serving.close()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
