from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.core.resource import canonical, canonical_value, flatten, fold, instant, name_key, search_view, unflatten
from syncd.core.schema import CORE_USER, ENTERPRISE_USER, GROUP, USER
from syncd.errors import InvalidSyntax, InvalidValue, SyncdError

DEPARTMENT, MANAGER = f"{ENTERPRISE_USER}:department", f"{ENTERPRISE_USER}:manager.value"


def _of(**attributes: Any) -> dict[str, Any]:
    return {k: v for k, v in canonical({"userName": "u", **attributes}, USER).items() if k != "userName"}


def test_names_are_spelt_canonically_and_complex_values_spread() -> None:
    document = {
        "SCHEMAS": [CORE_USER, ENTERPRISE_USER],
        "USERNAME": "BJensen",
        "name": {"GIVENNAME": "Barbara"},
        "name.familyName": "Jensen",
        "Emails": [{"TYPE": "work", "Value": "B@x.org"}],
        ENTERPRISE_USER.lower(): {"Department": "Sales", "manager": {"value": "26", "displayName": "John"}},
        f"{ENTERPRISE_USER}:division": "EU",
    }
    assert canonical(document, USER) == {
        "userName": "BJensen",
        "name.givenName": "Barbara",
        "name.familyName": "Jensen",
        "emails": [{"type": "work", "value": "B@x.org"}],
        DEPARTMENT: "Sales",
        MANAGER: "26",
        f"{ENTERPRISE_USER}:division": "EU",
    }


@pytest.mark.parametrize("value", [{"value": "26"}, {"Value": "26", "$ref": None}])
def test_the_forms_of_a_manager(value: Any) -> None:
    assert _of(**{ENTERPRISE_USER: {"manager": value}}) == {MANAGER: "26"}


@pytest.mark.parametrize("value", [None, "", [], {}, {"value": ""}, {"displayName": "readOnly"}])
def test_an_empty_manager_is_none(value: Any) -> None:
    assert _of(**{ENTERPRISE_USER: {"manager": value}}) == {}


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ({"active": False}, {"active": False}),
        ({"emails": {"value": "a@x"}}, {"emails": [{"value": "a@x"}]}),
        ({"emails": [{"VALUE": "a@x"}, {"value": "a@x"}]}, {"emails": [{"value": "a@x"}]}),
        ({"emails": [{}, None, ""]}, {}),
        ({"title": None, "nickName": "", "emails": [], "name": {"givenName": None}}, {}),
        ({"id": "x", "meta": {"version": "1"}, "groups": [{"value": "g"}]}, {}),
        ({"nope": 1, "name": {"nope": 1}, "password": "p"}, {}),
    ],
)
def test_other_spellings_of_the_same(sent: dict[str, Any], kept: dict[str, Any]) -> None:
    assert _of(**sent) == kept


@pytest.mark.parametrize(
    ("sent", "where"),
    [
        ({"userName": None}, "userName is required"),
        ({"userName": "  "}, "userName is required"),
        ({"userName": 1}, "userName must be a string, not a number"),
        ({"USERNAME": "twice"}, "userName is given twice"),
        ({"active": "true"}, 'active must be true or false, not "true"'),
        ({"active": 1}, "active must be true or false"),
        ({"name": "Barbara"}, "name is an object"),
        ({"name": {"givenName": ["a"]}}, "name.givenName must be a string, not an array"),
        ({"name": {"givenName": "a", "GIVENNAME": "b"}}, "name.givenName is given twice"),
        ({"name": {"givenName": "a"}, "name.givenName": "b"}, "name.givenName is given twice"),
        ({"NAME.givenname": "a", "name": {"givenName": "b"}}, "name.givenName is given twice"),
        ({ENTERPRISE_USER: {"department": "a"}, DEPARTMENT: "b"}, "department is given twice"),
        ({"emails": [{"value": "a", "primary": True}, {"value": "b", "primary": True}]}, "emails has more than one"),
        ({"emails": [[], [1]]}, "emails[1] is an object, not an array"),
        ({"emails": ["a@x"]}, 'emails[0] is an object, not "a@x"'),
        ({"emails": [{"value": {"a": 1}}]}, "emails[0].value must be a string, not an object"),
        ({"title": "a\x00"}, "title holds a NUL"),
        ({"emails": [{"value": "\ud800"}]}, "emails[0].value holds a NUL or half"),
        ({"x509Certificates": [{"value": "no base64!"}]}, "x509Certificates[0].value must be base64"),
        ({ENTERPRISE_USER: {"manager": "26"}}, 'manager is an object, not "26"'),
        ({ENTERPRISE_USER: {"manager": [{"value": "26"}]}}, "manager is an object, not an array"),
        ({ENTERPRISE_USER: "x"}, "is an object"),
    ],
)
def test_wrong_values_are_refused_by_path(sent: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidValue) as raised:
        canonical({"userName": "u", **sent}, USER)
    assert any(part in str(raised.value) for part in where.split("|"))


@pytest.mark.parametrize("sent", [{"nope": 1}, {"name": {"nope": 1}}, {"password": "p"}, {"emails.value": "a"}])
def test_unknown_names_are_refused_on_request(sent: dict[str, Any]) -> None:
    with pytest.raises(InvalidSyntax, match="is not a"):
        canonical({"schemas": [CORE_USER], "userName": "u", **sent}, USER, unknown="refuse")


