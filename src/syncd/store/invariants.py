"""What must hold of the store after every transaction, written once as queries: for tests, and for whoever doubts a store.

Each check is one statement (or two, and a comparison) over one workspace and names the rows that contradict it. Nothing
here repairs anything: a violation is a defect of the door.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, exists, func, or_, select

from syncd.core.lifecycle import SEATED, status
from syncd.core.ownership import merge
from syncd.core.resource import name_key
from syncd.core.workspace import Workspace
from syncd.store import facts
from syncd.store import tables as t

_SHOWN = 5  # examples in one line


def check(conn: Connection, workspace: Workspace, now: datetime | None = None) -> list[str]:
    """Every violation, one line each; [] when all holds. `now`: also derive each status anew and compare."""
    name = workspace.name
    return [
        *_memberships(conn, name),
        *_closure(conn, name),
        *_names(conn, name),
        *_seats(conn, workspace),
        *_counters(conn, name),
        *_orphans(conn, name),
        *_purged(conn, name),
        *_derived(conn, workspace, now),
    ]


def _line(what: str, rows: object) -> list[str]:
    found = [str(tuple(row)) if not isinstance(row, str) else row for row in rows]  # type: ignore[attr-defined]
    return [f"{what}: {', '.join(sorted(found)[:_SHOWN])} ({len(found)})"] if found else []


def _no_group(workspace: str, id: ColumnElement[str]) -> ColumnElement[bool]:
    return ~exists().where(t.groups.c.workspace == workspace, t.groups.c.id == id)


def _no_user(workspace: str, id: ColumnElement[str]) -> ColumnElement[bool]:
    return ~exists().where(t.users.c.workspace == workspace, t.users.c.id == id)


def _memberships(conn: Connection, name: str) -> list[str]:
    m, e, u = t.memberships.c, t.effective_memberships.c, t.unresolved_members.c
    rows = select(m.group_id, m.member, m.member_id)
    return [
        *_line(
            "memberships in a group that is not there",
            conn.execute(rows.where(m.workspace == name, _no_group(name, m.group_id))),
        ),
        *_line(
            "memberships of a user who is not there",
            conn.execute(rows.where(m.workspace == name, m.member == "user", _no_user(name, m.member_id))),
        ),
        *_line(
            "memberships of a group that is not there",
            conn.execute(rows.where(m.workspace == name, m.member == "group", _no_group(name, m.member_id))),
        ),
        *_line(
            "effective memberships in a group that is not there",
            conn.execute(select(e.user_id, e.group_id).where(e.workspace == name, _no_group(name, e.group_id))),
        ),
        *_line(
            "unresolved members of a group that is not there",
            conn.execute(select(u.group_id, u.ref).where(u.workspace == name, _no_group(name, u.group_id))),
        ),
    ]


def _closure(conn: Connection, name: str) -> list[str]:
    """effective_memberships is the closure of memberships for whoever is not deleted, and empty for whoever is."""
    m, e, u = t.memberships.c, t.effective_memberships.c, t.users.c
    start = (
        select(m.member_id.label("user_id"), m.group_id.label("group_id"))
        .join(t.users, and_(u.workspace == m.workspace, u.id == m.member_id))
        .where(m.workspace == name, m.member == "user", u.status != "deleted")
        .cte("closed", recursive=True)
    )
    closed = start.union(
        select(start.c.user_id, m.group_id).where(
            m.workspace == name, m.member == "group", m.member_id == start.c.group_id
        )
    )
    wanted = {tuple(row) for row in conn.execute(select(closed.c.user_id, closed.c.group_id))}
    kept = {tuple(row) for row in conn.execute(select(e.user_id, e.group_id).where(e.workspace == name))}
    return [
        *_line("effective memberships that no membership explains", kept - wanted),
        *_line("effective memberships that are missing", wanted - kept),
    ]


def _names(conn: Connection, name: str) -> list[str]:
    u, g = t.users.c, t.groups.c
    twice = select(u.user_name_key).where(u.workspace == name, u.status != "deleted").group_by(u.user_name_key)
    displays = select(g.source, g.display_key).where(g.workspace == name).group_by(g.source, g.display_key)
    return [
        *_line("userNames used twice", conn.execute(twice.having(func.count() > 1))),
        *_line("displayNames used twice in a source", conn.execute(displays.having(func.count() > 1))),
    ]


def _seats(conn: Connection, workspace: Workspace) -> list[str]:
    """Seats only for who may hold them; never more than a pool has; nobody waits for what is free."""
    s, u, g = t.seats.c, t.users.c, t.grants.c
    name = workspace.name
    seated = and_(u.workspace == name, u.id == s.user_id, u.status.in_(sorted(SEATED)))
    entitled = and_(g.workspace == name, g.user_id == s.user_id, g.kind == "seat", g.value == s.pool, ~g.denied)
    of_here = select(s.pool, s.user_id).where(s.workspace == name)
    out = [
        *_line("seats of users who may hold none", conn.execute(of_here.where(~exists().where(seated))).all()),
        *_line("seats nobody granted", conn.execute(of_here.where(~exists().where(entitled))).all()),
    ]
    held = {
        row.pool: row.n
        for row in conn.execute(
            select(s.pool, func.count().label("n")).where(s.workspace == name, s.held.is_(True)).group_by(s.pool)
        )
    }
    for pool in workspace.pool_order:
        if pool.capacity is not None and held.get(pool.name, 0) > pool.capacity:
            out.append(f"pool {pool.name}: {held[pool.name]} seats held, {pool.capacity} there are")
        for needed in pool.requires:
            other = t.seats.alias()
            has = exists().where(
                other.c.workspace == name,
                other.c.user_id == s.user_id,
                other.c.pool == needed,
                other.c.held.is_(True),
            )
            rows = conn.execute(of_here.where(s.pool == pool.name, s.held.is_(True), ~has)).all()
            out += _line(f"seats in {pool.name} without one in {needed}", rows)
        for other_pool in workspace.excluders.get(pool.name, ()):
            other = t.seats.alias()
            has = exists().where(
                other.c.workspace == name,
                other.c.user_id == s.user_id,
                other.c.pool == other_pool,
                other.c.held.is_(True),
            )
            rows = conn.execute(of_here.where(s.pool == pool.name, has)).all()
            out += _line(f"seats in {pool.name} beside one in {other_pool}", rows)
        if not pool.pending_counts:
            pending = exists().where(u.workspace == name, u.id == s.user_id, u.status == "pending")
            rows = conn.execute(of_here.where(s.pool == pool.name, pending)).all()
            out += _line(f"seats in {pool.name} of people who have not come yet", rows)
        out += _idle(conn, name, pool.name, pool.requires, pool.capacity, held.get(pool.name, 0))
    return out


def _idle(
    conn: Connection, name: str, pool: str, requires: tuple[str, ...], capacity: int | None, held: int
) -> list[str]:
    s = t.seats.c
    if capacity is not None and held >= capacity:
        return []
    other = t.seats.alias()
    ready = [
        exists().where(
            other.c.workspace == name, other.c.user_id == s.user_id, other.c.pool == needed, other.c.held.is_(True)
        )
        for needed in requires
    ]
    rows = conn.execute(select(s.user_id).where(s.workspace == name, s.pool == pool, s.held.is_(False), *ready)).all()
    return _line(f"users who wait for {pool} although a seat is free", rows)


def _counters(conn: Connection, name: str) -> list[str]:
    s, p, u, g, c = t.seats.c, t.seat_pools.c, t.users.c, t.groups.c, t.totals.c
    real: dict[str, list[int]] = {}
    for row in conn.execute(
        select(s.pool, s.held, func.count().label("n")).where(s.workspace == name).group_by(s.pool, s.held)
    ):
        real.setdefault(row.pool, [0, 0])[0 if row.held else 1] = row.n
    counted = {
        row.name: [row.used, row.waiting]
        for row in conn.execute(select(t.seat_pools).where(p.workspace == name))
        if row.used or row.waiting
    }
    out = [] if counted == real else [f"seat_pools says {counted}, the seats are {real}"]
    totals = {row.resource: row.count for row in conn.execute(select(t.totals).where(c.workspace == name))}
    users = conn.scalar(select(func.count()).where(u.workspace == name, u.status != "deleted")) or 0
    groups = conn.scalar(select(func.count()).where(g.workspace == name)) or 0
    for resource, n in (("user", users), ("group", groups)):
        if totals.get(resource, 0) != n:
            out.append(f"totals says {totals.get(resource, 0)} {resource}s, there are {n}")
    return out


def _orphans(conn: Connection, name: str) -> list[str]:
    """Rows of a user or group that is not there."""
    k, g, s, e = t.links.c, t.grants.c, t.seats.c, t.effective_memberships.c
    return [
        *_line(
            "links of a user who is not there",
            conn.execute(
                select(k.source, k.key).where(k.workspace == name, k.resource == "user", _no_user(name, k.resource_id))
            ),
        ),
        *_line(
            "links of a group that is not there",
            conn.execute(
                select(k.source, k.key).where(
                    k.workspace == name, k.resource == "group", _no_group(name, k.resource_id)
                )
            ),
        ),
        *_line(
            "grants of a user who is not there",
            conn.execute(select(g.user_id, g.value).where(g.workspace == name, _no_user(name, g.user_id))),
        ),
        *_line(
            "seats of a user who is not there",
            conn.execute(select(s.user_id, s.pool).where(s.workspace == name, _no_user(name, s.user_id))),
        ),
        *_line(
            "effective memberships of a user who is not there",
            conn.execute(select(e.user_id, e.group_id).where(e.workspace == name, _no_user(name, e.user_id))),
        ),
    ]


def _purged(conn: Connection, name: str) -> list[str]:
    """Who was purged is nowhere but in the record, and there as an id without a word or a payload."""
    a, p, h, u, k = t.activity.c, t.activity_payloads.c, t.held.c, t.users.c, t.links.c
    purged = select(a.subject_id).where(a.workspace == name, a.action == "purge")
    said = select(a.id, a.subject).where(a.workspace == name, a.action != "purge", a.subject_id.in_(purged))
    payload = exists().where(p.workspace == name, p.activity_id == a.id)
    rows = {
        "users who were purged": select(u.id).where(u.workspace == name, u.id.in_(purged)),
        "links of a user who was purged": select(k.source, k.key).where(k.workspace == name, k.resource_id.in_(purged)),
        "held items of a user who was purged": select(h.subject_id, h.kind).where(
            h.workspace == name, h.subject_id.in_(purged)
        ),
        "payloads of a user who was purged": said.where(payload),
        "names of a user who was purged": said.where(or_(a.subject != a.subject_id, a.why != "")),
    }
    return [line for what, query in rows.items() for line in _line(what, conn.execute(query).all())]


def _groups_values(conn: Connection, workspace: Workspace) -> list[str]:
    """What is unique of groups is a row of the group that has it."""
    g, v = t.groups.c, t.unique_values.c
    unique = select(v.path, v.key, v.holder_id).where(v.workspace == workspace.name, v.resource == "group")
    claimed = {(path, key): id for path, key, id in conn.execute(unique)}
    wanted: dict[str, set[tuple[str, str]]] = {}
    for batch in facts.batched(list(conn.scalars(select(g.id).where(g.workspace == workspace.name)))):
        for group in facts.load_groups(conn, workspace.name, batch).values():
            wanted[group.id] = set(facts.claims(group, workspace.types))
    lying = [key for key, id in claimed.items() if key not in wanted.get(id, set())]
    missing = [key for keys in wanted.values() for key in keys if key not in claimed]
    return [f"groups: what is unique of them is not what they have: {path}" for path, _ in sorted({*lying, *missing})]


def _derived(conn: Connection, workspace: Workspace, now: datetime | None) -> list[str]:
    """What the door derives of each user is what her facts say: name, document, status."""
    u = t.users.c
    out: list[str] = []
    ids = list(conn.scalars(select(u.id).where(u.workspace == workspace.name)))
    rows = {row.id: row for row in conn.execute(select(t.users).where(u.workspace == workspace.name))}
    found: dict[str, set[str]] = defaultdict(set)
    for row in conn.execute(select(t.emails).where(t.emails.c.workspace == workspace.name)):
        found[row.user_id].add(row.value)
    v = t.unique_values.c
    unique = select(v.path, v.key, v.holder_id).where(v.workspace == workspace.name, v.resource == "user")
    claimed = {(path, key): id for path, key, id in conn.execute(unique)}
    out += _groups_values(conn, workspace)
    for batch in facts.batched(ids):
        for user in facts.load_users(conn, workspace.name, batch, workspace.precedence).values():
            row = rows[user.id]
            values, _ = merge(user.links, workspace.precedence)
            name = str(values.get("userName") or user.id)
            if name != row.user_name:
                out.append(f"user {user.id}: userName {row.user_name!r} is not that of her links")
            elif name_key(name) != row.user_name_key:
                out.append(f"user {user.id}: userName {name!r} is not what finds her: rename her or her namesake")
            if found.get(user.id, set()) != facts.email_keys(user.values):
                out.append(f"user {user.name}: her e-mail addresses are not those she is found by")
            wanted = facts.claims(user, workspace.types).keys()
            if {key for key, id in claimed.items() if id == user.id} - wanted or wanted - claimed.keys():
                out.append(f"user {user.name}: what is unique of hers is not what she has")
            if now is None:
                continue
            state, next_at = status(user, workspace.authoritative, now)
            if state != user.status:
                out.append(f"user {user.name}: status {user.status}, her facts say {state}")
            if next_at is not None and (user.next_status_at is None or user.next_status_at > next_at):
                out.append(f"user {user.name}: next_status_at {user.next_status_at}, her facts say {next_at}")
    return out
