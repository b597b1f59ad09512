"""What every request asks finds its rows by an index, however many there are: SQLite tells how it would go about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.event import listen

from syncd.store import allocate, describe, holders, raw, rows
from syncd.store import fact_queries as queries
from syncd.store import read_queries as reads
from syncd.store import tables as t
from syncd.store.engine import Database
from syncd.store.migrate import upgrade

ASKED: dict[str, Callable[[], Any]] = {
    "users": lambda: queries.users("sqlite"),
    "groups": lambda: queries.groups("sqlite"),
    "nesting": lambda: queries.nesting("sqlite", whole=False),
    "links_of": lambda: queries.links_of("sqlite", "user"),
    "users_within": lambda: queries.users_within("sqlite"),
    "groups_inside": lambda: queries.groups_inside("sqlite"),
    "versions": queries.versions,
    "key_owner": queries.key_owner,
    "state_digest": queries.state_digest,
    "held_of": lambda: queries.held_of("sqlite"),
    "named": lambda: queries.named("sqlite"),
    "named_one": queries.named_one,
    "group_named": queries.group_named,
    "lost_recently": lambda: queries.lost_recently("sqlite"),
    "another_version": lambda: queries.another_version("sqlite"),
    "graph_count": queries.graph_count,
    "delete_membership": lambda: rows._delete(
        t.memberships, ("group_id", "member", "member_id", "origin", "workspace")
    ),
    "delete_effective": lambda: rows._delete(t.effective_memberships, ("user_id", "group_id", "workspace")),
    "update_user": lambda: rows._update(t.users, ("id", "version", "workspace")),
    "update_link": lambda: rows._update(t.links, ("source", "resource", "key", "stage", "workspace")),
}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    made = Database(f"sqlite:///{Path(tmp_path_factory.mktemp('plans')) / 'syncd.db'}", create=True)
    upgrade(made)
    return made


def steps_of(database: Database, query: Any) -> list[str]:
    with database.writing() as conn:
        text, places = raw._compiled(query, conn.dialect)
        values = {place: "[]" if place == "ids" else "x" for place in places.names}
        return [
            row[3] for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", tuple(values[p] for p in places.names))
        ]


@pytest.mark.parametrize("name", ASKED)
def test_it_walks_over_no_table_and_no_workspace(database: Database, name: str) -> None:
    steps = steps_of(database, ASKED[name]())
    tables = {table.name for table in t.metadata.sorted_tables}
    searched = [step for step in steps if step.startswith(("SEARCH", "SCAN"))]
    assert searched
    for step in searched:
        of_a_table = step.split()[1] in tables or step.split()[1].rpartition("_")[0] in tables
        assert not (step.startswith("SCAN") and of_a_table), step
        assert not step.endswith("(workspace=?)"), step


def test_the_ids_of_members_come_in_order(database: Database) -> None:
    (found,) = [step for step in steps_of(database, reads.ids_of_members("sqlite")) if "memberships" in step]
    assert found.endswith(
        "USING COVERING INDEX sqlite_autoindex_memberships_1 (workspace=? AND group_id=? AND member=?)"
    )


def test_who_waits_for_a_seat_is_not_looked_for_among_those_who_have_one(database: Database) -> None:
    said: list[tuple[str, Any]] = []
    with database.reading() as conn:
        listen(conn, "before_cursor_execute", lambda *each: said.append(each[2:4]))
        conn.execute(allocate.queue("default", "crm", ["internal"], ["portal"], 10))
        holders.of_pool(conn, "default", "crm", False, 10, None)
        asked = [each for each in said if "FROM seats" in each[0]]
        plans = [[row[3] for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {each}", with_)] for each, with_ in asked]
    assert len(plans) == 2
    for steps in plans:
        assert any("seats_queue" in step for step in steps) and not any("TEMP B-TREE" in step for step in steps), steps


def test_an_address_that_a_stranger_types_is_found_by_an_index(database: Database) -> None:
    said: list[tuple[str, Any]] = []
    with database.reading() as conn:
        listen(conn, "before_cursor_execute", lambda *each: said.append(each[2:4]))
        assert describe.signs_in_as(conn, "default", "nobody@example.org") is None
        asked = [each for each in said if each[0].startswith("SELECT")]
        steps = [row[3] for text, with_ in asked for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", with_)]
    assert len(asked) == 2 and any("emails" in step for step in steps)
    for step in steps:
        assert "SCAN users" not in step and not step.endswith("(workspace=?)"), step


@pytest.mark.parametrize(
    ("query", "sought"),
    [
        (reads.stated_members("postgresql", True, False), "member_id"),
        (reads.members_among("postgresql"), "member_id"),
        (queries.users_within("postgresql"), "group_id"),
        (queries.groups_inside("postgresql"), "group_id"),
    ],
)
def test_of_a_large_group_postgresql_looks_for_those_who_are_asked_for(
    postgres_url: str, query: Any, sought: str
) -> None:
    """Also where it plans for a group of average size, as it does once it has seen a statement a few times."""
    database = Database(postgres_url)
    try:
        with database.reading() as conn:
            text, places = raw._compiled(query, conn.dialect)
            numbers = {place: number for number, place in enumerate(dict.fromkeys(places.names), 1)}
            for place, number in numbers.items():
                text = text.replace(f"%({place})s", f"${number}")
            given = ", ".join("'[]'" if place in ("ids", "among") else "'x'" for place in numbers)
            conn.exec_driver_sql("SET LOCAL plan_cache_mode = force_generic_plan")
            conn.exec_driver_sql("SET LOCAL enable_seqscan = off")
            conn.exec_driver_sql(f"PREPARE asked AS {text}")
            steps = [row[0] for row in conn.exec_driver_sql(f"EXPLAIN EXECUTE asked({given})")]
    finally:
        database.close()
    found = [step for step in steps if "Index Cond" in step]
    assert found and all(sought in step for step in found), steps
