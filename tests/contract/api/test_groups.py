"""Groups over the API: people's own, and what people say of a directory's."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from syncd.core.change import UserEdit
from syncd.core.state import Grant
from syncd.store import tables as t
from syncd.store.invariants import check
from web_service import Service


def ask(service: Service, method: str, path: str, body: Any = None, status: int = 200, **more: Any) -> dict[str, Any]:
    answer = service.ask(method, f"/api/v1/groups{path}", body, **more)
    assert answer.status_code == status, answer.text
    return dict(answer.json()) if answer.content else {}


def people(service: Service, *names: str) -> list[str]:
    return [service.user(name)["id"] for name in names]


def results(answer: dict[str, Any]) -> list[str]:
    return [each["result"] for each in answer["items"]]


def members(service: Service, id: str, **query: Any) -> list[str]:
    return [each["display"] for each in ask(service, "GET", f"/{id}/members", **query)["items"]]


def test_made_renamed_and_deleted(service: Service) -> None:
    ann, bob = people(service, "ann", "bob")
    made = ask(service, "POST", "", {"displayName": "sales", "members": [ann, bob]}, 201)
    assert (made["source"], made["users"], made["groups"]) == ("local", 2, 0)
    told = service.ask("POST", "/api/v1/groups", {"displayName": "Sales"})
    assert (told.status_code, told.json()["type"]) == (409, "urn:syncd:problem:uniqueness")
    unknown = service.ask("POST", "/api/v1/groups", {"displayName": "x", "members": [ann, "nobody"]})
    assert (unknown.status_code, "nobody" in unknown.json()["detail"]) == (400, True)
    assert service.ask("POST", "/api/v1/groups", {"displayName": " "}).status_code == 422
    id = made["id"]
    tag = service.ask("GET", f"/api/v1/groups/{id}").headers["etag"]
    named = service.ask("PATCH", f"/api/v1/groups/{id}", {"displayName": "sales 2"}, headers={"If-Match": tag})
    assert named.json()["displayName"] == "sales 2"
    assert service.ask("DELETE", f"/api/v1/groups/{id}", headers={"If-Match": tag}).status_code == 412
    ask(service, "DELETE", f"/{id}", status=204)
    ask(service, "GET", f"/{id}", status=404)
    assert service.access(ann)["groups"] == []


def test_members_join_and_leave_each_answered_by_itself(service: Service) -> None:
    ann, bob, eve = people(service, "ann", "bob", "eve")
    crm = ask(service, "POST", "", {"displayName": "crm", "members": [eve]}, 201)["id"]
    inner = ask(service, "POST", "", {"displayName": "inner"}, 201)["id"]
    told = ask(service, "POST", f"/{crm}/members", {"add": [ann, "nobody", eve, inner, crm], "remove": [bob]})
    assert results(told) == ["done", "refused", "unchanged", "done", "refused", "unchanged"]
    assert (told["done"], told["refused"], told["unchanged"], told["held"]) == (2, 2, 2, 0)
    assert told["items"][1]["problem"]["status"] == 404
    assert members(service, crm) == ["inner", "ann", "eve"]
    assert service.roles(ann) == {"clerk"}, "the rule of the group's name"
    ask(service, "POST", f"/{inner}/members", {"add": [bob]})
    assert service.roles(bob) == {"clerk"}
    assert sorted(members(service, crm, which="effective")) == ["ann", "bob", "eve"]
    assert results(ask(service, "POST", f"/{crm}/members", {"remove": [ann, inner]})) == ["done", "done"]
    assert (service.roles(ann), service.roles(bob)) == (set(), set())
    twice = service.ask("POST", f"/api/v1/groups/{crm}/members", {"add": [ann], "remove": [ann]})
    assert (twice.status_code, "twice" in twice.json()["detail"]) == (422, True)
    ask(service, "POST", "/nobody/members", {"add": [ann]}, 404)
    with service.database.reading() as conn:
        assert check(conn, service.workspaces["default"], service.now) == []


def test_a_group_of_a_directory_keeps_its_own_word(service: Service) -> None:
    """People may put somebody in; what the source says is taken back there."""
    ann, bob = people(service, "ann", "bob")
    id = service.group("crm", ann)["id"]
    told = ask(service, "POST", f"/{id}/members", {"add": [bob], "remove": [ann]})
    assert results(told) == ["done", "refused"]
    assert "source okta says so" in told["items"][1]["problem"]["detail"]
    [first, second] = ask(service, "GET", f"/{id}/members")["items"]
    assert {tuple(each["origins"]) for each in (first, second)} == {("okta",), ("local",)}
    for method, body in (("PATCH", {"displayName": "mine"}), ("DELETE", None)):
        refused = service.ask(method, f"/api/v1/groups/{id}", body)
        assert (refused.status_code, "source okta" in refused.json()["detail"]) == (403, True)
    assert results(ask(service, "POST", f"/{id}/members", {"remove": [bob]})) == ["done"]


def test_pages_of_groups_and_members(service: Service) -> None:
    ids = people(service, *(f"p{n}" for n in range(5)))
    for n in range(5):
        ask(service, "POST", "", {"displayName": f"g{n}", "members": ids[: n + 1]}, 201)
    service.group("pushed")
    seen: list[tuple[str, int]] = []
    query: dict[str, Any] = {"limit": 2, "sort": "-displayName", "source": "local"}
    page = ask(service, "GET", "", **query)
    while True:
        seen += [(each["displayName"], each["users"]) for each in page["items"]]
        if page["next"] is None:
            break
        page = ask(service, "GET", "", **query, cursor=page["next"])
    assert seen == [("g4", 5), ("g3", 4), ("g2", 3), ("g1", 2), ("g0", 1)]
    [last] = ask(service, "GET", "", filter='displayName eq "g4"')["items"]
    for which in ("direct", "effective"):
        first = ask(service, "GET", f"/{last['id']}/members", limit=3, which=which)
        rest = ask(service, "GET", f"/{last['id']}/members", limit=3, which=which, cursor=first["next"])
        assert [each["id"] for each in (*first["items"], *rest["items"])] == ids
        assert rest["next"] is None


def test_more_than_may_be_lost_at_once_is_held_under_one_digest(service: Service) -> None:
    """Each by itself, and yet the limit counts them together."""
    ids = people(service, *(f"p{n:02}" for n in range(12)))
    id = ask(service, "POST", "", {"displayName": "sales", "members": ids}, 201)["id"]
    service.later(hours=48)
    told = ask(service, "POST", f"/{id}/members", {"remove": [*ids, "nobody"]})
    assert results(told) == ["held"] * 12 + ["refused"]
    with service.database.reading() as conn:
        held = conn.execute(select(t.held.c.digest, t.held.c.subject_id)).all()
    assert ({row.subject_id for row in held}, len({row.digest for row in held})) == (set(ids), 1)
    assert len(members(service, id)) == 12
    assert results(ask(service, "POST", f"/{id}/members", {"remove": ids[:3]})) == ["done"] * 3


def test_nobody_becomes_by_a_group_what_the_asker_could_not_make_her(service: Service) -> None:
    ann, bob = people(service, "ann", "bob")
    crm = ask(service, "POST", "", {"displayName": "crm"}, 201)["id"]
    token = service.make_token(user=bob, allow=["groups:*"])
    told = ask(service, "POST", f"/{crm}/members", {"add": [ann, bob]}, token=token)
    assert results(told) == ["refused", "refused"]
    assert "role clerk (by rule crm)" in told["items"][0]["problem"]["detail"]
    given = (Grant("role", "clerk", "direct", "root"), Grant("seat", "crm", "direct", "root"))
    service.commit(UserEdit(bob, "local", grant=given)).check()
    assert results(ask(service, "POST", f"/{crm}/members", {"add": [ann]}, token=token)) == ["done"]


def test_one_bulk_is_one_idempotent_request(service: Service) -> None:
    ann, bob = people(service, "ann", "bob")
    id = ask(service, "POST", "", {"displayName": "sales"}, 201)["id"]
    body, key = {"add": [ann, bob]}, {"Idempotency-Key": "k"}
    first = service.ask("POST", f"/api/v1/groups/{id}/members", body, headers=key)
    again = service.ask("POST", f"/api/v1/groups/{id}/members", body, headers=key)
    assert (first.content, again.headers["idempotency-replayed"]) == (again.content, "true")
    dry = service.ask("POST", f"/api/v1/groups/{id}/members", {"remove": [ann]}, headers={"X-Dry-Run": "true"})
    assert results(dry.json()) == ["done"]
    assert members(service, id) == ["ann", "bob"]
