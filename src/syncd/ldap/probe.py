"""A look at a directory without reading it: can it be read, what would come, what is doubtful. For `syncd check`.

Every URL is looked at. A password that one server refused is not shown to the next: that would lock the account.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from syncd.errors import BindRefused, IncompleteRead, SourceUnreachable, SyncdError
from syncd.ldap import accounts, client, deltas, diagnose, keys, outcome
from syncd.ldap.address import Address, Unusable, addresses
from syncd.ldap.client import Session
from syncd.ldap.config import KEY_ATTRIBUTES, LdapConfig, SearchConfig
from syncd.ldap.conversation import Conversation
from syncd.ldap.decode import RawEntry
from syncd.ldap.failover import Dialer, require_sane
from syncd.ldap.rootdse import Server, meet
from syncd.ldap.watchdog import Watchdog

_ANY = "(objectClass=*)"
_CONTROL = "userAccountControl"  # every user of an Active Directory has it
# What servers make up of other entries, or as they are asked: it changes without this entry being written.
_DERIVED = frozenset({"memberof", "ismemberof", "nsrole", "msds-memberoftransitive", "tokengroups"})
NO_PAGING_CONTROL = "the server left out the paging control, so the end is not known"


@dataclass(frozen=True, slots=True)
class BaseSeen:
    """One base of one search. `entries` counts up to the limit asked for; `more` says it was reached."""

    part: str  # "users" | "groups"
    base: str
    entries: int
    more: bool
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
    certificate_ends: datetime | None = None  # the server's
    deltas: str | None = None  # in which way what changed is read, if that is wanted and can be had
    no_deltas: tuple[str, ...] = ()  # why not in this way or that
    no_live: str | None = None  # why it cannot tell at once that something changed; None: it can
    own_entry: bool | None = None  # whether the account that reads sees itself; None: it has no entry


def probe(config: LdapConfig, wanted: tuple[str, ...] = (), count_up_to: int = 1000) -> Probe:
    """The first server that answers. `wanted`: what the mapping reads.

    Raises SourceUnreachable (no connection, bind refused) and ConfigError.
    """
    require_sane(config)
    watchdog = Watchdog(config.deadline_s)
    try:
        return _looked_at(config, Dialer(config, config.urls, watchdog).connect(), wanted, count_up_to)
    finally:
        watchdog.close()


def probe_each(
    config: LdapConfig, wanted: tuple[str, ...] = (), count_up_to: int = 1000
) -> Iterator[tuple[str, Probe | SyncdError]]:
    """Every URL, and every address behind it, with what was seen there or why it cannot be used now.

    Nothing is tried twice: somebody waits for the answer, and can ask again. Raises ConfigError.
    """
    require_sane(config)
    look = _Look(config, wanted, count_up_to)
    for url in config.urls:
        yield from look.at(url)


@dataclass(slots=True)
class _Look:
    config: LdapConfig
    wanted: tuple[str, ...]
    count_up_to: int
    refused: bool = False  # by a server, and so no more shown to others

    def at(self, url: str) -> Iterator[tuple[str, Probe | SyncdError]]:
        try:
            found = addresses(url)
        except Unusable as exc:
            yield url, SourceUnreachable(f"source {self.config.name}: {url}: {exc}")
            return
        seen = [
            (address, self._one(address, url if len(found) == 1 else f"{url} at {address.text}")) for address in found
        ]
        good = {address.family for address, result in seen if isinstance(result, Probe)}
        for address, result in seen:
            # A name with addresses of IPv4 and IPv6 is as good as one of the two: only a gap among its equals is one.
            if isinstance(result, Probe):
                yield result.url, result
            elif not good or address.family in good:
                yield url, result

    def _one(self, address: Address, named: str) -> Probe | SyncdError:
        watchdog = Watchdog(self.config.deadline_s)
        try:
            if self.refused and self.config.bind_password:
                session = client.reached(self.config, address, watchdog)
                how = f"reached ({session.tls_version or 'no TLS'}), and not asked with the password that was refused"
                return BindRefused(f"source {self.config.name}: {named}: {how}")
            return replace(
                _looked_at(self.config, client.bound(self.config, address, watchdog), self.wanted, self.count_up_to),
                url=named,
            )
        except Unusable as exc:
            return SourceUnreachable(f"source {self.config.name}: {named}: {exc}")
        except BindRefused as exc:
            self.refused = True
            return exc
        except SourceUnreachable as exc:
            return exc
        finally:
            watchdog.close()


def _looked_at(config: LdapConfig, session: Session, wanted: tuple[str, ...], count_up_to: int) -> Probe:
    try:
        return _probe(config, session, wanted, count_up_to)
    except IncompleteRead as exc:
        raise SourceUnreachable(f"source {config.name}: {session.url}: it cannot be looked at: {exc}") from exc


def _probe(config: LdapConfig, session: Session, wanted: tuple[str, ...], count_up_to: int) -> Probe:
    server = meet(session, config)
    problems: list[str] = []
    warnings: list[str] = []
    bases: list[BaseSeen] = []
    key_attribute = config.key_attribute
    bound_as = config.who
    if config.sasl:
        bound_as = session.who_am_i() or bound_as
    groups = config.groups if config.groups and config.groups.by is None else None  # else users name them
    for part, search in (("users", config.users), ("groups", groups)):
        for base in search.base if search else ():
            assert search is not None
            asked = (_CONTROL,) if part == "users" and server.flavour == accounts.ACTIVE_DIRECTORY else ()
            entries, more, problem = _count(config, session, server, search, base, count_up_to, asked)
            attributes = [keys.fold_names(entry.attributes) for entry in entries]
            key_attribute = key_attribute or keys.choose(attributes)
            without = sum(1 for entry in attributes if not key_attribute or not entry.get(key_attribute.lower()))
            if problem is None and not entries:
                problem = diagnose.why_empty(session, search, base, bound_as)
                (problems if part == "users" and len(search.base) == 1 else warnings).append(f"{part}: {problem}")
                problem = None
            bases.append(BaseSeen(part, base, len(entries), more, problem))
            if problem:
                problems.append(f"{part}: {problem}")
            if without and without == len(entries) and key_attribute:
                problems.append(
                    f"{part}: no entry below {base} shows {key_attribute}: grant {bound_as} the right to read it"
                )
            elif without:
                warnings.append(f"{part}: {without} of {len(entries)} entries below {base} show no stable key")
            silent = sum(1 for entry in attributes if asked and not entry.get(_CONTROL.lower()))
            if silent:
                warnings.append(
                    f"{part}: {silent} of {len(entries)} entries below {base} show no {_CONTROL}, so they look enabled if they "
                    f"are not: grant {bound_as} Read Property on Account Restrictions (contacts have none)"
                )
    if not any(seen.entries for seen in bases if seen.part == "users") and len(config.users.base) > 1:
        problems.append(f"users: no entry matches {config.users.filter} below {' or '.join(config.users.base)}")
    if key_attribute is None and any(seen.entries for seen in bases):
        problems.append(
            f"no entry shows {', '.join(KEY_ATTRIBUTES)}: grant {bound_as} the right to read the one that the server has"
        )
    own = config.own_name(bound_as)
    own_entry = None if own is None else session.sees(own)
    problems += [f"canary {name} is not visible" for name in config.canaries if not session.sees(name)]
    chosen, refused, doubt, no_live = _deltas(config, session, server, key_attribute)
    return Probe(
        url=session.url,
        tls_version=session.tls_version,
        bound_as=bound_as,
        vendor=server.vendor,
        version=server.version,
        server_identity=server.identity,
        paging=server.paging,
        key_attribute=key_attribute,
        bases=tuple(bases),
        problems=tuple(problems),
        warnings=(
            *warnings,
            *([doubt] if doubt else ()),
            *_untold(config, wanted),
            *_doubts(config, session, server, bound_as, own_entry),
        ),
        certificate_ends=session.certificate_ends,
        deltas=chosen,
        no_deltas=tuple(refused),
        no_live=no_live,
        own_entry=own_entry,
    )


def _deltas(
    config: LdapConfig, session: Session, server: Server, key_attribute: str | None
) -> tuple[str | None, list[str], str | None, str | None]:
    """The way to read what changed, why not the ways before it, what is doubtful about it, and why it is not told at once."""
    if not config.deltas:
        return None, [], None, "every read reads everything"
    talk = Conversation(config, (), session)
    talk.server, talk.entries.key_attribute = server, key_attribute
    begun, refused = deltas.choose(talk)
    if begun is None:
        return None, refused, None, "there is no way to read what changed"
    if key_attribute is not None and begun.checkpoint(talk) is None:
        names = f"{begun.way.name}: it names entries by {begun.way.key_attribute}, not {key_attribute}"
        return None, [*refused, names], None, "there is no way to read what changed"
    return begun.way.name, refused, begun.way.doubt(talk), begun.way.no_bell(talk)


def _untold(config: LdapConfig, wanted: tuple[str, ...]) -> Iterator[str]:
    derived = [name for name in wanted if name.lower() in _DERIVED] if config.deltas else []
    if derived:
        yield (
            f"{', '.join(derived)}: servers make it up of other entries, so that it changed may be found by whole reads only "
            "(schedule.full); roles and seats by groups are not concerned"
        )


def _doubts(
    config: LdapConfig, session: Session, server: Server, bound_as: str, own_entry: bool | None
) -> Iterator[str]:
    if not config.canaries:
        yield "canaries: none named; what access rules hide is noticed by counts, branches and the account's own entry only"
    own = config.own_name(bound_as)
    if own and not own_entry:
        yield f"{own} cannot read its own entry, so a narrowed access rule is noticed later"
    if session.policy.warning:
        yield f"{bound_as}: {session.policy.warning}"
    if config.tls_do_not_verify_certificates:
        yield "tls_do_not_verify_certificates: anyone on the way can read the password and change the answers"
    if not server.paging:
        yield "the server has no paging (RFC 2696): its size limit must allow the whole answer"


def _count(
    config: LdapConfig,
    session: Session,
    server: Server,
    search: SearchConfig,
    base: str,
    up_to: int,
    asked: tuple[str, ...] = (),
) -> tuple[list[RawEntry], bool, str | None]:
    """Entries with their keys and what else is `asked` only, whether there are more, and why it went no further."""
    found: list[RawEntry] = []
    cookie = b""
    while True:
        key = (config.key_attribute,) if config.key_attribute else KEY_ATTRIBUTES
        size = min(config.page_size, up_to) if server.paging else None
        page = session.search(base, search.scope, search.filter, (*key, *asked), size, cookie)
        found += page.entries
        if page.code == 32:
            return found, False, diagnose.why_no_base(session, server, base, page)
        if page.code != 0:
            what_to_do = outcome.why_no_entries(page.code, page.outcome)
            said = f"{base}: {page.outcome} after {len(found):,} entries"
            return found, False, f"{said}; {what_to_do}" if what_to_do else said
        if size is not None and page.cookie is None:
            return found, False, f"{base}: {NO_PAGING_CONTROL}"
        if not page.cookie:
            return found, False, None
        if len(found) >= up_to or (not page.entries and page.cookie == cookie):
            return found, True, None
        cookie = page.cookie
