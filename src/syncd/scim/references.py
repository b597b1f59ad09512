"""A bulk request as operations, and the order to do them in (RFC 7644 sections 3.7 to 3.7.2): pure.

`bulkId:x` stands for the id of the resource that the operation with that bulkId makes or names: as a whole text anywhere in
`data`, at the end of a `$ref`, in quotes in the path of a PATCH, as the last part of an operation's `path`. Operations are
done in the client's order, but that one waits for those it refers to, and for earlier ones on the same resource that wait.
Those that refer to each other in a circle are one step, done together. What is wrong with one operation by itself is its
`fault`; what leaves no request to speak of is raised.
"""

from __future__ import annotations

import heapq
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from syncd.core.resource import shown
from syncd.errors import InvalidSyntax, InvalidValue, NotFound, SyncdError, TooLarge
from syncd.scim.messages import ABSENT, kind_of, member, parse_object, plain, require_schema

BULK_URN: Final = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
MAX_OPERATIONS: Final = 1000
METHODS: Final = ("POST", "PUT", "PATCH", "DELETE")
_PREFIX: Final = "bulkId:"
_QUOTED = re.compile(r'"bulkId:([^"\\]+)"')


@dataclass(frozen=True, slots=True)
class BulkOperation:
    """One operation, `index` in the request. `endpoint` is `/Users` or what else the path begins with, "" if it is no path;
    `id` None of a POST.

    `data` is JSON or ABSENT. `refers`: the bulkIds it needs.
    """

    index: int
    method: str = ""
    bulk_id: str | None = None
    version: str | None = None
    endpoint: str = ""
    id: str | None = None
    data: Any = ABSENT
    refers: frozenset[str] = frozenset()
    fault: SyncdError | None = None

    @property
    def makes(self) -> bool:
        return self.method == "POST" and self.bulk_id is not None and self.fault is None


@dataclass(frozen=True, slots=True)
class BulkRequest:
    """`fail_on_errors`: after how many errors the rest is left undone; None: never. `bulk_ids`: all that were given."""

    operations: tuple[BulkOperation, ...]
    fail_on_errors: int | None = None
    bulk_ids: frozenset[str] = frozenset()


def parse_bulk(body: bytes) -> BulkRequest:
    """The request in the body. Raises InvalidSyntax, InvalidValue for a bulkId given twice, TooLarge for too many."""
    message = parse_object(body)
    require_schema(message, BULK_URN)
    items = member(message, "Operations")
    if not isinstance(items, list):
        raise InvalidSyntax(f'"Operations" must be a list of operations, not {kind_of(items)}')
    if len(items) > MAX_OPERATIONS:
        raise TooLarge(f"{len(items)} operations in one bulk request, maxOperations is {MAX_OPERATIONS}: send several")
    limit = member(message, "failOnErrors")
    if limit is ABSENT or limit is None:
        limit = None
    elif not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
        raise InvalidValue(f'"failOnErrors" must be a number of errors such as 1, not {plain(limit)}')
    operations = tuple(_operation(item, index) for index, item in enumerate(items))
    seen: dict[str, int] = {}
    for each in operations:
        if each.bulk_id is not None and seen.setdefault(each.bulk_id, each.index) != each.index:
            first = f"Operations[{seen[each.bulk_id]}]"
            raise InvalidValue(
                f"Operations[{each.index}] has the bulkId {shown(each.bulk_id)} of {first}: give each its own"
            )
    # 0 errors accepted and 1 error to stop at are the same: the first one ends it.
    return BulkRequest(operations, None if limit is None else max(1, limit), frozenset(seen))


def _operation(item: Any, index: int) -> BulkOperation:
    at = f"Operations[{index}]"
    if not isinstance(item, dict):
        raise InvalidSyntax(f"{at} must be an object with method, path and data, not {kind_of(item)}")
    method, bulk_id, version = (member(item, name, at) for name in ("method", "bulkId", "version"))
    told = shown(method.upper()) if isinstance(method, str) else ""  # in the result, which has to name it (3.7.3)
    method = method.upper() if isinstance(method, str) else plain(method)
    bulk_id = None if bulk_id is ABSENT or bulk_id is None else bulk_id
    if bulk_id is not None and (not isinstance(bulk_id, str) or not bulk_id):
        raise InvalidSyntax(f"{at}.bulkId must be text, not {plain(bulk_id)}")
    endpoint, id = "", None
    try:
        endpoint, id = _path(member(item, "path", at))
        if method not in METHODS:
            raise InvalidSyntax(f"method must be one of {', '.join(METHODS)}, not {shown(method)}")
        if method == "POST" and bulk_id is None:
            raise InvalidSyntax("a POST without bulkId (RFC 7644 section 3.7): give it one of its own")
        if version is not ABSENT and version is not None and not isinstance(version, str):
            raise InvalidSyntax(f"version must be text, not {kind_of(version)}")
        data = ABSENT if method == "DELETE" else member(item, "data", at)
        if method != "DELETE" and not isinstance(data, dict):
            raise InvalidSyntax(f"data must be an object, as the body of a single {method}, not {kind_of(data)}")
    except SyncdError as exc:
        return BulkOperation(index, told, bulk_id, endpoint=endpoint, id=id, fault=exc)
    named = {found} if (found := _reference(id)) is not None else set()
    refers = frozenset(named | set(_references(data)))
    version = version if isinstance(version, str) and method != "POST" else None
    return BulkOperation(index, method, bulk_id, version, endpoint, id, data, refers)


