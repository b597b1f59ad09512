"""Who asks, for every HTTP edge: a bearer token becomes an Actor, or the request ends here.

`Authenticated` stands in front of the whole application, not of some paths: what is not listed as open by its normalised
path needs a token, however the path is spelled (CVE-2026-32130 was a path that was matched twice, differently). Nothing
behind it parses a token. A verified token is remembered for CACHE_S seconds, so that a request costs no query; for that
long a revoked token may go on. Then come the networks and the rate of the connection. Wrong tokens are counted by address, and
past the limit only tokens that were good before are looked at. All memory is bounded.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv6Address
from typing import Final

import orjson
import structlog
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from syncd import jwks
from syncd.core.actor import Actor
from syncd.core.connection import Access, TrustedIssuer, address_of
from syncd.core.permission import exceeding
from syncd.core.workspace import Workspace
from syncd.errors import Forbidden, InvalidToken, SyncdError, TooManyRequests, Unauthorized
from syncd.serving import header
from syncd.store import keys, tokens
from syncd.store.engine import Database
from syncd.store.read import Connection
from syncd.store.tokens import Token
from syncd.throttle import Buckets

ACTOR: Final = "syncd.actor"  # where a request's scope says who asks
OPERATIONS: Final = "syncd.operations"  # and how many it was, if more than one
TOLERANCES: Final = (
    "syncd.tolerances"  # and which forms it took that the standard does not have, or with ! would have needed
)
CACHE_S: Final = 5.0
ACCESS_KEY: Final = "access_token"
_CACHED: Final = 1000
_ACCESS: Final = "syncd_at_"
_WRONG: Final = "this token is not valid: it is wrong, expired or revoked"
_ANY: Final = Access()
_LONGEST: Final = timedelta(days=1)  # that a token of another issuer is believed at a time, whatever it says
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Policy:
    """`failures_per_minute`: wrong tokens from one address that are looked at."""

    failures_per_minute: int = 600
    access_lifetime: timedelta = timedelta(hours=1)


class Authenticator:
    """Tokens to actors. `workspaces`: a token of a workspace that is not configured is no token."""

    def __init__(
        self,
        database: Database,
        workspaces: Mapping[str, Workspace],
        clock: Callable[[], datetime],
        cache_s: float = CACHE_S,
        policy: Policy = Policy(),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.database, self.workspaces, self.clock = database, workspaces, clock
        self._cache_s, self._policy, self._monotonic = cache_s, policy, monotonic
        self._verified: dict[bytes, tuple[Actor, float]] = {}
        self._failures, self._requests = Buckets(), Buckets()
        self._keys = jwks.KeySets(monotonic)
        self._access_key: bytes | None = None
        self._used: dict[str, datetime] = {}
        self._tolerated: Counter[tuple[str, str, str]] = Counter()

    async def actor(self, authorization: str | None, host: str | None = None) -> Actor:
        """`host`: the address that asks. Raises Unauthorized, without saying which part of a token was wrong; Forbidden for
        an address the connection does not come from; TooManyRequests."""
        scheme, _, text = (authorization or "").strip().partition(" ")
        if scheme.lower() != "bearer" or not text.strip():
            raise Unauthorized("a token is needed: Authorization: Bearer syncd_...")
        if text.lower().split()[0] == scheme.lower():
            raise Unauthorized("the word Bearer is there twice: fill in the token alone, from syncd_ on")
        text, now = text.strip(), self.clock()
        key = hashlib.sha256(text.encode()).digest()  # so that no secret stays in memory
        known = self._verified.get(key)
        if known is None or known[1] < self._monotonic():
            if known is None:
                self.may_fail(host)
            found = await self._look_up(text, now)
            if found is None or not self.configured(found.workspace, found.source):
                self._verified.pop(key, None)
                self.failed(host)
                raise InvalidToken(_WRONG)
            if known is None and len(self._verified) >= _CACHED:
                self._verified.pop(next(iter(self._verified)))
            known = self._verified[key] = (found, self._monotonic() + self._cache_s)
        actor = known[0]
        if actor.expires_at is not None and actor.expires_at <= now:
            raise InvalidToken(_WRONG)
        self.admit(actor.workspace, actor.source, host)
        if actor.token_id is not None:
            self._used[actor.token_id] = now
        if actor.address != host:
            actor = replace(actor, address=host)
            self._verified[key] = (actor, known[1])  # it mostly asks from there again
        return actor

    def configured(self, workspace: str, source: str) -> bool:
        """Whether there is that workspace, and in it that connection: a token of none is no token, or taking one out of
        the configuration would leave its tokens without its limits."""
        known = self.workspaces.get(workspace)
        if known is not None and source in known.connections:
            return True
        log.warning("token_of_no_connection", workspace=workspace, source=source)
        return False

    # -- limits ----------------------------------------------------------------------------------------------------------

    def may_fail(self, host: str | None) -> None:
        """Before anything unknown is looked at. Raises TooManyRequests."""
        most = self._policy.failures_per_minute
        wait_s = self._failures.wait_s(_sender(host), self._monotonic(), most / 60, most)
        if wait_s:
            raise TooManyRequests("too many wrong tokens came from this address", wait_s)

    def failed(self, host: str | None) -> None:
        now, most = self._monotonic(), self._policy.failures_per_minute
        self._failures.take(_sender(host), now, most / 60)
        if self._failures.wait_s(_sender(host), now, most / 60, most):
            log.warning("wrong_tokens_limited", address=str(address_of(host)), per_minute=most)

    def admit(self, workspace: str, source: str, host: str | None) -> None:
        """Where a connection may come from, and how often. Raises Forbidden, TooManyRequests."""
        configured = self.workspaces[workspace].sources.get(source)
        access = configured.access if configured is not None else _ANY
        if access.networks and not access.admits(address := address_of(host)):
            self.failed(host)
            log.warning("address_refused", workspace=workspace, source=source, address=str(address))
            raise Forbidden(f"source {source} takes no requests from {address or 'here'} (its `networks`)")
        now, key = self._monotonic(), (workspace, source)
        wait_s = self._requests.admit(key, now, access.rate_per_s, max(1, 2 * access.rate_per_s))
        if wait_s:
            raise TooManyRequests(f"source {source} sends more than {access.rate_per_s:g} requests a second", wait_s)

    def weigh(self, actor: Actor, operations: int) -> None:
        """A request that was admitted turned out to be many."""
        configured = self.workspaces[actor.workspace].sources.get(actor.source)
        access = configured.access if configured is not None else _ANY
        self._requests.take((actor.workspace, actor.source), self._monotonic(), access.rate_per_s, operations - 1)

    # -- kinds of tokens -------------------------------------------------------------------------------------------------

    async def _look_up(self, text: str, now: datetime) -> Actor | None:
        if text.startswith(_ACCESS):
            return await self._by_access_token(text, now)
        if text.count(".") == 2 and any(True for _ in self._issuers()):
            try:
                return await self._by_issuer(text, now)
            except jwks.Untrusted as exc:
                log.warning("foreign_token_refused", why=str(exc))
                return None
        return await self.database.read(lambda conn: tokens.authenticate(conn, text, now))

    async def access_token(self, client: Token, scope: frozenset[str] | None = None) -> tuple[str, int]:
        """An access token of a client that has proven itself, and how many seconds it lasts. `scope`: it may do no more."""
        now = self.clock()
        until = now + self._policy.access_lifetime
        if client.expires_at is not None:
            until = min(until, client.expires_at)
        named = [client.id, int(until.timestamp()), *([] if scope is None else [sorted(scope)])]
        said = base64.urlsafe_b64encode(orjson.dumps(named)).rstrip(b"=").decode()
        self._used[client.id] = now
        return f"{_ACCESS}{said}.{_seal(said, await self._key())}", max(1, int((until - now).total_seconds()))

    async def _by_access_token(self, text: str, now: datetime) -> Actor | None:
        said, _, seal = text.removeprefix(_ACCESS).partition(".")
        # Bytes, since text with other letters cannot be compared.
        if not hmac.compare_digest(_seal(said, await self._key()).encode(), seal.encode()):
            return None
        client_id, until_s, *scope = orjson.loads(base64.urlsafe_b64decode(said + "=" * (-len(said) % 4)))
        until = datetime.fromtimestamp(until_s, UTC)
        if until <= now:
            return None
        found = await self.database.read(lambda conn: tokens.bearer_of_access(conn, client_id, now))
        if found is None:
            return None
        allow = found.allow
        if scope:  # what the client may not do any more, its tokens may not either
            allow = frozenset(scope[0]) - frozenset(exceeding(allow, scope[0]))
        return replace(found, allow=allow, expires_at=min(until, found.expires_at or until))

    async def _key(self) -> bytes:
        """What access tokens are sealed with, the same in all processes of this database."""
        known = self._access_key or await self.database.read(lambda conn: keys.find(conn, ACCESS_KEY))
        if known is None:
            now = self.clock()
            known = await self.database.write(lambda conn: keys.make(conn, ACCESS_KEY, now))
        self._access_key = known
        return known

    async def _by_issuer(self, text: str, now: datetime) -> Actor:
        """Raises jwks.Untrusted."""
        header, claims = jwks.unverified(text)
        meant = [each for each in self._issuers() if each[2].meant_by(claims)]
        if len(meant) != 1:
            raise jwks.Untrusted("it is for no connection, or for more than one")
        workspace, source, issuer = meant[0]
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in issuer.algorithms or not (kid is None or isinstance(kid, str)):
            raise jwks.Untrusted("its algorithm is not among `algorithms`")
        found = await self._keys.find(issuer.jwks_url, kid, algorithm, issuer.ca_file)
        said = jwks.verified(text, found, algorithm, int(now.timestamp()), issuer.leeway_s)
        if not issuer.meant_by(said):
            raise jwks.Untrusted("its claims are not those of this connection")
        left_s = min(said["exp"] + issuer.leeway_s - now.timestamp(), _LONGEST.total_seconds())
        until = now + timedelta(seconds=left_s)
        return Actor("scim", source, workspace, source=source, allow=issuer.allow, expires_at=until)

    def _issuers(self) -> Iterable[tuple[str, str, TrustedIssuer]]:
        for name, workspace in self.workspaces.items():
            for source, policy in workspace.sources.items():
                if policy.access.issuer is not None:
                    yield name, source, policy.access.issuer

    # -- what requests leave behind --------------------------------------------------------------------------------------

    def tolerated(self, actor: Actor, names: Iterable[str]) -> None:
        """A request of this actor took these tolerances; with ! before its name, was refused for want of one."""
        self._tolerated.update((actor.workspace, actor.source, name) for name in names)

    async def note_used(self) -> None:
        """Write when tokens were used since the last call, and what was tolerated. Called once a minute, outside any
        request. What could not be written is written the next time."""
        used, self._used = self._used, {}
        counts, self._tolerated = self._tolerated, Counter()
        now = self.clock()

        def write(conn: Connection) -> None:
            tokens.note_used(conn, used)
            tokens.note_tolerated(conn, counts, now)

        if used or counts:
            try:
                await self.database.write(write)
            except SyncdError:
                self._used, self._tolerated = used | self._used, counts + self._tolerated
                raise


def _seal(said: str, key: bytes) -> str:
    return base64.urlsafe_b64encode(hmac.digest(key, said.encode(), "sha256")).rstrip(b"=").decode()


def _sender(host: str | None) -> str:
    """Whom failures are counted for: an address; of IPv6 the network that one customer gets."""
    address = address_of(host)
    return str(int(address) >> 64) if isinstance(address, IPv6Address) else str(address)


Refuse = Callable[[SyncdError, Scope], Response]


class Authenticated:
    """ASGI middleware. `open_paths`: normalised paths that need no token; `refuse` renders what is refused."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator, open_paths: frozenset[str], refuse: Refuse) -> None:
        self._app, self._authenticator, self._open, self._refuse = app, authenticator, open_paths, refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await (self._app(scope, receive, send) if scope["type"] == "lifespan" else _closed(send))
            return
        scope["path"] = path = normalised(scope["path"])
        if path not in self._open:
            given = header(scope, b"authorization")
            try:
                if len(given) > 1:
                    raise Unauthorized("there are two Authorization headers: send one")
                host = scope["client"][0] if scope.get("client") else None
                actor = await self._authenticator.actor(given[0] if given else None, host)
            except SyncdError as exc:
                await self._refuse(exc, scope)(scope, receive, send)
                return
            by_scim = path.startswith("/scim/") or path == "/scim"
            scope[ACTOR] = (
                actor if by_scim and actor.door == "scim" else replace(actor, door="scim" if by_scim else "api")
            )
        await self._app(scope, receive, send)
        if scope.get(OPERATIONS, 1) > 1:
            self._authenticator.weigh(scope[ACTOR], scope[OPERATIONS])
        if scope.get(TOLERANCES):
            self._authenticator.tolerated(scope[ACTOR], scope[TOLERANCES])


def normalised(path: str) -> str:
    """One spelling: no empty segments, no slash at the end. The server has decoded percent signs, once."""
    if path[:1] == "/" and "//" not in path and path[-1] != "/":
        return path
    return "/" + "/".join(part for part in path.split("/") if part)


def _closed(send: Send) -> Awaitable[None]:
    return send({"type": "websocket.close", "code": 1008})
