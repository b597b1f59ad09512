"""SCIM filters (RFC 7644 section 3.4.2.2): text -> tree -> bound to a resource type -> a test over a search view.

An absent attribute matches nothing, except what `not` or `ne` makes of it: `a ne v` is `not (a eq v)`, `a eq null` is
`not (a pr)`. A multi-valued attribute matches if any element does, so `emails.type ne "work"` is true if some element
is not "work", or if there is no element at all. An element that does not say whether it is primary is not (RFC 7643 section
2.4). The conditions in `emails[...]` hold for one element together; in a list of plain values the element is called `value`
there. And(()) is true, Or(()) is false.
Not understood means InvalidFilter with the place and what is accepted, never "everything matches".
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeAlias, Union, assert_never

from syncd.core.filter_text import And, Ast, Comparison, Literal, Not, Op, Or, ValuePath, parse, refuse, render
from syncd.core.resource import comparable, instant, shown, this_version
from syncd.core.schema import Attribute, Resolved, ResourceType, Returned, Type
from syncd.errors import InvalidFilter

__all__ = [
    "And",
    "Ast",
    "Bound",
    "Comparison",
    "Condition",
    "Element",
    "Filter",
    "Literal",
    "Match",
    "Not",
    "Op",
    "Or",
    "ValuePath",
    "View",
    "bind",
    "compile",
    "evaluate",
    "names",
    "parse",
    "parse_element",
    "parse_filter",
    "parse_texts",
    "render",
]

View: TypeAlias = Mapping[str, Any]
Match: TypeAlias = Callable[[Any], bool]

_ORDER = (Op.GT, Op.GE, Op.LT, Op.LE)
_ACCEPTED: Mapping[Type, tuple[str, tuple[Op, ...]]] = {
    Type.STRING: ("a string in double quotes", tuple(Op)),
    Type.REFERENCE: ("a string in double quotes", tuple(Op)),
    Type.BINARY: ("a string in double quotes", (Op.EQ, Op.NE, Op.CO, Op.SW, Op.EW, Op.PR)),
    Type.BOOLEAN: ("true or false", (Op.EQ, Op.NE, Op.PR)),
    Type.INTEGER: ("a number", (Op.EQ, Op.NE, Op.PR, *_ORDER)),
    Type.DECIMAL: ("a number", (Op.EQ, Op.NE, Op.PR, *_ORDER)),
    Type.DATETIME: ('a dateTime such as "2011-05-13T04:42:34Z"', (Op.EQ, Op.NE, Op.PR, *_ORDER)),
    Type.COMPLEX: ("one of its sub-attributes", (Op.PR,)),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison with the comparable form of `value`; never `ne`, never null.

    `keys` lead from the scope (the search view, or one element) to the value; () is the element itself.
    """

    attribute: Resolved
    keys: tuple[str, ...]
    op: Op
    value: Literal = None


@dataclass(frozen=True, slots=True)
class Element:
    """Some element of a multi-valued attribute meets `term`; `keys` lead from the scope to its list."""

    attribute: Resolved
    keys: tuple[str, ...]
    term: Bound


