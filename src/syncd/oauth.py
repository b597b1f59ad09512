"""OAuth 2.0 client credentials (RFC 6749 section 4.4): a client proves itself at /oauth/token and gets an access token.

It proves itself by its secret (client_secret_basic, client_secret_post) or by a JWT that it signed with its own key
(private_key_jwt, RFC 7523 section 2.2), good once and for MAX_ASSERTION_S at most. The access token names the client and its
end, sealed with a key that all processes of the database share; who the client is and what it may do is looked up when it is
used, so that revoking the client ends its access tokens. Nothing here is taken from the query, and nothing is cached by others.
"""

from __future__ import annotations

import base64
from binascii import Error as NotBase64
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl, unquote_plus

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from syncd import jwks
from syncd.auth import Authenticator
from syncd.core.connection import ALGORITHMS
from syncd.core.permission import ALL, METRICS_READ, OTHERS, PLAIN, TYPES, exceeding, understood
from syncd.errors import DatabaseUnavailable, Forbidden, InvalidValue, SyncdError, TooManyRequests
from syncd.store import tokens
from syncd.store.tokens import Token

PATH: Final = "/oauth/token"
METADATA_PATH: Final = "/.well-known/oauth-authorization-server"
MAX_BODY: Final = 64 * 1024
MAX_ASSERTION_S: Final = 600
LEEWAY_S: Final = 60
_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Refused(SyncdError):
    """RFC 6749 section 5.2."""

    def __init__(self, code: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.code, self.status = code, status


@dataclass(frozen=True, slots=True)
class Proof:
    """How a client says who it is. Exactly one of `secret` and `assertion`."""

    client_id: str
    secret: str | None = None
    assertion: str | None = None


class TokenEndpoint:
    """An ASGI application. `url`: how clients reach it, which is the audience of what they sign."""

    def __init__(self, authenticator: Authenticator, url: str, issuer: str) -> None:
        self._authenticator, self._audience = authenticator, [url, issuer]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = _answer(200, await self._token(request))
        except ClientDisconnect:
            return
        except Refused as exc:
            response = _answer(exc.status, {"error": exc.code, "error_description": str(exc)})
            if exc.status == 401:
                response.headers["WWW-Authenticate"] = 'Basic realm="syncd"'
        except TooManyRequests as exc:
            response = _answer(429, {"error": "invalid_request", "error_description": str(exc)})
            response.headers["Retry-After"] = str(exc.retry_after_s)
        except Forbidden as exc:
            response = _answer(403, {"error": "unauthorized_client", "error_description": str(exc)})
        except DatabaseUnavailable as exc:
            response = _answer(503, {"error": "temporarily_unavailable", "error_description": exc.detail})
            response.headers["Retry-After"] = str(exc.retry_after_s)
        await response(scope, receive, send)

    async def _token(self, request: Request) -> dict[str, Any]:
        if request.method != "POST":
            raise Refused("invalid_request", "send POST", 405)
        form = await _form(request)
        proof = _proof(request, form)
        authenticator, address = self._authenticator, request.client.host if request.client else None
        authenticator.may_fail(address)
        client, used = await self._client(proof)
        if client is None or not authenticator.configured(client.workspace, client.source):
            raise self._nobody(address)
        authenticator.admit(client.workspace, client.source, address)
        if "grant_type" not in form:
            raise Refused("invalid_request", "grant_type is missing: it must be client_credentials")
        if form["grant_type"] != "client_credentials":
            raise Refused("unsupported_grant_type", "grant_type must be client_credentials")
        scope = _scope(form.get("scope", ""), client.allow)
        if used is not None and not await self._first(client, *used):
            raise self._nobody(address)
        text, lifetime_s = await authenticator.access_token(client, scope)
        return {
            "access_token": text,
            "token_type": "Bearer",
            "expires_in": lifetime_s,
            "scope": " ".join(sorted(client.allow if scope is None else scope)),
        }

    def _nobody(self, address: str | None) -> Refused:
        self._authenticator.failed(address)
        return Refused("invalid_client", "no such client, or its secret, signature or time is wrong", 401)

    async def _first(self, client: Token, jti: str, until: datetime) -> bool:
        """Whether a signed proof comes for the first time."""
        now, database = self._authenticator.clock(), self._authenticator.database
        return await database.write(lambda conn: tokens.use_assertion(conn, client.id, jti, until, now))

    async def _client(self, proof: Proof) -> tuple[Token | None, tuple[str, datetime] | None]:
        """Who it is; and of a signed proof its jti, and until when it could be used."""
        now, database = self._authenticator.clock(), self._authenticator.database
        if proof.secret is not None:
            secret = proof.secret
            return await database.read(lambda conn: tokens.client(conn, proof.client_id, secret, now)), None
        assert proof.assertion is not None
        found = await database.read(lambda conn: tokens.signing_client(conn, proof.client_id, now))
        if found is None or found.public_keys is None:
            return None, None
        try:
            return found, self._checked(proof.assertion, found)
        except jwks.Untrusted:
            return None, None

    def _checked(self, text: str, client: Token) -> tuple[str, datetime]:
        """RFC 7523 section 3: its jti, and until when it could be used. Raises jwks.Untrusted."""
        now = int(self._authenticator.clock().timestamp())
        header, _ = jwks.unverified(text)
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in ALGORITHMS or not (kid is None or isinstance(kid, str)):
            raise jwks.Untrusted("its algorithm is not allowed")
        keys = jwks.matching(jwks.public_keys(client.public_keys), kid, algorithm)
        claims = jwks.verified(
            *(text, keys, algorithm, now, LEEWAY_S),
            iss={"essential": True, "value": client.id},
            sub={"essential": True, "value": client.id},
            aud={"essential": True, "values": self._audience},
            jti={"essential": True},
        )
        if claims["exp"] > now + MAX_ASSERTION_S + LEEWAY_S:
            raise jwks.Untrusted(f"it lasts longer than {MAX_ASSERTION_S} s")
        return str(claims["jti"]), datetime.fromtimestamp(int(claims["exp"]) + LEEWAY_S, UTC)


class Metadata:
    """Where and how tokens are got (RFC 8414), for clients that are given nothing but the issuer."""

    def __init__(self, url: str, issuer: str) -> None:
        said = {
            "issuer": issuer,
            "token_endpoint": url,
            "grant_types_supported": ["client_credentials"],
            "response_types_supported": [],  # required; there is no authorization endpoint
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
            "scopes_supported": sorted(PLAIN),
        }
        self._body = orjson.dumps(said)

    async def answer(self, request: Request) -> Response:
        return Response(self._body, media_type="application/json")


def _answer(status: int, body: dict[str, Any]) -> Response:
    headers = {"Cache-Control": "no-store", "Pragma": "no-cache"}
    if status == 405:
        headers["Allow"] = "POST"
    return Response(orjson.dumps(body), status, headers, "application/json")


async def _form(request: Request) -> dict[str, str]:
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/x-www-form-urlencoded":
        raise Refused("invalid_request", "send application/x-www-form-urlencoded")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise Refused("invalid_request", f"the body is larger than {MAX_BODY} bytes", 413)
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=50, errors="strict")
    except ValueError:
        raise Refused("invalid_request", "the body is not form-encoded UTF-8") from None
    form = dict(pairs)
    if len(form) < len(pairs):
        raise Refused("invalid_request", "a parameter was given twice (RFC 6749 section 3.2)")
    return {name: value for name, value in form.items() if value}


