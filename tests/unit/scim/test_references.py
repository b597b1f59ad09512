"""References by bulkId: where they are seen, what stands in their place, and orders that recursion would not survive."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from syncd.scim.references import MAX_OPERATIONS, BulkOperation, parse_bulk, resolved, steps

BULK_URN = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"


def parsed(*operations: Any) -> tuple[BulkOperation, ...]:
    return parse_bulk(orjson.dumps({"schemas": [BULK_URN], "Operations": operations})).operations


def group(id: str, *members: str) -> dict[str, Any]:
    data = {"members": [{"value": f"bulkId:{each}"} for each in members]}
    return {"method": "POST", "path": "/Groups", "bulkId": id, "data": data}


@pytest.mark.parametrize(
    ("data", "refers", "after"),
    [
        ({"value": "bulkId:a"}, {"a"}, {"value": "1"}),
        ({"manager": "bulkId:a"}, {"a"}, {"manager": "1"}),
        ({"members": ["bulkId:a", "x"]}, {"a"}, {"members": ["1", "x"]}),
        ({"$ref": "../Users/bulkId:a"}, {"a"}, {"$ref": "../Users/1"}),
        ({"path": 'members[value eq "bulkId:a"]'}, {"a"}, {"path": 'members[value eq "1"]'}),
        ({"a": [{"b": {"c": "bulkId:b:c"}}]}, {"b:c"}, {"a": [{"b": {"c": "2"}}]}),
        ({"title": "see bulkId:a"}, set(), {"title": "see bulkId:a"}),
        ({"profileUrl": "x/bulkId:a"}, set(), {"profileUrl": "x/bulkId:a"}),
        ({"title": "bulkId:", "n": 1, "none": None}, set(), {"title": "bulkId:", "n": 1, "none": None}),
        ({"bulkId:a": "x"}, set(), {"bulkId:a": "x"}),
    ],
)
def test_what_is_a_reference(data: Any, refers: set[str], after: Any) -> None:
    [operation] = parsed({"method": "POST", "path": "/Users", "bulkId": "me", "data": data})
    assert operation.fault is None
    assert operation.refers == refers
    assert resolved(data, {"a": "1", "b:c": "2"}) == after


def test_the_path_of_an_operation() -> None:
    found = parsed(
        {"method": "delete", "path": "/Users/bulkId:a"},
        {"Method": "DELETE", "Path": "Users//x%2Fy/"},
        {"method": "DELETE", "path": "/Users/bulkId%3Aa"},
    )
    assert [(each.endpoint, each.id, set(each.refers)) for each in found] == [
        ("/Users", "bulkId:a", {"a"}),
        ("/Users", "x/y", set()),
        ("/Users", "bulkId:a", {"a"}),
    ]


def test_chains_and_circles_as_long_as_a_request() -> None:
    n = MAX_OPERATIONS
    chain = parsed(*(group(f"{i}", f"{i + 1}") for i in range(n - 1)), group(f"{n - 1}"))
    assert list(steps(chain)) == [(index,) for index in reversed(range(n))]
    circle = parsed(*(group(f"{i}", f"{(i + 1) % n}") for i in range(n)))
    assert list(steps(circle)) == [tuple(range(n))]


def test_others_keep_their_order() -> None:
    operations = parsed(
        group("a", "late"),
        {"method": "DELETE", "path": "/Users/1"},
        {"method": "PATCH", "path": "/Groups/2", "data": {"value": "bulkId:late"}},
        {"method": "PUT", "path": "/Groups/2", "data": {}},
        group("late"),
        {"method": "DELETE", "path": "/Groups/2"},
    )
    assert list(steps(operations)) == [(1,), (4,), (0,), (2,), (3,), (5,)]
