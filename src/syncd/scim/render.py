"""A stored resource as the bytes that are sent: what the document leaves out is spliced in, and what was not asked for
left out.

The stored bytes are a JSON object without blanks that ends in `}`, so that a whole page costs no parsing. Only a request
that names attributes pays for it. ETags are weak and made of the version alone, so they do not differ by projection.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson

from syncd.core.quick import quick
from syncd.core.resource import redeclared
from syncd.core.schema import SYNCD_USER, ResourceType
from syncd.scim import path as paths
from syncd.scim.projection import project
from syncd.store.read import MANAGER_IN, GroupOf, Stored


@quick
@dataclass(frozen=True, slots=True)
class Shown:
    """Which attributes a request wants, as it named them; () and () is the default. `visible`: as of ListQuery.

    `sent`: canonical paths of those which a write states, and which are otherwise returned on request only.
    """

    attributes: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    whole: bool = False  # with what is never shown: for who changes it, not for an answer
    visible: frozenset[str] | None = None
    sent: frozenset[str] = frozenset()

    @property
    def all(self) -> bool:
        return not (self.attributes or self.excluded)

    def wants(self, name: str, resource_type: ResourceType) -> bool:
        """Whether a top-level attribute may be shown, so that it is worth reading."""
        if self.attributes:
            return any(
                (found := resource_type.resolve(each)) is not None and found.top == name for each in self.attributes
            ) or any(each.lower() == resource_type.schema.id.lower() for each in self.attributes)
        return all((found := resource_type.resolve(each)) is None or found.path != name for each in self.excluded)

    @property
    def derived(self) -> bool:
        """Whether status or seats were asked for by name."""
        return bool(self.attributes) and any(each.lower().startswith(SYNCD_USER.lower()) for each in self.attributes)


def answering(shown: Shown, sent: Iterable[tuple[str | None, Any]], type: ResourceType) -> Shown:
    """What a write is answered with: also what it states of attributes that are returned on request (RFC 7643 section 7).

    `sent`: paths with their values as a PATCH has them; None is the path of a whole resource.
    """
    if not type.asked_for:
        return shown
    named = {name for path, value in sent for name in paths.named(path, value, type)}
    stated = (each for each in type.asked_for if any(_is_about(name, each) or _is_about(each, name) for name in named))
    return replace(shown, sent=frozenset(stated))


def _is_about(path: str, part: str) -> bool:
    return part.startswith(path) and part[len(path) : len(path) + 1] in ("", ".", ":")


def user(stored: Stored, base_url: str, type: ResourceType, shown: Shown = Shown()) -> bytes:
    """A User, of the workspace's `type`. `base_url` is that of the SCIM endpoint."""
    document = stored.document
    if stored.manager is not None:
        value = b'"manager":{"value":' + orjson.dumps(stored.manager)
        reference = b',"$ref":' + orjson.dumps(f"{base_url}/Users/{stored.manager}")
        if document.count(value) == 1:
            document = document.replace(value, value + reference)
        elif (said := MANAGER_IN.search(document)) is not None:  # another extension has a manager too
            document = document[: said.end()] + reference + document[said.end() :]
    spliced = _external_id(stored)
    if stored.groups:
        spliced += b',"groups":[' + b",".join([_group_of(group, base_url) for group in stored.groups]) + b"]"
    if stored.derived is not None:
        document = _with_extension(document, stored.derived)
    return _finished(document, spliced, stored, type, f"{base_url}/Users/{stored.id}", shown)


def opened(stored: Stored, base_url: str, type: ResourceType, members: Collection[str] | None) -> dict[str, Any]:
    """A User as who changes her reads her: with what is never shown. `members`: only these, of the core schema and not
    derived; None: all."""
    if members is None or type.stale:
        found: dict[str, Any] = orjson.loads(user(stored, base_url, type, Shown(whole=True)))
        return found
    document = orjson.loads(stored.document)
    if stored.external_id is not None:
        document["externalId"] = stored.external_id
    return {name: document[name] for name in members if name in document}


@lru_cache(20_000)
def _group_of(group: GroupOf, base_url: str) -> bytes:
    return orjson.dumps(
        {
            "value": group.id,
            "$ref": f"{base_url}/Groups/{group.id}",
            "display": group.display,
            "type": "direct" if group.direct else "indirect",
        }
    )


