"""Every kind of difference by its name, what counts as a loss, and a digest without order, times, ids and versions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from syncd.core.change import Change, GroupEdit, UserEdit, between, edited, group_between, group_edited, retained
from syncd.core.plan import Counts, Digest, fingerprint
from syncd.core.state import Grant, Group, Link, Membership, Seat, User

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
OLD = NOW - timedelta(days=30)
WINDOW = (NOW - timedelta(hours=24), NOW)


def person(**more: Any) -> User:
    base: dict[str, Any] = {
        "links": (Link("corp", "k", created_at=OLD),),
        "values": {"userName": "ann", "title": "Lead"},
        "created_at": OLD,
    }
    return User("u1", **{**base, **more})


def changes(before: User | None, after: User, source: str = "corp", **more: Any) -> list[Change]:
    return list(between(before, after, str.title, "because", source, WINDOW, **more))


def brief(found: list[Change]) -> list[tuple[str, Any, Any, str | None]]:
    return [(each.kind, each.before, each.after, each.loss) for each in found]


def test_equal_is_no_change() -> None:
    assert changes(person(), person()) == []
    assert changes(person(), person(links=(Link("corp", "k", dn="moved", entry_hash="x", created_at=OLD),))) == []


@pytest.mark.parametrize(
    ("old", "new", "kind", "loss"),
    [
        ("active", "inactive", "deactivate", "deactivate"),
        ("suspended", "inactive", "deactivate", "deactivate"),
        ("active", "suspended", "suspend", "suspend"),
        ("inactive", "active", "reactivate", None),
        ("inactive", "suspended", "reactivate", None),
        ("suspended", "active", "unsuspend", None),
        ("active", "deleted", "delete", "delete"),
        ("inactive", "deleted", "delete", "delete"),
        ("deleted", "active", "restore", None),
        ("deleted", "inactive", "restore", None),
    ],
)
def test_each_transition_has_its_name(old: str, new: str, kind: str, loss: str | None) -> None:
    assert brief(changes(person(status=old), person(status=new))) == [(kind, old, new, loss)]


@pytest.mark.parametrize(("old", "new"), [("active", "locked"), ("locked", "active"), ("pending", "active")])
def test_what_takes_nothing_away_for_good_is_an_update(old: str, new: str) -> None:
    assert brief(changes(person(status=old), person(status=new))) == [
        ("update", {"status": old}, {"status": new}, None)
    ]


def test_values_that_change_and_values_that_go() -> None:
    after = person(values={"userName": "anna", "nickName": "A"})
    assert brief(changes(person(), after)) == [
        ("update", {"userName": "ann", "nickName": None}, {"userName": "anna", "nickName": "A"}, None),
        ("update", {"title": "Lead"}, {"title": None}, "blank"),
    ]
    assert {each.subject for each in changes(person(), after)} == {"anna"}


def test_a_create_is_one_change_with_what_hangs_on_it() -> None:
    after = person(
        status="inactive", memberships=(Membership("crew", "corp"),), grants=(Grant("role", "x", "rule", "r"),)
    )
    assert brief(changes(None, after)) == [
        ("create", None, {"userName": "ann", "title": "Lead", "status": "inactive"}, None),
        ("join", None, "Crew", None),
        ("grant", None, "role x", None),
    ]


def test_memberships_and_their_origins() -> None:
    both = person(memberships=(Membership("crew", "corp", OLD), Membership("crew", "okta", OLD)))
    one = person(memberships=(Membership("crew", "okta", OLD),))
    assert brief(changes(both, one)) == [("leave", "Crew", None, None)]
    assert brief(changes(one, person())) == [("leave", "Crew", None, "membership")]
    assert brief(changes(person(), both)) == [("join", None, "Crew", None)] * 2


def test_grants_seats_and_the_waiting_list() -> None:
    seat = Grant("seat", "crm", "direct", "root", why="asked")
    role = Grant("role", "x", "rule", "r", why="rule r", created_at=OLD)
    scope = Grant("scope", "a=b", "rule", "r", created_at=OLD)
    full = person(grants=(seat, role, scope), seats=(Seat("crm", True, OLD),))
    waiting = person(grants=(seat, role), seats=(Seat("crm", False, OLD),))
    assert brief(changes(person(), full)) == [
        ("grant", None, "role x", None),
        ("grant", None, "scope a=b", None),
        ("seat", None, "crm", None),
    ]
    assert brief(changes(full, waiting)) == [
        ("revoke", "scope a=b", None, "role"),
        ("wait", "crm", "waiting for crm", "seat"),
    ]
    assert brief(changes(waiting, full)) == [("grant", None, "scope a=b", None), ("seat", "waiting", "crm", None)]
    assert brief(changes(waiting, person())) == [
        ("revoke", "role x", None, "role"),
        ("unseat", "waiting for crm", None, None),
    ]
    assert changes(full, person())[0].why == "rule r no longer matches: because"
    assert changes(person(), full)[2].why == "asked"


def test_what_is_given_by_hand_is_told_though_no_seat_moves() -> None:
    by_rule, held = Grant("seat", "crm", "rule", "staff"), Seat("crm", True, OLD)
    by_hand = Grant("seat", "crm", "direct", "root", why="asked", expires_at=NOW)
    before, after = person(grants=(by_rule,), seats=(held,)), person(grants=(by_rule, by_hand), seats=(held,))
    assert brief(changes(before, after)) == [("grant", None, "seat crm", None)]
    assert brief(changes(after, before)) == [("revoke", "seat crm", None, None)]
    longer = person(grants=(by_rule, replace(by_hand, expires_at=None)), seats=(held,))
    [ends] = changes(after, longer)
    assert (ends.kind, ends.why) == ("update", "asked")
    assert (ends.before, ends.after) == ({"end of seat crm": NOW.isoformat()}, {"end of seat crm": None})
    assert brief(changes(person(), person(grants=(by_hand,), seats=(held,)))) == [("seat", None, "crm", None)]


def test_the_seat_of_who_leaves_is_counted_as_her_leaving() -> None:
    full = person(grants=(Grant("seat", "crm", "rule", "r"),), seats=(Seat("crm", True, OLD),))
    assert brief(changes(full, replace(full, status="inactive", seats=()))) == [
        ("deactivate", "active", "inactive", "deactivate"),
        ("unseat", "crm", None, None),
    ]


def test_a_role_that_stays_by_another_way_is_no_loss() -> None:
    two = person(grants=(Grant("role", "x", "rule", "a"), Grant("role", "x", "rule", "b")))
    assert [each.loss for each in changes(two, person(grants=two.grants[:1]))] == [None]


def test_adoption_and_yielding() -> None:
    taken = person(links=(Link("corp", "k"), Link("okta", "o", values={"title": "Clerk", "userName": "ann"})))
    assert brief(changes(person(), taken, "okta", adopted=True)) == [
        ("adopt", None, {"source": "okta"}, None),
        ("yield", None, {"title": "Clerk", "shown": "Lead"}, None),
    ]
    assert [each.kind for each in changes(taken, taken, "okta")] == []


def test_what_the_source_made_itself_a_moment_ago_is_exempt() -> None:
    young = NOW - timedelta(hours=1)
    mine = person(links=(Link("corp", "k", created_at=young),), created_at=young)
    assert [each.exempt for each in changes(mine, replace(mine, status="inactive"))] == [True]
    assert [each.exempt for each in changes(mine, replace(mine, status="inactive"), "okta")] == [False]
    later = person(links=(Link("corp", "k", created_at=young),), created_at=young - timedelta(minutes=1))
    assert [each.exempt for each in changes(later, replace(later, status="inactive"))] == [False]
    member = person(
        memberships=(Membership("crew", "corp", young),), grants=(Grant("role", "x", "rule", "r", created_at=young),)
    )
    assert [each.exempt for each in changes(member, person())] == [True, True]
    assert [each.exempt for each in changes(member, person(), "okta")] == [False, False]
    assert [each.exempt for each in changes(member, replace(member, grants=()))] == [False]


# -- edits ---------------------------------------------------------------------------------------------------------------


def test_an_edit_touches_only_its_own_sources_facts() -> None:
    before = person(
        links=(Link("corp", "k", created_at=OLD), Link("okta", "o")),
        memberships=(Membership("crew", "corp", OLD), Membership("crew", "okta", OLD), Membership("x", "okta", OLD)),
        suspended="audit",
    )
    after = edited(before, UserEdit("u1", "corp", link=Link("corp", "k", enabled=False), leave=("crew", "x")), NOW)
    assert [(link.source, link.enabled, link.created_at) for link in after.links] == [
        ("corp", False, OLD),
        ("okta", True, None),
    ]
    assert {(each.group, each.origin) for each in after.memberships} == {("crew", "okta"), ("x", "okta")}
    assert after.suspended == "audit"
    gone = edited(before, UserEdit("u1", "corp", leave_all=("crew",), drop_link="o"), NOW)
    assert {(each.group, each.origin) for each in gone.memberships} == {("x", "okta")}
    assert len(gone.links) == 2, "another source's link is not dropped"


def test_a_grant_is_replaced_and_revoked_by_its_name() -> None:
    before = person(grants=(Grant("role", "x", "direct", "a"), Grant("role", "x", "direct", "b")))
    renewed = Grant("role", "x", "direct", "a", expires_at=NOW)
    assert edited(before, UserEdit("u1", "local", grant=(renewed,)), NOW).grants == (before.grants[1], renewed)
    assert edited(before, UserEdit("u1", "local", revoke=(renewed.id,)), NOW).grants == before.grants[1:]


def test_what_is_retained_is_only_what_is_lost() -> None:
    before = person(links=(Link("corp", "k", values={"title": "Lead"}),), memberships=(Membership("crew", "corp"),))
    link = Link("corp", "k", values={"nickName": "A"}, enabled=False, missing_reads=2, stage="suspended")
    after = replace(before, links=(link,), memberships=(Membership("new", "corp"),))
    kept = retained(before, after, "corp", frozenset({"blank", "suspend", "membership"}))
    assert kept.links == (
        Link("corp", "k", values={"title": "Lead", "nickName": "A"}, missing_reads=2, stage="missing"),
    )
    assert {each.group for each in kept.memberships} == {"crew", "new"}
    assert retained(before, after, "corp", frozenset()) == after
    new = Link("okta", "o", values={"nickName": "A"}, enabled=False)
    joined = retained(before, replace(before, links=(*before.links, new)), "okta", frozenset({"deactivate"}))
    assert joined.links == (*before.links, replace(new, enabled=None))
    back = replace(before, links=(Link("corp", "k"),))
    away = replace(before, links=(Link("corp", "k", enabled=False, stage="suspended"),))
    assert retained(away, back, "corp", frozenset({"suspend", "deactivate"})).links == back.links


# -- groups --------------------------------------------------------------------------------------------------------------


def test_groups_created_changed_nested_and_deleted() -> None:
    made = Group("g1", "corp", values={"displayName": "Crew"})
    assert [(each.kind, each.subject) for each in group_between(None, made, str, "")] == [
        ("group_create", "group Crew")
    ]
    named = replace(made, values={"displayName": "Team"})
    (update,) = group_between(made, named, str, "")
    assert (update.kind, update.before, update.after) == (
        "group_update",
        {"displayName": "Crew"},
        {"displayName": "Team"},
    )
    nested = group_edited(made, GroupEdit("g1", "corp", join=("top",)), NOW)
    assert [(each.kind, each.after, each.loss) for each in group_between(made, nested, str, "")] == [
        ("join", "top", None)
    ]
    twice = group_edited(nested, GroupEdit("g1", "okta", join=("top",)), NOW)
    assert [each.loss for each in group_between(twice, nested, str, "")] == [None]
    assert [each.loss for each in group_between(nested, made, str, "")] == ["membership"]
    assert [each.kind for each in group_between(made, None, str, "")] == ["group_delete"]
    assert group_between(made, made, str, "") == ()


# -- digests -------------------------------------------------------------------------------------------------------------


def digest(*given: Change) -> str:
    made = Digest()
    for each in given:
        made.add(each)
    return made.text


def test_a_digest_is_the_same_in_any_order_and_knows_how_often() -> None:
    one, two = Change("join", "ann", None, "Crew"), Change("leave", "ann", "Crew", None)
    assert digest(one, two) == digest(two, one)
    assert digest(one) != digest(two) != digest(one, one) != digest(one)
    assert digest() == digest()
    assert len(digest(one)) == 64


def test_a_digest_covers_kind_subject_before_and_after_and_nothing_else() -> None:
    one = Change("join", "ann", None, "Crew", why="x", subject_id="u1", loss=None)
    assert fingerprint(replace(one, why="y", subject_id="u2", loss="role", exempt=True)) == fingerprint(one)
    for other in ({"kind": "leave"}, {"subject": "bob"}, {"before": 1}, {"after": "x"}):
        assert fingerprint(replace(one, **other)) != fingerprint(one)  # type: ignore[arg-type]


def test_a_managers_id_is_made_anew_each_time_and_does_not_count() -> None:
    path = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value"
    one = Change("update", "ann", {path: None}, {path: "id-1"})
    assert fingerprint(replace(one, after={path: "id-2"})) == fingerprint(one)
    assert fingerprint(replace(one, after={path: None})) != fingerprint(one)


def test_counts_name_every_kind_and_a_yield_is_no_change() -> None:
    counts = Counts()
    counts.add([Change("yield", "ann", None, None), Change("join", "ann", None, "x")])
    assert (counts.changes, counts.by_kind["yield"], counts.by_kind["delete"]) == (1, 1, 0)
