"""A file of people as CSV: what a spreadsheet saves, read into values, with every fault by line and column. Pure.

UTF-8 with or without its mark, UTF-16 by its mark, or Windows-1252; comma, semicolon or tab, found by the first line. The
first line names attributes as SCIM does (`name.givenName`, `emails.work`), in the words people use (`First name`, `E-mail`), or
what is given by hand: roles, seats, groups, data scopes. An empty cell says nothing, so that a file takes nothing away.

Written the other way, a cell that a spreadsheet would compute begins with an apostrophe, which is dropped when it is read.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from io import StringIO
from typing import Any, Final

from syncd.core.mail import is_address
from syncd.core.resource import canonical_value, fold, name_key
from syncd.core.schema import ENTERPRISE_USER, SYNCD_USER, Resolved, ResourceType, Type
from syncd.errors import InvalidSyntax, InvalidValue

MANAGER: Final = f"{ENTERPRISE_USER}:manager.value"
DELIMITERS: Final = (",", ";", "\t")
GIVEN: Final = ("roles", "seats", "groups", "scopes")  # what is given by hand, several in a cell parted by | or ;
PASSED_OVER: Final = ("id", "status", "lastsignin", "createdat")  # what an export says beside, and nobody states
MOST_FAULTS: Final = 100
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_WORDS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("user", "login", "benutzername"), "userName"),
    **dict.fromkeys(("name", "fullname", "anzeigename"), "displayName"),
    **dict.fromkeys(("firstname", "givenname", "vorname"), "name.givenName"),
    **dict.fromkeys(("lastname", "surname", "familyname", "nachname"), "name.familyName"),
    **dict.fromkeys(("email", "mail", "emailaddress", "emails"), "emails.work"),
    **dict.fromkeys(("phone", "telephone", "phonenumber", "telefon"), "phoneNumbers.work"),
    **dict.fromkeys(("mobile", "mobilephone", "cellphone"), "phoneNumbers.mobile"),
    **dict.fromkeys(("photo", "picture"), "photos.photo"),
    **dict.fromkeys(("position", "jobtitle"), "title"),
    **dict.fromkeys(("language",), "preferredLanguage"),
    **dict.fromkeys(("country",), "addresses.work.country"),
    **dict.fromkeys(("kind", "userkind"), f"{SYNCD_USER}:kind"),
    **dict.fromkeys(("secondfactor", "mfa", "2fa"), f"{SYNCD_USER}:secondFactor"),
    **dict.fromkeys(("role",), "roles"),
    **dict.fromkeys(("seat", "licence", "license", "licences", "licenses"), "seats"),
    **dict.fromkeys(("group",), "groups"),
    **dict.fromkeys(("scope", "datascope", "datascopes"), "scopes"),
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the file; columns count from 1."""

    line: int
    column: int = 0
    name: str = ""

    def __str__(self) -> str:
        column = f", column {self.column}" if self.column else ""
        return f"line {self.line}{column}{f' ({self.name})' if self.name else ''}"


@dataclass(frozen=True, slots=True)
class Fault:
    place: Place
    what: str

    def __str__(self) -> str:
        return f"{self.place}: {self.what}"


@dataclass(frozen=True, slots=True)
class Column:
    """`path`: canonical, or one of GIVEN. `kind`: the type of the element, and `part` its sub-attribute, of a list."""

    place: Place
    path: str
    resolved: Resolved | None = None
    kind: str = ""
    part: str = "value"


@dataclass(frozen=True, slots=True)
class Row:
    """One person, without what is faulty. `lists`: of each multi-valued attribute the elements by type, each with its parts."""

    line: int
    name: str
    values: Mapping[str, Any]
    lists: Mapping[str, Mapping[str, Mapping[str, Any]]]
    given: Mapping[str, tuple[str, ...]]
    manager: str | None
    places: Mapping[str, Place]

    @property
    def address(self) -> str | None:
        return next((str(each["value"]) for each in self.lists.get("emails", {}).values() if "value" in each), None)

    def at(self, path: str) -> Place:
        return self.places.get(path, Place(self.line))


@dataclass(slots=True)
class People:
    rows: list[Row] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what was found out, such as the encoding

    def in_order(self) -> list[Fault]:
        return sorted(self.faults, key=lambda each: (each.place.line, each.place.column))


def decoded(content: bytes, encoding: str | None = None) -> tuple[str, str | None]:
    """(text, what was found out about its encoding, if that is worth a word). Raises InvalidValue."""
    if encoding is not None:
        try:
            return content.decode(encoding).removeprefix("\ufeff"), None
        except (UnicodeDecodeError, LookupError) as exc:
            raise InvalidValue(f"the file is not {encoding}: {exc}") from None
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            return content.decode("utf-16"), "read as UTF-16"
        except UnicodeDecodeError as exc:
            raise InvalidValue(f"the file begins as UTF-16 and is not: {exc.reason} at byte {exc.start}") from None
    try:
        return content.decode("utf-8-sig"), None
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        try:
            return content.decode("cp1252"), f"read as Windows-1252, since line {line} is not UTF-8"
        except UnicodeDecodeError:
            raise InvalidValue(f"line {line} is neither UTF-8 nor Windows-1252: save the file as UTF-8") from None


