"""Another e-mail address: the old one counts until the new one is confirmed, and nobody takes over another's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from letter_desk import Desk, desk_of
from syncd.core.change import UserEdit
from syncd.core.state import Grant, Link
from syncd.store import purge
from syncd.store import tables as t
from web_service import Service

PASSWORD = "correct horse battery"
PAGE = "/email-change"
OLD, NEW = "ann@example.org", "ann@example.net"
SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # no engine changes it


@pytest.fixture
def desk(service: Service) -> Iterator[Desk]:
    with desk_of(service) as found:
        policy(found, True)
        yield found


def policy(desk: Desk, confirm: bool) -> None:
    desk.service.workspaces["default"] = replace(desk.service.workspaces["default"], confirms_emails=confirm)


def person(desk: Desk, name: str = OLD, address: str = OLD, *grants: Grant) -> str:
    return desk.service.made_by("local", name, *grants, emails=[{"value": address, "type": "work", "primary": True}])


def ask(desk: Desk, id: str, email: str = NEW, status: int = 200, **more: Any) -> dict[str, Any]:
    answer = desk.ask("POST", f"/users/{id}/email-change", {"email": email, **more})
    assert answer.status_code == status, answer.text
    return dict(answer.json())


def shown(desk: Desk, id: str) -> dict[str, Any]:
    return dict(desk.ask("GET", f"/users/{id}").json())


def address(desk: Desk, id: str) -> tuple[str, str]:
    user = shown(desk, id)
    return user["userName"], user["emails"][0]["value"]


def signs_in(desk: Desk, name: str) -> bool:
    return bool(desk.ask("POST", "/verify-password", {"userName": name, "password": PASSWORD}).json()["may_sign_in"])


def test_the_old_sign_in_stays_until_the_new_address_is_confirmed(desk: Desk) -> None:
    id = person(desk)
    assert desk.ask("PUT", f"/users/{id}/password", {"password": PASSWORD}).status_code == 204
    pending = ask(desk, id, reason="married")
    assert (pending["state"], pending["address"], pending["mail"]) == ("pending", NEW, "waiting")
    assert shown(desk, id)["email_change"] == pending and address(desk, id) == (OLD, OLD)
    version = shown(desk, id)["version"]
    desk.deliver()
    asked, told = sorted(desk.office.taken, key=lambda each: str(each["To"]))
    assert (asked["To"], told["To"]) == (NEW, OLD)
    number = desk.office.taken.index(asked)
    token = desk.token_of(PAGE, number)
    assert token.rpartition(".")[2] not in desk.office.text(1 - number), "the old address gets no link"
    with desk.service.database.reading() as conn:
        stored = "".join(repr(conn.execute(select(each)).all()) for each in (t.email_changes, t.mails, t.activity))
    assert token.rpartition(".")[2] not in stored
    for _ in range(2):
        page = desk.look(PAGE, token)
        assert page.status_code == 200 and NEW in page.text and "<script" not in page.text
    assert address(desk, id) == (OLD, OLD) and shown(desk, id)["version"] == version, "looking changes nothing"
    assert signs_in(desk, OLD) and not signs_in(desk, NEW)
    assert desk.fill(PAGE, token, origin="https://evil.example").status_code == 403
    done = desk.fill(PAGE, token)
    assert done.status_code == 200 and f"user name <strong>{NEW}" in done.text, done.text
    assert address(desk, id) == (NEW, NEW) and shown(desk, id)["email_change"] is None
    assert signs_in(desk, NEW) and not signs_in(desk, OLD)
    assert desk.look(PAGE, token).status_code == desk.fill(PAGE, token).status_code == 404, "once"
    rows = [(each["action"], each["actor"]) for each in desk.ask("GET", f"/activity?subject={id}").json()["items"]]
    assert ("email_change_asked", "okta test") in rows and ("update", OLD) in rows


@SQLITE
def test_resent_withdrawn_replaced_and_expired(desk: Desk) -> None:
    id = person(desk)
    ask(desk, id)
    desk.deliver()
    first = desk.token_of(PAGE, next(n for n, each in enumerate(desk.office.taken) if each["To"] == NEW))
    again = desk.ask("POST", f"/users/{id}/email-change/resend", {})
    assert again.status_code == 200 and again.json()["mail"] == "waiting"
    assert desk.look(PAGE, first).status_code == 404, "a newer one was sent"
    desk.deliver()
    second = desk.token_of(PAGE)
    ask(desk, id, "ann@example.com")
    assert desk.look(PAGE, second).status_code == 404, "another address was asked for"
    desk.deliver()
    third = desk.token_of(PAGE, next(n for n, each in enumerate(desk.office.taken) if each["To"] == "ann@example.com"))
    desk.service.later(days=1, seconds=1)
    assert shown(desk, id)["email_change"]["state"] == "expired" and desk.fill(PAGE, third).status_code == 404
    assert desk.ask("POST", f"/users/{id}/email-change/resend", {}).json()["state"] == "pending"
    assert desk.ask("DELETE", f"/users/{id}/email-change").status_code == 204
    assert desk.ask("GET", f"/users/{id}/email-change").status_code == 404
    assert desk.ask("DELETE", f"/users/{id}/email-change").status_code == 404
    assert desk.ask("POST", f"/users/{id}/email-change/resend", {}).status_code == 404
    desk.deliver("void")
    assert address(desk, id) == (OLD, OLD)


def test_nobody_takes_over_anothers_address(desk: Desk) -> None:
    id = person(desk)
    bob = person(desk, "bob", "bob@example.org")
    named = person(desk, "carol@example.org", "c@example.org")
    for taken in ("bob@example.org", "BOB@Example.org", "carol@example.org"):
        assert "of another user" in ask(desk, id, taken, 409)["detail"]
    assert "already" in ask(desk, id, OLD.upper(), 409)["detail"]
    ask(desk, id, "no address", 400)
    ask(desk, id)
    ask(desk, bob)  # two want it: the first who confirms has it
    desk.deliver()
    tokens = [desk.token_of(PAGE, n) for n, each in enumerate(desk.office.taken) if each["To"] == NEW]
    answers = [desk.fill(PAGE, each) for each in tokens]
    assert sorted(each.status_code for each in answers) == [200, 409]
    assert sorted(address(desk, each)[1] for each in (id, bob, named)).count(NEW) == 1


@SQLITE
def test_where_the_policy_says_nothing_it_changes_at_once(desk: Desk) -> None:
    policy(desk, False)
    id = person(desk)
    done = ask(desk, id)
    assert done["state"] == "changed" and address(desk, id) == (NEW, NEW)
    assert ask(desk, id, OLD, confirm=True)["state"] == "pending", "who asks for it gets it"
    assert desk.ask("PATCH", f"/users/{id}", {"emails": [{"value": "x@example.org"}]}).status_code == 200
    policy(desk, True)
    ask(desk, id, OLD, 403, confirm=False)
    for body in ({"emails": [{"value": OLD}]}, {"userName": OLD}, {"emails": None}):
        refused = desk.ask("PATCH", f"/users/{id}", body)
        assert refused.status_code == 409 and "has to be confirmed" in refused.text, "the way around is closed"
    assert (
        desk.ask("PATCH", f"/users/{id}", {"title": "Head", "emails": [{"value": "x@example.org"}]}).status_code == 200
    )


@SQLITE
def test_her_other_addresses_and_a_name_of_her_own_stay(desk: Desk) -> None:
    policy(desk, False)
    home = {"value": "ann@home.example", "type": "home"}
    id = desk.service.made_by("local", "ann", emails=[{"value": OLD, "type": "work", "primary": True}, home])
    ask(desk, id)
    user = shown(desk, id)
    assert user["userName"] == "ann"
    assert user["emails"] == [{"value": NEW, "type": "work", "primary": True}, home]
    ask(desk, id, "ann@home.example")
    assert [each["value"] for each in shown(desk, id)["emails"]] == ["ann@home.example"]


@SQLITE
def test_who_may_not(desk: Desk) -> None:
    """A directory's address is changed there; somebody above is out of reach; and who rises meanwhile is too."""
    service = desk.service
    fed = service.made_by("okta", "fed", emails=[{"value": "fed@example.org"}])
    assert "stated by source okta" in ask(desk, fed, status=403)["detail"]
    boss = person(desk, "boss", "boss@example.org", Grant("role", "admin", "direct", "root"))
    clerk = person(desk, "clerk", "clerk@example.org", Grant("permission", "users.manage", "direct", "root"))
    token = service.make_token(source="local", allow=["users:read", "users:update"], user=clerk)
    refused = desk.ask("POST", f"/users/{boss}/email-change", {"email": "mine@example.org"}, token=token)
    assert refused.status_code == 403, refused.text
    id = person(desk)
    assert desk.ask("POST", f"/users/{id}/email-change", {"email": NEW}, token=token).status_code == 200
    desk.deliver()
    link = desk.token_of(PAGE, next(n for n, each in enumerate(desk.office.taken) if each["To"] == NEW))
    service.commit(UserEdit(id, "local", grant=(Grant("role", "admin", "direct", "root"),)))
    risen = desk.fill(PAGE, link)
    assert risen.status_code == 409 and "given more" in risen.text and address(desk, id) == (OLD, OLD)
    invited = desk.ask("POST", "/invitations", {"email": "new@example.org"}).json()["user_id"]
    assert "invitation" in ask(desk, invited, status=409)["detail"]
    service.workspaces["default"] = replace(service.workspaces["default"], mails=False)
    assert "no mail server" in ask(desk, id, status=409)["detail"]


@SQLITE
def test_a_source_that_states_her_address_meanwhile_has_the_last_word(desk: Desk) -> None:
    id = person(desk)
    ask(desk, id)
    desk.deliver()
    link = desk.token_of(PAGE, next(n for n, each in enumerate(desk.office.taken) if each["To"] == NEW))
    stated = Link("corp", "k", values={"emails": [{"value": OLD, "primary": True}]})
    desk.service.commit(UserEdit(id, "corp", link=stated), source="corp")
    assert desk.fill(PAGE, link).status_code == 403 and address(desk, id)[1] == OLD


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # PostgreSQL's own clock has a say
def test_a_purge_leaves_nothing(desk: Desk) -> None:
    id = person(desk)
    ask(desk, id)
    desk.ask("DELETE", f"/users/{id}")
    service = desk.service
    service.now += timedelta(days=15)
    with service.database.writing() as conn:
        workspace = service.workspaces["default"]
        purge.strip(conn, workspace, [id], service.now, 100)
        assert purge.purge(conn, workspace, [id], service.now, service.ids) == 1
        assert conn.execute(select(t.email_changes)).all() == conn.execute(select(t.mails)).all() == []
