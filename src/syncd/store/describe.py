"""What the store knows of one user: facts, every grant and why, what is scheduled next; and how one is found by name.

Read only. A user's status is evaluated at `now`, so that a late timer never shows a right that has ended. Answers are JSON
objects (instants as datetime, for the caller to render); the command line and the API show the same ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from difflib import get_close_matches
from typing import Any, TypeAlias

import orjson
from sqlalchemy import Connection, false, func, select

from syncd.core.access import DENIAL, Role
from syncd.core.deletion import final_at, still_shown
from syncd.core.denial import counted
from syncd.core.filter import parse_filter
from syncd.core.lifecycle import may_sign_in, status
from syncd.core.offboarding import MANAGER
from syncd.core.ownership import merge, owned
from syncd.core.resource import fold, name_key
from syncd.core.rules import evaluate, through_groups
from syncd.core.schema import USER
from syncd.core.signins import SignIns
from syncd.core.state import STAGES, Grant, Link, Membership, Seat, User
from syncd.core.workspace import Workspace
from syncd.errors import Conflict, NotFound
from syncd.store import email_changes, facts, passwords, signins
from syncd.store import tables as t
from syncd.store.allocate import wanted
from syncd.store.email_changes import EmailChange
from syncd.store.made_roles import known
from syncd.store.passwords import Kept
from syncd.store.plans import pool_use
from syncd.store.purge import deleted_since, purged_at
from syncd.store.search import compile_filter

Json = dict[str, Any]
Conn: TypeAlias = Connection  # for callers that hand a connection on and speak no SQL


# -- finding ----------------------------------------------------------------------------------------------------------------


def find_user(conn: Connection, workspace: str, who: str, deleted: bool = False) -> str:
    """The id of the user whose id, userName or e-mail address this is; names are compared without case.

    `deleted`: only among deleted users, the last deleted first; otherwise a deleted one is found by id only.
    Raises NotFound with suggestions, Conflict if an address is that of several.
    """
    u = t.users.c
    mine = select(u.id).where(u.workspace == workspace)
    if (found := conn.scalar(mine.where(u.id == who))) is not None:
        return str(found)
    mine = mine.where(u.status == "deleted" if deleted else u.status != "deleted")
    named = mine.where(u.user_name_key == name_key(who)).order_by(u.deleted_at.desc(), u.modified_at.desc())
    if (found := conn.scalars(named).first()) is not None:
        return str(found)
    if "@" in who:
        owners = with_address(conn, workspace, who, deleted)
        if len(owners) > 1:
            raise Conflict(f"{who} is the address of {len(owners)} users or more: name one by id: {', '.join(owners)}")
        if owners:
            return str(owners[0])
    raise NotFound(_no_user(conn, workspace, who, deleted))


def user_named(conn: Connection, workspace: str, user_name: str) -> str | None:
    """The id of the undeleted user of exactly this userName, compared without case."""
    u = t.users.c
    named = select(u.id).where(u.workspace == workspace, u.user_name_key == name_key(user_name), u.status != "deleted")
    found: str | None = conn.scalar(named)
    return found


def signs_in_as(conn: Connection, workspace: str, typed: str) -> str | None:
    """The id of the undeleted user of this userName, or else of this e-mail address, if it is one user's only."""
    named = user_named(conn, workspace, typed)
    if named is not None or "@" not in typed:
        return named
    owners = with_address(conn, workspace, typed)
    return owners[0] if len(owners) == 1 else None


def with_address(conn: Connection, workspace: str, address: str, deleted: bool = False) -> list[str]:
    """The ids of the undeleted (or the deleted) users with this e-mail address, in any case; of many, the first five. They
    are found by an index, so that a stranger's question costs nothing."""
    u, e = t.users.c, t.emails.c
    has = parse_filter(f"emails.value eq {orjson.dumps(address).decode()}", USER)
    near = select(e.user_id).where(e.workspace == workspace, e.value == facts.email_key(address))
    mine = select(u.id).where(u.workspace == workspace, u.id.in_(near))
    mine = mine.where(u.status == "deleted" if deleted else u.status != "deleted")
    return list(conn.scalars(mine.where(compile_filter(has, conn.dialect.name, u.search)).order_by(u.id).limit(5)))  # type: ignore[arg-type]


