"""The life of an account in any order: nobody's word overwrites another's, and every way has its way back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from syncd.core.change import UserEdit, edited
from syncd.core.lifecycle import status
from syncd.core.state import STAGES, Link, User

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
FACTS: dict[str, tuple[Any, ...]] = {
    "suspended": (None, "lost laptop"),
    "locked_until": (None, NOW + timedelta(minutes=15), NOW - timedelta(minutes=1)),
    "deleted_at": (None, NOW),
    "invited": (False, True),
}
said_by_people = st.sampled_from([(name, value) for name, values in FACTS.items() for value in values])
said_by_sources = st.tuples(
    st.sampled_from(["corp", "okta"]),
    st.sampled_from([("enabled", True), ("enabled", False), *(("stage", stage) for stage in (None, *STAGES))]),
)
steps = st.lists(st.one_of(said_by_people, said_by_sources), max_size=12)


def reached(steps: list[Any]) -> tuple[User, dict[str, Any], dict[str, Link]]:
    """The user after all of it, and beside her what each writer said last."""
    links = {name: Link(name, f"{name}-1", values={"userName": "ann"}) for name in ("corp", "okta")}
    user, facts = User("1", links=tuple(links.values())), dict.fromkeys(("suspended", "locked_until", "deleted_at"))
    facts["invited"] = False
    for who, said in steps:
        if who in FACTS:
            facts[who] = said
            user = edited(user, UserEdit("1", "local", facts={who: said}), NOW)
        else:
            known = user.link(who)
            assert known is not None
            user = edited(user, UserEdit("1", who, link=replace(known, **{said[0]: said[1]})), NOW)
            links[who] = replace(links[who], **{said[0]: said[1]})
    return user, facts, links


def expected(facts: dict[str, Any], links: dict[str, Link]) -> str:
    """Written down apart from the code: deleted > inactive > suspended > locked > pending > active."""
    rungs = [STAGES.index(link.stage) if link.stage else -1 for link in links.values()]
    lowest = min(rungs)  # she falls with the last source that still shows her
    if facts["deleted_at"] or lowest >= STAGES.index("deleted"):
        return "deleted"
    if not all(link.enabled for link in links.values()) or lowest >= STAGES.index("deactivated"):
        return "inactive"
    if facts["suspended"] or lowest >= STAGES.index("suspended"):
        return "suspended"
    if facts["locked_until"] is not None and facts["locked_until"] > NOW:
        return "locked"
    return "pending" if facts["invited"] else "active"


@given(steps)
def test_what_each_writer_said_last_stands_and_the_status_follows(steps: list[Any]) -> None:
    user, facts, links = reached(steps)
    assert {name: getattr(user, name) for name in FACTS} == facts
    for link in user.links:
        said = links[link.source]
        assert (link.enabled, link.stage, link.values) == (said.enabled, said.stage, said.values)
    assert status(user, lambda _: True, NOW)[0] == expected(facts, links)


@given(steps)
def test_taking_everything_back_makes_her_as_she_was(steps: list[Any]) -> None:
    back = [(name, values[0]) for name, values in FACTS.items()]
    back += [(source, said) for source in ("corp", "okta") for said in (("enabled", True), ("stage", None))]
    assert replace(reached([*steps, *back])[0], links=()) == replace(reached([])[0], links=())
    assert status(reached([*steps, *back])[0], lambda _: True, NOW)[0] == "active"
