"""What the web process shows besides SCIM: health, metrics, the status page; and what needs a token."""

from __future__ import annotations

import pytest

from syncd.store.engine import Database

from .conftest import Service


def test_health_says_only_ok(service: Service) -> None:
    answer = service.ask("GET", "/healthz", token=None)
    assert (answer.status_code, answer.text) == (200, "ok")


def test_ready_needs_the_database_and_its_schema(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    assert service.ask("GET", "/readyz", token=None).status_code == 200
    with service.database.writing() as conn:
        conn.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    answer = service.ask("GET", "/readyz", token=None)
    assert answer.status_code == 503


@pytest.mark.parametrize("path", ["/", "/metrics", "//metrics/", "/unknown", "/api/v1/users"])
def test_everything_else_needs_a_token(service: Service, path: str) -> None:
    assert service.ask("GET", path, token=None).status_code == 401


def test_bound_to_loopback_the_status_page_and_metrics_are_open(service: Service) -> None:
    service.web = service.application(open_status=True)
    assert service.ask("GET", "/", token=None).status_code == 200
    assert service.ask("GET", "/metrics", token=None).status_code == 200
    assert service.ask("GET", "/scim/v2/Users", token=None).status_code == 401
    assert service.ask("GET", "/scim/v2/Users").status_code == 200


def test_the_status_page_shows_the_tokens_workspace_only(service: Service) -> None:
    service.user("ann", userType="Employee")
    page = service.ask("GET", "/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<h2>default</h2>" in page.text and "<h2>other</h2>" not in page.text
    assert "<td>internal</td>" in page.text and "<script" not in page.text and "ann" not in page.text
    narrow = service.make_token(allow=["groups:read"])
    assert service.ask("GET", "/", token=narrow).status_code == 403


def test_the_application_notes_token_use_and_closes_its_database_at_the_end(service: Service) -> None:
    async def live() -> None:
        async with service.web.router.lifespan_context(service.web):
            pass

    service.ask("GET", "Users")
    service.run(live())
    database = Database(service.database.url)
    with database.reading() as conn:
        assert conn.exec_driver_sql("SELECT last_used_at FROM tokens").scalar() is not None
    database.close()
