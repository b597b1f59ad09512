"""The schema. Every row belongs to a workspace; `workspace` leads every key, so that tables can be partitioned by it.

Instants are microseconds since 1970 UTC (one meaning on both engines, comparable, indexable); JSON is text, except `search`,
which PostgreSQL keeps as JSONB so that filters compile to its operators. Only the migrations create these tables.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    TypeDecorator,
    false,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def instant(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


class Instant(TypeDecorator[datetime]):
    """An aware UTC datetime, stored as microseconds since 1970."""

    impl = BigInteger
    cache_ok = True

    @property
    def python_type(self) -> type[Any]:
        return datetime

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else micros(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else instant(value)


class JsonText(TypeDecorator[Any]):
    """JSON kept as text with sorted keys, so that equal values are equal bytes."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else orjson.loads(value)


class SearchJson(TypeDecorator[Any]):
    """The comparable values of a resource: JSONB on PostgreSQL, JSON text on SQLite."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        return dialect.type_descriptor(JSONB() if dialect.name == "postgresql" else JSON())


# A comparable text that is searched by its beginning and sorted by: its index must be in the order of code points.
Ordered = Text().with_variant(Text(collation="C"), "postgresql")

metadata = MetaData()

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
    Column("user_name_key", Ordered, nullable=False),  # as compared: NFC, case-folded
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
    Index("links_dn", "workspace", "source", "dn_hash"),
    *(
        Index(
            f"links_{column}",
            "workspace",
            "source",
            column,
            sqlite_where=text(f"{column} IS NOT NULL"),
            postgresql_where=text(f"{column} IS NOT NULL"),
        )
        for column in ("uid_key", "waits_for")
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

source_states = Table(
    "source_states",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("digest", Text),  # of base, filter, mapping; for the reserved source `rules`, of the rule set
    Column("server_identity", Text),
    Column("key_attribute", Text),  # what the stable keys are made of
    Column("last_complete_at", Instant),
    Column("last_users", Integer),
    Column("last_groups", Integer),
    Column("checkpoint", Text),  # from where the next delta goes on
    Column("last_delta_at", Instant),  # of a complete one
    Column("drift", Integer),  # what the last whole read that could tell found, and deltas had not told
    Column("own_entry", Boolean),  # whether the account that reads saw its own entry
    PrimaryKeyConstraint("workspace", "source"),
)

runs = Table(
    "runs",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("dry_run", Boolean, nullable=False),
    Column(
        "status", Text, nullable=False
    ),  # reading | deciding | applying | clean | pending | applied | held | incomplete | failed | stopped | missed
    Column("actor", Text, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("finished_at", Instant),
    Column("scheduled_at", Instant),
    Column("fence", BigInteger),
    Column("digest", Text),
    Column("complete", Boolean),
    Column("incomplete_because", JsonText),
    Column("counts", JsonText),
    Column("losses", LargeBinary),  # fingerprints of the losses shown, 8 bytes each: what `sync --plan` may take away
    Column("held", JsonText),
    Column("message", Text),
    Column("kind", Text),  # full | delta; NULL: it read nothing, or failed before that was known
    Column("kind_why", Text),  # why everything was read, though a delta was wanted
    Column("drift", Integer),  # differences that deltas should have told before this whole read; NULL: not measured
    Column("checkpoint", Text),  # what the source's becomes with the last batch
    PrimaryKeyConstraint("workspace", "id"),
    Index("runs_started", "workspace", "started_at"),
    Index("runs_tick", "workspace", "source", "scheduled_at", unique=True),
    Index("runs_source", "workspace", "source", "started_at"),
)

run_items = Table(
    "run_items",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("batch", Integer, nullable=False),  # what was decided together is applied together
    Column("state", Text, nullable=False),  # planned | applied | dropped
    Column("edits", LargeBinary, nullable=False),
    Column("expected", JsonText, nullable=False),  # id -> version at decision
    Column("changes", LargeBinary, nullable=False),
    Column("why", Text),
    PrimaryKeyConstraint("workspace", "run_id", "ordinal"),
)

quarantine = Table(
    "quarantine",  # entries of a source that the last look at them set aside or dropped: a delta looks again by itself
    metadata,
    Column("workspace", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("key", Text, nullable=False),  # the stable key
    Column("entry", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("since", Instant, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("run_id", Text, nullable=False),  # that looked at it last
    Column("next_at", Instant, nullable=False),
    PrimaryKeyConstraint("workspace", "source", "key"),
    Index("quarantine_due", "workspace", "source", "next_at"),
)

adoptions = Table(
    "adoptions",  # new entries that may be people who are known, until they are linked
    metadata,
    Column("workspace", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("key", Text, nullable=False),  # the stable key
    Column("entry", Text, nullable=False),
    Column("user_name", Text, nullable=False),
    Column("candidates", JsonText, nullable=False),  # [user id, score, [rule], why barred or null]
    Column("since", Instant, nullable=False),
    Column("run_id", Text, nullable=False),  # that asked last
    Column("decision", Text),  # accepted | refused; NULL: nobody said yet
    Column("user_id", Text),  # whose it is
    Column("refused", JsonText),  # ids of users whose it is not
    Column("decided_by", Text),
    Column("decided_at", Instant),
    PrimaryKeyConstraint("workspace", "source", "key"),
)

set_aside = Table(
    "set_aside",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("entry", Text, nullable=False),
    Column("why", Text, nullable=False),
    PrimaryKeyConstraint("workspace", "run_id", "ordinal"),
)

held = Table(
    "held",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    Column("kind", Text, nullable=False),  # the kind of loss
    Column("subject", Text, nullable=False),
    Column("guard", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("run_id", Text),
    Column("created_at", Instant, nullable=False),
    Column("changes", LargeBinary, nullable=False),
    Column("edits", LargeBinary, nullable=False),
    PrimaryKeyConstraint("workspace", "source", "subject_id", "kind"),
    Index("held_digest", "workspace", "digest"),
    Index("held_subject", "workspace", "subject_id"),
)

losses = Table(
    "losses",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("run_id", Text, nullable=False),  # "" for a push
    PrimaryKeyConstraint("workspace", "source", "kind", "subject_id", "at"),
    Index("losses_window", "workspace", "source", "kind", "at"),
)

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

tokens = Table(
    "tokens",
    metadata,
    Column("id", Text, primary_key=True),  # public: the first part of the token, by which it is found
    Column("workspace", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),  # SHA-256 of 256 random bits: needs no slow hash
    Column("allow", JsonText, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("revoked_at", Instant),
    Column("last_used_at", Instant),
    Column("expiry_warned_at", Instant),
    Column("user_id", Text),  # the person who bears it: SCIM's /Me
    Column("use", Text),  # "client": only to ask /oauth/token for access tokens; NULL: sent with each request
    Column("public_keys", JsonText),  # of a client that signs instead of sending a secret: a JWK Set (RFC 7517)
    Index("tokens_workspace", "workspace", "name"),
)

tolerances = Table(
    "tolerances",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("uses", BigInteger, nullable=False),  # requests of this connection that took it
    Column("last_used_at", Instant, nullable=False),
    PrimaryKeyConstraint("workspace", "source", "name"),
)

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
    Index("outbox_new", "state", "at"),
    Index("outbox_waiting", "workspace", "state", "at"),  # how many and since when: counted at every scrape
)

invitations = Table(
    "invitations",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("hashes", JsonText, nullable=False),  # SHA-256 of each link that counts
    Column("mail_id", Text),  # the last letter
    Column("invited_by", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("sent_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("ended_at", Instant),  # NULL: pending, or expired
    Column("ended_as", Text),  # accepted | cancelled
    PrimaryKeyConstraint("workspace", "id"),
    Index("invitations_user", "workspace", "user_id"),
)

email_changes = Table(  # addresses that wait to be confirmed: store/email_changes.py
    "email_changes",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("hashes", JsonText, nullable=False),  # SHA-256 of each link that counts
    Column("mail_id", Text),  # the last letter
    Column("asked_by", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("granted", JsonText, nullable=False),  # what she held when it was asked
    Column("asked_at", Instant, nullable=False),
    Column("sent_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    PrimaryKeyConstraint("workspace", "user_id"),
)

mails = Table(
    "mails",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("kind", Text, nullable=False),  # which letter: core/mail.py
    Column("to_id", Text),  # the user it goes to
    Column("about_id", Text, nullable=False),  # the user it is about
    Column("said", JsonText, nullable=False),  # dates and ids; names, addresses and links are looked up at sending
    Column("created_at", Instant, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("next_at", Instant, nullable=False),  # not before; while it is being sent, when that counts as lost
    Column("last_at", Instant),
    Column("last_code", Integer),  # what the server answered (RFC 5321 section 4.2)
    Column("last_error", Text),
    Column("ended_at", Instant),  # NULL: it waits
    Column("ended_as", Text),  # sent | refused | failed | void | discarded
    PrimaryKeyConstraint("workspace", "id"),
    Index("mails_due", "next_at", sqlite_where=text("ended_at IS NULL"), postgresql_where=text("ended_at IS NULL")),
    Index("mails_about", "workspace", "about_id"),
    Index("mails_ended", "workspace", "ended_at"),
)

offboardings = Table(
    "offboardings",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("ends_at", Instant, nullable=False),  # the date that the rest is about; another date begins anew
    Column("source", Text, nullable=False),
    Column("hand_over_to", Text),  # the id of who was chosen; NULL: her manager
    Column("reason", Text, nullable=False),
    Column("set_by", Text),  # NULL: nobody here, a directory states it
    Column("set_at", Instant, nullable=False),
    Column("warned_s", Integer),  # the shortest time before the end that was warned of
    Column("done_at", Instant),  # when the hand-over was told
    Column("handover", JsonText),  # as it was told: names of roles, ids of people
    PrimaryKeyConstraint("workspace", "user_id"),
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

requests = Table(
    "requests",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("id", Text, nullable=False),  # its `txn` (RFC 9967); what came of it is in the outbox under that id
    Column("source", Text, nullable=False),
    Column("actor", JsonText, nullable=False),
    Column("method", Text, nullable=False),
    Column("endpoint", Text, nullable=False),  # "/Users", "/Groups" or "/Bulk"
    Column("resource_id", Text),
    Column("query", Text, nullable=False),
    Column("if_match", Text),
    Column("body", LargeBinary),  # until it is done
    Column("operations", Integer),  # of a bulk request
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("at", Instant, nullable=False),
    Column("done_at", Instant),
    PrimaryKeyConstraint("workspace", "id"),
    Index("requests_waiting", "done_at", "workspace", "source", "id"),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("holder", Text, nullable=False),  # the token that asked
    Column("key", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),  # of the request
    Column("at", Instant, nullable=False),
    Column("status", Integer, nullable=False),
    Column("headers", JsonText, nullable=False),
    Column("body", LargeBinary, nullable=False),
    PrimaryKeyConstraint("workspace", "holder", "key"),
    Index("idempotency_at", "workspace", "at"),
)

sign_ins = Table(
    "sign_ins",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("last_at", Instant),
    Column("last_address", Text),
    Column("second_factor", Boolean),  # whether one was used at the last sign-in; NULL: not said
    Column("failures", Integer, nullable=False),  # in a row
    Column("failed_at", Instant),
    Column("failed_address", Text),
    PrimaryKeyConstraint("workspace", "user_id"),
)

sign_in_reports = Table(
    "sign_in_reports",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("id", Text, nullable=False),  # time-ordered, by when it came
    Column("user_id", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("succeeded", Boolean, nullable=False),
    Column("address", Text),
    Column("second_factor", Boolean),
    Column("reported_by", Text, nullable=False),
    PrimaryKeyConstraint("workspace", "id"),
    Index("sign_in_reports_user", "workspace", "user_id", "id"),
    Index("sign_in_reports_at", "at"),
)

passwords = Table(
    "passwords",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("hash", Text, nullable=False),  # argon2id, with its parameters and salt
    Column("source", Text, nullable=False),  # who set it: `local`, or the connection that sent it
    Column("set_at", Instant, nullable=False),
    Column("must_change", Boolean, nullable=False),  # somebody else chose it
    PrimaryKeyConstraint("workspace", "user_id"),
)

password_resets = Table(
    "password_resets",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("id", Text, nullable=False),  # public: the first part of the token
    Column("user_id", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),  # SHA-256 of 256 random bits
    Column("mail_id", Text),  # the letter it went by, if it did
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    PrimaryKeyConstraint("workspace", "id"),
    Index("password_resets_user", "workspace", "user_id"),
    Index("password_resets_end", "expires_at"),
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

unique_values = Table(
    "unique_values",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("path", Text, nullable=False),  # an attribute of a schema of the workspace's own, with uniqueness `server`
    Column("key", Text, nullable=False),  # its value, as it is compared (core/resource.py: unique_keys)
    Column("user_id", Text, nullable=False),  # who has it; never one who is deleted
    PrimaryKeyConstraint("workspace", "path", "key"),
    Index("unique_values_user", "workspace", "user_id"),
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

assertions = Table(  # by which clients proved who they are (private_key_jwt), until they end: each is good once
    "assertions",
    metadata,
    Column("client_id", Text, nullable=False),
    Column("jti", LargeBinary, nullable=False),  # its SHA-256
    Column("until", Instant, nullable=False),
    PrimaryKeyConstraint("client_id", "jti"),
    Index("assertions_until", "until"),
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
