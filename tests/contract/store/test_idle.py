"""Idle seats: taken back by time where the application reports sign-ins, returned by the next one, never by its silence."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select

from door_stage import Stage, user
from syncd.core.actor import Actor
from syncd.core.change import UserEdit
from syncd.core.seats import Pool
from syncd.core.signins import SignIn
from syncd.core.state import Grant
from syncd.store import idle, signins
from syncd.store import tables as t
from syncd.timers import Timers

NINETY = timedelta(days=90)


def seat(pool: str) -> Grant:
    return Grant("seat", pool, "direct", "root")


def sign_in(stage: Stage, id: str) -> None:
    came = SignIn(True, stage.now)
    with stage.database.writing() as conn:
        signins.report(conn, stage.workspace, Actor("api", "crm", "default"), id, came, stage.now, stage.ids)
    stage.sound()


def tick(stage: Stage, timer: Timers | None = None) -> Timers:
    """An hour later, by timers that know the clock."""
    made = timer or Timers(stage.database, {"default": stage.workspace}, lambda: stage.now, stage.ids)
    for _ in range(3):
        made.tick()
        stage.later(hours=1)
    made.tick()
    stage.sound()
    return made


def team(stage: Stage, n: int = 3, **more: object) -> None:
    stage.configure(pools={"crm": Pool("crm", 2, idle_after=NINETY), "free": Pool("free", None), **more})
    for each in range(n):
        stage.later(minutes=1)
        stage.do(user(f"u{each}", grant=(seat("crm"), seat("free"))))


def test_an_idle_seat_goes_to_who_waits_and_comes_back_with_the_next_sign_in(stage: Stage) -> None:
    team(stage)
    assert stage.held("crm") == ["u0", "u1"]
    stage.later(days=89)
    sign_in(stage, "u1")
    tick(stage)
    assert stage.held("crm") == ["u0", "u1"]
    stage.later(days=2)
    tick(stage)
    assert stage.held("crm") == ["u1", "u2"]
    assert (stage.user("u0").status, stage.user("u0").reclaimed) == ("active", ("crm",))
    assert stage.held("free") == ["u0", "u1", "u2"], "a pool that takes nothing back"
    with stage.database.reading() as conn:
        whys = set(conn.scalars(select(t.activity.c.why).where(t.activity.c.action == "unseat")))
    assert whys == {"no sign-in for 90 days: seat in crm taken back until the next one"}
    version = stage.user("u0").version
    sign_in(stage, "u0")
    assert stage.user("u0").reclaimed == () and stage.user("u0").version == version + 1
    assert [each.held for each in stage.user("u0").seats] == [False, True], "the pool is full: in line again"
    stage.do(UserEdit("u2", "local", facts={"suspended": "hold"}))
    assert stage.held("crm") == ["u0", "u1"]


def test_a_silent_application_empties_no_licence(stage: Stage) -> None:
    team(stage)
    stage.later(days=100)
    tick(stage)
    assert stage.held("crm") == ["u0", "u1"], "it never reported anybody"
    sign_in(stage, "u1")
    stage.later(days=8)
    tick(stage)
    assert stage.held("crm") == ["u0", "u1"], "it has not for a week"
    sign_in(stage, "u1")
    tick(stage)
    assert stage.held("crm") == ["u1", "u2"]


def test_many_at_once_are_held_until_somebody_approves(stage: Stage) -> None:
    team(stage, 30, crm=Pool("crm", None, idle_after=NINETY))
    stage.later(days=100)
    sign_in(stage, "u1")
    timer = tick(stage)
    assert len(stage.held("crm")) == 30
    rows = stage.rows(t.held)
    assert len(rows) == 29 and {row.kind for row in rows} == {"seat"}
    tick(stage, timer)
    assert (len(stage.held("crm")), len(stage.rows(t.held))) == (30, 29), "said once"


def test_a_seat_given_by_hand_is_hers_at_once(stage: Stage) -> None:
    team(stage, 2)
    stage.later(days=91)
    sign_in(stage, "u1")
    tick(stage)
    assert stage.held("crm") == ["u1"]
    stage.do(UserEdit("u0", "local", grant=(seat("crm"),)))
    assert stage.held("crm") == ["u0", "u1"]
    with stage.database.reading() as conn:
        assert idle.due(conn, stage.workspace, stage.now, 10) == []


def test_a_hold_and_its_lifting_bring_no_idle_seat_back(stage: Stage) -> None:
    team(stage, 2)
    stage.later(days=91)
    sign_in(stage, "u1")
    tick(stage)
    stage.do(UserEdit("u0", "local", facts={"suspended": "hold"}))
    stage.do(UserEdit("u0", "local", facts={"suspended": None}))
    assert stage.held("crm") == ["u1"]
    stage.configure(pools={"crm": Pool("crm", 2), "free": Pool("free", None)})
    stage.restate("u0", values={"title": "Lead"})
    assert stage.held("crm") == ["u0", "u1"], "a pool that takes nothing back any more"
