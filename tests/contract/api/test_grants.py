"""Grants by hand over the API: given, shown, taken back; and nobody gives more than she holds."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from syncd.core.access import Role
from syncd.core.change import UserEdit
from syncd.core.state import Grant
from syncd.store import tables as t
from web_service import Service, rule


def give(service: Service, id: str, kind: str, value: str, token: str = "", **more: Any) -> httpx.Response:
    return service.ask("POST", f"/api/v1/users/{id}/grants", {"kind": kind, "value": value, **more}, token)


def take(service: Service, id: str, kind: str, value: str, token: str = "") -> httpx.Response:
    return service.ask("DELETE", f"/api/v1/users/{id}/grants", token=token, kind=kind, value=value)


def refused(answer: httpx.Response, *words: str) -> None:
    assert answer.status_code == 403, answer.text
    assert all(word in answer.json()["detail"] for word in words), answer.json()["detail"]


def by_cli(service: Service, id: str, *grants: tuple[str, str]) -> None:
    made = tuple(Grant(kind, value, "direct", "root", created_at=service.now) for kind, value in grants)
    service.commit(UserEdit(id, "local", grant=made)).check()


def person(service: Service, name: str, *grants: tuple[str, str], allow: tuple[str, ...] = ("*",)) -> tuple[str, str]:
    """A user and a token that she bears."""
    id = service.made_by("corp", name)
    by_cli(service, id, *grants)
    return id, service.make_token(user=id, allow=list(allow))


def test_given_shown_and_taken_back(service: Service) -> None:
    id = service.user("ann", userType="Employee")["id"]
    until = (service.now + timedelta(days=90)).isoformat()
    given = give(service, id, "role", "clerk", expires=until, reason="maternity cover")
    assert given.status_code == 200, given.text
    assert given.json() == {
        **{"kind": "role", "value": "clerk", "origin": "direct", "name": "okta test", "why": "maternity cover"},
        **{"run": None, "since": "2026-11-21T12:00:00Z", "expires": "2027-02-19T12:00:00Z"},
        **{"denied": False, "waits": False},
    }
    listed = service.ask("GET", f"/api/v1/users/{id}/grants", kind="role")
    assert [(each["value"], each["origin"]) for each in listed.json()["items"]] == [
        ("clerk", "direct"),
        ("member", "rule"),
    ]
    assert listed.headers["etag"] == given.headers["etag"]
    for kind, value in (("permission", "invoices.*"), ("permission", "!invoices.pay"), ("scope", "unit=north/1")):
        assert give(service, id, kind, value).status_code == 200
    assert give(service, id, "seat", "crm").json()["waits"] is False
    stale = service.ask(
        "POST",
        f"/api/v1/users/{id}/grants",
        {"kind": "role", "value": "viewer"},
        headers={"If-Match": given.headers["etag"]},
    )
    assert stale.status_code == 412
    assert take(service, id, "scope", "unit=north/1").status_code == 204
    assert take(service, id, "role", "clerk").status_code == 204
    again = take(service, id, "role", "clerk")
    assert (again.status_code, "does not have it" in again.json()["detail"]) == (409, True)
    by_rule = take(service, id, "role", "member")
    assert (by_rule.status_code, "rule staff" in by_rule.json()["detail"]) == (409, True)


def test_what_cannot_be_granted_is_told(service: Service) -> None:
    id = service.user("ann")["id"]
    for kind, value, word in (
        ("role", "bos", "viewer"),
        ("seat", "gold", "internal"),
        ("permission", "invoices", "module.action"),
        ("permission", "!", "module.action"),
        ("permission", "a.[b]", "module.action"),
        ("scope", "north", "kind=value"),
    ):
        answer = give(service, id, kind, value)
        assert answer.status_code == 422, answer.text
        assert word in answer.json()["detail"]
        assert answer.json()["errors"][0]["pointer"] == "/value"
    past = give(service, id, "role", "clerk", expires="2026-11-21T11:59:00Z")
    assert (past.status_code, past.json()["errors"][0]["pointer"]) == (422, "/expires")
    assert give(service, "nobody", "role", "clerk").status_code == 404
    service.ask("DELETE", f"/api/v1/users/{id}")
    assert give(service, id, "role", "clerk").status_code == 409


def test_a_grant_for_a_while_ends_by_itself(service: Service) -> None:
    id = service.user("ann")["id"]
    give(service, id, "role", "clerk", expires=(service.now + timedelta(hours=1)).isoformat())
    service.later(hours=2)
    assert service.ask("GET", f"/api/v1/users/{id}/grants").json()["items"] == []


def test_a_full_pool_has_her_wait(service: Service) -> None:
    first, second = (service.user(name, userType="Employee")["id"] for name in ("ann", "bob"))
    assert give(service, first, "seat", "crm").json()["waits"] is False
    assert give(service, second, "seat", "crm").json()["waits"] is True
    assert take(service, first, "seat", "crm").status_code == 204
    assert service.ask("GET", f"/api/v1/users/{second}/access").json()["seats"] == ["crm", "internal"]


def test_permissions_of_a_token(service: Service) -> None:
    id = service.user("ann")["id"]
    roles = service.make_token(allow=["roles:write"])
    assert give(service, id, "role", "clerk", roles).status_code == 200
    refused(give(service, id, "seat", "internal", roles), "seats:write")
    refused(give(service, id, "role", "clerk", service.make_token(allow=["users:write"])), "roles:write")
    both = service.make_token(allow=["roles:write", "seats:write"])
    assert give(service, id, "seat", "internal", both).status_code == 200
    assert take(service, id, "seat", "internal", both).status_code == 204


@pytest.mark.parametrize(("kind", "value"), [("role", "admin"), ("role", "owner"), ("permission", "*")])
def test_an_application_that_may_not_do_everything_gives_nothing_privileged(
    service: Service, kind: str, value: str
) -> None:
    id = service.user("ann")["id"]
    by_cli(service, service.user("zoe")["id"], ("role", "owner"))
    limited = service.make_token(allow=["users:*", "roles:*", "seats:*", "groups:*"])
    refused(give(service, id, kind, value, limited), value, "`*`")
    assert service.ask("GET", f"/api/v1/users/{id}/grants").json()["items"] == []
    assert give(service, id, kind, value).status_code == 200
    refused(take(service, id, kind, value, limited), "take from ann", "`*`")
    with service.database.reading() as conn:
        rows = conn.execute(t.activity.select().where(t.activity.c.action == "refused")).all()
    assert len(rows) == 2, "the record says who tried"


def test_nobody_gives_more_than_she_holds(service: Service) -> None:
    id = service.user("ann")["id"]
    _, admin = person(service, "eve", ("role", "admin"), ("scope", "unit=north"))
    for role in ("admin", "member", "viewer"):
        assert give(service, id, "role", role, admin).status_code == 200, role
    refused(give(service, id, "role", "owner", admin), "the role owner")
    refused(give(service, id, "role", "clerk", admin), "invoices.view")
    refused(give(service, id, "permission", "*", admin), "the permission *")
    refused(give(service, id, "permission", "billing.pay", admin))
    assert give(service, id, "permission", "assets.delete", admin).status_code == 200
    assert give(service, id, "scope", "unit=south", admin).status_code == 200, "an admin sees everything"
    for owner in (id, service.user("zoe")["id"]):
        by_cli(service, owner, ("role", "owner"))
    refused(take(service, id, "role", "owner", admin), "take from ann")


def test_a_person_gives_only_what_is_not_denied_to_her(service: Service) -> None:
    id = service.user("ann")["id"]
    lead, token = person(
        service, "eve", ("permission", "permissions.manage"), ("permission", "invoices.*"), ("scope", "unit=north")
    )
    assert give(service, id, "permission", "invoices.pay", token).status_code == 200
    assert give(service, id, "role", "clerk", token).status_code == 200, "it permits what she holds"
    assert give(service, id, "scope", "unit=north", token).status_code == 200
    refused(give(service, id, "scope", "unit=south", token), "unit=south")
    refused(give(service, id, "seat", "internal", token), "does not manage seats")
    by_cli(service, lead, ("permission", "!invoices.pay"))
    refused(give(service, id, "permission", "invoices.*", token), "invoices.*")
    assert give(service, id, "permission", "invoices.view", token).status_code == 200
    refused(take(service, id, "permission", "invoices.pay", token))


def test_whoever_manages_nothing_or_may_not_sign_in_gives_nothing(service: Service) -> None:
    id = service.user("ann")["id"]
    _, clerk = person(service, "joe", ("role", "clerk"))
    refused(give(service, id, "role", "clerk", clerk), "does not manage roles")
    boss, admin = person(service, "eve", ("role", "admin"))
    assert give(service, id, "role", "viewer", admin).status_code == 200
    service.ask("POST", f"/api/v1/users/{boss}/suspend")
    refused(give(service, id, "role", "member", admin), "does not manage roles")


def test_a_rule_is_no_way_around(service: Service) -> None:
    """Neither an attribute nor somebody's own token makes an admin of whom the asker could not make one."""
    known = service.workspaces["default"]
    rules = (*known.rules, rule("chiefs", 'userType eq "Chief"', roles=("admin",)))
    roles = {**known.roles, "hr": Role("hr", frozenset({"users.manage"}))}
    service.workspaces["default"] = replace(known, rules=rules, roles=roles)
    limited = service.make_token(allow=["users:*"])
    id = service.user("ann")["id"]
    refused(service.ask("PATCH", f"/api/v1/users/{id}", {"userType": "Chief"}, limited), "admin", "by rule chiefs")
    made = service.ask("POST", "/api/v1/users", {"userName": "bob", "userType": "Chief"}, limited)
    refused(made, "admin", "by rule chiefs")
    assert service.ask("PATCH", f"/api/v1/users/{id}", {"userType": "Employee"}, limited).status_code == 200
    _, hr = person(service, "joe", ("role", "hr"))
    refused(service.ask("PATCH", f"/api/v1/users/{id}", {"userType": "Chief"}, hr), "joe may not give")
    assert service.ask("PATCH", f"/api/v1/users/{id}", {"userType": "Chief"}).status_code == 200


def test_a_dry_run_meets_the_same_refusal(service: Service) -> None:
    id = service.user("ann")["id"]
    dry = {"X-Dry-Run": "true"}
    limited = service.make_token(allow=["roles:write"])
    path, body = f"/api/v1/users/{id}/grants", {"kind": "role", "value": "admin"}
    refused(service.ask("POST", path, body, limited, headers=dry), "admin")
    assert service.ask("POST", path, body, headers=dry).status_code == 200
    assert service.ask("GET", path).json()["items"] == []
