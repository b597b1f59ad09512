"""LDIF records and the marks of a whole file (RFC 2849), from bytes."""

import base64
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.errors import InvalidSyntax
from syncd.ldap.ldif import LdifReader, Record


def records(text: str | bytes) -> list[Record]:
    return list(LdifReader(io.BytesIO(text.encode() if isinstance(text, str) else text)))


def wrong(text: str | bytes, **limits: int) -> str:
    with pytest.raises(InvalidSyntax) as error:
        list(LdifReader(io.BytesIO(text.encode() if isinstance(text, str) else text), **limits))
    return str(error.value)


def test_the_first_example_of_rfc_2849() -> None:
    found = records(
        "version: 1\n"
        "dn: cn=Barbara Jensen, ou=Product Development, dc=airius, dc=com\n"
        "objectclass: top\nobjectclass: person\ncn: Barbara Jensen\n"
        "description:Babs is a big sailing fan, and travels extensively in sea\n"
        " rch of perfect sailing conditions.\n"
        "\n\n"
        "dn: cn=Bjorn Jensen, ou=Accounting, dc=airius, dc=com\nobjectclass: top\n"
    )
    assert [one.dn.split(b",")[0] for one in found] == [b"cn=Barbara Jensen", b"cn=Bjorn Jensen"]
    assert found[0].attributes["objectclass"] == (b"top", b"person")
    assert found[0].attributes["description"][0].endswith(b"in search of perfect sailing conditions.")
    assert (found[0].line, found[1].line) == (1, 10)


def test_base64_names_with_options_and_crlf() -> None:
    (found,) = records("dn:: Y249WsOr\r\ncn;lang-de: Zo\xeb\r\nuserCertificate;binary:: AP8=\r\ncn:\r\n")
    assert found.dn == "cn=Zë".encode()
    assert found.attributes == {"cn;lang-de": ("Zoë".encode(),), "userCertificate;binary": (b"\0\xff",), "cn": (b"",)}


def test_comments_fold_too_and_may_stand_inside_a_record() -> None:
    (found,) = records("# a comment\n that goes on\ndn: cn=a\n# inside\n still a comment\ncn: a\n b\n")
    assert found.attributes == {"cn": (b"ab",)}


def test_an_offset_finds_its_record_again() -> None:
    text = b"# head\n\ndn: cn=a\ncn: a\n\n# between\ndn: cn=b\ncn: b\n\n"
    stream = io.BytesIO(text)
    for record in list(LdifReader(stream)):
        stream.seek(record.offset)
        assert next(iter(LdifReader(stream, line=record.line - 1))) == record


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dn: cn=a\ncn a\n", "line 2: neither"),
        ("dn: cn=a\nc\xf6: a\n", "line 2: neither"),
        (" x\n", "line 1: a continuation line with nothing before it"),
        ("cn: a\ndn: cn=a\n", "line 1: a record must begin with dn:"),
        ("version: 2\n", "line 1: only version 1"),
        ("dn: cn=a\nchangetype: modify\nreplace: cn\n", "line 2: a change record"),
        ("dn: cn=a\ncn: a\ndn: cn=b\ncn: b\n", "line 3: a second dn:"),
        ("dn: cn=a\ncn: a\n\nn: Bob\n", "line 4: a record must begin with dn:"),
        ("result: good\n", "line 1: a result without a number"),
    ],
)
def test_a_damaged_line_is_named(text: str, message: str) -> None:
    assert wrong(text).startswith(message)


def test_sizes_are_bounded() -> None:
    assert "more than 1,048,576 bytes" in wrong(b"dn: cn=a\ncn: " + b"a" * (1 << 20) + b"\n")
    assert "the record has more than 100 bytes" in wrong("dn: cn=a\n" + "cn: abcdefgh\n" * 50, max_record_bytes=100)


