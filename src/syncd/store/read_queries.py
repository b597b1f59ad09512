"""The statements behind store/read.py.

Every statement takes its workspace, the reader's source and whether it sees all as the parameters `workspace`, `source`
and `everything`, so that it is built and compiled once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Connection,
    Integer,
    Select,
    Text,
    and_,
    bindparam,
    cast,
    exists,
    func,
    literal,
    literal_column,
    null,
    or_,
    select,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by

from syncd.store import tables as t
from syncd.store.fact_queries import as_list, listed, one_by_one
from syncd.store.memory import Memory

_WORKSPACE: Final = bindparam("workspace", type_=Text())
SOURCE: Final = bindparam("source", type_=Text())
EVERYTHING: Final = bindparam("everything", type_=Integer())


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads. `users_url` and `groups_url` end in a slash; an id follows (for filters on references).

    `own`: it sees the users that its source is linked to and its source's groups, and no others, nor who is in them.
    `memory`: what is known from earlier reads; never given where something was written in the same transaction.
    """

    workspace: str
    source: str
    users_url: str = ""
    groups_url: str = ""
    own: bool = False
    memory: Memory | None = field(default=None, compare=False, repr=False)


def of(reader: Reader) -> dict[str, Any]:
    """The parameters every statement takes."""
    return {"workspace": reader.workspace, "source": reader.source, "everything": int(not reader.own)}


def _own_link(resource: str, id: ColumnElement[str]) -> ColumnElement[bool]:
    k = t.links.c
    return and_(
        k.workspace == _WORKSPACE,
        k.resource == resource,
        k.resource_id == id,
        k.source == SOURCE,
    )


def external_id(resource: str, id: ColumnElement[str]) -> ColumnElement[Any]:
    """A link without an externalId has the resource's id for its key (core/state.py)."""
    # Of an expression, not of the column: SQLite would walk the keys of the whole source in order to find the smallest.
    key = select(func.min(t.links.c.key + "")).where(_own_link(resource, id)).correlate(t.users, t.groups)
    return func.nullif(key.scalar_subquery(), id, type_=Text())


def visible(own: bool | None = None, users: Any = t.users) -> tuple[ColumnElement[bool], ...]:
    """`own`: whether it sees only its own; None: as the parameter `everything` says. `users`: the table or an alias."""
    u = users.c
    gone = select(literal(1)).select_from(t.links).where(_own_link("user", u.id), t.links.c.stage == "deleted")
    linked = select(literal(1)).select_from(t.links).where(_own_link("user", u.id))
    there = (u.status != "deleted", ~exists(gone.correlate(users)))
    if own is None:
        return (*there, or_(EVERYTHING == 1, exists(linked.correlate(users))))
    return (*there, exists(linked.correlate(users))) if own else there


def visible_group(g: Any) -> ColumnElement[bool]:
    """`g`: the columns of the groups."""
    return or_(EVERYTHING == 1, g.source == SOURCE)


@cache
def all_users() -> Select[Any]:
    u = t.users.c
    return (
        select(
            *(u.id, u.document, u.version, u.created_at, u.modified_at),
            external_id("user", u.id).label("external_id"),
            literal("").label("source"),
        )
        .where(u.workspace == _WORKSPACE, *visible())
        .order_by(u.id)
    )


def counted(resource: str) -> ColumnElement[int]:
    """A count of the workspace (store/tables/resources.py: totals), in the same statement as what it is the count for."""
    c = t.totals.c
    found = select(c.count).where(c.workspace == _WORKSPACE, c.resource == resource)
    return func.coalesce(found.scalar_subquery(), 0, type_=Integer())


def hidden_users() -> ColumnElement[int]:
    """How many users there are who do not exist for the source of this connection any more."""
    k, u = t.links.alias().c, t.users.alias().c
    found = (
        select(func.count(func.distinct(u.id)))
        .select_from(k.key.table.join(u.id.table, and_(u.workspace == k.workspace, u.id == k.resource_id)))
        .where(k.workspace == _WORKSPACE, k.source == SOURCE, k.resource == "user", k.stage == "deleted")
        .where(u.status != "deleted")
    )
    return found.scalar_subquery()


# Of a statement for users: one column each, in the order of `USER_ROW`. They are texts, numbers and bytes (store/raw.py).
USER_ROW: Final = (
    "id",
    "document",
    "version",
    "created",
    "modified",
    "external_id",
    "graph",
    "shown",
    "groups",
    "direct",
)


