"""Pages of lists: in which order, from where, and how many match in all.

Ordered by one attribute and then by id, in the same direction, so that pages neither overlap nor skip; without an attribute
by id. What has no value comes last, when descending first (RFC 7644 section 3.4.2.3). A page starts at a number, or behind a
position: the key and the id of the last row before it, so that a page far behind costs what the first one costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection, Select, and_, func, or_, select

from syncd.core.filter import Filter
from syncd.core.schema import Resolved
from syncd.store import filtering, raw
from syncd.store import read_queries as queries
from syncd.store import tables as t
from syncd.store.read_queries import Reader
from syncd.store.search import Columns, Dialect, compile_filter, sort_key

Key = str | int | float | None
Row = TypeVar("Row")
FAR: Final = 1000
_INSTANT: Final = "\x00t"  # no text holds a NUL
_DECIMAL: Final = "\x00d"


@dataclass(frozen=True, slots=True)
class Order:
    """`by` None: by id."""

    by: Resolved | None = None
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page ended. `key` is JSON; None: the row has no value to sort by."""

    key: Key
    id: str


@dataclass(frozen=True, slots=True)
class Window:
    """Which rows: `count` from the 1-based `start`; or, `keyset`, those behind `after`, None being the beginning.

    `total`: as counted before, to be told again instead of counted anew.
    """

    count: int
    start: int = 1
    keyset: bool = False
    after: Position | None = None
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """`more`: where it ended, if it was asked for by position and something follows."""

    total: int
    rows: tuple[Row, ...]
    more: Position | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """A kind of resource as it is listed: what is selected, where its comparable values are, who is asked for."""

    resource: str  # "user" | "group"
    query: Select[Any]
    table: sa.Table
    columns: Columns
    unique: frozenset[str]  # paths of which a value belongs to one resource at most


@lru_cache(256)  # readers are few, and to say it in SQLAlchemy's words takes longer than to ask it
def users(reader: Reader) -> Listed:
    return Listed("user", queries.all_users(), t.users, filtering.user_columns(reader), filtering.USER_KEYS)


@lru_cache(256)
def groups(reader: Reader) -> Listed:
    return Listed("group", queries.all_groups(), t.groups, filtering.group_columns(reader), filtering.GROUP_KEYS)


def is_near(
    listed: Listed,
    reader: Reader,
    filter: Filter | None,
    order: Order,
    window: Window,
    far: int,
    indexed: frozenset[str] = frozenset(),
) -> bool:
    """Whether an index leads to the page: it may be read without making others wait. `indexed`: paths that have one
    (store/indexes.py)."""
    narrow = filter is not None and (
        filtering.pins(filter, listed.unique | indexed) or filtering.leads_to_few(filter, reader, listed.resource)
    )
    ordered = order.by is None or (listed.resource == "user" and order.by.path == "userName")
    return narrow or (filter is None and ordered and window.start < far)


def page(
    conn: Connection, reader: Reader, listed: Listed, filter: Filter | None, order: Order, window: Window
) -> Page[Any]:
    """Rows of the database. Raises InvalidFilter, InvalidValue for what cannot be searched or sorted by."""
    bound = queries.of(reader)
    query = _filtered(conn, reader, listed, filter)
    if filter is not None and order.by is None and not window.keyset and filtering.pins(filter, listed.unique):
        found = conn.execute(query, bound).all()
        return Page(len(found), tuple(found[window.start - 1 : window.start - 1 + window.count]))
    key, id = _key(conn, listed, order), listed.table.c.id
    if key is not None:
        query = query.add_columns(key.label("sort_key"))
    rows = _rows(conn, query, key, id, order, window, bound)
    return Page(_total(conn, reader, [(listed, filter)], window, rows), *_cut(rows, window, key is not None))


