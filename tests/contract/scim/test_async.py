"""`Prefer: respond-async` (RFC 9967 section 2.5.1) on both engines: kept, done once whatever dies, told as an event."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from syncd.core.connection import Shows
from syncd.core.workspace import SourcePolicy
from syncd.errors import DatabaseUnavailable
from syncd.scim.later import ATTEMPTS, Later, preferred
from syncd.store import leases, requests
from syncd.store import tables as t
from syncd.store.retention import Retention, drop, old

from .conftest import BASE, GROUP_URN, PATCH_URN, USER_URN, Service
from .test_bulk import BULK_URN, Op, person, team

ASYNC = {"Prefer": "respond-async"}
COMPLETED = "urn:ietf:params:scim:event:misc:asyncresp"
TITLE = {"schemas": [PATCH_URN], "Operations": [{"op": "replace", "path": "title", "value": "chair"}]}


def later(service: Service) -> Later:
    found: Later = service.web.state.later
    return found


def work(service: Service) -> int:
    return service.run(later(service).round())


def ask(service: Service, method: str, path: str, body: Any = None, **headers: str) -> str:
    """The txn of a request that was accepted."""
    answer = service.ask(method, path, body, headers=ASYNC | headers)
    assert (answer.status_code, answer.content) == (202, b""), answer.text
    assert answer.headers["preference-applied"] == "respond-async"
    txn = answer.headers["set-txn"]
    assert answer.headers["location"] == f"{BASE}/scim/v2/Events/{txn}"
    return txn


def send(service: Service, *operations: Op, **more: Any) -> str:
    return ask(service, "POST", "Bulk", {"schemas": [BULK_URN], "Operations": list(operations), **more})


def event(service: Service, txn: str, token: str = "") -> httpx.Response:
    return service.ask("GET", f"Events/{txn}", token=token)


def said(claims: dict[str, Any], txn: str) -> dict[str, Any]:
    assert claims.keys() == {"jti", "iat", "iss", "txn", "sub_id", "events"}
    assert (claims["txn"], claims["iss"]) == (txn, f"{BASE}/scim/v2")
    assert claims["sub_id"]["format"] == "scim"
    assert list(claims["events"]) == [COMPLETED]
    return dict(claims["events"][COMPLETED])


def completed(service: Service, txn: str) -> dict[str, Any]:
    answer = event(service, txn)
    assert answer.status_code == 200, answer.text
    return said(answer.json(), txn)


def new(name: str) -> dict[str, Any]:
    return {"schemas": [USER_URN], "userName": name}


def test_every_method_is_done_later_and_in_order(service: Service) -> None:
    ann = service.user("ann")
    path = f"Users/{ann['id']}"
    put = ask(service, "PUT", path, new("ann") | {"nickName": "a"}, **{"If-Match": 'W/"1"'})
    patch = ask(service, "PATCH", path, TITLE)
    stale = ask(service, "PATCH", path, TITLE, **{"If-Match": 'W/"1"'})
    made = ask(service, "POST", "Users", new("bob"))
    gone = ask(service, "DELETE", path)
    assert service.names() == ["ann"], "nothing was done yet"
    assert event(service, put).status_code == 202
    assert event(service, put).headers["set-txn"] == put
    assert work(service) == 5
    assert service.names() == ["bob"]
    location = f"{BASE}/scim/v2/{path}"
    assert completed(service, put) == {"method": "PUT", "location": location, "version": 'W/"2"', "status": "200"}
    assert completed(service, patch) == {"method": "PATCH", "location": location, "version": 'W/"3"', "status": "200"}
    refused = completed(service, stale)
    assert (refused["status"], refused["response"]["status"], refused["location"]) == ("412", "412", location)
    bob = service.ask("GET", "Users").json()["Resources"][0]
    assert completed(service, made)["location"] == bob["meta"]["location"]
    assert event(service, made).json()["sub_id"]["uri"] == f"/Users/{bob['id']}"
    assert completed(service, gone) == {"method": "DELETE", "location": location, "status": "204"}
    assert work(service) == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_preconditions_hold_later_too(service: Service) -> None:
    path = f"Users/{service.user('ann')['id']}"
    refused = service.ask("PATCH", path, TITLE, headers={"Prefer": "respond-async", "If-None-Match": 'W/"1"'})
    assert refused.status_code == 412, "of preconditions If-Match alone is kept for later"
    several = [("Prefer", "respond-async"), ("If-Match", 'W/"7"'), ("If-Match", 'W/"1"')]
    several.append(("Authorization", f"Bearer {service.token}"))

    async def asking() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(service.web)) as client:
            return await client.patch(f"{BASE}/scim/v2/{path}", json=TITLE, headers=several)

    accepted = service.run(asking())
    assert accepted.status_code == 202
    assert work(service) == 1
    assert completed(service, accepted.headers["set-txn"])["status"] == "200"


def test_what_it_changed_is_told_under_its_txn(service: Service) -> None:
    ann = service.user("ann")
    put = ask(service, "PUT", f"Users/{ann['id']}", new("ann") | {"title": "chair"})
    work(service)
    with service.database.reading() as conn:
        topics = {row.topic for row in conn.execute(t.outbox.select()) if row.payload["txn"] == put}
    assert topics == {"urn:ietf:params:scim:event:prov:put:notice", COMPLETED}


def test_what_is_no_request_is_refused_at_once(service: Service) -> None:
    body = {"schemas": [BULK_URN], "Operations": "x"}
    for method, path, sent, status in (
        ("POST", "Bulk", body, 400),
        ("PUT", "Users", {}, 405),
        ("POST", "Nothing", {}, 404),
    ):
        answer = service.ask(method, path, sent, headers=ASYNC)
        assert answer.status_code == status
        assert "set-txn" not in answer.headers
    reader = service.make_token(allow=("users:read",))
    assert service.ask("POST", "Users", new("x"), reader, headers=ASYNC).status_code == 403
    assert service.ask("POST", "Users", new("x"), None, headers=ASYNC).status_code == 401
    assert service.ask("GET", "Users", headers=ASYNC).status_code == 200
    dry = service.ask("POST", "Users", new("x"), headers=ASYNC | {"X-Dry-Run": "true"})
    assert dry.status_code == 201
    assert service.names() == []


def test_what_turns_out_wrong_is_told(service: Service) -> None:
    service.user("taken")
    taken = ask(service, "POST", "Users", new("taken"))
    broken = service.ask("POST", "Users", content=b"{", headers=ASYNC).headers["set-txn"]
    missing = ask(service, "DELETE", "Users/nobody")
    assert work(service) == 3
    assert completed(service, taken)["response"]["scimType"] == "uniqueness"
    assert "location" not in completed(service, taken)
    assert event(service, taken).json()["sub_id"]["uri"] == "/Users"
    assert completed(service, broken)["response"]["scimType"] == "invalidSyntax"
    assert completed(service, missing)["status"] == "404"


def test_a_bulk_request_has_an_event_for_each_operation(service: Service) -> None:
    service.user("taken")
    circle = [team("a", "bulkId:b"), team("b", "bulkId:a", "bulkId:u")]
    txn = send(service, *circle, person("u"), person("bad", "taken"), {"method": "GET"}, person("z"), failOnErrors=2)
    assert event(service, txn).status_code == 202
    assert event(service, f"{txn}:0").status_code == 202
    work(service)
    answer = event(service, txn).json()
    found = [said(each, f"{txn}:{n}") for n, each in enumerate(answer["Resources"])]
    assert [each["status"] for each in found] == ["201", "201", "201", "409", "400", "409"]
    assert [each.get("bulkId") for each in found] == ["a", "b", "u", "bad", None, "z"]
    assert "failOnErrors" in found[5]["response"]["detail"]
    assert event(service, f"{txn}:").status_code == 404
    assert completed(service, f"{txn}:2") == found[2]
    assert event(service, f"{txn}:6").status_code == 404
    assert event(service, f"{txn}:x").status_code == 404
    stored = service.ask("GET", found[1]["location"].removeprefix(f"{BASE}/scim/v2/"))
    assert stored.headers["etag"] == found[1]["version"]
    assert len(stored.json()["members"]) == 2
    assert service.names() == ["taken", "u"]


def test_what_was_not_tried_says_where_it_was_to_be_done(service: Service) -> None:
    gone = [{"method": "DELETE", "path": f"/Users/{id}"} for id in ("a", "b")]
    txn = send(service, *gone, failOnErrors=1)
    work(service)
    assert completed(service, f"{txn}:1")["location"] == f"{BASE}/scim/v2/Users/b"
    assert event(service, f"{txn}:1").json()["sub_id"]["uri"] == "/Users/b"


def test_what_was_tolerated_is_counted(service: Service) -> None:
    ann = service.user("ann")
    flawed = {"schemas": [PATCH_URN], "Operations": [{"op": "Replace", "path": "title", "value": "chair"}]}
    told: list[set[str]] = []
    later(service).tolerated = lambda actor, names: told.append({actor.source, *names})
    ask(service, "PATCH", f"Users/{ann['id']}", flawed)
    send(service, {"method": "PATCH", "path": f"/Users/{ann['id']}", "data": flawed})
    work(service)
    assert told == [{"okta", "operation_in_any_case"}] * 2


def test_only_the_connection_that_asked_may_look(service: Service) -> None:
    txn = ask(service, "POST", "Users", new("x"))
    work(service)
    assert event(service, txn, service.make_token("entra")).status_code == 404
    assert event(service, txn, service.make_token(workspace="other")).status_code == 404
    assert event(service, "nothing").status_code == 404
    assert service.ask("GET", f"Events/{txn}", token=None).status_code == 401
    assert event(service, txn, service.make_token()).status_code == 200, "another token of the same connection"


@pytest.mark.parametrize("after", range(1, 12))
def test_killed_anywhere_it_is_done_once(service: Service, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends before its n-th transaction; another goes on."""
    single = ask(service, "POST", "Groups", {"schemas": [GROUP_URN], "displayName": "g"})
    bulk = send(service, person("u"), person("bad", "u"), team("a", "bulkId:b"), team("b", "bulkId:a", "bulkId:u"))
    write, n = service.database.write, 0

    async def dying(work: Any, quick: bool = False) -> Any:
        nonlocal n
        n += 1
        if n >= after:
            raise asyncio.CancelledError
        return await write(work)

    with monkeypatch.context() as patched:
        patched.setattr(service.database, "write", dying)
        try:
            work(service)
        except asyncio.CancelledError:
            with service.database.writing() as conn:  # of a dead process, which this test is not
                conn.execute(t.leases.delete())
    work(service)
    assert completed(service, single)["status"] == "201"
    answer = event(service, bulk).json()["Resources"]
    assert [said(each, f"{bulk}:{i}")["status"] for i, each in enumerate(answer)] == ["201", "409", "201", "201"]
    assert service.names() == ["u"]
    assert sorted(service.names(path="Groups")) == ["a", "b", "g"]
    with service.database.reading() as conn:
        assert not any(row.body for row in conn.execute(t.requests.select()))


