"""Passwords that a connection sends (RFC 7643 section 4.1.1): write only, kept as a hash, shown and recorded nowhere.

Kept where the connection's `passwords` says so, for users whom it states; its provider judged how good they are. They are
taken out of the message before anything else reads it, so that no document, link, event or tolerance ever has one. Elsewhere
`password` is an attribute that the schemas do not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from syncd.core.password import MAX_LENGTH
from syncd.core.schema import CORE_USER
from syncd.core.secret import Secret
from syncd.errors import Forbidden, InvalidSyntax, InvalidValue, too_narrow
from syncd.scim.endpoint import Call
from syncd.scim.messages import ABSENT, Operation, parse_object
from syncd.scim.patch import at
from syncd.store import describe, passwords
from syncd.store.read import Connection

_NAMES: Final = frozenset({"password", f"{CORE_USER}:password".lower()})
_LONGEST: Final = 4 * MAX_LENGTH


@dataclass(frozen=True, slots=True)
class Sent:
    """`hash` None: it is to be taken away. `said` False: nothing was said of one."""

    said: bool = False
    hash: str | None = None
    kept: bool = False  # it is the one she has

    def keep(self, conn: Connection, call: Call, id: str, name: str) -> None:
        """In the transaction of the request. Raises Forbidden for somebody who was given more than the connection may give:
        whoever sets a password can sign in with it."""
        if self.said and not self.kept:
            _within_reach(conn, call, id, name)
        why = f"{call.request.method} by connection {call.actor.name}"
        now, ids = call.context.clock(), call.context.ids
        if self.hash is not None:
            passwords.put(conn, call.actor, id, name, self.hash, now, ids, why=why)
        elif self.said and not self.kept:
            passwords.drop(conn, call.actor, id, name, now, ids, why)


NOTHING: Final = Sent()


def _within_reach(conn: Connection, call: Call, id: str, name: str) -> None:
    workspace, source = call.workspace, call.actor.source
    for grant in describe.user_facts(conn, workspace, id).grants:
        over = grant.expires_at is not None and grant.expires_at <= call.context.clock()
        if not over and not workspace.may_grant.allowed(grant.kind, grant.value, source):
            raise Forbidden(
                f"{name} has the {grant.kind} {grant.value}, which connection {source} may not give: it does not set the "
                "password of such a user; nothing was changed"
            )


def are_kept(call: Call) -> bool:
    return call.workspace.source(call.actor.source).passwords


async def of_document(call: Call, body: bytes, id: str | None = None) -> tuple[bytes, Sent]:
    """The body of a POST or PUT without its password, and that. Absent from a PUT it stays as it is: nobody can repeat
    what nobody sees."""
    if not are_kept(call):
        return body, NOTHING
    document = parse_object(body)
    found = [name for name in document if name.lower() in _NAMES]
    if not found:
        return body, NOTHING
    value = document[found[0]]
    return _written({k: v for k, v in document.items() if k not in found}), await _sent(call, value, id)


async def of_operations(call: Call, operations: Sequence[Operation], id: str) -> tuple[tuple[Operation, ...], Sent]:
    """The operations of a PATCH without those about the password, and what the last of them says."""
    if not are_kept(call):
        return tuple(operations), NOTHING
    left: list[Operation] = []
    value: Any = ABSENT
    for each in operations:
        if each.path is not None and each.path.strip().lower() in _NAMES:
            if each.kind != "remove" and each.value is ABSENT:
                raise InvalidValue(f"{at(each)}: {each.kind} needs a value")
            value = None if each.kind == "remove" else each.value
            continue
        if each.path is None and isinstance(each.value, dict):
            value = next((part for name, part in each.value.items() if name.lower() in _NAMES), value)
            rest = {name: part for name, part in each.value.items() if name.lower() not in _NAMES}
            if each.value and not rest:
                continue
            left.append(replace(each, value=rest))
        else:
            left.append(each)
    return tuple(left), NOTHING if value is ABSENT else await _sent(call, value, id)


async def _sent(call: Call, value: Any, id: str | None) -> Sent:
    """Hashed before the transaction. One that she has is not set again: it would be recorded as a change."""
    verb = "create" if id is None else "update"
    if call.actor.limited_to("users", verb) is not None:
        raise too_narrow(f"this token lacks the permission users:{verb}: it may state some attributes, and no password")
    if value is None or value in ("", []):
        return Sent(True)
    if not isinstance(value, str):
        raise InvalidValue("password must be text")
    if len(value) > _LONGEST:
        raise InvalidValue(f"password has {len(value)} characters, more than {_LONGEST}")
    context, secret, workspace = call.context, Secret(value), call.workspace.name
    if id is not None:
        kept = await context.database.read(lambda conn: passwords.find(conn, workspace, id))
        if kept is not None and await context.passwords.matches(kept.hash, secret):
            return Sent(True, kept=True)
    return Sent(True, await context.passwords.hashed(secret))


def holds_one(body: bytes) -> bool:
    """Whether a message names a password anywhere: then it is not kept to be done later. One that is
    nested too deep counts: it is answered at once, and refused."""
    try:
        return b"password" in _written(orjson.loads(body)).lower() if body else False
    except InvalidSyntax:
        return True
    except ValueError:
        return b"password" in body.lower()


def _written(message: Any) -> bytes:
    """orjson reads what is nested deeper than it writes."""
    try:
        return orjson.dumps(message)
    except orjson.JSONEncodeError as exc:
        raise InvalidSyntax("the message is nested too deep: at most 254 levels") from exc
