"""Who leaves when, who is told before, and what is handed over to whom.

The date itself is a fact of a link and comes due as every date does (store/transitions.py). A row here keeps what has no
place there: who takes over, why, and what was told already; so that each warning and the hand-over are told once, whatever
is restarted. A date that moves begins anew; one that is taken back is told to who was warned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

import orjson
from sqlalchemy import Connection, delete, select, update

from syncd.core.actor import ADMIN_SOURCE, Actor
from syncd.core.filter import parse_filter
from syncd.core.lifecycle import SEATED, status
from syncd.core.offboarding import MANAGER, Handover, Leave, dated, leave, undated, warning
from syncd.core.schema import ENTERPRISE_USER, USER
from syncd.core.state import User
from syncd.core.workspace import Workspace
from syncd.errors import Conflict, HeldByGuard, InvalidValue
from syncd.store import events, facts
from syncd.store import tables as t
from syncd.store.commit import Ids, Outcome, commit, record
from syncd.store.posting import post
from syncd.store.rows import Rows, upsert
from syncd.store.search import compile_filter

DOOR = "timer"
LATE = timedelta(days=7)  # whose end came longer ago is history, not a hand-over
DEPTH = 20  # managers of managers: circles are survived
DUE, CANCELLED, HANDOVER = "due", "cancelled", "handover"
_o, _u, _k = t.offboardings.c, t.users.c, t.links.c
_LOOKED_FOR = 50  # managers in one look through everybody
_MANAGER_KEYS = (f"{ENTERPRISE_USER.lower()}:manager", "value")  # where the search view has it


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who takes over. `because`: chosen, manager, or a manager above who is still there."""

    id: str
    name: str
    because: Literal["chosen", "manager", "manager above"]


@dataclass(frozen=True, slots=True)
class Offboarding:
    """How one user's leaving stands. `leave` None: nobody states a date."""

    user_id: str
    name: str
    status: str
    leave: Leave | None
    settled: bool = False  # it was committed that she has no access; a guard may hold that
    chosen: str | None = None  # who takes over, if somebody chose
    reason: str = ""
    set_by: str | None = None
    set_at: datetime | None = None
    warned: timedelta | None = None
    done_at: datetime | None = None
    handed_over: Handover | None = None  # as it was told when she left


# -- people ------------------------------------------------------------------------------------------------------------------


def schedule(
    conn: Connection,
    workspace: Workspace,
    actor: Actor,
    user: User,
    at: datetime | None,
    to: str | None,
    why: str,
    now: datetime,
    ids: Ids,
) -> Outcome:
    """She leaves at this instant (None: now). `to`: the id of who takes over, None: her manager. What the door refuses is in
    the outcome, and it refuses now what it would refuse then.

    Raises InvalidValue for a date that has passed, or a recipient who cannot be one.
    """
    if at is not None and at <= now:
        raise InvalidValue(f"{at:%Y-%m-%d %H:%M} UTC has passed: name a date ahead, or none to let her leave now")
    _may_take_over(conn, workspace, user.id, to, now)
    if at is not None:
        then = commit(conn, workspace, actor, [dated(user, now, why)], now, ids, dry_run=True)
        if then.error is not None and not isinstance(then.error, HeldByGuard):  # limits are those of the day itself
            return then
    outcome = commit(conn, workspace, actor, [dated(user, at or now, why)], now, ids)
    if outcome.error is None:
        _keep(conn, workspace.name, user.id, at or now, ADMIN_SOURCE, to, why, actor.name, now)
        said = {"ends_at": (at or now).isoformat(), "hand_over_to": to}
        _record(conn, workspace.name, actor, "offboard", user, why, said, now, ids)
    return outcome


def cancel(
    conn: Connection, workspace: Workspace, actor: Actor, user: User, why: str, now: datetime, ids: Ids
) -> Outcome:
    """She stays. Raises Conflict if nobody here said that she leaves, or she has left."""
    edit = undated(user, why)
    own = user.link(ADMIN_SOURCE)
    if edit is None or own is None:
        stated = leave(user, workspace.authoritative)
        if stated is not None:
            raise Conflict(f"{user.name} leaves by the word of source {stated.source}: change the date there")
        raise Conflict(f"{user.name} has no date of leaving")
    if own.ends_at is not None and own.ends_at <= now:
        raise Conflict(f"{user.name} has left on {own.ends_at:%Y-%m-%d %H:%M} UTC: `reactivate` brings her back")
    outcome = commit(conn, workspace, actor, [edit], now, ids)
    if outcome.error is None:
        said = {"ends_at": None}
        _record(conn, workspace.name, actor, "offboard_cancel", user, why, said, now, ids)
        left = leave(
            facts.load_users(conn, workspace.name, [user.id], workspace.precedence)[user.id], workspace.authoritative
        )
        if left is None:
            _take_back(conn, workspace, user, now, ids)
    return outcome


