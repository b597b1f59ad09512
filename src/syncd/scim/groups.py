"""Groups over SCIM. A connection writes only groups of its own source; those of others it can read.

Members join and leave as deltas: a PATCH costs what it names, whatever the size of the group, and the members themselves
are never loaded for it. A connection takes away only memberships it stated. A member that does not exist is refused by its
id. PUT without `members` keeps them: only an explicit empty list empties a group.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import orjson
from starlette.responses import Response

from syncd.core import filter as filters
from syncd.core.change import Edit, GroupEdit, UserEdit
from syncd.core.etag import etag
from syncd.core.resource import shown as readable
from syncd.core.state import Link
from syncd.errors import InvalidValue, Mutability, NoTarget, NotFound, Refused, TooLarge
from syncd.scim import render
from syncd.scim.endpoint import Call, answer, selected
from syncd.scim.members import CANNOT_BE_CHANGED, MemberEdit, named_ids, split_members
from syncd.scim.patch import apply_patch
from syncd.scim.remembered import note_who_moved, shown_group
from syncd.scim.render import Shown
from syncd.scim.splice import Sent
from syncd.scim.statements import Difference, Membership, Statement, difference, membership, stated
from syncd.store import read
from syncd.store.commit import Outcome, commit
from syncd.store.opening import Opened
from syncd.store.read import Connection, Stamp, Stored

_KEPT = Membership({})
MAX_CONDITIONS: Final = 20  # of members in one PATCH; [value eq "..."] is none


async def get(call: Call) -> Response:
    shown = selected(call.query())
    if shown.all:
        return await _whole(call)
    members = shown.wants("members", call.types.group)
    id, reader, base = call.id, call.reader, call.context.base_url

    def work(conn: Connection) -> tuple[Stored, bytes]:
        stored = read.get_group(conn, reader, id, members=members)
        if stored is None:
            raise _no_such(id)
        call.must_match(stored)
        if call.unchanged(stored):
            return stored, b""
        return stored, _with_members(call, shown, render.group(stored, base, call.types.group, shown))

    # Nobody knows how many members there are.
    stored, body = await (call.context.scan(work) if members else call.context.database.read(work))
    return answer(body, stored, _location(call, id)) if body else _not_modified(stored)


async def _whole(call: Call) -> Response:
    """With its members, which are remembered, and only those written anew who joined since."""
    id, reader, memory = call.id, call.remembering, call.context.memory
    place = ("group", call.context.base_url, reader.workspace, reader.source, reader.own, id)

    def lately(conn: Connection) -> tuple[Stored, Stamp]:
        """The group without its members, and what decides whether they are as they were when it was shown last."""
        counts = read.counts(conn, reader)  # first: what changes after it makes the stamp too old, never too new
        stored = read.get_group(conn, reader, id, members=False)
        if stored is None:
            raise _no_such(id)
        call.must_match(stored)
        return stored, (stored.version, *counts)

    known, stamp = await call.context.database.read(lately)
    if call.unchanged(known):
        return _not_modified(known)
    sent = memory.rendered(place, stamp)
    if sent is not None:
        return answer(_with_members(call, Shown(), sent.body), known, _location(call, id))

    def work(conn: Connection) -> tuple[Stored, Sent]:
        stored, stamp = lately(conn)
        sent = shown_group(call, conn, stored, stamp, memory.latest(place))
        memory.keep_rendered(place, stamp, sent, sent.size)
        return stored, sent

    stored, sent = await call.context.scan(work)
    return answer(_with_members(call, Shown(), sent.body), stored, _location(call, id))


def _with_members(call: Call, shown: Shown, body: bytes) -> bytes:
    """A group with an empty list of members, if it has none and this connection is to be told so."""
    told = call.shows.empty_members and shown.wants("members", call.types.group)
    return body[:-1] + b',"members":[]}' if told and b'"members":' not in body else body


def _not_modified(stored: Stored) -> Response:
    return Response(status_code=304, headers={"ETag": etag(stored.version)})


async def create(call: Call) -> Response:
    said, shown = await _document(call)

    def work(conn: Connection) -> tuple[Outcome, Stored | None]:
        id = call.context.ids()
        return _write(conn, call, creation(conn, call, said, id), id, None, shown)

    stored = await call.write(work, 201)
    assert stored is not None
    body = _with_members(call, shown, render.group(stored, call.context.base_url, call.types.group, shown))
    return answer(body, stored, _location(call, stored.id), 201)


async def replace_(call: Call) -> Response:
    (said, shown), id, version = await _document(call), call.id, 0

    def work(conn: Connection) -> tuple[Outcome, Stored | None]:
        nonlocal version
        stored, own = _found(conn, call, id)
        version = stored.version
        wanted = _KEPT if said.members is None else Membership(dict.fromkeys(said.members, True), whole=True)
        return _state(conn, call, stored, own, said, wanted, shown)

    outcome, stored = await call.written(work, 200)
    assert stored is not None
    note_who_moved(call, id, version, stored.version, outcome)
    body = _with_members(call, shown, render.group(stored, call.context.base_url, call.types.group, shown))
    return answer(body, stored, _location(call, id))


async def patch(call: Call) -> Response:
    """204 unless attributes are asked for: Entra wants it so, and it spares rendering the members of a large group."""
    operations, shown, id = call.operations(await call.body()), selected(call.query()), call.id
    silent = shown.all and not call.shows.patched_group
    read_again = Shown(excluded=("members",)) if silent else shown
    version = 0

    def work(conn: Connection) -> tuple[Outcome, Stored | None]:
        nonlocal version, shown
        stored, own = _found(conn, call, id)
        version = stored.version
        type = call.types.group
        document = orjson.loads(render.group(stored, call.context.base_url, type, Shown(whole=True)))
        formed = call.in_rfc_form(operations, document, type)
        shown = render.answering(shown, ((each.path, each.value) for each in formed), type)
        others, member_edits = split_members(formed)
        said = difference(document, apply_patch(document, others, type), others, type)
        wanted = membership(_by_id(conn, call, id, member_edits))
        return _state(conn, call, stored, own, said, wanted, read_again)

    outcome, stored = await call.written(work, 204 if silent else 200)
    assert stored is not None
    note_who_moved(call, id, version, stored.version, outcome)
    if silent:
        return Response(status_code=204, headers={"ETag": etag(stored.version), "Location": _location(call, id)})
    body = _with_members(call, shown, render.group(stored, call.context.base_url, call.types.group, shown))
    return answer(body, stored, _location(call, id))


async def delete(call: Call) -> Response:
    id = call.id

    def work(conn: Connection) -> tuple[Outcome, Stored | None]:
        stored, _ = _found(conn, call, id)
        return _write(conn, call, [GroupEdit(id, call.actor.source, delete=True, why=_why(call))], id, stored, None)

    await call.write(work, 204)
    return Response(status_code=204)


# -- what a request comes to ------------------------------------------------------------------------------------------------


def creation(
    conn: Connection, call: Call, said: Statement, id: str, beside: Mapping[str, str] = MappingProxyType({})
) -> list[Edit]:
    """What makes this group with its members. `beside`: id -> "user" or "group" of what is made together with it."""
    link = said.link(call.actor.source, id, None)
    wanted = Membership(dict.fromkeys(said.members or (), True))
    made = GroupEdit(id, call.actor.source, create=True, link=link, why=_why(call))
    return [made, *_member_edits(conn, call, id, wanted, beside)]


async def _document(call: Call) -> tuple[Statement, Shown]:
    """What a POST or PUT states, and what its answer shows."""
    type = call.types.group
    document = call.document(await call.body(), type)
    return stated(document, type), render.answering(selected(call.query()), [(None, document)], type)


def _found(conn: Connection, call: Call, id: str) -> tuple[Stored, Link | None]:
    """The group without members, its row locked, and its link; refused if another source owns it."""
    stored = read.get_group(conn, call.reader, id, members=False, lock=True)
    if stored is None:
        raise _no_such(id)
    if stored.source != call.actor.source:
        raise Refused(
            f"this group belongs to source {stored.source}: change it there, this connection may only read it"
        )
    call.must_match(stored)
    links = read.links(conn, call.workspace.name, "group", id)
    return stored, next((link for link in links if link.source == call.actor.source), None)


def _state(
    conn: Connection,
    call: Call,
    stored: Stored,
    own: Link | None,
    said: Statement | Difference,
    wanted: Membership,
    shown: Shown,
) -> tuple[Outcome, Stored | None]:
    source = call.actor.source
    link = said.link(source, stored.id, own)
    edits: list[Edit] = []
    if link != own:
        edits.append(GroupEdit(stored.id, source, link=link, why=_why(call)))
    edits += _member_edits(conn, call, stored.id, wanted)
    return _write(conn, call, edits, stored.id, stored, shown)


def _by_id(conn: Connection, call: Call, group: str, edits: Sequence[MemberEdit]) -> list[MemberEdit]:
    """The edits with whom a filter selects by then: who is stored, or was added by an operation before it. Raises NoTarget if
    it is to be somebody and is nobody, Mutability if they would become others."""
    found: list[MemberEdit] = []
    views: dict[str, dict[str, str]] = {}  # of who is added before
    conditions = 0.0
    for edit in edits:
        if edit.where is None:
            found.append(edit)
            continue
        ids = named_ids(edit.where)  # who is selected by id is found at once
        weight = len(ids) / 50 if ids is not None else 1 + len(edit.where.text) // 200  # a long one is as several
        before, conditions = conditions, conditions + weight
        if before and conditions > MAX_CONDITIONS:
            raise TooLarge(
                f"{edit.at}: more than {MAX_CONDITIONS} conditions, each asked of every member: select members by their"
                " ids, or send fewer in one PATCH"
            )
        so_far = membership(found)
        if ids is None:
            chosen = _selected(conn, call, group, edit.where, so_far, views)
        else:
            chosen = _selected_by_id(conn, call, group, edit.where, so_far, frozenset(ids))
        if edit.kind == "remove":
            found.append(MemberEdit("remove", chosen))
            continue
        if not chosen:
            raise NoTarget(f"{edit.at}: no member is selected: add the member")
        if edit.kind == "exchange":
            found += [MemberEdit("remove", chosen), MemberEdit("add", edit.ids, at=edit.at)]
        elif not _have(read.member_views(conn, call.reader, chosen).values(), edit.parts):
            raise Mutability(f"{edit.at}: {CANNOT_BE_CHANGED}")
    return found


def _selected(
    conn: Connection,
    call: Call,
    group: str,
    where: filters.Filter,
    before: Membership,
    views: dict[str, dict[str, str]],
) -> tuple[str, ...]:
    """`before`: what the operations before this one come to; `views`: of who is added by them, and filled here."""
    if fresh := before.joining - views.keys():
        views |= read.member_views(conn, call.reader, fresh)
    matches = filters.compile(where)
    stored = frozenset() if before.whole else read.members_matching(conn, call.reader, group, where)
    added = {id for id in before.joining if id in views and matches(views[id])}
    return tuple(sorted((stored - before.leaving) | added))


def _selected_by_id(
    conn: Connection, call: Call, group: str, where: filters.Filter, before: Membership, ids: frozenset[str]
) -> tuple[str, ...]:
    """The same by statements that are made once: a PATCH may name a thousand one by one."""
    kinds = {} if before.whole else read.kinds_of(conn, call.reader, ids)
    if "group" in kinds.values():
        stored = read.members_matching(conn, call.reader, group, where)
    else:
        stored = read.members_among(conn, call.reader, group, kinds) if kinds else frozenset()
    return tuple(sorted((stored - before.leaving) | (ids & before.joining)))


def _have(members: Iterable[Mapping[str, str]], parts: Mapping[str, Any]) -> bool:
    return all(member[part] == value for member in members for part, value in parts.items())


def _member_edits(
    conn: Connection, call: Call, group: str, wanted: Membership, beside: Mapping[str, str] = MappingProxyType({})
) -> list[Edit]:
    """Only for those whose membership changes: who is in stays in, who is out stays out."""
    reader, joining = call.reader, wanted.joining
    if not wanted.wanted and not wanted.whole:
        return []
    asked = joining | wanted.named
    kinds = {**(read.kinds_of(conn, reader, asked) if asked else {}), **beside}
    unknown = sorted(asked - kinds.keys())
    if unknown:
        at = wanted.said.get(unknown[0], "members")
        listed = ", ".join(map(readable, unknown[:5])) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
        raise InvalidValue(f"{at}: there is no user or group {listed}; nothing was changed")
    if group in asked:
        raise InvalidValue(f"{wanted.said.get(group, 'members')}: group {group} cannot be a member of itself")
    there = read.stated_members(conn, reader, group, among=wanted.wanted) if wanted.wanted else {}
    gone = (
        read.stated_members(conn, reader, group, but=joining)
        if wanted.whole
        else {id: kind for id, kind in there.items() if id in wanted.leaving}
    )
    return [
        *(_member(call, id, kinds[id], join=(group,)) for id in sorted(joining - there.keys())),
        *(_member(call, id, kind, leave=(group,)) for id, kind in sorted(gone.items())),
    ]


def _member(call: Call, id: str, kind: str, **change: Any) -> Edit:
    return (UserEdit if kind == "user" else GroupEdit)(id, call.actor.source, why=_why(call), **change)


def _write(
    conn: Connection, call: Call, edits: Sequence[Edit], id: str, stored: Stored | None, shown: Shown | None
) -> tuple[Outcome, Stored | None]:
    """`shown` None: nothing is to be read again, because it is gone."""
    context = call.context
    outcome = Outcome()
    if edits:
        expect = None if stored is None else {stored.id: stored.version}
        opened = Opened(locked=frozenset(expect or ()))
        now = context.clock()
        outcome = commit(conn, call.workspace, call.actor, edits, now, context.ids, expect=expect, opened=opened)
    if outcome.error is not None or shown is None:
        return outcome, None
    return outcome, read.get_group(conn, call.reader, id, members=shown.wants("members", call.types.group))


def _why(call: Call) -> str:
    return f"{call.request.method} by connection {call.actor.name}"


def _location(call: Call, id: str) -> str:
    return f"{call.context.base_url}/Groups/{id}"


def _no_such(id: str) -> NotFound:
    return NotFound(f"there is no group {id[:64]}")