def _with_extension(document: bytes, derived: Mapping[str, Any]) -> bytes:
    """Status and seats beside what the extension states; only a request that names them pays for it."""
    whole = orjson.loads(document)
    own = whole.get(SYNCD_USER, {}) | {name: value for name, value in derived.items() if value}
    schemas = [*(urn for urn in whole["schemas"] if urn != SYNCD_USER), SYNCD_USER]
    return orjson.dumps(whole | {"schemas": schemas, SYNCD_USER: own})


def group(stored: Stored, base_url: str, type: ResourceType, shown: Shown = Shown()) -> bytes:
    """A Group, with the members that were read."""
    spliced = _external_id(stored)
    if stored.members:
        members = as_shown(stored.members, type) if shown.all else stored.members  # else a projection takes it out
        spliced += b',"members":[%b]' % members
    return _finished(stored.document, spliced, stored, type, f"{base_url}/Groups/{stored.id}", shown)


def as_shown(members: bytes, type: ResourceType) -> bytes:
    """Members as they are shown by default; JSON objects with commas between."""
    if not type.on_request("members.display"):
        return members
    each_without = ({k: v for k, v in each.items() if k != "display"} for each in orjson.loads(b"[%b]" % members))
    return orjson.dumps([*each_without])[1:-1]


def around(stored: Stored, base_url: str, type: ResourceType) -> tuple[bytes, bytes] | None:
    """What stands before a group's members and what behind them, as all of it is shown by default; None: it is not the
    bytes that are stored."""
    if not _sent_as_stored(stored.document, type):
        return None
    front = stored.document[:-1] + _external_id(stored)
    return front, _meta(stored, type, f"{base_url}/Groups/{stored.id}")


def _external_id(stored: Stored) -> bytes:
    return b"" if stored.external_id is None else b',"externalId":' + orjson.dumps(stored.external_id)


def _finished(
    document: bytes, spliced: bytes, stored: Stored, resource_type: ResourceType, location: str, shown: Shown
) -> bytes:
    """`spliced`: members of the object, each with a comma before it."""
    whole = b"%b%b%b" % (document[:-1], spliced, _meta(stored, resource_type, location))
    if shown.whole:
        return orjson.dumps(redeclared(orjson.loads(whole), resource_type)) if resource_type.stale else whole
    if shown.all and _sent_as_stored(document, resource_type):
        return whole
    said = orjson.loads(whole)
    return projected(redeclared(said, resource_type) if resource_type.stale else said, shown, resource_type)


def _meta(stored: Stored, resource_type: ResourceType, location: str) -> bytes:
    """With the end of the object."""
    return b',"meta":{"resourceType":"%b","created":"%b","lastModified":"%b","location":%b,"version":"W/\\"%d\\""}}' % (
        resource_type.name.encode(),
        _instant(stored.created),
        _instant(stored.modified),
        orjson.dumps(location),
        stored.version,
    )


def _sent_as_stored(document: bytes, resource_type: ResourceType) -> bool:
    return not resource_type.hides and _all_known(resource_type, document[: document.index(b'"id":')])


@lru_cache(1024)
def _all_known(resource_type: ResourceType, head: bytes) -> bool:
    """Whether a document has only schemas that are configured; `head` is what stands before its id."""
    urns = orjson.loads(head[:-1] + b"}")["schemas"]
    return all(urn == resource_type.schema.id or resource_type.extension(urn) is not None for urn in urns)


def projected(document: dict[str, Any], shown: Shown, resource_type: ResourceType) -> bytes:
    of_type = (resource_type.schema.id, *(schema.id for schema, _ in resource_type.extensions))
    document["schemas"] = [urn for urn in document["schemas"] if urn in of_type]
    return orjson.dumps(project(document, shown.attributes, shown.excluded, resource_type, shown.visible, shown.sent))


def _instant(micros: int) -> bytes:
    seconds, rest = divmod(micros, 1_000_000)
    return b"%b.%06dZ" % (_second(seconds), rest)


@lru_cache(4096)  # many resources were written together
def _second(seconds: int) -> bytes:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()
