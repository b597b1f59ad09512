"""Rows to values and back: what the door reads of users and groups, and the rows it writes of them.

A constant number of statements per batch, never one per user. Nothing here decides anything.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, Table, bindparam, delete, func, insert, select, tuple_, union_all, update

from syncd.core.groups import Graph, GroupName
from syncd.core.ownership import Precedence, merge
from syncd.core.resource import flatten, fold, search_view, unflatten
from syncd.core.schema import GROUP, SYNCD_USER
from syncd.core.state import Grant, Group, Link, Membership, Seat, User
from syncd.core.types import Types
from syncd.store import tables as t

BATCH = 500  # ids in one IN (...)


def batched(items: Iterable[Any], size: int = BATCH) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def lock(conn: Connection, workspace: str, what: str, shared: bool = False) -> None:
    """Until the end of this transaction. SQLite has one writer at a time anyway."""
    if conn.dialect.name == "postgresql":
        number = int.from_bytes(hashlib.sha256(f"{workspace}\0{what}".encode()).digest()[:8], "big", signed=True)
        take = func.pg_advisory_xact_lock_shared if shared else func.pg_advisory_xact_lock
        conn.execute(select(take(number)))


# -- reading ------------------------------------------------------------------------------------------------------------


def load_users(
    conn: Connection, workspace: str, ids: Iterable[str], precedence: Precedence, lock: bool = False
) -> dict[str, User]:
    """The users of these ids that exist, deleted ones included. `lock`: their rows, in id order (PostgreSQL)."""
    found: dict[str, User] = {}
    for batch in batched(sorted(set(ids))):
        found |= _load_batch(conn, workspace, batch, precedence, lock)
    return found


def _load_batch(
    conn: Connection, workspace: str, ids: Sequence[str], precedence: Precedence, lock: bool
) -> dict[str, User]:
    query = select(t.users).where(t.users.c.workspace == workspace, t.users.c.id.in_(ids)).order_by(t.users.c.id)
    rows = conn.execute(query.with_for_update() if lock else query).all()
    if not rows:
        return {}
    links: dict[str, list[Link]] = defaultdict(list)
    for row in conn.execute(
        select(t.links).where(
            t.links.c.workspace == workspace, t.links.c.resource == "user", t.links.c.resource_id.in_(ids)
        )
    ):
        links[row.resource_id].append(link_of(row))
    memberships: dict[str, list[Membership]] = defaultdict(list)
    m = t.memberships.c
    for row in conn.execute(
        select(m.member_id, m.group_id, m.origin, m.created_at).where(
            m.workspace == workspace, m.member == "user", m.member_id.in_(ids)
        )
    ):
        memberships[row.member_id].append(Membership(row.group_id, row.origin, row.created_at))
    grants: dict[str, list[Grant]] = defaultdict(list)
    for row in conn.execute(select(t.grants).where(t.grants.c.workspace == workspace, t.grants.c.user_id.in_(ids))):
        grants[row.user_id].append(
            Grant(row.kind, row.value, row.origin, row.name, row.why, row.run_id, row.created_at, row.expires_at)
        )
    held: dict[str, list[Seat]] = defaultdict(list)
    for row in conn.execute(select(t.seats).where(t.seats.c.workspace == workspace, t.seats.c.user_id.in_(ids))):
        held[row.user_id].append(Seat(row.pool, row.held, row.since, row.priority))
    effective: dict[str, set[str]] = defaultdict(set)
    e = t.effective_memberships.c
    for row in conn.execute(select(e.user_id, e.group_id).where(e.workspace == workspace, e.user_id.in_(ids))):
        effective[row.user_id].add(row.group_id)
    users = {}
    for row in rows:
        own_links = tuple(sorted(links[row.id], key=lambda each: (each.source, each.key)))
        users[row.id] = User(
            row.id,
            links=own_links,
            suspended=row.suspended,
            locked_until=row.locked_until,
            invited=row.invited,
            deleted_at=row.deleted_at,
            memberships=tuple(sorted(memberships[row.id], key=lambda each: (each.group, each.origin))),
            grants=tuple(grants[row.id]),
            created_at=row.created_at,
            values=merge(own_links, precedence)[0],
            status=row.status,
            next_status_at=row.next_status_at,
            groups=frozenset(effective[row.id]),
            seats=tuple(sorted(held[row.id], key=lambda each: each.pool)),
            version=row.version,
        )
    return users


def link_of(row: Any) -> Link:
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
        missing_since=row.missing_since,
        missing_reads=row.missing_reads,
        stage=row.stage,
        created_at=row.created_at,
    )


def load_groups(conn: Connection, workspace: str, ids: Iterable[str], lock: bool = False) -> dict[str, Group]:
    found: dict[str, Group] = {}
    for batch in batched(sorted(set(ids))):
        g, m = t.groups.c, t.memberships.c
        query = select(t.groups).where(g.workspace == workspace, g.id.in_(batch)).order_by(g.id)
        rows = conn.execute(query.with_for_update() if lock else query).all()
        links = {
            row.resource_id: link_of(row)
            for row in conn.execute(
                select(t.links).where(
                    t.links.c.workspace == workspace, t.links.c.resource == "group", t.links.c.resource_id.in_(batch)
                )
            )
        }
        parents: dict[str, list[Membership]] = defaultdict(list)
        for row in conn.execute(
            select(m.member_id, m.group_id, m.origin, m.created_at).where(
                m.workspace == workspace, m.member == "group", m.member_id.in_(batch)
            )
        ):
            parents[row.member_id].append(Membership(row.group_id, row.origin, row.created_at))
        for row in rows:
            link = links.get(row.id)
            found[row.id] = Group(
                row.id,
                row.source,
                link=link,
                values=dict(link.values) if link else flatten(orjson.loads(row.document), GROUP),
                memberships=tuple(sorted(parents[row.id], key=lambda each: (each.group, each.origin))),
                created_at=row.created_at,
                version=row.version,
            )
    return found


def load_graph(conn: Connection, workspace: str, start: Iterable[str] | None) -> Graph:
    """The groups `start` and all above them; None: every group of the workspace (a run)."""
    graph = Graph()
    if start is None:
        refresh_graph(conn, workspace, graph)
    else:
        extend_graph(conn, workspace, graph, start)
    return graph


def refresh_graph(conn: Connection, workspace: str, graph: Graph) -> None:
    """Every group of the workspace, read again only if one was written since: a run may take hours, others write too."""
    c = t.totals.c
    epoch = conn.scalar(select(c.count).where(c.workspace == workspace, c.resource == "graph")) or 0
    if epoch == graph.epoch:
        return
    graph.epoch = epoch
    for known in (graph.names, graph.parents, graph.stated):
        known.clear()
    extend_graph(conn, workspace, graph, None)
    graph.names |= {id: name for id, name in graph.coming.items() if id not in graph.names}


def extend_graph(conn: Connection, workspace: str, graph: Graph, start: Iterable[str] | None) -> None:
    g, m = t.groups.c, t.memberships.c
    edges = select(m.member_id, m.group_id, m.origin).where(m.workspace == workspace, m.member == "group")
    names = (
        select(g.id, g.display_name, g.source, t.links.c.key, t.links.c.dn)
        .select_from(
            t.groups.outerjoin(
                t.links,
                (t.links.c.workspace == g.workspace)
                & (t.links.c.resource == "group")
                & (t.links.c.resource_id == g.id)
                & (t.links.c.source == g.source),
            )
        )
        .where(g.workspace == workspace)
    )
    if start is None:
        for row in conn.execute(edges):
            graph.nest(row.member_id, row.group_id, row.origin)
        for name in conn.execute(names):
            graph.names[name.id] = GroupName(name.id, name.display_name, name.source, name.key, name.dn)
        return
    for batch in batched(sorted(set(start) - graph.names.keys())):
        up = select(g.id.label("id")).where(g.workspace == workspace, g.id.in_(batch)).cte("up", recursive=True)
        above = up.union(
            select(m.group_id).where(m.workspace == workspace, m.member == "group", m.member_id == up.c.id)
        )
        for row in conn.execute(edges.where(m.member_id.in_(select(above.c.id)))):
            graph.nest(row.member_id, row.group_id, row.origin)
        for name in conn.execute(names.where(g.id.in_(select(above.c.id)))):
            graph.names[name.id] = GroupName(name.id, name.display_name, name.source, name.key, name.dn)


def users_within(conn: Connection, workspace: str, group_ids: Iterable[str]) -> set[str]:
    """Users whose effective groups hold one of these: whoever a change of these groups may touch."""
    found: set[str] = set()
    for batch in batched(sorted(set(group_ids))):
        e, m = t.effective_memberships.c, t.memberships.c
        found |= set(
            conn.scalars(
                union_all(
                    select(e.user_id).where(e.workspace == workspace, e.group_id.in_(batch)),
                    select(m.member_id).where(m.workspace == workspace, m.member == "user", m.group_id.in_(batch)),
                )
            )
        )
    return found


def groups_inside(conn: Connection, workspace: str, group_ids: Iterable[str]) -> set[str]:
    """Groups that are direct members of these."""
    found: set[str] = set()
    m = t.memberships.c
    for batch in batched(sorted(set(group_ids))):
        found |= set(
            conn.scalars(
                select(m.member_id).where(m.workspace == workspace, m.member == "group", m.group_id.in_(batch))
            )
        )
    return found


# -- documents -------------------------------------------------------------------------------------------------------


def user_document(user: User, active: bool, types: Types) -> tuple[bytes, dict[str, Any]]:
    """The bytes that are sent by default (without meta, externalId and groups), and the comparable values beside them.

    `active` is left out where nobody ever said it, or whoever did took it back: unassigned, and so not false.
    """
    shown: dict[str, Any] = dict(user.values)
    if not active or any(link.enabled is not None for link in user.links):
        shown["active"] = active
    document = unflatten(shown, types.user)
    document = {"schemas": document.pop("schemas"), "id": user.id, **document}
    derived = {
        "status": user.status,
        "seats": [seat.pool for seat in user.seats if seat.held],
        "waiting": [seat.pool for seat in user.seats if not seat.held],
    }
    compared = shown | {f"{SYNCD_USER}:{k}": v for k, v in derived.items()}
    return orjson.dumps(document), search_view(compared, types.user)


def group_document(group: Group, types: Types) -> tuple[bytes, dict[str, Any]]:
    document = unflatten(group.values, types.group)
    document = {"schemas": document.pop("schemas"), "id": group.id, **document}
    return orjson.dumps(document), search_view(group.values, types.group)


# -- writing ---------------------------------------------------------------------------------------------------------


class Rows:
    """Row changes collected over a batch, written table by table with one statement each."""

    def __init__(self, workspace: str) -> None:
        self.workspace = workspace
        self._inserts: dict[Table, list[dict[str, Any]]] = defaultdict(list)
        self._updates: dict[tuple[Table, tuple[str, ...]], list[dict[str, Any]]] = defaultdict(list)
        self._deletes: dict[Table, list[dict[str, Any]]] = defaultdict(list)

    def insert(self, table: Table, **values: Any) -> None:
        self._inserts[table].append({"workspace": self.workspace, **values})

    def update(self, table: Table, **values: Any) -> None:
        """These columns of a row, found by its primary key; rows with the same columns are written together."""
        self._updates[table, tuple(values)].append({"workspace": self.workspace, **values})

    def delete(self, table: Table, **key: Any) -> None:
        self._deletes[table].append({"workspace": self.workspace, **key})

    def write(self, conn: Connection) -> None:
        for table, rows in self._deletes.items():
            names = [name for name in rows[0] if name != "workspace"]
            columns = [table.c[name] for name in names]
            for batch in batched(rows, 200):
                keys = [tuple(row[name] for name in names) for row in batch]
                found = columns[0].in_([key[0] for key in keys]) if len(columns) == 1 else tuple_(*columns).in_(keys)
                conn.execute(delete(table).where(table.c.workspace == self.workspace, found))
        for (table, _), rows in self._updates.items():
            keys_of = [column.name for column in table.primary_key.columns]
            statement = (
                update(table)
                .where(*(table.c[name] == bindparam(f"key_{name}") for name in keys_of))
                .values({name: bindparam(f"new_{name}") for name in rows[0] if name not in keys_of})
            )
            conn.execute(
                statement,
                [
                    {(f"key_{name}" if name in keys_of else f"new_{name}"): value for name, value in row.items()}
                    for row in rows
                ],
            )
        for table, rows in self._inserts.items():
            conn.execute(insert(table), rows)


def link_row(resource: str, resource_id: str, link: Link) -> dict[str, Any]:
    return {
        "source": link.source,
        "resource": resource,
        "key": link.key,
        "resource_id": resource_id,
        "dn": link.dn,
        "dn_key": link.dn_key,
        "enabled": link.enabled,
        "values": dict(link.values),
        "entry_hash": link.entry_hash,
        "mapping_digest": link.mapping_digest,
        "starts_at": link.starts_at,
        "ends_at": link.ends_at,
        "missing_since": link.missing_since,
        "missing_reads": link.missing_reads,
        "stage": link.stage,
        "created_at": link.created_at,
    }


def write_user(
    rows: Rows, types: Types, before: User | None, after: User, now: datetime, active: bool, observable: bool
) -> None:
    """Row changes that turn `before` into `after`. `observable`: something a reader can see changed."""
    document, search = user_document(after, active, types)
    row = {
        "id": after.id,
        "user_name": after.name,
        "user_name_key": fold(after.name),
        "document": document,
        "search": search,
        "status": after.status,
        "next_status_at": after.next_status_at,
        "suspended": after.suspended,
        "locked_until": after.locked_until,
        "invited": after.invited,
        "deleted_at": after.deleted_at,
        "version": after.version,
    }
    if before is None:
        rows.insert(t.users, **row, created_at=now, modified_at=now)
    elif observable or _user_facts(before) != _user_facts(after):
        rows.update(t.users, **row, **({"modified_at": now} if observable else {}))
    _write_emails(rows, after.id, before.values if before else {}, after.values)
    _write_links(rows, "user", after.id, before.links if before else (), after.links)
    _write_memberships(rows, "user", after.id, before.memberships if before else (), after.memberships)
    for group in sorted((before.groups if before else frozenset()) - after.groups):
        rows.delete(t.effective_memberships, user_id=after.id, group_id=group)
    for group in sorted(after.groups - (before.groups if before else frozenset())):
        rows.insert(t.effective_memberships, user_id=after.id, group_id=group)
    _write_grants(rows, after.id, before.grants if before else (), after.grants, now)
    _write_seats(rows, after.id, before.seats if before else (), after.seats)


def _user_facts(user: User) -> tuple[Any, ...]:
    return (user.suspended, user.locked_until, user.invited, user.deleted_at, user.next_status_at, user.status)


EMAIL_KEY = 200  # characters


def email_key(value: str) -> str:
    """By what an e-mail address is found: the beginning of its comparable value, since an index takes no more."""
    return fold(value)[:EMAIL_KEY]


def email_keys(values: Mapping[str, Any]) -> set[str]:
    """What a user is found by who has these values."""
    return {email_key(each["value"]) for each in values.get("emails") or () if each.get("value")}


def _write_emails(rows: Rows, id: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    if before.get("emails") == after.get("emails"):
        return
    old, new = email_keys(before), email_keys(after)
    for value in sorted(old - new):
        rows.delete(t.emails, value=value, user_id=id)
    for value in sorted(new - old):
        rows.insert(t.emails, value=value, user_id=id)


def _write_links(rows: Rows, resource: str, id: str, before: Sequence[Link], after: Sequence[Link]) -> None:
    old = {(link.source, link.key): link for link in before}
    new = {(link.source, link.key): link for link in after}
    for key in old.keys() - new.keys():
        rows.delete(t.links, source=key[0], resource=resource, key=key[1])
    for key, link in new.items():
        row = link_row(resource, id, link)
        if key not in old:
            rows.insert(t.links, **row)
        elif old[key] != link:
            rows.update(t.links, **row)


def _write_memberships(
    rows: Rows, member: str, id: str, before: Sequence[Membership], after: Sequence[Membership]
) -> None:
    old = {(each.group, each.origin) for each in before}
    new = {(each.group, each.origin): each for each in after}
    for group, origin in sorted(old - new.keys()):
        rows.delete(t.memberships, group_id=group, member=member, member_id=id, origin=origin)
    for (group, origin), each in new.items():
        if (group, origin) not in old:
            rows.insert(
                t.memberships, group_id=group, member=member, member_id=id, origin=origin, created_at=each.created_at
            )


def _write_grants(rows: Rows, id: str, before: Sequence[Grant], after: Sequence[Grant], now: datetime) -> None:
    old = {grant.id: grant for grant in before}
    new = {grant.id: grant for grant in after}
    for key in sorted(old.keys() - new.keys()):
        rows.delete(t.grants, user_id=id, kind=key[0], value=key[1], origin=key[2], name=key[3])
    for key, grant in new.items():
        row = {
            **{"user_id": id, "kind": key[0], "value": key[1], "origin": key[2], "name": key[3], "why": grant.why},
            **{"run_id": grant.run_id, "created_at": grant.created_at or now, "expires_at": grant.expires_at},
        }
        if key not in old:
            rows.insert(t.grants, **row)
        elif old[key] != grant:
            rows.update(t.grants, **row)


def _write_seats(rows: Rows, id: str, before: Sequence[Seat], after: Sequence[Seat]) -> None:
    old = {seat.pool: seat for seat in before}
    new = {seat.pool: seat for seat in after}
    for pool in sorted(old.keys() - new.keys()):
        rows.delete(t.seats, pool=pool, user_id=id)
    for pool, seat in new.items():
        row = {"pool": pool, "user_id": id, "held": seat.held, "since": seat.since, "priority": seat.priority}
        if pool not in old:
            rows.insert(t.seats, **row)
        elif old[pool] != seat:
            rows.update(t.seats, **row)


def write_group(
    rows: Rows, types: Types, before: Group | None, after: Group | None, now: datetime, observable: bool
) -> None:
    known = after or before
    assert known is not None
    if after is None:
        rows.delete(t.groups, id=known.id)
        rows.delete(t.unresolved_members, group_id=known.id)
    else:
        document, search = group_document(after, types)
        row = {
            **{"id": after.id, "source": after.source, "display_name": after.name, "display_key": fold(after.name)},
            **{"document": document, "search": search, "version": after.version},
        }
        if before is None:
            rows.insert(t.groups, **row, created_at=now, modified_at=now)
        elif observable:
            rows.update(t.groups, **row, modified_at=now)
    _write_links(
        rows,
        "group",
        known.id,
        (before.link,) if before and before.link else (),
        (after.link,) if after and after.link else (),
    )
    _write_memberships(
        rows, "group", known.id, before.memberships if before else (), after.memberships if after else ()
    )
