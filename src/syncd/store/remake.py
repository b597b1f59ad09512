"""Documents made anew when a schema of the workspace's own is another than when they were written.

The table `document_shapes` says of which schemas the stored documents are. While that is not what is configured, no document is
sent as it lies there (scim/render.py), and the worker goes through all of them: what it makes is what the door would make
now. One that differs gets a new version and an event; one of which only the search view differs (another caseExact) does not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson
from sqlalchemy import Connection, delete, insert, select

from syncd.core.actor import Actor
from syncd.core.state import Group, User
from syncd.core.types import shapes
from syncd.core.workspace import Workspace
from syncd.store import events, facts
from syncd.store import tables as t
from syncd.store.commit import record_one
from syncd.store.rows import Rows, upsert

Shapes = Mapping[tuple[str, str], str]  # (user or group, URN) -> digest
KINDS: Final = ("user", "group")
_TABLES: Final = {"user": t.users, "group": t.groups}
_ENDPOINTS: Final = {"user": "/Users", "group": "/Groups"}


def stored(conn: Connection) -> Mapping[str, Shapes]:
    """Of each workspace that has any, the schemas that its documents were made by."""
    found: dict[str, dict[tuple[str, str], str]] = {}
    s = t.document_shapes.c
    for workspace, resource, urn, digest in conn.execute(select(s.workspace, s.resource, s.urn, s.digest)):
        found.setdefault(workspace, {})[resource, urn] = digest
    return found


def is_due(workspace: Workspace, known: Mapping[str, Shapes]) -> bool:
    """`known`: what `stored` found."""
    return known.get(workspace.name, {}) != shapes(workspace.types)


def page(conn: Connection, workspace: str, kind: str, after: str, limit: int) -> list[str]:
    """Ids behind `after`, in order. A deleted user's document is made when she comes back."""
    table = _TABLES[kind]
    query = select(table.c.id).where(table.c.workspace == workspace, table.c.id > after)
    if kind == "user":
        query = query.where(t.users.c.status != "deleted")
    return list(conn.scalars(query.order_by(table.c.id).limit(limit)))


def outdated(conn: Connection, workspace: Workspace, kind: str, ids: Sequence[str]) -> list[str]:
    """Those of `ids` that would be written otherwise now."""
    return [each.id for each in _made(conn, workspace, kind, ids)]


def remake(
    conn: Connection, workspace: Workspace, kind: str, ids: Sequence[str], now: datetime, new_id: Callable[[], str]
) -> list[tuple[str, str]]:
    """Write them, in the caller's transaction. What somebody else wrote meanwhile is left alone if it is right. Returns
    (path, user id) of what is unique now and was not: somebody has the same value, and has it first."""
    rows, txn = Rows(workspace.name), None
    twice: list[tuple[str, str]] = []
    for each in _made(conn, workspace, kind, ids, lock=True):
        twice += _claim(conn, workspace, kind, each)
        row: dict[str, Any] = {"id": each.id, "document": each.document, "search": each.search}
        if each.differing:
            row |= {"version": each.version + 1, "modified_at": now}
            notice = {"version": f'W/"{each.version + 1}"', "attributes": list(each.differing)}
            uri = f"{_ENDPOINTS[kind]}/{each.id}"
            txn = events.tell(rows, uri, each.id, {f"{events.PROV}patch:notice": notice}, now, new_id(), txn)
        rows.update(_TABLES[kind], **row)
    rows.write(conn)
    return twice


def finish(conn: Connection, workspace: Workspace, written: int, now: datetime, new_id: Callable[[], str]) -> None:
    """All are of these schemas now."""
    s, wanted = t.document_shapes, shapes(workspace.types)
    conn.execute(delete(s).where(s.c.workspace == workspace.name))
    v = t.unique_values
    for kind in _TABLES:
        unique = [each.path for each in workspace.types.of(kind).unique]
        of_kind = delete(v).where(v.c.workspace == workspace.name, v.c.resource == kind)
        conn.execute(of_kind.where(v.c.path.not_in(unique)))
    rows = [
        {"workspace": workspace.name, "resource": kind, "urn": urn, "digest": digest}
        for (kind, urn), digest in wanted.items()
    ]
    if rows:
        conn.execute(insert(s), rows)
    if written:
        told = {"schemas": sorted({urn for _, urn in wanted}), "documents": written}
        actor, why = Actor("timer", "timer", workspace.name), "extensions of the configuration changed"
        record_one(conn, actor, "documents_remade", workspace.name, why, told, now, new_id)


