"""A new password by mail: from the sign-in page or an admin to the form, and that nobody learns who has an account."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from letter_desk import Desk, desk_of
from syncd.core.change import UserEdit
from syncd.core.password import PasswordPolicy
from syncd.core.state import Grant
from syncd.store import mails
from syncd.store import tables as t
from web_service import Service

OLD, NEW = "correct horse battery", "staple of the evening"
PAGE = "/password-reset"
SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # no engine changes it


@pytest.fixture
def desk(service: Service) -> Iterator[Desk]:
    with desk_of(service) as found:
        yield found


def person(desk: Desk, name: str = "ann", *grants: Grant, password: bool = True, **values: Any) -> str:
    address = values.pop("address", f"{name}@example.org")
    emails = [{"value": address, "primary": True}] if address else None
    id = desk.service.made_by("local", name, *grants, **({"emails": emails} if emails else {}), **values)
    if password:
        assert desk.ask("PUT", f"/users/{id}/password", {"password": OLD}).status_code == 204
    return id


def forgot(desk: Desk, who: str = "ann", status: int = 202, **more: Any) -> str:
    answer = desk.ask("POST", "/password-resets/by-mail", {"userName": who, **more})
    assert answer.status_code == status, answer.text
    return answer.text


def signs_in(desk: Desk, name: str, text: str) -> bool:
    return bool(desk.ask("POST", "/verify-password", {"userName": name, "password": text}).json()["may_sign_in"])


def letters(desk: Desk) -> list[mails.Mail]:
    with desk.service.database.reading() as conn:
        return mails.listed(conn, "default", None)


@pytest.mark.parametrize("typed", ["ann", "ANN@example.org"])
def test_from_the_sign_in_page_to_the_new_password(desk: Desk, typed: str) -> None:
    id = person(desk, displayName="Ann Lee")
    desk.service.later(minutes=1)
    forgot(desk, typed)
    desk.deliver()
    told = desk.office.taken[0]
    assert (told["To"], told["Subject"]) == ("ann@example.org", "Your password for Example CRM")
    assert "2026-11-21 13:01 UTC" in desk.office.text() and "Hello Ann Lee" in desk.office.text()
    token = desk.token_of(PAGE)
    with desk.service.database.reading() as conn:
        stored = "".join(repr(conn.execute(select(each)).all()) for each in (t.password_resets, t.mails, t.activity))
    assert token.rpartition("_")[2] not in stored and "ANN@" not in stored, "neither the link nor what was typed"
    for _ in range(2):
        page = desk.look(PAGE, token)
        assert page.status_code == 200 and "<strong>ann</strong>" in page.text and "<script" not in page.text
    bad = desk.fill(PAGE, token, password="short", again="short")
    assert bad.status_code == 422 and "The password: it has 5 characters" in bad.text
    assert desk.fill(PAGE, token, password=NEW, again=NEW, origin="https://evil.example").status_code == 403
    assert signs_in(desk, "ann", OLD) and desk.fill(PAGE, token, password=NEW, again=NEW).status_code == 200
    assert signs_in(desk, "ann", NEW) and not signs_in(desk, "ann", OLD)
    assert desk.look(PAGE, token).status_code == desk.fill(PAGE, token, password=NEW, again=NEW).status_code == 404
    rows = desk.ask("GET", "/activity", headers={}).json()["items"]
    about = [(each["action"], each["why"], each["actor"]) for each in rows if each["subject_id"] == id]
    assert ("password_reset", "asked for at a sign-in page", "okta test") in about
    assert ("password_set", "set by a reset link", "ann") in about


def test_nobody_learns_who_has_an_account(desk: Desk) -> None:
    """The answer and what it writes are the same: one row, in which nobody is looked up."""
    person(desk)
    person(desk, "twin", address="both@example.org")
    person(desk, "twain", address="both@example.org")
    person(desk, "mute", address="")
    person(desk, "nopass", password=False)
    held = person(desk, "held")
    desk.service.commit(UserEdit(held, "local", facts={"suspended": "on leave"}))
    fed = desk.service.made_by("okta", "fed", emails=[{"value": "fed@example.org"}])
    names = [
        "nobody",
        "nobody@example.org",
        "both@example.org",
        "mute",
        "nopass",
        "held",
        "fed",
        fed,
        "a b\u0001",
        "ann",
    ]
    answers = {forgot(desk, each) for each in names}
    assert len(answers) == 1 and len({(each.kind, each.about_id, each.to_id) for each in letters(desk)}) == 1
    desk.deliver()
    assert [each["To"] for each in desk.office.taken] == ["ann@example.org"]
    void = [each for each in letters(desk) if each.state == "void"]
    assert len(void) == len(names) - 1
    assert {each.last_error for each in void if not each.about_id} == {"nobody who may have a password here was named"}


@SQLITE
def test_not_too_often(desk: Desk) -> None:
    person(desk)
    for _ in range(5):
        forgot(desk)
    desk.deliver("void")
    assert len(desk.office.taken) == 3, "of one user so many letters an hour"
    assert "more than 5 links" in forgot(desk, status=429)
    for _ in range(5):
        forgot(desk, "nobody")
    assert "more than 5 links" in forgot(desk, "nobody", 429)
    assert desk.look(PAGE, desk.token_of(PAGE, 0)).status_code == 404, "a newer one was sent"
    assert desk.look(PAGE, desk.token_of(PAGE)).status_code == 200
    for number in range(60):
        forgot(desk, f"name-{number}", address="192.0.2.1")
    forgot(desk, "one more", 429, address="192.0.2.1")


@SQLITE
def test_what_ends_a_link(desk: Desk) -> None:
    id = person(desk)
    for end in ("set", "late", "deleted"):
        desk.service.later(hours=2)
        forgot(desk)
        desk.deliver()
        token = desk.token_of(PAGE)
        assert desk.look(PAGE, token).status_code == 200
        if end == "set":
            assert desk.ask("PUT", f"/users/{id}/password", {"password": NEW}).status_code == 204
        elif end == "late":
            desk.service.later(hours=1, seconds=1)
        elif end == "deleted":
            assert desk.ask("DELETE", f"/users/{id}").status_code == 204
        assert desk.fill(PAGE, token, password=NEW, again=NEW).status_code == (409 if end == "deleted" else 404), end
    forgot(desk)
    desk.deliver("void")
    with desk.service.database.reading() as conn:
        assert len(mails.listed(conn, "default", "sent")) == 3


@SQLITE
def test_a_letter_that_waited_too_long_or_a_password_set_meanwhile(desk: Desk) -> None:
    id = person(desk)
    desk.service.later(minutes=1)
    forgot(desk)
    desk.service.later(minutes=1)
    desk.ask("PUT", f"/users/{id}/password", {"password": NEW})
    desk.deliver("void")
    forgot(desk)
    desk.service.later(hours=2)
    desk.deliver("void")
    assert desk.office.taken == []
    assert [each.last_error for each in letters(desk)] == ["a password was set since", "whoever asked waits no more"]


@SQLITE
def test_an_admin_has_the_link_sent_and_sees_no_token(desk: Desk) -> None:
    id = person(desk, password=False)
    answer = desk.ask("POST", f"/users/{id}/password-reset", {"mail": True})
    assert answer.status_code == 201 and answer.json()["token"] is None, answer.text
    assert answer.json()["mail"] == letters(desk)[0].id
    desk.deliver()
    assert desk.fill(PAGE, desk.token_of(PAGE), password=NEW, again=NEW).status_code == 200
    assert signs_in(desk, "ann", NEW)
    silent, fed = (
        person(desk, "mute", address=""),
        desk.service.made_by("okta", "fed", emails=[{"value": "f@example.org"}]),
    )
    for each, status, says in ((silent, 409, "no e-mail address"), (fed, 403, "signs in there")):
        refused = desk.ask("POST", f"/users/{each}/password-reset", {"mail": True})
        assert refused.status_code == status and says in refused.text, refused.text
    desk.service.workspaces["default"] = replace(desk.service.workspaces["default"], mails=False)
    assert "no mail server" in desk.ask("POST", f"/users/{id}/password-reset", {"mail": True}).text
    assert "no mail server" in forgot(desk, status=409)


@SQLITE
def test_nobody_takes_the_address_of_somebody_above_to_get_her_link(desk: Desk) -> None:
    """Who may change an address and has a link sent to it would sign in as whom she likes."""
    service = desk.service
    boss = person(desk, "boss", Grant("role", "admin", "direct", "root"))
    clerk = person(desk, "clerk", Grant("permission", "users.manage", "direct", "root"))
    token = service.make_token(source="local", allow=["users:read", "users:update"], user=clerk)
    mine = [{"value": "clerk@example.org", "primary": True}]
    for body in ({"emails": mine}, {"userName": "clerk2"}):
        refused = desk.ask("PATCH", f"/users/{boss}", body, token=token)
        assert refused.status_code == 403 and "sign-in name or address of boss" in refused.text, refused.text
    equal = person(desk, "equal")
    assert desk.ask("PATCH", f"/users/{equal}", {"emails": mine}, token=token).status_code == 200
    assert desk.ask("PATCH", f"/users/{boss}", {"title": "Head"}, token=token).status_code == 200


@SQLITE
def test_a_connection_that_says_an_address_gets_no_link_of_somebody_above_it(desk: Desk) -> None:
    """It may not set an admin's password; with a link sent to an address of its choice it would."""
    service, here = desk.service, desk.service.workspaces["default"]
    okta = replace(here.sources["okta"], passwords=True, may_grant=frozenset({"viewer"}))
    service.workspaces["default"] = here = replace(here, sources={**here.sources, "okta": okta})
    service.web = service.application()
    grants = {"boss": "admin", "ann": "viewer", "once": "admin"}
    for name, role in grants.items():
        id = service.made_by("okta", name, emails=[{"value": f"{name}@example.org"}])
        assert desk.ask("PUT", f"/users/{id}/password", {"password": OLD}).status_code == 204
        until = service.now if name == "once" else None
        service.commit(UserEdit(id, "local", grant=(Grant("role", role, "direct", "root", expires_at=until),)))
        change = {"op": "replace", "path": "emails", "value": [{"value": f"{name}@evil.example"}]}
        assert service.patch(f"Users/{id}", change).status_code == 200, "an address is the provider's to say"
    service.later(minutes=1)
    for name in grants:
        forgot(desk, name)
    desk.deliver()
    assert sorted(told["To"] for told in desk.office.taken) == ["ann@evil.example", "once@evil.example"]
    (boss,) = (each for each in letters(desk) if each.state != "sent")
    assert "role admin, which source okta may not give; it is okta that says what her address is" in str(
        boss.last_error
    )
    refused = desk.ask("POST", f"/users/{boss.about_id}/password-reset", {"mail": True})
    assert refused.status_code == 403 and "set-password" in refused.text
    wider = replace(okta, may_grant=frozenset({"viewer", "admin"}))
    service.workspaces["default"] = replace(here, sources={**here.sources, "okta": wider})
    assert desk.ask("POST", f"/users/{boss.about_id}/password-reset", {"mail": True}).status_code == 201


@SQLITE
def test_the_policy_beside_a_provider(desk: Desk) -> None:
    service = desk.service
    service.workspaces["default"] = replace(
        service.workspaces["default"], passwords=PasswordPolicy(beside_provider=True)
    )
    fed = service.made_by("okta", "fed", emails=[{"value": "fed@example.org"}])
    assert desk.ask("PUT", f"/users/{fed}/password", {"password": OLD}).status_code == 204
    service.later(minutes=1)
    forgot(desk, "fed")
    desk.deliver()
    token = desk.token_of(PAGE)
    service.workspaces["default"] = replace(service.workspaces["default"], passwords=PasswordPolicy())
    assert desk.fill(PAGE, token, password=NEW, again=NEW).status_code == 403, "it is not allowed any more"
