"""The record of what was done, and the events that others must hear of."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, LargeBinary, PrimaryKeyConstraint, Table, Text, text

from syncd.store.tables.columns import Instant, JsonText, metadata

activity = Table(
    "activity",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("id", Text, nullable=False),  # time-ordered
    Column("at", Instant, nullable=False),
    Column("door", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),  # a kind of change, `refused`, `held`, `token_create`, ...
    Column("subject", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("run_id", Text),
    Column("why", Text, nullable=False),
    Column("address", Text),  # the network address that asked; None: nobody did over a network, or before release 0.3
    Column(
        "payload_hash", LargeBinary, nullable=False
    ),  # core/chain.py: salted, so that a purge leaves the chain whole
    PrimaryKeyConstraint("workspace", "id"),
    Index("activity_subject", "workspace", "subject_id", "id"),
    Index("activity_at", "workspace", "at", "id"),
    Index("activity_actor", "workspace", "actor", "at", "id"),
    Index("activity_action", "workspace", "action", "at", "id"),
    Index(
        "activity_run",
        *("workspace", "run_id", "at", "id"),
        sqlite_where=text("run_id IS NOT NULL"),
        postgresql_where=text("run_id IS NOT NULL"),
    ),
)

activity_payloads = Table(
    "activity_payloads",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("activity_id", Text, nullable=False),
    Column("salt", LargeBinary, nullable=False),
    Column("before", JsonText),
    Column("after", JsonText),
    PrimaryKeyConstraint("workspace", "activity_id"),
)

activity_seals = Table(  # store/seals.py
    "activity_seals",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("number", Integer, nullable=False),  # from 1 on, without a gap
    Column("rows", Integer, nullable=False),
    Column("first_id", Text, nullable=False),
    Column("last_id", Text, nullable=False),
    Column("leaves", LargeBinary),  # id and digest of each row; NULL when retention took the rows
    Column("root", LargeBinary, nullable=False),
    Column("previous", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("sealed_at", Instant, nullable=False),
    Column("dropped_at", Instant),
    PrimaryKeyConstraint("workspace", "number"),
    Index("activity_seals_range", "workspace", "last_id"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("topic", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    Column("payload", JsonText, nullable=False),
    Column("state", Text, nullable=False, server_default="new"),  # claimed by state, never by a sequence cursor
    Column("claimed_at", Instant),
    Column("attempts", Integer, nullable=False, server_default="0"),
    PrimaryKeyConstraint("workspace", "id"),
    Index("outbox_waiting", "workspace", "state", "at"),  # how many and since when, and what may go
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("id", Text, nullable=False),  # the receiver knows it by this: the header webhook-id
    Column("webhook", Text, nullable=False),
    Column("event_id", Text, nullable=False),  # of the outbox, which says what is sent
    Column("subject_id", Text, nullable=False),
    Column("version", Integer, nullable=False),  # of the user: what is told of one comes in this order
    Column("created_at", Instant, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("next_at", Instant, nullable=False),  # not before; while it is being sent, when that counts as lost
    Column("last_at", Instant),  # when it was last sent
    Column("last_status", Integer),  # what was answered then, if anything was
    Column("last_error", Text),
    Column("ended_at", Instant),  # NULL: outstanding
    Column("ended_as", Text),  # acknowledged | discarded
    PrimaryKeyConstraint("workspace", "id"),
    Index(
        "deliveries_due", "next_at", sqlite_where=text("ended_at IS NULL"), postgresql_where=text("ended_at IS NULL")
    ),
    Index(
        "deliveries_order",
        "workspace",
        "webhook",
        "subject_id",
        "version",
        "id",
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
    Index("deliveries_ended", "ended_at"),
    Index("deliveries_event", "workspace", "event_id"),
)
