"""One connection to one directory server, on ldap3. Nothing else in syncd imports ldap3.

Rules: TLS is verified before a password leaves; a connection is never reopened and no referral is followed; every
search answers with its own result code, which the caller judges; `deadline_s` is hard: ldap3 starts its receive timeout
anew with every byte, so a timer shuts the socket down. ldap3's own paging is not used: it hides short reads.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # ldap3 2.9.1 imports old names of pyasn1
    import ldap3
    from ldap3.core.exceptions import LDAPExceptionError
    from ldap3.operation.search import parse_filter

from syncd.errors import ConfigError, IncompleteRead, SourceUnreachable
from syncd.ldap.config import LdapConfig

PAGED_RESULTS = "1.2.840.113556.1.4.319"  # RFC 2696
_PASSWORD_POLICY = "1.3.6.1.4.1.42.2.27.8.5.1"  # draft-behera-ldap-password-policy-10  # noqa: S105
_SCOPES = {"base": ldap3.BASE, "one": ldap3.LEVEL, "subtree": ldap3.SUBTREE}

# Active Directory says why after `data` in the text of result 49 (MS-ERREF 2.2; also Samba).
_AD_REASONS = {
    "525": "there is no such account",
    "52e": "the password is wrong",
    "530": "it may not log on at this hour",
    "531": "it may not log on from this machine",
    "532": "its password has expired",
    "533": "the account is disabled",
    "701": "the account has expired",
    "773": "its password must be changed first",
    "775": "the account is locked",
}
_POLICY_REASONS = {0: "its password has expired", 1: "the account is locked", 2: "its password must be changed first"}


@dataclass(frozen=True, slots=True)
class RawEntry:
    dn: bytes
    attributes: Mapping[str, tuple[bytes, ...]]  # names as the server writes them, options included


@dataclass(frozen=True, slots=True)
class Page:
    """One answer to a search: entries in the server's order, and how it ended (RFC 4511 section 4.5.2)."""

    entries: tuple[RawEntry, ...]
    references: tuple[str, ...]  # URLs of parts of the tree that another server holds
    code: int
    description: str
    message: str
    cookie: bytes | None  # b"": the last page; None: the server sent no paging control

    @property
    def outcome(self) -> str:
        text = f"{self.description} ({self.code})"
        return f"{text}: {self.message}" if self.message else text


class Session:
    """An open, bound connection. Made by `connect`; every method raises IncompleteRead when the connection fails."""

    def __init__(self, connection: ldap3.Connection, url: str, watchdog: _Watchdog) -> None:
        self._connection = connection
        self._watchdog = watchdog
        self.url = url

    @property
    def tls_version(self) -> str | None:
        """Such as `TLSv1.3`; None without encryption."""
        version = getattr(self._connection.socket, "version", None)
        return version() if version else None

    def search(
        self,
        base: str,
        scope: str,
        filter_text: str,
        attributes: tuple[str, ...],
        page_size: int | None = None,
        cookie: bytes = b"",
    ) -> Page:
        """One request and its whole answer. The paging control is critical: a server without paging answers 12."""
        try:
            self._connection.search(
                base,
                filter_text,
                _SCOPES[scope],
                dereference_aliases=ldap3.DEREF_NEVER,
                attributes=list(attributes) or ["1.1"],
                paged_size=page_size,
                paged_criticality=True,
                paged_cookie=cookie or None,
            )
            return _page(self._connection.result, self._connection.response or [])
        except Exception as exc:  # ldap3 raises IndexError, TypeError and others for an answer that is not LDAP
            raise IncompleteRead(self._why_lost(exc)) from exc

    def bind(self) -> Mapping[str, Any]:
        """The result of the bind. Its control makes OpenLDAP tell an expired password from a wrong one."""
        try:
            self._connection.bind(read_server_info=False, controls=[(_PASSWORD_POLICY, False, None)])
            return dict(self._connection.result)
        except Exception as exc:  # as in `search`
            raise IncompleteRead(self._why_lost(exc)) from exc

    def close(self) -> None:
        self._watchdog.close()

    def _why_lost(self, exc: Exception) -> str:
        if self._watchdog.fired:
            return f"the read took longer than its deadline of {self._watchdog.deadline_s} s"
        if isinstance(exc, LDAPExceptionError | OSError):
            return f"the connection to {self.url} broke: {_plain(exc)}"
        return f"{self.url} answered something that is not LDAP ({type(exc).__name__})"


