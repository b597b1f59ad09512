"""The statements behind store/facts.py: whoever a batch is about, with everything that hangs on her, in one statement.

What hangs on a user or a group comes as a JSON list of lists in the order that the functions of store/facts.py take it in.
Instants are microseconds, as everywhere in store/raw.py. Ids are a JSON list of any length (`ids`).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, Final

import orjson
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Select,
    Text,
    Update,
    bindparam,
    cast,
    distinct,
    func,
    literal_column,
    select,
    true,
    type_coerce,
    union_all,
)
from sqlalchemy.dialects.postgresql import JSONB

from syncd.store import tables as t

WORKSPACE: Final = bindparam("workspace", type_=Text())


def as_list(ids: Iterable[str]) -> str:
    return orjson.dumps(sorted(set(ids))).decode()


def listed(wanted: ColumnElement[str], dialect: str) -> Select[Any]:
    """The rows of a JSON list."""
    if dialect == "sqlite":
        return select(func.json_each(wanted).table_valued("value").c.value)
    return select(func.jsonb_array_elements_text(cast(wanted, JSONB)).table_valued("value").c.value)


def one_by_one(query: Select[Any], id: ColumnElement[str], wanted: Select[Any], dialect: str) -> Select[Any]:
    """Rows of this query whose `id` is wanted, looked for one after the other. PostgreSQL takes every group for one of average
    size, and would rather go through all members of a large one, or of all groups; OFFSET keeps it from that."""
    if dialect == "sqlite":
        return query.where(id.in_(wanted))
    ids = wanted.subquery()
    found = query.where(id == ids.c.value).offset(literal_column("0")).lateral()
    return select(*found.c).select_from(ids.join(found, true()))


def _ids(dialect: str) -> Select[Any]:
    return listed(bindparam("ids", type_=Text()), dialect)


def _number(instant: ColumnElement[Any]) -> ColumnElement[int]:
    return type_coerce(instant, BigInteger)


def _lists(dialect: str, columns: Iterable[ColumnElement[Any]], *of: ColumnElement[bool]) -> ColumnElement[Any]:
    """All rows of one owner as one text; NULL or an empty list if there are none."""
    if dialect == "sqlite":
        rows: ColumnElement[Any] = func.json_group_array(func.json_array(*columns))
    else:
        rows = cast(func.json_agg(func.json_build_array(*columns)), Text())
    return select(rows).where(*of).correlate(t.users, t.groups).scalar_subquery()


def _links(dialect: str, resource: str, id: ColumnElement[str]) -> ColumnElement[Any]:
    k = t.links.c
    columns = (
        *(k.source, k.key, k.enabled, k.dn, k.dn_key, k["values"], k.entry_hash, k.mapping_digest),
        *(k.starts_at, k.ends_at, k.locked_until, k.missing_since, k.missing_reads, k.stage, k.created_at),
        *(k.uid_key, k.waits_for),
    )
    return _lists(dialect, columns, k.workspace == WORKSPACE, k.resource == resource, k.resource_id == id)


def _memberships(dialect: str, member: str, id: ColumnElement[str]) -> ColumnElement[Any]:
    m = t.memberships.c
    columns = (m.group_id, m.origin, m.created_at)
    return _lists(dialect, columns, m.workspace == WORKSPACE, m.member == member, m.member_id == id)


@cache
def users(dialect: str) -> Select[Any]:
    return _users(dialect).where(t.users.c.id.in_(_ids(dialect)))


def _users(dialect: str) -> Select[Any]:
    u, g, s, e = t.users.c, t.grants.c, t.seats.c, t.effective_memberships.c
    grants = (g.kind, g.value, g.origin, g.name, g.why, g.run_id, g.created_at, g.expires_at, g.denied)
    seats = (s.pool, s.held, s.since, s.priority)
    effective = select(func.aggregate_strings(e.group_id, ",")).where(e.workspace == WORKSPACE, e.user_id == u.id)
    return select(
        *(u.id, u.version, u.status, _number(u.next_status_at), u.suspended, _number(u.locked_until), u.invited),
        *(_number(u.deleted_at), _number(u.created_at), type_coerce(u.reclaimed, Text)),
        _links(dialect, "user", u.id),
        _memberships(dialect, "user", u.id),
        _lists(dialect, grants, g.workspace == WORKSPACE, g.user_id == u.id),
        _lists(dialect, seats, s.workspace == WORKSPACE, s.user_id == u.id),
        effective.correlate(t.users).scalar_subquery(),
    ).where(u.workspace == WORKSPACE)


@cache
def opened(dialect: str) -> Select[Any]:
    """One user, `id`, with document, last change, the rules' digest, what is held of her, and how often groups changed."""
    u, h, s = t.users.c, t.held.c, t.source_states.c
    held = (h.subject_id, h.kind, h.guard, h.source, h.run_id)
    rules = select(s.digest).where(s.workspace == WORKSPACE, s.source == "rules")
    found = _users(dialect).where(u.id == bindparam("id", type_=Text()))
    return found.add_columns(
        *(u.document, _number(u.modified_at), rules.scalar_subquery()),
        _lists(dialect, held, h.workspace == WORKSPACE, h.subject_id == u.id),
        func.coalesce(graph_count().scalar_subquery(), 0),
    )