def read(text: str, type: ResourceType, delimiter: str | None = None) -> People:
    """The people of a file. Faults are collected, up to MOST_FAULTS; with one of them nothing of the file counts."""
    people = People()
    lines = text.removeprefix("\ufeff")
    if lines[:4].lower() == "sep=" and lines[4:5]:  # a spreadsheet's own mark, in front of the first line
        first, _, lines = lines.partition("\n")
        delimiter, skipped = delimiter or first[4], 1
    else:
        skipped = 0
    if "\0" in lines:
        people.faults.append(Fault(Place(lines.count("\n", 0, lines.index("\0")) + 1 + skipped), "has a NUL character"))
        return people
    table = _records(lines, delimiter or _delimiter(lines, type), skipped, people.faults)
    head = next(table, None)
    if head is None:
        people.faults.append(Fault(Place(1), "the file is empty: its first line names the columns"))
        return people
    columns = _columns(*head, type, people.faults)
    seen: dict[str, int] = {}
    addresses: dict[str, int] = {}
    line, cells = 1, head[1]
    for line, cells in table:
        if len(people.faults) >= MOST_FAULTS:
            break
        row = _row(line, cells, columns, len(head[1]), people.faults)
        if row is None:
            continue
        before = seen.setdefault(name_key(row.name), line)
        if before != line:
            people.faults.append(Fault(row.at("userName"), f"{row.name} stands on line {before} already"))
        if row.address is not None and (stood := addresses.setdefault(fold(row.address), line)) != line:
            people.faults.append(Fault(row.at("emails"), f"{row.address} is the address on line {stood} already"))
        people.rows.append(row)
    # Spreadsheets leave out empty cells at the end of a line, but never its end.
    if len(cells) < len(head[1]) and not lines.endswith(("\n", "\r")):
        people.faults.append(
            Fault(Place(line), f"has {len(cells)} of {len(head[1])} cells and no end of line: the file looks cut")
        )
    return people


# -- the text ----------------------------------------------------------------------------------------------------------------


def _records(text: str, delimiter: str, skipped: int, faults: list[Fault]) -> Iterator[tuple[int, list[str]]]:
    """(first line, cells) of each record that says anything."""
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1 + skipped
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as exc:
            faults.append(Fault(Place(line), f"is no CSV: {exc} (is a quote missing, or one too many?)"))
            return
        if any(cell.strip() for cell in cells):
            yield line, [cell.strip() for cell in cells]


def _delimiter(text: str, type: ResourceType) -> str:
    """The one that makes the first line name most columns."""
    first = next((line for line in text.splitlines() if line.strip()), "")

    def known(delimiter: str) -> int:
        cells = next(csv.reader([first], delimiter=delimiter), [])
        return sum(_target(cell, type) is not None for cell in cells)

    return max(DELIMITERS, key=lambda each: (known(each), first.count(each)))


# -- the columns -------------------------------------------------------------------------------------------------------------


def asked(said: Mapping[str, str], name: str, type: ResourceType) -> People:
    """One person as if she were the only line of a file with these columns; their numbers are those of the pairs."""
    out = StringIO()
    csv.writer(out).writerows((said.keys(), said.values()))
    people = People()
    head, line = list(csv.reader(StringIO(out.getvalue(), newline="")))
    columns = _columns(1, [*head, "userName"], type, people.faults)
    row = _row(2, [*line, name], columns, len(columns), people.faults)
    people.rows += [] if row is None else [row]
    return people


def columns(names: Iterable[str], type: ResourceType, faults: list[Fault]) -> list[Column]:
    """What these names mean; what none means is a fault."""
    found = []
    for name in names:
        target = _target(name, type)
        if target is None or target[1] is None:
            faults.append(Fault(Place(1, 0, name), f"is no attribute that there is{_meant(name, type)}"))
        else:
            found.append(Column(Place(1, 0, name), *target))
    return found


def _columns(line: int, cells: Sequence[str], type: ResourceType, faults: list[Fault]) -> list[Column | None]:
    """One for each cell of the head; None: its cells say nothing that is read."""
    found: list[Column | None] = []
    taken: dict[tuple[str, str, str], int] = {}
    for number, name in enumerate(cells, 1):
        place = Place(line, number, name)
        if not name or name.startswith("#") or _key(name) in PASSED_OVER:
            found.append(None)
            continue
        target = _target(name, type)
        if target is None:
            faults.append(Fault(place, f"is no column that there is{_meant(name, type)}; `#` in front leaves it out"))
            found.append(None)
            continue
        column = Column(place, *target)
        key = (column.path, column.kind, column.part)
        if key in taken:
            faults.append(Fault(place, f"says the same as column {taken[key]}"))
        taken.setdefault(key, number)
        found.append(column)
    named = {each.path for each in found if each is not None}
    if not faults and not named & {"userName", "emails"}:
        faults.append(Fault(Place(line), "no column userName, and no e-mail address that could be one"))
    return found


