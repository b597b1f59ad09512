"""How the daemon runs, as it is written: where it listens, what it keeps how long, what it logs."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from syncd.settings.block import Block
from syncd.settings.values import (
    Address,
    Bind,
    Duration,
    DurationOrNever,
    FilePath,
    Network,
    ReadableFile,
    WebUrl,
    at_most,
)


class Tls(Block):
    cert_file: ReadableFile
    """The certificate and its chain, PEM."""
    key_file: ReadableFile
    """Its private key, PEM."""


class Http(Block):
    bind: Address = Bind("127.0.0.1", 8080)
    """Address and port to listen on. Beyond loopback it needs `tls` or `trusted_proxies`."""
    public_url: WebUrl | None = None
    """How others reach syncd; goes into SCIM locations and links in mail. Default: http(s)://bind."""
    tls: Tls | None = None
    """Serve HTTPS with this certificate."""
    trusted_proxies: tuple[Network, ...] = ()
    """Proxies in front that end TLS; only theirs are the X-Forwarded-* headers believed."""
    processes: Annotated[int, Field(ge=1, le=64)] = 1
    """How many answer requests, beside the worker. Two serve more reads; SQLite still has one writer at a time."""

    @property
    def url(self) -> str:
        return self.public_url or f"{'https' if self.tls else 'http'}://{self.bind}"


class Worker(Block):
    runs: Annotated[int, Field(ge=1, le=64)] = 2
    """How many sources one worker reads at the same time."""
    beat_file: FilePath | None = None
    """A file whose time is set at every heartbeat (10 s), for a probe of a worker that runs alone."""


class Tokens(Block):
    warn_before: tuple[Duration, ...] = (timedelta(days=14), timedelta(days=7), timedelta(days=1))
    """How long before a token expires to warn, each once: in the log, the activity record and an event."""
    access_lifetime: Annotated[Duration, AfterValidator(at_most(timedelta(days=1)))] = timedelta(hours=1)
    """How long an access token lasts that an OAuth client got at /oauth/token."""
    failures_per_minute: Annotated[int, Field(ge=1)] = 600
    """Wrong tokens from one address (IPv6: one /64) that are looked at; more are answered 429. Known tokens go on."""


class Retention(Block):
    purge_after: DurationOrNever = timedelta(days=14)
    """A deletion by people or a connection can be undone this long; then the person's data goes for good."""
    run_details: DurationOrNever = timedelta(days=7)
    """What a finished run set aside, entry by entry."""
    runs: DurationOrNever = timedelta(days=400)
    """Finished runs; the last one of each source always."""
    activity: DurationOrNever = None
    """The record of who changed what."""
    delivered_events: DurationOrNever = timedelta(days=7)
    """Events that were delivered."""
    undelivered_events: DurationOrNever = timedelta(days=30)
    """Events that nobody took."""
    sign_ins: DurationOrNever = timedelta(days=90)
    """Each sign-in that the application reported; the last one is kept with the user."""
    ended_tokens: DurationOrNever = timedelta(days=90)
    """Tokens that expired or were revoked, counted from then."""


class Log(Block):
    level: Literal["debug", "info", "warning", "error"] = "info"
    """What is logged: this and what is graver. What libraries say is logged from warnings on."""
    format: Literal["auto", "json", "console"] = "auto"
    """JSON for a collector, or for people; auto: for people on a terminal, else JSON."""
