"""PATCH comes to what RFC 7644 section 3.5.2 says (patch_model.py): the resource, and the scimType of what is refused.

Attributes of every kind: simple ones of each type, complex ones, lists of plain and of complex values with and without
`value`, of the core, of the enterprise extension and of one that has every word.
"""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from patch_model import (
    ABSENT,
    Condition,
    Document,
    Refused,
    Step,
    Target,
    both,
    compares,
    either,
    negated,
    normal,
    patched,
)
from syncd.core.schema import CORE_USER, ENTERPRISE_USER, USER, Attribute, Mutability, Schema, Type
from syncd.core.types import Extension, extended
from syncd.errors import SyncdError
from syncd.scim import messages
from syncd.scim.messages import Operation
from syncd.scim.patch import apply_patch

ODD = Schema(
    "urn:x:Odd",
    "Odd",
    "",
    (
        Attribute("tags", multi_valued=True),
        Attribute("codes", multi_valued=True, case_exact=True),
        Attribute("level", Type.INTEGER),
        Attribute("share", Type.DECIMAL),
        Attribute("marked", Type.BOOLEAN),
        Attribute("once", mutability=Mutability.IMMUTABLE),
        Attribute("theirs", mutability=Mutability.READ_ONLY),
        Attribute("desk", Type.COMPLEX, sub_attributes=(Attribute("floor", required=True), Attribute("room"))),
        Attribute(
            "cars",
            Type.COMPLEX,
            multi_valued=True,
            sub_attributes=(
                Attribute("plate"),
                Attribute("colour", case_exact=True),
                Attribute("seats", multi_valued=True),
            ),
        ),
    ),
)
TYPE = extended([Extension(ODD)]).user
TEXTS = ("a", "A", "b", "ab", "x")
VALUES: dict[Type, tuple[Any, ...]] = {
    Type.STRING: TEXTS,
    Type.REFERENCE: ("https://a.test/1", "https://a.test/2"),
    Type.BOOLEAN: (True, False),
    Type.INTEGER: (1, 2),
    Type.DECIMAL: (1.5, 2),
    Type.BINARY: ("QUI=", "QUJD"),
}
OF = {
    "": [
        USER.schema.attribute(name) for name in ("userName", "title", "active", "name", "emails", "addresses", "photos")
    ]
    + [a for a in USER.attributes if a.name in ("id", "groups")],
    ENTERPRISE_USER: [USER.extension(ENTERPRISE_USER).attribute(name) for name in ("department", "manager")],
    ODD.id: list(ODD.attributes),
}
ATTRIBUTES: list[tuple[str, Attribute]] = [(urn, each) for urn, found in OF.items() for each in found if each]


def one_value(attribute: Attribute) -> st.SearchStrategy[Any]:
    if attribute.type is not Type.COMPLEX:
        return st.sampled_from(VALUES[attribute.type])
    parts = {sub.name: value(sub) for sub in attribute.sub_attributes if sub.name != "formatted"}
    return st.fixed_dictionaries({}, optional=parts)


def value(attribute: Attribute) -> st.SearchStrategy[Any]:
    one = one_value(attribute)
    return st.lists(one, max_size=3) if attribute.multi_valued else one


def sent(attribute: Attribute) -> st.SearchStrategy[Any]:
    """As clients send it: also one where there may be several, nothing, or the wrong thing."""
    good = value(attribute)
    return st.one_of(
        good, good, good, one_value(attribute), st.sampled_from([None, "", [], {}, 7, "a", [None], {"value": None}])
    )


def usable(attribute: Attribute, given: Any) -> bool:
    try:
        found = normal(attribute, given)
    except Refused:
        return False
    needed = {sub.name for sub in attribute.sub_attributes if sub.required}
    return found is not None and (not needed or needed <= found.keys())


