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
    known: bool  # to this release, which may be older than the database

    @property
    def up_to_date(self) -> bool:
        return self.current == self.head


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def revision(database: Database) -> Revision:
    scripts = ScriptDirectory.from_config(_config())
    with database.reading() as conn:
        current = MigrationContext.configure(conn).get_current_revision()
    known = current in {script.revision for script in scripts.walk_revisions()}
    return Revision(current, str(scripts.get_current_head()), known)


def upgrade(database: Database) -> Revision:
    """Bring the database to this release's schema; safe to run from several processes at once."""
    config = _config()
    with database.writing() as conn:
        if database.dialect == "postgresql":
            conn.execute(text("SELECT pg_advisory_xact_lock(7305809)"))
        config.attributes["connection"] = conn
        command.upgrade(config, "head")
    if database.dialect == "postgresql":
        from syncd.store import queue  # noqa: PLC0415 - loads a job library that only PostgreSQL needs

        queue.install(database.url)
    return revision(database)


def require_current(database: Database) -> None:
    """Raises DatabaseUnavailable unless the schema is this release's."""
    known = revision(database)
    if known.current and not known.known:
        raise DatabaseUnavailable(
            f"database {database.display} is at revision {known.current}, which is newer than this release knows "
            f"({known.head}): start the newer release"
        )
    if not known.up_to_date:
        raise DatabaseUnavailable(
            f"database {database.display} is at revision {known.current or 'none'}, this release needs {known.head}: "
            "run `syncd db upgrade`"
        )


def require_usable(database: Database) -> None:
    """For a process that runs already: a newer release's schema will do too, since its first migrations only add."""
    known = revision(database)
    if known.known or not known.current:
        require_current(database)
