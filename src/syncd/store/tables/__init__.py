"""The schema. Every row belongs to a workspace; `workspace` leads every key, so that tables can be partitioned by it.

Instants are microseconds since 1970 UTC (one meaning on both engines, comparable, indexable); JSON is text, except `search`,
which PostgreSQL keeps as JSONB so that filters compile to its operators. Only the migrations create these tables.
"""

from __future__ import annotations

from syncd.store.tables.access import grants, roles, seat_pools, seats
from syncd.store.tables.accounts import (
    email_changes,
    invitations,
    mails,
    offboardings,
    password_resets,
    passwords,
    sign_in_reports,
    sign_ins,
)
from syncd.store.tables.clients import assertions, idempotency, requests, tokens, tolerances
from syncd.store.tables.columns import Encoded, Instant, JsonText, Ordered, SearchJson, instant, metadata, micros
from syncd.store.tables.processes import keys, leases, processes, timers
from syncd.store.tables.record import activity, activity_payloads, activity_seals, deliveries, outbox
from syncd.store.tables.resources import (
    document_shapes,
    effective_memberships,
    emails,
    groups,
    links,
    memberships,
    totals,
    unique_values,
    unresolved_members,
    users,
    workspaces,
)
from syncd.store.tables.runs import adoptions, held, losses, quarantine, run_items, runs, set_aside, source_states

__all__ = [
    "Encoded",
    "Instant",
    "JsonText",
    "Ordered",
    "SearchJson",
    "activity",
    "activity_payloads",
    "activity_seals",
    "adoptions",
    "assertions",
    "deliveries",
    "document_shapes",
    "effective_memberships",
    "email_changes",
    "emails",
    "grants",
    "groups",
    "held",
    "idempotency",
    "instant",
    "invitations",
    "keys",
    "leases",
    "links",
    "losses",
    "mails",
    "memberships",
    "metadata",
    "micros",
    "offboardings",
    "outbox",
    "password_resets",
    "passwords",
    "processes",
    "quarantine",
    "requests",
    "roles",
    "run_items",
    "runs",
    "seat_pools",
    "seats",
    "set_aside",
    "sign_in_reports",
    "sign_ins",
    "source_states",
    "timers",
    "tokens",
    "tolerances",
    "totals",
    "unique_values",
    "unresolved_members",
    "users",
    "workspaces",
]
