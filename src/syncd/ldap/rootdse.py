"""What a server says about itself: vendor, paging, and which data it holds (RFC 4512 section 5.1).

The identity names the data, not the machine: vendor and the stable key of each naming context that is read. It is the
same on every replica and after a restart or an upgrade, and another one when a different or freshly loaded directory
answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from syncd.errors import IncompleteRead, InvalidValue
from syncd.ldap import dn, keys, outcome
from syncd.ldap.client import PAGED_RESULTS, NotNow, Page, Session
from syncd.ldap.config import KEY_ATTRIBUTES, LdapConfig

_ANY = "(objectClass=*)"
_NO_ANSWER = frozenset({3, 11, 80})  # not "hidden" or "not there", but nothing


@dataclass(frozen=True, slots=True)
class Server:
    vendor: str
    version: str | None
    identity: str
    paging: bool
    contexts: tuple[str, ...] = ()  # the tops of the trees that it holds


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
    identity = "; ".join([vendor, *(_fingerprint(session, context) for context in sorted(read) if context)])
    controls = texts.get("supportedcontrol")
    return Server(vendor, version, identity, controls is None or PAGED_RESULTS in controls, tuple(reversed(contexts)))


def _require_said(page: Page) -> None:
    """A server that is busy has not said that it is another one than last time, which would hold every loss (rule 4)."""
    if page.code in outcome.LATER:
        raise NotNow(page.outcome)
    if page.code in _NO_ANSWER:
        raise IncompleteRead(f"the server does not say which one it is: {page.outcome}")


def _vendor(root: Mapping[str, tuple[str, ...]]) -> str:
    if "1.2.840.113556.1.4.800" in root.get("supportedcapabilities", ()):  # MS-ADTS 3.1.1.3.4.3.1; Samba too
        return "Active Directory"
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


def _fingerprint(session: Session, context: str) -> str:
    page = session.search(context, "base", _ANY, KEY_ATTRIBUTES)
    _require_said(page)
    for entry in page.entries if page.code == 0 else ():
        attributes = keys.fold_names(entry.attributes)
        chosen = keys.choose([attributes])
        if chosen:
            try:
                return f"{context} {chosen} {keys.key_of(chosen, attributes)}"
            except InvalidValue:
                break
    return context
