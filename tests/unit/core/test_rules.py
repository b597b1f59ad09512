"""Rules: what they see, what they grant, why, and what a source may not bring about by naming it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.core.access import BUILT_IN, Role
from syncd.core.filter import compile, names, parse_filter
from syncd.core.groups import Graph, GroupName
from syncd.core.ownership import Precedence, merge
from syncd.core.rules import MayGrant, Refusal, Rule, evaluate
from syncd.core.schema import ENTERPRISE_USER as ENTERPRISE
from syncd.core.schema import RULE_USER
from syncd.core.state import Link, Membership, User


def rule(name: str, when: str, **grants: Any) -> Rule:
    found = parse_filter(when, RULE_USER)
    reads = names(found)
    return Rule(name, when, compile(found), reads_groups="groups" in reads, reads=reads, **grants)


def may(**sources: frozenset[str] | None) -> MayGrant:
    return MayGrant({**BUILT_IN, "hr": Role("hr", frozenset({"users.*"}))}, sources)


def graph() -> Graph:
    made = Graph()
    for id, source in (("crew", "corp"), ("admins", "local"), ("top", "local"), ("o1", "okta")):
        made.names[id] = GroupName(id, id.title(), source, external_id=f"x-{id}", dn=f"cn={id}")
    made.nest("crew", "admins", "local")
    made.nest("admins", "top", "local")
    return made


def person(*links: Link, groups: tuple[tuple[str, str], ...] = ()) -> User:
    memberships = tuple(Membership(group, origin) for group, origin in groups)
    return User("u1", links=links, values=merge(links, Precedence())[0], memberships=memberships)


def granted(rule: Rule, user: User, who: MayGrant | None = None) -> tuple[set[tuple[str, str]], list[Refusal]]:
    found, refused = evaluate([rule], user, merge(user.links, Precedence())[1], graph(), who or may())
    return {(grant.kind, grant.value) for grant in found.values()}, refused


@pytest.mark.parametrize(
    ("when", "matches"),
    [
        ('title eq "lead"', True),
        ('groups[display eq "crew"]', True),
        ('groups[display eq "top" and type eq "indirect"]', True),
        ('groups[display eq "top" and type eq "direct"]', False),
        ('groups[source eq "corp" and display eq "admins"]', False),
        ('groups[externalId eq "x-crew"]', True),
        ('groups[dn eq "cn=crew"]', True),
        ('source eq "corp"', True),
        ('source eq "okta"', False),
        ('not (groups[display eq "o1"])', True),
        ('not (groups[display eq "crew"])', False),
    ],
)
def test_what_a_condition_reads(when: str, matches: bool) -> None:
    user = person(Link("corp", "k", values={"userName": "ann", "title": "Lead"}), groups=(("crew", "corp"),))
    assert bool(granted(rule("r", when, roles=("viewer",)), user)[0]) is matches


def test_everything_a_rule_grants_with_its_reason() -> None:
    user = person(Link("corp", "k", values={"userName": "ann"}), groups=(("crew", "corp"),))
    made = rule(
        "r", 'groups[display eq "top"]', roles=("viewer",), permissions=("x.y",), seats=("crm",), scopes=("a=b",)
    )
    found, _ = evaluate([made], user, {}, graph(), may())
    assert {(grant.kind, grant.value, grant.name, grant.origin, grant.why) for grant in found.values()} == {
        (kind, value, "r", "rule", "rule r through Crew > Admins > Top")
        for kind, value in (("role", "viewer"), ("permission", "x.y"), ("seat", "crm"), ("scope", "a=b"))
    }


def test_the_reason_of_a_rule_that_no_single_group_decides() -> None:
    user = person(Link("corp", "k", values={"userName": "ann"}), groups=(("crew", "corp"), ("o1", "local")))
    when = 'groups[display eq "crew"] and groups[display eq "o1"]'
    found, _ = evaluate([rule("r", when, roles=("viewer",))], user, {}, graph(), may())
    assert [grant.why for grant in found.values()] == [f"rule r: {when}"]


@pytest.mark.parametrize(
    ("listed", "role", "allowed"),
    [
        (None, "viewer", True),
        (None, "unknown", True),
        (None, "admin", False),
        (None, "owner", False),
        (None, "hr", False),
        (frozenset({"hr"}), "hr", True),
        (frozenset({"hr"}), "viewer", False),
        (frozenset({"admin"}), "owner", False),
        (frozenset(), "viewer", False),
    ],
)
def test_may_grant(listed: frozenset[str] | None, role: str, allowed: bool) -> None:
    who = may(corp=listed)
    assert who.allowed("role", role, "corp") is allowed
    assert who.allowed("role", role, "local")
    user = person(Link("corp", "k", values={"userName": "ann", "title": "Lead"}))
    found, refused = granted(rule("r", 'title eq "Lead"', roles=(role,)), user, who)
    assert (found, refused) == (({("role", role)}, []) if allowed else (set(), [Refusal("r", "role", role, ("corp",))]))


def test_a_permission_that_is_privileged_needs_a_listing_too() -> None:
    for permission, allowed in (("users.manage", False), ("*", False), ("permissions.*", False), ("crm.view", True)):
        assert may().allowed("permission", permission, "corp") is allowed
        assert may(corp=frozenset({permission})).allowed("permission", permission, "corp")


def test_what_only_others_state_still_counts() -> None:
    made = rule("r", 'title eq "Lead"', roles=("admin",))
    both = person(
        Link("local", "l", values={"userName": "ann", "title": "Lead"}), Link("okta", "k", values={"nickName": "A"})
    )
    assert granted(made, both)[0] == {("role", "admin")}
    # Stated by okta and, outranked, by people: without okta's word it is true as well.
    order = Precedence(("okta",))
    links = (Link("local", "l", values={"title": "Lead"}), Link("okta", "k", values={"title": "LEAD"}))
    values, owners = merge(links, order)
    user = User("u1", links=links, values=values)
    assert [grant.value for grant in evaluate([made], user, owners, graph(), may())[0].values()] == ["admin"]


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ((("admins", "local"),), True),
        ((("admins", "okta"),), False),
        ((("crew", "okta"),), False),
        ((("admins", "okta"), ("crew", "corp")), False),
        ((("admins", "okta"), ("admins", "local")), True),
    ],
)
def test_only_permitted_memberships_make_an_admin(groups: tuple[tuple[str, str], ...], expected: bool) -> None:
    user = person(Link("okta", "k", values={"userName": "ann"}), groups=groups)
    found, _ = granted(rule("r", 'groups[display eq "admins"]', roles=("admin",)), user)
    assert bool(found) is expected


def test_a_negated_condition_grants_nothing_to_somebody_unknown() -> None:
    made = rule("r", "not (title pr)", roles=("admin",))
    assert granted(made, person(Link("okta", "k", values={"userName": "ann"})))[0] == set()
    assert granted(made, person(Link("local", "k", values={"userName": "ann"})))[0] == {("role", "admin")}
    # okta's own value cannot hide what people say of her.
    outranked = rule("r", 'not (title eq "Guest")', roles=("admin",))
    links = (Link("local", "l", values={"title": "Guest"}), Link("okta", "k", values={"title": "Lead"}))
    values, owners = merge(links, Precedence(("okta",)))
    assert evaluate([outranked], User("u1", links=links, values=values), owners, graph(), may())[0] == {}


CONDITIONS = (
    *('title eq "lead"', "title pr", "not (title pr)", 'name.givenName sw "r"', 'emails[type eq "work"]'),
    *('emails.value co "@x"', 'source eq "corp"', 'groups[display eq "top"]', f'schemas eq "{ENTERPRISE}"'),
    *(f'{ENTERPRISE}:department eq "lab"', f"{ENTERPRISE}:manager.value pr", f"{ENTERPRISE}:manager pr"),
)


@given(
    st.lists(st.sampled_from(CONDITIONS), min_size=1, max_size=4),
    st.fixed_dictionaries(
        {},
        optional={
            **{
                "title": st.sampled_from(("lead", "Lead", "clerk")),
                "name.givenName": st.sampled_from(("Rosa", "Karl")),
            },
            "emails": st.just([{"value": "r@x.org", "type": "work"}]),
            **{f"{ENTERPRISE}:department": st.just("Lab"), f"{ENTERPRISE}:manager.value": st.just("u2")},
        },
    ),
    st.lists(st.sampled_from((("crew", "corp"), ("o1", "okta"))), unique=True),
)
def test_what_rules_do_not_read_makes_no_difference(
    conditions: list[str], values: dict[str, Any], groups: list[tuple[str, str]]
) -> None:
    user = person(Link("corp", "1", values={"userName": "rosa", **values}), groups=tuple(groups))
    rules = [
        rule(f"r{number}", when, roles=("member", "hr"), seats=("desk",)) for number, when in enumerate(conditions)
    ]
    owners = merge(user.links, Precedence())[1]
    narrow = evaluate(rules, user, owners, graph(), may())
    assert narrow == evaluate([replace(each, reads=None) for each in rules], user, owners, graph(), may())
