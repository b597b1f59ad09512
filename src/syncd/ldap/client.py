"""One connection to one directory server, on ldap3. Nothing else in syncd imports ldap3, but for receive.py.

Rules: TLS is verified before a password leaves; a connection is never reopened and no referral is followed; every
search answers with its own result code, which the caller judges; the watchdog's deadline is hard. ldap3's own paging
and its choice among servers are not used: the one hides short reads, the other opens connections unasked.
"""

from __future__ import annotations

import socket
import ssl
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # ldap3 2.9.1 imports old names of pyasn1
    import ldap3
    from ldap3.core.exceptions import LDAPExceptionError
    from ldap3.operation.search import parse_filter

from syncd.errors import BindRefused, ConfigError, IncompleteRead, InvalidValue
from syncd.ldap import ber, outcome, syncrepl
from syncd.ldap.address import Address, Unusable
from syncd.ldap.config import LdapConfig
from syncd.ldap.decode import RawEntry
from syncd.ldap.outcome import PASSWORD_POLICY, PolicyAnswer
from syncd.ldap.paging import PAGED_RESULTS, cookie_of
from syncd.ldap.receive import Answer, Ended, Receive
from syncd.ldap.watchdog import Watchdog, hang_up

_WHO_AM_I = "1.3.6.1.4.1.4203.1.11.3"  # RFC 4532
_SCOPES = {"base": ldap3.BASE, "one": ldap3.LEVEL, "subtree": ldap3.SUBTREE}


Control = tuple[str, bool, bytes | None]  # OID, critical, value (RFC 4511 section 4.1.11)


class NotNow(IncompleteRead):
    """The connection broke, or the server is busy. Before the first entry of a read another server may do."""


# Base, scope, filter, attributes, and the cookie from which on it is told.
Synced = tuple[str, str, str, tuple[str, ...], bytes | None]