@cache
def _user_rows(own: bool, groups: bool) -> Select[Any]:
    """`groups`: the ids of her groups, joined by commas; those she is in directly beside those she is in anyhow. Their names
    are not hers: whoever reads fetches them apart, and seldom."""
    u, e, m = t.users.c, t.effective_memberships.alias().c, t.memberships.alias().c
    columns: list[ColumnElement[Any]] = [null(), null()]
    if groups:
        anyhow = select(func.aggregate_strings(e.group_id, ",")).where(e.workspace == _WORKSPACE, e.user_id == u.id)
        directly = select(func.aggregate_strings(m.group_id, ",")).where(
            m.workspace == _WORKSPACE, m.member == "user", m.member_id == u.id
        )
        columns = [each.correlate(t.users).scalar_subquery() for each in (anyhow, directly)]
    return select(
        *(u.id, u.document, u.version, type_coerce(u.created_at, BigInteger), type_coerce(u.modified_at, BigInteger)),
        *(external_id("user", u.id), counted("graph"), counted("shown"), *columns),
    ).where(u.workspace == _WORKSPACE, *visible(own))


@cache
def user_by_id(own: bool, groups: bool) -> Select[Any]:
    return _user_rows(own, groups).where(t.users.c.id == bindparam("value", type_=Text()))


@cache
def user_by_name(own: bool, groups: bool) -> Select[Any]:
    """`value`: the name as it is compared."""
    return _user_rows(own, groups).where(t.users.c.user_name_key == bindparam("value", type_=Text()))


@cache
def user_by_external_id(own: bool, groups: bool) -> Select[Any]:
    u, k, value = t.users.c, t.links.alias().c, bindparam("value", type_=Text())
    linked = select(k.resource_id).where(
        k.workspace == _WORKSPACE, k.source == SOURCE, k.resource == "user", k.key == value
    )
    return _user_rows(own, groups).where(u.id.in_(linked), external_id("user", u.id) == value)


@cache
def users_by_email(own: bool, groups: bool) -> Select[Any]:
    """`value`: the address as it is compared, shorter than what the index keeps of one. At most `most` users."""
    u, x = t.users.c, t.emails.c
    having = select(x.user_id).where(x.workspace == _WORKSPACE, x.value == bindparam("value", type_=Text()))
    rows = _user_rows(own, groups).where(u.id.in_(having)).order_by(u.id)
    # SQLAlchemy would add a parameter of its own for what is skipped.
    return rows.limit(bindparam("most", type_=BigInteger())).offset(literal_column("0"))


BY_KEY: Final = {
    "id": user_by_id,
    "userName": user_by_name,
    "externalId": user_by_external_id,
    "emails.value": users_by_email,
}


@cache
def users_by_ids(own: bool, groups: bool, dialect: str) -> Select[Any]:
    """`ids`: a JSON list, of any length."""
    return _user_rows(own, groups).where(t.users.c.id.in_(listed(bindparam("ids", type_=Text()), dialect)))


# The columns of a page: who stands there and in which state, how many there are in all, and how many of them are hidden.
@cache
def users_in_order(descending: bool, behind: bool) -> Select[Any]:
    """For who sees all: `most` users in order of their ids, `skipped` left out before; `behind`: those that follow `after`."""
    u = t.users.c
    query = select(u.id, u.version, counted("graph"), counted("shown"), counted("user"), hidden_users()).where(
        u.workspace == _WORKSPACE, *visible(own=False)
    )
    if behind:
        after = bindparam("after", type_=Text())
        query = query.where(u.id < after if descending else u.id > after)
    query = query.order_by(u.id.desc() if descending else u.id.asc())
    return query.limit(bindparam("most", type_=BigInteger())).offset(bindparam("skipped", type_=BigInteger()))


@cache
def graph_and_shown() -> Select[Any]:
    columns: list[ColumnElement[Any]] = [counted("graph"), counted("shown")]
    return select(*columns)


@cache
def group_names(dialect: str) -> Select[Any]:
    """`ids`: a JSON list."""
    g = t.groups.c
    return select(g.id, g.display_name, g.source, counted("graph")).where(
        g.workspace == _WORKSPACE, g.id.in_(listed(bindparam("ids", type_=Text()), dialect))
    )


