"""A store with one webhook, a receiver behind it, and a courier on the test's clock."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from door_stage import Stage
from receiver import Receiver, receiving, wait_for
from syncd.core.change import UserEdit
from syncd.core.secret import Secret
from syncd.deliver.courier import Courier, Pauses
from syncd.deliver.webhooks import Webhook
from syncd.store import deliveries
from syncd.store.deliveries import Delivery

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()


@dataclass
class Post:
    """The stage, the receiver, and as many couriers as the test starts."""

    stage: Stage
    receiver: Receiver
    pauses: Pauses = field(default_factory=lambda: Pauses(timedelta(seconds=10), timedelta(minutes=10)))
    _couriers: list[Courier] = field(default_factory=list)

    def start(self, url: str = "", secrets: tuple[str, ...] = (SECRET,), timeout_s: float = 10, **more: Any) -> Courier:
        webhook = Webhook("default", "app", url or self.receiver.url, [Secret(each) for each in secrets], timeout_s)
        courier = Courier(
            self.stage.database,
            {webhook.key: webhook},
            lambda: self.stage.now,
            self.pauses,
            poll_s=0.02,
            **more,
        )
        self._couriers.append(courier)
        courier.start()
        return courier

    def stop(self) -> None:
        for each in self._couriers:
            each.stop()
        self._couriers.clear()

    def suspend(self, *ids: str) -> None:
        for id in ids:
            self.stage.do(UserEdit(id, "local", facts={"suspended": "left her badge"}))

    def lift(self, *ids: str) -> None:
        for id in ids:
            self.stage.do(UserEdit(id, "local", facts={"suspended": None}))

    def ledger(self, state: str | None = None) -> list[Delivery]:
        with self.stage.database.reading() as conn:
            return deliveries.listed(conn, "default", state)

    def acknowledged(self, n: int) -> None:
        wait_for(lambda: len(self.ledger("acknowledged")) == n, self.ledger)

    def failed(self, attempts: int = 1) -> None:
        """Every outstanding delivery was tried so often, and that is written down."""
        wait_for(
            lambda: all(each.attempts == attempts and each.last_error for each in self.ledger("outstanding")),
            self.ledger,
        )


def _post(url: str) -> Iterator[Post]:
    stage = Stage(url)
    stage.configure(webhooks=("app",))
    with receiving() as receiver:
        made = Post(stage, receiver)
        yield made
        made.stop()
    stage.close()


@pytest.fixture
def post(database_url: str) -> Iterator[Post]:
    yield from _post(database_url)


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[Post]:
    """On SQLite: what no engine can change."""
    yield from _post(f"sqlite:///{tmp_path / 'syncd.db'}")
