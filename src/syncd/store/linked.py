"""What the store knows of one source, read whole for a diff: compact, and in a constant number of statements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import orjson
from sqlalchemy import Connection, select

from syncd.core.resource import fold
from syncd.core.state import Link
from syncd.store import facts
from syncd.store import tables as t
from syncd.store.drafts import FIRST_RUN


def links(conn: Connection, workspace: str, source: str, resource: str) -> Iterator[Any]:
    """Rows (key, resource_id, entry_hash, mapping_digest, dn_key, stage, missing_since) of every link of the source."""
    k = t.links.c
    yield from conn.execute(
        select(k.key, k.resource_id, k.entry_hash, k.mapping_digest, k.dn_key, k.stage, k.missing_since).where(
            k.workspace == workspace, k.source == source, k.resource == resource
        )
    )


def whole_links(
    conn: Connection, workspace: str, source: str, resource: str, keys: Iterable[str]
) -> Iterator[tuple[str, Link]]:
    """(resource id, link) for each of these keys."""
    k = t.links.c
    for batch in facts.batched(sorted(keys)):
        for row in conn.execute(
            select(t.links).where(
                k.workspace == workspace, k.source == source, k.resource == resource, k.key.in_(batch)
            )
        ):
            yield row.resource_id, _link(row)


def members(conn: Connection, workspace: str, source: str, member: str) -> dict[str, frozenset[str]]:
    """group id -> ids of users (or groups) this source put in it."""
    m = t.memberships.c
    found: dict[str, set[str]] = defaultdict(set)
    for row in conn.execute(
        select(m.group_id, m.member_id).where(m.workspace == workspace, m.origin == source, m.member == member)
    ):
        found[row.group_id].add(row.member_id)
    return {group: frozenset(ids) for group, ids in found.items()}


def unresolved(conn: Connection, workspace: str, source: str) -> dict[str, tuple[str, ...]]:
    u = t.unresolved_members.c
    found: dict[str, list[str]] = defaultdict(list)
    for row in conn.execute(
        select(u.group_id, u.ref).where(u.workspace == workspace, u.origin == source).order_by(u.group_id, u.ref)
    ):
        found[row.group_id].append(row.ref)
    return {group: tuple(sorted(refs)) for group, refs in found.items()}


def holders_of(conn: Connection, workspace: str, names: Iterable[str]) -> dict[str, str]:
    """userName key -> id, for those of these userNames that an undeleted user holds."""
    u = t.users.c
    found: dict[str, str] = {}
    for batch in facts.batched(sorted({fold(name) for name in names})):
        for row in conn.execute(
            select(u.user_name_key, u.id).where(
                u.workspace == workspace, u.user_name_key.in_(batch), u.status != "deleted"
            )
        ):
            found[row.user_name_key] = row.id
    return found


def awaiting_approval(conn: Connection, workspace: str, source: str) -> tuple[set[str], set[str]]:
    """What a first run after a change held and nobody decided yet: users on the ladder, and groups that were to go."""
    h = t.held.c
    users: set[str] = set()
    groups: set[str] = set()
    for row in conn.execute(
        select(h.subject_id, h.kind, h.edits).where(h.workspace == workspace, h.source == source, h.guard == FIRST_RUN)
    ):
        if row.kind in ("suspend", "deactivate", "delete"):
            users.add(row.subject_id)
        elif row.kind == "membership":
            groups |= {group for edit in orjson.loads(row.edits) for group in edit["leave"]}
    return users, groups


def all_users(conn: Connection, workspace: str) -> list[str]:
    u = t.users.c
    return list(conn.scalars(select(u.id).where(u.workspace == workspace, u.status != "deleted").order_by(u.id)))


def source_state(conn: Connection, workspace: str, source: str) -> Any:
    s = t.source_states.c
    return conn.execute(select(t.source_states).where(s.workspace == workspace, s.source == source)).one_or_none()


def _link(row: Any) -> Link:
    return Link(
        source=row.source,
        key=row.key,
        enabled=row.enabled,
        dn=row.dn,
        dn_key=row.dn_key,
        values=row.values,
        entry_hash=row.entry_hash,
        mapping_digest=row.mapping_digest,
        starts_at=row.starts_at,
        ends_at=row.ends_at,
        locked_until=row.locked_until,
        missing_since=row.missing_since,
        missing_reads=row.missing_reads,
        stage=row.stage,
        created_at=row.created_at,
    )