def test_while_the_database_is_away_it_waits(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    txn = send(service, person("a"), person("b"))
    write, n = service.database.write, 0

    async def failing(work: Any, quick: bool = False) -> Any:
        nonlocal n
        n += 1
        if n > 3:
            raise DatabaseUnavailable("gone")
        return await write(work)

    with monkeypatch.context() as patched:
        patched.setattr(service.database, "write", failing)
        with pytest.raises(DatabaseUnavailable):
            work(service)
    with service.database.writing() as conn:
        conn.execute(t.leases.delete())
    assert work(service) == 1
    assert [each["events"][COMPLETED]["status"] for each in event(service, txn).json()["Resources"]] == ["201", "201"]


def test_one_process_at_a_time_does_those_of_a_connection(service: Service) -> None:
    txn = ask(service, "POST", "Users", new("x"))
    with service.database.writing() as conn:
        fence = leases.take(conn, "default", "requests okta", "requests", f"elsewhere/boot/{os.getpid()}/0")
    assert work(service) == 0
    with service.database.writing() as conn:
        leases.release(conn, "default", "requests okta", fence)
    assert work(service) == 1
    assert completed(service, txn)["status"] == "201"


def test_what_kills_its_process_is_given_up(service: Service) -> None:
    txn = ask(service, "POST", "Users", new("x"))
    with service.database.writing() as conn:
        conn.execute(t.requests.update().values(attempts=ATTEMPTS))
    work(service)
    assert completed(service, txn)["status"] == "500"
    assert service.names() == []


def test_a_token_revoked_meanwhile_does_nothing(service: Service) -> None:
    single = ask(service, "POST", "Users", new("x"))
    bulk = send(service, person("a"), person("b"))
    id = service.token.split("_")[1]
    with service.database.writing() as conn:
        conn.execute(t.tokens.update().where(t.tokens.c.id == id).values(revoked_at=service.now))
    work(service)
    service.token = service.make_token()
    assert completed(service, single)["status"] == "401"
    assert [each["events"][COMPLETED]["status"] for each in event(service, bulk).json()["Resources"]] == ["401", "401"]
    assert service.names() == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_connection_taken_out_meanwhile_does_nothing(service: Service) -> None:
    single = ask(service, "POST", "Users", new("x"))
    workspace = service.workspaces["default"]
    sources = {name: source for name, source in workspace.sources.items() if name != "okta"}
    service.workspaces["default"] = replace(workspace, sources=sources)
    work(service)
    service.workspaces["default"] = workspace
    assert completed(service, single)["status"] == "401"
    assert service.names() == []


def test_with_wait_the_answer_may_come_at_once(service: Service) -> None:
    async def both() -> httpx.Response:
        running = asyncio.create_task(later(service).run())
        try:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(service.web)) as client:
                return await client.post(
                    f"{BASE}/scim/v2/Users",
                    json=new("x"),
                    headers={"Authorization": f"Bearer {service.token}", "Prefer": "respond-async, wait=10"},
                )
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    answer = service.run(both())
    assert answer.status_code == 201
    assert answer.json()["userName"] == "x"
    slow = service.ask("POST", "Users", new("y"), headers={"Prefer": "respond-async; x=1, wait=1"})
    assert slow.status_code == 202, "nobody does it here"


