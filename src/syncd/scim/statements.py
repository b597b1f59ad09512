"""What a request states about a resource: pure, from what is stored and what was sent to the facts of one connection.

A connection states facts under its own source only: the values on its link, `enabled` there (`active`), and the link's key
(`externalId`). What it repeats of others' values by PUT becomes its own statement too; by PATCH only what it changes does.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from syncd.core.quick import changed, quick
from syncd.core.resource import canonical, flatten
from syncd.core.schema import ResourceType
from syncd.core.state import Link
from syncd.errors import InvalidValue, Mutability
from syncd.scim.members import MemberEdit, ids_of
from syncd.scim.messages import Operation

_OF_THE_LINK: Final = frozenset({"externalId", "active", "members"})  # stated, but never values
_INDEXED: Final = ("userName", "externalId", "displayName")
_JOINERS: Final = "\u200c\u200d"  # which Persian and the scripts of India need within words (RFC 8264 section 9.9)
INDEXED_BYTES: Final = 800  # PostgreSQL's index takes 2,704 bytes, and folding may make a text longer


@dataclass(frozen=True, slots=True)
class Statement:
    """The writable part of a document. `external_id` and `active` None: not said; "" takes it away. `active: null` lets
    nobody in who was kept out: it is not said."""

    values: Mapping[str, Any]
    external_id: str | None = None
    active: bool | None = None
    members: tuple[str, ...] | None = None  # of a group; () empties it
    set_once: frozenset[str] = frozenset()  # paths of immutable values
    type: ResourceType | None = None

    def link(self, source: str, id: str, own: Link | None) -> Link:
        """This connection's link after a whole document was stated.

        Raises Mutability if an immutable value is there and another one was sent; one that was not sent stays
        (RFC 7644 section 3.5.1). Raises InvalidValue for a userName that may not be, unless it is hers already: whoever has
        it from an earlier release can be let go by a PUT all the same.
        """
        start = own or Link(source, id)
        if self.values.get("userName") != start.values.get("userName"):
            _as_a_name(self.values)
        key = start.key if self.external_id is None else self.external_id or id
        there = {path: start.values[path] for path in self.set_once if path in start.values}
        for path, value in there.items():
            if self.values.get(path, value) != value:
                raise Mutability(f"{path} is immutable: it is set once, leave it as it is")
        return changed(
            start,
            key=key,
            values={**self._unseen(start), **self.values, **there},
            enabled=start.enabled if self.active is None else self.active,
        )

    def _unseen(self, link: Link) -> dict[str, Any]:
        """What nobody can read nobody can repeat, so leaving it out does not take it away."""
        type = self.type
        return {} if type is None else {path: value for path, value in link.values.items() if type.unseen(path)}


def stated(document: Mapping[str, Any], resource_type: ResourceType) -> Statement:
    """Of the body of a POST or PUT, in RFC form. Raises InvalidValue, InvalidSyntax."""
    values = canonical(document, resource_type)
    sent = [value for key, value in document.items() if _is_members(key, resource_type)]
    nulled = "externalId" not in values and any(key.lower() == "externalid" for key in document)  # RFC 7643 section 2.5
    return Statement(
        _values(values, resource_type),
        "" if nulled else _external_id(values.get("externalId")),
        values.get("active"),
        ids_of(sent[0]) if sent else None,  # from what was sent: an element without an id is not nobody
        resource_type.set_once,
        resource_type,
    )


@quick
@dataclass(frozen=True, slots=True)
class Difference:
    """What a PATCH changed, seen against what is shown. `external_id` "" takes it away, None leaves it."""

    changed: Mapping[str, Any]
    removed: frozenset[str]
    external_id: str | None = None
    active: bool | None = None
    unsaid: bool = False  # `active` was removed: the connection says nothing of it any more

    def link(self, source: str, id: str, own: Link | None) -> Link:
        """This connection's link after the change; an equal one if the connection has nothing new to say."""
        start = own or Link(source, id)
        kept = {path: value for path, value in start.values.items() if path not in self.removed}
        return changed(
            start,
            key=start.key if self.external_id is None else self.external_id or id,
            values={**kept, **self.changed},
            enabled=None if self.unsaid else start.enabled if self.active is None else self.active,
        )


