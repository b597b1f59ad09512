"""A pattern is covered by patterns exactly if everything it matches is permitted."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.core.access import allows
from syncd.core.granting import checked, covers
from syncd.errors import InvalidValue

PATTERNS = st.text("ab.*", min_size=1, max_size=5)
TEXTS = st.text("ab.", min_size=1, max_size=5)


@given(st.lists(st.tuples(st.booleans(), PATTERNS), max_size=4), PATTERNS, TEXTS)
def test_nothing_is_given_through_a_pattern_that_is_not_held(
    held: list[tuple[bool, str]], wanted: str, text: str
) -> None:
    patterns = [("!" if denied else "") + pattern for denied, pattern in held]
    if covers(patterns, wanted) and fnmatchcase(text, wanted):
        assert allows(patterns, text)


@pytest.mark.parametrize(
    ("held", "wanted", "covered"),
    [
        (["*"], "*", True),
        (["users.*"], "*", False),
        (["users.*"], "users.manage", True),
        (["users.*"], "users.*", True),
        (["users.?"], "users.*", False),
        (["users.[*]"], "users.*", False),
        (["*", "!users.*"], "users.manage", False),
        (["*", "!users.*"], "*", False),
        (["*", "!users.manage"], "use*", False),
        (["*", "!users.manage"], "assets.*", True),
        ([], "assets.view", False),
    ],
)
def test_covers(held: list[str], wanted: str, covered: bool) -> None:
    assert covers(held, wanted) is covered


@pytest.mark.parametrize("value", ["*", "a.b", "!a.b", "nav.reports", "a.*", "a-b.c_d.e"])
def test_a_permission(value: str) -> None:
    assert checked("permission", value, (), ()) == value


@pytest.mark.parametrize("value", ["", "a", "!!a.b", "a.", ".b", "a b.c", "a.?", "a.[b]", "a.b\n"])
def test_no_permission(value: str) -> None:
    with pytest.raises(InvalidValue):
        checked("permission", value, (), ())
