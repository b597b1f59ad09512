"""What is compiled once in a process that lives long, as a daemon does, is once in a process of tests: statements and paths.

An engine compiles what it executes and keeps that to itself; a test has engines of its own, which compiled a quarter of the
tests' time. Each application compiles its hundred paths.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import sqlalchemy
import sqlalchemy.ext.asyncio
from sqlalchemy import Connection, Engine, event
from sqlalchemy.util import LRUCache
from starlette import routing

from syncd.store import engine as engines

_STATEMENTS = 5000  # kept for each driver; filters are as many as tests make up


def share() -> None:
    """From now on each driver has one dialect, that of the first engine that connected, and one cache of statements."""
    first: dict[str, tuple[sqlalchemy.Dialect, LRUCache[Any, Any]]] = {}

    def sharing(engine: Engine) -> None:
        driver = engine.dialect.driver
        if driver in first:
            engine.dialect, statements = first[driver]
            engine.update_execution_options(compiled_cache=statements)
            return

        @event.listens_for(engine, "engine_connect")
        def connected(_: Connection) -> None:  # by then the dialect knows its server
            first.setdefault(driver, (engine.dialect, LRUCache(_STATEMENTS)))

    make, make_async = sqlalchemy.create_engine, sqlalchemy.ext.asyncio.create_async_engine

    def create_engine(*args: Any, **more: Any) -> Engine:
        made = make(*args, **more)
        sharing(made)
        return made

    def create_async_engine(*args: Any, **more: Any) -> sqlalchemy.ext.asyncio.AsyncEngine:
        made = make_async(*args, **more)
        sharing(made.sync_engine)
        return made

    engines.create_engine = create_engine
    sqlalchemy.ext.asyncio.create_async_engine = create_async_engine
    routing.compile_path = cache(routing.compile_path)
    # httpx looks for it at each request that it hands to an application, in every folder; it is not there.
    sys.modules.setdefault("sniffio", None)  # type: ignore[arg-type]
