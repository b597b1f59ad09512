"""The statements behind store/read.py, and which columns a SCIM filter reads.

Every statement takes its workspace, the reader's source and whether it sees all as the parameters `workspace`, `source`
and `everything`, so that it is built and compiled once. A filter on a column uses that column's index: a unique key is
found, never searched for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    Text,
    and_,
    bindparam,
    case,
    cast,
    exists,
    func,
    literal,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB

from syncd.core.filter import And, Bound, Condition, Element, Filter, Op, Or
from syncd.store import tables as t
from syncd.store.facts import EMAIL_KEY
from syncd.store.search import Columns, Rows

USER_KEYS: Final = frozenset({"id", "userName", "externalId"})
GROUP_KEYS: Final = frozenset({"id", "externalId"})

_WORKSPACE: Final = bindparam("workspace", type_=Text())
_SOURCE: Final = bindparam("source", type_=Text())
_EVERYTHING: Final = bindparam("everything", type_=Integer())


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads. `users_url` and `groups_url` end in a slash; an id follows (for filters on references).

    `own`: it sees the users that its source is linked to and its source's groups, and no others, nor who is in them.
    """

    workspace: str
    source: str
    users_url: str = ""
    groups_url: str = ""
    own: bool = False


def of(reader: Reader) -> dict[str, Any]:
    """The parameters every statement takes."""
    return {"workspace": reader.workspace, "source": reader.source, "everything": int(not reader.own)}


def _own_link(resource: str, id: ColumnElement[str]) -> ColumnElement[bool]:
    k = t.links.c
    return and_(
        k.workspace == _WORKSPACE,
        k.resource == resource,
        k.resource_id == id,
        k.source == _SOURCE,
    )


def _external_id(resource: str, id: ColumnElement[str]) -> ColumnElement[Any]:
    """A link without an externalId has the resource's id for its key (core/state.py)."""
    # Of an expression, not of the column: SQLite would walk the keys of the whole source in order to find the smallest.
    key = select(func.min(t.links.c.key + "")).where(_own_link(resource, id)).correlate(t.users, t.groups)
    return func.nullif(key.scalar_subquery(), id, type_=Text())


def visible() -> tuple[ColumnElement[bool], ...]:
    u = t.users.c
    gone = select(literal(1)).select_from(t.links).where(_own_link("user", u.id), t.links.c.stage == "deleted")
    linked = select(literal(1)).select_from(t.links).where(_own_link("user", u.id))
    return (
        u.status != "deleted",
        ~exists(gone.correlate(t.users)),
        or_(_EVERYTHING == 1, exists(linked.correlate(t.users))),
    )


def visible_group(g: Any) -> ColumnElement[bool]:
    """`g`: the columns of the groups."""
    return or_(_EVERYTHING == 1, g.source == _SOURCE)


@cache
def all_users() -> Select[Any]:
    u = t.users.c
    return (
        select(
            *(u.id, u.document, u.version, u.created_at, u.modified_at),
            _external_id("user", u.id).label("external_id"),
            literal("").label("source"),
        )
        .where(u.workspace == _WORKSPACE, *visible())
        .order_by(u.id)
    )


@cache
def user_by_id() -> Select[Any]:
    return all_users().where(t.users.c.id == bindparam("id", type_=Text()))


@cache
def all_groups() -> Select[Any]:
    g = t.groups.c
    return (
        select(
            *(g.id, g.document, g.version, g.created_at, g.modified_at, g.source),
            _external_id("group", g.id).label("external_id"),
        )
        .where(g.workspace == _WORKSPACE, visible_group(g))
        .order_by(g.id)
    )


@cache
def group_by_id() -> Select[Any]:
    return all_groups().where(t.groups.c.id == bindparam("id", type_=Text()))


def in_list(conn: Connection, ids: Iterable[str]) -> Select[Any]:
    """A list of any length as one parameter."""
    wanted = literal(orjson.dumps(sorted(set(ids))).decode(), Text())
    if conn.dialect.name == "sqlite":
        return select(func.json_each(wanted).table_valued("value").c.value)
    return select(func.jsonb_array_elements_text(cast(wanted, JSONB)).table_valued("value").c.value)


