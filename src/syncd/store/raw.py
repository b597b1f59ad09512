"""Hot statements: compiled once, and executed by the driver itself instead of through SQLAlchemy's layers.

What comes back is what the driver makes of a row, so a statement that is used here selects texts, numbers and bytes only
(an instant is its microseconds; a truth value is to be taken as such, since SQLite has numbers for it). The values go in as
parameters by the names that the statement gives them. A connection of another driver gets the same statement through
SQLAlchemy. What a driver raises is raised as SQLAlchemy raises it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final, NoReturn

import orjson
import structlog
from sqlalchemy import CompoundSelect, Connection, Delete, Dialect, Insert, Select, Update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.visitors import cloned_traverse
from sqlalchemy.util import await_only

log = structlog.get_logger()
Query = Select[Any] | CompoundSelect[Any]
Change = Insert | Update | Delete
READING: Final = "syncd_reading"  # the execution option of a connection on which nothing is written
# In `Connection.info` while a transaction has changed groups: when it is rolled back, others are given the count that it had.
MOVED: Final = "syncd_groups_moved"
# There, what writes the rows that are held back, before anything else is read or written (store/postponed.py).
PENDING: Final = "syncd_pending"
LASTS: Final = "syncd_lasts"  # there, whether what is done will be committed, and is no rehearsal
AGAIN: Final = "syncd_again"  # there, whether all of the transaction can be undone and done again
_STALE_PLAN: Final = "InvalidCachedStatementError"  # of asyncpg: a table was altered since the statement was prepared
_AGAIN: Final = 5  # times that locks are taken anew because they would be in the wrong order
_COPIED: Final = 50  # rows from which on PostgreSQL's COPY is cheaper than as many statements
_PLACE: Final = re.compile(r"\$(\d+)")  # a parameter of asyncpg; the statements have no texts in them
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.:-]{1,200}")  # a text that means the same between quotes


class Crossing(Exception):
    """Locks are needed that come before those that this transaction has (store/locking.py): it is to be undone, and done again
    after `first`."""

    def __init__(self, first: Callable[[Connection], None]) -> None:
        super().__init__("locks are needed in another order")
        self.first = first


class Places:
    """What stands where in a statement: for each place the name of its parameter, and what makes of the value what the
    driver takes, if anything has to."""

    __slots__ = ("_get", "_made", "each", "names")

    def __init__(self, names: Sequence[str], made: Mapping[str, Callable[[Any], Any] | None]) -> None:
        self.names = tuple(names)
        self.each = tuple((name, made[name]) for name in names)
        self._get: Callable[[Mapping[str, Any]], Sequence[Any]]
        match self.names:
            case ():
                self._get = lambda bound: ()
            case (one,):
                self._get = lambda bound: (bound[one],)
            case _:
                self._get = itemgetter(*self.names)
        self._made = tuple((at, how) for at, (_, how) in enumerate(self.each) if how is not None)

    def values(self, bound: Mapping[str, Any]) -> list[Any]:
        found = list(self._get(bound))
        for at, how in self._made:
            found[at] = how(found[at])
        return found


@lru_cache(512)  # the statements are made once (store/read_queries.py), and so are the dialects
def _compiled(query: Query | Change, dialect: Dialect) -> tuple[str, Places]:
    """The text; and for each place in it the name of the parameter, and what makes of its value what the driver takes.

    What does not change stands in the text itself, so that a plan made without knowing the parameters finds the partial
    indexes (`stage = 'deleted'`) too.
    """

    def in_the_text(parameter: Any) -> None:
        parameter.literal_execute, parameter.required = parameter.value is not None, False

    fixed = cloned_traverse(query, {}, {"bindparam": in_the_text})
    compiled = fixed.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    assert isinstance(compiled, SQLCompiler)
    taken = {name: bind.type for name, bind in compiled.binds.items() if bind.value is None}
    made = {name: type.dialect_impl(dialect).bind_processor(dialect) for name, type in taken.items()}
    # psycopg names its parameters, the others count them.
    places = compiled.positiontup if compiled.positiontup is not None else made
    return str(compiled), Places([*places], made)


def settle(conn: Connection) -> None:
    """Write what is held back."""
    if (write := conn.info.pop(PENDING, None)) is not None:
        write()


def beforehand(
    conn: Connection, query: Query, bound: Mapping[str, Any], apart: bool = False
) -> Sequence[Sequence[Any]]:
    """The same for what needs no transaction at PostgreSQL yet: nothing was locked or written, and it locks nothing."""
    if conn.dialect.driver != "asyncpg" or conn.connection.dbapi_connection._transaction is not None:  # type: ignore[union-attr]
        return rows(conn, query, bound, apart)
    text, places = _compiled(query, conn.dialect)
    return _fetched(conn, text, places.values(bound), begin=False)


def locked(conn: Connection, query: Query, table: str, workspace: str, id: str) -> None:
    """Lock one row, by `query` with its parameters; on asyncpg in the same round trip as BEGIN where this comes first."""
    if not _first(conn, workspace, id):
        rows(conn, query, _named(workspace, id))
        return
    _begun(conn, f"SELECT 1 FROM {table} WHERE workspace = '{workspace}' AND id = '{id}' FOR UPDATE")  # noqa: S608 - plain texts


def locked_after(conn: Connection, before: Query, left: Query, query: Query, workspace: str, id: str) -> None:
    """The same with other rows locked `before` it. `left`: locks, without waiting, what has become one of these while the row
    was waited for, and finds what others have of it: then all is begun again in the right order."""
    bound = _named(workspace, id)
    if not _first(conn, workspace, id):
        for each in (before, query):
            rows(conn, each, bound)
        return
    in_order = "; ".join(_written_out(conn, each, bound) for each in (before, query))
    for _ in range(_AGAIN):
        if _begun(conn, f"{in_order}; {_written_out(conn, left, bound)}") == "SELECT 0":
            return
        await_only(_driver(conn).execute("ROLLBACK"))
    _begun(conn, in_order)


def _first(conn: Connection, workspace: str, id: str) -> bool:
    """Whether asyncpg's transaction has yet to begin, and these texts mean the same between quotes."""
    adapted: Any = conn.connection.dbapi_connection
    known = conn.dialect.driver == "asyncpg" and adapted._transaction is None
    return bool(known and _PLAIN.fullmatch(workspace) and _PLAIN.fullmatch(id))


