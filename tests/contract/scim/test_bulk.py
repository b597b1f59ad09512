"""`POST /Bulk` on both engines: references in any direction, one transaction for each operation, limits, permissions."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from syncd.errors import DatabaseUnavailable
from syncd.scim.bulk import Job
from syncd.scim.discovery import MAX_BULK_BYTES
from syncd.store import tables as t

from .conftest import BASE, GROUP_URN, PATCH_URN, USER_URN, Service

BULK_URN = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
Op = dict[str, Any]


def person(bulk_id: str, name: str | None = None, manager: str | None = None, **more: Any) -> Op:
    data = {"schemas": [USER_URN], "userName": name or bulk_id, **more}
    if manager:
        data[ENTERPRISE] = {"manager": {"value": manager}}
        data["schemas"] = [USER_URN, ENTERPRISE]
    return {"method": "POST", "path": "/Users", "bulkId": bulk_id, "data": data}


def team(bulk_id: str, *members: str, name: str | None = None) -> Op:
    data = {"schemas": [GROUP_URN], "displayName": name or bulk_id, "members": [{"value": each} for each in members]}
    return {"method": "POST", "path": "/Groups", "bulkId": bulk_id, "data": data}


def patch(path: str, *operations: Any, **more: Any) -> Op:
    return {"method": "PATCH", "path": path, "data": {"schemas": [PATCH_URN], "Operations": list(operations)}, **more}


def send(service: Service, *operations: Any, **more: Any) -> httpx.Response:
    ask = {name: more.pop(name) for name in ("token", "headers") if name in more}
    return service.ask("POST", "Bulk", {"schemas": [BULK_URN], "Operations": list(operations), **more}, **ask)


def bulk(service: Service, *operations: Any, **more: Any) -> list[dict[str, Any]]:
    answer = send(service, *operations, **more)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:BulkResponse"]
    for each in body["Operations"]:
        failed = int(each["status"]) >= 400
        assert failed == ("response" in each)
        assert failed or each["location"].startswith(f"{BASE}/scim/v2/")
        assert not (failed and each.get("method") == "POST" and "location" in each), "RFC 7644 section 3.7.3"
        if failed:
            assert each["response"]["status"] == each["status"]
            assert each["response"]["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:Error"]
    return list(body["Operations"])


def statuses(results: list[dict[str, Any]]) -> list[str]:
    return [each["status"] for each in results]


def id_of(result: dict[str, Any]) -> str:
    return str(result["location"]).rpartition("/")[2]


def members(service: Service, id: str) -> set[str]:
    return {each["value"] for each in service.ask("GET", f"Groups/{id}").json().get("members", [])}


def test_all_four_methods_and_what_each_is_answered_with(service: Service) -> None:
    bob, dave, eve = (service.user(name) for name in ("bob", "dave", "eve"))
    results = bulk(
        service,
        person("qwerty", "alice"),
        {
            "method": "put",
            "path": f"Users/{bob['id']}/",
            "version": 'W/"1"',
            "data": {"schemas": [USER_URN], "userName": "bob", "title": "chair"},
        },
        patch(f"/Users/{dave['id']}", {"op": "add", "path": "title", "value": "clerk"}, version='W/"1"'),
        {"method": "DELETE", "path": f"/Users/{eve['id']}", "version": 'W/"1"', "bulkId": "mine"},
    )
    alice = id_of(results[0])
    users = f"{BASE}/scim/v2/Users"
    assert results == [
        {"method": "POST", "bulkId": "qwerty", "location": f"{users}/{alice}", "version": 'W/"1"', "status": "201"},
        {"method": "PUT", "location": f"{users}/{bob['id']}", "version": 'W/"2"', "status": "200"},
        {"method": "PATCH", "location": f"{users}/{dave['id']}", "version": 'W/"2"', "status": "200"},
        {"method": "DELETE", "bulkId": "mine", "location": f"{users}/{eve['id']}", "status": "204"},
    ]
    assert service.names() == ["bob", "dave", "alice"]
    assert service.ask("GET", f"Users/{bob['id']}").json()["title"] == "chair"


def test_a_reference_back_forward_in_a_path_in_a_filter_and_in_an_extension(service: Service) -> None:
    results = bulk(
        service,
        patch("/Groups/bulkId:g", {"op": "add", "path": "members", "value": [{"value": "bulkId:late"}]}),
        team("g", "bulkId:u"),
        patch("/Groups/bulkId:g", {"op": "remove", "path": 'members[value eq "bulkId:u"]'}),
        person("u", manager="bulkId:late"),
        person("late"),
        patch("/Users/bulkId:u", {"op": "add", "value": {"title": "chair"}}),
    )
    assert statuses(results) == ["204", "201", "204", "201", "201", "200"]
    assert [each.get("bulkId") for each in results] == [None, "g", None, "u", "late", None]
    group, user, late = (id_of(results[n]) for n in (1, 3, 4))
    assert members(service, group) == {late}
    found = service.ask("GET", f"Users/{user}").json()
    assert found[ENTERPRISE]["manager"]["value"] == late
    assert found["title"] == "chair"


def test_groups_that_are_each_others_members_and_people_who_lead_each_other(service: Service) -> None:
    """RFC 7644 section 3.7.1: servers must try; most refuse."""
    a, b, x, y = bulk(
        service, team("a", "bulkId:b"), team("b", "bulkId:a"), person("x", manager="bulkId:y"), person("y", manager="bulkId:x")
    )  # fmt: skip
    assert statuses([a, b, x, y]) == ["201"] * 4
    assert members(service, id_of(a)) == {id_of(b)}
    assert members(service, id_of(b)) == {id_of(a)}
    assert service.ask("GET", f"Users/{id_of(x)}").json()[ENTERPRISE]["manager"]["value"] == id_of(y)
    assert service.ask("GET", f"Users/{id_of(y)}").json()[ENTERPRISE]["manager"]["value"] == id_of(x)
    for each, kind in ((a, "Groups"), (x, "Users")):
        stored = service.ask("GET", f"{kind}/{id_of(each)}")
        assert stored.headers["etag"] == each["version"]


def test_a_circle_through_other_groups_with_people_in_it_and_things_that_wait_for_it(service: Service) -> None:
    ann = service.user("ann")
    results = bulk(
        service,
        patch("/Groups/bulkId:b", {"op": "add", "path": "members", "value": [{"value": "bulkId:u"}]}),
        team("a", "bulkId:b", ann["id"]),
        team("b", "bulkId:c", "bulkId:x"),
        team("c", "bulkId:a"),
        person("x"),
        person("u", manager="bulkId:u"),
        team("top", "bulkId:a", "bulkId:u"),
    )
    assert statuses(results) == ["204", *["201"] * 6]
    _, a, b, c, x, u, top = (id_of(each) for each in results)
    assert [members(service, each) for each in (a, b, c, top)] == [{b, ann["id"]}, {c, x, u}, {a}, {a, u}]
    assert service.ask("GET", f"Users/{u}").json()[ENTERPRISE]["manager"]["value"] == u


def test_a_circle_is_made_whole_or_not_at_all(service: Service) -> None:
    service.group("taken")
    results = bulk(
        service, team("a", "bulkId:b"), team("b", "bulkId:a", name="taken"), team("up", "bulkId:a"), person("p")
    )
    assert statuses(results) == ["409", "409", "409", "201"]
    assert service.names(path="Groups") == ["taken"]
    results = bulk(service, team("a", "bulkId:b"), team("b", "bulkId:a", "nobody"))
    assert statuses(results) == ["409", "400"]
    assert "Operations[1]" in results[0]["response"]["detail"]
    assert "nobody" in results[1]["response"]["detail"]
    assert service.names(path="Groups") == ["taken"]
    assert statuses(bulk(service, team("a", "bulkId:a"))) == ["400"], "no group is its own member"


def test_who_is_adopted_in_a_circle_keeps_her_id(service: Service) -> None:
    boss = service.made_by("corp", "boss", userType="Guest")
    entra = service.make_token("entra")
    x, y = bulk(service, person("x", "boss", "bulkId:y"), person("y", manager="bulkId:x"), token=entra)
    assert id_of(x) == boss
    assert service.ask("GET", f"Users/{id_of(y)}").json()[ENTERPRISE]["manager"]["value"] == boss


def test_a_reference_to_nothing_and_to_what_failed(service: Service) -> None:
    service.user("taken")
    results = bulk(
        service,
        person("a", "taken"),
        team("g", "bulkId:a"),
        patch("/Groups/bulkId:g", {"op": "replace", "path": "displayName", "value": "h"}),
        team("h", "bulkId:nobody"),
        {"method": "DELETE", "path": "/Users/bulkId:nobody"},
        person("b"),
    )
    assert statuses(results) == ["409", "409", "409", "400", "400", "201"]
    assert results[0]["response"]["scimType"] == "uniqueness"
    assert "nobody" in results[3]["response"]["detail"]
    assert service.names(path="Groups") == []


def test_fail_on_errors(service: Service) -> None:
    bad = person("bad", "taken")
    service.user("taken")
    for limit, done in ((None, 4), (3, 4), (2, 3), (1, 1), (0, 1)):
        operations = [
            {**bad, "bulkId": "1"},
            person("p", f"p{limit}"),
            {**bad, "bulkId": "2"},
            person("q", f"q{limit}"),
        ]
        results = bulk(service, *operations, failOnErrors=limit)
        assert statuses(results) == ["409", "201", "409", "201"][:done]


def test_each_operation_needs_its_own_permission(service: Service) -> None:
    ann = service.user("ann")
    service.group("staff")
    token = service.make_token(allow=("users:read", "users:create"))
    results = bulk(
        service,
        person("p"),
        team("g", "bulkId:p"),
        {"method": "DELETE", "path": f"/Users/{ann['id']}"},
        team("a", "bulkId:b"),
        team("b", "bulkId:a"),
        token=token,
    )
    assert statuses(results) == ["201", "403", "403", "403", "403"]
    assert send(service, person("p2"), token=None).status_code == 401
    assert service.names() == ["ann", "p"]


@pytest.mark.parametrize(
    ("operation", "status"),
    [
        ({"method": "GET", "path": "/Users"}, "400"),
        ({"method": 7, "path": "/Users"}, "400"),
        ({"path": "/Users"}, "400"),
        ({"method": "POST", "bulkId": "1", "data": {}}, "400"),
        ({"method": "POST", "path": "/Users", "data": {}}, "400"),
        ({"method": "POST", "path": "/Users", "bulkId": "1"}, "400"),
        ({"method": "POST", "path": "/Users", "bulkId": "1", "data": []}, "400"),
        ({"method": "POST", "path": "/Users", "bulkId": "1", "data": {}}, "400"),
        ({"method": "POST", "path": "/Users/x", "bulkId": "1", "data": {}}, "405"),
        ({"method": "DELETE", "path": "/Users"}, "405"),
        ({"method": "DELETE", "path": "/Users/x"}, "404"),
        ({"method": "DELETE", "path": "/Users/x%00y"}, "404"),
        ({"method": "DELETE", "path": "/Users/../Groups/x"}, "404"),
        ({"method": "DELETE", "path": "/Users/x?attributes=id"}, "404"),
        ({"method": "DELETE", "path": "/Users/x", "version": 1}, "400"),
        ({"method": "DELETE", "path": "/users/x"}, "404"),
        ({"method": "DELETE", "path": "/"}, "404"),
        ({"method": "POST", "path": "/Bulk", "bulkId": "1", "data": {}}, "404"),
        ({"method": "POST", "path": "/Me", "bulkId": "1", "data": {}}, "404"),
    ],
)
def test_what_is_wrong_with_one_operation_is_its_own_affair(service: Service, operation: Op, status: str) -> None:
    results = bulk(service, operation, person("after"))
    assert statuses(results) == [status, "201"]
    assert results[0]["response"]["detail"].startswith("Operations[0]: ")
    named = operation.get("method")
    assert results[0].get("method") == (named if isinstance(named, str) and named else None)


@pytest.mark.parametrize(
    "body",
    [
        {"Operations": []},
        {"schemas": [PATCH_URN], "Operations": []},
        {"schemas": [BULK_URN]},
        {"schemas": [BULK_URN], "Operations": {}},
        {"schemas": [BULK_URN], "Operations": ["x"]},
        {"schemas": [BULK_URN], "Operations": [person("a"), person("a", "b")]},
        {"schemas": [BULK_URN], "Operations": [{**person("a"), "bulkId": 1}]},
        {"schemas": [BULK_URN], "Operations": [person("a")], "failOnErrors": "1"},
        {"schemas": [BULK_URN], "Operations": [person("a")], "failOnErrors": True},
        {"schemas": [BULK_URN], "Operations": [person("a")], "failOnErrors": -1},
    ],
)
def test_what_is_no_bulk_request_does_nothing(service: Service, body: Any) -> None:
    assert service.ask("POST", "Bulk", body).status_code == 400
    assert service.names() == []


def test_what_failed_says_where_it_was_to_be_done(service: Service) -> None:
    """RFC 7644 section 3.7.3: of all but a failed POST, also of what was never tried."""
    at = "/Users/nobody"
    operations = [
        {"method": "DELETE", "path": at},
        {"method": "PATCH", "path": at, "data": [{"op": "replace", "path": "title", "value": "x"}]},
        {"method": "PATCH", "path": at, "version": 2, "data": {}},
        {"method": "GET", "path": at},
        {"path": at},
        {"method": "PUT", "path": at},
        {"method": "POST", "path": at, "bulkId": "x", "data": {}},
        {"method": "PUT", "path": "/Users", "data": {}},
        {"method": "DELETE", "path": "/Users/nobody/more"},
    ]
    results = bulk(service, *operations)
    assert statuses(results) == ["404", "400", "400", "400", "400", "400", "405", "405", "404"]
    where = [each.get("location") for each in results]
    assert where == [f"{BASE}/scim/v2{at}"] * 6 + [None, f"{BASE}/scim/v2/Users", None]


def test_a_wrong_operation_on_somebody_names_nobody_for_others(service: Service) -> None:
    ann = service.user("ann")["id"]
    wrong = {"method": "PUT", "path": f"/Users/{ann}", "bulkId": "ann", "data": 5}
    assert statuses(bulk(service, wrong, team("crm", "bulkId:ann"))) == ["400", "409"]


def test_limits_are_named(service: Service) -> None:
    config = service.ask("GET", "ServiceProviderConfig").json()["bulk"]
    assert config == {"supported": True, "maxOperations": 1000, "maxPayloadSize": MAX_BULK_BYTES}
    many = send(service, *({"method": "DELETE", "path": "/Users/x"} for _ in range(1001)))
    assert many.status_code == 413
    assert "maxOperations" in many.json()["detail"] and "1000" in many.json()["detail"]
    large = service.ask("POST", "Bulk", content=b" " * (MAX_BULK_BYTES + 1))
    assert large.status_code == 413
    assert "maxPayloadSize" in large.json()["detail"] and str(MAX_BULK_BYTES) in large.json()["detail"]
    one = person("big", title="x" * 1_100_000)
    assert statuses(bulk(service, one, person("small"))) == ["413", "201"], (
        "an operation is no way around its own limit"
    )


def test_a_stale_version_and_a_guard_stop_only_their_own_operation(service: Service) -> None:
    ann = service.user("ann")
    path = f"/Users/{ann['id']}"
    first = patch(path, {"op": "replace", "path": "title", "value": "a"}, version='W/"1"')
    second = patch(path, {"op": "replace", "path": "title", "value": "b"}, version='W/"1"')
    third = patch(path, {"op": "replace", "path": "title", "value": "c"}, version='W/"2"')
    results = bulk(service, first, second, third)
    assert statuses(results) == ["200", "412", "200"]
    assert {each["location"] for each in results} == {f"{BASE}/scim/v2{path}"}
    crowd = bulk(service, *(person(f"u{n}") for n in range(20)))
    service.later(days=2)  # they are not on trial any more
    results = bulk(service, *({"method": "DELETE", "path": f"/Users/{id_of(each)}"} for each in crowd))
    assert sorted(set(statuses(results))) == ["204", "429"]
    assert statuses(results) == sorted(statuses(results)), "everything after the limit is held"


def test_a_dry_run_says_what_all_of_it_would_come_to_and_does_nothing(service: Service) -> None:
    dry = {"X-Dry-Run": "true"}
    bob = service.user("bob")["id"]

    def rows() -> Any:
        with service.database.reading() as conn:
            return {table.name: sorted(map(repr, conn.execute(table.select()))) for table in t.metadata.sorted_tables}

    asked: list[Op] = [
        team("g", "bulkId:h", "bulkId:a"),
        team("h", "bulkId:g"),
        person("a"),
        {
            "method": "POST",
            "path": "/Users",
            "bulkId": "again",
            "data": person("A")["data"],
        },  # her name is taken by then
        {"method": "DELETE", "path": f"/Users/{bob}", "version": 'W/"1"'},
        patch(f"/Users/{bob}", {"op": "Replace", "path": "title", "value": "x"}),
        team("k", "none"),
        patch("/Groups/bulkId:g", {"op": "remove", "path": "members"}),
    ]
    before = rows()
    with capture_logs() as lines:
        foreseen = bulk(service, *asked, headers=dry)
    assert rows() == before and not any(line.get("tolerances") for line in lines)
    done = bulk(service, *asked)
    assert statuses(done) == ["201", "201", "201", "409", "204", "404", "400", "204"]
    for one, other in zip(foreseen, done, strict=True):  # versions and what is wrong too
        assert {**one, "location": None} == {**other, "location": None}


def test_a_dry_run_of_leavers_says_who_would_be_held_and_tells_nobody(service: Service) -> None:
    people = [service.user(f"p{number}")["id"] for number in range(8)]
    service.later(days=2)
    off = [patch(f"/Users/{id}", {"op": "replace", "path": "active", "value": False}) for id in people]
    with capture_logs() as lines:
        foreseen = bulk(service, *off, headers={"X-Dry-Run": "true"})
    assert statuses(foreseen) == ["200"] * 5 + ["429"] * 3
    assert not [line for line in lines if line["event"] == "guard_held"]
    assert statuses(bulk(service, *off)) == ["200"] * 5 + ["429"] * 3


def test_others_write_while_and_after_a_dry_run_is_broken_off(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(Job, "_keep", broken)
        with capture_logs():
            assert send(service, person("a"), headers={"X-Dry-Run": "true"}).status_code == 500
    assert statuses(bulk(service, person("a"), headers={"X-Dry-Run": "true"})) == ["201"]
    assert service.names() == [] and service.user("a")["userName"] == "a"


def test_once_the_database_is_away_the_rest_is_not_tried(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = 0
    write = service.database.write

    async def failing(work: Any, quick: bool = False) -> Any:
        nonlocal tried
        tried += 1
        if tried > 2:
            raise DatabaseUnavailable("gone")
        return await write(work)

    monkeypatch.setattr(service.database, "write", failing)
    assert statuses(bulk(service, *(person(f"u{n}") for n in range(6)))) == ["201", "201", *["503"] * 4]
    assert tried == 3


def test_a_defect_of_ours_in_one_operation_costs_that_one_only(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, tried = service.database.write, 0

    async def failing(work: Any, quick: bool = False) -> Any:
        nonlocal tried
        tried += 1
        if tried == 1:
            raise ZeroDivisionError("secret")
        return await write(work)

    monkeypatch.setattr(service.database, "write", failing)
    with capture_logs() as logged:
        results = bulk(service, person("a"), person("b"))
    assert statuses(results) == ["500", "201"]
    assert "bulk_operation_failed" in [each["event"] for each in logged]
    assert "secret" not in results[0]["response"]["detail"]


def test_a_group_of_everybody_who_is_made_with_it(service: Service) -> None:
    everybody = [f"u{n}" for n in range(120)]
    results = bulk(service, team("g", *(f"bulkId:{each}" for each in everybody)), *map(person, everybody))
    assert set(statuses(results)) == {"201"}
    assert members(service, id_of(results[0])) == {id_of(each) for each in results[1:]}
