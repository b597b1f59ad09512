"""What an entry says about its account: the one table, by kind of directory, and what is configured beside it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import combinations
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.core.state import UNTIL_LIFTED
from syncd.errors import InvalidFilter, InvalidValue
from syncd.ldap import accounts
from syncd.ldap.accounts import AccountState, Rules, Server, account_state, condition

AD = Server("active-directory", timedelta(minutes=30))
COMPUTED = "msDS-User-Account-Control-Computed"
LOCKED_AT = "133801632000000000"  # 2025-01-01T00:00:00Z


def state(said: dict[str, str], server: Server | None = None, rules: Rules | None = None) -> AccountState:
    return account_state({name.lower(): (value.encode(),) for name, value in said.items()}, server, rules)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]


DISABLED = AccountState(enabled=False)
CASES: list[tuple[dict[str, str], AccountState]] = [
    ({}, AccountState()),
    # Active Directory
    ({"userAccountControl": "512"}, AccountState()),
    ({"userAccountControl": "514"}, DISABLED),
    ({"userAccountControl": "66050"}, DISABLED),  # and the password never expires
    ({"userAccountControl": "528"}, AccountState(locked_until=UNTIL_LIFTED)),
    ({"userAccountControl": "8389120"}, AccountState()),  # an expired password is no lock
    ({"pwdLastSet": "0"}, AccountState()),  # nor is one that must be changed
    ({"accountExpires": "0"}, AccountState()),
    ({"accountExpires": "9223372036854775807"}, AccountState()),
    ({"accountExpires": "9223372036854775806"}, AccountState()),  # after the year 9999
    ({"accountExpires": LOCKED_AT}, AccountState(ends_at=utc(2025, 1, 1))),
    ({"lockoutTime": "0"}, AccountState()),
    ({"lockoutTime": LOCKED_AT}, AccountState(locked_until=UNTIL_LIFTED)),
    ({"lockoutTime": LOCKED_AT, COMPUTED: "0"}, AccountState()),  # the lock is over, nobody signed in since
    ({"lockoutTime": LOCKED_AT, COMPUTED: "16"}, AccountState(locked_until=UNTIL_LIFTED)),
    ({COMPUTED: "16"}, AccountState(locked_until=UNTIL_LIFTED)),
    ({COMPUTED: "8388608"}, AccountState()),
    ({"msDS-UserAccountDisabled": "TRUE"}, DISABLED),
    ({"ms-DS-UserAccountAutoLocked": "TRUE"}, AccountState(locked_until=UNTIL_LIFTED)),
    # OpenLDAP's ppolicy
    ({"pwdAccountLockedTime": "20261121180620Z"}, AccountState(locked_until=UNTIL_LIFTED)),
    ({"pwdAccountLockedTime": "000001010000Z"}, DISABLED),
    ({"pwdAccountLockedTime": "00000101000000Z"}, DISABLED),
    ({"pwdStartTime": "20270101000000Z"}, AccountState(starts_at=utc(2027, 1, 1))),
    ({"pwdEndTime": "20260601000000Z"}, AccountState(ends_at=utc(2026, 6, 1))),
    # 389 Directory Server, FreeIPA
    ({"nsAccountLock": "true"}, DISABLED),
    ({"nsAccountLock": "FALSE"}, AccountState()),
    ({"accountUnlockTime": "20261121180620Z"}, AccountState(locked_until=utc(2026, 11, 21, 18, 6, 20))),
    ({"accountUnlockTime": "19700101000000Z"}, AccountState(locked_until=UNTIL_LIFTED)),
    ({"krbPrincipalExpiration": "20270101000000Z"}, AccountState(ends_at=utc(2027, 1, 1))),
    ({"krbPrincipalExpiration": "19700101000000Z"}, AccountState()),
    # POSIX: closed from the beginning of that day
    ({"shadowExpire": "20000"}, AccountState(ends_at=utc(2024, 10, 4))),
    ({"shadowExpire": "1"}, AccountState(ends_at=utc(1970, 1, 2))),
    ({"shadowExpire": "0"}, AccountState()),
    ({"shadowExpire": "-1"}, AccountState()),
    ({"shadowExpire": "99999999"}, AccountState()),
    # eDirectory
    ({"loginDisabled": "TRUE"}, DISABLED),
    ({"loginActivationTime": "20270101000000Z"}, AccountState(starts_at=utc(2027, 1, 1))),
    ({"loginExpirationTime": "20270101000000Z"}, AccountState(ends_at=utc(2027, 1, 1))),
    ({"lockedByIntruder": "TRUE"}, AccountState(locked_until=UNTIL_LIFTED)),
    ({"lockedByIntruder": "FALSE", "loginIntruderResetTime": "20270101000000Z"}, AccountState()),
    (
        {"lockedByIntruder": "TRUE", "loginIntruderResetTime": "20270101000000Z"},
        AccountState(locked_until=utc(2027, 1, 1)),
    ),
]


@pytest.mark.parametrize(("said", "expected"), CASES, ids=lambda case: " ".join(case) if isinstance(case, dict) else "")
def test_the_table(said: dict[str, str], expected: AccountState) -> None:
    found = state(said)
    facts = (found.enabled, found.starts_at, found.ends_at, found.locked_until)
    assert facts == (expected.enabled, expected.starts_at, expected.ends_at, expected.locked_until)
    assert (found.why is None) == (expected == AccountState())
    assert found.why is None or any(found.why.startswith(name) for name in said), "the reason names its attribute"


def test_every_row_is_tried() -> None:
    assert {row.attribute for row in accounts.TABLE} <= {name for said, _ in CASES for name in said}


def test_how_long_a_lock_out_lasts() -> None:
    """Active Directory says it at the top of the domain; the configuration says it for any other, or better."""
    assert state({"lockoutTime": LOCKED_AT}, AD).locked_until == utc(2025, 1, 1, 0, 30)
    hour = Rules(lockout=timedelta(hours=1))
    assert state({"lockoutTime": LOCKED_AT, COMPUTED: "16"}, AD, hour).locked_until == utc(2025, 1, 1, 1)
    assert state({"pwdAccountLockedTime": "20250101000000Z"}, None, hour).locked_until == utc(2025, 1, 1, 1)
    assert state({"accountUnlockTime": "20250101000500Z"}, None, hour).locked_until == utc(2025, 1, 1, 0, 5)
    for_ever = Rules(lockout=timedelta(days=3_000_000))
    assert state({"lockoutTime": LOCKED_AT}, AD, for_ever).locked_until == UNTIL_LIFTED


def test_active_directory_heeds_its_own_attributes_only() -> None:
    strange = {
        "shadowExpire": "1",
        "nsAccountLock": "TRUE",
        "pwdAccountLockedTime": "nonsense",
        "loginDisabled": "TRUE",
    }
    assert state(strange, AD) == AccountState()
    assert not state({**strange, "userAccountControl": "514"}, AD).enabled
    assert not state({"nsAccountLock": "TRUE"}, AD, Rules(flavour="any")).enabled, "unless the configuration says so"


def test_another_directory_may_show_anything() -> None:
    """A proxy before Active Directory, a dump in a file: whatever says that somebody is gone is believed."""
    for server in (None, Server()):
        assert not state({"userAccountControl": "514"}, server).enabled
    assert state({"userAccountControl": "514"}, rules=Rules(flavour="openldap")).enabled
    assert state({"userAccountControl": "514"}, rules=Rules(ignore=frozenset({"useraccountcontrol"}))).enabled


def test_every_directory_has_rows_and_every_row_a_directory() -> None:
    named = {flavour for row in accounts.TABLE for flavour in row.flavours}
    assert named == set(accounts.FLAVOURS) - {"any"}


def test_last_start_first_end_longest_lock() -> None:
    found = state(
        {
            "krbPrincipalExpiration": "20270101000000Z",
            "pwdEndTime": "20260601000000Z",
            "shadowExpire": "30000",
            "pwdStartTime": "20260101000000Z",
            "loginActivationTime": "20260201000000Z",
            "accountUnlockTime": "20260301000000Z",
            "lockedByIntruder": "TRUE",
        }
    )
    assert found.enabled
    assert (found.starts_at, found.ends_at) == (utc(2026, 2, 1), utc(2026, 6, 1))
    assert found.locked_until == UNTIL_LIFTED
    assert found.why == (
        "lockedByIntruder is TRUE; loginActivationTime begins the account at 2026-02-01T00:00:00+00:00; "
        "pwdEndTime ends the account at 2026-06-01T00:00:00+00:00"
    )


def test_configured_conditions_ask_the_directorys_own_attributes() -> None:
    rules = Rules(
        disabled=condition('employeeType eq "leaver" or not (mail pr)'), locked=condition('pwdLastSet eq "0"')
    )
    assert not state({"mail": "a@example.org", "employeeType": "Leaver"}, rules=rules).enabled
    assert not state({}, rules=rules).enabled
    found = state({"mail": "a@example.org", "pwdLastSet": "0"}, AD, rules)
    assert found.enabled and found.locked_until == UNTIL_LIFTED
    assert found.why == 'accounts.locked: pwdLastSet eq "0"'
    assert {"employeeType", "mail", "pwdLastSet"} <= set(rules.wanted)
    several = {"mail": (b"a@example.org",), "employeetype": (b"staff", b"leaver")}
    assert not account_state(several, None, rules).enabled, "any value of several"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("employeeType = leaver", "= leaver is not understood"),
        ("pwdLastSet eq 0", "a string in double quotes"),
        ('urn:x:y eq "1"', "not an attribute of a directory entry"),
    ],
)
def test_a_condition_that_cannot_be_read(text: str, why: str) -> None:
    with pytest.raises(InvalidFilter, match=why):
        condition(text)


def test_configured_dates() -> None:
    rules = Rules(starts_at=("contractStart",), ends_at=("contractEnd", "retired"), zone=ZoneInfo("Europe/Berlin"))
    found = state({"contractStart": "2026-07-01", "retired": "2026-12-31"}, rules=rules)
    assert (found.starts_at, found.ends_at) == (utc(2026, 6, 30, 22), utc(2026, 12, 31, 23))
    found = state({"contractEnd": "2026-10-01", "retired": "2026-12-31", "shadowExpire": "30000"}, rules=rules)
    assert found.ends_at == utc(2026, 10, 1, 22), "the first that has a value, and the first end of all"


def test_what_is_not_configured_changes_no_digest() -> None:
    assert Rules().said == Rules(zone=ZoneInfo("Europe/Berlin")).said == ()
    changed = [
        Rules(flavour="any"),
        Rules(ignore=frozenset({"shadowexpire"})),
        Rules(lockout=timedelta(minutes=5)),
        Rules(disabled=condition("a pr")),
        Rules(locked=condition("a pr")),
        Rules(starts_at=("a",)),
        Rules(ends_at=("a",)),
        Rules(ends_at=("a",), zone=ZoneInfo("Europe/Berlin")),
    ]
    assert all(one.said != other.said for one, other in combinations(changed, 2))


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("userAccountControl", "abc"),
        (COMPUTED, "-"),
        ("lockoutTime", "yesterday"),
        ("nsAccountLock", "perhaps"),
        ("loginDisabled", ""),
        ("accountExpires", "soon"),
        ("accountUnlockTime", "0"),
        ("shadowExpire", "2026-12-31"),
        ("accountExpires", "-1"),
        ("accountExpires", "9223372036854775808"),
        ("lockoutTime", "9223372036854775806"),
        ("krbPrincipalExpiration", "20261301000000Z"),
    ],
)
def test_a_bad_value_names_its_attribute(name: str, raw: str) -> None:
    with pytest.raises(InvalidValue, match=f"^{name}: "):
        state({name: raw})


@pytest.mark.parametrize(
    "bad", [{"accountExpires": "soon"}, {"shadowExpire": "-"}, {"contractEnd": "when she retires"}]
)
def test_disabled_stands_whatever_else_cannot_be_read(bad: dict[str, str]) -> None:
    """Whoever leaves is not kept by a value that somebody mistyped."""
    rules = Rules(disabled=condition('employeeType eq "Former"'), ends_at=("contractEnd",))
    for off in ({"userAccountControl": "514"}, {"nsAccountLock": "TRUE"}, {"employeeType": "former"}):
        found = state({**bad, **off, "krbPrincipalExpiration": "20270101000000Z"}, rules=rules)
        assert (found.enabled, found.ends_at) == (False, utc(2027, 1, 1))
    with pytest.raises(InvalidValue, match=f"^{next(iter(bad))}: "):
        state({**bad, "userAccountControl": "512"}, rules=rules)


def test_a_fine_grained_policy_has_a_duration_of_its_own() -> None:
    policy = {"msDS-ResultantPSO": "CN=admins,CN=Password Settings Container,CN=System,DC=ad,DC=example,DC=org"}
    locked = {"lockoutTime": LOCKED_AT, COMPUTED: "16"}
    assert state({**locked, **policy}, AD).locked_until == UNTIL_LIFTED
    assert state({**locked, **policy, COMPUTED: "0"}, AD) == AccountState()
    assert state({**locked, **policy}, AD, Rules(lockout=timedelta(hours=1))).locked_until == utc(2025, 1, 1, 1)


def test_two_values_where_one_can_be() -> None:
    with pytest.raises(InvalidValue, match=r"^nsAccountLock: has 2 values"):
        account_state({"nsaccountlock": (b"TRUE", b"FALSE")})


said_values = st.one_of(
    st.binary(max_size=24),
    st.integers(-(2**63), 2**63).map(lambda number: str(number).encode()),
    st.sampled_from([b"TRUE", b"FALSE", b"000001010000Z", b"20261121180620Z", b"16", b"2", LOCKED_AT.encode()]),
)
entries = st.dictionaries(st.sampled_from([name.lower() for name in accounts.ATTRIBUTES]), said_values)
servers = st.sampled_from([None, AD, Server(lockout=timedelta(days=100_000))])


@given(entries, servers)
def test_any_bytes_give_a_state_or_a_named_refusal(attributes: dict[str, bytes], server: Server | None) -> None:
    try:
        found = account_state({name: (value,) for name, value in attributes.items()}, server)
    except InvalidValue as error:
        assert str(error).split(":")[0] in accounts.ATTRIBUTES
    else:
        assert all(at is None or at.tzinfo is UTC for at in (found.starts_at, found.ends_at, found.locked_until))


@given(entries, servers)
def test_a_further_attribute_never_opens_an_account(attributes: dict[str, bytes], server: Server | None) -> None:
    """Each row only adds a reason: off stays off, an end only comes nearer, a start only later. The one exception is the
    computed attribute, which knows that a lock is over."""
    whole = {name: (value,) for name, value in attributes.items()}
    try:
        all_of_it = account_state(whole, server)
        without = [account_state({k: v for k, v in whole.items() if k != name}, server) for name in whole]
    except InvalidValue:
        return
    for less in without:
        assert less.enabled or not all_of_it.enabled
        assert less.ends_at is None or (all_of_it.ends_at is not None and all_of_it.ends_at <= less.ends_at)
        assert less.starts_at is None or (all_of_it.starts_at is not None and all_of_it.starts_at >= less.starts_at)
