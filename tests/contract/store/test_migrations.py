"""The migrations make exactly the tables that the code names, on both engines, and may be run twice."""

from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from syncd.store.engine import Database
from syncd.store.migrate import MIGRATIONS, revision, revisions, upgrade
from syncd.store.tables import metadata


def test_migrations_and_tables_agree(new_database_url: str) -> None:
    database = Database(new_database_url, create=True)
    assert revision(database).current is None
    assert upgrade(database).up_to_date
    assert upgrade(database).up_to_date
    with database.reading() as conn:
        # The queue's tables are its library's affair.
        ours = {"compare_type": False, "include_name": lambda name, *_: not (name or "").startswith("syncd_pgqueuer")}
        assert compare_metadata(MigrationContext.configure(conn, opts=ours), metadata) == []
    database.close()


def test_files_are_called_by_their_revisions() -> None:
    scripts = ScriptDirectory(str(MIGRATIONS)).walk_revisions()
    assert tuple(script.revision for script in scripts) == revisions()[::-1]
