"""Values have owners, attribute by attribute; what yields is kept and shown again when the winner goes."""

from __future__ import annotations

from syncd.core.ownership import Precedence, merge, owned
from syncd.core.state import Link


def test_the_first_listed_source_wins_and_the_rest_fills_the_gaps() -> None:
    hr = Link("hr", "1", values={"title": "Lead", "userName": "ann"})
    okta = Link("okta", "2", values={"title": "Clerk", "nickName": "Annie"})
    values, owners = merge((okta, hr), Precedence(("hr", "okta")))
    assert values == {"title": "Lead", "userName": "ann", "nickName": "Annie"}
    assert owners == {"title": "hr", "userName": "hr", "nickName": "okta"}
    assert merge((okta,), Precedence(("hr", "okta")))[0]["title"] == "Clerk"


def test_precedence_by_attribute_by_its_parent_and_by_default() -> None:
    order = Precedence(("hr",), {"title": ("okta",), "name": ("okta",), "name.familyName": ("hr",)})
    hr = Link("hr", "1", values={"title": "h", "name.givenName": "h", "name.familyName": "h", "nickName": "h"})
    okta = Link("okta", "2", values={"title": "o", "name.givenName": "o", "name.familyName": "o", "nickName": "o"})
    assert merge((hr, okta), order)[0] == {
        "title": "o",
        "name.givenName": "o",
        "name.familyName": "h",
        "nickName": "h",
    }


def test_unlisted_sources_come_last_and_by_name() -> None:
    links = [Link(source, "k", values={"title": source}) for source in ("zeta", "alpha", "corp")]
    assert merge(links, Precedence())[0] == {"title": "alpha"}
    assert merge(links, Precedence(("corp",)))[0] == {"title": "corp"}


def test_two_links_of_one_source_are_told_apart_by_key_in_any_order() -> None:
    one, two = (Link("corp", key, values={"title": key}) for key in ("a", "b"))
    assert merge((one, two), Precedence()) == merge((two, one), Precedence()) == ({"title": "a"}, {"title": "corp"})


def test_nobody_states_anything() -> None:
    assert merge((), Precedence()) == ({}, {})
    assert merge((Link("corp", "k"),), Precedence()) == ({}, {})


def test_whose_value_is_shown_is_told_with_what_the_others_keep() -> None:
    order = Precedence(("hr", "okta"), {"title": ("okta",)})
    links = (
        Link("hr", "1", values={"title": "Clerk", "displayName": "Ann"}),
        Link("okta", "2", values={"title": "Lead", "displayName": "Anna"}),
        Link("zoo", "3", values={"displayName": "A.", "userName": "ann"}),
    )
    found = {each.attribute: each for each in owned(links, order)}
    assert {path: each.source for path, each in found.items()} == merge(links, order)[1]
    assert (found["title"].why, found["title"].aside) == ("precedence.title: okta", (("hr", "Clerk"),))
    assert found["displayName"].aside == (("okta", "Anna"), ("zoo", "A."))
    assert found["userName"].why == "nobody else states it"
    (unnamed,) = owned((Link("b", "1", values={"title": "x"}), Link("a", "2", values={"title": "y"})), Precedence())
    assert (unnamed.source, unnamed.why) == ("a", "precedence.default names none of them: the first by name")
