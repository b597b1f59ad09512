"""The first schema: every table of the model.

Revision ID: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from syncd.store import tables as types

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "activity",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("at", types.Instant(), nullable=False),
        sa.Column("door", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("payload_hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "id"),
    )
    op.create_index("activity_subject", "activity", ["workspace", "subject_id", "id"], unique=False)
    op.create_table(
        "activity_payloads",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("activity_id", sa.Text(), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("before", types.JsonText(), nullable=True),
        sa.Column("after", types.JsonText(), nullable=True),
        sa.PrimaryKeyConstraint("workspace", "activity_id"),
    )
    op.create_table(
        "activity_seals",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("first_id", sa.Text(), nullable=False),
        sa.Column("last_id", sa.Text(), nullable=False),
        sa.Column("previous", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_at", types.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "first_id"),
    )
    op.create_table(
        "effective_memberships",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("group_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "user_id", "group_id"),
    )
    op.create_index("effective_group", "effective_memberships", ["workspace", "group_id"], unique=False)
    op.create_table(
        "grants",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("created_at", types.Instant(), nullable=False),
        sa.Column("expires_at", types.Instant(), nullable=True),
        sa.PrimaryKeyConstraint("workspace", "user_id", "kind", "value", "origin", "name"),
    )
    op.create_index("grants_value", "grants", ["workspace", "kind", "value"], unique=False)
    op.create_table(
        "groups",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("display_key", sa.Text(), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("search", types.SearchJson(), nullable=False),
        sa.Column("created_at", types.Instant(), nullable=False),
        sa.Column("modified_at", types.Instant(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "id"),
    )
    op.create_index("groups_display", "groups", ["workspace", "source", "display_key"], unique=True)
    op.create_table(
        "held",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("guard", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("created_at", types.Instant(), nullable=False),
        sa.Column("changes", sa.LargeBinary(), nullable=False),
        sa.Column("edits", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "source", "subject_id", "kind"),
    )
    op.create_index("held_digest", "held", ["workspace", "digest"], unique=False)
    op.create_index("held_subject", "held", ["workspace", "subject_id"], unique=False)
    op.create_table(
        "leases",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", types.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "name"),
    )
    op.create_table(
        "links",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("resource_id", sa.Text(), nullable=False),
        sa.Column("dn", sa.Text(), nullable=True),
        sa.Column("dn_key", sa.Text(), nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=True),
        sa.Column("values", types.JsonText(), nullable=False),
        sa.Column("entry_hash", sa.Text(), nullable=False),
        sa.Column("mapping_digest", sa.Text(), nullable=False),
        sa.Column("starts_at", types.Instant(), nullable=True),
        sa.Column("ends_at", types.Instant(), nullable=True),
        sa.Column("missing_since", types.Instant(), nullable=True),
        sa.Column("missing_reads", sa.Integer(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=True),
        sa.Column("created_at", types.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "source", "resource", "key"),
    )
    op.create_index(
        "links_deleted",
        "links",
        ["workspace", "source", "resource", "resource_id"],
        unique=False,
        sqlite_where=sa.text("stage = 'deleted'"),
        postgresql_where=sa.text("stage = 'deleted'"),
    )
    op.create_index("links_resource", "links", ["workspace", "resource", "resource_id"], unique=False)
    op.create_table(
        "losses",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("at", types.Instant(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "source", "kind", "subject_id", "at"),
    )
    op.create_index("losses_window", "losses", ["workspace", "source", "kind", "at"], unique=False)
    op.create_table(
        "memberships",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("group_id", sa.Text(), nullable=False),
        sa.Column("member", sa.Text(), nullable=False),
        sa.Column("member_id", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("created_at", types.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "group_id", "member", "member_id", "origin"),
    )
    op.create_index("memberships_member", "memberships", ["workspace", "member", "member_id", "group_id"], unique=False)
    op.create_table(
        "outbox",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("at", types.Instant(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("payload", types.JsonText(), nullable=False),
        sa.Column("state", sa.Text(), server_default="new", nullable=False),
        sa.Column("claimed_at", types.Instant(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("workspace", "id"),
    )
    op.create_index("outbox_new", "outbox", ["state", "at"], unique=False)
    op.create_table(
        "run_items",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("batch", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("edits", sa.LargeBinary(), nullable=False),
        sa.Column("expected", types.JsonText(), nullable=False),
        sa.Column("changes", sa.LargeBinary(), nullable=False),
        sa.Column("why", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("workspace", "run_id", "ordinal"),
    )
    op.create_table(
        "runs",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("dry_run", sa.Boolean(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("started_at", types.Instant(), nullable=False),
        sa.Column("finished_at", types.Instant(), nullable=True),
        sa.Column("scheduled_at", types.Instant(), nullable=True),
        sa.Column("fence", sa.BigInteger(), nullable=True),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.Column("complete", sa.Boolean(), nullable=True),
        sa.Column("incomplete_because", types.JsonText(), nullable=True),
        sa.Column("counts", types.JsonText(), nullable=True),
        sa.Column("losses", sa.LargeBinary(), nullable=True),
        sa.Column("held", types.JsonText(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("workspace", "id"),
    )
    op.create_index("runs_started", "runs", ["workspace", "started_at"], unique=False)
    op.create_index("runs_tick", "runs", ["workspace", "source", "scheduled_at"], unique=True)
    op.create_table(
        "seat_pools",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.Column("waiting", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "name"),
    )
    op.create_table(
        "seats",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("held", sa.Boolean(), nullable=False),
        sa.Column("since", types.Instant(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "pool", "user_id"),
    )
    op.create_index(
        "seats_queue",
        "seats",
        ["workspace", "pool", "priority", "since", "user_id"],
        unique=False,
        sqlite_where=sa.text("held = 0"),
        postgresql_where=sa.text("held = false"),
    )
    op.create_index("seats_user", "seats", ["workspace", "user_id"], unique=False)
    op.create_table(
        "set_aside",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("entry", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "run_id", "ordinal"),
    )
    op.create_table(
        "source_states",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.Column("server_identity", sa.Text(), nullable=True),
        sa.Column("key_attribute", sa.Text(), nullable=True),
        sa.Column("last_complete_at", types.Instant(), nullable=True),
        sa.Column("last_users", sa.Integer(), nullable=True),
        sa.Column("last_groups", sa.Integer(), nullable=True),
        sa.Column("checkpoint", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("workspace", "source"),
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("allow", types.JsonText(), nullable=False),
        sa.Column("created_at", types.Instant(), nullable=False),
        sa.Column("expires_at", types.Instant(), nullable=True),
        sa.Column("revoked_at", types.Instant(), nullable=True),
        sa.Column("last_used_at", types.Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("tokens_workspace", "tokens", ["workspace", "name"], unique=False)
    op.create_table(
        "totals",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "resource"),
    )
    op.create_table(
        "unresolved_members",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("group_id", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "group_id", "origin", "ref"),
    )
    op.create_table(
        "users",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_name", sa.Text(), nullable=False),
        sa.Column("user_name_key", sa.Text(), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("search", types.SearchJson(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("next_status_at", types.Instant(), nullable=True),
        sa.Column("suspended", sa.Text(), nullable=True),
        sa.Column("locked_until", types.Instant(), nullable=True),
        sa.Column("invited", sa.Boolean(), nullable=False),
        sa.Column("deleted_at", types.Instant(), nullable=True),
        sa.Column("created_at", types.Instant(), nullable=False),
        sa.Column("modified_at", types.Instant(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "id"),
    )
    op.create_index(
        "users_due",
        "users",
        ["next_status_at"],
        unique=False,
        sqlite_where=sa.text("next_status_at IS NOT NULL"),
        postgresql_where=sa.text("next_status_at IS NOT NULL"),
    )
    op.create_index("users_modified", "users", ["workspace", "modified_at"], unique=False)
    op.create_index(
        "users_user_name",
        "users",
        ["workspace", "user_name_key"],
        unique=True,
        sqlite_where=sa.text("status <> 'deleted'"),
        postgresql_where=sa.text("status <> 'deleted'"),
    )
    op.create_table(
        "workspaces",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", types.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
