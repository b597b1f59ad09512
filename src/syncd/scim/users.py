"""Users over SCIM: a request becomes an edit of what this connection states, the door decides, the answer shows the result.

A connection may deactivate a user it did not create, as design says of `active`; stating values or an externalId of such a
user is an adoption, which the source's policy allows or not. After DELETE the user does not exist for this connection: she
is really deleted unless another source still vouches for her.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import orjson
from starlette.responses import Response

from syncd.core.change import UserEdit
from syncd.core.deletion import marked_key
from syncd.core.etag import etag
from syncd.core.lifecycle import vouches
from syncd.core.resource import name_key
from syncd.core.state import Link, User
from syncd.errors import NotFound, Refused, Uniqueness
from syncd.scim import passwords, render
from syncd.scim.endpoint import Call, answer, selected
from syncd.scim.patch import apply_patch, looked_at
from syncd.scim.remembered import shown_users
from syncd.scim.render import Shown
from syncd.scim.statements import Difference, Statement, difference, stated
from syncd.store import facts, opening, read
from syncd.store.commit import Outcome, commit
from syncd.store.opening import Opened
from syncd.store.read import Connection, Seen, Stored
from syncd.store.tables import micros

SHORT: Final = 16 * 1024  # bytes of a body that is quickly worked on
FEW: Final = 10  # operations, each of which may look at all values of an attribute


async def get(call: Call) -> Response:
    shown = selected(call.query())
    groups = shown.wants("groups", call.types.user)
    id, reader = call.id, call.remembering

    def work(conn: Connection) -> tuple[Seen, bytes]:
        rows = read.looked_up(conn, reader, ("id", id), groups)
        if not rows:
            raise _no_such(id)
        seen = Seen(rows[0][2])
        call.must_match(seen)
        return seen, b"" if call.unchanged(seen) else shown_users(call, conn, rows, shown)[0]

    seen, body = await call.context.database.read(work)
    if not body:
        return Response(status_code=304, headers={"ETag": etag(seen.version)})
    return answer(body, seen, f"{call.context.base_url}/Users/{id}")


async def create(call: Call) -> Response:
    body, sent = await passwords.of_document(call, await call.body())
    said, shown = _stated(call, body)

    def work(conn: Connection) -> tuple[Outcome, Stored | None]:
        opened = _unopened(conn, call, said)
        edit = creation(conn, call, said, opened=opened)
        last = call.note is None and not sent.said
        return _kept(conn, call, _write(conn, call, edit, opened, derived=shown.derived, last=last), sent)

    return await _answered(call, work, shown, 201, quick=len(body) < SHORT)


async def replace_(call: Call) -> Response:
    id = call.id
    body, sent = await passwords.of_document(call, await call.body(), id)
    said, shown = _stated(call, body)

    def work(conn: Connection) -> tuple[Outcome, Stored | None]:
        stored, opened = _found(conn, call, id)
        return _kept(conn, call, _state(conn, call, stored, opened, said, shown.derived), sent)

    return await _answered(call, work, shown, 200, quick=len(body) < SHORT)


async def patch(call: Call) -> Response:
    id = call.id
    body = await call.body()
    operations, sent = await passwords.of_operations(call, call.operations(body), id)
    shown, type = selected(call.query()), call.types.user
    members = looked_at(operations, type)

    def work(conn: Connection) -> tuple[Outcome, Stored | None]:
        nonlocal shown
        stored, opened = _found(conn, call, id, whole=members is None, derived=shown.derived)
        document = render.opened(stored, call.context.base_url, type, members)
        formed = call.in_rfc_form(operations, document, type)
        shown = render.answering(shown, ((each.path, each.value) for each in formed), type)
        after = apply_patch(document, formed, type)
        said = difference(document, after, formed, type)
        return _kept(conn, call, _state(conn, call, stored, opened, said, shown.derived), sent)

    stored = await call.write(work, 200, quick=len(body) < SHORT and len(operations) <= FEW)
    return _answer(call, stored, shown)


async def delete(call: Call) -> Response:
    id = call.id

    def work(conn: Connection) -> tuple[Outcome, Stored | None]:
        stored, opened = _found(conn, call, id, leaving=True)
        return _write(conn, call, _deletion(call, _user(opened, id)), opened, stored, gone=True)

    await call.write(work, 204, quick=True)
    return Response(status_code=204)


# -- what a request comes to ------------------------------------------------------------------------------------------------


def creation(
    conn: Connection, call: Call, said: Statement, id: str | None = None, opened: Opened | None = None
) -> UserEdit:
    """What makes this user, or adopts the one of her name where the policy lets it. `id`: of a new one, if it is known."""
    policy = call.workspace.source(call.actor.source)
    name = name_key(str(said.values["userName"]))
    taken = read.user_named(conn, call.workspace.name, name) if opened is None else opened.names[name]
    if taken is not None and policy.adopt != "never":
        own = _own(read.links(conn, call.workspace.name, "user", taken), call.actor.source)
        if own is None or own.stage == "deleted" or not own.values:
            fresh = said.link(call.actor.source, taken, None)
            return _edit(call, taken, fresh, own, adopt=True)
    if id is None:
        id = call.context.ids()
        if opened is not None:
            opened.users[id] = opened.keys[call.actor.source, "user", id] = None  # it was drawn a moment ago
    link = said.link(call.actor.source, id, None)
    return UserEdit(id, call.actor.source, create=True, link=link, why=_why(call))


def _unopened(conn: Connection, call: Call, said: Statement) -> Opened:
    name = name_key(str(said.values["userName"]))
    return opening.nobody(conn, call.workspace.name, call.actor.source, name, said.external_id)


def _stated(call: Call, body: bytes) -> tuple[Statement, Shown]:
    """What a POST or PUT states, and what its answer shows."""
    type = call.types.user
    document = call.document(body, type)
    return stated(document, type), render.answering(selected(call.query()), [(None, document)], type)


def _kept(
    conn: Connection, call: Call, done: tuple[Outcome, Stored | None], sent: passwords.Sent
) -> tuple[Outcome, Stored | None]:
    """What came of the request, with the password it brought, for a user whom this connection states."""
    outcome, stored = done
    if outcome.error is None and stored is not None and sent.said:
        own = _own(read.links(conn, call.workspace.name, "user", stored.id), call.actor.source)
        if own is None or not own.values:
            raise Refused("a connection sets passwords only of users whom it states: nothing was changed")
        sent.keep(conn, call, stored.id, str(own.values.get("userName") or stored.id))
    return done


def _found(
    conn: Connection, call: Call, id: str, whole: bool = False, derived: bool = False, leaving: bool = False
) -> tuple[Stored, Opened]:
    """The user as this connection sees her, her row locked, and what the door needs to know of her. `whole`: with her
    groups; `leaving`: they may lose her."""
    opened = opening.user(conn, call.workspace.name, id, call.workspace.precedence, leaving)
    if opened is not None and call.types.user.stale:
        active = orjson.loads(opened.document).get("active", True)
        opened.document = facts.user_document(_user(opened, id), active, call.types)[0]
    stored = None if opened is None else _shown(conn, call, _user(opened, id), opened.document, opened, derived, whole)
    if opened is None or stored is None:
        raise _no_such(id)
    call.must_match(stored)
    return stored, opened


def _user(opened: Opened, id: str) -> User:
    found = opened.users[id]
    assert found is not None
    return found


def _shown(
    conn: Connection, call: Call, user: User, document: bytes, opened: Opened, derived: bool, groups: bool = True
) -> Stored | None:
    return read.as_shown(conn, call.reader, user, document, opened.modified, opened.graph, derived, groups)


def _state(
    conn: Connection, call: Call, stored: Stored, opened: Opened, said: Statement | Difference, derived: bool
) -> tuple[Outcome, Stored | None]:
    own = _own(_user(opened, stored.id).links, call.actor.source)
    link = said.link(call.actor.source, stored.id, own)
    if link == (own or Link(call.actor.source, stored.id)):
        return Outcome(), _shown(conn, call, _user(opened, stored.id), opened.document, opened, derived)
    states_values = link.values != (own.values if own else {}) or link.key != (own.key if own else stored.id)
    known = own is not None and bool(own.values)  # a link without values was made by `active` alone
    edit = _edit(call, stored.id, link, own, adopt=states_values and not known)
    return _write(conn, call, edit, opened, stored, derived=derived)


def _edit(call: Call, id: str, link: Link, own: Link | None, adopt: bool, **more: Any) -> UserEdit:
    drop = own.key if own is not None and own.key != link.key else None
    return UserEdit(id, call.actor.source, adopt=adopt, link=link, drop_link=drop, why=_why(call), **more)


def _deletion(call: Call, user: User) -> UserEdit:
    source, now = call.actor.source, call.context.clock()
    own = _own(user.links, source)
    start = own or Link(source, user.id)
    link = replace(start, key=marked_key(start.key, user.id), stage="deleted", missing_since=now)
    adopt = own is None or not own.values  # whoever never stated this user does not end her
    others = (each for each in user.links if each.source != source and each.stage != "deleted")
    if not any(vouches(each, user.id) for each in others):
        return _edit(call, user.id, link, own, adopt, facts={"deleted_at": now})
    leave = tuple(each.group for each in user.memberships if each.origin == source)
    return _edit(call, user.id, link, own, adopt, leave=leave)


def _write(
    conn: Connection,
    call: Call,
    edit: UserEdit,
    opened: Opened,
    stored: Stored | None = None,
    gone: bool = False,
    derived: bool = False,
    last: bool = False,
) -> tuple[Outcome, Stored | None]:
    """`stored`: who is there; None: she is to be made. `last`: nothing will be written after it."""
    context, now = call.context, call.context.clock()
    expect = None if stored is None else {stored.id: stored.version}
    outcome = commit(
        conn, call.workspace, call.actor, [edit], now, context.ids, expect=expect, opened=opened, last=last
    )
    if outcome.error is not None and stored is not None and edit.adopt and isinstance(outcome.error, Uniqueness):
        # The door says it as a create would be told; here nobody creates anything.
        return Outcome(error=Refused(str(outcome.error))), None
    if outcome.error is not None or gone:
        return outcome, None
    document, before = outcome.documents.get(edit.id), opened.users.get(edit.id)
    if document is None or edit.id not in opened.users:  # nothing was written, or she was adopted
        return outcome, read.get_user(conn, call.reader, edit.id, derived=derived)
    after = outcome.users[edit.id]
    if before is None or after.version != before.version:
        opened.modified = micros(now)
    opened.graph = outcome.graph
    return outcome, _shown(conn, call, after, document, opened, derived)


async def _answered(call: Call, work: Any, shown: Shown, status: int, quick: bool) -> Response:
    return _answer(call, await call.write(work, status, quick), shown, status)


def _answer(call: Call, stored: Stored | None, shown: Shown, status: int = 200) -> Response:
    assert stored is not None
    body = render.user(stored, call.context.base_url, call.types.user, shown)
    return answer(body, stored, _location(call, stored), status)


def _own(links: tuple[Link, ...], source: str) -> Link | None:
    return next((link for link in links if link.source == source), None)


def _why(call: Call) -> str:
    return f"{call.request.method} by connection {call.actor.name}"


def _location(call: Call, stored: Stored) -> str:
    return f"{call.context.base_url}/Users/{stored.id}"


def _no_such(id: str) -> NotFound:
    return NotFound(f"there is no user {id[:64]}")
