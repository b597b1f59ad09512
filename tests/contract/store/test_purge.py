"""The end of a deletion on both engines: what goes for good, what stays, and who is spared."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest
from sqlalchemy import select, text

from door_stage import AT_ONCE, Directory, Stage, group, policy, user
from syncd.core import chain
from syncd.core.actor import Actor
from syncd.core.change import GroupEdit, UserEdit
from syncd.core.deletion import marked_key, restoration
from syncd.core.lifecycle import Ladder
from syncd.core.seats import Pool
from syncd.core.signins import SignIn
from syncd.core.state import Grant, Link
from syncd.errors import Uniqueness
from syncd.reconcile.mapping import MANAGER
from syncd.store import describe, invariants, passwords, purge, signins
from syncd.store import tables as t
from syncd.store.events import PURGED

DAY = timedelta(days=1)
SECRET = "rosa.castillo"  # nothing of her may be found afterwards


def due(stage: Stage) -> list[str]:
    with stage.database.reading() as conn:
        return [each.id for each in purge.due(conn, stage.workspace, stage.now, 100)]


def end(stage: Stage, *ids: str, rows: int = 3) -> int:
    """All of it, in steps that are too small for one."""
    while stage.database.write_now(lambda conn: purge.strip(conn, stage.workspace, ids, stage.now, rows)):
        stage.sound()
    gone = stage.database.write_now(lambda conn: purge.purge(conn, stage.workspace, ids, stage.now, stage.ids))
    stage.sound()
    return gone


def everything(stage: Stage) -> str:
    """The whole database as text, but for the bytes of hashes."""
    with stage.database.reading() as conn:
        rows = [repr(tuple(row)) for table in t.metadata.sorted_tables for row in conn.execute(select(table))]
    return "\n".join(rows)


def delete(stage: Stage, id: str) -> None:
    stage.do(UserEdit(id, "local", facts={"deleted_at": stage.now}, why=f"{SECRET} asked for it"))


@pytest.fixture
def rosa(stage: Stage) -> Stage:
    """A user with a bit of everything, deleted by hand today; and a group that names her as a member it cannot resolve."""
    stage.configure(sources={"corp": policy(), "okta": policy("okta", kind="scim")}, pools={"crm": Pool("crm", 1)})
    stage.do(group("g1", "okta"), source="okta")
    stage.do(GroupEdit("g1", "okta", unresolved=(SECRET, "somebody.else")), source="okta")
    stage.do(user("u1", "okta", key=f"00u-{SECRET}", name=SECRET, join=("g1",)), source="okta")
    stage.do(user("u2", "okta", join=("g1",)), source="okta")
    stage.do(
        UserEdit(
            "u1", "local", grant=(Grant("role", "viewer", "direct", "root"), Grant("seat", "crm", "direct", "root"))
        )
    )
    stage.restate("u1", "okta", values={"displayName": f"Dr. {SECRET}"})
    came = SignIn(True, stage.now, f"address of {SECRET}")
    actor = Actor("api", "crm", "default")
    with stage.database.writing() as conn:
        signins.report(conn, stage.workspace, actor, "u1", came, stage.now, stage.ids)
        passwords.put(conn, actor, "u1", SECRET, f"hash of {SECRET}", stage.now, stage.ids)
    delete(stage, "u1")
    return stage


def test_nothing_of_her_is_left_but_that_something_was(rosa: Stage) -> None:
    before = {
        row.id: (row.at, row.actor, row.action, row.payload_hash) for row in rosa.rows(t.activity, subject_id="u1")
    }
    rosa.later(days=14)
    assert due(rosa) == ["u1"] and SECRET in everything(rosa)
    assert end(rosa, "u1") == 1
    assert SECRET not in everything(rosa) and "somebody.else" in everything(rosa)
    assert due(rosa) == [] and list(rosa.statuses()) == ["u2"]
    after = {
        row.id: (row.at, row.actor, row.action, row.payload_hash) for row in rosa.rows(t.activity, subject_id="u1")
    }
    (row,) = [row for row in rosa.rows(t.activity, subject_id="u1") if row.id not in before]
    assert {id: after[id] for id in before} == before
    assert (row.action, row.subject, row.why) == ("purge", "u1", "deleted on 2026-05-04, final since 2026-05-18")
    assert [one.topic for one in rosa.rows(t.outbox, subject_id="u1")][-1] == PURGED
    with rosa.database.reading() as conn:
        assert purge.purged_at(conn, "default", "u1") == rosa.now
        assert purge.purged_at(conn, "default", "u2") is None


def test_payloads_of_others_still_answer_to_their_hash(rosa: Stage) -> None:
    rosa.later(days=14)
    end(rosa, "u1")
    payloads = {row.activity_id: row for row in rosa.rows(t.activity_payloads)}
    hashes = {row.id: row.payload_hash for row in rosa.rows(t.activity)}
    said = {row.id: (row.subject, row.why) for row in rosa.rows(t.activity)}
    assert payloads and payloads.keys() < hashes.keys()
    for id, row in payloads.items():
        before, after = (orjson.dumps(each, option=orjson.OPT_SORT_KEYS) for each in (row.before, row.after))
        assert chain.payload_hash(row.salt, before, after, *said[id]) == hashes[id]


def test_her_name_and_her_key_are_free_for_somebody_else(rosa: Stage) -> None:
    rosa.later(days=14)
    end(rosa, "u1")
    rosa.do(user("u9", "okta", key=f"00u-{SECRET}", name=SECRET), source="okta")
    assert rosa.named(SECRET).id == "u9" and rosa.user("u9").grants == ()


@pytest.mark.parametrize("days", [0, 13.9])
def test_while_the_window_is_open_nothing_goes(rosa: Stage, days: float) -> None:
    rosa.later(days=days)
    assert due(rosa) == [] and end(rosa, "u1") == 0
    rosa.do(*restoration(rosa.user("u1"), rosa.workspace, rosa.now, "back"))
    back = rosa.user("u1")
    assert (back.status, back.groups, rosa.held("crm")) == ("active", frozenset({"g1"}), ["u1"])
    rosa.later(days=100)
    assert due(rosa) == [] and end(rosa, "u1") == 0


def test_who_is_restored_between_two_steps_stays(rosa: Stage) -> None:
    rosa.later(days=14)
    assert rosa.database.write_now(lambda conn: purge.strip(conn, rosa.workspace, ["u1"], rosa.now, 1)) == 1
    rosa.do(UserEdit("u1", "local", facts={"deleted_at": None}))
    assert end(rosa, "u1") == 0 and rosa.user("u1").name == SECRET


def test_until_all_her_activity_is_stripped_she_is_not_ended(rosa: Stage) -> None:
    """A kill between two steps leaves a deleted user who is still to go, never a payload of somebody who is gone."""
    rosa.later(days=14)
    assert rosa.database.write_now(lambda conn: purge.strip(conn, rosa.workspace, ["u1"], rosa.now, 2)) == 2
    assert rosa.database.write_now(lambda conn: purge.purge(conn, rosa.workspace, ["u1"], rosa.now, rosa.ids)) == 0
    assert due(rosa) == ["u1"] and end(rosa, "u1") == 1


def test_whom_a_directory_still_shows_is_not_purged(stage: Stage) -> None:
    """The next read would make her anew, active, and an admin's deletion would be undone by time."""
    stage.configure(sources={"corp": policy()})
    corp = Directory()
    corp.hire("ann")
    stage.run(corp)
    delete(stage, id := stage.named("ann").id)
    stage.later(days=30)
    assert due(stage) == []
    with stage.database.reading() as conn:
        (coming,) = describe.explain(conn, stage.workspace, id, stage.now)["scheduled"]
    assert (coming["at"], coming["what"]) == (None, "purged for good")
    stage.run(corp)
    assert stage.statuses() == {"ann": "deleted"}
    del corp.people["ann"]
    corp.hire("ben")
    for _ in range(4):
        stage.run(corp)
    assert due(stage) == [stage.named("ann").id]


