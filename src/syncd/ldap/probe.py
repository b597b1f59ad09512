"""A look at a directory without reading it: can it be read, what would come, what is doubtful. For `syncd check`."""

from __future__ import annotations

from dataclasses import dataclass

from syncd.errors import IncompleteRead
from syncd.ldap import client, keys
from syncd.ldap.client import RawEntry, Session
from syncd.ldap.config import KEY_ATTRIBUTES, LdapConfig, SearchConfig
from syncd.ldap.rootdse import meet

_ANY = "(objectClass=*)"


@dataclass(frozen=True, slots=True)
class BaseSeen:
    """One base of one search. `entries` counts up to the limit asked for; `more` says it was reached."""

    part: str  # "users" | "groups"
    base: str
    entries: int
    more: bool
    without_key: int
    problem: str | None  # why the search did not work


@dataclass(frozen=True, slots=True)
class Probe:
    """Connected and bound, then this. `problems` would make a read incomplete; `warnings` are for a person to judge."""

    url: str
    tls_version: str | None
    bound_as: str
    vendor: str
    version: str | None
    server_identity: str
    paging: bool
    key_attribute: str | None
    bases: tuple[BaseSeen, ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def probe(config: LdapConfig, count_up_to: int = 1000) -> Probe:
    """Raises SourceUnreachable (no connection, bind refused) and ConfigError."""
    session = client.connect(config)
    try:
        return _probe(config, session, count_up_to)
    except IncompleteRead as exc:
        reason = str(exc)
        return Probe(
            session.url, None, config.bind_dn or "anonymous", "unknown server", None, "", False, None, (), (reason,), ()
        )
    finally:
        session.close()


def _probe(config: LdapConfig, session: Session, count_up_to: int) -> Probe:
    server = meet(session, config)
    problems, warnings = [], []
    bases: list[BaseSeen] = []
    key_attribute = config.key_attribute
    for part, search in (("users", config.users), ("groups", config.groups)):
        for base in search.base if search else ():
            assert search is not None
            entries, more, problem = _count(config, session, search, base, server.paging, count_up_to)
            attributes = [keys.fold_names(entry.attributes) for entry in entries]
            key_attribute = key_attribute or keys.choose(attributes)
            without = sum(1 for entry in attributes if not key_attribute or not entry.get(key_attribute.lower()))
            bases.append(BaseSeen(part, base, len(entries), more, without, problem))
            if problem:
                problems.append(f"{part}: {problem}")
            if without:
                warnings.append(f"{part}: {without} of {len(entries)} entries below {base} show no stable key")
    if not any(seen.entries for seen in bases if seen.part == "users"):
        problems.append(f"users: no entry matches {config.users.filter} below {' or '.join(config.users.base)}")
    if config.groups and not any(seen.entries for seen in bases if seen.part == "groups"):
        warnings.append(f"groups: no entry matches {config.groups.filter} below {' or '.join(config.groups.base)}")
    problems += [f"canary {name} is not visible" for name in config.canaries if not _visible(session, name)]
    if not config.canaries:
        warnings.append("canaries: none named, so a read that the server cut short by its access rules looks whole")
    if config.bind_dn and not _visible(session, config.bind_dn):
        warnings.append(f"{config.bind_dn} cannot read its own entry, so a narrowed access rule is noticed later")
    if config.tls_do_not_verify_certificates:
        warnings.append(
            "tls_do_not_verify_certificates: anyone on the way can read the password and change the answers"
        )
    if not server.paging:
        warnings.append("the server has no paging (RFC 2696): its size limit must allow the whole answer")
    return Probe(
        url=session.url,
        tls_version=session.tls_version,
        bound_as=config.bind_dn or "anonymous",
        vendor=server.vendor,
        version=server.version,
        server_identity=server.identity,
        paging=server.paging,
        key_attribute=key_attribute,
        bases=tuple(bases),
        problems=tuple(problems),
        warnings=tuple(warnings),
    )


def _count(
    config: LdapConfig, session: Session, search: SearchConfig, base: str, paging: bool, up_to: int
) -> tuple[list[RawEntry], bool, str | None]:
    """Entries with their keys only, whether there are more, and why it went no further."""
    found: list[RawEntry] = []
    cookie = b""
    while True:
        key = (config.key_attribute,) if config.key_attribute else KEY_ATTRIBUTES
        page = session.search(
            base, search.scope, search.filter, key, min(config.page_size, up_to) if paging else None, cookie
        )
        found += page.entries
        if page.code != 0:
            return found, False, f"{base}: {page.outcome} after {len(found):,} entries"
        if not page.cookie:
            return found, False, None
        if len(found) >= up_to or (not page.entries and page.cookie == cookie):
            return found, True, None
        cookie = page.cookie


def _visible(session: Session, name: str) -> bool:
    page = session.search(name, "base", _ANY, ())
    return page.code == 0 and len(page.entries) == 1
