"""The safety rules at the door, judged by what is left in the store: what is held stays, and only that."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from door_stage import Directory, Stage, condition, group, owner, policy, protects, rule, staff, user
from syncd.core.change import GroupEdit, UserEdit
from syncd.core.guards import Limit, Limits
from syncd.core.lifecycle import Ladder
from syncd.core.plan import Report
from syncd.core.seats import Pool
from syncd.core.state import Grant, Link
from syncd.errors import HeldByGuard, NotFound, Refused, Uniqueness
from syncd.store import limits
from syncd.store import tables as t


def tight(floor: int = 2) -> Limits:
    kinds = ("deactivate", "suspend", "delete", "role", "seat", "membership", "blank")
    return Limits({kind: Limit(floor=floor) for kind in kinds})


def company(stage: Stage, n: int = 8, floor: int = 2, **more: object) -> Directory:
    """n employees in one team, read into the store two days ago: nothing of it is the source's own recent making."""
    stage.configure(
        sources={"corp": policy(limits=tight(floor), **more)},
        pools={"desk": Pool("desk", None)},
        rules=(
            rule("staff", 'userType eq "Employee"', roles=("viewer",)),
            rule("crew", 'groups[display eq "crew"]', roles=("member",), seats=("desk",)),
        ),
    )
    directory = Directory()
    directory.hire(*staff("p", n), employeeType="Employee", title="Clerk")
    directory.teams = {"crew": set(staff("p", n))}
    assert stage.run(directory).status == "applied"
    stage.later(days=2)
    return directory


def kinds(report: Report) -> list[tuple[str, str]]:
    return [(each.guard, each.kind) for each in report.held]


# -- rule 1: absence needs a complete read -------------------------------------------------------------------------------


def test_an_incomplete_read_takes_nothing_by_absence(stage: Stage) -> None:
    directory = company(stage)
    before = [stage.user(row.id) for row in stage.rows(t.users)]
    directory.because = ("cut off",)
    for key in staff("p", 3):
        del directory.people[key]
    directory.teams["crew"] -= {"p000", "p004", "p005"}
    directory.people["p006"].pop("title")
    for _ in range(3):
        stage.later(days=1)
        report = stage.run(directory)
        assert (report.status, report.exit_code) == ("incomplete", 5)
        assert not any(change.loss for change in report.changes)
    after = [stage.user(row.id) for row in stage.rows(t.users)]
    assert [replace(user, links=()) for user in after] == [replace(user, links=()) for user in before]
    assert all(link.missing_reads == 0 and link.stage is None for user in after for link in user.links)


def test_an_incomplete_read_takes_no_group_and_no_nesting(stage: Stage) -> None:
    directory = company(stage)
    directory.teams |= {"inner": {"p000"}}
    directory.teams["crew"] |= {"inner"}
    stage.run(directory)
    directory.because = ("cut off",)
    directory.teams["crew"] -= {"inner"}
    stage.run(directory)
    del directory.teams["crew"]
    stage.run(directory)
    assert {row.display_name for row in stage.rows(t.groups)} == {"crew", "inner"}
    assert len(stage.rows(t.memberships, member="group")) == 1


def test_what_an_incomplete_read_states_goes_on(stage: Stage) -> None:
    directory = company(stage)
    directory.because = ("cut off",)
    directory.disabled.add("p001")
    directory.people["p002"]["title"] = "Lead"
    directory.hire("new", employeeType="Employee")
    directory.teams["crew"].add("new")
    stage.run(directory)
    assert stage.named("p001").status == "inactive"
    assert stage.named("p002").values["title"] == "Lead"
    assert stage.roles(stage.named("new").id) == {"viewer", "member"}


def test_an_entry_that_was_set_aside_is_no_leaver(stage: Stage) -> None:
    directory = company(stage)
    directory.bad = {"p001", "crew"}
    for _ in range(3):
        stage.later(days=1)
        stage.run(directory)
    assert set(stage.statuses().values()) == {"active"}
    assert stage.named("p001").groups


def test_only_never_moves_what_it_does_not_choose(stage: Stage) -> None:
    directory = company(stage)
    for key in ("p001", "p002"):
        del directory.people[key]
    directory.people["p003"]["title"] = "Lead"
    del directory.teams["crew"]
    stage.run(directory, only='userName eq "p001"')
    assert stage.named("p001").status == "suspended"
    assert stage.named("p002").links[0].missing_reads == 0
    assert stage.named("p003").values["title"] == "Clerk"
    assert [row.display_name for row in stage.rows(t.groups)] == ["crew"]


# -- rule 3: limits ------------------------------------------------------------------------------------------------------


def test_at_the_limit_it_goes_and_one_more_holds_all(stage: Stage) -> None:
    directory = company(stage)
    directory.disabled |= {"p000", "p001"}
    assert stage.plan(directory).status == "pending"
    directory.disabled.add("p002")
    report = stage.run(directory)
    assert kinds(report) == [("limit", "deactivate")]
    assert report.held[0].changes == 3
    assert "3 of 8 (37.5%) users would be deactivated; limit 2" in report.held[0].why
    assert set(stage.statuses().values()) == {"active"}
    assert stage.kept() == [("deactivate", "p000"), ("deactivate", "p001"), ("deactivate", "p002")]


