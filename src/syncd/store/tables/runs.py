"""What is known of each source, and its runs: what they planned, set aside and held."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, PrimaryKeyConstraint, Table, Text

from syncd.store.tables.columns import Instant, JsonText, metadata

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
    Column("groups_outside", JsonText),  # those below no base that the last whole read came upon, each in a line
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
