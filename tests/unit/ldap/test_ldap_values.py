"""What the values of a directory say about an account."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.errors import InvalidValue
from syncd.ldap import values


def state(**attributes: bytes) -> values.AccountState:
    return values.account_state({name.lower(): (value,) for name, value in attributes.items()})


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("raw", "when"),
    [
        (b"20261121180620Z", utc(2026, 11, 21, 18, 6, 20)),
        (b"202611211806Z", utc(2026, 11, 21, 18, 6)),
        (b"2026112118Z", utc(2026, 11, 21, 18)),
        (b"20261121180620.5Z", utc(2026, 11, 21, 18, 6, 20, 500000)),
        (b"20261121180620,25Z", utc(2026, 11, 21, 18, 6, 20, 250000)),
        (b"2026112118.5Z", utc(2026, 11, 21, 18, 30)),
        (b"20261121180620.0Z", utc(2026, 11, 21, 18, 6, 20)),
        (b"20261121180620+0100", utc(2026, 11, 21, 17, 6, 20)),
        (b"20261121180620-05", utc(2026, 11, 21, 23, 6, 20)),
        (b"20161231235960Z", utc(2017, 1, 1)),
    ],
)
def test_generalized_time(raw: bytes, when: datetime) -> None:
    assert values.generalized_time("pwdEndTime", raw) == when


@pytest.mark.parametrize(
    "raw",
    [b"", b"20261121180620", b"20261321180620Z", b"99991231235959-1200", b"tomorrow", "２０２６1121180620Z".encode()],
)
def test_no_generalized_time(raw: bytes) -> None:
    with pytest.raises(InvalidValue, match="pwdEndTime"):
        values.generalized_time("pwdEndTime", raw)


def test_filetime_of_active_directory() -> None:
    assert values.filetime("accountExpires", b"133801632000000000") == utc(2025, 1, 1)
    assert values.filetime("accountExpires", b"0") is None
    assert values.filetime("accountExpires", b"9223372036854775807") is None
    for bad in (b"-1", b"9223372036854775806", b"1_0", b"x", b"9" * 5000):
        with pytest.raises(InvalidValue, match="accountExpires"):
            values.filetime("accountExpires", bad)


def test_guid_is_printed_as_active_directory_prints_it() -> None:
    raw = bytes.fromhex("33221100554477668899aabbccddeeff")
    assert values.guid_text("objectGUID", raw) == "00112233-4455-6677-8899-aabbccddeeff"
    with pytest.raises(InvalidValue, match="16 bytes, this has 3"):
        values.guid_text("objectGUID", b"abc")


def test_text() -> None:
    assert values.text("sn", "Łąg".encode()) == "Łąg"
    for bad in (b"\xff", b"a\0b"):
        with pytest.raises(InvalidValue, match=r"^sn:"):
            values.text("sn", bad)


@pytest.mark.parametrize(
    ("attributes", "enabled", "why"),
    [
        ({}, True, None),
        ({"userAccountControl": b"512"}, True, None),
        ({"userAccountControl": b"514"}, False, "userAccountControl 514"),
        ({"userAccountControl": b"66050"}, False, "userAccountControl"),
        ({"userAccountControl": b"528"}, True, None),  # 16: locked out, not disabled
        ({"nsAccountLock": b"true"}, False, "nsAccountLock"),
        ({"nsAccountLock": b"FALSE"}, True, None),
        ({"loginDisabled": b"TRUE"}, False, "loginDisabled"),
        ({"lockoutTime": b"133801632000000000"}, True, None),
        ({"pwdAccountLockedTime": b"20261121180620Z"}, True, None),  # locked out, not disabled
        ({"pwdAccountLockedTime": b"000001010000Z"}, False, "administrator"),
        ({"accountExpires": b"0", "shadowExpire": b"-1"}, True, None),
    ],
)
def test_flags(attributes: dict[str, bytes], enabled: bool, why: str | None) -> None:
    found = state(**attributes)
    assert found.enabled is enabled and found.ends_at is None
    assert (why is None and found.why is None) or (why or "") in (found.why or "")


def test_shadow_expire_closes_the_account_when_that_day_begins() -> None:
    assert state(shadowExpire=b"20000").ends_at == utc(2024, 10, 4)
    assert state(shadowExpire=b"1").ends_at == utc(1970, 1, 2)
    assert state(shadowExpire=b"0").ends_at is None


def test_the_earliest_end_wins_and_is_named() -> None:
    found = state(krbPrincipalExpiration=b"20270101000000Z", pwdEndTime=b"20260601000000Z", shadowExpire=b"30000")
    assert found.enabled and found.ends_at == utc(2026, 6, 1)
    assert found.why == "pwdEndTime ends the account at 2026-06-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("userAccountControl", b"abc"),
        ("nsAccountLock", b"perhaps"),
        ("loginDisabled", b""),
        ("accountExpires", b"soon"),
        ("shadowExpire", b"2026-12-31"),
        ("shadowExpire", b"999999999999"),
        ("krbPrincipalExpiration", b"20261301000000Z"),
    ],
)
def test_a_bad_value_names_its_attribute(name: str, raw: bytes) -> None:
    with pytest.raises(InvalidValue, match=f"^{name}: "):
        state(**{name: raw})


def test_two_values_where_one_can_be() -> None:
    with pytest.raises(InvalidValue, match=r"^nsAccountLock: has 2 values"):
        values.account_state({"nsaccountlock": (b"TRUE", b"FALSE")})


@given(st.dictionaries(st.sampled_from([n.lower() for n in values.ACCOUNT_ATTRIBUTES]), st.binary(max_size=24)))
def test_any_bytes_give_a_state_or_a_named_refusal(attributes: dict[str, bytes]) -> None:
    try:
        found = values.account_state({name: (value,) for name, value in attributes.items()})
    except InvalidValue as error:
        assert str(error).split(":")[0] in values.ACCOUNT_ATTRIBUTES
    else:
        assert found.ends_at is None or found.ends_at.tzinfo is UTC
