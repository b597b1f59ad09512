"""Facts stay where they were stated: what is written is read back, names are unique, versions move with what is seen."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import insert, select

from door_stage import NOON, Directory, Stage, group, owner, policy, rule, staff, user
from syncd.core.actor import Actor
from syncd.core.change import GroupEdit, UserEdit
from syncd.core.ownership import Precedence
from syncd.core.seats import Pool
from syncd.core.state import Grant, Link, Membership
from syncd.core.workspace import Workspace
from syncd.errors import Mutability, StaleVersion, Uniqueness
from syncd.store import tables as t
from syncd.store import tokens

# -- rows ----------------------------------------------------------------------------------------------------------------


def test_a_user_is_read_back_as_she_was_written(stage: Stage) -> None:
    stage.configure(pools={"crm": Pool("crm", 1)})
    link = Link(
        "corp",
        "key-1",
        enabled=True,
        dn="uid=ann,dc=x",
        dn_key="uid=ann,dc=x",
        values={"userName": "Ann", "emails": [{"value": "ann@example.org", "type": "work", "primary": True}]},
        entry_hash="abc",
        mapping_digest="def",
        starts_at=NOON - timedelta(days=1),
        ends_at=NOON + timedelta(days=9, microseconds=7),
    )
    grants = (
        Grant("role", "viewer", "direct", "root", "asked", created_at=NOON, expires_at=NOON + timedelta(days=3)),
        Grant("seat", "crm", "direct", "root"),
        Grant("scope", "unit=north", "direct", "root"),
        Grant("permission", "assets.view", "direct", "root"),
    )
    stage.do(group("g1"))
    facts = {"invited": True, "locked_until": NOON + timedelta(hours=1), "suspended": None}
    edit = UserEdit("u1", "corp", create=True, link=link, join=("g1",), grant=grants, facts=facts)
    written = stage.do(edit, source="corp").users["u1"]
    read = stage.user("u1")
    assert read.links == (replace(link, created_at=NOON),)
    assert read == replace(
        written,
        grants=read.grants,
        memberships=(Membership("g1", "corp", NOON),),
    )
    assert {grant.id: (grant.why, grant.expires_at) for grant in read.grants} == {
        grant.id: (grant.why, grant.expires_at) for grant in grants
    }
    assert (read.status, read.version, read.groups) == ("locked", 1, frozenset({"g1"}))
    assert read.next_status_at == NOON + timedelta(hours=1)
    assert [(seat.pool, seat.held, seat.since) for seat in read.seats] == [("crm", True, NOON)]


def test_many_users_are_written_at_once_as_one_is(stage: Stage) -> None:
    """From some rows on PostgreSQL gets them by COPY, where a tab, a backslash or `\\N` has a meaning of its own."""
    titles = ["a\tb", "c\nd\re", r"e\N", r"\N", r"\t\\", '"x"', "Größe 漢字 🙂", "%s {0} :x"]
    directory = Directory()
    for number, key in enumerate(staff("p", 64)):
        directory.hire(key, title=titles[number % len(titles)])
    directory.teams = {"crew": set(directory.people)}
    stage.configure(sources={"corp": policy()}, rules=(rule("crew", 'groups[display eq "crew"]', roles=("viewer",)),))
    stage.run(directory)
    for number, key in enumerate(staff("p", 64)):
        user = stage.named(key)
        assert user.values["title"] == titles[number % len(titles)]
        assert len(user.memberships) == len(user.groups) == len(user.grants) == 1
        (link,) = user.links
        assert (link.dn, link.created_at, link.enabled, link.ends_at) == (directory.dn(key), stage.now, True, None)
    made = [row for row in stage.rows(t.activity_payloads) if row.after and "values" in row.after]
    assert sorted(row.after["values"]["title"] for row in made) == sorted(titles * 8)
    assert stage.run(directory).status == "clean"


def test_a_group_is_read_back_as_it_was_written(stage: Stage) -> None:
    link = Link("corp", "key-g", dn="cn=g,dc=x", dn_key="cn=g,dc=x", values={"displayName": "Übung"}, entry_hash="h")
    stage.do(group("top", "corp"), source="corp")
    stage.do(GroupEdit("g1", "corp", create=True, link=link, join=("top",), unresolved=("cn=b", "cn=a")), source="corp")
    read = stage.group("g1")
    assert read is not None
    assert read.link == replace(link, created_at=NOON)
    assert read.memberships == (Membership("top", "corp", NOON),)
    assert (read.source, read.name, read.version) == ("corp", "Übung", 1)
    assert [row.ref for row in stage.rows(t.unresolved_members)] == ["cn=a", "cn=b"]
    stage.do(GroupEdit("g1", "corp", unresolved=("cn=b",)), source="corp")
    assert [row.ref for row in stage.rows(t.unresolved_members)] == ["cn=b"]


def test_every_table_holds_rows_after_a_life(stage: Stage) -> None:
    """No table is written by nobody; each row comes back with the types it went in with."""
    directory = Directory()
    directory.hire(*[f"p{n}" for n in range(12)], employeeType="Employee")
    directory.hire("odd")
    directory.bad.add("odd")
    directory.teams = {"crew": {"p1", "stranger"}}
    stage.configure(
        sources={"corp": policy()},
        pools={"desk": Pool("desk", 3)},
        rules=(rule("staff", 'userType eq "Employee"', roles=("viewer",), seats=("desk",)),),
    )
    stage.run(directory)
    stage.later(days=2)
    stage.do(UserEdit("x", "local"))  # nothing to do: writes nothing
    for key in [f"p{n}" for n in range(11)]:
        del directory.people[key]
    stage.run(directory)
    stage.do(group("team", "okta"), source="okta")
    stage.do(UserEdit(stage.named("p11").id, "okta", join=("team",)), source="okta")
    own = Link("local", "p11", values={"emails": [{"value": "p11@example.org"}]})
    stage.do(UserEdit(stage.named("p11").id, "local", link=own))
    stage.later(days=2)
    stage.do(UserEdit(stage.named("p11").id, "okta", leave=("team",)), source="okta")
    with stage.database.writing() as conn:
        tokens.create(conn, Actor("cli", "root", "default"), "t", stage.now, stage.ids, source="scim")
    with stage.database.reading() as conn:
        written = {table.name for table in t.metadata.sorted_tables if conn.execute(select(table)).first() is not None}
    # Items and leases live while a run does; the others are the daemon's and the API's.
    apart = {"run_items", "leases", "activity_seals", "processes", "timers", "tolerances", "keys", "requests"}
    apart |= {"idempotency", "deliveries", "passwords", "password_resets", "sign_ins", "sign_in_reports"}
    apart |= {"offboardings", "mails", "invitations", "roles", "email_changes", "adoptions"}
    apart |= {"document_shapes", "unique_values", "assertions"}
    assert {table.name for table in t.metadata.sorted_tables} - written <= apart


def test_what_lives_shortly_is_read_back_too(stage: Stage) -> None:
    key = {"workspace": "default"}
    rows = {
        t.leases: {"name": "corp", "holder": "r1", "fence": 2**40, "expires_at": NOON},
        t.run_items: {
            **{"run_id": "r1", "ordinal": 1, "batch": 0, "state": "planned", "edits": b"[]", "expected": {"a": 1}},
            **{"changes": b"\0", "why": None},
        },
        t.activity_seals: {
            **{"number": 1, "rows": 2, "first_id": "a", "last_id": "b", "leaves": b"\0", "root": b"\3"},
            **{"previous": b"\1", "hash": b"\2", "sealed_at": NOON, "dropped_at": None},
        },
    }
    for table, row in rows.items():
        with stage.database.writing() as conn:
            conn.execute(insert(table).values(**key, **row))
        assert [each._asdict() for each in stage.rows(table)] == [{**key, **row}]


# -- isolation -----------------------------------------------------------------------------------------------------------


def test_two_workspaces_with_the_same_ids_and_names_never_meet(stage: Stage) -> None:
    def fill() -> None:
        stage.do(group("g1", "corp"), source="corp")
        stage.do(group("g2", "corp", join=("g1",)), source="corp")
        stage.do(user("u1", "corp", "k1", join=("g2",), grant=(owner(),)), source="corp")
        stage.do(user("u2", "corp", "k2", join=("g1",)), source="corp")

    here = stage.workspace
    there = Workspace("other", rules=here.rules, pools=here.pools, sources=here.sources)
    fill()
    stage.workspace = there
    fill()
    snapshot = {table.name: stage.rows(table) for table in t.metadata.sorted_tables if "workspace" in table.c}
    users = {id: stage.user(id) for id in ("u1", "u2")}
    stage.workspace = here
    stage.do(UserEdit("u2", "local", grant=(owner(),)))
    stage.do(UserEdit("u1", "local", facts={"deleted_at": stage.now}))
    stage.do(GroupEdit("g1", "corp", delete=True), source="corp")
    stage.do(GroupEdit("g2", "corp", delete=True), source="corp")
    stage.do(user("u3", name="u1"))
    assert stage.named("u1").id == "u3"
    stage.workspace = there
    after = {table.name: stage.rows(table) for table in t.metadata.sorted_tables if "workspace" in table.c}
    assert after == snapshot
    assert {id: stage.user(id) for id in users} == users
    assert stage.user("u1").groups == {"g1", "g2"}
    stage.sound()


def test_the_last_owner_of_one_workspace_is_not_saved_by_an_owner_of_another(stage: Stage) -> None:
    stage.do(user("u1", grant=(owner(),)))
    stage.workspace = Workspace("other")
    stage.do(user("u1", grant=(owner(),)))
    outcome = stage.act(UserEdit("u1", "local", facts={"suspended": "hold"}))
    assert "last active owner" in str(outcome.error)


# -- names ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("second", ["ann", "ANN", "Ann"])
def test_a_user_name_is_used_once(stage: Stage, second: str) -> None:
    stage.do(user("u1", name="Ann"))
    with pytest.raises(Uniqueness):
        stage.do(user("u2", name=second))


def test_names_that_fold_alike_are_one_name(stage: Stage) -> None:
    stage.do(user("u1", name="Stra\u00dfe\u00e9"))
    with pytest.raises(Uniqueness):
        stage.do(user("u2", name="STRASSEE\u0301"))


def test_two_users_of_one_change_group_may_not_take_one_name(stage: Stage) -> None:
    outcome = stage.act(user("u1", name="ann"), user("u2", name="ANN"))
    assert isinstance(outcome.error, Uniqueness)
    assert stage.rows(t.users) == []


def test_a_display_name_is_unique_in_its_source_only(stage: Stage) -> None:
    stage.do(group("g1", "corp", "Sales"), source="corp")
    stage.do(group("g2", "okta", "Sales"), source="okta")
    with pytest.raises(Uniqueness):
        stage.do(group("g3", "corp", "SALES"), source="corp")
    with pytest.raises(Uniqueness):
        stage.do(group("g4", "corp", "x"), group("g5", "corp", "X"), source="corp")


def test_a_group_name_is_free_again_after_rename_and_delete(stage: Stage) -> None:
    stage.do(group("g1", "corp", "Sales"), source="corp")
    stage.do(GroupEdit("g1", "corp", link=Link("corp", "g1", values={"displayName": "Selling"})), source="corp")
    stage.do(group("g2", "corp", "Sales"), source="corp")
    stage.do(GroupEdit("g2", "corp", delete=True), source="corp")
    stage.do(group("g3", "corp", "Sales"), source="corp")


def test_an_external_id_is_used_once_per_source(stage: Stage) -> None:
    stage.do(user("u1", "okta", "ext-1"), source="okta")
    with pytest.raises(Uniqueness):
        stage.do(user("u2", "okta", "ext-1"), source="okta")
    stage.do(user("u3", "entra", "ext-1"), source="entra")
    stage.do(group("ext-1", "okta"), source="okta")  # a group's key is another key


def test_a_rename_keeps_the_id_and_frees_the_old_name(stage: Stage) -> None:
    stage.do(user("u1", name="ann"))
    stage.restate("u1", values={"userName": "anna"}).check()
    assert stage.named("anna").version == 2
    stage.do(user("u2", name="ann"))


def test_a_rename_to_a_taken_name_changes_nothing(stage: Stage) -> None:
    stage.do(user("u1", name="ann"))
    stage.do(user("u2", name="bob"))
    assert isinstance(stage.restate("u2", values={"userName": "ANN"}).error, Uniqueness)
    assert (stage.user("u2").name, stage.user("u2").version) == ("bob", 1)


def test_a_deleted_name_is_free_and_a_create_makes_a_new_user(stage: Stage) -> None:
    stage.do(user("u1", name="ann"))
    stage.do(UserEdit("u1", "local", facts={"deleted_at": stage.now}))
    stage.do(user("u2", name="ann"))
    assert stage.named("ann").id == "u2"


def test_whoever_gave_her_name_away_as_she_was_deleted_is_found_by_it_when_she_is_back(stage: Stage) -> None:
    stage.do(user("u1", name="ann"))
    stage.do(UserEdit("u1", "local", facts={"deleted_at": stage.now}), user("u2", name="ann"))
    stage.restate("u2", values={"userName": "bob"}).check()
    stage.do(UserEdit("u1", "local", facts={"deleted_at": None}))
    assert stage.rows(t.users, id="u1")[0].user_name_key == "ann"
    with pytest.raises(Uniqueness, match="'ann' is taken"):
        stage.do(user("u3", name="ann"))


def test_a_restore_onto_a_taken_name_is_a_conflict_with_a_clear_answer(stage: Stage) -> None:
    stage.do(user("u1", name="ann"))
    stage.do(UserEdit("u1", "local", facts={"deleted_at": stage.now}))
    stage.do(user("u2", name="ann"))
    with pytest.raises(Uniqueness, match="'ann' is taken"):
        stage.do(UserEdit("u1", "local", facts={"deleted_at": None}))
    stage.restate("u2", values={"userName": "bob"}).check()
    stage.do(UserEdit("u1", "local", facts={"deleted_at": None}))
    assert stage.user("u1").status == "active"


def test_a_deletion_takes_groups_and_seats_and_a_restore_gives_them_back(stage: Stage) -> None:
    stage.configure(
        pools={"desk": Pool("desk", 1)}, rules=(rule("crew", 'groups[display eq "crew"]', seats=("desk",)),)
    )
    stage.do(group("crew"))
    stage.do(user("u1", join=("crew",)))
    stage.do(UserEdit("u1", "local", facts={"deleted_at": stage.now}))
    gone = stage.user("u1")
    assert (gone.status, gone.groups, gone.seats) == ("deleted", frozenset(), ())
    crew = stage.group("crew")
    assert crew is not None and crew.version == 3, "its members changed twice: she came, she went"
    stage.do(UserEdit("u1", "local", facts={"deleted_at": None}))
    back = stage.user("u1")
    assert (back.status, back.groups, [seat.held for seat in back.seats]) == ("active", {"crew"}, [True])


# -- versions ------------------------------------------------------------------------------------------------------------


def test_no_change_makes_no_version_and_no_record(stage: Stage) -> None:
    stage.do(user("u1", values={"title": "Lead"}))
    before, rows = stage.user("u1"), len(stage.rows(t.activity))
    outcome = stage.restate("u1", values={"title": "Lead"})
    assert (outcome.changes, outcome.error) == ((), None)
    assert stage.user("u1") == before
    assert len(stage.rows(t.activity)) == rows
    assert stage.rows(t.users)[0].modified_at == NOON


def test_what_nobody_sees_makes_no_version(stage: Stage) -> None:
    stage.do(user("u1", "corp"), source="corp")
    stage.later(hours=1)
    stage.restate("u1", "corp", entry_hash="other", dn="uid=moved").check()
    assert (stage.user("u1").version, stage.rows(t.users)[0].modified_at) == (1, NOON)
    stage.restate("u1", "corp", ends_at=NOON + timedelta(days=5)).check()
    row = stage.rows(t.users)[0]
    assert (row.version, row.next_status_at) == (1, NOON + timedelta(days=5))


def test_one_batch_may_hold_seen_and_unseen_changes(stage: Stage) -> None:
    """Rows of one table in one batch need not have the same columns: a modified_at belongs only to what is seen."""
    for id in ("u1", "u2", "u3"):
        stage.do(user(id, "corp"), source="corp")
    stage.later(hours=1)
    for seen, unseen in ((("u1",), ("u2", "u3")), (("u3",), ("u1", "u2"))):
        for order in ((*seen, *unseen), (*unseen, *seen)):
            stage.later(minutes=1)
            stage.do(
                *(
                    stage.restated(id, "corp", values={"title": f"at {stage.now}"})
                    if id in seen
                    else stage.restated(id, "corp", ends_at=stage.now + timedelta(days=9))
                    for id in order
                ),
                source="corp",
            )
            modified = {row.id: row.modified_at for row in stage.rows(t.users)}
            assert modified[seen[0]] == stage.now
            assert all(modified[id] < stage.now for id in unseen)
            assert all(stage.user(id).next_status_at == stage.now + timedelta(days=9) for id in unseen)


def test_a_stale_version_is_refused_and_says_which(stage: Stage) -> None:
    stage.do(user("u1"))
    stage.restate("u1", values={"title": "a"}).check()
    edit = stage.restated("u1", values={"title": "b"})
    with pytest.raises(StaleVersion, match="version 2, not 1"):
        stage.do(edit, expect={"u1": 1})
    stage.do(edit, expect={"u1": 2})
    stage.do(group("g1"))
    stage.do(UserEdit("u1", "local", join=("g1",)))
    with pytest.raises(StaleVersion):
        stage.do(GroupEdit("g1", "local", delete=True), expect={"g1": 1})


def test_a_members_change_moves_the_groups_version(stage: Stage) -> None:
    def version(id: str) -> int:
        found = stage.group(id)
        assert found is not None
        return found.version

    stage.do(group("g1"))
    stage.do(group("g2"))
    stage.do(user("u1", join=("g1",)))
    assert version("g1") == 2
    stage.do(UserEdit("u1", "local", join=("g1",)))
    assert version("g1") == 2
    stage.do(GroupEdit("g2", "local", join=("g1",)))
    assert (version("g1"), version("g2")) == (3, 1), "which groups it is in is shown by those"
    stage.do(GroupEdit("g2", "local", leave=("g1",)))
    assert version("g1") == 4
    stage.do(UserEdit("u1", "local", leave=("g1",)))
    assert version("g1") == 5


# -- facts of people and of sources --------------------------------------------------------------------------------------


def test_deactivate_suspend_lock_and_delete_are_facts_of_their_own(stage: Stage) -> None:
    stage.do(user("u1", "corp"), source="corp")
    steps = (
        ({"locked_until": NOON + timedelta(days=1)}, "locked"),
        ({"suspended": "hold"}, "suspended"),
        (None, "inactive"),
        ({"deleted_at": NOON}, "deleted"),
    )
    for facts, expected in steps:
        if facts is None:
            stage.do(UserEdit("u1", "local", link=Link("local", "u1", enabled=False)))
        else:
            stage.do(UserEdit("u1", "local", facts=facts))
        assert stage.user("u1").status == expected
    for facts, expected in (
        ({"deleted_at": None}, "inactive"),
        (None, "suspended"),
        ({"suspended": None}, "locked"),
        ({"locked_until": None}, "active"),
    ):
        if facts is None:
            stage.do(UserEdit("u1", "local", drop_link="u1"))
        else:
            stage.do(UserEdit("u1", "local", facts=facts))
        assert stage.user("u1").status == expected


def test_a_returning_entry_lifts_its_own_stage_and_nobody_elses_hold(stage: Stage) -> None:
    stage.configure(sources={"corp": policy(), "hr": policy("hr")})
    corp, hr = Directory(), Directory("hr")
    corp.hire("ann")
    stage.run(corp)
    ann = stage.named("ann").id
    stage.do(UserEdit(ann, "hr", link=Link("hr", "h-ann")), source="hr")
    stage.do(UserEdit(ann, "local", facts={"suspended": "audit"}))
    stage.do(UserEdit(ann, "local", link=Link("local", ann, enabled=False)))
    corp.people.clear()
    for _ in range(4):
        stage.later(days=1)
        stage.run(corp)
    stage.run(hr)  # not there either
    assert [link.stage for link in stage.user(ann).links] == ["deleted", "suspended", None]
    corp.hire("ann")
    stage.run(corp)
    assert [(link.source, link.stage, link.enabled) for link in stage.user(ann).links] == [
        ("corp", None, True),
        ("hr", "suspended", True),
        ("local", None, False),
    ]
    assert stage.user(ann).suspended == "audit"
    assert stage.user(ann).status == "inactive"


def test_one_sources_disabled_is_not_anothers_to_lift(stage: Stage) -> None:
    stage.do(user("u1", "corp"), source="corp")
    stage.do(UserEdit("u1", "okta", link=Link("okta", "u1", enabled=False)), source="okta")
    stage.restate("u1", "corp", values={"title": "x"}).check()
    assert stage.user("u1").status == "inactive"
    stage.restate("u1", "okta", enabled=True).check()
    assert stage.user("u1").status == "active"


# -- owners of values ----------------------------------------------------------------------------------------------------


def test_a_value_that_yields_is_kept_and_shown_when_the_winner_goes(stage: Stage) -> None:
    stage.configure(
        precedence=Precedence(("hr", "okta"), {"title": ("okta", "hr")}), sources={"okta": policy("okta", adopt="ask")}
    )
    stage.do(user("u1", "hr", name="ann", values={"displayName": "Ann of hr", "title": "hr"}), source="hr")
    said = {"userName": "ann", "displayName": "Ann of okta", "title": "okta"}
    outcome = stage.do(UserEdit("u1", "okta", link=Link("okta", "e1", values=said)), source="okta")
    assert [(each.kind, each.after) for each in outcome.changes if each.kind == "yield"] == [
        ("yield", {"displayName": "Ann of okta", "shown": "Ann of hr"})
    ]
    assert (stage.user("u1").values["displayName"], stage.user("u1").values["title"]) == ("Ann of hr", "okta")
    stage.do(UserEdit("u1", "hr", drop_link="u1"), source="hr")
    assert stage.user("u1").values["displayName"] == "Ann of okta"


def test_a_yield_alone_makes_no_new_version(stage: Stage) -> None:
    stage.configure(precedence=Precedence(("hr",)))
    stage.do(user("u1", "hr", name="ann", values={"title": "hr"}), source="hr")
    stage.do(UserEdit("u1", "okta", link=Link("okta", "e1", values={"userName": "ann"})), source="okta")
    version = stage.user("u1").version
    stage.restate("u1", "okta", values={"title": "okta"}).check()
    link = stage.user("u1").link("okta")
    assert link is not None and link.values["title"] == "okta"
    assert (stage.user("u1").values["title"], stage.user("u1").version) == ("hr", version)


def test_on_conflict_refuse_answers_mutability_and_writes_nothing(stage: Stage) -> None:
    stage.configure(precedence=Precedence(("hr",)), sources={"okta": policy("okta", on_conflict="refuse")})
    stage.do(user("u1", "hr", name="ann", values={"title": "hr"}), source="hr")
    with pytest.raises(Mutability, match="title is owned by source hr"):
        stage.do(
            UserEdit("u1", "okta", link=Link("okta", "e1", values={"userName": "ann", "title": "okta"})), source="okta"
        )
    assert stage.user("u1").link("okta") is None
    assert [(action, subject) for action, subject, _ in stage.activity("refused")] == [("refused", "ann")]
