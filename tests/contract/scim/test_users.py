"""Users over SCIM on both engines: create, read, replace, patch, delete, and what two sources make of one user."""

from __future__ import annotations

from typing import Any

import pytest

from syncd.core.change import UserEdit
from syncd.core.state import Grant, Link
from syncd.store import linked

from .conftest import BASE, GROUP_URN, USER_URN, Service

ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
SYNCD = "urn:syncd:params:scim:schemas:extension:2.0:User"


def replace(path: str | None, value: Any) -> dict[str, Any]:
    return {"op": "replace", "value": value, **({"path": path} if path else {})}


def test_create_answers_201_with_location_etag_and_the_whole_user(service: Service) -> None:
    body = {
        "schemas": [USER_URN, ENTERPRISE],
        "userName": "Ann@example.org",
        "externalId": "00u1",
        "name": {"givenName": "Ann", "familyName": "Lee"},
        "emails": [{"value": "ann@example.org", "type": "work", "primary": True}],
        "active": True,
        "userType": "Employee",
        ENTERPRISE: {"department": "Sales"},
        "groups": [{"value": "nobody"}],
        "meta": {"version": "mine"},
        "password": "secret",
    }
    answer = service.ask("POST", "Users", body)
    user = answer.json()
    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/scim+json"
    assert answer.headers["location"] == f"{BASE}/scim/v2/Users/{user['id']}" == user["meta"]["location"]
    assert answer.headers["etag"] == user["meta"]["version"] == 'W/"1"'
    assert user["schemas"] == [USER_URN, ENTERPRISE]
    assert (user["userName"], user["externalId"], user["active"]) == ("Ann@example.org", "00u1", True)
    assert user[ENTERPRISE] == {"department": "Sales"}
    assert service.derived(user["id"]) == {"status": "active", "seats": ["internal"]}
    assert SYNCD not in user, "what moves without the client's doing is returned on request"
    assert user["meta"]["resourceType"] == "User"
    assert "groups" not in user and "password" not in user
    assert service.ask("GET", f"Users/{user['id']}").json() == user


def test_a_user_name_is_taken_whatever_its_case(service: Service) -> None:
    service.user("ann@example.org", externalId="1")
    for body in ({"userName": "ANN@Example.org"}, {"userName": "bob", "externalId": "1"}):
        answer = service.ask("POST", "Users", {"schemas": [USER_URN], **body})
        assert (answer.status_code, answer.json()["scimType"]) == (409, "uniqueness")


def test_put_replaces_what_this_connection_states(service: Service) -> None:
    made = service.user("ann", externalId="1", title="Boss", nickName="A")
    answer = service.ask("PUT", f"Users/{made['id']}", {"schemas": [USER_URN], "userName": "ann", "title": "Chief"})
    user = answer.json()
    assert (answer.status_code, user["title"], user["externalId"]) == (200, "Chief", "1")
    assert "nickName" not in user and user["active"] is True
    assert user["meta"]["version"] == 'W/"2"'
    again = service.ask("PUT", f"Users/{made['id']}", {**user, "meta": None})
    assert again.json() == user
    assert service.ask("PUT", "Users/none", {"schemas": [USER_URN], "userName": "x"}).status_code == 404


def test_patch_without_effect_makes_no_version(service: Service) -> None:
    made = service.user("ann", title="Boss")
    answer = service.patch(f"Users/{made['id']}", replace("title", "Boss"), replace("active", True))
    assert (answer.status_code, answer.json()) == (200, made)


def test_external_id_moves_and_is_free_again(service: Service) -> None:
    ann = service.user("ann", externalId="1")
    moved = service.patch(f"Users/{ann['id']}", replace("externalId", "2"))
    assert moved.json()["externalId"] == "2"
    assert service.user("bob", externalId="1")["externalId"] == "1"
    assert service.patch(f"Users/{ann['id']}", replace("externalId", "1")).status_code == 409
    gone = service.patch(f"Users/{ann['id']}", {"op": "remove", "path": "externalId"})
    assert "externalId" not in gone.json()
    assert service.names('externalId eq "2"') == []
    assert service.names('externalId eq "1"') == ["bob"]


