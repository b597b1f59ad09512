"""Invitations: from the API by a real mail to the form in the browser, and everything that can go wrong on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

import letter_desk
from syncd.core.state import Link
from syncd.store import invitations, purge
from syncd.store import tables as t
from syncd.timers import Timers
from web_service import BASE, Service

GOOD = {
    "password": "corrugated iron roof",
    "again": "corrugated iron roof",
    "country": "de",
    "timezone": "Europe/Berlin",
}


@dataclass
class Desk(letter_desk.Desk):
    def invite(self, email: str = "ann@example.org", **more: Any) -> dict[str, Any]:
        answer = self.ask("POST", "/invitations", {"email": email, **more})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def token(self) -> str:
        return self.token_of("/invitation")

    def open(self, token: str) -> httpx.Response:
        return self.look("/invitation", token)

    def send(self, token: str, origin: str | None = BASE, **fields: str) -> httpx.Response:
        return self.fill("/invitation", token, origin, **{**GOOD, **fields})


@pytest.fixture
def desk(service: Service) -> Iterator[Desk]:
    with letter_desk.desk_of(service) as found:
        yield Desk(found.service, found.office)


def test_from_the_invitation_to_the_first_sign_in(desk: Desk) -> None:
    group = desk.service.group("crew")["id"]
    made = desk.invite(roles=["member"], seats=["internal"], groups=[group], displayName="Ann Lee")
    assert (made["state"], made["mail"], made["address"]) == ("pending", "waiting", "ann@example.org")
    user = desk.ask("GET", f"/users/{made['user_id']}").json()
    assert (user["status"], user["userName"]) == ("pending", "ann@example.org")
    access = desk.service.access(made["user_id"])
    assert [each["value"] for each in access["seats"]] == ["internal"] and [
        each["value"] for each in access["groups"]
    ] == [group]
    desk.deliver()
    told = desk.office.taken[0]
    assert (told["To"], told["Subject"]) == ("ann@example.org", "You are invited to Example CRM")
    token = desk.token()
    with desk.service.database.reading() as conn:
        stored = repr(conn.execute(t.invitations.select()).all()) + repr(conn.execute(t.mails.select()).all())
    assert token.rpartition(".")[2] not in stored, "of the link only a hash is kept"
    for _ in range(2):  # looking changes nothing
        page = desk.open(token)
        assert page.status_code == 200 and "ann@example.org" in page.text and "Europe/Berlin" in page.text
    assert (
        "default-src 'none'" in page.headers["content-security-policy"] and page.headers["cache-control"] == "no-store"
    )
    assert "<script" not in page.text
    done = desk.send(token)
    assert done.status_code == 200 and "Your password is set" in done.text
    user = desk.ask("GET", f"/users/{made['user_id']}").json()
    assert (user["status"], user["timezone"], user["addresses"]) == (
        *("active", "Europe/Berlin", [{"type": "work", "country": "DE"}]),
    )
    tried = {"userName": "ann@example.org", "password": GOOD["password"]}
    answer = desk.ask("POST", "/verify-password", tried)
    assert answer.status_code == 200 and answer.json()["may_sign_in"] is True, answer.text
    assert desk.ask("GET", f"/invitations/{made['id']}").json()["state"] == "accepted"
    assert desk.open(token).status_code == desk.send(token).status_code == 404, "once"


def test_what_the_form_refuses(desk: Desk) -> None:
    desk.invite()
    desk.deliver()
    token = desk.token()
    for fields, says in (
        ({"password": "short", "again": "short"}, "The password:"),
        ({"again": "another one entirely"}, "The two passwords differ"),
        ({"country": "Germany"}, "two letters"),
        ({"timezone": "Mars/Olympus"}, "time zone of the list"),
        ({"password": "ann@example.org1", "again": "ann@example.org1"}, "The password:"),
    ):
        answer = desk.send(token, **fields)
        assert answer.status_code == 422 and says in answer.text, answer.text
        assert fields.get("password", "iron roof") not in answer.text
    assert desk.send(token, origin="https://evil.example").status_code == 403
    other = {"Sec-Fetch-Site": "cross-site", "Content-Type": "application/x-www-form-urlencoded"}
    content = urlencode({"token": token, **GOOD}).encode()
    assert desk.service.ask("POST", "/invitation", content=content, headers=other, token=None).status_code == 403
    for wrong in (b"x" * 20_000, b"\xff\x00=&&&"):
        sent = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = desk.service.ask("POST", "/invitation", content=wrong, headers=sent, token=None)
        assert answer.status_code in (403, 404)
    assert desk.service.ask("POST", "/invitation", {}, token=None).status_code == 403
    for odd in ("nothing", ".", "a\0b.c", f"{token}0", token.partition(".")[0] + ".", "x" * 5000, "ä.ö"):
        assert desk.open(odd).status_code == 404, odd
    escaped = desk.send(token, country='"><b>')
    assert "<b>" not in escaped.text
    assert desk.send(token).status_code == 200, "none of that used it up"


def test_resent_corrected_and_withdrawn(desk: Desk) -> None:
    made = desk.invite()
    desk.deliver()
    first = desk.token()
    assert desk.ask("POST", f"/invitations/{made['id']}/resend").json()["mail"] == "waiting"
    assert desk.open(first).status_code == 404, "the link before has ended"
    desk.deliver()
    second = desk.token()
    assert second != first and desk.open(second).status_code == 200
    corrected = desk.ask("PATCH", f"/invitations/{made['id']}", {"email": "anna@example.org"})
    assert corrected.json()["address"] == "anna@example.org", corrected.text
    assert desk.open(second).status_code == 404
    user = desk.ask("GET", f"/users/{made['user_id']}").json()
    assert (user["userName"], user["emails"][0]["value"]) == ("anna@example.org", "anna@example.org")
    desk.deliver()
    assert desk.office.taken[-1]["To"] == "anna@example.org"
    third = desk.token()
    assert desk.ask("POST", f"/invitations/{made['id']}/cancel").json()["state"] == "cancelled"
    assert desk.open(third).status_code == 404
    assert desk.ask("GET", f"/users/{made['user_id']}").json()["status"] == "deleted"
    for path in ("resend", "cancel"):
        assert desk.ask("POST", f"/invitations/{made['id']}/{path}").status_code == 409
    again = desk.invite("anna@example.org")
    assert again["id"] != made["id"]
    states = [each["state"] for each in desk.ask("GET", "/invitations").json()["items"]]
    assert states == ["cancelled", "pending"]
    assert len(desk.ask("GET", "/invitations", state="pending").json()["items"]) == 1


def test_it_expires_and_may_be_sent_again(desk: Desk) -> None:
    made = desk.invite()
    desk.deliver()
    token = desk.token()
    desk.service.later(days=8)
    assert desk.open(token).status_code == desk.send(token).status_code == 404
    assert desk.ask("GET", f"/invitations/{made['id']}").json()["state"] == "expired"
    assert desk.ask("GET", "/invitations", state="expired").json()["items"][0]["id"] == made["id"]
    assert desk.ask("POST", f"/invitations/{made['id']}/resend").json()["state"] == "pending"
    desk.deliver()
    assert desk.send(desk.token()).status_code == 200


def test_a_refused_address_is_shown(desk: Desk) -> None:
    desk.office.refuse = lambda address: "550 no such user" if address.startswith("ann@") else None
    made = desk.invite()
    desk.deliver("refused")
    shown = desk.ask("GET", f"/invitations/{made['id']}").json()
    assert (shown["state"], shown["mail"], shown["mail_error"]) == ("pending", "refused", "550 no such user")
    desk.ask("PATCH", f"/invitations/{made['id']}", {"email": "anna@example.org"})
    desk.deliver()
    assert desk.ask("GET", f"/invitations/{made['id']}").json()["mail"] == "sent"


def test_who_cannot_be_invited(desk: Desk) -> None:
    desk.service.made_by("corp", "bob", emails=[{"value": "bob@example.org"}])
    for email, status in (("bob@example.org", 409), ("no address", 400), ("a@b\n", 400)):
        assert desk.ask("POST", "/invitations", {"email": email}).status_code == status, email
    assert desk.ask("POST", "/invitations", {"email": "c@d.example", "roles": ["king"]}).status_code == 400
    reads = desk.service.make_token(allow=["users:read"])
    assert desk.ask("POST", "/invitations", {"email": "c@d.example"}, token=reads).status_code == 403
    desk.service.workspaces["default"] = replace(desk.service.workspaces["default"], mails=False)
    desk.service.web = desk.service.application()
    refused = desk.ask("POST", "/invitations", {"email": "c@d.example"})
    assert refused.status_code == 409 and "no mail server" in refused.json()["detail"]


def test_whoever_is_not_pending_any_more_cannot_come_in(desk: Desk) -> None:
    made = desk.invite()
    desk.deliver()
    token = desk.token()
    desk.ask("POST", f"/users/{made['user_id']}/suspend")
    assert desk.open(token).status_code == 404
    desk.ask("POST", f"/users/{made['user_id']}/unsuspend")
    assert desk.open(token).status_code == 200
    opened = None
    with desk.service.database.reading() as conn:
        opened = invitations.open(conn, desk.service.workspaces, token, desk.service.now)
    assert "secret" not in repr(opened) and isinstance(opened.user.link("local"), Link)


def test_nothing_is_left_of_who_is_purged(desk: Desk) -> None:
    desk.service.now -= timedelta(days=90)  # a purge waits for the database's clock too
    made = desk.invite()
    desk.ask("POST", f"/invitations/{made['id']}/cancel")
    desk.service.later(days=20)
    space = desk.service.workspaces["default"]
    with desk.service.database.writing() as conn:
        purge.strip(conn, space, [made["user_id"]], desk.service.now, 500)
    with desk.service.database.writing() as conn:
        assert purge.purge(conn, space, [made["user_id"]], desk.service.now, desk.service.ids) == 1
        assert conn.execute(t.invitations.select()).all() == [] and conn.execute(t.mails.select()).all() == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_who_never_came_is_withdrawn_by_itself(desk: Desk) -> None:
    service = desk.service
    made = desk.invite(seats=["internal"])
    timers = Timers(service.database, service.workspaces, lambda: service.now, service.ids)

    def rounds() -> None:
        for _ in range(60):  # the clock leapt, so what cannot be undone waits
            service.later(minutes=5)
            timers.tick()

    service.later(days=36)
    rounds()
    assert desk.ask("GET", f"/invitations/{made['id']}").json()["state"] == "expired"
    assert desk.ask("GET", "/seats/internal").json()["used"] == 1
    assert desk.ask("POST", f"/invitations/{made['id']}/resend", {}).status_code == 200
    service.later(days=36)
    rounds()
    assert desk.ask("GET", f"/invitations/{made['id']}").json()["state"] == "expired", "its days began anew"
    service.later(days=1)
    rounds()
    assert desk.ask("GET", f"/invitations/{made['id']}").json()["state"] == "cancelled"
    assert desk.ask("GET", "/seats/internal").json()["used"] == 0
    desk.invite()
    service.workspaces["default"] = replace(service.workspaces["default"], withdrawn_after=None)
    service.later(days=400)
    rounds()
    assert desk.ask("GET", "/invitations", state="expired").json()["items"], "never, where that is said"