def test_other_kinds_and_gains_pass_beside_what_is_held(stage: Stage) -> None:
    directory = company(stage)
    directory.disabled |= {"p007"}
    stage.run(directory)
    stage.later(days=2)
    del directory.people["p006"]
    stage.run(directory)
    assert (stage.named("p007").status, stage.named("p006").status) == ("inactive", "suspended")
    stage.later(days=2)
    # One run: three disabled (held); one comes back, one is enabled again, one loses a title, one is new.
    directory.disabled = {"p000", "p001", "p002"}
    directory.hire("p006", employeeType="Employee", title="Clerk")
    directory.people["p003"].pop("title")
    directory.people["p004"]["title"] = "Lead"
    directory.hire("new", employeeType="Employee")
    promised = stage.plan(directory)
    report = stage.run(directory)
    assert kinds(report) == [("limit", "deactivate")]
    assert report.digest == promised.digest
    status = stage.statuses()
    assert {status[key] for key in ("p000", "p001", "p002")} == {"active"}
    assert {status[key] for key in ("p006", "p007", "new")} == {"active"}
    assert "title" not in stage.named("p003").values
    assert stage.named("p004").values["title"] == "Lead"


def test_one_kind_of_status_loss_is_held_and_another_goes(stage: Stage) -> None:
    directory = company(stage)
    for key in staff("p", 3):
        del directory.people[key]
    directory.disabled = {"p005"}
    report = stage.run(directory)
    assert kinds(report) == [("limit", "suspend")]
    status = stage.statuses()
    assert {status[key] for key in staff("p", 3)} == {"active"}
    assert status["p005"] == "inactive"


@pytest.mark.parametrize("kind", ["role", "seat", "membership", "blank"])
def test_each_kind_of_loss_has_its_limit(stage: Stage, kind: str) -> None:
    directory = company(stage)
    before = {row.user_name: stage.user(row.id) for row in stage.rows(t.users)}
    if kind == "role":
        for key in staff("p", 3):
            directory.people[key]["employeeType"] = "Guest"
    elif kind == "blank":
        for key in staff("p", 3):
            directory.people[key].pop("title")
    else:
        directory.teams["crew"] -= set(staff("p", 3))
    report = stage.run(directory)
    assert ("limit", kind) in kinds(report)
    for key in staff("p", 3):
        known = stage.named(key)
        assert known.seats == before[key].seats
        assert stage.roles(known.id) >= {"member", "viewer"} if kind != "blank" else known.values["title"] == "Clerk"
    assert (kind, "p000") in stage.kept()
    again = stage.run(directory)
    assert kinds(again) == kinds(report), "it is asked again as long as it is wanted"
    (digest,) = {each.digest for each in again.held if each.kind == kind}
    stage.approve(digest)
    assert kind not in {row.kind for row in stage.rows(t.held)}


def test_several_runs_within_the_window_count_together(stage: Stage) -> None:
    directory = company(stage)
    for n, expected in ((1, "applied"), (2, "applied"), (3, "held")):
        directory.disabled = set(staff("p", n))
        assert stage.run(directory).status == expected
        stage.later(hours=1)
    stage.later(days=1)
    assert stage.run(directory).status == "applied"
    assert list(stage.statuses().values()).count("inactive") == 3


def test_a_push_over_the_limit_is_held_with_429_and_counted_in_its_own_window(stage: Stage) -> None:
    stage.configure(sources={"okta": policy("okta", limits=tight()), "entra": policy("entra", limits=tight())})
    for id in staff("u", 4):
        stage.do(user(id, "okta"), source="okta")
        stage.do(UserEdit(id, "entra", link=Link("entra", id)), source="entra")
    stage.later(days=2)
    for id in ("u000", "u001"):
        stage.restate(id, "okta", enabled=False).check()
    refused = stage.restate("u002", "okta", enabled=False).error
    assert isinstance(refused, HeldByGuard)
    assert (refused.status, refused.retry_after_s > 0) == (429, True)
    assert "3 of 4 (75.0%) users would be deactivated, 2 of them already within the window; limit 2" in str(refused)
    stage.restate("u003", "entra", enabled=False).check()
    stage.restate("u002", "okta", values={"title": "still gains"}).check()
    assert isinstance(stage.restate("u002", "okta", enabled=False).error, HeldByGuard)
    assert stage.kept() == [("deactivate", "u002")]
    stage.later(days=2)
    stage.restate("u002", "okta", enabled=False).check()
    assert stage.kept() == [], "what was done is held no more"


