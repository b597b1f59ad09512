"""How single values are written: durations, shares, schedules, secrets, addresses.

Each parser raises ValueError with the value and what would be right; pydantic collects them, so that a report has all.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, timedelta, tzinfo
from decimal import Decimal, InvalidOperation
from email.utils import parseaddr
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, TypeAlias
from urllib.parse import quote, urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, ValidationInfo, WithJsonSchema

from syncd.core import permission
from syncd.core.connection import ALGORITHMS
from syncd.core.mail import is_address
from syncd.core.secret import Secret
from syncd.deliver import signing
from syncd.errors import SyncdError
from syncd.ldap import accounts, dn
from syncd.ldap.config import is_loopback, socket_path
from syncd.scim import dialects
from syncd.settings.block import did_you_mean

_MAPPED_BITS = 96  # of an IPv6 address before the IPv4 address that it stands for
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
CRON_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))
CRON_NAMES = {
    "month": ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    "weekday": ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What values are read against: paths are relative to `folder`, secrets come from `env`."""

    folder: Path
    env: Mapping[str, str]


def _surroundings(info: ValidationInfo) -> Surroundings:
    assert isinstance(info.context, Surroundings)
    return info.context


def shown(value: object) -> str:
    """A value as the file writes it."""
    match value:
        case bool():
            return f"'{str(value).lower()}'"
        case dict():
            return "a group of keys"
        case list():
            return "a list"
        case None:
            return "nothing"
    return f"'{value}'"


def _written(pattern: str, what: str) -> Any:
    return WithJsonSchema({"type": "string", "pattern": pattern, "description": what})


def _duration(value: object) -> timedelta:
    found = re.fullmatch(r"([0-9]+)([smhd])", value) if isinstance(value, str) else None
    if not found:
        raise ValueError(f"{shown(value)} is not a duration such as 30s, 5m, 2h or 1d")
    try:
        return timedelta(seconds=int(found[1]) * UNITS[found[2]])
    except OverflowError:
        raise ValueError(f"{shown(value)} is longer than can be counted") from None


def _positive(value: timedelta) -> timedelta:
    if not value:
        raise ValueError("must be longer than 0")
    return value


def _duration_or_never(value: object) -> timedelta | None:
    if value == "never":
        return None
    try:
        return _duration(value)
    except ValueError as exc:
        raise ValueError(f"{exc}, or never") from None


def _count_or_never(value: object) -> int | None:
    if value == "never":
        return None
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    raise ValueError(f"{shown(value)} is neither a number above 0 nor never")


def _money(value: object) -> Decimal:
    try:
        amount = None if isinstance(value, bool) else Decimal(str(value))
    except InvalidOperation:
        amount = None
    if amount is None or not amount.is_finite() or not 0 <= amount < 10**9 or amount != round(amount, 4):
        raise ValueError(f"{shown(value)} is not a price such as 12.50, from 0 with at most four decimals")
    return amount


def _share(value: object) -> float:
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)%", value) if isinstance(value, str) else None
    if not found or float(found[1]) > 100:
        raise ValueError(f"{shown(value)} is not a percentage such as 5% or 0.5%")
    return float(found[1]) / 100


def _timezone(value: object) -> tzinfo:
    if value == "UTC":
        return UTC  # needs no time zone database, which a small container may lack
    try:
        return ZoneInfo(str(value))
    except (OSError, ValueError, KeyError):  # KeyError: ZoneInfoNotFoundError
        raise ValueError(f"{shown(value)} is no time zone of this machine, such as Europe/Berlin or UTC") from None


def _cron(value: str) -> str:
    fields = value.split()
    if len(fields) != len(CRON_FIELDS):
        raise ValueError(f"{shown(value)} has {len(fields)} fields, not minute hour day month weekday")
    for text, (name, low, high) in zip(fields, CRON_FIELDS, strict=True):
        for part in text.split(","):
            if not _cron_part(part, CRON_NAMES.get(name, ()), low, high):
                raise ValueError(f"{shown(value)}: {part!r} is no {name} from {low} to {high}")
    return value


def _cron_or_interval(value: object) -> str | timedelta:
    """Cron with its five fields, or the time between two reads."""
    if isinstance(value, str) and len(value.split()) > 1:
        return _cron(value)
    try:
        return _positive(_duration(value))
    except ValueError as exc:
        raise ValueError(f"{exc}, nor cron such as 0 3 * * *") from None


def _cron_part(part: str, names: tuple[str, ...], low: int, high: int) -> bool:
    span, slash, step = part.partition("/")
    if slash and not (step.isdecimal() and int(step) > 0):
        return False
    if span == "*":
        return True
    start = 0 if "sun" in names else 1
    ends = [names.index(end) + start if end in names else end for end in span.lower().split("-")]
    numbers = [int(end) for end in ends if str(end).isdecimal()]
    return (
        len(numbers) == len(ends) <= 2 and low <= min(numbers) and max(numbers) <= high and numbers == sorted(numbers)
    )


