"""A primary group is named by the user alone, by a number within her own domain."""

from __future__ import annotations

import pytest

from syncd.core.snapshot import Entry
from syncd.errors import InvalidValue
from syncd.ldap.values import sid_text
from syncd.reconcile.diff import Seen
from syncd.reconcile.mapping import primary_group

SID = bytes.fromhex("010500000000000515000000a065cf7e784b9b5fe77c8770091c0100")


def entry(**said: bytes) -> Entry:
    return Entry("user", "k", "cn=a", {name.lower(): (value,) for name, value in said.items()})


def test_it_is_of_the_users_own_domain() -> None:
    found = primary_group(entry(objectSid=SID, primaryGroupID=b"513"))
    assert found is not None
    assert sid_text("objectSid", found) == sid_text("objectSid", SID).rpartition("-")[0] + "-513"


def test_without_both_there_is_none() -> None:
    assert primary_group(entry(objectSid=SID)) is None
    assert primary_group(entry(primaryGroupID=b"513")) is None


@pytest.mark.parametrize("said", [b"x", b"0", b"-1", b"4294967296"])
def test_a_bad_number_is_named(said: bytes) -> None:
    with pytest.raises(InvalidValue, match=r"^primaryGroupID: "):
        primary_group(entry(objectSid=SID, primaryGroupID=said))


def test_who_turns_out_to_be_another_user_or_nobody() -> None:
    seen = Seen(by_primary={SID: {"new1", "new2", "old"}})
    seen.settle({"new1": "real", "new2": None})
    assert seen.by_primary == {SID: {"real", "old"}}
