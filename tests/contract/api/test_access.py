"""What a user may do, and why: true at this moment, whether or not a timer ran."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import event

from syncd.core.access import Role
from syncd.core.change import UserEdit
from syncd.core.state import Grant
from syncd.store import access as store
from web_service import Service


def access(service: Service, id: str) -> dict[str, Any]:
    answer = service.ask("GET", f"/api/v1/users/{id}/access")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def give(service: Service, id: str, *grants: tuple[str, str], until: timedelta | None = None) -> None:
    expires = service.now + until if until else None
    made = tuple(
        Grant(kind, value, "direct", "test", created_at=service.now, expires_at=expires) for kind, value in grants
    )
    service.commit(UserEdit(id, "local", grant=made)).check()


def test_the_union_of_all_grants(service: Service) -> None:
    id = service.user("ann", userType="Employee")["id"]
    give(service, id, ("permission", "invoices.*"), ("permission", "!invoices.delete"), ("scope", "unit=north"))
    give(service, id, ("scope", "unit=east"), ("scope", "customer=acme"), ("permission", "data.export"))
    found = access(service, id)
    assert (found["userName"], found["status"], found["may_sign_in"]) == ("ann", "active", True)
    assert (found["roles"], found["seats"], found["waiting"]) == (["member"], ["internal"], [])
    assert {"assets.view", "nav.assets", "invoices.*"} <= set(found["permissions"])
    assert found["denied"] == ["invoices.delete"]
    assert found["data_scopes"] == {"customer": ["acme"], "unit": ["east", "north"]}
    assert found["flags"] == {"admin": False, "edit": False, "delete": False, "export": True}
    give(service, id, ("role", "admin"), ("permission", "!data.delete"))
    assert access(service, id)["flags"] == {"admin": True, "edit": True, "delete": False, "export": True}


def test_whoever_may_not_sign_in_has_no_access(service: Service) -> None:
    id = service.user("ann", userType="Employee")["id"]
    for state, back in (("suspend", "unsuspend"), ("deactivate", "reactivate")):
        service.ask("POST", f"/api/v1/users/{id}/{state}")
        found = access(service, id)
        assert found["status"] in ("suspended", "inactive")
        assert not found["may_sign_in"]
        nothing = [found[name] for name in ("roles", "permissions", "data_scopes", "seats", "waiting")]
        assert not any(nothing), found
        assert not any(found["flags"].values())
        service.ask("POST", f"/api/v1/users/{id}/{back}")
        assert access(service, id)["roles"] == ["member"]


def test_nothing_is_late(service: Service) -> None:
    """No timer runs here: what has ended grants nothing, and a lock ends by itself."""
    id = service.user("ann")["id"]
    give(service, id, ("role", "clerk"), ("seat", "internal"), until=timedelta(hours=1))
    service.commit(UserEdit(id, "local", facts={"locked_until": service.now + timedelta(minutes=5)})).check()
    assert access(service, id)["status"] == "locked"
    service.later(minutes=10)
    found = access(service, id)
    assert (found["roles"], found["permissions"], found["seats"]) == (["clerk"], ["invoices.view"], ["internal"])
    service.later(hours=1)
    found = access(service, id)
    assert (found["status"], found["roles"], found["seats"]) == ("active", [], [])


def test_one_statement_that_walks_over_nothing(service: Service) -> None:
    id = service.user("ann", userType="Employee")["id"]
    seen: list[str] = []
    with service.database.reading() as conn:
        conn.exec_driver_sql("SELECT 1")
        event.listen(conn, "before_cursor_execute", lambda *args: seen.append(args[2]))
        if service.database.dialect == "sqlite":
            driver: Any = conn.connection.driver_connection
            driver.set_trace_callback(seen.append)
        assert store.access(conn, service.workspaces["default"], id, service.now) is not None
        [text] = seen
        if service.database.dialect == "sqlite":
            driver.set_trace_callback(None)
            plan = [row[3] for row in driver.execute(f"EXPLAIN QUERY PLAN {text}")]
            assert [step for step in plan if "SCAN" in step] == []
            assert len([step for step in plan if "SEARCH" in step]) == 5, (
                "user, grants, seats, and roles that people made"
            )


def test_nobody_and_another_workspace(service: Service) -> None:
    id = service.user("ann")["id"]
    other = service.make_token(workspace="other")
    for path in ("/api/v1/users/nobody/access", "/api/v1/users/nobody/explain"):
        assert service.ask("GET", path).status_code == 404
    for what in ("access", "explain"):
        assert service.ask("GET", f"/api/v1/users/{id}/{what}", token=other).status_code == 404


def test_the_reason_of_each_item(service: Service) -> None:
    id = service.user("ann", userType="Employee")["id"]
    sales = service.group("sales", id)["id"]
    service.group("crm", sales)
    give(service, id, ("role", "viewer"), until=timedelta(days=90))
    told = service.ask("GET", f"/api/v1/users/{id}/explain").json()
    by_role = {each["value"]: each for each in told["roles"]}
    assert by_role["clerk"]["why"] == "rule crm through sales > crm"
    assert by_role["member"]["why"] == 'rule staff: userType eq "Employee"'
    assert (by_role["viewer"]["origin"], by_role["viewer"]["name"]) == ("direct", "test")
    assert by_role["viewer"]["since"] == "2026-11-21T12:00:00Z"
    assert [each["what"] for each in told["scheduled"]] == ["role viewer ends"]
    assert {each["role"] for each in told["permissions"]} == {"clerk", "member", "viewer"}
    assert told["version"] == service.ask("GET", f"/api/v1/users/{id}").json()["version"]


def test_what_is_configured_counts_at_once(service: Service) -> None:
    id = service.user("ann")["id"]
    give(service, id, ("role", "clerk"))
    known = service.workspaces["default"]
    roles = {**known.roles, "clerk": Role("clerk", frozenset({"invoices.view", "invoices.pay"}))}
    service.workspaces["default"] = replace(known, roles=roles)
    assert access(service, id)["permissions"] == ["invoices.pay", "invoices.view"]


def test_data_scopes_are_of_known_kinds(service: Service) -> None:
    """Built in or configured; `*` is every value of a kind, to be given by whoever has it or sees everything."""
    id = service.user("ann")["id"]
    body = {"kind": "scope", "value": "region=north"}
    told = service.ask("POST", f"/api/v1/users/{id}/grants", body)
    assert (told.status_code, "customer, distributor, issue-type, service, unit" in told.json()["detail"]) == (
        422,
        True,
    )
    here = service.workspaces["default"]
    service.workspaces["default"] = replace(here, scope_kinds={**here.scope_kinds, "region": "where it is sold"})
    service.web = service.application()
    assert service.ask("POST", f"/api/v1/users/{id}/grants", body).status_code == 200
    for value in ("customer=*", "issue-type=complaint", "distributor=d 1", "service=s1"):
        body = {"kind": "scope", "value": value}
        assert service.ask("POST", f"/api/v1/users/{id}/grants", body).status_code == 200, value
    assert service.ask("GET", f"/api/v1/users/{id}/access").json()["data_scopes"] == {
        **{"customer": ["*"], "distributor": ["d 1"], "issue-type": ["complaint"], "region": ["north"]},
        "service": ["s1"],
    }
    kinds = service.ask("GET", "/api/v1/scope-kinds").json()["items"]
    assert {each["kind"]: each["built_in"] for each in kinds if each["kind"] in ("unit", "region")} == {
        **{"unit": True, "region": False},
    }
    eve = service.made_by("corp", "eve")
    held = (("permission", "permissions.manage"), ("scope", "customer=*"))
    service.commit(UserEdit(eve, "local", grant=tuple(Grant(k, v, "direct", "root") for k, v in held))).check()
    token = service.make_token(user=eve, allow=["*"])
    for value, status in (("customer=acme", 200), ("customer=x", 200), ("service=s2", 403)):
        body = {"kind": "scope", "value": value}
        assert service.ask("POST", f"/api/v1/users/{id}/grants", body, token).status_code == status


def test_users_are_picked_by_what_they_have(service: Service) -> None:
    ann = service.user("ann", userType="Employee")["id"]
    bob = service.made_by("corp", "bob")
    service.later(days=100)
    cy = service.user("cy")["id"]
    group = service.ask("POST", "/api/v1/groups", {"displayName": "team", "members": [bob]}).json()["id"]
    service.ask("POST", f"/api/v1/groups/{group}/grants", {"kind": "scope", "value": "unit=north"})
    body = {"kind": "role", "value": "clerk", "expires": (service.now + timedelta(days=1)).isoformat()}
    assert service.ask("POST", f"/api/v1/users/{cy}/grants", body).status_code == 200

    def picked(**query: Any) -> set[str]:
        answer = service.ask("GET", "/api/v1/users", **query)
        assert answer.status_code == 200, answer.text
        return {each["userName"] for each in answer.json()["items"]}

    assert picked(role="member") == picked(seat="internal") == {"ann"}
    assert (picked(group=group), picked(scope="unit=north"), picked(source="corp")) == ({"bob"}, {"bob"}, {"bob"})
    assert picked(role="clerk") == {"cy"}
    assert (picked(idle_days=90), picked(idle_days=101)) == ({"ann", "bob"}, set())
    service.ask("POST", f"/api/v1/users/{ann}/sign-ins", {"outcome": "success"})
    assert picked(idle_days=90) == {"bob"}
    assert (picked(idle_days=90, role="member"), picked(group="nobody")) == (set(), set())
    service.later(days=2)
    assert picked(role="clerk") == set(), "it has ended"
    assert service.ask("GET", "/api/v1/users", idle_days=0).status_code == 422
