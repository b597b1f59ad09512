"""The configuration as values: what each key is, its default, and what it means. The safe value is the default.

Plain: durations are timedelta, shares are fractions of 1, paths are absolute, secrets are read. app.py makes core
values of it. The docstring under a key is its explanation in the JSON Schema; config/syncd.example.yaml shows them all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, timedelta, tzinfo
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from syncd.core.secret import Secret
from syncd.core.types import Types
from syncd.scim import dialects
from syncd.settings.block import Block
from syncd.settings.outgoing import Deliver, EmailChanges, Invitations, Mail, Offboarding, Webhook
from syncd.settings.values import (
    DN,
    AccountAttribute,
    Address,
    Algorithm,
    AttributeNames,
    AttributePaths,
    Authzid,
    Bind,
    CountOrNever,
    Database,
    DirectoryTemplate,
    DNList,
    DNs,
    Duration,
    DurationOrNever,
    DurationOrZero,
    FilePath,
    Flavour,
    KeysUrl,
    LdapFilter,
    LdapUrls,
    Lines,
    Money,
    Name,
    Network,
    Permission,
    PolicyName,
    ReadableFile,
    Score,
    SecretEnv,
    SecretFile,
    Share,
    Template,
    Times,
    TimeZone,
    ToleranceName,
    WebUrl,
    at_most,
    one_or_list,
    policy_name,
    shown,
)

Names = tuple[Name, ...]
COMMON_NAME: dict[str, Template] = {"displayName": "cn"}
INET_ORG_PERSON: dict[str, Template] = {
    "userName": "uid",
    "name.givenName": "givenName",
    "name.familyName": "sn",
    "emails.work": "mail",
    "displayName": "{givenName} {sn}",
}


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
    """How many answer requests, beside the worker. On SQLite one is usually fastest: there is one writer at a time."""

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


class WhenFull(Block):
    mode: Literal["refuse", "waitlist", "overage"] = "waitlist"
    overage: int = 0


def _when_full(value: object) -> WhenFull:
    if value in ("refuse", "waitlist"):
        return WhenFull(mode="refuse" if value == "refuse" else "waitlist")
    match value:
        case {"overage": int(seats), **others} if not others and seats > 0 and not isinstance(seats, bool):
            return WhenFull(mode="overage", overage=seats)
    raise ValueError(f"{shown(value)} is not one of refuse, waitlist, {{overage: NUMBER}}")


def _limit(value: object) -> int | None:
    if value == "unlimited":
        return None
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError(f"{shown(value)} is neither a number of seats nor unlimited")


class Seat(Block):
    limit: Annotated[
        int | None,
        BeforeValidator(_limit),
        WithJsonSchema({"oneOf": [{"type": "integer", "minimum": 0}, {"const": "unlimited"}]}),
    ]
    """How many seats the licence has, or `unlimited`."""
    when_full: Annotated[
        WhenFull,
        BeforeValidator(_when_full),
        WithJsonSchema(
            {
                "oneOf": [
                    {"enum": ["refuse", "waitlist"]},
                    {"type": "object", "properties": {"overage": {"type": "integer", "minimum": 1}}},
                ]
            }
        ),
    ] = WhenFull.model_construct()
    """A full pool refuses the seat, keeps a waiting list (default), or lets this many more in."""
    requires: Names = ()
    """Pools in which one must hold a seat to hold one here."""
    excludes: Names = ()
    """Pools in which nobody holds a seat who holds one here; it comes back when the one here goes."""
    idle_after: DurationOrNever = None
    """Without a sign-in for this long the seat is taken back; the next one returns it. Only where sign-ins are reported."""
    pending_counts: bool = True
    """Whether who was invited and has not come yet holds a seat. Suspended, inactive and deleted users never do."""
    required: bool = False
    """Without a seat here the whole person is refused."""
    kind: Literal["internal", "portal", "add-on"] = "internal"
    """What sort of licence it is, for reports."""
    price: Money | None = None
    """What one seat that is taken costs, for plans and reports: 12.50. It needs a currency."""
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] | None = None
    """Of the price, as ISO 4217 writes it: EUR."""
    per: Literal["month", "year"] = "month"
    """What the price is for."""


class Role(Block):
    rank: int | None = None
    """Its place among the roles of rules of mode `highest`: owner has 400, admin 300, member 200, viewer 100."""
    permissions: tuple[str, ...]
    """What the role permits, as `module.action`; `module.*` is all of a module, `!module.action` is denied."""


class Rule(Block):
    name: Name
    """Unique; stands in `syncd explain` and in the activity record."""
    when: str
    """A SCIM filter over attributes, `groups` and `source`."""
    mode: Literal["cumulative", "first", "highest", "deny"] = "cumulative"
    """What it gives adds up; or of several only the first that matches, or that of the highest role, counts; or it denies."""
    choice: Name | None = None
    """Of which `first` or `highest` rules one counts: those with the same word here. Default: all without one."""
    roles: Names = ()
    """Roles given to whom it matches."""
    permissions: tuple[str, ...] = ()
    """Single permissions given."""
    seats: Names = ()
    """Pools in which a seat is given."""
    scopes: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Data scopes given: which records one sees, as kind: [values]."""


