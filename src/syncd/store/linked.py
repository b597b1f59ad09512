"""What the store knows of one source: whole for a diff, or of some keys and names for a delta, whose cost is then that of its
own rows. Compact, and in a constant number of statements (of each 500 keys or names).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, Text, and_, delete, func, or_, select, type_coerce, update

from syncd.core.actor import ADMIN_SOURCE
from syncd.core.canary import Before
from syncd.core.filter import Filter
from syncd.core.lifecycle import vouches
from syncd.core.offboarding import MANAGER
from syncd.core.resource import name_key
from syncd.core.state import Link, name_hash
from syncd.store import facts, filtering
from syncd.store import read_queries as queries
from syncd.store import tables as t
from syncd.store.drafts import FIRST_RUN
from syncd.store.pages import dialect
from syncd.store.search import compile_filter

_k = t.links.c
_LAST_READS = 5
_AT_ONCE = 2000  # rows that are fetched together
_LOOKED_FOR = 50  # managers in one look through everybody
_COMPACT = (_k.resource, _k.key, _k.resource_id, _k.entry_hash, _k.mapping_digest, _k.dn_key, _k.uid_key, _k.stage)


class Beside(NamedTuple):
    """`vouches`: its source says that she is there, or people made her and gave her a userName."""

    stage: str | None
    vouches: bool


def owns(conn: Connection, workspace: str, source: str) -> bool:
    """Whether the source still states anything of anybody who is not deleted, or has a group."""
    here = (_k.workspace == workspace, _k.source == source)
    living = or_(_k.resource != "user", _k.stage.is_(None), _k.stage != "deleted")
    return conn.execute(select(_k.key).where(*here, living).limit(1)).first() is not None


def knows(conn: Connection, workspace: str, source: str) -> bool:
    """Whether anybody or any group is linked to it, or it was ever read."""
    linked = select(_k.key).where(_k.workspace == workspace, _k.source == source).limit(1)
    return conn.execute(linked).first() is not None or source_state(conn, workspace, source) is not None


def forget(conn: Connection, workspace: str, source: str) -> None:
    """What was remembered of a source for its next read; all that is kept of it, if it owns nothing any more."""
    s = t.source_states.c
    gone = not owns(conn, workspace, source)
    state = (s.workspace == workspace, s.source == source)
    conn.execute(
        delete(t.source_states).where(*state) if gone else update(t.source_states).where(*state).values(checkpoint=None)
    )
    for table in (t.quarantine, t.adoptions):
        conn.execute(delete(table).where(table.c.workspace == workspace, table.c.source == source))


def links(conn: Connection, workspace: str, source: str, resource: str) -> Iterator[Any]:
    """Every link of the source, compact: enough to see that an entry did not change."""
    where = (_k.workspace == workspace, _k.source == source, _k.resource == resource)
    for some in conn.execute(select(*_COMPACT, _k.missing_since).where(*where)).partitions(_AT_ONCE):
        yield from some


def links_by_key(conn: Connection, workspace: str, source: str, keys: Iterable[str]) -> Iterator[Any]:
    """As `links`, of users and groups with these stable keys."""
    yield from _some(conn, workspace, source, _k.key, sorted(set(keys)), _k.resource.in_(("user", "group")))


def links_by_name(conn: Connection, workspace: str, source: str, names: Iterable[str]) -> Iterator[Any]:
    """As `links`, of those whose normalised DN is one of these."""
    wanted = set(names)
    for row in _some(conn, workspace, source, _k.dn_hash, sorted(map(name_hash, wanted))):
        if row.dn_key in wanted:
            yield row


def links_by_uid(conn: Connection, workspace: str, source: str, hashes: Iterable[str]) -> Iterator[Any]:
    """As `links`, of users with one of these uids (by `name_hash`), and of all that have several."""
    wanted = sorted(set(hashes))
    if wanted:
        yield from _some(conn, workspace, source, _k.uid_key, wanted)
        where = (_k.workspace == workspace, _k.source == source, _k.uid_key >= "*", _k.uid_key < "+")
        yield from conn.execute(select(*_COMPACT, _k.missing_since).where(*where))


def links_of(conn: Connection, workspace: str, source: str, ids: Iterable[str]) -> Iterator[Any]:
    """As `links`, of these users and groups."""
    yield from _some(conn, workspace, source, _k.resource_id, sorted(set(ids)), _k.resource.in_(("user", "group")))


def matching(conn: Connection, workspace: str, source: str, filter: Filter, limit: int) -> list[Any]:
    """As `links`, of users whom this filter matches as they are shown; at most so many."""
    reader, u = queries.Reader(workspace, source), t.users.c
    shown = compile_filter(filter, dialect(conn), u.search, filtering.user_columns(reader))
    wanted = select(u.id).where(u.workspace == workspace, u.status != "deleted", shown)
    wanted = wanted.where(*filtering.narrowed(filter, reader, "user", u.id)).limit(limit)
    ids = list(conn.scalars(wanted, queries.of(reader)))
    return [row for row in links_of(conn, workspace, source, ids) if row.resource == "user"]


def neighbour(conn: Connection, workspace: str, source: str, dn_key: str, key: str) -> Any | None:
    """As `links`: somebody whose entry was there at the last read, right below the same entry as this one."""
    above = _literal(dn_key.partition(",")[2])
    where = (_k.workspace == workspace, _k.source == source, _k.resource == "user", _k.key != key)
    beside = (_k.missing_since.is_(None), _k.dn_key.like(f"%,{above}", escape="!"))
    rows = conn.execute(select(*_COMPACT, _k.missing_since, _k.dn).where(*where, *beside).limit(20))
    return next((row for row in rows if row.dn_key.partition(",")[2] == dn_key.partition(",")[2]), None)


def _literal(text: str) -> str:
    """Within a pattern of LIKE, as itself."""
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")


def links_waiting(conn: Connection, workspace: str, source: str, names: Iterable[str]) -> Iterator[Any]:
    """As `links`, of users whose manager is one of these normalised DNs and was not found."""
    yield from _some(conn, workspace, source, _k.waits_for, sorted({name_hash(name) for name in names}))


def links_managed(conn: Connection, workspace: str, source: str, managers: Iterable[str]) -> Iterator[Any]:
    """As `links`, of users to whom this source gives one of these users (by id) as manager. Looks through all its links."""
    wanted = set(managers)
    values = type_coerce(_k["values"], Text)
    where = (_k.workspace == workspace, _k.source == source, _k.resource == "user")
    for batch in facts.batched(wanted, _LOOKED_FOR):
        said = or_(*(values.contains(id, autoescape=True) for id in batch))
        for row in conn.execute(select(*_COMPACT, _k.missing_since, _k["values"]).where(*where, said)):
            if row.values.get(MANAGER) in wanted:
                yield row


def _some(
    conn: Connection, workspace: str, source: str, column: Any, values: Iterable[str], *more: Any
) -> Iterator[Any]:
    for batch in facts.batched(values):
        where = (_k.workspace == workspace, _k.source == source, column.in_(batch), *more)
        yield from conn.execute(select(*_COMPACT, _k.missing_since).where(*where))


def groups_of(conn: Connection, workspace: str, source: str, members: Iterable[str]) -> set[str]:
    """Groups in which this source put any of these users or groups, by id."""
    m = t.memberships.c
    return {
        group
        for batch in facts.batched(sorted(set(members)))
        for group in conn.scalars(
            select(m.group_id).where(
                m.workspace == workspace,
                m.member.in_(("user", "group")),
                m.member_id.in_(batch),
                m.origin == source,
            )
        )
    }


def groups_naming(conn: Connection, workspace: str, source: str, hashes: Iterable[str]) -> set[str]:
    """Groups that name one of these (by `name_hash`) among the members nobody answered to."""
    u = t.unresolved_members.c
    return {
        group
        for batch in facts.batched(sorted(set(hashes)))
        for group in conn.scalars(
            select(u.group_id).where(u.workspace == workspace, u.origin == source, u.ref_hash.in_(batch))
        )
    }


def memberships_of(
    conn: Connection, workspace: str, source: str, users: Iterable[str]
) -> dict[str, list[tuple[str, str, str | None]]]:
    """user id -> (id, key, DN) of each group of this source that it put her in."""
    m = t.memberships.c
    joined = and_(_k.workspace == m.workspace, _k.resource == "group", _k.resource_id == m.group_id)
    found: dict[str, list[tuple[str, str, str | None]]] = defaultdict(list)
    for batch in facts.batched(sorted(set(users))):
        where = (m.workspace == workspace, m.member == "user", m.member_id.in_(batch), m.origin == source)
        query = select(m.member_id, m.group_id, _k.key, _k.dn).join_from(t.memberships, t.links, joined)
        for row in conn.execute(query.where(*where, _k.source == source)):
            found[row.member_id].append((row.group_id, row.key, row.dn))
    return found


def links_beside(conn: Connection, workspace: str, source: str, users: Iterable[str]) -> dict[str, list[Any]]:
    """user id -> the links that other sources have to her."""
    found: dict[str, list[Any]] = defaultdict(list)
    for batch in facts.batched(sorted(set(users))):
        where = (_k.workspace == workspace, _k.resource == "user", _k.resource_id.in_(batch), _k.source != source)
        for row in conn.execute(select(_k.resource_id, _k.source, _k.key, _k.stage, _k["values"]).where(*where)):
            made = row.source == ADMIN_SOURCE and "userName" in row.values
            said = vouches(Link(row.source, row.key, values=row.values), row.resource_id)
            found[row.resource_id].append(Beside(row.stage, made or said))
    return found


def suspended(conn: Connection, workspace: str, users: Iterable[str]) -> set[str]:
    """Those of these users whom an admin holds."""
    u = t.users.c
    return {
        id
        for batch in facts.batched(sorted(set(users)))
        for id in conn.scalars(select(u.id).where(u.workspace == workspace, u.id.in_(batch), u.suspended.is_not(None)))
    }


def groups_each_is_in(conn: Connection, workspace: str, source: str, users: Iterable[str]) -> dict[str, set[str]]:
    """user id -> ids of groups that this source put her in."""
    m = t.memberships.c
    found: dict[str, set[str]] = defaultdict(set)
    for batch in facts.batched(sorted(set(users))):
        where = (m.workspace == workspace, m.member == "user", m.member_id.in_(batch), m.origin == source)
        for row in conn.execute(select(m.member_id, m.group_id).where(*where)):
            found[row.member_id].add(row.group_id)
    return found


def names_within(conn: Connection, workspace: str, source: str, groups: Iterable[str]) -> Iterator[Any]:
    """As `links`, of whoever this source put in these groups: most members that a changed group names are these."""
    m = t.memberships.c
    joined = and_(_k.workspace == m.workspace, _k.resource == m.member, _k.resource_id == m.member_id)
    for batch in facts.batched(sorted(set(groups))):
        where = (m.workspace == workspace, m.group_id.in_(batch), m.origin == source, _k.source == source)
        yield from conn.execute(
            select(*_COMPACT, _k.missing_since).join_from(t.memberships, t.links, joined).where(*where)
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


def members(
    conn: Connection, workspace: str, source: str, member: str, groups: Iterable[str] | None = None
) -> dict[str, frozenset[str]]:
    """group id -> ids of users (or groups) this source put in it. `groups`: only of these."""
    m = t.memberships.c
    found: dict[str, set[str]] = defaultdict(set)
    query = select(m.group_id, m.member_id).where(m.workspace == workspace, m.origin == source, m.member == member)
    for row in _each(conn, query, m.group_id, groups):
        found[row.group_id].add(row.member_id)
    return {group: frozenset(ids) for group, ids in found.items()}


def present(conn: Connection, workspace: str, source: str, resource: str) -> int:
    """How many links of this kind are of entries that are there."""
    where = (_k.workspace == workspace, _k.source == source, _k.resource == resource)
    return conn.scalar(select(func.count()).select_from(t.links).where(*where, _k.missing_since.is_(None))) or 0


def unresolved(
    conn: Connection, workspace: str, source: str, groups: Iterable[str] | None = None
) -> dict[str, tuple[str, ...]]:
    """group id -> members nobody answers to. Without those that an earlier release wrote, so that they are written anew."""
    u = t.unresolved_members.c
    found: dict[str, list[str]] = defaultdict(list)
    query = select(u.group_id, u.ref).where(u.workspace == workspace, u.origin == source, u.ref_hash.is_not(None))
    for row in _each(conn, query.order_by(u.group_id, u.ref), u.group_id, groups):
        found[row.group_id].append(row.ref)
    return {group: tuple(sorted(refs)) for group, refs in found.items()}


def outside(conn: Connection, workspace: str, source: str) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Members nobody answers to -> the groups that have them; stable keys of groups that are missing -> their names."""
    u, g = t.unresolved_members.c, t.groups.c
    within: dict[str, list[str]] = defaultdict(list)
    named = select(u.ref, g.display_name).join(t.groups, and_(g.workspace == u.workspace, g.id == u.group_id))
    for row in conn.execute(named.where(u.workspace == workspace, u.origin == source).order_by(u.ref, g.display_name)):
        within[row.ref].append(row.display_name)
    missing = select(_k.key, g.display_name).join(t.groups, and_(g.workspace == _k.workspace, g.id == _k.resource_id))
    where = (_k.workspace == workspace, _k.source == source, _k.resource == "group", _k.missing_since.is_not(None))
    return dict(within), {row.key: row.display_name for row in conn.execute(missing.where(*where))}


