"""What a SCIM filter asks of the store: the ids that an index finds for it, and the columns that it reads.

A filter on a column uses that column's index: a unique key is found, never searched for.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, Text, and_, case, cast, exists, literal, or_, select

from syncd.core.filter import And, Bound, Condition, Element, Filter, Op, Or
from syncd.core.resource import fold, name_key
from syncd.core.schema import ENTERPRISE_USER
from syncd.store import tables as t
from syncd.store.facts import EMAIL_KEY
from syncd.store.read_queries import EVERYTHING, GROUPS_BY_KEY, SOURCE, Reader, external_id, visible, visible_group
from syncd.store.search import Columns, Either, Led, Rows

USER_KEYS: Final = frozenset({"id", "userName", "externalId"})
GROUP_KEYS: Final = frozenset({"id", "externalId"})
_EMAIL: Final = "emails.value"
_MANAGER: Final = f"{ENTERPRISE_USER}:manager"


def pins(filter: Filter, keys: frozenset[str]) -> bool:
    """Whether a filter asks for one value of a unique key, so that at most one resource matches."""
    return bool(keys & _equals(filter.bound).keys())


def unique_key(filter: Filter | None) -> tuple[str, str] | None:
    """The attribute and the value, if a filter asks for one of a user's unique keys and for nothing else."""
    match filter.bound if filter is not None else None:
        case Condition(op=Op.EQ, value=str()) as asked if asked.attribute.path in USER_KEYS:
            return asked.attribute.path, str(asked.value)
        case _:
            return None


def indexed_key(filter: Filter | None) -> tuple[str, str] | None:
    """The same, or an e-mail address, which several users may have."""
    match filter.bound if filter is not None else None:
        case Element(term=Condition(op=Op.EQ, value=str() as value) as asked):
            # The index keeps the beginning of a longer one.
            return (_EMAIL, value) if asked.attribute.path == _EMAIL and len(value) < EMAIL_KEY else None
        case _:
            return unique_key(filter)


def indexed_group_key(filter: Filter | None) -> tuple[str, str] | None:
    """The attribute and the value, if a filter asks for one by which an index finds groups and for nothing else."""
    match filter.bound if filter is not None else None:
        case Condition(op=Op.EQ, value=str() as value) as asked if asked.attribute.path in GROUPS_BY_KEY:
            return asked.attribute.path, value
        case _:
            return None


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
    found = _matching_ids(filter.bound, reader, resource, few=True) or _matching_ids(filter.bound, reader, resource)
    # One union, however the conditions are bracketed: SQLite has no union within a union.
    return () if not found else (id.in_(found[0].union(*found[1:]) if len(found) > 1 else found[0]),)


def leads_to_few(filter: Filter, reader: Reader, resource: str) -> bool:
    """Whether it is narrowed by what few can have in common. Of a group everybody may be a member."""
    return bool(_matching_ids(filter.bound, reader, resource, few=True))


def _matching_ids(bound: Bound, reader: Reader, resource: str, few: bool = False) -> list[Select[Any]]:
    """Queries whose ids together are all that can match, read from an index; [] if only looking at everything would tell.
    `few`: or at as many as a group has members."""
    match bound:
        case And():
            return next(filter(None, (_matching_ids(term, reader, resource, few) for term in bound.terms)), [])
        case Or():
            parts = [_matching_ids(term, reader, resource, few) for term in bound.terms]
            return [query for part in parts for query in part] if all(parts) else []
        case Element():
            return _matching_ids(bound.term, reader, resource, few)
        case Condition(op=Op.EQ) if isinstance(bound.value, str):
            if few and bound.attribute.path == "groups.value":
                return []
            found = _ids_by(bound.attribute.path, bound.value, reader, resource)
            return [] if found is None else [found]
        case _:
            return []


@cache
def _narrowing() -> tuple[Any, ...]:
    """Tables under names of their own, which no query around this one has: it would take them for its rows."""
    named = (t.users, t.groups, t.links, t.memberships, t.effective_memberships)
    return tuple(table.alias(f"narrowed_{table.name}").c for table in named)


def _ids_by(path: str, value: str, reader: Reader, resource: str) -> Select[Any] | None:
    (u, g, k, m, e), x, w = _narrowing(), t.emails.c, reader.workspace
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
        "externalId": external_id("user", u.id),
        f"{_MANAGER}.$ref": Led((_MANAGER.lower(), "value"), lambda id: _url_of_manager(reader, id)),
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


def _url_of_manager(reader: Reader, id: ColumnElement[Any]) -> ColumnElement[Any]:
    """Of the manager who is there, as answers have it."""
    boss = t.users.alias("boss")
    found = select(literal(reader.users_url, Text()) + boss.c.id)
    found = found.where(boss.c.workspace == t.users.c.workspace, boss.c.id == id, *visible(users=boss))
    return found.correlate(t.users).scalar_subquery()


def members_of(reader: Reader) -> Rows:
    """The members of a group as rows."""
    own = t.groups.c
    m, u, g, k = t.memberships.alias(), t.users.alias(), t.groups.alias(), t.links.alias().c
    table = m.outerjoin(
        u, and_(m.c.member == "user", u.c.workspace == m.c.workspace, u.c.id == m.c.member_id, u.c.status != "deleted")
    ).outerjoin(g, and_(m.c.member == "group", g.c.workspace == m.c.workspace, g.c.id == m.c.member_id))
    linked = (
        exists()
        .where(k.workspace == u.c.workspace, k.resource == "user", k.resource_id == u.c.id, k.source == SOURCE)
        .correlate(u)
    )
    seen = or_(and_(u.c.id.is_not(None), or_(EVERYTHING == 1, linked)), and_(g.c.id.is_not(None), visible_group(g.c)))
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
            "display": Either(((u.c.user_name_key, name_key), (g.c.display_key, fold))),
            "$ref": url + m.c.member_id,
        },
    )


def group_columns(reader: Reader) -> Columns:
    own = t.groups.c
    return {
        **_meta_columns(t.groups, "Group", reader.groups_url),
        "displayName": own.display_key,
        "externalId": external_id("group", own.id),
        "members": members_of(reader),
    }
