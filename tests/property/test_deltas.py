"""The law of deltas: any sequence of changes of a directory, cut into any deltas, ends where whole reads end.

Two stores follow one directory, one by deltas and one by whole reads at the same moments. Nobody is asked in between, so
the guards let everything through; what they do is the business of test_reconcile.py.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from changing import Changing, Person, Team, person_dn, team_dn
from door_stage import AT_ONCE, Stage, policy, rule
from syncd.core.guards import Limit, Limits
from syncd.core.lifecycle import Ladder
from syncd.core.seats import Pool
from syncd.core.workspace import Workspace
from syncd.store import tables as t

PEOPLE = [f"p{n}" for n in range(6)]
TEAMS = [f"t{n}" for n in range(4)]
NAMES = [f"n{n}" for n in range(5)]
KINDS = ("deactivate", "suspend", "delete", "role", "seat", "membership", "blank")
NEVER = Ladder(None, None, None)

quick = settings(
    max_examples=max(4, settings().max_examples // 20), deadline=None, suppress_health_check=list(HealthCheck)
)


@dataclass(frozen=True)
class Step:
    """One change of the directory. `name` is a name that somebody or something is to have, or to be found by."""

    kind: str
    person: str
    team: str
    name: str
    other: str

    def apply(self, directory: Changing) -> None:
        people, teams = directory.people, directory.teams
        name_free = self.name not in {one.name for one in people.values()}
        team_free = self.name not in {team.name for team in teams.values()}
        one, team = people.get(self.person), teams.get(self.team)
        match self.kind:
            case "hire" if one is None and name_free:
                people[self.person] = Person(self.name)
            case "fire":
                people.pop(self.person, None)
            case "rename" if one and name_free:
                one.name = self.name
            case "title" if one:
                one.title = self.other if one.title is None else None
            case "type" if one:
                one.type = "Guest" if one.type == "Employee" else "Employee"
            case "manager" if one:
                one.manager = person_dn(self.name)
            case "disable" if one:
                one.disabled = not one.disabled
            case "spoil" if one:
                one.bad = not one.bad
            case "form" if team is None and team_free:
                teams[self.team] = Team(self.name)
            case "disband":
                teams.pop(self.team, None)
            case "rename team" if team and team_free:
                team.name = self.name
            case "join" if team:
                team.members ^= {person_dn(self.name)}
            case "nest" if team:
                team.members ^= {team_dn(self.name)}
            case "join by uid" if team:
                team.uids ^= {self.name}
            case "spoil team" if team:
                team.bad = not team.bad


OFTEN = ("hire", "hire", "fire", "rename", "form", "join", "join", "nest", "join by uid")
RARELY = ("title", "type", "manager", "disable", "spoil", "disband", "rename team", "spoil team")
steps = st.builds(
    Step,
    st.sampled_from((*OFTEN, *OFTEN, *RARELY)),
    st.sampled_from(PEOPLE),
    st.sampled_from(TEAMS),
    st.sampled_from(NAMES),
    st.sampled_from(("Lead", "Clerk")),
)
rounds = st.lists(st.tuples(st.lists(steps, min_size=1, max_size=8), st.booleans()), min_size=1, max_size=6)


def founded() -> Changing:
    people = {key: Person(f"n{number}") for number, key in enumerate(PEOPLE[:4])}
    people["p1"].manager = person_dn("n0")
    first = Team("n0", {person_dn("n0"), person_dn("n1"), team_dn("n1"), person_dn("n4")}, {"n2"})
    return Changing(people=people, teams={"t0": first, "t1": Team("n1", {person_dn("n2")})})


def workspace(ladder: Ladder) -> Workspace:
    limits = Limits({kind: Limit(floor=100) for kind in KINDS})
    return Workspace(
        sources={"corp": policy(limits=limits, ladder=ladder)},
        pools={"desk": Pool("desk", 3)},
        rules=(
            rule("staff", 'userType eq "Employee"', roles=("member",), seats=("desk",)),
            rule("top", 'groups[display eq "n0"]', roles=("viewer",)),
        ),
    )


@cache
def _empty() -> bytes:
    """A database with its tables, which takes longer to make than an example runs."""
    with tempfile.TemporaryDirectory(prefix="syncd-property-") as folder:
        file = Path(folder) / "x.db"
        Stage(f"sqlite:///{file}").close()
        return file.read_bytes()


class Staged:
    def __init__(self, ladder: Ladder = NEVER) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="syncd-property-")
        file = Path(self.folder.name) / "x.db"
        file.write_bytes(_empty())
        self.stage = Stage(f"sqlite:///{file}", workspace(ladder))

    def __enter__(self) -> Stage:
        return self.stage

    def __exit__(self, *exc: object) -> None:
        self.stage.close()
        self.folder.cleanup()


def everything(stage: Stage) -> dict[str, list[Any]]:
    """All rows of the resources with keys instead of ids: but for how often somebody was missed, which counts whole reads."""
    k, u, g, m, e, s, r, x = (
        *(t.links.c, t.users.c, t.groups.c, t.memberships.c),
        *(t.effective_memberships.c, t.seats.c, t.grants.c, t.unresolved_members.c),
    )
    with stage.database.reading() as conn:
        keys = {row.resource_id: row.key for row in conn.execute(select(k.resource_id, k.key))}

        def shown(value: Any) -> Any:
            if isinstance(value, dict):
                return sorted((path, repr(shown(each))) for path, each in value.items())
            return keys.get(value, value) if isinstance(value, str) else value

        def rows(*columns: Any) -> list[Any]:
            return sorted((tuple(shown(each) for each in row) for row in conn.execute(select(*columns))), key=repr)

        return {
            "users": rows(u.id, u.user_name, u.status, u.version),
            "groups": rows(g.id, g.display_name),
            "links": rows(k.key, k.resource_id, k.dn_key, k.uid_key, k.enabled, k.stage, k["values"]),
            "memberships": rows(m.group_id, m.member_id, m.origin),
            "effective": rows(e.user_id, e.group_id),
            "seats": rows(s.pool, s.user_id, s.held),
            "grants": rows(r.user_id, r.kind, r.value, r.name),
            # A delta does not look at the groups of who is gone, in which her uid means nobody now.
            "unresolved": [each for each in rows(x.group_id, x.ref) if "=" in each[1]],
        }


@quick
@given(rounds)
def test_any_changes_cut_into_any_deltas_end_where_whole_reads_end(happenings: list[tuple[list[Step], bool]]) -> None:
    with Staged() as by_deltas, Staged() as by_reads:
        directory = founded()
        for stage in (by_deltas, by_reads):
            stage.run(directory)
        # A name that is taken is free one read later, so that nothing is left to do after two in which nothing happens.
        for happening, present_phase in (*happenings, ((), False), ((), True)):
            directory.present_phase = present_phase
            for step in happening:
                step.apply(directory)
            for stage in (by_deltas, by_reads):
                stage.later(hours=7)  # long enough for whatever waits to be looked at again
                report = stage.run(directory, delta=stage is by_deltas)
                assert report.kind == ("delta" if stage is by_deltas else "full"), report.kind_why
            assert everything(by_deltas) == everything(by_reads)
        by_deltas.later(hours=7)
        left = by_deltas.plan(directory)
        assert [(each.kind, each.subject) for each in left.changes] == []


@quick
@given(rounds)
def test_a_whole_read_after_deltas_finds_nothing_but_the_ladder(happenings: list[tuple[list[Step], bool]]) -> None:
    with Staged(AT_ONCE) as stage:
        directory = founded()
        stage.run(directory)
        for happening, directory.present_phase in (*happenings, ((), False), ((), True)):
            for step in happening:
                step.apply(directory)
            stage.later(hours=7)
            stage.run(directory, delta=True)
        stage.workspace = workspace(NEVER)  # which is no part of what decides about entries
        stage.later(hours=7)
        left = stage.plan(directory)
        assert [(each.kind, each.subject) for each in left.changes] == []


@quick
@given(rounds, st.integers(0, 3))
def test_a_delta_that_breaks_is_made_good_by_the_next(
    happenings: list[tuple[list[Step], bool]], breaks_after: int
) -> None:
    with Staged() as rough, Staged() as calm:
        directory = founded()
        for stage in (rough, calm):
            stage.run(directory)
        for happening, present_phase in happenings:
            for step in happening:
                step.apply(directory)
            directory.present_phase = present_phase
            directory.breaks_after = breaks_after
            rough.later(minutes=1)
            broken = rough.run(directory, delta=True)
            assert broken.complete or broken.incomplete_because == ("the connection broke",)
            directory.breaks_after = None
            for stage in (rough, calm):
                stage.now += timedelta(hours=7)
                assert stage.run(directory, delta=True).complete
        one, other = everything(rough), everything(calm)
        for rows in (
            one["users"],
            other["users"],
        ):  # a delta that broke said part of it before, in a version of its own
            rows[:] = [row[:-1] for row in rows]
        assert one == other


@quick
@given(rounds)
def test_what_deltas_told_is_no_drift_whenever_everything_is_read(happenings: list[tuple[list[Step], bool]]) -> None:
    with Staged() as stage:
        directory = founded()
        stage.run(directory)
        for happening, whole in happenings:
            for step in happening:
                step.apply(directory)
            directory.present_phase = not directory.present_phase
            stage.later(hours=7)
            assert stage.run(directory, delta=not whole).drift == (0 if whole else None)
        assert stage.run(directory).drift == 0
