"""Hot statements: compiled once, and executed by the driver itself instead of through SQLAlchemy's layers.

What comes back is what the driver makes of a row, so a statement that is used here selects texts, numbers and bytes only
(an instant is its microseconds; a truth value is to be taken as such, since SQLite has numbers for it). The values go in as
parameters by the names that the statement gives them. A connection of another driver gets the same statement through
SQLAlchemy. What a driver raises is raised as SQLAlchemy raises it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

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
_STALE_PLAN: Final = "InvalidCachedStatementError"  # of asyncpg: a table was altered since the statement was prepared
_PLACE: Final = re.compile(r"\$(\d+)")  # a parameter of asyncpg; the statements have no texts in them
Places = tuple[tuple[str, Callable[[Any], Any] | None], ...]


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
    return str(compiled), tuple((name, made[name]) for name in places)


def rows(conn: Connection, query: Query, bound: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
    """All rows of a statement that is made once. `bound`: its parameters by name."""
    driver, begun = conn.dialect.driver, conn.in_transaction()
    if driver not in ("pysqlite", "asyncpg") or not (begun or _only_read(conn)):
        return conn.execute(query, dict(bound)).all()
    text, places = _compiled(query, conn.dialect)
    values = _values(places, bound)
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
    text, places = _compiled(statement, conn.dialect)
    driver = conn.dialect.driver
    if driver not in ("pysqlite", "asyncpg"):
        names = [name for name, _ in places]
        conn.exec_driver_sql(text, [dict(zip(names, _values(places, each), strict=True)) for each in bound])
    elif len(bound) == 1:
        _in_transaction(conn, driver, text, _values(places, bound[0]))
    else:
        _in_transaction(conn, driver, text, [_values(places, each) for each in bound], many=True)


def changes(conn: Connection, parts: Sequence[tuple[Change, Mapping[str, Any]]]) -> None:
    """Statements that write, one after the other, each once; by asyncpg all of them in one round trip.

    There they are parts of one statement, which see nothing of each other: no two may be about the same row.
    """
    driver = conn.dialect.driver
    if driver == "pysqlite":
        dialect, execute = conn.dialect, _driver(conn).execute
        text = ""
        try:
            for statement, bound in parts:
                text, places = _compiled(statement, dialect)
                execute(text, _values(places, bound))
        except dialect.loaded_dbapi.Error as exc:
            raise _as_sqlalchemy(conn, text, exc) from exc
        return
    if driver != "asyncpg" or len(parts) < 2:
        for statement, bound in parts:
            change(conn, statement, [bound])
        return
    compiled = [_compiled(statement, conn.dialect) for statement, _ in parts]
    values = [
        value for (_, places), (_, bound) in zip(compiled, parts, strict=True) for value in _values(places, bound)
    ]
    _in_transaction(conn, "asyncpg", _joined(tuple((text, len(places)) for text, places in compiled)), values)


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


def _values(places: Places, bound: Mapping[str, Any]) -> list[Any]:
    return [bound[name] if made is None else made(bound[name]) for name, made in places]


def _in_transaction(conn: Connection, driver: str, text: str, values: list[Any], many: bool = False) -> Sequence[Any]:
    """Raises what SQLAlchemy raises: the statement must not run again, since some of it may be done."""
    assert conn.in_transaction()
    try:
        if driver == "pysqlite":
            sqlite = _driver(conn)
            found: Sequence[Any] = (sqlite.executemany if many else sqlite.execute)(text, values).fetchall()
            return found
        cursor = conn.connection.cursor()  # which knows whether the transaction has begun at the server
        (cursor.executemany if many else cursor.execute)(text, values)
        return cursor.fetchall() if cursor.description else []
    except conn.dialect.loaded_dbapi.Error as exc:
        raise _as_sqlalchemy(conn, text, exc) from exc


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
