"""Resources as they are shown, made anew only where they changed since they were shown last (store/memory.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from syncd.scim import render
from syncd.scim.endpoint import Call
from syncd.scim.render import Shown
from syncd.scim.splice import MOST, Delta, Sent, delta, delta_among, spliced
from syncd.store import read
from syncd.store.commit import Outcome
from syncd.store.read import Connection, Stored


def shown_users(call: Call, conn: Connection, rows: Sequence[read.UserRow], shown: Shown) -> list[bytes]:
    """These users as they are shown; those that were shown lately, and did not change since, are not made again."""
    base, reader, memory = call.context.base_url, call.remembering, call.context.memory
    who, type = (base, reader.workspace, reader.source), call.types.user
    if not shown.all:
        return [render.user(each, base, type, shown) for each in read.users_of(conn, reader, rows, shown.derived)]
    bodies = []
    for row in rows:
        stamp = read.stamp_of(row)
        body = memory.rendered((*who, row[0]), stamp)
        if body is None:
            body = render.user(read.users_of(conn, reader, [row])[0], base, type, shown)
            memory.keep_rendered((*who, row[0]), stamp, body)
        bodies.append(body)
    return bodies


def users_at(call: Call, conn: Connection, rows: Sequence[tuple[str, read.Stamp]], shown: Shown) -> list[bytes]:
    """These users as they are shown. Those that were shown lately, and did not change since, are not read again."""
    base, reader, memory = call.context.base_url, call.remembering, call.context.memory
    who = (base, reader.workspace, reader.source)
    known = {id: memory.rendered((*who, id), stamp) if shown.all else None for id, stamp in rows}
    missing = [id for id, body in known.items() if body is None]
    groups, derived = shown.wants("groups", call.types.user), shown.derived
    for id, user in read.users_by_id(conn, reader, missing, groups=groups, derived=derived).items():
        known[id] = body = render.user(user, base, call.types.user, shown)
        if shown.all:
            memory.keep_rendered((*who, id), user.stamp, body)
    return [body for body in known.values() if body is not None]


def shown_group(
    call: Call, conn: Connection, stored: Stored, stamp: read.Stamp, latest: tuple[read.Stamp, Sent] | None
) -> Sent:
    """A group that was read without its members. `latest`: as it was shown last, and its stamp then."""
    base, type, reader = call.context.base_url, call.types.group, call.remembering
    around = render.around(stored, base, type)
    _, graph, names = stamp
    known = latest is not None and latest[0][2] == names  # else some user's name is another
    if latest is not None and known and latest[1].ids is not None and around is not None:
        (since, graph_then, _), before = latest
        change, ids = _who_joined_and_left(call, conn, stored, since, latest[1].ids)
        if change is not None:
            joined = read.as_members(conn, reader, [*change.joined]) if change.joined else {}
            written = {id: render.as_shown(each, type) for id, each in joined.items()}
            groups = None if graph_then == graph else read.groups_inside(conn, reader, stored.id)
            groups = render.as_shown(groups, type) if groups else groups
            found = spliced(before, change, ids, written, *around, groups)
            if found is not None:
                return found
    users, groups, ids = read.members_of(conn, reader, stored.id)
    members = b",".join(filter(None, (users, groups)))
    if around is None or not members:
        whole = render.group(replace(stored, members=members), base, type)
        return Sent(whole, 0, 0, 0, None if around is None else ids)
    users, members = (render.as_shown(each, type) if each else each for each in (users, members))
    front = around[0] + b',"members":['
    start = len(front)
    return Sent(b"".join((front, members, b"]", around[1])), start, start + len(users), start + len(members), ids)


def _who_joined_and_left(
    call: Call, conn: Connection, stored: Stored, since: int, ids: bytes
) -> tuple[Delta | None, bytes]:
    """Since a version in which these were its users; and its users now. What this process wrote itself it need not look for
    among all of them."""
    reader = call.remembering
    moved = call.context.memory.moved((reader.workspace, stored.id), since, stored.version)
    if moved is not None and len(moved) <= MOST:
        return delta_among(ids, moved, read.members_among(conn, reader, stored.id, moved))
    now = read.ids_of_members(conn, reader, stored.id)
    return delta(ids, now), now


def note_who_moved(call: Call, group: str, before: int, after: int, outcome: Outcome) -> None:
    """After a request that took a group from one version to another was committed."""
    if before != after and len(outcome.users) <= MOST and not call.context.database.rehearses:
        call.context.memory.keep_moved((call.workspace.name, group), before, after, frozenset(outcome.users))