class SignIns(Block):
    lock_after: CountOrNever = 10
    """Failed sign-ins in a row, as the application reports them, until the account is locked."""
    lock_for: Duration = timedelta(minutes=15)
    """How long a lock lasts, unless an admin ends it."""
    count_for: Duration = timedelta(hours=1)
    """A pause between two failures that is longer than this begins a new row."""


class Passwords(Block):
    min_length: Annotated[int, Field(ge=8, le=64)] = 12
    """Characters. Which kinds is nobody's business: length is what counts."""
    forbidden_file: Lines | None = None
    """Passwords that are refused beside the common ones that syncd knows, one a line."""
    beside_provider: bool = False
    """Who comes from a directory or an identity provider may have a password here too."""
    attempts_per_minute: Annotated[int, Field(ge=1)] = 10
    """Passwords that are looked at for one user; ten times as many from one address. More are answered 429."""
    reset_for: Duration = timedelta(hours=1)
    """How long a link to choose a new password lasts."""


class Limit(Block):
    share: Share = 0.05
    """Of the active users linked to the source."""
    floor: Annotated[int, Field(ge=0)] = 5
    """This many are always let through."""
    number: Annotated[int, Field(ge=0)] = 500
    """More than this never are."""


class Limits(Block):
    deactivate: Limit = Limit.model_construct()
    """Users deactivated."""
    suspend: Limit = Limit.model_construct()
    """Users suspended."""
    delete: Limit = Limit.model_construct()
    """Users deleted."""
    role: Limit = Limit.model_construct()
    """Users who lose a role, permission or data scope."""
    seat: Limit = Limit.model_construct()
    """Users who lose a seat."""
    membership: Limit = Limit.model_construct()
    """Users who leave a group."""
    blank: Limit = Limit.model_construct()
    """Users an attribute of whom becomes empty."""


class Missing(Block):
    suspend_after: DurationOrNever = timedelta(days=1)
    """Absent this long: suspended."""
    deactivate_after: DurationOrNever = timedelta(days=2)
    """Absent this long: deactivated."""
    delete_after: DurationOrNever = timedelta(days=14)
    """Absent this long: deleted, which can be undone."""
    purge_after: DurationOrNever = timedelta(days=14)
    """This long after the deletion: gone for good."""


class Fewer(Block):
    share: Share = 0.5
    """Of those that the last complete read saw."""
    floor: Annotated[int, Field(ge=0)] = 50
    """This many fewer are always believed."""


class Quarantine(Block):
    share: Share = 0.1
    """Of all entries of the read."""
    floor: Annotated[int, Field(ge=0)] = 50
    """This many always may."""


class Schedule(Block):
    full: Times | None = None
    """Whole reads: as cron (minute hour day month weekday, 0 or 7 is Sunday) in `timezone`, or the time between them."""
    delta: Duration | None = None
    """Between reads of what changed, where the directory can say so; else everything is read each time."""
    live: bool = False
    """Changes are read as soon as the directory says that there are some; `delta` then makes sure of it."""
    jitter: DurationOrZero = timedelta(0)
    """Puts cron times off by a part of this that is always the same for a source, so that many do not start at once."""
    misfire_grace: Duration = timedelta(hours=1)
    """How late a read may begin after its time, when no worker was there; later it is recorded as missed."""


class Accounts(Block):
    flavour: Flavour | None = None
    """Whose account attributes count. Default: of Active Directory its own, of any other server all that are known."""
    ignore: tuple[AccountAttribute, ...] = ()
    """Of these attributes none counts."""
    lockout: Duration | None = None
    """How long a lock-out lasts. Default: what the directory says, else until it is lifted there."""
    disabled: str | None = None
    """Whoever's entry matches is disabled too: a SCIM filter over the directory's attributes."""
    locked: str | None = None
    """Whoever's entry matches is locked while it does: she cannot sign in and keeps all she has."""
    starts_at: AttributeNames = ()
    """An attribute with the day or instant at which the account begins; of a list the first that has a value."""
    ends_at: AttributeNames = ()
    """The same for its end; of a day it is the end."""


class UserSearch(Block):
    base: DNs
    """One DN or a list."""
    scope: Literal["base", "one", "subtree"] = "subtree"
    """How deep to look below each base."""
    filter: LdapFilter = "(objectClass=inetOrgPerson)"
    """Which entries are users."""


