"""Memberships are rows with an origin; what is effective is their closure, at any depth, at the same price in any group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, event, insert

from door_stage import AT_ONCE, NOON, Directory, Stage, group, policy, rule, staff, user
from syncd.core.change import GroupEdit, UserEdit
from syncd.core.guards import Limit, Limits
from syncd.core.lifecycle import Ladder
from syncd.core.seats import Pool
from syncd.core.state import User
from syncd.errors import HeldByGuard
from syncd.store import facts
from syncd.store import tables as t


def chain(stage: Stage, depth: int) -> list[str]:
    """g000 in g001 in g002 ..."""
    names = staff("g", depth)
    for name in reversed(names):
        above = names[names.index(name) + 1 :][:1]
        stage.do(group(name, join=tuple(above)))
    return list(names)


def test_two_origins_of_one_membership(stage: Stage) -> None:
    stage.do(group("g1"))
    stage.do(user("u1", join=("g1",)))
    stage.do(UserEdit("u1", "corp", join=("g1",)), source="corp")
    gone = stage.do(UserEdit("u1", "local", leave=("g1",)))
    assert [(each.kind, each.loss) for each in gone.changes] == [("leave", None)]
    assert stage.user("u1").groups == {"g1"}
    stage.do(UserEdit("u1", "local", leave=("g1",)))  # it is not hers to take
    assert stage.user("u1").groups == {"g1"}
    last = stage.do(UserEdit("u1", "corp", leave=("g1",)), source="corp")
    assert [(each.kind, each.loss) for each in last.changes] == [("leave", "membership")]
    assert stage.user("u1").groups == frozenset()


def test_fifty_levels_of_nesting(stage: Stage) -> None:
    names = chain(stage, 50)
    stage.do(user("u1", join=("g000",)))
    assert stage.user("u1").groups == set(names)
    stage.do(UserEdit("u1", "local", leave=("g000",)))
    assert stage.user("u1").groups == frozenset()


def test_an_inner_edge_that_goes_takes_everything_above_it_and_comes_back(stage: Stage) -> None:
    stage.configure(rules=(rule("top", 'groups[display eq "g049"]', roles=("viewer",)),))
    names = chain(stage, 50)
    stage.do(user("u1", join=("g000",)))
    stage.do(user("u2", join=("g030",)))
    assert stage.roles("u1") == {"viewer"}
    stage.do(GroupEdit("g020", "local", leave=("g021",)))
    assert stage.user("u1").groups == set(names[:21])
    assert (stage.roles("u1"), stage.roles("u2")) == (set(), {"viewer"})
    stage.do(GroupEdit("g020", "local", join=("g021",)))
    assert stage.user("u1").groups == set(names)
    assert stage.roles("u1") == {"viewer"}


def test_an_edge_with_two_origins_holds_until_both_are_gone(stage: Stage) -> None:
    stage.do(group("top"), group("in", join=("top",)))
    stage.do(GroupEdit("in", "corp", join=("top",)), source="corp")
    stage.do(user("u1", join=("in",)))
    stage.do(GroupEdit("in", "local", leave=("top",)))
    assert stage.user("u1").groups == {"in", "top"}
    stage.do(GroupEdit("in", "corp", leave=("top",)), source="corp")
    assert stage.user("u1").groups == {"in"}


@pytest.mark.parametrize("size", [1, 2, 3])
def test_cycles_are_survived_and_can_be_undone(stage: Stage, size: int) -> None:
    names = staff("g", size)
    for name in names:
        stage.do(group(name))
    stage.do(user("u1", join=(names[0],)))
    for index, name in enumerate(names):
        stage.do(GroupEdit(name, "local", join=(names[(index + 1) % size],)))
    assert stage.user("u1").groups == set(names)
    stage.do(GroupEdit(names[-1], "local", leave=(names[0],)))
    assert stage.user("u1").groups == set(names)
    for name in names:
        stage.do(GroupEdit(name, "local", delete=True))
    assert stage.user("u1").groups == frozenset()
    assert stage.rows(t.memberships) == []


def test_a_diamond_keeps_the_other_way_up(stage: Stage) -> None:
    stage.do(group("top"), group("left", join=("top",)), group("right", join=("top",)))
    stage.do(group("in", join=("left", "right")))
    stage.do(user("u1", join=("in",)))
    stage.do(GroupEdit("left", "local", delete=True))
    assert stage.user("u1").groups == {"in", "right", "top"}


def test_a_group_that_goes_takes_members_of_every_origin_and_the_groups_inside(stage: Stage) -> None:
    stage.configure(rules=(rule("crew", 'groups[display eq "crew"]', roles=("viewer",)),))
    stage.do(group("crew"), group("in", join=("crew",)))
    stage.do(user("u1", join=("crew",)))
    stage.do(user("u2", join=("in",)))
    stage.do(UserEdit("u1", "corp", join=("crew",)), source="corp")
    outcome = stage.do(GroupEdit("crew", "local", delete=True, why="gone"))
    assert sorted(
        (each.kind, each.subject, each.before) for each in outcome.changes if each.kind != "group_delete"
    ) == [
        ("leave", "group in", "crew"),
        ("leave", "u1", "crew"),
        ("leave", "u1", "crew"),
        ("revoke", "u1", "role viewer"),
        ("revoke", "u2", "role viewer"),
    ]
    assert stage.group("crew") is None
    assert [(row.group_id, row.member_id) for row in stage.rows(t.memberships)] == [("in", "u2")]


def test_a_group_in_the_middle_that_goes(stage: Stage) -> None:
    stage.do(group("top"), group("mid", join=("top",)), group("low", join=("mid",)))
    stage.do(user("u1", join=("low",)))
    stage.do(GroupEdit("mid", "local", delete=True))
    assert stage.user("u1").groups == {"low"}


def test_a_group_over_the_limit_is_held_whole(stage: Stage) -> None:
    stage.configure(sources={"okta": policy("okta", limits=Limits({"membership": Limit(floor=2)}))})
    stage.do(group("crew", "okta"), source="okta")
    for id in staff("u", 4):
        stage.do(user(id, "okta", join=("crew",)), source="okta")
    stage.later(days=2)
    outcome = stage.act(GroupEdit("crew", "okta", delete=True), source="okta")
    assert isinstance(outcome.error, HeldByGuard)
    assert "4 of 4 (100.0%) users would leave a group" in str(outcome.error)
    assert stage.group("crew") is not None
    assert all(stage.user(id).groups == {"crew"} for id in staff("u", 4))
    (digest,) = {row.digest for row in stage.rows(t.held)}
    stage.approve(digest)
    assert all(stage.user(id).groups == frozenset() for id in staff("u", 4))
    stage.do(GroupEdit("crew", "okta", delete=True), source="okta")
    assert stage.group("crew") is None


def test_a_group_that_a_run_would_end_over_the_limit_stays_with_all_its_members(stage: Stage) -> None:
    stage.configure(sources={"corp": policy(limits=Limits({"membership": Limit(floor=3)}))})
    directory = Directory()
    directory.hire(*staff("p", 6))
    directory.teams = {"crew": set(staff("p", 6)), "in": set(), "small": {"p000"}}
    directory.teams["crew"].add("in")
    stage.run(directory)
    stage.later(days=2)
    del directory.teams["crew"]
    stage.run(directory)
    report = stage.run(directory)
    assert report.status == "held"
    crew = stage.group_named("crew").id
    assert all(crew in stage.user(row.id).groups for row in stage.rows(t.users))
    (held,) = report.held
    stage.approve(held.digest)
    report = stage.run(directory)
    assert stage.run(directory).status == "clean"
    assert [row.display_name for row in stage.rows(t.groups)] == ["in", "small"]


def test_a_nested_group_that_leaves_over_the_limit_can_be_approved(stage: Stage) -> None:
    stage.configure(sources={"corp": policy(limits=Limits({"membership": Limit(floor=0)}))})
    directory = Directory()
    directory.hire("ann")
    directory.teams = {"top": {"in"}, "in": {"ann"}}
    stage.run(directory)
    stage.later(days=2)
    directory.teams["top"] = set()
    (held,) = stage.run(directory).held
    assert held.subjects == ("group in",)
    assert len(stage.named("ann").groups) == 2
    report = stage.approve(held.digest)
    assert report.counts["leave"] == 1
    assert len(stage.named("ann").groups) == 1
    assert stage.run(directory).status == "clean"


def test_a_member_of_a_group_that_is_not_there_is_none(stage: Stage) -> None:
    stage.do(user("u1", join=("nowhere",)))
    assert stage.user("u1").memberships == ()
    stage.do(group("g1", join=("nowhere",)))
    found = stage.group("g1")
    assert found is not None and found.memberships == ()


def test_a_renamed_group_moves_those_whom_rules_know_by_its_name(stage: Stage) -> None:
    stage.configure(
        pools={"desk": Pool("desk", 1)},
        rules=(rule("crew", 'groups[display eq "crew"]', roles=("viewer",), seats=("desk",)),),
    )
    stage.do(group("g1", name="other"), group("g2", join=("g1",)))
    stage.do(user("u1", join=("g2",)))
    known = stage.group("g1")
    assert known is not None and known.link is not None
    renamed = type(known.link)("local", "g1", values={"displayName": "crew"})
    stage.do(GroupEdit("g1", "local", link=renamed))
    assert (stage.roles("u1"), stage.held("desk")) == ({"viewer"}, ["u1"])
    stage.do(GroupEdit("g1", "local", link=known.link))
    assert (stage.roles("u1"), stage.held("desk")) == (set(), [])


# -- the price -------------------------------------------------------------------------------------------------------


@contextmanager
def statements(stage: Stage) -> Iterator[Callable[[], int]]:
    seen: list[str] = []

    def note(conn: object, cursor: object, statement: str, *rest: object) -> None:
        seen.append(statement)

    event.listen(stage.database.engine, "before_cursor_execute", note)
    yield lambda: len(seen)
    event.remove(stage.database.engine, "before_cursor_execute", note)


def crowd(stage: Stage, name: str, n: int) -> None:
    """n members in one stroke: their rows only, which is all that adding one more could ever look at."""
    rows = [
        {
            **{"workspace": "default", "group_id": name, "member": "user", "member_id": f"{name}-{number:06d}"},
            **{"origin": "local", "created_at": NOON},
        }
        for number in range(n)
    ]
    with stage.database.writing() as conn:
        conn.execute(insert(t.memberships), rows)
        conn.execute(
            insert(t.effective_memberships),
            [{"workspace": "default", "user_id": row["member_id"], "group_id": name} for row in rows],
        )


def test_a_member_costs_as_many_statements_in_a_group_of_fifty_thousand_as_in_one_of_five(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.configure(rules=(rule("crew", 'groups[display sw "g"]', roles=("viewer",)),))
    stage.do(group("g5"), group("g50000"), user("u1"), user("u2"))
    crowd(stage, "g5", 5)
    crowd(stage, "g50000", 50_000)
    monkeypatch.setattr(stage, "sound", lambda: None)  # the crowd has no user rows
    counts = {}
    for id, name in (("u1", "g5"), ("u2", "g50000")):
        with statements(stage) as count:
            stage.do(UserEdit(id, "local", join=(name,)))
            counts[name] = [count()]
            stage.do(UserEdit(id, "local", leave=(name,)))
            counts[name].append(count())
    assert counts["g5"] == counts["g50000"]
    assert counts["g5"][0] < 40


@pytest.mark.parametrize("asked", [False, True], ids=["no rule asks", "a rule asks"])
def test_only_those_are_derived_anew_to_whom_it_matters(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    if asked:
        stage.configure(rules=(rule("crew", 'groups[display eq "crew"]', roles=("viewer",)),))
    stage.do(group("outer"), group("top", join=("outer",)), group("inner"))
    stage.do(user("u1", join=("top",)), user("u2", join=("outer",)))
    stage.do(user("u3", join=("inner",)))
    looked_at: list[set[str]] = []

    def loaded(conn: Connection, workspace: str, ids: Iterable[str], *more: Any) -> dict[str, User]:
        looked_at.append(set(ids))
        return load_users(conn, workspace, looked_at[-1], *more)

    load_users, sound = facts.load_users, stage.sound
    monkeypatch.setattr(facts, "load_users", loaded)
    monkeypatch.setattr(stage, "sound", lambda: None)  # it looks at everybody
    stage.do(GroupEdit("inner", "local", join=("top",)))
    assert looked_at == [{"u3"}], "who is in the outer ones is there as before"
    looked_at.clear()
    stage.do(replace(group("top", name="crew"), create=False))
    assert looked_at == ([{"u1", "u3"}] if asked else [])
    monkeypatch.undo()
    sound()
    assert stage.roles("u3") == ({"viewer"} if asked else set())


# -- runs ------------------------------------------------------------------------------------------------------------


def test_a_run_with_two_origins_and_a_group_that_goes_does_what_it_promised(stage: Stage) -> None:
    """One user changes in the plan and leaves the group that goes at its end, where a person had put her."""
    stage.configure(sources={"corp": policy(ladder=AT_ONCE)})
    directory = Directory()
    directory.hire("ann", "bob")
    directory.teams = {"crew": {"ann"}}
    stage.run(directory)
    crew = stage.group_named("crew").id
    stage.do(UserEdit(stage.named("ann").id, "local", join=(crew,)))
    stage.do(UserEdit(stage.named("bob").id, "local", join=(crew,)))
    del directory.teams["crew"]
    directory.people["ann"]["title"] = "Lead"
    promised = stage.plan(directory)
    done = stage.run(directory)
    assert done.digest == promised.digest
    assert not [note for note in done.notes if "dropped" in note]
    assert stage.rows(t.groups) == []
    assert stage.plan(directory).status == "clean"


def test_a_group_that_somebody_nests_while_a_run_applies_counts_for_whoever_comes_later(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syncd.store.plans.batch_size", lambda conn, workspace: 2)
    stage.configure(sources={"corp": policy()})
    directory = Directory()
    directory.teams = {"crew": set()}
    stage.run(directory)
    stage.do(group("top"))
    directory.hire(*staff("p", 8))
    directory.teams["crew"] = set(staff("p", 8))
    crew = stage.group_named("crew").id

    class Meddler:
        batches = 0

        def step(self, name: str, done: int, total: int | None) -> None:
            if name == "apply":
                self.batches += 1
                if self.batches == 2:
                    stage.do(GroupEdit(crew, "local", join=("top",)))

    meddler = Meddler()
    stage.run(directory, progress=meddler)
    assert meddler.batches > 3
    assert all(stage.named(key).groups == {crew, "top"} for key in staff("p", 8))


def test_a_group_that_goes_with_a_group_in_it_that_people_nested(stage: Stage) -> None:
    """Whoever is in the inner group changes in this very run, before the outer one goes at its end."""
    stage.configure(sources={"corp": policy()})
    directory = Directory()
    directory.hire("ann", "bob")
    directory.teams = {"crew": set(), "in": {"ann", "bob"}}
    stage.run(directory)
    crew, inner = stage.group_named("crew").id, stage.group_named("in").id
    stage.do(GroupEdit(inner, "local", join=(crew,)))
    assert stage.named("ann").groups == {crew, inner}
    stage.later(days=2)
    del directory.teams["crew"]
    directory.people["ann"]["title"] = "Lead"
    promised = stage.plan(directory)
    done = stage.run(directory)
    assert (done.digest, done.notes) == (promised.digest, ())
    assert stage.named("ann").groups == stage.named("bob").groups == {inner}
    assert stage.plan(directory).status == "clean"


def test_a_group_that_goes_while_one_that_people_nested_in_it_goes_into_another(stage: Stage) -> None:
    stage.configure(sources={"corp": policy()})
    directory = Directory()
    directory.hire("ann")
    directory.teams = {"crew": set(), "staff": set(), "in": {"ann"}}
    stage.run(directory)
    crew, staff, inner = (stage.group_named(name).id for name in ("crew", "staff", "in"))
    stage.do(GroupEdit(inner, "local", join=(crew,)))
    stage.later(days=2)
    del directory.teams["crew"]
    directory.teams["staff"] = {"in"}
    promised = stage.plan(directory)
    assert stage.run(directory).digest == promised.digest
    assert stage.named("ann").groups == {inner, staff}
    assert stage.plan(directory).status == "clean"


def test_a_group_made_again_with_the_name_of_one_that_is_gone_is_another(stage: Stage) -> None:
    stage.configure(sources={"corp": policy(ladder=Ladder())})
    directory = Directory()
    directory.hire("ann", "bob")
    directory.teams = {"old": {"ann"}}
    stage.run(directory)
    directory.teams, directory.names = {"new": {"bob"}}, {"new": "old"}
    (why,) = [each.why for each in stage.run(directory).set_aside]
    assert (
        f"the entry {directory.dn('old')} (old); if that is gone, the name is free after `missing.suspend_after`" in why
    )
    assert (len(stage.named("ann").groups), len(stage.named("bob").groups)) == (1, 0)
    stage.later(days=2)
    stage.run(directory)
    stage.run(directory)
    assert (len(stage.named("ann").groups), len(stage.named("bob").groups)) == (0, 1)


def test_a_refused_group_leaves_nobody_in_it(stage: Stage) -> None:
    """Two entries of one name: the second is set aside, and its members are no members of anything."""
    stage.configure(sources={"corp": policy()})
    directory = Directory()
    directory.hire("ann")
    directory.teams = {"a": {"ann"}, "b": {"ann"}, "c": {"ann", "b"}}
    directory.names = {"b": "a"}
    report = stage.run(directory)
    (why,) = [each.why for each in report.set_aside]
    assert why.startswith("a group named 'a' of source corp exists already")
    assert len(stage.rows(t.groups)) == 2
    assert len(stage.named("ann").groups) == 2


def test_a_group_in_two_groups_that_go_leaves_both(stage: Stage) -> None:
    stage.configure(sources={"corp": policy()})
    directory = Directory()
    directory.hire("ann")
    directory.teams = {"one": {"in"}, "two": {"in"}, "in": {"ann"}}
    stage.run(directory)
    stage.later(days=2)
    del directory.teams["one"], directory.teams["two"]
    directory.bad.add("in")
    stage.run(directory)
    stage.run(directory)
    assert [row.display_name for row in stage.rows(t.groups)] == ["in"]
    assert stage.named("ann").groups == {stage.group_named("in").id}


def test_who_comes_into_a_group_within_one_that_goes_in_the_same_run(stage: Stage) -> None:
    """She is decided before the outer group goes, and is in it nowhere but in this plan: what it gives must not stay."""
    stage.configure(
        sources={"corp": policy()},
        pools={"desk": Pool("desk", 5)},
        rules=(rule("crew", 'groups[display eq "crew"]', roles=("viewer",), seats=("desk",)),),
    )
    directory = Directory()
    directory.hire("ann", "bob")
    directory.teams = {"crew": set(), "in": {"ann"}}
    stage.run(directory)
    crew, inner = stage.group_named("crew").id, stage.group_named("in").id
    stage.do(GroupEdit(inner, "local", join=(crew,)))
    assert stage.held("desk") == [stage.named("ann").id]
    stage.later(days=2)
    del directory.teams["crew"]
    directory.teams["in"].add("bob")
    promised = stage.plan(directory)
    done = stage.run(directory)
    assert (done.digest, done.notes) == (promised.digest, ())
    assert (stage.held("desk"), promised.seats_after["desk"].used) == ([], 0)
    assert stage.named("ann").groups == stage.named("bob").groups == {inner}


def test_who_goes_missing_with_a_group_of_hers_is_decided_once(stage: Stage) -> None:
    """She keeps her groups while she may come back, and this one goes at the end of the same run."""
    stage.configure(
        sources={"corp": policy(ladder=AT_ONCE)},
        pools={"desk": Pool("desk", 5)},
        rules=(rule("outside", 'not (groups[display eq "crew"])', seats=("desk",)),),
    )
    directory = Directory()
    directory.hire("ann", "bob")
    directory.teams = {"crew": {"ann"}, "rest": {"ann", "bob"}}
    stage.run(directory)
    ann = stage.named("ann").id
    stage.later(days=2)
    del directory.people["ann"], directory.teams["crew"]
    promised = stage.plan(directory)
    done = stage.run(directory)
    assert (done.digest, done.counts["suspend"]) == (promised.digest, 1)
    assert not [note for note in done.notes if "dropped" in note]
    assert promised.seats_after["desk"].waiting == 0
    assert [each.group for each in stage.user(ann).memberships] == [stage.group_named("rest").id]
    directory.hire("ann")
    stage.run(directory)
    assert ann in stage.held("desk")
