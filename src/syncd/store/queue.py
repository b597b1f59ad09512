"""The work queue of many workers on PostgreSQL: PGQueuer, in its own tables beside ours, all named `syncd_...`.

It wakes and spreads the work. What is true about a run stands in the runs and leases tables, so whatever is lost here,
or done twice, is only late or refused. Its connection is opened again whenever it breaks; who cannot put a job here does it
without the queue.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from concurrent.futures import TimeoutError as Late
from contextlib import suppress
from datetime import timedelta

import asyncpg
import structlog
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment, QueryQueueBuilder, QuerySchedulerBuilder
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.core.qm import QueueManager
from pgqueuer.domain.models import Job
from pgqueuer.domain.settings import DBSettings

from syncd.errors import DatabaseUnavailable

PREFIX = "syncd_"
_ENTRY = "run"
_VANISHED_AFTER = timedelta(seconds=30)  # without a heartbeat, another worker takes a job over
_PUT_S = 10
_KEPT = timedelta(days=7)
log = structlog.get_logger()


def _queries(connection: asyncpg.Connection) -> Queries:
    settings = DBSettings(prefix=PREFIX)
    return Queries(
        AsyncpgDriver(connection),
        QueryBuilderEnvironment(settings),
        QueryQueueBuilder(settings),
        QuerySchedulerBuilder(settings),
    )


def install(url: str) -> None:
    """Create or upgrade the queue's tables. Safe to run from several processes at once."""

    async def work() -> None:
        connection = await asyncpg.connect(url)
        try:
            await _queries(connection).upgrade()
        finally:
            await connection.close()

    asyncio.run(work())


class Queue:
    """`handle` gets what was put, in a thread of `pool`, on one of the workers that are alive.

    A job whose worker vanished is handed to another one. `runs`: how many jobs this worker takes at a time.
    """

    def __init__(self, url: str, handle: Callable[[bytes], None], pool: Executor, runs: int) -> None:
        self._url, self._handle, self._pool, self._runs = url, handle, pool, runs
        self._loop = asyncio.new_event_loop()
        self._ending = asyncio.Event()
        self._connection: asyncpg.Connection | None = None
        self._thread = threading.Thread(target=self._run, name="queue", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, key: str, payload: bytes) -> None:
        """One job for `key` at a time; others of the same key are dropped.

        Raises DatabaseUnavailable if it cannot be put within some seconds.
        """
        late = asyncio.run_coroutine_threadsafe(self._put(key, payload), self._loop)
        try:
            late.result(_PUT_S)
        except (Late, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
            late.cancel()
            raise DatabaseUnavailable(f"the queue does not answer: {exc or 'no connection'}") from exc

    def stop(self) -> None:
        """Take no more jobs; returns when those under way have ended."""
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join()

    async def _put(self, key: str, payload: bytes) -> None:
        if self._connection is None:
            raise OSError("no connection")
        await _queries(self._connection).enqueue([_ENTRY], [payload], [0], dedupe_key=[key], on_conflict="skip")

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._work())

    async def _work(self) -> None:
        pause_s = 1.0
        while not self._ending.is_set():
            try:
                await self._serve()
                pause_s = 1.0
                if not self._ending.is_set():
                    raise OSError("the connection was closed")
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, RuntimeError) as exc:
                log.warning("queue_lost", why=str(exc) or type(exc).__name__, again_in_s=pause_s)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._ending.wait(), pause_s)
                pause_s = min(pause_s * 2, 30)

    async def _serve(self) -> None:
        """One connection's life: until it breaks, or the queue ends."""
        listening, putting = await asyncpg.connect(self._url), await asyncpg.connect(self._url)
        self._connection = putting
        taker = QueueManager(_queries(listening), DBSettings(prefix=PREFIX).channel)
        for each in (listening, putting):
            each.add_termination_listener(lambda _: taker.shutdown.set())
        ending = asyncio.create_task(self._ending.wait())
        ending.add_done_callback(lambda _: taker.shutdown.set())

        @taker.entrypoint(_ENTRY, accepts_context=False)
        async def run(job: Job) -> None:
            await self._loop.run_in_executor(self._pool, self._handle, job.payload or b"")

        try:
            await _forget(putting)
            await taker.run(
                dequeue_timeout=timedelta(seconds=5),
                batch_size=1,
                max_concurrent_tasks=max(2, self._runs),
                shutdown_on_listener_failure=True,
                heartbeat_timeout=_VANISHED_AFTER,
            )
        finally:
            self._connection = None
            ending.cancel()
            for each in (listening, putting):
                with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    await each.close(timeout=2)


async def _forget(connection: asyncpg.Connection) -> None:
    """What was done long ago; whoever connects sweeps."""
    names = DBSettings(prefix=PREFIX).qualified
    for table in (names.queue_table_log, names.statistics_table):
        await connection.execute(f"DELETE FROM {table} WHERE created < now() - $1::interval", _KEPT)  # noqa: S608 - its own names
