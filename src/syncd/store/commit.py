"""THE DOOR: the only writer of resources, links, memberships, grants and seats.

`commit` decides and applies one change group in one transaction (a SCIM request, an API call, a command). `apply` writes
verdicts of a run's batch (store/runs.py). Whatever is refused or held leaves an activity row and changes nothing else.
There is no flag that skips guards.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, and_, delete, func, select, update
from sqlalchemy.exc import IntegrityError

from syncd.core import chain
from syncd.core.actor import RULES, Actor
from syncd.core.change import GROUP_SHOWS, Change, Edit, GroupEdit
from syncd.core.groups import Graph
from syncd.core.guards import Held
from syncd.core.lifecycle import may_sign_in, may_sign_in_as_derived
from syncd.core.offboarding import MANAGER
from syncd.core.plan import Digest
from syncd.core.quick import quick
from syncd.core.resource import name_key
from syncd.core.state import Group, User
from syncd.core.workspace import Workspace
from syncd.errors import HeldByGuard, Refused, StaleVersion, SyncdError, Uniqueness
from syncd.store import events, facts, raw
from syncd.store import fact_queries as queries
from syncd.store import tables as t
from syncd.store.decide import Decision
from syncd.store.drafts import Verdict, shown_in
from syncd.store.escalation import exceeded, holder_of
from syncd.store.limits import judge_losses
from syncd.store.opening import Opened
from syncd.store.permitted import beyond
from syncd.store.postponed import Claim, hold_back, may_hold_back, postpone
from syncd.store.rows import Rows, count, ignoring, upsert

Ids = Callable[[], str]


@quick
@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one change group. `check()` raises what refused it, after the transaction that recorded it ended."""

    changes: tuple[Change, ...] = ()
    error: SyncdError | None = None
    users: Mapping[str, User] = field(default_factory=dict)
    groups: Mapping[str, Group | None] = field(default_factory=dict)
    documents: Mapping[str, bytes] = field(default_factory=dict)  # of users, as they were written
    graph: Graph = field(default_factory=Graph)  # the groups it was about

    def check(self) -> Outcome:
        if self.error is not None:
            raise self.error
        return self


def commit(
    conn: Connection,
    workspace: Workspace,
    actor: Actor,
    edits: Sequence[Edit],
    now: datetime,
    ids: Ids,
    expect: Mapping[str, int] | None = None,
    dry_run: bool = False,
    opened: Opened | None = None,
    last: bool = False,
) -> Outcome:
    """Decide and apply one change group in the caller's transaction. `expect`: id -> version, else StaleVersion.

    `opened`: what this transaction has read for it, and need not read again. `last`: the caller writes nothing after it.
    """
    source = actor.source
    opened = opened or Opened()
    stale = _stale(conn, workspace.name, expect or {}, opened)
    if stale is not None:
        return Outcome(error=stale)
    known_rules = opened.rules or rules_digest(conn, workspace, now, record=not dry_run)
    taken = _key_taken(conn, workspace.name, edits, opened)
    changed = known_rules != workspace.rules_digest
    decision = Decision(conn, workspace, source, now, lock=not dry_run, rules_changed=changed, opened=opened)
    verdict = decision.batch([tuple(edits)])[0]
    error: SyncdError | None = verdict.error or taken or beyond(actor, edits, verdict)
    error = error or exceeded(holder_of(conn, workspace, actor, now), workspace, verdict, now)
    held: list[Held] = []
    if error is None and verdict.held:
        error = Refused("; ".join(each.why for each in verdict.held))
    if error is None and any([change.loss and not change.exempt for change in verdict.changes]):
        if not dry_run:
            facts.lock(conn, workspace.name, f"losses {source}")  # requests at once count one after the other
        held = judge(conn, workspace, source, [verdict], now)
        if held:
            error = HeldByGuard(
                "; ".join(each.why for each in held) + ". Held until an admin approves it (`syncd runs list`)",
                retry_after_s=3600,
            )
    if dry_run:
        return outcome(verdict, error)
    if error is None:
        forget(conn, workspace.name, source, decision)
    else:
        refuse(conn, workspace.name, actor, verdict, error, held, now, ids)
    if error is not None or not writes(verdict):
        return outcome(verdict, error)
    try:
        documents = apply(conn, workspace, actor, [verdict], now, ids, last=last)
    except IntegrityError as exc:
        raise Uniqueness("another request took that name or key at the same moment; read again and retry") from exc
    return outcome(verdict, None, documents, decision.graph)


