"""LDIF content records (RFC 2849) from a stream of bytes, one at a time, and the marks that prove a dump whole.

Tolerant where RFC 2849's readers are (CRLF, bytes that are not ASCII, no `version:`), strict where a cut or damaged file
would go unnoticed: every record begins with `dn:`, every line has a name, a record has a size limit. Change records are
refused. A damaged *line* ends the reading (InvalidSyntax with its number); a value that cannot be used spoils its record
only (`Record.problem`).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from syncd.errors import InvalidSyntax

_NAME = re.compile(rb"[A-Za-z0-9][A-Za-z0-9.-]*(?:;[A-Za-z0-9-]+(?:=[A-Za-z0-9*-]+)?)*")
_NUM_ENTRIES = re.compile(rb"#\s*numEntries:\s*(\d{1,12})\s*")
_RESULT = re.compile(rb"(\d{1,5})\s*(.*)")
_LDAPSEARCH = (b"search", b"result", b"ref", b"control", b"pagedresults", b"matcheddn", b"text")
_MAX_LINE = 1 << 20  # of one physical line; longer values are folded


@dataclass(frozen=True, slots=True)
class Record:
    """One content record. `line` and `offset` say where it begins; attribute names are as written."""

    line: int
    offset: int
    dn: bytes
    attributes: dict[str, tuple[bytes, ...]]
    problem: str | None = None


@dataclass(slots=True)
class Marks:
    """What the writer of the file says of its end: ldapsearch's result blocks and its `# numEntries: N`."""

    entries: int = 0
    entries_claimed: int | None = None  # the sum, if several dumps were put together
    results_announced: int = 0  # `# search result`
    results: list[tuple[int, str]] = field(default_factory=list)  # (code, text)
    references: int = 0
    page_open: bool = False  # the last result was one page and more were to come
    entries_after_mark: int = 0
    unended_line: bool = False

    def problems(self) -> tuple[str, ...]:
        """Why the dump is not whole by its own account. With () and `present` it is."""
        found = [f"the search that wrote it ended with {text} ({code})" for code, text in self.results if code != 0]
        if self.entries_claimed is not None and self.entries_claimed != self.entries:
            found.append(f"it says it has {self.entries_claimed:,} entries and has {self.entries:,}")
        if self.references:
            found.append(f"{self.references} parts of the tree were on another server (search references)")
        if self.page_open and self.entries_claimed is None:
            found.append("its last page says that more pages follow")
        if self.present and self.entries_after_mark:
            found.append(f"{self.entries_after_mark:,} entries follow its last end mark")
        return tuple(found)

    @property
    def present(self) -> bool:
        """`ldapsearch -L` announces a result and leaves it out, a size limit included: no proof."""
        if self.results_announced > len(self.results):
            return False
        return self.entries_claimed is not None or bool(self.results)


