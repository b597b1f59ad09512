"""How everything stands, read once for all who show it: the metrics, the status page and `syncd status`.

A constant number of statements, however many workspaces, sources, users and runs there are, and none that walks over a
table of people or runs: counts come from indexes, of each source only its last `RUNS` runs are looked at. Nothing here
judges; ages and lateness are made of it by who shows them. Read only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, func, literal, literal_column, or_, select, union_all

from syncd.core.actor import RULES
from syncd.core.workspace import Workspace
from syncd.store import deliveries, facts, mails
from syncd.store import tables as t
from syncd.store.deliveries import Owed
from syncd.store.leases import Process, processes
from syncd.store.listing import PoolReport
from syncd.store.mails import MailSeen

DIRECTORIES = frozenset({"ldap", "ldif"})  # kinds that are read; the others push, and have no runs
RUNS = 10
DAY = timedelta(days=1)
SHORT_LIVED = timedelta(days=14)  # nobody makes a token for a day to be told that it ends tomorrow
GRACE = timedelta(minutes=5)  # a scheduled run that began this late was not missed
_SOURCES_AT_ONCE = 200  # SQLite takes 500 parts of a compound query


@dataclass(frozen=True, slots=True)
class RunSeen:
    """A run that read (or tried to). `set_aside` is None until it ended."""

    id: str
    status: str
    started_at: datetime
    finished_at: datetime | None
    scheduled_at: datetime | None
    message: str | None
    set_aside: int | None


@dataclass(frozen=True, slots=True)
class SourceSeen:
    """A directory. `runs`: the last ones, the newest first. `scheduled`: how many times of the schedule have a run, of those
    from `counted_from` on (a day ago, or when the source first ran) until `GRACE` ago."""

    name: str
    kind: str
    last_complete_at: datetime | None  # of a whole read or, if that was later, a delta
    users: int | None
    runs: tuple[RunSeen, ...]
    scheduled: int
    counted_from: datetime | None
    last_whole_at: datetime | None = None
    drift: int | None = None  # what that found and deltas had not told; None: it was not measured yet
    groups_outside: tuple[str, ...] | None = None  # groups below no base that it came upon; None: nobody looked yet

    @property
    def last_run(self) -> RunSeen | None:
        return self.runs[0] if self.runs else None

    @property
    def last_ended(self) -> RunSeen | None:
        return next((run for run in self.runs if run.finished_at is not None), None)

    @property
    def in_a_row(self) -> int:
        """How many of the last runs ended as the very last one did; at most `RUNS`."""
        ended = [run.status for run in self.runs if run.finished_at is not None]
        return next((n for n, status in enumerate(ended) if status != ended[0]), len(ended))


@dataclass(frozen=True, slots=True)
class HeldSeen:
    source: str
    kind: str
    items: int


@dataclass(frozen=True, slots=True)
class ConnectionSeen:
    """The tokens of one name that still matter: the newest, and those used within a day. `expires_at`: of the first to
    expire among them."""

    name: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class WorkspaceSeen:
    name: str
    users: Mapping[str, int]  # by status
    groups: int
    sources: tuple[SourceSeen, ...]
    pools: tuple[PoolReport, ...]
    held: tuple[HeldSeen, ...]
    outbox: Mapping[str, int]  # by state
    outbox_since: datetime | None  # the oldest event that nobody has taken yet
    expiring: tuple[ConnectionSeen, ...]
    webhooks: tuple[str, ...] = ()  # that are configured
    mail: MailSeen = field(default_factory=MailSeen)
    asked: Mapping[str, int] = field(default_factory=dict)  # source -> new entries that wait for `syncd adopt`
    quarantined: Mapping[str, int] = field(default_factory=dict)  # source -> entries that wait to be looked at again
    left: Mapping[str, int] = field(
        default_factory=dict
    )  # directory that was taken out of the configuration -> its users
    owed: tuple[Owed, ...] = ()  # what they have not acknowledged, or others that were configured once
    strays: tuple[tuple[str, str], ...] = ()  # live tokens by name, each with its source, which is not configured

    def held_of(self, source: str) -> int:
        return sum(each.items for each in self.held if each.source == source)


@dataclass(frozen=True, slots=True)
class Standing:
    """`at`: when it was read, on the clock that runs and tokens go by."""

    at: datetime
    processes: tuple[Process, ...]
    workspaces: tuple[WorkspaceSeen, ...]

    @property
    def since(self) -> datetime | None:
        """When the oldest process that lives began."""
        return min((each.started_at for each in self.processes if each.alive), default=None)

    def alive(self, kind: str) -> int:
        return sum(each.alive for each in self.processes if each.kind == kind)


def read(conn: Connection, workspaces: Iterable[Workspace], now: datetime) -> Standing:
    """How these workspaces stand, and the processes of all."""
    shown = list(workspaces)
    names = [each.name for each in shown]
    directories = [
        (each.name, source.name) for each in shown for source in each.sources.values() if source.kind in DIRECTORIES
    ]
    u, h, o, s, a = t.users.c, t.held.c, t.outbox.c, t.source_states.c, t.adoptions.c
    users = _grouped(conn, select(u.workspace, u.status, func.count()), u.workspace, names, u.status)
    held = _grouped(conn, select(h.workspace, h.source, h.kind, func.count()), h.workspace, names, h.source, h.kind)
    undecided = select(a.workspace, a.source, func.count()).where(a.decision.is_(None))
    asked = _grouped(conn, undecided, a.workspace, names, a.source)
    q = t.quarantine.c
    aside = _grouped(conn, select(q.workspace, q.source, func.count()), q.workspace, names, q.source)
    outbox = _grouped(conn, select(o.workspace, o.state, func.count(), func.min(o.at)), o.workspace, names, o.state)
    states = {
        (row.workspace, row.source): row
        for row in conn.execute(
            select(
                *(s.workspace, s.source, s.last_complete_at, s.last_delta_at, s.last_users, s.drift, s.groups_outside)
            ).where(s.workspace.in_(names))
        )
    }
    groups = _groups(conn, names)
    pools = _pools(conn, shown)
    expiring = _expiring(conn, names, now)
    owed, strays = deliveries.owed(conn, names), _strays(conn, shown, now)
    mail = mails.standing(conn, names, now)
    runs: dict[tuple[str, str], list[RunSeen]] = defaultdict(list)
    firsts: dict[tuple[str, str], tuple[datetime | None, int]] = {}
    for batch in facts.batched(directories, _SOURCES_AT_ONCE):
        _last_runs(conn, batch, runs)
        firsts |= _scheduled(conn, batch, now - DAY, now - GRACE)

    def source(workspace: Workspace, name: str) -> SourceSeen:
        key = (workspace.name, name)
        state = states.get(key)
        first, scheduled = firsts.get(key, (None, 0))
        return SourceSeen(
            name,
            workspace.source(name).kind,
            max(filter(None, (state.last_complete_at, state.last_delta_at)), default=None) if state else None,
            state.last_users if state else None,
            tuple(runs[key]),
            scheduled,
            None if first is None else max(first, now - DAY),
            state.last_complete_at if state else None,
            state.drift if state else None,
            tuple(state.groups_outside) if state and state.groups_outside is not None else None,
        )

    return Standing(
        now,
        tuple(processes(conn)),
        tuple(
            WorkspaceSeen(
                each.name,
                {status: n for status, n in users[each.name]},
                groups.get(each.name, 0),
                tuple(source(each, name) for workspace, name in directories if workspace == each.name),
                pools[each.name],
                tuple(HeldSeen(*row) for row in held[each.name]),
                {state: n for state, n, _ in outbox[each.name]},
                next((since for state, _, since in outbox[each.name] if state == "new"), None),
                tuple(expiring[each.name]),
                each.webhooks,
                mail.get(each.name, MailSeen()),
                dict(asked[each.name]),
                dict(aside[each.name]),
                {
                    source: row.last_users or 0
                    for (workspace, source), row in states.items()
                    if workspace == each.name and source != RULES and source not in each.sources
                },
                tuple(owed.get(each.name, ())),
                tuple(strays.get(each.name, ())),
            )
            for each in shown
        ),
    )


def _grouped(conn: Connection, query: Any, workspace: Any, names: Sequence[str], *by: Any) -> dict[str, list[Any]]:
    """Rows of a count by workspace, without the workspace."""
    found: dict[str, list[Any]] = defaultdict(list)
    for name, *rest in conn.execute(query.where(workspace.in_(names)).group_by(workspace, *by).order_by(*by)):
        found[name].append(rest)
    return found


def _groups(conn: Connection, names: Sequence[str]) -> dict[str, int]:
    c = t.totals.c
    query = select(c.workspace, c.count).where(c.workspace.in_(names), c.resource == "group")
    return {row[0]: row[1] for row in conn.execute(query)}


def _pools(conn: Connection, workspaces: Sequence[Workspace]) -> dict[str, tuple[PoolReport, ...]]:
    """As listing.seat_pools, for all workspaces in one statement."""
    p = t.seat_pools.c
    used: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    names = [each.name for each in workspaces]
    for row in conn.execute(select(t.seat_pools).where(p.workspace.in_(names)).order_by(p.name)):
        used[row.workspace][row.name] = (row.used, row.waiting)
    return {
        each.name: (
            *(
                PoolReport(name, pool.kind, taken[0], pool.limit, taken[1], pool.requires)
                for name, pool in each.pools.items()
                for taken in [used[each.name].get(name, (0, 0))]
            ),
            *(
                PoolReport(name, "removed", taken[0], None, taken[1])
                for name, taken in used[each.name].items()
                if name not in each.pools and any(taken)
            ),
        )
        for each in workspaces
    }


def _wanted(pairs: Sequence[tuple[str, str]]) -> Any:
    rows = [
        select(literal(workspace).label("workspace"), literal(source).label("source")) for workspace, source in pairs
    ]
    return union_all(*rows).cte("wanted")


def _read(run: Any) -> Any:
    """A run that tried to read and to apply; a time that was missed has a row too."""
    return and_(run.dry_run.is_(False), run.status != "missed")


def _last_runs(conn: Connection, pairs: Sequence[tuple[str, str]], found: dict[tuple[str, str], list[RunSeen]]) -> None:
    """Fill in the last runs that read of each source. Approvals are runs of a source too, but read nothing."""
    wanted, r, x = _wanted(pairs), t.runs.c, t.runs.alias("x").c
    tenth = (
        select(x.started_at)
        .where(x.workspace == wanted.c.workspace, x.source == wanted.c.source, _read(x))
        .order_by(x.started_at.desc())
        .limit(1)
        .offset(RUNS - 1)
        .scalar_subquery()
    )
    same = and_(r.workspace == wanted.c.workspace, r.source == wanted.c.source)
    columns = (r.workspace, r.source, r.id, r.status, r.started_at, r.finished_at, r.scheduled_at, r.message, r.counts)
    query = (
        select(*columns)
        .join_from(wanted, t.runs, same)
        .where(_read(r), r.started_at >= func.coalesce(tenth, literal_column("0")))
        .order_by(r.started_at.desc(), r.id.desc())
    )
    for row in conn.execute(query):
        counts = row.counts or {}
        if counts and "read" not in counts and row.status != "applying":
            continue
        found[row.workspace, row.source].append(
            RunSeen(
                row.id,
                row.status,
                row.started_at,
                row.finished_at,
                row.scheduled_at,
                row.message,
                counts.get("set_aside") if row.finished_at is not None else None,
            )
        )


def _scheduled(
    conn: Connection, pairs: Sequence[tuple[str, str]], since: datetime, until: datetime
) -> dict[tuple[str, str], tuple[datetime | None, int]]:
    """When each source first ran, and how many times of its schedule have a run."""
    wanted, r = _wanted(pairs), t.runs.c
    same = and_(r.workspace == wanted.c.workspace, r.source == wanted.c.source)
    first = select(func.min(r.started_at)).where(same, _read(r)).scalar_subquery()
    kept = (
        select(func.count())
        .select_from(t.runs)
        .where(same, _read(r), r.scheduled_at >= since, r.scheduled_at < until)
        .scalar_subquery()
    )
    rows = conn.execute(select(wanted.c.workspace, wanted.c.source, first, kept))
    return {(row[0], row[1]): (row[2], row[3]) for row in rows}


def _strays(conn: Connection, shown: Sequence[Workspace], now: datetime) -> dict[str, list[tuple[str, str]]]:
    """Live tokens whose connection was taken out of the configuration: each request with one is refused."""
    c = t.tokens.c
    live = (c.revoked_at.is_(None), or_(c.expires_at.is_(None), c.expires_at > now))
    query = (
        select(c.workspace, c.name, c.source).where(c.workspace.in_([each.name for each in shown]), *live).distinct()
    )
    configured = {each.name: each.connections for each in shown}
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for workspace, name, source in conn.execute(query.order_by(c.name, c.source)):
        if source not in configured[workspace]:
            found[workspace].append((name, source))
    return found


def _expiring(conn: Connection, names: Sequence[str], now: datetime) -> dict[str, list[ConnectionSeen]]:
    """Of each connection the expiry to act on; nothing of tokens that last for ever, were made for a short time, or expired
    over a week ago. One that was rotated matters as long as it is used."""
    c = t.tokens.c
    by_name: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for row in conn.execute(
        select(c.workspace, c.name, c.created_at, c.expires_at, c.last_used_at)
        .where(
            c.workspace.in_(names), c.revoked_at.is_(None), or_(c.expires_at.is_(None), c.expires_at > now - 7 * DAY)
        )
        .order_by(c.created_at.desc(), c.id)
    ):
        by_name[row.workspace, row.name].append(row)
    found: dict[str, list[ConnectionSeen]] = defaultdict(list)
    for (workspace, name), rows in by_name.items():
        used = [each for each in rows[1:] if each.last_used_at is not None and each.last_used_at > now - DAY]
        dates = [
            each.expires_at
            for each in [rows[0], *used]
            if each.expires_at is not None and each.expires_at - each.created_at > SHORT_LIVED
        ]
        if dates:
            found[workspace].append(ConnectionSeen(name, min(dates)))
    for each in found.values():
        each.sort(key=lambda connection: (connection.expires_at, connection.name))
    return found