def _named(workspace: str, id: str) -> dict[str, str]:
    return {"workspace": workspace, "ids": orjson.dumps([id]).decode()}


def _begun(conn: Connection, text: str) -> str:
    """BEGIN and these statements in one round trip. Returns what the last of them did, such as `SELECT 1`."""
    adapted: Any = conn.connection.dbapi_connection
    adapted._transaction = _Begun(_driver(conn))
    try:
        return str(await_only(_driver(conn).execute(f"BEGIN; {text}")))
    except Exception as exc:
        _raise(conn, text, exc)


def _written_out(conn: Connection, query: Query, bound: Mapping[str, str]) -> str:
    """A statement with plain texts in the place of its parameters."""
    text, places = _compiled(query, conn.dialect)
    values = places.values(bound)
    return _PLACE.sub(lambda found: f"'{values[int(found[1]) - 1]}'", text)


class _Begun:
    """A transaction that was begun by a statement of ours, as SQLAlchemy's connection ends it."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    async def commit(self) -> None:
        await self._driver.execute("COMMIT")

    async def rollback(self) -> None:
        await self._driver.execute("ROLLBACK")


def rows(conn: Connection, query: Query, bound: Mapping[str, Any], apart: bool = False) -> Sequence[Sequence[Any]]:
    """All rows of a statement that is made once. `bound`: its parameters by name. `apart`: it asks about nothing that may be
    held back."""
    if not apart:
        settle(conn)
    driver, begun = conn.dialect.driver, conn.in_transaction()
    if driver not in ("pysqlite", "asyncpg") or not (begun or _only_read(conn)):
        return conn.execute(query, dict(bound)).all()
    text, places = _compiled(query, conn.dialect)
    values = places.values(bound)
    if begun:
        return _in_transaction(conn, driver, text, values)
    try:
        if driver == "asyncpg":
            found: Sequence[Sequence[Any]] = await_only(_driver(conn).fetch(text, *values))
        else:
            found = _driver(conn).execute(text, values).fetchall()
        return found
    except OSError:  # no answer within the time there is: asking again would take as long
        raise
    except Exception as exc:  # of any kind a driver has: SQLAlchemy asks once more, so that it is raised as ever
        log.debug("raw_statement_failed", why=type(exc).__name__)
        return conn.execute(query, dict(bound)).all()


def one(conn: Connection, query: Query, bound: Mapping[str, Any]) -> Any:
    """The first value of the first row; None if there is no row."""
    found = rows(conn, query, bound)
    return found[0][0] if found else None


def change(conn: Connection, statement: Change, bound: Sequence[Mapping[str, Any]]) -> None:
    """A statement that writes, once for each of `bound`, within a transaction."""
    settle(conn)
    text, places = _compiled(statement, conn.dialect)
    driver = conn.dialect.driver
    if driver not in ("pysqlite", "asyncpg"):
        conn.exec_driver_sql(text, [dict(zip(places.names, places.values(each), strict=True)) for each in bound])
    elif len(bound) == 1:
        _in_transaction(conn, driver, text, places.values(bound[0]))
    else:
        _in_transaction(conn, driver, text, [places.values(each) for each in bound], many=True)


def add(conn: Connection, statement: Insert, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """New rows, their values in the order of `columns`."""
    driver = conn.dialect.driver
    copied = driver == "psycopg" and len(rows) >= _COPIED
    if len(rows) == 1 or not (copied or driver in ("pysqlite", "asyncpg")):
        change(conn, statement, [dict(zip(columns, row, strict=True)) for row in rows])
        return
    settle(conn)
    text, places = _compiled(statement, conn.dialect)
    taken = list(zip(*rows, strict=True))
    parts = [_made(made, taken[columns.index(name)]) for name, made in places.each]
    made = zip(*parts, strict=True)
    if copied:
        _copy(conn, statement.table.name, places.names, made)
    else:
        _in_transaction(conn, driver, text, list(made), many=True)


def _copy(conn: Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """By psycopg, in the transaction of the connection: a third of what the same rows cost as statements."""
    assert conn.in_transaction()
    quoted = ", ".join(map(conn.dialect.identifier_preparer.quote, columns))
    text = f"COPY {table} ({quoted}) FROM STDIN"
    try:
        with _driver(conn).cursor() as cursor, cursor.copy(text) as copy:
            for row in rows:
                copy.write_row(row)
    except conn.dialect.loaded_dbapi.Error as exc:
        raise _as_sqlalchemy(conn, text, exc) from exc


def _made(made: Callable[[Any], Any] | None, values: Sequence[Any]) -> Sequence[Any]:
    """Values of one column as the driver takes them; what stands in all rows is made once."""
    if made is None:
        return values
    first = values[0]
    return [made(first)] * len(values) if all(each is first for each in values) else [made(each) for each in values]


def changes(conn: Connection, parts: Sequence[tuple[Change, Mapping[str, Any]]], last: bool = False) -> None:
    """Statements that write, one after the other, each once; by asyncpg all of them in one round trip.

    There they are parts of one statement, which see nothing of each other: no two may be about the same row. The first part
    is done last (ExecPostprocessPlan). `last`: nothing else is written in this transaction; then a statement needs none.
    """
    settle(conn)
    driver = conn.dialect.driver
    if driver == "pysqlite":
        dialect, execute = conn.dialect, _driver(conn).execute
        text = ""
        try:
            for statement, bound in parts:
                text, places = _compiled(statement, dialect)
                execute(text, places.values(bound))
        except dialect.loaded_dbapi.Error as exc:
            raise _as_sqlalchemy(conn, text, exc) from exc
        return
    if driver != "asyncpg" or len(parts) < 2:
        for statement, bound in parts:
            change(conn, statement, [bound])
        return
    compiled = [_compiled(statement, conn.dialect) for statement, _ in parts]
    values = [value for (_, places), (_, bound) in zip(compiled, parts, strict=True) for value in places.values(bound)]
    joined = _joined(tuple((text, len(places.names)) for text, places in compiled))
    _fetched(conn, joined, values, begin=not (last and conn.info.get(LASTS)))


@lru_cache(1024)
def _joined(parts: tuple[tuple[str, int], ...]) -> str:
    """One statement of several, each with how many parameters it has; those are counted on."""
    named: list[str] = []
    first = 0
    for text, n in parts:
        counted = _PLACE.sub(lambda found, first=first: f"${int(found[1]) + first}", text)  # type: ignore[misc]
        named.append(f"w{len(named)} AS ({counted})")
        first += n
    return f"WITH {', '.join(named)} SELECT 1"


def _in_transaction(conn: Connection, driver: str, text: str, values: list[Any], many: bool = False) -> Sequence[Any]:
    """Raises what SQLAlchemy raises: the statement must not run again, since some of it may be done."""
    assert conn.in_transaction()
    try:
        if driver == "pysqlite":
            sqlite = _driver(conn)
            found: Sequence[Any] = (sqlite.executemany if many else sqlite.execute)(text, values).fetchall()
            return found
        if not many:
            return _fetched(conn, text, values)
        conn.connection.cursor().executemany(text, values)
        return []
    except conn.dialect.loaded_dbapi.Error as exc:
        raise _as_sqlalchemy(conn, text, exc) from exc


def _fetched(conn: Connection, text: str, values: Sequence[Any], begin: bool = True) -> Sequence[Sequence[Any]]:
    """By asyncpg itself, which keeps what it prepared; SQLAlchemy's connection knows whether the transaction has begun."""
    adapted: Any = conn.connection.dbapi_connection
    try:
        if begin and adapted._transaction is None:
            await_only(adapted._start_transaction())
        found: Sequence[Sequence[Any]] = await_only(adapted.driver_connection.fetch(text, *values))
    except Exception as exc:
        _raise(conn, text, exc)
    return found


