"""/Roles and /Entitlements (draft-ietf-scim-roles-entitlements-01): what may be given to whom, and how many seats are left."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from syncd.core.catalogue import ENTITLEMENT_URN, ROLE_URN, SYNCD_ENTITLEMENT
from syncd.core.connection import Shows
from syncd.core.seats import Pool

from .conftest import Service


def values(service: Service, path: str, token: str = "", **query: Any) -> list[str]:
    found = service.ask("GET", path, token=token, **query)
    assert found.status_code == 200, found.text
    return [each["value"] for each in found.json()["Resources"]]


def pool(service: Service, name: str) -> dict[str, Any]:
    (found,) = service.ask("GET", "Entitlements", filter=f'value eq "{name}"').json()["Resources"]
    return dict(found)


def seats(service: Service, name: str) -> tuple[int, int, int]:
    """(used, left, waiting)"""
    found = pool(service, name)
    return found["totalAssignmentsUsed"], found[SYNCD_ENTITLEMENT]["left"], found[SYNCD_ENTITLEMENT]["waiting"]


def configure(service: Service, **more: Any) -> None:
    service.workspaces["default"] = replace(service.workspaces["default"], **more)


def policy(service: Service, source: str, **more: Any) -> None:
    known = service.workspaces["default"].sources
    configure(service, sources={**known, source: replace(known[source], **more)})


def test_seats_are_counted_as_they_are_taken_waited_for_and_freed(service: Service) -> None:
    assert seats(service, "internal") == (0, 3, 0)
    people = [service.user(name, userType="Employee") for name in ("ann", "bea", "cat", "dan")]
    assert seats(service, "internal") == (3, 0, 1)
    assert service.ask("DELETE", f"Users/{people[0]['id']}").status_code == 204
    assert seats(service, "internal") == (3, 0, 0)
    stop = {"op": "replace", "path": "active", "value": False}
    assert service.patch(f"Users/{people[1]['id']}", stop).status_code == 200
    assert seats(service, "internal") == (2, 1, 0)
    configure(service, pools={**service.workspaces["default"].pools, "internal": Pool("internal", 1)})
    assert seats(service, "internal") == (2, 0, 0)  # fewer were bought than are held


def test_an_entitlement_is_a_seat_pool(service: Service) -> None:
    over = Pool("trial", 2, when_full="overage", overage=3, kind="portal")
    configure(service, pools={**service.workspaces["default"].pools, "open": Pool("open"), "trial": over})
    found = pool(service, "crm")
    assert found == service.ask("GET", f"Entitlements/{found['id']}").json()
    assert found == {
        "schemas": [ENTITLEMENT_URN, SYNCD_ENTITLEMENT],
        "id": found["id"],
        **{"value": "crm", "display": "crm", "type": "internal", "supported": True},
        **{"limitedAssignmentsPermitted": True, "totalAssignmentsPermitted": 1, "totalAssignmentsUsed": 0},
        SYNCD_ENTITLEMENT: {"left": 1, "waiting": 0, "requires": ["internal"]},
        "meta": {
            "resourceType": "Entitlement",
            "location": f"http://syncd.test/scim/v2/Entitlements/{found['id']}",
        },
    }
    unlimited = pool(service, "open")
    assert unlimited["limitedAssignmentsPermitted"] is False and "totalAssignmentsPermitted" not in unlimited
    assert unlimited[SYNCD_ENTITLEMENT] == {"waiting": 0}
    assert (pool(service, "trial")["totalAssignmentsPermitted"], pool(service, "trial")["type"]) == (5, "portal")
    other = service.make_token(workspace="other")
    assert pool(service, "internal")["id"] != next(
        each["id"]
        for each in service.ask("GET", "Entitlements", token=other).json()["Resources"]
        if each["value"] == "internal"
    )
    assert values(service, "Entitlements", filter=f"{SYNCD_ENTITLEMENT}:left lt 3") == ["crm"]
    assert values(service, "Entitlements", filter="not (totalAssignmentsPermitted pr)") == ["open"]


def test_a_connection_sees_the_roles_that_it_may_lead_to(service: Service) -> None:
    assert values(service, "Roles") == ["clerk", "member", "viewer"]
    policy(service, "okta", may_grant=frozenset({"admin", "viewer"}))
    assert values(service, "Roles") == ["admin", "viewer"]
    found = service.ask("GET", "Roles", filter='value eq "ADMIN"').json()["Resources"][0]
    assert found["schemas"] == [ROLE_URN] and found["type"] == "built-in" and found["supported"] is True
    entra = service.make_token("entra")
    assert service.ask("GET", f"Roles/{found['id']}").json() == found
    gone = service.ask("GET", f"Roles/{found['id']}", token=entra)
    assert (gone.status_code, gone.json()["status"]) == (404, "404")
    configure(service, roles={"guide": service.workspaces["default"].roles["clerk"]})
    assert values(service, "Roles", token=entra) == ["guide"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_lists_are_filtered_sorted_paged_and_projected(service: Service) -> None:
    configure(service, pools={f"p{n}": Pool(f"p{n}", n % 3 or None) for n in range(7)})
    everyone = [f"p{n}" for n in range(7)]
    assert values(service, "Entitlements") == everyone
    assert values(service, "Entitlements", startIndex=3, count=2) == ["p2", "p3"]
    assert values(service, "Entitlements", sortBy="value", sortOrder="descending") == everyone[::-1]
    by_limit = values(service, "Entitlements", sortBy="totalAssignmentsPermitted")
    assert [name in ("p0", "p3", "p6") for name in by_limit] == [False] * 4 + [True] * 3  # no limit: last
    for order in ("ascending", "descending"):
        whole = values(service, "Entitlements", sortBy="totalAssignmentsPermitted", sortOrder=order)
        read, cursor = [], ""
        while cursor is not None:
            page = service.ask(
                *("GET", "Entitlements"), count=2, cursor=cursor, sortBy="totalAssignmentsPermitted", sortOrder=order
            ).json()
            read += [each["value"] for each in page["Resources"]]
            assert page["totalResults"] == 7
            cursor = page.get("nextCursor")
        assert read == whole
    shown = service.ask("GET", "Entitlements", filter='value eq "p1"', attributes="VALUE,supported").json()
    assert shown["Resources"][0].keys() == {"schemas", "id", "value", "supported"}
    id = shown["Resources"][0]["id"]
    assert "display" not in service.ask("GET", f"Entitlements/{id}", excludedAttributes="display").json()
    body = {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],
        "filter": 'type eq "internal"',
        "count": 1,
    }
    found = service.ask("POST", "Entitlements/.search", body).json()
    assert (found["totalResults"], found["itemsPerPage"]) == (7, 1)
    for query, kind in (
        ({"filter": "userName pr"}, "invalidFilter"),
        ({"sortBy": "userName"}, "invalidValue"),
        ({"cursor": "x"}, "invalidCursor"),
        ({"attributes": "value", "excludedAttributes": "id"}, "invalidValue"),
    ):
        refused = service.ask("GET", "Entitlements", **query)
        assert (refused.status_code, refused.json()["scimType"]) == (400, kind), query


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_nothing_is_written_and_each_needs_its_permission(service: Service) -> None:
    id = pool(service, "crm")["id"]
    for path in ("Roles", "Entitlements", f"Entitlements/{id}"):
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            refused = service.ask(method, path, {"schemas": [ENTITLEMENT_URN], "value": "mine"})
            assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, HEAD"), (method, path)
    assert service.ask("HEAD", "Roles").content == b""
    few = service.make_token(allow=["roles:read", "users:*"])
    assert service.ask("GET", "Roles", token=few).status_code == 200
    refused = service.ask("GET", "Entitlements", token=few)
    assert refused.status_code == 403 and "seats:read" in refused.json()["detail"]
    assert service.ask("POST", "Entitlements/.search", {}, token=few).status_code == 403
    assert service.ask("GET", "Roles", token=None).status_code == 401


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_they_are_found_by_name_and_listed_where_a_connection_wants_it(service: Service) -> None:
    role, entitlement = (service.ask("GET", f"ResourceTypes/{name}").json() for name in ("Role", "Entitlement"))
    assert (role["endpoint"], entitlement["endpoint"]) == ("/Roles", "/Entitlements")
    assert entitlement["schemaExtensions"] == [{"schema": SYNCD_ENTITLEMENT, "required": False}]
    for urn in (ROLE_URN, ENTITLEMENT_URN, SYNCD_ENTITLEMENT):
        told = service.ask("GET", f"Schemas/{urn}").json()
        assert {each["mutability"] for each in told["attributes"]} == {"readOnly"}
    asked = service.ask("GET", "ServiceProviderConfig?attributes=rolesAndEntitlements").json()
    assert asked["RolesAndEntitlements"]["entitlements"]["supported"] is True

    def listed() -> tuple[bool, bool, bool]:
        types, schemas = (service.ask("GET", path).json()["Resources"] for path in ("ResourceTypes", "Schemas"))
        return (
            "Role" in [each["id"] for each in types],
            SYNCD_ENTITLEMENT in [each["id"] for each in schemas],
            "RolesAndEntitlements" in service.ask("GET", "ServiceProviderConfig").json(),
        )

    assert listed() == (False, False, False)
    policy(service, "okta", shows=Shows(roles_and_entitlements=True))
    assert listed() == (True, True, True)
