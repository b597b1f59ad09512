"""Seats within a decision: who wants, holds and waits; the pools are settled by core/seats.py, batch by batch.

Users who wait outside the batch are served in the same transaction as the release; their row is locked before the pool's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Select, exists, false, select

from syncd.core.lifecycle import SEATED
from syncd.core.quick import changed, same
from syncd.core.seats import Claim, settle
from syncd.core.state import User
from syncd.core.workspace import Workspace
from syncd.errors import PoolFull
from syncd.store import facts, locking
from syncd.store import tables as t
from syncd.store.drafts import Draft, Verdict
from syncd.store.rows import upsert

if TYPE_CHECKING:
    from syncd.store.decide import Decision


def settle_seats(decision: Decision, drafts: list[tuple[Verdict, list[Draft]]]) -> None:
    concerned = any([_has_to_do_with_seats(draft.after) for _, each in drafts for draft in each])
    if not concerned and not _room_for_waiting(decision):
        return
    while True:
        people = {draft.id: draft for verdict, each in drafts if verdict.error is None for draft in each if draft.edits}
        claims = {
            id: Claim(id, wanted(decision.workspace, draft.after), {s.pool: s for s in draft.after.seats})
            for id, draft in people.items()
        }
        if not any(_unsettled(claim, decision) for claim in claims.values()) and not _room_for_waiting(decision):
            return
        _lock_next(decision, claims)
        used = dict(_pools(decision))
        refused = settle(
            decision.workspace.pool_order,
            used,
            claims,
            lambda pool, n, claims=claims: _waiting(decision, pool, n, claims),  # type: ignore[misc]
            decision.now,
        )
        if not _refused_person(decision, drafts, people, refused, used):
            break  # else all seats are settled again without those who may not come in
    decision.used = used
    _note_seatless(decision, drafts, people, refused)
    served: list[Draft] = []
    for id, claim in claims.items():
        seats = tuple(sorted(claim.seats.values(), key=lambda each: each.pool))
        if id in people:
            people[id].after = changed(people[id].after, seats=same(people[id].after.seats, seats))
        else:
            before = decision.overlay[id]
            served.append(Draft(id, before, after=replace(before, seats=seats), side_effect=True, edits=[]))
    if served:
        next(each for verdict, each in drafts if verdict.error is None).extend(served)


def _has_to_do_with_seats(user: User) -> bool:
    return bool(user.seats) or any([grant.kind == "seat" for grant in user.grants])


def _note_seatless(
    decision: Decision,
    drafts: list[tuple[Verdict, list[Draft]]],
    people: Mapping[str, Draft],
    refused: Iterable[tuple[str, str]],
) -> None:
    """Who is entitled to a seat by this change and gets none, since the pool is full and keeps no line."""
    verdicts = {draft.id: verdict for verdict, each in drafts for draft in each if draft.edits} if refused else {}
    for id, pool in refused:
        before = people[id].before if id in people else None
        held = {seat.pool for seat in before.seats} if before is not None else set()
        if id in people and not (before is not None and pool in wanted(decision.workspace, before) - held):
            verdicts[id].seatless.append(pool)


def _refused_person(
    decision: Decision,
    drafts: list[tuple[Verdict, list[Draft]]],
    people: Mapping[str, Draft],
    refused: Iterable[tuple[str, str]],
    used: Mapping[str, int],
) -> bool:
    """Nobody comes into a `required` pool that is full; whoever was entitled before without a seat stays as she is."""
    found = False
    for id, pool in refused:
        before = people[id].before if id in people else None
        if id not in people or not decision.workspace.pools[pool].required:
            continue
        if before is not None and pool in wanted(decision.workspace, before):
            continue
        verdict = next(verdict for verdict, each in drafts if people[id] in each)
        limit = decision.workspace.pools[pool].limit
        verdict.error = PoolFull(
            f"pool {pool} is full: {used[pool]} of {limit} seats are taken and every user needs one"
        )
        found = True
    return found


def wanted(workspace: Workspace, user: User) -> frozenset[str]:
    """Pools in which she is to have a seat."""
    if user.status not in SEATED:
        return frozenset()
    pools = workspace.pools
    granted = {grant.value for grant in user.grants if grant.kind == "seat"}
    idle = {name for name in user.reclaimed if name in pools and pools[name].idle_after is not None}
    return frozenset(name for name in (granted & pools.keys()) - idle if pools[name].seats(user.status))


def _lock_next(decision: Decision, claims: Mapping[str, Claim]) -> None:
    """Whoever is the next in line for a seat that these give up, before the pools: she may be changed at this moment by
    somebody who then waits for the pools. Who is served is looked up again when they are locked."""
    if not decision.lock or decision.conn.dialect.name != "postgresql":
        return
    released = Counter(
        pool
        for claim in claims.values()
        for pool, seat in claim.seats.items()
        if seat.held and pool not in claim.wanted
    )
    workspace = decision.workspace
    ids: set[str] = set()
    for pool in released.keys() & workspace.pools.keys():
        excluding = workspace.excluders.get(pool, frozenset())
        first = queue(workspace.name, pool, workspace.pools[pool].requires, excluding, released[pool] + len(claims))
        ids |= set(decision.conn.scalars(first)) - claims.keys()
    locking.lock_users(decision.conn, workspace.name, ids)


def _pools(decision: Decision) -> dict[str, int]:
    """Seats held per pool; the rows are locked in name order by whoever is about to change them."""
    if decision.used is None or decision.lock:
        p = t.seat_pools.c
        query = select(p.name, p.used, p.waiting).where(p.workspace == decision.workspace.name).order_by(p.name)
        rows = decision.conn.execute(query.with_for_update() if decision.lock else query).all()
        unused = sorted(decision.workspace.pools.keys() - {row.name for row in rows})
        if unused and decision.lock:  # what is not there holds nobody up: two would both find the pool empty
            for name in unused:
                key = {"workspace": decision.workspace.name, "name": name}
                upsert(decision.conn, t.seat_pools, key, {"used": 0, "waiting": 0}, keep=True)
            rows = decision.conn.execute(query.with_for_update()).all()
        if decision.used is None:
            decision.used_at_first = {row.name: row.used for row in rows}
        decision.used = {row.name: row.used for row in rows}
    return decision.used


def _room_for_waiting(decision: Decision) -> bool:
    """A limit was raised: users wait although there is room."""
    if decision.lock and decision.run_id is None:
        return False
    if decision.used is not None:
        return False
    p = t.seat_pools.c
    rows = decision.conn.execute(
        select(p.name, p.used, p.waiting).where(p.workspace == decision.workspace.name, p.waiting > 0)
    )
    pools = decision.workspace.pools
    return any(row.name in pools and ((room := pools[row.name].capacity) is None or row.used < room) for row in rows)


def _waiting(decision: Decision, pool: str, most: int, claims: Mapping[str, Claim]) -> Iterable[Claim]:
    """Users outside this batch who wait for `pool`, in queue order, ready to be served."""
    requires = decision.workspace.pools[pool].requires
    excluding = decision.workspace.excluders.get(pool, frozenset())
    query = queue(decision.workspace.name, pool, requires, excluding, most + len(claims) + len(decision.overlay))
    ids = [id for id in decision.conn.scalars(query) if id not in claims and id not in decision.overlay][:most]
    found = facts.load_users(decision.conn, decision.workspace.name, ids, decision.workspace.precedence, decision.lock)
    fresh = [found[id] for id in ids if id in found]
    decided = [
        user
        for id, user in decision.overlay.items()
        if id not in claims
        and any(seat.pool == pool and not seat.held for seat in user.seats)
        and all(any(seat.pool == need and seat.held for seat in user.seats) for need in requires)
        and not any(seat.pool in excluding and seat.held for seat in user.seats)
    ]
    users = [user for user in (*fresh, *decided) if pool in wanted(decision.workspace, user)]
    for user in users:
        decision.overlay[user.id] = user
    return [
        Claim(user.id, wanted(decision.workspace, user), {seat.pool: seat for seat in user.seats}) for user in users
    ]


def queue(workspace: str, pool: str, requires: Iterable[str], excluding: Iterable[str], limit: int) -> Select[Any]:
    """Who waits for `pool` and could have a seat: holds one in each that it requires, and none in one that excludes it."""
    s, holding = t.seats.c, t.seats.alias()

    def holds(other: str) -> ColumnElement[bool]:
        return exists().where(
            holding.c.workspace == s.workspace,
            holding.c.pool == other,
            holding.c.user_id == s.user_id,
            holding.c.held.is_(True),
        )

    return (
        select(s.user_id)
        .where(
            s.workspace == workspace,
            s.pool == pool,
            s.held == false(),  # as the index says it: `IS 0` would be looked for among all who hold one
            *(holds(needed) for needed in requires),
            *(~holds(other) for other in sorted(excluding)),
        )
        .order_by(s.priority, s.since, s.user_id)
        .limit(limit)
    )


def _unsettled(claim: Claim, decision: Decision) -> bool:
    held = {pool for pool, seat in claim.seats.items() if seat.held}
    excluding = decision.workspace.excluders
    excluded = {pool for pool in claim.wanted if not held.isdisjoint(excluding.get(pool, ()))} if excluding else set()
    return (
        claim.wanted - excluded != held or not claim.seats.keys() <= claim.wanted
    )  # she waits for what she no longer wants
