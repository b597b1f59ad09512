"""Bodies and queries in, envelopes out: RFC 7644 sections 3.4.2, 3.4.3, 3.5.2 and 3.12."""

import orjson
import pytest

from syncd.errors import InvalidFilter, InvalidSyntax, InvalidValue, TooLarge
from syncd.scim import messages
from syncd.scim.messages import ABSENT, ListQuery, Operation

USER_URN = "urn:ietf:params:scim:schemas:core:2.0:User"


def patch_body(*operations, name="Operations", schemas=(messages.PATCH_URN,)):
    return orjson.dumps({"schemas": list(schemas), name: list(operations)})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  ",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b'{"schemas": ["a"], "x": NaN}',
        b'{"schemas": ["a"], "x": Infinity}',
        b'{"schemas": ["a"], "x": "\xff"}',
        b'{"schemas": ["a"], "x": "\\ud800"}',
        b'{"schemas": ["a"]} trailing',
        b'{"schemas": ["a"], "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"schemas": ["a"], "x": ' + b"[" * 16 + b"]" * 16 + b"}",
        b"{}",
        b'{"schemas": null}',
        b'{"schemas": []}',
        b'{"schemas": "a"}',
        b'{"schemas": [1]}',
        b'{"schemas": ["a", "A"]}',
        b'{"schemas": ["a"], "Schemas": ["a"]}',
    ],
)
def test_a_body_that_is_no_resource(body):
    with pytest.raises(InvalidSyntax) as caught:
        messages.require_schema(messages.parse_object(body), "a")
    assert len(caught.value.detail) < 200


def test_a_resource():
    body = {"schemas": [USER_URN.upper()], "userName": "a", "name": {"givenName": "Zoë \u0001"}}
    document = messages.parse_object(orjson.dumps(body))
    assert document == body
    messages.require_schema(document, USER_URN)
    with pytest.raises(InvalidSyntax, match="Group"):
        messages.require_schema(document, "urn:ietf:params:scim:schemas:core:2.0:Group")


def test_depth_of_an_allowed_body():
    body = b'{"schemas": ["a"], "x": ' + b"[" * 15 + b"]" * 15 + b"}"
    assert "x" in messages.parse_object(body)


def parse_patch(body):
    return messages.patch_operations(messages.parse_object(body))


def test_patch():
    body = patch_body(
        {"op": "Add", "path": "nickName", "value": None},
        {"OP": "remove", "Path": "title"},
        {"op": "replace", "path": "", "Value": {"active": False}},
        {"op": "replace", "path": None, "value": {}, "note": "ignored"},
    )
    assert parse_patch(body) == (
        Operation("Add", "nickName", None, 0),
        Operation("remove", "title", ABSENT, 1),
        Operation("replace", None, {"active": False}, 2),
        Operation("replace", None, {}, 3),
    )


@pytest.mark.parametrize("name", ["Operations", "operations", "OPERATIONS"])
def test_operations_in_any_case_and_an_empty_list_is_no_change(name):
    assert parse_patch(patch_body(name=name)) == ()


@pytest.mark.parametrize(
    "body",
    [
        patch_body(schemas=(USER_URN,)),
        orjson.dumps({"schemas": [messages.PATCH_URN]}),
        orjson.dumps({"schemas": [messages.PATCH_URN], "Operations": None}),
        orjson.dumps({"schemas": [messages.PATCH_URN], "Operations": {"op": "add"}}),
        orjson.dumps({"schemas": [messages.PATCH_URN], "Operations": [], "operations": []}),
        patch_body("add"),
        patch_body(None),
        patch_body({}),
        patch_body({"op": "move", "path": "a"}),
        patch_body({"op": 1}),
        patch_body({"op": "add", "path": 1}),
        patch_body({"op": "add", "path": ["a"]}),
        patch_body({"op": "add", "value": 1, "Value": 2}),
    ],
)
def test_a_body_that_is_no_patch(body):
    with pytest.raises(InvalidSyntax):
        parse_patch(body)


def test_too_many_operations():
    with pytest.raises(TooLarge, match="1001 operations in one PATCH, the limit is 1000"):
        parse_patch(patch_body(*[{"op": "remove", "path": "title"}] * 1001))