def forget(conn: Connection, workspace: str, source: str, decision: Decision) -> None:
    """What was held of a user and is not wanted any more: the connection has spoken again, or the reason is gone."""
    if not (decision.superseded or decision.released):
        return
    h = t.held.c
    of_here = delete(t.held).where(h.workspace == workspace)
    for ids in facts.batched(sorted(decision.superseded)):
        conn.execute(of_here.where(h.source == source, h.subject_id.in_(ids), h.run_id.is_(None)))
    for ids in facts.batched(sorted(decision.released)):
        conn.execute(of_here.where(h.subject_id.in_(ids), h.kind.in_(("role", "seat"))))


def outcome(
    verdict: Verdict, error: SyncdError | None, documents: Mapping[str, bytes] | None = None, graph: Graph | None = None
) -> Outcome:
    return Outcome(
        verdict.changes,
        error,
        {after.id: after for _, after in verdict.users},
        {known.id: after for before, after in verdict.groups if (known := after or before)},
        documents or {},
        graph or Graph(),
    )


def writes(verdict: Verdict) -> bool:
    for was, user in verdict.users:
        if was is None or was.version != user.version or was != user:
            return True
    return any(before != after for before, after in verdict.groups) or any(
        isinstance(edit, GroupEdit) and edit.unresolved is not None for edit in verdict.edits
    )


def _stale(conn: Connection, workspace: str, expect: Mapping[str, int], opened: Opened) -> SyncdError | None:
    for id, version in expect.items():
        known = opened.users.get(id)
        asked = {"workspace": workspace, "id": id}
        there = [[known.version]] if known is not None else raw.rows(conn, queries.versions(), asked)
        for (found,) in there:
            if found != version:
                return StaleVersion(f"the resource is at version {found}, not {version}: read it again, then change it")
    return None


def _key_taken(conn: Connection, workspace: str, edits: Sequence[Edit], opened: Opened) -> SyncdError | None:
    """One stable key (externalId) of a source links one resource."""
    for edit in edits:
        if edit.link is None:
            continue
        known = opened.users.get(edit.id)
        if known is not None and known.link(edit.source, edit.link.key) is not None:
            continue
        asked = {"workspace": workspace, "source": edit.source, "resource": edit.resource, "key": edit.link.key}
        key = (edit.source, edit.resource, edit.link.key)
        owner = opened.keys[key] if key in opened.keys else raw.one(conn, queries.key_owner(), asked)
        if owner is not None and owner != edit.id:
            return Uniqueness(f"externalId {edit.link.key!r} is used by another {edit.resource} of this connection")
    return None


# -- guards that need the record -----------------------------------------------------------------------------------------


def judge(
    conn: Connection,
    workspace: Workspace,
    source: str,
    verdicts: Iterable[Verdict],
    now: datetime,
    approved: frozenset[tuple[str, str]] = frozenset(),
) -> list[Held]:
    """Rule 3: the kinds of loss over their limit, counted with what the same source caused within its window."""
    losing: dict[str, set[str]] = defaultdict(set)
    for verdict in verdicts:
        for change in verdict.changes:
            if change.loss and not change.exempt and (change.subject_id, change.loss) not in approved:
                losing[change.loss].add(change.subject_id)
    return judge_losses(conn, workspace, source, losing, now)


def rules_digest(conn: Connection, workspace: Workspace, now: datetime, record: bool) -> str:
    """The digest of the rule set the store was last derived with; the first writer ever records its own."""
    known = raw.one(conn, queries.state_digest(), {"workspace": workspace.name, "source": RULES})
    if known is None:
        if record:
            upsert(conn, t.workspaces, {"name": workspace.name}, {"created_at": now}, keep=True)
            upsert(
                conn,
                t.source_states,
                {"workspace": workspace.name, "source": RULES},
                {"digest": workspace.rules_digest},
                keep=True,
            )
        return workspace.rules_digest
    return str(known)