def choose(
    conn: Connection, workspace: Workspace, actor: Actor, user: User, to: str | None, now: datetime, ids: Ids
) -> None:
    """Who takes over what is hers; None: her manager. Raises InvalidValue for somebody who cannot, Conflict if she stays."""
    _may_take_over(conn, workspace, user.id, to, now)
    stated = leave(user, workspace.authoritative)
    if stated is None:
        raise Conflict(f"{user.name} has no date of leaving")
    key = {"workspace": workspace.name, "user_id": user.id}
    if not conn.execute(update(t.offboardings).where(*_mine(key)).values(hand_over_to=to)).rowcount:
        _keep(conn, workspace.name, user.id, stated.ends_at, stated.source, to, "", actor.name, now)
    _record(conn, workspace.name, actor, "handover_to", user, "", {"hand_over_to": to}, now, ids)


def _may_take_over(conn: Connection, workspace: Workspace, leaver: str, to: str | None, now: datetime) -> None:
    if to is None:
        return
    if to == leaver:
        raise InvalidValue("she cannot take over from herself")
    found = facts.load_users(conn, workspace.name, [to], workspace.precedence).get(to)
    if found is None:
        raise InvalidValue(f"there is no user {to[:64]!r} to take over")
    state = status(found, workspace.authoritative, now)[0]
    if state not in SEATED:
        raise InvalidValue(f"{found.name} is {state} and cannot take over")


def _keep(
    conn: Connection,
    workspace: str,
    user_id: str,
    ends_at: datetime,
    source: str,
    to: str | None,
    reason: str,
    by: str | None,
    now: datetime,
) -> None:
    """A date that is new, or another than before: nothing was told of it yet."""
    values = {"ends_at": ends_at, "source": source, "hand_over_to": to, "reason": reason, "set_by": by, "set_at": now}
    told = {"warned_s": None, "done_at": None, "handover": None}
    upsert(conn, t.offboardings, {"workspace": workspace, "user_id": user_id}, {**values, **told})


def _record(
    conn: Connection,
    workspace: str,
    actor: Actor,
    action: str,
    user: User,
    why: str,
    said: Any,
    now: datetime,
    ids: Ids,
) -> None:
    rows = Rows(workspace)
    record(rows, actor, action, user.name, user.id, why, None, said, now, ids)
    rows.write(conn)


# -- looking -----------------------------------------------------------------------------------------------------------------


def find(conn: Connection, workspace: Workspace, user: User, now: datetime) -> Offboarding:
    """How her leaving stands, whoever stated the date."""
    key = {"workspace": workspace.name, "user_id": user.id}
    row = conn.execute(select(t.offboardings).where(*_mine(key))).first()
    return _offboarding(workspace, user, row, now)


def _mine(key: Mapping[str, str]) -> tuple[Any, ...]:
    return tuple(t.offboardings.c[name] == value for name, value in key.items())


def _offboarding(workspace: Workspace, user: User, row: Any, now: datetime) -> Offboarding:
    stated = leave(user, workspace.authoritative)
    state = status(user, workspace.authoritative, now)[0]
    known = Offboarding(user.id, user.name, state, stated, user.status not in SEATED)
    if row is None:
        return known
    known = replace(known, chosen=row.hand_over_to, reason=row.reason, set_by=row.set_by, set_at=row.set_at)
    if stated is None or stated.ends_at != row.ends_at:
        return known
    warned = None if row.warned_s is None else timedelta(seconds=row.warned_s)
    what = Handover(**{name: tuple(ids) for name, ids in row.handover.items()}) if row.handover else None
    return replace(known, warned=warned, done_at=row.done_at, handed_over=what)


def leaving(
    conn: Connection, workspace: Workspace, now: datetime, until: datetime, since: datetime | None = None
) -> list[Offboarding]:
    """Who leaves between `since` (now) and `until`, the first first."""
    ids = _ending(conn, workspace, since or now, until)
    return sorted(
        (each for each in _load(conn, workspace, ids, now) if each.leave is not None and each.status != "deleted"),
        key=lambda each: (each.leave.ends_at if each.leave else now, each.user_id),
    )


def _ending(conn: Connection, workspace: Workspace, since: datetime, until: datetime) -> list[str]:
    query = select(_k.resource_id, _k.source).where(
        _k.workspace == workspace.name, _k.resource == "user", _k.ends_at >= since, _k.ends_at <= until
    )
    return sorted({row.resource_id for row in conn.execute(query) if workspace.authoritative(row.source)})


