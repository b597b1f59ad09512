"""The record as people and the application read it: chosen, and a page at a time, since it may hold millions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Select, and_, select

from syncd.store import tables as t
from syncd.store.pages import Page, Position

Json = dict[str, Any]
PAGE: Final = 1000
_A, _P = t.activity.c, t.activity_payloads.c


@dataclass(frozen=True, slots=True)
class Wanted:
    """`subject`: the id of a user, a group or what else it is about. `until`: not later than."""

    subject: str | None = None
    actor: str | None = None
    door: str | None = None
    action: str | None = None
    source: str | None = None
    run: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def page(
    conn: Connection, workspace: str, wanted: Wanted, limit: int, after: Position | None, newest_first: bool = False
) -> Page[Json]:
    """In the order of ids, which is that of time."""
    query = _chosen(workspace, wanted)
    if after is not None:
        query = query.where(_A.id < after.id if newest_first else _A.id > after.id)
    query = query.order_by(_A.id.desc() if newest_first else _A.id).limit(limit + 1)
    rows = [_row(row) for row in conn.execute(query)]
    return Page(0, tuple(rows[:limit]), Position(None, rows[limit - 1]["id"]) if len(rows) > limit else None)


def rows(conn: Connection, workspace: str, wanted: Wanted = Wanted()) -> Iterator[Json]:
    """All of them, the oldest first."""
    after: Position | None = None
    while True:
        found = page(conn, workspace, wanted, PAGE, after)
        yield from found.rows
        if found.more is None:
            return
        after = found.more


def _chosen(workspace: str, wanted: Wanted) -> Select[Any]:
    query = (
        select(t.activity, _P.before, _P.after)
        .outerjoin_from(t.activity, t.activity_payloads, and_(_P.workspace == _A.workspace, _P.activity_id == _A.id))
        .where(_A.workspace == workspace)
    )
    equal = (
        *((_A.subject_id, wanted.subject), (_A.actor, wanted.actor), (_A.door, wanted.door)),
        *((_A.action, wanted.action), (_A.source, wanted.source), (_A.run_id, wanted.run)),
    )
    query = query.where(*(column == value for column, value in equal if value is not None))
    if wanted.since is not None:
        query = query.where(_A.at >= wanted.since)
    return query if wanted.until is None else query.where(_A.at <= wanted.until)


def _row(row: Any) -> Json:
    return {
        **{"at": row.at, "door": row.door, "actor": row.actor, "action": row.action, "subject": row.subject},
        **{"before": row.before, "after": row.after, "why": row.why, "source": row.source, "run": row.run_id},
        **{"subject_id": row.subject_id, "id": row.id},
    }
