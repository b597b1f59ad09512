"""The migrations make exactly the tables that the code names, on both engines, and may be run twice."""

from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from syncd.store.engine import Database
from syncd.store.migrate import revision, upgrade
from syncd.store.tables import metadata


def test_migrations_and_tables_agree(new_database_url: str) -> None:
    database = Database(new_database_url, create=True)
    assert revision(database).current is None
    assert upgrade(database).up_to_date
    assert upgrade(database).up_to_date
    with database.reading() as conn:
        context = MigrationContext.configure(conn, opts={"compare_type": False})
        assert compare_metadata(context, metadata) == []
    database.close()