def test_the_last_rung_of_the_ladder_is_time_alone_and_who_returns_is_new(stage: Stage) -> None:
    ladder = Ladder(timedelta(0), timedelta(0), timedelta(0), purge_after=30 * DAY)
    stage.configure(sources={"corp": policy(ladder=ladder)})
    corp = Directory()
    corp.hire("ann", "ben")
    corp.hire("rosa", title="Analyst")
    stage.run(corp)
    old = stage.named("rosa").id
    del corp.people["rosa"]
    for _ in range(4):
        stage.run(corp)
    assert stage.statuses()["rosa"] == "deleted"
    stage.later(days=29)
    stage.run(corp)  # one more read without her: that is not another deletion
    assert due(stage) == []
    stage.later(days=1)
    with stage.database.reading() as conn:
        (*_, coming) = describe.explain(conn, stage.workspace, old, stage.now)["scheduled"]
    assert (coming["at"], coming["what"]) == (stage.now, "purged for good")
    assert due(stage) == [old] and end(stage, old) == 1
    assert stage.run(corp).status == "clean"
    corp.hire("rosa", title="Analyst")
    stage.run(corp)
    new = stage.named("rosa")
    assert (new.status, new.version) == ("active", 1) and new.id != old
    assert AT_ONCE.purge_after == 14 * DAY