def _each(conn: Connection, query: Any, column: Any, ids: Iterable[str] | None) -> Iterator[Any]:
    if ids is None:
        yield from conn.execute(query)
        return
    for batch in facts.batched(sorted(set(ids))):
        yield from conn.execute(query.where(column.in_(batch)))


def holders_of(conn: Connection, workspace: str, names: Iterable[str]) -> dict[str, str]:
    """userName key -> id, for those of these userNames that an undeleted user holds."""
    u = t.users.c
    found: dict[str, str] = {}
    for batch in facts.batched(sorted({name_key(name) for name in names})):
        for row in conn.execute(
            select(u.user_name_key, u.id).where(
                u.workspace == workspace, u.user_name_key.in_(batch), u.status != "deleted"
            )
        ):
            found[row.user_name_key] = row.id
    return found


def held_subjects(conn: Connection, workspace: str, source: str) -> set[str]:
    """Ids of users and groups of whom something is held."""
    h = t.held.c
    return set(conn.scalars(select(h.subject_id).where(h.workspace == workspace, h.source == source)))


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
            groups |= {group for edit in orjson.loads(row.edits) for group in (*edit["leave"], *edit["leave_all"])}
    return users, groups


def all_users(conn: Connection, workspace: str) -> list[str]:
    u = t.users.c
    return list(conn.scalars(select(u.id).where(u.workspace == workspace, u.status != "deleted").order_by(u.id)))


def source_state(conn: Connection, workspace: str, source: str) -> Any:
    s = t.source_states.c
    return conn.execute(select(t.source_states).where(s.workspace == workspace, s.source == source)).one_or_none()


def before(conn: Connection, workspace: str, source: str) -> Before:
    """What complete whole reads saw, for a read to be compared with."""
    state, r = source_state(conn, workspace, source), t.runs.c
    if state is None or state.last_complete_at is None:
        return Before()
    whole = (r.workspace == workspace, r.source == source, r.dry_run.is_(False), r.complete.is_(True), r.kind == "full")
    runs = conn.scalars(select(r.counts).where(*whole).order_by(r.started_at.desc()).limit(_LAST_READS))
    most = max((counts.get("read", 0) for counts in runs if counts), default=None)
    return Before(state.last_users, state.last_groups, most, state.own_entry)


def _link(row: Any) -> Link:
    return Link(
        source=row.source,
        key=row.key,
        enabled=row.enabled,
        dn=row.dn,
        dn_key=row.dn_key,
        uid_key=row.uid_key,
        waits_for=row.waits_for,
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
