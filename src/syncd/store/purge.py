"""The end of a deletion: after the undo window everything personal goes for good, and its record stays whole.

What goes: the user's row, links with their values, password, sign-ins, memberships, grants, seats, held items, her names among
unresolved members, and of her activity the payloads, her name and what people wrote as reasons. What stays: one activity row
per thing that happened, with its time, actor, kind, id and salted hash, so that a hash chain over them still closes. Ids are
never used again; a later entry with the same stable key is a new user.

Each step is a short transaction that checks again that she is still to go; killed anywhere, the next one goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, and_, delete, func, or_, select, update

from syncd.core.actor import Actor
from syncd.core.deletion import final_at, still_shown
from syncd.core.state import User
from syncd.core.workspace import Workspace
from syncd.store import events, facts, leases
from syncd.store import tables as t
from syncd.store.commit import Ids, record
from syncd.store.rows import Rows

DOOR = "timer"
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Doomed:
    """A deleted user whose window is over."""

    id: str
    since: datetime
    end: datetime


def agreed(conn: Connection, now: datetime) -> datetime:
    """The earlier of this machine's clock and the database's: what cannot be undone waits until both say so.

    SQLite has no clock of its own.
    """
    return min(now, leases.moment(conn)) if conn.dialect.name == "postgresql" else now


def due(conn: Connection, workspace: Workspace, now: datetime, limit: int) -> list[Doomed]:
    """Up to `limit` deleted users whose window is over, by id. Those it is not over for are passed over by pages."""
    u = t.users.c
    now = agreed(conn, now)
    ladders = (source.ladder.purge_after for source in workspace.sources.values())
    windows = [window for window in (workspace.purge_after, *ladders) if window is not None]
    if not windows:
        return []
    old = func.coalesce(u.deleted_at, u.modified_at) <= now - min(windows)
    query = select(u.id).where(u.workspace == workspace.name, u.status == "deleted", old).order_by(u.id)
    found: list[Doomed] = []
    last = ""
    while len(found) < limit:
        page = list(conn.scalars(query.where(u.id > last).limit(_PAGE)))
        found += _doomed(conn, workspace, page, now)
        if len(page) < _PAGE:
            break
        last = page[-1]
    return found[:limit]


def _doomed(
    conn: Connection, workspace: Workspace, ids: Sequence[str], now: datetime, lock: bool = False
) -> list[Doomed]:
    """Those of `ids` who are deleted, for long enough, and whom no directory shows any more."""
    u = t.users.c
    # Locked before anything else is read: who restores her at this moment comes before or after.
    people = facts.load_users(conn, workspace.name, ids, workspace.precedence, lock)
    changed = {
        row.id: row.modified_at
        for batch in facts.batched(ids)
        for row in conn.execute(
            select(u.id, u.modified_at).where(u.workspace == workspace.name, u.id.in_(batch), u.status == "deleted")
        )
    }
    found = []
    for id in ids:
        if id not in changed or id not in people or still_shown(people[id], workspace):
            continue
        since = people[id].deleted_at or changed[id]
        end = final_at(people[id], since, workspace)
        if end is not None and end <= now:
            found.append(Doomed(id, since, end))
    return found


def strip(conn: Connection, workspace: Workspace, ids: Sequence[str], now: datetime, limit: int) -> int:
    """Take what is personal out of up to `limit` activity rows of these users. Returns how many; 0: none is left."""
    a, p = t.activity.c, t.activity_payloads.c
    doomed = [each.id for each in _doomed(conn, workspace, ids, agreed(conn, now), lock=True)]
    rows = list(
        conn.scalars(
            select(a.id)
            .join(t.activity_payloads, and_(p.workspace == a.workspace, p.activity_id == a.id))
            .where(a.workspace == workspace.name, a.subject_id.in_(doomed))
            .limit(limit)
        )
    )
    if rows:
        conn.execute(
            update(t.activity).where(a.workspace == workspace.name, a.id.in_(rows)).values(subject=a.subject_id, why="")
        )
        conn.execute(delete(t.activity_payloads).where(p.workspace == workspace.name, p.activity_id.in_(rows)))
    return len(rows)


def purge(conn: Connection, workspace: Workspace, ids: Sequence[str], now: datetime, make_ids: Ids) -> int:
    """End these users, in the caller's transaction. Whoever was restored meanwhile, or has activity that is not
    stripped yet, stays for the next time. Returns how many are gone."""
    name = workspace.name
    doomed = {each.id: each for each in _doomed(conn, workspace, ids, agreed(conn, now), lock=True)}
    doomed = {id: each for id, each in doomed.items() if id not in _recorded(conn, name, doomed)}
    if not doomed:
        return 0
    gone = sorted(doomed)
    people = facts.load_users(conn, name, gone, workspace.precedence)
    x, m, e, k, h = t.unresolved_members, t.memberships, t.effective_memberships, t.links, t.held
    names = sorted({each for user in people.values() for each in _names(user)})
    for batch in facts.batched(names):
        conn.execute(delete(x).where(x.c.workspace == name, x.c.ref.in_(batch)))
    conn.execute(delete(h).where(h.c.workspace == name, h.c.subject_id.in_(gone)))
    conn.execute(delete(m).where(m.c.workspace == name, m.c.member == "user", m.c.member_id.in_(gone)))
    conn.execute(delete(k).where(k.c.workspace == name, k.c.resource == "user", k.c.resource_id.in_(gone)))
    kept_of_her = (t.passwords, t.password_resets, t.sign_ins, t.sign_in_reports, t.offboardings)
    for table in (e, t.grants, t.seats, t.emails, *kept_of_her, t.invitations, t.email_changes):
        conn.execute(delete(table).where(table.c.workspace == name, table.c.user_id.in_(gone)))
    a = t.mails.c
    conn.execute(delete(t.mails).where(a.workspace == name, or_(a.about_id.in_(gone), a.to_id.in_(gone))))
    conn.execute(delete(t.users).where(t.users.c.workspace == name, t.users.c.id.in_(gone)))
    rows = Rows(name)
    for id, each in doomed.items():
        why = f"deleted on {each.since:%Y-%m-%d}, final since {each.end:%Y-%m-%d}"
        record(rows, Actor(DOOR, DOOR, name), "purge", id, id, why, None, None, now, make_ids)
        events.tell(rows, f"/Users/{id}", id, {events.PURGED: {}}, now, make_ids())
    rows.write(conn)
    return len(gone)


def _recorded(conn: Connection, workspace: str, ids: Iterable[str]) -> set[str]:
    a, p = t.activity.c, t.activity_payloads.c
    return set(
        conn.scalars(
            select(a.subject_id)
            .distinct()
            .join(t.activity_payloads, and_(p.workspace == a.workspace, p.activity_id == a.id))
            .where(a.workspace == workspace, a.subject_id.in_(sorted(ids)))
        )
    )


def _names(user: User) -> Iterable[str]:
    """How a group's source may name her among its members."""
    yield user.id
    yield user.name
    for link in user.links:
        yield from filter(None, (link.dn, link.dn_key, link.key))


def deleted_since(conn: Connection, workspace: str, user: User) -> datetime | None:
    """When she was deleted; None if she is not. Nothing of a deleted user changes, so that her last change was her deletion
    where nobody gave its time."""
    u = t.users.c
    if user.status != "deleted" or user.deleted_at is not None:
        return user.deleted_at
    changed: datetime | None = conn.scalar(select(u.modified_at).where(u.workspace == workspace, u.id == user.id))
    return changed


def purged_at(conn: Connection, workspace: str, id: str) -> datetime | None:
    """When this user was ended; None if that never was."""
    a = t.activity.c
    found: datetime | None = conn.scalar(
        select(a.at).where(a.workspace == workspace, a.subject_id == id, a.action == "purge")
    )
    return found
