"""Attribute values: bytes of a directory to text, times and truth. Pure. What they say of an account: accounts.py.

A value that cannot be read raises InvalidValue naming the attribute, so that the entry is set aside by name: guessing
would either take access away or leave it open. Attribute names are in lower case, as `Entry.attributes` has them.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from syncd.errors import InvalidValue

Attributes = Mapping[str, tuple[bytes, ...]]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FILETIME_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
_FILETIME_NEVER = (0, 0x7FFF_FFFF_FFFF_FFFF)  # MS-ADTS 2.2: both mean "never expires"
_LAST_DAY = (datetime.max.replace(tzinfo=UTC) - _EPOCH).days
_LAST_FILETIME = (datetime.max.replace(tzinfo=UTC) - _FILETIME_EPOCH) // timedelta(microseconds=1) * 10 + 9
_GENERALIZED = re.compile(
    r"(\d{4})(\d\d)(\d\d)(\d\d)(?:(\d\d)(?:(\d\d))?)?(?:[.,](\d+))?(?:Z|([+-])(\d\d)(\d\d)?)", re.ASCII
)
_UNIQUE_ID = re.compile(r"#'[01]*'B$")
_DAY = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)", re.ASCII)
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:", re.ASCII)


def text(name: str, value: bytes) -> str:
    """UTF-8 text (RFC 4517 Directory String)."""
    try:
        decoded = value.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise InvalidValue(f"{name}: not UTF-8 text (byte {exc.start + 1} of {len(value)})") from exc
    if "\0" in decoded:
        raise InvalidValue(f"{name}: text with a NUL character")
    return decoded


def guid_text(name: str, value: bytes) -> str:
    """objectGUID: 16 bytes, the first three fields little-endian (MS-DTYP 2.3.4), as AD's own tools print it."""
    if len(value) != 16:
        raise InvalidValue(f"{name}: a GUID has 16 bytes, this has {len(value)}")
    return str(uuid.UUID(bytes_le=value))


def sid_text(name: str, value: bytes) -> str:
    """objectSid as `S-1-5-21-...`: revision 1, how many parts, 48 bits of authority, 32 bits for each part (MS-DTYP 2.4.2)."""
    if len(value) < 8 or value[0] != 1 or value[1] > 15 or len(value) != 8 + 4 * value[1]:
        raise InvalidValue(f"{name}: {len(value)} bytes that are not a security identifier")
    authority = int.from_bytes(value[2:8], "big")
    parts = [int.from_bytes(value[at : at + 4], "little") for at in range(8, len(value), 4)]
    return "-".join(map(str, ("S", 1, authority, *parts)))


# Attributes whose values are not text and have a text that everybody writes.
WRITTEN: Mapping[str, Callable[[str, bytes], str]] = {
    "objectsid": sid_text,
    "sidhistory": sid_text,
    "objectguid": guid_text,
    "ms-ds-consistencyguid": guid_text,
    "msexchmailboxguid": guid_text,
}


def unique_member(said: str) -> str:
    """The DN of a uniqueMember, without the bit string that may come after it (RFC 4517 section 3.3.21)."""
    return _UNIQUE_ID.sub("", said)


def boolean(name: str, value: bytes) -> bool:
    """TRUE or FALSE (RFC 4517 section 3.3.3), in any case: 389ds writes `true`."""
    match value.strip().lower():
        case b"true":
            return True
        case b"false":
            return False
    raise InvalidValue(f"{name}: {_shown(value)} is neither TRUE nor FALSE")


def integer(name: str, value: bytes) -> int:
    try:
        if len(value) > 20 or b"_" in value:
            raise ValueError
        return int(value)
    except ValueError as exc:
        raise InvalidValue(f"{name}: {_shown(value)} is not a whole number") from exc


def generalized_time(name: str, value: bytes) -> datetime:
    """`20261121180620Z`, with fraction or offset too (RFC 4517 section 3.3.13); aware, in UTC."""
    found = _GENERALIZED.fullmatch(value.decode("latin-1").strip())
    if not found:
        raise InvalidValue(f"{name}: {_shown(value)} is not a generalized time such as 20261231235959Z")
    year, month, day, hour, minute, second, fraction, sign, off_hours, off_minutes = found.groups()
    unit = timedelta(hours=1) if minute is None else timedelta(minutes=1) if second is None else timedelta(seconds=1)
    try:
        offset = timedelta(hours=int(off_hours or 0), minutes=int(off_minutes or 0))
        zone = timezone(-offset if sign == "-" else offset)
        leap = second == "60"  # allowed by RFC 4517; no datetime has it
        whole = 59 if leap else int(second or 0)
        at = datetime(int(year), int(month), int(day), int(hour), int(minute or 0), whole, tzinfo=zone)
        return (at + unit * float(f"0.{fraction or 0}") + timedelta(seconds=leap)).astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        raise InvalidValue(f"{name}: {_shown(value)} is no date of the calendar") from exc