def _scope(asked: str, allow: Collection[str]) -> frozenset[str] | None:
    """What the token is to be narrowed to (RFC 6749 section 3.3); None: to nothing.

    Words that are no permissions of ours, such as `scim` or `api://syncd/.default`, are ignored, as that section allows; the
    answer says what the token may do.
    """
    kinds = {*TYPES, *OTHERS}
    ours = [each for each in asked.split(" ") if each in (ALL, METRICS_READ) or each.partition(":")[0] in kinds]
    try:
        named = frozenset(map(understood, ours))
    except InvalidValue as exc:
        raise Refused("invalid_scope", str(exc)) from exc
    if beyond := exceeding(frozenset(allow), named):
        raise Refused("invalid_scope", f"this client may not {', '.join(beyond)}")
    return named or None


def _proof(request: Request, form: dict[str, str]) -> Proof:
    """One way, and only one (RFC 6749 section 2.3)."""
    if len(request.headers.getlist("authorization")) > 1:
        raise Refused("invalid_request", "there are two Authorization headers: send one")
    basic = request.headers.get("authorization")
    ways = (basic is not None, "client_secret" in form, "client_assertion" in form)
    if sum(ways) > 1:
        raise Refused("invalid_request", "the client proves itself in more than one way: choose one")
    if basic is not None:
        return _basic(basic, form.get("client_id"))
    if "client_assertion" in form:
        if form.get("client_assertion_type") != _ASSERTION:
            raise Refused("invalid_request", f"client_assertion_type must be {_ASSERTION}")
        return _asserted(form["client_assertion"], form.get("client_id"))
    if "client_id" not in form or "client_secret" not in form:
        raise Refused("invalid_client", "send client_id and client_secret, a Basic header, or a client_assertion", 401)
    return Proof(form["client_id"], form["client_secret"])


def _basic(header: str, also: str | None) -> Proof:
    scheme, _, coded = header.strip().partition(" ")
    try:
        text = base64.b64decode(coded.strip(), validate=True).decode()
    except (NotBase64, ValueError):
        text = ""
    if scheme.lower() != "basic" or ":" not in text:
        raise Refused("invalid_client", "the Authorization header is not Basic client_id:client_secret", 401)
    client_id, _, secret = text.partition(":")
    proof = Proof(unquote_plus(client_id), unquote_plus(secret))
    if also not in (None, proof.client_id):
        raise Refused("invalid_request", "client_id is not that of the Authorization header")
    return proof


def _asserted(text: str, also: str | None) -> Proof:
    try:
        _, claims = jwks.unverified(text)
    except jwks.Untrusted as exc:
        raise Refused("invalid_client", "client_assertion is not a signed JWT", 401) from exc
    client_id = claims.get("sub")
    if not isinstance(client_id, str) or also not in (None, client_id):
        raise Refused("invalid_client", "client_assertion must name the client as sub, and client_id be the same", 401)
    return Proof(client_id, assertion=text)