class Asked(NamedTuple):
    """One request, as it is sent."""

    base: str
    scope: str
    filter: str
    attributes: tuple[str, ...] = ()
    page_size: int | None = None
    cookie: bytes = b""
    size_limit: int = 0
    controls: tuple[Control, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """One answer to a search: entries in the server's order, and how it ended (RFC 4511 section 4.5.2)."""

    entries: tuple[RawEntry, ...]
    references: tuple[str, ...]  # URLs of parts of the tree that another server holds
    code: int
    description: str
    message: str
    cookie: bytes | None  # b"": the last page; None: the server sent no paging control
    matched: str = ""  # with noSuchObject: the nearest entry above that exists
    controls: Mapping[str, bytes] = field(default_factory=dict)  # that came along, by OID

    @property
    def shows_one(self) -> bool:
        return self.code == 0 and len(self.entries) == 1

    @property
    def outcome(self) -> str:
        text = f"{self.description} ({self.code})"
        return f"{text}: {self.message}" if self.message else text


class Session:
    """An open connection. Every method raises IncompleteRead when it fails or was ended; it is then of no more use."""

    def __init__(self, connection: ldap3.Connection, address: Address, watchdog: Watchdog) -> None:
        self._connection = connection
        self.watchdog = watchdog
        self.address = address
        self.url = address.url
        self.encrypted = isinstance(connection.socket, ssl.SSLSocket)
        self.policy = PolicyAnswer()  # what came along with the bind
        self._ahead: tuple[Asked, int | Answer] | None = None  # what was asked for ahead: its number, or what came
        self._first: tuple[Asked, bytes] | None = None  # the last search in pages, and the bytes of its request

    @property
    def entries_received(self) -> int:
        """Entries that came over this connection, those of an answer that never ended included."""
        return int(self._connection.strategy.entries)

    @property
    def tls_version(self) -> str | None:
        """Such as `TLSv1.3`; None without encryption."""
        version = getattr(self._connection.socket, "version", None)
        return version() if version else None

    @property
    def certificate_ends(self) -> datetime | None:
        """When the server's certificate does; None without one that was verified."""
        described: Any = getattr(self._connection.socket, "getpeercert", dict)()
        ends = described.get("notAfter") if described else None
        return datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), UTC) if ends else None

    def search(
        self,
        base: str,
        scope: str,
        filter_text: str,
        attributes: tuple[str, ...],
        page_size: int | None = None,
        cookie: bytes = b"",
        size_limit: int = 0,
        controls: tuple[Control, ...] = (),
        ahead: bool = False,
    ) -> Page:
        """One request and its whole answer. The paging control is critical: a server without paging answers 12.

        `ahead`: the page after it is asked for before this one is returned, so that the server works meanwhile; the same
        search with its cookie takes that answer. Only for whoever means to ask for it next.
        389ds answers a paged search below a base that is not there with success, without a word of paging; then the base
        itself is asked for, and what the server says of that is the answer.
        """
        asked = Asked(base, scope, filter_text, attributes, page_size, cookie, size_limit, controls)
        page = self._search(asked)
        if page_size is None or page.code != 0:
            return page
        if page.cookie is not None or page.entries:
            if ahead and page.cookie and page.cookie != cookie:
                self._ask_ahead(asked._replace(cookie=page.cookie))
            return page
        found = self._search(Asked(base, "base", "(objectClass=*)"))
        return found if found.code != 0 else page

    def _search(self, asked: Asked) -> Page:
        try:
            return _page(self._answered(asked))
        except Exception as exc:  # ldap3 raises KeyError, TypeError and others for an answer that is not LDAP
            raise self._lost(exc) from exc

    def _answered(self, asked: Asked) -> Answer:
        """What was asked for ahead is taken off the connection before anything else is sent."""
        strategy: Receive = self._connection.strategy
        if self._ahead is not None:
            ahead, found = self._ahead
            found = strategy.answer(found) if isinstance(found, int) else found
            self._ahead = None if ahead == asked else (ahead, found)
            if ahead == asked:
                return found
        return strategy.answer(self._send(asked))

    def _ask_ahead(self, asked: Asked) -> None:
        try:
            self._ahead = asked, self._send(asked)
        except Exception as exc:  # as in `_search`
            raise self._lost(exc) from exc

    def _send(self, asked: Asked) -> int:
        """ldap3 makes the request; those for the pages after the first are made of its bytes."""
        strategy: Receive = self._connection.strategy
        first = asked._replace(cookie=b"")
        if asked.cookie and self._first is not None and self._first[0] == first:
            return strategy.send_page(self._first[1], asked.cookie)
        number = self._connection.search(
            asked.base,
            asked.filter,
            _SCOPES[asked.scope],
            dereference_aliases=ldap3.DEREF_NEVER,
            attributes=list(asked.attributes) or ["1.1"],
            size_limit=asked.size_limit,
            paged_size=asked.page_size,
            paged_criticality=True,
            paged_cookie=asked.cookie or None,
            controls=list(asked.controls) or None,
        )
        if asked.page_size is not None:
            self._first = first, strategy.sent
        return int(number)

    def sync(self, searches: Sequence[Synced]) -> Iterator[tuple[int, syncrepl.Told]]:
        """What changed since the cookies of these, one by one as it comes; None: everything. Each with which search it answers;
        the last of each is Over.

        No other request until the last was taken. The control is critical, aliases are not followed (OpenLDAP refuses
        otherwise), and there are no pages: it would end after one.
        """
        return self._synced(searches, syncrepl.REFRESH_ONLY)

    def listen(self, searches: Sequence[Synced]) -> Iterator[syncrepl.Told]:
        """The same, and then what changes as it happens."""
        return (told for _, told in self._synced(searches, syncrepl.REFRESH_AND_PERSIST))

    def _synced(self, searches: Sequence[Synced], mode: int) -> Iterator[tuple[int, syncrepl.Told]]:
        strategy: Receive = self._connection.strategy
        try:
            numbers = {}
            for place, (base, scope, filter_text, attributes, cookie) in enumerate(searches):
                control = (syncrepl.SYNC_REQUEST, True, syncrepl.request(mode, cookie))
                number = self._send(Asked(base, scope, filter_text, attributes, controls=(control,)))
                numbers[number] = place
            for number, answer in strategy.stream(*numbers):
                yield numbers[number], syncrepl.told(answer)
        except GeneratorExit:
            raise
        except Exception as exc:  # as in `_search`
            raise self._lost(exc) from exc

    def together(self, searches: Sequence[Asked]) -> Iterator[tuple[Asked, RawEntry]]:
        """Entries that come to several searches at once, as they come; for searches that last. Raises IncompleteRead if one
        fails."""
        strategy: Receive = self._connection.strategy
        try:
            asked = {self._send(each): each for each in searches}
            for number, answer in strategy.stream(*asked):
                if answer["type"] == "searchResEntry":
                    yield asked[number], RawEntry(answer["raw_dn"], answer["raw_attributes"])
                elif answer["type"] == "searchResDone" and answer["result"] != 0:
                    said = f"{answer['description']} ({answer['result']}) {answer['message']}".rstrip("\0 \n")
                    raise IncompleteRead(f"{asked[number].base}: {said}")
        except GeneratorExit:
            raise
        except IncompleteRead:
            raise
        except Exception as exc:  # as in `_search`
            raise self._lost(exc) from exc

    def look_at(self, name: str) -> Page:
        """The entry of this DN, without its attributes."""
        return self.search(name, "base", "(objectClass=*)", ())

    def sees(self, name: str) -> bool:
        """Whether the entry of this DN is shown to us."""
        return self.look_at(name).shows_one

    def bind(self) -> Mapping[str, Any]:
        """The result of the bind. Its control makes OpenLDAP tell an expired password from a wrong one."""
        try:
            self._connection.bind(read_server_info=False, controls=[(PASSWORD_POLICY, False, None)])
            return dict(self._connection.result)
        except Exception as exc:  # as in `_search`
            raise self._lost(exc) from exc

    def who_am_i(self) -> str | None:
        """Whom the server takes us for, as `dn:...` or `u:...`; None if it does not say (RFC 4532)."""
        try:
            self._connection.extended(_WHO_AM_I)
            result = self._connection.result
            said = result.get("responseValue") if result["result"] == 0 else None
            return bytes(said).decode("utf-8", "replace") or None if said else None
        except Exception as exc:  # as in `_search`
            raise self._lost(exc) from exc

    def hang_up(self) -> None:
        """This connection only; the read may go on with another."""
        self.watchdog.watch(None)
        hang_up(self._connection)

    def close(self) -> None:
        self.watchdog.close()

    def _lost(self, exc: Exception) -> IncompleteRead:
        if self.watchdog.reason:
            return IncompleteRead(self.watchdog.reason)
        if isinstance(exc, TimeoutError):
            return NotNow(f"the connection to {self.url} broke: timed out, nothing came from the server")
        if isinstance(exc, ber.Malformed):
            return IncompleteRead(f"{self.url} answered something that is not LDAP: {exc}")
        alert = getattr(exc, "reason", None)  # of an SSLError; ldap3 makes errors that only look like one
        if isinstance(exc, ssl.SSLError) and isinstance(alert, str) and "ALERT" in alert:
            return IncompleteRead(f"{self.url} refuses our side of TLS ({alert}): look at client_cert_file")
        if isinstance(exc, LDAPExceptionError | OSError | Ended):
            return NotNow(f"the connection to {self.url} broke: {_plain(exc)}")
        return IncompleteRead(f"{self.url} answered something that is not LDAP ({type(exc).__name__})")


