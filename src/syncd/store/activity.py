"""The record as people and the application read it: chosen, and a page at a time, since it may hold millions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import BigInteger, Connection, Select, and_, literal, select, tuple_, type_coerce

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
    """In the order of time, and of ids within one transaction."""
    query = _chosen(workspace, wanted)
    place = (type_coerce(_A.at, BigInteger), _A.id)
    if after is not None:
        there = tuple_(literal(after.key, BigInteger), literal(after.id))
        query = query.where(tuple_(*place) < there if newest_first else tuple_(*place) > there)
    order = (each.desc() for each in place) if newest_first else place
    found = conn.execute(query.order_by(*order).limit(limit + 1)).all()
    more = Position(found[limit - 1].at_us, found[limit - 1].id) if len(found) > limit else None
    return Page(0, tuple(map(_row, found[:limit])), more)


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
        select(t.activity, type_coerce(_A.at, BigInteger).label("at_us"), _P.before, _P.after)
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
        **{"subject_id": row.subject_id, "id": row.id, "address": row.address},
    }
