"""What a directory that was taken out of the configuration still owns, let go when an admin says so.

Until then everything stays as it left it. Rules: whoever another source vouches for, or people made, loses what this one stated
and nothing else; whoever nobody else knows is deleted, which can be undone as any deletion; its groups go. An account that
it had ended is not opened by that: an admin's suspension stands in its place. It is a plan with guards like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from syncd.core.actor import ADMIN_SOURCE, RULES, Actor
from syncd.core.change import ChangeGroup, GroupEdit, UserEdit
from syncd.core.plan import LET_GO, HeldItem, Plan
from syncd.core.snapshot import Certificate
from syncd.core.state import Link
from syncd.core.workspace import Workspace
from syncd.errors import Conflict, NotFound
from syncd.store import facts, leases, linked, plans, run_records, runs, tokens
from syncd.store.commit import Ids
from syncd.store.spool import Spool

MOST = 1_000  # people and groups that go in one transaction; a run takes any number, in batches
_AT_ONCE = 100


def require(conn: Connection, workspace: Workspace, source: str, now: datetime) -> None:
    """Raises Conflict for a source that is configured or still pushes, NotFound for one of which nothing is known."""
    if source in (RULES, ADMIN_SOURCE) or source in workspace.sources:
        raise Conflict(f"source {source} is in the configuration: only what was taken out of it is let go")
    pushing = sorted(
        each.name for each in tokens.listed(conn, workspace.name) if each.source == source and each.live(now)
    )
    if pushing:
        raise Conflict(f"source {source} still pushes by token {pushing[0]}: `syncd token revoke {pushing[0]}` first")
    if not linked.knows(conn, workspace.name, source):
        raise NotFound(f"nothing is known of a source {source[:64]!r}: `syncd status` names what was taken out")


@dataclass(frozen=True, slots=True)
class LetGo:
    """What became of it: a run of its own in the record."""

    run_id: str
    status: str  # clean | applied | held
    counts: dict[str, int]
    held: tuple[HeldItem, ...]


def as_run(
    conn: Connection, workspace: Workspace, source: str, actor: Actor, clock: Callable[[], datetime], ids: Ids
) -> LetGo:
    """All of it in the caller's transaction. Raises as `require`, and Conflict where it is too much for one, or another run
    of the source is under way or was interrupted."""
    now, run_id = clock(), ids()
    require(conn, workspace, source, now)
    owned = sum(1 for kind in ("user", "group") for _ in linked.links(conn, workspace.name, source, kind))
    by_run = f"`syncd sync {source} --let-go`"
    if owned > MOST:
        raise Conflict(f"source {source} states {owned:,} people and groups, and {MOST:,} go in one request: {by_run}")
    fence = leases.take(conn, workspace.name, source, run_id)
    run_records.abandon(conn, workspace.name, source, now)
    if run_records.interrupted(conn, workspace.name, source):
        raise Conflict(f"a run of source {source} was interrupted while it applied: {by_run} finishes it first")
    run_records.begin(conn, workspace, run_id, source, False, actor.name, now, fence=fence)
    own = replace(actor, door="run", source=source, run_id=run_id)
    wanted = plan(conn, workspace, source, now)
    decided = plans.decide(conn, workspace, wanted, now, run_id, _AT_ONCE, lambda *_: None)
    runs.apply_within(conn, runs.Run(workspace, own, now, ids, fence), decided, wanted)
    linked.forget(conn, workspace.name, source)
    held = (*decided.held_items, *decided.waiting)
    status = "held" if held else "applied" if decided.counts.changes else "clean"
    counts = dict(decided.counts.by_kind)
    run_records.end(
        conn,
        workspace.name,
        run_id,
        status,
        clock(),
        digest=decided.digest.text,
        complete=True,
        counts=counts,
        held=[{"guard": each.guard, "kind": each.kind, "why": each.why} for each in held],
        losses=b"".join(sorted(decided.fingerprints)),
        kind=LET_GO,
    )
    leases.release(conn, workspace.name, source, fence)
    return LetGo(run_id, status, counts, held)


def plan(conn: Connection, workspace: Workspace, source: str, now: datetime) -> Plan:
    edits: Spool[ChangeGroup] = Spool()
    users = [row.key for row in linked.links(conn, workspace.name, source, "user")]
    groups = [row.resource_id for row in linked.links(conn, workspace.name, source, "group")]
    for keys in facts.batched(users):
        for edit in _people(conn, workspace.name, source, keys, now):
            edits.append((edit,))
    for id in groups:
        edits.append((GroupEdit(id, source, delete=True, why=_why(source)),))
    return Plan(source, edits, Certificate(users_read=len(users), groups_read=len(groups)), kind=LET_GO)


def _why(source: str) -> str:
    return f"{source} is not in the configuration any more"


def _people(conn: Any, workspace: str, source: str, keys: Iterable[str], now: datetime) -> Iterator[UserEdit]:
    mine = dict(linked.whole_links(conn, workspace, source, "user", keys))
    others = linked.links_beside(conn, workspace, source, mine)
    groups = linked.groups_each_is_in(conn, workspace, source, mine)
    suspended = linked.suspended(conn, workspace, mine)
    for id, link in sorted(mine.items()):
        if link.stage == "deleted":
            continue  # she went before; what is left of her is purged in its time
        bare = UserEdit(id, source, leave=tuple(sorted(groups.get(id, ()))), why=_why(source))
        if not _known_elsewhere(others.get(id, ())):
            yield replace(bare, link=replace(link, stage="deleted", missing_since=link.missing_since or now))
        elif _ended(link, now) and id not in suspended:
            held = f"{source} had ended her account before it was let go"
            yield replace(bare, drop_link=link.key, facts={"suspended": held})
        else:
            yield replace(bare, drop_link=link.key)


def _known_elsewhere(others: Iterable[Any]) -> bool:
    """By another source that still sees her, or by people who made her."""
    return any(other.stage != "deleted" and other.vouches for other in others)


def _ended(link: Link, now: datetime) -> bool:
    return link.enabled is False or (link.ends_at is not None and link.ends_at <= now)