class GroupSearch(Block):
    base: DNs
    """One DN or a list."""
    scope: Literal["base", "one", "subtree"] = "subtree"
    """How deep to look below each base."""
    filter: LdapFilter = "(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames)(objectClass=posixGroup))"
    """Which entries are groups."""
    nested: bool = True
    """Members of a member group are members."""
    by: Literal["memberOf", "isMemberOf"] | None = None
    """Groups whose entries cannot be read: users' own attribute says who is in them, and a group is its DN."""


class Connection(Block):
    """What every source may and may not do."""

    may_grant: Names | None = None
    """Roles its groups and attributes may lead to. Not given: every ordinary role; owner and admin only if named."""
    authoritative: bool = True
    """Its word that somebody is disabled counts."""
    adopt: str = "never"
    """Users that exist already: never take them over, ask an admin, or those who match this filter."""
    on_conflict: Literal["yield", "refuse"] = "yield"
    """A value that another source owns: keep it aside, or answer an error."""
    limits: Limits = Limits.model_construct()
    """How much may be taken away within `window` before the rest is held."""
    window: Duration = timedelta(hours=24)
    """The rolling window of `limits`."""


class CorrelationRule(Block):
    same: AttributePaths
    """SCIM attributes that are all equal, of the entry and of a user."""
    score: Score = 100
    """What that says, of 100."""


class Correlation(Block):
    rules: tuple[CorrelationRule, ...] = (CorrelationRule.model_construct(same=("userName",)),)
    """Who may be meant by an entry that is new; scores of rules that match add up, to 100 at most."""
    certain: Score = 100
    """Whoever alone reaches this is taken over, if `adopt` permits it."""
    possible: Score = 50
    """From here on an admin is asked (`syncd adopt list`) and the entry waits; below, it is somebody new."""


class Directory(Connection):
    """A source that is read whole: LDAP or LDIF."""

    attributes: dict[str, DirectoryTemplate] = Field(default_factory=lambda: dict(INET_ORG_PERSON))
    """SCIM attribute of users: attribute, [first, else second], "{givenName} {sn}" or {constant: TEXT}."""
    group_attributes: dict[str, DirectoryTemplate] = Field(default_factory=lambda: dict(COMMON_NAME))
    """The same for groups."""
    accounts: Accounts = Accounts.model_construct()
    """What says that an account is disabled, locked, not begun or over, beside what every directory of its kind has."""
    correlation: Correlation = Correlation.model_construct()
    """Who of the users that exist already a new entry may be. Needs `adopt`."""
    canaries: DNList = ()
    """Entries that every good read sees; one missing makes the read incomplete."""
    fewer: Fewer = Fewer.model_construct()
    """How many entries fewer than the last complete reads one may show and count as complete."""
    quarantine: Quarantine = Quarantine.model_construct()
    """How many entries may be set aside before the read as a whole is not believed."""
    schedule: Schedule = Schedule.model_construct()
    """When to read. Not given: only `syncd sync`."""
    missing: Missing = Missing.model_construct()
    """What happens to a user whose entry is gone, by time."""


class LdapSource(Directory):
    kind: Literal["ldap"]
    """Read from LDAP servers."""
    url: LdapUrls
    """One server or several of the same directory, tried in order: ldaps://HOST, ldap://HOST, or ldapi:///PATH of a socket."""
    bind_dn: DN | None = None
    """Who reads; it needs no right to write. Not given: anonymous."""
    bind_password_file: SecretFile | None = None
    """A file that holds the password."""
    bind_password_env: SecretEnv | None = None
    """Or the environment variable that does."""
    sasl: Literal["external"] | None = None
    """Instead of a name and a password: the server knows who asks by the client certificate, or by the ldapi:// socket."""
    sasl_authzid: Authzid | None = None
    """With sasl: whom to act as, dn:NAME or u:NAME. Default: whom the server takes us for."""
    starttls: bool = False
    """Begin TLS on an ldap:// connection; without it a password goes to this machine only."""
    ca_file: ReadableFile | None = None
    """Certificates to trust, PEM. Default: those of the machine."""
    client_cert_file: ReadableFile | None = None
    """The certificate to show to the server and its chain, PEM."""
    client_key_file: ReadableFile | None = None
    """Its private key, PEM, not encrypted. Default: the key in client_cert_file."""
    tls_do_not_verify_certificates: bool = False
    """Dangerous: anybody can pose as the server. Logged at every start."""
    connect_timeout: Duration = timedelta(seconds=10)
    """To reach one server."""
    receive_timeout: Duration = timedelta(seconds=60)
    """Without a byte from the server."""
    deadline: Duration = timedelta(hours=1)
    """For one whole read."""
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    """Further rounds over all servers, with growing pauses, when none could be reached. A read once begun is never repeated."""
    page_size: Annotated[int, Field(ge=1, le=100_000)] = 500
    """Entries asked for at a time."""
    key_attribute: Literal["objectGUID", "entryUUID", "nsUniqueId", "ipaUniqueID"] | None = None
    """The attribute that stays the same for ever. Default: the first of these that the server has."""
    users: UserSearch
    """Where the users are."""
    groups: GroupSearch | None = None
    """Where the groups are. Not given: no groups."""

    @property
    def bind_password(self) -> Secret | None:
        return self.bind_password_file or self.bind_password_env


