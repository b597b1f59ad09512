"""Passwords a connection sends: kept as a hash where its policy says so, and to be found nowhere, whichever way they come."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from syncd.core.change import UserEdit
from syncd.core.secret import Secret
from syncd.core.state import Grant
from syncd.core.types import STANDARD
from syncd.passwords import Passwords
from syncd.store import passwords
from syncd.store import tables as t
from web_service import BASE, CHEAP, USER_URN, Service

from .test_bulk import BULK_URN

FIRST, SECOND = "Tr0ubador and three", "correct horse battery"


@pytest.fixture
def keeping(service: Service) -> Service:
    known = service.workspaces["default"]
    sources = {**known.sources, "okta": replace(known.sources["okta"], passwords=True)}
    service.workspaces["default"] = replace(known, sources=sources)
    service.web = service.application()
    return service


def kept(service: Service, id: str) -> passwords.Kept | None:
    with service.database.reading() as conn:
        return passwords.find(conn, "default", id)


def has(service: Service, id: str, text: str) -> bool:
    found = kept(service, id)
    return found is not None and Passwords(CHEAP).matches_now(found.hash, Secret(text))


def everything(service: Service) -> str:
    with service.database.reading() as conn:
        return "\n".join(repr(tuple(row)) for table in t.metadata.sorted_tables for row in conn.execute(select(table)))


def put(service: Service, id: str, **more: Any) -> Any:
    return service.ask("PUT", f"Users/{id}", {"schemas": [USER_URN], "userName": "ann", **more})


def test_made_changed_and_taken_away(keeping: Service) -> None:
    with capture_logs() as lines:
        made = keeping.user("ann", password=FIRST)
        id = made["id"]
        assert has(keeping, id, FIRST)
        assert "password" not in made and "password" not in keeping.ask("GET", f"Users/{id}?attributes=password").json()
        version = made["meta"]["version"]
        for answer in (
            keeping.patch(f"Users/{id}", {"op": "replace", "path": "password", "value": SECOND}),
            keeping.patch(f"Users/{id}", {"op": "replace", "value": {"Password": FIRST}}),
            keeping.patch(f"Users/{id}", {"op": "Add", "path": f"{USER_URN}:password", "value": SECOND}),
            put(keeping, id, password=FIRST),
            put(keeping, id),
        ):
            assert (answer.status_code, answer.json()["meta"]["version"]) == (200, version), answer.text
        assert has(keeping, id, FIRST), "a PUT without one leaves it"
        at_once = keeping.ask(
            "PUT",
            f"Users/{id}",
            {"schemas": [USER_URN], "userName": "ann", "password": SECOND},
            headers={"Prefer": "respond-async"},
        )
        assert at_once.status_code == 200 and has(keeping, id, SECOND), "not kept in clear to be done later"
    seen = everything(keeping) + repr(lines)
    assert FIRST not in seen and SECOND not in seen
    assert keeping.patch(f"Users/{id}", {"op": "remove", "path": "password"}).status_code == 200
    assert kept(keeping, id) is None
    with keeping.database.reading() as conn:
        said = conn.scalars(select(t.activity.c.action).where(t.activity.c.subject_id == id).order_by(t.activity.c.id))
        assert [each for each in said if each.startswith("password")] == ["password_set"] * 6 + ["password_removed"]


def test_the_one_she_has_is_not_set_again(keeping: Service) -> None:
    id = keeping.user("ann", password=FIRST)["id"]
    before = kept(keeping, id)
    keeping.patch(f"Users/{id}", {"op": "replace", "path": "password", "value": FIRST})
    assert kept(keeping, id) == before


def test_bulk(keeping: Service) -> None:
    data = {"schemas": [USER_URN], "userName": "ann", "password": FIRST}
    body = {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],
        "Operations": [
            {"method": "POST", "path": "/Users", "bulkId": "1", "data": data},
            {"method": "POST", "path": "/Users", "bulkId": "2", "data": _manages(data, "bob", "3")},
            {"method": "POST", "path": "/Users", "bulkId": "3", "data": _manages(data, "cy", "2")},
        ],
    }
    first, *circle = keeping.ask("POST", "Bulk", body).json()["Operations"]
    assert first["status"] == "201"
    assert has(keeping, first["location"].removeprefix(f"{BASE}/scim/v2/Users/"), FIRST)
    assert {each["status"] for each in circle} == {"400", "409"}
    assert FIRST not in everything(keeping)


def _manages(data: dict[str, Any], name: str, by: str) -> dict[str, Any]:
    enterprise = next(schema.id for schema, _ in STANDARD.user.extensions if "enterprise" in schema.id)
    return {**data, "userName": name, enterprise: {"manager": {"value": f"bulkId:{by}"}}}


def test_what_is_refused_changes_nothing(keeping: Service) -> None:
    id = keeping.user("ann")["id"]
    other = keeping.made_by("corp", "bob")
    narrow = keeping.make_token(allow=["users:update:title", "users:read"])
    replacing = {"op": "replace", "path": "title", "value": "x"}, {"op": "replace", "path": "password", "value": FIRST}
    for answer, status in (
        (keeping.patch(f"Users/{id}", *replacing, token=narrow), 403),
        (keeping.patch(f"Users/{other}", replacing[1]), 403),
        (keeping.patch(f"Users/{id}", {"op": "replace", "path": "password", "value": {"a": 1}}), 400),
        (keeping.patch(f"Users/{id}", {"op": "replace", "path": "password", "value": "x" * 1025}), 400),
        (keeping.patch(f"Users/{id}", {"op": "replace", "path": "password"}), 400),
        (keeping.patch("Users/nobody", replacing[1]), 404),
    ):
        assert answer.status_code == status, answer.text
        assert status != 400 or answer.json()["scimType"] == "invalidValue"
    assert (kept(keeping, id), kept(keeping, other)) == (None, None)
    assert keeping.ask("GET", f"Users/{id}").json()["meta"]["version"] == 'W/"1"'


@pytest.mark.parametrize("depth", [300, 2000])
def test_what_is_nested_deeper_than_is_written_is_refused(keeping: Service, depth: int) -> None:
    nested: Any = 1
    for _ in range(depth):
        nested = f'{{"a":{nested}}}'
    one = f'{{"schemas":["{USER_URN}"],"userName":"deep","password":"{FIRST}","nickName":{nested}}}'
    operation = f'{{"method":"POST","path":"/Users","bulkId":"a","data":{one}}}'
    bulk = f'{{"schemas":["{BULK_URN}"],"Operations":[{operation}]}}'
    later = {"Prefer": "respond-async"}
    for path, body in (("Users", one), ("Bulk", bulk)):
        for headers in ({}, later):
            answer = keeping.ask("POST", path, content=body.encode(), headers=headers)
            said = answer.json()["Operations"][0]["status"] if answer.status_code == 200 else str(answer.status_code)
            assert said == "400", answer.text


def test_discovery_tells_whom_it_concerns(keeping: Service) -> None:
    entra = keeping.make_token(source="entra")
    for token, told in (("", True), (entra, False)):
        config = keeping.ask("GET", "ServiceProviderConfig", token=token).json()
        assert config["changePassword"]["supported"] is told
        schema = keeping.ask("GET", f"Schemas/{USER_URN}", token=token).json()
        attributes = {each["name"]: each for each in schema["attributes"]}
        assert ("password" in attributes) is told
        if told:
            shown = attributes["password"]
            assert (shown["mutability"], shown["returned"]) == ("writeOnly", "never")
    id = keeping.user("eve", token=entra, password=FIRST)["id"]
    assert kept(keeping, id) is None
    later = {"schemas": [USER_URN], "userName": "eva", "password": FIRST}
    answer = keeping.ask("POST", "Users", later, token=entra, headers={"Prefer": "respond-async"})
    assert answer.status_code == 201
    assert FIRST not in everything(keeping)


def test_who_was_given_more_than_the_connection_may_give_is_out_of_its_reach(keeping: Service) -> None:
    """It states her and may send her password, until somebody makes her an admin: then it would sign in as one."""
    id = keeping.user("ann", password=FIRST)["id"]
    keeping.commit(UserEdit(id, "local", grant=(Grant("role", "admin", "direct", "root"),)))
    for answer in (
        keeping.patch(f"Users/{id}", {"op": "replace", "path": "password", "value": SECOND}),
        keeping.patch(f"Users/{id}", {"op": "remove", "path": "password"}),
        put(keeping, id, password=SECOND, title="Head"),
    ):
        assert answer.status_code == 403 and "does not set the password" in answer.text, answer.text
    assert has(keeping, id, FIRST) and "title" not in keeping.ask("GET", f"Users/{id}").json()
    assert put(keeping, id, title="Head").status_code == 200, "everything else goes on"
    assert put(keeping, id, password=FIRST).status_code == 200, "the one she has says nothing new"
    known = keeping.workspaces["default"]
    sources = {**known.sources, "okta": replace(known.sources["okta"], may_grant=frozenset({"admin"}))}
    keeping.workspaces["default"] = replace(known, sources=sources)
    keeping.web = keeping.application()
    assert put(keeping, id, password=SECOND).status_code == 200 and has(keeping, id, SECOND)