def _load(conn: Connection, workspace: Workspace, ids: Sequence[str], now: datetime) -> Iterator[Offboarding]:
    people = facts.load_users(conn, workspace.name, ids, workspace.precedence)
    rows = {
        row.user_id: row
        for batch in facts.batched(ids)
        for row in conn.execute(select(t.offboardings).where(_o.workspace == workspace.name, _o.user_id.in_(batch)))
    }
    for id in ids:
        if id in people:
            yield _offboarding(workspace, people[id], rows.get(id), now)


def recipient(
    conn: Connection, workspace: Workspace, user: User, chosen: str | None, now: datetime
) -> Recipient | None:
    """Who takes over: who was chosen, else her manager, else the first above who is still there; None: nobody is."""
    seen = {user.id}
    wanted = chosen or user.values.get(MANAGER)
    for _ in range(DEPTH):
        if not isinstance(wanted, str) or wanted in seen:
            return None
        seen.add(wanted)
        found = facts.load_users(conn, workspace.name, [wanted], workspace.precedence).get(wanted)
        if found is None:
            return None
        if status(found, workspace.authoritative, now)[0] in SEATED:
            if wanted == chosen:
                return Recipient(found.id, found.name, "chosen")
            return Recipient(found.id, found.name, "manager" if wanted == user.values.get(MANAGER) else "manager above")
        wanted = found.values.get(MANAGER)
    return None


def reports(conn: Connection, workspace: str, user_id: str) -> list[str]:
    """Ids of those whose manager she is. Looks through everybody."""
    return reports_of(conn, workspace, [user_id])[user_id]


def reports_of(conn: Connection, workspace: str, user_ids: Sequence[str]) -> dict[str, list[str]]:
    """For each of these, whose manager she is. Looks through everybody once for many."""
    found: dict[str, list[str]] = {id: [] for id in user_ids}
    mine = select(_u.id, _u.search).where(_u.workspace == workspace, _u.status != "deleted").order_by(_u.id)
    for ids in facts.batched(sorted(found), _LOOKED_FOR):
        theirs = " or ".join(f"{MANAGER} eq {orjson.dumps(id).decode()}" for id in ids)
        managed = compile_filter(parse_filter(theirs, USER), conn.dialect.name, _u.search)  # type: ignore[arg-type]
        for row in conn.execute(mine.where(managed)):
            manager = row.search[_MANAGER_KEYS[0]][_MANAGER_KEYS[1]]
            if row.id != manager:
                found[manager].append(row.id)
    return found


def user_names(conn: Connection, workspace: str, ids: Sequence[str]) -> dict[str, str]:
    """Their userNames by id; whoever is gone is not in it."""
    return {
        row.id: row.user_name
        for batch in facts.batched(ids)
        for row in conn.execute(select(_u.id, _u.user_name).where(_u.workspace == workspace, _u.id.in_(batch)))
    }


def group_names(conn: Connection, workspace: str, ids: Sequence[str]) -> dict[str, str]:
    g = t.groups.c
    return {
        row.id: row.display_name
        for batch in facts.batched(ids)
        for row in conn.execute(select(g.id, g.display_name).where(g.workspace == workspace, g.id.in_(batch)))
    }


@dataclass(frozen=True, slots=True)
class Report:
    """What is handed over to whom, with the names of today. `then`: as it was told when she left, else what is hers now."""

    standing: Offboarding
    to: Recipient | None
    what: Handover
    then: bool
    people: Mapping[str, str]
    groups: Mapping[str, str]


def report(conn: Connection, workspace: Workspace, user: User, now: datetime) -> Report:
    known = find(conn, workspace, user, now)
    what = known.handed_over or Handover.of(user, reports(conn, workspace.name, user.id), now)
    return Report(
        known,
        recipient(conn, workspace, user, known.chosen, now),
        what,
        known.handed_over is not None,
        user_names(conn, workspace.name, what.reports),
        group_names(conn, workspace.name, what.groups),
    )


# -- time --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Told:
    """What somebody is told by an event. `before`: of a warning, how long."""

    kind: str
    user: User
    ends_at: datetime
    to: Recipient | None
    before: timedelta | None = None


