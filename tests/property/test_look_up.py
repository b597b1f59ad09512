"""The short way to whoever has one value is the general one: its text, its query and its answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncd.core.filter import Filter, bind, parse, parse_filter
from syncd.core.schema import ENTERPRISE_USER, GROUP, SYNCD_USER, USER, ResourceType
from syncd.errors import SyncdError
from syncd.scim.messages import ListQuery, parse_query, parse_query_string
from web_service import Service

PATHS = ("userName", "USERNAME", "id", "externalId", "emails", "emails.value", f"{USER.schema.id}:userName")
OTHERS = (
    "active",
    "meta.created",
    "name",
    "password",
    "nickname",
    "groups.value",
    "members",
    "displayName",
    "not",
    "x",
)
LONGER = (f"{ENTERPRISE_USER}:department", f"{ENTERPRISE_USER}:manager.value", "phoneNumbers", "title", "schemas")
values = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8) | st.sampled_from(
    ("ann", "ANN", "b\\u0041", 'q"', "true", "2026-01-01T00:00:00Z", "\\", "é", "e\u0301", "x" * 201)
)
spaces = st.sampled_from((" ", "  ", "\t", ""))
texts = st.builds(
    lambda front, path, one, op, two, value, back: f'{front}{path}{one}{op}{two}"{value}"{back}',
    *(
        spaces,
        st.sampled_from(PATHS + OTHERS + LONGER),
        spaces,
        st.sampled_from(("eq", "EQ", "ne")),
        spaces,
        values,
        spaces,
    ),
)


def general(text: str, type: ResourceType) -> Filter | str:
    try:
        return Filter(text, bind(parse(text), type))
    except SyncdError as exc:
        return str(exc)


@pytest.mark.parametrize("type", [USER, GROUP])
@given(text=texts)
def test_a_text_is_bound_as_it_always_is(type: ResourceType, text: str) -> None:
    try:
        short: Filter | str = parse_filter(text, type)
    except SyncdError as exc:
        short = str(exc)
    assert short == general(text, type)


ASKED = ("filter", "Filter", "count", "startIndex", "attributes", "excludedAttributes", "sortBy", "cursor", "x")
SAID = ("", "1", "-3", "1e", "userName", "name.givenName,title", " ", 'userName eq "a+b"', "é%", "%41")
ENCODINGS = (quote, quote_plus, lambda text: quote(text, safe='%" '))
parameters = st.lists(st.tuples(st.sampled_from(ASKED), st.sampled_from(SAID)), max_size=4)
encoded = st.builds(
    lambda pairs, quoted, more: ("&".join(f"{name}={quoted(value)}" for name, value in pairs) + more).encode("latin-1"),
    *(parameters, st.sampled_from(ENCODINGS), st.sampled_from(("", "&", "&a", "é"))),
)


def asked(raw: bytes) -> ListQuery | str:
    try:
        return parse_query(parse_qsl(raw.decode("latin-1"), keep_blank_values=True))
    except SyncdError as exc:
        return str(exc)


@given(encoded)
def test_a_query_is_read_as_it_always_is(raw: bytes) -> None:
    for _ in range(2):  # what is remembered too
        try:
            short: ListQuery | str = parse_query_string(raw)
        except SyncdError as exc:
            short = str(exc)
        assert short == asked(raw)


NAMES = ("Ann", "bob", "É", "s" * 250)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, list[str]]]:
    service = Service(f"sqlite:///{tmp_path_factory.mktemp('look_up')}/syncd.db")
    ids = []
    for n, name in enumerate(NAMES):
        emails = [{"value": f"{name.lower()}@example.org"}, {"value": "shared@example.org", "type": "home"}]
        ids.append(service.user(name, externalId=f"x{n}", emails=emails, title="t" * n)["id"])
    service.group("crm", *ids[:2])
    service.ask("DELETE", f"Users/{ids[1]}")
    yield service, ids
    service.close()


VALUES = (*NAMES, "ANN", "é", "e\u0301", "x0", "x1", "x9", "", "shared@example.org", "ANN@example.org")
MORE: list[dict[str, Any]] = [{}, {"count": 1}, {"count": 0}, {"startIndex": 2}, {"startIndex": 9}]
MORE += [{"attributes": "userName,groups"}, {"excludedAttributes": "groups"}, {"attributes": f"{SYNCD_USER}:status"}]


@given(st.sampled_from(PATHS), st.sampled_from(VALUES) | st.integers(0, 3), st.sampled_from(MORE))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_the_answer_is_the_general_one(
    people: tuple[Service, list[str]], path: str, value: str | int, more: dict[str, Any]
) -> None:
    """A condition in brackets is one like any other."""
    service, ids = people
    text = f'{path} eq "{ids[value] if isinstance(value, int) else value}"'

    def answer(filter: str) -> httpx.Response:
        return service.ask("GET", "Users", filter=filter, **more)

    short, again, whole = answer(text), answer(text), answer(f"({text}) or ({text})")
    assert (short.status_code, short.content) == (again.status_code, again.content)
    assert (short.status_code, short.content) == (whole.status_code, whole.content)


GROUP_PATHS = ("displayName", "DISPLAYNAME", "id", "externalId")
GROUP_MORE: list[dict[str, Any]] = [{}, {"count": 1}, {"startIndex": 2}, {"excludedAttributes": "members"}]
GROUP_MORE += [{"attributes": "displayName"}, {"count": 1, "excludedAttributes": "members"}]


@given(
    st.sampled_from(GROUP_PATHS),
    st.sampled_from(("Sales", "sales", "x7", "X7", "É", "", "none")),
    st.sampled_from(GROUP_MORE),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_the_answer_about_groups_is_the_general_one(
    people: tuple[Service, list[str]], path: str, value: str, more: dict[str, Any]
) -> None:
    service, ids = people
    if "Sales" not in service.names(path="Groups"):
        first = service.group("Sales", ids[0], externalId="x7")["id"]
        service.group("sales", ids[2], first, token=service.make_token("entra"))
        service.group("É")
    for text in (f'{path} eq "{value}"', f'id eq "{service.ask("GET", "Groups").json()["Resources"][0]["id"]}"'):
        short = service.ask("GET", "Groups", filter=text, **more)
        whole = service.ask("GET", "Groups", filter=f"({text}) or ({text})", **more)
        assert (short.status_code, short.content) == (whole.status_code, whole.content)
