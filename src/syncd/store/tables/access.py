"""What users may do and hold: grants, roles that people made, seats."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, Integer, PrimaryKeyConstraint, Table, Text, false, text

from syncd.store.tables.columns import Instant, JsonText, metadata

grants = Table(
    "grants",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("run_id", Text),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("denied", Boolean, nullable=False, server_default=false()),  # it does not count while a denial does
    PrimaryKeyConstraint("workspace", "user_id", "kind", "value", "origin", "name"),
    Index("grants_value", "workspace", "kind", "value"),
)

roles = Table(
    "roles",  # those that people made while syncd runs
    metadata,
    Column("workspace", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("permissions", JsonText, nullable=False),
    Column("description", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("modified_at", Instant, nullable=False),
    Column("version", Integer, nullable=False),
    PrimaryKeyConstraint("workspace", "name"),
)

seats = Table(
    "seats",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("pool", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("held", Boolean, nullable=False),  # false: waiting
    Column("since", Instant, nullable=False),
    Column("priority", Integer, nullable=False),
    PrimaryKeyConstraint("workspace", "pool", "user_id"),
    Index("seats_user", "workspace", "user_id"),
    Index(
        "seats_queue",
        "workspace",
        "pool",
        "priority",
        "since",
        "user_id",
        sqlite_where=text("held = 0"),
        postgresql_where=text("held = false"),
    ),
)

seat_pools = Table(
    "seat_pools",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("used", Integer, nullable=False),  # the row is locked, in name order, by whoever takes or frees a seat
    Column("waiting", Integer, nullable=False),
    PrimaryKeyConstraint("workspace", "name"),
)
