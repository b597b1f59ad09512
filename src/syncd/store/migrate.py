"""Migrations: forward only, from the package itself, under one lock, by `syncd db upgrade` and `syncd serve`.

`pre` revisions add (old code still runs), `post` revisions remove in a later release. A migration's file is called by its
revision, so that every command can compare the database with this release without loading what runs migrations.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import inspect, text

from syncd.errors import DatabaseUnavailable
from syncd.store.engine import Database

MIGRATIONS = Path(__file__).parent / "migrations"


@dataclass(frozen=True, slots=True)
class Revision:
    current: str | None
    head: str
    known: bool  # to this release, which may be older than the database

    @property
    def up_to_date(self) -> bool:
        return self.current == self.head


def revisions() -> tuple[str, ...]:
    """Of this release, oldest first."""
    return tuple(sorted(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*_*.py")))


def revision(database: Database) -> Revision:
    known = revisions()
    with database.reading() as conn:
        current = None
        if inspect(conn).has_table("alembic_version"):
            current = conn.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return Revision(current, known[-1], current in known)


def upgrade(database: Database) -> Revision:
    """Bring the database to this release's schema; safe to run from several processes at once."""
    from alembic import command  # noqa: PLC0415 - loads much that only this function needs
    from alembic.config import Config  # noqa: PLC0415 - the same

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
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
