"""Rows to values and back: what the door reads of users and groups, and the rows it writes of them.

A constant number of statements per batch, never one per user. Nothing here decides anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from operator import attrgetter, itemgetter
from typing import Any

import orjson
from sqlalchemy import Connection, func, select

from syncd.core.groups import Graph, GroupName
from syncd.core.ownership import Precedence, merge
from syncd.core.resource import flatten, fold, name_key, search_view, unflatten, unique_keys
from syncd.core.schema import GROUP, SYNCD_USER
from syncd.core.state import Grant, Group, Link, Membership, Seat, User, name_hash
from syncd.core.types import Types
from syncd.store import fact_queries as queries
from syncd.store import raw
from syncd.store import tables as t
from syncd.store.rows import Rows

BATCH = 500  # ids in one IN (...)
_EFFECTIVE = ("group_id", "user_id", "workspace")
_EMAILS = ("value", "user_id", "workspace")
_MEMBERSHIPS = ("group_id", "member", "member_id", "origin", "created_at", "workspace")


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
        take = func.pg_advisory_xact_lock_shared if shared else func.pg_advisory_xact_lock
        conn.execute(select(take(_number(workspace, what))))


def locked(conn: Connection, workspace: str, what: str, shared: bool = False) -> bool:
    """The same on PostgreSQL without waiting; False if others have it, or were there before."""
    take = func.pg_try_advisory_xact_lock_shared if shared else func.pg_try_advisory_xact_lock
    return bool(conn.scalar(select(take(_number(workspace, what)))))


def _number(workspace: str, what: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{workspace}\0{what}".encode()).digest()[:8], "big", signed=True)


# -- reading ------------------------------------------------------------------------------------------------------------


def load_users(
    conn: Connection,
    workspace: str,
    ids: Iterable[str],
    precedence: Precedence,
    lock: bool = False,
    prints: dict[str, bytes] | None = None,
) -> dict[str, User]:
    """The users of these ids that exist, deleted ones included. `lock`: their rows, in id order (PostgreSQL). `prints`: gets
    of each what `printed` gives while nothing of her is another."""
    found: dict[str, User] = {}
    for row in _rows_of(conn, workspace, ids, lock):
        found[row[0]] = user_of(row, precedence)
        if prints is not None:
            prints[row[0]] = _print(row)
    return found


def printed(conn: Connection, workspace: str, ids: Iterable[str], lock: bool = False) -> dict[str, bytes]:
    """16 bytes for everything that is known of each user."""
    return {row[0]: _print(row) for row in _rows_of(conn, workspace, ids, lock)}


def _print(row: Sequence[Any]) -> bytes:
    return hashlib.blake2b(repr(tuple(row)).encode("utf-8", "backslashreplace"), digest_size=16).digest()


def _rows_of(conn: Connection, workspace: str, ids: Iterable[str], lock: bool) -> Iterator[Sequence[Any]]:
    for batch in batched(sorted(set(ids))):
        bound = {"workspace": workspace, "ids": queries.as_list(batch)}
        if lock and conn.dialect.name == "postgresql":
            raw.rows(conn, queries.locked("user", "postgresql"), bound)
        yield from raw.rows(conn, queries.users(conn.dialect.name), bound)


def user_of(row: Sequence[Any], precedence: Precedence) -> User:
    """A row of `fact_queries.users`."""
    id, version, status, next_status_at, suspended, locked_until, invited, deleted_at, created_at, reclaimed, *lists = (
        row
    )
    links, memberships, grants, seats, effective = lists
    own_links = links_of(links)
    own_grants = _grants_of(grants) if _some(grants) else []
    return User(
        id,
        links=own_links,
        suspended=suspended,
        locked_until=_instant(locked_until),
        invited=bool(invited),
        deleted_at=_instant(deleted_at),
        memberships=_memberships_of(memberships) if _some(memberships) else (),
        grants=tuple([grant for grant, denied in own_grants if not denied]),
        denied=tuple([grant for grant, denied in own_grants if denied]),
        created_at=_instant(created_at),
        reclaimed=tuple(orjson.loads(reclaimed)) if reclaimed else (),
        values=own_links[0].values if len(own_links) == 1 else merge(own_links, precedence)[0],
        status=status,
        next_status_at=_instant(next_status_at),
        groups=frozenset(effective.split(",")) if effective else frozenset(),
        seats=_seats_of(seats) if _some(seats) else (),
        version=version,
    )


def _some(lists: str | None) -> bool:
    return lists is not None and lists != "[]"


def _seats_of(lists: str | None) -> tuple[Seat, ...]:
    return tuple(
        [Seat(pool, bool(held), t.instant(since), place) for pool, held, since, place in sorted(_listed(lists))]
    )


def links_of(lists: str | None) -> tuple[Link, ...]:
    """Every link of one user or group, by source and key."""
    listed = _listed(lists)
    if len(listed) > 1:
        listed.sort(key=_FIRST_TWO)
    return tuple([_link(*each) for each in listed])


_FIRST_TWO = itemgetter(0, 1)


def _link(
    source: str,
    key: str,
    enabled: bool | None,
    dn: str | None,
    dn_key: str | None,
    values: str,
    entry_hash: str,
    mapping_digest: str,
    starts_at: int | None,
    ends_at: int | None,
    locked_until: int | None,
    missing_since: int | None,
    missing_reads: int,
    stage: str | None,
    created_at: int | None,
    uid_key: str | None,
    waits_for: str | None,
) -> Link:
    return Link(
        source,
        key,
        None if enabled is None else bool(enabled),
        dn,
        dn_key,
        orjson.loads(values),
        entry_hash,
        mapping_digest,
        starts_at if starts_at is None else t.instant(starts_at),
        ends_at if ends_at is None else t.instant(ends_at),
        locked_until if locked_until is None else t.instant(locked_until),
        missing_since if missing_since is None else t.instant(missing_since),
        missing_reads,
        stage,
        created_at if created_at is None else t.instant(created_at),
        uid_key,
        waits_for,
    )


def _grants_of(lists: str | None) -> list[tuple[Grant, bool]]:
    """Each with whether it is denied now."""
    return [
        (Grant(kind, value, origin, name, why, run_id, _instant(created), _instant(expires)), bool(denied))
        for kind, value, origin, name, why, run_id, created, expires, denied in sorted(
            _listed(lists), key=itemgetter(0, 1, 2, 3)
        )
    ]


def _memberships_of(lists: str | None) -> tuple[Membership, ...]:
    listed = _listed(lists)
    if len(listed) > 1:
        listed.sort(key=_FIRST_TWO)
    return tuple([Membership(group, origin, _instant(created)) for group, origin, created in listed])


def _listed(lists: str | None) -> list[list[Any]]:
    return orjson.loads(lists) if lists and lists != "[]" else []


def _instant(micros: int | None) -> datetime | None:
    return None if micros is None else t.instant(micros)


def load_groups(conn: Connection, workspace: str, ids: Iterable[str], lock: bool = False) -> dict[str, Group]:
    found: dict[str, Group] = {}
    for batch in batched(sorted(set(ids))):
        bound = {"workspace": workspace, "ids": queries.as_list(batch)}
        if lock and conn.dialect.name == "postgresql":
            raw.rows(conn, queries.locked("group", "postgresql"), bound)
        for id, source, document, grants, created_at, version, links, memberships in raw.rows(
            conn, queries.groups(conn.dialect.name), bound
        ):
            link = next(iter(links_of(links)), None)
            found[id] = Group(
                id,
                source,
                link=link,
                values=dict(link.values) if link else flatten(orjson.loads(document), GROUP),
                memberships=_memberships_of(memberships),
                grants=tuple(
                    Grant(kind, value, "direct", name, why, created_at=t.instant(since))
                    for kind, value, name, why, since in _listed(grants)
                ),
                created_at=t.instant(created_at),
                version=version,
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
    epoch = raw.one(conn, queries.graph_count(), {"workspace": workspace}) or 0
    if epoch == graph.epoch:
        return
    graph.epoch = epoch
    for known in (graph.names, graph.parents, graph.stated):
        known.clear()
    extend_graph(conn, workspace, graph, None)
    graph.names |= {id: name for id, name in graph.coming.items() if id not in graph.names}


def extend_graph(conn: Connection, workspace: str, graph: Graph, start: Iterable[str] | None) -> None:
    bound: dict[str, Any] = {"workspace": workspace}
    if start is not None:
        missing = set(start) - graph.names.keys()
        if not missing:
            return
        bound["ids"] = queries.as_list(missing)
    for id, display, source, key, dn, grants, parents in raw.rows(
        conn, queries.nesting(conn.dialect.name, whole=start is None), bound
    ):
        given = tuple((kind, value) for kind, value, *_ in _listed(grants))
        graph.names[id] = GroupName(id, display, source, key, dn, given)
        for parent, origin, _ in _listed(parents):
            graph.nest(id, parent, origin)


def users_within(conn: Connection, workspace: str, group_ids: Iterable[str]) -> set[str]:
    """Users whose effective groups hold one of these: whoever a change of these groups may touch."""
    bound = {"workspace": workspace, "ids": queries.as_list(group_ids)}
    return {row[0] for row in raw.rows(conn, queries.users_within(conn.dialect.name), bound)}


def groups_inside(conn: Connection, workspace: str, group_ids: Iterable[str]) -> set[str]:
    """Groups that are direct members of these."""
    bound = {"workspace": workspace, "ids": queries.as_list(group_ids)}
    return {row[0] for row in raw.rows(conn, queries.groups_inside(conn.dialect.name), bound)}


# -- documents -------------------------------------------------------------------------------------------------------


def user_document(user: User, active: bool, types: Types) -> tuple[bytes, dict[str, Any]]:
    """The bytes that are sent by default (without meta, externalId and groups), and the comparable values beside them.

    `active` is left out where nobody ever said it, or whoever did took it back: unassigned, and so not false.
    """
    shown: dict[str, Any] = dict(user.values)
    if not active or any(link.enabled is not None for link in user.links):
        shown["active"] = active
    document = orjson.dumps(unflatten(shown, types.user, user.id))
    shown[_SHOWN_STATUS] = user.status
    if user.seats:
        shown[_SHOWN_SEATS] = [seat.pool for seat in user.seats if seat.held]
        shown[_SHOWN_WAITING] = [seat.pool for seat in user.seats if not seat.held]
    return document, search_view(shown, types.user)


_SHOWN_STATUS, _SHOWN_SEATS, _SHOWN_WAITING = (f"{SYNCD_USER}:{name}" for name in ("status", "seats", "waiting"))


def group_document(group: Group, types: Types) -> tuple[bytes, dict[str, Any]]:
    document = unflatten(group.values, types.group, group.id)
    return orjson.dumps(document), search_view(group.values, types.group)


# -- writing ---------------------------------------------------------------------------------------------------------


def link_row(resource: str, resource_id: str, link: Link) -> dict[str, Any]:
    return {
        "source": link.source,
        "resource": resource,
        "key": link.key,
        "resource_id": resource_id,
        "dn": link.dn,
        "dn_key": link.dn_key,
        "dn_hash": name_hash(link.dn_key) if link.dn_key else None,
        "uid_key": link.uid_key,
        "waits_for": link.waits_for,
        "enabled": link.enabled,
        "values": dict(link.values),
        "entry_hash": link.entry_hash,
        "mapping_digest": link.mapping_digest,
        "starts_at": link.starts_at,
        "ends_at": link.ends_at,
        "locked_until": link.locked_until,
        "missing_since": link.missing_since,
        "missing_reads": link.missing_reads,
        "stage": link.stage,
        "created_at": link.created_at,
    }


def write_user(
    rows: Rows, types: Types, before: User | None, after: User, now: datetime, active: bool, observable: bool
) -> bytes:
    """Row changes that turn `before` into `after`. `observable`: something a reader can see changed. Returns the document."""
    document, search = user_document(after, active, types)
    if before is None:
        own = _user_columns(after).values()
        rows.add(t.users, _USERS, (after.id, document, search, after.version, *own, now, now, rows.workspace))
    else:
        row = {"id": after.id, "document": document, "search": search, "version": after.version}
        changed = _changed(before, after)
        if observable or changed:
            rows.update(t.users, **row, **changed, **({"modified_at": now} if observable else {}))
    _write_emails(rows, after.id, before.values if before else {}, after.values)
    _write_unique(rows, types, "user", before, after)
    was = before or _NOBODY
    # What is the very same object on both sides was not touched.
    if was.links is not after.links:
        _write_links(rows, "user", after.id, was.links, after.links)
    if was.memberships is not after.memberships:
        _write_memberships(rows, "user", after.id, was.memberships, after.memberships)
    if was.groups is not after.groups:
        for group in sorted(was.groups - after.groups):
            rows.delete(t.effective_memberships, user_id=after.id, group_id=group)
        joined = sorted(after.groups - was.groups)
        rows.extend(t.effective_memberships, _EFFECTIVE, [(group, after.id, rows.workspace) for group in joined])
    if was.grants is not after.grants or was.denied is not after.denied:
        _write_grants(rows, before, after, now)
    if was.seats is not after.seats:
        _write_seats(rows, after.id, was.seats, after.seats)
    return document


_NOBODY = User("")
_OWN = ("status", "next_status_at", "suspended", "locked_until", "invited", "deleted_at", "reclaimed")
_OWN_COLUMNS = attrgetter(*_OWN)


def _user_columns(user: User) -> dict[str, Any]:
    """What of a user has a column of its own beside her document."""
    return {
        "user_name": user.name,
        "user_name_key": name_key(user.name),
        "status": user.status,
        "next_status_at": user.next_status_at,
        "suspended": user.suspended,
        "locked_until": user.locked_until,
        "invited": user.invited,
        "deleted_at": user.deleted_at,
        "reclaimed": list(user.reclaimed) or None,
    }


_USERS = (
    *("id", "document", "search", "version", *_user_columns(_NOBODY)),
    *("created_at", "modified_at", "workspace"),
)


def _changed(before: User, after: User) -> dict[str, Any]:
    """Of those columns the ones that change: what is not named in an UPDATE leaves its indexes alone."""
    old, new = _OWN_COLUMNS(before), _OWN_COLUMNS(after)
    if old == new and before.name == after.name:
        return {}
    changed = {name: value for name, was, value in zip(_OWN, old, new, strict=True) if was != value}
    if "reclaimed" in changed:
        changed["reclaimed"] = list(after.reclaimed) or None
    if before.name != after.name:
        changed["user_name"] = after.name
        if (key := name_key(after.name)) != name_key(before.name):
            changed["user_name_key"] = key
    return changed


EMAIL_KEY = 200  # characters


def email_key(value: str) -> str:
    """By what an e-mail address is found: the beginning of its comparable value, since an index takes no more."""
    return fold(value)[:EMAIL_KEY]


def email_keys(values: Mapping[str, Any]) -> set[str]:
    """What a user is found by who has these values."""
    return {email_key(each["value"]) for each in values.get("emails") or () if each.get("value")}


def _write_emails(rows: Rows, id: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    was, now_is = before.get("emails"), after.get("emails")
    if was is now_is or was == now_is:
        return
    old, new = email_keys(before), email_keys(after)
    for value in sorted(old - new):
        rows.delete(t.emails, value=value, user_id=id)
    for value in sorted(new - old):
        rows.add(t.emails, _EMAILS, (value, id, rows.workspace))


def claims(of: User | Group | None, types: Types) -> dict[tuple[str, str], Any]:
    """What nobody else of its kind may have while it is there."""
    if isinstance(of, Group):
        return unique_keys(of.values, types.group)
    return unique_keys(of.values, types.user) if of is not None and of.present else {}


def _write_unique(
    rows: Rows, types: Types, resource: str, before: User | Group | None, after: User | Group | None
) -> None:
    known = after or before
    if known is None or not types.of(resource).unique:
        return
    old, new = claims(before, types), claims(after, types)
    for path, key in sorted(old.keys() - new.keys()):
        rows.delete(t.unique_values, resource=resource, path=path, key=key, holder_id=known.id)
    for path, key in sorted(new.keys() - old.keys()):
        rows.insert(t.unique_values, resource=resource, path=path, key=key, holder_id=known.id)


def _write_links(rows: Rows, resource: str, id: str, before: Sequence[Link], after: Sequence[Link]) -> None:
    old = {(link.source, link.key): link for link in before}
    new = {(link.source, link.key): link for link in after}
    for key in old.keys() - new.keys():
        rows.delete(t.links, source=key[0], resource=resource, key=key[1])
    for key, link in new.items():
        if key not in old:
            rows.add(t.links, _LINKS, (*link_row(resource, id, link).values(), rows.workspace))
        elif old[key] is not link:
            _write_link(rows, resource, old[key], link)


def _write_link(rows: Rows, resource: str, before: Link, after: Link) -> None:
    was, now_is = _OF_A_LINK(before), _OF_A_LINK(after)
    changed = {
        name: new for name, old, new in zip(_LINK_COLUMNS, was, now_is, strict=True) if old is not new and old != new
    }
    if not changed:
        return
    if "values" in changed:
        changed["values"] = dict(after.values)
    if "dn_key" in changed:
        changed["dn_hash"] = name_hash(after.dn_key) if after.dn_key else None
    rows.update(t.links, source=after.source, resource=resource, key=after.key, **changed)


_LINKS = (*link_row("user", "", Link("", "")), "workspace")
_LINK_COLUMNS = tuple(name for name in Link.__slots__ if name not in ("source", "key"))
_OF_A_LINK = attrgetter(*_LINK_COLUMNS)


def _write_memberships(
    rows: Rows, member: str, id: str, before: Sequence[Membership], after: Sequence[Membership]
) -> None:
    if not before:
        workspace = rows.workspace
        rows.extend(
            t.memberships,
            _MEMBERSHIPS,
            [(each.group, member, id, each.origin, each.created_at, workspace) for each in after],
        )
        return
    old = {(each.group, each.origin) for each in before}
    new = {(each.group, each.origin): each for each in after}
    for group, origin in sorted(old - new.keys()):
        rows.delete(t.memberships, group_id=group, member=member, member_id=id, origin=origin)
    for (group, origin), each in new.items():
        if (group, origin) not in old:
            rows.add(t.memberships, _MEMBERSHIPS, (group, member, id, origin, each.created_at, rows.workspace))


def _write_grants(rows: Rows, before: User | None, after: User, now: datetime) -> None:
    old, new = _by_id(before), _by_id(after)
    for key in sorted(old.keys() - new.keys()):
        rows.delete(t.grants, user_id=after.id, kind=key[0], value=key[1], origin=key[2], name=key[3])
    for key, (grant, denied) in new.items():
        row = (after.id, *key, grant.why, grant.run_id, grant.created_at or now, grant.expires_at, denied)
        if key not in old:
            rows.add(t.grants, _GRANTS, (*row, rows.workspace))
        elif old[key] != (grant, denied):
            rows.update(t.grants, **dict(zip(_GRANTS, row, strict=False)))


_GRANTS = (
    *("user_id", "kind", "value", "origin", "name", "why", "run_id"),
    *("created_at", "expires_at", "denied", "workspace"),
)


def _by_id(user: User | None) -> dict[tuple[str, str, str, str], tuple[Grant, bool]]:
    if user is None:
        return {}
    return {each.id: (each, False) for each in user.grants} | {each.id: (each, True) for each in user.denied}


def _write_seats(rows: Rows, id: str, before: Sequence[Seat], after: Sequence[Seat]) -> None:
    old = {seat.pool: seat for seat in before}
    new = {seat.pool: seat for seat in after}
    for pool in sorted(old.keys() - new.keys()):
        rows.delete(t.seats, pool=pool, user_id=id)
    for pool, seat in new.items():
        row = (pool, id, seat.held, seat.since, seat.priority)
        if pool not in old:
            rows.add(t.seats, _SEATS, (*row, rows.workspace))
        elif old[pool] != seat:
            rows.update(t.seats, **dict(zip(_SEATS, row, strict=False)))


_SEATS = ("pool", "user_id", "held", "since", "priority", "workspace")


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
            **{"document": document, "search": search, "version": after.version, "grants": _group_grants(after, now)},
        }
        if before is None:
            rows.insert(t.groups, **row, created_at=now, modified_at=now)
        elif observable:
            rows.update(t.groups, **row, modified_at=now)
    _write_unique(rows, types, "group", before, after)
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


def _group_grants(group: Group, now: datetime) -> list[list[Any]] | None:
    """As `load_groups` reads them."""
    return [
        [grant.kind, grant.value, grant.name, grant.why, t.micros(grant.created_at or now)] for grant in group.grants
    ] or None