def _no_user(conn: Connection, workspace: str, who: str, deleted: bool) -> str:
    u = t.users.c
    known = select(u.user_name).where(u.workspace == workspace)
    known = known.where(u.status == "deleted" if deleted else u.status != "deleted")
    near = known.where(u.user_name_key.startswith(name_key(who)[:2], autoescape=True)).order_by(u.user_name_key)
    close = get_close_matches(who, conn.scalars(near.limit(5000)).all(), n=3)
    hint = f"; did you mean {' or '.join(close)}?" if close else ": give an id, a userName or an e-mail address"
    if (gone := purged_at(conn, workspace, who)) is not None:
        return f"user {who} of workspace {workspace} was deleted and, on {gone:%Y-%m-%d}, purged: that is final"
    if deleted and not close:
        hint = ": a deletion is final when its days are over, and then nothing is left to restore"
    if not deleted and conn.scalar(select(u.id).where(u.workspace == workspace, u.user_name_key == name_key(who))):
        hint = "; one of that name was deleted (`syncd user restore`)"
    return f"workspace {workspace} has no {'deleted ' if deleted else ''}user {who!r}{hint}"


def find_group(conn: Connection, workspace: str, which: str) -> str:
    """The id of the group of this id or display name. Raises NotFound; Conflict if two sources have one of that name."""
    g = t.groups.c
    mine = select(g.id, g.source, g.display_name).where(g.workspace == workspace)
    rows = conn.execute(mine.where(g.id == which)).all() or conn.execute(mine.where(g.display_key == fold(which))).all()
    if len(rows) > 1:
        choices = ", ".join(f"{row.id} (source {row.source})" for row in rows)
        raise Conflict(f"{len(rows)} groups are called {which!r}: name one by id: {choices}")
    if rows:
        return str(rows[0].id)
    names = conn.scalars(select(g.display_name).where(g.workspace == workspace).limit(20000)).all()
    close = get_close_matches(which, names, n=3)
    hint = f"; did you mean {' or '.join(close)}?" if close else ": see `syncd group list`"
    raise NotFound(f"workspace {workspace} has no group {which!r}{hint}")


def most_granted(conn: Connection, workspace: str) -> str | None:
    """The id of the user with the most to explain; None if there are no grants."""
    g = t.grants.c
    query = select(g.user_id).where(g.workspace == workspace).group_by(g.user_id)
    return conn.scalars(query.order_by(func.count().desc(), g.user_id).limit(1)).first()


def user_facts(conn: Connection, workspace: Workspace, id: str) -> User:
    """One user as the door sees her, deleted ones included. Raises NotFound."""
    found = facts.load_users(conn, workspace.name, [id], workspace.precedence)
    if id not in found:
        raise NotFound(f"workspace {workspace.name} has no user {id!r}")
    return found[id]


# -- one user ---------------------------------------------------------------------------------------------------------------


_CLOSING = ("deactivate", "reactivate", "create")
_JUST_READ = "read from"  # why somebody was created of whom there is no more to say


