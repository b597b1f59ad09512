"""What a server's refusal means, in words that say what to do. Pure.

Sources: RFC 4511 appendix A (result codes), draft-behera-ldap-password-policy-10 (OpenLDAP, 389ds), the password
controls of 389ds, and MS-ERREF 2.2 (Active Directory and Samba say why after `data` in the text of result 49).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from syncd.ldap import ber

PASSWORD_POLICY = "1.3.6.1.4.1.42.2.27.8.5.1"  # noqa: S105 - a control, no password
_EXPIRED_CONTROL, _EXPIRING_CONTROL = "2.16.840.1.113730.3.4.4", "2.16.840.1.113730.3.4.5"
LATER = frozenset({51, 52})  # busy, unavailable: another server or another time may do
UNJUDGED = LATER | {1, 2, 3, 11, 80}  # of a bind: the server failed, and has not looked at the password

WRONG = "the name or the password is wrong: compare the source's bind_dn and its password with the directory"
EXPIRED = "its password has expired: set a new one in the directory and give it to the source"
MUST_CHANGE = "its password must be changed first: set one that is not marked to be changed, and give it to the source"
LOCKED = "the account is locked: unlock it in the directory and find out who tried wrong passwords"
DISABLED = "the account is disabled: enable it in the directory"
_AD_REASONS = {
    "525": "there is no such account: correct the source's bind_dn",
    "52e": WRONG.replace("the name or the password", "the password"),
    "530": "it may not log on at this hour: lift the account's logon hours",
    "531": "it may not log on from this machine: lift the account's restriction to workstations",
    "532": EXPIRED,
    "533": DISABLED,
    "701": "the account has expired: move its end date in the directory",
    "773": MUST_CHANGE,
    "775": LOCKED,
}
_POLICY_REASONS = {0: EXPIRED, 1: LOCKED, 2: MUST_CHANGE}
_ENCRYPT = "it wants an encrypted connection; use ldaps:// or starttls: true"
_NO_EXTERNAL = "the server knows nobody by this connection: it needs a client certificate that it trusts, or ldapi://"
_BY_CODE = {
    7: "the server does not offer this way to authenticate",
    8: _ENCRYPT,
    13: _ENCRYPT,
    19: "the directory's password policy forbids it, as after too many wrong passwords: " + LOCKED,
    48: "the server refuses this way to authenticate: anonymous, or without a password",
    49: WRONG,
    50: "the account may not bind: grant it the right to authenticate",
    53: "the server will not let it in, as with an account that is disabled: " + DISABLED,
}


@dataclass(frozen=True, slots=True)
class PolicyAnswer:
    """What came along with a bind. A server may say `success` and still let the account do nothing."""

    error: int | None = None  # 0 expired, 1 locked, 2 must change; others concern changing a password
    expires_in_s: int | None = None
    grace_logins: int | None = None

    @property
    def reason(self) -> str | None:
        return None if self.error is None else _POLICY_REASONS.get(self.error)

    @property
    def warning(self) -> str | None:
        if self.expires_in_s is not None:
            days, hours = divmod(self.expires_in_s // 3600, 24)
            return f"its password expires in {days} days and {hours} hours: set a new one before, or exempt the account"
        if self.grace_logins is not None:
            return f"its password has expired and {self.grace_logins} more logins are let through: set a new one"
        return None


def policy(controls: Mapping[str, bytes]) -> PolicyAnswer:
    """From the bind's response controls, OID -> value. A value that cannot be read says nothing."""
    expiring = controls.get(_EXPIRING_CONTROL, b"")
    found = PolicyAnswer(
        error=0 if _EXPIRED_CONTROL in controls else None,
        expires_in_s=int(expiring) if expiring.isdigit() else None,
    )
    try:
        outer = ber.elements(controls.get(PASSWORD_POLICY, b""))
        inner = ber.elements(outer[0][1]) if outer and outer[0][0] == ber.SEQUENCE else []
        for tag, content in inner:
            if tag == 0x81:  # error [1] ENUMERATED
                found = PolicyAnswer(ber.integer(content), found.expires_in_s, found.grace_logins)
            elif tag == 0xA0:  # warning [0] CHOICE {timeBeforeExpiration [0], graceAuthNsRemaining [1]}
                (kind, number), *_ = ber.elements(content)
                seconds, logins = (ber.integer(number), None) if kind == 0x80 else (None, ber.integer(number))
                found = PolicyAnswer(found.error, seconds, logins)
    except ValueError:
        return found
    return found


def why_refused(code: int, message: str, answer: PolicyAnswer, external: bool) -> str:
    """Why a bind was refused and what to do, for an admin."""
    if external and code in (7, 48, 49):
        return _NO_EXTERNAL
    said = re.search(r"\bdata ([0-9a-f]{3,8})\b", message)
    reason = (_AD_REASONS.get(said[1].lstrip("0")) if said else None) or answer.reason
    if reason is None and code in (19, 53) and message:
        return f"{_BY_CODE[code]} ({message})"
    return reason or _BY_CODE.get(code) or message or "the server gives no reason"


def why_no_entries(code: int, message: str = "") -> str | None:
    """What to do about a search's result code; None if the code says enough."""
    if code == 11 and "page size" in message.lower():
        return "the server hands out smaller pages only: lower the source's page_size"
    if code == 11 and "control not allowed" in message.lower():
        return "the server allows this account no pages: allow them (OpenLDAP: limits size.prtotal=unlimited)"
    return {
        3: "the server's time limit for this account is too short: raise it, or index what the filter asks for",
        4: "the server's size limit for this account is too small: raise it (OpenLDAP: limits size.unlimited and "
        "size.prtotal; 389ds: nsSizeLimit and nsPagedSizeLimit; Active Directory: MaxPageSize)",
        11: "an administrative limit of the server: raise it for this account (389ds: nsLookThroughLimit)",
        10: "the entries are on another server: give the URL of one that holds them",
        50: "the account lacks the right to search there: grant it to read the base and all below",
        51: "the server is busy: try again later",
        52: "the server is not available: try again later",
    }.get(code)


def why_tls(verify_code: int, verify_message: str) -> str:
    """Why a certificate was refused, by OpenSSL's X509_V_ERR_* number."""
    if verify_code == 10:
        return "the server's certificate has expired: it must be renewed on the server"
    if verify_code == 9:
        return "the server's certificate is not valid yet: compare the clocks of this machine and of the server"
    if verify_code in (62, 64):
        return (
            f"the certificate is not trusted: {verify_message.rstrip('.')}. Write the host in `url` as the certificate "
            "names it"
        )
    return f"the certificate is not trusted: {verify_message} (ca_file names the authority to trust)"
