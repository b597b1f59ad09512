"""Seats: never one over, never one lost, in any order of commits and from any number of threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from door_stage import Directory, Stage, group, owner, policy, rule, staff, user
from syncd.core.actor import Actor
from syncd.core.change import GroupEdit, UserEdit
from syncd.core.seats import Pool
from syncd.core.state import Grant
from syncd.errors import PoolFull
from syncd.store import tables as t
from syncd.store.commit import Outcome, commit


def seat(pool: str) -> Grant:
    return Grant("seat", pool, "direct", "root")


def test_a_full_pool_refuses_the_seat_and_never_the_person(stage: Stage) -> None:
    stage.configure(pools={"desk": Pool("desk", 1, when_full="refuse")})
    stage.do(user("u1", grant=(seat("desk"),)), user("u2", grant=(seat("desk"),)))
    assert stage.held("desk") == ["u1"]
    assert stage.user("u2").seats == ()


def test_the_longest_wait_is_served_in_the_transaction_that_frees_a_seat(stage: Stage) -> None:
    stage.configure(pools={"desk": Pool("desk", 1)})
    for id in ("u1", "u3", "u2"):
        stage.later(minutes=1)
        stage.do(user(id, grant=(seat("desk"),)))
    outcome = stage.do(UserEdit("u1", "local", facts={"suspended": "hold"}))
    assert ("seat", "u3", "waiting", "desk") in [
        (each.kind, each.subject, each.before, each.after) for each in outcome.changes
    ]
    assert stage.held("desk") == ["u3"]
    stage.later(minutes=1)
    stage.do(UserEdit("u1", "local", facts={"suspended": None}))
    assert stage.held("desk") == ["u3"], "coming back is the same atomic check, at the end of the queue"
    stage.do(UserEdit("u3", "local", facts={"deleted_at": stage.now}))
    assert stage.held("desk") == ["u2"]


@pytest.mark.parametrize("facts", [{"suspended": "hold"}, {"deleted_at": True}, None])
def test_seats_follow_status(stage: Stage, facts: dict[str, object] | None) -> None:
    stage.configure(pools={"desk": Pool("desk", 5)})
    stage.do(user("u1", grant=(seat("desk"),)))
    if facts is None:
        stage.restate("u1", enabled=False).check()
    else:
        stage.do(UserEdit("u1", "local", facts={k: stage.now if v is True else v for k, v in facts.items()}))
    assert stage.held("desk") == []
    if facts is None:
        stage.restate("u1", enabled=True).check()
    else:
        stage.do(UserEdit("u1", "local", facts=dict.fromkeys(facts)))
    assert stage.held("desk") == ["u1"]


def test_a_pool_that_requires_another(stage: Stage) -> None:
    stage.configure(pools={"crm": Pool("crm", 1, requires=("base",)), "base": Pool("base", 1)})
    both = (seat("base"), seat("crm"))
    stage.do(user("u1", grant=both))
    stage.do(user("u2", grant=both))
    assert (stage.held("base"), stage.held("crm")) == (["u1"], ["u1"])
    stage.do(UserEdit("u1", "local", revoke=(seat("base").id,)))
    assert (stage.held("base"), stage.held("crm")) == (["u2"], ["u2"])
    waiting = stage.user("u1").seats
    assert [(each.pool, each.held) for each in waiting] == [("crm", False)]


def test_a_required_pool_refuses_the_person_with_its_numbers(stage: Stage) -> None:
    stage.configure(
        pools={"base": Pool("base", 1, required=True)}, rules=(rule("all", "userName pr", seats=("base",)),)
    )
    stage.do(user("u1"))
    outcome = stage.act(user("u2"))
    assert isinstance(outcome.error, PoolFull)
    assert "pool base is full: 1 of 1 seats" in str(outcome.error)
    assert [row[1] for row in stage.activity("refused")] == ["u2"]
    stage.restate("u1", values={"title": "x"}).check()


def test_who_is_there_without_a_seat_can_still_be_changed(stage: Stage) -> None:
    """A pool that became required later refuses nobody who came before it."""
    stage.configure(pools={"base": Pool("base", 1)}, rules=(rule("all", "userName pr", seats=("base",)),))
    stage.do(user("u1"))
    stage.do(user("u2"))
    stage.configure(pools={"base": Pool("base", 1, required=True)})
    stage.restate("u2", values={"title": "x"}).check()
    assert stage.user("u2").values["title"] == "x"
    stage.restate("u2", enabled=False).check()
    assert isinstance(stage.restate("u2", enabled=True).error, PoolFull)


def test_whoever_is_refused_for_one_pool_keeps_no_seat_in_another(stage: Stage) -> None:
    """In one batch: she who is set aside for want of a required seat leaves hers in the other pool to the next."""
    stage.configure(
        sources={"corp": policy()},
        pools={"desk": Pool("desk", 1, when_full="refuse"), "vip": Pool("vip", 0, required=True)},
        rules=(
            rule("all", "userName pr", seats=("desk",)),
            rule("vips", 'title eq "vip"', seats=("vip",)),
        ),
    )
    directory = Directory()
    directory.hire("ann", title="vip")
    directory.hire("bob")
    promised = stage.plan(directory)
    report = stage.run(directory)
    assert (promised.digest, promised.seats_after) == (report.digest, report.seats_after)
    assert promised.seats_after["desk"].used == 1
    assert [each.entry for each in report.set_aside] == ["uid=ann,ou=people,dc=x"]
    assert stage.held("desk") == [stage.named("bob").id]


def test_an_overage_is_a_limit_too(stage: Stage) -> None:
    stage.configure(pools={"desk": Pool("desk", 2, when_full="overage", overage=1)})
    for id in staff("u", 5):
        stage.do(user(id, grant=(seat("desk"),)))
    assert len(stage.held("desk")) == 3
    told = [(row.subject, row.why) for row in stage.rows(t.activity, action="overage")]
    assert told == [("pool desk", "3 seats of 2 are taken")], "once, when it goes beyond"
    events = [row.payload["events"] for row in stage.rows(t.outbox, subject_id="desk")]
    assert events == [{"urn:syncd:params:event:seats-overage": {"used": 3, "limit": 2, "capacity": 3}}]
    for id in staff("u", 4):
        stage.do(UserEdit(id, "local", facts={"suspended": "hold"}))
    assert len(stage.held("desk")) == 1
    stage.do(UserEdit("u000", "local", facts={"suspended": None}))
    assert len(stage.rows(t.activity, action="overage")) == 1
    stage.do(UserEdit("u001", "local", facts={"suspended": None}))
    assert len(stage.rows(t.activity, action="overage")) == 2, "back within, and beyond again"


def test_a_raised_limit_is_filled_by_the_next_run_and_a_lowered_one_takes_nobodys_seat(stage: Stage) -> None:
    stage.configure(
        sources={"corp": policy()},
        pools={"desk": Pool("desk", 2)},
        rules=(rule("all", "userName pr", seats=("desk",)),),
    )
    directory = Directory()
    directory.hire(*staff("p", 6))
    stage.run(directory)
    assert len(stage.held("desk")) == 2
    stage.workspace = type(stage.workspace)(
        sources=stage.workspace.sources, rules=stage.workspace.rules, pools={"desk": Pool("desk", 4)}
    )
    directory.people["p005"]["title"] = "x"
    promised = stage.plan(directory)
    done = stage.run(directory)
    assert (promised.digest, promised.counts["seat"]) == (done.digest, 2)
    assert len(stage.held("desk")) == 4
    directory.people["p005"]["title"] = "y"
    stage.workspace = type(stage.workspace)(
        sources=stage.workspace.sources, rules=stage.workspace.rules, pools={"desk": Pool("desk", 4)}
    )
    stage.run(directory)
    assert len(stage.held("desk")) == 4


def test_a_pool_that_goes_from_the_configuration_gives_its_seats_back(stage: Stage) -> None:
    stage.configure(pools={"desk": Pool("desk", 2)})
    stage.do(user("u1", grant=(seat("desk"),)))
    stage.configure(pools={})
    stage.restate("u1", values={"title": "x"}).check()
    assert stage.user("u1").seats == ()


# -- at the same moment --------------------------------------------------------------------------------------------------


def test_an_internal_seat_takes_the_place_of_a_portal_seat_and_gives_it_back(stage: Stage) -> None:
    stage.configure(pools={"internal": Pool("internal", 1, excludes=("portal",)), "portal": Pool("portal", 1)})
    stage.do(user("u1", grant=(seat("portal"),)), user("u2", grant=(seat("portal"),)))
    assert (stage.held("portal"), stage.held("internal")) == (["u1"], [])
    outcome = stage.do(UserEdit("u1", "local", grant=(seat("internal"),)))
    assert (stage.held("portal"), stage.held("internal")) == (["u2"], ["u1"])
    assert [each.loss for each in outcome.changes if each.kind == "unseat"] == [None], "nobody lost anything"
    stage.do(UserEdit("u1", "local", revoke=(seat("internal").id,)))
    assert (stage.held("portal"), stage.user("u1").seats[0].held) == (["u2"], False)
    stage.do(UserEdit("u2", "local", grant=(seat("internal"),)))
    assert (stage.held("portal"), stage.held("internal")) == (["u1"], ["u2"]), "the next in line, in one transaction"


def test_who_has_not_come_yet_holds_a_seat_only_where_that_counts(stage: Stage) -> None:
    stage.configure(pools={"desk": Pool("desk", 1, pending_counts=False), "crm": Pool("crm", 1)})
    stage.do(user("u1", grant=(seat("desk"), seat("crm")), facts={"invited": True}))
    assert (stage.held("desk"), stage.held("crm")) == ([], ["u1"])
    stage.do(UserEdit("u1", "local", facts={"invited": False}))
    assert stage.held("desk") == ["u1"]


def test_a_place_in_line_is_moved_by_hand_and_recorded(stage: Stage) -> None:
    stage.configure(pools={"desk": Pool("desk", 1)})
    for id in ("u1", "u2", "u3"):
        stage.later(minutes=1)
        stage.do(user(id, grant=(seat("desk"),)))
    outcome = stage.do(UserEdit("u3", "local", priorities=(("desk", 10),), why="starts on Monday"))
    assert [(each.kind, each.before, each.after) for each in outcome.changes] == [
        ("update", {"priority in desk": 100}, {"priority in desk": 10})
    ]
    stage.do(UserEdit("u1", "local", facts={"suspended": "hold"}))
    assert stage.held("desk") == ["u3"]


def at_once(stage: Stage, edits: list[tuple[UserEdit | GroupEdit, ...]], workers: int = 10) -> list[Outcome]:
    """Each change group in a transaction of its own, from several threads."""

    def one(group: tuple[UserEdit | GroupEdit, ...]) -> Outcome:
        actor = Actor("scim", "test", "default", source=group[0].source)
        return stage.database.write_now(
            lambda conn: commit(conn, stage.workspace, actor, group, stage.now, lambda: f"{group[0].id}-{stage.ids()}")
        )

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, edits))


def test_twenty_at_once_for_five_seats(stage: Stage) -> None:
    stage.configure(pools={"desk": Pool("desk", 5)})
    outcomes = at_once(stage, [(user(id, grant=(seat("desk"),)),) for id in staff("u", 20)])
    assert all(outcome.error is None for outcome in outcomes)
    assert len(stage.held("desk")) == 5
    stage.sound()
    leaving = stage.held("desk")
    at_once(stage, [(UserEdit(id, "local", facts={"suspended": "hold"}),) for id in leaving])
    stage.sound()
    assert len(stage.held("desk")) == 5
    assert not set(stage.held("desk")) & set(leaving)


def test_twenty_at_once_for_a_pool_that_nobody_used_before(stage: Stage) -> None:
    """It has no row yet that they could wait for: a pool that is new in the configuration."""
    stage.do(user("somebody"))
    stage.configure(pools={"desk": Pool("desk", 5), "lab": Pool("lab", 2)})
    wanted = (seat("desk"), seat("lab"))
    at_once(stage, [(user(id, grant=wanted),) for id in staff("u", 20)])
    stage.sound()
    assert (len(stage.held("desk")), len(stage.held("lab"))) == (5, 2)


def test_comings_and_goings_at_once_lose_no_seat(stage: Stage) -> None:
    """Whoever comes, goes, returns, is moved or swaps pools at the same moment: full while somebody waits, and never over."""
    stage.configure(pools={"internal": Pool("internal", 3, excludes=("portal",)), "portal": Pool("portal", 4)})
    ids = staff("u", 16)
    stage.do(*(user(id, grant=(seat("portal"),)) for id in ids))
    wanted: list[tuple[UserEdit | GroupEdit, ...]] = []
    for n, id in enumerate(ids):
        hold = (UserEdit(id, "local", facts={"suspended": "hold"}),)
        take = (UserEdit(id, "local", grant=(seat("internal"),)),)
        move = (UserEdit(id, "local", priorities=(("portal", n),)),)
        give = (UserEdit(id, "local", revoke=(seat("internal").id,)),)
        lift = (UserEdit(id, "local", facts={"suspended": None}),)
        wanted += [(take, give, move), (hold, lift, take), (move, take, hold), (take, hold, lift)][n % 4]
    outcomes = at_once(stage, [wanted[each % len(wanted)] for each in range(0, 7 * len(wanted), 7)], 8)
    assert [outcome.error for outcome in outcomes if outcome.error is not None] == []
    stage.sound()
    waiting = {seat.pool for id in ids for seat in stage.user(id).seats if not seat.held}
    for pool, limit in (("internal", 3), ("portal", 4)):
        held = len(stage.held(pool))
        assert held == limit if pool in waiting else held <= limit


def test_two_owners_cannot_both_leave_at_once(stage: Stage) -> None:
    for turn in range(5):
        ids = [f"a{turn}", f"b{turn}"]
        stage.do(*(user(id, grant=(owner(),)) for id in ids))
        for each in range(turn):  # owners of earlier turns are out of the way
            for id in (f"a{each}", f"b{each}"):
                stage.act(UserEdit(id, "local", revoke=(owner().id,)))
        outcomes = at_once(stage, [(UserEdit(id, "local", facts={"suspended": "hold"}),) for id in ids], 2)
        assert len([outcome for outcome in outcomes if outcome.error is None]) == 1


def test_a_member_and_a_nesting_at_once(stage: Stage) -> None:
    for turn in range(8):
        low, mid, top = f"low{turn}", f"mid{turn}", f"top{turn}"
        stage.do(group(top), group(mid), group(low, join=(mid,)), *(user(f"u{turn}-{n}") for n in range(4)))
        at_once(
            stage,
            [
                (GroupEdit(mid, "local", join=(top,)),),
                *((UserEdit(f"u{turn}-{n}", "local", join=(low,)),) for n in range(4)),
            ],
            5,
        )
        stage.sound()


def test_a_member_and_a_deletion_of_the_group_at_once(stage: Stage) -> None:
    for turn in range(8):
        stage.do(group(f"g{turn}"), *(user(f"u{turn}-{n}") for n in range(4)))
        at_once(
            stage,
            [
                (GroupEdit(f"g{turn}", "local", delete=True),),
                *((UserEdit(f"u{turn}-{n}", "local", join=(f"g{turn}",)),) for n in range(4)),
            ],
            5,
        )
        stage.sound()


def test_one_name_for_ten_at_once(stage: Stage) -> None:
    from syncd.errors import Uniqueness

    def one(id: str) -> bool:
        try:
            return at_once(stage, [(user(id, name="ann"),)], 1)[0].error is None
        except Uniqueness:
            return False

    with ThreadPoolExecutor(10) as pool:
        assert sum(pool.map(one, staff("u", 10))) == 1
    stage.sound()
