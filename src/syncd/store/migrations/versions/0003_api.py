"""The JSON API: what requests with an Idempotency-Key were answered. Passwords and sign-ins. Webhooks: what
is outstanding. Offboarding by date. Mail, invitations, addresses
to be confirmed. Of which schemas documents are. Reads of what changed.

Revision ID: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from syncd.core.resource import name_key
from syncd.core.state import name_hash
from syncd.store import tables as types

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def _webhooks() -> None:
    op.add_column("users", sa.Column("reclaimed", types.JsonText(), nullable=True))
    op.create_table(
        "deliveries",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("webhook", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", types.Instant(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_at", types.Instant(), nullable=False),
        sa.Column("last_at", types.Instant(), nullable=True),
        sa.Column("last_status", sa.Integer(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("ended_at", types.Instant(), nullable=True),
        sa.Column("ended_as", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("workspace", "id"),
    )
    outstanding = sa.text("ended_at IS NULL")
    op.create_index("deliveries_due", "deliveries", ["next_at"], sqlite_where=outstanding, postgresql_where=outstanding)
    op.create_index(
        "deliveries_order",
        "deliveries",
        ["workspace", "webhook", "subject_id", "version", "id"],
        sqlite_where=outstanding,
        postgresql_where=outstanding,
    )
    op.create_index("deliveries_ended", "deliveries", ["ended_at"])
    op.create_index("deliveries_event", "deliveries", ["workspace", "event_id"])
    op.drop_index("outbox_new", "outbox")  # outbox_waiting has it all, and every change writes both


def _offboarding() -> None:
    op.create_table(
        "offboardings",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("ends_at", types.Instant(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("hand_over_to", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=True),
        sa.Column("set_at", types.Instant(), nullable=False),
        sa.Column("warned_s", sa.Integer(), nullable=True),
        sa.Column("done_at", types.Instant(), nullable=True),
        sa.Column("handover", types.JsonText(), nullable=True),
        sa.PrimaryKeyConstraint("workspace", "user_id"),
    )
    dated = sa.text("ends_at IS NOT NULL")
    op.create_index("links_ends", "links", ["workspace", "ends_at"], sqlite_where=dated, postgresql_where=dated)


def _mails() -> None:
    op.create_table(
        "mails",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("to_id", sa.Text(), nullable=True),
        sa.Column("about_id", sa.Text(), nullable=False),
        sa.Column("said", types.JsonText(), nullable=False),
        sa.Column("created_at", types.Instant(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_at", types.Instant(), nullable=False),
        sa.Column("last_at", types.Instant(), nullable=True),
        sa.Column("last_code", sa.Integer(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("ended_at", types.Instant(), nullable=True),
        sa.Column("ended_as", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("workspace", "id"),
    )
    waiting = sa.text("ended_at IS NULL")
    op.create_index("mails_due", "mails", ["next_at"], sqlite_where=waiting, postgresql_where=waiting)
    op.create_index("mails_about", "mails", ["workspace", "about_id"])
    op.create_index("mails_ended", "mails", ["workspace", "ended_at"])


def _seals() -> None:
    """No release wrote a seal before, so the table is made anew."""
    op.drop_table("activity_seals")
    op.create_table(
        "activity_seals",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("first_id", sa.Text(), nullable=False),
        sa.Column("last_id", sa.Text(), nullable=False),
        sa.Column("leaves", sa.LargeBinary(), nullable=True),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("previous", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_at", types.Instant(), nullable=False),
        sa.Column("dropped_at", types.Instant(), nullable=True),
        sa.PrimaryKeyConstraint("workspace", "number"),
    )
    op.create_index("activity_seals_range", "activity_seals", ["workspace", "last_id"])


def _invitations() -> None:
    op.create_table(
        "invitations",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("hashes", types.JsonText(), nullable=False),
        sa.Column("mail_id", sa.Text(), nullable=True),
        sa.Column("invited_by", sa.Text(), nullable=False),
        sa.Column("created_at", types.Instant(), nullable=False),
        sa.Column("sent_at", types.Instant(), nullable=False),
        sa.Column("expires_at", types.Instant(), nullable=False),
        sa.Column("ended_at", types.Instant(), nullable=True),
        sa.Column("ended_as", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("workspace", "id"),
    )
    op.create_index("invitations_user", "invitations", ["workspace", "user_id"])


def _assertions() -> None:
    op.create_table(
        "assertions",
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("jti", sa.LargeBinary(), nullable=False),
        sa.Column("until", types.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("client_id", "jti"),
    )
    op.create_index("assertions_until", "assertions", ["until"])


def _document_shapes() -> None:
    op.create_table(
        "unique_values",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("holder_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "resource", "path", "key"),
    )
    op.create_index("unique_values_holder", "unique_values", ["workspace", "holder_id"])
    op.create_table(
        "document_shapes",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("urn", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "resource", "urn"),
    )


def _email_changes() -> None:
    op.create_table(
        "email_changes",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("hashes", types.JsonText(), nullable=False),
        sa.Column("mail_id", sa.Text(), nullable=True),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("granted", types.JsonText(), nullable=False),
        sa.Column("asked_at", types.Instant(), nullable=False),
        sa.Column("sent_at", types.Instant(), nullable=False),
        sa.Column("expires_at", types.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "user_id"),
    )


def _roles() -> None:
    op.add_column("grants", sa.Column("denied", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("groups", sa.Column("grants", types.JsonText(), nullable=True))
    op.create_table(
        "roles",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("permissions", types.JsonText(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("created_at", types.Instant(), nullable=False),
        sa.Column("modified_at", types.Instant(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "name"),
    )


def _activity() -> None:
    """From where somebody asked; and the record by time, actor and kind."""
    op.add_column("activity", sa.Column("address", sa.Text(), nullable=True))
    for name, column in _ACTIVITY.items():
        op.create_index(name, "activity", ["workspace", *column, "at", "id"])
    of_runs = sa.text("run_id IS NOT NULL")
    columns = ["workspace", "run_id", "at", "id"]
    op.create_index("activity_run", "activity", columns, sqlite_where=of_runs, postgresql_where=of_runs)


_ACTIVITY = {"activity_at": (), "activity_actor": ("actor",), "activity_action": ("action",)}


def upgrade() -> None:
    _roles()
    _activity()
    op.add_column("links", sa.Column("locked_until", types.Instant(), nullable=True))  # a lock-out in a directory
    _seals()
    _webhooks()
    _offboarding()
    _mails()
    _invitations()
    _document_shapes()
    _assertions()
    _email_changes()
    op.create_table(
        "idempotency",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("at", types.Instant(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("headers", types.JsonText(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "holder", "key"),
    )
    op.create_index("idempotency_at", "idempotency", ["workspace", "at"])
    op.create_table(
        "passwords",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("set_at", types.Instant(), nullable=False),
        sa.Column("must_change", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "user_id"),
    )
    op.create_table(
        "password_resets",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("mail_id", sa.Text(), nullable=True),
        sa.Column("created_at", types.Instant(), nullable=False),
        sa.Column("expires_at", types.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "id"),
    )
    op.create_index("password_resets_user", "password_resets", ["workspace", "user_id"])
    op.create_index("password_resets_end", "password_resets", ["expires_at"])
    op.create_table(
        "sign_ins",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("last_at", types.Instant(), nullable=True),
        sa.Column("last_address", sa.Text(), nullable=True),
        sa.Column("second_factor", sa.Boolean(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("failed_at", types.Instant(), nullable=True),
        sa.Column("failed_address", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("workspace", "user_id"),
    )
    op.create_table(
        "sign_in_reports",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("at", types.Instant(), nullable=False),
        sa.Column("succeeded", sa.Boolean(), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("second_factor", sa.Boolean(), nullable=True),
        sa.Column("reported_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "id"),
    )
    op.create_index("sign_in_reports_user", "sign_in_reports", ["workspace", "user_id", "id"])
    op.create_index("sign_in_reports_at", "sign_in_reports", ["at"])
    _deltas()
    _key_names()


def _deltas() -> None:
    """What a read of changes needs: names that an index finds, what is to be looked at again, and where to go on."""
    op.add_column("links", sa.Column("dn_hash", sa.Text(), nullable=True))
    op.add_column("links", sa.Column("uid_key", types.Ordered, nullable=True))
    op.add_column("links", sa.Column("waits_for", sa.Text(), nullable=True))
    _hash_names()
    for column in ("dn_hash", "uid_key", "waits_for"):
        where = sa.text(f"{column} IS NOT NULL")
        keys, name = ["workspace", "source", column], f"links_{column.removesuffix('_hash')}"
        op.create_index(name, "links", keys, sqlite_where=where, postgresql_where=where)
    op.add_column("unresolved_members", sa.Column("ref_hash", sa.Text(), nullable=True))
    op.create_index("unresolved_ref", "unresolved_members", ["workspace", "origin", "ref_hash"])
    op.add_column("source_states", sa.Column("last_delta_at", types.Instant(), nullable=True))
    for table in ("source_states", "runs"):
        op.add_column(table, sa.Column("drift", sa.Integer(), nullable=True))
    for column in ("kind", "kind_why", "checkpoint"):
        op.add_column("runs", sa.Column(column, sa.Text(), nullable=True))
    op.create_table(
        "quarantine",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("entry", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("since", types.Instant(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("next_at", types.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "source", "key"),
    )
    op.create_index("quarantine_due", "quarantine", ["workspace", "source", "next_at"])
    _adoptions()


def _adoptions() -> None:
    """New entries that may be people who are known; whether who reads sees itself."""
    op.add_column("source_states", sa.Column("own_entry", sa.Boolean(), nullable=True))
    op.add_column("source_states", sa.Column("groups_outside", types.JsonText(), nullable=True))
    op.create_table(
        "adoptions",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("entry", sa.Text(), nullable=False),
        sa.Column("user_name", sa.Text(), nullable=False),
        sa.Column("candidates", types.JsonText(), nullable=False),
        sa.Column("since", types.Instant(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=True),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("refused", types.JsonText(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("decided_at", types.Instant(), nullable=True),
        sa.PrimaryKeyConstraint("workspace", "source", "key"),
    )


def _key_names() -> None:
    """How userNames are compared, in the column and in what filters look through. Of two who are one by it the second keeps
    what it had."""
    conn = op.get_bind()
    users = sa.table(
        "users",
        *(sa.column(each) for each in ("workspace", "id", "user_name", "user_name_key", "status")),
        sa.column("search", types.SearchJson()),
    )
    u = users.c
    beyond_ascii = "user_name_key GLOB '*[^ -~]*'" if conn.dialect.name == "sqlite" else "user_name_key ~ '[^ -~]'"
    query = sa.select(u.workspace, u.id, u.user_name, u.user_name_key, u.status).where(sa.text(beyond_ascii))
    for row in conn.execute(query.order_by(u.id)).all():
        key = name_key(row.user_name)
        if key == row.user_name_key:
            continue
        namesake = sa.select(u.id).where(u.workspace == row.workspace, u.user_name_key == key, u.status != "deleted")
        if row.status == "deleted" or conn.scalar(namesake) is None:
            mine = (u.workspace == row.workspace, u.id == row.id)
            search = conn.scalars(sa.select(u.search).where(*mine)).one()
            renewed = {**search, "username": key} if "username" in search else search
            conn.execute(users.update().where(*mine).values(user_name_key=key, search=renewed))


def _hash_names() -> None:
    """Names of entries that no read will state again, too: a group may still name who is missing."""
    conn = op.get_bind()
    k = sa.table(
        "links", *(sa.column(name) for name in ("workspace", "source", "resource", "key", "dn_key", "dn_hash"))
    )
    key = (k.c.workspace, k.c.source, k.c.resource, k.c.key)
    query = sa.select(*key, k.c.dn_key).where(k.c.dn_key.is_not(None)).order_by(*key).limit(1000)
    columns = [("w", k.c.workspace), ("s", k.c.source), ("r", k.c.resource), ("k", k.c.key)]
    fill = k.update().values(dn_hash=sa.bindparam("hashed"))
    fill = fill.where(*(column == sa.bindparam(name) for name, column in columns))
    rows = conn.execute(query).all()
    while rows:
        conn.execute(
            fill,
            [dict(zip("wsrk", row[:4], strict=True)) | {"hashed": name_hash(row.dn_key)} for row in rows],
        )
        rows = conn.execute(query.where(sa.tuple_(*key) > tuple(rows[-1][:4]))).all()
