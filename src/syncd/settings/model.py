"""The configuration as values: what each key is, its default, and what it means. The safe value is the default.

The whole file is here; its parts are in service, sources, entitlements and outgoing. Plain: durations are timedelta, shares
are fractions of 1, paths are absolute, secrets are read. app makes core values of it. The docstring under a key is its
explanation in the JSON Schema; config/syncd.example.yaml shows them all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from syncd.core.types import Types
from syncd.settings.block import Block
from syncd.settings.entitlements import Passwords, Role, Rule, Seat, SignIns
from syncd.settings.outgoing import Deliver, EmailChanges, Invitations, Mail, Offboarding, Webhook
from syncd.settings.service import Http, Log, Retention, Tokens, Worker
from syncd.settings.sources import Source
from syncd.settings.values import Database, Name, Names, ReadableFile, SecretFile, TimeZone


class ExtensionFile(Block):
    file: ReadableFile
    """A Schema resource in JSON (RFC 7643 section 7); relative to this configuration."""
    of: Literal["User", "Group"] = "User"
    """The resource type it extends."""
    required: bool = False
    """Whatever a connection states of such a resource has to have it."""


def _extension_file(value: object) -> object:
    return {"file": value} if isinstance(value, str) else value


class Workspace(Block):
    extensions: tuple[
        Annotated[ExtensionFile, BeforeValidator(_extension_file, json_schema_input_type=str | ExtensionFile)], ...
    ] = ()
    """Schemas that users and groups have beside the standard's: a path, or a path with what it extends."""
    indexes: tuple[str, ...] = ()
    """Attributes of users that clients look people up by; what is unique has an index anyway."""
    seats: dict[Name, Seat] = Field(default_factory=dict)
    """Seat pools by name."""
    roles: dict[Name, Role] = Field(default_factory=dict)
    """Roles by name, beside the built-in owner, admin, member and viewer."""
    data_scopes: dict[Name, str] = Field(default_factory=dict)
    """Kinds of data scopes of your own, each with what it is, beside unit, issue-type, customer, distributor and service."""
    sign_ins: SignIns = SignIns.model_construct()
    """When failed sign-ins lock an account."""
    passwords: Passwords = Passwords.model_construct()
    """Of users who sign in with a password that syncd keeps."""
    protected: tuple[str, ...] = ()
    """Filters; whom one matches nobody can suspend, deactivate, delete or take privileges from."""
    precedence: dict[str, Names] = Field(default_factory=dict)
    """Attribute: sources in order, the first that has a value wins. `default` is for all others."""
    sources: dict[Name, Source] = Field(default_factory=dict)
    """Where changes come from, by name."""
    rules: tuple[Rule, ...] = ()
    """Who gets which roles, permissions, seats and data scopes."""
    webhooks: dict[Name, Webhook] = Field(default_factory=dict)
    """Who is told at once when somebody loses access, by name, and has to acknowledge it."""
    offboarding: Offboarding = Offboarding.model_construct()
    """Who leaves by a date."""
    invitations: Invitations = Invitations.model_construct()
    """People who are asked in by mail."""
    email_changes: EmailChanges = EmailChanges.model_construct()
    """Addresses that people change."""


class File(Workspace):
    """A configuration file as it is written: the flat form is the workspace `default`."""

    database: Database
    """sqlite:///PATH, or postgresql://USER@HOST/NAME."""
    database_password_file: SecretFile | None = None
    """A file with PostgreSQL's password, if `database` holds none. SQLite has none."""
    http: Http = Http.model_construct()
    """How syncd is reached."""
    worker: Worker = Worker.model_construct()
    """The process that reads the sources and keeps the times."""
    tokens: Tokens = Tokens.model_construct()
    """What connections and programs authenticate with."""
    retention: Retention = Retention.model_construct()
    """What is kept how long, after it is of no use any more."""
    deliver: Deliver = Deliver.model_construct()
    """How what is sent is tried again."""
    mail: Mail | None = None
    """The server that letters are handed in at. Not given: none are sent."""
    log: Log = Log.model_construct()
    """What `syncd serve` says on stderr."""
    timezone: TimeZone = UTC
    """Of the schedules."""
    workspaces: dict[Name, Workspace] = Field(default_factory=dict)
    """Further workspaces by name; each has the keys above."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What `load` returns. `workspaces` holds `default` and the others."""

    path: Path
    database: str = field(repr=False)  # the address may hold a password
    http: Http
    worker: Worker
    log: Log
    tokens: Tokens
    retention: Retention
    deliver: Deliver
    mail: Mail | None
    timezone: tzinfo
    workspaces: dict[str, Workspace]
    types: dict[str, Types]  # the resource types of each workspace
