"""Groups whose members no entry lists: those that a search finds (memberURL), and those that only users name (memberOf).

A memberURL (RFC 4516) is asked on the connection of the read and becomes `member`, unless the server lists the members itself
(OpenLDAP's dynlist). What cannot be asked sets the group aside, so that it keeps its members. With `groups.by: memberOf` group
entries are not read at all: a group is what users name, and its stable key can only be its DN.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from syncd.core.snapshot import Entry
from syncd.errors import InvalidValue
from syncd.ldap import dn, narrow
from syncd.ldap.client import Session, require_filter
from syncd.ldap.config import LdapConfig, SearchConfig
from syncd.ldap.decode import RawEntry
from syncd.ldap.syncrepl import Named

MEMBER_URL = "memberurl"
_LISTED = ("member", "uniquemember", "memberuid")
_SCOPES = {"": "base", "base": "base", "one": "one", "sub": "subtree"}
_PAGE = 500


@dataclass(frozen=True, slots=True)
class MemberUrl:
    """`ldap:///BASE??SCOPE?FILTER` of the directory that is read."""

    base: str
    scope: str
    filter: str

    @classmethod
    def parse(cls, text: str, ours: Container[str | None] = ()) -> MemberUrl:
        """`ours`: names of the servers that are read. Raises InvalidValue."""
        scheme, _, rest = text.partition("://")
        host, _, query = rest.partition("/")
        named = _host(f"//{host}")
        if scheme.lower() not in ("ldap", "ldaps") or (named and named not in ours):
            raise InvalidValue(f"memberURL: {text[:200]!r} is not ldap:///BASE??SCOPE?FILTER of a server in `url`")
        base, _attributes, scope, wanted, *_ = (*query.split("?"), "", "", "")
        if scope.lower() not in _SCOPES:
            raise InvalidValue(f"memberURL: {scope[:40]!r} is not one of base, one, sub")
        base = unquote(base)
        dn.normalize(base)
        found = cls(base, _SCOPES[scope.lower()], unquote(wanted) or "(objectClass=*)")
        try:
            require_filter(found.filter)
        except InvalidValue as exc:
            raise InvalidValue(f"memberURL: {exc}") from exc
        return found


def is_searched_for(entry: RawEntry | Named) -> bool:
    """Its members are found by another search, which cannot be made while one for entries is under way."""
    return any(name.lower() == MEMBER_URL for name in entry.attributes)


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return url  # nobody's


def with_members(session: Session, config: LdapConfig, group: Entry, paged: bool) -> Entry:
    """The group as if its entry listed whom its memberURL finds among the users. Raises InvalidValue, IncompleteRead."""
    urls = group.attributes.get(MEMBER_URL, ())
    if not urls or any(group.attributes.get(name) for name in _LISTED):
        return group
    found: dict[bytes, None] = {}
    ours = {_host(url) for url in config.urls}
    for url in urls:
        asked = MemberUrl.parse(url.decode("utf-8", "replace"), ours)
        found |= dict.fromkeys(_found(session, config.users, asked, paged))
    return Entry(group.kind, group.key, group.dn, {**group.attributes, "member": tuple(sorted(found))})


def _found(session: Session, users: SearchConfig, url: MemberUrl, paged: bool) -> Iterator[bytes]:
    wanted, cookie = narrow.all_of([users.filter, url.filter]), b""
    while True:
        page = session.search(url.base, url.scope, wanted, (), _PAGE if paged else None, cookie)
        if page.code != 0 or (paged and page.cookie is None):
            raise InvalidValue(f"memberURL: {url.filter} below {url.base} was not answered whole: {page.outcome}")
        yield from (entry.dn for entry in page.entries)
        if not page.cookie or page.cookie == cookie:
            return
        cookie = page.cookie


@dataclass(slots=True)
class ByUsers:
    """Groups as the users of one read name them. Memory: a number for each membership."""

    config: LdapConfig
    members: dict[str, tuple[str, list[bytes]]] = field(default_factory=dict)  # normalised DN -> (DN, its members' DNs)
    shown: bool = False  # some user names a group

    def take(self, user: Entry) -> Entry:
        """Notes her groups; she is read without them, or her own values would change with them."""
        search = self.config.groups
        assert search is not None and search.by is not None
        name = search.by.lower()
        for value in user.attributes.get(name, ()):
            self.shown = True
            text = value.decode("utf-8", "replace")
            try:
                key = dn.normalize(text)
                if not any(dn.is_within(text, base, search.scope) for base in search.base):
                    continue
            except InvalidValue:
                continue  # no name of a group below these bases
            self.members.setdefault(key, (text, []))[1].append(user.dn.encode())
        return Entry(user.kind, user.key, user.dn, {k: v for k, v in user.attributes.items() if k != name})

    def groups(self) -> Iterator[Entry]:
        for key, (name, members) in self.members.items():
            yield bare(key, name, tuple(members))


def bare(key: str, name: str, members: tuple[bytes, ...] = ()) -> Entry:
    """A group of which only the DN is known."""
    return Entry("group", key, name, {"cn": (dn.parse(name)[0][0][1].encode(),), "member": members})
