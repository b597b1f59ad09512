"""Tokens and OAuth clients: `syncd_<id>_<secret>`. The id is public and finds the row; of the secret only its SHA-256 is kept.

256 random bits need no slow hash, so checking one costs a point read and a comparison in constant time. A token belongs to
one workspace and one source and may do what `allow` lists, no more. Its text is returned once, by `create` and `rotate`.
`last_used_at` is no part of a request: the web process notes uses in memory and writes them together, once a minute, by
`note_used`, so that a read never waits for the write lock. So are the tolerances that a connection's requests took.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from syncd.core.actor import Actor
from syncd.core.permission import understood
from syncd.core.resource import shown
from syncd.errors import InvalidValue, NotFound
from syncd.store import tables as t
from syncd.store.commit import record_one
from syncd.store.rows import Rows, upsert

Ids = Callable[[], str]
CLIENT = "client"
GRACE = timedelta(days=7)

_ID = re.compile(r"[0-9a-f]{16}", re.ASCII)
_TOKEN = re.compile(r"syncd_([0-9a-f]{16})_([0-9a-f]{64})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token; never its secret."""

    id: str
    workspace: str
    name: str
    source: str
    allow: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    expiry_warned_at: datetime | None = None
    use: str | None = None  # "client", or None: sent with each request
    public_keys: Mapping[str, Any] | None = None  # a JWK Set
    user: str | None = None  # the id of who bears it

    @property
    def signs(self) -> bool:
        return self.public_keys is not None

    def live(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)


def create(
    conn: Connection,
    actor: Actor,
    name: str,
    now: datetime,
    ids: Ids,
    source: str = "scim",
    allow: Iterable[str] = ("*",),
    expires_at: datetime | None = None,
    client: bool = False,
    public_keys: Mapping[str, Any] | None = None,
    user: str | None = None,
) -> tuple[Token, str]:
    """A new token of the actor's workspace, and its text, shown this once. `client`: an OAuth client, its text the
    client_secret; with `public_keys` (a JWK Set of nothing private) the text is "". `user`: the id of who bears it.

    Several live tokens may bear one name: that is how they are rotated. Raises InvalidValue for a permission that does
    not exist, an empty name, or an expiry that has passed.
    """
    allowed = tuple(sorted({understood(each) for each in allow}))
    if not allowed:
        raise InvalidValue("a token must be allowed something: give it permissions, such as users:read")
    if not name.strip() or not source.strip():
        raise InvalidValue("a token needs a name and a source")
    if _ID.fullmatch(name.strip()):
        raise InvalidValue(f"{shown(name)} looks like the id of a token: give it a name that tells whose it is")
    if expires_at is not None and expires_at <= now:
        raise InvalidValue(f"token {shown(name)} would have expired already, at {expires_at.isoformat()}")
    token = Token(
        secrets.token_hex(8),
        actor.workspace,
        name,
        source,
        allowed,
        now,
        expires_at,
        use=CLIENT if client or public_keys is not None else None,
        public_keys=public_keys,
        user=user,
    )
    return token, _store(conn, actor, token, "token_create", now, ids)


def rotate(
    conn: Connection, actor: Actor, which: str, now: datetime, ids: Ids, grace: timedelta = GRACE
) -> tuple[Token, str]:
    """A second token like the newest live one of this id or name, with the same lifetime.

    The old ones work for `grace` longer, so that a client is changed over without a gap. Raises NotFound.
    """
    live = _named(conn, actor.workspace, which, now)
    old = live[-1]
    if old.signs:
        raise InvalidValue(
            f"client {shown(old.name)} signs with keys of its own: make another with the new keys, by "
            "`syncd token create --public-keys`, then revoke this one"
        )
    lifetime = None if old.expires_at is None else old.expires_at - old.created_at
    token = Token(
        secrets.token_hex(8),
        old.workspace,
        old.name,
        old.source,
        old.allow,
        now,
        None if lifetime is None else now + lifetime,
        use=old.use,
        user=old.user,
    )
    text = _store(conn, actor, token, "token_rotate", now, ids)
    c = t.tokens.c
    for each in live:
        if each.expires_at is None or each.expires_at > now + grace:
            conn.execute(update(t.tokens).where(c.id == each.id).values(expires_at=now + grace))
    return token, text


def revoke(conn: Connection, actor: Actor, which: str, now: datetime, ids: Ids) -> tuple[Token, ...]:
    """Revoke the live token of this id, or all of this name; raises NotFound if there is none in the workspace.

    A web process may go on with a token it has just verified for as long as it caches (auth.CACHE_S).
    """
    live = _named(conn, actor.workspace, which, now)
    for token in live:
        conn.execute(update(t.tokens).where(t.tokens.c.id == token.id).values(revoked_at=now))
        record_one(conn, actor, "token_revoke", token.name, "", {"id": token.id, "source": token.source}, now, ids)
    return tuple(live)


