"""Resources as they are shown, made anew only where they changed since they were shown last (store/memory.py)."""

from __future__ import annotations

from collections.abc import Sequence

from syncd.scim import render
from syncd.scim.endpoint import Call
from syncd.scim.render import Shown
from syncd.store import read
from syncd.store.read import Connection


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