def refuse(
    conn: Connection,
    workspace: str,
    actor: Actor,
    verdict: Verdict,
    error: SyncdError,
    held: Sequence[Held],
    now: datetime,
    ids: Ids,
) -> None:
    """Nothing is done; the record says what was asked and why not, and what is held waits for an admin."""
    subject_id = verdict.edits[0].id if verdict.edits else ""
    wanted = verdict.changes[0] if verdict.changes else None
    subject = wanted.subject if wanted else verdict.subject or subject_id
    name = next((each.subjects[0] for each in verdict.held if each.subjects), subject)
    asked = {"asked": [orjson.loads(orjson.dumps(change)) for change in verdict.changes]}
    since = _held_before(conn, workspace, actor, verdict, held, asked) if held else None
    if since is None:
        rows = Rows(workspace)
        record(rows, actor, "held" if held else "refused", name, subject_id, str(error), None, asked, now, ids)
        rows.write(conn)
    hold(conn, workspace, actor.source, held, [verdict], None, since or now)


def _held_before(
    conn: Connection, workspace: str, actor: Actor, verdict: Verdict, held: Sequence[Held], asked: Mapping[str, Any]
) -> datetime | None:
    """Since when just this waits already: providers ask again every hour, and the record says once what is held."""
    h, a, p = t.held.c, t.activity.c, t.activity_payloads.c
    kinds = [each.kind for each in held]
    subject = next(change.subject_id for change in verdict.changes if change.loss in kinds)
    waits = (h.workspace == workspace, h.source == actor.source, h.subject_id == subject, h.run_id.is_(None))
    since: datetime | None = conn.scalar(select(func.min(h.created_at)).where(*waits, h.kind.in_(kinds)))
    if since is None:
        return None
    said = (a.workspace == workspace, a.subject_id == verdict.edits[0].id, a.action == "held", a.source == actor.source)
    payload = and_(p.workspace == a.workspace, p.activity_id == a.id)
    last = select(p.after).join(t.activity, payload).where(*said).order_by(a.id.desc()).limit(1)
    return since if conn.scalar(last) == asked else None


def hold(
    conn: Connection,
    workspace: str,
    source: str,
    held: Sequence[Held],
    verdicts: Iterable[Verdict],
    run_id: str | None,
    now: datetime,
) -> None:
    """Held items: one per (source, subject, kind), with the edits that would do it, for `syncd runs approve DIGEST`."""
    by_kind = {each.kind: each for each in held}
    found: dict[str, list[tuple[Verdict, Change]]] = defaultdict(list)
    for verdict in verdicts:
        for change in verdict.changes:
            if change.loss in by_kind:
                found[change.loss].append((verdict, change))
    for kind, pairs in found.items():
        digest = Digest()
        for _, change in pairs:
            digest.add(change)
        by_subject: dict[str, list[tuple[Verdict, Change]]] = defaultdict(list)
        for pair in pairs:
            by_subject[pair[1].subject_id].append(pair)
        for subject_id, own in by_subject.items():
            asked = own[0][0].edits
            edits = tuple(edit for edit in asked if edit.id == subject_id or _gives(edit)) or asked
            upsert(
                conn,
                t.held,
                {"workspace": workspace, "source": source, "subject_id": subject_id, "kind": kind},
                {
                    "subject": own[0][1].subject,
                    "guard": by_kind[kind].guard,
                    "why": by_kind[kind].why,
                    "digest": digest.text,
                    "run_id": run_id,
                    "created_at": now,
                    "changes": orjson.dumps([change for _, change in own]),
                    "edits": orjson.dumps(edits),
                },
            )


def _gives(edit: Edit) -> bool:
    """What a group gives is taken from its members by its own edit, not by theirs."""
    return isinstance(edit, GroupEdit) and bool(edit.grant or edit.revoke)


# -- apply -----------------------------------------------------------------------------------------------------------------


