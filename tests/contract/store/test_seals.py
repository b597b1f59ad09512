"""The record is as it was written, or what is not is found and named."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, update

from door_stage import Stage, user
from syncd.core import chain
from syncd.core.change import UserEdit
from syncd.store import purge, retention, seals, verification
from syncd.store import tables as t
from syncd.store.retention import Retention
from syncd.store.verification import Verified
from syncd.timers import Timers

A, P, S = t.activity, t.activity_payloads, t.activity_seals


def seal(stage: Stage, late: bool = False) -> int:
    """Everything that is due; how many seals that made."""
    made = 0
    while True:
        with stage.database.writing() as conn:
            block = seals.due(conn, "default", stage.now) or (seals.late(conn, "default") if late else None)
            if block is None:
                return made
            assert seals.write(conn, block, stage.now)
            made += 1


def verify(stage: Stage, head: bytes | None = None) -> Verified:
    with stage.database.reading() as conn:
        return verification.verify(conn, "default", head)


def faults(stage: Stage, head: bytes | None = None) -> list[tuple[str, str | None]]:
    return [(each.what, each.row) for each in verify(stage, head).faults]


@pytest.fixture
def sealed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Nine rows: two full seals, and one row that is too young."""
    monkeypatch.setattr(seals, "BLOCK", 4)
    for number in range(8):
        stage.do(user(f"u{number}"))
    stage.later(minutes=3)
    assert seal(stage) == 2
    stage.do(UserEdit("u0", "local", facts={"suspended": "lost laptop"}, why="Ann asked"))
    assert faults(stage) == []
    return stage


def ids(stage: Stage) -> list[str]:
    return sorted(row.id for row in stage.rows(A))


def alter(stage: Stage, table: Any, id: str, **values: Any) -> None:
    key = table.c.activity_id if table is P else table.c.id
    with stage.database.writing() as conn:
        conn.execute(update(table).where(key == id).values(**values))


def take(stage: Stage, *statements: Any) -> None:
    with stage.database.writing() as conn:
        for each in statements:
            conn.execute(each)


def test_what_nobody_touched_is_as_it_was_written(sealed: Stage) -> None:
    found = verify(sealed)
    assert (found.rows, found.seals, found.unsealed, found.late, found.erased, found.of_0_2) == (8, 2, 1, 0, 0, 0)
    [first, second] = sorted(sealed.rows(S), key=lambda row: row.number)
    assert (first.previous, second.previous, found.head) == (chain.FIRST, first.hash, second.hash)
    assert faults(sealed, first.hash) == faults(sealed, second.hash) == []
    assert faults(sealed, bytes(32)) == [("head_unknown", None)]


@pytest.mark.parametrize(
    "values",
    [
        {"actor": "eve"},
        {"action": "delete"},
        {"subject_id": "u7"},
        {"source": "corp"},
        {"run_id": "r"},
        {"door": "api"},
    ],
)
def test_an_altered_row_is_named(sealed: Stage, values: dict[str, str]) -> None:
    id = ids(sealed)[2]
    alter(sealed, A, id, **values)
    assert faults(sealed) == [("row_altered", id)]


def test_an_altered_time_is_named(sealed: Stage) -> None:
    id = ids(sealed)[2]
    alter(sealed, A, id, at=sealed.now + timedelta(days=1))
    assert faults(sealed) == [("row_altered", id)]


@pytest.mark.parametrize("which", [2, 8])
@pytest.mark.parametrize(
    ("table", "values"),
    [
        (A, {"subject": "eve"}),
        (A, {"why": "said nothing"}),
        (P, {"after": {"other": 1}}),
        (P, {"before": 1}),
        (P, {"salt": b"x"}),
    ],
)
def test_altered_content_is_named_sealed_or_not(sealed: Stage, which: int, table: Any, values: dict[str, Any]) -> None:
    id = ids(sealed)[which]
    alter(sealed, table, id, **values)
    assert faults(sealed) == [("content_altered", id)]


def test_a_row_that_is_gone_is_named(sealed: Stage) -> None:
    id = ids(sealed)[5]
    take(sealed, A.delete().where(A.c.id == id), P.delete().where(P.c.activity_id == id))
    assert faults(sealed) == [("row_gone", id)]


def test_content_that_no_purge_took_is_named(sealed: Stage) -> None:
    id = ids(sealed)[5]
    take(sealed, P.delete().where(P.c.activity_id == id), update(A).where(A.c.id == id).values(subject="u5", why=""))
    assert faults(sealed) == [("content_gone", id)]


def test_a_row_that_was_added_is_named(sealed: Stage) -> None:
    [row] = [row for row in sealed.rows(A) if row.id == ids(sealed)[1]]
    [payload] = [each for each in sealed.rows(P) if each.activity_id == row.id]
    added = row.id + "x"
    take(
        sealed,
        insert(A).values(**{**row._mapping, "id": added}),
        insert(P).values(**{**payload._mapping, "activity_id": added}),
    )
    assert faults(sealed) == [("row_added", added)]


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda: update(S).where(S.c.number == 1).values(hash=bytes(32)), "seal_altered"),
        (lambda: update(S).where(S.c.number == 1).values(leaves=b"x\0" + bytes(32)), "seal_altered"),
        (lambda: update(S).where(S.c.number == 2).values(leaves=b"cut"), "seal_altered"),
        (lambda: update(S).where(S.c.number == 2).values(rows=3), "seal_altered"),
        (lambda: S.delete().where(S.c.number == 1), "seal_gone"),
        (lambda: update(S).where(S.c.number == 1).values(leaves=None), "seal_altered"),
        (lambda: update(S).where(S.c.number == 1).values(leaves=None, dropped_at=None), "seal_altered"),
    ],
)
def test_a_seal_that_was_touched_is_named(sealed: Stage, spoil: Callable[[], Any], expected: str) -> None:
    take(sealed, spoil())
    assert expected in {what for what, _ in faults(sealed)}


