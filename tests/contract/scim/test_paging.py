"""Sorting (RFC 7644 section 3.4.2.3), paging by number and by cursor (RFC 9865), and queries at the root (3.4.2.1)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from syncd.core import cursor as cursors
from syncd.core.filter import parse_filter
from syncd.core.schema import CORE_USER, ENTERPRISE_USER, GROUP, USER, ResourceType
from syncd.store import pages, read
from syncd.store.engine import Database
from syncd.store.migrate import upgrade
from syncd.store.read import Order, Reader, Window

from .conftest import Service

SEARCH_URN = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"


def named(service: Service, user_name: str, **more: Any) -> None:
    assert service.ask("POST", "Users", {"schemas": [CORE_USER], "userName": user_name, **more}).status_code == 201


@pytest.fixture
def people(service: Service) -> Service:
    """Created in this order, so that their ids are in it."""
    work, home = {"value": "z@x.test", "type": "work"}, {"value": "a@x.test", "type": "home", "primary": True}
    named(service, "Zoe", title="b", emails=[work, home], name={"familyName": "Zorn"})
    service.user("ann", title="B", emails=[{"value": "M@x.test"}], active=False)
    service.user("\U0001f600", title="a", active=True, **{ENTERPRISE_USER: {"department": "é"}})
    named(service, "\uffee", emails=[{"type": "work"}], name={"familyName": "abel"})
    service.user("bob", title="c", emails=[{"value": "b@x.test"}, {"value": "a@a.test"}], externalId="B")
    return service


def walk(service: Service, path: str = "Users", token: str = "", count: int = 2, **query: Any) -> list[str]:
    """Every name, page by page."""
    found: list[str] = []
    cursor = ""
    for page in range(50):
        answer = service.ask("GET", path, token=token, cursor=cursor, count=count, **query)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert "startIndex" not in body and "previousCursor" not in body
        assert body["itemsPerPage"] == len(body["Resources"]) <= count
        found += [each.get("userName") or each["displayName"] for each in body["Resources"]]
        cursor = body.get("nextCursor", "")
        if not cursor:
            assert body["totalResults"] == len(found), "the last page"
            return found
        assert re.fullmatch(r"[A-Za-z0-9\-_]+", cursor), "unreserved characters only (RFC 9865 section 2)"
        assert page < 49 and body["itemsPerPage"] == count
    raise AssertionError("endless")


@pytest.mark.parametrize(
    ("by", "ascending"),
    [
        ("userName", ["ann", "bob", "Zoe", "\uffee", "\U0001f600"]),
        ("USERNAME", ["ann", "bob", "Zoe", "\uffee", "\U0001f600"]),
        ("title", ["\U0001f600", "Zoe", "ann", "bob", "\uffee"]),  # equal ones by id, who has none last
        ("name.familyName", ["\uffee", "Zoe", "ann", "\U0001f600", "bob"]),
        ("emails", ["Zoe", "bob", "ann", "\U0001f600", "\uffee"]),  # the primary one, or the first
        ("emails.value", ["Zoe", "bob", "ann", "\U0001f600", "\uffee"]),
        ("emails.type", ["Zoe", "\uffee", "ann", "\U0001f600", "bob"]),
        ("active", ["ann", "Zoe", "\U0001f600", "\uffee", "bob"]),
        ("externalId", ["bob", "Zoe", "ann", "\U0001f600", "\uffee"]),
        (f"{ENTERPRISE_USER}:department", ["\U0001f600", "Zoe", "ann", "\uffee", "bob"]),
        ("meta.created", ["Zoe", "ann", "\U0001f600", "\uffee", "bob"]),
        ("id", ["Zoe", "ann", "\U0001f600", "\uffee", "bob"]),
        ("meta.resourceType", ["Zoe", "ann", "\U0001f600", "\uffee", "bob"]),
        ("schemas", ["Zoe", "ann", "\U0001f600", "\uffee", "bob"]),
        ("groups", ["Zoe", "ann", "\U0001f600", "\uffee", "bob"]),
    ],
)
def test_a_sorted_list_is_the_same_by_number_and_by_cursor(
    people: Service, by: str, ascending: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "FAR", 2)  # from the third on as a page far behind is read
    assert people.names(sortBy=by) == ascending
    assert walk(people, sortBy=by) == ascending
    assert [people.names(sortBy=by, startIndex=at, count=1)[0] for at in range(1, 6)] == ascending
    descending = list(reversed(ascending))
    assert people.names(sortBy=by, sortOrder="descending") == descending, "who has none comes first"
    assert walk(people, sortBy=by, sortOrder="descending") == descending
    assert walk(people, sortBy=by, count=3, filter='title pr or userName eq "nobody"') == [
        name for name in ascending if name != "\uffee"
    ]


@pytest.mark.parametrize("by", ["nonsense", "name", "meta", ENTERPRISE_USER, "emails.nonsense"])
def test_what_cannot_be_sorted_by(service: Service, by: str) -> None:
    answer = service.ask("GET", "Users", sortBy=by)
    assert (answer.status_code, answer.json()["scimType"]) == (400, "invalidValue")
    assert "sortBy" in answer.json()["detail"]


def test_pages_neither_overlap_nor_skip_while_others_write(people: Service) -> None:
    first = people.ask("GET", "Users", cursor="", count=2, sortBy="userName").json()
    assert [each["userName"] for each in first["Resources"]] == ["ann", "bob"]
    people.ask("DELETE", f"Users/{first['Resources'][1]['id']}")
    people.user("aaa")
    second = people.ask("GET", "Users", cursor=first["nextCursor"], count=2, sortBy="userName").json()
    assert [each["userName"] for each in second["Resources"]] == ["Zoe", "\uffee"]


def test_a_cursor_is_good_for_its_query_and_its_connection_only(people: Service) -> None:
    def ask(token: str = "", path: str = "Users", **query: Any) -> dict[str, Any]:
        return dict(people.ask("GET", path, token=token, **{"count": 2, "cursor": cursor, **query}).json())

    cursor = people.ask("GET", "Users", cursor="", count=2).json()["nextCursor"]
    assert ask()["itemsPerPage"] == 2
    assert ask(token=people.make_token())["itemsPerPage"] == 2, "another token of the same connection, after a rotation"
    refused = [
        ask(filter='userName sw "a"'),
        ask(sortBy="userName"),
        ask(sortOrder="descending"),
        ask(attributes="userName"),
        ask(path="Groups"),
        ask(path="/scim/v2"),
        ask(token=people.make_token("entra")),
        ask(token=people.make_token(workspace="other")),
        ask(cursor=("A" if cursor[0] != "A" else "B") + cursor[1:]),
        ask(cursor="x"),
        ask(cursor="\u00e9%"),
        ask(cursor="A" * 9000),
        ask(startIndex=3),
    ]
    assert [each["scimType"] for each in refused] == ["invalidCursor"] * len(refused)
    assert len({each["detail"] for each in refused[:-1]}) == 1, "no word of why"
    assert ask(count=3)["scimType"] == ask(count=0)["scimType"] == "invalidCount"
    for count in (1001, "many", "1.5"):
        assert ask(cursor="", count=count)["scimType"] == "invalidCount"
    people.later(seconds=cursors.TIMEOUT_S)
    assert ask()["itemsPerPage"] == 2
    people.later(seconds=1)
    assert ask()["scimType"] == "expiredCursor"


def test_a_filter_is_the_same_however_its_names_are_spelt(people: Service) -> None:
    """RFC 9865 section 2: its own example goes on with `username` where it began with `userName`."""
    first = people.ask("GET", "Users", cursor="", count=1, filter='userName pr and not (userName eq "Zoe")').json()
    cursor = first["nextCursor"]
    again = 'USERNAME Pr  AND not(username EQ "Zoe")'
    assert people.ask("GET", "Users", cursor=cursor, count=1, filter=again).json()["itemsPerPage"] == 1
    for other in ('userName pr and not (userName eq "zoe")', "userName pr", 'userName pr or not (userName eq "Zoe")'):
        refused = people.ask("GET", "Users", cursor=cursor, count=1, filter=other)
        assert refused.json()["scimType"] == "invalidCursor"


def test_the_ends_of_paging(people: Service) -> None:
    past = people.ask("GET", "Users", startIndex=6).json()
    assert (past["totalResults"], past["itemsPerPage"], past["startIndex"], past["Resources"]) == (5, 0, 6, [])
    past = people.ask("GET", "Users", startIndex=60, filter="title pr").json()
    assert (past["totalResults"], past["Resources"]) == (4, [])
    for count in (0, -1):
        for more in ({}, {"filter": "title pr"}, {"cursor": ""}):
            none = people.ask("GET", "Users", count=count, **more).json()
            assert (none["totalResults"], none["Resources"]) == (4 if "filter" in more else 5, [])
            assert "nextCursor" not in none
    assert people.ask("GET", "Users", startIndex=-5, count=2).json()["startIndex"] == 1
    assert walk(people, filter='userName eq "ann"') == ["ann"]
    assert walk(people, filter='userName eq "none"') == []
    body = {"schemas": [SEARCH_URN], "cursor": "", "count": 3, "sortBy": "userName"}
    first = people.ask("POST", "Users/.search", body).json()
    last = people.ask("POST", "Users/.search", {**body, "cursor": first["nextCursor"]}).json()
    names = [each["userName"] for each in first["Resources"] + last["Resources"]]
    assert names == ["ann", "bob", "Zoe", "\uffee", "\U0001f600"] and "nextCursor" not in last
    said = people.ask("GET", "ServiceProviderConfig").json()
    assert said["sort"] == {"supported": True}
    assert said["pagination"]["cursorTimeout"] == cursors.TIMEOUT_S and said["pagination"]["cursor"] is True


def test_at_the_root(people: Service) -> None:
    """A filter on what one type does not have is as if it had no value there (RFC 7644 section 3.4.2.1)."""
    crew = people.group("crew", people.ask("GET", "Users", filter='userName eq "ann"').json()["Resources"][0]["id"])
    people.group("Abc", crew["id"])
    root = "/scim/v2"

    def names(filter: str) -> list[str]:
        body = {"schemas": [SEARCH_URN], "filter": filter}
        found = people.ask("POST", ".search", body).json()["Resources"]
        assert found == people.ask("GET", root, filter=filter).json()["Resources"]
        assert walk(people, root, filter=filter) == [each.get("userName") or each["displayName"] for each in found]
        return [each.get("userName") or each["displayName"] for each in found]

    every = ["Zoe", "ann", "\U0001f600", "\uffee", "bob", "crew", "Abc"]
    assert names("id pr") == every
    assert names('meta.resourceType eq "Group"') == ["crew", "Abc"]
    assert names('displayName sw "c"') == ["crew"]
    assert names('userName eq "ann" or displayName eq "crew"') == ["ann", "crew"]
    assert names("not (members pr)") == every[:5]
    assert names('title ne "b"') == ["\U0001f600", "\uffee", "bob", "crew", "Abc"]
    assert names("title eq null and members eq null") == ["\uffee"]
    assert names('emails[value eq "m@x.test"] or members[type eq "Group"]') == ["ann", "Abc"]
    assert walk(people, root, sortBy="displayName")[:2] == ["Abc", "crew"]
    assert walk(people, root, sortBy="userName", sortOrder="descending")[:3] == ["Abc", "crew", "\U0001f600"]
    assert walk(people, root, sortBy="meta.resourceType")[:2] == ["crew", "Abc"]
    assert people.ask("GET", root, startIndex=6).json()["totalResults"] == 7
    for wrong in ("nonsense pr", 'userName eq 7 or displayName eq "x"', 'members[nonsense eq "x"]', "userName"):
        answer = people.ask("GET", root, filter=wrong)
        assert (answer.status_code, answer.json()["scimType"]) == (400, "invalidFilter")
    assert people.ask("GET", root, sortBy="nonsense").json()["scimType"] == "invalidValue"
    only = people.make_token(allow=["groups:read"])
    assert walk(people, root, token=only) == ["crew", "Abc"]
    assert people.ask("GET", root, token=people.make_token(allow=["metrics:read"])).status_code == 403


PLANNED = [
    (USER, 'emails eq "a@x.test"', "emails"),
    (USER, 'emails.value eq "A@X.test"', "emails"),
    (USER, 'emails[type eq "work" and value eq "a@x.test"]', "emails"),
    (USER, 'userName eq "ann" or emails eq "a@x.test" or externalId eq "B"', "emails"),
    (USER, 'externalId eq "B" and active eq true', "links"),
    (USER, 'userName sw "an"', "users_user_name"),
    (USER, 'groups.value eq "g"', "effective_group"),
    (GROUP, 'displayName eq "crew"', "groups_name"),
    (GROUP, 'members eq "u"', "memberships_member"),
]


@pytest.mark.parametrize(("resource_type", "text", "index"), PLANNED)
def test_what_providers_look_up_is_found_by_an_index(
    tmp_path: Path, resource_type: ResourceType, text: str, index: str
) -> None:
    """By SQLite's plan, which does not depend on what the tables hold: none of these looks at the document of everyone."""
    database = Database(f"sqlite:///{tmp_path}/x.db", create=True)
    upgrade(database)
    reader = Reader("default", "okta")
    listed = pages.users(reader) if resource_type is USER else pages.groups(reader)
    asked: list[Any] = []
    sa.event.listen(database.engine, "before_cursor_execute", lambda *a: asked.append((a[2], a[3])))
    with database.reading() as conn:
        pages.page(conn, reader, listed, parse_filter(text, resource_type), Order(), Window(10))
        statement, parameters = next(each for each in asked if each[0].startswith("SELECT"))
        plan = [str(row) for row in conn.exec_driver_sql(f"explain query plan {statement}", parameters)]
    database.close()
    assert any(index in line for line in plan), plan
    table = "users" if resource_type is USER else "groups"
    assert not [line for line in plan if re.search(rf"SCAN {table}\b", line)], plan
    assert not [line for line in plan if re.search(rf"SEARCH {table} USING \S+ \S+ \S+ \(workspace=\?\)", line)], plan


def test_who_is_found_by_e_mail_follows_what_is_stored(service: Service) -> None:
    id = service.user("ann", emails=[{"value": "Ann@x.test"}, {"value": "y" * 3000}])["id"]
    assert service.names('emails eq "ann@X.test"') == ["ann"] == service.names(f'emails co "{"y" * 300}"')
    assert service.names(f'emails eq "{"y" * 3000}"') == ["ann"] and not service.names(f'emails eq "{"y" * 2999}"')
    service.patch(f"Users/{id}", {"op": "replace", "path": 'emails[value co "ann"].value', "value": "b@x.test"})
    assert (service.names('emails eq "ann@x.test"'), service.names('emails eq "b@x.test"')) == ([], ["ann"])
    service.ask("DELETE", f"Users/{id}")
    assert service.names('emails eq "b@x.test"') == []
    with service.database.reading() as conn:
        assert read.user_named(conn, "default", "ann") is None
