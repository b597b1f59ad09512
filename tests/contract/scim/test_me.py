"""`/Me` is whoever bears the token (RFC 7644 section 3.11)."""

from __future__ import annotations

from syncd.core.actor import Actor
from syncd.store import tokens

from .conftest import USER_URN, Service


def test_me(service: Service) -> None:
    ann, bob = service.user("ann"), service.user("bob")
    token = service.make_token(user=ann["id"])
    seen = service.ask("GET", "Me", token=token)
    assert (seen.status_code, seen.json(), seen.headers["location"]) == (200, ann, ann["meta"]["location"])
    assert seen.headers["etag"] == ann["meta"]["version"]
    assert set(service.ask("GET", "Me", token=token, attributes="userName").json()) == {"schemas", "id", "userName"}
    head = service.ask("HEAD", "Me", token=token, headers={"If-None-Match": ann["meta"]["version"]})
    assert (head.status_code, head.content) == (304, b"")
    changed = service.patch("Me", {"op": "replace", "path": "title", "value": "Boss"}, token=token)
    assert (changed.status_code, changed.headers["location"]) == (200, ann["meta"]["location"])
    assert changed.json()["title"] == "Boss"
    put = service.ask("PUT", "Me", {"schemas": [USER_URN], "userName": "ann"}, token=token)
    assert (put.status_code, "title" in put.json()) == (200, False)
    assert service.ask("POST", "Me", {"schemas": [USER_URN], "userName": "x"}, token=token).status_code == 501
    reads = service.make_token(user=ann["id"], allow=["users:read:userName"])
    assert set(service.ask("GET", "Me", token=reads).json()) == {"schemas", "id", "userName"}
    assert service.patch("Me", {"op": "remove", "path": "title"}, token=reads).status_code == 403
    assert service.ask("DELETE", "Me", token=token).status_code == 204
    assert service.ask("GET", "Me", token=token).status_code == 404, "she is no more"
    assert service.ask("GET", f"Users/{bob['id']}").status_code == 200


def test_every_answer_about_me_says_where_i_am(service: Service) -> None:
    """RFC 7644 section 3.11: "in any response", errors and empty ones included."""
    ann = service.user("ann")
    mine, reads = service.make_token(user=ann["id"]), service.make_token(user=ann["id"], allow=["users:read"])
    version, rename = ann["meta"]["version"], {"op": "remove", "path": "title"}
    answers = {
        304: service.ask("GET", "Me", token=mine, headers={"If-None-Match": version}),
        400: service.patch("Me", {"op": "remove", "path": "nosuch"}, token=mine),
        403: service.patch("Me", rename, token=reads),
        412: service.patch("Me", rename, token=mine, headers={"If-Match": 'W/"9"'}),
        204: service.ask("DELETE", "Me", token=mine),
    }
    for status, answer in answers.items():
        assert (answer.status_code, answer.headers["location"]) == (status, ann["meta"]["location"])
    assert "location" not in service.ask("GET", "Me").headers  # a connection is nobody


def test_a_connection_is_nobody(service: Service) -> None:
    for method in ("GET", "PUT", "PATCH", "DELETE", "POST"):
        answer = service.ask(method, "Me", {"schemas": [USER_URN]})
        assert (answer.status_code, answer.json()["status"]) == (501, "501")


def test_a_rotated_token_is_of_the_same_person(service: Service) -> None:
    ann = service.user("ann")
    service.make_token("entra", user=ann["id"])
    with service.database.writing() as conn:
        _, token = tokens.rotate(conn, Actor("cli", "root", "default"), "entra test", service.now, service.ids)
    assert service.ask("GET", "Me", token=token).json()["userName"] == "ann"
