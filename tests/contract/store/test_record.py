"""The record is chosen from by an index, and comes in the order of time whatever the ids are."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import event

from door_stage import NOON, Stage, user
from syncd.store import activity
from syncd.store.activity import Wanted


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(f"sqlite:///{tmp_path / 'syncd.db'}")
    made.do(user("ann"), user("bob"))
    yield made
    made.close()


@pytest.mark.parametrize("newest", [True, False])
@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(),
        Wanted(since=NOON),
        Wanted(until=NOON),
        Wanted(actor="local", since=NOON),
        Wanted(action="create", until=NOON),
        Wanted(run="r1"),
    ],
)
def test_no_choice_walks_over_the_record_or_sorts_it(lite: Stage, wanted: Wanted, newest: bool) -> None:
    asked: list[tuple[str, object]] = []
    with lite.database.reading() as conn:
        event.listen(conn, "before_cursor_execute", lambda *given: asked.append((given[2], given[3])))
        activity.page(conn, "default", wanted, 10, None, newest)
        sql, values = asked[-1]
        plan = [row[3] for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)]
    assert all(step.startswith("SEARCH") for step in plan), plan


def test_pages_in_the_order_of_time(lite: Stage) -> None:
    lite.now -= timedelta(days=1)  # the clock was set back
    lite.do(user("eve"))
    for newest in (True, False):
        seen, after = [], None
        while True:
            with lite.database.reading() as conn:
                page = activity.page(conn, "default", Wanted(), 1, after, newest)
            seen += [row["subject"] for row in page.rows]
            after = page.more
            if after is None:
                break
        assert seen == (["bob", "ann", "eve"] if newest else ["eve", "ann", "bob"])
