"""Who has what, since when, and when each last signed in: what an access review goes through, a page of users at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, and_, or_, select

from syncd.store import facts
from syncd.store import tables as t
from syncd.store.holders import named

_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Held:
    """One grant of one undeleted user. `last_sign_in` None: never reported."""

    user_id: str
    user_name: str
    status: str
    kind: str
    value: str
    origin: str
    name: str
    since: datetime
    expires: datetime | None
    last_sign_in: datetime | None


def grants(conn: Connection, workspace: str, now: datetime, unused_since: datetime | None = None) -> Iterator[Held]:
    """Roles, permissions, data scopes and seats, by user. `unused_since`: only of whoever has not signed in since then."""
    u, g, s = t.users.c, t.grants.c, t.sign_ins.c
    people = (
        select(u.id, u.user_name, u.status, s.last_at)
        .outerjoin_from(t.users, t.sign_ins, and_(s.workspace == u.workspace, s.user_id == u.id))
        .where(u.workspace == workspace, u.status != "deleted")
        .order_by(u.id)
        .limit(_PAGE)
    )
    if unused_since is not None:
        people = people.where(or_(s.last_at.is_(None), s.last_at < unused_since))
    after = ""
    while page := conn.execute(people.where(u.id > after)).all():
        after = page[-1].id
        known = {row.id: row for row in page}
        for ids in facts.batched(list(known)):
            live = and_(g.denied.is_(False), or_(g.expires_at.is_(None), g.expires_at > now))
            columns = (g.user_id, g.kind, g.value, g.origin, named().label("by"), g.created_at, g.expires_at)
            rows = select(*columns).where(g.workspace == workspace, g.user_id.in_(ids), live)
            for row in conn.execute(rows.order_by(g.user_id, g.kind, g.value, g.origin, g.name)):
                who = known[row.user_id]
                yield Held(
                    *(who.id, who.user_name, who.status, row.kind, row.value, row.origin, row.by),
                    *(row.created_at, row.expires_at, who.last_at),
                )
