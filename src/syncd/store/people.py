"""Users as the API lists and shows them: the whole workspace, whoever states them, deleted ones if they are asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, select

from syncd.core.filter import Filter
from syncd.core.lifecycle import status
from syncd.core.workspace import Workspace
from syncd.store import facts, filtering, pages
from syncd.store import tables as t
from syncd.store.pages import Listed, Order, Page, Window
from syncd.store.picked import ANYBODY, Picked, conditions
from syncd.store.read_queries import Reader


@dataclass(frozen=True, slots=True)
class Person:
    """`document`: the stored JSON of her attributes. `status` is that of the moment it was read for."""

    id: str
    document: bytes
    status: str
    suspended: str | None
    locked_until: datetime | None
    deleted_at: datetime | None
    created_at: datetime
    modified_at: datetime
    version: int
    next_status_at: datetime | None


_COLUMNS = tuple(t.users.c[name] for name in Person.__slots__)


def page(
    conn: Connection,
    workspace: Workspace,
    filter: Filter | None,
    order: Order,
    window: Window,
    now: datetime,
    states: Iterable[str] = (),
    picked: Picked = ANYBODY,
) -> Page[Person]:
    """`states`: only of these; without any, all but deleted. Raises InvalidFilter, InvalidValue. Counts nothing."""
    u = t.users.c
    wanted = sorted(states)
    query = select(*_COLUMNS).where(u.workspace == workspace.name)
    query = query.where(u.status.in_(wanted) if wanted else u.status != "deleted")
    query = query.where(*conditions(workspace.name, picked, now))
    reader = Reader(workspace.name, "local")
    listed = Listed("user", query, t.users, filtering.user_columns(reader), filtering.USER_KEYS)
    found = pages.page(conn, reader, listed, filter, order, replace(window, keyset=True, total=0))
    rows = [Person(*(getattr(row, name) for name in Person.__slots__)) for row in found.rows]
    return Page(0, tuple(_at(conn, workspace, rows, now)), found.more)


def get(conn: Connection, workspace: Workspace, id: str, now: datetime) -> Person | None:
    """One user, a deleted one too."""
    u = t.users.c
    row = conn.execute(select(*_COLUMNS).where(u.workspace == workspace.name, u.id == id)).first()
    return None if row is None else _at(conn, workspace, [Person(*row)], now)[0]


def _at(conn: Connection, workspace: Workspace, rows: list[Person], now: datetime) -> list[Person]:
    """With the status at `now`: a late timer never shows a right that has ended."""
    due = [row.id for row in rows if row.next_status_at is not None and row.next_status_at <= now]
    known = facts.load_users(conn, workspace.name, due, workspace.precedence) if due else {}
    return [
        replace(row, status=status(known[row.id], workspace.authoritative, now)[0]) if row.id in known else row
        for row in rows
    ]
