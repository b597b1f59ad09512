"""Who may ask: tokens that are wrong, expired, revoked, rotated or narrow; and no way from one workspace to another."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.routing import Route

from syncd.auth import Authenticator
from syncd.core.actor import Actor
from syncd.core.workspace import SourcePolicy
from syncd.errors import InvalidValue, NotFound
from syncd.store import tokens

from .conftest import GROUP_URN, PATCH_URN, USER_URN, Service

ROOT = Actor("cli", "root", "default")
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)  # where the clock of the service starts


def test_a_token_is_shown_once_and_kept_as_a_hash(service: Service) -> None:
    with service.database.reading() as conn:
        (token,) = tokens.listed(conn, "default")
        stored = conn.exec_driver_sql("SELECT * FROM tokens").all()
        recorded = conn.exec_driver_sql("SELECT action, subject FROM activity").all()
    secret = service.token.rpartition("_")[2]
    assert len(secret) == 64 and service.token.startswith(f"syncd_{token.id}_")
    assert secret not in repr(stored) and secret not in repr(token)
    assert [tuple(row) for row in recorded] == [("token_create", "okta test")]


@pytest.mark.parametrize("change", ["secret", "id", "empty", "prefix", "long", "case"])
def test_a_wrong_token_is_401(service: Service, change: str) -> None:
    _, id, secret = service.token.split("_")
    wrong = {
        "secret": f"syncd_{id}_{'0' * 64}",
        "id": f"syncd_{'0' * 16}_{secret}",
        "empty": " ",
        "prefix": secret,
        "long": service.token + "0",
        "case": service.token.upper(),
    }[change]
    answer = service.ask("GET", "Users", token=wrong)
    assert (answer.status_code, answer.json()["status"]) == (401, "401")
    invalid = "" if change == "empty" else ', error="invalid_token"'  # RFC 6750 section 3.1
    assert answer.headers["www-authenticate"] == f'Bearer realm="syncd"{invalid}'
    assert (
        service.ask("GET", "/api/v1/users", token=wrong).headers["www-authenticate"] == f'Bearer realm="syncd"{invalid}'
    )
    other = service.ask("GET", "Users", token=None, headers={"Authorization": f"Basic {secret}"})
    assert (other.status_code, other.headers["www-authenticate"]) == (401, 'Bearer realm="syncd"')


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_token_that_was_pasted_with_the_word_bearer_is_told_so(service: Service) -> None:
    for pasted in (f"Bearer {service.token}", f"bearer  {service.token}"):
        answer = service.ask("GET", "Users", token=pasted)
        assert (answer.status_code, "Bearer is there twice" in answer.json()["detail"]) == (401, True)
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_expired_revoked_rotated(service: Service) -> None:
    short = service.make_token(expires_at=service.now + timedelta(hours=1))
    assert service.ask("GET", "Users", token=short).status_code == 200
    service.later(hours=1)
    assert service.ask("GET", "Users", token=short).status_code == 401
    with service.database.writing() as conn:
        _, fresh = tokens.rotate(conn, ROOT, "okta test", service.now, service.ids, grace=timedelta(days=1))
    assert [service.ask("GET", "Users", token=each).status_code for each in (service.token, fresh)] == [200, 200]
    service.later(days=1)
    assert [service.ask("GET", "Users", token=each).status_code for each in (service.token, fresh)] == [401, 200]
    with service.database.writing() as conn:
        assert len(tokens.revoke(conn, ROOT, "okta test", service.now, service.ids)) == 1
    assert service.ask("GET", "Users", token=fresh).status_code == 401
    with service.database.writing() as conn:
        for wrong in ("okta test", "nobody"):
            with pytest.raises(NotFound):
                tokens.revoke(conn, ROOT, wrong, service.now, service.ids)
        with pytest.raises(NotFound):
            tokens.revoke(conn, Actor("cli", "root", "other"), "okta test", service.now, service.ids)


def test_a_cached_token_still_expires(service: Service) -> None:
    short = service.make_token(expires_at=service.now + timedelta(hours=1))
    service.web = service.application(token_cache_s=3600)
    assert service.ask("GET", "Users", token=short).status_code == 200
    service.later(hours=1)
    assert service.ask("GET", "Users", token=short).status_code == 401


@pytest.mark.parametrize("wrong", [{"allow": ["users:fly"]}, {"allow": []}, {"expires_at": NOW}, {"source": " "}])
def test_what_a_token_cannot_be(service: Service, wrong: dict[str, Any]) -> None:
    with service.database.writing() as conn, pytest.raises(InvalidValue):
        tokens.create(conn, ROOT, "x", service.now, service.ids, **wrong)


def test_a_verified_token_costs_no_query_and_its_use_is_noted_outside_requests(service: Service) -> None:
    asked = Authenticator(service.database, service.workspaces, lambda: service.now, cache_s=3600)
    header = f"Bearer {service.token}"
    first = service.run(asked.actor(header))
    with service.database.writing() as conn:
        tokens.revoke(conn, ROOT, "okta test", service.now, service.ids)
    assert service.run(asked.actor(header)) == first, "for as long as it is cached"
    with service.database.reading() as conn:
        assert [each.last_used_at for each in tokens.listed(conn, "default")] == [None]
    service.run(asked.note_used())
    with service.database.reading() as conn:
        assert [each.last_used_at for each in tokens.listed(conn, "default")] == [service.now]


@pytest.mark.parametrize(
    ("allow", "can"),
    [
        (["users:read"], {"GET Users"}),
        (["users:write"], {"POST Users"}),
        (["groups:read"], {"GET Groups"}),
        (["groups:write"], {"POST Groups"}),
        (["users:*"], {"GET Users", "POST Users"}),
        (["*"], {"GET Users", "POST Users", "GET Groups", "POST Groups"}),
    ],
)
def test_a_missing_permission_is_403_and_named(service: Service, allow: list[str], can: set[str]) -> None:
    token = service.make_token(allow=allow)
    bodies = {"Users": {"schemas": [USER_URN], "userName": "x"}, "Groups": {"schemas": [GROUP_URN], "displayName": "x"}}
    for path, body in bodies.items():
        for method, verb in (("GET", "read"), ("POST", "write")):
            answer = service.ask(method, path, body if method == "POST" else None, token=token)
            if f"{method} {path}" in can:
                assert answer.status_code in (200, 201)
            else:
                assert answer.status_code == 403
                assert f"{path.lower()}:{verb}" in answer.json()["detail"]
    assert service.ask("GET", "ServiceProviderConfig", token=token).status_code == 200


# -- workspaces ---------------------------------------------------------------------------------------------------------------


def test_a_token_of_a_workspace_that_is_not_configured_is_none(service: Service) -> None:
    token = service.make_token(workspace="other")
    assert service.ask("GET", "Users", token=token).status_code == 200
    del service.workspaces["other"]
    assert service.ask("GET", "Users", token=token).status_code == 401


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_token_of_a_connection_that_was_taken_out_is_none(service: Service) -> None:
    """Or it would go on without the networks, permissions and limits that were written there."""
    usual = {name: service.make_token(source=name) for name in ("okta", "scim", "local")}
    with service.database.writing() as conn:
        actor = Actor("cli", "root", "default")
        client, secret = tokens.create(conn, actor, "c", service.now, service.ids, source="okta", client=True)
    form = f"grant_type=client_credentials&client_id={client.id}&client_secret={secret}".encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}

    def grant() -> int:
        return service.ask("POST", "/oauth/token", token=None, content=form, headers=headers).status_code

    assert grant() == 200
    workspace = service.workspaces["default"]
    kept = {name: source for name, source in workspace.sources.items() if name != "okta"}
    for sources in (kept, {**kept, "okta": SourcePolicy("okta", kind="ldap")}):
        service.workspaces["default"] = replace(workspace, sources=sources)
        answers = {name: service.ask("GET", "Users", token=text).status_code for name, text in usual.items()}
        assert answers == {"okta": 401, "scim": 200, "local": 200}
        assert grant() == 401


def routes(service: Service) -> list[tuple[str, str]]:
    """Every (method, path template) of the application, from the application itself."""
    found = []
    for route in service.web.routes:
        assert isinstance(route, Route)
        declared = getattr(route.app, "methods", None) or route.methods or ()
        found += [(method, route.path) for method in declared]
    return found


def test_every_route_walked_with_another_workspaces_token(service: Service) -> None:
    """Nothing readable, nothing writable: an id of another workspace is no id, in a path, a filter or a body."""
    ann = service.user("ann-unspoken", externalId="ext-unspoken", title="unspoken")
    group = service.group("group-unspoken", ann["id"])
    before = [service.ask("GET", "Users").content, service.ask("GET", "Groups").content]
    token = service.make_token(workspace="other")
    own = service.group("own", token=token)
    walked = routes(service)
    assert len([path for _, path in walked if path.startswith("/scim")]) > 20
    bodies: list[Any] = [
        {"schemas": [USER_URN], "userName": "taken over", "externalId": "mine"},
        {"schemas": [GROUP_URN], "displayName": "taken over", "members": [{"value": ann["id"]}]},
        {"schemas": [PATCH_URN], "Operations": [{"op": "replace", "path": "displayName", "value": "taken over"}]},
        {"schemas": [PATCH_URN], "Operations": [{"op": "add", "path": "members", "value": [{"value": ann["id"]}]}]},
    ]
    for method, template in walked:
        for id in (ann["id"], group["id"]):
            path = template.replace("{id}", id).replace("{rest:path}", id)
            answers = [service.ask(method, path, token=token)]
            if method in ("POST", "PUT", "PATCH"):
                answers += [service.ask(method, path, body, token=token) for body in bodies]
            for answer in answers:
                assert answer.status_code < 500 or answer.status_code == 501, (method, path, answer.text)
                assert "unspoken" not in answer.text, (method, path)
                if "{id}" in template and template.startswith(("/scim/v2/Users", "/scim/v2/Groups")):
                    assert answer.status_code in (400, 404), (method, path, answer.text)
                    assert method not in ("GET", "DELETE") or answer.status_code == 404
    for path, filter in (
        ("Users", f'id eq "{ann["id"]}"'),
        ("Users", 'userName eq "ann-unspoken"'),
        ("Users", 'externalId eq "ext-unspoken" and title pr'),
        ("Users", f'groups.value eq "{group["id"]}"'),
        ("Groups", f'members.value eq "{ann["id"]}"'),
        ("Groups", f'id eq "{group["id"]}"'),
        ("Groups", 'displayName eq "group-unspoken"'),
    ):
        assert service.names(filter, path, token=token) == []
    taken = {"op": "add", "path": "members", "value": [{"value": ann["id"]}]}
    assert service.patch(f"Groups/{own['id']}", taken, token=token).status_code == 400
    assert [service.ask("GET", "Users").content, service.ask("GET", "Groups").content] == before
    with service.database.reading() as conn:
        for table, column in (("memberships", "member_id"), ("links", "resource_id"), ("users", "id")):
            rows = conn.exec_driver_sql(f"SELECT {column} FROM {table} WHERE workspace = 'other'").scalars().all()
            assert not {ann["id"], group["id"]} & set(rows)