@pytest.mark.parametrize(
    ("parameters", "query"),
    [
        ({}, ListQuery()),
        ({"aadOptscim062020": "", "unknown": "1"}, ListQuery()),
        ({"filter": 'userName eq "a"'}, ListQuery(filter='userName eq "a"')),
        ({"startIndex": "1", "count": "100"}, ListQuery(start_index=1, count=100)),
        ({"startIndex": "0"}, ListQuery(start_index=1)),
        ({"startIndex": "-5"}, ListQuery(start_index=1)),
        ({"count": "0"}, ListQuery(count=0)),
        ({"count": "-1"}, ListQuery(count=0)),
        ({"startIndex": "9" * 30, "count": "9" * 30}, ListQuery(start_index=2**53, count=2**53)),
        ({"attributes": "userName, emails.value,,"}, ListQuery(attributes=("userName", "emails.value"))),
        ({"excludedAttributes": "members"}, ListQuery(excluded=("members",))),
        ({"attributes": "", "excludedAttributes": "members"}, ListQuery(excluded=("members",))),
        ({"sortBy": "userName", "sortOrder": "Descending"}, ListQuery(sort_by="userName", sort_order="descending")),
    ],
)
def test_query(parameters, query):
    assert messages.parse_query(parameters.items()) == query


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ([("startIndex", "one")], InvalidValue),
        ([("startIndex", "")], InvalidValue),
        ([("count", "1.5")], InvalidValue),
        ([("count", "1_0")], InvalidValue),
        ([("count", "٣")], InvalidValue),
        ([("count", "9" * 5000)], InvalidValue),
        ([("sortOrder", "up")], InvalidValue),
        ([("attributes", "a"), ("excludedAttributes", "b")], InvalidValue),
        ([("count", "1"), ("count", "2")], InvalidValue),
        ([("filter", " ")], InvalidFilter),
    ],
)
def test_wrong_query(parameters, error):
    with pytest.raises(error):
        messages.parse_query(parameters)


def test_lists_of_names_given_twice_add_up():
    assert messages.parse_query([("attributes", "a"), ("attributes", "b,c")]).attributes == ("a", "b", "c")


def test_search_request():
    body = {
        "schemas": [messages.SEARCH_URN],
        "attributes": ["displayName", "userName"],
        "filter": 'displayName sw "smith"',
        "startIndex": 1,
        "count": 10,
        "sortBy": None,
        "other": {"ignored": True},
    }
    assert messages.parse_search_request(orjson.dumps(body)) == ListQuery(
        filter='displayName sw "smith"', start_index=1, count=10, attributes=("displayName", "userName")
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"schemas": [messages.PATCH_URN]},
        {"attributes": [1]},
        {"attributes": {"a": 1}},
        {"filter": 1.5},
        {"count": True},
        {"count": 1.5},
        {"filter": ["a"]},
    ],
)
def test_wrong_search_request(changes):
    with pytest.raises((InvalidSyntax, InvalidValue)):
        messages.parse_search_request(orjson.dumps({"schemas": [messages.SEARCH_URN]} | changes))


def test_a_wrong_search_request_is_told_what_is_wanted():
    for wrong, said in (({"count": 1.5}, "a whole number, not 1.5"), ({"filter": ["a"]}, "text, not a list")):
        with pytest.raises(InvalidSyntax, match=said):
            messages.parse_search_request(orjson.dumps({"schemas": [messages.SEARCH_URN]} | wrong))


def test_error_body():
    assert orjson.loads(messages.error_body(400, "no", "invalidPath")) == {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
        "status": "400",
        "scimType": "invalidPath",
        "detail": "no",
    }
    assert "scimType" not in orjson.loads(messages.error_body(404, "none"))
    assert orjson.loads(messages.error_body(500, "half \ud800 pair"))["detail"] == "half ? pair"


def test_list_response():
    found = orjson.loads(messages.list_response(7, 3, (b'{"id":"%d"}' % i for i in (1, 2))))
    assert found == {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": 7,
        "startIndex": 3,
        "itemsPerPage": 2,
        "Resources": [{"id": "1"}, {"id": "2"}],
    }
    assert orjson.loads(messages.list_response(0, 1, ()))["Resources"] == []


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"filter=userName%20eq%20%22j%FCrgen%22", InvalidFilter),
        (b"FILTER=userName%20eq%20%22%ED%A0%80%22&count=1", InvalidFilter),
        (b"filter=a+pr&sortBy=%C3", InvalidValue),
        (b"attributes=%FF", InvalidValue),
    ],
)
def test_what_is_not_utf_8_is_said_to_be_so(raw, error):
    """It was read with another letter in its place, so that a client in Latin-1 found nobody and made everybody twice."""
    for _ in range(2):
        with pytest.raises(error, match="is not in UTF-8"):
            messages.parse_query_string(raw)


def test_what_is_not_utf_8_in_a_parameter_that_scim_does_not_have_is_ignored():
    assert messages.parse_query_string(b"count=3&flag=%FF&%FF=1") == ListQuery(count=3)
