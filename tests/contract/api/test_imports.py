"""People as CSV over the API: a plan first, each line answered, seats and cost before and after; and written out again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import httpx
import pytest

from letter_desk import Desk, desk_of
from syncd.core.seats import Price
from syncd.core.state import Grant
from syncd.store import invitations, people
from syncd.store.pages import Order, Window
from web_service import Service

PEOPLE = """E-Mail;First name;Last name;Phone;Role;Seat;Group;Manager
ann@example.org;Ann;Lee;+49 1;member;internal;crew;boss
bob@example.org;Bob;Bo;;viewer;internal|crm;;ann@example.org
cy@example.org;Cy;;;;internal;;
dan@example.org;Dan;;;;internal;;
"""


@pytest.fixture
def desk(service: Service) -> Iterator[Desk]:
    with desk_of(service) as found:
        found.service.made_by("local", "boss", emails=[{"value": "boss@example.org"}])
        made = found.ask("POST", "/groups", {"displayName": "crew"})
        assert made.status_code == 201
        workspace = service.workspaces["default"]
        pools = {**workspace.pools, "internal": replace(workspace.pools["internal"], price=PRICE)}
        service.workspaces["default"] = replace(workspace, pools=pools)
        yield found


PRICE = Price(Decimal("10"), "EUR", "month")
SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # no engine changes it


def send(desk: Desk, text: str = PEOPLE, status: int = 200, dry: bool = False, token: str = "", **more: Any) -> Any:
    headers = {"X-Dry-Run": "true"} if dry else {}
    answer = desk.ask("POST", "/users/import", {"csv": text, **more}, headers=headers, token=token)
    assert answer.status_code == status, answer.text
    return answer.json()


def users(desk: Desk) -> dict[str, Any]:
    return {each["userName"]: each for each in desk.ask("GET", "/users").json()["items"]}


def results(told: Any) -> list[str]:
    return [each["result"] for each in told["items"]]


def test_a_plan_first_then_the_same_is_done(desk: Desk) -> None:
    planned = send(desk, dry=True)
    assert set(users(desk)) == {"boss"}, "nothing is done"
    done = send(desk)
    assert [{**each, "user_id": ""} for each in done["items"]] == [{**each, "user_id": ""} for each in planned["items"]]
    assert done["seats"] == planned["seats"] and done["cost_after"] == planned["cost_after"]
    assert results(done) == ["created"] * 4
    internal = next(each for each in done["seats"] if each["pool"] == "internal")
    assert (internal["used_before"], internal["used_after"], internal["limit"]) == (0, 3, 3)
    assert (internal["waiting_before"], internal["waiting_after"]) == (0, 1)
    assert (done["cost_before"][0]["cost"], done["cost_after"][0]["cost"]) == ("0.00", "30.00")
    found = users(desk)
    ann, bob = found["ann@example.org"], found["bob@example.org"]
    assert (ann["name"], ann["phoneNumbers"]) == (
        *({"familyName": "Lee", "givenName": "Ann"}, [{"value": "+49 1", "type": "work"}]),
    )
    enterprise = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
    assert ann[enterprise]["manager"]["value"] == found["boss"]["id"]
    assert bob[enterprise]["manager"]["value"] == ann["id"], "who stands in the same file"
    access = desk.service.access(bob["id"])
    assert {each["value"] for each in access["roles"]} == {"viewer"}
    assert {each["value"] for each in access["seats"]} == {"internal", "crm"}
    assert [each["display"] for each in desk.service.access(ann["id"])["groups"]] == ["crew"]
    again = send(desk)
    assert results(again) == ["unchanged"] * 4 and again["seats"] == []


def test_who_is_there_is_changed_and_an_empty_cell_says_nothing(desk: Desk) -> None:
    send(desk)
    text = "userName,title,first name,mobile,role\nANN@example.org,Lead,,+49 2,viewer\nboss,Chief,,,\n"
    done = send(desk, text)
    assert results(done) == ["changed", "changed"]
    ann = users(desk)["ann@example.org"]
    assert (ann["title"], ann["name"]["givenName"]) == ("Lead", "Ann")
    assert {each["type"]: each["value"] for each in ann["phoneNumbers"]} == {"work": "+49 1", "mobile": "+49 2"}
    assert {each["value"] for each in desk.service.access(ann["id"])["roles"]} == {"member", "viewer"}


@SQLITE
def test_faults_of_the_file_and_of_what_it_names_change_nothing(desk: Desk) -> None:
    text = "\n".join(
        [
            "userName,email,role,seat,group,manager,scope",
            "eve,eve@example.org,memer,intern,crw,nobody,unit",
            "frank,boss@example.org,,,,frank,unit=north",
            "gil,no address,,,,,",
        ]
    )
    told = send(desk, text, 422)
    said = [each["detail"] for each in told["errors"]]
    assert len(said) == 8 and "8 faults, so nothing is done" in told["detail"]
    for place, what in (
        ("line 4, column 2 (email)", "not an e-mail address"),
        ("line 2, column 3 (role)", "did you mean member?"),
        ("line 2, column 4 (seat)", "did you mean internal?"),
        ("line 2, column 5 (group)", "did you mean crew?"),
        ("line 2, column 6 (manager)", "no user 'nobody'"),
        ("line 2, column 7 (scope)", "kind=value"),
        ("line 3, column 6 (manager)", "her own manager"),
        ("line 3, column 2 (email)", "is the address of boss"),
    ):
        assert any(each.startswith(place) and what in each for each in said), (place, said)
    assert set(users(desk)) == {"boss"}
    many = "userName\n" + "".join(f"u{number}\n" for number in range(1001))
    assert "up to 1,000 people" in send(desk, many, 422)["detail"]
    assert desk.ask("POST", "/users/import", {"csv": "userName\nx\n", "delimiter": "|"}).status_code == 422


@SQLITE
def test_each_line_has_its_own_answer_at_the_door(desk: Desk) -> None:
    service = desk.service
    clerk = service.made_by("local", "clerk", Grant("role", "member", "direct", "root"))
    token = service.make_token(
        source="local", allow=["users:create", "users:read", "roles:write", "seats:write"], user=clerk
    )
    told = send(desk, "userName,role\nx,\ny,admin\n", token=token)
    assert results(told) == ["created", "refused"] and "does not manage" in told["items"][1]["problem"]["detail"]
    assert "users:update" in send(desk, "userName,title\nboss,Clerk\n", token=token)["items"][0]["problem"]["detail"]
    assert "y" not in users(desk)


@SQLITE
def test_people_are_asked_in_by_mail(desk: Desk) -> None:
    told = send(desk, invite=True)
    assert told["invited"] == 4 and users(desk)["ann@example.org"]["status"] == "pending"
    with desk.service.database.reading() as conn:
        listed = invitations.listed(conn, desk.service.workspaces["default"], desk.service.now)
    assert [(each.address, each.mail) for each in listed] == [
        (f"{name}@example.org", "waiting") for name in ("ann", "bob", "cy", "dan")
    ]
    assert send(desk, invite=True)["invited"] == 0, "once"
    assert "cannot be invited" in send(desk, "userName\nmute\n", 422, invite=True)["detail"]
    desk.deliver()
    assert len(desk.office.taken) == 4


@SQLITE
def test_another_address_is_confirmed_where_the_policy_says_so(desk: Desk) -> None:
    service = desk.service
    service.workspaces["default"] = replace(service.workspaces["default"], confirms_emails=True)
    assert "has to be confirmed" in send(desk, "userName,email\nboss,other@example.org\n", 422)["detail"]
    assert results(send(desk, "userName,email\nboss,boss@example.org\nnew,new@example.org\n")) == [
        "unchanged",
        "created",
    ]


@SQLITE
def test_what_is_exported_is_read_back_and_computes_nothing(desk: Desk) -> None:
    send(desk, PEOPLE.replace("Bob", "=cmd|calc").replace("cmd|calc", "cmd()"))
    answer: httpx.Response = desk.ask("GET", "/users/export")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert "'=cmd()" in answer.text and ",=cmd()" not in answer.text and "'+49 1" in answer.text
    again = send(desk, answer.text)
    assert set(results(again)) == {"unchanged"} and len(again["items"]) == 5
    only = desk.ask("GET", '/users/export?filter=userName eq "boss"').text
    assert "boss@example.org" in only and "ann@" not in only
    assert desk.ask("GET", "/users/export?filter=nonsense").status_code == 400


def test_an_export_of_many_comes_by_pages(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    send(desk)
    monkeypatch.setattr("syncd.store.userexport.PAGE", 2)
    lines = desk.ask("GET", "/users/export").text.splitlines()
    assert len(lines) == 6 and lines[0].startswith("\ufeffid,status")
    with desk.service.database.reading() as conn:
        page = people.page(
            conn, desk.service.workspaces["default"], None, Order(), Window(9, keyset=True), desk.service.now
        )
    assert [line.split(",")[0] for line in lines[1:]] == [each.id for each in page.rows]
