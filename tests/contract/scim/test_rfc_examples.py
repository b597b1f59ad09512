"""The examples of RFC 7643 section 8 and RFC 7644 section 3, in their order, under the policy that holds nothing else.

Names and ids are this server's; what the verified errata correct is corrected (5990: country codes, 7898 and 7916: JSON). The
examples that are not in the grammar are in test_letter.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest

from syncd.core.schema import ENTERPRISE_USER
from syncd.core.workspace import SourcePolicy
from syncd.scim.dialects import POLICIES

from .conftest import BASE, GROUP_URN, USER_URN, Service

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

Json = dict[str, Any]
MESSAGES = "urn:ietf:params:scim:api:messages:2.0:"
BARBARA = {"formatted": "Ms. Barbara J Jensen III", "familyName": "Jensen", "givenName": "Barbara"}
BOTH = [{"value": "bjensen@example.com", "type": "work", "primary": True}, {"value": "babs@jensen.org", "type": "home"}]
PLAZA = {
    "type": "work",
    "streetAddress": "100 Universal City Plaza",
    "locality": "Hollywood",
    "region": "CA",
    "postalCode": "91608",
    "country": "US",
    "formatted": "100 Universal City Plaza\nHollywood, CA 91608 US",
    "primary": True,
}


@pytest.fixture
def strict(service: Service) -> Service:
    policy = SourcePolicy("okta", tolerances=POLICIES["rfc"])
    service.workspaces["default"] = replace(service.workspaces["default"], sources={"okta": policy})
    return service


def created(service: Service, **more: Any) -> Json:
    body = {"schemas": [USER_URN], "userName": "bjensen", "externalId": "bjensen", "name": BARBARA, **more}
    answer = service.ask("POST", "Users", body)
    assert answer.status_code == 201, answer.text
    found: Json = answer.json()
    return found


def bulk(service: Service, *operations: Json, **more: Any) -> list[Json]:
    answer = service.ask(
        "POST", "Bulk", {"schemas": [f"{MESSAGES}BulkRequest"], "Operations": list(operations), **more}
    )
    assert (answer.status_code, answer.json()["schemas"]) == (200, [f"{MESSAGES}BulkResponse"])
    return list(answer.json()["Operations"])


def post(path: str, bulk_id: str, **data: Any) -> Json:
    urns = [USER_URN if path == "/Users" else GROUP_URN, *([ENTERPRISE_USER] if ENTERPRISE_USER in data else [])]
    return {"method": "POST", "path": path, "bulkId": bulk_id, "data": {"schemas": urns, **data}}


def error(answer: httpx.Response) -> tuple[int, str | None]:
    body = answer.json()
    assert (body["schemas"], body["status"]) == ([f"{MESSAGES}Error"], str(answer.status_code))
    return answer.status_code, body.get("scimType")


# -- RFC 7643 section 8 ----------------------------------------------------------------------------------------------------


def test_8_1_to_8_4_representations(strict: Service) -> None:
    full = {
        "externalId": "701984",
        "name": BARBARA | {"middleName": "Jane", "honorificPrefix": "Ms.", "honorificSuffix": "III"},
        "displayName": "Babs Jensen",
        "nickName": "Babs",
        "profileUrl": "https://login.example.com/bjensen",
        "emails": BOTH,
        "addresses": [PLAZA, {"type": "home", "streetAddress": "456 Hollywood Blvd", "country": "US"}],
        "phoneNumbers": [{"value": "555-555-5555", "type": "work"}, {"value": "555-555-4444", "type": "mobile"}],
        "ims": [{"value": "someaimhandle", "type": "aim"}],
        "photos": [{"value": "https://photos.example.com/profilephoto/72930000000Ccne/F", "type": "photo"}],
        "userType": "Employee",
        "title": "Tour Guide",
        "preferredLanguage": "en-US",
        "locale": "en-US",
        "timezone": "America/Los_Angeles",
        "active": True,
        "x509Certificates": [{"value": "MIIDQzCCAqygAwIBAgICEAAwDQYJKoZIhvcNAQEFBQAw"}],
    }
    boss = strict.user("jsmith", displayName="John Smith")
    manager = {"value": boss["id"], "$ref": f"../Users/{boss['id']}", "displayName": "John Smith"}
    work = {
        "employeeNumber": "701984",
        "costCenter": "4130",
        "organization": "Universal Studios",
        "division": "Theme Park",
    }
    given = full | {ENTERPRISE_USER: work | {"manager": manager}, "password": "t1meMa$heen", "groups": [{"value": "x"}]}
    minimal, user = strict.user("minimal"), created(strict, **given)
    assert set(minimal) == {"schemas", "id", "userName", "active", "meta"}
    assert {name: user[name] for name in full} == full
    assert user["schemas"] == [USER_URN, ENTERPRISE_USER]
    assert user[ENTERPRISE_USER] == work | {"manager": {"value": boss["id"], "$ref": boss["meta"]["location"]}}
    assert not {"password", "groups"} & set(user)
    assert user["meta"]["created"] == user["meta"]["lastModified"]  # never modified (section 3.1)
    assert strict.ask("PUT", f"Users/{user['id']}", user).json() == user  # what was read may be sent again
    mandy = strict.user("mandy")
    guides = strict.group("Tour Guides", user["id"], mandy["id"])
    assert {each["value"]: each["$ref"] for each in guides["members"]} == {
        each["id"]: each["meta"]["location"] for each in (user, mandy)
    }
    assert strict.ask("GET", f"Users/{mandy['id']}").json()["groups"][0]["$ref"] == guides["meta"]["location"]


# -- RFC 7644 section 3 ----------------------------------------------------------------------------------------------------


def test_3_3_create_3_4_1_retrieve_3_9_partly_and_3_14_versions(strict: Service) -> None:
    body = {"schemas": [USER_URN], "userName": "bjensen", "externalId": "bjensen", "name": BARBARA}
    made = strict.ask("POST", "Users", body)
    user = made.json()
    assert made.status_code == 201 and body.items() <= user.items()
    assert user["meta"]["resourceType"] == "User"
    assert made.headers["location"] == user["meta"]["location"] == f"{BASE}/scim/v2/Users/{user['id']}"
    assert made.headers["etag"] == user["meta"]["version"] and made.headers["etag"].startswith('W/"')
    assert error(strict.ask("POST", "Users", body)) == (409, "uniqueness")
    read = strict.ask("GET", f"Users/{user['id']}")
    assert (read.json(), read.headers["etag"], read.headers["location"]) == (
        user,
        user["meta"]["version"],
        user["meta"]["location"],
    )
    part = strict.ask("GET", f"Users/{user['id']}", attributes="userName").json()
    assert part == {"schemas": [USER_URN], "id": user["id"], "userName": "bjensen"}
    known = {"If-None-Match": user["meta"]["version"]}
    same = strict.ask("GET", f"Users/{user['id']}", attributes="displayName", headers=known)
    assert (same.status_code, same.content) == (304, b"")


def test_3_4_2_queries(strict: Service) -> None:
    bjensen, jsmith = created(strict, displayName="Babs"), strict.user("jsmith", displayName="Smith, James")
    family = strict.group("Smith Family")
    found = strict.ask("GET", "Users", attributes="userName").json()
    assert found["Resources"] == [
        {"schemas": [USER_URN], "id": each["id"], "userName": each["userName"]} for each in (bjensen, jsmith)
    ]
    page = strict.ask("GET", "Users", startIndex=1, count=1).json()
    assert (page["totalResults"], page["itemsPerPage"], page["startIndex"]) == (2, 1, 1)
    assert strict.ask("GET", "Users", startIndex=2, count=10).json()["Resources"] == [jsmith]
    search = {
        "schemas": [f"{MESSAGES}SearchRequest"],
        "attributes": ["displayName", "userName"],
        "filter": 'displayName sw "smith"',
        "startIndex": 1,
        "count": 10,
    }
    hits = strict.ask("POST", ".search", search).json()["Resources"]
    shown = [{key: value for key, value in each.items() if key != "schemas"} for each in hits]
    assert shown == [
        {"id": jsmith["id"], "userName": "jsmith", "displayName": "Smith, James"},
        {"id": family["id"], "displayName": "Smith Family"},
    ]


def test_3_5_1_put(strict: Service) -> None:
    user = created(strict, roles=[{"value": "guide"}])
    emails = [{"value": "bjensen@example.com"}, {"value": "babs@jensen.org"}]
    more = {"name": BARBARA | {"middleName": "Jane"}, "roles": [], "emails": emails}
    body = {"schemas": [USER_URN], "id": user["id"], "userName": "bjensen", "externalId": "bjensen", **more}
    version = {"If-Match": user["meta"]["version"]}
    put = strict.ask("PUT", f"Users/{user['id']}", body, headers=version)
    assert (put.status_code, put.headers["location"]) == (200, user["meta"]["location"])
    assert {name: put.json().get(name) for name in body} == body | {"roles": None}
    assert put.headers["etag"] != user["meta"]["version"]
    assert error(strict.ask("PUT", f"Users/{user['id']}", body, headers=version)) == (412, None)
    assert error(strict.ask("PUT", "Users/2819c223", body)) == (404, None)


def test_3_5_2_patch_of_a_group(strict: Service) -> None:
    babs, james = created(strict), strict.user("jsmith")
    group = strict.group("Tour Guides")
    path = f"Groups/{group['id']}"

    def as_member(user: Json, name: str) -> Json:
        return {"display": name, "$ref": user["meta"]["location"], "value": user["id"]}

    def left(*operations: Json) -> list[str]:
        answer = strict.patch(path, *operations)
        assert (answer.status_code, answer.headers["location"]) == (204, group["meta"]["location"])
        seen = strict.ask("GET", path).json()
        assert answer.headers["etag"] == seen["meta"]["version"]
        return [each["value"] for each in seen.get("members", [])]

    add_babs = {"op": "add", "path": "members", "value": [as_member(babs, "Babs Jensen")]}
    no_babs = {"op": "remove", "path": f'members[value eq "{babs["id"]}"]'}
    add_james = {"op": "add", "path": "members", "value": [as_member(james, "James Smith")]}
    everybody = {"value": [as_member(babs, "Babs Jensen"), as_member(james, "James Smith")], "path": "members"}
    assert left(add_babs) == left(add_babs) == [babs["id"]]
    assert strict.ask("GET", path).json()["meta"]["version"] == 'W/"2"'  # she was a member already: no change
    assert left(no_babs) == left(no_babs) == []
    assert left(add_babs) and left({"op": "remove", "path": "members"}) == []
    assert left(add_babs) and left(no_babs, add_james) == [james["id"]]
    assert left({"op": "remove", "path": "members"}, {"op": "add", **everybody}) == [babs["id"], james["id"]]
    assert left(no_babs) and left({"op": "replace", **everybody}) == [babs["id"], james["id"]]


def test_3_5_2_patch_of_a_user(strict: Service) -> None:
    work = {"value": "bjensen@example.com", "type": "work"}
    user = created(
        strict, emails=[work], addresses=[PLAZA, {"type": "home", "locality": "Hollywood", "primary": False}]
    )
    path = f"Users/{user['id']}"

    def patched(**operation: Any) -> Json:
        answer = strict.patch(path, operation)
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    home = {"value": "babs@jensen.org", "type": "home"}
    added = patched(op="add", value={"emails": [home], "nickname": "Babs"})
    assert (added["emails"], added["nickName"]) == ([work, home], "Babs")
    gone = patched(op="remove", path='emails[type eq "work" and value ew "example.com"]')
    assert gone["emails"] == [home]
    moved = PLAZA | {"streetAddress": "911 Universal City Plaza"}
    assert patched(op="replace", path='addresses[type eq "work"]', value=moved)["addresses"][0] == moved
    street = patched(op="replace", path='addresses[type eq "work"].streetAddress', value="1010 Broadway Ave")
    assert street["addresses"][0] == moved | {"streetAddress": "1010 Broadway Ave"}
    assert patched(op="replace", value={"emails": BOTH, "nickname": "Babs"})["emails"] == BOTH
    number = f"{ENTERPRISE_USER}:employeeNumber"
    assert patched(op="add", path=number, value="701984")["schemas"] == [USER_URN, ENTERPRISE_USER]
    refused = strict.patch(path, {"op": "replace", "path": "id", "value": "x"})
    assert error(refused) == (400, "mutability")


def test_3_6_delete_and_3_12_errors(strict: Service) -> None:
    user = created(strict)
    gone = strict.ask("DELETE", f"Users/{user['id']}", headers={"If-Match": user["meta"]["version"]})
    assert (gone.status_code, gone.content) == (204, b"")
    assert error(strict.ask("GET", f"Users/{user['id']}")) == (404, None)
    assert strict.names() == [] and created(strict)["id"] != user["id"]


def test_3_7_1_circles_and_3_7_2_bulk_ids(strict: Service) -> None:
    a = post("/Groups", "qwerty", displayName="Group A", members=[{"type": "Group", "value": "bulkId:ytrewq"}])
    b = post("/Groups", "ytrewq", displayName="Group B", members=[{"type": "Group", "value": "bulkId:qwerty"}])
    assert [each["status"] for each in bulk(strict, a, b)] == ["201", "201"]
    first, second = strict.ask("GET", "Groups", filter='displayName sw "Group"').json()["Resources"]
    for one, other in ((first, second), (second, first)):
        (member,) = one["members"]
        assert (member["value"], member["$ref"], member["type"]) == (other["id"], other["meta"]["location"], "Group")
    tour = post("/Groups", "ytrewq", displayName="Tour Guides", members=[{"type": "User", "value": "bulkId:qwerty"}])
    alice, guides = bulk(strict, post("/Users", "qwerty", userName="Alice"), tour)
    group = strict.ask("GET", guides["location"].removeprefix(BASE)).json()
    assert (alice["bulkId"], group["members"][0]["$ref"]) == ("qwerty", alice["location"])
    manager = {ENTERPRISE_USER: {"employeeNumber": "11250", "manager": {"value": "bulkId:qwerty"}}}
    _, bob = bulk(strict, post("/Users", "qwerty", userName="Ann"), post("/Users", "ytrewq", userName="Bob", **manager))
    led = strict.ask("GET", bob["location"].removeprefix(BASE)).json()[ENTERPRISE_USER]["manager"]
    assert strict.ask("GET", led["$ref"].removeprefix(BASE)).json()["userName"] == "Ann"


def test_3_7_3_results_and_3_7_4_limits(strict: Service) -> None:
    bob, dave, eve = (strict.user(name, nickName="x") for name in ("bob1", "dave1", "eve"))
    patch = {
        "schemas": [f"{MESSAGES}PatchOp"],
        "Operations": [{"op": "remove", "path": "nickName"}, {"op": "add", "path": "userName", "value": "Dave"}],
    }
    put = {"schemas": [USER_URN], "id": bob["id"], "userName": "Bob"}
    operations = (
        post("/Users", "qwerty", userName="Alice"),
        {"method": "PUT", "path": f"/Users/{bob['id']}", "version": bob["meta"]["version"], "data": put},
        {"method": "PATCH", "path": f"/Users/{dave['id']}", "version": dave["meta"]["version"], "data": patch},
        {"method": "DELETE", "path": f"/Users/{eve['id']}", "version": eve["meta"]["version"]},
    )
    there = [each["meta"]["location"] for each in (bob, dave, eve)]
    done = bulk(strict, *operations, failOnErrors=1)
    assert [each["status"] for each in done] == ["201", "200", "200", "204"]
    assert [each["location"] for each in done[1:]] == there
    assert [each.get("version") for each in done] == ['W/"1"', 'W/"2"', 'W/"2"', None]
    (stopped,) = bulk(strict, *operations, failOnErrors=1)
    assert (stopped["method"], stopped["bulkId"], stopped["status"]) == (
        "POST",
        "qwerty",
        "409",
    ) and "location" not in stopped
    failed = bulk(strict, *operations)
    assert [each["status"] for each in failed] == ["409", "412", "412", "404"]
    assert [each["response"]["status"] for each in failed] == ["409", "412", "412", "404"]
    assert [each["location"] for each in failed[1:]] == there
    many = strict.ask("POST", "Bulk", {"schemas": [f"{MESSAGES}BulkRequest"], "Operations": [operations[3]] * 1001})
    assert error(many) == (413, None) and "maxOperations is 1000" in many.json()["detail"]
    large = strict.ask("POST", "Bulk", content=b" " * 4_194_305)
    assert error(large) == (413, None) and "maxPayloadSize, 4194304" in large.json()["detail"]
