"""The databases that other tests are handed are empty, apart from one another, and on the engine they say."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

import prepared
from postgres_server import Postgres


def test_each_database_is_fresh_and_gone_afterwards(postgres: Postgres) -> None:
    first, second = postgres.fresh(), postgres.fresh()
    with psycopg.connect(first) as connection:
        connection.execute("CREATE TABLE only_here (id int)")
    with psycopg.connect(second) as connection:
        row = connection.execute("SELECT count(*) FROM pg_class WHERE relname = 'only_here'").fetchone()
    assert row == (0,)

    postgres.drop(first)
    with psycopg.connect(postgres.url("postgres")) as connection:
        names = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
    assert first.rpartition("/")[2] not in names
    assert second.rpartition("/")[2] in names
    postgres.drop(second)


def test_the_server_is_nobody_of_importance(postgres: Postgres) -> None:
    assert Path(f"/proc/{postgres.process.pid}").stat().st_uid != 0


def test_the_contract_suite_runs_on_both_engines(database_url: str) -> None:
    engine = database_url.partition(":")[0]
    assert engine in {"sqlite", "postgresql"}
    if engine == "postgresql":
        with psycopg.connect(database_url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


# -- databases that one test after the other uses ------------------------------------------------------------------------------

LEFT_BEHIND = {
    "an older revision": "UPDATE alembic_version SET version_num = '0001'",
    "no revision": "DELETE FROM alembic_version",
    "a column": "ALTER TABLE users ADD COLUMN left_behind text",
    "a column of another kind": "ALTER TABLE users ALTER COLUMN status TYPE varchar(9)",
    "a column that may be empty": "ALTER TABLE users ALTER COLUMN status DROP NOT NULL",
    "an index": "CREATE INDEX left_behind ON users (status)",
    "an index fewer": "DROP INDEX activity_subject",
    "an index of another name": "ALTER INDEX users_pkey RENAME TO left_behind",
    "a table": "CREATE TABLE left_behind (id int)",
    "a table fewer": "DROP TABLE grants",
    "a table elsewhere": "CREATE SCHEMA left_behind CREATE TABLE left_behind (id int)",
    "a check": "ALTER TABLE users ADD CHECK (status <> 'left')",
    "a trigger fewer": "DROP TRIGGER syncd_tg_pgqueuer_changed ON syncd_pgqueuer",
    "a function": "CREATE FUNCTION left_behind() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "a setting": "DO $$BEGIN EXECUTE format('ALTER DATABASE %I SET lock_timeout = 1', current_database()); END$$",
}


@pytest.mark.parametrize("change", LEFT_BEHIND.values(), ids=LEFT_BEHIND.keys())
def test_a_database_whose_schema_or_revision_changed_is_given_to_nobody_else(
    shared: prepared.Shared, change: str
) -> None:
    url = shared.take()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(change)
    shared.give_back(url)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url)


def test_a_database_that_was_dropped_is_given_to_nobody_else(shared: prepared.Shared, postgres: Postgres) -> None:
    url = shared.take()
    postgres.drop(url)
    shared.give_back(url)
    taken = shared.take()
    assert taken != url
    shared.give_back(taken)


@pytest.mark.parametrize("rows", [1, 20_000])
def test_what_one_test_wrote_is_not_there_for_the_next_nor_is_who_wrote_it(shared: prepared.Shared, rows: int) -> None:
    url = shared.take()
    with psycopg.connect(url) as writer, psycopg.connect(url, autocommit=True) as other:
        put = "INSERT INTO leases (workspace, name, holder, fence, expires_at)"
        other.execute(f"{put} SELECT 'default', i::text, 'me', 1, 1 FROM generate_series(1, {rows}) i")
        other.execute("SELECT nextval('syncd_pgqueuer_id_seq')")
        writer.execute(f"{put} VALUES ('default', 'open', 'me', 1, 1)")
        shared.give_back(url)
        with pytest.raises(psycopg.OperationalError):
            writer.execute("SELECT 1")
        with pytest.raises(psycopg.OperationalError):
            other.execute("SELECT 1")
    assert shared.take() == url
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM leases").fetchone() == (0,)
        assert connection.execute("SELECT nextval('syncd_pgqueuer_id_seq')").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
    shared.give_back(url)
