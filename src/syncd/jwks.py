"""The public keys of others (RFC 7517), fetched when a token needs them, and tokens checked with them (RFC 7519).

A fetch is bounded in time and size, goes to https only (http to this machine), follows no redirect, and happens once however
many requests wait for it; nobody else waits. Keys serve FRESH_S, after that while a fetch goes on beside; keys that could not
be renewed are dropped after STALE_S. A key id nobody knows causes a fetch at most every AGAIN_S, a failure the next
attempt not before AGAIN_S, so that made-up tokens cannot make us ask all the time.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import structlog
from joserfc import jwk, jwt
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry

from syncd.core.connection import ALGORITHMS, address_of

FRESH_S: Final = 3600
STALE_S: Final = 86_400
AGAIN_S: Final = 30
TIMEOUT_S: Final = 5
MAX_BYTES: Final = 256 * 1024
MAX_KEYS: Final = 100
MAX_TOKEN: Final = 8192
_ASKED: Final = {"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"}
_KINDS: Final = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
_MIN_RSA_BITS: Final = 2048  # RFC 7518 section 3.3
log = structlog.get_logger()

Key = Any  # joserfc's keys have no common public type


class _Registry(JWSRegistry):
    """Headers of any sensible length; what nobody here knows of them counts for nothing (RFC 7515 section 4), unless `crit`
    names it."""

    max_header_length = MAX_TOKEN


class Untrusted(Exception):
    """A token that is not to be believed; the text says why, for the log and for nobody else."""


@dataclass(slots=True)
class _Known:
    keys: tuple[Key, ...] = ()
    fetched_at: float = float("-inf")
    tried_at: float = float("-inf")
    fetching: asyncio.Task[None] | None = None


class KeySets:
    """Of every issuer that is configured, by address. One for each process."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._known: dict[str, _Known] = {}

    async def find(self, url: str, kid: str | None, algorithm: str, ca_file: str | None = None) -> tuple[Key, ...]:
        """The keys that may have signed: those of this id, or without an id all of the algorithm's kind."""
        known = self._known.setdefault(url, _Known())
        now = self._monotonic()
        if now - known.fetched_at > STALE_S:
            known.keys = ()
        found = matching(known.keys, kid, algorithm)
        if not found and now - known.tried_at >= AGAIN_S:
            await asyncio.shield(self._fetching(url, known, ca_file))
            found = matching(known.keys, kid, algorithm)
        elif found and now - known.fetched_at > FRESH_S and now - known.tried_at >= AGAIN_S:
            self._fetching(url, known, ca_file)
        elif not found and known.fetching is not None:
            await asyncio.shield(known.fetching)
            found = matching(known.keys, kid, algorithm)
        return found

    def _fetching(self, url: str, known: _Known, ca_file: str | None) -> asyncio.Task[None]:
        if known.fetching is None or known.fetching.done():
            known.tried_at = self._monotonic()
            known.fetching = asyncio.create_task(self._fetch(url, known, ca_file))
        return known.fetching

    async def _fetch(self, url: str, known: _Known, ca_file: str | None) -> None:
        try:
            known.keys = await fetch(url, ca_file)
            known.fetched_at = self._monotonic()
        except (OSError, ValueError, TimeoutError, httpx.HTTPError, Untrusted) as exc:
            log.warning("keys_not_fetched", url=url, why=str(exc) or type(exc).__name__)
        finally:
            known.tried_at = self._monotonic()


async def fetch(url: str, ca_file: str | None = None) -> tuple[Key, ...]:
    """The signing keys at this address. Raises Untrusted, OSError, ValueError, TimeoutError, httpx.HTTPError."""
    local = is_local(url)
    if urlsplit(url).scheme != "https" and not local:
        raise Untrusted("keys are fetched by https only")
    verify = ssl.create_default_context(cafile=ca_file) if ca_file else True
    body = bytearray()
    async with (
        asyncio.timeout(TIMEOUT_S),
        httpx.AsyncClient(verify=verify, follow_redirects=False, trust_env=not local, timeout=TIMEOUT_S) as client,
        client.stream("GET", url, headers=_ASKED) as answer,
    ):
        if answer.status_code != 200:
            raise Untrusted(f"the answer has status {answer.status_code}")
        if (coding := answer.headers.get("content-encoding", "identity")).lower() != "identity":
            raise Untrusted(f"the answer is packed ({coding[:20]}): what is small now may be large")
        async for chunk in answer.aiter_raw(16_384):
            body += chunk
            if len(body) > MAX_BYTES:
                raise Untrusted(f"the answer is larger than {MAX_BYTES} bytes")
    return public_keys(_json(bytes(body)))