def filetime(name: str, value: bytes) -> datetime | None:
    """Active Directory's count of 100 ns since 1601; None for its two values of "never"."""
    ticks = integer(name, value)
    if ticks in _FILETIME_NEVER:
        return None
    try:
        if ticks < 0:
            raise OverflowError
        return _FILETIME_EPOCH + timedelta(microseconds=ticks // 10)
    except OverflowError as exc:
        raise InvalidValue(f"{name}: {ticks} is outside the calendar") from exc


def filetime_end(name: str, value: bytes) -> datetime | None:
    """The same of an end. One after the year 9999 never comes: there are tools that write such for "never"."""
    ticks = integer(name, value)
    return None if _LAST_FILETIME < ticks <= _FILETIME_NEVER[1] else filetime(name, value)


def shadow_expire(name: str, value: bytes) -> datetime | None:
    """Days since 1970; None for never (0, -1, any negative number, and what comes after the year 9999).

    The account is closed from 00:00 UTC of that day on: `today >= shadowExpire`, as shadow, pam_unix, pam_ldap and,
    since 2.6.2, SSSD do it (SSSD issue 5873). 0 is ambiguous in shadow(5); SSSD and shadow read it as never.
    """
    days = integer(name, value)
    return _EPOCH + timedelta(days=days) if 0 < days <= _LAST_DAY else None


def microsoft_interval(name: str, value: bytes) -> timedelta | None:
    """Active Directory's span of time, a negative count of 100 ns; None: without end (0, or the least number)."""
    ticks = -integer(name, value)
    if ticks in (0, 1 << 63):
        return None
    if not 0 < ticks < 1 << 63:
        raise InvalidValue(f"{name}: {-ticks} is no span of time")
    return timedelta(microseconds=ticks // 10)


def written_time(name: str, value: bytes, zone: tzinfo, end: bool) -> datetime | None:
    """A date or an instant as personnel systems write it into a directory, told apart by its form; None for never.

    A generalized time, FILETIME, an ISO 8601 instant (without an offset: in `zone`), or a day (2026-12-31, 20261231),
    which begins at 00:00 in `zone`; with `end` the day is the last one, so it gives the beginning of the next.
    """
    said = value.decode("latin-1").strip()
    if said in ("", "0", "-1"):
        return None
    if _GENERALIZED.fullmatch(said):
        return generalized_time(name, value)
    if said.isascii() and said.isdecimal() and len(said) >= 15:
        return filetime_end(name, value) if end else filetime(name, value)
    try:
        day = _DAY.fullmatch(said)
        if day:
            on = datetime(int(day[1]), int(day[2]), int(day[3]), tzinfo=zone)
            return (on + timedelta(days=1) if end else on).astimezone(UTC)  # by the calendar: 23 or 25 hours at times
        if _INSTANT.match(said):
            at = datetime.fromisoformat(said)
            return (at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        raise InvalidValue(f"{name}: {_shown(value)} is no date of the calendar") from exc
    raise InvalidValue(f"{name}: {_shown(value)} is not a date such as 2026-12-31, nor an instant")


def only_one(name: str, attributes: Attributes) -> bytes | None:
    """The one value of a single-valued attribute, None without. Raises InvalidValue if there are several."""
    values = attributes.get(name.lower(), ())
    if len(values) > 1:
        raise InvalidValue(f"{name}: has {len(values)} values, it can have one")
    return values[0] if values else None


def primary_group_of(attributes: Attributes) -> bytes | None:
    """The objectSid of the group that a user of Active Directory has as her primary one: she is no `member` there, and her
    own SID says which domain's it is. Raises InvalidValue."""
    if "primarygroupid" not in attributes and "objectsid" not in attributes:
        return None
    said, own = (only_one(name, attributes) for name in ("primaryGroupID", "objectSid"))
    if said is None or own is None:
        return None
    sid_text("objectSid", own)
    number = integer("primaryGroupID", said)
    if not 0 < number < 1 << 32:
        raise InvalidValue(f"primaryGroupID: {number} is no relative identifier")
    return own[:-4] + number.to_bytes(4, "little")


def _shown(value: bytes) -> str:
    return repr(value[:40].decode("utf-8", "replace")) + ("..." if len(value) > 40 else "")