def listed(conn: Connection, workspace: str) -> tuple[Token, ...]:
    """Every token of the workspace, expired and revoked ones too, in the order they were made."""
    c = t.tokens.c
    rows = conn.execute(select(t.tokens).where(c.workspace == workspace).order_by(c.created_at, c.id))
    return tuple(_token(row) for row in rows)


def authenticate(conn: Connection, text: str, now: datetime, door: str = "scim") -> Actor | None:
    """Who bears this token; None if there is no such live token, without saying why."""
    token = _proven(conn, text, now)
    return None if token is None or token.use == CLIENT else _actor(token, door)


def client(conn: Connection, client_id: str, secret: str, now: datetime) -> Token | None:
    """The live client of this id and secret; None, without saying why."""
    token = _proven(conn, secret, now)
    return token if token is not None and token.use == CLIENT and token.id == client_id else None


def use_assertion(conn: Connection, client_id: str, jti: str, until: datetime, now: datetime) -> bool:
    """Whether this proof was not used before, by any process of this database; from then on it was."""
    a = t.assertions
    conn.execute(delete(a).where(a.c.until < now))
    key = {"client_id": client_id, "jti": hashlib.sha256(jti.encode("utf-8", "surrogatepass")).digest()}
    return upsert(conn, a, key, {"until": until}, keep=True)


def signing_client(conn: Connection, client_id: str, now: datetime) -> Token | None:
    """The live client of this id that has public keys; whether it is the one who asks, its signature must show."""
    if not _ID.fullmatch(client_id):  # what no database can look for
        return None
    row = conn.execute(select(t.tokens).where(t.tokens.c.id == client_id)).first()
    token = None if row is None else _token(row)
    return token if token is not None and token.signs and token.live(now) else None


def bearer_of_access(conn: Connection, client_id: str, now: datetime, door: str = "scim") -> Actor | None:
    """Who bears an access token of this client; None if the client has ended since."""
    row = conn.execute(select(t.tokens).where(t.tokens.c.id == client_id)).first()
    token = None if row is None else _token(row)
    return _actor(token, door) if token is not None and token.use == CLIENT and token.live(now) else None


def _proven(conn: Connection, text: str, now: datetime) -> Token | None:
    match = _TOKEN.fullmatch(text)
    row = None if match is None else conn.execute(select(t.tokens).where(t.tokens.c.id == match[1])).first()
    # Compared even when there is no row, so that the time taken does not tell ids apart.
    known = row.hash if row is not None else bytes(32)
    if not hmac.compare_digest(known, _hash(match[2] if match else "")) or row is None:
        return None
    token = _token(row)
    return token if token.live(now) and not token.signs else None


def _actor(token: Token, door: str) -> Actor:
    return Actor(
        door,
        token.name,
        token.workspace,
        source=token.source,
        allow=frozenset(token.allow),
        token_id=token.id,
        expires_at=token.expires_at,
        user=token.user,
    )


def note_used(conn: Connection, used: Mapping[str, datetime]) -> None:
    """Write when tokens were last used: id -> instant, in one statement."""
    if used:
        c = t.tokens.c
        conn.execute(
            update(t.tokens).where(c.id == bindparam("token")).values(last_used_at=bindparam("at")),
            [{"token": id, "at": at} for id, at in sorted(used.items())],
        )


def note_tolerated(conn: Connection, counts: Mapping[tuple[str, str, str], int], now: datetime) -> None:
    """Add to what connections took, or with ! lacked: (workspace, source, tolerance) -> requests."""
    insert = (sqlite if conn.dialect.name == "sqlite" else postgresql).insert(t.tolerances)
    upsert = insert.on_conflict_do_update(
        index_elements=["workspace", "source", "name"],
        set_={"uses": t.tolerances.c.uses + insert.excluded.uses, "last_used_at": insert.excluded.last_used_at},
    )
    for (workspace, source, name), uses in sorted(
        counts.items()
    ):  # in one order, so that two processes never wait in a circle
        conn.execute(
            upsert, {"workspace": workspace, "source": source, "name": name, "uses": uses, "last_used_at": now}
        )


@dataclass(frozen=True, slots=True)
class Tolerated:
    """How many requests of a connection took a tolerance, or were refused for want of it, and when the last was."""

    source: str
    name: str
    uses: int
    last_used_at: datetime
    lacked: bool = False


def tolerated(conn: Connection, workspace: str, sources: Iterable[str]) -> tuple[Tolerated, ...]:
    """What connections took and lacked, the most used first."""
    c = t.tolerances.c
    query = select(c.source, c.name, c.uses, c.last_used_at).where(c.workspace == workspace, c.source.in_(set(sources)))
    rows = conn.execute(query.order_by(c.source, c.uses.desc(), c.name))
    return tuple(
        Tolerated(row.source, row.name.removeprefix("!"), row.uses, row.last_used_at, row.name.startswith("!"))
        for row in rows
    )


