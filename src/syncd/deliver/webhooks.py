"""One attempt: a signed POST, and what the receiver made of it. 2xx acknowledges, everything else does not.

Bounded in time as a whole, and in what is read of the answer. No redirect is followed: a signed message goes to the address
that somebody configured, and to no other.
"""

from __future__ import annotations

import asyncio
import email.utils
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version as installed
from urllib.parse import urlsplit

import httpx

from syncd.core.connection import address_of
from syncd.core.secret import Secret
from syncd.deliver import signing

EXCERPT_BYTES = 300  # of an answer that refuses: why, in its own words
_MOST_BYTES = 64 * 1024  # of one that accepts: read, so that the connection can be used again


@dataclass(frozen=True, slots=True)
class Webhook:
    """Who must hear of revocations in one workspace. Each of `secrets` signs."""

    workspace: str
    name: str
    url: str
    secrets: Sequence[Secret]
    timeout_s: float = 10
    ca_file: str | None = None
    keys: tuple[bytes, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", tuple(signing.key_of(each.reveal()) for each in self.secrets))

    @property
    def key(self) -> tuple[str, str]:
        return (self.workspace, self.name)


@dataclass(frozen=True, slots=True)
class Answer:
    """`status` None: there was none. `error` None: acknowledged."""

    status: int | None
    error: str | None = None
    retry_after_s: float | None = None

    @property
    def unreached(self) -> bool:
        """It says nothing about this message: the receiver is away, or has too much to do."""
        return self.error is not None and (self.status is None or self.status >= 500 or self.status in (408, 429))


def client(webhook: Webhook, connections: int) -> httpx.AsyncClient:
    """For one webhook, with as many connections. Proxies of the environment are used, but not to this machine."""
    verify = ssl.create_default_context(cafile=webhook.ca_file) if webhook.ca_file else True
    return httpx.AsyncClient(
        verify=verify,
        follow_redirects=False,
        trust_env=not _is_local(webhook.url),
        timeout=webhook.timeout_s,
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=30),
        headers={"User-Agent": f"syncd/{installed('syncd')}", "Content-Type": "application/json", "Accept": "*/*"},
    )


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    address = address_of(host)
    return host == "localhost" or (address is not None and address.is_loopback)


async def send(client: httpx.AsyncClient, webhook: Webhook, id: str, body: bytes, at: datetime) -> Answer:
    """`at`: now, which is signed. Raises nothing: what went wrong is in the answer."""
    signed = signing.headers(webhook.keys, id, at, body)
    try:
        async with (
            asyncio.timeout(webhook.timeout_s),
            client.stream("POST", webhook.url, content=body, headers=signed) as answer,
        ):
            if answer.is_success:
                await _read(answer, _MOST_BYTES)
                return Answer(answer.status_code)
            said = await _read(answer, EXCERPT_BYTES)
            return Answer(answer.status_code, _refusal(answer, said), _retry_after(answer, at))
    except TimeoutError:
        return Answer(None, f"no answer within {webhook.timeout_s:g} s")
    except httpx.TimeoutException:
        return Answer(None, f"no answer within {webhook.timeout_s:g} s")
    except (httpx.HTTPError, OSError, ValueError) as exc:
        return Answer(None, f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__)


async def _read(answer: httpx.Response, most: int) -> bytes:
    found = bytearray()
    async for chunk in answer.aiter_bytes(4096):
        found += chunk
        if len(found) >= most:
            break
    return bytes(found[:most])


def _refusal(answer: httpx.Response, said: bytes) -> str:
    if answer.is_redirect:
        return f"answered {answer.status_code}, a redirect: give the address that answers itself"
    text = " ".join(said.decode("utf-8", "replace").split())
    shown = "".join(each if each.isprintable() else "?" for each in text)
    return f"answered {answer.status_code}" + (f": {shown}" if shown else "")


def _retry_after(answer: httpx.Response, now: datetime) -> float | None:
    """RFC 9110 section 10.2.3: seconds, or a date."""
    text = answer.headers.get("Retry-After", "")
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        until = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    until = until.replace(tzinfo=UTC) if until.tzinfo is None else until
    return max(0.0, (until - now).total_seconds())