def due(conn: Connection, workspace: Workspace, now: datetime) -> list[tuple[str, str]]:
    """Users of whom something is to be told now, and what: a warning, the hand-over, or that the date was taken back."""
    ids = _ending(conn, workspace, now - LATE, now + max(workspace.warn_before, default=timedelta(0)))
    told = ((each.user_id, _next(each, workspace, now)) for each in _load(conn, workspace, ids, now))
    dated = select(_k.key).where(
        _k.workspace == _o.workspace, _k.resource == "user", _k.resource_id == _o.user_id, _k.ends_at.is_not(None)
    )
    undated = select(_o.user_id).where(_o.workspace == workspace.name, _o.done_at.is_(None), ~dated.exists())
    return [
        *((id, next[0]) for id, next in told if next is not None),
        *((id, CANCELLED) for id in conn.scalars(undated)),
    ]


def _next(each: Offboarding, workspace: Workspace, now: datetime) -> tuple[str, timedelta | None] | None:
    if each.leave is None or each.leave.ends_at < now - LATE:
        return None
    if each.leave.ends_at <= now:
        return (HANDOVER, None) if each.done_at is None and each.settled else None
    before = warning(each.leave.ends_at, workspace.warn_before, each.warned, now)
    return (DUE, before) if before is not None and each.status in SEATED else None


def tell(
    conn: Connection, workspace: Workspace, user_id: str, now: datetime, ids: Ids, reports_to_her: Sequence[str] = ()
) -> Told | None:
    """Say what is due of this user, once: an event, a row of the record, and who is told. None: somebody else has.

    `reports_to_her`: looked up before, so that the write lock is not held that long.
    """
    user = facts.load_users(conn, workspace.name, [user_id], workspace.precedence, lock=True).get(user_id)
    if user is None:
        return None
    known = find(conn, workspace, user, now)
    if known.leave is None:
        return _take_back(conn, workspace, user, now, ids)
    found = _next(known, workspace, now)
    if found is None:
        return None
    kind, before = found
    to = recipient(conn, workspace, user, known.chosen, now)
    told = Told(kind, user, known.leave.ends_at, to, before)
    marks: dict[str, Any] = {"warned_s": None if before is None else int(before.total_seconds())}
    what: Handover | None = None
    if kind == HANDOVER:
        what = Handover.of(user, reports_to_her, now)
        marks |= {"done_at": now, "handover": what.said()}
    key = {"workspace": workspace.name, "user_id": user.id}
    stated = {"ends_at": known.leave.ends_at, "source": known.leave.source}
    kept = {"hand_over_to": known.chosen, "reason": known.reason, "set_by": known.set_by, "set_at": known.set_at or now}
    upsert(conn, t.offboardings, key, {**stated, **kept, "done_at": None, "handover": None, **marks})
    _announce(conn, workspace, told, what, now, ids)
    return told


def _take_back(conn: Connection, workspace: Workspace, user: User, now: datetime, ids: Ids) -> Told | None:
    """Whoever was warned hears that she stays."""
    key = {"workspace": workspace.name, "user_id": user.id}
    row = conn.execute(select(t.offboardings).where(*_mine(key), _o.done_at.is_(None))).first()
    if row is None:
        return None
    conn.execute(delete(t.offboardings).where(*_mine(key)))
    if row.warned_s is None:
        return None
    told = Told(CANCELLED, user, row.ends_at, recipient(conn, workspace, user, row.hand_over_to, now))
    _announce(conn, workspace, told, None, now, ids)
    return told


def _announce(
    conn: Connection, workspace: Workspace, told: Told, what: Handover | None, now: datetime, ids: Ids
) -> None:
    rows = Rows(workspace.name)
    said: dict[str, Any] = {
        "kind": told.kind,
        "ends_at": int(told.ends_at.timestamp()),
        "hand_over_to": told.to.id if told.to else None,
    }
    if what is not None:
        said |= what.said()
    event = ids()
    events.tell(rows, f"/Users/{told.user.id}", told.user.id, {events.OFFBOARDING: said}, now, event)
    if told.kind == HANDOVER:
        events.owe(rows, workspace.webhooks, event, told.user.id, told.user.version, now, ids)
    if workspace.mails and told.to is not None:
        letter = {DUE: "leaving", CANCELLED: "staying", HANDOVER: "handover"}[told.kind]
        post(rows, letter, told.to.id, told.user.id, {"ends_at": said["ends_at"]}, now, ids)
    why = {
        DUE: f"leaves on {told.ends_at:%Y-%m-%d %H:%M} UTC",
        CANCELLED: "stays: the date was taken back",
        HANDOVER: f"has left on {told.ends_at:%Y-%m-%d %H:%M} UTC",
    }[told.kind]
    actor = Actor(DOOR, DOOR, workspace.name)
    record(rows, actor, f"offboard_{told.kind}", told.user.name, told.user.id, why, None, said, now, ids)
    rows.write(conn)
