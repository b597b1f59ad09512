"""Kill `syncd sync corp` with SIGKILL anywhere in its apply, run it again, and compare with a run that nobody disturbed.

A world is a configuration, a company of some hundred people, and a database in which it was read twice; then much changed at
once: people left, came, moved, married and were switched off, groups changed, a pool that is nearly full changes hands. The
killed process is forked from one that has everything imported (multiprocessing's forkserver), so that a kill costs seconds
and no start-up. The clock stands still, so both runs must come to the same rows, times included.

    .venv/bin/python tests/campaign.py --kills 500 [--seed N] [--engine sqlite|postgresql] [--tight|--no-tight]
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

import postgres_server
from forking import FORKS
from postgres_server import Postgres
from syncd import sample
from syncd.app import compose
from syncd.store import tables as t
from syncd.store.engine import Database
from syncd.store.invariants import check

START = datetime(2026, 5, 4, 3, tzinfo=UTC)
CONFIG = """
database: sqlite:///unused.db
seats:
  internal: {limit: 280}
  crm: {limit: 24, requires: [internal]}
roles:
  crm-user: {permissions: [crm.view]}
sources:
  corp:
    kind: ldif
    path: corp.ldif
    attributes: {userName: uid, displayName: "{givenName} {sn}", emails.work: mail, title: title, manager: manager}
    missing: {suspend_after: 1d, deactivate_after: 2d, delete_after: 14d}
    limits: {LIMITS}
    may_grant: [admin, member, crm-user]
rules:
  - {name: staff, when: 'groups[source eq "corp" and display eq "all-staff"]', roles: [member], seats: [internal]}
  - {name: crm-users, when: 'groups[source eq "corp" and display eq "crm-users"]', roles: [crm-user], seats: [crm]}
  - {name: crm-admins, when: 'groups[source eq "corp" and display eq "crm-admins"]', roles: [admin], seats: [crm]}
