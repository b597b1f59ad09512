"""What servers say of a refused bind, a short search or a certificate, in words that say what to do."""

from __future__ import annotations

import re

import pytest

from syncd.ldap import outcome
from syncd.ldap.outcome import PASSWORD_POLICY, PolicyAnswer, policy, why_refused

AD = "80090308: LdapErr: DSID-0C090439, comment: AcceptSecurityContext error, data {}, v4563"


@pytest.mark.parametrize(
    ("code", "message", "says"),
    [
        (49, AD.format("52e"), "the password is wrong: compare"),
        (49, AD.format("525"), "there is no such account"),
        (49, AD.format("532"), "its password has expired"),
        (49, AD.format("533"), "the account is disabled: enable it"),
        (49, AD.format("773"), "its password must be changed first"),
        (49, AD.format("775"), "the account is locked: unlock it"),
        (49, AD.format("fff"), "the name or the password is wrong"),
        (49, "", "the name or the password is wrong"),
        (8, "", "use ldaps:// or starttls: true"),
        (13, "confidentiality required", "use ldaps:// or starttls: true"),
        (19, "Exceed password retry limit. Please try later.", "locked: .*Exceed password retry limit"),
        (53, "Account inactivated. Contact system administrator.", r"disabled: .*\(Account inactivated"),
        (34, "invalid DN", "^invalid DN$"),
        (34, "", "gives no reason"),
    ],
)
def test_a_refused_bind(code: int, message: str, says: str) -> None:
    assert re.search(says, why_refused(code, message, PolicyAnswer(), external=False))


@pytest.mark.parametrize("code", [7, 48, 49])
def test_external_that_shows_nobody(code: int) -> None:
    assert "needs a client certificate that it trusts" in why_refused(code, "", PolicyAnswer(), external=True)


@pytest.mark.parametrize(
    ("value", "reason", "warning"),
    [
        ("30 03 81 01 00", outcome.EXPIRED, None),
        ("30 03 81 01 01", outcome.LOCKED, None),
        ("30 03 81 01 02", outcome.MUST_CHANGE, None),
        ("30 03 81 01 05", None, None),  # a new password of insufficient quality: not our matter
        ("30 06 A0 04 80 02 0E 10", None, "expires in 0 days and 1 hours"),
        ("30 05 A0 03 81 01 02", None, "2 more logins are let through"),
        ("30 08 A0 03 81 01 02 81 01 02", outcome.MUST_CHANGE, "2 more logins"),
        ("30 00", None, None),
        ("", None, None),
        ("30 05 81 01", None, None),
        ("04 03 81 01 00", None, None),
    ],
)
def test_the_password_policy_control(value: str, reason: str | None, warning: str | None) -> None:
    found = policy({PASSWORD_POLICY: bytes.fromhex(value)})
    assert found.reason == reason
    assert (warning is None and found.warning is None) or str(warning) in str(found.warning)
    if reason:
        assert why_refused(49, "Invalid credentials", found, external=False) == reason


def test_the_password_controls_of_389ds() -> None:
    assert policy({"2.16.840.1.113730.3.4.4": b"0"}).reason == outcome.EXPIRED
    assert "expires in 1 days and 0 hours" in str(policy({"2.16.840.1.113730.3.4.5": b"86400"}).warning)
    assert policy({"2.16.840.1.113730.3.4.5": b"soon"}) == PolicyAnswer()


def test_short_searches() -> None:
    assert "raise it" in str(outcome.why_no_entries(4)) and "right to search" in str(outcome.why_no_entries(50))
    assert outcome.why_no_entries(2) is None
    assert "nsLookThroughLimit" in str(outcome.why_no_entries(11, "adminLimitExceeded (11)"))
    no_pages = "adminLimitExceeded (11): pagedResults control not allowed"
    assert "size.prtotal=unlimited" in str(outcome.why_no_entries(11, no_pages))
    assert "page_size" in str(outcome.why_no_entries(11, "adminLimitExceeded (11): illegal pagedResults page size"))


@pytest.mark.parametrize(
    ("code", "text", "says"),
    [
        (10, "certificate has expired", "has expired: it must be renewed"),
        (9, "certificate is not yet valid", "compare the clocks"),
        (62, "Hostname mismatch, certificate is not valid for 'dc1'.", "Hostname mismatch, .*'dc1'. Write the host"),
        (19, "self-signed certificate in certificate chain", r"self-signed .*\(ca_file names"),
    ],
)
def test_certificates(code: int, text: str, says: str) -> None:
    assert re.search(says, outcome.why_tls(code, text))