Bound: TypeAlias = Union["And[Bound]", "Or[Bound]", "Not[Bound]", Condition, Element]


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter bound to a resource type, or to the elements of one attribute (`parse_element`)."""

    text: str
    bound: Bound


def parse_filter(text: str, resource_type: ResourceType, *others: ResourceType) -> Filter:
    """`others`: types searched with it. What only they have is for this one an attribute without a value (RFC 7644
    section 3.4.2.1). Raises InvalidFilter."""
    if not others and (equal := _EQUALITY.fullmatch(text)) is not None:
        known = _equality(equal[1], resource_type)
        if known is not None:
            return Filter(text, _asked(known, equal[2]))
    return Filter(text, bind(parse(text), resource_type, *others))


# One text that an attribute is to have: what nearly every client asks nearly always. Nothing in it is to be unescaped, and it
# is too short to be refused for its length.
_EQUALITY = re.compile(
    r' {0,20}([A-Za-z][A-Za-z0-9_$:.-]{0,200}) {1,20}eq {1,20}"([^"\\\0\ud800-\udfff]{0,4000})" {0,20}', re.I
)


@lru_cache(4096)  # clients are programs, and spell a name one way
def _equality(name: str, resource_type: ResourceType) -> Condition | Element | None:
    """The bound form of `name eq ""`; None for what is not that simple, or wrong."""
    try:
        bound = bind(Comparison(name, Op.EQ, ""), resource_type)
    except InvalidFilter:
        return None
    match bound:
        case Condition(op=Op.EQ, value=""):
            return bound
        case Element(term=Condition(op=Op.EQ, value="")):
            return bound
        case _:
            return None


def _asked(known: Condition | Element, value: str) -> Bound:
    """The same with this value."""
    if isinstance(known, Element):
        assert isinstance(known.term, Condition)
        return Element(known.attribute, known.keys, _asked(known.term, value))
    compared = _wanted(known.attribute, value)
    return Condition(known.attribute, known.keys, Op.EQ, compared)


def parse_element(text: str, attribute: Resolved) -> Filter:
    """The condition inside `attribute[...]`, asked of one element in its search form (resource.search_element)."""
    return Filter(text, _bind(parse(text), _within(attribute, relative=True)))


def parse_texts(text: str, owner: str) -> Filter:
    """A filter over any names at all, each a list of folded texts under its name in lower case; `owner` is for messages.

    What stands outside every schema is asked so: the attributes of a directory's entry. Raises InvalidFilter.
    """

    def find(name: str) -> Resolved | None:
        return None if "." in name or ":" in name else Resolved(name, Attribute(name, multi_valued=True))

    return Filter(text, _bind(parse(text), _Scope(owner, find, ())))


# --- tree to bound tree --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Scope:
    """Where names are looked up: a resource type, or inside brackets; `relative` if these stand for one element.

    `elsewhere`: the same for each other type that is searched too.
    """

    owner: str
    find: Callable[[str], Resolved | None]
    known: tuple[str, ...]
    bracketed: bool = False
    relative: bool = False
    elsewhere: tuple[_Scope, ...] = ()

    def keys(self, resolved: Resolved) -> tuple[str, ...]:
        return resolved.search_keys[1:] if self.relative else resolved.search_keys


def bind(tree: Ast, resource_type: ResourceType, *others: ResourceType) -> Bound:
    """The tree with every attribute found and every literal comparable. Raises InvalidFilter."""
    elsewhere = tuple(_Scope(each.name, each.resolve, each.paths) for each in others)
    return _bind(tree, _Scope(resource_type.name, resource_type.resolve, resource_type.paths, elsewhere=elsewhere))


def _within(attribute: Resolved, *, relative: bool) -> _Scope:
    if attribute.attribute.type is not Type.COMPLEX:
        one = Resolved(attribute.path, replace(attribute.attribute, multi_valued=False), None, attribute.extension)
        return _Scope(
            attribute.path,
            lambda name: one if name.lower() == "value" else None,
            ("value",),
            bracketed=True,
            relative=True,
        )

    def find(name: str) -> Resolved | None:
        sub = attribute.attribute.sub(name)
        return None if sub is None else _sub(attribute, sub)

    names = tuple(sub.name for sub in attribute.attribute.sub_attributes)
    return _Scope(attribute.path, find, names, bracketed=True, relative=relative)


def _sub(attribute: Resolved, sub: Attribute) -> Resolved:
    return Resolved(f"{attribute.path}.{sub.name}", sub, attribute.attribute, attribute.extension)


def _bind(tree: Ast, scope: _Scope) -> Bound:
    match tree:
        case And():
            return And(tuple(_bind(term, scope) for term in tree.terms))
        case Or():
            return Or(tuple(_bind(term, scope) for term in tree.terms))
        case Not():
            return Not(_bind(tree.term, scope))
        case ValuePath():
            return _bind_value_path(tree, scope)
        case Comparison():
            return _bind_comparison(tree, scope)
        case _:
            assert_never(tree)


def _bind_value_path(tree: ValuePath, scope: _Scope) -> Bound:
    for other in scope.elsewhere:
        if scope.find(tree.path) is None and other.find(tree.path) is not None:
            _bind_value_path(tree, other)  # it must be right where it means something
            return Or(())
    attribute = _find(tree.path, tree.at, scope)
    single = not attribute.attribute.multi_valued
    if scope.bracketed or (attribute.attribute.type is not Type.COMPLEX and single):
        refuse(f"{shown(tree.path)} has no sub-attributes to ask for in [ ]", tree.at)
    if attribute.attribute.multi_valued:
        return Element(attribute, scope.keys(attribute), _bind(tree.term, _within(attribute, relative=True)))
    present = Condition(attribute, scope.keys(attribute), Op.PR)
    return And((present, _bind(tree.term, _within(attribute, relative=False))))


def _bind_comparison(tree: Comparison, scope: _Scope) -> Bound:
    for other in scope.elsewhere:
        if scope.find(tree.path) is None and other.find(tree.path) is not None:
            _bind_comparison(tree, other)
            absent = tree.op is Op.NE if tree.value is not None else tree.op is Op.EQ
            return And(()) if absent else Or(())
    attribute = _find(tree.path, tree.at, scope)
    if tree.value is None:
        if tree.op not in (Op.PR, Op.EQ, Op.NE):
            refuse(f"null can be compared by eq and ne only, not by {tree.op}", tree.at)
        present = _some(attribute, scope, Op.PR, None)
        return Not(present) if tree.op is Op.EQ else present
    if attribute.attribute.type is Type.COMPLEX:
        value = attribute.attribute.sub("value")
        if value is None:
            names = ", ".join(sub.name for sub in attribute.attribute.sub_attributes)
            refuse(f"{attribute.path} has no value of its own; name one of {names}", tree.at)
        attribute = _sub(attribute, value)
    return _some(attribute, scope, tree.op, _comparable(tree, attribute))


def _some(attribute: Resolved, scope: _Scope, op: Op, value: Literal) -> Bound:
    """The comparison where it belongs: for some element, if the attribute or its parent is multi-valued."""
    term: Bound
    if not scope.keys(attribute) and op is Op.PR:
        return And(())  # an element of a list of plain values is there
    if attribute.parent is not None and attribute.parent.multi_valued and not scope.relative:
        whole = Resolved(attribute.top, attribute.parent, None, attribute.extension)
        term = _some(attribute, _within(whole, relative=True), op, value)
    elif attribute.attribute.multi_valued and op is not Op.PR:
        whole = attribute
        term = _negated_if_ne(attribute, (), op, value)
    else:
        return _negated_if_ne(attribute, scope.keys(attribute), op, value)
    element = Element(whole, scope.keys(whole), term)
    return Or((Not(Condition(whole, scope.keys(whole), Op.PR)), element)) if op is Op.NE else element


def _negated_if_ne(attribute: Resolved, keys: tuple[str, ...], op: Op, value: Literal) -> Bound:
    if value is False and _assumed_false(attribute):
        op, value = (Op.NE if op is Op.EQ else Op.EQ), True
    return Not(Condition(attribute, keys, Op.EQ, value)) if op is Op.NE else Condition(attribute, keys, op, value)


def _assumed_false(attribute: Resolved) -> bool:
    """RFC 7643 section 2.4: of a list's values `primary` is false if it is not specified."""
    in_list = attribute.parent is not None and attribute.parent.multi_valued
    return in_list and attribute.attribute.name == "primary" and attribute.attribute.type is Type.BOOLEAN


