"""The daemon: heartbeats of its processes, and when a token's expiry was warned of. Only adds, so the old release still runs.

Revision ID: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from syncd.store import tables as types

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "processes",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("release", sa.Text(), nullable=False),
        sa.Column("started_at", types.Instant(), nullable=False),
        sa.Column("beat_at", types.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "timers",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("ran_at", types.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.add_column("tokens", sa.Column("expiry_warned_at", types.Instant(), nullable=True))
    op.create_index("users_status", "users", ["workspace", "status"])
    op.create_index("runs_source", "runs", ["workspace", "source", "started_at"])
    op.create_index("outbox_waiting", "outbox", ["workspace", "state", "at"])
