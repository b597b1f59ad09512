"""A list in a temporary file gives back what was put into it."""

from __future__ import annotations

import pytest

from syncd.core.change import GroupEdit, UserEdit
from syncd.core.secret import Secret
from syncd.core.snapshot import Entry, SetAside
from syncd.core.state import Grant, Link
from syncd.store.spool import Spool

LINK = Link("corp", "k1", dn="uid=a,dc=x", values={"userName": "a", "emails": ({"value": "a@x"},)})
ITEMS = (
    Entry("user", "k1", "uid=a,dc=x", {"uid": (b"a",), "photo": (b"\xff",)}),
    SetAside("uid=b,dc=x", "no userName", "k2"),
    (UserEdit("u1", "corp", create=True, link=LINK, join=("g1",)), GroupEdit("g1", "corp", leave=("u1",))),
    UserEdit("u2", "local", grant=(Grant("role", "admin", "direct", "ann", "by hand"),), facts={"suspended": None}),
)


@pytest.mark.parametrize("together", [1, 2, 3, 100])  # in the file, in part, and in memory
def test_what_was_put_in_comes_out_as_often_as_wanted(together: int) -> None:
    spool = Spool(ITEMS, together)
    assert tuple(spool) == tuple(spool) == ITEMS and len(spool) == len(ITEMS)


def test_who_goes_through_it_sees_what_was_there_when_that_began() -> None:
    spool = Spool(range(3), together=2)
    begun = iter(spool)
    assert next(begun) == 0
    for n in range(3, 8):
        spool.append(n)
    assert [*begun] == [1, 2] and [*spool] == [*range(8)]


def test_large_ones_are_written_before_there_are_many_of_them() -> None:
    spool = Spool([3, 1, 1, 50, 2], together=10, weigh=lambda item: item)
    assert (spool._written, spool._last) == (1, [2]) and [*spool] == [3, 1, 1, 50, 2]


def test_a_secret_is_not_written() -> None:
    with pytest.raises(TypeError, match="a secret is not pickled"):
        Spool([UserEdit("u1", "corp", facts={"password": Secret("x")})], together=1)
