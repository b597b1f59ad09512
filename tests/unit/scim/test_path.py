"""RFC 7644 section 3.5.2, figure 7, with examples of the RFC and of what providers send."""

import pytest

from syncd.core.schema import ENTERPRISE_USER, GROUP, USER
from syncd.errors import InvalidFilter, InvalidPath
from syncd.scim import path as paths


@pytest.mark.parametrize(
    ("text", "attribute", "where", "sub"),
    [
        ("userName", "userName", None, None),
        ("USERNAME", "userName", None, None),
        (" userName ", "userName", None, None),
        ("name.familyName", "name", None, "name.familyName"),
        ("Name.FamilyName", "name", None, "name.familyName"),
        ('addresses[type eq "work"]', "addresses", 'type eq "work"', None),
        ('addresses[type eq "other"].Formatted', "addresses", 'type eq "other"', "addresses.formatted"),
        ('emails[value eq "a]b"].value', "emails", 'value eq "a]b"', "emails.value"),
        (r'emails[value eq "a\"]b"].value', "emails", r'value eq "a\"]b"', "emails.value"),
        ("roles[primary eq true].value", "roles", "primary eq true", "roles.value"),
        (
            'emails[type eq "work" and not (value co "x")].display',
            "emails",
            'type eq "work" and not (value co "x")',
            "emails.display",
        ),
        ("urn:ietf:params:scim:schemas:core:2.0:User:userName", "userName", None, None),
        ("urn:ietf:params:scim:schemas:core:2.0:User:name.givenName", "name", None, "name.givenName"),
        (ENTERPRISE_USER, ENTERPRISE_USER, None, None),
        (ENTERPRISE_USER.upper(), ENTERPRISE_USER, None, None),
        (f"{ENTERPRISE_USER}:department", f"{ENTERPRISE_USER}:department", None, None),
        (f"{ENTERPRISE_USER}:manager.value", f"{ENTERPRISE_USER}:manager", None, f"{ENTERPRISE_USER}:manager.value"),
        (
            'urn:ietf:params:scim:schemas:core:2.0:User:emails[type eq "work"].value',
            "emails",
            'type eq "work"',
            "emails.value",
        ),
    ],
)
def test_a_path_is_bound(text, attribute, where, sub):
    path = paths.parse(text, USER)
    assert path.attribute.path == attribute
    assert (path.where and path.where.text) == where
    assert (path.sub and path.sub.path) == sub
    assert path.whole_extension == (attribute == ENTERPRISE_USER)


@pytest.mark.parametrize(
    ("text", "position", "hint"),
    [
        ("", 1, "no attribute"),
        ("nosuch", 1, "nosuch"),
        ("name.nosuch", 1, "name.nosuch"),
        ("department", 1, "department"),
        ("urn:nosuch:User:department", 1, "urn:nosuch"),
        ('emails[type eq "work"', 7, "never closed"),
        ('emails[type eq "work]', 7, "never closed"),
        ('emails[type eq "work"]x', 23, "sub-attribute"),
        ('emails[type eq "work"].nosuch', 23, "nosuch"),
        ('emails[type eq "work"].value.deep', 23, "value.deep"),
        ('name[givenName eq "a"]', 5, "not a multi-valued"),
        ('userName[value eq "a"]', 9, "not a multi-valued"),
        ('emails.value[value eq "a"]', 13, "not a multi-valued"),
        (f'{ENTERPRISE_USER}[department eq "a"]', 59, "not a multi-valued"),
    ],
)
def test_a_wrong_path_is_refused_with_its_position(text, position, hint):
    with pytest.raises(InvalidPath, match=f"position {position}:") as caught:
        paths.parse(text, USER)
    assert hint in caught.value.detail


@pytest.mark.parametrize(
    "inside", ["", "type", 'type eq "work', "nosuch eq 1", 'primary gt "x"', "(type pr", "type pr]["]
)
def test_a_wrong_condition_is_an_invalid_filter_or_path(inside):
    with pytest.raises((InvalidFilter, InvalidPath)):
        paths.parse(f"emails[{inside}]", USER)


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ('type eq "work"', {"type": "work"}),
        ('TYPE EQ "work" and primary eq true', {"type": "work", "primary": True}),
        ('type eq "work" and type eq "work"', {"type": "work"}),
        ('type eq "work" and type eq "home"', None),
        ('type eq "work" or type eq "home"', None),
        ('type ne "work"', None),
        ('not (type eq "work")', None),
        ("type pr", None),
    ],
)
def test_equal_terms_are_what_a_condition_says_of_an_element(inside, expected):
    path = paths.parse(f"emails[{inside}]", USER)
    assert paths.equal_terms(path.where, path.attribute) == expected


def test_members_of_a_group():
    path = paths.parse('members[value eq "2819c223"].display', GROUP)
    assert (path.attribute.path, path.sub.path) == ("members", "members.display")
