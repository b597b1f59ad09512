"""What an entry says about its account: disabled, locked, not begun, over. One table, for every kind of directory. Pure.

Three things are never mixed. *Disabled* and *over* (or not begun) take access away, as statements. A *lock-out* (too many
wrong passwords) is a lock: it ends by itself or when the directory lifts it, and never makes a leaver. An expired password,
or one that must be changed, is none of them, unless the configuration says so (`Rules.locked`).
Which rows are looked at goes by the kind of directory: Active Directory itself heeds only its own attributes, whatever else
an entry carries; elsewhere all rows count. A value that cannot be read raises InvalidValue naming its attribute, unless
another one says disabled: that stands, whatever the rest is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache, partial
from typing import Literal

from syncd.core.filter import Filter, Match, compile, names, parse_texts
from syncd.core.resource import fold
from syncd.core.state import UNTIL_LIFTED
from syncd.errors import InvalidValue
from syncd.ldap.values import (
    Attributes,
    boolean,
    filetime,
    filetime_end,
    generalized_time,
    integer,
    only_one,
    shadow_expire,
    written_time,
)

ACTIVE_DIRECTORY = "active-directory"
FLAVOURS = (ACTIVE_DIRECTORY, "openldap", "389ds", "freeipa", "edirectory", "any")

_DISABLED, _LOCKED = 0x2, 0x10  # ADS_UF_ACCOUNTDISABLE and ADS_UF_LOCKOUT, MS-ADTS 2.2.16
# draft-behera-ldap-password-policy-10 section 5.3.3: this value, unlike any other, is set by a person and never ends. Some
# write the seconds too.
_PPOLICY_ADMIN_LOCK = (b"000001010000Z", b"00000101000000Z")
_GRAINED = "msDS-ResultantPSO"
_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

COMPUTED = "msds-user-account-control-computed"

Kind = Literal["disabled", "locked", "starts", "ends"]


@dataclass(frozen=True, slots=True)
class Fact:
    """One statement of one attribute. `at`: when it starts or ends, or when the lock does; None for disabled."""

    kind: Kind
    at: datetime | None
    why: str  # for people


@dataclass(frozen=True, slots=True)
class AccountState:
    """What the entry states. `enabled` is its flags alone; before `starts_at`, and from `ends_at` on, it has no access
    either, and until `locked_until` nobody can sign in. The caller has the clock."""

    enabled: bool = True
    starts_at: datetime | None = None
    ends_at: datetime | None = None  # the first instant at which the account no longer works
    locked_until: datetime | None = None  # UNTIL_LIFTED: nobody knows when
    why: str | None = None  # the attribute that said so; None: nothing to say

    def bars(self, now: datetime) -> bool:
        """Whether anything of it keeps the account from working at `now`."""
        begun = self.starts_at is None or self.starts_at <= now
        over = self.ends_at is not None and self.ends_at <= now
        locked = self.locked_until is not None and self.locked_until > now
        return not self.enabled or not begun or over or locked


@dataclass(frozen=True, slots=True)
class Server:
    """What the directory itself says that its entries do not: its kind, and how long its lock-outs last."""

    flavour: str | None = None  # one of FLAVOURS; None: not known (a file)
    lockout: timedelta | None = None  # None: not known, or until somebody lifts it


@dataclass(frozen=True, slots=True)
class Rules:
    """What is configured beside the table (`accounts:` of a source)."""

    flavour: str | None = None  # None: the server's
    ignore: frozenset[str] = frozenset()  # attributes in lower case
    lockout: timedelta | None = None  # None: what the server says
    disabled: Filter | None = None  # over the entry's attributes, see parse_texts
    locked: Filter | None = None
    starts_at: tuple[str, ...] = ()  # the first of these attributes that has a value
    ends_at: tuple[str, ...] = ()
    zone: tzinfo = UTC  # of days and of instants without an offset
    is_disabled: Match | None = field(init=False, compare=False, repr=False, default=None)
    is_locked: Match | None = field(init=False, compare=False, repr=False, default=None)

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_disabled", compile(self.disabled) if self.disabled else None)
        object.__setattr__(self, "is_locked", compile(self.locked) if self.locked else None)

    @property
    def said(self) -> tuple[str, ...]:
        """What differs from the defaults, for a digest of the configuration: () for what is not configured."""
        texts = {
            "flavour": self.flavour,
            "ignore": sorted(self.ignore),
            "lockout": self.lockout and self.lockout.total_seconds(),
            "disabled": self.disabled and self.disabled.text,
            "locked": self.locked and self.locked.text,
            "starts_at": self.starts_at,
            "ends_at": self.ends_at,
            "zone": str(self.zone) if self.starts_at or self.ends_at else None,
        }
        return tuple(f"{name}={value}" for name, value in texts.items() if value)

    @property
    def wanted(self) -> tuple[str, ...]:
        """The attributes to ask the server for, the table's among them."""
        asked = [name for each in (self.disabled, self.locked) if each for name in sorted(names(each))]
        return (*ATTRIBUTES, *asked, *self.starts_at, *self.ends_at)