@cache
def free() -> Select[Any]:
    """Who has the name `name`, whom `source` links to `key`, and the digest of the rules."""
    u, s = t.users.c, t.source_states.c
    named = select(u.id).where(
        u.workspace == WORKSPACE, u.user_name_key == bindparam("name", type_=Text()), u.status != "deleted"
    )
    rules = select(s.digest).where(s.workspace == WORKSPACE, s.source == "rules")
    return select(named.scalar_subquery(), key_owner().scalar_subquery(), rules.scalar_subquery())


@cache
def unique_holders(dialect: str) -> Select[Any]:
    """Which `resource` has values of the attribute `path`, by key."""
    v = t.unique_values.c
    return select(v.key, v.holder_id).where(
        v.workspace == WORKSPACE,
        v.resource == bindparam("resource", type_=Text()),
        v.path == bindparam("path", type_=Text()),
        v.key.in_(_ids(dialect)),
    )


@cache
def groups(dialect: str) -> Select[Any]:
    g = t.groups.c
    return select(
        *(g.id, g.source, g.document, type_coerce(g.grants, Text), _number(g.created_at), g.version),
        _links(dialect, "group", g.id),
        _memberships(dialect, "group", g.id),
    ).where(g.workspace == WORKSPACE, g.id.in_(_ids(dialect)))


@cache
def locked(resource: str, dialect: str) -> Select[Any]:
    """The rows, in id order, before anything of them is read: what another transaction commits meanwhile is then seen."""
    c = (t.users if resource == "user" else t.groups).c
    return select(c.id).where(c.workspace == WORKSPACE, c.id.in_(_ids(dialect))).order_by(c.id).with_for_update()


@cache
def groups_locked(which: str) -> Select[Any]:
    """On PostgreSQL rows of groups, locked in id order: "above", those that the users or groups `ids` are in directly; "named",
    the groups `groups`; "beside", both of these and the groups inside the groups `inside`."""
    g = t.groups.c
    return select(g.id).where(g.workspace == WORKSPACE, g.id.in_(_which(which))).order_by(g.id).with_for_update()


@cache
def groups_left(which: str) -> Select[Any]:
    """Of these groups those whose rows others have; the others are locked, without waiting."""
    g = t.groups.c
    free = select(g.id).where(g.workspace == WORKSPACE, g.id.in_(_which(which)))
    got = free.with_for_update(skip_locked=True).cte("got")
    return select(g.id).where(g.workspace == WORKSPACE, g.id.in_(_which(which)), g.id.not_in(select(got.c.id)))


def _which(which: str) -> Select[Any] | CompoundSelect[Any]:
    m = t.memberships.c
    of = (m.workspace == WORKSPACE, m.member.in_(("user", "group")), m.member_id.in_(_ids("postgresql")))
    above = select(m.group_id).where(*of)
    named, outer = (listed(bindparam(name, type_=Text()), "postgresql") for name in ("groups", "inside"))
    inside = select(m.member_id).where(m.workspace == WORKSPACE, m.member == "group", m.group_id.in_(outer))
    if which == "beside":
        return union_all(named, above, inside)
    return above if which == "above" else named


@cache
def links_of(dialect: str, resource: str) -> Select[Any]:
    """Every link of one user or group, `id`."""
    return select(_links(dialect, resource, bindparam("id", type_=Text())))