def explain(conn: Connection, workspace: Workspace, id: str, now: datetime) -> Json:
    """Everything about one user: facts, access with the origin of every grant, and what is scheduled next.

    A grant is {"value", "origin": "direct|rule|source", "name": who or which rule, "why", "run", "since", "expires"}.
    """
    user = user_facts(conn, workspace, id)
    state, next_at = status(user, workspace.authoritative, now)
    unended = counted(grant for grant in user.stated if grant.expires_at is None or grant.expires_at > now)
    live = unended.grants
    given = [grant for grant in live if not grant.value.startswith(DENIAL)]
    held = _held(conn, workspace.name, id)
    waiting = [_waiting(conn, workspace, user, seat, live) for seat in user.seats if not seat.held]
    return {
        "id": user.id,
        "userName": user.values.get("userName"),
        "displayName": user.values.get("displayName"),
        "manager": _manager(conn, workspace.name, user),
        "status": state,
        "enabled": may_sign_in(user, workspace.authoritative, now),
        "suspended": user.suspended is not None,
        "suspended_because": user.suspended,
        "locked_until": user.locked_until,
        "deleted_at": user.deleted_at,
        "password": _password(passwords.find(conn, workspace.name, id)),
        "email_change": _email_change(email_changes.find(conn, workspace.name, id, now)),
        "sign_ins": _sign_ins(signins.of(conn, workspace.name, [id]).get(id, signins.NONE)),
        "roles": [_grant(grant) for grant in given if grant.kind == "role"],
        "permissions": list(_permissions(live, known(conn, workspace))),
        "data_scopes": [_scope(grant) for grant in given if grant.kind == "scope"],
        "seats": [_seat(seat, live) for seat in user.seats if seat.held],
        "waiting": waiting,
        "denials": [
            _denial(grant, unended.denied)
            for grant in live
            if grant.value.startswith(DENIAL) and grant.kind != "permission"
        ],
        "reclaimed": list(user.reclaimed),
        "withheld": _withheld(conn, workspace, user),
        "groups": _groups(conn, workspace.name, user),
        "links": [
            {**_link(link, workspace), "because": _closed_because(conn, workspace.name, user.id, link)}
            for link in user.links
        ],
        "scheduled": list(
            _scheduled(user, workspace, now, state, next_at, waiting, deleted_since(conn, workspace.name, user))
        )
        + list(_seatless(conn, workspace, user)),
        "held": held,
        "values": dict(user.values),
        "owners": [
            {
                **{"attribute": each.attribute, "source": each.source, "why": each.why},
                "aside": [{"source": source, "value": value} for source, value in each.aside],
            }
            for each in owned(user.links, workspace.precedence)
        ],
        "created_at": user.created_at,
        "version": user.version,
    }


def _manager(conn: Connection, workspace: str, user: User) -> str | None:
    """Her manager's userName; the id, where nobody here has it."""
    id = user.values.get(MANAGER)
    u = t.users.c
    return id and (conn.scalar(select(u.user_name).where(u.workspace == workspace, u.id == id)) or str(id))


def _password(kept: Kept | None) -> Json | None:
    """That there is one, and nothing of it."""
    if kept is None:
        return None
    return {"set_at": kept.set_at, "source": kept.source, "must_change": kept.must_change}


def _email_change(waiting: EmailChange | None) -> Json | None:
    """The address that waits to be confirmed."""
    if waiting is None:
        return None
    told = ("user_id", "address", "state", "asked_by", "asked_at", "sent_at", "expires_at", "mail", "mail_error")
    return {name: getattr(waiting, name) for name in told}


def _sign_ins(known: SignIns) -> Json:
    return {
        **{"last_at": known.last_at, "last_address": known.last_address, "second_factor": known.second_factor},
        **{"failed_attempts": known.failures, "failed_at": known.failed_at, "failed_address": known.failed_address},
    }


def _grant(grant: Grant) -> Json:
    return {
        **{"value": grant.value, "origin": grant.origin, "name": grant.name, "why": grant.why},
        **{"run": grant.run_id, "since": grant.created_at, "expires": grant.expires_at},
    }


def _denial(grant: Grant, taken: Iterable[Grant]) -> Json:
    """What is denied by it; `taken`: where she would have it from."""
    denied = (grant.kind, grant.value.removeprefix(DENIAL))
    sources = sorted(each.comes_from for each in taken if (each.kind, each.value) == denied)
    return {**_grant(grant), "kind": grant.kind, "value": denied[1], "taken": sources}


def _scope(grant: Grant) -> Json:
    kind, _, value = grant.value.partition("=")
    return {**_grant(grant), "kind": kind, "value": value}


def _permissions(grants: Iterable[Grant], roles: Mapping[str, Role]) -> Iterator[Json]:
    """Permissions given singly, and those of every role, which say the role they come with."""
    for grant in grants:
        if grant.kind == "permission":
            yield {**_grant(grant), "role": None}
        elif grant.kind == "role" and grant.value in roles:
            for permission in sorted(roles[grant.value].permissions):
                yield {**_grant(grant), "value": permission, "role": grant.value}


