"""A document of docs/ as tests read it: its headings, its links, its commands, and the blocks that are tried."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from deploy.files import ROOT

FENCE = re.compile(r"^(?:<!-- tried: ([a-z ]+) -->\n)?```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ASSIGNMENT = re.compile(r"[A-Z_]+=")
OPERATORS = frozenset({"|", ";", "&&", "||", ">", ">>", "(", ")", "{", "}"})


@dataclass(frozen=True)
class Block:
    tried: str  # "" for one that is only parsed
    text: str


@dataclass(frozen=True)
class Document:
    name: str

    @cached_property
    def text(self) -> str:
        return (ROOT / "docs" / self.name).read_text(encoding="utf-8")

    def blocks(self) -> list[Block]:
        found = [Block(tried, text) for tried, language, text in FENCE.findall(self.text) if language == "sh"]
        assert found
        return found

    def tried(self, name: str) -> str:
        (found,) = (block.text for block in self.blocks() if block.tried == name)
        return found

    def headings(self) -> list[tuple[int, str]]:
        prose = FENCE.sub("", self.text)
        return [(len(marks), text) for marks, text in re.findall(r"^(#+) (.+)$", prose, re.MULTILINE)]

    def commands(self) -> Iterator[list[str]]:
        """Every simple command of every block, in words, without what assigns a variable before it."""
        for block in self.blocks():
            for line in block.text.splitlines():
                yield from simple(line)

    def spans(self) -> list[str]:
        """What stands between single backticks and begins like a command of ours."""
        found = re.findall(r"`([^`\n]+)`", FENCE.sub("", self.text))
        return [each for each in found if re.match(r"syncd [a-z]+", each)]


OPERATIONS = Document("operations.md")


def anchor(heading: str) -> str:
    """As GitHub and its like make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def simple(line: str) -> Iterator[list[str]]:
    line = re.sub(r" > \S+", "", line)  # a file that a command writes is none
    line = re.sub(r"^[a-z]+=\$\((.*)\)$", r"\1", line)  # a variable from a command's output: that command
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word in OPERATORS:
            while words and ASSIGNMENT.match(words[0]):
                words = words[1:]
            if words:
                yield words
            words = []
        else:
            words.append(word)


def ours(words: list[str]) -> list[str] | None:
    """The words after `syncd`, if that is what the command runs, here or in a container."""
    if words[0] == "syncd":
        return words[1:]
    if words[0] == "kubectl" and "--" in words:
        return ours(words[words.index("--") + 1 :])
    if words[:2] == ["docker", "compose"] and "exec" in words:
        return ours([word for word in words[words.index("exec") + 1 :] if word != "-T"][1:])
    return None
