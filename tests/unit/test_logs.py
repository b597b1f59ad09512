"""What is logged: one line each, by whoever says it, without a secret."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from syncd import logs
from syncd.core.secret import Secret

TOKEN = "syncd_0123456789abcdef_" + "9e" * 32


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):  # a server that another test ran here sets its own
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    out = io.StringIO()
    logs.configure(
        stream=out, form="json", secrets=[Secret("correct horse"), Secret("correct horse battery"), Secret("it")]
    )
    yield out
    root.handlers[:] = before
    root.setLevel(level)


def lines(written: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "bind_password",
        "secret",
        "Authorization",
        "token",
        "access_token",
        "api_key",
        "cookie",
        "client_secret",
    ],
)
def test_a_value_is_hidden_by_the_name_of_its_key(written: io.StringIO, key: str) -> None:
    structlog.get_logger().info("happened", **{key: "planted"}, inner={"a": [{key: ["planted"]}]})
    assert "planted" not in written.getvalue() and lines(written)[0][key] == "***"


@pytest.mark.parametrize("key", ["token_id", "tokens", "passed", "connection", "key_attribute"])
def test_keys_that_only_sound_like_a_secret_are_shown(written: io.StringIO, key: str) -> None:
    structlog.get_logger().info("happened", **{key: "shown"})
    assert lines(written)[0][key] == "shown"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"refused {TOKEN}.", "refused syncd_0123456789abcdef_***."),
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer ***"),
        ("basic dXNlcjpwYXNz", "basic ***"),
        ("cannot reach postgresql://syncd:p4ss@w/rd@db:5432/x", "cannot reach postgresql://syncd:***@w/rd@db:5432/x"),
        ("cannot reach postgresql://syncd:p4ss@word@db:5432/x", "cannot reach postgresql://syncd:***@db:5432/x"),
        ("ldap://:empty-user@host", "ldap://:***@host"),
        ("host=db password='two words' user=syncd", "host=db password=*** user=syncd"),
        ("https://h/cb?client_secret=abc&x=1", "https://h/cb?client_secret=***&x=1"),
        ('{"passwd": "abc", "n": 1}', '{"passwd": ***, "n": 1}'),
        ("the correct horse battery was", "the *** was"),
        ("it is at ldaps://dc1.example.org:636", "it is at ldaps://dc1.example.org:636"),
        ("read 1030 of https://idp.example.org/scim/v2?x=1", "read 1030 of https://idp.example.org/scim/v2?x=1"),
    ],
)
def test_a_secret_is_hidden_by_its_shape_or_because_it_is_known(written: io.StringIO, text: str, shown: str) -> None:
    structlog.get_logger().info("happened", why=text, also=[text], at={"deep": (text,)}, raw=text.encode())
    found = lines(written)[0]
    assert [found["why"], found["also"], found["at"], found["raw"]] == [shown, [shown], {"deep": [shown]}, shown]


def test_a_traceback_hides_them_too_and_is_one_line(written: io.StringIO) -> None:
    local_password = "planted-in-a-frame"
    for log in (structlog.get_logger(), logging.getLogger("uvicorn.error")):
        try:
            raise ValueError(f"password={local_password!r} at ldap://u:planted@h with {TOKEN}")
        except ValueError:
            log.exception("failed")
    assert "planted" not in written.getvalue().replace("{local_password!r} at ldap://u:planted@h", "")
    assert [each["event"] for each in lines(written)] == ["failed", "failed"]
    assert all("ValueError: password=***" in each["exception"] for each in lines(written))


def test_people_see_no_local_values_in_a_traceback(written: io.StringIO) -> None:
    out = io.StringIO()
    logs.configure(stream=out, form="console")
    try:
        local = "planted" + "-in-a-frame"
        raise ValueError(len(local))
    except ValueError:
        structlog.get_logger().exception("failed")
    assert "planted-in-a-frame" not in out.getvalue() and "ValueError: 18" in out.getvalue()
    assert written.getvalue() == ""


@pytest.mark.parametrize("name", ["uvicorn.error", "apscheduler.scheduler", "sqlalchemy.pool", "asyncpg", "asyncio"])
def test_libraries_are_heard_through_the_same_renderer_from_warnings_on(written: io.StringIO, name: str) -> None:
    with structlog.contextvars.bound_contextvars(run_id="r1"):
        logging.getLogger(name).info("chatter")
        logging.getLogger(name).warning("pool of %s is\nfull", "postgresql://u:planted@h/db")
    (found,) = lines(written)
    assert found["event"] == "pool of postgresql://u:***@h/db is\nfull"
    assert (found["logger"], found["level"], found["run_id"]) == (name, "warning", "r1") and "timestamp" in found


def test_what_is_bound_to_a_run_or_request_stands_in_every_line(written: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(request_id="q1"):
        structlog.get_logger().info("one")
    structlog.get_logger().info("two")
    assert [each.get("request_id") for each in lines(written)] == ["q1", None]


def test_the_line_of_every_request_is_the_one_that_structlog_writes(written: io.StringIO) -> None:
    said = {"status": 200, "took_ms": 0.5, "why": f"refused {TOKEN}", "tolerances": ["a"]}
    usual = (("connection", "idp"), ("route", f"/{TOKEN}"))
    with structlog.contextvars.bound_contextvars(request_id="q1"):
        for _ in range(2):
            logs.Often().info("answered", "q1", usual, **said)
        structlog.get_logger().info("answered", **dict(usual), **said)
    first, again, last = ({**each, "timestamp": ""} for each in lines(written))
    assert first == again == last and TOKEN not in written.getvalue()
    for form, level in (("json", "warning"), ("console", "info")):
        logs.configure(level, form, out := io.StringIO())  # type: ignore[arg-type]
        with structlog.contextvars.bound_contextvars(request_id="q1"):
            logs.Often().info("answered", "q1", (), status=200)
        assert ("q1" in out.getvalue()) is (form == "console")


def test_the_level_is_obeyed_and_set_anew(written: io.StringIO) -> None:
    out = io.StringIO()
    logs.configure("error", "json", out)
    structlog.get_logger().warning("quiet")
    logging.getLogger("asyncpg").warning("quiet")
    structlog.get_logger().error("loud")
    assert [json.loads(line)["event"] for line in out.getvalue().splitlines()] == ["loud"]
    assert written.getvalue() == ""
