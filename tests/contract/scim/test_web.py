"""What the web process shows besides SCIM: health, metrics, the status page; and what needs a token."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from syncd.store import leases
from syncd.store.engine import Database

from .conftest import USER_URN, Service


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


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("abc-123_X.y", True),
        ("0af7651916cd43dd8448eb211c80319c", True),
        ("x" * 64, True),
        ("x" * 65, False),
        ("", False),
        ("two words", False),
        ("-starts-with-a-dash", False),
        ('"quoted"', False),
        ("new\\nline", False),
        ("ünïcode".encode(), False),
        ("syncd_0123456789abcdef_" + "0" * 40, False),  # a token in the wrong header
    ],
)
def test_a_request_id_is_taken_from_the_client_if_it_is_a_short_word(
    service: Service, given: str | bytes, kept: bool
) -> None:
    with capture_logs([merge_contextvars]) as logs:
        answer = service.ask("GET", "Users", headers={"X-Request-Id": given})  # type: ignore[dict-item]
    sent = answer.headers["x-request-id"]
    assert (sent == given) is kept and sent
    assert [each["request_id"] for each in logs if each["event"] == "scim_answered"] == [sent]


def test_every_line_of_a_request_bears_its_id_also_what_the_writer_thread_logs(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    import structlog

    from syncd.scim import users

    commit = users.commit

    def loud(*arguments: Any, **more: Any) -> Any:
        structlog.get_logger().info("committing")
        return commit(*arguments, **more)

    monkeypatch.setattr(users, "commit", loud)
    with capture_logs([merge_contextvars]) as logs:
        first, second = (
            service.ask("POST", "Users", {"schemas": [USER_URN], "userName": name}).headers["x-request-id"]
            for name in ("ann", "bob")
        )
    assert [(each["event"], each["request_id"]) for each in logs] == [
        (event, id) for id in (first, second) for event in ("committing", "scim_answered")
    ]


def test_an_error_that_nobody_foresaw_says_only_its_id(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    from syncd.scim import users

    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("secret details")

    monkeypatch.setattr(users, "commit", broken)
    with capture_logs([merge_contextvars]) as logs:
        answer = service.ask("POST", "Users", {"schemas": [USER_URN], "userName": "ann"})
    id = answer.headers["x-request-id"]
    assert answer.status_code == 500 and id in answer.json()["detail"] and "secret" not in answer.text
    assert [(each["event"], each["request_id"]) for each in logs] == [("request_failed", id), ("scim_answered", id)]


def test_the_status_page_says_what_is_wrong_first_and_names_processes_to_the_operator_only(service: Service) -> None:
    with service.database.writing() as conn:
        leases.beat(conn, "web", "0.1.0")
    host = socket.gethostname()
    page = service.ask("GET", "/").text
    assert page.index("no worker is alive") < page.index("<h2>default</h2>") and f"<td>{host}</td>" not in page
    service.web = service.application(open_status=True)
    assert f"<td>{host}</td>" in service.ask("GET", "/", token=None).text
