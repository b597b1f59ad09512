"""What a run leaves for the next one of its source: from where a delta goes on, and what a whole read is compared with.

Only a complete read of everything moves it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from syncd.core.actor import RULES
from syncd.core.plan import IMPORT, LET_GO, Plan
from syncd.core.snapshot import Certificate
from syncd.core.workspace import Workspace
from syncd.store import linked, quarantine
from syncd.store.rows import upsert
from syncd.store.tables import source_states


def checkpoint(plan: Plan, only: str | None) -> str | None:
    """What the source's becomes with the last batch (store/runs.py: close)."""
    certificate = plan.certificate
    if certificate is None or not certificate.complete or only is not None:
        return None
    if plan.kind in ("rules", IMPORT, LET_GO):
        return None
    return certificate.checkpoint or ("" if plan.kind == "full" else None)


def remember(
    conn: Any, workspace: Workspace, source: str, plan: Plan, only: str | None, run_id: str, now: datetime
) -> None:
    """Of a whole read that broke off: by which configuration people came, where that was not known."""
    certificate = plan.certificate or Certificate()
    if only is not None or plan.kind == IMPORT:
        return
    if not certificate.complete:
        if plan.kind == "full":
            _remember_digest(conn, workspace, source)
        return
    if plan.kind == LET_GO:
        linked.forget(conn, workspace.name, source)
        return
    if plan.kind != "rules":
        quarantine.settle(conn, workspace.name, source, plan.retried, run_id)
    state = {"workspace": workspace.name, "source": source}
    if plan.kind == "delta":
        upsert(conn, source_states, state, {"last_delta_at": now})
        return
    known = {
        "digest": workspace.rules_digest if source == RULES else workspace.source(source).digest,
        "last_complete_at": now,
        "last_users": certificate.users_read,
        "last_groups": certificate.groups_read,
    }
    # What a read does not say stays as it was known: another answer later is a change all the same.
    said = {
        "server_identity": certificate.server_identity or None,
        "drift": plan.drift,
        "groups_outside": None if plan.beyond is None else list(plan.beyond),
        "key_attribute": certificate.key_attribute or None,
        "own_entry": certificate.own_entry,
    }
    upsert(conn, source_states, state, known | {name: value for name, value in said.items() if value is not None})


def _remember_digest(conn: Any, workspace: Workspace, source: str) -> None:
    known = linked.source_state(conn, workspace.name, source)
    if known is None or known.digest is None:
        state = {"workspace": workspace.name, "source": source}
        upsert(conn, source_states, state, {"digest": workspace.source(source).digest})
