"""What Entra and Okta send, from research on their documentation and test suites, played against the server."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import GROUP_URN, USER_URN, Service

ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"


@pytest.fixture
def ann(service: Service) -> str:
    return str(service.user("ann@example.org", externalId="ann", roles=[], meta={"resourceType": "User"})["id"])


def shown(service: Service, id: str) -> dict[str, Any]:
    return dict(service.ask("GET", f"Users/{id}").json())


def test_entra_tests_the_connection(service: Service) -> None:
    answer = service.ask("GET", 'Users?filter=userName%20eq%20"4ee7fe54-6b9f-4a91-b3f2-1b0e2f8f7a10"')
    assert (answer.status_code, answer.json()["totalResults"]) == (200, 0)


@pytest.mark.parametrize(
    ("operation", "attribute", "value"),
    [
        ({"op": "Replace", "path": "active", "value": "False"}, "active", False),
        ({"op": "Add", "path": "nickName", "value": "Babs"}, "nickName", "Babs"),
        ({"op": "Replace", "path": "name.givenName", "value": "Ann"}, "name", {"givenName": "Ann"}),
        (
            {"op": "Add", "path": 'emails[type eq "work"].value', "value": "a@example.org"},
            "emails",
            [{"type": "work", "value": "a@example.org"}],
        ),
        (
            {"op": "Replace", "path": 'addresses[type eq "other"].Formatted', "value": "Street 1"},
            "addresses",
            [{"type": "other", "formatted": "Street 1"}],
        ),
        ({"op": "Add", "path": f"{ENTERPRISE}:manager", "value": "m1"}, ENTERPRISE, {"manager": {"value": "m1"}}),
        ({"op": "Add", "path": f"{ENTERPRISE}:employeeNumber", "value": "7"}, ENTERPRISE, {"employeeNumber": "7"}),
        ({"op": "Replace", "path": "externalId", "value": "new"}, "externalId", "new"),
        (
            {"op": "Add", "path": 'roles[primary eq "True"].value', "value": "clerk"},
            "roles",
            [{"primary": True, "value": "clerk"}],
        ),
    ],
    ids=lambda value: value["path"] if isinstance(value, dict) and "path" in value else "",
)
def test_entra_patches_one_attribute(
    service: Service, ann: str, operation: dict[str, Any], attribute: str, value: Any
) -> None:
    answer = service.patch(f"Users/{ann}", operation)
    assert answer.status_code == 200, answer.text
    assert shown(service, ann)[attribute] == answer.json()[attribute] == value


def test_entra_takes_the_manager_away_with_empty_text(service: Service, ann: str) -> None:
    service.patch(f"Users/{ann}", {"op": "Add", "path": f"{ENTERPRISE}:manager", "value": "m1"})
    answer = service.patch(f"Users/{ann}", {"op": "Add", "path": f"{ENTERPRISE}:manager", "value": ""})
    assert (answer.status_code, ENTERPRISE in answer.json()) == (200, False)


def test_entra_with_its_flag_sends_dotted_and_urn_keys(service: Service, ann: str) -> None:
    value = {"displayName": "Ann L", "name.givenName": "Ann", f"{ENTERPRISE}:department": "Sales", "active": True}
    answer = service.ask(
        "PATCH",
        f"Users/{ann}?aadOptscim062020",
        {
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
            "Operations": [{"op": "replace", "value": value}],
        },
    )
    user = answer.json()
    assert (user["displayName"], user["name"]["givenName"]) == ("Ann L", "Ann")
    assert user[ENTERPRISE]["department"] == "Sales"


def test_entra_soft_deletes_then_deletes(service: Service, ann: str) -> None:
    service.patch(f"Users/{ann}", {"op": "Replace", "path": "active", "value": "False"})
    assert service.names('userName eq "ann@example.org"') == ["ann@example.org"]
    service.patch(f"Users/{ann}", {"op": "Replace", "path": "active", "value": "True"})
    assert shown(service, ann)["active"] is True
    assert service.ask("DELETE", f"Users/{ann}").status_code == 204
    assert service.names('userName eq "ann@example.org"') == []


def test_entra_group_cycle(service: Service, ann: str) -> None:
    legacy = "http://schemas.microsoft.com/2006/11/ResourceManagement/ADSCIM/2.0/Group"
    body = {"schemas": [GROUP_URN, legacy], "externalId": "g", "displayName": "Team", "meta": {"resourceType": "Group"}}
    group = service.ask("POST", "Groups", body).json()["id"]
    add = {"op": "Add", "path": "members", "value": [{"$ref": None, "value": ann}]}
    assert service.patch(f"Groups/{group}", add).status_code == 204
    probe = service.ask("GET", "Groups", filter=f'id eq "{group}" and members eq "{ann}"', attributes="id").json()
    assert probe["totalResults"] == 1
    taken = {"op": "Remove", "path": "members", "value": [{"value": ann}]}
    assert service.patch(f"Groups/{group}", taken).status_code == 204
    read = service.ask("GET", f"Groups/{group}", excludedAttributes="members")
    assert read.json()["externalId"] == "g"
    assert service.names(f'members eq "{ann}"', "Groups") == []


def test_okta_creates_looks_up_replaces_and_deactivates(service: Service) -> None:
    headers = {"User-Agent": "Okta SCIM Client 1.0.0", "Accept-Charset": "utf-8", "Content-Type": "application/json"}
    body = {
        "schemas": [USER_URN],
        "userName": "test.user@okta.local",
        "name": {"givenName": "Test", "familyName": "User"},
        "emails": [{"primary": True, "value": "test.user@okta.local", "type": "work"}],
        "displayName": "Test User",
        "locale": "en-US",
        "externalId": "00ujl29u0le5T6Aj10h7",
        "groups": [],
        "password": "1mz050nq",
        "active": True,
    }
    made = service.ask("POST", "Users", body, headers=headers)
    assert made.status_code == 201 and "password" not in made.json()
    assert service.ask("POST", "Users", body, headers=headers).status_code == 409
    found = service.ask("GET", "Users", filter='userName eq "test.user@okta.local"', startIndex=1, count=100).json()
    assert (found["totalResults"], found["Resources"][0]["id"]) == (1, made.json()["id"])
    user = found["Resources"][0] | {"title": "Chief"}
    put = service.ask("PUT", f"Users/{user['id']}", user, headers=headers)
    assert (put.status_code, put.json()["title"]) == (200, "Chief")
    off = service.patch(f"Users/{user['id']}", {"op": "replace", "value": {"active": False}})
    assert off.json()["active"] is False
    put = service.ask("PUT", f"Users/{user['id']}", {**user, "active": True}, headers=headers)
    assert put.json()["active"] is True


def test_okta_pushes_a_group(service: Service, ann: str) -> None:
    group = service.group("Test SCIMv2")["id"]
    bob = service.user("bob")["id"]
    rename = {"op": "replace", "value": {"id": group, "displayName": "Test SCIMv2 new"}}
    change = (
        {"op": "add", "path": "members", "value": [{"value": ann, "display": "ann@example.org"}]},
        {"op": "remove", "path": f'members[value eq "{bob}"]'},
    )
    assert service.patch(f"Groups/{group}", rename).status_code == 204
    assert service.patch(f"Groups/{group}", *change).status_code == 204
    full = {"op": "replace", "path": "members", "value": [{"value": bob, "display": "bob"}]}
    assert service.patch(f"Groups/{group}", full).status_code == 204
    shown = service.ask("GET", f"Groups/{group}").json()
    assert (shown["displayName"], [each["value"] for each in shown["members"]]) == ("Test SCIMv2 new", [bob])
    empty = {"op": "replace", "value": {"members": []}}
    assert service.patch(f"Groups/{group}", empty).status_code == 204
    assert "members" not in service.ask("GET", f"Groups/{group}").json()
    assert service.ask("DELETE", f"Groups/{group}").status_code == 204


def test_authentik_reads_404_as_gone_and_microsoft_sends_no_operations(service: Service, ann: str) -> None:
    assert service.ask("GET", "Users/00919288221112222").json()["status"] == "404"
    assert service.patch(f"Users/{ann}").status_code == 200
