"""Composes the process: a configuration file becomes core values, sources, a clock and an id maker. Nothing else builds.

Everything below the command line is handed what it needs from here. The clock is the machine's unless SYNCD_TESTING=1
and SYNCD_TESTING_NOW (an ISO instant) replace it.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from difflib import get_close_matches
from functools import cached_property
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote, urlsplit

import orjson

from syncd import settings as configuration
from syncd.core import filter as scim_filter
from syncd.core.access import BUILT_IN, Role
from syncd.core.actor import ADMIN_SOURCE, Actor
from syncd.core.canary import Bad, Fewer
from syncd.core.connection import Access, Shows, TrustedIssuer
from syncd.core.correlation import Correlation, CorrelationRule
from syncd.core.guards import Limit, Limits
from syncd.core.lifecycle import Ladder
from syncd.core.ownership import Precedence
from syncd.core.password import PasswordPolicy
from syncd.core.resource import fold
from syncd.core.rules import Rule
from syncd.core.schema import ResourceType
from syncd.core.scopes import kinds as scope_kinds
from syncd.core.seats import Pool, Price
from syncd.core.secret import Secret
from syncd.core.signins import SignInPolicy
from syncd.core.types import Types
from syncd.core.workspace import Condition, SourcePolicy, Workspace
from syncd.errors import ConfigError, UsageError
from syncd.ldap.accounts import Rules, condition
from syncd.ldap.config import LdapConfig, SearchConfig
from syncd.ldap.ldif_source import LdifConfig, LdifSource
from syncd.reconcile.mapping import DirectoryMapping, compile_mapping
from syncd.settings import Settings, outgoing
from syncd.settings import model as written
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
    from syncd.ldap.source import LdapSource

Clock: TypeAlias = Callable[[], datetime]
Ids: TypeAlias = Callable[[], str]
DEFAULT_CONFIG = Path("config/syncd.yaml")
RULES = "rules"  # the reserved source: what a changed rule set comes to
SCIM = "scim"  # the connection that exists without being configured
_ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:"


@dataclass(frozen=True)
class Directory:
    """A source that is read whole, ready to be reconciled."""

    config: LdapConfig | LdifConfig
    mapping: DirectoryMapping
    schedule: written.Schedule

    @cached_property
    def source(self) -> LdapSource | LdifSource:
        """One for the life of the process: it remembers its servers. Most commands read none and do without ldap3."""
        if isinstance(self.config, LdifConfig):
            return LdifSource(self.config)
        from syncd.ldap.source import LdapSource  # noqa: PLC0415 - loads ldap3

        return LdapSource(self.config, self.mapping.wanted)


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
                    directories[name][source_name] = _directory(
                        source_name, source, loaded.types[name], loaded.timezone
                    )
                except ConfigError as exc:
                    faults.append(f"{source.where}  sources.{source_name}.{exc}")
    if faults:
        raise ConfigError("\n".join(faults))
    return App(
        settings=loaded,
        workspaces={
            name: _workspace(name, part, directories[name], loaded) for name, part in loaded.workspaces.items()
        },
        directories=directories,
        clock=clock(env),
        clock_stopped=_stopped(env) is not None,
        ids=TimeOrderedIds(),
    )


# -- the clock and the ids ------------------------------------------------------------------------------------------------


def clock(env: Mapping[str, str]) -> Clock:
    """The machine's clock, in UTC. A test may stop it; nobody else can."""
    stopped = _stopped(env)
    if stopped is not None:
        return lambda: stopped
    return lambda: datetime.now(UTC)


def _stopped(env: Mapping[str, str]) -> datetime | None:
    text = env.get("SYNCD_TESTING_NOW")
    if env.get("SYNCD_TESTING") != "1" or not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        raise ConfigError(f"SYNCD_TESTING_NOW: {exc}") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


_IDS_AT_ONCE = 64  # for which randomness is asked of the system together


