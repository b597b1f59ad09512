"""Where changes come from, as it is written: each kind of source, what it may do, and how much may be taken away."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from syncd.core.secret import Secret
from syncd.scim import dialects
from syncd.settings.block import Block
from syncd.settings.values import (
    DN,
    AccountAttribute,
    Algorithm,
    AttributeNames,
    AttributePaths,
    Authzid,
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
    Names,
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
    ToleranceName,
    at_most,
    one_or_list,
    policy_name,
)

COMMON_NAME: dict[str, Template] = {"displayName": "cn"}
INET_ORG_PERSON: dict[str, Template] = {
    "userName": "uid",
    "name.givenName": "givenName",
    "name.familyName": "sn",
    "emails.work": "mail",
    "displayName": "{givenName} {sn}",
}


class Limit(Block):
    share: Share = 0.05
    """Of the active users linked to the source, with those whom it took away itself within `window`."""
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
    left_out: DNs = ()
    """Entries below which groups are not read on purpose: nobody is told of those, and one that moves there may go."""


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


SomeText = Annotated[str, Field(min_length=1)]  # an empty one is mostly a placeholder that nothing was put into


class Jwt(Block):
    issuer: SomeText
    """Who issues them: the claim `iss`, letter by letter."""
    audience: Annotated[tuple[SomeText, ...], Field(min_length=1), BeforeValidator(one_or_list)]
    """The claim `aud` must name one of these."""
    jwks_url: KeysUrl
    """Where the issuer's public keys are: https://HOST/..., or http:// on this machine."""
    claims: Annotated[dict[str, SomeText], Field(min_length=1)]
    """What else a token must say, such as sub or azp: who of those the issuer knows may speak for this source.
    Of a list one text is enough."""
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
    empty_members: bool | None = None
    """A group that has no members is shown with an empty list of them. Default: only to policy authentik, which takes a
    group without that list for one whose members are not known."""
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
    networks: Annotated[tuple[Network, ...], Field(min_length=1)] = ()
    """Where its requests may come from. Not given: anywhere. Behind a proxy it needs http.trusted_proxies to be told."""
    rate: Annotated[int, Field(ge=25)] = 1000
    """Requests a second that each web process takes from it, twice as many at once; more are answered 429."""
    jwt: Jwt | None = None
    """Accept tokens that somebody else issues, beside syncd's own."""


class LocalSource(Connection):
    kind: Literal["local"]
    """People at the console, the command line and the API."""


Source = Annotated[LdapSource | LdifSource | ScimSource | LocalSource, Field(discriminator="kind")]
