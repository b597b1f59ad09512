"""Processes of their own for tests, forked from one that has imported everything (multiprocessing's forkserver).

That one does not know where the tests are: it silently skips modules of theirs. So what these import is named here; without it
each process would import for most of a second.
"""

from __future__ import annotations

import multiprocessing

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        *("pytest", "alembic.command", "psycopg", "sqlalchemy.ext.asyncio", "sqlalchemy.dialects.postgresql.psycopg"),
        *("syncd.app", "syncd.cli", "syncd.reconcile.run", "syncd.sample", "syncd.store.migrate", "syncd.timers"),
    ]
)
