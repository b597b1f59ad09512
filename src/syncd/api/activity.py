"""The record: who did what, by which door, from what to what, why; chosen, by pages, and exported as a stream."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from syncd.api.model import Instant, Model, Page, Paging, Text
from syncd.api.operation import Call, Operation, Streamed
from syncd.api.paging import asked
from syncd.core.export import csv_head, csv_line, json_line
from syncd.store import activity
from syncd.store.activity import PAGE, Wanted
from syncd.store.pages import Position
from syncd.store.read import Connection

_ABOUT = "Only what is about this user, group or other thing, by its id."


class Chosen(Model):
    """Which rows. Together: all must hold."""

    subject: Text | None = Field(default=None, description=_ABOUT)
    actor: Text | None = Field(default=None, description="Only what this person, token or program did.")
    door: Literal["scim", "api", "console", "cli", "run", "timer"] | None = None
    kind: Text | None = Field(default=None, description="Such as `grant`, `suspend`, `refused` or `held`.")
    source: Text | None = Field(default=None, description="Only what this source stated.")
    run: Text | None = Field(default=None, description="Only what this run did.")
    since: Instant | None = None
    until: Instant | None = None


class ListActivity(Chosen, Paging):
    order: Literal["newest", "oldest"] = Field(default="newest", description="Which comes first.")


class ExportActivity(Chosen):
    format: Literal["jsonl", "csv"] = Field(default="jsonl", description="JSON Lines, or CSV with a head.")


class ActivityShown(Model):
    id: str
    at: Instant
    door: str = Field(description="By which door it came: `scim`, `api`, `cli`, `run`, `timer`, ...")
    actor: str
    action: str = Field(description="A kind of change, or what was refused, held, approved, ...")
    subject: str = Field(description="By name; after a purge by id.")
    subject_id: str
    before: Any
    after: Any
    why: str
    source: str
    run: str | None
    address: str | None = Field(description="The network address that asked; null: nobody did over a network.")


class ActivityPage(Page[ActivityShown]):
    pass


def list_(call: Call, conn: Connection) -> ActivityPage:
    query = call.asked(ListActivity)
    wanted = asked(call, query, "activity")
    newest = query.order == "newest"
    found = activity.page(conn, call.workspace.name, _wanted(query), wanted.limit, wanted.after, newest)
    return wanted.page(ActivityPage, map(ActivityShown.model_validate, found.rows), found.more)


def export(call: Call, conn: Connection) -> Streamed:
    """The oldest first, up to now; each piece is a read of its own, so that no other waits for a slow reader."""
    query = call.asked(ExportActivity)
    chosen = _wanted(query, call)
    line = csv_line if query.format == "csv" else json_line

    def piece(conn: Connection, after: Position | None) -> tuple[bytes, Position | None]:
        found = activity.page(conn, call.workspace.name, chosen, PAGE, after)
        head = csv_head() if after is None and query.format == "csv" else ""
        return (head + "".join(map(line, found.rows))).encode(), found.more

    return Streamed(MEDIA[query.format], f"activity-{call.workspace.name}.{query.format}", piece)


MEDIA = {"jsonl": "application/jsonl", "csv": "text/csv; charset=utf-8"}


def _wanted(query: Chosen, call: Call | None = None) -> Wanted:
    until = query.until
    if call is not None:
        until = call.now if until is None else min(until, call.now)
    return Wanted(query.subject, query.actor, query.door, query.kind, query.source, query.run, query.since, until)


OPERATIONS = (
    Operation(
        "GET",
        "/activity",
        "activity:read",
        list_,
        "The record",
        answer=ActivityPage,
        query=ListActivity,
        beside=True,
    ),
    Operation(
        "GET",
        "/activity/export",
        "activity:read",
        export,
        "The record as one stream",
        query=ExportActivity,
        beside=True,
        streams=tuple(MEDIA.values()),
    ),
)