def _find(path: str, at: int, scope: _Scope) -> Resolved:
    found = scope.find(path)
    if found is None:
        refuse(f"{shown(path)} is not an attribute of {scope.owner}{_suggestion(path, scope)}", at)
    if found.path == found.extension:
        one = f"{found.path}:{found.attribute.sub_attributes[0].name}"
        refuse(f"{found.path} is an extension; name one of its attributes, such as {one}", at)
    if Returned.NEVER in (found.attribute.returned, found.parent and found.parent.returned):
        refuse(f"{found.path} is never shown, so it cannot be asked for", at)
    return found


def _suggestion(path: str, scope: _Scope) -> str:
    wanted = path[:80].lower()
    known = {name.lower(): name for name in scope.known}
    close = [name for name in known if name.endswith(f":{wanted}")] or difflib.get_close_matches(wanted, known, 1)
    if close:
        return f"; did you mean {known[close[0]]}"
    return f"; accepted are {', '.join(scope.known)}" if scope.bracketed else ""


def _comparable(tree: Comparison, attribute: Resolved) -> Literal:
    kind = attribute.attribute.type
    expected, ops = _ACCEPTED[kind]
    if tree.op not in ops:
        refuse(f"{tree.op} cannot compare {attribute.path} ({kind}); accepted are {', '.join(ops)}", tree.at)
    value = tree.value
    if kind is Type.BOOLEAN:
        fits = isinstance(value, bool)
    elif kind in (Type.INTEGER, Type.DECIMAL):
        fits = isinstance(value, int | float) and not isinstance(value, bool)
    else:
        fits = isinstance(value, str)
        if fits and kind is Type.DATETIME:
            try:
                instant(str(value))
            except ValueError:
                fits = False
    if not fits:
        refuse(f"{attribute.path} is compared with {expected}", tree.at)
    return _wanted(attribute, value)