def _path(path: Any) -> tuple[str, str | None]:
    if not isinstance(path, str):
        raise InvalidSyntax(f"path must be text such as /Users or /Users/ID, not {kind_of(path)}")
    if "?" in path or "#" in path:
        raise NotFound(f"path {shown(path)}: only /Users, /Groups and what is in them, without a query")
    parts = [unquote(part) for part in path.split("/") if part]
    if not 1 <= len(parts) <= 2 or any("\0" in part for part in parts):
        raise NotFound(f"path {shown(path)}: there is nothing; use /Users, /Groups or one of them with an id")
    return f"/{parts[0]}", parts[1] if len(parts) == 2 else None


# -- references --------------------------------------------------------------------------------------------------------------


def _reference(text: Any) -> str | None:
    return text[len(_PREFIX) :] if isinstance(text, str) and text.startswith(_PREFIX) and text != _PREFIX else None


def _references(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _references(inner, name.lower())
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner, key)
    elif isinstance(value, str) and _PREFIX in value:
        if (whole := _reference(value)) is not None:
            yield whole
        elif key == "$ref" and (last := _reference(value.rpartition("/")[2])) is not None:
            yield last
        elif key == "path":
            yield from _QUOTED.findall(value)


def resolved(value: Any, ids: Mapping[str, str], key: str = "") -> Any:
    """`value` with ids in place of references; `ids` has all of them."""
    if isinstance(value, dict):
        return {name: resolved(inner, ids, name.lower()) for name, inner in value.items()}
    if isinstance(value, list):
        return [resolved(inner, ids, key) for inner in value]
    if isinstance(value, str) and _PREFIX in value:
        if (whole := _reference(value)) is not None:
            return ids[whole]
        if key == "$ref" and (last := _reference(value.rpartition("/")[2])) is not None:
            return f"{value.rpartition('/')[0]}/{ids[last]}"
        if key == "path":
            return _QUOTED.sub(lambda found: f'"{ids[found[1]]}"', value)
    return value


# -- order -------------------------------------------------------------------------------------------------------------------


def steps(operations: Sequence[BulkOperation]) -> Iterator[tuple[int, ...]]:
    """Indexes of operations in the order to do them; several are a circle, to be done together."""
    makers = {each.bulk_id: each.index for each in operations if each.makes}
    needs: list[set[int]] = [set() for _ in operations]
    before_on: dict[tuple[str, str], int] = {}
    for each in operations:
        needs[each.index] = {makers[name] for name in each.refers if name in makers}
        if each.id is not None:
            before = before_on.get((each.endpoint, each.id))
            needs[each.index] |= set() if before is None else {before}
            before_on[each.endpoint, each.id] = each.index
    circles = _circles(needs)
    circle_of = {index: n for n, circle in enumerate(circles) for index in circle}
    waits = [{circle_of[need] for index in circle for need in needs[index]} - {n} for n, circle in enumerate(circles)]
    awaited: dict[int, list[int]] = defaultdict(list)
    for n, those in enumerate(waits):
        for other in those:
            awaited[other].append(n)
    left = [len(those) for those in waits]
    ready = [(circles[n][0], n) for n in range(len(circles)) if not left[n]]
    heapq.heapify(ready)
    while ready:
        _, n = heapq.heappop(ready)
        yield circles[n]
        for other in awaited[n]:
            left[other] -= 1
            if not left[other]:
                heapq.heappush(ready, (circles[other][0], other))


def _circles(needs: Sequence[Iterable[int]]) -> list[tuple[int, ...]]:
    """Strongly connected parts, each sorted; Tarjan's algorithm, iterative because a chain may be as long as the request."""
    order: dict[int, int] = {}
    low: dict[int, int] = {}
    path: list[int] = []
    on_path: set[int] = set()
    found: list[tuple[int, ...]] = []
    for start in range(len(needs)):
        if start in order:
            continue
        stack = [(start, iter(needs[start]))]
        order[start] = low[start] = len(order)
        path.append(start)
        on_path.add(start)
        while stack:
            index, following = stack[-1]
            for need in following:
                if need not in order:
                    order[need] = low[need] = len(order)
                    path.append(need)
                    on_path.add(need)
                    stack.append((need, iter(needs[need])))
                    break
                if need in on_path:
                    low[index] = min(low[index], order[need])
            else:
                stack.pop()
                if stack:
                    low[stack[-1][0]] = min(low[stack[-1][0]], low[index])
                if low[index] == order[index]:
                    at = path.index(index)
                    found.append(tuple(sorted(path[at:])))
                    on_path -= set(path[at:])
                    del path[at:]
    return found
