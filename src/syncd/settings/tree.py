"""YAML as plain values that remember where they stand, so that every fault can say `file:line:column`.

Only what a configuration needs: true and false are booleans, digits are whole numbers, an empty value is None, and the
rest is text. YAML 1.1 would make `on` a boolean, `1:30` ninety and `0777` octal. A key given twice is a fault: YAML
lets the last one win in silence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

WHOLE_NUMBER = re.compile(r"[-+]?[0-9]+")
NUMBER = re.compile(r"[-+]?[0-9]+\.[0-9]+")


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Line and column, both from 1, as editors count."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.line}:{self.column}"


class Mapping(dict[str, Any]):
    """A mapping with the place of itself, of its keys and of its values."""

    def __init__(self, place: Place, file: str) -> None:
        super().__init__()
        self.place = place
        self.file = file
        self.keys_at: dict[str, Place] = {}
        self.values_at: dict[str, Place] = {}

    @property
    def where(self) -> str:
        return f"{self.file}:{self.place.line}"


class Sequence(list[Any]):
    """A list with the places of its members, and their numbers in the file (`without` leaves gaps)."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.values_at: list[Place] = []
        self.numbers: list[int] = []

    def add(self, number: int, place: Place, value: Any) -> None:
        self.numbers.append(number)
        self.values_at.append(place)
        self.append(value)


@dataclass(frozen=True, slots=True)
class Fault:
    """One line of the report. `path` is the dotted key; empty for the file as a whole."""

    place: Place | None
    path: str
    what: str
    file: str | None = None  # another one than the configuration itself

    def line(self, file: str) -> str:
        file = self.file or file
        at = f"{file}:{self.place}" if self.place else file
        return f"{at}  {self.path}: {self.what}" if self.path else f"{at}  {self.what}"


def read(text: str, file: str) -> tuple[Mapping | None, list[Fault]]:
    """The file's content and the faults of its form; no content if it is no YAML. An empty file is an empty mapping."""
    faults: list[Fault] = []
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as exc:
        what = " ".join(part for part in (exc.context, exc.problem) if part)
        mark = exc.problem_mark or exc.context_mark
        return None, [Fault(_place(mark) if mark else None, "", f"is not YAML: {what}")]
    except yaml.YAMLError as exc:
        return None, [Fault(None, "", f"is not YAML: {exc}")]
    if root is None:
        return Mapping(Place(1, 1), file), []
    if not isinstance(root, yaml.MappingNode):
        return None, [Fault(_place(root.start_mark), "", "must be keys and values, such as `database: ...`")]
    return _Reader(file, faults).mapping(root, "", ()), faults


def without(node: Any, paths: set[tuple[str | int, ...]], path: tuple[str | int, ...] = ()) -> Any:
    """A copy of the tree that lacks what stands at `paths`."""
    if isinstance(node, Mapping):
        copy = Mapping(node.place, node.file)
        copy.keys_at, copy.values_at = node.keys_at, node.values_at
        copy.update(
            {key: without(value, paths, (*path, key)) for key, value in node.items() if (*path, key) not in paths}
        )
        return copy
    if isinstance(node, Sequence):
        rest = Sequence(node.place)
        for number, place, value in zip(node.numbers, node.values_at, node, strict=True):
            if (*path, number) not in paths:
                rest.add(number, place, without(value, paths, (*path, number)))
        return rest
    return node


def _place(mark: yaml.Mark) -> Place:
    return Place(mark.line + 1, mark.column + 1)


@dataclass(frozen=True, slots=True)
class _Reader:
    file: str
    faults: list[Fault]

    def value(self, node: yaml.Node, path: str, above: tuple[int, ...]) -> Any:
        if id(node) in above:
            self.faults.append(Fault(_place(node.start_mark), path, "an alias of what it stands in"))
            return None
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path, above)
        if isinstance(node, yaml.SequenceNode):
            return self.sequence(node, path, above)
        assert isinstance(node, yaml.ScalarNode)
        return self.scalar(node, path)

    def mapping(self, node: yaml.MappingNode, path: str, above: tuple[int, ...]) -> Mapping:
        result = Mapping(_place(node.start_mark), self.file)
        for key_node, value_node in node.value:
            place = _place(key_node.start_mark)
            if not isinstance(key_node, yaml.ScalarNode):
                self.faults.append(Fault(place, path, "a key must be a word"))
                continue
            key = str(key_node.value)
            under = f"{path}.{key}" if path else key
            if key in result.keys_at:
                first = result.keys_at[key].line
                self.faults.append(Fault(place, under, f"the key {key!r} is already given in line {first}"))
                continue
            result.keys_at[key] = place
            result[key] = value = self.value(value_node, under, (*above, id(node)))
            begins = _place(value_node.start_mark)
            # A block that begins in a later line is known by its key: that is the line people look for.
            result.values_at[key] = begins if begins.line == place.line else place
            if isinstance(value, Mapping | Sequence):
                value.place = result.values_at[key]
        return result

    def sequence(self, node: yaml.SequenceNode, path: str, above: tuple[int, ...]) -> Sequence:
        result = Sequence(_place(node.start_mark))
        for number, member in enumerate(node.value):
            value = self.value(member, f"{path}[{number}]", (*above, id(node)))
            result.add(number, _place(member.start_mark), value)
        return result

    def scalar(self, node: yaml.ScalarNode, path: str) -> Any:
        text = str(node.value)
        if not node.tag.startswith("tag:yaml.org,2002:"):
            self.faults.append(Fault(_place(node.start_mark), path, f"the tag {node.tag} means nothing here"))
        if node.style is not None:  # quoted, or a block of text: never a number, a boolean or nothing
            return text
        if text in ("", "~", "null"):
            return None
        if text in ("true", "false"):
            return text == "true"
        if WHOLE_NUMBER.fullmatch(text):
            return int(text)
        return float(text) if NUMBER.fullmatch(text) else text