def _path(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not a path")
    return Path(os.path.normpath(_surroundings(info).folder / value))


def _readable(path: Path) -> Path:
    _read(path)
    return path


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as exc:
        raise ValueError(f"{path} cannot be read: {exc.strerror or exc}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text in UTF-8") from None


def _lines(value: object, info: ValidationInfo) -> tuple[str, ...]:
    return tuple(each for each in _read(_path(value, info)).splitlines() if each)


def _secret_file(value: object, info: ValidationInfo) -> Secret:
    path = _path(value, info)
    text = _read(path).rstrip("\r\n")
    if not text:
        raise ValueError(f"{path} is empty")
    return Secret(text)


def _secret_env(value: object, info: ValidationInfo) -> Secret:
    text = _surroundings(info).env.get(str(value), "")
    if not text:
        raise ValueError(f"the environment variable {value} is not set or empty")
    return Secret(text)


def _hook_secret(secret: Secret) -> Secret:
    signing.key_of(secret.reveal())
    return secret


@dataclass(frozen=True, slots=True)
class Bind:
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        return is_loopback(self.host)


def parse_bind(value: object) -> Bind:
    """`127.0.0.1:8080`, `[::1]:8080`, `localhost:0`; port 0 lets the machine choose one."""
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]\s]+)):([0-9]{1,5})", str(value))
    if not found or int(found[3]) > 65535:
        raise ValueError(f"{shown(value)} is not an address and a port such as 127.0.0.1:8080")
    return Bind(found[1] or found[2], int(found[3]))


def parse_database(value: object, folder: Path) -> str:
    """The address with a relative SQLite path made absolute against `folder`."""
    text = str(value)
    if text.startswith("sqlite:///") and len(text) > len("sqlite:///"):
        return f"sqlite:///{os.path.normpath(folder / text.removeprefix('sqlite:///'))}"
    if text.startswith("postgresql://") and urlsplit(text).path.strip("/"):
        return text
    # Never the value itself: it may hold a password.
    raise ValueError("is neither sqlite:///PATH nor postgresql://USER@HOST/NAME")


def with_password(database: str, password: Secret | None) -> str:
    """PostgreSQL's address with the password of `database_password_file`, unless it holds one already."""
    parts = urlsplit(database)
    if password is None or parts.scheme != "postgresql" or parts.password is not None:
        return database
    user, _, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user}:{quote(password.reveal(), safe='')}@{host}").geturl()


def _database(value: object, info: ValidationInfo) -> str:
    return parse_database(value, _surroundings(info).folder)


def _network(value: object) -> str:
    """An IPv4 network that is written as IPv6 has it (`::ffff:10.0.0.0/104`) is the IPv4 network, as with who asks."""
    try:
        network = ipaddress.ip_network(str(value))
    except ValueError:
        raise ValueError(f"{shown(value)} is not an address or network such as 10.0.0.0/8") from None
    mapped = network.network_address.ipv4_mapped if isinstance(network, ipaddress.IPv6Network) else None
    if mapped is not None and network.prefixlen >= _MAPPED_BITS:
        return f"{mapped}/{network.prefixlen - _MAPPED_BITS}"
    return str(network)


def _web_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise ValueError(f"{shown(value)} is not an address such as https://syncd.example.org")
    return value.rstrip("/")


