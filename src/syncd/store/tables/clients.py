"""Who sends requests, and requests that are remembered: answered later, or asked twice."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, PrimaryKeyConstraint, Table, Text

from syncd.store.tables.columns import Instant, JsonText, metadata

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

assertions = Table(  # by which clients proved who they are (private_key_jwt), until they end: each is good once
    "assertions",
    metadata,
    Column("client_id", Text, nullable=False),
    Column("jti", LargeBinary, nullable=False),  # its SHA-256
    Column("until", Instant, nullable=False),
    PrimaryKeyConstraint("client_id", "jti"),
    Index("assertions_until", "until"),
)

tolerances = Table(
    "tolerances",
    metadata,
    Column("workspace", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("name", Text, nullable=False),  # with ! before it: requests were refused for want of it
    Column("uses", BigInteger, nullable=False),  # requests of this connection that took it
    Column("last_used_at", Instant, nullable=False),
    PrimaryKeyConstraint("workspace", "source", "name"),
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
