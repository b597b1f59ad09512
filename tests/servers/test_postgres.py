"""The databases that other tests are handed are empty, apart from one another, and on the engine they say."""

from __future__ import annotations

from pathlib import Path

import psycopg

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