def _address_of(example: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        parts = urlsplit(value)
        local = parts.scheme == "http" and is_loopback(parts.hostname or "")
        if not parts.hostname or parts.fragment or parts.username or not (parts.scheme == "https" or local):
            raise ValueError(f"{shown(value)} is not an address such as {example}; http:// is of this machine")
        return value

    return check


def _permission(value: str) -> str:
    try:
        return permission.understood(value)
    except SyncdError as exc:
        raise ValueError(str(exc)) from None


def _mailbox(value: str) -> str:
    if not is_address(parseaddr(value)[1]) or not value.isprintable():
        raise ValueError(f"{shown(value)} is not an address such as syncd@example.org or Name <syncd@example.org>")
    return value


def at_most(most: timedelta) -> Callable[[timedelta], timedelta]:
    def check(value: timedelta) -> timedelta:
        if value > most:
            unit = next(unit for unit in ("d", "h", "m", "s") if not most.total_seconds() % UNITS[unit])
            raise ValueError(f"is more than {most.total_seconds() / UNITS[unit]:.0f}{unit}, the most that is safe")
        return value

    return check


def _ldap_url(value: object) -> str:
    parts = urlsplit(str(value))
    if parts.scheme == "ldapi":
        if not socket_path(str(value)):
            raise ValueError(f"{shown(value)} names no socket, as ldapi:///run/slapd/ldapi does")
        return str(value)
    try:
        good = parts.scheme in ("ldap", "ldaps") and parts.hostname and (parts.port or 1) and parts.path in ("", "/")
    except ValueError:  # a port that is no number
        good = False
    if not good:
        raise ValueError(f"{shown(value)} is not an address such as ldaps://dc1.example.org or ldap://127.0.0.1:389")
    return str(value).rstrip("/")


def _authzid(value: str) -> str:
    """RFC 4513 section 5.2.1.8."""
    kind, _, name = value.partition(":")
    if kind not in ("dn", "u") or not name.strip():
        raise ValueError(f"{shown(value)} is neither dn:NAME nor u:NAME")
    if kind == "dn":
        _dn(name)
    return value


def _ldap_filter(value: str) -> str:
    depth = 0
    for character in value:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            break
    if depth or not value.startswith("(") or not value.endswith(")"):
        raise ValueError(f"{shown(value)} is not an LDAP filter: its brackets do not match")
    return value


def _dn(value: str) -> str:
    try:
        normal = dn.normalize(value)
    except SyncdError as exc:
        raise ValueError(str(exc)) from None
    if not normal:
        raise ValueError("an empty DN names no entry; write one such as ou=people,dc=example,dc=org")
    return value


def _whole_names(values: tuple[str, ...]) -> tuple[str, ...]:
    """`[ou=people,dc=example,dc=org]` is a list of three for YAML."""
    types = [value.partition("=")[0].strip().lower() if len(dn.parse(value)) == 1 else "" for value in values]
    for before, here in pairwise(types):
        if (here == "dc" and before) or (here in ("o", "c") and before not in ("", here)):
            raise ValueError(
                "a comma ends an element of a list: write each DN in quotes, such as "
                '["ou=people,dc=example,dc=org", "ou=guests,dc=example,dc=org"]'
            )
    return values


def _template(value: object) -> Template:
    match value:
        case str() if re.fullmatch(r"[A-Za-z][A-Za-z0-9.;-]*|([^{}]*\{[A-Za-z][A-Za-z0-9;-]*\})+[^{}]*", value):
            return value
        case {"constant": str() as constant, **others} if not others:
            return {"constant": constant}
        case [str(), *_] as names:
            return tuple(str(_template(name)) for name in names)
    raise ValueError(
        f'{shown(value)} is not an attribute, a list of them (the first that has a value counts), a text such as "{{sn}}, '
        '{givenName}", or {constant: TEXT}'
    )


def _one_of(known: Iterable[str], listed: bool) -> Callable[[str], str]:
    """One of `known`; `listed`: few enough to be listed where it is another."""
    names = tuple(known)

    def check(value: str) -> str:
        if value not in names:
            which = f"one of {', '.join(names)}" if listed else "a tolerance that docs/scim.md lists"
            raise ValueError(f"{shown(value)} is not {which}{did_you_mean(value, names)}")
        return value

    return check


def _account_attribute(value: str) -> str:
    """One of those that accounts.py knows, as it is spelled there."""
    known = {name.lower(): name for name in accounts.ATTRIBUTES}
    if value.lower() not in known:
        close = did_you_mean(value, known.values()) or f"; there are {', '.join(accounts.ATTRIBUTES)}"
        raise ValueError(f"{shown(value)} says nothing of accounts{close}")
    return known[value.lower()]


def one_or_list(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _named(pattern: str, example: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"{shown(value)} is not a name such as {example}")
        return value

    return check


Template: TypeAlias = str | tuple[str, ...] | dict[str, str]
DirectoryTemplate = Annotated[
    Template,
    PlainValidator(_template),
    WithJsonSchema(
        {
            "oneOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
                {"type": "object", "properties": {"constant": {"type": "string"}}, "additionalProperties": False},
            ]
        }
    ),
]
Duration = Annotated[timedelta, PlainValidator(_duration), AfterValidator(_positive), _written("^[0-9]+[smhd]$", "2h")]
DurationOrZero = Annotated[timedelta, PlainValidator(_duration), _written("^[0-9]+[smhd]$", "10m, or 0s")]
DurationOrNever = Annotated[
    timedelta | None, PlainValidator(_duration_or_never), _written("^([0-9]+[smhd]|never)$", "14d, or never")
]
Share = Annotated[float, PlainValidator(_share), _written(r"^[0-9]+(\.[0-9]+)?%$", "5%")]
TimeZone = Annotated[tzinfo, PlainValidator(_timezone), WithJsonSchema({"type": "string"})]
Times = Annotated[str | timedelta, PlainValidator(_cron_or_interval), _written("^[0-9*]", "0 3 * * * or 6h")]
CountOrNever = Annotated[
    int | None,
    PlainValidator(_count_or_never),
    WithJsonSchema({"oneOf": [{"type": "integer", "minimum": 1}, {"const": "never"}]}),
]
Money = Annotated[Decimal, PlainValidator(_money), WithJsonSchema({"type": ["number", "string"], "minimum": 0})]
FilePath = Annotated[Path, PlainValidator(_path), WithJsonSchema({"type": "string"})]
ReadableFile = Annotated[Path, PlainValidator(_path), AfterValidator(_readable), WithJsonSchema({"type": "string"})]
Lines = Annotated[tuple[str, ...], PlainValidator(_lines), WithJsonSchema({"type": "string", "description": "a path"})]
SecretFile = Annotated[
    Secret, PlainValidator(_secret_file), WithJsonSchema({"type": "string", "description": "a path"})
]
SecretEnv = Annotated[
    Secret, PlainValidator(_secret_env), WithJsonSchema({"type": "string", "description": "a variable's name"})
]
HookSecretFile = Annotated[
    Secret,
    PlainValidator(lambda value, info: _hook_secret(_secret_file(value, info))),
    WithJsonSchema({"type": "string", "description": "a path"}),
]
HookSecretEnv = Annotated[
    Secret,
    PlainValidator(lambda value, info: _hook_secret(_secret_env(value, info))),
    WithJsonSchema({"type": "string", "description": "a variable's name"}),
]
Database = Annotated[str, PlainValidator(_database), _written("^(sqlite:///|postgresql://)", "sqlite:///var/syncd.db")]
Address = Annotated[Bind, PlainValidator(parse_bind), _written(":[0-9]+$", "127.0.0.1:8080")]
Network = Annotated[str, PlainValidator(_network), WithJsonSchema({"type": "string"})]
KeysUrl = Annotated[
    str,
    AfterValidator(_address_of("https://idp.example.org/keys")),
    _written("^https?://", "https://idp.example.org/keys"),
]
Mailbox = Annotated[str, AfterValidator(_mailbox)]
HookUrl = Annotated[
    str,
    AfterValidator(_address_of("https://app.example.org/syncd")),
    _written("^https?://", "https://app.example.org/syncd"),
]
Permission = Annotated[str, AfterValidator(_permission)]
WebUrl = Annotated[str, AfterValidator(_web_url)]
LdapUrl = Annotated[str, PlainValidator(_ldap_url), _written("^ldap[si]?://", "ldaps://dc1.example.org")]
Authzid = Annotated[str, AfterValidator(_authzid)]
LdapFilter = Annotated[str, AfterValidator(_ldap_filter)]
DN = Annotated[str, AfterValidator(_dn)]
Name = Annotated[str, AfterValidator(_named(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", "crm-users"))]
Names = tuple[Name, ...]
policy_name = _one_of(dialects.NAMES, listed=True)
Algorithm = Annotated[str, AfterValidator(_one_of(ALGORITHMS, listed=True)), WithJsonSchema({"enum": list(ALGORITHMS)})]
PolicyName = Annotated[str, AfterValidator(policy_name), WithJsonSchema({"enum": list(dialects.NAMES)})]
ToleranceName = Annotated[
    str,
    AfterValidator(_one_of(dialects.TOLERANCES, listed=False)),
    WithJsonSchema({"enum": list(dialects.TOLERANCES)}),
]
Flavour = Annotated[
    str, AfterValidator(_one_of(accounts.FLAVOURS, listed=True)), WithJsonSchema({"enum": list(accounts.FLAVOURS)})
]
AccountAttribute = Annotated[str, AfterValidator(_account_attribute)]
AttributeName = Annotated[str, AfterValidator(_named(r"[A-Za-z][A-Za-z0-9;-]*", "contractEnd"))]
AttributeNames = Annotated[
    tuple[AttributeName, ...],
    Field(min_length=1),
    BeforeValidator(one_or_list, json_schema_input_type=AttributeName | tuple[AttributeName, ...]),
]
AttributePath = Annotated[str, AfterValidator(_named(r"[A-Za-z][A-Za-z0-9:._-]*", "emails.value"))]
AttributePaths = Annotated[
    tuple[AttributePath, ...],
    Field(min_length=1),
    BeforeValidator(one_or_list, json_schema_input_type=AttributePath | tuple[AttributePath, ...]),
]
Score = Annotated[int, Field(ge=1, le=100)]
DNList = Annotated[tuple[DN, ...], AfterValidator(_whole_names)]
DNs = Annotated[DNList, Field(min_length=1), BeforeValidator(one_or_list, json_schema_input_type=DN | tuple[DN, ...])]
LdapUrls = Annotated[
    tuple[LdapUrl, ...],
    Field(min_length=1),
    BeforeValidator(one_or_list, json_schema_input_type=LdapUrl | tuple[LdapUrl, ...]),
]
