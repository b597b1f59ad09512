"""The record over the API: chosen from, by pages either way, and exported piece by piece."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from syncd.api import activity as api
from web_service import Service


def ask(service: Service, path: str = "", status: int = 200, **query: Any) -> dict[str, Any]:
    answer = service.ask("GET", f"/api/v1/activity{path}", **query)
    assert answer.status_code == status, answer.text
    return dict(answer.json())


def actions(page: dict[str, Any]) -> list[str]:
    return [f"{each['action']} {each['subject']}" for each in page["items"]]


@pytest.fixture
def told(service: Service) -> dict[str, str]:
    """Three people, one of them suspended a day later over the API. Name -> id."""
    ids = {name: service.user(name)["id"] for name in ("ann", "bob", "eve")}
    service.later(days=1)
    service.ask("POST", f"/api/v1/users/{ids['bob']}/suspend", {"reason": "lost laptop"})
    return ids


def test_the_newest_first_or_the_oldest(service: Service, told: dict[str, str]) -> None:
    seen: list[str] = []
    page = ask(service, limit=2)
    while True:
        seen += actions(page)
        if page["next"] is None:
            break
        page = ask(service, limit=2, cursor=page["next"])
    assert seen[0] == "suspend bob"
    oldest = actions(ask(service, order="oldest"))
    assert oldest == seen[::-1]
    [first] = ask(service, limit=1)["items"]
    assert (first["door"], first["actor"], first["why"]) == ("api", "okta test", "lost laptop")
    assert (first["subject_id"], first["at"], first["source"]) == (told["bob"], "2026-11-22T12:00:00Z", "local")
    assert first["address"] == "127.0.0.1"
    by_command = ask(service, kind="token_create")["items"][0]
    assert (by_command["door"], by_command["address"]) == ("cli", None)


def test_chosen_by_each_of_its_parts(service: Service, told: dict[str, str]) -> None:
    assert actions(ask(service, subject=told["bob"])) == ["suspend bob", "create bob"]
    assert actions(ask(service, kind="suspend", door="api", actor="okta test", source="local")) == ["suspend bob"]
    assert actions(ask(service, since="2026-11-22T00:00:00Z")) == ["suspend bob"]
    assert "suspend bob" not in actions(ask(service, until="2026-11-22T00:00:00Z"))
    assert actions(ask(service, source="okta", kind="create")) == ["create eve", "create bob", "create ann"]
    for nothing in ({"run": "r1"}, {"actor": "nobody"}, {"kind": "nothing"}):
        assert actions(ask(service, **nothing)) == []
    ask(service, status=422, door="window")
    ask(service, status=422, since="yesterday")


def test_exported_as_json_lines_and_csv(
    service: Service, told: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "PAGE", 2)
    wanted = actions(ask(service, order="oldest"))
    answer = service.ask("GET", "/api/v1/activity/export")
    assert answer.headers["content-type"] == "application/jsonl"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [f"{each['action']} {each['subject']}" for each in lines] == wanted
    answer = service.ask("GET", "/api/v1/activity/export", format="csv", subject=told["bob"])
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="activity-default.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(each["action"], each["why"]) for each in rows][-1] == ("suspend", "lost laptop")
    head = service.ask("HEAD", "/api/v1/activity/export", format="csv")
    assert (head.status_code, head.content) == (200, b"")


def test_only_who_may_and_only_this_workspace(service: Service, told: dict[str, str]) -> None:
    weak, other = service.make_token(allow=["users:read"]), service.make_token(workspace="other")
    for path in ("", "/export"):
        assert service.ask("GET", f"/api/v1/activity{path}", token=weak).status_code == 403
    assert [each["action"] for each in ask(service, token=other)["items"]] == ["token_create"]
    exported = service.ask("GET", "/api/v1/activity/export", token=other).text
    assert "bob" not in exported
