"""Values of a directory as text, times and truth."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.errors import InvalidValue
from syncd.ldap import values


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
    ("raw", "first", "last"),
    [
        (b"2026-12-31", utc(2026, 12, 30, 23), utc(2026, 12, 31, 23)),
        (b"20261231", utc(2026, 12, 30, 23), utc(2026, 12, 31, 23)),
        (b"2026-03-29", utc(2026, 3, 28, 23), utc(2026, 3, 29, 22)),  # 23 hours long in Berlin
        (b"2026-12-31T18:00:00+01:00", utc(2026, 12, 31, 17), utc(2026, 12, 31, 17)),
        (b"2026-07-01 18:00:00", utc(2026, 7, 1, 16), utc(2026, 7, 1, 16)),
        (b"20261231170000Z", utc(2026, 12, 31, 17), utc(2026, 12, 31, 17)),
        (b"133801632000000000", utc(2025, 1, 1), utc(2025, 1, 1)),
        (b"9223372036854775807", None, None),
        (b"0", None, None),
        (b" ", None, None),
    ],
)
def test_dates_as_personnel_systems_write_them(raw: bytes, first: datetime | None, last: datetime | None) -> None:
    """A day begins in the configured zone; as an end it is the last one."""
    berlin = ZoneInfo("Europe/Berlin")
    assert values.written_time("contractEnd", raw, berlin, end=False) == first
    assert values.written_time("contractEnd", raw, berlin, end=True) == last


@pytest.mark.parametrize("raw", [b"31.12.2026", b"2026-13-01", b"soon", b"1234", b"2026-W01", b"9999-12-31", b"\xff"])
def test_no_date(raw: bytes) -> None:
    with pytest.raises(InvalidValue, match=r"^contractEnd: "):
        values.written_time("contractEnd", raw, UTC, end=True)


@given(st.binary(max_size=30), st.booleans())
def test_any_bytes_are_a_date_or_a_named_refusal(raw: bytes, end: bool) -> None:
    try:
        found = values.written_time("contractEnd", raw, UTC, end)
    except InvalidValue as error:
        assert str(error).startswith("contractEnd: ")
    else:
        assert found is None or found.tzinfo is UTC


def test_a_span_of_active_directory() -> None:
    assert values.microsoft_interval("lockoutDuration", b"-18000000000") == timedelta(minutes=30)
    assert values.microsoft_interval("lockoutDuration", b"0") is None
    assert values.microsoft_interval("lockoutDuration", b"-9223372036854775808") is None
    for bad in (b"1", b"-9223372036854775809", b"x"):
        with pytest.raises(InvalidValue, match="lockoutDuration"):
            values.microsoft_interval("lockoutDuration", bad)


def test_sid_as_windows_prints_it() -> None:
    raw = bytes.fromhex("010500000000000515000000a065cf7e784b9b5fe77c8770091c0100")
    assert values.sid_text("objectSid", raw) == "S-1-5-21-2127521184-1604012920-1887927527-72713"
    assert values.sid_text("objectSid", bytes.fromhex("010100000000000512000000")) == "S-1-5-18"
    for bad in (b"", raw[:-1], raw + b"\0", b"\2" + raw[1:], b"\1\x10" + raw[2:]):
        with pytest.raises(InvalidValue, match=r"^objectSid: "):
            values.sid_text("objectSid", bad)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_sid_or_a_named_refusal(raw: bytes) -> None:
    try:
        text = values.sid_text("objectSid", raw)
    except InvalidValue as error:
        assert str(error).startswith("objectSid: ")
    else:
        _, revision, authority, *parts = text.split("-")
        whole = bytes([int(revision), len(parts)]) + int(authority).to_bytes(6, "big")
        assert whole + b"".join(int(part).to_bytes(4, "little") for part in parts) == raw
