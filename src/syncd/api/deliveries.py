"""Deliveries: what was told to whom, what is not acknowledged yet, and why not; sessions that are to end."""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal

from pydantic import Field

from syncd.api.model import Instant, Model, Name, Page, Paging, Reason, Text
from syncd.api.operation import Answer, Call, Operation
from syncd.api.paging import asked
from syncd.api.users import found as found_user
from syncd.errors import Conflict
from syncd.store import deliveries
from syncd.store.deliveries import Delivery
from syncd.store.read import Connection

State = Literal["outstanding", "acknowledged", "discarded"]


class ListDeliveries(Paging):
    state: State | Literal["all"] = "outstanding"
    webhook: Name | None = Field(default=None, description="Only what this one is told.")
    user: Text | None = Field(default=None, description="Only what is told of this user, by id.")


class DeliveryShown(Model):
    """One message to one webhook. `id` is what the receiver gets as `webhook-id`."""

    id: str
    webhook: str
    state: State
    user_id: str
    kind: Literal["deleted", "deactivated", "suspended", "access", "sessions", "handover"] | None = Field(
        description="What is told; null once that is not kept any more."
    )
    created_at: Instant
    attempts: int
    next_at: Instant | None = Field(description="The next attempt, not before; null when it has ended.")
    last_at: Instant | None
    last_status: int | None = Field(description="What was answered to the last attempt; null: nothing.")
    last_error: str | None
    ended_at: Instant | None


class DeliveryPage(Page[DeliveryShown]):
    pass


def list_(call: Call, conn: Connection) -> DeliveryPage:
    query = call.asked(ListDeliveries)
    wanted = asked(call, query, "deliveries")
    state = None if query.state == "all" else query.state
    rows = deliveries.listed(
        conn, call.workspace.name, state, query.webhook, query.user, wanted.after, wanted.limit + 1
    )
    return wanted.cut(DeliveryPage, rows, _shown)


def show(call: Call, conn: Connection) -> DeliveryShown:
    return _shown(deliveries.find(conn, call.workspace.name, call.id))


def retry(call: Call, conn: Connection) -> DeliveryShown:
    return _shown(deliveries.retry(conn, call.workspace.name, call.id, call.now))


def discard(call: Call, conn: Connection) -> DeliveryShown:
    why = call.said(Reason).reason or f"given up by {call.actor.name}"
    deliveries.discard(conn, call.actor, [call.id], None, why, call.now, call.ids)
    return show(call, conn)


def revoke_sessions(call: Call, conn: Connection) -> Answer:
    if not call.workspace.webhooks:
        raise Conflict("nobody would hear of it: no webhook is configured")
    known = found_user(call, conn, call.id)
    why = call.said(Reason).reason or f"revoked by {call.actor.name}"
    deliveries.revoke_sessions(conn, call.workspace, call.actor, known.id, why, call.now, call.ids)
    return Answer()


def _shown(found: Delivery) -> DeliveryShown:
    return DeliveryShown(**asdict(found))


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "GET",
        "/deliveries",
        "deliveries:read",
        list_,
        "What webhooks were told, the oldest first; what is not acknowledged unless asked otherwise",
        answer=DeliveryPage,
        query=ListDeliveries,
        beside=True,
    ),
    Operation("GET", "/deliveries/{id}", "deliveries:read", show, "One delivery", answer=DeliveryShown),
    Operation(
        "POST",
        "/deliveries/{id}/retry",
        "deliveries:write",
        retry,
        "Send it now instead of after its pause",
        answer=DeliveryShown,
    ),
    Operation(
        "POST",
        "/deliveries/{id}/discard",
        "deliveries:write",
        discard,
        "Give it up: it is never told, on record",
        answer=DeliveryShown,
        body=Reason,
    ),
    Operation(
        "POST",
        "/users/{id}/revoke-sessions",
        "users:update",
        revoke_sessions,
        "Tell the application to end all her sessions; what she may do stays",
        body=Reason,
        status=204,
        versioned=True,
    ),
)