def test_the_share_is_of_whom_the_source_had_within_its_window(stage: Stage) -> None:
    """Five percent are five percent for the last one too, and nobody is counted twice."""
    share = Limits({kind: Limit(share=0.5, floor=1) for kind in ("deactivate", "delete", "membership")})
    stage.configure(sources={"okta": policy("okta", limits=share), "corp": policy()})
    for id in staff("u", 10):
        stage.do(user(id, "okta"), source="okta")
    for id in staff("v", 3):
        stage.do(user(id, "corp"), source="corp")
    stage.later(days=2)
    for id in staff("u", 5):
        stage.restate(id, "okta", enabled=False).check()
    refused = stage.restate("u005", "okta", enabled=False).error
    assert "6 of 10 (60.0%) users would be deactivated, 5 of them already within the window; limit 5" in str(refused)
    stage.restate("u000", "okta", enabled=True).check()
    stage.restate("u000", "okta", enabled=False).check()
    for id in ("u000", "u001", "u002", "v000", "v001"):
        stage.do(UserEdit(id, "okta", facts={"deleted_at": stage.now}), source="okta")
    refused = stage.act(UserEdit("v002", "okta", facts={"deleted_at": stage.now}), source="okta").error
    assert "6 users would be deleted (3 of its own 10 active ones and 3 others), 5 of them already" in str(refused)
    stage.later(days=2)
    rest = [UserEdit(id, "okta", facts={"deleted_at": stage.now}) for id in staff("u", 10)[3:]]
    refused = stage.act(*rest, source="okta").error
    assert "7 users would be deleted (5 of its own 5 active ones and 2 others); limit 2" in str(refused)


