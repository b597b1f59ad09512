"""Alembic's hook: run on the connection that store/migrate.py hands in, in its transaction."""

from __future__ import annotations

from alembic import context

from syncd.store.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata)
context.run_migrations()