class TimeOrderedIds:
    """Ids as UUIDv7 (RFC 9562 section 5.7): 48 bits of milliseconds, then 74 random bits. Each call gives a greater one
    than the call before, also within one millisecond and when the clock is set back. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        self._random = b""

    def __call__(self) -> str:
        with self._lock:
            if not self._random:
                self._random = os.urandom(14 * _IDS_AT_ONCE)
            chance, self._random = int.from_bytes(self._random[:14], "big"), self._random[14:]
            fresh = (time.time_ns() // 1_000_000 << 74) | (chance & ((1 << 74) - 1))
            # Counting on from the last one by a random step keeps neighbours hard to guess (RFC 9562 section 6.2).
            self._last = fresh if fresh > self._last else self._last + 1 + (chance >> 80)
            value = self._last
        milliseconds, high, low = value >> 74, value >> 62 & 0xFFF, value & ((1 << 62) - 1)
        text = f"{milliseconds << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


# -- settings to core values ------------------------------------------------------------------------------------------------


def _workspace(name: str, part: written.Workspace, directories: Mapping[str, Directory], loaded: Settings) -> Workspace:
    types = loaded.types[name]
    own_roles = {
        role: Role(role, frozenset(given.permissions), given.where, rank=given.rank)
        for role, given in part.roles.items()
    }
    return Workspace(
        name=name,
        sources={key: _policy(key, source, directories.get(key), types) for key, source in part.sources.items()},
        rules=tuple(_rule(rule, types) for rule in part.rules),
        pools={pool: _pool(pool, seat) for pool, seat in part.seats.items()},
        roles={**BUILT_IN, **own_roles},
        protected=tuple((text, _condition(text, types)[0]) for text in part.protected),
        precedence=_precedence(part, types),
        passwords=_passwords(part.passwords),
        sign_ins=SignInPolicy(part.sign_ins.lock_after, part.sign_ins.lock_for, part.sign_ins.count_for),
        purge_after=loaded.retention.purge_after,
        mails=loaded.mail is not None,
        invited_for=part.invitations.expire_after,
        withdrawn_after=part.invitations.withdraw_after,
        confirms_emails=part.email_changes.confirm,
        email_changes_for=part.email_changes.expire_after,
        scope_kinds=scope_kinds(part.data_scopes, (kind for rule in part.rules for kind in rule.scopes)),
        webhooks=tuple(part.webhooks),
        warn_before=part.offboarding.warn_before,
        types=types,
    )


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


def _policy(name: str, source: written.Source, directory: Directory | None, types: Types) -> SourcePolicy:
    limits = {kind: _limit(getattr(source.limits, kind)) for kind in type(source.limits).model_fields}
    ladder = Ladder()
    if isinstance(source, written.Directory):
        missing = source.missing
        ladder = Ladder(missing.suspend_after, missing.deactivate_after, missing.delete_after, missing.purge_after)
    policy = source.policy if isinstance(source, written.ScimSource) else written.Policy()
    by_filter = source.adopt not in ("never", "ask")
    return SourcePolicy(
        name=name,
        kind=source.kind,
        authoritative=source.authoritative,
        may_grant=None if source.may_grant is None else frozenset(source.may_grant),
        limits=Limits(limits, source.window),
        ladder=ladder,
        on_conflict=source.on_conflict,
        adopt=source.adopt,
        may_adopt=_condition(source.adopt, types)[0] if by_filter else None,
        correlation=_correlation(source, types),
        bad=Bad(source.quarantine.share, source.quarantine.floor) if isinstance(source, written.Directory) else Bad(),
        fewer=Fewer(source.fewer.share, source.fewer.floor) if isinstance(source, written.Directory) else Fewer(),
        passwords=source.passwords if isinstance(source, written.ScimSource) else False,
        sees=source.sees if isinstance(source, written.ScimSource) else "all",
        access=_access(source) if isinstance(source, written.ScimSource) else Access(),
        shows=_shows(source.show) if isinstance(source, written.ScimSource) else Shows(),
        dialect=str(policy),
        tolerances=policy.tolerances,
        digest=_digest(source, directory.mapping) if directory else "",
    )


def _correlation(source: written.Source, types: Types) -> Correlation:
    if not isinstance(source, written.Directory):
        return Correlation()
    given = source.correlation
    rules = tuple(
        CorrelationRule(tuple(found.path for path in rule.same if (found := types.of_user(path))), rule.score)
        for rule in given.rules
    )
    return Correlation(rules, given.certain, given.possible)


def _shows(show: written.Show) -> Shows:
    return Shows(show.roles_and_entitlements, show.member_display, show.patched_group, show.security_events)


def _access(source: written.ScimSource) -> Access:
    jwt = source.jwt
    issuer = None
    if jwt is not None:
        issuer = TrustedIssuer(
            issuer=jwt.issuer,
            audience=jwt.audience,
            jwks_url=jwt.jwks_url,
            claims=jwt.claims,
            algorithms=jwt.algorithms,
            allow=frozenset(jwt.allow),
            leeway_s=int(jwt.leeway.total_seconds()),
            ca_file=None if jwt.ca_file is None else str(jwt.ca_file),
        )
    return Access(tuple(map(ip_network, source.networks)), source.rate, issuer)


def _limit(limit: written.Limit) -> Limit:
    return Limit(limit.share, limit.floor, limit.number)


def _digest(source: written.Source, mapping: DirectoryMapping) -> str:
    """Of what decides which entries are read and what they come to. Not of addresses: replicas come and go, and a server
    that is another one is noticed by its identity. Not of an LDIF's path: dumps are dated."""
    parts: list[object] = [source.kind, mapping.digest]
    if isinstance(source, written.LdapSource):
        searches = (source.users, source.groups)
        parts += [[sorted(each.base), each.scope, each.filter] if each else None for each in searches]
        parts += [source.groups.by] if source.groups and source.groups.by else []
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()