def test_a_part_needs_no_user_name() -> None:
    assert canonical({"active": False}, USER, partial=True) == {"active": False}


def test_members_are_deduplicated_and_lose_what_the_server_makes() -> None:
    members = [{"value": "1", "$ref": None, "display": "x"}, {"VALUE": "1"}, {"value": "2", "type": "User"}]
    assert canonical({"displayName": "g", "members": members}, GROUP)["members"] == [
        {"value": "1"},
        {"value": "2", "type": "User"},
    ]


def test_one_value_for_a_path() -> None:
    emails = USER.resolve("emails")
    assert emails is not None
    assert canonical_value(emails, {"value": "a", "PRIMARY": False}) == [{"value": "a", "primary": False}]
    assert canonical_value(emails, []) is None


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["value", "type", "primary", "givenName", "manager", "VALUE"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)
NAMES = [
    "userName",
    "active",
    "name",
    "name.givenName",
    "emails",
    "x509Certificates",
    ENTERPRISE_USER,
    DEPARTMENT,
    "schemas",
]


@given(st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=3), json_values, max_size=5) | json_values)
def test_any_json_is_taken_or_refused_by_name(document: Any) -> None:
    for unknown in ("ignore", "refuse"):
        try:
            values = canonical(document, USER, unknown)  # type: ignore[arg-type]
        except SyncdError as refused:
            str(refused).encode()
            continue
        assert flatten(unflatten(values, USER), USER) == values
        assert canonical(unflatten(values, USER), USER, "refuse") == values
        search_view(values, USER)


def test_a_document_names_the_extensions_it_uses() -> None:
    assert unflatten({"userName": "u"}, USER)["schemas"] == [CORE_USER]
    document = unflatten({"userName": "u", MANAGER: "26", "name.givenName": "B"}, USER)
    assert document == {
        "schemas": [CORE_USER, ENTERPRISE_USER],
        "userName": "u",
        "name": {"givenName": "B"},
        ENTERPRISE_USER: {"manager": {"value": "26"}},
    }


def test_the_search_view_holds_what_comparisons_see() -> None:
    values = {"userName": "BJe\u0301", "name.givenName": "ẞ", "externalId": "Ab", "active": False, MANAGER: "X"}
    view = search_view(
        {**values, "emails": [{"value": "A@X", "primary": True}]},
        USER,
        id="AbC",
        meta={"lastModified": "2011-05-13T06:42:34+02:00"},
        groups=[{"value": "G1", "display": "Tour GUIDES"}],
    )
    assert view == {
        "schemas": [CORE_USER.lower(), ENTERPRISE_USER.lower()],
        "username": "bjé",
        "name": {"givenname": "ss"},
        "externalid": "Ab",
        "active": False,
        f"{ENTERPRISE_USER}:manager".lower(): {"value": "X"},
        "emails": [{"value": "a@x", "primary": True}],
        "id": "AbC",
        "meta": {"lastmodified": "2011-05-13T04:42:34.000000Z"},
        "groups": [{"value": "G1", "display": "tour guides"}],
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2011-05-13T04:42:34Z", "2011-05-13T04:42:34.000000Z"),
        ("2011-05-13t04:42:34.5z", "2011-05-13T04:42:34.500000Z"),
        ("2011-05-13T04:42:34.1234567Z", "2011-05-13T04:42:34.123456Z"),
        ("2011-05-13T04:42:34", "2011-05-13T04:42:34.000000Z"),
        ("2011-05-12T23:42:34-05:00", "2011-05-13T04:42:34.000000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
    ],
)
def test_an_instant_has_one_text(text: str, expected: str) -> None:
    assert instant(text) == expected


@pytest.mark.parametrize(
    "text", ["", "2011-05-13", "20110513T044234Z", "2011-13-01T00:00:00Z", "0001-01-01T00:00:00+01:00", "x"]
)
def test_no_other_text_is_an_instant(text: str) -> None:
    with pytest.raises(ValueError):
        instant(text)


@pytest.mark.parametrize("pair", [("É", "e\u0301"), ("STRASSE", "straße"), ("Σ", "ς"), ("A", "a")])
def test_fold_joins_what_people_read_as_one(pair: tuple[str, str]) -> None:
    assert fold(pair[0]) == fold(pair[1]) == name_key(pair[0])


def test_the_key_of_a_name_has_plain_letters_and_keeps_what_differs() -> None:
    wide = {"\uff21nn\uff20x.org": "ann@x.org", "\uff8f\uff9e": "\u30de\u3099", "a\u3000b": "a b", "\uffe6": "\u20a9"}
    for written, meant in wide.items():
        assert name_key(written) == name_key(meant) == fold(meant)
        assert fold(written) != fold(meant)
    for other in ("\u2460", "\u00b2", "\ufb01x", "\u33c2"):  # compatible in other ways, which PRECIS keeps apart
        assert name_key(other) == fold(other)
    named = search_view({"userName": "\uff21", "displayName": "\uff21"}, USER)
    assert (named["username"], named["displayname"]) == ("a", "\uff41")