@cache
def groups_of_users() -> Select[Any]:
    e, g, m = t.effective_memberships.c, t.groups.c, t.memberships.c
    direct = exists().where(
        m.workspace == e.workspace, m.group_id == e.group_id, m.member == "user", m.member_id == e.user_id
    )
    return (
        select(e.user_id, e.group_id, g.display_name, direct.label("direct"))
        .join(t.groups, and_(g.workspace == e.workspace, g.id == e.group_id))
        .where(
            e.workspace == _WORKSPACE,
            e.user_id.in_(bindparam("users", expanding=True, type_=Text())),
            visible_group(g),
        )
        .order_by(e.user_id, e.group_id)
    )


@cache
def members_of_groups() -> Select[Any]:
    m, u, g = t.memberships.c, t.users.c, t.groups.alias("nested").c
    shared = (
        m.workspace == _WORKSPACE,
        m.group_id.in_(bindparam("groups", expanding=True, type_=Text())),
    )
    users = (
        select(m.group_id, m.member, m.member_id, u.user_name.label("display"))
        .join(t.users, and_(u.workspace == m.workspace, u.id == m.member_id))
        .where(*shared, m.member == "user", *visible())
    )
    nested = (
        select(m.group_id, m.member, m.member_id, g.display_name.label("display"))
        .join_from(t.memberships, g.id.table, and_(g.workspace == m.workspace, g.id == m.member_id))
        .where(*shared, m.member == "group", visible_group(g))
    )
    both = users.union(nested)  # one row however many sources state the membership
    return both.order_by(both.selected_columns.group_id, both.selected_columns.member_id)  # type: ignore[return-value]


# -- filters --------------------------------------------------------------------------------------------------------------


def pins(filter: Filter, keys: frozenset[str]) -> bool:
    """Whether a filter asks for one value of a unique key, so that at most one resource matches."""
    return bool(keys & _equals(filter.bound).keys())


def _equals(bound: Bound) -> dict[str, Any]:
    match bound:
        case Condition(op=Op.EQ):
            return {bound.attribute.path: bound.value}
        case And():
            return {path: value for term in bound.terms for path, value in _equals(term).items()}
        case _:
            return {}


def narrowed(filter: Filter, reader: Reader, resource: str, id: ColumnElement[str]) -> tuple[ColumnElement[bool], ...]:
    """What a filter implies of the ids it can match, said so that an index finds them: by externalId, e-mail address,
    group or member, alone or with other conditions, or several of them joined by `or`."""
    if pins(filter, frozenset({"id", "userName"})):
        return ()
    found = _matching_ids(filter.bound, reader, resource)
    return () if found is None else (id.in_(found),)


def _matching_ids(bound: Bound, reader: Reader, resource: str) -> Any | None:
    """A query for the ids of all that can match, read from an index; None if only looking at everything would tell."""
    match bound:
        case And():
            found = (_matching_ids(term, reader, resource) for term in bound.terms)
            return next((each for each in found if each is not None), None)
        case Or() if bound.terms:
            parts = [_matching_ids(term, reader, resource) for term in bound.terms]
            return None if any(part is None for part in parts) else parts[0].union(*parts[1:])  # type: ignore[union-attr]
        case Element():
            return _matching_ids(bound.term, reader, resource)
        case Condition(op=Op.EQ) if isinstance(bound.value, str):
            return _ids_by(bound.attribute.path, bound.value, reader, resource)
        case _:
            return None