def apply(
    conn: Connection,
    workspace: Workspace,
    actor: Actor,
    verdicts: Sequence[Verdict],
    now: datetime,
    ids: Ids,
    count_losses: bool = True,
    last: bool = False,
    later: Later | None = None,
) -> dict[str, bytes]:
    """Write what was decided in this same transaction: rows, counters, activity, outbox. Returns the users' documents; one
    that is empty is made before the transaction ends.

    `count_losses`: into the rolling window of the source; what a person approved is not counted against it. `last`: the
    caller writes nothing after it in this transaction. `later`: takes what may wait until other batches are written too.
    """
    if later is None and may_hold_back(conn) and _concerns_nobody_else(workspace, verdicts):
        return _held_back(conn, workspace, actor, verdicts[0], now, ids)
    documents: dict[str, bytes] = {}
    rows = Rows(workspace.name)
    totals: Counter[str] = Counter()
    pools: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    bumped: set[str] = set()
    versioned: set[str] = set()
    lost: dict[tuple[str, str], None] = {}
    for verdict in verdicts:
        observable = {change.subject_id for change in verdict.changes if change.kind != "yield"}
        groups_seen = {change.subject_id for change in verdict.changes if change.kind in GROUP_SHOWS}
        totals["graph"] += bool(verdict.groups)  # whoever holds the graph of groups reads it again
        for old, new in verdict.groups:
            known = new or old
            assert known is not None
            bumped |= shown_in(old) ^ shown_in(new)
            seen = known.id in groups_seen or old is None
            if seen:
                versioned.add(known.id)
            facts.write_group(rows, workspace.types, old, new, now, seen)
            totals["group"] += (new is not None) - (old is not None)
        for before, after in verdict.users:
            active = may_sign_in(after, workspace.authoritative, now)
            written = facts.write_user(rows, workspace.types, before, after, now, active, after.id in observable)
            documents[after.id] = written
            if before is None or before.status != after.status or before.memberships is not after.memberships:
                totals["user"] += after.present - (before is not None and before.present)
                bumped |= shown_in(before) ^ shown_in(after)
            if before is None or before.seats is not after.seats:
                for seats, sign in ((before.seats if before else (), -1), (after.seats, 1)):
                    for seat in seats:
                        pools[seat.pool][0 if seat.held else 1] += sign
            totals["shown"] += before is not None and _shown(before) != _shown(after)
        _unresolved(conn, workspace.name, verdict)
        lost |= {(each.loss, each.subject_id): None for each in verdict.changes if each.loss and not each.exempt}
    if totals["graph"]:
        conn.info[raw.MOVED] = True
    if later is not None:
        bumped, totals = later.take(rows, bumped, totals), Counter()

    def tell(rows: Rows) -> None:
        for verdict in verdicts:
            _record_changes(rows, actor, verdict, now, ids)
        events.write(rows, actor, verdicts, bumped, now, ids, workspace.webhooks)

    if not postpone(conn, workspace.name, tell):
        tell(rows)
    _pass_names_on(conn, rows, verdicts)
    for pool, (used, waiting) in sorted(pools.items()):
        if used or waiting:
            count(conn, t.seat_pools, {"workspace": workspace.name, "name": pool}, {"used": used, "waiting": waiting})
    if pools:
        _tell_overage(conn, workspace, actor, {pool: used for pool, (used, _) in pools.items() if used > 0}, now, ids)
    _count_totals(conn, rows, totals)
    if lost and count_losses:
        _count_losses(conn, workspace.name, actor, lost, now)
    _versions(conn, workspace.name, bumped - versioned, now)
    rows.write(conn, last)
    return documents


def _held_back(
    conn: Connection, workspace: Workspace, actor: Actor, verdict: Verdict, now: datetime, ids: Ids
) -> dict[str, bytes]:
    """All there is to write of one user, left for the end of the transaction (store/postponed.py), and so is her document."""
    was, user = verdict.users[0]
    seen = any([each.kind != "yield" for each in verdict.changes])
    documents = {user.id: b""}

    def write(rows: Rows) -> None:
        active = may_sign_in_as_derived(user, workspace.authoritative, now)
        documents[user.id] = facts.write_user(rows, workspace.types, was, user, now, active, seen)
        if was is None:
            rows.count(conn, t.totals, {"workspace": workspace.name, "resource": "user"}, {"count": 1})
        _record_changes(rows, actor, verdict, now, ids)
        events.write(rows, actor, (verdict,), (), now, ids, workspace.webhooks)

    hold_back(conn, workspace.name, user.id, () if was is not None else _claims(workspace.name, user), write)
    return documents


