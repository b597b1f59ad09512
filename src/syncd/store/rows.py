"""Row changes of a batch, collected and written table by table: one statement, compiled once, for each set of columns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from operator import itemgetter
from typing import Any

from sqlalchemy import BindParameter, Connection, Delete, Insert, Table, Update, bindparam, delete, insert, update
from sqlalchemy.dialects import postgresql, sqlite

from syncd.store import raw

FEW = 16  # rows that are written together: what one user comes to
Columns = tuple[str, ...]
Kept = dict[tuple[Table, Columns], list[dict[str, Any]]]
New = dict[tuple[Table, Columns], list[tuple[Any, ...]]]


class Rows:
    """Deletions first, then changes, then new rows, so that what one row gives up another may take."""

    def __init__(self, workspace: str) -> None:
        self.workspace = workspace
        self._inserts: New = defaultdict(list)
        self._updates: Kept = defaultdict(list)
        self._deletes: Kept = defaultdict(list)
        self._counts: dict[tuple[raw.Change, tuple[Any, ...]], dict[str, Any]] = {}

    def insert(self, table: Table, **values: Any) -> None:
        values["workspace"] = self.workspace
        self._inserts[table, tuple(values)].append(tuple(values.values()))

    def add(self, table: Table, columns: Columns, values: tuple[Any, ...]) -> None:
        """The same of what comes by the thousand: values of these columns, of which the last is the workspace."""
        self._inserts[table, columns].append(values)

    def extend(self, table: Table, columns: Columns, several: Sequence[tuple[Any, ...]]) -> None:
        if several:
            self._inserts[table, columns] += several

    def take_over(self, other: Rows, tables: Collection[Table]) -> None:
        """New rows of these tables, which the other does not write then."""
        for key in [key for key in other._inserts if key[0] in tables]:
            self._inserts[key] += other._inserts.pop(key)

    def update(self, table: Table, **values: Any) -> None:
        """These columns of a row, found by its primary key; rows with the same columns are written together."""
        values["workspace"] = self.workspace
        self._updates[table, tuple(values)].append(values)

    def delete(self, table: Table, **key: Any) -> None:
        key["workspace"] = self.workspace
        self._deletes[table, tuple(key)].append(key)

    def count(self, conn: Connection, table: Table, key: Mapping[str, Any], deltas: Mapping[str, int]) -> None:
        """Add to the numbers of a row, which is made if it is not there: at the end, since many wait for such rows."""
        statement = _count(table, tuple(key), tuple(deltas), conn.dialect.name)
        row = self._counts.setdefault((statement, tuple(key.values())), {**key, **dict.fromkeys(deltas, 0)})
        for name, delta in deltas.items():
            row[name] += delta

    def write(self, conn: Connection, last: bool = False) -> None:
        """`last`: nothing else will be written in this transaction."""
        if conn.dialect.name == "sqlite" and self._few():
            raw.changes(conn, [*self._statements(), *self._counted()])
            return
        if self._apart() and len(self._counts) <= 1:
            raw.changes(conn, [*self._counted(), *self._statements()], last)
            return
        self._write_apart(conn)
        for statement, row in self._counted():
            raw.change(conn, statement, [row])

    def _counted(self) -> Iterator[tuple[raw.Change, dict[str, Any]]]:
        return ((statement, row) for (statement, _), row in self._counts.items())

    def _write_apart(self, conn: Connection) -> None:
        if self._apart():
            raw.changes(conn, [*self._statements()])
            return
        for (table, columns), rows in self._deletes.items():
            raw.change(conn, _delete(table, columns), rows)
        for (table, columns), rows in self._updates.items():
            raw.change(conn, _update(table, columns), rows)
        for (table, columns), new in self._inserts.items():
            if columns[0] == "group_id":  # found by it, so that one after the other is at the same place
                new.sort(key=itemgetter(0))
            raw.add(conn, _insert(table, columns), columns, new)

    def _few(self) -> bool:
        kept = (self._deletes.values(), self._updates.values(), self._inserts.values())
        return sum(len(rows) for each in kept for rows in each) <= FEW

    def _apart(self) -> bool:
        """Few rows, no two of them the same."""
        deleted, updated = ({table for table, _ in kept} for kept in (self._deletes, self._updates))
        inserted = {table for table, _ in self._inserts}
        return (
            self._few()
            and sum(len(rows) for rows in self._updates.values()) == len(updated)
            and not (deleted & (updated | inserted) or updated & inserted)
        )

    def _statements(self) -> Iterator[tuple[raw.Change, dict[str, Any]]]:
        for (table, columns), rows in self._deletes.items():
            yield from ((_delete(table, columns), row) for row in rows)
        for (table, columns), rows in self._updates.items():
            yield from ((_update(table, columns), row) for row in rows)
        for (table, columns), new in self._inserts.items():
            yield from ((_insert(table, columns), dict(zip(columns, row, strict=True))) for row in new)


@cache
def _insert(table: Table, columns: Columns) -> Insert:
    return insert(table).values({name: _value(table, name) for name in columns})


@cache
def _update(table: Table, columns: Columns) -> Update:
    keys = [name for name in columns if name in table.primary_key.columns]
    found = (table.c[name] == _value(table, name) for name in keys)
    new = {name: _value(table, name) for name in columns if name not in keys}
    return update(table).where(*found).values(new)


@cache
def _delete(table: Table, columns: Columns) -> Delete:
    return delete(table).where(*(table.c[name] == _value(table, name) for name in columns))


def _value(table: Table, column: str) -> BindParameter[Any]:
    return bindparam(column, type_=table.c[column].type)


def upsert(
    conn: Connection, table: Table, key: Mapping[str, Any], values: Mapping[str, Any], keep: bool = False
) -> bool:
    """Insert, or update by primary key; `keep`: leave an existing row as it is. Returns whether anything was written."""
    statement = _upsert(table, tuple(key), tuple(values), keep, conn.dialect.name)
    if keep:
        return bool(raw.rows(conn, statement, {**key, **values}))
    raw.change(conn, statement, [{**key, **values}])
    return True


@cache
def _upsert(table: Table, key: Columns, values: Columns, keep: bool, dialect: str) -> Any:
    made = sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)
    made = made.values({name: _value(table, name) for name in (*key, *values)})
    if keep:
        return made.on_conflict_do_nothing().returning(*table.primary_key)
    return made.on_conflict_do_update(index_elements=list(key), set_={name: made.excluded[name] for name in values})


def count(conn: Connection, table: Table, key: Mapping[str, Any], deltas: Mapping[str, int]) -> None:
    """Add to the numbers of a row, which is made if it is not there."""
    raw.change(conn, _count(table, tuple(key), tuple(deltas), conn.dialect.name), [{**key, **deltas}])


@cache
def _count(table: Table, key: Columns, numbers: Columns, dialect: str) -> Insert:
    made = sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)
    made = made.values({name: _value(table, name) for name in (*key, *numbers)})
    sums = {name: table.c[name] + made.excluded[name] for name in numbers}
    return made.on_conflict_do_update(index_elements=list(key), set_=sums)


@cache
def ignoring(table: Table, columns: Columns, dialect: str) -> Insert:
    """New rows, but for those that are there."""
    made = sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)
    return made.values({name: _value(table, name) for name in columns}).on_conflict_do_nothing()