def named(conn: Connection, workspace: str, which: str) -> tuple[Token, ...]:
    """The token of this id, or all of this name, ended ones too. Raises NotFound."""
    c = t.tokens.c
    query = select(t.tokens).where(c.workspace == workspace, or_(c.id == which, c.name == which))
    found = tuple(_token(row) for row in conn.execute(query.order_by(c.created_at, c.id)))
    if not found:
        raise NotFound(f"workspace {workspace} has no token {shown(which)}: see `syncd token list`")
    return found


def expiring(conn: Connection, now: datetime, spans: Iterable[timedelta]) -> tuple[Token, ...]:
    """Live tokens of every workspace that expire within one of `spans` and were not warned of since they do.

    A span counts only for a token that lives longer than it: nobody makes a token for a day to be told that it ends
    tomorrow. A warning in the future was given by a clock that ran ahead, and is given again.
    """
    c = t.tokens.c
    most = max(spans := tuple(spans), default=timedelta(0))
    rows = conn.execute(
        select(t.tokens).where(c.revoked_at.is_(None), c.expires_at > now, c.expires_at <= now + most).order_by(c.id)
    )
    return tuple(token for token in map(_token, rows) if _unwarned(token, now, spans))


def _unwarned(token: Token, now: datetime, spans: Iterable[timedelta]) -> bool:
    if token.expires_at is None:
        return False
    lifetime = token.expires_at - token.created_at
    passed = [token.expires_at - span for span in spans if span < lifetime and token.expires_at - span <= now]
    warned = token.expiry_warned_at
    return bool(passed) and (warned is None or warned > now or warned < max(passed))


def warn(conn: Connection, token: Token, now: datetime, ids: Ids) -> bool:
    """Record that the token is about to expire, for people and for who listens. False if another worker did."""
    c = t.tokens.c
    before = (
        c.expiry_warned_at.is_(None) if token.expiry_warned_at is None else c.expiry_warned_at == token.expiry_warned_at
    )
    first = conn.execute(
        update(t.tokens).where(c.id == token.id, c.revoked_at.is_(None), before).values(expiry_warned_at=now)
    )
    if first.rowcount != 1:
        return False
    told = {"id": token.id, "source": token.source, "expires_at": token.expires_at}
    why = f"it expires at {token.expires_at:%Y-%m-%d %H:%M} UTC: `syncd token rotate {token.name}` makes another"
    record_one(conn, Actor("timer", "timer", token.workspace), "token_expires", token.name, why, told, now, ids)
    rows = Rows(token.workspace)
    rows.insert(
        t.outbox, id=ids(), at=now, topic="token.expires", subject_id=token.id, payload=told, state="new", attempts=0
    )
    rows.write(conn)
    return True


def _store(conn: Connection, actor: Actor, token: Token, action: str, now: datetime, ids: Ids) -> str:
    secret = secrets.token_hex(32)
    conn.execute(
        insert(t.tokens).values(
            id=token.id,
            workspace=token.workspace,
            name=token.name,
            source=token.source,
            hash=_hash(secret),
            allow=list(token.allow),
            created_at=token.created_at,
            expires_at=token.expires_at,
            use=token.use,
            public_keys=token.public_keys,
            user_id=token.user,
        )
    )
    recorded: dict[str, Any] = {
        "id": token.id,
        "source": token.source,
        "allow": token.allow,
        "expires_at": token.expires_at,
    }
    if token.use is not None:
        recorded["use"] = token.use
    if token.user is not None:
        recorded["user"] = token.user
    record_one(conn, actor, action, token.name, "", recorded, now, ids)
    return "" if token.signs else f"syncd_{token.id}_{secret}"


def _named(conn: Connection, workspace: str, which: str, now: datetime) -> list[Token]:
    c = t.tokens.c
    query = select(t.tokens).where(
        c.workspace == workspace, or_(c.id == which, c.name == which), c.revoked_at.is_(None)
    )
    found = [token for token in map(_token, conn.execute(query.order_by(c.created_at, c.id))) if token.live(now)]
    if not found:
        raise NotFound(f"workspace {workspace} has no live token {shown(which)}: see `syncd token list`")
    return found


def _token(row: Any) -> Token:
    return Token(
        row.id,
        row.workspace,
        row.name,
        row.source,
        tuple(row.allow),
        row.created_at,
        row.expires_at,
        row.revoked_at,
        row.last_used_at,
        row.expiry_warned_at,
        row.use,
        row.public_keys,
        row.user_id,
    )


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
