"""The migrations make exactly the tables that the code names, on both engines, and may be run twice."""

from __future__ import annotations

from datetime import UTC, datetime

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import insert, select

from syncd.core.resource import fold
from syncd.store import tables as t
from syncd.store.engine import Database
from syncd.store.migrate import MIGRATIONS, revision, revisions, upgrade


def test_migrations_and_tables_agree(new_database_url: str) -> None:
    database = Database(new_database_url, create=True)
    assert revision(database).current is None
    assert upgrade(database).up_to_date
    assert upgrade(database).up_to_date
    with database.reading() as conn:
        # The queue's tables are its library's affair.
        ours = {"compare_type": False, "include_name": lambda name, *_: not (name or "").startswith("syncd_pgqueuer")}
        assert compare_metadata(MigrationContext.configure(conn, opts=ours), t.metadata) == []
    database.close()


def test_names_are_compared_by_their_plain_letters_since_0003(new_database_url: str) -> None:
    database = Database(new_database_url, create=True)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    names = {"a": "ａｄａ", "b": "ada", "c": "ﾔﾏﾀﾞ", "d": "Ｃｙｄ", "e": "ｅｖｅ", "f": "Eve", "g": "Ünal"}
    with database.writing() as conn:
        config.attributes["connection"] = conn
        command.upgrade(config, "0002")
        at = datetime(2026, 11, 1, tzinfo=UTC)
        other = {"document": b"{}", "search": {}, "invited": False, "created_at": at, "modified_at": at, "version": 1}
        for id, name in names.items():
            status = "deleted" if id in "df" else "active"
            row = {"workspace": "w", "id": id, "user_name": name, "user_name_key": fold(name), "status": status}
            conn.execute(insert(t.users), other | row | {"search": {"username": fold(name)}})
        passed_on = {"id": "h", "user_name": "Hal", "user_name_key": "\x01h", "status": "deleted"}
        conn.execute(insert(t.users), other | passed_on | {"workspace": "w"})
    assert upgrade(database).up_to_date
    with database.reading() as conn:
        rows = conn.execute(select(t.users.c.id, t.users.c.user_name_key, t.users.c.search).order_by("id")).all()
    keys = {row.id: row.user_name_key for row in rows}
    assert "".join(keys) == "abcdefgh"
    assert [*keys.values()] == ["ａｄａ", "ada", "ヤマダ", "cyd", "eve", "eve", "ünal", "hal"]
    assert {row.id: row.search.get("username", "hal") for row in rows} == keys  # filters look through them
    database.close()


def test_files_are_called_by_their_revisions() -> None:
    scripts = ScriptDirectory(str(MIGRATIONS)).walk_revisions()
    assert tuple(script.revision for script in scripts) == revisions()[::-1]
