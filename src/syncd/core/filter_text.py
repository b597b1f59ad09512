"""The text of SCIM filters and its tree (RFC 7644 section 3.4.2.2, figure 1); names are not looked up here.

`not` binds tighter than `and`, `and` tighter than `or`. Operators, `not`, `and`, `or`, true, false and null are read in
any case. `path[...].sub op value`, which Entra sends, is read as `path[... and sub op value]`. Length, nesting and the
number of comparisons are bounded, so no text can exhaust the stack here or the database's parser later.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, NoReturn, TypeAlias, TypeVar, Union, assert_never

from syncd.core.resource import shown
from syncd.errors import InvalidFilter

MAX_LENGTH = 8192
MAX_DEPTH = 30
# SQLite refuses an expression deeper than 1,000, and a chain of `or` nests once for each term.
MAX_COMPARISONS = 400

Literal: TypeAlias = str | bool | int | float | None
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
        refuse(f"{shown(parser.next.text)} is unexpected; and, or, or the end is accepted", parser.next.at)
    return tree


def spelt_one_way(text: str) -> str:
    """The same filter with names and operators in lower case, a space between two words: names do not differ by case."""
    return " ".join(each.text.lower() if each.kind == "word" else each.text for each in _tokens(text))


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    while not tokens or tokens[-1].kind != "end":
        found = _TOKEN.match(text, position)
        if found is None:
            rest = text[position:].lstrip()
            what = "the string is not closed" if rest.startswith('"') else f"{shown(rest[:20])} is not understood"
            refuse(what, len(text) - len(rest) + 1)
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
            refuse(f"{mark} is expected", token.at)

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
            refuse(f"brackets are nested deeper than {MAX_DEPTH}", self.next.at)
        if self._is("("):
            return self._bracketed("(", ")", depth)
        token = self._take()
        if token.kind != "word" or token.text.startswith("."):
            refuse("an attribute, not ( or ( is expected", token.at)
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
            refuse(f"the filter has more than {MAX_COMPARISONS} comparisons", at)
        token = self._take()
        op = _OPS.get(token.text.lower())
        if op is None or token.kind != "word":
            refuse(f"an operator ({', '.join(Op)}) is expected after {shown(path)}", token.at)
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
            refuse("the value is not valid JSON", token.at)
        if isinstance(value, str) and _SURROGATE_OR_NUL.search(value):
            refuse("the value holds a NUL or half a surrogate pair, which no text may", token.at)
        if isinstance(value, int | float) and not (math.isfinite(value) if isinstance(value, float) else _in_64(value)):
            refuse("the number is out of range", token.at)
        return value
    refuse('a value ("text", a number, true, false or null) is expected', token.at)


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


def refuse(what: str, at: int) -> NoReturn:
    raise InvalidFilter(f"Invalid filter at character {at}: {what}.")
