"""The order in which everybody locks rows on PostgreSQL: groups, users, seat pools, each by id (docs/architecture.md).

Somebody has the first row that a writer needs. While the writer waits for it, the rows that come later in that order are free,
so nobody who holds the first one ever waits for the writer in turn.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from sqlalchemy import Connection, Table, select, text

from door_stage import Stage, group, rule, user
from syncd.core.actor import Actor
from syncd.core.change import GroupEdit, UserEdit
from syncd.core.seats import Pool
from syncd.errors import DatabaseUnavailable
from syncd.store import facts, opening, read
from syncd.store import tables as t
from syncd.store.commit import Outcome, commit
from syncd.store.opening import Opened
from syncd.store.read import Reader

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
DEADLINE_S = 15


class Crossing:
    """`hold` has a row in a transaction of its own until `let_go`; `start` has somebody write meanwhile."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._held = ExitStack()
        self._threads = ThreadPoolExecutor(4)
        self._watch = self._held.enter_context(stage.database.outside_transactions())

    def hold(self, table: Table, id: str) -> Connection:
        conn = self._held.enter_context(self.stage.database.writing())
        conn.execute(self._row(table, id).with_for_update())
        return conn

    def is_free(self, table: Table, id: str) -> bool:
        return bool(self._watch.execute(self._row(table, id).with_for_update(skip_locked=True)).all())

    def start(self, work: Callable[[Connection], Outcome], by_loop: bool = False) -> Future[Outcome]:
        """Returns when it waits for a row. `by_loop`: as the web does it, by asyncpg."""
        database, before = self.stage.database, self.waiting()

        async def write() -> Outcome:
            try:
                return await database.write(work)
            finally:
                await database.aclose()

        started = self._threads.submit(
            (lambda: asyncio.run(write())) if by_loop else (lambda: database.write_now(work)),
        )
        self.until(lambda: self.waiting() > before or started.done())
        assert not started.done(), started.result()
        return started

    def until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not true():
            assert time.monotonic() < deadline, "it never came to that"
            time.sleep(0.005)

    def waiting(self) -> int:
        waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        return int(self._watch.scalar(text(waits)) or 0)

    def let_go(self) -> None:
        self._held.close()

    def close(self) -> None:
        self.let_go()
        self._threads.shutdown()

    @staticmethod
    def _row(table: Table, id: str) -> Any:
        return select(table.c.workspace).where(table.c["name" if table is t.seat_pools else "id"] == id)


@pytest.fixture
def crossing(stage: Stage) -> Iterator[Crossing]:
    for id in ("g1", "g2"):
        stage.do(group(id, "okta"), source="okta")
    for id in ("u1", "u2"):
        stage.do(user(id, "okta", join=("g1",)), source="okta")
    made = Crossing(stage)
    yield made
    made.close()


def writes(stage: Stage, *edits: UserEdit | GroupEdit) -> Callable[[Connection], Outcome]:
    actor = Actor("scim", "okta", "default", source="okta")
    return lambda conn: commit(conn, stage.workspace, actor, edits, stage.now, stage.ids)


def deletes(stage: Stage) -> UserEdit:
    return UserEdit("u1", "okta", facts={"deleted_at": stage.now})


@pytest.mark.parametrize(
    "edits",
    [
        lambda stage: (deletes(stage),),
        lambda stage: (UserEdit("u1", "okta", leave=("g1",)),),
        lambda stage: (UserEdit("u1", "okta", join=("g2", "g1")), UserEdit("u1", "okta", leave=("g1",))),
        lambda stage: (GroupEdit("g1", "okta", delete=True),),
    ],
)
def test_whoever_changes_who_is_in_a_group_has_its_row_before_any_member(crossing: Crossing, edits: Any) -> None:
    crossing.hold(t.groups, "g1")
    started = crossing.start(writes(crossing.stage, *edits(crossing.stage)))
    assert crossing.is_free(t.users, "u1")
    crossing.let_go()
    started.result(DEADLINE_S).check()
    assert crossing.stage.user("u1").groups <= {"g2"}


def test_groups_are_locked_by_id(crossing: Crossing) -> None:
    crossing.hold(t.groups, "g1")
    started = crossing.start(writes(crossing.stage, UserEdit("u2", "okta", join=("g2",), leave=("g1",))))
    assert crossing.is_free(t.groups, "g2")
    crossing.let_go()
    started.result(DEADLINE_S).check()


