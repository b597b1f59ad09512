"""What a source of kind `ldap` is told: where, as whom, what to read and how long to wait. Pure values, checked whole.

Passwords travel only over TLS or to this machine itself; a certificate is verified unless the flag with the shouting
name says otherwise; a name without a password is refused: a server takes it for anonymous (RFC 4513 section 5.1.2).
`sasl: external` takes who asks from the connection: a client certificate, or the process at a socket (RFC 4422 appendix A).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from syncd.core.secret import Secret
from syncd.errors import InvalidValue
from syncd.ldap import dn

SCOPES = ("base", "one", "subtree")
KEY_ATTRIBUTES = ("objectGUID", "entryUUID", "nsUniqueId", "ipaUniqueID")  # order of choice if an entry has several


@dataclass(frozen=True, slots=True)
class SearchConfig:
    """What to look for; every base is read with the same scope and filter (RFC 4515)."""

    base: tuple[str, ...]
    filter: str = "(objectClass=*)"
    scope: str = "subtree"
    attributes: tuple[str, ...] = ()  # beside those the mapping wants
    by: str | None = None  # of groups: the attribute by which users name them; None: their entries are read
    left_out: tuple[str, ...] = ()  # of groups: entries below which they are not read on purpose


@dataclass(frozen=True, slots=True)
class LdapConfig:
    """One directory. Times are whole seconds; the URLs are replicas of the same data, tried in order."""

    name: str
    urls: tuple[str, ...]
    users: SearchConfig
    groups: SearchConfig | None = None
    bind_dn: str | None = None  # None: anonymous
    bind_password: Secret | None = None
    sasl: str | None = None  # "external": who asks is known by the connection
    sasl_authzid: str | None = None  # whom to act as: "dn:..." or "u:..." (RFC 4513 section 5.2.1.8)
    starttls: bool = False
    ca_file: Path | None = None  # None: the system's authorities
    client_cert_file: Path | None = None  # PEM, with its chain
    client_key_file: Path | None = None  # None: the key is in client_cert_file
    tls_do_not_verify_certificates: bool = False
    connect_timeout_s: int = 10
    receive_timeout_s: int = 60  # of silence
    deadline_s: int = 3600  # of the whole read, from connecting to the last entry
    retries: int = 2  # of connecting, when no server could be reached or all were busy; never of a read under way
    page_size: int = 500
    canaries: tuple[str, ...] = ()  # DNs that must be visible, or the read is not complete
    key_attribute: str | None = None  # None: the first of KEY_ATTRIBUTES that the entries have
    deltas: bool = False  # a whole read leaves a checkpoint, from which reads of what changed go on
    max_entries: int = 5_000_000
    max_entry_bytes: int = 64 * 1024 * 1024  # a group of 500,000 DNs fits

    @property
    def who(self) -> str:
        """Whom the server is asked as, for people."""
        if self.sasl:
            return f"SASL {self.sasl.upper()}" + (f" {self.sasl_authzid}" if self.sasl_authzid else "")
        return self.bind_dn or "anonymous"

    def own_name(self, bound_as: str | None) -> str | None:
        """The DN of the account that reads, if it has one. `bound_as`: as the server says it (RFC 4532)."""
        told = bound_as.removeprefix("dn:") if bound_as and bound_as.startswith("dn:") else None
        return self.bind_dn or told or None

    def problems(self) -> tuple[str, ...]:
        """Everything wrong with these values, one line each; () if nothing is. No network, no file is touched."""
        found = [] if self.urls else ["urls: at least one is needed"]
        for url in self.urls:
            found += self._url_problems(url)
        if self.bind_dn is not None and not self.bind_password:
            found.append("bind_password: missing or empty; a server would take the bind for anonymous (RFC 4513 5.1.2)")
        if self.bind_dn is None and self.bind_password:
            found.append("bind_dn: missing, though there is a bind_password")
        found += self._sasl_problems()
        if self.retries < 0:
            found.append(f"retries: must be 0 or more, is {self.retries}")
        for field in ("connect_timeout_s", "receive_timeout_s", "deadline_s", "page_size", "max_entries"):
            if getattr(self, field) < 1:
                found.append(f"{field}: must be 1 or more, is {getattr(self, field)}")
        for part, search in (("users", self.users), ("groups", self.groups)):
            if search is None:
                continue
            if not search.base:
                found.append(f"{part}.base: at least one is needed")
            if search.scope not in SCOPES:
                found.append(f"{part}.scope: {search.scope!r} is not one of {', '.join(SCOPES)}")
            found += [f"{part}.base: {why}" for base in search.base if (why := _dn_problem(base))]
        found += [f"canaries: {why}" for canary in self.canaries if (why := _dn_problem(canary))]
        if self.key_attribute and self.key_attribute.lower() not in {name.lower() for name in KEY_ATTRIBUTES}:
            found.append(f"key_attribute: {self.key_attribute!r} is not one of {', '.join(KEY_ATTRIBUTES)}")
        return tuple(found)

    def _sasl_problems(self) -> list[str]:
        found = []
        if self.sasl not in (None, "external"):
            found.append(f"sasl: {self.sasl!r} is not external")
        if self.sasl and (self.bind_dn is not None or self.bind_password):
            found.append("sasl: external takes the name from the connection; leave out bind_dn and bind_password")
        if self.sasl_authzid is not None and not self.sasl:
            found.append("sasl_authzid: goes with sasl: external only")
        if self.client_key_file and not self.client_cert_file:
            found.append("client_key_file: has no client_cert_file")
        return found

    def _url_problems(self, url: str) -> list[str]:
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError as exc:
            return [f"urls: {url!r}: {exc}"]
        if parts.scheme == "ldapi":
            if not socket_path(url):
                return [f"urls: {url!r} names no socket; write ldapi:///run/slapd/ldapi"]
            return [f"urls: {url!r} stays on this machine; starttls goes with ldap:// only"] if self.starttls else []
        if parts.scheme not in ("ldap", "ldaps") or not host or parts.path.strip("/") or parts.username is not None:
            return [f"urls: {url!r} is not ldap://host[:port], ldaps://host[:port] or ldapi://socket"]
        if parts.scheme == "ldaps" and self.starttls:
            return [f"urls: {url!r} is encrypted from the start; starttls goes with ldap:// only"]
        encrypted = parts.scheme == "ldaps" or self.starttls
        if not encrypted and self.bind_dn is not None and not is_loopback(host):
            return [f"urls: {url!r} would send the password in clear text; use ldaps:// or starttls: true"]
        if self.sasl and not (encrypted and self.client_cert_file):
            return [f"urls: {url!r} shows nobody's name to sasl: external; it needs TLS and a client_cert_file"]
        return []


def socket_path(url: str) -> str | None:
    """The socket of an ldapi:// URL, written as ldapi:///run/slapd/ldapi or as ldapi://%2Frun%2Fslapd%2Fldapi.

    None for another scheme, "" for an ldapi:// URL that names no socket.
    """
    parts = urlsplit(url)
    if parts.scheme != "ldapi":
        return None
    path = unquote(parts.netloc or parts.path)
    return path if path.startswith("/") and path.strip("/") else ""


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _dn_problem(name: str) -> str | None:
    try:
        dn.normalize(name)
    except InvalidValue as exc:
        return str(exc)
    return None
