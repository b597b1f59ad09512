"""Groups below no base, as they are told of."""

from __future__ import annotations

from typing import Any

import pytest

from syncd.core.snapshot import Beyond
from syncd.reconcile import beyond
from syncd.reconcile.beyond import Outside


def test_a_stray_is_told_with_all_who_have_it_however_they_write_its_name() -> None:
    outside = Outside()
    outside.members("crew", ["CN=Night Shift,ou=Else,dc=x", "ann"])
    outside.members("all", ["cn=night shift, ou=else, dc=x", "uid=bob,ou=else,dc=x"])
    outside.strays = [Beyond("cn=night shift,ou=else,dc=x", None)]
    assert outside.told({}) == ["cn=night shift,ou=else,dc=x (in all, crew)"]
    [note] = outside.notes("corp", {})
    assert note.startswith("1 group below no base is a member of groups that are read")
    assert "Add ou=else,dc=x to `groups.base`" in note


def test_the_names_of_members_are_gone_through_once_for_all_strays(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    key = beyond._key

    def counted(name: str) -> Any:
        asked.append(name)
        return key(name)

    monkeypatch.setattr(beyond, "_key", counted)
    outside = Outside()
    names = [f"cn=g{n},ou=else,dc=x" for n in range(50)]
    outside.members("all", names)
    outside.strays = [Beyond(name, None) for name in names]
    assert len(outside.told({})) == 50
    assert max(map(asked.count, names)) <= 3


def test_of_many_some_are_named_and_the_others_counted() -> None:
    outside = Outside(moved={f"k{n}": Beyond(f"cn=g{n},ou=u{n % 2},dc=x", f"k{n}") for n in range(7)})
    (note,) = outside.notes("corp", {"k0": "Sales"})
    assert note.startswith("7 groups moved below no base: Sales is cn=g0,ou=u0,dc=x now; k1 is cn=g1,ou=u1,dc=x now; ")
    assert " and 2 more. Whoever is in them keeps what they give. Add ou=u0,dc=x; ou=u1,dc=x to `groups.base`" in note
    assert note.endswith("syncd sync corp --accept-fewer")
    assert len(outside.told({})) == 7


def test_of_those_that_may_go_nothing_is_said_any_more() -> None:
    outside = Outside(moved={"k": Beyond("cn=sales,ou=old,dc=x", "k")}, accepted=True)
    assert outside.went({"k": "Sales"}) == "1 group moved below no base: Sales is cn=sales,ou=old,dc=x now"
    assert (outside.told({}), outside.notes("corp", {})) == ([], [])
