"""What syncd tells by itself, as it is written in the file: webhooks, how they are tried again, and warnings."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from syncd.core.secret import Secret
from syncd.settings.block import Block
from syncd.settings.values import (
    Duration,
    HookSecretEnv,
    HookSecretFile,
    HookUrl,
    ReadableFile,
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


class Offboarding(Block):
    warn_before: tuple[Duration, ...] = (timedelta(days=14), timedelta(days=1))
    """How long before somebody's access ends her manager is told, each once."""