def _concerns_nobody_else(workspace: Workspace, verdicts: Sequence[Verdict]) -> bool:
    """Whether all there is to write is one user's own rows, and nothing of what a request about another one asks first, but for
    the name and the keys of one who is made."""
    if len(verdicts) != 1 or workspace.types.user.unique:
        return False
    verdict = verdicts[0]
    if verdict.groups or len(verdict.users) != 1 or any([isinstance(edit, GroupEdit) for edit in verdict.edits]):
        return False
    before, after = verdict.users[0]
    if any(["manager" in path and path != MANAGER for path in after.values]):
        return False
    if before is None:
        return after.present and not (after.memberships or after.groups or after.seats)
    return (
        before.memberships is after.memberships
        and before.groups is after.groups
        and before.grants is after.grants
        and before.denied is after.denied
        and before.seats is after.seats
        and _shown(before) == _shown(after)
        and not any([change.loss and not change.exempt for change in verdict.changes])
    )


def _claims(workspace: str, user: User) -> list[Claim]:
    return [(workspace, name_key(user.name)), *((workspace, link.source, link.key) for link in user.links)]


def _count_totals(conn: Connection, rows: Rows, totals: Mapping[str, int]) -> None:
    for resource, n in sorted(totals.items()):  # everybody locks them in one order
        if n:
            rows.count(conn, t.totals, {"workspace": rows.workspace, "resource": resource}, {"count": n})


def _versions(conn: Connection, workspace: str, groups: set[str], now: datetime) -> None:
    if groups:
        others = {"workspace": workspace, "ids": queries.as_list(groups), "now": now}
        raw.change(conn, queries.another_version(conn.dialect.name), [others])


class Later:
    """What batches of one transaction that make new people leave to its end: their memberships, each group's together, so that
    its place in an index is looked for once; that the groups have other members, which is told once; and how many there are of
    what, since whoever waits for these numbers may have what is written before them."""

    def __init__(self, workspace: Workspace, actor: Actor, now: datetime, ids: Ids) -> None:
        self._workspace, self._actor, self._now, self._ids = workspace, actor, now, ids
        self._rows = Rows(workspace.name)
        self._joined: set[str] = set()
        self._totals: Counter[str] = Counter()

    def take(self, rows: Rows, joined: set[str], totals: Mapping[str, int]) -> set[str]:
        """Returns the groups that are to be told of at once: none."""
        self._rows.take_over(rows, (t.memberships, t.effective_memberships))
        self._joined |= joined
        self._totals.update(totals)
        return set()

    def write(self, conn: Connection) -> None:
        """What was taken so far."""
        events.write(self._rows, self._actor, (), self._joined, self._now, self._ids)
        _versions(conn, self._workspace.name, self._joined, self._now)
        _count_totals(conn, self._rows, self._totals)
        self._rows.write(conn)
        self._rows, self._joined = Rows(self._workspace.name), set()
        self._totals.clear()


def _tell_overage(
    conn: Connection, workspace: Workspace, actor: Actor, taken: Mapping[str, int], now: datetime, ids: Ids
) -> None:
    """A pool whose licence these seats have just gone beyond: on the record and as an event, once until it is back within."""
    for name, more in sorted(taken.items()):
        pool = workspace.pools.get(name)
        if pool is None or pool.limit is None or not pool.overage:
            continue
        p = t.seat_pools.c
        used = conn.scalar(select(p.used).where(p.workspace == workspace.name, p.name == name)) or 0
        if used <= pool.limit or used - more > pool.limit:
            continue
        rows = Rows(workspace.name)
        told = {"used": used, "limit": pool.limit, "capacity": pool.capacity}
        why = f"{used:,} seats of {pool.limit:,} are taken"
        record(rows, actor, "overage", f"pool {name}", name, why, None, told, now, ids)
        events.tell(rows, f"/Seats/{name}", name, {events.OVERAGE: told}, now, ids())
        rows.write(conn)


def _pass_names_on(conn: Connection, rows: Rows, verdicts: Sequence[Verdict]) -> None:
    """A name that goes from one user to another in this batch leaves the unique index first, or the order would matter. Whoever
    had it is found by her own again at the end, deleted or under another one."""
    users = [pair for verdict in verdicts for pair in verdict.users]
    if len(users) == 1:
        return
    held = {name_key(before.name): before.id for before, _ in users if before is not None and before.present}
    wanted = {name_key(after.name): after.id for _, after in users if after.present}
    between = {id for key, id in held.items() if wanted.get(key, id) != id}
    if between:
        u = t.users.c
        mine = (u.workspace == rows.workspace, u.id.in_(sorted(between)))
        conn.execute(update(t.users).where(*mine).values(user_name_key="\x01" + u.id))
        for id, name in {after.id: after.name for _, after in users if after.id in between}.items():
            rows.update(t.users, id=id, user_name_key=name_key(name))


