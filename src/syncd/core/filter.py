"""SCIM filters (RFC 7644 section 3.4.2.2): text -> tree -> bound to a resource type -> a test over a search view.

An absent attribute matches nothing, except what `not` or `ne` makes of it: `a ne v` is `not (a eq v)`, `a eq null` is
`not (a pr)`. A multi-valued attribute matches if any element does, so `emails.type ne "work"` is true if some element
is not "work", or if there is no element at all. The conditions in `emails[...]` hold for one element together.
Not understood means InvalidFilter with the place and what is accepted, never "everything matches".
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, NoReturn, TypeAlias, TypeVar, Union, assert_never

from syncd.core.resource import comparable, instant, shown
from syncd.core.schema import Attribute, Resolved, ResourceType, Returned, Type
from syncd.errors import InvalidFilter

MAX_LENGTH = 8192
MAX_DEPTH = 30
# SQLite refuses an expression deeper than 1,000, and a chain of `or` nests once for each term.
MAX_COMPARISONS = 400

Literal: TypeAlias = str | bool | int | float | None
View: TypeAlias = Mapping[str, Any]
Match: TypeAlias = Callable[[Any], bool]
T = TypeVar("T")


class Op(StrEnum):
    EQ = "eq"
    NE = "ne"
    CO = "co"
    SW = "sw"
    EW = "ew"
    PR = "pr"
    GT = "gt"
    GE = "ge"
    LT = "lt"
    LE = "le"


_OPS = {op.value: op for op in Op}
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


# --- the tree ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class And(Generic[T]):
    terms: tuple[T, ...]


@dataclass(frozen=True, slots=True)
class Or(Generic[T]):
    terms: tuple[T, ...]


@dataclass(frozen=True, slots=True)
class Not(Generic[T]):
    term: T


@dataclass(frozen=True, slots=True)
class Comparison:
    """`path op value` as written; `value` is None for `pr` and for null. `at` is the place in the text, from 1."""

    path: str
    op: Op
    value: Literal = None
    at: int = field(default=1, compare=False)


@dataclass(frozen=True, slots=True)
class ValuePath:
    """`path[term]`; `path[term].sub op value` is read as `path[term and sub op value]`."""

    path: str
    term: Ast
    at: int = field(default=1, compare=False)


Ast: TypeAlias = Union["And[Ast]", "Or[Ast]", "Not[Ast]", Comparison, ValuePath]


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


def parse_filter(text: str, resource_type: ResourceType) -> Filter:
    """Raises InvalidFilter."""
    return Filter(text, bind(parse(text), resource_type))


def parse_element(text: str, attribute: Resolved) -> Filter:
    """The condition inside `attribute[...]`, asked of one element in its search form (resource.search_element)."""
    return Filter(text, _bind(parse(text), _within(attribute, relative=True)))


# --- text to tree --------------------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<mark>[()\[\]])
      | (?P<string>"(?:[^"\\]|\\.)*")
      | (?P<number>-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![A-Za-z0-9_.:-]))
      | (?P<word>\.?[A-Za-z$][A-Za-z0-9_$:.-]*)
      | (?P<end>\Z)
    )""",
    re.VERBOSE | re.DOTALL,
)
_SURROGATE_OR_NUL = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


def parse(text: str) -> Ast:
    """The tree of a filter; nothing is looked up. Raises InvalidFilter."""
    if len(text) > MAX_LENGTH:
        raise InvalidFilter(f"The filter has {len(text):,} characters; at most {MAX_LENGTH:,} are accepted.")
    parser = _Parser(_tokens(text))
    tree = parser.alternatives(0)
    if parser.next.kind != "end":
        _refuse(f"{shown(parser.next.text)} is unexpected; and, or, or the end is accepted", parser.next.at)
    return tree


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    while not tokens or tokens[-1].kind != "end":
        found = _TOKEN.match(text, position)
        if found is None:
            rest = text[position:].lstrip()
            what = "the string is not closed" if rest.startswith('"') else f"{shown(rest[:20])} is not understood"
            _refuse(what, len(text) - len(rest) + 1)
        kind = str(found.lastgroup)
        tokens.append(_Token(kind, found[kind], found.start(kind) + 1))
        position = found.end()
    return tokens