def test_rows_taken_as_if_retention_had_taken_them_are_missed(sealed: Stage) -> None:
    first = ids(sealed)[:4]
    taken = [A.delete().where(A.c.id.in_(first)), P.delete().where(P.c.activity_id.in_(first))]
    take(sealed, *taken, update(S).where(S.c.number == 1).values(leaves=None, dropped_at=sealed.now))
    assert faults(sealed) == [("row_gone", None)]
    assert "no row says that retention took them" in verify(sealed).faults[0].told


def test_a_chain_that_was_made_anew_has_another_head(sealed: Stage) -> None:
    """Whoever can write everything can write a whole chain too, but not the hash that somebody noted elsewhere."""
    head, id = verify(sealed).head, ids(sealed)[1]
    take(sealed, A.delete().where(A.c.id == id), P.delete().where(P.c.activity_id == id), S.delete())
    seal(sealed)
    assert faults(sealed) == []
    assert faults(sealed, head) == [("head_unknown", None)]


def test_a_purge_leaves_the_chain_whole(sealed: Stage) -> None:
    sealed.do(UserEdit("u0", "local", facts={"deleted_at": sealed.now}))
    sealed.later(days=30)
    seal(sealed)
    with sealed.database.writing() as conn:
        while purge.strip(conn, sealed.workspace, ["u0"], sealed.now, 2):
            pass
    assert faults(sealed) == [], "also in the middle of it"
    with sealed.database.writing() as conn:
        assert purge.purge(conn, sealed.workspace, ["u0"], sealed.now, sealed.ids) == 1
    found = verify(sealed)
    assert (found.faults, found.erased) == ([], 3)


def test_retention_leaves_a_chain_that_says_what_it_took(sealed: Stage) -> None:
    sealed.later(days=100)
    policy = Retention(activity=timedelta(days=50))
    for _ in range(2):
        with sealed.database.writing() as conn:
            keys = retention.old(conn, "activity", policy, sealed.now)
            assert retention.drop(conn, "activity", keys, policy, sealed.now, sealed.ids) == 4
            assert verification.verify(conn, "default").faults == []
    seal(sealed)
    sealed.later(minutes=5)
    seal(sealed)
    found = verify(sealed)
    assert (found.faults, found.dropped, found.rows, found.seals) == ([], 8, 3, 4)


def test_a_row_that_came_late_is_sealed_in_a_seal_of_its_own(sealed: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its transaction was slow, or the clock of its process was behind."""
    late = "n000000002a"
    with monkeypatch.context() as behind:
        behind.setattr(Stage, "ids", lambda _: late)
        sealed.do(UserEdit("u3", "local", facts={"suspended": "x"}))
    sealed.later(minutes=3)
    assert faults(sealed) == [("row_added", late)]
    assert seal(sealed) == 1, "the young one"
    assert seal(sealed, late=True) == 1
    found = verify(sealed)
    assert (found.faults, found.late, found.rows, found.unsealed) == ([], 1, 10, 0)
    assert seal(sealed, late=True) == 0


def test_rows_of_releases_before_are_sealed_as_they_are(sealed: Stage) -> None:
    id, salt = ids(sealed)[-1], secrets.token_bytes(16)
    alter(sealed, P, id, salt=salt, before=None, after={"a": 1})
    alter(sealed, A, id, payload_hash=chain.payload_hash_of_0_2(salt, b"null", b'{"a":1}'))
    sealed.later(minutes=3)
    seal(sealed)
    found = verify(sealed)
    assert (found.faults, found.of_0_2) == ([], 1)
    alter(sealed, P, id, after={"a": 2})
    assert faults(sealed) == [("content_altered", id)]


def test_two_workers_make_one_chain(sealed: Stage) -> None:
    sealed.later(minutes=3)
    with sealed.database.reading() as conn:
        blocks = [seals.due(conn, "default", sealed.now) for _ in range(2)]
    made = [
        sealed.database.write_now(lambda conn, block=block: seals.write(conn, block, sealed.now)) for block in blocks
    ]
    assert made == [True, False]
    assert faults(sealed) == []


def test_the_worker_seals_what_is_a_few_minutes_old(stage: Stage) -> None:
    timers = Timers(stage.database, {"default": stage.workspace}, lambda: stage.now, stage.ids)
    for number in range(3):
        stage.do(user(f"u{number}"))
    timers.tick()
    assert (verify(stage).rows, verify(stage).unsealed) == (0, 3)
    stage.later(minutes=6)
    timers.tick()
    assert (verify(stage).rows, verify(stage).unsealed, faults(stage)) == (3, 0, [])