def test_what_cannot_be_kept_is_done_at_once(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "WAITING", 1)
    ask(service, "POST", "Users", new("a"))
    assert service.ask("POST", "Users", new("b"), headers=ASYNC).status_code == 201
    monkeypatch.setattr(requests, "WAITING_BYTES", 10)
    whole = {"schemas": [BULK_URN], "Operations": [person("c")]}
    assert service.ask("POST", "Bulk", whole, headers=ASYNC).json()["Operations"][0]["status"] == "201"
    assert service.ask("POST", "Bulk", {"schemas": [BULK_URN], "Operations": []}, headers=ASYNC).status_code == 200


def test_it_is_kept_for_a_while(service: Service) -> None:
    service.now = datetime(2001, 1, 1, tzinfo=UTC)  # PostgreSQL's clock has a say: what it does not think old stays
    txn = ask(service, "POST", "Users", new("x"))
    policy = Retention()
    for n in (0, 1):
        service.later(days=8)
        with service.database.writing() as conn:
            keys = old(conn, "requests", policy, service.now)
            assert len(keys) == n
            drop(conn, "requests", keys, policy, service.now, service.ids)
        work(service)
        assert event(service, txn).status_code == (404 if n else 200)


def test_discovery_says_so(service: Service) -> None:
    """To who asks: strict clients break off at what they do not know."""
    config = service.ask("GET", "ServiceProviderConfig", attributes="securityEvents").json()
    assert config.pop("securityEvents") == {"asyncRequest": "request", "eventUris": [COMPLETED]}
    plain = service.ask("GET", "ServiceProviderConfig").json()
    assert config == plain
    shown = SourcePolicy("okta", shows=Shows(security_events=True))
    service.workspaces["default"] = replace(service.workspaces["default"], sources={"okta": shown})
    config = service.ask("GET", "ServiceProviderConfig").json()
    assert config.pop("securityEvents")["asyncRequest"] == "request" and config == plain


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ([], None),
        (["return=minimal"], None),
        (["wait=5"], None),
        (["Respond-Async"], 0),
        (["return=minimal", "respond-async;x=y , WAIT = 5"], 5),
        (['respond-async, wait="7"'], 7),
        (["respond-async, wait=600"], 20),
        (["respond-async, wait=x"], 0),
    ],
)
def test_preferences(headers: list[str], wait: int | None) -> None:
    assert preferred(headers) == wait
