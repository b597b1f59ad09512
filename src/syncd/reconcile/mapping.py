"""A directory entry as SCIM values, by the configured attributes. Pure: bytes in, values out.

A template is an attribute name (`uid`), a list (the first that has a value), a text with braces (`"{givenName} {sn}"`,
absent when a part is) or `{constant: x}`. A path may name the type of a multi-valued element (`emails.work`); all values of
the attribute become elements of that type. A DN-valued target (`manager`) stays a reference until the run resolves it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from syncd.core.quick import quick
from syncd.core.resource import canonical_value
from syncd.core.schema import SYNCD_USER, Resolved, ResourceType, Type
from syncd.core.snapshot import Entry
from syncd.core.types import STANDARD, Types
from syncd.errors import ConfigError, InvalidValue
from syncd.ldap.accounts import COMPUTED, AccountState, Rules, Server, account_state, lock_bit
from syncd.ldap.values import WRITTEN, primary_group_of, unique_member

Attributes = Mapping[str, tuple[bytes, ...]]
Reader = Callable[[Attributes], tuple[str, ...]]

MANAGER = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value"
MEMBERS = ("member", "uniquemember")  # DN-valued
MEMBER_UIDS = "memberuid"
_ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:"
_PART = re.compile(r"\{([A-Za-z][A-Za-z0-9;-]*)\}")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a template's value goes: a canonical path, and for `emails.work` the type of the element."""

    path: str
    resolved: Resolved
    read: Reader
    element_type: str | None = None
    whole: tuple[
        str, ...
    ] = ()  # directory attributes, one of which is the value as it stands; () if it is put together


@quick
@dataclass(frozen=True, slots=True)
class MappedUser:
    values: Mapping[str, Any]
    manager: str | None  # a DN, not resolved yet
    account: AccountState  # what the entry says that switches the account off, locks or dates it


@dataclass(frozen=True, slots=True)
class DirectoryMapping:
    users: tuple[Target, ...]
    groups: tuple[Target, ...]
    wanted: tuple[str, ...]  # directory attributes to ask for
    digest: str
    manager: Reader | None = None
    managers: tuple[str, ...] = ()  # the directory's attributes that `manager` reads, where it takes them as they are
    nested: bool = True  # groups may be members of groups
    accounts: Rules = field(default_factory=Rules)

    @property
    def names(self) -> dict[str, tuple[str, ...]]:
        """Canonical path of a user -> the directory's attributes that can be asked for its value."""
        found: dict[str, tuple[str, ...]] = {}
        for target in self.users:
            found[target.path] = (*found.get(target.path, ()), *target.whole)
        put_together = {target.path for target in self.users if not target.whole}
        return {path: names for path, names in found.items() if path not in put_together}

    def user(self, entry: Entry, server: Server | None = None) -> MappedUser:
        """Raises InvalidValue naming the attribute: the entry is set aside, the rest goes on."""
        values = _values(self.users, entry.attributes)
        if not values.get("userName"):
            raise InvalidValue("userName: none of its attributes has a value")
        state = account_state(entry.attributes, server, self.accounts)
        managers = self.manager(entry.attributes) if self.manager else ()
        return MappedUser(values, managers[0] if managers else None, state)

    def disabled(self, entry: Entry, server: Server | None = None) -> str | None:
        """Why the account is disabled, of an entry that cannot be mapped; None if it is not, or nobody can tell."""
        try:
            state = account_state(entry.attributes, server, self.accounts)
        except InvalidValue:
            return None
        return None if state.enabled else state.why

    def group(self, entry: Entry) -> dict[str, Any]:
        values = _values(self.groups, entry.attributes)
        if not values.get("displayName"):
            raise InvalidValue("displayName: the group has no name")
        return values


def compile_mapping(
    attributes: Mapping[str, Any],
    groups: Mapping[str, Any] | None = None,
    nested: bool = True,
    types: Types = STANDARD,
    accounts: Rules | None = None,
) -> DirectoryMapping:
    """Raises ConfigError for a path that is no attribute, or a template that cannot be read."""
    accounts = accounts or Rules()
    wanted: set[str] = {*accounts.wanted, *MEMBERS, MEMBER_UIDS, "uid", "objectClass"}
    manager: Reader | None = None
    managers: tuple[str, ...] = ()
    users: list[Target] = []
    for path, template in attributes.items():
        if path.lower() in ("manager", MANAGER.lower(), f"{_ENTERPRISE}manager".lower()):
            manager, managers = _reader(template, wanted), _whole(template)
        else:
            users.append(_target(path, _reader(template, wanted), types.user, _whole(template)))
    named = [
        _target(path, _reader(template, wanted), types.group)
        for path, template in (groups or {"displayName": "cn"}).items()
    ]
    said = [attributes, groups, nested, *accounts.said]
    digest = hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS, default=str)).hexdigest()[:32]
    return DirectoryMapping(
        tuple(users), tuple(named), tuple(sorted(wanted)), digest, manager, managers, nested, accounts
    )


