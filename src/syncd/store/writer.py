"""SQLite's one writer of a process: requests that wait for the write lock at once are done in one transaction.

Each is decided and written in the order they came, and sees what those before it wrote. What one raises undoes what that one
did and nothing else: if it wrote anything, all of them are undone and done again, each in a savepoint of its own. That is rare,
and a savepoint keeps a copy of each page that is written after it. Nobody is answered before the COMMIT that makes it last; if
that fails, all of them hear of it. So the lock is taken, and the log written to, once for all who wait.

What is `quick` is done in the event loop itself if nobody has the lock: two threads of one interpreter only take its lock from
each other. A thread does what is long, whatever waits at the same time, and whatever has to wait for another process.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from syncd.store.postponed import POSTPONED, Postponed
from syncd.store.raw import PENDING

T = TypeVar("T")
MOST: Final = 64  # requests in one transaction
LONG_S: Final = 0.05  # a transaction takes in no more after this time, since other processes wait for the lock too
GIVE_WAY_S: Final = 0.003  # to them, when more wait here than one transaction takes
HERE_S: Final = 0.01  # the same for one in the event loop, since whoever reads waits for it
ROUNDS: Final = 3  # of the loop: whoever was answered has asked again by then, and is done together with the others
TO_CHECKPOINT: Final = 1000  # requests done in the event loop, after which the thread moves the log into the file


@dataclass(slots=True, eq=False)
class _Asked:
    """One piece of work, and what became of it. `by`: until when it may wait for the lock (monotonic); `lasts`: it is no
    rehearsal, which is undone whatever comes of it."""

    work: Callable[[Connection], Any]
    context: Context  # so that what is logged in the thread bears the request's id
    future: asyncio.Future[Any]
    by: float
    since: float
    quick: bool = False
    lasts: bool = True
    waited: bool = False  # and has had its turn
    result: Any = None
    error: BaseException | None = None


class _Again(Exception):
    """What one wrote is to be undone, and there is no savepoint; or what several postponed cannot be written."""


class _Broken(Exception):
    """SQLite itself rolled back the whole transaction (no room, a fault of the disk), or the connection is gone."""


class Writer:
    """`writing`: a transaction that waits so many seconds for the lock; `translated`: within it errors are raised as the
    caller is to see them; `on_wait`: told, before each has its turn, how long it waited (seconds); `writing_here`: a
    transaction that waits for nothing, None if another has the lock; `checkpoint`: moves the log into the file."""

    def __init__(
        self,
        writing: Callable[[float], AbstractContextManager[Connection]],
        translated: Callable[[], AbstractContextManager[None]],
        on_wait: Callable[[float], object],
        writing_here: Callable[[], AbstractContextManager[Connection | None]] = nullcontext,
        checkpoint: Callable[[], object] = lambda: None,
    ) -> None:
        self._writing, self._translated, self._on_wait = writing, translated, on_wait
        self._writing_here, self._checkpoint, self._done_here = writing_here, checkpoint, 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._asked: deque[_Asked] = deque()
        self._lock = threading.Lock()
        self._running = False
        self.waiting = 0  # for their turn or their COMMIT

    async def do(self, work: Callable[[Connection], T], wait_s: float, quick: bool = False, lasts: bool = True) -> T:
        """`work` in a transaction, committed when this returns. Raises what `work` raised; then nothing of it lasts.
        `work` may be called again after what it did was undone.
        `quick`: it takes a millisecond or two, so that the event loop may do it, and reads nothing of what others postponed
        (store/postponed.py). `lasts`: it is no rehearsal."""
        loop = asyncio.get_running_loop()
        asked = _Asked(
            *(work, copy_context(), loop.create_future(), time.monotonic() + wait_s, time.perf_counter()),
            quick=quick,
            lasts=lasts,
        )
        self.waiting += 1
        try:
            with self._lock:
                self._asked.append(asked)
                start, self._running = not self._running, True
            if start and quick:
                self._run_here_soon(loop)
            elif start:
                self._thread.submit(self._run)
            done: T = await asked.future
            return done
        finally:
            self.waiting -= 1

    def close(self) -> None:
        self._thread.shutdown()

    # -- in the event loop ---------------------------------------------------------------------------------------------

    def _run_here_soon(self, loop: asyncio.AbstractEventLoop, rounds: int = ROUNDS) -> None:
        """After so many rounds of the loop."""
        if rounds:
            loop.call_soon(self._run_here_soon, loop, rounds - 1)
        else:
            loop.call_soon(self._run_here)

    def _run_here(self) -> None:
        """All that wait by now, in one transaction; the loop comes back for more after what else is to be done."""
        batch = self._next()
        if not batch:
            return
        rest = self._do(batch, here=True) if all(each.quick for each in batch) else None
        if rest is None:
            self._put_back(batch)
            self._thread.submit(self._run)
            return
        _tell([each for each in batch if each not in rest] if rest else batch, asyncio.get_running_loop())
        self._put_back(rest)
        self._run_here_soon(asyncio.get_running_loop())
        self._done_here += len(batch) - len(rest)
        if self._done_here >= TO_CHECKPOINT:
            self._done_here = 0
            self._thread.submit(self._checkpoint)

    # -- in the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while batch := self._next():
            rest = self._do(batch) or []
            _tell([each for each in batch if each not in rest])
            if rest or len(batch) == MOST:
                self._put_back(rest)
                time.sleep(GIVE_WAY_S)

    def _next(self) -> list[_Asked]:
        with self._lock:
            batch = [self._asked.popleft() for _ in range(min(MOST, len(self._asked)))]
            self._running = bool(batch)
            return batch

    def _put_back(self, asked: Sequence[_Asked]) -> None:
        if asked:
            with self._lock:
                self._asked.extendleft(reversed(asked))

    def _do(self, batch: Sequence[_Asked], here: bool = False) -> list[_Asked] | None:
        """Returns those that had no turn any more; None: nobody had one, since another has the lock (only `here`)."""
        if len(batch) == 1 or all(each.lasts for each in batch):
            try:
                return self._together(batch, here, apart=False)
            except _Again:
                if len(batch) == 1 and batch[0].error is not None:
                    return []
                for each in batch:
                    each.result = each.error = None
        return self._together(batch, here, apart=True)

    def _together(self, batch: Sequence[_Asked], here: bool, apart: bool) -> list[_Asked] | None:
        """`apart`: each in a savepoint. Raises _Again if it takes one."""
        done: list[_Asked] = []
        long_s = HERE_S if here else LONG_S
        try:
            with self._writing_here() if here else self._writing(batch[0].by - time.monotonic()) as conn:
                if conn is None:
                    return None
                started, postponed, info = time.monotonic(), Postponed(), conn.info
                try:
                    for each in batch:
                        if done and time.monotonic() - started > long_s:
                            break
                        done.append(each)
                        if not each.future.cancelled():
                            self._turn(conn, each, apart, postponed)
                    self._write_postponed(conn, postponed)
                finally:
                    info.pop(POSTPONED, None)
                    info.pop(PENDING, None)
        except _Again:
            raise
        except _Broken:
            # The last has its error; what the others did is undone with it, and they did nothing wrong.
            for each in done[:-1]:
                if each.error is None:
                    self._do([each])
        except BaseException as exc:
            done = done or [batch[0]]
            for each in done:
                each.error = each.error or exc
        return [each for each in batch if each not in done] if len(done) < len(batch) else []

    def _write_postponed(self, conn: Connection, postponed: Postponed) -> None:
        try:
            postponed.write(conn)
        except IntegrityError as exc:  # then each writes its own, and hears of it
            raise _Again from exc

    def _turn(self, conn: Connection, each: _Asked, apart: bool, postponed: Postponed) -> None:
        if not each.waited:
            each.waited = True
            self._on_wait(time.perf_counter() - each.since)
        driver: Any = conn.connection.dbapi_connection
        if each.quick and each.lasts and not apart:
            conn.info[POSTPONED] = postponed
        elif conn.info.pop(POSTPONED, None) is not None:
            self._write_postponed(conn, postponed)
        if apart:
            driver.execute("SAVEPOINT turn")
        before = driver.total_changes + postponed.ever
        try:
            each.result = each.context.run(each.work, conn)
        except BaseException as exc:
            each.error = self._as_seen(exc)
            if conn.invalidated or not driver.in_transaction:
                raise _Broken from exc
            if driver.total_changes + postponed.ever != before:
                if not apart:
                    raise _Again from exc
                driver.execute("ROLLBACK TO turn")
        if apart:
            driver.execute("RELEASE turn")

    def _as_seen(self, exc: BaseException) -> BaseException:
        try:
            with self._translated():
                raise exc
        except BaseException as seen:
            return seen


def _tell(done: Sequence[_Asked], here: asyncio.AbstractEventLoop | None = None) -> None:
    """`here`: the loop that this is called in."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Asked]] = defaultdict(list)
    for each in done:
        by_loop[each.future.get_loop()].append(each)
    for loop, own in by_loop.items():
        if loop is here:
            _settle(own)
            continue
        with contextlib.suppress(RuntimeError):  # it was closed meanwhile: nobody waits
            loop.call_soon_threadsafe(_settle, own)


def _settle(done: Sequence[_Asked]) -> None:
    for each in done:
        if each.future.cancelled():
            continue
        if each.error is not None:
            each.future.set_exception(each.error)
        else:
            each.future.set_result(each.result)