def _condition(text: str, types: Types) -> tuple[Condition, bool]:
    """The test a filter stands for, and whether it reads groups."""
    found = scim_filter.parse_filter(text, types.rule_user)
    return scim_filter.compile(found), "groups" in scim_filter.names(found)


def _rule(rule: written.Rule, types: Types) -> Rule:
    matches, reads_groups = _condition(rule.when, types)
    return Rule(
        name=rule.name,
        when=rule.when,
        matches=matches,
        roles=rule.roles,
        permissions=rule.permissions,
        seats=rule.seats,
        scopes=tuple(f"{kind}={value}" for kind, values in rule.scopes.items() for value in values),
        reads_groups=reads_groups,
        where=rule.where or None,
        mode=rule.mode,
        choice=rule.choice or "",
    )


def _pool(name: str, seat: written.Seat) -> Pool:
    return Pool(
        name=name,
        limit=seat.limit,
        when_full=seat.when_full.mode,
        overage=seat.when_full.overage,
        requires=seat.requires,
        excludes=seat.excludes,
        pending_counts=seat.pending_counts,
        idle_after=seat.idle_after,
        required=seat.required,
        kind=seat.kind,
        price=Price(seat.price, seat.currency, seat.per) if seat.price is not None and seat.currency else None,
        where=seat.where or None,
    )


def _passwords(given: written.Passwords) -> PasswordPolicy:
    forbidden = frozenset(map(fold, given.forbidden_file or ()))
    return PasswordPolicy(
        given.min_length, forbidden, given.beside_provider, given.attempts_per_minute, given.reset_for
    )


def _precedence(part: written.Workspace, types: Types) -> Precedence:
    """Not given: directories in the order of the file, then connections, then people."""
    read = [name for name, source in part.sources.items() if isinstance(source, written.Directory)]
    pushing = [name for name, source in part.sources.items() if isinstance(source, written.ScimSource)]
    usual = tuple(dict.fromkeys([*read, *pushing, SCIM, ADMIN_SOURCE]))
    named = {_canonical(path, types.user): order for path, order in part.precedence.items() if path != "default"}
    return Precedence(part.precedence.get("default") or usual, named)


def _canonical(path: str, type: ResourceType) -> str:
    resolved = type.resolve(path) or type.resolve(_ENTERPRISE + path)
    return resolved.path if resolved else path


# -- sources --------------------------------------------------------------------------------------------------------------


def _directory(name: str, source: written.LdapSource | written.LdifSource, types: Types, timezone: tzinfo) -> Directory:
    accounts = _account_rules(source.accounts, timezone)
    if isinstance(source, written.LdifSource):
        mapping = compile_mapping(source.attributes, source.group_attributes, types=types, accounts=accounts)
        file = LdifConfig(
            name=name,
            path=source.path,
            accept_unmarked_files_as_complete=source.accept_unmarked_files_as_complete,
            key_attribute=source.key_attribute,
            canaries=tuple(source.canaries),
        )
        return Directory(file, mapping, source.schedule)
    mapping = compile_mapping(
        source.attributes,
        source.group_attributes,
        nested=source.groups.nested if source.groups else True,
        types=types,
        accounts=accounts,
    )
    config = LdapConfig(
        name=name,
        urls=source.url,
        users=_search(source.users),
        groups=_search(source.groups) if source.groups else None,
        bind_dn=source.bind_dn,
        bind_password=source.bind_password,
        sasl=source.sasl,
        sasl_authzid=source.sasl_authzid,
        starttls=source.starttls,
        ca_file=source.ca_file,
        client_cert_file=source.client_cert_file,
        client_key_file=source.client_key_file,
        tls_do_not_verify_certificates=source.tls_do_not_verify_certificates,
        connect_timeout_s=_seconds(source.connect_timeout.total_seconds()),
        receive_timeout_s=_seconds(source.receive_timeout.total_seconds()),
        deadline_s=_seconds(source.deadline.total_seconds()),
        retries=source.retries,
        page_size=source.page_size,
        canaries=source.canaries,
        key_attribute=source.key_attribute,
        deltas=source.schedule.delta is not None and not (source.groups and source.groups.by),
    )
    problems = config.problems()
    if problems:
        raise ConfigError("; ".join(problems))
    return Directory(config, mapping, source.schedule)


def _account_rules(given: written.Accounts, timezone: tzinfo) -> Rules:
    return Rules(
        flavour=given.flavour,
        ignore=frozenset(name.lower() for name in given.ignore),
        lockout=given.lockout,
        disabled=condition(given.disabled) if given.disabled else None,
        locked=condition(given.locked) if given.locked else None,
        starts_at=given.starts_at,
        ends_at=given.ends_at,
        zone=timezone,
    )


def _search(search: written.UserSearch | written.GroupSearch) -> SearchConfig:
    by = search.by if isinstance(search, written.GroupSearch) else None
    return SearchConfig(search.base, search.filter, search.scope, by=by)


def _seconds(seconds: float) -> int:
    return max(1, int(seconds))
