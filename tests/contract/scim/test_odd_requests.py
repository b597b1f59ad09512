"""Whatever is sent: no 5xx, an error of SCIM's own form, nothing of the inside, and nothing changed by what was refused.

20,000 requests in every run of the tests, the same each time; `make fuzz` sends 200,000 that nobody has seen yet. A failure
names the seed, the count and the request: `FUZZ_SEED=7 FUZZ_REQUESTS=500` sends the same again.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections import Counter
from dataclasses import replace

import pytest
import structlog
from sqlalchemy import Table

from syncd.core.connection import Access
from syncd.core.workspace import SourcePolicy
from syncd.store import tables as t
from syncd.store.engine import Database
from syncd.store.invariants import check

from .conftest import Service
from .direct import Answered, Asked, ask
from .odd_requests import Odd

REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "20000"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
PARTS = 4  # of the requests: tests that two workers can share
ON_POSTGRESQL = 20  # one in so many again there: another dialect, other texts that it cannot take

# RFC 7644 table 9, RFC 9865 section 3
SCIM_TYPES = {
    *(
        "invalidFilter",
        "tooMany",
        "uniqueness",
        "mutability",
        "invalidSyntax",
        "invalidPath",
        "noTarget",
        "invalidValue",
    ),
    *("invalidVers", "sensitive", "invalidCursor", "expiredCursor", "invalidCount"),
}
ERROR_URN = "urn:ietf:params:scim:api:messages:2.0:Error"
SECRET = "zebra-of-another-workspace"
LEAKS = re.compile(
    rb"Traceback|File \"|\.py\b|sqlalchemy|sqlite|psycopg|asyncpg|postgres|orjson|starlette|pydantic"
    rb"|SELECT .* FROM|INSERT INTO|<class |object at 0x|/src/|site-packages|syncd_[A-Za-z0-9]{20}|" + SECRET.encode(),
    re.IGNORECASE,
)
# What is no state of users and groups: the record of what was refused, what a guard held, what was tolerated.
BESIDE = {"activity", "activity_payloads", "held", "tolerances", "processes", "timers"}
STATE = [table for table in t.metadata.sorted_tables if table.name not in BESIDE]


def what_counts(table: Table) -> str:
    if table.name == "outbox":
        return "count(*)"  # is only ever added to
    return ", ".join(f'"{each.name}"' for each in table.c if each.name != "last_used_at")


class Watch:
    """Whether anything was committed since; and if so, whether it was more than a record. By the driver alone, to be quick."""

    def __init__(self, database: Database) -> None:
        sqlite = database.dialect == "sqlite"
        self._conn = database.engine.raw_connection()
        # Both move with every commit of another connection; PostgreSQL's also when it tidies up.
        self._moves = "PRAGMA data_version" if sqlite else "SELECT pg_current_wal_insert_lsn()"
        self._rows = [f"SELECT {what_counts(table)} FROM {table.name}" for table in STATE]
        self._mark, self._digest = self._asked(self._moves), self._digested()

    def _asked(self, sql: str) -> list[str]:
        cursor = self._conn.cursor()
        cursor.execute(sql)
        found = sorted(map(repr, cursor.fetchall()))
        self._conn.rollback()
        return found

    def _digested(self) -> str:
        found = hashlib.sha256()
        for sql in self._rows:
            found.update("\n".join(self._asked(sql)).encode())
        return found.hexdigest()

    def changed(self) -> bool:
        mark = self._asked(self._moves)
        if mark == self._mark:
            return False
        self._mark, before = mark, self._digest
        self._digest = self._digested()
        return self._digest != before

    def close(self) -> None:
        self._conn.close()


def prepared(service: Service) -> None:
    """Without a rate limit: it would stand before everything else. And people whom an answer must not tell of."""
    okta = replace(service.workspaces["default"].source("okta"), access=Access(rate_per_s=1e9))
    service.workspaces["default"] = replace(service.workspaces["default"], sources={"okta": okta})
    service.workspaces["other"] = replace(service.workspaces["other"], sources={"okta": SourcePolicy("okta")})
    service.web = service.application(token_cache_s=60)
    other = service.make_token(workspace="other")
    service.user(SECRET, token=other, displayName=SECRET, externalId=SECRET)
    assert service.names(cursor="") == []  # the first use of cursors makes their key


def sent(service: Service, seed: int, requests: int) -> Counter[int]:
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL)
    )  # before the first request
    prepared(service)
    odd, answers = Odd(seed, service.token), Counter[int]()
    watch = Watch(service.database)
    for number in range(requests):
        asked = odd.next()
        answer = service.run(ask(service.web, asked))
        wrong = what_is_wrong(asked, answer, service.token)
        if answer.status >= 400 and not wrong and watch.changed():
            wrong = "it was refused, and changed something"
        assert not wrong, f"FUZZ_SEED={seed}, request {number}: {wrong}\n{asked!r}"[:3000] + f"\n{answer!r}"[:2000]
        if answer.status == 201:
            location = answer.headers["location"].rpartition("/")
            ids = odd.users if location[0].endswith("Users") else odd.groups
            ids[self_limited(ids, odd)] = location[2]
        odd.saw(asked, answer)
        if answer.status < 400:
            watch.changed()
        answers[answer.status] += 1
    watch.close()
    with service.database.reading() as conn:
        assert check(conn, service.workspaces["default"], service.now) == []
    return answers


def self_limited(ids: list[str], odd: Odd) -> int:
    """Where a new id goes: the list stays short, so that what is asked for is there often enough."""
    if len(ids) < 30:
        ids.append("")
        return len(ids) - 1
    return odd.random.randrange(1, len(ids))


def what_is_wrong(asked: Asked, answer: Answered, token: str) -> str:
    if answer.status == 0:
        return "" if asked.breaks_off else "no answer"
    everything = repr(answer.headers).encode() + answer.body
    if token.encode() in everything:
        return "the token is in the answer"
    if leak := LEAKS.search(everything):
        return f"something of the inside: {leak[0]!r}"
    if asked.statuses and answer.status not in asked.statuses:
        return f"not answered with one of {asked.statuses}"
    if answer.status < 400:
        return ""
    if answer.status >= 500 and not (answer.status == 501 and asked.path.strip("/").endswith("Me")):
        return "5xx"
    if asked.method == "HEAD":
        return ""  # the server sends no body
    if answer.status in (404, 405) and not asked.path.lstrip("/").startswith("scim"):
        return ""  # nothing of SCIM's
    if answer.headers.get("content-type") != "application/scim+json":
        return "the media type"
    body = answer.json()
    if body.get("schemas") != [ERROR_URN] or body.get("status") != str(answer.status) or not body.get("detail"):
        return "no error of SCIM's form"
    if not body.keys() <= {"schemas", "status", "scimType", "detail"}:
        return "more than an error's parts"
    if body.get("scimType", "tooMany") not in SCIM_TYPES or (answer.status == 400 and "scimType" not in body):
        return "the scimType"
    return "the detail's length" if len(body["detail"]) > 1200 else ""


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_is_sent(service: Service, part: int) -> None:
    answers = sent(service, SEED + part, REQUESTS // PARTS)
    assert {200, 201, 204, 400, 401, 404, 405, 409, 412, 413, 415} <= answers.keys() or REQUESTS < 20000, answers


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_and_on_postgresql(service: Service) -> None:
    sent(service, SEED + PARTS, REQUESTS // ON_POSTGRESQL)