@cache
def users_present(own: bool, dialect: str) -> Select[Any]:
    """Which of `ids`, a JSON list, are users that this connection sees."""
    u = t.users.c
    return select(u.id).where(
        u.workspace == _WORKSPACE, u.id.in_(listed(bindparam("ids", type_=Text()), dialect)), *visible(own)
    )


@cache
def all_groups() -> Select[Any]:
    g = t.groups.c
    return (
        select(
            *(g.id, g.document, g.version, g.created_at, g.modified_at, g.source),
            external_id("group", g.id).label("external_id"),
        )
        .where(g.workspace == _WORKSPACE, visible_group(g))
        .order_by(g.id)
    )


@cache
def _group_rows() -> Select[Any]:
    """In texts, numbers and bytes (store/raw.py)."""
    g = t.groups.c
    columns = (
        g.id,
        g.document,
        g.version,
        type_coerce(g.created_at, BigInteger),
        type_coerce(g.modified_at, BigInteger),
    )
    found = select(*columns, external_id("group", g.id), g.source)
    return found.where(g.workspace == _WORKSPACE, visible_group(g))


@cache
def group_by_id() -> Select[Any]:
    return _group_rows().where(t.groups.c.id == bindparam("value", type_=Text()))


@cache
def groups_by_name() -> Select[Any]:
    """`value`: the name as it is compared; each source may have a group of it. At most `most`."""
    g = t.groups.c
    rows = _group_rows().where(g.display_key == bindparam("value", type_=Text())).order_by(g.id)
    return rows.limit(bindparam("most", type_=BigInteger())).offset(literal_column("0"))


@cache
def group_by_external_id() -> Select[Any]:
    g, k, value = t.groups.c, t.links.alias().c, bindparam("value", type_=Text())
    linked = select(k.resource_id).where(
        k.workspace == _WORKSPACE, k.source == SOURCE, k.resource == "group", k.key == value
    )
    return _group_rows().where(g.id.in_(linked), external_id("group", g.id) == value)


GROUPS_BY_KEY: Final = {"id": group_by_id, "displayName": groups_by_name, "externalId": group_by_external_id}


@cache
def kinds_of(dialect: str) -> CompoundSelect[Any]:
    """Those of `ids`, a JSON list, whom this connection sees, each with what it is."""
    u, g = t.users.c, t.groups.c
    wanted = listed(bindparam("ids", type_=Text()), dialect)
    users = select(u.id, literal("user", Text())).where(u.workspace == _WORKSPACE, u.id.in_(wanted), *visible())
    groups = select(g.id, literal("group", Text())).where(g.workspace == _WORKSPACE, g.id.in_(wanted), visible_group(g))
    return users.union_all(groups)


@cache
def stated_members(dialect: str, among: bool, but: bool) -> Select[Any]:
    """Who is in the group `id` as the reader's source states. `among`, `but`: only those, none of those, by JSON lists."""
    m = t.memberships.c
    query = select(m.member_id, m.member).where(
        m.workspace == _WORKSPACE,
        m.group_id == bindparam("id", type_=Text()),
        m.member.in_(("user", "group")),
        m.origin == SOURCE,
    )
    if but:
        query = query.where(m.member_id.not_in(listed(bindparam("but", type_=Text()), dialect)))
    return (
        one_by_one(query, m.member_id, listed(bindparam("among", type_=Text()), dialect), dialect) if among else query
    )


def in_list(conn: Connection, ids: Iterable[str]) -> Select[Any]:
    """A list of any length as one parameter."""
    return listed(literal(as_list(ids), Text()), conn.dialect.name)


@cache
def members_of_groups(own: bool, dialect: str, ids: bool = False) -> Select[Any]:
    """Each of the groups `ids` with its users and its groups, both as JSON in order of their ids; NULL: there are none.
    `ids`: and with the ids of all users in it, shown or not.

    The database writes the JSON: a group of 50,000 takes a tenth of a second instead of more than one. `users_url` and
    `groups_url` are as they stand in JSON.
    """
    u, of = t.users.c, t.groups.c
    member = _members("user", of.id)
    users = (
        _as_json(member.member_id, "User", u.user_name, dialect)
        .select_from(member.member_id.table.join(t.users, and_(u.workspace == _WORKSPACE, u.id == member.member_id)))
        .where(*visible(own))
    )
    columns = [_together(users, dialect), _groups_inside(of.id, dialect)]
    if ids:
        columns.append(_ids_of_members(of.id, dialect))
    found = select(of.id, *columns)
    return found.where(of.workspace == _WORKSPACE, of.id.in_(listed(bindparam("ids", type_=Text()), dialect)))