def _raise(conn: Connection, text: str, exc: Exception) -> NoReturn:
    """What asyncpg raised, as SQLAlchemy raises it."""
    adapted: Any = conn.connection.dbapi_connection
    try:
        adapted._handle_exception(exc)
    except conn.dialect.loaded_dbapi.Error as known:
        raise _as_sqlalchemy(conn, text, known) from exc
    raise exc


def _as_sqlalchemy(conn: Connection, text: str, exc: Any) -> BaseException:
    """What it raises for what the driver raised. The connection is given up if it is of no more use."""
    gone = conn.dialect.is_disconnect(exc, conn.connection.dbapi_connection, None)
    if gone or type(exc).__name__ == _STALE_PLAN:
        conn.invalidate(exc)
    raised: BaseException = DBAPIError.instance(
        text,
        None,
        exc,
        conn.dialect.loaded_dbapi.Error,
        hide_parameters=True,
        connection_invalidated=conn.invalidated,
        dialect=conn.dialect,
    )
    return raised


def _driver(conn: Connection) -> Any:
    connection = conn.connection
    # Of sqlite3 both are the same, and this one needs no search.
    return connection.dbapi_connection if conn.dialect.driver == "pysqlite" else connection.driver_connection


def _only_read(conn: Connection) -> bool:
    return READING in conn.get_execution_options()
