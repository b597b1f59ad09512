"""Who asks: what the token is, and what it may do."""

from __future__ import annotations

from syncd.api.model import Instant, Model
from syncd.api.operation import AUTHENTICATED, Call, Operation
from syncd.store.read import Connection


class Me(Model):
    name: str
    workspace: str
    source: str
    token_id: str | None
    user: str | None
    allow: tuple[str, ...]
    expires_at: Instant | None


def show(call: Call, conn: Connection) -> Me:
    who = call.bearer
    return Me(
        name=who.name,
        workspace=who.workspace,
        source=who.source,
        token_id=who.token_id,
        user=who.user,
        allow=tuple(sorted(who.allow)),
        expires_at=who.expires_at,
    )


OPERATIONS = (Operation("GET", "/me", AUTHENTICATED, show, "The token that asks", answer=Me),)