def deleted_by_scim(stage: Stage) -> Callable[[Connection], Outcome]:
    def work(conn: Connection) -> Outcome:
        opened = opening.user(conn, "default", "u1", stage.workspace.precedence, leaving=True)
        assert opened is not None
        actor = Actor("scim", "okta", "default", source="okta")
        return commit(conn, stage.workspace, actor, (deletes(stage),), stage.now, stage.ids, opened=opened)

    return work


def test_a_request_that_deletes_a_user_has_her_groups_before_her(crossing: Crossing) -> None:
    crossing.hold(t.groups, "g1")
    started = crossing.start(deleted_by_scim(crossing.stage), by_loop=True)
    assert crossing.is_free(t.users, "u1")
    crossing.let_go()
    started.result(DEADLINE_S).check()
    assert crossing.stage.user("u1").status == "deleted"


def test_a_group_that_she_joined_while_her_others_were_waited_for_is_locked_before_her_too(crossing: Crossing) -> None:
    stage = crossing.stage
    first = crossing.hold(t.groups, "g1")
    started = crossing.start(deleted_by_scim(stage), by_loop=True)
    stage.do(UserEdit("u1", "okta", join=("g2",)), source="okta")
    crossing.hold(t.groups, "g2")
    first.commit()
    crossing.until(lambda: not crossing.is_free(t.groups, "g1"))
    crossing.until(lambda: crossing.waiting() > 0)
    assert crossing.is_free(t.users, "u1")
    crossing.let_go()
    started.result(DEADLINE_S).check()
    assert stage.user("u1").status == "deleted"
    assert {each.group for each in stage.user("u1").memberships} == {"g1", "g2"}


@pytest.mark.parametrize("by_loop", [True, False])
@pytest.mark.parametrize("held", ["the inner group", "the nesting"])
def test_a_request_about_a_group_never_keeps_it_while_it_waits_for_another(
    crossing: Crossing, held: str, by_loop: bool
) -> None:
    stage = crossing.stage
    reader = Reader("default", "okta", own=False)

    def puts_in(conn: Connection) -> Outcome:
        assert read.get_group(conn, reader, "g2", members=False, lock=True) is not None
        actor, opened = Actor("scim", "okta", "default", source="okta"), Opened(locked=frozenset({"g2"}))
        edits = [GroupEdit("g1", "okta", join=("g2",)), UserEdit("u2", "okta", join=("g2",))]
        return commit(conn, stage.workspace, actor, edits, stage.now, stage.ids, opened=opened)

    if held == "the nesting":
        facts.lock(crossing.hold(t.users, "u1"), "default", "groups", shared=True)
    else:
        crossing.hold(t.groups, "g1")
    started = crossing.start(puts_in, by_loop)
    crossing.until(lambda: crossing.waiting() > 0 and crossing.is_free(t.groups, "g2"))
    assert crossing.is_free(t.users, "u2")
    crossing.let_go()
    started.result(DEADLINE_S).check()
    assert {each.group for each in stage.user("u2").memberships} == {"g1", "g2"}
    assert stage.user("u1").groups == {"g1", "g2"}


def test_whoever_gets_a_seat_that_is_given_up_is_locked_before_the_pool(crossing: Crossing) -> None:
    stage = crossing.stage
    stage.configure(
        pools={"desk": Pool("desk", 1, when_full="waitlist")},
        rules=(rule("staff", "title pr", seats=("desk",)),),
    )
    for id in ("u1", "u2"):
        stage.do(stage.restated(id, "okta", values={"title": "Clerk"}), source="okta")
        stage.later(minutes=1)
    assert [[seat.held for seat in stage.user(id).seats] for id in ("u1", "u2")] == [[True], [False]]
    crossing.hold(t.users, "u2")
    started = crossing.start(writes(stage, stage.restated("u1", "okta", enabled=False)))
    assert crossing.is_free(t.seat_pools, "desk")
    crossing.let_go()
    started.result(DEADLINE_S).check()
    assert [seat.held for seat in stage.user("u2").seats] == [True]


@pytest.mark.parametrize("by_loop", [True, False])
def test_a_write_that_is_undone_for_others_again_and_again_is_to_be_tried_later(stage: Stage, by_loop: bool) -> None:
    tried = []

    def work(conn: Connection) -> None:
        tried.append(1)
        conn.exec_driver_sql("DO $$ BEGIN RAISE EXCEPTION 'victim' USING ERRCODE = 'deadlock_detected'; END $$")

    async def write() -> None:
        try:
            await stage.database.write(work)
        finally:
            await stage.database.aclose()

    with pytest.raises(DatabaseUnavailable, match="undone 5 times for others") as raised:
        asyncio.run(write()) if by_loop else stage.database.write_now(work)
    assert (raised.value.status, raised.value.retry_after_s, len(tried)) == (503, 1, 5)
