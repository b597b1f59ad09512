"""Nesting through any depth with the path that says why; cycles are named and survived."""

from __future__ import annotations

from syncd.core.groups import Graph, GroupName, cycles


def graph(*edges: tuple[str, str, str]) -> Graph:
    made = Graph()
    for child, parent, origin in edges:
        for id in (child, parent):
            made.names[id] = GroupName(id, id.upper(), "okta" if id.startswith("o") else "corp")
        made.nest(child, parent, origin)
    return made


def test_the_shortest_path_and_of_equal_ones_the_first_by_name() -> None:
    known = graph(("a", "b", "corp"), ("b", "d", "corp"), ("a", "c", "corp"), ("c", "d", "corp"), ("d", "e", "corp"))
    assert known.closure(["a"]) == {
        **{"a": ("a",), "b": ("a", "b"), "c": ("a", "c")},
        **{"d": ("a", "b", "d"), "e": ("a", "b", "d", "e")},
    }
    assert known.closure(["a", "d"])["e"] == ("d", "e")
    assert known.path_text(("a", "b", "gone")) == "A > B > gone"


def test_a_cycle_is_walked_once() -> None:
    known = graph(("a", "b", "corp"), ("b", "c", "corp"), ("c", "a", "corp"), ("c", "d", "corp"))
    assert set(known.closure(["b"])) == {"a", "b", "c", "d"}
    assert graph(("a", "a", "corp")).closure(["a"]) == {"a": ("a",)}


def test_ten_thousand_levels() -> None:
    known = graph(*((f"c{n}", f"c{n + 1}", "corp") for n in range(2_000)))
    assert len(known.closure(["c0"])) == 2_001


def test_groups_and_edges_of_barred_sources_are_not_passed() -> None:
    known = graph(("a", "o1", "corp"), ("o1", "top", "corp"), ("a", "b", "okta"), ("b", "top", "corp"))
    assert set(known.closure(["a"])) == {"a", "o1", "b", "top"}
    assert set(known.closure(["a"], frozenset({"okta"}))) == {"a"}
    known.nest("a", "b", "corp")  # somebody else says so too
    assert set(known.closure(["a"], frozenset({"okta"}))) == {"a", "b", "top"}


def test_whose_word_counts_in_a_path() -> None:
    known = graph(("a", "b", "local"), ("b", "o1", "hr"))
    assert known.stating(known.closure(["a"])) == {"corp", "local", "hr", "okta"}
    assert known.stating(known.closure(["o1"])) == {"okta"}


def test_parents_are_replaced_whole() -> None:
    known = graph(("a", "b", "corp"), ("a", "c", "corp"))
    known.set_parents("a", [("c", "local")])
    assert (known.parents["a"], known.stated) == ({"c"}, {("a", "c"): {"local"}})
    known.set_parents("a", [])
    assert set(known.closure(["a"])) == {"a"}


def test_cycles_are_named_once_each() -> None:
    assert cycles({"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"]}) == [("a", "b", "c", "a")]
    assert cycles({"a": ["a"]}) == [("a", "a")]
    assert cycles({"a": ["b"], "b": []}) == []
    assert cycles({f"{n:05d}": [f"{n + 1:05d}"] for n in range(5_000)}) == []
