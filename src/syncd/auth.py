"""Who asks, for every HTTP edge: a bearer token becomes an Actor, or the request ends here.

`Authenticated` stands in front of the whole application, not of some paths: what is not listed as open by its normalised
path needs a token, however the path is spelled (CVE-2026-32130 was a path that was matched twice, differently). Nothing
behind it parses a token. A verified token is remembered for CACHE_S seconds, so that a request costs no query; for that
long a revoked token may go on. What is not verified is not remembered.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Container, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from syncd.core.actor import Actor
from syncd.errors import SyncdError, Unauthorized
from syncd.store import tokens
from syncd.store.engine import Database
from syncd.store.read import Connection

ACTOR: Final = "syncd.actor"  # where a request's scope says who asks
TOLERANCES: Final = "syncd.tolerances"  # and which forms it took that the standard does not have
CACHE_S: Final = 5.0
_CACHED: Final = 1000


class Authenticator:
    """Tokens to actors. `workspaces`: a token of a workspace that is not configured is no token."""

    def __init__(
        self,
        database: Database,
        workspaces: Container[str],
        clock: Callable[[], datetime],
        cache_s: float = CACHE_S,
    ) -> None:
        self._database, self._workspaces, self._clock, self._cache_s = database, workspaces, clock, cache_s
        self._verified: dict[bytes, tuple[Actor, float]] = {}
        self._used: dict[str, datetime] = {}
        self._tolerated: Counter[tuple[str, str, str]] = Counter()

    async def actor(self, authorization: str | None) -> Actor:
        """Raises Unauthorized, without saying which part of a token was wrong."""
        scheme, _, text = (authorization or "").strip().partition(" ")
        if scheme.lower() != "bearer" or not text.strip():
            raise Unauthorized("a token is needed: Authorization: Bearer syncd_...")
        text, now = text.strip(), self._clock()
        key = hashlib.sha256(text.encode()).digest()  # so that no secret stays in memory
        known = self._verified.get(key)
        if known is None or known[1] < time.monotonic():
            self._verified.pop(key, None)
            found = await self._database.read(lambda conn: tokens.authenticate(conn, text, now))
            if found is None or found.workspace not in self._workspaces:
                raise Unauthorized("this token is not valid: it is wrong, expired or revoked")
            if len(self._verified) >= _CACHED:
                self._verified.pop(next(iter(self._verified)))
            known = self._verified[key] = (found, time.monotonic() + self._cache_s)
        actor = known[0]
        if actor.expires_at is not None and actor.expires_at <= now:
            raise Unauthorized("this token is not valid: it is wrong, expired or revoked")
        if actor.token_id is not None:
            self._used[actor.token_id] = now
        return actor

    def tolerated(self, actor: Actor, names: Iterable[str]) -> None:
        """A request of this actor took these tolerances."""
        self._tolerated.update((actor.workspace, actor.source, name) for name in names)

    async def note_used(self) -> None:
        """Write when tokens were used since the last call, and what was tolerated. Called once a minute, outside any
        request. What could not be written is written the next time."""
        used, self._used = self._used, {}
        counts, self._tolerated = self._tolerated, Counter()
        now = self._clock()

        def write(conn: Connection) -> None:
            tokens.note_used(conn, used)
            tokens.note_tolerated(conn, counts, now)

        if used or counts:
            try:
                await self._database.write(write)
            except SyncdError:
                self._used, self._tolerated = used | self._used, counts + self._tolerated
                raise


Refuse = Callable[[SyncdError], Response]


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
            header = next((value for name, value in scope["headers"] if name == b"authorization"), None)
            try:
                actor = await self._authenticator.actor(None if header is None else header.decode("latin-1"))
            except SyncdError as exc:
                await self._refuse(exc)(scope, receive, send)
                return
            door = "scim" if path == "/scim" or path.startswith("/scim/") else "api"
            scope[ACTOR] = replace(actor, door=door, method=scope["method"])
        await self._app(scope, receive, send)
        if scope.get(TOLERANCES):
            self._authenticator.tolerated(scope[ACTOR], scope[TOLERANCES])


def normalised(path: str) -> str:
    """One spelling: no empty segments, no slash at the end. The server has decoded percent signs, once."""
    return "/" + "/".join(part for part in path.split("/") if part)


def _closed(send: Send) -> Awaitable[None]:
    return send({"type": "websocket.close", "code": 1008})
