"""Tokens and OAuth clients: made, rotated and revoked. The text of one is shown once, and nobody hands on more than she has.

A token that may not do everything makes tokens of its own source, for its own user, which end no later than itself; and it
touches no token that may do more than it may.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints

from syncd.api.each import Id
from syncd.api.model import Instant, Model, Name, Text, Whole
from syncd.api.operation import Answer, Call, Operation
from syncd.api.problem import Fault, Invalid
from syncd.core.permission import ALL, exceeding, understood
from syncd.core.workspace import DEFAULT_CONNECTION
from syncd.errors import Forbidden, InvalidValue, NotFound
from syncd.store import describe
from syncd.store import tokens as store
from syncd.store.read import Connection
from syncd.store.tokens import Token

_WRITE: Final = "tokens:write"
Permission = Annotated[str, StringConstraints(min_length=1, max_length=300)]


class TokenShown(Model):
    """What is known of a token; never its text."""

    id: str
    name: str
    source: str = Field(description="The connection whose facts it states.")
    allow: tuple[str, ...]
    state: Literal["live", "expired", "revoked"]
    use: Literal["bearer", "client"] = Field(description="`client`: only to ask /oauth/token for access tokens.")
    user: str | None = Field(description="The id of who bears it.")
    created_at: Instant
    expires_at: Instant | None
    revoked_at: Instant | None
    last_used_at: Instant | None


class TokensShown(Model):
    items: tuple[TokenShown, ...]


class TokenMade(TokenShown):
    token: str | None = Field(description="Its text, shown this once; null where the request is repeated.")


class ListTokens(Model):
    state: Literal["live", "expired", "revoked"] | None = None
    source: Text | None = None


class CreateToken(Model):
    name: Name = Field(description="Stands in the activity record.")
    allow: tuple[Permission, ...] = Field(
        min_length=1, max_length=100, description="Such as `users:read` or `users:update:active`; `*` is everything."
    )
    source: Name = Field(default=DEFAULT_CONNECTION, description="A connection, or `local`.")
    expires: Instant | None = None
    user: Id | None = Field(
        default=None, description="The id of who bears it: what it gives is limited to what is hers."
    )
    client: bool = Field(default=False, description="An OAuth client; `token` is its client_secret.")


class RotateToken(Model):
    grace_hours: Whole = Field(default=168, ge=0, le=24 * 365, description="How long the old one still works.")


def list_(call: Call, conn: Connection) -> TokensShown:
    query = call.asked(ListTokens)
    found = (_shown(each, call) for each in store.listed(conn, call.workspace.name))
    return TokensShown(
        items=tuple(each for each in found if query.state in (None, each.state) and query.source in (None, each.source))
    )


def show(call: Call, conn: Connection) -> TokenShown:
    return _shown(_found(call, conn), call)


def create(call: Call, conn: Connection) -> Answer:
    said = call.said(CreateToken)
    known = call.workspace.connections
    if said.source not in known:
        raise _fault("/source", f"there is no connection {said.source!r}: there are {', '.join(sorted(known))}")
    try:
        allow = frozenset(understood(each) for each in said.allow)
    except InvalidValue as exc:
        raise _fault("/allow", str(exc)) from None
    if said.expires is not None and said.expires <= call.now:
        raise _fault("/expires", f"{said.expires.isoformat()} is in the past")
    user = said.user or call.bearer.user
    if user is not None:
        describe.user_facts(conn, call.workspace, user)
    _within(call, allow, said.source, user, said.expires)
    made, text = store.create(
        conn, call.actor, said.name, call.now, call.ids, said.source, allow, said.expires, said.client, user=user
    )
    return _made(call, made, text, 201)


def rotate(call: Call, conn: Connection) -> Answer:
    known = _found(call, conn, live=True)
    _within(call, frozenset(known.allow), known.source, known.user, known.expires_at)
    grace = timedelta(hours=call.said(RotateToken).grace_hours)
    made, text = store.rotate(conn, call.actor, known.id, call.now, call.ids, grace)
    return _made(call, made, text, 201)


def revoke(call: Call, conn: Connection) -> Answer:
    known = _found(call, conn, live=True)
    if known.id != call.bearer.token_id:
        _within(call, frozenset(known.allow), known.source, known.user, call.bearer.expires_at)
    store.revoke(conn, call.actor, known.id, call.now, call.ids)
    return Answer()


# -- shared ------------------------------------------------------------------------------------------------------------------


def _within(call: Call, allow: frozenset[str], source: str, user: str | None, expires: Any) -> None:
    """Raises Forbidden for a token that could do what the bearer cannot."""
    bearer = call.bearer
    beyond = exceeding(bearer.allow, allow)
    if beyond:
        raise Forbidden(f"this token cannot hand on what it may not do itself: {', '.join(beyond[:5])}")
    if bearer.user is not None and user != bearer.user:
        raise Forbidden("the token of a person makes and changes her own tokens only")
    if ALL in bearer.allow:
        return
    if source != bearer.source:
        raise Forbidden(f"this token speaks for source {bearer.source} only, not for {source}")
    if user != bearer.user:
        raise Forbidden("this token may not do everything (`*`), so it makes none in a person's name")
    if bearer.expires_at is not None and (expires is None or expires > bearer.expires_at):
        raise Forbidden(f"this token ends at {bearer.expires_at.isoformat()}: what it makes cannot last longer")


def _found(call: Call, conn: Connection, live: bool = False) -> Token:
    """By its id alone: names are shared by tokens that follow one another. Raises NotFound."""
    known = next((each for each in store.named(conn, call.workspace.name, call.id) if each.id == call.id), None)
    if known is None or (live and not known.live(call.now)):
        raise NotFound(f"there is no {'live ' if live else ''}token {call.id[:64]!r}: give its id")
    return known


def _shown(token: Token, call: Call) -> TokenShown:
    return TokenShown.model_validate(_described(token, call))


def _described(token: Token, call: Call) -> dict[str, Any]:
    state = "revoked" if token.revoked_at is not None else "live" if token.live(call.now) else "expired"
    return {
        **{"id": token.id, "name": token.name, "source": token.source, "allow": token.allow, "state": state},
        **{"use": token.use or "bearer", "user": token.user, "created_at": token.created_at},
        **{"expires_at": token.expires_at, "revoked_at": token.revoked_at, "last_used_at": token.last_used_at},
    }


def _made(call: Call, token: Token, text: str, status: int) -> Answer:
    made = TokenMade.model_validate({**_described(token, call), "token": text})
    return Answer(made, location=f"/tokens/{token.id}", status=status)


def _fault(pointer: str, told: str) -> Invalid:
    return Invalid(told, (Fault(pointer=pointer, detail=told),))


OPERATIONS = (
    Operation("GET", "/tokens", "tokens:read", list_, "Tokens", answer=TokensShown, query=ListTokens),
    Operation("GET", "/tokens/{id}", "tokens:read", show, "One token", answer=TokenShown),
    Operation(
        "POST",
        "/tokens",
        _WRITE,
        create,
        "A new token; its text is shown this once",
        answer=TokenMade,
        body=CreateToken,
        status=201,
        secret=("token",),
    ),
    Operation(
        "POST",
        "/tokens/{id}/rotate",
        _WRITE,
        rotate,
        "A new token like this one, which ends after a while",
        answer=TokenMade,
        body=RotateToken,
        status=201,
        secret=("token",),
    ),
    Operation("DELETE", "/tokens/{id}", _WRITE, revoke, "Revoke a token"),
)
