"""One configuration, composed: what each process is made of, and what it sends and does by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote, urlsplit

from syncd import settings as configuration
from syncd.app.directories import Directory, directory
from syncd.app.machine import Clock, TimeOrderedIds, clock, stopped
from syncd.app.workspaces import SCIM, workspace
from syncd.core.actor import ADMIN_SOURCE, Actor
from syncd.core.guards import Limits
from syncd.core.secret import Secret
from syncd.core.workspace import Workspace
from syncd.errors import ConfigError, UsageError
from syncd.settings import Settings, outgoing
from syncd.settings import sources as written
from syncd.store.clock import shared
from syncd.store.engine import Database
from syncd.store.mails import Sending
from syncd.store.migrate import require_current
from syncd.store.retention import Retention
from syncd.timers import Timers, TimerSettings
from syncd.timetable import Timetable

if TYPE_CHECKING:
    from syncd.deliver.courier import Courier
    from syncd.deliver.postman import Postman, Server
    from syncd.deliver.webhooks import Webhook

Ids: TypeAlias = Callable[[], str]
DEFAULT_CONFIG = Path("config/syncd.yaml")
RULES = "rules"  # the reserved source: what a changed rule set comes to


@dataclass(frozen=True, slots=True)
class App:
    """One configuration, composed. Workspaces and their directories are built whole at start, so a fault is said then."""

    settings: Settings
    workspaces: Mapping[str, Workspace]
    directories: Mapping[str, Mapping[str, Directory]]  # workspace -> source -> directory
    clock: Clock  # of this machine; of a test, if it stopped it
    clock_stopped: bool
    ids: Ids

    def workspace(self, name: str) -> Workspace:
        """Raises UsageError for one that is not configured."""
        if name not in self.workspaces:
            raise UsageError(no_such("workspace", name, self.workspaces, f"see {self.settings.path}"))
        return self.workspaces[name]

    def directory(self, workspace: str, name: str) -> Directory:
        """Raises UsageError for a source that does not exist or is not read (a connection pushes)."""
        known = self.directories[workspace]
        if name in known:
            return known[name]
        configured = self.workspaces[workspace].sources
        if name in configured or name in (SCIM, ADMIN_SOURCE):
            kind = self.workspaces[workspace].source(name).kind
            raise UsageError(f"source {name} is of kind {kind}: it is not read, changes come from it by themselves")
        raise UsageError(no_such("source", name, [*known, RULES], f"see {self.settings.path}"))

    def database(self, create: bool = False) -> Database:
        """The database; unless `create` it must exist and be of this release, else DatabaseUnavailable."""
        database = Database(self.settings.database, create=create)
        if not create:
            require_current(database)
        return database

    def clock_of(self, database: Database) -> Clock:
        """The clock that all who share the database go by."""
        return self.clock if self.clock_stopped else shared(database, self.clock)

    def timers(self, database: Database, clock: Clock) -> Timers:
        """What time alone brings about, for the worker."""
        settings = _timer_settings(self.settings, self.workspaces.values())
        return Timers(database, self.workspaces, clock, self.ids, settings)

    def courier(self, database: Database, clock: Clock) -> Courier | None:
        """What brings messages to who must hear them, for the worker; None if nobody wants any."""
        found = [
            _webhook(name, key, webhook)
            for name, part in self.settings.workspaces.items()
            for key, webhook in part.webhooks.items()
        ]
        if not found:
            return None
        from syncd.deliver.courier import Courier, Pauses  # noqa: PLC0415 - loads httpx

        kept = self.settings.deliver
        pauses = Pauses(kept.first_retry, kept.last_retry)
        return Courier(database, {each.key: each for each in found}, clock, pauses)

    @property
    def sending(self) -> Sending | None:
        """What letters say beside what the store knows; None if none are sent."""
        mail = self.settings.mail
        return None if mail is None else Sending(mail.application, self.settings.http.url, self.settings.timezone)

    @property
    def mail_server(self) -> Server | None:
        """Where letters are handed in."""
        if self.settings.mail is None:
            return None
        return _mail_server(self.settings.mail)

    def postman(self, database: Database, clock: Clock) -> Postman | None:
        """Who sends letters, for the worker."""
        mail, sending, server = self.settings.mail, self.sending, self.mail_server
        if mail is None or sending is None or server is None:
            return None
        from syncd.deliver import letters  # noqa: PLC0415 - loads what only mail needs
        from syncd.deliver.postman import Postman  # noqa: PLC0415 - the same

        templates = letters.read(mail.templates)
        return Postman(database, self.workspaces, server, templates, sending, clock, mail.give_up_after)

    @property
    def timetables(self) -> dict[tuple[str, str], Timetable]:
        """When each directory is to be read, by (workspace, source)."""
        zone = self.settings.timezone
        return {
            (name, source): Timetable(each.full, each.delta, zone, each.jitter, f"{name}/{source}")
            for name, sources in self.directories.items()
            for source, each in ((source, directory.schedule) for source, directory in sources.items())
        }

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """Every secret of the configuration, for the log to hide."""
        sources = [source for part in self.settings.workspaces.values() for source in part.sources.values()]
        binds = [source.bind_password for source in sources if isinstance(source, written.LdapSource)]
        try:
            password = urlsplit(self.settings.database).password
        except ValueError:  # not an address in that sense: a path
            password = None
        own = Secret(unquote(password)) if password else None
        hooks = [
            secret
            for part in self.settings.workspaces.values()
            for webhook in part.webhooks.values()
            for secret in webhook.secrets
        ]
        mail = self.settings.mail.password if self.settings.mail is not None else None
        return tuple(each for each in (own, mail, *binds, *hooks) if each)

    def command_line(self, workspace: str, user: str) -> Actor:
        return Actor("cli", user, workspace, source=ADMIN_SOURCE)


def no_such(what: str, name: str, known: Iterable[str], where: str) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f"there is no {what} {name!r}" + (f"; did you mean {close[0]!r}?" if close else f": {where}")


def compose(path: Path, env: Mapping[str, str]) -> App:
    """Raises ConfigError with every fault of the file."""
    loaded = configuration.load(path, env)
    directories: dict[str, dict[str, Directory]] = {}
    faults: list[str] = []
    for name, part in loaded.workspaces.items():
        directories[name] = {}
        for source_name, source in part.sources.items():
            if isinstance(source, written.LdapSource | written.LdifSource):
                try:
                    directories[name][source_name] = directory(source_name, source, loaded.types[name], loaded.timezone)
                except ConfigError as exc:
                    faults.append(f"{source.where}  sources.{source_name}.{exc}")
    if faults:
        raise ConfigError("\n".join(faults))
    return App(
        settings=loaded,
        workspaces={name: workspace(name, part, directories[name], loaded) for name, part in loaded.workspaces.items()},
        directories=directories,
        clock=clock(env),
        clock_stopped=stopped(env) is not None,
        ids=TimeOrderedIds(),
    )


# -- what the process sends and does by itself -------------------------------------------------------------------------------


def _webhook(workspace: str, name: str, given: outgoing.Webhook) -> Webhook:
    from syncd.deliver.webhooks import Webhook  # noqa: PLC0415 - loads httpx

    ca_file = None if given.ca_file is None else str(given.ca_file)
    return Webhook(workspace, name, given.url, given.secrets, given.timeout.total_seconds(), ca_file)


def _mail_server(mail: outgoing.Mail) -> Server:
    from syncd.deliver.postman import Server  # noqa: PLC0415 - loads what only mail needs

    return Server(
        host=mail.host,
        port=mail.server_port,
        tls=mail.tls,
        sender=mail.sender,
        reply_to=mail.reply_to,
        username=mail.username,
        password=mail.password,
        ca_file=None if mail.ca_file is None else str(mail.ca_file),
        timeout_s=mail.timeout.total_seconds(),
    )


def _timer_settings(loaded: Settings, workspaces: Iterable[Workspace]) -> TimerSettings:
    kept = loaded.retention
    windows = [policy.limits.window for workspace in workspaces for policy in workspace.sources.values()]
    retention = Retention(
        run_details=kept.run_details,
        runs=kept.runs,
        activity=kept.activity,
        delivered=kept.delivered_events,
        undelivered=kept.undelivered_events,
        tokens=kept.ended_tokens,
        sign_ins=kept.sign_ins,
        losses=2 * max([Limits().window, *windows]),  # twice: a clock may be set back
    )
    return TimerSettings(loaded.tokens.warn_before, retention)
