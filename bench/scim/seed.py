"""A store of many users and some groups, as if a connection had provisioned them a while ago within the guards' window.

Written through the store's own rows (store/facts.py, store/commit.py: record) without deciding each: every user with her
link, e-mail, group and activity row, so that indexes and tables have the size they have in production.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from syncd.core.actor import Actor
from syncd.core.resource import flatten
from syncd.core.schema import USER
from syncd.core.state import Group, Link, Membership, User
from syncd.core.types import STANDARD
from syncd.store import facts
from syncd.store import tables as t
from syncd.store.commit import record
from syncd.store.engine import Database
from syncd.store.rows import Rows, upsert

SOURCE = "idp"
WORKSPACE = "default"
DEPARTMENTS = 200
SMALL, LARGE = 5, 50_000  # members of the two groups that are compared
BATCH = 5_000


@dataclass(frozen=True, slots=True)
class Seeded:
    """`users`: (id, userName) in the order they were made. `outside`: ids of those in neither of the two groups."""

    users: list[tuple[str, str]]
    small: str
    large: str
    large_members: int
    outside: list[str]


def user(number: int) -> dict[str, Any]:
    """A user as providers send her: about 950 bytes."""
    name = f"user-{number:06d}"
    mail = f"{name}@example.com"
    return {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "userName": name,
        "name": {"givenName": f"Given{number % 997}", "familyName": f"Family{number % 4999}"},
        "displayName": f"Given{number % 997} Family{number % 4999}",
        "title": "Senior Engineer",
        "preferredLanguage": "en-GB",
        "locale": "en-GB",
        "timezone": "Europe/Berlin",
        "active": True,
        "emails": [{"value": mail, "type": "work", "primary": True}],
        "phoneNumbers": [{"value": f"+49-30-{number:07d}", "type": "work"}],
        "addresses": [
            {
                "type": "work",
                "streetAddress": f"{number % 300} Example Street",
                "locality": "Berlin",
                "postalCode": f"{10000 + number % 4000}",
                "country": "DE",
            }
        ],
    }


def seed(database: Database, users: int, ids: Callable[[], str], now: datetime) -> Seeded:
    rows = Rows(WORKSPACE)
    groups = [_group(rows, f"department-{n:03d}", ids(), now) for n in range(min(DEPARTMENTS, users))]
    small, large = _group(rows, "small", ids(), now), _group(rows, "large", ids(), now)
    large_members = min(LARGE, users // 2)
    made: list[tuple[str, str]] = []
    for numbers in facts.batched(range(users), BATCH):
        for number in numbers:
            own = [groups[number % len(groups)]]
            own += [large] if number >= users - large_members else []
            own += [small] if number < SMALL else []
            made.append(_user(rows, number, ids(), own, ids, now))
        _write(database, rows)
        rows = Rows(WORKSPACE)
    with database.writing() as conn:
        _count(conn, {"user": users, "group": len(groups) + 2, "graph": 1}, now)
    if database.dialect == "postgresql":
        with database.writing() as conn:
            conn.execute(text("ANALYZE"))  # its autovacuum would do that within a minute
    return Seeded(made, small, large, large_members, [id for id, _ in made[SMALL : users - large_members]])


def _group(rows: Rows, name: str, id: str, now: datetime) -> str:
    values = {"displayName": name}
    link = Link(SOURCE, id, values=values, enabled=None, created_at=now)
    facts.write_group(rows, STANDARD, None, Group(id, SOURCE, link, values, created_at=now, version=1), now, True)
    return id


def _user(
    rows: Rows, number: int, id: str, groups: Iterable[str], ids: Callable[[], str], now: datetime
) -> tuple[str, str]:
    document = user(number)
    values = {key: value for key, value in flatten(document, USER).items() if key not in ("active", "schemas")}
    link = Link(SOURCE, id, enabled=True, values=values, created_at=now)
    memberships = tuple(Membership(group, SOURCE, now) for group in groups)
    made = User(
        id, (link,), memberships=memberships, created_at=now, values=values, groups=frozenset(groups), version=1
    )
    facts.write_user(rows, STANDARD, None, made, now, True, True)
    actor = Actor("scim", "bench", WORKSPACE, source=SOURCE)
    record(rows, actor, "create", made.name, id, "", None, {"values": dict(values)}, now, ids)
    return id, made.name


def _write(database: Database, rows: Rows) -> None:
    with database.writing() as conn:
        rows.write(conn)


def _count(conn: Connection, totals: dict[str, int], now: datetime) -> None:
    upsert(conn, t.workspaces, {"name": WORKSPACE}, {"created_at": now}, keep=True)
    for resource, count in totals.items():
        upsert(conn, t.totals, {"workspace": WORKSPACE, "resource": resource}, {"count": count})
