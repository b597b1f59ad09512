"""What an account is looked after by: letters, invitations, passwords, sign-ins, leaving by date."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, Integer, LargeBinary, PrimaryKeyConstraint, Table, Text, text

from syncd.store.tables.columns import Instant, JsonText, metadata

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