def in_order(conn: Connection, reader: Reader, window: Window, descending: bool) -> Page[tuple[str, tuple[int, ...]]]:
    """(id, (version, graph, shown)) of all users in order of their ids, for who sees all of them.

    A place that is remembered is gone to by its id, so that a page far behind costs little more than the first one: a client
    that reads page after page always starts where it just ended.
    """
    memory, listed = reader.memory, (reader.workspace, reader.source, descending)
    after = window.after.id if window.after is not None else None
    skipped = 0 if window.keyset else window.start - 1
    known = memory.place_before(listed, window.start - 1) if memory is not None and skipped else None
    if known is not None:
        rows = _ids_in_order(conn, reader, window, descending, known[1], skipped - known[0])
        if not rows or known[2] != _counts(rows):
            known = None  # people came or went since
    if known is None:
        rows = _ids_in_order(conn, reader, window, descending, after, skipped)
    if not rows or not window.count:
        return Page(_all(conn, reader, "user") if window.total is None else window.total, ())
    cut = rows[: window.count]
    if memory is not None and not window.keyset:
        memory.keep_place(listed, skipped + len(cut), cut[-1][0], _counts(rows))
    more = Position(None, cut[-1][0]) if window.keyset and len(rows) > window.count else None
    total = rows[0][4] - rows[0][5] if window.total is None else window.total
    return Page(total, tuple((id, (version, graph, shown)) for id, version, graph, shown, _, _ in cut), more)


def _ids_in_order(
    conn: Connection, reader: Reader, window: Window, descending: bool, after: str | None, skipped: int
) -> Sequence[Sequence[Any]]:
    most = window.count + 1 if window.keyset and window.count else window.count
    bound = queries.of(reader) | {"most": most, "skipped": skipped} | ({} if after is None else {"after": after})
    return raw.rows(conn, queries.users_in_order(descending, after is not None), bound)


def _counts(rows: Sequence[Sequence[Any]]) -> tuple[int, ...]:
    """What moves whenever somebody takes another place: all users, and who of them are there for whom."""
    return rows[0][4], rows[0][5], rows[0][3]


def page_of_all(
    conn: Connection, reader: Reader, lists: Sequence[tuple[Listed, Filter | None, Order]], window: Window
) -> Page[tuple[str, str]]:
    """(resource, id) of several kinds in one order. Each has its own filter and `by`, None where it has no such value."""
    bound = queries.of(reader)
    keys = [_key(conn, listed, order) for listed, _, order in lists]
    kind = next((key.type for key in keys if key is not None), None)
    found = []
    for (listed, filter, _), key in zip(lists, keys, strict=True):
        query = _filtered(conn, reader, listed, filter).order_by(None)
        columns = [listed.table.c.id.label("id"), sa.literal(listed.resource, sa.Text()).label("resource")]
        if kind is not None:
            # What JSON holds has no type on SQLite, which needs none.
            nothing = sa.null() if isinstance(kind, sa.types.NullType) else sa.cast(sa.null(), kind)
            columns.append((nothing if key is None else key).label("sort_key"))
        found.append(query.with_only_columns(*columns))
    order = next((each for _, _, each in lists if each.by is not None), lists[0][2])
    every = sa.union_all(*found).subquery()
    sorted_by = None if kind is None else _in_order(conn, every.c.sort_key)
    rows = _rows(conn, select(every), sorted_by, every.c.id, order, window, bound)
    total = _total(conn, reader, [(listed, filter) for listed, filter, _ in lists], window, rows)
    cut, more = _cut(rows, window, kind is not None)
    return Page(total, tuple((row.resource, row.id) for row in cut), more)


def _filtered(conn: Connection, reader: Reader, listed: Listed, filter: Filter | None) -> Select[Any]:
    if filter is None:
        return listed.query
    columns = listed.table.c
    where = compile_filter(filter, dialect(conn), columns.search, listed.columns)
    return listed.query.where(where, *filtering.narrowed(filter, reader, listed.resource, columns.id))


def _key(conn: Connection, listed: Listed, order: Order) -> Any | None:
    if order.by is None or order.by.path == "id":
        return None
    return sort_key(order.by, dialect(conn), listed.table.c.search, listed.columns)


def _in_order(conn: Connection, column: Any) -> Any:
    """A column of the union, whose texts have lost their order of code points."""
    return sa.collate(column, "C") if dialect(conn) == "postgresql" and isinstance(column.type, sa.Text) else column


def _rows(
    conn: Connection, query: Select[Any], key: Any | None, id: Any, order: Order, window: Window, bound: dict[str, Any]
) -> Sequence[Any]:
    """The rows of the page; by position one more, if there is one."""
    if not window.count:
        return []
    query = query.order_by(None).order_by(*_ordering(key, id, order.descending))
    if not window.keyset:
        here = query.limit(window.count).offset(window.start - 1)
        if window.start > FAR and any(column is id for column in query.selected_columns):
            # What is selected beside the id, the database would work out for every row that it skips.
            ids = here.with_only_columns(id).correlate(None)
            here = query.where(id.in_(ids))
        return conn.execute(here, bound).all()
    if window.after is not None:
        query = query.where(_behind(key, id, order.descending, window.after))
    return conn.execute(query.limit(window.count + 1), bound).all()


