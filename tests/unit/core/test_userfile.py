"""A file of people: what spreadsheets save is read, every fault has its place, and what is written is read back."""

from __future__ import annotations

import csv
from io import StringIO

import pytest

from syncd.core.schema import ENTERPRISE_USER, SYNCD_USER, USER
from syncd.core.userfile import People, decoded, read, safe, written
from syncd.errors import InvalidValue


def faults(text: str) -> list[str]:
    return [str(each) for each in read(text, USER).faults]


def good(text: str) -> People:
    people = read(text, USER)
    assert people.faults == []
    return people


def test_the_words_people_use_are_columns() -> None:
    said = {
        **{"E-Mail": "ann@example.org", "First Name": "Ann", "last_name": "Lee", "Phone": "+49 1", "Mobile": "+49 2"},
        **{"Position": "Lead", "Time zone": "Europe/Berlin", "Language": "de", "Department": "Sales"},
        **{"User kind": "internal", "Manager": "boss", "Role": "member|viewer", "Licences": "crm; internal"},
        "Photo": "https://x/y",
    }
    [row] = good(f"{','.join(said)}\n{','.join(said.values())}\n").rows
    assert row.values == {
        **{"userName": "ann@example.org", "name.givenName": "Ann", "name.familyName": "Lee", "title": "Lead"},
        **{"timezone": "Europe/Berlin", "preferredLanguage": "de"},
        **{f"{ENTERPRISE_USER}:department": "Sales", f"{SYNCD_USER}:kind": "internal"},
    }
    assert row.lists == {
        "emails": {"work": {"value": "ann@example.org"}},
        "phoneNumbers": {"work": {"value": "+49 1"}, "mobile": {"value": "+49 2"}},
        "photos": {"photo": {"value": "https://x/y"}},
    }
    assert (row.manager, row.given) == ("boss", {"roles": ("member", "viewer"), "seats": ("crm", "internal")})


def test_the_names_of_scim_are_columns_too() -> None:
    head = f"userName;emails.home;addresses.work.country;{ENTERPRISE_USER}:costCenter;#note;id;status;locale"
    [row] = good(f"{head}\nann;a@example.org;DE;12;whatever;7;active;de-AT\n").rows
    assert row.values == {"userName": "ann", f"{ENTERPRISE_USER}:costCenter": "12", "locale": "de-AT"}
    assert row.lists == {
        "emails": {"home": {"value": "a@example.org"}},
        "addresses": {"work": {"country": "DE"}},
    }


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff", "sep={}\r\n"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_spreadsheets_save(delimiter: str, mark: str, end: str) -> None:
    cells = [["user name", "title"], ["ann", f"Lead{delimiter} and more"], ["", ""], ["bob", 'a "b"']]
    out = StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator=end).writerows(cells)
    people = good(mark.format(delimiter) + out.getvalue())
    assert [(row.name, row.values["title"]) for row in people.rows] == [
        ("ann", f"Lead{delimiter} and more"),
        ("bob", 'a "b"'),
    ]
    assert people.rows[1].line == (5 if mark.startswith("sep") else 4)


@pytest.mark.parametrize(
    ("content", "note"),
    [
        ("userName\nJürgen\n".encode(), None),
        ("userName\nJürgen\n".encode("utf-8-sig"), None),
        ("userName\nJürgen\n".encode("utf-16"), "read as UTF-16"),
        ("userName\nJürgen\n".encode("cp1252"), "read as Windows-1252, since line 2 is not UTF-8"),
    ],
)
def test_encodings(content: bytes, note: str | None) -> None:
    text, found = decoded(content)
    assert found == note and good(text).rows[0].name == "Jürgen"


def test_encodings_that_are_none() -> None:
    with pytest.raises(InvalidValue, match="line 2 is neither UTF-8 nor Windows-1252"):
        decoded(b"userName\n\x81\xff\n")
    with pytest.raises(InvalidValue, match="not latin-17"):
        decoded(b"userName", "latin-17")
    with pytest.raises(InvalidValue, match="begins as UTF-16"):
        decoded(b"\xff\xfea")


def test_faults_are_told_by_line_and_column_all_together() -> None:
    text = "\n".join(
        [
            "userName,emails.work,title",
            "ann,ann@example.org,Lead",
            "bob,bob at example,",
            "ANN,,",
            ",,Boss",
            "cy,ANN@example.org,",
            "dan,,,,x",
        ]
    )
    assert faults(text) == [
        "line 3, column 2 (emails.work): 'bob at example' is not an e-mail address such as ann@example.org",
        "line 4, column 1 (userName): ANN stands on line 2 already",
        "line 5: names nobody: userName is empty, and there is no e-mail address",
        "line 6, column 2 (emails.work): ANN@example.org is the address on line 2 already",
        "line 7, column 4: has 5 cells, and the first line names 3 columns",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1: the file is empty"),
        ("userName,title\nann,Lead\nbob", "line 3: has 1 of 2 cells and no end of line: the file looks cut"),
        ("userName,usrName\n", "line 1, column 2 (usrName): is no column that there is; did you mean userName?"),
        ("userName,password\n", "column 2 (password): is no column"),
        ("userName,active\n", "column 2 (active): is no column"),
        ("userName,groups.value\n", "column 2 (groups.value): is no column"),
        ("userName,E-Mail,mail\n", "column 3 (mail): says the same as column 2"),
        ("title\nLead\n", "line 1: no column userName"),
        ('userName,title\nann,"Lead\n', "line 2: is no CSV"),
        ('userName,title\nann,"Lead"x\n', "line 2: is no CSV"),
        ("userName\nan\0n\n", "line 2: has a NUL character"),
    ],
)
def test_what_is_no_file_of_people(text: str, says: str) -> None:
    assert any(says in each for each in faults(text)), faults(text)


def test_the_line_of_a_fault_counts_those_within_quotes() -> None:
    assert faults('userName,title,email\nann,"two\nlines",\nbob,,no\n') == [
        "line 4, column 3 (email): 'no' is not an e-mail address such as ann@example.org"
    ]


def test_no_more_than_a_hundred_faults_are_collected() -> None:
    assert len(faults("userName,email\n" + "".join(f"u{n},no\n" for n in range(500)))) == 100


@pytest.mark.parametrize("value", ["=1+1", "+49 1", "-1", "@sum", "'=x", "plain", "'quoted'", 'a "b"', "a,b"])
def test_what_a_spreadsheet_would_compute_is_written_as_text_and_read_back(value: str) -> None:
    assert safe(value)[0] not in "=+-@"
    text = written(("userName", "title")) + written(("ann", value))
    [row] = good(text).rows
    assert row.values["title"] == value
