"""A request within the limits keeps nobody waiting, however it was made.

Each of these kept the process busy for a quarter of a minute at least, most of them for hours. None may take `AN_AGE`, which
is many times what it needs anywhere; what is too much work by itself is refused.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from syncd.core import etag
from syncd.core.resource import canonical
from syncd.core.schema import USER
from syncd.errors import InvalidSyntax, InvalidValue, TooLarge
from syncd.scim import dialects, patch
from syncd.scim.messages import Operation, parse_query, require_schema
from syncd.scim.references import BULK_URN

from .conftest import PATCH_URN, USER_URN, Service

AN_AGE = 12  # seconds
MANY_COMPARISONS = " or ".join(f'value eq "{n}"' for n in range(390))


@contextmanager
def ends() -> Iterator[None]:
    def over(*_: Any) -> None:
        raise AssertionError("it takes an age")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(AN_AGE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(
    "header", ["a" + " " * 60_000 + 'b"', '"' * 60_001, "W/" * 30_000 + '"', "a,\t" * 20_000 + '"']
)
def test_an_entity_tag_with_much_in_it(header: str) -> None:
    with ends():
        assert not etag.names(header, 7)
        assert etag.names(header + 'x, W/"7"', 7) or etag.names(header + '", "7"', 7)


def test_a_binary_with_many_blanks() -> None:
    with ends(), pytest.raises(InvalidValue, match="must be base64"):
        canonical({"userName": "a", "x509Certificates": [{"value": " " * 1_000_000 + "!"}]}, USER)


def test_many_schemas() -> None:
    urns = [f"urn:x:{n}" for n in range(90_000)]
    with ends():
        require_schema({"schemas": [*urns, PATCH_URN]}, PATCH_URN)
        with pytest.raises(InvalidSyntax, match="twice"):
            require_schema({"schemas": [*urns, PATCH_URN, "URN:x:0"]}, PATCH_URN)


def emails(*each: dict[str, Any]) -> dict[str, Any]:
    return {"schemas": [USER_URN], "id": "u1", "userName": "a", "emails": [*each]}


def test_many_values_that_are_only_described() -> None:
    before = emails(*({"type": f"t{n}"} for n in range(40_000)))
    with ends():
        after = patch.apply_patch(before, [Operation("remove", 'emails[type eq "t1"]')], USER)
        again = patch.apply_patch(after, [Operation("replace", 'emails[type eq "t2"].type', "t1")], USER)
    assert len(after["emails"]) == len(again["emails"]) == 39_999


def test_a_condition_of_many_comparisons_on_many_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patch, "MAX_VALUES_SEEN", 60_000)
    before = emails(*({"value": f"v{n}"} for n in range(1_000)))
    one, short = Operation("remove", f"emails[{MANY_COMPARISONS}]"), Operation("remove", 'emails[value eq "v"]')
    assert patch.apply_patch(before, [one], USER) == patch.apply_patch(before, [short] * 60, USER) == before
    with pytest.raises(TooLarge, match="send fewer in one PATCH"):
        patch.apply_patch(before, [one] * 3, USER)


def test_many_keys_that_each_create_a_value_are_too_many_and_not_without_target() -> None:
    value = {f'emails[type eq "t{n}"].value': "v" for n in range(1_200)}
    with ends(), pytest.raises(TooLarge):
        formed, _ = dialects.patch_in_rfc_form([Operation("add", None, value)], emails(), USER)
        patch.apply_patch(emails(), formed, USER)


@pytest.mark.parametrize("parameter", ["attributes", "excludedAttributes"])
def test_many_names_to_show(parameter: str) -> None:
    assert parse_query([(parameter, "title,TITLE," * 60_000 + "id")]) == parse_query([(parameter, "title,id")])
    with pytest.raises(InvalidValue, match=f"{parameter} names 501 attributes: give at most 500"):
        parse_query([(parameter, ",".join(f"a{n}" for n in range(501)))])


@pytest.fixture
def service(database_url: str) -> Iterator[Service]:
    made = Service(database_url)
    yield made
    made.close()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_many_conditions_on_members(service: Service) -> None:
    ann, bob = service.user("ann")["id"], service.user("bob")["id"]
    crew = service.group("crew", ann)["id"]
    added = {"op": "add", "path": "members", "value": [{"value": bob}]}
    conditions = [{"op": "remove", "path": f'members[display eq "x{n}" or type eq "x"]'} for n in range(21)]
    found = service.patch(f"Groups/{crew}", added, *conditions)
    assert (found.status_code, found.json()["detail"][:14]) == (413, "Operations[21]")
    last = {"op": "remove", "path": 'members[display eq "bob" and type eq "User"]'}
    assert service.patch(f"Groups/{crew}", added, *conditions[:19], last).status_code == 204
    long = {"op": "remove", "path": f'members[{MANY_COMPARISONS} or display sw "a"]'}
    assert [each["value"] for each in service.ask("GET", f"Groups/{crew}").json()["members"]] == [ann]
    assert service.patch(f"Groups/{crew}", long).status_code == 204, "one condition may be as long as it wants"
    assert "members" not in service.ask("GET", f"Groups/{crew}").json()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_many_members_selected_by_their_ids_are_no_conditions(service: Service) -> None:
    one, other = ([service.user(f"{name}{n}")["id"] for n in range(22)] for name in "ab")
    crew = service.group("crew", *one)["id"]
    exchanged = [
        {"op": "replace", "path": f'members[value eq "{old}"]', "value": {"value": new}}
        for old, new in zip(one, other, strict=True)
    ]
    assert service.patch(f"Groups/{crew}", *exchanged).status_code == 204
    members = service.ask("GET", f"Groups/{crew}").json()["members"]
    assert {each["value"] for each in members} == {*other}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_many_references_to_nothing(service: Service) -> None:
    """Before, each of them was looked for among all operations."""
    operations = [
        {"method": "POST", "path": "/Users", "bulkId": f"b{n}", "data": {"z": [f"bulkId:{m}" for m in range(250)]}}
        for n in range(1_000)
    ]
    with ends():
        found = service.ask("POST", "Bulk", {"schemas": [BULK_URN], "Operations": operations})
    said = {(each["status"], each["response"]["detail"].partition(": ")[2]) for each in found.json()["Operations"]}
    assert said == {("400", "no operation of this request has the bulkId 0")}
