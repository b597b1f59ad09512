"""Reconciles and the door in this process, each beside its floor.

`python -m bench.door [--users 10000] [--database postgresql://...]`. Without --database: SQLite in a temporary folder.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import sqlite3
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table
from sqlalchemy import select

from bench.measure import Pair, pair, peak_mib
from syncd.core.actor import Actor
from syncd.core.change import GroupEdit, UserEdit
from syncd.core.filter import compile as compile_condition
from syncd.core.filter import parse_filter
from syncd.core.plan import Report
from syncd.core.rules import Rule
from syncd.core.schema import RULE_USER
from syncd.core.seats import Pool
from syncd.core.state import Link
from syncd.core.workspace import SourcePolicy, Workspace
from syncd.ldap.ldif_source import LdifConfig, LdifSource
from syncd.reconcile.mapping import compile_mapping
from syncd.reconcile.run import reconcile
from syncd.sample import sample_company
from syncd.store import tables as t
from syncd.store.commit import commit
from syncd.store.engine import Database
from syncd.store.migrate import upgrade

MAPPING = compile_mapping(
    {
        **{"userName": "uid", "name.givenName": "givenName", "name.familyName": "sn", "emails.work": "mail"},
        **{"displayName": "{givenName} {sn}", "userType": "employeeType", "manager": "manager"},
    }
)


def workspace() -> Workspace:
    def rule(name: str, when: str, **grants: tuple[str, ...]) -> Rule:
        condition = parse_filter(when, RULE_USER)
        return Rule(name, when, compile_condition(condition), reads_groups="groups" in when, **grants)  # type: ignore[arg-type]

    return Workspace(
        sources={"corp": SourcePolicy("corp", "ldif")},
        rules=(
            rule("staff", 'userType eq "Employee"', roles=("member",), seats=("internal",)),
            rule("crm", 'groups[source eq "corp" and display eq "crm-users"]', roles=("viewer",), seats=("crm",)),
        ),
        pools={"internal": Pool("internal"), "crm": Pool("crm", 40, requires=("internal",))},
    )


class Bench:
    def __init__(self, folder: Path, url: str | None) -> None:
        self.folder = folder
        self.database = Database(url or f"sqlite:///{folder / 'bench.db'}", create=True)
        upgrade(self.database)
        self.workspace = workspace()
        counter = itertools.count(int(time.time() * 1e6))
        self.ids: Callable[[], str] = lambda: f"{next(counter):020d}"
        self.actor = Actor("cli", "bench", "default")

    def reconcile(self, path: Path, dry_run: bool) -> Report:
        source = LdifSource(LdifConfig("corp", path))
        actor = Actor("run", "corp", "default", source="corp")
        return reconcile(
            self.database, self.workspace, source, MAPPING, actor, lambda: datetime.now(UTC), self.ids, dry_run=dry_run
        )

    def commit(self, *edits: UserEdit | GroupEdit) -> None:
        with self.database.writing() as conn:
            commit(conn, self.workspace, self.actor, edits, datetime.now(UTC), self.ids).check()

    def user(self, name: str) -> str:
        id = self.ids()
        self.commit(UserEdit(id, "local", create=True, link=Link("local", id, values={"userName": name})))
        return id

    def group(self, name: str, members: list[str]) -> str:
        id = self.ids()
        self.commit(GroupEdit(id, "local", create=True, link=Link("local", id, values={"displayName": name})))
        for start in range(0, len(members), 1000):
            self.commit(*(UserEdit(user, "local", join=(id,)) for user in members[start : start + 1000]))
        return id


def reconciles(bench: Bench, users: int) -> tuple[list[Pair], dict[str, object]]:
    path = bench.folder / "company.ldif"
    path.write_text("".join(sample_company(users, max(20, users // 50), 1)))
    first = bench.reconcile(path, dry_run=False)
    facts: dict[str, object] = {
        "users": users,
        "first_run_s": first.took_s,
        "changes": sum(first.counts.values()) - first.counts["read"],
        "peak_mib_after_first_run": peak_mib(),
    }

    def read_only() -> None:
        for _ in LdifSource(LdifConfig("corp", path)).read(datetime.now(UTC)):
            pass

    floor = "the same file read and thrown away"
    return [
        pair("reconcile, nothing changed", lambda: bench.reconcile(path, dry_run=False), read_only, floor, 5)
    ], facts


def members(bench: Bench, users: int) -> list[Pair]:
    with bench.database.reading() as conn:
        everyone = list(conn.scalars(select(t.users.c.id).where(t.users.c.status != "deleted").limit(users)))
    small = bench.group("small", everyone[:5])
    large = bench.group("large", everyone)
    names = itertools.count()

    def add_to(group: str) -> None:
        for _ in range(20):
            bench.commit(UserEdit(fresh.pop(), "local", join=(group,)))

    fresh = [bench.user(f"bench-{next(names)}") for _ in range(2 * 20 * 9)]
    name = f"add one member: group of {len(everyone):,} : group of 5"
    return [pair(name, lambda: add_to(large), lambda: add_to(small), "the same in the group of 5", 8)]


def writes(bench: Bench) -> list[Pair]:
    """One user changed through the door against the same document written by sqlite3 alone: the price of the door."""
    raw = sqlite3.connect(bench.folder / "raw.db", isolation_level=None)
    raw.execute("PRAGMA journal_mode=WAL")
    raw.execute("PRAGMA synchronous=NORMAL")
    raw.execute("CREATE TABLE users (id TEXT PRIMARY KEY, document BLOB)")
    document = orjson.dumps({"userName": "bench", "displayName": "x" * 800})
    numbers = itertools.count()
    id = bench.user("bench-writes")

    def through_the_door() -> None:
        for _ in range(20):
            values = {"userName": "bench-writes", "displayName": f"name {next(numbers)}"}
            bench.commit(UserEdit(id, "local", link=Link("local", id, values=values)))

    def by_hand() -> None:
        for _ in range(20):
            raw.execute("BEGIN IMMEDIATE")
            raw.execute("INSERT INTO users VALUES (?, ?)", (str(next(numbers)), document))
            raw.execute("COMMIT")

    return [pair("change one user through the door", through_the_door, by_hand, "one bare insert by sqlite3")]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.door")
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--database", help="an empty database; default: SQLite in a temporary folder")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), asked.database)
        pairs, facts = reconciles(bench, asked.users)
        pairs += members(bench, asked.users)
        pairs += writes(bench)
        engine = bench.database.dialect
        bench.database.close()
    table = Table(title=f"syncd on {engine}, {asked.users:,} users")
    for column in ("what", "A ms", "B ms", "A/B", "min-max", "B is"):
        table.add_column(column)
    for each in pairs:
        spread = f"{each.low}-{each.high}"
        table.add_row(each.name, f"{each.a_ms}", f"{each.b_ms}", f"{each.ratio}", spread, each.floor)
    Console().print(table, facts)
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    raw = {
        "engine": engine,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "facts": facts,
        "pairs": [each.as_json() for each in pairs],
    }
    path = results / f"{engine}-{asked.users}.json"
    path.write_text(json.dumps(raw, indent=2) + "\n")


if __name__ == "__main__":
    main()