def test_null_in_a_put_takes_the_external_id_away(service: Service) -> None:
    """RFC 7644 section 3.5.1, RFC 7643 section 2.5; what is left out stays, and `active: null` lets nobody in."""
    ann = service.user("ann", externalId="1", active=False)
    body = {"schemas": [USER_URN], "userName": "ann"}

    def put(**more: Any) -> tuple[Any, Any]:
        found = service.ask("PUT", f"Users/{ann['id']}", body | more).json()
        return found.get("externalId"), found["active"]

    assert put() == ("1", False)
    assert put(externalId=None) == (None, False)
    assert service.user("bob", externalId="1")["externalId"] == "1"
    assert put(EXTERNALID="2", active=None) == ("2", False)
    assert put(EXTERNALID=None) == (None, False)
    group = service.group("g", externalId="g1")
    left = service.ask("PUT", f"Groups/{group['id']}", {"schemas": [GROUP_URN], "displayName": "g", "externalId": ""})
    assert "externalId" not in left.json()
    assert "externalId" not in service.user("cid", externalId=None, active=None)


def test_delete_then_404_and_the_names_are_free(service: Service) -> None:
    made = service.user("ann", externalId="1", userType="Employee")
    assert service.ask("DELETE", f"Users/{made['id']}").status_code == 204
    for method in ("GET", "DELETE"):
        answer = service.ask(method, f"Users/{made['id']}")
        assert (answer.status_code, answer.json()["status"]) == (404, "404")
    assert service.patch(f"Users/{made['id']}", replace("title", "x")).status_code == 404
    assert service.ask("GET", "Users").json()["totalResults"] == 0
    again = service.user("ann", externalId="1", userType="Employee")
    assert again["id"] != made["id"] and service.derived(again["id"])["seats"] == ["internal"]


def test_active_false_frees_the_seat_and_active_true_takes_one(service: Service) -> None:
    made = [service.user(name, userType="Employee") for name in ("ann", "bob", "cyd", "dan")]
    assert service.derived(made[3]["id"]) == {"status": "active", "waiting": ["internal"]}
    off = service.patch(f"Users/{made[0]['id']}", replace("active", False)).json()
    assert (off["active"], service.derived(off["id"])) == (False, {"status": "inactive"})
    assert service.derived(made[3]["id"]) == {"status": "active", "seats": ["internal"]}
    assert service.names("active eq false") == ["ann"]
    on = service.patch(f"Users/{made[0]['id']}", replace("active", True)).json()
    assert (on["active"], service.derived(on["id"])) == (True, {"status": "active", "waiting": ["internal"]})


def test_a_user_may_be_created_inactive(service: Service) -> None:
    made = service.user("ann", active=False, userType="Employee")
    assert (made["active"], service.derived(made["id"])) == (False, {"status": "inactive"})


def test_a_manager_who_exists_is_linked(service: Service) -> None:
    boss = service.user("boss")
    manager = {"value": boss["id"]}
    made = service.user("ann", **{ENTERPRISE: {"manager": manager}})
    assert made[ENTERPRISE]["manager"] == {"value": boss["id"], "$ref": boss["meta"]["location"]}
    same = service.patch(f"Users/{made['id']}", replace(f"{ENTERPRISE}:manager", made[ENTERPRISE]["manager"]))
    assert same.json() == made
    other = service.patch(f"Users/{made['id']}", replace(f"{ENTERPRISE}:manager", "elsewhere"))
    assert other.json()[ENTERPRISE]["manager"] == {"value": "elsewhere"}
    assert service.names(f'{ENTERPRISE}:manager.value eq "elsewhere"') == ["ann"]


def test_the_reference_to_a_manager_is_found_and_sorted_by_as_it_is_shown(service: Service) -> None:
    """It is made for the answer, and was found by no filter."""
    boss, chief, reference = service.user("boss"), service.user("chief"), f"{ENTERPRISE}:manager.$ref"
    for name, above in (("ann", chief["id"]), ("bob", boss["id"]), ("cid", "elsewhere")):
        service.user(name, **{ENTERPRISE: {"manager": {"value": above}}})
    assert service.names(f'{reference} eq "{boss["meta"]["location"]}"') == ["bob"]
    assert service.names(f'{ENTERPRISE}:manager[$ref ew "{chief["id"]}" and value pr]') == ["ann"]
    assert service.names(f"{reference} pr", sortBy=reference) == ["bob", "ann"]
    assert service.names(f'{reference} ne "x"') == ["boss", "chief", "ann", "bob", "cid"]
    assert service.ask("DELETE", f"Users/{boss['id']}").status_code == 204
    assert service.names(f"{reference} pr") == ["ann"]


# -- two sources --------------------------------------------------------------------------------------------------------------


