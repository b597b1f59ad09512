"""Letters over the API: what became of them, without addresses; sent again and given up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from letter_desk import Desk, desk_of
from web_service import Service

SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # no engine changes it


@pytest.fixture
def desk(service: Service) -> Iterator[Desk]:
    with desk_of(service) as found:
        yield found


def invited(desk: Desk, email: str = "ann@example.org") -> str:
    answer = desk.ask("POST", "/invitations", {"email": email})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["user_id"])


def test_what_became_of_letters(desk: Desk) -> None:
    ids = [invited(desk, f"{name}@example.org") for name in ("ann", "bob", "eve")]
    first = desk.ask("GET", "/mails", limit="2").json()
    [last] = desk.ask("GET", "/mails", limit="2", cursor=first["next"]).json()["items"]
    assert [each["about_id"] for each in (*first["items"], last)] == ids
    assert desk.ask("GET", f"/mails/{last['id']}").json() == last
    assert (last["kind"], last["state"], last["attempts"]) == ("invitation", "waiting", 0)
    gone = desk.ask("POST", f"/mails/{last['id']}/discard")
    assert gone.json()["state"] == "discarded" and desk.ask("POST", f"/mails/{last['id']}/discard").status_code == 409
    desk.office.refuse = lambda address: "550 no such mailbox" if address.startswith("bob") else None
    desk.deliver("discarded")
    [refused] = desk.ask("GET", "/mails", state="refused").json()["items"]
    assert (refused["about_id"], refused["last_code"]) == (ids[1], 550) and "550" in refused["last_error"]
    assert "example.org" not in desk.ask("GET", "/mails").text, "no addresses"
    assert [each["state"] for each in desk.ask("GET", "/mails", user=ids[0]).json()["items"]] == ["sent"]
    assert desk.ask("POST", f"/mails/{refused['id']}/retry").json()["state"] == "waiting"
    assert desk.ask("POST", f"/mails/{first['items'][0]['id']}/retry").status_code == 409, "it was sent"
    assert desk.ask("GET", "/mails/nothing").status_code == 404


@SQLITE
def test_who_asked_from_a_sign_in_page_is_nobody_yet(desk: Desk) -> None:
    assert desk.ask("POST", "/password-resets/by-mail", {"userName": "nobody"}).status_code == 202
    [waiting] = desk.ask("GET", "/mails").json()["items"]
    assert (waiting["kind"], waiting["about_id"], waiting["to_id"]) == ("reset", None, None)
    assert "nobody" not in desk.ask("GET", "/mails").text


@SQLITE
def test_who_may(desk: Desk) -> None:
    invited(desk)
    reads = desk.service.make_token(allow=["deliveries:read"])
    [one] = desk.ask("GET", "/mails", token=reads).json()["items"]
    assert desk.ask("POST", f"/mails/{one['id']}/retry", token=reads).status_code == 403
    assert desk.ask("GET", f"/mails/{one['id']}", token=desk.service.make_token(workspace="other")).status_code == 404