class LdifReader:
    """Iterate for records; `marks` is whole when the iteration is. Raises InvalidSyntax at the line that is wrong."""

    def __init__(self, stream: BinaryIO, max_record_bytes: int = 64 << 20, line: int = 0) -> None:
        self.marks = Marks()
        self._stream = stream
        self._max_record_bytes = max_record_bytes
        self._line = line
        self._offset = stream.tell()

    def __iter__(self) -> Iterator[Record]:
        lines: list[tuple[int, bytearray]] = []  # logical lines of one record, with their numbers
        start, size, comment = self._offset, 0, False
        while True:
            offset, text = self._offset, self._physical_line()
            if text is None or not text:
                record = self._record(lines, start) if lines else None
                if record is not None:
                    self.marks.entries += 1
                    self.marks.entries_after_mark += 1
                    yield record
                lines, size, comment = [], 0, False
                if text is None:
                    return
                continue
            if text.startswith(b" "):
                if not comment and not lines:
                    raise self._wrong("a continuation line with nothing before it")
                if not comment:
                    lines[-1][1].extend(text[1:])
                    size += len(text)
            elif text.startswith(b"#"):
                comment = True
                self._comment(text)
            else:
                comment = False
                if not lines:
                    start = offset
                lines.append((self._line, bytearray(text)))
                size += len(text)
            if size > self._max_record_bytes:
                raise self._wrong(f"the record has more than {self._max_record_bytes:,} bytes")

    def _physical_line(self) -> bytes | None:
        """Without its line end; None at the end of the file."""
        raw = self._stream.readline(_MAX_LINE)
        if not raw:
            return None
        self._line += 1
        self._offset += len(raw)
        if not raw.endswith(b"\n"):
            if len(raw) == _MAX_LINE:
                raise self._wrong(f"the line has more than {_MAX_LINE:,} bytes")
            self.marks.unended_line = True
        return raw.rstrip(b"\n").removesuffix(b"\r")

    def _comment(self, text: bytes) -> None:
        claimed = _NUM_ENTRIES.fullmatch(text)
        if claimed:
            self.marks.entries_claimed = (self.marks.entries_claimed or 0) + int(claimed[1])
            self.marks.entries_after_mark = 0
        elif text.strip() == b"# search result":
            self.marks.results_announced += 1

    def _record(self, lines: list[tuple[int, bytearray]], offset: int) -> Record | None:
        first, pairs, problem = lines[0][0], [], None
        for number, text in lines:
            name, value, why = _attribute(bytes(text), number)
            problem = problem or why
            pairs.append((number, name, value))
        if pairs[0][1].lower() == b"version":
            if pairs[0][2].strip() != b"1":
                raise _wrong_at(first, "only version 1 of LDIF is known")
            pairs = pairs[1:]
            if not pairs:
                return None
        number, name, name_of_entry = pairs[0]
        if name.lower() in _LDAPSEARCH:
            self._result(pairs)
            return None
        if name.lower() != b"dn":
            raise _wrong_at(number, f"a record must begin with dn:, this one with {name.decode()}:")
        if len(pairs) > 1 and pairs[1][1].lower() in (b"changetype", b"control"):
            raise _wrong_at(pairs[1][0], "a change record; only a dump of entries can be read as a directory")
        collected: dict[str, list[bytes]] = {}
        for number, name, value in pairs[1:]:
            if name.lower() == b"dn":
                raise _wrong_at(number, "a second dn: in one record; the empty line between two is missing")
            collected.setdefault(name.decode("ascii"), []).append(value)
        attributes = {name: tuple(values) for name, values in collected.items()}
        return Record(first, offset, name_of_entry, attributes, problem)

    def _result(self, pairs: list[tuple[int, bytes, bytes]]) -> None:
        for number, name, value in pairs:
            match name.lower():
                case b"result":
                    found = _RESULT.fullmatch(value)
                    if not found:
                        raise _wrong_at(number, "a result without a number")
                    self.marks.results.append((int(found[1]), found[2].decode("utf-8", "replace") or "no text"))
                    self.marks.page_open = False
                    self.marks.entries_after_mark = 0
                case b"ref":
                    self.marks.references += 1
                case b"pagedresults":
                    self.marks.page_open = value.partition(b"cookie=")[2].strip() != b""

    def _wrong(self, why: str) -> InvalidSyntax:
        return _wrong_at(self._line, why)


def _attribute(text: bytes, number: int) -> tuple[bytes, bytes, str | None]:
    """Name, value, and why the value cannot be used."""
    name, colon, rest = text.partition(b":")
    if not colon or not _NAME.fullmatch(name):
        raise _wrong_at(number, "neither 'name: value' nor a comment nor an empty line")
    if rest.startswith(b":"):
        try:
            return name, base64.b64decode(rest[1:].strip(b" "), validate=True), None
        except binascii.Error:
            return name, b"", f"line {number}: {name.decode()}: not base64"
    if rest.startswith(b"<"):
        return (
            name,
            b"",
            f"line {number}: {name.decode()}: a value by URL is not fetched; write the value into the file",
        )
    return name, rest.lstrip(b" "), None


def _wrong_at(line: int, why: str) -> InvalidSyntax:
    return InvalidSyntax(f"line {line:,}: {why}")
