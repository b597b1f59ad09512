"""One door: the same forbidden change by SCIM, by a run and by the command line meets the same refusal and leaves the same
activity row (action, subject, why), and nothing of it is done."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from door_stage import AT_ONCE, Directory, Stage, owner, staff
from syncd.app import compose
from syncd.cli import main
from syncd.core.actor import Actor
from syncd.core.change import UserEdit
from syncd.core.plan import Report
from syncd.store import tables as t
from syncd.store import tokens
from syncd.web import create_web

CONFIG = """
database: sqlite:///unused.db
protected: ['userName eq "root"']
sources:
  corp: {kind: ldif, path: corp.ldif, attributes: {userName: uid, displayName: cn}}
  okta: {kind: scim}
"""
PATCH = {
    "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
    "Operations": [{"op": "replace", "path": "active", "value": False}],
}
DOORS = ("scim", "cli", "run")


class Company:
    """Nine people of a directory, whom a connection and people at a terminal may deactivate too."""

    def __init__(self, url: str, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.config, self.capsys = config, capsys
        app = compose(config, {"SYNCD_DATABASE": url})
        workspace = app.workspace("default")
        sources = {**workspace.sources, "corp": replace(workspace.source("corp"), ladder=AT_ONCE)}
        self.stage = Stage(url, replace(workspace, sources=sources))
        self.stage.now = app.clock()  # the command line looks at the real clock
        self.directory = Directory()
        self.directory.hire("root", *staff("p", 8))
        self.stage.later(days=-3)
        self.stage.run(self.directory)
        self.stage.later(days=3)
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
            _, self.token = tokens.create(conn, actor, "okta", self.stage.now, self.stage.ids, source="okta")
        self.seen = {row.id for row in self.stage.rows(t.activity)}

    def deactivate(self, door: str, *names: str) -> str:
        """By this door. What it refused, in its own words; "" if it did all of it."""
        said = {"scim": self._scim, "cli": self._cli, "run": self._run}[door](names)
        self.stage.sound()
        return said

    def _scim(self, names: tuple[str, ...]) -> str:
        said = ""
        for name in names:
            id = self.stage.named(name).id

            async def ask(id: str = id) -> httpx.Response:
                async with httpx.AsyncClient(transport=self.transport, base_url="http://syncd.test") as client:
                    return await client.patch(
                        f"/scim/v2/Users/{id}", json=PATCH, headers={"Authorization": f"Bearer {self.token}"}
                    )

            answer = self.loop.run_until_complete(ask())
            if answer.status_code != 200:
                assert answer.status_code in (403, 429), answer.text
                assert ("Retry-After" in answer.headers) == (answer.status_code == 429)
                said = answer.json()["detail"]
        return said

    def close(self) -> None:
        self.loop.run_until_complete(self.stage.database.aclose())
        self.loop.close()

    def _cli(self, names: tuple[str, ...]) -> str:
        said = ""
        for name in names:
            self.capsys.readouterr()
            code = main(["--config", str(self.config), "user", "deactivate", name, "--yes"])
            err = self.capsys.readouterr().err
            if code:
                assert code in (1, 4), err
                said = err
        return said

    def _run(self, names: tuple[str, ...]) -> str:
        self.directory.disabled |= set(names)
        report: Report = self.stage.run(self.directory)
        assert report.exit_code == (4 if report.held else 0)
        return "; ".join(held.why for held in report.held)

    def recorded(self) -> list[tuple[str, str, str]]:
        """(action, subject, why) of every refusal since the start."""
        rows = sorted((row for row in self.stage.rows(t.activity) if row.id not in self.seen), key=lambda row: row.id)
        return [(row.action, row.subject, row.why) for row in rows if row.action in ("refused", "held")]

    def doors(self) -> set[str]:
        rows = (row for row in self.stage.rows(t.activity) if row.id not in self.seen)
        return {row.door for row in rows if row.action in ("refused", "held")}


@pytest.fixture
def company(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Company]:
    (tmp_path / "syncd.yaml").write_text(CONFIG, encoding="utf-8")
    monkeypatch.setenv("SYNCD_DATABASE", database_url)
    made = Company(database_url, tmp_path / "syncd.yaml", capsys)
    yield made
    made.close()


@pytest.mark.parametrize("door", DOORS)
def test_the_last_owner(company: Company, door: str) -> None:
    company.stage.do(UserEdit(company.stage.named("p001").id, "local", grant=(owner(),)))
    why = "p001 is the last active owner: make another user owner first"
    said = company.deactivate(door, "p001")
    assert why in said
    assert company.recorded() == [("refused", "p001", why)]
    assert company.doors() == {door}
    assert company.stage.named("p001").status == "active"
    company.stage.do(UserEdit(company.stage.named("p002").id, "local", grant=(owner(),)))
    assert company.deactivate(door, "p001") == ""
    assert company.stage.named("p001").status == "inactive"


@pytest.mark.parametrize("door", DOORS)
def test_a_protected_account(company: Company, door: str) -> None:
    why = 'root is protected (userName eq "root"): inactive refused'
    assert why in company.deactivate(door, "root")
    assert company.recorded() == [("refused", "root", why)]
    assert company.doors() == {door}
    assert company.stage.named("root").status == "active"


@pytest.mark.parametrize("door", DOORS)
def test_too_many_at_once(company: Company, door: str) -> None:
    names = staff("p", 6)
    said = company.deactivate(door, *names)
    assert "users would be deactivated" in said
    assert "limit 5 (share 5%, floor 5, number 500)" in said
    held = company.recorded()
    assert {action for action, _, _ in held} == {"held"}
    assert all(re.search(r"\d (of \d.* )?users would be deactivated.*limit 5", why) for _, _, why in held)
    assert company.doors() == {door}
    statuses = company.stage.statuses()
    if door == "run":  # it knows the whole plan: nothing of that kind is done
        assert {subject for _, subject, _ in held} == set(names)
        assert set(statuses.values()) == {"active"}
    else:  # a push is one at a time: everything after the limit is held
        assert [subject for _, subject, _ in held] == ["p005"]
        assert [name for name in names if statuses[name] == "active"] == ["p005"]
    for digest in sorted({row.digest for row in company.stage.rows(t.held)}):
        company.stage.approve(digest)
    assert {company.stage.statuses()[name] for name in names} == {"inactive"}
    assert company.stage.kept() == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_a_connection_asked_for_is_approved_at_once(company: Company) -> None:
    """Its requests are held one by one, each under a digest of its own: hundreds, when a department leaves."""
    names = staff("p", 8)
    company.deactivate("scim", *names)
    assert len({row.digest for row in company.stage.rows(t.held)}) == 3
    company.capsys.readouterr()
    approve = ["--config", str(company.config), "runs", "approve", "--source", "okta", "--yes"]
    assert main(approve) == 0
    out = company.capsys.readouterr().out
    assert [name for name in names if re.search(rf"{name} +deactivate +applied", out)] == ["p005", "p006", "p007"]
    assert {company.stage.statuses()[name] for name in names} == {"inactive"}
    assert company.stage.rows(t.held) == []
    assert main(approve) == 2
    company.stage.sound()


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("other", DOORS)
def test_a_window_is_of_one_source_and_a_refusal_of_all(company: Company, door: str, other: str) -> None:
    """What one door took is not counted against another source, and what is refused at one is refused at all."""
    take: Callable[..., str] = company.deactivate
    assert take(door, *staff("p", 4)) == ""
    assert take(other, "root") != ""
    assert ("users would be deactivated" in take(other, *staff("p", 8)[4:6])) is (door == other)
