"""Everything that time alone brings about, each as it is prepared and seen; and a process that is killed while it does it.

`killed` runs the timers in a process of their own on a database file and ends it by SIGKILL just before its n-th commit.
Between two commits nothing lasts, so these are all the moments there are.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import event, select

from door_stage import NOON, Stage, owner, policy, user
from forking import FORKS
from syncd.core.actor import Actor
from syncd.core.change import UserEdit
from syncd.core.offboarding import MANAGER
from syncd.core.seats import Pool
from syncd.core.signins import SignIn
from syncd.core.state import Grant
from syncd.core.workspace import Workspace
from syncd.store import invitations, signins, tokens
from syncd.store import tables as t
from syncd.store.retention import Retention
from syncd.timers import Timers, TimerSettings

DAY = timedelta(days=1)
ROOT = Actor("cli", "root", "default")
HERE = Workspace(
    sources={"corp": policy()},
    pools={"desk": Pool("desk", 1), "crm": Pool("crm", 1, idle_after=6 * DAY)},
    webhooks=("app",),
    mails=True,
    warn_before=(2 * DAY,),
)
SETTINGS = TimerSettings((3 * DAY,), Retention())
TICKS = 4  # of one process at one moment: rounds of one hour go on over some


@dataclass(frozen=True)
class Timed:
    """`prepare` at noon; `after` that it is time. `done`: what the record then says, by action.

    `final`: it cannot be undone, so a clock that leapt is not believed at once. `again`: it follows a clock that is set back.
    `told_again`: what was told too early by a clock that was ahead is told once more in its time.
    """

    name: str
    prepare: Callable[[Stage], None]
    after: timedelta
    done: tuple[str, ...]
    final: bool = False
    again: bool = False
    told_again: bool = False
    settings: TimerSettings = SETTINGS

    @property
    def at(self) -> datetime:
        return NOON + self.after

    def seen(self, stage: Stage) -> Counter[str]:
        return Counter(action for action, _, _ in stage.activity(*set(self.done)))


def grant(kind: str, value: str, until: datetime | None = None) -> Grant:
    return Grant(kind, value, "direct", "root", expires_at=until)


def _leaves(stage: Stage) -> None:
    stage.do(user("boss", grant=(owner(),)))
    access = (grant("role", "member"), grant("seat", "desk"))
    stage.do(user("ann", "corp", values={MANAGER: "boss"}, grant=access))
    stage.do(user("waits", grant=(grant("seat", "desk"),)))
    stage.restate("ann", "corp", ends_at=NOON + 5 * DAY)


def _comes(stage: Stage) -> None:
    stage.do(user("ann", "corp", grant=(grant("seat", "desk"),)))
    stage.restate("ann", "corp", starts_at=NOON + 5 * DAY)


def _locked(stage: Stage) -> None:
    stage.do(user("ann", facts={"locked_until": NOON + 5 * DAY}))


def _lent(stage: Stage) -> None:
    end = NOON + 5 * DAY
    stage.do(user("ann", grant=(grant("role", "viewer", end), grant("seat", "desk", end))))
    stage.do(user("waits", grant=(grant("seat", "desk"),)))


def _deleted(stage: Stage) -> None:
    stage.do(user("ann", grant=(grant("role", "viewer"),)))
    stage.do(UserEdit("ann", "local", facts={"deleted_at": stage.now}))


def _idle(stage: Stage) -> None:
    stage.do(user("ann", grant=(grant("seat", "crm"),)))
    stage.do(user("waits", grant=(grant("seat", "crm"),)))
    stage.later(days=3)  # an application that reports nobody makes nobody idle
    with stage.database.writing() as conn:
        signins.report(conn, stage.workspace, ROOT, "waits", SignIn(True, stage.now), stage.now, stage.ids)


def _invited(stage: Stage) -> None:
    stage.do(user("boss", grant=(owner(),)))
    with stage.database.writing() as conn:
        given, why = (grant("seat", "desk"),), "joins us"
        made, _ = invitations.invite(
            conn, stage.workspace, ROOT, "ann@example.org", {}, given, (), why, stage.now, stage.ids
        )
    made.check()
    stage.do(user("waits", grant=(grant("seat", "desk"),)))


def _token(stage: Stage) -> None:
    end = NOON + 8 * DAY
    stage.database.write_now(lambda conn: tokens.create(conn, ROOT, "crm", stage.now, stage.ids, expires_at=end))


def _recorded(stage: Stage) -> None:
    stage.do(user("ann"), user("eve"))


SECOND = timedelta(seconds=1)
TABLE = (
    Timed("an end date", _leaves, 5 * DAY, ("deactivate", "unseat", "seat"), again=True),
    Timed("a warning of it", _leaves, 3 * DAY, ("offboard_due",)),
    Timed("the hand-over after it", _leaves, 5 * DAY, ("offboard_handover",), told_again=True),
    Timed("a start date", _comes, 5 * DAY, ("reactivate",), again=True),
    Timed("the end of a lock", _locked, 5 * DAY, ("update",), again=True),
    Timed("a grant that expires", _lent, 5 * DAY, ("revoke", "unseat", "seat")),
    Timed("the end of a deletion", _deleted, 14 * DAY, ("purge",), final=True),
    Timed("an idle seat", _idle, 6 * DAY + SECOND, ("unseat", "seat"), final=True),
    Timed("an invitation nobody followed", _invited, 37 * DAY, ("delete", "unseat", "seat"), final=True),
    Timed("a warning of a token", _token, 5 * DAY, ("token_expires",), final=True),
    Timed(
        "the record's days",
        _recorded,
        4 * DAY + timedelta(hours=12) + SECOND,  # they are sealed by a tick half a day later
        ("activity_dropped",),
        final=True,
        settings=TimerSettings((), Retention(activity=4 * DAY)),
    ),
)


# -- a process of its own ------------------------------------------------------------------------------------------------


def timers(stage: Stage, timed: Timed) -> Timers:
    """Of a process that has just started."""
    return Timers(stage.database, {"default": stage.workspace}, lambda: stage.now, stage.ids, timed.settings)


def killed(url: str, timed: Timed, now: datetime, commit: int) -> bool:
    """Timers that work at this moment, killed just before their n-th commit. False if they have fewer to do."""
    process = FORKS.Process(target=_work, args=(url, timed.name, now, commit))
    process.start()
    process.join(60)
    assert process.exitcode in (0, -signal.SIGKILL), process.exitcode
    return process.exitcode != 0


def _work(url: str, name: str, now: datetime, commit: int) -> None:
    timed = next(each for each in TABLE if each.name == name)
    stage = Stage(url, HERE, now, first_id=500_000_000)
    numbers = itertools.count(1)

    @event.listens_for(stage.database.engine, "commit")
    def die(_: object) -> None:
        if next(numbers) == commit:
            os.kill(os.getpid(), signal.SIGKILL)

    work(stage, timed)
    stage.close()


def work(stage: Stage, timed: Timed) -> None:
    process = timers(stage, timed)
    for _ in range(TICKS):
        process.tick()


_LEFT_OUT = {"timers", "leases", "processes"}
_ID = re.compile(r"\bn[0-9]{9}\b")


def state(stage: Stage) -> dict[str, Counter[str]]:
    """Every row but what is a process's own, as text without the ids that are made on the way; hashes are of these."""

    def shown(row: Any) -> str:
        values = [value for value in row if not isinstance(value, bytes)]
        return _ID.sub("id", repr(values))

    with stage.database.reading() as conn:
        return {
            table.name: Counter(map(shown, conn.execute(select(table))))
            for table in t.metadata.sorted_tables
            if table.name not in _LEFT_OUT
        }
