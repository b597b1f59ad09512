"""The stable key of an entry and the names of its attributes, in one form for every server. Pure.

A key is what survives renaming and moving: objectGUID, entryUUID, nsUniqueId or ipaUniqueID. One kind serves a whole
read, because the same entry has a different value in each. It is never derived from the DN.
"""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping

from syncd.errors import InvalidValue
from syncd.ldap import narrow
from syncd.ldap.config import KEY_ATTRIBUTES
from syncd.ldap.values import guid_text, text

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_UUID_AS_SENT = re.compile(_UUID.pattern.encode())
_NS_UNIQUE_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}")  # 389ds: four groups of eight


def fold_name(name: str) -> str:
    """In lower case. `;binary` is transfer syntax (RFC 4522) and dropped; `;lang-de` (RFC 3866) stays apart."""
    return name.lower().removesuffix(";binary")


def fold_names(raw: Mapping[str, tuple[bytes, ...]]) -> dict[str, tuple[bytes, ...]]:
    folded: dict[str, tuple[bytes, ...]] = {}
    for name, values in raw.items():
        lower = fold_name(name)
        folded[lower] = folded[lower] + values if lower in folded else values
    return folded


def choose(entries: Iterable[Mapping[str, tuple[bytes, ...]]]) -> str | None:
    """The key attribute most of these entries have (KEY_ATTRIBUTES decides a tie); None if none has any."""
    counts = Counter(name for entry in entries for name in KEY_ATTRIBUTES if entry.get(name.lower()))
    return max(KEY_ATTRIBUTES, key=lambda name: counts[name]) if counts else None


def key_of(attribute: str, attributes: Mapping[str, tuple[bytes, ...]]) -> str:
    """The key as text in lower case. Raises InvalidValue if it is missing, ambiguous or malformed.

    Any attribute may serve an LDIF file (an employee number, say); the four known ones must have their form.
    """
    name = attribute.lower()
    values = attributes.get(name, ())
    if len(values) != 1:
        raise InvalidValue(
            f"{attribute}: " + (f"has {len(values)} values" if values else "missing, so it has no stable key")
        )
    if name == "objectguid":
        return guid_text(attribute, values[0])
    if name == "entryuuid" and _UUID_AS_SENT.fullmatch(values[0]):
        return values[0].decode("ascii")
    key = text(attribute, values[0]).strip().lower()
    form = _NS_UNIQUE_ID if name == "nsuniqueid" else _UUID if name in ("entryuuid", "ipauniqueid") else None
    if not key or (form and not form.fullmatch(key)):
        raise InvalidValue(f"{attribute}: {key[:60]!r} is not a stable key")
    return key


def filter_of(attribute: str, key: str) -> str:
    """An RFC 4515 filter for the entry with this key, as `key_of` makes it."""
    if attribute.lower() == "objectguid":
        return f"({attribute}={narrow.escaped_bytes(uuid.UUID(key).bytes_le)})"
    return f"({attribute}={narrow.escaped(key)})"


def readable_dn(raw: bytes) -> str:
    """Raises InvalidValue if the entry has no DN that anyone could write down."""
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise InvalidValue("its DN is not UTF-8") from exc
    if not name or name.isspace():
        raise InvalidValue("it has no DN")
    return name
