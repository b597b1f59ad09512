"""Bulk requests as a law: any graph of references comes out as it was stated; without forward references a bulk request is
its operations one by one.

One database for all examples: bulk requests go to one workspace and single requests to another, under names of their own.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.scim.conftest import GROUP_URN, PATCH_URN, USER_URN, Service
from syncd.scim.references import BulkOperation, resolved, steps

BULK_URN = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
NAMES = [f"n{n}" for n in range(6)]
Op = dict[str, Any]

# Every example is a dozen requests: half of what the profile asks for.
quick = settings(
    max_examples=max(5, settings().max_examples // 2), deadline=None, suppress_health_check=list(HealthCheck)
)
examples = itertools.count(1)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with tempfile.TemporaryDirectory() as folder:
        made = Service(f"sqlite:///{folder}/syncd.db")
        yield made
        made.close()


@pytest.fixture(scope="module")
def other(service: Service) -> str:
    return service.make_token(workspace="other")


# -- the order -----------------------------------------------------------------------------------------------------------


@st.composite
def graphs(draw: st.DrawFn) -> list[BulkOperation]:
    n = draw(st.integers(0, 12))
    operations = []
    for index in range(n):
        makes = draw(st.booleans())
        refers = frozenset(map(str, draw(st.sets(st.integers(0, 13), max_size=3))))
        on = None if makes else draw(st.sampled_from(["a", "b", "bulkId:1"]))
        operations.append(
            BulkOperation(
                index, "POST" if makes else "PATCH", str(index) if makes else None, None, "/Groups", on, {}, refers
            )
        )
    return operations


@given(graphs())
def test_each_is_done_once_after_what_it_needs(operations: list[BulkOperation]) -> None:
    order = list(steps(operations))
    assert sorted(index for step in order for index in step) == list(range(len(operations)))
    makers = {each.bulk_id: each.index for each in operations if each.makes}
    at = {index: n for n, step in enumerate(order) for index in step}
    for each in operations:
        assert all(at[makers[name]] <= at[each.index] for name in each.refers if name in makers)
        for before in operations[: each.index]:
            if each.id is not None and before.id == each.id:
                assert at[before.index] < at[each.index], "what is asked of one resource stays in order"
    for step in order:
        assert len(step) == 1 or all(_reaches(operations, makers, a, b) for a in step for b in step)
    if all(makers[name] < each.index for each in operations for name in each.refers if name in makers):
        assert order == [(index,) for index in range(len(operations))]


def _reaches(operations: list[BulkOperation], makers: dict[str | None, int], start: int, end: int) -> bool:
    seen, todo = set(), [start]
    while todo:
        for name in operations[todo.pop()].refers:
            if name in makers and makers[name] not in seen:
                seen.add(makers[name])
                todo.append(makers[name])
    return end in seen or start == end


# -- what comes of it ----------------------------------------------------------------------------------------------------


def _user(name: str, bulk_id: str, manager: str | None) -> Op:
    data: dict[str, Any] = {"schemas": [USER_URN], "userName": name}
    if manager is not None:
        data |= {"schemas": [USER_URN, ENTERPRISE], ENTERPRISE: {"manager": {"value": f"bulkId:{manager}"}}}
    return {"method": "POST", "path": "/Users", "bulkId": bulk_id, "data": data}


def _group(name: str, bulk_id: str, members: list[str]) -> Op:
    data = {"schemas": [GROUP_URN], "displayName": name, "members": [{"value": f"bulkId:{each}"} for each in members]}
    return {"method": "POST", "path": "/Groups", "bulkId": bulk_id, "data": data}


@st.composite
def creations(draw: st.DrawFn) -> list[Op]:
    """Users and groups that refer to any others, themselves included."""
    ids = draw(st.permutations(NAMES[: draw(st.integers(1, len(NAMES)))]))
    users = draw(st.sets(st.sampled_from(ids), max_size=len(ids) // 2))
    found = []
    for id in ids:
        if id in users:
            found.append(_user(id, id, draw(st.none() | st.sampled_from(sorted(users)))))
        else:
            members = draw(st.lists(st.sampled_from(ids), unique=True, max_size=3))
            faulty = draw(st.integers(0, 9)) == 0  # else most graphs would fail for that
            found.append(_group(id, id, [each for each in members if each != id or faulty]))
    return found


@quick
@given(creations())
def test_any_graph_comes_out_as_it_was_stated(service: Service, operations: list[Op]) -> None:
    prefix = f"x{next(examples)}-"
    results = _bulk(service, [_renamed(each, prefix) for each in operations])
    refers = {each["bulkId"]: _stated(each) for each in operations}
    groups = {each["bulkId"] for each in operations if each["path"] == "/Groups"}
    own = {id for id in groups if id in refers[id]}  # no group is its own member
    failed = set(own)
    while more := {id for id in refers if id not in failed and refers[id] & failed}:
        failed |= more
    for each in results:
        expected = "201" if each["bulkId"] not in failed else "400" if each["bulkId"] in own else "409"
        # Of a circle with two faults the first is named.
        assert each["status"] == expected or (expected == "400" and each["status"] == "409"), each
    assert _view(service, "", prefix) == {
        f"{prefix}{id}": {f"{prefix}{name}" for name in refers[id]} for id in refers if id not in failed
    }


@st.composite
def histories(draw: st.DrawFn) -> list[Op]:
    """Operations that refer only to earlier ones; names may be taken, and what is referred to may be gone or never made."""
    found: list[Op] = []
    made: list[tuple[str, str]] = []
    for n in range(draw(st.integers(1, 8))):
        kind = draw(st.sampled_from(["user", "group", "add", "remove", "put", "delete"]))
        known = [id for id, _ in made]
        some = st.lists(st.sampled_from(known), unique=True, max_size=3) if known else st.just([])
        name, id = draw(st.sampled_from(NAMES)), f"b{n}"
        teams = [each for each, of in made if of == "/Groups"]
        if kind == "user":
            users = [each for each, of in made if of == "/Users"]
            found.append(_user(name, id, draw(st.none() | st.sampled_from(users)) if users else None))
            made.append((id, "/Users"))
        elif kind == "group" or not made:
            found.append(_group(name, id, draw(some)))
            made.append((id, "/Groups"))
        elif kind == "delete":
            on, of = draw(st.sampled_from(made))
            found.append({"method": "DELETE", "path": f"{of}/bulkId:{on}"})
        elif teams:
            on = draw(st.sampled_from(teams))
            if kind == "put":
                found.append(
                    {"method": "PUT", "path": f"/Groups/bulkId:{on}", "data": _group(name, id, draw(some))["data"]}
                )
                continue
            member = draw(st.sampled_from(known))
            value = f"bulkId:{member}"
            change = {"op": "add", "path": "members", "value": [{"value": value}]}
            if kind == "remove":
                change = {"op": "remove", "path": f'members[value eq "{value}"]'}
            data = {"schemas": [PATCH_URN], "Operations": [change]}
            found.append({"method": "PATCH", "path": f"/Groups/bulkId:{on}", "data": data})
    return found


@quick
@given(histories())
def test_without_forward_references_it_is_its_operations_one_by_one(
    service: Service, other: str, operations: list[Op]
) -> None:
    prefix = f"y{next(examples)}-"
    operations = [_renamed(each, prefix) for each in operations]
    results = _bulk(service, operations)
    ids: dict[str, str] = {}
    for each, result in zip(operations, results, strict=True):
        status = "409"
        if _referred(each) <= ids.keys():
            endpoint, _, id = each["path"].lstrip("/").partition("/")
            path = f"{endpoint}/{resolved(id, ids)}" if id else endpoint
            answer = service.ask(each["method"], path, resolved(each.get("data"), ids), other)
            status = str(answer.status_code)
            if "bulkId" in each and answer.status_code == 201:
                ids[each["bulkId"]] = answer.json()["id"]
            assert answer.headers.get("etag") == result.get("version")
        assert result["status"] == status, (each, result)
    assert _view(service, "", prefix) == _view(service, other, prefix)


def _bulk(service: Service, operations: list[Op]) -> list[dict[str, Any]]:
    answer = service.ask("POST", "Bulk", {"schemas": [BULK_URN], "Operations": operations})
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()["Operations"]
    assert [each.get("bulkId") for each in results] == [each.get("bulkId") for each in operations]
    return results


def _renamed(operation: Op, prefix: str) -> Op:
    data = dict(operation.get("data") or {})
    for name in {"userName", "displayName"} & data.keys():
        data[name] = prefix + data[name]
    return operation | ({"data": data} if data else {})


def _stated(operation: Op) -> set[str]:
    return {name.removeprefix("bulkId:") for name in _texts(operation["data"]) if name.startswith("bulkId:")}


def _referred(operation: Op) -> set[str]:
    found = [*_texts(operation.get("data")), operation["path"]]
    return {text.partition("bulkId:")[2].rstrip('"]') for text in found if "bulkId:" in text}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def _view(service: Service, token: str, prefix: str) -> dict[str, set[str]]:
    """Everything of one example: its name, and the names of its members or manager."""
    found: dict[str, dict[str, Any]] = {}
    for path, name in (("Users", "userName"), ("Groups", "displayName")):
        answer = service.ask("GET", path, token=token, filter=f'{name} sw "{prefix}"', count=100).json()
        found |= {each["id"]: each for each in answer["Resources"]}
    names = {id: each.get("userName") or each["displayName"] for id, each in found.items()}
    return {names[id]: {names.get(other, "gone") for other in _others(each)} for id, each in found.items()}


def _others(resource: dict[str, Any]) -> list[str]:
    manager = resource.get(ENTERPRISE, {}).get("manager")
    return [each["value"] for each in resource.get("members", [])] + ([manager["value"]] if manager else [])
