"""What a connection needs to be tolerated: logged, measured, kept for `syncd token show`; and policies at the edge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from syncd.auth import Authenticator
from syncd.core.actor import Actor
from syncd.core.workspace import SourcePolicy, Workspace
from syncd.errors import DatabaseUnavailable
from syncd.scim import dialects
from syncd.store import tokens
from syncd.store.engine import Database

from .conftest import GROUP_URN, PATCH_URN, USER_URN, Service

OKTA = Actor("scim", "okta test", "default", source="okta")


def kept(database: Database, *sources: str) -> dict[str, int]:
    with database.reading() as conn:
        return {each.name: each.uses for each in tokens.tolerated(conn, "default", sources)}


def test_data_of_an_extension_that_is_not_configured_is_counted_and_not_kept(service: Service) -> None:
    urn = "urn:example:params:scim:schemas:extension:none:2.0:User"
    body = {"schemas": [USER_URN, urn], "userName": "ann", urn: {"shoeSize": 42}}
    with capture_logs() as lines:
        made = service.ask("POST", "Users", body)
        service.ask("PUT", f"Users/{made.json()['id']}", body)
    taken = [line["tolerances"] for line in lines if line["event"] == "scim_answered"]
    assert taken == [["unknown_attributes", "unknown_schemas"]] * 2
    read = service.ask("GET", f"Users/{made.json()['id']}").json()
    assert (read["schemas"], urn in read, read["meta"]["version"]) == ([USER_URN], False, 'W/"1"')


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("policy", dialects.NAMES)
def test_a_body_of_another_resource_is_told_which_schema_it_lacks(service: Service, policy: str) -> None:
    okta = SourcePolicy("okta", dialect=policy, tolerances=dialects.POLICIES[policy])
    service.workspaces["default"] = Workspace(sources={"okta": okta})
    answer = service.ask("POST", "Users", {"schemas": [GROUP_URN], "userName": "ann"})
    assert (answer.status_code, answer.json()["scimType"]) == (400, "invalidSyntax")
    assert answer.json()["detail"] == f'"schemas" is ["{GROUP_URN}"]: add "{USER_URN}"'


def test_a_request_s_tolerances_are_logged_measured_and_kept(service: Service) -> None:
    service.web = service.application(open_status=True)
    ann = service.user("ann@example.org")["id"]
    with capture_logs() as lines:
        for _ in range(2):
            service.patch(f"Users/{ann}", {"op": "Replace", "path": "active", "value": "True"})
        service.ask("GET", "Users", filter='active eq "True"')
        service.patch(f"Users/{ann}", {"op": "Fly"})
    assert [line.get("tolerances") for line in lines if line["event"] == "scim_answered"] == [
        ["boolean_as_text", "operation_in_any_case"],
        ["boolean_as_text", "operation_in_any_case"],
        ["boolean_as_text_in_filter"],
        None,
    ]
    page = text_string_to_metric_families(service.ask("GET", "/metrics", token=None).text)
    samples = [each for family in page for each in family.samples if each.name == "syncd_scim_tolerances_total"]
    assert {(each.labels["connection"], each.labels["tolerance"], each.value) for each in samples} == {
        ("okta test", "boolean_as_text", 2),
        ("okta test", "operation_in_any_case", 2),
        ("okta test", "boolean_as_text_in_filter", 1),
    }

    async def ended() -> None:
        async with service.web.router.lifespan_context(service.web):
            pass

    service.run(ended())
    database = Database(service.database.url)
    assert kept(database, "okta") == {"boolean_as_text": 2, "operation_in_any_case": 2, "boolean_as_text_in_filter": 1}
    assert kept(database, "entra") == {}
    database.close()


def test_a_form_that_is_refused_for_want_of_a_tolerance_is_logged_measured_and_kept_by_its_name(
    service: Service,
) -> None:
    service.web = service.application(open_status=True)
    service.workspaces["default"] = Workspace(
        sources={"okta": SourcePolicy("okta", tolerances=dialects.POLICIES["rfc"])}
    )
    ann = service.user("ann@example.org")["id"]
    bulk = {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],
        "Operations": [
            {"method": "POST", "path": "/Users", "bulkId": "1", "data": {"userName": "bob"}},
            {
                "method": "PATCH",
                "path": f"/Users/{ann}",
                "data": {"schemas": [PATCH_URN], "Operations": [{"op": "Add"}]},
            },
        ],
    }
    with capture_logs() as lines:
        service.patch(f"Users/{ann}", {"op": "Replace", "path": "active", "value": "True"})
        service.patch(f"Users/{ann}", {"op": "replace", "value": {"nickName": "A", "shoeSize": 42}})
        service.ask("GET", "Users", filter='active eq "True"')
        service.ask("POST", "Bulk", bulk)
        service.ask("POST", "Users", {"userName": "dry"}, headers={"X-Dry-Run": "true"})
    answered = [line for line in lines if line["event"] == "scim_answered"]
    assert [(line.get("tolerances"), line.get("refused")) for line in answered] == [
        (None, ["operation_in_any_case"]),
        (["pathless_patch", "unknown_attributes"], None),
        (None, ["boolean_as_text_in_filter"]),
        (None, ["missing_schemas", "operation_in_any_case"]),
        (None, None),
    ]
    page = text_string_to_metric_families(service.ask("GET", "/metrics", token=None).text)
    samples = [each for family in page for each in family.samples if each.name == "syncd_scim_refused_forms_total"]
    assert {(each.labels["connection"], each.labels["tolerance"], each.value) for each in samples} == {
        ("okta test", "operation_in_any_case", 2),
        ("okta test", "boolean_as_text_in_filter", 1),
        ("okta test", "missing_schemas", 1),
    }

    async def ended() -> None:
        async with service.web.router.lifespan_context(service.web):
            pass

    service.run(ended())
    database = Database(service.database.url)
    with database.reading() as conn:
        kept = {(each.name, each.lacked, each.uses) for each in tokens.tolerated(conn, "default", ["okta"])}
    database.close()
    assert kept == {
        ("operation_in_any_case", True, 2),
        ("boolean_as_text_in_filter", True, 1),
        ("missing_schemas", True, 1),
        ("pathless_patch", False, 1),
        ("unknown_attributes", False, 1),
    }


def test_counts_add_up_and_outlive_a_database_that_is_away(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Authenticator(service.database, service.workspaces, lambda: service.now)
    asked.tolerated(OKTA, {"bare_value"})
    service.run(asked.note_used())
    asked.tolerated(OKTA, {"bare_value", "no_operations"})

    async def away(work: Callable[[Any], Any]) -> Any:
        raise DatabaseUnavailable("no answer")

    with monkeypatch.context() as patched:
        patched.setattr(service.database, "write", away)
        with pytest.raises(DatabaseUnavailable):
            service.run(asked.note_used())
    asked.tolerated(OKTA, {"bare_value"})
    for _ in range(2):
        service.run(asked.note_used())
    assert kept(service.database, "okta") == {"bare_value": 3, "no_operations": 1}


@pytest.mark.parametrize(
    ("policy", "status"), [("tolerant", 200), ("entra", 200), ("okta", 400), ("rfc", 400), ("interop-strict", 400)]
)
def test_the_policy_is_that_of_the_token_s_source(service: Service, policy: str, status: int) -> None:
    source = SourcePolicy("okta", dialect=policy, tolerances=dialects.POLICIES[policy])
    service.workspaces["default"] = Workspace(sources={"okta": source})
    ann, other = service.user("ann@example.org")["id"], service.make_token("scim")
    operation = {"op": "Replace", "path": "title", "value": "Chief"}
    answer = service.patch(f"Users/{ann}", operation)
    assert answer.status_code == status
    if status == 400:
        assert answer.json()["scimType"] == "invalidSyntax"
        assert "operation_in_any_case" in answer.json()["detail"]
        assert "title" not in service.ask("GET", f"Users/{ann}").json()
    # A connection that is not configured has the default.
    made = service.ask("POST", "Users", {"schemas": [USER_URN], "userName": "bob", "active": "true"}, token=other)
    assert made.status_code == 201


def test_a_bulk_request_s_operations_are_read_by_the_same_policy(service: Service) -> None:
    ann = service.user("ann@example.org")["id"]

    def bulk() -> dict[str, Any]:
        operation = {"op": "Replace", "path": "active", "value": "False"}
        patch = {
            "method": "PATCH",
            "path": f"/Users/{ann}",
            "data": {"schemas": [PATCH_URN], "Operations": [operation]},
        }
        body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": [patch]}
        with capture_logs() as lines:
            (done,) = service.ask("POST", "Bulk", body).json()["Operations"]
        taken = [line.get("tolerances") for line in lines if line["event"] == "scim_answered"]
        return {"status": done["status"], "taken": taken}

    assert bulk() == {"status": "200", "taken": [["boolean_as_text", "operation_in_any_case"]]}
    source = SourcePolicy("okta", dialect="rfc", tolerances=dialects.POLICIES["rfc"])
    service.workspaces["default"] = Workspace(sources={"okta": source})
    assert bulk() == {"status": "400", "taken": [None]}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_is_refused_in_a_circle_or_at_once_though_it_may_wait_is_counted_too(service: Service) -> None:
    rfc = SourcePolicy("okta", tolerances=dialects.POLICIES["rfc"], passwords=True)
    service.workspaces["default"] = Workspace(sources={"okta": rfc})
    one = {"schemas": [GROUP_URN], "displayName": "one", "members": [{"value": "bulkId:2"}]}
    two = {"displayName": "two", "members": [{"value": "bulkId:1"}]}
    posts = [{"method": "POST", "path": "/Groups", "bulkId": id, "data": body} for id, body in (("1", one), ("2", two))]
    circle = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": posts}
    with capture_logs() as lines:
        assert {each["status"] for each in service.ask("POST", "Bulk", circle).json()["Operations"]} == {"400", "409"}
        body = {"userName": "ann", "password": "a long one, and kept nowhere"}
        assert service.ask("POST", "Users", body, headers={"Prefer": "respond-async"}).status_code == 400
    assert [line["refused"] for line in lines if line["event"] == "scim_answered"] == [["missing_schemas"]] * 2
