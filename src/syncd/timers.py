"""What time alone brings about: due dates, warnings before tokens expire, the end of deletions, and what is kept how long.

`tick` is called every few seconds by whoever holds the lease; what it must remember is in the database, so that another
worker goes on from there. Each piece of work is small, bounded and in a transaction of its own; workspaces take turns. A
rung of the ladder is none of this: it needs a complete read that misses the entry, so that it is climbed by runs only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import TypeVar

import structlog

from syncd.core.actor import ADMIN_SOURCE
from syncd.core.guards import Held
from syncd.core.workspace import Workspace
from syncd.errors import SyncdError
from syncd.store import (
    idle,
    invitations,
    offboarding,
    purge,
    remake,
    retention,
    seals,
    timer_marks,
    tokens,
    transitions,
)
from syncd.store.describe import Conn as Connection
from syncd.store.engine import Database
from syncd.store.retention import Retention
from syncd.store.transitions import Due

RETRY = timedelta(hours=1)  # of what a guard holds, or an error stops
ROUND = timedelta(hours=1)  # between looks for what is to be warned of, purged or dropped
# A clock that leaps by more than a day was set, or the machine slept, or its battery is empty. What cannot be undone then
# waits for an hour: long enough for NTP or a person to set it right again, and nothing to a window of days.
LEAP = timedelta(days=1)
BACK = timedelta(minutes=5)  # what a clock may be set back by NTP without any fuss
WAIT = timedelta(hours=1)
MARK = timedelta(minutes=1)  # how often the time of the last tick is written
BATCH = 25  # users in a transaction: 25 to 50 ms on SQLite, and no request waits longer for the write lock
PER_TICK = 200  # users of one workspace in a tick
DOOMED = 1000  # users looked up at once to be purged
ROWS = 500  # activity rows stripped in a transaction
LOOK = timedelta(minutes=1)  # between looks for who leaves; the end itself comes at its instant
_MOST = 1_000_000  # users settled by one command
STEPS = 10  # transactions of one round in a tick
BUDGET_S = 3.0  # then the rest of the workspaces have their turn at the next tick
SEAL = timedelta(minutes=5)  # between two looks for activity to seal
T = TypeVar("T")
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class TimerSettings:
    """`warn_before`: how long before a token expires, largest first or not, each once."""

    warn_before: tuple[timedelta, ...] = (timedelta(days=14), timedelta(days=7), timedelta(days=1))
    retention: Retention = field(default_factory=Retention)


@dataclass(slots=True)
class Timers:
    database: Database
    workspaces: Mapping[str, Workspace]
    clock: Callable[[], datetime]
    ids: Callable[[], str]
    settings: TimerSettings = field(default_factory=TimerSettings)
    _last: datetime | None = None  # the tick before
    _marked: datetime | None = None
    _quiet_until: datetime | None = None  # nothing that cannot be undone before
    _round_at: datetime | None = None  # the next look for it
    _round: Iterator[None] | None = None  # the look under way, a step at a time
    _passing: dict[tuple[str, str], datetime] = field(default_factory=dict)  # (workspace, user) -> not before
    _ahead: dict[str, list[Due]] = field(default_factory=dict)  # to derive anew: the clock was ahead
    _turn: int = 0
    _looked: datetime | None = None  # when it was last looked who leaves
    _seal_at: datetime | None = None  # the next look for activity to seal
    _late_at: datetime | None = None  # and for what turned up late among what is sealed
    _remake_at: datetime | None = None  # the next look for documents of other schemas
    _remaking: Iterator[None] | None = None  # the walk over them, a step at a time

    def tick(self) -> None:
        """One round of what is due. Raises nothing that a later tick could mend; it is logged."""
        now = self.clock()
        try:
            self._watch(now)
            self._transitions(now)
            self._offboard(now)
            self._seal(now)
            self._remake(now)
            if self._quiet_until is not None and now >= self._quiet_until:
                self._irreversible(now)
        except SyncdError as exc:
            log.warning("tick_missed", why=str(exc))
        except Exception:  # a defect of ours: the schedule goes on, and the log has what is needed to mend it
            log.exception("tick_failed")

    def settle(self, name: str) -> int:
        """What dates have brought about in one workspace, all of it: for a command, where no worker may be. Returns of how
        many users."""
        now, settled = self.clock(), 0
        while settled < _MOST and (n := self._settle_all(self.workspaces[name], now)):
            settled += n
        return settled

    # -- the clock -----------------------------------------------------------------------------------------------------

    def _watch(self, now: datetime) -> None:
        """Notice a leap of the clock since the last tick, also since the last tick of another worker."""
        last = self._last
        if last is None or now - last > BACK:  # another worker had the lease meanwhile, or nobody
            with self.database.reading() as conn:
                last = max(filter(None, (last, timer_marks.read(conn, "tick"))), default=None)
        if last is None:
            self._quiet_until = now + WAIT  # nothing is known of this clock
        elif now - last > LEAP or last - now > BACK:
            self._quiet_until, self._round_at, self._round = now + WAIT, None, None
            self._passing.clear()
            log.warning(
                "clock_leapt", before=last.isoformat(), now=now.isoformat(), waits_until=(now + WAIT).isoformat()
            )
            if now < last:
                self._set_back(now, last)
        elif self._quiet_until is None:
            self._quiet_until = now
        self._last = now
        if self._marked is None or not timedelta(0) <= now - self._marked < MARK:
            self.database.write_now(lambda conn: timer_marks.write(conn, "tick", now))
            self._marked = now

    def _set_back(self, now: datetime, until: datetime) -> None:
        with self.database.reading() as conn:
            for name in self.workspaces:
                self._ahead[name] = transitions.rewound(conn, name, now, until)

    # -- dates that have come ------------------------------------------------------------------------------------------

    def _transitions(self, now: datetime) -> None:
        started = time.monotonic()
        names = list(self.workspaces)
        for _ in names:
            workspace = self.workspaces[names[self._turn % len(names)]]
            self._turn += 1
            try:
                self._settle_all(workspace, now)
            except SyncdError as exc:
                log.warning("tick_missed", workspace=workspace.name, why=str(exc))
            if time.monotonic() - started > BUDGET_S:
                return

    def _settle_all(self, workspace: Workspace, now: datetime) -> int:
        """Some of those who are due. Returns for how many it was tried, and is not tried again."""
        self._passing = {key: at for key, at in self._passing.items() if now < at <= now + RETRY}
        passing = {id for name, id in self._passing if name == workspace.name}
        ahead = self._ahead.get(workspace.name, [])
        self._ahead[workspace.name] = ahead[PER_TICK:]
        with self.database.reading() as conn:
            due = transitions.due(conn, workspace, now, passing, PER_TICK)
        for source, of_source in groupby(
            sorted([*ahead[:PER_TICK], *due], key=attrgetter("source")), attrgetter("source")
        ):
            dues = list(of_source)
            foreseen = self._foresee(workspace, source, dues, now)
            for batch in _batches(dues):
                self._settle(workspace, source, batch, foreseen, now)
        return len(due)

    def _foresee(self, workspace: Workspace, source: str, dues: Sequence[Due], now: datetime) -> Sequence[Held]:
        if len(dues) <= BATCH:
            return ()  # judged as a whole when it is settled
        try:
            with self.database.reading() as conn:
                return transitions.foresee(conn, workspace, source, dues, now)
        except SyncdError:
            raise
        except Exception:  # one of them cannot be decided: who it is comes out when their batch is settled
            return ()

    def _settle(
        self, workspace: Workspace, source: str, batch: Sequence[Due], foreseen: Sequence[Held], now: datetime
    ) -> None:
        def work(conn: Connection, part: Sequence[Due]) -> None:
            settled = transitions.settle(conn, workspace, source, part, now, self.ids, foreseen)
            held.update(settled.held)
            refused.update(settled.refused)

        held: dict[str, str] = {}
        refused: dict[str, str] = {}
        broken = self._by_halves(batch, work)
        for id in (*held, *refused, *(each.id for each, _ in broken)):
            self._passing[workspace.name, id] = now + RETRY
        if held:
            why = next(iter(held.values()))
            log.warning("transitions_held", workspace=workspace.name, source=source, n=len(held), why=why)
        for id, why in refused.items():
            log.warning("transition_refused", workspace=workspace.name, user_id=id, why=why)
        for each, fault in broken:
            log.error("transition_failed", workspace=workspace.name, user_id=each.id, why=fault)

    def _by_halves(self, batch: Sequence[T], work: Callable[[Connection, Sequence[T]], None]) -> list[tuple[T, str]]:
        """`work` on the batch in one transaction. What makes it fail is looked for by halves, so that it stops nobody
        else. Returns what fails alone, and with which error."""
        try:
            self.database.write_now(lambda conn: work(conn, batch))
        except SyncdError:
            raise  # the database's trouble is everybody's
        except Exception as exc:  # a damaged row, or a defect of ours that one user meets
            if len(batch) == 1:
                return [(batch[0], type(exc).__name__)]
            half = len(batch) // 2
            return [*self._by_halves(batch[:half], work), *self._by_halves(batch[half:], work)]
        return []

    # -- who leaves, and who is told --------------------------------------------------------------------------------

    def _offboard(self, now: datetime) -> None:
        if self._looked is not None and timedelta(0) <= now - self._looked < LOOK:
            return
        self._looked = now
        for workspace in self.workspaces.values():
            with self.database.reading() as conn:
                found = offboarding.due(conn, workspace, now)
            if len(found) > PER_TICK:
                self._looked = None  # the rest at the next tick
            leaving = [id for id, kind in found[:PER_TICK] if kind == offboarding.HANDOVER]
            reports: Mapping[str, Sequence[str]] = {}
            if leaving:
                with self.database.reading() as conn:
                    reports = offboarding.reports_of(conn, workspace.name, leaving)
            for id, _ in found[:PER_TICK]:
                self._tell(workspace, id, reports.get(id, ()), now)

    def _tell(self, workspace: Workspace, id: str, reports: Sequence[str], now: datetime) -> None:
        try:
            told = self.database.write_now(lambda conn: offboarding.tell(conn, workspace, id, now, self.ids, reports))
        except SyncdError:
            raise  # the database's trouble is everybody's
        except Exception as exc:
            log.error("offboarding_failed", workspace=workspace.name, user_id=id, why=type(exc).__name__)
            return
        if told is not None:
            log.info("offboarding_told", workspace=workspace.name, user_id=id, what=told.kind, ends_at=told.ends_at)

    # -- documents of schemas that are others now ------------------------------------------------------------------------

    def _remake(self, now: datetime) -> None:
        started = time.monotonic()
        if self._remaking is None:
            if self._remake_at is not None and now < self._remake_at <= now + RETRY:
                return
            with self.database.reading() as conn:
                known = remake.stored(conn)
            self._remake_at = now + LOOK
            self._remaking = self._made_anew([each for each in self.workspaces.values() if remake.is_due(each, known)])
        walk, self._remaking = self._remaking, None
        for _ in walk:  # begun anew after an error
            if time.monotonic() - started > BUDGET_S:
                self._remaking = walk
                return

    def _made_anew(self, workspaces: Iterable[Workspace]) -> Iterator[None]:
        for workspace in workspaces:
            written = failed = 0
            for kind in remake.KINDS:
                after = ""
                while ids := self._page(workspace, kind, after):
                    after = ids[-1]
                    for batch in _batches(self._outdated(workspace, kind, ids)):
                        broken = self._by_halves(batch, partial(self._write_anew, workspace, kind))
                        for id, fault in broken:
                            log.error("remake_failed", workspace=workspace.name, kind=kind, id=id, why=fault)
                        written, failed = written + len(batch) - len(broken), failed + len(broken)
                        yield
                    yield
            if failed:
                self._remake_at = self.clock() + RETRY
            else:
                now = self.clock()
                finish = partial(remake.finish, workspace=workspace, written=written, now=now, new_id=self.ids)
                self.database.write_now(finish)
            log.info("documents_remade", workspace=workspace.name, written=written, failed=failed)

    def _outdated(self, workspace: Workspace, kind: str, ids: Sequence[str]) -> Sequence[str]:
        try:
            with self.database.reading() as conn:
                return remake.outdated(conn, workspace, kind, ids)
        except SyncdError:
            raise
        except Exception:  # somebody whom nothing can be made of: who it is turns out when they are written
            return ids

    def _page(self, workspace: Workspace, kind: str, after: str) -> list[str]:
        with self.database.reading() as conn:
            return remake.page(conn, workspace.name, kind, after, PER_TICK)

    def _write_anew(self, workspace: Workspace, kind: str, conn: Connection, ids: Sequence[str]) -> None:
        for path, id in remake.remake(conn, workspace, kind, ids, self.clock(), self.ids):
            log.warning("value_not_unique", workspace=workspace.name, path=path, **{f"{kind}_id": id})

    # -- the record ------------------------------------------------------------------------------------------------------

    def _seal(self, now: datetime) -> None:
        """Up to `STEPS` blocks; what is left goes on at the next tick."""
        if self._seal_at is not None and now < self._seal_at <= now + SEAL:
            return
        late = self._late_at is None or not now < self._late_at <= now + ROUND
        steps = STEPS
        with self.database.reading() as conn:
            names = seals.workspaces(conn)
        for name in names:
            while steps and self._sealed(name, now, late):
                steps -= 1
        if steps:
            self._seal_at = now + SEAL
            self._late_at = now + ROUND if late else self._late_at

    def _sealed(self, workspace: str, now: datetime, late: bool) -> bool:
        """Seal one block; False if there is none."""
        with self.database.reading() as conn:
            block = seals.due(conn, workspace, now) or (seals.late(conn, workspace) if late else None)
        if block is None or not self.database.write_now(lambda conn: seals.write(conn, block, now)):
            return False
        # In the log too, so that a chain that somebody made anew can be told from this one.
        log.info("activity_sealed", workspace=workspace, seal=block.number, rows=block.rows, hash=block.hash.hex())
        return True

    # -- what cannot be undone -----------------------------------------------------------------------------------------

    def _irreversible(self, now: datetime) -> None:
        """A round is begun each hour and goes on over as many ticks as it needs."""
        if self._round is None:
            if self._round_at is not None and now < self._round_at <= now + ROUND:
                return
            self._round, self._round_at = self._steps(), now + ROUND
        for _ in range(STEPS):
            try:
                next(self._round)
            except StopIteration:
                self._round = None
                return
            except Exception:
                self._round = None  # begun anew at the next hour; nothing is half done
                raise

    def _steps(self) -> Iterator[None]:
        yield from self._warn()
        for workspace in self.workspaces.values():
            yield from self._reclaim(workspace)
            yield from self._withdraw(workspace)
            yield from self._purge(workspace)
        yield from self._retain()

    def _reclaim(self, workspace: Workspace) -> Iterator[None]:
        """Idle seats, judged as a whole before the first is taken back."""
        now = self.clock()
        with self.database.reading() as conn:
            dues = idle.due(conn, workspace, now, DOOMED)
        if not dues:
            return
        foreseen = self._foresee(workspace, ADMIN_SOURCE, dues, now)
        done, held = 0, 0
        for batch in _batches(dues):

            def settle(conn: Connection, part: Sequence[Due]) -> None:
                nonlocal done, held
                settled = transitions.settle(conn, workspace, ADMIN_SOURCE, part, now, self.ids, foreseen)
                held += len(settled.held)
                done += len(part) - len(settled.held) - len(settled.refused)

            for each, fault in self._by_halves(batch, settle):
                log.error("reclaim_failed", workspace=workspace.name, user_id=each.id, why=fault)
            yield
        log.info("idle_seats_reclaimed", workspace=workspace.name, users=done, held=held)

    def _withdraw(self, workspace: Workspace) -> Iterator[None]:
        """Invitations that nobody followed for long: name and seats are free again. What is over a limit waits."""
        now = self.clock()
        with self.database.reading() as conn:
            found = invitations.forgotten(conn, workspace, now, DOOMED)
        done = 0
        for each in found:
            outcome = self.database.write_now(
                lambda conn, each=each: invitations.withdraw(conn, workspace, each, now, self.ids)  # type: ignore[misc]
            )
            if outcome is not None and outcome.error is not None:
                log.warning("withdrawal_refused", workspace=workspace.name, why=str(outcome.error))
                break
            done += outcome is not None
            yield
        if done:
            log.info("invitations_withdrawn", workspace=workspace.name, n=done)

    def _warn(self) -> Iterator[None]:
        now = self.clock()
        with self.database.reading() as conn:
            expiring = tokens.expiring(conn, now, self.settings.warn_before)
        for token in expiring:
            warn = partial(tokens.warn, token=token, now=now, ids=self.ids)
            if self.database.write_now(warn) and token.expires_at is not None:
                log.warning(
                    "token_expires",
                    workspace=token.workspace,
                    token=token.name,
                    token_id=token.id,
                    source=token.source,
                    expires_at=token.expires_at.isoformat(),
                    days=(token.expires_at - now).days,
                )
            yield

    def _purge(self, workspace: Workspace) -> Iterator[None]:
        now = self.clock()
        with self.database.reading() as conn:
            doomed = [each.id for each in purge.due(conn, workspace, now, DOOMED)]
        stripped = gone = 0

        def strip(conn: Connection, batch: Sequence[str]) -> None:
            nonlocal stripped
            stripped = purge.strip(conn, workspace, batch, now, ROWS)

        def end(conn: Connection, batch: Sequence[str]) -> None:
            nonlocal gone
            gone += purge.purge(conn, workspace, batch, now, self.ids)

        for batch in _batches(doomed):
            left, stripped = list(batch), ROWS
            while stripped == ROWS:
                left = self._spared(workspace, left, strip)
                yield
            self._spared(workspace, left, end)
            yield
        if gone:
            log.info("purge_done", workspace=workspace.name, users=gone, whole=len(doomed) < DOOMED)

    def _spared(
        self, workspace: Workspace, ids: Sequence[str], work: Callable[[Connection, Sequence[str]], None]
    ) -> list[str]:
        """Those of `ids` for whom `work` did not fail."""
        broken = dict(self._by_halves(ids, work)) if ids else {}
        for id, fault in broken.items():
            log.error("purge_failed", workspace=workspace.name, user_id=id, why=fault)
        return [id for id in ids if id not in broken]

    def _retain(self) -> Iterator[None]:
        policy, now = self.settings.retention, self.clock()
        with self.database.reading() as conn:
            due = retention.figures(conn, policy, now)
        dropped = dict.fromkeys(due, 0)
        for kind in due:
            while True:
                with self.database.reading() as conn:
                    keys = retention.old(conn, kind, policy, now)
                if not keys:
                    break
                n = self.database.write_now(
                    partial(retention.drop, kind=kind, keys=keys, policy=policy, now=now, ids=self.ids)
                )
                dropped[kind] += n
                yield
                if n < len(keys):
                    break  # somebody else is at it
        if due:
            retention.tidy(self.database)
            log.info("retention_done", due=due, dropped=dropped)


def _batches(items: Sequence[T], size: int = BATCH) -> Iterable[Sequence[T]]:
    return (items[at : at + size] for at in range(0, len(items), size))
