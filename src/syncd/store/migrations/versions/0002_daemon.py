"""The daemon: heartbeats of its processes, and when a token's expiry was warned of. What SCIM searches and sorts by:
e-mail addresses by value, names in the order of code points; and the key that seals cursors. Requests to be done later.

Only adds, so the old release still runs; but what it writes meanwhile is not found by e-mail.

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
    op.create_table(
        "tolerances",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("uses", sa.BigInteger(), nullable=False),
        sa.Column("last_used_at", types.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "source", "name"),
    )
    op.add_column("tokens", sa.Column("expiry_warned_at", types.Instant(), nullable=True))
    op.add_column("tokens", sa.Column("user_id", sa.Text(), nullable=True))
    op.add_column("tokens", sa.Column("use", sa.Text(), nullable=True))
    op.add_column("tokens", sa.Column("public_keys", types.JsonText(), nullable=True))
    op.create_index("users_status", "users", ["workspace", "status"])
    op.create_index("runs_source", "runs", ["workspace", "source", "started_at"])
    op.create_index("outbox_waiting", "outbox", ["workspace", "state", "at"])
    op.drop_index("effective_group", "effective_memberships")
    # With the user in it, or SQLite would rather walk the whole workspace in the primary key.
    op.create_index("effective_group", "effective_memberships", ["workspace", "group_id", "user_id"])
    op.create_index("groups_name", "groups", ["workspace", "display_key"])
    op.create_table(
        "keys",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", types.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "requests",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("actor", types.JsonText(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("resource_id", sa.Text(), nullable=True),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("if_match", sa.Text(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("operations", sa.Integer(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("at", types.Instant(), nullable=False),
        sa.Column("done_at", types.Instant(), nullable=True),
        sa.PrimaryKeyConstraint("workspace", "id"),
    )
    op.create_index("requests_waiting", "requests", ["done_at", "workspace", "source", "id"])
    op.create_table(
        "emails",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "value", "user_id"),
        sqlite_with_rowid=False,
    )
    if op.get_bind().dialect.name == "sqlite":
        value, rows = "json_extract(e.value, '$.value')", "json_each(u.search, '$.emails') e"
    else:
        value = "e.value ->> 'value'"
        rows = (
            "jsonb_array_elements(CASE jsonb_typeof(u.search -> 'emails') WHEN 'array' THEN u.search -> 'emails' END) e"
        )
        # Everything that has no order of its own stays as it was; the indexes are made anew.
        op.execute('ALTER TABLE users ALTER COLUMN user_name_key TYPE text COLLATE "C"')
        op.execute('ALTER TABLE groups ALTER COLUMN display_key TYPE text COLLATE "C"')
    found = f"SELECT DISTINCT u.workspace, substr({value}, 1, 200), u.id FROM users u, {rows} WHERE {value} IS NOT NULL"  # noqa: S608
    op.execute(f"INSERT INTO emails (workspace, value, user_id) {found}")
