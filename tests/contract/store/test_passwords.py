"""A password is a hash beside the user: no version, no document, no activity payload holds it."""

from __future__ import annotations

from sqlalchemy import select

from door_stage import Stage
from syncd.core.actor import Actor
from syncd.store import passwords
from syncd.store import tables as t


def test_kept_renewed_and_dropped(stage: Stage) -> None:
    actor = Actor("api", "crm", "default")
    with stage.database.writing() as conn:
        assert passwords.find(conn, "default", "u1") is None
        passwords.put(conn, actor, "u1", "ann", "hash-1", stage.now, stage.ids, why="reset", must_change=True)
        kept = passwords.find(conn, "default", "u1")
        assert kept is not None
        assert (kept.hash, kept.source, kept.must_change) == ("hash-1", "local", True)
        assert "hash-1" not in repr(kept)
        passwords.renew(conn, "default", "u1", "hash-0", "hash-9")
        passwords.renew(conn, "default", "u1", "hash-1", "hash-2")
        assert (found := passwords.find(conn, "default", "u1")) is not None
        assert (found.hash, found.must_change) == ("hash-2", True)
        assert passwords.find(conn, "other", "u1") is None
        assert passwords.drop(conn, actor, "u1", "ann", stage.now, stage.ids)
        assert not passwords.drop(conn, actor, "u1", "ann", stage.now, stage.ids)
        told = conn.execute(select(t.activity.c.action, t.activity.c.why).order_by(t.activity.c.id)).all()
        assert [tuple(each) for each in told] == [("password_set", "reset"), ("password_removed", "")]
        payloads = conn.execute(select(t.activity_payloads.c.before, t.activity_payloads.c.after)).all()
        assert {tuple(each) for each in payloads} == {(None, None)}