def _ids_by(path: str, value: str, reader: Reader, resource: str) -> Select[Any] | None:
    u, g, k, x, w = t.users.alias().c, t.groups.alias().c, t.links.alias().c, t.emails.c, reader.workspace
    m, e = t.memberships.alias().c, t.effective_memberships.alias().c
    match resource, path:
        case _, "externalId":
            return select(k.resource_id).where(
                k.workspace == w, k.source == reader.source, k.resource == resource, k.key == value
            )
        case "user", "id":
            return select(u.id).where(u.workspace == w, u.id == value)
        case "user", "userName":
            return select(u.id).where(u.workspace == w, u.user_name_key == value, u.status != "deleted")
        case "user", "emails.value":
            return select(x.user_id).where(x.workspace == w, x.value == value[:EMAIL_KEY])
        case "user", "groups.value":
            return select(e.user_id).where(e.workspace == w, e.group_id == value)
        case "group", "id":
            return select(g.id).where(g.workspace == w, g.id == value)
        case "group", "displayName":
            return select(g.id).where(g.workspace == w, g.display_key == value)
        case "group", "members.value":
            return select(m.group_id).where(m.workspace == w, m.member.in_(("user", "group")), m.member_id == value)
        case _:
            return None


def _meta_columns(table: Any, name: str, url: str) -> dict[str, ColumnElement[Any]]:
    return {
        "id": table.c.id,
        "meta": literal(name),
        "meta.resourceType": literal(name),
        "meta.created": table.c.created_at,
        "meta.lastModified": table.c.modified_at,
        "meta.version": literal('W/"', Text()) + cast(table.c.version, Text()) + literal('"', Text()),
        "meta.location": literal(url, Text()) + table.c.id,
    }


def user_columns(reader: Reader) -> Columns:
    u = t.users.c
    e, g, m = t.effective_memberships.alias(), t.groups.alias(), t.memberships.alias()
    direct = exists().where(
        m.c.workspace == e.c.workspace,
        m.c.group_id == e.c.group_id,
        m.c.member == "user",
        m.c.member_id == e.c.user_id,
    )
    return {
        **_meta_columns(t.users, "User", reader.users_url),
        "userName": u.user_name_key,
        "externalId": _external_id("user", u.id),
        "groups": Rows(
            e.join(g, and_(g.c.workspace == e.c.workspace, g.c.id == e.c.group_id)),
            and_(e.c.workspace == u.workspace, e.c.user_id == u.id, visible_group(g.c)),
            {
                "value": e.c.group_id,
                "display": g.c.display_key,
                "$ref": literal(reader.groups_url, Text()) + e.c.group_id,
                "type": case((direct, "direct"), else_="indirect"),
            },
        ),
    }


def members_of(reader: Reader) -> Rows:
    """The members of a group as rows."""
    own = t.groups.c
    m, u, g, k = t.memberships.alias(), t.users.alias(), t.groups.alias(), t.links.alias().c
    table = m.outerjoin(
        u, and_(m.c.member == "user", u.c.workspace == m.c.workspace, u.c.id == m.c.member_id, u.c.status != "deleted")
    ).outerjoin(g, and_(m.c.member == "group", g.c.workspace == m.c.workspace, g.c.id == m.c.member_id))
    linked = (
        exists()
        .where(k.workspace == u.c.workspace, k.resource == "user", k.resource_id == u.c.id, k.source == _SOURCE)
        .correlate(u)
    )
    seen = or_(and_(u.c.id.is_not(None), or_(_EVERYTHING == 1, linked)), and_(g.c.id.is_not(None), visible_group(g.c)))
    url = case((m.c.member == "user", literal(reader.users_url, Text())), else_=literal(reader.groups_url, Text()))
    return Rows(
        table,
        # Both kinds are named so that the primary key leads to one member, whatever the size of the group.
        and_(
            m.c.workspace == own.workspace,
            m.c.group_id == own.id,
            m.c.member.in_(("user", "group")),
            seen,
        ),
        {
            "value": m.c.member_id,
            "type": m.c.member,
            "display": func.coalesce(u.c.user_name_key, g.c.display_key),
            "$ref": url + m.c.member_id,
        },
    )


def group_columns(reader: Reader) -> Columns:
    own = t.groups.c
    return {
        **_meta_columns(t.groups, "Group", reader.groups_url),
        "displayName": own.display_key,
        "externalId": _external_id("group", own.id),
        "members": members_of(reader),
    }
