"""What syncd tells by itself, as it is written in the file: webhooks, how they are tried again, and warnings."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from syncd.core.secret import Secret
from syncd.settings.block import Block
from syncd.settings.values import (
    Duration,
    DurationOrNever,
    FilePath,
    HookSecretEnv,
    HookSecretFile,
    HookUrl,
    Mailbox,
    ReadableFile,
    SecretEnv,
    SecretFile,
    at_most,
    one_or_list,
)


class Webhook(Block):
    url: HookUrl
    """Where the application takes them: https://HOST/..., or http:// on this machine. It acknowledges with 2xx."""
    secret_files: Annotated[
        tuple[HookSecretFile, ...],
        BeforeValidator(one_or_list, json_schema_input_type=HookSecretFile | tuple[HookSecretFile, ...]),
    ] = ()
    """Files that hold a secret each, the newest first; every one signs, so that it can be changed without a gap."""
    secret_envs: Annotated[
        tuple[HookSecretEnv, ...],
        BeforeValidator(one_or_list, json_schema_input_type=HookSecretEnv | tuple[HookSecretEnv, ...]),
    ] = ()
    """Or environment variables that do."""
    timeout: Annotated[Duration, AfterValidator(at_most(timedelta(minutes=1)))] = timedelta(seconds=10)
    """For one attempt, from the connection to the end of the answer."""
    ca_file: ReadableFile | None = None
    """Certificates to trust, PEM. Default: the public ones."""

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return (*self.secret_files, *self.secret_envs)


class Deliver(Block):
    first_retry: Duration = timedelta(seconds=5)
    """The pause after the first attempt that was not acknowledged; it doubles."""
    last_retry: Annotated[Duration, AfterValidator(at_most(timedelta(days=1)))] = timedelta(hours=1)
    """The longest pause. Nothing is ever given up by itself."""


class Mail(Block):
    host: str
    """The mail server that takes what syncd sends."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Default: 587 with starttls, 465 with tls, 25 with none."""
    tls: Literal["starttls", "tls", "none"] = "starttls"
    """Begin TLS after the greeting, with the first byte, or not at all: that is for a server on this machine only."""
    username: str | None = None
    """Who sends. Not given: the server asks nobody."""
    password_file: SecretFile | None = None
    """A file that holds the password."""
    password_env: SecretEnv | None = None
    """Or the environment variable that does."""
    ca_file: ReadableFile | None = None
    """Certificates to trust, PEM. Default: those of the machine."""
    sender: Mailbox
    """Who it comes from: an address, or Name <address>."""
    reply_to: Mailbox | None = None
    """Where answers go, if not to the sender."""
    application: str = "the application"
    """What the recipients know the application as."""
    templates: FilePath | None = None
    """A folder of letters of your own, which come before those of syncd: leaving.txt, leaving.de.txt, leaving.html, ..."""
    timeout: Duration = timedelta(seconds=30)
    """For each step with the server."""
    give_up_after: Duration = timedelta(days=2)
    """A mail that cannot be handed in for so long is not sent any more."""

    @property
    def password(self) -> Secret | None:
        return self.password_file or self.password_env

    @property
    def server_port(self) -> int:
        return self.port or {"starttls": 587, "tls": 465, "none": 25}[self.tls]


class Invitations(Block):
    expire_after: Duration = timedelta(days=7)
    """How long the link of an invitation counts; sending it again begins anew."""
    withdraw_after: DurationOrNever = timedelta(days=30)
    """So long after it expired it is withdrawn by itself: name and seats are free again. `never`: by people only."""


class EmailChanges(Block):
    confirm: bool = False
    """Another address counts only when its owner followed the link of a mail; until then the old one does."""
    expire_after: Duration = timedelta(days=1)
    """How long that link counts; sending it again begins anew."""


class Offboarding(Block):
    warn_before: tuple[Duration, ...] = (timedelta(days=14), timedelta(days=1))
    """How long before somebody's access ends her manager is told, each once."""
