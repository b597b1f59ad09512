"""Attributes of a directory become values of the type that the target has."""

from __future__ import annotations

import pytest

from syncd.core.schema import SYNCD_USER
from syncd.core.snapshot import Entry
from syncd.errors import InvalidValue
from syncd.reconcile.mapping import compile_mapping, entry_hash, members


def mapped(**attributes: bytes) -> dict[str, object]:
    mapping = compile_mapping({"userName": "uid", "secondFactor": "mfa", "kind": "employeeType"})
    entry = Entry("user", "k", "uid=ann", {"uid": (b"ann",), **{name: (value,) for name, value in attributes.items()}})
    return dict(mapping.user(entry).values)


@pytest.mark.parametrize(("said", "means"), [(b"TRUE", True), (b"FALSE", False), (b"true", True)])
def test_a_boolean_of_a_directory(said: bytes, means: bool) -> None:
    assert mapped(mfa=said)[f"{SYNCD_USER}:secondFactor"] is means


def test_what_is_no_boolean_is_set_aside() -> None:
    with pytest.raises(InvalidValue, match="secondFactor must be true or false"):
        mapped(mfa=b"enrolled")


def test_syncds_own_attributes_are_named_shortly() -> None:
    assert mapped(employeetype=b"portal")[f"{SYNCD_USER}:kind"] == "portal"


def test_a_unique_member_may_have_a_bit_string_after_its_name() -> None:
    """RFC 4517 section 3.3.21: it tells who had the name when it is used again, and is no part of it."""
    named = (b"uid=ann,dc=x#'0101'B", b"uid=bob,dc=x", b"cn=a\\#'1'b,dc=x#''B")
    group = Entry("group", "k", "cn=g,dc=x", {"uniquemember": named, "member": (b"uid=cy,dc=x#'1'B",)})
    assert members(group).dns == ("uid=cy,dc=x#'1'B", "uid=ann,dc=x", "uid=bob,dc=x", "cn=a\\#'1'b,dc=x")


def test_a_password_that_expires_changes_no_entry() -> None:
    """Active Directory computes it when it is asked: nothing was written that a read of changes could find."""

    def hashed(computed: bytes) -> str:
        return entry_hash(Entry("user", "k", "cn=ann", {"msds-user-account-control-computed": (computed,)}))

    assert hashed(b"0") == hashed(b"8388608") != hashed(b"16") == hashed(b"8388624")
    assert hashed(b"nonsense") != hashed(b"0")
