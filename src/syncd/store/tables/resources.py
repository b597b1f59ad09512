"""Who and what there is: users, groups, who is a member of what, and what each source states of them (links)."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, Integer, LargeBinary, PrimaryKeyConstraint, Table, Text, text

from syncd.store.tables.columns import Instant, JsonText, Ordered, SearchJson, metadata

workspaces = Table(
    "workspaces",
    metadata,
    Column("name", Text, primary_key=True),
    Column("created_at", Instant, nullable=False),
)

users = Table(
    "users",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("user_name", Text, nullable=False),
    Column("user_name_key", Ordered, nullable=False),  # as compared: core/resource.py name_key
    Column("document", LargeBinary, nullable=False),  # the bytes that are sent, without meta, externalId, groups
    Column("search", SearchJson, nullable=False),
    Column("status", Text, nullable=False),
    Column("next_status_at", Instant),
    Column("suspended", Text),
    Column("locked_until", Instant),
    Column("invited", Boolean, nullable=False),
    Column("deleted_at", Instant),
    Column("reclaimed", JsonText),  # pools of idle seats that were taken back; NULL: none
    Column("created_at", Instant, nullable=False),
    Column("modified_at", Instant, nullable=False),
    Column("version", Integer, nullable=False),
    PrimaryKeyConstraint("workspace", "id"),
    Index(
        "users_user_name",
        "workspace",
        "user_name_key",
        unique=True,
        sqlite_where=text("status <> 'deleted'"),
        postgresql_where=text("status <> 'deleted'"),
    ),
    Index(
        "users_due",
        "next_status_at",
        sqlite_where=text("next_status_at IS NOT NULL"),
        postgresql_where=text("next_status_at IS NOT NULL"),
    ),
    Index("users_modified", "workspace", "modified_at"),
    Index("users_status", "workspace", "status"),  # how many of each: counted at every scrape
)

groups = Table(
    "groups",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("display_key", Ordered, nullable=False),
    Column("document", LargeBinary, nullable=False),
    Column("search", SearchJson, nullable=False),
    Column("grants", JsonText),  # what people gave it: [kind, value, by whom, why, since]; NULL: nothing
    Column("created_at", Instant, nullable=False),
    Column("modified_at", Instant, nullable=False),
    Column("version", Integer, nullable=False),
    PrimaryKeyConstraint("workspace", "id"),
    Index("groups_display", "workspace", "source", "display_key", unique=True),
    Index("groups_name", "workspace", "display_key"),  # for a connection that looks a name up
)

emails = Table(
    "emails",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("value", Text, nullable=False),  # the beginning of a comparable value: what the index of a filter needs
    Column("user_id", Text, nullable=False),
    PrimaryKeyConstraint("workspace", "value", "user_id"),
    sqlite_with_rowid=False,
)

unique_values = Table(
    "unique_values",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("resource", Text, nullable=False),  # "user" | "group"
    Column("path", Text, nullable=False),  # an attribute of a schema of the workspace's own, with uniqueness `server`
    Column("key", Text, nullable=False),  # its value, as it is compared (core/resource.py: unique_keys)
    Column("holder_id", Text, nullable=False),  # who has it; never a user who is deleted
    PrimaryKeyConstraint("workspace", "resource", "path", "key"),
    Index("unique_values_holder", "workspace", "holder_id"),
)

links = Table(
    "links",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("resource", Text, nullable=False),  # "user" | "group"
    Column("key", Text, nullable=False),
    Column("resource_id", Text, nullable=False),
    Column("dn", Text),
    Column("dn_key", Text),  # the normalised DN: how members and managers are found
    Column("dn_hash", Text),  # of dn_key, which may be too long for an index
    Column("uid_key", Ordered),  # of its uids: how memberUid finds it
    Column("waits_for", Text),  # the hash of a manager's normalised DN that nobody has
    Column("enabled", Boolean),  # NULL: not said
    Column("values", JsonText, nullable=False),
    Column("entry_hash", Text, nullable=False),
    Column("mapping_digest", Text, nullable=False),
    Column("starts_at", Instant),
    Column("ends_at", Instant),
    Column("locked_until", Instant),
    Column("missing_since", Instant),
    Column("missing_reads", Integer, nullable=False),
    Column("stage", Text),
    Column("created_at", Instant, nullable=False),
    PrimaryKeyConstraint("workspace", "source", "resource", "key"),
    Index("links_resource", "workspace", "resource", "resource_id"),
    *(
        Index(
            f"links_{column.removesuffix('_hash')}",
            "workspace",
            "source",
            column,
            sqlite_where=text(f"{column} IS NOT NULL"),
            postgresql_where=text(f"{column} IS NOT NULL"),
        )
        for column in ("dn_hash", "uid_key", "waits_for")  # none of which a connection's links have
    ),
    Index(
        "links_ends",
        "workspace",
        "ends_at",
        sqlite_where=text("ends_at IS NOT NULL"),
        postgresql_where=text("ends_at IS NOT NULL"),
    ),
    Index(
        "links_deleted",  # who does not exist for a connection any more, to be left out of its totals
        "workspace",
        "source",
        "resource",
        "resource_id",
        sqlite_where=text("stage = 'deleted'"),
        postgresql_where=text("stage = 'deleted'"),
    ),
)

memberships = Table(
    "memberships",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("group_id", Text, nullable=False),
    Column("member", Text, nullable=False),  # "user" | "group"
    Column("member_id", Text, nullable=False),
    Column("origin", Text, nullable=False),  # the source that states it
    Column("created_at", Instant, nullable=False),
    PrimaryKeyConstraint("workspace", "group_id", "member", "member_id", "origin"),
    Index("memberships_member", "workspace", "member", "member_id", "group_id"),
)

unresolved_members = Table(
    "unresolved_members",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("group_id", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("ref", Text, nullable=False),  # the DN, uid or id as the source names it
    Column("ref_hash", Text),  # of its one form, for who has that name later; NULL: of a source that pushes
    PrimaryKeyConstraint("workspace", "group_id", "origin", "ref"),
    Index("unresolved_ref", "workspace", "origin", "ref_hash"),
)

effective_memberships = Table(
    "effective_memberships",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("group_id", Text, nullable=False),
    PrimaryKeyConstraint("workspace", "user_id", "group_id"),
    Index("effective_group", "workspace", "group_id", "user_id"),
)

totals = Table(
    "totals",
    metadata,
    Column("workspace", Text, nullable=False),
    Column(
        "resource", Text, nullable=False
    ),  # "user" | "group"; "graph", "shown": how often those changed (store/memory.py)
    Column("count", Integer, nullable=False),  # of what is not deleted: totalResults without count(*)
    PrimaryKeyConstraint("workspace", "resource"),
)

document_shapes = Table(
    "document_shapes",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("resource", Text, nullable=False),  # user | group
    Column("urn", Text, nullable=False),  # a schema of the workspace's own, of which the stored documents are
    Column("digest", Text, nullable=False),  # core/types.py: shapes
    PrimaryKeyConstraint("workspace", "resource", "urn"),
)