def _ordering(key: Any | None, id: Any, descending: bool) -> tuple[Any, ...]:
    by_id = id.desc() if descending else id.asc()
    if key is None:
        return (by_id,)
    by_key = key.desc() if descending else key.asc()
    if _always_there(key):
        return (by_key, by_id)
    return (by_key.nulls_first() if descending else by_key.nulls_last(), by_id)


def _behind(key: Any | None, id: Any, descending: bool, after: Position) -> Any:
    ids = sa.literal(after.id, sa.Text())
    later = id < ids if descending else id > ids
    if key is None:
        return later
    if after.key is None:
        return or_(and_(key.is_(None), later), key.is_not(None)) if descending else and_(key.is_(None), later)
    value = _bound(after.key, key)
    if _always_there(key):
        # As one comparison, which an index in this order can start from.
        here, there = sa.tuple_(key, id), sa.tuple_(value, ids)
        return here < there if descending else here > there
    beyond = key < value if descending else key > value
    return or_(beyond, and_(key == value, later), *(() if descending else (key.is_(None),)))


def _always_there(key: Any) -> bool:
    column = key.left if isinstance(key, sa.BinaryExpression) else key  # as collated
    return isinstance(column, sa.Column) and isinstance(column.table, sa.Table) and not column.nullable


def _cut(rows: Sequence[Any], window: Window, keyed: bool) -> tuple[tuple[Any, ...], Position | None]:
    if not window.keyset or len(rows) <= window.count:
        return tuple(rows), None
    last = rows[window.count - 1]
    return tuple(rows[: window.count]), Position(_plain(last.sort_key) if keyed else None, last.id)


def _plain(value: Any) -> Key:
    match value:
        case datetime():
            return _INSTANT + value.isoformat()
        case Decimal():
            return _DECIMAL + str(value)
        case _:
            key: Key = value
            return key


def _bound(key: Key, column: Any) -> Any:
    if isinstance(key, str) and key.startswith(_INSTANT):
        return sa.literal(datetime.fromisoformat(key.removeprefix(_INSTANT)), column.type)
    if isinstance(key, str) and key.startswith(_DECIMAL):
        return sa.literal(Decimal(key.removeprefix(_DECIMAL)), sa.Numeric())
    return sa.literal(key, sa.Text()) if isinstance(key, str) else sa.literal(key)


def _total(
    conn: Connection,
    reader: Reader,
    lists: Sequence[tuple[Listed, Filter | None]],
    window: Window,
    rows: Sequence[Any],
) -> int:
    """How many match. Counted only where neither this page nor what is kept of all resources tells."""
    if window.total is not None:
        return window.total
    if not window.keyset and len(rows) < window.count and (rows or window.start == 1):
        return window.start - 1 + len(rows)  # the last page: everything before it was counted by its number
    if window.keyset and window.after is None and 0 < window.count >= len(rows):
        return len(rows)
    return sum(
        _all(conn, reader, listed.resource)
        if filter is None and not reader.own
        else conn.scalar(
            _filtered(conn, reader, listed, filter).with_only_columns(func.count()).order_by(None), queries.of(reader)
        )
        or 0
        for listed, filter in lists
    )


def _all(conn: Connection, reader: Reader, resource: str) -> int:
    c, k, u = t.totals.c, t.links.c, t.users.c
    total = conn.scalar(select(c.count).where(c.workspace == reader.workspace, c.resource == resource)) or 0
    if resource != "user":
        return total
    hidden = (
        select(func.count(func.distinct(u.id)))
        .select_from(t.links.join(t.users, and_(u.workspace == k.workspace, u.id == k.resource_id)))
        .where(k.workspace == reader.workspace, k.source == reader.source, k.resource == "user", k.stage == "deleted")
        .where(u.status != "deleted")
    )
    return total - (conn.scalar(hidden) or 0)


def dialect(conn: Connection) -> Dialect:
    return "sqlite" if conn.dialect.name == "sqlite" else "postgresql"