def _wanted(attribute: Resolved, value: Literal) -> Literal:
    """What values are compared with. The URL of a resource is the same with another version of the protocol, or none (RFC 7643
    section 2.4); those that a schema of one's own holds stand as they were sent."""
    if isinstance(value, str) and attribute.attribute.name in ("$ref", "location") and not attribute.own:
        value = this_version(value)
    compared: Literal = comparable(attribute.attribute, value)
    return compared


# --- bound tree to test --------------------------------------------------------------------------------------------


def evaluate(filter: Filter, view: View) -> bool:
    """Whether a search view matches; `compile` once if there are many."""
    return compile(filter)(view)


def compile(filter: Filter) -> Match:
    """A function from a search view (of an element, for `parse_element`) to whether it matches."""
    return _compile(filter.bound)


def _compile(bound: Bound) -> Match:
    match bound:
        case And():
            return _all([_compile(term) for term in bound.terms])
        case Or():
            return _any([_compile(term) for term in bound.terms])
        case Not():
            term = _compile(bound.term)
            return lambda view: not term(view)
        case Element():
            return _some_element(_reader(bound.keys), _compile(bound.term))
        case Condition():
            return _condition(_reader(bound.keys), bound.op, bound.value)
        case _:
            assert_never(bound)


def _all(terms: list[Match]) -> Match:
    def matches(view: Any) -> bool:
        for term in terms:  # noqa: SIM110  (a generator costs half as much again, and this runs per user and rule)
            if not term(view):
                return False
        return True

    return matches


def _any(terms: list[Match]) -> Match:
    def matches(view: Any) -> bool:
        for term in terms:  # noqa: SIM110
            if term(view):
                return True
        return False

    return matches


def _some_element(read: Callable[[Any], Any], term: Match) -> Match:
    def matches(view: Any) -> bool:
        for element in read(view) or ():  # noqa: SIM110
            if term(element):
                return True
        return False

    return matches


def _reader(keys: tuple[str, ...]) -> Callable[[Any], Any]:
    if not keys:
        return lambda view: view
    if len(keys) == 1:
        key = keys[0]
        return lambda view: view.get(key)
    outer, inner = keys

    def read(view: Any) -> Any:
        part = view.get(outer)
        return None if part is None else part.get(inner)

    return read


def _condition(read: Callable[[Any], Any], op: Op, wanted: Any) -> Match:
    match op:
        case Op.PR:
            return lambda view: read(view) is not None
        case Op.EQ:
            return lambda view: bool(read(view) == wanted)
        case Op.CO:
            return lambda view: (found := read(view)) is not None and wanted in found
        case Op.SW:
            return lambda view: (found := read(view)) is not None and found.startswith(wanted)
        case Op.EW:
            return lambda view: (found := read(view)) is not None and found.endswith(wanted)
        case Op.GT:
            return lambda view: (found := read(view)) is not None and found > wanted
        case Op.GE:
            return lambda view: (found := read(view)) is not None and found >= wanted
        case Op.LT:
            return lambda view: (found := read(view)) is not None and found < wanted
        case Op.LE:
            return lambda view: (found := read(view)) is not None and found <= wanted
        case Op.NE:
            raise AssertionError("ne is bound as not eq")
        case _:
            assert_never(op)


def names(filter: Filter) -> frozenset[str]:
    """Canonical paths of the top-level attributes a filter reads: `emails` for `emails.type`."""

    def read(bound: Bound) -> frozenset[str]:
        match bound:
            case And() | Or():
                return frozenset().union(*(read(term) for term in bound.terms))
            case Not():
                return read(bound.term)
            case Element():
                return frozenset((bound.attribute.top,))
            case Condition():
                return frozenset((bound.attribute.top,))
            case _:
                assert_never(bound)

    return read(filter.bound)
