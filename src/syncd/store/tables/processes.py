"""What processes share: leases, heartbeats, timers, keys."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, PrimaryKeyConstraint, Table, Text

from syncd.store.tables.columns import Instant, metadata

leases = Table(
    "leases",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("holder", Text, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("expires_at", Instant, nullable=False),
    PrimaryKeyConstraint("workspace", "name"),
)

processes = Table(
    "processes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),  # "web" | "worker"
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("release", Text, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("beat_at", Instant, nullable=False),  # on the clock the leases go by
)

timers = Table(
    "timers",
    metadata,
    Column("name", Text, primary_key=True),  # "tick", "purge", "retention", ...
    Column("ran_at", Instant, nullable=False),  # on the clock of whoever ran it: how a jump of that clock is noticed
)

keys = Table(
    "keys",
    metadata,
    Column("name", Text, primary_key=True),  # "cursor"
    Column("secret", LargeBinary, nullable=False),  # random, made by whoever needed it first
    Column("created_at", Instant, nullable=False),
)
