"""What clients look people up by finds them by an index, on both engines; the databases tell how they would go about it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Connection, event, insert

import prepared
from syncd.core.filter import parse_filter
from syncd.core.schema import ENTERPRISE_USER, Attribute, Schema, Uniqueness
from syncd.core.types import STANDARD, Extension, Types, extended, looked_up
from syncd.store import filtering, indexes, pages, read
from syncd.store import tables as t
from syncd.store.engine import Database
from syncd.store.pages import Order, Window
from syncd.store.read import Reader

OWN = "urn:example:badge:1.0:Badge"
BADGE = Schema(OWN, "Badge", "", (Attribute("number", uniqueness=Uniqueness.SERVER), Attribute("colour")))
TYPES = extended([Extension(BADGE)], ["title", "name.familyName", f"{OWN}:colour"])
NOW = datetime(2026, 11, 29, tzinfo=UTC)
USERS = 3000


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    made = prepared.database(database_url)
    with made.writing() as conn:
        conn.execute(insert(t.users), [_user(n) for n in range(USERS)])
    indexes.keep(made, [STANDARD, TYPES])
    with made.outside_transactions() as conn:
        conn.exec_driver_sql("ANALYZE")
    yield made
    made.close()


def _extended(urn: str, values: dict[str, str]) -> dict[str, str]:
    return {f"{urn}:{name}".lower(): value for name, value in values.items()}


def _user(n: int) -> dict[str, Any]:
    own = {"number": f"b{n}", "colour": f"c{n}"}
    search = {
        "title": f"t{n}",
        "name": {"familyname": f"f{n}"},
        **_extended(ENTERPRISE_USER, {"employeenumber": f"e{n}"}),
    }
    search |= _extended(OWN, own)
    return {
        **{"workspace": "default", "id": f"id{n:05}", "user_name": f"u{n}", "user_name_key": f"u{n}", "version": 1},
        **{"document": b"{}", "search": search, "status": "active", "invited": False},
        **{"created_at": NOW, "modified_at": NOW},
    }


ASKED = {f"{ENTERPRISE_USER}:employeeNumber": "e7", "title": "t7", "name.familyName": "f7"}
ASKED |= {f"{OWN}:number": "b7", f"{OWN}:colour": "c7"}


def test_each_has_an_index_that_finds_it(database: Database) -> None:
    attributes, reader = {each.path: each for each in looked_up(TYPES)}, Reader("default", "okta")
    assert attributes.keys() == ASKED.keys()
    for path, value in ASKED.items():
        filter = parse_filter(f'{path} eq "{value}"', TYPES.user)
        said: list[tuple[str, Any]] = []
        with database.reading() as conn:
            event.listen(conn, "before_cursor_execute", lambda *each, said=said: said.append(each[2:4]))
            found = read.list_users(conn, reader, filter, Window(100))
            assert (found.total, [each.id for each in found.rows]) == (1, ["id00007"])
            text, values = next(each for each in said if "FROM users" in each[0])
            assert indexes.index_name(attributes[path]) in _plan(conn, text, values)
        for paths, near in ((frozenset(attributes), True), (frozenset[str](), False)):
            assert pages.is_near(pages.users(reader), reader, filter, Order(), Window(100), 5000, paths) is near


def _plan(conn: Connection, text: str, values: Any) -> str:
    how = "EXPLAIN QUERY PLAN" if conn.dialect.name == "sqlite" else "EXPLAIN"
    return "\n".join(str(row) for row in conn.exec_driver_sql(f"{how} {text}", values))


def test_they_follow_the_configuration(database: Database) -> None:
    def there() -> set[str]:
        with database.outside_transactions() as conn:
            return indexes._known(conn)

    def named(types: Types) -> set[str]:
        return {indexes.index_name(each) for each in looked_up(types)}

    assert there() == named(TYPES) and len(named(TYPES)) == 5
    indexes.keep(database, [TYPES])
    assert there() == named(TYPES)
    with ThreadPoolExecutor(3) as several:
        list(several.map(lambda _: indexes.keep(database, [STANDARD]), range(3)))
    assert there() == named(STANDARD) and len(named(STANDARD)) == 1
    with database.writing() as conn:  # however long a value is
        conn.execute(
            insert(t.users), [{**_user(USERS), "search": _extended(ENTERPRISE_USER, {"employeenumber": "x" * 9000})}]
        )


@pytest.mark.parametrize(
    ("text", "near", "by"),
    [
        ('groups eq "g"', False, "effective_memberships"),
        ('groups eq "g" and externalId eq "x"', True, "links"),
        ('groups eq "g" and title eq "x"', False, "effective_memberships"),
        ('externalId eq "x" or groups eq "g"', False, "effective_memberships"),
        ('externalId eq "x" or userName eq "b"', True, "links"),
    ],
)
def test_who_is_in_a_group_may_be_everybody(text: str, near: bool, by: str) -> None:
    """So that nobody waits for it in the event loop, and whoever is asked for by more is looked for by that."""
    filter, reader = parse_filter(text, STANDARD.user), Reader("default", "okta")
    users = pages.users(reader)
    assert pages.is_near(users, reader, filter, Order(), Window(100), 5000) is near
    (narrowed,) = filtering.narrowed(filter, reader, "user", users.table.c.id)
    assert f"FROM {by}" in str(narrowed)