def _groups_inside(id: ColumnElement[str], dialect: str) -> ColumnElement[Any]:
    nested, inner = t.groups.alias("nested"), _members("group", id)
    there = and_(nested.c.workspace == _WORKSPACE, nested.c.id == inner.member_id)
    groups = (
        _as_json(inner.member_id, "Group", nested.c.display_name, dialect)
        .select_from(inner.member_id.table.join(nested, there))
        .where(visible_group(nested.c))
    )
    return _together(groups, dialect)


@cache
def groups_inside(dialect: str) -> Select[Any]:
    """The groups in the group `id`, as `members_of_groups` has them."""
    of = t.groups.c
    columns = [_groups_inside(of.id, dialect)]
    return select(*columns).where(of.workspace == _WORKSPACE, of.id == bindparam("id", type_=Text()))


@cache
def ids_of_members(dialect: str) -> Select[Any]:
    """Of all users in the group `id`, in the same order, with commas between."""
    of = t.groups.c
    columns = [_ids_of_members(of.id, dialect)]
    return select(*columns).where(of.workspace == _WORKSPACE, of.id == bindparam("id", type_=Text()))


def _ids_of_members(id: ColumnElement[str], dialect: str) -> ColumnElement[Any]:
    """Each as often as sources state it: to take them once costs more than to read them. Put together in the order that they
    come in, which is that of either index of the table; PostgreSQL promises no order, and does not sort what has it."""
    m = t.memberships.c
    mine = and_(m.workspace == _WORKSPACE, m.group_id == id, m.member == "user")
    if dialect == "sqlite":  # which would copy each of them once more to put them in order
        return select(func.group_concat(m.member_id, ",")).where(mine).correlate(t.groups).scalar_subquery()
    c = select(m.member_id).where(mine).order_by(m.member_id).correlate(t.groups).subquery().c
    return select(func.string_agg(c.member_id, ",")).correlate(t.groups).scalar_subquery()


@cache
def members_among(dialect: str) -> Select[Any]:
    """Those of the users `ids` who are in the group `id`, a row for each source that states it."""
    m = t.memberships.c
    found = select(m.member_id).where(m.workspace == _WORKSPACE, m.group_id == bindparam("id", type_=Text()))
    return one_by_one(
        found.where(m.member == "user"), m.member_id, listed(bindparam("ids", type_=Text()), dialect), dialect
    )


@cache
def users_as_members(own: bool, dialect: str) -> Select[Any]:
    """Those of `ids` whom this connection sees, each as a member."""
    u = t.users.c
    wanted = listed(bindparam("ids", type_=Text()), dialect)
    found = _as_json(u.id, "User", u.user_name, dialect)
    return found.where(u.workspace == _WORKSPACE, u.id.in_(wanted), *visible(own))


def _members(kind: str, group: ColumnElement[str]) -> Any:
    """One row however many sources state the membership."""
    m = t.memberships.c
    found = select(m.member_id).distinct().where(m.workspace == _WORKSPACE, m.group_id == group, m.member == kind)
    return found.order_by(m.member_id).correlate(t.groups).subquery().c


def _as_json(id: ColumnElement[str], kind: str, display: ColumnElement[str], dialect: str) -> Select[Any]:
    """Rows of a member's id, and the member as it is sent."""
    url: ColumnElement[str] = bindparam("users_url" if kind == "User" else "groups_url", type_=Text())
    quoted = func.json_quote(display) if dialect == "sqlite" else cast(func.to_json(display), Text())
    parts: tuple[Any, ...] = (id, '","$ref":"', url, id, f'","type":"{kind}","display":', quoted, "}")
    text: ColumnElement[str] = literal('{"value":"', Text())
    for part in parts:
        text = text.op("||", return_type=Text())(literal(part, Text()) if isinstance(part, str) else part)
    columns: list[ColumnElement[Any]] = [id.label("member_id"), text.label("sent")]
    return select(*columns)


def _together(members: Select[Any], dialect: str) -> ColumnElement[Any]:
    c = members.correlate(t.groups).subquery().c
    if dialect == "sqlite":  # in the order that they come in, which is that of the index
        text: ColumnElement[Any] = func.group_concat(c.sent, ",")
    else:
        text = func.string_agg(c.sent, aggregate_order_by(literal(",", Text()), c.member_id))
    return select(text).correlate(t.groups).scalar_subquery()
