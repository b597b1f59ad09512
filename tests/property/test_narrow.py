"""An LDAP filter made of a SCIM filter loses nobody: every entry whose values the SCIM filter matches matches it too."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from syncd.core.filter import compile as compile_filter
from syncd.core.filter import parse_filter
from syncd.core.resource import search_view
from syncd.core.schema import USER
from syncd.core.snapshot import Entry
from syncd.ldap.narrow import NOBODY, narrowed
from syncd.reconcile.mapping import compile_mapping

MAPPING = compile_mapping(
    {"userName": "uid", "emails.work": ["mail", "otherMail"], "title": "title", "displayName": "{uid} {title}"}
)
TEXT = st.text(st.sampled_from("abAB*()\\ é\u0301Ö.@"), min_size=1, max_size=5).filter(lambda text: text.strip())
OPERATORS = st.sampled_from(["eq", "ne", "co", "sw", "ew", "pr"])
PATHS = st.sampled_from(["userName", "emails", "emails.value", "title", "displayName", "id"])


@st.composite
def conditions(draw: st.DrawFn) -> str:
    path, operator = draw(PATHS), draw(OPERATORS)
    if operator == "pr":
        return f"{path} pr"
    text = draw(TEXT).replace("\\", "\\\\")
    return f'{path} {operator} "{text}"'


FILTERS = st.recursive(
    conditions(),
    lambda inner: st.one_of(
        st.builds(lambda a, b: f"({a}) and ({b})", inner, inner),
        st.builds(lambda a, b: f"({a}) or ({b})", inner, inner),
        st.builds(lambda a: f"not ({a})", inner),
        st.builds(lambda text: f'emails[value co "{text.replace(chr(92), chr(92) * 2)}"]', TEXT),
    ),
    max_leaves=4,
)
VALUES = st.lists(TEXT, max_size=2)


def holds(text: str, attributes: dict[str, list[str]]) -> bool:
    """What a directory makes of it, for the few forms there are: case does not count, and no more than that."""
    inner = text[1:-1]
    if inner[0] in "&|!":
        parts = [holds(part, attributes) for part in _parts(inner[1:])]
        return all(parts) if inner[0] == "&" else any(parts) if inner[0] == "|" else not parts[0]
    name, _, value = inner.partition("=")
    pattern = "".join(".*" if piece == "*" else re.escape(_plain(piece)) for piece in re.split(r"(\*)", value))
    return any(re.fullmatch(pattern, each, re.IGNORECASE | re.DOTALL) for each in attributes.get(name, []))


def _plain(piece: str) -> str:
    return re.sub(r"(?:\\[0-9a-f]{2})+", lambda found: bytes.fromhex(found[0].replace("\\", "")).decode(), piece)


def _parts(text: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for at, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if char == ")" and depth == 0:
            parts.append(text[start : at + 1])
            start = at + 1
    return parts


@given(FILTERS, TEXT, VALUES, VALUES, VALUES)
def test_every_match_is_asked_for(text: str, uid: str, mail: list[str], other: list[str], title: list[str]) -> None:
    wanted = parse_filter(text, USER)
    found = narrowed(wanted.bound, MAPPING.names)
    written = {"uid": [uid], "mail": mail, "otherMail": other, "title": title, "objectClass": ["person"]}
    raw = {name.lower(): tuple(value.encode() for value in values) for name, values in written.items() if values}
    values = MAPPING.user(Entry("user", "k", f"uid={len(uid)}", raw)).values
    if found is not None and compile_filter(wanted)(search_view(values, USER)):
        assert holds(found, {name: [each.strip() for each in values] for name, values in written.items()})


def test_the_forms_as_they_are_sent() -> None:
    asked = {
        'userName eq "Alice"': "(uid=alice)",
        'userName sw "a*"': "(uid=a\\2a*)",
        'userName eq "müller"': "(uid=m*ller)",
        'emails.value eq "a@b.example"': "(|(mail=a@b.example)(otherMail=a@b.example))",
        'emails[value eq "x" and type eq "work"]': "(|(mail=x)(otherMail=x))",
        'userName eq "a" and displayName co "b"': "(uid=a)",
        'userName eq "a" or title pr': "(|(uid=a)(title=*))",
        'id eq "x"': NOBODY,
    }
    assert {text: narrowed(parse_filter(text, USER).bound, MAPPING.names) for text in asked} == asked
    for text in ('displayName eq "x"', 'not (userName eq "x")', 'userName eq "a" or displayName eq "x"'):
        assert narrowed(parse_filter(text, USER).bound, MAPPING.names) is None