@dataclass(frozen=True, slots=True)
class _Value:
    """One value of a row's attribute, with what else decides about it."""

    name: str
    raw: bytes
    attributes: Attributes
    lockout: timedelta | None

    @property
    def flag(self) -> bool:
        return boolean(self.name, self.raw)

    def lock_since(self, since: datetime, why: str) -> Fact:
        lasts = self.lockout is not None and self.lockout < UNTIL_LIFTED - since
        return Fact("locked", since + self.lockout if self.lockout and lasts else UNTIL_LIFTED, why)


Read = Callable[[_Value], Fact | None]


# -- how each attribute is read -------------------------------------------------------------------------------------------


def _user_account_control(value: _Value) -> Fact | None:
    bits = integer(value.name, value.raw)
    said = f"{value.name} {value.raw.decode()}"
    if bits & _DISABLED:
        return Fact("disabled", None, f"{said} has the bit 2 (disabled)")
    return Fact("locked", UNTIL_LIFTED, f"{said} has the bit 16 (locked out)") if bits & _LOCKED else None


def _computed(value: _Value) -> Fact | None:
    """A constructed attribute (MS-ADTS 3.1.1.4.5). When the lock ends is `lockoutTime`'s to say, if that may be read."""
    if not integer(value.name, value.raw) & _LOCKED or "lockouttime" in value.attributes:
        return None
    return Fact("locked", UNTIL_LIFTED, f"{value.name} {value.raw.decode()} has the bit 16 (locked out)")


