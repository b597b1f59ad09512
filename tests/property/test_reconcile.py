"""Reconcile as a law: applied is done, promised is kept, every invariant holds after every step, a kill changes nothing.

A directory in memory is edited at random between reads; the store is SQLite. What Decide promised is compared with what
Apply did, name by name, seat by seat, version by version.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from door_stage import Directory, Stage, owner, policy, protects, rule, user
from foreseeing import both_ways
from syncd.core.change import GroupEdit, UserEdit
from syncd.core.guards import Limit, Limits
from syncd.core.plan import PoolUse, Report, fingerprint
from syncd.core.seats import Pool, in_order
from syncd.core.state import Grant, Link
from syncd.core.workspace import Workspace
from syncd.errors import SyncdError
from syncd.store import tables as t
from syncd.store.invariants import check

PEOPLE = [f"p{n}" for n in range(8)]
TEAMS = [f"t{n}" for n in range(5)]
KINDS = ("deactivate", "suspend", "delete", "role", "seat", "membership", "blank")

# Every example is a store of its own and many runs: a thirtieth of what the profile asks for.
quick = settings(
    max_examples=max(3, settings().max_examples // 30), deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(autouse=True, scope="module")
def _both_ways() -> Iterator[None]:
    with both_ways():
        yield


# -- a directory and what may happen to it -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """One thing that happens between two reads."""

    kind: str
    who: str
    other: str
    value: str

    def apply(self, directory: Directory) -> None:
        people, teams = directory.people, directory.teams
        match self.kind:
            case "hire":
                directory.hire(self.who, employeeType=self.value)
            case "fire":
                people.pop(self.who, None)
                directory.disabled.discard(self.who)
            case "title" if self.who in people:
                people[self.who]["title"] = self.value
            case "blank" if self.who in people:
                people[self.who].pop("title", None)
            case "type" if self.who in people:
                people[self.who]["employeeType"] = self.value
            case "manager" if self.who in people and self.other in people:
                people[self.who]["manager"] = self.other
            case "disable" if self.who in people:
                directory.disabled ^= {self.who}
            case "form":
                teams.setdefault(self.other, set())
            case "disband":
                teams.pop(self.other, None)
            case "join" if self.other in teams:
                teams[self.other] ^= {self.who}
            case "nest" if self.other in teams:
                teams[self.other] ^= {f"t{self.who[1:]}" if int(self.who[1:]) < len(TEAMS) else self.who}
            case "spoil":
                directory.bad ^= {self.who}


steps = st.builds(
    Step,
    st.sampled_from(
        (
            *("hire", "hire", "fire", "title", "blank", "type", "manager", "disable"),
            *("form", "form", "disband", "join", "join", "join", "nest", "nest", "spoil"),
        )
    ),
    st.sampled_from(PEOPLE),
    st.sampled_from(TEAMS) | st.sampled_from(PEOPLE),
    st.sampled_from(("Employee", "Guest", "Lead")),
)
rounds = st.lists(st.lists(steps, min_size=1, max_size=12), min_size=1, max_size=4)


def others_say(stage: Stage, step: Step) -> None:
    """What people put where beside the directory: somebody in one of its groups, a group in another."""
    groups = {row.display_name: row.id for row in stage.rows(t.groups)}
    people = {row.user_name: row.id for row in stage.rows(t.users)}
    where, what = groups.get(step.other), f"t{step.who[1:]}"
    if step.kind == "join" and step.value == "Guest" and where and step.who in people:
        stage.act(UserEdit(people[step.who], "local", join=(where,)))
    elif step.kind == "nest" and step.value == "Guest" and where and what in groups and groups[what] != where:
        stage.act(GroupEdit(groups[what], "local", join=(where,)))


def founded() -> Directory:
    directory = Directory()
    directory.hire(*PEOPLE[:5], employeeType="Employee")
    directory.teams = {"t0": {"p0", "p1", "t1"}, "t1": {"p2"}}
    return directory


def workspace(floor: int = 100) -> Workspace:
    return Workspace(
        sources={"corp": policy(limits=Limits({kind: Limit(floor=floor) for kind in KINDS}))},
        pools={
            "desk": Pool("desk", 3),
            "crm": Pool("crm", 1, requires=("desk",)),
            "few": Pool("few", 2, when_full="refuse"),
            "over": Pool("over", 1, when_full="overage", overage=1),
        },
        rules=(
            rule("staff", 'userType eq "Employee"', roles=("member",), seats=("desk",)),
            rule("lead", 'title eq "Lead"', roles=("viewer",), seats=("few", "over")),
            rule("top", 'groups[display eq "t0"]', roles=("viewer",), seats=("crm",)),
            rule("not in t1", 'not (groups[display eq "t1"])', seats=("over",)),
        ),
        protected=protects('userName eq "p4"'),
    )


class Staged:
    """A stage in a folder of its own, for as long as one example lasts."""

    def __init__(self, floor: int = 100) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="syncd-property-")
        self.stage = Stage(f"sqlite:///{Path(self.folder.name) / 'x.db'}", workspace(floor))

    def __enter__(self) -> Stage:
        return self.stage

    def __exit__(self, *exc: object) -> None:
        self.stage.close()
        self.folder.cleanup()


def everything(stage: Stage, *without: str) -> dict[str, list[Any]]:
    """All rows of the resources, as a person could compare two stores: without ids of rows, without times."""
    u, g = t.users.c, t.groups.c
    with stage.database.reading() as conn:
        names = {row.id: row.user_name for row in conn.execute(select(u.id, u.user_name))}
        names |= {row.id: f"group {row.display_name}" for row in conn.execute(select(g.id, g.display_name))}

        def rows(query: Any) -> list[Any]:
            return sorted(tuple(names.get(each, each) for each in row) for row in conn.execute(query))

        m, e, s, r, k = (
            t.memberships.c,
            t.effective_memberships.c,
            t.seats.c,
            t.grants.c,
            t.links.c,
        )
        found = {
            "users": rows(select(u.id, u.status, u.version)),
            "groups": rows(select(g.id, g.version)),
            "links": rows(select(k.source, k.key, k.resource_id, k.enabled, k.stage, k.missing_reads)),
            "values": [
                (row.key, {p: names.get(v, v) if isinstance(v, str) else v for p, v in row.values.items()})
                for row in conn.execute(select(k.key, k["values"]).order_by(k.key))
            ],
            "memberships": rows(select(m.group_id, m.member_id, m.origin)),
            "effective": rows(select(e.user_id, e.group_id)),
            "seats": rows(select(s.pool, s.user_id, s.held)),
            "grants": rows(select(r.user_id, r.kind, r.value, r.name, r.why)),
        }
    return {name: each for name, each in found.items() if name not in without}


def use(stage: Stage) -> dict[str, PoolUse]:
    rows = {row.name: row for row in stage.rows(t.seat_pools)}
    return {
        name: PoolUse(rows[name].used, pool.limit, rows[name].waiting) if name in rows else PoolUse(0, pool.limit, 0)
        for name, pool in stage.workspace.pools.items()
    }


def shown(report: Report) -> list[tuple[Any, ...]]:
    """In any order; a manager who is created by the same plan has another id each time, and so does not count."""
    return sorted((each.kind, each.subject, fingerprint(each).hex()) for each in report.changes)


# -- laws ----------------------------------------------------------------------------------------------------------------


@quick
@given(rounds, st.booleans())
def test_what_is_applied_is_done_and_what_is_promised_is_kept(happenings: list[list[Step]], patient: bool) -> None:
    with Staged() as stage:
        directory = founded()
        stage.run(directory)
        for happening in happenings:
            stage.later(days=2 if patient else 0, minutes=1)
            for step in happening:
                step.apply(directory)
                others_say(stage, step)
            before = everything(stage)
            tables = {table.name: stage.rows(table) for table in t.metadata.sorted_tables if "workspace" in table.c}
            promised = stage.plan(directory)
            dry = {table.name: stage.rows(table) for table in t.metadata.sorted_tables if "workspace" in table.c}
            for name, rows in tables.items():
                assert name in ("runs", "set_aside") or dry[name] == rows, f"a dry run wrote to {name}"
            assert len(dry["runs"]) == len(tables["runs"]) + 1
            done = stage.run(directory)
            assert shown(done) == shown(promised)
            assert done.digest == promised.digest
            assert done.counts == promised.counts
            assert (promised.seats_before, promised.seats_after) == (done.seats_before, done.seats_after)
            assert use(stage) == promised.seats_after
            assert not [note for note in done.notes if "dropped" in note]
            after = everything(stage)
            assert (after != before) or not any(True for _ in promised.changes) or promised.held
            stage.sound(stage.now)
            # Whoever is missing climbs one rung a complete read: only that may be left to do.
            again = stage.plan(directory)
            left = [each for each in again.changes if each.subject not in gone(stage, directory)]
            assert left == []
            for _ in range(4):
                stage.later(minutes=1)
                stage.run(directory)
            assert stage.plan(directory).counts == {**dict.fromkeys(again.counts, 0)} | {
                "read": again.counts["read"],
                "set_aside": again.counts["set_aside"],
            }


def gone(stage: Stage, directory: Directory) -> set[str]:
    """Who is on the ladder, and whoever may change by it: those served from a waiting list, groups that go."""
    absent = [key for key in PEOPLE if key not in directory.people]
    groups = [key for key in TEAMS if key not in directory.teams]
    return {*PEOPLE, *(f"group {key}" for key in TEAMS)} if absent or groups else set()


@quick
@given(rounds)
def test_promised_versions_are_the_versions_applied(happenings: list[list[Step]]) -> None:
    with Staged() as stage:
        directory = founded()
        stage.run(directory)
        for happening in happenings:
            stage.later(days=2)
            for step in happening:
                step.apply(directory)
            u = t.users.c
            with stage.database.reading() as conn:
                old = {row.user_name: row.version for row in conn.execute(select(u.user_name, u.version))}
            report = stage.run(directory)
            touched = {each.subject for each in report.changes if each.kind != "yield"}
            with stage.database.reading() as conn:
                new = {row.user_name: row.version for row in conn.execute(select(u.user_name, u.version))}
            # Twice, if she changes herself and is served from a waiting list later, in another batch.
            assert {name for name in new if new[name] != old.get(name, 0)} == touched & new.keys()
            assert all(new[name] - old.get(name, 0) <= 3 for name in new)


@quick
@given(rounds, st.integers(0, 3))
def test_a_guard_that_holds_keeps_every_promise_too(happenings: list[list[Step]], floor: int) -> None:
    with Staged(floor) as stage:
        directory = founded()
        stage.run(directory)
        for happening in happenings:
            stage.later(days=2)
            for step in happening:
                step.apply(directory)
            promised = stage.plan(directory)
            done = stage.run(directory)
            assert shown(done) == shown(promised)
            assert done.digest == promised.digest
            assert use(stage) == promised.seats_after
            assert [(each.guard, each.kind, each.digest) for each in done.held] == [
                (each.guard, each.kind, each.digest) for each in promised.held
            ]
            lost: dict[str, set[str]] = {}
            for each in done.changes:
                if each.loss and not each.exempt:
                    lost.setdefault(each.loss, set()).add(each.subject_id)
            limit = stage.workspace.source("corp").limits
            assert all(len(ids) <= limit.of(kind).allowed(len(PEOPLE)) for kind, ids in lost.items())
            stage.sound(stage.now)
        for _ in range(6):  # whoever is asked says yes to everything, until nothing is asked any more
            digests = sorted({row.digest for row in stage.rows(t.held)})
            for digest in digests:
                if stage.rows(t.held, digest=digest):
                    stage.approve(digest)
            stage.later(days=2)
            stage.run(directory)
            stage.sound(stage.now)
        report = stage.run(directory)
        assert [each for each in report.held if each.guard not in ("protected", "last_owner")] == []
        stage.later(days=2)
        left = everything(stage)
        with Staged() as other:  # the same directory, read into a store without limits, ends in the same place
            directory_only = {key: each for key, each in left.items() if key in ("effective",)}
            other.run(directory)
            fresh = everything(other)
            there = set(directory.people) - directory.bad
            if not directory.bad:
                assert [row for row in directory_only["effective"] if row[0] in there] == fresh["effective"]


class Killed(Exception):
    pass


@quick
@given(rounds, st.integers(1, 6), st.integers(1, 3), st.sampled_from((1, 3)))
def test_a_run_that_is_killed_between_batches_ends_where_an_undisturbed_one_ends(
    happenings: list[list[Step]], kill_at: int, size: int, at_once: int
) -> None:
    """Both read twice: an entry that is missing climbs one rung a complete read, killed or not. One may have several batches
    in a transaction, as a first load has."""
    with Staged() as calm, Staged() as rough, pytest.MonkeyPatch.context() as patch:
        patch.setattr("syncd.store.plans.batch_size", lambda conn, workspace: size)
        for stage in (calm, rough):
            if stage is rough and at_once > 1:
                patch.setattr("syncd.store.plans.LOADED", 1)
                patch.setattr("syncd.store.plans.LOADED_AT_ONCE", at_once)
            directory = founded()
            stage.run(directory)
            for happening in happenings:
                stage.later(days=2)
                for step in happening:
                    step.apply(directory)
                try:
                    stage.run(directory, progress=_Killer(kill_at) if stage is rough else None)
                except Killed:  # whoever is below a changed group is derived last, by whoever finishes the run
                    with stage.database.reading() as conn:
                        assert [each for each in check(conn, stage.workspace) if "effective" not in each] == []
                stage.run(directory)  # finishes what was left, and reads once more, as the other does
                stage.sound(stage.now)
        without = ("groups",) if at_once > 1 else ()  # whose versions count transactions in which members moved
        one, other = everything(rough, *without), everything(calm, *without)
        assert {name: one[name] for name in one if one[name] != other[name]} == {
            name: other[name] for name in one if one[name] != other[name]
        }


class _Killer:
    def __init__(self, at: int) -> None:
        self.left = at

    def step(self, name: str, done: int, total: int | None) -> None:
        if name == "apply":
            self.left -= 1
            if self.left == 0:
                raise Killed


# -- seats in any order --------------------------------------------------------------------------------------------------

commands = st.lists(
    st.tuples(
        st.sampled_from(("create", "suspend", "unsuspend", "disable", "enable", "delete", "restore", "want", "drop")),
        st.sampled_from(PEOPLE[:6]),
        st.sampled_from(("desk", "crm", "few", "over")),
    ),
    min_size=1,
    max_size=30,
)


@quick
@given(commands)
def test_seats_never_exceed_their_limit_in_any_order_of_commits(orders: list[tuple[str, str, str]]) -> None:
    with Staged() as stage:
        for kind, id, pool in orders:
            stage.later(minutes=1)
            there = bool(stage.rows(t.users, id=id))
            if there == (kind == "create"):
                continue
            seat = Grant("seat", pool, "direct", "root")
            hold: dict[str, Callable[[], UserEdit]] = {
                "create": lambda: user(id, grant=(seat,)),  # noqa: B023 - called at once
                "suspend": lambda: UserEdit(id, "local", facts={"suspended": "x"}),  # noqa: B023
                "unsuspend": lambda: UserEdit(id, "local", facts={"suspended": None}),  # noqa: B023
                "disable": lambda: stage.restated(id, enabled=False),  # noqa: B023
                "enable": lambda: stage.restated(id, enabled=True),  # noqa: B023
                "delete": lambda: UserEdit(id, "local", facts={"deleted_at": stage.now}),  # noqa: B023
                "restore": lambda: UserEdit(id, "local", facts={"deleted_at": None}),  # noqa: B023
                "want": lambda: UserEdit(id, "local", grant=(seat,)),  # noqa: B023
                "drop": lambda: UserEdit(id, "local", revoke=(seat.id,)),  # noqa: B023
            }
            edit = hold[kind]()
            promised = stage.act(edit, dry_run=True)
            done = stage.act(edit)
            assert (done.changes, str(done.error)) == (promised.changes, str(promised.error))
            stage.sound(stage.now)


# -- any writer, any order -----------------------------------------------------------------------------------------------

nodes = st.sampled_from(TEAMS)
edits = st.lists(
    st.one_of(
        st.tuples(st.just("nest"), nodes, nodes, st.sampled_from(("local", "okta"))),
        st.tuples(st.just("unnest"), nodes, nodes, st.sampled_from(("local", "okta"))),
        st.tuples(st.just("join"), st.sampled_from(PEOPLE[:4]), nodes, st.sampled_from(("local", "okta"))),
        st.tuples(st.just("leave"), st.sampled_from(PEOPLE[:4]), nodes, st.sampled_from(("local", "okta"))),
        st.tuples(st.just("drop"), nodes, nodes, st.just("local")),
        st.tuples(st.just("make"), nodes, nodes, st.just("local")),
    ),
    min_size=1,
    max_size=25,
)


@quick
@given(edits, st.lists(st.integers(1, 4), min_size=1, max_size=25))
def test_effective_memberships_are_the_closure_whoever_writes(
    wanted: list[tuple[str, str, str, str]], sizes: list[int]
) -> None:
    """Several edits in one change group too: each sees what those before it did."""
    with Staged() as stage:
        for id in PEOPLE[:4]:
            stage.do(user(id))
        for name in TEAMS[:3]:
            stage.do(_made(name))
        while wanted:
            size = sizes.pop() if sizes else 1
            now, wanted = wanted[:size], wanted[size:]
            group = [_edit(*each) for each in now if each[3] == now[0][3]]
            stage.later(days=2)
            outcome = stage.act(*group, source=now[0][3])
            assert outcome.error is None or isinstance(outcome.error, SyncdError)
            stage.sound(stage.now)


def _made(name: str) -> GroupEdit:
    return GroupEdit(name, "local", create=True, link=Link("local", name, values={"displayName": name}))


def _edit(kind: str, first: str, second: str, source: str) -> UserEdit | GroupEdit:
    match kind:
        case "nest":
            return GroupEdit(first, source, join=(second,))
        case "unnest":
            return GroupEdit(first, source, leave=(second,))
        case "join":
            return UserEdit(first, source, join=(second,))
        case "leave":
            return UserEdit(first, source, leave=(second,))
        case "drop":
            return GroupEdit(first, source, delete=True)
    return _made(first)


# -- pools ---------------------------------------------------------------------------------------------------------------


@given(st.dictionaries(st.sampled_from("abcde"), st.sets(st.sampled_from("abcde"), max_size=3), min_size=1))
def test_pools_come_after_what_they_require_or_the_cycle_is_named(requires: dict[str, set[str]]) -> None:
    pools = {name: Pool(name, requires=tuple(sorted(needs))) for name, needs in requires.items()}
    try:
        order = [pool.name for pool in in_order(pools)]
    except ValueError as exc:
        cycle = str(exc).split(" -> ")
        assert cycle[0] == cycle[-1]
        assert all(later in requires[earlier] for earlier, later in pairwise(cycle))
        return
    assert sorted(order) == sorted(pools)
    assert all(
        order.index(needed) < order.index(name) for name in order for needed in requires[name] if needed in pools
    )


@quick
@given(rounds)
def test_the_last_owner_outlives_every_run(happenings: list[list[Step]]) -> None:
    with Staged() as stage:
        directory = founded()
        stage.run(directory)
        bosses = [stage.named(key).id for key in ("p0", "p1")]
        stage.do(*(UserEdit(id, "local", grant=(owner(),)) for id in bosses))
        for happening in happenings:
            stage.later(days=2)
            for step in happening:
                step.apply(directory)
            promised = stage.plan(directory)
            assert stage.run(directory).digest == promised.digest
            assert any(stage.user(id).status == "active" and "owner" in stage.roles(id) for id in bosses)
