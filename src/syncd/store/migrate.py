"""Migrations: forward only, from the package itself, under one lock, by `syncd db upgrade` and `syncd serve`.

`pre` revisions add (old code still runs), `post` revisions remove in a later release.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from syncd.errors import DatabaseUnavailable
from syncd.store.engine import Database


@dataclass(frozen=True, slots=True)
class Revision:
    current: str | None
    head: str

    @property
    def up_to_date(self) -> bool:
        return self.current == self.head


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def revision(database: Database) -> Revision:
    head = ScriptDirectory.from_config(_config()).get_current_head()
    with database.reading() as conn:
        return Revision(MigrationContext.configure(conn).get_current_revision(), str(head))


def upgrade(database: Database) -> Revision:
    """Bring the database to this release's schema; safe to run from several processes at once."""
    config = _config()
    with database.writing() as conn:
        if database.dialect == "postgresql":
            conn.execute(text("SELECT pg_advisory_xact_lock(7305809)"))
        config.attributes["connection"] = conn
        command.upgrade(config, "head")
    return revision(database)


def require_current(database: Database) -> None:
    """Raises DatabaseUnavailable unless the schema is this release's."""
    known = revision(database)
    if not known.up_to_date:
        raise DatabaseUnavailable(
            f"database {database.display} is at revision {known.current or 'none'}, this release needs {known.head}: "
            "run `syncd db upgrade`"
        )