@st.composite
def documents(draw: st.DrawFn) -> Document:
    found: Document = {"schemas": [CORE_USER], "id": "u1", "userName": "a"}
    for urn, attribute in ATTRIBUTES:
        if attribute.mutability is Mutability.READ_ONLY or attribute.name == "userName" or not draw(st.booleans()):
            continue
        given = draw(value(attribute))
        if usable(attribute, given):
            home = found.setdefault(urn, {}) if urn else found
            home[attribute.name] = normal(attribute, given)
    if "manager" in (enterprise := found.get(ENTERPRISE_USER, {})):
        enterprise["manager"] = enterprise["manager"] | {"displayName": "Boss"}
    if draw(st.booleans()):
        found["groups"] = [{"value": "g1", "display": "G"}]
    found["schemas"] += [urn for urn in (ENTERPRISE_USER, ODD.id) if urn in found]
    return found


def conditions(attribute: Attribute) -> st.SearchStrategy[Condition]:
    subs = [a for a in attribute.sub_attributes if not a.multi_valued] or [attribute]

    def leaf(sub: Attribute) -> st.SearchStrategy[Condition]:
        ops = ["eq", "eq", "eq", "ne", "pr"] + (["co", "sw", "gt"] if sub.type is Type.STRING else [])
        return st.builds(compares, st.just(sub), st.sampled_from(ops), st.sampled_from(VALUES[sub.type]))

    leaves = st.sampled_from(subs).flatmap(leaf)
    return st.recursive(
        leaves,
        lambda inner: st.builds(both, inner, inner) | st.builds(either, leaves, leaves) | st.builds(negated, inner),
        max_leaves=3,
    )


def targets(urn: str, attribute: Attribute) -> st.SearchStrategy[tuple[Target, Attribute]]:
    found: list[st.SearchStrategy[tuple[Target, Attribute]]] = [st.just((Target(attribute.name, urn), attribute))]
    subs = attribute.sub_attributes
    if subs:
        found.append(st.sampled_from(subs).map(lambda sub: (Target(attribute.name, urn, sub=sub.name), sub)))
    if attribute.multi_valued:
        where = conditions(attribute)
        found.append(where.map(lambda each: (Target(attribute.name, urn, each), attribute)))
        if subs:
            found.append(
                st.builds(
                    lambda each, sub: (Target(attribute.name, urn, each, sub.name), sub), where, st.sampled_from(subs)
                )
            )
    return st.one_of(found)


kinds = st.sampled_from(["add", "replace", "remove"])


@st.composite
def steps(draw: st.DrawFn) -> Step:
    kind = draw(kinds)
    form = draw(st.integers(0, 9))
    if form == 0:
        chosen = draw(st.lists(st.sampled_from(ATTRIBUTES), max_size=3, unique_by=lambda each: each[1].name))
        members: Document = {}
        for urn, attribute in chosen:
            (members.setdefault(urn, {}) if urn else members)[attribute.name] = draw(sent(attribute))
        return Step(kind, None, members)
    if form == 1:
        urn = draw(st.sampled_from([ENTERPRISE_USER, ODD.id]))
        parts = {a.name: sent(a) for a in OF[urn] if a}
        given = draw(st.none() | st.fixed_dictionaries({}, optional=parts))
        return Step(kind, Target(extension=urn), ABSENT if kind == "remove" else given)
    urn, attribute = draw(st.sampled_from(ATTRIBUTES))
    target, last = draw(targets(urn, attribute))
    if kind == "remove":
        return Step(kind, target)
    return Step(kind, target, draw(one_value(attribute) if target.where and not target.sub else sent(last)))


def operation(step: Step, index: int) -> Operation:
    value = messages.ABSENT if step.value is ABSENT else step.value
    return Operation(step.kind, None if step.target is None else step.target.text, value, index)


@settings(max_examples=max(200, settings().max_examples))
@given(documents(), st.lists(steps(), min_size=1, max_size=3))
def test_a_patch_comes_to_what_the_rfc_says(document: Document, asked: list[Step]) -> None:
    before = copy.deepcopy(document)
    operations = [operation(step, index) for index, step in enumerate(asked)]
    wanted: Document | str
    try:
        wanted = patched(document, asked, TYPE)
    except Refused as refused:
        wanted = refused.kind
    found: Document | str
    try:
        found = apply_patch(document, operations, TYPE)
    except SyncdError as exc:
        found = str(exc.scim_type)
    if isinstance(found, dict) and isinstance(wanted, dict):
        found, wanted = ({**each, "schemas": sorted(each["schemas"])} for each in (found, wanted))
    assert found == wanted, operations
    assert document == before
