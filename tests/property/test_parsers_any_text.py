"""Whatever a client sends, a parser takes it or names what is wrong with it: never another error, and never for long."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from syncd.core import userfile
from syncd.core.filter import compile, parse_filter
from syncd.core.schema import GROUP, RULE_USER, USER
from syncd.errors import InvalidValue, SyncdError
from syncd.scim import messages, path

# Words of the grammars, so that many of the texts are nearly right.
_WORDS = st.sampled_from(
    (
        *(
            "userName",
            "emails",
            "members",
            "name.givenName",
            "groups",
            "urn:ietf:params:scim:schemas:core:2.0:User:title",
        ),
        *(
            "eq",
            "ne",
            "co",
            "sw",
            "pr",
            "gt",
            "and",
            "or",
            "not",
            "(",
            ")",
            "[",
            "]",
            ".",
            '"',
            '"ann"',
            "\\",
            "true",
            "null",
        ),
        *(
            "1e9",
            "-1",
            "9" * 30,
            "\\u00e9",
            "\x00",
            "é",
            " ",
            "  ",
            "\n",
            "value",
            "$ref",
            "type",
            "2026-11-21T00:00:00Z",
        ),
    )
)
TEXT = st.text(max_size=30) | st.lists(_WORDS, max_size=12).map(" ".join) | st.lists(_WORDS, max_size=12).map("".join)
_NAMES = ("schemas", "Operations", "op", "path", "value", "filter", "startIndex", "count", "attributes", "userName")
_LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.sampled_from(("add", "urn:ietf:params:scim:x"))
)
JSON = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(_NAMES) | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=12,
)


def taken_or_refused(parse, *given) -> object:
    try:
        return parse(*given)
    except SyncdError as exc:
        assert 400 <= exc.status < 500 and exc.detail.encode()
        return None


@given(TEXT)
def test_filters(text: str) -> None:
    for resource_type in (USER, GROUP, RULE_USER):
        found = taken_or_refused(parse_filter, text, resource_type)
        if found is not None:
            compile(found)({})


@given(TEXT)
def test_paths(text: str) -> None:
    for resource_type in (USER, GROUP):
        taken_or_refused(path.parse, text, resource_type)


@given(st.lists(st.tuples(st.sampled_from(_NAMES) | TEXT, TEXT), max_size=5))
def test_queries(parameters: list[tuple[str, str]]) -> None:
    taken_or_refused(messages.parse_query, parameters)


def parse_patch(body: bytes) -> object:
    return messages.patch_operations(messages.parse_object(body))


@given(st.binary(max_size=60) | TEXT.map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_bodies_of_any_bytes(body: bytes) -> None:
    for parse in (messages.parse_object, parse_patch, messages.parse_search_request):
        taken_or_refused(parse, body)


@given(JSON)
def test_bodies_of_any_json(value: object) -> None:
    import json

    body = json.dumps(value).encode()
    for parse in (messages.parse_object, parse_patch, messages.parse_search_request):
        taken_or_refused(parse, body)


@given(st.integers(1, 3000), st.sampled_from(("(", "not (", "[", 'emails[type eq "work" and ', "{", "\\")))
def test_what_is_nested_or_repeated_without_end(times: int, word: str) -> None:
    for text in (word * times, f'userName eq "a" and {word * times}'):
        taken_or_refused(parse_filter, text, USER)
        taken_or_refused(path.parse, text, USER)
    for body in (b"[" * times, b'{"a":' * times, b'{"a":' * times + b"1" + b"}" * times):
        taken_or_refused(messages.parse_object, body)


_CELLS = st.sampled_from(
    (
        *("userName", "E-Mail", "emails.work", "role", "manager", "title", "phoneNumbers.x", "addresses.work.country"),
        *(
            ",",
            ";",
            "\t",
            "\n",
            "\r\n",
            '"',
            "'",
            "=1",
            "ann",
            "ann@example.org",
            "|",
            "\ufeff",
            "sep=;",
            "\x00",
            "é",
            "#",
        ),
    )
)


@given(st.lists(_CELLS, max_size=40).map("".join))
def test_a_file_of_people(text: str) -> None:
    """Whatever it is: people with names, or faults that have a place."""
    people = userfile.read(text, USER)
    assert people.faults or all(row.name for row in people.rows)
    assert all(each.place.line >= 1 for each in people.faults)


@given(st.binary(max_size=60))
def test_the_bytes_of_a_file_of_people(content: bytes) -> None:
    with contextlib.suppress(InvalidValue):
        userfile.read(userfile.decoded(content)[0], USER)
