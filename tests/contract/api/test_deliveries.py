"""The ledger over the API: what is not acknowledged, hurried or given up; sessions that are to end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest

from web_service import Service


@pytest.fixture
def told(service: Service) -> Service:
    service.workspaces["default"] = replace(service.workspaces["default"], webhooks=("app",))
    service.web = service.application()
    return service


def ask(service: Service, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
    return service.ask(method, f"/api/v1{path}", body, **more)


def test_the_ledger(told: Service) -> None:
    ids = [told.user(name)["id"] for name in ("ann", "bob", "eve")]
    for id in ids:
        assert ask(told, "POST", f"/users/{id}/suspend").status_code == 200
    assert ask(told, "POST", f"/users/{ids[0]}/unsuspend").status_code == 200
    assert ask(told, "POST", f"/users/{ids[0]}/revoke-sessions", {"reason": "stolen"}).status_code == 204
    first = ask(told, "GET", "/deliveries", limit="3").json()
    [last] = ask(told, "GET", "/deliveries", limit="3", cursor=first["next"]).json()["items"]
    assert [each["kind"] for each in (*first["items"], last)] == ["suspended", "suspended", "suspended", "sessions"]
    assert [each["user_id"] for each in (*first["items"], last)] == [*ids, ids[0]]
    one = ask(told, "GET", f"/deliveries/{last['id']}").json()
    assert one == last and (one["webhook"], one["state"], one["attempts"]) == ("app", "outstanding", 0)
    assert ask(told, "POST", f"/deliveries/{one['id']}/retry").json()["state"] == "outstanding"
    gone = ask(told, "POST", f"/deliveries/{one['id']}/discard", {"reason": "done by hand"}).json()
    assert gone["state"] == "discarded" and gone["next_at"] is None
    assert ask(told, "POST", f"/deliveries/{one['id']}/retry").status_code == 409
    assert ask(told, "POST", f"/deliveries/{one['id']}/discard").status_code == 404
    assert ask(told, "GET", "/deliveries/nothing").status_code == 404
    assert len(ask(told, "GET", "/deliveries", state="all").json()["items"]) == 4
    assert len(ask(told, "GET", "/deliveries", user=ids[0]).json()["items"]) == 1
    assert ask(told, "GET", "/deliveries", webhook="other").json()["items"] == []


def test_who_may(told: Service) -> None:
    id = told.user("ann")["id"]
    ask(told, "POST", f"/users/{id}/suspend")
    reads = told.make_token(allow=["deliveries:read"])
    [one] = ask(told, "GET", "/deliveries", token=reads).json()["items"]
    assert ask(told, "POST", f"/deliveries/{one['id']}/retry", token=reads).status_code == 403
    assert ask(told, "POST", f"/users/{id}/revoke-sessions", token=reads).status_code == 403
    other = told.make_token(workspace="other")
    assert ask(told, "GET", f"/deliveries/{one['id']}", token=other).status_code == 404


def test_sessions_end_only_where_somebody_hears_of_it(service: Service) -> None:
    id = service.user("ann")["id"]
    refused = ask(service, "POST", f"/users/{id}/revoke-sessions")
    assert refused.status_code == 409 and "no webhook" in refused.json()["detail"]
