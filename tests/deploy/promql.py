"""Names in PromQL expressions: as much of the grammar as tells metrics, labels, functions and keywords apart."""

from __future__ import annotations

import re
from dataclasses import dataclass

_WORDS = {
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "and",
    "or",
    "unless",
    "offset",
    "bool",
    "inf",
    "nan",
}
_LABELS_OF = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^()]*)\)", re.I)
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)?\s*\{([^{}]*)\}")
_MATCHER = re.compile(r"([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)")
_STRING = re.compile(r"""(["'])(?:\\.|(?!\1).)*\1""")
_NAME = re.compile(r"(?<![\w:.])([a-zA-Z_:][\w:]*)(?!\s*\()(?![\w:])")


@dataclass(frozen=True)
class Expression:
    metrics: frozenset[str]
    matched: frozenset[tuple[str, str]]  # (metric, label) of each selector
    grouped: frozenset[str]  # labels of by, without, on, ignoring


def parse(text: str) -> Expression:
    text = _STRING.sub("", text)
    grouped = {label.strip() for found in _LABELS_OF.findall(text) for label in found.split(",") if label.strip()}
    bare = _LABELS_OF.sub(" ", text)
    matched = {
        (metric, label) for metric, inside in _SELECTOR.findall(bare) for label in _MATCHER.findall(inside) if metric
    }
    bare = re.sub(r"\{[^{}]*\}|\[[^\]]*\]|\b\d\w*", " ", bare)
    metrics = {name for name in _NAME.findall(bare) if name.lower() not in _WORDS}
    return Expression(frozenset(metrics), frozenset(matched), frozenset(grouped))
