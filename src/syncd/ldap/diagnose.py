"""Why a search shows nothing, found by asking the server further: for `syncd check`, never for a read.

A server that hides an entry answers as if it were not there (RFC 4511 section 4.1.9), so what is hidden and what does not
exist cannot always be told apart; then both are said.
"""

from __future__ import annotations

from collections import Counter
from difflib import get_close_matches

from syncd.errors import InvalidValue
from syncd.ldap import dn, keys
from syncd.ldap.client import Page, Session
from syncd.ldap.config import SearchConfig
from syncd.ldap.rootdse import Server

_ANY = "(objectClass=*)"
_LOOK_AT = 200  # entries, for a suggestion


def why_no_base(session: Session, server: Server, base: str, page: Page) -> str:
    """For a base that the server does not know, with the nearest thing it does know."""
    said = f"{base}: there is no such entry, or it is hidden from this account: {page.outcome}"
    if not any(_is_under(base, context) for context in server.contexts):
        held = ", ".join(server.contexts)
        return f"{said}; this server holds {held}" if held else said
    parent = page.matched or _parent_seen(session, base)
    if not parent:
        return f"{said}; not even what is above it can be seen: grant the right to read"
    below = session.search(parent, "one", _ANY, (), size_limit=_LOOK_AT)
    names = [entry.dn.decode("utf-8", "replace") for entry in below.entries]
    close = get_close_matches(base.casefold(), [name.casefold() for name in names], n=1, cutoff=0.75)
    if close:
        return f"{said}; did you mean {next(name for name in names if name.casefold() == close[0])}?"
    return f"{said}; {parent} exists" + (f" and has {', '.join(names[:5])}" if names else " and shows nothing below it")


def why_empty(session: Session, search: SearchConfig, base: str, who: str) -> str:
    """For a search that succeeded and found nothing."""
    nothing = f"no entry matches {search.filter} below {base}"
    if search.scope == "base":
        return nothing
    below = session.search(base, search.scope, _ANY, ("objectClass",), size_limit=_LOOK_AT)
    own = dn_key(base)
    others = [entry for entry in below.entries if dn_key(entry.dn.decode("utf-8", "replace")) != own]
    if not others:
        seen = "is there, and nothing can be seen below it" if session.sees(base) else "shows nothing"
        return f"{nothing}: {base} {seen}; either it is empty, or {who} lacks the right to read what is in it"
    classes = Counter(
        value.decode("utf-8", "replace")
        for entry in others
        for value in keys.fold_names(entry.attributes).get("objectclass", ())
        if value.lower() != b"top"
    )
    if not classes:
        return f"{nothing}, though there are entries: {who} lacks the right to read or search their objectClass"
    usual = ", ".join(name for name, _ in classes.most_common(4))
    return f"{nothing}, though there are entries, of the classes {usual}: correct the filter"


def dn_key(name: str) -> str:
    try:
        return dn.normalize(name)
    except InvalidValue:
        return name


def _parent_seen(session: Session, base: str) -> str | None:
    """The nearest entry above that can be read."""
    name = dn.parent(base)
    while name:
        if session.sees(name):
            return name
        name = dn.parent(name)
    return None


def _is_under(name: str, base: str) -> bool:
    try:
        return dn.is_under(name, base)
    except InvalidValue:
        return False