def test_a_value_that_cannot_be_used_spoils_its_record_only() -> None:
    first, second, third = records(
        "dn: cn=a\njpegPhoto:< file:///etc/passwd\n\ndn: cn=b\ncn:: ???\n\ndn: cn=c\ncn: c\n"
    )
    assert (
        first.problem == ("line 2: jpegPhoto: a value by URL is not fetched; write the value into the file")
        and second.problem == "line 5: cn: not base64"
    )
    assert third.problem is None


DUMP = "dn: cn=a\ncn: a\n\ndn: cn=b\ncn: b\n\n"
SUCCESS = "# search result\nsearch: 2\nresult: 0 Success\n\n# numResponses: 3\n"


@pytest.mark.parametrize(
    ("tail", "present", "problem"),
    [
        ("", False, None),
        (SUCCESS, True, None),
        (SUCCESS + "# numEntries: 2\n", True, None),
        ("# numEntries: 2\n", True, None),
        ("# numEntries: 3\n", True, "it says it has 3 entries and has 2"),
        ("# search result\n\n# numResponses: 3\n# numEntries: 2\n", False, None),  # ldapsearch -L, perhaps a size limit
        (
            "# search result\nsearch: 2\nresult: 4 Size limit exceeded\n\n# numEntries: 2\n",
            True,
            "Size limit exceeded (4)",
        ),
        ("# search reference\nref: ldap://dc2/\n\n" + SUCCESS + "# numEntries: 2\n", True, "1 parts of the tree"),
        ("# search result\nsearch: 2\nresult: 0 Success\npagedresults: cookie=AAA=\n\n", True, "more pages follow"),
        (SUCCESS + "dn: cn=c\ncn: c\n", True, "1 entries follow its last end mark"),
        ("# numEntries: 2\n\ndn: cn=c\ncn: c\n\n# numEntries: 1\n", True, None),  # two dumps put together
        ("# numEntries: 2\n\ndn: cn=c\ncn: c\n\n", True, "it says it has 2 entries and has 3"),
    ],
)
def test_marks_of_a_whole_file(tail: str, present: bool, problem: str | None) -> None:
    reader = LdifReader(io.BytesIO((DUMP + tail).encode()))
    assert len(list(reader)) == reader.marks.entries
    assert reader.marks.present is present
    said = "; ".join(reader.marks.problems())
    assert (problem in said) if problem else not said


def test_pages_of_ldapsearch() -> None:
    page = "\n# search result\nsearch: 3\nresult: 0 Success\ncontrol: 1.2.840.113556.1.4.319 false MA0=\npagedresults: cookie="
    reader = LdifReader(
        io.BytesIO((f"{DUMP}{page}CgA=\n# extended LDIF\n#\n\n" + DUMP + page + "\n\n# numEntries: 4\n").encode())
    )
    assert len(list(reader)) == 4 and reader.marks.present and not reader.marks.problems()


def test_a_last_line_without_an_end() -> None:
    reader = LdifReader(io.BytesIO(b"dn: cn=a\nmail: a@example.o"))
    assert len(list(reader)) == 1 and reader.marks.unended_line


VALUE = st.binary(max_size=200)


@given(
    st.lists(st.tuples(st.sampled_from(["cn", "description", "mail"]), VALUE), min_size=1, max_size=5),
    st.integers(2, 80),
)
def test_what_is_written_is_read(pairs: list[tuple[str, bytes]], width: int) -> None:
    lines = ["dn: cn=a"]
    for name, value in pairs:
        line = f"{name}:: {base64.b64encode(value).decode()}"
        lines.append(line[:width] + "".join(f"\n {line[at : at + width]}" for at in range(width, len(line), width)))
    (found,) = records("\n".join(lines) + "\n")
    for name in {name for name, _ in pairs}:
        assert found.attributes[name] == tuple(value for other, value in pairs if other == name)


@given(st.binary(max_size=80) | st.text("dn: =a#\n:<v1resultcg;", max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused_by_line(text: bytes) -> None:
    try:
        records(text)
    except InvalidSyntax as error:
        assert str(error).startswith("line ")