def check(config: LdapConfig) -> tuple[str, ...]:
    """All that is wrong with the values, the filters' grammar included; () if nothing is."""
    found = list(config.problems())
    for part, search in (("users", config.users), ("groups", config.groups)):
        if search is not None:
            try:
                parse_filter(search.filter, None, False, False, None, False)
            except Exception as exc:  # a malformed filter also makes ldap3's parser raise IndexError
                found.append(f"{part}.filter: {search.filter!r} is not an LDAP filter (RFC 4515): {_plain(exc)}")
    return tuple(found)


def connect(config: LdapConfig) -> Session:
    """A bound session with the first URL that answers.

    Raises ConfigError for values that cannot work, SourceUnreachable if no URL could be connected to or the bind was
    refused. A refused bind is not tried elsewhere: three wrong passwords lock an account.
    """
    found = check(config)
    if found:
        raise ConfigError("\n".join(f"sources.{config.name}.{problem}" for problem in found))
    watchdog = _Watchdog(config.deadline_s)
    failures = []
    try:
        for url in config.urls:
            try:
                session = Session(_open(config, url, watchdog), url, watchdog)
            except _CannotConnect as exc:
                failures.append(f"{url}: {exc}")
                continue
            _bind(config, session)
            return session
        raise SourceUnreachable(f"source {config.name}: " + "; ".join(failures))
    except BaseException:
        watchdog.close()
        raise


class _CannotConnect(Exception):
    """Why one URL could not be reached; the next one is tried."""


class _Tls(ldap3.Tls):  # type: ignore[misc]
    """The standard library verifies chain and host name; ldap3's own check uses what Python 3.12 removed."""

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        super().__init__(validate=ssl.CERT_REQUIRED)
        self._context = context
        self._host = host
        self.failure: OSError | None = None  # ldap3 keeps only the text

    def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:
        wrapped = self._context.wrap_socket(
            connection.socket, server_hostname=self._host, do_handshake_on_connect=False
        )
        connection.socket = wrapped  # before the handshake, so that the deadline can end it
        try:
            wrapped.do_handshake()
        except OSError as exc:
            self.failure = exc
            raise


class _Watchdog:
    """Shuts the connection's socket down when the deadline passes. Reading it then fails at once, in any thread."""

    def __init__(self, deadline_s: int) -> None:
        self.deadline_s = deadline_s
        self.fired = False
        self._lock = threading.Lock()
        self._connection: Any = None
        self._timer = threading.Timer(deadline_s, self._fire)
        self._timer.daemon = True
        self._timer.start()

    def watch(self, connection: Any) -> None:
        with self._lock:
            self._connection = connection

    def close(self) -> None:
        self._timer.cancel()
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):  # the server may be gone; there is nothing left to save
                connection.unbind()

    def _fire(self) -> None:
        with self._lock:
            self.fired = True
            open_socket = getattr(self._connection, "socket", None)
            if open_socket is None:
                return
            # A copy of the descriptor: shutting an SSLSocket itself down would turn it into a plain one for its reader.
            with suppress(OSError), socket.socket(fileno=_duplicate(open_socket)) as raw:
                raw.shutdown(socket.SHUT_RDWR)


def _duplicate(open_socket: socket.socket) -> int:
    return socket.dup(open_socket.fileno())


def _open(config: LdapConfig, url: str, watchdog: _Watchdog) -> ldap3.Connection:
    parts = urlsplit(url)
    host = parts.hostname or ""
    use_tls = parts.scheme == "ldaps"
    tls = _Tls(_context(config), host) if use_tls or config.starttls else None
    server = ldap3.Server(
        host,
        port=parts.port or (636 if use_tls else 389),
        use_ssl=use_tls,
        tls=tls,
        get_info=ldap3.NONE,
        connect_timeout=config.connect_timeout_s,
        allowed_referral_hosts=[],
    )
    connection = ldap3.Connection(
        server,
        user=config.bind_dn,
        password=config.bind_password.reveal() if config.bind_password else None,
        authentication=ldap3.SIMPLE if config.bind_dn else ldap3.ANONYMOUS,
        client_strategy=ldap3.SYNC,
        auto_bind=ldap3.AUTO_BIND_NONE,
        auto_referrals=False,
        auto_range=False,
        check_names=False,
        read_only=True,
        raise_exceptions=False,
        return_empty_attributes=False,
        receive_timeout=config.receive_timeout_s,
    )
    watchdog.watch(connection)
    try:
        if watchdog.fired:
            raise TimeoutError
        connection.open(read_server_info=False)
        if config.starttls:
            connection.start_tls(read_server_info=False)
    except Exception as exc:  # see Session.search
        with suppress(Exception):
            connection.unbind()
        raise _CannotConnect(_why_closed(exc, tls, connection, watchdog)) from exc
    return connection