def is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    address = address_of(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def public_keys(document: object) -> tuple[Key, ...]:
    """Of a JWK Set those that can check a signature; private, shared and broken ones are left out. Raises Untrusted."""
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise Untrusted(f"this is no JWK Set of up to {MAX_KEYS} keys")
    found = [key for each in listed if (key := _public_key(each)) is not None]
    if not found:
        raise Untrusted("there is no public key for signatures among them")
    return tuple(found)


def _public_key(one: object) -> Key | None:
    if not isinstance(one, dict) or one.get("kty") not in _KINDS.values() or one.get("use", "sig") != "sig":
        return None
    if "d" in one:
        return None  # whoever publishes a private key signs nothing that counts
    try:
        key = jwk.import_key(one)
        if one["kty"] == "RSA" and key.public_key.key_size < _MIN_RSA_BITS:  # type: ignore[union-attr]
            return None
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return key


def matching(keys: tuple[Key, ...], kid: str | None, algorithm: str) -> tuple[Key, ...]:
    kind = _KINDS.get(algorithm[:2])
    fitting = [key for key in keys if key.key_type == kind and key.alg in (None, algorithm)]
    return tuple(key for key in fitting if kid is None or key.kid == kid)[:4]


def unverified(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a token, to find out who would have to have signed it. Raises Untrusted."""
    parts = text.split(".")
    if len(text) > MAX_TOKEN or len(parts) != 3:
        raise Untrusted("it is no signed token")
    try:
        header, claims = (_json(jwt_part(part)) for part in parts[:2])
    except ValueError as exc:
        raise Untrusted("it is no signed token") from exc
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise Untrusted("it is no signed token")
    return header, claims


def jwt_part(part: str) -> bytes:
    """Raises ValueError."""
    return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)


def verified(
    text: str, keys: tuple[Key, ...], algorithm: str, now: int, leeway_s: int, **wanted: Any
) -> dict[str, Any]:
    """The claims of a token that one of the keys signed and that is valid now. `wanted`: claims as joserfc takes them;
    `exp` is always essential. Raises Untrusted."""
    if algorithm not in ALGORITHMS:
        raise Untrusted("its algorithm is not allowed")
    rules = jwt.JWTClaimsRegistry(now=now, leeway=leeway_s, exp={"essential": True}, **wanted)
    why = "no key is known that could have signed it"
    for key in keys:
        try:
            token = jwt.decode(text, key, registry=_Registry(algorithms=[algorithm], strict_check_header=False))
        except (JoseError, ValueError, TypeError) as exc:
            why = str(exc) or type(exc).__name__
            continue
        try:
            rules.validate(token.claims)
        except (JoseError, ValueError, TypeError) as exc:
            raise Untrusted(str(exc)) from exc
        return dict(token.claims)
    raise Untrusted(why)


def _json(body: bytes) -> Any:
    """Raises ValueError; a document nested a thousand deep is one too."""
    try:
        return json.loads(body, parse_constant=_no_number)
    except RecursionError as exc:
        raise ValueError("nested too deep") from exc


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def keys_of_file(document: Mapping[str, Any]) -> dict[str, Any]:
    """The public part of a client's keys, as it is stored. Raises Untrusted."""
    listed = document.get("keys") if isinstance(document, Mapping) else None
    if isinstance(listed, list) and any(isinstance(each, dict) and "d" in each for each in listed):
        raise Untrusted("it has a private key, which stays with the client: give the public keys alone")
    return {"keys": [key.as_dict(private=False) for key in public_keys(document)]}
