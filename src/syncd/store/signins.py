"""Sign-ins as the application reports them: one row of what is known of each user, and one for each report.

They are no change of the user: no version, no event, no activity. Only when a failure too many locks her does a change go
through the door. Reports are kept for `retention.sign_ins`, apart from the activity record, since they hold addresses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select

from syncd.core.actor import ADMIN_SOURCE, Actor
from syncd.core.change import UserEdit
from syncd.core.signins import SignIn, SignIns, reported
from syncd.core.workspace import Workspace
from syncd.store import facts
from syncd.store import tables as t
from syncd.store.commit import Ids, commit
from syncd.store.rows import upsert

_FIELDS = ("last_at", "last_address", "second_factor", "failures", "failed_at", "failed_address")
NONE = SignIns()


@dataclass(frozen=True, slots=True)
class Reported:
    """One report as it is listed. `reported_by`: the token's name."""

    id: str
    at: datetime
    succeeded: bool
    address: str | None
    second_factor: bool | None
    reported_by: str


def of(conn: Connection, workspace: str, user_ids: Iterable[str]) -> Mapping[str, SignIns]:
    """What is known of these users' sign-ins; who is not in it has none."""
    s = t.sign_ins.c
    found: dict[str, SignIns] = {}
    for ids in facts.batched(sorted(set(user_ids))):
        rows = conn.execute(
            select(s.user_id, *(s[name] for name in _FIELDS)).where(s.workspace == workspace, s.user_id.in_(ids))
        )
        found |= {row.user_id: SignIns(*row[1:]) for row in rows}
    return found


def report(
    conn: Connection, workspace: Workspace, actor: Actor, user_id: str, each: SignIn, now: datetime, ids: Ids
) -> SignIns:
    """Keep one report, and lock the account if it is a failure too many. A lock that the door refuses is no error."""
    facts.lock(conn, workspace.name, f"sign-ins {user_id}")
    u = t.users.c
    row = conn.execute(
        select(u.locked_until, u.reclaimed).where(u.workspace == workspace.name, u.id == user_id)
    ).first()
    locked_until, reclaimed = (row.locked_until, row.reclaimed) if row is not None else (None, None)
    known = of(conn, workspace.name, [user_id]).get(user_id, NONE)
    after, until = reported(known, each, locked_until, workspace.sign_ins)
    conn.execute(
        insert(t.sign_in_reports).values(
            workspace=workspace.name,
            id=ids(),
            user_id=user_id,
            at=each.at,
            succeeded=each.succeeded,
            address=each.address,
            second_factor=each.second_factor,
            reported_by=actor.name,
        )
    )
    if after != known:
        key = {"workspace": workspace.name, "user_id": user_id}
        upsert(conn, t.sign_ins, key, {name: getattr(after, name) for name in _FIELDS})
    if until is not None and until > now:
        why = f"{after.failures} failed sign-ins in a row"
        _edit(conn, workspace, actor, user_id, {"locked_until": until}, why, now, ids)
    if each.succeeded and reclaimed:
        why = "signed in again: idle seats come back"
        _edit(conn, workspace, actor, user_id, {"reclaimed": ()}, why, now, ids)
    return after


def _edit(
    conn: Connection,
    workspace: Workspace,
    actor: Actor,
    user_id: str,
    stated: Mapping[str, object],
    why: str,
    now: datetime,
    ids: Ids,
) -> None:
    # Whoever may report sign-ins causes these, whatever else its token may do: the policy decides, not the reporter.
    by_policy = Actor(
        actor.door, actor.name, actor.workspace, ADMIN_SOURCE, token_id=actor.token_id, address=actor.address
    )
    commit(conn, workspace, by_policy, [UserEdit(user_id, ADMIN_SOURCE, facts=stated, why=why)], now, ids)


def recent(conn: Connection, workspace: str, user_id: str, limit: int, before: str | None = None) -> list[Reported]:
    """Reports, the last one that came first; `before`: those that came before that id."""
    r = t.sign_in_reports.c
    query = select(r.id, r.at, r.succeeded, r.address, r.second_factor, r.reported_by)
    query = query.where(r.workspace == workspace, r.user_id == user_id)
    if before is not None:
        query = query.where(r.id < before)
    return [Reported(*row) for row in conn.execute(query.order_by(r.id.desc()).limit(limit))]
