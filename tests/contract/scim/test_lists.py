"""Filters, pages and projections over SCIM on both engines."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import USER_URN, Service

SEARCH_URN = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"


@pytest.fixture
def people(service: Service) -> dict[str, dict[str, Any]]:
    made = {}
    for n, name in enumerate(("Ann", "bob", "cyd", "Dan", "eve")):
        made[name] = service.user(
            name,
            externalId=f"x{n}",
            title="Boss" if n < 2 else "Clerk",
            emails=[{"value": f"{name}@example.org", "type": "work"}, {"value": f"{n}@home.org", "type": "home"}],
            active=n != 3,
            **{ENTERPRISE: {"department": "Sales", "manager": {"value": "m1"}}},
        )
        service.later(hours=1)
    return made


def test_filters_that_providers_send(service: Service, people: dict[str, dict[str, Any]]) -> None:
    group = service.group("Crm", people["Ann"]["id"], people["bob"]["id"])
    ann = people["Ann"]
    created = people["cyd"]["meta"]["created"]
    cases = {
        'userName eq "ANN"': ["Ann"],
        f'id eq "{ann["id"]}"': ["Ann"],
        'externalId eq "x1"': ["bob"],
        'externalId eq "X1"': [],
        'userName eq "7b1f0e5e-0000-4000-8000-000000000000"': [],
        'emails[type eq "work"].value eq "eve@EXAMPLE.org"': ["eve"],
        'emails[type eq "home" and value eq "eve@example.org"]': [],
        'emails eq "0@home.org"': ["Ann"],
        'title eq "clerk" and active eq true': ["cyd", "eve"],
        "active eq false": ["Dan"],
        f'{ENTERPRISE}:manager.value eq "m1" and userName sw "e"': ["eve"],
        f'meta.created gt "{created}"': ["Dan", "eve"],
        f'meta.lastModified le "{created}" and not (userName eq "bob")': ["cyd"],
        'groups.display eq "crm"': ["Ann", "bob"],
        f'groups[value eq "{group["id"]}" and type eq "direct"]': ["Ann", "bob"],
        f'meta.location eq "{ann["meta"]["location"]}"': ["Ann"],
        'meta.resourceType eq "User" and meta.version eq "W/\\"1\\"" and userName sw "c"': ["cyd"],
        'externalId pr and title eq "Boss"': ["Ann", "bob"],
        "not (externalId pr)": [],
        'userName eq "ann" or externalId eq "x4"': ["Ann", "eve"],
        'userName eq "ann" or (externalId eq "x4" or emails eq "0@home.org") or (userName eq "Dan" and active pr)': [
            *("Ann", "Dan", "eve")
        ],
        " or ".join(f'externalId eq "x{number}"' for number in range(1, 300)): ["bob", "cyd", "Dan", "eve"],
        f'schemas eq "{ENTERPRISE}" and title eq "boss"': ["Ann", "bob"],
    }
    assert {filter: service.names(filter) for filter in cases} == cases
    groups = {
        'displayName eq "CRM"': ["Crm"],
        f'id eq "{group["id"]}" and members eq "{ann["id"]}"': ["Crm"],
        f'id eq "{group["id"]}" and members[value eq "{people["eve"]["id"]}"]': [],
        f'members[value eq "{ann["id"]}" and type eq "User" and display eq "ANN"]': ["Crm"],
        f'members.$ref eq "{ann["meta"]["location"]}"': ["Crm"],
        "members pr": ["Crm"],
    }
    assert {filter: service.names(filter, "Groups") for filter in groups} == groups


@pytest.mark.parametrize(
    "filter",
    [
        "userName",
        'nonsense eq "x"',
        'userName eq "x" and',
        "active gt true",
        "(" * 200 + 'userName eq "x"' + ")" * 200,
        'userName eq "\\u0000"',
        'userName co "\\ud800"',
        'externalId eq "\\u0000"',
        "meta.created eq 7",
    ],
)
def test_a_filter_that_is_not_understood_is_refused(service: Service, filter: str) -> None:
    service.user("ann")
    answer = service.ask("GET", "Users", filter=filter)
    if answer.status_code == 200:
        assert answer.json()["totalResults"] == 0 and "\\u" in filter
    else:
        assert (answer.status_code, answer.json()["scimType"]) == (400, "invalidFilter"), answer.text


def test_pages_neither_overlap_nor_skip(service: Service, people: dict[str, dict[str, Any]]) -> None:
    seen: list[str] = []
    for start in (1, 3, 5):
        page = service.ask("GET", "Users", startIndex=start, count=2).json()
        assert (page["totalResults"], page["startIndex"]) == (5, start)
        assert page["itemsPerPage"] == len(page["Resources"])
        seen += [each["userName"] for each in page["Resources"]]
    assert seen == list(people)
    for query, total, found in (
        ({"count": 0}, 5, []),
        ({"count": -3}, 5, []),
        ({"startIndex": -3, "count": 1}, 5, ["Ann"]),
        ({"startIndex": 9}, 5, []),
        ({"filter": 'title eq "Boss"', "count": 1, "startIndex": 2}, 2, ["bob"]),
        ({"filter": 'title eq "Boss"', "count": 0}, 2, []),
        ({"filter": 'userName eq "bob"', "startIndex": 2}, 1, []),
        ({"filter": 'userName eq "bob"', "count": 0}, 1, []),
        ({"startIndex": 99999999999999999999, "count": 99999999999999999999}, 5, []),
    ):
        page = service.ask("GET", "Users", **query).json()
        assert (page["totalResults"], [each["userName"] for each in page["Resources"]]) == (total, found), query
    assert service.ask("GET", "Users", count="many").json()["scimType"] == "invalidValue"


def test_a_page_far_away(service: Service, people: dict[str, dict[str, Any]]) -> None:
    page = service.ask("GET", "Users", startIndex=6000).json()
    assert (page["totalResults"], page["Resources"]) == (5, [])


def test_nothing_found_is_an_empty_list(service: Service) -> None:
    for path in ("Users", "Groups"):
        answer = service.ask("GET", path)
        assert (answer.status_code, answer.json()["totalResults"], answer.json()["Resources"]) == (200, 0, [])


def test_search_by_post(service: Service, people: dict[str, dict[str, Any]]) -> None:
    body = {"schemas": [SEARCH_URN], "filter": 'userName sw "a"', "attributes": ["userName"], "count": 5}
    found = service.ask("POST", "Users/.search", body).json()
    assert [set(each) for each in found["Resources"]] == [{"schemas", "id", "userName"}]
    assert service.ask("POST", "Groups/.search", {"schemas": [SEARCH_URN]}).json()["totalResults"] == 0


def test_everything_sorted_by_a_yes_or_no(service: Service) -> None:
    """At the root, where groups have no such value."""
    service.group("g")
    service.user("b", phoneNumbers=[{"value": "1", "primary": False}])
    service.user("a", phoneNumbers=[{"value": "1", "primary": True}])
    assert service.names(path="/scim/v2", sortBy="phoneNumbers.primary") == ["b", "a", "g"]


def test_projection_on_every_answer(service: Service, people: dict[str, dict[str, Any]]) -> None:
    ann = people["Ann"]["id"]
    assert set(service.ask("GET", f"Users/{ann}", attributes="username,name").json()) == {"schemas", "id", "userName"}
    without = service.ask("GET", f"Users/{ann}", excludedAttributes="emails,groups,id").json()
    assert "emails" not in without and without["id"] == ann
    group = service.group("g", ann)
    seen = service.ask("GET", f"Groups/{group['id']}", excludedAttributes="members").json()
    assert "members" not in seen and seen["displayName"] == "g"
    assert service.ask("GET", f"Users/{ann}", attributes="groups.value").json()["groups"] == [{"value": group["id"]}]
    listed = service.ask("GET", "Users", attributes="userName").json()["Resources"]
    assert all(set(each) == {"schemas", "id", "userName"} for each in listed)
    body = {"schemas": [USER_URN], "userName": "new", "title": "x"}
    made = service.ask("POST", "Users", body, attributes="userName").json()
    assert set(made) == {"schemas", "id", "userName"}
    both = service.ask("GET", "Users", attributes="userName", excludedAttributes="title")
    assert (both.status_code, both.json()["scimType"]) == (400, "invalidValue")