def test_what_another_source_owns_yields_with_200(service: Service) -> None:
    id = service.made_by("corp", "guest", userType="Guest", title="Adviser")
    entra = service.make_token("entra")
    first = service.patch(f"Users/{id}", replace("nickName", "G"), replace("externalId", "e1"), token=entra)
    assert (first.status_code, first.json()["nickName"], first.json()["externalId"]) == (200, "G", "e1")
    second = service.patch(f"Users/{id}", replace("title", "King"), token=entra)
    assert (second.status_code, second.json()["title"]) == (200, "Adviser")
    assert "externalId" not in service.ask("GET", f"Users/{id}").json(), "an externalId is one connection's own"


def test_a_user_of_another_source_is_not_taken_over(service: Service) -> None:
    id = service.made_by("corp", "ann", title="Boss")
    answer = service.patch(f"Users/{id}", replace("emails", [{"value": "evil@example.org"}]))
    assert (answer.status_code, answer.json().get("scimType")) == (403, None)
    assert service.ask("DELETE", f"Users/{id}").status_code == 403
    body = {"schemas": [USER_URN], "userName": "ann"}
    assert service.ask("PUT", f"Users/{id}", body).status_code == 403
    assert service.ask("POST", "Users", body).status_code == 409
    assert "emails" not in service.ask("GET", f"Users/{id}").json()


def test_a_connection_may_deactivate_whom_another_source_states(service: Service) -> None:
    id = service.made_by("corp", "ann", userType="Employee")
    off = service.patch(f"Users/{id}", replace("active", False)).json()
    assert (off["active"], service.derived(id)["status"]) == (False, "inactive")
    after = service.patch(f"Users/{id}", replace("active", True), replace("title", "x"))
    assert after.status_code == 403, "having said `active` once is no adoption"
    assert service.patch(f"Users/{id}", replace("active", True)).json()["active"] is True


def test_active_is_stated_even_where_another_source_says_the_same(service: Service) -> None:
    made = service.user("guest", userType="Guest")
    entra = service.make_token("entra")
    service.user("guest", token=entra)
    service.patch(f"Users/{made['id']}", replace("active", False))
    service.patch(f"Users/{made['id']}", replace("active", False), token=entra)
    assert service.patch(f"Users/{made['id']}", replace("active", True)).json()["active"] is False
    assert service.patch(f"Users/{made['id']}", replace("active", True), token=entra).json()["active"] is True


def test_create_adopts_where_the_policy_says_so(service: Service) -> None:
    id = service.made_by("corp", "guest", userType="Guest")
    staff = service.made_by("corp", "ann", userType="Employee")
    entra = service.make_token("entra")
    taken = service.ask("POST", "Users", {"schemas": [USER_URN], "userName": "GUEST", "externalId": "g"}, entra)
    assert (taken.status_code, taken.json()["id"], taken.json()["externalId"]) == (201, id, "g")
    assert taken.json()["userName"] == "guest"
    refused = service.ask("POST", "Users", {"schemas": [USER_URN], "userName": "ann"}, entra)
    assert refused.status_code == 409
    assert service.ask("GET", f"Users/{staff}").status_code == 200


def test_after_delete_whom_another_source_vouches_for_is_gone_for_this_connection_only(service: Service) -> None:
    id = service.made_by("corp", "guest", userType="Guest")
    entra = service.make_token("entra")
    service.user("guest", token=entra, externalId="g")
    group = service.group("crm", id, token=entra)
    assert service.ask("DELETE", f"Users/{id}", token=entra).status_code == 204
    assert service.ask("GET", f"Users/{id}", token=entra).status_code == 404
    assert service.names(token=entra) == []
    assert service.ask("GET", "Users", token=entra, count=0).json()["totalResults"] == 0
    assert "members" not in service.ask("GET", f"Groups/{group['id']}", token=entra).json()
    seen = service.ask("GET", f"Users/{id}").json()
    assert (seen["active"], seen.get("groups")) == (True, None)
    assert service.user("guest", token=entra, externalId="g")["id"] == id, "the provider may bring her back"
    assert service.names(token=entra) == ["guest"]


@pytest.mark.parametrize("said", [[False], [False, True]])
def test_who_only_blocked_somebody_keeps_her_from_no_deletion(service: Service, said: list[bool]) -> None:
    """A connection that states nothing but `active` vouches for nobody: her name is free again (RFC 7644 section 3.6)."""
    ann = service.user("ann", externalId="a")
    entra = service.make_token("entra", allow=["users:read", "users:update:active"])
    for active in said:
        blocking = {"op": "replace", "path": "active", "value": active}
        assert service.patch(f"Users/{ann['id']}", blocking, token=entra).json()["active"] is active
    assert service.ask("DELETE", f"Users/{ann['id']}").status_code == 204
    assert [service.ask("GET", f"Users/{ann['id']}", token=token).status_code for token in ("", entra)] == [404, 404]
    again = service.user("ann", externalId="a")
    assert (again["id"] == ann["id"], again["active"]) == (False, True)