class _Parser:
    """Recursive descent; recursion happens only in brackets, and these are counted."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._index = 0
        self._comparisons = 0

    @property
    def next(self) -> _Token:
        return self._tokens[self._index]

    def _take(self) -> _Token:
        token = self.next
        self._index += token.kind != "end"
        return token

    def _is(self, word: str) -> bool:
        return self.next.kind in ("word", "mark") and self.next.text.lower() == word

    def _expect(self, mark: str) -> None:
        token = self._take()
        if token.kind != "mark" or token.text != mark:
            _refuse(f"{mark} is expected", token.at)

    def alternatives(self, depth: int) -> Ast:
        terms = [self._conjunction(depth)]
        while self._is("or"):
            self._take()
            terms.append(self._conjunction(depth))
        return Or(tuple(terms)) if len(terms) > 1 else terms[0]

    def _conjunction(self, depth: int) -> Ast:
        terms = [self._term(depth)]
        while self._is("and"):
            self._take()
            terms.append(self._term(depth))
        return And(tuple(terms)) if len(terms) > 1 else terms[0]

    def _term(self, depth: int) -> Ast:
        if depth > MAX_DEPTH:
            _refuse(f"brackets are nested deeper than {MAX_DEPTH}", self.next.at)
        if self._is("("):
            return self._bracketed("(", ")", depth)
        token = self._take()
        if token.kind != "word" or token.text.startswith("."):
            _refuse("an attribute, not ( or ( is expected", token.at)
        if token.text.lower() == "not" and self._is("("):
            return Not(self._bracketed("(", ")", depth))
        if not self._is("["):
            return self._comparison(token.text, token.at)
        inner = self._bracketed("[", "]", depth)
        if self.next.kind == "word" and self.next.text.startswith("."):
            sub = self._take()
            inner = And((inner, self._comparison(sub.text[1:], sub.at)))
        return ValuePath(token.text, inner, token.at)

    def _bracketed(self, opening: str, closing: str, depth: int) -> Ast:
        self._expect(opening)
        inner = self.alternatives(depth + 1)
        self._expect(closing)
        return inner

    def _comparison(self, path: str, at: int) -> Comparison:
        self._comparisons += 1
        if self._comparisons > MAX_COMPARISONS:
            _refuse(f"the filter has more than {MAX_COMPARISONS} comparisons", at)
        token = self._take()
        op = _OPS.get(token.text.lower())
        if op is None or token.kind != "word":
            _refuse(f"an operator ({', '.join(Op)}) is expected after {shown(path)}", token.at)
        return Comparison(path, op, None if op is Op.PR else _literal(self._take()), at)


def _literal(token: _Token) -> Literal:
    words: Mapping[str, Literal] = {"true": True, "false": False, "null": None}
    if token.kind == "word" and token.text.lower() in words:
        return words[token.text.lower()]
    if token.kind in ("string", "number"):
        try:
            # Strict would refuse a raw tab; a number's digits are bounded, int() refuses more than 4,300 of them.
            value: Literal = json.loads(token.text, strict=False)
        except ValueError:
            _refuse("the value is not valid JSON", token.at)
        if isinstance(value, str) and _SURROGATE_OR_NUL.search(value):
            _refuse("the value holds a NUL or half a surrogate pair, which no text may", token.at)
        if isinstance(value, int | float) and not (math.isfinite(value) if isinstance(value, float) else _in_64(value)):
            _refuse("the number is out of range", token.at)
        return value
    _refuse('a value ("text", a number, true, false or null) is expected', token.at)


def _in_64(number: int) -> bool:
    return -(2**63) <= number < 2**63


def render(tree: Ast) -> str:
    """The text of a tree; `parse(render(tree)) == tree`."""
    match tree:
        case Comparison():
            value = "" if tree.op is Op.PR else " " + json.dumps(tree.value, ensure_ascii=False)
            return f"{tree.path} {tree.op}{value}"
        case ValuePath():
            return f"{tree.path}[{render(tree.term)}]"
        case Not():
            return f"not ({render(tree.term)})"
        case And():
            return " and ".join(f"({render(t)})" if isinstance(t, And | Or) else render(t) for t in tree.terms)
        case Or():
            return " or ".join(f"({render(t)})" if isinstance(t, Or) else render(t) for t in tree.terms)
        case _:
            assert_never(tree)


# --- tree to bound tree --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Scope:
    """Where names are looked up: a resource type, or inside brackets; `relative` if these stand for one element."""

    owner: str
    find: Callable[[str], Resolved | None]
    known: tuple[str, ...]
    bracketed: bool = False
    relative: bool = False

    def keys(self, resolved: Resolved) -> tuple[str, ...]:
        return resolved.search_keys[1:] if self.relative else resolved.search_keys


def bind(tree: Ast, resource_type: ResourceType) -> Bound:
    """The tree with every attribute found and every literal comparable. Raises InvalidFilter."""
    return _bind(tree, _Scope(resource_type.name, resource_type.resolve, resource_type.paths))


def _within(attribute: Resolved, *, relative: bool) -> _Scope:
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
    attribute = _find(tree.path, tree.at, scope)
    if scope.bracketed or attribute.attribute.type is not Type.COMPLEX:
        _refuse(f"{shown(tree.path)} has no sub-attributes to ask for in [ ]", tree.at)
    if attribute.attribute.multi_valued:
        return Element(attribute, scope.keys(attribute), _bind(tree.term, _within(attribute, relative=True)))
    present = Condition(attribute, scope.keys(attribute), Op.PR)
    return And((present, _bind(tree.term, _within(attribute, relative=False))))


def _bind_comparison(tree: Comparison, scope: _Scope) -> Bound:
    attribute = _find(tree.path, tree.at, scope)
    if tree.value is None:
        if tree.op not in (Op.PR, Op.EQ, Op.NE):
            _refuse(f"null can be compared by eq and ne only, not by {tree.op}", tree.at)
        present = _some(attribute, scope, Op.PR, None)
        return Not(present) if tree.op is Op.EQ else present
    if attribute.attribute.type is Type.COMPLEX:
        value = attribute.attribute.sub("value")
        if value is None:
            names = ", ".join(sub.name for sub in attribute.attribute.sub_attributes)
            _refuse(f"{attribute.path} has no value of its own; name one of {names}", tree.at)
        attribute = _sub(attribute, value)
    return _some(attribute, scope, tree.op, _comparable(tree, attribute))


def _some(attribute: Resolved, scope: _Scope, op: Op, value: Literal) -> Bound:
    """The comparison where it belongs: for some element, if the attribute or its parent is multi-valued."""
    term: Bound
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
    return Not(Condition(attribute, keys, Op.EQ, value)) if op is Op.NE else Condition(attribute, keys, op, value)


def _find(path: str, at: int, scope: _Scope) -> Resolved:
    found = scope.find(path)
    if found is None:
        _refuse(f"{shown(path)} is not an attribute of {scope.owner}{_suggestion(path, scope)}", at)
    if found.path == found.extension:
        _refuse(f"{found.path} is an extension; name one of its attributes, such as {found.path}:name", at)
    if Returned.NEVER in (found.attribute.returned, found.parent and found.parent.returned):
        _refuse(f"{found.path} is never shown, so it cannot be asked for", at)
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
        _refuse(f"{tree.op} cannot compare {attribute.path} ({kind}); accepted are {', '.join(ops)}", tree.at)
    value = tree.value
    if kind is Type.BOOLEAN:
        # Entra asks for roles[primary eq "True"].
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
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
        _refuse(f"{attribute.path} is compared with {expected}", tree.at)
    compared: Literal = comparable(attribute.attribute, value)
    return compared


def _refuse(what: str, at: int) -> NoReturn:
    raise InvalidFilter(f"Invalid filter at character {at}: {what}.")


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