class LdifSource(Directory):
    kind: Literal["ldif"]
    """Read from a file in LDIF (RFC 2849)."""
    key_attribute: str | None = None
    """The attribute that stays the same for ever. Default: entryUUID or its like, if the entries have one."""
    path: FilePath
    """The file; relative to this configuration."""
    accept_unmarked_files_as_complete: bool = False
    """Dangerous: a file cut short looks whole, and those it lacks are taken for gone. Logged at every start."""


class Policy(Block):
    base: PolicyName = dialects.DEFAULT
    """What the switches below start from."""
    allow: tuple[ToleranceName, ...] = ()
    """Further forms that are understood, by the names in docs/scim.md."""
    refuse: tuple[ToleranceName, ...] = ()
    """Forms of `base` that are refused."""

    @property
    def tolerances(self) -> frozenset[str]:
        return dialects.tolerated(self.base, self.allow, self.refuse)

    def __str__(self) -> str:
        return " ".join([self.base, *(f"+{name}" for name in self.allow), *(f"-{name}" for name in self.refuse)])


def _policy(value: object) -> object:
    return {"base": policy_name(value)} if isinstance(value, str) else value


class Jwt(Block):
    issuer: str
    """Who issues them: the claim `iss`, letter by letter."""
    audience: Annotated[tuple[str, ...], Field(min_length=1), BeforeValidator(one_or_list)]
    """The claim `aud` must name one of these."""
    jwks_url: KeysUrl
    """Where the issuer's public keys are: https://HOST/..., or http:// on this machine."""
    claims: Annotated[dict[str, str], Field(min_length=1)]
    """What else a token must say, such as sub or azp: who of those the issuer knows may speak for this source."""
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)] = ("RS256", "ES256")
    """Signatures that are accepted."""
    allow: Annotated[tuple[Permission, ...], Field(min_length=1)] = ("*",)
    """What such a token may do, as with syncd token create --allow."""
    leeway: Annotated[DurationOrZero, AfterValidator(at_most(timedelta(minutes=5)))] = timedelta(seconds=60)
    """How far the issuer's clock may be off."""
    ca_file: ReadableFile | None = None
    """Certificates to trust for jwks_url, PEM. Default: the public ones."""


class Show(Block):
    roles_and_entitlements: bool = False
    """Discovery names /Roles and /Entitlements in its lists. Not every client bears types that it cannot write."""
    member_display: bool = True
    """A group's members come with their names. Not every client bears a part of a member that it did not send."""
    patched_group: bool = False
    """A PATCH of a group is answered 200 with the whole group, all its members, rather than 204."""
    security_events: bool = False
    """/ServiceProviderConfig has securityEvents (RFC 9967). Not every client bears an attribute that it does not know."""


class ScimSource(Connection):
    kind: Literal["scim"]
    """Pushed by an identity provider."""
    policy: Annotated[Policy, BeforeValidator(_policy, json_schema_input_type=PolicyName | Policy)] = (
        Policy.model_construct()
    )
    """Which forms are understood that RFC 7644 does not have: a name (rfc, interop-strict, or a provider), or own switches."""
    sees: Literal["all", "own"] = "all"
    """Which users and groups its tokens see: the whole workspace, or those it made or was linked to."""
    passwords: bool = False
    """Keep the passwords it sends, as hashes, so that its users may sign in by them as well."""
    show: Show = Show.model_construct()
    """What it is shown, where clients differ in what they bear."""
    networks: tuple[Network, ...] = ()
    """Where its requests may come from. Not given: anywhere. Behind a proxy it needs http.trusted_proxies to be told."""
    rate: Annotated[int, Field(ge=25)] = 1000
    """Requests a second that each web process takes from it, twice as many at once; more are answered 429."""
    jwt: Jwt | None = None
    """Accept tokens that somebody else issues, beside syncd's own."""


class LocalSource(Connection):
    kind: Literal["local"]
    """People at the console, the command line and the API."""


Source = Annotated[LdapSource | LdifSource | ScimSource | LocalSource, Field(discriminator="kind")]


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