def test_her_reports_name_no_id_that_is_nobodys(stage: Stage) -> None:
    stage.configure(sources={"corp": policy()})
    corp = Directory()
    corp.hire("rosa")
    corp.hire("ben", manager="rosa")
    corp.hire("cleo", manager="ben")
    stage.run(corp)
    old = stage.named("rosa").id
    assert stage.named("ben").values[MANAGER] == old
    del corp.people["rosa"]
    for _ in range(4):
        stage.run(corp)
    stage.later(days=14)
    assert MANAGER not in stage.named("ben").values
    assert end(stage, old) == 1
    corp.hire("rosa")
    stage.run(corp)
    new = stage.named("rosa").id
    assert new != old and stage.named("ben").values[MANAGER] == new
    assert stage.named("cleo").values[MANAGER] == stage.named("ben").id
    assert stage.run(corp).status == "clean"


def test_a_window_of_never_is_never(rosa: Stage) -> None:
    rosa.configure(purge_after=None)
    rosa.later(days=4000)
    assert due(rosa) == [] and end(rosa, "u1") == 0


def test_the_clock_of_the_database_has_a_say(rosa: Stage) -> None:
    """On PostgreSQL a machine whose clock runs ahead purges nobody."""
    with rosa.database.reading() as conn:
        there = conn.execute(text("select 1")).scalar_one() and purge.agreed(conn, rosa.now + 36500 * DAY)
    rosa.now = rosa.now + 36500 * DAY
    if rosa.database.dialect == "postgresql":
        assert there < rosa.now
        rosa.configure(purge_after=36000 * DAY)
        assert due(rosa) == [] and end(rosa, "u1") == 0
    else:
        assert there == rosa.now and due(rosa) == ["u1"]


def test_a_deletion_by_her_connection_is_undone_or_ends(rosa: Stage) -> None:
    def remove() -> None:
        (own,) = (link for link in rosa.user("u2").links if link.source == "okta")
        gone = Link("okta", marked_key(own.key, "u2"), values=own.values, stage="deleted", missing_since=rosa.now)
        edit = UserEdit("u2", "okta", link=gone, drop_link=own.key, facts={"deleted_at": rosa.now})
        rosa.do(edit, source="okta")

    remove()
    rosa.later(days=1)
    rosa.do(*restoration(rosa.user("u2"), rosa.workspace, rosa.now, "back"))
    assert rosa.user("u2").status == "active" and rosa.user("u2").links[0].key == "u2"
    remove()
    rosa.do(user("u3", "okta", key="u2", name="u3"), source="okta")
    with pytest.raises(Uniqueness, match="externalId 'u2' is used"):
        rosa.do(*restoration(rosa.user("u2"), rosa.workspace, rosa.now, "back"))
    rosa.later(days=15)
    assert due(rosa) == ["u1", "u2"] and end(rosa, "u1", "u2") == 2
    assert rosa.statuses() == {"u3": "active"}


def test_what_was_held_of_her_goes_too(rosa: Stage) -> None:
    with rosa.database.writing() as conn:
        held: dict[str, Any] = {"subject_id": "u1", "kind": "role", "subject": SECRET, "guard": "limit", "why": SECRET}
        held |= {"digest": "d", "run_id": None, "created_at": rosa.now, "changes": b"[]", "edits": SECRET.encode()}
        conn.execute(t.held.insert().values(workspace="default", source="okta", **held))
    rosa.later(days=14)
    assert end(rosa, "u1") == 1 and rosa.rows(t.held) == []


def test_pages_of_people_who_are_not_due_hide_nobody(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purge, "_PAGE", 2)
    for number in range(5):
        stage.do(user(f"u{number}"))
        delete(stage, f"u{number}")
        stage.later(days=0 if number != 3 else 1)
    stage.later(days=13)
    assert due(stage) == ["u0", "u1", "u2", "u3"]
    with stage.database.reading() as conn:
        assert [each.id for each in purge.due(conn, stage.workspace, stage.now, 3)] == ["u0", "u1", "u2"]


def test_a_trace_of_somebody_who_was_purged_is_a_violation(rosa: Stage) -> None:
    rosa.later(days=14)
    end(rosa, "u1")
    a, p = t.activity, t.activity_payloads
    (row,) = [row for row in rosa.rows(a, subject_id="u1") if row.action == "delete"]
    with rosa.database.writing() as conn:
        conn.execute(a.update().where(a.c.id == row.id).values(why="she asked for it"))
        conn.execute(p.insert().values(workspace="default", activity_id=row.id, salt=b"", before=None, after=SECRET))
    with rosa.database.reading() as conn:
        found = invariants.check(conn, rosa.workspace)
    assert [line.partition(":")[0] for line in found] == [
        "payloads of a user who was purged",
        "names of a user who was purged",
    ]