def check(config: LdapConfig) -> tuple[str, ...]:
    """All that is wrong with the values, the filters' grammar included; () if nothing is."""
    found = list(config.problems())
    for part, search in (("users", config.users), ("groups", config.groups)):
        if search is not None:
            try:
                require_filter(search.filter)
            except InvalidValue as exc:
                found.append(f"{part}.filter: {exc}")
    return tuple(found)


def require_filter(text: str) -> None:
    """Raises InvalidValue."""
    try:
        parse_filter(text, None, False, False, None, False)
    except Exception as exc:  # a malformed filter also makes ldap3's parser raise IndexError
        raise InvalidValue(f"{text!r} is not an LDAP filter (RFC 4515): {_plain(exc)}") from exc


def bound(config: LdapConfig, address: Address, watchdog: Watchdog) -> Session:
    """Raises Unusable, BindRefused and ConfigError."""
    session = reached(config, address, watchdog)
    try:
        _bind(config, session)
    except BaseException:
        session.hang_up()
        raise
    return session


def reached(config: LdapConfig, address: Address, watchdog: Watchdog) -> Session:
    """Connected and under TLS, and nobody yet. Raises Unusable and ConfigError."""
    parts = urlsplit(address.url)
    use_tls = parts.scheme == "ldaps"
    tls = _Tls(_context(config), parts.hostname or "") if use_tls or config.starttls else None
    connection = ldap3.Connection(
        _Server(config, address, use_tls, tls),
        user=config.bind_dn,
        password=config.bind_password.reveal() if config.bind_password else None,
        authentication=ldap3.SASL if config.sasl else ldap3.SIMPLE if config.bind_dn else ldap3.ANONYMOUS,
        sasl_mechanism=ldap3.EXTERNAL if config.sasl else None,
        sasl_credentials=config.sasl_authzid or "" if config.sasl else None,
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
    Receive(connection, longest=2 * config.max_entry_bytes)
    watchdog.watch(connection)
    try:
        if watchdog.reason:
            raise TimeoutError
        connection.open(read_server_info=False)
        if config.starttls:
            connection.start_tls(read_server_info=False)
    except Exception as exc:  # see Session.search
        watchdog.watch(None)
        hang_up(connection)
        raise _why_unusable(exc, tls, connection, watchdog, address) from exc
    return Session(connection, address, watchdog)


class _Server(ldap3.Server):  # type: ignore[misc]
    """One address. ldap3 would look all of them up itself, and try another one only if connecting fails."""

    def __init__(self, config: LdapConfig, address: Address, use_tls: bool, tls: _Tls | None) -> None:
        super().__init__(
            "localhost",  # not looked at: `candidate_addresses` says where
            use_ssl=use_tls,
            tls=tls,
            get_info=ldap3.NONE,
            connect_timeout=config.connect_timeout_s,
            allowed_referral_hosts=[],
        )
        self._address = address

    def candidate_addresses(self) -> list[list[Any]]:
        one = self._address
        return [[one.family, one.kind, one.protocol, "", one.at, None, None]]


class _Tls(ldap3.Tls):  # type: ignore[misc]
    """The standard library verifies chain and host name; ldap3's own check uses what Python 3.12 removed."""

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        super().__init__(validate=ssl.CERT_REQUIRED)
        self._context = context
        self._host = host
        self.failure: Exception | None = None  # ldap3 keeps only the text

    def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:
        try:
            if (
                connection.strategy.unread
            ):  # put there by somebody on the way, to be taken for the server's encrypted word
                raise Ended("something follows the answer to StartTLS in clear text")
            wrapped = self._context.wrap_socket(
                connection.socket, server_hostname=self._host, do_handshake_on_connect=False
            )
            connection.socket = wrapped  # before the handshake, so that the deadline can end it
            wrapped.do_handshake()
        except Exception as exc:
            self.failure = exc
            raise


def _context(config: LdapConfig) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(config.ca_file) if config.ca_file else None)
    except OSError as exc:
        raise ConfigError(f"sources.{config.name}.ca_file: {config.ca_file} cannot be read: {exc}") from exc
    if config.client_cert_file:
        try:  # without a password to give, OpenSSL would ask the terminal for one
            context.load_cert_chain(config.client_cert_file, config.client_key_file, password=lambda: "")
        except OSError as exc:
            files = f"{config.client_cert_file} and {config.client_key_file or 'the key in it'}"
            raise ConfigError(
                f"sources.{config.name}.client_cert_file: {files} cannot be used: {_plain(exc)}; they must be PEM, belong "
                "together, and the key must not be encrypted"
            ) from exc
    if config.tls_do_not_verify_certificates:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _why_unusable(exc: Exception, tls: _Tls | None, connection: Any, watchdog: Watchdog, address: Address) -> Unusable:
    if watchdog.reason:
        return Unusable(f"no connection yet when {watchdog.reason}", False)
    failure = tls.failure if tls else None
    if isinstance(failure, ssl.SSLCertVerificationError):
        return Unusable(outcome.why_tls(failure.verify_code, failure.verify_message), False)
    if isinstance(failure, TimeoutError):
        return Unusable("timed out during the TLS handshake", True)
    if failure is not None:
        broke = isinstance(failure, ssl.SSLEOFError | ConnectionError)
        return Unusable(f"the TLS handshake failed: {_plain(failure)}", broke)
    text = _plain(exc)
    result = connection.result
    if result and result.get("result") and "startTLS" in text:
        said = f"{result['description']} ({result['result']}) {result['message']}".rstrip()
        return Unusable(
            f"StartTLS was refused: {said}; use ldaps://, or give the server a certificate",
            result["result"] in outcome.LATER,
        )
    if isinstance(exc, ber.Malformed):
        return Unusable(f"it answered something that is not LDAP: {exc}", False)
    if address.family == socket.AF_UNIX:
        if "No such file" in text:
            return Unusable(
                f"there is no socket {address.at}; does the server run, and with this ldapi:// address?", True
            )
        if "Permission denied" in text:
            return Unusable(f"this process may not write to the socket {address.at}", False)
    if "refused" in text:
        return Unusable("connection refused; nothing listens there", True)
    if "timed out" in text:
        return Unusable("timed out", True)
    return Unusable(f"no connection: {text}", True)


