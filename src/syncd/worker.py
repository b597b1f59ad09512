"""The worker process: reads directories when their schedule says so, and commits status changes whose date has come.

It decides nothing itself: a schedule calls `reconcile`, a due date goes through the door as an edit that states nothing.
A read that fails is logged and tried again at its next time. What a guard holds back is tried again after an hour, not at
every tick, so that the record is not filled with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

import structlog
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from syncd.core.actor import ADMIN_SOURCE, Actor
from syncd.core.change import UserEdit
from syncd.core.snapshot import Source
from syncd.core.workspace import Workspace
from syncd.errors import SyncdError
from syncd.reconcile.mapping import DirectoryMapping
from syncd.reconcile.run import reconcile
from syncd.store.commit import commit
from syncd.store.engine import Database
from syncd.store.listing import due_users

TICK_S = 5
RETRY = timedelta(hours=1)
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A directory with its times: `full` is cron in the configured zone, `delta` the time between reads."""

    workspace: Workspace
    source: Source
    mapping: DirectoryMapping
    full: str | None
    delta: timedelta | None


@dataclass(slots=True)
class Worker:
    database: Database
    workspaces: Mapping[str, Workspace]
    directories: Iterable[Scheduled]
    clock: Callable[[], datetime]
    ids: Callable[[], str]
    timezone: tzinfo

    def run(self, wait: Callable[[float], bool]) -> None:
        """Work until `wait(seconds)` says True: it sleeps that long, or less when the process is to end."""
        scheduler = BackgroundScheduler(
            timezone=self.timezone,
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        for each in self.directories:
            if each.full:
                scheduler.add_job(self.read, CronTrigger(**cron_fields(each.full), timezone=self.timezone), [each])
            if each.delta:
                every = IntervalTrigger(seconds=int(each.delta.total_seconds()))
                scheduler.add_job(self.read, every, [each])
        scheduler.start()
        later: dict[tuple[str, str], datetime] = {}
        try:
            while not wait(TICK_S):
                self.tick(later)
        finally:
            scheduler.shutdown(wait=True)  # a run under way ends its batch and its report

    def read(self, each: Scheduled) -> None:
        name = each.source.name
        actor = Actor("run", name, each.workspace.name, source=name)
        try:
            reconcile(
                self.database, each.workspace, each.source, each.mapping, actor, self.clock, self.ids, dry_run=False
            )
        except SyncdError as exc:
            log.warning("run_missed", workspace=each.workspace.name, source=name, why=str(exc))

    def tick(self, later: dict[tuple[str, str], datetime]) -> int:
        """Commit the transitions that are due; returns how many users were looked at. `later`: who waits until when."""
        now = self.clock()
        looked_at = 0
        for workspace in self.workspaces.values():
            try:
                with self.database.reading() as conn:
                    due = due_users(conn, workspace.name, now)
                for id in due:
                    if later.get((workspace.name, id), now) <= now:
                        looked_at += 1
                        self._transition(workspace, id, now, later)
            except SyncdError as exc:
                log.warning("tick_missed", workspace=workspace.name, why=str(exc))
        return looked_at

    def _transition(self, workspace: Workspace, id: str, now: datetime, later: dict[tuple[str, str], datetime]) -> None:
        actor = Actor("timer", "timer", workspace.name)
        edit = UserEdit(id, ADMIN_SOURCE, why="a date has come")
        outcome = self.database.write_now(lambda conn: commit(conn, workspace, actor, [edit], now, self.ids))
        if outcome.error is not None:
            later[workspace.name, id] = now + RETRY
            log.warning("transition_held", workspace=workspace.name, user_id=id, why=str(outcome.error))
        else:
            later.pop((workspace.name, id), None)


def cron_fields(text: str) -> dict[str, str]:
    """Cron as it is written (0 and 7 are Sunday) for APScheduler, which counts weekdays from Monday."""
    minute, hour, day, month, weekday = text.split()
    return {"minute": minute, "hour": hour, "day": day, "month": month, "day_of_week": _weekdays(weekday)}


def _weekdays(text: str) -> str:
    if text == "*":
        return text
    found: list[str] = []
    for part in text.lower().split(","):
        span, _, step = part.partition("/")
        first, _, last = ("0-6" if span == "*" else span).partition("-")
        start, end = _day(first), _day(last or (first if not step else "6"))
        found += [_DAYS[number] for number in range(start, end + 1, int(step or 1))]
    return ",".join(dict.fromkeys(found))


def _day(text: str) -> int:
    return int(text) if text.isdecimal() else _DAYS.index(text)
