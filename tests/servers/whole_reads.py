"""A directory read to its end, as the suites of whole reads look at it."""

from __future__ import annotations

from datetime import UTC, datetime

from syncd.core.snapshot import Certificate, Entry, SetAside
from syncd.ldap.config import LdapConfig
from syncd.ldap.source import LdapSource

NOW = datetime(2026, 11, 21, tzinfo=UTC)
Read = tuple[list[Entry], list[SetAside], Certificate]


def read(settings: LdapConfig) -> Read:
    reading = LdapSource(settings, ("uid", "cn", "mail", "manager", "employeeType")).read(NOW)
    found = list(reading)
    return (
        [one for one in found if isinstance(one, Entry)],
        [one for one in found if isinstance(one, SetAside)],
        reading.certificate(),
    )


def because(settings: LdapConfig) -> str:
    """Why the read is not complete; fails if it says it is."""
    certificate = read(settings)[2]
    assert not certificate.complete
    return "; ".join(certificate.because)
