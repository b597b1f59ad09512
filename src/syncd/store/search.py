"""A bound filter as SQL over the `search` column, meaning exactly what core/filter.py means in memory; and what to sort by.

The column holds the search view (core/resource.py) as JSON: TEXT on SQLite, JSONB on PostgreSQL. Texts are ordered by
code point on both (`COLLATE "C"`), as Python orders them. Every value is a bound parameter; no LIKE, so no escaping.
SQL's NULL stands for "no match" and is made false where it is negated, the only place where the difference shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, TypeAlias, assert_never

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from syncd.core.filter import And, Bound, Condition, Element, Filter, Not, Op, Or
from syncd.core.schema import Resolved, Type
from syncd.errors import InvalidFilter, InvalidValue

Dialect: TypeAlias = Literal["sqlite", "postgresql"]
Sql: TypeAlias = sa.ColumnElement[Any]
Keys: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """A multi-valued attribute kept as rows of another table, such as `members`.

    `table` is what to select from, `of` ties a row to the outer resource, `columns` hold the comparable values by
    canonical sub-attribute name: `Rows(m, m.c.group_id == groups.c.id, {"value": m.c.member_id})`. Hand in an alias
    of a table that the outer query reads too.
    """

    table: sa.FromClause
    of: sa.ColumnElement[bool]
    columns: Mapping[str, Sql | Either]


@dataclass(frozen=True, slots=True)
class Either:
    """A text that stands in one of several columns, such as what a member is called; the filter's is made comparable with
    what each of them holds."""

    columns: tuple[tuple[Sql, Callable[[str], str]], ...]


@dataclass(frozen=True, slots=True)
class Led:
    """What another text leads to that the search view keeps under `by`: the URL of the user whose id it is."""

    by: Keys
    to: Callable[[Sql], Sql]


# By canonical path. A column holds comparable values (resource.comparable): folded text, or a DateTime for a dateTime.
Columns: TypeAlias = Mapping[str, "Sql | Rows | Either | Led"]


def compile_filter(filter: Filter, dialect: Dialect, search: Sql, columns: Columns | None = None) -> Sql:
    """The WHERE of a filter over the JSON column `search`.

    An attribute in `columns` is read there and nowhere else, so that an index serves it. Raises InvalidFilter for a
    sub-attribute of Rows that has no column there.
    """
    json = _Sqlite(search) if dialect == "sqlite" else _Postgresql(search)
    return _compile(filter.bound, json, columns or {})


def compile_element(filter: Filter, dialect: Dialect, path: str, rows: Rows) -> Sql:
    """The WHERE over the rows themselves of the condition within `path[...]` (core.filter.parse_element)."""
    columns = {f"{path}.{name}": column for name, column in rows.columns.items()}
    return _compile(filter.bound, _Sqlite(None) if dialect == "sqlite" else _Postgresql(None), columns)


def _compile(bound: Bound, json: _Json, columns: Columns, negated: bool = False) -> Sql:
    match bound:
        case And() | Or():
            # SQLite's parser has a stack of 100. A term in front costs one place for its bracket, a later one three, so
            # the deepest goes first; and `not` goes down to the comparisons (De Morgan).
            if not bound.terms:
                return sa.true() if isinstance(bound, And) is not negated else sa.false()
            terms = (_compile(term, json, columns, negated) for term in sorted(bound.terms, key=_depth, reverse=True))
            return sa.and_(*terms) if isinstance(bound, And) is not negated else sa.or_(*terms)
        case Not():
            return _compile(bound.term, json, columns, not negated)
        case Element():
            found = _element(bound, json, columns)
            return ~found if negated else found
        case Condition():
            found = _condition(bound, json, columns)
            return sa.not_(sa.func.coalesce(found, sa.false(), type_=sa.Boolean())) if negated else found
        case _:
            assert_never(bound)


def _depth(bound: Bound) -> int:
    match bound:
        case And() | Or():
            return 1 + max((_depth(term) for term in bound.terms), default=0)
        case Not() | Element():
            return 1 + _depth(bound.term)
        case Condition():
            return 0
        case _:
            assert_never(bound)


def _element(bound: Element, json: _Json, columns: Columns) -> Sql:
    path = bound.attribute.path
    rows = columns.get(path)
    if isinstance(rows, Rows):
        inner = {f"{path}.{name}": column for name, column in rows.columns.items()}
        return _exists(rows.table, rows.of, _compile(bound.term, json.without_value(), inner))
    table, one = json.elements(bound.keys)
    return _exists(table, _compile(bound.term, one, {}))


def _condition(bound: Condition, json: _Json, columns: Columns) -> Sql:
    column = columns.get(bound.attribute.path)
    if isinstance(column, Rows):
        # `members pr`; any other condition on rows is inside an Element.
        return _exists(column.table, column.of)
    if isinstance(column, Either):
        path, text = bound.attribute.path, bound.value
        asked = (
            (one, replace(bound, value=made(text) if isinstance(text, str) else text)) for one, made in column.columns
        )
        return sa.or_(*(_condition(condition, json, {path: one}) for one, condition in asked))
    if isinstance(column, Led):
        column = column.to(json.value(column.by, Type.STRING))
    if column is None and json.node is None:
        raise InvalidFilter(f"Invalid filter: {bound.attribute.path} cannot be searched.")
    if bound.op is Op.PR:
        return json.present(bound.keys) if column is None else column.is_not(None)
    kind = bound.attribute.attribute.type
    if column is None:
        return _compare(json, json.value(bound.keys, kind), bound, json.literal(bound.value, kind))
    by_clock = kind is Type.DATETIME and column.type.python_type is datetime
    value = datetime.fromisoformat(str(bound.value)) if by_clock else bound.value
    found = _compare(json, column, bound, sa.literal(value, column.type))
    if bound.op is Op.SW and value:
        # A range says the same to an index. There are texts behind every prefix but those of the last code point.
        found = sa.and_(found, json.ordered(column) >= sa.literal(value, column.type))
        if (after := _after(str(value))) is not None:
            found = sa.and_(found, json.ordered(column) < sa.literal(after, column.type))
    return found


def _after(prefix: str) -> str | None:
    """The first text, by code points, behind all that begin with `prefix`."""
    kept = prefix.rstrip("\U0010ffff")
    if not kept:
        return None
    following = ord(kept[-1]) + 1
    return kept[:-1] + chr(0xE000 if 0xD800 <= following <= 0xDFFF else following)


def _compare(json: _Json, left: Sql, condition: Condition, right: Sql) -> Sql:
    text = condition.value if isinstance(condition.value, str) else ""
    match condition.op:
        case Op.EQ:
            # Without COLLATE: equality is by code point anyway, and a plain index serves it.
            return left == right
        case Op.CO:
            return json.position(left, right) > 0
        case Op.SW:
            return sa.func.substr(left, 1, len(text), type_=sa.Text()) == right
        case Op.EW:
            return json.ending(left, len(text)) == right if text else left.is_not(None)
        case Op.GT:
            return json.ordered(left) > right
        case Op.GE:
            return json.ordered(left) >= right
        case Op.LT:
            return json.ordered(left) < right
        case Op.LE:
            return json.ordered(left) <= right
        case Op.NE | Op.PR:
            raise AssertionError(f"{condition.op} is not compared")
        case _:
            assert_never(condition.op)


def _exists(table: sa.FromClause, *where: Sql) -> Sql:
    return sa.exists(sa.select(sa.literal_column("1")).select_from(table).where(*where))


SORTED_BY = 200  # characters of a text that has no column: more would not fit into a cursor


def sort_key(attribute: Resolved, dialect: Dialect, search: Sql, columns: Columns) -> Sql:
    """What resources are sorted by: the comparable value of a single-valued attribute; of a multi-valued one that of the
    primary value or else of the first (RFC 7644 section 3.4.2.3). NULL where there is none.

    `attribute` is simple, or a list of plain values. Raises InvalidValue for what cannot be sorted by.
    """
    json = _Sqlite(search) if dialect == "sqlite" else _Postgresql(search)
    rows = columns.get(attribute.top)
    if isinstance(rows, Rows):
        column = rows.columns.get(attribute.attribute.name)
        if column is None:
            raise InvalidValue(f"sortBy: {attribute.path} cannot be sorted by")
        if isinstance(column, Either):
            column = sa.func.coalesce(*(one for one, _ in column.columns))
        ordered = next(each for each in rows.columns.values() if not isinstance(each, Either))
        first = sa.select(column).select_from(rows.table).where(rows.of).order_by(ordered)
        return json.ordered(first.limit(1).scalar_subquery())
    known = columns.get(attribute.path)
    if isinstance(known, Led):
        known = known.to(json.value(known.by, Type.STRING))
    if known is not None and not isinstance(known, Rows | Either):
        return json.ordered(known)
    kind, keys = attribute.attribute.type, attribute.search_keys
    if attribute.attribute.multi_valued:
        found = json.first(keys, (), kind)
    elif attribute.parent is not None and attribute.parent.multi_valued:
        found = json.first(keys[:1], keys[1:], kind)
    else:
        found = json.value(keys, kind)
    if kind in (Type.INTEGER, Type.DECIMAL, Type.BOOLEAN):
        return found
    return json.ordered(sa.func.substr(found, 1, SORTED_BY, type_=sa.Text()))


@dataclass(frozen=True, slots=True)
class _Sqlite:
    """A JSON value, the search view or an element of it, and how SQLite reads it.

    `keys` lead to a part of it, () is itself. `node` None stands for rows, which have columns only.
    """

    node: Sql | None

    def without_value(self) -> _Sqlite:
        return _Sqlite(None)

    def present(self, keys: Keys) -> Sql:
        return sa.func.json_type(self.node, _sqlite_path(keys)).is_not(None)

    def value(self, keys: Keys, kind: Type) -> Sql:
        # An element that is itself a text comes from json_each as that text, which is no JSON to extract from.
        if not keys and self.node is not None:
            return self.node
        return sa.func.json_extract(self.node, _sqlite_path(keys))

    def literal(self, value: Any, kind: Type) -> Sql:
        return sa.literal(value)

    def elements(self, keys: Keys) -> tuple[sa.FromClause, _Sqlite]:
        rows = sa.func.json_each(self.node, _sqlite_path(keys)).table_valued("value")
        return rows, _Sqlite(rows.c.value)

    def first(self, keys: Keys, sub: Keys, kind: Type) -> Sql:
        rows = sa.func.json_each(self.node, _sqlite_path(keys)).table_valued("key", "value", "type")
        # Asked of a text that is no JSON, json_extract would fail.
        element = sa.case((rows.c.type == "object", rows.c.value))
        primary = sa.func.coalesce(sa.func.json_extract(element, '$."primary"'), 0)
        part = _Sqlite(element if sub else rows.c.value).value(sub, kind)
        return sa.select(part).select_from(rows).order_by(primary.desc(), rows.c.key).limit(1).scalar_subquery()

    def ordered(self, value: Sql) -> Sql:
        return value

    def position(self, text: Sql, part: Sql) -> Sql:
        return sa.func.instr(text, part)

    def ending(self, text: Sql, length: int) -> Sql:
        return sa.func.substr(text, -length, type_=sa.Text())


@dataclass(frozen=True, slots=True)
class _Postgresql:
    """The same for PostgreSQL's JSONB."""

    node: Sql | None

    def without_value(self) -> _Postgresql:
        return _Postgresql(None)

    def _part(self, keys: Keys) -> Sql:
        part: Sql = sa.type_coerce(self.node, JSONB())
        for key in keys:
            part = part.op("->", return_type=JSONB())(_in_the_text(key))
        return part

    def present(self, keys: Keys) -> Sql:
        return self._part(keys).is_not(None)

    def value(self, keys: Keys, kind: Type) -> Sql:
        if keys:
            text = self._part(keys[:-1]).op("->>", return_type=sa.Text())(_in_the_text(keys[-1]))
        else:
            text = self._part(()).op("#>>", return_type=sa.Text())(sa.literal([], ARRAY(sa.Text())))
        if kind in (Type.INTEGER, Type.DECIMAL):
            return sa.case((sa.func.jsonb_typeof(self._part(keys)) == "number", sa.cast(text, sa.Numeric())))
        return text

    def literal(self, value: Any, kind: Type) -> Sql:
        match value:
            case bool():
                return sa.literal("true" if value else "false", sa.Text())
            case int() | float():
                return sa.literal(Decimal(str(value)), sa.Numeric())
            case _:
                return sa.literal(value, sa.Text())

    def elements(self, keys: Keys) -> tuple[sa.FromClause, _Postgresql]:
        part = self._part(keys)
        # Of a scalar the function would raise; of NULL it has no rows.
        listed = sa.case((sa.func.jsonb_typeof(part) == "array", part))
        rows = sa.func.jsonb_array_elements(listed).table_valued(sa.column("value", JSONB()))
        return rows, _Postgresql(rows.c.value)

    def first(self, keys: Keys, sub: Keys, kind: Type) -> Sql:
        part = self._part(keys)
        listed = sa.case((sa.func.jsonb_typeof(part) == "array", part))
        listing = sa.func.jsonb_array_elements(listed).table_valued(sa.column("value", JSONB()), with_ordinality="n")
        rows = listing.render_derived()
        element = _Postgresql(rows.c.value)
        primary = sa.func.coalesce(element.value(("primary",), Type.BOOLEAN), "false")
        query = sa.select(element.value(sub, kind)).select_from(rows)
        return query.order_by((primary == "true").desc(), rows.c.n).limit(1).scalar_subquery()

    def ordered(self, value: Sql) -> Sql:
        return sa.collate(value, "C") if isinstance(value.type, sa.String) else value

    def position(self, text: Sql, part: Sql) -> Sql:
        return sa.func.strpos(text, part)

    def ending(self, text: Sql, length: int) -> Sql:
        return sa.func.right(text, length, type_=sa.Text())


_Json: TypeAlias = _Sqlite | _Postgresql


def _sqlite_path(keys: Keys) -> sa.ColumnElement[str]:
    return _in_the_text("$" + "".join(f'."{key}"' for key in keys))


def _in_the_text(key: str) -> sa.ColumnElement[str]:
    """Of a schema, never a client's: no parameter, so that the databases know an index by it (store/indexes.py)."""
    return sa.literal_column("'" + key.replace("'", "''") + "'", sa.Text())


def one_value(attribute: Resolved, dialect: Dialect) -> Sql:
    """The comparable value of a single-valued attribute as every filter on it reads it, of a column named `search`."""
    column = sa.column("search", sa.Text() if dialect == "sqlite" else JSONB())
    json = _Sqlite(column) if dialect == "sqlite" else _Postgresql(column)
    return json.value(attribute.search_keys, attribute.attribute.type)