def difference(
    before: Mapping[str, Any], after: Mapping[str, Any], operations: Sequence[Operation], resource_type: ResourceType
) -> Difference:
    """Between two documents. `active` counts as stated whenever an operation names it, even if nothing changes by it:
    another source may say the same today and something else tomorrow."""
    old = flatten({k: v for k, v in before.items() if k == "active" or after.get(k) != v}, resource_type)
    new = flatten({k: v for k, v in after.items() if k == "active" or before.get(k) != v}, resource_type)
    was, now = _values(old, resource_type), _values(new, resource_type)
    external_id = None
    if old.get("externalId") != new.get("externalId"):
        external_id = _external_id(new.get("externalId")) or ""
    return Difference(
        _as_a_name({path: value for path, value in now.items() if path not in was or was[path] != value}),
        frozenset(was.keys() - now.keys()),
        external_id,
        new.get("active") if (named := _names_active(operations, resource_type)) else None,
        unsaid=named and "active" not in new and "active" in old,
    )


def _names_active(operations: Iterable[Operation], resource_type: ResourceType) -> bool:
    for operation in operations:
        if operation.path:
            names: Iterable[str] = (operation.path,)
        else:
            names = operation.value if isinstance(operation.value, Mapping) else ()
        for name in names:
            found = resource_type.resolve(name.strip())
            if found is not None and found.path == "active":
                return True
    return False


def _values(values: Mapping[str, Any], resource_type: ResourceType) -> dict[str, Any]:
    """Values that a link keeps: writable, and not facts of the link itself."""
    kept: dict[str, Any] = {}
    for path, value in values.items():
        at = resource_type.resolve(path)
        if at is None or at.top in _OF_THE_LINK or at.read_only:
            continue
        if path in _INDEXED:
            _short(path, value)
        kept[path] = value
    return kept


def _external_id(value: str | None) -> str | None:
    if value is None:
        return None
    _short("externalId", value)
    return unicodedata.normalize("NFC", value)  # as filters compare it


def _short(path: str, value: str) -> None:
    if len(value.encode()) > INDEXED_BYTES:
        raise InvalidValue(f"{path} is longer than {INDEXED_BYTES} bytes, which no directory's is")


def _as_a_name(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The values, whose userName has no control characters, none that hide (RFC 7644 section 5, RFC 8265 section 3.1) and
    something to be seen."""
    name = values.get("userName")
    if isinstance(name, str) and not name.isprintable():
        if any(unicodedata.category(each) in ("Cc", "Zl", "Zp") for each in name):
            raise InvalidValue("userName holds a control character or the end of a line, which no name may")
        hidden = next((each for each in name if unicodedata.category(each) == "Cf" and each not in _JOINERS), None)
        if hidden is not None:
            raise InvalidValue(
                f"userName holds U+{ord(hidden):04X}, which cannot be seen: two names would look the same"
            )
        if not any(each.isprintable() and not each.isspace() for each in name):
            raise InvalidValue("userName has nothing in it that can be seen")
    return values


# -- members ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Membership:
    """Where a group's members end up. `whole`: who is not named in `wanted` leaves; else only who is wanted False.

    `said`: how a message names the operation that names this member last. `named`: who was to join at any time; an operation
    that fails fails the request, whatever comes after it (RFC 7644 section 3.5.2).
    """

    wanted: Mapping[str, bool]
    whole: bool = False
    said: Mapping[str, str] = field(default_factory=dict)
    named: frozenset[str] = frozenset()

    @property
    def joining(self) -> frozenset[str]:
        return frozenset(id for id, wanted in self.wanted.items() if wanted)

    @property
    def leaving(self) -> frozenset[str]:
        return frozenset(id for id, wanted in self.wanted.items() if not wanted)


def membership(edits: Sequence[MemberEdit]) -> Membership:
    """What the edits come to, applied in their order."""
    wanted: dict[str, bool] = {}
    said: dict[str, str] = {}
    named: set[str] = set()
    whole = False
    for edit in edits:
        if edit.kind in ("replace", "clear"):
            wanted, whole = {}, True
        wanted |= dict.fromkeys(edit.ids, edit.kind != "remove")
        said |= dict.fromkeys(edit.ids, edit.at)
        named.update(edit.ids if edit.kind != "remove" else ())
    return Membership(wanted, whole, said, frozenset(named))


def _is_members(key: str, resource_type: ResourceType) -> bool:
    at = resource_type.resolve(key.strip()) if "members" in key.lower() else None
    return at is not None and at.top == "members"
