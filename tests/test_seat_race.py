"""Every door at the same moment for the same seats: SCIM, the API, invitations, the command line and a run of a directory.

Never one seat more than the pool has, never one lost: while somebody waits the pool is full, and what is counted is what is
there (store/invariants.py). Then some leave by their own doors at the same moment, and whoever waits is served.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from door_stage import AT_ONCE, Directory, Stage
from syncd.app import compose
from syncd.cli import main
from syncd.core.actor import Actor
from syncd.store import tables as t
from syncd.store import tokens
from syncd.web import create_web

SEATS, EACH = 7, 4
CONFIG = """
database: sqlite:///unused.db
seats: {desk: {limit: 7}}
sources:
  corp: {kind: ldif, path: corp.ldif, attributes: {userName: uid, displayName: cn}}
  okta: {kind: scim}
rules: [{name: all, when: userName pr, seats: [desk]}]
"""
USER = "urn:ietf:params:scim:schemas:core:2.0:User"


@dataclass
class Busy(Stage):
    """While others write, no two statements see the same store: what must hold is looked at when all are done."""

    busy: bool = False

    def sound(self, now: datetime | None = None) -> None:
        if not self.busy:
            Stage.sound(self, now)


class Doors:
    def __init__(self, url: str, config: Path) -> None:
        self.config = config
        app = compose(config, {"SYNCD_DATABASE": url})
        here = app.workspace("default")
        sources = {**here.sources, "corp": replace(here.source("corp"), ladder=AT_ONCE)}
        self.stage = Busy(url, replace(here, sources=sources, mails=True))
        self.stage.now = app.clock()
        self.directory = Directory()
        web = create_web(
            self.stage.database,
            {"default": self.stage.workspace},
            lambda: self.stage.now,
            self.stage.ids,
            "http://syncd.test",
        )
        self.transport = httpx.ASGITransport(web)
        self.loop = asyncio.new_event_loop()  # the one the database's connections belong to
        with self.stage.database.writing() as conn:
            actor = Actor("cli", "root", "default")
            made = {
                source: tokens.create(conn, actor, source, self.stage.now, self.stage.ids, source=source)[1]
                for source in ("okta", "local")
            }
        self.tokens = made

    def close(self) -> None:
        self.loop.run_until_complete(self.stage.database.aclose())
        self.loop.close()

    async def _ask(self, method: str, path: str, body: Any, source: str) -> dict[str, Any]:
        async with httpx.AsyncClient(transport=self.transport, base_url="http://syncd.test", timeout=60) as client:
            head = {"Authorization": f"Bearer {self.tokens[source]}"}
            answer = await client.request(method, path, json=body, headers=head)
        assert answer.status_code < 300, answer.text
        return dict(answer.json()) if answer.content else {}

    async def _web(self, asked: list[tuple[str, str, Any, str]]) -> list[dict[str, Any]]:
        return list(await asyncio.gather(*(self._ask(*each) for each in asked)))

    def _typed(self, *words: str) -> None:
        assert main(["--config", str(self.config), *words]) == 0

    def at_once(self, web: list[tuple[str, str, Any, str]], *others: Callable[[], object]) -> list[dict[str, Any]]:
        """Requests in this thread's loop, all else in threads of their own."""
        self.stage.busy = True
        with ThreadPoolExecutor(len(others)) as pool:
            running = [pool.submit(each) for each in others]
            answers = self.loop.run_until_complete(self._web(web))
            for each in running:
                each.result()
        self.stage.busy = False
        return answers

    def come(self) -> None:
        web: list[tuple[str, str, Any, str]] = []
        for n in range(EACH):
            web.append(("POST", "/scim/v2/Users", {"schemas": [USER], "userName": f"scim{n}"}, "okta"))
            web.append(("POST", "/api/v1/users", {"userName": f"api{n}"}, "local"))
            web.append(("POST", "/api/v1/invitations", {"email": f"invited{n}@example.org"}, "local"))
        self.directory.hire(*(f"corp{n}" for n in range(EACH)))
        typed = [lambda n=n: self._typed("user", "create", f"cli{n}") for n in range(EACH)]  # type: ignore[misc]
        self.at_once(web, lambda: self.stage.run(self.directory), *typed)

    def go(self, held: list[str]) -> None:
        """Whoever holds a seat leaves, by the door she came in at."""
        web: list[tuple[str, str, Any, str]] = []
        others: list[Callable[[], object]] = []
        for name in held:
            id = self.stage.named(name).id
            if name.startswith("scim"):
                web.append(("DELETE", f"/scim/v2/Users/{id}", None, "okta"))
            elif name.startswith("api"):
                web.append(("POST", f"/api/v1/users/{id}/suspend", {"reason": "away"}, "local"))
            elif name.startswith("invited"):
                web.append(("POST", f"/api/v1/users/{id}/deactivate", {"reason": "withdrawn"}, "local"))
            elif name.startswith("cli"):
                others.append(lambda id=id: self._typed("user", "deactivate", id, "--yes"))  # type: ignore[misc]
            else:
                self.directory.disabled.add(name)
        self.at_once(web, lambda: self.stage.run(self.directory), *others)


@pytest.fixture
def doors(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Doors]:
    (tmp_path / "syncd.yaml").write_text(CONFIG, encoding="utf-8")
    monkeypatch.setenv("SYNCD_DATABASE", database_url)
    made = Doors(database_url, tmp_path / "syncd.yaml")
    yield made
    made.close()


def test_every_door_at_once_for_the_same_seats(doors: Doors) -> None:
    stage = doors.stage
    doors.come()
    stage.sound()
    first = stage.held("desk")
    assert (len(first), len(stage.rows(t.seats, held=False))) == (SEATS, 5 * EACH - SEATS)
    doors.go([stage.user(id).name for id in first])
    stage.sound()
    second = stage.held("desk")
    assert (len(second), len(stage.rows(t.seats, held=False))) == (SEATS, 5 * EACH - 2 * SEATS)
    assert not set(first) & set(second)
