"""`syncd status`: one screen, what is wrong first, the same facts for programs; with and without a daemon."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from command_line import CONFIG, Cli
from syncd import sample
from syncd.store import leases
from syncd.store import tables as t
from syncd.store.engine import Database

SCHEDULED = CONFIG.replace(
    "    path: corp.ldif\n",
    '    path: corp.ldif\n    schedule: {full: "0 3 * * *"}\n    missing: {suspend_after: 1s}\n',
    1,
)


def alive(cli: Cli, *kinds: str) -> None:
    """Heartbeats of processes that run, as far as anybody can tell; each bears another name of this one's."""
    database = Database(_url(cli))
    with database.writing() as conn:
        for kind in kinds:
            leases.beat(conn, kind, "0.1.0")
            conn.execute(update(t.processes).where(t.processes.c.kind == kind).values(id=f"elsewhere/{kind}"))
    database.close()


def _url(cli: Cli) -> str:
    import os

    return os.environ["SYNCD_DATABASE"]


@pytest.fixture
def scheduled(synced: Cli) -> Cli:
    (synced.folder / "syncd.yaml").write_text(SCHEDULED, encoding="utf-8")
    return synced


def test_without_a_daemon_it_says_so_and_everything_else(scheduled: Cli) -> None:
    ran = scheduled("status", code=1)
    lines = ran.out.splitlines()
    assert lines[0].endswith("workspace default") and "0003" in lines[0]
    assert lines[1].startswith("! processes: nothing runs: no heartbeat; start it: `syncd serve`")
    assert any(line.startswith("corp") and "applied" in line for line in lines)
    assert any(line.split()[:3] == ["crm", "2", "2"] for line in lines)
    assert ran.err == ""


def test_it_fits_a_screen(scheduled: Cli) -> None:
    alive(scheduled, "web", "worker")
    scheduled("token", "create", "--name", "okta", "--source", "okta", "--expires", "90d")
    lines = scheduled("status").out.splitlines()
    assert len(lines) <= 23 and max(map(len, lines)) <= 79
    assert not any(line.startswith("!") for line in lines)


def test_all_is_well_with_a_daemon(scheduled: Cli) -> None:
    alive(scheduled, "web", "worker")
    found = scheduled("status", "--json").json
    assert found["healthy"] is True and [each["kind"] for each in found["processes"] if each["alive"]] != []
    (corp,) = found["sources"]
    assert corp["last_run"]["status"] == "applied" and corp["lag_s"] == 0 and corp["age_s"] < 60
    assert datetime.fromisoformat(corp["next_at"]) > datetime.now(UTC)
    assert found["seats"][1] == {"pool": "crm", "used": 2, "limit": 2, "waiting": found["seats"][1]["waiting"]}
    assert found["users"]["active"] > 50 and found["database"] == {"answers": True, "revision": "0003", "needs": "0003"}


def test_half_a_daemon_is_a_problem(scheduled: Cli) -> None:
    alive(scheduled, "web")
    found = scheduled("status", "--json", code=1).json
    assert [each["about"] for each in found["findings"] if each["level"] == "problem"] == ["worker"]


def test_a_source_that_is_late_failed_and_held_is_told_with_what_to_do(
    scheduled: Cli, at: Callable[[str], None]
) -> None:
    scheduled.directory(sample.company(20, 20, 7))
    now = datetime.now(UTC)
    at((now + timedelta(days=1)).isoformat())
    scheduled("sync", "corp", code=None)
    at((now + timedelta(days=2)).isoformat())
    scheduled("sync", "corp", code=4)
    at((now + timedelta(days=5)).isoformat())
    (scheduled.folder / "corp.ldif").unlink()
    scheduled("sync", "corp", code=75)
    found = scheduled("status", "--json", code=1).json
    said = {each["what"].split(" ")[0]: each for each in found["findings"] if each["about"] == "source corp"}
    assert said["the"]["what"].startswith("the last run failed: ") and said["the"]["do"] == "`syncd check` tries it now"
    assert said["a"]["what"].startswith("a complete read has been due for ") and "sync corp" in said["a"]["do"]
    held = found["sources"][0]["held"]
    assert held > 20 and "suspend" in said[f"{held}"]["what"]
    assert found["sources"][0]["lag_s"] > 86_400
    text = scheduled("status", code=1).out
    assert text.index("! source corp") < text.index("- seats crm") < text.index("corp  ")


def test_what_is_wrong_elsewhere_is_a_hint(scheduled: Cli) -> None:
    alive(scheduled, "web", "worker")
    scheduled("sync", "corp", "--workspace", "acme", code=75)  # there is no acme.ldif
    found = scheduled("status", "--json").json
    assert [each["about"] for each in found["findings"] if each["level"] == "notice"][-1] == "workspace acme"
    assert "`syncd status --workspace acme`" in scheduled("status").out
    theirs = scheduled("status", "--json", "--workspace", "acme", code=1).json
    assert theirs["users"] == {} and theirs["findings"][0]["about"] == "source corp"


def test_a_token_that_is_about_to_expire(scheduled: Cli, at: Callable[[str], None]) -> None:
    alive(scheduled, "web", "worker")
    scheduled("token", "create", "--name", "okta", "--source", "okta", "--expires", "30d")
    for days, level in ((20, "notice"), (29, "problem")):
        at((datetime.now(UTC) + timedelta(days=days)).isoformat())
        found = scheduled("status", "--json", code=1).json["findings"]  # by then a read is overdue
        assert [each["level"] for each in found if each["about"] == "token okta"] == [level]


@pytest.mark.parametrize("spelled", [["status"], ["status", "--json"]])
def test_a_database_that_is_not_there_or_behind(bare: Cli, spelled: list[str]) -> None:
    before = bare(*spelled, code=1)
    assert "problem" in before.out or "! database: " in before.out
    bare("db", "upgrade")
    database = Database(_url(bare))
    with database.writing() as conn:
        conn.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    database.close()
    assert "this release needs 0003" in bare(*spelled, code=1).out
