"""Read a dump of a directory (LDIF) as a source: users first, then groups, each by its object classes.

A file does not show that it was cut. It is complete only if it says so itself (ldapsearch's `result: 0 Success` and
`# numEntries: N`, and N entries are there) or a file `NAME.sha256` beside it has its sum; any sign to the contrary wins.
A file without either is complete only by someone's own statement, `accept_unmarked_files_as_complete`.
Groups are found again by their offsets: memory holds a key for each entry and a number for each group.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import datetime
from io import BufferedReader
from pathlib import Path

from syncd.core.snapshot import Certificate, Entry, SetAside
from syncd.errors import IncompleteRead, InvalidSyntax, InvalidValue, SourceUnreachable
from syncd.ldap import dn, keys
from syncd.ldap.config import KEY_ATTRIBUTES
from syncd.ldap.ldif import LdifReader, Record
from syncd.ldap.seen import Seen

_NO_KEY = (
    f"none of {', '.join(KEY_ATTRIBUTES)}: dump with the operational attributes ('*' '+'), or name another attribute that"
    " never changes as key_attribute"
)


@dataclass(frozen=True, slots=True)
class LdifConfig:
    """One file. An entry is a group, else a user, by its objectClass values (any case); anything else is passed over."""

    name: str
    path: Path
    accept_unmarked_files_as_complete: bool = False
    key_attribute: str | None = None  # None: the first of KEY_ATTRIBUTES that the first entry has
    base: tuple[str, ...] = ()  # only entries below one of these; () for all
    canaries: tuple[str, ...] = ()  # DNs of users or groups that every good dump holds
    user_classes: tuple[str, ...] = ("person", "organizationalPerson", "inetOrgPerson", "user", "posixAccount")
    group_classes: tuple[str, ...] = ("groupOfNames", "groupOfUniqueNames", "posixGroup", "group")
    other_classes: tuple[str, ...] = (
        "computer",
        "contact",
    )  # a `user` or `person` for Active Directory, not for people
    max_record_bytes: int = 64 << 20


class LdifSource:
    """A source of kind `ldif`."""

    def __init__(self, config: LdifConfig) -> None:
        self.name = config.name
        self.config = config

    def read(self, now: datetime) -> LdifReading:
        """Raises SourceUnreachable if the file cannot be opened."""
        try:
            stream = self.config.path.open("rb")
        except OSError as exc:
            raise SourceUnreachable(f"source {self.name}: {self.config.path}: {exc.strerror}") from exc
        return LdifReading(self.config, stream)


class LdifReading:
    """One reading of the file: iterate once."""

    def __init__(self, config: LdifConfig, stream: BufferedReader) -> None:
        self._config = config
        self._stream = stream
        self._because: list[str] = []
        self._asserted_by: str | None = None
        self._ended = False
        self._key_attribute = config.key_attribute
        self._seen = Seen()
        self._counts = {"user": 0, "group": 0, "set_aside": 0}
        self._canaries = {dn.normalize(each): each for each in config.canaries}  # those not met yet
        self._bases = tuple(dn.normalize(base) for base in config.base)
        self._kinds = {
            **dict.fromkeys((name.lower().encode() for name in config.user_classes), "user"),
            **dict.fromkeys((name.lower().encode() for name in config.group_classes), "group"),
            **dict.fromkeys((name.lower().encode() for name in config.other_classes), "other"),
        }
        self._entries = self._read()

    def __iter__(self) -> Iterator[Entry | SetAside]:
        return self._entries

    def close(self) -> None:
        self._entries.close()
        self._stream.close()

    def certificate(self) -> Certificate:
        return Certificate(
            because=tuple(self._because) if self._ended else (*self._because, "the read was not carried to its end"),
            key_attribute=self._key_attribute,
            users_read=self._counts["user"],
            groups_read=self._counts["group"],
            set_aside=self._counts["set_aside"],
            asserted_by=self._asserted_by,
        )

    def _read(self) -> Generator[Entry | SetAside, None, None]:
        try:
            before = _stamp(self._stream)
            summed = self._compare_sum()
            reader = LdifReader(self._stream, self._config.max_record_bytes)
            groups: list[tuple[int, int]] = []
            for record in reader:
                kind = self._kind(record)
                if kind == "group":
                    groups.append((record.offset, record.line))
                elif kind == "user":
                    yield from self._entry("user", record)
            for offset, line in groups:
                self._stream.seek(offset)
                record = next(iter(LdifReader(self._stream, self._config.max_record_bytes, line - 1)))
                yield from self._entry("group", record)
            self._judge(reader, summed)
            if _stamp(self._stream) != before:
                self._because.append("the file changed while it was read")
        except (InvalidSyntax, IncompleteRead) as exc:
            self._because.append(str(exc))
        except (OSError, StopIteration) as exc:
            self._because.append(f"the file could not be read to its end: {exc}")
        else:
            self._ended = True
        finally:
            self._seen.close()
            self._ended = self._ended or bool(self._because)
            self._stream.close()

    def _judge(self, reader: LdifReader, summed: bool) -> None:
        marks = reader.marks
        self._because += marks.problems()
        if marks.unended_line:
            self._because.append("the last line has no end, the file looks cut")
        if not self._counts["user"]:
            self._because.append(f"no users: none of {marks.entries:,} entries is a usable one")
        self._because += [f"canary {each} is not in the file" for each in self._canaries.values()]
        if not summed and not marks.present:
            if not self._config.accept_unmarked_files_as_complete:
                left_out = " (ldapsearch -L leaves it out)" if marks.results_announced else ""
                self._because.append(
                    f"nothing says that the file is whole: no result: 0 Success{left_out}, no # numEntries: N at its end,"
                    f" no {self._sum_path().name} beside it"
                )
            elif not self._because:
                self._asserted_by = "accept_unmarked_files_as_complete"

    def _compare_sum(self) -> bool:
        """True if a sum beside the file matches, False if there is none; a wrong one is said."""
        try:
            wanted = self._sum_path().read_text("ascii", "replace").split()
        except FileNotFoundError:
            return False
        actual = hashlib.file_digest(self._stream, "sha256").hexdigest()
        self._stream.seek(0)
        if wanted[:1] != [actual]:
            self._because.append(f"{self._sum_path().name} has another sum than the file")
        return True

    def _sum_path(self) -> Path:
        return self._config.path.with_name(self._config.path.name + ".sha256")

    def _kind(self, record: Record) -> str | None:
        """The strongest of its classes; a spoiled record counts as what is left of it says."""
        found = {
            self._kinds.get(value.lower())
            for name, values in record.attributes.items()
            if name.lower() == "objectclass"
            for value in values
        }
        kind = next((kind for kind in ("other", "group", "user") if kind in found), None)
        return kind if not self._bases or self._inside(record) else None

    def _inside(self, record: Record) -> bool:
        try:
            name = dn.normalize(record.dn.decode("utf-8"))
        except (UnicodeDecodeError, InvalidValue):
            return True  # said by _entry
        return any(dn.is_under(name, base) for base in self._bases)

    def _entry(self, kind: str, record: Record) -> Generator[Entry | SetAside, None, None]:
        key = None
        try:
            attributes = keys.fold_names(record.attributes)
            self._key_attribute = self._key_attribute or keys.choose([attributes])
            if self._key_attribute is None:
                raise InvalidValue(_NO_KEY)
            key = keys.key_of(self._key_attribute, attributes)
            name = keys.readable_dn(record.dn)
            if record.problem:
                raise InvalidValue(record.problem)
            if self._seen.repeats(self._key_attribute, key, name):
                return
        except InvalidValue as exc:
            self._counts["set_aside"] += 1
            shown = record.dn.decode("utf-8", "backslashreplace") or f"line {record.line:,}"
            yield SetAside(shown, str(exc), key)
            return
        self._counts[kind] += 1
        if self._canaries:
            self._canaries.pop(dn.normalize(name), None)
        yield Entry(kind, key, name, attributes)


def _stamp(stream: BufferedReader) -> tuple[int, int]:
    status = os.fstat(stream.fileno())
    return status.st_size, status.st_mtime_ns
