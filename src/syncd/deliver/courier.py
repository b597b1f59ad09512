"""The courier: takes from the ledger what is due, sends it, and writes down what came of it, until everything is acknowledged.

Rules: what is taken belongs to nobody else for a while; of one user one message is on its way at a time; one webhook's
silence delays no other's. A webhook that cannot be reached is tried with one message at a time, and when it answers again all
that waited for that is due at once. It never gives up: that is for people (`syncd deliveries discard`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import httpx
import structlog

from syncd.deliver import message, webhooks
from syncd.deliver.loop import GRACE_S, Loop
from syncd.deliver.webhooks import Answer, Webhook
from syncd.errors import SyncdError
from syncd.store import deliveries
from syncd.store.deliveries import Result, Taken
from syncd.store.describe import Conn as Connection
from syncd.store.engine import Database

POLL_S = 1.0
AT_ONCE = 8  # messages to one webhook on their way at the same time
MARGIN = timedelta(seconds=20)  # what was taken and not written down so long after its timeout is lost, and sent again
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Pauses:
    """Between attempts: doubled from `first` up to `last`."""

    first: timedelta = timedelta(seconds=5)
    last: timedelta = timedelta(hours=1)

    def after(self, attempts: int, chance: float, asked_s: float | None = None) -> timedelta:
        """Before the next attempt. `attempts`: so far, at least 1; `chance` from 0 to 1 spreads them by a fifth; `asked_s`:
        what the receiver asked for, which counts up to `last`."""
        doubled: timedelta = self.first * 2 ** min(attempts - 1, 30)
        pause = min(self.last, doubled) * (0.8 + 0.4 * chance)
        return max(pause, min(self.last, timedelta(seconds=asked_s or 0)))

    @property
    def longest(self) -> timedelta:
        return max(self.first, self.last) * 1.2


@dataclass(slots=True)
class Courier:
    """`webhooks` by (workspace, name). What belongs to another is left alone: it may be another worker's."""

    database: Database
    webhooks: Mapping[tuple[str, str], Webhook]
    clock: Callable[[], datetime]
    pauses: Pauses = field(default_factory=Pauses)
    poll_s: float = POLL_S
    _loop: Loop = field(init=False)
    _busy: dict[tuple[str, str], asyncio.Task[None]] = field(default_factory=dict)
    _unreached: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._loop = Loop("courier", self._turn, self.poll_s, "deliveries_not_read", self._last)

    def start(self) -> None:
        self._loop.start()

    def stop(self) -> None:
        self._loop.stop()

    # -- what is due ---------------------------------------------------------------------------------------------------

    async def _turn(self) -> None:
        waiting = await asyncio.to_thread(self._waiting)
        for key in waiting & self.webhooks.keys() - self._busy.keys():
            task = asyncio.create_task(self._serve(self.webhooks[key]))
            self._busy[key] = task
            task.add_done_callback(lambda _, key=key: self._busy.pop(key))  # type: ignore[misc]

    async def _last(self) -> None:
        if self._busy:
            await asyncio.wait([*self._busy.values()], timeout=GRACE_S)

    def _waiting(self) -> set[tuple[str, str]]:
        with self.database.reading() as conn:
            return deliveries.waiting(conn, self.clock(), self._horizon)

    async def _serve(self, webhook: Webhook) -> None:
        """Everything that is due for one webhook."""
        try:
            async with webhooks.client(webhook, AT_ONCE) as client:
                while not self._loop.ends:
                    limit = 1 if webhook.key in self._unreached else AT_ONCE
                    taken = await asyncio.to_thread(self.database.write_now, self._take(webhook, limit))
                    if not taken:
                        return
                    await self._round(client, webhook, taken)
        except SyncdError as exc:
            log.warning("deliveries_not_taken", workspace=webhook.workspace, webhook=webhook.name, why=str(exc))
        except Exception:
            log.exception("courier_failed", workspace=webhook.workspace, webhook=webhook.name)

    def _take(self, webhook: Webhook, limit: int) -> Callable[..., list[Taken]]:
        now, name, horizon = self.clock(), webhook.name, self._horizon
        until = now + _taken_for(webhook)
        return lambda conn: deliveries.take(conn, webhook.workspace, name, now, until, limit, horizon)

    @property
    def _horizon(self) -> timedelta:
        """No `next_at` lies further ahead, unless a clock was ahead that wrote it."""
        return self.pauses.longest + max(map(_taken_for, self.webhooks.values()), default=MARGIN)

    # -- sending -------------------------------------------------------------------------------------------------------

    async def _round(self, client: httpx.AsyncClient, webhook: Webhook, taken: Sequence[Taken]) -> None:
        async def one(each: Taken) -> Answer:
            return await webhooks.send(client, webhook, each.id, message.body(each), self.clock())

        answers = await asyncio.gather(*map(one, taken))
        now = self.clock()
        results = [self._result(webhook, each, answer, now) for each, answer in zip(taken, answers, strict=True)]
        back = webhook.key in self._unreached and any(not answer.unreached for answer in answers)

        def write(conn: Connection) -> int:
            deliveries.note(conn, results, now)
            return deliveries.hasten(conn, webhook.workspace, webhook.name, now) if back else 0

        hastened = await asyncio.to_thread(self.database.write_now, write)
        if all(answer.unreached for answer in answers):
            self._unreached.add(webhook.key)
        elif back:
            self._unreached.discard(webhook.key)
            log.info("webhook_reached", workspace=webhook.workspace, webhook=webhook.name, due=hastened)

    def _result(self, webhook: Webhook, taken: Taken, answer: Answer, now: datetime) -> Result:
        said = {"workspace": webhook.workspace, "webhook": webhook.name, "delivery": taken.id}
        if answer.error is None:
            took_s = round((now - taken.created_at).total_seconds(), 3)
            log.info("delivery_acknowledged", **said, attempts=taken.attempts, after_s=took_s)
            return Result(taken.workspace, taken.id, answer.status)
        pause = self.pauses.after(taken.attempts, random.random(), answer.retry_after_s)  # noqa: S311 - no secret
        # What the receiver answered is for people who ask (`syncd deliveries show`), not for the log.
        log.warning(
            "delivery_failed",
            **said,
            attempts=taken.attempts,
            status=answer.status,
            again_in_s=round(pause.total_seconds()),
        )
        return Result(taken.workspace, taken.id, answer.status, answer.error, now + pause)


def _taken_for(webhook: Webhook) -> timedelta:
    return timedelta(seconds=webhook.timeout_s) + MARGIN
