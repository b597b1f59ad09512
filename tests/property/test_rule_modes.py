"""Modes of rules and denials hold to what they say, for any rules in any order, against a model that says it plainly."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from syncd.core.access import BUILT_IN, DENIAL, allows, permits
from syncd.core.denial import OVERRIDE, counted
from syncd.core.groups import Graph
from syncd.core.rules import MayGrant, Rule, evaluate
from syncd.core.state import Grant, Link, User

ROLES = ("admin", "member", "viewer")
NOW = datetime(2026, 11, 29, tzinfo=UTC)
MAY = MayGrant(BUILT_IN, {"corp": frozenset(ROLES)})
ANN = User("ann", links=(Link("corp", "ann", values={"userName": "ann"}),), values={"userName": "ann"})


@st.composite
def rules(draw: st.DrawFn) -> list[Rule]:
    made = []
    for n in range(draw(st.integers(0, 6))):
        hit = draw(st.booleans())
        made.append(
            Rule(
                f"r{n}",
                "",
                lambda _, hit=hit: hit,  # type: ignore[misc]
                roles=tuple(draw(st.sets(st.sampled_from(ROLES), min_size=1, max_size=2))),
                seats=tuple(draw(st.sets(st.sampled_from(["crm", "internal"]), max_size=1))),
                scopes=tuple(draw(st.sets(st.sampled_from(["unit=a", "unit=b"]), max_size=1))),
                mode=draw(st.sampled_from(["cumulative", "first", "highest", "deny"])),
                choice=draw(st.sampled_from(["", "x"])),
            )
        )
    return made


def matching(rules: list[Rule]) -> list[Rule]:
    return [rule for rule in rules if rule.matches({})]


def wanted(rules: list[Rule]) -> set[tuple[str, str, str]]:
    """(kind, value, rule), as a person would say it."""
    going = [rule for rule in matching(rules) if rule.mode in ("cumulative", "deny")]
    for choice in ("", "x"):
        of_choice = [rule for rule in matching(rules) if rule.choice == choice]
        going += [rule for rule in of_choice if rule.mode == "first"][:1]
        ranked = [rule for rule in of_choice if rule.mode == "highest"]
        top = min((ROLES.index(role) for rule in ranked for role in rule.roles), default=None)
        going += [rule for rule in ranked if top is not None and ROLES[top] in rule.roles][:1]
    return {(kind, value, rule.name) for rule in going for kind, value in rule.grants()}


@given(rules())
def test_what_rules_give_is_what_their_modes_say(rules: list[Rule]) -> None:
    found, refused = evaluate(rules, ANN, {"userName": "corp"}, Graph(), MAY)
    assert {(grant.kind, grant.value, grant.name) for grant in found.values()} == wanted(rules)
    assert refused == []


@given(rules(), st.data())
def test_only_a_choice_depends_on_the_order(rules: list[Rule], data: st.DataObject) -> None:
    plain = [rule for rule in rules if rule.mode in ("cumulative", "deny")]
    moved = data.draw(st.permutations(plain))
    before, after = (evaluate(each, ANN, {}, Graph(), MAY)[0] for each in (plain, moved))
    assert before == after
    assert counted(before.values()) == counted(after.values())


GRANTS = st.builds(
    lambda kind, value, denies, origin, name: Grant(
        kind,
        (DENIAL if denies and origin != OVERRIDE else "") + value,
        origin,
        name,
        expires_at=NOW if origin == OVERRIDE else None,
    ),
    st.sampled_from(["role", "seat", "scope"]),
    st.sampled_from(["a", "b"]),
    st.booleans(),
    st.sampled_from(["direct", "rule", "group", OVERRIDE]),
    st.sampled_from(["n", "m"]),
)


@given(st.lists(GRANTS, max_size=8, unique_by=lambda grant: grant.id))
def test_an_override_comes_before_a_denial_and_a_denial_before_a_grant(grants: list[Grant]) -> None:
    result = counted(grants)
    assert sorted((*result.grants, *result.denied), key=lambda each: each.id) == sorted(
        grants, key=lambda each: each.id
    )
    for kind, value in itertools.product(("role", "seat", "scope"), ("a", "b")):
        same = [grant for grant in grants if grant.kind == kind]
        given = any(grant.value == value for grant in same)
        denied = any(grant.value == DENIAL + value for grant in same)
        overridden = any(grant.value == value and grant.origin == OVERRIDE for grant in same)
        has = any((grant.kind, grant.value) == (kind, value) for grant in result.grants)
        assert has == (overridden or (given and not denied))


@given(st.lists(GRANTS, max_size=6, unique_by=lambda grant: grant.id), GRANTS)
def test_one_denial_more_gives_nothing_and_without_it_all_is_back(grants: list[Grant], more: Grant) -> None:
    denial = Grant(more.kind, DENIAL + more.value.removeprefix(DENIAL), "rule", "late")
    before = {grant.id for grant in counted(grants).grants}
    after = counted([*grants, denial])
    assert {grant.id for grant in after.grants} <= before | {denial.id}
    back = counted(grant for grant in (*after.grants, *after.denied) if grant.id != denial.id)
    assert back == counted(grants)


PATTERN = st.text("ab.*", min_size=1, max_size=4)


@given(
    st.lists(PATTERN, max_size=3),
    st.lists(PATTERN, max_size=3),
    st.lists(PATTERN, max_size=2),
    st.text("ab.", max_size=4),
)
def test_a_permission_by_override_comes_before_what_denies_it(
    given_: list[str], denied: list[str], always: list[str], wanted: str
) -> None:
    patterns = [*given_, *(DENIAL + each for each in denied)]
    assert permits([], patterns, wanted) == allows(patterns, wanted)
    if allows(always, wanted):
        assert permits(always, patterns, wanted)
    else:
        assert permits(always, patterns, wanted) == allows(patterns, wanted)