def lock_bit(values: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Of the computed attribute, what counts here; anything else stays as it is."""
    try:
        return tuple(b"%d" % (integer(COMPUTED, value) & _LOCKED) for value in values)
    except InvalidValue:
        return values


def _lockout_time(value: _Value) -> Fact | None:
    """It stays where it is until the next good password; only the computed attribute says that the lock is over."""
    since = filetime(value.name, value.raw)
    computed = only_one("msDS-User-Account-Control-Computed", value.attributes)
    over = computed is not None and not integer("msDS-User-Account-Control-Computed", computed) & _LOCKED
    if since is None or over:
        return None
    return value.lock_since(since, f"{value.name}: locked out since {since.isoformat()}")


def _switched_off(value: _Value) -> Fact | None:
    return Fact("disabled", None, f"{value.name} is TRUE") if value.flag else None


def _ppolicy_lock(value: _Value) -> Fact | None:
    if value.raw.strip() in _PPOLICY_ADMIN_LOCK:
        return Fact("disabled", None, f"{value.name} is {value.raw.decode()} (closed by an administrator)")
    since = generalized_time(value.name, value.raw)
    return value.lock_since(since, f"{value.name}: locked out since {since.isoformat()}")


def _unlock_time(value: _Value) -> Fact | None:
    """389ds names the end itself; the epoch means that only an administrator ends it (passwordUnlock: off)."""
    until = generalized_time(value.name, value.raw)
    ends = f"until {until.isoformat()}" if until > _UNIX_EPOCH else "until an administrator lifts it"
    return Fact("locked", until if until > _UNIX_EPOCH else UNTIL_LIFTED, f"{value.name}: locked out {ends}")


def _auto_locked(value: _Value) -> Fact | None:
    return Fact("locked", UNTIL_LIFTED, f"{value.name} is TRUE") if value.flag else None


def _intruder(value: _Value) -> Fact | None:
    """eDirectory: the intruder lock-out and, beside it, when it is reset."""
    if not value.flag:
        return None
    reset = only_one("loginIntruderResetTime", value.attributes)
    until = generalized_time("loginIntruderResetTime", reset) if reset is not None else UNTIL_LIFTED
    return Fact("locked", until, f"{value.name} is TRUE")


def _ends(read: Callable[[str, bytes], datetime | None]) -> Read:
    def fact(value: _Value) -> Fact | None:
        at = read(value.name, value.raw)
        return Fact("ends", at, f"{value.name} ends the account at {at.isoformat()}") if at is not None else None

    return fact


def _starts(read: Callable[[str, bytes], datetime | None]) -> Read:
    def fact(value: _Value) -> Fact | None:
        at = read(value.name, value.raw)
        return Fact("starts", at, f"{value.name} begins the account at {at.isoformat()}") if at is not None else None

    return fact


def _principal_expiration(name: str, value: bytes) -> datetime | None:
    """The Kerberos database writes "never" as the epoch (MIT krb5, ldap_principal2.c)."""
    at = generalized_time(name, value)
    return at if at > _UNIX_EPOCH else None


# -- the table -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    attribute: str
    name: str  # the same in lower case
    flavours: frozenset[str]  # directories that heed it
    read: Read


def _row(attribute: str, flavours: str, read: Read) -> Row:
    return Row(attribute, attribute.lower(), frozenset(flavours.split()), read)


TABLE = (
    # Active Directory, Samba, AD LDS (whose accounts have the two booleans)
    _row("userAccountControl", "active-directory", _user_account_control),
    _row("accountExpires", "active-directory", _ends(filetime_end)),
    _row("lockoutTime", "active-directory", _lockout_time),
    _row("msDS-User-Account-Control-Computed", "active-directory", _computed),
    _row("msDS-UserAccountDisabled", "active-directory", _switched_off),
    _row("ms-DS-UserAccountAutoLocked", "active-directory", _auto_locked),
    # password policy: OpenLDAP's ppolicy overlay (draft-behera-ldap-password-policy)
    _row("pwdAccountLockedTime", "openldap", _ppolicy_lock),
    _row("pwdStartTime", "openldap", _starts(generalized_time)),
    _row("pwdEndTime", "openldap", _ends(generalized_time)),
    # 389 Directory Server and FreeIPA; the latter's accounts are Kerberos principals too
    _row("nsAccountLock", "389ds freeipa", _switched_off),
    _row("accountUnlockTime", "389ds freeipa", _unlock_time),
    _row("krbPrincipalExpiration", "freeipa openldap 389ds", _ends(_principal_expiration)),
    # POSIX accounts (RFC 2307)
    _row("shadowExpire", "openldap 389ds freeipa edirectory", _ends(shadow_expire)),
    # eDirectory
    _row("loginDisabled", "edirectory", _switched_off),
    _row("loginActivationTime", "edirectory", _starts(generalized_time)),
    _row("loginExpirationTime", "edirectory", _ends(generalized_time)),
    _row("lockedByIntruder", "edirectory", _intruder),
)
# Read with a row of another attribute.
_BESIDE = ("loginIntruderResetTime", _GRAINED)
ATTRIBUTES = (*(row.attribute for row in TABLE), *_BESIDE)


def account_state(attributes: Attributes, server: Server | None = None, rules: Rules | None = None) -> AccountState:
    """Off if anything says so; the last start, the first end and the longest lock count. Raises InvalidValue."""
    server, rules = server or Server(), rules or Rules()
    try:
        return _together(list(_facts(attributes, server, rules)))
    except InvalidValue:
        state = _together(list(_readable(attributes, server, rules)))
        if state.enabled:
            raise
        return state


def _facts(attributes: Attributes, server: Server, rules: Rules) -> Iterator[Fact]:
    lockout = _lockout(attributes, server, rules)
    for row in _heeded(rules.flavour or server.flavour, rules.ignore):
        if row.name in attributes:  # few have any of them
            yield from _said(row, attributes, lockout)
    yield from _conditions(attributes, rules)
    yield from _dates(attributes, rules)


def _readable(attributes: Attributes, server: Server, rules: Rules) -> Iterator[Fact]:
    """The same without those whose values cannot be read."""
    lockout = _lockout(attributes, server, rules)
    for row in _heeded(rules.flavour or server.flavour, rules.ignore):
        with suppress(InvalidValue):
            yield from _said(row, attributes, lockout)
    yield from _conditions(attributes, rules)
    with suppress(InvalidValue):
        yield from _dates(attributes, rules)


def _said(row: Row, attributes: Attributes, lockout: timedelta | None) -> Iterator[Fact]:
    raw = only_one(row.attribute, attributes)
    fact = row.read(_Value(row.attribute, raw, attributes, lockout)) if raw is not None else None
    if fact is not None:
        yield fact


def _lockout(attributes: Attributes, server: Server, rules: Rules) -> timedelta | None:
    """How long a lock-out lasts. The domain's duration is not that of whom a fine-grained password policy is for."""
    return rules.lockout or (None if attributes.get(_GRAINED.lower()) else server.lockout)


@lru_cache(64)  # one for each source
def _heeded(flavour: str | None, ignored: frozenset[str]) -> tuple[Row, ...]:
    """A file may be a dump of anything, and a proxy may show another directory's accounts as its own: only of Active
    Directory is it known that what it does not heed itself says nothing."""
    return tuple(
        row for row in TABLE if row.name not in ignored and (flavour in (None, "any") or flavour in row.flavours)
    )


def _conditions(attributes: Attributes, rules: Rules) -> Iterator[Fact]:
    if rules.is_disabled or rules.is_locked:
        view = {
            name: [fold(value.decode("utf-8", "replace")) for value in values]
            for name, values in attributes.items()
            if values
        }
        if rules.disabled and rules.is_disabled and rules.is_disabled(view):
            yield Fact("disabled", None, f"accounts.disabled: {rules.disabled.text}")
        if rules.locked and rules.is_locked and rules.is_locked(view):
            yield Fact("locked", UNTIL_LIFTED, f"accounts.locked: {rules.locked.text}")


def _dates(attributes: Attributes, rules: Rules) -> Iterator[Fact]:
    for chosen, make, end in ((rules.starts_at, _starts, False), (rules.ends_at, _ends, True)):
        name = next((each for each in chosen if attributes.get(each.lower())), None)
        raw = only_one(name, attributes) if name else None
        if name and raw is not None:
            read = make(partial(written_time, zone=rules.zone, end=end))
            fact = read(_Value(name, raw, attributes, None))
            if fact is not None:
                yield fact


def _together(facts: list[Fact]) -> AccountState:
    if not facts:
        return _NOTHING_SAID
    off = next((fact for fact in facts if fact.kind == "disabled"), None)
    start = max((fact for fact in facts if fact.kind == "starts"), key=_when, default=None)
    end = min((fact for fact in facts if fact.kind == "ends"), key=_when, default=None)
    lock = max((fact for fact in facts if fact.kind == "locked"), key=_when, default=None)
    said = [fact.why for fact in (off, lock, start, end) if fact is not None]
    return AccountState(
        enabled=off is None,
        starts_at=start.at if start else None,
        ends_at=end.at if end else None,
        locked_until=lock.at if lock else None,
        why="; ".join(said) or None,
    )


_NOTHING_SAID = AccountState()


def _when(fact: Fact) -> datetime:
    assert fact.at is not None
    return fact.at


def condition(text: str) -> Filter:
    """A filter over the attributes of an entry. Raises InvalidFilter."""
    return parse_texts(text, "a directory entry")
