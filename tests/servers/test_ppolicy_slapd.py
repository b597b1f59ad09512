"""Accounts as OpenLDAP's own password policy closes, locks, begins and ends them (overlay ppolicy), and how each is told."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from servers import corp as companies
from servers.corp import COMPANY, Corp, changes
from servers.ldif_changes import modify
from servers.slapd import BASE, Slapd
from servers.test_contract_changes import delta
from servers.test_deltas_slapd import LOG, is_whole

POLICY = f"cn=policy,{BASE}"
STRICT = (
    f"dn: {POLICY}\nchangetype: add\nobjectClass: organizationalRole\nobjectClass: pwdPolicy\ncn: policy\n"
    "pwdAttribute: userPassword\npwdLockout: TRUE\npwdMaxFailure: 2\npwdLockoutDuration: 1800\n\n"
)
ROSA = next(one for one in COMPANY.people if one.uid == "rosa.castillo")


@pytest.fixture
def directory(new_slapd: Callable[..., Slapd]) -> Slapd:
    policy = f'{LOG}\noverlay ppolicy\nppolicy_default "{POLICY}"'
    made = new_slapd(ldif=companies.LDIF, max_bytes=4 << 20, globals="moduleload ppolicy", overlays=policy)
    made.modify(STRICT + modify(ROSA.dn, ("replace", "userPassword", "right-password")))
    return made


@pytest.fixture
def corp(directory: Slapd, tmp_path: Path) -> Iterator[Corp]:
    source = {"schedule": {"full": "1d", "delta": "1m"}, "retries": 0, "accounts": {"lockout": "30m"}}
    made = Corp(tmp_path, f"sqlite:///{tmp_path / 'syncd.db'}", directory.url, source, now=datetime.now(UTC))
    try:
        assert made.run().complete
        yield made
    finally:
        made.close()


def test_too_many_wrong_passwords_lock_and_take_nothing(directory: Slapd, corp: Corp) -> None:
    """The server writes it by itself, and tells it as any change."""
    before = corp.standing()
    for _ in range(2):
        wrong = ["ldapwhoami", "-x", "-H", directory.url, "-D", ROSA.dn, "-w", "wrong"]
        assert subprocess.run(wrong, capture_output=True, check=False).returncode == 49
    assert changes(delta(corp)) == [("update", ROSA.uid)]
    shown = corp.user(ROSA.uid)
    (link,) = shown["links"]
    assert shown["status"] == "locked" and link["enabled"]
    assert 1700 < (link["locked_until"] - datetime.now(UTC)).total_seconds() <= 1800
    kept = {name: rows for name, rows in corp.lost(before).items() if name not in ("users", "links")}
    assert not any(kept.values()), "a lock-out is never a leaver"
    is_whole(corp)
    corp.now = link["locked_until"]
    assert corp.user(ROSA.uid)["status"] == "active", "it ends by itself, read or not"
    assert corp.run().drift == 0


def test_closed_by_an_administrator_and_opened_again(directory: Slapd, corp: Corp) -> None:
    before = corp.standing()
    directory.modify(modify(ROSA.dn, ("add", "pwdAccountLockedTime", "000001010000Z")))
    assert ("deactivate", ROSA.uid) in changes(delta(corp))
    shown = corp.user(ROSA.uid)
    assert (shown["status"], shown["seats"]) == ("inactive", [])
    assert "pwdAccountLockedTime" in shown["links"][0]["because"]
    directory.modify(modify(ROSA.dn, ("delete", "pwdAccountLockedTime")))
    assert ("reactivate", ROSA.uid) in changes(delta(corp))
    assert not any(rows for name, rows in corp.lost(before).items() if name != "users")


def test_its_first_and_last_instants_are_known_before(directory: Slapd, corp: Corp) -> None:
    corp.now = datetime(2026, 11, 2, 3, 0, tzinfo=UTC)
    starts, ends = datetime(2026, 11, 3, 8, tzinfo=UTC), datetime(2026, 12, 24, 12, tzinfo=UTC)
    written = (("replace", "pwdStartTime", "20261103080000Z"), ("replace", "pwdEndTime", "20261224120000Z"))
    directory.modify(modify(ROSA.dn, *written))
    corp.run()
    shown = corp.user(ROSA.uid)
    assert (shown["enabled"], [each["at"] for each in shown["scheduled"]]) == (False, [starts, ends])
    for instant, enabled in ((starts, True), (ends, False)):
        corp.now = instant
        assert corp.user(ROSA.uid)["enabled"] is enabled