@cache
def nesting(dialect: str, whole: bool) -> Select[Any]:
    """The groups `ids` and all above them, each with the groups it is in; `whole`: all groups there are."""
    g, k, m = t.groups.c, t.links.alias().c, t.memberships.c
    parents = _memberships(dialect, "group", g.id)
    own = (k.workspace == g.workspace, k.resource == "group", k.resource_id == g.id, k.source == g.source)
    linked = t.groups.outerjoin(k.key.table, own[0] & own[1] & own[2] & own[3])
    grants = type_coerce(g.grants, Text)
    found = select(g.id, g.display_name, g.source, k.key, k.dn, grants, parents).select_from(linked)
    found = found.where(g.workspace == WORKSPACE)
    if whole:
        return found
    start = t.groups.alias().c
    up = select(start.id.label("id")).where(start.workspace == WORKSPACE, start.id.in_(_ids(dialect)))
    above = up.cte("up", recursive=True)
    higher = select(m.group_id).where(m.workspace == WORKSPACE, m.member == "group", m.member_id == above.c.id)
    return found.where(g.id.in_(select(above.union(higher).c.id)))


@cache
def graph_count() -> Select[Any]:
    """It moves with every group that is named, nested, made or deleted."""
    c = t.totals.c
    return select(c.count).where(c.workspace == WORKSPACE, c.resource == "graph")


@cache
def users_within(dialect: str) -> CompoundSelect[Any]:
    e, m, ids = t.effective_memberships.c, t.memberships.c, _ids(dialect)
    effective = select(e.user_id).where(e.workspace == WORKSPACE)
    direct = select(m.member_id).where(m.workspace == WORKSPACE, m.member == "user")
    return union_all(one_by_one(effective, e.group_id, ids, dialect), one_by_one(direct, m.group_id, ids, dialect))


@cache
def groups_inside(dialect: str) -> Select[Any]:
    m = t.memberships.c
    inside = select(m.member_id).where(m.workspace == WORKSPACE, m.member == "group")
    return one_by_one(inside, m.group_id, _ids(dialect), dialect)


# -- what the door asks beside (store/commit.py, decide.py, refuse.py) -----------------------------------------------------


@cache
def versions() -> CompoundSelect[Any]:
    """Of the user and of the group of this id."""
    u, g, id = t.users.c, t.groups.c, bindparam("id", type_=Text())
    return union_all(
        *(select(c.version).where(c.workspace == WORKSPACE, c.id == id) for c in (u, g)),
    )


@cache
def key_owner() -> Select[Any]:
    """The id of whoever a source links to a key."""
    k = t.links.c
    named = (k.source == bindparam("source", type_=Text()), k.resource == bindparam("resource", type_=Text()))
    return select(k.resource_id).where(k.workspace == WORKSPACE, *named, k.key == bindparam("key", type_=Text()))


@cache
def state_digest() -> Select[Any]:
    s = t.source_states.c
    return select(s.digest).where(s.workspace == WORKSPACE, s.source == bindparam("source", type_=Text()))


@cache
def held_of(dialect: str) -> Select[Any]:
    h = t.held.c
    return select(h.subject_id, h.kind, h.guard, h.source, h.run_id).where(
        h.workspace == WORKSPACE, h.subject_id.in_(_ids(dialect))
    )


@cache
def named(dialect: str) -> Select[Any]:
    """Who has which of these names (`ids`), as they are compared."""
    u = t.users.c
    return select(u.user_name_key, u.id).where(
        u.workspace == WORKSPACE, u.user_name_key.in_(_ids(dialect)), u.status != "deleted"
    )


@cache
def named_one() -> Select[Any]:
    u = t.users.c
    return select(u.id).where(
        u.workspace == WORKSPACE, u.user_name_key == bindparam("key", type_=Text()), u.status != "deleted"
    )


@cache
def group_named() -> Select[Any]:
    g = t.groups.c
    return select(g.id).where(
        g.workspace == WORKSPACE,
        g.source == bindparam("source", type_=Text()),
        g.display_key == bindparam("key", type_=Text()),
    )


@cache
def lost_recently(dialect: str) -> Select[Any]:
    """How many subjects a source lost of each of these kinds (`ids`) after `since` and until `until`, in microseconds."""
    w = t.losses.c
    return (
        select(w.kind, func.count(distinct(w.subject_id)))
        .where(
            w.workspace == WORKSPACE,
            w.source == bindparam("source", type_=Text()),
            w.kind.in_(_ids(dialect)),
            w.at > bindparam("since", type_=t.Instant()),
            w.at <= bindparam("until", type_=t.Instant()),
        )
        .group_by(w.kind)
    )


@cache
def another_version(dialect: str) -> Update:
    """Of these groups, at the moment `now`."""
    g = t.groups
    found = g.update().where(g.c.workspace == WORKSPACE, g.c.id.in_(_ids(dialect)))
    return found.values(version=g.c.version + 1, modified_at=bindparam("now", type_=t.Instant()))
