"""Entries as they come from a server, turned into those of a read: named by their stable key, whole, counted. Used by
whole reads and by deltas.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal

from syncd.core.snapshot import Entry, SetAside
from syncd.errors import IncompleteRead, InvalidValue
from syncd.ldap import accounts, dynamic, keys
from syncd.ldap.client import Session
from syncd.ldap.config import KEY_ATTRIBUTES, LdapConfig, SearchConfig
from syncd.ldap.decode import RawEntry
from syncd.ldap.seen import Seen

GROUP_ATTRIBUTES = ("cn", "description", "member", "uniqueMember", "memberUid", "gidNumber", "objectSid", "memberURL")
USER_ATTRIBUTES = (*accounts.ATTRIBUTES, "primaryGroupID", "objectSid")
_ALWAYS = ("objectClass", "uid", "modifyTimestamp")
_ANY = "(objectClass=*)"
_RANGE = re.compile(r"(.+);range=(\d{1,12})-(\d{1,12}|\*)", re.IGNORECASE | re.ASCII)

Part = Literal["users", "groups"]


class Entries:
    """Those of one read."""

    def __init__(self, config: LdapConfig) -> None:
        self._config = config
        self.key_attribute = config.key_attribute
        self.paged = True  # the server has paging
        self.seen = Seen()
        self.users = self.groups = self.received = self.set_aside = 0

    def take(self, session: Session, part: Part, raw: RawEntry, among: Iterable[RawEntry]) -> Entry | SetAside | None:
        """None if it came before. `among` those with which it came the kind of key is chosen. Raises IncompleteRead."""
        self.received += 1
        if self.received > self._config.max_entries:
            raise IncompleteRead(f"more than max_entries ({self._config.max_entries:,}) came")
        if self.key_attribute is None:
            self.key_attribute = keys.choose(keys.fold_names(other.attributes) for other in among)
            if self.key_attribute is None:
                raise IncompleteRead(
                    f"no entry shows {', '.join(KEY_ATTRIBUTES)}; the bind account must be able to read one"
                )
        key = None
        try:
            attributes = raw.attributes if raw.folded else keys.fold_names(whole_ranges(session, raw))
            key = keys.key_of(self.key_attribute, attributes)
            name = keys.readable_dn(raw.dn)
            if raw.longest is None or raw.longest > self._config.max_entry_bytes:
                self._require_bearable(attributes)
            if self.seen.repeats(self.key_attribute, key, name):
                return None
        except InvalidValue as exc:
            self.set_aside += 1
            return SetAside(raw.dn.decode("utf-8", "backslashreplace") or "an entry without a DN", str(exc), key)
        if part == "users":
            self.users += 1
            return Entry("user", key, name, attributes)
        try:
            group = dynamic.with_members(session, self._config, Entry("group", key, name, attributes), self.paged)
        except InvalidValue as exc:
            self.set_aside += 1
            return SetAside(name, str(exc), key)
        self.groups += 1
        return group

    def _require_bearable(self, attributes: Mapping[str, tuple[bytes, ...]]) -> None:
        size = sum(len(value) for values in attributes.values() for value in values)
        if size > self._config.max_entry_bytes:
            raise InvalidValue(f"it has {size:,} bytes, more than max_entry_bytes ({self._config.max_entry_bytes:,})")


def whole_ranges(session: Session, raw: RawEntry) -> Mapping[str, tuple[bytes, ...]]:
    """Active Directory hands out 1,500 members at a time (MS-ADTS 3.1.1.3.1.3.3): ask for the rest."""
    if not any(";range=" in name.lower() for name in raw.attributes):
        return raw.attributes
    whole: dict[str, tuple[bytes, ...]] = {}
    for name, values in raw.attributes.items():
        found = _RANGE.fullmatch(name)
        if found is None:
            whole[name] = whole.get(name, ()) + values
            continue
        attribute, last = found[1], found[3]
        collected = list(values)
        while last != "*":
            last, more = _range(session, raw.dn.decode("utf-8", "replace"), attribute, int(last) + 1)
            collected += more
        whole[attribute] = whole.get(attribute, ()) + tuple(collected)
    return whole


def _range(session: Session, name: str, attribute: str, start: int) -> tuple[str, tuple[bytes, ...]]:
    page = session.search(name, "base", _ANY, (f"{attribute};range={start}-*",))
    for entry in page.entries if page.code == 0 else ():
        for option, values in entry.attributes.items():
            found = _RANGE.fullmatch(option)
            if not found or found[1].lower() != attribute.lower() or int(found[2]) != start or not values:
                continue
            if found[3] == "*" or int(found[3]) >= start:
                return found[3], values
    raise IncompleteRead(f"{attribute} of {name}: the values from {start:,} on did not come: {page.outcome}")


def attributes_asked(config: LdapConfig, part: Part, search: SearchConfig, wanted: tuple[str, ...]) -> tuple[str, ...]:
    key = (config.key_attribute,) if config.key_attribute else KEY_ATTRIBUTES
    own = USER_ATTRIBUTES if part == "users" else GROUP_ATTRIBUTES
    by = (config.groups.by,) if part == "users" and config.groups and config.groups.by else ()
    unique = {name.lower(): name for name in (*_ALWAYS, *key, *own, *by, *search.attributes, *wanted)}
    return tuple(unique.values())