def entry_hash(entry: Entry) -> str:
    """Equal for equal entries, whatever the order of attributes and values; the DN counts, so that a move is seen.

    modifyTimestamp does not: it moves with what is not read (a password), and for every entry when a directory is reloaded.
    Of Active Directory's computed bits only the lock counts: passwords expire without a change that a delta could tell.
    """
    parts = [entry.dn.encode()]
    for name in sorted(entry.attributes):
        if name == "modifytimestamp":
            continue
        values = entry.attributes[name]
        if name == COMPUTED:
            values = lock_bit(values)
        parts.append(b"\0\0" + name.encode())
        for value in sorted(values) if len(values) > 1 else values:
            parts += (b"\0%d:" % len(value), value)
    return hashlib.blake2b(b"".join(parts), digest_size=16).hexdigest()


def _whole(template: Any) -> tuple[str, ...]:
    match template:
        case str():
            return () if "{" in template else (template,)
        case [*each] if all(isinstance(one, str) and "{" not in one for one in each):
            return tuple(each)
    return ()


def _target(path: str, read: Reader, resource_type: ResourceType, whole: tuple[str, ...] = ()) -> Target:
    homes = ("", _ENTERPRISE, f"{SYNCD_USER}:")
    resolved = next((found for home in homes if (found := resource_type.resolve(home + path))), None)
    if resolved is not None and not (resolved.parent is not None and resolved.parent.multi_valued):
        return Target(resolved.path, resolved, read, whole=whole)
    head, _, kind = path.partition(".")
    parent = resource_type.resolve(head)
    if parent is not None and parent.attribute.multi_valued and kind:
        return Target(parent.path, parent, read, kind, whole)
    raise ConfigError(f"attributes.{path}: no such attribute of a {resource_type.name}")


def _reader(template: Any, wanted: set[str]) -> Reader:
    match template:
        case {"constant": constant}:
            fixed = (str(constant),)
            return lambda attributes: fixed
        case str() if "{" in template:
            parts = _PART.split(template)
            wanted.update(parts[1::2])
            return lambda attributes: _filled(parts, attributes)
        case str():
            wanted.add(template)
            name = template.lower()
            return lambda attributes: _texts(name, attributes)
        case Sequence():
            readers = [_reader(each, wanted) for each in template]
            return lambda attributes: next((found for read in readers if (found := read(attributes))), ())
    raise ConfigError(f"attributes: {template!r} is neither a name, a list, a text with braces nor {{constant: x}}")


def _texts(name: str, attributes: Attributes) -> tuple[str, ...]:
    values = attributes.get(name)
    if not values:
        return ()
    try:
        if name in WRITTEN:
            return tuple(WRITTEN[name](name, value) for value in values)
        return tuple([text for value in values if (text := value.decode().strip())])
    except UnicodeDecodeError as exc:
        raise InvalidValue(f"{name}: not UTF-8 text ({exc.reason} at byte {exc.start})") from exc


def _filled(parts: list[str], attributes: Attributes) -> tuple[str, ...]:
    out = []
    for index, part in enumerate(parts):
        if index % 2 == 0:
            out.append(part)
            continue
        found = _texts(part.lower(), attributes)
        if not found:
            return ()
        out.append(found[0])
    return ("".join(out),)


def _values(targets: Sequence[Target], attributes: Attributes) -> dict[str, Any]:
    lists: dict[str, list[Any]] = {}
    values: dict[str, Any] = {}
    resolved: dict[str, Resolved] = {}
    for target in targets:
        found = target.read(attributes)
        if not found:
            continue
        resolved[target.path] = target.resolved
        attribute = target.resolved.attribute
        if attribute.multi_valued:
            elements = lists.setdefault(target.path, [])
            for text in found:
                element: Any = text
                if attribute.type is Type.COMPLEX:
                    element = {"value": text, **({"type": target.element_type} if target.element_type else {})}
                    if not elements and attribute.sub("primary") is not None:
                        element["primary"] = True
                elements.append(element)
        elif target.path not in values:
            text = found[0]
            values[target.path] = canonical_value(
                target.resolved, text if attribute.type is not Type.BOOLEAN else _boolean(text)
            )
    for path, several in lists.items():
        values[path] = canonical_value(resolved[path], several)
    return {path: value for path in sorted(values) if (value := values[path]) is not None}


def _boolean(text: str) -> Any:
    """Of a directory (RFC 4517 section 3.3.3); what is none stays as it is, and is refused."""
    return text.upper() == "TRUE" if text.upper() in ("TRUE", "FALSE") else text


def primary_group(entry: Entry) -> bytes | None:
    """The objectSid of the user's primary group. Raises InvalidValue."""
    return primary_group_of(entry.attributes)


@dataclass(frozen=True, slots=True)
class Members:
    """Who a group entry names: DNs and uids, as it names them."""

    dns: tuple[str, ...] = ()
    uids: tuple[str, ...] = field(default=())


def members(entry: Entry) -> Members:
    unique = map(unique_member, _texts("uniquemember", entry.attributes))
    return Members((*_texts("member", entry.attributes), *unique), _texts(MEMBER_UIDS, entry.attributes))