def _context(config: LdapConfig) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(config.ca_file) if config.ca_file else None)
    except OSError as exc:
        raise ConfigError(f"sources.{config.name}.ca_file: {config.ca_file} cannot be read: {exc}") from exc
    if config.tls_do_not_verify_certificates:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _why_closed(exc: Exception, tls: _Tls | None, connection: Any, watchdog: _Watchdog) -> str:
    if watchdog.fired:
        return f"no connection within the deadline of {watchdog.deadline_s} s"
    failure = tls.failure if tls else None
    if isinstance(failure, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {failure.verify_message} (ca_file names the authority to trust)"
    if isinstance(failure, TimeoutError):
        return "timed out during the TLS handshake"
    if failure is not None:
        return f"the TLS handshake failed: {_plain(failure)}"
    text = _plain(exc)
    result = connection.result
    if result and result.get("result") and "startTLS" in text:
        return f"StartTLS was refused: {result['description']} ({result['result']}) {result['message']}".rstrip()
    if "invalid server address" in text:
        return "the host name is not known"
    if "refused" in text:
        return "connection refused; nothing listens there"
    if "timed out" in text:
        return "timed out"
    return f"no connection: {text}"


def _bind(config: LdapConfig, session: Session) -> None:
    at, who = f"source {config.name}: {session.url}", config.bind_dn or "anonymous"
    try:
        result = session.bind()
        code, message = int(result["result"]), str(result["message"] or "")
        reason = _ad_reason(message) or _policy_reason(result)
    except IncompleteRead as exc:
        raise SourceUnreachable(f"{at}: no answer to the bind as {who}: {exc}") from exc
    if code == 0:
        return
    if reason is None and code == 49:
        reason = "the name or the password is wrong"
    elif reason is None and code in (8, 13):
        reason = "it wants an encrypted connection; use ldaps:// or starttls: true"
    outcome = f"{result['description']} ({code})"
    raise SourceUnreachable(
        f"{at}: the bind as {who} was refused: {reason or message or 'no reason given'} [{outcome}]"
    )


def _ad_reason(message: str) -> str | None:
    found = re.search(r"\bdata ([0-9a-f]{3,8})\b", message or "")
    return _AD_REASONS.get(found[1].lstrip("0")) if found else None


def _policy_reason(result: Mapping[str, Any]) -> str | None:
    """The `error [1] ENUMERATED` of the password policy response, read from its last three bytes."""
    value = ((result.get("controls") or {}).get(_PASSWORD_POLICY) or {}).get("value") or b""
    return _POLICY_REASONS.get(value[-1]) if isinstance(value, bytes) and value[-3:-1] == b"\x81\x01" else None


def _page(result: Mapping[str, Any], responses: list[dict[str, Any]]) -> Page:
    control = (result.get("controls") or {}).get(PAGED_RESULTS)
    return Page(
        entries=tuple(_entries(responses)),
        references=tuple(uri for item in responses if item["type"] == "searchResRef" for uri in item["uri"]),
        code=int(result["result"]),
        description=str(result["description"]),
        message=str(result["message"] or "").strip("\0 \n"),
        cookie=bytes(control["value"]["cookie"] or b"") if control else None,
    )


def _entries(responses: list[dict[str, Any]]) -> Iterator[RawEntry]:
    for item in responses:
        if item["type"] == "searchResEntry":
            yield RawEntry(
                bytes(item["raw_dn"]),
                {name: tuple(bytes(value) for value in values) for name, values in item["raw_attributes"].items()},
            )


def _plain(exc: BaseException) -> str:
    """The exception's text on one line, without addresses of objects and at a bearable length."""
    text = " ".join(str(exc).split()) or type(exc).__name__
    return text if len(text) <= 300 else text[:300] + "..."
