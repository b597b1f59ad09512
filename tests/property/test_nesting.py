"""Groups that are nested, renamed, made and deleted together, several in one change: what follows for people is what a look
at everybody finds (store/invariants.py)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import prepared
from door_stage import Stage, group, rule, user
from syncd.core.change import Edit, GroupEdit, UserEdit
from syncd.core.state import Link

GROUPS, PEOPLE = ("g0", "g1", "g2"), ("u0", "u1", "u2")
RULES = (rule("crew", 'groups[display eq "n1"]', roles=("viewer",)),)
kinds = st.sampled_from(("nest", "nest", "nest", "unnest", "call", "delete", "delete", "join"))
steps = st.lists(
    st.lists(
        st.tuples(kinds, st.sampled_from(GROUPS), st.sampled_from(GROUPS), st.sampled_from(PEOPLE)),
        min_size=2,
        max_size=3,
        unique_by=lambda step: step[1],
    ),
    min_size=4,
    max_size=9,
)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    place = Path(tmp_path_factory.mktemp("nesting")) / "syncd.db"
    prepared.write(place)
    made = Stage(f"sqlite:///{place}")
    made.do(*(user(name) for name in PEOPLE))
    yield made
    made.close()


@given(steps=steps, asked=st.booleans())
@example(  # one goes in which another is, that goes into a third
    steps=[[("nest", "g0", "g1", "u0")], [("nest", "g0", "g2", "u0"), ("delete", "g1", "g1", "u0")]], asked=False
)
@settings(max_examples=20, deadline=None)
def test_whatever_is_done_together(stage: Stage, steps: list[list[tuple[str, str, str, str]]], asked: bool) -> None:
    there: set[str] = set()
    stage.configure(rules=RULES if asked else ())
    stage.do(*(group(name) for name in GROUPS))
    there.update(GROUPS)
    for together in steps:
        going = {name for kind, name, _, _ in together if kind == "delete"}
        people: set[str] = set()
        edits: list[Edit] = []
        for kind, name, other, person in together:
            of_a_person = kind in ("join", "leave")
            if name not in there:
                edits.append(group(name))
            elif of_a_person and person not in people and name not in going:
                people.add(person)
                edits.append(UserEdit(person, "local", **{kind: (name,)}))
            elif not of_a_person and (edit := _edit(kind, name, other, there - going)) is not None:
                edits.append(edit)
        if edits and stage.act(*edits).error is None:  # which looks at everybody
            there |= {edit.id for edit in edits if edit.create}
            there -= {edit.id for edit in edits if isinstance(edit, GroupEdit) and edit.delete}
    for name in sorted(there):
        stage.do(GroupEdit(name, "local", delete=True))
    assert [stage.user(name).groups for name in PEOPLE] == [frozenset()] * len(PEOPLE)


def _edit(kind: str, name: str, other: str, staying: set[str]) -> GroupEdit | None:
    match kind:
        case "nest" if other != name and other in staying:
            return GroupEdit(name, "local", join=(other,))
        case "unnest":
            return GroupEdit(name, "local", leave=(other,))
        case "call":
            return GroupEdit(name, "local", link=Link("local", name, values={"displayName": f"n{other[1]}"}))
        case "delete":
            return GroupEdit(name, "local", delete=True)
        case _:
            return None
