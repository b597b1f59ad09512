"""RFC 7643 section 2.2 (`returned`) and RFC 7644 section 3.9."""

from dataclasses import replace

import pytest

from syncd.core.schema import CORE_USER, ENTERPRISE_USER, USER, Attribute, Returned, Schema
from syncd.scim.projection import project

NAME = {"givenName": "Barbara", "familyName": "Jensen"}
EMAILS = [{"value": "a@b", "type": "work"}, {"value": "c@d", "type": "home"}, {"type": "other"}]
ENTERPRISE = {"department": "Sales", "manager": {"value": "7", "displayName": "John"}}
FIXED = {"schemas": [CORE_USER, ENTERPRISE_USER], "id": "1"}
DOCUMENT = FIXED | {
    "userName": "babs",
    "name": NAME,
    "emails": EMAILS,
    ENTERPRISE_USER: ENTERPRISE,
    "meta": {"version": "1"},
}


@pytest.mark.parametrize(
    ("attributes", "shown"),
    [
        (["userName"], {"userName": "babs"}),
        (["USERNAME", "nosuch"], {"userName": "babs"}),
        ([f"{CORE_USER}:userName"], {"userName": "babs"}),
        (["nosuch"], {}),
        (["id"], {}),
        (["name"], {"name": NAME}),
        (["name.givenName"], {"name": {"givenName": "Barbara"}}),
        (["name.givenName", "name.familyName"], {"name": NAME}),
        (["name.middleName"], {}),
        (["emails.value"], {"emails": [{"value": "a@b"}, {"value": "c@d"}]}),
        (["meta.version"], {"meta": {"version": "1"}}),
        ([ENTERPRISE_USER], {ENTERPRISE_USER: ENTERPRISE}),
        ([f"{ENTERPRISE_USER}:department"], {ENTERPRISE_USER: {"department": "Sales"}}),
        ([f"{ENTERPRISE_USER}:MANAGER"], {ENTERPRISE_USER: {"manager": ENTERPRISE["manager"]}}),
        ([f"{ENTERPRISE_USER}:manager.value"], {ENTERPRISE_USER: {"manager": {"value": "7"}}}),
        ([CORE_USER], {"userName": "babs", "name": NAME, "emails": EMAILS}),
    ],
)
def test_attributes(attributes, shown):
    assert project(DOCUMENT, attributes, (), USER) == FIXED | shown


@pytest.mark.parametrize(
    ("excluded", "without"),
    [
        (["userName"], {"userName": None}),
        (["Name.GivenName"], {"name": {"familyName": "Jensen"}}),
        (["name.givenName", "name.familyName"], {"name": None}),
        (["emails.type"], {"emails": [{"value": "a@b"}, {"value": "c@d"}]}),
        (["id", "schemas"], {}),
        ([ENTERPRISE_USER], {ENTERPRISE_USER: None}),
        ([f"{ENTERPRISE_USER}:manager"], {ENTERPRISE_USER: {"department": "Sales"}}),
        ([f"{ENTERPRISE_USER}:manager.displayName"], {ENTERPRISE_USER: ENTERPRISE | {"manager": {"value": "7"}}}),
        (["nosuch"], {}),
    ],
)
def test_excluded_attributes(excluded, without):
    expected = {k: v for k, v in (DOCUMENT | without).items() if v is not None}
    assert project(DOCUMENT, (), excluded, USER) == expected


def test_all_by_default():
    assert project(DOCUMENT, (), (), USER) == DOCUMENT


SECRETS = replace(
    USER,
    extensions=(
        (
            Schema(
                "urn:x",
                "X",
                "",
                (
                    Attribute("pin", returned=Returned.NEVER),
                    Attribute("history", returned=Returned.REQUEST),
                    Attribute("kind", returned=Returned.ALWAYS),
                ),
            ),
            False,
        ),
    ),
)
HELD = {"id": "1", "userName": "a", "urn:x": {"pin": "1234", "history": "h", "kind": "k"}}


@pytest.mark.parametrize(
    ("attributes", "excluded", "shown"),
    [
        ((), (), {"kind": "k"}),
        (("urn:x:history",), (), {"history": "h", "kind": "k"}),
        (("urn:x:pin", "urn:x:history"), (), {"history": "h", "kind": "k"}),
        (("urn:x",), (), {"kind": "k"}),
        ((), ("urn:x:kind",), {"kind": "k"}),
    ],
)
def test_returned(attributes, excluded, shown):
    assert project(HELD, attributes, excluded, SECRETS)["urn:x"] == shown


def test_what_is_always_returned_stays_within_what_may_be_seen():
    assert project(HELD, ("userName",), (), SECRETS, frozenset({"userName"})) == {"id": "1", "userName": "a"}
    both = frozenset({"userName", "urn:x:kind"})
    assert project(HELD, ("userName",), (), SECRETS, both) == {"id": "1", "userName": "a", "urn:x": {"kind": "k"}}