def _seat(seat: Seat, grants: Iterable[Grant]) -> Json:
    """One seat with the grant it rests on; `also` names the others."""
    own = [_grant(grant) for grant in grants if (grant.kind, grant.value) == ("seat", seat.pool)]
    first = own[0] if own else {"value": seat.pool, "origin": None, "name": None, "why": "", "run": None}
    return {**first, "since": seat.since, "priority": seat.priority, "also": own[1:]}


def _waiting(conn: Connection, workspace: Workspace, user: User, seat: Seat, grants: Iterable[Grant]) -> Json:
    s = t.seats.c
    before = (s.priority < seat.priority) | (
        (s.priority == seat.priority) & ((s.since < seat.since) | ((s.since == seat.since) & (s.user_id < user.id)))
    )
    queue = select(func.count()).where(s.workspace == workspace.name, s.pool == seat.pool, s.held == false())
    holding = {each.pool for each in user.seats if each.held}
    pool = workspace.pools.get(seat.pool)
    return {
        **_seat(seat, grants),
        "position": 1 + (conn.scalar(queue.where(before)) or 0),
        "queue": conn.scalar(queue) or 0,
        "needs": [needed for needed in (pool.requires if pool else ()) if needed not in holding],
    }


def _withheld(conn: Connection, workspace: Workspace, user: User) -> list[Json]:
    """What a rule or a group would give her, were it not that only these sources' word leads there, who may not grant it."""
    graph = facts.load_graph(conn, workspace.name, [each.group for each in user.memberships])
    paths = graph.closure(each.group for each in user.memberships)
    may = replace(workspace.may_grant, roles=known(conn, workspace))
    owners = merge(user.links, workspace.precedence)[1]
    refused = evaluate(workspace.rules, user, owners, graph, may, workspace.types.rule_user)[1]
    refused += through_groups(user, paths, graph, may)[1]
    has = {(each.kind, each.value) for each in user.stated}
    return [
        {"kind": each.kind, "value": each.value, "through": each.rule, "sources": list(each.sources)}
        for each in refused
        if (each.kind, each.value) not in has
    ]


def _groups(conn: Connection, workspace: str, user: User) -> list[Json]:
    graph = facts.load_graph(conn, workspace, [each.group for each in user.memberships])
    stated: dict[str, list[Membership]] = {}
    for each in user.memberships:
        stated.setdefault(each.group, []).append(each)
    ways = {group: graph.closure((group,)) for group in sorted(stated)}  # of each that she is in, up to all above it
    found = []
    for id, path in graph.closure(stated).items():
        if id in graph.names:
            name = graph.names[id]
            others = [above[id] for group, above in ways.items() if group != path[0] and id in above]
            found.append(
                {
                    **{"value": id, "display": name.display, "source": name.source},
                    **{"type": "direct" if id in stated else "indirect", "path": graph.path_text(path)},
                    "via": graph.displays(path[:-1]),
                    "also": sorted((graph.displays(other[:-1]) for other in others), key=lambda via: (len(via), via)),
                    "origins": sorted(each.origin for each in stated.get(id, ())),
                }
            )
    return sorted(found, key=lambda each: (each["display"], each["value"]))


def _link(link: Link, workspace: Workspace) -> Json:
    return {
        **{"source": link.source, "key": link.key, "dn": link.dn, "enabled": link.enabled},
        **{"authoritative": workspace.authoritative(link.source), "stage": link.stage},
        **{"missing_since": link.missing_since, "missing_reads": link.missing_reads},
        **{"starts_at": link.starts_at, "ends_at": link.ends_at, "locked_until": link.locked_until},
        "since": link.created_at,
        "values": dict(link.values),
    }


def _closed_because(conn: Connection, workspace: str, id: str, link: Link) -> str | None:
    """The words with which this source disabled her."""
    if link.enabled is not False:
        return None
    a = t.activity.c
    hers = (a.workspace == workspace, a.subject_id == id, a.source == link.source)
    rows = conn.execute(
        select(a.action, a.why).where(*hers, a.action.in_(_CLOSING)).order_by(a.id.desc()).limit(1)
    ).all()
    return next((row.why for row in rows if row.action != "reactivate" and not row.why.startswith(_JUST_READ)), None)