"""
_KINDS = ("deactivate", "suspend", "delete", "role", "seat", "membership", "blank")
WIDE = ", ".join(f"{kind}: {{share: 100%}}" for kind in _KINDS)
BATCH = 10  # rows a batch: as many moments between two transactions as a run of 3,000 has with the usual size
# The ids that the product makes, and those of a Stage.
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\bn[0-9]{9}\b")


# -- the world -----------------------------------------------------------------------------------------------------------


def changed(before: sample.Company, seed: int) -> sample.Company:
    """Many weekends at once: a tenth leaves, a tenth moves or is switched off, and a tenth comes."""
    after = before
    for _ in range(5):
        after = sample.monday(replace(after, title=f"{after.title} {seed}"))
    chance = random.Random(seed)
    off = set(chance.sample(range(9, len(after.people)), 12))
    people = tuple(
        replace(person, shadow_expire=sample.EXPIRED) if index in off else person
        for index, person in enumerate(after.people)
    )
    ids = [person.uuid for person in people]
    groups = []
    for group in after.groups:
        if group.name in ("crm-users", "billing", "shell-users"):
            stay = tuple(one for one in group.people if chance.random() < 0.5)
            groups.append(replace(group, people=tuple(dict.fromkeys((*stay, *chance.sample(ids, 12))))))
        else:
            groups.append(group)
    return replace(after, people=people, groups=tuple(groups))


@dataclass
class World:
    """A folder with configuration and directory; `fresh()` gives a copy of the prepared database."""

    folder: Path
    postgres: Postgres | None
    users: int = 300
    seed: int = 1
    tight: bool = False  # the usual limits, which hold much of what is changed
    prepared: str = ""
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(10**9)))

    def prepare(self) -> World:
        limits = "" if self.tight else WIDE
        (self.folder / "syncd.yaml").write_text(CONFIG.replace("LIMITS", limits), encoding="utf-8")
        before = sample.company(self.users, 30, self.seed)
        after = changed(before, self.seed)
        gone = {person.uuid for person in before.people} - {person.uuid for person in after.people}
        url = self.postgres.fresh() if self.postgres else f"sqlite:///{self.folder / 'prepared.db'}"
        self.prepared = url
        # Who is gone at the end is missed for the first time on the second day, so that the third takes her away.
        half = replace(
            before,
            people=tuple(person for person in before.people if person.uuid not in gone),
            groups=tuple(
                replace(group, people=tuple(one for one in group.people if one not in gone)) for group in before.groups
            ),
        )
        for company, days in ((before, 0), (half, 1)):
            (self.folder / "corp.ldif").write_text("".join(sample.ldif(company)), encoding="utf-8")
            command = (["db", "upgrade"], ["sync", "corp"]) if days == 0 else (["sync", "corp"],)
            for argv in command:
                assert run(self.folder, url, *argv, now=START + timedelta(days=days)) in self.ends
        (self.folder / "corp.ldif").write_text("".join(sample.ldif(after)), encoding="utf-8")
        return self

    @property
    def ends(self) -> set[int]:
        """Exit codes of a run that ended well."""
        return {0, 4} if self.tight else {0}

    @property
    def now(self) -> datetime:
        """The moment of the disturbed run, and of those that follow it."""
        return START + timedelta(days=4)

    @contextmanager
    def fresh(self) -> Iterator[str]:
        if self.postgres is not None:
            url = self.postgres.fresh(self.prepared.rpartition("/")[2])
            yield url
            self.postgres.drop(url)
            return
        folder = self.folder / f"copy{next(self.numbers)}"
        folder.mkdir()
        shutil.copy(self.prepared.removeprefix("sqlite:///"), folder / "syncd.db")
        yield f"sqlite:///{folder / 'syncd.db'}"
        shutil.rmtree(folder)


# -- a process of its own ------------------------------------------------------------------------------------------------


def run(folder: Path, url: str, *argv: str, now: datetime) -> int:
    """`syncd ARGV` in a process of its own; returns its exit code."""
    process, _ = _started(folder, url, argv, now)
    process.join(120)
    assert process.exitcode is not None, "it hangs"
    return process.exitcode


def _started(folder: Path, url: str, argv: tuple[str, ...], now: datetime) -> tuple[Any, Pipe]:
    mine, other = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=_child, args=(folder, url, argv, now, other))
    process.start()
    other.close()
    return process, mine


def _child(folder: Path, url: str, argv: tuple[str, ...], now: datetime, pipe: Pipe) -> None:
    from syncd.cli import main
    from syncd.store import plans, runs

    os.environ |= {
        "SYNCD_CONFIG": str(folder / "syncd.yaml"),
        "SYNCD_DATABASE": url,
        "SYNCD_TESTING": "1",
        "SYNCD_TESTING_NOW": now.isoformat(),
    }
    plans.batch_size = lambda conn, workspace: BATCH
    for name in ("store", "apply_items"):  # the plan is stored, or one that was stored is taken up again
        setattr(runs, name, _telling(getattr(runs, name), pipe))
    output = os.open(folder / "output", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.exit(main(argv))


def _telling(wrapped: Any, pipe: Pipe) -> Any:
    def first(*args: Any, **more: Any) -> Any:
        pipe.send_bytes(b"applying")
        return wrapped(*args, **more)

    return first


def killed(world: World, url: str, delay_s: float) -> bool:
    """`syncd sync corp`, killed so long after it began to apply. False if it had ended before."""
    process, pipe = _started(world.folder, url, ("sync", "corp"), world.now)
    if pipe.poll(60):
        time.sleep(delay_s)
    process.kill()
    process.join(30)
    assert process.exitcode in {*world.ends, -signal.SIGKILL}, (world.folder / "output").read_text()[-2000:]
    return process.exitcode == -signal.SIGKILL


# -- what must be equal --------------------------------------------------------------------------------------------------

# Left out: what is of one run (its id), of one process (leases, heartbeats) or counts reads (see `unsound`).
_TABLES = {
    t.users: (), t.groups: (), t.links: ("missing_reads",), t.memberships: (), t.unresolved_members: (),
    t.effective_memberships: (), t.grants: ("run_id",), t.seats: (), t.seat_pools: (), t.source_states: (),
    t.held: ("run_id", "digest"), t.losses: ("run_id",), t.activity: ("id", "run_id", "payload_hash"), t.outbox: ("id",),
}  # fmt: skip


def state(url: str) -> dict[str, Counter[str]]:
    """Every row that matters as text, ids of people and groups replaced by their names; the record with its payloads."""
    database = Database(url)
    try:
        with database.reading() as conn:
            u, g = t.users.c, t.groups.c
            names = {row.id: f"user:{row.user_name}" for row in conn.execute(select(u.id, u.user_name))}
            names |= {row.id: f"group:{row.display_name}" for row in conn.execute(select(g.id, g.display_name))}
            names |= dict.fromkeys(conn.scalars(select(t.runs.c.id)), "run")

            def shown(row: Any) -> str:
                values = row._asdict()
                if "payload" in values:  # an event's own ids, and its batch's
                    values["payload"] = {**values["payload"], "jti": "", "txn": ""}
                text = repr(tuple(values.values()))
                return _ID.sub(lambda found: names.get(found[0], found[0]), text)

            found = {
                table.name: Counter(
                    shown(row)
                    for row in conn.execute(select(*(column for column in table.c if column.name not in without)))
                )
                for table, without in _TABLES.items()
            }
            a, p = t.activity.c, t.activity_payloads.c
            joined = t.activity.join(
                t.activity_payloads, (a.workspace == p.workspace) & (a.id == p.activity_id), isouter=True
            )
            record = select(a.action, a.subject, a.source, a.why, p.before, p.after).select_from(joined)
            found["record"] = Counter(shown(row) for row in conn.execute(record))
        return found
    finally:
        database.close()


def unsound(world: World, url: str) -> list[str]:
    """Violated invariants, and what no ended run may leave behind."""
    app = compose(world.folder / "syncd.yaml", {"SYNCD_DATABASE": url})
    database = Database(url)
    try:
        with database.reading() as conn:
            found = check(conn, app.workspace("default"), world.now)
            for table in (t.leases, t.run_items):
                if left := conn.scalar(select(func.count()).select_from(table)):
                    found.append(f"{left} rows are left in {table.name}")
            r, k = t.runs.c, t.links.c
            found += [
                f"a run is still {status}" for status in conn.scalars(select(r.status).where(r.finished_at.is_(None)))
            ]
            # Whoever is gone was there in the first read and in none since, and every read counts once.
            missed = set(conn.scalars(select(k.missing_reads).where(k.stage.is_not(None))))
        whole = reads(url)
        return found + ([f"missing_reads are {missed}, {whole} reads were whole"] if missed != {whole - 1} else [])
    finally:
        database.close()


def differences(one: dict[str, Counter[str]], other: dict[str, Counter[str]]) -> list[str]:
    """The first rows of each table that only one of them has, from shortly before they part."""
    found = []
    for name, rows in one.items():
        here, there = sorted((rows - other[name]).elements()), sorted((other[name] - rows).elements())
        if here or there:
            found.append(f"{name}: {len(here)} rows only here, {len(there)} only in the undisturbed run")
            pairs = zip(here[0] if here else "", there[0] if there else "", strict=False)
            start = max(0, next((at for at, (a, b) in enumerate(pairs) if a != b), 0) - 150)
            found += [f"{name}: {sign} {each[0][start:][:400]}" for sign, each in (("+", here), ("-", there)) if each]
    return found


def reads(url: str) -> int:
    """How many runs of it counted: a run that was killed before its plan was stored has read nothing."""
    database = Database(url)
    try:
        with database.reading() as conn:
            r = t.runs.c
            counted = select(func.count()).where(r.status.in_(("applying", "applied", "clean", "held")))
            return conn.scalar(counted) or 0
    finally:
        database.close()


# -- the campaign --------------------------------------------------------------------------------------------------------


@dataclass
class Campaign:
    world: World
    calm: dict[int, dict[str, Counter[str]]] = field(default_factory=dict)  # after so many reads
    apply_s: float = 0.0

    def measure(self) -> Campaign:
        """The undisturbed run, and how long it applies. It is read as often as one that is killed once or twice."""
        with self.world.fresh() as url:
            process, pipe = _started(self.world.folder, url, ("sync", "corp"), self.world.now)
            assert pipe.poll(60), "it never applied anything"
            began = time.monotonic()
            process.join(120)
            self.apply_s = time.monotonic() - began
            assert process.exitcode in self.world.ends, (self.world.folder / "output").read_text()[-2000:]
            for _ in range(2):
                assert run(self.world.folder, url, "sync", "corp", now=self.world.now) in self.world.ends
                assert unsound(self.world, url) == []
                self.calm[reads(url)] = state(url)
        return self

    def kill(self, seed: int) -> list[str]:
        """Once, or twice in a third of the cases; then run, and say what is not as it should be."""
        chance = random.Random(seed)
        with self.world.fresh() as url:
            for _ in range(2 if chance.random() < 1 / 3 else 1):
                killed(self.world, url, chance.uniform(0, self.apply_s))
            for _ in range(max(1, min(self.calm) - reads(url))):
                code = run(self.world.folder, url, "sync", "corp", now=self.world.now)
                if code not in self.world.ends:
                    return [f"exit {code}: {(self.world.folder / 'output').read_text()[-500:]}"]
            return unsound(self.world, url) + differences(state(url), self.calm[reads(url)])


@contextmanager
def campaign(
    engine: str, users: int = 300, seed: int = 1, tight: bool = False, postgres: Postgres | None = None
) -> Iterator[Campaign]:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="syncd-kill-"))
        if engine == "postgresql":
            postgres = postgres or stack.enter_context(postgres_server.running())
        world = World(Path(folder), postgres if engine == "postgresql" else None, users, seed, tight)
        yield Campaign(world.prepare()).measure()


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--kills", type=int, default=500)
    arguments.add_argument("--seed", type=int, default=None, help="repeat from this seed (printed)")
    arguments.add_argument("--engine", choices=["sqlite", "postgresql"], action="append")
    arguments.add_argument("--tight", action=argparse.BooleanOptionalAction, help="default: both, one after the other")
    asked = arguments.parse_args()
    worlds = [
        (engine, tight)
        for engine in asked.engine or ["sqlite", "postgresql"]
        for tight in ([False, True] if asked.tight is None else [asked.tight])
    ]
    first = asked.seed if asked.seed is not None else int.from_bytes(os.urandom(4), "big")
    bad, each = 0, max(1, asked.kills // len(worlds))
    for engine, tight in worlds:
        how = f"--engine {engine} --{'' if tight else 'no-'}tight"
        with campaign(engine, tight=tight) as campaigned:
            print(f"{how}: {each} kills from seed {first}, {campaigned.apply_s:.1f} s of applying", flush=True)
            for seed in range(first, first + each):
                if found := campaigned.kill(seed):
                    bad += 1
                    print(f"repeat with {how} --kills 1 --seed {seed}", *found, sep="\n  ", flush=True)
    print(f"{bad} of {each * len(worlds)} kills left something behind", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    # The forked processes look for the functions in the module `campaign`.
    from campaign import main as campaign_main

    sys.exit(campaign_main())