def _bind(config: LdapConfig, session: Session) -> None:
    try:
        result = session.bind()
        code, message = int(result["result"]), str(result["message"] or "").strip("\0 \n")
    except IncompleteRead as exc:
        asks = session.encrypted and not config.client_cert_file
        hint = "; does the server ask for a client certificate (client_cert_file)?" if asks else ""
        raise Unusable(f"no answer to the bind as {config.who}: {exc}{hint}", isinstance(exc, NotNow)) from exc
    controls = {oid: each["value"] for oid, each in (result.get("controls") or {}).items()}
    session.policy = outcome.policy(controls)
    if code == 0 and session.policy.reason is None:
        return
    said = f"{result['description']} ({code})"
    if code in outcome.UNJUDGED:
        raise Unusable(f"the bind as {config.who} was not decided: {said} {message}".rstrip(), code in outcome.LATER)
    reason = outcome.why_refused(code, message, session.policy, external=config.sasl is not None)
    raise BindRefused(f"source {config.name}: {session.url}: the bind as {config.who} was refused: {reason} [{said}]")


def _page(answer: Answer) -> Page:
    done = answer.done
    controls = {oid: bytes(each["value"]) for oid, each in (done.get("controls") or {}).items()}
    return Page(
        entries=tuple(answer.entries),
        references=tuple(answer.references),
        code=int(done["result"]),
        description=str(done["description"]),
        message=str(done["message"] or "").strip("\0 \n"),
        cookie=cookie_of(controls[PAGED_RESULTS]) if PAGED_RESULTS in controls else None,
        matched=str(done["dn"] or ""),
        controls=controls,
    )


def _plain(exc: BaseException) -> str:
    """The exception's text on one line, without addresses of objects and at a bearable length."""
    text = " ".join(str(exc).split()) or type(exc).__name__
    return text if len(text) <= 300 else text[:300] + "..."
