"""A small workspace in which there is one of everything, made once and copied for each test."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import prepared
from syncd.api.operation import PREFIX
from syncd.core.connection import Access
from syncd.core.correlation import Asked, Candidate
from syncd.core.state import Grant
from syncd.core.workspace import Workspace
from syncd.store import adoptions
from web_service import Service

Known = dict[str, list[str]]


def copied(folder: Path) -> tuple[Service, Known]:
    """A service of its own over the company, and what there is by the names that paths and fields have for it."""
    content, known = _company()
    file = folder / "syncd.db"
    file.write_bytes(content)
    service = Service(f"sqlite:///{file}", first_id=1000)
    service.later(hours=49)
    _watch(service, token_cache_s=3600)
    return service, known


@functools.cache
def _company() -> tuple[bytes, Known]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "syncd.db")
        prepared.write(file)
        service = Service(f"sqlite:///{file}")
        _watch(service)
        known = _filled(service)
        service.close()
        return file.read_bytes(), known


def _watch(service: Service, **options: Any) -> None:
    """Without a rate limit, which would stand before everything else; with a webhook and mail, so that something is sent."""
    own: Workspace = service.workspaces["default"]
    okta = replace(own.source("okta"), access=Access(rate_per_s=1e9))
    service.workspaces["default"] = replace(own, webhooks=("app",), mails=True, sources={**own.sources, "okta": okta})
    service.web = service.application(**options)


def _filled(service: Service) -> Known:
    def ask(method: str, path: str, body: Any = None) -> dict[str, Any]:
        found = service.ask(method, PREFIX + path, body)
        assert found.status_code < 300, found.text
        return dict(found.json()) if found.content else {}

    users = [service.user(f"p{n:02}@example.org", userType="Employee")["id"] for n in range(14)]
    owner = service.made_by("corp", "owner@example.org", Grant("role", "owner", "direct", "root"))
    local = ask("POST", "/users", {"userName": "local@example.org"})["id"]
    crm = service.group("crm", users[0], users[3])["id"]  # one seat: the other waits
    staff = ask("POST", "/groups", {"displayName": "staff", "members": users})["id"]
    ask("PUT", f"/users/{local}/password", {"password": "corrugated iron roof"})
    ask("PUT", f"/users/{users[1]}/offboarding", {"at": "2027-01-01T00:00:00Z"})
    ask("DELETE", f"/users/{users[2]}")
    ask("POST", f"/users/{users[4]}/suspend")
    ask("POST", f"/users/{users[5]}/deactivate")
    ask("POST", f"/users/{users[0]}/sign-ins", {"outcome": "success", "address": "192.0.2.7"})
    invited = ask("POST", "/invitations", {"email": "new@example.org", "userName": "new"})["id"]
    token = ask("POST", "/tokens", {"name": "billing", "allow": ["users:read"]})["id"]
    service.later(hours=48)
    ask("POST", f"/groups/{staff}/members", {"remove": users[6:]})  # more than a guard lets through at once
    _asked(service, local)
    people = [*users[:6], local, owner, invited]
    known = {
        **{"users": people, "groups": [crm, staff], "invitations": [invited], "tokens": [token]},
        "deliveries": [each["id"] for each in ask("GET", "/deliveries")["items"]],
        "adoptions": [each["key"] for each in ask("GET", "/adoptions")["items"]],
        "held": [each["digest"] for each in ask("GET", "/held")["items"]],
        **{"roles": ["admin", "member", "clerk"], "seats": ["internal", "crm"], "sources": ["okta", "corp"]},
        **dict.fromkeys(("user", "ids", "to", "add", "remove", "members", "hand_over_to"), people),
        **{"email": ["ann@example.org"], "password": ["corrugated iron roof"], "value": ["clerk", "internal"]},
    }
    assert all(known.values()), known
    return known


def _asked(service: Service, local: str) -> None:
    """Entries of corp that may be the local user."""
    candidate = Candidate(local, "local@example.org", 60, ("emails.value",))
    asked = [Asked(key, f"uid={key},ou=people,dc=x", key, (candidate,)) for key in ("anna", "hanna")]
    with service.database.writing() as conn:
        adoptions.settle(conn, "default", "corp", asked, (), False, "run", service.now)