def _key(name: str) -> str:
    return "".join(char for char in fold(name) if char.isalnum() or char in ".:")


def _target(name: str, type: ResourceType) -> tuple[str, Resolved | None, str, str] | None:
    """(path, attribute, type of the element, part of it) of a column's name; None if there is none of that name."""
    name = name.strip()
    word = _WORDS.get(_key(name), name)
    if _key(word) in GIVEN:
        return _key(word), None, "", ""
    if _key(word) in ("manager", "managervalue"):
        return MANAGER, type.resolve(MANAGER), "", "value"
    homes = ("", *(f"{schema.id}:" for schema, _ in type.extensions))
    for path in dict.fromkeys((word, _key(word))):
        for home in homes:
            resolved = type.resolve(home + path)
            if resolved is None or resolved.read_only or resolved.attribute.name in ("active", "externalId", "schemas"):
                continue
            if resolved.parent is not None and resolved.parent.multi_valued:
                continue
            if not resolved.attribute.multi_valued and resolved.attribute.type is not Type.COMPLEX:
                return resolved.path, resolved, "", "value"
    head, _, rest = word.partition(".")
    parent = type.resolve(head)
    if parent is None or parent.read_only or not parent.attribute.multi_valued or not rest:
        return None
    kind, _, part = rest.partition(".")
    if parent.attribute.type is not Type.COMPLEX or parent.attribute.sub(part or "value") is None:
        return None
    return parent.path, parent, kind, part or "value"


def _meant(name: str, type: ResourceType) -> str:
    close = get_close_matches(_key(name), [*_WORDS, *map(_key, type.paths), *GIVEN], n=1, cutoff=0.75)
    if not close:
        return ": names are those of SCIM, such as userName, name.givenName, emails.work, title"
    meant = _WORDS.get(close[0]) or next((path for path in type.paths if _key(path) == close[0]), close[0])
    return f"; did you mean {meant}?"


# -- one line ----------------------------------------------------------------------------------------------------------------


def _row(
    line: int, cells: Sequence[str], columns: Sequence[Column | None], width: int, faults: list[Fault]
) -> Row | None:
    if len(cells) > width and any(cells[width:]):
        faults.append(
            Fault(Place(line, width + 1), f"has {len(cells)} cells, and the first line names {width} columns")
        )
        return None
    values: dict[str, Any] = {}
    lists: dict[str, dict[str, dict[str, Any]]] = {}
    given: dict[str, tuple[str, ...]] = {}
    places: dict[str, Place] = {}
    for column, cell in zip(columns, cells, strict=False):
        if column is None or not cell:
            continue
        place = Place(line, column.place.column, column.place.name)
        places.setdefault(column.path, place)
        text = _bare(cell)
        if column.resolved is None:
            parts = (each.strip() for each in text.replace("|", ";").split(";"))
            given[column.path] = tuple(dict.fromkeys(filter(None, parts)))
            continue
        try:
            _set(column, text, values, lists)
        except (InvalidValue, InvalidSyntax) as exc:
            faults.append(Fault(place, str(exc)))
    manager = values.pop(MANAGER, None)
    address = next((str(each["value"]) for each in lists.get("emails", {}).values() if "value" in each), None)
    if address is not None and not is_address(address):
        faults.append(Fault(places["emails"], f"{address[:60]!r} is not an e-mail address such as ann@example.org"))
        del lists["emails"]
    name = str(values.setdefault("userName", address) or "")
    if not name:
        faults.append(Fault(Place(line), "names nobody: userName is empty, and there is no e-mail address"))
        return None
    return Row(line, name, values, lists, given, manager, places)


def _set(column: Column, text: str, values: dict[str, Any], lists: dict[str, dict[str, dict[str, Any]]]) -> None:
    """Raises InvalidValue."""
    resolved = column.resolved
    assert resolved is not None
    if resolved.attribute.multi_valued:
        element: dict[str, Any] = {column.part: _typed(resolved.attribute.sub(column.part), text)}
        canonical_value(resolved, [{"type": column.kind, **element}], "refuse")
        lists.setdefault(column.path, {}).setdefault(column.kind, {}).update(element)
        return
    values[column.path] = canonical_value(resolved, _typed(resolved.attribute, text))


def _typed(attribute: Any, text: str) -> Any:
    """The JSON value that a cell means; what it is not, `canonical_value` refuses."""
    if attribute.type is Type.BOOLEAN and text.lower() in ("true", "false", "yes", "no"):
        return text.lower() in ("true", "yes")
    if attribute.type in (Type.INTEGER, Type.DECIMAL):
        for number in (int, float):
            try:
                return number(text)
            except ValueError:
                continue
    return text


# -- the other way -----------------------------------------------------------------------------------------------------------


def safe(cell: str) -> str:
    """A spreadsheet shows it and computes nothing."""
    return f"'{cell}" if cell.lstrip("'").startswith(_FORMULA) else cell


def _bare(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(_FORMULA) else cell


def written(cells: Iterable[str]) -> str:
    """One line of a file that `read` reads."""
    out = StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(map(safe, cells))
    return out.getvalue()