def test_of_a_push_no_more_is_counted_than_decides_it_and_of_a_run_everybody(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider may be refused a hundred thousand times."""
    monkeypatch.setattr(limits, "_COUNTED", 3)
    tight = Limits({"deactivate": Limit(share=1.0, floor=1, number=2)})
    stage.configure(sources={"okta": policy("okta", limits=tight), "corp": policy(limits=tight)})
    directory = Directory()
    directory.hire(*staff("p", 6))
    stage.run(directory)
    for id in staff("u", 6):
        stage.do(user(id, "okta"), source="okta")
    stage.later(days=2)
    for id in staff("u", 2):
        stage.restate(id, "okta", enabled=False).check()
    refused = stage.restate("u002", "okta", enabled=False).error
    assert "3 of more than 3 users would be deactivated, 2 of them already within the window; limit 2" in str(refused)
    directory.disabled = set(staff("p", 3))
    (held,) = stage.run(directory).held
    assert "3 of 6 (50.0%) users would be deactivated; limit 2" in held.why


def test_a_number_that_nobody_reaches_leaves_the_share(stage: Stage) -> None:
    endless = Limits({"deactivate": Limit(share=0.5, floor=0, number=10**30)})
    stage.configure(sources={"okta": policy("okta", limits=endless)})
    for id in staff("u", 2):
        stage.do(user(id, "okta"), source="okta")
    stage.later(days=2)
    stage.restate("u000", "okta", enabled=False).check()
    assert "2 of 2 (100.0%)" in str(stage.restate("u001", "okta", enabled=False).error)


def test_what_a_source_made_within_the_window_it_may_take_back(stage: Stage) -> None:
    stage.configure(sources={"okta": policy("okta", limits=tight(0))})
    stage.do(group("g1", "okta"), source="okta")
    stage.do(user("u1", "okta", join=("g1",)), source="okta")
    stage.do(UserEdit("u1", "okta", leave=("g1",)), source="okta")
    stage.restate("u1", "okta", enabled=False).check()
    stage.do(UserEdit("u1", "okta", facts={"deleted_at": stage.now}), source="okta")


def test_a_group_that_it_put_into_another_today_it_may_take_out_with_what_came_by_that(stage: Stage) -> None:
    clerks = rule("clerks", 'groups[display eq "g1"]', roles=("viewer",), seats=("desk",))
    stage.configure(sources={"okta": policy("okta", limits=tight(0))}, rules=(clerks,), pools={"desk": Pool("desk", 9)})
    for edit in (group("g1", "okta"), group("g2", "okta"), user("u1", "okta", join=("g2",))):
        stage.do(edit, source="okta")
    stage.later(days=2)
    into, out = (GroupEdit("g2", "okta", **{verb: ("g1",)}) for verb in ("join", "leave"))
    stage.do(into, source="okta")
    assert stage.roles("u1") == {"viewer"}
    stage.do(out, source="okta")
    assert (stage.roles("u1"), stage.held("desk"), stage.rows(t.losses)) == (set(), [], [])
    stage.do(into, source="okta")
    renamed = replace(out, link=Link("okta", "g2", values={"displayName": "other"}))
    assert "role" in str(stage.act(renamed, source="okta").error), "what else the request changes takes it too"
    stage.later(days=2)
    assert isinstance(stage.act(out, source="okta").error, HeldByGuard)


@pytest.mark.parametrize("linked", [False, True])
def test_what_another_source_made_counts_however_young(stage: Stage, linked: bool) -> None:
    stage.configure(
        sources={"okta": policy("okta", limits=tight(0))},
        pools={"desk": Pool("desk", 9)},
        rules=(rule("lead", 'title eq "Lead"', roles=("viewer",), seats=("desk",)),),
    )
    stage.do(user("u1", "hr", values={"title": "Lead"}), source="hr")
    if linked:
        stage.later(minutes=1)
        stage.do(UserEdit("u1", "okta", link=Link("okta", "e1")), source="okta")
    assert isinstance(stage.restate("u1", "okta", enabled=False).error, HeldByGuard)
    assert isinstance(stage.restate("u1", "okta", values={"title": "Clerk"}).error, HeldByGuard) or stage.roles(
        "u1"
    ) == {"viewer"}
    assert stage.held("desk") == ["u1"]


def test_a_role_and_seat_another_source_gave_today_are_not_this_ones_to_take_back(stage: Stage) -> None:
    """Both state the user since long; the role came today through hr's title, and leaves by what okta says."""
    from syncd.core.ownership import Precedence

    stage.configure(
        precedence=Precedence(("okta", "hr")),
        sources={"okta": policy("okta", limits=tight(0))},
        pools={"desk": Pool("desk", 9)},
        rules=(rule("lead", 'title eq "Lead"', roles=("viewer",), seats=("desk",)),),
    )
    stage.do(user("u1", "hr"), source="hr")
    stage.do(UserEdit("u1", "okta", link=Link("okta", "e1")), source="okta")
    stage.later(days=2)
    stage.restate("u1", "hr", values={"title": "Lead"}).check()
    outcome = stage.restate("u1", "okta", values={"title": "Clerk"})
    assert isinstance(outcome.error, HeldByGuard)
    assert {row.kind for row in stage.rows(t.held)} == {"role", "seat"}


# -- rule 4: the first run after a change --------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["mapping", "server", "key"])
def test_the_first_run_after_a_change_holds_every_loss_and_lets_the_rest_pass(stage: Stage, what: str) -> None:
    directory = company(stage, floor=100)
    directory.server = "server-1"
    stage.run(directory)
    if what == "mapping":
        stage.configure(sources={"corp": replace(stage.workspace.source("corp"), digest="another")})
    elif what == "server":
        directory.server = "server-2"
    else:
        directory.key_attribute = "nsuniqueid"
    directory.disabled.add("p000")
    directory.people["p001"].pop("title")
    directory.teams["crew"].discard("p002")
    directory.hire("new")
    report = stage.run(directory)
    assert {guard for guard, _ in kinds(report)} == {"first_run_after_change"}
    assert {kind for _, kind in kinds(report)} == {"deactivate", "blank", "membership", "role", "seat"}
    assert stage.statuses()["p000"] == "active" and "new" in stage.statuses()
    stage.later(days=1)
    second = stage.run(directory)
    assert stage.statuses()["p000"] == "active", "the second run is no approval"
    assert stage.roles(stage.named("p002").id) == {"viewer", "member"}
    assert "title" in stage.named("p001").values
    assert "p003" not in {subject for _, subject in stage.kept()}
    for held in (*report.held, *second.held):
        try:
            stage.approve(held.digest)
        except NotFound:
            assert held in report.held or held in second.held
    assert stage.kept() == []
    assert stage.named("p000").status == "inactive"
    assert stage.roles(stage.named("p002").id) == {"viewer"}
    assert "title" not in stage.named("p001").values
    assert stage.run(directory).status == "clean"


@pytest.mark.parametrize("forgotten", ["the row", "the digest"])
def test_a_source_of_which_nothing_is_known_any_more_holds_every_loss_of_its_people(
    stage: Stage, forgotten: str
) -> None:
    """By hand in SQL, or after a restore of some tables alone: nobody can tell whether its base or filter is the same."""
    directory = company(stage, floor=100)
    stage.run(directory)
    with stage.database.writing() as conn:
        if forgotten == "the row":
            conn.execute(t.source_states.delete())
        else:
            conn.execute(t.source_states.update().values(digest=None))
    directory.disabled.add("p000")
    directory.hire("new")
    report = stage.run(directory)
    assert {guard for guard, _ in kinds(report)} == {"first_run_after_change"}
    assert "by which base, filter and mapping source corp was read before is not known" in report.held[0].why
    assert stage.statuses()["p000"] == "active" and "new" in stage.statuses()
    for held in report.held:
        stage.approve(held.digest)
    assert stage.statuses()["p000"] == "inactive"
    directory.disabled.add("p001")
    assert stage.run(directory).held == ()


def test_another_configuration_after_a_first_read_that_broke_off_holds_every_loss(stage: Stage) -> None:
    directory = company(stage, floor=100)
    directory.because = ("cut off",)
    stage.run(directory)
    directory.because = ()
    directory.disabled.add("p000")
    stage.configure(sources={"corp": replace(stage.workspace.source("corp"), digest="another")})
    report = stage.run(directory)
    assert {guard for guard, _ in kinds(report)} == {"first_run_after_change"}
    assert stage.statuses()["p000"] == "active"


def test_a_first_read_that_broke_off_holds_nothing_of_the_next(stage: Stage) -> None:
    directory = company(stage, floor=100)
    directory.because = ("cut off",)
    stage.run(directory)
    directory.because = ()
    directory.disabled.add("p000")
    assert stage.run(directory).status == "applied"
    assert stage.statuses()["p000"] == "inactive"


def test_an_unknown_server_or_key_is_no_change(stage: Stage) -> None:
    """A server that does not say who it is, read after one that did, is no other server."""
    directory = company(stage)
    directory.server = "server-1"
    stage.run(directory)
    directory.server = None
    directory.disabled.add("p000")
    assert stage.run(directory).status == "applied"


def test_a_changed_rule_set_takes_nothing_before_it_is_synced(stage: Stage) -> None:
    directory = company(stage, floor=100)
    stage.configure(rules=(rule("lead", 'title eq "Lead"', roles=("viewer",)),))
    directory.people["p000"]["title"] = "Lead"
    stage.run(directory)
    assert stage.roles(stage.named("p000").id) == {"viewer", "member"}
    assert stage.roles(stage.named("p001").id) == {"viewer", "member"}
    report = stage.rederive()
    assert {guard for guard, _ in kinds(report)} == {"first_run_after_change"}
    assert stage.roles(stage.named("p001").id) == {"viewer", "member"}
    stage.rederive()
    stage.run(directory)
    stage.restate(stage.named("p001").id, "corp", values={"title": "x"}).check()
    assert stage.roles(stage.named("p001").id) == {"viewer", "member"}
    for digest in sorted({row.digest for row in stage.rows(t.held, source="rules")}):
        stage.approve(digest)
    assert stage.roles(stage.named("p001").id) == set()
    assert stage.rederive().status == "clean"


# -- rule 5: protected accounts and the last owner -----------------------------------------------------------------------


def ways(stage: Stage, id: str) -> dict[str, UserEdit]:
    return {
        "deactivate": stage.restated(id, enabled=False),
        "suspend": UserEdit(id, "local", facts={"suspended": "hold"}),
        "delete": UserEdit(id, "local", facts={"deleted_at": stage.now}),
        "revoke": UserEdit(id, "local", revoke=(owner().id,)),
        "end": stage.restated(id, ends_at=stage.now),
    }


@pytest.mark.parametrize("way", ["deactivate", "suspend", "delete", "revoke", "end"])
def test_the_last_owner_stays_and_one_of_two_may_go(stage: Stage, way: str) -> None:
    stage.do(user("o1", grant=(owner(),)))
    outcome = stage.act(ways(stage, "o1")[way])
    assert isinstance(outcome.error, Refused)
    assert str(outcome.error) == "o1 is the last active owner: make another user owner first"
    assert (stage.user("o1").status, stage.roles("o1"), stage.user("o1").version) == ("active", {"owner"}, 1)
    stage.do(user("o2", grant=(owner(),)))
    stage.do(ways(stage, "o1")[way])
    assert "last active owner" in str(stage.act(ways(stage, "o2")[way]).error)


def test_ownership_may_change_hands_in_one_change(stage: Stage) -> None:
    stage.do(user("o1", grant=(owner(),)), user("u2"))
    stage.do(UserEdit("o1", "local", revoke=(owner().id,)), UserEdit("u2", "local", grant=(owner(),)))
    assert (stage.roles("o1"), stage.roles("u2")) == (set(), {"owner"})


def test_two_owners_may_not_both_go_in_one_change(stage: Stage) -> None:
    stage.do(user("o1", grant=(owner(),)), user("o2", grant=(owner(),)))
    hold = {"suspended": "hold"}
    assert stage.act(UserEdit("o1", "local", facts=hold), UserEdit("o2", "local", facts=hold)).error is not None


def test_an_owner_who_is_not_active_saves_nobody(stage: Stage) -> None:
    stage.do(user("o1", grant=(owner(),)), user("o2", grant=(owner(),)))
    stage.do(UserEdit("o2", "local", facts={"suspended": "hold"}))
    assert stage.restate("o1", enabled=False).error is not None


def test_the_last_owner_survives_a_run_by_absence_and_by_statement(stage: Stage) -> None:
    directory = company(stage, floor=100)
    boss, deputy = stage.named("p000").id, stage.named("p001").id
    stage.do(UserEdit(boss, "local", grant=(owner(),)), UserEdit(deputy, "local", grant=(owner(),)))
    directory.disabled = {"p000", "p001", "p002"}
    promised = stage.plan(directory)
    report = stage.run(directory)
    assert promised.digest == report.digest
    assert ("last_owner", "deactivate") in kinds(report)
    status = stage.statuses()
    assert sorted((status["p000"], status["p001"])) == ["active", "inactive"]
    assert status["p002"] == "inactive"
    left = "p000" if status["p000"] == "active" else "p001"
    del directory.people[left]
    for _ in range(5):
        stage.later(days=1)
        report = stage.run(directory)
        assert ("last_owner", "deactivate") in kinds(report)
    assert stage.named(left).status == "active"
    assert (("refused", left)) in {(action, subject) for action, subject, _ in stage.activity("refused")}
    stage.do(user("o9", grant=(owner(),)))
    stage.run(directory)
    assert stage.named(left).status != "active", "with another owner it goes on"


def test_a_protected_account_survives_every_door(stage: Stage) -> None:
    directory = company(stage, floor=100)
    stage.configure(protected=protects('userName eq "p000"'))
    id = stage.named("p000").id
    for way in ("suspend", "delete"):
        outcome = stage.act(ways(stage, id)[way])
        assert isinstance(outcome.error, Refused)
        assert 'p000 is protected (userName eq "p000")' in str(outcome.error)
    assert isinstance(stage.restate(id, "okta", enabled=False).error, Refused)
    directory.disabled = {"p000", "p001"}
    report = stage.run(directory)
    assert kinds(report) == [("protected", "deactivate")]
    assert (stage.statuses()["p000"], stage.statuses()["p001"]) == ("active", "inactive")
    directory.disabled, directory.teams["crew"] = set(), set()
    report = stage.run(directory)
    assert kinds(report) == [("protected", "deactivate")]
    assert stage.roles(id) == {"viewer", "member"}
    assert stage.roles(stage.named("p002").id) == {"viewer"}


def test_renaming_a_protected_account_does_not_unprotect_it_in_the_same_change(stage: Stage) -> None:
    stage.configure(protected=protects('userName eq "root"'))
    stage.do(user("root"))
    assert isinstance(stage.restate("root", values={"userName": "toor"}, enabled=False).error, Refused)


# -- rule 7: no escalation -----------------------------------------------------------------------------------------------


def test_a_source_grants_no_privileged_role_unless_it_is_listed(stage: Stage) -> None:
    stage.configure(
        sources={"corp": policy(may_grant=frozenset({"admin"}))},
        rules=(rule("admins", 'groups[display eq "admins"]', roles=("admin", "owner")),),
    )
    for source in ("corp", "okta", "local"):
        stage.do(group(f"g-{source}", source, "admins"), source=source)
        stage.do(user(f"u-{source}", source, join=(f"g-{source}",)), source=source)
    assert stage.roles("u-corp") == {"admin"}
    assert stage.roles("u-okta") == set()
    assert stage.roles("u-local") == {"admin", "owner"}


def test_a_connection_cannot_put_its_members_into_an_admins_group(stage: Stage) -> None:
    """Nor its own group into it, nor its group's members by nesting theirs."""
    stage.configure(rules=(rule("admins", 'groups[source eq "local" and display eq "admins"]', roles=("admin",)),))
    stage.do(group("admins"))
    stage.do(user("u1", "okta"), source="okta")
    stage.do(UserEdit("u1", "okta", join=("admins",)), source="okta")
    assert stage.roles("u1") == set()
    stage.do(group("mine", "okta"), source="okta")
    stage.do(GroupEdit("mine", "okta", join=("admins",)), source="okta")
    stage.do(user("u2", "okta", join=("mine",)), source="okta")
    assert stage.roles("u2") == set()
    stage.do(UserEdit("u1", "local", join=("admins",)))
    assert stage.roles("u1") == {"admin"}


def test_a_connection_cannot_nest_a_group_of_people_into_an_admins_group(stage: Stage) -> None:
    """Both groups are people's own; only the edge between them is the connection's."""
    stage.configure(rules=(rule("admins", 'groups[display eq "admins"]', roles=("admin",)),))
    stage.do(group("admins"), group("staff"))
    stage.do(user("u1", join=("staff",)))
    stage.do(GroupEdit("staff", "okta", join=("admins",)), source="okta")
    assert stage.user("u1").groups == {"admins", "staff"}
    assert stage.roles("u1") == set()


def test_a_value_of_a_source_that_may_not_grant_makes_no_admin(stage: Stage) -> None:
    stage.configure(rules=(rule("boss", 'title eq "Boss"', roles=("admin",)),))
    stage.do(user("u1", "okta", values={"title": "Boss"}), source="okta")
    assert stage.roles("u1") == set()
    stage.do(user("u2", values={"title": "Boss"}))
    assert stage.roles("u2") == {"admin"}


def test_a_negated_condition_is_not_met_by_what_may_not_be_seen(stage: Stage) -> None:
    """`not (title pr)` must not become true because the title is a source's that may not grant."""
    stage.configure(rules=(rule("odd", "not (title pr)", roles=("admin",)),))
    stage.do(user("u1", values={}))
    assert stage.roles("u1") == {"admin"}
    stage.do(user("u2", "okta", values={"title": "x"}), source="okta")
    assert stage.roles("u2") == set()
    stage.do(user("u3", "okta"), source="okta")
    assert stage.roles("u3") == set(), "everything that is known of u3 comes from a source that may not make admins"


@pytest.mark.parametrize("adopt", ["never", "ask", "rule"])
def test_adoption_is_a_policy(stage: Stage, adopt: str) -> None:
    may = condition('userType eq "Guest"') if adopt == "rule" else None
    stage.configure(sources={"corp": policy(adopt='userType eq "Guest"' if adopt == "rule" else adopt, may_adopt=may)})
    stage.do(user("u1", name="ann", values={"userType": "Guest"}), user("u2", name="bob"))
    directory = Directory()
    directory.hire("ann", "bob")
    report = stage.run(directory)
    linked = {row.user_name for row in stage.rows(t.users) if stage.user(row.id).link("corp")}
    assert linked == ({"ann"} if adopt == "rule" else set())
    assert len(report.set_aside) == (1 if adopt == "rule" else 2)
    assert len(stage.rows(t.users)) == 2
    if adopt == "rule":
        assert ("adopt", "ann") in {(action, subject) for action, subject, _ in stage.activity("adopt")}
        assert stage.run(directory).counts["adopt"] == 0


def test_a_privileged_account_is_never_adopted(stage: Stage) -> None:
    stage.configure(sources={"corp": policy(adopt="userName pr", may_adopt=condition("userName pr"))})
    stage.do(user("u1", name="ann", grant=(Grant("role", "admin", "direct", "root"),)))
    directory = Directory()
    directory.hire("ann")
    report = stage.run(directory)
    assert "privileged" in report.set_aside[0].why
    assert stage.user("u1").link("corp") is None
    outcome = stage.act(
        UserEdit("u1", "corp", adopt=True, link=Link("corp", "x", values={"userName": "ann"})), source="corp"
    )
    assert isinstance(outcome.error, (Refused, Uniqueness))


# -- held items ----------------------------------------------------------------------------------------------------------


def test_held_items_are_unique_and_forgotten_when_no_longer_wanted(stage: Stage) -> None:
    directory = company(stage)
    directory.disabled = set(staff("p", 3))
    stage.run(directory)
    stage.run(directory)
    assert len(stage.kept()) == 3
    directory.disabled = set(staff("p", 4))
    stage.run(directory)
    assert len(stage.kept()) == 4
    directory.disabled = set()
    assert stage.run(directory).status == "clean"
    assert stage.kept() == []


def test_an_incomplete_or_partial_run_forgets_nothing_that_is_held(stage: Stage) -> None:
    directory = company(stage)
    for key in staff("p", 3):
        del directory.people[key]
    stage.run(directory)
    assert len(stage.kept()) == 3
    stage.run(directory, only='userName eq "p007"')
    assert len(stage.kept()) == 3
    directory.because = ("cut off",)
    stage.run(directory)
    assert len(stage.kept()) == 3


def test_an_old_approval_does_not_suspend_an_entry_that_came_back(stage: Stage) -> None:
    directory = company(stage)
    for key in staff("p", 3):
        del directory.people[key]
    (held,) = stage.run(directory).held
    directory.hire("p000", employeeType="Employee", title="Clerk")
    stage.run(directory, only='userName eq "p000"')
    stage.approve(held.digest)
    status = stage.statuses()
    assert [status[key] for key in staff("p", 3)] == ["active", "suspended", "suspended"]


def test_an_approval_counts_against_nobodys_limit_and_is_recorded(stage: Stage) -> None:
    directory = company(stage)
    directory.disabled = set(staff("p", 3))
    (held,) = stage.run(directory).held
    report = stage.approve(held.digest)
    assert (report.counts["deactivate"], report.status) == (3, "applied")
    assert stage.kept() == []
    assert len(stage.activity("approve")) == 1
    stage.later(hours=1)
    directory.disabled |= {"p004"}
    assert stage.run(directory).status == "applied"


def test_an_approval_still_refuses_the_last_owner(stage: Stage) -> None:
    directory = company(stage)
    directory.disabled = set(staff("p", 3))
    (held,) = stage.run(directory).held
    stage.do(UserEdit(stage.named("p001").id, "local", grant=(owner(),)))
    report = stage.approve(held.digest)
    assert kinds(report) == [("last_owner", "deactivate")]
    status = stage.statuses()
    assert [status[key] for key in staff("p", 3)] == ["inactive", "active", "inactive"]


def test_a_stale_or_short_digest_is_not_found(stage: Stage) -> None:
    directory = company(stage)
    directory.disabled = set(staff("p", 3))
    (held,) = stage.run(directory).held
    with pytest.raises(NotFound):
        stage.approve(held.digest[:7])
    directory.disabled = set(staff("p", 4))
    (newer,) = stage.run(directory).held
    with pytest.raises(NotFound):
        stage.approve(held.digest)
    assert stage.approve(newer.digest[:8]).counts["deactivate"] == 4


def test_discard_forgets_until_it_is_wanted_again(stage: Stage) -> None:
    directory = company(stage)
    directory.disabled = set(staff("p", 3))
    (held,) = stage.run(directory).held
    assert stage.discard(held.digest) == 3
    assert stage.kept() == []
    assert [each.digest for each in stage.run(directory).held] == [held.digest]


def test_a_held_push_that_the_connection_took_back_is_not_approved(stage: Stage) -> None:
    stage.configure(sources={"okta": policy("okta", limits=tight(0))})
    stage.do(user("u1", "okta"), source="okta")
    stage.later(days=2)
    assert isinstance(stage.restate("u1", "okta", enabled=False).error, HeldByGuard)
    stage.restate("u1", "okta", enabled=True).check()  # it changes nothing in the store, and yet says something
    assert stage.kept() == []


def test_one_kind_of_a_held_push_may_be_approved_before_another(stage: Stage) -> None:
    """One PATCH that blanks a title and disables: each loss is a digest of its own, and approving one is not the other."""
    stage.configure(sources={"okta": policy("okta", limits=tight(0))})
    stage.do(user("u1", "okta", values={"title": "Lead"}), source="okta")
    stage.later(days=2)
    asked = UserEdit("u1", "okta", link=Link("okta", "u1", values={"userName": "u1"}, enabled=False))
    assert isinstance(stage.act(asked, source="okta").error, HeldByGuard)
    digests = {row.kind: row.digest for row in stage.rows(t.held)}
    assert digests.keys() == {"blank", "deactivate"}
    stage.approve(digests["blank"])
    assert ("title" in stage.user("u1").values, stage.user("u1").status) == (False, "active")
    stage.approve(digests["deactivate"])
    assert stage.user("u1").status == "inactive"
    assert stage.kept() == []


def test_a_held_role_of_a_push_is_taken_when_it_is_approved(stage: Stage) -> None:
    stage.configure(
        sources={"okta": policy("okta", limits=Limits({"role": Limit(floor=0)}))},
        rules=(rule("lead", 'title eq "Lead"', roles=("viewer",)),),
    )
    stage.do(user("u1", "okta", values={"title": "Lead"}), source="okta")
    stage.later(days=2)
    assert isinstance(stage.restate("u1", "okta", values={"title": "Clerk"}).error, HeldByGuard)
    assert stage.roles("u1") == {"viewer"}
    (held,) = stage.rows(t.held)
    stage.approve(held.digest)
    assert (stage.roles("u1"), stage.user("u1").values["title"]) == (set(), "Clerk")


def test_a_held_deletion_by_a_connection_is_done_whole_when_it_is_approved(stage: Stage) -> None:
    """With the key set free, as SCIM's DELETE asks for it."""
    stage.configure(sources={"okta": policy("okta", limits=tight(0))})
    stage.do(user("u1", "okta", "ext"), source="okta")
    stage.later(days=2)
    known = stage.user("u1").link("okta")
    assert known is not None
    link = replace(known, key="ext (deleted u1)", stage="deleted", missing_since=stage.now)
    edit = UserEdit("u1", "okta", link=link, drop_link="ext", facts={"deleted_at": stage.now})
    assert isinstance(stage.act(edit, source="okta").error, HeldByGuard)
    (held,) = stage.rows(t.held)
    stage.approve(held.digest)
    assert stage.user("u1").status == "deleted"
    stage.do(user("u2", "okta", "ext", name="u1"), source="okta")


def test_an_adoption_by_a_disabled_entry_is_held_like_any_deactivation(stage: Stage) -> None:
    stage.configure(sources={"corp": policy(limits=tight(0), adopt="userName pr", may_adopt=condition("userName pr"))})
    stage.do(user("u1", name="ann"))
    stage.later(days=2)
    directory = Directory()
    directory.hire("ann")
    directory.disabled = {"ann"}
    report = stage.run(directory)
    assert kinds(report) == [("limit", "deactivate")]
    assert stage.user("u1").status == "active"
    stage.approve(report.held[0].digest)
    assert stage.user("u1").status == "inactive"
    assert stage.run(directory).status == "clean"


def test_a_plan_shown_before_permits_only_what_it_showed(stage: Stage) -> None:
    directory = company(stage, floor=100)
    directory.disabled = {"p000"}
    shown = stage.plan(directory)
    directory.disabled = {"p000", "p001"}
    with pytest.raises(HeldByGuard, match="p001"):
        stage.run(directory, plan=shown.digest)
    assert set(stage.statuses().values()) == {"active"}
    directory.disabled = {"p000"}
    directory.hire("new")
    assert stage.run(directory, plan=shown.digest[:8]).status == "applied"
    assert stage.named("p000").status == "inactive"


# -- the ladder ----------------------------------------------------------------------------------------------------------


def test_the_ladder_climbs_with_the_days_and_a_return_heals_all_of_it(stage: Stage) -> None:
    ladder = Ladder(timedelta(days=1), timedelta(days=2), timedelta(days=14))
    directory = company(stage, ladder=ladder)
    before = stage.named("p000")
    del directory.people["p000"]
    seen = []
    for day in range(16):
        stage.run(directory)
        seen.append(stage.named("p000").status)
        if day < 15:
            stage.later(days=1)
    assert seen == ["active", "suspended", *["inactive"] * 12, "deleted", "deleted"]
    assert stage.named("p000").seats == ()
    directory.hire("p000", employeeType="Employee", title="Clerk")
    stage.run(directory)
    after = stage.named("p000")
    assert (after.id, after.status, after.groups) == (before.id, "active", before.groups)
    assert {grant.id for grant in after.grants} == {grant.id for grant in before.grants}
    assert [seat.held for seat in after.seats] == [True]


def test_what_is_held_stays_held_while_its_reason_is_held_too(stage: Stage) -> None:
    """A seat she would lose by being in a group; then she would leave the group, which is held as well: she is in it still."""
    none = Limits({kind: Limit(share=0, floor=0) for kind in ("membership", "seat")})
    stage.configure(
        sources={"corp": policy(limits=none)},
        pools={"desk": Pool("desk", 5)},
        rules=(rule("outside", 'not (groups[display eq "away"])', seats=("desk",)),),
    )
    directory = Directory()
    directory.hire("ann", "bob")
    directory.teams = {"away": set()}
    stage.run(directory)
    ann = stage.named("ann").id
    directory.teams["away"] = {"ann"}
    assert [each.kind for each in stage.run(directory).held] == ["seat"]
    directory.teams["away"] = set()
    assert sorted(each.kind for each in stage.run(directory).held) == ["membership", "seat"]
    assert {(row.subject, row.kind) for row in stage.rows(t.held)} == {("ann", "membership"), ("ann", "seat")}
    stage.do(UserEdit(ann, "local"))
    assert ann in stage.held("desk"), "nobody approved that she loses it"
    stage.approve(next(row.digest for row in stage.rows(t.held) if row.kind == "membership"))
    assert ann in stage.held("desk") and stage.named("ann").groups == frozenset()