@dataclass(frozen=True, slots=True)
class _Made:
    """`differing`: paths of attributes whose values are shown otherwise now. `claimed` and `released`: path and key of
    values that are to be unique, and are not any more."""

    id: str
    version: int
    document: bytes
    search: Mapping[str, Any]
    differing: tuple[str, ...]
    claimed: frozenset[tuple[str, str]] = frozenset()
    released: frozenset[tuple[str, str]] = frozenset()


def _made(conn: Connection, workspace: Workspace, kind: str, ids: Sequence[str], lock: bool = False) -> Iterator[_Made]:
    made = {}
    if kind == "user":
        users = facts.load_users(conn, workspace.name, ids, workspace.precedence, lock)
    else:
        groups = facts.load_groups(conn, workspace.name, ids, lock)
        made = {id: facts.group_document(each, workspace.types) for id, each in groups.items()}
    held = _held(conn, workspace.name, kind, ids)
    c = _TABLES[kind].c
    query = select(c.id, c.version, c.document, c.search).where(c.workspace == workspace.name, c.id.in_(ids))
    query = query.order_by(c.id)  # who was made first has what is unique
    for id, version, lying, search in conn.execute(query):
        before = orjson.loads(lying)
        if kind == "user" and id in users:
            # `active` depends on dates too, which are no business of this.
            made[id] = facts.user_document(users[id], before.get("active", True), workspace.types)
        if id not in made:
            continue  # gone meanwhile
        document, view = made[id]
        after = orjson.loads(document)
        wanted = facts.claims(users[id] if kind == "user" else groups[id], workspace.types).keys()
        claimed, released = frozenset(wanted - held.get(id, set())), frozenset(held.get(id, set()) - wanted)
        if before != after or search != view or claimed or released:
            yield _Made(id, version, document, view, tuple(_differing(before, after)), claimed, released)


def _held(conn: Connection, workspace: str, kind: str, ids: Sequence[str]) -> dict[str, set[tuple[str, str]]]:
    found: dict[str, set[tuple[str, str]]] = {}
    v = t.unique_values.c
    query = select(v.holder_id, v.path, v.key).where(v.workspace == workspace, v.resource == kind, v.holder_id.in_(ids))
    for id, path, key in conn.execute(query):
        found.setdefault(id, set()).add((path, key))
    return found


def _claim(conn: Connection, workspace: Workspace, kind: str, made: _Made) -> list[tuple[str, str]]:
    """What is unique now is hers, unless somebody has it; returns what somebody has."""
    v, twice = t.unique_values, []
    for path, key in sorted(made.released):
        of_kind = (v.c.workspace == workspace.name, v.c.resource == kind)
        conn.execute(delete(v).where(*of_kind, v.c.path == path, v.c.key == key, v.c.holder_id == made.id))
    for path, key in sorted(made.claimed):
        row = {"workspace": workspace.name, "resource": kind, "path": path, "key": key}
        holder = conn.scalar(select(v.c.holder_id).filter_by(**row))
        if holder is None or (path, key) not in _claims(conn, workspace, kind, holder):
            upsert(conn, v, row, {"holder_id": made.id})
        else:
            twice.append((path, made.id))
    return twice


def _claims(conn: Connection, workspace: Workspace, kind: str, id: str) -> Collection[tuple[str, str]]:
    """Of somebody whose row may be of another schema still."""
    found: Mapping[str, User | Group] = (
        facts.load_users(conn, workspace.name, [id], workspace.precedence)
        if kind == "user"
        else facts.load_groups(conn, workspace.name, [id])
    )
    return facts.claims(found.get(id), workspace.types).keys()


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    found = []
    for name in sorted({*before, *after} - {"schemas"}):
        old, new = before.get(name), after.get(name)
        if ":" in name:
            old, new = old or {}, new or {}
            found += [f"{name}:{part}" for part in sorted({*old, *new}) if old.get(part) != new.get(part)]
        elif old != new:
            found.append(name)
    return found
