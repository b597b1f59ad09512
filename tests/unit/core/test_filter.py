from typing import Any

import pytest

from syncd.core.filter import (
    And,
    Comparison,
    Not,
    Op,
    Or,
    ValuePath,
    compile,
    evaluate,
    names,
    parse,
    parse_element,
    parse_filter,
)
from syncd.core.filter_text import MAX_COMPARISONS, MAX_LENGTH
from syncd.core.resource import canonical, search_element, search_view
from syncd.core.schema import (
    CORE_USER,
    ENTERPRISE_USER,
    GROUP,
    RULE_USER,
    USER,
    Attribute,
    ResourceType,
    Returned,
    Schema,
)
from syncd.errors import InvalidFilter

BABS: dict[str, Any] = {
    "userName": "bjensen@example.com",
    "externalId": "Bj1",
    "name": {"familyName": "O'Malley", "givenName": "Barbara"},
    "title": "Tour Guide",
    "userType": "Employee",
    "active": True,
    "emails": [
        {"value": "bjensen@example.com", "type": "work", "primary": True},
        {"value": "babs@jensen.org", "type": "home"},
    ],
    "ims": [{"value": "someaimhandle@foo.com", "type": "xmpp"}],
    ENTERPRISE_USER: {"department": "Sales", "manager": {"value": "26118"}},
}
EXTRA: dict[str, Any] = {
    "id": "2819c223",
    "meta": {"resourceType": "User", "lastModified": "2011-05-13T04:42:34Z"},
    "groups": [
        {"value": "g1", "display": "CRM-Admins", "source": "corp"},
        {"value": "g2", "display": "all", "source": "x"},
    ],
    "source": ["corp"],
}
VIEW = search_view(canonical(BABS, USER), RULE_USER, **EXTRA)


@pytest.mark.parametrize(
    "text",
    [
        # RFC 7644 section 3.4.2.2, figure 2 and below
        'userName Eq "BJENSEN@example.com"',
        'name.familyName co "O\'Malley"',
        'userName sw "B"',
        f'{CORE_USER}:userName sw "b"',
        "title pr",
        'meta.lastModified gt "2011-05-13T06:42:33+02:00"',
        'meta.lastModified ge "2011-05-13T04:42:34Z"',
        'meta.lastModified lt "2011-05-13T04:42:34.1Z"',
        'meta.lastModified eq "2011-05-13T04:42:34.000Z"',
        'title pr and userType eq "Employee"',
        'title pr or userType eq "Intern"',
        f'schemas eq "{ENTERPRISE_USER.upper()}"',
        'userType eq "Employee" and (emails co "example.com" or emails.value co "example.org")',
        'userType ne "Intern" and not (emails co "example.net" or emails.value co "example.net")',
        'userType eq "Employee" and (emails.type eq "work")',
        'userType eq "Employee" and emails[type eq "work" and value co "@example.com"]',
        'emails[type eq "work" and value co "@example.com"] or ims[type eq "xmpp" and value co "@foo.com"]',
        # Forms that clients send
        'emails[type eq "work"].value eq "bjensen@example.com"',
        'emails[primary eq true].value sw "bjensen"',
        'emails eq "babs@jensen.org"',
        "active eq true",
        "ACTIVE EQ TRUE",
        f'{ENTERPRISE_USER}:manager eq "26118"',
        f'{ENTERPRISE_USER}:manager.value eq "26118"',
        f'{ENTERPRISE_USER.lower()}:DEPARTMENT ew "les"',
        'name[givenName eq "barbara"]',
        # null, absence and ne
        "nickName eq null",
        'nickName ne "x"',
        "title ne null",
        "not (nickName pr)",
        'photos ne "x"',
        'emails.type ne "work"',
        'not (emails.type eq "other")',
        "emails.display eq null",
        # RFC 7643 section 2.4: primary is false where it is not specified
        'emails[primary eq false and type eq "home"]',
        "emails.primary eq false",
        "emails.primary ne true",
        "emails.primary ne false",
        # precedence: not > and > or
        "title pr or nickName pr and nickName pr",
        "not (nickName pr) and title pr",
        'id eq "2819c223" and groups eq "g1"',
        'groups[source eq "corp" and display eq "crm-admins"]',
        'source eq "corp"',
        'userName sw ""',
        'userName eq "bj\\u0065nsen@example.com"',
    ],
)
def test_matches(text: str) -> None:
    assert evaluate(parse_filter(text, RULE_USER), VIEW)


