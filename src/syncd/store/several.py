"""THE DOOR for many change groups at once: each is answered by itself, all in the caller's transaction.

Facts are read once for all. What may not be is left out and the rest decided anew without it, so that nothing rests on a
seat or a name that a refused one would have given up. The limits of loss count all of them together: a kind that is over its
limit is held whole, under one digest.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import orjson
from sqlalchemy import Connection

from syncd.core.actor import Actor
from syncd.core.change import ChangeGroup
from syncd.core.granting import Holder
from syncd.core.guards import Held
from syncd.core.workspace import Workspace
from syncd.errors import HeldByGuard, Refused, SyncdError
from syncd.store import commit as door
from syncd.store import facts
from syncd.store.commit import Ids, Outcome
from syncd.store.decide import Decision
from syncd.store.drafts import Verdict
from syncd.store.escalation import exceeded, holder_of
from syncd.store.permitted import beyond
from syncd.store.rows import Rows

_HELD_S = 3600


def commit_each(
    conn: Connection, workspace: Workspace, actor: Actor, groups: Sequence[ChangeGroup], now: datetime, ids: Ids
) -> list[Outcome]:
    """One outcome for each change group, in their order. No two of them may name the same resource."""
    known_rules = door.rules_digest(conn, workspace, now, record=True)
    going = dict(enumerate(groups))
    refused: dict[int, tuple[Verdict, SyncdError]] = {}
    held: list[Held] = []
    holder = holder_of(conn, workspace, actor, now)
    while True:
        decision = Decision(
            conn, workspace, actor.source, now, lock=True, rules_changed=known_rules != workspace.rules_digest
        )
        verdicts = dict(zip(going, decision.batch(list(going.values())), strict=True))
        bad = {
            n: (each, error)
            for n, each in verdicts.items()
            if (error := _error(workspace, actor, holder, going[n], each, now))
        }
        if not bad:
            over = _over_limit(conn, workspace, actor, verdicts, now)
            kinds = {each.kind for each in over}
            told = HeldByGuard(_told(over), retry_after_s=_HELD_S)
            bad = {n: (each, told) for n, each in verdicts.items() if kinds & _losses(each)}
            held += over
        refused |= bad
        if not bad:
            break
        going = {n: group for n, group in going.items() if n not in bad}
    _record(conn, workspace.name, actor, refused, held, now, ids)
    door.forget(conn, workspace.name, actor.source, decision)
    door.apply(conn, workspace, actor, [each for each in verdicts.values() if door.writes(each)], now, ids)
    made = {n: door.outcome(each, None) for n, each in verdicts.items()}
    made |= {n: door.outcome(each, error) for n, (each, error) in refused.items()}
    return [made[n] for n in range(len(groups))]


def _error(
    workspace: Workspace, actor: Actor, holder: Holder | None, group: ChangeGroup, verdict: Verdict, now: datetime
) -> SyncdError | None:
    error: SyncdError | None = (
        verdict.error or beyond(actor, group, verdict) or exceeded(holder, workspace, verdict, now)
    )
    if error is None and verdict.held:
        error = Refused("; ".join(each.why for each in verdict.held))
    return error


def _over_limit(
    conn: Connection, workspace: Workspace, actor: Actor, verdicts: dict[int, Verdict], now: datetime
) -> list[Held]:
    if any(_losses(each) for each in verdicts.values()):
        facts.lock(conn, workspace.name, f"losses {actor.source}")  # requests at once count one after the other
    return door.judge(conn, workspace, actor.source, verdicts.values(), now)


def _losses(verdict: Verdict) -> set[str]:
    return {change.loss for change in verdict.changes if change.loss and not change.exempt}


def _told(held: Sequence[Held]) -> str:
    return "; ".join(each.why for each in held) + ". Held until an admin approves it (`syncd runs list`)"


def _record(
    conn: Connection,
    workspace: str,
    actor: Actor,
    refused: dict[int, tuple[Verdict, SyncdError]],
    held: Sequence[Held],
    now: datetime,
    ids: Ids,
) -> None:
    rows = Rows(workspace)
    waiting = []
    for _, (verdict, error) in sorted(refused.items()):
        waits = isinstance(error, HeldByGuard)
        subject = verdict.changes[0].subject if verdict.changes else verdict.subject or verdict.edits[0].id
        asked = {"asked": [orjson.loads(orjson.dumps(change)) for change in verdict.changes]}
        action = "held" if waits else "refused"
        door.record(rows, actor, action, subject, verdict.edits[0].id, str(error), None, asked, now, ids)
        if waits:
            waiting.append(verdict)
    rows.write(conn)
    door.hold(conn, workspace, actor.source, held, waiting, None, now)
