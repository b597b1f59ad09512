"""The postman: sends the mail that waits, over one SMTP connection for as many as are due, and notes what came of each.

A recipient or a text that the server refuses for good (5xx) ends that mail; whatever concerns the server itself (it is away,
refuses us, or says 4xx) is tried again with growing pauses, until a mail is too old to be of use. Nothing is sent in clear
to another machine.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import parseaddr
from typing import Literal

import aiosmtplib
import structlog

from syncd.core.mail import Envelope
from syncd.core.secret import Secret
from syncd.core.workspace import Workspace
from syncd.deliver.courier import MARGIN, Pauses
from syncd.deliver.letters import Templates, letter
from syncd.deliver.loop import Loop
from syncd.store import mails
from syncd.store.describe import Conn as Connection
from syncd.store.engine import Database
from syncd.store.mails import Result, Sending, Taken

POLL_S = 2.0
AT_ONCE = 10  # mails taken for one connection
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Server:
    """Where mail is handed in. `tls`: from the first byte, by STARTTLS, or none."""

    host: str
    port: int
    tls: Literal["tls", "starttls", "none"]
    sender: str
    reply_to: str | None = None
    username: str | None = None
    password: Secret | None = None
    ca_file: str | None = None
    timeout_s: float = 30

    def client(self) -> aiosmtplib.SMTP:
        context = None if self.tls == "none" else ssl.create_default_context(cafile=self.ca_file)
        return aiosmtplib.SMTP(
            hostname=self.host,
            port=self.port,
            use_tls=self.tls == "tls",
            start_tls=self.tls == "starttls",
            tls_context=context,
            username=self.username,
            password=self.password.reveal() if self.password else None,
            timeout=self.timeout_s,
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """`fate` None: try again. `server`: it is about the server and not about this mail, so the others wait too."""

    fate: Literal["sent", "refused"] | None
    code: int | None = None
    error: str | None = None
    server: bool = False


async def deliver(client: aiosmtplib.SMTP, server: Server, templates: Templates, envelope: Envelope) -> Outcome:
    """Hand in one mail over an open connection. Raises nothing."""
    try:
        made = letter(templates, envelope, server.sender, server.reply_to)
    except (ValueError, UnicodeError) as exc:
        return Outcome("refused", None, f"cannot be written: {exc}")
    try:
        sender = parseaddr(server.sender)[1]
        await client.send_message(made, sender=sender, recipients=[envelope.address])
    except aiosmtplib.SMTPRecipientsRefused as exc:
        first = exc.recipients[0]
        return _refused(first.code, first.message)
    except aiosmtplib.SMTPDataError as exc:
        return _refused(exc.code, exc.message)
    except (aiosmtplib.SMTPNotSupported, UnicodeError) as exc:
        return Outcome("refused", None, f"the mail server cannot take this address: {exc}")
    except (aiosmtplib.SMTPException, OSError, TimeoutError) as exc:
        return _of_the_server(exc)
    return Outcome("sent", 250)


async def hand_in(server: Server, templates: Templates, envelope: Envelope) -> Outcome:
    """One mail over a connection of its own. Raises nothing."""
    client = server.client()
    try:
        await client.connect()
        return await deliver(client, server, templates, envelope)
    except (aiosmtplib.SMTPException, OSError, TimeoutError, ValueError) as exc:
        return _of_the_server(exc)
    finally:
        client.close()


async def reach(server: Server) -> str | None:
    """Whether mail could be handed in: greeting, TLS and password. What is wrong, or None."""
    client = server.client()
    try:
        await client.connect()
        await client.noop()
    except (aiosmtplib.SMTPException, OSError, TimeoutError, ValueError) as exc:
        return _of_the_server(exc).error
    finally:
        client.close()
    return None


def _refused(code: int, message: str) -> Outcome:
    return Outcome("refused" if code >= 500 else None, code, _said(code, message))


def _of_the_server(exc: Exception) -> Outcome:
    code = exc.code if isinstance(exc, aiosmtplib.SMTPResponseException) else None
    text = exc.message if isinstance(exc, aiosmtplib.SMTPResponseException) else str(exc) or type(exc).__name__
    return Outcome(None, code, _said(code, text), server=True)


def _said(code: int | None, message: str) -> str:
    text = "".join(each if each.isprintable() else "?" for each in " ".join(str(message).split()))[:300]
    return text if code is None or text.startswith(str(code)) else f"{code} {text}"


@dataclass(slots=True)
class Postman:
    """`give_up`: how old a mail may become that cannot be handed in."""

    database: Database
    workspaces: Mapping[str, Workspace]
    server: Server
    templates: Templates
    sending: Sending
    clock: Callable[[], datetime]
    give_up: timedelta = timedelta(days=2)
    pauses: Pauses = field(default_factory=lambda: Pauses(timedelta(seconds=30), timedelta(hours=1)))
    poll_s: float = POLL_S
    _loop: Loop = field(init=False)

    def __post_init__(self) -> None:
        self._loop = Loop("postman", self._turn, self.poll_s, "mail_not_taken")

    def start(self) -> None:
        self._loop.start()

    def stop(self) -> None:
        self._loop.stop()

    async def _turn(self) -> None:
        while not self._loop.ends and await asyncio.to_thread(self._waiting):
            taken = await asyncio.to_thread(self.database.write_now, self._take)
            await self._hand_in(taken)

    @property
    def _for(self) -> timedelta:
        """How long what was taken is ours: each step of each mail may take its timeout."""
        return MARGIN + timedelta(seconds=self.server.timeout_s * (AT_ONCE + 2))

    def _waiting(self) -> bool:
        with self.database.reading() as conn:
            return mails.waiting(conn, self.clock(), self.pauses.longest + self._for)

    def _take(self, conn: Connection) -> list[Taken]:
        now = self.clock()
        horizon = self.pauses.longest + self._for
        return mails.take(conn, self.workspaces, self.sending, now, now + self._for, AT_ONCE, horizon)

    async def _hand_in(self, taken: list[Taken]) -> None:
        if not taken:
            return
        client = self.server.client()
        left = list(taken)
        trouble: Outcome | None = None
        try:
            await client.connect()
            while left and trouble is None and not self._loop.ends:
                outcome = await deliver(client, self.server, self.templates, left[0].envelope)
                await self._note([(left.pop(0), outcome)])
                trouble = outcome if outcome.server else None
        except (aiosmtplib.SMTPException, OSError, TimeoutError, ValueError) as exc:
            trouble = _of_the_server(exc)
        finally:
            client.close()
        cut_off = trouble or Outcome(None, None, "cut off by the end of the process")
        await self._note([(each, cut_off) for each in left])

    async def _note(self, pairs: Iterable[tuple[Taken, Outcome]]) -> None:
        now = self.clock()
        results = [self._result(each, outcome, now) for each, outcome in pairs]
        if results:
            await asyncio.to_thread(self.database.write_now, lambda conn: mails.note(conn, results, now))

    def _result(self, taken: Taken, outcome: Outcome, now: datetime) -> Result:
        told = {"workspace": taken.workspace, "mail": taken.id, "kind": taken.envelope.kind, "attempts": taken.attempts}
        if outcome.fate == "sent":
            log.info("mail_sent", **told)
            return Result(taken.workspace, taken.id, outcome.code, None, mails.SENT)
        if outcome.fate == "refused":
            log.warning("mail_refused", **told, code=outcome.code)
            return Result(taken.workspace, taken.id, outcome.code, outcome.error, mails.REFUSED)
        again = now + self.pauses.after(taken.attempts, random.random())  # noqa: S311 - no secret
        if again - taken.created_at > self.give_up:
            log.warning("mail_given_up", **told, code=outcome.code)
            return Result(taken.workspace, taken.id, outcome.code, outcome.error, mails.FAILED)
        log.warning("mail_failed", **told, code=outcome.code, again_in_s=round((again - now).total_seconds()))
        return Result(taken.workspace, taken.id, outcome.code, outcome.error, None, again)
