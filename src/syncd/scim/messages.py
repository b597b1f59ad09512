"""SCIM request bodies and queries in, response envelopes out (RFC 7644 sections 3.4, 3.5, 3.12).

A body is bytes until it stands here: valid JSON, an object, not nested without end, with the message's own URN.
What a message says about attributes is judged later, by the schema. Unknown query parameters are ignored (3.4.2, last
paragraph), unknown members of an envelope too. Stored resources are spliced into lists as the bytes they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, unquote_to_bytes

import orjson

from syncd.core.cursor import InvalidCount
from syncd.core.quick import changed, quick
from syncd.core.resource import shown
from syncd.errors import InvalidFilter, InvalidSyntax, InvalidValue, SyncdError, TooLarge

PATCH_URN: Final = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
SEARCH_URN: Final = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"
LIST_URN: Final = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
_LIST_URN: Final = LIST_URN.encode()
ERROR_URN: Final = "urn:ietf:params:scim:api:messages:2.0:Error"

MAX_DEPTH: Final = 16  # a SCIM resource needs 4, a PATCH request 6
MAX_OPERATIONS: Final = 1000  # in one PATCH; a value list within an operation does not count
_LARGEST: Final = 2**53  # above any real offset, below what a database's integer holds

_NO_UTF_8 = re.compile("[\udc80-\udcff]")  # what `surrogateescape` makes of it
_INTEGER = re.compile(r"\s*([+-]?[0-9]{1,100})\s*")


class Absent(Enum):
    """`value` was not sent, which is not the same as `null`."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT


@quick
@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a PATCH. `value` is JSON or ABSENT; `index` is the client's own count, 0-based, for messages."""

    op: str
    path: str | None = None
    value: Any = ABSENT
    index: int = 0

    @property
    def kind(self) -> str:
        """`add`, `remove` or `replace`: Entra sends `Add` (RFC 7644 3.5.2 has lower case)."""
        return self.op.lower()


@quick
@dataclass(frozen=True, slots=True)
class ListQuery:
    """A query for a list (RFC 7644 3.4.2). `count` None: as many as the server gives; 0: only the total.

    `cursor` None: paged by number; "": the first page by cursor (RFC 9865). `visible`: attributes beyond which nothing is
    shown, whatever is asked for or always returned; None: no such limit.
    """

    filter: str | None = None
    start_index: int = 1
    count: int | None = None
    attributes: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    sort_by: str | None = None
    sort_order: Literal["ascending", "descending"] = "ascending"
    cursor: str | None = None
    visible: frozenset[str] | None = None