def test_who_only_unblocked_somebody_keeps_her_from_leaving_with_her_directory_no_more(service: Service) -> None:
    id = service.made_by("corp", "guest", userType="Guest")
    entra = service.make_token("entra", allow=["users:read", "users:update:active"])
    for active in (False, True):
        blocking = {"op": "replace", "path": "active", "value": active}
        assert service.patch(f"Users/{id}", blocking, token=entra).json()["active"] is active
    with service.database.reading() as conn:
        assert linked.links_beside(conn, "default", "corp", [id]) == {id: [linked.Beside(None, False)]}
        assert linked.links_beside(conn, "default", "entra", [id]) == {id: [linked.Beside(None, True)]}
    for stage, status in (("deactivated", "inactive"), ("deleted", "deleted")):
        gone = Link("corp", f"corp-{id}", values={"userName": "guest"}, stage=stage)
        service.commit(UserEdit(id, "corp", link=gone), source="corp").check()
        assert service.access(id)["status"] == status
    assert service.ask("GET", f"Users/{id}").status_code == 404


def test_delete_of_whom_only_people_state_besides_is_final(service: Service) -> None:
    made = service.user("guest", userType="Guest")
    local = service.made_by("local", "bob", userType="Guest")
    entra = service.make_token("entra")
    service.user("bob", token=entra)
    assert service.ask("DELETE", f"Users/{local}", token=entra).status_code == 204
    assert service.ask("GET", f"Users/{local}").status_code == 404
    assert service.names() == [made["userName"]]


# -- guards -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["active", "delete"])
@pytest.mark.parametrize("who", ["owner", "root@example.org"])
def test_the_last_owner_and_protected_accounts_stay(service: Service, who: str, change: str) -> None:
    made = service.user(who)
    if who == "owner":
        service.later(days=2)
        grant = Grant("role", "owner", "direct", "root")
        service.commit(UserEdit(made["id"], "local", grant=(grant,))).check()
    if change == "active":
        answer = service.patch(f"Users/{made['id']}", replace("active", False))
    else:
        answer = service.ask("DELETE", f"Users/{made['id']}")
    assert answer.status_code == 403, answer.text
    assert ("last active owner" if who == "owner" else "protected") in answer.json()["detail"]
    assert service.ask("GET", f"Users/{made['id']}").json()["active"] is True


def test_beyond_the_limit_losses_are_held_with_429(service: Service) -> None:
    made = [service.user(f"user{n}") for n in range(8)]
    service.later(days=2)  # what a source just created itself is no loss
    answers = [service.patch(f"Users/{each['id']}", replace("active", False)) for each in made]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 3
    assert answers[5].headers["retry-after"].isdigit()
    assert "limit 5" in answers[5].json()["detail"]
    assert service.ask("GET", f"Users/{made[7]['id']}").json()["active"] is True
    assert service.patch(f"Users/{made[7]['id']}", replace("title", "x")).status_code == 200


def test_names_are_one_by_their_plain_letters(service: Service) -> None:
    """RFC 7644 section 5: userNames are prepared by PRECIS before they are compared, and shown as they were sent."""
    ann = service.user("\uff41nn\uff20example.org")
    assert ann["userName"] == "\uff41nn\uff20example.org"
    again = service.ask("POST", "Users", {"schemas": [USER_URN], "userName": "ANN@example.org"})
    assert (again.status_code, again.json()["scimType"]) == (409, "uniqueness")
    for condition in (
        'userName eq "ann@example.org"',
        'userName eq "\uff21nn@EXAMPLE.org"',
        'userName co "\uff20"',
        'userName sw "ann@" and active eq true',
        '(userName eq "ann@example.org")',
    ):
        assert service.names(condition) == [ann["userName"]], condition
    kana = service.user("\uff94\uff8f\uff80\uff9e")  # half-width, its mark apart
    assert service.names('userName eq "\u30e4\u30de\u30c0"') == [kana["userName"]]
    renamed = {"op": "replace", "path": "userName", "value": "\u30e4\u30de\u30bf\u3099"}
    assert service.patch(f"Users/{ann['id']}", renamed).status_code == 409
    assert service.patch(f"Users/{kana['id']}", renamed).json()["userName"] == renamed["value"]