def _shown(user: User) -> tuple[object, ...]:
    """What others show of her: her name among a group's members, and that she is there at all, for everybody or for one."""
    return user.name, user.present, [(link.source, link.key, link.stage == "deleted") for link in user.links]


def _unresolved(conn: Connection, workspace: str, verdict: Verdict) -> None:
    if not any([isinstance(edit, GroupEdit) for edit in verdict.edits]):
        return
    u = t.unresolved_members
    gone = {known.id for old, new in verdict.groups if new is None and (known := old)}
    for edit in verdict.edits:
        if isinstance(edit, GroupEdit) and edit.unresolved is not None and edit.id not in gone:
            conn.execute(
                u.delete().where(u.c.workspace == workspace, u.c.group_id == edit.id, u.c.origin == edit.source)
            )
            if edit.unresolved:
                key = {"workspace": workspace, "group_id": edit.id, "origin": edit.source}
                hashes = dict(zip(edit.unresolved, edit.unresolved_hashes, strict=False))
                refs = sorted(set(edit.unresolved))
                conn.execute(u.insert(), [{**key, "ref": ref, "ref_hash": hashes.get(ref)} for ref in refs])


def _count_losses(
    conn: Connection, workspace: str, actor: Actor, lost: Iterable[tuple[str, str]], now: datetime
) -> None:
    """Into the rolling window, each subject once a moment: what is lost twice at once is one loss."""
    common = {"workspace": workspace, "source": actor.source, "at": now, "run_id": actor.run_id or ""}
    rows = [{**common, "kind": kind, "subject_id": subject_id} for kind, subject_id in lost]
    raw.change(conn, ignoring(t.losses, tuple(rows[0]), conn.dialect.name), rows)


def _record_changes(rows: Rows, actor: Actor, verdict: Verdict, now: datetime, ids: Ids) -> None:
    created = {change.subject_id for change in verdict.changes if change.kind == "create"}
    extra: dict[str, list[Any]] = defaultdict(list)
    for change in verdict.changes if created else ():
        if change.subject_id in created and change.kind != "create":
            extra[change.subject_id].append([change.kind, change.after])
    for change in verdict.changes:
        after = change.after
        if change.kind == "create":  # one row says all of a new user; 100,000 joiners are 100,000 rows, not a million
            after = {"values": change.after, "changes": extra[change.subject_id]}
        elif change.subject_id in created:
            continue
        record(rows, actor, change.kind, change.subject, change.subject_id, change.why, change.before, after, now, ids)


def record(
    rows: Rows,
    actor: Actor,
    action: str,
    subject: str,
    subject_id: str,
    why: str,
    before: Any,
    after: Any,
    now: datetime,
    ids: Ids,
) -> None:
    """One activity row with a salted hash of its payload; the payload itself stands apart, so that it can be purged."""
    id, salt = ids(), os.urandom(16)
    was = b"null" if before is None else orjson.dumps(before, option=orjson.OPT_SORT_KEYS)  # as they are stored
    became = orjson.dumps(after, option=orjson.OPT_SORT_KEYS)
    made = chain.payload_hash(salt, was, became, subject, why)
    said = (action, subject, subject_id, actor.source, actor.run_id, why, actor.address, made)
    rows.add(t.activity, _ACTIVITY, (id, now, actor.door, actor.name, *said, rows.workspace))
    payload = (None if before is None else t.Encoded(was), None if after is None else t.Encoded(became))
    rows.add(t.activity_payloads, _PAYLOADS, (id, salt, *payload, rows.workspace))


_ACTIVITY = (
    *("id", "at", "door", "actor", "action", "subject", "subject_id", "source", "run_id"),
    *("why", "address", "payload_hash", "workspace"),
)
_PAYLOADS = ("activity_id", "salt", "before", "after", "workspace")


def record_one(
    conn: Connection, actor: Actor, action: str, subject: str, why: str, after: Any, now: datetime, ids: Ids
) -> None:
    """The activity row of something that is no change of a resource: a token made, a run approved."""
    rows = Rows(actor.workspace)
    record(rows, actor, action, subject, subject, why, None, after, now, ids)
    rows.write(conn)
