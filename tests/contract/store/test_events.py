"""What the outbox says of a change: RFC 9967's notices, the same whoever made the change, without anybody's values."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import orjson
import pytest
from sqlalchemy import Connection, select, text

from door_stage import AT_ONCE, Directory, Stage, group, policy, rule, user
from syncd.core.actor import Actor
from syncd.core.change import GroupEdit, UserEdit
from syncd.core.schema import SYNCD_USER
from syncd.core.seats import Pool
from syncd.core.state import Link
from syncd.store import tables as t
from syncd.store.commit import Later, commit
from syncd.store.events import REVOKED

PROV = "urn:ietf:params:scim:event:prov:"


def told(stage: Stage) -> list[dict[str, Any]]:
    """The claims of every event since the last call, the oldest first."""
    rows = sorted(stage.rows(t.outbox), key=lambda row: row.id)
    with stage.database.writing() as conn:
        conn.execute(t.outbox.delete())
    for row in rows:
        claims = row.payload
        assert claims["jti"] == row.id
        assert claims["iat"] == int(stage.now.timestamp())
        assert claims["sub_id"]["format"] == "scim"
        assert row.topic in claims["events"]
        assert not claims.keys() & {"sub", "iss", "aud"}
        for uri, said in claims["events"].items():
            assert ("attributes" in said) == uri.endswith(":notice")
    return [row.payload for row in rows]


def events(stage: Stage) -> dict[str, dict[str, Any]]:
    """Of each resource, by its path; it was told of once."""
    found = told(stage)
    assert len({each["sub_id"]["uri"] for each in found}) == len(found)
    return {each["sub_id"]["uri"]: each["events"] for each in found}


def lost(kind: str, status: str, version: int, **names: list[str]) -> dict[str, Any]:
    none: dict[str, list[str]] = {name: [] for name in ("roles", "permissions", "data_scopes", "seats")}
    said = {"kind": kind, "status": status, "version": version, "sign_in": kind != "access"}
    return {REVOKED: {**said, **none, **names}}


def test_a_user_from_the_first_day_to_the_last(stage: Stage) -> None:
    stage.do(user("u1", name="rosa", values={"name.givenName": "Rosa"}))
    [(uri, said)] = events(stage).items()
    assert uri == "/Users/u1"
    assert said == {
        f"{PROV}create:notice": {"version": 'W/"1"', "attributes": ["id", "name.givenName", "userName"]},
    }
    stage.restate("u1", values={"userName": "rosie", "title": "chair"}).check()
    assert events(stage) == {
        "/Users/u1": {f"{PROV}patch:notice": {"version": 'W/"2"', "attributes": ["title", "userName"]}}
    }
    stage.restate("u1", values={"title": "chair"}).check()
    assert told(stage) == [], "nothing changed, so nothing is told"
    stage.restate("u1", enabled=False).check()
    status = ["active", f"{SYNCD_USER}:status"]
    assert events(stage)["/Users/u1"] == {
        f"{PROV}patch:notice": {"version": 'W/"3"', "attributes": status},
        f"{PROV}deactivate": {},
        **lost("deactivated", "inactive", 3),
    }
    stage.restate("u1", enabled=True).check()
    assert events(stage)["/Users/u1"] == {
        f"{PROV}patch:notice": {"version": 'W/"4"', "attributes": status},
        f"{PROV}activate": {},
    }
    stage.do(UserEdit("u1", "local", facts={"deleted_at": stage.now}))
    assert events(stage) == {"/Users/u1": {f"{PROV}delete": {}, **lost("deleted", "deleted", 5)}}
    stage.do(UserEdit("u1", "local", facts={"deleted_at": None}))
    assert events(stage) == {"/Users/u1": {"urn:ietf:params:scim:event:feed:add": {}, f"{PROV}activate": {}}}


def test_suspended_is_told_as_deactivated_and_locked_is_not(stage: Stage) -> None:
    stage.do(user("u1"))
    told(stage)
    stage.do(UserEdit("u1", "local", facts={"suspended": "left her badge"}))
    assert events(stage)["/Users/u1"] == {
        f"{PROV}patch:notice": {"version": 'W/"2"', "attributes": [f"{SYNCD_USER}:status"]},
        f"{PROV}deactivate": {},
        **lost("suspended", "suspended", 2),
    }
    stage.do(UserEdit("u1", "local", facts={"suspended": None}))
    assert f"{PROV}activate" in events(stage)["/Users/u1"]
    stage.do(UserEdit("u1", "local", facts={"locked_until": stage.now + timedelta(hours=1)}))
    assert events(stage)["/Users/u1"] == {
        f"{PROV}patch:notice": {"version": 'W/"4"', "attributes": [f"{SYNCD_USER}:status"]}
    }


def test_members_are_one_event_of_their_group_however_many(stage: Stage) -> None:
    people = [user(f"u{n}") for n in range(5)]
    stage.do(*people, group("g1"), group("g2"))
    told(stage)
    stage.do(*(UserEdit(each.id, "local", join=("g1",)) for each in people))
    said = told(stage)
    assert len({each["txn"] for each in said}) == 1
    by_uri = {each["sub_id"]["uri"]: each["events"] for each in said}
    assert by_uri["/Groups/g1"] == {f"{PROV}patch:notice": {"attributes": ["members"]}}
    assert by_uri["/Users/u3"] == {f"{PROV}patch:notice": {"version": 'W/"2"', "attributes": ["groups"]}}
    assert len(said) == 6
    stage.do(GroupEdit("g2", "local", join=("g1",)))
    assert events(stage) == {"/Groups/g1": {f"{PROV}patch:notice": {"attributes": ["members"]}}}
    stage.do(GroupEdit("g1", "local", delete=True))
    said_of = events(stage)
    assert said_of.pop("/Groups/g1") == {f"{PROV}delete": {}}
    assert said_of.keys() == {f"/Users/u{n}" for n in range(5)}


def test_a_group_made_with_members_and_renamed(stage: Stage) -> None:
    stage.do(user("u1"))
    told(stage)
    stage.do(group("g1"), UserEdit("u1", "local", join=("g1",)))
    assert events(stage)["/Groups/g1"] == {
        f"{PROV}create:notice": {"version": 'W/"1"', "attributes": ["displayName", "id", "members"]}
    }
    stage.do(GroupEdit("g1", "local", link=Link("local", "g1", values={"displayName": "other"})))
    assert events(stage) == {"/Groups/g1": {f"{PROV}patch:notice": {"version": 'W/"2"', "attributes": ["displayName"]}}}


def test_access_by_rule_is_told(stage: Stage) -> None:
    stage.configure(
        rules=(rule("staff", 'title eq "chair"', roles=("member",), seats=("desk",)),), pools={"desk": Pool("desk", 1)}
    )
    stage.do(user("u1"))
    told(stage)
    stage.restate("u1", values={"title": "chair"}).check()
    assert events(stage)["/Users/u1"][f"{PROV}patch:notice"]["attributes"] == sorted(
        ["roles", "title", f"{SYNCD_USER}:seats", f"{SYNCD_USER}:waiting"]
    )
    stage.restate("u1", values={"title": "bench"}).check()
    said = events(stage)["/Users/u1"]
    assert {REVOKED: said[REVOKED]} == lost("access", "active", 3, roles=["member"], seats=["desk"])


def test_a_run_tells_as_a_request_does_and_nobodys_values(stage: Stage) -> None:
    stage.configure(sources={"corp": replace(policy("corp"), ladder=AT_ONCE)})
    directory = Directory()
    directory.hire("rosa", cn="Rosa Luxembourg")
    directory.hire("karl", cn="Karl L")
    stage.run(directory)
    rows = stage.rows(t.outbox)
    assert {row.topic for row in rows} == {f"{PROV}create:notice"}
    secrets = [b"rosa", b"Luxembourg", b"karl"]
    assert not any(secret in orjson.dumps(row.payload) for row in rows for secret in secrets)
    told(stage)
    directory.people["rosa"]["title"] = "chair"
    stage.run(directory)
    [said] = told(stage)
    assert said["events"][f"{PROV}patch:notice"]["attributes"] == ["title"]


class Steps:
    """Notes how many items each transaction of a run leaves applied."""

    def __init__(self, applied: list[int]) -> None:
        self.applied = applied

    def step(self, name: str, done: int, total: int | None) -> None:
        if name == "apply":
            self.applied.append(done)


@pytest.mark.parametrize("served", [False, True])
def test_a_first_load_tells_of_a_groups_members_once_for_several_batches_unless_requests_may_wait(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, served: bool
) -> None:
    monkeypatch.setattr("syncd.store.plans.batch_size", lambda conn, workspace: 2)
    monkeypatch.setattr("syncd.store.plans.LOADED", 2)
    stage.configure(sources={"corp": policy()})
    directory = Directory()
    directory.hire(*(f"p{n}" for n in range(6)))
    directory.teams = {"crew": {f"p{n}" for n in range(6)}}
    steps: list[int] = []
    monkeypatch.setattr("syncd.store.runs.web_is_alive", lambda conn: served)
    stage.run(directory, progress=Steps(steps))
    assert steps == ([1, 3, 5, 7] if served else [7])
    crew = stage.group_named("crew")
    several = 3 if served else 1
    assert [each["events"] for each in told(stage) if each["sub_id"]["uri"] == f"/Groups/{crew.id}"] == [
        {f"{PROV}create:notice": {"version": 'W/"1"', "attributes": ["displayName", "id"]}},
        *[{f"{PROV}patch:notice": {"attributes": ["members"]}}] * several,
    ]
    assert crew.version == 1 + several and len(stage.rows(t.memberships, group_id=crew.id)) == 6


def test_who_waits_for_a_first_load_has_nothing_that_it_still_needs(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end of the batches of a transaction it asks for groups; who has one of them may ask for how many people there
    are, and so may not have to wait for this transaction: one of both would be picked as the victim of a deadlock."""
    stage = Stage(postgres_url)
    monkeypatch.setattr("syncd.store.plans.batch_size", lambda conn, workspace: 2)
    monkeypatch.setattr("syncd.store.plans.LOADED", 2)
    stage.configure(sources={"corp": policy()})
    directory = Directory()
    directory.hire("first")
    stage.run(directory)
    directory.hire(*(f"p{n}" for n in range(4)))
    directory.teams = {"crew": {f"p{n}" for n in range(4)}}
    write, asked = Later.write, list[Any]()

    def between(later: Later, conn: Connection) -> None:
        with stage.database.writing() as beside:
            beside.execute(text("SET LOCAL lock_timeout = '100ms'"))
            asked.append(beside.execute(select(t.totals).with_for_update()).all())
        write(later, conn)

    monkeypatch.setattr(Later, "write", between)
    assert stage.run(directory).counts["create"] == 4
    assert asked and len(stage.rows(t.memberships)) == 4
    stage.close()


def test_a_put_is_told_as_a_put_and_an_asynchronous_request_by_its_own_name(stage: Stage) -> None:
    stage.do(user("u1", "okta"))
    told(stage)
    actor = Actor("scim", "okta", "default", source="okta", method="PUT", txn="t-1:4")
    edit = stage.restated("u1", "okta", values={"title": "chair"})
    with stage.database.writing() as conn:
        commit(conn, stage.workspace, actor, [edit], stage.now, stage.ids).check()
    [said] = told(stage)
    assert said["txn"] == "t-1:4"
    assert list(said["events"]) == [f"{PROV}put:notice"]


def test_what_is_refused_is_not_told(stage: Stage) -> None:
    stage.do(user("u1"))
    told(stage)
    assert stage.act(user("u2", name="u1")).error is not None
    assert told(stage) == []