@pytest.mark.parametrize(
    "text",
    [
        'userName eq "bjensen"',
        'externalId eq "bj1"',
        'emails[type eq "home" and value co "@example.com"]',
        'emails[type eq "home"].value eq "bjensen@example.com"',
        'emails[type ne "work" and type ne "home"]',
        'photos[type ne "x"]',
        'title ne "tour guide"',
        "nickName pr",
        'nickName co ""',
        "title eq null",
        'title eq ""',
        'nickName gt "a"',
        "(title pr or nickName pr) and nickName pr",
        "not (nickName pr or title pr)",
        'groups[source eq "x" and display eq "crm-admins"]',
        'groups.source eq "CORP"',
        'meta.lastModified gt "2011-05-13T04:42:34Z"',
        "active eq false",
        'addresses[not (type eq "work")]',
        'emails[primary eq false and type eq "work"]',
        'emails[primary ne false and type eq "home"]',
        "ims.primary ne false",
        "photos.primary eq false",
    ],
)
def test_does_not_match(text: str) -> None:
    assert not evaluate(parse_filter(text, RULE_USER), VIEW)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "character 1: an attribute"),
        ("userName", "character 9: an operator"),
        ("userName eq", "character 12: a value"),
        ("userName eq bjensen", "character 13: a value"),
        ("userName eq 'x'", "character 13: 'x' is not understood"),
        ('userName eq "x', "character 13: the string is not closed"),
        ('userName eq "\\x"', "not valid JSON"),
        ('userName eq "\\ud800"', "half a surrogate"),
        ('userName eq "\\u0000"', "NUL"),
        ('userName is "x"', "character 10: an operator (eq, ne, co"),
        ('userName eq "x" title pr', "character 17: title is unexpected"),
        ('(userName eq "x"', "character 17: ) is expected"),
        ('userName eq "x")', "character 16: ) is unexpected"),
        ('emails[type eq "x"', "character 19: ] is expected"),
        ("title pr and", "character 13: an attribute"),
        ("not title pr", "character 5: an operator"),
        ("a" * (MAX_LENGTH + 1), "at most 8,192"),
        ("(" * 31 + "title pr" + ")" * 31, "nested deeper than 30"),
        (" or ".join(["id pr"] * (MAX_COMPARISONS + 1)), "more than 400 comparisons"),
        ('userNme eq "x"', "userNme is not an attribute of User; did you mean userName"),
        ('department eq "x"', f"did you mean {ENTERPRISE_USER}:department"),
        ('password eq "x"', "password is not an attribute of User"),
        ('emails[nope eq "x"]', "nope is not an attribute of emails; accepted are value, display, type, primary"),
        ('emails[type[value eq "x"]]', "no sub-attributes"),
        ('title[value eq "x"]', "title has no sub-attributes"),
        (f"{ENTERPRISE_USER} pr", "is an extension"),
        ('name eq "x"', "name has no value of its own; name one of formatted"),
        ("userName eq 1", "userName is compared with a string in double quotes"),
        ("userName eq true", "userName is compared with a string"),
        ('active eq "true"', "active is compared with true or false"),
        ("active gt true", "gt cannot compare active (boolean); accepted are eq, ne, pr"),
        ('active co "t"', "co cannot compare active"),
        ('x509Certificates gt "a"', "gt cannot compare x509Certificates.value (binary)"),
        ('meta.lastModified gt "yesterday"', "meta.lastModified is compared with a dateTime"),
        ('meta.lastModified sw "2011"', "sw cannot compare meta.lastModified"),
        ("userName gt null", "null can be compared by eq and ne only"),
        ("userName eq 1e999", "out of range"),
        ("userName eq " + "9" * 5000, "out of range|not valid JSON"),
        ("userName eq 01", "not valid JSON"),
        ('members eq "x"', "members is not an attribute of User"),
    ],
)
def test_refused_with_the_place_and_what_is_accepted(text: str, message: str) -> None:
    with pytest.raises(InvalidFilter) as raised:
        parse_filter(text, USER)
    assert any(part in str(raised.value) for part in message.split("|"))
    assert len(str(raised.value)) < 400


def test_what_is_never_returned_is_never_compared() -> None:
    secret = Attribute("pin", returned=Returned.NEVER)
    kind = ResourceType("Thing", "/Things", "", Schema("urn:x:Thing", "Thing", "", (secret,)))
    with pytest.raises(InvalidFilter, match="pin is never shown"):
        parse_filter("pin pr", kind)


def test_the_tree() -> None:
    tree = parse('a eq "x" or b pr and not (c.d lt 1.5) or e[f eq null].g ne true')
    assert tree == Or(
        (
            Comparison("a", Op.EQ, "x"),
            And((Comparison("b", Op.PR), Not(Comparison("c.d", Op.LT, 1.5)))),
            ValuePath("e", And((Comparison("f", Op.EQ, None), Comparison("g", Op.NE, True)))),
        )
    )


def test_an_element_filter_asks_one_element() -> None:
    emails = USER.resolve("emails")
    assert emails is not None
    matches = compile(parse_element('type eq "WORK" and not (primary eq true)', emails))
    assert matches(search_element(emails.attribute, {"type": "Work", "value": "x"}))
    assert not matches(search_element(emails.attribute, {"type": "work", "primary": True}))
    with pytest.raises(InvalidFilter, match="userName is not an attribute of emails"):
        parse_element("userName pr", emails)


def test_names_are_the_top_level_attributes_read() -> None:
    text = f'emails[type eq "x"] or not (NAME.givenName pr and {ENTERPRISE_USER}:manager eq "1") or groups ne "g"'
    assert names(parse_filter(text, USER)) == {"emails", "name", f"{ENTERPRISE_USER}:manager", "groups"}


def test_members_of_a_group() -> None:
    view = search_view({"displayName": "G"}, GROUP, members=[{"value": "u1"}, {"value": "u2", "type": "User"}])
    for text in ('members eq "u2"', 'members.value eq "u2"', 'members[value eq "u2" and type eq "user"]'):
        assert evaluate(parse_filter(text, GROUP), view)
    assert not evaluate(parse_filter('members[value eq "u1" and type eq "User"]', GROUP), view)
