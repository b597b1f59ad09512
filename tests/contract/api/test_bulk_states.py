"""The same for many over the API: each is answered by itself, and the limits count them together."""

from __future__ import annotations

from typing import Any

from syncd.store.invariants import check
from web_service import Service


def ask(service: Service, what: str, status: int = 200, token: str = "", **body: Any) -> dict[str, Any]:
    answer = service.ask("POST", f"/api/v1/users/bulk/{what}", body, token)
    assert answer.status_code == status, answer.text
    return dict(answer.json())


def results(answer: dict[str, Any]) -> list[str]:
    return [each["result"] for each in answer["items"]]


def people(service: Service, *names: str) -> list[str]:
    return [service.user(name, userType="Employee")["id"] for name in names]


def status(service: Service, id: str) -> str:
    return str(service.ask("GET", f"/api/v1/users/{id}").json()["status"])


def test_states_and_their_way_back(service: Service) -> None:
    ids = people(service, "ann", "bob", "eve")
    for action, back, state in (("suspend", "unsuspend", "suspended"), ("deactivate", "reactivate", "inactive")):
        told = ask(service, "state", action=action, ids=[*ids[:2], "nobody"])
        assert results(told) == ["done", "done", "refused"]
        assert told["items"][2]["problem"]["status"] == 404
        assert [status(service, id) for id in ids] == [state, state, "active"]
        assert results(ask(service, "state", action=action, ids=ids[:2])) == ["unchanged", "unchanged"]
        assert results(ask(service, "state", action=back, ids=ids[:1])) == ["done"]
        assert [status(service, id) for id in ids] == ["active", state, "active"]
        ask(service, "state", action=back, ids=ids)
    assert results(ask(service, "state", action="delete", ids=ids[:1])) == ["done"]
    assert results(ask(service, "state", action="suspend", ids=ids[:1])) == ["refused"]
    with service.database.reading() as conn:
        assert check(conn, service.workspaces["default"], service.now) == []


def test_seats_go_round_within_one_request(service: Service) -> None:
    """Three seats: who waited gets one that the same request frees."""
    ids = people(service, "ann", "bob", "eve", "joe")
    ask(service, "state", action="suspend", ids=ids[:1])
    assert [each["value"] for each in service.access(ids[3])["seats"]] == ["internal"]


def test_more_than_may_be_lost_at_once_is_held(service: Service) -> None:
    ids = [service.user(f"p{n:02}")["id"] for n in range(12)]
    service.later(hours=48)
    told = ask(service, "state", action="deactivate", ids=[*ids, "nobody"])
    assert (told["held"], told["refused"], told["done"]) == (12, 1, 0)
    assert {status(service, id) for id in ids} == {"active"}
    [held] = service.ask("GET", "/api/v1/held").json()["items"]
    assert held["changes"] == 12
    service.ask("POST", f"/api/v1/held/{held['digest']}/approve")
    assert {status(service, id) for id in ids} == {"inactive"}


def test_a_protected_account_is_refused_and_stops_nobody(service: Service) -> None:
    ids = people(service, "ann", "root@example.org", "eve")
    told = ask(service, "state", action="deactivate", ids=ids)
    assert results(told) == ["done", "refused", "done"]
    assert "protected" in told["items"][1]["problem"]["detail"]


def test_grants_given_and_taken_back(service: Service) -> None:
    ids = people(service, "ann", "bob")
    give = [{"kind": "role", "value": "clerk"}, {"kind": "seat", "value": "crm"}]
    told = ask(service, "grants", ids=[*ids, "nobody"], give=give)
    assert results(told) == ["done", "done", "refused"]
    assert [service.access(id)["waiting"] != [] for id in ids] == [False, True], "one seat"
    assert results(ask(service, "grants", ids=ids, take=give)) == ["done", "done"]
    assert results(ask(service, "grants", ids=ids, take=give)) == ["refused", "refused"]
    ask(service, "grants", 422, ids=ids, give=[{"kind": "role", "value": "boss"}])
    ask(service, "grants", 422, ids=[ids[0], ids[0]], give=give)
    ask(service, "grants", 422, ids=[], give=give)
    ask(service, "grants", 422, ids=[f"u{n}" for n in range(1001)], give=give)


def test_nobody_gives_many_what_she_does_not_hold(service: Service) -> None:
    ids = people(service, "ann", "bob")
    limited = service.make_token(allow=["users:*", "roles:*"])
    told = ask(service, "grants", ids=ids, give=[{"kind": "role", "value": "admin"}], token=limited)
    assert results(told) == ["refused", "refused"]
    assert (
        results(ask(service, "grants", ids=ids, give=[{"kind": "role", "value": "clerk"}], token=limited))
        == ["done"] * 2
    )
    only = service.make_token(allow=["users:update"])
    assert results(ask(service, "state", action="delete", ids=ids, token=only)) == ["refused", "refused"]
