"""Hot statements: compiled once, and executed by the driver itself instead of through SQLAlchemy's layers.

What comes back is what the driver makes of a row, so a statement that is used here selects texts, numbers and bytes only
(an instant is its microseconds). The values go in as parameters by the names that the statement gives them. Where the
connection is of another driver, or in the middle of a transaction that the driver does not know of, and whenever the driver
raises, SQLAlchemy executes the same statement: it says what is wrong as it says it of every other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import structlog
from sqlalchemy import CompoundSelect, Connection, Dialect, Select
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.visitors import cloned_traverse
from sqlalchemy.util import await_only

log = structlog.get_logger()
Statement = Select[Any] | CompoundSelect[Any]
READING: Final = "syncd_reading"  # the execution option of a connection on which nothing is written


@lru_cache(512)  # the statements are made once (store/read_queries.py), and so are the dialects
def _compiled(query: Statement, dialect: Dialect) -> tuple[str, tuple[str, ...]]:
    """The text, and the name of the parameter for each place in it. What does not change stands in the text itself, so that
    a plan made without knowing the parameters finds the partial indexes (`stage = 'deleted'`) too."""

    def in_the_text(parameter: Any) -> None:
        parameter.literal_execute, parameter.required = parameter.value is not None, False

    fixed = cloned_traverse(query, {}, {"bindparam": in_the_text})
    compiled = fixed.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    assert isinstance(compiled, SQLCompiler) and compiled.positiontup is not None  # both drivers count their parameters
    return str(compiled), tuple(compiled.positiontup)


def rows(conn: Connection, query: Statement, bound: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
    """All rows of a statement that is made once. `bound`: its parameters by name."""
    driver, begun = conn.dialect.driver, conn.in_transaction()
    if not (
        (driver == "pysqlite" and (begun or _only_read(conn)))
        or (driver == "asyncpg" and _only_read(conn) and not begun)
    ):
        return conn.execute(query, dict(bound)).all()
    text, places = _compiled(query, conn.dialect)
    values = [bound[name] for name in places]
    try:
        if driver == "asyncpg":
            found: Sequence[Sequence[Any]] = await_only(_driver(conn).fetch(text, *values))
            return found
        found = _driver(conn).execute(text, values).fetchall()
        return found
    except OSError:  # no answer within the time there is: asking again would take as long
        raise
    except Exception as exc:  # of any kind a driver has: SQLAlchemy asks once more, so that it is raised as ever
        log.debug("raw_statement_failed", why=type(exc).__name__)
        return conn.execute(query, dict(bound)).all()


def _driver(conn: Connection) -> Any:
    return conn.connection.driver_connection


def _only_read(conn: Connection) -> bool:
    return READING in conn.get_execution_options()
