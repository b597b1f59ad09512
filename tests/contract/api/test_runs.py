"""Runs, sources and what is held, over the API; approved as at the command line."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from syncd.core.change import UserEdit
from syncd.core.correlation import Asked, Candidate
from syncd.core.snapshot import SetAside
from syncd.core.state import Link
from syncd.core.workspace import SourcePolicy
from syncd.store import adoptions, leases, letting_go, quarantine, run_records
from syncd.store import tables as t
from web_service import Service


def ask(service: Service, method: str, path: str, body: Any = None, status: int = 200, **more: Any) -> dict[str, Any]:
    answer = service.ask(method, f"/api/v1{path}", body, **more)
    assert answer.status_code == status, answer.text
    return dict(answer.json())


def ran(service: Service, source: str, status: str, **more: Any) -> str:
    id = service.ids()
    with service.database.writing() as conn:
        run_records.begin(conn, service.workspaces["default"], id, source, False, "worker", service.now)
        run_records.write_set_aside(conn, "default", id, [SetAside("uid=x", "no userName")])
        run_records.end(conn, "default", id, status, service.now + timedelta(seconds=4), **more)
    service.later(minutes=1)
    return id


@pytest.fixture
def digest(service: Service) -> str:
    """Twelve people who would leave a group at once, held."""
    ids = [service.user(f"p{n:02}")["id"] for n in range(12)]
    group = ask(service, "POST", "/groups", {"displayName": "sales", "members": ids}, 201)["id"]
    service.later(hours=48)
    ask(service, "POST", f"/groups/{group}/members", {"remove": ids})
    [held] = ask(service, "GET", "/held")["items"]
    assert (held["kind"], held["changes"], held["source"]) == ("membership", 12, "local")
    assert held["subjects"] == [f"p{n:02}" for n in range(12)]
    return str(held["digest"])


def test_runs_by_pages_and_one_of_them(service: Service) -> None:
    ids = [ran(service, "corp", "applied", counts={"create": n}) for n in range(3)]
    other = ran(service, "okta", "failed", message="refused")
    page = ask(service, "GET", "/runs", limit=3)
    assert [each["id"] for each in page["items"]] == [other, ids[2], ids[1]]
    rest = ask(service, "GET", "/runs", limit=3, cursor=page["next"])
    assert ([each["id"] for each in rest["items"]], rest["next"]) == ([ids[0]], None)
    [failed] = service.ask("GET", "/api/v1/runs", source="okta", status="failed").json()["items"]
    assert failed["message"] == "refused"
    whole = ask(service, "GET", f"/runs/{ids[0]}")
    assert (whole["counts"], whole["set_aside"]) == ({"create": 0}, [{"entry": "uid=x", "why": "no userName"}])
    ask(service, "GET", "/runs/nothing", status=404)
    assert service.ask("GET", "/api/v1/runs", status="fine").status_code == 422


def test_sources_and_how_they_stand(service: Service) -> None:
    last = ran(service, "corp", "failed", message="no route")
    found = {each["name"]: each for each in ask(service, "GET", "/sources")["items"]}
    assert set(found) == {"corp", "entra", "okta"}
    assert (found["corp"]["kind"], found["corp"]["last_run"]["id"], found["corp"]["in_a_row"]) == ("ldap", last, 1)
    assert (found["okta"]["last_run"], found["okta"]["held"]) == (None, 0)
    corp = ask(service, "GET", "/sources/corp")
    assert (corp["last_run"]["message"], corp["groups_outside"]) == ("no route", None)
    with service.database.writing() as conn:
        state = {"workspace": "default", "source": "corp", "groups_outside": ["cn=a,ou=old (in b)"]}
        conn.execute(t.source_states.insert().values(**state))
    assert ask(service, "GET", "/sources/corp")["groups_outside"] == ["cn=a,ou=old (in b)"]
    ask(service, "GET", "/sources/nothing", status=404)


def test_held_items_are_shown_and_approved(service: Service, digest: str) -> None:
    first = ask(service, "GET", f"/held/{digest}", limit=7)
    rest = ask(service, "GET", f"/held/{digest}", limit=7, cursor=first["next"])
    assert [each["subject"] for each in (*first["items"], *rest["items"])] == [f"p{n:02}" for n in range(12)]
    weak = service.make_token(allow=["runs:read"])
    assert service.ask("POST", f"/api/v1/held/{digest}/approve", token=weak).status_code == 403
    dry = ask(service, "POST", f"/held/{digest}/approve", headers={"X-Dry-Run": "true"})
    assert dry["counts"]["leave"] == 12
    done = ask(service, "POST", f"/held/{digest[:12]}/approve")
    assert (done["status"], done["counts"]["leave"], done["held"]) == ("applied", 12, [])
    assert ask(service, "GET", "/held")["items"] == []
    [group] = ask(service, "GET", "/groups")["items"]
    assert group["users"] == 0
    assert ask(service, "GET", f"/runs/{done['run']}")["status"] == "applied"
    ask(service, "POST", f"/held/{digest}/approve", status=404)
    ask(service, "GET", f"/held/{digest}", status=404)


def test_held_items_are_discarded(service: Service, digest: str) -> None:
    assert ask(service, "POST", f"/held/{digest}/discard") == {"discarded": 12}
    [group] = ask(service, "GET", "/groups")["items"]
    assert group["users"] == 12


def test_entries_that_cannot_be_used_are_named(service: Service) -> None:
    aside = [SetAside("uid=x,dc=x", "userName: none of its attributes has a value", "k1")]
    with service.database.writing() as conn:
        quarantine.put(conn, "default", "corp", aside, "run", service.now)
    [shown] = ask(service, "GET", "/quarantine")["items"]
    assert (shown["entry"], shown["why"], shown["tries"]) == ("uid=x,dc=x", aside[0].why, 1)
    assert ask(service, "GET", "/quarantine", source="okta")["items"] == []
    assert ask(service, "GET", "/quarantine", token=service.make_token(workspace="other"))["items"] == []


def test_new_entries_that_may_be_known_are_answered(service: Service) -> None:
    boss, other = (service.user(name)["id"] for name in ("boss", "other"))
    people = (Candidate(boss, "boss", 60, ("emails.value",)), Candidate(other, "other", 60, ("emails.value",)))
    asked = [Asked("k1", "uid=ann,dc=x", "ann", people), Asked("k2", "uid=bob,dc=x", "bob", people[:1])]
    with service.database.writing() as conn:
        adoptions.settle(conn, "default", "corp", asked, (), False, "run", service.now)
    [first, _] = ask(service, "GET", "/adoptions")["items"]
    assert (first["entry"], [each["user_name"] for each in first["candidates"]]) == ("uid=ann,dc=x", ["boss", "other"])
    assert ask(service, "GET", "/adoptions", source="okta")["items"] == []
    ask(service, "POST", "/adoptions/corp/k1/accept", {}, 409)
    ask(service, "POST", "/adoptions/corp/k1/accept", {"user": "nobody"}, 403)
    ask(service, "POST", "/adoptions/corp/k9/accept", {"user": boss}, 404)
    weak = service.make_token(allow=["runs:read"])
    assert service.ask("POST", "/api/v1/adoptions/corp/k2/refuse", token=weak).status_code == 403
    taken = ask(service, "POST", "/adoptions/corp/k1/accept", {"user": other})
    assert (taken["decision"], taken["user"]) == ("accepted", other) and taken["decided_by"]
    assert ask(service, "POST", "/adoptions/corp/k2/refuse")["decision"] == "refused"
    assert ask(service, "GET", "/adoptions", undecided=True)["items"] == []
    assert ask(service, "GET", "/adoptions", token=service.make_token(workspace="other"))["items"] == []


def test_what_is_held_of_another_workspace_is_not_there(service: Service, digest: str) -> None:
    other = service.make_token(workspace="other")
    assert ask(service, "GET", "/held", token=other)["items"] == []
    ask(service, "POST", f"/held/{digest}/approve", status=404, token=other)


# -- a source that is not in the configuration any more


@pytest.fixture
def taken_out(service: Service) -> Service:
    """Three people of `corp`, one of whom people made too; then it is not configured."""
    for name in ("ann", "bob"):
        service.made_by("corp", name)
    kept = service.user("carol")["id"]
    service.commit(UserEdit(kept, "corp", link=Link("corp", "carol", values={"userName": "carol"})), source="corp")
    sources = {name: each for name, each in service.workspaces["default"].sources.items() if name != "corp"}
    service.workspaces["default"] = replace(service.workspaces["default"], sources=sources)
    return service


def status_of(service: Service, name: str) -> str:
    found = service.ask("GET", "/api/v1/users", filter=f'userName eq "{name}"').json()["items"]
    return str(found[0]["status"]) if found else "deleted"


def test_what_a_source_that_was_taken_out_still_owns_is_let_go(taken_out: Service) -> None:
    service = taken_out
    weak = service.make_token(allow=["runs:read", "sources:read"])
    assert service.ask("POST", "/api/v1/sources/corp/let-go", token=weak).status_code == 403
    dry = ask(service, "POST", "/sources/corp/let-go", headers={"X-Dry-Run": "true"})
    assert (dry["status"], dry["counts"]["delete"], status_of(service, "ann")) == ("applied", 2, "active")
    done = ask(service, "POST", "/sources/corp/let-go")
    assert (done["status"], done["counts"], done["held"]) == ("applied", dry["counts"], [])
    assert [status_of(service, name) for name in ("ann", "bob", "carol")] == ["deleted", "deleted", "active"]
    run = ask(service, "GET", f"/runs/{done['run']}")
    assert (run["source"], run["status"], run["counts"]["delete"]) == ("corp", "applied", 2)
    assert ask(service, "POST", "/sources/corp/let-go")["status"] == "clean"


def test_many_who_would_go_at_once_are_held_and_can_be_approved(taken_out: Service) -> None:
    service = taken_out
    corp = service.workspaces["default"].sources
    service.workspaces["default"] = replace(
        service.workspaces["default"], sources={**corp, "corp": SourcePolicy("corp", "ldap")}
    )
    for number in range(8):
        service.made_by("corp", f"more{number}")
    service.workspaces["default"] = replace(service.workspaces["default"], sources=corp)
    service.later(hours=48)
    done = ask(service, "POST", "/sources/corp/let-go")
    assert (done["status"], {each["kind"] for each in done["held"]}) == ("held", {"delete"})
    assert status_of(service, "ann") == "active"
    for each in done["held"]:
        ask(service, "POST", f"/held/{each['digest']}/approve")
    assert [status_of(service, name) for name in ("ann", "more3", "carol")] == ["deleted", "deleted", "active"]


def test_a_source_that_is_there_or_too_large_or_at_work_is_not_let_go(
    taken_out: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = taken_out
    there = ask(service, "POST", "/sources/okta/let-go", status=409)
    assert there["detail"] == "source okta is in the configuration: only what was taken out of it is let go"
    unknown = ask(service, "POST", "/sources/nothing/let-go", status=404)
    assert unknown["detail"] == "nothing is known of a source 'nothing': `syncd status` names what was taken out"
    with service.database.writing() as conn:
        fence = leases.take(conn, "default", "corp", "other")
    assert "corp" in ask(service, "POST", "/sources/corp/let-go", status=409)["detail"]
    with service.database.writing() as conn:
        leases.release(conn, "default", "corp", fence)
    monkeypatch.setattr(letting_go, "MOST", 2)
    large = ask(service, "POST", "/sources/corp/let-go", status=409)
    assert large["detail"] == (
        "source corp states 3 people and groups, and 2 go in one request: `syncd sync corp --let-go`"
    )
    assert status_of(service, "ann") == "active"
