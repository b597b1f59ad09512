"""What a server says about itself: vendor, paging, and which data it holds (RFC 4512 section 5.1).

The identity names the data, not the machine: vendor and the stable key of each naming context that is read. It is the
same on every replica and after a restart or an upgrade, and another one when a different or freshly loaded directory
answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from syncd.errors import IncompleteRead, InvalidValue
from syncd.ldap import dn, keys, outcome
from syncd.ldap.accounts import ACTIVE_DIRECTORY
from syncd.ldap.client import NotNow, Page, Session
from syncd.ldap.config import KEY_ATTRIBUTES, LdapConfig
from syncd.ldap.paging import PAGED_RESULTS
from syncd.ldap.values import microsoft_interval, only_one

_ANY = "(objectClass=*)"
_ACTIVE_DIRECTORY = "Active Directory"
_NO_ANSWER = frozenset({3, 11, 80})  # not "hidden" or "not there", but nothing


@dataclass(frozen=True, slots=True)
class Server:
    vendor: str
    version: str | None
    identity: str
    paging: bool
    contexts: tuple[str, ...] = ()  # the tops of the trees that it holds
    lockout: timedelta | None = (
        None  # how long a lock-out lasts, the longest of the domains read; None: it does not say
    )

    controls: frozenset[str] = frozenset()  # the OIDs that it says it knows
    tops: tuple[str, ...] = ()  # of the trees that are read

    def offers(self, control: str) -> bool:
        return control in self.controls

    @property
    def flavour(self) -> str | None:
        """Of accounts.FLAVOURS; None where any attribute may say what an account is."""
        return ACTIVE_DIRECTORY if self.vendor == _ACTIVE_DIRECTORY else None


def meet(session: Session, config: LdapConfig) -> Server:
    """Raises IncompleteRead if the connection fails or the server is too busy to say; a root DSE that may not be read
    gives an unknown server."""
    page = session.search(
        "",
        "base",
        _ANY,
        ("objectClass", "vendorName", "vendorVersion", "namingContexts", "supportedControl", "supportedCapabilities"),
    )
    _require_said(page)
    root = keys.fold_names(page.entries[0].attributes) if page.code == 0 and page.entries else {}
    texts = {name: tuple(value.decode("utf-8", "replace") for value in values) for name, values in root.items()}
    contexts = sorted(texts.get("namingcontexts", ()), key=len, reverse=True)
    searches = (config.users, config.groups) if config.groups else (config.users,)
    read = {_context_of(base, contexts) for search in searches for base in search.base}
    vendor = _vendor(texts)
    version = texts.get("vendorversion", (None,))[0]
    tops = [_top(session, context) for context in sorted(read) if context]
    identity = "; ".join([vendor, *(said for said, _ in tops)])
    lasting = [lockout for _, lockout in tops if lockout is not None]
    controls = texts.get("supportedcontrol")
    return Server(
        vendor,
        version,
        identity,
        controls is None or PAGED_RESULTS in controls,
        tuple(reversed(contexts)),
        max(lasting, default=None),
        frozenset(controls or ()),
        tuple(context for context in sorted(read) if context),
    )


def _require_said(page: Page) -> None:
    """A server that is busy has not said that it is another one than last time, which would hold every loss (rule 4)."""
    if page.code in outcome.LATER:
        raise NotNow(page.outcome)
    if page.code in _NO_ANSWER:
        raise IncompleteRead(f"the server does not say which one it is: {page.outcome}")


def _vendor(root: Mapping[str, tuple[str, ...]]) -> str:
    if "1.2.840.113556.1.4.800" in root.get("supportedcapabilities", ()):  # MS-ADTS 3.1.1.3.4.3.1; Samba too
        return _ACTIVE_DIRECTORY
    if "openldaprootdse" in (name.lower() for name in root.get("objectclass", ())):
        return "OpenLDAP"
    return root.get("vendorname", ("unknown server",))[0]


def _context_of(base: str, contexts: list[str]) -> str:
    return next((context for context in contexts if _is_under(base, context)), "")


def _is_under(name: str, base: str) -> bool:
    try:
        return dn.is_under(name, base)
    except InvalidValue:
        return False


def _top(session: Session, context: str) -> tuple[str, timedelta | None]:
    """The context with its stable key, and how long a lock-out lasts there, as the top of an AD domain says."""
    page = session.search(context, "base", _ANY, (*KEY_ATTRIBUTES, "lockoutDuration"))
    _require_said(page)
    for entry in page.entries if page.code == 0 else ():
        attributes = keys.fold_names(entry.attributes)
        chosen = keys.choose([attributes])
        if chosen:
            try:
                lasts = only_one("lockoutDuration", attributes)
                lockout = microsoft_interval("lockoutDuration", lasts) if lasts is not None else None
                return f"{context} {chosen} {keys.key_of(chosen, attributes)}", lockout
            except InvalidValue:
                break
    return context, None
