"""Whatever a schema of the workspace's own becomes: what is made of kept values is what the schema declares now."""

from hypothesis import given
from hypothesis import strategies as st

from syncd.core.resource import canonical, flatten, redeclared, search_view, unflatten
from syncd.core.schema import Attribute, Schema, Type
from syncd.core.types import Extension, extended

URN = "urn:example:params:scim:schemas:extension:badge:2.0:User"
simple = st.sampled_from([each for each in Type if each is not Type.COMPLEX])
names = st.sampled_from(["a", "b", "c"])


def attributes(type: st.SearchStrategy[Type], parts: st.SearchStrategy[tuple[Attribute, ...]]):
    fields = {"type": type, "multi_valued": st.booleans(), "case_exact": st.booleans(), "sub_attributes": parts}
    return st.builds(Attribute, names, **fields)


def unique(found: st.SearchStrategy[Attribute]):
    return st.lists(found, max_size=3, unique_by=lambda each: each.name).map(tuple)


plain = attributes(simple, st.just(()))
declared = unique(plain | attributes(st.just(Type.COMPLEX), unique(plain).filter(bool)))
texts = st.sampled_from(["x", "Main", "2026-01-01T00:00:00Z", "aGk=", "7", "/Users/1"])
values = st.one_of(texts, st.booleans(), st.integers(-9, 9), st.floats(-1, 1), st.lists(texts, max_size=2))
stated = st.dictionaries(names, st.one_of(values, st.dictionaries(names, values, max_size=3), st.lists(
    st.dictionaries(names, texts, max_size=3), max_size=2)), max_size=3)  # fmt: skip


def types_of(attributes: tuple[Attribute, ...]):
    return extended([Extension(Schema(URN, "Badge", "", attributes))]).user


def fitting(said, type):
    """What of it the schema takes, as values."""
    found = {"userName": "ann"}
    for name, value in said.items():
        try:
            found |= canonical({"userName": "ann", URN: {name: value}}, type)
        except Exception:
            continue
    return found


@given(declared, declared, stated)
def test_kept_values_are_shown_as_the_schema_declares_them_now(before, after, said):
    kept = fitting(said, types_of(before))
    type = types_of(after)
    document = unflatten(kept, type)
    values = flatten(document, type)
    assert canonical(document, type) == values  # nothing that would be refused, and nothing lost on the way
    assert search_view(kept, type) == search_view(values, type)
    assert redeclared(unflatten(kept, types_of(before)), type) == document or before != after


@given(declared, stated)
def test_a_schema_that_stays_changes_nothing(declared, said):
    type = types_of(declared)
    document = unflatten(fitting(said, type), type)
    assert redeclared(document, type) == document