def _held(conn: Connection, workspace: str, id: str) -> list[Json]:
    h = t.held.c
    rows = conn.execute(
        select(h.source, h.kind, h.guard, h.why, h.digest, h.run_id, h.created_at)
        .where(h.workspace == workspace, h.subject_id == id)
        .order_by(h.created_at, h.kind)
    )
    return [
        {
            **{"source": row.source, "kind": row.kind, "guard": row.guard, "why": row.why, "digest": row.digest},
            **{"run": row.run_id, "since": row.created_at},
        }
        for row in rows
    ]


def _scheduled(
    user: User,
    workspace: Workspace,
    now: datetime,
    state: str,
    next_at: datetime | None,
    waiting: Iterable[Json],
    deleted: datetime | None,
) -> Iterator[Json]:
    """What will happen without anybody doing anything, the next first; what has no date comes last."""
    dated = list(_transitions(user, workspace, state, next_at))
    for grant in user.stated:
        if grant.expires_at is not None and grant.expires_at > now:
            dated.append({"at": grant.expires_at, "what": f"{grant.kind} {grant.value} ends", "because": grant.why})
    for link in user.links:
        dated += _rungs(link, workspace)
    end = final_at(user, deleted, workspace) if deleted is not None else None
    shown = still_shown(user, workspace)
    if end is not None and not shown:
        dated.append({"at": end, "what": "purged for good", "because": "deleted; can be restored until then"})
    yield from sorted(dated, key=lambda each: each["at"])
    if end is not None and shown:
        yield {"at": None, "what": "purged for good", "because": "deleted; when no directory has her entry any more"}
    for each in waiting:
        needs = f"first needs a seat in {', '.join(each['needs'])}" if each["needs"] else "the next free seat in line"
        place = f"{each['position']} of {each['queue']} in line"
        yield {"at": None, "what": f"seat in {each['value']}: {place}", "because": needs}


def _seatless(conn: Connection, workspace: Workspace, user: User) -> Iterator[Json]:
    """Seats that she is to have, and has not, nor a place in the line: the pool is full and refuses, or another excludes it."""
    missing = wanted(workspace, user) - {seat.pool for seat in user.seats}
    held = {seat.pool for seat in user.seats if seat.held}
    use = pool_use(conn, workspace) if missing else {}
    for pool in sorted(missing):
        excluding = sorted(held & workspace.excluders.get(pool, frozenset()))
        needs = sorted(need for need in workspace.pools[pool].requires if need not in held)
        because = f"the pool is full: {use[pool].used:,} of {use[pool].limit or 0:,} are taken, and it keeps no line"
        if excluding:
            because = f"her seat in {', '.join(excluding)} excludes it"
        elif needs:
            because = f"first needs a seat in {', '.join(needs)}"
        yield {"at": None, "what": f"no seat in {pool}", "because": because}


def _transitions(user: User, workspace: Workspace, state: str, at: datetime | None) -> Iterator[Json]:
    """Every date ahead that changes her status: a start as well as the end after it."""
    while at is not None:
        then, after = status(user, workspace.authoritative, at)
        stated = [link.source for link in user.links if at in (link.starts_at, link.ends_at)]
        locked = [link.source for link in user.links if at == link.locked_until]
        because = f"source {', '.join(stated)} states this date" if stated else "the lock ends"
        if locked and not stated:
            because = f"the lock-out in {', '.join(locked)} ends"
        if then != state:
            yield {"at": at, "what": f"status becomes {then}", "because": because}
        state, at = then, after


def _rungs(link: Link, workspace: Workspace) -> Iterator[Json]:
    if link.missing_since is None or link.stage is None or link.source not in workspace.sources:
        return
    ladder = workspace.source(link.source).ladder
    steps = zip(STAGES[1:], (ladder.suspend_after, ladder.deactivate_after, ladder.delete_after), strict=True)
    for stage, after in steps:
        if after is not None and STAGES.index(stage) > STAGES.index(link.stage):
            yield {
                "at": link.missing_since + after,
                "what": stage,
                "because": f"source {link.source} has not had the entry since {link.missing_since:%Y-%m-%d %H:%M}; "
                "the first complete read after this date that misses it too",
            }