# ---------------------------------------------------------------- bodies in


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object of a body, for the dialects to have their turn. Raises InvalidSyntax."""
    if not body.strip():
        raise InvalidSyntax("the request has no body: send a JSON object")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise InvalidSyntax(f"the body is not valid JSON: {exc}") from None
    if not isinstance(document, dict):
        raise InvalidSyntax(f"the body must be a JSON object, not {kind_of(document)}")
    names = None
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH:  # what has fewer brackets is not as deep
        names = _names_within(document)
    if orjson.dumps(document) != body:  # else nothing of it was lost
        names = _names_within(document) if names is None else names
        if len(_NAME.findall(body)) != names:  # or a text holds what looks like one
            _refuse_names_given_twice(body)
    return document


def require_schema(document: Mapping[str, Any], urn: str) -> None:
    """Raises InvalidSyntax unless `schemas` holds `urn`, in any case (RFC 7643 section 3)."""
    if document.keys() <= _AS_THE_RFC_HAS_THEM and document.get("schemas") == [urn]:
        return
    schemas = _schemas(document)
    if urn.lower() not in {item.lower() for item in schemas}:
        raise InvalidSyntax(f'"schemas" is {plain(schemas)}: add "{urn}"')


def patch_operations(message: Mapping[str, Any]) -> tuple[Operation, ...]:
    """The operations of a PATCH (RFC 7644 3.5.2); none are no change. Raises InvalidSyntax, TooLarge."""
    require_schema(message, PATCH_URN)
    operations = member(message, "Operations")
    if not isinstance(operations, list):
        raise InvalidSyntax(f'"Operations" must be a list of operations, not {kind_of(operations)}')
    if len(operations) > MAX_OPERATIONS:
        raise TooLarge(
            f"{len(operations)} operations in one PATCH, the limit is {MAX_OPERATIONS}: send several requests"
        )
    return tuple(_operation(item, index) for index, item in enumerate(operations))


_OPS: Final = ("add", "remove", "replace")


def _operation(item: Any, index: int) -> Operation:
    at = f"Operations[{index}]"
    if not isinstance(item, dict):
        raise InvalidSyntax(f"{at} must be an object with op, path and value, not {kind_of(item)}")
    op, path = member(item, "op", at), member(item, "path", at)
    if not isinstance(op, str) or op.lower() not in _OPS:
        raise InvalidSyntax(f'{at}.op must be "add", "remove" or "replace", not {plain(op)}')
    if path is ABSENT or path is None or path == "":
        path = None
    elif not isinstance(path, str):
        raise InvalidSyntax(f"{at}.path must be text, not {kind_of(path)}")
    return Operation(op, path, member(item, "value", at), index)


def parse_search_request(body: bytes) -> ListQuery:
    """The query in the body of a POST to `/.search` (RFC 7644 3.4.3). Raises InvalidSyntax, InvalidValue."""
    message = parse_object(body)
    require_schema(message, SEARCH_URN)
    pairs: list[tuple[str, str]] = []
    for name, value in message.items():
        if name.lower() in _LISTS and isinstance(value, list):
            if not all(isinstance(item, str) for item in value):
                raise InvalidSyntax(f'"{name}" must be a list of attribute names')
            pairs.extend((name, item) for item in value)
        elif isinstance(value, str):
            pairs.append((name, value))
        elif isinstance(value, int) and not isinstance(value, bool):
            pairs.append((name, str(value)))
        elif name.lower() in _SINGLE | _LISTS and value is not None:
            form = "a whole number" if name.lower() in _NUMBERS else "text"
            given = value if isinstance(value, float) else kind_of(value)
            raise InvalidSyntax(f'"{name}" in a search request must be {form}, not {given}')
    return parse_query(pairs)


# ---------------------------------------------------------------- queries in

_LISTS = frozenset({"attributes", "excludedattributes"})
_NUMBERS = frozenset({"startindex", "count"})
_SINGLE = _NUMBERS | {"filter", "sortby", "sortorder", "cursor"}


MAX_NAMES: Final = 500  # of attributes that an answer is to show; each is looked up for each resource of a page
_REMEMBERED: Final = 500  # bytes of a query that is kept as it was read: programs ask the same again and again


def parse_query_string(raw: bytes) -> ListQuery:
    """`parse_query` of what stands behind the question mark. Its filter is another one each time, the rest mostly is not."""
    if len(raw) > _REMEMBERED or not raw.isascii():
        return _read(raw)
    parts = raw.split(b"&")
    filters = [part for part in parts if part.startswith(b"filter=")]
    if len(filters) != 1:
        return _kept(raw)
    try:
        text = _decoded(filters[0][len(b"filter=") :])
    except UnicodeDecodeError:
        return _read(raw)
    if not text.strip():
        return _read(raw)
    parts.remove(filters[0])
    with suppress(SyncdError):  # whoever reads the whole says what is wrong with it
        rest = _kept(b"&".join(parts))
        if rest.filter is None:
            return changed(rest, filter=text)
    return _read(raw)


def _read(raw: bytes) -> ListQuery:
    pairs = parse_qsl(raw.decode("latin-1"), keep_blank_values=True, errors="surrogateescape")
    for name, value in pairs:
        if not value.isascii() and name.lower() in _SINGLE | _LISTS and _NO_UTF_8.search(value):
            error = InvalidFilter if name.lower() == "filter" else InvalidValue
            raise error(f"{name} is not in UTF-8 before it is percent-encoded: a letter such as \u00fc is %C3%BC")
    return parse_query(pairs)


_kept = lru_cache(2048)(_read)


def _decoded(value: bytes) -> str:
    """One value of a query, as `urllib.parse.parse_qsl` decodes it."""
    plain = value.replace(b"+", b" ").replace(b"%20", b" ").replace(b"%22", b'"')
    return (plain if b"%" not in plain else unquote_to_bytes(value.replace(b"+", b" "))).decode()


def parse_query(parameters: Iterable[tuple[str, str]]) -> ListQuery:
    """The query parameters that SCIM knows, the others ignored (Entra carries flags such as `aadOptscim062020` along).

    startIndex below 1 is 1, a negative count is 0 (RFC 7644 3.4.2.4). Raises InvalidValue, InvalidFilter.
    """
    single: dict[str, str] = {}
    lists: dict[str, list[str]] = {name: [] for name in _LISTS}
    for name, value in parameters:
        key = name.lower()
        if key in _LISTS:
            lists[key].extend(part for part in (part.strip() for part in value.split(",")) if part)
        elif key in _SINGLE and single.setdefault(key, value) != value:
            raise InvalidValue(f"{name} was given twice: give it once")
    if lists["attributes"] and lists["excludedattributes"]:
        raise InvalidValue("attributes and excludedAttributes exclude each other (RFC 7644 3.4.2.5): give only one")
    if "filter" in single and not single["filter"].strip():
        raise InvalidFilter('filter is empty: leave it out, or give a condition such as userName eq "jdoe"')
    order = single.get("sortorder", "ascending").strip().lower()
    if order not in ("ascending", "descending"):
        raise InvalidValue(f"sortOrder must be ascending or descending, not {shown(order)}")
    return ListQuery(
        filter=single.get("filter"),
        start_index=max(1, _integer("startIndex", single.get("startindex"), 1)),
        count=_count(single),
        attributes=_names("attributes", lists["attributes"]),
        excluded=_names("excludedAttributes", lists["excludedattributes"]),
        sort_by=single.get("sortby", "").strip() or None,
        sort_order="descending" if order == "descending" else "ascending",
        cursor=single.get("cursor"),
    )


def _names(parameter: str, given: list[str]) -> tuple[str, ...]:
    if len(given) > MAX_NAMES:
        given = list(dict.fromkeys(map(str.lower, given)))
        if len(given) > MAX_NAMES:
            raise InvalidValue(f"{parameter} names {len(given)} attributes: give at most {MAX_NAMES}")
    return tuple(given)


def _count(single: Mapping[str, str]) -> int | None:
    """Below 0 is 0, with a cursor too (RFC 9865 section 2); what is no number is an error of its own there (2.1)."""
    if "count" not in single:
        return None
    try:
        return max(0, _integer("count", single["count"], 0))
    except InvalidValue as exc:
        raise InvalidCount(str(exc)) if "cursor" in single else exc from exc


def _integer(name: str, text: str | None, default: int) -> int:
    if text is None:
        return default
    match = _INTEGER.fullmatch(text)
    if match is None:
        raise InvalidValue(f"{name} must be a whole number, not {shown(text)}")
    return min(int(match[1]), _LARGEST)


# ---------------------------------------------------------------- envelopes out


def error_body(status: int, detail: str, scim_type: str | None = None) -> bytes:
    """The Error message (RFC 7644 3.12). `status` goes out as a string; `scimType` only where there is one."""
    body: dict[str, Any] = {"schemas": [ERROR_URN], "status": str(status)}
    if scim_type is not None:
        body["scimType"] = scim_type
    return orjson.dumps(body | {"detail": detail.encode("utf-8", "replace").decode()})


def list_response(
    total: int, start_index: int | None, resources: Iterable[bytes], next_cursor: str | None = None
) -> bytes:
    """The ListResponse (RFC 7644 3.4.2). `total` counts every match of every page; `resources` are stored documents.

    `start_index` None: paged by cursor, of which the last page has none (RFC 9865 section 2).
    """
    items = tuple(resources)
    place = b"" if start_index is None else b'"startIndex":%d,' % start_index
    following = b"" if next_cursor is None else b'"nextCursor":"%s",' % next_cursor.encode()
    return b'{"schemas":["%s"],"totalResults":%d,%s"itemsPerPage":%d,%s"Resources":[%s]}' % (
        _LIST_URN,
        total,
        place,
        len(items),
        following,
        b",".join(items),
    )


# ---------------------------------------------------------------- what every body has in common


_NAME: Final = re.compile(rb'"[ \t\r\n]*:')


def _names_within(document: dict[str, Any]) -> int:
    """How many names its objects have. Raises InvalidSyntax for what is nested without end."""
    found, level = 0, [document]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for node in level:
            children: Iterable[Any] = node
            if node.__class__ is dict:
                found += len(node)
                children = node.values()
            inner += [child for child in children if child.__class__ is dict or child.__class__ is list]
        if not inner:
            return found
        level = inner
    raise InvalidSyntax(f"the body is nested deeper than {MAX_DEPTH} levels: no SCIM message is")


def _refuse_names_given_twice(body: bytes) -> None:
    """Which of two values counts is for every reader of JSON another one (RFC 8259 section 4), so neither does."""

    def once(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise InvalidSyntax(f"the body has {shown(name)} twice in one object: send it once")
            seen.add(name)

    json.loads(body, object_pairs_hook=once)


_AS_THE_RFC_HAS_THEM: Final = frozenset({"schemas", "Operations", "op", "path", "value"})


def member(message: Mapping[str, Any], name: str, at: str = "the body") -> Any:
    """A member of an envelope in any case (some clients send `operations`), or ABSENT."""
    if message.keys() <= _AS_THE_RFC_HAS_THEM:
        return message.get(name, ABSENT)
    found = [key for key in message if key.lower() == name.lower()]
    if len(found) > 1:
        raise InvalidSyntax(f'{at} has "{name}" twice, as {" and ".join(found)}: send one')
    return message[found[0]] if found else ABSENT


def _schemas(message: Mapping[str, Any]) -> list[str]:
    schemas = member(message, "schemas")
    if not isinstance(schemas, list) or not schemas or not all(isinstance(item, str) for item in schemas):
        raise InvalidSyntax(f'"schemas" must be a non-empty list of URNs (RFC 7643 section 3), not {plain(schemas)}')
    seen: set[str] = set()
    for item in schemas:
        if item.lower() in seen:
            raise InvalidSyntax(f'"schemas" holds {shown(item)} twice: send it once')
        seen.add(item.lower())
    return schemas


_KINDS = {dict: "an object", list: "a list", str: "text", bool: "a boolean", int: "a number", float: "a number"}


def kind_of(value: Any) -> str:
    return "missing" if value is ABSENT else _KINDS.get(type(value), "null")


def plain(value: Any) -> str:
    """A JSON value, short enough for a message."""
    return "missing" if value is ABSENT else shown(orjson.dumps(value).decode())
